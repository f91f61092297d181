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
//! Timers live in a vector and are linked by index, so a cancelled one leaves
//! nothing behind, and there is no pointer to get wrong.
//!
//! There may be a million of them, so a timer is small. Where it stands is not
//! noted, but told from its deadline and the present (Canonical); in which order
//! equal deadlines came, from the list (Stable); and a task is woken by its
//! name, not by a waker.
//!
//! # Invariants
//!
//! - **Ahead.** A slot with timers lies after the present one of its level; on
//!   the lowest level it may be the present one. So timers of a lower level are
//!   due before those of a higher, and the next deadline is in the first slot
//!   of the lowest level that has any.
//! - **Canonical.** A timer that has not fired stands where it would be put
//!   now. Time that passes does not change in which digit its deadline first
//!   differs, until the wheel reaches its slot and hands it down.
//! - **Stable.** Equal deadlines stand in one slot (Canonical), in the order in
//!   which they arrived: who comes is put last, or before all others if due
//!   before them, and a list is handed down in its order, into empty slots.
//! - **Whole.** A slot's list is taken out whole before its timers are looked
//!   at. Walked in place, a timer that goes back where it came from would be
//!   met again, for ever.
//! - **Sorted or known.** Of a slot either the list is in order, or the least
//!   deadline is known, or nobody has asked since it was cancelled.

use crate::clock::Instant;
use crate::id::Name;
use crate::order::{Ranked, sort};
use slab::Slab;
use std::task::Waker;

const LEVELS: usize = 8;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// log₂ of the width, in nanoseconds, of a slot of the lowest level.
const WIDTH_BITS: u32 = 16;
/// No timer: an index that is never reached.
const NONE: u32 = u32::MAX;

/// A timer on the wheel. Whoever holds it must give it back to
/// [`Wheel::remove`], also when it has fired.
#[derive(Debug)]
pub(crate) struct TimerKey(u32);

/// Whom a timer wakes.
#[derive(Debug)]
pub(crate) enum Whom {
    Task(Name),
    /// Somebody whose name is not known.
    Other(Waker),
}

impl Whom {
    /// Whom a waker wakes, whose name this is, if it is known.
    #[inline]
    pub(crate) fn of(name: Option<Name>, waker: &Waker) -> Whom {
        name.map_or_else(|| Whom::Other(waker.clone()), Whom::Task)
    }
}

/// All timers of an executor.
pub(crate) struct Wheel {
    timers: Vec<Timer>,
    /// How many of these somebody holds.
    held: usize,
    /// The first of those that nobody holds: a list, by `next`.
    free: u32,
    /// The wakers of those whose names are not known.
    others: Slab<Waker>,
    levels: [Level; LEVELS],
    /// Which levels have timers, a bit each.
    occupied: u8,
    /// The present, in widths of the lowest level's slots.
    present: u64,
    /// Room for sorting, kept from one use to the next.
    scratch: Vec<Ranked>,
}

#[derive(Clone, Copy)]
struct Timer {
    deadline: Instant,
    call: Call,
    previous: u32,
    next: u32,
}

/// A [`Whom`] in eight bytes: a name, or below all names the seat in `others`,
/// from one. Zero is nobody: the timer has fired, or nobody holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Call(u64);

const _: () = assert!(size_of::<Timer>() == 24);

impl Timer {
    const GONE: Timer =
        Timer { deadline: Instant::NEVER, call: Call::NOBODY, previous: NONE, next: NONE };
}

impl Call {
    const NOBODY: Call = Call(0);

    fn name(self) -> Option<Name> {
        (self.0 >= Name::LEAST).then(|| Name::from_bits(self.0))
    }

    /// The seat in `others`.
    fn seat(self) -> Option<usize> {
        if self.0 >= Name::LEAST { None } else { (self.0 as usize).checked_sub(1) }
    }
}

