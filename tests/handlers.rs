//! The handler: when it is called, what its verdicts do, and what it may do.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use common::{
    Heard, Note, OnDrop, Shelf, Spilled, Transcript, World, assert_balances, assert_settled,
    executor, failed, failing, hushed,
};
use hearken::{
    Budget, Executor, ManualClock, Next, Report, ReportKind, RunError, Task, Verdict, sleep, spawn,
    yield_now,
};
use std::future::pending;
use std::time::Duration;

// ---- When ------------------------------------------------------------------------------

// promise 3.8, 8.1
#[test]
fn the_drop_of_a_handle_only_queues_and_the_loop_tells() {
    let world = World::new();
    let task = failed(&world.executor);
    assert_eq!(world.executor.turn(Budget::Batch).next, Next::Empty);
    drop(task);
    assert!(world.heard.notes().is_empty(), "not from inside the drop");
    assert_eq!((world.executor.ledger().held, world.executor.ledger().reported), (1, 0));
    let turn = world.executor.turn(Budget::Polls(0));
    assert_eq!((turn.polled, turn.next), (0, Next::Empty));
    assert_eq!(world.heard.kinds(), [ReportKind::NeverRetrieved]);
    assert_eq!((world.executor.ledger().held, world.executor.ledger().reported), (0, 1));
    world.close();
}

