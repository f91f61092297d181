//! A panic anywhere in the user's code becomes an outcome or a report; and
//! whatever the user does wherever hearken calls him, the executor stays usable.

mod common;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use common::foreign::{Foreign, Op};
use common::{
    OnDrop, Shelf, World, assert_balances, assert_settled, failed, failing, hushed, waiting,
};
use hearken::{
    Budget, Clock, Executor, Instant, ManualClock, Report, ReportKind, Task, TaskError, Verdict,
    sleep, spawn,
};

/// The message of the panic by which a task ended.
#[track_caller]
fn panic_of<T: fmt::Debug>(mut task: Task<T>) -> String {
    match task.take() {
        Ok(Err(TaskError::Panicked(panicked))) => panicked.message().to_owned(),
        other => panic!("it panicked, and not {other:?}"),
    }
}

/// Runs until all wait, and prints no panic.
fn run(world: &World) {
    hushed(|| world.executor.run_until_idle());
    assert_balances(&world.executor);
}

/// The executor runs a task, and a second one that is spawned by it.
#[track_caller]
fn assert_usable(executor: &Executor) {
    let answer = executor.block_on(async {
        sleep(Duration::from_secs(1)).await;
        Ok(spawn(async { Ok(7) }).await?)
    });
    assert_eq!(answer.expect("it goes on"), 7);
    assert_balances(executor);
}

/// What panics when it is dropped.
fn bomb(message: &'static str) -> OnDrop<impl FnMut()> {
    OnDrop(move || panic!("{message}"))
}

// promise 10.7
#[test]
fn a_panic_in_a_poll_is_the_outcome() {
    let world = World::new();
    let task = world.executor.spawn(async {
        assert_eq!(1, 2, "poll");
        Ok(())
    });
    run(&world);
    assert!(panic_of(task).contains("poll"));
    assert_usable(&world.executor);
    assert!(world.close().notes().is_empty(), "it was retrieved");
}

// promise 10.7
#[test]
fn a_panic_in_a_poll_of_a_task_without_a_handle_is_reported() {
    let world = World::new();
    world.executor.spawn_infallible::<()>(async { panic!("poll") }).detach();
    run(&world);
    let notes = world.heard.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].kind, ReportKind::NeverRetrieved);
    assert_eq!(notes[0].error.as_deref(), Some("panicked: poll"));
    assert_usable(&world.executor);
    world.close();
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_a_local_on_completion_is_the_outcome() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let _bomb = bomb("local");
        Ok(())
    });
    run(&world);
    assert_eq!(panic_of(task), "local");
    assert_usable(&world.executor);
    world.close();
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_a_cancelled_future_is_the_outcome() {
    let world = World::new();
    let task = world.executor.spawn(waiting(|| panic!("future")));
    run(&world);
    task.cancel();
    run(&world);
    assert_eq!(panic_of(task), "future");
    assert_usable(&world.executor);
    world.close();
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_a_future_with_its_executor_is_reported() {
    let world = World::new();
    let task = world.executor.spawn(waiting(|| panic!("future")));
    let other = world.executor.spawn(pending::<anyhow::Result<()>>());
    run(&world);
    let World { executor, heard, .. } = world;
    hushed(|| drop(executor));
    let last = heard.notes().pop().expect("something is reported");
    assert_eq!((last.kind, last.task), (ReportKind::StillHeld, Some(task.id().number())));
    let error = last.error.expect("it has the panic");
    assert!(error.starts_with("panicked: future (while it was dropped, cancelled: "), "{error}");
    assert!(task.is_finished() && other.is_cancelled());
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_an_output_is_reported_if_hearken_drops_it() {
    let world = World::new();
    world.executor.spawn(async { Ok(bomb("output")) }).detach();
    run(&world);
    assert_panicked_in_drop(&world, "output");
    world.close();
}

#[track_caller]
fn assert_panicked_in_drop(world: &World, message: &str) {
    let notes = world.heard.notes();
    let error = format!("panicked: {message}");
    let found = notes
        .iter()
        .any(|note| note.kind == ReportKind::PanickedInDrop && note.error.as_ref() == Some(&error));
    assert!(found, "{notes:#?}");
    assert_usable(&world.executor);
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_an_output_with_its_handle_is_reported() {
    let world = World::new();
    let task = world.executor.spawn(async { Ok(bomb("output")) });
    run(&world);
    let escaped = hushed(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task))));
    assert!(escaped.is_ok(), "nothing escapes from the drop of a handle");
    run(&world);
    assert_panicked_in_drop(&world, "output");
    world.close();
}

