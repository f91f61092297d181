//! Every workload runs on every executor, and does its work.
//!
//! The workloads check themselves; here only enough is run for that. Nothing
//! is said about speed: a test that fails on a slow day teaches nobody.

use std::process::{Command, Output};

/// One test for each of the workloads, so that a failure has a name.
macro_rules! workloads {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name),)*];

        $(
            #[test]
            fn $name() {
                runs_on_everyone(stringify!($name));
            }
        )*
    };
}

workloads! {
    spawn_join spawn_detach yield_many yield_one ping_pong foreign_wake
    sleep_set_dropped sleep_reset sleeps_100k startup
}

#[test]
fn every_workload_is_tested() {
    let listed = stdout(&hearken_peers(&["--list"]));
    let listed: Vec<&str> = listed
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(listed, TESTED);
}

#[test]
fn an_unknown_name_is_refused() {
    let refused = hearken_peers(&["--only", "spwan_join"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(stdout(&refused), "");
}

fn runs_on_everyone(workload: &str) {
    let ran = hearken_peers(&["--quick", "--only", workload]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{workload} failed: {said}");

    let table = stdout(&ran);
    let row = table.lines().find(|line| line.starts_with(workload));
    let row = row.unwrap_or_else(|| panic!("no row in {table}"));
    let hearken = row.split_whitespace().nth(1).map(str::parse::<f64>);
    assert!(matches!(hearken, Some(Ok(_))), "hearken has no time in {row}");
}

fn hearken_peers(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hearken-peers"));
    program.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
