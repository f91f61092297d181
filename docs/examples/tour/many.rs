//! Several tasks at once, and what becomes of the others when one fails.

use anyhow::bail;
use hearken::{RunError, Task, TaskRef, gather, settle, sleep, spawn};

use crate::start::{SECOND, TENTH, run};

async fn failing_task() -> anyhow::Result<()> {
    sleep(TENTH).await;
    bail!("One of the tasks failed")
}

async fn long_task() -> anyhow::Result<()> {
    sleep(3 * SECOND).await;
    println!("never printed, because main cancels this task");
    Ok(())
}

/// One of two tasks fails. `gather` doesn't touch the other, so main cancels
/// both by hand, and goes on.
pub fn cancel_siblings() -> Result<(), RunError> {
    run(async {
        let tasks = [spawn(failing_task()), spawn(long_task())];
        // gather takes the tasks. To cancel one, a look at it is enough.
        let looks: Vec<TaskRef> = tasks.iter().map(Task::task_ref).collect();
        if gather(tasks).await.is_err() {
            for look in looks {
                look.cancel();
            }
            println!("Canceled all tasks");
        }
        sleep(5 * SECOND).await;
        Ok(())
    })
}

async fn sibling(number: u32) -> anyhow::Result<()> {
    if number == 2 {
        bail!("sibling 2 failed");
    }
    sleep(number * SECOND).await;
    println!("sibling {number} finished");
    Ok(())
}

/// `gather` of three, the second of which fails at once. The caller gets that
/// failure right then; the others run to their end.
pub fn fail_fast() -> Result<(), RunError> {
    run(async {
        if let Err(error) = gather((1..=3).map(|number| spawn(sibling(number)))).await {
            println!("{error}");
        }
        sleep(5 * SECOND).await;
        Ok(())
    })
}

async fn operation(number: usize) -> anyhow::Result<&'static str> {
    sleep(SECOND).await;
    if number == 1 {
        bail!("This operation failed!");
    }
    Ok("Success!")
}

/// `gather(…, return_exceptions=True)`: all are waited for, and each ending
/// stands in the list, in the order of the arguments.
pub fn settle_all() -> Result<(), RunError> {
    run(async {
        println!("Running multiple tasks concurrently...");
        let endings = settle((0..3).map(|number| spawn(operation(number)))).await;
        println!("\n--- All tasks have completed ---");
        for (number, ending) in endings.into_iter().enumerate() {
            match ending {
                Ok(value) => println!("Task {number} succeeded with result: {value}"),
                Err(error) => println!("Task {number} failed with an error: {error}"),
            }
        }
        Ok(())
    })
}
