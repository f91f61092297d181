//! Outcomes, reports, timers, shutdown and interrupts, compared with their
//! specification.
//!
//! What becomes of a task (chapters 3, 6 and 7 of `docs/promises.md`) stands here
//! as a *model* (`model/`), some hundred lines of plain data that say what a
//! program must say, and random programs run on both. What differs is shrunk and
//! printed.
//!
//! | file | has |
//! | --- | --- |
//! | `program.rs`, `text.rs` | programs as plain data, and as text |
//! | `log.rs` | what a program said, line by line |
//! | `model/` | the specification |
//! | `real/` | the same programs on the library |
//! | `generate.rs`, `compare.rs`, `shrink.rs` | random programs, compared and shrunk |
//!
//! Nothing is sorted: what happens at one moment happens in one order, since the
//! queue is one, first in, first out, or in the order that a seed says. After each thing that the host does the
//! ledger, the clock and the next deadline must be the model's, and at the end
//! every future, value and error must have been dropped once.
//!
//! It is *not* about cancellation inside of a task, which has a model of its own
//! (`tests/cancellation_model/`): a task has one scope at most here. Of other threads
//! it has one that wakes, and is waited for.
//!
//! Each test below is a *kind*, a style of programs. More of each kind than by
//! default, from another seed on; only such whose text (`{:?}`) has not some words;
//! not only the first fault; a number made of all that was said, to be compared with
//! that of another run or another build; and a file whose last line is the seed that
//! is being tried, in case the process dies:
//!
//! ```text
//! HEARKEN_SEEDS=100000 HEARKEN_FIRST_SEED=5000 cargo test --test life_model
//! HEARKEN_WITHOUT="Throw Tick" HEARKEN_FAULTS=20 cargo test --test life_model
//! HEARKEN_HASH=1 cargo test --test life_model -- --nocapture
//! HEARKEN_AT=last-seed cargo test --test life_model -- --exact timers_fire_when_the_model_says
//! ```
//!
//! A fault says how to run its seed alone. A seed is a program as long as
//! `generate.rs` stays as it is.
//!
//! `.ci/run` tries 100,000 of each kind, in release mode with assertions; and
//! `HEARKEN_TEST=life_model bash tests/random_programs.sh` tries many millions, and
//! some under sanitizers.

mod compare;
mod generate;
mod log;
mod model;
mod program;
mod real;
mod shrink;
mod text;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/seeds.rs"]
mod seeds;

use compare::try_seeds;
use generate::Style;

#[test]
fn outcomes_go_where_the_model_says() {
    try_seeds(300, Style::Outcomes);
}

#[test]
fn timers_fire_when_the_model_says() {
    try_seeds(300, Style::Timers);
}

#[test]
fn a_shutdown_goes_as_the_model_says() {
    try_seeds(300, Style::Shutdown);
}

#[test]
fn interrupts_do_what_the_model_says() {
    try_seeds(300, Style::Interrupts);
}

#[test]
fn the_default_handler_hears_what_the_model_says() {
    real::in_a_process_of_its_own("the_default_handler_hears_what_the_model_says", || {
        try_seeds(300, Style::Handlers);
    });
}
