//! Whether the library does what the model says; and if not, the smallest
//! program that shows it.

use crate::generate::{Style, generate};
use crate::log::Log;
use crate::model::{self, Order};
use crate::program::{Act, Loser, Moment, Program, Step};
use crate::real::{self, Mode};
use crate::seeds::{Seeds, print_seed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// No program takes longer.
const END: Moment = 100_000_000 << 16;

/// How long a program is made smaller, at most.
const SHRINKING: Duration = Duration::from_secs(10);

/// Compares so many random programs, or as many as were asked for.
pub fn try_seeds(programs: u64, style: Style, mode: impl Fn(u64) -> Mode) {
    quietly();
    let mut seeds = Seeds::new(programs);
    while let Some(seed) = seeds.next() {
        let program = generate(seed, style);
        if !seeds.wants(|| format!("{program:?}")) {
            continue;
        }
        let mode = mode(seed);
        match compare(&program, mode) {
            Comparison::Same => {}
            Comparison::InAnotherOrder => seeds.reordered += 1,
            Comparison::NoOneAnswer => seeds.unanswered += 1,
            Comparison::Different(_) => {
                seeds.faults += 1;
                report(seed, style, mode, program);
            }
        }
    }
    seeds.close();
}

/// Prints the smallest program like this one that differs, and how to run this
/// one again.
fn report(seed: u64, style: Style, mode: Mode, program: Program) {
    let (shrunk, is_smallest) = shrink(program, mode);
    let logs = difference(&shrunk, mode).unwrap_or_default();
    print_seed(seed, "cancellation_model", &format!("{style:?}, {mode:?}"));
    if !is_smallest {
        println!("not shrunk to the end, which takes more than {SHRINKING:?}");
    }
    println!("{shrunk}\n{logs}");
}

/// What came of a program.
enum Comparison {
    Same,
    /// Not what the model says first, but what it says in one of some other orders
    /// of what happens at the same moment.
    InAnotherOrder,
    /// What the model says depends on that order, and the mode is to shuffle it; or the
    /// promises leave it open.
    NoOneAnswer,
    /// The logs, side by side.
    Different(String),
}

fn compare(program: &Program, mode: Mode) -> Comparison {
    let answer = |order| model::answer(program, END, order).sorted();
    let wanted = catch_unwind(AssertUnwindSafe(|| answer(Order::Fifo)));
    if let (Mode::Shuffled(seed), Ok(wanted)) = (mode, &wanted)
        && (seed..seed + 20).any(|seed| answer(Order::Any(seed)) != *wanted)
    {
        return Comparison::NoOneAnswer;
    }
    let got = catch_unwind(AssertUnwindSafe(|| real::run(program, END, mode).sorted()));
    let model_panicked = wanted.is_err();
    let wanted = wanted.unwrap_or_else(|_| died("the model panicked"));
    let got = got.unwrap_or_else(|_| died("the executor panicked"));
    if wanted == got {
        return Comparison::Same;
    }
    // The library may need a turn more for something than the model: then others
    // come first.
    let in_order = |seed| catch_unwind(AssertUnwindSafe(|| answer(Order::Any(seed)))).ok();
    let in_another_order = || (0..300).any(|seed| in_order(seed).as_ref() == Some(&got));
    if !model_panicked && in_another_order() {
        return Comparison::InAnotherOrder;
    }
    if !model_panicked && model::leaves_open(program, END) {
        return Comparison::NoOneAnswer;
    }
    Comparison::Different(wanted.beside(&got))
}

/// How the logs differ, side by side.
pub fn difference(program: &Program, mode: Mode) -> Option<String> {
    match compare(program, mode) {
        Comparison::Different(logs) => Some(logs),
        _ => None,
    }
}

/// What the model says.
pub fn wanted(program: &Program) -> Log {
    model::answer(program, END, Order::Fifo)
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
            let message = info.payload().downcast_ref::<String>();
            if !message.is_some_and(|message| message.starts_with("panic ")) {
                hook(info);
            }
        }));
    });
}

