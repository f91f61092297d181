//! Tasks that begin and end together.
//!
//! A group does not return before all its tasks have ended. When one fails, the
//! others are cancelled, and so is the body: the body's scope, never the task
//! that it is in, so no request is left over that somebody would have to count
//! away.

use super::around::{Around, Wrapped};
use super::group_error::{GroupError, OwnedByGroup};
use crate::asking::{give_up, with_running_task};
use crate::cancelling::MOST_DELIVERIES;
use crate::current::{self, state_for};
use crate::descent::Around as Surroundings;
use crate::gives_way::{GaveWay, Way};
use crate::handle::Task;
use crate::header::Guardian;
use crate::id::TaskId;
use crate::life::Hearing;
use crate::outcome::{Cancelled, Panicked, catch};
use crate::place::{Heard, Place};
use crate::report::TaskInfo;
use crate::request::{Delivery, Origin, Request, Why};
use crate::roles::Roles;
use crate::rules::{Asking, Forwarding, OwnerAnswer, Watched};
use crate::signs::Found;
use crate::spawn::{SpawnError, SpawnErrorKind, refused, spawn_on, try_spawn_on};
use crate::state::State;
use crate::task::Fallible;
use std::cell::{Cell, RefCell};
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
/// If first polled outside a turn. Polled there later, it tells its body nothing: when a
/// task fails the body is dropped.
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
        place: Place::default(),
        members,
        ending: None,
        abort: None,
        forwarding: Forwarding::default(),
        gave_way: GaveWay::default(),
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
        let (place, members) = (Location::caller(), &self.members);
        if members.stage.get() != Stage::Open {
            return self.refuse(f, place);
        }
        // Packed at once: each move of a large future is a copy in a debug build.
        let mut member = Wrapped::pack(f, Member { members: members.clone() });
        let task = spawn_on::<_, Fallible>(&members.home, &mut member, place);
        if !task.is_finished() {
            members.enroll(&task);
        }
        task
    }

    #[cold]
    fn refuse<T: 'static>(
        &self,
        future: impl Future<Output = anyhow::Result<T>> + 'static,
        place: &'static Location<'static>,
    ) -> Task<T> {
        let (home, kind) = (&self.members.home, SpawnErrorKind::GroupEnded);
        home.count_refused();
        refused::<_, Fallible>(home, SpawnError { future, kind }, place)
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
        let members = &self.members;
        if members.stage.get() != Stage::Open {
            members.home.count_refused();
            return Err(SpawnError { future: f, kind: SpawnErrorKind::GroupEnded });
        }
        let member = Wrapped::new(f, Member { members: members.clone() });
        let task = match try_spawn_on::<_, Fallible>(&members.home, member, Location::caller()) {
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
        self.cancel_all(request);
        for id in self.ids.borrow().iter() {
            let task = self.home.task(*id);
            task.iter().for_each(|task| self.home.note_asked_by_running(task.header()));
        }
    }

    fn cancel_all(&self, request: &Request) {
        let ids = self.ids.borrow().clone(); // to ask may call `on_wake`
        for id in ids.into_iter().rev() {
            if let Some(task) = self.home.task(id) {
                self.home.cancel(task.header(), request.clone());
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

    fn take_failure(
        &self,
        task: TaskInfo,
        error: anyhow::Error,
    ) -> Result<anyhow::Error, anyhow::Error> {
        if self.stage.get() == Stage::Ended {
            return Err(error); // nobody collects any more
        }
        self.errors.borrow_mut().push((task, error));
        if self.stage.get() == Stage::Open {
            self.stage.set(Stage::Failed);
        }
        Ok(anyhow::Error::new(OwnedByGroup))
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
    place: Place,
    members: Rc<Members>,
    /// How the body ended, if it has.
    ending: Option<Ending<T>>,
    /// What the body is told when a task has failed.
    abort: Option<Asking>,
    /// The request from outside that the tasks were asked on behalf of.
    forwarding: Forwarding,
    gave_way: GaveWay,
}

/// How the body ended.
enum Ending<T> {
    Value(T),
    Failed(anyhow::Error),
    Panicked(Panicked),
    /// Because of a request, or of a failure that the group has already.
    Stopped,
}

impl<T, F: Future<Output = anyhow::Result<T>>> Around<F> for AroundGroup<T> {
    type Output = Result<T, GroupError>;

    fn poll(&mut self, mut body: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        with_running_task(|state| {
            if let Some(state) = state {
                self.place.arrive(state, cx);
                state.forget_stopped(&mut self.forwarding);
                let rank = state.descent.around.get().rank.inside();
                self.abort.iter().for_each(|abort| abort.delivery.set_rank(rank));
            }
            let mut inside = Roles::NONE;
            if self.ending.is_none() {
                inside = self.poll_body(state, body.as_mut(), cx);
            }
            let waits = self.ending.is_some() && self.members.live.get() > 0;
            if waits
                && let Some(state) = state
                && let Some(delivery) = self.place.carried(state)
                && !matches!(self.forwarding, Forwarding::Outward(..))
            {
                // Only the tasks are left to be told; the body may have ended just now.
                self.place.set_seen(state);
                state.descent.meet_taker();
                self.told(delivery);
            }
            if !state.is_some_and(|state| self.place.is_chosen(state)) {
                self.see_to_failures(state);
            }
            if self.ending.is_some() && self.members.live.get() == 0 {
                return self.end(state);
            }
            current::drop_waker(self.members.waker.replace(Some(cx.waker().clone())));
            if let Some(state) = state {
                let own = match &self.forwarding {
                    Forwarding::Waiting(delivery, _) => Roles::forward(delivery.rank()),
                    _ if self.members.stage.get() == Stage::Aborted => Roles::ABORTS,
                    _ => Roles::NONE,
                };
                self.place.suspend(state, own, inside);
            }
            Poll::Pending
        })
    }
}

impl<T> AroundGroup<T> {
    /// Polls the body, and tells it when the group is being aborted. Answers who
    /// holds something in it.
    fn poll_body<F: Future<Output = anyhow::Result<T>>>(
        &mut self,
        state: Option<&Rc<State>>,
        mut body: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Roles {
        let (mut asks, mut asked) = (None, 0);
        loop {
            let mut poll = |cx: &mut Context<'_>| {
                let body = body.as_mut().as_pin_mut().expect("it is polled until it has ended");
                match catch(|| body.poll(cx)) {
                    Ok(polled) => polled.map(Ok),
                    Err(panicked) => Poll::Ready(Err(panicked)),
                }
            };
            let heard = match state {
                None => match poll(cx) {
                    Poll::Ready(ended) => Heard::Ready(ended),
                    Poll::Pending => {
                        // Outside of a task there is nobody to be told.
                        self.see_to_failures(None);
                        if !self.members.errors.borrow().is_empty() {
                            self.drop_body(body, None);
                        }
                        return Roles::NONE;
                    }
                },
                Some(state) => self.poll_inside(state, cx, asks.take(), poll),
            };
            match heard {
                Heard::Pending(found) => {
                    if state.is_some_and(|state| self.place.is_chosen(state)) {
                        return found.roles; // it hears when it is polled next
                    }
                    self.see_to_failures(state);
                    let Some(state) = state else { return Roles::NONE };
                    match self.settle_abort(state, cx, &found) {
                        OwnerAnswer::Rest => return found.roles,
                        OwnerAnswer::AskAgain if asked == MOST_DELIVERIES => {
                            cx.waker().wake_by_ref();
                            return found.roles;
                        }
                        OwnerAnswer::AskAgain => {
                            asked += 1;
                            state.descent.set_polls_again();
                            asks = self.abort.as_ref().map(|abort| abort.delivery.clone());
                        }
                        OwnerAnswer::Act => {
                            let abort = self.abort.as_ref().map(|abort| abort.delivery.clone());
                            self.drop_body(body, abort.map(|abort| (&**state, abort)));
                            return Roles::NONE;
                        }
                    }
                }
                Heard::Ready(ended) => {
                    let dropped = catch(|| body.set(None));
                    self.body_ended(ended.and_then(|answer| dropped.map(|()| answer)));
                    return Roles::NONE;
                }
                Heard::Takes(delivery) => {
                    let own = self.abort.as_ref();
                    let own = own.is_some_and(|abort| Arc::ptr_eq(&abort.delivery, &delivery));
                    let state = state.expect("nobody hears outside of a task");
                    if own {
                        delivery.set_heard();
                    } else {
                        self.told(delivery.clone());
                    }
                    self.drop_body(body, Some((state, delivery)));
                    return Roles::NONE;
                }
            }
        }
    }

    /// Polls the body. If it is asked something, that is carried to those in it.
    fn poll_inside<R>(
        &mut self,
        state: &Rc<State>,
        cx: &mut Context<'_>,
        asks: Option<Arc<Delivery>>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Heard<R> {
        let around = state.descent.around.get();
        let unheard = self.abort.as_ref().filter(|abort| abort.is_unheard());
        let own = unheard.map(|abort| Watched::Asked(abort.delivery.clone()));
        let inside = Surroundings {
            rank: around.rank.inside(),
            asked: around.asked || own.is_some(),
            ..around
        };
        let place = &mut self.place;
        state.descent.within(inside, || match asks {
            None => place.poll_hearing(state, cx, false, own, poll),
            Some(delivery) => {
                let mut heard = Heard::Pending(Found::default());
                let (_, found) = state.descent.deliver(&delivery, || {
                    heard = place.poll_hearing(state, cx, true, None, &mut poll);
                    match &mut heard {
                        Heard::Pending(found) => {
                            // What goes outward in the body stops here.
                            if place.stops_chosen() {
                                found.roles |= Roles::CHOSEN;
                            }
                            (Poll::Pending, std::mem::take(found))
                        }
                        _ => (Poll::Ready(()), Found::default()),
                    }
                });
                if let Heard::Pending(_) = heard {
                    self.abort.iter_mut().for_each(|abort| abort.delivered(found.roles));
                    return Heard::Pending(found);
                }
                heard
            }
        })
    }

    /// What is to be done in order that the body hears that the group is being
    /// aborted, if it is.
    fn settle_abort(&mut self, state: &State, cx: &Context<'_>, found: &Found) -> OwnerAnswer {
        let Some(abort) = &mut self.abort else { return OwnerAnswer::Rest };
        abort.is_polled_at(state.descent.around.get(), found);
        if self.gave_way.is_answered(state, found) {
            abort.set_answered();
            return OwnerAnswer::Rest;
        }
        let answer = abort.settle(found.roles);
        if answer != OwnerAnswer::AskAgain {
            if abort.is_unheard() && state.descent.noted.has_lost() {
                cx.waker().wake_by_ref(); // as a deadline does
            }
            self.gave_way.rests();
            return answer;
        }
        match self.gave_way.look(state, cx, &self.place, found) {
            Way::Free if found.listens || state.descent.displaced.listen() => OwnerAnswer::AskAgain,
            Way::Free => OwnerAnswer::Act,
            Way::Given => OwnerAnswer::Rest,
            Way::Answered => {
                abort.set_answered();
                OwnerAnswer::Rest
            }
        }
    }

    fn drop_body<F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        cause: Option<(&State, Arc<Delivery>)>,
    ) {
        self.place.is_empty_now();
        let mut dropped = Ok(());
        match cause {
            Some((state, cause)) => {
                state.drop_inside(&cause, || dropped = catch(|| body.set(None)));
            }
            None => dropped = catch(|| body.set(None)),
        }
        self.ending = Some(match dropped {
            Ok(()) => Ending::Stopped,
            Err(panicked) => Ending::Panicked(panicked),
        });
    }

    /// The group is told of a request from outside: so are its tasks.
    fn told(&mut self, delivery: Arc<Delivery>) {
        self.members.abort(&delivery.request);
        self.forwarding.pass_on(delivery);
    }

    fn body_ended(&mut self, ended: Result<anyhow::Result<T>, Panicked>) {
        self.place.is_empty_now();
        self.ending = Some(match ended {
            Ok(Ok(value)) => Ending::Value(value),
            Ok(Err(error)) => match self.token_of(&error) {
                Some(delivery) => {
                    let own = self.abort.as_ref();
                    if !own.is_some_and(|abort| Arc::ptr_eq(&abort.delivery, &delivery)) {
                        delivery.unhear(); // it is on its way again
                        self.told(self.members.home.goes_on(delivery));
                    }
                    Ending::Stopped
                }
                None => {
                    self.abort_members();
                    if self.members.has_already(&error) {
                        Ending::Stopped
                    } else {
                        Ending::Failed(error)
                    }
                }
            },
            Err(panicked) => {
                self.abort_members();
                Ending::Panicked(panicked)
            }
        });
    }

    /// The request of which the body has returned its own token.
    fn token_of(&self, error: &anyhow::Error) -> Option<Arc<Delivery>> {
        let token = error.downcast_ref::<Cancelled>();
        token.filter(|token| self.members.home.is_mine(token))?.delivery().cloned()
    }

    fn see_to_failures(&mut self, state: Option<&Rc<State>>) {
        if self.members.stage.get() != Stage::Failed {
            return;
        }
        let request = self.abort_members();
        if let Some(state) = state.filter(|_| self.ending.is_none())
            && let Some(name) = state.running_name()
        {
            let rank = state.descent.around.get().rank.inside();
            self.abort = Some(Asking::new(state.delivery(request, name, rank)));
        }
    }

    fn abort_members(&self) -> Request {
        let why = Why::of(Origin::Group, "another task of the group has failed");
        let request = self.members.home.new_request(why);
        if matches!(self.members.stage.get(), Stage::Open | Stage::Failed) {
            self.members.abort(&request);
        }
        request
    }

    /// All have ended.
    fn end(&mut self, state: Option<&Rc<State>>) -> Poll<Result<T, GroupError>> {
        self.members.stage.set(Stage::Ended);
        if matches!(self.ending, Some(Ending::Panicked(_))) {
            let Some(Ending::Panicked(panicked)) = self.ending.take() else { unreachable!() };
            self.report_collected();
            self.place.leave();
            std::panic::resume_unwind(panicked.into_payload());
        }
        let failed = !self.members.errors.borrow().is_empty()
            || matches!(self.ending, Some(Ending::Failed(_)));
        if !failed {
            self.forwarding.ends(); // else what was passed on has come to nothing
        }
        if let Some(state) = state {
            state.forget_stopped(&mut self.forwarding);
            let lost = self.forwarding.all().filter(|_| failed); // the errors go first
            lost.for_each(|lost| state.descent.comes_to_nothing(lost));
        }
        // What has stopped the body may have been stopped further out: nothing to give.
        let outward = self.forwarding.request().cloned().filter(|_| !failed);
        if outward.is_some() || !failed && matches!(self.ending, Some(Ending::Stopped)) {
            if let Some(state) = state {
                let own = outward.as_ref().map_or(Roles::NONE, |_| Roles::OUTWARD);
                self.place.suspend(state, own, Roles::NONE);
                outward.iter().for_each(|delivery| state.send_outward(delivery));
            }
            return Poll::Pending;
        }
        self.place.leave();
        let last = match self.ending.take() {
            Some(Ending::Value(value)) if !failed => return Poll::Ready(Ok(value)),
            Some(Ending::Failed(error)) => Some(error),
            _ => None,
        };
        let collected = self.members.errors.take();
        self.members.home.handed_over(collected.len() as u64);
        let errors: Vec<_> = collected.into_iter().map(|(_, error)| error).chain(last).collect();
        debug_assert!(!errors.is_empty(), "a body stops because of a request or an error");
        Poll::Ready(Err(GroupError::new(errors)))
    }

    fn report_collected(&self) {
        let report = |(task, error)| self.members.home.report_collected(task, error);
        self.members.errors.take().into_iter().for_each(report);
    }
}

impl<T> Drop for AroundGroup<T> {
    fn drop(&mut self) {
        give_up(&mut self.forwarding);
        // Those inside who were polled by reference may send it outward still.
        self.abort.iter().for_each(|abort| abort.delivery.set_ownerless());
        let members = &self.members;
        // Those that have been asked already are left to their clean-up.
        if matches!(members.stage.get(), Stage::Open | Stage::Failed) && members.live.get() > 0 {
            let why = Why::of(Origin::Group, "its group was dropped");
            members.cancel_all(&members.home.new_request(why));
        }
        members.stage.set(Stage::Ended);
        let waker = members.waker.take();
        waker.into_iter().for_each(|waker| members.home.drop_waker(waker));
        self.report_collected();
        let (home, ending) = (&self.members.home, self.ending.take());
        let error = match ending {
            Some(Ending::Failed(error)) => error,
            Some(Ending::Panicked(panicked)) => panicked.into(),
            _ => return,
        };
        let task = home.with_running(|header| home.info(header));
        task.into_iter().zip([error]).for_each(|(task, error)| home.report_cut_short(task, error));
    }
}