/// An error that panics when it is dropped.
#[derive(Debug)]
struct Touchy;

impl fmt::Display for Touchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("touchy")
    }
}

impl std::error::Error for Touchy {}

impl Drop for Touchy {
    fn drop(&mut self) {
        panic!("error");
    }
}

// promise 10.7
#[test]
fn a_panic_in_the_drop_of_an_error_is_reported() {
    let world = World::new();
    world.executor.spawn(async { Err::<(), _>(Touchy.into()) }).detach();
    run(&world);
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 1);
    assert_panicked_in_drop(&world, "error");
    world.close();
}

// promise 10.7
#[test]
fn a_panic_in_a_done_callback_is_reported_and_the_next_one_runs() {
    let world = World::new();
    let task = world.executor.spawn(async { Ok(()) });
    let called = Rc::new(Cell::new(false));
    let seen = called.clone();
    task.on_done(|_| panic!("callback"));
    task.on_done(move |_| seen.set(true));
    run(&world);
    assert!(called.get());
    let notes = world.heard.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].kind, ReportKind::CallbackPanicked);
    assert_eq!(notes[0].error.as_deref(), Some("panicked: callback"));
    assert_usable(&world.executor);
    drop(task);
    world.close();
}

// promise 10.7
#[test]
fn a_panic_in_the_handler_escapes_nowhere_and_the_failure_is_counted() {
    let executor = common::executor(|report| match report.kind() {
        ReportKind::Cancelled => Verdict::Proceed,
        _ => panic!("handler"),
    });
    drop(failed_hushed(&executor));
    hushed(|| executor.run_until_idle());
    assert_eq!(executor.ledger().reported, 1);
    assert_usable(&executor);
    executor.shut_down();
    assert_settled(&executor);
}

fn failed_hushed(executor: &Executor) -> Task<()> {
    hushed(|| failed(executor))
}

// promise 10.7
#[test]
fn a_panic_in_on_wake_is_reported_and_reaches_nobody_who_wakes() {
    let heard = common::Heard::default();
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .handler(heard.handler())
        .on_wake(|| panic!("on_wake"))
        .build();
    executor.run_until_idle();
    let task = hushed(|| executor.spawn(async { Ok(1) }));
    executor.run_until_idle();
    assert_eq!(*task.result().expect("it succeeds"), 1);
    let spawner = executor.spawner();
    let thread = std::thread::spawn(move || hushed(|| spawner.spawn_with(async || Ok(()))).is_ok());
    assert!(thread.join().expect("nothing reaches the other thread"));
    hushed(|| executor.run_until_idle());
    let notes = heard.notes();
    assert!(
        notes.iter().any(|note| note.kind == ReportKind::CallbackPanicked
            && note.message == "the on_wake hook panicked"),
        "{notes:#?}"
    );
    hushed(|| assert_usable(&executor));
    drop(task);
    hushed(|| executor.shut_down());
    assert_settled(&executor);
}

/// A clock that panics while it is told to.
#[derive(Clone)]
struct Broken {
    clock: ManualClock,
    panics: Rc<Cell<bool>>,
}

impl Broken {
    fn check(&self) {
        assert!(!self.panics.get(), "clock");
    }
}

