//! Waiting for all of several tasks.
//!
//! They differ in what a failure means. [`gather`] hands on the first one at
//! once, and the siblings run on; [`try_gather`] cancels the siblings and waits
//! for them first; [`settle`] waits for all and judges nobody. Tasks of
//! different types go with `futures::join!` and `try_join!`.
//!
//! Outcomes stay with their tasks until they are handed over. So a failure that
//! is not handed over is reported, like that of any task that nobody asks.

use crate::cancelling::Standing;
use crate::current;
use crate::handle::Task;
use crate::header::Watch;
use crate::life::Ending;
use crate::outcome::{AwaitedItself, Origin, Request, TakeError, TaskError};
use crate::scopes::Kind;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Waits for all tasks, and gives their values in the order of the arguments.
/// Nothing to wait for is ready at once.
///
/// # Errors
///
/// The first failure or cancellation, as soon as it happens. The siblings run
/// on; if they fail too, the handler hears of it.
///
/// # Cancellation
///
/// To cancel a task that is waiting here cancels all the tasks, and waits for
/// them. Dropping it lets the tasks run on.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let squares = (1..=3).map(|n| hearken::spawn(async move { Ok(n * n) }));
///     assert_eq!(hearken::gather(squares).await?, [1, 4, 9]);
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn gather<T>(
    tasks: impl IntoIterator<Item = Task<T>>,
) -> impl Future<Output = Result<Vec<T>, TaskError>> {
    Gather { children: Children::new(tasks), on_failure: OnFailure::HandOn, first_failure: None }
}

/// Waits for all tasks, and gives their values in the order of the arguments.
/// When one fails, the others are cancelled, and have ended when this returns.
/// Nothing to wait for is ready at once.
///
/// # Errors
///
/// The first failure or cancellation. If others fail while they clean up, the
/// handler hears of it.
///
/// # Cancellation
///
/// To cancel a task that is waiting here cancels all the tasks, and waits for
/// them. Dropping it lets the tasks run on.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let slow = hearken::spawn(std::future::pending());
///     let bad = hearken::spawn(async { Err::<(), _>(anyhow::anyhow!("no")) });
///     let slow_ref = slow.task_ref();
///     assert!(hearken::try_gather([slow, bad]).await.is_err());
///     assert!(slow_ref.is_finished());
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn try_gather<T>(
    tasks: impl IntoIterator<Item = Task<T>>,
) -> impl Future<Output = Result<Vec<T>, TaskError>> {
    Gather { children: Children::new(tasks), on_failure: OnFailure::Cancel, first_failure: None }
}

/// Waits for all tasks, however they end, and gives their outcomes in the order
/// of the arguments. Nothing to wait for is ready at once.
///
/// The words elsewhere: `asyncio.gather(return_exceptions=True)`,
/// `Promise.allSettled`.
///
/// # Cancellation
///
/// To cancel a task that is waiting here cancels all the tasks, and waits for
/// them. Dropping it lets the tasks run on.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let parsed = ["1", "x"].map(|text| hearken::spawn(async move { Ok(text.parse::<u8>()?) }));
///     let outcomes = hearken::settle(parsed).await;
///     assert!(outcomes[0].is_ok() && outcomes[1].is_err());
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn settle<T>(
    tasks: impl IntoIterator<Item = Task<T>>,
) -> impl Future<Output = Vec<Result<T, TaskError>>> {
    Settle { children: Children::new(tasks) }
}

/// Tasks that are waited for together.
struct Children<T> {
    tasks: Vec<Task<T>>,
    unfinished: usize,
    watch: Rc<Watch>,
    watched: bool,
    standing: Standing,
    /// The request on whose behalf they have been cancelled.
    request: Option<Arc<Request>>,
    /// All have ended because of it, and it has gone on outward.
    raised: bool,
}

/// Something happened to the children.
enum News {
    Ended(usize),
    All,
}

impl<T> Children<T> {
    fn new(tasks: impl IntoIterator<Item = Task<T>>) -> Children<T> {
        let tasks: Vec<Task<T>> = tasks.into_iter().collect();
        Children {
            unfinished: tasks.len(),
            tasks,
            watch: Rc::default(),
            watched: false,
            standing: Standing::default(),
            request: None,
            raised: false,
        }
    }

