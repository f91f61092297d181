//! Ctrl-C from outside: many programs with tasks in all states, each pressed
//! once, twice or three times at moments that a seed decides.
//!
//! The program is in this file too. A test runs this very binary again, as
//! [`the_program`] with a seed in its environment. What it does it says on
//! standard output, a line at a time, and what it said is checked when it has
//! ended:
//!
//! - it ended by itself with 130, or was killed by SIGINT where it had to be:
//!   its loop was stuck, or had no time for a tenth of a second to hear any of
//!   three;
//! - it said one ledger, and that balances, with nothing alive and nothing held;
//! - each failure was retrieved, reported or ignored: one of these, once.
//!
//! Forty programs are run, or a thousand with `HEARKEN_LONG=1` in the
//! environment. `HEARKEN_SEED=7` runs one, and shows what it said. What is wrong
//! is not easily had again, since the moments depend on the machine too; so all
//! that is known of such a run is in a file, and the message says in which.

#![cfg(all(unix, feature = "signal"))]

mod pressed;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hearken::{
    Executor, Group, Report, ReportKind, RunError, Task, TaskError, Verdict, finally, gather,
    group, interval, scope, settle, shield, sleep, spawn, timeout, yield_now,
};
use pressed::{Finger, LIMIT, Random, Run};

/// The variable that makes this binary the program.
const PROGRAM: &str = "HEARKEN_SIGINT_PROGRAM";

/// The grace of the programs.
const GRACE: Duration = Duration::from_millis(80);

/// How many programs run at a time. They sleep, mostly.
const AT_A_TIME: usize = 8;

