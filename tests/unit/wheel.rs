//! The tests of the wheel: against a sorted map, which is slow and plainly right.
//!
//! Both are given the same timers and the same time. After each step they must
//! agree: on who fired, in which order, on the next deadline, and on how many
//! are left.

use super::*;
use crate::levels::MOST_SCRATCH;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::Duration;

// The very last moment is `Instant::NEVER`, which does not come.
const LAST: u64 = u64::MAX - 1;
const TWELVE_DAYS: u64 = 12 * 24 * 3600 * 1_000_000_000;

/// A waker that says who was woken.
struct Ring {
    id: u64,
    rung: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Ring {
    fn wake(self: Arc<Ring>) {
        self.rung.lock().unwrap().push(self.id);
    }
}

struct Held {
    key: TimerKey,
    /// Where it stands in the map, unless it has fired.
    pending: Option<(Instant, u64)>,
}

/// A wheel, and the map that it must agree with.
#[derive(Default)]
struct Pair {
    wheel: Wheel,
    map: BTreeMap<(Instant, u64), u64>,
    held: BTreeMap<u64, Held>,
    rung: Arc<Mutex<Vec<u64>>>,
    now: u64,
    arrivals: u64,
    ids: u64,
}

impl Pair {
    fn at(now: u64) -> Pair {
        let mut pair = Pair::default();
        assert_eq!(pair.go_to(now), 0);
        pair
    }

    /// When this one is due, arriving now.
    fn arrives(&mut self, deadline: u64) -> (Instant, u64) {
        let deadline = deadline.min(LAST);
        self.arrivals += 1;
        (Instant::from_nanos(deadline), self.arrivals)
    }

    /// Who it is that says that he is this one: a task, or somebody else.
    fn whom(&self, id: u64, is_task: bool) -> Whom {
        match is_task {
            true => Whom::Task(Name::from_bits(Name::LEAST | id)),
            false => Whom::Other(Waker::from(Arc::new(Ring { id, rung: self.rung.clone() }))),
        }
    }

    fn insert(&mut self, deadline: u64) -> u64 {
        let (at, id) = (self.arrives(deadline), self.ids);
        self.ids += 1;
        let key = self.wheel.insert(at.0, self.whom(id, id % 3 == 0));
        self.map.insert(at, id);
        self.held.insert(id, Held { key, pending: Some(at) });
        id
    }

    fn remove(&mut self, id: u64) {
        let Held { key, pending } = self.held.remove(&id).expect("it is held");
        assert_eq!(self.wheel.has_fired(&key), pending.is_none(), "it fires at its time");
        self.wheel.remove(key);
        if let Some(at) = pending {
            assert_eq!(self.map.remove(&at), Some(id));
        }
    }

    /// Resets it, unless it has fired.
    fn reset(&mut self, id: u64, deadline: u64) {
        let Some(old) = self.held[&id].pending else { return };
        let at = self.arrives(deadline);
        self.map.remove(&old);
        self.map.insert(at, id);
        let held = self.held.get_mut(&id).expect("it is held");
        held.pending = Some(at);
        assert!(self.wheel.reset(&held.key, at.0), "it has not fired");
    }

    /// Lets it be waited for as a task, or as somebody else, unless it has fired.
    fn set_whom(&mut self, id: u64, is_task: bool) {
        let Held { key, pending: Some(_) } = &self.held[&id] else { return };
        let (whom, again) = (self.whom(id, is_task), self.whom(id, is_task));
        assert!(self.wheel.set_whom(key, whom).is_some(), "somebody was waiting");
        match again {
            Whom::Task(name) => {
                assert_eq!(self.wheel.waits(key, Some(name), Waker::noop()), Waits::Yes);
            }
            // Another waker, although it does the same.
            Whom::Other(waker) => {
                assert_eq!(self.wheel.waits(key, None, &waker), Waits::Another);
            }
        }
    }

    /// Some id that is held, the same for the same number.
    fn pick(&self, number: u64) -> Option<u64> {
        let from = number.checked_rem(self.ids)?;
        let next = self.held.range(from..).next().or_else(|| self.held.iter().next());
        next.map(|(&id, _)| id)
    }

