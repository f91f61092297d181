//! The same programs on the library.

use crate::log::Log;
use crate::program::{Act, After, Kind, Loser, Moment, Program, Request, Step};
use anyhow::anyhow;
use futures::StreamExt;
use futures::future::{Either, LocalBoxFuture, join_all, select};
use futures::stream::FuturesUnordered;
use futures_concurrency::future::Join;
use hearken::{
    AwaitedItself, Budget, Cancelled, CleanupFailed, Elapsed, Executor, Group, GroupError,
    ManualClock, Next, OwnedByGroup, Panicked, ReportKind, Task, TaskCancelled, TaskRef, TaskState,
    Verdict,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// In what way the executor is run. All give the same log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Plain,
    Debug,
    /// So many pieces of work a turn.
    Polls(usize),
    Shuffled(u64),
    /// At each moment all that wait are woken for nothing.
    Woken,
    /// The same, by another thread.
    WokenElsewhere,
}

/// More turns at one moment are a spin.
const MOST_TURNS: usize = 3_000;

/// Runs a program until nothing happens any more, or until `end`.
pub fn run(program: &Program, end: Moment, mode: Mode) -> Log {
    let stage = Rc::new(Stage::default());
    let builder = Executor::builder().clock(stage.clock.clone()).grace(None);
    let builder = builder.handler({
        let stage = stage.clone();
        move |report| {
            let task = report.task().and_then(|task| task.name().parse().ok()).unwrap_or(0);
            match report.kind() {
                ReportKind::NeverRetrieved => stage.say(task, "is reported"),
                ReportKind::Cancelled => {
                    let why = report.message().strip_prefix("a task was cancelled: ");
                    stage.say(task, format!("was cancelled: {}", reason(why.unwrap_or("?"))));
                }
                _ => {}
            }
            Verdict::Proceed
        }
    });
    let executor = match mode {
        Mode::Debug => builder.debug(true),
        Mode::Shuffled(seed) => builder.shuffle(seed),
        _ => builder,
    }
    .build();
    for task in &program.tasks {
        let task = spawn(&stage, task, |body| executor.spawn(body));
        stage.handles.borrow_mut().push(Some(task));
    }
    let mut requests = program.requests.iter().enumerate().peekable();
    loop {
        while let Some((number, (_, request))) = requests.next_if(|(_, r)| r.0 <= stage.now()) {
            match request {
                Request::Cancel(label) => {
                    let task = stage.tasks.borrow().get(label).cloned();
                    task.into_iter().for_each(|task| {
                        task.cancel_with(format!("request {number}"));
                    });
                }
                Request::Uncancel(label) => {
                    let task = stage.tasks.borrow().get(label).cloned();
                    task.into_iter().for_each(|task| {
                        task.uncancel();
                    });
                }
                Request::Interrupt => {
                    stage.turn_until_idle(&executor, mode);
                    executor.interrupter().interrupt();
                }
            }
        }
        let wakers = stage.wakers.take();
        match mode {
            Mode::Woken => wakers.into_iter().for_each(Waker::wake),
            Mode::WokenElsewhere => {
                let woken = std::thread::spawn(|| wakers.into_iter().for_each(Waker::wake));
                woken.join().expect("to wake does not panic");
            }
            _ => {}
        }
        if !stage.turn_until_idle(&executor, mode) {
            break;
        }
        let next_timer = executor.next_deadline().map(|deadline| deadline.as_nanos() / 1_000_000);
        let next = next_timer.into_iter().chain(requests.peek().map(|(_, r)| r.0)).min();
        match next {
            Some(next) if next <= end => {
                let wait = next.saturating_sub(stage.now());
                stage.clock.advance(Duration::from_millis(wait));
            }
            _ => break,
        }
    }
    stage.close(executor)
}

/// What all futures of a program share.
#[derive(Default)]
struct Stage {
    clock: ManualClock,
    log: RefCell<Log>,
    /// By the labels of their bodies, the latest of each.
    tasks: RefCell<BTreeMap<u32, TaskRef>>,
    handles: RefCell<Vec<Option<Task<()>>>>,
    /// Nothing is said any more.
    is_over: Cell<bool>,
    /// Of all leaves that wait.
    wakers: RefCell<Vec<Waker>>,
    /// How many futures there are that have neither ended nor been dropped.
    futures: Cell<isize>,
    forgotten: Cell<isize>,
}

