//! One turn of the crank.
//!
//! ```text
//!  take in wakes ─► fire timers ─► poll the batch ─► deliver reports ─► say when to come back
//! ```
//!
//! The order is the point. Whoever is woken, by another thread or by a timer,
//! is in this turn's batch. What a poll makes ready waits for the next. And the
//! handler is called when all polls are done, with nothing else on the stack.
//!
//! # Invariants
//!
//! - **Never blocks.** A turn does not sleep, and there is no loop in it whose
//!   end depends on what it runs: a batch is counted before it begins, so are
//!   the wakes that are taken in.
//! - **To the poll.** Everything from the queue that runs user code counts one:
//!   a poll, the drop of a cancelled task, a callback. Reports do not.

use crate::cancelling::{self, Ran};
use crate::clock::Instant;
use crate::counted::TaskRc;
use crate::current;
use crate::header::Header;
use crate::id::Name;
use crate::inbox::{Errand, Letters};
use crate::interrupt;
use crate::life::{Life, PollAnswer};
use crate::outcome::catch;
use crate::report::{DefaultHandler, Effect, Handler, Report, ReportKind, Verdict};
use crate::request::Rank;
use crate::state::{Phase, State};
use crate::stop;
use crate::table;
use crate::waker::waker;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How much a turn may do. It never does more than one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// Everything that is ready when the turn begins.
    Batch,
    /// At most this many polls, drops of cancelled tasks and callbacks. With
    /// zero the turn still takes in wakes, fires timers and delivers reports.
    /// What is left comes first in the next turn.
    Polls(usize),
    /// What can be begun before the clock reads this. The clock is read before
    /// each poll. A poll that has begun is not broken into.
    Until(Instant),
}

/// What a turn did, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// How many polls, drops of cancelled tasks and callbacks.
    pub polled: usize,
    /// When there will be something to do.
    pub next: Next,
    /// By how far a [`ManualClock`](crate::ManualClock) with auto-advance
    /// jumped, if it did.
    pub jumped: Option<Duration>,
}

/// When to take the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// At once: something is ready.
    Ready,
    /// At this moment of the executor's clock, unless `on_wake` calls before.
    At(Instant),
    /// When `on_wake` calls: all tasks wait for something outside.
    Waiting,
    /// There is no task left. `on_wake` calls if another thread spawns one.
    Empty,
}

/// Takes a turn.
///
/// # Panics
///
/// If called inside a turn of the same executor.
#[track_caller]
pub(crate) fn turn(state: &Rc<State>, budget: Budget) -> Turn {
    assert!(!state.in_turn.get(), "a turn was taken inside a turn of the same executor");
    let entered = current::enter(state);
    let (polled, jumped) = pass(state, budget);
    drop(entered);
    Turn { polled, next: say_when(state), jumped }
}

/// Takes one turn after the other until nothing is ready, or the main has
/// ended.
pub(crate) fn turns(state: &Rc<State>, main: &Header) -> Next {
    let entered = current::enter(state);
    loop {
        pass(state, Budget::Batch);
        if main.is_finished() || !is_ready(state) {
            break;
        }
    }
    drop(entered);
    say_when(state)
}

/// What happens in a turn. Answers how many were polled, and by how far the
/// clock jumped.
#[inline(always)] // into the loop: of a turn with one task it is a tenth
fn pass(state: &State, budget: Budget) -> (usize, Option<Duration>) {
    state.turns.set(state.turns.get() + 1);
    let latest_before = stop::latest_before(state);
    if state.inbox.has_mail() {
        take_in_wakes(state);
    }
    let jumped = match state.has_timers() || stop::is_going_on(state) {
        true => fire_timers(state),
        false => None,
    };
    let polled = poll_batch(state, budget);
    if state.has_reports() {
        deliver_reports(state);
    }
    if stop::is_going_on(state) {
        see_to_stopping(state, latest_before);
    }
    (polled, jumped)
}

/// Takes in what other threads left.
#[inline(never)]
fn take_in_wakes(state: &State) {
    state.inbox.take_wakes(|slot| state.table.borrow_mut().wake_tenant(slot));
    let Some(letters) = state.inbox.take_letters() else { return };
    report_letters(state, &letters);
    for errand in letters.errands {
        let (Errand::Spawn(work) | Errand::Note(work)) = errand;
        if let Err(panicked) = catch(work) {
            let report =
                Report::make(ReportKind::CallbackPanicked, "work from another thread panicked");
            state.report(report.with_panic(panicked));
        }
    }
}

