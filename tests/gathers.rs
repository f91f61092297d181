//! Waiting for all of several tasks: `gather`, `try_gather` and `settle`.
//!
//! They differ in what they make of a failure. What they have in common is that
//! none is lost: it is handed on, or the handler hears of it.

mod common;

use std::future::pending;
use std::pin::pin;

use common::cast::{
    ALL_THREE, Any, GATHER, TRY_GATHER, ending, fails, naps, second, seconds, spills, stays,
    tidies, words,
};
use common::{Play, Spilled, hushed, poll_once};
use hearken::{
    Origin, Panicked, Task, TaskCancelled, TaskState, gather, scope, settle, sleep, spawn,
    try_gather, yield_now,
};

// ---- Values ------------------------------------------------------------------

// Row 90.
// promise 5.1
#[test]
fn nothing_to_wait_for_is_ready_at_once() {
    for wait in ALL_THREE {
        // Not even an executor is needed.
        assert!(poll_once(&mut pin!(wait(Vec::new()))).is_ready());
    }
}

// Row 92, and `gather` of asyncio.
// promise 5.1
#[test]
fn values_come_in_the_order_of_the_arguments() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let times = [("slow", 3), ("quick", 1), ("even", 2)];
            let tasks = times.map(|(name, n)| spawn(naps(said.clone(), name, n)));
            assert_eq!(wait(tasks.into()).await, ["slow", "quick", "even"]);
            said.say("all");
            Ok(())
        });
        assert_eq!(play.run(), ["quick done at 1", "even done at 2", "slow done at 3", "all"]);
        assert_eq!(task.result().ok(), Some(&()));
        drop(task);
        assert!(play.close().notes().is_empty());
    }
}

// promise 5.1
#[test]
fn tasks_that_have_ended_before_are_as_good() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let early = spawn(naps(said.clone(), "early", 1));
            let late = spawn(naps(said.clone(), "late", 5));
            sleep(seconds(3)).await;
            assert_eq!(wait(vec![late, early]).await, ["late", "early"]);
            Ok(())
        });
        assert_eq!(task.result().ok(), Some(&()));
        drop(task);
        play.close();
    }
}

// promise 5.1
#[test]
fn gathers_can_be_gathered() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let rows = (1..=3u64).map(|row| {
            let said = said.clone();
            spawn(async move {
                let cells = (1..=3).map(|cell| {
                    let nap = naps(said.clone(), "cell", row * cell);
                    spawn(async move { nap.await.map(|_| row * cell) })
                });
                Ok(gather(cells).await?)
            })
        });
        Ok(gather(rows).await?)
    });
    assert_eq!(task.result().ok(), Some(&vec![vec![1, 2, 3], vec![2, 4, 6], vec![3, 6, 9]]));
    drop(task);
    play.close();
}

// ---- Failures ------------------------------------------------------------------

// Rows 91 and 96, `test_one_exception`.
// promise 5.1
#[test]
fn gather_hands_on_the_first_failure_at_once_and_siblings_run_on() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let slow = spawn(naps(said.clone(), "slow", 3));
        let bad = spawn(fails(said.clone(), "tea", 1));
        let outcome = gather([slow, bad]).await;
        said.say(format!("{} at {}", words(&outcome)[0], second()));
        let error = anyhow::Error::from(outcome.unwrap_err());
        assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));
        Ok(())
    });
    assert_eq!(
        play.run(),
        [
            "tea failed at 1",
            "spilled tea at 1", // at once
            "slow done at 3",   // nobody has cancelled it
        ]
    );
    drop(task);
    assert!(play.close().notes().is_empty());
}

