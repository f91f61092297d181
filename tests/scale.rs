//! Many tasks: what is done to n of them costs n times what it costs for one,
//! and nothing is left behind.
//!
//! Costs are counted in polls and turns; no clock on the wall is looked at.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use common::cast::seconds;
use common::{World, assert_balances, assert_settled};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hearken::{
    Budget, Group, Next, Task, WaitFor, as_completed, gather, group, scope, settle, sleep, spawn,
    try_gather, wait, yield_now,
};

const MANY: u64 = 100_000;

/// Turns until nothing is ready. Answers how many, and how many polls.
fn turns(world: &World) -> (u64, u64) {
    let (mut turns, mut polls) = (0, 0);
    loop {
        let turn = world.executor.turn(Budget::Batch);
        turns += 1;
        polls += turn.polled as u64;
        if turn.next != Next::Ready {
            return (turns, polls);
        }
    }
}

// promise 4.2, 3.5
#[test]
fn to_cancel_many_parked_tasks_is_a_drop_for_each_in_one_turn() {
    for n in [MANY / 10, MANY] {
        let world = World::new();
        let dropped = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..n)
            .map(|_| {
                let dropped = dropped.clone();
                world.executor.spawn(common::waiting(move || dropped.set(dropped.get() + 1)))
            })
            .collect();
        assert_eq!(turns(&world), (1, n));
        assert!(tasks.iter().all(Task::cancel));
        assert_eq!(dropped.get(), 0);
        assert_eq!(turns(&world), (1, n));
        assert_eq!((dropped.get(), world.executor.ledger().cancelled), (n, n));
        drop(tasks);
        assert_settled(&world.executor);
        world.close();
    }
}

// promise 4.3
#[test]
fn to_cancel_many_tasks_with_scopes_is_a_poll_for_each_and_what_they_clean_up() {
    for n in [MANY / 10, MANY] {
        let world = World::new();
        let tasks: Vec<_> = (0..n)
            .map(|_| {
                world.executor.spawn(async {
                    let told = scope(scope(pending::<()>())).await;
                    yield_now().await;
                    Ok(told??)
                })
            })
            .collect();
        assert_eq!(turns(&world), (1, n));
        assert!(tasks.iter().all(Task::cancel));
        assert_eq!(turns(&world), (2, 2 * n));
        assert!(tasks.iter().all(Task::is_cancelled));
        drop(tasks);
        world.close();
    }
}

// promise 4.4
#[test]
fn to_cancel_one_task_with_many_scoped_branches_polls_each_branch_twice() {
    for n in [MANY / 100, MANY / 10] {
        let world = World::new();
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let task = world.executor.spawn(async move {
            let branches = (0..n).map(|_| {
                let polls = &counted;
                async move {
                    let mut parked = std::pin::pin!(scope(pending::<()>()));
                    let told = std::future::poll_fn(|cx| {
                        polls.set(polls.get() + 1);
                        parked.as_mut().poll(cx)
                    });
                    told.await.is_err()
                }
            });
            let branches: FuturesUnordered<_> = branches.collect();
            Ok(branches.filter(|told| std::future::ready(*told)).count().await as u64)
        });
        world.executor.run_until_idle();
        assert_eq!(polls.get(), n);
        task.cancel();
        world.executor.run_until_idle();
        assert_eq!(task.result().ok(), Some(&n));
        // Once to find out who is there, and once to hear.
        assert_eq!(polls.get(), 3 * n);
        drop(task);
        world.close();
    }
}

// promise 6.4
#[test]
fn to_shut_many_down_is_a_drop_for_each() {
    let world = World::new();
    for _ in 0..MANY {
        world.executor.spawn(pending::<anyhow::Result<()>>()).detach();
    }
    turns(&world);
    assert_eq!(world.executor.shut_down().found as u64, MANY);
    assert_eq!(world.executor.ledger().cancelled, MANY);
    world.close();
}

/// Runs a main that waits for `n` tasks, which end in two different turns.
/// Answers how often the main was polled.
fn polls_of<F>(n: u64, main: impl FnOnce(Vec<Task<u64>>) -> F + 'static) -> u32
where
    F: Future<Output = anyhow::Result<u64>> + 'static,
{
    let world = World::new();
    let task = world.executor.spawn(async move {
        let tasks = (0..n).map(|number| {
            spawn(async move {
                if number % 2 == 0 {
                    sleep(seconds(1)).await;
                }
                Ok(number)
            })
        });
        main(tasks.collect()).await
    });
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&n));
    assert_eq!(world.executor.ledger().succeeded, n + 1);
    assert_eq!((world.executor.tasks().len(), world.executor.next_deadline()), (0, None));
    let polls = task.task_ref().info().polls();
    drop(task);
    world.close();
    polls
}

