//! Waiting for some of several tasks: `wait`, `wait_timeout`, `as_completed`.
//!
//! They look on. They retrieve nothing that they do not hand over, cancel
//! nobody, and whoever stops waiting leaves the tasks as they were.

mod common;

use std::pin::pin;

use common::cast::{ending, fails, naps, second, seconds, tidies};
use common::{Play, Transcript, hushed, poll_once};
use futures::future::{Either, join_all, select};
use hearken::{
    Elapsed, Task, WaitFor, as_completed, current, shield, sleep, spawn, timeout, wait,
    wait_timeout, yield_now,
};

const ALL_KINDS: [WaitFor; 3] = [WaitFor::First, WaitFor::FirstFailure, WaitFor::All];

/// Three that end at 1, 2 and 3, the second by a failure.
fn three(said: &Transcript) -> [Task<&'static str>; 3] {
    [
        spawn(naps(said.clone(), "third", 3)),
        spawn(fails(said.clone(), "second", 2)),
        spawn(naps(said.clone(), "first", 1)),
    ]
}

fn names<T>(tasks: &[&mut Task<T>]) -> Vec<u64> {
    tasks.iter().map(|task| task.id().number()).collect()
}

// ---- For what it waits -----------------------------------------------------------

// Row 98, `test_wait_with_exception`.
// promise 5.3
#[test]
fn wait_ends_with_the_first_the_first_failure_or_all() {
    for (wait_for, at, done) in
        [(WaitFor::First, 1, 1), (WaitFor::FirstFailure, 2, 2), (WaitFor::All, 3, 3)]
    {
        let play = Play::new();
        let task = play.start(|said| async move {
            let mut tasks = three(&said);
            let ids: Vec<_> = tasks.iter().map(|task| task.id().number()).collect();
            let (ended, pending) = wait(&mut tasks, wait_for).await;
            assert_eq!((second(), ended.len(), pending.len()), (at, done, 3 - done));
            // Each in the order of the arguments; it raises nothing.
            assert_eq!(names(&pending), ids[..3 - done]);
            assert_eq!(names(&ended), ids[3 - done..]);
            tasks.into_iter().for_each(Task::ignore);
            Ok(())
        });
        // Nobody was cancelled.
        assert_eq!(play.run(), ["first done at 1", "second failed at 2", "third done at 3"]);
        assert_eq!(task.result().ok(), Some(&()), "{wait_for:?}");
        drop(task);
        play.close();
    }
}

// `test_wait_first_exception_in_wait`.
// promise 5.3
#[test]
fn what_had_ended_before_counts() {
    for (wait_for, at) in [(WaitFor::First, 2), (WaitFor::FirstFailure, 2), (WaitFor::All, 3)] {
        let play = Play::new();
        let task = play.start(|said| async move {
            let mut tasks = three(&said);
            sleep(seconds(2)).await;
            yield_now().await;
            let (ended, _) = wait(&mut tasks, wait_for).await;
            // All that is done is among the done, not only what ended the wait.
            assert_eq!((second(), ended.len()), (at, at as usize));
            tasks.into_iter().for_each(Task::ignore);
            Ok(())
        });
        assert_eq!(task.result().ok(), Some(&()), "{wait_for:?}");
        drop(task);
        play.close();
    }
}

// Row 100, `test_wait_really_done`.
// promise 5.3
#[test]
fn all_that_is_done_when_it_wakes_is_among_the_done() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut tasks = ["a", "b", "c"].map(|name| spawn(naps(said.clone(), name, 1)));
        let (done, pending) = wait(&mut tasks, WaitFor::First).await;
        assert_eq!((done.len(), pending.len()), (3, 0));
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 100.
// promise 5.3
#[test]
fn a_cancelled_task_is_no_failure_and_a_panic_is_one() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            let mut tasks = [
                spawn(tidies(said.clone(), "tidy", 0)),
                spawn(async {
                    sleep(seconds(2)).await;
                    panic!("out of tea")
                }),
                spawn(naps(said.clone(), "nap", 3)),
            ];
            yield_now().await;
            tasks[0].cancel();
            let (done, _) = wait(&mut tasks, WaitFor::FirstFailure).await;
            assert_eq!((second(), done.len()), (2, 2));
            tasks.into_iter().for_each(Task::ignore);
            Ok(())
        })
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 98: asyncio raises for an empty set.
// promise 5.3
#[test]
fn nothing_to_wait_for_is_ready_at_once() {
    for wait_for in ALL_KINDS {
        let mut none: [Task<()>; 0] = [];
        let ready = poll_once(&mut pin!(wait(&mut none, wait_for)));
        assert!(ready.is_ready());
    }
    assert!(poll_once(&mut pin!(as_completed::<()>([]).next())).is_ready());
}

