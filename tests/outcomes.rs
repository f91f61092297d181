//! What a task answers, whatever became of it, and however it is asked.

mod common;

use std::cell::Cell;
use std::error::Error;
use std::future::pending;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Context as _, anyhow};
use common::{Spilled, World, assert_balances, every_order, hushed, poll_once};
use hearken::{
    Cancelled, Executor, Origin, OutcomeError, Panicked, RunError, TakeError, Task, TaskCancelled,
    TaskError, TaskState, spawn,
};

// ---- The table -----------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Pending,
    Succeeded,
    Failed,
    Panicked,
    Cancelled,
    /// Succeeded, and the value was taken.
    Taken,
    /// Failed, and the failure was taken.
    TakenFailure,
    /// Cancelled, and that was taken.
    TakenCancellation,
}

use Ending::{Taken, TakenCancellation, TakenFailure};

/// What each accessor answers; `await` is polled once.
///
/// ending, state, [is_finished, is_cancelled, result, error, take, await]
#[rustfmt::skip]
const TABLE: [(Ending, TaskState, [&str; 6]); 8] = [
    (Ending::Pending, TaskState::Waiting,
        ["no", "no", "Pending", "Pending", "Pending", "suspends"]),
    (Ending::Succeeded, TaskState::Succeeded,
        ["yes", "no", "7", "none", "7", "7"]),
    (Ending::Failed, TaskState::Failed,
        ["yes", "no", "Ended: Failed spilled tea", "spilled tea", "Failed spilled tea", "Failed spilled tea"]),
    (Ending::Panicked, TaskState::Panicked,
        ["yes", "no", "Ended: Panicked panicked: oh", "panicked: oh", "Panicked panicked: oh", "Panicked panicked: oh"]),
    (Ending::Cancelled, TaskState::Cancelled,
        ["yes", "yes", "Ended: Cancelled cancelled: late", "Ended: Cancelled cancelled: late", "Cancelled cancelled: late", "Cancelled cancelled: late"]),
    (Taken, TaskState::Succeeded,
        ["yes", "no", "Taken", "none", "Taken", "panics: task awaited after its outcome was taken"]),
    (TakenFailure, TaskState::Failed,
        ["yes", "no", "Taken", "Taken", "Taken", "panics: task awaited after its outcome was taken"]),
    (TakenCancellation, TaskState::Cancelled,
        ["yes", "yes", "Taken", "Taken", "Taken", "panics: task awaited after its outcome was taken"]),
];

const LOOKS: [usize; 4] = [0, 1, 2, 3];
const TAKES: [usize; 2] = [4, 5];

fn task_that(ending: Ending, executor: &Executor) -> Task<i32> {
    let mut task = match ending {
        Ending::Pending | Ending::Cancelled | TakenCancellation => executor.spawn(pending()),
        Ending::Succeeded | Taken => executor.spawn(async { Ok(7) }),
        Ending::Failed | TakenFailure => executor.spawn(async { Err(Spilled("tea").into()) }),
        Ending::Panicked => executor.spawn(async { panic!("oh") }),
    };
    if matches!(ending, Ending::Cancelled | TakenCancellation) {
        assert!(task.cancel_with("late"));
    }
    executor.run_until_idle();
    if matches!(ending, Taken | TakenFailure | TakenCancellation) {
        assert!(task.take().is_ok());
    }
    task
}

fn ended(error: &TaskError) -> String {
    match error {
        TaskError::Failed(error) => format!("Failed {error}"),
        TaskError::Panicked(panicked) => format!("Panicked {panicked}"),
        TaskError::Cancelled(cancelled) => format!("Cancelled {cancelled}"),
    }
}

fn outcome(outcome: Result<i32, TaskError>) -> String {
    outcome.map_or_else(|error| ended(&error), |value| value.to_string())
}

fn not_there(error: OutcomeError<'_>) -> String {
    match error {
        OutcomeError::Pending => "Pending".into(),
        OutcomeError::Taken => "Taken".into(),
        OutcomeError::Ended(error) => format!("Ended: {}", ended(error)),
    }
}

