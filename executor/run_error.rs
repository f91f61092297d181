//! Why a program ended without a value.

use crate::dump::Dump;
use crate::outcome::{Cancelled, Panicked, TaskError};
use crate::report::{Report, ReportKind};
use std::error::Error;
use std::fmt;
use std::panic::Location;

/// What [`run`](crate::run()) and [`Executor::block_on`](crate::Executor::block_on)
/// return when there is no value.
///
/// Like [`TaskError`], it is not a [`std::error::Error`] itself but turns into
/// the error that the program failed with.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The main returned this error.
    Failed(anyhow::Error),
    /// The main panicked.
    Panicked(Panicked),
    /// The main was cancelled, by a task of the program.
    Cancelled(Cancelled),
    /// The program was interrupted. `main` is how the main ended, if not with a
    /// value.
    Interrupted {
        /// What became of the main.
        main: Option<TaskError>,
    },
    /// The executor was shut down because of this report: the handler said so,
    /// or somebody called `request_shut_down`.
    ShutDown(Report),
    /// In a closed world nothing could have woken any task any more.
    Stalled(Dump),
    /// It was called inside a program that runs already.
    Nested(Nested),
}

impl RunError {
    /// An interrupt came after the main had ended: the same answer, but that it was
    /// interrupted.
    pub(crate) fn interrupted_instead_of<T>(answer: Result<T, RunError>) -> Result<T, RunError> {
        let main = match answer {
            Ok(_) => None,
            Err(RunError::Failed(error)) => Some(TaskError::Failed(error)),
            Err(RunError::Panicked(panicked)) => Some(TaskError::Panicked(panicked)),
            Err(RunError::Cancelled(cancelled)) => Some(TaskError::Cancelled(cancelled)),
            Err(other) => return Err(other),
        };
        Err(RunError::Interrupted { main })
    }
}

/// `run` was called inside another executor's turn on the same thread, or
/// `block_on` inside a turn of the same executor.
#[derive(Clone, Copy, Debug)]
pub struct Nested {
    pub(crate) function: &'static str,
    pub(crate) outer: &'static Location<'static>,
}

impl Nested {
    /// Where the program that runs already was started: where `run` or
    /// `block_on` was called; or, in a host's loop, where the task that is
    /// running was spawned.
    pub fn outer(&self) -> &'static Location<'static> {
        self.outer
    }
}

impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was called inside a program that runs already, from {}",
            self.function, self.outer
        )
    }
}

impl Error for Nested {}

impl RunError {
    /// The exit code that a program should end with: 130 when it was
    /// interrupted, as shells expect, and otherwise 1.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::process::ExitCode;
    ///
    /// fn main() -> ExitCode {
    ///     match hearken::run(async { Ok(()) }) {
    ///         Ok(()) => ExitCode::SUCCESS,
    ///         Err(error) => {
    ///             eprintln!("{error}");
    ///             ExitCode::from(error.exit_code())
    ///         }
    ///     }
    /// }
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Interrupted { .. } => 130,
            // The handler's answer to an interrupt.
            RunError::ShutDown(report) if report.kind() == ReportKind::Interrupted => 130,
            _ => 1,
        }
    }
}

impl From<TaskError> for RunError {
    fn from(error: TaskError) -> RunError {
        match error {
            TaskError::Failed(error) => RunError::Failed(error),
            TaskError::Panicked(panicked) => RunError::Panicked(panicked),
            TaskError::Cancelled(cancelled) => RunError::Cancelled(cancelled),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Failed(error) => error.fmt(f),
            RunError::Panicked(panicked) => panicked.fmt(f),
            RunError::Cancelled(cancelled) => cancelled.fmt(f),
            RunError::Interrupted { .. } => f.write_str("interrupted"),
            RunError::ShutDown(report) => match report.error() {
                Some(error) => write!(f, "shut down: {}: {error}", report.message()),
                None => write!(f, "shut down: {}", report.message()),
            },
            RunError::Stalled(dump) => {
                write!(f, "all tasks wait, and nothing can wake them: {dump}")
            }
            RunError::Nested(nested) => nested.fmt(f),
        }
    }
}

impl From<RunError> for anyhow::Error {
    fn from(error: RunError) -> anyhow::Error {
        // Contexts are strings here and for reports: for each other type anyhow
        // would bring another four kilobytes of code.
        match error {
            RunError::Failed(error) => error,
            RunError::Panicked(panicked) => anyhow::Error::new(panicked),
            RunError::Cancelled(cancelled) => TaskError::Cancelled(cancelled).into(),
            RunError::Nested(nested) => anyhow::Error::new(nested),
            RunError::Interrupted { main: Some(main) } => {
                anyhow::Error::from(main).context("interrupted".to_owned())
            }
            RunError::ShutDown(report) => {
                anyhow::Error::from(report).context("shut down".to_owned())
            }
            other => anyhow::Error::msg(other.to_string()),
        }
    }
}

impl From<RunError> for Box<dyn Error + Send + Sync> {
    fn from(error: RunError) -> Self {
        anyhow::Error::from(error).reallocate_into_boxed_dyn_error_without_backtrace()
    }
}

impl From<RunError> for Box<dyn Error> {
    fn from(error: RunError) -> Self {
        anyhow::Error::from(error).reallocate_into_boxed_dyn_error_without_backtrace()
    }
}
