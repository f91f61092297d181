//! Waiting for all of several tasks.
//!
//! They differ in what a failure means. [`gather`] hands on the first one at
//! once, and the siblings run on; [`settle`] waits for all and judges nobody.
//! Tasks of different types go with `futures::join!` and `try_join!`.

use crate::handle::Task;
use crate::life::Watch;
use crate::outcome::TaskError;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
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
/// Dropping it lets the tasks run on.
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
    Gather { children: Children::new(tasks) }
}

/// Waits for all tasks, however they end, and gives their outcomes in the order
/// of the arguments. Nothing to wait for is ready at once.
///
/// The words elsewhere: `asyncio.gather(return_exceptions=True)`,
/// `Promise.allSettled`.
///
/// # Cancellation
///
/// Dropping it lets the tasks run on.
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

/// Tasks that are waited for together, and what has come of them.
struct Children<T> {
    tasks: Vec<Child<T>>,
    unfinished: usize,
    watch: Rc<Watch>,
    watched: bool,
}

enum Child<T> {
    Waiting(Task<T>),
    Ended(Result<T, TaskError>),
}

impl<T> Children<T> {
    fn new(tasks: impl IntoIterator<Item = Task<T>>) -> Children<T> {
        let tasks: Vec<Child<T>> = tasks.into_iter().map(Child::Waiting).collect();
        Children { unfinished: tasks.len(), tasks, watch: Rc::default(), watched: false }
    }

    /// Waits for the next to end. Answers which, or `None` if none is left.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if !self.watched {
            self.watched = true;
            for (place, child) in self.tasks.iter().enumerate() {
                let Child::Waiting(task) = child else { continue };
                if task.watch(&self.watch, place) {
                    let _nobody_waits_yet = self.watch.ended(place);
                }
            }
        }
        if self.unfinished == 0 {
            return Poll::Ready(None);
        }
        while let Some(place) = self.watch.next(cx.waker()) {
            let Child::Waiting(task) = &mut self.tasks[place] else { continue };
            // Pending only while the handler or a callback looks at the outcome.
            if let Poll::Ready(outcome) = Pin::new(task).poll(cx) {
                self.tasks[place] = Child::Ended(outcome);
                self.unfinished -= 1;
                return Poll::Ready(Some(place));
            }
        }
        Poll::Pending
    }

    fn take_all(&mut self) -> impl Iterator<Item = Result<T, TaskError>> + use<T> {
        std::mem::take(&mut self.tasks).into_iter().map(|child| match child {
            Child::Ended(outcome) => outcome,
            Child::Waiting(_) => unreachable!("none is unfinished"),
        })
    }
}

struct Gather<T> {
    children: Children<T>,
}

// Nothing in it is pinned: tasks are handles.
impl<T> Unpin for Gather<T> {}

impl<T> Future for Gather<T> {
    type Output = Result<Vec<T>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let children = &mut self.children;
        loop {
            match children.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(children.take_all().collect()),
                Poll::Ready(Some(place))
                    if matches!(children.tasks[place], Child::Ended(Err(_))) =>
                {
                    let tasks = std::mem::take(&mut children.tasks);
                    children.unfinished = 0;
                    return Poll::Ready(first_failure(tasks, place));
                }
                Poll::Ready(Some(_)) => {}
            }
        }
    }
}

/// Lets all go but the one that has failed.
fn first_failure<T>(mut tasks: Vec<Child<T>>, place: usize) -> Result<Vec<T>, TaskError> {
    match tasks.swap_remove(place) {
        Child::Ended(Err(error)) => Err(error),
        _ => unreachable!("it has failed"),
    }
}

struct Settle<T> {
    children: Children<T>,
}

impl<T> Unpin for Settle<T> {}

impl<T> Future for Settle<T> {
    type Output = Vec<Result<T, TaskError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let children = &mut self.children;
        loop {
            match children.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(children.take_all().collect()),
                Poll::Ready(Some(_)) => {}
            }
        }
    }
}