// promise 3.8
#[test]
fn the_handler_is_called_between_two_polls() {
    let said = Transcript::new();
    let heard = said.clone();
    let executor = executor(move |_| {
        heard.say("handler");
        Verdict::Proceed
    });
    for name in ["one", "two"] {
        let said = said.clone();
        let work = async move {
            said.say(format!("{name} begins"));
            drop(spawn(failing()));
            yield_now().await;
            yield_now().await;
            said.say(format!("{name} ends"));
            Err::<(), _>(Spilled("tea").into())
        };
        executor.spawn(work).detach();
    }
    for _ in 0..3 {
        executor.turn(Budget::Batch);
        said.say("turn");
    }
    let expected = [
        "one begins",
        "two begins",
        "turn", // their children fail in the next turn
        "handler",
        "handler",
        "turn", // after the batch, not in it
        "one ends",
        "two ends",
        "handler",
        "handler",
        "turn",
    ];
    assert_eq!(said.lines(), expected);
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.8
#[test]
fn the_handler_is_never_entered_while_it_runs() {
    let depth = Rc::new(Cell::new(0));
    let heard = Heard::default();
    let handles = Rc::new(RefCell::new(Vec::new()));
    let (inside, seen, kept) = (depth.clone(), heard.clone(), handles.clone());
    let executor = executor(move |report| {
        inside.set(inside.get() + 1);
        assert_eq!(inside.get(), 1, "one at a time");
        seen.note(report);
        drop(kept.borrow_mut().pop()); // the next failure
        inside.set(inside.get() - 1);
        Verdict::Proceed
    });
    handles.borrow_mut().extend((0..4).map(|_| failed(&executor)));
    drop(handles.borrow_mut().pop());
    for told in 1..=4 {
        let turn = executor.turn(Budget::Polls(0));
        assert_eq!(heard.kinds().len(), 1, "{told}: one drop for one report");
        assert_eq!(turn.next == Next::Ready, told < 4, "what it caused is for the next delivery");
        assert_balances(&executor);
    }
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.8, 8.4
#[test]
fn a_report_may_go_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let world = World::new();
    let answer = world.executor.block_on(async {
        hearken::request_shut_down("enough");
        Ok(())
    });
    let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
    is_send(&report);
    let text = std::thread::spawn(move || report.to_string()).join().unwrap();
    assert_eq!(text, "hearken: enough");
    world.close();
}

// ---- What it may do -----------------------------------------------------------------------

// promise 3.8, 8.3
#[test]
fn a_handler_may_spawn_cancel_report_and_drop_handles() {
    let (heard, victim, held) = (Heard::default(), Shelf::<Task<()>>::new(), Shelf::new());
    let (seen, prey, kept) = (heard.clone(), victim.clone(), held.clone());
    let executor = executor(move |report| {
        seen.note(report);
        if let Some(task) = prey.take() {
            task.cancel_with("the handler said so");
            drop(kept.take());
            hearken::report(Report::new(Spilled("ink")));
            spawn(async { Err::<(), _>(Spilled("milk").into()) }).detach();
        }
        Verdict::Proceed
    });
    victim.put(executor.spawn(pending::<anyhow::Result<()>>()));
    held.put(failed(&executor));
    executor.spawn(async { Err::<(), _>(Spilled("tea").into()) }).detach();
    executor.turn(Budget::Batch);
    assert_eq!(heard.kinds(), [ReportKind::NeverRetrieved], "the others are for the next time");
    executor.turn(Budget::Batch);
    let of = |note: Note| (note.kind, note.task, note.error);
    let notes: Vec<_> = heard.notes().into_iter().map(of).collect();
    assert_eq!(
        notes,
        [
            (ReportKind::NeverRetrieved, Some(2), Some("pouring: spilled tea".into())),
            (ReportKind::Library, None, Some("spilled ink".into())),
            (ReportKind::Cancelled, Some(1), None),
            (ReportKind::NeverRetrieved, Some(4), Some("spilled milk".into())),
        ]
    );
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.8, 8.3
#[test]
fn a_handler_that_sets_another_is_the_last_to_hear_this_one() {
    let said = Transcript::new();
    let (first, second) = (said.clone(), said.clone());
    let gone = said.finally("the first is dropped");
    let executor = Rc::new(Executor::builder().clock(ManualClock::auto()).build());
    let itself = Rc::downgrade(&executor);
    executor.set_handler(move |report| {
        let _gone = &gone;
        first.say(format!("first {}", report.task().unwrap().id()));
        let second = second.clone();
        itself.upgrade().unwrap().set_handler(move |report| {
            second.say(format!("second {}", report.task().unwrap().id()));
            Verdict::Proceed
        });
        first.say("first goes on");
        Verdict::Proceed
    });
    for _ in 0..3 {
        executor.spawn(failing()).detach();
    }
    executor.turn(Budget::Batch);
    let expected = ["first #1", "first goes on", "the first is dropped", "second #2", "second #3"];
    assert_eq!(said.lines(), expected);
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.8, 10.7
#[test]
fn a_handler_that_panics_while_it_is_dropped_is_reported_to_the_next() {
    let heard = Heard::default();
    let executor = Executor::new();
    let guard = OnDrop(|| panic!("oh"));
    executor.set_handler(move |_| {
        let _in_here = &guard;
        Verdict::Proceed
    });
    hushed(|| executor.set_handler(heard.handler()));
    executor.run_until_idle();
    assert_eq!(heard.kinds(), [ReportKind::PanickedInDrop]);
    executor.shut_down();
    assert_settled(&executor);
}

// promise 6.6, 8.3
#[test]
fn a_handler_that_drives_its_executor_is_told_not_to() {
    let said = Transcript::new();
    let hears = said.clone();
    let executor = Rc::new(Executor::builder().clock(ManualClock::auto()).build());
    let itself = Rc::downgrade(&executor);
    executor.set_handler(move |_| {
        let executor = itself.upgrade().unwrap();
        let turned = catch_unwind(AssertUnwindSafe(|| executor.turn(Budget::Batch)));
        let payload = turned.expect_err("it is inside a turn");
        hears.say(*payload.downcast_ref::<&str>().expect("a message"));
        let answer = executor.block_on(async { Ok(()) });
        hears.say(answer.expect_err("it is inside a turn").to_string());
        Verdict::Proceed
    });
    executor.spawn(failing()).detach();
    hushed(|| executor.turn(Budget::Batch));
    let lines = said.lines();
    assert_eq!(lines[0], "a turn was taken inside a turn of the same executor");
    assert!(lines[1].starts_with("block_on was called inside"), "{}", lines[1]);
    executor.shut_down();
    assert_settled(&executor);
}

// promise 10.7, 3.9
#[test]
fn an_error_that_panics_when_it_is_dropped_keeps_nobody_from_being_heard() {
    #[derive(Debug)]
    struct Sour;
    impl std::fmt::Display for Sour {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("sour")
        }
    }
    impl std::error::Error for Sour {}
    impl Drop for Sour {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("oh");
            }
        }
    }
    let world = World::new();
    world.executor.spawn(async { Err::<(), _>(Sour.into()) }).detach();
    world.executor.spawn(failing()).detach();
    let turned = hushed(|| catch_unwind(AssertUnwindSafe(|| world.executor.run_until_idle())));
    let kinds = world.heard.kinds();
    assert!(turned.is_ok(), "the panic came out of the turn; heard before it: {kinds:?}");
    let failures = [ReportKind::NeverRetrieved, ReportKind::NeverRetrieved];
    assert_eq!(kinds, [&failures[..], &[ReportKind::PanickedInDrop]].concat());
    assert_eq!(world.executor.ledger().reported, 2);
    world.close();
}

