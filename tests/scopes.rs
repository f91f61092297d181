//! Whom a request to cancel hits in a task that can clean up after it, when,
//! and how often.
//!
//! The rows are those of a table of what asyncio does; where hearken differs,
//! the comment says so.

mod common;

use std::future::pending;

use anyhow::anyhow;
use common::{Gate, Play, Spilled, secs};
use hearken::{TaskError, TaskState, current, scope, sleep, yield_now};

// ---- Who is told, and how often --------------------------------------------------

// row 62
// promise 4.3
#[test]
fn the_code_after_a_scope_awaits_as_long_as_it_likes() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        said.say("told");
        sleep(secs(3600)).await;
        said.say("cleaned up");
        Ok(work?)
    });

    assert!(task.cancel_with("closing time"));
    assert!(play.said.lines().is_empty(), "no code is run inline");
    assert!(!task.is_cancelled(), "it was only asked"); // row 2

    assert_eq!(play.run(), ["told", "cleaned up"]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.executor.now().as_nanos(), 3600 * 1_000_000_000);
    drop(task);
    play.close();
}

// Thread 13: to return before the inner had cleaned up broke a lock.
// promise 4.3
#[test]
fn what_is_inside_is_gone_when_the_scope_answers() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let _outside = said.finally("outside dropped");
        let inside = async {
            let _first = said.finally("first local dropped");
            let _second = said.finally("second local dropped");
            pending::<()>().await;
        };
        let work = scope(inside).await;
        said.say("told");
        Ok(work?)
    });

    task.cancel();
    assert_eq!(
        play.run(),
        [
            "second local dropped", // in Rust's order
            "first local dropped",
            "told",
            "outside dropped", // no part of the scope
        ]
    );
    drop(task);
    play.close();
}

// promise 4.3
#[test]
fn the_innermost_scope_is_told_and_the_one_around_it_is_not() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let outer = scope(async {
            let inner = scope(pending::<()>()).await;
            said.say("inner told");
            sleep(secs(1)).await;
            inner.map_err(|token| token.reason().to_owned())
        });
        let answer = outer.await.expect("the outer one is told of nothing");
        said.say(format!("outer has {answer:?}"));
        Ok(())
    });

    task.cancel_with("enough");
    assert_eq!(play.run(), ["inner told", r#"outer has Err("enough")"#]);
    assert!(!task.is_cancelled() && task.is_finished());
    drop(task);
    play.close();
}

// row 60
// promise 4.3
#[test]
fn several_requests_before_the_next_poll_are_one_and_the_first_reason_counts() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        for _ in 0..2 {
            let work = scope(sleep(secs(1))).await;
            said.say(work.map_or_else(|token| token.reason().to_owned(), |()| "slept".into()));
        }
        Ok(())
    });
    play.turn();

    assert!(task.cancel_with("first") && task.cancel_with("second") && task.cancel_with("third"));
    assert_eq!(task.cancelling(), 3);
    assert_eq!(play.run(), ["first", "slept"]);
    drop(task);
    play.close();
}

// row 61
// promise 4.3
#[test]
fn requests_in_different_turns_are_told_one_by_one() {
    let play = Play::new();
    let task = play.start(|said| async move {
        for _ in 0..3 {
            let work = scope(pending::<()>()).await;
            said.say(work.unwrap_err().reason());
        }
        Ok(())
    });

    for reason in ["first", "second", "third"] {
        assert!(task.cancel_with(reason));
        assert_eq!(play.turn(), [reason]);
    }
    assert_eq!(task.cancelling(), 3);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// row 59, thread 36
// promise 4.2, 4.3
#[test]
fn a_task_that_was_never_polled_has_no_scope_that_could_be_told() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        said.say("polled");
        let work = scope(pending::<()>()).await;
        said.say("told");
        Ok(work?)
    });

    task.cancel();
    assert!(play.run().is_empty());
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// row 70, second half: own leaves look first (see forwarding.rs); a scope around
// foreign code does not run it again after a request.
// promise 4.3
#[test]
fn what_is_inside_a_scope_is_not_polled_again_once_it_is_told() {
    let (play, gate) = (Play::new(), Gate::new());
    let task = play.start(|said| {
        let gate = gate.clone();
        async move {
            let inside = async {
                gate.pass().await;
                said.say("through the gate");
            };
            let work = scope(inside).await;
            said.say("told");
            Ok(work?)
        }
    });

    gate.open();
    task.cancel();
    assert_eq!(play.run(), ["told"]);
    assert!(task.is_cancelled());
    drop((task, gate));
    play.close();
}

// promise 4.3
#[test]
fn a_scope_that_is_through_is_told_of_nothing() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let first = scope(yield_now()).await;
        assert!(first.is_ok());
        let second = scope(pending::<()>()).await;
        said.say("second told");
        Ok(second?)
    });

    task.cancel();
    assert_eq!(play.run(), ["second told"]);
    drop(task);
    play.close();
}

// row 64, thread 7 of the tests: the error has the cancellation as its cause.
// promise 3.3, 4.3
#[test]
fn an_error_in_the_code_after_a_scope_is_a_failure() {
    let play = Play::new();
    let mut task = play.start(|_| async move {
        let work = scope(pending::<()>()).await;
        work.map_err(|token| anyhow!(Spilled("tea")).context(token.reason().to_owned()))
    });

    task.cancel_with("closing time");
    play.run();
    let Ok(Err(TaskError::Failed(error))) = task.take() else { panic!("it failed") };
    assert_eq!(format!("{error:#}"), "closing time: spilled tea");
    drop(task);
    play.close();
}

// ---- During the clean-up ------------------------------------------------------------

