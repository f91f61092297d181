//! The end of an executor, by a shutdown or by its drop, and what answers after
//! it.

mod common;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use common::{
    OnDrop, Shelf, Transcript, World, assert_settled, failing, hushed, poll_once, waiting,
};
use futures::task::{LocalSpawnExt as _, SpawnExt as _};
use hearken::{
    Budget, Next, Origin, ReportKind, RunError, Shutdown, SpawnErrorKind, TaskError, spawn,
};

const SECOND: Duration = Duration::from_secs(1);

// ---- The shutdown -------------------------------------------------------------------------

// promise 6.4
#[test]
fn tasks_that_wait_are_cancelled_the_youngest_first() {
    let (world, said) = (World::new(), Transcript::new());
    let tasks = ["parent", "child", "grandchild"].map(|name| world.waiter(&said, name));
    world.executor.run_until_idle();
    let shutdown = world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped, shutdown.still_held), (3, 0, 0));
    assert_eq!(said.lines(), ["grandchild", "child", "parent"]);
    for mut task in tasks {
        let Ok(Err(TaskError::Cancelled(cancelled))) = task.take() else { panic!() };
        assert_eq!(cancelled.origin(), Origin::ShutDown);
        assert_eq!(cancelled.reason(), "the executor is shut down");
    }
    world.close();
}

// promise 6.4
#[test]
fn what_is_spawned_meanwhile_is_run_and_then_cancelled_in_its_turn() {
    async fn generation(said: Transcript, n: u32) -> anyhow::Result<()> {
        said.say(format!("{n} runs"));
        let heirs = said.clone();
        waiting(move || {
            heirs.say(format!("{n} ends"));
            if n < 3 {
                spawn(generation(heirs.clone(), n + 1)).detach();
            }
        })
        .await
    }
    let (world, said) = (World::new(), Transcript::new());
    world.executor.spawn(generation(said.clone(), 1)).detach();
    world.executor.run_until_idle();
    let shutdown = world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped), (1, 0));
    assert_eq!(said.lines(), ["1 runs", "1 ends", "2 runs", "2 ends", "3 runs", "3 ends"]);
    assert_eq!(world.executor.ledger().cancelled, 3);
    world.close();
}

// promise 6.4
#[test]
fn a_newcomer_that_ends_by_itself_has_its_own_ending() {
    let world = World::new();
    let work = || {
        spawn(async { Ok(()) }).detach();
        spawn(failing()).detach();
    };
    world.executor.spawn(waiting(work)).detach();
    world.executor.run_until_idle();
    world.executor.shut_down();
    let ledger = world.executor.ledger();
    assert_eq!((ledger.succeeded, ledger.failed, ledger.cancelled), (1, 1, 1));
    let kinds = world.close().kinds();
    assert_eq!(kinds, [ReportKind::Cancelled, ReportKind::FailedDuringShutdown]);
}

// promise 6.4, 7.4
#[test]
fn all_of_it_happens_within_one_grace_by_the_executors_clock() {
    // the grace, what the task needs, how long it lasts
    let cases = [
        (Some(5), 0, 0),
        (Some(5), 4, 4),
        (Some(5), 6, 5),
        (Some(0), 1, 0),
        (None, 36_000, 36_000),
    ];
    for (grace, needs, lasts) in cases {
        let world = World::with(|builder| builder.grace(grace.map(Duration::from_secs)));
        let task = world.tidy(needs * SECOND);
        let shutdown = world.executor.shut_down();
        let overran = usize::from(needs != lasts);
        assert_eq!((shutdown.found, shutdown.dropped), (1, overran), "{grace:?}, {needs}");
        assert_eq!(world.clock.now() - hearken::Instant::ZERO, lasts * SECOND, "{grace:?}");
        assert!(task.is_cancelled());
        drop(task);
        let heard = world.close();
        assert_eq!(heard.count(ReportKind::Overran), overran);
        assert_eq!(heard.count(ReportKind::Cancelled), 1);
    }
}

