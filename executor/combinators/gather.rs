//! Waiting for all of several tasks.
//!
//! They differ in what a failure means. [`gather`] hands on the first one at
//! once, and the siblings run on; [`try_gather`] cancels the siblings and waits
//! for them first; [`settle`] waits for all and judges nobody. Tasks of
//! different types go with `futures::join!` and `try_join!`.
//!
//! Outcomes stay with their tasks until they are handed over. So a failure that
//! is not handed over is reported, like that of any task that nobody asks.

use super::watching::Watching;
use crate::asking::{give_up, with_running_task};
use crate::handle::Task;
use crate::life::Ending;
use crate::outcome::{AwaitedItself, TakeError, TaskError};
use crate::place::Place;
use crate::request::{Delivery, Origin, Why};
use crate::roles::Roles;
use crate::rules::Forwarding;
use crate::state::State;
use std::future::Future;
use std::ops::Range;
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
    Gather::new(tasks, OnFailure::HandOn)
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
    Gather::new(tasks, OnFailure::Cancel)
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
    watching: Watching,
    watched: bool,
    place: Place,
    forwarding: Forwarding,
    /// Those that have been asked to cancel, and are waited for.
    asked: Vec<bool>,
    /// How many of them have not ended.
    asked_unfinished: usize,
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
            watching: Watching::default(),
            watched: false,
            place: Place::default(),
            forwarding: Forwarding::default(),
            asked: Vec::new(),
            asked_unfinished: 0,
        }
    }

    /// It is polled. To be called before it is asked for the next.
    fn arrive(&mut self, cx: &Context<'_>) {
        if !self.watched {
            self.watched = true;
            for (place, task) in self.tasks.iter().enumerate() {
                // Whoever waits for itself is told at once that this fails.
                match task.is_the_running_task() {
                    true => self.watching.has_ended(place),
                    false => self.watching.add(task, place),
                }
            }
        }
        with_running_task(|state| {
            let Some(state) = state else { return };
            self.place.arrive(state, cx);
            if !self.forwarding.is_nothing()
                && let Some(here) = self.place.polls_here(state)
                && let Some(other) = self.forwarding.refresh(here)
            {
                state.wake_task(other);
            }
            if let Some(delivery) = self.place.carried(state) {
                self.place.set_seen(state);
                self.told(state, delivery);
            }
        });
    }

    /// Waits for the next to end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        with_running_task(|state| {
            let Some(state) = state else { return self.next_news(cx) };
            let news = self.next_news_here(state, cx);
            match (&mut self.forwarding, news.is_pending()) {
                (Forwarding::Outward(delivery, to), _) => {
                    *to = state.descent.around.get().stop;
                    self.place.suspend(state, Roles::OUTWARD, Roles::NONE);
                    state.send_outward(delivery);
                    Poll::Pending
                }
                (Forwarding::Waiting(delivery, _), true) => {
                    self.place.suspend(state, Roles::forward(delivery.rank()), Roles::NONE);
                    Poll::Pending
                }
                (Forwarding::Nothing, true) => {
                    self.place.suspend(state, Roles::NONE, Roles::NONE);
                    Poll::Pending
                }
                (_, false) => news,
            }
        })
    }

    /// The task that waits here is asked to cancel, or a deadline has passed.
    fn told(&mut self, state: &Rc<State>, delivery: Arc<Delivery>) {
        if self.all_well() || matches!(self.forwarding, Forwarding::Outward(..)) {
            return; // their values are there already, and come first; or it is late
        }
        state.descent.meet_taker();
        let waits = |task: &Task<T>| task.pass_on(state, &delivery.request);
        self.asked = self.tasks.iter().map(waits).collect();
        self.asked_unfinished = self.asked.iter().filter(|&&asked| asked).count();
        match self.asked_unfinished {
            0 => {
                let tasks = self.tasks.iter();
                tasks.for_each(|task| state.forget_asked_by(delivery.task, task.header()));
                self.forwarding.go_outward(delivery);
            }
            _ => self.forwarding.pass_on(delivery),
        }
    }

    /// What happens next to the children, if nothing goes outward.
    fn next_news_here(&mut self, state: &State, cx: &mut Context<'_>) -> Poll<News> {
        if matches!(self.forwarding, Forwarding::Outward(..)) {
            return Poll::Pending;
        }
        let news = self.next_news(cx);
        if let Forwarding::Waiting(..) = &self.forwarding
            && self.asked_unfinished == 0
        {
            // All that were asked have ended. If by that, now it is our turn.
            if self.all_well() {
                self.forwarding.all().for_each(|lost| state.descent.comes_to_nothing(lost));
                self.forwarding = Forwarding::Nothing;
            } else {
                self.forwarding.ends();
            }
        }
        news
    }

    fn next_news(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if let Some(place) = self.watching.next(cx) {
            self.unfinished -= 1;
            if self.asked.get_mut(place).is_some_and(std::mem::take) {
                self.asked_unfinished -= 1;
            }
            return Poll::Ready(News::Ended(place));
        }
        if self.unfinished > 0 { Poll::Pending } else { Poll::Ready(News::All) }
    }

    /// Whether somebody looks at one of these just now, so that it cannot be taken.
    /// Then those who wait are woken when he has.
    fn are_looked_at(&mut self, wanted: Range<usize>, cx: &Context<'_>) -> bool {
        let before = self.unfinished;
        for place in wanted {
            if self.tasks[place].is_looked_at() {
                self.watching.add(&self.tasks[place], place);
                self.unfinished += 1; // it ends once more, so to speak
            }
        }
        let looked_at = self.unfinished > before;
        if looked_at {
            self.watching.wakes(cx);
        }
        looked_at
    }

    fn all_well(&self) -> bool {
        self.tasks.iter().all(Task::is_well)
    }

    /// Whether they have been cancelled, and none is handed on.
    fn is_cancelled(&self) -> bool {
        !matches!(self.forwarding, Forwarding::Nothing)
    }

    fn cancel_each(&self) {
        let why = Why::of(Origin::Group, "a sibling has failed");
        for task in &self.tasks {
            task.cancel_by(&task.home().new_request(why.clone()));
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

impl<T> Drop for Children<T> {
    fn drop(&mut self) {
        if let Some(delivery) = self.forwarding.request() {
            let (by, tasks) = (delivery.task, self.tasks.iter());
            tasks.for_each(|task| task.home().forget_asked_by(by, task.header()));
        }
        give_up(&mut self.forwarding);
    }
}

struct Gather<T> {
    children: Children<T>,
    on_failure: OnFailure,
    /// Which was the first to fail.
    first_failure: Option<usize>,
    /// The same, while all were being cancelled.
    failed_meanwhile: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    HandOn,
    Cancel,
}

// Nothing in it is pinned: tasks are handles.
impl<T> Unpin for Gather<T> {}

impl<T> Gather<T> {
    fn new(tasks: impl IntoIterator<Item = Task<T>>, on_failure: OnFailure) -> Gather<T> {
        let children = Children::new(tasks);
        Gather { children, on_failure, first_failure: None, failed_meanwhile: None }
    }
}

impl<T> Future for Gather<T> {
    type Output = Result<Vec<T>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Gather { children, on_failure, first_failure, failed_meanwhile } = &mut *self;
        children.arrive(cx);
        loop {
            // What they were cancelled for may be over for others: then a failure counts.
            let news = match failed_meanwhile.take_if(|_| !children.is_cancelled()) {
                Some(place) => Poll::Ready(News::Ended(place)),
                None => children.poll_next(cx),
            };
            match news {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(News::Ended(place)) => {
                    let failed = children.tasks[place].ending() != Some(Ending::Succeeded);
                    if !failed || first_failure.is_some_and(|first| first != place) {
                        continue;
                    }
                    if children.is_cancelled() {
                        failed_meanwhile.get_or_insert(place);
                        continue; // none is handed on
                    }
                    *first_failure = Some(place);
                    if *on_failure == OnFailure::Cancel {
                        children.cancel_each();
                    } else {
                        break;
                    }
                }
                Poll::Ready(News::All) => break,
            }
        }
        let wanted = match *first_failure {
            Some(place) => place..place + 1,
            None => 0..children.tasks.len(),
        };
        if children.are_looked_at(wanted, cx) {
            return Poll::Pending;
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
        self.children.arrive(cx);
        loop {
            match self.children.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(News::Ended(_)) => {}
                Poll::Ready(News::All) => break,
            }
        }
        let all = 0..self.children.tasks.len();
        if self.children.are_looked_at(all, cx) {
            return Poll::Pending;
        }
        Poll::Ready(self.children.take_all().collect())
    }
}
