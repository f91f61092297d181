//! Tasks that await themselves, one another, or somebody on another executor.

mod common;

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use common::{Shelf, World, hushed};
use futures::FutureExt;
use hearken::{
    AwaitedItself, Budget, Executor, ManualClock, Next, ReportKind, Task, TaskError, TaskRef,
    WaitFor, as_completed, gather, settle, spawn, timeout, try_gather, wait, wait_timeout,
    yield_now,
};

// ---- Awaiting oneself ------------------------------------------------------------

/// A task that does `what` with its own handle; nothing outside can wake it.
fn awaits_itself<Fut>(what: impl FnOnce(Task<()>) -> Fut + 'static) -> (World, Task<()>)
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let world = World::with(|builder| builder.closed_world(true));
    let (mine, done) = (Shelf::<Task<()>>::new(), Shelf::new());
    let (shelf, result) = (mine.clone(), done.clone());
    let task = world.executor.spawn(async move {
        let me = shelf.take().expect("the handle was put there");
        result.put(what(me).await);
        Ok(())
    });
    mine.put(task);
    let watcher = world.executor.spawn(async move {
        while done.is_empty() {
            yield_now().await;
        }
        done.take().expect("it is there")
    });
    for _ in 0..20 {
        world.executor.turn(hearken::Budget::Batch);
    }
    (world, watcher)
}

#[track_caller]
fn assert_failed_by_awaiting_itself((world, mut watcher): (World, Task<()>)) {
    let error = match watcher.take() {
        Ok(Err(TaskError::Failed(error))) => error,
        other => panic!("it should be told that it awaits itself, and got {other:?}"),
    };
    assert!(error.downcast_ref::<AwaitedItself>().is_some(), "{error:?}");
    assert_eq!(error.to_string(), "the task awaited itself");
    drop(watcher);
    world.close();
}

// promise 3.2
#[test]
fn a_task_that_awaits_itself_fails_and_does_not_hang() {
    assert_failed_by_awaiting_itself(awaits_itself(async |me| Ok(me.await?)));
}

// promise 3.2
#[test]
fn a_task_that_awaits_itself_inside_of_other_futures_fails_too() {
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        timeout(Duration::from_secs(1), me).await??;
        Ok(())
    }));
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        let (itself, ()) = futures::join!(me, yield_now());
        Ok(itself?)
    }));
    assert_failed_by_awaiting_itself(awaits_itself(async |me| Ok(me.cancel_on_drop().await?)));
}

// promise 3.2
#[test]
fn a_task_that_gathers_itself_fails_and_does_not_hang() {
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        gather([me]).await?;
        Ok(())
    }));
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        settle([me]).await.pop().expect("one outcome for one task")?;
        Ok(())
    }));
}

// promise 3.2, 6.6
#[test]
fn a_task_that_awaits_itself_through_another_executor_fails_too() {
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        let inner = Executor::builder().clock(ManualClock::new()).closed_world(true).build();
        inner.block_on(async { Ok(me.await?) })?;
        Ok(())
    }));
}

/// The same of a panic, when what it does gives no error that could say so.
#[track_caller]
fn assert_panicked_by_waiting_for_itself(
    what: impl AsyncFnOnce(Task<()>) -> anyhow::Result<()> + 'static,
) {
    let waits = async move |me| {
        let waits = AssertUnwindSafe(what(me)).catch_unwind();
        waits.await.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().expect("a message");
            anyhow::bail!("{message}")
        })
    };
    let (world, mut watcher) = hushed(|| awaits_itself(waits));
    let error = match watcher.take() {
        Ok(Err(TaskError::Failed(error))) => error,
        other => panic!("it should be told that it waits for itself, and got {other:?}"),
    };
    assert!(error.to_string().starts_with("the task awaited itself: "), "{error}");
    drop(watcher);
    world.close();
}

// promise 3.2, 5.3
#[test]
fn a_task_that_waits_for_itself_fails_when_it_waits_for_nobody_else() {
    for wait_for in [WaitFor::First, WaitFor::FirstFailure, WaitFor::All] {
        assert_panicked_by_waiting_for_itself(async move |me| {
            wait(&mut [me], wait_for).await;
            Ok(())
        });
    }
    for wait_for in [WaitFor::FirstFailure, WaitFor::All] {
        assert_panicked_by_waiting_for_itself(async move |me| {
            let others = [1, 2].map(|turns| {
                spawn(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    Ok(())
                })
            });
            let [one, two] = others;
            wait(&mut [one, me, two], wait_for).await;
            Ok(())
        });
    }
    assert_panicked_by_waiting_for_itself(async |me| {
        as_completed([me]).next_task().await;
        Ok(())
    });
}

