//! The specification of cancellation: what a program must say, and when.
//!
//! It is plain data and functions on it. There are no futures, no wakers and no
//! pins here. A task is a tree of [`Node`]s, one for each step that it is
//! suspended in. When its place in the queue comes, the tree [goes
//! on](World::go_on) as far as it can; a request goes down the same way
//! (`delivery.rs`). All questions that the rules ask ("who listens inside?",
//! "does anything hold it?") are asked of the tree as it stands (`tree.rs`).
//! So there is no state that could be out of date, except what became of each
//! request: whether anybody has [heard](Request::heard) it.
//!
//! Numbers in brackets are those of `docs/promises.md`.
//!
//! | file | has |
//! | --- | --- |
//! | `outcome.rs` | how tasks and steps end (3.2, 3.3) |
//! | `tree.rs` | nodes, and the questions that are asked of them |
//! | `delivery.rs` | requests: asked, delivered, lost, delivered anew (4.13) |
//! | `parked.rs` | what is kept and not polled (4.11) |
//! | `mod.rs` | tasks, time, the queue (7.1), and when a task ends (4.6) |
//! | `steps.rs` | how a step goes on: plain ones, `join`, `select`, sets (4.4) |
//! | `scope.rs` | the same for a scope, `finally` and a shield (4.3, 4.7) |
//! | `deadline.rs` | the same for a deadline (4.9) |
//! | `tasks.rs` | the same for an await and a gather (4.8, 5.1) |
//! | `group.rs` | the same for a group (5.4) |
//! | `kept.rs` | the same for what is kept, and awaited by reference (4.11, 4.13) |

mod deadline;
mod delivery;
mod group;
mod kept;
mod outcome;
mod parked;
mod scope;
mod steps;
mod tasks;
mod tree;

use crate::log::Log;
use crate::program::{Act, Moment, Program, Request as FromOutside, Step};
use delivery::{Phase, Request, RequestId, Through};
use outcome::{End, Ending, Error};
use std::collections::VecDeque;
use std::rc::Rc;
use tree::{Node, NodeId, State};

/// In what order the tasks that are ready are polled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// First in, first out (7.1).
    Fifo,
    /// In any order; the number picks one.
    Any(u64),
}

/// What the program must say.
pub fn answer(program: &Program, end: Moment, order: Order) -> Log {
    run(program, end, order).log
}

/// Whether the promises leave it open what the program says.
pub fn leaves_open(program: &Program, end: Moment) -> bool {
    run(program, end, Order::Fifo).leaves_open
}

fn run(program: &Program, end: Moment, order: Order) -> World {
    let mut world = World { order: Some(order), ..World::default() };
    for task in &program.tasks {
        let task = world.spawn(Rc::new(task.clone()), None);
        world.from_outside.push(task);
    }
    let mut requests: VecDeque<_> = program.requests.iter().enumerate().collect();
    loop {
        let due = requests.iter().take_while(|(_, request)| request.0 <= world.now).count();
        for (number, (_, request)) in requests.drain(..due).collect::<Vec<_>>() {
            if *request == FromOutside::Interrupt {
                world.run_until_idle(); // it has a turn of its own
            }
            world.ask_from_outside(number, *request);
        }
        world.run_until_idle();
        let next = world.next_timer().into_iter().chain(requests.front().map(|(_, r)| r.0)).min();
        match next {
            Some(next) if next <= end => world.now = next,
            _ => break,
        }
    }
    for task in world.tasks.iter().filter(|task| task.ending.is_none()) {
        world.log.say(world.now, task.label, "is pending at the end");
    }
    world
}

/// Everything.
#[derive(Default)]
struct World {
    now: Moment,
    order: Option<Order>,
    log: Log,
    tasks: Vec<Task>,
    /// The tasks of the program itself, by their numbers.
    from_outside: Vec<TaskId>,
    /// Which tasks are to be polled, each once (7.2).
    queue: VecDeque<TaskId>,
    /// How often a task has had its place in the queue.
    turn: usize,
    /// The task that is being polled.
    running: Option<TaskId>,
    nodes: Vec<Node>,
    requests: Vec<Request>,
    /// How many wishes to cancel there have been; a wish that is passed on
    /// from task to task stays the same.
    wishes: usize,
    /// How many deliveries there have been.
    deliveries: usize,
    /// The request that goes down at this moment, and the number of its delivery.
    carried: Option<(RequestId, usize)>,
    phase: Phase,
    /// How often somebody was chosen to hear.
    choices: usize,
    /// All that were ever taken, in order.
    taken: Vec<RequestId>,
    /// What shields held that are through.
    through: Vec<Through>,
    /// What has been parked in the poll that is going on.
    just_parked: Vec<NodeId>,
    /// What has been forgotten, after what it let go outward has been stopped.
    stopped: Vec<NodeId>,
    /// The tokens in what has been forgotten: they are never dropped.
    leaked: Vec<RequestId>,
    /// Sets that are kept, and where they were polled, if that is still there.
    sets_left: Vec<(NodeId, NodeId)>,
    /// Whether something depends on where the branches of a set are that was left.
    leaves_open: bool,
    /// What has been handed over, and not been taken.
    shelf: Option<NodeId>,
    /// The tasks of the program whose handles have been taken.
    handles: std::collections::HashSet<TaskId>,
}

