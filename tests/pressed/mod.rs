//! A program that is started, pressed Ctrl-C at moments that a seed decides, and
//! waited for; with a record of all that happened, for whoever has to find out
//! why it ended as it did.
//!
//! The program is one of the test's own binary. It says what it does on standard
//! output, in lines that begin with `@`; `@listening` says that it may begin.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take. Only one that hangs needs it.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What a program did, and what was done to it.
#[derive(Debug)]
pub struct Run {
    pub seed: u64,
    /// For each press, how many lines it had said before.
    pub presses: Vec<usize>,
    /// How it ended; `None` if it had to be killed, since it did not begin or
    /// did not end.
    pub status: Option<ExitStatus>,
    /// What it said, without the `@`.
    pub said: Vec<String>,
    /// All that happened, and when: also what it wrote otherwise.
    record: Vec<(Duration, Event)>,
}

#[derive(Debug)]
enum Event {
    /// It wrote a line, to standard output or standard error.
    Wrote(String),
    /// The key goes down.
    Presses,
    /// The signal is sent.
    Pressed,
    /// Both its outputs are closed.
    Closed,
}

impl Run {
    /// Starts the program that is the test `name` of this binary, presses
    /// Ctrl-C one to three times, or for as long as it lives if it `insists`,
    /// and waits for its end.
    pub fn new(name: &str, variable: &str, seed: u64, insists: bool, finger: &mut Finger) -> Run {
        let mut random = Random::new(!seed);
        let (reader, writer) = io::pipe().unwrap();
        let began = Instant::now();
        // Made in a statement of its own, so that our ends of the pipe are closed.
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(variable, seed.to_string())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap_or_else(|error| panic!("seed {seed} cannot be started: {error}"));
        let mut child = Killed(child);
        let lines = lines(reader);
        let mut run =
            Run { seed, presses: Vec::new(), status: None, said: Vec::new(), record: Vec::new() };
        let deadline = began + LIMIT;

        while run.said.last().is_none_or(|line| line != "listening") {
            if run.hear(&lines, began, deadline) != Some(Heard::Line) {
                return run; // it does not begin
            }
        }
        let mut presses = 1 + random.below(3);
        loop {
            // A moment of the program's life is what is sought here. No line
            // says when it comes.
            let until = match presses {
                0 => deadline,
                _ => Instant::now() + random.moment(),
            };
            while run.hear(&lines, began, until) == Some(Heard::Line) {}
            if run.is_closed() {
                break;
            }
            if presses == 0 || Instant::now() > deadline {
                return run; // it hangs
            }
            run.record.push((began.elapsed(), Event::Presses));
            run.presses.push(run.said.len());
            finger.press(&child.0);
            run.record.push((began.elapsed(), Event::Pressed));
            presses -= u64::from(!insists);
        }
        run.status = Some(child.0.wait().unwrap());
        run
    }

    /// Waits for a line or the end, until then.
    fn hear(
        &mut self,
        lines: &Receiver<(Instant, String)>,
        began: Instant,
        until: Instant,
    ) -> Option<Heard> {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((moment, line)) => {
                self.said.extend(line.strip_prefix('@').map(str::to_owned));
                self.record.push((moment.duration_since(began), Event::Wrote(line)));
                Some(Heard::Line)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.record.push((began.elapsed(), Event::Closed));
                Some(Heard::End)
            }
        }
    }

    /// How long ago a press was when all was over.
    pub fn age_at_the_end(&self, press: usize) -> Option<Duration> {
        let (end, _) = self.record.last()?;
        let mut presses = self.record.iter().filter(|(_, event)| matches!(event, Event::Presses));
        presses.nth(press).map(|(pressed, _)| *end - *pressed)
    }

    fn is_closed(&self) -> bool {
        matches!(self.record.last(), Some((_, Event::Closed)))
    }

    /// Writes all that is known to a file, and answers its path.
    pub fn save(&self, why: &str) -> PathBuf {
        let mut text =
            format!("{why}\n\nseed {}, pressed {} times, ", self.seed, self.presses.len());
        match self.status {
            Some(status) => writeln!(text, "{status}\n").unwrap(),
            None => {
                writeln!(text, "killed by the test: it did not begin or did not end\n").unwrap()
            }
        }
        for (moment, event) in &self.record {
            let moment = moment.as_secs_f64() * 1000.0;
            match event {
                Event::Wrote(line) => writeln!(text, "{moment:10.3} ms  {line}").unwrap(),
                other => writeln!(text, "{moment:10.3} ms  -- {other:?}").unwrap(),
            }
        }
        let name = format!("sigint-seed-{}-{}.txt", self.seed, std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        match fs::write(&path, &text) {
            Ok(()) => path,
            Err(error) => panic!("cannot write {}: {error}\n{text}", path.display()),
        }
    }
}

#[derive(PartialEq)]
enum Heard {
    Line,
    End,
}

/// A child that is killed when a run is over, however that is.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What presses Ctrl-C: a shell that is there already, since to start a `kill`
/// takes longer than some of the pauses between two.
pub struct Finger {
    shell: Killed,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Finger {
    pub fn new() -> Finger {
        let mut shell = Command::new("sh");
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let (commands, answers) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        Finger { shell: Killed(shell), commands, answers: BufReader::new(answers) }
    }

    /// Sends SIGINT, and returns when it is sent. No harm if the child has ended
    /// and nobody has waited for it yet.
    fn press(&mut self, child: &Child) {
        writeln!(self.commands, "kill -s INT {}; echo", child.id()).unwrap();
        let read = self.answers.read_line(&mut String::new()).unwrap();
        assert_eq!(read, 1, "the shell {} is gone", self.shell.0.id());
    }
}

/// What the program writes, line by line, and when it came.
fn lines(pipe: PipeReader) -> Receiver<(Instant, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let _ = sender.send((Instant::now(), line));
        }
    });
    receiver
}

/// Numbers that look like chance, and are the same for a seed (`SplitMix64`).
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Nothing, almost nothing, or so long that others happen meanwhile.
    pub fn moment(&mut self) -> Duration {
        let most = [1, 1_000, 10_000, 100_000][self.below(4) as usize];
        Duration::from_micros(self.below(most))
    }
}
