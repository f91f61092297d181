//! To cancel a task that awaits a task cancels that one first, and waits.

mod common;

use std::future::pending;

use common::{Gate, Play, Shelf, Spilled, Transcript, secs};
use hearken::{
    Elapsed, Origin, ReportKind, TaskCancelled, TaskError, TaskState, WaitFor, current, scope,
    shield, sleep, spawn, timeout, wait, yield_now,
};

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

// ---- Who is around the await ----------------------------------------------------------

// row 55
// promise 4.8
#[test]
fn the_awaited_task_is_told_first_and_then_the_scope_around_the_await() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let outer = scope(async {
            let awaited = scope(spawn(child(said.clone(), "child", 1))).await;
            said.say("parent told");
            sleep(secs(1)).await;
            said.say("parent cleaned up");
            awaited
        });
        Ok(outer.await.expect("it is not innermost")??)
    });

    parent.cancel();
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent told", "parent cleaned up"]);
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// row 55; tests 10, 11
// promise 4.8
#[test]
fn the_awaited_task_is_told_first_and_then_the_root_is_dropped() {
    let play = Play::new();
    let shelf = Shelf::new();
    let mut parent = play.start(|said| {
        let shelf = shelf.clone();
        async move {
            let _dropped = said.finally("parent dropped");
            let child = spawn(child(said.clone(), "child", 1));
            shelf.put(child.task_ref());
            Ok(child.await?)
        }
    });

    parent.cancel_with("closing time");
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent dropped"]);
    let Ok(Err(TaskError::Cancelled(token))) = parent.take() else { panic!("it was cancelled") };
    assert_eq!((token.reason(), token.origin()), ("closing time", Origin::Requested));
    let child = shelf.take().unwrap();
    assert_eq!((child.state(), child.cancelling()), (TaskState::Cancelled, 1));
    drop((parent, token, child));
    play.close();
}

// row 69
// promise 4.8, 4.9
#[test]
fn the_reason_and_the_place_go_along() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let child = spawn(async move {
            let token = scope(pending::<()>()).await.unwrap_err();
            let line = token.location().map(|place| place.line());
            said.say(format!("{} {line:?} {:?}", token.reason(), token.origin()));
            Err::<(), _>(token.into())
        });
        Ok(child.await?)
    });

    parent.cancel_with("closing time");
    let line = line!() - 1;
    assert_eq!(play.run(), [format!("closing time Some({line}) Requested")]);
    drop(parent);
    play.close();
}

// promise 4.8, 4.9
#[test]
fn an_await_under_a_timeout_forwards_and_waits_and_it_is_not_the_deadline() {
    let play = Play::new();
    let parent = play.spawn(|said| async move {
        let _dropped = said.finally("parent dropped");
        let child = spawn(child(said.clone(), "child", 1));
        let answer = timeout(secs(60), child).await;
        said.say(format!("never: {answer:?}"));
        Ok(())
    });
    play.turn();
    play.turn(); // the child waits too

    parent.cancel();
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent dropped"]);
    assert!(parent.is_cancelled());
    assert_eq!(play.world.executor.next_deadline(), None);
    drop(parent);
    play.close();
}

// promise 4.8, 4.9
#[test]
fn the_deadline_around_an_await_forwards_and_waits() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let child = spawn(child(said.clone(), "child", 1));
        let answer = timeout(secs(2), child).await;
        said.say(format!("{:?} after {:?}", answer.unwrap_err(), hearken::now().as_nanos()));
        assert_eq!(current().cancelling(), 0);
        yield_now().await;
        Ok(())
    });

    assert_eq!(
        play.said.lines(),
        [
            "child told",
            "child cleaned up",
            "Elapsed after 3000000000", // two for the deadline, one for the clean-up
        ]
    );
    assert_eq!(parent.info().state(), TaskState::Succeeded);
    drop(parent);
    play.close();
}

