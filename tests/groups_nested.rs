//! Groups in groups, side by side, and under a deadline.

mod common;

use std::future::pending;

use common::cast::{fails, second, seconds, spills, tidies};
use common::{Play, Transcript};
use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join};
use hearken::{
    Elapsed, Group, GroupError, Task, current, gather, group, scope, sleep, spawn, timeout,
};

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

/// Is told so many times, and then cleans up.
async fn told(said: Transcript, name: &'static str, times: u32) -> anyhow::Result<()> {
    let first = scope(pending::<()>()).await;
    for _ in 1..times {
        let _again = scope(pending::<()>()).await;
    }
    sleep(seconds(u64::from(times))).await;
    said.say(format!("{name} tidied"));
    Ok(first?)
}

type Waits = LocalBoxFuture<'static, ()>;

/// Waits for a task in one of three ways.
fn waits(way: usize, child: impl Future<Output = anyhow::Result<()>> + 'static) -> Waits {
    match way {
        0 => spawn(child).map(drop).boxed_local(),
        1 => gather([spawn(child)]).map(drop).boxed_local(),
        _ => async {
            let _answer = group(async |g: Group| {
                g.spawn(child).detach();
                pending::<anyhow::Result<()>>().await
            })
            .await;
        }
        .boxed_local(),
    }
}

// Whoever is through waits for the others, also when there is another request;
// and in the end they are told once.
// promise 4.4, 4.8, 5.1, 5.4
#[test]
fn of_two_requests_that_were_passed_on_side_by_side_one_goes_on_outward() {
    for (left, right, left_first) in (0..18).map(|n| (n % 3, n / 3 % 3, n >= 9)) {
        let play = Play::new();
        let task: Task<()> = play.start(|said| async move {
            let (one, two) = if left_first { (1, 2) } else { (2, 1) };
            let left = waits(left, told(said.clone(), "left", one));
            let right = waits(right, told(said.clone(), "right", two));
            let told = scope(join(left, right)).await;
            said.say("told");
            sleep(seconds(1)).await; // what would be cut short by another
            said.say("parent tidied");
            told?;
            Ok(())
        });
        let (first, second) = if left_first { ("left", "right") } else { ("right", "left") };
        task.cancel_with("please");
        assert_eq!(play.run(), [format!("{first} tidied")]);
        task.cancel_with("now");
        let expected = [&format!("{second} tidied"), "told", "parent tidied"];
        assert_eq!(play.run(), expected, "{left}, {right}");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}
