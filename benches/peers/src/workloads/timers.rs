//! Sleeps made, dropped, pushed back, fired.
//!
//! Each executor uses the timer that its users have: its own, async-io's for
//! async-executor, futures-timer's for `LocalPool`.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Sample, Scale, Stopwatch, started};
use crate::runtime::{Runtime, Timer, yield_now};

/// Longer than any run: a request's time limit, which normally does not end.
const FAR: Duration = Duration::from_secs(30);

/// Polls of a timer in one poll of the task.
///
/// tokio lets a task poll 128 of its own things, then has them say `Pending`
/// unasked, and the timer would never be set. Yielding after half of that
/// costs everyone less than a nanosecond per timer.
const POLLS_PER_TURN: usize = 64;

/// Sleeps that wait beside the one that is measured.
const OTHERS: usize = 10_000;

/// Makes a sleep, polls it once, drops it.
pub fn sleep_set_dropped<R: Runtime>(scale: Scale) -> Sample {
    let turns = scale.of(1000);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            set_and_dropped::<R>(10).await;
            let watch = Stopwatch::start();
            set_and_dropped::<R>(turns).await;
            watch.per(turns * POLLS_PER_TURN)
        }))
        .await
    })
}

/// The same, while [`OTHERS`] are waiting that end a little earlier or later.
pub fn sleep_beside_10k<R: Runtime>(scale: Scale) -> Sample {
    let turns = scale.of(1000);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            let mut others = Vec::with_capacity(OTHERS);
            for number in 0..OTHERS {
                let delay = FAR / 2 + FAR * number as u32 / OTHERS as u32;
                let mut sleep = Box::pin(R::sleep(delay));
                std::future::poll_fn(|cx| {
                    assert!(sleep.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                others.push(sleep);
                if number % POLLS_PER_TURN == 0 {
                    yield_now().await;
                }
            }
            set_and_dropped::<R>(10).await;
            let watch = Stopwatch::start();
            set_and_dropped::<R>(turns).await;
            watch.per(turns * POLLS_PER_TURN)
        }))
        .await
    })
}

async fn set_and_dropped<R: Runtime>(turns: usize) {
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

/// Pushes a waiting sleep back and polls it, as an idle connection's time limit
/// is with every byte. The deadline only ever moves later.
pub fn sleep_reset<R: Runtime>(scale: Scale) -> Option<Sample> {
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

/// A time limit around a future that is ready: no timer is ever needed.
pub fn timeout_ready<R: Runtime>(scale: Scale) -> Sample {
    limits::<R>(scale.of(100_000), std::future::ready)
}

/// A time limit around a future that yields once: the timer is set, and taken
/// back at the next poll.
pub fn timeout_yield<R: Runtime>(scale: Scale) -> Sample {
    limits::<R>(scale.of(100_000), async |number| {
        yield_now().await;
        number
    })
}

/// Gives the futures that `make` makes a time limit, one after another.
fn limits<R: Runtime>(count: usize, make: impl AsyncFn(usize) -> usize + 'static) -> Sample {
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            let pass = async |count| {
                let mut sum = 0;
                for number in 0..count {
                    let within = R::timeout(FAR, make(black_box(number))).await;
                    sum += within.expect("it does not take that long");
                }
                assert_eq!(sum, (0..count).sum());
            };
            pass(100).await;
            let watch = Stopwatch::start();
            pass(count).await;
            watch.per(count)
        }))
        .await
    })
}

/// A hundred thousand sleeps at once, all over within a tenth of a second.
pub fn sleeps_100k<R: Runtime>(scale: Scale) -> Sample {
    sleeps::<R>(scale.of(100_000), Duration::from_millis(100))
}

/// A million, over within a second, so that most of them do wait together.
pub fn sleeps_1m<R: Runtime>(scale: Scale) -> Sample {
    let longest = Duration::from_millis(if scale.quick { 10 } else { 1000 });
    sleeps::<R>(scale.of(1_000_000), longest)
}

/// Spawns tasks that sleep 1 ms to `longest`, all at once, and awaits them.
///
/// Processor time of the whole process, since most of the wall-clock time is
/// waiting, and since some peers have a thread for their timers.
fn sleeps<R: Runtime>(sleepers: usize, longest: Duration) -> Sample {
    started::<R>().block_on(async move {
        let slept = Rc::new(Cell::new(0));
        let watch = Stopwatch::start();
        let start = Instant::now();
        let mut last = Duration::ZERO;
        let mut tasks = Vec::with_capacity(sleepers);
        for delay in delays(longest).take(sleepers) {
            last = last.max(delay);
            let slept = Rc::clone(&slept);
            tasks.push(R::spawn(async move {
                R::sleep(delay).await;
                slept.set(slept.get() + 1);
            }));
        }
        for task in tasks {
            R::join::<()>(task).await;
        }
        let sample = watch.processor_per(sleepers);
        assert_eq!(slept.get(), sleepers);
        assert!(start.elapsed() >= last, "someone woke too early");
        sample
    })
}

/// How many microseconds after its end a sleep is noticed, on the average of
/// some that come one after another. Nothing else happens meanwhile.
pub fn lateness<R: Runtime>(scale: Scale) -> Sample {
    let sleeps = scale.of(50);
    started::<R>().block_on(async move {
        R::join(R::spawn(async move {
            let mut late = Duration::ZERO;
            for delay in delays(Duration::from_millis(3)).take(sleeps) {
                let start = Instant::now();
                R::sleep(delay).await;
                let slept = start.elapsed();
                late += slept.checked_sub(delay).expect("nobody wakes too early");
            }
            Sample { value: late.as_secs_f64() * 1e6 / sleeps as f64, heap: None }
        }))
        .await
    })
}

/// From 1 ms on; the same for everyone, to the microsecond (xorshift, Marsaglia
/// 2003).
fn delays(longest: Duration) -> impl Iterator<Item = Duration> {
    let range = longest.as_micros() as u64 - 1_000 + 1;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(1_000 + state % range)
    })
}
