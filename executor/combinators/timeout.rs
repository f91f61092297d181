//! Not waiting longer than that: time limits, and one that can be moved.
//!
//! What they put around a future is in `deadline.rs`.

use super::around::Wrapped;
use super::deadline::{Deadline, Due};
use crate::clock::Instant;
use crate::pages::Pages;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Waker};
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

/// A deadline that can be moved: [`timeout_by`]. Clones are the same deadline, and
/// so it is for all that wait by it.
///
/// The words elsewhere: what `asyncio.timeout` gives to `async with`.
#[derive(Clone, Default)]
pub struct TimeoutHandle {
    movable: Rc<Movable>,
}

#[derive(Default)]
pub(super) struct Movable {
    deadline: Cell<Option<Instant>>,
    /// How often it was moved.
    moves: Cell<u64>,
    pub(super) expired: Cell<bool>,
    /// Those who wait by it now.
    waiting: RefCell<Pages<Rc<Cell<Option<Waker>>>>>,
}

/// What one that waits by a handle knows of it.
pub(super) struct Moves {
    pub(super) movable: Rc<Movable>,
    /// Moved so often when it last looked.
    seen: u64,
    /// The waker that hears of the next move, and its place among all.
    waker: Option<(Rc<Cell<Option<Waker>>>, u32)>,
}

impl Moves {
    fn of(handle: &TimeoutHandle) -> Moves {
        let movable = handle.movable.clone();
        Moves { seen: movable.moves.get(), movable, waker: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.movable.deadline.get().unwrap_or(Instant::NEVER)
    }

    /// The waiting future is pending. Answers the new deadline, if it moved.
    pub(super) fn moved(&mut self, cx: &Context<'_>) -> Option<Instant> {
        let (own, _) = self.waker.get_or_insert_with(|| {
            let own = Rc::<Cell<Option<Waker>>>::default();
            (own.clone(), self.movable.waiting.borrow_mut().insert(own))
        });
        drop(own.replace(Some(cx.waker().clone())));
        let moves = self.movable.moves.get();
        let moved = std::mem::replace(&mut self.seen, moves) != moves;
        moved.then(|| self.deadline())
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        if let Some((_, place)) = &self.waker {
            let gone = self.movable.waiting.borrow_mut().remove(*place);
            drop(gone); // its waker is foreign: no borrow is held, nor below
        }
    }
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
        self.movable.moves.set(self.movable.moves.get() + 1);
        let waiting: Vec<_> = self.movable.waiting.borrow().iter().cloned().collect();
        waiting.iter().filter_map(|waker| waker.take()).for_each(Waker::wake);
    }

    /// Whether it has passed while somebody waited, whatever he made of it.
    pub fn expired(&self) -> bool {
        self.movable.expired.get()
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
