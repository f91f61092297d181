//! The example `supervise`, as a program: what it makes of children that fail,
//! and how it ends when it is interrupted once, twice and three times.
//!
//! Nothing here waits for a time to pass. A test waits for a line that says how
//! far it has come, or for the end, and gives up after [`LIMIT`]. What must not
//! be waited for is given [`FOR_EVER`].

#![cfg(all(unix, feature = "signal"))]

mod example;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How long anything may take. Only a broken supervisor needs it.
const LIMIT: Duration = Duration::from_secs(20);

/// As Unix counts signals.
const SIGINT: i32 = 2;

/// In seconds; much longer than [`LIMIT`].
const FOR_EVER: &str = "1000";

/// A child that stops when it is asked to, and says so.
const POLITE: &str = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";

/// A child that does not.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.01; done";

/// hearken leaves Ctrl-C alone where it is ignored, and that is inherited.
const STILL_THERE: &str = "it did not end. If these tests were started by `&` in a script, then \
    that ignores Ctrl-C for them, and so for the supervisor. Otherwise it hangs. It said:";

// ---- Children that end by themselves --------------------------------------------

#[test]
fn what_children_say_comes_with_their_names() {
    let ended = supervise(&["--", "echo", "one", "--", "sh", "-c", "echo two; echo three >&2"]);
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.of("echo"), ["* is process …", "| one", "* exit status: 0"]);
    assert_eq!(ended.of("sh"), ["* is process …", "| two", "| three", "* exit status: 0"]);
    assert!(ended.ledger().starts_with("3 spawned = 0 live + 3 succeeded"), "{}", ended.ledger());
}

#[test]
fn a_line_without_an_end_is_cut() {
    let ended =
        supervise(&["--", "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo y"]);
    let lengths: Vec<_> = ended.of("sh")[1..].iter().map(|line| line.len() - 2).collect();
    assert_eq!(lengths, [16 * 1024, 16 * 1024, 40_000 - 32 * 1024, 1, 14]);
}

#[test]
fn who_fails_is_started_again_up_to_the_limit() {
    let failures = Failures::new("restart");
    let options = ["--limit", "2", "--back-off", "0.01", "--failures", failures.path()];
    let ended = supervise(&[&options[..], &["--", "false", "--", "true"]].concat());
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        ended.of("false"),
        [
            "* is process …",
            "* exit status: 1",
            "* restart 1 of 2 in 10ms",
            "* is process …",
            "* exit status: 1",
            "* restart 2 of 2 in 20ms", // twice the pause before
            "* is process …",
            "* exit status: 1",
            "* is not restarted any more",
        ]
    );
    assert_eq!(ended.of("true"), ["* is process …", "* exit status: 0"]);
    assert_eq!(failures.lines(), ["false: exit status: 1"; 3]);
}

#[test]
fn the_policy_says_who_is_started_again() {
    let runs = |policy: &str, command: &str| {
        let ended =
            supervise(&["--restart", policy, "--limit", "1", "--back-off", "0", "--", command]);
        ended.of(command).iter().filter(|line| line.starts_with("* is process")).count()
    };
    for (policy, of_true, of_false) in [("never", 1, 1), ("on-failure", 1, 2), ("always", 2, 2)] {
        assert_eq!((runs(policy, "true"), runs(policy, "false")), (of_true, of_false), "{policy}");
    }
}

#[test]
fn a_command_that_is_not_there_is_a_failure_and_others_go_on() {
    let failures = Failures::new("not-there");
    let options = ["--restart", "never", "--failures", failures.path()];
    let ended = supervise(&[&options[..], &["--", "/not/there", "--", "echo", "on"]].concat());
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.of("echo")[1], "| on");
    let [line] = &failures.lines()[..] else { panic!("one line, not {:?}", failures.lines()) };
    assert!(line.starts_with("there: cannot be started: "), "{line}");
}

