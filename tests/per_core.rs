//! The example `per_core`, as a program: what was added is there, on however
//! many threads, and a core that fails is not overlooked.
//!
//! The example adds its books up itself, and fails if they do not agree. Nothing
//! is said here about speed.

mod example;

use std::process::{Command, Output, Stdio};

fn per_core(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the example starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(example::binary("per_core"));
    command.args(arguments).env("RUST_BACKTRACE", "0");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the example prints UTF-8")
}

/// The first column of the table: the runs that came to a good end.
fn threads(ended: &Output) -> Vec<&str> {
    let lines = text(&ended.stdout).lines().skip_while(|line| !line.starts_with("threads")).skip(1);
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_books_agree_on_any_number_of_threads() {
    let small = ["--requests", "20000", "--value", "100"];
    for load in [&[][..], &["--batch", "1"], &["--batch", "7", "--hot", "90"], &["--hot", "100"]] {
        let ended = per_core(&[&["1", "2", "3", "5"], &small[..], load].concat());
        assert!(ended.status.success(), "{load:?}: {}", text(&ended.stderr));
        assert_eq!(threads(&ended), ["1", "2", "3", "5"]);
        assert_eq!(text(&ended.stderr), "", "{load:?}");
    }
}

#[test]
fn fewer_requests_than_clients_and_fewer_clients_than_threads_are_served_too() {
    for load in [["0", "100"], ["1", "100"], ["70", "1"]] {
        let ended = per_core(&["1", "66", "--requests", load[0], "--batch", load[1]]);
        assert!(ended.status.success(), "{load:?}: {}", text(&ended.stderr));
        assert_eq!(threads(&ended), ["1", "66"]);
    }
}

#[test]
fn a_core_that_fails_ends_the_others_and_the_program() {
    for threads in 1..=4 {
        let broken = (threads - 1).to_string();
        let arguments =
            [&threads.to_string(), "--requests", "20000", "--value", "100", "--break", &broken];
        let ended = per_core(&arguments);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(self::threads(&ended).is_empty(), "it has no result");
        // By the report, with its task, and as what the thread returned.
        assert!(said.contains("error: 1 of a group failed: it was told to"), "{said}");
        let end = format!("per_core: core {broken} failed: ");
        let end = said.lines().find(|line| line.starts_with(&end)).expect("its end is told");
        assert!(end.ends_with("it was told to"), "{said}");
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    let wrong = [&["0"][..], &["two"], &["--batch", "0"], &["--hot", "101"], &["--requests"]];
    for arguments in wrong {
        let ended = per_core(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(text(&ended.stderr).starts_with("usage: per_core "));
    }
}

#[cfg(all(target_os = "linux", feature = "signal"))]
#[test]
fn ctrl_c_stops_the_clients_and_the_books_agree() {
    for threads in ["1", "2"] {
        let endless = u32::MAX.to_string();
        let mut program = command(&[threads, "--requests", &endless]).spawn().expect("it starts");
        let id = program.id().to_string();
        let listens = wait_until(|| catches_ctrl_c(&id));
        if listens {
            Command::new("kill").args(["-INT", &id]).status().expect("there is a kill");
        }
        let ended = wait_until(|| program.try_wait().expect("it is our child").is_some());
        let _gone_already = program.kill();
        let output = program.wait_with_output().expect("its end is heard");
        let said = text(&output.stderr);
        assert!(listens && ended, "{STILL_THERE} {said}");
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.starts_with("per_core: interrupted, after "), "{said}");
    }
}

/// hearken leaves Ctrl-C alone where it is ignored, and that is inherited.
#[cfg(all(target_os = "linux", feature = "signal"))]
const STILL_THERE: &str = "it did not listen, or did not end. If these tests were started by `&` \
    in a script, then that ignores Ctrl-C for them, and so for the example. It said:";

/// Whether the process has a handler for signal 2, as the system tells it.
#[cfg(all(target_os = "linux", feature = "signal"))]
fn catches_ctrl_c(id: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok());
    caught.is_some_and(|caught| caught & 0b10 != 0)
}

/// Asks until it is so, or until only a broken program would not be there yet.
#[cfg(all(target_os = "linux", feature = "signal"))]
fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let began = std::time::Instant::now();
    while !is_so() {
        if began.elapsed().as_secs() >= 20 {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    true
}
