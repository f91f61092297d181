//! What a task does at its place in the queue.

use super::handles::Hearing;
use super::outcome::{About, Error, Made, Outcome, Panic};
use super::requests::{Delivered, Request, Resting};
use super::time::{SLEEPS_AT_ONCE, Sleep, Ticks};
use super::turn::Callback;
use super::{Handle, TaskAt, World};
use crate::program::{After, Body, Payload, Step, Wait};
use std::rc::Rc;

pub struct Task {
    pub label: u32,
    /// The how many-th that was spawned.
    pub number: u64,
    /// The label of the task that has spawned it.
    parent: u32,
    body: Rc<Body>,
    pub is_queued: bool,
    /// Its poll or drop is on the stack.
    pub is_on_the_stack: bool,
    /// Its last poll has polled a handle and left it.
    has_left_an_await: bool,
    // Where is it?
    pub part: Part,
    pub at: usize,
    pub waits: Waits,
    // What was asked of it?
    pub pending: Option<Request>,
    pub resting: Resting,
    pub asked_by: Vec<u64>,
    pub reasons: Vec<&'static str>,
    pub count: usize,
    pub accepted: usize,
    // What became of it?
    how: How,
    /// Until it is taken.
    pub outcome: Option<Outcome>,
    pub hearing: Hearing,
    /// The handle, and callbacks.
    pub askers: usize,
    /// Those who look at the outcome just now.
    pub onlookers: usize,
    pub awaiter: Option<TaskAt>,
    /// A request went outward from an await of it, and the handle is there still: the
    /// library may send it once more from the next await.
    pub has_sent_outward: bool,
    /// So many callbacks came before the awaiter.
    pub awaiter_after: u64,
    pub callbacks: Vec<(u64, Callback)>,
    pub callbacks_ever: u64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum How {
    Lives,
    Succeeded,
    Failed,
    Panicked,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    /// It has not been polled.
    Fresh,
    Inside,
    /// After a request with this reason.
    CleanUp(&'static str),
}

/// What it waits for.
#[derive(Debug, Default)]
pub enum Waits {
    #[default]
    Nothing,
    Yield {
        yielded: bool,
    },
    Sleep(Sleep),
    Shield(Sleep),
    Pending,
    Await(Handle),
    /// A handle that stays in this slot.
    AwaitHere(usize),
    Timer(usize),
    Ticks(Ticks),
}

/// How the steps of a task have ended.
enum Ending {
    Value(Made),
    Error(Error),
    /// Its token came back.
    Cancelled(&'static str),
}

enum Polled {
    Pending,
    Ended,
    /// Something goes outward, and nobody takes it.
    Drop,
}

enum Went {
    /// To the next step.
    On,
    Waits,
    Outward(Request),
    Returns(Ending),
}

impl Task {
    pub fn new(body: &Body, number: u64, parent: u32) -> Task {
        Task {
            label: body.label,
            number,
            parent,
            body: Rc::new(body.clone()),
            is_queued: false,
            is_on_the_stack: false,
            has_left_an_await: false,
            part: Part::Fresh,
            at: 0,
            waits: Waits::Nothing,
            pending: None,
            resting: Resting::Nothing,
            asked_by: vec![],
            reasons: vec![],
            count: 0,
            accepted: 0,
            how: How::Lives,
            outcome: None,
            hearing: Hearing::Open,
            askers: 1,
            onlookers: 0,
            awaiter: None,
            has_sent_outward: false,
            awaiter_after: 0,
            callbacks: vec![],
            callbacks_ever: 0,
        }
    }

    pub fn end(&mut self, outcome: Outcome) {
        self.how = match &outcome {
            Outcome::Value(_) => How::Succeeded,
            Outcome::Cancelled(_) => How::Cancelled,
            Outcome::Failed(_) => How::Failed,
            Outcome::Panicked(_) => How::Panicked,
        };
        self.outcome = Some(outcome);
    }

    pub fn is_finished(&self) -> bool {
        self.how != How::Lives
    }

    pub fn succeeded(&self) -> bool {
        self.how == How::Succeeded
    }

    /// Nobody can ask, and nobody looks.
    pub fn is_alone(&self) -> bool {
        self.askers == 0 && self.onlookers == 0
    }

    /// What a report says of it.
    fn about(&self) -> About {
        let state = match self.how {
            How::Lives if self.is_on_the_stack => "Running".to_owned(),
            How::Lives if self.is_queued => "Ready".to_owned(),
            How::Lives => "Waiting".to_owned(),
            how => format!("{how:?}"),
        };
        let label = if self.number == 0 { 0 } else { self.label };
        About { label, words: format!(" ({state}, spawned by {})", self.parent) }
    }

    pub fn is_fresh(&self) -> bool {
        self.part == Part::Fresh
    }

    pub fn has_scope(&self) -> bool {
        self.part == Part::Inside && self.body.cleanup.is_some()
    }

    /// The library polls it once more before it drops it, and if what it waits for is
    /// over, it goes on to its next suspension.
    pub fn may_be_polled_first(&self) -> bool {
        self.has_left_an_await && !matches!(self.waits, Waits::Pending)
    }

    /// In a poll in which the first request is delivered already: the library makes
    /// two deliveries of that.
    pub fn is_asked_twice(&self) -> bool {
        self.pending.is_some() && matches!(self.resting, Resting::Armed(_))
    }

    fn is_asked(&self) -> bool {
        self.pending.is_some() || matches!(self.resting, Resting::Armed(_))
    }
}

/// So many requests a task is told of at one place in the queue.
const MOST_DELIVERIES: usize = 3;

impl World {
    pub(super) fn about(&self, task: TaskAt) -> About {
        self.tasks[task].about()
    }

    /// False if it has ended meanwhile.
    pub(super) fn run_task(&mut self, at: TaskAt) -> bool {
        self.tasks[at].is_queued = false;
        if self.tasks[at].is_finished() {
            return false;
        }
        self.running = Some(at);
        self.tasks[at].is_on_the_stack = true;
        let has_ended = self.take_place(at);
        self.tasks[at].is_on_the_stack = false;
        self.running = None;
        if has_ended {
            self.ended(at);
        }
        true
    }

    /// Polls it; or tells it of what it was asked. Whether it has ended.
    fn take_place(&mut self, at: TaskAt) -> bool {
        let mut polled = match self.tasks[at].is_asked() {
            true => Polled::Pending,
            false => self.poll(at),
        };
        for delivery in 0.. {
            match polled {
                Polled::Ended => return true,
                Polled::Pending if !self.tasks[at].is_asked() => return false,
                Polled::Pending if self.listens(at) => {}
                Polled::Pending | Polled::Drop => {
                    self.is_doubtful |= self.tasks[at].may_be_polled_first();
                    self.drop_by_request(at);
                    return true;
                }
            }
            if delivery == MOST_DELIVERIES {
                break;
            }
            polled = match self.deliver(at) {
                Delivered::Rests => Polled::Pending,
                Delivered::Poll => self.poll(at),
                Delivered::Drop => Polled::Drop,
            };
        }
        self.wake(at);
        false
    }

    fn poll(&mut self, at: TaskAt) -> Polled {
        self.tasks[at].has_left_an_await = false;
        if self.tasks[at].is_fresh() {
            self.tasks[at].part = Part::Inside;
        }
        let ended = match self.go_on(at) {
            Ok(Went::Returns(ending)) => self.leave(at, Some(ending)),
            Ok(Went::On) => self.leave(at, None),
            Ok(Went::Waits) => return Polled::Pending,
            Ok(Went::Outward(_)) => return Polled::Drop,
            Err(panic) => Err(panic),
        };
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.unwinding = true;
                self.drop_locals(at).unwrap_or_else(|_| unreachable!("it panics already"));
                self.unwinding = false;
                Outcome::Panicked(panic)
            }
        };
        self.tasks[at].end(outcome);
        Polled::Ended
    }

    /// Its steps, until one waits or the last is through.
    fn go_on(&mut self, at: TaskAt) -> Result<Went, Panic> {
        loop {
            match self.resume(at)? {
                Went::On => {}
                Went::Outward(request) => match self.go_outward(at, request.clone()) {
                    Delivered::Drop => return Ok(Went::Outward(request)),
                    Delivered::Poll | Delivered::Rests => continue,
                },
                went => return Ok(went),
            }
            let task = &mut self.tasks[at];
            let body = task.body.clone();
            let steps = match (task.part, &body.cleanup) {
                (Part::CleanUp(_), Some(cleanup)) => &cleanup.steps,
                _ => &body.inside,
            };
            let Some(step) = steps.get(task.at) else { return Ok(Went::On) };
            task.at += 1;
            if let Went::Returns(ending) = self.begin(at, step)? {
                return Ok(Went::Returns(ending));
            }
        }
    }

    /// A step begins. What waits is resumed next.
    fn begin(&mut self, at: TaskAt, step: &Step) -> Result<Went, Panic> {
        let label = step.label;
        let waits = match &step.wait {
            Wait::Do(act) => {
                self.act(label, act)?;
                return Ok(Went::On);
            }
            Wait::Yield => Waits::Yield { yielded: false },
            Wait::Sleep(duration) => Waits::Sleep(self.new_sleep(*duration)),
            Wait::Shield(duration) => Waits::Shield(self.new_sleep(*duration)),
            Wait::Pending => Waits::Pending,
            Wait::Await { slot, .. } => match self.handles[*slot].take() {
                Some(handle) => Waits::Await(handle),
                None => return Ok(Went::On),
            },
            Wait::AwaitHere(slot) => Waits::AwaitHere(*slot),
            Wait::AwaitTimer(slot) => Waits::Timer(*slot),
            Wait::Ticks { period, count, missed } => Waits::Ticks(Ticks {
                sleep: self.new_sleep(0),
                left: *count,
                period: *period,
                missed: *missed,
            }),
            Wait::PollOnce { slot, keeps } => {
                self.poll_once(at, label, *slot, *keeps)?;
                Waits::Nothing
            }
            Wait::GiveWaker => {
                self.waker = Some(at);
                Waits::Nothing
            }
            Wait::NewTimer(slot, duration) => {
                self.put_timer(*slot, *duration);
                Waits::Nothing
            }
            Wait::PollTimer(slot) => {
                if let Some(is_over) = self.poll_timer(*slot, at) {
                    self.say(label, format!("the timer is over: {is_over}"));
                }
                return Ok(Went::On);
            }
            Wait::Value(payload) => {
                return Ok(Went::Returns(Ending::Value(self.make(label, payload))));
            }
            Wait::Fail(payload) => {
                let made = self.make(label, payload);
                return Ok(Went::Returns(Ending::Error(Error::Made(made))));
            }
            Wait::Throw(payload) => return Err(Panic::made(self.make(label, payload))),
        };
        if matches!(waits, Waits::Nothing) {
            self.say(label, "goes on");
        }
        self.tasks[at].waits = waits;
        Ok(Went::On)
    }

    /// What it waits for is polled.
    fn resume(&mut self, at: TaskAt) -> Result<Went, Panic> {
        let body = self.tasks[at].body.clone();
        let label = |world: &World| world.step(at, &body).label;
        let mut waits = std::mem::take(&mut self.tasks[at].waits);
        let is_over = match &mut waits {
            Waits::Nothing => return Ok(Went::On),
            Waits::Yield { yielded } => {
                if !*yielded {
                    self.wake(at);
                }
                std::mem::replace(yielded, true)
            }
            Waits::Sleep(sleep) => self.poll_sleep(sleep, at, SLEEPS_AT_ONCE),
            Waits::Shield(sleep) => {
                let is_over = self.poll_sleep(sleep, at, SLEEPS_AT_ONCE);
                if is_over {
                    self.tasks[at].resting.arm();
                }
                is_over
            }
            Waits::Pending => false,
            Waits::Timer(slot) => self.poll_timer(*slot, at).unwrap_or(true),
            Waits::Ticks(ticks) => self.poll_ticks(ticks, at, label(self)),
            Waits::AwaitHere(slot) => match self.handles[*slot].as_ref() {
                None => {
                    self.is_doubtful |= self.tasks[at].resting.is_forwarded();
                    true
                }
                Some(handle) => return self.resume_await(at, handle.task, waits),
            },
            Waits::Await(_) => {
                let Waits::Await(handle) = waits else { unreachable!("it is one") };
                let child = handle.task;
                return self.resume_await(at, child, Waits::Await(handle));
            }
        };
        if !is_over {
            self.tasks[at].waits = waits;
            return Ok(Went::Waits);
        }
        self.say(label(self), "goes on");
        Ok(Went::On)
    }

    /// The step that it is at.
    fn step<'a>(&self, at: TaskAt, body: &'a Body) -> &'a Step {
        let task = &self.tasks[at];
        match (task.part, &body.cleanup) {
            (Part::CleanUp(_), Some(cleanup)) => &cleanup.steps[task.at - 1],
            _ => &body.inside[task.at - 1],
        }
    }

    // ---- Awaiting ----------------------------------------------------------------------

    fn resume_await(&mut self, at: TaskAt, child: TaskAt, waits: Waits) -> Result<Went, Panic> {
        if self.tasks[child].is_finished()
            && let Resting::Forwarded(request) = self.tasks[at].resting.clone()
        {
            if self.tasks[child].how == How::Cancelled {
                self.tasks[at].waits = waits;
                return Ok(Went::Outward(request));
            }
            self.tasks[at].resting.arm();
        }
        let Some(outcome) = self.poll_handle(at, child) else {
            self.tasks[at].waits = waits;
            return Ok(Went::Waits);
        };
        if let Waits::Await(handle) = waits {
            self.drop_handle(handle);
        }
        let outcome = outcome?;
        let body = self.tasks[at].body.clone();
        let step = self.step(at, &body);
        self.say(step.label, format!("awaited {}", outcome.words()));
        if matches!(step.wait, Wait::Await { pass_on: true, .. })
            && !matches!(outcome, Outcome::Value(_))
        {
            let error = outcome.into_error().expect("it is no value");
            return Ok(Went::Returns(Ending::Error(error)));
        }
        self.drop_outcome(outcome)?;
        self.say(step.label, "goes on");
        Ok(Went::On)
    }

    /// Whether this awaiter has passed on a request, and loses its place to another:
    /// what becomes of that is for the model of cancellation.
    fn is_displaced(&self, awaiter: TaskAt, by: TaskAt) -> bool {
        awaiter != by && self.tasks[awaiter].resting.is_forwarded()
    }

    /// None if it is pending. To await a task whose outcome was taken panics.
    fn poll_handle(&mut self, at: TaskAt, child: TaskAt) -> Option<Result<Outcome, Panic>> {
        let before = self.tasks[child].awaiter;
        let is_displaced = before.is_some_and(|awaiter| self.is_displaced(awaiter, at));
        self.is_doubtful |= is_displaced || self.tasks[child].has_sent_outward;
        if self.tasks[child].is_finished() {
            self.tasks[child].awaiter = None;
            let taken = || Panic::message_of("task awaited after its outcome was taken".to_owned());
            return Some(self.take(child).ok_or_else(taken));
        }
        if child == at {
            return Some(Ok(Outcome::Failed(Error::AwaitedItself)));
        }
        let child = &mut self.tasks[child];
        if child.awaiter != Some(at) {
            child.awaiter = Some(at);
            child.awaiter_after = child.callbacks_ever;
        }
        None
    }

    fn poll_once(&mut self, at: TaskAt, label: u32, slot: usize, keeps: bool) -> Result<(), Panic> {
        let Some(handle) = self.handles[slot].take() else { return Ok(()) };
        match self.poll_handle(at, handle.task) {
            None => {
                self.tasks[at].has_left_an_await = true;
                self.say(label, "found it pending");
                match keeps {
                    true => self.put(slot, handle),
                    false => self.drop_handle(handle),
                }
                Ok(())
            }
            Some(polled) => {
                self.drop_handle(handle);
                let outcome = polled?;
                self.say(label, format!("found {}", outcome.words()));
                self.drop_outcome(outcome)
            }
        }
    }

    // ---- The end -------------------------------------------------------------------------

    /// Its steps are through: the token goes, then its locals, and it has an outcome.
    fn leave(&mut self, at: TaskAt, ending: Option<Ending>) -> Result<Outcome, Panic> {
        let task = &mut self.tasks[at];
        let after = match (task.part, &task.body.cleanup) {
            (Part::CleanUp(reason), Some(cleanup)) if ending.is_none() => {
                Some((reason, cleanup.after))
            }
            _ => None,
        };
        let ending = match after {
            Some((reason, After::Return)) => Some(Ending::Cancelled(reason)),
            Some((_, After::Accept)) => {
                task.accepted = task.count;
                ending
            }
            Some((_, After::Drop)) | None => ending,
        };
        if let Err(panic) = self.drop_locals(at) {
            self.unwinding = true;
            let dropped = match ending {
                Some(Ending::Value(made)) => self.drop_made(made),
                Some(Ending::Error(error)) => self.drop_error(error),
                Some(Ending::Cancelled(_)) | None => Ok(()),
            };
            dropped.unwrap_or_else(|_| unreachable!("it panics already"));
            self.unwinding = false;
            // They are gone.
            return Ok(Outcome::Panicked(panic));
        }
        let label = self.tasks[at].label;
        let value = match ending {
            Some(Ending::Error(error)) => return Ok(Outcome::Failed(error)),
            Some(Ending::Cancelled(reason)) => return Ok(Outcome::Cancelled(reason)),
            Some(Ending::Value(made)) => made,
            None => self.make(label, &Payload::default()),
        };
        // A value that comes after a request that nobody has heard is not kept.
        match self.ends_by(at) {
            None => Ok(Outcome::Value(value)),
            Some(reason) => {
                let dropped = self.drop_made(value);
                self.after_drop(dropped, Some(at));
                Ok(Outcome::Cancelled(reason))
            }
        }
    }

    /// What was asked of it ends it where it stands.
    pub(super) fn drop_by_request(&mut self, at: TaskAt) {
        let reason = self.ends_by(at).expect("it was asked");
        self.tasks[at].is_on_the_stack = true;
        let dropped = match self.tasks[at].is_fresh() {
            true => Ok(()),
            false => self.drop_locals(at),
        };
        self.tasks[at].is_on_the_stack = false;
        self.tasks[at].end(match dropped {
            Ok(()) => Outcome::Cancelled(reason),
            Err(panic) => Outcome::Panicked(Panic { cancelled: Some(reason), ..panic }),
        });
    }

    /// What it waits for goes first.
    fn drop_locals(&mut self, at: TaskAt) -> Result<(), Panic> {
        self.drop_wait(at);
        let body = self.tasks[at].body.clone();
        self.say(body.label, "lets go");
        self.deeds(&body.guard)
    }

    pub(super) fn drop_wait(&mut self, at: TaskAt) {
        match std::mem::take(&mut self.tasks[at].waits) {
            Waits::Sleep(mut sleep) | Waits::Shield(mut sleep) => self.remove_timer(&mut sleep),
            Waits::Ticks(mut ticks) => self.remove_timer(&mut ticks.sleep),
            Waits::Await(handle) => self.drop_handle(handle),
            Waits::AwaitHere(_) | Waits::Timer(_) => {} // others can reach it
            Waits::Nothing | Waits::Yield { .. } | Waits::Pending => {}
        }
    }
}
