//! Yielding, one task wakes another, a wake from outside.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use hearken::{Budget, Executor, spawn_infallible, yield_now};

use super::{OPERATIONS, WARM_UP, repeat};

/// [`OPERATIONS`] tasks yield once in each pass. They are spawned once.
pub fn yield_many(passes: usize) {
    let yields = WARM_UP + passes;
    let count = Rc::new(Cell::new(0));
    let counts = count.clone();
    let crowd = async move {
        let yielding = |_| {
            let count = counts.clone();
            spawn_infallible(async move {
                for _ in 0..yields {
                    yield_now().await;
                    count.set(count.get() + 1);
                }
            })
        };
        let tasks: Vec<_> = (0..OPERATIONS).map(yielding).collect();
        for task in tasks {
            task.await?;
        }
        Ok(())
    };
    Executor::new().block_on(crowd).expect("none fails");
    assert_eq!(count.get(), yields * OPERATIONS);
}

pub fn yield_one(passes: usize) {
    let count = Rc::new(Cell::new(0));
    let counts = count.clone();
    repeat(&Executor::new(), passes, async move || {
        for _ in 0..OPERATIONS {
            yield_now().await;
            counts.set(counts.get() + 1);
        }
    });
    assert_eq!(count.get(), (WARM_UP + passes) * OPERATIONS);
}

pub fn ping_pong(passes: usize) {
    token(2, (WARM_UP + passes) * OPERATIONS);
}

pub fn chain(passes: usize) {
    token(OPERATIONS, WARM_UP + passes);
}

/// A ring of tasks hands a token on, so many times around.
fn token(tasks: usize, rounds: usize) {
    let ring = Rc::new(Ring {
        hops: Cell::new(0),
        waiting: (0..tasks).map(|_| Cell::new(None)).collect(),
    });
    let main = {
        let ring = ring.clone();
        async move {
            let members =
                (0..tasks).map(|place| spawn_infallible(ring.clone().hand_on(place, rounds)));
            let members: Vec<_> = members.collect();
            for member in members {
                member.await?;
            }
            Ok(())
        }
    };
    Executor::new().block_on(main).expect("none fails");
    assert_eq!(ring.hops.get(), tasks * rounds);
}

/// Who waits for the token. It lies at the place that `hops` says, counted
/// around the ring.
struct Ring {
    hops: Cell<usize>,
    waiting: Vec<Cell<Option<Waker>>>,
}

impl Ring {
    async fn hand_on(self: Rc<Ring>, place: usize, rounds: usize) {
        for round in 0..rounds {
            let turn = round * self.waiting.len() + place;
            poll_fn(|cx| {
                if self.hops.get() == turn {
                    return Poll::Ready(());
                }
                self.waiting[place].set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            self.hops.set(turn + 1);
            let next = if place + 1 == self.waiting.len() { 0 } else { place + 1 };
            if let Some(next) = self.waiting[next].take() {
                next.wake();
            }
        }
    }
}

/// A waker that is called while the executor takes no turn goes the way of one
/// that is called on another thread.
pub fn wake_outside(passes: usize) {
    let executor = Executor::new();
    let waiting = Rc::new(RefCell::new(None));
    let polls = Rc::new(Cell::new(0));
    let parked = executor.spawn_infallible({
        let (waiting, polls) = (waiting.clone(), polls.clone());
        poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            waiting.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })
    });
    parked.detach();
    executor.run_until_idle();
    let wakes = (WARM_UP + passes) * OPERATIONS;
    for _ in 0..wakes {
        let waker: Waker = waiting.take().expect("it waits");
        waker.wake();
        assert_eq!(executor.turn(Budget::Batch).polled, 1);
    }
    assert_eq!(polls.get(), 1 + wakes);
}
