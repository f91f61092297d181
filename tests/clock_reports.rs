//! Bugs that others had with clocks: which moment a timer counts from, when a clock
//! that is not the machine's moves, how long a host is told to wait, and what belongs
//! to whose clock. Each test names the thread.
//!
//! What others had with the timers themselves is in `time_reports.rs`.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::foreign::{Foreign, Op};
use common::{OnDrop, Shelf, Transcript, World, poll_once, secs};
use hearken::{
    Budget, Clock, Executor, Instant, Interval, MissedTicks, Next, ReportKind, Sleep, Task,
    interval, interval_at, now, sleep, sleep_until, spawn, spawn_infallible, timeout, yield_now,
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn at(moment: Duration) -> Instant {
    Instant::from_nanos(moment.as_nanos() as u64)
}

/// A world whose clock stands until it is moved.
fn still() -> World {
    let world = World::new();
    world.clock.set_auto_advance(false);
    world
}

/// Two executors, the clock of the second of which is far ahead.
fn two() -> (World, World) {
    let (here, there) = (still(), still());
    there.clock.advance(secs(1_000_000));
    (here, there)
}

async fn sleep_for(length: Duration) -> anyhow::Result<()> {
    sleep(length).await;
    Ok(())
}

// ---- Whose clock -------------------------------------------------------------------------

/// An interval of ten seconds that was made there.
fn made_by(world: &World, missed: MissedTicks) -> Interval {
    let mut made = world.executor.spawn(async move {
        let mut interval = interval(secs(10))?;
        interval.set_missed_ticks(missed);
        Ok(interval)
    });
    world.executor.turn(Budget::Batch);
    made.take().expect("it has ended").expect("it is not zero")
}

/// embassy-rs/embassy 2100: a timer that was polled by another executor panicked. Here
/// an interval went by the clock of whoever polled it.
// promise 7.4, 7.5
#[test]
fn an_interval_goes_by_the_clock_of_the_executor_on_which_it_was_made() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let (here, there) = two();
        let mut interval = made_by(&here, missed);
        let ticks = there.executor.spawn(async move {
            let mut ticks = Vec::new();
            for _ in 0..3 {
                ticks.push(interval.tick().await);
            }
            interval.reset();
            ticks.push(interval.tick().await);
            Ok(ticks)
        });
        there.executor.turn(Budget::Batch);
        for _ in 0..30 {
            here.clock.advance(secs(1));
            here.executor.turn(Budget::Batch);
            there.executor.turn(Budget::Batch);
        }
        let at_seconds = |seconds: u64| at(secs(seconds));
        assert_eq!(ticks.result().ok(), Some(&[0, 10, 20, 30].map(at_seconds).to_vec()));
        drop(ticks);
        there.close();
        here.close();
    }
}

/// The same, by nobody's turn.
// promise 7.4, 7.5
#[test]
fn an_interval_may_be_polled_and_reset_outside_of_a_turn() {
    let world = still();
    let mut interval = made_by(&world, MissedTicks::Delay);
    assert_eq!(poll_once(&mut Box::pin(interval.tick())), Poll::Ready(Instant::ZERO));
    world.clock.advance(secs(12));
    world.executor.turn(Budget::Batch);
    let late = poll_once(&mut Box::pin(interval.tick()));
    assert_eq!(late, Poll::Ready(at(secs(10))));
    world.clock.advance(secs(1));
    interval.reset();
    for (seconds, ticks) in [(9, false), (1, true)] {
        world.clock.advance(secs(seconds));
        world.executor.turn(Budget::Batch);
        let tick = poll_once(&mut Box::pin(interval.tick()));
        assert_eq!(tick.is_ready(), ticks, "13 and 10 are 23");
    }
    drop(interval);
    world.close();
}

// ---- From when it counts ------------------------------------------------------------------

