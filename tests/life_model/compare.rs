//! Whether the library does what the model says; and if not, the smallest
//! program that shows it.

use crate::generate::{Style, generate};
use crate::log::Log;
use crate::program::Program;
use crate::shrink::shrink;
use crate::{model, real};
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a program.
enum Comparison {
    Same,
    /// It waits for ever, for another thread; the library is not asked.
    NoAnswer,
    /// The logs, side by side.
    Different(String),
}

/// Compares so many random programs, or as many as were asked for.
///
/// The last line says how many that were; `tests/random_programs.sh` reads it.
pub fn try_seeds(programs: u64, style: Style) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("HEARKEN_FIRST_SEED").unwrap_or(0);
    let count = number("HEARKEN_SEEDS").unwrap_or(programs);
    let most_faults = number("HEARKEN_FAULTS").unwrap_or(1);
    let without = std::env::var("HEARKEN_WITHOUT").unwrap_or_default();
    let mut at = std::env::var_os("HEARKEN_AT").map(|path| {
        File::create(&path).unwrap_or_else(|error| panic!("creating {path:?}: {error}"))
    });
    quietly();
    let (mut tried, mut unanswered, mut faults) = (0, 0, 0);
    for seed in first..first + count {
        if let Some(at) = &mut at {
            // One call of the system: two would cost as much as a small program.
            at.write_all(format!("{seed}\n").as_bytes()).expect("writing the file of HEARKEN_AT");
        }
        let program = generate(seed, style);
        let has = |word: &str| format!("{program:?}").contains(word);
        if without.split_whitespace().any(has) {
            continue;
        }
        tried += 1;
        match compare(&program) {
            Comparison::Same => {}
            Comparison::NoAnswer => unanswered += 1,
            Comparison::Different(_) => {
                faults += 1;
                report(seed, style, program);
                if faults >= most_faults {
                    break;
                }
            }
        }
    }
    println!(
        "programs: {tried} tried, 0 in another order, \
         {unanswered} without one answer, {faults} faults"
    );
    assert!(faults == 0, "{faults} of {tried} programs do not do what the model says");
}

/// Prints the smallest program like this one that differs, and how to run this
/// one again.
fn report(seed: u64, style: Style, program: Program) {
    let (shrunk, is_smallest) = shrink(program, |smaller| difference(smaller).is_some());
    let logs = difference(&shrunk).unwrap_or_default();
    let thread = std::thread::current();
    let kind = thread.name().filter(|name| *name != "main");
    let only = kind.map(|kind| format!(" -- --exact {kind}")).unwrap_or_default();
    println!("seed {seed} ({style:?}); this one alone, from the folder of the package:");
    println!("    HEARKEN_FIRST_SEED={seed} HEARKEN_SEEDS=1 cargo test --test life_model{only}");
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
    let got = catch_unwind(AssertUnwindSafe(|| real::run(program)));
    let got = got.unwrap_or_else(|_| died("the executor panicked"));
    match wanted.allows(&got) {
        true => Comparison::Same,
        false => Comparison::Different(wanted.beside(&got)),
    }
}

/// How the logs differ, side by side.
pub fn difference(program: &Program) -> Option<String> {
    match compare(program) {
        Comparison::Different(logs) => Some(logs),
        Comparison::Same | Comparison::NoAnswer => None,
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
