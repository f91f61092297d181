//! A place: what a scope, a shield, a deadline, a group and a gather have in
//! common.
//!
//! Each stands around something, or waits for something, and has a part in the
//! way of a request through its task. A place is not entered anywhere. It lives
//! in its future, and does what it has to do when that is polled; a place that is
//! not polled does not take part, and nobody has to find that out. Only one that
//! is polled by a waker of its own has to be called, and so is a member of a
//! region (`region.rs`) as long as it lives.
//!
//! # Invariants
//!
//! - **Not twice.** `seen` is the number of the delivery that a place was told
//!   last, or during which it came; of that one it is not told.

use crate::descent::{Found, Inner};
use crate::inside::{add_region, pass};
use crate::region::{MemberKey, Region};
use crate::request::Delivery;
use crate::rules::{Hold, Tally};
use crate::state::State;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

#[derive(Default)]
pub(crate) struct Place {
    seen: u64,
    begun: bool,
    /// Of the delivery that it was told last it is to hear.
    chosen: bool,
    /// Whether the last poll has met somebody inside who listens.
    listens: bool,
    /// What few places have.
    cold: Option<Box<Cold>>,
}

#[derive(Default)]
struct Cold {
    /// Where it is a member, being polled by a waker of its own.
    member: Option<(Rc<State>, MemberKey)>,
    /// Those inside who are polled by wakers of their own.
    region: Option<Rc<Region>>,
    hold: Hold,
}

/// What has become of the inside of a place that hears.
pub(crate) enum Heard<T> {
    /// Nobody has answered; whether somebody inside has taken what was carried.
    Pending {
        taken: bool,
        found: Found,
    },
    Ready(T),
    /// It is for this place, which is to drop its inside.
    Takes(Arc<Delivery>),
}

impl Place {
    /// It is polled: enters or leaves the region around. To be called first.
    #[inline]
    pub(crate) fn arrive(&mut self, state: &Rc<State>, cx: &Context<'_>) {
        if !self.begun {
            self.begun = true;
            self.seen = state.descent.number();
            if self.seen != 0 {
                state.descent.meet_newcomer();
            }
        }
        if self.is_member() || !state.is_waker_around(cx.waker()) {
            self.arrive_as_member(state, cx);
        }
    }

    #[inline(never)]
    fn arrive_as_member(&mut self, state: &Rc<State>, cx: &Context<'_>) {
        let member = self.cold.as_mut().and_then(|cold| cold.member.take());
        let before = match member {
            Some((home, key)) if Rc::ptr_eq(&home, state) => Some(key),
            Some((home, key)) => {
                home.leave_region(key);
                None
            }
            None => None,
        };
        if let Some(key) = state.arrive(before, cx.waker()) {
            self.cold().member = Some((state.clone(), key));
        }
    }