fn ask(task: &mut Task<i32>, accessor: usize) -> String {
    let yes_no = |yes| if yes { "yes" } else { "no" };
    match accessor {
        0 => yes_no(task.is_finished()).into(),
        1 => yes_no(task.is_cancelled()).into(),
        2 => task.result().map_or_else(not_there, ToString::to_string),
        3 => match task.error() {
            Ok(None) => "none".into(),
            Ok(Some(error)) => error.to_string(),
            Err(error) => not_there(error),
        },
        4 => task.take().map_or_else(|error| format!("{error:?}"), outcome),
        _ => match hushed(|| catch_unwind(AssertUnwindSafe(|| poll_once(task)))) {
            Ok(Poll::Pending) => "suspends".into(),
            Ok(Poll::Ready(answer)) => outcome(answer),
            Err(payload) => format!("panics: {}", payload.downcast_ref::<&str>().unwrap()),
        },
    }
}

// promise 3.2
#[test]
fn every_accessor_answers_for_every_ending_whatever_was_asked_before() {
    let mut tried = 0;
    for (ending, state, answers) in TABLE {
        every_order(&LOOKS, &mut |looks| {
            for last in TAKES {
                let world = World::new();
                let mut task = task_that(ending, &world.executor);
                let what = format!("{ending:?}: {looks:?}, {last}");
                for &accessor in looks.iter().chain(looks).chain([&last]) {
                    assert_eq!(ask(&mut task, accessor), answers[accessor], "{what}: {accessor}");
                    assert_eq!(task.info().state(), state, "{what}");
                    assert_balances(&world.executor);
                }
                // Nothing but the pending one is there for a second taking.
                for accessor in TAKES.into_iter().filter(|_| ending != Ending::Pending) {
                    assert_eq!(ask(&mut task, accessor), TABLE[5].2[accessor], "{what}");
                }
                drop(task);
                let failures = world.heard.count(hearken::ReportKind::NeverRetrieved);
                assert_eq!(failures, 0, "{what}: it was taken");
                world.close();
                tried += 1;
            }
        });
    }
    assert_eq!(tried, 8 * 65 * 2);
}

// promise 3.2, 4.10
#[test]
fn a_task_that_was_only_asked_to_cancel_is_pending() {
    let world = World::new();
    let mut task = world.executor.spawn(pending::<anyhow::Result<i32>>());
    assert!(task.cancel());
    for accessor in LOOKS.into_iter().chain(TAKES) {
        assert_eq!(ask(&mut task, accessor), TABLE[0].2[accessor]);
    }
    assert_eq!(task.cancelling(), 1);
    drop(task);
    world.close();
}

// promise 3.1
#[test]
fn a_future_that_cannot_fail_ends_by_a_value_or_a_panic() {
    let world = World::new();
    let mut good = world.executor.spawn_infallible(async { 7 });
    let mut bad = world.executor.spawn_infallible(async { panic!("oh") });
    world.executor.run_until_idle();
    for accessor in LOOKS.into_iter().chain(TAKES).take(5) {
        assert_eq!(ask(&mut good, accessor), TABLE[1].2[accessor]);
        assert_eq!(ask(&mut bad, accessor), TABLE[3].2[accessor]);
    }
    drop((good, bad));
    world.close();
}

// promise 3.2
#[test]
fn what_is_missing_says_so_in_words() {
    assert_eq!(OutcomeError::Pending.to_string(), "the task has not finished");
    assert_eq!(OutcomeError::Taken.to_string(), "the task's outcome was taken");
    assert_eq!(TakeError::Pending.to_string(), "the task has not finished");
    assert_eq!(TakeError::Taken.to_string(), "the task's outcome was taken");
    let error = TaskError::Failed(anyhow!("spilled"));
    assert_eq!(OutcomeError::Ended(&error).to_string(), "spilled");
}

