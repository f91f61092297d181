//! Bugs that others had with what is due: intervals that ticked twice or too late, timers
//! that were stopped in the turn in which they were due, and clocks for tests that were
//! moved from within. Each test names the thread.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::foreign::{Foreign, Op};
use common::{OnDrop, Shelf, Transcript, World, failing, secs};
use hearken::{
    Budget, Clock, Executor, Instant, MissedTicks, Next, Task, Verdict, interval, now, sleep,
    sleep_until, spawn, yield_now,
};

const fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// A world whose clock stands until it is moved.
fn still() -> World {
    let world = World::new();
    world.clock.set_auto_advance(false);
    world
}

fn timers(world: &World) -> String {
    let dump = world.executor.dump().to_string();
    let first = dump.lines().next().unwrap_or_default();
    first.rsplit(", ").next().unwrap_or_default().to_owned()
}

// ---- Intervals --------------------------------------------------------------------------

/// A clock that says what it is told.
#[derive(Clone, Default)]
struct Puppet(Rc<Cell<u64>>);

impl Clock for Puppet {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

/// tornadoweb/tornado 2338, 366: a clock that went back by a little, or stood exactly at
/// the tick, made the same tick come twice.
// promise 7.5
#[test]
fn no_tick_comes_twice_when_the_clock_goes_back_by_a_little() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let puppet = Puppet::default();
        let world = World::with(|builder| builder.clock(puppet.clone()));
        let ticks = Rc::new(RefCell::new(Vec::new()));
        let all = ticks.clone();
        let task = world.executor.spawn::<()>(async move {
            let mut interval = interval(Duration::from_nanos(100))?;
            interval.set_missed_ticks(missed);
            loop {
                let due = interval.tick().await;
                all.borrow_mut().push(due.as_nanos());
            }
        });
        for nanos in (0..=1_000).step_by(10) {
            for back in [0, 1, 50, 0] {
                puppet.0.set(u64::saturating_sub(nanos, back));
                world.executor.turn(Budget::Batch);
            }
        }
        let expected: Vec<u64> = (0..=10).map(|tick| tick * 100).collect();
        assert_eq!(*ticks.borrow(), expected, "{missed:?}");
        task.cancel();
        world.executor.turn(Budget::Batch);
        drop(task);
        world.close();
    }
}

/// tornadoweb/tornado 396: one that was stopped and started again ticked twice as often.
/// libevent/libevent 872: after the first tick, at once, the second took two periods.
// promise 7.5, 7.6
#[test]
fn an_interval_that_is_reset_again_and_again_ticks_once_a_period() {
    let world = World::new();
    let task = world.executor.spawn(async move {
        let mut interval = interval(secs(10))?;
        let mut moments = vec![interval.tick().await];
        moments.push(interval.tick().await);
        for _ in 0..50 {
            interval.reset();
            // It waits, and gives up.
            let tick = Box::pin(interval.tick());
            futures::future::select(tick, Box::pin(sleep(secs(1)))).await;
        }
        moments.extend([interval.tick().await, interval.tick().await]);
        moments.push(now());
        Ok(moments)
    });
    world.executor.run_until_idle();
    // The last reset is at 59.
    let expected = [0, 10, 69, 79, 79].map(at);
    assert_eq!(task.result().ok(), Some(&expected.to_vec()));
    assert_eq!(timers(&world), "0 timers");
    drop(task);
    world.close();
}

/// twisted/twisted 10608: a loop that was stopped in its own call was called once more.
/// sinonjs/fake-timers 585: and an interval that was cleared in the turn in which it was
/// due was set anew. chriskohlhoff/asio 878: a timer fired after it had been cancelled.
// promise 4.2, 7.6
#[test]
fn who_is_cancelled_in_the_turn_in_which_it_is_due_does_not_go_on() {
    for cancels_first in [false, true] {
        let (world, said) = (still(), Transcript::new());
        let ticking = Shelf::<Task<()>>::new();
        let (reached, says, ticks) = (ticking.clone(), said.clone(), said.clone());
        let cancels = async move {
            sleep_until(at(10)).await;
            says.say("cancels");
            reached.with(|task| assert!(task.cancel()));
            Ok(())
        };
        let goes_on = async move {
            let mut interval = interval(secs(5))?;
            loop {
                ticks.say(format!("{}", interval.tick().await));
            }
        };
        // Timers of one moment fire in the order in which they were set.
        let cancels = if cancels_first {
            let task = world.executor.spawn(cancels);
            world.executor.turn(Budget::Batch);
            ticking.put(world.executor.spawn(goes_on));
            task
        } else {
            ticking.put(world.executor.spawn(goes_on));
            world.executor.turn(Budget::Batch);
            world.clock.advance(secs(5));
            world.executor.turn(Budget::Batch);
            world.executor.spawn(cancels)
        };
        while world.clock.now() < at(20) {
            (0..3).for_each(|_| assert!(world.executor.turn(Budget::Batch).jumped.is_none()));
            world.clock.advance(secs(1));
        }
        let expected: &[&str] = match cancels_first {
            true => &["0ns", "5s", "cancels"],
            false => &["0ns", "5s", "10s", "cancels"],
        };
        assert_eq!(said.lines(), expected);
        assert_eq!((timers(&world).as_str(), world.executor.next_deadline()), ("0 timers", None));
        assert!(ticking.take().expect("it is there").is_cancelled());
        drop(cancels);
        world.close();
    }
}