// promise 5.1, 5.3
#[test]
fn who_waits_for_many_is_polled_when_some_have_ended_and_not_for_each() {
    let count = |values: &[u64]| Ok(values.len() as u64);
    assert_eq!(polls_of(MANY, move |tasks| async move { count(&gather(tasks).await?) }), 3);
    assert_eq!(polls_of(MANY, move |tasks| async move { count(&try_gather(tasks).await?) }), 3);
    assert_eq!(polls_of(MANY, |tasks| async move { Ok(settle(tasks).await.len() as u64) }), 3);
    let waits = |mut tasks: Vec<Task<u64>>| async move {
        Ok(wait(&mut tasks, WaitFor::All).await.0.len() as u64)
    };
    assert_eq!(polls_of(MANY, waits), 3);
    let goes_through = |tasks: Vec<Task<u64>>| async move {
        let (mut ended, mut count) = (as_completed(tasks), 0);
        while ended.next().await.is_some() {
            count += 1;
        }
        Ok(count)
    };
    assert_eq!(polls_of(MANY, goes_through), 3);
}

// promise 5.1, 4.8
#[test]
fn to_cancel_who_gathers_many_is_a_drop_for_each_and_two_polls() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let tasks = (0..MANY).map(|_| spawn(pending::<anyhow::Result<()>>()));
        Ok(gather(tasks).await?.len())
    });
    turns(&world);
    task.cancel();
    let (turns, polls) = turns(&world);
    assert!(task.is_cancelled());
    assert!(turns <= 5 && polls <= MANY + 5, "{turns} turns, {polls} polls");
    drop(task);
    assert_eq!(world.close().unretrieved().len(), 0);
}

// promise 5.4
#[test]
fn a_group_of_many_is_polled_when_all_have_ended() {
    for fails in [false, true] {
        let world = World::new();
        let task = world.executor.spawn(async move {
            let all = group(async |g: Group| {
                for number in 0..MANY {
                    let child = g.spawn(async move {
                        if !fails {
                            sleep(seconds(number % 7)).await;
                        } else if number == MANY / 2 {
                            sleep(seconds(1)).await;
                            anyhow::bail!("spilled");
                        } else {
                            pending::<()>().await;
                        }
                        Ok(())
                    });
                    child.detach();
                }
                Ok(())
            });
            assert_eq!(all.await.map_err(|error| error.errors().len()).err(), fails.then_some(1));
            Ok(())
        });
        world.executor.run_until_idle();
        assert_eq!(task.result().ok(), Some(&()));
        assert!(task.task_ref().info().polls() <= 3);
        let ledger = world.executor.ledger();
        assert_eq!(ledger.succeeded + ledger.failed + ledger.cancelled, MANY + 1);
        drop(task);
        world.close();
    }
}

// promise 3.5, 7.6
#[test]
fn a_million_tasks_one_after_another_leave_nothing_behind() {
    const MILLION: u64 = 1_000_000;
    let world = World::new();
    let spawns = world.executor.spawn(async {
        for number in 0..MILLION {
            let task = spawn(async move {
                if number % 3 == 0 {
                    sleep(seconds(1)).await;
                }
                Ok(number)
            });
            match number % 5 {
                0 => task.detach(),
                1 => drop(task.cancel()),
                _ => assert_eq!(task.await?, number),
            }
            if number % 1_000 == 0 {
                yield_now().await;
            }
        }
        Ok(())
    });
    world.executor.run_until_idle();
    while !spawns.is_finished() {
        assert_balances(&world.executor);
        assert!(world.executor.ledger().live <= 1_000);
        world.executor.run_until_idle();
    }
    assert_eq!(spawns.result().ok(), Some(&()));
    let ledger = world.executor.ledger();
    assert_eq!((ledger.spawned, ledger.live, ledger.held), (MILLION + 1, 0, 0), "{ledger}");
    assert_eq!(ledger.succeeded + ledger.cancelled, MILLION + 1);
    assert!(world.executor.tasks().is_empty() && world.executor.next_deadline().is_none());
    drop(spawns);
    world.close();
}
