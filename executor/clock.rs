//! What time is it? The executor asks a [`Clock`], and only a clock.
//!
//! So a test can hold the clock in its hand: under a [`ManualClock`] an hour
//! passes when the test says so, or as soon as everybody is asleep, and nothing
//! really waits.
//!
//! [`Instant`] is hearken's own because `std`'s can be made only by reading the
//! machine's clock, and because here "far beyond the end of time" has to be a
//! value and not a panic.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::{Add, AddAssign, Deref, Sub};
use std::rc::Rc;
use std::time::Duration;

/// A moment: nanoseconds since the executor's clock began.
///
/// Instants of different clocks have nothing to do with one another.
/// Arithmetic stays within the range: the last instant, 584 years after the
/// clock began, means *never*.
///
/// # Examples
///
/// ```
/// use hearken::Instant;
/// use std::time::Duration;
///
/// let tea = Instant::ZERO + Duration::from_secs(180);
/// assert_eq!(tea - Instant::ZERO, Duration::from_secs(180));
/// assert_eq!(Instant::ZERO - tea, Duration::ZERO);
/// assert_eq!(tea + Duration::MAX, Instant::NEVER);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// When the clock began.
    pub const ZERO: Instant = Instant(0);
    /// The moment that does not come.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock began.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the clock began.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if that is not earlier.
    pub const fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        // Beyond 584 years a duration does not fit: that is never.
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({self})")
    }
}

/// As seconds: `1.5s`, or `never`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Instant::NEVER => f.write_str("never"),
            Instant(nanos) => write!(f, "{:?}", Duration::from_nanos(nanos)),
        }
    }
}

/// A source of time for one executor.
///
/// A clock that goes backwards is treated as standing still until it has caught
/// up. One that panics is treated as standing still, and the panic is reported.
///
/// # Examples
///
/// A clock that runs at double speed:
///
/// ```
/// use hearken::{Clock, Instant, SystemClock};
/// use std::time::Duration;
///
/// struct Hurried(SystemClock);
///
/// impl Clock for Hurried {
///     fn now(&self) -> Instant {
///         Instant::from_nanos(self.0.now().as_nanos().saturating_mul(2))
///     }
///     fn until(&self, deadline: Instant) -> Option<Duration> {
///         Some((deadline - self.now()) / 2)
///     }
/// }
/// let executor = hearken::Executor::builder().clock(Hurried(SystemClock::new())).build();
/// # drop(executor);
/// ```
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Instant;

    /// Nothing is ready before `deadline`: may the clock go there at once?
    /// True if it has done so. A clock of the real world says no.
    fn jump_to(&self, deadline: Instant) -> bool {
        let _ = deadline;
        false
    }

    /// How long the thread may sleep before the clock can read `deadline`.
    /// `None` if it does not get there by itself.
    fn until(&self, deadline: Instant) -> Option<Duration> {
        Some(deadline - self.now())
    }
}

/// The machine's monotonic clock, counted from when this was made.
#[derive(Clone, Debug)]
pub struct SystemClock {
    began: std::time::Instant,
}

impl SystemClock {
    /// A clock that begins now.
    pub fn new() -> SystemClock {
        SystemClock { began: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }
}

/// The clock of an executor: the machine's, which nearly all have and many never
/// read, begins when it is first read. It needs no box.
pub(crate) enum Timepiece {
    Machine(OnceCell<SystemClock>),
    Given(Box<dyn Clock>),
}

impl Deref for Timepiece {
    type Target = dyn Clock;

    #[inline]
    fn deref(&self) -> &(dyn Clock + 'static) {
        match self {
            Timepiece::Machine(clock) => clock.get_or_init(SystemClock::new),
            Timepiece::Given(clock) => &**clock,
        }
    }
}

/// A clock that stands still until told: for tests, simulators and replays.
///
/// Clones are the same clock: keep one, give one to the executor.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let executor = Executor::builder().clock(clock.clone()).build();
/// let task = executor.spawn(async {
///     hearken::sleep(Duration::from_secs(3600)).await;
///     Ok("an hour later")
/// });
/// executor.run_until_idle();
/// assert!(!task.is_finished());
///
/// clock.advance(Duration::from_secs(3600));
/// executor.run_until_idle();
/// assert_eq!(*task.result().unwrap(), "an hour later");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    face: Rc<Face>,
}

#[derive(Debug, Default)]
struct Face {
    now: Cell<Instant>,
    auto_advance: Cell<bool>,
}

impl ManualClock {
    /// A clock that stands at [`Instant::ZERO`].
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// A clock that jumps to the next deadline whenever nothing is ready.
    ///
    /// The same as [`new`](ManualClock::new) and
    /// [`set_auto_advance(true)`](ManualClock::set_auto_advance).
    pub fn auto() -> ManualClock {
        let clock = ManualClock::new();
        clock.set_auto_advance(true);
        clock
    }

    /// Moves the clock forward. Timers fire in the next turn.
    pub fn advance(&self, duration: Duration) {
        self.face.now.set(self.face.now.get() + duration);
    }

    /// Whether the clock jumps to the next deadline when nothing is ready.
    ///
    /// It cannot know of what happens outside the executor: while another
    /// thread is about to wake a task, the clock jumps all the same.
    pub fn set_auto_advance(&self, auto_advance: bool) {
        self.face.auto_advance.set(auto_advance);
    }

    /// What the clock reads.
    pub fn now(&self) -> Instant {
        self.face.now.get()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.face.now.get()
    }

    fn jump_to(&self, deadline: Instant) -> bool {
        let jumps = self.face.auto_advance.get() && deadline > self.face.now.get();
        if jumps {
            self.face.now.set(deadline);
        }
        jumps
    }

    fn until(&self, deadline: Instant) -> Option<Duration> {
        let there = self.face.auto_advance.get() || deadline <= self.face.now.get();
        there.then_some(Duration::ZERO)
    }
}
