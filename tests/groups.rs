//! Groups: their tasks begin and end together, and all their errors come in
//! one.
//!
//! What happens when somebody outside cancels, or drops, is in
//! `groups_cancelled.rs`.

mod common;

use std::future::pending;

use common::cast::{ending, fails, naps, second, seconds, spills, stays, tidies};
use common::{Play, Spilled, hushed, waiting};
use hearken::{
    Group, GroupError, Origin, OwnedByGroup, Panicked, SpawnErrorKind, TaskState, current, group,
    scope, sleep, yield_now,
};

fn words(error: &GroupError) -> Vec<String> {
    error.errors().iter().map(ToString::to_string).collect()
}

// ---- Ending together ---------------------------------------------------------

// Row 103, `test_taskgroup_01`.
// promise 5.4
#[test]
fn a_group_returns_the_bodys_value_when_all_its_tasks_have_ended() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let value = group(async |g: Group| {
            g.spawn(naps(said.clone(), "slow", 3)).detach();
            let quick = g.spawn(naps(said.clone(), "quick", 1));
            said.say("the body is through");
            quick.await?;
            Ok(12)
        });
        said.say(format!("{} at {}", value.await?, second()));
        Ok(())
    });
    assert_eq!(play.run(), ["the body is through", "quick done at 1", "slow done at 3", "12 at 3"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// `test_taskgroup_24`.
// promise 5.4
#[test]
fn a_group_without_tasks_is_its_body() {
    let play = Play::new();
    let task = play.start(|_| async {
        assert_eq!(group(async |_| Ok(7)).await?, 7);
        let error = group(async |_| Err::<(), _>(Spilled("tea").into())).await.unwrap_err();
        assert_eq!(words(&error), ["spilled tea"]);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(task.task_ref().info().polls(), 1); // never suspended
    drop(task);
    play.close();
}

// Row 103, `test_taskgroup_02`.
// promise 5.4
#[test]
fn tasks_may_spawn_siblings_while_the_group_waits() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            let (inner, heir) = (g.clone(), said.clone());
            let parent = g.spawn(async move {
                sleep(seconds(1)).await;
                // The body has ended long ago.
                let youngest = (inner.clone(), heir.clone());
                inner
                    .spawn(async move {
                        youngest.0.spawn(naps(youngest.1.clone(), "grandchild", 3)).detach();
                        naps(youngest.1, "child", 1).await
                    })
                    .detach();
                heir.say("parent done");
                Ok(())
            });
            parent.detach();
            Ok(())
        })
        .await?;
        said.say("all");
        Ok(())
    });
    assert_eq!(play.run(), ["parent done", "child done at 2", "grandchild done at 4", "all"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// ---- A task fails ---------------------------------------------------------------

// Row 104, threads 17 and 20, `test_cancel_children_on_child_error`,
// `test_cancelling_level_preserved`, `test_cancellation_does_not_leak_out_of_tg`.
// promise 5.4
#[test]
fn a_failing_task_cancels_the_others_and_the_bodys_scope_and_never_the_parent() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "tidy", 2)).detach();
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            let told = scope(pending::<()>()).await.unwrap_err();
            assert_eq!(told.origin(), Origin::Group);
            assert_eq!(current().cancelling(), 0);
            sleep(seconds(3)).await; // the body may clean up, too
            said.say(format!("body tidied at {}", second()));
            Err::<(), _>(told.into())
        })
        .await
        .unwrap_err();
        said.say(words(&error).join(", "));
        assert_eq!(current().cancelling(), 0);
        sleep(seconds(1)).await; // nobody has cancelled this task
        said.say(format!("goes on at {}", second()));
        Ok(())
    });
    assert_eq!(
        play.run(),
        [
            "tea failed at 1",
            "tidy tidied at 3",
            "body tidied at 4",
            "spilled tea", // the body passed on what it was told: no second error
            "goes on at 5",
        ]
    );
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// Row 104.
// promise 5.4
#[test]
fn a_body_without_a_scope_is_dropped_when_a_task_fails() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            let _dropped = said.finally("body dropped");
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            pending::<anyhow::Result<()>>().await
        })
        .await
        .unwrap_err();
        said.say(words(&error).join(", "));
        Ok(())
    });
    assert_eq!(play.run(), ["tea failed at 1", "body dropped", "spilled tea"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 107; thread 45: always a group, also for one.
// promise 5.4
#[test]
fn all_errors_come_in_the_order_of_completion_and_the_bodys_own_last() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(spills(said.clone(), "milk", 4)).detach();
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            g.spawn(spills(said.clone(), "salt", 2)).detach();
            g.spawn(naps(said.clone(), "done before", 0)).detach();
            // The body ends in the middle of this, and is last all the same.
            let _told = scope(pending::<()>()).await;
            sleep(seconds(1)).await;
            Err::<(), _>(Spilled("soup").into())
        })
        .await
        .unwrap_err();
        assert_eq!(words(&error), ["spilled tea", "spilled salt", "spilled milk", "spilled soup"]);
        // They are the errors themselves.
        assert_eq!(error.errors()[1].downcast_ref::<Spilled>(), Some(&Spilled("salt")));
        assert_eq!(
            error.to_string(),
            "4 of a group failed: spilled tea; spilled salt; spilled milk; spilled soup"
        );
        assert_eq!(second(), 5);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// Row 105, `test_taskgroup_03`.
