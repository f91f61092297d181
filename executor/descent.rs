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
use crate::displaced::Displaced;
use crate::header::Queued;
use crate::noted::Noted;
use crate::region::Region;
use crate::request::{Delivery, Rank};
use crate::roles::Roles;
use crate::rules::{Asking, Spot, counts_before};
use crate::signs::{Found, Looking, Signs};
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
    /// What has been counted, if the signs say that anything has.
    roles: Cell<Roles>,
    /// The outermost rank of which something has been heard.
    heard: Cell<Option<Rank>>,
    outward: RefCell<Option<Arc<Delivery>>>,
    region: RefCell<Option<Rc<Region>>>,
    pub(crate) displaced: Displaced,
    /// The rank of the request because of which something is being dropped.
    dropping: Cell<Option<Rank>>,
    pub(crate) noted: Noted,
    deliveries_ever: Cell<u64>,
    places_ever: Cell<u32>,
    /// What the poll that is going on is for.
    looking: Cell<Looking>,
    /// Whether somebody around waits until nothing inside holds a request.
    is_watched: Cell<bool>,
    /// Whether the task, or a part of it, is polled once more at the same place
    /// of the queue.
    again: Cell<bool>,
    /// Whether the task stood in the queue when the first member was called, if
    /// one was.
    was_queued: Cell<Option<Queued>>,
}

/// What stands around the future that is being polled.
#[derive(Clone, Copy)]
pub(crate) struct Around {
    /// The earliest deadline that nobody has heard of yet, or never; those beyond
    /// a shield do not count.
    pub(crate) deadline: Instant,
    /// That of the nearest owner.
    pub(crate) rank: Rank,
    /// Whether there is a shield.
    pub(crate) shielded: bool,
    /// Whether a deadline or group, not beyond a shield, has asked something of
    /// which nobody has heard.
    pub(crate) asked: bool,
    /// Whether a place, not beyond a shield, waits with something that others have heard
    /// of, and takes it when nothing inside holds it any more.
    pub(crate) waits: bool,
    /// The name of the nearest place that may stop what goes outward; that of the task
    /// is one.
    pub(crate) stop: u32,
    /// The name of the nearest deadline that has asked something, or zero.
    pub(crate) asker: u32,
}

impl Around {
    /// Where an owner is polled that has this around it.
    fn spot(self) -> Spot {
        Spot { stop: self.stop, asker: self.asker, rank: self.rank.inside() }
    }
}

impl Default for Around {
    fn default() -> Around {
        let (deadline, rank) = (Instant::NEVER, Rank::TASK);
        let (shielded, asked, waits) = (false, false, false);
        Around { deadline, rank, shielded, asked, waits, stop: 1, asker: 0 }
    }
}

impl Asking {
    /// Its owner is going to be polled, with this around it.
    pub(crate) fn comes_to(&mut self, around: Around) {
        self.is_at(around.spot(), false);
    }

    /// The same, and another goes outward from inside.
    pub(crate) fn goes_outward_with_another(&mut self, around: Around) {
        self.counts_with_another(around.spot());
    }

    /// Its owner has been polled, with this around it, and has met this inside.
    pub(crate) fn is_polled_at(&mut self, around: Around, found: &Found) {
        let spot = around.spot();
        self.is_at(spot, found.heard.is_some_and(|heard| heard < spot.rank));
    }
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
    pub(crate) fn meet(&self, holds: Roles, is_member: bool) {
        if holds != Roles::NONE {
            self.meet_holders(holds);
        }
        if !is_member {
            self.meet_listener();
        }
    }

    /// Somebody is inside who holds this.
    pub(crate) fn meet_holders(&self, holds: Roles) {
        self.count(holds);
        if holds.waits() {
            self.signs.set(self.signs.get().and(Signs::WAITS));
        }
    }

    /// Somebody takes what is being carried.
    pub(crate) fn meet_taker(&self) {
        self.count(Roles::TOOK);
    }

    /// Somebody hears of a request of this rank.
    pub(crate) fn meet_hearer(&self, rank: Rank) {
        self.signs.set(self.signs.get().and(Signs::HEARD));
        if self.heard.get().is_none_or(|heard| rank < heard) {
            self.heard.set(Some(rank));
        }
    }

    /// Somebody has come while something is carried.
    pub(crate) fn meet_newcomer(&self) {
        self.count(Roles::NEWCOMER);
    }