#[test]
fn what_a_child_leaves_behind_is_killed() {
    let command = format!("sleep {FOR_EVER} & echo left $!");
    let ended = supervise(&["--", "sh", "-c", &command]);
    let said = ended.of("sh");
    assert_eq!(said[2..], ["* is killed", "* exit status: 0"]);
    assert_gone(said[1].strip_prefix("| left ").expect("the process that was left"));
}

#[test]
fn when_nobody_reads_any_more_all_children_are_stopped() {
    let mut supervisor = Supervisor::start(&["--", "sh", "-c", POLITE, "--", "yes"]);
    supervisor.waits_for("| ready");
    drop(supervisor.stdout.take()); // and the thread that reads it ends
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.join("\n").contains("standard output is gone"), "{:?}", ended.stderr);
    ended.ledger();
}

// ---- Interrupted ------------------------------------------------------------------

// promise 6.2, 6.3, 6.7
#[test]
fn ctrl_c_once_asks_the_children_and_waits_for_them() {
    let failures = Failures::new("once");
    let options = ["--stop-after", FOR_EVER, "--failures", failures.path()];
    let commands = ["--", "sh", "-c", POLITE, "--", "sleep", FOR_EVER, "--", "sh", "-c", POLITE];
    let mut supervisor = Supervisor::start(&[&options[..], &commands].concat());
    supervisor.waits_for("sh | ready");
    supervisor.waits_for("sh-2 | ready");
    supervisor.waits_for("sleep * is process");
    supervisor.signal("INT");
    let ended = supervisor.end();

    assert_eq!(ended.status.code(), Some(130));
    for name in ["sh", "sh-2"] {
        let lines = ended.of(name);
        // The shell may also have something to say of the `sleep` in it.
        assert!(lines.contains(&"* is asked to stop".into()), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "| goodbye", "cut short: {lines:?}");
    }
    assert_eq!(ended.of("sleep"), ["* is process …", "* is asked to stop"]);
    assert_eq!(ended.reports(), ["interrupted"]);
    assert!(
        ended.ledger().starts_with("4 spawned = 0 live + 0 succeeded + 0 failed + 4 cancelled")
    );
    assert_eq!(failures.lines(), ["hearken: interrupted"]);
    ended.assert_all_gone();
}

// promise 6.2, 6.7
#[test]
fn sigterm_does_the_same() {
    let mut supervisor = Supervisor::start(&["--", "sh", "-c", POLITE]);
    supervisor.waits_for("| ready");
    supervisor.signal("TERM");
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(130));
    assert_eq!(ended.of("sh").last().unwrap(), "| goodbye");
    ended.assert_all_gone();
}

#[test]
fn who_does_not_stop_within_the_limit_is_killed() {
    let failures = Failures::new("deaf");
    let options = ["--stop-after", "0.1", "--failures", failures.path()];
    let mut supervisor = Supervisor::start(&[&options[..], &["--", "sh", "-c", DEAF]].concat());
    supervisor.waits_for("| ready");
    supervisor.signal("INT");
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(130));
    assert_eq!(ended.of("sh")[2..], ["* is asked to stop", "* is killed"]);
    assert_eq!(failures.lines(), ["hearken: interrupted", "sh: did not stop within 100ms"]);
    ended.assert_all_gone();
}

// promise 4.5, 6.2
#[test]
fn ctrl_c_twice_kills_who_is_waited_for() {
    let commands = ["--", "sh", "-c", DEAF, "--", "sh", "-c", DEAF];
    let mut supervisor = Supervisor::start(&[&["--stop-after", FOR_EVER][..], &commands].concat());
    supervisor.waits_for("sh | ready");
    supervisor.waits_for("sh-2 | ready");
    supervisor.signal("INT");
    supervisor.waits_for("sh * is asked to stop");
    supervisor.waits_for("sh-2 * is asked to stop");
    supervisor.signal("INT");
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(130));
    for name in ["sh", "sh-2"] {
        assert_eq!(ended.of(name)[2..], ["* is asked to stop", "* is killed"]);
    }
    assert_eq!(ended.reports(), ["interrupted", "interrupted"]);
    // Hurried or not, each task ended by its own clean-up.
    assert!(ended.ledger().contains("0 failed + 3 cancelled;"), "{}", ended.ledger());
    ended.assert_all_gone();
}

