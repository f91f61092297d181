//! The table: where each live task is, and which of them are ready.
//!
//! A task has a slot from its spawn to its end. To wake one is to look into
//! its slot and put its ticket into the run queue, unless it stands there
//! already; so the two are kept together, and looked at with one borrow.
//!
//! # Invariants
//!
//! - **Once.** A task stands in the run queue at most once: the mark in its
//!   header is set by whoever pushes it, and cleared before its poll, so that a
//!   wake during the poll counts.
//! - **Nobody else's turn.** A ticket that is not that of the slot's tenant is of
//!   somebody who has gone, and wakes nobody.

use crate::counted::TaskRc;
use crate::header::Queued;
use crate::id::{TaskId, Ticket};
use crate::order::{Ranked, sort};
use crate::pages::Pages;
use crate::run_queue::{Entry, RunQueue};

pub(crate) struct Table {
    slots: Pages<TaskRc>,
    queue: RunQueue,
    /// How many tasks are here.
    live: usize,
    /// The serial of the youngest so far. One in 2⁴⁰ was passed over.
    serial: u64,
}

/// Who is next.
pub(crate) enum Next {
    /// No longer queued, from here on.
    Task(TaskRc),
    /// He stood in the queue, and has ended meanwhile.
    Nobody,
    Callback,
}

// ---- Waking ------------------------------------------------------------------

impl Table {
    pub(crate) fn new(queue: RunQueue) -> Table {
        Table { slots: Pages::default(), queue, live: 0, serial: 0 }
    }

    /// Wakes a task.
    #[inline]
    pub(crate) fn wake(&mut self, ticket: Ticket) {
        if let Some(task) = self.find(ticket)
            && task.header().is_to_be_queued()
        {
            self.queue.push_task(ticket);
        }
    }

    /// Wakes whoever is in the slot now: slots lie in the pile (`pile.rs`).
    pub(crate) fn wake_tenant(&mut self, slot: u32) {
        if let Some(tenant) = self.tenant(slot) {
            let id = tenant.header().id;
            self.wake(id.ticket());
        }
    }

    pub(crate) fn push_callback(&mut self) {
        self.queue.push_callback();
    }

    /// Begins a batch. Answers how many are in it.
    pub(crate) fn begin_batch(&mut self) -> usize {
        self.queue.begin_batch()
    }

    /// The next of the batch.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Next> {
        Some(match self.queue.pop()? {
            Entry::Callback => Next::Callback,
            Entry::Task(ticket) => match self.find(ticket) {
                Some(task) => {
                    task.header().queued.set(Queued::No); // before the poll (Once)
                    Next::Task(task.clone())
                }
                None => Next::Nobody,
            },
        })
    }

    /// Whether anybody is ready.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What stands in the queue, in order.
    pub(crate) fn queue(&self) -> impl Iterator<Item = Entry> + '_ {
        self.queue.iter()
    }
}

// ---- Coming and going ------------------------------------------------------------

impl Table {
    /// Puts a new task into the table and into the queue. `make` is told its
    /// id, and answers with it and something else, which is handed on.
    #[inline]
    pub(crate) fn enroll<R>(&mut self, make: impl FnOnce(TaskId) -> (TaskRc, R)) -> R {
        let id = TaskId::next(&mut self.serial, self.slots.vacant() as usize);
        let (task, answer) = make(id);
        debug_assert!(task.header().queued.get() == Queued::Yes, "what a new header says");
        self.slots.insert(task);
        self.live += 1;
        self.queue.push_task(id.ticket());
        answer
    }

    /// The slot of whoever comes next.
    pub(crate) fn next_slot(&mut self) -> u32 {
        self.slots.vacant()
    }

    /// Strikes a task off. What it answers is to be dropped where no borrow is
    /// held.
    #[inline]
    pub(crate) fn strike_off(&mut self, id: TaskId) -> Option<TaskRc> {
        let task = self.slots.remove(id.slot() as u32)?;
        self.live -= 1;
        debug_assert_eq!(task.header().id, id, "a live task is in its slot");
        Some(task)
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&TaskRc> {
        self.slots.get(id.slot() as u32).filter(|task| task.header().id == id)
    }

    /// Whoever this ticket is of, if he is still here.
    #[inline]
    pub(crate) fn find(&self, ticket: Ticket) -> Option<&TaskRc> {
        self.slots.find(ticket.slot() as u32).filter(|task| task.header().id.ticket() == ticket)
    }

    /// Whoever is in this slot.
    pub(crate) fn tenant(&self, slot: u32) -> Option<&TaskRc> {
        self.slots.get(slot)
    }

    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The serial of the youngest task so far.
    pub(crate) fn latest_serial(&self) -> u64 {
        self.serial
    }

    /// How many tasks have ever been here.
    pub(crate) fn ever(&self) -> u64 {
        self.serial - (self.serial >> 40)
    }

    /// As if so many had been here.
    #[cfg(test)]
    pub(crate) fn set_serial(&mut self, serial: u64) {
        self.serial = serial;
    }

    /// Every live task, the youngest first.
    pub(crate) fn youngest_first(&self) -> Vec<TaskRc> {
        let all = self.slots.iter().cloned();
        let mut all = self.oldest_first(all.collect());
        all.reverse();
        all
    }

    /// Puts tasks in order of their age.
    pub(crate) fn oldest_first(&self, tasks: Vec<TaskRc>) -> Vec<TaskRc> {
        if tasks.len() < 2 {
            return tasks;
        }
        let rank = |(place, task): (usize, &TaskRc)| Ranked {
            rank: (task.header().id.serial(self.serial), 0),
            place: place as u32,
        };
        let mut ranked: Vec<Ranked> = tasks.iter().enumerate().map(rank).collect();
        sort(&mut ranked);
        ranked.iter().map(|ranked| tasks[ranked.place as usize].clone()).collect()
    }

    /// Gives memory back when there is little to do.
    #[inline] // it is called at the end of each idle turn, of which it is a tenth
    pub(crate) fn shrink(&mut self) {
        self.queue.shrink();
    }
}