    /// Somebody is chosen to hear of what is being carried.
    pub(crate) fn meet_chosen(&self) {
        self.count(Roles::CHOSEN);
    }

    fn count(&self, whom: Roles) {
        let mut roles = self.counted().unwrap_or_default();
        roles |= whom;
        self.roles.set(roles);
        self.signs.set(self.signs.get().and(Signs::COUNTED));
    }

    /// What has been counted here, if anything.
    #[inline]
    fn counted(&self) -> Option<Roles> {
        self.signs.get().has(Signs::COUNTED).then(|| self.roles.get())
    }

    /// What a plain poll of a task has met, which began with nothing.
    pub(crate) fn found(&self) -> (Found, Option<Rc<Region>>) {
        let found = Found {
            listens: self.signs.get().has(Signs::LISTENS),
            listens_directly: self.signs.get().has(Signs::LISTENS),
            roles: self.counted().unwrap_or_default(),
            heard: self.heard.get(),
            outward: self.outward.take(),
        };
        (found, self.region.take())
    }

    /// Sends a request outward from here.
    pub(crate) fn send_outward(&self, delivery: &Arc<Delivery>) {
        let mut outward = self.outward.borrow_mut();
        if outward.as_ref().is_none_or(|first| !first.is_sent() || counts_before(delivery, first)) {
            *outward = Some(delivery.clone());
        }
        drop(outward);
        self.count(Roles::OUTWARD);
        self.signs.set(self.signs.get().and(Signs::OUTWARD).and(Signs::OWES));
        self.noted.send_outward(delivery);
    }

    /// What was stopped on its way outward is not sent any more by anybody who is
    /// polled.
    pub(crate) fn leave_behind(&self, delivery: &Delivery) {
        self.noted.leave_behind(delivery);
        self.signs.set(self.signs.get().and(Signs::OWES));
    }

    /// Whether there is anything to be looked at after the poll of a task.
    #[inline]
    pub(crate) fn signs(&self) -> Signs {
        self.signs.get()
    }

    /// A name for a place, which no other has nearby. Neither zero, nor that of a task.
    #[inline]
    pub(crate) fn name_place(&self) -> u32 {
        let before = self.places_ever.get();
        let name = if before == u32::MAX { 2 } else { before.max(1) + 1 };
        self.places_ever.set(name);
        name
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
    pub(crate) fn carried_to(&self, seen: u32) -> Option<Arc<Delivery>> {
        let number = self.number.get();
        let is_told = number != 0 && number as u32 != seen && !self.acting.get();
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
        delivery.set_number(number);
        self.noted.deliver();
        self.signs.set(self.signs.get().and(Signs::OWES));
        self.carry(number, Some(delivery.clone()), || {
            let (polled, mut first) = poll();
            if polled.is_ready() || !first.roles.has(Roles::CHOSEN) {
                return (polled, first);
            }
            self.set_polls_again();
            self.acting.set(true);
            let (polled, found) = poll();
            // Whoever was chosen has heard.
            first.roles = first.roles.without(Roles::CHOSEN).and(Roles::TOOK);
            (polled, found.after(first))
        })
    }

    /// Polls something to which nothing that is carried gets through.
    pub(crate) fn keep_off<R>(&self, poll: impl FnOnce() -> R) -> R {
        let before = self.counted().unwrap_or_default();
        let polled = self.carry(0, None, poll);
        if let Some(roles) = self.counted() {
            // Who took what an inner owner asked has not taken what is kept off.
            self.roles.set(roles.with_takers_of(before));
        }
        polled
    }

    /// Carries this through what `poll` polls, or nothing. As yet nobody is to hear.
    #[inline]
    fn carry<R>(
        &self,
        number: u64,
        delivery: Option<Arc<Delivery>>,
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
        let _restore = Restore(self, number, around, self.acting.replace(false));
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

    /// A member of the running task is going to be called. Until that is paid for
    /// it has no effect that the task is woken.
    pub(crate) fn owe_a_poll(&self, queued: &Cell<Queued>) {
        self.signs.set(self.signs.get().and(Signs::OWES));
        if self.was_queued.get().is_none() {
            self.was_queued.set(Some(queued.replace(Queued::Aside)));
        }
    }

    /// Whether members have been called.
    pub(crate) fn owes_a_poll(&self) -> bool {
        self.was_queued.get().is_some()
    }

    /// Nothing is owed any more.
    pub(crate) fn has_paid(&self, queued: &Cell<Queued>) {
        self.was_queued.take().into_iter().for_each(|before| queued.set(before));
    }

    pub(crate) fn polls_again(&self) -> bool {
        self.again.get()
    }

    /// From here on, until the task's place in the queue is over.
    pub(crate) fn set_polls_again(&self) {
        self.signs.set(self.signs.get().and(Signs::OWES));
        self.again.set(true);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.is_watched.get()
    }

    /// Polls while somebody waits until nothing inside holds a request.
    #[inline]
    pub(crate) fn watch<R>(&self, poll: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Descent, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.is_watched.set(self.1);
            }
        }
        let _restore = Restore(self, self.is_watched.replace(true));
        poll()
    }

