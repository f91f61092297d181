//! Bugs that others had with the end of a program: an interrupt that nobody heard, work
//! that a shutdown forgot, a host that followed the rules and never came to its end. Each
//! test names the thread.
//!
//! Those about signals are scenarios of `signals.rs`.

mod common;

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use common::{OnDrop, Transcript, World, hushed, secs};
use hearken::{
    Budget, Instant, ManualClock, Next, ReportKind, RunError, Task, Verdict, WaitFor, as_completed,
    finally, gather, interval, scope, settle, shield, sleep, spawn, timeout, try_gather, wait,
    yield_now,
};

async fn sleep_for(length: Duration) -> anyhow::Result<()> {
    sleep(length).await;
    Ok(())
}

// ---- Interrupts -----------------------------------------------------------------------------

/// MagicStack/uvloop 94: what a signal handler raised was logged, and the interrupt was
/// lost with it. (The default handler tells of the panics.)
// promise 3.9, 6.2, 6.3
#[test]
fn an_interrupt_takes_its_stage_though_the_handler_panics_at_it() {
    for interrupts in 1..=3 {
        let world = World::new();
        world.executor.set_handler(|report| {
            assert!(report.kind() != ReportKind::Interrupted, "at each of them");
            Verdict::Proceed
        });
        let interrupter = world.executor.interrupter();
        let stands = world.executor.spawn(shield(pending::<anyhow::Result<()>>()));
        let main = async move {
            (0..interrupts).for_each(|_| interrupter.interrupt());
            shield(sleep(secs(1))).await;
            pending::<anyhow::Result<()>>().await
        };
        let answer = hushed(|| world.executor.block_on(main));
        assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{answer:?}");
        assert_eq!(stands.is_finished(), interrupts > 1, "{interrupts}");
        drop(stands);
        world.executor.set_handler(|_| Verdict::Proceed);
        world.close();
    }
}

/// Kotlin/kotlinx.coroutines 589, MagicStack/uvloop 295: the interrupt was seen only when
/// something else woke the loop; and in the second of two runs not at all.
// promise 6.1, 6.3
#[test]
fn every_run_of_several_hears_its_own_interrupt_and_no_other() {
    let world = World::new();
    let interrupter = world.executor.interrupter();
    for round in 0..6 {
        let (finger, interrupts) = (interrupter.clone(), round % 3 != 2);
        let answer = world.executor.block_on(async move {
            sleep(secs(1)).await;
            if interrupts {
                finger.interrupt();
            }
            sleep(secs(1)).await;
            Ok(round)
        });
        match answer {
            Err(RunError::Interrupted { .. }) => assert!(interrupts, "{round}"),
            other => assert_eq!((other.ok(), interrupts), (Some(round), false)),
        }
    }
    assert_eq!(world.heard.count(ReportKind::Interrupted), 4);
    world.close();
}

/// compio-rs/compio 502: what was spawned while all tasks were dropped took the place of
/// one of them, and was taken for it.
// promise 6.2, 8.3
#[test]
fn what_is_spawned_by_those_that_are_dropped_is_not_taken_for_them() {
    for count in [1, 2, 50] {
        let (world, said) = (World::new(), Transcript::new());
        let spawned = Rc::new(Cell::new(0));
        for _ in 0..count {
            let (says, counts) = (said.clone(), spawned.clone());
            let on_drop = OnDrop(move || {
                let own = says.finally("dropped");
                counts.set(counts.get() + 1);
                spawn(async move {
                    own.say("polled");
                    yield_now().await;
                    own.say("polled again");
                    Ok(())
                })
                .detach();
            });
            let stands = shield(async move {
                let _on_drop = on_drop;
                pending::<anyhow::Result<()>>().await
            });
            world.executor.spawn(stands).detach();
        }
        world.executor.run_until_idle();
        let interrupter = world.executor.interrupter();
        (0..3).for_each(|_| interrupter.interrupt());
        world.executor.run_until_idle();
        assert_eq!(spawned.get(), count);
        // Each has its end, and only one.
        let lines = said.lines();
        let of = |what: &str| lines.iter().filter(|line| *line == what).count();
        assert_eq!((of("dropped"), world.executor.ledger().live), (count, 0));
        assert!(of("polled") == of("polled again") || of("polled again") == 0);
        let ledger = world.executor.ledger();
        assert_eq!((ledger.spawned, ledger.refused), (2 * count as u64, 0));
        world.close();
    }
}

// ---- Shutdowns --------------------------------------------------------------------------------

