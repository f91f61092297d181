//! An executor that is dropped: in every state, from everywhere, and what answers
//! after it.

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::foreign::{Foreign, Op};
use common::{
    Gate, OnDrop, Shelf, Spilled, Transcript, World, assert_balances, assert_settled, failing,
    poll_once, waiting,
};
use hearken::{
    Budget, Clock, Executor, Instant, ManualClock, Next, Origin, OutcomeError, ReportKind, Task,
    TaskCancelled, TaskError, TaskState, sleep,
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

thread_local! {
    /// An executor for [`drop_it`]: some of those who call that are `Send`.
    static INNER: RefCell<Option<Executor>> = const { RefCell::new(None) };
    /// Whether `on_wake` is to drop it.
    static ON_WAKE: Cell<bool> = const { Cell::new(false) };
}

fn drop_it() {
    let inner = INNER.take();
    drop(inner);
}

/// Drops it when it is dropped.
fn drops_it() -> OnDrop<fn()> {
    OnDrop(drop_it)
}

/// A clock that drops it when it is read, once it was told to.
#[derive(Clone, Default)]
struct Reaper(Rc<Cell<bool>>);

impl Clock for Reaper {
    fn now(&self) -> Instant {
        if self.0.take() {
            drop_it();
        }
        Instant::ZERO
    }

    fn until(&self, _: Instant) -> Option<Duration> {
        None // it stands still
    }
}

/// Has [`drop_it`] called by another executor, which calls it where that says.
type CalledIn = (&'static str, fn(&Executor, &Reaper));

const CALLED_IN: [CalledIn; 9] = [
    ("the clock", |outer, reaper| {
        reaper.0.set(true);
        outer.now();
    }),
    ("on_wake", |outer, _| {
        assert_eq!(outer.turn(Budget::Batch).next, Next::Empty);
        ON_WAKE.set(true);
        outer.interrupter().interrupt();
    }),
    ("what a spawner sends", |outer, _| {
        let work = || async {
            drop_it();
            Ok(())
        };
        outer.spawner().spawn_with(work).unwrap();
        outer.run_until_idle();
    }),
    ("the drop of what a spawner sent too late", |outer, _| {
        let guard = drops_it();
        let sent = move || {
            let _guard = guard;
            pending::<anyhow::Result<()>>()
        };
        outer.spawner().spawn_with(sent).unwrap();
        outer.shut_down();
    }),
    ("the clone of a foreign waker", |outer, _| awaited_by(Op::Clone, outer)),
    ("the wake of a foreign waker", |outer, _| awaited_by(Op::Wake, outer)),
    ("the drop of a foreign waker", |outer, _| awaited_by(Op::Drop, outer)),
    ("the drop of a handler", |outer, _| {
        let guard = drops_it();
        outer.set_handler(move |_| {
            let _guard = &guard;
            hearken::Verdict::Proceed
        });
        outer.set_handler(|_| hearken::Verdict::Proceed);
    }),
    ("the drop of a callback that is not called", |outer, _| {
        let guard = drops_it();
        let task = outer.spawn(pending::<anyhow::Result<()>>());
        let id = task.on_done(move |_| drop(guard));
        assert!(task.remove_on_done(id));
        task.detach();
    }),
];

/// Lets somebody else's runtime await a task.
fn awaited_by(op: Op, outer: &Executor) {
    let foreign = Foreign::that(op, drop_it);
    let mut task = outer.spawn(async { Ok(()) });
    let waker = foreign.waker();
    assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    outer.run_until_idle();
}

// promise 6.8, 8.3
#[test]
fn an_executor_can_be_dropped_by_whatever_else_another_one_calls() {
    for (place, call) in CALLED_IN {
        let (inner, said) = (World::new(), Transcript::new());
        inner.waiter(&said, "dropped").detach();
        inner.executor.run_until_idle();
        let (heard, reaper) = (inner.heard.clone(), Reaper::default());
        INNER.set(Some(inner.executor));
        let outer = Executor::builder()
            .clock(reaper.clone())
            .handler(|_| hearken::Verdict::Proceed)
            .on_wake(|| {
                if ON_WAKE.take() {
                    drop_it();
                }
            })
            .build();
        call(&outer, &reaper);
        assert_eq!(said.lines(), ["dropped"], "in {place}");
        assert_eq!(heard.kinds(), [ReportKind::DroppedPending, ReportKind::Cancelled], "{place}");
        outer.shut_down();
        assert_settled(&outer);
    }
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

// promise 6.8, 8.3, 10.7
#[test]
fn a_clock_that_panics_when_it_is_dropped_does_not_get_out_of_the_drop() {
    struct Bursts;
    impl hearken::Clock for Bursts {
        fn now(&self) -> hearken::Instant {
            hearken::Instant::ZERO
        }
    }
    impl Drop for Bursts {
        fn drop(&mut self) {
            panic!("the clock bursts");
        }
    }
    let executor = Executor::builder().clock(Bursts).build();
    let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(executor)));
    assert!(dropped.is_ok());
}

/// Has itself called again and again, and so is called no more at the end of all. What
/// it has with it spawns when it is dropped.
fn call_again(task: Rc<Task<()>>, _spawns: OnDrop<impl FnMut() + 'static>) {
    let next = task.clone();
    task.on_done(move |_| call_again(next, _spawns));
}

// promise 6.5, 6.8
#[test]
fn who_is_spawned_by_the_last_that_an_executor_drops_is_refused_too() {
    let (world, spawned, alive) = (World::new(), Shelf::new(), Rc::new(()));
    let task = Rc::new(world.executor.spawn(async { Ok(()) }));
    let (shelf, has) = (spawned.clone(), alive.clone());
    call_again(
        task,
        OnDrop(move || {
            let has = has.clone();
            shelf.put(hearken::spawn(async move {
                drop(has);
                Ok(())
            }));
        }),
    );
    world.executor.turn(Budget::Batch);
    drop(world);
    let spawned: Task<()> = spawned.take().expect("it was dropped");
    assert_eq!(origin(spawned), Origin::ShutDown);
    assert_eq!(Rc::strong_count(&alive), 1, "its future is gone");
}
