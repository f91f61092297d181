//! Every public call after the end: `shut_down` has returned, or the executor is
//! gone. Each answers, and nothing hangs.
//!
//! The table is the one of `docs/shutdown.md`, row by row, and a test compares the
//! names of the rows.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{Heard, Spilled, Transcript, World, assert_balances, hushed, poll_once};
use futures::task::{LocalSpawnExt, SpawnExt};
use hearken::{
    Budget, Executor, Instant, Interrupter, ManualClock, Next, Origin, OutcomeError, Report,
    ReportKind, RunError, Shutdown, SpawnErrorKind, Spawner, Task, TaskError, TaskState, Verdict,
};

/// What is left of a program.
struct After {
    clock: ManualClock,
    heard: Heard,
    said: Transcript,
    spawner: Spawner,
    interrupter: Interrupter,
    value: Task<u32>,
    /// Its failure was reported while it was held.
    failed: Task<()>,
    cancelled: Task<()>,
    waker: Waker,
}

/// An executor that has had tasks, and is shut down.
fn shut_down() -> (Executor, After) {
    let World { executor, clock, heard } = World::new();
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let keeps = wakers.clone();
    let value = executor.spawn(async { Ok(7) });
    let failed = executor.spawn(async { Err(Spilled("tea").into()) });
    let cancelled = executor.spawn(async move {
        std::future::poll_fn(|cx| {
            keeps.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        })
        .await;
        Ok(())
    });
    executor.run_until_idle();
    assert_eq!(executor.shut_down().still_held, 1);
    assert_eq!(heard.kinds(), [ReportKind::Cancelled, ReportKind::StillHeld]);
    let after = After {
        clock,
        heard,
        said: Transcript::new(),
        spawner: executor.spawner(),
        interrupter: executor.interrupter(),
        value,
        failed,
        cancelled,
        waker: wakers.take().pop().expect("it was polled"),
    };
    (executor, after)
}

/// A future that says when it is dropped.
fn guarded(said: &Transcript) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let guard = said.finally("dropped");
    async move {
        let _guard = guard;
        Ok(())
    }
}

fn was_refused<T>(task: Task<T>, said: &Transcript) {
    assert_eq!(said.lines(), ["dropped"], "at once");
    let ended = task.result().err().expect("it has no value");
    let OutcomeError::Ended(TaskError::Cancelled(cancelled)) = ended else { panic!("{ended}") };
    assert_eq!(cancelled.origin(), Origin::ShutDown);
}

type Call = fn(&Executor, After);

/// What needs an executor.
const CALLS: [(&str, Call); 14] = [
    ("`Executor::spawn`, `spawn_infallible`", |executor, after| {
        was_refused(executor.spawn(guarded(&after.said)), &after.said);
        let said = Transcript::new();
        was_refused(executor.spawn_infallible(guarded(&said)), &said);
    }),
    ("`Executor::try_spawn`", |executor, after| {
        let refused = executor.try_spawn(guarded(&after.said)).unwrap_err();
        assert_eq!((refused.kind(), after.said.lines().len()), (SpawnErrorKind::Closed, 0));
        drop(refused.into_future());
        assert_eq!(after.said.lines(), ["dropped"]);
    }),
    ("`LocalSpawn`, and `Spawn` of a `Spawner`", |executor, after| {
        assert!(executor.spawn_local(async {}).unwrap_err().is_shutdown());
        assert!(after.spawner.spawn(async {}).unwrap_err().is_shutdown());
    }),
    ("`block_on`", |executor, after| {
        let answer = executor.block_on(guarded(&after.said));
        let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
        assert_eq!((report.kind(), after.said.lines().len()), (ReportKind::Refused, 1));
    }),
    ("`shut_down`", |executor, _| assert_eq!(executor.shut_down(), Shutdown::default())),
    ("`request_shut_down`", |executor, after| {
        executor.request_shut_down("again");
        executor.run_until_idle();
        assert_eq!(after.heard.kinds(), []);
    }),
    ("`turn`, `run_until_idle`", |executor, after| {
        for turn in [executor.turn(Budget::Batch), executor.run_until_idle()] {
            assert_eq!((turn.polled, turn.next, turn.jumped), (0, Next::Empty, None));
        }
        drop(after);
    }),
    ("`now`", |executor, after| {
        after.clock.advance(Duration::from_nanos(7));
        assert_eq!(executor.now(), Instant::ZERO + Duration::from_nanos(7));
    }),
    ("`next_deadline`, `tasks`, `dump`", |executor, _| {
        assert_eq!((executor.next_deadline(), executor.tasks().len()), (None, 0));
        assert!(!executor.dump().to_string().contains("task #"), "{}", executor.dump());
    }),
    ("`report`", |executor, after| {
        executor.report(Report::new(Spilled("milk")));
        assert_eq!(after.heard.kinds(), []);
        executor.turn(Budget::Polls(0));
        assert_eq!(after.heard.kinds(), [ReportKind::Library]);
    }),
    ("`set_handler`", |executor, after| {
        let says = after.said.clone();
        executor.set_handler(move |report| {
            says.say(report.message());
            Verdict::ShutDown // which it is already
        });
        executor.report(Report::new(Spilled("milk")));
        executor.run_until_idle();
        assert_eq!(after.said.lines().len(), 1);
    }),
    ("`ledger`", |executor, _| {
        let ledger = executor.ledger();
        assert_eq!((ledger.spawned, ledger.live, ledger.held), (3, 0, 0));
        assert_eq!((ledger.succeeded, ledger.reported, ledger.cancelled), (1, 1, 1));
    }),
    ("`interrupter`, `spawner`", |executor, _| {
        executor.interrupter().interrupt();
        assert!(executor.spawner().spawn_with(|| async { Ok(()) }).is_err());
    }),
    ("the free functions (`spawn`, `sleep` …)", |executor, after| {
        let outside = catch_unwind(AssertUnwindSafe(|| {
            hushed(|| hearken::spawn(pending::<anyhow::Result<()>>()))
        }));
        assert!(outside.is_err(), "there is no turn");
        let says = after.said.clone();
        after.value.on_done(move |_| {
            let task = hearken::spawn(async { Ok(()) });
            says.say(format!(
                "refused: {}, at {:?}",
                task.is_cancelled(),
                hearken::now().as_nanos()
            ));
        });
        executor.run_until_idle();
        assert_eq!(after.said.lines(), ["refused: true, at 0"]);
    }),
];