    pub(crate) fn looking(&self) -> Looking {
        self.looking.get()
    }

    /// Polls for this.
    #[inline]
    pub(crate) fn look<R>(&self, looking: Looking, poll: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Descent, Looking);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.looking.set(self.1);
            }
        }
        let _restore = Restore(self, self.looking.replace(looking));
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
        let counted = self.counted();
        let inside = if region.is_some() { Signs::REGION } else { Signs::NONE };
        let signs = self.signs.replace(inside);
        let has_region = signs.has(Signs::REGION) || region.is_some();
        Inner {
            waker: self.waker.replace(waker),
            region: if has_region { self.region.replace(region) } else { None },
            outward: if signs.has(Signs::OUTWARD) { self.outward.take() } else { None },
            signs,
            counted,
            heard: if signs.has(Signs::HEARD) { self.heard.take() } else { None },
            descent: self,
        }
    }

    /// Whether there is nothing to be put aside, and nothing carried.
    #[inline]
    pub(crate) fn is_entered_plainly(&self) -> bool {
        let aside = Signs::PUT_ASIDE.and(Signs::COUNTED);
        self.number.get() == 0 && !self.signs.get().has(aside)
    }

    /// As [`enter`](Descent::enter), for a place that has no region, if there is
    /// nothing to be put aside.
    #[inline]
    pub(crate) fn enter_plainly(&self, waker: &Waker, around: Around) -> Plain<'_> {
        debug_assert!(self.is_entered_plainly(), "it is asked for before");
        Plain {
            descent: self,
            signs: self.signs.replace(Signs::NONE),
            waker: self.waker.replace(WakerKey::of(Some(waker))),
            around: self.around.replace(around),
        }
    }

    /// The region of the nearest place around; made now, if there was none.
    pub(crate) fn region(&self) -> Rc<Region> {
        let region = self.region.borrow_mut().get_or_insert_default().clone();
        self.signs.set(self.signs.get().and(Signs::REGION));
        region
    }

    /// What is polled from here on is in a task that has this region.
    pub(crate) fn set_region(&self, region: Rc<Region>) {
        *self.region.borrow_mut() = Some(region);
        self.signs.set(Signs::REGION);
    }

    /// The poll of a task is over that has met nobody but listeners, and members of
    /// this region: takes it, unless they hold something else.
    pub(crate) fn take_region_if(&self, holders: impl Fn(Roles) -> bool) -> Option<Rc<Region>> {
        let region = self.region.borrow_mut().take_if(|region| holders(region.holders()))?;
        self.signs.set(Signs::NONE);
        Some(region)
    }

    /// The region of those in the running task whose place is no more; made now, if there
    /// was none.
    pub(crate) fn make_displaced(&self) -> Rc<Region> {
        self.signs.set(self.signs.get().and(Signs::OWES));
        self.displaced.make_region()
    }

    /// Whether some whose place is no more have to be called: all are told, or whoever is
    /// polled `waits` until nobody inside holds something.
    #[inline]
    pub(crate) fn asks_displaced(&self, waits: bool) -> bool {
        let is_watched = waits && self.is_watched();
        is_watched && self.displaced.hold() != Roles::NONE
            || self.is_choosing() && self.displaced.listen()
    }

    /// Whether this is the region of the nearest place around.
    pub(crate) fn is_region_around(&self, region: &Rc<Region>) -> bool {
        self.region.borrow().as_ref().is_some_and(|around| Rc::ptr_eq(around, region))
    }

    // ---- What is lost ------------------------------------------------------------------

    /// Drops something because of a request: of a more outer one that is in hand
    /// there, the owner is to know.
    #[inline]
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

    /// Whether something is being dropped because of a request that is not more
    /// inner than this, and counts for it.
    pub(crate) fn drops_inner(&self, rank: Rank) -> bool {
        self.dropping.get().is_some_and(|cause| cause <= rank)
    }

    /// What was asked by a delivery has had no effect: its owner is to look after
    /// it.
    pub(crate) fn is_lost(&self, delivery: &Arc<Delivery>) {
        self.comes_to_nothing(delivery);
        if delivery.rank() == Rank::TASK {
            self.noted.lose_of_task(delivery);
        }
    }

    /// What somebody has passed on has come to nothing: those waited for did not end by
    /// it. Unless others have heard of it, its owner is to look after it. Also if somebody
    /// sends it outward: that may be one who was left behind.
    pub(crate) fn comes_to_nothing(&self, delivery: &Delivery) {
        if !delivery.is_heard() {
            self.noted.lose(delivery);
            self.signs.set(self.signs.get().and(Signs::LOST));
        }
    }

    /// The poll of a task is over: nothing is left for the next. What is not a sign
    /// is there only if there is one that is not plain.
    #[inline]
    pub(crate) fn clear(&self) {
        if self.signs.get().is_plain() {
            self.signs.set(Signs::NONE);
        } else {
            self.clear_all();
        }
    }

    #[inline(never)]
    pub(crate) fn clear_all(&self) {
        self.signs.set(Signs::NONE);
        self.again.set(false);
        self.was_queued.set(None);
        self.heard.set(None);
        self.noted.clear();
        drop((self.outward.take(), self.region.take()));
    }
}