/// What of the letters is for the handler. It hears of each interrupt before that
/// has an effect.
pub(crate) fn report_letters(state: &State, letters: &Letters) {
    for _ in 0..letters.interrupts {
        let report = Report::make(ReportKind::Interrupted, "interrupted");
        state.report(report.with_effect(Effect::Interrupts));
    }
    if letters.on_wake_panicked {
        state.report(Report::make(ReportKind::CallbackPanicked, "the on_wake hook panicked"));
    }
}

/// Room for so many whose timers are due is kept from turn to turn.
const MOST_DUE: usize = 1024;

/// Wakes those whose deadline has come. The clock is read once, and only if
/// there is a timer.
#[inline(never)]
fn fire_timers(state: &State) -> Option<Duration> {
    let deadline = next_moment(state)?;
    let mut jumped = None;
    if deadline > state.now() {
        let idle = !is_ready(state);
        jumped = idle.then(|| state.jump_to(deadline)).flatten();
    }
    let now = state.latest();
    if deadline <= now {
        let mut due = state.due.take();
        state.wheel.borrow_mut().fire(now, &mut due);
        due.drain(..).for_each(|whom| state.wake_sleeper(whom));
        due.shrink_to(MOST_DUE); // what a crowd needed goes back
        state.due.set(due);
    }
    jumped
}

/// When there will be something to do by itself.
fn next_moment(state: &State) -> Option<Instant> {
    let timer = state.wheel.borrow_mut().next_deadline();
    timer.into_iter().chain(stop::grace_ends(state)).min()
}

/// Runs what is ready now, as far as the budget goes. Answers how many.
fn poll_batch(state: &State, budget: Budget) -> usize {
    let batch = state.table.borrow_mut().begin_batch();
    let mut polled = 0;
    for _ in 0..batch {
        match budget {
            Budget::Polls(most) if polled >= most => break,
            Budget::Until(end) if state.now() >= end => break,
            _ => {}
        }
        let next = state.table.borrow_mut().next();
        polled += match next {
            Some(table::Next::Task(task)) => usize::from(run_task(state, &task)),
            Some(table::Next::Callback) => usize::from(run_callback(state)),
            Some(table::Next::Nobody) => 0,
            None => break,
        };
    }
    polled
}

/// Polls a task, or drops it if it was asked to cancel. False if there was
/// nothing to do.
#[inline]
fn run_task(state: &State, task: &TaskRc) -> bool {
    let header = task.header();
    state.running.set(Some(header.id));
    let answer = header.begin_poll();
    let ran = match answer {
        PollAnswer::Poll => match poll_task(state, task) {
            Poll::Pending => cancelling::after_poll(state, header, || poll_task(state, task)),
            Poll::Ready(()) => cancelling::after_end(state, header),
        },
        PollAnswer::Attend | PollAnswer::Deliver => {
            cancelling::run(state, header, answer, || poll_task(state, task))
        }
        PollAnswer::Drop => Ran::Drop,
        PollAnswer::Nothing => {
            state.running.set(None);
            return false;
        }
    };
    if ran == Ran::Drop {
        header.life.set(Life::Dropping);
        // What is lost with it nobody looks after.
        state.descent.drop_because_of(Rank::TASK, || task.as_ref().cancel());
        state.descent.clear();
    }
    state.running.set(None);
    if ran != Ran::Pending {
        state.ended(task);
    }
    true
}

#[inline]
fn poll_task(state: &State, task: &TaskRc) -> Poll<()> {
    let header = task.header();
    header.polls.set(header.polls.get().saturating_add(1));
    let waker = waker(Name::new(state.number, header.id.ticket()));
    let cx = &mut Context::from_waker(&waker);
    match state.settings.slow_poll {
        None => task.as_ref().poll(cx),
        Some(limit) => poll_by_the_clock(state, header, limit, || task.as_ref().poll(cx)),
    }
}

#[inline(never)]
fn poll_by_the_clock(
    state: &State,
    header: &Header,
    limit: Duration,
    poll: impl FnOnce() -> Poll<()>,
) -> Poll<()> {
    let began = state.now();
    let polled = poll();
    let took = state.now() - began;
    if took >= limit {
        let report = Report::make(ReportKind::SlowPoll, format!("a poll took {took:?}"));
        state.report(report.about(state.info(header)));
    }
    polled
}

#[inline(never)]
pub(crate) fn run_callback(state: &State) -> bool {
    let callback = state.next_callback();
    callback.map(|callback| callback()).is_some()
}

// ---- Reports ------------------------------------------------------------------

