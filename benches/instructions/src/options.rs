//! The command line.

use std::process::exit;

use crate::workloads::{MOST_PASSES, WORKLOADS, Workload};

const USAGE: &str = "\
instructions per operation, by callgrind, compared with what is recorded

usage: hearken-instructions [--record] [--only WORKLOAD]...
       hearken-instructions --run WORKLOAD PASSES
       hearken-instructions --list

  --record   writes the counts to benches/instructions/recorded.txt
  --only     this workload; may be given again
  --run      only does it, and counts nothing: what valgrind is given to run
  --list     names the workloads
";

/// What was asked for.
pub struct Options {
    pub command: Command,
    /// Empty means all.
    only: Vec<&'static Workload>,
}

pub enum Command {
    /// Counts, and compares with the record.
    Compare,
    /// Counts, and writes the record.
    Record,
    /// Only does the work.
    Run {
        workload: &'static Workload,
        passes: usize,
    },
    List,
}

impl Options {
    /// Ends the program when there is nothing to do.
    pub fn from_command_line() -> Options {
        Options::parse(std::env::args().skip(1)).unwrap_or_else(|mistake| {
            eprint!("{mistake}\n\n{USAGE}");
            exit(2)
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options { command: Command::Compare, only: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{argument} needs another value"))
            };
            match argument.as_str() {
                "--record" => options.command = Command::Record,
                "--only" => options.only.push(known(&value()?)?),
                "--list" => options.command = Command::List,
                "--run" => {
                    let workload = known(&value()?)?;
                    options.command = Command::Run { workload, passes: passes(&value()?)? };
                }
                "--help" | "-h" => help(),
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        Ok(options)
    }

    /// Whether none is left out.
    pub fn is_all(&self) -> bool {
        self.only.is_empty()
    }

    pub fn workloads(&self) -> impl Iterator<Item = &'static Workload> {
        let wanted = |workload: &&Workload| {
            self.only.is_empty() || self.only.iter().any(|only| only.name == workload.name)
        };
        WORKLOADS.iter().filter(wanted)
    }
}

fn known(name: &str) -> Result<&'static Workload, String> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    workload.ok_or_else(|| format!("there is no workload {name}; see --list"))
}

fn passes(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(passes) if passes <= MOST_PASSES => Ok(passes),
        _ => Err(format!("PASSES is a number up to {MOST_PASSES}, not {value}")),
    }
}

fn help() -> ! {
    print!("{USAGE}");
    exit(0)
}
