//! A task holds its outcome, and main asks for it.
//!
//! These are the questions that asyncio puts as `task.exception()` and
//! `task.result()`.

use anyhow::bail;
use hearken::{OutcomeError, RunError, Task, TaskError, sleep, spawn};

use crate::start::{SECOND, TENTH, run};

async fn task_that_succeeds() -> anyhow::Result<()> {
    println!("executing the task");
    sleep(SECOND).await;
    Ok(())
}

async fn task_that_fails() -> anyhow::Result<()> {
    println!("executing the task");
    sleep(SECOND).await;
    bail!("Something bad happened")
}

fn print_exception(task: &Task<()>) {
    match task.error() {
        Ok(Some(error)) => println!("exception: {error}"),
        Ok(None) => println!("exception: None"),
        Err(no_answer) => println!("no exception to print: {no_answer}"),
    }
}

/// Main awaits a task that succeeds, then asks whether there was an error.
pub fn done_task() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let mut task = spawn(task_that_succeeds());
        (&mut task).await?;
        print_exception(&task);
        println!("main coroutine done");
        Ok(())
    })
}

/// The task fails while main sleeps. Main asks afterwards.
pub fn failed_task() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let task = spawn(task_that_fails());
        sleep(SECOND + TENTH).await;
        print_exception(&task);
        println!("main coroutine done");
        Ok(())
    })
}

/// Main asks while the task is still running, where asyncio raises
/// `InvalidStateError`.
pub fn running_task() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let task = spawn(task_that_succeeds());
        sleep(2 * TENTH).await;
        if let Err(too_early) = task.error() {
            println!("not finished: {too_early}");
        }
        Ok(())
    })
}

/// Main cancels the task and asks, where asyncio raises `CancelledError`.
pub fn cancelled_task() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let task = spawn(task_that_succeeds());
        sleep(TENTH).await;
        task.cancel();
        sleep(TENTH).await;
        if let Err(OutcomeError::Ended(TaskError::Cancelled(cancelled))) = task.error() {
            println!("cancelled: {}", cancelled.reason());
        }
        Ok(())
    })
}

/// Main awaits the failing task, which hands it the error.
pub fn await_failed() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let task = spawn(task_that_fails());
        if let Err(error) = task.await {
            println!("Failed with: {error}");
        }
        println!("main coroutine done");
        Ok(())
    })
}

/// Main takes the outcome out of a task that has ended, as `task.result()`
/// does in asyncio.
pub fn take_failed() -> Result<(), RunError> {
    run(async {
        println!("main coroutine started");
        let mut task = spawn(task_that_fails());
        sleep(SECOND + TENTH).await;
        if let Err(error) = task.take()? {
            println!("Failed with: {error}");
        }
        println!("main coroutine done");
        Ok(())
    })
}
