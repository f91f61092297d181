//! Waiting for some of several tasks, without taking them away.

use super::sleep::Sleep;
use super::watching::Watching;
use super::yield_now::OnceATurn;
use crate::current::state_for;
use crate::handle::Task;
use crate::life::Ending;
use crate::outcome::{AwaitedItself, TakeError, TaskError};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// For what to wait: [`wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// Until one has ended, in whatever way.
    First,
    /// Until one has failed or panicked, or all have ended. A cancelled one has
    /// not failed.
    FirstFailure,
    /// Until all have ended.
    All,
}

/// Waits for some of the tasks, and sorts them into those that have ended and
/// those that have not, each in the order of the arguments.
///
/// It retrieves nothing: a failure still has to be asked for, or is reported.
///
/// When nothing is to be waited for it is ready at once, though only once a turn in
/// each task: a loop around it lets others have their turns.
///
/// # Panics
///
/// If the task that waits is among the tasks, and all others that it waits for have
/// ended: that would never end. As long as there is somebody else, its own handle is
/// that of a task that has not ended.
///
/// # Cancellation
///
/// Dropping it, or cancelling the task that waits, leaves the tasks alone.
///
/// # Examples
///
/// ```
/// use hearken::WaitFor;
///
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let quick = hearken::spawn(async { Ok("quick") });
///     let never = hearken::spawn(std::future::pending());
///     let mut tasks = [never, quick];
///     let (done, pending) = hearken::wait(&mut tasks, WaitFor::First).await;
///     assert_eq!((done.len(), pending.len()), (1, 1));
///     assert_eq!(*done[0].result().unwrap(), "quick");
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub async fn wait<T>(
    tasks: &mut [Task<T>],
    wait_for: WaitFor,
) -> (Vec<&mut Task<T>>, Vec<&mut Task<T>>) {
    let mut waiting = Waiting::new(tasks, wait_for);
    let mut at_once = OnceATurn::default();
    poll_fn(|cx| match waiting.poll(tasks, cx) {
        Poll::Ready(()) => at_once.may_go_on(cx),
        Poll::Pending => {
            if waiting.unfinished == 1 && tasks.iter().any(Task::is_the_running_task) {
                awaited_itself("wait");
            }
            at_once.waits()
        }
    })
    .await;
    sort(tasks)
}

/// Nobody else is left to be waited for.
#[cold]
fn awaited_itself(function: &str) -> ! {
    panic!("{AwaitedItself}: hearken::{function} has nobody else to wait for")
}

/// As [`wait`], but not longer than `limit`. When that has passed it answers
/// with what there is; nothing is cancelled. The task that waits may be among the
/// tasks: it has not ended by then.
///
/// # Panics
///
/// If called outside a turn.
///
/// # Cancellation
///
/// Dropping it, or cancelling the task that waits, leaves the tasks alone.
#[track_caller]
pub fn wait_timeout<T>(
    tasks: &mut [Task<T>],
    wait_for: WaitFor,
    limit: Duration,
) -> impl Future<Output = (Vec<&mut Task<T>>, Vec<&mut Task<T>>)> {
    let home = state_for("wait_timeout");
    async move {
        let mut waiting = Waiting::new(tasks, wait_for);
        let mut limit = pin!(Sleep::after(&home, limit));
        let mut at_once = OnceATurn::default();
        poll_fn(|cx| match waiting.poll(tasks, cx) {
            Poll::Ready(()) => at_once.may_go_on(cx),
            Poll::Pending if limit.as_mut().poll(cx).is_ready() => Poll::Ready(()),
            Poll::Pending => at_once.waits(),
        })
        .await;
        sort(tasks)
    }
}

fn sort<T>(tasks: &mut [Task<T>]) -> (Vec<&mut Task<T>>, Vec<&mut Task<T>>) {
    tasks.iter_mut().partition(|task| task.is_finished())
}

struct Waiting {
    wait_for: WaitFor,
    watching: Watching,
    unfinished: usize,
}

impl Waiting {
    fn new<T>(tasks: &[Task<T>], wait_for: WaitFor) -> Waiting {
        let watching = Watching::default();
        tasks.iter().enumerate().for_each(|(place, task)| match task.is_finished() {
            true => watching.has_ended(place), // also when somebody looks at it
            false => watching.add(task, place),
        });
        Waiting { wait_for, watching, unfinished: tasks.len() }
    }

