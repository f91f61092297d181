//! compio, on io_uring where there is one, else on epoll.
//!
//! After each batch, of at most 61 polls, it polls its `main` and looks at its
//! driver. Its sleeps cannot be reset.

use std::time::Duration;

use compio_runtime::time::{sleep, timeout};
use compio_runtime::{JoinHandle, spawn};

use crate::runtime::Runtime;

pub struct Compio(compio_runtime::Runtime);

impl Runtime for Compio {
    type Task<T: 'static> = JoinHandle<T>;

    fn start() -> Result<Self, String> {
        let built = compio_runtime::Runtime::new();
        built.map(Self).map_err(|error| error.to_string())
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        self.0.block_on(main)
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        spawn(future)
    }

    async fn join<T: 'static>(task: JoinHandle<T>) -> T {
        task.await.expect("no task fails")
    }

    fn join_caught<T: 'static>(task: JoinHandle<T>) -> Option<impl Future<Output = Option<T>>> {
        Some(async { task.await.ok() })
    }

    fn cancel<T: 'static>(task: JoinHandle<T>) -> Option<()> {
        drop(task);
        Some(())
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        spawn(future).detach();
    }

    fn sleep(delay: Duration) -> impl Future {
        sleep(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        timeout(limit, future).await.ok()
    }
}