// promise 3.5, 3.6, 6.1, 6.2, 6.3, 6.4, 6.7
#[test]
fn whenever_ctrl_c_comes_the_end_is_in_order() {
    if let Ok(seed) = env::var("HEARKEN_SEED") {
        let (run, end) = run(seed.parse().expect("a seed is a number"), &mut Finger::new());
        println!("{end}\n{run:#?}");
        return;
    }
    let long = env::var("HEARKEN_LONG").is_ok_and(|long| long == "1");
    let programs = if long { 1000 } else { 40 };
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let ends = Mutex::new(BTreeMap::<End, usize>::new());
    thread::scope(|threads| {
        for _ in 0..AT_A_TIME {
            threads.spawn(|| {
                let mut finger = Finger::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= programs {
                        return;
                    }
                    let (_, end) = run(seed, &mut finger);
                    *ends.lock().unwrap().entry(end).or_default() += 1;
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap();
    println!("{programs} programs in {:.1?}:", began.elapsed());
    for (end, count) in &ends {
        println!("{count:5} {end}");
    }
    // They are an accident of busy machines, and not what programs die of.
    let too_slow = ends.get(&End::TooSlow).map_or(0, |&count| count);
    assert!(too_slow < programs as usize / 4, "{too_slow} did not hear anything");
}

// ---- The program ---------------------------------------------------------------------

/// Not a test: what the test starts.
#[test]
fn the_program() {
    let Ok(seed) = env::var(PROGRAM) else { return };
    let seed = seed.parse().expect("a seed is a number");
    println!(); // the harness has begun a line
    std::panic::set_hook(Box::new(|_| {})); // reports say it
    let executor = Executor::builder().handler(hear).grace(Some(GRACE)).build();
    let listening = hearken::ctrl_c(&executor.interrupter()).unwrap();
    assert!(listening.is_listening(), "Ctrl-C is ignored, and that is inherited");
    say("listening");

    let answer = {
        let mut cast = Cast::new(seed);
        let main = cast.main(&executor);
        executor.block_on(main)
    };
    if let Err(RunError::Interrupted {
        main: Some(TaskError::Failed(_) | TaskError::Panicked(_)),
    }) = &answer
    {
        say("retrieved main");
    }
    executor.shut_down();
    HELD.take(); // handles of tasks that are over, by now
    executor.run_until_idle();
    say(format_args!("ledger {}", executor.ledger()));
    // With the handler in force, so that it is not killed just now.
    std::process::exit(answer.map_or_else(|error| error.exit_code().into(), |()| 0));
}

thread_local! {
    /// Handles that are held until the executor has been shut down.
    static HELD: RefCell<Vec<Task<()>>> = const { RefCell::new(Vec::new()) };
}

fn say(what: impl fmt::Display) {
    println!("@{what}");
}

/// The handler.
fn hear(report: &Report) -> Verdict {
    let name = report.task().map(hearken::TaskInfo::name).unwrap_or_default();
    match report.kind() {
        ReportKind::Cancelled => {}
        ReportKind::Interrupted => say("interrupted"),
        ReportKind::NeverRetrieved | ReportKind::FailedDuringShutdown | ReportKind::StillHeld => {
            say(format_args!("reported {name}"))
        }
        kind => say(format_args!("{kind:?} {name}")),
    }
    Verdict::Proceed
}

/// Says that the task of this name fails, which it must do in the same poll.
fn failing(name: &str) -> anyhow::Error {
    say(format_args!("failing {name}"));
    Failing(name.to_owned()).into()
}

#[derive(Debug)]
struct Failing(String);

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failing {}

/// Says so when a failure was handed over.
fn retrieve(name: &str, outcome: &Result<(), TaskError>) {
    if let Err(TaskError::Failed(_) | TaskError::Panicked(_)) = outcome {
        say(format_args!("retrieved {name}"));
    }
}

/// Whose failure it is: what [`failing`] gave, or a panic with its words.
fn name_in(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<hearken::Panicked>() {
        Some(panicked) => Some(panicked.message().to_owned()),
        None => error.root_cause().downcast_ref::<Failing>().map(ToString::to_string),
    }
}

/// Panics when it is dropped, and with it the task of this name.
struct PanicsInDrop(String);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("{}", failing(&self.0));
    }
}

/// Spawns when it is dropped; and who is spawned does it again.
struct SpawnsInDrop(u32);

impl Drop for SpawnsInDrop {
    fn drop(&mut self) {
        let next = (self.0 > 0).then(|| SpawnsInDrop(self.0 - 1));
        let work = async move {
            let _next = next;
            pending::<()>().await;
            Ok(())
        };
        spawn(work).detach();
    }
}

/// Sleeps, and that is a success.
async fn nap(duration: Duration) -> anyhow::Result<()> {
    sleep(duration).await;
    Ok(())
}

/// Waits for ever, and does not care who asks.
async fn deaf() -> anyhow::Result<()> {
    loop {
        if let Err(cancelled) = scope(pending::<()>()).await {
            cancelled.accept();
        }
    }
}

/// Holds up everybody.
fn stick() {
    say("stuck");
    loop {
        thread::sleep(LIMIT);
    }
}

/// Who makes up tasks of all sorts, as a seed decides.
struct Cast {
    random: Random,
    tasks: u32,
}

impl Cast {
    fn new(seed: u64) -> Cast {
        Cast { random: Random::new(seed), tasks: 0 }
    }

    /// The main, which is as odd as the tasks around it. It ends only when it
    /// is interrupted.
    fn main(&mut self, executor: &Executor) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let mut held_by_main = Vec::new();
        for _ in 0..3 + self.random.below(18) {
            let (name, body) = self.task(2);
            let task = executor.spawn(body).named(name.clone());
            match self.random.below(6) {
                0 | 1 => task.detach(),
                2 => {
                    say(format_args!("ignored {name}"));
                    task.ignore();
                }
                3 => HELD.with_borrow_mut(|held| held.push(task)),
                _ => held_by_main.push((name, task)),
            }
        }
        if stuck_ones(self.random.seed) {
            let moment = self.random.moment();
            let in_clean_up = self.random.below(2) == 0;
            let body = async move {
                let stuck = async || {
                    stick();
                    Ok(())
                };
                match in_clean_up {
                    true => finally(pending::<anyhow::Result<()>>(), stuck).await,
                    false => {
                        sleep(moment).await;
                        stuck().await
                    }
                }
            };
            executor.spawn(body).named("stuck").detach();
        }
        let (kind, moment) = (self.random.below(10), self.random.moment());
        // Some are in the middle of their clean-up already when Ctrl-C comes.
        let cancels = self.random.below(4) as usize;
        let pause = self.random.moment();
        async move {
            for (_, task) in held_by_main.iter().take(cancels) {
                task.cancel();
            }
            let for_ever = pending::<anyhow::Result<()>>();
            match kind {
                0 => for_ever.await,
                1 => finally(for_ever, async || nap(moment).await).await,
                2 => finally(for_ever, async || Err(failing("main"))).await,
                3 => finally(for_ever, async || panic!("{}", failing("main"))).await,
                4 => deaf().await,
                5 => shield(for_ever).await,
                6 => {
                    // Swallows it, and ends well after a while.
                    let swallowed = scope(for_ever).await.expect_err("for ever is long");
                    swallowed.accept();
                    sleep(moment).await;
                    Ok(())
                }
                7 => {
                    for (name, task) in held_by_main {
                        retrieve(&name, &task.await);
                    }
                    for_ever.await
                }
                8 => {
                    let (names, tasks): (Vec<_>, Vec<_>) = held_by_main.into_iter().unzip();
                    let outcomes = settle(tasks).await;
                    names.iter().zip(&outcomes).for_each(|(name, outcome)| retrieve(name, outcome));
                    for_ever.await
                }
                _ => {
                    sleep(pause).await;
                    held_by_main.clear(); // whose failures nobody can ask for now
                    deaf().await
                }
            }
        }
    }

    /// A task with its name; with tasks of its own so many times at most.
    fn task(&mut self, deep: u32) -> (String, Body) {
        self.tasks += 1;
        let kind = self.random.below(if deep > 0 { 19 } else { 13 });
        let name = format!("{}-{kind}", self.tasks);
        let (moment, later) = (self.random.moment(), self.random.moment());
        let me = name.clone();
        let for_ever = pending::<anyhow::Result<()>>();
        let body: Body = match kind {
            // Ready, sleeping, woken all the time.
            0 => Box::pin(async {
                loop {
                    yield_now().await;
                }
            }),
            1 => Box::pin(nap(LIMIT)),
            2 => Box::pin(async {
                let mut interval = interval(Duration::from_millis(1))?;
                loop {
                    interval.tick().await;
                }
            }),
            3 => Box::pin(async {
                let (sender, receiver) = async_channel::bounded(1);
                thread::spawn(move || {
                    while sender.send_blocking(()).is_ok() {
                        thread::sleep(Duration::from_micros(100));
                    }
                });
                loop {
                    receiver.recv().await?;
                }
            }),
            // Cleaning up, shielded, deaf.
            4 => Box::pin(finally(for_ever, async move || nap(moment).await)),
            5 => Box::pin(async move {
                shield(sleep(moment)).await;
                for_ever.await
            }),
            6 => Box::pin(shield(for_ever)),
            7 => Box::pin(deaf()),
            // Failing.
            8 => Box::pin(async move {
                sleep(moment).await;
                Err(failing(&me))
            }),
            9 => Box::pin(async move {
                timeout(moment, deaf()).await.ok();
                panic!("{}", failing(&me))
            }),
            10 => Box::pin(finally(for_ever, async move || {
                sleep(moment).await;
                Err(failing(&me))
            })),
            11 => Box::pin(finally(for_ever, async move || {
                shield(sleep(moment)).await;
                panic!("{}", failing(&me))
            })),
            12 => Box::pin(async move {
                let _bad = PanicsInDrop(me);
                for_ever.await
            }),
            // Having tasks of its own: in its clean-up, in its end, all the time.
            13 => {
                let (first, second) = (self.task(deep - 1), self.task(deep - 1));
                Box::pin(finally(for_ever, async move || {
                    spawn(first.1).named(first.0).detach();
                    let (name, body) = second;
                    retrieve(&name, &spawn(body).named(name.clone()).await);
                    Ok(())
                }))
            }
            14 => Box::pin(async move {
                let _spawns = SpawnsInDrop(20);
                for_ever.await
            }),
            15 => Box::pin(async {
                loop {
                    spawn(nap(Duration::from_millis(2))).detach();
                    sleep(Duration::from_millis(1)).await;
                }
            }),
            // Awaiting them.
            16 => {
                let (name, body) = self.task(deep - 1);
                Box::pin(async move {
                    let task = spawn(body).named(name.clone());
                    retrieve(&name, &task.await);
                    for_ever.await
                })
            }
            17 => {
                let children = [self.task(deep - 1), self.task(deep - 1), self.task(deep - 1)];
                Box::pin(async move {
                    let tasks = children.map(|(name, body)| spawn(body).named(name));
                    // The error says whose it is. The others it keeps.
                    if let Err(error) = gather(tasks).await
                        && let Some(name) = name_in(&error.into())
                    {
                        say(format_args!("retrieved {name}"));
                    }
                    for_ever.await
                })
            }
            _ => {
                let keeps_it_open = self.random.below(2) == 0;
                // Members that fail by an error of ours, which the group hands on.
                let names = [format!("{me}-a"), format!("{me}-b"), format!("{me}-c")];
                Box::pin(async move {
                    let mut moments = [moment, later, later].into_iter();
                    let grouped = group(async |group: Group| {
                        for (name, moment) in names.into_iter().zip(&mut moments) {
                            let me = name.clone();
                            let work = async move {
                                finally(nap(moment), async || nap(later).await).await?;
                                Err::<(), _>(failing(&me))
                            };
                            group.spawn(work).named(name).detach();
                        }
                        if keeps_it_open {
                            group.spawn(deaf()).detach();
                        }
                        Ok(())
                    });
                    if let Err(error) = grouped.await {
                        for name in error.errors().iter().filter_map(name_in) {
                            say(format_args!("retrieved {name}"));
                        }
                    }
                    for_ever.await
                })
            }
        };
        (name, body)
    }
}

type Body = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// Whether a loop gets stuck in the program of this seed.
fn stuck_ones(seed: u64) -> bool {
    seed % 10 == 9
}

// ---- How it ended ----------------------------------------------------------------------

/// How a program may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// By itself, after it has heard so many.
    Heard(usize),
    /// Killed, since its loop was stuck.
    Stuck,
    /// Killed, since its loop did not come to hear any of three in time.
    TooSlow,
    /// Killed after its ledger, when nobody listened any more.
    OverAlready,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Heard(heard) => write!(f, "ended with 130 after {heard} interrupts"),
            End::Stuck => f.write_str("killed by SIGINT, being stuck"),
            End::TooSlow => f.write_str("killed by SIGINT, with three unheard"),
            End::OverAlready => f.write_str("killed by SIGINT, when all was over"),
        }
    }
}

