//! Reports of faults in the timers of others, each tried here.
//!
//! A test names the thread it comes from. What is promised is hearken's own: where
//! the others decided otherwise, the test says what happens here.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::World;
use common::cast::seconds;
use futures::FutureExt as _;
use hearken::{
    Budget, Instant, MissedTicks, Next, Sleep, Task, interval, now, sleep, sleep_until, spawn,
    timeout, yield_now,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at_ms(milliseconds: u64) -> Instant {
    Instant::ZERO + ms(milliseconds)
}

/// A sleep that several can reach.
type Shared = Rc<RefCell<Option<Pin<Box<Sleep>>>>>;

/// A sleep that a task waits for, and that others can reset; the task answers when
/// it was woken, and how often it was polled.
fn shared(world: &World, duration: Duration) -> (Shared, Task<(Instant, u32)>) {
    let shared = Shared::default();
    let waits = shared.clone();
    let task = world.executor.spawn(async move {
        *waits.borrow_mut() = Some(Box::pin(sleep(duration)));
        let polls = Cell::new(0);
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            waits.borrow_mut().as_mut().expect("it is there").as_mut().poll(cx)
        })
        .await;
        Ok((now(), polls.get()))
    });
    world.executor.turn(Budget::Batch);
    (shared, task)
}

fn reset(shared: &Shared, deadline: Instant) {
    shared.borrow_mut().as_mut().expect("it is there").reset(deadline);
}

/// tokio 849: a queue whose only entry was reset to an earlier moment woke at a
/// moment of the wheel's slots (192 ms for an entry at 200), and then at none.
// promise 7.5
#[test]
fn reset_to_an_earlier_moment_it_wakes_then_whatever_slot_it_was_in() {
    for before in [64, 65, 127, 128, 191, 192, 200, 4_096, 100_000] {
        let world = World::new();
        world.clock.set_auto_advance(false);
        let (sleep, task) = shared(&world, ms(before));
        world.clock.advance(ms(3));
        world.executor.turn(Budget::Batch);
        reset(&sleep, at_ms(5));
        assert_eq!(world.executor.next_deadline(), Some(at_ms(5)), "{before}");
        world.clock.advance(ms(2));
        world.executor.turn(Budget::Batch);
        assert_eq!(task.result().ok(), Some(&(at_ms(5), 2)), "{before}");
        drop((sleep, task));
        world.close();
    }
}

/// tokio 868: several resets of several timers, to and fro, panicked.
// promise 7.5
#[test]
fn several_resets_of_several_timers_leave_each_at_its_last() {
    let world = World::new();
    let (loss, loss_task) = shared(&world, ms(200));
    let (idle, idle_task) = shared(&world, ms(250));
    reset(&loss, at_ms(300));
    reset(&idle, at_ms(350));
    reset(&loss, at_ms(400));
    assert_eq!(world.executor.next_deadline(), Some(at_ms(350)));
    world.executor.run_until_idle();
    assert_eq!(idle_task.result().ok(), Some(&(at_ms(350), 2)));
    assert_eq!(loss_task.result().ok(), Some(&(at_ms(400), 2)));
    drop((loss, loss_task, idle, idle_task));
    world.close();
}

/// tokio 2290, 8274: reset into the past, nobody was woken until some other timer
/// fired.
// promise 7.5
#[test]
fn reset_into_the_past_whoever_waits_is_woken_although_no_other_timer_fires() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    world.clock.advance(seconds(9));
    let (sleep, task) = shared(&world, seconds(100));
    let resets = sleep.clone();
    let other = world.executor.spawn_infallible(async move { reset(&resets, Instant::ZERO) });
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&(Instant::ZERO + seconds(9), 2)));
    drop((sleep, task, other));
    world.close();
}

