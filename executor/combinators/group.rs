//! Tasks that begin and end together.
//!
//! A group does not return before all its tasks have ended. When one fails, the
//! others are cancelled, and so is the body: the body's scope, never the task
//! that it is in, so no request is left over that somebody would have to count
//! away.

use super::around::{Around, Wrapped};
use crate::cancelling::{Here, Standing};
use crate::current::state_for;
use crate::handle::Task;
use crate::header::Guardian;
use crate::id::TaskId;
use crate::life::Hearing;
use crate::outcome::{Cancelled, Origin, Request, catch};
use crate::report::TaskInfo;
use crate::scopes::{Delivery, Kind};
use crate::spawn::{SpawnError, SpawnErrorKind, refused, try_spawn_on};
use crate::state::State;
use crate::task::Fallible;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Runs `body`, which spawns tasks in the group that it is given, and returns
/// when it and all of them have ended.
///
/// If a task fails, the others are cancelled, and the innermost scope of the
/// body is told. If the body fails, all tasks are cancelled. Tasks may spawn
/// others while the group lasts; it is passed on by cloning.
///
/// # Errors
///
/// A [`GroupError`] with all errors, in the order in which the tasks ended, the
/// body's own last; also when there is only one. A task that was merely
/// cancelled is no error.
///
/// # Panics
///
/// If polled outside a turn.
///
/// # Cancellation
///
/// To cancel the task that is in it cancels all tasks of the group and the
/// body, and waits for them. When there were errors it returns them, and the
/// request is delivered at the next suspension.
///
/// Dropping it cancels all tasks of the group, without waiting.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let sum = hearken::group(async |g: hearken::Group| {
///         let two = g.spawn(async { Ok(2) });
///         let three = g.spawn(async { Ok(3) });
///         Ok(two.await? + three.await?)
///     })
///     .await?;
///     assert_eq!(sum, 5);
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[doc(alias = "TaskGroup")]
#[doc(alias = "nursery")]
pub async fn group<T>(body: impl AsyncFnOnce(Group) -> anyhow::Result<T>) -> Result<T, GroupError> {
    let members = Rc::new(Members {
        home: state_for("group"),
        live: Cell::new(0),
        ids: RefCell::default(),
        errors: RefCell::default(),
        stage: Cell::new(Stage::Open),
        waker: Cell::new(None),
    });
    let body = body(Group { members: members.clone() });
    let around = AroundGroup {
        standing: Standing::default(),
        fate: Fate {
            members,
            answer: None,
            abort: None,
            request: None,
            entry: None,
            raised: false,
        },
    };
    Wrapped::new(body, around).await
}

/// Spawns tasks in a group: [`group`].
#[derive(Clone)]
pub struct Group {
    members: Rc<Members>,
}

impl Group {
    /// Spawns a task in the group.
    ///
    /// Its failure belongs to the group; the handle then answers with an error
    /// of the type [`OwnedByGroup`]. In a group that is being aborted or has
    /// ended the future is dropped, and the task is cancelled already.
    #[track_caller]
    #[must_use = "a task that is dropped runs on in its group; say so with `detach`, or await it"]
    pub fn spawn<T: 'static>(
        &self,
        f: impl Future<Output = anyhow::Result<T>> + 'static,
    ) -> Task<T> {
        let place = Location::caller();
        let home = &self.members.home;
        self.spawn_at(f, place).unwrap_or_else(|error| refused::<_, Fallible>(home, error, place))
    }

    /// Spawns a task in the group, or gives the future back.
    ///
    /// # Errors
    ///
    /// If the group is being aborted or has ended, or if the executor does not
    /// take it.
    #[track_caller]
    pub fn try_spawn<T: 'static, F>(&self, f: F) -> Result<Task<T>, SpawnError<F>>
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        self.spawn_at(f, Location::caller())
    }

    fn spawn_at<T: 'static, F>(
        &self,
        f: F,
        place: &'static Location<'static>,
    ) -> Result<Task<T>, SpawnError<F>>
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        let members = &self.members;
        if members.stage.get() != Stage::Open {
            members.home.count_refused();
            return Err(SpawnError { future: f, kind: SpawnErrorKind::GroupEnded });
        }
        let member = Wrapped::new(f, Member { members: members.clone() });
        let task = match try_spawn_on::<_, Fallible>(&members.home, member, place) {
            Ok(task) => task,
            Err(SpawnError { future, kind }) => {
                return Err(SpawnError { future: future.into_inner(), kind });
            }
        };
        members.enroll(&task);
        Ok(task)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("live", &self.members.live.get()).finish_non_exhaustive()
    }
}

/// All that failed in a [`group`]: the tasks in the order in which they ended,
/// and then the body.
#[derive(Debug)]
pub struct GroupError {
    errors: Vec<anyhow::Error>,
}

impl GroupError {
    /// The errors; there is at least one.
    pub fn errors(&self) -> &[anyhow::Error] {
        &self.errors
    }