// promise 5.4
#[test]
fn a_task_that_is_merely_cancelled_is_no_error() {
    let play = Play::new();
    let task = play.start(|said| async move {
        group(async |g: Group| {
            let cancelled = g.spawn(tidies(said.clone(), "tidy", 1));
            g.spawn(naps(said.clone(), "nap", 2)).detach();
            yield_now().await;
            cancelled.cancel_with("by hand");
            said.say(ending(&cancelled.await));
            Ok(())
        })
        .await?;
        Ok(())
    });
    assert_eq!(play.run(), ["tidy tidied at 1", "cancelled: by hand", "nap done at 2"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 106, `test_taskgroup_09`.
// promise 5.4, 4.2
#[test]
fn a_failing_body_cancels_tasks_that_never_started() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            let said = said.clone();
            let on_drop = said.finally("dropped");
            let child = g.spawn(async move {
                on_drop.say("never");
                Ok(())
            });
            child.detach();
            Err::<(), _>(Spilled("tea").into())
        });
        said.say(words(&error.await.unwrap_err()).join(", "));
        Ok(())
    });
    assert_eq!(play.run(), ["dropped", "spilled tea"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// Row 106, `test_taskgroup_10`, `_19`, `_20`: body and task both fail.
// promise 5.4
#[test]
fn a_failing_body_cancels_the_tasks_and_waits_and_its_error_is_last() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "tidy", 1)).detach();
            g.spawn(spills(said.clone(), "milk", 2)).detach();
            yield_now().await;
            Err::<(), _>(Spilled("tea").into())
        });
        said.say(words(&error.await.unwrap_err()).join(", "));
        Ok(())
    });
    assert_eq!(play.run(), ["tidy tidied at 1", "milk spilled at 2", "spilled milk, spilled tea"]);
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// Row 110.
// promise 5.4
#[test]
fn a_body_that_goes_on_in_spite_of_it_is_told_once_and_finds_the_group_closed() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            let told = scope(pending::<()>()).await;
            said.say(told.unwrap_err().reason());
            for _ in 0..3 {
                let again = scope(sleep(seconds(1))).await;
                assert!(again.is_ok(), "it is told once");
            }
            assert!(g.spawn(naps(said.clone(), "late", 0)).is_cancelled());
            said.say("swallowed");
            Ok(7) // too late: the errors come all the same
        });
        said.say(words(&error.await.unwrap_err()).join(", "));
        Ok(())
    });
    assert_eq!(
        play.run(),
        ["tea failed at 1", "another task of the group has failed", "swallowed", "spilled tea"]
    );
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// `test_taskgroup_21a`, and the disabled `_21`: a panic is a failure like any.
// promise 5.4, 3.1
#[test]
fn a_panic_of_a_task_is_one_of_the_errors() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            let error = group(async |g: Group| {
                g.spawn(tidies(said.clone(), "tidy", 1)).detach();
                g.spawn::<()>(async { panic!("out of milk") }).detach();
                pending::<anyhow::Result<()>>().await
            })
            .await
            .unwrap_err();
            let panicked = error.errors()[0].downcast_ref::<Panicked>().unwrap();
            assert_eq!((error.errors().len(), panicked.message()), (1, "out of milk"));
            Ok(())
        })
    });
    assert_eq!(play.run(), ["tidy tidied at 1"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// promise 5.4, 3.7
#[test]
fn a_panic_of_the_body_cancels_the_tasks_and_loses_none_of_their_failures() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            group(async |g: Group| -> anyhow::Result<()> {
                g.spawn(tidies(said.clone(), "tidy", 1)).detach();
                g.spawn(spills(said.clone(), "milk", 2)).detach();
                yield_now().await;
                panic!("out of tea")
            })
            .await?;
            Ok(())
        })
    });
    assert_eq!(play.run(), ["tidy tidied at 1", "milk spilled at 2"]);
    assert_eq!(task.error().unwrap().unwrap().to_string(), "panicked: out of tea");
    assert_eq!(play.world.heard.unretrieved(), ["spilled milk"]);
    drop(task);
    play.close();
}

