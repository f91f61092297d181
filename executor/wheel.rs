//! The timer wheel: who is to be woken when.
//!
//! Varghese and Lauck, *Hashed and hierarchical timing wheels*, SOSP 1987,
//! scheme 7. Eight levels of 64 slots; a slot of the lowest level is 2¹⁶ ns
//! (66 µs) wide, one of the next 64 times that, and so on until all of time is
//! covered. A timer goes to the lowest level on which its slot differs from the
//! present one, so the levels are a number written in base 64, and a timer
//! stands where its deadline first differs from now.
//!
//! ```text
//!  now = 5·2¹⁶, deadline = 70·2¹⁶         5 = 0·64 + 5, 70 = 1·64 + 6
//!
//!  level 1   0  1  2 …      4.2 ms each: now is in 0, so the timer is in 1
//!  level 0   0 … 5  6 …      66 µs each: now is in 5; later the timer is in 6
//! ```
//!
//! When the wheel reaches a slot of a higher level it hands its timers down,
//! at most seven times in a timer's life. Slots are coarse, deadlines are not:
//! of the slot that time has entered only those timers fire that are due, in
//! order of deadline and then of arrival. What a slot does when its least
//! deadline is asked for again and again is in `levels.rs`.
//!
//! Timers live in pages and are linked by index, so a cancelled one leaves
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
//!   differs, until the wheel reaches its slot and hands it down. In an open slot
//!   the next digits of the deadline say where. So when the wheel reaches an open
//!   slot, that *is* the level below from then on.
//! - **Stable.** Equal deadlines stand in one list (Canonical), in the order in
//!   which they arrived, and a list is handed down in its order, into empty slots.
//! - **Whole.** A slot's list is taken out whole before its timers are looked
//!   at. Walked in place, a timer that goes back where it came from would be
//!   met again, for ever.

use crate::clock::Instant;
use crate::id::Name;
use crate::levels::{LEVEL_BITS, Level, NONE, SLOTS, Scale, Slot, Timer, WIDTH_BITS, empty, rank};
use crate::order::{Ranked, sort};
use crate::pages::Pages;
use std::num::NonZeroU64;
use std::task::Waker;

const LEVELS: usize = 8;

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

/// How a timer stands with somebody who waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// It has fired.
    No,
    /// It will wake this one.
    Yes,
    /// It will wake another.
    Another,
}

/// All timers of an executor.
#[derive(Default)]
pub(crate) struct Wheel {
    timers: Pages<Timer>,
    /// The wakers of those whose names are not known.
    others: Pages<Waker>,
    levels: [Level; LEVELS],
    /// Which levels have timers, a bit each.
    occupied: u64,
    /// The present, in widths of the lowest level's slots.
    present: u64,
    /// Room for sorting, kept from one use to the next.
    scratch: Vec<Ranked>,
}

/// A [`Whom`] in eight bytes, as it stands in a timer: a name; or below all names
/// the seat in `others`, from two.
type Call = NonZeroU64;

/// The timer has fired.
const NOBODY: Call = NonZeroU64::MIN;

/// That of a name, or of a seat and two: neither is zero.
#[inline]
fn call(number: u64) -> Call {
    Call::new(number).unwrap_or(NOBODY)
}

#[inline]
fn name_of(call: Call) -> Option<Name> {
    (call.get() >= Name::LEAST).then(|| Name::from_bits(call.get()))
}

/// The seat in `others`.
fn seat_of(call: Call) -> Option<u32> {
    if call.get() >= Name::LEAST { None } else { (call.get() as u32).checked_sub(2) }
}

// ---- The four verbs --------------------------------------------------------

impl Wheel {
    /// Sets a timer. One that is past is due at the next [`fire`](Wheel::fire).
    #[inline(always)] // as `set_timer`
    pub(crate) fn insert(&mut self, deadline: Instant, whom: Whom) -> TimerKey {
        let call = self.note(whom);
        let index = self.timers.insert(Timer::new(deadline, call));
        self.file(index, deadline);
        TimerKey(index)
    }

