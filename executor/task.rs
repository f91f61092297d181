//! A spawned future and its outcome, in one allocation.
//!
//! A [`TaskCell`] is header, future and outcome side by side; the outcome takes
//! the place of the future. The executor sees it as something to poll
//! ([`AnyTask`]), the handle as something to ask ([`Join`]), and neither knows
//! the future's type.
//!
//! The main of `block_on` is a task like all others, except that its future may
//! borrow from the caller and so stays on the caller's stack. The table holds a
//! [`MainStub`] for it, and `block_on` brings the [`MainBody`] to each turn.
//!
//! # Invariants
//!
//! - **Pinned.** A future is dropped where it was polled, and never moved.
//! - **Alone.** While a future is polled or dropped, `busy` is set, and nobody
//!   else touches the content.
//! - **Written once, taken by the owner.** An outcome is written once. Only
//!   whoever can prove that nobody holds a reference to it takes it out: the
//!   one handle, through `&mut`, while there are no onlookers; or the last
//!   asker on leaving.

use crate::cancelling::fulfil;
use crate::id::TaskId;
use crate::life::{Ending, Header};
use crate::outcome::{Cancelled, Panicked, TaskError, catch, quietly};
use crate::report::{Report, ReportKind};
use crate::state::{AnyTask, State};
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
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

struct Stage<F, T> {
    busy: Cell<bool>,
    content: UnsafeCell<Content<F, T>>,
}

enum Content<F, T> {
    Future(F),
    Outcome(Outcome<T>),
    Empty,
}

/// Sets `busy` for as long as it lives.
struct Alone<'a>(&'a Cell<bool>);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[allow(unsafe_code)]
impl<F: Future, T> Stage<F, T> {
    fn new(content: Content<F, T>) -> Stage<F, T> {
        Stage { busy: Cell::new(false), content: UnsafeCell::new(content) }
    }

    fn alone(&self) -> Alone<'_> {
        assert!(!self.busy.replace(true), "a future is polled and dropped by one at a time");
        Alone(&self.busy)
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_ref();
        let _alone = this.alone();
        // SAFETY: nobody else is here (Alone), and while there is a future there
        // is no outcome that somebody could hold a reference to.
        let Content::Future(future) = (unsafe { &mut *this.content.get() }) else {
            unreachable!("a task is polled while its future is there")
        };
        // SAFETY: `self` is pinned, and the future is never moved out of it, but
        // dropped in place (Pinned).
        unsafe { Pin::new_unchecked(future) }.poll(cx)
    }

    /// Drops the future, in place.
    fn drop_future(self: Pin<&Self>) {
        let this = self.get_ref();
        let _alone = this.alone();
        // SAFETY: as in `poll`. The assignment drops the old content in place,
        // and writes the new one even if that drop panics.
        let content = unsafe { &mut *this.content.get() };
        debug_assert!(!matches!(content, Content::Outcome(_)), "an outcome is not overwritten");
        *content = Content::Empty;
    }

    fn write(&self, outcome: Outcome<T>) {
        let _alone = self.alone();
        // SAFETY: nobody else is here (Alone), and nobody holds a reference to
        // an outcome, for there was none: what is overwritten is `Empty`.
        let content = unsafe { &mut *self.content.get() };
        assert!(
            matches!(content, Content::Empty),
            "an outcome is written once, after the future is gone"
        );
        *content = Content::Outcome(outcome);
    }

    fn outcome(&self) -> Option<&Outcome<T>> {
        if self.busy.get() {
            return None;
        }
        // SAFETY: nobody is changing the content (Alone), and whoever takes the
        // outcome out first proves that this reference is gone.
        match unsafe { &*self.content.get() } {
            Content::Outcome(outcome) => Some(outcome),
            _ => None,
        }
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
    unsafe fn take(&self) -> Option<Outcome<T>> {
        let _alone = self.alone();
        // SAFETY: nobody else is here (Alone), and the caller vouches for the
        // references. A future is not moved: it is left alone.
        let content = unsafe { &mut *self.content.get() };
        match content {
            Content::Outcome(_) => match std::mem::replace(content, Content::Empty) {
                Content::Outcome(outcome) => Some(outcome),
                _ => unreachable!("it was an outcome a line ago"),
            },
            _ => None,
        }
    }
}

