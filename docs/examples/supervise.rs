//! A supervisor of child processes: it starts them, starts them again, and sees
//! to it that they end.
//!
//! ```text
//! cargo run --example supervise -- [OPTIONS] -- CMD [ARG..] [-- CMD [ARG..]]..
//!
//! --restart WHEN        never, on-failure (if not told otherwise) or always
//! --limit N             so many restarts in a row, 5
//! --back-off SECONDS    the pause before the first of them; it doubles, 0.5
//! --stop-after SECONDS  what a child gets to stop by itself, 5
//! --failures FILE       where to append what goes wrong
//! ```
//!
//! What the children write goes to standard output, each line with the name of
//! its child before it, and so do the notes of what happens to them. A file of
//! failures gets each failure of a child, and each report of hearken's.
//!
//! Ctrl-C is where to look, and so is SIGTERM, which counts the same:
//!
//! - **once** drains: each child is asked to stop (SIGTERM) and waited for; if
//!   that takes too long, it is killed;
//! - **twice** hurries: whoever is still waited for is killed at once;
//! - **three times** leaves, and waits for nothing.
//!
//! There is no code here that counts. The first cancels the main, whose request
//! is passed on to the tasks that it awaits, and their clean-up awaits the
//! children. The second is a request too, and cuts that wait short. The third
//! drops every task where it stands, and a child that is dropped is killed.
//! The exit code is 130 then, and the ledger is on standard error.
//!
//! A child that fails is no failure of its task, which goes on. It is reported,
//! so the handler hears of everything and is the only one to write the file.
//!
//! It is not for production. Who kills the supervisor itself (SIGKILL) leaves the
//! children behind, and what a child has moved to a process group of its own is
//! not stopped with it. It is for Unix.
//!
//! # Invariants
//!
//! - **Nothing left behind.** Whatever way the task of a child ends, its process
//!   group has been killed, or has ended and let go of its output.
//! - **Never held up.** The loop waits for no child and for no terminal. A thread
//!   reads a child's output, another waits for its end, and one more writes to
//!   standard output; channels between them are short, so a child that writes
//!   faster than the terminal takes it is made to wait, and so is nobody else.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use async_channel::{Receiver, Sender};
use hearken::{DefaultHandler, Executor, Group, Handler, Instant, Report, ReportKind, RunError};
use hearken::{TaskError, Verdict};

/// How long a child's output is waited for when the child itself has ended, or
/// has been killed: somebody else may hold it open.
const LINGER: Duration = Duration::from_millis(500);

/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Who has run for so long is not restarted in a row.
const STEADY: Duration = Duration::from_secs(10);

/// A line that is longer is cut into several, in bytes.
const LONGEST_LINE: u64 = 16 * 1024;

/// How many lines may be under way between two threads.
const UNDER_WAY: usize = 64;

const USAGE: &str = "usage: supervise [--restart never|on-failure|always] [--limit N] \
    [--back-off SECONDS] [--stop-after SECONDS] [--failures FILE] -- CMD [ARG..] [-- CMD [ARG..]]..";

