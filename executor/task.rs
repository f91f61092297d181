//! A spawned future and its outcome, in one allocation.
//!
//! A [`TaskCell`] is header, future and outcome side by side; the outcome takes
//! the place of the future. The executor sees it as something to poll
//! ([`AnyTask`]), the handle as something to ask ([`Join`]), and neither knows
//! the future's type.
//!
//! The main of `block_on` is a task like all others, except that its future may
//! borrow from the caller and so stays on the caller's stack. The table holds a
//! [`MainStub`] for it, which knows where the [`MainBody`] is while it is driven.
//!
//! # Invariants
//!
//! - **Pinned.** A future is dropped where it was polled, and never moved.
//! - **Noted.** `within` in the header says what stands on the stage, at every
//!   moment when foreign code runs.
//! - **Alone.** While a future is polled or dropped, `within` says `Busy`, and
//!   nobody else touches the stage.
//! - **Written once, taken by the owner.** An outcome is written once. Only
//!   whoever can prove that nobody holds a reference to it takes it out: the
//!   one handle, through `&mut`, while there are no onlookers; or the last
//!   asker on leaving.

use crate::cancelling::fulfil;
use crate::counted::{AnyTask, Counted, HeaderFirst, Pool, Release, TaskRc};
use crate::header::{Header, Within};
use crate::id::TaskId;
use crate::life::{Ending, Hearing, Life};
use crate::outcome::{Cancelled, Panicked, TaskError, catch, quietly};
use crate::report::{Report, ReportKind};
use crate::state::State;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What a task leaves behind.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// What the handle needs of a task, whatever its future.
pub(crate) trait Join<T>: AnyTask {
    fn home(&self) -> &Rc<State>;

    /// The outcome, if it is there.
    fn outcome(&self) -> Option<&Outcome<T>>;

    /// Takes the outcome out.
    ///
    /// # Safety
    ///
    /// No reference that [`outcome`](Join::outcome) gave is alive.
    #[allow(unsafe_code)]
    unsafe fn take(&self) -> Option<Outcome<T>>;
}

/// A task as everybody knows it, of one as its handle knows it.
#[allow(unsafe_code)]
pub(crate) fn as_task<T>(task: Counted<dyn Join<T>>) -> TaskRc {
    // SAFETY: only a pointer to another trait object is made.
    unsafe { task.seen_as(|cell| cell as NonNull<dyn AnyTask>) }
}

#[allow(unsafe_code)]
impl<F: Future + 'static, B: Body<F> + 'static> Counted<TaskCell<F, B>> {
    /// As its handle knows it.
    #[inline]
    pub(crate) fn into_join(self) -> Counted<dyn Join<B::Value>> {
        // SAFETY: only a pointer to a trait object is made.
        unsafe { self.seen_as(|cell| cell as NonNull<dyn Join<B::Value>>) }
    }
}

/// What the output of a future means.
pub(crate) trait Body<F: Future> {
    type Value;
    fn outcome(output: F::Output, task: TaskId, executor: u64) -> Outcome<Self::Value>;
}

/// The output is a `Result`: what [`spawn`](crate::spawn()) takes.
pub(crate) struct Fallible;
/// The output is the value: what
/// [`spawn_infallible`](crate::spawn_infallible()) takes.
pub(crate) struct Infallible;

impl<T, F: Future<Output = anyhow::Result<T>>> Body<F> for Fallible {
    type Value = T;

    fn outcome(output: anyhow::Result<T>, task: TaskId, executor: u64) -> Outcome<T> {
        output.map_err(|error| TaskError::from_body(error, task, executor))
    }
}

impl<F: Future> Body<F> for Infallible {
    type Value = F::Output;

    fn outcome(output: F::Output, _: TaskId, _: u64) -> Outcome<F::Output> {
        Ok(output)
    }
}

// ---- The place of a future and its outcome -----------------------------------

/// The place itself. What stands there the header knows, in `within`.
union Stage<F, T> {
    future: ManuallyDrop<F>,
    outcome: ManuallyDrop<Outcome<T>>,
}

/// A stage and the note of what stands on it.
struct Place<'a, F, T> {
    within: &'a Cell<Within>,
    stage: Pin<&'a UnsafeCell<Stage<F, T>>>,
}

/// The future is being dropped for as long as this lives; then nothing stands
/// on the stage, also after a panic.
struct Alone<'a> {
    within: &'a Cell<Within>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.within.set(Within::Empty);
    }
}

