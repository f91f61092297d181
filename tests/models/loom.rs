//! The scenarios under loom: every order in which the threads may meet, and for
//! each load every value that the memory model allows.
//!
//! ```sh
//! cargo run --release -p hearken-models --example wake-loom -- [SCENARIO…]
//! ```
//!
//! It prints how many executions there were. A scenario that fails panics, also
//! when all threads wait for one another; then `LOOM_CHECKPOINT_FILE` and
//! `LOOM_LOG`, which loom's pages explain, show how it came to that.

#[path = "../../executor/inbox.rs"]
#[allow(dead_code, unused_imports)] // what the turn needs, and the model does not
mod inbox;
#[path = "../../executor/pile.rs"]
mod pile;
mod scenarios;

/// In place of `executor/sync.rs`.
mod sync {
    pub(crate) use crate::scenarios::queue::SegQueue;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread;

    /// To wait a moment is nothing here: there is no time.
    pub(crate) fn spin_loop() {}
}

fn main() {
    scenarios::main(|limit, scenario| {
        let mut model = loom::model::Builder::new();
        model.max_branches = 10_000;
        model.preemption_bound = limit;
        model.check(scenario);
    });
}
