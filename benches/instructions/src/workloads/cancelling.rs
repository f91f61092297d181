//! A request to cancel, or a deadline that passes, and who hears of it.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join;
use hearken::{Elapsed, Executor, Task, scope, spawn, spawn_infallible, timeout};

use super::{MOST_PASSES, OPERATIONS, WARM_UP, in_a_crowd};

/// A time limit that ends.
pub const NEAR: Duration = Duration::from_millis(1);

/// Counts who was told.
#[derive(Clone, Default)]
struct Told(Rc<Cell<usize>>);

impl Told {
    fn count(&self) {
        self.0.set(self.0.get() + 1);
    }
}

pub fn scope_cancelled(passes: usize) {
    let told = cancel_each(passes, 1, async |told: Told| {
        let Err(cancelled) = scope(pending::<()>()).await else { unreachable!("it is pending") };
        told.count();
        Err(cancelled.into())
    });
    assert_eq!(told, (WARM_UP + passes) * OPERATIONS);
}

pub fn finally_cancelled(passes: usize) {
    let told = cancel_each(passes, 1, async |told: Told| {
        hearken::finally(pending(), async || {
            told.count();
            Ok(())
        })
        .await
    });
    assert_eq!(told, (WARM_UP + passes) * OPERATIONS);
}

pub fn cancel_join(passes: usize) {
    let told = cancel_each(passes, 1, async |told: Told| {
        let branches = join(scope(pending::<()>()), scope(pending::<()>()));
        let (Err(one), Err(other)) = branches.await else { unreachable!("they are pending") };
        told.count();
        drop(other);
        Err(one.into())
    });
    assert_eq!(told, (WARM_UP + passes) * OPERATIONS);
}

pub fn forward(passes: usize) {
    cancel_each(passes, 2, async |_| {
        spawn_infallible(pending::<()>()).await?;
        Ok(())
    });
}

pub fn forward_scope(passes: usize) {
    let told = cancel_each(passes, 2, async |told: Told| {
        let Err(cancelled) = scope(spawn_infallible(pending::<()>())).await else {
            unreachable!("it is pending")
        };
        told.count();
        Err(cancelled.into())
    });
    assert_eq!(told, (WARM_UP + passes) * OPERATIONS);
}

pub fn forward_chain(passes: usize) {
    const LENGTH: usize = 10;
    cancel_each(passes, LENGTH, async |_| {
        let mut next: Task<()> = spawn(pending());
        for _ in 2..LENGTH {
            next = spawn(async { Ok(next.await?) });
        }
        Ok(next.await?)
    });
}

pub fn deadline(passes: usize) {
    in_a_crowd(passes, async || {
        assert_eq!(timeout(NEAR, pending::<()>()).await, Err(Elapsed));
    });
}

pub fn deadline_scope(passes: usize) {
    let told = Told::default();
    let counts = told.clone();
    in_a_crowd(passes, async move || {
        let waits = async {
            let told = scope(pending::<()>()).await;
            counts.count();
            told
        };
        assert!(timeout(NEAR, waits).await.is_err());
    });
    assert_eq!(told.0.get(), (WARM_UP + passes) * OPERATIONS);
}

/// Spawns tasks, and cancels [`OPERATIONS`] of them in each pass. Answers how
/// many counted that they were told. `tasks` says how many end for each that is
/// cancelled.
///
/// They are made beforehand, as many for every number of passes, and those that
/// are not cancelled are forgotten: this counts the cancelling alone.
fn cancel_each<F>(passes: usize, tasks: usize, task: impl Fn(Told) -> F) -> usize
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let ends = (WARM_UP + passes) * OPERATIONS * tasks;
    assert!(passes <= MOST_PASSES, "at most {MOST_PASSES} passes");
    let executor = Executor::new();
    let told = Told::default();
    let spawn = |_| executor.spawn(task(told.clone()));
    let mut waiting: Vec<_> = (0..(WARM_UP + MOST_PASSES) * OPERATIONS).map(spawn).collect();
    executor.run_until_idle();
    for _ in 0..WARM_UP + passes {
        let cancelled = waiting.split_off(waiting.len() - OPERATIONS);
        assert!(cancelled.iter().all(Task::cancel), "they wait");
        executor.run_until_idle();
    }
    assert_eq!(executor.ledger().cancelled, ends as u64);
    std::mem::forget((executor, waiting));
    told.0.get()
}
