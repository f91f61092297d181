//! Time: whose clock it is, when a timer fires, and that none fires early.
//!
//! Nothing here sleeps. The wheel itself is tested beside its source.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use common::{Gate, Heard, Play, Transcript, hushed, secs};
use hearken::{
    Budget, Clock, Elapsed, Executor, Instant, Interval, ManualClock, MissedTicks, Next,
    ReportKind, Task, Verdict, ZeroInterval, interval, now, sleep, sleep_until, timeout, yield_now,
};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const fn nanos(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

const fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// An executor on a clock that stands still until told.
struct Bench {
    executor: Executor,
    clock: ManualClock,
    said: Transcript,
}

impl Bench {
    fn new() -> Bench {
        let clock = ManualClock::new();
        // Many tests leave tasks behind, and the default handler would say so.
        let builder = Executor::builder().clock(clock.clone()).handler(|_| Verdict::Proceed);
        Bench { executor: builder.build(), clock, said: Transcript::new() }
    }

    /// Sets a timer in a task of its own, which says `name` when it fires.
    fn set(&self, name: impl Into<String>, deadline: Instant) {
        let (said, name) = (self.said.clone(), name.into());
        let task = self.executor.spawn(async move {
            sleep_until(deadline).await;
            said.say(name);
            Ok(())
        });
        task.detach();
    }

    /// Moves the clock and takes one turn. What was said in it.
    fn go_to(&self, moment: Instant) -> Vec<String> {
        self.clock.advance(moment - self.clock.now());
        self.executor.turn(Budget::Batch);
        self.said.lines()
    }

    /// How many timers the dump knows of.
    fn timers(&self) -> String {
        let dump = self.executor.dump().to_string();
        let first = dump.lines().next().unwrap_or_default();
        first.rsplit(", ").next().unwrap_or_default().to_owned()
    }
}

/// A clock that reads what the test says, or panics.
#[derive(Clone, Default)]
struct Puppet(Rc<Cell<Option<u64>>>);

impl Clock for Puppet {
    fn now(&self) -> Instant {
        at(self.0.get().expect("the spring is broken"))
    }
}

fn on_strings() -> (Executor, Puppet, Heard) {
    let (puppet, heard) = (Puppet::default(), Heard::default());
    puppet.0.set(Some(0));
    let builder = Executor::builder().clock(puppet.clone()).handler(heard.handler());
    (builder.build(), puppet, heard)
}

// ---- Sleeping ---------------------------------------------------------------------

// promise 7.4
#[test]
fn a_sleep_counts_from_the_call_and_not_from_the_first_poll() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let early = sleep(secs(10));
        assert_eq!(early.deadline(), now() + secs(10));
        sleep(secs(4)).await;
        early.await;
        said.say(now().to_string());
        Ok(())
    });
    assert_eq!(play.said.lines(), ["10s"]);
    drop(task);
    play.close();
}

// promise 7.5
#[test]
fn a_zero_sleep_and_a_past_deadline_are_over_at_the_first_poll() {
    let bench = Bench::new();
    bench.clock.advance(secs(5));
    let task = bench.executor.spawn(async {
        sleep(Duration::ZERO).await;
        sleep_until(now()).await;
        sleep_until(Instant::ZERO).await;
        sleep_until(now() - secs(1)).await;
        Ok(())
    });
    assert_eq!(bench.executor.turn(Budget::Batch).polled, 1);
    assert!(task.is_finished());
}

// promise 7.5
#[test]
fn a_sleep_that_is_over_stays_over_until_it_is_reset() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut sleep = sleep(secs(1));
        (&mut sleep).await;
        (&mut sleep).await;
        said.say(now().to_string());
        sleep.reset(now() + secs(2));
        assert!(!sleep.is_elapsed());
        (&mut sleep).await;
        said.say(now().to_string());
        sleep.reset(Instant::ZERO);
        assert!(sleep.is_elapsed());
        sleep.await;
        said.say(now().to_string());
        Ok(())
    });
    assert_eq!(play.said.lines(), ["1s", "3s", "3s"]);
    drop(task);
    play.close();
}

