//! The timer wheel: who is to be woken when.
//!
//! Varghese and Lauck, *Hashed and hierarchical timing wheels*, SOSP 1987,
//! scheme 7. Eight levels of 64 slots; a slot of the lowest level is 2¹⁶ ns
//! (66 µs) wide, one of the next 64 times that, and so on until all of time is
//! covered. A timer goes to the lowest level on which its slot differs from the
//! present one, so the levels are a number written in base 64, and a timer
//! stands where its deadline first differs from now.
//!
//! When the wheel reaches a slot of a higher level it hands its timers down,
//! at most seven times in a timer's life. Slots are coarse, deadlines are not:
//! of the slot that time has entered only those timers fire that are due, in
//! order of deadline and then of arrival.
//!
//! Timers live in a slab and are linked by index, so a cancelled one leaves
//! nothing behind, and there is no pointer to get wrong.
//!
//! # Invariants
//!
//! - **Ahead.** A slot with timers lies after the present one of its level; on
//!   the lowest level it may be the present one. So timers of a lower level are
//!   due before those of a higher, and the next deadline is in the first slot
//!   of the lowest level that has any.
//! - **Whole.** A slot's list is taken out whole before its timers are looked
//!   at. Walked in place, a timer that goes back where it came from would be
//!   met again, for ever.
//! - **Sorted or known.** Of a slot either the list is in order, or the least
//!   deadline is known, or nobody has asked since it was cancelled.

use crate::clock::Instant;
use crate::order::{Ranked, sort};
use slab::Slab;
use std::task::Waker;

const LEVELS: usize = 8;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// log₂ of the width, in nanoseconds, of a slot of the lowest level.
const WIDTH_BITS: u32 = 16;
const NONE: u32 = u32::MAX;

/// A timer on the wheel. Whoever holds it must give it back to
/// [`Wheel::remove`], also when it has fired.
#[derive(Debug)]
pub(crate) struct TimerKey(u32);

/// All timers of an executor.
#[derive(Default)]
pub(crate) struct Wheel {
    timers: Slab<Timer>,
    levels: [Level; LEVELS],
    /// Which levels have timers, a bit each.
    occupied: u8,
    /// The present, in widths of the lowest level's slots.
    present: u64,
    /// How many timers have ever arrived: breaks ties between deadlines.
    arrivals: u64,
    /// How many timers have not fired.
    pending: usize,
    /// Room for sorting, kept from one use to the next.
    scratch: Vec<Ranked>,
}

struct Timer {
    deadline: Instant,
    arrival: u64,
    waker: Option<Waker>,
    link: Link,
}

impl Timer {
    /// As it is sorted: by deadline, and then by arrival.
    #[inline]
    fn ranked(&self, index: u32) -> Ranked {
        Ranked { rank: (self.deadline.as_nanos(), self.arrival), place: index }
    }
}

/// Where a timer stands, and between whom.
#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    At {
        level: u8,
        slot: u8,
    },
    /// Its deadline does not come: it waits for another.
    Never,
    Fired,
}

#[derive(Default)]
struct Level {
    /// Which slots have timers, a bit each.
    occupied: u64,
    /// Made when the level is first used.
    slots: Option<Box<[Slot; SLOTS]>>,
}

/// The timers of a slot that is occupied. Of one that is not, this says nothing.
#[derive(Clone, Copy)]
struct Slot {
    first: u32,
    last: u32,
    least: Least,
}

/// What is known of the least deadline of a slot.
#[derive(Clone, Copy)]
enum Least {
    /// The list is in order of deadline and arrival.
    First,
    Known(Instant),
    /// It was cancelled, and nobody has asked since.
    Unknown,
}

impl Level {
    #[inline]
    fn slots(&mut self) -> &mut [Slot; SLOTS] {
        self.slots.get_or_insert_with(|| Box::new([Slot::EMPTY; SLOTS]))
    }
}

impl Slot {
    const EMPTY: Slot = Slot { first: NONE, last: NONE, least: Least::First };
}

// ---- The four verbs --------------------------------------------------------

impl Wheel {
    /// Sets a timer. One that is past is due at the next [`fire`](Wheel::fire).
    pub(crate) fn insert(&mut self, deadline: Instant, waker: Waker) -> TimerKey {
        let arrival = self.arrivals;
        self.arrivals += 1;
        let index = self.timers.vacant_key() as u32;
        let link = self.file(index, deadline, arrival);
        self.timers.insert(Timer { deadline, arrival, waker: Some(waker), link });
        TimerKey(index)
    }

