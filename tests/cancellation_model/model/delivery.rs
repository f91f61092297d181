//! What becomes of a request to cancel.
//!
//! Its owner delivers it: down all active branches, to the innermost listener of
//! each (4.3, 4.4). It ends in exactly one way (4.13). What makes that hold is
//! one question, asked at the end of each poll: has nobody heard of it, does
//! nothing hold it, and is it not on its way outward? Then it is
//! [delivered anew](World::is_unheard), whatever the reason was.

use super::tree::{Deadline, NodeId, State};
use super::{End, Error, TaskId, World};
use std::cmp::Reverse;

pub type RequestId = usize;

/// More in one program are a spin.
const MOST_DELIVERIES: usize = 2_000;

/// A request to cancel what is inside of its owner.
pub struct Request {
    /// The same when it is passed on to other tasks.
    wish: usize,
    origin: &'static str,
    reason: String,
    owner: Owner,
    /// How many have heard it, and not lost it again.
    hearings: u32,
    is_over: bool,
    /// It was made again, before anybody had heard.
    is_repeated: bool,
    was_delivered: bool,
    /// The number of its latest delivery.
    delivery: usize,
    is_taken_back: bool,
    counts_with_another: bool,
    /// It stands for a token whose owner is gone.
    is_renewed: bool,
}