/// A sleep that one task awaits and the test resets.
fn shared_sleep(
    bench: &Bench,
    duration: Duration,
) -> (Rc<RefCell<Option<hearken::Sleep>>>, Task<()>) {
    let shared = Rc::new(RefCell::new(None));
    let (theirs, said) = (shared.clone(), bench.said.clone());
    let task = bench.executor.spawn(async move {
        *theirs.borrow_mut() = Some(sleep(duration));
        poll_fn(|cx| {
            let mut sleep = theirs.borrow_mut();
            Pin::new(sleep.as_mut().expect("it was put there")).poll(cx)
        })
        .await;
        said.say("over");
        Ok(())
    });
    bench.executor.run_until_idle();
    (shared, task)
}

// promise 7.5
#[test]
fn who_waits_for_a_sleep_that_is_reset_is_woken_at_the_new_deadline_only() {
    for later in [false, true] {
        let bench = Bench::new();
        let (shared, _task) = shared_sleep(&bench, secs(10));
        let deadline = Instant::ZERO + if later { secs(20) } else { secs(5) };
        shared.borrow_mut().as_mut().unwrap().reset(deadline);

        assert_eq!(bench.executor.next_deadline(), Some(deadline));
        assert!(bench.go_to(deadline - nanos(1)).is_empty());
        assert_eq!(bench.go_to(deadline), ["over"]);
    }
}

// promise 7.5
#[test]
fn who_waits_for_a_sleep_that_is_reset_to_the_past_is_woken_in_the_next_turn() {
    let bench = Bench::new();
    bench.clock.advance(secs(1));
    let (shared, _task) = shared_sleep(&bench, secs(10));
    shared.borrow_mut().as_mut().unwrap().reset(Instant::ZERO);
    assert_eq!(bench.executor.next_deadline(), Some(Instant::ZERO));
    assert_eq!(bench.go_to(bench.clock.now()), ["over"]);
}

// promise 7.5
#[test]
fn a_sleep_that_was_reset_to_the_past_and_then_further_waits_for_the_new_deadline() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let mut sleep = sleep(secs(10));
        assert!(futures::poll!(&mut sleep).is_pending());
        sleep.reset(Instant::ZERO);
        (&mut sleep).await;
        sleep.reset(now() + secs(5));
        assert!(futures::poll!(&mut sleep).is_pending());
        assert!(futures::poll!(&mut sleep).is_pending(), "woken for nothing, it waits on");
        Ok(())
    });
    assert!(task.result().is_ok());
    drop(task);
    play.close();
}

// promise 7.5
#[test]
fn who_waits_for_a_sleep_without_end_is_woken_when_it_is_given_one() {
    let bench = Bench::new();
    let (shared, _task) = shared_sleep(&bench, Duration::MAX);
    let deadline = Instant::ZERO + secs(5);
    shared.borrow_mut().as_mut().unwrap().reset(deadline);
    assert!(bench.go_to(deadline - nanos(1)).is_empty());
    assert_eq!(bench.go_to(deadline), ["over"]);
}

// promise 7.5
#[test]
fn who_waits_for_a_sleep_that_was_reset_to_never_is_woken_when_it_is_reset_again() {
    let bench = Bench::new();
    let (shared, _task) = shared_sleep(&bench, secs(10));
    shared.borrow_mut().as_mut().unwrap().reset(Instant::NEVER);
    assert_eq!(bench.executor.next_deadline(), None);
    assert!(bench.go_to(Instant::ZERO + secs(10)).is_empty());
    let deadline = Instant::ZERO + secs(15);
    shared.borrow_mut().as_mut().unwrap().reset(deadline);
    assert_eq!(bench.go_to(deadline), ["over"]);
}

