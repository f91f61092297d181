//! How a group goes on (5.4).

use super::delivery::{Delivery, RequestId};
use super::scope::Told;
use super::tree::{Group, NodeId, State};
use super::{End, Error, TaskId, World};
use crate::program::Step;
use std::rc::Rc;

impl World {
    pub fn group(&mut self, node: NodeId, tasks: &[Step], body: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let mut members = vec![];
            for task in tasks {
                members.push(self.spawn(Rc::new(task.clone()), Some(node)));
            }
            members.iter().for_each(|&task| self.detach(task));
            self.set(node, State::Group(Group { tasks: members, ..Group::default() }));
            self.enter(node, body);
        }
        if self.group_of(node).outward.is_some() {
            return None;
        }
        let taken = self.taken.len();
        if self.has_body(node) {
            self.body_goes_on(node);
        }
        let waits = !self.has_body(node) && !self.all_have_ended(node);
        if waits && let Some(request) = self.carried_to(node) {
            // Only the tasks are left to be told.
            self.taken.push(request);
            self.passes_on_to_members(node, request);
        }
        if self.is_chosen(node) {
            return None;
        }
        self.aborts_if_one_has_failed(node, taken);
        let waits = self.has_body(node) || !self.all_have_ended(node);
        if waits { None } else { self.group_ends(node) }
    }

    fn all_have_ended(&mut self, node: NodeId) -> bool {
        self.group_of(node).tasks.clone().iter().all(|&task| self.has_ended(task))
    }

    fn group_of(&mut self, node: NodeId) -> &mut Group {
        match &mut self.nodes[node].state {
            State::Group(group) => group,
            _ => unreachable!("a group has one state"),
        }
    }

    fn has_body(&self, node: NodeId) -> bool {
        !self.nodes[node].children.is_empty()
    }

    fn body_goes_on(&mut self, node: NodeId) {
        match self.told_at_once(node) {
            Told::Takes(request) => return self.takes(node, request),
            Told::IsChosen => return,
            Told::Nothing => {}
        }
        let taken = self.taken.len();
        if let Some(end) = self.go_on_inside(node) {
            return self.body_ended(node, end);
        }
        if let Told::Takes(request) = self.told_in_the_end(node, taken) {
            self.takes(node, request);
        }
    }

    /// Nobody in the body takes the request: the body is dropped. A request of
    /// somebody else goes on to the tasks.
    fn takes(&mut self, node: NodeId, request: RequestId) {
        match self.group_of(node).abort == Some(request) {
            true => self.answer(request),
            false => self.passes_on_to_members(node, request),
        }
        let body = self.nodes[node].children[0];
        if let Some(panicked) = self.discard(body, Some(request)) {
            self.body_ended(node, End::Panic(panicked));
        }
    }

    fn passes_on_to_members(&mut self, node: NodeId, request: RequestId) {
        let mut youngest_first = self.group_of(node).tasks.clone();
        youngest_first.reverse();
        self.pass_on(request, &youngest_first);
        self.group_of(node).passed.push(request);
        self.group_of(node).has_asked = true;
    }

    fn body_ended(&mut self, node: NodeId, end: End) {
        let has_errors = !self.group_of(node).errors.is_empty();
        match end {
            End::Error(Error::Token(own)) if self.group_of(node).abort == Some(own) => {
                self.answer(own);
            }
            // As if nobody had taken it.
            End::Error(Error::Token(request)) => {
                let request = self.goes_on(self.nodes[node].task, request);
                self.unhear(request);
                self.passes_on_to_members(node, request);
            }
            // It only says that the group has another.
            End::Error(Error::OwnedByGroup) if has_errors => {}
            end => {
                let failed = end != End::Value;
                self.group_of(node).answer = Some(end);
                if failed {
                    self.aborts(node);
                }
            }
        }
    }

    /// A member has failed; its error belongs to the group, if that is still
    /// there.
    pub fn collects(&mut self, node: NodeId, task: TaskId, error: Error) -> bool {
        if !self.nodes[node].is_there {
            return false;
        }
        let group = self.group_of(node);
        if error != Error::OwnedByGroup || group.errors.is_empty() {
            group.errors.push((task, error));
        }
        true
    }

    /// All tasks are cancelled, the youngest first, once; and the body is told.
    /// As for a deadline, a request from further out goes first, and the abort
    /// is answered with it.
    fn aborts_if_one_has_failed(&mut self, node: NodeId, taken: usize) {
        let Group { errors, answer, abort, .. } = self.group_of(node).clone();
        let failed = !errors.is_empty() || matches!(answer, Some(End::Error(_) | End::Panic(_)));
        let own = match abort {
            Some(own) => own,
            None if !failed => return,
            None => self.aborts(node),
        };
        if self.outer_one_is_taken(node, taken) && self.is_unheard(own) {
            self.answer(own);
        }
        while self.has_body(node) && self.is_unheard(own) && !self.gives_way(node, Some(own)) {
            let taken = self.taken.len();
            match self.deliver(node, own) {
                Delivery::Ended(end) => self.body_ended(node, end),
                Delivery::Nobody => self.takes(node, own),
                Delivery::Taken => {
                    if let Told::Takes(request) = self.told_in_the_end(node, taken) {
                        self.takes(node, request);
                    }
                }
            }
        }
    }

    /// A task or the body has failed. Answers the request for the body.
    fn aborts(&mut self, node: NodeId) -> RequestId {
        if let Some(own) = self.group_of(node).abort {
            return own;
        }
        let own = self.own_request(node, "Group", "its group");
        let group = self.group_of(node);
        group.abort = Some(own);
        if !std::mem::replace(&mut group.has_asked, true) {
            let youngest_first: Vec<TaskId> = group.tasks.iter().copied().rev().collect();
            self.pass_on(own, &youngest_first);
        }
        own
    }

    /// The body and all tasks have ended.
    fn group_ends(&mut self, node: NodeId) -> Option<End> {
        let Group { errors, answer, passed, .. } = self.group_of(node).clone();
        let mut errors: Vec<Error> = errors.into_iter().map(|(_, error)| error).collect();
        match answer {
            Some(End::Panic(label)) => {
                self.group_of(node).abort.into_iter().for_each(|own| self.answer(own));
                self.report_collected(node);
                return Some(End::Panic(label));
            }
            Some(End::Error(ref error)) => errors.push(error.clone()),
            _ => {}
        }
        if !errors.is_empty() {
            self.group_of(node).abort.into_iter().for_each(|own| self.answer(own));
            let end = End::Error(Error::Group(errors));
            let words = self.words(&end);
            self.say(node, format!("gave {words}"));
            return Some(end);
        }
        if let Some(outermost) = self.outermost(passed.iter().copied()) {
            let others = passed.into_iter().filter(|&request| request != outermost);
            others.for_each(|request| self.counts_with_another(request));
            self.group_of(node).outward = Some(outermost);
            self.goes_outward_from(node, outermost);
            return None;
        }
        // What its body was dropped for was stopped further out.
        answer?;
        self.say(node, "gave a value");
        Some(End::Value)
    }

    /// Nobody will hear of the errors that a group has collected.
    fn report_collected(&mut self, node: NodeId) {
        for (task, _) in self.group_of(node).errors.clone() {
            let label = self.tasks[task].label;
            self.log.say(self.now, label, "is reported");
        }
    }

    /// A group is dropped. One that has asked its tasks already does not ask
    /// again.
    pub fn drop_group(&mut self, node: NodeId) {
        self.report_collected(node);
        let group = self.group_of(node).clone();
        group.abort.into_iter().for_each(|own| self.answer(own));
        if !group.has_asked {
            let wish = self.new_wish();
            for &task in group.tasks.iter().rev() {
                self.ask(task, wish, "Group", "its group");
            }
        }
    }
}
