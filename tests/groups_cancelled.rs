//! Groups, when somebody outside of them cancels, or does not wait for them any
//! more.

mod common;

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use common::cast::{fails, naps, second, seconds, spills, stays, tidies};
use common::{Play, Spilled};
use futures::StreamExt;
use futures::future::{Either, FutureExt, select};
use futures::stream::FuturesUnordered;
use hearken::{
    Cancelled, Executor, Group, GroupError, ManualClock, Origin, Task, current, group, scope,
    shield, sleep, spawn, yield_now,
};

fn words(error: &GroupError) -> String {
    error.errors().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

// ---- Cancelled from outside ------------------------------------------------------

// Row 108, `test_cancellation`, `test_taskgroup_07`.
// promise 5.4, 4.3, 4.9
#[test]
fn to_cancel_the_parent_cancels_tasks_and_body_and_waits_for_them() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let all = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "quick", 1)).detach();
            g.spawn(tidies(said.clone(), "slow", 2)).detach();
            let _body = said.finally("body dropped");
            pending::<anyhow::Result<()>>().await
        });
        let told: Cancelled = scope(all).await.unwrap_err();
        assert_eq!((told.reason(), told.origin()), ("closing time", Origin::Requested));
        said.say(format!("{told} at {}", second()));
        Err::<(), _>(told.into())
    });
    task.cancel_with("closing time");
    assert_eq!(
        play.run(),
        ["body dropped", "quick tidied at 1", "slow tidied at 2", "cancelled: closing time at 2"]
    );
    assert!(task.is_cancelled());
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// As in asyncio, where the body may catch it: `test_taskgroup_07`.
// promise 5.4, 4.3
#[test]
fn a_scope_in_the_body_is_told_first_and_the_tasks_when_it_passes_it_on() {
    for passes_on in [true, false] {
        let play = Play::new();
        let task = play.start(|said| async move {
            group(async |g: Group| {
                g.spawn(tidies(said.clone(), "child", 1)).detach();
                let told = scope(pending::<()>()).await;
                sleep(seconds(1)).await;
                said.say("body tidied");
                if passes_on {
                    told?;
                }
                Ok(())
            })
            .await?;
            Ok(())
        });
        task.cancel();
        let mut said = play.run();
        assert_eq!(said.remove(0), "body tidied");
        assert_eq!(task.is_cancelled(), passes_on);
        assert_eq!(said, if passes_on { &["child tidied at 2"][..] } else { &[] });
        // A body that goes on has heard it for all; the next one is for all.
        if !passes_on {
            task.cancel();
            assert_eq!(play.run(), ["child tidied at 2"]);
            assert!(task.is_cancelled());
        }
        drop(task);
        play.close();
    }
}

// `test_cancellation`.
// promise 5.4
#[test]
fn a_parent_without_a_scope_ends_as_cancelled_after_its_group() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let _parent = said.finally("parent dropped");
        group(async |g: Group| {
            g.spawn(tidies(said.clone(), "child", 1)).detach();
            pending::<anyhow::Result<()>>().await
        })
        .await?;
        said.say("never");
        Ok(())
    });
    task.cancel();
    assert_eq!(play.run(), ["child tidied at 1", "parent dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 5.4
#[test]
fn a_parent_that_is_cancelled_while_only_tasks_are_left_passes_it_on() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            g.spawn(tidies(said.clone(), "child", 1)).detach();
            Ok(())
        })
        .await?;
        said.say("never");
        Ok(())
    });
    task.cancel();
    assert_eq!(play.run(), ["child tidied at 1"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// Row 108: asyncio does not cancel them again.
// promise 5.4, 4.5
#[test]
fn a_second_request_goes_to_the_tasks_again() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            for name in ["one", "two"] {
                let said = said.clone();
                let child = g.spawn(async move {
                    let _dropped = said.finally(format!("{name} dropped"));
                    let _told = scope(pending::<()>()).await;
                    said.say(format!("{name} told"));
                    pending::<anyhow::Result<()>>().await
                });
                child.detach();
            }
            Ok(())
        })
        .await?;
        Ok(())
    });
    task.cancel_with("please");
    assert_eq!(play.run(), ["two told", "one told"]); // the youngest first
    assert!(!task.is_finished());
    task.cancel_with("at once");
    assert_eq!(play.run(), ["two dropped", "one dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// Row 109, `test_error_and_cancel`, `test_taskgroup_08`.
// promise 5.4
#[test]
fn errors_and_a_request_from_outside_give_the_errors_and_then_the_request() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(spills(said.clone(), "tea", 1)).detach();
            pending::<anyhow::Result<()>>().await
        })
        .await
        .unwrap_err();
        said.say(words(&error));
        let told = scope(pending::<()>()).await.unwrap_err(); // the next suspension
        said.say(told.reason());
        Err::<(), _>(told.into())
    });
    task.cancel_with("closing time");
    assert_eq!(play.run(), ["tea spilled at 1", "spilled tea", "closing time"]);
    assert!(task.is_cancelled());
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// `test_taskgroup_17` and `_18`: the body replaces the request by an error.
// promise 5.4, 4.3
#[test]
fn a_body_that_fails_because_of_the_request_has_heard_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "child", 1)).detach();
            let _told = scope(pending::<()>()).await;
            Err::<(), _>(Spilled("tea").into())
        });
        said.say(words(&error.await.unwrap_err()));
        yield_now().await;
        said.say("told once");
        Ok(())
    });
    task.cancel();
    assert_eq!(play.run(), ["child tidied at 1", "spilled tea", "told once"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 5.4
#[test]
fn a_failure_and_a_request_in_the_same_turn_are_both_heard() {
    for request_first in [false, true] {
        let play = Play::new();
        let task: Task<()> = play.spawn(|said| async move {
            let error = group(async |g: Group| {
                g.spawn(fails(said.clone(), "tea", 0)).detach();
                g.spawn(tidies(said.clone(), "child", 1)).detach();
                pending::<anyhow::Result<()>>().await
            });
            said.say(words(&error.await.unwrap_err()));
            let told = scope(pending::<()>()).await.unwrap_err();
            said.say(told.reason());
            Err(told.into())
        });
        play.turn(); // both tasks are in the queue now
        if !request_first {
            play.turn();
        }
        task.cancel_with("closing time");
        let said = play.run();
        assert!(task.is_cancelled());
        // Asked before its first poll, the failing task never failed.
        let fails = said.iter().any(|line| line == "spilled tea");
        assert_eq!(fails, said.iter().any(|line| line == "closing time"), "{said:?}");
        let ledger = play.world.executor.ledger();
        assert_eq!(ledger.failed, u64::from(fails));
        drop(task);
        assert!(play.close().unretrieved().is_empty());
    }
}

// promise 5.4, 4.2
#[test]
fn a_parent_that_is_cancelled_before_its_first_poll_never_begins_its_group() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        group(async |_| {
            said.say("never");
            Ok(())
        })
        .await?;
        Ok(())
    });
    task.cancel();
    assert!(play.run().is_empty() && task.is_cancelled());
    drop(task);
    play.close();
}

