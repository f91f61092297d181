//! Looking in: every live task, and what it waits for.
//!
//! A dump reads what is recorded anyway, and never polls anybody. Nor does a
//! task pay for being dumped: that it waits for a timer or for another task is
//! not noted by it, but found. The wheel and each task hold the name of whoever
//! waits, or his waker, and a waker is a name.
//!
//! What is waited for through somebody else's waker (`FuturesUnordered`, a
//! socket, a channel) is therefore unknown here.

use crate::clock::Instant;
use crate::header::AwaitedBy;
use crate::id::{Name, TaskId};
use crate::report::{TaskInfo, TaskState};
use crate::run_queue::Entry;
use crate::state::State;
use crate::waker::name_of;
use std::fmt;

/// The state of an executor at one moment, as plain data. Its `Display` is the
/// tree of tasks (who spawned whom) as text.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let executor = hearken::Executor::new();
/// executor.spawn(async { Ok(hearken::sleep(Duration::from_secs(60)).await) }).named("nap").detach();
/// executor.run_until_idle();
/// let dump = executor.dump().to_string();
/// assert!(dump.contains("\"nap\""));
/// assert!(dump.contains("waits for a timer"));
/// ```
#[derive(Clone)]
pub struct Dump {
    /// How it is written. An error of `block_on` may hold a dump, so that every
    /// program can print one; but only one that makes dumps has this linked in.
    write: fn(&Seen, &mut fmt::Formatter<'_>) -> fmt::Result,
    /// Apart, so that such an error is small, and every answer of `block_on` with it.
    seen: Box<Seen>,
}

#[derive(Clone)]
struct Seen {
    now: Instant,
    /// The oldest first, so that a task is found by halving.
    tasks: Vec<Dumped>,
    ready: Vec<TaskId>,
    timers: usize,
    unretrieved: Vec<TaskInfo>,
}

/// Deeper than this, children stand below one another.
const MOST_INDENTED: usize = 32;

#[derive(Clone, Debug)]
struct Dumped {
    info: TaskInfo,
    timers: Vec<Instant>,
    awaits: Vec<TaskId>,
}

impl Dump {
    pub(crate) fn of(state: &State) -> Dump {
        let mut live = state.youngest_first();
        live.reverse();
        let table = state.table.borrow();
        let wheel = state.wheel.borrow();
        let tenant = |ticket| table.find(ticket).map(|task| task.header().id);
        let ready = table.queue().filter_map(|entry| match entry {
            Entry::Task(ticket) => tenant(ticket),
            Entry::Callback => None,
        });
        let mut seen = Seen {
            now: state.latest(),
            tasks: live.iter().map(|task| Dumped::new(state.info(task.header()))).collect(),
            ready: ready.collect(),
            timers: wheel.iter().count(),
            unretrieved: Vec::new(),
        };
        // Whoever is named, if it is one of ours.
        let ours = |name: Name| tenant(name.ticket()).filter(|_| name.executor() == state.number);
        for (deadline, name) in wheel.iter() {
            if let Some(sleeper) = seen.task(name.and_then(ours)) {
                sleeper.timers.push(deadline);
            }
        }
        for task in &live {
            let header = task.header();
            let awaiter = match header.awaited_by() {
                AwaitedBy::Task(name) => ours(name),
                AwaitedBy::Member(key) => state.members.borrow().task_of(key).and_then(ours),
                AwaitedBy::Nobody => header.rarely_awaited_by(name_of).and_then(ours),
            };
            if let Some(awaiter) = seen.task(awaiter) {
                awaiter.awaits.push(header.id);
            }
        }
        for task in state.held_failures() {
            seen.unretrieved.push(state.info(task.header()));
        }
        Dump { write: Seen::write, seen: Box::new(seen) }
    }

    /// The live tasks, the oldest first.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskInfo> + '_ {
        self.seen.tasks.iter().map(|dumped| &dumped.info)
    }

