//! Waiting for a moment of the executor's clock.

use crate::clock::Instant;
use crate::current::state_for;
use crate::state::State;
use crate::waker::name_of;
use crate::wheel::{TimerKey, Whom};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits until `duration` has passed since this call.
///
/// A zero duration is over at the first poll. [`Duration::MAX`] never is.
///
/// # Panics
///
/// If called outside a turn.
///
/// # Cancellation
///
/// Dropping it takes its timer off the wheel and does nothing else.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let before = hearken::now();
///     hearken::sleep(Duration::from_secs(60)).await;
///     assert_eq!(hearken::now() - before, Duration::from_secs(60));
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::after(state_for("sleep"), duration)
}

/// Waits until the clock reads `deadline`.
///
/// Resolves in the first turn that begins at `deadline` or later, never before.
/// A deadline in the past resolves at the first poll.
///
/// # Panics
///
/// If called outside a turn.
///
/// # Cancellation
///
/// Dropping it takes its timer off the wheel and does nothing else.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::until(state_for("sleep_until"), deadline)
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It belongs to the executor on which it was made, also if it is polled on
/// another. After it has resolved it resolves again, until it is reset.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    home: Rc<State>,
    /// In which turn: the clock was read then, and need not be again.
    made_in: u64,
    deadline: Instant,
    timer: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn after(home: Rc<State>, duration: Duration) -> Sleep {
        let deadline = home.now() + duration;
        Sleep { made_in: home.turns.get(), home, deadline, timer: None }
    }

    pub(crate) fn until(home: Rc<State>, deadline: Instant) -> Sleep {
        home.now(); // so that a deadline in the past is known to be past
        Sleep { made_in: home.turns.get(), home, deadline, timer: None }
    }

    /// When it resolves.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the deadline has passed, as far as the executor has noticed.
    pub fn is_elapsed(&self) -> bool {
        self.deadline <= self.home.latest()
    }

    /// Whether the deadline has passed, when there is no timer yet.
    fn is_over(&self) -> bool {
        if self.home.turns.get() != self.made_in {
            self.home.now();
        }
        self.is_elapsed()
    }

    /// Gives it another deadline, whether or not it has resolved. Who waits is
    /// woken at the new one.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        let Some(timer) = self.timer.take() else { return };
        self.timer = self.home.reset_timer(timer, deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match &this.timer {
            None if this.is_over() => Poll::Ready(()),
            None => {
                let whom = Whom::of(name_of(cx.waker()), cx.waker());
                this.timer = Some(this.home.set_timer(this.deadline, whom));
                Poll::Pending
            }
            Some(timer) => this.home.poll_timer(timer, name_of(cx.waker()), cx.waker()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.home.remove_timer(timer);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
