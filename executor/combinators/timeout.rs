//! Not waiting longer than that.
//!
//! When a deadline passes, whoever listens inside of it is told first, and cleans
//! up; only then does [`timeout`] return. A deadline is the owner of that request,
//! as a task is of those that were made to it, and goes by the same rules
//! (`rules.rs`). Most time limits are around something in which nobody listens
//! and that is in time, and those cost a timer and little more.
//!
//! Which request is whose is told by the token, not by counting: a deadline
//! answers only for its own. Of several that have passed the outermost answers:
//! each knows the earliest of those around it while it is polled.

use super::around::{Around, Wrapped};
use super::sleep::Sleep;
use crate::cancelling::{MOST_DELIVERIES, with_running_task};
use crate::clock::Instant;
use crate::current::state_for;
use crate::descent::{Around as Surroundings, Found, Plain};
use crate::place::Place;
use crate::request::{Delivery, Origin, Why};
use crate::rules::{Asking, OwnerAnswer, Tally};
use crate::state::State;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Waits for `f`, but not longer than `limit`.
///
/// The time counts from the first poll, and a future that is ready then is
/// ready, also with a zero limit: the clock is not even read.
///
/// When the deadline passes, the innermost [scopes](crate::scope()) in `f` are
/// told, as by a request to cancel, and may clean up; without any, `f` is
/// dropped. A task that `f` awaits is cancelled and waited for. A
/// [shield](crate::shield()) in `f` is waited for. If `f` swallows the deadline
/// and gives a value, that value is the answer. It has swallowed it when the
/// [`Cancelled`](crate::Cancelled) is gone; who puts that aside and gives a
/// value gets [`Elapsed`].
///
/// Of nested deadlines that have passed the outermost answers. A request to
/// cancel is never mistaken for the deadline.
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
///
/// # Panics
///
/// If first polled outside a turn, unless the future is ready at once.
///
/// # Cancellation
///
/// It lets a request through to what is inside it. Dropping it drops `f` and
/// the timer.
///
/// # Examples
///
/// ```
/// use hearken::{Elapsed, Executor, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let nap = hearken::sleep(Duration::from_secs(60));
///     assert_eq!(hearken::timeout(Duration::from_secs(1), nap).await, Err(Elapsed));
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[doc(alias = "wait_for")]
pub fn timeout<F: Future>(
    limit: Duration,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Wrapped::new(f, Deadline::new(Due::In(limit)))
}

/// Waits for `f`, but not beyond `deadline`. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
pub fn timeout_at<F: Future>(
    deadline: Instant,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Wrapped::new(f, Deadline::new(Due::At(deadline, "timeout_at")))
}

/// Waits for `f`, but not beyond the deadline of `handle`, which can be moved
/// meanwhile. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock, TimeoutHandle};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let handle = TimeoutHandle::new(Some(hearken::now() + Duration::from_secs(1)));
///     let talk = async {
///         hearken::sleep(Duration::from_millis(900)).await;
///         handle.reschedule(Some(hearken::now() + Duration::from_secs(1))); // still there
///         hearken::sleep(Duration::from_millis(900)).await;
///     };
///     assert!(hearken::timeout_by(&handle, talk).await.is_ok());
///     assert!(!handle.expired());
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn timeout_by<F: Future>(
    handle: &TimeoutHandle,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    let due = Due::At(handle.deadline().unwrap_or(Instant::NEVER), "timeout_by");
    Wrapped::new(f, Deadline { handle: Some(handle.clone()), ..Deadline::new(due) })
}

/// A deadline that can be moved: [`timeout_by`]. Clones are the same deadline.
///
/// The words elsewhere: what `asyncio.timeout` gives to `async with`.
#[derive(Clone, Default)]
pub struct TimeoutHandle {
    movable: Rc<Movable>,
}

