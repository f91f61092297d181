//! The workloads, and the list of them.
//!
//! Each does a number of passes of [`OPERATIONS`] operations, after a warm-up
//! of [`WARM_UP`] passes. What does not grow with the passes (starting the
//! executor, the first growth of its tables, the end) is in every run alike and
//! goes away when two runs are subtracted. So a pass leaves everything as it
//! found it.
//!
//! Nothing here depends on the hour or on chance: whatever looks at a clock
//! looks at a `ManualClock`. What a real clock costs is not counted, therefore.
//!
//! Each asserts that its work was done.

mod tasks; //  spawning, failing, cancelling; many at a time; the executor itself
mod timers; // sleeps made, dropped, pushed back, fired; timeouts
mod wakes; //  yielding, one task wakes another, a wake from outside

use hearken::Executor;

/// In one pass.
pub const OPERATIONS: usize = 100;

/// Passes before those that were asked for.
pub const WARM_UP: usize = 2;

/// The most passes that may be asked for: some workloads make the tasks for all
/// of them beforehand.
pub const MOST_PASSES: usize = 12;

/// One of the things counted.
pub struct Workload {
    /// As on the command line and in the record.
    pub name: &'static str,
    /// One operation of it, in words.
    pub about: &'static str,
    /// Does it: the warm-up, and so many passes.
    pub run: fn(usize),
}

/// Makes the list below. The names are those of the functions.
macro_rules! workloads {
    ($($file:ident::$function:ident, $about:literal;)*) => {
        pub static WORKLOADS: &[Workload] = &[$(
            Workload { name: stringify!($function), about: $about, run: $file::$function },
        )*];
    };
}

workloads! {
    tasks::spawn_join, "a task is spawned in a crowd and awaited for its value";
    tasks::spawn_await, "a task is spawned and awaited at once";
    tasks::spawn_detach, "a task is spawned without a handle, and runs";
    tasks::spawn_failing, "a task without a handle fails, and the handler hears of it";
    tasks::cancel_parked, "a task that waits is cancelled, and its handle dropped";
    tasks::gather, "a task is spawned and gathered, in a crowd";
    tasks::group, "a task is spawned in a group, and ends in it";
    tasks::startup, "an executor is made, runs a future that is ready, is dropped";
    tasks::block_on_ready, "the same executor runs a future that is ready";
    tasks::idle_turn, "a turn, when there is nothing to do";
    wakes::yield_many, "a task yields, in a crowd";
    wakes::yield_one, "a task yields, alone";
    wakes::ping_pong, "a task wakes another and is woken by it";
    wakes::chain, "a task in a ring wakes the next";
    wakes::wake_outside, "a wake through the inbox, and the turn that takes it in";
    timers::sleep_set_dropped, "a sleep is made, polled once, dropped";
    timers::sleep_reset, "a sleep that waits is pushed back and polled";
    timers::sleeps, "a task is spawned, sleeps, is awaited, in a crowd";
    timers::timeout_ready, "a timeout around a future that is ready";
    timers::timeout_yield, "a timeout around a future that yields once";
}

/// Runs `pass` in a task of the executor, for the warm-up and `passes` times.
fn repeat(executor: &Executor, passes: usize, pass: impl AsyncFn() + 'static) {
    let main = async move {
        let repeats = hearken::spawn_infallible(async move {
            for _ in 0..WARM_UP + passes {
                pass().await;
            }
        });
        Ok(repeats.await?)
    };
    executor.block_on(main).expect("no workload fails");
}
