//! What must be done however it ends.

use super::scope::scope;
use crate::outcome::{TaskCancelled, catch};
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;

/// Runs `f`, and then `cleanup`, whatever way `f` ends: with a value, an error,
/// a panic, or because the task was asked to cancel. `cleanup` may await.
///
/// Then `f`'s own ending goes on: the value, the error, the panic, or the
/// [`Cancelled`](crate::Cancelled) as an error.
///
/// `cleanup` is not shielded: a further request cuts it short. What must finish
/// goes under a [`shield`](crate::shield()).
///
/// # Errors
///
/// The error of `f`; its [`Cancelled`](crate::Cancelled); or [`CleanupFailed`], if `cleanup`
/// failed, which holds both errors when there are two.
///
/// # Cancellation
///
/// Dropping it drops `f`, and `cleanup` does not run: nobody is there to await
/// it. A task that was never polled, or is dropped with its executor, ends so.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let task = executor.spawn(async {
///     let work = std::future::pending::<anyhow::Result<()>>();
///     hearken::finally(work, async || {
///         hearken::yield_now().await; // close the connection
///         Ok(())
///     })
///     .await
/// });
/// executor.run_until_idle();
/// task.cancel();
/// executor.run_until_idle();
/// assert!(task.is_cancelled());
/// ```
pub async fn finally<T>(
    f: impl Future<Output = anyhow::Result<T>>,
    cleanup: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let ended = scope(async move {
        let mut f = pin!(f);
        poll_fn(|cx| match catch(|| f.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panicked) => std::task::Poll::Ready(Err(panicked)),
        })
        .await
    })
    .await;
    let cleaned = cleanup().await;
    match (ended, cleaned) {
        (Ok(Ok(ended)), Ok(())) => ended,
        (Err(cancelled), Ok(())) => Err(cancelled.into()),
        (Ok(Err(panicked)), Ok(())) => std::panic::resume_unwind(panicked.into_payload()),
        (Ok(Ok(Ok(_))), Err(error)) => Err(CleanupFailed { error, before: None }.into()),
        (Ok(Ok(Err(before))), Err(error)) => Err(CleanupFailed::after(before, error)),
        (Ok(Err(panicked)), Err(error)) => Err(CleanupFailed::after(panicked.into(), error)),
        (Err(cancelled), Err(error)) => {
            // A failure in the clean-up after a cancellation is a failure; the
            // cancellation is part of the story, and not the ending.
            let before = TaskCancelled::from(&cancelled);
            Err(CleanupFailed::after(before.into(), error))
        }
    }
}

/// The clean-up of a [`finally`] failed.
///
/// Its source is the clean-up's error.
#[derive(Debug)]
pub struct CleanupFailed {
    error: anyhow::Error,
    before: Option<anyhow::Error>,
}

impl CleanupFailed {
    fn after(before: anyhow::Error, error: anyhow::Error) -> anyhow::Error {
        CleanupFailed { error, before: Some(before) }.into()
    }

    /// The error of the clean-up.
    pub fn error(&self) -> &anyhow::Error {
        &self.error
    }

    /// How the future itself had ended before, if not with a value.
    pub fn before(&self) -> Option<&anyhow::Error> {
        self.before.as_ref()
    }
}

impl fmt::Display for CleanupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Some(before) => write!(f, "the clean-up failed, after: {before}"),
            None => f.write_str("the clean-up failed"),
        }
    }
}

impl Error for CleanupFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
