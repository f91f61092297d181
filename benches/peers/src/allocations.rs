//! What is taken from the heap, and given back.
//!
//! A program that wants to know makes [`Counting`] its allocator. Off, as it is
//! while times are measured, it costs a branch per allocation, the same for
//! everyone. On, it counts for all threads together.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The system's allocator, with counters that can be switched on.
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap {
    /// How often something was taken. To grow a block is to take one.
    pub allocations: usize,
    /// Bytes taken.
    pub allocated: usize,
    /// Bytes given back.
    pub freed: usize,
}

impl Heap {
    pub fn now() -> Self {
        Self {
            allocations: ALLOCATIONS.load(Relaxed),
            allocated: ALLOCATED.load(Relaxed),
            freed: FREED.load(Relaxed),
        }
    }

    /// What has been counted since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            allocated: self.allocated - earlier.allocated,
            freed: self.freed - earlier.freed,
        }
    }

    /// Bytes taken and not given back. Below zero, if older ones were.
    pub fn live(self) -> f64 {
        self.allocated as f64 - self.freed as f64
    }
}

/// Counts for as long as the result lives.
#[must_use]
pub fn count() -> Counted {
    Counted { before: ON.swap(true, Relaxed) }
}

/// See [`count`].
pub struct Counted {
    before: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        ON.store(self.before, Relaxed);
    }
}

fn taken(size: usize) {
    if ON.load(Relaxed) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        ALLOCATED.fetch_add(size, Relaxed);
    }
}

fn given_back(size: usize) {
    if ON.load(Relaxed) {
        FREED.fetch_add(size, Relaxed);
    }
}

// SAFETY: each method does what the system's allocator does, with the very same
// arguments; the counters never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        taken(size);
        given_back(layout.size());
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