    /// Takes a timer off. Answers the waker that it would have woken, if that has
    /// no name, to be dropped where no borrow is held: it may be foreign code.
    #[inline]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let timer = self.timers.remove(key.0)?;
        self.unlink(timer);
        match name_of(timer.call) {
            Some(_) => None,
            None => self.forget_other(timer.call),
        }
    }

    /// Fires what is due: appends those whom it wakes to `due`, in order of
    /// deadline and then of arrival.
    pub(crate) fn fire(&mut self, now: Instant, due: &mut Vec<Whom>) {
        debug_assert!(self.scratch.is_empty(), "nothing else is being sorted");
        let end = now.as_nanos() >> WIDTH_BITS;
        while let Some((level, slot)) = self.first_slot() {
            let start = self.start_of(level, slot);
            if start > end || (start == end && level == 0) {
                break;
            }
            self.present = self.present.max(start);
            match self.take_slot(level, slot) {
                Slot::List(list) => self.hand_down(list.first, end),
                Slot::Open(open) if level == 0 => self.rank_all(&open),
                Slot::Open(open) => {
                    // All that was below it is over (Ahead).
                    self.levels[level - 1] = *open;
                    self.occupied |= 1 << (level - 1);
                }
            }
        }
        self.present = self.present.max(end);
        if !self.scratch.is_empty() {
            self.call_ranked(due);
        }
        // And of the slot that time is in, those that are due.
        while let Some((mut index, last)) = self.cut_due(now) {
            self.unlink(self.timers[last]);
            loop {
                let next = self.timers[index].next;
                let whom = self.call_off(index);
                due.extend(whom);
                if index == last {
                    break;
                }
                index = next;
            }
        }
    }

    #[inline(never)]
    fn call_ranked(&mut self, due: &mut Vec<Whom>) {
        sort(&mut self.scratch);
        for nth in 0..self.scratch.len() {
            let whom = self.call_off(self.scratch[nth].place);
            due.extend(whom);
        }
        empty(&mut self.scratch);
    }

    /// When [`fire`](Wheel::fire) will have something to do.
    #[inline]
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let (number, _) = self.first_slot()?;
        let least = self.levels[number].least_at_hand(&self.timers);
        Some(least.unwrap_or_else(|| self.find_least(number)))
    }

    /// Timers mostly come in order (every request gets the same timeout), and
    /// then this is never called, however many are cancelled.
    #[inline(never)]
    fn find_least(&mut self, number: usize) -> Instant {
        let scale = Scale::of(number, self.present);
        self.levels[number].find_least(&mut self.timers, &mut self.scratch, scale)
    }

    // ---- and what goes with them -------------------------------------------

    /// Gives a timer another deadline. It counts as newly arrived. False if it
    /// has fired: then it is to be set anew.
    #[inline]
    #[must_use]
    pub(crate) fn reset(&mut self, key: &TimerKey, deadline: Instant) -> bool {
        let timer = &mut self.timers[key.0];
        if timer.call == NOBODY {
            return false;
        }
        let before = *timer;
        *timer = Timer::new(deadline, before.call);
        self.unlink(before);
        self.file(key.0, deadline);
        true
    }

    #[inline]
    pub(crate) fn has_fired(&self, key: &TimerKey) -> bool {
        self.timers[key.0].call == NOBODY
    }

    /// How a timer stands with whoever has this waker, and this name if it is
    /// known.
    #[inline]
    pub(crate) fn waits(&self, key: &TimerKey, name: Option<Name>, waker: &Waker) -> Waits {
        let call = self.timers[key.0].call;
        let wakes = match name {
            Some(name) => call.get() == name.to_bits(),
            None => seat_of(call).is_some_and(|seat| self.others[seat].will_wake(waker)),
        };
        match wakes {
            true => Waits::Yes,
            false if call == NOBODY => Waits::No,
            false => Waits::Another,
        }
    }

    /// Gives a timer that has not fired somebody else to wake. Answers whom it
    /// would have woken.
    pub(crate) fn set_whom(&mut self, key: &TimerKey, whom: Whom) -> Option<Whom> {
        let call = self.note(whom);
        let before = std::mem::replace(&mut self.timers[key.0].call, call);
        self.forget(before)
    }

    /// Whether no timer is to fire.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.occupied == 0
    }

    /// Every timer that is to fire: its deadline, and the name of whom it wakes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, Option<Name>)> + '_ {
        let waits = |timer: &&Timer| timer.call != NOBODY && timer.deadline != Instant::NEVER;
        self.timers.iter().filter(waits).map(|timer| (timer.deadline, name_of(timer.call)))
    }
}

