//! What a scope is given when its task is asked to cancel: a token that says
//! who wished it and why, and that is returned, rethrown or accepted.

mod common;

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Context as _;
use common::{Play, Shelf, hushed, poll_once, secs};
use hearken::{
    Cancelled, Origin, ReportKind, TaskCancelled, TaskError, current, scope, settle, sleep, spawn,
    yield_now,
};

// ---- What it says --------------------------------------------------------------------

// row 69, thread 40
// promise 4.9
#[test]
fn a_token_says_why_who_where_and_which_task() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let task = play.start(|_| {
        let shelf = shelf.clone();
        async move {
            let token = scope(pending::<()>()).await.unwrap_err();
            shelf.put((token.reason().to_owned(), token.origin(), token.location(), token.task()));
            Err::<(), _>(token.into())
        }
    });

    task.cancel_with("closing time");
    let line = line!() - 1;
    play.run();
    let (reason, origin, location, of) = shelf.take().unwrap();
    assert_eq!((reason.as_str(), origin, of), ("closing time", Origin::Requested, task.id()));
    let location = location.unwrap();
    assert_eq!((location.file(), location.line()), (file!(), line));
    drop(task);
    play.close();
}

// row 69: asyncio loses the message on the way through gather.
// promise 3.2
#[test]
fn the_reason_is_the_same_for_every_accessor_and_through_settle() {
    let play = Play::new();
    let task = play.start(|_| async move { Ok(scope(pending::<()>()).await?) });
    task.cancel_with("closing time");
    play.run();

    assert_eq!(task.result().unwrap_err().to_string(), "cancelled: closing time");
    assert_eq!(task.error().unwrap_err().to_string(), "cancelled: closing time");
    let mut settled = play.start(|_| async move { Ok(settle([task]).await) });
    let outcomes = settled.take().unwrap().unwrap();
    let [Err(TaskError::Cancelled(token))] = outcomes.as_slice() else {
        panic!("it was cancelled")
    };
    assert_eq!(token.reason(), "closing time");
    drop((settled, outcomes));
    play.close();
}

// ---- Returned ------------------------------------------------------------------------

// row 65
// promise 3.3
#[test]
fn a_token_that_is_returned_later_and_with_context_ends_the_task_as_cancelled() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        said.say(format!("others may have a go: {:?}", scope(sleep(secs(9))).await.is_ok()));
        work.context("serving").context("in the shop")
    });

    task.cancel_with("closing time");
    assert_eq!(play.run(), ["others may have a go: true"]);
    let Ok(Err(TaskError::Cancelled(token))) = task.take() else { panic!("it was cancelled") };
    assert_eq!(token.reason(), "closing time");
    drop((task, token));
    play.close();
}

#[derive(Debug)]
struct CausedBy(Cancelled);

impl fmt::Display for CausedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tea went cold")
    }
}

impl Error for CausedBy {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

// row 64; test 7
// promise 3.3
#[test]
fn an_error_that_a_cancellation_has_caused_is_a_failure() {
    let play = Play::new();
    let task = play.start(|_| async move {
        scope(pending::<()>()).await.map_err(|token| CausedBy(token).into())
    });

    task.cancel_with("closing time");
    play.run();
    assert!(!task.is_cancelled());
    let error = task.error().unwrap().unwrap();
    assert_eq!(format!("{error:#}"), "the tea went cold: cancelled: closing time");
    drop(task);
    play.close();
}

// row 67
// promise 3.3
#[test]
fn a_token_of_another_task_does_not_end_this_one_as_cancelled() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let other = play.start(|_| {
        let shelf = shelf.clone();
        async move {
            shelf.put(scope(pending::<()>()).await.unwrap_err());
            Ok(())
        }
    });
    other.cancel_with("closing time");
    play.run();
    let token = shelf.take().unwrap();

    let task = play.start(|_| async move { Err::<(), _>(token.into()) });
    assert!(!task.is_cancelled());
    let error = task.error().unwrap().unwrap();
    let told = error.downcast_ref::<TaskCancelled>().unwrap();
    assert_eq!((told.task(), told.reason()), (other.id(), "closing time"));
    drop((task, other));
    play.close();
}

// ---- Rethrown ------------------------------------------------------------------------

/// Has no room for an error: it rethrows.
async fn wait_for_ever() -> u32 {
    match scope(pending::<u32>()).await {
        Ok(number) => number,
        Err(token) => {
            sleep(secs(1)).await;
            token.rethrow().await
        }
    }
}

// promise 4.3
#[test]
fn rethrow_goes_to_the_next_scope_around() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let outer = scope(async {
            let _dropped = said.finally("what is inside is dropped");
            wait_for_ever().await
        });
        let outer = outer.await;
        said.say(format!("told: {}", outer.as_ref().unwrap_err().reason()));
        sleep(secs(1)).await;
        said.say("cleaned up");
        Ok(outer?)
    });

    task.cancel_with("enough");
    assert_eq!(play.run(), ["what is inside is dropped", "told: enough", "cleaned up"]);
    assert!(task.is_cancelled());
    assert_eq!(task.cancelling(), 1, "it is still the same request");
    drop(task);
    play.close();
}

