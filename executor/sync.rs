//! What threads share: the atomics, the lock, the queue.
//!
//! It is nothing but names. The files by which other threads reach an executor
//! (`pile.rs`, `inbox.rs`) take theirs from here, so that `tests/models` can
//! compile the same files with other ones, those of loom and of shuttle, and try
//! the orders in which threads may meet.

pub(crate) use crossbeam_queue::SegQueue;
pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
