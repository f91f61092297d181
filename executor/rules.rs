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
//! A [`Hold`] is what a place *between* the owner and the innermost remembers
//! from one poll of its inside to the next. [`Hold::settle`] says what becomes of
//! it when such a poll is over:
//!
//! | hold | carried, not taken inside | comes outward | neither |
//! | --- | --- | --- | --- |
//! | `Nothing` | held: → `Held`; else **takes it** | held: → `Outward`; else **takes it** | – |
//! | `Held` | held: stays, with the one that counts; else **takes it** | as from `Nothing` | held: stays; heard elsewhere: **takes it**; else → `Nothing` |
//! | `Outward` | as from `Nothing` | the same, with the one that counts | held: stays; given up: → `Nothing`; else **takes it** |
//! | `Chosen` | **takes it** | **takes it** | **takes it** |
//!
//! - *Not taken inside*: nobody inside takes it, and nobody has just come there,
//!   who might the next time. What was taken inside is not looked at; but a `Held`
//!   that nothing holds any more is then gone.
//! - *Held* is what was asked, unless it goes through shields, by each shield inside
//!   that has been told of something; and what has been passed on, by those inside
//!   who have passed on a request to the task and wait, or if it is none itself by
//!   all who have passed something on ([`Roles::holds`]). What goes outward is held
//!   by new shields too, and by all who have passed something on
//!   ([`Roles::holds_outward`]).
//! - *Given up*: nobody sends it any more, or nobody was met inside who sends
//!   anything. That counts for what comes outward too.
//! - *Heard elsewhere*: somebody has heard of it, but nobody inside while it was held, and
//!   its owner is not through. A `Held` whose owner is through is gone.
//! - What others have heard of while the place was not polled is forgotten before its next
//!   poll ([`Hold::forget`]), so that it is not *heard elsewhere* there.
//! - If there are several that it may take it takes the one that counts, and
//!   remembers nothing. If there are none it remembers what goes outward, and with
//!   it what was asked and is held, as a `Held` would. What it forgets unheard its
//!   owner asks again.
//! - `settle` answers no `Chosen`: the place makes one of what it may take while it
//!   is still being found out who is to hear.
//!
//! An [`Asking`] is what the *owner* of a request remembers of it.
//! [`Asking::settle`] says what it does when the poll of its inside is over:
//!
//! | asking | heard, moves | heard, does not move | unheard, moves | unheard, does not move |
//! | --- | --- | --- | --- | --- |
//! | `NotYet` delivered | – | rest: it is over | – | **ask** |
//! | `InVain`: nobody took or held it, nobody came | → `Resting` | → `Resting`: it is over | → `Resting` | → `Resting`, **act**: drop what is inside |
//! | `Resting` | rest | rest: it is over | rest | **ask again** |
//!
//! It *moves* while something inside holds it, or somebody sends it outward and
//! somebody was met inside who sends. What is not delivered yet does not move. A
//! delivery ([`Asking::delivered`]) makes it `InVain` or `Resting`. An `Asking` also
//! keeps what was `met` inside when it was settled last: a request that nobody has heard
//! counts as taken only if somebody had passed something on then, or let it go outward
//! ([`Asking::is_untaken`]).
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
use crate::request::{Answered, Delivery, PassedOn, Rank, Sent};
use crate::roles::Roles;
use std::sync::Arc;

/// Of two requests the one that counts: that of the outer owner. Of the same
/// owner it is the latest, since the owner knows of that one only.
pub(crate) fn outermost(one: Arc<Delivery>, other: Arc<Delivery>) -> Arc<Delivery> {
    if counts_before(&one, &other) { one } else { other }
}

/// Whether the first of two requests counts: see [`outermost`].
pub(crate) fn counts_before(one: &Delivery, other: &Delivery) -> bool {
    let latest_first = |delivery: &Delivery| std::cmp::Reverse(delivery.order);
    (one.rank(), latest_first(one)) < (other.rank(), latest_first(other))
}

/// What somebody waits with until nothing inside holds it any more.
#[derive(Clone)]
pub(crate) enum Watched {
    Asked(Arc<Delivery>),
    Outward(Arc<Delivery>),
}

impl Watched {
    pub(crate) fn is_held_by(&self, inside: Roles) -> bool {
        match self {
            Watched::Asked(delivery) => inside.holds(delivery),
            Watched::Outward(delivery) => inside.holds_outward(delivery),
        }
    }
}

// ---- A place in between ----------------------------------------------------------

