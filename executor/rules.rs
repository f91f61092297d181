//! The rules of cancellation: who takes a request, who waits, who acts.
//!
//! In Python a cancellation is an exception, thrown at the innermost `await`,
//! and every `except` and `finally` on its way out may await. In Rust nothing
//! can be thrown at a suspended future, but the poll of a task goes the same
//! way: down through everything that is being awaited, and back up. So a request
//! is *carried* down by the poll, and the innermost place that listens takes it.
//! What has to go *outward* is left behind when a poll returns, and the next
//! place up the stack that stops it finds it there, as an exception would be
//! found.
//!
//! ```text
//!      the task is polled                     what its polls return
//!              │ carried                               ▲ outward
//!   ┌──────────▼──────────┐                 ┌──────────┴──────────┐
//!   │ timeout: lets it by │                 │ timeout: not its own│
//!   │  ┌───────▼───────┐  │                 │  ┌───────┴───────┐  │
//!   │  │ scope: asks   │  │                 │  │ scope: stops  │  │
//!   │  │ inside first  │  │                 │  │ it, and hears │  │
//!   │  │  ┌────▼─────┐ │  │                 │  │  ┌────┴─────┐ │  │
//!   │  │  │ await:   │ │  │                 │  │  │ await:   │ │  │
//!   │  │  │ takes it │ │  │                 │  │  │ has ended│ │  │
//! ```
//!
//! Nothing is done here, and no future is known. Two small machines decide and
//! answer; the places of `place.rs` and the tasks of `cancelling.rs` act.
//!
//! A [`Hold`] is what a place *between* the owner and the innermost remembers:
//!
//! | hold | delivered, taken inside | delivered, not taken inside | comes outward | settled, held inside | settled, not held |
//! | --- | --- | --- | --- | --- | --- |
//! | `Nothing` | – | → `Offered` | → `Outward` | – | – |
//! | `Offered` | → `Nothing` | stays | → `Outward` | → `Held` | **takes it** |
//! | `Held` | → `Nothing` | → `Offered` | → `Outward` | – | heard elsewhere: **takes it**; else → `Nothing`, its owner asks again |
//! | `Outward` | – | the outermost, of one owner the latest | the same | – | **takes it** |
//!
//! An [`Asking`] is what the *owner* of a request remembers of it:
//!
//! | asking | settled: heard | unheard, held inside | unheard, not held |
//! | --- | --- | --- | --- |
//! | not asked yet | rest | **ask** | **ask** |
//! | asked in vain: nobody has taken it | | rest | **act**: drop what is inside |
//! | resting | rest | rest | **ask again** |
//!
//! *Held inside* is a request by shields, and by those who have passed it on and
//! wait. See [`Tally`].
//!
//! # Invariants
//!
//! - **Innermost.** A place is offered a request only when nobody inside it has
//!   taken it.
//! - **Waits outward.** What goes outward is taken when nothing inside the place
//!   that stops it holds it any more.
//! - **Never dropped.** A request that nobody has heard and nothing holds is asked
//!   again by its owner, until it is heard or the owner acts.

use crate::id::Name;
use crate::request::{Delivery, Rank};
use std::ops::{AddAssign, Sub};
use std::sync::Arc;

/// What was met inside of a place during a poll.
///
/// The numbers of a whole poll only grow, so what is inside of a place is the
/// difference between after and before.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    /// Those that took what was carried: heard of it, or passed it on.
    pub(crate) took: u32,
    /// Places that heard of a request to the task, carried or not.
    pub(crate) heard: u32,
    /// Places that were chosen to hear of it.
    pub(crate) chosen: u32,
    /// Those who came while it was carried, and might hear of it the next time.
    pub(crate) newcomers: u32,
    /// Shields that go on.
    pub(crate) shields: u32,
    /// Those that have passed on a request to the task, and wait.
    pub(crate) forwards: u32,
    /// Those that have passed on only what a deadline or a group asked.
    pub(crate) inner_forwards: u32,
}

impl Tally {
    pub(crate) const NONE: Tally = Tally {
        took: 0,
        heard: 0,
        chosen: 0,
        newcomers: 0,
        shields: 0,
        forwards: 0,
        inner_forwards: 0,
    };
    pub(crate) const TOOK: Tally = Tally { took: 1, ..Tally::NONE };
    pub(crate) const HEARD: Tally = Tally { heard: 1, ..Tally::NONE };
    pub(crate) const CHOSEN: Tally = Tally { chosen: 1, ..Tally::NONE };
    pub(crate) const NEWCOMER: Tally = Tally { newcomers: 1, ..Tally::NONE };
    pub(crate) const SHIELD: Tally = Tally { shields: 1, ..Tally::NONE };

    /// Somebody waits who has passed on a request of this rank.
    pub(crate) fn forward(rank: Rank) -> Tally {
        match rank == Rank::TASK {
            true => Tally { forwards: 1, ..Tally::NONE },
            false => Tally { inner_forwards: 1, ..Tally::NONE },
        }
    }

