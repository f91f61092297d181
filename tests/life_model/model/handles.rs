//! Who may ask for an outcome, and what happens when nobody will.

use super::outcome::{Error, Outcome, Report};
use super::{Handle, TaskAt, World};
use crate::program::Kind;

/// Who hears of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hearing {
    /// It has not failed.
    Open,
    /// If it fails, nobody wants to know.
    Unwanted,
    /// It has failed, and somebody may ask. `late`: during a shutdown.
    Held { late: bool },
    /// Retrieved, reported or ignored.
    Settled,
}

impl World {
    /// The failure of a task leaves `held`. False if it was not held.
    pub(super) fn settle(&mut self, task: TaskAt) -> bool {
        let held = matches!(self.tasks[task].hearing, Hearing::Held { .. });
        if held {
            self.tasks[task].hearing = Hearing::Settled;
        }
        held
    }

    /// The failure of a task was handed to somebody, if it has failed.
    pub(super) fn retrieved(&mut self, task: TaskAt) {
        if self.settle(task) {
            self.ledger.held -= 1;
            self.ledger.retrieved += 1;
        }
    }

    pub(super) fn ignore(&mut self, task: TaskAt) {
        if self.tasks[task].hearing == Hearing::Open {
            self.tasks[task].hearing = Hearing::Unwanted;
        }
        if self.settle(task) {
            self.ledger.held -= 1;
            self.ledger.ignored += 1;
        }
    }

    /// Takes the outcome of a task that has ended: if it is there, it is retrieved.
    pub(super) fn take(&mut self, task: TaskAt) -> Option<Outcome> {
        let outcome = self.tasks[task].outcome.take();
        self.retrieved(task);
        outcome
    }

    /// `result()` or `error()`.
    pub(super) fn look(&mut self, task: TaskAt, at_error: bool) -> String {
        let looked_at = &self.tasks[task];
        if at_error && looked_at.succeeded() {
            return "sees no error".to_owned();
        }
        if !looked_at.is_finished() {
            return "sees that it is pending".to_owned();
        }
        let words = match &looked_at.outcome {
            None => return "sees that it was taken".to_owned(),
            Some(Outcome::Failed(error)) if at_error => format!("sees {}", error.words()),
            Some(outcome) => format!("sees {}", outcome.words()),
        };
        self.retrieved(task);
        words
    }

    pub(super) fn drop_handle(&mut self, handle: Handle) {
        // An await of it, by a task that has passed on a request, is lost.
        if let Some(awaiter) = self.tasks[handle.task].awaiter.take()
            && !self.tasks[awaiter].is_finished()
            && self.running != Some(awaiter)
        {
            self.is_doubtful |= self.tasks[awaiter].resting.is_forwarded();
        }
        // The library may wake, for nothing, who has heard of what went outward there; of
        // one that has overrun a report says so.
        let is_seen = !self.is_closed() || self.ledger.live > 0;
        self.is_doubtful |= self.tasks[handle.task].has_sent_outward && is_seen;
        self.asker_gone(handle.task);
    }

    /// A handle is gone, or a callback.
    pub(super) fn asker_gone(&mut self, task: TaskAt) {
        let asked = &mut self.tasks[task];
        asked.askers -= 1;
        if asked.is_alone() && asked.outcome.is_some() {
            self.nobody_will_ask(task);
        }
    }

    pub(super) fn nobody_will_ask(&mut self, task: TaskAt) {
        match self.tasks[task].hearing {
            Hearing::Held { late } => {
                self.tasks[task].hearing = Hearing::Settled;
                self.report_failure(task, late);
            }
            _ => self.discard(task),
        }
    }

    /// Drops the outcome of a task.
    fn discard(&mut self, task: TaskAt) {
        if let Some(outcome) = self.tasks[task].outcome.take() {
            let dropped = self.drop_outcome(outcome);
            self.after_drop(dropped, Some(task));
        }
    }

