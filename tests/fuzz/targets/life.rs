//! Random programs of all but cancellation against their model, on inputs that libFuzzer
//! makes: what the generator of `tests/life_model/` draws is what the input says. So
//! coverage guides it to programs that chance would not come upon.

#![no_main]
#![allow(dead_code, unused_imports)] // what looks for seeds is not used here

#[path = "../../life_model/compare.rs"]
mod compare;
#[path = "../../life_model/generate.rs"]
mod generate;
#[path = "../../life_model/log.rs"]
mod log;
#[path = "../../life_model/model/mod.rs"]
mod model;
#[path = "../../life_model/program.rs"]
mod program;
#[path = "../../life_model/real/mod.rs"]
mod real;
#[path = "../../life_model/shrink.rs"]
mod shrink;
#[path = "../../life_model/text.rs"]
mod text;
#[path = "bytes.rs"]
mod random;
#[path = "../../common/seeds.rs"]
mod seeds;

use compare::{difference, quietly};
use generate::{Style, generate};
use libfuzzer_sys::fuzz_target;
use shrink::shrink;

fuzz_target!(|input: &[u8]| {
    quietly();
    let Some((&kind, input)) = input.split_first() else { return };
    let styles = [Style::Outcomes, Style::Timers, Style::Shutdown, Style::Interrupts];
    random::draw_from(input);
    let program = generate(u64::from(kind >> 2), styles[usize::from(kind & 3)]);
    if difference(&program).is_some() {
        let (shrunk, _) = shrink(program, |smaller| difference(smaller).is_some());
        panic!("{shrunk}\n{}", difference(&shrunk).unwrap_or_default());
    }
});