// Row 27 and thread 32: asyncio loses the second. `test_exception_marking`.
// promise 5.1, 3.7
#[test]
fn failures_that_gather_does_not_hand_on_are_reported_once() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let wells = [("tea", 1), ("milk", 1), ("salt", 4)];
        let tasks = wells.map(|(name, n)| spawn(fails(said.clone(), name, n)));
        said.say(format!("handed on: {}", gather(tasks).await.unwrap_err()));
        Ok(())
    });
    assert_eq!(
        play.run(),
        [
            "tea failed at 1",
            "milk failed at 1", // in the same turn
            "handed on: spilled tea",
            "salt failed at 4", // when the gather was long over
        ]
    );
    assert_eq!(play.world.heard.unretrieved(), ["spilled milk", "spilled salt"]);
    let ledger = play.world.executor.ledger();
    assert_eq!((ledger.retrieved, ledger.reported), (1, 2));
    drop(task);
    play.close();
}

// Row 28.
// promise 3.6, 5.1
#[test]
fn the_failures_of_tasks_whose_wait_is_dropped_are_reported() {
    for wait in ALL_THREE {
        for polled in [false, true] {
            let play = Play::new();
            let task = play.start(|said| async move {
                let tasks = vec![spawn(fails(said.clone(), "tea", 0))];
                let mut waits = wait(tasks);
                if polled {
                    assert!(poll_once(&mut waits).is_pending());
                }
                sleep(seconds(1)).await; // it has failed by now
                drop(waits);
                Ok(())
            });
            assert_eq!(task.result().ok(), Some(&()));
            assert_eq!(play.world.heard.unretrieved(), ["spilled tea"]);
            drop(task);
            play.close();
        }
    }
}

// Threads 30 and 13, row 96.
// promise 5.1, 5.2
#[test]
fn try_gather_returns_when_the_cancelled_siblings_have_ended() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tidy = spawn(tidies(said.clone(), "tidy", 2));
        let slow = spawn(naps(said.clone(), "slow", 30));
        let bad = spawn(fails(said.clone(), "tea", 1));
        let refs = [tidy.task_ref(), slow.task_ref()];
        let outcome = try_gather([tidy, slow, bad]).await;
        said.say(format!("{} at {}", words(&outcome)[0], second()));
        assert_eq!(refs.map(|task| task.state()), [TaskState::Cancelled; 2]);
        Ok(())
    });
    assert_eq!(
        play.run(),
        [
            "tea failed at 1",
            "tidy tidied at 3", // it could await while it cleaned up
            "spilled tea at 3", // and was waited for
        ]
    );
    drop(task);
    assert_eq!(play.close().unretrieved(), [""; 0]);
}

// Row 27.
// promise 5.1, 5.2, 3.7
#[test]
fn try_gather_hands_on_the_first_failure_and_the_others_are_reported() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let messy = spawn(spills(said.clone(), "milk", 2));
        let stays = spawn(stays(said.clone(), "stubborn", 3));
        let bad = spawn(fails(said.clone(), "tea", 1));
        let outcome = try_gather([messy, stays, bad]).await;
        said.say(format!("{} at {}", words(&outcome)[0], second()));
        Ok(())
    });
    assert_eq!(
        play.run(),
        [
            "tea failed at 1",
            "milk spilled at 3",
            "stubborn stayed until 4", // a value that comes too late
            "spilled tea at 4",
        ]
    );
    drop(task);
    assert_eq!(play.close().unretrieved(), ["spilled milk"]);
}

// promise 5.2, 4.9
#[test]
fn siblings_are_told_that_it_is_their_siblings_doing() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let good = spawn(async {
            let told = scope(pending::<()>()).await;
            assert_eq!(told.as_ref().unwrap_err().origin(), Origin::Group);
            Ok(told?)
        });
        let good_ref = good.task_ref();
        let bad = spawn(async { Err(Spilled("tea").into()) });
        assert_eq!(try_gather([good, bad]).await.unwrap_err().to_string(), "spilled tea");
        assert_eq!(good_ref.state(), TaskState::Cancelled);
        // And the one who gathered was asked nothing.
        assert_eq!(hearken::current().cancelling(), 0);
        yield_now().await;
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 92 and 69: the reason of a cancelled task is kept.
// promise 5.1, 3.2
#[test]
fn settle_waits_for_all_and_judges_nobody() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            let cancelled = spawn(tidies(said.clone(), "tidy", 1));
            let tasks = vec![
                spawn(naps(said.clone(), "slow", 3)),
                spawn(fails(said.clone(), "tea", 1)),
                spawn(async { panic!("out of milk") }),
                spawn(naps(said.clone(), "quick", 1)),
            ];
            yield_now().await;
            cancelled.cancel_with("guests have left");
            let outcomes = settle(tasks.into_iter().chain([cancelled])).await;
            let endings: Vec<_> = outcomes.iter().map(ending).collect();
            assert_eq!(
                endings,
                [
                    "slow",
                    "spilled tea",
                    "panicked: out of milk",
                    "quick",
                    "cancelled: guests have left",
                ]
            );
            assert_eq!(second(), 3);
            Ok(())
        })
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert_eq!(play.close().unretrieved(), [""; 0]);
}

