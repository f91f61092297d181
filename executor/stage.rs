//! The stage: where a task's future stands, and after it the outcome.
//!
//! The two share one place, in the task's one allocation or, for a main, on the
//! stack of whoever called `block_on`. What stands there the header knows. A
//! future gets there in a [`Parcel`], and never leaves; it is dropped there.
//!
//! # Invariants
//!
//! - **Pinned.** A future is dropped where it was polled, and never moved.
//! - **Noted.** `within` in the header says what stands on the stage, at every
//!   moment when foreign code runs.
//! - **Alone.** While a future is polled or dropped, `within` says `Busy`, and
//!   nobody else touches the stage.

use crate::header::Within;
use crate::outcome::{Cancelled, TaskError};
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a task leaves behind.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// The place itself. What stands there the header knows, in `within`.
///
/// It is as large as the future: so there is one where it is to be and nowhere
/// else, empty at first, and the future is written into it.
pub(crate) union Stage<F, T> {
    pub(crate) empty: (),
    future: ManuallyDrop<F>,
    outcome: ManuallyDrop<Outcome<T>>,
}

/// A future on its way from whoever spawns it to its stage.
///
/// It may be large, and unless the compiler optimises, each move by which it is
/// handed on is a copy on the stack: there were twenty, and 100 KiB overflowed a
/// thread's two mebibytes. So it is packed once, where it comes in, and by
/// reference from there on.
#[repr(u8)] // so that it is known where it says what it is
pub(crate) enum Parcel<F> {
    Unpacked = 0,
    Packed(F),
}

impl<F> Parcel<F> {
    /// Moves what is packed to `to`, without a copy on the way.
    ///
    /// # Safety
    ///
    /// As for [`std::ptr::write`].
    #[inline]
    #[allow(unsafe_code)]
    unsafe fn unpack(&mut self, to: *mut F) {
        let Parcel::Packed(future) = self else { unreachable!("a parcel is unpacked once") };
        // SAFETY: the caller vouches for `to`, and both are of this type.
        unsafe { to.copy_from_nonoverlapping(future, 1) };
        // SAFETY: the first byte of an enum that is `repr(u8)` is its number, and
        // `Unpacked` has no more to it. What was packed is at `to` from here on,
        // and nobody's here.
        unsafe { (&raw mut *self).cast::<u8>().write(0) };
    }
}

/// A stage and the note of what stands on it.
pub(crate) struct Place<'a, F, T> {
    pub(crate) within: &'a Cell<Within>,
    pub(crate) stage: Pin<&'a UnsafeCell<Stage<F, T>>>,
}

/// The future is being dropped for as long as this lives; then nothing stands
/// on the stage, also after a panic.
struct Alone<'a> {
    within: &'a Cell<Within>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.within.set(Within::Empty);
    }
}

#[allow(unsafe_code)]
impl<'a, F: Future, T> Place<'a, F, T> {
    /// Puts the future here.
    #[inline]
    pub(crate) fn begin(&self, future: &mut Parcel<F>) {
        debug_assert_eq!(self.within.get(), Within::Empty, "a future is put where nothing stands");
        // SAFETY: nothing stands here (Noted), so nobody has a reference to it.
        unsafe { future.unpack((&raw mut (*self.stage.get()).future).cast()) };
        self.within.set(Within::Future);
    }

    /// Makes sure that a future stands here and nobody is at it.
    #[inline]
    fn set_busy(&self) {
        let within = self.within.get();
        assert!(within == Within::Future, "a future is polled and dropped once, by one at a time");
        self.within.set(Within::Busy);
    }

    #[inline]
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.set_busy();
        // SAFETY: it is a future that stands here (Noted), and nobody else is at
        // it (Alone).
        let future = unsafe { &mut (*self.stage.get()).future };
        // SAFETY: the stage is pinned, and the future is never moved out of it,
        // but dropped in place (Pinned).
        let polled = unsafe { Pin::new_unchecked(&mut **future) }.poll(cx);
        self.within.set(Within::Future);
        polled
    }

    /// The poll has panicked: the future is still there, and nobody is at it.
    ///
    /// Not done by a guard in `poll`: every unwinding would have to stop there
    /// on its way to whoever catches it, which makes it a tenth longer.
    pub(crate) fn poll_panicked(&self) {
        if self.within.get() == Within::Busy {
            self.within.set(Within::Future);
        }
    }

    /// Drops the future, in place. After a panic, too, the place is empty.
    #[inline]
    pub(crate) fn drop_future(&self) {
        self.set_busy();
        let _alone = Alone { within: self.within };
        // SAFETY: as in `poll`.
        unsafe { ManuallyDrop::drop(&mut (*self.stage.get()).future) };
    }

    #[inline]
    pub(crate) fn write(&self, outcome: Outcome<T>) {
        let was = self.within.get();
        assert!(was == Within::Empty, "an outcome is written once, after the future is gone");
        // SAFETY: nothing stands here (Noted), so nobody has a reference to it.
        unsafe { (*self.stage.get()).outcome = ManuallyDrop::new(outcome) };
        self.within.set(Within::Outcome);
    }

    pub(crate) fn outcome(&self) -> Option<&'a Outcome<T>> {
        // SAFETY: an outcome stands here (Noted), and whoever takes it out first
        // proves that this reference is gone.
        (self.within.get() == Within::Outcome)
            .then(|| unsafe { &*(*self.stage.get_ref().get()).outcome })
    }

    pub(crate) fn cancellation(&self) -> Option<Cancelled> {
        match self.outcome() {
            Some(Err(TaskError::Cancelled(cancelled))) => Some(cancelled.copy()),
            _ => None,
        }
    }

    /// # Safety
    ///
    /// No reference that `outcome` gave is alive.
    #[inline]
    pub(crate) unsafe fn take(&self) -> Option<Outcome<T>> {
        if self.within.get() != Within::Outcome {
            return None;
        }
        self.within.set(Within::Empty);
        // SAFETY: an outcome stood here (Noted), and the caller vouches for the
        // references to it. From now on it counts as gone.
        Some(unsafe { ManuallyDrop::take(&mut (*self.stage.get()).outcome) })
    }

    /// Drops whatever is there, at the end of all.
    pub(crate) fn clear(&self) {
        match self.within.get() {
            Within::Future => self.drop_future(),
            // SAFETY: nobody is left who could have a reference.
            Within::Outcome => drop(unsafe { self.take() }),
            Within::Empty => {}
            Within::Busy => debug_assert!(false, "whoever is at a future holds its task"),
        }
    }
}
