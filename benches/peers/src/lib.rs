//! hearken beside its peers: the same workloads, taking turns, in one process.
//!
//! `cargo run --release -p hearken-peers` prints a table of nanoseconds per
//! operation, the ratios of hearken to the fastest peer and to the floor, and
//! what each takes from the heap; `docs/performance.md` says how to read it. It
//! is not a profiler, and its absolute figures are not worth keeping: they
//! drift with the machine and the day. The ratio is what may be compared, since
//! everybody had the same minute.
//!
//! # Invariants
//!
//! - **Once.** Every workload is written once, over [`runtime::Runtime`]. What
//!   differs between the executors is in `adapters/`, and only there.
//! - **Turns.** In each round every executor runs once, and each round begins
//!   with a different one, so that a slow minute hits all of them.
//! - **Checked.** A workload asserts that its work was done. A fast run that
//!   lost a task is no result.
//! - **Uncounted.** While times are taken, no allocation is counted; that has a
//!   round of its own.
//!
//! The modules stand in reading order.

pub mod runtime; // what a workload may ask of an executor
pub mod allocations; // what is taken from the heap
pub mod workloads; // the workloads, and the list of them
pub mod adapters; // the executors, and the list of them
pub mod options; // the command line
pub mod table; // medians, the table, JSON
