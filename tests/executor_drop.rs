//! An executor that is dropped: in every state, from everywhere, and what answers
//! after it.

mod common;

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{
    Gate, Shelf, Spilled, Transcript, World, assert_balances, assert_settled, failing, poll_once,
    waiting,
};
use hearken::{
    Budget, Executor, ManualClock, Origin, OutcomeError, ReportKind, Task, TaskCancelled,
    TaskError, TaskState, sleep,
};

const SECOND: Duration = Duration::from_secs(1);

// promise 6.8
#[test]
fn a_dropped_executor_drops_its_tasks_the_youngest_first_wherever_they_stand() {
    let (world, said) = (World::new(), Transcript::new());
    let waits = world.waiter(&said, "waits");
    world.executor.run_until_idle();
    let asked = world.waiter(&said, "asked");
    world.executor.run_until_idle();
    asked.cancel();
    let ready = world.waiter(&said, "never polled");
    let youngest = world.waiter(&said, "the youngest");
    drop(world.executor);
    assert_eq!(said.lines(), ["the youngest", "never polled", "asked", "waits"]);
    assert_eq!(origin(asked), Origin::Requested, "it was asked before");
    for task in [waits, ready, youngest] {
        assert_eq!(origin(task), Origin::ShutDown);
    }
}

fn origin(mut task: Task<()>) -> Origin {
    match task.take() {
        Ok(Err(TaskError::Cancelled(cancelled))) => cancelled.origin(),
        other => panic!("it was cancelled, and not {other:?}"),
    }
}

/// Brings an executor into a state in which it is then dropped. Answers the
/// handles of those that have not ended.
type Prepare = fn(&World) -> Vec<Task<()>>;

const STATES: [(&str, Prepare); 12] = [
    ("fresh", |_| Vec::new()),
    ("ready", |world| vec![world.executor.spawn(async { Ok(()) })]),
    ("waiting", |world| {
        let task = world.executor.spawn(pending());
        world.executor.run_until_idle();
        vec![task]
    }),
    ("sleeping", |world| {
        world.clock.set_auto_advance(false);
        let task = world.executor.spawn(async {
            sleep(SECOND).await;
            Ok(())
        });
        world.executor.run_until_idle();
        vec![task]
    }),
    ("in the middle of a batch", |world| {
        let first = world.executor.spawn(pending());
        let second = world.executor.spawn(pending());
        world.executor.turn(Budget::Polls(1));
        vec![first, second]
    }),
    ("asked", |world| {
        let task = world.tidy(SECOND);
        task.cancel();
        vec![task]
    }),
    ("cleaning up", |world| {
        world.clock.set_auto_advance(false);
        let task = world.tidy(SECOND);
        task.cancel();
        world.executor.run_until_idle();
        assert!(!task.is_finished());
        vec![task]
    }),
    ("awaiting one another", |world| {
        let inner = world.executor.spawn(pending::<anyhow::Result<()>>());
        let outer = world.executor.spawn(async { Ok(inner.await?) });
        world.executor.run_until_idle();
        vec![outer]
    }),
    ("a report and a callback queued", |world| {
        let task = world.executor.spawn(async { Ok(()) });
        task.on_done(|_| ());
        let failed = world.executor.spawn(failing());
        world.executor.turn(Budget::Batch);
        drop((task, failed));
        Vec::new()
    }),
    ("asked for a shutdown", |world| {
        let task = world.tidy(SECOND);
        world.executor.request_shut_down("enough");
        vec![task]
    }),
    ("interrupted", |world| {
        world.clock.set_auto_advance(false);
        let task = world.tidy(SECOND);
        world.executor.interrupter().interrupt();
        world.executor.run_until_idle();
        vec![task]
    }),
    ("shut down", |world| {
        world.executor.shut_down();
        Vec::new()
    }),
];

