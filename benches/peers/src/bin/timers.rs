//! What a turn costs beside timers that merely wait: hearken beside tokio, in instructions.
//!
//! `cargo run --release -p hearken-peers --bin timers` counts the instructions of a
//! turn in which two clients set a limit each and drop it, beside a thousand and up to a
//! million timers, by valgrind; `--quick` beside a thousand and ten thousand only. The
//! patterns, and hearken's turns, are in `benches/instructions/src/waiting.rs`. With
//! `--json FILE --date DAY` it writes what `benches/plots.py` draws.
//!
//! A turn of tokio's is what it does from one visit to its timer to the next: both clients
//! yield, and who has yielded is polled again after that visit, in which it asks what is
//! due, and what will be next. Its clock cannot be held without a feature that makes all
//! its timers slower, so its limits are moments, counted from the beginning as hearken's
//! are on a clock that is moved by hand. Nothing is due before the run is over.

use std::future::{Future as _, pending, poll_fn};
use std::process::ExitCode;
use std::task::Poll;

use hearken_instructions::waiting::{self, Curve, Pattern, Runner, SIZES, STEP};
use hearken_peers::adapters::version;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};

const RUNNERS: [Runner; 2] = [("hearken", waiting::hearken), ("tokio-rt", tokio)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if waiting::runs_itself(&arguments, &RUNNERS) {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (sizes, file) = match arguments[..] {
        [] => (&SIZES[..], None),
        ["--quick"] => (&SIZES[..2], None),
        ["--json", file, "--date", date] => (&SIZES[..], Some((file, date))),
        _ => {
            eprintln!("usage: timers [--quick | --json FILE --date DATE]");
            return ExitCode::from(2);
        }
    };
    let written = waiting::curves(sizes, &RUNNERS).and_then(|curves| match file {
        Some((file, date)) => std::fs::write(file, json(date, sizes, &curves))
            .map_err(|error| format!("writing {file}: {error}")),
        None => Ok(()),
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("timers: {reason}");
            ExitCode::from(2)
        }
    }
}

fn tokio(pattern: &'static Pattern, many: u64, turns: u64) {
    let built = Builder::new_current_thread().enable_time().build_local(LocalOptions::default());
    let runtime = built.expect("a runtime with nothing but a timer");
    let began = Instant::now();
    let serves = move |client: usize, turns: u64| async move {
        for turn in 0..turns {
            let now = began + STEP * turn as u32;
            let _in_time = timeout_at(now + pattern.limit(client, turn), yield_now()).await;
        }
    };
    runtime.block_on(async move {
        spawn_local(async move {
            let sleeps = (0..many).map(|nth| Box::pin(sleep_until(began + pattern.wait(nth))));
            let mut sleeps: Vec<_> = sleeps.collect();
            poll_fn(|cx| {
                sleeps.iter_mut().for_each(|sleep| assert!(sleep.as_mut().poll(cx).is_pending()));
                Poll::Ready(())
            })
            .await;
            pending::<()>().await;
        });
        // Polled for the first time when all the others wait.
        let clients = [0, 1].map(|client| spawn_local(serves(client, turns)));
        for client in clients {
            client.await.expect("no task fails");
        }
    });
}

fn json(date: &str, sizes: &[u64], curves: &[Curve]) -> String {
    let packages = [("hearken", "hearken"), ("tokio-rt", "tokio")].map(|(executor, package)| {
        format!("    \"{executor}\": {{\"packages\": {{\"{package}\": \"{}\"}}}}", version(package))
    });
    let curve = |curve: &Curve| {
        let point = |(many, cost)| format!("{{\"n\": {many}, \"instructions\": {cost:.0}}}");
        let points: Vec<String> = sizes.iter().zip(&curve.costs).map(point).collect();
        let (pattern, executor) = (curve.pattern, curve.executor);
        format!(
            "    {{\"pattern\": \"{pattern}\", \"executor\": \"{executor}\",\n     \
             \"points\": [{}]}}",
            points.join(", ")
        )
    };
    let turns: Vec<String> = curves.iter().map(curve).collect();
    format!(
        "{{\n  \"date\": \"{date}\",\n  \"executors\": {{\n{}\n  }},\n  \"turns\": [\n{}\n  ]\n}}\n",
        packages.join(",\n"),
        turns.join(",\n")
    )
}
