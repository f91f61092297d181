//! How a task ends: a value, a failure, a panic, or a cancellation.
//!
//! The types here are what the rest of a program holds in its hands when a task
//! is over. They do not know of executors; who hears of an outcome, and who
//! must, is decided in `life.rs` and `report.rs`.
//!
//! # Invariants
//!
//! - **Whose cancellation.** A [`Cancelled`] says which task it was made for.
//!   Only that task ends as cancelled by returning it; in anybody else's hands
//!   it is news of a cancellation, and becomes a [`TaskCancelled`].
//! - **`?` keeps the error.** A [`TaskError`] turns into the task's own error,
//!   not into a wrapper around it, so `downcast_ref` still finds it.

use crate::id::TaskId;
use crate::request::{Delivery, Origin, Rank, Said, Why};
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Why a task that was spawned fallibly gave no value.
///
/// It is not a [`std::error::Error`] itself, so that `?` can turn it into the
/// error that the task failed with. For context, convert it first:
/// `task.await.map_err(anyhow::Error::from).context("…")?`.
///
/// # Examples
///
/// ```
/// use hearken::TaskError;
///
/// let executor = hearken::Executor::new();
/// let answer = executor.block_on(async {
///     let task = hearken::spawn(async { Ok("12x".parse::<i32>()?) });
///     match task.await {
///         Err(TaskError::Failed(error)) => {
///             assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
///         }
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// });
/// # assert!(answer.is_ok());
/// ```
#[derive(Debug)]
pub enum TaskError {
    /// The future returned this error.
    Failed(anyhow::Error),
    /// The future panicked.
    Panicked(Panicked),
    /// The task was cancelled.
    Cancelled(Cancelled),
}

impl TaskError {
    /// The failure as an error, a panic included; none for a cancellation.
    pub(crate) fn as_failure(&self) -> Option<&anyhow::Error> {
        match self {
            TaskError::Failed(error) => Some(error),
            TaskError::Panicked(panicked) => Some(panicked.as_error()),
            TaskError::Cancelled(_) => None,
        }
    }

    /// Sorts what a body returned: its own cancellation, or a failure. What a deadline or
    /// a group has asked is over with that, and cancels nobody any more.
    pub(crate) fn from_body(error: anyhow::Error, task: TaskId, executor: u64) -> TaskError {
        match error.downcast_ref::<Cancelled>() {
            None => TaskError::Failed(error),
            Some(cancelled) if cancelled.is_for(task, executor) && cancelled.is_of_task() => {
                TaskError::Cancelled(cancelled.copy())
            }
            // Somebody else's cancellation, passed on by hand, or an old one.
            Some(cancelled) => {
                let cancelled = TaskCancelled::from(cancelled);
                TaskError::Failed(anyhow::Error::new(cancelled))
            }
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Failed(error) => error.fmt(f),
            TaskError::Panicked(panicked) => panicked.fmt(f),
            TaskError::Cancelled(cancelled) => cancelled.fmt(f),
        }
    }
}

/// The task's own error; a [`Panicked`]; or a [`TaskCancelled`], because it is
/// not the caller who was cancelled.
impl From<TaskError> for anyhow::Error {
    fn from(error: TaskError) -> anyhow::Error {
        match error {
            TaskError::Failed(error) => error,
            TaskError::Panicked(panicked) => anyhow::Error::new(panicked),
            TaskError::Cancelled(cancelled) => anyhow::Error::new(TaskCancelled::from(&cancelled)),
        }
    }
}

impl From<TaskError> for Box<dyn Error + Send + Sync> {
    fn from(error: TaskError) -> Self {
        anyhow::Error::from(error).reallocate_into_boxed_dyn_error_without_backtrace()
    }
}

impl From<TaskError> for Box<dyn Error> {
    fn from(error: TaskError) -> Self {
        anyhow::Error::from(error).reallocate_into_boxed_dyn_error_without_backtrace()
    }
}

