//! A panic that is the caller's mistake names the caller's line. `#[track_caller]`
//! goes through neither a closure nor an `async fn`, so each is tried.
//!
//! What is misused only when it is polled (`timeout` outside of a turn, a `scope`
//! after it was ready) has no line to name, and its message names the function.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use common::poll_once;
use hearken::{
    Budget, Cancelled, Executor, Instant, Report, Task, TimeoutHandle, WaitFor, current, group,
    interval, interval_at, now, report, request_shut_down, scope, sleep, sleep_until, spawn,
    spawn_infallible, timeout, timeout_at, timeout_by, try_spawn, wait_timeout,
};

/// Of a panic: file and line, and what it said.
#[derive(Debug)]
struct Seen {
    name: &'static str,
    expected: u32,
    file: String,
    line: u32,
    message: String,
}

thread_local! {
    /// The last panic of this thread.
    static LAST: RefCell<Option<(String, u32, String)>> = const { RefCell::new(None) };
}

/// Does `work`, during which something panics, and says what did last.
fn see(name: &'static str, expected: u32, work: impl FnOnce()) -> Seen {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>().map(ToString::to_string);
            let message = text.or_else(|| info.payload().downcast_ref().cloned());
            let message = message.unwrap_or_default();
            let place = info.location().map(|at| (at.file().to_owned(), at.line(), message));
            LAST.set(place);
            if !LISTENS.get() {
                hook(info);
            }
        }));
    });
    LISTENS.set(true);
    let _may_be_caught_inside = catch_unwind(AssertUnwindSafe(work));
    LISTENS.set(false);
    let (file, line, message) = LAST.take().expect("something panics");
    Seen { name, expected, file, line, message }
}

thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// A call that is expected to panic at the line where this stands.
macro_rules! there {
    ($name:literal, $call:expr) => {
        see($name, line!(), || {
            let _unused = $call;
        })
    };
}

#[track_caller]
fn assert_there(panics: impl IntoIterator<Item = Seen>) {
    let here = Location::caller().file();
    let there = |seen: &Seen| (seen.file.as_str(), seen.line) == (here, seen.expected);
    let elsewhere: Vec<_> = panics.into_iter().filter(|seen| !there(seen)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

// promise 10.1
#[test]
fn a_free_function_outside_of_a_turn_names_the_line_of_its_caller() {
    let second = Duration::from_secs(1);
    let panics = [
        there!("spawn", spawn(async { Ok(()) })),
        there!("spawn_infallible", spawn_infallible(async {})),
        there!("try_spawn", try_spawn(async { Ok(()) })),
        there!("current", current()),
        there!("now", now()),
        there!("report", report(Report::new(anyhow::anyhow!("x")))),
        there!("request_shut_down", request_shut_down("x")),
        there!("sleep", sleep(second)),
        there!("sleep_until", sleep_until(Instant::ZERO)),
        there!("interval", interval(second)),
        there!("interval_at", interval_at(Instant::ZERO, second)),
        there!("wait_timeout", wait_timeout::<()>(&mut [], WaitFor::All, second)),
    ];
    for Seen { name, message, .. } in &panics {
        assert!(message.contains(&format!("hearken::{name} was called")), "{message}");
    }
    assert_there(panics);
}

// promise 10.1
#[test]
fn what_is_polled_outside_of_a_turn_says_what_it_is() {
    let handle = TimeoutHandle::new(None);
    let pending = || std::future::pending::<()>();
    let polled = |mut future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        see("", 0, move || assert!(poll_once(&mut future).is_pending())).message
    };
    let second = Duration::from_secs(1);
    let said = [
        (
            "timeout",
            polled(Box::pin(async move {
                let _ = timeout(second, pending()).await;
            })),
        ),
        (
            "timeout_at",
            polled(Box::pin(async move {
                let _ = timeout_at(Instant::ZERO, pending()).await;
            })),
        ),
        (
            "timeout_by",
            polled(Box::pin(async move {
                let _ = timeout_by(&handle, pending()).await;
            })),
        ),
        ("group", polled(Box::pin(async move { drop(group(async |_| Ok(())).await) }))),
        ("Cancelled::rethrow", polled(Box::pin(async move { cancelled().rethrow().await }))),
    ];
    for (name, message) in said {
        assert!(message.contains(&format!("hearken::{name} was called")), "{name}: {message}");
    }
}

/// A token, outside of its task.
fn cancelled() -> Cancelled {
    let executor = Executor::new();
    let shelf = common::Shelf::new();
    let kept = shelf.clone();
    let task = executor.spawn(async move {
        kept.put(scope(std::future::pending::<()>()).await.unwrap_err());
        Ok(())
    });
    executor.run_until_idle();
    task.cancel();
    executor.run_until_idle();
    shelf.take().unwrap()
}

// promise 10.1: in a turn, and in no task
#[test]
fn current_in_a_callback_names_the_line_of_its_caller() {
    let executor = Executor::new();
    let place = common::Shelf::new();
    let kept = place.clone();
    let task = executor.spawn(async { Ok(()) });
    task.on_done(move |_| {
        kept.put([there!("current", current())]);
    });
    executor.run_until_idle();
    assert_there(place.take().unwrap());
}

// promise 3.2
#[test]
fn an_await_after_the_outcome_was_taken_names_its_line() {
    let executor = Executor::new();
    let line_of_await = Rc::new(Cell::new(0));
    let line = line_of_await.clone();
    let mut task: Task<()> = executor.spawn(async { Ok(()) });
    executor.run_until_idle();
    let _ = task.take();
    let awaiting = executor.spawn_infallible(async move {
        line.set(line!() + 1);
        let _ = task.await;
    });
    let seen = see("await", 0, || {
        executor.run_until_idle();
    });
    assert_eq!(seen.message, "task awaited after its outcome was taken");
    assert_eq!((seen.file.as_str(), seen.line), (file!(), line_of_await.get()));
    assert!(awaiting.error().unwrap().is_some());
}

// promise 6.6
#[test]
fn a_turn_inside_a_turn_names_the_line_of_its_caller() {
    let executor = Rc::new(Executor::new());
    let place = common::Shelf::new();
    let (kept, own) = (place.clone(), executor.clone());
    let inside = executor.spawn(async move {
        kept.put([
            there!("turn", own.turn(Budget::Batch)),
            there!("run_until_idle", own.run_until_idle()),
            there!("shut_down", own.shut_down()),
        ]);
        Ok(())
    });
    executor.run_until_idle();
    assert_there(place.take().unwrap());
    drop(inside);

    let place = common::Shelf::new();
    let (kept, own) = (place.clone(), executor.clone());
    let answer = executor.block_on(async move {
        kept.put([there!("turn", own.turn(Budget::Batch)), there!("shut_down", own.shut_down())]);
        ready(Ok(())).await
    });
    answer.unwrap();
    assert_there(place.take().unwrap());
}
