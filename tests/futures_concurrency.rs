//! The promises hold with the combinators of `futures-concurrency`, which poll
//! only those branches whose own waker was called.

mod common;

use std::future::pending;

use common::cast::{fails, naps, second, seconds, tidies};
use common::{Play, Transcript};
use futures::StreamExt as _;
use futures_concurrency::future::{FutureGroup, Join as _, Race as _, RaceOk as _, TryJoin as _};
use futures_concurrency::prelude::{ConcurrentStream as _, IntoConcurrentStream as _};
use hearken::{scope, sleep, spawn, timeout, yield_now};

/// A branch with a scope of its own: says when it is told, and cleans up.
async fn branch(said: Transcript, name: &'static str, n: u64) -> &'static str {
    let told = scope(pending::<()>()).await;
    said.say(format!("{name} told: {}", told.as_ref().unwrap_err().reason()));
    sleep(seconds(n)).await;
    said.say(format!("{name} tidied at {}", second()));
    name
}

const TOLD: [&str; 3] = ["a told: once", "b told: once", "c told: once"];

// Pitfalls 1 and 3.
// promise 4.4
#[test]
fn each_branch_of_a_join_gets_the_request_once() {
    for way in 0..4 {
        let play = Play::new();
        let task = play.start(|said| async move {
            let [a, b, c] =
                [("a", 2), ("b", 3), ("c", 1)].map(|(name, n)| branch(said.clone(), name, n));
            let all = match way {
                0 => (a, b, c).join().await.into(),
                1 => [a, b, c].join().await,
                2 => vec![a, b, c].join().await.try_into().unwrap(),
                _ => {
                    let group: FutureGroup<_> = [a, b, c].into_iter().collect();
                    group.collect::<Vec<_>>().await.try_into().unwrap()
                }
            };
            let mut all: [&str; 3] = all;
            all.sort_unstable();
            said.say(all.join(" "));
            Ok(())
        });
        task.cancel_with("once");
        let mut said = play.run();
        said[..3].sort(); // it may poll them in an order of its own
        assert_eq!(said[..3], TOLD, "{way}");
        assert_eq!(
            said[3..],
            ["c tidied at 1", "a tidied at 2", "b tidied at 3", "a b c"],
            "{way}"
        );
        assert_eq!(task.result().ok(), Some(&()), "{way}");
        drop(task);
        play.close();
    }
}

// promise 4.4, 4.11
#[test]
fn a_race_ends_with_the_first_and_its_losers_hold_nothing_up() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let (a, b) = (branch(said.clone(), "a", 2), branch(said.clone(), "b", 1));
        said.say((a, b).race().await);
        let told = scope(pending::<()>()).await;
        said.say("told again");
        Ok(told?)
    });
    task.cancel_with("once");
    let mut said = play.run();
    said[..2].sort();
    assert_eq!(said, ["a told: once", "b told: once", "b tidied at 1", "b"]);
    task.cancel_with("twice");
    assert_eq!(play.run(), ["told again"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.8
#[test]
fn a_join_of_tasks_cancels_them_and_waits() {
    for way in 0..3 {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks = [("a", 2), ("b", 3), ("c", 1)]
                .map(|(name, n)| spawn(tidies(said.clone(), name, n)));
            let all = async {
                match way {
                    0 => drop(tasks.join().await),
                    1 => drop(Vec::from(tasks).join().await),
                    _ => drop(Vec::from(tasks).try_join().await),
                }
            };
            let told = scope(all).await.unwrap_err();
            said.say(format!("{told} at {}", second()));
            Err::<(), _>(told.into())
        });
        task.cancel();
        assert_eq!(
            play.run(),
            ["c tidied at 1", "a tidied at 2", "b tidied at 3", "cancelled: requested at 3"],
            "{way}"
        );
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// promise 4.9, 4.8
#[test]
fn a_deadline_around_a_race_of_tasks_waits_for_them() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tasks = ["a", "b"].map(|name| spawn(tidies(said.clone(), name, 1)));
        assert!(timeout(seconds(1), tasks.race()).await.is_err());
        said.say(format!("elapsed at {}", second()));
        yield_now().await;
        Ok(())
    });
    assert_eq!(play.run(), ["a tidied at 2", "b tidied at 2", "elapsed at 2"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 3.7, 3.6
#[test]
fn failures_that_a_try_join_or_a_race_drops_are_reported() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tasks = [("tea", 1), ("milk", 2)].map(|(name, n)| spawn(fails(said.clone(), name, n)));
        assert_eq!(tasks.try_join().await.unwrap_err().to_string(), "spilled tea");
        let tasks = [spawn(fails(said.clone(), "salt", 1)), spawn(naps(said.clone(), "nap", 2))];
        assert_eq!(tasks.race_ok().await.ok(), Some("nap"));
        Ok(())
    });
    play.run();
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.heard.unretrieved(), ["spilled milk"]);
    drop(task);
    play.close();
}

// promise 4.4, 7.2
#[test]
fn a_concurrent_stream_runs_its_branches_and_is_cancelled_like_any() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let names = vec!["a", "b", "c"];
        let all = names.into_co_stream().for_each(|name| {
            let said = said.clone();
            async move {
                branch(said, name, 1).await;
            }
        });
        all.await;
        said.say("all");
        Ok(())
    });
    task.cancel_with("once");
    let mut said = play.run();
    said[..3].sort();
    assert_eq!(said[..3], TOLD);
    assert_eq!(said.last().unwrap(), "all");
    drop(task);
    play.close();
}
