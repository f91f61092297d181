//! Failures that nobody asks for, and who hears of them.
//!
//! asyncio tells its exception handler when the collector finds the task.
//! hearken does so as soon as nobody can ask any more.

use std::time::Duration;

use anyhow::bail;
use hearken::{Executor, ManualClock, ReportKind, RunError, Verdict, sleep, spawn};

use crate::start::{SECOND, run};

async fn failing_task(delay: Duration) -> anyhow::Result<()> {
    sleep(delay).await;
    bail!("Something bad happened")
}

/// The handle of a failing task is dropped at once. The default handler writes
/// to standard error, and main never notices.
pub fn fire_and_forget() -> Result<(), RunError> {
    run(async {
        spawn(failing_task(SECOND)).named("forgotten").detach();
        sleep(2 * SECOND).await;
        println!("main is still running");
        Ok(())
    })
}

/// `loop.set_exception_handler(…)`: this handler prints what it hears, and
/// after the third failure it has heard enough.
pub fn custom_handler() -> Result<(), RunError> {
    let mut failures = 0;
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .handler(move |report| {
            // A handler hears more than failures, cancellations for instance.
            if report.kind() != ReportKind::NeverRetrieved {
                return Verdict::Proceed;
            }
            println!("asyncio: {}", report.message());
            if let Some(error) = report.error() {
                println!("exception: {error}");
            }
            failures += 1;
            if failures == 3 { Verdict::ShutDown } else { Verdict::Proceed }
        })
        .build();

    let ending = executor.block_on(async {
        for delay in 1..=5 {
            spawn(failing_task(delay * SECOND)).detach();
        }
        sleep(60 * SECOND).await;
        println!("never printed, because the handler ends the program");
        Ok(())
    });
    let _ = executor.shut_down();

    match ending {
        Err(RunError::ShutDown(_report)) => {
            println!("shut down by the handler");
            Ok(())
        }
        ending => ending,
    }
}

/// Fire and forget with `task.add_done_callback(…)`. The callback asks for the
/// error, which counts as if somebody had awaited the task.
pub fn done_callback() -> Result<(), RunError> {
    run(async {
        let task = spawn(failing_task(SECOND));
        task.on_done(|finished| {
            if let Ok(Some(error)) = finished.error() {
                println!("callback saw: {error}");
            }
        });
        task.detach();
        sleep(2 * SECOND).await;
        Ok(())
    })
}
