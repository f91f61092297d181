//! How many instructions each of hearken's operations takes.
//!
//! A count does not depend on the machine's mood, as a time does, so it can be
//! compared with yesterday's: the counts are recorded in `recorded.txt`, and a
//! workload that takes over 5 % more than recorded is a failure. It is not a
//! measure of speed. An instruction that waits for memory counts like one that
//! does not; `benches/peers` has the times. And it is one size of each: the other program, `listeners`,
//! compares sizes.
//!
//! ```text
//! cargo run --release -p hearken-instructions              compares with the record
//! cargo run --release -p hearken-instructions -- --record  writes it anew
//! cargo run --release -p hearken-instructions -- --list    says what there is
//! ```
//!
//! `--only NAME` (which may be given again) leaves the others out, also of what
//! is recorded.
//!
//! Each workload is run by this program under `valgrind --tool=callgrind`, twice,
//! with different numbers of operations. The difference of the two counts,
//! divided by that of the operations, is what one operation takes; whatever the
//! runs have in common goes away.
//!
//! # Invariants
//!
//! - **Same.** Two runs of one binary count the same, up to a few instructions.
//!   So no workload looks at a real clock, at an address or at the environment.
//!   The C library's `malloc` and `memcpy` are counted too, so another one may
//!   make a difference of a few percent.
//! - **Compiler's own.** A count belongs to the compiler that built the code, so
//!   the record names it. Under another one the comparison is made all the same,
//!   and says so: most changes of the code are larger than those of a compiler.
//!
//! The modules stand in reading order.

mod workloads; // what is counted
mod count; //     one of them under callgrind
mod record; //    the file, and how a count differs from it
mod options; //   the command line

use std::path::Path;
use std::process::ExitCode;

use options::{Command, Options};
use record::{Change, Record};
use workloads::{WORKLOADS, Workload};

/// The compiler that built this, and for what; `build.rs` asked it.
const BUILT_BY: &str = env!("HEARKEN_BUILT_BY");

fn main() -> ExitCode {
    let options = Options::from_command_line();
    match options.command {
        Command::List => list(),
        Command::Run { workload, passes } => (workload.run)(passes),
        Command::Compare | Command::Record => {
            return carry_out(&options).unwrap_or_else(|reason| {
                eprintln!("hearken-instructions: {reason}");
                ExitCode::from(2)
            });
        }
    }
    ExitCode::SUCCESS
}

fn list() {
    for workload in WORKLOADS {
        println!("{:<18} {:>6}  {}", workload.name, workload.operations, workload.about);
    }
}

/// Counts, and records or compares. Says why it cannot.
fn carry_out(options: &Options) -> Result<ExitCode, String> {
    if cfg!(debug_assertions) {
        return Err("only a release build is worth counting: cargo run --release".to_string());
    }
    let recording = matches!(options.command, Command::Record);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded.txt");
    let recorded = match Record::read(&file) {
        Ok(recorded) => recorded,
        Err(_) if recording => Record::default(),
        Err(reason) => return Err(reason),
    };
    if recording && !options.is_all() && recorded.built_by != BUILT_BY {
        return Err("the others were recorded with another compiler: record all".to_string());
    }
    println!("{:<18} {:>9} {:>9}", "instructions", "recorded", "now");
    let mut counted = Vec::new();
    for workload in options.workloads() {
        let now = count::per_operation(workload)?;
        let before = recorded.get(workload.name);
        println!("{}", line(workload, before, now));
        counted.push((workload, before, now));
    }
    if !recording {
        return Ok(judge(&recorded, &counted));
    }
    let mut record = recorded;
    record.built_by = BUILT_BY.to_string();
    record.keep_only(WORKLOADS.iter().map(|workload| workload.name));
    for (workload, _, now) in counted {
        record.set(workload.name, now);
    }
    record.write(&file)?;
    println!("recorded in {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// One line of the table.
fn line(workload: &Workload, before: Option<f64>, now: f64) -> String {
    let name = workload.name;
    match before {
        Some(before) => {
            let percent = Change::percent(before, now);
            format!("{name:<18} {before:>9.1} {now:>9.1} {percent:>+7.1} %")
        }
        None => format!("{name:<18} {:>9} {now:>9.1}", "-"),
    }
}

/// Says what has changed, and fails if something takes more than it did.
fn judge(recorded: &Record, counted: &[(&Workload, Option<f64>, f64)]) -> ExitCode {
    let mut more = false;
    let mut fewer = false;
    for &(Workload { name, .. }, before, now) in counted {
        match Change::of(before, now) {
            Change::Little => {}
            Change::More { before, percent } => {
                more = true;
                eprintln!(
                    "{name} takes {now:.1} instructions, {percent:.1} % more \
                     than the {before:.1} that are recorded"
                );
            }
            Change::Fewer { before, percent } => {
                fewer = true;
                println!(
                    "{name} takes {now:.1} instructions, {percent:.1} % fewer \
                     than the {before:.1} that are recorded"
                );
            }
            Change::Unrecorded => {
                more = true;
                eprintln!("{name} takes {now:.1} instructions, and none are recorded");
            }
        }
    }
    if fewer {
        println!("fewer than recorded: record it anew with --record");
    }
    if recorded.built_by != BUILT_BY {
        println!("recorded with {}\nbuilt now by  {BUILT_BY}", recorded.built_by);
        println!("so a difference may be the compiler's");
    }
    if more { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
