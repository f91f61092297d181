//! The run queue: which tasks are ready, in the order they became so.
//!
//! It holds tickets, not futures. A queue of futures would have to own them,
//! and then nobody else could cancel one.
//!
//! Done callbacks stand in the same line as tasks, because whoever awaits a
//! task and whoever left a callback on it asked for the same thing and should
//! be served in the order in which they asked. The queue knows only *that* a
//! callback stands here; which one is kept beside (`state.rs`), first come
//! first served.
//!
//! # Invariants
//!
//! - **Batch.** A batch is what stands in line when it begins. Who is pushed
//!   while a batch is out waits for the next one; otherwise a task that wakes
//!   itself would keep everyone else waiting.
//! - **Leftovers first.** What a small budget left of a batch stands before
//!   everything that came later, shuffled or not.
//!
//! That a task stands in line at most once (**Once**) is kept by the mark in
//! the task's header: see `table.rs`.

use crate::id::Ticket;

/// What stands in line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Task(Ticket),
    Callback,
}

/// No ticket has the bits above 48, so this is free to mean a callback.
const CALLBACK: u64 = u64::MAX;

/// So many places are kept also when few are needed.
const KEPT: usize = 1024;

/// Ready tasks and callbacks, first in, first out.
#[derive(Default)]
pub(crate) struct RunQueue {
    line: Line,
    shuffle: Option<Box<Shuffle>>,
}

struct Shuffle {
    random: SplitMix64,
    /// Up to which place the order has been drawn already.
    drawn: usize,
}

impl RunQueue {
    /// A queue whose batches come in an order drawn from `seed`.
    pub(crate) fn shuffled(seed: u64) -> RunQueue {
        let shuffle = Shuffle { random: SplitMix64(seed), drawn: 0 };
        RunQueue { line: Line::default(), shuffle: Some(Box::new(shuffle)) }
    }

    #[inline]
    pub(crate) fn push_task(&mut self, ticket: Ticket) {
        self.line.push(ticket.to_bits());
    }

    pub(crate) fn push_callback(&mut self) {
        self.line.push(CALLBACK);
    }

    /// Begins a batch: everything in line. Answers how many that is.
    #[inline]
    pub(crate) fn begin_batch(&mut self) -> usize {
        if self.shuffle.is_some() {
            self.draw();
        }
        if self.line.places.len() > KEPT {
            self.halve();
        }
        self.line.len()
    }

    #[cold]
    fn draw(&mut self) {
        if let Some(shuffle) = &mut self.shuffle {
            shuffle.draw(&mut self.line);
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.line.pop().map(Entry::from_bits)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.line.len() == 0
    }

    /// Everything in line, in order, without taking it out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.line.len()).map(|place| Entry::from_bits(self.line.at(place)))
    }

    /// Gives memory back of which little is used, also in an executor that is never
    /// idle. By halves, so that a crowd that comes every other turn finds most of its
    /// room.
    #[inline(never)]
    fn halve(&mut self) {
        let places = self.line.places.len();
        if self.line.len() < places / 8 {
            self.line.move_to(places / 2);
        }
    }

    /// Gives back memory that a past crowd needed and the present one does not.
    pub(crate) fn shrink(&mut self) {
        let places = self.line.places.len();
        if places > KEPT && self.line.len() < places / 8 {
            self.line.move_to((self.line.len() * 2).next_power_of_two());
        }
    }
}

impl Shuffle {
    /// Draws an order for those who have come since the last time; those before
    /// them keep theirs.
    fn draw(&mut self, line: &mut Line) {
        let left = self.drawn.wrapping_sub(line.first);
        let left = if left <= line.len() { left } else { 0 };
        let mut newcomers: Vec<u64> = (left..line.len()).map(|place| line.at(place)).collect();
        self.random.permute(&mut newcomers);
        for (place, bits) in (left..line.len()).zip(newcomers) {
            line.put(place, bits);
        }
        self.drawn = line.first.wrapping_add(line.len());
    }
}

impl Entry {
    #[inline]
    fn from_bits(bits: u64) -> Entry {
        if bits == CALLBACK { Entry::Callback } else { Entry::Task(Ticket::from_bits(bits)) }
    }
}

