//! Reports: what the handler hears, because otherwise nobody would.
//!
//! A failure is retrieved (somebody was given it) or it is reported: to the
//! executor's [`Handler`], once, when it has become certain that nobody will
//! ever ask. This file says what a report *is* and how the default handler
//! writes it. When one is made is decided in `life.rs`; it is delivered by the
//! loop, in `turn.rs`, and by nobody else.
//!
//! Python's asyncio reports from a destructor, and most of what is wrong with
//! its reports follows from that: they come when the garbage collector pleases,
//! on whatever thread it runs, in the middle of other code, several deep, and
//! what the handler raises is lost. Here a `Drop` only queues.

use crate::id::TaskId;
use crate::outcome::{Panicked, catch};
use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::panic::Location;
use std::sync::Arc;

/// Something that nobody would hear of, if the handler did not.
///
/// Its `Display` is the text of the default handler.
///
/// # Examples
///
/// A library that has something nobody else will hear, and a program's handler:
///
/// ```
/// use hearken::{Executor, Report, ReportKind, Verdict};
///
/// let executor = Executor::builder()
///     .handler(|report| {
///         assert_eq!(report.kind(), ReportKind::Library);
///         assert_eq!(report.error().unwrap().to_string(), "the cache is full");
///         Verdict::Proceed
///     })
///     .build();
/// executor.report(Report::new(anyhow::anyhow!("the cache is full")));
/// executor.run_until_idle();
/// assert_eq!(executor.ledger().reported, 0); // that counts failed tasks only
/// ```
#[derive(Debug)]
pub struct Report(Box<Content>);

#[derive(Debug)]
struct Content {
    kind: ReportKind,
    task: Option<TaskInfo>,
    error: Option<anyhow::Error>,
    message: Cow<'static, str>,
    effect: Effect,
}

/// What follows when the handler has heard a report. It follows once, from the
/// loop that made the report, however often the report is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Effect {
    #[default]
    None,
    /// A failure is settled in the ledger.
    Settles,
    /// The program is interrupted.
    Interrupts,
}

/// What sort of thing a [`Report`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportKind {
    /// A task failed or panicked, and nobody can ask for its outcome any more.
    NeverRetrieved,
    /// A task ended as cancelled. Comes once for every such task.
    Cancelled,
    /// A done callback, a waker or the `on_wake` hook panicked.
    CallbackPanicked,
    /// A task failed while the executor was being shut down, and nobody can ask
    /// for its outcome any more.
    FailedDuringShutdown,
    /// A task did not finish within the grace of the shutdown, and was dropped.
    Overran,
    /// A task was dropped unfinished, together with its executor.
    DroppedPending,
    /// At the end of the executor somebody still holds the task and has not
    /// asked; the error can still be retrieved.
    StillHeld,
    /// The program was interrupted.
    Interrupted,
    /// A task that was asked to cancel ended normally (in debug mode).
    IgnoredCancellation,
    /// A poll took longer than the builder's `slow_poll`.
    SlowPoll,
    /// The handler panicked.
    HandlerFailed,
    /// A future or a value panicked while it was dropped.
    PanickedInDrop,
    /// A task was refused: too many are alive, or the executor is closed.
    Refused,
    /// A library reported this.
    Library,
}

impl Report {
    /// A report of one's own, of the kind [`Library`](ReportKind::Library).
    pub fn new(error: impl Into<anyhow::Error>) -> Report {
        Report::make(ReportKind::Library, "report").with_error(error.into())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn make(kind: ReportKind, message: impl Into<Cow<'static, str>>) -> Report {
        let (message, effect) = (message.into(), Effect::None);
        Report(Box::new(Content { kind, task: None, error: None, message, effect }))
    }

    #[inline(never)]
    pub(crate) fn about(mut self, task: TaskInfo) -> Report {
        self.0.task = Some(task);
        self
    }

    #[inline(never)]
    pub(crate) fn with_error(mut self, error: anyhow::Error) -> Report {
        self.0.error = Some(error);
        self
    }

    #[inline(never)]
    pub(crate) fn with_panic(self, panicked: Panicked) -> Report {
        self.with_error(anyhow::Error::new(panicked))
    }

    pub(crate) fn with_effect(mut self, effect: Effect) -> Report {
        self.0.effect = effect;
        self
    }

    pub(crate) fn take_effect(&mut self) -> Effect {
        std::mem::take(&mut self.0.effect)
    }

    /// Takes the error out again.
    pub(crate) fn take_error(&mut self) -> Option<anyhow::Error> {
        self.0.error.take()
    }

    /// What sort of thing this tells.
    pub fn kind(&self) -> ReportKind {
        self.0.kind
    }

    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<&TaskInfo> {
        self.0.task.as_ref()
    }

    /// The error, if there is one. A panic is one: downcast to [`Panicked`].
    pub fn error(&self) -> Option<&anyhow::Error> {
        self.0.error.as_ref()
    }

    /// What happened, in a few words, without task and error.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// What happened; the task's id, name and spawn location; the error with its
/// whole chain, and its backtrace if it has one.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hearken: {}", self.message())?;
        if let Some(task) = self.task() {
            write!(f, "\n  task {task}")?;
        }
        let Some(error) = self.error() else { return Ok(()) };
        write!(f, "\n  error: {error}")?;
        for cause in error.chain().skip(1) {
            write!(f, "\n  caused by: {cause}")?;
        }
        // Whether one was captured is the environment's decision, not ours. A
        // panic's would show where it was caught; the panic hook has printed
        // where it happened.
        let backtrace = error.backtrace();
        let is_panic = error.downcast_ref::<Panicked>().is_some();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured && !is_panic {
            write!(f, "\n  backtrace:\n{}", backtrace.to_string().trim_end())?;
        }
        Ok(())
    }
}

