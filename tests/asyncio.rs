//! Where hearken is meant to behave as asyncio does, it says the same lines.
//!
//! `asyncio/record.py` runs small programs on CPython and keeps what they say
//! in `asyncio/transcript.txt`. Here are the same programs for hearken, under
//! the same names and in the same order. What is deliberately different is
//! listed at the top of the script; no Python is needed to run this.

use std::any::type_name;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use hearken::{
    Executor, ManualClock, OutcomeError, Panicked, Report, ReportKind, RunError, Task, TaskError,
    Verdict, current, gather, settle, sleep, spawn, spawn_infallible, timeout, yield_now,
};

const TRANSCRIPT: &str = include_str!("asyncio/transcript.txt");

// What a program may lean on, as in the script.

/// Collects what a program says, line by line.
#[derive(Clone, Default)]
struct Transcript(Rc<RefCell<Vec<String>>>);

impl Transcript {
    fn say(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    fn say_whether(&self, what: &str, flag: bool) {
        self.say(format!("{what}: {}", yes_no(flag)));
    }

    /// Says `line` when dropped. It stands for Python's `finally`.
    fn finally(&self, line: &'static str) -> Finally {
        Finally(self.clone(), line)
    }
}

struct Finally(Transcript, &'static str);

impl Drop for Finally {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// The lines that the script recorded for the program of that name.
fn recorded(name: &str) -> Vec<&'static str> {
    let mut lines = TRANSCRIPT.lines();
    let heading = format!("[{name}]");
    assert!(lines.any(|line| line == heading), "{name} was never recorded");
    lines.take_while(|line| !line.is_empty()).collect()
}

/// Runs `program` to its end and compares what it said with the recording that
/// has the name of the test.
fn same_as_recorded<P>(program: P)
where
    P: AsyncFnOnce(Transcript) -> anyhow::Result<()>,
{
    // A closure's type is called `asyncio::the_test::{{closure}}`. That spares
    // every test its own name once more; if it ever changes, nothing is found
    // in the recording, and every test says so.
    let name = type_name::<P>().split("::").nth(1).unwrap_or_default();
    let said = Transcript::default();
    let hears = said.clone();
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .handler(move |report| {
            // asyncio doesn't report cancellations.
            if report.kind() != ReportKind::Cancelled {
                hears.say(format!("handler: {}", error_of(report)));
            }
            Verdict::Proceed
        })
        .build();

    let ending = executor.block_on(program(said.clone()));
    let _ = executor.shut_down();
    match ending {
        Ok(()) => {}
        Err(RunError::Failed(error)) => said.say(format!("run failed: {error}")),
        Err(other) => panic!("{name} ended in {other}"),
    }

    assert!(executor.ledger().balances(), "{}", executor.ledger());
    assert_eq!(*said.0.borrow(), recorded(name));
}

fn error_of(report: &Report) -> String {
    match report.error() {
        None => String::from("None"),
        Some(error) => match error.downcast_ref::<Panicked>() {
            Some(panicked) => String::from(panicked.message()),
            None => error.to_string(),
        },
    }
}

fn ms(delay_ms: u64) -> Duration {
    Duration::from_millis(delay_ms)
}

async fn value_after<T>(delay_ms: u64, value: T) -> anyhow::Result<T> {
    sleep(ms(delay_ms)).await;
    Ok(value)
}

async fn failure_after(delay_ms: u64, message: &'static str) -> anyhow::Result<&'static str> {
    sleep(ms(delay_ms)).await;
    bail!(message)
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

/// How a task ended, in words.
fn in_words<T: Display>(ending: Result<T, TaskError>) -> String {
    match ending {
        Ok(value) => format!("value {value}"),
        Err(TaskError::Cancelled(_)) => String::from("cancelled"),
        Err(TaskError::Failed(error)) => format!("failed: {error}"),
        Err(TaskError::Panicked(panicked)) => format!("panicked: {}", panicked.message()),
    }
}

/// What `Task::result` says, in the words of the script.
fn result_in_words<T: Display>(result: Result<&T, OutcomeError<'_>>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(OutcomeError::Pending) => String::from("pending"),
        Err(OutcomeError::Ended(TaskError::Cancelled(_))) => String::from("cancelled"),
        Err(OutcomeError::Ended(TaskError::Failed(error))) => format!("raises {error}"),
        Err(other) => format!("unexpected: {other}"),
    }
}

/// What `Task::error` says, in the words of the script.
fn error_in_words(error: Result<Option<&anyhow::Error>, OutcomeError<'_>>) -> String {
    match error {
        Ok(None) => String::from("None"),
        Ok(Some(error)) => error.to_string(),
        Err(OutcomeError::Pending) => String::from("pending"),
        Err(OutcomeError::Ended(TaskError::Cancelled(_))) => String::from("cancelled"),
        Err(other) => format!("unexpected: {other}"),
    }
}

/// A value for tasks whose value nobody looks at, so that it can be printed.
const NOTHING: &str = "nothing";

// Who runs when.

// promise 7.1, 7.3
#[test]
fn tasks_start_in_spawn_order_and_not_inside_spawn() {
    same_as_recorded(async |said| {
        let mut tasks = Vec::new();
        for number in 1..=3 {
            let worker = said.clone();
            tasks
                .push(spawn_infallible(async move { worker.say(format!("task {number} starts")) }));
            said.say(format!("task {number} spawned"));
        }
        yield_now().await;
        said.say("main goes on");
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

// promise 7.1
#[test]
fn tasks_that_yield_take_turns() {
    async fn worker(said: Transcript, name: &'static str) {
        for count in 1..=3 {
            said.say(format!("{name} {count}"));
            yield_now().await;
        }
    }

    same_as_recorded(async |said| {
        let tasks = ["a", "b", "c"].map(|name| spawn_infallible(worker(said.clone(), name)));
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

// promise 7.1, 7.3
#[test]
fn a_spawned_child_waits_behind_what_is_ready() {
    async fn child(said: Transcript) {
        said.say("child");
    }

    async fn parent(said: Transcript) -> Task<()> {
        said.say("parent spawns");
        spawn_infallible(child(said))
    }

    async fn neighbour(said: Transcript) {
        said.say("neighbour");
        yield_now().await;
        said.say("neighbour again");
    }

    same_as_recorded(async |said| {
        let first = spawn_infallible(parent(said.clone()));
        let second = spawn_infallible(neighbour(said));
        first.await?.await?;
        second.await?;
        Ok(())
    });
}

// promise 7.1
#[test]
fn awaiting_a_pending_task_lets_the_others_run() {
    same_as_recorded(async |said| {
        let worker = said.clone();
        let task = spawn_infallible(async move {
            worker.say("worker");
            7
        });
        let bystander = said.clone();
        let other = spawn_infallible(async move { bystander.say("bystander") });
        said.say(format!("main got {}", task.await?));
        other.await?;
        Ok(())
    });
}

// promise 3.2
#[test]
fn awaiting_a_done_task_does_not_suspend() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(0, "the value"));
        sleep(ms(10)).await;
        let bystander = said.clone();
        let other = spawn_infallible(async move { bystander.say("bystander") });
        said.say(format!("main got {}", task.await?));
        other.await?;
        Ok(())
    });
}

// promise 7.1
#[test]
fn an_outcome_climbs_one_awaiter_per_pass() {
    async fn level(said: Transcript, number: u32) -> anyhow::Result<&'static str> {
        if number == 0 {
            yield_now().await;
            yield_now().await;
            said.say("level 0 ends");
            return Ok("the value");
        }
        // Boxed, because a future cannot contain its own type.
        let below: futures::future::LocalBoxFuture<'_, _> =
            Box::pin(level(said.clone(), number - 1));
        let value = spawn(below).await?;
        said.say(format!("level {number} has it"));
        Ok(value)
    }

    async fn ticker(said: Transcript) {
        for tick in 1..=10 {
            said.say(format!("tick {tick}"));
            yield_now().await;
        }
    }

    same_as_recorded(async |said| {
        let top = spawn(level(said.clone(), 3));
        let ticks = spawn_infallible(ticker(said.clone()));
        said.say(format!("main has {}", top.await?));
        ticks.await?;
        Ok(())
    });
}

// promise 7.5
#[test]
fn sleeps_end_in_order_of_their_deadlines() {
    async fn sleeper(said: Transcript, delay_ms: u64) {
        sleep(ms(delay_ms)).await;
        said.say(format!("slept {delay_ms} ms"));
    }

    same_as_recorded(async |said| {
        let tasks = [40, 10, 30, 20].map(|ms| spawn_infallible(sleeper(said.clone(), ms)));
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

// promise 7.4, 7.5
#[test]
fn a_deadline_counts_from_the_call_of_sleep() {
    async fn twice(said: Transcript, name: &'static str, first_ms: u64, then_ms: u64) {
        sleep(ms(first_ms)).await;
        said.say(format!("{name} half-way"));
        sleep(ms(then_ms)).await;
        said.say(format!("{name} there"));
    }

    same_as_recorded(async |said| {
        let tasks = [
            spawn_infallible(twice(said.clone(), "a", 10, 50)),
            spawn_infallible(twice(said.clone(), "b", 30, 10)),
            spawn_infallible(twice(said.clone(), "c", 20, 60)),
        ];
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

// What became of it.

// promise 3.2
#[test]
fn accessors_answer_by_state() {
    fn look<T: Display>(said: &Transcript, name: &str, task: &Task<T>) {
        said.say(format!(
            "{name}: done {}, cancelled {}, result {}, exception {}",
            yes_no(task.is_finished()),
            yes_no(task.is_cancelled()),
            result_in_words(task.result()),
            error_in_words(task.error()),
        ));
    }

    same_as_recorded(async |said| {
        let good = spawn(value_after(10, "fine"));
        let bad = spawn(failure_after(10, "boom"));
        let gone: Task<&str> = spawn_infallible(pending());
        look(&said, "not started", &good);
        yield_now().await;
        look(&said, "sleeping", &good);
        gone.cancel();
        look(&said, "cancel requested", &gone);
        sleep(ms(20)).await;
        look(&said, "succeeded", &good);
        look(&said, "failed", &bad);
        look(&said, "cancelled", &gone);
        look(&said, "failed, once more", &bad);
        Ok(())
    });
}

// promise 3.2
#[test]
fn a_success_that_was_awaited_still_has_no_exception() {
    same_as_recorded(async |said| {
        let mut task = spawn(value_after(10, "the value"));
        said.say(in_words((&mut task).await));
        said.say(format!("exception: {}", error_in_words(task.error())));
        Ok(())
    });
}

// promise 3.6
#[test]
fn awaiting_retrieves_a_failure() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        said.say(in_words(task.await));
        sleep(ms(10)).await;
        Ok(())
    });
}

// promise 3.6
#[test]
fn asking_for_the_exception_retrieves_a_failure() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        sleep(ms(20)).await;
        said.say(error_in_words(task.error()));
        drop(task);
        sleep(ms(10)).await;
        Ok(())
    });
}

// promise 3.6
#[test]
fn asking_for_the_result_retrieves_a_failure() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        sleep(ms(20)).await;
        said.say(result_in_words(task.result()));
        drop(task);
        sleep(ms(10)).await;
        Ok(())
    });
}

// promise 3.6
#[test]
fn a_failure_whose_handle_went_first_reaches_the_handler() {
    same_as_recorded(async |said| {
        spawn(failure_after(10, "boom")).detach();
        sleep(ms(20)).await;
        said.say("main goes on");
        Ok(())
    });
}

// promise 3.6
#[test]
fn a_failure_waits_while_a_handle_is_held() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        sleep(ms(20)).await;
        said.say("nothing heard yet");
        drop(task);
        sleep(ms(10)).await;
        said.say("main goes on");
        Ok(())
    });
}

