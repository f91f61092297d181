//! Interrupts: somebody wants the program to stop.
//!
//! An interrupt is not an exception that is thrown through whatever happens to
//! run. It is a request, counted, and taken up between two polls: first the
//! main is asked to cancel, and when the user insists, everybody is.
//!
//! Each one is a report, and so goes to the handler first, which may swallow
//! it.

use crate::inbox::{Address, Closed, Errand};
use crate::request::{Origin, Request, Why};
use crate::state::{Phase, State};
use crate::stop;
use std::fmt;

/// Interrupts an executor, from any thread.
///
/// # Examples
///
/// ```
/// use hearken::{Executor, RunError};
///
/// let executor = Executor::new();
/// let interrupter = executor.interrupter();
/// std::thread::spawn(move || interrupter.interrupt());
/// let answer = executor.block_on(std::future::pending::<anyhow::Result<()>>());
/// assert!(matches!(answer, Err(RunError::Interrupted { .. })));
/// ```
#[derive(Clone)]
pub struct Interrupter {
    address: Address,
}

impl Interrupter {
    pub(crate) fn new(address: Address) -> Interrupter {
        Interrupter { address }
    }

    /// Interrupts once more. Does nothing when the executor is shut down or
    /// gone.
    ///
    /// It takes a lock, so it is not for a signal handler itself, but for the
    /// thread that a signal handler tells.
    pub fn interrupt(&self) {
        let _gone_is_fine = self.try_interrupt();
    }

    /// The same, and says so when the executor is shut down or gone.
    pub(crate) fn try_interrupt(&self) -> Result<(), Closed> {
        self.address.interrupt()
    }

    /// Calls `f` from the loop when what was sent before has been taken in.
    #[cfg_attr(not(all(feature = "signal", unix)), allow(dead_code))]
    pub(crate) fn when_taken_in(&self, f: impl FnOnce() + Send + 'static) {
        let _gone_is_fine = self.address.send(Errand::Note(Box::new(f)));
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupter").field("open", &self.address.is_open()).finish()
    }
}

/// An interrupt that the handler let through; or the grace of the one before
/// is over.
pub(crate) fn next_stage(state: &State) {
    let count = state.interrupts.get().saturating_add(1);
    state.interrupts.set(count);
    if state.phase.get() == Phase::Open {
        stop::begin_grace(state);
    }
    let first = || state.new_request(Why::of(Origin::Interrupt, "interrupted"));
    match (count, state.main.get()) {
        (1, Some(main)) => {
            // It may have ended in this very turn; the interrupt was for it.
            if let Some(main) = state.task(main) {
                state.cancel(main.header(), first());
            }
        }
        // No main: the first is for everybody.
        (1, None) => stop::cancel_all(state, &first()),
        // The user insists.
        _ => {
            let again = state.new_request(Why::of(Origin::Interrupt, "interrupted again"));
            stop::cancel_all(state, &Request { through_shields: true, ..again });
        }
    }
}

/// Whether the user has insisted so often that everything is to be dropped.
pub(crate) fn is_last_stage(state: &State) -> bool {
    state.interrupts.get() >= 3
}
