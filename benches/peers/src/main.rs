//! hearken beside its peers: the same workloads, taking turns, in one process.
//!
//! `cargo run --release -p hearken-peers` prints a table of nanoseconds per
//! operation and the ratio of hearken to the fastest peer;
//! `docs/performance.md` says how to read it. It is not a profiler, and its
//! absolute figures are not worth keeping: they drift with the machine and the
//! day. The ratio is what may be compared, since everybody had the same minute.
//!
//! # Invariants
//!
//! - **Once.** Every workload is written once, over [`runtime::Runtime`]. What
//!   differs between the executors is in `adapters/`, and only there.
//! - **Turns.** In each round every executor runs once, and each round begins
//!   with a different one, so that a slow minute hits all of them.
//! - **Checked.** A workload asserts that its work was done. A fast run that
//!   lost a task is no result.
//!
//! The modules stand in reading order.

mod runtime; // what a workload may ask of an executor
mod workloads; // the workloads, and the list of them
mod adapters; // the executors, and the list of them
mod options; // the command line
mod table; // medians, the table, JSON

use adapters::{PEERS, Peer};
use options::Options;
use table::{Row, Table};
use workloads::Workload;

fn main() {
    let options = Options::from_command_line();
    let peers = peers_that_start(&options);
    let rows = options.workloads().map(|workload| measure(workload, &peers, &options));
    let table = Table { names: peers.iter().map(|peer| peer.name).collect(), rows: rows.collect() };
    print!("\n{table}");
    if let Some(file) = &options.json
        && let Err(error) = std::fs::write(file, table.to_json())
    {
        eprintln!("writing {}: {error}", file.display());
        std::process::exit(1);
    }
}

/// Those that can run on this machine. Says why the others cannot.
fn peers_that_start(options: &Options) -> Vec<&'static Peer> {
    let asked = PEERS.iter().filter(|peer| options.wants_peer(peer.name));
    asked
        .filter(|peer| match (peer.try_to_start)() {
            Ok(()) => true,
            Err(reason) => {
                println!("without {}: {reason}", peer.name);
                false
            }
        })
        .collect()
}

/// All rounds of one workload (Turns).
fn measure(workload: Workload, peers: &[&Peer], options: &Options) -> Row {
    let scale = options.scale;
    let mut row = Row::new(workload, peers.len());
    eprintln!("{}: {}", workload.name(), workload.about());
    for round in 0..options.rounds {
        for turn in 0..peers.len() {
            let index = (round + turn) % peers.len();
            if let Some(sample) = (peers[index].run)(workload, scale) {
                row.samples[index].push(sample);
            }
        }
    }
    row
}