    /// Goes there and fires. Answers how many fired.
    #[track_caller]
    fn go_to(&mut self, now: u64) -> usize {
        let now = now.min(LAST);
        assert!(now >= self.now, "an executor's time does not go backwards");
        self.now = now;
        let moment = Instant::from_nanos(now);
        let mut due = Vec::new();
        self.wheel.fire(moment, &mut due);
        for whom in due {
            match whom {
                Whom::Task(name) => self.rung.lock().unwrap().push(name.ticket().to_bits()),
                Whom::Other(waker) => waker.wake(),
            }
        }
        let rung = std::mem::take(&mut *self.rung.lock().unwrap());

        let later = match now {
            LAST => BTreeMap::new(),
            _ => self.map.split_off(&(Instant::from_nanos(now + 1), 0)),
        };
        let expected: Vec<u64> = std::mem::replace(&mut self.map, later).into_values().collect();
        assert!(rung == expected, "at {now}: {} fired of {}", rung.len(), expected.len());
        for id in &expected {
            let held = self.held.get_mut(id).expect("it is held");
            held.pending = None;
            assert!(self.wheel.has_fired(&held.key), "it has fired");
        }
        self.agree();
        rung.len()
    }

    #[track_caller]
    fn agree(&mut self) {
        let next = self.map.first_key_value().map(|(&(deadline, _), _)| deadline);
        assert_eq!(self.wheel.next_deadline(), next, "the next deadline at {}", self.now);
        assert_eq!(self.wheel.iter().count(), self.map.len(), "how many are pending");
        assert_eq!(self.wheel.is_idle(), self.map.is_empty(), "whether any is");
    }

    /// Lets each fire at its own moment, and looks one nanosecond before.
    #[track_caller]
    fn play_out(&mut self) {
        while let Some(next) = self.wheel.next_deadline() {
            let next = next.as_nanos();
            if next.saturating_sub(1) > self.now {
                assert_eq!(self.go_to(next - 1), 0, "nothing fires early");
            }
            assert_ne!(self.go_to(next.max(self.now)), 0, "at its deadline it fires");
        }
        assert!(self.map.is_empty(), "none is lost");
    }

    #[track_caller]
    fn clear(&mut self) {
        while let Some(id) = self.pick(0) {
            self.remove(id);
        }
        self.agree();
        assert_eq!(
            (self.wheel.timers.len(), self.wheel.others.len()),
            (0, 0),
            "nothing is left behind"
        );
        assert!(self.wheel.levels.iter().all(|level| level.occupied == 0));
    }
}

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of any size, the small ones as often as the large ones.
    fn of_any_size(&mut self, most_bits: u64) -> u64 {
        let bits = self.below(most_bits + 1);
        match bits {
            0 => 0,
            bits => self.next() >> (64 - bits),
        }
    }
}

/// Where the levels' slots begin, and a nanosecond to each side.
fn boundaries() -> Vec<u64> {
    let mut boundaries = vec![0, 1, LAST - 1];
    for level in 0..LEVELS as u32 {
        let width = 1_u64 << (WIDTH_BITS + level * LEVEL_BITS);
        for many in [1, 2, 63] {
            let edge = width * many;
            boundaries.extend([edge - 1, edge, edge + 1]);
        }
    }
    boundaries.sort_unstable();
    boundaries.dedup();
    boundaries
}

/// So many random steps; deadlines lie up to 2^`bits` ns ahead.
fn play_at_random(seed: u64, steps: usize, bits: u64, began: u64) {
    let mut random = Random(seed);
    let mut pair = Pair::at(began);
    for _ in 0..steps {
        // Coarse ones meet often, and then the arrival decides.
        let ahead = match random.below(3) {
            0 => random.of_any_size(bits) >> 12 << 12,
            _ => random.of_any_size(bits),
        };
        match random.below(13) {
            0..4 => {
                pair.insert(pair.now.saturating_add(ahead));
            }
            4 => {
                pair.insert(pair.now.saturating_sub(ahead)); // the past
            }
            5..8 => {
                if let Some(id) = pair.pick(random.next()) {
                    pair.remove(id);
                }
            }
            8 => {
                if let Some(id) = pair.pick(random.next()) {
                    pair.reset(id, pair.now.saturating_add(ahead));
                }
            }
            9 => {
                if let Some(id) = pair.pick(random.next()) {
                    pair.set_whom(id, random.below(2) == 0);
                }
            }
            10 => {
                pair.go_to(pair.now); // time stands still
            }
            11 => {
                let next = pair.wheel.next_deadline().map(Instant::as_nanos);
                let next = next.filter(|&next| next > pair.now);
                if let Some(next) = next {
                    assert_eq!(pair.go_to(next - 1), 0, "nothing fires early");
                    assert_ne!(pair.go_to(next), 0, "at its deadline it fires");
                }
            }
            _ => {
                let step = random.of_any_size(bits);
                pair.go_to(pair.now.saturating_add(step));
            }
        }
        // Not always: what has been cancelled is then found by `fire`.
        if random.below(2) == 0 {
            pair.agree();
        }
    }
    pair.play_out();
    pair.clear();
}

