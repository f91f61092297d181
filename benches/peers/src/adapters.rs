//! The executors, and the list of them.
//!
//! An adapter says each of the things in [`Runtime`] in its executor's own
//! words, and adds as little as it can. What it has to add is said there.

pub mod async_executor;
pub mod async_task;
pub mod compio;
pub mod floor;
pub mod hearken;
pub mod local_pool;
pub mod monoio;
pub mod tokio;

use crate::runtime::Runtime;
use crate::workloads::{Sample, Scale, Workload};

/// One executor, with its type taken away.
pub struct Peer {
    /// As in the table and on the command line.
    pub name: &'static str,
    pub standing: Standing,
    /// The packages that it consists of, as in `Cargo.lock`.
    pub packages: &'static [&'static str],
    /// Starts one and drops it, or says why this machine cannot have it.
    pub try_to_start: fn() -> Result<(), String>,
    /// Runs a workload once, on an executor of its own.
    pub run: fn(Workload, Scale) -> Option<Sample>,
}

/// What it is compared as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ours,
    Peer,
    /// Not an executor that one could use: it shows what is possible.
    Floor,
}

impl Peer {
    pub const fn of<R: Runtime>(
        name: &'static str,
        standing: Standing,
        packages: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            standing,
            packages,
            try_to_start: || R::start().map(drop),
            run: |workload, scale| workload.run::<R>(scale),
        }
    }
}

/// In the order of the table's columns.
pub static PEERS: [Peer; 9] = [
    Peer::of::<hearken::Hearken>("hearken", Standing::Ours, &["hearken"]),
    Peer::of::<monoio::Monoio>("monoio", Standing::Peer, &["monoio"]),
    Peer::of::<compio::Compio>(
        "compio",
        Standing::Peer,
        &["compio-runtime", "compio-executor", "compio-driver"],
    ),
    Peer::of::<tokio::Runtime>("tokio-rt", Standing::Peer, &["tokio"]),
    Peer::of::<tokio::Set>("tokio-set", Standing::Peer, &["tokio"]),
    Peer::of::<async_executor::Local>(
        "async-exec",
        Standing::Peer,
        &["async-executor", "async-task", "async-io"],
    ),
    Peer::of::<async_task::Bare>("async-task", Standing::Peer, &["async-task", "async-io"]),
    Peer::of::<local_pool::Pool>(
        "local-pool",
        Standing::Peer,
        &["futures-executor", "futures-timer"],
    ),
    Peer::of::<floor::Floor>("floor", Standing::Floor, &[]),
];

/// The release that this program was built with.
pub fn version(package: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let (_, entry) =
        lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap_or_default();
    entry.split('"').next().unwrap_or_default()
}