// promise 6.2, 6.3
#[test]
fn ctrl_c_three_times_leaves_no_child_behind() {
    let mut supervisor = Supervisor::start(&["--stop-after", FOR_EVER, "--", "sh", "-c", DEAF]);
    supervisor.waits_for("| ready");
    supervisor.signal("INT");
    // Heard before the next: three that nobody has heard would kill it.
    supervisor.waits_for("* is asked to stop");
    // At once, so that the third finds it at the killing, most of the time.
    supervisor.signal("INT");
    supervisor.signal("INT");
    let ended = supervisor.end();
    // The second alone ends it. If the third comes after it has stopped listening
    // and before it has left, that is as when nobody listens. Shells say 130 to both.
    let by_the_third = ended.status.signal() == Some(SIGINT);
    assert!(by_the_third || ended.status.code() == Some(130), "{:?}", ended.status);
    ended.ledger();
    ended.assert_all_gone();
}

// promise 6.2
#[test]
fn ctrl_c_while_a_restart_is_waited_for_ends_it_at_once() {
    let mut supervisor = Supervisor::start(&["--back-off", FOR_EVER, "--", "false"]);
    supervisor.waits_for("* restart 1 of 5 in 1000s");
    supervisor.signal("INT");
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(130));
    assert!(ended.ledger().contains("2 cancelled;"), "{}", ended.ledger());
}

#[test]
fn ctrl_c_is_heard_when_nobody_takes_the_output() {
    let mut supervisor = Supervisor::start(&["--stop-after", "0.1", "--", "yes"]);
    supervisor.waits_for("| y");
    supervisor.stop_reading(); // the pipe fills, and `yes` goes on
    supervisor.signal("INT");
    let ended = supervisor.end();
    assert_eq!(ended.status.code(), Some(130));
    ended.ledger();
}

// ---- The command line ---------------------------------------------------------------

