//! Programs as plain data: what some tasks do, and who asks them to cancel when.
//!
//! A [`Step`] is one `async` block of a program, with what it awaits as its
//! branches. The same data is interpreted twice, by the specification
//! (`model/`) and on the library (`real.rs`). Each step has a label; the lines
//! of a log begin with it, and a task is known by the label of its body.
//!
//! Every step gives an `anyhow::Result<()>`, and hands on errors with `?`, as
//! most code does. A step that stands for several lines of a real program says
//! which in its documentation.

use std::fmt;

/// Milliseconds since the clock began.
pub type Moment = u64;

/// One `async` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub label: u32,
    pub act: Act,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Says that it was here.
    Log,
    /// `sleep(..).await`
    Sleep(Moment),
    /// `pending().await`
    Pending,
    /// `bail!(..)`
    Fail,
    /// `panic!(..)`
    Panic,
    /// Waits for ever, and panics when it is dropped.
    Bomb,
    /// `current().cancel()`
    CancelSelf,
    /// `current().uncancel()`
    Uncancel,
    /// One after the other; an error ends it.
    Seq(Vec<Step>),
    /// The same several times.
    Repeat(u32, Box<Step>),
    /// Says how it ended, and goes on.
    Try(Box<Step>),
    /// `match scope(inside).await { Ok(ending) => ending, Err(token) => { cleanup.await?; after } }`
    Scope { inside: Box<Step>, cleanup: Box<Step>, after: After },
    /// `shield(inside).await`
    Shield(Box<Step>),
    /// `timeout(limit, inside).await?`
    Timeout(Moment, Box<Step>),
    /// `finally(inside, cleanup).await`
    Finally { inside: Box<Step>, cleanup: Box<Step> },
    /// `spawn(body).await?`
    Await(Box<Step>),
    /// `spawn(body).detach()`
    Spawn(Box<Step>),
    /// Awaits the task of the program with this number, if nobody else has.
    AwaitTask(usize),
    /// Awaits the future that is on the shelf, if there is one.
    TakeOver,
    /// `gather(bodies.map(spawn)).await`
    Gather(Kind, Vec<Step>),
    /// `group(async |g| { tasks.for_each(|task| g.spawn(task).detach()); body.await }).await`
    Group { tasks: Vec<Step>, body: Box<Step> },
    /// `join_all(branches).await`, then the first error.
    Join(Vec<Step>),
    /// The same in a `FuturesUnordered`: each branch has a waker of its own.
    Set(Vec<Step>),
    /// The same by futures-concurrency: also wakers of their own.
    Concurrent(Vec<Step>),
    /// A `FuturesUnordered`, of which one comes out after the other: `while let
    /// Some(ending) = set.next().await { each.await?; }`. While `each` runs, the
    /// others are kept and not polled.
    Stream { parts: Vec<Step>, each: Box<Step> },
    /// `let mut kept = pin!(kept); user.await` says how it ended, and goes on; then
    /// `kept.await`, if `resume` says so and it has not ended. What the user awaits by
    /// reference is [`Kept`](Act::Kept).
    Keep { kept: Box<Step>, user: Box<Step>, resume: bool },
    /// `(&mut kept).await`, of what the nearest step around keeps, if that has not ended.
    Kept,
    /// `select(first, second).await`
    Select { first: Box<Step>, second: Box<Step>, loser: Loser },
}

/// What becomes of the token that a scope was given, after the clean-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// `token.accept()`
    Accept,
    /// `Err(token)?`
    Return,
    /// `token.rethrow().await`
    Rethrow,
    /// `drop(token)`
    Drop,
}

/// What becomes of the branch that lost a `select`.
#[derive(Clone, Debug, PartialEq)]
pub enum Loser {
    /// It is dropped, and the winner's ending is the step's.
    Drop,
    /// It is forgotten, and the winner's ending is the step's.
    Forget,
    /// It is put on the shelf, from which another task may take it; the winner's
    /// ending is the step's.
    HandOver,
    /// It is kept and not polled while `then` runs; the winner's ending is only
    /// talked about. Afterwards it is awaited, if `resume` says so.
    Park { then: Box<Step>, resume: bool },
}

/// Which of the three that wait for several tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Gather,
    TryGather,
    Settle,
}

/// A whole program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Spawned at the beginning, in this order. Their handles are kept until
    /// somebody awaits them.
    pub tasks: Vec<Step>,
    /// In order of their moments.
    pub requests: Vec<(Moment, Request)>,
}

/// Something that is done from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// The latest task whose body has this label is asked to cancel.
    Cancel(u32),
    Uncancel(u32),
    /// All are, by one request.
    Interrupt,
}

impl Step {
    pub fn new(act: Act) -> Step {
        Step { label: 0, act }
    }