    fn poll<T>(&mut self, tasks: &[Task<T>], cx: &mut Context<'_>) -> Poll<()> {
        while self.unfinished > 0 {
            let Some(place) = self.watching.next(cx) else { return Poll::Pending };
            self.unfinished -= 1;
            let failed = matches!(tasks[place].ending(), Some(Ending::Failed | Ending::Panicked));
            match self.wait_for {
                WaitFor::First => return Poll::Ready(()),
                WaitFor::FirstFailure if failed => return Poll::Ready(()),
                WaitFor::FirstFailure | WaitFor::All => {}
            }
        }
        Poll::Ready(())
    }
}

/// The tasks, in the order in which they end: see [`AsCompleted::next`].
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let naps = [3, 1, 2].map(|seconds| {
///         hearken::spawn(async move {
///             hearken::sleep(Duration::from_secs(seconds)).await;
///             Ok(seconds)
///         })
///     });
///     let mut order = Vec::new();
///     let mut naps = hearken::as_completed(naps);
///     while let Some(outcome) = naps.next().await {
///         order.push(outcome?);
///     }
///     assert_eq!(order, [1, 2, 3]);
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn as_completed<T>(tasks: impl IntoIterator<Item = Task<T>>) -> AsCompleted<T> {
    let watching = Watching::default();
    let tasks: Vec<Option<Task<T>>> = tasks.into_iter().map(Some).collect();
    tasks.iter().flatten().enumerate().for_each(|(place, task)| watching.add(task, place));
    AsCompleted { left: tasks.len(), tasks, watching }
}

/// Tasks in the order in which they end: [`as_completed`].
///
/// Dropping it lets those run on that have not been handed over; if one has
/// failed or fails, the handler hears of it.
#[must_use = "nothing is handed over unless `next` is awaited"]
pub struct AsCompleted<T> {
    tasks: Vec<Option<Task<T>>>,
    left: usize,
    watching: Watching,
}

impl<T> AsCompleted<T> {
    /// The outcome of the next task to end. None when all have been handed
    /// over.
    ///
    /// The task that waits comes last, if it is one of them, and what it is handed
    /// is the error [`AwaitedItself`].
    ///
    /// # Cancellation
    ///
    /// Dropping it before it is ready loses nothing. Cancelling the task that
    /// waits leaves the tasks alone.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        let mut task = self.next_or_itself().await?;
        Some(task.take().unwrap_or_else(|still_running| {
            debug_assert_eq!(still_running, TakeError::Pending, "nobody else takes its outcome");
            Err(TaskError::Failed(anyhow::Error::new(AwaitedItself)))
        }))
    }

    /// The next task to end, with its outcome in it.
    ///
    /// # Panics
    ///
    /// If the task that waits is the only one that is left.
    ///
    /// # Cancellation
    ///
    /// As for [`next`](AsCompleted::next).
    pub async fn next_task(&mut self) -> Option<Task<T>> {
        let task = self.next_or_itself().await?;
        if !task.is_finished() {
            awaited_itself("AsCompleted::next_task");
        }
        Some(task)
    }

    /// The next task to end; or the one that waits, when there is no other.
    async fn next_or_itself(&mut self) -> Option<Task<T>> {
        poll_fn(|cx| {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            while let Some(place) = self.watching.next(cx) {
                let slot = &mut self.tasks[place];
                let task = slot.take().expect("it ends once");
                if task.is_looked_at() {
                    self.watching.add(&task, place);
                    *slot = Some(task);
                    continue;
                }
                self.left -= 1;
                return Poll::Ready(Some(task));
            }
            if self.left > 1 {
                return Poll::Pending;
            }
            let itself =
                |slot: &&mut Option<Task<T>>| slot.as_ref().is_some_and(Task::is_the_running_task);
            let Some(slot) = self.tasks.iter_mut().find(itself) else { return Poll::Pending };
            self.left = 0;
            Poll::Ready(slot.take())
        })
        .await
    }

    /// How many have not been handed over.
    pub fn left(&self) -> usize {
        self.left
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}
