//! The other handles: a look at a task, and one that cancels when it goes.
//!
//! Neither can ask for the outcome by itself. So a [`TaskRef`], however many
//! there are, does not keep a failure from being reported.

use crate::counted::TaskRc;
use crate::handle::{Task, cancel};
use crate::id::TaskId;
use crate::outcome::TaskError;
use crate::report::{TaskInfo, TaskState};
use crate::state::State;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

impl<T> Task<T> {
    /// Cancels the task when the handle is dropped.
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop { task: Some(self) }
    }

    /// A look at the task, to be cloned and given away.
    pub fn task_ref(&self) -> TaskRef {
        TaskRef { cell: self.task_rc(), home: self.home().clone() }
    }
}

/// A task that is cancelled when its handle is dropped:
/// [`Task::cancel_on_drop`].
///
/// Awaiting it gives the outcome, as for a [`Task`].
#[must_use = "a task that is cancelled on drop is cancelled at once"]
#[derive(Debug)]
pub struct CancelOnDrop<T> {
    /// Some until `into_inner`, which ends this.
    task: Option<Task<T>>,
}

impl<T> CancelOnDrop<T> {
    /// The handle within, which does not cancel when it is dropped.
    pub fn into_inner(mut self) -> Task<T> {
        self.task.take().expect("the handle is there until now")
    }
}

impl<T> std::ops::Deref for CancelOnDrop<T> {
    type Target = Task<T>;

    fn deref(&self) -> &Task<T> {
        self.task.as_ref().expect("the handle is there until into_inner")
    }
}

impl<T> Future for CancelOnDrop<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.task.as_mut().expect("the handle is there until into_inner");
        Pin::new(task).poll(cx)
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.cancel_with("its handle was dropped");
        }
    }
}

/// A look at a task: who it is, how it fares, and how to cancel it.
///
/// It does not keep a failure from being reported, since it cannot ask for it.
#[derive(Clone)]
pub struct TaskRef {
    cell: TaskRc,
    home: Rc<State>,
}

impl TaskRef {
    pub(crate) fn new(cell: TaskRc, home: Rc<State>) -> TaskRef {
        TaskRef { cell, home }
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.cell.header().id
    }

    /// The task's name; `task-7` if it was given none.
    pub fn name(&self) -> String {
        self.info().name()
    }

    /// What is known of the task, as plain data.
    pub fn info(&self) -> TaskInfo {
        self.home.info(self.cell.header())
    }

    /// Where the task is in its life.
    pub fn state(&self) -> TaskState {
        self.info().state
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.cell.header().is_finished()
    }

    /// As [`Task::cancel`].
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.home.cancel_plainly(self.cell.header(), Location::caller())
    }

    /// As [`Task::cancel_with`].
    #[track_caller]
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        cancel(&self.home, self.cell.header(), reason.into())
    }

    /// As [`Task::cancelling`].
    pub fn cancelling(&self) -> u32 {
        self.cell.header().cancelling_count()
    }

    /// As [`Task::uncancel`].
    pub fn uncancel(&self) -> u32 {
        self.home.take_back_cancel(self.cell.header())
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskRef({}, {:?})", self.info(), self.state())
    }
}