// ---- What is done to a task, wherever its parts lie ------------------------------

/// A header, a home and a stage.
struct Parts<'a, F, T> {
    header: &'a Header,
    home: &'a State,
    stage: Pin<&'a Stage<F, T>>,
}

impl<F: Future, T> Parts<'_, F, T> {
    fn poll<B: Body<F, Value = T>>(self, cx: &mut Context<'_>) -> Poll<()> {
        // What the output means is asked in there too: to drop what a foreign
        // error was wrapped in is foreign.
        let (task, executor) = (self.header.id, self.home.identity);
        let poll = || self.stage.poll(cx).map(|output| B::outcome(output, task, executor));
        let outcome = match catch(poll) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panicked) => {
                let dropping = self.header.if_rare(|rare| rare.dropping.take()).flatten();
                Err(TaskError::Panicked(match dropping {
                    Some(request) => panicked.while_dropped(request, self.header.id),
                    None => panicked,
                }))
            }
        };
        if let Err(panicked) = catch(|| self.stage.drop_future()) {
            self.panicked_in_drop("a future panicked while it was dropped", panicked);
        }
        let ending = match &outcome {
            Ok(_) => Ending::Succeeded,
            Err(TaskError::Failed(_)) => Ending::Failed,
            Err(TaskError::Panicked(_)) => Ending::Panicked,
            Err(TaskError::Cancelled(_)) => Ending::Cancelled,
        };
        match (outcome, self.header.life.get().finished(ending)) {
            (Ok(value), Ending::Cancelled) => {
                // The request first: the drop of the value may take it back.
                let cancelled = fulfil(self.home, self.header);
                self.drop_value(value);
                self.end(Err(TaskError::Cancelled(cancelled)), Ending::Cancelled);
            }
            (outcome, ending) => self.end(outcome, ending),
        }
        Poll::Ready(())
    }

    fn cancel(self) {
        let cancelled = fulfil(self.home, self.header);
        match catch(|| self.stage.drop_future()) {
            Ok(()) => self.end(Err(TaskError::Cancelled(cancelled)), Ending::Cancelled),
            Err(panicked) => {
                let panicked = panicked.while_cancelled(&cancelled);
                self.end(Err(TaskError::Panicked(panicked)), Ending::Panicked);
            }
        }
    }

    fn end(&self, outcome: Outcome<T>, ending: Ending) {
        self.stage.write(outcome);
        self.header.life.set(crate::life::Life::Ended(ending));
    }

    /// Drops an outcome that nobody can ask for.
    #[allow(unsafe_code)]
    fn discard(&self) {
        debug_assert_eq!(self.header.askers.get() + self.header.onlookers.get(), 0);
        // SAFETY: references are given only to askers and onlookers, and there
        // are none left.
        match unsafe { self.stage.take() } {
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
        let report = Report::make(ReportKind::PanickedInDrop, message);
        self.home.report(report.about(self.home.info(self.header)).with_panic(panicked));
    }

    #[allow(unsafe_code)]
    fn take_failure(&self) -> Option<anyhow::Error> {
        debug_assert_eq!(self.header.askers.get() + self.header.onlookers.get(), 0);
        // SAFETY: references are given only to askers and onlookers, and there
        // are none left.
        let outcome = unsafe { self.stage.take() };
        outcome?.err().map(anyhow::Error::from)
    }

    #[allow(unsafe_code)]
    fn show_failure(&self, report: Report, look: &mut dyn FnMut(&Report)) {
        let Some(Err(error)) = self.stage.outcome() else { return look(&report) };
        let Some(error) = error.as_failure() else { return look(&report) };
        let onlookers = &self.header.onlookers;
        onlookers.set(onlookers.get() + 1);
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
        onlookers.set(onlookers.get() - 1);
        if let Err(payload) = looked {
            std::panic::resume_unwind(payload);
        }
    }
}

// ---- Spawned tasks ----------------------------------------------------------------

/// Header, future and outcome of a spawned task.
pub(crate) struct TaskCell<F: Future, B: Body<F>> {
    header: Header,
    home: Rc<State>,
    stage: Stage<F, B::Value>,
    body: PhantomData<B>,
}