impl Stage {
    fn now(&self) -> Moment {
        self.clock.now().as_nanos() / 1_000_000
    }

    fn say(&self, label: u32, what: impl Into<String>) {
        if !self.is_over.get() {
            self.log.borrow_mut().say(self.now(), label, what);
        }
    }

    /// Polls a leaf, and keeps its waker.
    async fn woken<F: Future>(&self, leaf: F) -> F::Output {
        let mut leaf = pin!(leaf);
        poll_fn(|cx| {
            self.wakers.borrow_mut().push(cx.waker().clone());
            leaf.as_mut().poll(cx)
        })
        .await
    }

    /// False if that does not end.
    fn turn_until_idle(&self, executor: &Executor, mode: Mode) -> bool {
        for _ in 0..MOST_TURNS {
            let turn = match mode {
                Mode::Polls(polls) => executor.turn(Budget::Polls(polls)),
                _ => executor.turn(Budget::Batch),
            };
            if !executor.ledger().balances() {
                self.say(0, format!("the ledger does not balance: {}", executor.ledger()));
            }
            if turn.next != Next::Ready {
                return true;
            }
        }
        self.say(0, "spins");
        false
    }

    fn close(&self, executor: Executor) -> Log {
        let pending: Vec<u32> = executor
            .tasks()
            .iter()
            .filter(|task| matches!(task.state(), TaskState::Waiting | TaskState::Ready))
            .map(|task| task.name().parse().unwrap_or(0))
            .collect();
        pending.into_iter().for_each(|task| self.say(task, "is pending at the end"));
        let log = RefCell::new(self.log.take());
        self.is_over.set(true);
        self.tasks.take();
        self.handles.take();
        drop(executor);
        let left = self.futures.get();
        if left != 0 && self.forgotten.get() == 0 {
            log.borrow_mut().say(self.now(), 0, format!("{left} futures are left"));
        }
        log.into_inner()
    }
}

/// Counts a future, from its making to its drop.
struct Counted(Rc<Stage>);

