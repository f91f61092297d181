//! What the loop and running code share: one desk for each executor.
//!
//! Here stand the table of tasks, the run queue, the wheel, the clock, the
//! reports on their way and the ledger. The loop (`turn.rs`) works at this desk
//! during a turn; a task that spawns, sleeps or cancels comes here through
//! `current.rs`; a handle, which may outlive its executor, holds on to it.
//!
//! # Invariants
//!
//! - **No borrow is held while foreign code runs.** Foreign code is a future's
//!   `poll` or `drop`, an output's `drop`, a handler, a callback, a clock,
//!   somebody else's waker. Each method takes out what it needs, ends the
//!   borrow, and then calls.
//! - **Only the loop calls the handler.** Everybody else queues.

use crate::clock::{Instant, Timepiece};
use crate::counted::{Pool, TaskRc};
use crate::descent::Descent;
use crate::discards::Discards;
use crate::header::{Callback, Header, Queued, Rare};
use crate::id::{MOST_TASKS, Name, TaskId, Ticket};
use crate::inbox::Lodging;
use crate::life::{Ending, Life};
use crate::outcome::catch;
use crate::pages::Pages;
use crate::region::Members;
use crate::report::{DefaultHandler, Handler, Report, ReportKind, TaskInfo, TaskState};
use crate::request::{Request, Why};
use crate::run_queue::RunQueue;
use crate::table::Table;
use crate::wheel::{TimerKey, Waits, Wheel, Whom};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::mem::replace;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Whether the executor still takes tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Open,
    /// Being shut down: what is spawned is run, and cancelled in its turn.
    Closing,
    Closed,
    /// The executor was dropped; only handles are left.
    Gone,
}

/// What the builder was told.
pub(crate) struct Settings {
    pub(crate) grace: Option<Duration>,
    pub(crate) slow_poll: Option<Duration>,
    pub(crate) max_tasks: u32,
    pub(crate) closed_world: bool,
    pub(crate) debug: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            grace: Some(Duration::from_secs(5)),
            slow_poll: None,
            max_tasks: MOST_TASKS as u32,
            closed_world: false,
            debug: false,
        }
    }
}

pub(crate) struct State {
    // Who is ready?
    pub(crate) number: u16,
    /// Tells this executor from all others, past ones too.
    pub(crate) identity: u64,
    pub(crate) inbox: Lodging,
    pub(crate) table: RefCell<Table>,
    /// What tasks that are gone have left to the next.
    pub(crate) pool: Pool,
    #[allow(clippy::vec_box)] // it is the boxes that are kept
    spare_rares: RefCell<Vec<Box<Rare>>>,
    pub(crate) callbacks: RefCell<VecDeque<Callback>>,
    // What time is it?
    pub(crate) wheel: RefCell<Wheel>,
    pub(crate) clock: Timepiece,
    latest: Cell<Instant>,
    // Who is told of a cancellation?
    /// What surrounds the future that is being polled, and was met inside of it.
    pub(crate) descent: Descent,
    /// Those who are polled by wakers of their own.
    pub(crate) members: RefCell<Members>,
    pub(crate) requests_ever: Cell<u64>,
    /// Why something in this task is being dropped.
    pub(crate) dropping: Cell<Option<(TaskId, Why)>>,
    // What became of it?
    pub(crate) discards: Discards,
    reports: RefCell<VecDeque<Report>>,
    pub(crate) handler: Cell<Option<Box<dyn Handler>>>,
    /// The default handler is silent about cancellations: don't make those.
    pub(crate) hears_cancellations: Cell<bool>,
    pub(crate) held: RefCell<Pages<TaskRc>>,
    pub(crate) counts: Counts,
    // Whose turn is it?
    pub(crate) running: Cell<Option<TaskId>>,
    pub(crate) in_turn: Cell<bool>,
    /// How many turns there have been.
    pub(crate) turns: Cell<u64>,
    pub(crate) phase: Cell<Phase>,
    /// The main of the `block_on` that is going on.
    pub(crate) main: Cell<Option<TaskId>>,
    /// Interrupts that the handler did not swallow.
    pub(crate) interrupts: Cell<u32>,
    /// The report because of which the executor is being shut down.
    pub(crate) stop: Cell<Option<Report>>,
    /// When the grace of the shutdown is over.
    pub(crate) grace_ends: Cell<Option<Instant>>,
    /// What the shutdown asks.
    pub(crate) request_to_close: OnceCell<Request>,
    /// The slots of those who have been spawned since the shutdown began, and whom it
    /// has not asked yet.
    pub(crate) newcomers: RefCell<Vec<u32>>,
    /// In which turn and task something of the library's was ready without having
    /// waited, and how often.
    at_once: Cell<(u64, Option<TaskId>, u32)>,
    /// Room for those whose timers are due, kept from turn to turn.
    pub(crate) due: Cell<Vec<Whom>>,
    pub(crate) settings: Settings,
}

