//! Where hearken is meant to cancel as asyncio does, it says the same lines.
//!
//! `asyncio/cancellation.txt` holds some hundreds of programs in a small
//! language, and what CPython said to each. `asyncio/cancellation.py` describes
//! the language, lists what is deliberately different, and is the interpreter
//! for asyncio; here is the one for hearken. No Python is needed to run this.
//!
//! A test is a family of programs. It says of every program that differs what
//! asyncio said and what hearken says.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::anyhow;
use hearken::{
    Budget, Cancelled, CleanupFailed, Executor, Group, ManualClock, Next, OutcomeError, Report,
    ReportKind, Task, TaskError, TaskRef, Verdict, finally, gather, group, now, scope, settle,
    shield, sleep, spawn, timeout, yield_now,
};

const RECORDING: &str = include_str!("asyncio/cancellation.txt");

// The recording.

/// A program and what asyncio said to it.
#[derive(Default)]
struct Recorded {
    name: &'static str,
    text: String,
    lines: Vec<&'static str>,
}

/// All programs of the recording, in its order.
fn recorded() -> Vec<Recorded> {
    let mut programs: Vec<Recorded> = Vec::new();
    for line in RECORDING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').expect("a name stands in brackets");
            programs.push(Recorded { name, ..Recorded::default() });
            continue;
        }
        let program = programs.last_mut().expect("a name comes first");
        match line.strip_prefix(": ") {
            Some(text) => program.text.extend([text, " "]),
            None => program.lines.push(line),
        }
    }
    programs
}

// The language.

type Block = Rc<[Statement]>;

/// `try { A } except { B }` has two words and two blocks.
#[derive(Default)]
struct Statement {
    words: Vec<String>,
    blocks: Vec<Block>,
}

/// Reads statements up to the brace that closes their block, or to the end.
fn parsed<'a>(tokens: &mut impl Iterator<Item = &'a str>) -> Block {
    let mut statements = vec![Statement::default()];
    while let Some(token) = tokens.next() {
        let statement = statements.last_mut().expect("it begins with one");
        match token {
            "}" => break,
            ";" => statements.push(Statement::default()),
            "{" => statement.blocks.push(parsed(tokens)),
            word => statement.words.push(String::from(word)),
        }
    }
    statements.retain(|statement| !statement.words.is_empty());
    statements.into()
}

fn program(text: &str) -> Block {
    let spaced = text.replace(';', " ; ").replace('{', " { ").replace('}', " } ");
    parsed(&mut spaced.split_whitespace())
}

// The interpreter.

/// What a statement comes to: a value if it returns.
type Flow = anyhow::Result<Option<String>>;

/// How a cancellation that was caught goes on outward.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Raise {
    /// By `Cancelled::rethrow`.
    Rethrow,
    /// As an error that is returned, where that comes to the same.
    Return,
}

/// A program while it runs.
struct Play {
    raise: Raise,
    said: RefCell<Vec<String>>,
    tasks: RefCell<HashMap<String, Task<Option<String>>>>,
    task_refs: RefCell<HashMap<String, TaskRef>>,
}

impl Play {
    fn say(&self, text: &str) {
        let now_ms = now().as_nanos() / 1_000_000;
        self.said.borrow_mut().push(format!("{now_ms} {text}"));
    }

    /// Says how the task will have ended.
    fn announce(self: &Rc<Self>, name: &str, task: &Task<Option<String>>) {
        let (play, announced) = (self.clone(), String::from(name));
        task.on_done(move |finished| {
            let ending = match finished.result() {
                Ok(value) => value.clone().unwrap_or_else(|| String::from("done")),
                Err(OutcomeError::Ended(TaskError::Cancelled(_))) => String::from("cancelled"),
                Err(OutcomeError::Ended(TaskError::Failed(error))) => {
                    format!("failed: {}", in_words(error))
                }
                Err(other) => format!("{other:?}"),
            };
            play.say(&format!("{announced}: {ending}"));
        });
    }

    fn keep(&self, name: &str, task: Task<Option<String>>) {
        self.task_refs.borrow_mut().insert(String::from(name), task.task_ref());
        self.tasks.borrow_mut().insert(String::from(name), task);
    }

    fn task(&self, name: &str) -> Task<Option<String>> {
        self.tasks.borrow_mut().remove(name).expect("a task is awaited once")
    }

    fn task_ref(&self, name: &str) -> TaskRef {
        self.task_refs.borrow()[name].clone()
    }
}

/// Only the clean-up's error, as in Python, where the other is its context.
fn in_words(error: &anyhow::Error) -> String {
    match error.downcast_ref::<CleanupFailed>() {
        Some(failed) => in_words(failed.error()),
        None => error.to_string(),
    }
}