// promise 3.2, 5.3
#[test]
fn who_goes_through_tasks_of_which_it_is_one_comes_last_and_is_told_so() {
    assert_failed_by_awaiting_itself(awaits_itself(async |me| {
        let other = spawn(async {
            yield_now().await;
            Ok(())
        });
        let mut tasks = as_completed([me, other]);
        tasks.next().await.expect("there are two")?; // the other
        let itself = tasks.next().await.expect("there is one left");
        assert_eq!((tasks.left(), tasks.next().await.is_none()), (0, true));
        Ok(itself?)
    }));
}

// promise 5.3: as long as there is somebody else, or a time limit, it does not hang.
#[test]
fn a_task_among_those_that_it_waits_for_is_one_that_has_not_ended() {
    let (world, mut watcher) = awaits_itself(async |me| {
        let look = me.task_ref();
        let mut tasks = [me, spawn(async { Ok(()) })];
        let (done, pending) = wait(&mut tasks, WaitFor::First).await;
        assert_eq!((done.len(), pending.len()), (1, 1));
        assert_eq!(pending[0].id(), look.id());
        let limit = Duration::from_secs(1);
        let (_, pending) = wait_timeout(&mut tasks, WaitFor::All, limit).await;
        assert_eq!(pending.len(), 1);
        Ok(())
    });
    assert!(!watcher.is_finished(), "it waits as long as it may");
    world.clock.advance(Duration::from_secs(1));
    for _ in 0..5 {
        world.executor.turn(Budget::Batch);
    }
    assert!(matches!(watcher.take(), Ok(Ok(()))));
    drop(watcher);
    world.close();
}

// ---- Awaiting one another ------------------------------------------------------------

/// Tasks each of which awaits the next, and the last the first.
fn circle(world: &World, length: usize, gathers: bool) -> Vec<TaskRef> {
    let shelves: Vec<Shelf<Task<()>>> = (0..length).map(|_| Shelf::new()).collect();
    let mut looks = Vec::new();
    for place in 0..length {
        let next = shelves[(place + 1) % length].clone();
        let task = world.executor.spawn(async move {
            let next = next.take().expect("it is there when this is first polled");
            if gathers {
                gather([next]).await?;
            } else {
                next.await?;
            }
            Ok(())
        });
        looks.push(task.task_ref());
        shelves[place].put(task);
    }
    world.executor.run_until_idle();
    looks
}

// promise 4.1, 4.8
#[test]
fn tasks_that_await_one_another_in_a_circle_can_be_cancelled() {
    for length in 2..5 {
        for gathers in [false, true] {
            let world = World::new();
            let looks = circle(&world, length, gathers);
            looks[0].cancel_with("enough");
            let mut turns = 0;
            while world.executor.turn(Budget::Batch).next == Next::Ready && turns < 100 {
                turns += 1;
            }
            let states: Vec<_> = looks.iter().map(|look| look.state()).collect();
            assert!(turns < 100, "it goes round and round: {length}, {gathers}, {states:?}");
            assert!(looks.iter().all(|look| look.is_finished()), "{length} {gathers} {states:?}");
            world.close();
        }
    }
}

// promise 6.4, 4.8
#[test]
fn tasks_that_await_one_another_in_a_circle_do_not_hold_up_the_shutdown() {
    for gathers in [false, true] {
        let world = World::new();
        circle(&world, 2, gathers);
        let shutdown = world.executor.shut_down();
        assert_eq!(shutdown.dropped, 0, "all end by the request: {gathers}");
        assert_eq!(world.close().kinds(), [ReportKind::Cancelled; 2]);
    }
}

// ---- Awaiting somebody far away --------------------------------------------------------

/// Cancels a task here that does `what` with a task of another executor, which
/// takes no turn meanwhile and is not to know of it.
fn cancels_alone<Fut>(what: impl FnOnce(Task<()>) -> Fut + 'static)
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    let (here, there) = (World::new(), World::new());
    let task = there.executor.spawn(pending::<anyhow::Result<()>>());
    let look = task.task_ref();
    let mut waiter = here.executor.spawn(async move { what(task).await });
    here.executor.run_until_idle();
    waiter.cancel_with("enough");
    for _ in 0..5 {
        here.executor.turn(Budget::Batch);
    }
    let Ok(Err(TaskError::Cancelled(cancelled))) = waiter.take() else {
        panic!("it should be cancelled, and is {:?}", waiter.info().state())
    };
    assert_eq!(cancelled.reason(), "enough");
    there.executor.run_until_idle();
    assert!(!look.is_finished());
    drop(waiter);
    here.close();
    there.close();
}

// promise 10.2, 4.2
#[test]
fn who_awaits_a_task_of_another_executor_is_cancelled_alone() {
    cancels_alone(async |task| Ok(task.await?));
}

// promise 10.2, 5.1
#[test]
fn who_gathers_tasks_of_another_executor_is_cancelled_alone() {
    cancels_alone(async |task| gather([task]).await.map(drop).map_err(anyhow::Error::from));
    cancels_alone(async |task| try_gather([task]).await.map(drop).map_err(anyhow::Error::from));
    cancels_alone(async |task| settle([task]).await.pop().unwrap().map_err(anyhow::Error::from));
}