#[derive(Default)]
struct Movable {
    deadline: Cell<Option<Instant>>,
    moved: Cell<bool>,
    expired: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl TimeoutHandle {
    /// A deadline; none is one that never passes.
    pub fn new(deadline: Option<Instant>) -> TimeoutHandle {
        let handle = TimeoutHandle::default();
        handle.movable.deadline.set(deadline);
        handle
    }

    /// When it passes.
    pub fn deadline(&self) -> Option<Instant> {
        self.movable.deadline.get()
    }

    /// Moves it; to a moment in the past, and it passes at once; to none, and
    /// it never does. After it has passed this has no effect.
    pub fn reschedule(&self, deadline: Option<Instant>) {
        if self.expired() {
            return;
        }
        self.movable.deadline.set(deadline);
        self.movable.moved.set(true);
        if let Some(waker) = self.movable.waker.take() {
            waker.wake();
        }
    }

    /// Whether it has passed while somebody waited, whatever he made of it.
    pub fn expired(&self) -> bool {
        self.movable.expired.get()
    }

    /// The waiting future is pending. Answers the new deadline, if it moved.
    fn moved(&self, cx: &Context<'_>) -> Option<Instant> {
        drop(self.movable.waker.replace(Some(cx.waker().clone())));
        let moved = self.movable.moved.take();
        moved.then(|| self.deadline().unwrap_or(Instant::NEVER))
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle")
            .field("deadline", &self.deadline())
            .field("expired", &self.expired())
            .finish()
    }
}

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// The deadline around a future.
struct Deadline {
    place: Place,
    due: Due,
    /// Who may move it.
    handle: Option<TimeoutHandle>,
    passed: Passed,
    /// The request to the task that it has let go first, and in which turn.
    gave_way_to: Option<(u64, u64)>,
    /// In which turn it has let a deadline around it go first.
    gave_way_in: Option<u64>,
}

/// Whether it has passed, and what came of it.
enum Passed {
    NotYet,
    /// Those inside have been told.
    Told(Asking),
    /// The same, and its request has come back outward to it: it answers when
    /// nothing inside holds that any more.
    Outward(Arc<Delivery>),
    /// It passed in the same breath in which those inside were told of another
    /// request, which counts for it.
    Answered,
}

enum Due {
    /// So long after the first poll.
    In(Duration),
    /// At this moment; the name is that of the function that was called.
    At(Instant, &'static str),
    /// The future was not ready at its first poll.
    Set(Sleep),
}

impl Deadline {
    fn new(due: Due) -> Deadline {
        Deadline {
            place: Place::default(),
            due,
            handle: None,
            passed: Passed::NotYet,
            gave_way_to: None,
            gave_way_in: None,
        }
    }
}

impl<F: Future> Around<F> for Deadline {
    type Output = Result<F::Output, Elapsed>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        with_running_task(|state| {
            let mut poll = |cx: &mut Context<'_>| {
                let inner = future.as_mut().as_pin_mut();
                inner.expect("timeout polled after it was ready").poll(cx)
            };
            let Some(state) = state else {
                // Outside of a task there is nobody to be told.
                return match poll(cx) {
                    Poll::Ready(output) => Poll::Ready(Ok(output)),
                    Poll::Pending => self.due.poll(cx).map(|()| Err(Elapsed)),
                };
            };
            let (mut polled, mut found) = match self.enter_plainly(state, cx) {
                None => self.poll_inside(state, cx, &mut poll),
                Some(inside) => {
                    let polled = poll(cx);
                    match inside.leave() {
                        Ok(found) => (polled, found),
                        Err(inner) => {
                            let found = self.place.leave_inner(state, inner, polled.is_pending());
                            (polled, found)
                        }
                    }
                }
            };
            let mut asked = 0;
            loop {
                if let Poll::Ready(output) = polled {
                    future.set(None);
                    return Poll::Ready(self.answer(state, output, found));
                }
                match self.look(state, cx, &mut found) {
                    Look::Wait => {
                        if found.listens {
                            self.suspend(state, cx, found.tally);
                        }
                        return Poll::Pending;
                    }
                    // What asks for it again and again is to let others have turns.
                    Look::Ask(_) if asked == MOST_DELIVERIES => {
                        cx.waker().wake_by_ref();
                        self.suspend(state, cx, found.tally);
                        return Poll::Pending;
                    }
                    Look::Ask(delivery) => {
                        asked += 1;
                        (polled, found) = self.ask(state, cx, delivery, &mut poll);
                    }
                    Look::Over(delivery) => {
                        match delivery {
                            Some(delivery) => {
                                state.drop_inside(&delivery, || future.set(None));
                                delivery.set_over();
                            }
                            None => {
                                let rank = state.descent.around.get().rank.inside();
                                state.descent.drop_because_of(rank, || future.set(None));
                            }
                        }
                        self.place.leave();
                        return Poll::Ready(Err(Elapsed));
                    }
                }
            }
        })
    }
}

/// What a deadline does, now that its future is pending.
enum Look {
    Wait,
    /// Tell those inside.
    Ask(Arc<Delivery>),
    /// Drop the future, because of this, if anybody was to be told.
    Over(Option<Arc<Delivery>>),
}