// ---- The program --------------------------------------------------------------

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(options) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("supervise: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Supervises until all children are through, or somebody interrupts.
///
/// # Errors
///
/// If there is no file to be had for the failures, or standard output is gone.
fn run(options: Options) -> anyhow::Result<ExitCode> {
    ensure!(cfg!(unix), "process groups and signals are had on Unix only");
    let failures = options.failures.as_deref().map(open).transpose()?;
    let (log, written) = Log::open()?;
    let executor = Executor::builder()
        .handler(failures_to(failures))
        // Who cleans up here sets limits of its own. The grace is for the case
        // that one of them is wrong, so it must not come before them.
        .grace(options.stop_after.checked_add(LINGER * 4))
        .build();
    // Where hearken knows nothing of signals, they end the process as they always did.
    #[cfg(all(unix, feature = "signal"))]
    let _listening = {
        let signals = [hearken::Signal::CtrlC, hearken::Signal::Terminate];
        hearken::listen_for(&signals, &executor.interrupter())?
    };

    let ended = executor.block_on(supervise(Rc::new(options), log));
    executor.shut_down();
    // Nobody has anything to say any more. Standard output may be stuck, though.
    let _it_is = written.recv_timeout(LINGER);
    eprintln!("{}", executor.ledger());

    match ended {
        Ok(all_well) => Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(ended @ RunError::Interrupted { .. }) => {
            let exit_code = ended.exit_code();
            if let RunError::Interrupted { main: Some(TaskError::Failed(error)) } = ended {
                eprintln!("supervise: while it was being stopped: {error:#}");
            }
            Ok(exit_code.into())
        }
        Err(other) => Err(other.into()),
    }
}

// ---- The tasks: main, and one for each command -----------------------------------

/// The main task. Answers whether all commands came to a good end.
///
/// # Errors
///
/// If a task fails, which is never for what its child did. The others are
/// cancelled then, and have stopped their children when this returns.
///
/// # Cancellation
///
/// Every task stops its child, and all are waited for.
async fn supervise(options: Rc<Options>, log: Log) -> anyhow::Result<bool> {
    let all_well = Rc::new(Cell::new(true));
    hearken::group(async |group: Group| {
        for program in options.programs() {
            let (options, log, all_well) = (options.clone(), log.clone(), all_well.clone());
            let name = program.name.clone();
            let task = async move {
                let well = keep_running(program, options, log).await?;
                all_well.set(all_well.get() && well);
                Ok(())
            };
            group.spawn(task).named(name).detach(); // the group hears how it ends
        }
        Ok(())
    })
    .await?;
    Ok(all_well.get())
}

/// The task of a command: runs it, and runs it again as the policy says. Answers
/// whether its last run went well.
///
/// # Cancellation
///
/// Stops the child, if there is one at the moment: [`Running::stop`].
async fn keep_running(program: Program, options: Rc<Options>, log: Log) -> anyhow::Result<bool> {
    let mut in_a_row = 0;
    loop {
        let began = hearken::now();
        let well = match Running::start(&program) {
            Ok(child) => run_once(&child, &program, &options, &log).await?,
            Err(error) => {
                log.failure(&program, format_args!("cannot be started: {error}")).await?;
                false
            }
        };
        if hearken::now() - began >= STEADY {
            in_a_row = 0;
        }
        match options.restart {
            Restart::Never => return Ok(well),
            Restart::OnFailure if well => return Ok(well),
            Restart::OnFailure | Restart::Always => {}
        }
        if in_a_row == options.limit {
            log.note(&program, "is not restarted any more").await?;
            return Ok(well);
        }
        let pause = options.pause(in_a_row);
        in_a_row += 1;
        let restart = format_args!("restart {in_a_row} of {} in {pause:?}", options.limit);
        log.note(&program, restart).await?;
        hearken::sleep(pause).await;
    }
}

/// Runs a child to its end. Answers whether it ended well.
async fn run_once(
    child: &Running,
    program: &Program,
    options: &Options,
    log: &Log,
) -> anyhow::Result<bool> {
    let listen = async {
        log.note(program, format_args!("is process {}", child.id)).await?;
        while let Some(line) = child.next_line().await {
            log.line(program, &line).await?;
            // Nothing here suspends while there is more to pass on. A flood is
            // let through a line a turn, beside what others have to say.
            hearken::yield_now().await;
        }
        Ok(())
    };
    hearken::finally(listen, async || child.stop(program, options, log).await).await?;
    let status = child.status()?;
    if status.success() {
        log.note(program, status).await?;
    } else {
        log.failure(program, status).await?;
    }
    Ok(status.success())
}

// ---- A child ------------------------------------------------------------------

/// A child process. If it is dropped before its end, it is killed.
struct Running {
    /// Of the process, and of the group that it leads.
    id: u32,
    events: Receiver<Event>,
    /// How it ended, and when we heard of that.
    ended: OnceCell<(io::Result<ExitStatus>, Instant)>,
}

/// What two threads tell of a child. When both have told all there is to tell,
/// their channel is closed.
enum Event {
    Line(Vec<u8>),
    Ended(io::Result<ExitStatus>),
}

impl Running {
    /// Starts the program, in a process group of its own: Ctrl-C at a terminal
    /// goes to everybody in the group there, and children would stop before
    /// they are asked.
    fn start(program: &Program) -> io::Result<Running> {
        // One pipe for both, so that what it says stays in order.
        let (output, input) = io::pipe()?;
        let mut command = Command::new(&program.command[0]);
        command.args(&program.command[1..]).stdin(Stdio::null());
        command.stdout(input.try_clone()?).stderr(input);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn()?;
        drop(command); // our ends of the pipe, which would keep it open

        let (sender, events) = async_channel::bounded(UNDER_WAY);
        // From here on it is killed if something goes wrong.
        let running = Running { id: child.id(), events, ended: OnceCell::new() };
        let told = sender.clone();
        thread::Builder::new().spawn(move || wait_for(child, &told))?;
        thread::Builder::new().spawn(move || read(output, &sender))?;
        Ok(running)
    }

    /// The next line of its output. None if it has ended and said all, or if
    /// its output is still held open [`LINGER`] after its end.
    ///
    /// # Cancellation
    ///
    /// No line is lost.
    async fn next_line(&self) -> Option<Vec<u8>> {
        loop {
            let event = match self.ended.get() {
                None => self.events.recv().await,
                Some((_, since)) => {
                    let patience = *since + LINGER;
                    hearken::timeout_at(patience, self.events.recv()).await.ok()?
                }
            };
            match event.ok()? {
                Event::Line(line) => return Some(line),
                Event::Ended(status) => self.ended.get_or_init(|| (status, hearken::now())),
            };
        }
    }

    /// The clean-up, whatever way it comes to it: asks the child to stop, waits
    /// as long as the options say, then kills it.
    ///
    /// # Cancellation
    ///
    /// The first request brought us here. A further one cuts the wait short, and
    /// the child is killed at once. Yet another changes nothing, for what is
    /// left takes only a moment. Dropping it drops the child, which kills it.
    async fn stop(&self, program: &Program, options: &Options, log: &Log) -> anyhow::Result<()> {
        // Whether anybody hears what it has to say is not what matters now.
        let say_all = async || {
            while let Some(line) = self.next_line().await {
                let _ = log.line(program, &line).await;
                hearken::yield_now().await;
            }
        };
        if self.ended.get().is_none() {
            self.signal("TERM").context("asking a child to stop")?;
            let ask = async {
                let _ = log.note(program, "is asked to stop").await;
                say_all().await;
            };
            match hearken::scope(hearken::timeout(options.stop_after, ask)).await {
                Ok(Ok(())) => {}
                Ok(Err(_elapsed)) => {
                    let how = format!("did not stop within {:?}", options.stop_after);
                    hearken::report(ChildFailed::new(program, how).into());
                }
                Err(hurry) => hurry.accept(),
            }
        }
        if self.has_let_go() {
            return Ok(());
        }
        self.signal("KILL").context("killing a child")?;
        let until = hearken::now() + LINGER;
        let mut kill = pin!(async {
            let _ = log.note(program, "is killed").await;
            say_all().await;
        });
        while let Err(hurry) = hearken::scope(hearken::timeout_at(until, kill.as_mut())).await {
            hurry.accept();
        }
        Ok(())
    }

    /// Whether it has ended, and nobody holds its output open any more.
    fn has_let_go(&self) -> bool {
        self.ended.get().is_some() && self.events.is_closed()
    }

    fn status(&self) -> anyhow::Result<ExitStatus> {
        match self.ended.get() {
            Some((Ok(status), _)) => Ok(*status),
            Some((Err(error), _)) => bail!("waiting for process {}: {error}", self.id),
            None => bail!("process {} could not be killed", self.id),
        }
    }

    /// Sends a signal to the whole group. No harm if nobody is left in it.
    ///
    /// By the program `kill`, for the standard library kills one process, and
    /// only that. It takes about a millisecond, as did the start of the child.
    fn signal(&self, signal: &str) -> io::Result<()> {
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, "--", &format!("-{}", self.id)]);
        let _nobody_left_is_fine = kill.stderr(Stdio::null()).status()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_let_go() {
            let _ = self.signal("KILL");
        }
    }
}

