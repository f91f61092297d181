//! What a task takes while it waits.
//!
//! Of the heap of all threads, divided by the tasks: the executor's tables are
//! counted at the size that they have grown to. The caller's handles are not.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::tasks::Latch;
use super::{Sample, Scale, started};
use crate::allocations::{self, Heap};
use crate::runtime::{Runtime, yield_now};

/// Spawned at a time, before they get a turn: not a thing that happens to a
/// hundred thousand tasks at once, and queues would be counted.
const PORTION: usize = 50;

/// Until everyone sleeps, on a slow day.
const LONG: Duration = Duration::from_secs(2);

/// Until helper threads have taken in what they were told.
const SETTLED: Duration = Duration::from_millis(50);

/// A task that waits for somebody, with a future of 40 bytes.
///
/// Somebody is a list of wakers, which is not counted.
pub fn task_bytes<R: Runtime>(scale: Scale) -> Option<Sample> {
    let tasks = scale.of(100_000);
    let mut executor = started::<R>();
    executor.block_on(async move {
        let lot = Rc::new(Lot::with_room_for(tasks));
        let mut parked = Vec::with_capacity(tasks);
        let counting = allocations::count();
        let before = Heap::now();
        for number in 0..tasks {
            parked.push(R::spawn(Parked { lot: Rc::clone(&lot), number, freight: [1; 3] }));
            if number % PORTION == 0 {
                yield_now().await;
            }
        }
        lot.full.wait().await;
        let bytes = Heap::now().since(before).live();
        drop(counting);

        lot.open();
        let mut sum = 0;
        for task in parked {
            sum += R::join::<usize>(task).await;
        }
        assert_eq!(sum, 3 * tasks);
        counted(bytes, tasks)
    })
}

/// A task in a sleep.
pub fn sleep_bytes<R: Runtime>(scale: Scale) -> Option<Sample> {
    let tasks = scale.of(100_000);
    let long = if scale.quick { LONG / 10 } else { LONG };
    let mut executor = started::<R>();
    executor.block_on(async move {
        let mut sleeping = Vec::with_capacity(tasks);
        let start = Instant::now();
        // A first one, for what is made for all sleeps together.
        R::sleep(Duration::from_millis(1)).await;
        let counting = allocations::count();
        let before = Heap::now();
        for number in 0..tasks {
            sleeping.push(R::spawn(async move {
                let delay = long + Duration::from_micros(number as u64);
                R::sleep(delay).await;
            }));
            if number % PORTION == 0 {
                yield_now().await;
            }
        }
        R::sleep(SETTLED).await;
        let bytes = Heap::now().since(before).live();
        drop(counting);
        assert!(start.elapsed() < long, "the first of them has ended already");

        for task in sleeping {
            R::join::<()>(task).await;
        }
        assert!(start.elapsed() >= long, "someone woke too early");
        counted(bytes, tasks)
    })
}

/// `None` in a program that does not count.
fn counted(bytes: f64, tasks: usize) -> Option<Sample> {
    (bytes > 0.0).then(|| Sample { value: bytes / tasks as f64, heap: None })
}

/// 40 bytes that wait until the lot opens.
struct Parked {
    lot: Rc<Lot>,
    number: usize,
    freight: [usize; 3],
}

const _: () = assert!(size_of::<Parked>() == 40 || size_of::<usize>() != 8);

impl Future for Parked {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        if self.lot.is_open.get() {
            return Poll::Ready(self.freight.iter().sum());
        }
        let mut wakers = self.lot.wakers.borrow_mut();
        match wakers.get_mut(self.number) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                assert_eq!(wakers.len(), self.number, "tasks run in the order of their spawns");
                wakers.push(cx.waker().clone());
                self.lot.full.count_down();
            }
        }
        Poll::Pending
    }
}

/// Where the parked ones wait.
struct Lot {
    is_open: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
    full: Rc<Latch>,
}

impl Lot {
    fn with_room_for(tasks: usize) -> Self {
        Self {
            is_open: Cell::new(false),
            wakers: RefCell::new(Vec::with_capacity(tasks)),
            full: Latch::new(tasks),
        }
    }

    fn open(&self) {
        self.is_open.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}
