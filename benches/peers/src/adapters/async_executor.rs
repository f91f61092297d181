//! async-executor's `LocalExecutor` with async-io's timer and `block_on`: smol.
//!
//! Its `spawn` is a method, so the executor that runs is kept in a
//! thread-local; that adds a nanosecond or two per spawn.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use async_executor::{LocalExecutor, Task};
use futures_lite::FutureExt;

use crate::runtime::{Runtime, Timer};

pub struct Local(Rc<LocalExecutor<'static>>);

thread_local! {
    static RUNNING: RefCell<Option<Rc<LocalExecutor<'static>>>> = const { RefCell::new(None) };
}

impl Runtime for Local {
    type Task<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        Ok(Self(Rc::new(LocalExecutor::new())))
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        RUNNING.set(Some(Rc::clone(&self.0)));
        let value = async_io::block_on(self.0.run(main));
        RUNNING.set(None);
        value
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
        RUNNING.with_borrow(|running| running.as_ref().expect("it runs").spawn(future))
    }

    async fn join<T: 'static>(task: Task<T>) -> T {
        task.await
    }

    fn join_caught<T: 'static>(task: Task<T>) -> Option<impl Future<Output = Option<T>>> {
        // It goes on unwinding in whoever awaits.
        Some(async { AssertUnwindSafe(task).catch_unwind().await.ok() })
    }

    fn cancel<T: 'static>(task: Task<T>) -> Option<()> {
        drop(task);
        Some(())
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        Self::spawn(future).detach();
    }

    fn sleep(delay: Duration) -> impl Future {
        async_io::Timer::after(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        let elapsed = async {
            async_io::Timer::after(limit).await;
            None
        };
        async { Some(future.await) }.or(elapsed).await
    }

    fn timer(delay: Duration) -> Option<impl Timer> {
        Some(async_io::Timer::after(delay))
    }
}

impl Timer for async_io::Timer {
    fn reset(self: Pin<&mut Self>, delay: Duration) {
        self.get_mut().set_after(delay);
    }
}