// ---- It retrieves nothing -----------------------------------------------------------

// Row 26: asyncio retrieves all but the last outstanding one.
// promise 3.7, 5.3
#[test]
fn a_wait_retrieves_nothing() {
    for wait_for in ALL_KINDS {
        let play = Play::new();
        let task = play.start(|said| async move {
            let mut tasks = [("tea", 1), ("milk", 2), ("salt", 3)]
                .map(|(name, n)| spawn(fails(said.clone(), name, n)));
            let _sorted = wait(&mut tasks, wait_for).await;
            Ok(())
        });
        play.run();
        let mut reports = play.world.heard.unretrieved();
        reports.sort();
        assert_eq!(reports, ["spilled milk", "spilled salt", "spilled tea"], "{wait_for:?}");
        drop(task);
        play.close();
    }
}

// promise 5.3
#[test]
fn the_handles_are_as_good_as_before() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut tasks = Vec::from(three(&said));
        let mut endings = Vec::new();
        while !tasks.is_empty() {
            let _sorted = wait(&mut tasks, WaitFor::First).await;
            let place = tasks.iter().position(Task::is_finished).unwrap();
            endings.push(ending(&tasks.remove(place).await));
        }
        assert_eq!(endings, ["first", "spilled second", "third"]);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// ---- Not longer than that ---------------------------------------------------------

// Row 99, `test_wait_with_timeout`.
// promise 5.3
#[test]
fn a_time_limit_neither_raises_nor_cancels() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut tasks = three(&said);
        let (done, pending) = wait_timeout(&mut tasks, WaitFor::All, seconds(5) / 2).await;
        assert_eq!((second(), done.len(), pending.len()), (2, 2, 1));
        assert!(tasks[2].is_finished() && !tasks[0].is_finished());

        // Not even a moment: what there is.
        let (done, pending) = wait_timeout(&mut tasks, WaitFor::All, seconds(0)).await;
        assert_eq!((second(), done.len(), pending.len()), (2, 2, 1));

        // Ready before the limit, and no timer is left.
        let (done, _) = wait_timeout(&mut tasks, WaitFor::All, seconds(1_000)).await;
        assert_eq!((second(), done.len()), (3, 3));
        tasks.into_iter().for_each(Task::ignore);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.executor.next_deadline(), None);
    assert_eq!(play.world.executor.now().as_nanos(), 3_000_000_000);
    drop(task);
    play.close();
}

// ---- Who stops waiting ----------------------------------------------------------------

// Row 99, `test_yield_wait_does_not_shield_cancel`.
// promise 5.3, 4.8
#[test]
fn to_cancel_who_waits_leaves_the_tasks_alone() {
    for limited in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let mut tasks = three(&said);
            let _never = match limited {
                false => wait(&mut tasks, WaitFor::All).await,
                true => wait_timeout(&mut tasks, WaitFor::All, seconds(60)).await,
            };
            said.say("never");
            Ok(())
        });
        play.turn();
        task.cancel();
        assert_eq!(play.run(), ["first done at 1", "second failed at 2", "third done at 3"]);
        assert!(task.is_cancelled());
        // The handles went with the wait.
        assert_eq!(play.world.heard.unretrieved(), ["spilled second"]);
        drop(task);
        play.close();
    }
}

