//! A deadline: what `timeout` puts around a future.
//!
//! When it passes, whoever listens inside of it is told first, and cleans up. A deadline
//! is the owner of that request, as a task is of those that were made to it, and goes by
//! the same rules (`rules.rs`). Most are around something in which nobody listens and
//! that is in time, and those cost a timer and little more.
//!
//! Which request is whose is told by the token, not by counting: a deadline
//! answers only for its own. Of several that have passed the outermost answers:
//! each knows the earliest of those around it while it is polled.

use super::around::Around;
use super::sleep::Sleep;
use super::timeout_handle::Moves;
use crate::asking::with_running_task;
use crate::cancelling::MOST_DELIVERIES;
use crate::clock::Instant;
use crate::current::with_state;
use crate::descent::Around as Surroundings;
use crate::gives_way::{GaveWay, Way};
use crate::place::Place;
use crate::request::{Delivery, Origin, Why};
use crate::roles::Roles;
use crate::rules::{Asking, OwnerAnswer, Watched};
use crate::signs::{Found, Looking};
use crate::state::State;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
pub(super) struct Deadline {
    place: Place,
    due: Due,
    /// What few deadlines have.
    cold: Option<Box<Cold>>,
    gave_way: GaveWay,
}

/// Of a deadline that somebody may move, or that has passed.
#[derive(Default)]
struct Cold {
    /// By whom it may be moved.
    handle: Option<Moves>,
    passed: Passed,
    /// Its name from when it has asked something; zero before.
    name: u32,
}

impl Drop for Cold {
    fn drop(&mut self) {
        // Those inside who were polled by reference may send it outward still.
        self.passed.delivery().into_iter().for_each(|own| own.set_ownerless());
    }
}

/// Whether it has passed, and what came of it.
#[derive(Default)]
enum Passed {
    #[default]
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

pub(super) enum Due {
    /// So long after the first poll.
    In(Duration),
    /// At this moment; the name is that of the function that was called.
    At(Instant, &'static str),
    /// The future was not ready at its first poll.
    Set(Sleep),
}

impl Deadline {
    pub(super) fn new(due: Due) -> Deadline {
        Deadline { place: Place::untold(), due, cold: None, gave_way: GaveWay::default() }
    }

    /// One that somebody may move.
    pub(super) fn by(handle: Moves, due: Due) -> Deadline {
        let cold = Cold { handle: Some(handle), passed: Passed::NotYet, name: 0 };
        Deadline { cold: Some(Box::new(cold)), ..Deadline::new(due) }
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
            let Some(state) = state else {
                // Outside of a task there is nobody to be told.
                return match poll_future(&mut future, cx) {
                    Poll::Ready(output) => Poll::Ready(Ok(output)),
                    Poll::Pending => self.due.poll(cx).map(|()| Err(Elapsed)),
                };
            };
            if self.cold.is_some() || !self.place.is_polled_plainly(state) {
                if let Some(cold) = &mut self.cold {
                    cold.passed.comes_to(state);
                }
                // Before those inside are polled: they let it go first if it is to act.
                if let Some(asking) = self.told() {
                    asking.comes_to(state.descent.around.get());
                }
                let polled = self.poll_inside(state, cx, |cx| poll_future(&mut future, cx));
                return self.go_on(state, future, cx, polled);
            }
            // The short way in and out, as nearly always.
            let inside = self.inside(state);
            let inside = state.descent.enter_plainly(cx.waker(), inside);
            let polled = poll_future(&mut future, cx);
            match inside.leave() {
                Ok(_) if polled.is_ready() => {
                    future.set(None);
                    polled.map(Ok)
                }
                Ok(found) if !found.listens && self.waits(cx) => Poll::Pending,
                Ok(found) => self.go_on(state, future, cx, (polled, found)),
                Err(inner) => {
                    let found = self.place.leave_inner(state, inner, polled.is_pending());
                    self.go_on(state, future, cx, (polled, found))
                }
            }
        })
    }
}

