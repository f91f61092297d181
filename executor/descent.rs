//! The way down: what surrounds the future that is being polled, and what has
//! been met inside of it.
//!
//! The poll of a task goes down through scopes, shields and deadlines to what
//! the task waits for, and comes back up. What a place has to tell those inside
//! of it, and those around it, is left here meanwhile: which request is carried
//! down, what comes outward, who was met. A place that polls its inside puts
//! aside what belongs to its outside, and puts it back afterwards, also when the
//! poll unwinds ([`Inner`]): otherwise a sibling would find it.
//!
//! Between two polls of a task nothing stands here.

use crate::clock::Instant;
use crate::region::Region;
use crate::request::{Delivery, Rank};
use crate::rules::{Tally, counts_before};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// What the poll that is going on leaves for those inside and around.
#[derive(Default)]
pub(crate) struct Descent {
    /// What there is to look at: a byte that is mostly zero.
    signs: Cell<Signs>,
    /// The waker of the nearest place around; none: that of the task.
    waker: Cell<WakerKey>,
    pub(crate) around: Cell<Around>,
    /// The number of the delivery that is being carried, or zero.
    number: Cell<u64>,
    carried: RefCell<Option<Arc<Delivery>>>,
    /// Whether those who were chosen are to hear of it now.
    acting: Cell<bool>,
    tally: Cell<Tally>,
    outward: RefCell<Option<Arc<Delivery>>>,
    region: RefCell<Option<Rc<Region>>>,
    /// The rank of the request because of which something is being dropped.
    dropping: Cell<Option<Rank>>,
    /// A request to the task of which the last token was dropped so.
    lost: RefCell<Option<Arc<Delivery>>>,
    deliveries_ever: Cell<u64>,
    /// Whether the poll that is going on only looks who is still there.
    confirming: Cell<bool>,
    /// Whether the task, or a part of it, is polled once more at the same place
    /// of the queue.
    again: Cell<bool>,
}

/// What there is to look at after a poll.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signs(u8);

impl Signs {
    pub(crate) const NONE: Signs = Signs(0);
    /// Somebody inside can be told of a request.
    pub(crate) const LISTENS: Signs = Signs(1);
    const REGION: Signs = Signs(2);
    const OUTWARD: Signs = Signs(4);
    const LOST: Signs = Signs(8);
    /// Somebody has passed a request on, and waits.
    const WAITS: Signs = Signs(16);

    #[inline]
    pub(crate) fn has(self, sign: Signs) -> bool {
        self.0 & sign.0 != 0
    }

    #[inline]
    const fn and(self, sign: Signs) -> Signs {
        Signs(self.0 | sign.0)
    }

    #[inline]
    fn only(self, sign: Signs) -> Signs {
        Signs(self.0 & sign.0)
    }
}

/// What stands around the future that is being polled.
#[derive(Clone, Copy, Default)]
pub(crate) struct Around {
    /// The earliest deadline that nobody has heard of yet; those beyond a shield
    /// do not count.
    pub(crate) deadline: Option<Instant>,
    /// That of the nearest owner.
    pub(crate) rank: Rank,
    /// Whether there is a shield.
    pub(crate) shielded: bool,
    /// Whether there is a deadline, not beyond a shield, that has been passed on
    /// inside, and that nobody has heard of.
    pub(crate) passed_on: bool,
}

/// Tells two wakers apart, as [`Waker::will_wake`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerKey {
    data: *const (),
    vtable: *const std::task::RawWakerVTable,
}

impl WakerKey {
    /// That of the task itself.
    pub(crate) const TASK: WakerKey = WakerKey { data: std::ptr::null(), vtable: std::ptr::null() };

    /// That of a place that is polled with this waker; or of the task itself.
    #[inline]
    pub(crate) fn of(waker: Option<&Waker>) -> WakerKey {
        match waker {
            Some(waker) => WakerKey { data: waker.data(), vtable: waker.vtable() },
            None => WakerKey::TASK,
        }
    }
}

impl Default for WakerKey {
    fn default() -> WakerKey {
        WakerKey::TASK
    }
}

/// What was met in a poll of the inside.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) listens: bool,
    /// Whether somebody does who is no member of a region.
    pub(crate) listens_directly: bool,
    pub(crate) tally: Tally,
    pub(crate) outward: Option<Arc<Delivery>>,
}

impl Descent {
    // ---- What is met -------------------------------------------------------------

    /// Somebody suspends here who can be told of a request.
    #[inline]
    pub(crate) fn meet_listener(&self) {
        self.signs.set(self.signs.get().and(Signs::LISTENS));
    }