/// joyent/libuv 678: a timer that was set in a callback counted from the moment at which
/// the loop had gone to wait.
// promise 7.4, 7.5
#[test]
fn whatever_is_set_late_in_a_poll_counts_from_there() {
    let world = World::new();
    let clock = world.clock.clone();
    let task = world.executor.spawn(async move {
        let (mut moments, works) = (Vec::new(), |seconds| clock.advance(secs(seconds)));
        works(5);
        sleep(secs(2)).await;
        moments.push(now());
        works(3);
        let _elapsed = timeout(secs(1), pending::<()>()).await;
        moments.push(now());
        works(2);
        let mut interval = interval(secs(1))?;
        moments.extend([interval.tick().await, interval.tick().await]);
        works(4);
        interval.reset();
        moments.push(interval.tick().await);
        Ok(moments)
    });
    world.executor.run_until_idle();
    let expected = [7, 11, 13, 14, 19].map(|seconds| at(secs(seconds)));
    assert_eq!(task.result().ok(), Some(&expected.to_vec()));
    drop(task);
    world.close();
}

/// tokio-rs/tokio 5536: a wheel that was older than 2³⁶ ms took nothing any more.
/// python/cpython 145703: after 194 days a clock of floating numbers had lost its grain.
// promise 7.5
#[test]
fn an_old_executor_is_as_exact_as_a_new_one() {
    let world = World::new();
    for power in 20..64 {
        let moment = Instant::from_nanos((1 << power) - 1);
        world.clock.advance(moment - world.clock.now());
        for nanos in [1, 1, 10_000_000_000] {
            let began = world.clock.now();
            let nap = sleep_for(Duration::from_nanos(nanos));
            world.executor.block_on(nap).unwrap();
            assert_eq!((world.clock.now() - began).as_nanos(), u128::from(nanos), "2^{power}");
        }
    }
    world.close();
}

/// swiftlang/swift 59174, 80791: more than 2⁶³ nanoseconds were negative, and so over.
// promise 7.5, 10.4
#[test]
fn a_sleep_of_more_than_half_of_all_time_is_not_over_at_once() {
    for began in [0, 1, 1 << 62, (1 << 63) - 3] {
        for nanos in [(1_u64 << 63) - 1, 1 << 63, (1 << 63) + 1] {
            let world = still();
            world.clock.advance(Duration::from_nanos(began));
            let length = Duration::from_nanos(nanos);
            let task = world.executor.spawn(sleep_for(length));
            world.executor.turn(Budget::Batch);
            for (step, over) in [(1, false), (nanos - 2, false), (1, true)] {
                world.clock.advance(Duration::from_nanos(step));
                world.executor.turn(Budget::Batch);
                assert_eq!(task.is_finished(), over, "{began} + {nanos}");
            }
            drop(task);
            world.close();
        }
    }
}

// ---- When it moves -------------------------------------------------------------------------

/// tokio-rs/tokio 3108: a clock that jumps by itself jumped although a task was ready.
// promise 7.4
#[test]
fn a_clock_does_not_jump_while_somebody_is_ready() {
    let world = World::new();
    let sleeps = world.executor.spawn(sleep_for(secs(10)));
    let moment = world.executor.block_on(async {
        let ready = spawn(async {
            for _ in 0..5 {
                spawn_infallible(yield_now()).await?;
            }
            Ok(now())
        });
        Ok(ready.await?)
    });
    assert_eq!(moment.unwrap(), Instant::ZERO);
    assert!(!sleeps.is_finished());
    drop(sleeps);
    world.close();
}

/// A clock of which the test pulls the strings.
#[derive(Clone, Default)]
struct Puppet(Rc<Cell<u64>>);

impl Puppet {
    fn reads(&self, seconds: u64) {
        self.0.set(seconds);
    }
}

impl Clock for Puppet {
    fn now(&self) -> Instant {
        at(secs(self.0.get()))
    }
}