/// Polls what is inside of a deadline.
#[inline]
fn poll_future<F: Future>(
    future: &mut Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    future.as_mut().as_pin_mut().expect("timeout polled after it was ready").poll(cx)
}

/// What a deadline does, now that its future is pending.
enum Look {
    Wait,
    /// Tell those inside.
    Ask(Arc<Delivery>),
    /// It is answered: those inside who have waited for that look again.
    Rouse,
    /// Drop the future, because of this, if anybody was to be told.
    Over(Option<Arc<Delivery>>),
}

impl Deadline {
    /// What it has asked.
    fn told(&mut self) -> Option<&mut Asking> {
        match &mut self.cold.as_mut()?.passed {
            Passed::Told(asking) => Some(asking),
            _ => None,
        }
    }

    fn passed(&self) -> &Passed {
        self.cold.as_ref().map_or(&Passed::NotYet, |cold| &cold.passed)
    }

    fn set_passed(&mut self, passed: Passed) {
        self.cold.get_or_insert_default().passed = passed;
    }

    fn handle(&mut self) -> Option<&mut Moves> {
        self.cold.as_mut()?.handle.as_mut()
    }

    /// What is around those inside of it.
    #[inline]
    fn inside(&self, state: &State) -> Surroundings {
        let around = state.descent.around.get();
        let deadline = around.deadline.min(self.deadline());
        Surroundings { deadline, rank: around.rank.inside(), ..around }
    }

