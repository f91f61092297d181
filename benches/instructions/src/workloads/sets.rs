//! Thousands in one task: a set polls its members with wakers of its own, so
//! they are not found by polling the task.

use std::future::pending;
use std::hint::black_box;

use futures::stream::{FuturesUnordered, StreamExt};
use hearken::{
    Cancelled, Elapsed, Executor, ManualClock, Task, scope, spawn, spawn_infallible, timeout,
};

use super::cancelling::NEAR;
use super::{WARM_UP, repeat};

pub const SCOPES: usize = 1_500;
pub const DEADLINES: usize = 2_000;
pub const AWAITS: usize = 10_000;

pub fn fan_out(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let spawn = |number| spawn_infallible(async move { black_box(number) });
        let mut tasks: FuturesUnordered<Task<usize>> = (0..AWAITS).map(spawn).collect();
        let mut sum = 0;
        while let Some(number) = tasks.next().await {
            sum += number.expect("it does not fail");
        }
        assert_eq!(sum, AWAITS * (AWAITS - 1) / 2);
    });
}

pub fn set_scopes(passes: usize) {
    let executor = Executor::new();
    for _ in 0..WARM_UP + passes {
        let task = executor.spawn(async {
            let scopes = (0..SCOPES).map(|_| scope(pending::<()>()));
            Ok(how_many(scopes.collect(), |told| told.is_err()).await)
        });
        executor.run_until_idle();
        assert!(task.cancel(), "it waits");
        executor.run_until_idle();
        assert_eq!(task.result().ok(), Some(&SCOPES));
    }
}

pub fn set_deadlines(passes: usize) {
    let executor = Executor::builder().clock(ManualClock::auto()).build();
    repeat(&executor, passes, async || {
        let deadlines = (0..DEADLINES).map(|_| timeout(NEAR, pending::<()>()));
        let elapsed = how_many(deadlines.collect(), |ended| ended == Err(Elapsed)).await;
        assert_eq!(elapsed, DEADLINES);
    });
}

pub fn set_deadlines_told(passes: usize) {
    let executor = Executor::builder().clock(ManualClock::auto()).build();
    repeat(&executor, passes, async || {
        let deadlines = (0..DEADLINES).map(|_| timeout(NEAR, scope(pending::<()>())));
        let is_elapsed = |ended: Result<Result<(), Cancelled>, Elapsed>| ended.is_err();
        assert_eq!(how_many(deadlines.collect(), is_elapsed).await, DEADLINES);
    });
}

pub fn set_awaits(passes: usize) {
    let executor = Executor::new();
    for _ in 0..WARM_UP + passes {
        let task = executor.spawn(async {
            let tasks = (0..AWAITS).map(|_| spawn(pending::<anyhow::Result<()>>()));
            Ok(how_many(tasks.collect(), |ended| ended.is_err()).await)
        });
        executor.run_until_idle();
        assert!(task.cancel(), "it waits");
        executor.run_until_idle();
        assert!(task.is_cancelled());
    }
    let cancelled = (WARM_UP + passes) * (AWAITS + 1);
    assert_eq!(executor.ledger().cancelled, cancelled as u64);
}

/// How many of a set end like that.
async fn how_many<F: Future>(
    mut set: FuturesUnordered<F>,
    counts: impl Fn(F::Output) -> bool,
) -> usize {
    let mut many = 0;
    while let Some(ended) = set.next().await {
        many += usize::from(counts(ended));
    }
    many
}
