//! futures-executor's `LocalPool` with futures-timer, which has a thread.
//!
//! Its `spawn` is a method, so the spawner is kept in a thread-local; that adds
//! a nanosecond or two per spawn. It does not catch panics by itself, but the
//! handle that one can await does.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_executor::{LocalPool, LocalSpawner};
use futures_timer::Delay;
use futures_util::future::{Either, FutureExt, RemoteHandle, select};
use futures_util::task::LocalSpawnExt;

use crate::runtime::{Runtime, Timer};

pub struct Pool(LocalPool);

thread_local! {
    static RUNNING: RefCell<Option<LocalSpawner>> = const { RefCell::new(None) };
}

impl Runtime for Pool {
    type Task<T: 'static> = RemoteHandle<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(LocalPool::new()))
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        RUNNING.set(Some(self.0.spawner()));
        let value = self.0.run_until(main);
        RUNNING.set(None);
        value
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> RemoteHandle<T> {
        with_spawner(|spawner| spawner.spawn_local_with_handle(future)).expect("it runs")
    }

    async fn join<T: 'static>(task: RemoteHandle<T>) -> T {
        task.await
    }

    fn join_caught<T: 'static>(task: RemoteHandle<T>) -> Option<impl Future<Output = Option<T>>> {
        // It goes on unwinding in whoever awaits.
        Some(async { AssertUnwindSafe(task).catch_unwind().await.ok() })
    }

    fn cancel<T: 'static>(task: RemoteHandle<T>) -> Option<()> {
        drop(task);
        Some(())
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        with_spawner(|spawner| spawner.spawn_local(future)).expect("it runs");
    }

    fn sleep(delay: Duration) -> impl Future {
        Delay::new(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        match select(pin!(future), Delay::new(limit)).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }

    fn timer(delay: Duration) -> Option<impl Timer> {
        Some(Delay::new(delay))
    }
}

fn with_spawner<T>(f: impl FnOnce(&LocalSpawner) -> T) -> T {
    RUNNING.with_borrow(|running| f(running.as_ref().expect("it runs")))
}

impl Timer for Delay {
    fn reset(self: Pin<&mut Self>, delay: Duration) {
        Delay::reset(self.get_mut(), delay);
    }
}
