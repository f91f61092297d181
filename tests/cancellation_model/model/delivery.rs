//! What becomes of a request to cancel.
//!
//! Its owner delivers it: down all active branches, to the innermost listener of
//! each (4.3, 4.4). It ends in exactly one way (4.13). What makes that hold is
//! one question, asked at the end of each poll: has nobody heard of it, does
//! nothing hold it, and is it not on its way outward? Then it is
//! [delivered anew](World::is_unheard), whatever the reason was.

use super::tree::{NodeId, State};
use super::{TaskId, World};
use std::cmp::Reverse;

pub type RequestId = usize;

/// A request to cancel what is inside of its owner.
pub struct Request {
    /// The same when it is passed on to other tasks.
    wish: usize,
    origin: &'static str,
    reason: String,
    owner: Owner,
    /// A scope has heard it, or it is over.
    is_answered: bool,
    /// It was made again, before anybody had heard.
    is_repeated: bool,
    was_passed_on: bool,
}

enum Owner {
    Task(TaskId),
    /// A deadline or a group.
    Construct(NodeId),
}

// ---- Asking --------------------------------------------------------------------

impl World {
    pub fn new_wish(&mut self) -> usize {
        self.wishes += 1;
        self.wishes
    }

    /// Asks a task to cancel (4.1).
    pub fn ask(&mut self, task: TaskId, wish: usize, origin: &'static str, reason: &str) {
        // What is passed on to a task that was asked by the same wish is not a
        // second request (6.4).
        if self.has_ended(task) || self.tasks[task].wishes.contains(&wish) {
            return;
        }
        self.tasks[task].wishes.push(wish);
        self.tasks[task].cancelling += 1;
        // Several before anybody has taken one are one, the first (4.3).
        if let Some(first) = self.not_taken(task).first() {
            self.requests[*first].is_repeated = true;
        } else {
            let owner = Owner::Task(task);
            let request = self.request(wish, origin, reason.to_owned(), owner);
            self.tasks[task].asked.push(request);
        }
        self.wake(task);
    }

    /// Takes one request back (4.10).
    pub fn uncancel(&mut self, task: TaskId) {
        let before = self.tasks[task].cancelling;
        self.tasks[task].cancelling = before.saturating_sub(1);
        if before == 1 {
            self.tasks[task].wishes.clear();
            let taken_back = self.not_taken(task);
            for node in self.nodes.iter_mut().filter(|node| node.task == task) {
                if let State::Shield(held) = &mut node.state {
                    held.retain(|request| !taken_back.contains(request));
                }
            }
            taken_back.into_iter().for_each(|request| self.answer(request));
        }
    }

    /// The requests to a task that are pending, or only held by shields.
    fn not_taken(&self, task: TaskId) -> Vec<RequestId> {
        let is_taken = |request| match self.tasks[task].root {
            Some(root) => self.has_passed_on(root, request) || self.is_going_outward(root, request),
            None => false,
        };
        let asked = self.tasks[task].asked.iter().copied();
        asked.filter(|&request| !self.is_answered(request) && !is_taken(request)).collect()
    }

    /// A deadline or a group has a request of its own, for what is inside it.
    pub fn own_request(&mut self, owner: NodeId, origin: &'static str, reason: &str) -> RequestId {
        let wish = self.new_wish();
        self.request(wish, origin, reason.to_owned(), Owner::Construct(owner))
    }

    fn request(
        &mut self,
        wish: usize,
        origin: &'static str,
        reason: String,
        owner: Owner,
    ) -> RequestId {
        let (is_answered, is_repeated, was_passed_on) = (false, false, false);
        let request =
            Request { wish, origin, reason, owner, is_answered, is_repeated, was_passed_on };
        self.requests.push(request);
        self.requests.len() - 1
    }

    /// Passes a request on to tasks.
    pub fn pass_on(&mut self, request: RequestId, tasks: &[TaskId]) {
        self.requests[request].was_passed_on = true;
        let Request { wish, origin, reason, .. } = &self.requests[request];
        let (wish, origin, reason) = (*wish, *origin, reason.clone());
        tasks.iter().for_each(|&task| self.ask(task, wish, origin, &reason));
    }

    pub fn reason(&self, request: RequestId) -> &str {
        &self.requests[request].reason
    }