// promise 4.3
#[test]
fn rethrow_without_a_scope_around_ends_the_task() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        let _dropped = said.finally("dropped");
        said.say(format!("got {}", wait_for_ever().await));
        Ok(())
    });

    task.cancel_with("enough");
    assert_eq!(play.run(), ["dropped"]);
    let Ok(Err(TaskError::Cancelled(token))) = task.take() else { panic!("it was cancelled") };
    assert_eq!(token.reason(), "enough");
    drop((task, token));
    play.close();
}

// promise 4.3
#[test]
fn rethrow_climbs_one_scope_at_a_time() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let outermost = scope(async {
            let middle = scope(wait_for_ever()).await;
            said.say("middle told");
            middle.unwrap_err().rethrow().await
        });
        let outermost: Result<(), _> = outermost.await;
        said.say("outermost told");
        Ok(outermost?)
    });

    task.cancel();
    assert_eq!(play.run(), ["middle told", "outermost told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.3, 4.4
#[test]
fn rethrow_in_a_branch_takes_the_other_branches_with_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let both = scope(async {
            let _dropped = said.finally("both branches dropped");
            futures::join!(wait_for_ever(), pending::<()>())
        });
        let both = both.await;
        said.say("told");
        both?;
        Ok(())
    });

    task.cancel();
    assert_eq!(play.run(), ["both branches dropped", "told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 10.1
#[test]
fn rethrow_outside_of_a_turn_panics_and_names_itself() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let task = play.start(|_| {
        let shelf = shelf.clone();
        async move {
            shelf.put(scope(pending::<()>()).await.unwrap_err());
            Ok(())
        }
    });
    task.cancel();
    play.run();

    let mut rethrown = Box::pin(shelf.take().unwrap().rethrow());
    let panic = hushed(|| catch_unwind(AssertUnwindSafe(|| poll_once(&mut rethrown).is_ready())));
    let payload = panic.unwrap_err();
    let message = payload.downcast_ref::<String>().map_or("", |message| message);
    assert!(message.contains("rethrow"), "{message:?}");
    drop((rethrown, task));
    play.close();
}

// ---- Accepted, or ignored ---------------------------------------------------------------

fn debugging() -> Play {
    Play::with(|builder| builder.debug(true))
}

// row 63, pitfall 9, thread 12
// promise 3.11
#[test]
fn a_task_that_ignores_a_request_is_reported_in_debug_mode() {
    let play = debugging();
    let task = play.start(|_| async move {
        let _ = scope(pending::<()>()).await; // how easily it is swallowed
        Ok("value")
    });

    task.cancel();
    play.run();
    assert_eq!(*task.result().unwrap(), "value", "it succeeded all the same");
    assert_eq!(task.cancelling(), 1);
    let notes = play.world.heard.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0].kind, ReportKind::IgnoredCancellation);
    assert_eq!(notes[0].task, Some(task.id().number()));
    drop(task);
    play.close();
}

// row 63
// promise 3.11
#[test]
fn outside_of_debug_mode_a_task_may_ignore_a_request() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let _ = scope(pending::<()>()).await;
        Ok(())
    });

    task.cancel();
    play.run();
    drop(task);
    assert!(play.close().kinds().is_empty());
}

// promise 3.11
#[test]
fn whoever_accepts_a_request_ignores_nothing() {
    let play = debugging();
    let task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        work.unwrap_err().accept();
        yield_now().await;
        said.say("goes on, and means to");
        Ok(())
    });

    task.cancel();
    assert_eq!(play.run(), ["goes on, and means to"]);
    assert!(!task.is_cancelled() && task.is_finished());
    drop(task);
    assert!(play.close().kinds().is_empty());
}

// promise 3.11
#[test]
fn to_accept_one_request_is_not_to_accept_the_next() {
    let play = debugging();
    let task = play.start(|_| async move {
        scope(pending::<()>()).await.unwrap_err().accept();
        let _ = scope(pending::<()>()).await;
        Ok(())
    });

    task.cancel();
    play.run();
    task.cancel();
    play.run();
    drop(task);
    assert_eq!(play.close().kinds(), [ReportKind::IgnoredCancellation]);
}

// promise 3.11, 4.10
#[test]
fn a_request_that_was_taken_back_was_not_ignored() {
    let play = debugging();
    let task = play.start(|_| async move {
        let _ = scope(pending::<()>()).await;
        current().uncancel();
        Ok(())
    });

    task.cancel();
    play.run();
    drop(task);
    assert!(play.close().kinds().is_empty());
}

// promise 3.11, 4.8
#[test]
fn a_request_that_a_child_swallowed_is_the_childs_to_answer_for() {
    let play = debugging();
    let parent = play.start(|_| async move {
        let child = spawn(async {
            let _ = scope(pending::<()>()).await;
            Ok(7)
        });
        let seven = child.await?;
        yield_now().await; // the request is armed again, and ends us here
        Ok(seven)
    });

    parent.cancel();
    play.run();
    assert!(parent.is_cancelled());
    let number = parent.id().number() + 1;
    let notes = play.world.heard.notes();
    let ignored: Vec<_> =
        notes.iter().filter(|note| note.kind == ReportKind::IgnoredCancellation).collect();
    assert_eq!(ignored.len(), 1, "{notes:?}");
    assert_eq!(ignored[0].task, Some(number));
    drop(parent);
    play.close();
}
