//! What the library has ready without a wait, it says once a turn: a loop around it
//! lets everybody else have their turns.
//!
//! The loops here end after so many rounds by a panic, since one that never
//! suspends would not let the test end.

mod common;

use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use common::World;
use hearken::{
    Budget, Elapsed, Instant, ManualClock, MissedTicks, WaitFor, interval, interval_at, now, sleep,
    sleep_until, spawn, timeout, timeout_at, wait, wait_timeout, yield_now,
};

const ROUNDS: usize = 10_000;

/// Lets `greedy` go round for a hundred turns, beside a task that yields and one
/// that sleeps. It is given the clock and a bell to ring each round.
fn assert_fair<F>(name: &str, greedy: impl FnOnce(ManualClock, Bell) -> F)
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let world = World::new();
    world.clock.set_auto_advance(false);
    world.clock.advance(Duration::from_secs(1));
    let (rounds, polite) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let greedy = world.executor.spawn(greedy(world.clock.clone(), Bell(rounds.clone())));
    let counts = polite.clone();
    let yields = world.executor.spawn::<()>(async move {
        loop {
            counts.set(counts.get() + 1);
            yield_now().await;
        }
    });
    let sleeps = world.executor.spawn(async {
        sleep(Duration::from_millis(1)).await;
        Ok(now())
    });
    for _ in 0..100 {
        world.executor.turn(Budget::Batch);
        world.clock.advance(Duration::from_micros(50));
    }
    assert!(!greedy.is_finished(), "{name}: {:?}", greedy.error());
    assert!(polite.get() >= 99, "{name}: the others had {} turns", polite.get());
    assert!(rounds.get() >= 50, "{name}: it went round {} times only", rounds.get());
    assert!(rounds.get() <= 2_000, "{name}: it went round {} times", rounds.get());
    assert!(sleeps.is_finished(), "{name}: a timer is held back");
    greedy.cancel();
    yields.cancel();
    world.executor.turn(Budget::Batch);
    drop((greedy, yields, sleeps));
    world.close();
}

/// Counts rounds.
#[derive(Clone)]
struct Bell(Rc<Cell<usize>>);

impl Bell {
    fn ring(&self) {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < ROUNDS, "it never suspends");
    }
}

// promise 7.1
#[test]
fn an_interval_whose_rounds_take_longer_than_its_period_lets_others_have_turns() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        assert_fair(&format!("{missed:?}"), async move |clock: ManualClock, bell: Bell| {
            let mut interval = interval(Duration::from_millis(1))?;
            interval.set_missed_ticks(missed);
            loop {
                interval.tick().await;
                bell.ring();
                clock.advance(Duration::from_millis(2)); // the work
            }
        });
    }
}

// promise 7.1
#[test]
fn an_interval_that_has_fallen_behind_catches_up_a_tick_or_two_a_turn() {
    assert_fair("far behind", async |_, bell| {
        let mut interval = interval_at(Instant::ZERO, Duration::from_nanos(1))?;
        loop {
            interval.tick().await;
            bell.ring();
        }
    });
    assert_fair("reset each time", async |_, bell| {
        let mut interval = interval(Duration::from_nanos(1))?;
        loop {
            interval.tick().await;
            interval.reset();
            bell.ring();
        }
    });
}

// promise 7.1, 10.3
#[test]
fn sleeps_that_are_over_at_once_let_others_have_turns() {
    assert_fair("zero", async |_, bell| {
        loop {
            sleep(Duration::ZERO).await;
            bell.ring();
        }
    });
    assert_fair("the past", async |_, bell| {
        loop {
            sleep_until(Instant::ZERO).await;
            bell.ring();
        }
    });
    assert_fair("one that is over, asked again", async |_, bell| {
        let mut over = sleep(Duration::from_micros(70));
        loop {
            (&mut over).await;
            bell.ring();
        }
    });
    assert_fair("one that is reset into the past", async |_, bell| {
        let mut sleep = sleep(Duration::from_micros(70));
        loop {
            (&mut sleep).await;
            sleep.reset(Instant::ZERO);
            bell.ring();
        }
    });
}