// ---- Cancellation ----------------------------------------------------------

/// A cancellation: why, by whose wish, and from where.
///
/// It is the same for everybody who asks, however often. A task that returns
/// its own `Cancelled` as an error, with or without context around it, ends as
/// cancelled.
///
/// It cannot be copied. So when a [`timeout`](crate::timeout()) finds that the
/// token it gave out still exists when its future has ended, it knows that the
/// cancellation was passed on, and not swallowed.
#[must_use = "a cancellation is returned, rethrown or accepted"]
pub struct Cancelled {
    task: TaskId,
    token: Token,
}

/// What a `Cancelled` was made of. Each has the executor whose task it is, since
/// ids are unique within their executor only; so it takes three words in all.
enum Token {
    /// A plain `cancel` that was delivered to nobody.
    Plain(u32, &'static Location<'static>),
    /// Another request that was delivered to nobody.
    Said(u32, Arc<Said>),
    /// Somebody in the task has heard of it.
    Delivered(u32, Arc<Delivery>),
}

impl Cancelled {
    /// Of a request of which nobody in the task was told.
    pub(crate) fn new(why: Why, task: TaskId, executor: u64) -> Cancelled {
        let executor = executor as u32;
        let token = match why {
            Why::Plain(location) => Token::Plain(executor, location),
            Why::Said(said) => Token::Said(executor, said),
        };
        Cancelled { task, token }
    }

    /// For somebody who hears of it.
    pub(crate) fn of(delivery: Arc<Delivery>, task: TaskId, executor: u64) -> Cancelled {
        delivery.count_token();
        Cancelled { task, token: Token::Delivered(executor as u32, delivery) }
    }

    /// Whether it was made for this task.
    pub(crate) fn is_for(&self, task: TaskId, executor: u64) -> bool {
        let (Token::Plain(own, _) | Token::Said(own, _) | Token::Delivered(own, _)) = &self.token;
        self.task == task && *own == executor as u32
    }

    /// Whether it is of a request to the task, and not of a deadline or a group.
    fn is_of_task(&self) -> bool {
        self.delivery().is_none_or(|delivery| delivery.rank() == Rank::TASK)
    }

    /// The same once more, for the library's own use.
    pub(crate) fn copy(&self) -> Cancelled {
        let token = match &self.token {
            Token::Plain(executor, location) => Token::Plain(*executor, location),
            Token::Said(executor, said) => Token::Said(*executor, said.clone()),
            Token::Delivered(executor, delivery) => {
                delivery.count_token();
                Token::Delivered(*executor, delivery.clone())
            }
        };
        Cancelled { task: self.task, token }
    }

    pub(crate) fn why(&self) -> Why {
        match &self.token {
            Token::Plain(_, location) => Why::Plain(location),
            Token::Said(_, said) => Why::Said(said.clone()),
            Token::Delivered(_, delivery) => delivery.request.why.clone(),
        }
    }

    /// The delivery of which it is a token, if it was delivered.
    pub(crate) fn delivery(&self) -> Option<&Arc<Delivery>> {
        match &self.token {
            Token::Delivered(_, delivery) => Some(delivery),
            Token::Plain(..) | Token::Said(..) => None,
        }
    }

    /// Why, in words: what [`cancel_with`](crate::Task::cancel_with) was given,
    /// or `requested`.
    pub fn reason(&self) -> &str {
        match &self.token {
            Token::Plain(..) => "requested",
            Token::Said(_, said) => said.reason(),
            Token::Delivered(_, delivery) => delivery.request.why.reason(),
        }
    }

    /// Whose wish it was.
    pub fn origin(&self) -> Origin {
        self.why().origin()
    }

    /// Where in the program `cancel` was called. None if the executor itself
    /// asked.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.why().location()
    }

    /// Which task was cancelled.
    pub fn task(&self) -> TaskId {
        self.task
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled: {}", self.reason())
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("task", &self.task)
            .field("reason", &self.reason())
            .field("origin", &self.origin())
            .field("location", &self.location().map(ToString::to_string))
            .finish()
    }
}

