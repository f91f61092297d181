//! hearken, with its default settings and the system's clock.
//!
//! Spawned as infallible: the peers' tasks have plain values too.

use std::pin::Pin;
use std::time::Duration;

use hearken::{Executor, Sleep, Task};

use crate::runtime::{Runtime, Timer};

pub struct Hearken(Executor);

impl Runtime for Hearken {
    type Task<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(Executor::new()))
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        let ended = self.0.block_on(async { Ok(main.await) });
        ended.unwrap_or_else(|_| panic!("main does not fail"))
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
        hearken::spawn_infallible(future)
    }

    async fn join<T: 'static>(task: Task<T>) -> T {
        let ended = task.await;
        ended.unwrap_or_else(|_| panic!("no task fails"))
    }

    fn join_caught<T: 'static>(task: Task<T>) -> Option<impl Future<Output = Option<T>>> {
        Some(async { task.await.ok() })
    }

    fn cancel<T: 'static>(task: Task<T>) -> Option<()> {
        task.cancel();
        Some(())
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        hearken::spawn_infallible(future).detach();
    }

    fn sleep(delay: Duration) -> impl Future {
        hearken::sleep(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        hearken::timeout(limit, future).await.ok()
    }

    fn timer(delay: Duration) -> Option<impl Timer> {
        Some(hearken::sleep(delay))
    }
}

impl Timer for Sleep {
    fn reset(self: Pin<&mut Self>, delay: Duration) {
        Sleep::reset(self.get_mut(), hearken::now() + delay);
    }
}
