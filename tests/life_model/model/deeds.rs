//! What is done and does not wait.

use super::outcome::{Error, Outcome, Panic, Report};
use super::tasks::Task;
use super::turn::{Callback, Entry};
use super::{Handle, Phase, TaskAt, World};
use crate::program::{Act, Body, Deed, Kind, Slot};

impl World {
    pub(super) fn deeds(&mut self, deeds: &[Deed]) -> Result<(), Panic> {
        deeds.iter().try_for_each(|deed| self.deed(deed))
    }

    pub(super) fn deed(&mut self, deed: &Deed) -> Result<(), Panic> {
        self.act(deed.label, &deed.act)
    }

    pub(super) fn act(&mut self, label: u32, act: &Act) -> Result<(), Panic> {
        let is_gone = self.phase == Phase::Gone;
        match act {
            Act::Say => self.say(label, "is here"),
            Act::Spawn(..) | Act::TrySpawn(..) | Act::Report(_) | Act::Panic if is_gone => {}
            Act::Spawn(slot, body) => self.spawn(*slot, body),
            Act::TrySpawn(slot, body) => match self.refusal() {
                Some(refused) => {
                    self.ledger.refused += 1;
                    self.say(label, format!("is refused: {refused}"));
                }
                None => self.spawn(*slot, body),
            },
            Act::CancelSelf => {
                let running = self.running.expect("only in a poll");
                self.cancel_plainly(running);
            }
            Act::Drop(slot) => self.drop_slot(*slot),
            Act::Ignore(slot) => {
                if let Some(handle) = self.handles[*slot].take() {
                    self.ignore(handle.task);
                    self.drop_handle(handle);
                }
            }
            // Whoever is closed hears of no more.
            Act::Interrupt if matches!(self.phase, Phase::Closed | Phase::Gone) => {}
            Act::Interrupt => self.pressed += 1,
            Act::RequestShutDown if is_gone => {}
            Act::RequestShutDown => {
                let unneeded = self.begin_to_stop(Some(Report::of(Kind::Library)));
                drop(unneeded); // there is nothing in it
            }
            Act::Report(payload) => {
                let made = self.make(label, payload);
                let report = Report::of(Kind::Library);
                self.report(Report { error: Some(Error::Made(made)), ..report });
            }
            Act::ResetTimer(slot, by) => self.reset_timer(*slot, self.now + by),
            Act::DropTimer(slot) => self.drop_timer(*slot),
            Act::Wake => match self.waker {
                Some(task) if self.in_turn => self.wake(task),
                _ => self.wake_from_outside(),
            },
            Act::WakeElsewhere => self.wake_from_outside(),
            Act::Panic if self.unwinding => {}
            Act::Panic => return Err(Panic::message_of(format!("panic {label}"))),
            Act::Cancel(slot)
            | Act::Take(slot)
            | Act::Result(slot)
            | Act::Error(slot)
            | Act::OnDone { slot, .. }
            | Act::RemoveOnDone(slot) => {
                if let Some(handle) = &self.handles[*slot] {
                    return self.ask(label, handle.task, act);
                }
            }
        }
        Ok(())
    }

    /// By way of the inbox: the next turn takes it in, also after the shutdown, when
    /// nobody is there any more.
    fn wake_from_outside(&mut self) {
        if let Some(task) = self.waker
            && self.phase != Phase::Gone
        {
            self.woken.push(task);
        }
    }

    // ---- Spawning ------------------------------------------------------------------

