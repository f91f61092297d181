//! What is noted of the poll of a task, until it is over.
//!
//! Most polls note nothing. Whoever does sets a sign too (`descent.rs`), or this is
//! not cleared.

use crate::request::{Delivery, Rank};
use std::cell::Cell;

/// What is noted until the poll of the task is over.
#[derive(Default)]
pub(crate) struct Noted {
    /// Whether something has been delivered at this place of the queue.
    has_delivered: Cell<bool>,
    /// Whether something was lost, whoever had asked it.
    has_lost: Cell<bool>,
    /// The outermost deadline or group of which something was lost.
    lost_rank: Cell<Option<Rank>>,
    /// The order of the request to the task that was lost last.
    lost_order: Cell<Option<u64>>,
    /// The order of one that was lost after somebody had heard of it, until the task looks.
    lost_token: Cell<Option<u64>>,
    /// Whether it has not looked.
    has_just_lost: Cell<bool>,
    /// The outermost deadline or group of which something goes outward that nobody
    /// else has heard of.
    sent_rank: Cell<Option<Rank>>,
    /// The order of the request to the task that was sent outward last.
    sent: Cell<Option<u64>>,
    /// The order of one that a place had stopped on its way outward, and that nobody
    /// sends in there any more.
    left_behind: Cell<Option<u64>>,
}

impl Noted {
    pub(crate) fn deliver(&self) {
        self.has_delivered.set(true);
    }

    pub(crate) fn has_delivered(&self) -> bool {
        self.has_delivered.get()
    }

    /// What was passed on, or heard of, has come to nothing.
    pub(crate) fn lose(&self, delivery: &Delivery) {
        self.has_lost.set(true);
        outermost(&self.lost_rank, delivery.rank());
        if delivery.rank() == Rank::TASK {
            self.lost_order.set(Some(delivery.order));
        }
    }

    /// The same of a request to the task, which is to look after it.
    pub(crate) fn lose_of_task(&self, delivery: &Delivery) {
        self.lost_token.set(Some(delivery.order));
        self.has_just_lost.set(true);
    }

    /// Whether it is this request to the task that was lost last.
    pub(crate) fn loses(&self, delivery: &Delivery) -> bool {
        self.lost_order.get() == Some(delivery.order)
    }

    /// Whether it was lost after somebody had heard of it, and the task has not looked.
    pub(crate) fn loses_token(&self, delivery: &Delivery) -> bool {
        self.lost_token.get() == Some(delivery.order)
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.has_lost.get()
    }

    /// Whether a request to the task has been lost since this was asked last.
    pub(crate) fn has_just_lost(&self) -> bool {
        self.has_just_lost.take()
    }

    pub(crate) fn looks_at_lost(&self) {
        self.lost_token.set(None);
    }

    /// Whether something was lost that a deadline or group of this rank has asked, or
    /// one around it.
    pub(crate) fn loses_of_owner(&self, rank: Rank) -> bool {
        self.lost_rank.get().is_some_and(|lost| lost <= rank)
    }

    pub(crate) fn send_outward(&self, delivery: &Delivery) {
        if delivery.rank() == Rank::TASK {
            self.sent.set(Some(delivery.order));
        } else if !delivery.is_heard() {
            outermost(&self.sent_rank, delivery.rank());
        }
    }

    /// Whether this request to the task goes outward from somebody who was polled.
    pub(crate) fn sends(&self, delivery: &Delivery) -> bool {
        self.sent.get() == Some(delivery.order)
    }

    /// What was sent last: to be put back before the same is polled once more, since
    /// those who sent something may not be polled again.
    pub(crate) fn sent(&self) -> Option<u64> {
        self.sent.get()
    }

    pub(crate) fn put_back_sent(&self, sent: Option<u64>) {
        self.sent.set(sent);
    }

    /// Whether something goes outward that a deadline or group of this rank has asked,
    /// or one around it.
    pub(crate) fn sends_of_owner(&self, rank: Rank) -> bool {
        self.sent_rank.get().is_some_and(|sent| sent <= rank)
    }

    /// What a place had stopped on its way outward is not sent in there any more.
    pub(crate) fn leave_behind(&self, delivery: &Delivery) {
        self.left_behind.set(Some(delivery.order));
    }

    pub(crate) fn is_left_behind(&self, delivery: &Delivery) -> bool {
        self.left_behind.get() == Some(delivery.order)
    }

    /// The poll is over.
    pub(crate) fn clear(&self) {
        self.has_delivered.set(false);
        self.has_lost.set(false);
        self.lost_rank.set(None);
        self.lost_order.set(None);
        self.has_just_lost.set(false);
        self.lost_token.set(None);
        self.sent_rank.set(None);
        self.sent.set(None);
        self.left_behind.set(None);
    }
}

/// Notes the rank of a deadline or group, if it is further out than the one there.
fn outermost(noted: &Cell<Option<Rank>>, rank: Rank) {
    if rank != Rank::TASK {
        let before = noted.get().unwrap_or(rank);
        noted.set(Some(before.min(rank)));
    }
}