// promise 3.2
#[test]
fn a_cancellation_is_the_same_one_for_everybody_who_asks() {
    let world = World::new();
    let mut task = world.executor.spawn(pending::<anyhow::Result<()>>());
    let line = line!() + 1;
    task.cancel_with("first");
    task.cancel_with("second");
    world.executor.run_until_idle();
    let facts = |cancelled: &Cancelled| {
        let line = cancelled.location().map(Location::line);
        (cancelled.task(), cancelled.reason().to_owned(), cancelled.origin(), line)
    };
    let expected = (task.id(), "first".to_owned(), Origin::Requested, Some(line));
    for _ in 0..2 {
        let Err(OutcomeError::Ended(TaskError::Cancelled(cancelled))) = task.result() else {
            panic!("it was cancelled")
        };
        assert_eq!(facts(cancelled), expected);
        let Err(OutcomeError::Ended(TaskError::Cancelled(cancelled))) = task.error() else {
            panic!("it was cancelled")
        };
        assert_eq!(facts(cancelled), expected);
    }
    let Ok(Err(TaskError::Cancelled(cancelled))) = task.take() else { panic!("still") };
    assert_eq!(facts(&cancelled), expected);
    drop(task);
    world.close();
}

// promise 3.2
#[test]
fn to_await_a_finished_task_does_not_suspend() {
    let world = World::new();
    let done = world.executor.spawn(async { Ok(7) });
    world.executor.run_until_idle();
    let waiter = world.executor.spawn(async { Ok(done.await? + 1) });
    world.executor.run_until_idle();
    assert_eq!(waiter.info().polls(), 1);
    assert_eq!(*waiter.result().unwrap(), 8);
    drop(waiter);
    world.close();
}

// promise 3.2
#[test]
fn a_task_ends_once_and_nothing_changes_its_end() {
    let world = World::new();
    let ended = Rc::new(Cell::new(0));
    let task = world.executor.spawn(async { Err::<(), _>(Spilled("tea").into()) });
    let counted = ended.clone();
    task.on_done(move |_| counted.set(counted.get() + 1));
    let look = task.task_ref();
    world.executor.run_until_idle();
    let first = format!("{:p}", task.error().unwrap().unwrap());
    assert!(!task.cancel() && !look.cancel_with("too late"));
    assert_eq!((task.cancelling(), task.uncancel(), look.uncancel()), (0, 0, 0));
    world.executor.run_until_idle();
    assert_eq!(format!("{:p}", task.error().unwrap().unwrap()), first, "the very same error");
    assert_eq!((ended.get(), task.info().polls()), (1, 1));
    let ledger = world.executor.ledger();
    assert_eq!((ledger.failed, ledger.cancelled, ledger.retrieved), (1, 0, 1));
    drop(task);
    assert!(world.close().notes().is_empty());
}

// ---- Failures by their types -----------------------------------------------------

// promise 3.4
#[test]
fn the_question_mark_gives_the_tasks_own_error() {
    let world = World::new();
    let answer: Result<(), _> = world.executor.block_on(async {
        let inner = spawn(async { Err::<(), _>(Spilled("tea").into()) });
        let outer = spawn(async { Ok(inner.await?) });
        outer.await?;
        Ok(())
    });
    let Err(RunError::Failed(error)) = answer else { panic!("it failed") };
    assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));
    assert_eq!(world.executor.ledger().retrieved, 3);
    world.close();
}

// promise 3.4
#[test]
fn context_stays_around_the_error_and_hides_nothing() {
    let world = World::new();
    let answer: Result<(), _> = world.executor.block_on(async {
        let task = spawn(async { Err::<(), _>(Spilled("tea")).context("pouring") });
        let task = spawn(async {
            task.await.map_err(anyhow::Error::from).context("serving").context("at five")
        });
        task.await?;
        Ok(())
    });
    let Err(RunError::Failed(error)) = answer else { panic!("it failed") };
    assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));
    assert_eq!(format!("{error:#}"), "at five: serving: pouring: spilled tea");
    world.close();
}

fn as_anyhow(error: TaskError) -> anyhow::Result<()> {
    Err(error)?
}

fn as_box(error: TaskError) -> Result<(), Box<dyn Error>> {
    Err(error)?
}

fn as_send_box(error: TaskError) -> Result<(), Box<dyn Error + Send + Sync>> {
    Err(error)?
}