#[allow(unsafe_code)]
impl<'a, F: Future, T> Place<'a, F, T> {
    /// Makes sure that a future stands here and nobody is at it.
    #[inline]
    fn set_busy(&self) {
        let within = self.within.get();
        assert!(within == Within::Future, "a future is polled and dropped once, by one at a time");
        self.within.set(Within::Busy);
    }

    #[inline]
    fn poll(&self, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.set_busy();
        // SAFETY: it is a future that stands here (Noted), and nobody else is at
        // it (Alone).
        let future = unsafe { &mut (*self.stage.get()).future };
        // SAFETY: the stage is pinned, and the future is never moved out of it,
        // but dropped in place (Pinned).
        let polled = unsafe { Pin::new_unchecked(&mut **future) }.poll(cx);
        self.within.set(Within::Future);
        polled
    }

    /// The poll has panicked: the future is still there, and nobody is at it.
    ///
    /// Not done by a guard in `poll`: every unwinding would have to stop there
    /// on its way to whoever catches it, which makes it a tenth longer.
    fn poll_panicked(&self) {
        if self.within.get() == Within::Busy {
            self.within.set(Within::Future);
        }
    }

    /// Drops the future, in place. After a panic, too, the place is empty.
    #[inline]
    fn drop_future(&self) {
        self.set_busy();
        let _alone = Alone { within: self.within };
        // SAFETY: as in `poll`.
        unsafe { ManuallyDrop::drop(&mut (*self.stage.get()).future) };
    }

    #[inline]
    fn write(&self, outcome: Outcome<T>) {
        let was = self.within.get();
        assert!(was == Within::Empty, "an outcome is written once, after the future is gone");
        // SAFETY: nothing stands here (Noted), so nobody has a reference to it.
        unsafe { (*self.stage.get()).outcome = ManuallyDrop::new(outcome) };
        self.within.set(Within::Outcome);
    }

    fn outcome(&self) -> Option<&'a Outcome<T>> {
        // SAFETY: an outcome stands here (Noted), and whoever takes it out first
        // proves that this reference is gone.
        (self.within.get() == Within::Outcome)
            .then(|| unsafe { &*(*self.stage.get_ref().get()).outcome })
    }

    fn cancellation(&self) -> Option<Cancelled> {
        match self.outcome() {
            Some(Err(TaskError::Cancelled(cancelled))) => Some(cancelled.copy()),
            _ => None,
        }
    }

    /// # Safety
    ///
    /// No reference that `outcome` gave is alive.
    #[inline]
    unsafe fn take(&self) -> Option<Outcome<T>> {
        if self.within.get() != Within::Outcome {
            return None;
        }
        self.within.set(Within::Empty);
        // SAFETY: an outcome stood here (Noted), and the caller vouches for the
        // references to it. From now on it counts as gone.
        Some(unsafe { ManuallyDrop::take(&mut (*self.stage.get()).outcome) })
    }

    /// Drops whatever is there, at the end of all.
    fn clear(&self) {
        match self.within.get() {
            Within::Future => self.drop_future(),
            // SAFETY: nobody is left who could have a reference.
            Within::Outcome => drop(unsafe { self.take() }),
            Within::Empty => {}
            Within::Busy => debug_assert!(false, "whoever is at a future holds its task"),
        }
    }
}

// ---- What is done to a task, wherever its parts lie ------------------------------

/// A header, a home and a stage.
trait Staged<F: Future, T>: AnyTask {
    fn home(&self) -> &State;
    fn place(&self) -> Place<'_, F, T>;

    #[inline]
    fn run<B: Body<F, Value = T>>(&self, cx: &mut Context<'_>) -> Poll<()> {
        catch(|| self.advance::<B>(cx)).unwrap_or_else(|panicked| {
            self.panicked(panicked);
            Poll::Ready(())
        })
    }

    #[inline(always)]
    fn advance<B: Body<F, Value = T>>(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.place().poll(cx).map(|output| {
            // To drop what a foreign error was wrapped in is foreign, too.
            let outcome = B::outcome(output, self.header().id, self.home().identity);
            self.through(outcome);
        })
    }

    #[cold]
    fn panicked(&self, panicked: Panicked) {
        self.place().poll_panicked();
        self.through(Err(TaskError::Panicked(match self.home().was_dropping(self.header()) {
            Some(why) => panicked.while_dropped(why, self.header().id),
            None => panicked,
        })));
    }