type CallAlone = fn(After);

/// What does not, and answers in the same way when it is gone.
const CALLS_ALONE: [(&str, CallAlone); 8] = [
    ("`Spawner::spawn_with`", |after| {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let refused = after.spawner.spawn_with(move || async move {
            let _sender = sender;
            Ok(())
        });
        assert!(refused.is_err());
        assert!(
            receiver.try_recv().is_err_and(|e| e == std::sync::mpsc::TryRecvError::Disconnected)
        );
    }),
    ("`Interrupter::interrupt`", |after| {
        after.interrupter.interrupt();
        assert_eq!(after.heard.kinds(), []);
    }),
    ("`Task::result`, `error`, `take`, `await`", |mut after| {
        assert!(matches!((after.value.result(), after.value.error()), (Ok(7), Ok(None))));
        assert!(after.failed.error().unwrap().is_some_and(|error| error.is::<Spilled>()));
        assert!(matches!(after.failed.take(), Ok(Err(TaskError::Failed(_)))));
        assert!(matches!(poll_once(&mut after.value), Poll::Ready(Ok(7))));
        assert!(matches!(
            poll_once(&mut after.cancelled),
            Poll::Ready(Err(TaskError::Cancelled(_)))
        ));
    }),
    ("`Task::cancel`, `TaskRef::cancel`", |after| {
        assert!(!after.value.cancel() && !after.failed.cancel() && !after.cancelled.cancel());
        let look = after.failed.task_ref();
        assert!(!look.cancel() && !look.cancel_with("why"));
        assert_eq!((look.state(), look.cancelling(), look.uncancel()), (TaskState::Failed, 0, 0));
    }),
    ("`detach`, `ignore`, dropping a `CancelOnDrop`", |after| {
        after.failed.ignore();
        after.value.detach();
        drop(after.cancelled.cancel_on_drop());
        assert_eq!(after.heard.kinds(), []);
    }),
    ("what a `Task` or `TaskRef` says of itself", |after| {
        let look = after.cancelled.task_ref();
        after.cancelled.set_name("late");
        assert_eq!((look.name(), look.id()), ("late".to_owned(), after.cancelled.id()));
        assert!(after.cancelled.is_finished() && after.cancelled.is_cancelled());
        assert_eq!(after.cancelled.location().file(), file!());
    }),
    ("dropping a task whose failure was reported as `StillHeld`", |after| {
        drop(after.failed);
        assert_eq!(after.heard.kinds(), []);
    }),
    ("a waker", |after| {
        after.waker.wake_by_ref();
        let woken = after.waker.clone();
        woken.wake();
        assert!(after.waker.will_wake(&after.waker.clone()));
    }),
];

// promise 6.5, 6.8, 3.5
#[test]
fn every_call_answers_when_the_executor_is_shut_down() {
    for (_, call) in CALLS {
        let (executor, after) = shut_down();
        call(&executor, after);
        executor.run_until_idle();
        assert_balances(&executor);
        assert_eq!(executor.ledger().spawned, 3, "who is refused counts nowhere else");
    }
    for (_, call) in CALLS_ALONE {
        let (executor, after) = shut_down();
        let heard = after.heard.clone();
        call(after);
        executor.run_until_idle();
        assert_balances(&executor);
        assert_eq!(heard.kinds(), [], "nothing more is told");
    }
}

// promise 6.5, 6.8
#[test]
fn what_is_left_answers_in_the_same_way_when_the_executor_is_gone() {
    for (_, call) in CALLS_ALONE {
        let (executor, after) = shut_down();
        drop(executor);
        call(after);
    }
}

// promise 6.5, 3.13
#[test]
fn a_callback_that_is_added_after_the_end_is_called_as_long_as_somebody_turns() {
    let (executor, After { value, said, .. }) = shut_down();
    let says = said.clone();
    value.on_done(move |_| says.say("called"));
    assert_eq!(said.lines(), [""; 0]);
    assert_eq!(executor.turn(Budget::Batch).polled, 1);
    assert_eq!(said.lines(), ["called"]);
    drop(executor);
    let says = said.clone();
    let id = value.on_done(move |_| says.say("called again"));
    assert!(!value.remove_on_done(id));
    assert_eq!(said.lines(), [""; 0], "nobody is there to call it");
}

// promise 6.5
#[test]
fn the_page_about_stopping_has_the_same_rows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/shutdown.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page.split("| call | after `shut_down` |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    let says: BTreeSet<&str> = rows.collect();
    let mut tried: BTreeSet<&str> = CALLS.map(|(name, _)| name).into();
    tried.extend(CALLS_ALONE.map(|(name, _)| name));
    tried.insert("`on_done`"); // has a test of its own
    assert_eq!(says, tried);
}