/// A report that ends a program becomes its error.
impl From<Report> for anyhow::Error {
    fn from(mut report: Report) -> anyhow::Error {
        match report.take_error() {
            Some(error) => error.context(report.message().to_owned()),
            None => anyhow::Error::msg(report.message().to_owned()),
        }
    }
}

// ---- The task of a report ------------------------------------------------------

/// What is known of a task, as plain data: it can be kept, and sent anywhere.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    pub(crate) id: TaskId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) location: &'static Location<'static>,
    pub(crate) state: TaskState,
    pub(crate) parent: Option<TaskId>,
    pub(crate) polls: u32,
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// Stands in the run queue.
    Ready,
    /// Waits to be woken.
    Waiting,
    /// Is being polled or dropped at this moment.
    Running,
    /// Ended with a value.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by a panic.
    Panicked,
    /// Ended by a cancellation.
    Cancelled,
}

impl TaskInfo {
    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The name that the task was given; `task-7` if it was given none.
    pub fn name(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => default_name(self.id),
        }
    }

    /// Where the task was spawned.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Where it was in its life when this was made.
    pub fn state(&self) -> TaskState {
        self.state
    }

    /// The task that spawned it. None if it was spawned from outside.
    pub fn parent(&self) -> Option<TaskId> {
        self.parent
    }

    /// How often it had been polled.
    pub fn polls(&self) -> u32 {
        self.polls
    }
}

pub(crate) fn default_name(id: TaskId) -> String {
    format!("task-{}", id.number())
}

/// Id, name if it was given one, and where it was spawned.
impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ", spawned at {}", self.location)
    }
}

// ---- Handlers -------------------------------------------------------------------

/// What hears the reports of an executor.
///
/// It is called by the loop only: between two polls, on the executor's own
/// thread, never from inside a `Drop` of the program, and never while it is
/// running already. It may do what a task may: spawn, cancel, drop handles,
/// report; what that leads to is delivered the next time. If it panics, the
/// default handler gets both the panic and the report.
///
/// A closure `FnMut(&Report) -> Verdict` is one.
pub trait Handler {
    /// Hears a report, and says what is to be done because of it.
    fn handle(&mut self, report: &Report) -> Verdict;
}

impl<F: FnMut(&Report) -> Verdict> Handler for F {
    fn handle(&mut self, report: &Report) -> Verdict {
        self(report)
    }
}

/// What is to be done because of a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verdict {
    /// What would happen without a handler. The program goes on; an interrupt
    /// goes to its next stage.
    #[default]
    Proceed,
    /// Begin an orderly shutdown.
    /// [`block_on`](crate::Executor::block_on) and [`run`](crate::run()) return
    /// [`RunError::ShutDown`](crate::RunError::ShutDown) with this report.
    ShutDown,
    /// Swallow an interrupt. For all other reports the same as `Proceed`.
    Ignore,
}

/// The handler of an executor that was given none: writes each report to
/// standard error, except cancellations, and goes on.
///
/// A program's own handler can pass on to it what it has nothing to say to.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHandler;

impl Handler for DefaultHandler {
    fn handle(&mut self, report: &Report) -> Verdict {
        if report.kind() != ReportKind::Cancelled {
            // Formatted first: the error is foreign, and may panic or write to
            // standard error itself. Where nobody listens, there is nobody to
            // tell that nobody listens.
            let text = catch(|| format!("{report}\n")).unwrap_or_else(|_| {
                format!("hearken: {} (its error panicked when printed)\n", report.message())
            });
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
        Verdict::Proceed
    }
}

// ---- The ledger -----------------------------------------------------------------

/// Every task that was ever spawned, counted once.
///
/// It balances after every turn:
/// `spawned = live + succeeded + failed + cancelled` and
/// `failed = retrieved + reported + ignored + held`.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let task = executor.spawn(async { Err::<(), _>(anyhow::anyhow!("no")) });
/// executor.run_until_idle();
/// assert_eq!(executor.ledger().held, 1); // failed, and nobody has asked
/// assert!(task.error().is_ok());
/// assert_eq!(executor.ledger().retrieved, 1);
/// assert!(executor.ledger().balances());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Tasks spawned, the mains of `block_on` included.
    pub spawned: u64,
    /// Tasks that have not ended.
    pub live: u64,
    /// Tasks that ended with a value.
    pub succeeded: u64,
    /// Tasks that ended with an error or a panic.
    pub failed: u64,
    /// Tasks that ended as cancelled.
    pub cancelled: u64,
    /// Failures that were handed to somebody.
    pub retrieved: u64,
    /// Failures that went to the handler.
    pub reported: u64,
    /// Failures of tasks of which somebody said that they do not matter.
    pub ignored: u64,
    /// Failures that somebody may still ask for, or whose report is on its way.
    pub held: u64,
    /// Spawns that were refused. They count nowhere else.
    pub refused: u64,
}

impl Ledger {
    /// Whether every task is in exactly one place.
    pub fn balances(&self) -> bool {
        self.spawned == self.live + self.succeeded + self.failed + self.cancelled
            && self.failed == self.retrieved + self.reported + self.ignored + self.held
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger { spawned, live, succeeded, failed, cancelled, .. } = self;
        let Ledger { retrieved, reported, ignored, held, refused, .. } = self;
        write!(
            f,
            "{spawned} spawned = {live} live + {succeeded} succeeded + {failed} failed + {cancelled} cancelled; \
             {failed} failed = {retrieved} retrieved + {reported} reported + {ignored} ignored + {held} held; \
             {refused} refused"
        )
    }
}
