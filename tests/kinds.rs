//! The kinds of report, one by one, and what the default handler writes.

mod common;

use std::future::pending;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use common::{Heard, Note, OnDrop, Shelf, Spilled, World, failing, hushed, waiting};
use hearken::{
    DefaultHandler, Executor, Handler, Report, ReportKind, Verdict, scope, spawn, yield_now,
};

// ---- Every kind -------------------------------------------------------------------

fn never_retrieved() -> World {
    let world = World::new();
    world.executor.spawn(failing()).named("tea").detach();
    world.executor.run_until_idle();
    world
}

fn cancelled() -> World {
    let world = World::new();
    let task = world.executor.spawn(pending::<anyhow::Result<()>>()).named("tea");
    task.cancel_with("too late");
    task.detach();
    world.executor.run_until_idle();
    world
}

fn callback_panicked() -> World {
    let world = World::new();
    let task = world.executor.spawn(async { Ok(()) }).named("tea");
    task.on_done(|_| panic!("oh"));
    task.detach();
    world.executor.run_until_idle();
    world
}

fn failed_during_shutdown() -> World {
    let world = World::new();
    // What is spawned during a shutdown is polled once before it is cancelled.
    let work = || spawn(failing()).named("late tea").detach();
    world.executor.spawn(waiting(work)).detach();
    world.executor.run_until_idle();
    world.executor.shut_down();
    world
}

fn overran() -> World {
    let world = World::with(|builder| builder.grace(Some(Duration::ZERO)));
    let work = || spawn(pending::<anyhow::Result<()>>()).named("late tea").detach();
    world.executor.spawn(waiting(work)).detach();
    world.executor.run_until_idle();
    world.executor.shut_down();
    world
}

fn dropped_pending() -> World {
    let World { executor, heard, clock } = World::new();
    executor.spawn(pending::<anyhow::Result<()>>()).named("tea").detach();
    executor.run_until_idle();
    drop(executor);
    World { executor: Executor::new(), heard, clock }
}

fn still_held() -> World {
    let world = World::new();
    let task = world.executor.spawn(failing()).named("tea");
    world.executor.run_until_idle();
    world.executor.shut_down();
    drop(task);
    world
}

fn interrupted() -> World {
    let world = World::new();
    world.executor.interrupter().interrupt();
    world.executor.run_until_idle();
    world
}

fn ignored_cancellation() -> World {
    let world = World::with(|builder| builder.debug(true));
    let work = || async {
        let swallowed = scope(pending::<()>()).await;
        assert!(swallowed.is_err());
        Ok(())
    };
    let accepts = async {
        if let Err(cancelled) = scope(pending::<()>()).await {
            cancelled.accept();
        }
        Ok(())
    };
    let tasks = [
        world.executor.spawn(work()).named("tea"),
        world.executor.spawn(work()), // is not asked
        world.executor.spawn(accepts),
    ];
    world.executor.run_until_idle();
    tasks[0].cancel();
    tasks[2].cancel();
    world.executor.run_until_idle();
    world
}

fn slow_poll() -> World {
    let world = World::with(|builder| builder.slow_poll(Duration::from_secs(2)));
    let clock = world.clock.clone();
    let work = async move {
        clock.advance(Duration::from_secs(1));
        yield_now().await;
        clock.advance(Duration::from_secs(2));
        Ok(())
    };
    world.executor.spawn(work).named("tea").detach();
    world.executor.run_until_idle();
    world
}

fn future_panicked_in_drop() -> World {
    let world = World::new();
    let guard = OnDrop(|| panic!("oh"));
    let work = std::future::poll_fn(move |_| {
        let _in_here = &guard;
        Poll::Ready(Ok(()))
    });
    world.executor.spawn(work).named("tea").detach();
    world.executor.run_until_idle();
    world
}

fn value_panicked_in_drop() -> World {
    let world = World::new();
    world.executor.spawn(async { Ok(OnDrop(|| panic!("oh"))) }).named("tea").detach();
    world.executor.run_until_idle();
    world
}

fn refused() -> World {
    let world = World::with(|builder| builder.max_tasks(0));
    assert!(world.executor.spawn(failing()).is_cancelled());
    world.executor.run_until_idle();
    world
}

fn library() -> World {
    let world = World::new();
    world.executor.report(Report::new(Spilled("tea")));
    world.executor.run_until_idle();
    world
}

/// Brings a report about.
type Happen = fn() -> World;

