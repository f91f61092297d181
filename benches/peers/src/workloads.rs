//! The workloads, and the list of them.
//!
//! Each runs one warm-up pass and then measures inside the running executor, so
//! that neither starting it nor the first growth of its queues is counted
//! (except in `startup`, which is about the former). Each returns nanoseconds
//! per operation.

mod tasks; //  spawning, yielding, startup
mod timers; // sleeps made, dropped, pushed back, fired
mod wakes; //  one task wakes another; a thread wakes a task

use std::time::Instant;

use crate::runtime::Runtime;

/// How much to do.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Only enough to see that it works.
    pub quick: bool,
}

impl Scale {
    /// `full`, or a small part of it.
    fn of(self, full: usize) -> usize {
        if self.quick { (full / 100).max(2) } else { full }
    }
}

/// Wall-clock time of a loop, per operation.
struct Stopwatch(Instant);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start, per operation.
    fn per(&self, operations: usize) -> f64 {
        self.0.elapsed().as_nanos() as f64 / operations as f64
    }
}

/// Makes the list below: the enum, its names (those of the
/// functions), its sentences.
macro_rules! workloads {
    ($($variant:ident = $file:ident::$function:ident, $about:literal;)*) => {
        /// One of the things measured.
        #[derive(Clone, Copy)]
        pub enum Workload { $($variant,)* }

        impl Workload {
            pub const ALL: &[Workload] = &[$(Workload::$variant,)*];

            /// As on the command line and in the table.
            pub fn name(self) -> &'static str {
                match self { $(Workload::$variant => stringify!($function),)* }
            }

            /// What one operation is.
            pub fn about(self) -> &'static str {
                match self { $(Workload::$variant => $about,)* }
            }

            /// Runs it on a fresh `R`. `None` where `R` has nothing of the kind.
            pub fn run<R: Runtime>(self, scale: Scale) -> Option<f64> {
                match self { $(Workload::$variant => $file::$function::<R>(scale).into(),)* }
            }
        }
    };
}

workloads! {
    SpawnJoin = tasks::spawn_join, "spawn 4,096 tasks, then await each";
    SpawnDetach = tasks::spawn_detach, "spawn 4,096 tasks whose handles nobody keeps";
    YieldMany = tasks::yield_many, "1,000 tasks yield in turn, per yield";
    YieldOne = tasks::yield_one, "one task yields, per yield";
    PingPong = wakes::ping_pong, "two tasks wake each other, per round trip";
    ForeignWake = wakes::foreign_wake, "a spinning thread wakes the task that asked it, per round trip";
    SleepSetDropped = timers::sleep_set_dropped, "a sleep is made, polled once, dropped";
    SleepReset = timers::sleep_reset, "a waiting sleep is pushed back and polled";
    Sleeps100k = timers::sleeps_100k, "100,000 tasks sleep 1 to 100 ms, processor time per task";
    Startup = tasks::startup, "make an executor, run a ready future, drop it";
}
