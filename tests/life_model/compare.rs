//! Whether the library does what the model says; and if not, the smallest
//! program that shows it.

use crate::generate::{Style, generate};
use crate::log::Log;
use crate::program::Program;
use crate::seeds::{Seeds, print_seed};
use crate::shrink::shrink;
use crate::{model, real};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a program.
enum Comparison {
    /// What the library has said.
    Same(Log),
    /// It waits for ever, for another thread; the library is not asked.
    NoAnswer,
    /// The logs, side by side.
    Different(String),
}

/// Compares so many random programs, or as many as were asked for.
pub fn try_seeds(programs: u64, style: Style) {
    quietly();
    let mut seeds = Seeds::new(programs);
    while let Some(seed) = seeds.next() {
        let program = generate(seed, style);
        if !seeds.wants(|| format!("{program:?}")) {
            continue;
        }
        match compare(&program) {
            Comparison::Same(log) => seeds.note(|| format!("{log:?}")),
            Comparison::NoAnswer => seeds.unanswered += 1,
            Comparison::Different(_) => {
                seeds.faults += 1;
                report(seed, style, program);
            }
        }
    }
    seeds.close();
}

/// Prints the smallest program like this one that differs, and how to run this
/// one again.
fn report(seed: u64, style: Style, program: Program) {
    let (shrunk, is_smallest) = shrink(program, |smaller| difference(smaller).is_some());
    let logs = difference(&shrunk).unwrap_or_default();
    print_seed(seed, "life_model", &format!("{style:?}"));
    if !is_smallest {
        println!("not shrunk to the end, which takes too long");
    }
    println!("{shrunk}\n{logs}");
}

fn compare(program: &Program) -> Comparison {
    let wanted = match catch_unwind(|| model::answer(program)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Comparison::NoAnswer,
        Err(_) => died("the model panicked"),
    };
    let run = || catch_unwind(AssertUnwindSafe(|| real::run(program)));
    let run = || run().unwrap_or_else(|_| died("the executor panicked"));
    // A stale waker of an executor that was dropped may ring the one that has its number
    // now, and that may be one of another test, which runs beside this one. It does not
    // happen twice.
    let mut got = run();
    if !wanted.allows(&got) {
        got = run();
    }
    match wanted.allows(&got) {
        true => Comparison::Same(got),
        false => Comparison::Different(wanted.beside(&got)),
    }
}

/// How the logs differ, side by side.
pub fn difference(program: &Program) -> Option<String> {
    match compare(program) {
        Comparison::Different(logs) => Some(logs),
        Comparison::Same(_) | Comparison::NoAnswer => None,
    }
}

fn died(how: &str) -> Log {
    let mut log = Log::default();
    log.say(0, 0, how);
    log
}

/// Panics of a program are part of it: nothing is printed of them.
pub fn quietly() {
    use std::sync::Once;
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let of_a_deed = payload.downcast_ref::<String>();
            let of_a_deed = of_a_deed.is_some_and(|message| message.starts_with("panic "));
            let awaited = payload.downcast_ref::<&str>();
            let awaited = awaited == Some(&"task awaited after its outcome was taken");
            if !of_a_deed && !awaited && !payload.is::<crate::real::Thrown>() {
                hook(info);
            }
        }));
    });
}
