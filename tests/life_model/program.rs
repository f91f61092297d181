//! Programs as plain data: what a host does, and what its tasks do.
//!
//! The host does one thing after the other: it takes turns, moves the clock,
//! blocks on a main, shuts down. A task is a [`Body`] of [`Step`]s, some of
//! which wait. What does not wait is a [`Deed`], and a deed can be done anywhere:
//! by the host, in a poll, in a drop, in a callback, in the handler.
//!
//! Handles and timers lie in numbered *slots* that all can reach. What is put
//! where something lies already drops that.
//!
//! The same data is interpreted twice: by the specification (`model/`) and on the
//! library (`real/`). Each line that is said begins with the label of the deed or
//! step that says it; a task is known by the label of its body.

/// Milliseconds since the clock began.
pub type Moment = u64;

/// Where a handle lies, or a timer.
pub type Slot = usize;

pub const HANDLES: usize = 4;
pub const TIMERS: usize = 2;

/// A whole program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub settings: Settings,
    /// What the handler does.
    pub rules: Vec<Rule>,
    /// After the last of these the executor is dropped, and then what lies in the
    /// slots.
    pub host: Vec<Host>,
}

/// What the builder is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub grace: Option<Moment>,
    /// Whether the clock jumps by itself.
    pub auto: bool,
    pub closed_world: bool,
    pub debug: bool,
    pub max_tasks: usize,
    /// The order within a batch is drawn from this.
    pub shuffle: Option<u64>,
    /// It has no handler of its own.
    pub default_handler: bool,
    /// What the default handler writes is read, and counted.
    pub reads_stderr: bool,
}

/// The first report of this kind makes the handler do this. Each rule is used
/// once, if it is not to be used `always`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub kind: Kind,
    pub deeds: Vec<Deed>,
    pub verdict: Verdict,
    pub always: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    ShutDown,
    Ignore,
}

/// What a report is about: the names are those of `hearken::ReportKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NeverRetrieved,
    Cancelled,
    CallbackPanicked,
    FailedDuringShutdown,
    Overran,
    DroppedPending,
    StillHeld,
    Interrupted,
    IgnoredCancellation,
    PanickedInDrop,
    Refused,
    Library,
}

/// What the host does, outside of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    Do(Deed),
    /// `turn(Budget::Batch)`
    Turn,
    /// `turn(Budget::Polls(..))`
    Polls(usize),
    /// `turn(Budget::Until(now + ..))`
    Until(Moment),
    RunUntilIdle,
    /// The clock is moved on.
    Advance(Moment),
    BlockOn(Body),
    ShutDown,
}

/// Something that is done and does not wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    pub label: u32,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Say,
    /// `slot = spawn(body)`
    Spawn(Slot, Box<Body>),
    /// `slot = try_spawn(body)?`
    TrySpawn(Slot, Box<Body>),
    /// `slot.cancel()`
    Cancel(Slot),
    /// `current().cancel()`: only in a poll.
    CancelSelf,
    /// `drop(slot)`
    Drop(Slot),
    /// `slot.ignore()`
    Ignore(Slot),
    /// `slot.take()`
    Take(Slot),
    /// `slot.result()`
    Result(Slot),
    /// `slot.error()`
    Error(Slot),
    /// `slot.on_done(|finished| { if looks { finished.error() } deeds })`
    OnDone {
        slot: Slot,
        looks: bool,
        deeds: Vec<Deed>,
    },
    /// `slot.remove_on_done(..)` of the callback that was added last.
    RemoveOnDone(Slot),
    /// `interrupter.interrupt()`
    Interrupt,
    /// `request_shut_down(..)`
    RequestShutDown,
    /// `report(Report::new(payload))`
    Report(Payload),
    /// `timer.reset(now + ..)`
    ResetTimer(Slot, Moment),
    /// `drop(timer)`
    DropTimer(Slot),
    /// Wakes the task that has given its waker last, for nothing.
    Wake,
    /// The same, by another thread, which is waited for.
    WakeElsewhere,
    /// `panic!(..)`; not while something unwinds.
    Panic,
}

