//! Several tasks that are waited for together: which of them have ended, in that
//! order.
//!
//! It is the side of whoever waits; the tasks have the other end of the
//! [`Watch`]. It takes nobody's outcome.
//!
//! # Invariants
//!
//! - **Nobody's.** When this goes there is no waker left in the watch, which some
//!   of the tasks may keep: it is foreign, and may panic as it is dropped.

use crate::current;
use crate::handle::Task;
use crate::header::Watch;
use std::rc::Rc;
use std::task::{Context, Waker};

#[derive(Default)]
pub(super) struct Watching {
    watch: Rc<Watch>,
}

impl Watching {
    /// A task is waited for, and called by this number. If it has ended, also
    /// until nobody looks at its outcome any more.
    pub(super) fn add<T>(&self, task: &Task<T>, place: usize) {
        match task.is_finished() && !task.is_looked_at() {
            true => self.has_ended(place),
            false => task.watch(&self.watch, place),
        }
    }

    /// It is not to be waited for.
    #[inline(never)]
    pub(super) fn has_ended(&self, place: usize) {
        let waiting = self.watch.ended(place);
        debug_assert!(waiting.is_none(), "whoever waits is not being polled then");
        current::drop_waker(waiting);
    }

    /// The next that has ended. If there is none, whoever polls here is woken.
    pub(super) fn next(&self, cx: &Context<'_>) -> Option<usize> {
        let next = self.watch.next();
        if next.is_none() {
            self.wakes(cx);
        }
        next
    }

    /// Whoever polls here is woken when another has ended.
    pub(super) fn wakes(&self, cx: &Context<'_>) {
        self.set_waker(Some(cx.waker().clone()));
    }

    fn set_waker(&self, waker: Option<Waker>) {
        current::drop_waker(self.watch.set_waker(waker));
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.set_waker(None);
    }
}
