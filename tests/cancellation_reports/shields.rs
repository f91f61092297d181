//! Shields.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;

use async_lock::Mutex;
use futures::FutureExt as _;
use futures::future::select;
use hearken::{
    Budget, Group, Next, TaskError, current, finally, group, scope, shield, sleep, spawn, timeout,
    yield_now,
};

use crate::common::{Gate, Play, Spilled, hushed, secs};
use crate::{MOST_TURNS, cancel_at, run, tell};

// agronholm/anyio 370: of a scope, a limit and a shield in one another the code
// after them ran on, or was stopped, according to where the shield stood.
// promise 4.6, 4.7, 4.9
#[test]
fn a_request_from_below_two_shields_and_a_limit_is_delivered_after_the_outermost() {
    for outermost in ["shield", "limit"] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let inside = async {
                current().cancel();
                sleep(secs(2)).await;
                tell(&said, "inside through");
            };
            let in_time = match outermost {
                "shield" => shield(timeout(secs(1), shield(inside))).await,
                _ => timeout(secs(1), shield(shield(inside))).await,
            };
            tell(&said, &format!("{in_time:?}")); // it was ready when it was looked at
            yield_now().await;
            said.say("never");
            Ok(())
        });
        assert_eq!(run(&play), ["inside through at 2", "Ok(()) at 2"]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// agronholm/anyio 695: one shielded child two groups below, and the loop was busy
// with cancelling for the whole minute.
// promise 4.7, 5.4
#[test]
fn groups_that_wait_for_a_shield_below_cost_nothing_meanwhile() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        group(async |outer: Group| {
            let said = said.clone();
            outer
                .spawn(async move {
                    group(async |inner: Group| {
                        inner
                            .spawn(async move {
                                shield(sleep(secs(60))).await;
                                tell(&said, "shielded");
                                Ok(())
                            })
                            .detach();
                        Ok(())
                    })
                    .await?;
                    Ok(())
                })
                .detach();
            pending::<anyhow::Result<()>>().await
        })
        .await?;
        Ok(())
    });
    cancel_at(&play, &task, 1);
    let mut polled = 0;
    for _ in 0..MOST_TURNS {
        let turn = play.world.executor.turn(Budget::Batch);
        polled += turn.polled;
        if turn.next == Next::Empty {
            break;
        }
    }
    assert!(polled < 40, "{polled} polls");
    assert_eq!(play.said.lines(), ["shielded at 60"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// agronholm/anyio 1257: a request that could not get through was tried again in
// every pass, for a day.
// promise 4.7, 7.2
#[test]
fn a_request_behind_a_shield_that_does_not_end_lets_the_executor_rest() {
    let play = Play::new();
    let task = play.start(|_| async {
        shield(pending::<()>()).await;
        Ok(())
    });
    for _ in 0..3 {
        assert!(task.cancel());
        run(&play);
        let turn = play.world.executor.turn(Budget::Batch);
        assert_eq!((turn.polled, turn.next), (0, Next::Waiting));
    }
    assert!(!task.is_finished());
    drop(task);
    play.close();
}

// zio/zio 9850: whether an uninterruptible fiber that was interrupted before its
// first step took that step was a race. Here it never does.
// promise 4.2, 4.7
#[test]
fn a_shield_that_was_never_polled_protects_nothing() {
    let play = Play::new();
    let task = play.spawn(|said| {
        shield(async move {
            said.say("never");
            Ok(())
        })
    });
    task.cancel();
    assert_eq!(run(&play), [""; 0]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// zio/zio 11044: a race under a shield hung, because its loser could not be
// interrupted there.
// promise 4.7, 4.11
#[test]
fn the_loser_of_a_race_under_a_shield_is_dropped() {
    let play = Play::new();
    let gate = Gate::new();
    let opens = gate.clone();
    let task = play.start(|said| async move {
        let loser = async {
            let _dropped = said.finally("loser dropped");
            scope(pending::<()>()).await
        };
        let race = async { drop(select(pin!(gate.pass()), pin!(loser)).await) };
        shield(race).await;
        said.say("through");
        yield_now().await;
        said.say("never");
        Ok(())
    });
    task.cancel();
    assert_eq!(run(&play), [""; 0]);
    opens.open();
    assert_eq!(run(&play), ["loser dropped", "through"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// python-trio/trio 2544: a child that was begun under a shield could not be
// cancelled as long as its starter was in there.
// promise 4.7, 4.8
#[test]
fn a_task_that_is_begun_under_a_shield_is_not_under_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let answer = shield(async {
            let child = spawn(pending::<anyhow::Result<()>>());
            let child_ref = child.task_ref();
            let cancels = spawn(async move {
                sleep(secs(1)).await;
                child_ref.cancel();
                Ok(())
            });
            let answer = child.await;
            cancels.await?;
            anyhow::Ok(answer)
        });
        let answer = answer.await?;
        assert!(matches!(answer, Err(TaskError::Cancelled(_))), "{answer:?}");
        tell(&said, "child gone");
        Ok(())
    });
    assert_eq!(run(&play), ["child gone at 1"]);
    drop(task);
    play.close();
}

// typelevel/cats-effect 1526: with nothing between the end of the uncancelable
// part and that of the whole, the finalizer did not run. Here it runs, and is the
// first suspension after the shield if it has one; there finalizers are masked.
// promise 4.6, 4.7
#[test]
fn the_clean_up_of_a_body_that_is_nothing_but_a_shield_begins() {
    for shielded in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let body = shield(async {
                current().cancel();
                sleep(secs(1)).await;
                Ok(7)
            });
            let seven = finally(body, async || {
                tell(&said, "clean-up");
                match shielded {
                    true => shield(sleep(secs(1))).await,
                    false => sleep(secs(1)).await,
                }
                tell(&said, "finished");
                Ok(())
            });
            seven.await
        });
        let lines = ["clean-up at 1", "finished at 2"];
        assert_eq!(run(&play), if shielded { &lines[..] } else { &lines[..1] });
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// python/cpython 77022: a waiter that has to take its lock back before it may
// leave swallowed all requests that came meanwhile.
// promise 4.5, 4.7
#[test]
fn a_request_that_comes_while_a_clean_up_takes_a_lock_back_is_delivered_after_it() {
    let play = Play::new();
    let lock = Rc::new(Mutex::new(()));
    let (held, wanted) = (lock.clone(), lock.clone());
    let holder = play.spawn(|_| async move {
        let _guard = held.lock().await;
        sleep(secs(5)).await;
        Ok(())
    });
    let waiter = play.spawn(|said| async move {
        let told = scope(pending::<()>()).await;
        let _guard = shield(wanted.lock()).await;
        tell(&said, "has the lock again");
        sleep(secs(60)).await;
        said.say("never");
        Ok(told?)
    });
    cancel_at(&play, &waiter, 1); // leaves, and waits for the lock
    cancel_at(&play, &waiter, 2);
    assert_eq!(run(&play), ["has the lock again at 5"]);
    assert!(waiter.is_cancelled());
    assert!(lock.try_lock().is_some());
    assert_eq!(play.world.executor.now().as_nanos(), 5_000_000_000);
    drop((holder, waiter));
    play.close();
}

/// How a shield ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Fails,
    Panics,
    /// Its race is lost.
    Lost,
}

// typelevel/cats-effect 3615: after an uncancelable part that failed, the next
// stage was still masked.
// promise 4.6, 4.7, 4.11
#[test]
fn a_shield_that_does_not_end_by_a_value_is_over_as_well() {
    for ends in [Ending::Fails, Ending::Panics, Ending::Lost] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let inside = async {
                sleep(secs(2)).await;
                match ends {
                    Ending::Fails => Err::<(), _>(Spilled("tea")),
                    Ending::Panics => panic!("tea"),
                    Ending::Lost => pending().await,
                }
            };
            let held = AssertUnwindSafe(shield(inside)).catch_unwind();
            let mut held = Box::pin(held);
            drop(select(&mut held, pin!(sleep(secs(3)))).await);
            drop(held);
            tell(&said, "over");
            scope(sleep(secs(60))).await.inspect_err(|_| tell(&said, "told"))?;
            Ok(())
        });
        cancel_at(&play, &task, 1);
        let second = if matches!(ends, Ending::Lost) { 3 } else { 2 };
        let lines = hushed(|| run(&play));
        assert_eq!(lines, [format!("over at {second}"), format!("told at {second}")], "{ends:?}");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}
