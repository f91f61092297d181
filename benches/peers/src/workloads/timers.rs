//! Sleeps made, dropped, pushed back, fired.
//!
//! Each executor uses the timer that its users have: its own, async-io's for
//! async-executor, futures-timer's for `LocalPool`.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::tasks::started;
use super::{Scale, Stopwatch};
use crate::runtime::{Runtime, Timer, yield_now};

/// Longer than any run: a request's time limit, which normally does not end.
const FAR: Duration = Duration::from_secs(30);

/// Polls of a timer in one poll of the task.
///
/// tokio lets a task poll 128 of its own things, then has them say `Pending`
/// unasked, and the timer would never be set. Yielding after half of that
/// costs everyone less than a nanosecond per timer.
const POLLS_PER_TURN: usize = 64;

/// Makes a sleep, polls it once, drops it.
pub fn sleep_set_dropped<R: Runtime>(scale: Scale) -> f64 {
    async fn pass<R: Runtime>(turns: usize) {
        let mut pending = 0;
        for _ in 0..turns {
            std::future::poll_fn(|cx| {
                for _ in 0..POLLS_PER_TURN {
                    let sleep = pin!(R::sleep(FAR));
                    pending += usize::from(sleep.poll(cx).is_pending());
                }
                Poll::Ready(())
            })
            .await;
            yield_now().await;
        }
        assert_eq!(pending, turns * POLLS_PER_TURN);
    }

    let turns = scale.of(1000);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            pass::<R>(10).await;
            let watch = Stopwatch::start();
            pass::<R>(turns).await;
            watch.per(turns * POLLS_PER_TURN)
        }))
        .await
    })
}

/// Pushes a waiting sleep back and polls it, as an idle connection's time limit
/// is with every byte. The deadline only ever moves later.
pub fn sleep_reset<R: Runtime>(scale: Scale) -> Option<f64> {
    async fn pass<R: Runtime>(turns: usize) -> Option<()> {
        let mut timer = pin!(R::timer(FAR)?);
        let mut pending = 0;
        for _ in 0..turns {
            std::future::poll_fn(|cx| {
                for _ in 0..POLLS_PER_TURN {
                    pending += usize::from(timer.as_mut().poll(cx).is_pending());
                    timer.as_mut().reset(FAR);
                }
                Poll::Ready(())
            })
            .await;
            yield_now().await;
        }
        assert_eq!(pending, turns * POLLS_PER_TURN);
        Some(())
    }

    let turns = scale.of(1000);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            pass::<R>(10).await?;
            let watch = Stopwatch::start();
            pass::<R>(turns).await?;
            Some(watch.per(turns * POLLS_PER_TURN))
        }))
        .await
    })
}

/// Spawns tasks that sleep 1 to 100 ms, all at once, and awaits them.
///
/// Processor time of the whole process, since most of the wall-clock time is
/// waiting, and since some peers have a thread for their timers.
pub fn sleeps_100k<R: Runtime>(scale: Scale) -> f64 {
    let sleepers = scale.of(100_000);
    started::<R>().block_on(async move {
        let slept = Rc::new(Cell::new(0));
        let before = processor_nanos();
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        let mut tasks = Vec::with_capacity(sleepers);
        for delay in delays().take(sleepers) {
            longest = longest.max(delay);
            let slept = Rc::clone(&slept);
            tasks.push(R::spawn(async move {
                R::sleep(delay).await;
                slept.set(slept.get() + 1);
            }));
        }
        for task in tasks {
            R::join::<()>(task).await;
        }
        let nanos = processor_nanos() - before;
        assert_eq!(slept.get(), sleepers);
        assert!(start.elapsed() >= longest, "someone woke too early");
        nanos / sleepers as f64
    })
}

/// The same delays for everyone, to the microsecond (xorshift, Marsaglia 2003).
fn delays() -> impl Iterator<Item = Duration> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(1_000 + state % 99_001)
    })
}

/// Processor time of this process so far, all its threads together.
fn processor_nanos() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