/// A thread: waits for the end.
fn wait_for(mut child: Child, events: &Sender<Event>) {
    let _nobody_asks = events.send_blocking(Event::Ended(child.wait()));
}

/// A thread: reads what the child says. When nobody listens any more it stops,
/// and the child's next line goes into a broken pipe.
fn read(output: PipeReader, events: &Sender<Event>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if !read.is_ok_and(|count| count > 0) {
            return;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if events.send_blocking(Event::Line(line)).is_err() {
            return;
        }
    }
}

// ---- What is said ----------------------------------------------------------------

/// Standard output, for many who have something to say.
#[derive(Clone)]
struct Log(Sender<Vec<u8>>);

impl Log {
    /// With a receiver that is told when all is written and nobody can say
    /// anything any more.
    fn open() -> io::Result<(Log, mpsc::Receiver<()>)> {
        let (sender, lines) = async_channel::bounded(UNDER_WAY);
        let (done, written) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            write(&lines);
            let _ = done.send(());
        })?;
        Ok((Log(sender), written))
    }

    /// A line of a child's.
    async fn line(&self, program: &Program, line: &[u8]) -> anyhow::Result<()> {
        let name = program.name.as_bytes();
        let said = self.0.send([name, b" | ", line, b"\n"].concat()).await;
        said.context("standard output is gone")
    }

    /// What became of a child.
    async fn note(&self, program: &Program, note: impl fmt::Display) -> anyhow::Result<()> {
        let said = self.0.send(format!("{} * {note}\n", program.name).into_bytes()).await;
        said.context("standard output is gone")
    }

    /// What went wrong with a child, for everybody to hear.
    async fn failure(&self, program: &Program, how: impl fmt::Display) -> anyhow::Result<()> {
        hearken::report(ChildFailed::new(program, &how).into());
        self.note(program, how).await
    }
}

