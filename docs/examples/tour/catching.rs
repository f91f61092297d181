//! Errors are caught: by type, after a retry, at the top, on the way up.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;

use anyhow::{Context, bail};
use hearken::{RunError, gather, sleep, spawn, timeout};

use crate::start::{SECOND, TENTH, run};

#[derive(Debug)]
struct OperationFailed;

impl fmt::Display for OperationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The operation failed!")
    }
}

impl Error for OperationFailed {}

async fn failing_operation() -> anyhow::Result<()> {
    println!("Executing operation that should fail...");
    sleep(SECOND).await;
    Err(OperationFailed.into())
}

/// `try: await …` with `except OperationFailed`: any other error goes on up.
pub fn catch() -> Result<(), RunError> {
    run(async {
        match failing_operation().await {
            Err(error) if error.is::<OperationFailed>() => {
                println!("Caught a specific error: {error}");
                Ok(())
            }
            ending => ending,
        }
    })
}

/// Asks a server that never answers, and gives up after `patience`.
async fn fetch(patience: Duration) -> io::Result<String> {
    let answer = pending();
    timeout(patience, answer).await.map_err(|_elapsed| {
        let message = format!("no answer within {patience:?}");
        io::Error::new(io::ErrorKind::TimedOut, message)
    })
}

async fn fetch_with_retries() -> io::Result<String> {
    let mut patience = TENTH;
    let mut attempt = 1;
    loop {
        match fetch(patience).await {
            Ok(page) => return Ok(page),
            Err(error) => {
                println!("attempt {attempt} failed: {error}");
                if attempt == 3 {
                    return Err(error);
                }
            }
        }
        sleep(SECOND).await;
        patience *= 2;
        attempt += 1;
    }
}

/// A fetch is tried again, a second later and with more patience, until the
/// third error is the one that counts.
pub fn retry() -> Result<(), RunError> {
    run(async {
        if let Err(error) = fetch_with_retries().await {
            println!("gave up: {error}");
        }
        Ok(())
    })
}

async fn good_task() -> anyhow::Result<()> {
    sleep(2 * SECOND).await;
    Ok(())
}

async fn bad_task() -> anyhow::Result<()> {
    sleep(SECOND).await;
    bail!("This task encountered an error!")
}

/// Two tasks are gathered and one fails. Nothing below catches it, and
/// `try: asyncio.run(main())` stands around everything.
pub fn top_level() -> Result<(), RunError> {
    let ending = run(async {
        gather([spawn(good_task()), spawn(bad_task())]).await?;
        Ok(())
    });
    if let Err(error) = ending {
        println!("Encountered an unhandled exception: {error}");
    }
    Ok(())
}

async fn read_settings() -> anyhow::Result<String> {
    sleep(TENTH).await;
    Err(io::Error::other("the disk is on fire")).context("cannot read settings.toml")
}

async fn start_service() -> anyhow::Result<()> {
    read_settings().await.context("cannot start the service")?;
    Ok(())
}

/// `except Exception: logger.exception(…); raise`.
async fn start_service_logged() -> anyhow::Result<()> {
    let ending = start_service().await;
    if let Err(error) = &ending {
        for cause in error.chain() {
            println!("{cause}");
        }
    }
    ending
}

/// An error gains two layers of context on its way up. It is logged and passed
/// on to whoever awaits the task.
pub fn log_chain() -> Result<(), RunError> {
    run(async {
        if spawn(start_service_logged()).await.is_err() {
            println!("re-raised");
        }
        Ok(())
    })
}
