//! Asking everybody to stop.
//!
//! This is the first half of a shutdown, the half that may begin in the middle
//! of a turn: because a handler said so, a task asked for it, or the program
//! was interrupted. It drops nothing, and runs no foreign code; it only asks.
//! That the grace is over is seen to by each turn (`turn.rs`); the end of the
//! executor is `shutdown.rs`.

use crate::clock::Instant;
use crate::counted::TaskRc;
use crate::report::Report;
use crate::request::{Origin, Request, Why};
use crate::state::{Phase, State};

/// Begins an orderly shutdown. The first report that asks for one is kept; a
/// later one is given back, and one that comes when all is over.
pub(crate) fn begin(state: &State, because: Option<Report>) -> Option<Report> {
    if matches!(state.phase.get(), Phase::Closed | Phase::Gone) {
        return because;
    }
    let (stop, unneeded) = match state.stop.take() {
        None => (because, None),
        first => (first, because),
    };
    state.stop.set(stop);
    if state.phase.get() != Phase::Open {
        return unneeded;
    }
    state.phase.set(Phase::Closing);
    begin_grace(state);
    let request = || state.new_request(Why::of(Origin::ShutDown, "the executor is shut down"));
    cancel_all(state, state.request_to_close.get_or_init(request));
    unneeded
}

/// Asks every live task to cancel, the youngest first.
pub(crate) fn cancel_all(state: &State, request: &Request) {
    for task in state.youngest_first() {
        state.cancel(task.header(), request.clone());
    }
}

/// Asks those who were spawned since the shutdown began, up to this serial, and have
/// had their poll.
///
/// It looks at nobody else: of a shutdown with many tasks that clean up and spawn, a
/// look at all of them in each turn was most.
pub(crate) fn cancel_newcomers(state: &State, up_to: u64) {
    let slots = state.newcomers.take();
    let Some(request) = state.request_to_close.get().filter(|_| !slots.is_empty()) else { return };
    for task in youngest_first(state, &slots) {
        let header = task.header();
        let is_too_new = header.id.serial(state.table.borrow().latest_serial()) > up_to;
        // A small budget may not have come to him.
        match is_too_new || header.polls.get() == 0 {
            true => state.newcomers.borrow_mut().push(header.id.slot() as u32),
            false => {
                state.cancel(header, request.clone());
            }
        }
    }
}

/// Who is in these slots, some of which are told twice.
fn youngest_first(state: &State, slots: &[u32]) -> Vec<TaskRc> {
    let table = state.table.borrow();
    let tasks = slots.iter().filter_map(|&slot| table.tenant(slot).cloned());
    let mut tasks = table.oldest_first(tasks.collect());
    tasks.dedup_by_key(|task| task.header().id);
    tasks.reverse();
    tasks
}

/// From now on the grace counts.
pub(crate) fn begin_grace(state: &State) {
    let end = state.settings.grace.map(|grace| state.now() + grace);
    state.grace_ends.set(end.filter(|&end| end != Instant::NEVER));
}

/// Tasks with serials up to this were there when the turn began: they may be
/// asked at its end, since each had its turn. Asked for only while stopping.
#[inline]
pub(crate) fn latest_before(state: &State) -> u64 {
    if is_going_on(state) { state.table.borrow().latest_serial() } else { 0 }
}

/// Whether somebody has asked everybody, or the main, to stop.
#[inline]
pub(crate) fn is_going_on(state: &State) -> bool {
    state.phase.get() == Phase::Closing || state.interrupts.get() > 0
}

/// When those who were asked have had their time.
pub(crate) fn grace_ends(state: &State) -> Option<Instant> {
    state.grace_ends.get().filter(|_| is_going_on(state) && state.live() > 0)
}

/// Whether that time is over.
pub(crate) fn is_over(state: &State) -> bool {
    let ends = state.grace_ends.get().filter(|_| is_going_on(state));
    ends.is_some_and(|end| state.now() >= end)
}

/// Nobody waits for a clock that stands still: the grace is over.
pub(crate) fn end_grace(state: &State) {
    state.grace_ends.set(Some(Instant::ZERO));
}
