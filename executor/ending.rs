//! The end of a task: what is to be done, and who hears of it.
//!
//! A life that has ended is counted, struck off the table, and those who wait
//! for it are woken. If it failed, somebody has to hear: whoever asks, or the
//! handler, when it has become certain that nobody ever will. Whichever it is
//! was decided in `life.rs`; here it is done.
//!
//! # Invariants
//!
//! - **One place in the ledger.** A failure is `held` from the moment it happens
//!   until it leaves by a door, and each door counts it once.
//! - **Only the loop calls the handler.** A report that is made here is queued.

use crate::counted::{AnyTask, TaskRc};
use crate::header::{AwaitedBy, Awaiter, Callbacks, Header};
use crate::id::{Name, TaskId};
use crate::life::{Ending, Hearing, Held, Life};
use crate::lodgings;
use crate::outcome::catch;
use crate::report::{Effect, Ledger, Report, ReportKind, TaskInfo};
use crate::request::{Origin, Why};
use crate::state::{Counts, Phase, State, add_one};
use crate::wheel::Whom;
use std::cell::Cell;
use std::mem::take;
use std::pin::Pin;
use std::task::Waker;

impl State {
    /// A task's failure has been reported.
    pub(crate) fn settled(&self) {
        self.counts.held.set(self.counts.held.get() - 1);
        add_one(&self.counts.reported);
    }

    /// What is to be done when a task's life has ended: count it, strike it off
    /// the table, see who hears of it, and wake who waits for it.
    pub(crate) fn ended(&self, task: &TaskRc) {
        let header = task.header();
        self.strike_off(header.id);
        if header.ending() == Some(Ending::Succeeded) {
            add_one(&self.counts.succeeded);
            if self.settings.debug {
                self.report_ignored_cancellation(header);
            }
        } else {
            self.count_unsuccessful(task);
        }
        if header.askers.get() == 0 {
            task.as_ref().discard();
        }
        if header.has_rare() {
            return self.wake_all(header);
        }
        match header.awaited_by() {
            AwaitedBy::Nobody => {}
            AwaitedBy::Task(name) => self.wake_task(name),
            AwaitedBy::Member(key) => self.wake_member(key),
        }
    }

    /// Drops every live task where it stands, the youngest first.
    pub(crate) fn drop_all(&self, kind: ReportKind) {
        for task in self.youngest_first() {
            // Not one that ended by what the drop of a younger one did.
            if !task.header().is_finished() {
                self.drop_unfinished(&task, kind);
            }
        }
    }

    /// Drops a task where it stands, without asking its scopes.
    pub(crate) fn drop_unfinished(&self, task: &TaskRc, kind: ReportKind) {
        let header = task.header();
        let message = match kind {
            ReportKind::Overran => "a task did not finish within the grace, and was dropped",
            _ => "a task was dropped unfinished",
        };
        self.report(Report::make(kind, message).about(self.info(header)));
        add_one(&self.counts.dropped);
        header.rare(|rare| {
            let why = Why::of(Origin::ShutDown, "dropped unfinished");
            rare.cancel.pending.get_or_insert_with(|| self.new_request(why));
        });
        header.life.set(Life::Dropping);
        let running = self.running.replace(Some(header.id));
        task.as_ref().cancel();
        self.running.set(running);
        self.ended(task);
    }

    /// Strikes a task off the table.
    fn strike_off(&self, id: TaskId) {
        let struck_off = self.table.borrow_mut().strike_off(id);
        drop(struck_off); // with no borrow held
    }

    /// A main whose future is gone without an ending counts as cancelled.
    pub(crate) fn abandoned(&self, header: &Header) {
        self.strike_off(header.id);
        header.life.set(Life::Ended(Ending::Cancelled));
        add_one(&self.counts.cancelled);
        self.wake_outlived(header);
    }

    #[inline(never)]
    fn count_unsuccessful(&self, task: &TaskRc) {
        match task.header().ending() {
            Some(Ending::Cancelled) => self.count_cancelled(task.as_ref()),
            _ => self.count_failed(task),
        }
    }

    fn count_cancelled(&self, task: Pin<&dyn AnyTask>) {
        add_one(&self.counts.cancelled);
        if !self.hears_cancellations.get() {
            return;
        }
        let message = match task.cancellation() {
            Some(cancelled) => format!("a task was {cancelled}"),
            None => "a task was cancelled".to_owned(),
        };
        let report = Report::make(ReportKind::Cancelled, message);
        self.report(report.about(self.info(task.header())));
    }