// ---- Shrinking ----------------------------------------------------------------

/// Makes a program smaller for as long as it still differs; and whether that came
/// to an end before the time did.
fn shrink(mut program: Program, mode: Mode) -> (Program, bool) {
    let began = Instant::now();
    'smaller: loop {
        for candidate in smaller(&program) {
            if began.elapsed() > SHRINKING {
                return (program, false);
            }
            let candidate = candidate.numbered();
            if difference(&candidate, mode).is_some() {
                program = candidate;
                continue 'smaller;
            }
        }
        return (program, true);
    }
}

fn smaller(program: &Program) -> Vec<Program> {
    let mut smaller = vec![];
    for at in 0..program.tasks.len() {
        if program.tasks.len() > 1 {
            let mut less = program.clone();
            less.tasks.remove(at);
            smaller.push(less);
        }
    }
    for at in 0..program.requests.len() {
        let mut less = program.clone();
        less.requests.remove(at);
        smaller.push(less);
    }
    for at in 0..program.tasks.len() {
        for step in smaller_steps(&program.tasks[at]) {
            let mut less = program.clone();
            less.tasks[at] = step;
            smaller.push(less);
        }
    }
    smaller
}

/// A step with less in it: one of its parts instead of it, a simpler step, or
/// one of its parts made smaller.
fn smaller_steps(step: &Step) -> Vec<Step> {
    let with = |act: Act| Step { label: step.label, act };
    let mut smaller = vec![];
    if !matches!(step.act, Act::Log) {
        smaller.push(with(Act::Log));
        if !matches!(step.act, Act::Pending | Act::Sleep(_)) {
            smaller.push(with(Act::Pending));
        }
    }
    // A part may be the body of another task: it keeps our label when we are one.
    for part in step.parts() {
        smaller.push(with(part.act.clone()));
        smaller.push(part);
    }
    match &step.act {
        Act::Seq(parts) | Act::Join(parts) | Act::Set(parts) | Act::Concurrent(parts) => {
            for at in 0..parts.len() {
                let mut less = parts.clone();
                less.remove(at);
                smaller.push(with(match &step.act {
                    Act::Seq(_) => Act::Seq(less),
                    Act::Join(_) => Act::Join(less),
                    Act::Set(_) => Act::Set(less),
                    _ => Act::Concurrent(less),
                }));
            }
            if matches!(step.act, Act::Set(_) | Act::Concurrent(_)) {
                smaller.push(with(Act::Join(parts.clone())));
            }
        }
        Act::Gather(kind, parts) => {
            for at in 0..parts.len() {
                let mut less = parts.clone();
                less.remove(at);
                smaller.push(with(Act::Gather(*kind, less)));
            }
        }
        Act::Group { tasks, body } => {
            for at in 0..tasks.len() {
                let mut less = tasks.clone();
                less.remove(at);
                smaller.push(with(Act::Group { tasks: less, body: body.clone() }));
            }
        }
        Act::Stream { parts, each } => {
            for at in 0..parts.len() {
                let mut less = parts.clone();
                less.remove(at);
                smaller.push(with(Act::Stream { parts: less, each: each.clone() }));
            }
        }
        Act::Repeat(times, part) if *times > 1 => {
            smaller.push(with(Act::Repeat(times - 1, part.clone())));
        }
        Act::Select { first, second, loser } if *loser != Loser::Drop => {
            let (first, second) = (first.clone(), second.clone());
            smaller.push(with(Act::Select { first, second, loser: Loser::Drop }));
        }
        Act::Finally { inside, .. } => {
            smaller.push(with(Act::Scope {
                inside: inside.clone(),
                cleanup: Box::new(Step::new(Act::Log)),
                after: crate::program::After::Return,
            }));
        }
        _ => {}
    }
    let count = step.parts().len();
    for at in 0..count {
        for part in smaller_steps(&step.parts()[at]) {
            let mut less = step.clone();
            *less.parts_mut()[at] = part;
            smaller.push(less);
        }
    }
    smaller
}