// promise 6.4
#[test]
fn without_a_word_the_grace_is_five_seconds() {
    let world = World::new();
    let (inside, outside) = (
        world.tidy(5 * SECOND - Duration::from_nanos(1)),
        world.tidy(5 * SECOND + Duration::from_nanos(1)),
    );
    let shutdown = world.executor.shut_down();
    assert_eq!(shutdown.dropped, 1);
    drop((inside, outside));
    let notes = world.close().notes();
    let overran: Vec<_> = notes.iter().filter(|note| note.kind == ReportKind::Overran).collect();
    assert_eq!(overran.len(), 1);
    assert_eq!(overran[0].task, Some(2));
}

// promise 6.4, 7.4
#[test]
fn on_a_clock_that_stands_still_a_wait_for_a_timer_counts_as_over() {
    for grace in [Some(5 * SECOND), None] {
        let world = World::with(|builder| builder.grace(grace));
        world.clock.set_auto_advance(false);
        let task = world.tidy(SECOND);
        let shutdown = world.executor.shut_down();
        assert_eq!(shutdown.dropped, 1);
        assert!(task.is_cancelled());
        drop(task);
        world.close();
    }
}

// promise 6.4, 3.11
#[test]
fn who_spawns_for_ever_is_dropped_when_the_grace_is_over() {
    // Only one that has been polled has an heir.
    fn heir() -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>> {
        Box::pin(async { waiting(|| spawn(heir()).detach()).await })
    }
    let world = World::new();
    let clock = world.clock.clone();
    world.executor.spawn(heir()).detach();
    let ticking = world.executor.spawn(waiting(move || clock.advance(5 * SECOND)));
    world.executor.run_until_idle();
    let shutdown = world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped), (2, 1));
    drop(ticking);
    assert_eq!(world.close().count(ReportKind::Overran), 1);
}

// promise 6.4, 3.6
#[test]
fn the_second_shutdown_does_nothing() {
    let world = World::new();
    let held = world.executor.spawn(failing());
    world.executor.run_until_idle();
    world.executor.spawn(pending::<anyhow::Result<()>>()).detach();
    let shutdown = world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.still_held), (1, 1));
    let (ledger, _) = (world.executor.ledger(), world.heard.notes());
    assert_eq!(world.executor.shut_down(), Shutdown::default());
    assert_eq!(world.executor.ledger(), ledger);
    drop(held);
    assert!(world.close().notes().is_empty());
}

// promise 6.4, 3.12
#[test]
fn a_host_that_asks_for_a_shutdown_goes_on_turning_until_nobody_is_left() {
    let world = World::new();
    let task = world.tidy(SECOND);
    world.executor.request_shut_down("enough");
    let late = world.executor.spawn(async { Ok(7) });
    assert_eq!(world.executor.run_until_idle().next, Next::Empty);
    assert!(task.is_cancelled());
    assert_eq!(late.result().ok(), Some(&7), "what comes meanwhile is run");
    let answer = world.executor.block_on(async { Ok(()) });
    let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
    assert_eq!(report.message(), "enough");
    drop((task, late));
    world.close();
}

// ---- After it -------------------------------------------------------------------------------

