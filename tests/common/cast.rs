//! Tasks that take their time, for tests of those who wait for them. Each has a
//! name, which is its value, or what it spilled.

use std::future::pending;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use hearken::{ReportKind, Task, TaskError, gather, scope, settle, sleep, try_gather};

use super::{Heard, Spilled, Transcript};

pub type Spoken = anyhow::Result<&'static str>;

pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The second that the executor's clock shows.
pub fn second() -> u64 {
    hearken::now().as_nanos() / 1_000_000_000
}

/// Sleeps, and gives a value.
pub async fn naps(said: Transcript, name: &'static str, n: u64) -> Spoken {
    sleep(seconds(n)).await;
    said.say(format!("{name} done at {}", second()));
    Ok(name)
}

/// Sleeps, and fails.
pub async fn fails(said: Transcript, name: &'static str, n: u64) -> Spoken {
    sleep(seconds(n)).await;
    said.say(format!("{name} failed at {}", second()));
    Err(Spilled(name).into())
}

/// Waits until it is cancelled, cleans up for so long, and ends as cancelled.
pub async fn tidies(said: Transcript, name: &'static str, n: u64) -> Spoken {
    let told = scope(pending::<()>()).await;
    sleep(seconds(n)).await;
    said.say(format!("{name} tidied at {}", second()));
    told?;
    Ok(name)
}

/// Waits until it is cancelled, and fails as it cleans up for so long.
pub async fn spills(said: Transcript, name: &'static str, n: u64) -> Spoken {
    let _told = scope(pending::<()>()).await;
    sleep(seconds(n)).await;
    said.say(format!("{name} spilled at {}", second()));
    Err(Spilled(name).into())
}

/// Waits until it is cancelled, goes on for so long, and gives a value.
pub async fn stays(said: Transcript, name: &'static str, n: u64) -> Spoken {
    let _told = scope(pending::<()>()).await;
    sleep(seconds(n)).await;
    said.say(format!("{name} stayed until {}", second()));
    Ok(name)
}

/// In a word, how a task ended.
pub fn ending<T: std::fmt::Display>(outcome: &Result<T, TaskError>) -> String {
    match outcome {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

// ---- Those who wait for all --------------------------------------------------

/// Any of the three, of which only the ending is of interest: the values or the
/// error, and for `settle` all outcomes.
pub type Any = fn(Vec<Task<&'static str>>) -> LocalBoxFuture<'static, Vec<String>>;

pub const GATHER: Any = |tasks| gather(tasks).map(|all| words(&all)).boxed_local();
pub const TRY_GATHER: Any = |tasks| try_gather(tasks).map(|all| words(&all)).boxed_local();
pub const SETTLE: Any =
    |tasks| settle(tasks).map(|all| all.iter().map(ending).collect()).boxed_local();
pub const ALL_THREE: [Any; 3] = [GATHER, TRY_GATHER, SETTLE];

pub fn words(outcome: &Result<Vec<&'static str>, TaskError>) -> Vec<String> {
    match outcome {
        Ok(values) => values.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

impl Heard {
    /// The errors that nobody retrieved, since `notes` was last asked.
    pub fn unretrieved(&self) -> Vec<String> {
        let never = |kind| matches!(kind, ReportKind::NeverRetrieved | ReportKind::StillHeld);
        let notes = self.notes().into_iter();
        notes.filter(|note| never(note.kind)).filter_map(|note| note.error).collect()
    }
}
