//! What a workload may ask of an executor.
//!
//! The least that all of them can do, in the words of this house. It is not an
//! abstraction to write programs against: it hides everything that makes one
//! want one executor rather than another.
//!
//! Everything but `block_on` is an associated function without `self`, for use
//! inside a task, since that is how the fastest of them are called. Those whose
//! `spawn` is a method keep themselves in a thread-local; see `adapters/`.

use std::future::Ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// One executor, started.
pub trait Runtime: Sized {
    /// What `spawn` gives back.
    type Task<T: 'static>: 'static;

    /// Starts one, or says why this machine cannot have it.
    fn start() -> Result<Self, String>;

    /// Runs `main` to its end.
    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T;

    /// Spawns onto the executor whose task is running.
    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Self::Task<T>;

    /// Waits for the task's value.
    fn join<T: 'static>(task: Self::Task<T>) -> impl Future<Output = T>;

    /// Spawns a task that nobody will ask for, in the way its users would.
    fn spawn_detached(future: impl Future<Output = ()> + 'static);

    /// Waits for a task that may panic: `None` if it did.
    ///
    /// No future at all where a panic is not kept to its task.
    fn join_caught<T: 'static>(_: Self::Task<T>) -> Option<impl Future<Output = Option<T>>> {
        None::<Ready<Option<T>>>
    }

    /// Has the task dropped before its end, in the way its users would, and
    /// gives up its handle. `None` where that cannot be asked for.
    fn cancel<T: 'static>(_: Self::Task<T>) -> Option<()> {
        None
    }

    /// Waits, by the timer that this executor's users have.
    fn sleep(delay: Duration) -> impl Future;

    /// Waits for `future`, but no longer than `limit`, as its users would.
    fn timeout<F: Future>(limit: Duration, future: F) -> impl Future<Output = Option<F::Output>>;

    /// A sleep that can be pushed back, where there is one.
    fn timer(_delay: Duration) -> Option<impl Timer> {
        None::<NoTimer>
    }
}

/// A sleep whose deadline can be moved while it is waited for.
pub trait Timer: Future {
    /// From now on it ends `delay` from now.
    fn reset(self: Pin<&mut Self>, delay: Duration);
}

/// For executors without [`Timer`]: there is none of these.
pub enum NoTimer {}

impl Future for NoTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match *self {}
    }
}

impl Timer for NoTimer {
    fn reset(self: Pin<&mut Self>, _: Duration) {
        match *self {}
    }
}

/// Gives the other tasks a turn.
///
/// The same for all: the waker, and nothing of the executor's own. (tokio's
/// `yield_now` goes another way than its wakers do.)
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
