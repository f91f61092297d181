//! Wakers: whoever is woken is polled, from wherever the wake comes and however
//! late, and a waker that nobody waits behind does no harm.
//!
//! Foreign wakers that panic are in `wakers.rs`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use common::{Random, Shelf, World, assert_balances, waiting};
use hearken::{Budget, Executor, ManualClock, Next};

mod common;

/// A task that waits, is polled whenever it is woken, and gives its waker away.
#[derive(Clone, Default)]
struct Patient(Rc<Chart>);

#[derive(Default)]
struct Chart {
    polls: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    may_end: Cell<bool>,
}

impl Patient {
    fn task(&self) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let chart = self.0.clone();
        poll_fn(move |cx| {
            chart.polls.set(chart.polls.get() + 1);
            *chart.waker.borrow_mut() = Some(cx.waker().clone());
            if chart.may_end.get() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
    }

    /// Spawned, and polled for the first time.
    fn started(executor: &Executor) -> Patient {
        let patient = Patient::default();
        executor.spawn(patient.task()).detach();
        executor.run_until_idle();
        patient
    }

    fn waker(&self) -> Waker {
        self.0.waker.borrow().clone().expect("it was polled")
    }

    fn polls(&self) -> usize {
        self.0.polls.get()
    }

    fn end(&self) {
        self.0.may_end.set(true);
        self.waker().wake();
    }
}

/// Runs `work` on another thread. Hangs for a minute at most.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || drop(send.send(work())));
    match receive.recv_timeout(std::time::Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a minute has passed: a wake was lost"),
        answer => {
            thread.join().expect("the work does not panic");
            answer.expect("there is an answer")
        }
    }
}

/// A task that, at each poll, does `act` with its waker. Answers how often it
/// was polled by five turns.
fn polls_of_five_turns(mut act: impl FnMut(usize, &Waker) + 'static) -> usize {
    let executor = Executor::new();
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    let task = executor.spawn_infallible(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        act(counted.get(), cx.waker());
        Poll::<()>::Pending
    }));
    (0..5).for_each(|_| drop(executor.turn(Budget::Batch)));
    drop(task);
    polls.get()
}

// ---- During the poll ---------------------------------------------------------

// promise 7.1, 7.2
#[test]
fn a_wake_during_the_poll_is_one_more_poll_in_the_next_turn_wherever_it_comes_from() {
    let once = |n, waker: &Waker, wake: &dyn Fn(&Waker)| {
        if n == 1 {
            wake(waker);
        }
    };
    let elsewhere = |waker: &Waker| {
        let waker = waker.clone();
        thread::spawn(move || waker.wake()).join().unwrap();
    };
    assert_eq!(polls_of_five_turns(move |_, _| ()), 1);
    assert_eq!(polls_of_five_turns(move |n, waker| once(n, waker, &Waker::wake_by_ref)), 2);
    assert_eq!(polls_of_five_turns(move |n, waker| once(n, waker, &elsewhere)), 2);
    // However often.
    let often = move |waker: &Waker| (0..100).for_each(|_| waker.wake_by_ref());
    assert_eq!(polls_of_five_turns(move |n, waker| once(n, waker, &often)), 2);
    let from_both = move |waker: &Waker| (elsewhere(waker), waker.wake_by_ref()).1;
    assert!((2..=3).contains(&polls_of_five_turns(move |n, waker| once(n, waker, &from_both))));
    // Each time.
    assert_eq!(polls_of_five_turns(|_, waker| waker.wake_by_ref()), 5);
    assert_eq!(polls_of_five_turns(move |_, waker| elsewhere(waker)), 5);
}

// promise 7.1, 7.2
#[test]
fn a_sibling_woken_in_a_batch_is_polled_in_the_next_and_once() {
    for sleeper_first in [true, false] {
        let executor = Executor::new();
        let (sleeper, alarm) = (Patient::started(&executor), Patient::started(&executor));
        let (target, ring) = (sleeper.waker(), Rc::new(Cell::new(false)));
        let rings = ring.clone();
        executor
            .spawn_infallible(poll_fn(move |cx| {
                if rings.take() {
                    (0..10).for_each(|_| target.wake_by_ref());
                }
                alarm.0.waker.replace(Some(cx.waker().clone()));
                Poll::<()>::Pending
            }))
            .detach();
        executor.run_until_idle();
        ring.set(true);
        let alarm_waker = executor.tasks().len(); // three tasks: sleeper, alarm, ringer
        assert_eq!(alarm_waker, 3);
        let ringer = Patient::default();
        let _ = ringer;
        if sleeper_first {
            sleeper.waker().wake();
        }
        let before = sleeper.polls();
        executor.turn(Budget::Batch);
        assert_eq!(sleeper.polls(), before + usize::from(sleeper_first));
    }
}