    /// The handler gets the error, and until it has heard the failure is held.
    fn report_failure(&mut self, task: TaskAt, late: bool) {
        let kind = if late { Kind::FailedDuringShutdown } else { Kind::NeverRetrieved };
        let error = self.tasks[task].outcome.take().and_then(Outcome::into_error);
        let report = Report::new(kind, self.about(task));
        self.report(Report { error, settles: true, ..report });
    }

    // ---- The end of a task -----------------------------------------------------------

    /// A task has its outcome: it is counted, somebody hears of it, and those who
    /// wait for it are woken.
    pub(super) fn ended(&mut self, task: TaskAt) {
        self.ledger.live -= 1;
        let ended = &self.tasks[task];
        match ended.outcome.as_ref().expect("it has just ended") {
            Outcome::Value(_) => {
                self.ledger.succeeded += 1;
                if self.settings.debug && ended.count > ended.accepted {
                    let about = self.about(task);
                    self.report(Report::new(Kind::IgnoredCancellation, about));
                }
            }
            Outcome::Cancelled(reason) => {
                self.ledger.cancelled += 1;
                let reason = Some(*reason);
                // The default handler does not want to know.
                if !self.settings.default_handler {
                    let about = self.about(task);
                    self.report(Report { reason, ..Report::new(Kind::Cancelled, about) });
                }
            }
            Outcome::Failed(_) | Outcome::Panicked(_) => self.count_failure(task),
        }
        if self.tasks[task].askers == 0 {
            self.discard(task);
        }
        self.wake_waiters(task);
    }

    fn count_failure(&mut self, task: TaskAt) {
        let late = self.phase != super::Phase::Open;
        let failed = &mut self.tasks[task];
        self.ledger.failed += 1;
        if failed.hearing == Hearing::Unwanted {
            self.ledger.ignored += 1;
            failed.hearing = Hearing::Settled;
            return;
        }
        self.ledger.held += 1;
        if failed.askers > 0 {
            failed.hearing = Hearing::Held { late };
        } else {
            failed.hearing = Hearing::Settled;
            self.report_failure(task, late);
        }
    }

    /// Awaiter and callbacks, in the order in which they came.
    fn wake_waiters(&mut self, task: TaskAt) {
        let ended = &mut self.tasks[task];
        let mut awaiter = ended.awaiter;
        let awaiter_after = ended.awaiter_after;
        for (number, callback) in std::mem::take(&mut ended.callbacks) {
            if number >= awaiter_after {
                awaiter.take().into_iter().for_each(|awaiter| self.wake(awaiter));
            }
            self.push_callback(callback);
        }
        awaiter.into_iter().for_each(|awaiter| self.wake(awaiter));
    }

    // ---- At the end of all -------------------------------------------------------------

    /// Failures that somebody holds and has not asked for, the oldest first: the
    /// handler is shown them, and the task keeps them.
    pub(super) fn report_held(&mut self) -> usize {
        let is_held = |task: &TaskAt| matches!(self.tasks[*task].hearing, Hearing::Held { .. });
        let held: Vec<TaskAt> = (0..self.tasks.len()).filter(is_held).collect();
        let mut reported = 0;
        for task in held {
            if !self.settle(task) {
                continue; // the handler has just asked for it
            }
            self.ledger.held -= 1;
            self.ledger.reported += 1;
            reported += 1;
            let words = match self.tasks[task].outcome.as_ref() {
                Some(Outcome::Failed(error)) => error.words(),
                Some(outcome) => outcome.words(),
                None => unreachable!("a failure that is held is there"),
            };
            self.tasks[task].onlookers += 1;
            let about = self.about(task);
            self.hear(Kind::StillHeld, &about, &format!(": {words}"));
            self.tasks[task].onlookers -= 1;
            if self.tasks[task].askers == 0 {
                self.nobody_will_ask(task);
            }
        }
        reported
    }

    pub(super) fn drop_unneeded(&mut self, report: Report) {
        if let Some(error) = report.error {
            let dropped = self.drop_error(error);
            self.after_drop(dropped, None);
        }
    }
}

/// Whether the error of a report is told with it.
pub fn words_of(error: &Option<Error>) -> String {
    error.as_ref().map(|error| format!(": {}", error.words())).unwrap_or_default()
}