// promise 7.5, 7.6
#[test]
fn the_wheel_agrees_with_a_sorted_map_whatever_is_done_to_it() {
    for seed in 1..=40 {
        for bits in [4, 17, 24, 40, 56] {
            play_at_random(seed * 0x9e37_79b9, 500, bits, seed * 77_777_777);
        }
    }
}

// promise 7.5
#[test]
fn the_wheel_agrees_with_a_sorted_map_at_the_end_of_time() {
    for seed in 1..=40 {
        for began in [1 << 63, LAST - (1 << 40), LAST - (1 << 16), LAST - 3, LAST] {
            play_at_random(seed * 0x51ed_270b, 200, 45, began);
        }
    }
}

// promise 7.5
#[test]
fn from_every_boundary_to_every_boundary_a_timer_fires_to_the_nanosecond() {
    let boundaries = boundaries();
    for &from in &boundaries {
        for &to in boundaries.iter().filter(|&&to| to > from) {
            let mut pair = Pair::at(from);
            pair.insert(to);
            pair.agree();
            assert_eq!(pair.go_to(to - 1), 0, "from {from} to {to}: early");
            assert_eq!(pair.go_to(to), 1, "from {from} to {to}: at its deadline");
        }
    }
}

// promise 7.5, 7.6
#[test]
fn a_crowd_that_was_looked_through_fires_in_order_when_time_jumps_over_it() {
    let width = 1 << WIDTH_BITS;
    // Of one slot of the lowest level: apart, close together (which is opened twice over),
    // and equal.
    for apart in [997, 3, 0] {
        for then in [2 * width, 5 * width, 70 * width] {
            let mut pair = Pair::at(7 * width);
            let begins = pair.now + width;
            let ids: Vec<u64> =
                (0..60).map(|at| pair.insert(begins + (at * 29 % 60) * apart)).collect();
            // The least, again and again, so that the next one is to be found.
            for _ in 0..3 {
                let least = *pair.map.first_key_value().expect("they wait").1;
                pair.remove(least);
                pair.agree();
            }
            assert_eq!(pair.go_to(pair.now + then), ids.len() - 3, "all at once");
            pair.insert(pair.now + width);
            pair.play_out();
            pair.clear();
        }
    }
}

// promise 7.5
#[test]
fn timers_at_all_boundaries_fire_each_at_its_own_moment() {
    for &from in &boundaries() {
        let mut pair = Pair::at(from);
        for &boundary in boundaries().iter().rev() {
            pair.insert(from.saturating_add(boundary));
            pair.insert(boundary);
            pair.agree();
        }
        pair.play_out();
        pair.clear();
    }
}

// promise 7.5
#[test]
fn timers_at_all_boundaries_fire_in_order_in_one_leap() {
    let mut pair = Pair::default();
    for &boundary in boundaries().iter().chain(boundaries().iter().rev()) {
        pair.insert(boundary);
    }
    assert_eq!(pair.go_to(LAST), 2 * boundaries().len());
    pair.clear();
}

// promise 7.5
#[test]
fn what_was_set_early_and_handed_down_comes_before_its_equal_that_was_set_late() {
    for level in 1..LEVELS as u32 {
        let deadline = 5_u64 << (WIDTH_BITS + level * LEVEL_BITS);
        let mut pair = Pair::default();
        let early = pair.insert(deadline);
        assert_eq!(pair.go_to(deadline - 1), 0);
        let late = pair.insert(deadline);
        assert_eq!(pair.go_to(deadline), 2);
        assert!(early < late, "the pair checks the order");

        let (first, _second) = (pair.insert(deadline + 9), pair.insert(deadline + 9));
        pair.reset(first, deadline + 9); // counts as newly arrived
        assert_eq!(pair.go_to(deadline + 9), 2);
        pair.clear();
    }
}

// promise 7.5
#[test]
fn twelve_days_pass_by_in_uneven_steps() {
    let mut random = Random(12);
    let mut pair = Pair::default();
    for _ in 0..2_000 {
        pair.insert(random.below(TWELVE_DAYS));
    }
    pair.insert(TWELVE_DAYS);
    while pair.now < TWELVE_DAYS {
        let step = random.of_any_size(52) + 1;
        pair.go_to((pair.now + step).min(TWELVE_DAYS));
    }
    assert!(pair.wheel.is_idle());
    pair.clear();
}

