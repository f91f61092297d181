//! Requests that are counted, taken back, and overtaken by others.

use std::future::pending;

use hearken::{Budget, Origin, OutcomeError, TaskError, finally, scope, shield, sleep};

use crate::common::cast::{naps, tidies};
use crate::common::{Play, secs};
use crate::{run, tell};

// agronholm/anyio 716: what a scope had asked of a task was not always counted
// away again. Here it is taken back one task further down.
// promise 4.8, 4.10
#[test]
fn a_request_that_was_passed_on_can_be_taken_back_further_down() {
    let play = Play::new();
    let child = play.spawn(|said| naps(said, "child", 3));
    let child_ref = child.task_ref();
    let parent = play.spawn(|said| async move {
        let name = child.await?;
        tell(&said, &format!("{name} awaited"));
        sleep(secs(60)).await;
        said.say("never");
        Ok(())
    });
    play.turn();
    parent.cancel();
    play.turn(); // passes it on
    assert_eq!((child_ref.cancelling(), child_ref.uncancel()), (1, 0));
    assert_eq!(run(&play), ["child done at 3", "child awaited at 3"]);
    assert!(parent.is_cancelled()); // nobody had taken back that one
    drop((parent, child_ref));
    play.close();
}

// python/cpython 98518: of two that count, the outer and the inner one, either may
// be told that all is forgiven while the other is on its way.
// promise 4.8, 4.10
#[test]
fn a_request_that_has_been_passed_on_cannot_be_taken_back_any_more() {
    let play = Play::new();
    let child = play.start(|said| tidies(said, "child", 2));
    let parent = play.start(|_| async move { Ok(child.await?) });
    parent.cancel();
    play.turn(); // passes it on
    assert_eq!(parent.uncancel(), 0);
    assert_eq!(run(&play), ["child tidied at 2"]);
    assert!(parent.is_cancelled());
    drop(parent);
    play.close();
}

// aio-libs-abandoned/async-timeout 362: what had been answered was still counted,
// and stood in the way of what came later.
// promise 4.10, 4.7
#[test]
fn of_two_requests_of_which_one_was_told_the_other_goes_with_the_last_count() {
    for taken_back in [1, 2] {
        let play = Play::new();
        let task = play.start(|said| async move {
            let told = scope(pending::<()>()).await;
            tell(&said, told.as_ref().unwrap_err().reason());
            shield(sleep(secs(2))).await;
            let again = scope(sleep(secs(1))).await;
            tell(&said, again.as_ref().err().map_or("quiet", |again| again.reason()));
            Ok(told?)
        });
        task.cancel_with("first");
        play.world.executor.turn(Budget::Batch);
        task.cancel_with("second"); // is held
        play.world.executor.turn(Budget::Batch);
        assert_eq!(task.cancelling(), 2);
        for _ in 0..taken_back {
            task.uncancel();
        }
        let after = if taken_back == 1 { "second at 2" } else { "quiet at 3" };
        assert_eq!(run(&play), ["first at 0", after]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// python-trio/trio 3256: who comes later wrote his reason over that of the first.
// promise 4.3, 4.9, 6.2
#[test]
fn of_several_kinds_of_request_before_the_next_poll_the_first_one_is_told() {
    for interrupted in [true, false] {
        let play = Play::new();
        let executor = &play.world.executor;
        let task = play.start(|said| {
            finally(pending::<anyhow::Result<()>>(), async move || {
                said.say("told");
                sleep(secs(1)).await; // a second one would end it here
                tell(&said, "tidied");
                Ok(())
            })
        });
        if interrupted {
            executor.interrupter().interrupt();
            play.turn(); // it is taken in
        }
        task.cancel_with("mine");
        if !interrupted {
            executor.request_shut_down("theirs");
        }
        assert_eq!(run(&play), ["told", "tidied at 1"]);
        let Err(OutcomeError::Ended(TaskError::Cancelled(why))) = task.error() else { panic!() };
        match interrupted {
            true => assert_eq!(why.origin(), Origin::Interrupt),
            false => assert_eq!((why.reason(), why.origin()), ("mine", Origin::Requested)),
        }
        drop(task);
        play.close();
    }
}
