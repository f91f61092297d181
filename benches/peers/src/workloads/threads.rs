//! A thread wakes a task.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use super::{Sample, Scale, Stopwatch, started};
use crate::runtime::Runtime;

/// A task asks a spinning thread, and waits until that has answered and woken it.
///
/// The thread answers sooner than an executor can fall asleep. So this is the
/// way of a wake through the inbox, with or without a system call, but not the
/// time it takes an operating system to start a sleeping thread.
pub fn foreign_wake<R: Runtime>(scale: Scale) -> Sample {
    let trips = scale.of(20_000);
    let desk = Arc::new(Desk::default());
    let clerk = std::thread::spawn({
        let desk = Arc::clone(&desk);
        move || desk.answer_until_closed()
    });
    let sample = started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            for trip in 1..=100 {
                desk.ask(trip).await;
            }
            let watch = Stopwatch::start();
            for trip in 101..=100 + trips {
                desk.ask(trip).await;
            }
            let sample = watch.per(trips);
            desk.asked.store(CLOSED, Ordering::Release);
            sample
        }))
        .await
    });
    let answered = clerk.join().expect("the clerk does not panic");
    assert_eq!(answered, 100 + trips);
    sample
}

/// The question that ends the thread.
const CLOSED: usize = usize::MAX;

/// Where the task asks and the thread answers. Questions are numbers from 1.
#[derive(Default)]
struct Desk {
    asked: AtomicUsize,
    answered: AtomicUsize,
    waiting: Mutex<Option<Waker>>,
}

impl Desk {
    async fn ask(&self, question: usize) {
        let mut asked = false;
        std::future::poll_fn(|cx| {
            if self.answered.load(Ordering::Acquire) == question {
                return Poll::Ready(());
            }
            // Before the question, or the answer would find nobody to wake.
            *self.waiting() = Some(cx.waker().clone());
            if !asked {
                asked = true;
                self.asked.store(question, Ordering::Release);
            }
            Poll::Pending
        })
        .await
    }

    /// Returns how many questions there were.
    fn answer_until_closed(&self) -> usize {
        let mut count = 0;
        let mut last = 0;
        let mut spins = 0;
        loop {
            match self.asked.load(Ordering::Acquire) {
                CLOSED => return count,
                asked if asked == last => {
                    spins += 1;
                    // On a machine with one core the task could not ask.
                    match spins % 10_000 {
                        0 => std::thread::yield_now(),
                        _ => spin_loop(),
                    }
                }
                asked => {
                    (last, spins, count) = (asked, 0, count + 1);
                    let waiter = self.waiting().take();
                    self.answered.store(asked, Ordering::Release);
                    waiter.expect("nobody asks without waiting").wake();
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().expect("no one panics with it")
    }
}

/// A thread wakes one task again and again, without waiting for anybody, while
/// the executor polls it as often as it can.
///
/// The time is the thread's. A poll has to follow the last wake, or this would
/// not end.
pub fn storm<R: Runtime>(scale: Scale) -> Sample {
    let wakes = scale.of(1_000_000);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            blown(100).await;
            blown(wakes).await
        }))
        .await
    })
}

/// Waits for a thread that wakes this task `wakes` times.
async fn blown(wakes: usize) -> Sample {
    let over = Arc::new(AtomicBool::new(false));
    let mut thread = None;
    std::future::poll_fn(|cx| {
        if over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        thread.get_or_insert_with(|| {
            let (waker, over) = (cx.waker().clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let watch = Stopwatch::start();
                for _ in 1..wakes {
                    waker.wake_by_ref();
                }
                over.store(true, Ordering::Release);
                waker.wake();
                watch.per(wakes)
            })
        });
        Poll::Pending
    })
    .await;
    let thread = thread.expect("it was polled");
    thread.join().expect("the thread does not panic")
}