// promise 7.5
#[test]
fn a_hundred_thousand_equal_deadlines_fire_in_the_order_in_which_they_were_set() {
    let deadline = Duration::from_secs(3).as_nanos() as u64;
    let mut pair = Pair::default();
    for _ in 0..100_000 {
        pair.insert(deadline);
    }
    assert_eq!(pair.go_to(deadline - 1), 0);
    assert_eq!(pair.go_to(deadline), 100_000);
    pair.clear();
}

// promise 7.5
#[test]
fn a_past_timer_is_due_although_time_does_not_advance() {
    for now in boundaries() {
        let mut pair = Pair::at(now);
        for past in [0, now / 2, now.saturating_sub(1), now] {
            pair.insert(past);
        }
        pair.agree();
        assert_eq!(pair.go_to(now), 4);
        assert_eq!(pair.go_to(now), 0, "once");
        pair.clear();
    }
}

// promise 7.5
#[test]
fn a_timer_not_quite_due_in_the_present_slot_survives_any_number_of_looks() {
    let mut pair = Pair::at(1 << WIDTH_BITS);
    let deadline = (2 << WIDTH_BITS) - 1;
    pair.insert(deadline);
    for now in deadline - 1_000..deadline {
        assert_eq!(pair.go_to(now), 0);
        assert_eq!(pair.go_to(now), 0);
    }
    assert_eq!(pair.go_to(deadline), 1);
}

// promise 7.6
#[test]
fn the_next_deadline_stays_exact_while_the_least_are_cancelled_one_by_one() {
    let mut random = Random(6);
    // All in one slot of a high level, in no order.
    let start = 7 << (WIDTH_BITS + 5 * LEVEL_BITS);
    let mut pair = Pair::default();
    for _ in 0..500 {
        pair.insert(start + random.below(1 << 40));
    }
    while let Some((_, &id)) = pair.map.first_key_value() {
        pair.agree();
        pair.remove(id);
        if random.below(4) == 0 {
            pair.insert(start + (1 << 40) + random.below(1 << 30));
            let some = pair.pick(random.next()).expect("one was just set");
            pair.remove(some);
        }
    }
    pair.clear();
}

// promise 7.6
#[test]
fn a_hundred_thousand_timers_set_and_removed_give_their_memory_back() {
    let mut random = Random(100_000);
    let mut pair = Pair::default();
    for _ in 0..100_000 {
        pair.insert(random.of_any_size(60));
    }
    pair.agree();
    pair.clear();
    assert!(pair.wheel.timers.places() <= 1024 && pair.wheel.others.places() <= 1024);
    assert!(pair.wheel.scratch.capacity() <= MOST_SCRATCH);
}

/// What a turn does to clients that have a limit each: sets it anew, and asks when
/// to come back. Answers how often a timer was looked at in each of so many turns,
/// the first of which may put things in order.
fn looks_per_turn(pair: &mut Wheel, clients: usize, turns: u64, limit: impl Fn(u64) -> u64) -> u64 {
    let mut begin = 0;
    let mut now = 0;
    for turn in 0..2 * turns {
        if turn == turns {
            begin = pair.timers.looks.get();
        }
        now += 100_000; // 0.1 ms
        let mut due = Vec::new();
        pair.fire(Instant::from_nanos(now), &mut due);
        let keys: Vec<TimerKey> = (0..clients)
            .map(|client| {
                let deadline = now + limit(turn * clients as u64 + client as u64);
                let key = pair.insert(Instant::from_nanos(deadline), task(1));
                pair.next_deadline();
                key
            })
            .collect();
        for key in keys {
            pair.remove(key);
            pair.next_deadline();
        }
    }
    (pair.timers.looks.get() - begin) / turns
}

fn task(id: u64) -> Whom {
    Whom::Task(Name::from_bits(Name::LEAST | id))
}

const MINUTE: u64 = 60_000_000_000;

/// So many that merely wait.
fn wheel_with(many: u64, deadline: impl Fn(u64) -> u64) -> Wheel {
    let mut wheel = Wheel::default();
    for id in 0..many {
        wheel.insert(Instant::from_nanos(deadline(id)), task(id));
    }
    wheel
}

