//! What is done and does not wait.

use super::stage::{Handle, Stage};
use super::steps;
use super::words::{Failure, ended, error, outcome};
use crate::program::{Act, Body, Deed, Payload, Slot};
use hearken::{OutcomeError, Report, Task};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

impl Stage {
    pub fn deed(self: &Rc<Self>, deed: &Deed) {
        self.act(deed.label, &deed.act);
    }

    pub fn act(self: &Rc<Self>, label: u32, act: &Act) {
        match act {
            Act::Say => self.say(label, "is here"),
            Act::Spawn(slot, body) => self.spawn(*slot, body),
            Act::TrySpawn(slot, body) => self.try_spawn(label, *slot, body),
            Act::CancelSelf => drop(hearken::current().cancel()),
            Act::Drop(slot) => drop(self.handles[*slot].take()),
            Act::Ignore(slot) => {
                let handle = self.handles[*slot].take();
                handle.into_iter().for_each(|handle| handle.task.ignore());
            }
            Act::Interrupt => {
                let interrupter = self.interrupter.borrow();
                interrupter.iter().for_each(hearken::Interrupter::interrupt);
            }
            Act::RequestShutDown => self.request_shut_down(),
            Act::Report(payload) => self.report(label, payload),
            Act::ResetTimer(slot, by) => {
                let deadline = self.clock.now() + Duration::from_millis(*by);
                let mut timer = self.timers[*slot].borrow_mut();
                timer.iter_mut().for_each(|timer| timer.reset(deadline));
            }
            Act::DropTimer(slot) => drop(self.timers[*slot].take()),
            Act::Wake => {
                let waker = self.waker.borrow();
                waker.iter().for_each(Waker::wake_by_ref);
            }
            Act::WakeElsewhere => {
                if let Some(waker) = self.waker.borrow().clone() {
                    let woken = std::thread::spawn(move || waker.wake());
                    woken.join().expect("a wake does not panic");
                }
            }
            Act::Panic if self.gone.get() || std::thread::panicking() => {}
            Act::Panic => panic!("panic {label}"),
            Act::Cancel(slot)
            | Act::Take(slot)
            | Act::Result(slot)
            | Act::Error(slot)
            | Act::OnDone { slot, .. }
            | Act::RemoveOnDone(slot) => self.ask(label, *slot, act),
        }
    }

    fn spawn(self: &Rc<Self>, slot: Slot, body: &Body) {
        let future = steps::run(self, body.clone());
        let task = match self.executor() {
            _ if self.gone.get() => return,
            Some(executor) => executor.spawn(future),
            None => hearken::spawn(future), // it is being dropped
        };
        self.put_spawned(slot, body.label, task);
    }

    fn try_spawn(self: &Rc<Self>, label: u32, slot: Slot, body: &Body) {
        let future = steps::run(self, body.clone());
        let spawned = match self.executor() {
            _ if self.gone.get() => return,
            Some(executor) => executor.try_spawn(future),
            None => hearken::try_spawn(future),
        };
        match spawned {
            Ok(task) => self.put_spawned(slot, body.label, task),
            Err(refused) => self.say(label, format!("is refused: {:?}", refused.kind())),
        }
    }

    fn put_spawned(&self, slot: Slot, label: u32, task: Task<super::stage::Made>) {
        if task.id().number() > 0 {
            self.name_task(task.id().number(), label);
        }
        self.put(slot, Handle { task, callback: None });
    }

    fn request_shut_down(&self) {
        match self.executor() {
            _ if self.gone.get() => {}
            Some(executor) => executor.request_shut_down("requested"),
            None => hearken::request_shut_down("requested"),
        }
    }

    fn report(&self, label: u32, payload: &Payload) {
        if self.gone.get() {
            return;
        }
        let report = Report::new(anyhow::Error::new(Failure(self.make(label, payload))));
        match self.executor() {
            Some(executor) => executor.report(report),
            None => hearken::report(report),
        }
    }

    /// Something that a handle is asked. None of it runs code of the program; what
    /// is taken is dropped afterwards.
    fn ask(self: &Rc<Self>, label: u32, slot: Slot, act: &Act) {
        let mut slot = self.handles[slot].borrow_mut();
        let Some(handle) = &mut *slot else { return };
        match act {
            Act::Cancel(_) => self.say(label, format!("cancels: {}", handle.task.cancel())),
            Act::Take(_) => {
                let taken = handle.task.take();
                drop(slot);
                match taken {
                    Ok(taken) => self.say(label, format!("takes {}", outcome(&taken))),
                    Err(error) => self.say(label, format!("takes nothing: {error:?}")),
                }
            }
            Act::Result(_) => match handle.task.result() {
                Ok(value) => self.say(label, format!("sees value {}", value.label)),
                Err(error) => self.say(label, not_seen(&error)),
            },
            Act::Error(_) => match handle.task.error() {
                Ok(None) => self.say(label, "sees no error"),
                Ok(Some(failed)) => self.say(label, format!("sees {}", error(failed))),
                Err(error) => self.say(label, not_seen(&error)),
            },
            Act::OnDone { looks, deeds, .. } => {
                let (stage, looks, deeds) = (Rc::downgrade(self), *looks, deeds.clone());
                let id = handle.task.on_done(move |finished| {
                    let Some(stage) = stage.upgrade() else { return };
                    stage.say(label, "is called");
                    if looks {
                        match finished.error() {
                            Ok(None) => stage.say(label, "sees no error"),
                            Ok(Some(failed)) => stage.say(label, format!("sees {}", error(failed))),
                            Err(error) => stage.say(label, not_seen(&error)),
                        }
                    }
                    deeds.iter().for_each(|deed| stage.deed(deed));
                });
                handle.callback = Some(id);
            }
            Act::RemoveOnDone(_) => {
                if let Some(id) = handle.callback {
                    self.say(label, format!("removes: {}", handle.task.remove_on_done(id)));
                }
            }
            _ => unreachable!("nobody is asked that"),
        }
    }
}

fn not_seen(error: &OutcomeError<'_>) -> String {
    match error {
        OutcomeError::Pending => "sees that it is pending".to_owned(),
        OutcomeError::Taken => "sees that it was taken".to_owned(),
        OutcomeError::Ended(error) => format!("sees {}", ended(error)),
    }
}
