//! The handle: who may ask what became of a task.
//!
//! A [`Task`] is the owner's: it alone takes the outcome, by awaiting or by
//! [`take`](Task::take), and when it goes unasked, a failure is reported. A
//! `TaskRef` (`task_ref.rs`) is anybody's: it looks, and cancels, and is never asked about.
//!
//! # Invariants
//!
//! - **Asking is retrieving.** A failure counts as retrieved when it has been
//!   handed out: by an await that was ready, `take`, `result` or `error`.
//!   Cancelling a finished task, printing its name, or having left a callback
//!   is not asking.
//! - **One reference at most can be stale.** `result` and `error` borrow from
//!   the handle; only what needs it whole (`take`, an await, its drop) removes
//!   what they point to.

use crate::counted::{Counted, TaskRc};
use crate::current;
use crate::header::{Awaiter, Guardian, Header, Watch};
use crate::id::TaskId;
use crate::life::Ending;
use crate::outcome::{OutcomeError, TakeError, TaskError, catch};
use crate::report::{Report, ReportKind, TaskInfo};
use crate::request::{Request, Why};
use crate::stage::Outcome;
use crate::state::State;
use crate::task::{Join, as_task};
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

/// A spawned task, in the hands of its owner.
///
/// Awaiting it gives the outcome. Dropping it lets the task run on; if the
/// task has failed, or fails later, the executor's handler hears of it, since
/// nobody else will.
///
/// The words elsewhere: `asyncio.Task`, tokio's `JoinHandle`.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let sum = executor.block_on(async {
///     let two = hearken::spawn(async { Ok(2) });
///     let three = hearken::spawn(async { Ok("3".parse::<i32>()?) });
///     Ok(two.await? + three.await?)
/// });
/// # assert_eq!(sum.ok(), Some(5));
/// ```
///
/// # Cancellation
///
/// **To cancel a task that awaits a `Task` cancels that one first**, and waits
/// for it to clean up; only then is the awaiting task told. If the awaited task
/// swallows the request and gives a value, the awaiter gets the value, and is
/// told at its next suspension. No other Rust runtime does this. A
/// [`shield`](crate::shield()) around the await keeps it off.
///
/// Dropping the handle, or the `.await` of it, does not cancel the task. For
/// that there is [`cancel_on_drop`](Task::cancel_on_drop).
///
/// A task of another executor can be awaited; requests are not forwarded to it.
///
/// # Panics
///
/// Awaiting a task after its outcome was taken panics.
#[must_use = "a task that is dropped runs on; say so with `detach`, or await it"]
pub struct Task<T> {
    cell: Counted<dyn Join<T>>,
}

impl<T> Unpin for Task<T> {}

impl<T> Task<T> {
    pub(crate) fn new(cell: Counted<dyn Join<T>>) -> Task<T> {
        Task { cell }
    }

    pub(crate) fn header(&self) -> &Header {
        self.cell.header()
    }

    pub(crate) fn home(&self) -> &Rc<State> {
        self.cell.home()
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.header().id
    }

