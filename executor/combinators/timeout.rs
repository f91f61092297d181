//! Not waiting longer than that.
//!
//! When a deadline passes, the scopes inside it are told first, and clean up;
//! only then does [`timeout`] return. For that it stands in the tree of scopes,
//! as soon as anybody inside it does. Most time limits are around something that
//! has no scope and is in time, and those cost a timer and no more.
//!
//! Which request is whose is told by the token, not by counting: a deadline
//! answers only for its own. Of several that have passed the outermost answers:
//! each knows the earliest of those around it while it is polled.

use super::around::{Around, Wrapped};
use super::sleep::Sleep;
use crate::cancelling::{Here, Standing};
use crate::clock::Instant;
use crate::current::{self, state_for};
use crate::outcome::{Origin, Request};
use crate::scopes::{Delivery, Kind};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
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
    Wrapped::new(f, Deadline { handle: Some(handle.clone()), ..Deadline::new(due) })
}

/// A deadline that can be moved: [`timeout_by`]. Clones are the same deadline.
///
/// The words elsewhere: what `asyncio.timeout` gives to `async with`.
#[derive(Clone, Default)]
pub struct TimeoutHandle {
    movable: Rc<Movable>,
}

#[derive(Default)]
struct Movable {
    deadline: Cell<Option<Instant>>,
    moved: Cell<bool>,
    expired: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl TimeoutHandle {
    /// A deadline; none is one that never passes.
    pub fn new(deadline: Option<Instant>) -> TimeoutHandle {
        let handle = TimeoutHandle::default();
        handle.movable.deadline.set(deadline);
        handle
    }

    /// When it passes.
    pub fn deadline(&self) -> Option<Instant> {
        self.movable.deadline.get()
    }

    /// Moves it; to a moment in the past, and it passes at once; to none, and
    /// it never does. After it has passed this has no effect.
    pub fn reschedule(&self, deadline: Option<Instant>) {
        if self.expired() {
            return;
        }
        self.movable.deadline.set(deadline);
        self.movable.moved.set(true);
        if let Some(waker) = self.movable.waker.take() {
            waker.wake();
        }
    }

    /// Whether it has passed while somebody waited, whatever he made of it.
    pub fn expired(&self) -> bool {
        self.movable.expired.get()
    }

    /// The waiting future is pending. Answers the new deadline, if it moved.
    fn moved(&self, cx: &Context<'_>) -> Option<Instant> {
        drop(self.movable.waker.replace(Some(cx.waker().clone())));
        let moved = self.movable.moved.take();
        moved.then(|| self.deadline().unwrap_or(Instant::NEVER))
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle")
            .field("deadline", &self.deadline())
            .field("expired", &self.expired())
            .finish()
    }
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
struct Deadline {
    standing: Standing,
    due: Due,
    /// Who may move it.
    handle: Option<TimeoutHandle>,
    /// It has passed: what those inside are told.
    passed: Option<Arc<Request>>,
}

enum Due {
    /// So long after the first poll.
    In(Duration),
    /// At this moment; the name is that of the function that was called.
    At(Instant, &'static str),
    /// The future was not ready at its first poll.
    Set(Sleep),
}

impl Deadline {
    fn new(due: Due) -> Deadline {
        Deadline { standing: Standing::default(), due, handle: None, passed: None }
    }
}

impl<F: Future> Around<F> for Deadline {
    type Output = Result<F::Output, Elapsed>;

    fn poll(
        &mut self,
        mut future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        loop {
            if let Poll::Ready(output) = self.poll_inner(future.as_mut(), cx) {
                future.set(None);
                self.standing.leave();
                // If the token that it was given is still there, it is in
                // `output`: the cancellation was passed on to us, not swallowed.
                let passed_on = self.passed.as_ref().is_some_and(|request| request.is_in_hand());
                return Poll::Ready(if passed_on { Err(Elapsed) } else { Ok(output) });
            }
            let time = self.look(cx);
            let passed = time == Time::Over || self.passed.is_some();
            if let Some(handle) = self.handle.as_ref().filter(|_| passed) {
                handle.movable.expired.set(true);
            }
            match time {
                Time::Left => return Poll::Pending,
                Time::Told => {}
                Time::Over => break,
            }
        }
        match (&self.standing.here(), &self.passed) {
            (Some(here), Some(passed)) => here.drop_inside_of(passed, || future.set(None)),
            _ => future.set(None),
        }
        self.standing.leave();
        Poll::Ready(Err(Elapsed))
    }
}

impl Deadline {
    /// Polls what is inside.
    ///
    /// The deadline itself enters the tree when somebody inside has done so.
    /// Before that there is nobody to be told when it passes, and nothing is
    /// set up for a future that is ready at once. Only when there is somebody
    /// beside it, it enters first: he may be polled inside of it from now on,
    /// and is no newcomer to be known by.
    fn poll_inner<F: Future>(
        &mut self,
        future: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let inner = future.as_pin_mut().expect("timeout polled after it was ready");
        current::with(|home| {
            let Some(home) = home.filter(|home| home.running.get().is_some()) else {
                return inner.poll(cx);
            };
            home.with_deadline(Some(self.deadline()), || match self.standing.here() {
                None if home.is_nobody_beside() => {
                    let entries = home.scopes.borrow().entries();
                    let polled = inner.poll(cx);
                    if polled.is_pending() && home.scopes.borrow().entries() != entries {
                        self.standing.enter_around(entries, cx);
                    }
                    polled
                }
                _ => match self.standing.poll(Kind::Deadline, cx) {
                    Some(here) => here.inside(|| inner.poll(cx)),
                    None => inner.poll(cx),
                },
            })
        })
    }

    /// When it passes, as far as is known to those inside; never again, when
    /// they have heard that it has.
    #[inline]
    fn deadline(&self) -> Instant {
        match &self.handle {
            _ if self.passed.as_ref().is_some_and(|request| request.is_heard()) => Instant::NEVER,
            Some(handle) => handle.deadline().unwrap_or(Instant::NEVER),
            None => self.due.instant(),
        }
    }

    /// What is to be done, now that the future is pending?
    #[inline]
    fn look(&mut self, cx: &mut Context<'_>) -> Time {
        let moved = self.handle.as_ref().and_then(|handle| handle.moved(cx));
        if let Some(deadline) = moved.filter(|_| self.passed.is_none()) {
            self.due = Due::At(deadline, "timeout_by");
        }
        if self.standing.here().is_none() {
            if self.due.poll(cx).is_pending() {
                return Time::Left;
            }
            // It has passed: from here on it is like all others.
            self.standing.poll(Kind::Deadline, cx);
        }
        match self.standing.here() {
            Some(here) => look(&here, &mut self.due, &mut self.passed, cx),
            None => Time::Over, // outside of a task
        }
    }
}

/// What a deadline finds when its future is pending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Nothing to be done now.
    Left,
    /// Those inside have just been told that it has passed: let them hear.
    Told,
    /// The future is to be dropped.
    Over,
}

#[inline(never)] // rarely is anybody in the tree
fn look(
    here: &Here<'_>,
    due: &mut Due,
    passed: &mut Option<Arc<Request>>,
    cx: &mut Context<'_>,
) -> Time {
    let home = here.home;
    // Something inside has raised our request to us.
    let told = here.heard().is_some();
    if told && passed.is_some() {
        return Time::Over;
    }
    if passed.is_none() {
        let elapsed = due.poll(cx).is_ready();
        if !elapsed && !told || somebody_goes_first(here, cx) {
            return Time::Left;
        }
        // The outermost wins. It polls us just now, and looks when we are done.
        if home.deadline.get().is_some_and(|around| around <= home.latest()) {
            return Time::Left;
        }
    }
    let request = passed.get_or_insert_with(|| request_of(here.key.entry()));
    if request.is_heard() || somebody_goes_first(here, cx) {
        return Time::Left;
    }
    match home.deliver_below(here.key, request) {
        _ if request.is_heard() => Time::Left, // in the same breath as another
        Delivery::Nobody => Time::Over,
        Delivery::Marked => Time::Told,
        Delivery::Shielded => Time::Left,
    }
}

/// Somebody has asked the task to cancel and nobody has heard yet: that goes
/// first, and is not to be taken for us.
fn somebody_goes_first(here: &Here<'_>, cx: &Context<'_>) -> bool {
    let first = here.home.is_asked() && !here.home.scopes.borrow().is_shielded(here.key);
    if first {
        cx.waker().wake_by_ref();
    }
    first
}

fn request_of(entry: u32) -> Arc<Request> {
    let request = Request::new("the deadline has elapsed".into(), Origin::TimedOut);
    Arc::new(request.of(entry))
}

impl Due {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = match *self {
            Due::Set(ref mut sleep) => sleep,
            Due::In(limit) => self.set(Sleep::after(state_for("timeout"), limit)),
            Due::At(deadline, name) => self.set(Sleep::until(state_for(name), deadline)),
        };
        Pin::new(sleep).poll(cx)
    }

    #[inline]
    fn set(&mut self, sleep: Sleep) -> &mut Sleep {
        *self = Due::Set(sleep);
        match self {
            Due::Set(sleep) => sleep,
            _ => unreachable!("it was set a line ago"),
        }
    }

    fn instant(&self) -> Instant {
        match self {
            Due::Set(sleep) => sleep.deadline(),
            Due::At(deadline, _) => *deadline,
            Due::In(_) => Instant::NEVER,
        }
    }
}