// ---- Names ------------------------------------------------------------------------

impl Wheel {
    /// Takes down whom a timer wakes.
    #[inline]
    fn note(&mut self, whom: Whom) -> Call {
        match whom {
            Whom::Task(name) => call(name.to_bits()),
            Whom::Other(waker) => self.note_other(waker),
        }
    }

    #[inline(never)]
    fn note_other(&mut self, waker: Waker) -> Call {
        call(u64::from(self.others.insert(waker)) + 2)
    }

    /// The timer has fired. Answers whom it wakes.
    #[inline]
    fn call_off(&mut self, index: u32) -> Option<Whom> {
        let call = std::mem::replace(&mut self.timers[index].call, NOBODY);
        self.forget(call)
    }

    /// The timer wakes nobody any more. Answers whom it would have woken.
    #[inline]
    fn forget(&mut self, call: Call) -> Option<Whom> {
        match name_of(call) {
            Some(name) => Some(Whom::Task(name)),
            None if call == NOBODY => None,
            None => self.forget_other(call).map(Whom::Other),
        }
    }

    #[inline(never)]
    fn forget_other(&mut self, call: Call) -> Option<Waker> {
        self.others.remove(seat_of(call)?)
    }
}

// ---- Places ------------------------------------------------------------------------

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
        (level as usize % LEVELS, slot)
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
        debug_assert!(level == 0 || start >= self.present, "a slot with timers is ahead (Ahead)");
        start
    }

    /// Puts a timer that stands alone where it belongs; one that never fires
    /// belongs nowhere.
    #[inline]
    fn file(&mut self, index: u32, deadline: Instant) {
        if deadline != Instant::NEVER {
            let (level, slot) = self.place(deadline);
            let scale = Scale::of(level, self.present);
            self.occupied |= 1 << level;
            self.levels[level].join(slot, &mut self.timers, (index, deadline), scale);
        }
    }

    /// Takes a timer out of its list, if it is in one.
    #[inline(always)] // of a sleep that is set and dropped it saves a twentieth
    fn unlink(&mut self, timer: Timer) {
        if timer.call == NOBODY || timer.deadline == Instant::NEVER {
            return;
        }
        let (number, slot) = self.place(timer.deadline);
        let scale = Scale::of(number, self.present);
        let level = &mut self.levels[number];
        level.leave(slot, &mut self.timers, timer, scale);
        if level.occupied == 0 {
            self.occupied &= !(1 << number);
        }
    }

    /// Empties a slot (Whole).
    fn take_slot(&mut self, number: usize, slot: usize) -> Slot {
        let level = &mut self.levels[number];
        let taken = level.take(slot);
        if level.occupied == 0 {
            self.occupied &= !(1 << number);
        }
        taken
    }

    /// Time has reached the slot of this list: what is due before the lowest
    /// level's slot `end` is to fire, the rest goes to lower levels.
    fn hand_down(&mut self, mut index: u32, end: u64) {
        while index != NONE {
            let timer = &mut self.timers[index];
            let (deadline, next) = (timer.deadline, timer.next);
            if deadline.as_nanos() >> WIDTH_BITS < end {
                rank(&mut self.scratch, index, deadline);
            } else {
                *timer = Timer::new(deadline, timer.call);
                self.file(index, deadline);
            }
            index = next;
        }
    }

    /// All of an open slot are to fire.
    fn rank_all(&mut self, open: &Level) {
        for slot in open.iter() {
            match slot {
                Slot::List(list) => self.hand_down(list.first, u64::MAX),
                Slot::Open(open) => self.rank_all(open),
            }
        }
    }

    /// The first timers of the slot that time is in, if they are due: see
    /// [`Level::cut_due`].
    #[inline]
    fn cut_due(&mut self, now: Instant) -> Option<(u32, u32)> {
        let (number, slot) = self.first_slot()?;
        if number > 0 || slot != self.present as usize % SLOTS {
            return None;
        }
        let scale = Scale::of(number, self.present);
        self.levels[number].cut_due(now, &mut self.timers, &mut self.scratch, scale)
    }
}

#[cfg(test)]
#[path = "../tests/unit/wheel.rs"]
mod tests;
