//! What a turn costs beside timers that merely wait, and `next_deadline` in it.
//!
//! `cargo run --release -p hearken-instructions --bin waiting` counts the
//! instructions of a turn in which two clients set a limit each and drop it, beside a
//! thousand, ten thousand, a hundred thousand and a million timers, and fails when a
//! turn beside many costs half as much again as one beside a thousand.
//!
//! `cargo run --release -p hearken-peers --bin timers` does the same beside tokio.

use std::process::ExitCode;

use hearken_instructions::waiting::{self, Runner, SIZES};

/// A turn beside many that costs so much more is a fault.
const MOST: f64 = 1.5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runners: [Runner; 1] = [("hearken", waiting::hearken)];
    if waiting::runs_itself(&arguments, &runners) {
        return ExitCode::SUCCESS;
    }
    let most = if arguments == ["--quick"] { 2 } else { SIZES.len() };
    match waiting::curves(&SIZES[..most], &runners) {
        Ok(curves) if curves.iter().all(|curve| curve.ratio() < MOST) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("waiting: {reason}");
            ExitCode::from(2)
        }
    }
}
