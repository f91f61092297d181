//! Outcomes that are dropped because nobody can ask for them any more.
//!
//! An outcome may have the handle of a task whose outcome has the handle of a task, and so
//! on: a list of them, as long as one likes. To drop each in the drop of the one before
//! would overflow the stack. So what is too deep waits until the outermost is through.

use crate::report::TaskInfo;
use std::any::Any;
use std::cell::{Cell, RefCell};

/// Drops that stand in each other, at most.
const DEEPEST: u32 = 32;

#[derive(Default)]
pub(crate) struct Discards {
    depth: Cell<u32>,
    waiting: RefCell<Vec<Waiting>>,
}

/// An outcome that is dropped later, and of which task it is.
pub(crate) struct Waiting {
    pub(crate) task: TaskInfo,
    pub(crate) outcome: Box<dyn Any>,
}

impl Discards {
    /// Drops an outcome by `drop`, which does not unwind; or gives it back, if that would be
    /// too deep.
    pub(crate) fn drop_by<V>(&self, outcome: V, drop: impl FnOnce(V)) -> Result<(), V> {
        let depth = self.depth.get();
        if depth == DEEPEST {
            return Err(outcome);
        }
        self.depth.set(depth + 1);
        drop(outcome);
        self.depth.set(depth);
        Ok(())
    }

    /// Puts aside what would be too deep.
    pub(crate) fn wait(&self, waiting: Waiting) {
        self.waiting.borrow_mut().push(waiting);
    }

    /// One that has been put aside, if this is the outermost.
    pub(crate) fn next(&self) -> Option<Waiting> {
        if self.depth.get() > 0 {
            return None;
        }
        self.waiting.borrow_mut().pop()
    }
}
