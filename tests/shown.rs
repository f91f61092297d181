//! What is seen of things when they are printed, and what an error keeps when it
//! becomes another.
//!
//! To print something changes nothing: nobody is given a failure by it, and nothing is
//! taken, cancelled or moved.

mod common;

use std::future::pending;

use common::{Spilled, World, failing, hushed, secs};
use hearken::{
    Cancelled, Executor, GroupError, Instant, Nested, Origin, OwnedByGroup, Panicked, Report,
    ReportKind, RunError, SpawnErrorKind, SystemClock, Task, TaskCancelled, TimeoutHandle,
    as_completed, interval, scope, sleep, spawn,
};

// promise 3.6
#[test]
fn a_failure_is_not_retrieved_by_what_prints_its_task() {
    let world = World::new();
    let task = world.executor.spawn(failing());
    let at_its_end = std::rc::Rc::new(std::cell::Cell::new(String::new()));
    let noted = at_its_end.clone();
    task.on_done(move |finished| noted.set(format!("{finished:?}")));
    let task_ref = task.task_ref();
    let before = format!("{task:?}");
    assert!(before.starts_with("Task(#1, spawned at tests/shown.rs:"), "{before}");
    assert!(before.ends_with(", Ready)"), "{before}");

    world.executor.run_until_idle();

    for (shown, what) in [
        (format!("{task:?}"), "Task("),
        (format!("{task_ref:?}"), "TaskRef("),
        (at_its_end.take(), "Finished("),
    ] {
        assert!(shown.starts_with(&format!("{what}#1, spawned at ")), "{shown}");
        assert!(shown.ends_with(", Failed)"), "{shown}");
    }
    assert_eq!(format!("{:?}", task.info().id()), "TaskId(#1)");
    assert_eq!(world.executor.ledger().held, 1, "nobody has asked for it");
    drop((task, task_ref));
    world.executor.run_until_idle();
    assert_eq!(world.heard.kinds(), [ReportKind::NeverRetrieved]);
    world.close();
}

/// The token of a task that somebody cancels, and what whoever awaits it is given.
fn cancelled(world: &World) -> (Cancelled, TaskCancelled) {
    let told = world.executor.spawn(async {
        match scope(pending::<()>()).await {
            Err(token) => Ok(token),
            Ok(()) => unreachable!("it waits for ever"),
        }
    });
    let dropped = world.executor.spawn(pending::<anyhow::Result<()>>());
    world.executor.run_until_idle();
    let (told_at, dropped_ref) = (told.task_ref(), dropped.task_ref());
    told_at.cancel_with("no longer needed");
    dropped_ref.cancel_with("nor this");
    let answer = world.executor.block_on(async {
        let error = dropped.await.expect_err("it was cancelled");
        let token = told.await?;
        Ok((token, anyhow::Error::from(error).downcast::<TaskCancelled>()?))
    });
    answer.expect("both have ended")
}

// promise 4.9
#[test]
fn a_token_says_who_asked_and_where_and_so_does_what_awaits_the_task() {
    let world = World::new();
    let (token, passed_on) = cancelled(&world);

    let shown = format!("{token:?}");
    assert!(shown.starts_with("Cancelled { task: TaskId(#1), reason: \"no longer needed\""));
    assert!(shown.contains("origin: Requested"), "{shown}");
    let place = token.location().expect("somebody asked");
    assert!(shown.contains(&place.to_string()), "{shown}");
    assert!(place.file().ends_with("tests/shown.rs"), "{place}");

    let shown = format!("{passed_on:?}");
    assert_eq!(shown, "TaskCancelled { task: TaskId(#2), reason: \"nor this\" }");
    assert_eq!(passed_on.origin(), Origin::Requested);
    let other_place = passed_on.location().expect("somebody asked");
    assert_eq!(other_place.line(), place.line() + 1, "each says its own line");
    world.close();
}

// promise 6.5
#[test]
fn whoever_reaches_an_executor_from_elsewhere_says_whether_it_is_open() {
    let executor = Executor::default();
    let (spawner, interrupter) = (executor.spawner(), executor.interrupter());
    assert_eq!(format!("{spawner:?}"), "Spawner { open: true }");
    assert_eq!(format!("{interrupter:?}"), "Interrupter { open: true }");

    executor.shut_down();

    assert_eq!(format!("{spawner:?}"), "Spawner { open: false }");
    assert_eq!(format!("{interrupter:?}"), "Interrupter { open: false }");
    let refused = spawner.spawn_with(|| async { Ok(()) }).expect_err("it is closed");
    assert_eq!(refused.to_string(), "the executor is shut down or gone");
}

// promise 6.5, 10.5
#[test]
fn a_refused_spawn_says_why_without_the_future() {
    let executor = Executor::builder().max_tasks(1).handler(|_: &Report| Default::default());
    let executor = executor.build();
    executor.spawn(pending::<anyhow::Result<()>>()).detach();
    let full = executor.try_spawn(failing()).expect_err("there is no room");
    assert_eq!(format!("{full:?}"), "SpawnError(Full)");
    assert_eq!(full.to_string(), "the executor has as many tasks as it may");
    executor.shut_down();
    let closed = executor.try_spawn(failing()).expect_err("it is closed");
    let error = anyhow::Error::from(closed);
    assert_eq!(error.downcast_ref(), Some(&SpawnErrorKind::Closed));
    assert_eq!(error.to_string(), "the executor is shut down");
}