/// go 37196, 69969: after a reset the old expiry was still there to be received. And
/// node 28168: one that had fired could not be set again.
// promise 7.5
#[test]
fn one_that_has_fired_and_is_reset_has_nothing_left_of_the_old_expiry() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let mut sleep = Box::pin(sleep(ms(10)));
        poll_fn(|cx| {
            assert!(sleep.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        hearken::sleep(ms(50)).await; // it fires, and nobody looks
        sleep.reset(at_ms(80));
        assert!(!sleep.is_elapsed());
        sleep.as_mut().await;
        assert_eq!(now(), at_ms(80));
        sleep.reset(at_ms(90)); // once more, after it was looked at
        sleep.as_mut().await;
        Ok(now())
    });
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&at_ms(90)));
    drop(task);
    world.close();
}

/// go 47762: a reset was sometimes lost, and the timer late. twisted 9780: a reset to
/// a later moment fired at the original one.
// promise 7.5
#[test]
fn a_thousand_resets_to_and_fro_fire_once_at_the_last() {
    let world = World::new();
    let (sleep, task) = shared(&world, seconds(50));
    for nth in 0..1_000_u64 {
        reset(&sleep, at_ms(10_000 + nth * 7_919 % 60_000));
    }
    reset(&sleep, at_ms(33_333));
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&(at_ms(33_333), 2)));
    assert_eq!(world.clock.now(), at_ms(33_333), "no other moment was gone to");
    drop((sleep, task));
    world.close();
}

/// async-io 73: the first timer of exactly now was not counted as due, and the loop
/// spun; under a clock that moves only while somebody waits, for ever.
// promise 7.5
#[test]
fn a_timer_of_exactly_now_is_due_on_a_clock_that_stands() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    let (_sleep, task) = shared(&world, ms(20));
    world.clock.advance(ms(20));
    let turn = world.executor.turn(Budget::Batch);
    assert!(task.is_finished());
    assert_eq!((turn.polled, turn.next), (1, Next::Empty));
    drop(task);
    drop(_sleep);
    world.close();
}

/// embassy 4529: is a timer in the past over, or never?
// promise 7.5, 10.3
#[test]
fn a_timer_in_the_past_is_over_at_once() {
    let world = World::new();
    world.clock.advance(seconds(1));
    let task = world.executor.spawn(async {
        Ok((sleep_until(Instant::ZERO).now_or_never(), sleep(Duration::ZERO).now_or_never()))
    });
    world.executor.turn(Budget::Batch);
    assert_eq!(task.result().ok(), Some(&(Some(()), Some(()))));
    drop(task);
    world.close();
}

/// embassy 3758, 6528: an alarm that was set while the one before it went off was
/// lost, and all timers stood until another was set.
// promise 7.5
#[test]
fn a_timer_that_is_set_while_another_fires_is_not_lost() {
    let world = World::new();
    let said = common::Transcript::new();
    for nth in 1..=3_u64 {
        let said = said.clone();
        let task = world.executor.spawn(async move {
            sleep(ms(10 * nth)).await;
            for short in [0, 1, 5] {
                sleep(ms(short)).await;
                said.say(format!("{nth} at {}", now()));
            }
            Ok(())
        });
        task.detach();
    }
    world.executor.run_until_idle();
    let expected = [
        "1 at 10ms",
        "1 at 11ms",
        "1 at 16ms",
        "2 at 20ms",
        "2 at 21ms",
        "2 at 26ms",
        "3 at 30ms",
        "3 at 31ms",
        "3 at 36ms",
    ];
    assert_eq!(said.lines(), expected);
    drop(said);
    world.close();
}

/// joyent/libuv 701, node 13579, dune 14336: timers of one moment ran in an order by
/// chance, or by which list they were in.
// promise 7.5
#[test]
fn timers_of_one_moment_run_in_the_order_in_which_they_were_set_however_they_were() {
    let world = World::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let says = |nth: u32| {
        let order = order.clone();
        move || order.borrow_mut().push(nth)
    };
    let first = says(1);
    let one = world.executor.spawn_infallible(async move {
        sleep(ms(100)).await;
        first();
    });
    let second = says(2);
    let two = world.executor.spawn_infallible(async move {
        timeout(ms(100), std::future::pending::<()>()).await.unwrap_err();
        second();
    });
    world.executor.turn(Budget::Batch); // it jumps, when nothing else is ready
    let third = says(3);
    let three = world.executor.spawn_infallible(async move {
        sleep_until(at_ms(100)).await;
        third();
    });
    world.executor.run_until_idle();
    assert_eq!(*order.borrow(), [1, 2, 3]);
    drop((one, two, three));
    world.close();
}

