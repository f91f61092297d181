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

use crate::asking::with_running_task;
use crate::descent::{Around, Inner};
use crate::inside::{add_region, pass};
use crate::region::{MemberKey, Region};
use crate::request::{Delivery, Rank};
use crate::roles::Roles;
use crate::rules::{Hold, PolledAt, Watched, outermost};
use crate::signs::{Found, Looking};
use crate::state::State;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

#[derive(Default)]
pub(crate) struct Place {
    /// Zero until it comes.
    name: u32,
    /// The number of a delivery, or what fits of it.
    seen: u32,
    /// Whether it came while that was being delivered.
    is_new: bool,
    /// Whether it has been told of anything.
    told: bool,
    /// Of the delivery that it was told last it is to hear.
    chosen: bool,
    /// Whether the last poll has met somebody inside who listens.
    listens: bool,
    /// Whether somebody inside let something go outward when it was suspended last.
    sends: bool,
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
    /// The stop and the rank around those in the region when they were polled last.
    around: (u32, Rank),
}

/// What has become of the inside of a place that hears.
pub(crate) enum Heard<T> {
    /// Nobody has answered.
    Pending(Found),
    Ready(T),
    /// It is for this place, which is to drop its inside.
    Takes(Arc<Delivery>),
}

impl Place {
    /// One that nobody has to wait for who has come while something is carried: it
    /// cannot be told of anything itself.
    pub(crate) fn untold() -> Place {
        Place { name: u32::MAX, ..Place::default() }
    }

    /// It is polled: enters or leaves the region around. To be called first.
    #[inline]
    pub(crate) fn arrive(&mut self, state: &Rc<State>, cx: &Context<'_>) {
        if self.name == 0 {
            self.name = state.descent.name_place();
            self.seen = state.descent.number() as u32;
            self.is_new = self.seen != 0;
        }
        if self.is_member() || !state.is_waker_around(cx.waker()) {
            self.arrive_as_member(state, cx);
        }
    }

