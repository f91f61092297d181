//! How each step goes on: as far as it can, until it ends or waits.
//!
//! A branch that has ended is gone from the tree. What a step says is said here
//! too, in the words of `real.rs`.

use super::tree::{Node, NodeId, State};
use super::{End, Error, World};
use crate::program::{Act, Loser, Step};
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
        let Some(end) = self.step(node) else {
            self.nodes[node].has_waited = true;
            return None;
        };
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
            _ if matches!(self.nodes[node].state, State::Stopped(_)) => self.after_stop(node),
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
            Act::TakeOver => self.take_over(node),
            Act::Gather(kind, bodies) => self.gather(node, *kind, bodies),
            Act::Group { tasks, body } => self.group(node, tasks, body),
            Act::Join(parts) | Act::Set(parts) | Act::Concurrent(parts) => self.join(node, parts),
            Act::Stream { parts, each } => self.stream(node, parts, each),
            Act::Keep { kept, user, resume } => self.keep(node, kept, user, *resume),
            Act::Kept => self.await_kept(node),
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
        let mut children = self.nodes[node].children.clone();
        if let Act::Set(_) = self.act(node) {
            children = self.in_some_order(children);
        }
        let mut sets = 0;
        for child in children {
            // A `FuturesUnordered` lets others have a turn when two of its branches,
            // which may be sets, have asked for that.
            if sets == 2 && self.happens(3) {
                self.wake(self.nodes[node].task);
                return None;
            }
            let has_set = matches!(self.act(node), Act::Set(_)) && self.has_set(child);
            sets += u32::from(has_set);
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
            let branches = self.in_some_order(self.nodes[node].children.clone());
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
                for node in self.whole(lost) {
                    self.leaked.extend(self.nodes[node].tokens());
                }
                self.nodes[node].children.clear();
                Some(end)
            }
            Loser::HandOver => {
                self.park(lost);
                self.nodes[node].children.clear();
                self.nodes[lost].parent = None;
                let before = self.shelf.replace(lost);
                let panicked = before.and_then(|before| self.discard(before, None));
                Some(panicked.map_or(end, End::Panic))
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

    /// A future that was begun elsewhere goes on here, in another task perhaps.
    fn take_over(&mut self, node: NodeId) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let Some(taken) = self.shelf.take() else {
                self.say(node, "finds nothing");
                return Some(End::Value);
            };
            self.set(node, State::Part(0));
            self.nodes[node].children.push(taken);
            self.nodes[taken].parent = Some(node);
            let task = self.nodes[node].task;
            for taken in self.whole(taken) {
                self.nodes[taken].task = task;
                // What was asked of the other task is not for this one.
                if let State::Tasks(tasks) = &mut self.nodes[taken].state {
                    tasks.passed.clear();
                    tasks.waits_for.clear();
                }
            }
            self.unpark(taken);
        }
        self.go_on_inside(node)
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
