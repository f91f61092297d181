//! The executor, as a program holds it.
//!
//! Little happens here: what a turn does is in `turn.rs`, what a shutdown does
//! in `shutdown.rs`. Here a program makes an executor, drives it (by `turn`
//! from a loop of its own, or by `block_on`), and lets it go.

use crate::clock::Instant;
use crate::current::{self, state_for};
use crate::dump::Dump;
use crate::handle::Task;
use crate::header::Header;
use crate::id::TaskId;
use crate::interrupt::Interrupter;
use crate::outcome::{TaskError, catch};
use crate::report::{Handler, Ledger, Report, ReportKind, TaskInfo, Verdict};
use crate::run_error::{Nested, RunError};
use crate::shutdown::{self, MOST_BATCHES, Shutdown};
use crate::spawn::{SpawnError, Spawner, spawn_on, try_spawn_on};
use crate::stage::{Outcome, Parcel, Stage};
use crate::state::{Phase, State};
use crate::stop;
use crate::task::{Fallible, Infallible, MainBody, MainStub};
use crate::turn::{self, Budget, Next, Turn, Waited};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// A single-threaded executor.
///
/// It is cheap to make, and many may live on one thread. It starts no thread,
/// opens no file and installs no signal handler.
///
/// # Examples
///
/// Inside a host's own loop, a few polls a frame:
///
/// ```
/// use hearken::{Budget, Executor, Next};
///
/// let executor = Executor::new();
/// let task = executor.spawn(async {
///     hearken::yield_now().await;
///     Ok("done")
/// });
/// let mut frames = 0;
/// while executor.turn(Budget::Polls(10)).next == Next::Ready {
///     frames += 1; // draw, read input …
/// }
/// assert_eq!(*task.result().unwrap(), "done");
/// # assert_eq!(frames, 1);
/// ```
///
/// # Dropping
///
/// Dropping an executor drops its tasks on this thread, the youngest first, and
/// delivers the reports that this makes. Handles still answer afterwards;
/// wakers that are still about do nothing.
///
/// One in a thread-local is dropped by [`std::process::exit`], also when that is
/// called in its own turn. Then the reports that were on their way are delivered,
/// and its tasks are left as they are: they are on the stack, so to speak.
pub struct Executor {
    pub(crate) state: Rc<State>,
    /// Looks at what all are waiting for, in a closed world. Known only there,
    /// so that a program without one has no dumps linked in.
    pub(crate) look: Option<fn(&State) -> Dump>,
}

impl Executor {
    // ---- Tasks -------------------------------------------------------------