    /// The future is through: drops it, and keeps the outcome.
    #[inline(always)] // then it knows what kind of outcome it is given
    fn through(&self, outcome: Outcome<T>) {
        if let Err(panicked) = catch(|| self.place().drop_future()) {
            self.panicked_in_drop("a future panicked while it was dropped", panicked);
        }
        let ending = match &outcome {
            Ok(_) => Ending::Succeeded,
            Err(TaskError::Failed(_)) => Ending::Failed,
            Err(TaskError::Panicked(_)) => Ending::Panicked,
            Err(TaskError::Cancelled(_)) => Ending::Cancelled,
        };
        match (outcome, self.header().life.get().finished(ending)) {
            (Ok(value), Ending::Cancelled) => self.cancelled_in_spite_of(value),
            (outcome, ending) => self.end(outcome, ending),
        }
    }

    #[cold]
    fn cancelled_in_spite_of(&self, value: T) {
        // The request first: the drop of the value may take it back.
        let cancelled = fulfil(self.home(), self.header());
        self.drop_value(value);
        self.end(Err(TaskError::Cancelled(cancelled)), Ending::Cancelled);
    }

    fn drop_on_request(&self) {
        let cancelled = fulfil(self.home(), self.header());
        match catch(|| self.place().drop_future()) {
            Ok(()) => self.end(Err(TaskError::Cancelled(cancelled)), Ending::Cancelled),
            Err(panicked) => {
                self.panicked_on_request(panicked.while_cancelled(&cancelled));
            }
        }
    }

    /// A group has what its tasks fail with, this too.
    #[cold]
    fn panicked_on_request(&self, panicked: Panicked) {
        let header = self.header();
        let group = header.if_rare(|rare| rare.guardian.clone()).flatten();
        let Some(group) = group else {
            return self.end(Err(TaskError::Panicked(panicked)), Ending::Panicked);
        };
        match group.take_failure(self.home().info(header), panicked.clone().into()) {
            Ok(left) => {
                header.hearing.set(Hearing::Owned);
                self.end(Err(TaskError::Failed(left)), Ending::Failed);
            }
            Err(_) => self.end(Err(TaskError::Panicked(panicked)), Ending::Panicked),
        }
    }

    #[inline]
    fn end(&self, outcome: Outcome<T>, ending: Ending) {
        self.place().write(outcome);
        self.header().life.set(Life::Ended(ending));
    }

    /// Drops an outcome that nobody can ask for.
    #[allow(unsafe_code)]
    fn discard_outcome(&self) {
        debug_assert!(self.header().is_alone(), "nobody may ask or look any more");
        // SAFETY: references are given only to askers and onlookers, and there
        // are none left.
        match unsafe { self.place().take() } {
            Some(Ok(value)) => self.drop_value(value),
            Some(Err(TaskError::Failed(error))) => self.drop_value(error),
            _ => {}
        }
    }

    fn drop_value<V>(&self, value: V) {
        if let Err(panicked) = catch(|| drop(value)) {
            self.panicked_in_drop("an outcome panicked while it was dropped", panicked);
        }
    }

    fn panicked_in_drop(&self, message: &'static str, panicked: Panicked) {
        report_panic(self.home(), self.header(), message, panicked);
    }

    #[allow(unsafe_code)]
    fn take_failed(&self) -> Option<anyhow::Error> {
        debug_assert!(self.header().is_alone(), "nobody may ask or look any more");
        // SAFETY: references are given only to askers and onlookers, and there
        // are none left.
        let outcome = unsafe { self.place().take() };
        outcome?.err().map(anyhow::Error::from)
    }

    fn show_failed(&self, report: Report, look: &mut dyn FnMut(&Report)) {
        let error = self.place().outcome().and_then(|outcome| outcome.as_ref().err());
        show(self.header(), error.and_then(TaskError::as_failure), report, look);
    }
}

#[cold]
fn report_panic(home: &State, header: &Header, message: &'static str, panicked: Panicked) {
    let report = Report::make(ReportKind::PanickedInDrop, message);
    home.report(report.about(home.info(header)).with_panic(panicked));
}

/// Shows the error of a task, which keeps it.
#[allow(unsafe_code)]
fn show(
    header: &Header,
    error: Option<&anyhow::Error>,
    report: Report,
    look: &mut dyn FnMut(&Report),
) {
    let Some(error) = error else { return look(&report) };
    header.onlookers.set(header.onlookers.get() + 1);
    // A report owns its error, and the task keeps it. So the report gets a
    // copy of the pointer, and loses it again before it is dropped.
    //
    // SAFETY: while there is an onlooker the outcome stays where it is, so
    // the original outlives the copy; through both it is only read; and the
    // copy is forgotten below on every path, since `look` is caught.
    let copy = unsafe { std::ptr::read(error) };
    let mut report = ManuallyDrop::new(report.with_error(copy));
    let looked = quietly(|| look(&report));
    std::mem::forget(report.take_error());
    drop(ManuallyDrop::into_inner(report));
    header.onlookers.set(header.onlookers.get() - 1);
    if let Err(payload) = looked {
        std::panic::resume_unwind(payload);
    }
}