impl Clock for Broken {
    fn now(&self) -> Instant {
        self.check();
        self.clock.now()
    }

    fn jump_to(&self, deadline: Instant) -> bool {
        self.check();
        self.clock.jump_to(deadline)
    }

    fn until(&self, deadline: Instant) -> Option<Duration> {
        self.check();
        self.clock.until(deadline)
    }
}

// promise 10.7
#[test]
fn a_clock_that_panics_stands_still_and_is_reported() {
    let broken = Broken { clock: ManualClock::auto(), panics: Rc::default() };
    let heard = common::Heard::default();
    let executor = Executor::builder().clock(broken.clone()).handler(heard.handler()).build();
    let second = Duration::from_secs(1);
    let task = executor.spawn(async move {
        sleep(second).await;
        Ok(())
    });
    broken.panics.set(true);
    hushed(|| executor.run_until_idle());
    assert!(!task.is_finished());
    assert_eq!(hushed(|| executor.now()), Instant::ZERO);
    hushed(|| executor.run_until_idle());
    let notes = heard.notes();
    assert!(
        notes.iter().any(|note| note.error.as_deref() == Some("panicked: clock")),
        "{notes:#?}"
    );
    broken.panics.set(false);
    executor.run_until_idle();
    assert!(task.is_finished());
    assert_usable(&executor);
}

// promise 3.9, 10.7
#[test]
fn a_payload_that_panics_when_it_is_dropped_does_not_escape() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("payload");
        }
    }
    let world = World::new();
    world
        .executor
        .spawn(async {
            if true {
                std::panic::panic_any(Payload);
            }
            Ok(())
        })
        .detach();
    run(&world);
    assert_usable(&world.executor);
    hushed(|| world.close());
}

// ---- Every place × every action ---------------------------------------------------

/// What an action may reach.
struct Reach {
    executor: Rc<Executor>,
    /// Waits at the gate below.
    sibling: Shelf<Task<()>>,
    gate: common::Gate,
    /// A failed task that nobody has looked at.
    failed: Shelf<Task<()>>,
    other: Shelf<Executor>,
    acted: Cell<bool>,
}

type Action = fn(&Reach);

const ACTIONS: [(&str, Action); 14] = [
    ("spawn", |reach| reach.executor.spawn(failing()).detach()),
    ("wake a sibling", |reach| reach.gate.clone().open()),
    ("cancel a sibling", |reach| {
        reach.sibling.with(|sibling| sibling.cancel());
    }),
    ("drop the handle of a sibling", |reach| drop(reach.sibling.take())),
    ("drop the handle of a failed task", |reach| drop(reach.failed.take())),
    ("retrieve", |reach| {
        let mut failed = reach.failed.take().expect("it is there");
        assert!(matches!(failed.take(), Ok(Err(TaskError::Failed(_)))));
    }),
    ("dump", |reach| assert!(!reach.executor.dump().to_string().is_empty())),
    ("tasks", |reach| assert!(reach.executor.tasks().len() < 100)),
    ("ledger", |reach| assert!(reach.executor.ledger().spawned > 0)),
    ("ask for shutdown", |reach| reach.executor.request_shut_down("enough")),
    ("drop another executor", |reach| drop(reach.other.take())),
    ("shut another executor down", |reach| {
        if let Some(other) = reach.other.take() {
            other.shut_down();
            reach.other.put(other);
        }
    }),
    ("turn another executor", |reach| {
        reach.other.with(|other| other.turn(Budget::Batch));
    }),
    ("panic", |_| panic!("action")),
];

/// Arranges for `act` to be called in a certain place.
type Place = fn(&Reach, Rc<dyn Fn()>);

