//! What went wrong in a group.

use std::error::Error;
use std::fmt;

/// All that failed in a [`group`](crate::group()): the tasks in the order in which they ended,
/// and then the body.
#[derive(Debug)]
pub struct GroupError {
    errors: Vec<anyhow::Error>,
}

impl GroupError {
    pub(super) fn new(errors: Vec<anyhow::Error>) -> GroupError {
        GroupError { errors }
    }

    /// The errors; there is at least one.
    pub fn errors(&self) -> &[anyhow::Error] {
        &self.errors
    }

    /// The errors, to be taken apart.
    pub fn into_errors(self) -> Vec<anyhow::Error> {
        self.errors
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a group failed: ", self.errors.len())?;
        for (number, error) in self.errors.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{error:#}")?;
        }
        Ok(())
    }
}

impl Error for GroupError {}

/// The task failed, and its error is in the [`GroupError`] of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedByGroup;

impl fmt::Display for OwnedByGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task failed, and its group has the error")
    }
}

impl Error for OwnedByGroup {}