    pub fn origin(&self, request: RequestId) -> &'static str {
        self.requests[request].origin
    }

    /// How far inside its owner is: the task is outermost.
    pub fn rank(&self, request: RequestId) -> usize {
        match self.requests[request].owner {
            Owner::Task(_) => 0,
            Owner::Construct(owner) => self.around(owner).len(),
        }
    }

    /// Of several, that of the outermost owner; of several of that, the latest.
    pub fn outermost(&self, requests: impl IntoIterator<Item = RequestId>) -> Option<RequestId> {
        requests.into_iter().min_by_key(|&request| (self.rank(request), Reverse(request)))
    }

    pub fn owner(&self, request: RequestId) -> Option<NodeId> {
        match self.requests[request].owner {
            Owner::Task(task) => self.tasks[task].root,
            Owner::Construct(owner) => Some(owner),
        }
    }

    // ---- Answered or not ---------------------------------------------------------

    pub fn is_answered(&self, request: RequestId) -> bool {
        self.requests[request].is_answered
    }

    /// It is heard, or over.
    pub fn answer(&mut self, request: RequestId) {
        self.requests[request].is_answered = true;
    }

    /// It was heard, and that came to nothing.
    pub fn is_unanswered_again(&mut self, request: RequestId) {
        self.requests[request].is_answered = false;
    }

    /// Whether it is to be delivered (anew): nobody has heard of it, nothing
    /// holds it, and it is not on its way outward.
    pub fn is_unheard(&self, request: RequestId) -> bool {
        let moves = |owner| self.holds(owner, request) || self.is_going_outward(owner, request);
        !self.is_answered(request) && !self.owner(request).is_some_and(moves)
    }

    /// The request to a task that is to be delivered now: of several the first;
    /// but of those that had been passed on and come back, the latest.
    pub fn next_to_deliver(&self, task: TaskId) -> Option<RequestId> {
        let is_next = |&request: &RequestId| {
            let is_repeated = self.requests[request].is_repeated && !self.is_answered(request);
            is_repeated || self.is_unheard(request)
        };
        let mut next = self.tasks[task].asked.iter().copied().filter(is_next);
        let had_been_passed_on = |&request: &RequestId| self.requests[request].was_passed_on;
        next.clone().rfind(had_been_passed_on).or_else(|| next.next())
    }

    // ---- Delivering --------------------------------------------------------------

    pub fn deliver_to_task(&mut self, task: TaskId, request: RequestId) {
        self.requests[request].is_repeated = false;
        // Never polled: never polled (4.2).
        let Some(root) = self.tasks[task].root else { return self.drop_root(task, request) };
        // Several at the same time are one delivery (4.3).
        for other in self.tasks[task].asked.clone() {
            if other != request && self.is_unheard(other) {
                self.answer(other);
            }
        }
        match self.deliver(root, request) {
            Delivery::Ended(end) => self.returns(task, end),
            Delivery::Nobody => self.drop_root(task, request),
            Delivery::Taken => {}
        }
    }

    /// An owner delivers a request to what is inside it.
    ///
    /// Where nobody inside listens, nothing is polled once more. Else the inside
    /// goes on as far as it can, the request with it, and what is ready there
    /// goes first. If all who could take it are through by that, the request
    /// meets what is suspended there now: it is delivered anew.
    pub fn deliver(&mut self, owner: NodeId, request: RequestId) -> Delivery {
        self.deliveries += 1;
        let delivery = self.deliveries;
        if !self.has_listener(owner, self.deliveries) {
            return Delivery::Nobody;
        }
        let taken = self.taken.len();
        let outer = self.carried.replace((request, delivery));
        let end = self.go_on_inside(owner);
        self.carried = outer;
        match end {
            Some(end) => Delivery::Ended(end),
            None if self.is_taken(owner, request, taken) => Delivery::Taken,
            None if self.has_newcomer(owner, delivery) => Delivery::Taken,
            None => Delivery::Nobody,
        }
    }

    /// Whether somebody inside has taken a request, since so many had been taken;
    /// or holds it, or lets it go outward; or it has been taken back.
    pub fn is_taken(&self, node: NodeId, request: RequestId, since: usize) -> bool {
        self.is_answered(request)
            || self.taken[since..].contains(&request)
            || self.holds(node, request)
            || self.is_going_outward(node, request)
    }

    /// The request that a node is told of as it goes on, if it stood there
    /// before the delivery began.
    pub fn carried_to(&self, node: NodeId) -> Option<RequestId> {
        let (request, delivery) = self.carried?;
        (self.nodes[node].entered < delivery).then_some(request)
    }

    /// A shield has held a request that others have heard: when it is through,
    /// the innermost scope around it is told of which nobody inside has heard, if
    /// nothing inside of that holds it any more (4.7).
    pub fn tell_those_around_shields(&mut self, task: TaskId) -> bool {
        let mut told = false;
        for (request, from) in std::mem::take(&mut self.through) {
            let Some(owner) = self.owner(request).filter(|&owner| self.is_active(owner)) else {
                continue;
            };
            if !self.is_answered(request) || self.nodes[from].task != task {
                continue; // it is delivered anew to all, when nothing holds it
            }
            let around = [from].into_iter().chain(self.around(from));
            let mut below_owner = around.take_while(|&node| node != owner);
            let is_scope = |&node: &NodeId| self.is_active(node) && self.nodes[node].is_scope();
            let Some(scope) = below_owner.find(is_scope) else { continue };
            let held = self.holds(scope, request);
            let scope = self.nodes[scope].scope_mut().expect("it was looked for");
            if !held && !scope.heard.contains(&request) {
                scope.told = Some(request);
                told = true;
            }
        }
        told
    }

    // ---- Dropping ----------------------------------------------------------------

    /// Drops a node and all inside it, because of a request that the library
    /// acts on, or because the program does so. Gives the panic of a drop.
    pub fn discard(&mut self, node: NodeId, because: Option<RequestId>) -> Option<u32> {
        let task = self.nodes[node].task;
        let was_active = self.is_active(node);
        let mut whole = self.whole(node);
        whole.retain(|&node| self.nodes[node].is_there);
        let mut lost = vec![];
        for &node in &whole {
            let is_active = was_active && self.is_active(node);
            let outward = self.nodes[node].outward().filter(|_| is_active);
            match because {
                // What a third party drops is not over (4.13).
                Some(_) => lost.extend(outward.into_iter().chain(self.nodes[node].tokens())),
                // A token that the program drops is; but what was on its way
                // outward was not picked up.
                None => outward.into_iter().for_each(|r| self.is_unanswered_again(r)),
            }
        }
        let panicked = whole.iter().filter_map(|&node| self.drop_one(node)).last();
        if let Some(parent) = self.nodes[node].parent {
            self.nodes[parent].children.retain(|&child| child != node);
        }
        for lost in lost {
            let because = because.expect("only then is something lost");
            if self.rank(lost) >= self.rank(because) {
                self.answer(lost);
            } else if !self.has_token(task, lost) {
                self.is_unanswered_again(lost);
            }
        }
        panicked
    }

    /// Whether a token of a request is left in its task.
    fn has_token(&self, task: TaskId, request: RequestId) -> bool {
        let nodes = self.nodes.iter().filter(|node| node.is_there && node.task == task);
        nodes.into_iter().any(|node| node.tokens().contains(&request))
    }

    fn drop_one(&mut self, node: NodeId) -> Option<u32> {
        self.nodes[node].is_there = false;
        match self.nodes[node].state.clone() {
            State::Waits(_) => {
                let label = self.label(node);
                self.log.say(self.now, label, "is dropped");
                return matches!(self.act(node), crate::program::Act::Bomb).then_some(label);
            }
            State::Shield(held) => self.is_through(node, held),
            State::Tasks(tasks) => tasks.tasks.into_iter().for_each(|task| self.detach(task)),
            State::Group(_) => self.drop_group(node),
            _ => {}
        }
        None
    }

    /// A shield is through, or has been given up.
    pub fn is_through(&mut self, shield: NodeId, held: Vec<RequestId>) {
        let Some(from) = self.nodes[shield].parent else { return };
        self.through.extend(held.into_iter().map(|request| (request, from)));
    }

    /// A node is kept and not polled any more: nothing in it takes part in
    /// anything, and what it was waiting with is given up (4.11); but not the
    /// request of an owner that is parked with it.
    pub fn park(&mut self, parked: NodeId) {
        let all: Vec<NodeId> = [parked].into_iter().chain(self.inside(parked)).collect();
        for &node in &all {
            let owner = |request| self.owner(request).expect("it has been delivered");
            let is_outer = |request: &RequestId| !all.contains(&owner(*request));
            let outward = self.nodes[node].outward().filter(is_outer);
            let mut state = self.nodes[node].state.clone();
            match &mut state {
                State::Tasks(tasks) => {
                    tasks.passed.retain(|request| !is_outer(request));
                    tasks.outward = tasks.outward.filter(|request| !is_outer(request));
                    if tasks.passed.is_empty() {
                        tasks.waits_for.clear();
                    }
                }
                State::Shield(held) => {
                    let given_up = held.extract_if(.., |request| is_outer(request)).collect();
                    self.is_through(node, given_up);
                }
                _ => {}
            }
            self.nodes[node].state = state;
            outward.into_iter().for_each(|request| self.is_unanswered_again(request));
        }
        self.nodes[parked].is_parked = true;
    }
}

impl World {
    /// A parked node is polled again. It was not there, as far as the delivery of
    /// this moment is concerned.
    pub fn unpark(&mut self, node: NodeId) {
        self.nodes[node].is_parked = false;
        for node in self.whole(node) {
            self.nodes[node].entered = self.deliveries;
        }
    }
}

/// What came of a delivery.
pub enum Delivery {
    /// The inside has ended meanwhile.
    Ended(super::End),
    /// Somebody has taken the request, holds it, or lets it go outward; or it is
    /// to be delivered anew.
    Taken,
    /// The owner acts.
    Nobody,
}
