//! The levels of the timer wheel: slots in which timers wait, in lists.
//!
//! A timer is here an index, a deadline and two links; whom it wakes and what the
//! time is, `wheel.rs` knows. A level has 64 slots of one width, and the slots
//! that are occupied are a bit each, so the first is found at once.
//!
//! # The least of many
//!
//! When the earliest timer of a slot is cancelled, the next is to be found among
//! all that wait there, and that again and again. So a slot of more than a few
//! timers is then *opened*: it becomes a level of its own, of 64 finer slots, each
//! of which can be opened in its turn, down to slots that are a nanosecond wide.
//!
//! That is the ladder queue of Tang, Goh and Thng (*Ladder queue: an O(1) priority
//! queue structure for large-scale discrete event simulation*, ACM TOMACS 15,
//! 2005), which spawns a finer rung where there are too many; only that the upper
//! rungs are the levels of the wheel. A slot that is open stays so until it is
//! empty, and a timer only ever sinks. So however often the least is cancelled, a
//! timer is moved some dozen times at most, and what merely waits costs nothing.
//!
//! # Invariants
//!
//! - **Stable.** Equal deadlines stand in one list, in the order in which they
//!   arrived: a new timer is put last, or before all others if due before them, and
//!   a slot is opened in the order of its list.
//! - **Sorted or known.** Of a list either it is in order, or the least deadline
//!   is known, or nobody has asked since that was cancelled.

use crate::clock::Instant;
use crate::order::{Ranked, sort};
use crate::pages::Pages;
use std::mem::replace;
use std::num::NonZeroU64;

pub(crate) const LEVEL_BITS: u32 = 6;
pub(crate) const SLOTS: usize = 1 << LEVEL_BITS;
/// log₂ of the width, in nanoseconds, of a slot of the lowest level.
pub(crate) const WIDTH_BITS: u32 = 16;
/// A list of so many timers is looked through or sorted; of a longer one the
/// slot is opened.
const SHORT: usize = 32;
/// No timer: an index that is never reached.
pub(crate) const NONE: u32 = u32::MAX;

/// In this order it has no gaps, also where the compiler draws another for what has none.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Timer {
    pub(crate) deadline: Instant,
    /// Whom it wakes, as the wheel knows it.
    pub(crate) call: NonZeroU64,
    previous: u32,
    pub(crate) next: u32,
}

const _: () = assert!(size_of::<Option<Timer>>() == 24);

impl Timer {
    /// One that stands in no list.
    #[inline]
    pub(crate) fn new(deadline: Instant, call: NonZeroU64) -> Timer {
        Timer { deadline, call, previous: NONE, next: NONE }
    }

    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.previous == NONE && self.next == NONE
    }
}

/// A level's place among all: the moments that its slots are of.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// log₂ of the width of a slot, in nanoseconds.
    width: u32,
    /// What is due earlier is put where this is: the past, into the present.
    floor: u64,
}

impl Scale {
    /// That of one of the wheel's levels, when it is `present` in widths of the
    /// lowest level's slots.
    pub(crate) fn of(level: usize, present: u64) -> Scale {
        Scale { width: WIDTH_BITS + level as u32 * LEVEL_BITS, floor: present << WIDTH_BITS }
    }

    /// That of an open slot.
    fn finer(self) -> Scale {
        Scale { width: self.width.saturating_sub(LEVEL_BITS), ..self }
    }

    fn slot_of(self, deadline: Instant) -> usize {
        (deadline.as_nanos().max(self.floor) >> self.width) as usize % SLOTS
    }
}

/// 64 slots of one width.
#[derive(Default)]
pub(crate) struct Level {
    /// Which slots have timers, a bit each.
    pub(crate) occupied: u64,
    /// Made when the level is first used.
    slots: Option<Box<[Slot; SLOTS]>>,
}

/// Of a slot that is not occupied this is a list that says nothing.
pub(crate) enum Slot {
    List(List),
    /// A level of its own, with slots that are finer.
    Open(Box<Level>),
}

/// Timers, linked by index. There is no empty list.
#[derive(Clone, Copy)]
pub(crate) struct List {
    pub(crate) first: u32,
    last: u32,
    pub(crate) least: Least,
}

/// What is known of the least deadline of a list.
#[derive(Clone, Copy)]
pub(crate) enum Least {
    /// The list is in order of deadline and arrival.
    First,
    Known(Instant),
    /// It was cancelled, and nobody has asked since.
    Unknown,
}

// ---- Coming and going --------------------------------------------------------

impl Level {
    /// Puts a timer into a slot.
    #[inline]
    pub(crate) fn join(
        &mut self,
        slot: usize,
        timers: &mut Pages<Timer>,
        (index, deadline): (u32, Instant),
        scale: Scale,
    ) {
        if self.occupied & (1 << slot) != 0 {
            return self.join_others(slot, timers, (index, deadline), scale);
        }
        let slots = match &mut self.slots {
            Some(slots) => slots,
            none => none.insert(empty_slots()),
        };
        // Not open: whoever empties a slot leaves a list. To write a new `Slot` would
        // be to drop an old one, which is a call.
        if let Slot::List(list) = &mut slots[slot] {
            *list = List { first: index, last: index, least: Least::First };
            self.occupied |= 1 << slot;
        }
    }