    /// In debug mode: a task that was asked to cancel ended with a value.
    #[cold]
    fn report_ignored_cancellation(&self, header: &Header) {
        let ignored = header.if_rare(|rare| rare.cancel.count > rare.cancel.accepted);
        if ignored == Some(true) {
            let message = "a task was asked to cancel, and ended with a value";
            let report = Report::make(ReportKind::IgnoredCancellation, message);
            self.report(report.about(self.info(header)));
        }
    }

    fn count_failed(&self, task: &TaskRc) {
        let header = task.header();
        add_one(&self.counts.failed);
        let late = self.phase.get() != Phase::Open;
        let hearing = header.hearing.get().failed(header.askers.get() > 0, late);
        header.hearing.set(hearing);
        match hearing {
            Hearing::Ignored => add_one(&self.counts.ignored),
            Hearing::Owned => add_one(&self.counts.held), // until the group hands it over
            Hearing::Held { .. } => {
                add_one(&self.counts.held);
                let place = self.held.borrow_mut().insert(task.clone());
                header.rare(|rare| rare.held_at = Some(place));
            }
            _ => {
                add_one(&self.counts.held); // until its report is delivered
                self.report_failure(task.as_ref(), late);
            }
        }
    }

    /// Wakes all whom the end of a task concerns that has rare things: the group,
    /// then the awaiter and the callbacks, in the order in which they came, then
    /// the members of its region.
    #[inline(never)]
    fn wake_all(&self, header: &Header) {
        let awaiter = header.awaiter_to_wake();
        let rare = header.if_rare(|rare| (rare.guardian.take(), take(&mut rare.callbacks)));
        let (guardian, callbacks) = rare.unwrap_or_default();
        let guardian_waits = guardian.and_then(|guardian| guardian.ended());
        guardian_waits.into_iter().for_each(|waker| self.wake_foreign(waker));
        self.wake_in_order(awaiter, callbacks);
        if header.has_region() {
            self.wake_outlived(header);
        }
    }

    fn wake_in_order(&self, mut awaiter: Option<Awaiter>, callbacks: Callbacks) {
        let awaiter_after = callbacks.awaiter_after;
        for (number, callback) in callbacks.into_list() {
            if number >= awaiter_after {
                self.wake_awaiter(awaiter.take());
            }
            self.push_callback(callback);
        }
        self.wake_awaiter(awaiter);
    }

    #[inline]
    pub(crate) fn wake_awaiter(&self, awaiter: Option<Awaiter>) {
        match awaiter {
            None => {}
            Some(Awaiter::Task(name)) => self.wake_task(name),
            Some(Awaiter::Member(key)) => self.wake_member(key),
            Some(Awaiter::Waker(waker)) => self.wake_foreign(waker),
            Some(Awaiter::Watch(watch, place)) => {
                if let Some(waker) = watch.ended(place) {
                    self.wake_foreign(waker);
                }
            }
        }
    }

    /// Wakes somebody whose timer has fired.
    #[inline]
    pub(crate) fn wake_sleeper(&self, whom: Whom) {
        match whom {
            Whom::Task(name) => self.wake_task(name),
            Whom::Other(waker) => self.wake_foreign(waker),
        }
    }

    /// Wakes a task, of whichever executor.
    #[inline]
    pub(crate) fn wake_task(&self, name: Name) {
        if name.executor() == self.number {
            self.table.borrow_mut().wake(name.ticket());
            self.rouse();
        } else {
            // Of another executor, which is not in its turn, or is further
            // down the stack and looks into its inbox at the next.
            lodgings::wake(name);
        }
    }

    /// Wakes a waker that may be anybody's.
    pub(crate) fn wake_foreign(&self, waker: Waker) {
        if let Err(panicked) = catch(|| waker.wake()) {
            let report = Report::make(ReportKind::CallbackPanicked, "a waker panicked");
            self.report(report.with_panic(panicked));
        }
    }

    /// Drops an awaiter who is not to be woken. A member stays in its region.
    #[inline]
    pub(crate) fn drop_awaiter(&self, awaiter: Option<Awaiter>) {
        if let Some(Awaiter::Waker(waker)) = awaiter {
            self.drop_waker(waker);
        }
    }