    /// Whether somebody takes what is carried, or was chosen to.
    pub(crate) fn takes(&self) -> bool {
        self.took > 0 || self.chosen > 0
    }

    /// Whether something met here holds this.
    pub(crate) fn holds(&self, delivery: &Delivery) -> bool {
        self.shields > 0 && !delivery.request.through_shields
            || self.forwards > 0
            || self.inner_forwards > 0 && delivery.rank != Rank::TASK
    }

    /// Whether somebody here has passed something on, and waits.
    pub(crate) fn waits(&self) -> bool {
        self.forwards > 0 || self.inner_forwards > 0
    }

    /// Whether something here holds anything.
    pub(crate) fn holds_any(&self) -> bool {
        self.shields > 0 || self.waits()
    }

    /// What a member is remembered by until it is polled again.
    pub(crate) fn remembered(self) -> Tally {
        Tally { took: 0, heard: 0, newcomers: 0, ..self }
    }

    /// Only who holds.
    pub(crate) fn holders(self) -> Tally {
        Tally { took: 0, heard: 0, chosen: 0, newcomers: 0, ..self }
    }
}

impl Sub for Tally {
    type Output = Tally;

    fn sub(self, before: Tally) -> Tally {
        Tally {
            took: self.took - before.took,
            heard: self.heard - before.heard,
            chosen: self.chosen - before.chosen,
            newcomers: self.newcomers - before.newcomers,
            shields: self.shields - before.shields,
            forwards: self.forwards - before.forwards,
            inner_forwards: self.inner_forwards - before.inner_forwards,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.took += more.took;
        self.heard += more.heard;
        self.chosen += more.chosen;
        self.newcomers += more.newcomers;
        self.shields += more.shields;
        self.forwards += more.forwards;
        self.inner_forwards += more.inner_forwards;
    }
}

/// Of two requests the one that counts: that of the outer owner. Of the same
/// owner it is the latest, since the owner knows of that one only.
pub(crate) fn outermost(one: Arc<Delivery>, other: Arc<Delivery>) -> Arc<Delivery> {
    if counts_before(&one, &other) { one } else { other }
}

/// Whether the first of two requests counts: see [`outermost`].
pub(crate) fn counts_before(one: &Delivery, other: &Delivery) -> bool {
    let latest_first = |delivery: &Delivery| std::cmp::Reverse(delivery.request.id);
    (one.rank, latest_first(one)) < (other.rank, latest_first(other))
}

// ---- A place in between ----------------------------------------------------------

/// What a place remembers of a request that it has not taken.
#[derive(Default)]
pub(crate) enum Hold {
    #[default]
    Nothing,
    /// It was delivered, and nobody inside has taken it.
    Offered(Arc<Delivery>),
    /// Nobody inside has taken it, but something inside holds it.
    Held(Arc<Delivery>),
    /// It has come from inside, on its way outward, and stops here.
    Outward(Arc<Delivery>),
}

impl Hold {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Hold::Nothing)
    }

    pub(crate) fn is_outward(&self) -> bool {
        matches!(self, Hold::Outward(_))
    }

    /// Of what it waits for the holders, if it does.
    pub(crate) fn waits_for(&self) -> Option<&Arc<Delivery>> {
        match self {
            Hold::Nothing => None,
            Hold::Offered(delivery) | Hold::Held(delivery) | Hold::Outward(delivery) => {
                Some(delivery)
            }
        }
    }

    /// A delivery has gone through the inside.
    pub(crate) fn delivered(self, delivery: Arc<Delivery>, taken_inside: bool) -> Hold {
        match (self, taken_inside) {
            (Hold::Outward(own), true) => Hold::Outward(own),
            (Hold::Outward(own), false) => Hold::Outward(outermost(own, delivery)),
            (_, true) => Hold::Nothing,
            (Hold::Nothing, false) => Hold::Offered(delivery),
            (Hold::Offered(before) | Hold::Held(before), false) => {
                Hold::Offered(outermost(before, delivery))
            }
        }
    }

    /// Something comes outward from the inside.
    pub(crate) fn comes_outward(self, delivery: Arc<Delivery>) -> Hold {
        match self {
            Hold::Outward(first) => Hold::Outward(outermost(first, delivery)),
            _ => Hold::Outward(delivery),
        }
    }

    /// The poll of the inside is over. Answers what the place takes now.
    #[must_use]
    pub(crate) fn settle(self, holds: impl Fn(&Delivery) -> bool) -> (Hold, Option<Arc<Delivery>>) {
        match self {
            Hold::Nothing => (Hold::Nothing, None),
            Hold::Offered(delivery) if holds(&delivery) => (Hold::Held(delivery), None),
            Hold::Outward(delivery) if holds(&delivery) => (Hold::Outward(delivery), None),
            Hold::Offered(delivery) | Hold::Outward(delivery) => (Hold::Nothing, Some(delivery)),
            // Whoever owned it is through with it, or has taken it back.
            Hold::Held(delivery) if delivery.is_over() => (Hold::Nothing, None),
            Hold::Held(delivery) if holds(&delivery) => (Hold::Held(delivery), None),
            Hold::Held(delivery) if delivery.is_heard() => (Hold::Nothing, Some(delivery)),
            Hold::Held(_) => (Hold::Nothing, None),
        }
    }
}