// Rows 94 and 67, threads 31 and 35, `test_one_cancellation`.
// promise 5.1, 3.3
#[test]
fn a_cancelled_child_counts_as_a_failure_and_does_not_cancel_who_gathers() {
    let lives = ["tidy tidied at 1", "cancelled: no guests", "other done at 3"];
    for (wait, expected) in [(GATHER, &lives[..]), (TRY_GATHER, &lives[..2])] {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tidy = spawn(tidies(said.clone(), "tidy", 1));
            let other = spawn(naps(said.clone(), "other", 3));
            yield_now().await;
            tidy.cancel_with("no guests");
            said.say(wait(vec![tidy, other]).await.remove(0));
            assert_eq!(hearken::current().cancelling(), 0);
            Ok(())
        });
        assert_eq!(play.run(), expected);
        assert_eq!(task.result().ok(), Some(&()));
        drop(task);
        play.close();
    }
}

// Rows 67 and 94.
// promise 3.3, 3.4
#[test]
fn a_question_mark_keeps_the_childs_error_and_never_makes_a_cancellation_of_it() {
    async fn passed_on(child: Task<()>) -> anyhow::Result<()> {
        gather([child]).await?;
        Ok(())
    }
    let play = Play::new();
    let task = hushed(|| {
        play.start(|_| async {
            let child = spawn(pending::<anyhow::Result<()>>());
            child.cancel_with("no guests");
            let parent = spawn(passed_on(child));
            let error = anyhow::Error::from(parent.await.unwrap_err());
            // Nobody has cancelled the parent: it has failed.
            assert_eq!(error.downcast_ref::<TaskCancelled>().unwrap().reason(), "no guests");

            let parent = spawn(passed_on(spawn(async { Err(Spilled("tea").into()) })));
            let error = anyhow::Error::from(parent.await.unwrap_err());
            assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));

            let parent = spawn(passed_on(spawn(async { panic!("out of milk") })));
            let error = anyhow::Error::from(parent.await.unwrap_err());
            assert_eq!(error.downcast_ref::<Panicked>().unwrap().message(), "out of milk");
            Ok(())
        })
    });
    assert_eq!(task.result().ok(), Some(&()));
    let ledger = play.world.executor.ledger();
    assert_eq!((ledger.failed, ledger.retrieved, ledger.cancelled), (5, 5, 1));
    drop(task);
    play.close();
}

// ---- What it costs ------------------------------------------------------------

/// How often who waits for `n` tasks is polled, when they end one after another
/// or all in one turn.
fn polls_of(wait: Any, n: u64, one_by_one: bool) -> u32 {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tasks = (1..=n).map(|n| naps(said.clone(), "nap", if one_by_one { n } else { 1 }));
        Ok(wait(tasks.map(spawn).collect()).await.len())
    });
    assert_eq!(task.result().ok(), Some(&(n as usize)));
    let polls = task.task_ref().info().polls();
    drop(task);
    play.close();
    polls
}

// promise 5.1
#[test]
fn to_wait_for_n_tasks_costs_a_poll_for_each_turn_in_which_one_ends() {
    for wait in ALL_THREE {
        assert_eq!(polls_of(wait, 1_000, true), 1_001);
        assert_eq!(polls_of(wait, 1_000, false), 2);
    }
}
