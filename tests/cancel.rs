//! To cancel a task in which nobody catches it: what happens, and when.
//!
//! Scopes, shields and who else is cancelled are in `scopes.rs`.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use common::{
    Gate, OnDrop, Shelf, Spilled, Transcript, World, assert_balances, failing, hushed, waiting,
};
use hearken::{
    Budget, Cancelled, Next, Origin, Panicked, ReportKind, RunError, Task, TaskError, TaskState,
    current, sleep, spawn, yield_now,
};

/// How a task was cancelled.
fn token(task: &mut Task<()>) -> Cancelled {
    match task.take() {
        Ok(Err(TaskError::Cancelled(cancelled))) => cancelled,
        other => panic!("it was cancelled, and not {other:?}"),
    }
}

// ---- The request ----------------------------------------------------------------------

// promise 4.1
#[test]
fn to_cancel_a_task_that_has_ended_says_false_and_changes_nothing() {
    for how in 0..4 {
        let world = World::new();
        let task = world.executor.spawn(async move {
            match how {
                0 => Ok(()),
                1 => Err(Spilled("tea").into()),
                2 => panic!("oh"),
                _ => pending().await,
            }
        });
        hushed(|| world.executor.turn(Budget::Batch));
        if how == 3 {
            assert!(task.cancel_with("first"));
            world.executor.run_until_idle();
        }
        let (state, ledger) = (task.info().state(), world.executor.ledger());
        let cancelling = task.cancelling();
        assert!(!task.cancel() && !task.cancel_with("second") && !task.task_ref().cancel());
        assert_eq!(world.executor.turn(Budget::Batch).next, Next::Empty, "nothing is to be done");
        assert_eq!((task.info().state(), task.cancelling()), (state, cancelling));
        assert_eq!(world.executor.ledger(), ledger);
        drop(task);
        // Row 20 of asyncio's table: it silences the failure there.
        let heard = world.close();
        let reported = usize::from(how == 1 || how == 2);
        assert_eq!(heard.count(ReportKind::NeverRetrieved), reported, "{how}");
    }
}

// promise 4.1
#[test]
fn cancel_runs_no_code_of_the_task_inline() {
    let (world, said) = (World::new(), Transcript::new());
    let guard = said.finally("dropped");
    let task = world.executor.spawn(waiting(move || guard.say("its drop")));
    task.on_done({
        let said = said.clone();
        move |_| said.say("callback")
    });
    world.executor.run_until_idle();
    assert!(task.cancel() && task.cancel());
    assert!(said.lines().is_empty());
    assert!(!task.is_finished() && !task.is_cancelled());
    let turn = world.executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.next), (1, Next::Ready), "the drop counts one");
    assert_eq!(said.lines(), ["its drop", "dropped"]);
    assert!(task.is_cancelled());
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["callback"]);
    drop(task);
    assert_eq!(world.close().kinds(), [ReportKind::Cancelled]);
}

// promise 4.2
#[test]
fn the_future_is_dropped_at_the_tasks_next_place_in_the_queue() {
    let (world, said) = (World::new(), Transcript::new());
    let mut tasks = Vec::new();
    for name in ["first", "second", "third"] {
        let (says, guard) = (said.clone(), said.finally(format!("{name} dropped")));
        tasks.push(world.executor.spawn(async move {
            let _guard = guard;
            loop {
                says.say(name);
                yield_now().await;
            }
        }));
    }
    let _: &Vec<Task<()>> = &tasks;
    world.executor.turn(Budget::Batch);
    said.lines();
    tasks[1].cancel();
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["first", "second dropped", "third"], "where it stood already");
    drop(tasks);
    world.close();
}

// promise 4.2
#[test]
fn the_locals_are_dropped_as_they_would_be_at_a_return() {
    let (world, said) = (World::new(), Transcript::new());
    let says = said.clone();
    let task = world.executor.spawn(async move {
        let _first = says.finally("first");
        let _second = says.finally("second");
        async {
            let _inner = says.finally("inner");
            pending::<()>().await;
        }
        .await;
        Ok(())
    });
    world.executor.run_until_idle();
    task.cancel();
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["inner", "second", "first"]);
    drop(task);
    world.close();
}

// promise 4.2
#[test]
fn a_task_that_was_never_polled_never_will_be() {
    let (world, said) = (World::new(), Transcript::new());
    let (says, argument) = (said.clone(), said.finally("its argument is dropped"));
    let mut task = world.executor.spawn(async move {
        let _argument = argument;
        says.say("polled");
        Ok(())
    });
    task.cancel();
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["its argument is dropped"]);
    assert_eq!((task.info().polls(), token(&mut task).reason()), (0, "requested"));
    drop(task);
    world.close();
}

