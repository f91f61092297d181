//! A request to cancel, and its way through one task.
//!
//! A [`Request`] is plain data: who asks, why, and from where. It can be copied,
//! and is the same for every task that it is passed on to.
//!
//! A [`Delivery`] is that request on its way through *one* task. It is made when
//! there is somebody in the task who can be told; a task in which nobody listens
//! is dropped, and pays for no delivery. Its owner (the task, a deadline or a
//! group, whoever's request it is) asks it whether anybody has heard.
//!
//! What is decided with them stands in `rules.rs`, and not here.
//!
//! # Invariants
//!
//! - **One owner.** Only the owner of a delivery says that it is over.
//! - **Counted tokens.** `tokens` is the number of [`Cancelled`]s in somebody's
//!   hands that were made of the delivery.
//!
//! [`Cancelled`]: crate::Cancelled

use crate::id::Name;
use std::borrow::Cow;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Whose wish a cancellation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Somebody called `cancel`.
    Requested,
    /// A deadline passed.
    TimedOut,
    /// Another task of the same group, or the group itself, came to an end.
    Group,
    /// The executor is shut down, or was dropped.
    ShutDown,
    /// The program was interrupted.
    Interrupt,
}

/// One request to cancel.
#[derive(Clone)]
pub(crate) struct Request {
    /// Tells it from all others of its executor. What is passed on keeps it.
    pub(crate) id: u64,
    pub(crate) why: Why,
    /// Whether shields do not keep it off.
    pub(crate) through_shields: bool,
}

/// Why, by whose wish and from where.
#[derive(Clone)]
pub(crate) enum Why {
    /// `cancel` was called here, without a reason: nothing needs to be kept for it.
    Plain(&'static Location<'static>),
    Said(Arc<Said>),
}

pub(crate) struct Said {
    reason: Cow<'static, str>,
    origin: Origin,
    location: Option<&'static Location<'static>>,
}

impl Said {
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl Why {
    /// What somebody says who calls `cancel_with` here.
    pub(crate) fn said(reason: Cow<'static, str>, location: &'static Location<'static>) -> Why {
        Why::Said(Arc::new(Said { reason, origin: Origin::Requested, location: Some(location) }))
    }

    /// What the executor itself says, or a part of it.
    pub(crate) fn of(origin: Origin, reason: &'static str) -> Why {
        Why::Said(Arc::new(Said { reason: reason.into(), origin, location: None }))
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Why::Plain(_) => "requested",
            Why::Said(said) => &said.reason,
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Why::Plain(_) => Origin::Requested,
            Why::Said(said) => said.origin,
        }
    }

    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        match self {
            Why::Plain(location) => Some(location),
            Why::Said(said) => said.location,
        }
    }
}

/// A request on its way through a task.
///
/// Tokens of it may be anywhere, on other threads too, so what is counted in it
/// is atomic; all the rest of it happens on the executor's own thread.
pub(crate) struct Delivery {
    pub(crate) request: Request,
    /// The task through which it goes.
    pub(crate) task: Name,
    rank: AtomicU32,
    /// Tells which of two is the later.
    pub(crate) order: u64,
    /// The number of its latest delivery, or what fits of it; or zero.
    number: AtomicU32,
    tokens: AtomicU32,
    /// So many have heard of it, and have not lost that again.
    heard: AtomicU32,
    /// So many have passed it on, and wait with it.
    passed_on: AtomicU32,
    /// So many send it outward.
    sent: AtomicU32,
    /// The names of the two places that have stopped it last on its way outward.
    stops: AtomicU64,
    over: AtomicBool,
    /// Whether one of those who have heard has only sent it outward with another.
    counted: AtomicBool,
    ownerless: AtomicBool,
}

/// How far out the owner of a delivery stands: requests to the task have the
/// outermost, then come deadlines and groups, from the outside in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Rank(u32);

impl Rank {
    /// That of the task itself.
    pub(crate) const TASK: Rank = Rank(0);

    /// That of an owner directly inside one of this rank.
    #[inline]
    pub(crate) fn inside(self) -> Rank {
        Rank(self.0.wrapping_add(1))
    }
}

/// Of a task: the latest of its requests that somebody has heard of. Whoever hears of one
/// has heard of those before it too.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) order: u64,
    /// The number of the delivery in which that was.
    number: u32,
}

impl Answered {
    /// Whether of two deliveries the first was later.
    fn is_later(number: u32, seen: u32) -> bool {
        (seen.wrapping_sub(number) as i32) < 0
    }

    /// Whether it is the later one of two.
    pub(crate) fn max(self, other: Answered) -> Answered {
        if self.order < other.order { other } else { self }
    }

    /// Whether this was answered with it, and whoever was told last by the delivery
    /// `seen` was not there.
    pub(crate) fn is_past(self, before: &Delivery, seen: u32) -> bool {
        let counts = before.rank() == Rank::TASK && before.order < self.order;
        counts && Answered::is_later(self.number, seen)
    }
}

impl Delivery {
    pub(crate) fn new(request: Request, task: Name, rank: Rank, order: u64) -> Arc<Delivery> {
        Arc::new(Delivery {
            request,
            task,
            rank: AtomicU32::new(rank.0),
            order,
            number: AtomicU32::new(0),
            tokens: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            passed_on: AtomicU32::new(0),
            sent: AtomicU32::new(0),
            stops: AtomicU64::new(0),
            over: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            ownerless: AtomicBool::new(false),
        })
    }

    /// How far out its owner stands.
    #[inline]
    pub(crate) fn rank(&self) -> Rank {
        Rank(self.rank.load(Relaxed))
    }

