//! What the tests of behaviour lean on: a place to say things, a handler that
//! takes notes, and an executor with both.
//!
//! Only what several files need stands here.

#![allow(dead_code, unused_imports)] // no file needs all of it

pub mod cast;
pub mod foreign;
mod random;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::Context as _;
use hearken::{
    Budget, Builder, Executor, ManualClock, Report, ReportKind, Task, Verdict, scope, sleep,
};
pub use random::Random;

/// An executor on a clock that jumps when all wait, and what its handler heard.
pub struct World {
    pub executor: Executor,
    pub clock: ManualClock,
    pub heard: Heard,
}

impl World {
    pub fn new() -> World {
        World::with(|builder| builder)
    }

    /// One whose builder is told more.
    pub fn with(more: impl FnOnce(Builder) -> Builder) -> World {
        let (clock, heard) = (ManualClock::auto(), Heard::default());
        let builder = Executor::builder().clock(clock.clone()).handler(heard.handler());
        World { executor: more(builder).build(), clock, heard }
    }

    /// A task that waits for ever and says `name` when it is dropped.
    pub fn waiter(&self, said: &Transcript, name: &str) -> Task<()> {
        let guard = said.finally(name);
        self.executor.spawn(waiting(move || {
            let _guard = &guard;
        }))
    }

    /// A task that waits for ever, and needs so long to clean up.
    pub fn tidy(&self, duration: Duration) -> Task<()> {
        let task = self.executor.spawn(async move {
            if let Err(cancelled) = scope(pending::<()>()).await {
                sleep(duration).await;
                Err(cancelled)?;
            }
            Ok(())
        });
        self.executor.run_until_idle();
        task
    }

    /// Shuts down, with all handles gone: the ledger has nothing open.
    #[track_caller]
    pub fn close(self) -> Heard {
        self.executor.shut_down();
        assert_settled(&self.executor);
        self.heard
    }
}

/// A world and a transcript, for tests about what comes after what.
pub struct Play {
    pub world: World,
    pub said: Transcript,
}

impl Play {
    pub fn new() -> Play {
        Play::with(|builder| builder)
    }

    pub fn with(more: impl FnOnce(Builder) -> Builder) -> Play {
        Play { world: World::with(more), said: Transcript::new() }
    }

    /// Spawns what `body` makes of the transcript. It is not polled yet.
    #[track_caller]
    pub fn spawn<T: 'static, F>(&self, body: impl FnOnce(Transcript) -> F) -> Task<T>
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        self.world.executor.spawn(body(self.said.clone()))
    }

    /// The same, and then runs until all wait.
    #[track_caller]
    pub fn start<T: 'static, F>(&self, body: impl FnOnce(Transcript) -> F) -> Task<T>
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        let task = self.spawn(body);
        self.world.executor.run_until_idle();
        task
    }

    /// Takes one turn. What was said since this was last asked.
    pub fn turn(&self) -> Vec<String> {
        self.world.executor.turn(Budget::Batch);
        self.said.lines()
    }

    /// Runs until all wait. What was said since this was last asked.
    pub fn run(&self) -> Vec<String> {
        self.world.executor.run_until_idle();
        self.said.lines()
    }

    /// Shuts down, with all handles gone: the ledger has nothing open, and
    /// every future that could have said something was dropped.
    #[track_caller]
    pub fn close(self) -> Heard {
        let heard = self.world.close();
        assert_eq!(Rc::strong_count(&self.said.0), 1, "as many futures were dropped as were made");
        heard
    }
}

/// An executor whose handler is `hear`, on a clock that jumps.
pub fn executor(hear: impl FnMut(&Report) -> Verdict + 'static) -> Executor {
    Executor::builder().clock(ManualClock::auto()).handler(hear).build()
}

/// A task that has failed, and its handle.
pub fn failed(executor: &Executor) -> Task<()> {
    let task = executor.spawn(failing());
    executor.run_until_idle();
    assert!(task.is_finished());
    task
}

#[track_caller]
pub fn assert_balances(executor: &Executor) {
    let ledger = executor.ledger();
    assert!(ledger.balances(), "{ledger}");
}

/// The ledger of an executor that is shut down, and of which no handle is left.
#[track_caller]
pub fn assert_settled(executor: &Executor) {
    let ledger = executor.ledger();
    assert!(ledger.balances() && ledger.live == 0 && ledger.held == 0, "{ledger}");
}

// ---- What was said ---------------------------------------------------------

/// Collects lines, in the order in which they are said.
#[derive(Clone, Default)]
pub struct Transcript(Rc<RefCell<Vec<String>>>);

impl Transcript {
    pub fn new() -> Transcript {
        Transcript::default()
    }