#[derive(Default)]
struct Level {
    /// Which slots have timers, a bit each.
    occupied: u64,
    /// Made when the level is first used.
    slots: Box<[Slot]>,
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
    #[cold]
    fn make_slots(&mut self) {
        let empty = Slot { first: NONE, last: NONE, least: Least::First };
        self.slots = vec![empty; SLOTS].into_boxed_slice();
    }
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            timers: Vec::new(),
            held: 0,
            free: NONE,
            others: Slab::new(),
            levels: Default::default(),
            occupied: 0,
            present: 0,
            scratch: Vec::new(),
        }
    }
}

// ---- The four verbs --------------------------------------------------------

impl Wheel {
    /// Sets a timer. One that is past is due at the next [`fire`](Wheel::fire).
    #[inline]
    pub(crate) fn insert(&mut self, deadline: Instant, whom: Whom) -> TimerKey {
        let call = self.note(whom);
        let index = self.take_seat();
        self.timers[index as usize] = Timer { deadline, call, previous: NONE, next: NONE };
        self.file(index, deadline);
        TimerKey(index)
    }

    /// Takes a timer off. Answers whom it would have woken, to be dropped where
    /// no borrow is held: it may be foreign code.
    #[inline]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Whom> {
        self.unlink(key.0);
        let call = self.leave_seat(key.0);
        self.forget(call)
    }

    /// Fires what is due: appends those whom it wakes to `due`, in order of
    /// deadline and then of arrival.
    pub(crate) fn fire(&mut self, now: Instant, due: &mut Vec<Whom>) {
        debug_assert!(self.scratch.is_empty(), "nobody else is being sorted");
        let end = now.as_nanos() >> WIDTH_BITS;
        while let Some((level, slot)) = self.first_slot() {
            let start = self.start_of(level, slot);
            if start > end {
                break;
            }
            self.present = self.present.max(start);
            let mut index = self.take_list(level, slot);
            while index != NONE {
                let Timer { deadline, next, .. } = self.timers[index as usize];
                if deadline <= now {
                    self.note_for_sorting(index, deadline);
                } else {
                    // Handed down; or, on the lowest level, not quite yet.
                    self.link(index, deadline);
                }
                index = next;
            }
            if level == 0 && start == end {
                break; // only the not-quite-yet are left here
            }
        }
        self.present = self.present.max(end);
        sort(&mut self.scratch);
        for nth in 0..self.scratch.len() {
            let timer = &mut self.timers[self.scratch[nth].place as usize];
            let call = std::mem::replace(&mut timer.call, Call::NOBODY);
            due.extend(self.forget(call));
        }
        self.scratch.clear();
    }

    /// When [`fire`](Wheel::fire) will have something to do.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let (level, slot) = self.first_slot()?;
        let Slot { first, least, .. } = self.levels[level].slots[slot];
        let first = match least {
            Least::Known(deadline) => return Some(deadline),
            Least::First => first,
            Least::Unknown => self.put_in_order(level, slot),
        };
        Some(self.timers[first as usize].deadline)
    }

    // ---- and what goes with them -------------------------------------------

    /// Gives a timer that has not fired another deadline. It counts as newly
    /// arrived.
    #[inline]
    pub(crate) fn reset(&mut self, key: &TimerKey, deadline: Instant) {
        debug_assert!(!self.has_fired(key), "one that has fired is set anew");
        self.unlink(key.0);
        let timer = &mut self.timers[key.0 as usize];
        *timer = Timer { deadline, previous: NONE, next: NONE, ..*timer };
        self.file(key.0, deadline);
    }

    #[inline]
    pub(crate) fn has_fired(&self, key: &TimerKey) -> bool {
        self.timers[key.0 as usize].call == Call::NOBODY
    }

    /// Whether that is whom the timer wakes: one with this waker, and this name
    /// if it is known.
    #[inline]
    pub(crate) fn wakes(&self, key: &TimerKey, name: Option<Name>, waker: &Waker) -> bool {
        let call = self.timers[key.0 as usize].call;
        match name {
            Some(name) => call == Call(name.to_bits()),
            None => call.seat().is_some_and(|seat| self.others[seat].will_wake(waker)),
        }
    }

    /// Gives a timer that has not fired somebody else to wake. Answers whom it
    /// would have woken.
    pub(crate) fn set_whom(&mut self, key: &TimerKey, whom: Whom) -> Option<Whom> {
        let call = self.note(whom);
        let before = std::mem::replace(&mut self.timers[key.0 as usize].call, call);
        self.forget(before)
    }

    /// Whether no timer is to fire.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.occupied == 0
    }

    /// Every timer that is to fire: its deadline, and the name of whom it wakes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, Option<Name>)> + '_ {
        let waits = |timer: &&Timer| timer.call != Call::NOBODY && timer.deadline != Instant::NEVER;
        self.timers.iter().filter(waits).map(|timer| (timer.deadline, timer.call.name()))
    }
}

