//! The order of shutdown: ask everybody, wait a while, drop the rest, tell.
//!
//! ```text
//! begin ─► every task is asked to cancel, the youngest first
//!   │         ▲
//!   │         └── turn by turn: who was spawned meanwhile has had its poll, and
//!   │             is asked in its turn, until nobody is left or the grace is over
//!   ▼
//! last rites ─► who is left is dropped and reported; callbacks run; failures
//!               that somebody still holds are reported; the handler hears all
//! ```
//!
//! The youngest first, because children are younger than their parents.

use crate::clock::Instant;
use crate::current;
use crate::inbox::Errand;
use crate::interrupt;
use crate::life::Hearing;
use crate::lodgings;
use crate::report::{Report, ReportKind};
use crate::state::{Phase, State};
use crate::stop;
use crate::turn::{self, Budget, Next, Waited};
use std::rc::Rc;

/// What a shutdown found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Tasks that were alive when it began.
    pub found: usize,
    /// Tasks that had to be dropped when the grace was over.
    pub dropped: usize,
    /// Failures that somebody held and had not asked for.
    pub still_held: usize,
}

/// How many batches a shutdown takes at most while its clock stands still.
pub(crate) const MOST_BATCHES: usize = 1_000_000;

/// Shuts the executor down, from outside of a turn.
#[track_caller]
pub(crate) fn shut_down(state: &Rc<State>) -> Shutdown {
    assert!(!state.in_turn.get(), "shut_down was called inside a turn of the same executor");
    if matches!(state.phase.get(), Phase::Closed | Phase::Gone) {
        return Shutdown::default();
    }
    let dropped_before = state.counts.dropped.get();
    let mut shutdown = Shutdown { found: state.live(), ..Shutdown::default() };
    let _none_was_given = stop::begin(state, None);
    let mut patience = Patience { clock_read: state.now(), batches: 0 };
    loop {
        let turn = turn::turn(state, Budget::Batch);
        let all_done = state.live() == 0 && turn.next != Next::Ready;
        // The turn has dropped everybody if the grace is over; but callbacks and
        // reports may go on making others for ever.
        let over = stop::is_over(state)
            || interrupt::is_last_stage(state)
            || patience.is_at_its_end(state);
        if all_done || over {
            break;
        }
        if turn::wait(state, turn.next) == Waited::Stuck {
            break;
        }
    }
    shutdown.still_held = last_rites(state, ReportKind::Overran);
    shutdown.dropped = (state.counts.dropped.get() - dropped_before) as usize;
    shutdown
}

/// On a clock that stands still no grace is ever over. So a shutdown counts the
/// batches, too, that it takes while its clock does not move.
struct Patience {
    clock_read: Instant,
    batches: usize,
}

impl Patience {
    fn is_at_its_end(&mut self, state: &State) -> bool {
        let now = state.now();
        let batches = if now == self.clock_read { self.batches + 1 } else { 0 };
        *self = Patience { clock_read: now, batches };
        batches >= MOST_BATCHES
    }
}

/// Drops the executor's tasks, and tells the handler what there is to tell.
/// Answers how many failures were still held.
pub(crate) fn last_rites(state: &Rc<State>, kind: ReportKind) -> usize {
    let entered = current::enter(state);
    // What is spawned from here on, by destructors say, is refused.
    state.phase.set(Phase::Closed);
    refuse_errands(state);
    drop_stop(state);
    if state.live() > 0 {
        state.drop_all(kind);
    }
    let mut still_held = 0;
    // A callback may drop handles, and a handler may do anything; what they
    // cause is delivered too, but they do not go on for ever.
    for _ in 0..100 {
        let callbacks = state.callbacks.borrow().len();
        (0..callbacks).for_each(|_| {
            turn::run_callback(state);
        });
        if state.has_reports() {
            turn::deliver_reports(state);
        }
        still_held += report_held(state);
        if state.callbacks.borrow().is_empty() && !state.has_reports() {
            break;
        }
    }
    drop(entered);
    still_held
}

/// Nobody will be told any more why there was a shutdown. While there is a handler:
/// the report's error is foreign, and what its drop does may have to be told.
fn drop_stop(state: &State) {
    if let Some(stop) = state.stop.take() {
        state.drop_quietly("the error of a report panicked while it was dropped", stop);
    }
}

/// What other threads left, and it came too late.
fn refuse_errands(state: &State) {
    let Some(letters) = state.inbox.close() else { return };
    turn::report_letters(state, &letters);
    for errand in letters.errands {
        let work = match errand {
            Errand::Spawn(work) => work,
            Errand::Note(work) => {
                work();
                continue;
            }
        };
        state.count_refused();
        state.report(Report::make(
            ReportKind::Refused,
            "a spawn from another thread was refused: it came too late",
        ));
        state.drop_quietly("a refused spawn panicked while it was dropped", work);
    }
}

/// Tells the handler of failures that somebody holds and has not asked for.
fn report_held(state: &Rc<State>) -> usize {
    if state.held.borrow().len() == 0 {
        return 0;
    }
    let mut reported = 0;
    for task in &state.held_failures() {
        let header = task.header();
        if !matches!(header.hearing.get(), Hearing::Held { .. }) {
            continue; // the handler has just asked for it
        }
        state.reported_while_held(header);
        reported += 1;
        let message =
            "failure was not retrieved by the end of the executor; the task is still held";
        let report = Report::make(ReportKind::StillHeld, message).about(state.info(header));
        task.as_ref().show_failure(report, &mut |report| {
            // The executor is coming to its end already: no verdict changes that.
            let _ = turn::hear(state, report);
        });
        if header.askers.get() == 0 {
            state.nobody_will_ask(task.as_ref()); // the handler dropped the handle
        }
        state.wake_awaiter(header.awaiter_to_wake());
    }
    reported
}

/// The executor is dropped in its own turn. So it stands in a thread-local, and
/// somebody has called `exit`: the turn is still on the stack, and never goes on.
/// Nobody can be dropped who may be on that stack, and nobody is.
pub(crate) fn cut_short(state: &Rc<State>) {
    std::mem::forget(state.clone()); // what is on the stack has references to it
    state.phase.set(Phase::Closed);
    state.in_turn.set(false);
    let entered = current::enter(state);
    turn::deliver_reports(state);
    drop(entered);
    state.phase.set(Phase::Gone);
    current::leave_for_good();
}

/// The executor is dropped: what it holds of foreign things goes too, and the
/// inbox is free for another.
pub(crate) fn leave(state: &Rc<State>) {
    let entered = current::enter(state);
    if let Some(handler) = state.handler.take() {
        state.drop_quietly("a handler panicked while it was dropped", handler);
    }
    state.phase.set(Phase::Gone);
    // Those that have themselves called again and again.
    for callback in state.callbacks.take() {
        state.drop_quietly("a callback panicked while it was dropped", callback);
    }
    drop(entered);
    while let Some(report) = state.next_report() {
        state.report(report); // to the default handler: the other is gone
    }
    lodgings::move_out(&state.inbox);
}
