//! Not waiting longer than that: time limits, and one that can be moved.
//!
//! What they put around a future is in `deadline.rs`.

use super::around::Wrapped;
use super::deadline::{Deadline, Due, Elapsed};
use super::timeout_handle::{Moves, TimeoutHandle};
use crate::clock::Instant;
use std::future::Future;
use std::time::Duration;

/// Waits for `f`, but not longer than `limit`.
///
/// The time counts from the first poll, and a future that is ready then is
/// ready, also with a zero limit: the clock is not even read.
///
/// When the deadline passes, the innermost [scopes](crate::scope()) in `f` are
/// told, as by a request to cancel, and may clean up; without any, `f` is
/// dropped. A task that `f` awaits is cancelled and waited for. A
/// [shield](crate::shield()) in `f` is waited for. If `f` swallows the deadline
/// and gives a value, that value is the answer. It has swallowed it when the
/// [`Cancelled`](crate::Cancelled) is gone; who puts that aside and gives a
/// value gets [`Elapsed`].
///
/// Of nested deadlines that have passed the outermost answers. A request to
/// cancel is never mistaken for the deadline.
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
///
/// # Panics
///
/// If first polled outside a turn, unless the future is ready at once.
///
/// # Cancellation
///
/// It lets a request through to what is inside it. Dropping it drops `f` and
/// the timer.
///
/// # Examples
///
/// ```
/// use hearken::{Elapsed, Executor, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let nap = hearken::sleep(Duration::from_secs(60));
///     assert_eq!(hearken::timeout(Duration::from_secs(1), nap).await, Err(Elapsed));
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[doc(alias = "wait_for")]
pub fn timeout<F: Future>(
    limit: Duration,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Wrapped::new(f, Deadline::new(Due::In(limit)))
}

/// Waits for `f`, but not beyond `deadline`. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
pub fn timeout_at<F: Future>(
    deadline: Instant,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Wrapped::new(f, Deadline::new(Due::At(deadline, "timeout_at")))
}

/// Waits for `f`, but not beyond the deadline of `handle`, which can be moved
/// meanwhile. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock, TimeoutHandle};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let handle = TimeoutHandle::new(Some(hearken::now() + Duration::from_secs(1)));
///     let talk = async {
///         hearken::sleep(Duration::from_millis(900)).await;
///         handle.reschedule(Some(hearken::now() + Duration::from_secs(1))); // still there
///         hearken::sleep(Duration::from_millis(900)).await;
///     };
///     assert!(hearken::timeout_by(&handle, talk).await.is_ok());
///     assert!(!handle.expired());
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn timeout_by<F: Future>(
    handle: &TimeoutHandle,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    let due = Due::At(handle.deadline().unwrap_or(Instant::NEVER), "timeout_by");
    Wrapped::new(f, Deadline::by(Moves::of(handle), due))
}
