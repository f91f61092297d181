//! Where a cancellation stops, and clean-up may await.

use super::around::{Around, Wrapped};
use crate::asking::with_running_task;
use crate::current::{self, state_for};
use crate::header::Header;
use crate::outcome::Cancelled;
use crate::place::{Heard, Place};
use crate::request::{Delivery, Rank, Sent};
use crate::roles::Roles;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
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
/// a `select!`, say) does not take part: the request goes to the next one outward.
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
    Wrapped::new(f, Scope { place: Place::default() })
}

struct Scope {
    place: Place,
}

impl<F: Future> Around<F> for Scope {
    type Output = Result<F::Output, Cancelled>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        with_running_task(|state| {
            let mut poll = |cx: &mut Context<'_>| {
                let inner = future.as_mut().as_pin_mut();
                inner.expect("scope polled after it was ready").poll(cx)
            };
            let Some(state) = state else { return poll(cx).map(Ok) };
            self.place.arrive(state, cx);
            match self.place.poll_hearing(state, cx, false, None, poll) {
                Heard::Pending(found) => {
                    self.place.suspend(state, Default::default(), found.roles);
                    Poll::Pending
                }
                Heard::Ready(output) => {
                    self.place.leave();
                    future.set(None);
                    Poll::Ready(Ok(output))
                }
                Heard::Takes(delivery) => {
                    // The token first: one that is dropped inside is not the last.
                    let cancelled = state.hear(&delivery).expect("it is polled in a task");
                    state.drop_inside(&delivery, || future.set(None));
                    self.place.leave();
                    Poll::Ready(Err(cancelled))
                }
            }
        })
    }
}

impl Cancelled {
    /// Ends the cancellation here: the task goes on, and means to. In debug mode
    /// it is not reported as having ignored it.
    pub fn accept(self) {
        if self.delivery().is_some_and(|delivery| delivery.rank() != Rank::TASK) {
            return; // a deadline's or a group's, which nobody counts
        }
        let accepted = |header: &Header| {
            header.rare(|rare| rare.cancel.accepted = rare.cancel.count);
        };
        current::with(|state| {
            // One of another task's is news, and answers nothing here.
            let own = state.filter(|state| state.is_mine(&self));
            own.and_then(|own| own.with_running(accepted))
        });
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
        // Of another task's cancellation this one ends in the same way.
        let own = self.delivery().filter(|delivery| Some(delivery.task) == home.running_name());
        let delivery = match own {
            Some(own) => own.clone(),
            None => home.new_delivery(self.why(), Rank::TASK).expect("it is polled in a task"),
        };
        drop((self, home));
        let mut outward = Outward::new(delivery);
        // Whoever keeps this and polls it again has nothing to wait for.
        poll_fn(|cx| outward.poll(cx).map(drop)).await;
        pending().await
    }
}

/// A request on its way outward from here, for as long as this lives.
pub(super) struct Outward {
    place: Place,
    /// Until this is dropped, or it is stopped and polled elsewhere.
    delivery: Option<Sent>,
    /// The name of the place that stops it, or zero before it is known.
    to: u32,
}

impl Outward {
    /// It has been heard, and now it is as if nobody had, until somebody stops it.
    pub(super) fn new(delivery: Arc<Delivery>) -> Outward {
        delivery.unhear();
        let delivery = with_running_task(|state| match state {
            Some(state) => state.goes_on(delivery),
            None => delivery,
        });
        Outward { place: Place::untold(), delivery: Some(Sent::new(delivery)), to: 0 }
    }

    /// Ready only if it was stopped, or is over, and whoever polls this has kept it.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Arc<Delivery>> {
        with_running_task(|state| {
            let (Some(state), Some(sent)) = (state, &self.delivery) else { return Poll::Pending };
            let stop = state.descent.around.get().stop;
            if sent.is_stopped(std::mem::replace(&mut self.to, stop), stop) {
                self.place.leave();
                return Poll::Ready(Arc::clone(sent));
            }
            self.place.arrive(state, cx);
            self.place.suspend(state, Roles::OUTWARD, Roles::NONE);
            state.send_outward(sent);
            Poll::Pending
        })
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        let Some(sent) = self.delivery.take() else { return };
        let delivery = Arc::clone(&sent);
        drop(sent);
        with_running_task(|state| {
            state.into_iter().for_each(|state| state.give_up(&delivery));
        });
    }
}
