//! Several tasks at once, and what becomes of the others when one fails.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::bail;
use hearken::{
    Group, RunError, WaitFor, finally, gather, group, settle, sleep, spawn, try_gather, wait,
};

use crate::start::{SECOND, TENTH, run};

async fn failing_task() -> anyhow::Result<()> {
    sleep(TENTH).await;
    bail!("One of the tasks failed")
}

async fn long_task(closed: Rc<Cell<bool>>) -> anyhow::Result<()> {
    let work = async {
        sleep(3 * SECOND).await;
        println!("never printed, because main cancels this task");
        Ok(())
    };
    finally(work, async || {
        sleep(TENTH).await; // it takes a moment to close what was open
        closed.set(true);
        Ok(())
    })
    .await
}

/// One of two tasks fails. Main cancels both by hand, waits until they have
/// cleaned up, and goes on.
pub fn cancel_siblings() -> Result<(), RunError> {
    run(async {
        let closed = Rc::new(Cell::new(false));
        let mut tasks = [spawn(failing_task()), spawn(long_task(closed.clone()))];
        wait(&mut tasks, WaitFor::FirstFailure).await;
        for task in &tasks {
            task.cancel(); // one has failed already, and stays as it is
        }
        let endings = settle(tasks).await;
        if closed.get() && endings.iter().all(Result::is_err) {
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

async fn careful_sibling(number: u32) -> anyhow::Result<()> {
    finally(sibling(number), async || {
        sleep(TENTH).await;
        println!("sibling {number} cleaned up");
        Ok(())
    })
    .await
}

/// The same three with `try_gather`, which cancels the others. The caller gets
/// the failure when all of them have cleaned up.
pub fn try_gather_all() -> Result<(), RunError> {
    run(async {
        if let Err(error) = try_gather((1..=3).map(|number| spawn(careful_sibling(number)))).await {
            println!("{error}");
        }
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

async fn mirror(name: &'static str, delay: u32) -> anyhow::Result<&'static str> {
    let answer = async {
        sleep(delay * SECOND).await;
        Ok(name)
    };
    finally(answer, async || {
        sleep(TENTH).await;
        println!("{name} hung up");
        Ok(())
    })
    .await
}

/// `asyncio.wait(…, return_when=FIRST_COMPLETED)`: the quickest of three
/// mirrors will do. `wait` takes nobody's task away, so main cancels the others
/// and waits until they have hung up too.
pub fn first_completed() -> Result<(), RunError> {
    run(async {
        let mut mirrors =
            [spawn(mirror("Lisbon", 3)), spawn(mirror("Oslo", 1)), spawn(mirror("Quito", 2))];
        let (done, pending) = wait(&mut mirrors, WaitFor::First).await;
        for winner in done {
            println!("{} was first", winner.await?);
        }
        for task in &pending {
            task.cancel_with("too slow");
        }
        for loser in pending {
            if let Err(error) = loser.await {
                println!("{error}");
            }
        }
        Ok(())
    })
}

async fn download(page: &'static str, delay: u32) -> anyhow::Result<()> {
    let arrival = async {
        sleep(delay * SECOND).await;
        match page {
            "news" => println!("{page} arrived"),
            _ => bail!("{page} did not arrive"),
        }
        Ok(())
    };
    finally(arrival, async || {
        sleep(TENTH).await;
        println!("{page}: connection closed");
        Ok(())
    })
    .await
}

/// `async with asyncio.TaskGroup()` and `except*`. Two of four downloads fail
/// in the same second, and the last is cancelled. All connections are closed
/// when `group` returns, and it has every error.
pub fn group_of_four() -> Result<(), RunError> {
    run(async {
        let ending = group(async |group: Group| {
            group.spawn(download("news", 1)).detach();
            group.spawn(download("sport", 2)).detach();
            group.spawn(download("weather", 2)).detach();
            group.spawn(download("chess", 3600)).detach();
            Ok(())
        })
        .await;
        if let Err(failed) = ending {
            for error in failed.errors() {
                println!("{error}");
            }
        }
        Ok(())
    })
}
