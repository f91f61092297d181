//! How each step goes on: as far as it can, until it ends or waits.
//!
//! A branch that has ended is gone from the tree. What a step says is said here
//! too, in the words of `real.rs`.

use super::delivery::RequestId;
use super::tree::{Node, NodeId, Scope, State};
use super::{End, Error, World};
use crate::program::{Act, After, Loser, Step};
use std::rc::Rc;

impl World {
    /// A step begins; it goes on when it is told to.
    pub fn enter(&mut self, parent: NodeId, step: &Step) -> NodeId {
        let task = self.nodes[parent].task;
        let state = State::New;
        let node = Node::new(Rc::new(step.clone()), task, Some(parent), state, self.deliveries);
        let node = self.add(node);
        self.nodes[parent].children.push(node);
        node
    }

    /// A branch goes on. When it ends, it is gone.
    pub fn go_on(&mut self, node: NodeId) -> Option<End> {
        let end = self.step(node)?;
        // What an ended step leaves behind, the program drops.
        let panicked = self.discard_children(node);
        self.nodes[node].is_there = false;
        if let State::Tasks(tasks) = self.nodes[node].state.clone() {
            tasks.tasks.into_iter().for_each(|task| self.detach(task));
        }
        if let Some(parent) = self.nodes[node].parent {
            self.nodes[parent].children.retain(|&child| child != node);
        }
        match (end, panicked) {
            (end @ End::Panic(_), _) | (end, None) => Some(end),
            (_, Some(panicked)) => Some(End::Panic(panicked)),
        }
    }

    /// The only branch of a node goes on.
    pub fn go_on_inside(&mut self, node: NodeId) -> Option<End> {
        let child = self.nodes[node].children[0];
        self.go_on(child)
    }

    fn discard_children(&mut self, node: NodeId) -> Option<u32> {
        let children = self.nodes[node].children.clone();
        children.into_iter().filter_map(|child| self.discard(child, None)).last()
    }

    pub fn say(&mut self, node: NodeId, what: impl Into<String>) {
        let label = self.label(node);
        self.log.say(self.now, label, what);
    }

    pub fn set(&mut self, node: NodeId, state: State) {
        self.nodes[node].state = state;
    }

    fn step(&mut self, node: NodeId) -> Option<End> {
        let step = self.nodes[node].step.clone();
        let is_new = matches!(self.nodes[node].state, State::New);
        match &step.act {
            _ if matches!(self.nodes[node].state, State::Root) => self.go_on_inside(node),
            Act::Log => {
                self.say(node, "is here");
                Some(End::Value)
            }
            Act::Sleep(duration) => {
                if is_new {
                    self.set(node, State::Waits(Some(self.now + duration)));
                }
                let State::Waits(due) = self.nodes[node].state else { unreachable!() };
                let is_over = due.is_some_and(|due| due <= self.now);
                is_over.then(|| {
                    self.say(node, "has slept");
                    self.set(node, State::Part(0));
                    End::Value
                })
            }
            Act::Pending | Act::Bomb => {
                self.set(node, State::Waits(None));
                None
            }
            Act::Fail => Some(End::Error(Error::Failure(step.label))),
            Act::Panic => Some(End::Panic(step.label)),
            Act::CancelSelf => {
                let wish = self.new_wish();
                let reason = format!("by itself at {}", step.label);
                self.ask(self.nodes[node].task, wish, "Requested", &reason);
                Some(End::Value)
            }
            Act::Uncancel => {
                self.uncancel(self.nodes[node].task);
                Some(End::Value)
            }
            Act::Seq(parts) => self.parts(node, parts.len(), |part| &parts[part]),
            Act::Repeat(times, part) => self.parts(node, *times as usize, |_| part),
            Act::Try(part) => {
                let end = self.parts(node, 1, |_| part)?;
                if matches!(end, End::Panic(_)) {
                    return Some(end);
                }
                let words = self.words(&end);
                self.say(node, format!("tried: {words}"));
                Some(End::Value)
            }
            Act::Scope { inside, cleanup, after } => self.scope(node, inside, cleanup, *after),
            Act::Finally { inside, cleanup } => self.finally(node, inside, cleanup),
            Act::Shield(inside) => self.shield(node, inside),
            Act::Timeout(limit, inside) => self.deadline(node, *limit, inside),
            Act::Await(body) => self.await_task(node, body),
            Act::AwaitTask(number) => self.await_task_from_outside(node, *number),
            Act::Spawn(body) => {
                let task = self.spawn(Rc::new((**body).clone()), None);
                self.detach(task);
                Some(End::Value)
            }
            Act::Gather(kind, bodies) => self.gather(node, *kind, bodies),
            Act::Group { tasks, body } => self.group(node, tasks, body),
            Act::Join(parts) | Act::Set(parts) | Act::Concurrent(parts) => self.join(node, parts),
            Act::Stream { parts, each } => self.stream(node, parts, each),
            Act::Select { first, second, loser } => self.select(node, first, second, loser),
        }
    }