/// ujeenet/rustango 1256: a shutdown stopped the loop that ticks, and left running what it
/// had begun at each tick.
// promise 6.4
#[test]
fn what_each_tick_began_is_cancelled_and_waited_for_too() {
    let (world, said) = (World::new(), Transcript::new());
    let says = said.clone();
    let ticks = async move {
        let mut interval = interval(secs(10))?;
        for round in 1.. {
            interval.tick().await;
            let says = says.clone();
            let job = finally(pending::<anyhow::Result<()>>(), async move || {
                sleep(Duration::from_millis(round * 100)).await;
                says.say(format!("{round} is tidy"));
                Ok(())
            });
            spawn(job).detach();
        }
        Ok(())
    };
    world.executor.spawn(ticks).detach();
    world.executor.block_on(sleep_for(secs(35))).unwrap();
    assert_eq!(said.lines(), [] as [&str; 0]);
    let shutdown = world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped), (5, 0));
    assert_eq!(said.lines(), ["1 is tidy", "2 is tidy", "3 is tidy", "4 is tidy"]);
    world.close();
}

/// microsoft/oxidizer 647: while a shutdown waited for somebody the host was told that
/// there was nothing to do, and whoever followed that never came to look at the limit.
/// Dicklesworthstone/frankenterm 20: there was none.
// promise 6.4, 8.1
#[test]
fn a_host_that_does_what_it_is_told_comes_to_the_end_of_a_shutdown() {
    // What stands in its way, and when it is over.
    type Way = (fn() -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>, u64);
    let ways: [Way; 4] = [
        (|| Box::pin(pending()), 0),
        (|| Box::pin(shield(pending())), 5),
        (|| Box::pin(finally(pending(), async || sleep_for(secs(3)).await)), 3),
        (
            || {
                Box::pin(async {
                    let _told = scope(pending::<()>()).await;
                    let _told = scope(pending::<()>()).await;
                    pending().await
                })
            },
            5,
        ),
    ];
    for (place, (stands, over)) in ways.into_iter().enumerate() {
        let clock = ManualClock::new();
        let world = World::with(|builder| builder.clock(clock.clone()));
        let mut turns = 0;
        world.executor.spawn(stands()).detach();
        world.executor.run_until_idle();
        world.executor.request_shut_down("enough");
        loop {
            turns += 1;
            assert!(turns < 50, "it goes round and round: {place}");
            match world.executor.turn(Budget::Batch).next {
                Next::Ready => {}
                Next::At(moment) => clock.advance(moment - clock.now()),
                Next::Empty => break,
                other => panic!("nobody would come back: {other:?}, {place}"),
            }
        }
        assert_eq!(clock.now(), Instant::ZERO + secs(over), "{place}");
        world.close();
    }
}

/// smol-rs/async-task 20, zed-industries/zed 60935: to drop a task that was scheduled made
/// whoever awaited it panic.
// promise 6.5, 6.8
#[test]
fn who_waits_for_many_tasks_of_an_executor_that_goes_is_woken() {
    type Waits = fn([Task<()>; 2]) -> std::pin::Pin<Box<dyn Future<Output = bool>>>;
    let ways: [Waits; 6] = [
        |mut tasks| Box::pin(async move { wait(&mut tasks, WaitFor::All).await.0.len() == 2 }),
        |tasks| {
            Box::pin(async move {
                let mut tasks = as_completed(tasks);
                while let Some(outcome) = tasks.next().await {
                    assert!(outcome.is_err());
                }
                tasks.left() == 0
            })
        },
        |tasks| Box::pin(async move { gather(tasks).await.is_err() }),
        |tasks| Box::pin(async move { try_gather(tasks).await.is_err() }),
        |tasks| Box::pin(async move { settle(tasks).await.iter().all(Result::is_err) }),
        |[one, two]| {
            Box::pin(async move {
                let both = timeout(secs(1), futures::future::join(one, two)).await;
                matches!(both, Ok((Err(_), Err(_))))
            })
        },
    ];
    for (place, way) in ways.into_iter().enumerate() {
        for shuts_down in [false, true] {
            let (here, there) = (World::new(), World::new());
            here.clock.set_auto_advance(false);
            // One waits, and one is scheduled.
            let waits = there.executor.spawn(pending::<anyhow::Result<()>>());
            there.executor.run_until_idle();
            let tasks = [waits, there.executor.spawn(pending::<anyhow::Result<()>>())];
            let task = here.executor.spawn_infallible(way(tasks));
            here.executor.run_until_idle();
            assert!(!task.is_finished());
            match shuts_down {
                true => drop(there.close()),
                false => drop(there),
            }
            here.executor.run_until_idle();
            assert_eq!(task.result().ok(), Some(&true), "{place}");
            drop(task);
            here.close();
        }
    }
}