// promise 6.8, 6.5, 3.8, 7.2
#[test]
fn an_executor_can_be_dropped_in_every_state_and_its_handles_answer_ever_after() {
    for (what, prepare) in STATES {
        let world = World::new();
        let wakers = Rc::new(RefCell::new(Vec::<Waker>::new()));
        let handles = prepare(&world);
        let keeps = wakers.clone();
        let witness = world.executor.spawn_infallible(std::future::poll_fn(move |cx| {
            keeps.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        }));
        world.executor.turn(Budget::Batch);
        let (spawner, interrupter) = (world.executor.spawner(), world.executor.interrupter());
        let handles: Vec<_> = handles.into_iter().filter(|task| !task.is_finished()).collect();
        assert_balances(&world.executor);
        let unfinished = world.executor.tasks().len();
        drop(world.executor);
        assert_eq!(world.heard.count(ReportKind::DroppedPending), unfinished, "{what}");
        for mut task in handles {
            let look = task.task_ref();
            assert_eq!(look.state(), TaskState::Cancelled, "{what}");
            assert!(task.is_finished() && task.is_cancelled(), "{what}");
            assert!(!task.cancel() && !look.cancel(), "{what}");
            let ended = task.result().unwrap_err();
            assert!(matches!(ended, OutcomeError::Ended(TaskError::Cancelled(_))), "{what}");
            task.on_done(|_| ());
            assert!(poll_once(&mut task).is_ready(), "{what}: nothing hangs");
            assert_eq!((look.name(), look.uncancel()), (task.name(), task.cancelling()));
        }
        drop(witness);
        wakers.take().into_iter().for_each(Waker::wake);
        interrupter.interrupt();
        assert!(spawner.spawn_with(|| async { Ok(()) }).is_err(), "{what}");
    }
}

// promise 6.8, 10.2
#[test]
fn who_awaits_a_task_of_an_executor_that_is_dropped_is_woken() {
    let (here, there) = (World::new(), World::new());
    let task = there.executor.spawn(pending::<anyhow::Result<()>>());
    there.executor.run_until_idle();
    let shelf = Shelf::new();
    shelf.put(there.executor);
    let waiter = here.executor.spawn(async { Ok(task.await?) });
    here.executor.run_until_idle();
    here.executor.spawn_infallible(async move { drop(shelf.take()) }).detach();
    here.executor.run_until_idle();
    let error = waiter.error().unwrap().unwrap();
    let cancelled = error.downcast_ref::<TaskCancelled>().expect("that is what became of it");
    assert_eq!((cancelled.task().number(), cancelled.origin()), (1, Origin::ShutDown));
    drop(waiter);
    here.close();
}

// promise 6.8, 8.3
#[test]
fn an_executor_can_be_dropped_in_the_poll_the_drop_and_the_handler_of_another() {
    let said = Transcript::new();
    let inner = |name: &str| {
        let world = World::new();
        world.waiter(&said, name).detach();
        world.executor.run_until_idle();
        world.executor
    };
    let in_handler = Shelf::new();
    in_handler.put(inner("in a handler"));
    let outer = Executor::builder()
        .clock(ManualClock::auto())
        .handler(move |_| {
            drop(in_handler.take());
            hearken::Verdict::Proceed
        })
        .build();
    let (in_poll, in_drop, in_callback) =
        (inner("in a poll"), inner("in a drop"), inner("in a callback"));
    let task = outer.spawn(async move {
        drop(in_poll);
        let _in_drop = in_drop;
        hearken::yield_now().await;
        Err::<(), _>(Spilled("tea").into())
    });
    task.on_done(move |_| drop(in_callback));
    drop(task);
    outer.run_until_idle();
    assert_eq!(said.lines(), ["in a poll", "in a drop", "in a callback", "in a handler"]);
    let still_there = outer.spawn(async { Ok(hearken::now()) });
    outer.run_until_idle();
    assert!(still_there.result().is_ok(), "the outer one is where it was");
    drop(still_there);
    outer.shut_down();
    assert_settled(&outer);
}

// promise 6.8, 7.2
#[test]
fn the_drop_of_an_executor_may_wake_and_be_woken() {
    let (world, gate, said) = (World::new(), Gate::new(), Transcript::new());
    let (passage, opens) = (gate.clone(), gate.clone());
    let waiter = world.executor.spawn(async {
        passage.pass().await;
        Ok(())
    });
    let says = said.finally("opened");
    let opener = world.executor.spawn(waiting(move || {
        opens.open();
        says.say("opens");
    }));
    world.executor.run_until_idle();
    drop(world.executor);
    assert_eq!(said.lines(), ["opens", "opened"]);
    assert!(waiter.is_cancelled() && opener.is_cancelled(), "a wake comes too late");
}
