//! Random programs of cancellation against the model, on inputs that libFuzzer makes: what
//! the generator of `tests/cancellation_model/` draws is what the input says.

#![no_main]
#![allow(dead_code, unused_imports)] // what looks for seeds is not used here

#[path = "../../cancellation_model/compare.rs"]
mod compare;
#[path = "../../cancellation_model/generate.rs"]
mod generate;
#[path = "../../cancellation_model/log.rs"]
mod log;
#[path = "../../cancellation_model/model/mod.rs"]
mod model;
#[path = "../../cancellation_model/program.rs"]
mod program;
#[path = "../../cancellation_model/real/mod.rs"]
mod real;
#[path = "bytes.rs"]
mod random;
#[path = "../../common/seeds.rs"]
mod seeds;

use compare::{difference, quietly};
use generate::{Style, generate};
use libfuzzer_sys::fuzz_target;
use real::Mode;

fuzz_target!(|input: &[u8]| {
    quietly();
    let Some((&kind, input)) = input.split_first() else { return };
    let style = if kind & 1 == 0 { Style::Distinct } else { Style::Ties };
    let mode = match kind & 2 {
        0 => Mode::Plain,
        _ => Mode::Polls(1),
    };
    random::draw_from(input);
    let program = generate(u64::from(kind >> 2), style);
    if let Some(logs) = difference(&program, mode) {
        panic!("{program}\n{logs}");
    }
});
