//! Cancellation, compared with its specification.
//!
//! Where rules meet, cases written by hand are not enough. So here the rules
//! stand as a *model* (`model/`), a few hundred lines of plain data that say
//! what a program must say and when, and random programs run on both. What
//! differs is shrunk and printed.
//!
//! More programs than by default, from another seed on:
//!
//! ```text
//! HEARKEN_SEEDS=100000 HEARKEN_FIRST_SEED=5000 cargo test --test cancellation_model
//! ```

mod cases;
mod compare;
mod generate;
mod log;
mod model;
mod program;
mod real;

use compare::try_seeds;
use generate::Style;
use real::Mode;

#[test]
fn random_programs_do_what_the_model_says() {
    try_seeds(1, Style::Distinct, |_| Mode::Plain);
}
