//! The workloads, and the list of them.
//!
//! Each runs one warm-up pass and then measures inside the running executor, so
//! that neither starting it nor the first growth of its queues is counted
//! (except in `startup`, which is about the former, and where memory or many
//! sleeps are what it is about).

mod tasks; //   spawning, yielding, startup
mod wakes; //   one task wakes another
mod threads; // a thread wakes a task
mod endings; // tasks that are cancelled, tasks that panic
mod timers; //  sleeps made, dropped, pushed back, fired; time limits
mod memory; //  what a task takes while it waits

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::allocations::Heap;
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

/// What one run of a workload says.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// In the workload's [`Unit`].
    pub value: f64,
    /// Per operation; nothing where the workload is not about speed.
    pub heap: Option<PerOperation>,
}

/// What an operation took from the heap, if that was counted.
#[derive(Clone, Copy, Debug)]
pub struct PerOperation {
    pub allocations: f64,
    pub bytes: f64,
}

/// What a figure counts. Less is better, of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Bytes,
}

impl Unit {
    /// As in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "us",
            Unit::Bytes => "bytes",
        }
    }
}

/// From the start of what is measured to its end.
struct Stopwatch {
    heap: Heap,
    processor: f64,
    wall: Instant,
}

impl Stopwatch {
    fn start() -> Self {
        Self { heap: Heap::now(), processor: processor_nanos(), wall: Instant::now() }
    }

    /// Nanoseconds since the start, per operation.
    fn per(&self, operations: usize) -> Sample {
        let nanos = self.wall.elapsed().as_nanos() as f64;
        self.sample(nanos, operations)
    }

    /// Processor time since the start, of all threads, per operation.
    fn processor_per(&self, operations: usize) -> Sample {
        let nanos = processor_nanos() - self.processor;
        self.sample(nanos, operations)
    }

    fn sample(&self, nanos: f64, operations: usize) -> Sample {
        let heap = Heap::now().since(self.heap);
        let per = |amount: usize| amount as f64 / operations as f64;
        Sample {
            value: nanos / operations as f64,
            heap: Some(PerOperation {
                allocations: per(heap.allocations),
                bytes: per(heap.allocated),
            }),
        }
    }
}

/// The mean of each figure, of samples of one kind.
fn mean(samples: &[Sample]) -> Sample {
    let count = samples.len() as f64;
    let heaps: Option<Vec<_>> = samples.iter().map(|sample| sample.heap).collect();
    Sample {
        value: samples.iter().map(|sample| sample.value).sum::<f64>() / count,
        heap: heaps.map(|heaps| PerOperation {
            allocations: heaps.iter().map(|heap| heap.allocations).sum::<f64>() / count,
            bytes: heaps.iter().map(|heap| heap.bytes).sum::<f64>() / count,
        }),
    }
}

/// Processor time of this process so far, all its threads together.
fn processor_nanos() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// One that `main` has already seen starting.
fn started<R: Runtime>() -> R {
    R::start().expect("it started before")
}

/// Makes the list below: the enum, its names (those of the
/// functions), its units, its sentences.
macro_rules! workloads {
    ($($variant:ident = $file:ident::$function:ident, $unit:ident, $about:literal;)*) => {
        /// One of the things measured.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Workload { $($variant,)* }

        impl Workload {
            pub const ALL: &[Workload] = &[$(Workload::$variant,)*];

            /// As on the command line and in the table.
            pub fn name(self) -> &'static str {
                match self { $(Workload::$variant => stringify!($function),)* }
            }

            pub fn unit(self) -> Unit {
                match self { $(Workload::$variant => Unit::$unit,)* }
            }

            /// What one operation is.
            pub fn about(self) -> &'static str {
                match self { $(Workload::$variant => $about,)* }
            }

            /// Runs it on a fresh `R`. `None` where `R` has nothing of the kind.
            pub fn run<R: Runtime>(self, scale: Scale) -> Option<Sample> {
                match self { $(Workload::$variant => $file::$function::<R>(scale).into(),)* }
            }
        }
    };
}

workloads! {
    SpawnJoin = tasks::spawn_join, Nanoseconds, "spawn 4,096 tasks, then await each";
    SpawnAwait = tasks::spawn_await, Nanoseconds, "spawn one task and await it, then the next";
    SpawnDetach = tasks::spawn_detach, Nanoseconds, "spawn 4,096 tasks whose handles nobody keeps";
    FanOut = tasks::fan_out, Nanoseconds, "await 10,000 tasks in one FuturesUnordered, spawn included";
    YieldMany = tasks::yield_many, Nanoseconds, "1,000 tasks yield in turn, per yield";
    YieldOne = tasks::yield_one, Nanoseconds, "one task yields, per yield";
    PingPong = wakes::ping_pong, Nanoseconds, "two tasks wake each other, per round trip";
    Chain = wakes::chain, Nanoseconds, "1,000 tasks in a ring wake one another, per hop";
    Channel = wakes::channel, Nanoseconds, "a message through async-channel's bounded(1), between two tasks";
    ForeignWake = threads::foreign_wake, Nanoseconds, "a spinning thread wakes the task that asked it, per round trip";
    Storm = threads::storm, Nanoseconds, "a thread wakes one task 1,000,000 times, per wake";
    Cancel = endings::cancel, Nanoseconds, "a parked task is cancelled and dropped";
    Panic = endings::panic, Nanoseconds, "a task panics and is awaited";
    SleepSetDropped = timers::sleep_set_dropped, Nanoseconds, "a sleep is made, polled once, dropped";
    SleepBeside10k = timers::sleep_beside_10k, Nanoseconds, "the same, beside 10,000 sleeps that wait";
    SleepReset = timers::sleep_reset, Nanoseconds, "a waiting sleep is pushed back and polled";
    TimeoutReady = timers::timeout_ready, Nanoseconds, "a time limit around a future that is ready";
    TimeoutYield = timers::timeout_yield, Nanoseconds, "a time limit around a future that yields once";
    Sleeps100k = timers::sleeps_100k, Nanoseconds, "100,000 tasks sleep 1 to 100 ms, processor time per task";
    Sleeps1m = timers::sleeps_1m, Nanoseconds, "1,000,000 tasks sleep 1 to 1,000 ms, processor time per task";
    Lateness = timers::lateness, Microseconds, "how long after its end a sleep is noticed";
    Startup = tasks::startup, Nanoseconds, "make an executor, run a ready future, drop it";
    TaskBytes = memory::task_bytes, Bytes, "a parked task, its future of 40 bytes included";
    SleepBytes = memory::sleep_bytes, Bytes, "a task in a sleep";
}

impl Workload {
    /// How many of the rounds asked for are worth their time.
    pub fn rounds(self, asked: usize) -> usize {
        match self {
            // A second and a half each; and nothing in them that is short
            // enough to be disturbed.
            Workload::Sleeps1m => asked.min(3),
            // The same every time.
            Workload::TaskBytes | Workload::SleepBytes => 1,
            _ => asked,
        }
    }
}