/// What a place remembers of a request that it has not taken.
#[derive(Default)]
pub(crate) enum Hold {
    #[default]
    Nothing,
    /// Nobody inside has taken it, but something inside holds it.
    Held(Arc<Delivery>),
    /// It has come from inside, on its way outward, and stops here; and beside that,
    /// what is held.
    Outward(Arc<Delivery>, Option<Arc<Delivery>>),
    /// The same, and it is to be taken when it is known of all who are to hear.
    Chosen(Arc<Delivery>),
}

impl Hold {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Hold::Nothing)
    }

    /// Whether what goes outward has not been given up since.
    pub(crate) fn is_sent(&self) -> bool {
        match self {
            Hold::Nothing | Hold::Held(_) => false,
            Hold::Outward(delivery, _) => delivery.is_sent(),
            Hold::Chosen(_) => true,
        }
    }

    pub(crate) fn is_chosen(&self) -> bool {
        matches!(self, Hold::Chosen(_))
    }

    pub(crate) fn is_outward(&self) -> bool {
        matches!(self, Hold::Outward(..) | Hold::Chosen(_))
    }

    /// What it waits with, until nothing holds that.
    pub(crate) fn watched(&self) -> Option<Watched> {
        match self {
            Hold::Nothing => None,
            Hold::Held(delivery) => Some(Watched::Asked(delivery.clone())),
            Hold::Outward(delivery, _) | Hold::Chosen(delivery) => {
                Some(Watched::Outward(delivery.clone()))
            }
        }
    }

    /// The request that it remembers.
    pub(crate) fn request(&self) -> Option<&Arc<Delivery>> {
        match self {
            Hold::Nothing => None,
            Hold::Held(delivery) | Hold::Outward(delivery, _) | Hold::Chosen(delivery) => {
                Some(delivery)
            }
        }
    }

    /// Whether others have heard of what it holds.
    pub(crate) fn waits_with_what_others_heard(&self) -> bool {
        match self {
            Hold::Held(held) | Hold::Outward(_, Some(held)) => held.is_heard(),
            Hold::Nothing | Hold::Outward(_, None) | Hold::Chosen(_) => false,
        }
    }

    /// What others have heard of while the place was not polled is nothing to it any more.
    pub(crate) fn forget(&mut self, at: PolledAt) {
        let is_heard = |held: &Delivery| at.has_missed(held);
        match self {
            Hold::Held(held) if is_heard(held) => *self = Hold::Nothing,
            Hold::Outward(_, held) => {
                held.take_if(|held| is_heard(held));
            }
            Hold::Nothing | Hold::Held(_) | Hold::Chosen(_) => {}
        }
    }

    /// How many have heard of what it holds.
    pub(crate) fn hearings(&self) -> u32 {
        match self {
            Hold::Held(held) | Hold::Outward(_, Some(held)) => held.hearings(),
            Hold::Nothing | Hold::Outward(_, None) | Hold::Chosen(_) => 0,
        }
    }

    /// The poll of the inside is over, in which this was carried through the place,
    /// and that came outward from inside; so many had heard before of what it holds.
    /// Answers what the place takes now.
    #[must_use]
    pub(crate) fn settle(
        self,
        hearings: u32,
        carried: Option<Arc<Delivery>>,
        outward: Option<Arc<Delivery>>,
        inside: Roles,
    ) -> (Hold, Option<Arc<Delivery>>) {
        let was_carried = carried.is_some();
        let heard_inside = self.hearings() > hearings;
        // Where somebody has just come it is carried again, when he can be told.
        let carried = carried.filter(|_| !inside.takes() && !inside.has(Roles::NEWCOMER));
        // What nobody sends any more has been given up, or left behind.
        let sends = |sent: &Arc<Delivery>| inside.sends() && sent.is_sent();
        let outward = outward.filter(sends);
        let (before, first, chosen) = match self {
            Hold::Nothing => (None, None, None),
            Hold::Held(held) => (Some(held), None, None),
            Hold::Outward(first, held) => (held, Some(first), None),
            Hold::Chosen(first) => (None, None, Some(first)),
        };
        let sent = first_of([first.filter(sends), outward]);
        let (held, kept) = match before {
            Some(delivery) if delivery.is_over() || heard_inside => (None, None),
            Some(delivery) if inside.holds(&delivery) => (Some(delivery), None),
            Some(_) if was_carried => (None, None),
            other => (None, other.filter(|delivery| delivery.is_heard())),
        };
        let (held, offered) = match carried {
            Some(carried) if inside.holds(&carried) => (first_of([held, Some(carried)]), None),
            Some(carried) => (None, Some(carried)),
            None => (held, None),
        };
        let (waits, comes) = match sent {
            Some(sent) if inside.holds_outward(&sent) => (Some(sent), None),
            sent => (None, sent),
        };
        let takes = first_of([chosen, kept, offered, comes]);
        let hold = match (&takes, waits, held) {
            (Some(_), ..) | (None, None, None) => Hold::Nothing,
            (None, Some(waits), held) => Hold::Outward(waits, held),
            (None, None, Some(held)) => Hold::Held(held),
        };
        (hold, takes)
    }
}

