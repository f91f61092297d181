//! The tree of steps that a task is suspended in, and questions about it.
//!
//! A *listener* takes a request: a scope (also that of a `finally`), a group,
//! an await. A *holder* makes others wait: a shield, and whoever has passed a
//! request on to tasks and waits for them. An *owner* has a request of its own
//! for what is inside it: the root of the task, a deadline, a group. What is
//! parked behind a lost `select` is in the tree and is not *active*: it takes
//! no part in anything (4.4, 4.11).

use super::delivery::RequestId;
use super::{End, Error, TaskId, World};
use crate::program::{Act, Moment, Step};
use std::rc::Rc;

pub type NodeId = usize;

/// A step that has begun and has not ended.
pub struct Node {
    pub step: Rc<Step>,
    pub task: TaskId,
    pub parent: Option<NodeId>,
    pub children: Vec<NodeId>,
    pub state: State,
    /// How many deliveries there had been when it was entered: it takes part
    /// only in later ones.
    pub entered: usize,
    /// The same, when it was made: what is parked is entered anew.
    pub made: usize,
    /// Kept, and not polled.
    pub is_parked: bool,
    /// It has been suspended.
    pub has_waited: bool,
    /// It has neither ended nor been dropped.
    pub is_there: bool,
    pub gave_way: GaveWay,
}

/// To whom the owner of a request has let go first lately, and in which turn.
#[derive(Default)]
pub struct GaveWay {
    pub to_task: Option<(RequestId, usize)>,
    pub to_owner: Option<usize>,
    /// To a deadline around that has passed.
    pub to_passed: Option<usize>,
    /// To nobody in particular.
    pub to_nobody: Option<usize>,
}

/// In what state a step is.
#[derive(Clone, Debug)]
pub enum State {
    /// The root of a task, around its body.
    Root,
    /// It has not gone on yet.
    New,
    /// A leaf that waits, until then or for ever.
    Waits(Option<Moment>),
    /// Its part of this number runs.
    Part(usize),
    /// A scope or `finally` whose future runs.
    Scope(Scope),
    /// The same, whose clean-up runs. It will go on with this.
    CleansUp(End),
    /// Nothing is left to do but to let a request go outward.
    Outward(RequestId),
    /// A shield, and what it keeps off.
    Shield(Vec<RequestId>),
    Deadline(Deadline),
    Tasks(Tasks),
    Group(Group),
    /// Its user runs. What it keeps, once that has been polled.
    Keeps(Option<NodeId>),
    /// What it let go outward has been stopped by somebody who does not keep it.
    Stopped(RequestId),
    /// How the branches have ended.
    Branches(Vec<Option<End>>),
}

#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The requests that somebody inside has taken.
    pub heard: Vec<RequestId>,
    /// What it is to hear, when it is known of all who are to.
    pub chosen: Option<RequestId>,
    /// The same, of what has come from inside.
    pub later: Option<RequestId>,
}

#[derive(Clone, Debug)]
pub struct Deadline {
    pub due: Moment,
    /// Its request, when it has acted.
    pub asked: Option<RequestId>,
    /// Somebody's request came in the same turn (4.9).
    pub is_answered: bool,
}

/// An await, or a gather.
#[derive(Clone, Debug)]
pub struct Tasks {
    pub tasks: Vec<TaskId>,
    /// The requests that it has passed on to its tasks, and to which of them.
    pub passed: Vec<RequestId>,
    pub waits_for: Vec<TaskId>,
    /// The siblings of one that failed have been cancelled.
    pub is_aborted: bool,
    /// What goes outward, when they have ended.
    pub outward: Option<RequestId>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub tasks: Vec<TaskId>,
    pub scope: Scope,
    /// Of its tasks, in the order in which they ended.
    pub errors: Vec<(TaskId, Error)>,
    /// How its body ended, if not by a request.
    pub answer: Option<End>,
    /// Its own request, for the body.
    pub abort: Option<RequestId>,
    pub passed: Vec<RequestId>,
    /// Its tasks have been asked to cancel.
    pub has_asked: bool,
    pub outward: Option<RequestId>,
}