// promise 4.5
#[test]
fn a_further_request_goes_to_the_scope_of_the_clean_up() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        said.say("cleaning up");
        let cleanup = scope(sleep(secs(60))).await;
        said.say(cleanup.map_or_else(|token| token.reason().to_owned(), |()| "done".into()));
        sleep(secs(1)).await;
        said.say("the rest");
        Ok(work?)
    });

    task.cancel_with("please");
    assert_eq!(play.turn(), ["cleaning up"]);
    task.cancel_with("now");
    assert_eq!(play.run(), ["now", "the rest"]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.executor.now().as_nanos(), 1_000_000_000);
    drop(task);
    play.close();
}

// promise 4.5
#[test]
fn a_further_request_goes_to_the_scope_around_if_the_clean_up_has_none() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let outer = scope(async {
            let _inner = scope(pending::<()>()).await;
            said.say("inner told");
            sleep(secs(60)).await;
            said.say("never");
        });
        let outer = outer.await;
        said.say("outer told");
        sleep(secs(1)).await;
        said.say("and cleaned up");
        Ok(outer?)
    });

    task.cancel();
    assert_eq!(play.turn(), ["inner told"]);
    task.cancel();
    assert_eq!(play.run(), ["outer told", "and cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.5
#[test]
fn a_further_request_drops_the_root_if_no_scope_is_active() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        let _dropped = said.finally("clean-up dropped");
        sleep(secs(60)).await;
        said.say("never");
        Ok(work?)
    });

    task.cancel_with("please");
    assert!(play.turn().is_empty());
    task.cancel_with("now");
    assert_eq!(play.run(), ["clean-up dropped"]);
    let Ok(Err(TaskError::Cancelled(token))) = task.take() else { panic!("it was cancelled") };
    assert_eq!(token.reason(), "now", "the one that ended it");
    drop((task, token));
    play.close();
}

// ---- Oneself --------------------------------------------------------------------------

// row 57; tests 14, 16
// promise 4.6
#[test]
fn a_request_to_oneself_takes_effect_at_the_next_suspension() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(async {
            assert!(current().cancel());
            said.say("goes on");
            yield_now().await;
            said.say("never");
        });
        let work = work.await;
        said.say("told");
        assert!(current().cancel());
        said.say("goes on again");
        let _dropped = said.finally("dropped");
        pending::<()>().await;
        Ok(work?)
    });

    assert_eq!(play.said.lines(), ["goes on", "told", "goes on again", "dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.6
#[test]
fn a_request_to_oneself_outlives_a_scope_that_does_not_suspend() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let first = scope(async {
            current().cancel();
            7
        });
        said.say(format!("first: {:?}", first.await.ok()));
        let second = scope(yield_now()).await;
        said.say("second told");
        Ok(second?)
    });

    assert_eq!(play.said.lines(), ["first: Some(7)", "second told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// row 58; test 15, thread 37
// promise 4.6
#[test]
fn a_value_after_a_request_to_oneself_is_dropped_and_the_task_is_cancelled() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        current().cancel_with("changed my mind");
        Ok(said.finally("the value is dropped"))
    });

    assert_eq!(play.said.lines(), ["the value is dropped"]);
    let Ok(Err(TaskError::Cancelled(token))) = task.take() else { panic!("it was cancelled") };
    assert_eq!(token.reason(), "changed my mind");
    drop((task, token));
    play.close();
}

// row 58
// promise 4.6
#[test]
fn an_error_after_a_request_to_oneself_stands() {
    let play = Play::new();
    let task = play.start(|_| async move {
        current().cancel();
        Err::<(), _>(Spilled("tea").into())
    });

    assert!(!task.is_cancelled());
    assert!(task.error().unwrap().unwrap().is::<Spilled>());
    drop(task);
    play.close();
}

// ---- Taking it back -----------------------------------------------------------------

// row 68; test 4
// promise 4.10
#[test]
fn uncancel_withdraws_a_request_that_nobody_has_heard() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let work = scope(sleep(secs(1))).await;
        said.say(format!("told: {}", work.is_err()));
        let me = current();
        me.cancel();
        assert_eq!(me.uncancel(), 0);
        yield_now().await;
        Ok("value")
    });
    play.turn();

    task.cancel();
    assert_eq!(task.uncancel(), 0);
    assert_eq!(play.run(), ["told: false"]);
    assert_eq!(*task.result().unwrap(), "value");
    drop(task);
    play.close();
}

// row 68
// promise 4.10
#[test]
fn the_request_stands_until_all_are_taken_back() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        said.say("told");
        Ok(work?)
    });

    assert_eq!(task.uncancel(), 0, "it never goes below zero");
    task.cancel();
    task.cancel();
    assert_eq!((task.cancelling(), task.uncancel(), task.cancelling()), (2, 1, 1));
    assert_eq!(play.run(), ["told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// tests 2 and 3: a hand-made deadline, as asyncio's `timeout` is built.
// promise 4.10
#[test]
fn whoever_takes_back_what_was_heard_goes_on_and_can_be_cancelled_again() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let block = scope(async {
            current().cancel_with("my own");
            pending::<()>().await;
        });
        let token = block.await.unwrap_err();
        assert_eq!((token.reason(), current().cancelling()), ("my own", 1));
        token.accept();
        assert_eq!(current().uncancel(), 0);
        yield_now().await;
        said.say("goes on");
        let again = scope(pending::<()>()).await;
        said.say("told again");
        Ok(again?)
    });

    assert_eq!(play.said.lines(), ["goes on"]);
    task.cancel();
    assert_eq!(play.run(), ["told again"]);
    assert!(task.is_cancelled());
    assert_eq!(task.cancelling(), 1, "uncancel after the end would change nothing");
    task.uncancel();
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}
