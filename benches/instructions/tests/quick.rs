//! Every workload does its work, at every size that is counted.
//!
//! The workloads check themselves. Nothing is counted here: what callgrind says
//! of a debug build says nothing.

use std::process::{Command, Output};

fn hearken_instructions(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hearken-instructions"));
    program.args(arguments).env("RUST_BACKTRACE", "0").output().expect("the program starts")
}

fn listeners(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_listeners"));
    program.args(arguments).env("RUST_BACKTRACE", "0").output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first two words of each line: of `--list` they are the name, and how many
/// operations a pass has; of the record the name and the count.
fn pairs(lines: &str) -> Vec<(&str, &str)> {
    fn pair(line: &str) -> (&str, &str) {
        let mut words = line.split_whitespace();
        (words.next().expect("a name"), words.next().expect("a number"))
    }
    lines.lines().filter(|line| !line.starts_with('#')).map(pair).collect()
}

#[test]
fn every_workload_does_its_work() {
    let listed = text(&hearken_instructions(&["--list"]).stdout);
    assert!(!listed.is_empty());
    for (workload, operations) in pairs(&listed) {
        let sizes: &[&str] = if operations == "100" { &["2", "12"] } else { &["0", "2"] };
        for passes in sizes {
            let ran = hearken_instructions(&["--run", workload, passes]);
            assert!(ran.status.success(), "{workload} {passes}: {}", text(&ran.stderr));
        }
    }
}

/// `tests/scale_cancellation.rs` of the executor does them all.
#[test]
fn an_experiment_is_done_as_often_as_it_is_told() {
    for times in ["0", "3"] {
        let ran = listeners(&["--run", "set-scope-cancel", "10", times]);
        assert!(ran.status.success(), "{times}: {}", text(&ran.stderr));
    }
}

#[test]
fn what_is_recorded_is_what_there_is_in_the_order_of_the_names() {
    let listed = text(&hearken_instructions(&["--list"]).stdout);
    let name = |(name, _)| name;
    let mut listed: Vec<_> = pairs(&listed).into_iter().map(name).collect();
    listed.sort();
    let recorded = pairs(include_str!("../recorded.txt"));
    assert_eq!(listed, recorded.into_iter().map(name).collect::<Vec<_>>());
}

#[test]
fn an_unknown_name_or_size_is_refused() {
    for arguments in [&["--only", "spwan_join"][..], &["--run", "startup", "13"], &["--run"]] {
        let refused = hearken_instructions(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&refused.stdout), "");
    }
    for arguments in [&["--only", "set-scope-cancle"][..], &["--run", "set-scope-cancel", "1"]] {
        let refused = listeners(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&refused.stdout), "");
    }
}