/// The same ending as three sorts of error.
fn every_sort(ending: Ending) -> (anyhow::Error, Box<dyn Error>, Box<dyn Error + Send + Sync>) {
    let taken = || {
        let world = World::new();
        task_that(ending, &world.executor).take().unwrap().unwrap_err()
    };
    let any = as_anyhow(taken()).unwrap_err();
    (any, as_box(taken()).unwrap_err(), as_send_box(taken()).unwrap_err())
}

// promise 3.3, 3.4
#[test]
fn every_ending_turns_into_every_sort_of_error() {
    let texts = [
        (Ending::Failed, "spilled tea"),
        (Ending::Panicked, "panicked: oh"),
        (Ending::Cancelled, "task #1 was cancelled: late"),
    ];
    for (ending, text) in texts {
        let (any, boxed, send) = every_sort(ending);
        assert_eq!([any.to_string(), boxed.to_string(), send.to_string()], [text; 3]);
    }
    assert!(every_sort(Ending::Failed).0.downcast_ref::<Spilled>().is_some());
    assert!(every_sort(Ending::Panicked).0.downcast_ref::<Panicked>().is_some());
    assert!(every_sort(Ending::Cancelled).0.downcast_ref::<TaskCancelled>().is_some());
}

// promise 3.4
#[test]
fn a_boxed_error_too_is_found_again_by_its_type() {
    let (_, boxed, send) = every_sort(Ending::Panicked);
    assert!(boxed.downcast_ref::<Panicked>().is_some() && send.is::<Panicked>(), "{boxed:?}");
    let (_, boxed, send) = every_sort(Ending::Cancelled);
    assert!(boxed.is::<TaskCancelled>() && send.is::<TaskCancelled>(), "{boxed:?}");
    let (_, boxed, send) = every_sort(Ending::Failed);
    assert!(boxed.is::<Spilled>() && send.is::<Spilled>(), "{boxed:?}");
}

// promise 3.4
#[test]
fn the_error_of_a_program_turns_into_every_sort_of_error() {
    let failed = || {
        let world = World::new();
        world.executor.block_on(async { Err::<(), _>(Spilled("tea").into()) }).unwrap_err()
    };
    assert!(anyhow::Error::from(failed()).downcast_ref::<Spilled>().is_some());
    assert_eq!(Box::<dyn Error>::from(failed()).to_string(), "spilled tea");
    assert_eq!(Box::<dyn Error + Send + Sync>::from(failed()).to_string(), "spilled tea");
}

// promise 3.1
#[test]
fn a_panic_is_an_error_that_can_be_found_again() {
    let world = World::new();
    let task = task_that(Ending::Panicked, &world.executor);
    let error = task.error().unwrap().unwrap();
    assert_eq!(error.downcast_ref::<Panicked>().unwrap().message(), "oh");
    assert!(std::ptr::eq(error, task.error().unwrap().unwrap()));
    drop(task);
    let still_there = world.executor.spawn(async { Ok(1) });
    world.executor.run_until_idle();
    assert!(still_there.result().is_ok(), "the loop goes on");
    drop(still_there);
    world.close();
}

// ---- Cancelled or failed ---------------------------------------------------------

/// Spawns a parent that does `what` with a child that somebody else cancels.
fn parent_of_cancelled<Fut>(what: impl FnOnce(Task<()>) -> Fut + 'static) -> anyhow::Error
where
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    let world = World::new();
    let child = world.executor.spawn(pending::<anyhow::Result<()>>());
    child.cancel_with("not wanted");
    let mut parent = world.executor.spawn(what(child));
    world.executor.run_until_idle();
    assert!(!parent.is_cancelled(), "nobody has cancelled it");
    let ledger = world.executor.ledger();
    assert_eq!((ledger.failed, ledger.cancelled), (1, 1));
    let Ok(Err(TaskError::Failed(error))) = parent.take() else { panic!("it failed") };
    drop(parent);
    world.close();
    error
}

