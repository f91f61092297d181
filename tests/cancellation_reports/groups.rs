//! Groups.

use std::future::pending;
use std::rc::Rc;

use anyhow::anyhow;
use async_lock::Semaphore;
use futures::future::join;
use hearken::{
    Budget, Elapsed, Group, GroupError, Instant, TaskCancelled, TaskState, TimeoutHandle, current,
    group, scope, shield, sleep, sleep_until, spawn, timeout, timeout_by, try_gather, yield_now,
};

use crate::common::cast::{fails, naps, spills, tidies};
use crate::common::{Play, Spilled, Transcript, secs};
use crate::{cancel_at, run, tell};

fn words(error: &GroupError) -> String {
    error.errors().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

// swiftlang/swift 40562: to cancel a group called the handler of the task around
// it.
// promise 5.4
#[test]
fn a_scope_beside_a_group_that_aborts_is_not_told() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = group(async |g: Group| {
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            pending::<anyhow::Result<()>>().await
        });
        let beside = scope(async {
            sleep(secs(5)).await;
            tell(&said, "beside");
        });
        let (inside, beside) = join(inside, beside).await;
        assert!(inside.is_err());
        beside?;
        Ok(())
    });
    assert_eq!(run(&play), ["tea failed at 1", "beside at 5"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// swiftlang/swift 80789: a group whose task was cancelled went on taking tasks,
// although it said that it was for those that are not.
// promise 5.4
#[test]
fn a_group_that_is_cancelled_from_outside_takes_no_more_tasks() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            let (again, said) = (g.clone(), said.clone());
            g.spawn(async move {
                let told = scope(pending::<()>()).await;
                let late = again.try_spawn(pending::<anyhow::Result<()>>());
                said.say(format!("refused: {}", late.is_err()));
                Ok(told?)
            })
            .detach();
            pending::<anyhow::Result<()>>().await
        })
        .await?;
        Ok(())
    });
    task.cancel();
    assert_eq!(run(&play), ["refused: true"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// agronholm/anyio 787: once a scope around it was cancelled, a child that failed
// did not stop its group any more.
// promise 5.4, 4.7
#[test]
fn a_request_that_a_shield_holds_back_does_not_keep_a_group_from_aborting() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(fails(said.clone(), "tea", 2)).detach();
            g.spawn(tidies(said.clone(), "sibling", 1)).detach();
            shield(sleep(secs(10))).await;
            tell(&said, "body through");
            sleep(secs(60)).await;
            said.say("never");
            Ok(())
        });
        let error = error.await.unwrap_err();
        tell(&said, &words(&error));
        sleep(secs(60)).await;
        said.say("never");
        Ok(())
    });
    cancel_at(&play, &task, 1);
    assert_eq!(
        run(&play),
        [
            "tea failed at 2",
            "sibling tidied at 3", // the failure stopped it, and not the request
            "body through at 10",
            "spilled tea at 10",
        ]
    );
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// agronholm/anyio 787, of which this is the other half: a failure in a group that
// is being cancelled does not cut its siblings short.
// promise 5.4, 4.9
#[test]
fn a_failure_in_a_group_that_is_cancelled_already_leaves_the_other_clean_ups_alone() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let all = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "older", 3)).detach();
            g.spawn(spills(said.clone(), "tea", 1)).detach();
            g.spawn(tidies(said.clone(), "younger", 2)).detach();
            pending::<anyhow::Result<()>>().await
        });
        let error = timeout(secs(1), all).await.expect("a failure is worth more").unwrap_err();
        tell(&said, &words(&error));
        Ok(())
    });
    assert_eq!(
        run(&play),
        ["tea spilled at 2", "younger tidied at 3", "older tidied at 4", "spilled tea at 4"]
    );
    drop(task);
    play.close();
}

