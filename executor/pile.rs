//! The pile: which slots other threads have woken.
//!
//! A stack whose links lie in the slots' own places, so that a wake allocates
//! nothing: Treiber, *Systems programming: coping with parallelism*, IBM RJ 5118,
//! 1986. Any thread puts a slot on top. The executor takes all of them at once
//! and turns the pile over: who came first is first. Since nobody takes a single
//! one, a top that has gone and come back does no harm.
//!
//! # Invariants
//!
//! - **Once for each slot.** A slot lies in the pile at most once, however many
//!   threads wake it. Whoever finds that it does not lie there puts it there; the
//!   executor says that it does not any more *before* the poll, so that a wake
//!   during the poll counts.
//! - **Whose link.** The link of a slot is written by whoever is putting it
//!   there, and by the executor from when it has taken the pile until it says
//!   that the slot does not lie there.

use crate::sync::{AtomicBool, AtomicU32};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// Slots, and each at most once.
#[repr(C)] // what all threads write comes first: see `Inbox`
pub(crate) struct Pile {
    top: AtomicU32,
    places: Places,
}

/// What is below the lowest: a slot that is never reached.
const NONE: u32 = u32::MAX;

/// The place of a slot.
#[derive(Default)]
struct Place {
    /// Whether the slot lies in the pile.
    lies: AtomicBool,
    /// The slot below it.
    below: AtomicU32,
}

impl Default for Pile {
    fn default() -> Pile {
        Pile { top: AtomicU32::new(NONE), places: Places::default() }
    }
}

impl Pile {
    /// Puts a slot on the pile. False if it lies there already.
    #[must_use]
    pub(crate) fn put(&self, slot: usize) -> bool {
        let place = self.places.of(slot);
        // A swap even where a load would do: what this thread wrote before must be
        // seen by the poll, also when somebody else has put the slot there.
        if place.lies.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            place.below.store(top, Ordering::Relaxed);
            let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
            match self.top.compare_exchange_weak(top, slot as u32, release, relaxed) {
                Ok(_) => return true,
                Err(other) => top = other,
            }
        }
    }

    /// Takes all that lie there now, in the order in which they came.
    pub(crate) fn take_all(&self, mut take: impl FnMut(u32)) {
        let mut first = self.turned_over();
        while first != NONE {
            let place = self.places.of(first as usize);
            // The link first: then the slot may lie there again.
            let slot = std::mem::replace(&mut first, place.below.load(Ordering::Relaxed));
            place.lies.swap(false, Ordering::AcqRel);
            take(slot);
        }
    }

    /// Takes the pile away and turns it over. Answers what is on top then.
    fn turned_over(&self) -> u32 {
        if self.top.load(Ordering::Relaxed) == NONE {
            return NONE; // who puts a slot there now rings afterwards
        }
        let mut at = self.top.swap(NONE, Ordering::Acquire);
        let mut first = NONE;
        while at != NONE {
            let below = &self.places.of(at as usize).below;
            let next = below.load(Ordering::Relaxed);
            below.store(first, Ordering::Relaxed);
            first = std::mem::replace(&mut at, next);
        }
        first
    }
}

/// A place for each slot, found without a lock while more are added: lists of
/// 64, 64, 128, 256 … places, each made when first needed and never moved.
#[derive(Default)]
struct Places {
    lists: [OnceLock<Box<[Place]>>; 19],
}

impl Places {
    const FIRST: usize = 64;

    #[inline]
    fn of(&self, slot: usize) -> &Place {
        let (list, place) = Places::index(slot);
        let length = if list == 0 { Places::FIRST } else { 32 << list };
        let make = || (0..length).map(|_| Place::default()).collect();
        &self.lists[list].get_or_init(make)[place]
    }

    /// In which list a slot's place is, and where in that.
    #[inline]
    fn index(slot: usize) -> (usize, usize) {
        if slot < Places::FIRST {
            return (0, slot);
        }
        let power = slot.ilog2();
        (power as usize - 5, slot - (1 << power))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn taken(pile: &Pile) -> Vec<u32> {
        let mut slots = Vec::new();
        pile.take_all(|slot| slots.push(slot));
        slots
    }

    #[test]
    fn every_slot_has_its_own_place() {
        let places = Places::default();
        let mut seen = std::collections::HashSet::new();
        for slot in 0..10_000 {
            assert!(seen.insert(places.of(slot) as *const _), "slot {slot}");
        }
        assert_eq!(Places::index((1 << 24) - 1), (18, (1 << 23) - 1));
    }

    // promise 7.1, 7.2: first come, first served, and each once.
    #[test]
    fn slots_come_out_in_the_order_in_which_they_came_and_once() {
        let pile = Pile::default();
        assert_eq!(taken(&pile), []);
        for (slot, is_new) in [(7, true), (3, true), (7, false), (100_000, true), (3, false)] {
            assert_eq!(pile.put(slot), is_new, "slot {slot}");
        }
        assert_eq!(taken(&pile), [7, 3, 100_000]);
        assert_eq!(taken(&pile), []);
        assert!(pile.put(3) && pile.put(7));
        assert_eq!(taken(&pile), [3, 7]);
    }

    // promise 7.2: never lost, also when it comes while others are taken out.
    #[test]
    fn a_slot_that_is_taken_out_may_be_put_there_again() {
        let pile = Pile::default();
        assert!(pile.put(1) && pile.put(2));
        pile.take_all(|slot| {
            assert!(pile.put(slot as usize));
            assert!(!pile.put(slot as usize));
        });
        assert_eq!(taken(&pile), [1, 2]);
    }

    // promise 7.2: from other threads; what was written before the wake is seen.
    #[test]
    fn four_threads_put_and_nothing_is_lost() {
        const ROUNDS: usize = 2_000;
        let pile = Pile::default();
        let written = [const { AtomicUsize::new(0) }; 8];
        let at_work = AtomicUsize::new(4);
        let take_all = |seen: &mut [usize; 8]| {
            pile.take_all(|slot| {
                seen[slot as usize] = written[slot as usize].load(Ordering::Relaxed)
            });
        };
        let mut seen = [0; 8];
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (pile, written, at_work) = (&pile, &written, &at_work);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let slot = (thread + round) % 8;
                        written[slot].fetch_add(1, Ordering::Relaxed);
                        let _it_may_lie_there = pile.put(slot);
                    }
                    at_work.fetch_sub(1, Ordering::Release);
                });
            }
            while at_work.load(Ordering::Acquire) > 0 {
                take_all(&mut seen);
                std::thread::yield_now();
            }
        });
        take_all(&mut seen);
        assert_eq!(seen.iter().sum::<usize>(), 4 * ROUNDS, "{seen:?}");
    }
}
