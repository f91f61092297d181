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