impl Error for Cancelled {}

/// A task that we waited for was cancelled, and it was not we who were.
///
/// This is what `task.await?` gives for a cancelled task. A task that passes it
/// on has failed; it has not been cancelled itself.
///
/// # Examples
///
/// ```
/// use hearken::TaskCancelled;
///
/// let executor = hearken::Executor::new();
/// let answer = executor.block_on(async {
///     let task = hearken::spawn(std::future::pending::<anyhow::Result<()>>());
///     task.cancel_with("no longer needed");
///     task.await?;
///     Ok(())
/// });
/// let error = anyhow::Error::from(answer.unwrap_err());
/// let cancelled = error.downcast_ref::<TaskCancelled>().unwrap();
/// assert_eq!(cancelled.reason(), "no longer needed");
/// ```
#[derive(Clone)]
pub struct TaskCancelled {
    why: Why,
    task: TaskId,
}

impl From<&Cancelled> for TaskCancelled {
    fn from(cancelled: &Cancelled) -> TaskCancelled {
        TaskCancelled { why: cancelled.why(), task: cancelled.task }
    }
}

impl TaskCancelled {
    /// What became of somebody in the running task by this request.
    pub(crate) fn of(delivery: &Delivery, task: TaskId) -> TaskCancelled {
        TaskCancelled { why: delivery.request.why.clone(), task }
    }

    /// Which task was cancelled.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// Why, in words.
    pub fn reason(&self) -> &str {
        self.why.reason()
    }

    /// Whose wish it was.
    pub fn origin(&self) -> Origin {
        self.why.origin()
    }

    /// Where in the program `cancel` was called.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.why.location()
    }
}

impl fmt::Display for TaskCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} was cancelled: {}", self.task(), self.reason())
    }
}

impl fmt::Debug for TaskCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskCancelled")
            .field("task", &self.task())
            .field("reason", &self.reason())
            .finish()
    }
}

impl Error for TaskCancelled {}

// ---- Panics ----------------------------------------------------------------

/// A panic that was caught.
///
/// Clones share the payload. The panic itself has already been printed by the
/// process's panic hook, where it happened.
#[derive(Clone)]
pub struct Panicked(Box<Panic>);

// Behind a box, so that outcomes are small: most tasks do not panic.
#[derive(Clone)]
struct Panic {
    caught: Arc<Caught>,
    /// The cancellation because of which the future was dropped.
    cancelled: Option<TaskCancelled>,
    /// This as an `anyhow::Error`, made when somebody wants a reference to one.
    as_error: OnceLock<Arc<anyhow::Error>>,
}

