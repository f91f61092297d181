//! What a turn costs beside timers that merely wait: the patterns, and how it is counted.
//!
//! Here are also the turns of hearken. Those of another executor are handed in by
//! `hearken-peers`, so that this package needs none.
//!
//! Each count is the program under callgrind, twice, with different numbers of turns: what
//! the runs have in common, to set the timers above all, goes away. The turns before
//! those are not counted: in them hearken opens slots.

use std::future::{Future as _, pending, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use hearken::{Budget, Executor, ManualClock, sleep, timeout, yield_now};

use crate::instructions;

const PATIENCE: Duration = Duration::from_secs(600);
/// How many timers wait.
pub const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WARM_UP: u64 = 2_000;
/// So many that what differs from one setting of a million timers to the next is nothing.
const TURNS: u64 = 50_000;
/// How far the clock moves from one turn to the next.
pub const STEP: Duration = Duration::from_micros(100);

/// When those that wait are due, by their number, in milliseconds; and the limits of
/// the two clients, by the turn.
pub struct Pattern {
    pub name: &'static str,
    waits: fn(u64) -> u64,
    limits: fn(u64) -> [u64; 2],
}

const MINUTE: u64 = 60_000;

pub const PATTERNS: [Pattern; 5] = [
    Pattern {
        name: "spread",
        waits: |nth| 20 * MINUTE + nth * 7_919 % (10 * MINUTE),
        limits: |_| [20 * MINUTE, 25 * MINUTE],
    },
    Pattern { name: "equal", waits: |_| 25 * MINUTE, limits: |_| [25 * MINUTE, 24 * MINUTE] },
    Pattern {
        name: "two-constants",
        waits: |nth| (20 + 5 * (nth % 2)) * MINUTE,
        limits: |_| [20 * MINUTE, 25 * MINUTE],
    },
    Pattern {
        name: "jitter",
        waits: |nth| 25 * MINUTE + nth * 7_919 % 1_000,
        limits: |turn| [25 * MINUTE + turn * 31 % 1_000, 25 * MINUTE - turn * 17 % 1_000],
    },
    // Each is due before all others, and is dropped.
    Pattern {
        name: "earliest",
        waits: |nth| 20 * MINUTE + nth * 7_919 % (10 * MINUTE),
        limits: |turn| [19 * MINUTE - turn % 97, 19 * MINUTE - turn % 89],
    },
];

/// An executor, by its name, and what it does: so many turns, beside so many timers.
pub type Runner = (&'static str, fn(&'static Pattern, u64, u64));

/// Instructions of one turn in each pattern, by the number of those that wait.
pub struct Curve {
    pub pattern: &'static str,
    pub executor: &'static str,
    pub costs: Vec<f64>,
}

impl Pattern {
    /// When the timer of this number is due.
    pub fn wait(&self, nth: u64) -> Duration {
        Duration::from_millis((self.waits)(nth))
    }

    /// The limit that the client sets in this turn.
    pub fn limit(&self, client: usize, turn: u64) -> Duration {
        Duration::from_millis((self.limits)(turn)[client])
    }
}

impl Curve {
    /// How many times as dear a turn beside many is as one beside the fewest.
    pub fn ratio(&self) -> f64 {
        self.costs.iter().copied().fold(0.0, f64::max) / self.costs[0]
    }
}

/// What this program is told when it is to run itself.
const RUN: &str = "--run";

/// Does what the arguments say if [`curves`] has started this program: the executor's
/// name, the pattern's, how many wait, how many turns.
pub fn runs_itself(arguments: &[String], runners: &[Runner]) -> bool {
    let [run, executor, pattern, many, turns] = arguments else { return false };
    assert_eq!(run, RUN);
    let number = |text: &str| text.parse().expect("a number");
    let run = runners.iter().find(|(name, _)| name == executor).expect("an executor").1;
    let pattern = PATTERNS.iter().find(|known| known.name == pattern).expect("a pattern");
    run(pattern, number(many), number(turns));
    true
}

/// Counts, and prints a line for each pattern and executor.
///
/// # Errors
///
/// If there is no valgrind, or this program fails under it.
pub fn curves(sizes: &[u64], runners: &[Runner]) -> Result<Vec<Curve>, String> {
    let heads: String = sizes.iter().map(|many| format!("{many:>10}")).collect();
    println!("{:<26}{heads}     ratio", "instructions a turn");
    let mut curves = Vec::new();
    for pattern in &PATTERNS {
        for &(executor, _) in runners {
            let costs = sizes.iter().map(|&many| cost(executor, pattern, many));
            let costs = costs.collect::<Result<Vec<_>, _>>()?;
            let cells: String = costs.iter().map(|cost| format!("{cost:>10.0}")).collect();
            let curve = Curve { pattern: pattern.name, executor, costs };
            println!("{:<15}{executor:<11}{cells}{:>10.2}", pattern.name, curve.ratio());
            curves.push(curve);
        }
    }
    Ok(curves)
}

/// Instructions of one turn.
fn cost(executor: &str, pattern: &Pattern, many: u64) -> Result<f64, String> {
    let count = |turns: u64| {
        let arguments = [RUN, executor, pattern.name, &many.to_string(), &turns.to_string()];
        instructions(&arguments, PATIENCE)?
            .ok_or_else(|| format!("{executor}, {} takes too long", pattern.name))
    };
    Ok((count(WARM_UP + TURNS)? as f64 - count(WARM_UP)? as f64) / TURNS as f64)
}

/// In each turn two clients are polled, each drops its limit and sets the next, and
/// the next deadline is asked.
pub fn hearken(pattern: &'static Pattern, many: u64, turns: u64) {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let sleepers = async move {
        let mut sleeps: Vec<_> = (0..many).map(|nth| sleep(pattern.wait(nth))).collect();
        // Polled once each, as by a task each, which would take longer to make.
        poll_fn(|cx| {
            sleeps.iter_mut().for_each(|sleep| assert!(Pin::new(sleep).poll(cx).is_pending()));
            Poll::Ready(())
        })
        .await;
        pending::<()>().await;
    };
    executor.spawn_infallible(sleepers).detach();
    for client in 0..2 {
        let serves = async move {
            for turn in 0.. {
                let _in_time = timeout(pattern.limit(client, turn), yield_now()).await;
            }
        };
        executor.spawn_infallible(serves).detach();
    }
    executor.turn(Budget::Batch);
    for _ in 0..turns {
        executor.turn(Budget::Batch);
        black_box(executor.next_deadline());
        clock.advance(STEP);
    }
}
