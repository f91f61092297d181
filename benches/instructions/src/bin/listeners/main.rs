//! Whether what a listener costs depends on how many there are.
//!
//! Each experiment is counted in instructions with a hundred listeners, and with
//! ten, a hundred and a thousand times as many. It fails when a listener takes
//! over 1.5 times the instructions that it took among a hundred; then the larger
//! sizes are left out, since what is quadratic would never be through.
//!
//! ```text
//! cargo run --release -p hearken-instructions --bin listeners
//! cargo run --release -p hearken-instructions --bin listeners -- --most 10000
//! cargo run --release -p hearken-instructions --bin listeners -- --only set-scope-cancel
//! ```
//!
//! `--only` may be given again. All of it takes five minutes on two processors.
//!
//! The fewest are counted several times over, to even out what happens once. What
//! the program takes to start is subtracted; an executor for each time is not.

mod experiments; // what is done by so many

use std::fmt::{self, Display, Formatter};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use experiments::Experiment;
use hearken_instructions::instructions;

/// How many listeners there are.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// So many listeners are counted at least, by doing it again.
const LEAST: usize = 2_000;

/// How much more one may cost than among the fewest.
const MOST: f64 = 1.5;

/// What takes longer than this is over.
const PATIENCE: Duration = Duration::from_secs(60);

const USAGE: &str = "\
what a listener costs among few and among many, in instructions by callgrind

usage: listeners [--most LISTENERS] [--only EXPERIMENT]...
       listeners --run EXPERIMENT LISTENERS TIMES

  --most  leaves larger sizes out
  --only  this experiment; may be given again
  --run   only does it, and counts nothing: what valgrind is given to run
";

fn main() -> ExitCode {
    let command = Command::parse(std::env::args().skip(1));
    match command {
        Ok(Command::Check { experiments, most }) => match check(&experiments, most) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(reason) => {
                eprintln!("listeners: {reason}");
                ExitCode::from(2)
            }
        },
        Ok(Command::Run { experiment, listeners, times }) => {
            (0..times).for_each(|_| _ = experiment.run(listeners));
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprint!("{mistake}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

enum Command {
    Check { experiments: Vec<Experiment>, most: usize },
    Run { experiment: Experiment, listeners: usize, times: usize },
}

impl Command {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
        let (mut only, mut most) = (Vec::new(), usize::MAX);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{argument} needs another value"))
            };
            match argument.as_str() {
                "--most" => most = number(&value()?)?,
                "--only" => only.push(known(&value()?)?),
                "--run" => {
                    let experiment = known(&value()?)?;
                    let (listeners, times) = (number(&value()?)?, number(&value()?)?);
                    return Ok(Command::Run { experiment, listeners, times });
                }
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        let experiments = if only.is_empty() { Experiment::all() } else { only };
        Ok(Command::Check { experiments, most })
    }
}

fn known(name: &str) -> Result<Experiment, String> {
    let experiment = Experiment::all().into_iter().find(|known| known.to_string() == name);
    experiment.ok_or_else(|| {
        let names: Vec<_> = Experiment::all().iter().map(Experiment::to_string).collect();
        format!("there is no experiment {name}, but {}", names.join(", "))
    })
}

fn number(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{value} is not a number"))
}

/// Counts, and prints a table. Answers whether all are within the limit.
///
/// Several are counted side by side, one for each processor.
///
/// # Errors
///
/// If there is no valgrind.
fn check(experiments: &[Experiment], most: usize) -> Result<bool, String> {
    if cfg!(debug_assertions) {
        return Err("only a release build is worth counting: cargo run --release".to_string());
    }
    let sizes: Vec<usize> = SIZES.into_iter().filter(|&size| size <= most).collect();
    print!("{:<28}", "instructions per listener");
    sizes.iter().for_each(|size| print!(" {size:>9}"));
    println!(" {:>9}", "ratio");
    let Some(&any) = experiments.first() else { return Ok(true) };
    let nothing = count(any, 0, 0)?.ok_or("to do nothing takes too long")?;

    let (left, rows) = (AtomicUsize::new(0), channel());
    let mut over = Vec::new();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let (left, sizes, sends) = (&left, &sizes, rows.0.clone());
            scope.spawn(move || {
                while let Some(&next) = experiments.get(left.fetch_add(1, Ordering::Relaxed)) {
                    let row = Row::at(next, sizes, nothing);
                    sends.send((next, row)).expect("the table is printed until all are there");
                }
            });
        }
        drop(rows.0);
        for (experiment, row) in rows.1 {
            let name = experiment.to_string();
            match row {
                Ok(row) => {
                    println!("{name:<28}{row}");
                    if row.ratio <= MOST {
                        continue;
                    }
                }
                Err(reason) => {
                    println!("{name:<28} wrong");
                    eprintln!("{reason}");
                }
            }
            over.push(name);
        }
    });
    if !over.is_empty() {
        eprintln!("{} of {} are over: {}", over.len(), experiments.len(), over.join(", "));
    }
    Ok(over.is_empty())
}

/// What a listener costs at each size.
struct Row {
    /// None for those that took too long, and larger ones.
    counts: Vec<Option<f64>>,
    ratio: f64,
}

impl Row {
    fn at(experiment: Experiment, sizes: &[usize], nothing: u64) -> Result<Row, String> {
        let mut row = Row { counts: Vec::new(), ratio: 1.0 };
        for &size in sizes {
            let times = (LEAST / size).max(1);
            let mut each = None;
            if row.ratio <= MOST {
                let counted = count(experiment, size, times)?;
                each = counted.map(|counted| (counted - nothing) as f64 / (size * times) as f64);
                let among_few = row.counts.first().copied().flatten().or(each);
                let ratio = each.zip(among_few).map_or(f64::INFINITY, |(each, few)| each / few);
                row.ratio = row.ratio.max(ratio);
            }
            row.counts.push(each);
        }
        Ok(row)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for count in &self.counts {
            match count {
                Some(count) => write!(f, " {count:>9.0}")?,
                None => write!(f, " {:>9}", "-")?,
            }
        }
        write!(f, " {:>9.2}{}", self.ratio, if self.ratio > MOST { " over" } else { "" })
    }
}

/// None if it takes too long.
fn count(experiment: Experiment, size: usize, times: usize) -> Result<Option<u64>, String> {
    let (name, size, times) = (experiment.to_string(), size.to_string(), times.to_string());
    instructions(&["--run", &name, &size, &times], PATIENCE)
}
