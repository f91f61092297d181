//! The tour prints what its golden files say, and ends by itself.
//!
//! It runs the example as a program, because that is what a stranger does, and
//! because standard error and exit codes are part of it.

mod example;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn tour(arguments: &[&str]) -> Output {
    Command::new(example::binary("tour"))
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the example starts")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the tour prints UTF-8")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/tour")
}

fn expected(name: &str) -> String {
    let file = folder().join("expected").join(name).with_extension("txt");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names that `list` lists, in its order.
fn names() -> Vec<String> {
    let listed = tour(&["list"]);
    assert!(listed.status.success());
    text(&listed.stdout)
        .lines()
        .map(|line| {
            let (name, look_for) = line.split_once(' ').expect("a name and its line");
            assert!(!look_for.trim().is_empty(), "{name} says what to look for");
            name.to_owned()
        })
        .collect()
}

// promise 3.2, 3.6, 3.12, 3.13, 4.7, 4.9, 5.1, 5.2, 5.3, 5.4, 6.3
#[test]
fn each_scenario_prints_exactly_its_golden_file() {
    for name in names() {
        let played = tour(&[&name]);
        let stderr = text(&played.stderr);
        assert_eq!(text(&played.stdout), expected(&name), "{name}\n{stderr}");
        assert!(played.status.success(), "{name}: {}\n{stderr}", played.status);
        match name.as_str() {
            "fire-and-forget" => {} // has a test of its own
            "interrupt" => assert_eq!(stderr, "hearken: interrupted\n"),
            _ => assert_eq!(stderr, "", "{name} has nothing to report"),
        }
    }
}

#[test]
fn every_scenario_has_a_golden_file_and_every_golden_file_a_scenario() {
    let scenarios: BTreeSet<_> = names().into_iter().collect();
    let files: BTreeSet<_> = fs::read_dir(folder().join("expected"))
        .expect("the golden files lie beside the tour")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|file| file.file_stem().expect("a name").display().to_string())
        .collect();
    assert_eq!(scenarios, files);
    assert_eq!(scenarios.len(), names().len(), "no name stands twice");
}

#[test]
fn the_whole_tour_is_its_scenarios_in_order_under_headings() {
    let whole = tour(&[]);
    assert!(whole.status.success());

    let mut rest = text(&whole.stdout);
    for name in names() {
        let heading = format!("== {name}: ");
        rest = rest.strip_prefix(&heading).unwrap_or_else(|| panic!("{heading} at {rest}"));
        let (_look_for, played) = rest.split_once("\n\n").expect("one line to look for");
        rest =
            played.strip_prefix(&expected(&name)).unwrap_or_else(|| panic!("{name} at {played}"));
        rest = rest.strip_prefix('\n').expect("an empty line between two scenarios");
    }
    assert_eq!(rest, "");
}

#[test]
fn the_whole_tour_takes_less_than_two_seconds() {
    // The quickest of a few, because the machine may be busy with something
    // else. A tour that really waits is too slow every time.
    let quickest = (0..5).map(|_| {
        let start = Instant::now();
        tour(&[]);
        start.elapsed()
    });
    let limit = Duration::from_secs(2);
    assert!(quickest.min().expect("it was run") < limit);
}

// promise 3.6, 3.10
#[test]
fn a_failure_that_nobody_can_ask_for_is_reported_on_standard_error() {
    let file = "docs/examples/tour/unheard.rs";
    let source = fs::read_to_string(folder().join("unheard.rs")).expect("the source is there");
    let spawned = source.lines().position(|line| line.contains(r#".named("forgotten")"#));
    let line = spawned.expect("the task is named where it is spawned") + 1;

    let played = tour(&["fire-and-forget"]);
    let report = text(&played.stderr);
    for part in [
        "never retrieved",          // what happened
        "forgotten",                // to which task
        &format!("{file}:{line}:"), // spawned where
        "Something bad happened",   // its error
    ] {
        assert!(report.contains(part), "{part:?} is missing in:\n{report}");
    }
    assert_eq!(report.matches("Something bad happened").count(), 1, "once:\n{report}");
}

#[test]
fn an_unknown_name_is_refused_in_one_line() {
    for arguments in [&["no-such-scenario"][..], &["catch", "retry"], &[""], &["--help"]] {
        let refused = tour(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&refused.stdout), "");
        assert_eq!(text(&refused.stderr).lines().count(), 1, "{arguments:?}");
    }
}

// promise 6.1, 6.3, 6.4
#[test]
fn the_interrupted_scenario_ends_the_same_way_every_time() {
    // A second thread has its hand in it; the other scenarios have none.
    for _ in 0..50 {
        assert_eq!(text(&tour(&["interrupt"]).stdout), expected("interrupt"));
    }
}
