//! Where a cancellation stops, and clean-up may await.

use super::around::{Around, Wrapped};
use crate::cancelling::Standing;
use crate::current::{self, state_for};
use crate::header::Header;
use crate::outcome::Cancelled;
use crate::scopes::Kind;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `f`, and goes on after it also when the task is asked to cancel.
///
/// It is Python's `try … except CancelledError`: when the task is asked to
/// cancel while it is suspended in `f`, the innermost scope drops its future and
/// yields the [`Cancelled`]. The code after it may await as long as it likes.
/// It is told once for each request.
///
/// Return the `Cancelled` with `?` when the clean-up is done. To go on instead,
/// [accept](Cancelled::accept) it.
///
/// # Errors
///
/// [`Cancelled`], when the task was asked to cancel while it was in `f`.
///
/// # Cancellation
///
/// Dropping it drops `f`. One that is kept and not polled (behind the lost arm of
/// a `select!`, say) is told three times at most; then the request goes to the
/// next one outward.
///
/// Outside of a task there is nobody to ask; there it is `f` alone.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// let task = executor.spawn(async {
///     let served = hearken::scope(std::future::pending::<()>()).await;
///     if served.is_err() {
///         hearken::sleep(Duration::from_millis(50)).await; // say goodbye
///     }
///     Ok(served?)
/// });
/// executor.run_until_idle();
/// task.cancel();
/// executor.run_until_idle();
/// assert!(task.is_cancelled());
/// assert_eq!(executor.now().as_nanos(), 50_000_000);
/// ```
pub fn scope<F: Future>(f: F) -> impl Future<Output = Result<F::Output, Cancelled>> {
    Wrapped::new(f, Scope { standing: Standing::default() })
}

struct Scope {
    standing: Standing,
}

impl<F: Future> Around<F> for Scope {
    type Output = Result<F::Output, Cancelled>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let inner = future.as_mut().as_pin_mut().expect("scope polled after it was ready");
        let Some(here) = self.standing.poll(Kind::Catch, cx) else {
            return inner.poll(cx).map(Ok);
        };
        let mut heard = here.heard();
        if heard.is_none() {
            if let Poll::Ready(output) = here.inside(|| inner.poll(cx)) {
                self.standing.leave();
                future.set(None);
                return Poll::Ready(Ok(output));
            }
            // Perhaps something inside has raised it to us.
            heard = here.heard();
        }
        let Some(cancelled) = heard else { return Poll::Pending };
        // What is inside is dropped where it stands, inside still; after that
        // nobody can tell us anything any more.
        here.drop_inside(cancelled.request(), || future.set(None));
        self.standing.leave();
        Poll::Ready(Err(cancelled))
    }
}

impl Cancelled {
    /// Ends the cancellation here: the task goes on, and means to. In debug mode
    /// it is not reported as having ignored it.
    pub fn accept(self) {
        if self.request().owner.is_some() {
            return; // a deadline's or a group's, which nobody counts
        }
        let accepted = |header: &Header| header.rare(|rare| rare.accepted = rare.cancelling);
        current::with(|state| state.and_then(|state| state.with_running(accepted)));
    }

    /// Lets the cancellation go on outward from here: to the next scope around,
    /// or to the end of the task. It never returns.
    ///
    /// For code whose type has no room for an error. Where `?` can return it,
    /// `?` does the same.
    ///
    /// # Panics
    ///
    /// If polled outside of a turn.
    pub async fn rethrow(self) -> ! {
        let home = state_for("Cancelled::rethrow");
        home.raise(self.request());
        std::future::pending::<std::convert::Infallible>().await;
        unreachable!("pending is never ready")
    }
}
