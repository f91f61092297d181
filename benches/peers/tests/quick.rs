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
    spawn_join spawn_await spawn_detach fan_out yield_many yield_one ping_pong chain channel
    foreign_wake storm cancel panic sleep_set_dropped sleep_beside_10k sleep_reset timeout_ready
    timeout_yield sleeps_100k sleeps_1m lateness startup task_bytes sleep_bytes
}

/// What an executor has nothing for.
const WITHOUT: &[(&str, &str)] = &[
    ("monoio", "cancel"),
    ("monoio", "panic"),
    ("compio", "sleep_reset"),
    ("floor", "sleep_reset"),
];

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
    let file =
        std::env::temp_dir().join(format!("hearken-peers-{}-{workload}", std::process::id()));
    let path = file.to_str().expect("a plain path");
    let ran = hearken_peers(&["--quick", "--only", workload, "--json", path, "--date", "today"]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{workload} failed: {said}");

    let table = stdout(&ran);
    let cells = |name: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {table}"));
        line.trim_start_matches("per operation").split_whitespace().map(String::from).collect()
    };
    // The heading has no name for the first column; "to fastest" and "to floor"
    // come after the executors.
    let (names, row) = (cells("per operation"), cells(workload));
    for (name, figure) in names[1..].iter().zip(&row[2..]).take_while(|(name, _)| *name != "to") {
        match WITHOUT.contains(&(name, workload)) {
            true => assert_eq!(figure, "-", "{name} can now do {workload}"),
            false => assert!(figure.parse::<f64>().is_ok(), "{name}: {figure} in {table}"),
        }
    }

    let json = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it was written");
    assert!(json.contains("\"date\": \"today\""), "{json}");
    assert!(json.contains(&format!("\"workload\": \"{workload}\"")), "{json}");
}

fn hearken_peers(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hearken-peers"));
    program.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