// openjdk/jdk 14833: a shutdown passed over those that had been forked and had
// not begun, and the join waited for them. Here they may have their first poll,
// as the group looks at the failure at its own place in the queue.
// promise 5.4
#[test]
fn a_task_that_is_begun_in_the_turn_of_a_failure_is_cancelled_with_the_others() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(async {
                yield_now().await; // its timer is the younger one
                sleep_until(Instant::from_nanos(1_000_000_000)).await;
                Err::<(), _>(Spilled("tea").into())
            })
            .detach();
            sleep(secs(1)).await;
            for name in ["a", "b"] {
                let said = said.clone();
                g.spawn(async move {
                    sleep(secs(60)).await;
                    said.say(format!("{name} never"));
                    Ok(())
                })
                .detach();
            }
            pending::<anyhow::Result<()>>().await
        });
        tell(&said, &words(&error.await.unwrap_err()));
        Ok(())
    });
    assert_eq!(run(&play), ["spilled tea at 1"]);
    drop(task);
    play.close();
}

// sourcegraph/sourcegraph-public-snapshot 38681, coinbase/mesh-sdk-go 234: who
// cancelled the others first and failed then was not the first error: theirs were,
// and they only said that they had been cancelled.
// promise 5.4, 3.3
#[test]
fn who_cancels_its_siblings_and_then_fails_is_the_error_of_the_group() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let error = group(async |g: Group| {
            let sibling = g.spawn(tidies(said.clone(), "sibling", 1)).task_ref();
            let said = said.clone();
            g.spawn(async move {
                sleep(secs(1)).await;
                sibling.cancel();
                sleep(secs(3)).await;
                tell(&said, "fails");
                Err::<(), _>(Spilled("tea").into())
            })
            .detach();
            Ok(())
        });
        tell(&said, &words(&error.await.unwrap_err()));
        Ok(())
    });
    assert_eq!(run(&play), ["sibling tidied at 2", "fails at 4", "spilled tea at 4"]);
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// Kotlin/kotlinx.coroutines 552: a body that awaits one after the other hung in
// the first when the second had failed.
// promise 5.4, 4.8
#[test]
fn a_body_that_awaits_one_task_after_the_other_is_stopped_by_any_of_them() {
    for scoped in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let error = group(async |g: Group| {
                let one = g.spawn(tidies(said.clone(), "one", 2));
                let two = g.spawn(fails(said.clone(), "two", 1));
                match scoped {
                    true => drop(scope(one).await??),
                    false => drop(one.await?),
                }
                two.await?;
                Ok(())
            });
            let error = error.await.unwrap_err();
            tell(&said, &words(&error));
            Ok(())
        });
        // It is awaited and in the group, and is asked once all the same.
        assert_eq!(run(&play), ["two failed at 1", "one tidied at 3", "spilled two at 3"]);
        drop(task);
        assert!(play.close().unretrieved().is_empty());
    }
}

// Kotlin/kotlinx.coroutines 1406: what looks like a cancellation was taken for
// the child's own, and the failure was lost.
// promise 3.3, 5.4
#[test]
fn a_task_that_fails_because_somebody_elses_was_cancelled_is_an_error_of_its_group() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let outside = spawn(pending::<anyhow::Result<()>>());
        let outside_ref = outside.task_ref();
        let error = group(async |g: Group| {
            g.spawn(async move { Ok(outside.await?) }).detach();
            g.spawn(tidies(said.clone(), "sibling", 1)).detach();
            sleep(secs(1)).await;
            outside_ref.cancel_with("no longer needed");
            pending::<anyhow::Result<()>>().await
        });
        let error = error.await.unwrap_err();
        let [error] = error.errors() else { panic!("{error}") };
        tell(&said, error.downcast_ref::<TaskCancelled>().unwrap().reason());
        Ok(())
    });
    assert_eq!(run(&play), ["sibling tidied at 2", "no longer needed at 2"]);
    drop(task);
    play.close();
}