// `test_cancels_task_if_created_during_creation`.
// promise 5.4, 4.6
#[test]
fn a_body_that_cancels_its_own_task_stops_at_the_next_suspension() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            current().cancel_with("by myself");
            g.spawn(tidies(said.clone(), "child", 1)).detach();
            said.say("still here");
            yield_now().await;
            said.say("never");
            Ok(())
        })
        .await?;
        Ok(())
    });
    let said = play.run();
    assert!(task.is_cancelled());
    // The child is cancelled before it is polled.
    assert_eq!(said, ["still here"]);
    drop(task);
    play.close();
}

// promise 4.7, 5.4
#[test]
fn a_group_under_a_shield_is_finished_first() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let nap = async |g: Group| Ok(g.spawn(naps(said.clone(), "child", 1)).await?);
        said.say(shield(group(nap)).await?);
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();
    task.cancel();
    assert_eq!(play.run(), ["child done at 1", "child"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.7, 5.4
#[test]
fn a_shield_in_the_body_is_waited_for_and_then_the_body_is_told() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            // Hears of it long before the body can.
            g.spawn(tidies(said.clone(), "tidy", 1)).detach();
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            shield(sleep(seconds(5))).await;
            said.say(format!("shield over at {}", second()));
            sleep(seconds(100)).await;
            said.say("never");
            Ok(())
        });
        said.say(format!("{} at {}", words(&error.await.unwrap_err()), second()));
        Ok(())
    });
    assert_eq!(
        play.run(),
        ["tea failed at 1", "tidy tidied at 2", "shield over at 5", "spilled tea at 5"]
    );
    drop(task);
    play.close();
}

// Threads 17 and 20: what the group tells its body stays in the group.
// promise 5.4, 4.8
#[test]
fn a_body_whose_stubborn_task_answered_with_a_value_leaves_no_request_behind() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            // Not of the group; but whoever awaits it passes on what he is told.
            Ok(spawn(stays(said.clone(), "stubborn", 1)).await?)
        });
        said.say(words(&error.await.unwrap_err()));
        sleep(seconds(1)).await;
        said.say("goes on");
        Ok(())
    });
    assert_eq!(
        play.run(),
        ["tea failed at 1", "stubborn stayed until 2", "spilled tea", "goes on"]
    );
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// ---- Not waited for any more ---------------------------------------------------------