    /// What is inside has been polled, and this was met there.
    #[inline(never)] // most are ready at their first poll
    fn go_on<F: Future>(
        &mut self,
        state: &Rc<State>,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
        (mut polled, mut found): (Poll<F::Output>, Found),
    ) -> Poll<Result<F::Output, Elapsed>> {
        let mut asked = 0;
        loop {
            if let Poll::Ready(output) = polled {
                future.set(None);
                return Poll::Ready(self.answer(state, output, found));
            }
            match self.look(state, cx, &mut found) {
                Look::Wait => {
                    match (found.listens, self.gave_way.waits()) {
                        (true, _) => self.suspend(state, cx, found.roles),
                        (false, true) => self.place.waits_to_be_called(state, cx),
                        (false, false) => self.place.is_no_member(),
                    }
                    return Poll::Pending;
                }
                // What asks for it again and again is to let others have turns.
                Look::Ask(_) if asked == MOST_DELIVERIES => {
                    cx.waker().wake_by_ref();
                    self.suspend(state, cx, found.roles);
                    return Poll::Pending;
                }
                Look::Ask(delivery) => {
                    asked += 1;
                    (polled, found) =
                        self.ask(state, cx, delivery, &mut |cx| poll_future(&mut future, cx));
                }
                Look::Rouse => {
                    (polled, found) = self.rouse(state, cx, &mut |cx| poll_future(&mut future, cx));
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
    }

    /// Polls what is inside.
    #[inline(never)]
    fn poll_inside<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let asked = match self.passed() {
            Passed::Told(asking) => asking.is_unheard(),
            Passed::Outward(own) => !own.is_heard(),
            _ => false,
        };
        let inside = self.inside(state);
        let asker = self.cold.as_ref().map_or(0, |cold| cold.name);
        let asker = if asker == 0 { inside.asker } else { asker };
        let inside = Surroundings { asked: inside.asked || asked, asker, ..inside };
        let watched = match self.passed() {
            Passed::Told(asking) if asking.is_unheard() => {
                Some(Watched::Asked(asking.delivery.clone()))
            }
            Passed::Outward(delivery) => Some(Watched::Outward(delivery.clone())),
            _ => None,
        };
        let watched = watched.or_else(|| self.place.watched());
        let place = &mut self.place;
        let own = self.cold.as_ref().and_then(|cold| cold.passed.delivery());
        let stops = |outward: &Arc<Delivery>| own.is_some_and(|own| Arc::ptr_eq(own, outward));
        state.descent.within(inside, || {
            let polled = place.poll_inside(state, cx, watched.as_ref(), &mut poll);
            place.confirm_outward(state, cx, polled, stops, poll)
        })
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
        self.set_passed(Passed::Told(Asking::new(delivery.clone())));
        let name = &mut self.cold.get_or_insert_default().name;
        *name = if *name == 0 { state.descent.name_place() } else { *name };
        state.descent.set_polls_again();
        let polled = state.descent.deliver(&delivery, || self.poll_inside(state, cx, &mut *poll));
        if let Some(asking) = self.told() {
            asking.delivered(polled.1.roles);
        }
        if polled.0.is_ready() || !polled.1.roles.holds_any() {
            return polled;
        }
        // Whoever took it may have been left behind in the same poll.
        let (first, descent) = (polled.1, &state.descent);
        let (polled, found) =
            descent.look(Looking::Confirms, || self.poll_inside(state, cx, &mut *poll));
        (polled, found.after(first))
    }

    /// Polls what is inside once more, with nothing to tell: deadlines there have let
    /// this one go first, and it does not act any more.
    fn rouse<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        poll: &mut dyn FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let why = Why::of(Origin::TimedOut, "the deadline has been answered");
        let Some(nothing) = state.new_delivery(why, state.descent.around.get().rank.inside())
        else {
            return (Poll::Pending, Found::default());
        };
        nothing.set_over();
        state.descent.set_polls_again();
        state.descent.deliver(&nothing, || self.poll_inside(state, cx, &mut *poll))
    }

    /// The future has ended. If a token that it was given is still there, it is
    /// in the output: the deadline was passed on to us, and not swallowed.
    #[inline]
    fn answer<T>(&mut self, state: &State, output: T, found: Found) -> Result<T, Elapsed> {
        if self.place.is_plain() && found.outward.is_none() && self.cold.is_none() {
            return Ok(output);
        }
        self.place.leave();
        let own = self.passed().delivery();
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
        let Some(cold) = &self.cold else { return self.due.instant() };
        match (&cold.passed, &cold.handle) {
            (Passed::Told(asking), _) if !asking.is_untaken() => Instant::NEVER,
            (Passed::Outward(_) | Passed::Answered, _) => Instant::NEVER,
            (_, Some(handle)) => handle.deadline(),
            (_, None) => self.due.instant(),
        }
    }

    /// What is to be done, now that the future is pending?
    #[inline]
    fn look(&mut self, state: &Rc<State>, cx: &mut Context<'_>, found: &mut Found) -> Look {
        if found.outward.is_none() && self.place.holds_nothing() && self.waits(cx) {
            return Look::Wait;
        }
        self.look_closer(state, cx, found)
    }

    /// Whether it has not passed, as is plain to see of one that nobody moves.
    #[inline]
    fn waits(&mut self, cx: &mut Context<'_>) -> bool {
        self.cold.is_none() && self.due.poll(cx).is_pending()
    }

    #[inline(never)]
    fn look_closer(&mut self, state: &Rc<State>, cx: &mut Context<'_>, found: &mut Found) -> Look {
        if let Some(outward) = found.outward.take() {
            if !self.passed().delivery().is_some_and(|own| Arc::ptr_eq(own, &outward)) {
                // Another's goes first: whoever stops it drops us with it.
                self.place.lets_outward(outward);
            } else {
                self.set_passed(Passed::Outward(outward));
            }
        }
        match self.place.sends_outward(state, found.roles) {
            Some(true) => {
                if let Some(asking) = self.told() {
                    asking.goes_outward_with_another(state.descent.around.get());
                }
                return Look::Wait;
            }
            Some(false) => {
                // It has been given up in this poll: its owner looks after it first.
                self.gave_way.gives_for_a_turn(state, cx);
                return Look::Wait;
            }
            None => {
                if let Some(asking) = self.told() {
                    asking.is_polled_at(state.descent.around.get(), found);
                }
            }
        }
        match self.cold.as_mut().map_or(&mut Passed::NotYet, |cold| &mut cold.passed) {
            Passed::Outward(own) if !(own.is_sent() && found.roles.sends()) => {
                // Those who sent it have been given up, or left behind.
                let asking = Asking::again(own.clone());
                self.set_passed(Passed::Told(asking));
                cx.waker().wake_by_ref();
                Look::Wait
            }
            Passed::Outward(own) if found.roles.holds_outward(own) => Look::Wait,
            Passed::Outward(own) => Look::Over(Some(own.clone())),
            Passed::Answered => Look::Wait,
            Passed::Told(asking) if self.gave_way.is_answered(state, found) => {
                asking.set_answered();
                Look::Wait
            }
            Passed::Told(asking) => match asking.settle(found.roles) {
                OwnerAnswer::Rest => {
                    if asking.is_unheard() && state.descent.noted.has_lost() {
                        // Perhaps its own: whoever seems to hold it may have been left
                        // behind in this very poll.
                        cx.waker().wake_by_ref();
                    }
                    self.gave_way.rests();
                    Look::Wait
                }
                OwnerAnswer::Act => Look::Over(Some(asking.delivery.clone())),
                OwnerAnswer::AskAgain => self.acts(state, cx, found),
            },
            Passed::NotYet => {
                if let Some(deadline) = self.handle().and_then(|handle| handle.moved(cx)) {
                    self.due = Due::At(deadline, "timeout_by");
                }
                if self.due.poll(cx).is_pending() {
                    return Look::Wait;
                }
                if let Some(handle) = self.handle() {
                    handle.movable.expired.set(true);
                }
                self.acts(state, cx, found)
            }
        }
    }

    /// It has passed, and has something to say; unless another request goes first.
    fn acts(&mut self, state: &State, cx: &Context<'_>, found: &Found) -> Look {
        match self.gave_way.look(state, cx, &self.place, found) {
            Way::Free => self.asks(state, found),
            Way::Given => Look::Wait,
            Way::Answered => {
                match self.passed() {
                    Passed::Told(asking) => asking.set_answered(),
                    _ => self.set_passed(Passed::Answered),
                }
                // In a delivery they are polled, and will look.
                if state.descent.number() == 0 { Look::Rouse } else { Look::Wait }
            }
        }
    }

    fn asks(&mut self, state: &State, found: &Found) -> Look {
        let own = match self.passed() {
            Passed::Told(asking) => Some(asking.delivery.clone()),
            _ if found.listens || state.descent.displaced.listen() => {
                let why = Why::of(Origin::TimedOut, "the deadline has elapsed");
                state.new_delivery(why, state.descent.around.get().rank.inside())
            }
            _ => None,
        };
        match own {
            Some(own) if found.listens || state.descent.displaced.listen() => Look::Ask(own),
            own => Look::Over(own),
        }
    }

    /// It has somebody inside who listens.
    fn suspend(&mut self, state: &Rc<State>, cx: &Context<'_>, inside: Roles) {
        self.place.arrive(state, cx);
        let own = if self.gave_way.waits() { Roles::LATE } else { Roles::NONE };
        self.place.suspend(state, own, inside);
    }
}

impl Passed {
    /// What was asked of the task that it was in before is asked of this one.
    fn comes_to(&mut self, state: &State) {
        let Some(own) = self.delivery() else { return };
        own.set_rank(state.descent.around.get().rank.inside());
        if let Some(name) = state.running_name().filter(|&name| name != own.task) {
            let own = state.delivery(own.request.clone(), name, own.rank());
            *self = Passed::Told(Asking::new(own));
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
            Due::Set(ref mut sleep) => return sleep.poll_plainly(cx),
            Due::In(limit) => self.set(with_state("timeout", |home| Sleep::after(home, limit))),
            Due::At(deadline, name) => {
                self.set(with_state(name, |home| Sleep::until(home, deadline)))
            }
        };
        // A loop around a deadline that passes at once lets others have their turns.
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
