//! Spawning, yielding, startup: tasks that wait for nothing but their turn.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Sample, Scale, Stopwatch, started};
use crate::runtime::{Runtime, yield_now};

/// Spawned at a time: more than any allocator's cache, less than the processor's.
const SPAWNED: usize = 4096;

/// Awaited by one task, all at once.
const FANNED_OUT: usize = 10_000;

/// Tasks that yield in turn.
const YIELDING: usize = 1000;

/// Spawns [`SPAWNED`] tasks, then awaits each for its value.
pub fn spawn_join<R: Runtime>(scale: Scale) -> Sample {
    async fn pass<R: Runtime>(tasks: &mut Vec<R::Task<usize>>) {
        tasks.extend((0..SPAWNED).map(|number| R::spawn(async move { black_box(number) })));
        let mut sum = 0;
        for task in tasks.drain(..) {
            sum += R::join::<usize>(task).await;
        }
        assert_eq!(sum, (0..SPAWNED).sum());
    }

    let passes = scale.of(100);
    started::<R>().block_on(async move {
        let mut tasks = Vec::with_capacity(SPAWNED);
        pass::<R>(&mut tasks).await;
        let watch = Stopwatch::start();
        for _ in 0..passes {
            pass::<R>(&mut tasks).await;
        }
        watch.per(passes * SPAWNED)
    })
}

/// Spawns one task and awaits it, and again. Nobody else is ready.
pub fn spawn_await<R: Runtime>(scale: Scale) -> Sample {
    async fn pass<R: Runtime>(tasks: usize) {
        let mut sum = 0;
        for number in 0..tasks {
            sum += R::join(R::spawn(async move { black_box(number) })).await;
        }
        assert_eq!(sum, (0..tasks).sum());
    }

    let tasks = scale.of(100_000);
    started::<R>().block_on(async move {
        pass::<R>(100).await;
        let watch = Stopwatch::start();
        pass::<R>(tasks).await;
        watch.per(tasks)
    })
}

/// Spawns [`SPAWNED`] tasks without handles; the last one to run says so.
pub fn spawn_detach<R: Runtime>(scale: Scale) -> Sample {
    async fn pass<R: Runtime>() {
        let latch = Latch::new(SPAWNED);
        for _ in 0..SPAWNED {
            let latch = Rc::clone(&latch);
            R::spawn_detached(async move { latch.count_down() });
        }
        latch.wait().await;
        assert_eq!(latch.left.get(), 0);
    }

    let passes = scale.of(100);
    started::<R>().block_on(async move {
        pass::<R>().await;
        let watch = Stopwatch::start();
        for _ in 0..passes {
            pass::<R>().await;
        }
        watch.per(passes * SPAWNED)
    })
}

/// Spawns [`FANNED_OUT`] tasks, and awaits them in whatever order they end.
pub fn fan_out<R: Runtime>(scale: Scale) -> Sample {
    async fn pass<R: Runtime>() {
        let tasks = (0..FANNED_OUT).map(|number| R::spawn(async move { black_box(number) }));
        let mut joins: FuturesUnordered<_> = tasks.map(R::join).collect();
        let mut sum = 0;
        while let Some(number) = joins.next().await {
            sum += number;
        }
        assert_eq!(sum, (0..FANNED_OUT).sum());
    }

    let passes = scale.of(20);
    started::<R>().block_on(async move {
        pass::<R>().await;
        let watch = Stopwatch::start();
        for _ in 0..passes {
            pass::<R>().await;
        }
        watch.per(passes * FANNED_OUT)
    })
}

/// [`YIELDING`] tasks yield in turn. Their spawning is a small part of it.
pub fn yield_many<R: Runtime>(scale: Scale) -> Sample {
    let yields = scale.of(400);
    started::<R>().block_on(async move {
        yielding::<R>(YIELDING, 2).await;
        let watch = Stopwatch::start();
        yielding::<R>(YIELDING, yields).await;
        watch.per(YIELDING * yields)
    })
}

/// One task yields, and nobody else is ready.
pub fn yield_one<R: Runtime>(scale: Scale) -> Sample {
    let yields = scale.of(200_000);
    started::<R>().block_on(async move {
        yielding::<R>(1, 100).await;
        let watch = Stopwatch::start();
        yielding::<R>(1, yields).await;
        watch.per(yields)
    })
}

/// Makes an executor, runs a future that is ready, drops the executor.
pub fn startup<R: Runtime>(scale: Scale) -> Sample {
    let start = || {
        let answer = started::<R>().block_on(std::future::ready(black_box(42)));
        assert_eq!(answer, 42);
    };
    let starts = scale.of(1000);
    start();
    let watch = Stopwatch::start();
    for _ in 0..starts {
        start();
    }
    watch.per(starts)
}

/// `tasks` tasks that yield `yields` times each.
async fn yielding<R: Runtime>(tasks: usize, yields: usize) {
    let count = Rc::new(Cell::new(0));
    let spawned: Vec<_> = (0..tasks)
        .map(|_| {
            let count = Rc::clone(&count);
            R::spawn(async move {
                for _ in 0..yields {
                    yield_now().await;
                    count.set(count.get() + 1);
                }
            })
        })
        .collect();
    for task in spawned {
        R::join::<()>(task).await;
    }
    assert_eq!(count.get(), tasks * yields);
}

/// Wakes one waiter when a count has come down to zero.
pub struct Latch {
    left: Cell<usize>,
    waiter: Cell<Option<Waker>>,
}

impl Latch {
    pub fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(count), waiter: Cell::new(None) })
    }

    pub fn count_down(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0
            && let Some(waiter) = self.waiter.take()
        {
            waiter.wake();
        }
    }

    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.left.get() == 0 {
                return Poll::Ready(());
            }
            self.waiter.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
