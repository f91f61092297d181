//! A turn: take in what has come, fire timers, run a batch, tell the handler, see to
//! those who stop.

use super::handles::words_of;
use super::outcome::{About, Error, Panic, Report};
use super::{Phase, TaskAt, World};
use crate::program::{Deed, Kind, Moment, Verdict};
use crate::random::Random;
use std::collections::VecDeque;

/// What stands in the queue.
#[derive(Debug)]
pub enum Entry {
    Task(TaskAt),
    /// The first of `World::callbacks`.
    Callback,
}

/// Called when the task has ended. Until it is gone, somebody may still ask.
#[derive(Debug)]
pub struct Callback {
    pub task: TaskAt,
    pub label: u32,
    pub looks: bool,
    pub deeds: Vec<Deed>,
}

/// How much of the batch.
#[derive(Clone, Copy)]
pub enum Budget {
    Batch,
    Polls(usize),
    /// What can be begun before this moment. Nobody moves the clock in a turn, and what
    /// it jumps by itself it jumps before.
    Until(Moment),
}

/// The order within a batch: by Fisher and Yates, from the back. What a budget has left
/// keeps its order, before those who came later.
pub struct Shuffle {
    random: Random,
    /// So many of the queue have their order.
    drawn: usize,
}

impl Shuffle {
    pub fn new(seed: u64) -> Shuffle {
        Shuffle { random: Random(seed), drawn: 0 }
    }

    fn draw(&mut self, queue: &mut [Entry]) {
        let newcomers = &mut queue[self.drawn..];
        for last in (1..newcomers.len()).rev() {
            let drawn = u128::from(self.random.next()) * (last as u128 + 1);
            newcomers.swap(last, (drawn >> 64) as usize);
        }
        self.drawn = queue.len();
    }
}

/// When to come back.
#[derive(PartialEq, Debug)]
pub enum Next {
    Ready,
    At(Moment),
    Waiting,
    Empty,
}

/// What a turn did.
pub struct Turned {
    polled: usize,
    jumped: Moment,
}