// agronholm/anyio 685, 710: a limit around one task of a group cancelled all of
// them.
// promise 4.8, 4.9, 5.4
#[test]
fn a_limit_around_one_task_of_a_group_cancels_that_one() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        group(async |g: Group| {
            let slow = g.spawn(tidies(said.clone(), "slow", 1));
            let other = g.spawn(naps(said.clone(), "other", 5));
            let answer = timeout(secs(1), slow).await.map(drop);
            tell(&said, &format!("{answer:?}"));
            assert_eq!(answer, Err(Elapsed));
            let late = g.spawn(naps(said.clone(), "late", 1));
            late.await?;
            other.await?;
            Ok(())
        })
        .await?;
        Ok(())
    });
    assert_eq!(
        run(&play),
        ["slow tidied at 2", "Err(Elapsed) at 2", "late done at 3", "other done at 5"]
    );
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// python-trio/trio 1457: a nursery added a cancellation to an error, although
// none of its tasks had met one.
// promise 5.4, 4.6
#[test]
fn a_body_that_cancels_its_own_task_and_fails_is_one_error_and_the_request_comes_after() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let error = group(async |_: Group| {
            current().cancel();
            Err::<(), _>(anyhow!("spilled tea"))
        });
        tell(&said, &words(&error.await.unwrap_err()));
        sleep(secs(1)).await;
        said.say("never");
        Ok(())
    });
    assert_eq!(run(&play), ["spilled tea at 0"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// agronholm/anyio 1069: the end of a group was a place to be cancelled at, also
// when all that was in it had ended well: the value was lost.
// promise 5.4, 4.6
#[test]
fn the_value_of_a_group_that_ends_in_the_turn_of_the_request_is_kept() {
    for turns in 0..4 {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let value = scope(group(async |g: Group| {
                let tea = g.spawn(async { Ok("tea") });
                Ok(tea.await?)
            }));
            let value = value.await;
            said.say(match &value {
                Ok(Ok(tea)) => tea,
                Ok(Err(_)) => "errors",
                Err(_) => "told",
            });
            let value = value?;
            yield_now().await;
            said.say("never");
            Ok(value?)
        });
        for _ in 0..turns {
            play.world.executor.turn(Budget::Batch);
        }
        task.cancel();
        let lines = run(&play);
        // After one turn its task stands before it in the queue.
        assert_eq!(lines, if turns == 0 { &[][..] } else { &["tea"] }, "after {turns} turns");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// agronholm/anyio 1251, which is about a race of connections: the winner cancels
// the host, from inside of the host's own group.
// promise 4.8, 5.4, 4.10
#[test]
fn a_task_that_cancels_the_host_of_its_group_is_cancelled_with_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let host = current();
        group(async |g: Group| {
            let winner = said.finally("winner dropped");
            g.spawn(async move {
                sleep(secs(1)).await;
                host.cancel_with("won");
                sleep(secs(60)).await;
                winner.say("never");
                Ok(())
            })
            .detach();
            g.spawn(tidies(said.clone(), "loser", 2)).detach();
            pending::<anyhow::Result<()>>().await
        })
        .await?;
        said.say("never");
        Ok(())
    });
    assert_eq!(run(&play), ["winner dropped", "loser tidied at 3"]);
    assert!(task.is_cancelled());
    assert_eq!(task.cancelling(), 1);
    drop(task);
    play.close();
}

