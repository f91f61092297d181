//! Polling what is inside of a place, or of a task.
//!
//! A poll goes down through a place by way of this: what was outside is put
//! aside, the members of the place's region are called if something is carried,
//! and what was met is answered.
//!
//! # Invariants
//!
//! - **No borrow is held while a waker is called**: it may be a combinator's.

use crate::descent::{Found, WakerKey};
use crate::header::Header;
use crate::id::Name;
use crate::outcome::catch;
use crate::region::{MemberKey, PATIENCE, Region};
use crate::report::{Report, ReportKind};
use crate::request::Delivery;
use crate::state::State;
use crate::waker::is_waker_of;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Polls what is inside of a place or of a task, and answers what was met there.
///
/// If something is carried, and there are members of the place's region, they are
/// called first, and the inside is polled up to three times, until all of them
/// have come. If a member that holds `watched` is all that does, it is made sure
/// that it still is being polled.
#[inline]
pub(crate) fn pass<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Arc<Delivery>>,
    mut poll: impl FnMut() -> Poll<T>,
) -> (Poll<T>, Found) {
    let (polled, found) = pass_once(state, region, waker, watched, &mut poll);
    match watched {
        Some(watched)
            if polled.is_pending()
                && found.tally.holds(watched)
                && state.descent.number() == 0
                && !state.descent.is_confirming() =>
        {
            confirm(state, region, waker, watched, &mut poll, found)
        }
        _ => (polled, found),
    }
}

#[inline]
fn pass_once<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Arc<Delivery>>,
    mut poll: impl FnMut() -> Poll<T>,
) -> (Poll<T>, Found) {
    if region.is_some() {
        return pass_with_region(state, region, waker, watched, &mut poll);
    }
    let inner = state.descent.enter(WakerKey::of(waker), None);
    let polled = poll();
    let mut found = inner.leave(region);
    if region.is_some() {
        add_region(state, region, &mut found);
    }
    (polled, found)
}

#[inline(never)]
fn pass_with_region<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Arc<Delivery>>,
    poll: &mut dyn FnMut() -> Poll<T>,
) -> (Poll<T>, Found) {
    let number = state.descent.number();
    if let Some(region) = region.as_ref().filter(|_| number != 0) {
        let acts = state.descent.is_acting();
        let called = state.members.borrow_mut().call_all(region, number, acts);
        called.into_iter().for_each(|key| state.wake_member(key));
    }
    let mut all = Found::default();
    let mut attempt = 0;
    loop {
        region.iter().for_each(|region| region.clear_touched());
        let inner = state.descent.enter(WakerKey::of(waker), region.take());
        let polled = poll();
        let found = inner.leave(region);
        let took = all.tally.took + found.tally.took;
        let newcomers = all.tally.newcomers + found.tally.newcomers;
        let heard = all.tally.heard + found.tally.heard;
        let chosen = all.tally.chosen + found.tally.chosen;
        (all.listens, all.listens_directly) = (found.listens, found.listens_directly);
        all.tally = found.tally;
        (all.tally.took, all.tally.chosen) = (took, chosen);
        (all.tally.newcomers, all.tally.heard) = (newcomers, heard);
        all.outward = all.outward.or(found.outward);
        attempt += 1;
        if polled.is_pending()
            && let Some(region) = &region
            && is_to_be_polled_again(state, region, &all, watched, &mut attempt)
        {
            continue;
        }
        if polled.is_pending() {
            add_region(state, region, &mut all);
        }
        return (polled, all);
    }
}

/// Polls once more only to see whether those who were met are still there: one
/// who holds something may have been left behind in the same poll, in the lost
/// branch of a `select!`, say.
#[inline(never)]
fn confirm<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: &Arc<Delivery>,
    poll: &mut dyn FnMut() -> Poll<T>,
    first: Found,
) -> (Poll<T>, Found) {
    state.descent.confirm(|| {
        let (polled, mut found) = pass_once(state, region, waker, Some(watched), poll);
        found.tally.took += first.tally.took;
        found.tally.heard += first.tally.heard;
        found.outward = found.outward.or(first.outward);
        (polled, found)
    })
}

