//! The turns that `timers` counts are taken, in each pattern, by both executors.
//!
//! Nothing is counted here: what callgrind says of a debug build says nothing.

use std::process::{Command, Output};

use hearken_instructions::waiting::PATTERNS;

fn timers(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_timers"));
    program.args(arguments).output().expect("the program starts")
}

#[test]
fn every_pattern_runs_on_both() {
    for executor in ["hearken", "tokio-rt"] {
        for pattern in &PATTERNS {
            let ran = timers(&["--run", executor, pattern.name, "100", "10"]);
            assert!(ran.status.success(), "{executor}, {}", pattern.name);
        }
    }
}

#[test]
fn an_unknown_option_is_refused() {
    let refused = timers(&["--slowly"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(refused.stdout, b"");
}