// ---- Seats and names ----------------------------------------------------------------

impl Wheel {
    /// Finds a seat for a timer.
    #[inline]
    fn take_seat(&mut self) -> u32 {
        if self.free == NONE {
            self.make_seat();
        }
        let index = self.free;
        self.free = self.timers[index as usize].next;
        self.held += 1;
        index
    }

    #[inline(never)]
    fn make_seat(&mut self) {
        self.free = self.timers.len() as u32;
        self.timers.push(Timer::GONE);
    }

    /// Nobody holds the timer any more. Answers whom it would have woken.
    #[inline]
    fn leave_seat(&mut self, index: u32) -> Call {
        let seat = &mut self.timers[index as usize];
        let call = seat.call;
        *seat = Timer { next: self.free, ..Timer::GONE };
        self.free = index;
        self.held -= 1;
        if self.held == 0 && self.timers.len() > 1024 {
            self.shrink();
        }
        call
    }

    /// Gives memory back after a crowd has gone.
    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        self.timers = Vec::new();
        self.free = NONE;
        self.scratch = Vec::new();
    }

    /// Takes down whom a timer wakes.
    #[inline]
    fn note(&mut self, whom: Whom) -> Call {
        match whom {
            Whom::Task(name) => Call(name.to_bits()),
            Whom::Other(waker) => self.note_other(waker),
        }
    }

    #[inline(never)]
    fn note_other(&mut self, waker: Waker) -> Call {
        Call(self.others.insert(waker) as u64 + 1)
    }

    /// The timer wakes nobody any more. Answers whom it would have woken.
    #[inline]
    fn forget(&mut self, call: Call) -> Option<Whom> {
        match call.name() {
            Some(name) => Some(Whom::Task(name)),
            None if call == Call::NOBODY => None,
            None => self.forget_other(call),
        }
    }

    #[inline(never)]
    fn forget_other(&mut self, call: Call) -> Option<Whom> {
        let waker = self.others.remove(call.seat()?);
        if self.others.is_empty() && self.others.capacity() > 1024 {
            self.others = Slab::new();
        }
        Some(Whom::Other(waker))
    }
}

// ---- Places and lists ------------------------------------------------------

impl Wheel {
    /// Where a deadline belongs, seen from the present (Canonical).
    #[inline]
    fn place(&self, deadline: Instant) -> (usize, usize) {
        // The past is filed under the present.
        let moment = (deadline.as_nanos() >> WIDTH_BITS).max(self.present);
        let differs = moment ^ self.present;
        // The highest base-64 digit in which they differ; none: the lowest.
        let level = (differs | 1).ilog2() / LEVEL_BITS;
        let slot = (moment >> (level * LEVEL_BITS)) as usize % SLOTS;
        (level as usize, slot)
    }

    /// The first slot with timers in it.
    #[inline]
    fn first_slot(&self) -> Option<(usize, usize)> {
        if self.occupied == 0 {
            return None;
        }
        let level = self.occupied.trailing_zeros() as usize;
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        Some((level, slot))
    }

    /// When a slot with timers in it begins.
    fn start_of(&self, level: usize, slot: usize) -> u64 {
        let shift = level as u32 * LEVEL_BITS;
        let above = self.present >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        let start = above | ((slot as u64) << shift);
        debug_assert!(level == 0 || start > self.present, "a slot with timers lies ahead (Ahead)");
        start
    }

    /// Puts a timer that stands alone where it belongs; one that never fires
    /// belongs nowhere.
    #[inline]
    fn file(&mut self, index: u32, deadline: Instant) {
        if deadline != Instant::NEVER {
            self.join(index, deadline);
        }
    }

