//! The same programs on the library.

mod deeds;
mod printed;
mod stage;
mod steps;
mod words;

pub use printed::in_a_process_of_its_own;
pub use words::Thrown;

use crate::log::Log;
use crate::program::{Host, Program, Verdict};
use hearken::{Budget, Executor, Next, ReportKind, Turn};
use printed::Printed;
use stage::{Content, Made, Stage};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use words::{answer, cancellation, error, figures};

/// Runs a program, and lets go of everything.
pub fn run(program: &Program) -> Log {
    let stage = Stage::set_up(program);
    let executor = build(program, &stage);
    let printed = Printed::begin(program);
    *stage.interrupter.borrow_mut() = Some(executor.interrupter());
    *stage.executor.borrow_mut() = Some(Rc::new(executor));
    for host in &program.host {
        let executor = stage.executor().expect("it is there until the end");
        match host {
            Host::Do(deed) => as_the_host(&stage, || stage.deed(deed)),
            Host::Turn => say_turn(&stage, &executor.turn(Budget::Batch)),
            Host::Polls(most) => say_turn(&stage, &executor.turn(Budget::Polls(*most))),
            Host::Until(by) => {
                let end = executor.now() + Duration::from_millis(*by);
                say_turn(&stage, &executor.turn(Budget::Until(end)));
            }
            Host::RunUntilIdle => say_turn(&stage, &executor.run_until_idle()),
            Host::Advance(by) => stage.clock.advance(Duration::from_millis(*by)),
            Host::BlockOn(body) => {
                stage.name_task(executor.ledger().spawned + 1, body.label);
                let answered = executor.block_on(steps::run(&stage, body.clone()));
                stage.say(body.label, answer(&answered));
                as_the_host(&stage, || drop(answered));
            }
            Host::ShutDown => {
                let shutdown = executor.shut_down();
                stage.say(
                    0,
                    format!(
                        "shut down: {} found, {} dropped, {} still held",
                        shutdown.found, shutdown.dropped, shutdown.still_held
                    ),
                );
            }
        }
        printed.say(&stage);
        let next = executor.next_deadline().map(|next| millis(next.as_nanos()));
        stage.say(0, format!("{}; {next:?}", figures(&executor.ledger())));
        assert!(executor.ledger().balances(), "{}", executor.ledger());
    }
    let executor = stage.executor.take();
    drop(executor);
    stage.gone.set(true);
    printed.say(&stage);
    stage.say(0, "the executor is gone");
    stage.handles.iter().for_each(|slot| drop(slot.take()));
    stage.timers.iter().for_each(|slot| drop(slot.take()));
    printed.say(&stage);
    stage.say(0, format!("left: {}", stage.left()));
    stage.clear_away()
}

/// What panics here is the host's own affair.
fn as_the_host(stage: &Stage, work: impl FnOnce()) {
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(work)) {
        let message = thrown.downcast_ref::<String>().map(String::as_str);
        let message = message.unwrap_or("a value that is not a message");
        stage.say(0, format!("the host panicked: {message}"));
        drop(thrown);
    }
}

fn build(program: &Program, stage: &Rc<Stage>) -> Executor {
    let settings = &program.settings;
    let (stage, mut rules) = (Rc::downgrade(stage), program.rules.clone());
    let clock = stage.upgrade().expect("it is here").clock.clone();
    let mut builder = Executor::builder()
        .clock(clock)
        .grace(settings.grace.map(Duration::from_millis))
        .closed_world(settings.closed_world)
        .debug(settings.debug)
        .max_tasks(settings.max_tasks);
    if let Some(seed) = settings.shuffle {
        builder = builder.shuffle(seed);
    }
    if settings.default_handler {
        return builder.build();
    }
    builder
        .handler(move |report| {
            let stage = stage.upgrade().expect("it is there for as long as the executor");
            let about = report.task().map_or(0, |task| stage.label_of(task.id().number()));
            let mut what = format!("hears {:?}", report.kind());
            if let Some(task) = report.task() {
                let parent = task.parent().map_or(0, |parent| stage.label_of(parent.number()));
                what += &format!(" ({:?}, spawned by {parent})", task.state());
            }
            if report.kind() == ReportKind::Cancelled {
                what += &format!(": {}", cancellation(report.message()));
            }
            if let Some(failed) = report.error() {
                what += &format!(": {}", error(failed));
            }
            stage.say(about, what);
            let kind = format!("{:?}", report.kind());
            let Some(at) = rules.iter().position(|rule| format!("{:?}", rule.kind) == kind) else {
                return hearken::Verdict::Proceed;
            };
            let rule = match rules[at].always {
                true => rules[at].clone(),
                false => rules.remove(at),
            };
            rule.deeds.iter().for_each(|deed| stage.deed(deed));
            match rule.verdict {
                Verdict::Proceed => hearken::Verdict::Proceed,
                Verdict::ShutDown => hearken::Verdict::ShutDown,
                Verdict::Ignore => hearken::Verdict::Ignore,
            }
        })
        .build()
}

fn say_turn(stage: &Stage, turn: &Turn) {
    let next = match turn.next {
        Next::Ready => "ready".to_owned(),
        Next::At(moment) => format!("at {}", millis(moment.as_nanos())),
        Next::Waiting => "waiting".to_owned(),
        Next::Empty => "empty".to_owned(),
        _ => "unknown".to_owned(),
    };
    let jumped = turn.jumped.map_or(0, |by| by.as_millis() as u64);
    stage.say(0, format!("turn: {} polled, next {next}, jumped {jumped}", turn.polled));
}

fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

impl Drop for Made {
    /// It says so, does what it is to do, and lets go of what it holds: also when
    /// it panics on the way.
    fn drop(&mut self) {
        let stage = Stage::here();
        let made = stage.made.borrow_mut().remove(&self.id);
        let Some(Content { label, payload, held }) = made else {
            return stage.say(self.label, "is dropped once more");
        };
        let _held = held;
        stage.say(label, "is dropped");
        payload.on_drop.iter().for_each(|deed| stage.deed(deed));
    }
}