// promise 7.1, 10.3
#[test]
fn deadlines_that_have_passed_at_once_let_others_have_turns() {
    assert_fair("zero", async |_, bell| {
        loop {
            assert_eq!(timeout(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
            bell.ring();
        }
    });
    assert_fair("the past", async |_, bell| {
        loop {
            assert_eq!(timeout_at(Instant::ZERO, pending::<()>()).await, Err(Elapsed));
            bell.ring();
        }
    });
}

// promise 7.1
#[test]
fn to_wait_for_what_has_ended_lets_others_have_turns() {
    assert_fair("wait", async |_, bell| {
        let mut tasks = [spawn(async { Ok(()) })];
        loop {
            assert_eq!(wait(&mut tasks, WaitFor::First).await.0.len(), 1);
            bell.ring();
        }
    });
    assert_fair("no tasks", async |_, bell| {
        loop {
            wait::<()>(&mut [], WaitFor::All).await;
            bell.ring();
        }
    });
    assert_fair("not at all", async |_, bell| {
        let mut tasks = [spawn(pending::<anyhow::Result<()>>())];
        loop {
            wait_timeout(&mut tasks, WaitFor::First, Duration::ZERO).await;
            bell.ring();
        }
    });
}

// promise 10.3
#[test]
fn the_first_of_a_turn_is_over_at_its_first_poll() {
    let world = World::new();
    let task = world.executor.spawn(async {
        sleep(Duration::ZERO).await;
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    assert!(task.is_finished());
    drop(task);
    world.close();
}

// ---- What belongs to another executor -----------------------------------------------------

/// As [`assert_fair`], of what is made by an executor that takes no turn meanwhile.
fn assert_fair_elsewhere<M: 'static, F>(
    name: &str,
    make: impl FnOnce() -> M + 'static,
    greedy: impl FnOnce(M, ManualClock, Bell) -> F,
) where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let home = World::new();
    home.clock.set_auto_advance(false);
    home.clock.advance(Duration::from_secs(1));
    let mut made = home.executor.spawn_infallible(async move { make() });
    home.executor.turn(Budget::Batch);
    let made = made.take().expect("it has ended").expect("it was made");
    let clock = home.clock.clone();
    assert_fair(name, |_, bell| greedy(made, clock, bell));
    home.close();
}

// promise 7.1
#[test]
fn what_is_of_another_executor_and_ready_at_once_lets_others_have_turns() {
    assert_fair_elsewhere(
        "late ticks",
        || interval(Duration::from_millis(1)).expect("it is not zero"),
        async |mut interval, clock, bell| {
            loop {
                interval.tick().await;
                bell.ring();
                clock.advance(Duration::from_millis(2));
            }
        },
    );
    assert_fair_elsewhere(
        "sleeps into the past",
        || Box::pin(sleep(Duration::ZERO)),
        async |mut nap, _, bell| {
            loop {
                nap.as_mut().await;
                bell.ring();
            }
        },
    );
}

/// tokio-rs/tokio 7210: what yielded in a loop within a loop was put down to the outer
/// one, which did not go on before the inner one had ended.
// promise 6.6, 10.3
#[test]
fn what_an_outer_executor_has_ready_is_ready_in_an_inner_one_however_often() {
    let (outer, inner) = (World::new(), World::with(|builder| builder.closed_world(true)));
    let executor = inner.executor;
    let task = outer.executor.spawn(async move {
        let naps: Vec<_> = (0..100).map(|_| sleep(Duration::ZERO)).collect();
        let mut ticks = interval_at(Instant::ZERO, Duration::from_nanos(1))?;
        let answer = executor.block_on(async move {
            for nap in naps {
                nap.await;
            }
            ticks.tick().await;
            Ok(7)
        });
        executor.shut_down();
        Ok(answer?)
    });
    outer.executor.turn(Budget::Batch);
    assert_eq!(task.result().ok(), Some(&7), "{task:?}");
    drop(task);
    outer.close();
}