    /// Spawns a task. It is polled in the next turn, not before.
    ///
    /// After a shutdown, and when there are too many tasks, the future is
    /// dropped, and the task that is returned is cancelled already.
    #[track_caller]
    #[must_use = "a task that is dropped runs on; say so with `detach`, or await it"]
    pub fn spawn<T: 'static>(
        &self,
        f: impl Future<Output = anyhow::Result<T>> + 'static,
    ) -> Task<T> {
        spawn_on::<_, Fallible>(&self.state, &mut Parcel::Packed(f), Location::caller())
    }

    /// Spawns a task whose output is its value: it can fail only by a panic.
    #[track_caller]
    #[must_use = "a task that is dropped runs on; say so with `detach`, or await it"]
    pub fn spawn_infallible<T: 'static>(&self, f: impl Future<Output = T> + 'static) -> Task<T> {
        spawn_on::<_, Infallible>(&self.state, &mut Parcel::Packed(f), Location::caller())
    }

    /// Spawns a task, or gives the future back.
    ///
    /// # Errors
    ///
    /// If the executor is shut down, or has as many tasks as it may.
    #[track_caller]
    pub fn try_spawn<T: 'static, F>(&self, f: F) -> Result<Task<T>, SpawnError<F>>
    where
        F: Future<Output = anyhow::Result<T>> + 'static,
    {
        try_spawn_on::<_, Fallible>(&self.state, f, Location::caller())
    }

    /// Spawns tasks on this executor from other threads.
    pub fn spawner(&self) -> Spawner {
        Spawner::new(self.state.inbox.address())
    }

    /// Interrupts this executor from other threads.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.state.inbox.address())
    }

    // ---- Turning the crank ----------------------------------------------------

    /// Takes one turn: takes in wakes, fires timers, polls one batch as far as
    /// the budget goes, delivers reports, and says when to come back. It never
    /// blocks and never sleeps.
    ///
    /// # Panics
    ///
    /// If called inside a turn of the same executor.
    #[track_caller]
    pub fn turn(&self, budget: Budget) -> Turn {
        assert!(self.state.main.get().is_none(), "a turn was taken inside of block_on");
        turn::turn(&self.state, budget)
    }

    /// Takes turns until nothing is ready; at most 1,000,000, so that a task
    /// that wakes itself for ever ends it too, with [`Next::Ready`].
    ///
    /// A clock with auto-advance jumps on from deadline to deadline, for as many
    /// turns, and with the same answer if there is a next one.
    ///
    /// # Panics
    ///
    /// If called inside a turn of the same executor.
    #[track_caller]
    pub fn run_until_idle(&self) -> Turn {
        let mut sum = Turn { polled: 0, next: Next::Ready, jumped: None };
        for _ in 0..MOST_BATCHES {
            let turn = self.turn(Budget::Batch);
            sum.polled += turn.polled;
            if let Some(by) = turn.jumped {
                sum.jumped = Some(sum.jumped.unwrap_or_default().saturating_add(by));
            }
            // A clock that jumps by itself has jumped as long as it could.
            let goes_on = match turn.next {
                Next::Ready => true,
                Next::At(deadline) => turn.jumped.is_some() || self.jumps_to(deadline),
                Next::Waiting | Next::Empty => false,
            };
            if !goes_on {
                return Turn { next: turn.next, ..sum };
            }
        }
        sum
    }

    /// Whether the clock would jump to the next deadline in the next turn.
    fn jumps_to(&self, deadline: Instant) -> bool {
        let until = catch(|| self.state.clock.until(deadline));
        until.is_ok_and(|until| until == Some(Duration::ZERO))
    }

    /// Runs `main` to its end, and all other tasks beside it. When it has ended
    /// the others stay, pending.
    ///
    /// `main` is a task too, and may borrow from its caller.
    ///
    /// # Errors
    ///
    /// How the main ended, if not with a value; or why it was ended.
    #[track_caller]
    #[doc(alias = "run_until_complete")]
    pub fn block_on<T>(
        &self,
        main: impl Future<Output = anyhow::Result<T>>,
    ) -> Result<T, RunError> {
        let answer = self.run_main(&mut Parcel::Packed(main));
        if !self.state.in_turn.get() {
            // The interrupts were for this main; the next one begins anew.
            self.state.interrupts.set(0);
        }
        answer
    }

    /// `block_on` for those who go on to shut down: there the next interrupt is
    /// not the first.
    #[track_caller]
    pub(crate) fn run_main<T>(
        &self,
        main: &mut Parcel<impl Future<Output = anyhow::Result<T>>>,
    ) -> Result<T, RunError> {
        let state = &self.state;
        if state.in_turn.get() || state.main.get().is_some() {
            let nested = nested("block_on", state);
            refuse_main(state, main);
            return Err(RunError::Nested(nested));
        }
        if state.phase.get() == Phase::Closed {
            let refused = Report::make(
                ReportKind::Refused,
                "block_on was called after the executor was shut down",
            );
            refuse_main(state, main);
            return Err(RunError::ShutDown(refused));
        }
        if state.phase.get() != Phase::Open {
            let _it_is_closing = state.lets_in();
        }
        let place = Location::caller();
        // Nobody is roused yet: `on_wake` might take a turn, and the main is not there.
        let stub = state.table.borrow_mut().enroll(|id| {
            let stub = MainStub::make(state, || Header::new(id, place, None));
            (stub.clone().into_task(), stub)
        });
        let stage = pin!(Stage { empty: () });
        let body = pin!(MainBody::new(&stub, stage, main));
        let body = body.into_ref();
        state.interrupts.set(0);
        // Until the answer is made an interrupt is for this main.
        let _guard = MainGuard::new(state, &stub.header);
        let stalled = stub.with_body(body, || {
            state.rouse(); // a host that waits is to look what the main has left
            self.drive(&stub.header)
        });
        let outcome = body.take_outcome().expect("the main has ended");
        self.answer(&stub.header, outcome, stalled)
    }

    /// Takes turns until the main has ended. Answers what all were waiting for
    /// if that can never be.
    fn drive(&self, main: &Header) -> Option<Dump> {
        let state = &self.state;
        loop {
            let next = turn::turns(state, main);
            if main.is_finished() {
                return None;
            }
            if turn::wait(state, next) == Waited::Again {
                continue;
            }
            if stop::is_going_on(state) {
                stop::end_grace(state); // and the next turn sees to it
                continue;
            }
            let dump = self.look.map(|look| look(state));
            let entered = current::enter(state);
            let stub = state.task(main.id).expect("a main that has not ended is in the table");
            state.drop_unfinished(&stub, ReportKind::DroppedPending);
            drop(entered);
            return dump;
        }
    }

    fn answer<T>(
        &self,
        main: &Header,
        outcome: Outcome<T>,
        stalled: Option<Dump>,
    ) -> Result<T, RunError> {
        let state = &self.state;
        self.look_again(); // at reports of the drop of the main, say
        if state.interrupts.get() > 0 {
            state.retrieved(main);
            let main = outcome.map(|value| self.drop_value(value)).err();
            return Err(RunError::Interrupted { main });
        }
        let instead = match state.stop.take().map(RunError::ShutDown) {
            None => stalled.map(RunError::Stalled),
            shut_down => shut_down,
        };
        let Some(instead) = instead else {
            state.retrieved(main);
            return Ok(outcome?);
        };
        // The caller is given something else than how the main ended.
        match outcome {
            Ok(value) => self.drop_value(value),
            Err(TaskError::Cancelled(_)) => {}
            Err(error) => {
                state.report_main(main, error.into());
                self.look_again();
            }
        }
        if state.interrupts.get() > 0 {
            if let RunError::ShutDown(report) = instead {
                // The next one is told that, and not what the handler has said since.
                let later = state.stop.replace(Some(report));
                state.drop_quietly("the error of a report panicked while it was dropped", later);
                self.look_again();
            }
            return Err(RunError::Interrupted { main: None });
        }
        Err(instead)
    }

    /// The caller is given something else than the main's value, which is foreign.
    fn drop_value<T>(&self, value: T) {
        let panicked = "the value of the main panicked while it was dropped";
        self.state.drop_quietly(panicked, value);
        self.look_again();
    }

    /// Delivers what has been reported, and takes in the interrupts that came
    /// since the last turn: they are for a main that has ended, and would hit the
    /// next one.
    ///
    /// Called after all foreign code that may interrupt, so that what comes later
    /// comes between two mains. A handler that interrupts whenever it hears of an
    /// interrupt is not waited for without end.
    #[inline]
    fn look_again(&self) {
        if self.state.has_reports() || self.state.inbox.has_interrupts() {
            self.take_what_came();
        }
    }

    #[cold]
    fn take_what_came(&self) {
        for _ in 0..100 {
            turn::turn(&self.state, Budget::Polls(0));
            if !self.state.inbox.has_interrupts() {
                break;
            }
        }
    }

    /// What became of a program whose executor has been shut down: an interrupt
    /// that came during the shutdown, or too `late` for it, is not lost either.
    pub(crate) fn after_shut_down<T>(
        &self,
        answer: Result<T, RunError>,
        late: bool,
    ) -> Result<T, RunError> {
        match self.state.interrupts.get() > 0 || late {
            true => RunError::interrupted_instead_of(answer),
            false => answer,
        }
    }

    // ---- Time -------------------------------------------------------------------

    /// What the executor's clock reads.
    #[doc(alias = "time")]
    pub fn now(&self) -> Instant {
        self.state.now()
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.state.wheel.borrow_mut().next_deadline()
    }

    // ---- Shutdown ----------------------------------------------------------------

    /// Shuts the executor down: asks every task to cancel, the youngest first;
    /// runs them to their end, and those spawned meanwhile, within the grace;
    /// drops the rest; and reports what there is to report. Blocks while tasks
    /// wait. Does nothing the second time.
    ///
    /// # Panics
    ///
    /// If called inside a turn of the same executor: there,
    /// [`request_shut_down`](Executor::request_shut_down) is right.
    #[track_caller]
    pub fn shut_down(&self) -> Shutdown {
        assert!(self.state.main.get().is_none(), "shut_down was called inside of block_on");
        shutdown::shut_down(&self.state)
    }

    /// Asks for an orderly shutdown, from wherever on this thread:
    /// [`block_on`](Executor::block_on) returns [`RunError::ShutDown`] when the
    /// main has ended. A host goes on turning until there is no task left.
    pub fn request_shut_down(&self, reason: impl Into<Cow<'static, str>>) {
        request_shut_down_of(&self.state, reason.into());
    }

    // ---- Reports -------------------------------------------------------------------

    /// Sets the handler, from the next report on.
    #[doc(alias = "set_exception_handler")]
    pub fn set_handler(&self, f: impl FnMut(&Report) -> Verdict + 'static) {
        set_handler(&self.state, Box::new(f));
    }

    /// Queues a report for the handler: for libraries that have something
    /// nobody else will hear.
    #[doc(alias = "call_exception_handler")]
    pub fn report(&self, report: Report) {
        self.state.report(report);
    }

    /// Every live task, the oldest first.
    #[doc(alias = "all_tasks")]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        let youngest_first = self.state.youngest_first();
        youngest_first.iter().rev().map(|task| self.state.info(task.header())).collect()
    }

    /// What every task waits for, as a tree of who spawned whom.
    pub fn dump(&self) -> Dump {
        Dump::of(&self.state)
    }

    /// How many tasks were spawned, and what became of them.
    pub fn ledger(&self) -> Ledger {
        self.state.ledger()
    }
}