#[test]
fn a_bad_command_line_gets_one_line_and_2() {
    for arguments in [
        &[][..],
        &["true"],
        &["--"],
        &["--", "true", "--"],
        &["--", "--", "true"],
        &["--limit", "--", "true"],
        &["--limit", "-1", "--", "true"],
        &["--restart", "sometimes", "--", "true"],
        &["--back-off", "-1", "--", "true"],
        &["--stop-after", "soon", "--", "true"],
        &["--quiet", "yes", "--", "true"],
    ] {
        let ended = supervise(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert_eq!(ended.stderr.len(), 1, "{:?}", ended.stderr);
        assert!(ended.stderr[0].starts_with("usage: supervise [--restart"), "{:?}", ended.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_said_in_one_line() {
    let ended = supervise(&["--failures", "/not/there", "--", "true"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.stderr.len(), 1, "{:?}", ended.stderr);
    assert!(ended.stderr[0].starts_with("supervise: cannot write to /not/there: "));
    assert!(ended.stdout.is_empty(), "nothing was started");
}

// ---- The supervisor under test ------------------------------------------------------

/// A running supervisor. Killed when dropped.
struct Supervisor {
    child: Child,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
    said: Vec<String>,
    /// The thread that reads its standard output waits here for a while.
    pause: Sender<()>,
}

/// What is left of it.
struct Ended {
    status: ExitStatus,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

/// Lets it run to its end.
fn supervise(arguments: &[&str]) -> Ended {
    Supervisor::start(arguments).end()
}

impl Supervisor {
    fn start(arguments: &[&str]) -> Supervisor {
        let mut child = Command::new(example::binary("supervise"))
            .args(arguments)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (pause, paused) = mpsc::channel();
        let stdout = Some(lines(child.stdout.take().unwrap(), Some(paused)));
        let stderr = lines(child.stderr.take().unwrap(), None);
        Supervisor { child, stdout, stderr, said: Vec::new(), pause }
    }

    /// Waits for a line that ends so, or has gone by already.
    #[track_caller]
    fn waits_for(&mut self, end: &str) {
        while !self.said.iter().any(|line| line.contains(end)) {
            let stdout = self.stdout.as_ref().expect("somebody reads");
            match stdout.recv_timeout(LIMIT) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("no line {end:?} in {:#?}", self.said),
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// From now on nobody reads its standard output, which stays open.
    fn stop_reading(&mut self) {
        self.pause.send(()).unwrap();
    }

    fn end(mut self) -> Ended {
        let mut stderr = Vec::new();
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) => stderr.push(line),
                // Its standard error is closed, so it is gone or as good as.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{STILL_THERE}\n{stderr:#?}"),
            }
        }
        let status = self.child.wait().unwrap();
        let mut stdout = std::mem::take(&mut self.said);
        if let Some(lines) = self.stdout.take() {
            stdout.extend(std::iter::from_fn(|| lines.recv_timeout(LIMIT).ok()));
        }
        Ended { status, stdout, stderr }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What was said of a child or by it, without its name; and without what
    /// differs from run to run.
    fn of(&self, name: &str) -> Vec<String> {
        let of_it = |line: &String| {
            let line = line.strip_prefix(name)?.strip_prefix(' ')?.to_owned();
            Some(if line.starts_with("* is process") { "* is process …".into() } else { line })
        };
        self.stdout.iter().filter_map(of_it).collect()
    }

    /// The first lines of the reports.
    fn reports(&self) -> Vec<&str> {
        self.stderr.iter().filter_map(|line| line.strip_prefix("hearken: ")).collect()
    }

    /// The one ledger, which balances, with nothing open.
    #[track_caller]
    fn ledger(&self) -> &str {
        let mut ledgers = self.stderr.iter().filter(|line| line.contains(" spawned = "));
        let (Some(ledger), None) = (ledgers.next(), ledgers.next()) else {
            panic!("one ledger: {:#?}", self.stderr)
        };
        let numbers = ledger.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        assert_eq!(numbers.len(), 11, "not a ledger: {ledger}");
        assert_eq!(numbers[0], numbers[1..5].iter().sum(), "tasks are missing: {ledger}");
        assert_eq!(numbers[5], numbers[6..10].iter().sum(), "failures are missing: {ledger}");
        assert_eq!((numbers[1], numbers[9]), (0, 0), "live and held: {ledger}");
        ledger
    }

    /// No process that was started is left.
    #[track_caller]
    fn assert_all_gone(&self) {
        let ids = self.stdout.iter().filter_map(|line| line.split_once(" * is process "));
        ids.for_each(|(_, id)| assert_gone(id));
    }
}

/// A process that was killed takes a moment to be gone.
#[track_caller]
fn assert_gone(id: &str) {
    // It may be a zombie for as long as nobody has waited for it.
    let gone = format!(
        "i=0; while kill -0 {id} && ! ps -o stat= -p {id} | grep -q Z; do \
         i=$((i + 1)); [ $i -lt 1000 ] || exit 1; sleep 0.01; done"
    );
    let status = Command::new("sh").args(["-c", &gone]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "process {id} is still there");
}

/// The file of failures.
struct Failures(PathBuf);

impl Failures {
    fn new(name: &str) -> Failures {
        let name = format!("supervise-{name}.failures");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        Failures(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// The lines without the time, which each begins with.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap();
        let lines = text.lines().map(|line| {
            let (time, rest) = line.split_once(' ').expect("a time");
            assert!(time.parse::<u64>().is_ok_and(|seconds| seconds > 1_000_000_000), "{line}");
            rest.to_owned()
        });
        lines.collect()
    }
}

/// What a pipe brings, line by line, so that one can stop waiting for it. It is
/// not read any more when nobody wants it, or after a message to pause.
fn lines(pipe: impl Read + Send + 'static, pause: Option<Receiver<()>>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
            if pause.as_ref().is_some_and(|pause| pause.try_recv().is_ok()) {
                drop(sender);
                // Until the test is over, and its end of the channel gone.
                let _ = pause.unwrap().recv();
                return;
            }
        }
    });
    receiver
}