    /// The task's name; `task-7` if it was given none.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> String {
        self.info().name()
    }

    /// Gives the task a name, for reports and dumps.
    pub fn set_name(&self, name: impl Into<String>) {
        let name: Arc<str> = name.into().into();
        let old = self.header().rare(|rare| rare.name.replace(name));
        drop(old);
    }

    /// The same task, with a name: for the place where it is spawned.
    ///
    /// ```
    /// let executor = hearken::Executor::new();
    /// let task = executor.spawn(async { Ok(()) }).named("tea");
    /// assert_eq!(task.name(), "tea");
    /// ```
    pub fn named(self, name: impl Into<String>) -> Task<T> {
        self.set_name(name);
        self
    }

    /// Where the task was spawned.
    pub fn location(&self) -> &'static Location<'static> {
        self.header().location
    }

    /// What is known of the task, as plain data.
    pub fn info(&self) -> TaskInfo {
        self.home().info(self.header())
    }

    /// Whether the task has ended, in whatever way.
    #[doc(alias = "done")]
    pub fn is_finished(&self) -> bool {
        self.header().is_finished()
    }

    /// Whether the task has ended by cancellation. A task that was only asked
    /// to cancel has not.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.header().ending() == Some(Ending::Cancelled)
    }

    /// The value, if the task succeeded. Counts as retrieving a failure.
    ///
    /// # Errors
    ///
    /// [`Pending`](OutcomeError::Pending) while the task has not finished,
    /// [`Taken`](OutcomeError::Taken) after its outcome was taken, and
    /// [`Ended`](OutcomeError::Ended) with how it ended otherwise.
    pub fn result(&self) -> Result<&T, OutcomeError<'_>> {
        look_at_result(&*self.cell)
    }

    /// The error, if the task failed; a panic is one, a
    /// [`Panicked`](crate::Panicked). None if it succeeded. Counts as
    /// retrieving.
    ///
    /// # Errors
    ///
    /// [`Pending`](OutcomeError::Pending) while the task has not finished,
    /// [`Taken`](OutcomeError::Taken) after its failure or cancellation was
    /// taken, and [`Ended`](OutcomeError::Ended) with the cancellation if it
    /// was cancelled.
    #[doc(alias = "exception")]
    pub fn error(&self) -> Result<Option<&anyhow::Error>, OutcomeError<'_>> {
        look_at_error(&*self.cell)
    }

    /// Takes the outcome out. Counts as retrieving.
    ///
    /// # Errors
    ///
    /// [`Pending`](TakeError::Pending) while the task has not finished, and
    /// while the handler or a callback is looking at the outcome;
    /// [`Taken`](TakeError::Taken) if it was taken before.
    ///
    /// # Examples
    ///
    /// ```
    /// let executor = hearken::Executor::new();
    /// let mut task = executor.spawn(async { Ok(String::from("tea")) });
    /// assert_eq!(task.take().unwrap_err(), hearken::TakeError::Pending);
    /// executor.run_until_idle();
    /// assert_eq!(task.take().unwrap().unwrap(), "tea");
    /// assert_eq!(task.take().unwrap_err(), hearken::TakeError::Taken);
    /// ```
    #[doc(alias = "try_join")]
    pub fn take(&mut self) -> Result<Result<T, TaskError>, TakeError> {
        if !self.is_finished() || self.header().onlookers.get() > 0 {
            return Err(TakeError::Pending);
        }
        self.take_now().ok_or(TakeError::Taken)
    }

    /// Asks the task to cancel on somebody's behalf.
    pub(crate) fn cancel_by(&self, request: &Request) -> bool {
        self.home().cancel(self.header(), request.clone())
    }

    /// Lets a group know when it has ended.
    pub(crate) fn join_group(&self, guardian: Rc<dyn Guardian>) {
        self.home().lend_rare(self.header());
        self.header().rare(|rare| rare.guardian = Some(guardian));
    }

    /// Whether it has ended with a value.
    pub(crate) fn is_well(&self) -> bool {
        self.ending() == Some(Ending::Succeeded)
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.header().ending()
    }

    /// Tells `watch` when the task has ended, under the name of `place`; or, if it
    /// has, when nobody looks at its outcome any more.
    pub(crate) fn watch(&self, watch: &Rc<Watch>, place: usize) {
        self.stop_awaiting(); // by itself; from now on among others
        self.home().lend_rare(self.header());
        let awaiter = Awaiter::Watch(watch.clone(), place);
        let replaced = self.header().set_rare_awaiter(awaiter);
        self.home().drop_awaiter(replaced);
    }

    /// Whether it has ended, and somebody is looking at its outcome: a callback,
    /// further down the stack, or the handler. Then it cannot be taken.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.header().onlookers.get() > 0 && self.is_finished()
    }

    /// Whether whoever asks is this very task, which is being polled at this moment;
    /// or a task of another executor that is driven in its poll, and blocks it. One
    /// whose executor only takes a turn there may wait for it.
    pub(crate) fn is_the_running_task(&self) -> bool {
        let home = self.home();
        let waits_here = |state: &Rc<State>| Rc::ptr_eq(state, home) || state.main.get().is_some();
        home.running.get() == Some(self.id())
            && current::with(|state| state.is_some_and(waits_here))
    }

    /// Takes the outcome of a finished task that nobody looks at.
    #[allow(unsafe_code)]
    pub(crate) fn take_now(&mut self) -> Option<Outcome<T>> {
        // SAFETY: references to the outcome are given to onlookers, of whom
        // there are none, and to borrowers of this handle, which is here
        // borrowed exclusively.
        let outcome = unsafe { self.cell.take() };
        if self.header().is_held() {
            self.home().retrieved(self.header());
        }
        outcome
    }

    /// Calls `f` when the task has ended: from the loop, in its turn, never
    /// inline; also if the task has ended already.
    ///
    /// Callbacks and awaiters are served in the order in which they came. A
    /// callback that panics is reported, and does not keep the others from
    /// running. It can look at the outcome; that counts as retrieving, and
    /// being called does not.
    ///
    /// # Examples
    ///
    /// ```
    /// let executor = hearken::Executor::new();
    /// let task = executor.spawn(async { Err::<(), _>(anyhow::anyhow!("no tea")) });
    /// task.on_done(|finished| {
    ///     let error = finished.error().unwrap().unwrap();
    ///     assert_eq!(error.to_string(), "no tea");
    /// });
    /// task.detach(); // and no report, since the callback asked
    /// executor.run_until_idle();
    /// assert_eq!(executor.ledger().retrieved, 1);
    /// ```
    #[doc(alias = "add_done_callback")]
    pub fn on_done(&self, f: impl FnOnce(Finished<'_, T>) + 'static) -> CallbackId
    where
        T: 'static,
    {
        let asker = Asker::new(&self.cell);
        let callback = Box::new(move || asker.call(f));
        if self.is_finished() {
            self.home().push_callback(callback);
            return CallbackId { task: self.id(), number: None };
        }
        let number = self.header().rare(|rare| {
            let number = rare.callbacks_ever;
            rare.callbacks_ever += 1;
            rare.callbacks.push(number, callback);
            number
        });
        CallbackId { task: self.id(), number: Some(number) }
    }

    /// Takes a callback back. False if it is not there any more: because it
    /// ran, was removed before, or waits in the queue.
    #[doc(alias = "remove_done_callback")]
    pub fn remove_on_done(&self, id: CallbackId) -> bool {
        if id.task != self.id() {
            return false;
        }
        let Some(number) = id.number else { return false };
        let removed = self.header().if_rare(|rare| rare.callbacks.remove(number));
        let Some(callback) = removed.flatten() else { return false };
        // Here, where nothing is borrowed.
        self.home().drop_quietly("a callback panicked while it was dropped", callback);
        true
    }

    /// Asks the task to cancel. False if it has ended already, and then
    /// nothing changes. It never runs the task's code inline.
    ///
    /// The future is dropped when the task's turn comes; the values it held
    /// clean up by their `Drop`. The task has then ended as cancelled.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.home().cancel_plainly(self.header(), Location::caller())
    }

    /// Asks the task to cancel, and says why. Of several requests before the
    /// next poll the first reason counts.
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        cancel(self.home(), self.header(), reason.into())
    }

    /// How many requests to cancel stand.
    pub fn cancelling(&self) -> u32 {
        self.header().cancelling_count()
    }

    /// Takes one request back; the last one also if it has not had its effect
    /// yet. Answers how many remain.
    pub fn uncancel(&self) -> u32 {
        self.home().take_back_cancel(self.header())
    }

    /// Lets the task run on by itself. If it fails, the handler hears of it.
    pub fn detach(self) {}

    /// Lets the task run on, and does not want to know: a failure is counted as
    /// ignored, and not reported.
    pub fn ignore(self) {
        self.home().ignored(self.header());
    }

    /// The task as everybody knows it.
    pub(crate) fn task_rc(&self) -> TaskRc {
        as_task(self.cell.clone())
    }
}