// promise 7.5, 7.6
#[test]
fn a_sleep_that_has_fired_and_is_reset_before_its_poll_waits_for_the_new_deadline() {
    let bench = Bench::new();
    let (shared, _task) = shared_sleep(&bench, secs(10));
    bench.clock.advance(secs(10));
    bench.executor.turn(Budget::Polls(0));
    assert_eq!(bench.executor.next_deadline(), None, "it has fired");
    shared.borrow_mut().as_mut().unwrap().reset(Instant::ZERO + secs(20));
    assert!(bench.go_to(Instant::ZERO + secs(20) - nanos(1)).is_empty());
    assert_eq!(bench.go_to(Instant::ZERO + secs(20)), ["over"]);
    assert_eq!(bench.timers(), "0 timers");
}

// promise 7.5
#[test]
fn the_longest_duration_never_fires_and_never_panics() {
    let bench = Bench::new();
    bench.clock.advance(CENTURY);
    let said = bench.said.clone();
    let mut tasks = vec![
        bench.executor.spawn_infallible(async { sleep(Duration::MAX).await }),
        bench.executor.spawn_infallible(async { sleep_until(Instant::NEVER).await }),
        bench.executor.spawn(async { Ok(timeout(Duration::MAX, pending()).await?) }),
    ];
    tasks.push(bench.executor.spawn(async move {
        let mut interval = interval(Duration::MAX)?;
        interval.tick().await;
        said.say("the first tick comes at once");
        interval.tick().await;
        said.say("the second never");
        Ok(())
    }));
    let turn = bench.executor.run_until_idle();
    assert_eq!(turn.next, Next::Waiting);
    assert_eq!(bench.executor.next_deadline(), None);

    bench.clock.advance(Duration::MAX);
    assert_eq!(bench.clock.now(), Instant::NEVER);
    bench.executor.run_until_idle();
    assert_eq!(bench.said.lines(), ["the first tick comes at once"]);
    assert!(tasks.iter().all(|task| !task.is_finished()));
}

// promise 7.5
#[test]
fn the_last_moment_before_never_comes() {
    let bench = Bench::new();
    bench.set("last", at(u64::MAX - 1));
    bench.executor.run_until_idle();
    assert!(bench.go_to(at(u64::MAX - 2)).is_empty());
    assert_eq!(bench.go_to(at(u64::MAX - 1)), ["last"]);
}

// ---- Ticking ------------------------------------------------------------------------

/// Ticks every ten seconds, is kept from it between 10 s and `late`, and says
/// for which moment each tick was meant and when it came.
fn ticks_after(missed_ticks: MissedTicks, late: u64) -> Vec<String> {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut interval = interval(secs(10))?;
        interval.set_missed_ticks(missed_ticks);
        let tick = async |interval: &mut Interval| {
            let due = interval.tick().await;
            said.say(format!("{due} at {}", now()));
        };
        tick(&mut interval).await;
        tick(&mut interval).await;
        sleep_until(Instant::ZERO + secs(late)).await;
        for _ in 0..4 {
            tick(&mut interval).await;
        }
        Ok(())
    });
    let lines = play.said.lines();
    drop(task);
    play.close();
    lines
}

// promise 7.5
#[test]
fn missed_ticks_come_in_a_burst() {
    let lines = ticks_after(MissedTicks::Burst, 45);
    let expected =
        ["0ns at 0ns", "10s at 10s", "20s at 45s", "30s at 45s", "40s at 45s", "50s at 50s"];
    assert_eq!(lines, expected);
}

// promise 7.5
#[test]
fn missed_ticks_delay_those_that_follow() {
    let lines = ticks_after(MissedTicks::Delay, 45);
    let expected =
        ["0ns at 0ns", "10s at 10s", "20s at 45s", "55s at 55s", "65s at 65s", "75s at 75s"];
    assert_eq!(lines, expected);
}

// promise 7.5
#[test]
fn missed_ticks_are_skipped_and_the_beat_is_kept() {
    let lines = ticks_after(MissedTicks::Skip, 45);
    let expected =
        ["0ns at 0ns", "10s at 10s", "20s at 45s", "50s at 50s", "60s at 60s", "70s at 70s"];
    assert_eq!(lines, expected);
    // Exactly on a beat: that one counts as missed.
    let lines = ticks_after(MissedTicks::Skip, 40);
    assert_eq!(lines[2..4], ["20s at 40s", "50s at 50s"]);
}

