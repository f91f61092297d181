//! Ticking.

use super::sleep::Sleep;
use crate::clock::Instant;
use crate::current::state_for;
use crate::state::State;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

/// Ticks every `period`, the first time at once.
///
/// # Errors
///
/// [`ZeroInterval`], if the period is zero.
///
/// # Panics
///
/// If called outside a turn.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, Instant, ManualClock};
/// use std::time::Duration;
///
/// let executor = Executor::builder().clock(ManualClock::auto()).build();
/// executor.block_on(async {
///     let mut interval = hearken::interval(Duration::from_secs(10))?;
///     assert_eq!(interval.tick().await, Instant::ZERO);
///     assert_eq!(interval.tick().await, Instant::ZERO + Duration::from_secs(10));
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Result<Interval, ZeroInterval> {
    let home = state_for("interval");
    let now = home.now();
    Interval::new(home, now, period)
}

/// Ticks every `period`, the first time at `start`.
///
/// # Errors
///
/// [`ZeroInterval`], if the period is zero.
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Result<Interval, ZeroInterval> {
    Interval::new(state_for("interval_at"), start, period)
}

/// The period of an interval was zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroInterval;

impl fmt::Display for ZeroInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interval's period must not be zero")
    }
}

impl std::error::Error for ZeroInterval {}

/// What to do when a tick comes late, because nobody waited for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Catch up: the missed ones come one after the other without a wait, though
    /// others have their turns in between.
    #[default]
    Burst,
    /// The next is a period after the late one.
    Delay,
    /// The missed ones are left out; the next comes when it would have come.
    Skip,
}

/// A clock that ticks: [`interval`].
///
/// It goes by the clock of the executor on which it was made, also if it is polled on
/// another.
#[derive(Debug)]
pub struct Interval {
    next: Sleep,
    period: Duration,
    missed_ticks: MissedTicks,
}

impl Interval {
    fn new(home: Rc<State>, start: Instant, period: Duration) -> Result<Interval, ZeroInterval> {
        if period.is_zero() {
            return Err(ZeroInterval);
        }
        let next = Sleep::until(&home, start);
        Ok(Interval { next, period, missed_ticks: MissedTicks::Burst })
    }

    /// Waits for the next tick. Answers the moment for which it was meant.
    ///
    /// # Cancellation
    ///
    /// Dropping it before it is ready loses no tick.
    pub async fn tick(&mut self) -> Instant {
        let due = self.next.deadline();
        // A tick that is late at once lets others go first: its round takes long.
        poll_fn(|cx| self.next.poll_fairly(cx, 1)).await;
        let next = self.after(due, self.next.now());
        self.next.reset(next);
        due
    }

    fn after(&self, due: Instant, now: Instant) -> Instant {
        match self.missed_ticks {
            MissedTicks::Burst => due + self.period,
            MissedTicks::Delay => now + self.period,
            MissedTicks::Skip => {
                let period = self.period.as_nanos();
                let missed = (now - due).as_nanos() / period;
                let ahead = u64::try_from((missed + 1) * period).unwrap_or(u64::MAX);
                due + Duration::from_nanos(ahead)
            }
        }
    }

    /// What to do when a tick comes late. [`MissedTicks::Burst`] if nobody says
    /// otherwise.
    pub fn set_missed_ticks(&mut self, missed_ticks: MissedTicks) {
        self.missed_ticks = missed_ticks;
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Makes the next tick come a period from now.
    pub fn reset(&mut self) {
        self.next.reset(self.next.now() + self.period);
    }
}
