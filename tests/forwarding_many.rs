//! To cancel a task that awaits several tasks, or has given one up, or awaits one
//! that is not to be cancelled.

mod common;

use std::future::pending;

use common::{Gate, Play, Transcript, World, secs};
use futures::future::select;
use futures::stream::{FuturesUnordered, StreamExt};
use hearken::{scope, sleep, spawn, yield_now};

/// Waits for ever; when it is told, cleans up for `seconds`.
async fn child(said: Transcript, name: &'static str, seconds: u64) -> anyhow::Result<u32> {
    let work = scope(pending::<u32>()).await;
    said.say(format!("{name} told"));
    sleep(secs(seconds)).await;
    said.say(format!("{name} cleaned up"));
    Ok(work?)
}

/// Waits for ever; when it is told, gives a value all the same.
async fn stubborn(said: Transcript) -> anyhow::Result<u32> {
    let work = scope(pending::<u32>()).await;
    said.say("swallowed");
    sleep(secs(1)).await;
    Ok(work.unwrap_or(7))
}

// ---- Several at once --------------------------------------------------------------------

// promise 4.4, 4.8
#[test]
fn a_join_of_tasks_cancels_all_and_waits_for_all() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 1, 1]] {
        let play = Play::new();
        let parent = play.start(|said| async move {
            let [a, b, c] = [("a", order[0]), ("b", order[1]), ("c", order[2])]
                .map(|(name, seconds)| spawn(child(said.clone(), name, seconds)));
            let all = scope(async { futures::join!(a, b, c) }).await;
            said.say("parent told");
            let (_a, _b, _c) = all?;
            Ok(())
        });

        parent.cancel();
        let lines = play.run();
        assert_eq!(lines[..3], ["a told", "b told", "c told"], "{order:?}");
        assert_eq!(lines.len(), 7, "{order:?}: {lines:?}");
        assert_eq!(lines[6], "parent told", "{order:?}");
        assert!(parent.is_cancelled());
        drop(parent);
        play.close();
    }
}

// promise 4.4, 4.8
#[test]
fn a_stream_of_tasks_cancels_all_and_waits_for_all() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let mut tasks: FuturesUnordered<_> =
            (0..50).map(|n| spawn(child(said.clone(), "child", n % 7))).collect();
        let all = scope(async { while tasks.next().await.is_some() {} }).await;
        said.say("parent told");
        Ok(all?)
    });

    parent.cancel();
    let lines = play.run();
    assert_eq!(lines.iter().filter(|line| *line == "child cleaned up").count(), 50);
    assert_eq!(lines.last().unwrap(), "parent told");
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// promise 4.8
#[test]
fn a_join_of_which_one_is_stubborn_ends_as_cancelled() {
    for stubborn_first in [true, false] {
        let play = Play::new();
        let parent = play.start(|said| async move {
            let (a, b) = match stubborn_first {
                true => (spawn(stubborn(said.clone())), spawn(child(said.clone(), "child", 2))),
                false => (spawn(child(said.clone(), "child", 2)), spawn(stubborn(said.clone()))),
            };
            let _both = futures::join!(a, b);
            yield_now().await;
            said.say("never");
            Ok(())
        });

        parent.cancel();
        let lines = play.run();
        assert!(lines.contains(&"child cleaned up".to_owned()), "{lines:?}");
        assert!(!lines.contains(&"never".to_owned()), "{lines:?}");
        assert!(parent.is_cancelled());
        drop(parent);
        play.close();
    }
}

// For gather, settle and try_gather see gathers_cancelled.rs.

// ---- Who is not forwarded to ---------------------------------------------------------------

// promise 4.8
#[test]
fn a_handle_that_is_selected_away_or_dropped_does_not_cancel_its_task() {
    let (play, gate) = (Play::new(), Gate::new());
    let parent = play.start(|said| {
        let gate = gate.clone();
        async move {
            let child = |name: &'static str| {
                let (said, gate) = (said.clone(), gate.clone());
                spawn(async move {
                    gate.pass().await;
                    said.say(format!("{name} runs on"));
                    Ok(())
                })
            };
            let winner = select(child("the loser"), Box::pin(yield_now())).await;
            drop(winner);
            drop(child("the dropped one"));
            let work = scope(pending::<()>()).await;
            Ok(work?)
        }
    });

    parent.cancel();
    assert!(play.run().is_empty());
    assert!(parent.is_cancelled());
    gate.open();
    assert_eq!(play.run(), ["the loser runs on", "the dropped one runs on"]);
    drop((parent, gate));
    play.close();
}

// promise 4.8
#[test]
fn a_handle_that_is_still_selected_on_forwards() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let mut child = spawn(child(said.clone(), "child", 1));
        let first = scope(select(&mut child, pending::<()>())).await;
        said.say("parent told");
        drop(first);
        assert!(child.is_cancelled());
        Ok(())
    });

    parent.cancel();
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent told"]);
    drop(parent);
    play.close();
}

// promise 4.8, 4.11
#[test]
fn a_request_that_was_forwarded_outlives_the_await_that_is_given_up() {
    let play = Play::new();
    let parent = play.spawn(|said| async move {
        let slow = child(said.clone(), "child", 60);
        let winner = select(spawn(slow), Box::pin(sleep(secs(5)))).await;
        drop(winner);
        said.say("the await is given up");
        let next = scope(sleep(secs(1))).await;
        said.say(format!("parent told: {}", next.is_err()));
        Ok(next?)
    });
    play.turn();
    play.turn();

    parent.cancel();
    assert_eq!(
        play.run(),
        [
            "child told",
            "the await is given up",
            "parent told: true",
            "child cleaned up", // nobody waits for it any more
        ]
    );
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// promise 10.2, 4.8
#[test]
fn a_task_of_another_executor_is_awaited_and_not_cancelled() {
    let (here, there) = (Play::new(), World::new());
    let foreign = there.executor.spawn(pending::<anyhow::Result<()>>());
    let foreign_ref = foreign.task_ref();
    let scoped = here.start(|said| async move {
        let awaited = scope(foreign).await;
        said.say("parent told");
        awaited?.map_err(anyhow::Error::from)
    });
    scoped.cancel();
    assert_eq!(here.run(), ["parent told"]);
    assert!(scoped.is_cancelled());

    let foreign = there.executor.spawn(pending::<anyhow::Result<()>>());
    let bare = here.start(|_| async move { Ok(foreign.await?) });
    bare.cancel();
    here.run();
    assert!(bare.is_cancelled());

    let foreign = there.executor.spawn(async { Ok(7) });
    let answer = here.start(|_| async move { Ok(foreign.await?) });
    there.executor.run_until_idle();
    here.run();
    assert_eq!(*answer.result().unwrap(), 7);

    assert!(!foreign_ref.is_finished() && foreign_ref.cancelling() == 0);
    drop((scoped, bare, answer, foreign_ref));
    there.close();
    here.close();
}
