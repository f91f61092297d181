//! Tasks that wait for one another in a circle.
//!
//! Who passes a request on to a task waits for it. If that one waits for him in its
//! turn, directly or through others, nobody would ever go on: so then he does not
//! wait. Who waits for whom is noted with the tasks, when a request is passed on.

use crate::header::Header;
use crate::id::{Name, TaskId};
use crate::state::State;

impl State {
    /// Whether the running task would wait in a circle, if it passed a request on
    /// to this one and waited for it: because that one waits for the running one
    /// in its turn, directly or through others.
    ///
    /// Those who pass on are walked up from the running task. The walk is short
    /// when requests go down a chain, where the one below does not wait yet, and
    /// when a shutdown comes up a chain, where nobody above does.
    pub(crate) fn would_wait_in_circle(&self, below: &Header) -> bool {
        let waits = |header: &Header| header.if_rare(|rare| rare.cancel.waits) == Some(true);
        if !waits(below) {
            return false;
        }
        let mut above: Vec<TaskId> = self.running.get().into_iter().collect();
        let mut steps = self.live() + 1;
        while let Some(id) = above.pop().filter(|_| steps > 0) {
            steps -= 1;
            let Some(task) = self.task(id) else { continue };
            let header = task.header();
            if id == below.id {
                return true;
            }
            header.if_rare(|rare| above.extend(&rare.cancel.asked_by));
            above.retain(|&id| id == below.id || self.task(id).is_some_and(|t| waits(t.header())));
        }
        false
    }

    /// Notes that the running task has passed a request on to this one.
    pub(crate) fn note_asked_by_running(&self, below: &Header) {
        let Some(running) = self.running.get() else { return };
        if below.is_finished() {
            return;
        }
        self.with_running(|header| header.rare(|rare| rare.cancel.waits = true));
        below.rare(|rare| {
            let asked_by = &mut rare.cancel.asked_by;
            if !asked_by.contains(&running) {
                asked_by.push(running);
            }
        });
    }

    /// Nobody in this task waits any more for what it has passed on to that one.
    pub(crate) fn forget_asked_by(&self, task: Name, below: &Header) {
        let asked = |id: &TaskId| Name::new(self.number, id.ticket()) == task;
        below.if_rare(|rare| rare.cancel.asked_by.retain(|id| !asked(id)));
    }
}
