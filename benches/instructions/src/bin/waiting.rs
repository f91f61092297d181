//! What a turn costs beside timers that merely wait, and `next_deadline` in it.
//!
//! `cargo run --release -p hearken-instructions --bin waiting` counts the
//! instructions of a turn in which two clients set a limit each and drop it, beside a
//! thousand, ten thousand, a hundred thousand and a million timers, and fails when a
//! turn beside many costs half as much again as one beside a thousand.
//!
//! Each is this program under callgrind, twice, with different numbers of turns: what
//! the runs have in common, to set the timers above all, goes away. The turns before
//! those are not counted: in them slots are opened.

use std::future::{Future as _, pending, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use hearken::{Executor, ManualClock, sleep, timeout, yield_now};
use hearken_instructions::instructions;

const PATIENCE: Duration = Duration::from_secs(600);
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WARM_UP: u64 = 2_000;
const TURNS: u64 = 1_000;
/// A turn beside many that costs so much more is a fault.
const MOST: f64 = 1.5;

/// When those that wait are due, by their number, in milliseconds; and the limits of
/// the two clients, by the turn.
struct Pattern {
    name: &'static str,
    waits: fn(u64) -> u64,
    limits: fn(u64) -> [u64; 2],
}

const MINUTE: u64 = 60_000;

const PATTERNS: [Pattern; 5] = [
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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, many, turns] = &arguments[..] {
        let number = |text: &str| text.parse().expect("a number");
        let pattern = PATTERNS.iter().find(|pattern| pattern.name == name);
        run(pattern.expect("a pattern"), number(many), number(turns));
        return ExitCode::SUCCESS;
    }
    let most = if arguments == ["--quick"] { 2 } else { SIZES.len() };
    match compare(&SIZES[..most]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("waiting: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether each pattern costs the same beside many.
fn compare(sizes: &[u64]) -> Result<bool, String> {
    let heads = sizes.iter().map(|many| format!("{many:>10}"));
    println!("instructions a turn {}     ratio", heads.collect::<String>());
    let mut is_level = true;
    for pattern in &PATTERNS {
        let costs: Vec<f64> =
            sizes.iter().map(|&many| cost(pattern, many)).collect::<Result<_, _>>()?;
        let dearest = costs.iter().copied().fold(0.0, f64::max) / costs[0];
        let cells: String = costs.iter().map(|cost| format!("{cost:>10.0}")).collect();
        println!("{:<20}{cells}{dearest:>10.2}", pattern.name);
        is_level &= dearest < MOST;
    }
    Ok(is_level)
}

/// Instructions of one turn.
fn cost(pattern: &Pattern, many: u64) -> Result<f64, String> {
    let count = |turns: u64| {
        let arguments = [pattern.name, &many.to_string(), &turns.to_string()];
        instructions(&arguments, PATIENCE)?
            .ok_or_else(|| format!("{} takes too long", pattern.name))
    };
    Ok((count(WARM_UP + TURNS)? as f64 - count(WARM_UP)? as f64) / TURNS as f64)
}

fn run(pattern: &Pattern, many: u64, turns: u64) {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let waits = pattern.waits;
    let sleepers = async move {
        let sleeps = (0..many).map(|nth| sleep(Duration::from_millis(waits(nth))));
        let mut sleeps: Vec<_> = sleeps.collect();
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
        let limits = pattern.limits;
        let serves = async move {
            for turn in 0.. {
                let limit = Duration::from_millis(limits(turn)[client]);
                let _in_time = timeout(limit, yield_now()).await;
            }
        };
        executor.spawn_infallible(serves).detach();
    }
    executor.turn(hearken::Budget::Batch);
    for _ in 0..turns {
        executor.turn(hearken::Budget::Batch);
        black_box(executor.next_deadline());
        clock.advance(Duration::from_micros(100));
    }
}