// promise 7.5
#[test]
fn an_interval_in_time_does_not_care_what_is_done_about_missed_ticks() {
    for missed_ticks in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let lines = ticks_after(missed_ticks, 11);
        assert_eq!(lines[2..], ["20s at 20s", "30s at 30s", "40s at 40s", "50s at 50s"]);
    }
}

// promise 7.5
#[test]
fn dropping_a_tick_that_is_waited_for_loses_none() {
    let play = Play::new();
    let task = play.start(|_| async {
        let mut interval = interval(secs(10))?;
        interval.tick().await;
        assert_eq!(timeout(secs(4), interval.tick()).await, Err(Elapsed));
        assert_eq!(interval.tick().await, Instant::ZERO + secs(10));
        interval.reset();
        assert_eq!(interval.tick().await, Instant::ZERO + secs(20));
        assert!(matches!(hearken::interval(Duration::ZERO), Err(ZeroInterval)));
        Ok(())
    });
    task.result().expect("all was as it should be");
    drop(task);
    play.close();
}

// ---- Order, and the next deadline -------------------------------------------------------

// promise 7.5
#[test]
fn timers_fire_in_order_of_deadline_and_equal_ones_in_the_order_in_which_they_were_set() {
    let bench = Bench::new();
    for (name, second) in [("a", 3), ("b", 1), ("c", 2), ("d", 1), ("e", 3), ("f", 2), ("g", 1)] {
        bench.set(name, Instant::ZERO + secs(second));
    }
    bench.executor.run_until_idle();
    assert_eq!(bench.go_to(Instant::ZERO + secs(9)), ["b", "d", "g", "c", "f", "a", "e"]);
}

// promise 7.5
#[test]
fn equal_deadlines_set_at_different_times_fire_in_the_order_in_which_they_were_set() {
    let bench = Bench::new();
    let deadline = Instant::ZERO + CENTURY;
    for name in 0..20 {
        bench.set(name.to_string(), deadline);
        bench.executor.turn(Budget::Batch);
        // Ever nearer: from the highest levels down.
        bench.go_to(bench.clock.now() + (deadline - bench.clock.now()) / 8 * 7);
    }
    let expected: Vec<String> = (0..20).map(|name| name.to_string()).collect();
    assert_eq!(bench.go_to(deadline), expected);
}

// promise 7.5
#[test]
fn the_next_deadline_is_exact_whatever_is_set_and_dropped() {
    let bench = Bench::new();
    let (a, b, c) = (at(1), at(1 << 40), at((1 << 40) + 1));
    assert_eq!(bench.executor.next_deadline(), None);
    let sleeper = |deadline| {
        let task = bench.executor.spawn_infallible(async move { sleep_until(deadline).await });
        bench.executor.run_until_idle();
        task
    };
    let last = sleeper(c);
    assert_eq!(bench.executor.next_deadline(), Some(c));
    let middle = sleeper(b);
    assert_eq!(bench.executor.next_deadline(), Some(b));
    let first = sleeper(a);
    assert_eq!(bench.executor.next_deadline(), Some(a));
    middle.cancel();
    bench.executor.run_until_idle();
    assert_eq!(bench.executor.next_deadline(), Some(a));
    first.cancel();
    assert_eq!(bench.executor.run_until_idle().next, Next::At(c));
    assert_eq!(bench.executor.next_deadline(), Some(c));
    last.cancel();
    assert_eq!(bench.executor.run_until_idle().next, Next::Empty);
    assert_eq!(bench.executor.next_deadline(), None);
}

// promise 7.1, 7.5
#[test]
fn a_timer_fires_and_its_task_is_polled_in_one_turn() {
    let bench = Bench::new();
    bench.set("up", Instant::ZERO + secs(1));
    let turn = bench.executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.next), (1, Next::At(Instant::ZERO + secs(1))));
    bench.clock.advance(secs(1));
    let turn = bench.executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.next), (1, Next::Empty));
    assert_eq!(bench.said.lines(), ["up"]);
}

