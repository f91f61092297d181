//! Cancellation, compared with its specification.
//!
//! Where rules meet, cases written by hand are not enough. So here the rules
//! stand as a *model* (`model/`), a few hundred lines of plain data that say
//! what a program must say and when, and random programs run on both. What
//! differs is shrunk and printed.
//!
//! | file | has |
//! | --- | --- |
//! | `program.rs` | programs as plain data |
//! | `log.rs` | what a program said, and when |
//! | `model/` | the specification |
//! | `real/` | the same programs on the library |
//! | `generate.rs`, `compare.rs` | random programs, compared and shrunk |
//! | `cases.rs` | situations that have failed once; they also try the model |
//!
//! It is *not* about the order of what happens at one moment, which is sorted,
//! nor about cost.
//!
//! Each test below is a *kind*: a style of programs, and a way to run them. More
//! programs of each kind than by default, from another seed on; only such whose
//! text (`{:?}`) has some words, and has others not; not only the first fault; and
//! a file whose last line is the seed that is being tried, in case the process dies:
//!
//! ```text
//! HEARKEN_SEEDS=100000 HEARKEN_FIRST_SEED=5000 cargo test --test cancellation_model
//! HEARKEN_WITH="Group Shield" HEARKEN_WITHOUT="Bomb" HEARKEN_FAULTS=20 cargo test …
//! HEARKEN_AT=last-seed cargo test … -- --exact also_in_debug_mode
//! ```
//!
//! A fault says how to run its seed alone. A seed is a program as long as
//! `generate.rs` stays as it is.
//!
//! `.ci/run` tries 50,000 of each kind, in release mode with assertions; and
//! `tests/random_programs.sh` tries many millions, and some under sanitizers.

mod cases;
mod compare;
mod generate;
mod log;
mod model;
mod program;
mod real;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/seeds.rs"]
mod seeds;

use compare::try_seeds;
use generate::Style;
use real::Mode;

#[test]
fn random_programs_do_what_the_model_says() {
    try_seeds(300, Style::Distinct, |_| Mode::Plain);
}

#[test]
fn also_when_much_happens_at_the_same_moment() {
    try_seeds(300, Style::Ties, |_| Mode::Plain);
}

#[test]
fn also_with_little_work_a_turn() {
    try_seeds(300, Style::Ties, |seed| Mode::Polls(1 + seed as usize % 3));
}

#[test]
fn also_in_a_shuffled_order() {
    try_seeds(300, Style::Distinct, Mode::Shuffled);
}

#[test]
fn also_when_woken_for_nothing() {
    try_seeds(300, Style::Distinct, |_| Mode::Woken);
}

#[test]
fn also_when_woken_by_another_thread() {
    try_seeds(300, Style::Distinct, |_| Mode::WokenElsewhere);
}

#[test]
fn also_in_debug_mode() {
    try_seeds(300, Style::Ties, |_| Mode::Debug);
}