// promise 5.4, 4.12
#[test]
fn a_task_that_panics_as_it_is_cancelled_is_heard_of() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            let error = group(async |g: Group| {
                g.spawn(waiting(|| panic!("broken cup"))).detach();
                g.spawn(fails(said.clone(), "tea", 1)).detach();
                Ok(())
            });
            let words = words(&error.await.unwrap_err());
            assert!(words[0] == "spilled tea" && words[1].contains("broken cup"), "{words:?}");
            Ok(())
        })
    });
    assert_eq!(task.result().ok(), Some(&()));
    assert!(play.world.heard.unretrieved().is_empty()); // it is in the list
    drop(task);
    play.close();
}

// ---- Whose failure it is ----------------------------------------------------------

// Row 30.
// promise 5.4, 3.5
#[test]
fn the_handle_of_a_failed_task_says_that_the_group_has_the_error() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut handles = None;
        let error = group(async |g: Group| {
            let kept = g.spawn(fails(said.clone(), "tea", 1));
            let awaited = g.spawn(spills(said.clone(), "milk", 0));
            handles = Some((kept, awaited));
            pending::<anyhow::Result<()>>().await
        })
        .await
        .unwrap_err();
        assert_eq!(words(&error), ["spilled tea", "spilled milk"]);
        let (kept, awaited) = handles.unwrap();
        assert_eq!(kept.task_ref().state(), TaskState::Failed);
        let error = kept.error().unwrap().unwrap();
        assert_eq!(error.downcast_ref::<OwnedByGroup>(), Some(&OwnedByGroup));
        let error = anyhow::Error::from(awaited.await.unwrap_err());
        assert!(error.is::<OwnedByGroup>());
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    let ledger = play.world.executor.ledger();
    assert_eq!((ledger.failed, ledger.retrieved, ledger.reported), (2, 2, 0));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// In asyncio whoever awaits the failing task is cancelled with the rest.
// promise 5.4
#[test]
fn whoever_in_the_group_awaits_the_failing_task_adds_no_error() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            let bad = g.spawn(fails(said.clone(), "tea", 1));
            let between = g.spawn(async move { Ok(bad.await?) });
            Ok(between.await?)
        });
        assert_eq!(words(&error.await.unwrap_err()), ["spilled tea"]);

        let error = group(async |g: Group| Ok(g.spawn(fails(said.clone(), "milk", 1)).await?));
        assert_eq!(words(&error.await.unwrap_err()), ["spilled milk"]);

        // Here the sibling is polled before the group hears of it.
        let error = group(async |g: Group| {
            let bad = g.spawn(fails(said.clone(), "salt", 1));
            let next = g.spawn(async move {
                sleep(seconds(1)).await;
                Ok(bad.await?)
            });
            next.detach();
            Ok(())
        });
        assert_eq!(words(&error.await.unwrap_err()), ["spilled salt"]);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// ---- Nobody comes in any more ----------------------------------------------------

// Row 102, `test_taskgroup_no_create_task_after_failure`, `…_finished`.
// promise 5.4
#[test]
fn a_group_that_aborts_or_has_ended_gives_the_future_back() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut kept = None;
        let _error = group(async |g: Group| {
            kept = Some(g.clone());
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            let told = scope(pending::<()>()).await;
            let error = g.try_spawn(naps(said.clone(), "late", 1)).unwrap_err();
            assert_eq!(error.kind(), SpawnErrorKind::GroupEnded);
            assert_eq!(error.to_string(), "the group is being aborted or has ended");
            said.say(error.into_future().await?); // it is whole
            told?;
            Ok(())
        })
        .await;
        let over = kept.unwrap();
        let error = over.try_spawn(naps(said.clone(), "later", 1)).unwrap_err();
        said.say(error.into_future().await?);

        let dropped = said.finally("dropped");
        let refused = over.spawn(waiting(move || dropped.say("never polled")));
        assert!(refused.is_cancelled());
        Ok(())
    });
    let expected = ["tea failed at 1", "late done at 2", "late", "later done at 3", "later"];
    let said = play.run();
    assert_eq!(said[..5], expected);
    assert_eq!(said[5..], ["never polled", "dropped"]); // by its drop
    assert_eq!(task.result().ok(), Some(&()));
    assert_eq!(play.world.executor.ledger().refused, 3);
    drop(task);
    play.close();
}

