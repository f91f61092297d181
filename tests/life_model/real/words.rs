//! The words for how something ended: those of the model.

use super::stage::Made;
use hearken::{AwaitedItself, Cancelled, Ledger, Panicked, RunError, TaskCancelled, TaskError};
use std::fmt;

#[derive(Debug)]
pub struct Failure(pub Made);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.0.label)
    }
}

impl std::error::Error for Failure {}

/// What `panic_any` is given.
pub struct Thrown {
    pub _made: Made,
}

pub fn outcome(outcome: &Result<Made, TaskError>) -> String {
    match outcome {
        Ok(value) => format!("value {}", value.label),
        Err(error) => ended(error),
    }
}

pub fn ended(error: &TaskError) -> String {
    match error {
        TaskError::Failed(failed) => format!("failed: {}", self::error(failed)),
        TaskError::Panicked(panicked) => self::panicked(panicked),
        TaskError::Cancelled(cancelled) => self::cancelled(cancelled),
    }
}

pub fn cancelled(cancelled: &Cancelled) -> String {
    format!("cancelled: {}", cancelled.reason())
}

fn panicked(panicked: &Panicked) -> String {
    match panicked.cancelled() {
        Some(why) => format!("panicked: {}, cancelled: {}", panicked.message(), why.reason()),
        None => format!("panicked: {}", panicked.message()),
    }
}

pub fn error(error: &anyhow::Error) -> String {
    if let Some(Failure(made)) = error.downcast_ref() {
        return format!("error {}", made.label);
    }
    if let Some(caught) = error.downcast_ref::<Panicked>() {
        return panicked(caught);
    }
    if let Some(cancelled) = error.downcast_ref::<TaskCancelled>() {
        return format!("cancelled task: {}", cancelled.reason());
    }
    match error.is::<AwaitedItself>() {
        true => "awaited itself".to_owned(),
        false => format!("unknown: {error:#}"),
    }
}

/// The sums of a ledger, and what was refused.
pub fn figures(ledger: &Ledger) -> String {
    let Ledger { spawned, live, succeeded, failed, cancelled, .. } = ledger;
    let Ledger { retrieved, reported, ignored, held, refused, .. } = ledger;
    format!(
        "{spawned} = {live} + {succeeded} + {failed} + {cancelled}; \
         {failed} = {retrieved} + {reported} + {ignored} + {held}; {refused}"
    )
}

pub fn answer(answer: &Result<Made, RunError>) -> String {
    match answer {
        Ok(value) => format!("answers value {}", value.label),
        Err(RunError::Failed(failed)) => format!("answers failed: {}", error(failed)),
        Err(RunError::Panicked(caught)) => format!("answers {}", panicked(caught)),
        Err(RunError::Cancelled(token)) => format!("answers {}", cancelled(token)),
        Err(RunError::Interrupted { main: None }) => "answers interrupted".to_owned(),
        Err(RunError::Interrupted { main: Some(main) }) => {
            format!("answers interrupted, main {}", ended(main))
        }
        Err(RunError::ShutDown(report)) => match report.error() {
            Some(failed) => format!("answers shut down: {:?}: {}", report.kind(), error(failed)),
            None => format!("answers shut down: {:?}", report.kind()),
        },
        Err(RunError::Stalled(_)) => "answers stalled".to_owned(),
        Err(RunError::Nested(_)) => "answers nested".to_owned(),
        Err(other) => format!("answers {other}"),
    }
}

/// Why a task was cancelled, of the message of a report.
pub fn cancellation(message: &str) -> &str {
    message.strip_prefix("a task was cancelled: ").unwrap_or(message)
}