// promise 3.5, 3.6
#[test]
fn the_failure_of_main_comes_out_of_run_and_is_not_reported() {
    same_as_recorded(async |_said| {
        sleep(ms(10)).await;
        bail!("boom")
    });
}

// promise 3.6
#[test]
fn a_child_that_fails_passes_its_error_through_main() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        task.await?;
        said.say("not reached");
        Ok(())
    });
}

// Callbacks.

// promise 3.13
#[test]
fn callbacks_run_in_order_and_never_inline() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(10, "the value"));
        for name in ["first", "second"] {
            let sees = said.clone();
            task.on_done(move |end| {
                sees.say(format!("{name} sees {}", result_in_words(end.result())))
            });
        }
        sleep(ms(20)).await;
        let sees = said.clone();
        task.on_done(move |end| {
            sees.say(format!("late one sees {}", result_in_words(end.result())))
        });
        said.say("late one added");
        yield_now().await;
        said.say("main goes on");
        Ok(())
    });
}

// promise 3.13
#[test]
fn callbacks_and_awaiters_share_one_queue() {
    same_as_recorded(async |said| {
        let mut task = spawn(value_after(10, "the value"));
        let before = said.clone();
        task.on_done(move |_| before.say("callback before the awaiter"));
        // In Python another task awaits. Here main does: a task has one owner,
        // and that one must still be there to add the second callback.
        assert!(futures::poll!(&mut task).is_pending());
        let after = said.clone();
        task.on_done(move |_| after.say("callback after the awaiter"));
        task.await?;
        said.say("awaiter");
        yield_now().await;
        Ok(())
    });
}