// row 77
// promise 4.8
#[test]
fn a_shield_around_the_await_does_not_forward() {
    let play = Play::new();
    let parent = play.spawn(|said| async move {
        let child = spawn(async {
            sleep(secs(2)).await;
            Ok(current().cancelling())
        });
        let requests = shield(child).await?;
        said.say(format!("child was asked {requests} times"));
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();
    play.turn();

    parent.cancel();
    assert_eq!(play.run(), ["child was asked 0 times"]);
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// row 99; test 29
// promise 4.8, 5.3
#[test]
fn wait_does_not_forward() {
    let (play, gate) = (Play::new(), Gate::new());
    let parent = play.start(|said| {
        let gate = gate.clone();
        async move {
            let _dropped = said.finally("parent dropped");
            let child = spawn(async move {
                gate.pass().await;
                said.say("child runs on");
                Ok(())
            });
            let mut tasks = [child];
            let (done, _) = wait(&mut tasks, WaitFor::All).await;
            Ok(done.len())
        }
    });

    parent.cancel();
    assert_eq!(play.run(), ["parent dropped"]);
    assert!(parent.is_cancelled());
    gate.open();
    assert_eq!(play.run(), ["child runs on"]);
    drop((parent, gate));
    play.close();
}

// promise 4.8
#[test]
fn a_handle_that_cancels_on_drop_forwards_too() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let child = spawn(child(said.clone(), "child", 1)).cancel_on_drop();
        let awaited = scope(child).await;
        said.say("parent told");
        Ok(awaited??)
    });

    parent.cancel();
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent told"]);
    drop(parent);
    play.close();
}

// ---- How the child takes it ---------------------------------------------------------------

// row 66: asyncio loses the request.
// promise 4.8
#[test]
fn a_child_that_swallows_gives_its_value_and_the_request_hits_the_next_suspension() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let value = spawn(stubborn(said.clone())).await?;
        said.say(format!("parent has {value}"));
        let next = scope(sleep(secs(60))).await;
        said.say("parent told");
        Ok(next?)
    });

    parent.cancel();
    assert_eq!(play.run(), ["swallowed", "parent has 7", "parent told"]);
    assert!(parent.is_cancelled());
    assert_eq!(parent.cancelling(), 1);
    drop(parent);
    play.close();
}

// row 66, with 58
// promise 4.6, 4.8
#[test]
fn a_parent_that_returns_what_a_stubborn_child_gave_it_is_cancelled() {
    let play = Play::new();
    let parent = play.start(|said| async move { Ok(spawn(stubborn(said)).await?) });

    parent.cancel();
    play.run();
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// row 66; a scope around the await is not told, for the await was not given up.
// promise 4.8
#[test]
fn a_scope_around_a_stubborn_child_has_its_value() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let value = scope(spawn(stubborn(said.clone()))).await;
        said.say(format!("{:?}", value.map(Result::ok).ok()));
        yield_now().await;
        said.say("never");
        Ok(())
    });

    parent.cancel();
    assert_eq!(play.run(), ["swallowed", "Some(Some(7))"]);
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// promise 3.7, 4.8
#[test]
fn a_child_that_fails_in_its_clean_up_gives_its_error_and_the_request_still_stands() {
    let play = Play::new();
    let failing_child = |said: Transcript| async move {
        let _ = scope(pending::<()>()).await;
        said.say("child fails");
        Err::<(), _>(anyhow::Error::new(Spilled("tea")))
    };
    let looks = play.start(|said| async move {
        let outcome = spawn(failing_child(said.clone())).await;
        said.say(format!("parent has {}", outcome.unwrap_err()));
        yield_now().await;
        said.say("never");
        Ok(())
    });
    let passes_on = play.start(|said| async move { Ok(spawn(failing_child(said)).await?) });

    looks.cancel();
    assert_eq!(play.run(), ["child fails", "parent has spilled tea"]);
    assert!(looks.is_cancelled());
    passes_on.cancel();
    assert_eq!(play.run(), ["child fails"]);
    assert!(passes_on.error().unwrap().unwrap().is::<Spilled>(), "an error stands");
    drop((looks, passes_on));
    assert_eq!(play.close().count(ReportKind::NeverRetrieved), 0, "somebody has seen each");
}

// promise 4.8
#[test]
fn a_second_request_while_it_waits_is_forwarded_again() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let child = spawn({
            let said = said.clone();
            async move {
                let first = scope(pending::<()>()).await;
                said.say(format!("child told: {}", first.as_ref().unwrap_err().reason()));
                let second = scope(pending::<()>()).await;
                said.say(format!("child told: {}", second.unwrap_err().reason()));
                sleep(secs(1)).await;
                said.say("child cleaned up");
                Ok(first?)
            }
        });
        let awaited = scope(child).await;
        said.say("parent told");
        Ok(awaited??)
    });

    parent.cancel_with("please");
    assert_eq!(play.run(), ["child told: please"]);
    assert!(!parent.is_finished());
    parent.cancel_with("now");
    assert_eq!(play.run(), ["child told: now", "child cleaned up", "parent told"]);
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// row 70: in asyncio the value is lost to the awaiter.
// promise 4.8
#[test]
fn a_value_whose_wake_up_was_queued_when_the_request_came_is_not_lost() {
    let (play, gate) = (Play::new(), Gate::new());
    let parent = play.start(|said| {
        let gate = gate.clone();
        async move {
            let child = spawn(async {
                gate.pass().await;
                Ok(7)
            });
            let value = child.await?;
            said.say(format!("parent has {value}"));
            yield_now().await;
            said.say("never");
            Ok(())
        }
    });

    gate.open();
    play.turn(); // the child is done, the parent in the queue
    assert!(parent.cancel());
    assert_eq!(play.run(), ["parent has 7"]);
    assert!(parent.is_cancelled());
    drop((parent, gate));
    play.close();
}

