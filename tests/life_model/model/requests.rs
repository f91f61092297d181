//! Requests to cancel, as far as a task with one scope can meet them.

use super::outcome::Outcome;
use super::tasks::{Part, Task, Waits};
use super::{TaskAt, World};
use crate::log::ANY;

#[derive(Clone, Debug)]
pub struct Request {
    id: u64,
    pub reason: &'static str,
    /// A shield does not keep it off.
    through_shields: bool,
}

/// What was delivered in a task, and nobody in it has heard.
#[derive(Clone, Debug, Default)]
pub enum Resting {
    #[default]
    Nothing,
    /// A shield keeps it off.
    Shielded(Request),
    /// The task that is awaited was asked instead.
    Forwarded(Request),
    /// What kept it off is through: the next suspension gets it.
    Armed(Request),
}

/// What is to be done at a suspension because of a request.
pub enum Delivered {
    /// Something keeps it off.
    Rests,
    /// The task goes on at once.
    Poll,
    /// Nobody takes it: the task is dropped.
    Drop,
}

impl World {
    pub(super) fn new_request(&mut self, reason: &'static str, through_shields: bool) -> Request {
        self.requests_ever += 1;
        Request { id: self.requests_ever, reason, through_shields }
    }

    pub(super) fn cancel_plainly(&mut self, task: TaskAt) -> bool {
        let request = self.new_request("requested", false);
        self.cancel(task, &request)
    }

    /// False if it has ended. The same request twice is one.
    pub(super) fn cancel(&mut self, task: TaskAt, request: &Request) -> bool {
        let asked = &mut self.tasks[task];
        if asked.is_finished() {
            return false;
        }
        if asked.asked_by.contains(&request.id) {
            return true;
        }
        asked.asked_by.push(request.id);
        asked.count += 1;
        if !asked.reasons.contains(&request.reason) {
            asked.reasons.push(request.reason);
        }
        // The first reason counts, unless a later one goes where it cannot.
        match &asked.pending {
            Some(first) if first.through_shields || !request.through_shields => {}
            _ => asked.pending = Some(request.clone()),
        }
        if !asked.is_on_the_stack {
            self.wake(task);
        }
        true
    }

    /// Why the task is cancelled, if that is to be now.
    pub(super) fn ends_by(&self, task: TaskAt) -> Option<&'static str> {
        let task = &self.tasks[task];
        let resting = task.resting.request().or(task.pending.as_ref());
        resting.map(|request| self.reason(task, request))
    }

    /// Of several reasons it may be any.
    fn reason(&self, task: &Task, request: &Request) -> &'static str {
        if task.reasons.len() > 1 { ANY } else { request.reason }
    }

    /// Whether anybody in the task can take a request.
    pub(super) fn listens(&self, task: TaskAt) -> bool {
        let task = &self.tasks[task];
        let listens = |waits: &Waits| {
            matches!(waits, Waits::Await(_) | Waits::AwaitHere(_) | Waits::Shield(_))
        };
        task.has_scope() || listens(&task.waits)
    }

    /// What was asked of the task, or has waited for it, reaches the innermost.
    pub(super) fn deliver(&mut self, at: TaskAt) -> Delivered {
        let task = &self.tasks[at];
        self.is_doubtful |= task.may_be_polled_first() || task.is_asked_twice();
        let task = &mut self.tasks[at];
        let fresh = task.pending.take();
        let request = match (fresh, std::mem::take(&mut task.resting)) {
            (Some(fresh), Resting::Shielded(first) | Resting::Armed(first))
                if first.through_shields || !fresh.through_shields =>
            {
                first
            }
            (Some(fresh), _) => fresh,
            (None, resting) => resting.request().expect("there is one").clone(),
        };
        let awaited = self.awaited_by(at);
        match &self.tasks[at].waits {
            Waits::Await(_) | Waits::AwaitHere(_) => {
                // One that others have taken away, or await too.
                let is_its = awaited.is_some_and(|child| self.tasks[child].awaiter == Some(at));
                self.is_doubtful |= !is_its;
                let Some(child) = awaited else { return self.go_outward(at, request) };
                if self.tasks[child].succeeded() {
                    // A value is still good.
                    self.tasks[at].resting = Resting::Armed(request);
                    return Delivered::Poll;
                }
                if self.tasks[child].is_finished() || self.waits_for(child, at) {
                    return self.go_outward(at, request);
                }
                self.cancel(child, &request);
                self.tasks[at].resting = Resting::Forwarded(request);
                Delivered::Rests
            }
            // What is inside of a shield is polled, and may be over by now.
            Waits::Shield(sleep) if sleep.has_fired(&self.timers) => {
                self.tasks[at].resting = Resting::Armed(request);
                Delivered::Poll
            }
            Waits::Shield(_) if !request.through_shields => {
                self.tasks[at].resting = Resting::Shielded(request);
                Delivered::Rests
            }
            _ => self.go_outward(at, request),
        }
    }

    /// The task that it awaits.
    fn awaited_by(&self, at: TaskAt) -> Option<TaskAt> {
        match &self.tasks[at].waits {
            Waits::Await(handle) => Some(handle.task),
            Waits::AwaitHere(slot) => self.handles[*slot].as_ref().map(|handle| handle.task),
            _ => None,
        }
    }

    /// Whether `below` has passed on a request and waits for `above`, directly or
    /// through others.
    fn waits_for(&self, below: TaskAt, above: TaskAt) -> bool {
        let mut at = below;
        for _ in 0..self.tasks.len() {
            let task = &self.tasks[at];
            let Some(next) = self.awaited_by(at).filter(|_| task.resting.is_forwarded()) else {
                return false;
            };
            at = next;
            if at == above {
                return true;
            }
        }
        false
    }

    /// The scope gets it, if the task is in it; else the task ends by it.
    pub(super) fn go_outward(&mut self, at: TaskAt, request: Request) -> Delivered {
        if !self.tasks[at].has_scope() {
            self.tasks[at].resting = Resting::Armed(request.clone());
            return Delivered::Drop;
        }
        if let (Some(child), Waits::AwaitHere(_)) = (self.awaited_by(at), &self.tasks[at].waits) {
            self.tasks[child].has_sent_outward = true;
            if self.tasks[child].is_finished() {
                self.tasks[child].awaiter = None;
            }
        }
        self.drop_wait(at);
        let reason = self.reason(&self.tasks[at], &request);
        let task = &mut self.tasks[at];
        (task.part, task.at) = (Part::CleanUp(reason), 0);
        task.resting = Resting::Nothing;
        let label = task.label;
        self.say(label, format!("hears {}", Outcome::Cancelled(reason).words()));
        Delivered::Poll
    }
}

impl Resting {
    pub fn request(&self) -> Option<&Request> {
        match self {
            Resting::Nothing => None,
            Resting::Shielded(request) | Resting::Forwarded(request) | Resting::Armed(request) => {
                Some(request)
            }
        }
    }

    pub fn is_forwarded(&self) -> bool {
        matches!(self, Resting::Forwarded(_))
    }

    /// What kept it off is through.
    pub fn arm(&mut self) {
        if let Some(request) = self.request() {
            *self = Resting::Armed(request.clone());
        }
    }
}
