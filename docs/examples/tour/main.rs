//! A tour of hearken for readers who know asyncio: one small scenario after
//! the other, each a few lines that an asyncio tutorial has too.
//!
//! ```text
//! cargo run --example tour              every scenario, with headings
//! cargo run --example tour -- NAME      one, and only what it prints itself
//! cargo run --example tour -- list      the names, and what to look for
//! ```
//!
//! It is read in the order below. `start.rs` is how a scenario runs its main;
//! the others hold the scenarios, by theme. What each prints to standard output
//! is kept in `expected/`, and `tests/tour.rs` compares.
//!
//! The scenarios sleep for seconds and are over at once: they run on a clock
//! that jumps to the next deadline when nothing is ready. Only `interrupt`,
//! which has a second thread, runs on the system's clock.

mod start;

mod asking;
mod catching;
mod cleaning_up;
mod many;
mod unheard;

mod interrupt;

use std::env;
use std::process::ExitCode;

use hearken::RunError;

struct Scenario {
    name: &'static str,
    look_for: &'static str,
    play: fn() -> Result<(), RunError>,
}

/// Every scenario, in the order of the tour.
const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "catch",
        look_for: "an error is a value of its own type: the caller picks the one it can handle",
        play: catching::catch,
    },
    Scenario {
        name: "done-task",
        look_for: "a task that succeeded has no error to show",
        play: asking::done_task,
    },
    Scenario {
        name: "failed-task",
        look_for: "a task keeps its error until somebody asks for it",
        play: asking::failed_task,
    },
    Scenario {
        name: "running-task",
        look_for: "whoever asks too early is told so, and may ask again",
        play: asking::running_task,
    },
    Scenario {
        name: "cancelled-task",
        look_for: "a cancelled task answers with the reason for it",
        play: asking::cancelled_task,
    },
    Scenario {
        name: "await-failed",
        look_for: "awaiting a task that fails gives its error to the one who awaits",
        play: asking::await_failed,
    },
    Scenario {
        name: "take-failed",
        look_for: "the outcome can also be taken later, without awaiting",
        play: asking::take_failed,
    },
    Scenario {
        name: "retry",
        look_for: "three attempts, each more patient; the last error comes out",
        play: catching::retry,
    },
    Scenario {
        name: "top-level",
        look_for: "an error that nobody catches below comes out of run",
        play: catching::top_level,
    },
    Scenario {
        name: "log-chain",
        look_for: "the whole chain of an error, outermost first, and the error goes on up",
        play: catching::log_chain,
    },
    Scenario {
        name: "finally-awaits",
        look_for: "a cancelled task cleans up with await, and has ended only then",
        play: cleaning_up::finally_awaits,
    },
    Scenario {
        name: "shield",
        look_for: "a request to cancel waits until the shielded part is through",
        play: cleaning_up::shield_writes,
    },
    Scenario {
        name: "timeout-cleanup",
        look_for: "a timeout lets its future clean up, and returns when it has",
        play: cleaning_up::timeout_cleanup,
    },
    Scenario {
        name: "cancel-siblings",
        look_for: "one task failed, so main cancels the rest, waits for them, and goes on",
        play: many::cancel_siblings,
    },
    Scenario {
        name: "fail-fast",
        look_for: "gather fails at once; the siblings are not cancelled",
        play: many::fail_fast,
    },
    Scenario {
        name: "try-gather",
        look_for: "try_gather cancels the siblings, and fails when they have cleaned up",
        play: many::try_gather_all,
    },
    Scenario {
        name: "settle",
        look_for: "all three take one second together, and every outcome is kept",
        play: many::settle_all,
    },
    Scenario {
        name: "first-completed",
        look_for: "the first answer counts; the others are cancelled and waited for",
        play: many::first_completed,
    },
    Scenario {
        name: "group",
        look_for: "a group ends as a whole, and its error has every failure in it",
        play: many::group_of_four,
    },
    Scenario {
        name: "fire-and-forget",
        look_for: "nobody can ask for this failure, so it is reported on standard error",
        play: unheard::fire_and_forget,
    },
    Scenario {
        name: "custom-handler",
        look_for: "a handler of one's own hears the reports, and may end the program",
        play: unheard::custom_handler,
    },
    Scenario {
        name: "done-callback",
        look_for: "the callback asks for the error, so there is nothing left to report",
        play: unheard::done_callback,
    },
    Scenario {
        name: "interrupt",
        look_for: "main is cancelled first, then the others, youngest first; all clean up",
        play: interrupt::interrupt,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [] => play_all(),
        [word] if word == "list" => list(),
        [name] => match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => play(scenario),
            None => refuse(&format!("there is no scenario {name:?}; try `list`")),
        },
        _ => refuse("one name, or `list`, or nothing at all"),
    }
}

fn play_all() -> ExitCode {
    for scenario in SCENARIOS {
        println!("== {}: {}\n", scenario.name, scenario.look_for);
        let code = play(scenario);
        if code != ExitCode::SUCCESS {
            return code;
        }
        println!();
    }
    ExitCode::SUCCESS
}

fn play(scenario: &Scenario) -> ExitCode {
    match (scenario.play)() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", scenario.name);
            ExitCode::from(error.exit_code())
        }
    }
}

fn list() -> ExitCode {
    for scenario in SCENARIOS {
        println!("{:<16} {}", scenario.name, scenario.look_for);
    }
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("tour: {why}");
    ExitCode::from(2)
}