    /// Nobody can ask for the outcome any more, and nobody looks at it.
    pub(crate) fn nobody_will_ask(&self, task: Pin<&dyn AnyTask>) {
        let header = task.header();
        match header.leave(Hearing::Leaving) {
            Some(Held { late }) => {
                let held = self.strike_held(header);
                self.report_failure(task, late);
                drop(held);
            }
            None => task.discard(),
        }
    }

    fn report_failure(&self, task: Pin<&dyn AnyTask>, late: bool) {
        let (kind, message) = match late {
            false => (ReportKind::NeverRetrieved, "failure was never retrieved"),
            true => {
                (ReportKind::FailedDuringShutdown, "failure during shutdown was never retrieved")
            }
        };
        let report = Report::make(kind, message).about(self.info(task.header()));
        let report = report.with_effect(Effect::Settles);
        self.report(match task.take_failure() {
            Some(error) => report.with_error(error),
            None => report,
        });
    }

    /// A group hands over the errors of so many of its tasks.
    pub(crate) fn handed_over(&self, count: u64) {
        self.counts.held.set(self.counts.held.get() - count);
        self.counts.retrieved.set(self.counts.retrieved.get() + count);
    }

    /// Nobody waits for a group any more: the handler hears of an error that it
    /// has collected.
    pub(crate) fn report_collected(&self, task: TaskInfo, error: anyhow::Error) {
        let message = "failure in a group that nobody waited for";
        let report = Report::make(ReportKind::NeverRetrieved, message).about(task);
        self.report(report.with_error(error).with_effect(Effect::Settles));
    }

    /// A future in a task has failed, and what was to be done after that was cut short:
    /// nobody else has the failure.
    pub(crate) fn report_cut_short(&self, task: TaskInfo, error: anyhow::Error) {
        let message = "failure of a future that was dropped before it could hand it on";
        let report = Report::make(ReportKind::NeverRetrieved, message).about(task);
        self.report(report.with_error(error));
    }

    /// Whoever waited for a main is given something else: the handler hears of
    /// its failure.
    pub(crate) fn report_main(&self, header: &Header, error: anyhow::Error) {
        if header.leave(Hearing::Leaving).is_some() {
            drop(self.strike_held(header));
            let message = "failure of the main was never retrieved";
            let report = Report::make(ReportKind::NeverRetrieved, message);
            let report = report.about(self.info(header)).with_error(error);
            self.report(report.with_effect(Effect::Settles));
        }
    }

    /// Somebody was given the failure.
    #[inline]
    pub(crate) fn retrieved(&self, header: &Header) {
        self.settle(header, Hearing::Retrieved, &self.counts.retrieved);
    }

    /// Somebody said that a failure, past or future, does not matter.
    pub(crate) fn ignored(&self, header: &Header) {
        header.hearing.set(header.hearing.get().unwanted());
        self.settle(header, Hearing::Ignored, &self.counts.ignored);
    }

    /// The handler was told of a failure that somebody still holds.
    pub(crate) fn reported_while_held(&self, header: &Header) {
        self.settle(header, Hearing::Reported, &self.counts.reported);
    }

    #[inline]
    fn settle(&self, header: &Header, hearing: Hearing, count: &Cell<u64>) {
        if header.leave(hearing).is_some() {
            self.counts.held.set(self.counts.held.get() - 1);
            add_one(count);
            drop(self.strike_held(header));
        }
    }

    /// Takes a task off the list of held failures. What it answers may be the
    /// last that keeps the task's memory.
    fn strike_held(&self, header: &Header) -> Option<TaskRc> {
        let place = header.if_rare(|rare| rare.held_at.take()).flatten()?;
        self.held.borrow_mut().remove(place)
    }

    /// All failures that somebody holds and has not asked for, oldest first.
    pub(crate) fn held_failures(&self) -> Vec<TaskRc> {
        let held = self.held.borrow();
        self.table.borrow().oldest_first(held.iter().cloned().collect())
    }

    /// A spawn was refused.
    pub(crate) fn count_refused(&self) {
        add_one(&self.counts.refused);
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let Counts { succeeded, failed, cancelled, .. } = &self.counts;
        let Counts { retrieved, reported, ignored, held, refused, .. } = &self.counts;
        Ledger {
            spawned: self.table.borrow().ever(),
            live: self.live() as u64,
            succeeded: succeeded.get(),
            failed: failed.get(),
            cancelled: cancelled.get(),
            retrieved: retrieved.get(),
            reported: reported.get(),
            ignored: ignored.get(),
            held: held.get(),
            refused: refused.get(),
        }
    }
}