/// lightningdevkit/rust-lightning 1692, sebcrozet/instant 53: a clock that is said to be
/// monotonic went backwards, and the difference of two moments panicked.
// promise 7.5
#[test]
fn limits_ticks_and_slow_polls_bear_a_clock_that_goes_backwards() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let puppet = Puppet::default();
        let world = World::with(|builder| builder.clock(puppet.clone()).slow_poll(secs(10)));
        let strings = puppet.clone();
        puppet.reads(100);
        let task = world.executor.spawn(async move {
            let mut interval = interval(secs(7))?;
            interval.set_missed_ticks(missed);
            strings.reads(40); // in a poll that is measured
            let mut moments = vec![interval.tick().await];
            let elapsed = timeout(secs(5), pending::<()>()).await;
            assert!(elapsed.is_err());
            moments.extend([now(), interval.tick().await, interval.tick().await]);
            Ok(moments)
        });
        world.executor.turn(Budget::Batch);
        // It stands at a hundred until it has caught up.
        for seconds in [40, 99, 104, 105, 90, 107, 20, 114] {
            puppet.reads(seconds);
            for _ in 0..3 {
                world.executor.turn(Budget::Batch);
            }
        }
        let expected = [100, 105, 107, 114].map(|seconds| at(secs(seconds)));
        assert_eq!(task.result().ok(), Some(&expected.to_vec()), "{missed:?}");
        assert_eq!(world.heard.count(ReportKind::SlowPoll), 0);
        drop(task);
        world.close();
    }
}

// ---- How long to wait ------------------------------------------------------------------------

/// A clock that says for how long it was waited, and is there afterwards.
#[derive(Clone, Default)]
struct Patient {
    now: Rc<Cell<Instant>>,
    waits: Rc<RefCell<Vec<Duration>>>,
}

impl Clock for Patient {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn until(&self, deadline: Instant) -> Option<Duration> {
        self.waits.borrow_mut().push(deadline - self.now.get());
        self.now.set(deadline);
        Some(Duration::ZERO) // as if that had been slept
    }
}

/// Dicklesworthstone/asupersync 52: after the first timer none was waited for less than
/// 250 ms. DataDog/glommio 326: a very short one was waited for without end.
// promise 7.4, 7.5
#[test]
fn each_timer_is_waited_for_as_long_as_it_takes_however_short_it_is() {
    let clock = Patient::default();
    let executor = Executor::builder().clock(clock.clone()).build();
    let naps = [1_000_000_000, 1, 249_000_000, 2, 1_000, 3_000_000, 1, 1].map(Duration::from_nanos);
    executor
        .block_on(async move {
            let _far = spawn(sleep_for(secs(3_600)));
            for nap in naps {
                sleep(nap).await;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(clock.waits.take(), naps);
    executor.shut_down();
}

/// swiftlang/swift 92461: the loop slept until the next timer although what it had just run
/// had made others ready.
// promise 7.1, 7.4
#[test]
fn no_timer_is_waited_for_while_somebody_is_ready() {
    let clock = Patient::default();
    let executor = Executor::builder().clock(clock.clone()).build();
    let moment = executor.block_on(async {
        let watches = spawn(sleep_for(secs(5)));
        let works = spawn(async {
            for _ in 0..10 {
                yield_now().await;
            }
            Ok(spawn(async { Ok(now()) }).await?)
        });
        sleep(ms(1)).await;
        let moment = works.await?;
        watches.cancel();
        Ok(moment)
    });
    assert_eq!(moment.unwrap(), Instant::ZERO);
    assert_eq!(clock.waits.take(), [ms(1)], "when all the others were through");
    executor.shut_down();
}

/// Smithay/calloop 30: when the earliest timer was cancelled, the loop waited for none.
// promise 7.5, 8.1
#[test]
fn when_the_earliest_timer_goes_the_host_is_told_of_the_next() {
    let world = still();
    let tasks: Vec<Task<()>> =
        [5, 2, 3, 9, 4].map(|seconds| world.executor.spawn(sleep_for(secs(seconds)))).into();
    let next = || world.executor.turn(Budget::Batch).next;
    assert_eq!(next(), Next::At(at(secs(2))));
    // The second, the third, the fifth and the first of them.
    for (place, left) in [(1, 3), (2, 4), (4, 5), (0, 9)] {
        tasks[place].cancel();
        assert_eq!(next(), Next::At(at(secs(left))));
        assert_eq!(world.executor.next_deadline(), Some(at(secs(left))));
    }
    tasks[3].cancel();
    assert_eq!(next(), Next::Empty);
    assert_eq!(world.executor.next_deadline(), None);
    drop(tasks);
    world.close();
}

/// embassy-rs/embassy 4736: after a timer that never fires had been dropped, the next one
/// of the same task was not set.
// promise 7.5, 10.4
#[test]
fn after_a_timer_that_never_fires_the_next_of_the_task_does() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let mut moments = Vec::new();
        for round in 1..=3 {
            let never: [Pin<Box<dyn Future<Output = ()>>>; 3] = [
                Box::pin(sleep_until(Instant::NEVER)),
                Box::pin(sleep(Duration::MAX)),
                Box::pin(async { timeout(Duration::MAX, pending::<()>()).await.unwrap() }),
            ];
            for never in never {
                futures::future::select(never, Box::pin(sleep(ms(round)))).await;
            }
            sleep(ms(500)).await;
            moments.push(now());
        }
        Ok(moments)
    });
    world.executor.run_until_idle();
    let expected = [503, 1_009, 1_518].map(|milliseconds| at(ms(milliseconds)));
    assert_eq!(task.result().ok(), Some(&expected.to_vec()));
    assert_eq!(world.executor.next_deadline(), None);
    drop(task);
    world.close();
}