/// node 20555, fastly 293: a callback that took longer than the delay of the timer
/// that it set kept the loop among its timers for ever.
// promise 7.1
#[test]
fn a_timer_that_sets_one_shorter_than_its_own_work_keeps_nobody_from_his_turn() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    let clock = world.clock.clone();
    let greedy = world.executor.spawn::<()>(async move {
        loop {
            sleep(ms(1)).await;
            clock.advance(ms(5)); // the work
        }
    });
    let turns = Rc::new(Cell::new(0));
    let counts = turns.clone();
    let polite = world.executor.spawn::<()>(async move {
        loop {
            counts.set(counts.get() + 1);
            yield_now().await;
        }
    });
    world.clock.advance(ms(5));
    for _ in 0..50 {
        world.executor.turn(Budget::Batch);
        world.clock.advance(ms(1));
    }
    assert_eq!(turns.get(), 50);
    greedy.cancel();
    polite.cancel();
    world.executor.turn(Budget::Batch);
    drop((greedy, polite));
    world.close();
}

/// cpython 127859: `call_later` called a tick of the clock too early.
// promise 7.5
#[test]
fn nothing_wakes_a_nanosecond_early() {
    for nanos in [1, 999, 65_535, 65_536, 65_537, 1_000_000, 4_194_303, 4_194_305, 1 << 40] {
        let world = World::new();
        world.clock.set_auto_advance(false);
        let duration = Duration::from_nanos(nanos);
        let (_sleep, task) = shared(&world, duration);
        world.clock.advance(duration - Duration::from_nanos(1));
        world.executor.run_until_idle();
        assert!(!task.is_finished(), "{nanos}");
        world.clock.advance(Duration::from_nanos(1));
        world.executor.run_until_idle();
        assert!(task.is_finished(), "{nanos}");
        drop((task, _sleep));
        world.close();
    }
}

/// uvloop 288, restate 5017: delays of years were an error, a panic, or over at once.
// promise 7.5, 10.4
#[test]
fn delays_of_years_are_waited_for() {
    const YEAR: u64 = 365 * 24 * 3_600;
    let world = World::new();
    let task = world.executor.spawn(async {
        let mut ends = Vec::new();
        for years in [1, 3, 49, 99, 400] {
            let began = now();
            sleep(seconds(years * YEAR)).await;
            ends.push((now() - began).as_secs() / YEAR);
        }
        Ok(ends)
    });
    world.executor.run_until_idle();
    assert_eq!(task.result().ok(), Some(&vec![1, 3, 49, 99, 400]));
    drop(task);
    world.close();
}

/// tokio 5551: an interval that was ready had its task woken for the next tick all the
/// same. tokio 5627: when that was mended, nobody was woken for the tick after.
// promise 7.2
#[test]
fn an_interval_wakes_its_task_when_it_was_pending_and_only_then() {
    let world = World::new();
    let polls = Rc::new(Cell::new(0));
    let counts = polls.clone();
    let task = world.executor.spawn(async move {
        let mut interval = interval(ms(10))?;
        let mut sleep = Box::pin(sleep(ms(35)));
        let mut ticks = 0;
        poll_fn(|cx| {
            counts.set(counts.get() + 1);
            // One tick for each poll, whether or not it was the interval that woke.
            let tick = std::pin::pin!(interval.tick()).poll(cx);
            ticks += u32::from(tick.is_ready());
            sleep.as_mut().poll(cx)
        })
        .await;
        Ok(ticks)
    });
    world.executor.run_until_idle();
    // The tick of the first poll is ready, and nobody is to be woken for the next.
    assert_eq!((task.result().ok(), polls.get()), (Some(&2), 2));
    drop(task);
    world.close();
}