// row 33: asyncio loses the error for good.
// promise 3.7, 4.8
#[test]
fn an_error_whose_wake_up_was_queued_when_the_request_came_is_reported() {
    let (play, gate) = (Play::new(), Gate::new());
    let parent = play.start(|said| {
        let gate = gate.clone();
        async move {
            let child = spawn(async {
                gate.pass().await;
                Err::<(), _>(Spilled("tea").into())
            });
            let awaited = scope(child).await;
            said.say("parent told");
            awaited?.map_err(anyhow::Error::from)
        }
    });

    gate.open();
    play.turn(); // the child has failed, the parent is in the queue
    assert!(parent.cancel());
    assert_eq!(play.run(), ["parent told"]);
    assert!(parent.is_cancelled());
    assert_eq!(play.world.heard.count(ReportKind::NeverRetrieved), 1);
    drop((parent, gate));
    play.close();
}

// row 67, thread 35: in asyncio the awaiter ends as cancelled.
// promise 3.3, 4.8
#[test]
fn a_child_that_somebody_else_cancelled_is_news_and_no_request() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let parent = play.start(|said| {
        let shelf = shelf.clone();
        async move {
            let child = spawn(child(said.clone(), "child", 1));
            shelf.put(child.task_ref());
            let awaited = scope(child).await;
            said.say(format!("parent told: {}", awaited.is_err()));
            Ok(awaited??)
        }
    });

    shelf.take().unwrap().cancel_with("elsewhere");
    assert_eq!(play.run(), ["child told", "child cleaned up", "parent told: false"]);
    assert!(!parent.is_cancelled());
    let error = parent.error().unwrap().unwrap();
    assert_eq!(error.downcast_ref::<TaskCancelled>().unwrap().reason(), "elsewhere");
    assert_eq!(parent.cancelling(), 0);
    drop(parent);
    play.close();
}

// promise 4.8
#[test]
fn a_child_that_was_being_cancelled_anyway_is_waited_for() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let parent = play.start(|said| {
        let shelf = shelf.clone();
        async move {
            let child = spawn(async move {
                let work = scope(pending::<()>()).await;
                shield(sleep(secs(1))).await;
                said.say("child cleaned up");
                Ok(work?)
            });
            shelf.put(child.task_ref());
            Ok(child.await?)
        }
    });

    shelf.take().unwrap().cancel_with("elsewhere");
    play.turn();
    parent.cancel_with("here");
    assert_eq!(play.run(), ["child cleaned up"]);
    assert!(parent.is_cancelled(), "it was asked, and its child has ended by cancellation");
    drop(parent);
    play.close();
}

// row 79
// promise 4.8, 4.9
#[test]
fn a_deadline_that_a_child_swallows_is_answered_with_its_value() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let answer = timeout(secs(1), spawn(stubborn(said.clone()))).await;
        assert_ne!(answer.as_ref().err(), Some(&Elapsed));
        said.say(format!("parent has {:?}", answer.ok().map(Result::ok)));
        yield_now().await;
        Ok(())
    });

    assert_eq!(play.said.lines(), ["swallowed", "parent has Some(Some(7))"]);
    drop(parent);
    play.close();
}

/// What the clean-up waits for is what was being awaited when the request came: it has
/// stopped in the scope, and does not go on from there a second time.
// promise 4.7, 4.8
#[test]
fn the_outcome_of_a_child_that_was_cancelled_can_be_collected_in_the_clean_up() {
    for is_through in [false, true] {
        let play = Play::new();
        let mut parent = play.start(move |said| async move {
            let mut task = spawn(child(said.clone(), "child", 1));
            let told = scope(&mut task).await.expect_err("it is cancelled");
            if is_through {
                yield_now().await;
            }
            match task.await {
                Err(TaskError::Cancelled(why)) => said.say(format!("collected: {why}")),
                other => panic!("{other:?}"),
            }
            told.accept();
            Ok(())
        });
        parent.cancel();
        assert_eq!(
            play.run(),
            ["child told", "child cleaned up", "collected: cancelled: requested"]
        );
        assert!(matches!(parent.take(), Ok(Ok(()))));
        play.close();
    }
}
