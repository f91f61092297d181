//! Those in the running task whose place is no more, and who may be in any by now.
//!
//! They are members of one region (`region.rs`), that nobody is around. It is kept with
//! the task between two polls, and stands here while the task is polled.

use crate::region::Region;
use crate::roles::Roles;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[derive(Default)]
pub(crate) struct Displaced {
    /// Whether there may be any.
    is_there: Cell<bool>,
    region: RefCell<Option<Rc<Region>>>,
}

impl Displaced {
    /// Their region; made now, if there was none.
    pub(crate) fn make_region(&self) -> Rc<Region> {
        self.is_there.set(true);
        self.region.borrow_mut().get_or_insert_default().clone()
    }

    /// The task that is polled from here on has this.
    #[inline]
    pub(crate) fn put(&self, region: Option<Rc<Region>>) {
        if region.is_some() {
            self.is_there.set(true);
            *self.region.borrow_mut() = region;
        }
    }

    /// The poll of the task is over.
    #[inline]
    pub(crate) fn take(&self) -> Option<Rc<Region>> {
        match self.is_there.take() {
            true => self.region.take().filter(|region| !region.is_empty()),
            false => None,
        }
    }

    /// Their region, if there are any.
    #[inline]
    pub(crate) fn region(&self) -> Option<Rc<Region>> {
        self.look(Rc::clone)
    }

    /// What they hold.
    #[inline]
    pub(crate) fn hold(&self) -> Roles {
        self.look(|region| region.holders()).unwrap_or_default()
    }

    /// Whether any of them listens.
    #[inline]
    pub(crate) fn listen(&self) -> bool {
        self.look(|region| region.listens()) == Some(true)
    }

    /// Whether one of them was called, of what is carried, and has not come.
    #[inline]
    pub(crate) fn are_awaited(&self) -> bool {
        self.look(|region| region.unreached() > 0) == Some(true)
    }

    #[inline]
    fn look<R>(&self, look: impl FnOnce(&Rc<Region>) -> R) -> Option<R> {
        if !self.is_there.get() {
            return None;
        }
        self.region.borrow().as_ref().filter(|region| !region.is_empty()).map(look)
    }
}