impl Node {
    pub fn new(
        step: Rc<Step>,
        task: TaskId,
        parent: Option<NodeId>,
        state: State,
        entered: usize,
    ) -> Node {
        let children = vec![];
        let (is_parked, has_waited, is_there) = (false, false, true);
        let gave_way = GaveWay::default();
        Node {
            step,
            task,
            parent,
            children,
            state,
            entered,
            made: entered,
            is_parked,
            has_waited,
            is_there,
            gave_way,
        }
    }

    pub fn timer(&self) -> Option<Moment> {
        match &self.state {
            State::Waits(due) => *due,
            State::Deadline(deadline) if deadline.asked.is_none() => Some(deadline.due),
            _ => None,
        }
    }

    /// Whether it stops what goes outward, whoever's request that is.
    pub fn is_scope(&self) -> bool {
        match &self.state {
            State::Scope(_) => true,
            State::Group(_) => !self.children.is_empty(),
            _ => false,
        }
    }

    pub fn scope_mut(&mut self) -> Option<&mut Scope> {
        match &mut self.state {
            State::Scope(scope) => Some(scope),
            State::Group(group) => Some(&mut group.scope),
            _ => None,
        }
    }

    /// Whether a request stops at it, on its way inward.
    fn takes_part(&self) -> bool {
        match &self.state {
            State::Scope(_) | State::Shield(_) => true,
            State::Tasks(tasks) => tasks.outward.is_none(),
            State::Group(group) => group.outward.is_none(),
            _ => false,
        }
    }

    /// What it has passed on to tasks for which it still waits.
    pub fn passed(&self) -> &[RequestId] {
        match &self.state {
            State::Tasks(tasks) if tasks.outward.is_none() => &tasks.passed,
            State::Group(group) if group.outward.is_none() => &group.passed,
            _ => &[],
        }
    }

    pub fn keeps_off(&self) -> &[RequestId] {
        match &self.state {
            State::Shield(held) => held,
            _ => &[],
        }
    }

    pub fn outward(&self) -> Option<RequestId> {
        match &self.state {
            State::Outward(request) => Some(*request),
            State::Tasks(tasks) => tasks.outward,
            State::Group(group) => group.outward,
            _ => None,
        }
    }

    /// Whether it ends, or goes on, when this task ends.
    pub fn waits_for(&self, task: TaskId) -> bool {
        match &self.state {
            State::Tasks(tasks) => tasks.tasks.contains(&task),
            State::Group(group) => group.tasks.contains(&task),
            _ => false,
        }
    }

    /// The tokens in its hands.
    pub fn tokens(&self) -> Vec<RequestId> {
        let token = |end: &End| match end {
            End::Error(Error::Token(request)) => Some(*request),
            _ => None,
        };
        match &self.state {
            State::CleansUp(end) => token(end).into_iter().collect(),
            State::Branches(ends) => ends.iter().flatten().filter_map(token).collect(),
            _ => vec![],
        }
    }
}

// ---- Inward and outward ---------------------------------------------------------

impl World {
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// All that are active inside of a node, it not included.
    pub fn inside(&self, node: NodeId) -> Vec<NodeId> {
        let mut inside = vec![];
        for &child in &self.nodes[node].children {
            if !self.nodes[child].is_parked {
                inside.push(child);
                inside.extend(self.inside(child));
            }
        }
        inside
    }

    /// A node and all inside of it, the parked ones too.
    pub fn whole(&self, node: NodeId) -> Vec<NodeId> {
        let children = self.nodes[node].children.iter();
        [node].into_iter().chain(children.flat_map(|&child| self.whole(child))).collect()
    }

