//! How tasks and steps end, and the words for it.

use super::World;
use super::delivery::RequestId;

/// How a task ended (3.2).
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    Value,
    Failed(Error),
    Panicked(u32),
    Cancelled(RequestId),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Value,
    Error(Error),
    /// The label of the step that panicked.
    Panic(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    Failure(u32),
    /// A `Cancelled`, in somebody's hands.
    Token(RequestId),
    Elapsed,
    TaskCancelled(RequestId),
    Panicked(u32),
    Group(Vec<Error>),
    CleanupFailed(Box<Error>, Option<Box<Error>>),
    OwnedByGroup,
    AwaitedItself,
}

impl World {
    pub fn words(&self, end: &End) -> String {
        match end {
            End::Value => "a value".to_owned(),
            End::Panic(label) => format!("panic {label}"),
            End::Error(error) => self.words_of(error),
        }
    }

    pub fn words_of(&self, error: &Error) -> String {
        match error {
            Error::Failure(label) => format!("failure {label}"),
            Error::Token(request) => format!("token: {}", self.reason(*request)),
            Error::Elapsed => "elapsed".to_owned(),
            Error::TaskCancelled(request) => format!("cancelled task: {}", self.reason(*request)),
            Error::Panicked(label) => format!("panic {label}"),
            Error::Group(errors) => {
                let errors: Vec<_> = errors.iter().map(|error| self.words_of(error)).collect();
                format!("group [{}]", errors.join(", "))
            }
            Error::CleanupFailed(error, None) => format!("clean-up: {}", self.words_of(error)),
            Error::CleanupFailed(error, Some(before)) => {
                format!("clean-up: {}, after {}", self.words_of(error), self.words_of(before))
            }
            Error::OwnedByGroup => "owned by its group".to_owned(),
            Error::AwaitedItself => "awaited itself".to_owned(),
        }
    }
}