/// A main that is not run is dropped.
fn refuse_main<F>(state: &State, main: &mut Parcel<F>) {
    if let Err(panicked) = catch(|| *main = Parcel::Unpacked) {
        let message = "a refused main panicked while it was dropped";
        state.report(Report::make(ReportKind::PanickedInDrop, message).with_panic(panicked));
    }
}

/// A main is being driven. Its stub does not stay in the table without it, also
/// if something unwinds that should not.
struct MainGuard<'a> {
    state: &'a State,
    main: &'a Header,
}

impl<'a> MainGuard<'a> {
    fn new(state: &'a State, main: &'a Header) -> MainGuard<'a> {
        state.main.set(Some(main.id));
        MainGuard { state, main }
    }
}

impl Drop for MainGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.main.set(None);
        if !self.main.is_finished() {
            self.state.abandoned(self.main);
        }
    }
}

fn request_shut_down_of(state: &State, reason: Cow<'static, str>) {
    let _first_one_counts = stop::begin(state, Some(Report::make(ReportKind::Library, reason)));
}

pub(crate) fn set_handler(state: &State, handler: Box<dyn Handler>) {
    state.hears_cancellations.set(true);
    if let Some(old) = state.handler.replace(Some(handler)) {
        state.drop_quietly("a handler panicked while it was dropped", old);
    }
}

