//! How an await and a gather go on (4.8, 5.1).

use super::delivery::RequestId;
use super::tree::{NodeId, State, Tasks};
use super::{End, Error, TaskId, World};
use crate::program::{Kind, Step};
use std::rc::Rc;

impl World {
    pub fn await_task(&mut self, node: NodeId, body: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let task = self.spawn(Rc::new(body.clone()), None);
            self.waits_for_tasks(node, vec![task]);
        }
        self.go_on_awaiting(node)
    }

    /// Awaits a task that was spawned from outside, if nobody else has taken its
    /// handle.
    pub fn await_task_from_outside(&mut self, node: NodeId, number: usize) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let task = self.from_outside.get(number).copied();
            let Some(task) = task.filter(|task| self.handles.insert(*task)) else {
                self.say(node, "finds no handle");
                return Some(End::Value);
            };
            self.waits_for_tasks(node, vec![task]);
        }
        self.go_on_awaiting(node)
    }

    pub fn gather(&mut self, node: NodeId, kind: Kind, bodies: &[Step]) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let spawn = |body: &Step| self.spawn(Rc::new(body.clone()), None);
            let tasks = bodies.iter().map(spawn).collect();
            self.waits_for_tasks(node, tasks);
        }
        self.go_on_gathering(node, kind)
    }

    fn waits_for_tasks(&mut self, node: NodeId, tasks: Vec<TaskId>) {
        let (passed, waits_for) = (vec![], vec![]);
        let state = Tasks { tasks, passed, waits_for, is_aborted: false, outward: None };
        self.set(node, State::Tasks(state));
    }

    fn tasks_of(&mut self, node: NodeId) -> &mut Tasks {
        match &mut self.nodes[node].state {
            State::Tasks(tasks) => tasks,
            _ => unreachable!("whoever waits for tasks has one state"),
        }
    }

    fn go_on_awaiting(&mut self, node: NodeId) -> Option<End> {
        let Tasks { tasks, passed, outward, .. } = self.tasks_of(node).clone();
        let task = tasks[0];
        if outward.is_some() {
            return None;
        }
        if task == self.nodes[node].task {
            self.say(node, "was given awaited itself");
            return Some(End::Error(Error::AwaitedItself));
        }
        let told = self.carried_to(node);
        if !self.has_ended(task) {
            told.into_iter().for_each(|request| self.passes_on(node, request));
            return None;
        }
        // A value goes first; what is not one is left for whoever hears of it.
        if let Some(request) = told.filter(|_| !self.has_value(task)) {
            self.goes_outward(node, Some(request));
            return None;
        }
        // It was cancelled because of what it was passed: now it is our turn. A
        // value, or a failure in its clean-up, is news, and the request is
        // delivered anew.
        let was_cancelled = matches!(self.tasks[task].ending, Some(super::Ending::Cancelled(_)));
        if !passed.is_empty() && was_cancelled {
            self.goes_outward(node, None);
            return None;
        }
        let end = self.hand_over(task);
        let words = self.words(&end);
        self.say(node, format!("was given {words}"));
        Some(end)
    }

    fn go_on_gathering(&mut self, node: NodeId, kind: Kind) -> Option<End> {
        if self.tasks_of(node).outward.is_some() {
            return None;
        }
        let tasks = self.tasks_of(node).tasks.clone();
        let all_well = tasks.iter().all(|&task| self.has_value(task));
        if let Some(request) = self.carried_to(node).filter(|_| !all_well) {
            match tasks.iter().all(|&task| self.has_ended(task)) {
                true => self.goes_outward(node, Some(request)),
                false => self.passes_on(node, request),
            }
        }
        let Tasks { passed, waits_for, outward, is_aborted, .. } = self.tasks_of(node).clone();
        if outward.is_some() {
            return None;
        }
        let mut failed: Vec<TaskId> = tasks.clone();
        failed.retain(|&task| self.has_ended(task) && !self.has_value(task));
        failed.sort_by_key(|&task| self.tasks[task].ended);
        let first_failed = failed.first().copied();

        if !passed.is_empty() {
            // Once a request was passed on, no failure is handed on.
            if waits_for.iter().any(|&task| !self.has_ended(task)) {
                return None;
            }
            if first_failed.is_some() || tasks.iter().any(|&task| !self.has_ended(task)) {
                self.goes_outward(node, None);
                return None;
            }
        } else if let (Kind::TryGather, Some(_), false) = (kind, first_failed, is_aborted) {
            self.tasks_of(node).is_aborted = true;
            let siblings = self.own_request(node, "Group", "its group");
            self.pass_on(siblings, &tasks);
        }
        let all_ended = tasks.iter().all(|&task| self.has_ended(task));
        let end = match (kind, first_failed) {
            (Kind::Gather, Some(first)) => self.hand_over(first),
            (Kind::TryGather, Some(first)) if all_ended => self.hand_over(first),
            _ if !all_ended => return None,
            (Kind::Settle, _) => {
                for &task in &tasks {
                    let end = self.hand_over(task);
                    let words = self.words(&end);
                    self.say(node, format!("was given {words}"));
                }
                return Some(End::Value);
            }
            _ => End::Value,
        };
        let words = self.words(&end);
        self.say(node, format!("was given {words}"));
        Some(end)
    }

    /// A request is passed on to all that have not ended, except those that
    /// wait, in a circle, for this very task.
    fn passes_on(&mut self, node: NodeId, request: RequestId) {
        let this = self.nodes[node].task;
        let mut asked = self.tasks_of(node).tasks.clone();
        asked.retain(|&task| !self.has_ended(task) && !self.waits_through_requests(task, this));
        if asked.is_empty() {
            return self.goes_outward(node, Some(request));
        }
        self.taken.push(request);
        self.pass_on(request, &asked);
        let tasks = self.tasks_of(node);
        tasks.passed.push(request);
        tasks.waits_for.extend(asked);
    }

    /// There is nothing more to wait for: the request of the outermost owner
    /// goes outward.
    fn goes_outward(&mut self, node: NodeId, told: Option<RequestId>) {
        self.taken.extend(told);
        let requests = self.tasks_of(node).passed.iter().copied().chain(told).collect::<Vec<_>>();
        let outermost = self.outermost(requests.iter().copied());
        for request in requests {
            if Some(request) != outermost {
                self.counts_with_another(request);
            }
        }
        self.tasks_of(node).outward = outermost;
        outermost.into_iter().for_each(|outermost| self.goes_outward_from(node, outermost));
    }
}