impl Counted {
    fn new(stage: &Rc<Stage>) -> Counted {
        stage.futures.set(stage.futures.get() + 1);
        Counted(stage.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.futures.set(self.0.futures.get() - 1);
    }
}

type Ending = anyhow::Result<()>;

/// Spawns a task that says what it returns and how it ends.
fn spawn(
    stage: &Rc<Stage>,
    body: &Step,
    spawn: impl FnOnce(LocalBoxFuture<'static, Ending>) -> Task<()>,
) -> Task<()> {
    let label = body.label;
    let future = run_step(stage, body);
    let said = stage.clone();
    let task = spawn(Box::pin(async move {
        let ending = future.await;
        said.say(label, format!("returns {}", words(&ending)));
        ending
    }));
    task.set_name(label.to_string());
    stage.tasks.borrow_mut().insert(label, task.task_ref());
    let said = stage.clone();
    task.on_done(move |finished| {
        let words = match finished.info().state() {
            TaskState::Succeeded => "ended with a value",
            TaskState::Failed | TaskState::Panicked => "has failed",
            TaskState::Cancelled => return, // the report has the reason
            state => unreachable!("it has not ended: {state:?}"),
        };
        said.say(label, words);
    });
    task
}

fn run_step(stage: &Rc<Stage>, step: &Step) -> LocalBoxFuture<'static, Ending> {
    let (stage, step) = (stage.clone(), step.clone());
    let counted = Counted::new(&stage);
    Box::pin(async move {
        let _counted = counted;
        act(&stage, step.label, &step.act).await
    })
}

/// Does what a step does.
async fn act(stage: &Rc<Stage>, label: u32, act: &Act) -> Ending {
    let say = |what: &str| stage.say(label, what);
    let run = |step: &Step| run_step(stage, step);
    match act {
        Act::Log => {
            say("is here");
            Ok(())
        }
        Act::Sleep(duration) => {
            let waits = Waits::new(stage, label, false);
            stage.woken(hearken::sleep(Duration::from_millis(*duration))).await;
            say("has slept");
            waits.is_over.set(true);
            Ok(())
        }
        Act::Pending | Act::Bomb => {
            let _waits = Waits::new(stage, label, *act == Act::Bomb);
            stage.woken(pending()).await
        }
        Act::Fail => Err(Failure(label).into()),
        Act::Panic => panic!("panic {label}"),
        Act::CancelSelf => {
            hearken::current().cancel_with(format!("by itself at {label}"));
            Ok(())
        }
        Act::Uncancel => {
            hearken::current().uncancel();
            Ok(())
        }
        Act::Seq(parts) => {
            for part in parts {
                run(part).await?;
            }
            Ok(())
        }
        Act::Repeat(times, part) => {
            for _ in 0..*times {
                run(part).await?;
            }
            Ok(())
        }
        Act::Try(part) => {
            let ending = run(part).await;
            say(&format!("tried: {}", words(&ending)));
            Ok(())
        }
        Act::Scope { inside, cleanup, after } => {
            let token = match hearken::scope(run(inside)).await {
                Ok(ending) => {
                    say("is through");
                    return ending;
                }
                Err(token) => token,
            };
            say(&format!("heard {:?}: {}", token.origin(), reason(token.reason())));
            run(cleanup).await?;
            say(&format!("{after:?}"));
            match after {
                After::Accept => token.accept(),
                After::Return => Err(token)?,
                After::Rethrow => token.rethrow().await,
                After::Drop => drop(token),
            }
            Ok(())
        }
        Act::Shield(inside) => {
            let ending = hearken::shield(run(inside)).await;
            say("is through");
            ending
        }
        Act::Timeout(limit, inside) => {
            match hearken::timeout(Duration::from_millis(*limit), run(inside)).await {
                Ok(ending) => {
                    say("is in time");
                    ending
                }
                Err(Elapsed) => {
                    say("has elapsed");
                    Err(Elapsed.into())
                }
            }
        }
        Act::Finally { inside, cleanup } => {
            let cleanup = async || {
                say("cleans up");
                run(cleanup).await?;
                say("has cleaned up");
                Ok(())
            };
            let ending = hearken::finally(run(inside), cleanup).await;
            say(&format!("gave {}", words(&ending)));
            ending
        }
        Act::Await(body) => await_task(stage, label, spawn(stage, body, hearken::spawn)).await,
        Act::AwaitTask(number) => {
            let task = stage.handles.borrow_mut().get_mut(*number).and_then(Option::take);
            match task {
                Some(task) => await_task(stage, label, task).await,
                None => {
                    say("finds no handle");
                    Ok(())
                }
            }
        }
        Act::Spawn(body) => {
            spawn(stage, body, hearken::spawn).detach();
            Ok(())
        }
        Act::Gather(kind, bodies) => {
            let tasks: Vec<_> =
                bodies.iter().map(|body| spawn(stage, body, hearken::spawn)).collect();
            let ending = match kind {
                Kind::Gather => hearken::gather(tasks).await,
                Kind::TryGather => hearken::try_gather(tasks).await,
                Kind::Settle => {
                    for ending in hearken::settle(tasks).await {
                        let ending = ending.map_err(anyhow::Error::from);
                        say(&format!("was given {}", words(&ending)));
                    }
                    return Ok(());
                }
            };
            let ending = ending.map(drop).map_err(anyhow::Error::from);
            say(&format!("was given {}", words(&ending)));
            ending
        }
        Act::Group { tasks, body } => {
            let ending = hearken::group(async |group: Group| {
                for task in tasks {
                    spawn(stage, task, |future| group.spawn(future)).detach();
                }
                run(body).await
            })
            .await;
            let ending = ending.map_err(anyhow::Error::from);
            say(&format!("gave {}", words(&ending)));
            ending
        }
        Act::Join(parts) => first_error(stage, label, join_all(parts.iter().map(run)).await),
        Act::Concurrent(parts) => {
            let branches: Vec<_> = parts.iter().map(run).collect();
            first_error(stage, label, branches.join().await)
        }
        Act::Set(parts) => {
            let numbered = |(at, part)| {
                let branch = run(part);
                async move { (at, branch.await) }
            };
            let set: FuturesUnordered<_> = parts.iter().enumerate().map(numbered).collect();
            let mut endings: Vec<_> = set.collect().await;
            endings.sort_by_key(|(at, _)| *at);
            first_error(stage, label, endings.into_iter().map(|(_, ending)| ending).collect())
        }
        Act::Stream { parts, each } => {
            let named = |part| {
                let branch = run(part);
                async move { (part.label, branch.await) }
            };
            let mut set: FuturesUnordered<_> = parts.iter().map(named).collect();
            while let Some((branch, ending)) = set.next().await {
                say(&format!("branch {branch} gave {}", words(&ending)));
                drop(ending);
                run(each).await?;
            }
            Ok(())
        }
        Act::Select { first, second, loser } => {
            let (mut first_future, mut second_future) = (run(first), run(second));
            let (winner, ending, lost) = match select(&mut first_future, &mut second_future).await {
                Either::Left((ending, _)) => (first.label, ending, second_future),
                Either::Right((ending, _)) => (second.label, ending, first_future),
            };
            say(&format!("was won by {winner}"));
            match loser {
                Loser::Drop => {
                    drop(lost);
                    ending
                }
                Loser::Forget => {
                    stage.forgotten.set(stage.forgotten.get() + 1);
                    std::mem::forget(lost);
                    ending
                }
                Loser::Park { then, resume } => {
                    say(&format!("the winner gave {}", words(&ending)));
                    drop(ending);
                    run(then).await?;
                    if *resume { lost.await } else { Ok(()) }
                }
            }
        }
    }
}

async fn await_task(stage: &Stage, label: u32, task: Task<()>) -> Ending {
    let ending = task.await.map_err(anyhow::Error::from);
    stage.say(label, format!("was given {}", words(&ending)));
    ending
}

fn first_error(stage: &Stage, label: u32, endings: Vec<Ending>) -> Ending {
    for ending in &endings {
        stage.say(label, format!("a branch gave {}", words(ending)));
    }
    endings.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

/// A leaf that says so when it is dropped before its time.
struct Waits {
    stage: Rc<Stage>,
    label: u32,
    is_over: Cell<bool>,
    is_bomb: bool,
}

impl Waits {
    fn new(stage: &Rc<Stage>, label: u32, is_bomb: bool) -> Waits {
        Waits { stage: stage.clone(), label, is_over: Cell::new(false), is_bomb }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        self.stage.say(self.label, "is dropped");
        if self.is_bomb && !std::thread::panicking() {
            panic!("panic {}", self.label);
        }
    }
}

#[derive(Debug)]
struct Failure(u32);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {}", self.0)
    }
}

