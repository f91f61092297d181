//! What one of many costs, when there are a hundred, and when there are a
//! million: hearken beside tokio and async-executor.
//!
//! `cargo run --release -p hearken-peers --bin scale` prints a table of
//! nanoseconds per operation against the number of operations, says which
//! curves bend, and with `--json` writes what `benches/plots.py` draws. `--long`
//! runs 100,000,000 tasks one after another instead, and watches the memory.
//!
//! A curve that is level says that n of something cost n times what one costs.
//! None is quite level. A hundred tasks lie in the processor's innermost cache
//! and a million do not, and that alone makes each several times dearer, with
//! every executor; so a curve is to be compared with its neighbours, too. What
//! must not be there is a curve that climbs ever steeper.
//!
//! The invariants are those of the library's table: everything written once,
//! executors in turns, work checked, and allocations counted apart from times.
//!
//! The modules stand in reading order.

mod experiments; // what is done n times
mod report; //      the table, JSON, and what bends
mod long; //        100,000,000 tasks one after another

use std::path::PathBuf;
use std::process::exit;

use experiments::{Cost, EXECUTORS, Executor, Experiment};
use hearken_peers::allocations::{self, Counting};
use report::{Curve, Point, Report};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "\
what one of many costs, in nanoseconds and bytes

usage: scale [--quick] [--rounds N] [--only EXPERIMENT]... [--json FILE] [--date DATE]
       scale --long [--quick] [--json FILE] [--date DATE]

  --quick    small numbers, to see that everything works
  --rounds   how often each runs; the median counts (default 3)
  --only     this experiment; may be given again
  --long     100,000,000 tasks one after another, and what memory that takes
  --json     writes the points to FILE
  --date     is written there too
";

/// What was asked for.
struct Options {
    quick: bool,
    long: bool,
    rounds: usize,
    /// Empty means all.
    only: Vec<Experiment>,
    json: Option<PathBuf>,
    date: Option<String>,
}

fn main() {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|mistake| {
        eprint!("{mistake}\n\n{USAGE}");
        exit(2)
    });
    let date = options.date.as_deref();
    let json = if options.long {
        let runs = long::runs(options.quick);
        print!("{}", long::table(&runs));
        long::to_json(&runs, date)
    } else {
        let report = measure(&options);
        print!("{}", report.table());
        report.to_json(date)
    };
    if let Some(file) = &options.json
        && let Err(error) = std::fs::write(file, json)
    {
        eprintln!("writing {}: {error}", file.display());
        exit(1);
    }
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let (mut quick, mut long, mut rounds) = (false, false, None);
        let (mut only, mut json, mut date) = (Vec::new(), None, None);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--quick" => quick = true,
                "--long" => long = true,
                "--rounds" => {
                    let number = value()?.parse().ok().filter(|&rounds| rounds > 0);
                    rounds = Some(number.ok_or("--rounds takes a number from 1 on")?);
                }
                "--only" => only.push(Experiment::of_name(&value()?)?),
                "--json" => json = Some(value()?.into()),
                "--date" => date = Some(value()?),
                "--help" | "-h" => {
                    print!("{USAGE}");
                    exit(0)
                }
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        let rounds = rounds.unwrap_or(if quick { 1 } else { 3 });
        Ok(Options { quick, long, rounds, only, json, date })
    }

    /// The numbers of operations.
    fn sizes(&self) -> &'static [usize] {
        match self.quick {
            true => &[10, 100, 1_000],
            false => &[100, 1_000, 10_000, 100_000, 1_000_000],
        }
    }

    /// How often one round goes through it: small numbers take so little time
    /// that once would be chance.
    fn passes(&self, experiment: Experiment, size: usize) -> usize {
        match (self.quick, experiment) {
            (true, _) => 1,
            (false, Experiment::Sleeps) => (20_000 / size).clamp(1, 20),
            (false, _) => (1_000_000 / size).clamp(1, 2_000),
        }
    }
}

fn measure(options: &Options) -> Report {
    let mut curves = Vec::new();
    let wanted =
        |experiment: &&Experiment| options.only.is_empty() || options.only.contains(experiment);
    for &experiment in Experiment::ALL.iter().filter(wanted) {
        eprintln!("{}: {}", experiment.name(), experiment.about());
        let mut points = vec![Vec::new(); EXECUTORS.len()];
        for &size in options.sizes() {
            for (executor, point) in point(options, experiment, size).into_iter().enumerate() {
                eprintln!(
                    "  {:>7} on {:<10} {:>9.1} ns",
                    size, EXECUTORS[executor].name, point.nanos
                );
                points[executor].push(point);
            }
        }
        let curve = |(executor, points)| Curve { experiment, executor, points };
        curves.extend(EXECUTORS.iter().zip(points).map(curve));
    }
    Report { curves }
}

/// One point of each executor's curve.
fn point(options: &Options, experiment: Experiment, size: usize) -> Vec<Point> {
    let passes = options.passes(experiment, size);
    let mut nanos = vec![Vec::new(); EXECUTORS.len()];
    for round in 0..options.rounds {
        for turn in 0..EXECUTORS.len() {
            let index = (round + turn) % EXECUTORS.len();
            nanos[index].push((EXECUTORS[index].run)(experiment, size, passes).nanos);
        }
    }
    let counted = |executor: &Executor| -> Cost {
        let _counting = allocations::count();
        (executor.run)(experiment, size, 0)
    };
    let costs = EXECUTORS.iter().map(counted).zip(nanos);
    let point = |(cost, mut nanos): (Cost, Vec<f64>)| {
        nanos.sort_by(f64::total_cmp);
        Point { size, nanos: nanos[nanos.len() / 2], bytes: cost.bytes, left: cost.left }
    };
    costs.map(point).collect()
}