/// A thread: writes to standard output, which may be slow, or stuck. When it is
/// gone this ends, and the next who has something to say learns it.
fn write(lines: &Receiver<Vec<u8>>) {
    let mut output = BufWriter::new(io::stdout().lock());
    while let Ok(line) = lines.recv_blocking() {
        let more = !lines.is_empty();
        let written = output.write_all(&line);
        if written.and_then(|()| if more { Ok(()) } else { output.flush() }).is_err() {
            return;
        }
    }
}

/// A child did not do what it should.
#[derive(Debug)]
struct ChildFailed {
    name: String,
    how: String,
}

impl ChildFailed {
    fn new(program: &Program, how: impl fmt::Display) -> ChildFailed {
        ChildFailed { name: program.name.clone(), how: how.to_string() }
    }
}

impl fmt::Display for ChildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.how)
    }
}

impl Error for ChildFailed {}

impl From<ChildFailed> for Report {
    fn from(failed: ChildFailed) -> Report {
        Report::new(failed)
    }
}

// ---- The failures -----------------------------------------------------------------

fn open(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().append(true).create(true).open(path);
    opened.with_context(|| format!("cannot write to {}", path.display()))
}

/// The handler: appends to the file, and lets standard error know of what
/// standard output does not tell.
fn failures_to(mut file: Option<File>) -> impl FnMut(&Report) -> Verdict {
    move |report| {
        if report.kind() == ReportKind::Cancelled {
            return Verdict::Proceed; // it was asked to, and did
        }
        let failed = report.error().and_then(|error| error.downcast_ref::<ChildFailed>());
        let text = failed.map_or_else(|| report.to_string(), ChildFailed::to_string);
        let time = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        if let Some(file) = &mut file
            && let Err(error) = file.write_all(format!("{time} {text}\n").as_bytes())
        {
            eprintln!("supervise: cannot append to the file of failures: {error}");
        }
        match failed {
            Some(_) => Verdict::Proceed,
            None => DefaultHandler.handle(report),
        }
    }
}

// ---- The command line ---------------------------------------------------------------

struct Options {
    restart: Restart,
    limit: u32,
    back_off: Duration,
    stop_after: Duration,
    failures: Option<PathBuf>,
    commands: Vec<Vec<OsString>>,
}

/// When a child that has ended is started again.
#[derive(Clone, Copy)]
enum Restart {
    Never,
    OnFailure,
    Always,
}

/// A command, and what it is called in the log.
struct Program {
    name: String,
    command: Vec<OsString>,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Options> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let mut parts = arguments.split(|argument| argument == "--");
        let mut settings = parts.next()?.iter();
        let commands: Vec<_> = parts.map(<[OsString]>::to_vec).collect();
        if commands.is_empty() || commands.iter().any(Vec::is_empty) {
            return None;
        }
        let mut options = Options {
            restart: Restart::OnFailure,
            limit: 5,
            back_off: Duration::from_millis(500),
            stop_after: Duration::from_secs(5),
            failures: None,
            commands,
        };
        while let Some(setting) = settings.next() {
            let value = settings.next()?;
            match setting.to_str()? {
                "--restart" => options.restart = Restart::parse(value.to_str()?)?,
                "--limit" => options.limit = value.to_str()?.parse().ok()?,
                "--back-off" => options.back_off = seconds(value.to_str()?)?,
                "--stop-after" => options.stop_after = seconds(value.to_str()?)?,
                "--failures" => options.failures = Some(value.into()),
                _ => return None,
            }
        }
        Some(options)
    }

    /// The pause before a restart, after so many others.
    fn pause(&self, in_a_row: u32) -> Duration {
        let doubled = self.back_off.saturating_mul(2_u32.saturating_pow(in_a_row));
        doubled.min(LONGEST_PAUSE.max(self.back_off))
    }

    /// The commands by their names: `sh`, and if there is another, `sh-2`.
    fn programs(&self) -> impl Iterator<Item = Program> {
        let mut seen = HashMap::new();
        self.commands.iter().map(move |command| {
            let path = Path::new(&command[0]);
            let name = path.file_name().unwrap_or(&command[0]).to_string_lossy().into_owned();
            let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
            let name = if *count == 1 { name } else { format!("{name}-{count}") };
            Program { name, command: command.clone() }
        })
    }
}

impl Restart {
    fn parse(text: &str) -> Option<Restart> {
        match text {
            "never" => Some(Restart::Never),
            "on-failure" => Some(Restart::OnFailure),
            "always" => Some(Restart::Always),
            _ => None,
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}
