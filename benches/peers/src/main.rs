//! Runs what the command line asks for, and prints the table.

use hearken_peers::adapters::{PEERS, Peer};
use hearken_peers::allocations::{self, Counting};
use hearken_peers::options::Options;
use hearken_peers::table::{Row, Table};
use hearken_peers::workloads::{Unit, Workload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let options = Options::from_command_line();
    let peers = peers_that_start(&options);
    let rows = options.workloads().map(|workload| measure(workload, &peers, &options)).collect();
    let table = Table { peers, rows };
    print!("\n{}\n{}", table.times(), table.heaps());
    if let Some(file) = &options.json
        && let Err(error) = std::fs::write(file, table.to_json(options.date.as_deref()))
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

/// All rounds of one workload (Turns), and one in which allocations are counted
/// instead (Uncounted).
fn measure(workload: Workload, peers: &[&Peer], options: &Options) -> Row {
    let scale = options.scale;
    let mut row = Row::new(workload, peers.len());
    eprintln!("{}: {}", workload.name(), workload.about());
    for round in 0..workload.rounds(options.rounds) {
        for turn in 0..peers.len() {
            let index = (round + turn) % peers.len();
            if let Some(sample) = (peers[index].run)(workload, scale) {
                row.samples[index].push(sample.value);
            }
        }
    }
    if workload.unit() == Unit::Nanoseconds {
        let _counting = allocations::count();
        for (peer, heap) in peers.iter().zip(&mut row.heaps) {
            *heap = (peer.run)(workload, scale).and_then(|sample| sample.heap);
        }
    }
    row
}