impl<F: Future, B: Body<F>> TaskCell<F, B> {
    pub(crate) fn new(header: Header, home: Rc<State>, future: F) -> TaskCell<F, B> {
        TaskCell { header, home, stage: Stage::new(Content::Future(future)), body: PhantomData }
    }

    /// A task that was refused: over before it began.
    pub(crate) fn refused(header: Header, home: Rc<State>, cancelled: Cancelled) -> TaskCell<F, B> {
        header.life.set(crate::life::Life::Ended(Ending::Cancelled));
        let stage = Stage::new(Content::Outcome(Err(TaskError::Cancelled(cancelled))));
        TaskCell { header, home, stage, body: PhantomData }
    }

    #[allow(unsafe_code)]
    fn parts(self: Pin<&Self>) -> Parts<'_, F, B::Value> {
        let this = self.get_ref();
        // SAFETY: a projection: the stage is pinned because the cell is, which
        // is never moved out of, has no `Drop`, and is not `repr(packed)`.
        let stage = unsafe { Pin::new_unchecked(&this.stage) };
        Parts { header: &this.header, home: &this.home, stage }
    }
}

impl<F: Future, B: Body<F>> AnyTask for TaskCell<F, B> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.parts().poll::<B>(cx)
    }

    fn cancel(self: Pin<&Self>) {
        self.parts().cancel();
    }

    fn cancellation(&self) -> Option<Cancelled> {
        self.stage.cancellation()
    }

    fn discard(self: Pin<&Self>) {
        self.parts().discard();
    }

    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error> {
        self.parts().take_failure()
    }

    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report)) {
        self.parts().show_failure(report, look);
    }
}

impl<F: Future, B: Body<F>> Join<B::Value> for TaskCell<F, B> {
    fn home(&self) -> &Rc<State> {
        &self.home
    }

    fn outcome(&self) -> Option<&Outcome<B::Value>> {
        self.stage.outcome()
    }

    #[allow(unsafe_code)]
    unsafe fn take(&self) -> Option<Outcome<B::Value>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.stage.take() }
    }
}

// ---- The main of block_on -----------------------------------------------------------

/// What stands in the table for a main.
pub(crate) struct MainStub {
    pub(crate) header: Header,
}

/// The future of a main, on the stack of whoever called `block_on`.
pub(crate) struct MainBody<F, T> {
    stub: Pin<Rc<MainStub>>,
    home: Rc<State>,
    stage: Stage<F, T>,
}

impl<T, F: Future<Output = anyhow::Result<T>>> MainBody<F, T> {
    pub(crate) fn new(stub: Pin<Rc<MainStub>>, home: Rc<State>, future: F) -> MainBody<F, T> {
        MainBody { stub, home, stage: Stage::new(Content::Future(future)) }
    }

    /// Takes the outcome, if the main has ended.
    #[allow(unsafe_code)]
    pub(crate) fn take_outcome(self: Pin<&Self>) -> Option<Outcome<T>> {
        // SAFETY: a main's outcome is not shown to anybody; this is the only
        // way to it.
        unsafe { self.stage.take() }
    }

    #[allow(unsafe_code)]
    fn parts(self: Pin<&Self>) -> Parts<'_, F, T> {
        let this = self.get_ref();
        // SAFETY: as for `TaskCell`.
        let stage = unsafe { Pin::new_unchecked(&this.stage) };
        Parts { header: &this.stub.header, home: &this.home, stage }
    }
}

impl<T, F: Future<Output = anyhow::Result<T>>> AnyTask for MainBody<F, T> {
    fn header(&self) -> &Header {
        &self.stub.header
    }

    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.parts().poll::<Fallible>(cx)
    }

    fn cancel(self: Pin<&Self>) {
        self.parts().cancel();
    }

    fn cancellation(&self) -> Option<Cancelled> {
        self.stage.cancellation()
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

    fn poll(self: Pin<&Self>, _: &mut Context<'_>) -> Poll<()> {
        unreachable!("a main is polled where it is, in block_on")
    }

    fn cancel(self: Pin<&Self>) {
        unreachable!("a main is dropped where it is, in block_on")
    }

    fn cancellation(&self) -> Option<Cancelled> {
        None
    }

    fn discard(self: Pin<&Self>) {}

    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error> {
        None
    }

    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report)) {
        look(&report);
    }
}