impl World {
    /// It stands in the queue once, however often it is woken.
    pub(super) fn wake(&mut self, at: TaskAt) {
        let task = &mut self.tasks[at];
        if !task.is_finished() && !task.is_queued {
            task.is_queued = true;
            self.queue.push_back(Entry::Task(at));
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.queue.is_empty() || !self.reports.is_empty()
    }

    /// Whether something came from outside of a turn.
    pub(super) fn has_mail(&self) -> bool {
        self.pressed > 0 || !self.woken.is_empty()
    }

    pub(super) fn next(&self) -> Next {
        match self.next_moment() {
            _ if self.is_ready() || self.has_mail() => Next::Ready,
            Some(moment) => Next::At(moment),
            None if self.ledger.live == 0 => Next::Empty,
            None => Next::Waiting,
        }
    }

    pub(super) fn turn(&mut self, budget: Budget) -> Turned {
        self.turns += 1;
        self.in_turn = true;
        let there_before = self.ledger.spawned;
        for _ in 0..std::mem::take(&mut self.pressed) {
            self.report(Report::of(Kind::Interrupted));
        }
        for task in std::mem::take(&mut self.woken) {
            // Who has the place of one that has ended may be polled for nothing.
            self.is_doubtful |= self.tasks[task].is_finished() && !self.is_closed();
            self.wake(task);
        }
        let jumped = self.fire_timers();
        let mut polled = 0;
        if let Some(shuffle) = &mut self.shuffle {
            shuffle.draw(self.queue.make_contiguous());
        }
        for _ in 0..self.queue.len() {
            let is_over = match budget {
                Budget::Batch => false,
                Budget::Polls(most) => polled >= most,
                Budget::Until(end) => self.now >= end,
            };
            if is_over {
                break;
            }
            self.shuffle.iter_mut().for_each(|shuffle| shuffle.drawn -= 1);
            polled += match self.queue.pop_front() {
                Some(Entry::Callback) => usize::from(self.run_callback()),
                Some(Entry::Task(task)) => usize::from(self.run_task(task)),
                None => break,
            };
        }
        self.deliver_reports();
        self.see_to_stopping(there_before);
        self.in_turn = false;
        Turned { polled, jumped }
    }

    pub(super) fn say_turn(&mut self, budget: Budget) {
        let turned = self.turn(budget);
        self.say_turned(&turned);
    }

    fn say_turned(&mut self, turned: &Turned) {
        let next = match self.next() {
            Next::Ready => "ready".to_owned(),
            Next::At(moment) => format!("at {moment}"),
            Next::Waiting => "waiting".to_owned(),
            Next::Empty => "empty".to_owned(),
        };
        let Turned { polled, jumped } = turned;
        self.say(0, format!("turn: {polled} polled, next {next}, jumped {jumped}"));
    }

    pub(super) fn run_until_idle(&mut self) {
        let mut sum = Turned { polled: 0, jumped: 0 };
        loop {
            let turned = self.turn(Budget::Batch);
            sum.polled += turned.polled;
            sum.jumped += turned.jumped;
            let goes_on = match self.next() {
                Next::Ready => true,
                Next::At(moment) => turned.jumped > 0 || self.settings.auto || moment <= self.now,
                Next::Waiting | Next::Empty => false,
            };
            if !goes_on {
                return self.say_turned(&sum);
            }
        }
    }

    // ---- Callbacks -------------------------------------------------------------------

    pub(super) fn run_callback(&mut self) -> bool {
        let Some(callback) = self.callbacks.pop_front() else { return false };
        let task = callback.task;
        self.tasks[task].onlookers += 1;
        if let Err(panic) = self.call(&callback) {
            let report = Report::new(Kind::CallbackPanicked, self.about(task));
            self.report(Report { error: Some(Error::Panicked(panic)), ..report });
        }
        self.tasks[task].onlookers -= 1;
        // Who would have taken the outcome meanwhile was told to come back.
        let awaiter = self.tasks[task].awaiter;
        awaiter.into_iter().for_each(|awaiter| self.wake(awaiter));
        self.asker_gone(task);
        true
    }

    fn call(&mut self, callback: &Callback) -> Result<(), Panic> {
        self.say(callback.label, "is called");
        if callback.looks {
            let words = self.look(callback.task, true);
            self.say(callback.label, words);
        }
        self.deeds(&callback.deeds)
    }

    // ---- Reports ---------------------------------------------------------------------

    /// What was reported until now. What comes of it is told the next time.
    pub(super) fn deliver_reports(&mut self) {
        let reports: VecDeque<Report> = std::mem::take(&mut self.reports);
        for report in reports {
            let mut words = words_of(&report.error);
            if let Some(reason) = report.reason {
                words = format!(": {reason}");
            }
            let verdict = self.hear(report.kind, &report.about, &words);
            if report.settles {
                self.ledger.held -= 1;
                self.ledger.reported += 1;
            }
            if report.kind == Kind::Interrupted && verdict == Verdict::Proceed {
                self.next_stage();
            }
            let unneeded = match verdict {
                Verdict::ShutDown => self.begin_to_stop(Some(report)),
                Verdict::Proceed | Verdict::Ignore => Some(report),
            };
            unneeded.into_iter().for_each(|report| self.drop_unneeded(report));
        }
    }

    /// The handler: the program's, or the default one.
    pub(super) fn hear(&mut self, kind: Kind, about: &About, words: &str) -> Verdict {
        if self.settings.default_handler {
            self.printed += 1;
            return Verdict::Proceed;
        }
        self.say(about.label, format!("hears {kind:?}{}{words}", about.words));
        let Some(at) = self.rules.iter().position(|rule| rule.kind == kind) else {
            return Verdict::Proceed;
        };
        let rule = match self.rules[at].always {
            true => self.rules[at].clone(),
            false => self.rules.remove(at),
        };
        match self.deeds(&rule.deeds) {
            Ok(()) => rule.verdict,
            // The default handler gets both, and is silent about cancellations.
            Err(panic) => {
                self.printed += if kind == Kind::Cancelled { 1 } else { 2 };
                self.drop_panic(panic);
                Verdict::Proceed
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Gone)
    }
}