    /// One after the other; an error ends it.
    fn parts<'a>(
        &mut self,
        node: NodeId,
        count: usize,
        part: impl Fn(usize) -> &'a Step,
    ) -> Option<End> {
        loop {
            let at = match self.nodes[node].state {
                State::Part(at) => at,
                _ => 0,
            };
            if at == count {
                return Some(End::Value);
            }
            if self.nodes[node].children.is_empty() {
                self.set(node, State::Part(at));
                self.enter(node, part(at));
            }
            match self.go_on_inside(node)? {
                End::Value => self.set(node, State::Part(at + 1)),
                end => return Some(end),
            }
        }
    }

    /// All go on; the first error is handed on when all have ended.
    fn join(&mut self, node: NodeId, parts: &[Step]) -> Option<End> {
        if let State::New = self.nodes[node].state {
            self.set(node, State::Branches(vec![None; parts.len()]));
            for part in parts {
                self.enter(node, part);
            }
        }
        for child in self.nodes[node].children.clone() {
            let label = self.label(child);
            let Some(end) = self.go_on(child) else { continue };
            if matches!(end, End::Panic(_)) {
                return Some(end);
            }
            let at = parts.iter().position(|part| part.label == label).expect("it is a part");
            let State::Branches(ends) = &mut self.nodes[node].state else { unreachable!() };
            ends[at] = Some(end);
        }
        if !self.nodes[node].children.is_empty() {
            return None;
        }
        let State::Branches(ends) = self.nodes[node].state.clone() else { unreachable!() };
        for end in ends.iter().flatten() {
            let words = self.words(end);
            self.say(node, format!("a branch gave {words}"));
        }
        Some(ends.into_iter().flatten().find(|end| *end != End::Value).unwrap_or(End::Value))
    }

    /// One comes out after the other; while `each` runs, the others are parked.
    fn stream(&mut self, node: NodeId, parts: &[Step], each: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            self.set(node, State::Part(0));
            for part in parts {
                self.enter(node, part);
            }
        }
        loop {
            if let State::Part(1) = self.nodes[node].state {
                let last = *self.nodes[node].children.last().expect("it is the last");
                match self.go_on(last)? {
                    End::Value => self.set(node, State::Part(0)),
                    end => return Some(end),
                }
                for branch in self.nodes[node].children.clone() {
                    self.unpark(branch);
                }
            }
            let branches = self.nodes[node].children.clone();
            if branches.is_empty() {
                return Some(End::Value);
            }
            let ended = branches.iter().find_map(|&branch| Some((branch, self.go_on(branch)?)));
            let (branch, end) = ended?;
            if matches!(end, End::Panic(_)) {
                return Some(end);
            }
            let (label, words) = (self.label(branch), self.words(&end));
            self.say(node, format!("branch {label} gave {words}"));
            for branch in self.nodes[node].children.clone() {
                self.park(branch);
            }
            self.set(node, State::Part(1));
            self.enter(node, each);
        }
    }

    fn select(&mut self, node: NodeId, first: &Step, second: &Step, loser: &Loser) -> Option<End> {
        match self.nodes[node].state {
            State::New => {
                self.set(node, State::Part(0));
                self.enter(node, first);
                self.enter(node, second);
            }
            State::Part(0) => {}
            _ => return self.after_select(node, loser),
        }
        let branches = self.nodes[node].children.clone();
        let ended = branches.iter().find_map(|&branch| Some((branch, self.go_on(branch)?)));
        let (winner, end) = ended?;
        if matches!(end, End::Panic(_)) {
            return Some(end);
        }
        let label = self.label(winner);
        self.say(node, format!("was won by {label}"));
        let lost = self.nodes[node].children[0];
        match loser {
            Loser::Drop => Some(self.discard(lost, None).map_or(end, End::Panic)),
            Loser::Forget => {
                self.park(lost);
                self.nodes[node].children.clear();
                Some(end)
            }
            Loser::Park { then, .. } => {
                let words = self.words(&end);
                self.say(node, format!("the winner gave {words}"));
                self.park(lost);
                self.set(node, State::Part(1));
                self.enter(node, then);
                self.after_select(node, loser)
            }
        }
    }

    /// The loser is kept while something else runs, and then awaited or dropped.
    fn after_select(&mut self, node: NodeId, loser: &Loser) -> Option<End> {
        let lost = self.nodes[node].children[0];
        if let State::Part(1) = self.nodes[node].state {
            let then = self.nodes[node].children[1];
            let end = self.go_on(then)?;
            let Loser::Park { resume: true, .. } = loser else { return Some(end) };
            if end != End::Value {
                return Some(end);
            }
            self.set(node, State::Part(2));
            self.unpark(lost);
        }
        self.go_on(lost)
    }
}

