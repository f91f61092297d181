//! 100,000,000 tasks one after another.
//!
//! Each is spawned, awaited and gone before the next. What an executor forgets
//! to give back, a few bytes each, is then too large to overlook: the memory of
//! the process as the system counts it is noted after the first millions and at
//! the end.

use std::fmt::Write;

use hearken_peers::adapters::{async_executor, hearken, tokio};
use hearken_peers::runtime::Runtime;

use crate::experiments::{one_after_another, processor_nanos};
use crate::report::head;

pub struct Run {
    executor: &'static str,
    tasks: usize,
    /// Processor time of each.
    nanos: f64,
    /// In KiB, after the first hundredth, and at the end. Zero where the system
    /// does not say.
    resident: (u64, u64),
}

pub fn runs(quick: bool) -> Vec<Run> {
    let tasks = if quick { 100_000 } else { 100_000_000 };
    vec![
        run::<hearken::Hearken>("hearken", tasks),
        run::<tokio::Runtime>("tokio-rt", tasks),
        run::<async_executor::Local>("async-exec", tasks),
    ]
}

fn run<R: Runtime>(executor: &'static str, tasks: usize) -> Run {
    eprintln!("{executor}: {tasks} tasks one after another");
    let looks = one_after_another::<R, _>(tasks, tasks / 100, look);
    let ((began, first), (ended, last)) = (looks[0], looks[looks.len() - 1]);
    let nanos = (ended - began) / (tasks - tasks / 100) as f64;
    Run { executor, tasks, nanos, resident: (first, last) }
}

/// The time, and the memory.
fn look() -> (f64, u64) {
    (processor_nanos(), resident_kib().unwrap_or_default())
}

/// As Linux tells it.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

pub fn table(runs: &[Run]) -> String {
    let mut text =
        String::from("                 tasks   ns each  KiB after 1 %  at the end  growth\n");
    for run in runs {
        let (first, last) = run.resident;
        let growth = last as i64 - first as i64;
        writeln!(
            text,
            "{:<12}{:>10}{:>10.1}{first:>15}{last:>12}{growth:>8}",
            run.executor, run.tasks, run.nanos
        )
        .expect("a string takes everything");
    }
    text
}

pub fn to_json(runs: &[Run], date: Option<&str>) -> String {
    let runs = runs.iter().map(|run| {
        format!(
            "    {{\"executor\": \"{}\", \"tasks\": {}, \"ns\": {:.2}, \"kib_first\": {}, \
             \"kib_last\": {}}}",
            run.executor, run.tasks, run.nanos, run.resident.0, run.resident.1
        )
    });
    let runs: Vec<_> = runs.collect();
    format!("{{\n{}  \"long\": [\n{}\n  ]\n}}\n", head(date), runs.join(",\n"))
}