impl<T> Drop for Task<T> {
    #[inline]
    fn drop(&mut self) {
        if self.header().is_awaited() || self.header().has_rare() {
            self.stop_awaiting();
        }
        if self.header().asker_gone() {
            self.home().nobody_will_ask(self.cell.as_ref());
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {:?})", self.info(), self.info().state)
    }
}

#[track_caller]
pub(crate) fn cancel(home: &State, header: &Header, reason: Cow<'static, str>) -> bool {
    home.cancel(header, home.new_request(Why::said(reason, Location::caller())))
}

// ---- Looking at an outcome -----------------------------------------------------

fn look_at_result<T>(cell: &dyn Join<T>) -> Result<&T, OutcomeError<'_>> {
    match look(cell)? {
        Ok(value) => Ok(value),
        Err(error) => Err(OutcomeError::Ended(error)),
    }
}

fn look_at_error<T>(cell: &dyn Join<T>) -> Result<Option<&anyhow::Error>, OutcomeError<'_>> {
    // Whoever has the value, there never was an error.
    if cell.header().ending() == Some(Ending::Succeeded) {
        return Ok(None);
    }
    match look(cell)? {
        Ok(_) => Ok(None),
        Err(error) => error.as_failure().map(Some).ok_or(OutcomeError::Ended(error)),
    }
}