    pub fn say(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    /// What was said since this was last asked.
    pub fn lines(&self) -> Vec<String> {
        self.0.take()
    }

    /// Says `line` when dropped.
    pub fn finally(&self, line: impl Into<String>) -> Finally {
        Finally(self.clone(), line.into())
    }
}

pub struct Finally(Transcript, String);

impl Finally {
    pub fn say(&self, line: &str) {
        self.0.say(line);
    }
}

impl Drop for Finally {
    fn drop(&mut self) {
        self.0.say(self.1.as_str());
    }
}

/// A report, as it was heard.
#[derive(Clone, Debug)]
pub struct Note {
    pub kind: ReportKind,
    /// The number of the task.
    pub task: Option<u64>,
    /// The error, its context layers before it.
    pub error: Option<String>,
    pub message: String,
    /// The text of the default handler, without a backtrace.
    pub text: String,
}

impl Note {
    pub fn of(report: &Report) -> Note {
        let text = report.to_string();
        let text = text.split("\n  backtrace:").next().unwrap_or_default().to_owned();
        Note {
            kind: report.kind(),
            task: report.task().map(|task| task.id().number()),
            error: report.error().map(|error| format!("{error:#}")),
            message: report.message().to_owned(),
            text,
        }
    }
}

/// What a handler heard, in order.
#[derive(Clone, Default)]
pub struct Heard(Rc<RefCell<Vec<Note>>>);

impl Heard {
    pub fn note(&self, report: &Report) {
        self.0.borrow_mut().push(Note::of(report));
    }

    pub fn handler(&self) -> impl FnMut(&Report) -> Verdict + use<> {
        let heard = self.clone();
        move |report| {
            heard.note(report);
            Verdict::Proceed
        }
    }

    /// What was heard since this was last asked.
    pub fn notes(&self) -> Vec<Note> {
        self.0.take()
    }

    /// The same, of each only what kind it was.
    pub fn kinds(&self) -> Vec<ReportKind> {
        self.notes().into_iter().map(|note| note.kind).collect()
    }

    /// How many of this kind were heard since `notes` was last asked.
    pub fn count(&self, kind: ReportKind) -> usize {
        self.0.borrow().iter().filter(|note| note.kind == kind).count()
    }
}

// ---- Futures and errors to try things with -------------------------------------

/// An error with a type to be found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spilled(pub &'static str);

impl fmt::Display for Spilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spilled {}", self.0)
    }
}

impl std::error::Error for Spilled {}

/// So many seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Polls once, with a waker that wakes nobody.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Does it when dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Fails at its first poll: "pouring: spilled tea".
pub async fn failing() -> anyhow::Result<()> {
    Err(Spilled("tea")).context("pouring")
}

/// Waits for ever, and does `work` when dropped.
pub fn waiting(work: impl FnMut() + 'static) -> impl Future<Output = anyhow::Result<()>> {
    let on_drop = OnDrop(work);
    async move {
        let _on_drop = on_drop;
        pending().await
    }
}

/// Does `work`, of whose panics nothing is printed.
pub fn hushed<R>(work: impl FnOnce() -> R) -> R {
    thread_local! { static HUSHED: Cell<bool> = const { Cell::new(false) } }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match HUSHED.get() {
            true => {}
            false => hook(info),
        }));
    });
    struct Until(bool);
    impl Drop for Until {
        fn drop(&mut self) {
            HUSHED.set(self.0);
        }
    }
    let _until = Until(HUSHED.replace(true));
    work()
}

/// A gate: whoever passes it waits until somebody opens it.
#[derive(Clone, Default)]
pub struct Gate(Rc<(Cell<bool>, RefCell<Vec<Waker>>)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        self.0.0.set(true);
        let waiting = self.0.1.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    pub async fn pass(self) {
        std::future::poll_fn(|cx| {
            if self.0.0.get() {
                return Poll::Ready(());
            }
            self.0.1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A place for something that both a task and the test want to reach, such as
/// the task's own handle.
pub struct Shelf<T>(Rc<RefCell<Option<T>>>);

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Shelf<T> {
        Shelf(self.0.clone())
    }
}

impl<T> Shelf<T> {
    pub fn new() -> Shelf<T> {
        Shelf(Rc::new(RefCell::new(None)))
    }

    pub fn put(&self, thing: T) {
        // What was there is dropped when nothing is borrowed.
        let _old = self.0.replace(Some(thing));
    }

    pub fn take(&self) -> Option<T> {
        self.0.take()
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Looks at what is there.
    ///
    /// Nobody may put or take meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(self.0.borrow_mut().as_mut().expect("something is on the shelf"))
    }
}

// ---- Trying all orders ------------------------------------------------------------

/// Calls `each` with every sequence of different things from `things`, the
/// empty one and the shorter ones included.
pub fn every_order<T: Copy>(things: &[T], each: &mut impl FnMut(&[T])) {
    fn go<T: Copy>(left: &[T], chosen: &mut Vec<T>, each: &mut impl FnMut(&[T])) {
        each(chosen);
        for (place, &thing) in left.iter().enumerate() {
            let rest = [&left[..place], &left[place + 1..]].concat();
            chosen.push(thing);
            go(&rest, chosen, each);
            chosen.pop();
        }
    }
    go(things, &mut Vec::new(), each);
}
