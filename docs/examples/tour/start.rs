//! How a scenario starts its main: as `hearken::run` does, but nobody waits.

use std::future::Future;
use std::time::Duration;

use hearken::{Executor, ManualClock, RunError};

pub const SECOND: Duration = Duration::from_secs(1);
pub const TENTH: Duration = Duration::from_millis(100);

/// Runs `main` to its end, then cancels whatever it left running.
///
/// It does what `hearken::run` does, without Ctrl-C, and on a clock that jumps
/// to the next deadline when nothing is ready.
///
/// # Errors
///
/// How `main` ended, when it didn't end with a value.
pub fn run<T>(main: impl Future<Output = anyhow::Result<T>>) -> Result<T, RunError> {
    let executor = Executor::builder().clock(ManualClock::auto()).build();
    let ending = executor.block_on(main);
    let _ = executor.shut_down();
    ending
}
