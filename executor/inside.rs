//! Polling what is inside of a place, or of a task.
//!
//! A poll goes down through a place by way of this: what was outside is put
//! aside, the members of the place's region are called if something is carried,
//! and what was met is answered.
//!
//! # Invariants
//!
//! - **No borrow is held while a waker is called**: it may be a combinator's.

use crate::descent::WakerKey;
use crate::header::Header;
use crate::id::Name;
use crate::outcome::catch;
use crate::region::{MemberKey, PATIENCE, PATIENCE_WITH_MANY, Polled, Region};
use crate::report::{Report, ReportKind};
use crate::roles::Roles;
use crate::rules::Watched;
use crate::signs::{Found, Looking};
use crate::state::State;
use crate::waker::is_waker_of;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Polls what is inside of a place or of a task, and answers what was met there.
///
/// If something is carried, and there are members of the place's region, they are
/// called first, and the inside is polled up to three times, or while others come, until
/// all of them have come. If a member that holds `watched` is all that does, it is made
/// sure that it still is being polled.
#[inline]
pub(crate) fn pass<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Watched>,
    mut poll: impl FnMut() -> Poll<T>,
) -> (Poll<T>, Found) {
    match watched {
        None => pass_once(state, region, waker, None, &mut poll),
        Some(watched) => state.descent.watch(|| {
            let sent = state.descent.noted.sent();
            let (polled, found) = pass_once(state, region, waker, Some(watched), &mut poll);
            let goes_on = state.descent.looking() == Looking::GoesOn;
            match watched.is_held_by(found.roles) && goes_on && state.descent.number() == 0 {
                true if polled.is_pending() => {
                    state.descent.noted.put_back_sent(sent);
                    confirm(state, region, waker, watched, &mut poll, found)
                }
                _ => (polled, found),
            }
        }),
    }
}

#[inline]
fn pass_once<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Watched>,
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
    watched: Option<&Watched>,
    poll: &mut dyn FnMut() -> Poll<T>,
) -> (Poll<T>, Found) {
    let number = state.descent.number();
    if let Some(region) = region.as_ref().filter(|_| number != 0) {
        let acts = state.descent.is_acting();
        let called = state.members.borrow_mut().call_all(region, number, acts);
        state.call_members(called);
    }
    region.iter().for_each(|region| region.begin_pass());
    let mut poll = |region: &mut Option<Rc<Region>>| {
        let inner = state.descent.enter(WakerKey::of(waker), region.take());
        let polled = poll();
        (polled, inner.leave(region))
    };
    let (mut polled, mut all) = poll(region);
    let (mut attempt, mut came) = (1, 0);
    while polled.is_pending()
        && let Some(members) = &region
        && is_to_be_polled_again(state, members, &all, watched, &mut attempt, &mut came)
    {
        let (again, found) = poll(region);
        (polled, all) = (again, found.after(all));
        attempt += 1;
    }
    if polled.is_pending() {
        add_region(state, region, &mut all);
    }
    (polled, all)
}

/// Polls once more only to see whether those who were met are still there: one
/// who holds something may have been left behind in the same poll, in the lost
/// branch of a `select!`, say.
#[inline(never)]
fn confirm<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: &Watched,
    poll: &mut dyn FnMut() -> Poll<T>,
    first: Found,
) -> (Poll<T>, Found) {
    state.descent.look(Looking::Confirms, || {
        let (polled, found) = pass_once(state, region, waker, Some(watched), poll);
        (polled, found.after(first))
    })
}

