//! Sleeps made, dropped, pushed back, fired; timeouts.

use std::cell::Cell;
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hearken::{Executor, ManualClock, Task, now, sleep, spawn_infallible, timeout, yield_now};

use super::{OPERATIONS, WARM_UP, repeat};

/// A request's time limit, which normally does not end.
const FAR: Duration = Duration::from_secs(30);

fn on_a_clock_that_stands() -> Executor {
    Executor::builder().clock(ManualClock::new()).build()
}

pub fn sleep_set_dropped(passes: usize) {
    repeat(&on_a_clock_that_stands(), passes, async || {
        let mut pending = 0;
        poll_fn(|cx| {
            for _ in 0..OPERATIONS {
                let sleep = pin!(sleep(FAR));
                pending += usize::from(sleep.poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(pending, OPERATIONS);
    });
}

pub fn sleep_reset(passes: usize) {
    repeat(&on_a_clock_that_stands(), passes, async || {
        let mut sleep = pin!(sleep(FAR));
        let mut pending = 0;
        poll_fn(|cx| {
            for _ in 0..OPERATIONS {
                pending += usize::from(sleep.as_mut().poll(cx).is_pending());
                sleep.reset(now() + FAR);
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(pending, OPERATIONS);
    });
}

/// They sleep 1 to 100 ms, each pass as long as the one before.
pub fn sleeps(passes: usize) {
    let slept = Rc::new(Cell::new(0));
    let counts = slept.clone();
    let executor = Executor::builder().clock(ManualClock::auto()).build();
    repeat(&executor, passes, async move || {
        let asleep = |delay| {
            let slept = counts.clone();
            spawn_infallible(async move {
                sleep(delay).await;
                slept.set(slept.get() + 1);
            })
        };
        let tasks: Vec<Task<()>> = delays().take(OPERATIONS).map(asleep).collect();
        for task in tasks {
            task.await.expect("it does not fail");
        }
    });
    assert_eq!(slept.get(), (WARM_UP + passes) * OPERATIONS);
}

/// The same ones each time, to the microsecond (xorshift, Marsaglia 2003).
fn delays() -> impl Iterator<Item = Duration> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(1_000 + state % 99_001)
    })
}

pub fn timeout_ready(passes: usize) {
    repeat(&on_a_clock_that_stands(), passes, async || {
        for number in 0..OPERATIONS {
            assert_eq!(timeout(FAR, ready(number)).await, Ok(number));
        }
    });
}

pub fn timeout_yield(passes: usize) {
    repeat(&on_a_clock_that_stands(), passes, async || {
        for _ in 0..OPERATIONS {
            assert_eq!(timeout(FAR, yield_now()).await, Ok(()));
        }
    });
}