// promise 4.2, 7.6
#[test]
fn a_cancelled_sleeper_leaves_no_timer() {
    let world = World::new();
    let task = world.executor.spawn(async {
        sleep(Duration::from_secs(3600)).await;
        Ok(())
    });
    world.clock.set_auto_advance(false);
    world.executor.run_until_idle();
    assert!(world.executor.next_deadline().is_some());
    task.cancel();
    world.executor.run_until_idle();
    assert_eq!(world.executor.next_deadline(), None);
    drop(task);
    world.close();
}

// promise 4.2, 7.2
#[test]
fn a_wake_and_a_request_in_either_order_end_in_the_drop() {
    for cancel_first in [false, true] {
        let (world, gate) = (World::new(), Gate::new());
        let passage = gate.clone();
        let mut task = world.executor.spawn(async {
            passage.pass().await;
            Ok(())
        });
        world.executor.run_until_idle();
        if cancel_first {
            task.cancel();
        }
        gate.open();
        task.cancel();
        world.executor.run_until_idle();
        let _ = token(&mut task);
        assert_eq!(task.info().polls(), 1);
        drop(task);
        world.close();
    }
}

// ---- Whose and why -----------------------------------------------------------------------

// promise 4.3, 4.9, 3.2
#[test]
fn of_several_requests_the_first_reason_wins() {
    let world = World::new();
    let mut task = world.executor.spawn(pending::<anyhow::Result<()>>());
    let look = task.task_ref();
    assert!(look.cancel_with("first") && task.cancel_with(String::from("second")) && task.cancel());
    assert_eq!((task.cancelling(), look.cancelling()), (3, 3));
    world.executor.run_until_idle();
    let cancelled = token(&mut task);
    assert_eq!((cancelled.reason(), cancelled.origin()), ("first", Origin::Requested));
    assert_eq!(cancelled.to_string(), "cancelled: first");
    assert_eq!(cancelled.task(), task.id());
    drop(task);
    assert_eq!(world.close().notes()[0].message, "a task was cancelled: first");
}

// promise 4.9
#[test]
fn a_cancellation_says_where_it_was_asked_for() {
    let world = World::new();
    let [mut by_task, mut by_ref, mut by_drop] =
        [(); 3].map(|()| world.executor.spawn(pending::<anyhow::Result<()>>()));
    let first = line!() + 1;
    by_task.cancel();
    by_ref.task_ref().cancel_with("a reason");
    by_drop.task_ref().cancel();
    world.executor.run_until_idle();
    for (line, task) in (first..).zip([&mut by_task, &mut by_ref, &mut by_drop]) {
        let location: &Location<'_> = token(task).location().expect("somebody asked");
        assert_eq!((location.file(), location.line()), (file!(), line));
    }
    drop((by_task, by_ref, by_drop));
    world.close();
}

// promise 4.1, 4.2
#[test]
fn a_task_is_cancelled_from_wherever_its_ref_is() {
    let (world, said) = (World::new(), Transcript::new());
    let tasks: Vec<Task<()>> = (0..4)
        .map(|n| {
            let says = said.clone();
            world.executor.spawn(waiting(move || says.say(n.to_string())))
        })
        .collect();
    world.executor.run_until_idle();
    let [outside, task, drop_of, callback] = [0, 1, 2, 3].map(|n: usize| tasks[n].task_ref());
    outside.cancel_with("from outside");
    let other = world.executor.spawn(async move {
        task.cancel_with("from a task");
        Ok(OnDrop(move || {
            drop_of.cancel_with("from a drop");
        }))
    });
    other.on_done(move |_| {
        callback.cancel_with("from a callback");
    });
    other.detach();
    world.executor.run_until_idle();
    assert_eq!(said.lines().len(), 4);
    let reasons = tasks.into_iter().map(|mut task| token(&mut task).reason().to_owned());
    let expected = ["from outside", "from a task", "from a drop", "from a callback"];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    world.close();
}

// promise 4.1
#[test]
fn a_ref_knows_the_task_and_outlives_it() {
    let world = World::new();
    let task = world.executor.spawn(pending::<anyhow::Result<()>>()).named("tea");
    let look = task.task_ref();
    assert_eq!((look.id(), look.name(), look.state()), (task.id(), "tea".into(), TaskState::Ready));
    world.executor.run_until_idle();
    assert_eq!(look.clone().state(), TaskState::Waiting);
    look.cancel();
    assert_eq!((look.state(), look.is_finished()), (TaskState::Ready, false));
    drop(task);
    world.executor.run_until_idle();
    assert_eq!((look.state(), look.is_finished()), (TaskState::Cancelled, true));
    assert!(!look.cancel());
    let heard = world.close();
    assert_eq!(heard.kinds(), [ReportKind::Cancelled]);
    assert_eq!((look.name().as_str(), look.uncancel()), ("tea", 0), "it answers ever after");
}

