//! Whose turn is it? The only thread-local of the library.
//!
//! A task that calls [`sleep`](crate::sleep()) does not say on which executor,
//! and a waker on the executor's own thread wants the short way to its queue.
//! Both ask here.
//!
//! It holds a plain pointer, not an `Rc`. An `Rc` would need a destructor, and
//! a library with a thread-local that has a destructor cannot be unloaded.
//!
//! # Invariants
//!
//! - **Valid while set.** The pointer is set for the length of a turn by an
//!   [`Entered`], which keeps the state alive and puts the previous pointer
//!   back, also when it unwinds. So executors may run inside one another.

use crate::state::State;
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

thread_local! {
    static CURRENT: Cell<*const State> = const { Cell::new(ptr::null()) };
}

/// A turn of an executor on this thread, for as long as this lives.
pub(crate) struct Entered {
    state: Rc<State>,
    previous: *const State,
}

pub(crate) fn enter(state: &Rc<State>) -> Entered {
    debug_assert!(!state.in_turn.get(), "a turn is not entered twice");
    state.in_turn.set(true);
    let previous = CURRENT.replace(Rc::as_ptr(state));
    Entered { state: state.clone(), previous }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.state.in_turn.set(false);
        CURRENT.set(self.previous);
    }
}

/// Looks at the state of the executor whose turn it is on this thread.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn with<R>(look: impl FnOnce(Option<&State>) -> R) -> R {
    let state = CURRENT.get();
    // SAFETY: null, or set by an `Entered` that is still on this thread's stack
    // and keeps the state alive (Valid while set). `look` runs to its end
    // before that stack frame can.
    look(unsafe { state.as_ref() })
}

/// The state of the executor whose turn it is on this thread.
#[allow(unsafe_code)]
pub(crate) fn get() -> Option<Rc<State>> {
    let state = CURRENT.get();
    if state.is_null() {
        return None;
    }
    // SAFETY: the pointer comes from `Rc::as_ptr`, and an `Entered` on this
    // thread's stack holds one count (Valid while set). The count added here
    // is the one that `from_raw` takes over.
    unsafe {
        Rc::increment_strong_count(state);
        Some(Rc::from_raw(state))
    }
}

/// The same, for a free function that cannot do without.
///
/// # Panics
///
/// If it is nobody's turn on this thread.
#[track_caller]
pub(crate) fn state_for(function: &str) -> Rc<State> {
    let Some(state) = get() else {
        panic!(
            "hearken::{function} was called outside of a turn: call it in a task, \
             that is, inside the future given to `hearken::run`, `Executor::block_on` or `Executor::spawn`"
        )
    };
    state
}