// python-trio/trio 3291: a nursery and a scope around it that are cancelled at the
// same moment.
// promise 5.4, 4.9
#[test]
fn a_failure_and_the_deadline_around_the_group_at_the_same_moment() {
    for fails_first in [true, false] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let moment = Instant::from_nanos(1_000_000_000);
            let limit = TimeoutHandle::new((!fails_first).then_some(moment));
            let all = group(async |g: Group| {
                g.spawn(async move {
                    sleep_until(moment).await;
                    Err::<(), _>(Spilled("tea").into())
                })
                .detach();
                g.spawn(tidies(said.clone(), "sibling", 2)).detach();
                yield_now().await;
                yield_now().await;
                if fails_first {
                    limit.reschedule(Some(moment)); // its timer is the younger one
                }
                pending::<anyhow::Result<()>>().await
            });
            match timeout_by(&limit, all).await {
                Ok(answer) => tell(&said, &words(&answer.unwrap_err())),
                Err(Elapsed) => tell(&said, "Elapsed"),
            }
            Ok(())
        });
        // Asked by both before its place in the queue, the sibling is told once.
        let answer = if fails_first { "spilled tea at 3" } else { "Elapsed at 3" };
        assert_eq!(run(&play), ["sibling tidied at 3", answer]);
        drop(task);
        play.close();
    }
}

// Kotlin/kotlinx.coroutines 1249: after a failure the scope waits for siblings
// that take their time, and nothing makes it give up. Here a request does.
// promise 4.8, 5.2, 5.4
#[test]
fn a_request_ends_the_wait_for_siblings_after_a_failure() {
    for grouped in [true, false] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            if grouped {
                let error = a_failure_and_a_slow_sibling(&said).await.unwrap_err();
                tell(&said, &words(&error));
            } else {
                let slow = spawn(tidies(said.clone(), "slow", 60));
                let all = try_gather([slow, spawn(fails(said.clone(), "tea", 1))]).await;
                said.say(format!("never: {}", all.is_ok()));
            }
            sleep(secs(60)).await;
            said.say("never");
            Ok(())
        });
        cancel_at(&play, &task, 2);
        let lines = ["tea failed at 1", "spilled tea at 2"];
        // `try_gather` hands on nothing once it has passed a request on.
        assert_eq!(run(&play), if grouped { &lines[..] } else { &lines[..1] });
        assert!(task.is_cancelled());
        assert_eq!(play.world.executor.now().as_nanos(), 2_000_000_000);
        drop(task);
        let lost = play.close().unretrieved();
        assert_eq!(lost, if grouped { &[][..] } else { &["spilled tea"] });
    }
}

async fn a_failure_and_a_slow_sibling(said: &Transcript) -> Result<(), GroupError> {
    group(async |g: Group| {
        g.spawn(tidies(said.clone(), "slow", 60)).detach();
        g.spawn(fails(said.clone(), "tea", 1)).detach();
        Ok(())
    })
    .await
}

// The same report, and a limit.
// promise 4.9, 5.4
#[test]
fn a_limit_ends_the_wait_for_siblings_after_a_failure_and_the_failure_is_the_answer() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let answer = timeout(secs(2), a_failure_and_a_slow_sibling(&said)).await;
        tell(&said, &words(&answer.expect("it is worth more").unwrap_err()));
        scope(sleep(secs(1))).await?;
        tell(&said, "goes on");
        Ok(())
    });
    assert_eq!(run(&play), ["tea failed at 1", "spilled tea at 2", "goes on at 3"]);
    drop(task);
    play.close();
}

// golang/go 61611: those that waited for a place in the group began, one after the
// other, after the first had failed. Here at most the one that got its place from
// the failure itself.
// promise 5.4, 4.2
#[test]
fn tasks_that_wait_for_a_place_in_their_group_do_not_follow_one_another_after_a_failure() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let places = Rc::new(Semaphore::new(1));
        let error = group(async |g: Group| {
            for name in ["tea", "milk", "salt", "oil"] {
                let (places, said) = (places.clone(), said.clone());
                g.spawn(async move {
                    let _place = places.acquire().await;
                    said.say(name);
                    sleep(secs(1)).await;
                    Err::<(), _>(Spilled(name).into())
                })
                .detach();
            }
            Ok(())
        });
        tell(&said, &words(&error.await.unwrap_err()));
        Ok(())
    });
    assert_eq!(run(&play), ["tea", "milk", "spilled tea at 1"]);
    drop(task);
    play.close();
}