// promise 4.1
#[test]
fn a_handle_that_cancels_when_it_is_dropped_does_so_and_else_is_a_handle() {
    let world = World::new();
    let awaited = world.executor.spawn(async { Ok(7) }).cancel_on_drop();
    let kept = world.executor.spawn(pending::<anyhow::Result<()>>()).cancel_on_drop().into_inner();
    let dropped = world.executor.spawn(pending::<anyhow::Result<()>>()).cancel_on_drop();
    assert_eq!(dropped.name(), "task-3");
    let look = dropped.task_ref();
    world.executor.run_until_idle();
    drop(dropped);
    assert_eq!(world.executor.block_on(async { Ok(awaited.await?) }).unwrap(), 7);
    assert_eq!(look.state(), TaskState::Cancelled);
    assert!(!kept.is_finished());
    let failed = world.executor.spawn(failing()).cancel_on_drop();
    world.executor.run_until_idle();
    drop(failed);
    drop(kept);
    world.executor.run_until_idle();
    let notes = world.heard.notes();
    let messages: Vec<_> = notes.iter().map(|note| note.message.as_str()).collect();
    let cancelled = "a task was cancelled: its handle was dropped";
    assert_eq!(messages, [cancelled, "failure was never retrieved"]);
    world.close();
}

// ---- Oneself -------------------------------------------------------------------------------

// promise 4.6
#[test]
fn a_task_that_cancels_itself_goes_on_to_its_next_suspension() {
    let (world, said) = (World::new(), Transcript::new());
    let says = said.clone();
    let mut task = world.executor.spawn(async move {
        let _guard = says.finally("dropped");
        assert!(current().cancel_with("enough"));
        says.say("goes on");
        async {}.await; // no suspension
        says.say("and on");
        yield_now().await;
        says.say("never");
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["goes on", "and on", "dropped"]);
    assert_eq!(token(&mut task).reason(), "enough");
    drop(task);
    world.close();
}

// promise 4.6
#[test]
fn what_a_task_returns_after_it_was_asked_counts_if_it_is_a_failure() {
    let (world, said) = (World::new(), Transcript::new());
    let value = said.finally("the value is dropped");
    let value = world.executor.spawn(async move {
        current().cancel();
        Ok(value)
    });
    let mut error = world.executor.spawn(async {
        current().cancel();
        Err::<(), _>(Spilled("tea").into())
    });
    let mut panics = world.executor.spawn(async {
        current().cancel();
        if current().cancelling() == 1 {
            panic!("oh");
        }
        Ok(())
    });
    hushed(|| world.executor.run_until_idle());
    assert!(value.is_cancelled());
    assert_eq!(said.lines(), ["the value is dropped"]);
    assert!(matches!(error.take(), Ok(Err(TaskError::Failed(_)))));
    assert!(matches!(panics.take(), Ok(Err(TaskError::Panicked(_)))));
    drop((value, error, panics));
    world.close();
}

// promise 4.6, 8.3
#[test]
fn a_value_that_takes_the_request_back_as_it_is_dropped_changes_nothing_any_more() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let me = current();
        me.cancel_with("enough");
        Ok(OnDrop(move || {
            me.uncancel();
        }))
    });
    world.executor.run_until_idle();
    assert!(task.is_cancelled());
    let Err(hearken::OutcomeError::Ended(TaskError::Cancelled(cancelled))) = task.result() else {
        panic!("it was cancelled")
    };
    assert_eq!(cancelled.reason(), "enough");
    drop(task);
    world.close();
}

// promise 4.6
#[test]
fn a_main_may_cancel_itself() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        current().cancel_with("enough");
        pending::<anyhow::Result<()>>().await
    });
    let Err(RunError::Cancelled(cancelled)) = answer else { panic!("{answer:?}") };
    assert_eq!(cancelled.reason(), "enough");
    world.close();
}

// ---- Taking it back ----------------------------------------------------------------------------

// promise 4.10
#[test]
fn a_request_that_is_taken_back_in_time_has_no_effect() {
    let (world, gate) = (World::new(), Gate::new());
    let passage = gate.clone();
    let task = world.executor.spawn(async {
        passage.pass().await;
        Ok(7)
    });
    for before_first_poll in [true, false] {
        assert_eq!((task.cancelling(), task.uncancel()), (0, 0), "there is none");
        assert!(task.cancel() && task.cancel());
        assert_eq!((task.uncancel(), task.cancelling()), (1, 1));
        assert_eq!((task.task_ref().uncancel(), task.cancelling()), (0, 0));
        world.executor.run_until_idle();
        assert!(!task.is_finished(), "{before_first_poll}");
    }
    gate.open();
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&7));
    drop(task);
    assert!(world.close().notes().is_empty());
}

