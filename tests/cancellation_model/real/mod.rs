//! The same programs on the library.

mod steps;
mod words;

use crate::log::Log;
use crate::program::{Moment, Program, Request};
use futures::future::LocalBoxFuture;
use hearken::{Budget, Executor, ManualClock, Next, ReportKind, Task, TaskRef, TaskState, Verdict};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;
use steps::spawn;
use words::reason;

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
const MOST_TURNS: usize = 500;

/// So are more polls of its leaves in one program.
const MOST_POLLS: usize = 10_000;

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
    /// What has been handed over, and not been taken.
    shelf: RefCell<Option<LocalBoxFuture<'static, anyhow::Result<()>>>>,
    /// Nothing is said any more.
    is_over: Cell<bool>,
    /// Of all leaves that wait.
    wakers: RefCell<Vec<Waker>>,
    /// How often leaves were polled.
    polls: Cell<usize>,
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
            self.polls.set(self.polls.get() + 1);
            assert!(self.polls.get() < MOST_POLLS, "the executor spins");
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
        self.shelf.take();
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