/// The same for the same number.
fn at_random(number: u64, below: u64) -> u64 {
    Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).below(below)
}

// promise 7.6
#[test]
fn a_turn_costs_the_same_however_many_timers_merely_wait() {
    type Deadlines = fn(u64) -> u64;
    let waiting: [(&str, Deadlines); 5] = [
        ("20 to 30 minutes", |id| 20 * MINUTE + at_random(id, 10 * MINUTE)),
        ("equal", |_| 25 * MINUTE),
        ("two constants", |id| (20 + 5 * (id % 2)) * MINUTE),
        ("jitter", |id| 25 * MINUTE + at_random(id, MINUTE / 60)),
        ("in one slot of 66 µs", |id| (25 * MINUTE) >> 16 << 16 | at_random(id, 1 << 16)),
    ];
    let limits: [(&str, Deadlines); 4] = [
        ("20 and 25 minutes", |n| (20 + 5 * (n % 2)) * MINUTE),
        ("before all others", |n| MINUTE + n),
        ("among them, downward", |n| 30 * MINUTE - 1_000 * n),
        ("anywhere", |n| at_random(n, 30 * MINUTE)),
    ];
    for (pattern, deadline) in waiting {
        for (clients, limit) in limits {
            let cost = |many| looks_per_turn(&mut wheel_with(many, deadline), 2, 500, limit);
            let (few, many) = (cost(1_000), cost(100_000));
            assert!(many <= 2 * few + 32, "{clients} beside {pattern}: {few} looks, then {many}");
        }
    }
}

// promise 7.6
#[test]
fn to_cancel_the_earliest_of_many_again_and_again_costs_each_a_few_looks() {
    for (spread, most) in [(10 * MINUTE, 80), (1 << 20, 80), (1, 20)] {
        for many in [1_000, 100_000] {
            let mut wheel = Wheel::default();
            let mut keys: Vec<(u64, TimerKey)> = (0..many)
                .map(|id| 20 * MINUTE + at_random(id, spread))
                .map(|at| (at, wheel.insert(Instant::from_nanos(at), task(1))))
                .collect();
            keys.sort_by_key(|(at, _)| *at);
            let before = wheel.timers.looks.get();
            for (at, key) in keys {
                assert_eq!(wheel.next_deadline(), Some(Instant::from_nanos(at)));
                wheel.remove(key);
            }
            let looks = (wheel.timers.looks.get() - before) / many;
            assert!(looks <= most, "{many} within {spread} ns: {looks} looks each");
        }
    }
}

// promise 7.5, 7.6
#[test]
fn only_those_that_are_due_are_looked_at_in_a_slot_that_time_is_in() {
    for step in [1, 7] {
        let cost = |many: u64| {
            let start = 3 << WIDTH_BITS;
            let mut wheel = wheel_with(many, |id| start + 30_000 + at_random(id, 30_000));
            for nth in 0..2_000 {
                wheel.insert(Instant::from_nanos(start + nth * step), task(nth));
            }
            let (mut due, before) = (Vec::new(), wheel.timers.looks.get());
            for nth in 0..2_000 {
                wheel.fire(Instant::from_nanos(start + nth * step), &mut due);
                assert_eq!(due.len() as u64, nth + 1);
                wheel.next_deadline();
            }
            (wheel.timers.looks.get() - before) / 2_000
        };
        let (few, many) = (cost(100), cost(10_000));
        assert!(many <= 2 * few + 64, "{few} looks, then {many}");
    }
}

// promise 7.5, 7.6
#[test]
fn the_wheel_agrees_with_a_sorted_map_also_where_slots_are_crowded() {
    for seed in 1..=60_u64 {
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let mut pair = Pair::at(seed * 1_234_567);
        // All within a slot of some level, which the least of them often leaves.
        let width = 1_u64 << (4 + seed % 30);
        let center = pair.now + random.below(8) * width;
        for _ in 0..600 {
            match random.below(8) {
                0..4 => {
                    pair.insert(center + random.below(width));
                }
                4..6 => {
                    if let Some((_, &id)) = pair.map.first_key_value() {
                        pair.remove(id);
                    }
                }
                6 => {
                    if let Some(id) = pair.pick(random.next()) {
                        pair.reset(id, center + random.below(width));
                    }
                }
                _ if random.below(16) == 0 => {
                    let step = random.below(width / 4 + 1);
                    pair.go_to(pair.now + step);
                }
                _ => pair.agree(),
            }
        }
        pair.play_out();
        pair.clear();
    }
}