// promise 7.5
#[test]
fn around_every_slot_boundary_a_timer_fires_to_the_nanosecond() {
    let edges = (0..8).flat_map(|level| {
        let edge = (1 << 16) * 64_u64.pow(level);
        [edge - 1, edge, edge + 1]
    });
    let edges: Vec<u64> = edges.collect();
    for &from in std::iter::once(&0).chain(&edges) {
        for &to in edges.iter().filter(|&&to| to > from) {
            let bench = Bench::new();
            bench.go_to(at(from));
            bench.set("now", at(to));
            bench.executor.turn(Budget::Batch);
            assert_eq!(bench.executor.next_deadline(), Some(at(to)));
            assert!(bench.go_to(at(to - 1)).is_empty(), "from {from} to {to}: early");
            assert_eq!(bench.go_to(at(to)), ["now"], "from {from} to {to}");
        }
    }
}

// ---- Clocks -------------------------------------------------------------------------------

// promise 7.4
#[test]
fn the_machines_clock_begins_when_it_is_first_read() {
    use std::time::Instant as Machine;
    let executor = Executor::new();
    let made = Machine::now();
    while made.elapsed() < Duration::from_millis(1) {}
    let asked = Machine::now();
    let first = executor.now() - Instant::ZERO;
    assert!(first <= asked.elapsed());
    assert!(executor.now() - Instant::ZERO >= first);
}

// promise 7.4
#[test]
fn a_clock_that_stands_fires_nothing_however_many_turns_are_taken() {
    let bench = Bench::new();
    bench.set("never", at(1));
    for _ in 0..1_000 {
        bench.executor.turn(Budget::Batch);
    }
    assert_eq!(bench.executor.run_until_idle().next, Next::At(at(1)));
    assert!(bench.said.lines().is_empty());
}

// promise 7.5
#[test]
fn when_the_clock_jumps_a_hundred_years_all_that_is_due_fires_in_one_turn_in_order() {
    let bench = Bench::new();
    let mut names = Vec::new();
    for day in 1..=365 {
        bench.set(format!("day {day}"), Instant::ZERO + secs(24 * 3600) * day);
        names.push(format!("day {day}"));
    }
    let beyond = Instant::ZERO + CENTURY + nanos(1);
    bench.set("beyond", beyond);
    bench.executor.run_until_idle();
    assert_eq!(bench.go_to(Instant::ZERO + CENTURY), names);
    assert_eq!(bench.executor.next_deadline(), Some(beyond));
    assert_eq!(bench.go_to(beyond), ["beyond"]);
}

// promise 7.5
#[test]
fn a_clock_that_goes_backwards_stands_still_until_it_has_caught_up() {
    let (executor, puppet, heard) = on_strings();
    puppet.0.set(Some(1_000));
    assert_eq!(executor.now(), at(1_000));
    let task = executor.spawn_infallible(async { sleep(nanos(500)).await });
    executor.run_until_idle();
    for reads in [999, 0, 500, 1_000, 1_499] {
        puppet.0.set(Some(reads));
        executor.turn(Budget::Batch);
        assert!(executor.now() >= at(1_000) && !task.is_finished());
        assert_eq!(executor.next_deadline(), Some(at(1_500)));
    }
    puppet.0.set(Some(1_500));
    executor.turn(Budget::Batch);
    assert!(task.is_finished());
    assert!(heard.notes().is_empty());
}

// promise 7.5
#[test]
fn what_is_past_fires_although_the_clock_went_backwards() {
    let (executor, puppet, _) = on_strings();
    puppet.0.set(Some(1_000_000));
    let task = executor.spawn_infallible(async {
        let sleep = sleep(nanos(1));
        yield_now().await;
        sleep.await;
    });
    executor.turn(Budget::Batch);
    puppet.0.set(Some(2_000_000));
    assert_eq!(executor.now(), at(2_000_000));
    puppet.0.set(Some(0));
    executor.run_until_idle();
    assert!(task.is_finished());
}