    /// The errors, to be taken apart.
    pub fn into_errors(self) -> Vec<anyhow::Error> {
        self.errors
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a group failed: ", self.errors.len())?;
        for (number, error) in self.errors.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{error:#}")?;
        }
        Ok(())
    }
}

impl Error for GroupError {}

/// The task failed, and its error is in the [`GroupError`] of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedByGroup;

impl fmt::Display for OwnedByGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task failed, and its group has the error")
    }
}

impl Error for OwnedByGroup {}

// ---- The tasks of a group -------------------------------------------------------

struct Members {
    home: Rc<State>,
    live: Cell<usize>,
    /// All that live, and some that have ended.
    ids: RefCell<Vec<TaskId>>,
    /// Of its tasks, in the order in which they ended.
    errors: RefCell<Vec<(TaskInfo, anyhow::Error)>>,
    stage: Cell<Stage>,
    /// Who waits for the group.
    waker: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// A task has failed, and the group has not seen to it yet.
    Failed,
    /// All have been cancelled.
    Aborted,
    Ended,
}

impl Members {
    fn enroll<T>(self: &Rc<Self>, task: &Task<T>) {
        task.join_group(self.clone());
        self.live.set(self.live.get() + 1);
        let mut ids = self.ids.borrow_mut();
        if ids.len() >= 2 * self.live.get() + 16 {
            ids.retain(|&id| self.home.task(id).is_some());
        }
        ids.push(task.id());
    }

    /// Whether an error only says that the group has another.
    fn has_already(&self, error: &anyhow::Error) -> bool {
        error.downcast_ref::<OwnedByGroup>().is_some() && !self.errors.borrow().is_empty()
    }

    /// The running task fails: its error is the group's.
    fn take_failure(&self, error: anyhow::Error) {
        let info = self.home.with_running(|header| {
            header.hearing.set(Hearing::Owned);
            self.home.info(header)
        });
        self.errors.borrow_mut().extend(info.map(|info| (info, error)));
        if self.stage.get() == Stage::Open {
            self.stage.set(Stage::Failed);
        }
    }

    /// Cancels all tasks, the youngest first.
    fn abort(&self, request: &Request) {
        if self.stage.get() != Stage::Ended {
            self.stage.set(Stage::Aborted);
        }
        let request = Arc::new(request.passed_on());
        let ids = self.ids.borrow().clone(); // to ask may call `on_wake`
        for id in ids.into_iter().rev() {
            if let Some(task) = self.home.task(id) {
                self.home.ask_to_cancel(task.header(), request.clone());
            }
        }
    }
}

impl Guardian for Members {
    fn ended(&self) -> Option<Waker> {
        self.live.set(self.live.get() - 1);
        let wakes = self.live.get() == 0 || self.stage.get() == Stage::Failed;
        wakes.then(|| self.waker.take()).flatten()
    }
}

/// Around the future of a task: its failure goes to the group.
struct Member {
    members: Rc<Members>,
}

impl<T, F: Future<Output = anyhow::Result<T>>> Around<F> for Member {
    type Output = anyhow::Result<T>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let inner = future.as_mut().as_pin_mut().expect("a task is not polled after its end");
        let error = match catch(|| inner.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(value))) => return Poll::Ready(Ok(value)),
            Ok(Poll::Ready(Err(error))) => error,
            Err(panicked) => anyhow::Error::new(panicked),
        };
        let home = &self.members.home;
        let is_token = error.downcast_ref::<Cancelled>().is_some_and(|token| home.is_mine(token));
        if is_token || self.members.stage.get() == Stage::Ended {
            return Poll::Ready(Err(error)); // nobody collects any more
        }
        if self.members.has_already(&error) {
            home.with_running(|header| header.hearing.set(Hearing::Unwanted));
        } else {
            self.members.take_failure(error);
        }
        Poll::Ready(Err(anyhow::Error::new(OwnedByGroup)))
    }
}

// ---- The group itself -------------------------------------------------------------

/// Around the body: waits for it and for the tasks.
struct AroundGroup<T> {
    standing: Standing,
    fate: Fate<T>,
}

struct Fate<T> {
    members: Rc<Members>,
    /// How the body ended.
    answer: Option<anyhow::Result<T>>,
    /// What the tasks and the body are told when one has failed.
    abort: Option<Arc<Request>>,
    /// The request to cancel that came from outside.
    request: Option<Arc<Request>>,
    /// The place of the group in the tree of scopes, whose request `abort` is.
    entry: Option<u32>,
    /// All have ended because of `request`, and it has gone on outward.
    raised: bool,
}