// ---- What is left of it --------------------------------------------------------------------

/// A sleep of the world's, until then.
fn made_until(world: &World, seconds: u64) -> Pin<Box<Sleep>> {
    let made = Shelf::new();
    let shelf = made.clone();
    let makes = async move { shelf.put(Box::pin(sleep_until(at(secs(seconds))))) };
    world.executor.spawn_infallible(makes).detach();
    world.executor.turn(Budget::Batch);
    made.take().expect("it was made")
}

/// libuv/libuv 4304: a timer that was stopped by another one of the same moment was still
/// in the list of those that are due. python-trio/trio 3500: so it was with an event, when
/// the host came between.
// promise 7.5, 8.3
#[test]
fn of_timers_of_one_moment_the_first_may_drop_and_reset_the_others() {
    for between in [false, true] {
        let world = still();
        type Sleeps = Vec<Option<Pin<Box<Sleep>>>>;
        let sleeps: Rc<RefCell<Sleeps>> = Rc::default();
        *sleeps.borrow_mut() = (0..4).map(|_| Some(made_until(&world, 1))).collect();
        let (reached, said) = (sleeps.clone(), Transcript::new());
        let changes = move || {
            let dropped = reached.borrow_mut()[1].take();
            drop(dropped);
            let mut sleeps = reached.borrow_mut();
            sleeps[2].as_mut().expect("it is there").reset(at(secs(3)));
        };
        let changes = Rc::new(changes);
        let foreign: Vec<Foreign> = (0..4)
            .map(|place| {
                let (says, changes) = (said.clone(), changes.clone());
                Foreign::that(Op::Wake, move || {
                    says.say(place.to_string());
                    if place == 0 && !between {
                        changes();
                    }
                })
            })
            .collect();
        let poll = |place: usize| {
            let (waker, mut sleeps) = (foreign[place].waker(), sleeps.borrow_mut());
            let sleep = sleeps[place].as_mut().expect("it is there");
            sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        };
        (0..4).for_each(|place| assert!(!poll(place)));
        world.executor.turn(Budget::Batch);
        world.clock.advance(secs(1));
        if between {
            changes(); // the host, between its wait and its turn
        }
        world.executor.turn(Budget::Batch);
        let woken = said.lines();
        assert!(woken.contains(&"0".to_owned()) && woken.contains(&"3".to_owned()));
        assert!(!between || woken == ["0", "3"]);
        assert_eq!([poll(0), poll(2), poll(3)], [true, false, true]);
        world.clock.advance(secs(2));
        world.executor.turn(Budget::Batch);
        assert!(said.lines().contains(&"2".to_owned()), "it is woken at its new moment");
        assert!(poll(2));
        sleeps.take().clear();
        assert!(foreign.iter().all(|foreign| foreign.alive() == 0), "no waker is kept");
        foreign.iter().for_each(Foreign::quieten);
        world.close();
    }
}