    #[inline(never)]
    fn arrive_as_member(&mut self, state: &Rc<State>, cx: &Context<'_>) {
        let member = &mut self.cold().member;
        let before = match member {
            Some((home, key)) if Rc::ptr_eq(home, state) => Some(*key),
            Some((home, key)) => {
                home.leave_region(*key);
                None
            }
            None => None,
        };
        let after = state.arrive(before, cx.waker());
        if after.is_none() || after != before {
            *member = after.map(|key| (state.clone(), key));
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

    /// Where it is polled. To be asked before it is told of more.
    pub(crate) fn polls_here(&self, state: &State) -> Option<PolledAt> {
        state.polls_here(self.seen)
    }

    /// Whether it has been told of anything, just now or before.
    pub(crate) fn is_told(&mut self, state: &State) -> bool {
        self.told |= self.carried(state).is_some();
        self.told
    }

    /// Whether it is to hear, of the delivery that is going on, when it is known of
    /// all who are. One that was left behind as it was to hear does not any more.
    pub(crate) fn is_chosen(&self, state: &State) -> bool {
        self.chosen && self.seen == state.descent.number() as u32
    }

    /// It has been told of what is being carried.
    pub(crate) fn set_seen(&mut self, state: &State) {
        self.is_new = false;
        self.seen = state.descent.number() as u32;
    }

    /// Polls what is inside.
    #[inline]
    pub(crate) fn poll_inside<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        watched: Option<&Watched>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let waker = cx.waker();
        let mut region = match &mut self.cold {
            Some(cold) => cold.take_region(state),
            None => None,
        };
        let polled = pass(state, &mut region, Some(waker), watched, || poll(cx));
        self.set_region(region);
        self.listens = polled.1.listens;
        polled
    }

    /// If something goes outward to this place, which stops it, and is held inside:
    /// those who hold it may have been left behind in the same poll.
    #[inline]
    pub(crate) fn confirm_outward<T>(
        &mut self,
        state: &State,
        cx: &mut Context<'_>,
        (polled, mut found): (Poll<T>, Found),
        stops: impl FnOnce(&Arc<Delivery>) -> bool,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> (Poll<T>, Found) {
        let descent = &state.descent;
        let stopped = found.outward.take_if(|outward| stops(outward));
        let goes_on = descent.looking() == Looking::GoesOn && descent.number() == 0;
        let holders = found.roles.and(descent.displaced.hold());
        if stopped.is_none() || polled.is_ready() || !goes_on || !holders.holds_any() {
            found.outward = stopped.or(found.outward);
            return (polled, found);
        }
        let watched = stopped.clone().map(Watched::Outward);
        let confirm = || self.poll_inside(state, cx, watched.as_ref(), poll);
        found.outward = stopped;
        let (polled, confirmed) = descent.look(Looking::Confirms, confirm);
        (polled, confirmed.after(found))
    }

    /// Whether it has nothing that few places have.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.cold.is_none()
    }

    /// Whether it can be polled in the short way, as nearly always: nothing is
    /// carried or to be put aside.
    #[inline]
    pub(crate) fn is_polled_plainly(&self, state: &State) -> bool {
        self.is_plain() && state.descent.is_entered_plainly()
    }

    /// What was polled in the short way has to be looked at in the long one.
    #[inline(never)]
    pub(crate) fn leave_inner(&mut self, state: &State, inner: Inner<'_>, pending: bool) -> Found {
        let mut region = None;
        let mut found = inner.leave(&mut region);
        if pending {
            add_region(state, &mut region, &mut found);
            self.set_region(region);
        }
        self.listens = found.listens;
        found
    }

    fn set_region(&mut self, region: Option<Rc<Region>>) {
        if region.is_some() {
            self.cold().region = region;
        }
    }

    /// Polls what is inside of a place that hears of requests.
    ///
    /// A place that is the owner of what is carried is not offered it. An owner waits
    /// with `own`, if it waits, until nothing inside holds that.
    #[inline]
    pub(crate) fn poll_hearing<T>(
        &mut self,
        state: &Rc<State>,
        cx: &mut Context<'_>,
        is_owner: bool,
        own: Option<Watched>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Heard<T> {
        if own.is_some() || !self.is_polled_plainly(state) {
            return self.poll_hearing_closely(state, cx, is_owner, own, poll);
        }
        let inside = state.descent.enter_plainly(cx.waker(), self.inside(state));
        let polled = poll(cx);
        match (inside.leave(), polled) {
            (Ok(_), Poll::Ready(output)) => Heard::Ready(output),
            (Ok(found), Poll::Pending) => {
                self.listens = found.listens;
                Heard::Pending(found)
            }
            (Err(inner), polled) => {
                let found = self.leave_inner(state, inner, true);
                self.look(state, cx, 0, None, (polled, found), poll)
            }
        }
    }

    /// The same where something is carried, or to be put aside, or is held here.
    #[inline(never)]
    fn poll_hearing_closely<T>(
        &mut self,
        state: &Rc<State>,
        cx: &mut Context<'_>,
        is_owner: bool,
        own: Option<Watched>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Heard<T> {
        let descent = &state.descent;
        if !self.holds_nothing()
            && let Some(here) = self.polls_here(state)
        {
            self.cold().hold.forget(here);
        }
        let acting = descent.is_acting() && !is_owner;
        let is_chosen = self.is_chosen(state);
        if is_chosen && descent.is_choosing() && !is_owner {
            descent.meet_chosen();
            return Heard::Pending(Found::default()); // polled twice in one pass
        }
        if acting && is_chosen {
            self.chosen = false;
            if let Some(delivery) = descent.carried() {
                descent.meet_taker();
                return Heard::Takes(delivery);
            }
        }
        let carried = if is_owner || acting { None } else { self.carried(state) };
        let is_known_to_be_empty = !self.listens && self.holds_nothing();
        if carried.is_some() && is_known_to_be_empty && !state.descent.displaced.are_awaited() {
            self.choose(state);
            return Heard::Pending(Found::default());
        }
        let watched = self.watched().or(own);
        let hearings = self.cold.as_ref().map_or(0, |cold| cold.hold.hearings());
        let inside = self.inside(state);
        let poll_inside = || self.poll_inside(state, cx, watched.as_ref(), &mut poll);
        let polled = descent.within(inside, poll_inside);
        self.look(state, cx, hearings, carried, polled, poll)
    }

    /// What is around those inside of a place that stops what goes outward.
    #[inline]
    fn inside(&self, state: &State) -> Around {
        let around = state.descent.around.get();
        let waits = self.cold.as_ref().is_some_and(|cold| cold.hold.waits_with_what_others_heard());
        Around { stop: self.name, waits: around.waits || waits, ..around }
    }

    /// What is inside has been polled. So many had heard before of what it holds.
    #[inline(never)]
    fn look<T>(
        &mut self,
        state: &Rc<State>,
        cx: &mut Context<'_>,
        hearings: u32,
        carried: Option<Arc<Delivery>>,
        polled: (Poll<T>, Found),
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Heard<T> {
        let inside = self.inside(state);
        let confirm = || self.confirm_outward(state, cx, polled, |_| true, poll);
        let (polled, mut found) = state.descent.within(inside, confirm);
        let outward = found.outward.take();
        if let Poll::Ready(output) = polled {
            outward.iter().for_each(|delivery| state.descent.send_outward(delivery));
            return Heard::Ready(output);
        }
        // What was taken inside is not for this place.
        let is_offered = carried.is_some() && !found.roles.takes();
        if !is_offered && outward.is_none() && self.holds_nothing() {
            if carried.is_some() {
                self.set_seen(state);
            }
            return Heard::Pending(found);
        }
        self.decide(state, hearings, carried, outward, found)
    }

    /// Whether somebody inside let something go outward, and does not any more.
    pub(crate) fn has_lost_sender(&self, found: &Found) -> bool {
        self.sends && !found.roles.sends()
    }

    /// What it waits with, until nothing inside holds that.
    pub(crate) fn watched(&self) -> Option<Watched> {
        self.cold.as_ref().and_then(|cold| cold.hold.watched())
    }

    /// It is to hear of what is carried, when it is known of all who are.
    fn choose(&mut self, state: &State) {
        self.set_seen(state);
        self.chosen = true;
        state.descent.meet_chosen();
    }

    /// Whether it is to take what goes outward, when it is known of all who are to hear.
    pub(crate) fn stops_chosen(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.hold.is_chosen())
    }

    pub(crate) fn holds_nothing(&self) -> bool {
        self.cold.as_ref().is_none_or(|cold| cold.hold.is_nothing())
    }

    #[inline(never)]
    fn decide<T>(
        &mut self,
        state: &State,
        hearings: u32,
        carried: Option<Arc<Delivery>>,
        outward: Option<Arc<Delivery>>,
        found: Found,
    ) -> Heard<T> {
        let taken = found.roles.takes();
        let cold = self.cold.as_mut();
        let mut hold = cold.map(|cold| std::mem::take(&mut cold.hold)).unwrap_or_default();
        // What was asked of the task that it was in before is not for this one.
        if hold.request().is_some_and(|delivery| Some(delivery.task) != state.running_name()) {
            hold = Hold::Nothing;
        }
        // It was to take this, and was left behind: whoever sends it sends it still.
        if let Hold::Chosen(chosen) = hold {
            hold = match state.descent.number() {
                0 => Hold::Outward(chosen, None),
                _ => Hold::Chosen(chosen),
            };
        }
        if carried.is_some() {
            self.set_seen(state);
        }
        let stopped = hold.request().filter(|_| hold.is_outward()).cloned();
        let sent = outward.clone();
        let (hold, taking) = hold.settle(hearings, carried.clone(), outward, found.roles);
        if taking.is_some() {
            // All that comes outward to this place stops here, whichever it takes.
            [&stopped, &sent].into_iter().flatten().for_each(|outward| outward.stop(self.name));
        }
        if let Some(stopped) = stopped.filter(|_| taking.is_none() && !hold.is_outward()) {
            state.descent.leave_behind(&stopped);
        }
        if !hold.is_nothing() {
            self.cold().hold = hold;
        }
        let Some(taking) = taking else { return Heard::Pending(found) };
        let carried = carried.filter(|carried| !taken && !found.roles.holds(carried));
        let is_carried = carried.as_ref().is_some_and(|carried| Arc::ptr_eq(carried, &taking));
        // In the same breath, unless it counts more: then it is not for this place yet.
        for other in [carried, sent].into_iter().flatten() {
            if !Arc::ptr_eq(&other, &taking) && other.rank() >= taking.rank() {
                other.set_heard();
            }
        }
        if !state.descent.is_choosing() {
            return Heard::Takes(taking);
        }
        if is_carried {
            self.choose(state);
        } else {
            self.cold().hold = Hold::Chosen(taking);
            state.descent.meet_chosen();
        }
        Heard::Pending(found)
    }

    /// Something goes outward through it, which stops further out. Those who send
    /// it may not be polled the next time.
    pub(crate) fn lets_outward(&mut self, delivery: Arc<Delivery>) {
        let before = match std::mem::take(&mut self.cold().hold) {
            Hold::Outward(before, _) if before.is_sent() => outermost(before, delivery),
            _ => delivery,
        };
        self.cold().hold = Hold::Outward(before, None);
    }

    /// Sends on outward what goes through it, if anything does. False if that has
    /// been given up, and nobody has heard.
    pub(crate) fn sends_outward(&mut self, state: &State, inside: Roles) -> Option<bool> {
        let cold = self.cold.as_mut().filter(|cold| !cold.hold.is_nothing())?;
        let name = state.running_name();
        let sent = cold
            .hold
            .request()
            .filter(|outward| Some(outward.task) == name && outward.is_sent() && inside.sends());
        match sent {
            Some(sent) => state.descent.send_outward(sent),
            None => {
                let given_up = std::mem::take(&mut cold.hold);
                let is_heard = given_up.request().is_some_and(|outward| outward.is_heard());
                return (!is_heard).then_some(false);
            }
        }
        Some(true)
    }

    /// It stays suspended, and holds this itself, beside what was found inside.
    #[inline]
    pub(crate) fn suspend(&mut self, state: &State, mut own: Roles, inside: Roles) {
        let stops = self.cold.as_ref().is_some_and(|cold| cold.hold.is_outward());
        if stops {
            own |= Roles::OUTWARD;
        }
        self.sends = inside.sends();
        if self.is_new && self.seen == state.descent.number() as u32 {
            state.descent.meet_newcomer();
        }
        state.descent.meet(own, self.is_member());
        if let Some((home, key)) = self.cold.as_ref().and_then(|cold| cold.member.as_ref()) {
            let mut holds = inside.remembered();
            holds |= own;
            let hears = self.is_chosen(state) || self.stops_chosen();
            if hears && state.descent.is_choosing() {
                holds |= Roles::CHOSEN;
            }
            home.members.borrow_mut().set_holds(*key, holds);
        }
    }

    /// It stays suspended. It only waits for a deadline further out, and is to be polled when
    /// those inside of what is around it are called.
    pub(crate) fn waits_to_be_called(&mut self, state: &Rc<State>, cx: &Context<'_>) {
        self.arrive(state, cx);
        if let Some((home, key)) = self.cold.as_ref().and_then(|cold| cold.member.as_ref()) {
            home.members.borrow_mut().set_holds(*key, Roles::LATE);
        }
    }

    /// It stays suspended, and nobody inside can be told of anything.
    #[inline]
    pub(crate) fn is_no_member(&mut self) {
        if let Some(cold) = &mut self.cold
            && let Some((home, key)) = cold.member.take()
        {
            home.leave_region(key);
        }
    }

    /// What was inside is gone, and it stays. What it held for that, or stopped on its way
    /// out of there, is its owner's again.
    pub(crate) fn is_empty_now(&mut self) {
        self.listens = false;
        if let Some(cold) = &mut self.cold {
            cold.hold = Hold::Nothing;
        }
    }

    /// It is through: nobody can tell it anything any more.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.cold = None;
    }
}

impl Cold {
    /// The region, whose place is going to be polled. If that is inside of something else
    /// than before, what went outward may have been stopped, and whom somebody has let go
    /// first may be gone: they look.
    #[inline]
    fn take_region(&mut self, state: &State) -> Option<Rc<Region>> {
        let region = self.region.take()?;
        let around = state.descent.around.get();
        let before = std::mem::replace(&mut self.around, (around.stop, around.rank));
        if before != self.around && before.0 != 0 && region.holders().has(Roles::LOOKS) {
            state.wake_those_that_look(&region);
        }
        Some(region)
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        if let Some((home, key)) = &self.member {
            home.leave_region(*key);
        }
        if let Some(region) = self.region.take().filter(|region| !region.is_empty()) {
            with_running_task(|state| state.into_iter().for_each(|it| it.displace(&region)));
        }
    }
}
