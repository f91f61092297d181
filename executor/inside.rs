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
use crate::header::{Header, Rare};
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
    // Whoever is further in has nothing to find out himself about the displaced.
    let waits = watched.is_some() || waker.is_none();
    if region.is_some() || state.descent.asks_displaced(waits) {
        call_inside(state, region.as_ref());
    }
    let inner = state.descent.enter(WakerKey::of(waker), region.take());
    let polled = poll();
    let found = inner.leave(region);
    if region.is_none() && !state.descent.asks_displaced(waits) || polled.is_ready() {
        return (polled, found);
    }
    poll_until_all_come(state, region, waker, watched, &mut poll, (polled, found))
}

/// Something is carried, perhaps: those are called whom it would not reach.
#[inline(never)]
fn call_inside(state: &State, region: Option<&Rc<Region>>) {
    let (number, acts) = (state.descent.number(), state.descent.is_acting());
    let displaced = state.descent.displaced.region().filter(|_| !acts);
    for region in region.into_iter().chain(&displaced).filter(|_| number != 0) {
        let called = state.members.borrow_mut().call_all(region, number, acts);
        state.call_members(called);
    }
    region.into_iter().for_each(|region| region.begin_pass());
}

#[inline(never)]
fn poll_until_all_come<T>(
    state: &State,
    region: &mut Option<Rc<Region>>,
    waker: Option<&Waker>,
    watched: Option<&Watched>,
    poll: &mut dyn FnMut() -> Poll<T>,
    (mut polled, mut all): (Poll<T>, Found),
) -> (Poll<T>, Found) {
    let mut patience = Patience::new(state, watched.is_some() || waker.is_none());
    while polled.is_pending() && patience.calls_again(state, region.as_ref(), &all, watched) {
        let inner = state.descent.enter(WakerKey::of(waker), region.take());
        let again = poll();
        let found = inner.leave(region);
        (polled, all) = (again, found.after(all));
        patience.attempt += 1;
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

/// How long those who were called are waited for.
struct Patience {
    /// Whether those are called too, if need be, whose place is no more.
    with_displaced: bool,
    /// So often the inside has been polled since somebody was called.
    attempt: u32,
    /// How many had come of the region, and how many of the displaced had not, when it was
    /// looked last.
    came: u32,
    absent: u32,
    /// So many of the displaced are called next.
    called: usize,
}

impl Patience {
    fn new(state: &State, with_displaced: bool) -> Patience {
        let absent = state.descent.displaced.region().map_or(0, |displaced| displaced.unreached());
        Patience { with_displaced, attempt: 1, came: 0, absent, called: 1 }
    }

    /// Whether the inside is to be polled once more: somebody was called and has not come
    /// yet, or one who holds something is called now.
    fn calls_again(
        &mut self,
        state: &State,
        region: Option<&Rc<Region>>,
        found: &Found,
        watched: Option<&Watched>,
    ) -> bool {
        let asks = state.descent.asks_displaced(self.with_displaced);
        let displaced = state.descent.displaced.region().filter(|_| asks);
        let displaced = displaced.as_ref();
        let regions = || region.into_iter().chain(displaced);
        if regions().any(|region| region.unreached() > 0) {
            let came = region.map_or(0, |region| region.came());
            let absent = displaced.map_or(0, |displaced| displaced.unreached());
            let others_come = came > self.came || absent < self.absent;
            (self.came, self.absent) = (came, absent);
            let patience = if others_come { PATIENCE_WITH_MANY } else { PATIENCE };
            if self.attempt < patience {
                return true;
            }
            if others_come {
                return false;
            }
            for region in regions() {
                state.members.borrow_mut().pass_over(region);
            }
        }
        self.attempt = 0;
        self.calls_holders(state, (region, displaced), found, watched)
    }

    /// Whether somebody waits until nobody holds something, and one is called who does:
    /// he may have been left behind.
    fn calls_holders(
        &mut self,
        state: &State,
        (region, displaced): (Option<&Rc<Region>>, Option<&Rc<Region>>),
        found: &Found,
        watched: Option<&Watched>,
    ) -> bool {
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
        let mut met = found.roles;
        if let Some(region) = region {
            met |= region.met();
            let members = region.holders();
            let holder = if holds(members) && !holds(met) {
                state.members.borrow_mut().a_holder(region, holds)
            } else if sends(members) && !sends(met) {
                state.members.borrow_mut().a_sender(region)
            } else {
                None
            };
            if holder.is_some() {
                state.call_members(holder);
                return true;
            }
        }
        let Some(displaced) = displaced else { return false };
        let members = displaced.holders();
        let is_wanted =
            |inside: Roles| holds(inside) && !holds(met) || sends(inside) && !sends(met);
        if !is_wanted(members) {
            return false;
        }
        // They may be elsewhere, so more are called each time.
        let called = state.members.borrow_mut().holders(displaced, self.called, is_wanted);
        self.called *= 2;
        self.absent = displaced.unreached();
        let is_called = !called.is_empty();
        state.call_members(called);
        is_called
    }
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

    /// Wakes those in a region who have to look, since what is around them has changed.
    pub(crate) fn wake_those_that_look(&self, region: &Rc<Region>) {
        let keys = self.members.borrow().that_look(region);
        keys.into_iter().for_each(|key| self.wake_member(key));
    }

    /// A task has ended. Those of its regions whose futures are still about are
    /// to be polled where they are now, and to come into another.
    pub(crate) fn wake_outlived(&self, header: &Header) {
        let take = |rare: &mut Rare| [rare.cancel.region.take(), rare.cancel.displaced.take()];
        let regions = header.if_rare(take).into_iter().flatten().flatten();
        regions.for_each(|region| self.wake_outlived_of(&region));
    }

    /// A place of the running task is no more, and what was polled in its region may be
    /// still about: they are displaced from now on.
    pub(crate) fn displace(&self, region: &Rc<Region>) {
        let holders = self.members.borrow_mut().displace(region);
        for key in holders {
            let waker = self.members.borrow_mut().leave(key);
            waker.into_iter().for_each(|waker| self.wake_foreign(waker));
        }
        let is_polled = self.with_running(|header| header.life.get().is_polled());
        if let Some(task) = self.running_name().filter(|_| is_polled == Some(true))
            && !region.is_empty()
        {
            let displaced = self.descent.make_displaced();
            if self.members.borrow_mut().go_over(region, &displaced, task) {
                return;
            }
        }
        self.wake_outlived_of(region);
    }

    /// A region is no more, and what was polled in it may be still about.
    fn wake_outlived_of(&self, region: &Rc<Region>) {
        let members = self.members.borrow().all(region);
        for key in members {
            let waker = self.members.borrow_mut().leave(key);
            waker.into_iter().for_each(|waker| self.wake_foreign(waker));
        }
    }
}