// promise 3.13, 7.1
#[test]
fn a_callback_queues_behind_what_was_ready_before() {
    async fn twice(said: Transcript, line: &'static str) {
        yield_now().await;
        said.say(line);
    }

    async fn ends(said: Transcript) {
        said.say("ends");
    }

    same_as_recorded(async |said| {
        let tasks = [
            spawn_infallible(twice(said.clone(), "early")),
            spawn_infallible(ends(said.clone())),
            spawn_infallible(twice(said.clone(), "late")),
        ];
        let called = said.clone();
        tasks[1].on_done(move |_| called.say("callback"));
        for task in tasks {
            task.await?;
        }
        Ok(())
    });
}

// promise 3.13
#[test]
fn a_removed_callback_is_not_called() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(10, "the value"));
        let mut ids = Vec::new();
        for name in ["first", "not reached", "third"] {
            let called = said.clone();
            ids.push(task.on_done(move |_| called.say(name)));
        }
        said.say_whether("removed", task.remove_on_done(ids[1]));
        said.say_whether("removed again", task.remove_on_done(ids[1]));
        sleep(ms(20)).await;
        Ok(())
    });
}

// promise 3.13
#[test]
fn a_callback_that_raises_does_not_stop_the_others() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(10, "the value"));
        let first = said.clone();
        task.on_done(move |_| {
            first.say("first");
            panic!("from the callback")
        });
        yield_now().await;
        let second = said.clone();
        task.on_done(move |_| second.say("second"));
        sleep(ms(20)).await;
        said.say(format!("still there: {}", result_in_words(task.result())));
        Ok(())
    });
}