impl Deadline {
    /// Goes inside in the short way, as nearly always.
    #[inline]
    fn enter_plainly<'a>(&self, state: &'a State, cx: &Context<'_>) -> Option<Plain<'a>> {
        if !matches!(self.passed, Passed::NotYet) || !self.place.is_plain() {
            return None;
        }
        let around = state.descent.around.get();
        let own = self.deadline();
        let deadline = Some(around.deadline.map_or(own, |around| around.min(own)));
        let inside = Surroundings { deadline, rank: around.rank.inside(), ..around };
        state.descent.enter_plainly(cx.waker(), inside)
    }

    /// Polls what is inside.
    #[inline(never)]
    fn poll_inside<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let around = state.descent.around.get();
        let own = self.deadline();
        let earliest = around.deadline.map_or(own, |around| around.min(own));
        let passed_on = |asking: &Asking| asking.delivery.is_taken() && asking.is_unheard();
        let inside = Surroundings {
            deadline: Some(earliest),
            rank: around.rank.inside(),
            passed_on: around.passed_on || self.passed.asking().is_some_and(passed_on),
            ..around
        };
        let watched = match &self.passed {
            Passed::Told(asking) if asking.is_unheard() => Some(asking.delivery.clone()),
            Passed::Outward(delivery) => Some(delivery.clone()),
            _ => None,
        };
        let place = &mut self.place;
        state.descent.within(inside, || place.poll_inside(state, cx, watched.as_ref(), poll))
    }

    /// Polls what is inside, so that those there hear that it has passed.
    #[inline(never)]
    fn ask<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        delivery: Arc<Delivery>,
        poll: &mut dyn FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        self.passed = Passed::Told(Asking::new(delivery.clone()));
        let polled = state.descent.deliver(&delivery, || self.poll_inside(state, cx, &mut *poll));
        if let Passed::Told(asking) = &mut self.passed {
            asking.delivered(&polled.1.tally);
        }
        if polled.0.is_ready() || !polled.1.tally.holds_any() {
            return polled;
        }
        // Whoever took it may have been left behind in the same poll.
        let (before, descent) = (polled.1, &state.descent);
        let (polled, mut found) = descent.confirm(|| self.poll_inside(state, cx, &mut *poll));
        found.outward = found.outward.or(before.outward);
        (polled, found)
    }

    /// The future has ended. If a token that it was given is still there, it is
    /// in the output: the deadline was passed on to us, and not swallowed.
    #[inline]
    fn answer<T>(&mut self, state: &State, output: T, found: Found) -> Result<T, Elapsed> {
        if self.place.is_plain() && found.outward.is_none() && self.passed.delivery().is_none() {
            return Ok(output);
        }
        self.place.leave();
        let own = self.passed.delivery();
        if let Some(outward) = found.outward
            && !own.is_some_and(|own| Arc::ptr_eq(own, &outward))
        {
            state.descent.send_outward(&outward);
        }
        let Some(own) = own else { return Ok(output) };
        own.set_over();
        if own.is_in_hand() { Err(Elapsed) } else { Ok(output) }
    }

    /// When it passes, as far as is known to those inside; never again, when
    /// they have heard that it has.
    #[inline]
    fn deadline(&self) -> Instant {
        match (&self.passed, &self.handle) {
            (Passed::Told(asking), _) if asking.delivery.is_taken() => Instant::NEVER,
            (Passed::Outward(_) | Passed::Answered, _) => Instant::NEVER,
            (_, Some(handle)) => handle.deadline().unwrap_or(Instant::NEVER),
            (_, None) => self.due.instant(),
        }
    }

    /// What is to be done, now that the future is pending?
    #[inline]
    fn look(&mut self, state: &Rc<State>, cx: &mut Context<'_>, found: &mut Found) -> Look {
        if let (Passed::NotYet, None, None) = (&self.passed, &self.handle, &found.outward)
            && self.due.poll(cx).is_pending()
        {
            return Look::Wait;
        }
        self.look_closer(state, cx, found)
    }

    #[inline(never)]
    fn look_closer(&mut self, state: &Rc<State>, cx: &mut Context<'_>, found: &mut Found) -> Look {
        if let Some(outward) = found.outward.take() {
            if !self.passed.delivery().is_some_and(|own| Arc::ptr_eq(own, &outward)) {
                // Another's goes first: whoever stops it drops us with it.
                state.descent.send_outward(&outward);
                return Look::Wait;
            }
            self.passed = Passed::Outward(outward);
        }
        match &mut self.passed {
            Passed::Outward(own) if found.tally.holds(own) => Look::Wait,
            Passed::Outward(own) => Look::Over(Some(own.clone())),
            Passed::Answered => Look::Wait,
            Passed::Told(asking) => match asking.settle(|own| found.tally.holds(own)) {
                OwnerAnswer::Rest => Look::Wait,
                OwnerAnswer::Act => Look::Over(Some(asking.delivery.clone())),
                OwnerAnswer::AskAgain if self.gives_way(state, cx, found) => Look::Wait,
                OwnerAnswer::AskAgain => self.asks(state, found),
            },
            Passed::NotYet => {
                if let Some(deadline) = self.handle.as_ref().and_then(|handle| handle.moved(cx)) {
                    self.due = Due::At(deadline, "timeout_by");
                }
                if self.due.poll(cx).is_pending() {
                    return Look::Wait;
                }
                if let Some(handle) = &self.handle {
                    handle.movable.expired.set(true);
                }
                if self.gives_way(state, cx, found) { Look::Wait } else { self.asks(state, found) }
            }
        }
    }

    /// It has passed. Does another request go first?
    fn gives_way(&mut self, state: &State, cx: &Context<'_>, found: &Found) -> bool {
        let around = state.descent.around.get();
        let carried = state.descent.carried();
        if carried.is_some() && found.tally.takes() || found.tally.heard > 0 {
            self.passed = match std::mem::replace(&mut self.passed, Passed::Answered) {
                Passed::Told(asking) => {
                    asking.delivery.set_heard();
                    Passed::Told(asking)
                }
                _ => Passed::Answered,
            };
            return true;
        }
        let rests = if around.shielded { None } else { state.resting_request() };
        if carried.or(rests.clone()).is_some_and(|request| found.tally.holds(&request)) {
            return true; // it will come again through us
        }
        // Nothing in here holds it: perhaps it is delivered when this poll is over.
        // Once: in the turn after that it acts.
        let turn = state.turns.get();
        if let Some(id) = rests.map(|rests| rests.request.id) {
            let (last, in_turn) = self.gave_way_to.unwrap_or_default();
            if self.gave_way_to.is_none() || last != id || in_turn == turn {
                self.gave_way_to = Some((id, turn));
                cx.waker().wake_by_ref();
                return true;
            }
        }
        // The same of a deadline around us, when we ask a second time.
        if around.passed_on
            && self.passed.asking().is_some()
            && *self.gave_way_in.get_or_insert(turn) == turn
        {
            cx.waker().wake_by_ref();
            return true;
        }
        if state.descent.number() != 0 || !around.shielded && state.has_undelivered_request() {
            cx.waker().wake_by_ref();
            return true;
        }
        // The outermost answers. It polls us just now, and looks when we are done.
        around.deadline.is_some_and(|around| around <= state.latest())
    }

    fn asks(&mut self, state: &State, found: &Found) -> Look {
        let own = match &self.passed {
            Passed::Told(asking) => Some(asking.delivery.clone()),
            _ if found.listens => {
                let why = Why::of(Origin::TimedOut, "the deadline has elapsed");
                state.new_delivery(why, state.descent.around.get().rank.inside())
            }
            _ => None,
        };
        match own {
            Some(own) if found.listens => Look::Ask(own),
            own => Look::Over(own),
        }
    }

    /// It has somebody inside who listens.
    fn suspend(&mut self, state: &Rc<State>, cx: &Context<'_>, inside: Tally) {
        self.place.arrive(state, cx);
        self.place.suspend(state, Tally::default(), inside);
    }
}

impl Passed {
    fn asking(&self) -> Option<&Asking> {
        match self {
            Passed::Told(asking) => Some(asking),
            _ => None,
        }
    }

    fn delivery(&self) -> Option<&Arc<Delivery>> {
        match self {
            Passed::Told(asking) => Some(&asking.delivery),
            Passed::Outward(own) => Some(own),
            Passed::NotYet | Passed::Answered => None,
        }
    }
}

impl Due {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = match *self {
            Due::Set(ref mut sleep) => sleep,
            Due::In(limit) => self.set(Sleep::after(state_for("timeout"), limit)),
            Due::At(deadline, name) => self.set(Sleep::until(state_for(name), deadline)),
        };
        Pin::new(sleep).poll(cx)
    }

    #[inline]
    fn set(&mut self, sleep: Sleep) -> &mut Sleep {
        *self = Due::Set(sleep);
        match self {
            Due::Set(sleep) => sleep,
            _ => unreachable!("it was set a line ago"),
        }
    }

    fn instant(&self) -> Instant {
        match self {
            Due::Set(sleep) => sleep.deadline(),
            Due::At(deadline, _) => *deadline,
            Due::In(_) => Instant::NEVER,
        }
    }
}