    #[inline(never)]
    fn join_others(
        &mut self,
        slot: usize,
        timers: &mut Pages<Timer>,
        (index, deadline): (u32, Instant),
        scale: Scale,
    ) {
        match self.slot(slot) {
            Slot::List(list) => list.push(timers, index, deadline),
            Slot::Open(open) => {
                let scale = scale.finer();
                open.join(scale.slot_of(deadline), timers, (index, deadline), scale);
            }
        }
    }

    /// Takes a timer out of a slot's list.
    #[inline]
    pub(crate) fn leave(
        &mut self,
        slot: usize,
        timers: &mut Pages<Timer>,
        timer: Timer,
        scale: Scale,
    ) {
        match self.slot(slot) {
            Slot::List(_) if timer.is_alone() => self.occupied &= !(1 << slot),
            Slot::List(list) => list.remove(timers, timer),
            Slot::Open(_) => self.leave_open(slot, timers, timer, scale),
        }
    }

    #[inline(never)]
    fn leave_open(&mut self, slot: usize, timers: &mut Pages<Timer>, timer: Timer, scale: Scale) {
        let Slot::Open(open) = self.slot(slot) else { return };
        let scale = scale.finer();
        open.leave(scale.slot_of(timer.deadline), timers, timer, scale);
        if open.occupied == 0 {
            self.take(slot);
        }
    }

    /// Empties a slot.
    pub(crate) fn take(&mut self, slot: usize) -> Slot {
        self.occupied &= !(1 << slot);
        replace(self.slot(slot), EMPTY)
    }

    #[inline]
    fn slot(&mut self, slot: usize) -> &mut Slot {
        &mut self.slots.as_mut().expect("slots that are occupied have been made")[slot % SLOTS]
    }

    /// All slots that are occupied, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> + '_ {
        let occupied = |(slot, _): &(usize, &Slot)| self.occupied & (1 << slot) != 0;
        let slots = self.slots.iter().flat_map(|slots| slots.iter());
        slots.enumerate().filter(occupied).map(|(_, slot)| slot)
    }
}

const EMPTY: Slot = Slot::List(List { first: NONE, last: NONE, least: Least::First });

#[cold]
#[inline(never)]
fn empty_slots() -> Box<[Slot; SLOTS]> {
    Box::new([const { EMPTY }; SLOTS])
}

// ---- The earliest --------------------------------------------------------------

impl Level {
    /// The least deadline of all, if there is not much to be done to find it.
    #[inline]
    pub(crate) fn least_at_hand(&self, timers: &Pages<Timer>) -> Option<Instant> {
        let first = self.occupied.trailing_zeros() as usize;
        match self.slots.as_ref()?[first % SLOTS] {
            Slot::List(List { least: Least::Known(least), .. }) => Some(least),
            Slot::List(List { first, least: Least::First, .. }) => Some(timers[first].deadline),
            _ => None,
        }
    }

    /// The least deadline of all.
    #[inline(never)]
    pub(crate) fn find_least(
        &mut self,
        timers: &mut Pages<Timer>,
        scratch: &mut Vec<Ranked>,
        scale: Scale,
    ) -> Instant {
        loop {
            let (slot, list, scale) = self.first_list(scale);
            match list.least {
                Least::First => return timers[list.first].deadline,
                Least::Known(least) => return least,
                Least::Unknown if list.is_short(timers) => slot.put(list.looked_through(timers)),
                Least::Unknown => slot.open_or_sort(list, timers, scratch, scale),
            }
        }
    }

    /// The first timers of all that are due: the first and the last of them, which
    /// is the only one that stays in the list.
    pub(crate) fn cut_due(
        &mut self,
        now: Instant,
        timers: &mut Pages<Timer>,
        scratch: &mut Vec<Ranked>,
        scale: Scale,
    ) -> Option<(u32, u32)> {
        loop {
            let (slot, list, scale) = self.first_list(scale);
            match list.least {
                Least::First => {
                    let last = list.last_due(timers, now)?;
                    if last != list.first {
                        timers[last].previous = NONE;
                        slot.put(List { first: last, ..list });
                    }
                    return Some((list.first, last));
                }
                Least::Known(least) if least > now => return None,
                _ if list.is_short(timers) => slot.put(list.sorted(timers, scratch)),
                _ => slot.open_or_sort(list, timers, scratch, scale),
            }
        }
    }

