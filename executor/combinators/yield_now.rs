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
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A poll that only looks who is there does not count as a turn.
        let again = || current::with(|state| state.is_some_and(|s| s.descent.polls_again()));
        if self.yielded && !again() {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// For what may be ready without having waited: once a turn in each task it says
/// so, and otherwise lets others have their turns first.
#[derive(Default)]
pub(crate) struct OnceATurn {
    suspended: bool,
}

impl OnceATurn {
    /// What it is for is pending.
    pub(crate) fn waits(&mut self) -> Poll<()> {
        self.suspended = true;
        Poll::Pending
    }

    /// What it is for is ready.
    pub(crate) fn may_go_on(&mut self, cx: &Context<'_>) -> Poll<()> {
        let goes_on = || current::with(|state| state.is_none_or(|s| s.goes_on_at_once(1)));
        if !self.suspended && !goes_on() {
            cx.waker().wake_by_ref();
            return self.waits();
        }
        Poll::Ready(())
    }
}