    /// The steps that it is made of.
    pub fn parts_mut(&mut self) -> Vec<&mut Step> {
        match &mut self.act {
            Act::Log | Act::Sleep(_) | Act::Pending | Act::Fail | Act::Panic | Act::Bomb => vec![],
            Act::CancelSelf | Act::Uncancel | Act::AwaitTask(_) | Act::TakeOver => vec![],
            Act::Kept => vec![],
            Act::Keep { kept, user, .. } => vec![kept, user],
            Act::Repeat(_, part) | Act::Try(part) | Act::Shield(part) => vec![part],
            Act::Timeout(_, part) | Act::Await(part) | Act::Spawn(part) => vec![part],
            Act::Scope { inside, cleanup, .. } | Act::Finally { inside, cleanup } => {
                vec![inside, cleanup]
            }
            Act::Seq(parts) | Act::Gather(_, parts) | Act::Join(parts) => {
                parts.iter_mut().collect()
            }
            Act::Set(parts) | Act::Concurrent(parts) => parts.iter_mut().collect(),
            Act::Group { tasks, body } => tasks.iter_mut().chain([&mut **body]).collect(),
            Act::Stream { parts, each } => parts.iter_mut().chain([&mut **each]).collect(),
            Act::Select { first, second, loser: Loser::Park { then, .. } } => {
                vec![first, second, then]
            }
            Act::Select { first, second, .. } => vec![first, second],
        }
    }

    /// The steps that it is made of.
    pub fn parts(&self) -> Vec<Step> {
        self.clone().parts_mut().into_iter().map(|part| part.clone()).collect()
    }

    /// Whether it, or a part of it, does `what`.
    pub fn contains(&self, what: &impl Fn(&Act) -> bool) -> bool {
        what(&self.act) || self.parts().iter().any(|part| part.contains(what))
    }

    /// Gives labels from `next` on. Those that it had are noted in `names`, with
    /// the new one, so that requests can follow.
    fn number(&mut self, next: &mut u32, names: &mut Vec<(u32, u32)>) {
        names.push((self.label, *next));
        self.label = *next;
        *next += 1;
        self.parts_mut().into_iter().for_each(|part| part.number(next, names));
    }
}

impl Program {
    pub fn new(tasks: Vec<Step>, requests: Vec<(Moment, Request)>) -> Program {
        Program { tasks, requests }
    }

    /// Labels all steps, from one on, in the order in which they stand. A
    /// request goes to the step that had its label before.
    pub fn numbered(mut self) -> Program {
        let (mut next, mut names) = (1, Vec::new());
        self.tasks.iter_mut().for_each(|task| task.number(&mut next, &mut names));
        let renamed = |label: u32| names.iter().find(|(old, _)| *old == label).map(|(_, new)| *new);
        for (_, request) in &mut self.requests {
            if let Request::Cancel(label) | Request::Uncancel(label) = request {
                *label = renamed(*label).unwrap_or(0);
            }
        }
        self.requests
            .retain(|(_, request)| !matches!(request, Request::Cancel(0) | Request::Uncancel(0)));
        self.requests.sort_by_key(|(moment, _)| *moment);
        self
    }

    /// The labels of all bodies of tasks.
    pub fn bodies(&self) -> Vec<u32> {
        fn below(step: &Step, bodies: &mut Vec<u32>) {
            match &step.act {
                Act::Await(body) | Act::Spawn(body) => bodies.push(body.label),
                Act::Gather(_, tasks) | Act::Group { tasks, .. } => {
                    bodies.extend(tasks.iter().map(|task| task.label));
                }
                _ => {}
            }
            step.parts().iter().for_each(|part| below(part, bodies));
        }
        let mut bodies: Vec<u32> = self.tasks.iter().map(|task| task.label).collect();
        self.tasks.iter().for_each(|task| below(task, &mut bodies));
        bodies
    }
}

// ---- As text -----------------------------------------------------------------

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, task) in self.tasks.iter().enumerate() {
            writeln!(f, "task number {number}:")?;
            task.write(f, 1)?;
        }
        self.requests.iter().try_for_each(|(at, request)| writeln!(f, "at {at}: {request:?}"))
    }
}

impl Step {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let head = match &self.act {
            Act::Seq(_) => "in order".to_owned(),
            Act::Repeat(times, _) => format!("{times} times"),
            Act::Scope { after, .. } => format!("scope, clean-up, {after:?}"),
            Act::Finally { .. } => "finally, clean-up".to_owned(),
            Act::Timeout(limit, _) => format!("timeout {limit}"),
            Act::Gather(kind, _) => format!("{kind:?} of tasks"),
            Act::Group { tasks, .. } => format!("group of {} tasks, body", tasks.len()),
            Act::Select { loser: Loser::Park { resume, .. }, .. } => {
                format!("select, loser parked while the third runs, resumed: {resume}")
            }
            Act::Select { loser, .. } => format!("select, loser: {loser:?}"),
            Act::Keep { resume, .. } => {
                format!("keep the first, run the second, await the first: {resume}")
            }
            Act::Kept => "await what is kept, by reference".to_owned(),
            Act::Try(_) => "Try".to_owned(),
            Act::Shield(_) => "shield".to_owned(),
            Act::Await(_) => "await task".to_owned(),
            Act::Spawn(_) => "spawn task".to_owned(),
            Act::Join(_) => "join".to_owned(),
            Act::Set(_) => "set".to_owned(),
            Act::Concurrent(_) => "concurrent join".to_owned(),
            Act::Stream { .. } => "stream of branches, the last for each that ends".to_owned(),
            act => format!("{act:?}"),
        };
        writeln!(f, "{:width$}{:>3}  {head}", "", self.label, width = 4 * depth)?;
        self.parts().iter().try_for_each(|part| part.write(f, depth + 1))
    }
}
