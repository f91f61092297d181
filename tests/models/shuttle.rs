//! The scenarios under shuttle: many orders in which the threads may meet, drawn
//! at random and with few changes of threads (PCT). Memory is as if there were no
//! caches here; what only a weaker one does is for loom to find.
//!
//! ```sh
//! cargo run --release -p hearken-models --example wake-shuttle -- [SCENARIO…]
//! ```
//!
//! `HEARKEN_SEEDS` says how many of each sort, 20,000 if not told.

#[path = "../../executor/inbox.rs"]
#[allow(dead_code, unused_imports)] // what the turn needs, and the model does not
mod inbox;
#[path = "../../executor/pile.rs"]
mod pile;
mod scenarios;

/// In place of `executor/sync.rs`.
mod sync {
    pub(crate) use crate::scenarios::queue::SegQueue;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;

    /// To wait a moment is nothing here: there is no time.
    pub(crate) fn spin_loop() {}
}

fn main() {
    let orders = std::env::var("HEARKEN_SEEDS").ok();
    let orders = orders.map_or(20_000, |orders| orders.parse().expect("a number of orders"));
    scenarios::main(|_, scenario| {
        shuttle::check_random(scenario, orders);
        shuttle::check_pct(scenario, orders, 3);
    });
}