// promise 6.5, 3.5
#[test]
fn after_a_shutdown_nothing_is_taken_and_everything_answers() {
    let (world, said) = (World::new(), Transcript::new());
    let executor = &world.executor;
    let (spawner, interrupter) = (executor.spawner(), executor.interrupter());
    executor.shut_down();
    let ledger = executor.ledger();

    let guard = said.finally("the future of try_spawn");
    let refused = executor.try_spawn(async move {
        let _guard = guard;
        Ok(())
    });
    let refused = refused.unwrap_err();
    assert_eq!((refused.kind(), said.lines()), (SpawnErrorKind::Closed, vec![]));
    assert_eq!(refused.to_string(), "the executor is shut down");
    drop(refused.into_future());
    assert_eq!(said.lines(), ["the future of try_spawn"]);

    let guard = said.finally("the future of spawn");
    let mut task = executor.spawn(async move {
        let _guard = guard;
        Ok(())
    });
    assert_eq!(said.lines(), ["the future of spawn"]);
    assert!(task.is_finished() && !task.cancel() && !task.task_ref().cancel());
    let Poll::Ready(Err(TaskError::Cancelled(cancelled))) = poll_once(&mut task) else { panic!() };
    assert_eq!(cancelled.origin(), Origin::ShutDown);
    assert_eq!(cancelled.reason(), "the executor is shut down");
    let infallible = executor.spawn_infallible(async { 7 });
    infallible.on_done(|_| ());
    assert!(infallible.is_cancelled());

    assert!(spawner.spawn_with(|| async { Ok(()) }).is_err());
    assert!(spawner.spawn(async {}).is_err() && executor.spawn_local(async {}).is_err());
    interrupter.interrupt();
    executor.request_shut_down("again");
    let answer = executor.block_on(async { Ok(()) });
    assert!(matches!(answer, Err(RunError::ShutDown(_))), "{answer:?}");
    assert_eq!(executor.turn(Budget::Batch).next, Next::Empty);
    assert_eq!((executor.run_until_idle().polled, executor.next_deadline()), (0, None));
    assert!(executor.tasks().is_empty());
    let mut after = executor.ledger();
    after.refused = 0;
    assert_eq!(after, ledger, "who is refused counts nowhere else");
    drop((task, infallible));
    world.close();
}

// promise 6.5, 8.3
#[test]
fn a_destructor_may_spawn_at_every_moment_of_the_end() {
    for by_drop in [false, true] {
        let (world, said) = (World::new(), Transcript::new());
        let World { executor, heard, .. } = world;
        let executor = Rc::new(executor);
        let shelf = Shelf::new();
        // At the end of the executor, and when the last handle goes after it.
        for moment in ["during", "after"] {
            let (weak, says) = (Rc::downgrade(&executor), said.clone());
            let work = OnDrop(move || {
                let Some(executor) = weak.upgrade() else {
                    return says.say(format!("{moment}: there is no executor"));
                };
                let task = executor.spawn(async { Ok(()) });
                says.say(format!("{moment}: cancelled: {}", task.is_cancelled()));
            });
            if moment == "during" {
                executor
                    .spawn(async move {
                        let _work = work;
                        pending::<anyhow::Result<()>>().await
                    })
                    .detach();
            } else {
                shelf.put(executor.spawn(async { Ok(work) }));
            }
        }
        executor.run_until_idle();
        if by_drop {
            drop(executor);
            drop(shelf.take());
            assert_eq!(
                said.lines(),
                ["during: there is no executor", "after: there is no executor"]
            );
        } else {
            executor.shut_down();
            drop(shelf.take());
            assert_settled(&executor);
            assert_eq!(said.lines(), ["during: cancelled: false", "after: cancelled: true"]);
        }
        assert_eq!(heard.count(ReportKind::PanickedInDrop), 0);
    }
}

// promise 6.5, 10.7
#[test]
fn a_refused_future_that_panics_when_it_is_dropped_harms_nobody() {
    let world = World::new();
    world.executor.shut_down();
    let guard = OnDrop(|| panic!("oh"));
    let spawned = hushed(|| {
        catch_unwind(AssertUnwindSafe(|| {
            world.executor.spawn(async move {
                let _guard = guard;
                Ok(())
            })
        }))
    });
    assert!(spawned.is_ok_and(|task| task.is_cancelled()), "the panic came out of spawn");
    world.executor.run_until_idle();
    assert_eq!(world.close().kinds(), [ReportKind::PanickedInDrop]);
}