/// tokio 6029: with `Delay` the ticks drift. Here they do only by what was late.
// promise 7.5
#[test]
fn ticks_that_are_not_late_do_not_drift() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let world = World::new();
        let task = world.executor.spawn(async move {
            let mut interval = interval(Duration::from_nanos(100_000_003))?;
            interval.set_missed_ticks(missed);
            for _ in 0..10_000 {
                interval.tick().await;
            }
            Ok(now())
        });
        world.executor.run_until_idle();
        assert_eq!(task.result().ok(), Some(&Instant::from_nanos(9_999 * 100_000_003)));
        drop(task);
        world.close();
    }
}

/// tokio 6866, 6940: what was reset to now took a millisecond.
// promise 7.5, 10.3
#[test]
fn what_is_reset_to_now_is_ready_now() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let mut waits = Box::pin(sleep(seconds(1)));
        poll_fn(|cx| {
            assert!(waits.as_mut().poll(cx).is_pending());
            waits.reset(now());
            assert!(waits.as_mut().poll(cx).is_ready());
            Poll::Ready(())
        })
        .await;
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    assert!(task.is_finished());
    drop(task);
    world.close();
}

/// uvloop 239, go 75935: a timer that was cancelled kept what it would have called
/// for as long as it would have waited.
// promise 7.6
#[test]
fn a_timer_that_is_dropped_lets_go_of_its_waker_at_once() {
    struct Flag;
    impl std::task::Wake for Flag {
        fn wake(self: std::sync::Arc<Flag>) {}
    }
    let world = World::new();
    let flag = std::sync::Arc::new(Flag);
    let held = flag.clone();
    let task = world.executor.spawn(async move {
        let waker = std::task::Waker::from(held);
        let mut sleeps: Vec<_> = (1..=100).map(|n| Box::pin(sleep(seconds(n)))).collect();
        for sleep in &mut sleeps {
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(waker);
        sleeps.drain(25..75).for_each(drop); // neither the first nor the last of a heap
        yield_now().await;
        sleeps.clear();
        spawn(std::future::pending::<anyhow::Result<()>>()).await?;
        Ok(())
    });
    world.clock.set_auto_advance(false);
    world.executor.turn(Budget::Batch);
    assert_eq!(std::sync::Arc::strong_count(&flag), 51);
    world.executor.turn(Budget::Batch);
    assert_eq!(std::sync::Arc::strong_count(&flag), 1);
    task.cancel();
    world.executor.run_until_idle();
    drop(task);
    world.close();
}

/// libuv 1255, 2951: the time until a timer that is late was nearly 2⁶⁴.
// promise 7.5
#[test]
fn the_time_until_a_timer_that_is_late_is_none() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    let (_sleep, task) = shared(&world, ms(20));
    world.clock.advance(seconds(7));
    let next = world.executor.next_deadline().expect("it waits");
    assert_eq!((next, next - world.executor.now()), (at_ms(20), Duration::ZERO));
    world.executor.run_until_idle();
    drop((_sleep, task));
    world.close();
}

/// wahern/timeout 20, rpc-perf 180: a timer beyond the reach of its wheel fired when
/// the wheel came round. glommio 44: of two levels the later hid the earlier.
// promise 7.5
#[test]
fn of_timers_on_different_levels_each_fires_at_its_own_moment() {
    let world = World::new();
    let said = common::Transcript::new();
    let delays = [1_000_001, 148, 255_500, 16_000, 17, 30_000_000, 255_501, 64, 4_096];
    for delay in delays {
        let said = said.clone();
        let task = world.executor.spawn_infallible(async move {
            sleep(Duration::from_micros(delay)).await;
            said.say(format!("{}", (now() - Instant::ZERO).as_micros()));
        });
        task.detach();
    }
    world.executor.run_until_idle();
    let mut sorted = delays;
    sorted.sort_unstable();
    assert_eq!(said.lines(), sorted.map(|delay| delay.to_string()));
    drop(said);
    world.close();
}