struct Caught {
    message: Cow<'static, str>,
    // `Sync` because errors have to be; nobody ever waits for it.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Panicked {
    #[cold]
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Panicked {
        let message = match payload.downcast_ref::<&'static str>() {
            Some(message) => Cow::Borrowed(*message),
            None => match payload.downcast_ref::<String>() {
                Some(message) => Cow::Owned(message.clone()),
                None => Cow::Borrowed("a value that is not a message"),
            },
        };
        let caught = Caught { message, payload: Mutex::new(Some(payload)) };
        let caught = Arc::new(caught);
        Panicked(Box::new(Panic { caught, cancelled: None, as_error: OnceLock::new() }))
    }

    pub(crate) fn while_dropped(self, why: Why, task: TaskId) -> Panicked {
        let mut panic = self.0;
        panic.cancelled = Some(TaskCancelled { why, task });
        Panicked(panic)
    }

    pub(crate) fn while_cancelled(self, cancelled: &Cancelled) -> Panicked {
        let mut panic = self.0;
        panic.cancelled = Some(TaskCancelled::from(cancelled));
        Panicked(panic)
    }

    /// The cancellation, if the future panicked while it was dropped because
    /// of one.
    pub fn cancelled(&self) -> Option<&TaskCancelled> {
        self.0.cancelled.as_ref()
    }

    /// What was given to `panic!`.
    pub fn message(&self) -> &str {
        &self.0.caught.message
    }

    /// The payload, to be thrown on with [`std::panic::resume_unwind`]. A
    /// second call gives the message only.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let payload = self.0.caught.payload.lock().unwrap_or_else(PoisonError::into_inner).take();
        payload.unwrap_or_else(|| Box::new(self.0.caught.message.clone()))
    }

    pub(crate) fn as_error(&self) -> &anyhow::Error {
        let Panic { caught, cancelled, as_error } = &*self.0;
        as_error.get_or_init(|| {
            let (caught, cancelled) = (caught.clone(), cancelled.clone());
            let same = Panicked(Box::new(Panic { caught, cancelled, as_error: OnceLock::new() }));
            Arc::new(anyhow::Error::new(same))
        })
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // The payload is foreign, and its drop may panic in its turn. Errors
        // are dropped in places where that would be one panic too many.
        let payload = self.payload.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(again) = quietly(|| drop(payload)) {
            std::mem::forget(again);
        }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message())?;
        match &self.0.cancelled {
            Some(cancelled) => {
                write!(f, " (while it was dropped, cancelled: {})", cancelled.reason())
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.message()).finish()
    }
}

impl Error for Panicked {}

/// Calls foreign code that may panic, and gives the payload if it did.
///
/// After a panic nothing of ours is half-done: whoever calls this holds no
/// borrow, and leaves the foreign value alone.
#[inline]
pub(crate) fn quietly<R>(foreign: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(foreign))
}

/// Calls foreign code that may panic, and gives the panic if it did.
#[inline]
pub(crate) fn catch<R>(foreign: impl FnOnce() -> R) -> Result<R, Panicked> {
    quietly(foreign).map_err(Panicked::new)
}

// ---- What the accessors answer -----------------------------------------------

/// Why [`Task::result`](crate::Task::result) or
/// [`Task::error`](crate::Task::error) has no answer.
#[derive(Debug)]
pub enum OutcomeError<'a> {
    /// The task has not finished.
    Pending,
    /// The outcome was taken, or went to whoever awaited the task.
    Taken,
    /// The task ended without a value.
    Ended(&'a TaskError),
}

impl fmt::Display for OutcomeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutcomeError::Pending => f.write_str("the task has not finished"),
            OutcomeError::Taken => f.write_str("the task's outcome was taken"),
            OutcomeError::Ended(error) => error.fmt(f),
        }
    }
}

impl Error for OutcomeError<'_> {}

/// Why [`Task::take`](crate::Task::take) has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeError {
    /// The task has not finished, or the handler or a callback is looking at
    /// its outcome at this moment.
    Pending,
    /// The outcome was taken before.
    Taken,
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TakeError::Pending => "the task has not finished",
            TakeError::Taken => "the task's outcome was taken",
        })
    }
}

impl Error for TakeError {}

/// The task awaited itself, which would never end.
#[derive(Clone, Copy, Debug)]
pub struct AwaitedItself;

impl fmt::Display for AwaitedItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task awaited itself")
    }
}

impl Error for AwaitedItself {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_can_be_found_again() {
        let panicked = catch(|| panic!("no {}", std::hint::black_box(1))).unwrap_err();
        let error = panicked.as_error();
        assert_eq!(error.downcast_ref::<Panicked>().unwrap().message(), "no 1");
        assert_eq!(*panicked.into_payload().downcast::<String>().unwrap(), "no 1");
    }

    #[test]
    fn a_payload_whose_drop_panics_is_dropped_quietly() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                panic!("from the payload's drop");
            }
        }
        let panicked = catch(|| std::panic::panic_any(Loud)).unwrap_err();
        assert_eq!(panicked.message(), "a value that is not a message");
        drop(panicked);
    }
}