    /// Somebody suspends here who can be told of a request, and holds this. A
    /// member listens for as long as it is one.
    #[inline]
    pub(crate) fn meet(&self, holds: Tally, is_member: bool) {
        if holds.holds_any() {
            self.meet_holders(holds);
        }
        if !is_member {
            self.meet_listener();
        }
    }

    /// Somebody is inside who holds this.
    pub(crate) fn meet_holders(&self, holds: Tally) {
        self.count(holds);
        if holds.waits() {
            self.signs.set(self.signs.get().and(Signs::WAITS));
        }
    }

    /// Somebody takes what is being carried.
    pub(crate) fn meet_taker(&self) {
        self.count(Tally::TOOK);
    }

    /// Somebody hears of a request to the task.
    pub(crate) fn meet_hearer(&self) {
        self.count(Tally::HEARD);
    }

    /// Somebody has come while something is carried.
    pub(crate) fn meet_newcomer(&self) {
        self.count(Tally::NEWCOMER);
    }

    /// Somebody is chosen to hear of what is being carried.
    pub(crate) fn meet_chosen(&self) {
        self.count(Tally::CHOSEN);
    }

    fn count(&self, whom: Tally) {
        let mut tally = self.tally.get();
        tally += whom;
        self.tally.set(tally);
    }

    /// What a plain poll of a task has met, which began with nothing.
    pub(crate) fn found(&self) -> (Found, Option<Rc<Region>>) {
        let found = Found {
            listens: self.signs.get().has(Signs::LISTENS),
            listens_directly: self.signs.get().has(Signs::LISTENS),
            tally: self.tally.get(),
            outward: self.outward.take(),
        };
        (found, self.region.take())
    }

    /// Sends a request outward from here.
    pub(crate) fn send_outward(&self, delivery: &Arc<Delivery>) {
        let mut outward = self.outward.borrow_mut();
        if outward.as_ref().is_none_or(|first| counts_before(delivery, first)) {
            *outward = Some(delivery.clone());
        }
        drop(outward);
        self.signs.set(self.signs.get().and(Signs::OUTWARD));
    }

    /// Takes back what was sent outward. False if somebody has found it.
    #[must_use]
    pub(crate) fn take_outward_back(&self, delivery: &Arc<Delivery>) -> bool {
        self.outward.borrow_mut().take_if(|sent| Arc::ptr_eq(sent, delivery)).is_some()
    }

    /// Whether there is anything to be looked at after the poll of a task.
    #[inline]
    pub(crate) fn signs(&self) -> Signs {
        self.signs.get()
    }

    // ---- What is carried -----------------------------------------------------------