// promise 7.4, 10.4
#[test]
fn what_waits_says_until_when() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        assert_eq!(format!("{:?}", sleep(secs(2))), "Sleep { deadline: Instant(2s), .. }");
        assert_eq!(interval(secs(3))?.period(), secs(3));
        let mut at = hearken::now();
        at += secs(1);
        let handle = TimeoutHandle::new(Some(at));
        let shown = format!("{handle:?}");
        assert_eq!(shown, "TimeoutHandle { deadline: Some(Instant(1s)), expired: false }");
        handle.reschedule(Some(at + std::time::Duration::MAX));
        let shown = format!("{handle:?}");
        assert_eq!(shown, "TimeoutHandle { deadline: Some(Instant(never)), expired: false }");
        Ok(())
    });
    assert!(answer.is_ok());
    let clock = SystemClock::default();
    let before = hearken::Clock::now(&clock);
    assert!(before >= Instant::ZERO && before < Instant::ZERO + secs(3600), "it begins now");
    world.close();
}

// promise 5.3, 5.4
#[test]
fn those_that_have_tasks_say_how_many() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        let mut ended = as_completed([spawn(async { Ok(1) }), spawn(async { Ok(2) })]);
        assert_eq!(format!("{ended:?}"), "AsCompleted { left: 2, .. }");
        drop(ended.next().await);
        assert_eq!(format!("{ended:?}"), "AsCompleted { left: 1, .. }");
        hearken::group(async |group| {
            let one = group.spawn(async { Ok(()) });
            assert_eq!(format!("{group:?}"), "Group { live: 1, .. }");
            one.await?;
            assert_eq!(format!("{group:?}"), "Group { live: 0, .. }");
            Ok(())
        })
        .await?;
        Ok(())
    });
    assert!(answer.is_ok());
    let shown = format!("{:?}", world.executor);
    assert!(shown.starts_with("Executor { ledger: Ledger {"), "{shown}");
    assert_eq!(format!("{:?}", Executor::builder()), "Builder { .. }");
    world.close();
}

// promise 6.7
#[test]
#[cfg(all(unix, feature = "signal"))]
fn whoever_listens_for_ctrl_c_says_whether_it_hears() {
    let executor = Executor::new();
    let listening = hearken::ctrl_c(&executor.interrupter()).expect("there is a pipe");
    let hears = listening.is_listening(); // not if a script has started us by `&`
    assert_eq!(format!("{listening:?}"), format!("Listening {{ is_listening: {hears} }}"));
}

// promise 5.4
#[test]
fn the_errors_of_a_group_can_be_taken_apart() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        let handles = std::rc::Rc::new(std::cell::RefCell::new(Vec::<Task<()>>::new()));
        let kept = handles.clone();
        let failed: Result<(), GroupError> = hearken::group(async |group| {
            kept.borrow_mut().push(group.spawn(failing()));
            pending().await
        })
        .await;
        let errors = failed.expect_err("a task of it fails").into_errors();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].downcast_ref::<Spilled>(), Some(&Spilled("tea")));
        let own = handles.take().remove(0).await.expect_err("it has failed");
        let own = anyhow::Error::from(own);
        assert!(own.is::<OwnedByGroup>(), "the group has the error");
        assert_eq!(own.to_string(), "the task failed, and its group has the error");
        Ok(())
    });
    assert!(answer.is_ok());
    world.close();
}

// ---- The errors of a program, as those of `main` ----------------------------------

/// Why this main ended without a value.
fn ended(main: impl Future<Output = anyhow::Result<()>>) -> RunError {
    hushed(|| Executor::new().block_on(main)).expect_err("it ends without a value")
}

// promise 3.4, 6.6
#[test]
fn the_error_of_a_program_keeps_its_type_as_that_of_a_function() {
    let error = anyhow::Error::from(ended(failing()));
    assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));

    let error = anyhow::Error::from(ended(async { panic!("oh") }));
    let panicked = error.downcast_ref::<Panicked>().expect("it panicked");
    assert_eq!(panicked.message(), "oh");
    assert_eq!(format!("{panicked:?}"), "Panicked(\"oh\")");

    let error = anyhow::Error::from(ended(async {
        hearken::current().cancel_with("enough");
        pending().await
    }));
    assert_eq!(error.downcast_ref::<TaskCancelled>().expect("it was cancelled").reason(), "enough");

    let nested = ended(async { Ok(hearken::run(failing())?) });
    let error = anyhow::Error::from(nested);
    let nested = error.downcast_ref::<Nested>().expect("it was called inside of another");
    assert!(nested.to_string().starts_with("run was called inside a program that runs already"));

    let boxed: Box<dyn std::error::Error> = ended(failing()).into();
    assert_eq!(boxed.to_string(), "pouring");
    let boxed: Box<dyn std::error::Error + Send + Sync> = ended(failing()).into();
    assert_eq!(boxed.to_string(), "pouring");
}

// promise 6.3
#[test]
fn an_interrupted_program_says_so_and_keeps_the_error_of_its_main() {
    let executor = Executor::builder().handler(|_: &Report| Default::default()).build();
    let interrupter = executor.interrupter();
    interrupter.interrupt();
    let answer = executor.block_on(async {
        if scope(pending::<()>()).await.is_err() {
            Err(Spilled("ink"))?;
        }
        Ok(())
    });
    let error = anyhow::Error::from(answer.expect_err("it was interrupted"));
    assert_eq!(error.to_string(), "interrupted");
    assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("ink")));

    interrupter.interrupt();
    let answer = executor.block_on(async {
        drop(scope(pending::<()>()).await);
        Ok(())
    });
    let error = anyhow::Error::from(answer.expect_err("it was interrupted"));
    assert_eq!(error.to_string(), "interrupted", "the main itself had no error");
}