impl std::error::Error for Failure {}

/// The reasons of a group are all one here.
fn reason(reason: &str) -> &str {
    let of_group =
        ["another task of the group has failed", "a sibling has failed", "its group was dropped"];
    if of_group.contains(&reason) { "its group" } else { reason }
}

fn words(ending: &Ending) -> String {
    match ending {
        Ok(()) => "a value".to_owned(),
        Err(error) => words_of(error),
    }
}

fn words_of(error: &anyhow::Error) -> String {
    if let Some(token) = error.downcast_ref::<Cancelled>() {
        return format!("token: {}", reason(token.reason()));
    }
    if error.is::<Elapsed>() {
        return "elapsed".to_owned();
    }
    if let Some(cancelled) = error.downcast_ref::<TaskCancelled>() {
        return format!("cancelled task: {}", reason(cancelled.reason()));
    }
    if let Some(panicked) = error.downcast_ref::<Panicked>() {
        return panicked.message().to_owned();
    }
    if let Some(group) = error.downcast_ref::<GroupError>() {
        let errors: Vec<_> = group.errors().iter().map(words_of).collect();
        return format!("group [{}]", errors.join(", "));
    }
    if let Some(failed) = error.downcast_ref::<CleanupFailed>() {
        let error = words_of(failed.error());
        return match failed.before() {
            Some(before) => format!("clean-up: {error}, after {}", words_of(before)),
            None => format!("clean-up: {error}"),
        };
    }
    if error.is::<OwnedByGroup>() {
        return "owned by its group".to_owned();
    }
    if error.is::<AwaitedItself>() {
        return "awaited itself".to_owned();
    }
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.to_string(),
        None => anyhow!("unknown: {error:#}").to_string(),
    }
}
