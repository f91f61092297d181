//! Looking in: every live task, and what it waits for.
//!
//! A dump reads what is recorded anyway, and never polls anybody. Nor does a
//! task pay for being dumped: that it waits for a timer or for another task is
//! not noted by it, but found. The wheel and each task hold the waker of
//! whoever waits, and a waker is a name.
//!
//! What is waited for through somebody else's waker (`FuturesUnordered`, a
//! socket, a channel) is therefore unknown here.

use crate::clock::Instant;
use crate::header::AwaitedBy;
use crate::id::{Name, TaskId, Ticket};
use crate::report::{TaskInfo, TaskState};
use crate::run_queue::Entry;
use crate::state::State;
use crate::waker::name_of;
use std::collections::BTreeMap;
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
#[derive(Clone, Debug)]
pub struct Dump {
    now: Instant,
    tasks: BTreeMap<TaskId, Dumped>,
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
        let live = state.youngest_first();
        let mut by_slot = BTreeMap::new();
        let mut tasks = BTreeMap::new();
        for task in &live {
            let header = task.header();
            by_slot.insert(header.id.slot(), header.id);
            let dumped =
                Dumped { info: state.info(header), timers: Vec::new(), awaits: Vec::new() };
            tasks.insert(header.id, dumped);
        }
        let tenant = |ticket: Ticket| {
            let id = *by_slot.get(&ticket.slot())?;
            (id.ticket() == ticket).then_some(id)
        };
        let ours =
            |name: Name| (name.executor() == state.number).then(|| tenant(name.ticket())).flatten();
        for (deadline, waker) in state.wheel.borrow().iter() {
            if let Some(sleeper) = name_of(waker).and_then(ours).and_then(|id| tasks.get_mut(&id)) {
                sleeper.timers.push(deadline);
            }
        }
        for task in &live {
            let header = task.header();
            let awaiter = match header.awaited_by() {
                AwaitedBy::Task(name) => ours(name),
                AwaitedBy::Node(key) => state.scopes.borrow().task_of(key),
                AwaitedBy::Nobody => header.rarely_awaited_by(name_of).and_then(ours),
            };
            if let Some(awaiter) = awaiter.and_then(|id| tasks.get_mut(&id)) {
                awaiter.awaits.push(header.id);
            }
        }
        let table = state.table.borrow();
        let ready = table.queue().filter_map(|entry| match entry {
            Entry::Task(ticket) => tenant(ticket),
            Entry::Callback => None,
        });
        let held = state.held_failures();
        Dump {
            now: state.latest(),
            ready: ready.collect(),
            timers: state.wheel.borrow().pending(),
            unretrieved: held.iter().map(|task| state.info(task.header())).collect(),
            tasks,
        }
    }

    /// The live tasks, the oldest first.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskInfo> + '_ {
        self.tasks.values().map(|dumped| &dumped.info)
    }

    /// Tasks that await one another in a circle; each circle once.
    ///
    /// None of them can ever go on, unless it waits beside that for something
    /// that is unknown here (a `select!` with a channel, say). A circle in which
    /// a task awaits several others is not found.
    pub fn cycles(&self) -> Vec<Vec<TaskId>> {
        let mut cycles = Vec::new();
        // On which walk a task was met first: each is walked through once.
        let mut met = BTreeMap::new();
        for (walk, &start) in self.tasks.keys().enumerate() {
            let mut path = Vec::new();
            let mut at = Some(start);
            while let Some(id) = at.filter(|id| !met.contains_key(id)) {
                met.insert(id, walk);
                path.push(id);
                at = self.only_await(id);
            }
            // Back on this very walk: from there on it is a circle.
            if let Some(id) = at.filter(|id| met[id] == walk)
                && let Some(entry) = path.iter().position(|&on| on == id)
            {
                cycles.push(path.split_off(entry));
            }
        }
        cycles
    }

    /// Whom a task awaits, if that is all it waits for.
    fn only_await(&self, id: TaskId) -> Option<TaskId> {
        let dumped = self.tasks.get(&id)?;
        match (&dumped.awaits[..], dumped.timers.is_empty()) {
            (&[one], true) => Some(one),
            _ => None,
        }
    }

    fn write_task(&self, f: &mut fmt::Formatter<'_>, id: TaskId, depth: usize) -> fmt::Result {
        let Dumped { info, timers, awaits } = &self.tasks[&id];
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

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, ready, timers) = (self.tasks.len(), self.ready.len(), self.timers);
        write!(f, "{tasks} tasks at {}, {ready} ready, {timers} timers", self.now)?;
        // An explicit stack: a chain of a million spawns is a deep tree.
        let is_root =
            |info: &TaskInfo| info.parent().is_none_or(|parent| !self.tasks.contains_key(&parent));
        let mut children: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        let mut stack = Vec::new();
        for info in self.tasks().collect::<Vec<_>>().into_iter().rev() {
            match info.parent() {
                Some(parent) if !is_root(info) => {
                    children.entry(parent).or_default().push(info.id())
                }
                _ => stack.push((info.id(), 1)),
            }
        }
        while let Some((id, depth)) = stack.pop() {
            self.write_task(f, id, depth)?;
            let below = children.remove(&id).unwrap_or_default();
            stack.extend(below.into_iter().map(|child| (child, depth + 1)));
        }
        if !self.ready.is_empty() {
            let ready: Vec<String> = self.ready.iter().map(ToString::to_string).collect();
            write!(f, "\nready queue: {}", ready.join(" "))?;
        }
        for info in &self.unretrieved {
            write!(f, "\nunretrieved failure: task {info}")?;
        }
        for cycle in self.cycles() {
            let cycle: Vec<String> = cycle.iter().map(ToString::to_string).collect();
            write!(f, "\ndeadlock: {} awaits {}", cycle.join(" awaits "), cycle[0])?;
        }
        Ok(())
    }
}
