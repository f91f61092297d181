//! Spawning, failing, cancelling; many at a time; the executor itself.

use std::cell::Cell;
use std::future::{pending, ready};
use std::hint::black_box;
use std::rc::Rc;

use hearken::{Budget, Executor, Group, Next, Task, Verdict, spawn, spawn_infallible, yield_now};

use super::{MOST_PASSES, OPERATIONS, WARM_UP, repeat};

/// What the tasks of a pass add up to, when each gives its number.
const SUM: usize = OPERATIONS * (OPERATIONS - 1) / 2;

pub fn spawn_join(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let spawn = |number| spawn_infallible(async move { black_box(number) });
        let tasks: Vec<Task<usize>> = (0..OPERATIONS).map(spawn).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("it does not fail");
        }
        assert_eq!(sum, SUM);
    });
}

pub fn spawn_await(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let mut sum = 0;
        for number in 0..OPERATIONS {
            let task = spawn_infallible(async move { black_box(number) });
            sum += task.await.expect("it does not fail");
        }
        assert_eq!(sum, SUM);
    });
}

pub fn spawn_detach(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let ran = Rc::new(Cell::new(0));
        for _ in 0..OPERATIONS {
            let ran = ran.clone();
            spawn_infallible(async move { ran.set(ran.get() + 1) }).detach();
        }
        yield_now().await; // behind all of them
        assert_eq!(ran.get(), OPERATIONS);
    });
}

/// An error of the smallest kind: what anyhow does with it is counted too.
pub fn spawn_failing(passes: usize) {
    let heard = Rc::new(Cell::new(0));
    let counts = heard.clone();
    let executor = Executor::builder().handler(move |report| {
        counts.set(counts.get() + usize::from(report.error().is_some()));
        Verdict::Proceed
    });
    repeat(&executor.build(), passes, async || {
        for _ in 0..OPERATIONS {
            spawn(async { Err::<(), _>(anyhow::Error::new(std::fmt::Error)) }).detach();
        }
        yield_now().await; // so that they have run and were reported
        yield_now().await;
    });
    assert_eq!(heard.get(), (WARM_UP + passes) * OPERATIONS);
}

/// The tasks are made beforehand, as many for every number of passes, and those
/// that are not cancelled are forgotten: this counts the cancelling alone.
pub fn cancel_parked(passes: usize) {
    assert!(passes <= MOST_PASSES, "at most {MOST_PASSES} passes");
    let executor = Executor::new();
    let spawn = |_| executor.spawn(pending::<anyhow::Result<()>>());
    let mut tasks: Vec<_> = (0..(WARM_UP + MOST_PASSES) * OPERATIONS).map(spawn).collect();
    executor.run_until_idle();
    for _ in 0..WARM_UP + passes {
        let cancelled = tasks.split_off(tasks.len() - OPERATIONS);
        assert!(cancelled.iter().all(Task::cancel), "they wait");
        executor.turn(Budget::Batch);
    }
    let cancelled = (WARM_UP + passes) * OPERATIONS;
    assert_eq!(executor.ledger().cancelled, cancelled as u64);
    std::mem::forget((executor, tasks));
}

pub fn gather(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let tasks = (0..OPERATIONS).map(|number| spawn(async move { Ok(black_box(number)) }));
        let numbers = hearken::gather(tasks).await.expect("none fails");
        assert_eq!(numbers.iter().sum::<usize>(), SUM);
    });
}

pub fn group(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let sum = Rc::new(Cell::new(0));
        let all = hearken::group(async |group: Group| {
            for number in 0..OPERATIONS {
                let sum = sum.clone();
                let task = group.spawn(async move {
                    sum.set(sum.get() + black_box(number));
                    Ok(())
                });
                task.detach();
            }
            Ok(())
        });
        all.await.expect("none fails");
        assert_eq!(sum.get(), SUM);
    });
}

pub fn startup(passes: usize) {
    for _ in 0..(WARM_UP + passes) * OPERATIONS {
        let answer = Executor::new().block_on(ready(Ok(black_box(42))));
        assert_eq!(answer.expect("it does not fail"), 42);
    }
}

pub fn block_on_ready(passes: usize) {
    let executor = Executor::new();
    for _ in 0..(WARM_UP + passes) * OPERATIONS {
        let answer = executor.block_on(ready(Ok(black_box(42))));
        assert_eq!(answer.expect("it does not fail"), 42);
    }
}

/// As a host takes it in each of its frames. One task waits, for nobody.
pub fn idle_turn(passes: usize) {
    let executor = Executor::new();
    executor.spawn_infallible(pending::<()>()).detach();
    executor.run_until_idle();
    for _ in 0..(WARM_UP + passes) * OPERATIONS {
        let turn = executor.turn(Budget::Batch);
        assert_eq!((turn.polled, turn.next), (0, Next::Waiting));
    }
}