// ---- Spawned tasks ----------------------------------------------------------------

/// Header, future and outcome of a spawned task.
#[repr(C)]
pub(crate) struct TaskCell<F: Future, B: Body<F>> {
    header: Header,
    home: Rc<State>,
    stage: UnsafeCell<Stage<F, B::Value>>,
    body: PhantomData<B>,
}

// SAFETY: that is where it is.
#[allow(unsafe_code)]
unsafe impl<F: Future, B: Body<F>> HeaderFirst for TaskCell<F, B> {
    const HEADER_AT: usize = offset_of!(Self, header);
}

#[allow(unsafe_code)]
impl<F: Future, B: Body<F>> TaskCell<F, B> {
    /// A task that is about to begin. Its parts come when there is memory for
    /// them, so that they are put there without going by the stack.
    #[inline]
    pub(crate) fn make(
        pool: &Pool,
        parts: impl FnOnce() -> (Header, Rc<State>, F),
    ) -> Counted<TaskCell<F, B>> {
        Counted::new(pool, || {
            let (header, home, future) = parts();
            debug_assert_eq!(header.within.get(), Within::Future, "what a new header says");
            let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
            TaskCell { header, home, stage, body: PhantomData }
        })
    }

    /// A task that was refused: over before it began.
    pub(crate) fn refused(
        header: Header,
        home: Rc<State>,
        cancelled: Cancelled,
    ) -> Counted<TaskCell<F, B>> {
        header.life.set(Life::Ended(Ending::Cancelled));
        header.within.set(Within::Outcome);
        let outcome = ManuallyDrop::new(Err(TaskError::Cancelled(cancelled)));
        let stage = UnsafeCell::new(Stage { outcome });
        let this = home.clone();
        Counted::new(&this.pool, || TaskCell { header, home, stage, body: PhantomData })
    }

    /// See [`Release`].
    unsafe fn release(task: NonNull<Header>) {
        let cell = task.cast::<Self>(); // (Header first)
        // SAFETY: it is still there.
        let this = unsafe { cell.as_ref() };
        let home = this.home.clone(); // it has to outlive the pool's work
        home.keep_rare(&this.header);
        // SAFETY: the caller has the last pointer.
        unsafe { home.pool.release(cell) };
    }
}

impl<F: Future, B: Body<F>> Staged<F, B::Value> for TaskCell<F, B> {
    #[inline]
    fn home(&self) -> &State {
        &self.home
    }

    #[inline]
    #[allow(unsafe_code)]
    fn place(&self) -> Place<'_, F, B::Value> {
        // SAFETY: a projection: a cell is pinned from its beginning (`make`),
        // is never moved out of, and is not `repr(packed)`.
        let stage = unsafe { Pin::new_unchecked(&self.stage) };
        Place { within: &self.header.within, stage }
    }
}

impl<F: Future, B: Body<F>> Drop for TaskCell<F, B> {
    fn drop(&mut self) {
        self.place().clear();
    }
}

impl<F: Future, B: Body<F>> AnyTask for TaskCell<F, B> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.run::<B>(cx)
    }

    fn cancel(self: Pin<&Self>) {
        self.drop_on_request();
    }

    fn cancellation(&self) -> Option<Cancelled> {
        self.place().cancellation()
    }

    fn discard(self: Pin<&Self>) {
        self.discard_outcome();
    }

    fn release(&self) -> Release {
        Self::release
    }

    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error> {
        self.take_failed()
    }

    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report)) {
        self.show_failed(report, look);
    }
}

impl<F: Future, B: Body<F>> Join<B::Value> for TaskCell<F, B> {
    fn home(&self) -> &Rc<State> {
        &self.home
    }

    fn outcome(&self) -> Option<&Outcome<B::Value>> {
        self.place().outcome()
    }

    #[allow(unsafe_code)]
    unsafe fn take(&self) -> Option<Outcome<B::Value>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.place().take() }
    }
}

// ---- The main of block_on -----------------------------------------------------------

/// What stands in the table for a main. What is done to it is done to the body.
#[repr(C)]
pub(crate) struct MainStub {
    pub(crate) header: Header,
    home: Rc<State>,
    /// Where the main is, while it is driven.
    body: Cell<Option<NonNull<dyn AnyTask>>>,
}

// SAFETY: that is where it is.
#[allow(unsafe_code)]
unsafe impl HeaderFirst for MainStub {
    const HEADER_AT: usize = offset_of!(Self, header);
}

