//! Timers, as a sorted map: by deadline, then by when they were set.

use super::{TaskAt, World};
use crate::program::{Missed, Moment, Slot};
use std::collections::BTreeMap;

/// So many sleeps of a task are over in one turn without having waited.
pub const SLEEPS_AT_ONCE: u32 = 16;
/// And so many ticks.
const TICKS_AT_ONCE: u32 = 1;

/// A `hearken::Sleep`. It has a timer from its first poll on, if that has to wait.
#[derive(Debug)]
pub struct Sleep {
    deadline: Moment,
    timer: Option<(Moment, u64)>,
    /// It waits, and was given a deadline that had passed.
    is_due: bool,
}

/// A `hearken::Interval`.
#[derive(Debug)]
pub struct Ticks {
    pub sleep: Sleep,
    pub left: u32,
    pub period: Moment,
    pub missed: Missed,
}

impl Sleep {
    /// Whether it has waited, and is over.
    pub fn has_fired(&self, timers: &BTreeMap<(Moment, u64), TaskAt>) -> bool {
        self.timer.is_some_and(|timer| !timers.contains_key(&timer))
    }
}

impl World {
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.timers.keys().next().map(|(deadline, _)| *deadline)
    }

    pub(super) fn new_sleep(&self, duration: Moment) -> Sleep {
        Sleep { deadline: self.now + duration, timer: None, is_due: false }
    }

    /// Whether it is over. What is so without having waited is so only so often a
    /// turn.
    pub(super) fn poll_sleep(&mut self, sleep: &mut Sleep, task: TaskAt, most: u32) -> bool {
        match sleep.timer {
            None if sleep.deadline <= self.now && self.goes_on_at_once(most) => return true,
            None => {
                sleep.timer = Some(self.set_timer(sleep.deadline, task));
                sleep.is_due = false;
            }
            Some(timer) => match self.timers.get_mut(&timer) {
                Some(waits) if !sleep.is_due => *waits = task,
                _ => {
                    self.remove_timer(sleep);
                    return true;
                }
            },
        }
        false
    }

    fn set_timer(&mut self, deadline: Moment, task: TaskAt) -> (Moment, u64) {
        self.timers_ever += 1;
        self.timers.insert((deadline, self.timers_ever), task);
        (deadline, self.timers_ever)
    }

    pub(super) fn remove_timer(&mut self, sleep: &mut Sleep) {
        if let Some(timer) = sleep.timer.take() {
            self.timers.remove(&timer);
        }
    }

    fn goes_on_at_once(&mut self, most: u32) -> bool {
        let (turn, task, times) = self.at_once;
        let times = if (turn, task) == (self.turns, self.running) { times } else { 0 };
        self.at_once = (self.turns, self.running, times + 1);
        times < most
    }

    // ---- Timers that lie in a slot -------------------------------------------------

    pub(super) fn put_timer(&mut self, slot: Slot, duration: Moment) {
        let sleep = self.new_sleep(duration);
        self.drop_timer(slot);
        self.sleeps[slot] = Some(sleep);
    }

    pub(super) fn drop_timer(&mut self, slot: Slot) {
        if let Some(mut sleep) = self.sleeps[slot].take() {
            self.remove_timer(&mut sleep);
        }
    }

    /// Who waits is woken at the new deadline. It counts as set anew.
    pub(super) fn reset_timer(&mut self, slot: Slot, deadline: Moment) {
        let Some(mut sleep) = self.sleeps[slot].take() else { return };
        sleep.deadline = deadline;
        sleep.is_due = deadline <= self.now;
        if let Some(timer) = sleep.timer.take()
            && let Some(task) = self.timers.remove(&timer)
        {
            sleep.timer = Some(self.set_timer(deadline, task));
        }
        self.sleeps[slot] = Some(sleep);
    }

    /// Whether it is over; none if there is none.
    pub(super) fn poll_timer(&mut self, slot: Slot, task: TaskAt) -> Option<bool> {
        let mut sleep = self.sleeps[slot].take()?;
        let is_over = self.poll_sleep(&mut sleep, task, SLEEPS_AT_ONCE);
        self.sleeps[slot] = Some(sleep);
        Some(is_over)
    }

    // ---- Ticks ---------------------------------------------------------------------

    /// Whether all are over.
    pub(super) fn poll_ticks(&mut self, ticks: &mut Ticks, task: TaskAt, label: u32) -> bool {
        while ticks.left > 0 {
            if !self.poll_sleep(&mut ticks.sleep, task, TICKS_AT_ONCE) {
                return false;
            }
            let due = ticks.sleep.deadline;
            self.say(label, format!("ticks, due {due}"));
            ticks.left -= 1;
            ticks.sleep.deadline = match ticks.missed {
                Missed::Burst => due + ticks.period,
                Missed::Delay => self.now + ticks.period,
                Missed::Skip => due + ((self.now - due) / ticks.period + 1) * ticks.period,
            };
        }
        true
    }

    // ---- The clock -----------------------------------------------------------------

    /// If nothing is ready, a clock that jumps by itself does. Then those whose
    /// deadline has come are woken, in order. Answers how far it jumped.
    pub(super) fn fire_timers(&mut self) -> Moment {
        let Some(next) = self.next_moment() else { return 0 };
        let mut jumped = 0;
        if next > self.now && !self.is_ready() && self.settings.auto {
            jumped = next - self.now;
            self.now = next;
        }
        while let Some(due) = self.timers.first_entry().filter(|due| due.key().0 <= self.now) {
            let task = due.remove();
            self.wake(task);
        }
        jumped
    }

    /// When there will be something to do by itself.
    pub(super) fn next_moment(&self) -> Option<Moment> {
        let grace = self.grace_ends.filter(|_| self.is_stopping() && self.ledger.live > 0);
        self.next_deadline().into_iter().chain(grace).min()
    }
}
