//! Serials that have gone round: an id has forty bits of them, a name twenty-four.
//!
//! A count that is about to go round is put into the table; to come there by
//! spawning takes a day.

use super::*;
use crate::{ManualClock, sleep, spawn};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::task::{Poll, Waker};

/// An executor that has spawned so many, all of them gone.
fn after(serial: u64) -> Executor {
    let builder = Executor::builder().clock(ManualClock::auto());
    let executor = builder.handler(|_: &Report| Verdict::Proceed).build();
    executor.state.table.borrow_mut().set_serial(serial);
    // None has ended; but the sums should hold as if they had.
    executor.state.counts.succeeded.set(serial);
    executor
}

/// The last before the end of forty bits, of twenty-four, and of twenty-four often.
const ENDS: [u64; 3] = [(1 << 40) - 1, (1 << 24) - 1, (1 << 24) * 77 - 1];

// promise 3.5, 7.2
#[test]
fn tasks_live_as_ever_when_their_serials_go_round() {
    for end in ENDS {
        for before in 0..4 {
            let executor = after(end - before);
            let tasks: Vec<_> = (0..6)
                .map(|number| {
                    executor.spawn(async move {
                        sleep(Duration::from_secs(number % 2)).await;
                        Ok(spawn(async move { Ok(number) }).await? + number)
                    })
                })
                .collect();
            let mut ids: Vec<_> = tasks.iter().map(Task::id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!((ids.len(), executor.tasks().len()), (6, 6));
            executor.run_until_idle();
            for (task, number) in tasks.iter().zip(0..) {
                assert_eq!(task.result().ok(), Some(&(2 * number)), "{end} {before}");
            }
            let ledger = executor.ledger();
            assert!(ledger.balances() && ledger.spawned == end - before + 12, "{ledger}");
        }
    }
}

// promise 6.4, 6.8
#[test]
fn the_youngest_is_asked_first_when_serials_have_gone_round() {
    for end in ENDS {
        for drops in [false, true] {
            let executor = after(end - 3);
            let said = Rc::new(RefCell::new(Vec::new()));
            for number in 0..8 {
                let said = said.clone();
                struct Says(Rc<RefCell<Vec<u32>>>, u32);
                impl Drop for Says {
                    fn drop(&mut self) {
                        self.0.borrow_mut().push(self.1);
                    }
                }
                let says = Says(said, number);
                let work = async move {
                    let _says = says;
                    pending::<anyhow::Result<()>>().await
                };
                executor.spawn(work).detach();
            }
            executor.run_until_idle();
            match drops {
                true => drop(executor),
                false => assert_eq!(executor.shut_down().dropped, 0),
            }
            assert_eq!(*said.borrow(), [7, 6, 5, 4, 3, 2, 1, 0], "{end}");
        }
    }
}

// promise 6.4
#[test]
fn who_is_spawned_in_a_shutdown_is_asked_also_when_serials_go_round_meanwhile() {
    for end in ENDS {
        for before in 0..6 {
            let executor = after(end - before);
            let work = async {
                if let Err(cancelled) = crate::scope(pending::<()>()).await {
                    for _ in 0..3 {
                        spawn(pending::<anyhow::Result<()>>()).detach();
                        sleep(Duration::from_millis(1)).await;
                    }
                    cancelled.rethrow().await;
                }
                Ok(())
            };
            executor.spawn(work).detach();
            executor.run_until_idle();
            let began = executor.now();
            assert_eq!(executor.shut_down().dropped, 0);
            assert_eq!(executor.now() - began, Duration::from_millis(3), "{end} {before}");
            assert!(executor.ledger().balances());
        }
    }
}

/// Who has the same slot and the same bits of the serial is polled for nothing, once.
// promise 7.2
#[test]
fn a_waker_of_a_namesake_wakes_for_nothing_and_takes_no_wake_away() {
    const ROUND: u64 = 1 << 24;
    let executor = after(5);
    let polls = Rc::new(Cell::new(0));
    let waits = || {
        let (polls, waker) = (polls.clone(), Rc::new(Cell::new(None::<Waker>)));
        let given = waker.clone();
        let task = executor.spawn(poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            given.set(Some(cx.waker().clone()));
            Poll::<anyhow::Result<()>>::Pending
        }));
        executor.run_until_idle();
        (task, waker.take().expect("it was polled"))
    };
    let (task, stale) = waits();
    task.cancel();
    executor.run_until_idle();
    // All that come between.
    executor.state.table.borrow_mut().set_serial(5 + ROUND);
    executor.state.counts.cancelled.set(0);
    executor.state.counts.succeeded.set(5 + ROUND);
    polls.set(0);
    let (task, own) = waits();
    assert!(stale.will_wake(&own) || cfg!(hearken_arc_waker));
    for (woken, expected) in [([&stale, &own], 2), ([&own, &stale], 3), ([&stale, &stale], 4)] {
        let [first, second] = woken.map(Waker::clone);
        let wakes = executor.spawn(async move {
            first.wake();
            second.wake();
            Ok(())
        });
        executor.run_until_idle();
        assert_eq!(polls.get(), expected);
        wakes.detach();
    }
    drop(task);
    executor.shut_down();
    assert!(executor.ledger().balances());
}
