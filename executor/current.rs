//! Whose turn is it? The only thread-local of the library.
//!
//! A task that calls [`sleep`](crate::sleep()) does not say on which executor,
//! and a waker on the executor's own thread wants the short way to its queue.
//! Both ask here.
//!
//! It holds a plain pointer to somebody's `Rc`, not one of its own. That would
//! need a destructor, and a library with a thread-local that has a destructor
//! cannot be unloaded.
//!
//! # Invariants
//!
//! - **Valid while set.** The pointer is set for the length of a turn by an
//!   [`Entered`], which borrows what it points to and puts the previous pointer
//!   back, also when it unwinds. So executors may run inside one another.

use crate::state::State;
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

thread_local! {
    static CURRENT: Cell<*const Rc<State>> = const { Cell::new(ptr::null()) };
}

/// A turn of an executor on this thread, for as long as this lives.
pub(crate) struct Entered<'a> {
    state: &'a Rc<State>,
    previous: *const Rc<State>,
}

pub(crate) fn enter(state: &Rc<State>) -> Entered<'_> {
    debug_assert!(!state.in_turn.get(), "a turn is not entered twice");
    state.in_turn.set(true);
    let previous = CURRENT.replace(state);
    Entered { state, previous }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.state.in_turn.set(false);
        CURRENT.set(self.previous);
    }
}

/// Looks at the state of the executor whose turn it is on this thread.
#[inline]
#[allow(unsafe_code)]
pub(crate) fn with<R>(look: impl FnOnce(Option<&Rc<State>>) -> R) -> R {
    let state = CURRENT.get();
    // SAFETY: null, or set by an `Entered` that is still on this thread's stack
    // and has the reference itself (Valid while set). `look` runs to its end
    // before that stack frame can.
    look(unsafe { state.as_ref() })
}

/// The state of the executor whose turn it is on this thread.
#[inline]
pub(crate) fn get() -> Option<Rc<State>> {
    with(|state| state.cloned())
}

/// The same, for a free function that cannot do without.
///
/// # Panics
///
/// If it is nobody's turn on this thread.
#[inline]
#[track_caller]
pub(crate) fn state_for(function: &str) -> Rc<State> {
    get().unwrap_or_else(|| outside(function))
}

/// Does `work` with the state, for a free function that cannot do without.
///
/// # Panics
///
/// If it is nobody's turn on this thread.
#[inline]
#[track_caller]
pub(crate) fn with_state<R>(function: &str, work: impl FnOnce(&Rc<State>) -> R) -> R {
    with(|state| match state {
        Some(state) => work(state),
        None => outside(function),
    })
}

#[cold]
#[track_caller]
fn outside(function: &str) -> ! {
    panic!(
        "hearken::{function} was called outside of a turn: call it in a task, \
         that is, inside the future given to `hearken::run`, `Executor::block_on` or `Executor::spawn`"
    )
}
