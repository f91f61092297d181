//! monoio, on io_uring where there is one, else on epoll.
//!
//! It does less than the others: a panic in a task unwinds through its loop,
//! and a task has no name and cannot be cancelled. With its feature `sync`,
//! without which a wake from another thread panics; `main` is then a task.

use std::pin::Pin;
use std::time::Duration;

use monoio::task::JoinHandle;
use monoio::time::{Instant, Sleep, TimeDriver, sleep, timeout};
use monoio::{FusionDriver, FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder, spawn};

use crate::runtime::{Runtime, Timer};

pub struct Monoio(FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>);

impl Runtime for Monoio {
    type Task<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        let builder = RuntimeBuilder::<FusionDriver>::new().enable_timer();
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        self.0.block_on(main)
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        spawn(future)
    }

    async fn join<T: 'static>(task: JoinHandle<T>) -> T {
        task.await
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        drop(spawn(future));
    }

    fn sleep(delay: Duration) -> impl Future {
        sleep(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        timeout(limit, future).await.ok()
    }

    fn timer(delay: Duration) -> Option<impl Timer> {
        Some(sleep(delay))
    }
}

impl Timer for Sleep {
    fn reset(self: Pin<&mut Self>, delay: Duration) {
        Sleep::reset(self, Instant::now() + delay);
    }
}