    /// Tasks that await one another in a circle; each circle once.
    ///
    /// None of them can ever go on, unless it waits beside that for something
    /// that is unknown here (a `select!` with a channel, say). A circle in which
    /// a task awaits several others is not found.
    pub fn cycles(&self) -> Vec<Vec<TaskId>> {
        self.seen.cycles()
    }
}

impl Seen {
    fn place(&self, id: TaskId) -> Option<usize> {
        self.tasks.binary_search_by_key(&id, |dumped| dumped.info.id()).ok()
    }

    fn task(&mut self, id: Option<TaskId>) -> Option<&mut Dumped> {
        let place = self.place(id?)?;
        Some(&mut self.tasks[place])
    }

    fn cycles(&self) -> Vec<Vec<TaskId>> {
        let mut cycles = Vec::new();
        // On which walk a task was met first: each is walked through once.
        let mut met = vec![None; self.tasks.len()];
        for walk in 0..self.tasks.len() {
            let mut path = Vec::new();
            let mut at = Some(walk);
            while let Some(place) = at.filter(|&place| met[place].is_none()) {
                met[place] = Some(walk);
                path.push(self.tasks[place].info.id());
                at = self.tasks[place].only_await().and_then(|id| self.place(id));
            }
            // Back on this very walk: from there on it is a circle.
            if let Some(place) = at.filter(|&place| met[place] == Some(walk))
                && let Some(entry) = path.iter().position(|&on| on == self.tasks[place].info.id())
            {
                cycles.push(path.split_off(entry));
            }
        }
        cycles
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, ready, timers) = (self.tasks.len(), self.ready.len(), self.timers);
        write!(f, "{tasks} tasks at {}, {ready} ready, {timers} timers", self.now)?;
        // An explicit stack: a chain of a million spawns is a deep tree.
        let mut children = vec![Vec::new(); self.tasks.len()];
        let mut stack = Vec::new();
        for place in (0..self.tasks.len()).rev() {
            match self.tasks[place].info.parent().and_then(|parent| self.place(parent)) {
                Some(parent) => children[parent].push(place),
                None => stack.push((place, 1)),
            }
        }
        while let Some((place, depth)) = stack.pop() {
            self.tasks[place].write(f, depth)?;
            stack.extend(children[place].iter().map(|&child| (child, depth + 1)));
        }
        if !self.ready.is_empty() {
            f.write_str("\nready queue:")?;
            self.ready.iter().try_for_each(|id| write!(f, " {id}"))?;
        }
        for info in &self.unretrieved {
            write!(f, "\nunretrieved failure: task {info}")?;
        }
        for cycle in self.cycles() {
            f.write_str("\ndeadlock: ")?;
            cycle.iter().try_for_each(|id| write!(f, "{id} awaits "))?;
            write!(f, "{}", cycle[0])?;
        }
        Ok(())
    }
}

impl Dumped {
    fn new(info: TaskInfo) -> Dumped {
        Dumped { info, timers: Vec::new(), awaits: Vec::new() }
    }

    /// Whom the task awaits, if that is all it waits for.
    fn only_await(&self) -> Option<TaskId> {
        match (&self.awaits[..], self.timers.is_empty()) {
            (&[one], true) => Some(one),
            _ => None,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Dumped { info, timers, awaits } = self;
        let state = match info.state() {
            TaskState::Ready => "ready",
            TaskState::Running => "running",
            _ => "waiting",
        };
        write!(
            f,
            "\n{:indent$}{info}: {state}, polled {} times",
            "",
            info.polls(),
            indent = depth.min(MOST_INDENTED) * 2
        )?;
        for deadline in timers {
            write!(f, ", waits for a timer at {deadline}")?;
        }
        for awaited in awaits {
            write!(f, ", waits for task {awaited}")?;
        }
        if info.state() == TaskState::Waiting && timers.is_empty() && awaits.is_empty() {
            f.write_str(", waits for something unknown")?;
        }
        Ok(())
    }
}

/// The tree of tasks as text.
impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.write)(&self.seen, f)
    }
}

/// The same.
impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.write)(&self.seen, f)
    }
}