fn look<T>(cell: &dyn Join<T>) -> Result<&Outcome<T>, OutcomeError<'_>> {
    if !cell.header().is_finished() {
        return Err(OutcomeError::Pending);
    }
    let outcome = cell.outcome().ok_or(OutcomeError::Taken)?;
    cell.home().retrieved(cell.header());
    Ok(outcome)
}

/// A finished task, as its callbacks see it.
pub struct Finished<'a, T> {
    cell: &'a dyn Join<T>,
}

impl<'a, T> Finished<'a, T> {
    /// What is known of the task.
    pub fn info(&self) -> TaskInfo {
        self.cell.home().info(self.cell.header())
    }

    /// As [`Task::result`].
    ///
    /// # Errors
    ///
    /// [`Taken`](OutcomeError::Taken) or [`Ended`](OutcomeError::Ended).
    pub fn result(&self) -> Result<&'a T, OutcomeError<'a>> {
        look_at_result(self.cell)
    }

    /// As [`Task::error`].
    ///
    /// # Errors
    ///
    /// [`Taken`](OutcomeError::Taken) after a failure or cancellation was taken,
    /// or [`Ended`](OutcomeError::Ended) with the cancellation.
    pub fn error(&self) -> Result<Option<&'a anyhow::Error>, OutcomeError<'a>> {
        look_at_error(self.cell)
    }
}

impl<T> fmt::Debug for Finished<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finished({}, {:?})", self.info(), self.info().state)
    }
}

/// Which callback: for [`Task::remove_on_done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallbackId {
    task: TaskId,
    /// None if the task had ended already: it was queued at once.
    number: Option<u64>,
}

/// A callback's hold on its task: until it is gone, somebody may still ask.
struct Asker<T> {
    cell: Counted<dyn Join<T>>,
}

impl<T> Asker<T> {
    fn new(cell: &Counted<dyn Join<T>>) -> Asker<T> {
        let askers = &cell.header().askers;
        askers.set(askers.get() + 1);
        Asker { cell: cell.clone() }
    }

    fn call(self, f: impl FnOnce(Finished<'_, T>)) {
        let onlookers = &self.cell.header().onlookers;
        onlookers.set(onlookers.get() + 1);
        let called = catch(|| f(Finished { cell: &*self.cell }));
        onlookers.set(onlookers.get() - 1);
        let home = self.cell.home();
        if let Err(panicked) = called {
            let report = Report::make(ReportKind::CallbackPanicked, "a done callback panicked");
            home.report(report.about(home.info(self.cell.header())).with_panic(panicked));
        }
        // Whoever tried to await the task meanwhile was told to come back.
        home.wake_awaiter(self.cell.header().awaiter_to_wake());
    }
}

impl<T> Drop for Asker<T> {
    fn drop(&mut self) {
        if self.cell.header().asker_gone() {
            self.cell.home().nobody_will_ask(self.cell.as_ref());
        }
    }
}