// promise 3.6, 3.13
#[test]
fn a_callback_that_does_not_look_is_no_retrieval() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        let sees = said.clone();
        task.on_done(move |end| {
            let done = !matches!(
                end.info().state(),
                hearken::TaskState::Ready
                    | hearken::TaskState::Waiting
                    | hearken::TaskState::Running
            );
            sees.say_whether("done", done);
        });
        sleep(ms(20)).await;
        said.say("main drops the task");
        drop(task);
        sleep(ms(10)).await;
        Ok(())
    });
}

// promise 3.6, 3.13
#[test]
fn a_callback_that_looks_is_a_retrieval() {
    same_as_recorded(async |said| {
        let task = spawn(failure_after(10, "boom"));
        let sees = said.clone();
        task.on_done(move |end| sees.say(format!("saw {}", error_in_words(end.error()))));
        sleep(ms(20)).await;
        said.say("main drops the task");
        drop(task);
        sleep(ms(10)).await;
        Ok(())
    });
}

// promise 3.13
#[test]
fn a_callback_hears_of_a_cancellation() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(1_000, NOTHING));
        let sees = said.clone();
        task.on_done(move |end| sees.say(format!("saw {}", result_in_words(end.result()))));
        sleep(ms(10)).await;
        said.say_whether("cancel", task.cancel());
        sleep(ms(10)).await;
        Ok(())
    });
}

// Cancellation.

// promise 4.2
#[test]
fn a_task_cancelled_before_it_started_runs_nothing() {
    same_as_recorded(async |said| {
        let worker = said.clone();
        let task = spawn_infallible(async move {
            let _finally = worker.finally("not reached either");
            worker.say("not reached");
            NOTHING
        });
        said.say_whether("cancel", task.cancel());
        said.say_whether("done", task.is_finished());
        said.say(in_words(task.await));
        Ok(())
    });
}

// promise 4.1, 4.2
#[test]
fn a_sleeping_task_is_cancelled_in_its_place_not_inline() {
    same_as_recorded(async |said| {
        let worker = said.clone();
        let mut task = spawn_infallible(async move {
            let _finally = worker.finally("worker cleans up");
            sleep(ms(1_000)).await;
            worker.say("not reached");
            NOTHING
        });
        sleep(ms(10)).await;
        said.say_whether("cancel", task.cancel());
        said.say_whether("cancelled at once", task.is_cancelled());
        said.say(in_words((&mut task).await));
        said.say_whether("cancelled now", task.is_cancelled());
        Ok(())
    });
}

