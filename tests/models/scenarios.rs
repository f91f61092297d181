//! The protocol by which other threads reach an executor, in small scenarios of
//! two and three threads.
//!
//! `pile.rs` and `inbox.rs` are the library's own files; only what is in
//! `sync.rs` is another's. What stands in for an executor is a loop that looks for
//! mail, polls, says that it waits, and sleeps, in the same order as `turn.rs`.
//!
//! A wake that is lost is a thread that sleeps for ever, and both tools say so.
//! What a thread wrote before its wake must be seen by the poll after it: the
//! writes are relaxed, so nothing but the wake itself can hand them over.

use crate::inbox::{Errand, Inbox, Lodging};
use crate::pile::Pile;
use crate::sync::{AtomicUsize, thread};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

type Scenario = fn();

/// Some with how many threads are made to give way to another at most, in one
/// execution: without such a limit loom has hours to do.
type Limit = Option<usize>;

const SCENARIOS: [(&str, Limit, Scenario); 10] = [
    ("two-wakes-of-a-slot", None, two_wakes_of_a_slot),
    ("wakes-of-two-slots", None, wakes_of_two_slots),
    ("wake-and-park", None, wake_and_park),
    ("two-wakes-and-park", Some(4), two_wakes_and_park),
    ("letter-and-park", None, letter_and_park),
    ("hook", None, hook),
    ("drop-and-wake", None, drop_and_wake),
    ("drop-wake-and-reuse", Some(5), drop_wake_and_reuse),
    ("close-and-send", None, close_and_send),
    ("hook-that-panics", None, hook_that_panics),
];

/// Runs those that are named on the command line; all, if none is.
pub fn main(check: impl Fn(Limit, Scenario)) {
    let named: Vec<String> = std::env::args().skip(1).collect();
    for name in &named {
        assert!(SCENARIOS.iter().any(|(known, ..)| known == name), "there is no scenario {name}");
    }
    for (name, limit, scenario) in SCENARIOS {
        if !named.is_empty() && !named.iter().any(|other| other == name) {
            continue;
        }
        let began = std::time::Instant::now();
        check(limit, scenario);
        let executions = EXECUTIONS.swap(0, Relaxed);
        println!("{name}: {executions} executions, {:.1} s", began.elapsed().as_secs_f64());
    }
}

/// How often a scenario has run: a number that the tools do not know of.
static EXECUTIONS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

// ---- What stands in for an executor -------------------------------------------

/// An inbox that lives for one execution.
struct House(&'static Inbox);

impl House {
    fn new() -> House {
        EXECUTIONS.fetch_add(1, Relaxed);
        let house = House(Box::leak(Box::new(Inbox::new())));
        // The places of the slots are made here, and not by two threads at once:
        // of the `OnceLock` that they stand in the tools know nothing.
        house.0.wake(0);
        turn(&house.move_in(0), |_| ());
        house
    }

    fn move_in(&self, tenant: u64) -> Lodging {
        Lodging::new(1, tenant, self.0)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: it was leaked by `new`, and the threads that knew it have
            // been joined.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(self.0).cast_mut()) });
        }
    }
}

/// What a task waits for: somebody writes, and then wakes its slot.
#[derive(Clone)]
struct Written(Arc<AtomicUsize>);

impl Written {
    fn new() -> Written {
        Written(Arc::new(AtomicUsize::new(0)))
    }

    fn write_and_wake(&self, inbox: &Inbox, slot: usize) {
        self.0.fetch_add(1, Relaxed);
        inbox.wake(slot);
    }