    /// As [`file`](Wheel::file), for a timer that stood in a list.
    fn link(&mut self, index: u32, deadline: Instant) {
        let timer = &mut self.timers[index as usize];
        (timer.previous, timer.next) = (NONE, NONE);
        self.join(index, deadline);
    }

    #[inline]
    fn join(&mut self, index: u32, deadline: Instant) {
        let (number, slot_number) = self.place(deadline);
        let level = &mut self.levels[number];
        let bit = 1 << slot_number;
        if level.occupied & bit != 0 {
            return self.join_others(index, deadline, number, slot_number);
        }
        if level.slots.is_empty() {
            level.make_slots();
        }
        level.slots[slot_number] = Slot { first: index, last: index, least: Least::First };
        level.occupied |= bit;
        self.occupied |= 1 << number;
    }

    /// There are others in the slot.
    #[inline(never)]
    fn join_others(&mut self, index: u32, deadline: Instant, level: usize, slot: usize) {
        let slot = &mut self.levels[level].slots[slot];
        let first = &mut self.timers[slot.first as usize];
        if matches!(slot.least, Least::First) && deadline < first.deadline {
            // A short timeout among long ones: the list stays in order.
            first.previous = index;
            self.timers[index as usize].next = std::mem::replace(&mut slot.first, index);
            return;
        }
        let earliest = first.deadline;
        let last = &mut self.timers[slot.last as usize];
        let in_order = last.deadline <= deadline;
        slot.least = match slot.least {
            Least::First if in_order => Least::First,
            Least::First => Least::Known(deadline.min(earliest)),
            Least::Known(least) => Least::Known(least.min(deadline)),
            Least::Unknown => Least::Unknown,
        };
        last.next = index;
        self.timers[index as usize].previous = std::mem::replace(&mut slot.last, index);
    }

    /// Takes a timer out of its slot's list, if it is in one.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let Timer { deadline, call, previous, next } = self.timers[index as usize];
        if call == Call::NOBODY || deadline == Instant::NEVER {
            return;
        }
        let (level, slot) = self.place(deadline);
        if previous == NONE && next == NONE {
            return self.vacate(level, slot);
        }
        self.leave_others(index, level, slot);
    }

    /// There are others in the slot.
    #[inline(never)]
    fn leave_others(&mut self, index: u32, level: usize, slot: usize) {
        let Timer { deadline, previous, next, .. } = self.timers[index as usize];
        let slot = &mut self.levels[level].slots[slot];
        if matches!(slot.least, Least::Known(least) if least == deadline) {
            slot.least = Least::Unknown;
        }
        match previous {
            NONE => slot.first = next,
            previous => self.timers[previous as usize].next = next,
        }
        match next {
            NONE => slot.last = previous,
            next => self.timers[next as usize].previous = previous,
        }
    }

    /// Nobody is in a slot any more.
    #[inline]
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
        self.levels[level].slots[slot].first
    }

    /// Puts a timer among those to be sorted: by deadline, and then by how many
    /// were put there before it (Stable).
    #[inline]
    fn note_for_sorting(&mut self, index: u32, deadline: Instant) {
        let rank = (deadline.as_nanos(), self.scratch.len() as u64);
        self.scratch.push(Ranked { rank, place: index });
    }

    /// Sorts a slot's list, so that its least is the first from now on. Answers
    /// it.
    ///
    /// Timers mostly come in order (every request gets the same timeout), and
    /// then this is never called, however many are cancelled.
    #[inline(never)]
    fn put_in_order(&mut self, level: usize, slot: usize) -> u32 {
        let mut index = self.take_list(level, slot);
        while index != NONE {
            let Timer { deadline, next, .. } = self.timers[index as usize];
            self.note_for_sorting(index, deadline);
            index = next;
        }
        sort(&mut self.scratch);
        for nth in 0..self.scratch.len() {
            let index = self.scratch[nth].place;
            self.link(index, self.timers[index as usize].deadline);
        }
        let first = self.scratch[0].place;
        self.scratch.clear();
        first
    }
}

#[cfg(test)]
#[path = "../tests/unit/wheel.rs"]
mod tests;