    /// The number of the delivery that is being carried here, or zero.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    pub(crate) fn carried(&self) -> Option<Arc<Delivery>> {
        match self.number.get() {
            0 => None,
            // It may have been taken back meanwhile.
            _ => self.carried.borrow().clone().filter(|carried| !carried.is_over()),
        }
    }

    /// What is carried, while it is found out who is to hear of it, for somebody
    /// who came, or was last told, with delivery number `seen`.
    #[inline]
    pub(crate) fn carried_to(&self, seen: u64) -> Option<Arc<Delivery>> {
        let number = self.number.get();
        let is_told = number != 0 && number != seen && !self.acting.get();
        if is_told { self.carried() } else { None }
    }

    /// Whether those who were chosen are to hear now of what is carried.
    pub(crate) fn is_acting(&self) -> bool {
        self.acting.get()
    }

    /// Whether it is being found out who is to hear of what is carried.
    pub(crate) fn is_choosing(&self) -> bool {
        self.number.get() != 0 && !self.acting.get()
    }

    /// Carries a delivery through what `poll` polls, twice: a first time to find
    /// out who is there to hear of it, and a second time to let them hear. In one,
    /// what goes on behind a scope that has heard could come upon somebody who
    /// had not been polled for long.
    pub(crate) fn deliver<T>(
        &self,
        delivery: &Arc<Delivery>,
        mut poll: impl FnMut() -> (Poll<T>, Found),
    ) -> (Poll<T>, Found) {
        // Even, so that they are told from those who begin in none.
        let number = self.deliveries_ever.get() + 2;
        self.deliveries_ever.set(number);
        let (polled, first) = self.carry(number, Some(delivery.clone()), false, &mut poll);
        if polled.is_ready() || first.tally.chosen == 0 {
            return (polled, first);
        }
        self.set_polls_again();
        let (polled, mut found) = self.carry(number, Some(delivery.clone()), true, poll);
        found.tally.took += first.tally.took + first.tally.chosen;
        found.tally.newcomers += first.tally.newcomers;
        found.tally.heard += first.tally.heard;
        found.outward = found.outward.or(first.outward);
        (polled, found)
    }

    /// Polls something to which nothing that is carried gets through.
    pub(crate) fn keep_off<R>(&self, poll: impl FnOnce() -> R) -> R {
        self.carry(0, None, false, poll)
    }

    fn carry<R>(
        &self,
        number: u64,
        delivery: Option<Arc<Delivery>>,
        acting: bool,
        poll: impl FnOnce() -> R,
    ) -> R {
        struct Restore<'a>(&'a Descent, u64, Option<Arc<Delivery>>, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.number.set(self.1);
                *self.0.carried.borrow_mut() = self.2.take();
                self.0.acting.set(self.3);
            }
        }
        let around = self.carried.replace(delivery);
        let number = self.number.replace(number);
        let _restore = Restore(self, number, around, self.acting.replace(acting));
        poll()
    }

    /// Whether shields do not keep off what is being carried.
    pub(crate) fn carried_goes_through(&self) -> bool {
        self.carried.borrow().as_ref().is_some_and(|carried| carried.request.through_shields)
    }

    /// Polls something that has this around it.
    #[inline]
    pub(crate) fn within<R>(&self, around: Around, poll: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Descent, Around);
        impl Drop for Restore<'_> {
            #[inline]
            fn drop(&mut self) {
                self.0.around.set(self.1);
            }
        }
        let _restore = Restore(self, self.around.replace(around));
        poll()
    }

    pub(crate) fn polls_again(&self) -> bool {
        self.again.get()
    }

    /// From here on, until the task's place in the queue is over.
    pub(crate) fn set_polls_again(&self) {
        self.again.set(true);
    }

    pub(crate) fn is_confirming(&self) -> bool {
        self.confirming.get()
    }

    /// Polls only to see who is still there.
    pub(crate) fn confirm<R>(&self, poll: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Descent, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.confirming.set(self.1);
            }
        }
        let _restore = Restore(self, self.confirming.replace(true));
        self.set_polls_again();
        poll()
    }

    // ---- Going inside ----------------------------------------------------------------

    /// Whether this is the waker with which the nearest place around is polled,
    /// whose task has the name `own` and is polled with the waker of that name.
    #[inline]
    pub(crate) fn is_waker_around(&self, waker: &Waker, own: impl FnOnce() -> bool) -> bool {
        let around = self.waker.get();
        if around == WakerKey::TASK { own() } else { around == WakerKey::of(Some(waker)) }
    }

    /// From here on, until it is left, what is polled is inside of a place that
    /// is polled with this waker, and has this region.
    #[inline]
    pub(crate) fn enter(&self, waker: WakerKey, region: Option<Rc<Region>>) -> Inner<'_> {
        let inside = if region.is_some() { Signs::REGION } else { Signs::NONE };
        let signs = self.signs.replace(inside);
        let has_region = signs.has(Signs::REGION) || region.is_some();
        Inner {
            waker: self.waker.replace(waker),
            region: if has_region { self.region.replace(region) } else { None },
            outward: if signs.has(Signs::OUTWARD) { self.outward.take() } else { None },
            signs,
            tally: self.tally.get(),
            descent: self,
        }
    }

    /// As [`enter`](Descent::enter), for a place that has no region, if there is
    /// nothing to be put aside.
    #[inline]
    pub(crate) fn enter_plainly(&self, waker: &Waker, around: Around) -> Option<Plain<'_>> {
        let signs = self.signs.get();
        if self.number.get() != 0 || signs.has(Signs::REGION) || signs.has(Signs::OUTWARD) {
            return None;
        }
        self.signs.set(Signs::NONE);
        Some(Plain {
            descent: self,
            signs,
            waker: self.waker.replace(WakerKey::of(Some(waker))),
            around: self.around.replace(around),
            tally: self.tally.get(),
        })
    }

    /// The region of the nearest place around; made now, if there was none.
    pub(crate) fn region(&self) -> Rc<Region> {
        let region = self.region.borrow_mut().get_or_insert_default().clone();
        self.signs.set(self.signs.get().and(Signs::REGION));
        region
    }

    /// Whether this is the region of the nearest place around.
    pub(crate) fn is_region_around(&self, region: &Rc<Region>) -> bool {
        self.region.borrow().as_ref().is_some_and(|around| Rc::ptr_eq(around, region))
    }

    // ---- What is lost ------------------------------------------------------------------

    /// Drops something because of a request: of a more outer one that is in hand
    /// there, the owner is to know.
    pub(crate) fn drop_because_of(&self, cause: Rank, drop: impl FnOnce()) {
        struct Restore<'a>(&'a Descent, Option<Rank>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.dropping.set(self.1);
            }
        }
        let _restore = Restore(self, self.dropping.replace(Some(cause)));
        drop();
    }

    /// Whether something is being dropped because of a request that is more inner
    /// than this.
    pub(crate) fn drops_outer(&self, rank: Rank) -> bool {
        self.dropping.get().is_some_and(|cause| rank < cause)
    }

    /// What was heard of a delivery had no effect: its owner is to ask again.
    pub(crate) fn is_lost(&self, delivery: &Arc<Delivery>) {
        delivery.set_unheard();
        if delivery.rank == Rank::TASK {
            *self.lost.borrow_mut() = Some(delivery.clone());
        }
        self.signs.set(self.signs.get().and(Signs::LOST));
    }

    pub(crate) fn take_lost(&self) -> Option<Arc<Delivery>> {
        self.lost.take()
    }

    /// The poll of a task is over: nothing is left for the next.
    #[inline]
    pub(crate) fn clear(&self) {
        if self.signs.get() != Signs::NONE || self.again.get() {
            self.clear_all();
        }
    }

    #[inline(never)]
    pub(crate) fn clear_all(&self) {
        self.signs.set(Signs::NONE);
        self.again.set(false);
        self.tally.set(Tally::default());
        drop((self.outward.take(), self.region.take(), self.lost.take()));
    }
}

