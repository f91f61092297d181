//! Those who wait for many, and what is no place to be cancelled at.

use std::future::pending;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use hearken::{
    Group, OutcomeError, Task, TaskError, TaskState, current, gather, group, scope, settle, shield,
    sleep, spawn, timeout, yield_now,
};

use crate::common::Play;
use crate::common::cast::{ending, fails, naps, seconds};
use crate::{cancel_at, run, tell};

// typelevel/cats-effect 1816: fibers that were cancelled before their first step
// never said so, and whoever raced them waited for ever.
// promise 5.1, 4.2
#[test]
fn tasks_that_were_cancelled_before_their_first_poll_are_not_waited_for() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let never = || async { unreachable!("it is never polled") };
        let tasks: [Task<&str>; 3] =
            [spawn(never()), spawn(naps(said.clone(), "b", 1)), spawn(never())];
        tasks[0].cancel_with("first");
        tasks[2].cancel_with("last");
        let endings = settle(tasks).await;
        said.say(endings.iter().map(ending).collect::<Vec<_>>().join(", "));
        Ok(())
    });
    assert_eq!(run(&play), ["b done at 1", "cancelled: first, b, cancelled: last"]);
    drop(task);
    play.close();
}

// python/cpython 81884: to cancel a gather that had handed on a failure did, or
// did not, cancel those that were left.
// promise 5.1
#[test]
fn a_request_after_a_gather_has_failed_leaves_those_alone_that_run_on() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let left = spawn(naps(said.clone(), "left", 5));
        let left_ref = left.task_ref();
        let failed = gather([left, spawn(fails(said.clone(), "tea", 1))]).await;
        assert!(matches!(failed, Err(TaskError::Failed(_))));
        let told = scope(sleep(seconds(60))).await;
        tell(&said, "told");
        assert_eq!((left_ref.cancelling(), left_ref.is_finished()), (0, false));
        Ok(told?)
    });
    cancel_at(&play, &task, 2);
    assert_eq!(run(&play), ["tea failed at 1", "told at 2", "left done at 5"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// python-trio/trio 1696, agronholm/anyio 1069: the end of an empty nursery was a
// place to be cancelled at.
// promise 4.6, 5.1
#[test]
fn what_does_not_suspend_is_no_place_to_be_cancelled_at() {
    type Ready = fn(Task<()>) -> LocalBoxFuture<'static, ()>;
    let all: [(&str, Ready); 8] = [
        ("a finished task", |done| done.map(|outcome| outcome.unwrap()).boxed_local()),
        ("gather", |done| gather([done]).map(|outcome| drop(outcome.unwrap())).boxed_local()),
        ("gather of none", |_| gather(Vec::<Task<()>>::new()).map(drop).boxed_local()),
        ("settle", |done| settle([done]).map(drop).boxed_local()),
        ("an empty group", |_| {
            group(async |_: Group| Ok(())).map(|outcome| outcome.unwrap()).boxed_local()
        }),
        ("a deadline", |_| {
            timeout(seconds(0), async {}).map(|in_time| in_time.unwrap()).boxed_local()
        }),
        ("a shield", |_| shield(async {}).boxed_local()),
        ("a scope", |_| scope(async {}).map(|told| told.unwrap()).boxed_local()),
    ];
    for (name, ready) in all {
        let play = Play::new();
        let done = play.start(|_| async { Ok(()) });
        let task = play.spawn(|said| async move {
            current().cancel();
            ready(done).await;
            said.say("past it");
            yield_now().await;
            said.say("never");
            Ok(())
        });
        assert_eq!(run(&play), ["past it"], "{name}");
        assert!(task.is_cancelled(), "{name}");
        drop(task);
        play.close();
    }
}

// python/cpython 112534: the reason of a request was lost on its way through a
// gather.
// promise 4.9, 4.8, 5.1
#[test]
fn a_reason_goes_all_the_way_down_and_comes_back() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let far = {
            let said = said.clone();
            spawn(async move {
                let told = scope(pending::<()>()).await;
                tell(&said, told.as_ref().unwrap_err().reason());
                Ok(told?)
            })
        };
        let far_ref = far.task_ref();
        let near = spawn(async move {
            timeout(seconds(9), gather([far])).await??;
            Ok(())
        });
        let told = scope(settle([near])).await;
        assert_eq!(far_ref.state(), TaskState::Cancelled);
        tell(&said, told.as_ref().unwrap_err().reason());
        told?;
        Ok(())
    });
    cancel_at(&play, &task, 1);
    assert_eq!(run(&play), ["enough at 1", "enough at 1"]);
    let Err(OutcomeError::Ended(TaskError::Cancelled(cancelled))) = task.error() else { panic!() };
    assert_eq!(cancelled.reason(), "enough");
    drop(task);
    play.close();
}