// promise 7.5
#[test]
fn a_clock_that_panics_is_reported_and_stands_still() {
    let (executor, puppet, heard) = on_strings();
    puppet.0.set(Some(10));
    let task = executor.spawn_infallible(async { sleep(nanos(5)).await });
    executor.run_until_idle();
    puppet.0.set(None);
    hushed(|| {
        for _ in 0..3 {
            executor.turn(Budget::Batch);
            assert_eq!(executor.next_deadline(), Some(at(15)));
        }
        assert_eq!(executor.now(), at(10));
        executor.turn(Budget::Batch);
    });
    assert!(!task.is_finished());
    let notes = heard.notes();
    assert!(notes.len() >= 4, "{}", notes.len());
    for note in notes {
        assert_eq!(note.kind, ReportKind::CallbackPanicked);
        assert!(note.text.contains("the clock panicked"), "{}", note.text);
        assert!(note.text.contains("the spring is broken"), "{}", note.text);
    }
    puppet.0.set(Some(15));
    executor.run_until_idle();
    assert!(task.is_finished(), "it is mended");
    assert!(heard.notes().is_empty());
}

// promise 7.4
#[test]
fn a_clock_with_auto_advance_jumps_when_nothing_is_ready_and_says_how_far() {
    let clock = ManualClock::auto();
    let executor = Executor::builder().clock(clock.clone()).build();
    let gate = Gate::new();
    let passes = gate.clone();
    let sleeper = executor.spawn_infallible(async { sleep(secs(3600)).await });
    let waiter = executor.spawn_infallible(async { passes.pass().await });
    let turn = executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.jumped), (2, None));

    gate.open();
    let turn = executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.jumped), (1, None), "somebody was ready: no jump");
    assert!(waiter.is_finished() && clock.now() == Instant::ZERO);

    let turn = executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.jumped), (1, Some(secs(3600))));
    assert!(sleeper.is_finished());
    assert_eq!(clock.now(), Instant::ZERO + secs(3600));
}

// promise 7.4
#[test]
fn run_until_idle_on_a_jumping_clock_goes_through_all_deadlines_and_adds_them_up() {
    let play = Play::new();
    let task = play.spawn(|_| async {
        for _ in 0..1_000 {
            sleep(secs(3600)).await;
        }
        Ok(())
    });
    let turn = play.world.executor.run_until_idle();
    assert_eq!((turn.next, turn.jumped), (Next::Empty, Some(secs(3_600_000))));
    play.world.clock.set_auto_advance(false);
    assert!(task.is_finished());
    drop(task);
    play.close();
}

// promise 7.4, 7.5
#[test]
fn m_steps_of_n_are_n_steps_of_m() {
    let run = |steps: u64, step: u64| {
        let bench = Bench::new();
        for number in 0..200_u64 {
            bench.set(format!("timer {number}"), at(number * 7_919 % 997 * 1_000));
        }
        let said = bench.said.clone();
        let ticking = bench.executor.spawn(async move {
            let mut interval = interval(nanos(37_000))?;
            for _ in 0..20 {
                let due = interval.tick().await;
                said.say(format!("tick {due}"));
            }
            Ok(())
        });
        let mut timers = Vec::new();
        let mut ticks = Vec::new();
        let mut take = || {
            bench.executor.run_until_idle();
            for line in bench.said.lines() {
                if line.starts_with("tick") { &mut ticks } else { &mut timers }.push(line);
            }
        };
        take();
        for _ in 0..steps {
            bench.clock.advance(nanos(step));
            take();
        }
        assert_eq!(bench.clock.now(), at(steps * step));
        drop(ticking);
        (timers, ticks, bench.executor.next_deadline())
    };
    let whole = run(1, 1_000_000);
    assert_eq!(whole.0.len(), 200);
    assert_eq!(whole.1.len(), 20);
    for (m, n) in [(8, 125_000), (125, 8_000), (500, 2_000)] {
        assert_eq!(run(m, n), run(n, m), "{m} and {n}");
        assert_eq!(run(m, n), whole);
    }
}

// ---- Many, and short turns -------------------------------------------------------------------