/// What was outside of a place, when there was nothing to be put aside.
pub(crate) struct Plain<'a> {
    descent: &'a Descent,
    signs: Signs,
    waker: WakerKey,
    around: Around,
    tally: Tally,
}

impl<'a> Plain<'a> {
    /// Back outside. Answers what was met; or, if there is more to look at, the
    /// inside, to be left in the long way.
    #[inline]
    pub(crate) fn leave(self) -> Result<Found, Inner<'a>> {
        let inside = self.descent.signs.get();
        let listens = inside == Signs::LISTENS;
        if inside == Signs::NONE || listens {
            let tally = if listens { self.descent.tally.get() - self.tally } else { Tally::NONE };
            return Ok(Found { listens, listens_directly: listens, tally, outward: None });
        }
        let this = std::mem::ManuallyDrop::new(self);
        let Plain { descent, signs, waker, around, tally } = *this;
        descent.around.set(around);
        Err(Inner { descent, signs, waker, region: None, outward: None, tally })
    }
}

impl Drop for Plain<'_> {
    #[inline]
    fn drop(&mut self) {
        let inside = self.descent.signs.get();
        if inside.has(Signs::REGION) || inside.has(Signs::OUTWARD) {
            drop((self.descent.region.take(), self.descent.outward.take())); // a poll unwinds
        }
        self.descent.waker.set(self.waker);
        self.descent.around.set(self.around);
        self.descent.signs.set(self.signs.and(inside.only(Signs::LOST.and(Signs::WAITS))));
    }
}

/// What was outside, while the inside of a place is polled.
pub(crate) struct Inner<'a> {
    descent: &'a Descent,
    signs: Signs,
    waker: WakerKey,
    region: Option<Rc<Region>>,
    outward: Option<Arc<Delivery>>,
    tally: Tally,
}

impl Inner<'_> {
    /// Back outside: what was met, and the region of the place.
    #[inline]
    pub(crate) fn leave(self, region: &mut Option<Rc<Region>>) -> Found {
        let descent = self.descent;
        let signs = descent.signs.get();
        if signs.has(Signs::REGION) {
            *region = descent.region.take();
        }
        Found {
            listens: signs.has(Signs::LISTENS),
            listens_directly: signs.has(Signs::LISTENS),
            tally: descent.tally.get() - self.tally,
            outward: if signs.has(Signs::OUTWARD) { descent.outward.take() } else { None },
        }
    }
}

impl Drop for Inner<'_> {
    #[inline]
    fn drop(&mut self) {
        let descent = self.descent;
        let inside = descent.signs.get();
        descent.waker.set(self.waker);
        if inside.has(Signs::REGION) || self.signs.has(Signs::REGION) {
            descent.region.replace(self.region.take());
        }
        if inside.has(Signs::OUTWARD) || self.signs.has(Signs::OUTWARD) {
            descent.outward.replace(self.outward.take());
        }
        descent.signs.set(self.signs.and(inside.only(Signs::LOST.and(Signs::WAITS))));
    }
}