const PLACES: [(&str, Place); 16] = [
    ("a poll", |reach, act| {
        let poll = async move {
            act();
            Ok(())
        };
        reach.executor.spawn(poll).detach();
    }),
    ("the drop of a future that is through", |reach, act| {
        let local = OnDrop(move || act());
        let through = async move {
            let _local = local;
            Ok(())
        };
        reach.executor.spawn(through).detach();
    }),
    ("the drop of a cancelled future", |reach, act| {
        let task = reach.executor.spawn(waiting(move || act()));
        reach.executor.run_until_idle();
        task.cancel();
    }),
    ("the drop of a future that was never polled", |reach, act| {
        reach.executor.spawn(waiting(move || act())).cancel();
    }),
    ("the drop of an output by the loop", |reach, act| {
        reach.executor.spawn(async move { Ok(OnDrop(move || act())) }).detach();
    }),
    ("the drop of an output with its handle", |reach, act| {
        let task = reach.executor.spawn(async move { Ok(OnDrop(move || act())) });
        reach.executor.run_until_idle();
        drop(task);
    }),
    ("a done callback", |reach, act| {
        reach.executor.spawn(async { Ok(()) }).on_done(move |_| act());
    }),
    ("the handler", |reach, act| {
        reach.executor.set_handler(move |report| {
            if report.kind() == ReportKind::Library {
                act();
            }
            Verdict::Proceed
        });
        reach.executor.report(Report::new(anyhow::anyhow!("act")));
    }),
    ("the drop of an error", |reach, act| {
        ACT.set(Some(act));
        reach.executor.spawn(async { Err::<(), _>(Acting.into()) }).detach();
    }),
    ("a foreign waker", |reach, act| {
        ACT.set(Some(act));
        let mut task = reach.executor.spawn(async { Ok(()) });
        let waker = Waker::from(Arc::new(ForeignWaker));
        let poll = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        reach
            .executor
            .spawn(async move {
                sleep(Duration::from_secs(1)).await;
                drop(task);
                Ok(())
            })
            .detach();
    }),
    ("the drop of a foreign waker", |reach, act| {
        let foreign = Foreign::that(Op::Drop, move || act());
        let mut task = reach.executor.spawn(pending::<anyhow::Result<()>>());
        let waker = foreign.waker();
        let poll = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        foreign.quietly(|| drop(waker));
        drop(task);
        foreign.quieten();
    }),
    ("a closure from another thread", |reach, act| {
        ACT.set(Some(act));
        let spawner = reach.executor.spawner();
        let sends = move || {
            spawner.spawn_with(|| {
                take_act();
                std::future::ready(Ok(()))
            })
        };
        std::thread::spawn(sends).join().unwrap().unwrap();
    }),
    ("the drop of a callback that was removed", |reach, act| {
        let task = reach.executor.spawn(async { Ok(()) });
        let on_drop = OnDrop(move || act());
        let callback = task.on_done(move |_| drop(on_drop));
        assert!(task.remove_on_done(callback));
    }),
    ("the drop of a handler", |reach, act| {
        let on_drop = OnDrop(move || act());
        reach.executor.set_handler(move |_| {
            let _on_drop = &on_drop;
            Verdict::Proceed
        });
        reach.executor.set_handler(|_| Verdict::Proceed);
    }),
    ("the drop of a future that is refused", |reach, act| {
        let future = waiting(move || act());
        reach.other.with(|other| {
            other.shut_down();
            other.spawn(future).detach();
        });
    }),
    ("on_wake", |reach, act| {
        reach.executor.run_until_idle();
        ACT.set(Some(act));
        ON_WAKE.set(true);
        // It has been told that there is nothing to do, and is woken from outside.
        let gate = common::Gate::new();
        let passing = gate.clone();
        reach
            .executor
            .spawn(async move {
                passing.pass().await;
                Ok(())
            })
            .detach();
        reach.executor.run_until_idle();
        gate.open();
    }),
];

thread_local! {
    /// What [`Acting`] does: an error is `Send`, and cannot hold it.
    static ACT: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    /// Whether `on_wake` is to do it.
    static ON_WAKE: Cell<bool> = const { Cell::new(false) };
}