// promise 3.3
#[test]
fn a_parent_that_passes_on_a_childs_cancellation_has_failed() {
    let error = parent_of_cancelled(async |child: Task<()>| Ok(child.await?));
    let cancelled = error.downcast_ref::<TaskCancelled>().expect("it says which task");
    assert!(error.downcast_ref::<Cancelled>().is_none());
    assert_eq!(cancelled.task().number(), 1);
    assert_eq!((cancelled.reason(), cancelled.origin()), ("not wanted", Origin::Requested));
    assert_eq!(error.to_string(), "task #1 was cancelled: not wanted");
}

// promise 3.3
#[test]
fn a_parent_that_hands_on_the_childs_token_has_failed_too() {
    async fn token(child: Task<()>) -> Cancelled {
        match child.await {
            Err(TaskError::Cancelled(cancelled)) => cancelled,
            other => panic!("{other:?}"),
        }
    }
    #[derive(Debug)]
    struct Because(Cancelled);
    impl std::fmt::Display for Because {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no tea")
        }
    }
    impl Error for Because {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let plain = parent_of_cancelled(async |child| Err(token(child).await.into()));
    assert!(plain.downcast_ref::<TaskCancelled>().is_some());
    let wrapped = parent_of_cancelled(async |child| {
        Err(anyhow::Error::new(token(child).await).context("while waiting"))
    });
    assert!(wrapped.downcast_ref::<TaskCancelled>().is_some());
    // Found through `source()` it is only the reason for something else.
    let caused = parent_of_cancelled(async |child| Err(Because(token(child).await).into()));
    assert!(caused.downcast_ref::<Because>().is_some());
}

// promise 3.3
#[test]
fn a_task_of_another_executor_with_the_same_number_is_somebody_else() {
    let (here, there) = (World::new(), World::new());
    let mut cancelled = there.executor.spawn(pending::<anyhow::Result<()>>());
    cancelled.cancel();
    there.executor.run_until_idle();
    let Ok(Err(TaskError::Cancelled(token))) = cancelled.take() else { panic!("cancelled") };
    let task = here.executor.spawn(async { Err::<(), _>(token.into()) });
    assert_eq!(task.id(), cancelled.id(), "each is the first of its executor");
    here.executor.run_until_idle();
    assert!(!task.is_cancelled(), "nobody has cancelled it");
    assert!(task.error().unwrap().is_some());
    drop((task, cancelled));
    here.close();
    there.close();
}

// promise 3.3, 6.6
#[test]
fn a_main_around_a_cancelled_main_of_another_executor_has_failed() {
    let outer = World::new();
    let answer: Result<(), _> = outer.executor.block_on(async {
        let inner = World::new();
        inner.executor.block_on(async {
            hearken::current().cancel_with("not wanted");
            pending::<anyhow::Result<()>>().await
        })?;
        Ok(())
    });
    assert!(matches!(answer, Err(RunError::Failed(_))), "nobody has cancelled it: {answer:?}");
    assert_eq!(outer.executor.ledger().cancelled, 0);
    outer.close();
}

// promise 3.2, 3.5
#[test]
fn the_caller_of_block_on_gets_every_ending_of_the_main() {
    let world = World::new();
    let executor = &world.executor;
    assert_eq!(executor.block_on(async { Ok(7) }).unwrap(), 7);
    let failed = executor.block_on(async { Err::<(), _>(Spilled("tea").into()) });
    assert!(matches!(failed, Err(RunError::Failed(_))));
    let panicked = executor.block_on(async { panic!("oh") });
    let Err::<(), _>(RunError::Panicked(panicked)) = panicked else { panic!("it panicked") };
    assert_eq!(panicked.message(), "oh");
    let cancelled = executor.block_on(async {
        hearken::current().cancel_with("enough");
        pending::<anyhow::Result<()>>().await
    });
    let Err(RunError::Cancelled(cancelled)) = cancelled else { panic!("it was cancelled") };
    assert_eq!(cancelled.reason(), "enough");
    let ledger = executor.ledger();
    assert_eq!((ledger.spawned, ledger.succeeded), (4, 1));
    assert_eq!((ledger.failed, ledger.retrieved, ledger.cancelled), (2, 2, 1));
    world.close();
}