/// MagicStack/uvloop 468: to ask a timer when it was, when it had been, crashed.
// promise 6.8, 7.5
#[test]
fn a_timer_answers_after_it_has_fired_and_after_its_executor_is_gone() {
    let world = still();
    let (mut fired, mut waits) = (made_until(&world, 1), made_until(&world, 9));
    let foreign = Foreign::new();
    let (waker, quiet) = (foreign.waker(), |sleep: &mut Pin<Box<Sleep>>| poll_once(sleep));
    let waiting = waits.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(waiting.is_pending() && quiet(&mut fired).is_pending());
    world.clock.advance(secs(1));
    world.executor.turn(Budget::Batch);
    let clock = world.clock.clone();
    for gone in [false, true] {
        assert_eq!((fired.deadline(), fired.is_elapsed()), (at(secs(1)), true), "{gone}");
        assert_eq!((waits.deadline(), waits.is_elapsed()), (at(secs(9)), false), "{gone}");
        assert!(fired.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        if !gone {
            world.executor.shut_down();
        }
    }
    drop(world);
    // The next one has its place in the table, and hears nothing of it.
    let rings = Arc::new(AtomicUsize::new(0));
    let counts = rings.clone();
    let count = move || {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    let next = World::with(|builder| builder.on_wake(count));
    assert_eq!(next.executor.turn(Budget::Batch).next, Next::Empty);
    clock.advance(secs(100));
    waits.reset(at(secs(2)));
    fired.reset(at(secs(200)));
    assert!(quiet(&mut fired).is_pending());
    drop((fired, waits, waker));
    assert_eq!((rings.load(Ordering::SeqCst), foreign.alive()), (0, 0));
    next.close();
}

/// smol-rs/smol 167: a timer that was polled by one task and then by another woke the
/// first.
// promise 7.2, 7.5
#[test]
fn a_timer_that_is_handed_on_wakes_the_task_where_it_is() {
    for first_ends in [false, true] {
        let world = still();
        let (kept, polls) = (Shelf::<Pin<Box<Sleep>>>::new(), Rc::new(Cell::new(0)));
        let (shelf, counts) = (kept.clone(), polls.clone());
        let mut made = Some(());
        let first = world.executor.spawn_infallible(std::future::poll_fn(move |cx| {
            counts.set(counts.get() + 1);
            if made.take().is_some() {
                let mut nap = Box::pin(sleep(secs(1)));
                assert!(nap.as_mut().poll(cx).is_pending());
                shelf.put(nap);
            }
            if first_ends { Poll::Ready(()) } else { Poll::Pending }
        }));
        world.executor.turn(Budget::Batch);
        let nap = kept.take().expect("it was made");
        let second = world.executor.spawn_infallible(nap);
        world.executor.turn(Budget::Batch);
        world.clock.advance(secs(1));
        assert_eq!(world.executor.turn(Budget::Batch).polled, 1);
        assert_eq!((second.is_finished(), polls.get()), (true, 1), "{first_ends}");
        first.cancel();
        world.executor.turn(Budget::Batch);
        drop((first, second));
        world.close();
    }
}

/// actix/actix 531: a task that was to be dropped with its system began an interval, and
/// there was no timer to be had.
// promise 6.5, 6.8
#[test]
fn a_destructor_may_use_the_clock_to_the_end() {
    let uses = || {
        assert_eq!(now(), at(secs(3)));
        let mut sleeps = Box::pin(sleep(secs(1)));
        assert!(poll_once(&mut sleeps).is_pending());
        sleeps.reset(at(secs(7)));
        let mut ticks = interval_at(at(secs(4)), secs(1)).expect("it is not zero");
        assert!(poll_once(&mut Box::pin(ticks.tick())).is_pending());
        let mut limited = Box::pin(timeout(secs(1), pending::<()>()));
        assert!(poll_once(&mut limited).is_pending());
        drop((limited, ticks));
        sleeps
    };
    for shuts_down in [false, true] {
        let world = still();
        world.clock.advance(secs(3));
        let kept = Shelf::new();
        for waits in [false, true] {
            let shelf = kept.clone();
            let on_drop = OnDrop(move || shelf.put(uses()));
            let task = world.executor.spawn(async move {
                let _on_drop = on_drop;
                pending::<anyhow::Result<()>>().await
            });
            task.detach();
            if waits {
                world.executor.turn(Budget::Batch);
            }
        }
        let heard = world.heard.clone();
        if shuts_down {
            world.close();
        } else {
            drop(world);
        }
        assert!(!kept.is_empty(), "it was dropped");
        assert_eq!(heard.count(ReportKind::PanickedInDrop), 0);
    }
}

/// dabeaz/curio 52: a limit that fell on the moment of a sleep inside of it was lost now
/// and then, and the task went on for ever.
// promise 4.9, 7.5
#[test]
fn a_limit_that_falls_on_the_moment_of_a_sleep_inside_is_not_lost() {
    for length in [50, 100, 200, 400, 800] {
        let world = World::new();
        let tasks: Vec<Task<Instant>> = (0..4)
            .map(|place| {
                world.executor.spawn(async move {
                    let goes_on = async {
                        loop {
                            sleep(ms(length)).await;
                        }
                    };
                    // The limit is set before the sleeps are, or after.
                    let limited = match place % 2 {
                        0 => timeout(ms(800), goes_on).await,
                        _ => timeout(ms(900), timeout(ms(800), goes_on)).await.unwrap(),
                    };
                    assert!(limited.is_err());
                    Ok(now())
                })
            })
            .collect();
        world.executor.run_until_idle();
        assert!(tasks.iter().all(|task| task.result().ok() == Some(&at(ms(800)))), "{length}");
        drop(tasks);
        world.close();
    }
}

/// abrt/libreport 134: a timeout that had not come when its loop ended stayed with the
/// context, and was called in the next loop.
// promise 7.6, 6.8
#[test]
fn what_a_main_had_set_goes_with_it_however_it_ends() {
    type Main = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;
    async fn waits(for_what: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let mut ticks = interval_at(at(secs(40)), secs(1))?;
        futures::pin_mut!(for_what);
        let waits = futures::future::select(Box::pin(ticks.tick()), Box::pin(sleep(secs(50))));
        let limited = timeout(secs(30), waits);
        match futures::future::select(for_what, Box::pin(limited)).await {
            futures::future::Either::Left((ends, _)) => ends,
            futures::future::Either::Right(_) => unreachable!("it ends before"),
        }
    }
    let mains: [fn(&World) -> Main; 5] = [
        |_| Box::pin(waits(async { Ok(()) })),
        |_| Box::pin(waits(sleep_for(secs(1)))),
        |_| Box::pin(waits(async { panic!("oh") })),
        |world| {
            let interrupter = world.executor.interrupter();
            Box::pin(waits(async move {
                interrupter.interrupt();
                pending().await
            }))
        },
        |_| {
            Box::pin(waits(async {
                hearken::current().cancel();
                pending().await
            }))
        },
    ];
    for main in mains {
        let world = World::new();
        let main = main(&world);
        let _ended = common::hushed(|| world.executor.block_on(main));
        assert_eq!(world.executor.next_deadline(), None);
        let before = world.clock.now();
        world.executor.block_on(sleep_for(Duration::ZERO)).unwrap();
        assert_eq!(world.clock.now(), before, "nothing is waited for");
        world.close();
    }
}
