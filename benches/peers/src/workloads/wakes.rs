//! One task wakes another; a thread wakes a task.
//!
//! By hand-written cells and no channel, so that what is measured is the
//! executor. They do what a channel does: clone the waker in order to wait,
//! take it out in order to wake.

use std::cell::Cell;
use std::hint::spin_loop;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::tasks::started;
use super::{Scale, Stopwatch};
use crate::runtime::Runtime;

/// Two tasks hit a ball to and fro. One operation is a round trip: two wakes,
/// two polls.
pub fn ping_pong<R: Runtime>(scale: Scale) -> f64 {
    async fn rally<R: Runtime>(trips: usize) {
        let ball = Rc::new(Ball::default());
        let pong = R::spawn(player(Rc::clone(&ball), 1, trips));
        let ping = R::spawn(player(Rc::clone(&ball), 0, trips));
        R::join::<()>(ping).await;
        R::join::<()>(pong).await;
        assert_eq!(ball.hits.get(), 2 * trips);
    }

    let trips = scale.of(100_000);
    started::<R>().block_on(async move {
        rally::<R>(100).await;
        let watch = Stopwatch::start();
        rally::<R>(trips).await;
        watch.per(trips)
    })
}

/// Whose turn it is (by the parity of `hits`), and who waits for it.
#[derive(Default)]
struct Ball {
    hits: Cell<usize>,
    waiting: [Cell<Option<Waker>>; 2],
}

async fn player(ball: Rc<Ball>, side: usize, hits: usize) {
    for _ in 0..hits {
        std::future::poll_fn(|cx| {
            if ball.hits.get() % 2 == side {
                return Poll::Ready(());
            }
            ball.waiting[side].set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        ball.hits.set(ball.hits.get() + 1);
        if let Some(other) = ball.waiting[1 - side].take() {
            other.wake();
        }
    }
}

/// A task asks a spinning thread, and waits until that has answered and woken it.
///
/// The thread answers sooner than an executor can fall asleep. So this is the
/// way of a wake through the inbox, with or without a system call, but not the
/// time it takes an operating system to start a sleeping thread.
pub fn foreign_wake<R: Runtime>(scale: Scale) -> f64 {
    let trips = scale.of(20_000);
    let desk = Arc::new(Desk::default());
    let clerk = std::thread::spawn({
        let desk = Arc::clone(&desk);
        move || desk.answer_until_closed()
    });
    let nanos = started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            for trip in 1..=100 {
                desk.ask(trip).await;
            }
            let watch = Stopwatch::start();
            for trip in 101..=100 + trips {
                desk.ask(trip).await;
            }
            let nanos = watch.per(trips);
            desk.asked.store(CLOSED, Ordering::Release);
            nanos
        }))
        .await
    });
    let answered = clerk.join().expect("the clerk does not panic");
    assert_eq!(answered, 100 + trips);
    nanos
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

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().expect("no one panics with it")
    }
}
