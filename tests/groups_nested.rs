//! Groups in groups, side by side, and under a deadline.

mod common;

use std::future::pending;

use common::Play;
use common::cast::{fails, second, seconds, spills, tidies};
use futures::future::join;
use hearken::{Elapsed, Group, GroupError, current, group, scope, sleep, timeout};

fn words(error: &GroupError) -> String {
    error.errors().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

// ---- Groups in groups ------------------------------------------------------------

// Thread 18, `test_taskgroup_11` to `_15`.
// promise 5.4
#[test]
fn an_outer_failure_cancels_the_inner_group_and_waits_for_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |outer: Group| {
            outer.spawn(fails(said.clone(), "tea", 1)).detach();
            let inner = group(async |inner: Group| {
                inner.spawn(tidies(said.clone(), "inner", 2)).detach();
                pending::<anyhow::Result<()>>().await
            });
            inner.await?;
            said.say("never");
            Ok(())
        });
        said.say(words(&error.await.unwrap_err()));
        sleep(seconds(1)).await;
        said.say("goes on");
        Ok(())
    });
    assert_eq!(play.run(), ["tea failed at 1", "inner tidied at 3", "spilled tea", "goes on"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// `test_taskgroup_13`, `_14`: errors at both levels.
// promise 5.4
#[test]
fn the_errors_of_an_inner_group_are_one_error_of_the_outer_bodys() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |outer: Group| {
            outer.spawn(fails(said.clone(), "tea", 1)).detach();
            group(async |inner: Group| {
                inner.spawn(spills(said.clone(), "milk", 1)).detach();
                inner.spawn(spills(said.clone(), "salt", 2)).detach();
                pending::<anyhow::Result<()>>().await
            })
            .await?;
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.errors().len(), 2);
        assert_eq!(error.errors()[0].to_string(), "spilled tea");
        let inner = error.errors()[1].downcast_ref::<GroupError>().unwrap();
        assert_eq!(words(inner), "spilled milk, spilled salt");
        sleep(seconds(1)).await; // and nobody has cancelled this task
        Ok(())
    });
    play.run();
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// `test_nested_groups_both_cancelled`, threads 17 and 18.
// promise 5.4
#[test]
fn both_groups_fail_in_one_turn_and_the_task_goes_on() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |outer: Group| {
            outer.spawn(fails(said.clone(), "tea", 1)).detach();
            group(async |inner: Group| {
                inner.spawn(fails(said.clone(), "milk", 1)).detach();
                pending::<anyhow::Result<()>>().await
            })
            .await?;
            Ok(())
        });
        let error = error.await.unwrap_err();
        let inner = error.errors().last().unwrap().downcast_ref::<GroupError>();
        assert_eq!(inner.map(words).as_deref(), Some("spilled milk"));
        assert_eq!((error.errors().len(), current().cancelling()), (2, 0));
        sleep(seconds(1)).await;
        Ok(())
    });
    play.run();
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 5.4
#[test]
fn a_group_in_a_task_of_a_group_fails_as_that_task() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |outer: Group| {
            let inner = said.clone();
            let child = outer.spawn(async move {
                group(async |g: Group| {
                    g.spawn(fails(inner.clone(), "tea", 1)).detach();
                    g.spawn(tidies(inner.clone(), "niece", 1)).detach();
                    Ok(())
                })
                .await?;
                Ok(())
            });
            child.detach();
            outer.spawn(tidies(said.clone(), "aunt", 1)).detach();
            Ok(())
        });
        said.say(error.await.unwrap_err().to_string());
        Ok(())
    });
    let expected = "1 of a group failed: 1 of a group failed: spilled tea";
    assert_eq!(play.run(), ["tea failed at 1", "niece tidied at 2", "aunt tidied at 3", expected]);
    drop(task);
    play.close();
}

// ---- Under a deadline ---------------------------------------------------------------

// `test_timeout_taskgroup`.
// promise 5.4, 4.9
#[test]
fn a_deadline_cancels_the_group_and_waits_for_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let all = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "child", 2)).detach();
            pending::<anyhow::Result<()>>().await
        });
        assert!(matches!(timeout(seconds(1), all).await, Err(Elapsed)));
        said.say(format!("elapsed at {}", second()));
        sleep(seconds(1)).await;
        said.say("goes on");
        Ok(())
    });
    assert_eq!(play.run(), ["child tidied at 3", "elapsed at 3", "goes on"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 84: errors pass; and the deadline is over with the timeout.
// promise 5.4, 4.9, 3.7
#[test]
fn errors_of_a_group_that_a_deadline_has_cancelled_are_the_answer() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let all = group(async |g: Group| {
            g.spawn(spills(said.clone(), "tea", 1)).detach();
            pending::<anyhow::Result<()>>().await
        });
        let error = timeout(seconds(1), all).await.expect("errors are not swallowed").unwrap_err();
        said.say(words(&error));
        sleep(seconds(1)).await; // and nobody has cancelled this task
        said.say("goes on");
        Ok(())
    });
    assert_eq!(play.run(), ["tea spilled at 2", "spilled tea", "goes on"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// ---- Side by side ---------------------------------------------------------------------

// promise 4.4, 5.4
#[test]
fn groups_side_by_side_are_both_cancelled() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let children = [("left", 1), ("right", 2)].map(|(name, n)| (said.clone(), name, n));
        let [left, right] = children.map(|(said, name, n)| async move {
            group(async |g: Group| {
                g.spawn(tidies(said.clone(), name, n)).detach();
                pending::<anyhow::Result<()>>().await
            })
            .await
        });
        let told = scope(join(left, right)).await.unwrap_err();
        said.say(format!("{told} at {}", second()));
        Err::<(), _>(told.into())
    });
    task.cancel_with("closing time");
    assert_eq!(
        play.run(),
        ["left tidied at 1", "right tidied at 2", "cancelled: closing time at 2"]
    );
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}