    /// Takes a timer off. Answers its waker, to be dropped where no borrow is
    /// held: it may be foreign code.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let timer = self.timers.remove(key.0 as usize);
        self.unlink(timer.link, timer.deadline);
        if self.timers.is_empty() {
            self.shrink();
        }
        timer.waker
    }

    /// Fires what is due: appends their wakers to `due`, in order of deadline
    /// and then of arrival.
    pub(crate) fn fire(&mut self, now: Instant, due: &mut Vec<Waker>) {
        let mut fired = std::mem::take(&mut self.scratch);
        let end = now.as_nanos() >> WIDTH_BITS;
        while let Some((level, slot, start)) = self.first_slot() {
            if start > end {
                break;
            }
            self.present = self.present.max(start);
            let mut index = self.take_list(level, slot);
            while index != NONE {
                let timer = &mut self.timers[index as usize];
                let next = timer.link.next;
                if timer.deadline <= now {
                    timer.link.place = Place::Fired;
                    fired.push(timer.ranked(index));
                } else {
                    // Handed down; or, on the lowest level, not quite yet.
                    self.link(index);
                }
                index = next;
            }
            if level == 0 && start == end {
                break; // only the not-quite-yet are left here
            }
        }
        self.present = self.present.max(end);
        self.pending -= fired.len();
        sort(&mut fired);
        let wakers = fired.drain(..).map(|due| self.timers[due.place as usize].waker.take());
        due.extend(wakers.flatten());
        self.scratch = fired;
    }

    /// When [`fire`](Wheel::fire) will have something to do.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        if self.pending == 0 {
            return None; // most turns of most programs: no level is looked at
        }
        let (level, slot, _) = self.first_slot()?;
        if let Least::Unknown = self.levels[level].slots()[slot].least {
            self.put_in_order(level, slot);
        }
        let Slot { first, least, .. } = self.levels[level].slots()[slot];
        Some(match least {
            Least::Known(deadline) => deadline,
            _ => self.timers[first as usize].deadline,
        })
    }

    // ---- and what goes with them -------------------------------------------

    /// Gives a timer that has not fired another deadline. It counts as newly
    /// arrived.
    pub(crate) fn reset(&mut self, key: &TimerKey, deadline: Instant) {
        let timer = &mut self.timers[key.0 as usize];
        let (link, before) = (timer.link, timer.deadline);
        let arrival = self.arrivals;
        self.arrivals += 1;
        (timer.deadline, timer.arrival) = (deadline, arrival);
        self.unlink(link, before);
        self.timers[key.0 as usize].link = self.file(key.0, deadline, arrival);
    }

    /// Whether the timer has fired; if not, who is to be woken.
    pub(crate) fn check(&self, key: &TimerKey) -> Result<&Waker, HasFired> {
        self.timers[key.0 as usize].waker.as_ref().ok_or(HasFired)
    }

    pub(crate) fn set_waker(&mut self, key: &TimerKey, waker: Waker) -> Option<Waker> {
        self.timers[key.0 as usize].waker.replace(waker)
    }

    /// How many timers are to fire.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Every pending timer: its deadline, and whom it wakes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, &Waker)> + '_ {
        let pending =
            self.timers.iter().filter(|(_, timer)| matches!(timer.link.place, Place::At { .. }));
        pending.filter_map(|(_, timer)| Some((timer.deadline, timer.waker.as_ref()?)))
    }
}

/// The timer has fired.
#[derive(Debug)]
pub(crate) struct HasFired;

// ---- Places and lists ------------------------------------------------------

impl Wheel {
    /// Where a deadline belongs, seen from the present.
    fn place(&self, deadline: Instant) -> (usize, usize) {
        // The past is filed under the present.
        let moment = (deadline.as_nanos() >> WIDTH_BITS).max(self.present);
        let differs = moment ^ self.present;
        // The highest base-64 digit in which they differ; none: the lowest.
        let level = (differs | 1).ilog2() / LEVEL_BITS;
        let slot = (moment >> (level * LEVEL_BITS)) as usize % SLOTS;
        (level as usize, slot)
    }