/// Whether somebody in the region was called and has not come yet.
fn is_to_be_polled_again(
    state: &State,
    region: &Rc<Region>,
    found: &Found,
    watched: Option<&Arc<Delivery>>,
    attempt: &mut u32,
) -> bool {
    if region.unreached() {
        if *attempt < PATIENCE {
            return true;
        }
        state.members.borrow_mut().pass_over(region);
        *attempt = 0;
    }
    // A sign of life is enough: as long as one holds it, it is held.
    let Some(watched) = watched else { return false };
    if found.tally.holds(watched) || region.is_touched() || !region.holders().holds(watched) {
        return false;
    }
    if !region.may_ask(state.turns.get()) {
        return false;
    }
    let holder = state.members.borrow_mut().a_holder(region, watched);
    let Some(holder) = holder else { return false };
    state.wake_member(holder);
    *attempt = 0;
    true
}

/// Those in the region of a place are inside of it.
pub(crate) fn add_region(state: &State, region: &mut Option<Rc<Region>>, found: &mut Found) {
    if let Some(members) = region.as_ref().filter(|region| !region.is_empty()) {
        found.listens |= members.listens();
        let holders = members.holders();
        found.tally += holders.holders();
        if state.descent.is_choosing() {
            // Who was chosen may not have been polled a second time.
            found.tally.chosen += holders.chosen;
        }
        if holders.holds_any() {
            state.descent.meet_holders(holders.holders());
        }
    } else {
        *region = None;
    }
}

impl State {
    /// The name of the running task.
    #[inline]
    pub(crate) fn running_name(&self) -> Option<Name> {
        self.running.get().map(|id| Name::new(self.number, id.ticket()))
    }

    pub(crate) fn with_running<R>(&self, work: impl FnOnce(&Header) -> R) -> Option<R> {
        let task = self.running.get().and_then(|id| self.task(id))?;
        Some(work(task.header()))
    }

    /// Whether this is the waker by which the nearest place around is polled.
    #[inline]
    pub(crate) fn is_waker_around(&self, waker: &Waker) -> bool {
        self.descent.is_waker_around(waker, || {
            self.running_name().is_some_and(|name| is_waker_of(waker, name))
        })
    }

    /// Somebody in the running task is polled with this waker. If it is another
    /// than that of the nearest place around, he is a member of its region.
    pub(crate) fn arrive(&self, before: Option<MemberKey>, waker: &Waker) -> Option<MemberKey> {
        if self.is_waker_around(waker) {
            before.into_iter().for_each(|key| self.leave_region(key));
            return None;
        }
        let stays = |key: &MemberKey| {
            self.members.borrow_mut().is_polled(*key, |own| self.descent.is_region_around(own))
        };
        if let Some(key) = before.filter(stays) {
            if !self.members.borrow().is_woken_by(key, waker) {
                let waker = waker.clone(); // foreign: no borrow is held
                let old = self.members.borrow_mut().set_waker(key, waker);
                old.into_iter().for_each(|old| self.drop_waker(old));
            }
            return Some(key);
        }
        before.into_iter().for_each(|key| self.leave_region(key));
        let (waker, task) = (waker.clone(), self.running_name()?);
        let region = self.descent.region();
        Some(self.members.borrow_mut().enter(region, task, waker))
    }

    pub(crate) fn leave_region(&self, key: MemberKey) {
        let waker = self.members.borrow_mut().leave(key);
        waker.into_iter().for_each(|waker| self.drop_waker(waker));
    }

    /// Wakes a member by its own latest waker, which may be anybody's: so it is
    /// called with no borrow held.
    pub(crate) fn wake_member(&self, key: MemberKey) {
        let lent = self.members.borrow_mut().take_waker(key);
        let Some(waker) = lent else { return };
        if let Err(panicked) = catch(|| waker.wake_by_ref()) {
            let report = Report::make(ReportKind::CallbackPanicked, "a waker panicked");
            self.report(report.with_panic(panicked));
        }
        let surplus = self.members.borrow_mut().put_waker(key, waker);
        surplus.into_iter().for_each(|waker| self.drop_waker(waker));
    }

    /// A task has ended. Those of its region whose futures are still about are
    /// to be polled where they are now, and to come into another.
    pub(crate) fn wake_outlived(&self, header: &Header) {
        let region = header.if_rare(|rare| rare.cancel.region.take()).flatten();
        let Some(region) = region else { return };
        let members = self.members.borrow().all(&region);
        for key in members {
            let waker = self.members.borrow_mut().leave(key);
            waker.into_iter().for_each(|waker| self.wake_foreign(waker));
        }
    }
}