    /// The first slot that has a list, and its scale.
    fn first_list(&mut self, mut scale: Scale) -> (&mut Slot, List, Scale) {
        let mut level = self;
        loop {
            let first = level.occupied.trailing_zeros() as usize;
            match level.slot(first) {
                Slot::Open(open) => (level, scale) = (open, scale.finer()),
                slot @ &mut Slot::List(list) => return (slot, list, scale),
            }
        }
    }
}

impl Slot {
    fn put(&mut self, list: List) {
        *self = Slot::List(list);
    }

    /// Makes a level of a long list. In a slot of a nanosecond there is nothing
    /// finer, nor anything but equal deadlines and what is past: that is sorted.
    #[inline(never)]
    fn open_or_sort(
        &mut self,
        list: List,
        timers: &mut Pages<Timer>,
        scratch: &mut Vec<Ranked>,
        scale: Scale,
    ) {
        if scale.width == 0 {
            return self.put(list.sorted(timers, scratch));
        }
        let (mut level, scale) = (Box::<Level>::default(), scale.finer());
        let mut index = list.first;
        while index != NONE {
            let timer = &mut timers[index];
            let (deadline, next) = (timer.deadline, timer.next);
            *timer = Timer::new(deadline, timer.call);
            level.join(scale.slot_of(deadline), timers, (index, deadline), scale);
            index = next;
        }
        *self = Slot::Open(level);
    }
}

impl List {
    /// Puts a timer in that stands in no list.
    #[inline]
    fn push(&mut self, timers: &mut Pages<Timer>, index: u32, deadline: Instant) {
        let last = &mut timers[self.last];
        if let Least::First = self.least
            && deadline < last.deadline
        {
            let first = &mut timers[self.first];
            if deadline < first.deadline {
                // A short timeout among long ones: the list stays in order.
                first.previous = index;
                timers[index].next = replace(&mut self.first, index);
                return;
            }
            self.least = Least::Known(first.deadline);
        } else if let Least::Known(least) = self.least {
            self.least = Least::Known(least.min(deadline));
        }
        timers[self.last].next = index;
        timers[index].previous = replace(&mut self.last, index);
    }

    /// Takes a timer out that is not the only one.
    #[inline(never)]
    fn remove(&mut self, timers: &mut Pages<Timer>, timer: Timer) {
        if matches!(self.least, Least::Known(least) if least == timer.deadline) {
            self.least = Least::Unknown;
        }
        match timer.previous {
            NONE => self.first = timer.next,
            previous => timers[previous].next = timer.next,
        }
        match timer.next {
            NONE => self.last = timer.previous,
            next => timers[next].previous = timer.previous,
        }
    }

    /// Of a list that is in order.
    fn last_due(self, timers: &Pages<Timer>, now: Instant) -> Option<u32> {
        let (mut index, mut last) = (self.first, None);
        while index != NONE && timers[index].deadline <= now {
            last = Some(index);
            index = timers[index].next;
        }
        last
    }

    fn is_short(self, timers: &Pages<Timer>) -> bool {
        let mut index = self.first;
        for _ in 0..SHORT {
            if index == NONE {
                return true;
            }
            index = timers[index].next;
        }
        index == NONE
    }

    /// The same, and its least deadline is known.
    fn looked_through(self, timers: &Pages<Timer>) -> List {
        let (mut index, mut least) = (self.first, Instant::NEVER);
        while index != NONE {
            let timer = &timers[index];
            (index, least) = (timer.next, least.min(timer.deadline));
        }
        List { least: Least::Known(least), ..self }
    }

    /// The same, in order of deadline and then of arrival.
    #[inline(never)]
    fn sorted(self, timers: &mut Pages<Timer>, scratch: &mut Vec<Ranked>) -> List {
        let mut index = self.first;
        while index != NONE {
            let Timer { deadline, next, .. } = timers[index];
            rank(scratch, index, deadline);
            index = next;
        }
        sort(scratch);
        let mut previous = NONE;
        for nth in 0..scratch.len() {
            let timer = &mut timers[scratch[nth].place];
            timer.next = scratch.get(nth + 1).map_or(NONE, |next| next.place);
            timer.previous = replace(&mut previous, scratch[nth].place);
        }
        let list = List { first: scratch[0].place, last: previous, least: Least::First };
        empty(scratch);
        list
    }
}

// ---- Sorting -------------------------------------------------------------------

/// Room for sorting so many is kept.
pub(crate) const MOST_SCRATCH: usize = 1024;

/// Puts a timer among those to be sorted: by deadline, and then by how many were
/// put there before it (Stable).
#[inline]
pub(crate) fn rank(scratch: &mut Vec<Ranked>, index: u32, deadline: Instant) {
    let rank = (deadline.as_nanos(), scratch.len() as u64);
    scratch.push(Ranked { rank, place: index });
}

/// Nothing is being sorted any more. The room that a crowd needed goes back.
pub(crate) fn empty(scratch: &mut Vec<Ranked>) {
    scratch.clear();
    if scratch.capacity() > MOST_SCRATCH {
        *scratch = Vec::new();
    }
}