// ---- The owner ---------------------------------------------------------------------

/// What the owner of a request remembers of it, once it has been delivered.
pub(crate) struct Asking {
    pub(crate) delivery: Arc<Delivery>,
    asked: Asked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    /// Nobody has taken it, and it was not settled since.
    InVain,
    Resting,
}

/// What the owner of a request is to do.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerAnswer {
    /// Nothing now.
    Rest,
    /// Deliver it again.
    AskAgain,
    /// Nobody can take it: drop what is inside.
    Act,
}

impl Asking {
    /// It is to be delivered.
    pub(crate) fn new(delivery: Arc<Delivery>) -> Asking {
        Asking { delivery, asked: Asked::NotYet }
    }

    /// It has been delivered. If nobody has taken it, and nobody has come who might
    /// the next time, there is nobody.
    pub(crate) fn delivered(&mut self, met: &Tally) {
        let in_vain = !met.takes() && met.newcomers == 0;
        self.asked = if in_vain { Asked::InVain } else { Asked::Resting };
    }

    /// The poll of the inside is over.
    pub(crate) fn settle(&mut self, holds: impl FnOnce(&Delivery) -> bool) -> OwnerAnswer {
        let asked = self.asked;
        if asked == Asked::InVain {
            self.asked = Asked::Resting;
        }
        let held = asked != Asked::NotYet && holds(&self.delivery);
        match (self.delivery.is_heard(), held, asked) {
            (true, false, _) => {
                self.delivery.set_over();
                OwnerAnswer::Rest
            }
            (_, true, _) => OwnerAnswer::Rest,
            (false, false, Asked::InVain) => OwnerAnswer::Act,
            (false, false, Asked::NotYet | Asked::Resting) => OwnerAnswer::AskAgain,
        }
    }

    /// Whether nobody has heard of it yet: then the task has not answered.
    pub(crate) fn is_unheard(&self) -> bool {
        !self.delivery.is_heard()
    }
}

// ---- Those who pass a request on -----------------------------------------------------

/// What becomes of a request at an await: of one task, of many, of a group's.
#[derive(Default)]
pub(crate) enum Forwarding {
    /// Nothing was asked of it.
    #[default]
    Nothing,
    /// It has asked those it waits for, on behalf of this request; and of
    /// others, which are answered with it.
    Waiting(Arc<Delivery>, Vec<Arc<Delivery>>),
    /// They have ended because of it, or cannot be asked: it goes outward.
    Outward(Arc<Delivery>),
}

impl Forwarding {
    /// What stands here for the task that is being polled: what its owner is
    /// through with, and what was asked of another task, counts no more.
    /// Answers the other task, which is to look after what it has asked.
    #[must_use]
    pub(crate) fn refresh(&mut self, task: Name) -> Option<Name> {
        let stale = self.request().filter(|d| d.is_over() || d.task != task)?;
        let other = Some(stale.task).filter(|&other| other != task);
        *self = Forwarding::Nothing;
        other
    }

    pub(crate) fn request(&self) -> Option<&Arc<Delivery>> {
        match self {
            Forwarding::Nothing => None,
            Forwarding::Waiting(delivery, _) | Forwarding::Outward(delivery) => Some(delivery),
        }
    }

    /// It has passed this on.
    pub(crate) fn pass_on(&mut self, delivery: Arc<Delivery>) {
        delivery.set_passed_on();
        *self = match std::mem::take(self) {
            Forwarding::Waiting(before, others) if Arc::ptr_eq(&before, &delivery) => {
                Forwarding::Waiting(before, others)
            }
            Forwarding::Waiting(before, mut others) => {
                others.extend([before.clone(), delivery.clone()]);
                let counts = outermost(before, delivery);
                others.retain(|other| !Arc::ptr_eq(other, &counts));
                Forwarding::Waiting(counts, others)
            }
            _ => Forwarding::Waiting(delivery, Vec::new()),
        };
    }

    /// All that was waited for is over: what was passed on goes outward.
    pub(crate) fn ends(&mut self) {
        if let Forwarding::Waiting(delivery, others) = self {
            others.iter().for_each(|other| other.set_heard());
            *self = Forwarding::Outward(delivery.clone());
        }
    }

    /// This cannot be passed on, and goes outward.
    pub(crate) fn go_outward(&mut self, delivery: Arc<Delivery>) {
        self.ends();
        *self = Forwarding::Outward(match std::mem::take(self) {
            Forwarding::Outward(before) => outermost(before, delivery),
            _ => delivery,
        });
    }
}