    /// All inside of a node, and those that were parked or forgotten in this very poll:
    /// what they sent outward may be found, if it can be taken at once. It depends on
    /// whether they were polled.
    fn below(&self, node: NodeId) -> Vec<NodeId> {
        let is_forgotten = |&&parked: &&NodeId| {
            let parent = self.nodes[parked].parent;
            let is_kept = parent.is_none_or(|it| self.nodes[it].children.contains(&parked));
            !is_kept && self.around(parked).contains(&node)
        };
        let found = self.just_parked.iter().filter(|_| self.finds_parked());
        let forgotten = found.filter(is_forgotten).flat_map(|&forgotten| self.whole(forgotten));
        self.below_in_tree(node).into_iter().chain(forgotten).collect()
    }

    fn below_in_tree(&self, node: NodeId) -> Vec<NodeId> {
        let mut below = vec![];
        for &child in &self.nodes[node].children {
            let is_found = self.finds_parked() && self.just_parked.contains(&child);
            if !self.nodes[child].is_parked || is_found {
                below.push(child);
                below.extend(self.below_in_tree(child));
            }
        }
        below
    }

    /// Those around a node, from the inside out.
    pub fn around(&self, node: NodeId) -> Vec<NodeId> {
        std::iter::successors(self.nodes[node].parent, |&node| self.nodes[node].parent).collect()
    }