/// The line of each kind's message, and what stands below it.
#[rustfmt::skip]
const KINDS: [(ReportKind, Happen, &str); 14] = [
    (ReportKind::NeverRetrieved, never_retrieved,
        "hearken: failure was never retrieved|  task #1 \"tea\", spawned at here|  error: pouring|  caused by: spilled tea"),
    (ReportKind::Cancelled, cancelled,
        "hearken: a task was cancelled: too late|  task #1 \"tea\", spawned at here"),
    (ReportKind::CallbackPanicked, callback_panicked,
        "hearken: a done callback panicked|  task #1 \"tea\", spawned at here|  error: panicked: oh"),
    (ReportKind::FailedDuringShutdown, failed_during_shutdown,
        "hearken: failure during shutdown was never retrieved|  task #2 \"late tea\", spawned at here|  error: pouring|  caused by: spilled tea"),
    (ReportKind::Overran, overran,
        "hearken: a task did not finish within the grace, and was dropped|  task #2 \"late tea\", spawned at here"),
    (ReportKind::DroppedPending, dropped_pending,
        "hearken: a task was dropped unfinished|  task #1 \"tea\", spawned at here"),
    (ReportKind::StillHeld, still_held,
        "hearken: failure was not retrieved by the end of the executor; the task is still held|  task #1 \"tea\", spawned at here|  error: pouring|  caused by: spilled tea"),
    (ReportKind::Interrupted, interrupted,
        "hearken: interrupted"),
    (ReportKind::IgnoredCancellation, ignored_cancellation,
        "hearken: a task was asked to cancel, and ended with a value|  task #1 \"tea\", spawned at here"),
    (ReportKind::SlowPoll, slow_poll,
        "hearken: a poll took 2s|  task #1 \"tea\", spawned at here"),
    (ReportKind::PanickedInDrop, future_panicked_in_drop,
        "hearken: a future panicked while it was dropped|  task #1 \"tea\", spawned at here|  error: panicked: oh"),
    (ReportKind::PanickedInDrop, value_panicked_in_drop,
        "hearken: an outcome panicked while it was dropped|  task #1 \"tea\", spawned at here|  error: panicked: oh"),
    (ReportKind::Refused, refused,
        "hearken: a task was refused: too many are alive|  task #0, spawned at here"),
    (ReportKind::Library, library,
        "hearken: report|  error: spilled tea"),
];

/// The text with `here` for every place in this file.
fn without_places(text: &str) -> String {
    let mut parts = text.split(file!());
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push_str("here");
        short.push_str(part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()));
    }
    short.replace('\n', "|")
}

// promise 3.10, 3.11
#[test]
fn every_kind_is_reported_once_and_says_what_happened() {
    for (kind, happen, text) in KINDS {
        let world = hushed(happen);
        let notes = world.heard.notes();
        let notes: Vec<&Note> = notes.iter().filter(|note| note.kind == kind).collect();
        let [note] = notes[..] else { panic!("{kind:?}: {notes:?}") };
        assert_eq!(without_places(&note.text), text);
        assert!(note.text.starts_with(&format!("hearken: {}", note.message)));
        assert_eq!(note.task.is_some(), text.contains("task #"), "{kind:?}");
        assert_eq!(note.error.is_some(), text.contains("error: "), "{kind:?}");
        world.close();
    }
}

// promise 3.10, 3.11
#[test]
fn a_report_says_where_the_task_was_spawned() {
    let heard = Heard::default();
    let seen = heard.clone();
    let info = Shelf::new();
    let kept = info.clone();
    let executor = Executor::builder()
        .handler(move |report| {
            kept.put(report.task().cloned().expect("it is about a task"));
            seen.note(report);
            Verdict::Proceed
        })
        .build();
    let line = line!() + 1;
    executor.spawn(failing()).detach();
    executor.run_until_idle();
    let info = info.take().expect("it was reported");
    assert_eq!((info.location().file(), info.location().line()), (file!(), line));
    assert_eq!((info.name().as_str(), info.polls()), ("task-1", 1));
    assert_eq!(info.state(), hearken::TaskState::Failed);
    assert!(heard.notes()[0].text.contains(&format!("task #1, spawned at {}:{line}:", file!())));
}

// ---- The default handler ----------------------------------------------------------------