// Row 102: from the moment of the failure, not from when the group hears of it.
// promise 5.4
#[test]
fn a_sibling_of_a_failed_task_cannot_spawn_in_the_same_turn() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let error = group(async |g: Group| {
            g.spawn(async { Err::<(), _>(Spilled("tea").into()) }).detach();
            let inner = g.clone();
            let heir = g.spawn(async move {
                assert!(inner.try_spawn(async { Ok(()) }).is_err());
                Ok(())
            });
            heir.detach();
            pending::<anyhow::Result<()>>().await
        });
        assert_eq!(words(&error.await.unwrap_err()), ["spilled tea"]);
        Ok(())
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// `test_taskgroup_12` to `_16`: a swallowed request.
// promise 5.4
#[test]
fn a_task_that_goes_on_in_spite_of_it_is_waited_for() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(stays(said.clone(), "stubborn", 5)).detach();
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            Ok(())
        });
        said.say(words(&error.await.unwrap_err()).join(", "));
        Ok(())
    });
    assert_eq!(play.run(), ["tea failed at 1", "stubborn stayed until 6", "spilled tea"]);
    drop(task);
    play.close();
}

// ---- Those that come and go -------------------------------------------------------

// promise 5.4, 10.5
#[test]
fn try_spawn_takes_a_task_like_any_other_and_gives_back_what_has_no_room() {
    let play = Play::with(|builder| builder.max_tasks(2));
    let task = play.start(|said| async move {
        let value = group(async |g: Group| {
            let one = g.try_spawn(naps(said.clone(), "one", 1)).expect("there is room");
            let full = g.try_spawn(naps(said.clone(), "two", 1)).expect_err("there is none");
            assert_eq!(full.kind(), SpawnErrorKind::Full);
            one.detach(); // and the group waits for it
            said.say(full.into_future().await?);
            Ok(12)
        });
        said.say(format!("{} at {}", value.await?, second()));
        Ok(())
    });
    assert_eq!(play.run(), ["two done at 1", "two", "one done at 1", "12 at 1"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 5.4
#[test]
fn a_failing_task_cancels_the_young_and_the_old_ones_after_many_have_come_and_gone() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let error = group(async |g: Group| {
            g.spawn(tidies(said.clone(), "old", 1)).detach();
            for _ in 0..100 {
                g.spawn(async { Ok(()) }).await?;
            }
            g.spawn(tidies(said.clone(), "young", 1)).detach();
            g.spawn(fails(said.clone(), "tea", 1)).detach();
            Ok(())
        });
        said.say(words(&error.await.expect_err("one has failed")).join(", "));
        Ok(())
    });
    assert_eq!(
        play.run(),
        ["tea failed at 1", "young tidied at 2", "old tidied at 2", "spilled tea"]
    );
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 5.4, 4.12
#[test]
fn a_task_that_is_cancelled_alone_and_panics_as_it_is_dropped_fails_the_group() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|said| async move {
            let error = group(async |g: Group| {
                let clumsy = g.spawn(waiting(|| panic!("broken cup")));
                g.spawn(tidies(said.clone(), "tidy", 1)).detach();
                yield_now().await;
                clumsy.cancel();
                pending::<anyhow::Result<()>>().await
            });
            let words = words(&error.await.expect_err("one has panicked"));
            assert!(words.len() == 1 && words[0].contains("broken cup"), "{words:?}");
            Ok(())
        })
    });
    assert_eq!(hushed(|| play.run()), ["tidy tidied at 1"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    assert!(play.close().unretrieved().is_empty()); // it is in the list
}

// promise 5.4, 4.12, 3.6
#[test]
fn a_task_that_panics_as_it_is_dropped_when_its_group_is_gone_is_reported() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let waits = group(async |g: Group| {
            g.spawn(waiting(|| panic!("broken cup"))).detach();
            pending::<anyhow::Result<()>>().await
        });
        futures::future::select(Box::pin(waits), Box::pin(yield_now())).await;
        Ok(()) // the group has lost, and is dropped before its tasks
    });
    hushed(|| play.run());
    assert_eq!(task.result().ok(), Some(&()));
    let told = play.world.heard.unretrieved();
    assert!(told.len() == 1 && told[0].contains("broken cup"), "{told:?}");
    drop(task);
    play.close();
}
