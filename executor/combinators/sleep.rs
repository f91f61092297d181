//! Waiting for a moment of the executor's clock.

use crate::clock::Instant;
use crate::current::{self, with_state};
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
/// A zero duration is over at the first poll; but after a few of them in one turn a
/// task waits for the next, so that a loop around it lets others have their turns.
/// [`Duration::MAX`] never is over.
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
    with_state("sleep", |home| Sleep::after(home, duration))
}

/// Waits until the clock reads `deadline`.
///
/// Resolves in the first turn that begins at `deadline` or later, never before.
/// A deadline in the past resolves at the first poll, as a zero [`sleep`] does.
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
    with_state("sleep_until", |home| Sleep::until(home, deadline))
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It belongs to the executor on which it was made, also if it is polled on
/// another. After it has resolved it resolves again, until it is reset.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    home: Rc<State>,
    /// In which turn: the clock was read then, and need not be again. Or else
    /// [`RESET_TO_THE_PAST`].
    made_in: u64,
    deadline: Instant,
    timer: Option<TimerKey>,
}

/// No turn: it waits, and was given a deadline that had passed. Its timer wakes
/// who waits in the next turn, but nobody has to wait for that.
const RESET_TO_THE_PAST: u64 = u64::MAX;

/// So many sleeps and deadlines of a task are over in one turn without having
/// waited. More than one, so that those of nested deadlines are over together.
const MOST_AT_ONCE: u32 = 16;

impl Sleep {
    pub(crate) fn after(home: &Rc<State>, duration: Duration) -> Sleep {
        Sleep::new(home, home.now() + duration)
    }

    pub(crate) fn until(home: &Rc<State>, deadline: Instant) -> Sleep {
        home.now(); // so that a deadline in the past is known to be past
        Sleep::new(home, deadline)
    }

    #[inline]
    fn new(home: &Rc<State>, deadline: Instant) -> Sleep {
        Sleep { made_in: home.turns.get(), home: home.clone(), deadline, timer: None }
    }

    /// When it resolves.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What the clock reads by which it goes.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.home.now()
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
    /// woken at the new one; if that has passed, it resolves when it is next polled.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.made_in = 0; // what an earlier one has left there says nothing of this one
        let Some(timer) = self.timer.take() else { return };
        self.timer = self.home.reset_timer(timer, deadline);
        if self.is_elapsed() {
            self.made_in = RESET_TO_THE_PAST;
        }
    }

    /// Polls it for something that answers once: it need not let others go first.
    #[inline]
    pub(crate) fn poll_plainly(&mut self, cx: &Context<'_>) -> Poll<()> {
        match &self.timer {
            None if self.is_over() => Poll::Ready(()),
            None => self.wait(cx),
            Some(timer) => self.poll_timer(timer, cx),
        }
    }

    /// Polls it for something that may be ready without having waited so often a
    /// turn.
    #[inline]
    pub(crate) fn poll_fairly(&mut self, cx: &Context<'_>, most: u32) -> Poll<()> {
        match &self.timer {
            None if self.is_over() => self.go_on_at_once(cx, most),
            None => self.wait(cx),
            Some(timer) => {
                let polled = self.poll_timer(timer, cx);
                if polled.is_ready() {
                    self.forget_timer(); // asked again, it has not waited
                }
                polled
            }
        }
    }

    /// It is over without having waited. How often a turn that may be is up to whoever
    /// polls it: of another executor the turns count, and it is not to wait for ours.
    fn go_on_at_once(&mut self, cx: &Context<'_>, most: u32) -> Poll<()> {
        let elsewhere = current::with(|state| {
            let elsewhere = state.filter(|state| !Rc::ptr_eq(state, &self.home));
            elsewhere.map(|state| state.goes_on_at_once(most))
        });
        match elsewhere.unwrap_or_else(|| self.home.goes_on_at_once(most)) {
            true => Poll::Ready(()),
            false if elsewhere.is_some() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            false => self.wait(cx),
        }
    }

    #[inline]
    fn poll_timer(&self, timer: &TimerKey, cx: &Context<'_>) -> Poll<()> {
        match self.made_in {
            RESET_TO_THE_PAST => Poll::Ready(()),
            _ => self.home.poll_timer(timer, name_of(cx.waker()), cx.waker()),
        }
    }

    #[inline]
    fn forget_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.home.remove_timer(timer);
        }
    }

    /// Sets the timer. If it is over already, that is due in the next turn.
    #[inline(always)] // as `set_timer`
    fn wait(&mut self, cx: &Context<'_>) -> Poll<()> {
        let whom = Whom::of(name_of(cx.waker()), cx.waker());
        self.timer = Some(self.home.set_timer(self.deadline, whom));
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_fairly(cx, MOST_AT_ONCE)
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        self.forget_timer();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