/// What a process of its own does, by name. Its panics are not printed.
const SCENARIOS: [(&str, fn()); 7] = [
    ("a failure, and the program goes on", || {
        let executor = Executor::new();
        executor.spawn(failing()).named("tea").detach();
        executor.run_until_idle();
        let next = executor.spawn(async { Ok(7) });
        executor.run_until_idle();
        assert_eq!((*next.result().unwrap(), executor.ledger().reported), (7, 1));
    }),
    ("nothing but values and cancellations", || {
        let executor = Executor::new();
        executor.spawn(async { Ok(7) }).detach();
        executor.spawn(pending::<anyhow::Result<()>>()).cancel_on_drop().cancel();
        executor.run_until_idle();
        assert_eq!((executor.ledger().succeeded, executor.ledger().cancelled), (1, 1));
    }),
    ("a handler that panics", || {
        let executor = Executor::builder().handler(|_| panic!("no ears")).build();
        executor.spawn(failing()).detach();
        executor.run_until_idle();
        executor.spawn(async { Ok(7) }).detach();
        executor.run_until_idle();
        let ledger = executor.ledger();
        assert_eq!((ledger.reported, ledger.succeeded), (1, 1));
    }),
    ("an error that cannot be printed", || {
        let executor = Executor::builder().handler(|_| panic!("no ears")).build();
        executor.spawn(async { Err::<(), _>(Unspeakable.into()) }).detach();
        executor.run_until_idle();
        assert_eq!(executor.ledger().reported, 1);
    }),
    ("nobody listens", || {
        let mut go = String::new();
        std::io::stdin().read_line(&mut go).unwrap();
        let executor = Executor::builder().handler(|_| panic!("no ears")).build();
        executor.spawn(failing()).detach();
        executor.run_until_idle();
        assert_eq!(executor.ledger().reported, 1);
    }),
    ("a handler that passes things on", || {
        let handler = |report: &Report| DefaultHandler.handle(report);
        let executor = Executor::builder().handler(handler).build();
        executor.spawn(failing()).named("tea").detach();
        executor.spawn(pending::<anyhow::Result<()>>()).cancel_on_drop().cancel();
        executor.run_until_idle();
    }),
    ("a report after the executor is gone", || {
        let executor = Executor::new();
        let task = executor.spawn(async { Ok(OnDrop(|| panic!("oh"))) }).named("tea");
        executor.run_until_idle();
        drop(executor);
        drop(task);
    }),
];

#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("it cannot be said")
    }
}

impl std::error::Error for Unspeakable {}

// promise 3.9, 3.10: what the tests below read is written here
#[test]
#[ignore = "the tests below run it in processes of its own"]
fn a_process_of_its_own() {
    let Ok(name) = std::env::var("HEARKEN_SCENARIO") else { return };
    std::panic::set_hook(Box::new(|_| {}));
    let (_, happen) = SCENARIOS.into_iter().find(|(other, _)| *other == name).unwrap();
    happen();
}

fn process(scenario: &str, backtraces: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_process_of_its_own", "--nocapture"]);
    command.env("HEARKEN_SCENARIO", scenario);
    command.env("RUST_LIB_BACKTRACE", if backtraces { "1" } else { "0" });
    command
}

/// What the scenario writes to standard error.
#[track_caller]
fn written(scenario: &str) -> String {
    let output = process(scenario, false).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{scenario}: {text}");
    without_places(&text)
}

const TEA: &str = "  error: pouring|  caused by: spilled tea|";

// promise 3.10
#[test]
fn without_a_handler_a_failure_is_written_to_standard_error_and_the_program_goes_on() {
    assert_eq!(
        written("a failure, and the program goes on"),
        format!("hearken: failure was never retrieved|  task #1 \"tea\", spawned at here|{TEA}")
    );
}

// promise 3.10
#[test]
fn the_default_handler_says_nothing_of_cancellations() {
    assert_eq!(written("nothing but values and cancellations"), "");
    assert_eq!(
        written("a handler that passes things on"),
        format!("hearken: failure was never retrieved|  task #1 \"tea\", spawned at here|{TEA}")
    );
}

// promise 3.10
#[test]
fn a_backtrace_is_written_if_the_error_has_one() {
    let output = process("a failure, and the program goes on", true).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let (before, trace) = text.split_once("\n  backtrace:\n").expect("it has a backtrace");
    assert!(before.ends_with("caused by: spilled tea"), "{text}");
    assert!(!trace.trim().is_empty());
}

// promise 3.9, 3.11
#[test]
fn when_the_handler_panics_the_default_one_gets_the_panic_and_the_report() {
    let failed = "hearken: the handler panicked|  error: panicked: no ears|";
    let report = format!("hearken: failure was never retrieved|  task #1, spawned at here|{TEA}");
    assert_eq!(written("a handler that panics"), format!("{failed}{report}"));
}

// promise 3.9
#[test]
fn when_that_fails_too_nothing_escapes_and_the_ledger_has_it() {
    let text = written("an error that cannot be printed");
    assert!(text.contains("hearken: failure was never retrieved"), "{text}");
    let mut child = process("nobody listens", false)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take()); // to write there is an error from now on
    drop(child.stdin.take()); // and so it goes on
    assert!(child.wait_with_output().unwrap().status.success());
}

// promise 3.8
#[test]
fn what_comes_when_the_handler_is_gone_goes_to_standard_error() {
    let text = written("a report after the executor is gone");
    assert!(text.contains("an outcome panicked while it was dropped"), "{text}");
}