/// What was outside of a place, when there was nothing to be put aside.
pub(crate) struct Plain<'a> {
    descent: &'a Descent,
    signs: Signs,
    waker: WakerKey,
    around: Around,
}

impl<'a> Plain<'a> {
    /// Back outside. Answers what was met; or, if there is more to look at, the
    /// inside, to be left in the long way.
    #[inline]
    pub(crate) fn leave(self) -> Result<Found, Inner<'a>> {
        let this = std::mem::ManuallyDrop::new(self);
        let inside = this.descent.signs.get();
        if inside.is_plain() {
            let listens = inside.has(Signs::LISTENS);
            let roles = this.descent.counted().unwrap_or_default();
            this.restore();
            let (heard, outward) = (None, None);
            return Ok(Found { listens, listens_directly: listens, roles, heard, outward });
        }
        let Plain { descent, signs, waker, around } = *this;
        descent.around.set(around);
        let counted = None;
        Err(Inner { descent, signs, waker, region: None, outward: None, heard: None, counted })
    }

    #[inline]
    fn restore(&self) {
        let inside = self.descent.signs.get();
        self.descent.waker.set(self.waker);
        self.descent.around.set(self.around);
        self.descent.signs.set(self.signs.and(inside.only(Signs::STAYS)));
    }
}

/// A poll unwinds.
impl Drop for Plain<'_> {
    #[cold]
    fn drop(&mut self) {
        // What was heard has been heard all the same.
        if self.descent.signs.get().has(Signs::PUT_ASIDE) {
            drop((self.descent.region.take(), self.descent.outward.take()));
        }
        self.restore();
    }
}

/// What was outside, while the inside of a place is polled.
pub(crate) struct Inner<'a> {
    descent: &'a Descent,
    signs: Signs,
    waker: WakerKey,
    region: Option<Rc<Region>>,
    outward: Option<Arc<Delivery>>,
    heard: Option<Rank>,
    counted: Option<Roles>,
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
            roles: descent.counted().unwrap_or_default(),
            heard: if signs.has(Signs::HEARD) { descent.heard.get() } else { None },
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
        if let Some(before) = self.heard {
            let inside = descent.heard.get().unwrap_or(before);
            descent.heard.set(Some(before.min(inside)));
        }
        if let Some(mut before) = self.counted.filter(|_| inside.has(Signs::COUNTED)) {
            before |= descent.roles.get();
            descent.roles.set(before);
        }
        descent.signs.set(self.signs.and(inside.only(Signs::STAYS)));
    }
}