/// Of several the one that counts: see [`outermost`].
fn first_of(all: impl IntoIterator<Item = Option<Arc<Delivery>>>) -> Option<Arc<Delivery>> {
    all.into_iter().flatten().reduce(outermost)
}

// ---- The owner ---------------------------------------------------------------------

/// What the owner of a request remembers of it, once it has been delivered.
pub(crate) struct Asking {
    pub(crate) delivery: Arc<Delivery>,
    asked: Asked,
    /// What was met inside when it was settled last.
    met: Roles,
    /// Where its owner was polled when it was counted with another.
    at: Option<Spot>,
}

/// Where an owner is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The name of the nearest place around that stops what goes outward.
    pub(crate) stop: u32,
    /// The name of the nearest deadline around that has asked something, or zero.
    pub(crate) asker: u32,
    pub(crate) rank: Rank,
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
        Asking { delivery, asked: Asked::NotYet, met: Roles::NONE, at: None }
    }

    /// It has been delivered, and came to nothing.
    pub(crate) fn again(delivery: Arc<Delivery>) -> Asking {
        Asking { delivery, asked: Asked::Resting, met: Roles::NONE, at: None }
    }

    /// It has been delivered. If nobody has taken it or holds it, and nobody has come
    /// who might take it the next time, there is nobody.
    pub(crate) fn delivered(&mut self, met: Roles) {
        let in_vain = !met.takes() && !met.has(Roles::NEWCOMER) && !met.holds(&self.delivery);
        self.asked = if in_vain { Asked::InVain } else { Asked::Resting };
    }

    /// Its owner has been polled here. If it was counted with another, and that was stopped
    /// outside of the owner, who is still there and polled elsewhere by now, nobody has
    /// answered.
    pub(crate) fn is_at(&mut self, spot: Spot, is_heard_inside: bool) {
        if !self.delivery.is_counted() {
            return;
        }
        if is_heard_inside {
            return self.delivery.set_counted_if(false);
        }
        if self.at.replace(spot).is_some_and(|before| before != spot) {
            self.delivery.uncount();
            (self.asked, self.at) = (Asked::Resting, None);
        }
    }

    /// Another from further out goes outward from inside. If this was answered, then with
    /// that.
    pub(crate) fn counts_with_another(&mut self, spot: Spot) {
        if !self.is_unheard() {
            self.delivery.set_counted_if(true);
            self.is_at(spot, false);
        }
    }

    /// The poll of the inside is over.
    pub(crate) fn settle(&mut self, inside: Roles) -> OwnerAnswer {
        let asked = self.asked;
        if asked == Asked::InVain {
            self.asked = Asked::Resting;
        }
        let held = asked != Asked::NotYet
            && (inside.holds(&self.delivery) || inside.sends() && self.delivery.is_sent());
        self.met = inside;
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

    /// Another from further out has been heard inside, which counts for this.
    pub(crate) fn set_answered(&self) {
        if self.is_unheard() {
            self.delivery.set_heard();
        }
    }

    /// Whether nobody has taken it: heard of it, or passed it on. While it is being
    /// delivered, whoever has passed it on is there.
    pub(crate) fn is_untaken(&self) -> bool {
        let moves = self.met.passes() || self.met.sends() || self.asked == Asked::NotYet;
        !(self.delivery.is_heard() || self.delivery.is_taken() && moves)
    }

    /// What was delivered, and nobody has taken.
    pub(crate) fn in_vain(&self) -> Option<Arc<Delivery>> {
        (self.asked == Asked::InVain).then(|| self.delivery.clone())
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
    Waiting(PassedOn, Vec<PassedOn>),
    /// They have ended because of it, or cannot be asked: it goes outward, to the place
    /// of this name, or first of all to none.
    Outward(Sent, u32),
}

/// Where somebody is polled who may have passed something on.
#[derive(Clone, Copy)]
pub(crate) struct PolledAt {
    pub(crate) task: Name,
    /// The name of the nearest place around that stops what goes outward.
    pub(crate) stop: u32,
    /// The number of the delivery by which it was told last.
    pub(crate) seen: u32,
    /// What has been answered in the task.
    pub(crate) answered: Answered,
}

impl PolledAt {
    /// Whether others have heard of this while it was not polled.
    fn has_missed(&self, delivery: &Delivery) -> bool {
        delivery.is_past(self.seen) || self.answered.is_past(delivery, self.seen)
    }
}

impl Forwarding {
    /// It is polled here: what its owner is through with, what others have heard of
    /// while this was not polled, what was stopped, and what was asked of another task,
    /// counts no more. Answers the other task, which is to look after what it has asked.
    #[must_use]
    #[inline]
    pub(crate) fn refresh(&mut self, at: PolledAt) -> Option<Name> {
        self.forget(at, |d| d.is_over() || at.has_missed(d))
    }

    /// The same where only those count no more for which this is so, beside what was
    /// stopped and what was asked of another task.
    #[must_use]
    #[inline]
    pub(crate) fn forget(
        &mut self,
        at: PolledAt,
        is_over: impl Fn(&Delivery) -> bool,
    ) -> Option<Name> {
        let PolledAt { task, stop, .. } = at;
        if let Forwarding::Outward(sent, to) = self
            && sent.is_stopped(std::mem::replace(to, stop), stop)
        {
            *self = Forwarding::Nothing;
            return None;
        }
        let is_stale = |d: &Delivery| is_over(d) || d.task != task;
        let stale = self.request().filter(|d| is_stale(d))?;
        let other = Some(stale.task).filter(|&other| other != task);
        if let Forwarding::Waiting(_, others) = std::mem::take(self) {
            for other in others.into_iter().filter(|other| !is_stale(other)) {
                self.pass_on(Arc::clone(&other));
            }
        }
        other
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Forwarding::Nothing)
    }

    pub(crate) fn request(&self) -> Option<&Arc<Delivery>> {
        match self {
            Forwarding::Nothing => None,
            Forwarding::Waiting(delivery, _) => Some(delivery),
            Forwarding::Outward(delivery, _) => Some(delivery),
        }
    }

    /// The same, and those that are answered with it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Delivery>> {
        let others = match self {
            Forwarding::Waiting(_, others) => &others[..],
            Forwarding::Nothing | Forwarding::Outward(..) => &[],
        };
        self.request().into_iter().chain(others.iter().map(|other| &**other))
    }

    /// It has passed this on.
    pub(crate) fn pass_on(&mut self, delivery: Arc<Delivery>) {
        let new = PassedOn::new(delivery);
        *self = match std::mem::take(self) {
            Forwarding::Waiting(before, others) if Arc::ptr_eq(&before, &new) => {
                Forwarding::Waiting(before, others)
            }
            Forwarding::Waiting(before, mut others) => {
                others.retain(|other| !Arc::ptr_eq(other, &new));
                let (counts, other) = match counts_before(&before, &new) {
                    true => (before, new),
                    false => (new, before),
                };
                others.push(other);
                Forwarding::Waiting(counts, others)
            }
            _ => Forwarding::Waiting(new, Vec::new()),
        };
    }

    /// All that was waited for is over: what was passed on goes outward.
    pub(crate) fn ends(&mut self) {
        *self = match std::mem::take(self) {
            Forwarding::Waiting(delivery, others) => {
                others.iter().for_each(|other| other.set_counted());
                Forwarding::Outward(Sent::new(Arc::clone(&delivery)), 0)
            }
            other => other,
        };
    }

    /// This cannot be passed on, and goes outward.
    pub(crate) fn go_outward(&mut self, delivery: Arc<Delivery>) {
        self.ends();
        let counts = match self.request().cloned() {
            Some(before) if Arc::ptr_eq(&before, &delivery) => delivery,
            Some(before) => {
                let (counts, other) = match counts_before(&before, &delivery) {
                    true => (before, delivery),
                    false => (delivery, before),
                };
                other.set_counted();
                counts
            }
            None => delivery,
        };
        *self = Forwarding::Outward(Sent::new(counts), 0);
    }
}

#[cfg(test)]
#[path = "../tests/unit/rules.rs"]
mod tests;