    /// Whether a node is polled when its task is.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.nodes[node].is_there
            && !self.nodes[node].is_parked
            && self.around(node).into_iter().all(|around| !self.nodes[around].is_parked)
    }

    pub fn is_chosen(&self, node: NodeId) -> bool {
        match &self.nodes[node].state {
            State::Scope(scope) | State::Group(Group { scope, .. }) => {
                scope.chosen.is_some() || scope.later.is_some()
            }
            _ => false,
        }
    }

    fn is_shield(&self, node: NodeId) -> bool {
        matches!(self.nodes[node].state, State::Shield(_))
    }

    /// Those around a node, up to the nearest shield.
    pub fn around_in_shield(&self, node: NodeId) -> Vec<NodeId> {
        self.around(node).into_iter().take_while(|&around| !self.is_shield(around)).collect()
    }

    /// Whether anybody inside takes part in the delivery of this number: only
    /// those do that stood there before.
    pub fn has_listener(&self, node: NodeId, delivery: usize) -> bool {
        let inside = self.inside(node);
        inside.iter().map(|&node| &self.nodes[node]).any(|n| n.takes_part() && n.entered < delivery)
    }

    /// Whether anybody has come inside, not behind a shield, who would take part in a
    /// later delivery, and does not in this one; he may have gone again.
    pub fn has_newcomer(&self, node: NodeId, delivery: usize) -> bool {
        let is_new = |&other: &NodeId| {
            let newcomer = &self.nodes[other];
            newcomer.takes_part() && newcomer.has_waited && newcomer.entered >= delivery
        };
        let mut newcomers = (0..self.nodes.len()).filter(is_new);
        newcomers.any(|other| self.around_in_shield(other).contains(&node))
    }

    /// Whether a shield inside keeps the request off, or an await inside waits
    /// for tasks that it has passed it on to.
    pub fn holds(&self, node: NodeId, request: RequestId) -> bool {
        let holds = |node: &Node| [node.keeps_off(), node.passed()].concat().contains(&request);
        self.inside(node).into_iter().any(|node| holds(&self.nodes[node]))
    }

    /// Whether an await, gather or group inside waits for tasks that it has
    /// passed it on to.
    pub fn has_passed_on(&self, node: NodeId, request: RequestId) -> bool {
        self.inside(node).into_iter().any(|node| self.nodes[node].passed().contains(&request))
    }

    /// Whether something inside lets the request go outward, and nobody has
    /// picked it up yet.
    pub fn is_going_outward(&self, node: NodeId, request: RequestId) -> bool {
        let mut from = self.below(node).into_iter();
        from.any(|from| {
            let sends = self.nodes[from].outward() == Some(request);
            sends && (self.is_active(from) || self.is_active(self.stopper(from, request)))
        })
    }

    /// The request, of those that something inside lets go outward, that this
    /// node is to stop. Of several it is the outermost owner's (4.13).
    pub fn outward_to(&self, node: NodeId) -> Option<RequestId> {
        let inside = self.below(node).into_iter();
        let outward = inside.filter_map(|n| self.nodes[n].outward().map(|request| (n, request)));
        let outward = outward.filter(|(n, _)| !self.stopped.contains(n));
        let to_us = outward.filter(|&(n, request)| self.stopper(n, request) == node);
        self.outermost(to_us.map(|(_, request)| request))
    }

    /// A scope stops this: what was forgotten and had let it go is not found once more.
    pub fn stops(&mut self, scope: NodeId, request: RequestId) {
        let below = self.below(scope).into_iter();
        let sends = |n: &NodeId| self.nodes[*n].outward() == Some(request) && !self.is_active(*n);
        let stopped: Vec<NodeId> = below.filter(sends).collect();
        self.stopped.extend(stopped);
    }

    /// Who stops what goes outward from a node: the nearest scope or group body
    /// around it, the owner of the request, or at last the root.
    pub fn stopper(&self, node: NodeId, request: RequestId) -> NodeId {
        let stops = |node: &Node| match &node.state {
            State::Root => true,
            State::Deadline(deadline) => deadline.asked == Some(request),
            _ => node.is_scope(),
        };
        let around = self.around(node);
        let is_there = |node: &Node| node.is_there || matches!(node.state, State::Root);
        let mut there = around.into_iter().filter(|&node| is_there(&self.nodes[node]));
        there.find(|&node| stops(&self.nodes[node])).expect("a root is around all")
    }

    /// Whether what goes outward has to wait, below whoever stops it: for
    /// shields, and for tasks that have been passed a request (4.7). A shield
    /// from inside of which something goes outward is not waited for.
    pub fn waits_below(&self, node: NodeId) -> bool {
        self.inside(node).into_iter().any(|inside| {
            let waits = !self.nodes[inside].passed().is_empty();
            waits || (self.is_shield(inside) && !self.lets_something_out(inside))
        })
    }

    /// Whether something from inside goes outward and stops further out.
    pub fn lets_outward_through(&self, node: NodeId) -> bool {
        let inside = self.below(node);
        inside.iter().any(|&from| {
            self.nodes[from].outward().is_some_and(|request| {
                let stopper = self.stopper(from, request);
                stopper != node && !inside.contains(&stopper)
            })
        })
    }

    fn lets_something_out(&self, shield: NodeId) -> bool {
        let around = self.around(shield);
        self.inside(shield).into_iter().any(|node| {
            let outward = self.nodes[node].outward();
            outward.is_some_and(|request| around.contains(&self.stopper(node, request)))
        })
    }

    /// Whether a task waits for another, through requests that were passed on.
    pub fn waits_through_requests(&self, waiting: TaskId, task: TaskId) -> bool {
        let mut reached = vec![waiting];
        let mut at = 0;
        while let Some(&waiting) = reached.get(at) {
            if waiting == task {
                return true;
            }
            at += 1;
            let Some(root) = self.tasks[waiting].root else { continue };
            for node in self.inside(root) {
                let next = match &self.nodes[node].state {
                    State::Tasks(tasks) if tasks.outward.is_none() => tasks.waits_for.clone(),
                    State::Group(group) if !group.passed.is_empty() || group.abort.is_some() => {
                        group.tasks.clone()
                    }
                    _ => vec![],
                };
                let waits = |&task: &TaskId| !self.has_ended(task) && !reached.contains(&task);
                let next: Vec<TaskId> = next.into_iter().filter(waits).collect();
                reached.extend(next);
            }
        }
        false
    }

    pub fn label(&self, node: NodeId) -> u32 {
        self.nodes[node].step.label
    }

    pub fn act(&self, node: NodeId) -> &Act {
        &self.nodes[node].step.act
    }
}