    /// Its owner stands there by now: it may have been polled by reference elsewhere before.
    pub(crate) fn set_rank(&self, rank: Rank) {
        self.rank.store(rank.0, Relaxed);
    }

    /// It is delivered, for the first time or again.
    pub(crate) fn set_number(&self, number: u64) {
        self.number.store(number as u32, Relaxed);
    }

    /// Whether others have heard of it when it was delivered last, and whoever was told
    /// last by the delivery `seen` was not there.
    pub(crate) fn is_past(&self, seen: u32) -> bool {
        self.is_heard() && Answered::is_later(self.number.load(Relaxed), seen)
    }

    /// What it answers when somebody hears of it: all that was asked of the task before.
    /// Nothing, if it only stands for a token, since nobody has asked that.
    pub(crate) fn answers(&self) -> Option<Answered> {
        let number = self.number.load(Relaxed);
        let is_asked = self.rank() == Rank::TASK && number != 0;
        is_asked.then_some(Answered { order: self.order, number })
    }

    /// How many in the task have heard of it, or taken it: grows, as long as it is in hand.
    #[inline]
    pub(crate) fn hearings(&self) -> u32 {
        self.heard.load(Relaxed)
    }

    /// Whether somebody in the task has heard of it.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Relaxed) > 0
    }

    #[inline]
    pub(crate) fn set_heard(&self) {
        self.heard.fetch_add(1, Relaxed);
    }

    /// Whoever has passed it on sends another outward, which counts more: it is answered
    /// with that.
    pub(crate) fn set_counted(&self) {
        self.counted.store(true, Relaxed);
        if !self.is_heard() {
            self.set_heard();
        }
    }

    /// Whether that is so.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.load(Relaxed)
    }

    /// The same, of one that has been heard already.
    pub(crate) fn set_counted_if(&self, is_counted: bool) {
        self.counted.store(is_counted, Relaxed);
    }

    /// Its owner was not dropped with those who sent the other.
    pub(crate) fn uncount(&self) {
        self.counted.store(false, Relaxed);
        self.unhear();
    }

    /// One who has heard of it has lost that again, or sends it on outward. If
    /// nobody else has heard, the owner is to look after it.
    pub(crate) fn unhear(&self) {
        let heard = self.heard.load(Relaxed);
        self.heard.store(heard.saturating_sub(1), Relaxed);
        if heard <= 1 {
            self.over.store(false, Relaxed);
        }
    }

    /// Whether somebody sends it outward.
    #[inline]
    pub(crate) fn is_sent(&self) -> bool {
        self.sent.load(Relaxed) > 0
    }

    /// The place of this name has stopped it: it goes no further from those who send it in
    /// there.
    pub(crate) fn stop(&self, place: u32) {
        let before = self.stops.load(Relaxed);
        self.stops.store(before << 32 | u64::from(place), Relaxed);
    }

    fn was_stopped_by(&self, place: u32) -> bool {
        let stops = self.stops.load(Relaxed);
        [stops as u32, (stops >> 32) as u32].contains(&place)
    }

    /// Its owner is gone, and nobody stops it any more.
    pub(crate) fn set_ownerless(&self) {
        self.ownerless.store(true, Relaxed);
    }

    pub(crate) fn is_ownerless(&self) -> bool {
        self.ownerless.load(Relaxed)
    }

    /// Whether somebody has passed it on, and waits.
    #[inline]
    pub(crate) fn is_passed_on(&self) -> bool {
        self.passed_on.load(Relaxed) > 0
    }

    /// Whether somebody has taken it: heard of it, passed it on, or sends it outward.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.is_heard() || self.is_sent() || self.is_passed_on()
    }

    /// Whether its owner is through with it, or gone.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed) || self.is_ownerless()
    }

    #[inline]
    pub(crate) fn set_over(&self) {
        self.over.store(true, Relaxed);
    }

    /// Whether somebody holds a token of it.
    #[inline]
    pub(crate) fn is_in_hand(&self) -> bool {
        self.tokens.load(Relaxed) > 0
    }

    #[inline]
    pub(crate) fn count_token(&self) {
        self.tokens.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(crate) fn uncount_token(&self) {
        self.tokens.fetch_sub(1, Relaxed);
    }
}

/// A delivery, for as long as somebody has passed it on, and waits with it.
pub(crate) type PassedOn = Counted<false>;

/// A delivery, for as long as somebody sends it outward.
pub(crate) type Sent = Counted<true>;

/// A delivery that is counted in one of its two counts for as long as this lives.
pub(crate) struct Counted<const OUTWARD: bool> {
    delivery: Arc<Delivery>,
}

impl Sent {
    /// Whether it goes no further from here, which is inside of the stop of this name,
    /// and was inside of that one before: who polled it there has stopped it, and dropped
    /// what polled it for him. Or it is not for anybody any more.
    pub(crate) fn is_stopped(&self, before: u32, stop: u32) -> bool {
        let is_elsewhere = before != 0 && before != stop;
        let is_over = self.was_stopped_by(before) || self.is_heard();
        is_elsewhere && is_over || self.is_ownerless()
    }
}

impl<const OUTWARD: bool> Counted<OUTWARD> {
    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        let counted = Counted { delivery };
        counted.count().fetch_add(1, Relaxed);
        counted
    }

    #[inline]
    fn count(&self) -> &AtomicU32 {
        if OUTWARD { &self.delivery.sent } else { &self.delivery.passed_on }
    }
}

impl<const OUTWARD: bool> Deref for Counted<OUTWARD> {
    type Target = Arc<Delivery>;

    #[inline]
    fn deref(&self) -> &Arc<Delivery> {
        &self.delivery
    }
}

impl<const OUTWARD: bool> Drop for Counted<OUTWARD> {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Relaxed);
    }
}