// promise 4.10
#[test]
fn a_request_of_several_that_is_not_taken_back_has_its_effect() {
    let world = World::new();
    let mut task = world.executor.spawn(pending::<anyhow::Result<()>>());
    task.cancel_with("first");
    task.cancel_with("second");
    assert_eq!(task.uncancel(), 1);
    world.executor.run_until_idle();
    assert_eq!(token(&mut task).reason(), "first");
    drop(task);
    world.close();
}

// promise 4.10
#[test]
fn a_task_that_takes_its_own_request_back_goes_on() {
    let world = World::new();
    let task = world.executor.spawn(async {
        current().cancel();
        assert_eq!(current().uncancel(), 0);
        yield_now().await;
        Ok(7)
    });
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&7));
    // And once more, with a new request.
    let mut task = world.executor.spawn(async {
        current().cancel();
        current().uncancel();
        yield_now().await;
        current().cancel_with("again");
        pending().await
    });
    world.executor.run_until_idle();
    assert_eq!(token(&mut task).reason(), "again");
    drop(task);
    world.close();
}

// promise 4.10
#[test]
fn to_take_a_request_back_after_the_end_changes_nothing() {
    let world = World::new();
    let task = world.executor.spawn(pending::<anyhow::Result<()>>());
    task.cancel();
    world.executor.run_until_idle();
    task.uncancel();
    world.executor.run_until_idle();
    assert!(task.is_cancelled() && task.result().is_err());
    drop(task);
    world.close();
}

// ---- Drops ----------------------------------------------------------------------------------

// promise 4.12, 4.1, 10.7
#[test]
fn a_panic_in_the_drop_is_the_outcome_and_tells_of_the_cancellation() {
    let world = World::new();
    let mut task = world.executor.spawn(waiting(|| panic!("oh")));
    let other = world.executor.spawn(async {
        yield_now().await;
        yield_now().await;
        Ok(7)
    });
    world.executor.turn(Budget::Batch);
    task.cancel_with("late");
    hushed(|| world.executor.run_until_idle());
    assert_eq!(other.result().ok(), Some(&7), "the loop goes on");
    assert!(task.is_finished() && !task.is_cancelled());
    let error = task.error().unwrap().unwrap();
    assert_eq!(error.to_string(), "panicked: oh (while it was dropped, cancelled: late)");
    let panicked = error.downcast_ref::<Panicked>().unwrap();
    assert_eq!(panicked.cancelled().unwrap().reason(), "late");
    assert!(matches!(task.take(), Ok(Err(TaskError::Panicked(_)))));
    drop((task, other));
    assert!(world.close().notes().is_empty(), "it was retrieved, and is no cancellation");
}

// promise 4.1, 4.2, 8.3
#[test]
fn the_drop_of_a_cancelled_future_may_do_anything() {
    let (world, said, ends) = (World::new(), Transcript::new(), Rc::new(Cell::new(0)));
    let shelf = Shelf::<Task<()>>::new();
    let (mine, says, ended) = (shelf.clone(), said.clone(), ends.clone());
    let other = world.executor.spawn(pending::<anyhow::Result<()>>());
    let prey = other.task_ref();
    let held = world.executor.spawn(failing());
    let held = Cell::new(Some(held));
    let task = world.executor.spawn(waiting(move || {
        ended.set(ended.get() + 1);
        assert!(current().cancel(), "it has not ended yet");
        current().uncancel();
        assert_eq!(current().state(), TaskState::Running);
        prey.cancel_with("from a drop");
        drop(held.take());
        drop(mine.take()); // its own handle
        let says = says.clone();
        spawn(async move {
            says.say("a child of the drop");
            Ok(())
        })
        .detach();
    }));
    let look = task.task_ref();
    shelf.put(task);
    world.executor.run_until_idle();
    look.cancel_with("late");
    world.executor.run_until_idle();
    assert_eq!(ends.get(), 1);
    assert_eq!(look.state(), TaskState::Cancelled);
    assert_eq!(said.lines(), ["a child of the drop"]);
    assert!(other.is_cancelled());
    assert_balances(&world.executor);
    drop(other);
    let heard = world.close();
    assert_eq!(heard.count(ReportKind::Cancelled), 2);
    assert_eq!(heard.count(ReportKind::NeverRetrieved), 1);
}
