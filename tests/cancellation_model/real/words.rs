//! The words for how tasks and steps end: those of the model.

use super::steps::Ending;
use hearken::{
    AwaitedItself, Cancelled, CleanupFailed, Elapsed, GroupError, OwnedByGroup, Panicked,
    TaskCancelled,
};
use std::fmt;

#[derive(Debug)]
pub struct Failure(pub u32);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {}", self.0)
    }
}

impl std::error::Error for Failure {}

/// The reasons of a group are all one here.
pub fn reason(reason: &str) -> &str {
    let of_group =
        ["another task of the group has failed", "a sibling has failed", "its group was dropped"];
    if of_group.contains(&reason) { "its group" } else { reason }
}

pub fn words(ending: &Ending) -> String {
    match ending {
        Ok(()) => "a value".to_owned(),
        Err(error) => words_of(error),
    }
}

fn words_of(error: &anyhow::Error) -> String {
    if let Some(token) = error.downcast_ref::<Cancelled>() {
        return format!("token: {}", reason(token.reason()));
    }
    if error.is::<Elapsed>() {
        return "elapsed".to_owned();
    }
    if let Some(cancelled) = error.downcast_ref::<TaskCancelled>() {
        return format!("cancelled task: {}", reason(cancelled.reason()));
    }
    if let Some(panicked) = error.downcast_ref::<Panicked>() {
        return panicked.message().to_owned();
    }
    if let Some(group) = error.downcast_ref::<GroupError>() {
        let errors: Vec<_> = group.errors().iter().map(words_of).collect();
        return format!("group [{}]", errors.join(", "));
    }
    if let Some(failed) = error.downcast_ref::<CleanupFailed>() {
        let error = words_of(failed.error());
        return match failed.before() {
            Some(before) => format!("clean-up: {error}, after {}", words_of(before)),
            None => format!("clean-up: {error}"),
        };
    }
    if error.is::<OwnedByGroup>() {
        return "owned by its group".to_owned();
    }
    if error.is::<AwaitedItself>() {
        return "awaited itself".to_owned();
    }
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.to_string(),
        None => format!("unknown: {error:#}"),
    }
}