/// Runs the program of a seed. If it does not do what was promised, all that
/// happened goes to a file.
fn run(seed: u64, finger: &mut Finger) -> (Run, End) {
    let run = Run::new("the_program", PROGRAM, seed, stuck_ones(seed), finger);
    match check(&run) {
        Ok(end) => (run, end),
        Err(why) => {
            let record = run.save(&format!("{why:#}"));
            panic!("seed {seed}: {why:#}; all that happened is in {}", record.display());
        }
    }
}

/// Checks all that was promised. Answers how it ended.
fn check(run: &Run) -> anyhow::Result<End> {
    let Some(status) = run.status else { bail!("it did not begin, or did not end") };
    let heard = those(run, "interrupted").count();
    let ledgers: Vec<_> = those(run, "ledger ").collect();
    let killed = status.signal() == Some(2);
    if killed {
        if ledgers.is_empty() && those(run, "stuck").count() == 1 {
            return Ok(End::Stuck);
        }
        ensure!(had_cause(run), "killed without need");
        if ledgers.is_empty() {
            return Ok(End::TooSlow);
        }
    } else {
        ensure!(status.code() == Some(130), "it ended with {status}");
    }
    ensure!((1..=run.presses.len()).contains(&heard), "it heard {heard}");
    ensure!(ledgers.len() == 1, "{} ledgers", ledgers.len());
    check_ledger(run, ledgers[0]).with_context(|| ledgers[0].to_owned())?;
    Ok(if killed { End::OverAlready } else { End::Heard(heard) })
}

