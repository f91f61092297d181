//! What part those have in the way of a request who were met inside of a place.
//!
//! A poll meets many, and nobody asks how many: only whether anybody was there who
//! takes, holds, or sends. So what it has met is a set of [`Roles`]. A region, whose
//! members come and go between polls, counts them ([`Counts`]).

use crate::request::{Delivery, Rank};
use std::cell::Cell;
use std::ops::BitOrAssign;

/// The parts that somebody has, or several together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Roles(u16);

impl Roles {
    pub(crate) const NONE: Roles = Roles(0);
    /// Has taken what was carried: heard of it, or passed it on.
    pub(crate) const TOOK: Roles = Roles(1);
    /// Was chosen to hear of it.
    pub(crate) const CHOSEN: Roles = Roles(1 << 1);
    /// Has come while it was carried, and might hear of it the next time.
    pub(crate) const NEWCOMER: Roles = Roles(1 << 2);
    /// A shield that goes on, and has been told of something.
    pub(crate) const SHIELD: Roles = Roles(1 << 3);
    /// A shield that goes on, and came when all that was asked had been delivered: it
    /// holds only what goes outward.
    pub(crate) const NEW_SHIELD: Roles = Roles(1 << 4);
    /// A shield that goes on, has been told of something, and lets something go outward
    /// from inside of it: it holds only what was asked.
    pub(crate) const OPEN_SHIELD: Roles = Roles(1 << 9);
    /// A deadline or group that lets a deadline further out go first, and waits for that.
    pub(crate) const LATE: Roles = Roles(1 << 10);
    /// Those that have to look when what is around them has ended or changed.
    pub(crate) const LOOKS: Roles = Roles::CHOSEN.and(Roles::OUTWARD).and(Roles::LATE);
    /// Lets something go outward, or stops it and waits.
    pub(crate) const OUTWARD: Roles = Roles(1 << 5);
    /// Has passed on a request to the task, and waits.
    pub(crate) const FORWARDS: Roles = Roles(1 << 6);
    /// Has passed on only what a deadline or a group asked.
    pub(crate) const INNER_FORWARDS: Roles = Roles(1 << 7);
    /// A group or the like that has cancelled its tasks itself, and waits.
    pub(crate) const ABORTS: Roles = Roles(1 << 8);

    /// How many there are.
    const COUNT: usize = 11;
    const SHIELDS: Roles = Roles::SHIELD.and(Roles::NEW_SHIELD);
    const TOLD_SHIELDS: Roles = Roles::SHIELD.and(Roles::OPEN_SHIELD);
    const PASSES: Roles = Roles::FORWARDS.and(Roles::INNER_FORWARDS);
    const TAKES: Roles = Roles::TOOK.and(Roles::CHOSEN);
    /// What is of one delivery, and nothing that somebody holds.
    pub(crate) const TAKERS: Roles = Roles::TAKES.and(Roles::NEWCOMER);

    /// Somebody waits who has passed on a request of this rank.
    pub(crate) fn forward(rank: Rank) -> Roles {
        if rank == Rank::TASK { Roles::FORWARDS } else { Roles::INNER_FORWARDS }
    }

    /// All of both.
    #[inline]
    pub(crate) const fn and(self, others: Roles) -> Roles {
        Roles(self.0 | others.0)
    }

    #[inline]
    pub(crate) const fn only(self, these: Roles) -> Roles {
        Roles(self.0 & these.0)
    }

    #[inline]
    pub(crate) const fn without(self, these: Roles) -> Roles {
        Roles(self.0 & !these.0)
    }

    /// Whether it has any of these.
    #[inline]
    pub(crate) const fn has(self, these: Roles) -> bool {
        self.0 & these.0 != 0
    }

    /// Whether somebody takes what is carried, or was chosen to.
    #[inline]
    pub(crate) fn takes(self) -> bool {
        self.has(Roles::TAKES)
    }

    /// Whether something met here holds this.
    pub(crate) fn holds(self, delivery: &Delivery) -> bool {
        let passes = match delivery.rank() == Rank::TASK {
            true => Roles::FORWARDS,
            false => Roles::PASSES,
        };
        self.has(Roles::TOLD_SHIELDS) && !delivery.request.through_shields
            || self.has(passes) && delivery.is_passed_on()
    }

    /// Whether what goes outward from here has to wait: for all shields, and for all
    /// who have passed something on.
    pub(crate) fn holds_outward(self, delivery: &Delivery) -> bool {
        self.has(Roles::SHIELDS) && !delivery.request.through_shields || self.passes()
    }

    /// Whether somebody here has passed something on, and waits.
    pub(crate) fn passes(self) -> bool {
        self.has(Roles::PASSES)
    }

    /// Whether somebody here waits for tasks that he has asked to cancel.
    #[inline]
    pub(crate) fn waits(self) -> bool {
        self.has(Roles::PASSES.and(Roles::ABORTS))
    }

    /// Whether something here holds anything.
    pub(crate) fn holds_any(self) -> bool {
        self.has(Roles::SHIELDS.and(Roles::PASSES))
    }

    /// Whether somebody here lets something go outward.
    #[inline]
    pub(crate) fn sends(self) -> bool {
        self.has(Roles::OUTWARD)
    }

    /// The same, but for those who took or will take something.
    pub(crate) fn with_takers_of(self, before: Roles) -> Roles {
        self.without(Roles::TAKERS).and(before.only(Roles::TAKERS))
    }

    /// Each by itself, with its place among all.
    #[inline]
    fn for_each(self, mut visit: impl FnMut(usize, Roles)) {
        let mut left = self.0;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            visit(at, Roles(1 << at));
            left &= left - 1;
        }
    }

    /// What a member is remembered by until it is polled again.
    pub(crate) fn remembered(self) -> Roles {
        self.without(Roles::TOOK.and(Roles::NEWCOMER))
    }
}

impl BitOrAssign for Roles {
    #[inline]
    fn bitor_assign(&mut self, others: Roles) {
        *self = self.and(others);
    }
}

/// How many have each role.
#[derive(Default)]
pub(crate) struct Counts {
    counts: [Cell<u32>; Roles::COUNT],
    /// Those that anybody has.
    roles: Cell<Roles>,
}

impl Counts {
    pub(crate) fn roles(&self) -> Roles {
        self.roles.get()
    }

    /// Those of others are counted too.
    pub(crate) fn add(&self, others: &Counts) {
        for (count, others) in self.counts.iter().zip(&others.counts) {
            count.set(count.get() + others.get());
        }
        self.roles.set(self.roles().and(others.roles()));
    }

    /// Somebody has these now, and had those before.
    #[inline]
    pub(crate) fn change(&self, before: Roles, now: Roles) {
        before.without(now).for_each(|at, role| {
            let count = &self.counts[at];
            count.set(count.get() - 1);
            if count.get() == 0 {
                self.roles.set(self.roles.get().without(role));
            }
        });
        now.without(before).for_each(|at, role| {
            let count = &self.counts[at];
            count.set(count.get() + 1);
            self.roles.set(self.roles.get().and(role));
        });
    }
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; Roles::COUNT] = [
            "took",
            "chosen",
            "newcomer",
            "shield",
            "new shield",
            "outward",
            "forwards",
            "inner forwards",
            "aborts",
            "open shield",
            "late",
        ];
        let mut set = f.debug_set();
        self.for_each(|at, _| {
            set.entry(&NAMES[at]);
        });
        set.finish()
    }
}