#[allow(unsafe_code)]
impl MainStub {
    pub(crate) fn make(header: Header, home: &Rc<State>) -> Counted<MainStub> {
        Counted::new(&home.pool, || MainStub { header, home: home.clone(), body: Cell::new(None) })
    }

    /// Does `work`, during which the stub knows where its main is.
    pub(crate) fn with_body<R>(&self, body: Pin<&dyn AnyTask>, work: impl FnOnce() -> R) -> R {
        struct Known<'a>(&'a MainStub);
        impl Drop for Known<'_> {
            fn drop(&mut self) {
                self.0.body.set(None);
            }
        }
        let body = NonNull::from(body.get_ref());
        // SAFETY: only its lifetime is forgotten, and `Known` takes it back
        // before that is over.
        let body: NonNull<dyn AnyTask> = unsafe { std::mem::transmute(body) };
        self.body.set(Some(body));
        let _known = Known(self);
        work()
    }

    /// The main, which is there while it is driven, and it is by those who
    /// drive it that a stub is polled and dropped.
    fn body(&self) -> Pin<&dyn AnyTask> {
        let body = self.body.get().expect("a main is polled and dropped in block_on");
        // SAFETY: whoever calls is called by the `work` of `with_body`, whose
        // caller has lent it the body, pinned.
        unsafe { Pin::new_unchecked(body.as_ref()) }
    }

    /// See [`Release`].
    unsafe fn release(task: NonNull<Header>) {
        let stub = task.cast::<Self>(); // (Header first)
        // SAFETY: as for `TaskCell`.
        let home = unsafe { stub.as_ref() }.home.clone();
        // SAFETY: as for `TaskCell`.
        unsafe { home.pool.release(stub) };
    }
}

/// The future of a main, on the stack of whoever called `block_on`.
pub(crate) struct MainBody<F: Future, T> {
    stub: Counted<MainStub>,
    home: Rc<State>,
    stage: UnsafeCell<Stage<F, T>>,
}

impl<T, F: Future<Output = anyhow::Result<T>>> MainBody<F, T> {
    pub(crate) fn new(stub: Counted<MainStub>, home: Rc<State>, future: F) -> MainBody<F, T> {
        debug_assert_eq!(stub.header.within.get(), Within::Future, "what a new header says");
        let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
        MainBody { stub, home, stage }
    }

    /// Takes the outcome, if the main has ended.
    #[allow(unsafe_code)]
    pub(crate) fn take_outcome(self: Pin<&Self>) -> Option<Outcome<T>> {
        // SAFETY: a main's outcome is not shown to anybody; this is the only
        // way to it.
        unsafe { self.place().take() }
    }
}

impl<T, F: Future<Output = anyhow::Result<T>>> Staged<F, T> for MainBody<F, T> {
    fn home(&self) -> &State {
        &self.home
    }

    fn place(&self) -> Place<'_, F, T> {
        self.place()
    }
}

impl<F: Future, T> MainBody<F, T> {
    #[allow(unsafe_code)]
    fn place(&self) -> Place<'_, F, T> {
        // SAFETY: as for `TaskCell`. A body that is polled is pinned; before
        // that nobody asks for its place but `drop`.
        let stage = unsafe { Pin::new_unchecked(&self.stage) };
        Place { within: &self.stub.header.within, stage }
    }
}

impl<F: Future, T> Drop for MainBody<F, T> {
    fn drop(&mut self) {
        self.place().clear();
    }
}

impl<T, F: Future<Output = anyhow::Result<T>>> AnyTask for MainBody<F, T> {
    fn header(&self) -> &Header {
        &self.stub.header
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.run::<Fallible>(cx)
    }

    fn cancel(self: Pin<&Self>) {
        self.drop_on_request();
    }

    fn cancellation(&self) -> Option<Cancelled> {
        self.place().cancellation()
    }

    fn release(&self) -> Release {
        unreachable!("nobody has a counted pointer to it")
    }

    // The outcome belongs to `block_on`, which always takes it.

    fn discard(self: Pin<&Self>) {}

    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error> {
        None
    }

    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report)) {
        look(&report);
    }
}

impl AnyTask for MainStub {
    fn header(&self) -> &Header {
        &self.header
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().body().poll(cx)
    }

    fn cancel(self: Pin<&Self>) {
        self.get_ref().body().cancel();
    }

    fn cancellation(&self) -> Option<Cancelled> {
        self.body().cancellation()
    }

    fn release(&self) -> Release {
        Self::release
    }

    fn discard(self: Pin<&Self>) {}

    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error> {
        None
    }

    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report)) {
        look(&report);
    }
}