type TaskId = usize;

/// More in one program are a spin.
const MOST_TURNS: usize = 2_000;

/// A task.
struct Task {
    label: u32,
    body: Rc<Step>,
    /// The root of its tree, from its first poll on.
    root: Option<NodeId>,
    ending: Option<Ending>,
    /// The order in which it ended among all.
    ended: usize,
    group: Option<NodeId>,
    /// Its requests, in the order in which they came.
    asked: Vec<RequestId>,
    /// By which wishes it was asked.
    wishes: Vec<usize>,
    cancelling: u32,
    /// Whether somebody holds its handle.
    held: bool,
    retrieved: bool,
}

// ---- Tasks ---------------------------------------------------------------------

impl World {
    /// A new task, with a handle. It is not polled yet (7.3).
    fn spawn(&mut self, body: Rc<Step>, group: Option<NodeId>) -> TaskId {
        let task = self.tasks.len();
        self.tasks.push(Task {
            label: body.label,
            body,
            root: None,
            ending: None,
            ended: 0,
            group,
            asked: vec![],
            wishes: vec![],
            cancelling: 0,
            held: true,
            retrieved: false,
        });
        self.wake(task);
        task
    }

    fn wake(&mut self, task: TaskId) {
        if self.tasks[task].ending.is_none() && !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    fn wake_sleepers(&mut self) {
        let due = |node: &Node| node.timer().filter(|&due| due <= self.now).is_some();
        let mut due: Vec<_> = self.nodes.iter().filter(|node| node.is_there && due(node)).collect();
        due.sort_by_key(|node| node.timer());
        let due: Vec<TaskId> = due.into_iter().map(|node| node.task).collect();
        due.into_iter().for_each(|task| self.wake(task));
    }

    fn next_timer(&self) -> Option<Moment> {
        let there = self.nodes.iter().filter(|node| node.is_there);
        there.filter_map(Node::timer).filter(|&due| due > self.now).min()
    }

    fn run_until_idle(&mut self) {
        self.wake_sleepers();
        while let Some(task) = self.next_in_queue() {
            if self.tasks[task].ending.is_none() {
                self.running = Some(task);
                self.turn += 1;
                assert!(self.turn < MOST_TURNS, "the model spins");
                self.poll_task(task);
                self.running = None;
            }
        }
    }

    fn next_in_queue(&mut self) -> Option<TaskId> {
        match &mut self.order {
            Some(Order::Any(seed)) => {
                let at = draw(seed, self.queue.len());
                self.queue.remove(at)
            }
            _ => self.queue.pop_front(),
        }
    }

    /// The task's place in the queue has come.
    ///
    /// A request that was made before is delivered first; one that is made
    /// during the poll, or that nobody has heard, where the poll ends (4.6).
    fn poll_task(&mut self, task: TaskId) {
        let mut goes_on = true;
        while goes_on && self.tasks[task].ending.is_none() {
            self.merge(task);
            goes_on = match self.next_to_deliver(task) {
                Some(request) => {
                    self.deliver_to_task(task, request);
                    false
                }
                None => {
                    let root = self.root(task);
                    if let Some(end) = self.go_on(root) {
                        self.returns(task, end);
                    }
                    false
                }
            };
            self.through.clear();
            if self.tasks[task].ending.is_some() {
                return;
            }
            let root = self.root(task);
            // Nobody stopped what goes outward (4.7): so the task ends by it.
            if let Some(request) = self.outward_to(root)
                && !self.waits_below(root)
            {
                return self.drop_root(task, request);
            }
            self.settle_parked();
            goes_on |= !self.through.is_empty();
            self.merge(task);
            goes_on |= self.next_to_deliver(task).is_some();
            if goes_on && self.lets_others_first() {
                self.wake(task);
                goes_on = false;
            }
        }
    }

    /// Those of a set that are ready come out in the order in which they were woken,
    /// of which nothing is said here.
    fn in_some_order(&mut self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        if let Some(Order::Any(seed)) = &mut self.order {
            for at in 0..nodes.len() {
                let other = at + draw(seed, nodes.len() - at);
                nodes.swap(at, other);
            }
        }
        nodes
    }

    /// Whether what goes outward from what has just been parked is found.
    fn finds_parked(&self) -> bool {
        !self.happens(0)
    }

    /// Whether what others have heard of is kept, by a shield or by whoever has passed
    /// it on, when that is parked in the very poll in which it was polled, or is one of a
    /// set, and is polled again later.
    fn keeps_parked(&self) -> bool {
        self.happens(1)
    }

    /// Whether what was parked long ago is told of what is carried, when the task comes
    /// to it while it is found out who is there.
    fn tells_unparked(&self) -> bool {
        self.carried.is_some() && self.phase == Phase::Choosing && self.happens(4)
    }

    /// Whether what is polled again in the very poll in which it was parked has forgotten
    /// what others have heard of in between.
    fn forgets_at_once(&self) -> bool {
        self.happens(5)
    }

    /// Whether a request counts as taken that is sent outward only from what has been parked
    /// or forgotten in this very poll.
    fn takes_what_is_forgotten(&self) -> bool {
        self.happens(7)
    }

    /// Whether a request counts as taken that was passed on only in a set that has been
    /// parked since: nobody looks as long as a shield holds it too.
    fn takes_what_is_parked(&self) -> bool {
        self.happens(8)
    }

    /// Whether a deadline or group acts a turn later than it might.
    fn lets_a_turn_pass(&self) -> bool {
        self.happens(6)
    }

    /// Whether other tasks go first before something is delivered where a poll ends: a
    /// `FuturesUnordered` may give way to them before it has polled all its branches.
    fn lets_others_first(&self) -> bool {
        let root = self.running.and_then(|task| self.tasks[task].root);
        let has_set = root.is_some_and(|root| self.has_set(root));
        self.happens(2) && !self.queue.is_empty() && has_set
    }

    fn has_set(&self, node: NodeId) -> bool {
        let is_set = |act: &Act| matches!(act, Act::Set(_) | Act::Stream { .. });
        self.nodes[node].step.contains(&is_set)
    }

    /// Whether a node polls its branches by wakers of their own.
    pub fn has_wakers(&self, node: NodeId) -> bool {
        matches!(self.act(node), Act::Set(_) | Act::Stream { .. } | Act::Concurrent(_))
    }

    /// Whether it is so, of several things that may be so or not in any order but the
    /// first: a coin for each.
    fn happens(&self, coin: u32) -> bool {
        matches!(self.order, Some(Order::Any(seed)) if seed >> (40 + coin) & 1 == 1)
    }

    /// The root of the task's tree; it is made at the first poll.
    fn root(&mut self, task: TaskId) -> NodeId {
        if let Some(root) = self.tasks[task].root {
            return root;
        }
        let body = self.tasks[task].body.clone();
        let root = self.add(Node::new(body.clone(), task, None, State::Root, self.deliveries));
        self.tasks[task].root = Some(root);
        self.enter(root, &body);
        root
    }

    /// The body has returned. A value ends the task as cancelled while a request
    /// is unanswered; an error stands (4.6), unless it is a token (3.3).
    fn returns(&mut self, task: TaskId, end: End) {
        let label = self.tasks[task].label;
        if !matches!(end, End::Panic(_)) {
            self.log.say(self.now, label, format!("returns {}", self.words(&end)));
        }
        self.merge(task);
        let unanswered = self.tasks[task].asked.iter().copied().rfind(|&r| !self.is_answered(r));
        let unanswered = unanswered.or_else(|| self.sent_by_parked(task));
        let ending = match (end, unanswered) {
            (End::Value, None) => Ending::Value,
            (End::Value, Some(request)) => Ending::Cancelled(request),
            (End::Error(Error::Token(request)), _) if self.is_to_task(request) => {
                Ending::Cancelled(request)
            }
            (End::Error(Error::Token(request)), _) => Ending::Failed(Error::TaskCancelled(request)),
            (End::Error(error), _) => Ending::Failed(error),
            (End::Panic(label), _) => Ending::Panicked(label),
        };
        self.ends(task, ending);
    }

    /// A request to a task that what was parked in this very poll has sent outward,
    /// if that is found.
    fn sent_by_parked(&self, task: TaskId) -> Option<RequestId> {
        let parked = self.just_parked.iter().filter(|_| self.finds_parked());
        let mut sent = parked.flat_map(|&node| self.whole(node));
        sent.find_map(|node| {
            self.nodes[node].outward().filter(|&sent| {
                let is_there = self.nodes[node].is_there && self.nodes[node].task == task;
                is_there && self.rank(sent) == 0 && !self.is_over(sent)
            })
        })
    }

    /// Nobody takes the request: the future is dropped (4.2). A panic in the
    /// drop is the outcome (4.12).
    fn drop_root(&mut self, task: TaskId, request: RequestId) {
        let panicked = self.tasks[task].root.and_then(|root| self.discard(root, Some(request)));
        self.ends(task, panicked.map_or(Ending::Cancelled(request), Ending::Panicked));
    }

    fn ends(&mut self, task: TaskId, ending: Ending) {
        if let Some(root) = self.tasks[task].root {
            self.discard(root, None);
        }
        let ending = self.owned_by_group(task, ending);
        let words = match &ending {
            Ending::Value => "ended with a value".to_owned(),
            Ending::Failed(_) | Ending::Panicked(_) => "has failed".to_owned(),
            Ending::Cancelled(request) => format!("was cancelled: {}", self.reason(*request)),
        };
        self.log.say(self.now, self.tasks[task].label, words);
        let ended = self.tasks.iter().map(|task| task.ended).max().unwrap_or(0) + 1;
        self.tasks[task].ending = Some(ending);
        self.tasks[task].ended = ended;
        self.report_if_nobody_can_ask(task);
        self.wake_those_who_wait_for(task);
    }

    /// The failure of a member belongs to its group (5.4).
    fn owned_by_group(&mut self, task: TaskId, ending: Ending) -> Ending {
        let error = match &ending {
            Ending::Failed(error) => error.clone(),
            Ending::Panicked(label) => Error::Panicked(*label),
            _ => return ending,
        };
        let group = self.tasks[task].group;
        match group {
            Some(group) if self.collects(group, task, error) => {
                self.tasks[task].retrieved = true;
                Ending::Failed(Error::OwnedByGroup)
            }
            _ => ending,
        }
    }

    fn wake_those_who_wait_for(&mut self, task: TaskId) {
        let waits = |node: &&Node| node.is_there && node.waits_for(task);
        let waiting: Vec<TaskId> = self.nodes.iter().filter(waits).map(|node| node.task).collect();
        waiting.into_iter().for_each(|task| self.wake(task));
    }

    /// A handle is dropped.
    fn detach(&mut self, task: TaskId) {
        self.tasks[task].held = false;
        self.report_if_nobody_can_ask(task);
    }

    /// A failure is reported when it can no longer be retrieved (3.6).
    fn report_if_nobody_can_ask(&mut self, task: TaskId) {
        let Task { ending, held, retrieved, label, .. } = &mut self.tasks[task];
        let failed = matches!(ending, Some(Ending::Failed(_) | Ending::Panicked(_)));
        if failed && !*held && !*retrieved {
            *retrieved = true;
            self.log.say(self.now, *label, "is reported");
        }
    }

    /// What `task.await?` gives (3.3, 3.4). The outcome is retrieved.
    fn hand_over(&mut self, task: TaskId) -> End {
        self.tasks[task].retrieved = true;
        match self.tasks[task].ending.clone().expect("only the outcome of a task is handed over") {
            Ending::Value => End::Value,
            Ending::Failed(error) => End::Error(error),
            Ending::Panicked(label) => End::Error(Error::Panicked(label)),
            Ending::Cancelled(request) => End::Error(Error::TaskCancelled(request)),
        }
    }

    fn has_ended(&self, task: TaskId) -> bool {
        self.tasks[task].ending.is_some()
    }

    fn has_value(&self, task: TaskId) -> bool {
        self.tasks[task].ending == Some(Ending::Value)
    }

    fn ask_from_outside(&mut self, number: usize, request: FromOutside) {
        match request {
            FromOutside::Cancel(label) => {
                let reason = format!("request {number}");
                let wish = self.new_wish();
                if let Some(task) = self.latest(label) {
                    self.ask(task, wish, "Requested", &reason);
                }
            }
            FromOutside::Uncancel(label) => {
                if let Some(task) = self.latest(label) {
                    self.uncancel(task);
                }
            }
            FromOutside::Interrupt => {
                // All are asked by one wish, the youngest first (6.4).
                let wish = self.new_wish();
                for task in (0..self.tasks.len()).rev() {
                    self.ask(task, wish, "Interrupt", "interrupted");
                }
            }
        }
    }

    /// The latest task whose body has this label.
    fn latest(&self, label: u32) -> Option<TaskId> {
        self.tasks.iter().rposition(|task| task.label == label)
    }
}

/// A number below this one, or zero.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 33) as usize % below.max(1)
}