    /// Why a spawn would be refused.
    fn refusal(&self) -> Option<&'static str> {
        if matches!(self.phase, Phase::Closed | Phase::Gone) {
            return Some("Closed");
        }
        (self.ledger.live >= self.settings.max_tasks as u64).then_some("Full")
    }

    fn spawn(&mut self, slot: Slot, body: &Body) {
        let task = match self.refusal() {
            None => self.enroll(body),
            Some(refused) => {
                // Its future is dropped, and has not begun. The task counts nowhere.
                self.ledger.refused += 1;
                let reason = match refused {
                    "Full" => "too many tasks are alive",
                    _ => "the executor is shut down",
                };
                self.tasks.push(Task::new(body, 0, self.parent()));
                let task = self.tasks.len() - 1;
                if refused == "Full" {
                    let about = self.about(task);
                    self.report(Report::new(Kind::Refused, about));
                }
                self.tasks[task].end(Outcome::Cancelled(reason));
                task
            }
        };
        self.put(slot, Handle { task, callback: None });
    }

    /// The label of the task that is running.
    fn parent(&self) -> u32 {
        self.running.map_or(0, |task| self.tasks[task].label)
    }

    /// A new task, in the queue.
    pub(super) fn enroll(&mut self, body: &Body) -> TaskAt {
        self.ledger.spawned += 1;
        self.ledger.live += 1;
        self.tasks.push(Task::new(body, self.ledger.spawned, self.parent()));
        let task = self.tasks.len() - 1;
        self.wake(task);
        task
    }

    /// What lies there already is dropped.
    pub(super) fn put(&mut self, slot: Slot, handle: Handle) {
        let before = self.handles[slot].replace(handle);
        before.into_iter().for_each(|before| self.drop_handle(before));
    }

    pub(super) fn drop_slot(&mut self, slot: Slot) {
        let handle = self.handles[slot].take();
        handle.into_iter().for_each(|handle| self.drop_handle(handle));
    }

    // ---- Asking a handle -------------------------------------------------------------

    fn ask(&mut self, label: u32, task: TaskAt, act: &Act) -> Result<(), Panic> {
        match act {
            Act::Cancel(_) => {
                let done = self.cancel_plainly(task);
                self.say(label, format!("cancels: {done}"));
            }
            Act::Take(_) => {
                if !self.tasks[task].is_finished() || self.tasks[task].onlookers > 0 {
                    self.say(label, "takes nothing: Pending");
                } else if let Some(outcome) = self.take(task) {
                    self.say(label, format!("takes {}", outcome.words()));
                    return self.drop_outcome(outcome);
                } else {
                    self.say(label, "takes nothing: Taken");
                }
            }
            Act::Result(_) => {
                let words = self.look(task, false);
                self.say(label, words);
            }
            Act::Error(_) => {
                let words = self.look(task, true);
                self.say(label, words);
            }
            Act::OnDone { slot, looks, deeds } => {
                let callback = Callback { task, label, looks: *looks, deeds: deeds.clone() };
                let number = self.add_callback(task, callback);
                if let Some(handle) = &mut self.handles[*slot] {
                    handle.callback = Some(number);
                }
            }
            Act::RemoveOnDone(slot) => {
                let callback = self.handles[*slot].as_ref().and_then(|handle| handle.callback);
                if let Some(number) = callback {
                    let removed = self.remove_callback(task, number);
                    self.say(label, format!("removes: {removed}"));
                }
            }
            _ => unreachable!("nobody is asked that"),
        }
        Ok(())
    }

    fn add_callback(&mut self, task: TaskAt, callback: Callback) -> Option<u64> {
        self.tasks[task].askers += 1;
        if self.tasks[task].is_finished() {
            self.push_callback(callback);
            return None;
        }
        let task = &mut self.tasks[task];
        task.callbacks.push((task.callbacks_ever, callback));
        task.callbacks_ever += 1;
        Some(task.callbacks_ever - 1)
    }

    fn remove_callback(&mut self, task: TaskAt, number: Option<u64>) -> bool {
        let callbacks = &mut self.tasks[task].callbacks;
        let Some(at) = callbacks.iter().position(|(its, _)| Some(*its) == number) else {
            return false;
        };
        callbacks.remove(at);
        self.asker_gone(task);
        true
    }

    /// It has its place in the queue; once the executor is gone nobody calls it.
    pub(super) fn push_callback(&mut self, callback: Callback) {
        if self.phase == Phase::Gone {
            return self.asker_gone(callback.task);
        }
        self.callbacks.push_back(callback);
        self.queue.push_back(Entry::Callback);
    }
}