/// A value, an error, or what is thrown: it says when it is dropped, and what it
/// does then. A panic is one of its deeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    pub on_drop: Vec<Deed>,
    /// It takes the handle from this slot when it is made, and has it to its end.
    pub holds: Option<Slot>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub label: u32,
    /// Done when the task's locals are dropped, last of all.
    pub guard: Vec<Deed>,
    pub inside: Vec<Step>,
    /// With one, `inside` stands in a `scope`.
    pub cleanup: Option<CleanUp>,
}

/// What comes after the scope, when the task was asked to cancel in it.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanUp {
    pub steps: Vec<Step>,
    pub after: After,
}

/// What becomes of the token after the clean-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// `Err(token)?`
    Return,
    /// `token.accept()`, and a value.
    Accept,
    /// `drop(token)`, and a value.
    Drop,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub label: u32,
    pub wait: Wait,
}

/// What a task does next, and awaits.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    Do(Act),
    /// `yield_now().await`
    Yield,
    /// `sleep(..).await`
    Sleep(Moment),
    /// `shield(sleep(..)).await`
    Shield(Moment),
    /// `pending().await`
    Pending,
    /// `slot.await`; with `pass_on`, `slot.await?`.
    Await {
        slot: Slot,
        pass_on: bool,
    },
    /// `(&mut slot).await`: the handle stays where it lies, and others can reach it.
    AwaitHere(Slot),
    /// Polls the handle once, which stays in its slot or is dropped.
    PollOnce {
        slot: Slot,
        keeps: bool,
    },
    /// It puts its waker where all can reach it.
    GiveWaker,
    /// `timer = sleep(..)`
    NewTimer(Slot, Moment),
    /// Awaits the timer where it lies, for as long as there is one.
    AwaitTimer(Slot),
    /// Polls the timer once.
    PollTimer(Slot),
    /// `let mut ticks = interval(period)?; for _ in 0..count { ticks.tick().await; }`
    Ticks {
        period: Moment,
        count: u32,
        missed: Missed,
    },
    /// The end: `return Ok(..)`
    Value(Payload),
    /// `return Err(..)`
    Fail(Payload),
    /// `panic_any(..)`
    Throw(Payload),
}

/// `hearken::MissedTicks`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missed {
    Burst,
    Delay,
    Skip,
}

// ---- Labels --------------------------------------------------------------------

impl Program {
    /// Labels all that can say something, from one on, in the order in which it
    /// stands.
    pub fn numbered(mut self) -> Program {
        let mut next = 1;
        for host in &mut self.host {
            match host {
                Host::Do(deed) => deed.number(&mut next),
                Host::BlockOn(body) => body.number(&mut next),
                _ => {}
            }
        }
        for rule in &mut self.rules {
            number_all(&mut rule.deeds, &mut next);
        }
        self
    }
}

fn take(next: &mut u32) -> u32 {
    *next += 1;
    *next - 1
}

fn number_all(deeds: &mut [Deed], next: &mut u32) {
    deeds.iter_mut().for_each(|deed| deed.number(next));
}

impl Deed {
    fn number(&mut self, next: &mut u32) {
        self.label = take(next);
        self.act.number(next);
    }
}

impl Act {
    fn number(&mut self, next: &mut u32) {
        match self {
            Act::Spawn(_, body) | Act::TrySpawn(_, body) => body.number(next),
            Act::OnDone { deeds, .. } => number_all(deeds, next),
            Act::Report(payload) => number_all(&mut payload.on_drop, next),
            _ => {}
        }
    }
}

impl Body {
    fn number(&mut self, next: &mut u32) {
        self.label = take(next);
        number_all(&mut self.guard, next);
        self.inside.iter_mut().for_each(|step| step.number(next));
        let cleanup = self.cleanup.iter_mut();
        cleanup.flat_map(|cleanup| &mut cleanup.steps).for_each(|step| step.number(next));
    }
}

impl Step {
    fn number(&mut self, next: &mut u32) {
        self.label = take(next);
        match &mut self.wait {
            Wait::Do(act) => act.number(next),
            Wait::Value(payload) | Wait::Fail(payload) | Wait::Throw(payload) => {
                number_all(&mut payload.on_drop, next);
            }
            _ => {}
        }
    }
}
