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

use crate::outcome::catch;
use crate::report::{DefaultHandler, Handler, Report, ReportKind};
use crate::state::State;
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;
use std::task::Waker;

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

/// It is nobody's turn any more: the turns that are on the stack never go on.
pub(crate) fn leave_for_good() {
    CURRENT.set(ptr::null());
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
    match get() {
        Some(state) => state,
        None => outside(function), // not in a closure: there the caller is lost
    }
}

/// Does `work` with the state, for a free function that cannot do without.
///
/// # Panics
///
/// If it is nobody's turn on this thread.
#[inline]
#[track_caller]
pub(crate) fn with_state<R>(function: &str, work: impl FnOnce(&Rc<State>) -> R) -> R {
    match with(|state| state.map(work)) {
        Some(answer) => answer,
        None => outside(function), // not in a closure: there the caller is lost
    }
}

/// Drops a waker that may be anybody's, of which only that is known. If it panics
/// the executor whose turn it is reports it, or else the default handler.
#[inline]
pub(crate) fn drop_waker(waker: Option<Waker>) {
    let Some(waker) = waker else { return };
    with(|state| match state {
        Some(state) => state.drop_waker(waker),
        None => drop_waker_outside(waker),
    });
}

/// Calls a waker that may be anybody's; the same of its panic.
pub(crate) fn wake(waker: Waker) {
    with(|state| match state {
        Some(state) => state.wake_foreign(waker),
        None => wake_outside(waker),
    });
}

#[cold]
fn drop_waker_outside(waker: Waker) {
    if let Err(panicked) = catch(|| drop(waker)) {
        let message = "a waker panicked while it was dropped";
        let report = Report::make(ReportKind::PanickedInDrop, message);
        DefaultHandler.handle(&report.with_panic(panicked));
    }
}

#[cold]
fn wake_outside(waker: Waker) {
    if let Err(panicked) = catch(|| waker.wake()) {
        let report = Report::make(ReportKind::CallbackPanicked, "a waker panicked");
        DefaultHandler.handle(&report.with_panic(panicked));
    }
}

#[cold]
#[track_caller]
fn outside(function: &str) -> ! {
    panic!(
        "hearken::{function} was called outside of a turn: call it in a task, \
         that is, inside the future given to `hearken::run`, `Executor::block_on` or `Executor::spawn`"
    )
}