// promise 5.3
#[test]
fn tasks_that_were_waited_for_in_vain_can_be_awaited() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut tasks = three(&said);
        match select(pin!(wait(&mut tasks, WaitFor::All)), pin!(sleep(seconds(1)))).await {
            Either::Left(_) => unreachable!("the second is the first to be ready"),
            Either::Right(_) => said.say("enough"),
        }
        // By another task, by its own waker each, and by a deadline.
        let [third, second, first] = tasks;
        let elsewhere = spawn(async move { Ok(third.await?) });
        let both = join_all([second, first]).await;
        said.say(both.iter().map(ending).collect::<Vec<_>>().join(", "));
        said.say(timeout(seconds(60), elsewhere).await??);
        Ok(())
    });
    play.run();
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// promise 5.3, 4.7
#[test]
fn a_wait_under_a_shield_goes_on() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut tasks = [spawn(naps(said.clone(), "nap", 2))];
        let (done, _) = shield(wait(&mut tasks, WaitFor::All)).await;
        said.say(format!("{} at {}", done.len(), second()));
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();
    task.cancel();
    assert_eq!(play.run(), ["nap done at 2", "1 at 2"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// ---- One after another --------------------------------------------------------------

// `test_as_completed`, row 101.
// promise 5.3
#[test]
fn as_completed_hands_over_in_the_order_of_completion() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut ended = as_completed(three(&said));
        let mut endings = Vec::new();
        while let Some(outcome) = ended.next().await {
            endings.push(format!("{} at {}", ending(&outcome), second()));
        }
        assert_eq!(endings, ["first at 1", "spilled second at 2", "third at 3"]);
        assert!(ended.next().await.is_none() && ended.left() == 0);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// Row 101: as an iterator it yields the original tasks.
// promise 5.3
#[test]
fn as_completed_gives_the_tasks_themselves() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tasks = three(&said);
        let mut ids: Vec<_> = tasks.iter().map(Task::id).collect();
        let mut ended = as_completed(tasks);
        while let Some(task) = ended.next_task().await {
            assert_eq!(Some(task.id()), ids.pop());
            task.ignore();
        }
        assert!(ids.is_empty());
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Rows 101 and 32, `test_as_completed_with_timeout`.
// promise 5.3, 4.9, 3.6
#[test]
fn a_deadline_leaves_the_rest_alone_and_what_nobody_consumed_is_reported() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut ended = as_completed(three(&said));
        let mut endings = Vec::new();
        let all = async {
            while let Some(outcome) = ended.next().await {
                endings.push(ending(&outcome));
                sleep(seconds(2)).await; // misses the others
            }
        };
        assert_eq!(timeout(seconds(2), all).await, Err(Elapsed));
        assert_eq!((endings, ended.left()), (vec!["first".to_owned()], 2));
        said.say("elapsed");
        Ok(())
    });
    let mut said = play.run();
    said.sort();
    assert_eq!(said, ["elapsed", "first done at 1", "second failed at 2", "third done at 3"]);
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.heard.unretrieved(), ["spilled second"]);
    drop(task);
    play.close();
}

// Row 33, and `test_as_completed_reverse_wait`.
// promise 5.3, 3.7
#[test]
fn a_next_that_is_dropped_takes_no_outcome_along() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut ended = as_completed(three(&said));
        let mut endings = Vec::new();
        while ended.left() > 0 {
            // Most of these are dropped while they wait.
            let tick = sleep(seconds(1) / 3);
            if let Either::Left((Some(outcome), _)) = select(pin!(ended.next()), tick).await {
                endings.push(ending(&outcome));
            }
        }
        assert_eq!(endings, ["first", "spilled second", "third"]);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// promise 5.3, 4.8
#[test]
fn to_cancel_who_goes_through_them_leaves_the_tasks_alone() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut ended = as_completed(three(&said));
        while ended.next().await.is_some() {}
        Ok(current().name())
    });
    play.turn();
    task.cancel();
    assert_eq!(play.run(), ["first done at 1", "second failed at 2", "third done at 3"]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.heard.unretrieved(), ["spilled second"]);
    drop(task);
    play.close();
}

// ---- What it costs ----------------------------------------------------------------

// promise 5.3
#[test]
fn to_wait_for_n_tasks_costs_a_poll_for_each_turn_in_which_one_ends() {
    for n in [100, 1_000] {
        let play = Play::new();
        let tasks = move |said: &Transcript| -> Vec<_> {
            (1..=n).map(|second| spawn(naps(said.clone(), "nap", second))).collect()
        };
        let waits = play.spawn(|said| async move {
            Ok(wait(&mut tasks(&said), WaitFor::All).await.0.len() as u64)
        });
        let goes_through = play.spawn(|said| async move {
            let mut ended = as_completed(tasks(&said));
            let mut count = 0;
            while ended.next().await.is_some() {
                count += 1;
            }
            Ok(count)
        });
        play.run();
        for task in [waits, goes_through] {
            assert_eq!(task.result().ok(), Some(&n));
            assert_eq!(u64::from(task.task_ref().info().polls()), n + 1);
        }
        play.close();
    }
}
