//! What becomes of those who are waited for together when the one who waits is
//! cancelled: all of them are cancelled, and waited for.

mod common;

use std::pin::pin;
use std::time::Duration;

use common::Play;
use common::cast::{
    ALL_THREE, GATHER, TRY_GATHER, fails, naps, second, seconds, spills, stays, tidies,
};
use futures::future::{Either, join3, select};
use hearken::{Elapsed, Task, TaskState, scope, shield, sleep, spawn, timeout, yield_now};

// Row 95, `test_cancellation_broadcast`, `test_cancel_gather_2`; and asyncio
// does not wait.
// promise 5.1, 4.8
#[test]
fn to_cancel_who_waits_cancels_all_and_waits_for_them() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks = vec![
                spawn(tidies(said.clone(), "slow", 3)),
                spawn(tidies(said.clone(), "quick", 1)),
                spawn(tidies(said.clone(), "even", 2)),
            ];
            let refs: Vec<_> = tasks.iter().map(Task::task_ref).collect();
            let told = scope(wait(tasks)).await.unwrap_err();
            assert!(refs.iter().all(|task| task.state() == TaskState::Cancelled));
            said.say(format!("{told} at {}", second()));
            Err(told.into())
        });
        let task: Task<()> = task;
        assert!(task.cancel_with("closing time"));
        assert_eq!(
            play.run(),
            [
                "quick tidied at 1",
                "even tidied at 2",
                "slow tidied at 3",
                "cancelled: closing time at 3", // told when all had ended
            ]
        );
        assert!(task.is_cancelled() && !task.cancel());
        drop(task);
        assert!(play.close().unretrieved().is_empty());
    }
}

// Row 27.
// promise 5.1, 3.7
#[test]
fn failures_while_all_are_cancelled_are_reported() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks = vec![
                spawn(spills(said.clone(), "milk", 1)),
                spawn(tidies(said.clone(), "tidy", 2)),
                spawn(spills(said.clone(), "tea", 3)),
            ];
            Ok(wait(tasks).await)
        });
        task.cancel();
        assert_eq!(play.run(), ["milk spilled at 1", "tidy tidied at 2", "tea spilled at 3"]);
        // It was the awaiter who was cancelled, so that is how it ends.
        assert!(task.is_cancelled());
        assert_eq!(play.world.heard.unretrieved(), ["spilled milk", "spilled tea"]);
        drop(task);
        play.close();
    }
}

// Row 108 is the same thing in a group.
// promise 5.1, 4.8
#[test]
fn a_second_request_is_passed_on_as_well() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            // Goes on after the first request, not after the second.
            let stubborn = spawn(stays(said.clone(), "stubborn", 30));
            let tidy = spawn(tidies(said.clone(), "tidy", 30));
            Ok(wait(vec![stubborn, tidy]).await)
        });
        task.cancel_with("please");
        play.turn();
        play.turn();
        assert!(!task.is_finished());
        task.cancel_with("at once");
        assert_eq!(play.run(), [""; 0]);
        assert!(task.is_cancelled());
        assert_eq!(play.world.executor.now().as_nanos(), 0);
        drop(task);
        play.close();
    }
}

// Rows 33, 70 and 97: asyncio loses the values. 4.2 of the notes: look first.
// promise 4.8, 3.7
#[test]
fn outcomes_that_were_all_there_before_the_request_are_handed_on() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let tasks = vec![spawn(async { Ok("tea") }), spawn(async { Ok("milk") })];
            said.say(wait(tasks).await.join(" and "));
            sleep(seconds(1)).await;
            said.say("never");
            Ok(())
        });
        play.turn(); // spawns and waits
        play.turn(); // both end, and the wake-up is queued
        task.cancel();
        assert_eq!(play.run(), ["tea and milk"]);
        assert!(task.is_cancelled()); // at the next suspension
        drop(task);
        play.close();
    }
}

// Row 33: asyncio loses the error.
// promise 3.7, 5.1
#[test]
fn a_failure_whose_news_crossed_with_a_request_is_not_lost() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let bad = spawn(fails(said.clone(), "tea", 0));
            let tidy = spawn(tidies(said.clone(), "tidy", 1));
            let words = wait(vec![bad, tidy]).await;
            said.say(words.join(", "));
            Ok(())
        });
        play.turn();
        play.turn(); // it has failed, and the wake-up is queued
        task.cancel();
        let said = play.run();
        let handed_on = said.iter().filter(|line| line.contains("spilled tea")).count();
        let reported = play.world.heard.unretrieved().len();
        assert_eq!(handed_on + reported, 1, "{said:?}");
        drop(task);
        play.close();
    }
}

