//! The executors, and the list of them.
//!
//! An adapter says each of the things in [`Runtime`] in its executor's own
//! words, and adds as little as it can. What it has to add is said there.

mod async_executor;
mod compio;
mod hearken;
mod local_pool;
mod monoio;
mod tokio;

use crate::runtime::Runtime;
use crate::workloads::{Scale, Workload};

/// One executor, with its type taken away.
pub struct Peer {
    /// As in the table and on the command line.
    pub name: &'static str,
    /// The package, as in `Cargo.lock`.
    pub package: &'static str,
    /// Starts one and drops it, or says why this machine cannot have it.
    pub try_to_start: fn() -> Result<(), String>,
    /// Runs a workload once, on an executor of its own.
    pub run: fn(Workload, Scale) -> Option<f64>,
}

impl Peer {
    const fn of<R: Runtime>(name: &'static str, package: &'static str) -> Self {
        Self {
            name,
            package,
            try_to_start: || R::start().map(drop),
            run: |workload, scale| workload.run::<R>(scale),
        }
    }
}

/// hearken first: the ratio is that of the first to the fastest of the others.
pub static PEERS: [Peer; 7] = [
    Peer::of::<hearken::Hearken>("hearken", "hearken"),
    Peer::of::<monoio::Monoio>("monoio", "monoio"),
    Peer::of::<compio::Compio>("compio", "compio-runtime"),
    Peer::of::<tokio::Runtime>("tokio-rt", "tokio"),
    Peer::of::<tokio::Set>("tokio-set", "tokio"),
    Peer::of::<async_executor::Local>("async-exec", "async-executor"),
    Peer::of::<local_pool::Pool>("local-pool", "futures-executor"),
];