// promise 4.2
#[test]
fn cleanups_run_innermost_first() {
    async fn inner(said: Transcript) {
        let _finally = said.finally("inner");
        sleep(ms(1_000)).await;
    }

    async fn outer(said: Transcript) -> &'static str {
        let _finally = said.finally("outer");
        inner(said.clone()).await;
        NOTHING
    }

    same_as_recorded(async |said| {
        let task = spawn_infallible(outer(said.clone()));
        sleep(ms(10)).await;
        task.cancel();
        said.say(in_words(task.await));
        Ok(())
    });
}

// promise 4.2, 7.1
#[test]
fn cancelled_tasks_clean_up_in_the_order_of_the_requests() {
    async fn worker(said: Transcript, line: &'static str) -> &'static str {
        let _finally = said.finally(line);
        sleep(ms(1_000)).await;
        NOTHING
    }

    same_as_recorded(async |said| {
        let tasks = ["task 0 cleans up", "task 1 cleans up", "task 2 cleans up"]
            .map(|line| spawn_infallible(worker(said.clone(), line)));
        sleep(ms(10)).await;
        for number in [1, 0, 2] {
            tasks[number].cancel();
        }
        said.say("all requested");
        for task in tasks {
            said.say(in_words(task.await));
        }
        Ok(())
    });
}

// promise 4.1
#[test]
fn cancelling_a_done_task_says_no_and_changes_nothing() {
    same_as_recorded(async |said| {
        let good = spawn(value_after(10, "the value"));
        let gone = spawn(value_after(1_000, NOTHING));
        sleep(ms(20)).await;
        gone.cancel();
        sleep(ms(20)).await;
        said.say_whether("cancel of the succeeded", good.cancel());
        said.say_whether("cancel of the cancelled", gone.cancel());
        said.say(format!("requests: {} and {}", good.cancelling(), gone.cancelling()));
        said.say(in_words(good.await));
        said.say(in_words(gone.await));
        Ok(())
    });
}

// promise 4.1, 4.10
#[test]
fn two_requests_say_yes_twice_and_are_delivered_once() {
    same_as_recorded(async |said| {
        let worker = said.clone();
        let task = spawn_infallible(async move {
            let _finally = worker.finally("cleans up");
            sleep(ms(1_000)).await;
        });
        sleep(ms(10)).await;
        said.say_whether("first", task.cancel_with("the first reason"));
        said.say_whether("second", task.cancel_with("the second reason"));
        said.say(format!("requests: {}", task.cancelling()));
        if let Err(TaskError::Cancelled(cancelled)) = task.await {
            said.say(format!("cancelled: {}", cancelled.reason()));
        }
        Ok(())
    });
}

// promise 4.6
#[test]
fn a_task_that_cancels_itself_runs_on_to_its_next_suspension() {
    same_as_recorded(async |said| {
        let worker = said.clone();
        let task = spawn_infallible(async move {
            let _finally = worker.finally("cleans up");
            worker.say_whether("cancel", current().cancel());
            worker.say("still running");
            sleep(ms(10)).await;
            worker.say("not reached");
            NOTHING
        });
        said.say(in_words(task.await));
        Ok(())
    });
}

// promise 4.6
#[test]
fn a_task_that_cancels_itself_and_returns_ends_as_cancelled() {
    same_as_recorded(async |said| {
        let task = spawn_infallible(async {
            current().cancel();
            "lost"
        });
        said.say(in_words(task.await));
        Ok(())
    });
}

// promise 4.6
#[test]
fn a_task_that_cancels_itself_and_fails_ends_as_failed() {
    same_as_recorded(async |said| {
        let task = spawn::<&str>(async {
            current().cancel();
            bail!("boom")
        });
        said.say(in_words(task.await));
        Ok(())
    });
}

// promise 3.6
#[test]
fn a_cancellation_is_not_reported() {
    same_as_recorded(async |said| {
        let task = spawn(value_after(1_000, NOTHING));
        sleep(ms(10)).await;
        task.cancel();
        drop(task);
        sleep(ms(10)).await;
        said.say("nothing heard");
        Ok(())
    });
}

// promise 6.4
#[test]
fn what_main_leaves_behind_is_cancelled_at_the_end_of_run() {
    // `block_on` leaves the worker pending; `shut_down`, which `run` calls and
    // `same_as_recorded` too, is what cancels it.
    same_as_recorded(async |said| {
        let worker = said.clone();
        let task = spawn_infallible(async move {
            let _finally = worker.finally("worker cleans up");
            sleep(ms(1_000)).await;
            worker.say("not reached");
        });
        sleep(ms(10)).await;
        said.say_whether("main ends, worker done", task.is_finished());
        Ok(())
    });
}

// Many tasks, and deadlines.

async fn announced(
    said: Transcript,
    name: &'static str,
    delay_ms: u64,
) -> anyhow::Result<&'static str> {
    sleep(ms(delay_ms)).await;
    said.say(format!("{name} ends"));
    Ok(name)
}

