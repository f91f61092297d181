//! async-task's tasks on a bare `VecDeque`, with async-io's timer and
//! `block_on`: about the least around them that is correct.
//!
//! There is no executor here to be had from a registry; it is what one gets
//! who writes one for an afternoon. The function that takes in who was woken
//! carries nothing, since async-task counts references around one that does. So
//! there is one queue in the process, and one executor at a time. Tasks belong
//! to nobody: those that are neither woken nor held are simply gone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_task::{Builder, Runnable, Task};

use crate::adapters::async_executor::Local;
use crate::runtime::{Runtime, Timer};

pub struct Bare(());

/// Polled before the timers get a look.
const BATCH: usize = 200;

/// Whether there is a [`Bare`].
static STARTED: AtomicBool = AtomicBool::new(false);

/// Woken by another thread, or between two batches, as by a timer.
static INBOX: Mutex<Inbox> = Mutex::new(Inbox { woken: Vec::new(), sleeper: None });

struct Inbox {
    woken: Vec<Runnable>,
    /// Of the thread that sleeps until something arrives.
    sleeper: Option<Waker>,
}

thread_local! {
    static QUEUE: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
    /// Whether a batch is polled on this thread, so that the queue is looked at.
    static TURNING: Cell<bool> = const { Cell::new(false) };
}

impl Runtime for Bare {
    type Task<T: 'static> = Task<T>;

    fn start() -> Result<Self, String> {
        match STARTED.swap(true, Ordering::Acquire) {
            false => Ok(Self(())),
            true => Err("there is one already".into()),
        }
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        let mut main = pin!(Self::spawn(main));
        async_io::block_on(std::future::poll_fn(|cx| {
            TURNING.set(true);
            let polled = poll_some();
            TURNING.set(false);
            if main.is_finished() {
                return main.as_mut().poll(cx);
            }
            let mut inbox = inbox();
            if polled == BATCH || !inbox.woken.is_empty() {
                drop(inbox);
                cx.waker().wake_by_ref();
            } else {
                inbox.sleeper = Some(cx.waker().clone());
            }
            Poll::Pending
        }))
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
        let builder = Builder::new().propagate_panic(true);
        let (runnable, task) = builder.spawn_local(|()| future, schedule);
        runnable.schedule();
        task
    }

    // async-executor's tasks are these, and have no other handles.

    fn join<T: 'static>(task: Task<T>) -> impl Future<Output = T> {
        Local::join(task)
    }

    fn join_caught<T: 'static>(task: Task<T>) -> Option<impl Future<Output = Option<T>>> {
        Local::join_caught(task)
    }

    fn cancel<T: 'static>(task: Task<T>) -> Option<()> {
        Local::cancel(task)
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        Self::spawn(future).detach();
    }

    fn sleep(delay: Duration) -> impl Future {
        Local::sleep(delay)
    }

    fn timeout<F: Future>(limit: Duration, future: F) -> impl Future<Output = Option<F::Output>> {
        Local::timeout(limit, future)
    }

    fn timer(delay: Duration) -> Option<impl Timer> {
        Local::timer(delay)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Those that nobody awaits; their drop may wake others.
        while let Some(left) = next() {
            drop(left);
        }
        STARTED.store(false, Ordering::Release);
    }
}

fn schedule(woken: Runnable) {
    if TURNING.get() {
        return QUEUE.with_borrow_mut(|queue| queue.push_back(woken));
    }
    let mut inbox = inbox();
    inbox.woken.push(woken);
    let sleeper = inbox.sleeper.take();
    drop(inbox);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
}

/// Polls a batch, or what there is. Returns how many that were.
fn poll_some() -> usize {
    for polled in 0..BATCH {
        match next() {
            Some(runnable) => drop(runnable.run()),
            None => return polled,
        }
    }
    BATCH
}

/// The next to be polled, or else what has arrived.
fn next() -> Option<Runnable> {
    QUEUE.with_borrow_mut(|queue| {
        if queue.is_empty() {
            queue.extend(inbox().woken.drain(..));
        }
        queue.pop_front()
    })
}

fn inbox() -> MutexGuard<'static, Inbox> {
    INBOX.lock().expect("no one panics with it")
}