/// Whether one of the signals may have found that two before it were not heard,
/// and the first of them a tenth of a second old (to the millisecond).
///
/// That is asked of each, and not at the end: another thread than the loop's may
/// be in the signal handler, and between its decision and the death of the
/// process the loop goes on, and hears those that it had not.
fn had_cause(run: &Run) -> bool {
    run.presses.iter().enumerate().any(|(before, &lines)| {
        let heard = run.said[..lines].iter().filter(|line| *line == "interrupted").count();
        heard + 2 <= before && run.age_at_the_end(heard) >= Some(Duration::from_millis(99))
    })
}

/// That it balances, and says the same as the tasks and the handler.
fn check_ledger(run: &Run, ledger: &str) -> anyhow::Result<()> {
    let numbers = ledger.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let [spawned, live, succeeded, failed, cancelled, again, retrieved, reported, ignored, held, _] =
        numbers[..]
    else {
        bail!("not a ledger")
    };
    ensure!(spawned == live + succeeded + failed + cancelled, "tasks are missing");
    ensure!(failed == retrieved + reported + ignored + held, "failures are missing");
    ensure!((live, held, again) == (0, 0, failed), "it is not over");

    let failing = names(run, "failing ")?;
    let (was_retrieved, was_reported) = (names(run, "retrieved ")?, names(run, "reported ")?);
    let may_be_ignored = names(run, "ignored ")?;
    let was_ignored: BTreeSet<_> = failing.intersection(&may_be_ignored).copied().collect();
    let heard_of = [&was_retrieved, &was_reported, &was_ignored];
    for name in &failing {
        let times = heard_of.iter().filter(|names| names.contains(name)).count();
        ensure!(times == 1, "{name} failed, and was heard of {times} times");
    }
    for name in heard_of.into_iter().flatten() {
        ensure!(failing.contains(name), "{name} did not fail");
    }
    let counted = (failing.len(), was_retrieved.len(), was_reported.len(), was_ignored.len());
    ensure!((failed, retrieved, reported, ignored) == counted, "others were counted: {counted:?}");
    Ok(())
}

/// The rest of the lines that begin so.
fn those<'a>(run: &'a Run, beginning: &'a str) -> impl Iterator<Item = &'a str> {
    run.said.iter().filter_map(move |line| line.strip_prefix(beginning))
}

/// The names in such lines, each of which is there once.
fn names<'a>(run: &'a Run, beginning: &'a str) -> anyhow::Result<BTreeSet<&'a str>> {
    let mut names = BTreeSet::new();
    for name in those(run, beginning) {
        ensure!(names.insert(name), "{beginning}{name}, twice");
    }
    Ok(names)
}