// ---- Scope, finally, shield ---------------------------------------------------

/// How the future of a scope goes on.
enum Inside {
    Ended(End),
    /// It has been dropped because of a request; that may have panicked.
    Took(RequestId, Option<u32>),
}

impl World {
    /// `match scope(inside).await { … }`
    fn scope(&mut self, node: NodeId, inside: &Step, cleanup: &Step, after: After) -> Option<End> {
        if let Some(ended) = self.future_of_scope(node, inside)? {
            let token = match ended {
                Inside::Ended(end) => {
                    if !matches!(end, End::Panic(_)) {
                        self.say(node, "is through");
                    }
                    return Some(end);
                }
                Inside::Took(_, Some(panicked)) => return Some(End::Panic(panicked)),
                Inside::Took(request, None) => request,
            };
            let (origin, reason) = (self.origin(token), self.reason(token).to_owned());
            self.say(node, format!("heard {origin}: {reason}"));
            self.set(node, State::CleansUp(End::Error(Error::Token(token))));
            self.enter(node, cleanup);
        }
        let State::CleansUp(token) = self.nodes[node].state.clone() else { return None };
        match self.go_on_inside(node)? {
            End::Value => {}
            end => return Some(end), // and the token is dropped with it
        }
        self.say(node, format!("{after:?}"));
        match (after, token) {
            (After::Accept | After::Drop, _) => Some(End::Value),
            (After::Return, token) => Some(token),
            (After::Rethrow, End::Error(Error::Token(request))) => {
                self.set(node, State::Outward(request));
                None
            }
            (After::Rethrow, _) => unreachable!("a scope cleans up with a token in its hands"),
        }
    }

    /// `finally` is a scope around its future. However that ends, the clean-up
    /// runs; then that ending goes on, a cancellation outward (4.7).
    fn finally(&mut self, node: NodeId, inside: &Step, cleanup: &Step) -> Option<End> {
        if let Some(ended) = self.future_of_scope(node, inside)? {
            let how = match ended {
                Inside::Ended(end) => end,
                Inside::Took(_, Some(panicked)) => End::Panic(panicked),
                Inside::Took(request, None) => End::Error(Error::Token(request)),
            };
            self.say(node, "cleans up");
            self.set(node, State::CleansUp(how));
            self.enter(node, cleanup);
        }
        let State::CleansUp(how) = self.nodes[node].state.clone() else { return None };
        let end = match (how, self.go_on_inside(node)?) {
            (_, End::Panic(label)) => return Some(End::Panic(label)),
            (how, End::Value) => {
                self.say(node, "has cleaned up");
                how
            }
            // A clean-up that ends by a cancellation has not failed.
            (End::Error(Error::Token(first)), End::Error(Error::Token(second))) => {
                let outermost = self.outermost([first, second]).expect("there are two");
                End::Error(Error::Token(outermost))
            }
            (_, End::Error(Error::Token(token))) => End::Error(Error::Token(token)),
            (how, End::Error(error)) => {
                let before = match how {
                    End::Value => None,
                    End::Error(Error::Token(request)) => Some(Error::TaskCancelled(request)),
                    End::Error(error) => Some(error),
                    End::Panic(label) => Some(Error::Panicked(label)),
                };
                End::Error(Error::CleanupFailed(Box::new(error), before.map(Box::new)))
            }
        };
        match end {
            End::Error(Error::Token(request)) => {
                self.set(node, State::Outward(request));
                None
            }
            End::Panic(_) => Some(end),
            end => {
                let words = self.words(&end);
                self.say(node, format!("gave {words}"));
                Some(end)
            }
        }
    }

