//! Every workload does its work, at every size that is counted.
//!
//! The workloads check themselves. Nothing is counted here: what callgrind says
//! of a debug build says nothing.

use std::process::{Command, Output};

fn hearken_instructions(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hearken-instructions"));
    program.args(arguments).env("RUST_BACKTRACE", "0").output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names in `--list`, and those in the record.
fn names() -> (Vec<String>, Vec<String>) {
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_string();
    let listed = text(&hearken_instructions(&["--list"]).stdout);
    let recorded = include_str!("../recorded.txt").lines().filter(|line| !line.starts_with('#'));
    (listed.lines().map(name).collect(), recorded.map(name).collect())
}

#[test]
fn every_workload_does_its_work() {
    let (listed, _) = names();
    assert!(!listed.is_empty());
    for workload in listed {
        for passes in ["0", "2", "12"] {
            let ran = hearken_instructions(&["--run", &workload, passes]);
            assert!(ran.status.success(), "{workload} {passes}: {}", text(&ran.stderr));
        }
    }
}

#[test]
fn what_is_recorded_is_what_there_is_in_the_order_of_the_names() {
    let (mut listed, recorded) = names();
    listed.sort();
    assert_eq!(listed, recorded);
}

#[test]
fn an_unknown_name_or_size_is_refused() {
    for arguments in [&["--only", "spwan_join"][..], &["--run", "startup", "13"], &["--run"]] {
        let refused = hearken_instructions(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&refused.stdout), "");
    }
}