impl<T, F: Future<Output = anyhow::Result<T>>> Around<F> for AroundGroup<T> {
    type Output = Result<T, GroupError>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let AroundGroup { standing, fate } = self;
        let here = standing.poll(Kind::Catch, cx);
        fate.entry = here.as_ref().map(|here| here.key.entry());
        let heard = || here.as_ref().and_then(Here::heard);
        let mut stops_body = heard().is_some_and(|told| fate.told(here.as_ref(), &told));
        if let Some(body) = future.as_mut().as_pin_mut().filter(|_| !stops_body) {
            let polled = match &here {
                Some(here) => here.inside(|| body.poll(cx)),
                None => body.poll(cx),
            };
            match polled {
                Poll::Ready(answer) => {
                    future.set(None);
                    fate.body_ended(here.as_ref(), answer);
                }
                Poll::Pending => {
                    // A failure is seen to after each poll of the body, and so
                    // is what something inside has raised to us.
                    fate.see_to_failures();
                    stops_body = here.as_ref().is_some_and(|here| fate.tells_nobody(here));
                    stops_body |= heard().is_some_and(|told| fate.told(here.as_ref(), &told));
                }
            }
        }
        if stops_body {
            match (&here, fate.request.as_ref().or(fate.abort.as_ref())) {
                (Some(here), Some(why)) => here.drop_inside_of(why, || future.set(None)),
                _ => future.set(None),
            }
        }
        fate.see_to_failures();
        if future.is_some() || fate.members.live.get() > 0 {
            drop(fate.members.waker.replace(Some(cx.waker().clone())));
            return Poll::Pending;
        }
        fate.end(standing)
    }
}

impl<T> Fate<T> {
    /// The group is told of a request: its own, which is for the body only, or
    /// one from outside, which is for the tasks too. The body stops.
    fn told(&mut self, here: Option<&Here<'_>>, told: &Cancelled) -> bool {
        let own = self.abort.as_ref().is_some_and(|abort| Arc::ptr_eq(abort, told.request()));
        if !own {
            self.raised = false;
            self.members.abort(told.request());
            here.into_iter().for_each(|here| here.waits_for(told.request()));
            self.request = Some(told.request().clone()); // of several, the latest
        }
        true
    }

    fn body_ended(&mut self, here: Option<&Here<'_>>, answer: anyhow::Result<T>) {
        let Err(error) = &answer else {
            self.answer = Some(answer);
            return;
        };
        let token = error.downcast_ref::<Cancelled>();
        match token.filter(|token| self.members.home.is_mine(token)) {
            Some(token) => {
                self.told(here, token);
            }
            None => {
                self.abort_members();
                if !self.members.has_already(error) {
                    self.answer = Some(answer);
                }
            }
        }
    }

    fn see_to_failures(&mut self) {
        if self.members.stage.get() == Stage::Failed {
            self.abort_members();
        }
    }

    fn abort_members(&mut self) {
        let entry = self.entry;
        let request = self.abort.get_or_insert_with(|| {
            let reason = "another task of the group has failed";
            let request = Request::new(reason.into(), Origin::Group);
            Arc::new(match entry {
                Some(entry) => request.of(entry),
                None => request,
            })
        });
        self.members.abort(request);
    }

    /// Tells the body that the group is being aborted, if it is and nobody in
    /// the body has heard. Whether there is nobody to tell.
    fn tells_nobody(&self, here: &Here<'_>) -> bool {
        let Some(abort) = self.abort.as_ref().filter(|abort| !abort.is_heard()) else {
            return false;
        };
        here.home.deliver_below(here.key, abort) == Delivery::Nobody && !abort.is_heard()
    }

    /// All have ended.
    fn end(&mut self, standing: &mut Standing) -> Poll<Result<T, GroupError>> {
        self.members.stage.set(Stage::Ended);
        if self.raised {
            return Poll::Pending;
        }
        let collected = self.members.errors.take();
        self.members.home.handed_over(collected.len() as u64);
        let mut errors: Vec<_> = collected.into_iter().map(|(_, error)| error).collect();
        let value = match self.answer.take() {
            Some(Err(error)) => {
                errors.push(error);
                None
            }
            answer => answer.and_then(Result::ok),
        };
        let home = &self.members.home;
        match (self.request.take(), value) {
            (request, _) if !errors.is_empty() => {
                standing.leave();
                request.into_iter().for_each(|request| home.put_back(&request));
                Poll::Ready(Err(GroupError { errors }))
            }
            (Some(request), _) => {
                self.raised = true;
                standing.raise_with_others(&request);
                Poll::Pending
            }
            (None, Some(value)) => {
                standing.leave();
                Poll::Ready(Ok(value))
            }
            (None, None) => unreachable!("a body stops because of a request or an error"),
        }
    }
}

impl<T> Drop for Fate<T> {
    fn drop(&mut self) {
        if self.members.stage.get() != Stage::Ended && self.members.live.get() > 0 {
            self.members.abort(&Request::new("its group was dropped".into(), Origin::Group));
        }
        self.members.stage.set(Stage::Ended);
        for (task, error) in self.members.errors.take() {
            self.members.home.report_collected(task, error);
        }
    }
}
