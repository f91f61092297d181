//! How it ends: interrupts, the shutdown, a main's answer, the executor's drop.

use super::outcome::{Outcome, Report};
use super::requests::Request;
use super::turn::{Budget, Next};
use super::{Phase, TaskAt, World};
use crate::program::{Body, Kind};

/// So often what callbacks and the handler cause is seen to at the end.
const MOST_ROUNDS: usize = 100;

/// Whether to wait was of any use.
#[derive(PartialEq)]
enum Waited {
    Again,
    /// Nothing that can happen would make anything ready.
    Stuck,
}

impl World {
    // ---- Being asked to stop ---------------------------------------------------------

    pub(super) fn is_stopping(&self) -> bool {
        self.phase == Phase::Closing || self.interrupts > 0
    }

    /// An orderly shutdown begins. The first report that asks for one is kept, a
    /// later one given back, and one that comes when all is over.
    pub(super) fn begin_to_stop(&mut self, because: Option<Report>) -> Option<Report> {
        if self.is_closed() {
            return because;
        }
        let unneeded = match self.stop {
            None => {
                self.stop = because;
                None
            }
            Some(_) => because,
        };
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.begin_grace();
            self.asked_up_to = self.ledger.spawned;
            let request = self.new_request("the executor is shut down", false);
            self.request_to_close = Some(request.clone());
            self.cancel_all(self.youngest_first(), &request);
        }
        unneeded
    }

    fn cancel_all(&mut self, tasks: Vec<TaskAt>, request: &Request) {
        for task in tasks {
            self.cancel(task, request);
        }
    }

    fn begin_grace(&mut self) {
        self.grace_ends = self.settings.grace.map(|grace| self.now + grace);
    }

    /// An interrupt that the handler let through; or the grace of the one before
    /// is over. The first is for main, or for all if there is none; the second
    /// for all, through shields; the third drops them.
    pub(super) fn next_stage(&mut self) {
        self.interrupts += 1;
        if self.phase == Phase::Open {
            self.begin_grace();
        }
        let is_first = self.interrupts == 1;
        let reason = if is_first { "interrupted" } else { "interrupted again" };
        let request = self.new_request(reason, !is_first);
        let asked = match self.main {
            Some(main) if is_first => vec![main],
            _ => self.youngest_first(),
        };
        self.cancel_all(asked, &request);
    }

    /// At the end of a turn. Those who were there at its beginning have had their
    /// poll.
    pub(super) fn see_to_stopping(&mut self, there_before: u64) {
        if !self.is_stopping() {
            return;
        }
        let closing = self.phase == Phase::Closing;
        if closing {
            self.ask_newcomers(there_before);
        }
        let is_over = self.is_over();
        if is_over && closing {
            self.drop_all(Kind::Overran);
        } else if is_over {
            self.next_stage();
        }
        if self.interrupts >= 3 {
            self.drop_all(Kind::DroppedPending);
        }
        // In a host's loop an interrupt is done with when nobody is left.
        if !closing && self.main.is_none() && self.ledger.live == 0 {
            self.interrupts = 0;
        }
    }

    fn is_over(&self) -> bool {
        self.is_stopping() && self.grace_ends.is_some_and(|end| self.now >= end)
    }

    /// Each is asked when it has had its poll.
    fn ask_newcomers(&mut self, up_to: u64) {
        let Some(request) = self.request_to_close.clone() else { return };
        let since = self.asked_up_to;
        if up_to <= since {
            return;
        }
        self.asked_up_to = up_to;
        for task in self.youngest_first() {
            let number = self.tasks[task].number;
            if number <= since || number > up_to {
                continue;
            }
            if self.tasks[task].is_fresh() {
                self.asked_up_to = number - 1;
            } else {
                self.cancel(task, &request);
            }
        }
    }

    fn youngest_first(&self) -> Vec<TaskAt> {
        (0..self.tasks.len()).rev().filter(|task| !self.tasks[*task].is_finished()).collect()
    }

    fn drop_all(&mut self, kind: Kind) {
        for task in self.youngest_first() {
            if !self.tasks[task].is_finished() {
                self.drop_unfinished(task, kind);
            }
        }
    }

    fn drop_unfinished(&mut self, task: TaskAt, kind: Kind) {
        let about = self.about(task);
        self.report(Report::new(kind, about));
        self.ledger.dropped += 1;
        let request = self.new_request("dropped unfinished", false);
        self.tasks[task].pending.get_or_insert(request);
        let running = self.running.replace(task);
        self.drop_by_request(task);
        self.running = running;
        self.ended(task);
    }

    // ---- Waiting -----------------------------------------------------------------------

    /// None if that is for ever, for another thread.
    fn wait(&mut self) -> Option<Waited> {
        let gives_up = match self.next() {
            Next::Ready => return Some(Waited::Again),
            Next::At(moment) if self.settings.auto || moment <= self.now => {
                return Some(Waited::Again);
            }
            Next::At(_) => self.settings.closed_world || self.is_stopping(),
            Next::Waiting | Next::Empty => self.settings.closed_world,
        };
        gives_up.then_some(Waited::Stuck)
    }

    // ---- A main ------------------------------------------------------------------------

    pub(super) fn block_on(&mut self, body: &Body) -> Option<()> {
        if self.is_closed() {
            self.say(body.label, "answers shut down: Refused");
            return Some(());
        }
        let main = self.enroll(body);
        self.tasks[main].askers = 1;
        self.interrupts = 0;
        self.main = Some(main);
        let is_stalled = self.drive(main)?;
        let outcome = self.tasks[main].outcome.take().expect("it has ended");
        let (words, left) = self.answer(main, outcome, is_stalled);
        self.main = None;
        self.interrupts = 0;
        self.say(body.label, format!("answers {words}"));
        match left {
            Left::Nothing => {}
            Left::Outcome(outcome) => {
                if let Err(panic) = self.drop_outcome(outcome) {
                    self.host_panicked(panic);
                }
            }
            Left::Report(report) => {
                if let Some(error) = report.error
                    && let Err(panic) = self.drop_error(error)
                {
                    self.host_panicked(panic);
                }
            }
        }
        Some(())
    }

    /// Whether it has stalled.
    fn drive(&mut self, main: TaskAt) -> Option<bool> {
        loop {
            self.turn(Budget::Batch);
            if self.tasks[main].is_finished() {
                return Some(false);
            }
            if self.is_ready() || self.wait()? == Waited::Again {
                continue;
            }
            if self.is_stopping() {
                self.grace_ends = Some(0); // and the next turn sees to it
                continue;
            }
            self.in_turn = true;
            self.drop_unfinished(main, Kind::DroppedPending);
            self.in_turn = false;
            return Some(true);
        }
    }

    /// What the caller is told, and what it is given.
    fn answer(&mut self, main: TaskAt, outcome: Outcome, is_stalled: bool) -> (String, Left) {
        self.look_again();
        if self.interrupts > 0 {
            self.retrieved(main);
            if let Outcome::Value(value) = outcome {
                let dropped = self.drop_made(value);
                self.after_drop(dropped, None);
                self.look_again();
                return ("interrupted".to_owned(), Left::Nothing);
            }
            return (format!("interrupted, main {}", outcome.words()), Left::Outcome(outcome));
        }
        let stop = self.stop.take();
        if stop.is_none() && !is_stalled {
            self.retrieved(main);
            return (outcome.words(), Left::Outcome(outcome));
        }
        // The caller is given something else than how the main has ended.
        match outcome {
            Outcome::Cancelled(_) => {}
            Outcome::Value(value) => {
                let dropped = self.drop_made(value);
                self.after_drop(dropped, None);
                self.look_again();
            }
            failure => {
                self.settle(main);
                let report = Report::new(Kind::NeverRetrieved, self.about(main));
                let error = failure.into_error();
                self.report(Report { error, settles: true, ..report });
                self.look_again();
            }
        }
        if self.interrupts > 0 {
            if stop.is_some() {
                // The next one is told that, and not what the handler has said since.
                if let Some(later) = std::mem::replace(&mut self.stop, stop) {
                    self.drop_unneeded(later);
                }
                self.look_again();
            }
            return ("interrupted".to_owned(), Left::Nothing);
        }
        match stop {
            Some(report) => {
                let words = super::handles::words_of(&report.error);
                (format!("shut down: {:?}{words}", report.kind), Left::Report(report))
            }
            None => ("stalled".to_owned(), Left::Nothing),
        }
    }

    /// Reports, and interrupts that came when the main had ended: they are for it.
    fn look_again(&mut self) {
        if self.reports.is_empty() && self.pressed == 0 {
            return;
        }
        for _ in 0..MOST_ROUNDS {
            self.turn(Budget::Polls(0));
            if self.pressed == 0 {
                break;
            }
        }
    }

    // ---- The end -----------------------------------------------------------------------

    pub(super) fn shut_down(&mut self) -> Option<()> {
        if self.is_closed() {
            self.say(0, "shut down: 0 found, 0 dropped, 0 still held");
            return Some(());
        }
        let dropped_before = self.ledger.dropped;
        let found = self.ledger.live;
        drop(self.begin_to_stop(None));
        loop {
            self.turn(Budget::Batch);
            let all_done = self.ledger.live == 0 && self.next() != Next::Ready;
            if all_done || self.is_over() || self.interrupts >= 3 {
                break;
            }
            if self.wait()? == Waited::Stuck {
                break;
            }
        }
        let still_held = self.close(Kind::Overran);
        let dropped = self.ledger.dropped - dropped_before;
        self.say(
            0,
            format!("shut down: {found} found, {dropped} dropped, {still_held} still held"),
        );
        Some(())
    }

    /// Who is left is dropped; callbacks run; the handler hears all, and of failures
    /// that are still held.
    fn close(&mut self, kind: Kind) -> usize {
        self.phase = Phase::Closed;
        self.in_turn = true;
        for _ in 0..std::mem::take(&mut self.pressed) {
            self.report(Report::of(Kind::Interrupted));
        }
        // Nobody will be told any more why there was a shutdown.
        if let Some(report) = self.stop.take() {
            self.drop_unneeded(report);
        }
        self.drop_all(kind);
        let mut still_held = 0;
        for _ in 0..MOST_ROUNDS {
            for _ in 0..self.callbacks.len() {
                self.run_callback();
            }
            self.deliver_reports();
            still_held += self.report_held();
            if self.callbacks.is_empty() && self.reports.is_empty() {
                break;
            }
        }
        self.in_turn = false;
        still_held
    }

    /// The host lets go of the executor, and then of all else.
    pub(super) fn drop_executor(&mut self) {
        self.close(Kind::DroppedPending);
        self.phase = Phase::Gone;
        for callback in std::mem::take(&mut self.callbacks) {
            self.asker_gone(callback.task);
        }
        for report in std::mem::take(&mut self.reports) {
            self.report(report); // to the default handler
        }
        self.say_what_was_printed();
        self.say(0, "the executor is gone");
        (0..self.handles.len()).for_each(|slot| self.drop_slot(slot));
        (0..self.sleeps.len()).for_each(|slot| self.drop_timer(slot));
        self.say_what_was_printed();
        let left = self.made;
        self.say(0, format!("left: {left} values and errors, 0 futures"));
    }
}

/// What the caller of `block_on` drops.
enum Left {
    Nothing,
    Outcome(Outcome),
    Report(Report),
}
