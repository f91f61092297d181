//! Making an executor otherwise than with all that is usual.

use crate::clock::{Clock, Timepiece};
use crate::dump::Dump;
use crate::executor::{Executor, set_handler};
use crate::id::MOST_TASKS;
use crate::inbox;
use crate::lodgings;
use crate::report::{Handler, Report, Verdict};
use crate::run_queue::RunQueue;
use crate::state::{Settings, State};
use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

impl Executor {
    /// An executor with the machine's clock and the default handler.
    ///
    /// # Panics
    ///
    /// If 65,535 executors are alive.
    #[track_caller]
    pub fn new() -> Executor {
        Executor::builder().build()
    }

    /// An executor to be made otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Default for Executor {
    #[track_caller]
    fn default() -> Executor {
        Executor::new()
    }
}

/// An [`Executor`] that is to be made otherwise than [`Executor::new`] makes it.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock, Verdict};
/// use std::time::Duration;
///
/// let executor = Executor::builder()
///     .clock(ManualClock::auto())
///     .handler(|report| {
///         eprintln!("{report}");
///         Verdict::ShutDown
///     })
///     .grace(Some(Duration::from_secs(2)))
///     .max_tasks(1000)
///     .build();
/// # drop(executor);
/// ```
#[must_use = "a builder builds with `build`"]
#[derive(Default)]
pub struct Builder {
    handler: Option<Box<dyn Handler>>,
    clock: Option<Box<dyn Clock>>,
    on_wake: Option<inbox::Bell>,
    shuffle: Option<u64>,
    settings: Settings,
    look: Option<fn(&State) -> Dump>,
}

impl Builder {
    /// Hears the reports. Without it they are written to standard error:
    /// [`DefaultHandler`](crate::DefaultHandler).
    pub fn handler(self, f: impl FnMut(&Report) -> Verdict + 'static) -> Builder {
        self.handler_object(f)
    }

    /// Hears the reports: a [`Handler`] that is not a closure.
    pub fn handler_object(mut self, handler: impl Handler + 'static) -> Builder {
        self.handler = Some(Box::new(handler));
        self
    }

    /// The time. Without it, the machine's, which begins when it is first read:
    /// [`SystemClock`](crate::SystemClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Builder {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Called when there is something to do and the host was told that there
    /// was not: from whichever thread, at most once between two turns, with no
    /// lock held. It should make the host's loop take a turn soon, and not take
    /// one itself.
    pub fn on_wake(mut self, f: impl Fn() + Send + Sync + 'static) -> Builder {
        self.on_wake = Some(Arc::new(f));
        self
    }

    /// How long a shutdown waits for tasks to end, by the executor's clock.
    /// `None` is no limit. Without it, 5 s.
    pub fn grace(mut self, grace: Option<Duration>) -> Builder {
        self.settings.grace = grace;
        self
    }

    /// Reports polls that take as long as this or longer, when they are over.
    /// Costs two readings of the clock for each poll.
    pub fn slow_poll(mut self, limit: Duration) -> Builder {
        self.settings.slow_poll = Some(limit);
        self
    }

    /// How many tasks may be alive at a time, beside the main of `block_on`; at most
    /// 16,777,215, which is also what holds without it.
    pub fn max_tasks(mut self, max_tasks: usize) -> Builder {
        self.settings.max_tasks = max_tasks.min(MOST_TASKS) as u32;
        self
    }

    /// Polls each batch in an order drawn from `seed`, the same on every run
    /// and machine: to find out what relies on the order by chance.
    pub fn shuffle(mut self, seed: u64) -> Builder {
        self.shuffle = Some(seed);
        self
    }

    /// Declares that nothing outside this thread ever wakes these tasks. When
    /// all of them wait, and for no timer, `block_on` then returns
    /// [`RunError::Stalled`](crate::RunError::Stalled) instead of waiting for ever.
    pub fn closed_world(mut self, closed_world: bool) -> Builder {
        self.settings.closed_world = closed_world;
        self.look = closed_world.then_some(Dump::of);
        self
    }

    /// Reports tasks that were asked to cancel and ended with a value all the
    /// same, without having [accepted](crate::Cancelled::accept) it:
    /// [`ReportKind::IgnoredCancellation`](crate::ReportKind::IgnoredCancellation).
    pub fn debug(mut self, debug: bool) -> Builder {
        self.settings.debug = debug;
        self
    }

    /// Makes the executor.
    ///
    /// # Panics
    ///
    /// If 65,535 executors are alive.
    #[track_caller]
    pub fn build(self) -> Executor {
        let Builder { handler, clock, on_wake, shuffle, settings, look } = self;
        let queue = shuffle.map_or_else(RunQueue::default, RunQueue::shuffled);
        let clock = clock.map_or(Timepiece::Machine(OnceCell::new()), Timepiece::Given);
        let inbox = lodgings::move_in();
        if on_wake.is_some() {
            inbox.open(on_wake);
        }
        // Cyclic only in name: it is made where it stays, and not copied there.
        let state = Rc::new_cyclic(|_| State::new(inbox, queue, clock, settings));
        let executor = Executor { state, look };
        if let Some(handler) = handler {
            set_handler(&executor.state, handler);
        }
        executor
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}