/// A waker, or what `on_wake` calls: both are `Send`, and act all the same.
struct ForeignWaker;

impl Wake for ForeignWaker {
    fn wake(self: Arc<Self>) {
        take_act();
    }
}

fn take_act() {
    if let Some(act) = ACT.take() {
        act();
    }
}

/// An error that does something when it is dropped.
#[derive(Debug)]
struct Acting;

impl fmt::Display for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("acting")
    }
}

impl std::error::Error for Acting {}

impl Drop for Acting {
    fn drop(&mut self) {
        take_act();
    }
}

fn reach() -> Reach {
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .handler(|_| Verdict::Proceed)
        .on_wake(|| {
            if ON_WAKE.take() {
                take_act()
            }
        })
        .build();
    let executor = Rc::new(executor);
    let other = common::executor(|_| Verdict::Proceed);
    other.spawn(pending::<anyhow::Result<()>>()).detach();
    other.spawn(failing()).detach();
    let gate = common::Gate::new();
    let sibling = executor.spawn({
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let (failed, shelf) = (failed(&executor), Shelf::new());
    let reach = Reach {
        executor,
        sibling: shelf,
        gate,
        failed: Shelf::new(),
        other: Shelf::new(),
        acted: Cell::new(false),
    };
    reach.sibling.put(sibling);
    reach.failed.put(failed);
    reach.other.put(other);
    reach
}

/// Does the action in the place, and looks at the executor afterwards.
fn act_in(place: Place, action: Action, asks_for_shutdown: bool) {
    let reach = Rc::new(reach());
    let inside = reach.clone();
    place(
        &reach,
        Rc::new(move || {
            // Once: a second panic while unwinding from the first is an abort
            // everywhere, and none of our business.
            if !inside.acted.replace(true) {
                action(&inside);
            }
        }),
    );
    reach.executor.run_until_idle();
    assert!(reach.acted.get(), "the action was taken");
    assert_balances(&reach.executor);
    if !asks_for_shutdown {
        assert_usable(&reach.executor);
    }
    drop((reach.sibling.take(), reach.failed.take(), reach.other.take()));
    reach.executor.run_until_idle();
    reach.executor.shut_down();
    assert_settled(&reach.executor);
    // Handler and callbacks hold it in a circle.
    reach.executor.set_handler(|_| Verdict::Proceed);
}

// promise 8.3, 10.7: one after the other, on one executor
#[test]
fn two_panics_wherever_they_are_leave_the_executor_usable() {
    let mut faults = Vec::new();
    for (first_in, first) in PLACES {
        for (second_in, second) in PLACES {
            let work = || {
                let reach = reach();
                first(&reach, Rc::new(|| panic!("first")));
                second(&reach, Rc::new(|| panic!("second")));
                reach.executor.run_until_idle();
                assert_usable(&reach.executor);
                drop((reach.sibling.take(), reach.failed.take(), reach.other.take()));
                reach.executor.shut_down();
                assert_settled(&reach.executor);
            };
            let done = hushed(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
            if let Err(payload) = done {
                let message = payload.downcast_ref::<String>().cloned();
                faults.push(format!("{first_in}, and {second_in}: {message:?}"));
            }
            ACT.set(None);
            ON_WAKE.set(false);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

// promise 8.3, 10.7
#[test]
fn whatever_is_done_wherever_the_executor_stays_usable_and_the_ledger_balances() {
    let mut faults = Vec::new();
    for (where_to, place) in PLACES {
        for (what, action) in ACTIONS {
            let work = || act_in(place, action, what == "ask for shutdown");
            let done = hushed(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
            if let Err(payload) = done {
                let message = payload.downcast_ref::<String>().cloned();
                let message = message.or(payload.downcast_ref::<&str>().map(ToString::to_string));
                faults.push(format!("{what} in {where_to}: {message:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
