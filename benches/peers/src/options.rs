//! The command line.

use std::path::PathBuf;
use std::process::exit;

use crate::adapters::{PEERS, Peer, version};
use crate::workloads::{Scale, Workload};

const USAGE: &str = "\
hearken beside its peers: time and memory per operation

usage: hearken-peers [--quick] [--rounds N] [--only WORKLOAD]... [--peer PEER]...
                     [--json FILE [--date DATE]]
       hearken-peers --list

  --quick    one round of very little, to see that everything works
  --rounds   how often each runs; the median counts (default 11)
  --only     this workload; may be given again
  --peer     this executor; may be given again
  --json     writes all samples to FILE
  --date     the day to note in FILE
  --list     names the workloads and the executors
";

/// What was asked for.
pub struct Options {
    pub scale: Scale,
    pub rounds: usize,
    pub json: Option<PathBuf>,
    /// Printable, and without quotes.
    pub date: Option<String>,
    /// Names; empty means all.
    only: Vec<String>,
    /// Names; empty means all.
    peer: Vec<String>,
}

impl Options {
    /// Ends the program when there is nothing to run.
    pub fn from_command_line() -> Self {
        Self::parse(std::env::args().skip(1)).unwrap_or_else(|mistake| {
            eprint!("{mistake}\n\n{USAGE}");
            exit(2)
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            scale: Scale { quick: false },
            rounds: 0,
            json: None,
            date: None,
            only: Vec::new(),
            peer: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--quick" => options.scale.quick = true,
                "--rounds" => options.rounds = rounds(&value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--date" => options.date = Some(date(value()?)?),
                "--only" => options.only.push(known(value()?, "workload", workloads())?),
                "--peer" => options.peer.push(known(value()?, "executor", peers())?),
                "--list" => list(),
                "--help" | "-h" => help(),
                _ => return Err(format!("unknown option {argument}")),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.scale.quick { 1 } else { 11 };
        }
        Ok(options)
    }

    pub fn workloads(&self) -> impl Iterator<Item = Workload> {
        let all = Workload::ALL.iter().copied();
        all.filter(|workload| wants(&self.only, workload.name()))
    }

    pub fn wants_peer(&self, name: &str) -> bool {
        wants(&self.peer, name)
    }
}

fn wants(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn rounds(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("--rounds takes a number from 1 on, not {value}")),
    }
}

fn date(value: String) -> Result<String, String> {
    match value.chars().all(|letter| letter.is_ascii_graphic() && !"\"\\".contains(letter)) {
        true => Ok(value),
        false => Err(format!("--date takes something like 2026-01-31, not {value}")),
    }
}

fn known(
    name: String,
    what: &str,
    mut names: impl Iterator<Item = &'static str>,
) -> Result<String, String> {
    match names.any(|known| known == name) {
        true => Ok(name),
        false => Err(format!("there is no {what} {name}; see --list")),
    }
}

fn workloads() -> impl Iterator<Item = &'static str> {
    Workload::ALL.iter().map(|workload| workload.name())
}

fn peers() -> impl Iterator<Item = &'static str> {
    PEERS.iter().map(|peer| peer.name)
}

fn list() -> ! {
    println!("workloads");
    for workload in Workload::ALL {
        println!("  {:<18} {}", workload.name(), workload.about());
    }
    println!("executors");
    for peer in &PEERS {
        println!("  {:<18} {}", peer.name, versions(peer));
    }
    exit(0)
}

fn versions(peer: &Peer) -> String {
    let packages = peer.packages.iter().map(|package| format!("{package} {}", version(package)));
    packages.collect::<Vec<_>>().join(", ")
}

fn help() -> ! {
    print!("{USAGE}");
    exit(0)
}