// ---- Verdicts ----------------------------------------------------------------------------

/// What `block_on` answers when the handler says `verdict` of a failure and of
/// an interrupt; the main would need two seconds.
fn answer(verdict: Verdict, interrupt: bool) -> Result<(), RunError> {
    let executor = executor(move |report| match report.kind() {
        ReportKind::Cancelled => Verdict::Proceed,
        _ => verdict,
    });
    if interrupt {
        executor.interrupter().interrupt();
    } else {
        executor.spawn(failing()).detach();
    }
    let answer = executor.block_on(async {
        sleep(Duration::from_secs(2)).await;
        Ok(())
    });
    assert_balances(&executor);
    executor.shut_down();
    assert_settled(&executor);
    answer
}

// promise 3.12, 6.3
#[test]
fn a_verdict_says_what_becomes_of_the_program() {
    for verdict in [Verdict::Proceed, Verdict::Ignore] {
        assert!(answer(verdict, false).is_ok(), "{verdict:?}: a failure stops nobody");
    }
    let Err(RunError::ShutDown(report)) = answer(Verdict::ShutDown, false) else { panic!() };
    assert_eq!(report.kind(), ReportKind::NeverRetrieved);
    assert_eq!(report.error().unwrap().downcast_ref::<Spilled>(), Some(&Spilled("tea")));

    assert!(matches!(answer(Verdict::Proceed, true), Err(RunError::Interrupted { .. })));
    assert!(answer(Verdict::Ignore, true).is_ok(), "swallowed");
    let Err(RunError::ShutDown(report)) = answer(Verdict::ShutDown, true) else { panic!() };
    assert_eq!(report.kind(), ReportKind::Interrupted);
}

// promise 3.12
#[test]
fn the_first_report_that_ends_the_program_is_the_one_that_is_returned() {
    let executor = executor(|_| Verdict::ShutDown);
    for name in ["first", "second"] {
        executor.spawn(async move { Err::<(), _>(Spilled(name).into()) }).detach();
    }
    let answer = executor.block_on(pending::<anyhow::Result<()>>());
    assert_eq!(
        answer.unwrap_err().to_string(),
        "shut down: failure was never retrieved: spilled first"
    );
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.12
#[test]
fn a_task_may_ask_for_the_shutdown_itself() {
    let world = World::new();
    world.executor.spawn(pending::<anyhow::Result<()>>()).detach();
    let answer = world.executor.block_on(async {
        let task = spawn(async {
            hearken::request_shut_down("it is late");
            hearken::request_shut_down("it is later");
            pending::<anyhow::Result<()>>().await
        });
        Ok(task.await?)
    });
    let Err(RunError::ShutDown(report)) = &answer else { panic!("{answer:?}") };
    assert_eq!((report.message(), report.kind()), ("it is late", ReportKind::Library));
    assert_eq!(answer.as_ref().unwrap_err().exit_code(), 1);
    let error = anyhow::Error::from(answer.unwrap_err());
    assert_eq!(format!("{error:#}"), "shut down: it is late");
    world.close();
}

// promise 3.5, 3.11
#[test]
fn a_report_that_is_handed_on_to_another_executor_counts_for_no_task_there() {
    let (first, second) = (executor(|_| Verdict::ShutDown), World::new());
    first.spawn(failing()).detach();
    let answer = first.block_on(pending::<anyhow::Result<()>>());
    let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
    second.executor.report(report);
    let told = catch_unwind(AssertUnwindSafe(|| second.executor.run_until_idle()));
    assert!(told.is_ok(), "to tell it panicked");
    assert_eq!(second.heard.notes().len(), 1);
    let ledger = second.executor.ledger();
    assert_eq!((ledger.held, ledger.reported), (0, 0), "{ledger}");
    second.close();
}

// promise 3.12, 6.1
#[test]
fn an_interrupt_that_is_handed_on_interrupts_nobody_else() {
    let (first, second) = (executor(|_| Verdict::ShutDown), World::new());
    first.interrupter().interrupt();
    let answer = first.block_on(pending::<anyhow::Result<()>>());
    let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
    second.executor.report(report);
    let answer = second.executor.block_on(async {
        sleep(Duration::from_secs(1)).await;
        Ok(7)
    });
    assert_eq!(answer.unwrap(), 7);
    second.close();
}