/// What a shield held that is through, or was given up.
pub struct Through {
    pub request: RequestId,
    pub shield: NodeId,
    /// Where it stood.
    pub from: NodeId,
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
        // Several before the next poll are one, the first (4.3).
        if self.fresh(task).is_none() {
            let request = self.request(wish, origin, reason.to_owned(), Owner::Task(task));
            self.tasks[task].asked.push(request);
        }
        // What it asks itself is delivered where its poll ends (4.6).
        if self.running != Some(task) {
            self.wake(task);
        }
    }

    /// What has been asked of a task and not been delivered.
    fn fresh(&self, task: TaskId) -> Option<RequestId> {
        let latest = self.tasks[task].asked.last().copied();
        latest.filter(|&it| !self.requests[it].was_delivered && !self.is_answered(it))
    }

    /// What has been asked before anybody has taken what was asked first is one with
    /// that (4.3).
    pub fn merge(&mut self, task: TaskId) {
        if let Some(first) = self.is_one_with(task) {
            self.requests[first].is_repeated = true;
            self.tasks[task].asked.pop();
        }
    }

    /// With what the request is one that has not been delivered, if with any.
    fn is_one_with(&self, task: TaskId) -> Option<RequestId> {
        let fresh = self.fresh(task)?;
        let asked = self.tasks[task].asked.iter().copied().filter(|&it| it != fresh);
        let latest = asked.rev().find(|&request| !self.is_answered(request));
        let not_taken = self.not_taken(task, false);
        latest.filter(|first| not_taken.contains(first))
    }

    /// The request to a task that rests, as it will be delivered if it is.
    pub fn resting(&self, task: TaskId) -> Option<RequestId> {
        self.is_one_with(task).or_else(|| self.latest_unanswered(task))
    }

    /// Takes one request back (4.10).
    pub fn uncancel(&mut self, task: TaskId) {
        let before = self.tasks[task].cancelling;
        self.tasks[task].cancelling = before.saturating_sub(1);
        if before == 1 {
            self.tasks[task].wishes.clear();
            let taken_back = self.not_taken(task, true);
            for node in self.nodes.iter_mut().filter(|node| node.task == task) {
                if let Some(scope) = node.scope_mut() {
                    scope.chosen.take_if(|chosen| taken_back.contains(chosen));
                }
                if let State::Shield(held) = &mut node.state {
                    held.retain(|request| !taken_back.contains(request));
                }
            }
            self.through.retain(|through| !taken_back.contains(&through.request));
            for request in taken_back {
                self.answer(request);
                self.requests[request].is_taken_back = true;
            }
        }
    }

    /// The requests to a task that are pending, or only held by shields. What is
    /// left behind in the poll that is going on may be polled again in it.
    fn not_taken(&self, task: TaskId, in_poll: bool) -> Vec<RequestId> {
        let is_taken = |request| match self.tasks[task].root {
            Some(root) => {
                let parked = self.just_parked.iter().flat_map(|&node| self.whole(node));
                let has_passed_on = |node: NodeId| {
                    self.nodes[node].is_there && self.nodes[node].passed().contains(&request)
                };
                let sent = |&node: &NodeId| self.nodes[node].outward() == Some(request);
                let left = self.nodes.iter().enumerate().filter(|(node, it)| {
                    it.is_there && it.passed().contains(&request) && !self.is_active(*node)
                });
                let in_set = |node| self.around(node).into_iter().any(|it| self.has_wakers(it));
                let mut left_in_set = left.filter(|&(node, _)| in_set(node));
                let parked: Vec<NodeId> = parked.collect();
                in_poll && (parked.iter().any(|&node| has_passed_on(node)))
                    || in_poll && self.takes_what_is_forgotten() && parked.iter().any(sent)
                    || self.takes_what_is_parked() && left_in_set.next().is_some()
                    || self.has_passed_on(root, request)
                    || self.is_going_outward(root, request)
            }
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
        self.requests.push(Request {
            wish,
            origin,
            reason,
            owner,
            hearings: 0,
            is_over: false,
            is_repeated: false,
            was_delivered: false,
            delivery: 0,
            is_taken_back: false,
            counts_with_another: false,
            is_renewed: false,
        });
        self.requests.len() - 1
    }

    /// Passes a request on to tasks.
    pub fn pass_on(&mut self, request: RequestId, tasks: &[TaskId]) {
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

    /// Whether it is a request to a task.
    pub fn is_to_task(&self, request: RequestId) -> bool {
        matches!(self.requests[request].owner, Owner::Task(_))
    }

    pub fn task_of(&self, request: RequestId) -> TaskId {
        match self.requests[request].owner {
            Owner::Task(task) => task,
            Owner::Construct(owner) => self.nodes[owner].task,
        }
    }

    /// Whether the same task has been told of a later one, and has not answered that.
    fn is_asked_again(&self, request: RequestId) -> bool {
        let Owner::Task(task) = self.requests[request].owner else { return false };
        let is_later = |&later: &RequestId| {
            later > request && self.requests[later].was_delivered && !self.is_answered(later)
        };
        self.tasks[task].asked.iter().any(is_later)
    }

    // ---- Answered or not ---------------------------------------------------------

    pub fn is_answered(&self, request: RequestId) -> bool {
        self.requests[request].is_over || self.requests[request].hearings > 0
    }

    /// Whether somebody has heard it, and it is not over.
    pub fn is_heard(&self, request: RequestId) -> bool {
        !self.requests[request].is_over && self.requests[request].hearings > 0
    }

    pub fn is_over(&self, request: RequestId) -> bool {
        self.requests[request].is_over
    }

    /// It is over: with its owner, taken back, or counted with another.
    pub fn answer(&mut self, request: RequestId) {
        self.requests[request].is_over = true;
    }

    /// It goes outward with another, and is answered with that.
    pub fn counts_with_another(&mut self, request: RequestId) {
        self.requests[request].counts_with_another = !self.is_answered(request);
        self.answer(request);
    }

    /// What went outward from here was stopped further out: what these have asked, and what
    /// counted with it, has not been answered.
    pub fn open_again(&mut self, owners: &[NodeId]) {
        for request in &mut self.requests {
            if let Owner::Construct(owner) = request.owner
                && owners.contains(&owner)
                && std::mem::take(&mut request.counts_with_another)
            {
                request.is_over = false;
                request.hearings = request.hearings.saturating_sub(1);
            }
        }
    }

    /// Something goes outward from a node, through deadlines that have been answered: with
    /// that, as long as nobody in them stops it.
    pub fn goes_outward_from(&mut self, node: NodeId, request: RequestId) {
        let stopper = self.stopper(node, request);
        for around in self.around(node).into_iter().take_while(|&it| it != stopper) {
            if let State::Deadline(Deadline { asked: Some(own), .. }) = self.nodes[around].state
                && self.is_answered(own)
            {
                self.requests[own].counts_with_another = true;
            }
        }
    }

    /// Somebody hears of something: what has counted with it has been answered, if its
    /// owner is around him.
    fn is_answered_with_it(&mut self, hearer: NodeId) {
        let around = self.around(hearer);
        for request in &mut self.requests {
            if let Owner::Construct(owner) = request.owner
                && around.contains(&owner)
            {
                request.counts_with_another = false;
            }
        }
    }

    /// What goes on outward on behalf of a token: if the owner of that is gone, it is as if
    /// the task had been asked (4.13).
    pub fn goes_on(&mut self, task: TaskId, token: RequestId) -> RequestId {
        let is_gone = |owner: NodeId| !self.nodes[owner].is_there;
        if !self.owner(token).is_some_and(is_gone) {
            return token;
        }
        let Request { origin, reason, .. } = &self.requests[token];
        let (origin, reason, wish) = (*origin, reason.clone(), self.new_wish());
        let renewed = self.request(wish, origin, reason, Owner::Task(task));
        self.requests[renewed].was_delivered = true;
        self.requests[renewed].is_renewed = true;
        self.tasks[task].asked.push(renewed);
        renewed
    }

    /// The requests to a task that have been delivered.
    pub fn delivered(&self, task: TaskId) -> Vec<RequestId> {
        let asked = self.tasks[task].asked.iter().copied();
        asked.filter(|&request| self.requests[request].was_delivered).collect()
    }

    /// Somebody hears of it.
    pub fn hear(&mut self, request: RequestId, hearer: NodeId) {
        self.requests[request].hearings += 1;
        self.is_answered_with_it(hearer);
    }

    /// Somebody has heard it, and that came to nothing.
    pub fn unhear(&mut self, request: RequestId) {
        let hearings = self.requests[request].hearings;
        self.requests[request].hearings = hearings.saturating_sub(1);
    }

    /// Whether it is to be delivered (anew): nobody has heard of it, nothing
    /// holds it, and it is not on its way outward.
    pub fn is_unheard(&self, request: RequestId) -> bool {
        let moves = |owner| self.holds(owner, request) || self.is_going_outward(owner, request);
        !self.is_answered(request) && !self.owner(request).is_some_and(moves)
    }

    /// The request to a task that is to be delivered now. Of several that nobody has
    /// answered the latest counts; those before it are one with it when they come
    /// back.
    pub fn next_to_deliver(&self, task: TaskId) -> Option<RequestId> {
        let latest = self.latest_unanswered(task)?;
        (self.requests[latest].is_repeated || self.is_unheard(latest)).then_some(latest)
    }

    pub fn latest_unanswered(&self, task: TaskId) -> Option<RequestId> {
        let asked = self.tasks[task].asked.iter().copied();
        asked.rev().find(|&request| !self.is_answered(request))
    }

    // ---- Delivering --------------------------------------------------------------

    pub fn deliver_to_task(&mut self, task: TaskId, request: RequestId) {
        self.requests[request].is_repeated = false;
        self.requests[request].was_delivered = true;
        // Never polled: never polled (4.2).
        let Some(root) = self.tasks[task].root else { return self.drop_root(task, request) };
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
    /// goes first. Twice: a first time to find out who is there to hear of it, and
    /// a second time to let them hear. If all who could take it are through by
    /// that, the request meets what is suspended there now: it is delivered anew.
    pub fn deliver(&mut self, owner: NodeId, request: RequestId) -> Delivery {
        self.deliveries += 1;
        assert!(self.deliveries < MOST_DELIVERIES, "the model spins");
        let delivery = self.deliveries;
        self.requests[request].delivery = delivery;
        if !self.has_listener(owner, self.deliveries) {
            return Delivery::Nobody;
        }
        let (taken, choices) = (self.taken.len(), self.choices);
        let outer = self.carried.replace((request, delivery));
        let outer_phase = std::mem::replace(&mut self.phase, Phase::Choosing);
        let mut end = self.go_on_inside(owner);
        // Also if it has been taken back since: whoever was chosen did not go on.
        if end.is_none() && self.choices > choices {
            self.phase = Phase::Acting;
            end = self.go_on_inside(owner);
        }
        for node in self.whole(owner) {
            self.nodes[node].scope_mut().into_iter().for_each(|scope| {
                (scope.chosen, scope.later) = (None, None);
            });
        }
        self.phase = outer_phase;
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
        let (request, delivery) = self.carried.filter(|_| self.phase != Phase::Acting)?;
        if self.requests[request].is_taken_back {
            return None;
        }
        (self.nodes[node].entered < delivery).then_some(request)
    }

    /// A shield has held a request that others have heard: when it is through,
    /// the innermost scope around it takes it of which nobody inside has heard, if
    /// nothing inside of that holds it any more (4.7). Such a request, for this
    /// scope.
    pub fn held_by_a_shield_until_now(&mut self, scope: NodeId) -> Option<RequestId> {
        let is_to_us = |world: &World, &Through { request, shield, from }: &Through| {
            // One that came later has kept it off, and been told of others.
            let was_there = world.nodes[shield].made < world.requests[request].delivery;
            let Some(owner) = world.owner(request).filter(|&owner| world.is_active(owner)) else {
                return false;
            };
            let around = [from].into_iter().chain(world.around(from));
            let mut below_owner = around.take_while(|&node| node != owner);
            let is_scope = |&node: &NodeId| world.is_active(node) && world.nodes[node].is_scope();
            // Unanswered it is delivered anew to all, when nothing holds it.
            was_there
                && below_owner.find(is_scope) == Some(scope)
                && world.is_heard(request)
                && !world.is_asked_again(request)
                && !world.holds(scope, request)
                && !world.an_outer_one_is_due(scope, request)
        };
        let through = std::mem::take(&mut self.through);
        let (to_us, others): (Vec<_>, _) = through.into_iter().partition(|it| is_to_us(self, it));
        self.through = others;
        let heard = self.nodes[scope].scope_mut().expect("it is a scope").heard.clone();
        let to_us = to_us.into_iter().map(|through| through.request);
        self.outermost(to_us.filter(|request| !heard.contains(request)))
    }

    /// Whether a scope or group waits with what others have heard of, and what is held
    /// inside of it, perhaps until just now.
    pub fn waits_with_what_was_heard(&self, scope: NodeId) -> bool {
        let heard = match &self.nodes[scope].state {
            State::Scope(scope) => &scope.heard,
            State::Group(group) if self.nodes[scope].is_scope() => &group.scope.heard,
            _ => return false,
        };
        let inside = self.inside(scope);
        let held = inside.iter().flat_map(|&it| {
            let node = &self.nodes[it];
            let held = [node.keeps_off(), node.passed()].concat().into_iter();
            held.map(move |request| (request, node.made))
        });
        let until_now = self.through.iter().filter(|through| inside.contains(&through.from));
        let until_now = until_now.map(|it| (it.request, self.nodes[it.shield].made));
        let around = self.around(scope);
        let mut all = held.chain(until_now);
        all.any(|(request, made)| {
            self.is_heard(request)
                && made < self.requests[request].delivery
                && !heard.contains(&request)
                && !self.is_asked_again(request)
                && self.owner(request).is_some_and(|owner| around.contains(&owner))
        })
    }

    /// Whether a request that counts more than this one, and of which nobody has heard,
    /// is not held any more: whoever hears of that has heard of this.
    fn an_outer_one_is_due(&self, scope: NodeId, request: RequestId) -> bool {
        let owners = self.around(scope).into_iter();
        let theirs = owners.filter_map(|owner| match &self.nodes[owner].state {
            State::Deadline(deadline) => deadline.asked,
            State::Group(group) => group.abort,
            _ => None,
        });
        let all = theirs.chain(self.latest_unanswered(self.nodes[scope].task));
        let mut due = all.filter(|&due| {
            let is_held = self.owner(due).is_some_and(|owner| self.holds(owner, due));
            !self.is_answered(due) && !is_held
        });
        due.any(|due| self.rank(due) < self.rank(request))
    }

    /// Whoever hears of a request to the task has heard of those before it too.
    pub fn counts_for_those_before(&mut self, request: RequestId) {
        let Owner::Task(task) = self.requests[request].owner else { return };
        if self.requests[request].is_renewed {
            return; // nobody has asked the task
        }
        for before in self.tasks[task].asked.clone() {
            if before < request {
                self.answer(before);
            }
        }
    }

    // ---- Dropping ----------------------------------------------------------------

    /// Drops a node and all inside it, because of a request that the library
    /// acts on, or because the program does so. Gives the panic of a drop.
    pub fn discard(&mut self, node: NodeId, because: Option<RequestId>) -> Option<u32> {
        let was_active = self.is_active(node);
        self.give_back_all(node, because);
        let mut whole = self.whole(node);
        whole.retain(|&node| self.nodes[node].is_there);
        let (mut in_hand, mut outward) = (vec![], vec![]);
        for &node in &whole {
            let is_active = was_active && self.is_active(node);
            // What a third party drops is not over (4.13); a token that the program
            // drops is.
            if because.is_some() {
                in_hand.extend(self.nodes[node].tokens());
                outward.extend(self.nodes[node].outward().filter(|_| is_active));
            }
        }
        let panicked = whole.iter().filter_map(|&node| self.drop_one(node)).last();
        if let Some(parent) = self.nodes[node].parent {
            self.nodes[parent].children.retain(|&child| child != node);
        }
        for lost in in_hand {
            let because = because.expect("only then is something lost");
            if self.rank(lost) < self.rank(because) {
                self.unhear(lost);
            }
        }
        for lost in outward {
            let is_inner = |because| lost != because && self.rank(lost) >= self.rank(because);
            if because.is_some_and(is_inner) {
                self.answer(lost);
            }
        }
        panicked
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
            State::Group(group) => {
                self.drop_group(node);
                group.answer.iter().for_each(|end| self.is_cut_short(node, end));
            }
            State::CleansUp(end) => self.is_cut_short(node, &end),
            // Its own request is over with it (4.13).
            State::Deadline(deadline) => {
                deadline.asked.into_iter().for_each(|own| self.answer(own));
            }
            _ => {}
        }
        None
    }

    /// How something ended that cannot be handed on any more: a failure is reported
    /// (3.8).
    pub fn is_cut_short(&mut self, node: NodeId, end: &End) {
        let failed = match end {
            End::Value | End::Error(Error::Token(_)) => false,
            End::Error(_) | End::Panic(_) => true,
        };
        if failed {
            let label = self.tasks[self.nodes[node].task].label;
            self.log.say(self.now, label, "is reported");
        }
    }

    /// A shield is through, or has been given up.
    pub fn is_through(&mut self, shield: NodeId, held: Vec<RequestId>) {
        let Some(from) = self.nodes[shield].parent else { return };
        self.through.extend(held.into_iter().map(|request| Through { request, shield, from }));
    }
}

/// What a request that is carried is carried for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    /// To find out who is there to hear of it; what is passed on, is now.
    #[default]
    Choosing,
    /// To let those hear who were found.
    Acting,
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
