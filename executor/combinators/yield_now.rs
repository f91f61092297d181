//! Letting the others go first.

use crate::current;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Suspends the task once, so that everybody else who is ready goes first.
///
/// # Cancellation
///
/// Dropping it does nothing.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     for _ in 0..1000 {
///         // a piece of a long computation
///         hearken::yield_now().await;
///     }
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded_in: None }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    /// In which turn it has suspended its task. A poll in the same turn is for
    /// others' sake.
    yielded_in: Option<u64>,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Outside of a turn each poll is another.
        let turn = current::with(|state| state.map_or(0, |state| state.turns.get()));
        if self.yielded_in.is_some_and(|yielded_in| turn == 0 || yielded_in != turn) {
            return Poll::Ready(());
        }
        self.yielded_in = Some(turn);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