// ---- What is due at one moment ------------------------------------------------------------

/// netty/netty 14959: a timer that was cancelled when it was due already was taken off the
/// count of those that wait, twice.
// promise 7.6
#[test]
fn timers_that_are_dropped_in_their_own_turn_are_counted_off_once() {
    let world = still();
    let many: Rc<RefCell<Vec<Task<()>>>> = Rc::default();
    let reached = many.clone();
    let first = world.executor.spawn(async move {
        sleep(secs(1)).await;
        reached.borrow().iter().for_each(|task| assert!(task.cancel()));
        Ok(())
    });
    for _ in 0..10 {
        let nap = async {
            sleep(secs(1)).await;
            Ok(())
        };
        many.borrow_mut().push(world.executor.spawn(nap));
    }
    let other = world.executor.spawn(async {
        sleep(secs(2)).await;
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    assert_eq!(timers(&world), "12 timers");
    world.clock.advance(secs(1));
    world.executor.turn(Budget::Batch);
    assert_eq!(timers(&world), "1 timers");
    assert!(first.is_finished() && many.borrow().iter().all(Task::is_cancelled));
    assert_eq!(world.executor.next_deadline(), Some(at(2)));
    drop((first, many, other));
    world.close();
}

/// libevent/libevent 1530: what another thread had activated was lost when its timeout
/// came in the same pass.
// promise 7.2, 7.5
#[test]
fn a_wake_and_a_timer_of_one_turn_are_one_poll_that_finds_both() {
    for sends_first in [false, true] {
        let world = still();
        let (sent, wakers, polls) =
            (Arc::new(AtomicBool::new(false)), Shelf::<Waker>::new(), Rc::new(Cell::new(0)));
        let (arrived, shelf, counts) = (sent.clone(), wakers.clone(), polls.clone());
        let task = world.executor.spawn(async move {
            let mut nap = Box::pin(sleep(secs(1)));
            let found = poll_fn(move |cx| {
                counts.set(counts.get() + 1);
                shelf.put(cx.waker().clone());
                let (event, timer) = (arrived.load(Ordering::SeqCst), nap.as_mut().poll(cx));
                match event || timer.is_ready() {
                    true => Poll::Ready((event, timer.is_ready())),
                    false => Poll::Pending,
                }
            });
            Ok(found.await)
        });
        world.executor.turn(Budget::Batch);
        let waker = wakers.take().expect("it was polled");
        let send = || {
            sent.store(true, Ordering::SeqCst);
            thread::spawn(move || waker.wake()).join().unwrap();
        };
        match sends_first {
            true => {
                send();
                world.clock.advance(secs(1));
            }
            false => {
                world.clock.advance(secs(1));
                send();
            }
        }
        assert_eq!(world.executor.turn(Budget::Batch).polled, 1);
        assert_eq!((task.result().ok(), polls.get()), (Some(&(true, true)), 2));
        assert_eq!(world.executor.turn(Budget::Batch).next, Next::Empty);
        drop(task);
        world.close();
    }
}

/// libevent/libevent 1727: a loop whose last timer had been deleted from outside slept on
/// until that would have come.
// promise 8.1
#[test]
fn a_host_that_sleeps_until_a_timer_is_told_when_its_task_is_cancelled() {
    let rings = Arc::new(AtomicUsize::new(0));
    let counts = rings.clone();
    let count = move || {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    let world = World::with(|builder| builder.on_wake(count));
    world.clock.set_auto_advance(false);
    let task = world.executor.spawn(async {
        sleep(secs(60)).await;
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    assert_eq!(world.executor.turn(Budget::Batch).next, Next::At(at(60)));
    let before = rings.load(Ordering::SeqCst);
    assert!(task.cancel());
    assert_eq!(rings.load(Ordering::SeqCst), before + 1);
    assert_eq!(world.executor.turn(Budget::Batch).next, Next::Empty);
    drop(task);
    world.close();
}

/// chriskohlhoff/asio 100: the handler of a timer was called after the timer was gone.
// promise 7.6
#[test]
fn a_timer_that_is_dropped_wakes_nobody_then_or_later() {
    for executor_goes in [false, true] {
        let world = still();
        let foreign = Foreign::new();
        let made = Shelf::new();
        let shelf = made.clone();
        let makes = async move { shelf.put(Box::pin(sleep(secs(1)))) };
        world.executor.spawn_infallible(makes).detach();
        world.executor.turn(Budget::Batch);
        let mut nap = made.take().expect("it was made");
        let waker = foreign.waker();
        assert!(nap.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        world.clock.advance(secs(1)); // it is due, and nobody has taken a turn
        if executor_goes {
            drop(world);
            drop(nap);
        } else {
            drop(nap);
            world.executor.turn(Budget::Batch);
            world.close();
        }
        assert_eq!((foreign.count(Op::Wake), foreign.alive()), (0, 0));
    }
}

// ---- Before it begins -----------------------------------------------------------------------

/// libevent/libevent 573, google/quiche 30: to break a loop that was not being run was
/// forgotten when it began.
// promise 6.3, 6.4, 3.12
#[test]
fn what_is_asked_of_an_executor_before_its_main_begins_is_not_forgotten() {
    type Asks = (&'static str, fn(&World));
    let asks: [Asks; 4] = [
        ("Interrupted", |world| world.executor.interrupter().interrupt()),
        ("ShutDown", |world| world.executor.request_shut_down("enough")),
        ("ShutDown", |world| {
            world.executor.set_handler(|_| Verdict::ShutDown);
            world.executor.spawn(failing()).detach();
        }),
        ("ShutDown", |world| {
            world.executor.set_handler(|_| Verdict::ShutDown);
            world.executor.interrupter().interrupt();
        }),
    ];
    for (place, (expected, ask)) in asks.into_iter().enumerate() {
        for turned in [false, true] {
            let world = World::new();
            ask(&world);
            if turned && place > 0 {
                world.executor.turn(Budget::Batch);
            }
            let ended = world.executor.block_on(pending::<anyhow::Result<()>>()).unwrap_err();
            assert!(format!("{ended:?}").starts_with(expected), "{place}, {turned}: {ended:?}");
            world.executor.set_handler(|_| Verdict::Proceed);
            world.close();
        }
    }
}

// ---- Clocks for tests -----------------------------------------------------------------------

/// sinonjs/sinon 110: a callback that moved the clock was called by that once more, and so
/// on. Kotlin/kotlinx.coroutines 4067: or the clock was ahead of what was still to come.
// promise 7.4, 7.5
#[test]
fn a_clock_that_is_moved_from_within_skips_nobody_and_calls_nobody_twice() {
    for place in ["poll", "callback", "handler", "drop"] {
        let (world, said) = (World::new(), Transcript::new());
        for seconds in [5, 3, 11, 12, 3] {
            let says = said.clone();
            let nap = async move {
                sleep(secs(seconds)).await;
                says.say(format!("{seconds} at {}", now()));
                Ok(())
            };
            world.executor.spawn(nap).detach();
        }
        let (clock, says) = (world.clock.clone(), said.clone());
        let moves = move || {
            clock.advance(secs(10));
            says.say("moved");
        };
        match place {
            "poll" => {
                let first = async move {
                    sleep(secs(1)).await;
                    moves();
                    Ok(())
                };
                world.executor.spawn(first).detach();
            }
            "callback" => {
                let first = world.executor.spawn(async {
                    sleep(secs(1)).await;
                    Ok(())
                });
                first.on_done(move |_| moves());
                first.detach();
            }
            "handler" => {
                world.executor.set_handler(move |_| {
                    moves();
                    Verdict::Proceed
                });
                let first = async {
                    sleep(secs(1)).await;
                    anyhow::bail!("so that the handler is called")
                };
                world.executor.spawn::<()>(first).detach();
            }
            _ => {
                let on_drop = OnDrop(moves);
                let first = async move {
                    let _on_drop = on_drop;
                    sleep(secs(1)).await;
                    Ok(())
                };
                world.executor.spawn(first).detach();
            }
        }
        world.executor.run_until_idle();
        let expected = ["moved", "3 at 11s", "3 at 11s", "5 at 11s", "11 at 11s", "12 at 12s"];
        assert_eq!(said.lines(), expected, "{place}");
        world.close();
    }
}

/// A clock that may jump, and says when it is asked to go nowhere or back.
#[derive(Clone, Default)]
struct Strict {
    now: Rc<Cell<Instant>>,
    jumps: Rc<Cell<u32>>,
}

impl Clock for Strict {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn jump_to(&self, deadline: Instant) -> bool {
        assert!(deadline > self.now.get(), "time does not go backwards");
        self.now.set(deadline);
        self.jumps.set(self.jumps.get() + 1);
        true
    }

    fn until(&self, _: Instant) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

/// python-trio/trio 1190: a clock that jumps by itself was told to jump to a deadline that
/// had passed.
// promise 7.4, 10.3
#[test]
fn a_clock_is_not_told_to_jump_to_where_it_is_or_has_been() {
    let clock = Strict::default();
    let executor = Executor::builder().clock(clock.clone()).build();
    let moved = clock.clone();
    let main = async move {
        for _ in 0..40 {
            sleep(Duration::ZERO).await;
            sleep_until(Instant::ZERO).await;
        }
        let late = spawn(async {
            sleep(secs(2)).await;
            Ok(now())
        });
        yield_now().await;
        moved.now.set(at(5)); // somebody's work took long
        assert_eq!(late.await?, at(5));
        let mut ticks = interval(secs(1))?;
        moved.now.set(at(8));
        for _ in 0..4 {
            ticks.tick().await;
        }
        sleep(secs(1)).await;
        Ok(now())
    };
    assert_eq!(executor.block_on(main).unwrap(), at(9));
    assert_eq!(clock.jumps.get(), 1);
    executor.shut_down();
}