    /// Waits for the next to end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if !self.watched {
            self.watched = true;
            for (place, task) in self.tasks.iter().enumerate() {
                // Whoever waits for itself is told at once that this fails.
                if task.is_the_running_task() || task.watch(&self.watch, place) {
                    let _nobody_waits_yet = self.watch.ended(place);
                }
            }
        }
        if (self.unfinished > 0 || self.raised)
            && let Some(here) = self.standing.poll(Kind::Forward, cx)
            && let Some(told) = here.heard()
        {
            let request = told.request().clone();
            if self.raised {
                return self.raise(&request); // those whom we waited for had no use for it
            }
            if self.tasks.iter().all(Task::is_well) {
                // Their values are there already. The request still stands.
                here.home.put_back(&request);
            } else if here.forward_to_tasks(&self.tasks, &request) {
                self.request = Some(request);
            } else {
                return self.raise(&request);
            }
        }
        if self.raised {
            return Poll::Pending;
        }
        if let Some(place) = self.watch.next(cx.waker()) {
            self.unfinished -= 1;
            return Poll::Ready(News::Ended(place));
        }
        if self.unfinished > 0 {
            return Poll::Pending;
        }
        if let Some(request) = self.request.take() {
            // All have ended. If by the request, now it is our turn to be told.
            if !self.all_well() {
                return self.raise(&request);
            }
            current::with(|state| state.map(|state| state.put_back(&request)));
        }
        self.standing.leave();
        Poll::Ready(News::All)
    }

    fn all_well(&self) -> bool {
        self.tasks.iter().all(Task::is_well)
    }

    /// Whoever waits here is told now. This is never ready.
    fn raise(&mut self, request: &Arc<Request>) -> Poll<News> {
        self.standing.raise_with_others(request);
        self.raised = true;
        Poll::Pending
    }

    fn cancel_each(&self, request: &Arc<Request>) {
        for task in &self.tasks {
            task.cancel_by(request);
        }
    }

    /// Hands over the outcome of one that has ended.
    fn take(&mut self, place: usize) -> Result<T, TaskError> {
        self.tasks[place].take().unwrap_or_else(|still_running| {
            debug_assert_eq!(still_running, TakeError::Pending, "nobody else takes its outcome");
            Err(TaskError::Failed(anyhow::Error::new(AwaitedItself)))
        })
    }

    fn take_all(&mut self) -> impl Iterator<Item = Result<T, TaskError>> {
        (0..self.tasks.len()).map(|place| self.take(place))
    }
}

struct Gather<T> {
    children: Children<T>,
    on_failure: OnFailure,
    /// Which was the first to fail.
    first_failure: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    HandOn,
    Cancel,
}

// Nothing in it is pinned: tasks are handles.
impl<T> Unpin for Gather<T> {}

impl<T> Future for Gather<T> {
    type Output = Result<Vec<T>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Gather { children, on_failure, first_failure } = &mut *self;
        loop {
            match children.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(News::Ended(place)) => {
                    let failed = children.tasks[place].ending() != Some(Ending::Succeeded);
                    if !failed || first_failure.is_some() {
                        continue;
                    }
                    *first_failure = Some(place);
                    if children.request.is_some() {
                        continue; // all have been cancelled, and none is handed on
                    }
                    if *on_failure == OnFailure::Cancel {
                        let reason = "a sibling has failed";
                        children.cancel_each(&Arc::new(Request::new(reason.into(), Origin::Group)));
                    } else {
                        break;
                    }
                }
                Poll::Ready(News::All) => break,
            }
        }
        let answer = match *first_failure {
            Some(place) => children.take(place).map(|_| Vec::new()),
            None => children.take_all().collect(),
        };
        children.tasks.clear();
        Poll::Ready(answer)
    }
}

struct Settle<T> {
    children: Children<T>,
}

impl<T> Unpin for Settle<T> {}

impl<T> Future for Settle<T> {
    type Output = Vec<Result<T, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.children.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(News::Ended(_)) => {}
                Poll::Ready(News::All) => return Poll::Ready(self.children.take_all().collect()),
            }
        }
    }
}