    fn is_member(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.member.is_some())
    }

    fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// What is carried to this place, if it has not been told of it.
    #[inline]
    pub(crate) fn carried(&self, state: &State) -> Option<Arc<Delivery>> {
        state.descent.carried_to(self.seen)
    }

    /// It has been told of what is being carried.
    pub(crate) fn set_seen(&mut self, state: &State) {
        self.seen = state.descent.number();
    }

    /// Polls what is inside.
    #[inline]
    pub(crate) fn poll_inside<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        watched: Option<&Arc<Delivery>>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let waker = cx.waker();
        let mut region = self.cold.as_mut().and_then(|cold| cold.region.take());
        let polled = pass(state, &mut region, Some(waker), watched, || poll(cx));
        if region.is_some() {
            self.cold().region = region;
        }
        self.listens = polled.1.listens;
        polled
    }

    /// Whether it has nothing that few places have.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.cold.is_none()
    }

    /// What was polled in the short way has to be looked at in the long one.
    #[inline(never)]
    pub(crate) fn leave_inner(&mut self, state: &State, inner: Inner<'_>, pending: bool) -> Found {
        let mut region = None;
        let mut found = inner.leave(&mut region);
        if pending {
            add_region(state, &mut region, &mut found);
            if region.is_some() {
                self.cold().region = region;
            }
        }
        found
    }

    /// Polls what is inside of a place that hears of requests.
    ///
    /// A place that is the owner of what is carried is not offered it.
    pub(crate) fn poll_hearing<T>(
        &mut self,
        state: &Rc<State>,
        cx: &mut Context<'_>,
        is_owner: bool,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Heard<T> {
        let descent = &state.descent;
        let acting = descent.is_acting() && !is_owner;
        if acting && self.chosen && self.seen == descent.number() {
            self.chosen = false;
            if let Some(delivery) = descent.carried() {
                descent.meet_taker();
                return Heard::Takes(delivery);
            }
        }
        let carried = if is_owner || acting { None } else { self.carried(state) };
        if carried.is_some() && !self.listens && self.holds_nothing() {
            self.choose(state);
            return Heard::Pending { taken: false, found: Found::default() };
        }
        let watched = self.cold.as_ref().and_then(|cold| cold.hold.waits_for()).cloned();
        let (polled, mut found) = self.poll_inside(state, cx, watched.as_ref(), poll);
        let outward = found.outward.take();
        if let Poll::Ready(output) = polled {
            outward.iter().for_each(|delivery| state.descent.send_outward(delivery));
            return Heard::Ready(output);
        }
        if carried.is_none() && outward.is_none() && self.holds_nothing() {
            return Heard::Pending { taken: found.tally.takes(), found };
        }
        self.decide(state, carried, outward, found)
    }

    /// It is to hear of what is carried, when it is known of all who are.
    fn choose(&mut self, state: &State) {
        self.set_seen(state);
        self.chosen = true;
        state.descent.meet_chosen();
    }

    fn holds_nothing(&self) -> bool {
        self.cold.as_ref().is_none_or(|cold| cold.hold.is_nothing())
    }

    #[inline(never)]
    fn decide<T>(
        &mut self,
        state: &State,
        carried: Option<Arc<Delivery>>,
        outward: Option<Arc<Delivery>>,
        found: Found,
    ) -> Heard<T> {
        let taken = found.tally.takes();
        let mut hold = std::mem::take(&mut self.cold().hold);
        // What was asked of the task that it was in before is not for this one.
        if hold.waits_for().is_some_and(|delivery| Some(delivery.task) != state.running_name()) {
            hold = Hold::Nothing;
        }
        if let Some(delivery) = &carried {
            self.set_seen(state);
            hold = hold.delivered(delivery.clone(), taken);
        }
        if let Some(delivery) = outward {
            hold = hold.comes_outward(delivery);
        }
        let (hold, taking) = hold.settle(|delivery| found.tally.holds(delivery));
        self.cold().hold = hold;
        let Some(taking) = taking else { return Heard::Pending { taken, found } };
        let carried = carried.filter(|_| !taken);
        let other = carried.as_ref().filter(|carried| !Arc::ptr_eq(carried, &taking));
        other.into_iter().for_each(|other| other.set_heard()); // in the same breath
        if !state.descent.is_choosing() {
            return Heard::Takes(taking);
        }
        if carried.is_some() && other.is_none() {
            self.choose(state);
        } else {
            self.cold().hold = Hold::Outward(taking);
            state.descent.meet_chosen();
        }
        Heard::Pending { taken, found }
    }

    /// It stays suspended, and holds this itself, beside what was found inside.
    #[inline]
    pub(crate) fn suspend(&mut self, state: &State, own: Tally, inside: Tally) {
        state.descent.meet(own, self.is_member());
        if let Some((home, key)) = self.cold.as_ref().and_then(|cold| cold.member.as_ref()) {
            let mut holds = inside.remembered();
            holds += own;
            let hears =
                self.chosen || self.cold.as_ref().is_some_and(|cold| cold.hold.is_outward());
            holds.chosen += u32::from(hears && state.descent.is_choosing());
            home.members.borrow_mut().set_holds(*key, holds);
        }
    }

    /// It is through: nobody can tell it anything any more.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if self.cold.is_some() {
            self.leave_region();
        }
    }

    #[inline(never)]
    fn leave_region(&mut self) {
        let Some(cold) = self.cold.take() else { return };
        if let Some((home, key)) = &cold.member {
            home.leave_region(*key);
        }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}
