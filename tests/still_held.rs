//! What the handler hears at the very end: of failures that somebody still holds,
//! and of everything else that nobody has heard of.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Heard, Shelf, Spilled, World, assert_settled, executor, failed, poll_once};
use hearken::{Report, ReportKind, TakeError, Task, Verdict};

// ---- Failures that somebody still holds at the end --------------------------------------------

/// Says how often it was dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dropped {} times", self.0.load(Ordering::Relaxed))
    }
}

impl std::error::Error for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the handler do `what` with the handle of a failed task while it looks
/// at the failure at the end; by a shutdown, or by the drop of the executor.
fn while_looking(by_drop: bool, what: impl Fn(&Shelf<Task<()>>) + 'static) -> Shelf<Task<()>> {
    let (shelf, looks, drops) = (Shelf::<Task<()>>::new(), Rc::new(Cell::new(0)), Arc::default());
    let (handle, looked, sour) = (shelf.clone(), looks.clone(), Arc::clone(&drops));
    let executor = executor(move |report| {
        assert_eq!(report.kind(), ReportKind::StillHeld);
        looked.set(looked.get() + 1);
        let error = report.error().expect("it is a failure");
        assert_eq!(error.to_string(), "dropped 0 times");
        what(&handle);
        assert_eq!(error.to_string(), "dropped 0 times", "it is still there to be looked at");
        assert!(error.downcast_ref::<Counted>().is_some());
        Verdict::ShutDown // which changes nothing any more
    });
    shelf.put(executor.spawn(async { Err(Counted(sour).into()) }));
    executor.run_until_idle();
    if by_drop {
        drop(executor);
    } else {
        let shutdown = executor.shut_down();
        assert_eq!((shutdown.found, shutdown.dropped, shutdown.still_held), (0, 0, 1));
        assert_settled(&executor);
        assert_eq!(executor.ledger().reported, 1);
    }
    assert_eq!(looks.get(), 1, "told once");
    let held = u32::from(!shelf.is_empty());
    assert_eq!(drops.load(Ordering::Relaxed), 1 - held, "dropped once, when nobody can ask");
    shelf
}

// promise 3.6, 3.8
#[test]
fn while_the_handler_looks_at_a_held_failure_nobody_can_take_it() {
    for by_drop in [false, true] {
        let shelf = while_looking(by_drop, |shelf| {
            shelf.with(|task| {
                assert_eq!(task.take().unwrap_err(), TakeError::Pending);
                assert!(poll_once(task).is_pending());
                assert!(task.error().unwrap().is_some(), "to look is no harm");
                assert!(task.is_finished());
            });
        });
        let mut task = shelf.take().unwrap();
        assert_eq!(task.error().unwrap().unwrap().to_string(), "dropped 0 times");
        assert!(task.take().unwrap().is_err(), "it can be retrieved afterwards");
        assert_eq!(task.take().unwrap_err(), TakeError::Taken);
    }
}

// promise 3.6, 8.3
#[test]
fn the_handler_may_drop_the_handle_of_the_failure_that_it_looks_at() {
    for by_drop in [false, true] {
        assert!(while_looking(by_drop, |shelf| drop(shelf.take())).is_empty());
        assert!(while_looking(by_drop, |shelf| shelf.take().unwrap().ignore()).is_empty());
    }
}

// promise 3.6
#[test]
fn a_handler_that_asks_for_another_failure_is_not_told_of_it() {
    let (heard, second) = (Heard::default(), Shelf::<Task<()>>::new());
    let (seen, asked) = (heard.clone(), second.clone());
    let executor = executor(move |report| {
        seen.note(report);
        asked.with(|task| assert!(task.error().unwrap().is_some()));
        Verdict::Proceed
    });
    let first = failed(&executor);
    second.put(failed(&executor));
    executor.shut_down();
    assert_eq!(heard.notes().into_iter().map(|note| note.task).collect::<Vec<_>>(), [Some(1)]);
    let ledger = executor.ledger();
    assert_eq!((ledger.reported, ledger.retrieved), (1, 1));
    drop(first);
    assert_settled(&executor);
}

// ---- The end ---------------------------------------------------------------------------------

// promise 3.6, 3.8, 6.8
#[test]
fn when_the_executor_is_dropped_the_handler_hears_everything_first() {
    let world = World::new();
    let World { executor, heard, .. } = world;
    let held = failed(&executor);
    drop(failed(&executor));
    for _ in 0..2 {
        executor.spawn(pending::<anyhow::Result<()>>()).detach();
    }
    executor.report(Report::new(Spilled("ink")));
    drop(executor);
    let notes: Vec<_> = heard.notes().into_iter().map(|note| (note.kind, note.task)).collect();
    assert_eq!(
        notes,
        [
            (ReportKind::NeverRetrieved, Some(2)), // had been on its way
            (ReportKind::Library, None),
            (ReportKind::DroppedPending, Some(4)), // the youngest first
            (ReportKind::Cancelled, Some(4)),
            (ReportKind::DroppedPending, Some(3)),
            (ReportKind::Cancelled, Some(3)),
            (ReportKind::StillHeld, Some(1)),
        ]
    );
    assert!(held.error().unwrap().is_some());
}

// promise 3.8
#[test]
fn a_report_between_the_shutdown_and_the_drop_goes_to_the_handler() {
    let World { executor, heard, .. } = World::new();
    executor.shut_down();
    executor.report(Report::new(Spilled("ink")));
    drop(executor);
    assert_eq!(heard.kinds(), [ReportKind::Library]);
}

// promise 6.1, 3.8
#[test]
fn an_interrupt_that_no_turn_took_in_is_told_when_the_executor_is_dropped() {
    let World { executor, heard, .. } = World::new();
    executor.interrupter().interrupt();
    drop(executor);
    assert_eq!(heard.kinds(), [ReportKind::Interrupted]);
}

// promise 3.8, 6.4: what the handler causes at the very end is not left until later.
#[test]
fn what_the_handler_reports_as_it_hears_of_a_held_failure_is_told_in_the_same_shutdown() {
    let heard = Heard::default();
    let noted = heard.clone();
    let executor = executor(move |report| {
        noted.note(report);
        if report.kind() == ReportKind::StillHeld {
            hearken::report(Report::new(Spilled("ink")));
        }
        Verdict::Proceed
    });
    let held = failed(&executor);
    assert_eq!(executor.shut_down().still_held, 1);
    assert_eq!(heard.kinds(), [ReportKind::StillHeld, ReportKind::Library]);
    drop(held);
    assert_settled(&executor);
}
