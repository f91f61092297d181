//! Every experiment of `scale` runs on every executor, and does its work.
//!
//! The experiments check themselves; here only enough is run for that, and
//! nothing is said about speed.

use std::process::{Command, Output};

fn scale(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_scale"));
    program.args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_experiment_has_a_line_for_each_executor() {
    let table = stdout(&scale(&["--quick"]));
    let experiments = ["tasks", "sleeps", "chain", "gather", "group", "serial"];
    let parts: Vec<&str> = table.trim().split("\n\n").collect();
    assert_eq!(parts.len(), experiments.len(), "{table}");
    for (part, name) in parts.iter().zip(experiments) {
        assert!(part.starts_with(&format!("{name}: ")), "{part}");
        let lines = part.lines().skip(2).map(|line| line.split_whitespace().next());
        assert!(lines.eq(["hearken", "tokio-rt", "async-exec"].map(Some)), "{part}");
    }
}

#[test]
fn what_is_written_has_all_points() {
    let file = std::env::temp_dir().join(format!("hearken-scale-{}.json", std::process::id()));
    let path = file.to_str().expect("the path is text");
    stdout(&scale(&["--quick", "--only", "chain", "--json", path, "--date", "today"]));
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::remove_file(&file).expect("it is there");
    assert!(text.starts_with("{\n  \"date\": \"today\",\n"), "{text}");
    for count in ["\"n\": 10,", "\"n\": 100,", "\"n\": 1000,", "\"curve\": \"chain\""] {
        assert_eq!(text.matches(count).count(), 3, "{count} in {text}");
    }
}

#[test]
fn tasks_one_after_another_leave_nothing_behind() {
    let table = stdout(&scale(&["--long", "--quick"]));
    let hearken = table.lines().find(|line| line.starts_with("hearken"));
    let hearken = hearken.unwrap_or_else(|| panic!("no line in {table}"));
    let growth = hearken.split_whitespace().last().map(str::parse::<i64>);
    // KiB. Of 99,000 tasks, so that three bytes of each would show.
    assert!(matches!(growth, Some(Ok(growth)) if growth < 300), "{table}");
}

#[test]
fn an_unknown_name_is_refused() {
    let refused = scale(&["--only", "taks"]);
    assert_eq!(refused.status.code(), Some(2));
}
