//! tokio on one thread, in both of its forms: `LocalRuntime`, and a `LocalSet`
//! on a current-thread runtime. With its timer, without its I/O.

use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::runtime::{self, Timer};

pub struct Runtime(LocalRuntime);

pub struct Set {
    set: LocalSet,
    runtime: tokio::runtime::Runtime,
}

fn builder() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_time();
    builder
}

/// What is the same for both: everything but starting and running.
macro_rules! inside_a_task {
    () => {
        type Task<T: 'static> = JoinHandle<T>;

        fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
            spawn_local(future)
        }

        async fn join<T: 'static>(task: JoinHandle<T>) -> T {
            task.await.expect("no task fails")
        }

        fn join_caught<T: 'static>(task: JoinHandle<T>) -> Option<impl Future<Output = Option<T>>> {
            Some(async { task.await.ok() })
        }

        fn cancel<T: 'static>(task: JoinHandle<T>) -> Option<()> {
            task.abort();
            Some(())
        }

        fn spawn_detached(future: impl Future<Output = ()> + 'static) {
            drop(spawn_local(future));
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
    };
}

impl runtime::Runtime for Runtime {
    fn start() -> Result<Self, String> {
        let built = builder().build_local(LocalOptions::default());
        built.map(Self).map_err(|error| error.to_string())
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        self.0.block_on(main)
    }

    inside_a_task!();
}

impl runtime::Runtime for Set {
    fn start() -> Result<Self, String> {
        let runtime = builder().build().map_err(|error| error.to_string())?;
        let set = LocalSet::new();
        Ok(Self { set, runtime })
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        self.set.block_on(&self.runtime, main)
    }

    inside_a_task!();
}

impl Timer for Sleep {
    fn reset(self: Pin<&mut Self>, delay: Duration) {
        Sleep::reset(self, Instant::now() + delay);
    }
}
