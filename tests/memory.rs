//! What a crowd took goes back: when all of it is gone, and also when one stays.
//!
//! Bytes are counted by the allocator, on this thread. What is left of a crowd is
//! compared with what the executor had before it came. An executor may keep a
//! little, so that the next does not begin anew; it must not depend on how large
//! the crowd was.
//!
//! A crowd is of fifty thousand; or of a million with `HEARKEN_LONG=1` in the
//! environment, in an optimized build.

#[path = "common/counting.rs"]
mod counting;
#[path = "common/long.rs"]
mod long;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use counting::bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hearken::{Budget, Executor, ManualClock, Task, Verdict, scope, sleep, timeout, yield_now};
use long::times;

/// So much an executor may keep of any crowd.
const KEPT: isize = 512 << 10;

/// How many come and go.
fn crowd() -> usize {
    times(50_000, 1_000_000) as usize
}

fn quiet() -> (Executor, ManualClock) {
    let clock = ManualClock::new();
    let builder = Executor::builder().clock(clock.clone()).handler(|_| Verdict::Proceed);
    (builder.build(), clock)
}

/// Turns until nothing is ready, more than once: some memory goes back in steps.
fn settle(executor: &Executor) {
    for _ in 0..16 {
        executor.run_until_idle();
    }
}

/// What one crowd took and left, in bytes.
#[derive(Debug)]
struct Tide {
    high: isize,
    left: isize,
}

/// Lets a crowd come and go. `comes` answers what the caller holds of it.
fn tide<H>(
    comes: impl Fn(&Executor, &ManualClock) -> H,
    goes: impl Fn(&Executor, &ManualClock, H),
) -> Tide {
    let (executor, clock) = quiet();
    // One of a kind, so that what is made once is there.
    settle(&executor);
    let before = bytes();
    let held = comes(&executor, &clock);
    executor.run_until_idle();
    let high = bytes() - before;
    goes(&executor, &clock, held);
    settle(&executor);
    Tide { high, left: bytes() - before }
}

/// The figures are shown by `cargo test --test memory -- --nocapture`.
#[track_caller]
fn assert_goes_back(tide: &Tide) {
    let line = std::panic::Location::caller().line();
    println!("line {line}: {} bytes, of which {} stay", tide.high, tide.left);
    assert!(tide.high > 4 * KEPT, "that is no crowd: {tide:?}");
    assert!(tide.left < KEPT, "{tide:?}");
}

fn spawn_all<F: Future<Output = anyhow::Result<()>> + 'static>(
    executor: &Executor,
    make: impl Fn(usize) -> F,
) -> Vec<Task<()>> {
    (0..crowd()).map(|number| executor.spawn(make(number))).collect()
}

/// All but this one go.
fn cancel_but(executor: &Executor, mut tasks: Vec<Task<()>>, stays: Option<usize>) {
    let stays = stays.map(|number| tasks.swap_remove(number));
    tasks.iter().for_each(|task| assert!(task.cancel()));
    executor.run_until_idle();
    drop(tasks);
    if let Some(task) = stays {
        assert!(!task.is_finished());
        task.detach();
    }
}

/// Who does not go: nobody, the first, one in the middle, the last.
fn stay() -> [Option<usize>; 4] {
    [None, Some(0), Some(crowd() / 2), Some(crowd() - 1)]
}

// promise 7.7
#[test]
fn tasks_that_are_gone_leave_nothing_also_beside_one_that_stays() {
    for stays in stay() {
        assert_goes_back(&tide(
            |executor, _| spawn_all(executor, |_| pending()),
            |executor, _, tasks| cancel_but(executor, tasks, stays),
        ));
    }
}

// promise 7.7
#[test]
fn tasks_with_a_scope_leave_nothing_also_beside_one_that_stays() {
    for stays in stay() {
        let scoped = |_| async {
            scope(pending::<()>()).await?;
            Ok(())
        };
        assert_goes_back(&tide(
            |executor, _| spawn_all(executor, scoped),
            |executor, _, tasks| cancel_but(executor, tasks, stays),
        ));
    }
}

// promise 7.7
#[test]
fn sleepers_that_are_gone_leave_nothing_also_beside_one_that_stays() {
    for stays in stay() {
        let sleeps = |number: usize| async move {
            sleep(Duration::from_secs(60 + number as u64 * 7919 % 1_000)).await;
            Ok(())
        };
        assert_goes_back(&tide(
            |executor, _| spawn_all(executor, sleeps),
            |executor, _, tasks| cancel_but(executor, tasks, stays),
        ));
    }
}

// promise 7.7
#[test]
fn sleepers_that_wake_together_leave_nothing_also_beside_one_that_stays() {
    for stays in stay() {
        let sleeps = |number: usize| async move {
            let long = if stays == Some(number) { 9_000 } else { 60 };
            sleep(Duration::from_secs(long)).await;
            Ok(())
        };
        assert_goes_back(&tide(
            |executor, _| spawn_all(executor, sleeps),
            |executor, clock, tasks| {
                tasks.into_iter().for_each(Task::detach);
                clock.advance(Duration::from_secs(100));
                executor.run_until_idle();
                assert_eq!(executor.ledger().live, u64::from(stays.is_some()));
            },
        ));
    }
}