/// Where a statement stands.
#[derive(Clone)]
struct Scene {
    play: Rc<Play>,
    /// What the `except` around it has caught, until it is raised again.
    caught: Rc<RefCell<Option<Cancelled>>>,
    /// Whether somebody around it would take an error for an error: a
    /// `try … except`, or the `finally` whose clean-up it is.
    must_rethrow: bool,
    group: Option<Group>,
}

impl Scene {
    fn new(play: Rc<Play>) -> Scene {
        Scene { play, caught: Rc::default(), must_rethrow: false, group: None }
    }

    /// Runs statements until one of them returns.
    fn run(&self, block: &Block) -> Pin<Box<dyn Future<Output = Flow>>> {
        let (scene, block) = (self.clone(), block.clone());
        Box::pin(async move {
            for statement in &*block {
                if let Some(value) = scene.statement(statement).await? {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        })
    }

    async fn statement(&self, statement: &Statement) -> Flow {
        let play = &self.play;
        let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
        match (&words[..], &statement.blocks[..]) {
            (["say", words @ ..], []) => play.say(&words.join(" ")),
            (["sleep", delay_ms], []) => sleep(ms(delay_ms)).await,
            (["yield"], []) => yield_now().await,
            (["return", words @ ..], []) => return Ok(Some(words.join(" "))),
            (["fail", words @ ..], []) => return Err(anyhow!(words.join(" "))),
            (["raise"], []) => {
                let caught = self.caught.take().expect("raised once, in an except");
                if play.raise == Raise::Return && !self.must_rethrow {
                    return Err(caught.into());
                }
                caught.rethrow().await
            }
            (["try", "except"], [body, handler]) => {
                let body = Scene { must_rethrow: true, ..self.clone() }.run(body);
                match scope(body).await {
                    Ok(flow) => return flow,
                    Err(cancelled) => {
                        let caught = Rc::new(RefCell::new(Some(cancelled)));
                        let handled =
                            Scene { caught: caught.clone(), ..self.clone() }.run(handler).await;
                        if let Some(cancelled) = caught.take() {
                            cancelled.accept();
                        }
                        return handled;
                    }
                }
            }
            (["try", "finally"], [body, cleanup]) => {
                let scene = Scene { must_rethrow: true, ..self.clone() };
                let cleanup = async || scene.run(cleanup).await.map(drop);
                return finally(self.run(body), cleanup).await;
            }
            (["try", "rescue"], [body, handler]) => match self.run(body).await {
                Err(error) if !error.is::<Cancelled>() => {
                    play.say(&format!("rescued from {}", in_words(&error)));
                    return self.run(handler).await;
                }
                flow => return flow,
            },
            (["timeout", limit_ms, "late"], [body, handler]) => {
                match timeout(ms(limit_ms), self.run(body)).await {
                    Ok(flow) => return flow,
                    Err(_elapsed) => return self.run(handler).await,
                }
            }
            (["shield"], [body]) => return shield(self.run(body)).await,
            (["group", "broken"], [body, handler]) => {
                let body =
                    async |group| Scene { group: Some(group), ..self.clone() }.run(body).await;
                match group(body).await {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        let errors: Vec<String> = error.errors().iter().map(in_words).collect();
                        play.say(&format!("group: {}", errors.join(", ")));
                        return self.run(handler).await;
                    }
                }
            }
            (["spawn", name], [body]) => {
                let task = spawn(Scene::new(play.clone()).run(body));
                play.announce(name, &task);
                play.keep(name, task);
            }
            (["child", name], [body]) => {
                let group = self.group.as_ref().expect("a child stands in a group");
                let task = group.spawn(Scene::new(play.clone()).run(body));
                play.keep(name, task);
            }
            (["await", name], []) => drop(play.task(name).await?),
            (["gather", names @ ..], []) => {
                drop(gather(names.iter().map(|name| play.task(name))).await?);
            }
            (["settle", names @ ..], []) => {
                drop(settle(names.iter().map(|name| play.task(name))).await);
            }
            (["cancel", name], []) => drop(play.task_ref(name).cancel()),
            (["uncancel", name], []) => drop(play.task_ref(name).uncancel()),
            (["count", name], []) => {
                play.say(&format!("{name} counts {}", play.task_ref(name).cancelling()));
            }
            (words, _) => panic!("no such statement: {}", words.join(" ")),
        }
        Ok(None)
    }
}

fn ms(number: &str) -> Duration {
    Duration::from_millis(number.parse().expect("a number of milliseconds"))
}

/// More than any program needs; one that goes round for ever ends here.
const MOST_TURNS: usize = 10_000;

/// What hearken says to a program.
fn said_by_hearken(text: &str, raise: Raise) -> Vec<String> {
    let play = Rc::new(Play {
        raise,
        said: RefCell::default(),
        tasks: RefCell::default(),
        task_refs: RefCell::default(),
    });
    let hears = play.clone();
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .handler(move |report: &Report| {
            // asyncio doesn't report cancellations; nor the failure of a body whose
            // clean-up was cut short, which it loses.
            let is_lost = report.message().contains("dropped before it could hand it on");
            if report.kind() != ReportKind::Cancelled && !is_lost {
                hears.said.borrow_mut().push(format!("reported: {report}"));
            }
            Verdict::Proceed
        })
        .build();

    let main = executor.spawn(Scene::new(play.clone()).run(&program(text)));
    let ends = (0..MOST_TURNS).find_map(|_| match executor.turn(Budget::Batch).next {
        Next::Empty => Some(None),
        Next::Waiting => Some(Some("waits for ever")),
        _ => None,
    });
    if let Some(trouble) = ends.unwrap_or(Some("goes round for ever")) {
        play.said.borrow_mut().push(String::from(trouble));
    }
    if let Err(OutcomeError::Ended(error)) = main.result() {
        play.said.borrow_mut().push(format!("the program itself: {error}"));
    }
    let said = play.said.take();

    let _ = executor.shut_down();
    drop((main, play.tasks.take()));
    let _ = executor.turn(Budget::Batch);
    assert!(executor.ledger().balances(), "{text}\n{}", executor.ledger());
    said
}

/// Runs all programs of a family, and shows those that differ.
fn same_as_recorded(family: &str) {
    let heading = format!("{family}: ");
    let programs: Vec<Recorded> =
        recorded().into_iter().filter(|program| program.name.starts_with(&heading)).collect();
    assert!(!programs.is_empty(), "{family} was never recorded");

    let mut differing = 0;
    let mut shown = String::new();
    for Recorded { name, text, lines } in &programs {
        let mut differs = false;
        for raise in [Raise::Rethrow, Raise::Return] {
            let said = said_by_hearken(text, raise);
            if said == *lines || differs {
                continue;
            }
            differs = true;
            let how = if raise == Raise::Return { " (`raise` as `?`)" } else { "" };
            let (lines, said) = (lines.join("\n    "), said.join("\n    "));
            let _ = write!(
                shown,
                "\n[{name}]{how}\n{text}\n  asyncio:\n    {lines}\n  hearken:\n    {said}\n"
            );
        }
        differing += usize::from(differs);
    }
    assert!(differing == 0, "{differing} of {} programs differ\n{shown}", programs.len());
}

// The families.

// promise 4.3, 4.7: the innermost one hears, and what it lets go the next one
#[test]
fn one_request() {
    same_as_recorded("one_request");
}

// promise 4.5: the clean-up that runs is not protected
#[test]
fn two_requests() {
    same_as_recorded("two_requests");
}

// promise 4.3, 4.5
#[test]
fn further_requests() {
    same_as_recorded("further_requests");
}

// promise 4.2, 4.8
#[test]
fn before_the_first_step() {
    same_as_recorded("before_the_first_step");
}

// promise 4.6
#[test]
fn to_itself() {
    same_as_recorded("to_itself");
}

// promise 4.8
#[test]
fn awaits() {
    same_as_recorded("awaits");
}

// promise 4.5, 4.8
#[test]
fn awaits_in_clean_ups() {
    same_as_recorded("awaits_in_clean_ups");
}

// promise 4.8
#[test]
fn awaits_of_awaits() {
    same_as_recorded("awaits_of_awaits");
}

// promise 4.8, 5.1
#[test]
fn gathers() {
    same_as_recorded("gathers");
}

// promise 4.6, 4.7
#[test]
fn shields() {
    same_as_recorded("shields");
}

// promise 4.9
#[test]
fn deadlines() {
    same_as_recorded("deadlines");
}

// promise 4.5, 4.9: a deadline never takes the place of somebody's request
#[test]
fn deadlines_and_requests() {
    same_as_recorded("deadlines_and_requests");
}

// promise 4.9: the outermost answers
#[test]
fn nested_deadlines() {
    same_as_recorded("nested_deadlines");
}

// promise 4.7, 4.9
#[test]
fn limited_clean_ups() {
    same_as_recorded("limited_clean_ups");
}

// promise 4.8, 4.9
#[test]
fn deadlines_of_awaits() {
    same_as_recorded("deadlines_of_awaits");
}

// promise 4.10
#[test]
fn taken_back() {
    same_as_recorded("taken_back");
}

// promise 5.4
#[test]
fn groups() {
    same_as_recorded("groups");
}

#[test]
fn every_family_that_was_recorded_has_a_test() {
    let recorded: BTreeSet<String> =
        recorded().iter().filter_map(|p| Some(p.name.split_once(": ")?.0.to_owned())).collect();
    let tested: BTreeSet<String> = include_str!("asyncio_cancellation.rs")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("same_as_recorded(\"")?.strip_suffix("\");"))
        .map(String::from)
        .collect();
    assert_eq!(tested, recorded);
}
