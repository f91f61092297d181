//! A deadline that somebody else may move.

use crate::clock::Instant;
use crate::current;
use crate::pages::Pages;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};

/// A deadline that can be moved: [`timeout_by`](crate::timeout_by). Clones are the same deadline, and
/// so it is for all that wait by it.
///
/// The words elsewhere: what `asyncio.timeout` gives to `async with`.
#[derive(Clone, Default)]
pub struct TimeoutHandle {
    movable: Rc<Movable>,
}

#[derive(Default)]
pub(super) struct Movable {
    deadline: Cell<Option<Instant>>,
    /// How often it was moved.
    moves: Cell<u64>,
    pub(super) expired: Cell<bool>,
    /// Those who wait by it now.
    waiting: RefCell<Pages<Rc<Cell<Option<Waker>>>>>,
}

/// What one that waits by a handle knows of it.
pub(super) struct Moves {
    pub(super) movable: Rc<Movable>,
    /// Moved so often when it last looked.
    seen: u64,
    /// The waker that hears of the next move, and its place among all.
    waker: Option<(Rc<Cell<Option<Waker>>>, u32)>,
}

impl Moves {
    pub(super) fn of(handle: &TimeoutHandle) -> Moves {
        let movable = handle.movable.clone();
        Moves { seen: movable.moves.get(), movable, waker: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.movable.deadline.get().unwrap_or(Instant::NEVER)
    }

    /// The waiting future is pending. Answers the new deadline, if it moved.
    pub(super) fn moved(&mut self, cx: &Context<'_>) -> Option<Instant> {
        let (own, _) = self.waker.get_or_insert_with(|| {
            let own = Rc::<Cell<Option<Waker>>>::default();
            (own.clone(), self.movable.waiting.borrow_mut().insert(own))
        });
        current::drop_waker(own.replace(Some(cx.waker().clone())));
        let moves = self.movable.moves.get();
        let moved = std::mem::replace(&mut self.seen, moves) != moves;
        moved.then(|| self.deadline())
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        if let Some((own, place)) = &self.waker {
            let gone = self.movable.waiting.borrow_mut().remove(*place);
            drop(gone);
            current::drop_waker(own.take()); // it is foreign: no borrow is held, nor below
        }
    }
}

impl TimeoutHandle {
    /// A deadline; none is one that never passes.
    pub fn new(deadline: Option<Instant>) -> TimeoutHandle {
        let handle = TimeoutHandle::default();
        handle.movable.deadline.set(deadline);
        handle
    }

    /// When it passes.
    pub fn deadline(&self) -> Option<Instant> {
        self.movable.deadline.get()
    }

    /// Moves it; to a moment in the past, and it passes at once; to none, and
    /// it never does. After it has passed this has no effect.
    ///
    /// It wakes those who wait by it. A waker that panics is reported.
    pub fn reschedule(&self, deadline: Option<Instant>) {
        if self.expired() {
            return;
        }
        self.movable.deadline.set(deadline);
        self.movable.moves.set(self.movable.moves.get() + 1);
        let waiting: Vec<_> = self.movable.waiting.borrow().iter().cloned().collect();
        waiting.iter().filter_map(|waker| waker.take()).for_each(current::wake);
    }

    /// Whether it has passed while somebody waited, whatever he made of it.
    pub fn expired(&self) -> bool {
        self.movable.expired.get()
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle")
            .field("deadline", &self.deadline())
            .field("expired", &self.expired())
            .finish()
    }
}