// promise 7.7
#[test]
fn time_limits_in_one_task_leave_nothing_beside_one_that_stays() {
    for stays in stay() {
        let branches = async move {
            let limited = |number: usize| {
                let long = if stays == Some(number) { 9_000 } else { 60 };
                timeout(Duration::from_secs(long), scope(pending::<()>()))
            };
            let mut set: FuturesUnordered<_> = (0..crowd()).map(limited).collect();
            while set.next().await.is_some() {}
            Ok(())
        };
        let branches = Cell::new(Some(branches));
        assert_goes_back(&tide(
            |executor, _| executor.spawn(branches.take().expect("once")).detach(),
            |executor, clock, ()| {
                clock.advance(Duration::from_secs(100));
                executor.run_until_idle();
                assert_eq!(executor.ledger().live, u64::from(stays.is_some()));
            },
        ));
    }
}

/// A crowd of some kind.
type Kind = fn(&Executor) -> Vec<Task<()>>;

const KINDS: [(&str, Kind); 7] = [
    ("tasks", |executor| spawn_all(executor, |_| pending())),
    ("scopes", |executor| {
        spawn_all(executor, |_| async {
            scope(pending::<()>()).await?;
            Ok(())
        })
    }),
    ("sleepers", |executor| {
        spawn_all(executor, |number| async move {
            sleep(Duration::from_secs(60 + number as u64 % 977)).await;
            Ok(())
        })
    }),
    ("callbacks", |executor| {
        let tasks = spawn_all(executor, |_| pending());
        for task in &tasks {
            task.on_done(|_| ());
        }
        tasks
    }),
    ("failures", |executor| spawn_all(executor, |_| async { anyhow::bail!("spilled") })),
    ("limits", |executor| {
        spawn_all(executor, |_| async {
            timeout(Duration::from_secs(60), scope(pending::<()>())).await??;
            Ok(())
        })
    }),
    ("awaits", |executor| {
        spawn_all(executor, |_| async {
            hearken::spawn(pending::<anyhow::Result<()>>()).await?;
            Ok(())
        })
    }),
];

// promise 7.7
#[test]
fn a_crowd_of_any_kind_leaves_little_while_another_task_is_busy() {
    for (kind, comes) in KINDS {
        let (executor, _clock) = quiet();
        let busy = executor.spawn(async {
            loop {
                yield_now().await;
            }
        });
        executor.turn(Budget::Batch);
        let before = bytes();
        let tasks: Vec<Task<()>> = comes(&executor);
        for _ in 0..4 {
            executor.turn(Budget::Batch);
        }
        let high = bytes() - before;
        for task in &tasks {
            let _it_may_have_failed = task.cancel();
        }
        (0..4).for_each(|_| _ = executor.turn(Budget::Batch));
        drop(tasks);
        (0..100).for_each(|_| _ = executor.turn(Budget::Batch)); // never idle
        let left = bytes() - before;
        println!("{kind}: {high} bytes, of which {left} stay while it is busy");
        assert_eq!(executor.ledger().live, 1, "{kind}");
        // A mebibyte of its tasks' memory for the next, and what they had that is rare.
        assert!(high > 8 * KEPT && left < 5 * KEPT, "{kind}: {high} bytes, then {left}");
        let _cancelled: Task<()> = busy;
    }
}

// promise 7.2, 7.7
#[test]
fn wakes_from_elsewhere_leave_eight_bytes_for_each_slot() {
    for stays in stay() {
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let tide = tide(
            |executor, _| {
                let tasks = spawn_all(executor, |_| {
                    let wakers = wakers.clone();
                    poll_fn(move |cx| {
                        wakers.borrow_mut().push(cx.waker().clone());
                        Poll::Pending
                    })
                });
                executor.run_until_idle();
                // Outside of a turn is elsewhere, too, and here bytes are counted.
                wakers.take().into_iter().for_each(Waker::wake);
                tasks
            },
            |executor, _, tasks| {
                cancel_but(executor, tasks, stays);
                wakers.take();
            },
        );
        let places = 8 * crowd().next_power_of_two() as isize;
        println!("{} bytes, of which {} stay, {places} in the inbox", tide.high, tide.left);
        assert!(tide.left < KEPT + places, "{tide:?}");
    }
}

// promise 7.7, 3.13
#[test]
fn callbacks_and_failures_that_were_held_leave_nothing() {
    assert_goes_back(&tide(
        |executor, _| spawn_all(executor, |_| async { anyhow::bail!("spilled") }),
        |_, _, tasks| drop(tasks),
    ));
    assert_goes_back(&tide(
        |executor, _| {
            let tasks = spawn_all(executor, |_| async {
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Ready(())
                })
                .await;
                Ok(())
            });
            for task in &tasks {
                task.on_done(|_| ());
            }
            tasks
        },
        |_, _, tasks| drop(tasks),
    ));
}

// promise 7.7
#[test]
fn timers_with_wakers_of_others_leave_nothing_beside_one_that_stays() {
    for stays in stay() {
        let sleeps = async move {
            let mut sleeps: Vec<_> =
                (0..crowd()).map(|_| Box::pin(sleep(Duration::from_secs(60)))).collect();
            let waker = futures::task::noop_waker();
            let mut cx = std::task::Context::from_waker(&waker);
            for sleep in &mut sleeps {
                assert!(Pin::as_mut(sleep).poll(&mut cx).is_pending());
            }
            yield_now().await;
            let _stays = stays.map(|number| sleeps.swap_remove(number));
            poll_fn(|_| Poll::<()>::Pending).await;
            Ok(())
        };
        let sleeps = Cell::new(Some(sleeps));
        assert_goes_back(&tide(
            |executor, _| executor.spawn(sleeps.take().expect("once")),
            |_, _, task| {
                task.cancel();
            },
        ));
    }
}