    fn read(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A turn: polls who was woken.
fn turn(lodging: &Lodging, mut poll: impl FnMut(u32)) {
    if lodging.has_mail() {
        lodging.take_wakes(&mut poll);
    }
}

/// Takes turns, and sleeps in between, until `is_done` says so after a poll.
fn block_on(lodging: &Lodging, mut poll: impl FnMut(u32), is_done: impl Fn() -> bool) {
    loop {
        turn(lodging, &mut poll);
        if is_done() {
            return;
        }
        if lodging.wait() {
            lodging.sleep_until(None);
        }
    }
}

/// As an executor that is dropped, up to where the next one may move in.
fn drop_executor(lodging: &Lodging) {
    lodging.close();
    drop(lodging.vacate());
}

// ---- Push against take --------------------------------------------------------------

/// A pile for one execution, of which the places are made.
fn pile() -> Arc<Pile> {
    EXECUTIONS.fetch_add(1, Relaxed);
    let pile = Pile::default();
    assert!(pile.put(0));
    pile.take_all(|_| ());
    Arc::new(pile)
}

/// Two threads wake the same slot: each is followed by a poll that sees what it
/// wrote, whichever of them has put the slot there.
fn two_wakes_of_a_slot() {
    let (pile, written) = (pile(), Written::new());
    let wakers = [(); 2].map(|()| {
        let (pile, written) = (pile.clone(), written.clone());
        thread::spawn(move || {
            written.0.fetch_add(1, Relaxed);
            let _it_may_lie_there = pile.put(0);
        })
    });
    let seen = Cell::new(0);
    let take = || {
        pile.take_all(|slot| {
            assert_eq!(slot, 0);
            let now = written.read();
            assert!(now >= seen.replace(now), "nothing is taken back");
        });
    };
    take();
    for waker in wakers {
        waker.join().unwrap();
        take();
    }
    // To join a thread shows what it wrote as well; so what counts is the number
    // of the last poll, and not what is read now.
    assert_eq!(seen.get(), 2, "the last wake is followed by a poll");
}

/// Two slots come out once each, and in order where there is one.
fn wakes_of_two_slots() {
    let pile = pile();
    let other = pile.clone();
    let waker = thread::spawn(move || {
        assert!(other.put(1));
        assert!(other.put(2));
    });
    let mut taken = Vec::new();
    assert!(pile.put(3));
    pile.take_all(|slot| taken.push(slot));
    waker.join().unwrap();
    pile.take_all(|slot| taken.push(slot));
    let in_order: Vec<u32> = taken.iter().copied().filter(|&slot| slot != 3).collect();
    assert_eq!((in_order, taken.len()), (vec![1, 2], 3));
}

// ---- Wake against park ----------------------------------------------------------------

/// The executor sleeps until it has polled after two wakes of another thread.
fn wake_and_park() {
    let house = House::new();
    let (inbox, written, seen) = (house.0, Written::new(), Cell::new(0));
    let writer = written.clone();
    let waker = thread::spawn(move || {
        writer.write_and_wake(inbox, 0);
        writer.write_and_wake(inbox, 0);
    });
    let lodging = house.move_in(1);
    block_on(&lodging, |_| seen.set(written.read()), || seen.get() == 2);
    waker.join().unwrap();
}

/// The same with two threads, each of which wakes a slot of its own.
fn two_wakes_and_park() {
    let house = House::new();
    let written = [Written::new(), Written::new()];
    let wakers = [0, 1].map(|slot| {
        let (inbox, written) = (house.0, written[slot].clone());
        thread::spawn(move || written.write_and_wake(inbox, slot))
    });
    let lodging = house.move_in(1);
    let seen = [Cell::new(0), Cell::new(0)];
    let poll = |slot: u32| seen[slot as usize].set(written[slot as usize].read());
    block_on(&lodging, poll, || seen.iter().all(|seen| seen.get() == 1));
    wakers.into_iter().for_each(|waker| waker.join().unwrap());
}

/// The same with an interrupt and an errand.
fn letter_and_park() {
    let house = House::new();
    let lodging = house.move_in(1);
    let address = lodging.address();
    let sender = thread::spawn(move || {
        assert!(address.interrupt().is_ok());
        assert!(address.send(Errand::Note(Box::new(|| ()))).is_ok());
    });
    let (mut interrupts, mut errands) = (0, 0);
    while (interrupts, errands) != (1, 1) {
        if lodging.has_mail() {
            let letters = lodging.take_letters().expect("the door is open");
            interrupts += letters.interrupts;
            errands += letters.errands.len();
        } else if lodging.wait() {
            lodging.sleep_until(None);
        }
    }
    sender.join().unwrap();
}

/// A host that was told that there is nothing to do: its hook is called when
/// there is, and once until the next turn.
fn hook() {
    let house = House::new();
    let calls = Written::new();
    let lodging = house.move_in(1);
    let hook = calls.clone();
    lodging.open(Some(Arc::new(move || {
        hook.0.fetch_add(1, Relaxed);
    })));
    assert!(lodging.wait());
    let wakers = [0, 1].map(|slot| {
        let inbox = house.0;
        thread::spawn(move || inbox.wake(slot))
    });
    wakers.into_iter().for_each(|waker| waker.join().unwrap());
    assert_eq!(calls.read(), 1);
    let polled = Cell::new(0);
    turn(&lodging, |_| polled.set(polled.get() + 1));
    assert_eq!(polled.get(), 2);
}

// ---- Drop against wake -------------------------------------------------------------------

/// A stale waker fires while the executor is dropped: what it leaves to the next
/// tenant is nothing, or a slot and the mail that says so.
fn drop_and_wake() {
    let house = House::new();
    let inbox = house.0;
    let before = house.move_in(1);
    let stale = thread::spawn(move || inbox.wake(0));
    drop_executor(&before);
    stale.join().unwrap();
    let next = house.move_in(2);
    let polled = Cell::new(false);
    turn(&next, |_| polled.set(true));
    // Whatever was left: a wake of the slot is a wake.
    polled.set(false);
    inbox.wake(0);
    turn(&next, |_| polled.set(true));
    assert!(polled.get(), "a slot lay in the pile, and nobody had said so");
}

/// The same, and the next tenant sleeps until its own wake of that slot comes
/// from a third thread.
fn drop_wake_and_reuse() {
    let house = House::new();
    let inbox = house.0;
    let before = house.move_in(1);
    let stale = thread::spawn(move || inbox.wake(0));
    drop_executor(&before);
    let next = house.move_in(2);
    let (written, seen) = (Written::new(), Cell::new(0));
    let writer = written.clone();
    let waker = thread::spawn(move || writer.write_and_wake(inbox, 0));
    block_on(&next, |_| seen.set(written.read()), || seen.get() == 1);
    waker.join().unwrap();
    stale.join().unwrap();
}

/// What is sent while the door is being closed was refused, or is found; and the
/// next tenant finds nothing of it.
fn close_and_send() {
    let house = House::new();
    let before = house.move_in(1);
    let address = before.address();
    let sender = thread::spawn(move || {
        let errand = Errand::Note(Box::new(|| ()));
        [address.interrupt().is_ok(), address.send(errand).is_ok()]
    });
    let letters = before.close().expect("the door was open");
    drop(before.vacate());
    let next = house.move_in(2);
    let next_address = next.address();
    let sent = sender.join().unwrap();
    assert_eq!([letters.interrupts == 1, letters.errands.len() == 1], sent);
    assert!(next_address.is_open() && !address.is_open());
    let left = next.take_letters().expect("its door is open");
    assert_eq!((left.interrupts, left.errands.len()), (0, 0));
}

/// The hook panics on the thread of whoever woke a task: its executor hears of
/// that, or it is gone; the next tenant hears nothing.
fn hook_that_panics() {
    let house = House::new();
    let inbox = house.0;
    let before = house.move_in(1);
    // Without a word on standard error.
    before.open(Some(Arc::new(|| std::panic::resume_unwind(Box::new(())))));
    assert!(before.wait());
    let waker = thread::spawn(move || inbox.wake(0));
    drop_executor(&before);
    let next = house.move_in(2);
    let _its_door_is_open = next.address();
    waker.join().unwrap();
    let left = next.take_letters().expect("its door is open");
    assert!(!left.on_wake_panicked, "that was another's");
}

// ---- A queue -------------------------------------------------------------------------------

/// In place of crossbeam's, which the tools do not know.
pub mod queue {
    use crate::sync::Mutex;
    use std::collections::VecDeque;

    pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> SegQueue<T> {
            SegQueue(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, thing: T) {
            self.0.lock().unwrap().push_back(thing);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }
}