    /// The first slot with timers in it, and when it begins.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.occupied == 0 {
            return None;
        }
        let number = self.occupied.trailing_zeros();
        let slot = self.levels[number as usize].occupied.trailing_zeros();
        let shift = number * LEVEL_BITS;
        let above = self.present >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        let start = above | (u64::from(slot) << shift);
        debug_assert!(number == 0 || start > self.present, "a slot with timers lies ahead (Ahead)");
        Some((number as usize, slot as usize, start))
    }

    /// Puts a timer where it belongs; one that never fires belongs nowhere.
    /// Answers what the timer is to remember of that.
    #[must_use]
    fn file(&mut self, index: u32, deadline: Instant, arrival: u64) -> Link {
        if deadline == Instant::NEVER {
            return Link { previous: NONE, next: NONE, place: Place::Never };
        }
        self.pending += 1;
        self.join(index, deadline, arrival)
    }

    /// As [`file`](Wheel::file), for a timer that is there and counted.
    fn link(&mut self, index: u32) {
        let Timer { deadline, arrival, .. } = self.timers[index as usize];
        self.timers[index as usize].link = self.join(index, deadline, arrival);
    }

    #[must_use]
    fn join(&mut self, index: u32, deadline: Instant, arrival: u64) -> Link {
        let (number, slot_number) = self.place(deadline);
        let level = &mut self.levels[number];
        let place = Place::At { level: number as u8, slot: slot_number as u8 };
        let bit = 1 << slot_number;
        if level.occupied & bit != 0 {
            return self.join_others(index, deadline, arrival, place);
        }
        level.slots()[slot_number] = Slot { first: index, last: index, least: Least::First };
        level.occupied |= bit;
        self.occupied |= 1 << number;
        Link { previous: NONE, next: NONE, place }
    }

    /// There are others in the slot.
    fn join_others(&mut self, index: u32, deadline: Instant, arrival: u64, place: Place) -> Link {
        let Place::At { level, slot } = place else { unreachable!("others are in a slot") };
        let slot = &mut self.levels[level as usize].slots()[slot as usize];
        let first = &mut self.timers[slot.first as usize];
        if matches!(slot.least, Least::First) && deadline < first.deadline {
            // A short timeout among long ones: the list stays in order.
            first.link.previous = index;
            let next = std::mem::replace(&mut slot.first, index);
            return Link { previous: NONE, next, place };
        }
        let earliest = first.deadline;
        let last = &mut self.timers[slot.last as usize];
        // Compared with the arrival too: a timer handed down may be older than
        // one that was put here directly.
        let in_order = (last.deadline, last.arrival) < (deadline, arrival);
        slot.least = match slot.least {
            Least::First if in_order => Least::First,
            Least::First => Least::Known(deadline.min(earliest)),
            Least::Known(least) => Least::Known(least.min(deadline)),
            Least::Unknown => Least::Unknown,
        };
        last.link.next = index;
        let previous = std::mem::replace(&mut slot.last, index);
        Link { previous, next: NONE, place }
    }

    /// Takes a timer out of its slot's list, if it has not fired.
    fn unlink(&mut self, Link { previous, next, place }: Link, deadline: Instant) {
        let Place::At { level: number, slot: slot_number } = place else { return };
        self.pending -= 1;
        let level = &mut self.levels[number as usize];
        if previous == NONE && next == NONE {
            return self.vacate(number as usize, slot_number as usize);
        }
        let slot = &mut level.slots()[slot_number as usize];
        if matches!(slot.least, Least::Known(least) if least == deadline) {
            slot.least = Least::Unknown;
        }
        match previous {
            NONE => slot.first = next,
            previous => self.timers[previous as usize].link.next = next,
        }
        match next {
            NONE => slot.last = previous,
            next => self.timers[next as usize].link.previous = previous,
        }
    }

    /// Nobody is in a slot any more.
    fn vacate(&mut self, number: usize, slot: usize) {
        let level = &mut self.levels[number];
        level.occupied &= !(1 << slot);
        if level.occupied == 0 {
            self.occupied &= !(1 << number);
        }
    }

    /// Empties a slot. Answers the first of its timers (Whole).
    fn take_list(&mut self, level: usize, slot: usize) -> u32 {
        self.vacate(level, slot);
        self.levels[level].slots()[slot].first
    }

    /// Sorts a slot's list, so that its least is the first from now on.
    ///
    /// Timers mostly come in order (every request gets the same timeout), and
    /// then this is never called, however many are cancelled.
    fn put_in_order(&mut self, level: usize, slot: usize) {
        let mut timers = std::mem::take(&mut self.scratch);
        let mut index = self.take_list(level, slot);
        while index != NONE {
            let timer = &self.timers[index as usize];
            timers.push(timer.ranked(index));
            index = timer.link.next;
        }
        sort(&mut timers);
        timers.drain(..).for_each(|timer| self.link(timer.place));
        self.scratch = timers;
    }

    /// Gives memory back after a crowd has gone.
    fn shrink(&mut self) {
        if self.timers.capacity() > 1024 {
            self.timers = Slab::new();
            self.scratch = Vec::new();
        }
    }
}

#[cfg(test)]
#[path = "../tests/unit/wheel.rs"]
mod tests;