async fn announced_failure(
    said: Transcript,
    message: &'static str,
    delay_ms: u64,
) -> anyhow::Result<&'static str> {
    sleep(ms(delay_ms)).await;
    said.say(format!("{message} raised"));
    Err(anyhow!(message))
}

// promise 5.1
#[test]
fn gather_gives_the_values_in_the_order_of_its_arguments() {
    same_as_recorded(async |said| {
        let values = gather([
            spawn(announced(said.clone(), "a", 30)),
            spawn(announced(said.clone(), "b", 10)),
            spawn(announced(said.clone(), "c", 20)),
        ])
        .await?;
        said.say(values.join(" "));
        Ok(())
    });
}

// promise 5.1
#[test]
fn gather_of_nothing_is_ready_at_once() {
    same_as_recorded(async |said| {
        let bystander = said.clone();
        let other = spawn_infallible(async move { bystander.say("bystander") });
        said.say(format!("{} values", gather(Vec::<Task<()>>::new()).await?.len()));
        other.await?;
        Ok(())
    });
}

// promise 5.1
#[test]
fn gather_hands_over_the_first_failure_and_the_siblings_run_on() {
    same_as_recorded(async |said| {
        let ending = gather([
            spawn(announced(said.clone(), "a", 30)),
            spawn(announced_failure(said.clone(), "boom", 10)),
            spawn(announced(said.clone(), "c", 20)),
        ])
        .await;
        if let Err(TaskError::Failed(error)) = ending {
            said.say(format!("gather failed: {error}"));
        }
        sleep(ms(40)).await;
        said.say("main goes on");
        Ok(())
    });
}

// promise 5.1
#[test]
fn settle_waits_for_all_and_keeps_every_ending() {
    same_as_recorded(async |said| {
        let endings = settle([
            spawn(announced(said.clone(), "a", 30)),
            spawn(announced_failure(said.clone(), "boom", 10)),
            spawn(async {
                current().cancel();
                yield_now().await;
                Ok(NOTHING)
            }),
            spawn(announced(said.clone(), "d", 20)),
        ])
        .await;
        for ending in endings {
            said.say(in_words(ending));
        }
        Ok(())
    });
}

// promise 4.9
#[test]
fn a_body_quicker_than_its_timeout_gives_its_value() {
    same_as_recorded(async |said| {
        let value = timeout(ms(50), value_after(10, "the value")).await??;
        said.say(format!("got {value}"));
        sleep(ms(100)).await;
        said.say("the deadline passed unnoticed");
        Ok(())
    });
}

// promise 4.9
#[test]
fn a_body_slower_than_its_timeout_is_gone_when_the_timeout_returns() {
    async fn slow(said: Transcript) {
        let _finally = said.finally("body cleans up");
        sleep(ms(1_000)).await;
        said.say("not reached");
    }

    same_as_recorded(async |said| {
        if timeout(ms(50), slow(said.clone())).await.is_err() {
            said.say("too late");
        }
        sleep(ms(2_000)).await;
        said.say("main goes on");
        Ok(())
    });
}

// promise 4.9
#[test]
fn a_body_that_fails_under_a_timeout_gives_its_own_error() {
    same_as_recorded(async |said| {
        if let Err(error) = timeout(ms(50), failure_after(10, "boom")).await? {
            said.say(format!("failed: {error}"));
        }
        Ok(())
    });
}

// The recording itself.

#[test]
fn every_program_was_recorded_and_every_recording_has_its_program() {
    let recorded: BTreeSet<_> =
        TRANSCRIPT.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
    let here: BTreeSet<_> = include_str!("asyncio.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("fn ")?.strip_suffix("() {"))
        .filter(|&name| name != "every_program_was_recorded_and_every_recording_has_its_program")
        .collect();
    assert_eq!(here, recorded);
}