/// A line in a ring: as many places as a power of two, so that the place after
/// the last is found by cutting off bits.
#[derive(Default)]
struct Line {
    places: Box<[u64]>,
    /// How many have ever left: the place of the first, before it is cut to the
    /// number of places.
    first: usize,
    /// How many have ever come: the place behind the last.
    end: usize,
}

impl Line {
    #[inline]
    fn push(&mut self, bits: u64) {
        if self.len() == self.places.len() {
            self.grow();
        }
        let places = self.places.len();
        self.places[self.end & (places - 1)] = bits;
        self.end = self.end.wrapping_add(1);
    }

    #[inline]
    fn pop(&mut self) -> Option<u64> {
        if self.first == self.end {
            return None;
        }
        let bits = self.at(0);
        self.first = self.first.wrapping_add(1);
        Some(bits)
    }

    #[inline]
    fn len(&self) -> usize {
        self.end.wrapping_sub(self.first)
    }

    /// The one `place` places behind the first.
    #[inline]
    fn at(&self, place: usize) -> u64 {
        self.places[self.first.wrapping_add(place) & (self.places.len() - 1)]
    }

    #[inline]
    fn put(&mut self, place: usize, bits: u64) {
        let places = self.places.len();
        self.places[self.first.wrapping_add(place) & (places - 1)] = bits;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.move_to((self.len() * 2).max(16));
    }

    /// Moves the line to a ring with so many places, a power of two.
    #[cold]
    fn move_to(&mut self, places: usize) {
        debug_assert!(places >= self.len() && places.is_power_of_two());
        // Anything but zeros: for those `vec!` asks for memory that is zero, which
        // takes an allocator longer than a few words are worth.
        let ring = vec![CALLBACK; places].into_boxed_slice();
        let old = Line { places: std::mem::replace(&mut self.places, ring), ..*self };
        (0..self.len()).for_each(|place| self.put(place, old.at(place)));
    }
}

/// A small random number generator, the same on every machine.
///
/// Steele, Lea and Flood, *Fast splittable pseudorandom number generators*,
/// OOPSLA 2014, figure 16.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fisher and Yates's shuffle, from the back.
    fn permute(&mut self, entries: &mut [u64]) {
        for last in (1..entries.len()).rev() {
            // Multiply and shift instead of a remainder: Lemire 2019. The bias
            // for a batch of a million is one in 10^13.
            let other = (u128::from(self.next()) * (last as u128 + 1)) >> 64;
            entries.swap(last, other as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;

    fn ticket(n: u64) -> Ticket {
        TaskId::new(n, n as usize).ticket()
    }

    fn drain(queue: &mut RunQueue, count: usize) -> Vec<Entry> {
        (0..count).map(|_| queue.pop().unwrap()).collect()
    }

    #[test]
    fn first_in_is_first_out_and_callbacks_keep_their_place() {
        let mut queue = RunQueue::default();
        queue.push_task(ticket(1));
        queue.push_callback();
        queue.push_task(ticket(2));
        assert_eq!(queue.begin_batch(), 3);
        let order = drain(&mut queue, 3);
        assert_eq!(order, [Entry::Task(ticket(1)), Entry::Callback, Entry::Task(ticket(2))]);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_shuffled_batch_is_a_permutation_and_the_same_for_the_same_seed() {
        let run = |seed| {
            let mut queue = RunQueue::shuffled(seed);
            (1..=100).for_each(|n| queue.push_task(ticket(n)));
            let count = queue.begin_batch();
            drain(&mut queue, count)
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let mut slots: Vec<usize> = run(7)
            .into_iter()
            .map(|entry| match entry {
                Entry::Task(ticket) => ticket.slot(),
                Entry::Callback => unreachable!(),
            })
            .collect();
        slots.sort_unstable();
        assert_eq!(slots, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_budget_left_of_a_shuffled_batch_comes_before_newcomers() {
        let mut queue = RunQueue::shuffled(1);
        (1..=10).for_each(|n| queue.push_task(ticket(n)));
        queue.begin_batch();
        drain(&mut queue, 4);
        (11..=100).for_each(|n| queue.push_task(ticket(n)));
        queue.begin_batch();
        for entry in drain(&mut queue, 6) {
            assert!(matches!(entry, Entry::Task(ticket) if ticket.slot() <= 10));
        }
    }
}