/// Tells the handler what has been queued until now. What it does makes reports
/// for the next time.
///
/// One after the other is taken out of the queue, where those are found that are left
/// if the handler exits the process.
#[inline(never)]
pub(crate) fn deliver_reports(state: &State) {
    for _ in 0..state.reports() {
        let Some(mut report) = state.next_report() else { break };
        let effect = report.take_effect();
        let verdict = hear(state, &report);
        match effect {
            Effect::None => {}
            Effect::Settles => state.settled(),
            Effect::Interrupts if verdict == Verdict::Proceed => interrupt::next_stage(state),
            Effect::Interrupts => {}
        }
        let unneeded = match verdict {
            Verdict::ShutDown => stop::begin(state, Some(report)),
            Verdict::Proceed | Verdict::Ignore => Some(report),
        };
        // Its error is foreign, and may panic.
        state.drop_quietly("the error of a report panicked while it was dropped", unneeded);
    }
}

/// Lets the handler hear a report.
pub(crate) fn hear(state: &State, report: &Report) -> Verdict {
    let Some(mut handler) = state.handler.take() else {
        return DefaultHandler.handle(report);
    };
    let heard = catch(|| handler.handle(report));
    // The handler may have set another in its place.
    match state.handler.take() {
        None => state.handler.set(Some(handler)),
        Some(next) => {
            state.handler.set(Some(next));
            state.drop_quietly("a handler panicked while it was dropped", handler);
        }
    }
    heard.unwrap_or_else(|panicked| {
        let failed = Report::make(ReportKind::HandlerFailed, "the handler panicked");
        DefaultHandler.handle(&failed.with_panic(panicked));
        DefaultHandler.handle(report)
    })
}

// ---- Stopping -------------------------------------------------------------------

/// Somebody has asked everybody to stop: takes that to its next stage when the
/// grace is over, and to its end when the user has insisted often enough.
#[inline(never)]
fn see_to_stopping(state: &State, latest_before: u64) {
    let closing = state.phase.get() == Phase::Closing;
    if closing {
        stop::cancel_newcomers(state, latest_before);
    }
    let over = stop::is_over(state);
    if over && closing {
        state.drop_all(ReportKind::Overran);
    } else if over {
        interrupt::next_stage(state);
    }
    if interrupt::is_last_stage(state) {
        state.drop_all(ReportKind::DroppedPending);
    }
    // In a host's loop an interrupt is done with when nobody is left.
    if !closing && state.main.get().is_none() && state.live() == 0 {
        state.interrupts.set(0);
    }
}

// ---- When to come back -----------------------------------------------------------

/// Whether there is something for the next turn.
#[inline]
fn is_ready(state: &State) -> bool {
    !state.table.borrow().is_idle() || state.has_reports()
}

fn say_when(state: &State) -> Next {
    if is_ready(state) || !state.inbox.wait() {
        return Next::Ready;
    }
    state.shrink();
    if let Some(moment) = next_moment(state) {
        return Next::At(moment);
    }
    match state.live() {
        0 => Next::Empty,
        _ => Next::Waiting,
    }
}

/// Whether waiting was of any use.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// Take another turn.
    Again,
    /// Nothing that can happen would make anything ready.
    Stuck,
}

/// Puts the thread to sleep until there is something to do.
pub(crate) fn wait(state: &State, next: Next) -> Waited {
    let deadline = match next {
        Next::Ready => return Waited::Again,
        Next::At(deadline) => deadline,
        Next::Waiting | Next::Empty if state.settings.closed_world => return stuck(state),
        Next::Waiting | Next::Empty => {
            state.inbox.park(None);
            return Waited::Again;
        }
    };
    // Whoever stops does not wait for a clock that stands still.
    let gives_up = state.settings.closed_world || stop::is_going_on(state);
    match catch(|| state.clock.until(deadline)) {
        Ok(Some(Duration::ZERO)) => {}
        Ok(Some(duration)) => state.inbox.park(Some(duration)),
        Ok(None) if gives_up => return stuck(state),
        Ok(None) => state.inbox.park(None),
        Err(panicked) => {
            // It stands still, too. That this is reported is not a reason to go on,
            // or one that panics each time would never be given up.
            state.clock_panicked(panicked);
            if gives_up {
                return Waited::Stuck;
            }
            state.inbox.park(None);
        }
    }
    Waited::Again
}

/// Nothing can happen any more, unless it has happened since the turn ended: an
/// interrupt, or a wake by the clock itself, which is foreign.
fn stuck(state: &State) -> Waited {
    if state.inbox.is_waiting() { Waited::Stuck } else { Waited::Again }
}