// promise 7.6
#[test]
fn a_hundred_thousand_timeouts_made_and_dropped_one_by_one_leave_nothing() {
    let bench = Bench::new();
    let task = bench.executor.spawn(async {
        for number in 0..100_000 {
            let mut timeout = Box::pin(timeout(nanos(number * 977 + 1), pending::<()>()));
            poll_fn(|cx| {
                assert!(timeout.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        pending::<anyhow::Result<()>>().await
    });
    bench.executor.run_until_idle();
    assert_eq!(bench.executor.next_deadline(), None);
    assert_eq!(bench.timers(), "0 timers");
    bench.clock.advance(CENTURY);
    assert_eq!(bench.executor.turn(Budget::Batch).polled, 0, "nobody is woken");
    drop(task);
}

// promise 7.6
#[test]
fn a_hundred_thousand_timeouts_alive_at_once_and_dropped_leave_nothing() {
    let bench = Bench::new();
    let gate = Gate::new();
    let open = gate.clone();
    let task = bench.executor.spawn(async move {
        let sleeps = |number: u64| timeout(nanos(number * 977 % 1_000_003 + 5), pending::<()>());
        let mut timeouts: Vec<_> = (0..100_000).map(|number| Box::pin(sleeps(number))).collect();
        poll_fn(|cx| {
            assert!(timeouts.iter_mut().all(|timeout| timeout.as_mut().poll(cx).is_pending()));
            Poll::Ready(())
        })
        .await;
        open.pass().await;
        drop(timeouts);
        pending::<anyhow::Result<()>>().await
    });
    bench.executor.run_until_idle();
    assert_eq!(bench.timers(), "100000 timers");
    assert_eq!(bench.executor.next_deadline(), Some(at(5)));
    gate.open();
    bench.executor.run_until_idle();
    assert_eq!(bench.timers(), "0 timers");
    assert_eq!(bench.executor.next_deadline(), None);
    drop(task);
}

// promise 7.1, 7.5
#[test]
fn a_thousand_turns_without_a_poll_fire_all_timers() {
    let bench = Bench::new();
    for number in 1..=1_000 {
        bench.set(number.to_string(), at(number * 100_000));
    }
    bench.executor.run_until_idle();
    for number in 1..=1_000 {
        assert_eq!(bench.executor.next_deadline(), Some(at(number * 100_000)));
        bench.clock.advance(nanos(100_000));
        let turn = bench.executor.turn(Budget::Polls(0));
        assert_eq!((turn.polled, turn.next), (0, Next::Ready));
    }
    assert_eq!(bench.executor.next_deadline(), None);
    assert!(bench.said.lines().is_empty());
    assert_eq!(bench.executor.turn(Budget::Batch).polled, 1_000);
    let expected: Vec<String> = (1..=1_000).map(|number| number.to_string()).collect();
    assert_eq!(bench.said.lines(), expected);
}

// promise 7.1, 7.5
#[test]
fn a_thousand_turns_of_one_poll_beside_a_task_that_never_rests_fire_all_timers() {
    let bench = Bench::new();
    let busy: Task<()> = bench.executor.spawn(async {
        loop {
            yield_now().await;
        }
    });
    for number in 1..=400 {
        bench.set(number.to_string(), at(number * 2_000));
    }
    bench.executor.turn(Budget::Batch);
    for moment in 1..=1_000 {
        bench.clock.advance(nanos(1_000));
        assert_eq!(bench.executor.turn(Budget::Polls(1)).polled, 1);
        let next = bench.executor.next_deadline();
        assert!(next.is_none_or(|next| next > at(moment * 1_000)), "what is due has fired");
    }
    let expected: Vec<String> = (1..=400).map(|number| number.to_string()).collect();
    assert_eq!(bench.said.lines(), expected);
    busy.cancel();
}

// promise 7.5
#[test]
fn a_sleep_that_is_first_polled_after_its_deadline_is_over_at_that_poll() {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let task = executor.spawn_infallible(async {
        let late = sleep(Duration::from_secs(10));
        yield_now().await; // meanwhile twenty seconds pass
        late.await;
    });
    executor.turn(Budget::Batch);
    clock.advance(Duration::from_secs(20));
    executor.turn(Budget::Batch);
    assert!(task.is_finished());
}
