//! The timer wheel against a sorted map, on inputs that libFuzzer makes.
//!
//! An input is a moment to begin at, and steps of three bytes: what to do, to which
//! timer, and how far ahead. The wheel is compiled from the library's own files, as
//! it stands, since it is not public.

#![no_main]
#![allow(dead_code)] // not all that the library uses is used here

#[path = "../../../executor/clock.rs"]
mod clock;
#[path = "../../../executor/id.rs"]
mod id;
#[path = "../../../executor/levels.rs"]
mod levels;
#[path = "../../../executor/order.rs"]
mod order;
#[path = "../../../executor/pages.rs"]
mod pages;
#[path = "../../../executor/wheel.rs"]
mod wheel;

use std::collections::BTreeMap;

use clock::Instant;
use id::Name;
use libfuzzer_sys::fuzz_target;
use wheel::{TimerKey, Wheel, Whom};

/// The very last moment is `Instant::NEVER`, which does not come.
const LAST: u64 = u64::MAX - 1;

/// A wheel, and the map that it must agree with.
#[derive(Default)]
struct Pair {
    wheel: Wheel,
    /// By deadline and arrival: which timer.
    map: BTreeMap<(u64, u64), u64>,
    /// The timers that are held, with their place in the map unless they have fired.
    held: Vec<(u64, TimerKey, Option<(u64, u64)>)>,
    /// Where in `held` a timer is, by its number.
    places: Vec<usize>,
    now: u64,
    arrivals: u64,
}

impl Pair {
    fn arrives(&mut self, deadline: u64) -> (u64, u64) {
        self.arrivals += 1;
        (deadline.min(LAST), self.arrivals)
    }

    fn insert(&mut self, deadline: u64) {
        let at = self.arrives(deadline);
        let id = self.arrivals;
        let whom = Whom::Task(Name::from_bits(Name::LEAST | id));
        let key = self.wheel.insert(Instant::from_nanos(at.0), whom);
        self.map.insert(at, id);
        self.places.resize(id as usize + 1, 0);
        self.places[id as usize] = self.held.len();
        self.held.push((id, key, Some(at)));
    }

    fn remove(&mut self, place: usize) {
        if self.held.is_empty() {
            return;
        }
        let place = place % self.held.len();
        let (_, key, at) = self.held.swap_remove(place);
        if let Some((moved, ..)) = self.held.get(place) {
            self.places[*moved as usize] = place;
        }
        assert_eq!(self.wheel.has_fired(&key), at.is_none(), "it waits or has fired");
        assert!(self.wheel.remove(key).is_none(), "a task has a name, and no waker");
        if let Some(at) = at {
            self.map.remove(&at);
        }
    }

    /// The one that is due first: what makes others the least of their slots.
    fn remove_first(&mut self) {
        if let Some((_, &id)) = self.map.first_key_value() {
            self.remove(self.places[id as usize]);
        }
    }

    fn reset(&mut self, place: usize, deadline: u64) {
        if self.held.is_empty() {
            return;
        }
        let (place, at) = (place % self.held.len(), self.arrives(deadline));
        let (id, key, before) = &mut self.held[place];
        assert_eq!(self.wheel.reset(key, Instant::from_nanos(at.0)), before.is_some());
        if let Some(before) = before {
            self.map.remove(before);
            self.map.insert(at, *id);
            *before = at;
        }
    }

    fn go_to(&mut self, now: u64) {
        self.now = now.min(LAST).max(self.now);
        let mut due = Vec::new();
        self.wheel.fire(Instant::from_nanos(self.now), &mut due);
        let later = self.map.split_off(&(self.now + 1, 0));
        let expected = std::mem::replace(&mut self.map, later);
        let fired = due.iter().map(|whom| match whom {
            Whom::Task(name) => name.ticket().to_bits(),
            Whom::Other(_) => unreachable!("all are tasks here"),
        });
        assert!(fired.eq(expected.values().copied()), "at {}: {due:?}, {expected:?}", self.now);
        for id in expected.into_values() {
            let (_, key, at) = &mut self.held[self.places[id as usize]];
            assert!(self.wheel.has_fired(key));
            *at = None;
        }
        self.agree();
    }

    fn agree(&mut self) {
        let next = self.map.first_key_value().map(|(&(deadline, _), _)| deadline);
        assert_eq!(self.wheel.next_deadline().map(Instant::as_nanos), next, "at {}", self.now);
        assert_eq!(self.wheel.is_idle(), self.map.is_empty());
    }
}

/// A byte as a time: small ones as they are, the others by powers of two.
fn far(byte: u8, fine: u8) -> u64 {
    match byte {
        0..64 => u64::from(byte) << (fine % 20),
        _ => (1 << ((byte - 64) % 60)) + u64::from(fine),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[begin, fine], steps)) = input.split_first_chunk() else { return };
    let mut pair = Pair::default();
    pair.go_to(far(begin, fine));
    for &[what, which, ahead] in steps.as_chunks().0 {
        let (place, ahead) = (usize::from(which), far(ahead, which));
        match what % 10 {
            0..3 => pair.insert(pair.now.saturating_add(ahead)),
            3 => pair.insert(pair.now.saturating_sub(ahead)),
            // A crowd, close together and in no order.
            4 => (0..40).for_each(|nth| {
                let near = u64::from(which) * 7 * nth % (ahead | 1);
                pair.insert(pair.now.saturating_add(ahead).saturating_add(near));
            }),
            5 => pair.remove(place),
            6 => (0..=which % 48).for_each(|_| {
                pair.remove_first();
                pair.agree();
            }),
            7 => pair.reset(place, pair.now.saturating_add(ahead)),
            8 => pair.go_to(pair.now.saturating_add(ahead)),
            _ => pair.agree(),
        }
        if pair.held.len() > 500 {
            break;
        }
    }
    while let Some((&(deadline, _), _)) = pair.map.first_key_value() {
        pair.go_to(deadline.saturating_sub(1));
        pair.go_to(deadline);
    }
    while !pair.held.is_empty() {
        pair.remove(0);
    }
    pair.agree();
});
