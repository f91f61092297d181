//! Something around a future: the one place where combinators project a pin.
//!
//! A deadline, a scope, a shield: each holds somebody's future, polls it, and
//! sometimes drops it where it stands. The future must not move; what is around
//! it may. So each of them says only what it does ([`Around`]), and a
//! [`Wrapped`] keeps the future in place.
//!
//! # Invariants
//!
//! - **Pinned.** The future is only ever reached through a pin, and is dropped
//!   in place, by setting the `Option` to `None`.

use crate::stage::Parcel;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is around a future.
pub(crate) trait Around<F: Future> {
    type Output;

    /// Polls the whole.
    fn poll(&mut self, future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<Self::Output>;
}

/// A future with something around it.
pub(crate) struct Wrapped<F, A> {
    future: Option<F>,
    around: A,
}

impl<F, A> Wrapped<F, A> {
    /// Packed to be spawned. The moves of a large future are counted here.
    #[inline(always)]
    pub(crate) fn pack(future: F, around: A) -> Parcel<Wrapped<F, A>> {
        Parcel::Packed(Wrapped { future: Some(future), around })
    }

    pub(crate) fn new(future: F, around: A) -> Wrapped<F, A> {
        Wrapped { future: Some(future), around }
    }

    /// The future again, which has not been polled.
    pub(crate) fn into_inner(self) -> F {
        self.future.expect("a future that was not polled is there")
    }
}

impl<F: Future, A: Around<F>> Future for Wrapped<F, A> {
    type Output = A::Output;

    #[allow(unsafe_code)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        // SAFETY: nothing is moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `future` is pinned as the whole is, and is given out in a pin
        // only; `Wrapped` has no `Drop`, is not packed, and is `Unpin` only if
        // the future is. `around` is not pinned, and never given out in a pin.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        this.around.poll(future, cx)
    }
}

/// What is around two futures, of which the second is polled after the first.
pub(crate) trait Sequence<F: Future, G: Future> {
    type Output;

    /// Polls the whole.
    fn poll(
        &mut self,
        first: Pin<&mut Option<F>>,
        second: Pin<&mut Option<G>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output>;
}

/// Two futures with something around them. Its size is the sum of theirs; in an
/// `async` block that awaits both each would stand twice.
pub(crate) struct Sequenced<F, G, A> {
    first: Option<F>,
    second: Option<G>,
    around: A,
}

impl<F, G, A> Sequenced<F, G, A> {
    pub(crate) fn new(first: F, second: G, around: A) -> Sequenced<F, G, A> {
        Sequenced { first: Some(first), second: Some(second), around }
    }
}

impl<F: Future, G: Future, A: Sequence<F, G>> Future for Sequenced<F, G, A> {
    type Output = A::Output;

    #[allow(unsafe_code)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        // SAFETY: nothing is moved out of `this`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as for `Wrapped`, for either of the two.
        let first = unsafe { Pin::new_unchecked(&mut this.first) };
        // SAFETY: the same.
        let second = unsafe { Pin::new_unchecked(&mut this.second) };
        this.around.poll(first, second, cx)
    }
}