    /// The future of a scope goes on, unless the scope is told to drop it. None
    /// if it waits; `Some(None)` if the future was gone before.
    fn future_of_scope(&mut self, node: NodeId, inside: &Step) -> Option<Option<Inside>> {
        match &self.nodes[node].state {
            State::New => {
                self.set(node, State::Scope(Scope::default()));
                self.enter(node, inside);
            }
            State::Scope(_) => {}
            _ => return Some(None),
        }
        if let Some(request) = self.told_at_once(node) {
            return Some(Some(self.take(node, request)));
        }
        let taken = self.taken.len();
        if let Some(end) = self.go_on_inside(node) {
            return Some(Some(Inside::Ended(end)));
        }
        let request = self.told_in_the_end(node, taken)?;
        Some(Some(self.take(node, request)))
    }

    /// The request for which a scope or group drops what is inside it without
    /// polling it once more: nobody inside listens, or a shield inside is through.
    pub fn told_at_once(&mut self, node: NodeId) -> Option<RequestId> {
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        if let Some(told) = scope.told.take() {
            return Some(told);
        }
        let request = self.carried_to(node)?;
        let (_, delivery) = self.carried?;
        (!self.has_listener(node, delivery)).then_some(request)
    }

    /// The same after what is inside has gone on, and waits: what goes outward
    /// from there, or what is delivered, if nobody there has taken or holds it.
    pub fn told_in_the_end(&mut self, node: NodeId, taken: usize) -> Option<RequestId> {
        let newly_taken = self.taken[taken..].to_vec();
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        scope.heard.extend(newly_taken);
        let outward = self.outward_to(node).filter(|_| !self.waits_below(node));
        let is_for_us = |&request: &RequestId| {
            let delivery = self.carried.map_or(0, |(_, delivery)| delivery);
            !self.is_taken(node, request, taken) && !self.has_newcomer(node, delivery)
        };
        let inward = self.carried_to(node).filter(is_for_us);
        self.outermost(outward.into_iter().chain(inward))
    }

    fn take(&mut self, node: NodeId, request: RequestId) -> Inside {
        self.has_taken(node, request);
        self.answer(request);
        let inside = self.nodes[node].children[0];
        Inside::Took(request, self.discard(inside, Some(request)))
    }

    /// A listener has taken a request, and with it what is delivered at the same
    /// time.
    pub fn has_taken(&mut self, node: NodeId, request: RequestId) {
        self.taken.push(request);
        if let Some(carried) = self.carried_to(node).filter(|&carried| carried != request) {
            self.taken.push(carried);
            if self.rank(carried) >= self.rank(request) {
                self.answer(carried);
            }
        }
    }

    /// Requests wait until it is through (4.7); so do deadlines.
    fn shield(&mut self, node: NodeId, inside: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            self.set(node, State::Shield(vec![]));
            self.enter(node, inside);
        }
        let carried = self.carried_to(node);
        if let (Some(request), State::Shield(held)) = (carried, &mut self.nodes[node].state) {
            held.push(request);
        }
        let outer = self.carried.take();
        let end = self.go_on_inside(node);
        self.carried = outer;
        let end = end?;
        if let State::Shield(held) = self.nodes[node].state.clone() {
            self.is_through(node, held);
        }
        if !matches!(end, End::Panic(_)) {
            self.say(node, "is through");
        }
        Some(end)
    }
}