/// Whether somebody in the region was called and has not come yet.
fn is_to_be_polled_again(
    state: &State,
    region: &Rc<Region>,
    found: &Found,
    watched: Option<&Watched>,
    attempt: &mut u32,
    came: &mut u32,
) -> bool {
    if region.unreached() {
        let others_come = std::mem::replace(came, region.came()) < region.came();
        let patience = if others_come { PATIENCE_WITH_MANY } else { PATIENCE };
        if *attempt < patience {
            return true;
        }
        if others_come {
            return false;
        }
        state.members.borrow_mut().pass_over(region);
        *attempt = 0;
    }
    let is_watched = watched.is_some() || state.descent.is_watched();
    if !is_watched || state.descent.looking() == Looking::Pays {
        return false;
    }
    // One who has come is enough: as long as one holds it, it is held.
    // What goes outward is held by more than what was asked.
    let holds = |inside: Roles| match watched {
        Some(watched) if found.outward.is_none() => watched.is_held_by(inside),
        _ => inside.holds_any(),
    };
    let sends = |inside: Roles| inside.sends();
    let (members, mut met) = (region.holders(), found.roles);
    met |= region.met();
    let holder = if holds(members) && !holds(met) {
        state.members.borrow_mut().a_holder(region, holds)
    } else if sends(members) && !sends(met) {
        state.members.borrow_mut().a_holder(region, sends)
    } else {
        None
    };
    let is_called = holder.is_some();
    state.call_members(holder);
    *attempt = 0;
    is_called
}

/// Those in the region of a place are inside of it.
pub(crate) fn add_region(state: &State, region: &mut Option<Rc<Region>>, found: &mut Found) {
    if let Some(members) = region.as_ref().filter(|region| !region.is_empty()) {
        found.listens |= members.listens();
        let mut holders = members.holders();
        if !state.descent.is_choosing() {
            holders = holders.without(Roles::CHOSEN);
        }
        // Who was chosen, or holds something, was perhaps not polled again.
        found.roles |= holders;
        if holders != Roles::NONE {
            state.descent.meet_holders(holders);
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

    /// Works on the header of the running task. `work` must not wake anybody: the
    /// table is being looked at.
    #[inline]
    pub(crate) fn with_running<R>(&self, work: impl FnOnce(&Header) -> R) -> Option<R> {
        let id = self.running.get()?;
        self.table.borrow().get(id).map(|task| work(task.header()))
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
        if let Some(key) = before {
            let is_around = |own: &Rc<Region>| self.descent.is_region_around(own);
            let polled = self.members.borrow_mut().is_polled(key, waker, is_around);
            match polled {
                Polled::Stays => return Some(key),
                Polled::HasAnotherWaker => {
                    let waker = waker.clone(); // foreign: no borrow is held
                    let old = self.members.borrow_mut().set_waker(key, waker);
                    old.into_iter().for_each(|old| self.drop_waker(old));
                    return Some(key);
                }
                Polled::HasMoved => self.leave_region(key),
            }
        }
        let (waker, task) = (waker.clone(), self.running_name()?);
        let region = self.descent.region();
        Some(self.members.borrow_mut().enter(region, task, waker))
    }

    pub(crate) fn leave_region(&self, key: MemberKey) {
        let waker = self.members.borrow_mut().leave(key);
        waker.into_iter().for_each(|waker| self.drop_waker(waker));
    }

    /// Calls members. They are polled at this place of the queue: what they, or
    /// the combinators that poll them, have called by then counts for nothing, and
    /// the task is polled once more instead, when this poll is over.
    fn call_members(&self, called: impl IntoIterator<Item = MemberKey>) {
        for key in called {
            if !self.descent.owes_a_poll() {
                self.with_running(|header| self.descent.owe_a_poll(&header.queued));
            }
            self.wake_member(key);
        }
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
        region.into_iter().for_each(|region| self.wake_outlived_of(&region));
    }

    /// A region is no more, and what was polled in it may be still about.
    pub(crate) fn wake_outlived_of(&self, region: &Rc<Region>) {
        let members = self.members.borrow().all(region);
        for key in members {
            let waker = self.members.borrow_mut().leave(key);
            waker.into_iter().for_each(|waker| self.wake_foreign(waker));
        }
    }
}