/// How many boxes are kept for the rare things of tasks to come.
const MOST_SPARES: usize = 4096;
const MOST_SPARES_WHEN_IDLE: usize = 256;
/// Room for so many callbacks is kept when there is none.
const MOST_CALLBACKS: usize = 1024;

/// The ledger's figures, each counted where it happens; the table counts who
/// was spawned and who is live. `held` is counted too, not computed from the
/// rest: otherwise it would always balance.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) succeeded: Cell<u64>,
    pub(crate) failed: Cell<u64>,
    pub(crate) cancelled: Cell<u64>,
    pub(crate) retrieved: Cell<u64>,
    pub(crate) reported: Cell<u64>,
    pub(crate) ignored: Cell<u64>,
    pub(crate) held: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    /// Of the cancelled, those that were dropped unfinished. Not in the ledger.
    pub(crate) dropped: Cell<u64>,
}

pub(crate) fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl State {
    #[inline(always)] // so that it is made where it stays: it is large
    pub(crate) fn new(
        inbox: Lodging,
        queue: RunQueue,
        clock: Timepiece,
        settings: Settings,
    ) -> State {
        State {
            number: inbox.number,
            identity: inbox.tenant,
            inbox,
            table: RefCell::new(Table::new(queue)),
            pool: Pool::new(),
            spare_rares: RefCell::default(),
            callbacks: RefCell::default(),
            wheel: RefCell::default(),
            clock,
            latest: Cell::new(Instant::ZERO),
            descent: Descent::default(),
            members: RefCell::default(),
            requests_ever: Cell::new(0),
            dropping: Cell::new(None),
            discards: Discards::default(),
            reports: RefCell::default(),
            handler: Cell::new(None),
            hears_cancellations: Cell::new(false),
            held: RefCell::default(),
            counts: Counts::default(),
            running: Cell::new(None),
            in_turn: Cell::new(false),
            turns: Cell::new(0),
            phase: Cell::new(Phase::Open),
            main: Cell::new(None),
            interrupts: Cell::new(0),
            stop: Cell::new(None),
            grace_ends: Cell::new(None),
            request_to_close: OnceCell::new(),
            newcomers: RefCell::default(),
            at_once: Cell::default(),
            due: Cell::default(),
            settings,
        }
    }

    /// Tells a host that was told otherwise that there is something to do. Of
    /// no use, and not done, during a turn: it ends by looking.
    #[inline]
    pub(crate) fn rouse(&self) {
        if !self.in_turn.get() && self.phase.get() != Phase::Gone {
            self.inbox.rouse();
        }
    }
}

// ---- Who is ready? -----------------------------------------------------------

impl State {
    /// Wakes a task on the executor's own thread.
    #[inline]
    pub(crate) fn wake(&self, ticket: Ticket) {
        self.table.borrow_mut().wake(ticket);
    }

    pub(crate) fn task(&self, id: TaskId) -> Option<TaskRc> {
        self.table.borrow().get(id).cloned()
    }

    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.table.borrow().live()
    }

    /// Every live task, the youngest first.
    pub(crate) fn youngest_first(&self) -> Vec<TaskRc> {
        self.table.borrow().youngest_first()
    }

    /// Somebody is about to be spawned who is not let in, or comes late. False if he
    /// is not let in.
    #[cold]
    #[inline(never)]
    pub(crate) fn lets_in(&self) -> bool {
        match self.phase.get() {
            Phase::Open => {}
            // If there is no room for him, his slot is the next one's, or nobody's.
            Phase::Closing => {
                let slot = self.table.borrow_mut().next_slot();
                self.newcomers.borrow_mut().push(slot);
            }
            Phase::Closed | Phase::Gone => {
                self.count_refused();
                return false;
            }
        }
        true
    }

    /// Puts a new task into the table and into the queue, if there is room: see
    /// [`Table::enroll`]. `make` must not call foreign code.
    #[inline]
    pub(crate) fn enroll<R>(&self, make: impl FnOnce(TaskId) -> (TaskRc, R)) -> Option<R> {
        let mut table = self.table.borrow_mut();
        if table.live() >= self.settings.max_tasks as usize {
            return None;
        }
        let answer = table.enroll(make);
        drop(table);
        self.rouse();
        Some(answer)
    }

    pub(crate) fn push_callback(&self, callback: Callback) {
        if self.phase.get() == Phase::Gone {
            // Nobody will ever call it.
            return self.drop_quietly("a callback panicked while it was dropped", callback);
        }
        self.callbacks.borrow_mut().push_back(callback);
        self.table.borrow_mut().push_callback();
        self.rouse();
    }

    pub(crate) fn next_callback(&self) -> Option<Callback> {
        let mut callbacks = self.callbacks.borrow_mut();
        let callback = callbacks.pop_front();
        if callbacks.is_empty() {
            callbacks.shrink_to(MOST_CALLBACKS); // what a crowd needed goes back
        }
        callback
    }

    /// Gives a task that is about to have something rare the box for it, if
    /// one is at hand.
    pub(crate) fn lend_rare(&self, header: &Header) {
        if !header.has_rare()
            && let Some(spare) = self.spare_rares.borrow_mut().pop()
        {
            header.put_back(spare);
        }
    }

    /// A task is gone: keeps the box of its rare things, if it has one.
    #[inline]
    pub(crate) fn keep_rare(&self, header: &Header) {
        if let Some(rare) = header.take_rare() {
            self.keep_rare_box(rare);
        }
    }

    #[inline(never)]
    fn keep_rare_box(&self, mut rare: Box<Rare>) {
        rare.clear(); // nothing foreign is left: a callback would hold its task
        let mut spares = self.spare_rares.borrow_mut();
        if spares.len() < MOST_SPARES {
            spares.push(rare);
        }
    }

    /// Gives memory back when there is little to do.
    pub(crate) fn shrink(&self) {
        self.table.borrow_mut().shrink();
        self.pool.shrink();
        let mut spares = self.spare_rares.borrow_mut();
        if spares.len() > MOST_SPARES_WHEN_IDLE {
            let half = spares.len() / 2;
            spares.truncate(half);
            spares.shrink_to(half);
        }
    }
}

