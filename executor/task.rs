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
//! - Those of `stage.rs`.
//! - **Taken by the owner.** An outcome is written once. Only
//!   whoever can prove that nobody holds a reference to it takes it out: the
//!   one handle, through `&mut`, while there are no onlookers; or the last
//!   asker on leaving.

use crate::cancelling::fulfil;
use crate::counted::{AnyTask, Counted, HeaderFirst, Pool, Release, TaskRc};
use crate::discards::Waiting;
use crate::header::{Header, Within};
use crate::id::TaskId;
use crate::life::{Ending, Hearing, Life};
use crate::outcome::{Cancelled, Panicked, TaskError, catch, quietly};
use crate::report::{Report, ReportKind};
use crate::stage::{Outcome, Parcel, Place, Stage};
use crate::state::State;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll};

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
impl<F: Future + 'static, B: Body<F, Value: 'static> + 'static> Counted<TaskCell<F, B>> {
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
    fn discard_outcome(&self)
    where
        T: 'static,
    {
        debug_assert!(self.header().is_alone(), "nobody may ask or look any more");
        // SAFETY: references are given only to askers and onlookers, and there
        // are none left.
        match unsafe { self.place().take() } {
            Some(Ok(value)) => self.discard_value(value),
            Some(Err(TaskError::Failed(error))) => self.discard_value(error),
            _ => {}
        }
    }

    /// As an outcome that nobody can ask for any more: it may have the handle of a task
    /// whose outcome has the handle of a task.
    #[inline]
    fn discard_value<V: 'static>(&self, value: V) {
        if std::mem::needs_drop::<V>() {
            self.discard_value_with_drop(value);
        }
    }

    fn discard_value_with_drop<V: 'static>(&self, value: V) {
        let home = self.home();
        match home.discards.drop_by(value, |value| self.drop_value(value)) {
            Ok(()) => home.discard_those_that_wait(),
            Err(value) => {
                let (task, outcome) = (home.info(self.header()), Box::new(value));
                home.discards.wait(Waiting { task, outcome });
            }
        }
    }

    fn drop_value<V>(&self, value: V) {
        if let Err(panicked) = catch(|| drop(value)) {
            self.panicked_in_drop(DROPPED_OUTCOME, panicked);
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

const DROPPED_OUTCOME: &str = "an outcome panicked while it was dropped";

impl State {
    /// Drops the outcomes that were too deep in the drops of others.
    #[inline]
    fn discard_those_that_wait(&self) {
        while let Some(Waiting { task, outcome }) = self.discards.next() {
            let drop_it = |outcome| {
                if let Err(panicked) = catch(|| drop(outcome)) {
                    let report = Report::make(ReportKind::PanickedInDrop, DROPPED_OUTCOME);
                    self.report(report.about(task).with_panic(panicked));
                }
            };
            let _it_is_the_outermost = self.discards.drop_by(outcome, drop_it);
        }
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
pub(crate) struct TaskCell<F: Future, B: Body<F, Value: 'static>> {
    header: Header,
    home: Rc<State>,
    stage: UnsafeCell<Stage<F, B::Value>>,
    body: PhantomData<B>,
}

// SAFETY: that is where it is.
#[allow(unsafe_code)]
unsafe impl<F: Future, B: Body<F, Value: 'static>> HeaderFirst for TaskCell<F, B> {
    const HEADER_AT: usize = offset_of!(Self, header);
}

#[allow(unsafe_code)]
impl<F: Future, B: Body<F, Value: 'static>> TaskCell<F, B> {
    /// A task without its future: [`begin`](TaskCell::begin) is to follow, before
    /// anybody hears of it.
    #[inline]
    pub(crate) fn make(
        pool: &Pool,
        parts: impl FnOnce() -> (Header, Rc<State>),
    ) -> Counted<TaskCell<F, B>> {
        let fill = |cell: NonNull<Self>| {
            let (header, home) = parts();
            header.within.set(Within::Empty);
            let cell = cell.as_ptr();
            // SAFETY: it is memory for a cell. Two of its fields have no value:
            // a stage on which nothing stands, and the body.
            unsafe {
                (&raw mut (*cell).header).write(header);
                (&raw mut (*cell).home).write(home);
            }
        };
        // SAFETY: `fill` writes what there is to write.
        unsafe { Counted::in_place(pool, fill) }
    }

    /// Gives the task its future.
    #[inline]
    pub(crate) fn begin(&self, future: &mut Parcel<F>) {
        self.place().begin(future);
    }

    /// Drops what is left, at the end of all.
    #[cold]
    fn clear(&self) {
        if let Err(panicked) = catch(|| self.place().clear()) {
            self.panicked_in_drop("a task panicked while it was dropped", panicked);
        }
    }

    /// Ends the task, which was refused, before it has begun.
    pub(crate) fn refuse(&self, cancelled: Cancelled) {
        self.end(Err(TaskError::Cancelled(cancelled)), Ending::Cancelled);
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

impl<F: Future, B: Body<F, Value: 'static>> Staged<F, B::Value> for TaskCell<F, B> {
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

impl<F: Future, B: Body<F, Value: 'static>> Drop for TaskCell<F, B> {
    #[inline]
    fn drop(&mut self) {
        if self.header.within.get() != Within::Empty {
            self.clear();
        }
    }
}

impl<F: Future, B: Body<F, Value: 'static>> AnyTask for TaskCell<F, B> {
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

impl<F: Future, B: Body<F, Value: 'static>> Join<B::Value> for TaskCell<F, B> {
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
    #[inline]
    pub(crate) fn make(home: &Rc<State>, header: impl FnOnce() -> Header) -> Counted<MainStub> {
        let stub = || MainStub { header: header(), home: home.clone(), body: Cell::new(None) };
        Counted::new(&home.pool, stub)
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
pub(crate) struct MainBody<'a, F: Future, T> {
    stub: &'a MainStub,
    stage: Pin<&'a UnsafeCell<Stage<F, T>>>,
}

impl<'a, T, F: Future<Output = anyhow::Result<T>>> MainBody<'a, F, T> {
    /// On a stage on which nothing stands.
    #[allow(unsafe_code)]
    pub(crate) fn new(
        stub: &'a MainStub,
        stage: Pin<&'a mut Stage<F, T>>,
        future: &mut Parcel<F>,
    ) -> MainBody<'a, F, T> {
        stub.header.within.set(Within::Empty);
        // SAFETY: the same place, seen as one that is shared; it stays pinned.
        let stage = unsafe { stage.map_unchecked_mut(UnsafeCell::from_mut) }.into_ref();
        let body = MainBody { stub, stage };
        body.place().begin(future);
        body
    }

    /// Takes the outcome, if the main has ended.
    #[allow(unsafe_code)]
    pub(crate) fn take_outcome(self: Pin<&Self>) -> Option<Outcome<T>> {
        // SAFETY: a main's outcome is not shown to anybody; this is the only
        // way to it.
        unsafe { self.place().take() }
    }
}

impl<T, F: Future<Output = anyhow::Result<T>>> Staged<F, T> for MainBody<'_, F, T> {
    fn home(&self) -> &State {
        &self.stub.home
    }

    fn place(&self) -> Place<'_, F, T> {
        self.place()
    }
}

impl<F: Future, T> MainBody<'_, F, T> {
    fn place(&self) -> Place<'_, F, T> {
        Place { within: &self.stub.header.within, stage: self.stage }
    }
}

impl<F: Future, T> Drop for MainBody<'_, F, T> {
    fn drop(&mut self) {
        if self.place().within.get() != Within::Empty
            && let Err(panicked) = catch(|| self.place().clear())
        {
            let message = "a main panicked while it was dropped";
            report_panic(&self.stub.home, &self.stub.header, message, panicked);
        }
    }
}

impl<T, F: Future<Output = anyhow::Result<T>>> AnyTask for MainBody<'_, F, T> {
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