// `test_shield_gather`, row 77.
// promise 4.7, 5.1
#[test]
fn under_a_shield_nobody_is_cancelled() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let tasks = [("slow", 2), ("quick", 1)].map(|(name, n)| naps(said.clone(), name, n));
            said.say(shield(wait(tasks.map(spawn).into())).await.join(" and "));
            yield_now().await;
            said.say("never");
            Ok(())
        });
        play.turn();
        task.cancel();
        assert_eq!(play.run(), ["quick done at 1", "slow done at 2", "slow and quick"]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// promise 4.9, 5.1
#[test]
fn a_deadline_cancels_all_and_waits_for_them() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tidy = spawn(tidies(said.clone(), "tidy", 2));
            let slow = spawn(naps(said.clone(), "slow", 30));
            assert_eq!(timeout(seconds(1), wait(vec![tidy, slow])).await, Err(Elapsed));
            said.say(format!("elapsed at {}", second()));
            sleep(seconds(1)).await; // and nobody has cancelled this task
            said.say("goes on");
            Ok(())
        });
        assert_eq!(play.run(), ["tidy tidied at 3", "elapsed at 3", "goes on"]);
        drop(task);
        assert!(play.close().unretrieved().is_empty());
    }
}

// Thread 30; the handles are dropped, and a drop cancels nobody.
// promise 4.8, 5.1
#[test]
fn who_stops_waiting_leaves_the_tasks_alone() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks =
                vec![spawn(naps(said.clone(), "nap", 2)), spawn(fails(said.clone(), "tea", 3))];
            match select(pin!(wait(tasks)), pin!(sleep(seconds(1)))).await {
                Either::Left(_) => unreachable!("the second is the first to be ready"),
                Either::Right(_) => said.say("enough"),
            }
            Ok(())
        });
        assert_eq!(play.run(), ["enough", "nap done at 2", "tea failed at 3"]);
        assert_eq!(play.world.heard.unretrieved(), ["spilled tea"]);
        drop(task);
        play.close();
    }
}

// Each is told; the one that is through first does not cut the others short.
// promise 4.4, 5.1
#[test]
fn side_by_side_they_wait_for_each_other() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task: Task<()> = play.start(|said| async move {
            let left = wait(vec![spawn(tidies(said.clone(), "left", 1))]);
            let right = wait(vec![spawn(tidies(said.clone(), "right", 2))]);
            // Deeper in the tree than the others.
            let deeper =
                timeout(Duration::MAX, wait(vec![spawn(tidies(said.clone(), "third", 3))]));
            let told = scope(join3(left, deeper, right)).await.unwrap_err();
            said.say(format!("{told} at {}", second()));
            Err(told.into())
        });
        task.cancel();
        assert_eq!(
            play.run(),
            [
                "left tidied at 1",
                "right tidied at 2",
                "third tidied at 3",
                "cancelled: requested at 3",
            ]
        );
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// The request was passed on, but had no effect on who passed it on.
// promise 4.8, 4.11, 5.1
#[test]
fn a_request_that_a_lost_branch_has_passed_on_still_stands() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let slow = wait(vec![spawn(tidies(said.clone(), "slow", 5))]);
            drop(select(slow, pin!(sleep(seconds(1)))).await);
            said.say("selected");
            yield_now().await;
            said.say("never");
            Ok(())
        });
        play.turn();
        play.turn();
        task.cancel();
        assert_eq!(play.run(), ["selected", "slow tidied at 5"]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// promise 6.4, 5.1
#[test]
fn in_a_shutdown_children_and_who_waits_are_told_once() {
    for wait in ALL_THREE {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks =
                [("quick", 1), ("slow", 2)].map(|(name, n)| spawn(tidies(said.clone(), name, n)));
            Ok(wait(tasks.into()).await)
        });
        play.world.executor.shut_down();
        assert_eq!(play.said.lines(), ["quick tidied at 1", "slow tidied at 2"]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// A sibling of the wait heard of the request while the wait was parked: so nothing goes
// outward, and the failure is handed on, or cancels the siblings, as ever.
// promise 4.11, 5.1
#[test]
fn a_failure_while_a_request_was_passed_on_counts_when_others_have_heard_of_it() {
    for wait in [GATHER, TRY_GATHER] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let tasks = vec![
                spawn(stays(said.clone(), "long", 8)),
                spawn(tidies(said.clone(), "short", 1)),
            ];
            let all = wait(tasks);
            let beside = scope(sleep(seconds(9)));
            let waits = async {
                // Polled once more when the first has ended, and then not for long.
                let Either::Right((_, all)) = select(all, pin!(sleep(seconds(2)))).await else {
                    panic!("one goes on")
                };
                sleep(seconds(1)).await;
                said.say(format!("back at {}", second()));
                let gave = all.await;
                said.say(format!("{} at {}", gave.join(", "), second()));
            };
            let (heard, ()) = futures::join!(beside, waits);
            heard.unwrap_err().accept();
            Ok(())
        });
        play.turn();
        play.turn();
        task.cancel();
        let lines = play.run();
        let failed = "cancelled: requested at 3";
        assert!(lines.iter().any(|line| line == failed), "{lines:?}");
        drop(task);
        play.close();
    }
}