// ---- What time is it? -----------------------------------------------------------

impl State {
    /// Reads the clock. It never goes backwards here.
    pub(crate) fn now(&self) -> Instant {
        match catch(|| self.clock.now()) {
            Ok(now) => self.latest.set(self.latest.get().max(now)),
            Err(panicked) => self.clock_panicked(panicked),
        }
        self.latest.get()
    }

    /// What the clock read when somebody last looked.
    pub(crate) fn latest(&self) -> Instant {
        self.latest.get()
    }

    /// Goes to `deadline` if the clock will. Answers by how far.
    pub(crate) fn jump_to(&self, deadline: Instant) -> Option<Duration> {
        let before = self.latest.get();
        match catch(|| self.clock.jump_to(deadline)) {
            Ok(true) => Some(self.now() - before).filter(|by| !by.is_zero()),
            Ok(false) => None,
            Err(panicked) => {
                self.clock_panicked(panicked);
                None
            }
        }
    }

    pub(crate) fn clock_panicked(&self, panicked: crate::outcome::Panicked) {
        let report = Report::make(
            ReportKind::CallbackPanicked,
            "the clock panicked, and is taken to stand still",
        );
        self.report(report.with_panic(panicked));
    }

    #[inline]
    pub(crate) fn has_timers(&self) -> bool {
        !self.wheel.borrow().is_idle()
    }

    /// Whether a host that sleeps until the next deadline is to be told of this one. It
    /// is told when the timer is set, since it may take a turn on the spot, and say then
    /// how long it sleeps.
    #[inline(never)]
    fn is_before_all(&self, deadline: Instant) -> bool {
        let next = self.wheel.borrow_mut().next_deadline();
        next.is_none_or(|next| deadline < next)
    }

    /// Sets a timer that wakes `whom`.
    #[inline(always)] // of a sleep that is set and dropped it is a sixteenth
    pub(crate) fn set_timer(&self, deadline: Instant, whom: Whom) -> TimerKey {
        let is_earlier = !self.in_turn.get() && self.is_before_all(deadline);
        let key = self.wheel.borrow_mut().insert(deadline, whom);
        if is_earlier {
            self.rouse();
        }
        key
    }

    /// Gives a timer another deadline; who waits stays the same. None if it has
    /// fired, so that nobody waits: its next poll sets it anew.
    pub(crate) fn reset_timer(&self, key: TimerKey, deadline: Instant) -> Option<TimerKey> {
        let is_earlier = !self.in_turn.get()
            && !self.wheel.borrow().has_fired(&key)
            && self.is_before_all(deadline);
        if self.wheel.borrow_mut().reset(&key, deadline) {
            if is_earlier {
                self.rouse();
            }
            return Some(key);
        }
        self.remove_timer(key);
        None
    }