/// Says inside of what `function` was called.
#[track_caller]
pub(crate) fn nested(function: &'static str, state: &State) -> Nested {
    let outer = state.main.get().or(state.running.get());
    let outer = outer.and_then(|id: TaskId| state.task(id));
    let outer = outer.map_or(Location::caller(), |task| task.header().location);
    Nested { function, outer }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let state = &self.state;
        if state.in_turn.get() {
            return shutdown::cut_short(state);
        }
        shutdown::last_rites(state, ReportKind::DroppedPending);
        shutdown::leave(state);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("ledger", &self.ledger()).finish_non_exhaustive()
    }
}

impl futures_task::LocalSpawn for Executor {
    #[track_caller]
    fn spawn_local_obj(
        &self,
        future: futures_task::LocalFutureObj<'static, ()>,
    ) -> Result<(), futures_task::SpawnError> {
        match try_spawn_on::<_, Infallible>(&self.state, future, Location::caller()) {
            Ok(task) => {
                task.detach();
                Ok(())
            }
            Err(error) => {
                let message = "a refused future panicked while it was dropped";
                self.state.drop_quietly(message, error.into_future());
                Err(futures_task::SpawnError::shutdown())
            }
        }
    }

    fn status_local(&self) -> Result<(), futures_task::SpawnError> {
        match self.state.phase.get() {
            Phase::Open | Phase::Closing => Ok(()),
            Phase::Closed | Phase::Gone => Err(futures_task::SpawnError::shutdown()),
        }
    }
}

// ---- Free functions ------------------------------------------------------------

/// What the clock of the executor whose turn it is reads.
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
pub fn now() -> Instant {
    state_for("now").now()
}

/// Queues a report for the handler of the executor whose turn it is.
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
pub fn report(report: Report) {
    state_for("report").report(report);
}

/// Asks for an orderly shutdown of the executor whose turn it is:
/// [`Executor::request_shut_down`].
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
pub fn request_shut_down(reason: impl Into<Cow<'static, str>>) {
    request_shut_down_of(&state_for("request_shut_down"), reason.into());
}

#[cfg(test)]
#[path = "../tests/unit/serials.rs"]
mod tests;
