//! Not waiting longer than that.

use super::around::{Around, Wrapped};
use super::sleep::{Sleep, sleep, sleep_until};
use crate::clock::Instant;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits for `f`, but not longer than `limit`.
///
/// The time counts from the first poll, and a future that is ready then is
/// ready, also with a zero limit: the clock is not even read.
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first; the future is dropped then.
///
/// # Panics
///
/// If first polled outside a turn, unless the future is ready at once.
///
/// # Cancellation
///
/// Dropping it drops the future and the timer.
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
    Wrapped::new(f, Deadline::In(limit))
}

/// Waits for `f`, but not beyond `deadline`. Otherwise as [`timeout`].
///
/// # Errors
///
/// [`Elapsed`], when the deadline came first; the future is dropped then.
pub fn timeout_at<F: Future>(
    deadline: Instant,
    f: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    Wrapped::new(f, Deadline::At(deadline))
}

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// The deadline around a future.
enum Deadline {
    /// So long after the first poll.
    In(Duration),
    At(Instant),
    /// The future was not ready at its first poll.
    Set(Sleep),
}

impl<F: Future> Around<F> for Deadline {
    type Output = Result<F::Output, Elapsed>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let inner = future.as_mut().as_pin_mut().expect("timeout polled after it was ready");
        if let Poll::Ready(output) = inner.poll(cx) {
            future.set(None);
            return Poll::Ready(Ok(output));
        }
        let sleep = match *self {
            Deadline::Set(ref mut sleep) => sleep,
            Deadline::In(limit) => self.set(sleep(limit)),
            Deadline::At(deadline) => self.set(sleep_until(deadline)),
        };
        match Pin::new(sleep).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                future.set(None);
                Poll::Ready(Err(Elapsed))
            }
        }
    }
}

impl Deadline {
    fn set(&mut self, sleep: Sleep) -> &mut Sleep {
        *self = Deadline::Set(sleep);
        match self {
            Deadline::Set(sleep) => sleep,
            _ => unreachable!("it was set a line ago"),
        }
    }
}