// promise 5.4, 3.7
#[test]
fn a_group_that_is_dropped_cancels_its_tasks_and_loses_none_of_their_failures() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut kept = None;
        let all = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "tidy", 1)).detach();
            g.spawn(spills(said.clone(), "milk", 2)).detach();
            kept = Some(g.spawn(spills(said.clone(), "tea", 3)));
            pending::<anyhow::Result<()>>().await
        });
        match select(Box::pin(all), pin!(sleep(seconds(1)))).await {
            Either::Left(_) => unreachable!("the second is the first to be ready"),
            Either::Right((_, all)) => drop(all),
        }
        said.say("dropped");
        // Nobody else has this one: the handle still does.
        let error = kept.unwrap().await.unwrap_err();
        assert_eq!(error.to_string(), "spilled tea");
        Ok(())
    });
    assert_eq!(
        play.run(),
        ["dropped", "tidy tidied at 2", "milk spilled at 3", "tea spilled at 4"]
    );
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.heard.unretrieved(), ["spilled milk"]);
    drop(task);
    play.close();
}

// promise 5.4, 3.5, 3.7
#[test]
fn errors_that_a_dropped_group_had_already_are_reported() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let all = group(async |g: Group| {
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            g.spawn(stays(said.clone(), "stubborn", 5)).detach();
            Ok(())
        });
        let _lost = select(Box::pin(all), pin!(sleep(seconds(2)))).await;
        said.say("dropped");
        Ok(())
    });
    play.run();
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.heard.unretrieved(), ["spilled tea"]);
    let ledger = play.world.executor.ledger();
    assert_eq!((ledger.failed, ledger.reported, ledger.retrieved), (1, 1, 0), "{ledger}");
    drop(task);
    play.close();
}

// promise 5.4, 6.4
#[test]
fn a_shutdown_ends_groups_like_any_request() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            g.spawn(tidies(said.clone(), "child", 1)).detach();
            g.spawn(tidies(said.clone(), "other", 2)).detach();
            pending::<anyhow::Result<()>>().await
        })
        .await?;
        Ok(())
    });
    drop(task);
    play.world.executor.shut_down();
    assert_eq!(play.said.lines(), ["child tidied at 1", "other tidied at 2"]);
    assert!(play.close().unretrieved().is_empty());
}

// promise 5.4
#[test]
fn a_group_does_not_wait_for_tasks_that_were_not_spawned_in_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut other = None;
        group(async |g: Group| {
            g.spawn(naps(said.clone(), "in it", 1)).detach();
            other = Some(spawn(naps(said.clone(), "beside it", 2)));
            Ok(())
        })
        .await?;
        said.say("all");
        other.unwrap().await?;
        Ok(())
    });
    assert_eq!(play.run(), ["in it done at 1", "all", "beside it done at 2"]);
    drop(task);
    play.close();
}

// It was found that the group is to hear, and then the scope beside it ended the
// `select!` first: what the group was to hear of is nothing to it any more.
// promise 4.4, 4.11, 5.4
#[test]
fn a_group_left_behind_as_it_was_to_hear_still_sees_a_task_fail() {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let task = executor.spawn(async {
        let mut all = pin!(group(async |g: Group| {
            g.spawn(async {
                sleep(seconds(3)).await;
                Err::<(), _>(Spilled("late").into())
            })
            .detach();
            pending::<anyhow::Result<()>>().await
        }));
        let mut told = pin!(scope(pending::<()>()));
        poll_fn(|cx| match told.as_mut().poll(cx) {
            Poll::Ready(told) => {
                told.unwrap_err().accept();
                Poll::Ready(())
            }
            Poll::Pending => all.as_mut().poll(cx).map(|_| unreachable!("it waits")),
        })
        .await;
        sleep(seconds(1)).await;
        Ok(words(&all.await.unwrap_err()))
    });
    executor.run_until_idle();
    task.cancel();
    executor.run_until_idle();
    for _ in 0..3 {
        clock.advance(seconds(1));
        executor.run_until_idle();
    }
    assert!(task.is_finished(), "the group has ended");
    let words = executor.block_on(async { Ok(task.await?) }).unwrap();
    assert_eq!(words, Spilled("late").to_string());
}

/// The await goes outward, and waits for the shield beside it; then both are forgotten with
/// the loser of a `select!`, and the body has ended. The request is for the group still.
// promise 4.11, 4.13, 5.4
#[test]
fn what_was_on_its_way_out_of_a_body_that_has_ended_is_told_to_the_group() {
    let play = Play::new();
    let task: Task<()> = play.spawn(|_| async move {
        let given = group(async |tasks: Group| {
            tasks.spawn(pending::<anyhow::Result<()>>()).detach();
            let awaits = async { drop(spawn(pending::<anyhow::Result<()>>()).await) };
            // A set, in which neither of the two is polled as the sleep wins.
            let both = [awaits.boxed_local(), shield(pending()).boxed_local()];
            let mut both: FuturesUnordered<_> = both.into_iter().collect();
            let both = Box::pin(async move { while both.next().await.is_some() {} });
            if let Either::Right((_, both)) = select(both, pin!(sleep(seconds(9)))).await {
                std::mem::forget(both);
            }
            Ok(())
        });
        Ok(given.await?)
    });
    play.turn();
    play.turn();
    task.cancel();
    play.run();
    assert!(task.is_cancelled(), "{}", play.world.executor.dump());
    drop(task);
    play.world.executor.shut_down();
}