    /// Whether a timer has fired; if not, it wakes that waker, whose name this
    /// is, if it is known.
    #[inline(always)] // a call costs `deadline` 2 %
    pub(crate) fn poll_timer(&self, key: &TimerKey, name: Option<Name>, waker: &Waker) -> Poll<()> {
        let waits = self.wheel.borrow().waits(key, name, waker);
        match waits {
            Waits::No => return Poll::Ready(()),
            Waits::Yes => {}
            Waits::Another => {
                let whom = Whom::of(name, waker); // foreign: no borrow is held
                let replaced = self.wheel.borrow_mut().set_whom(key, whom);
                if let Some(Whom::Other(waker)) = replaced {
                    self.drop_waker(waker);
                }
            }
        }
        Poll::Pending
    }

    #[inline]
    pub(crate) fn remove_timer(&self, key: TimerKey) {
        let waker = self.wheel.borrow_mut().remove(key);
        if let Some(waker) = waker {
            self.drop_waker(waker); // after the borrow: it is foreign
        }
    }

    /// Whether what is ready without having waited may say so to the task that is
    /// being polled: so often a turn. Otherwise a loop around it (a late interval,
    /// a sleep of zero) would never suspend, and nobody else had a turn.
    #[inline(never)]
    pub(crate) fn goes_on_at_once(&self, most: u32) -> bool {
        let (turn, running) = (self.turns.get(), self.running.get());
        let (last_turn, task, times) = self.at_once.get();
        let times = if (last_turn, task) == (turn, running) { times } else { 0 };
        self.at_once.set((turn, running, times + 1));
        times < most || running.is_none()
    }
}

// ---- What became of it? -------------------------------------------------------

impl State {
    /// Queues a report for the handler. When the executor is gone there is none
    /// to be called, nor a loop to call it: the default one hears of it now.
    pub(crate) fn report(&self, report: Report) {
        if self.phase.get() == Phase::Gone {
            return report_to_default(report);
        }
        self.reports.borrow_mut().push_back(report);
        self.rouse();
    }

    /// Drops something foreign, which may panic. No borrow may be held.
    ///
    /// Each for itself: of two that panic in one `Vec`, the second is a panic
    /// while unwinding, which ends the process.
    pub(crate) fn drop_quietly<T>(&self, panicked: &'static str, foreign: T) {
        if let Err(panic) = catch(|| drop(foreign)) {
            self.report(Report::make(ReportKind::PanickedInDrop, panicked).with_panic(panic));
        }
    }

    /// Drops a waker that may be anybody's.
    #[inline(never)]
    pub(crate) fn drop_waker(&self, waker: Waker) {
        self.drop_quietly("a waker panicked while it was dropped", waker);
    }

    /// How many reports are queued.
    pub(crate) fn reports(&self) -> usize {
        self.reports.borrow().len()
    }

    pub(crate) fn next_report(&self) -> Option<Report> {
        let mut reports = self.reports.borrow_mut();
        let report = reports.pop_front();
        if reports.is_empty() {
            *reports = VecDeque::new(); // what a crowd needed goes back
        }
        report
    }

    #[inline]
    pub(crate) fn has_reports(&self) -> bool {
        !self.reports.borrow().is_empty()
    }

    /// What is known of a task now.
    pub(crate) fn info(&self, header: &Header) -> TaskInfo {
        let state = match header.life.get() {
            Life::Polling | Life::PollingCancelRequested | Life::Dropping => TaskState::Running,
            Life::Ended(Ending::Succeeded) => TaskState::Succeeded,
            Life::Ended(Ending::Failed) => TaskState::Failed,
            Life::Ended(Ending::Panicked) => TaskState::Panicked,
            Life::Ended(Ending::Cancelled) => TaskState::Cancelled,
            _ if header.queued.get() != Queued::No => TaskState::Ready,
            _ => TaskState::Waiting,
        };
        TaskInfo {
            id: header.id,
            name: header.name(),
            location: header.location,
            state,
            parent: header.parent,
            polls: header.polls.get(),
        }
    }
}

/// When there is no loop any more, nor a handler of the program's: the default
/// one hears.
fn report_to_default(report: Report) {
    DefaultHandler.handle(&report);
    // Its error is foreign.
    if let Err(panicked) = catch(|| drop(report)) {
        let message = "the error of a report panicked while it was dropped";
        let report = Report::make(ReportKind::PanickedInDrop, message);
        DefaultHandler.handle(&report.with_panic(panicked));
    }
}

/// A clock that was given is foreign, and may panic when it is dropped.
impl Drop for State {
    fn drop(&mut self) {
        let nobodys = Timepiece::Machine(OnceCell::new());
        if let Timepiece::Given(clock) = replace(&mut self.clock, nobodys)
            && let Err(panicked) = catch(|| drop(clock))
        {
            let message = "a clock panicked while it was dropped";
            let report = Report::make(ReportKind::PanickedInDrop, message);
            DefaultHandler.handle(&report.with_panic(panicked));
        }
    }
}
