//! The specification: what a program must say.
//!
//! Plain data and no futures. It knows of cancellation only what a task with at
//! most one scope can meet; all else of that is in `tests/cancellation_model/`.
//!
//! | file | has |
//! | --- | --- |
//! | `outcome.rs` | how tasks end, and what is said of that |
//! | `deeds.rs` | what is done and does not wait |
//! | `tasks.rs` | what a task does at its place in the queue |
//! | `requests.rs` | requests to cancel |
//! | `handles.rs` | who may ask, and what happens when nobody will |
//! | `time.rs` | a sorted map of timers |
//! | `turn.rs` | a turn, in five steps |
//! | `stop.rs` | interrupts, shutdown, the end |

mod deeds;
mod handles;
mod outcome;
mod requests;
mod stop;
mod tasks;
mod time;
mod turn;

use crate::log::Log;
use crate::program::{HANDLES, Host, Moment, Program, Rule, Settings, TIMERS};
use outcome::{Panic, Report};
use requests::Request;
use std::collections::{BTreeMap, VecDeque};
use tasks::Task;
use time::Sleep;
use turn::{Budget, Callback, Entry, Shuffle};

/// What a program says. None if it waits for ever, for another thread that might
/// wake it; or if the library is known to do something else.
pub fn answer(program: &Program) -> Option<Log> {
    let mut world = World::new(program);
    for host in &program.host {
        world.host(host)?;
        world.say_how_things_are();
    }
    world.drop_executor();
    (!world.is_doubtful).then_some(world.log)
}

/// Which task: its place in `World::tasks`.
type TaskAt = usize;

/// The one who may take an outcome. It is dropped by `World::drop_handle`.
#[derive(Debug)]
struct Handle {
    task: TaskAt,
    /// The callback that was added last.
    callback: Option<CallbackNumber>,
}

/// None if the task had ended already: then it cannot be removed.
type CallbackNumber = Option<u64>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Closed,
    Gone,
}

#[derive(Default)]
struct Ledger {
    spawned: u64,
    live: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    retrieved: u64,
    reported: u64,
    ignored: u64,
    held: u64,
    refused: u64,
    /// Not told: dropped unfinished.
    dropped: u64,
}

struct World {
    settings: Settings,
    rules: Vec<Rule>,
    log: Log,
    ledger: Ledger,
    /// All that ever were, also those that were refused.
    tasks: Vec<Task>,
    handles: [Option<Handle>; HANDLES],
    // Who is ready?
    queue: VecDeque<Entry>,
    shuffle: Option<Shuffle>,
    callbacks: VecDeque<Callback>,
    /// Whose waker all can reach.
    waker: Option<TaskAt>,
    /// Who was woken outside of a turn: taken in by the next.
    woken: Vec<TaskAt>,
    in_turn: bool,
    running: Option<TaskAt>,
    /// A task was dropped that the library may poll first.
    is_doubtful: bool,
    // What time is it?
    now: Moment,
    timers: BTreeMap<(Moment, u64), TaskAt>,
    timers_ever: u64,
    sleeps: [Option<Sleep>; TIMERS],
    turns: u64,
    /// In which turn, which task, how often something was ready without a wait.
    at_once: (u64, Option<TaskAt>, u32),
    // What became of it?
    reports: VecDeque<Report>,
    /// How many the default handler has written since that was last said.
    printed: usize,
    /// Values and errors that were made and not dropped.
    made: usize,
    /// A panic goes through the program just now.
    unwinding: bool,
    // How does it end?
    phase: Phase,
    main: Option<TaskAt>,
    requests_ever: u64,
    /// Interrupts that nobody has taken in yet.
    pressed: u32,
    interrupts: u32,
    stop: Option<Report>,
    grace_ends: Option<Moment>,
    request_to_close: Option<Request>,
    asked_up_to: u64,
}

impl World {
    fn new(program: &Program) -> World {
        World {
            settings: program.settings.clone(),
            rules: program.rules.clone(),
            log: Log::default(),
            ledger: Ledger::default(),
            tasks: vec![],
            handles: Default::default(),
            queue: VecDeque::new(),
            shuffle: program.settings.shuffle.map(Shuffle::new),
            callbacks: VecDeque::new(),
            waker: None,
            woken: vec![],
            in_turn: false,
            running: None,
            is_doubtful: false,
            now: 0,
            timers: BTreeMap::new(),
            timers_ever: 0,
            sleeps: Default::default(),
            turns: 0,
            at_once: (0, None, 0),
            reports: VecDeque::new(),
            printed: 0,
            made: 0,
            unwinding: false,
            phase: Phase::Open,
            main: None,
            requests_ever: 0,
            pressed: 0,
            interrupts: 0,
            stop: None,
            grace_ends: None,
            request_to_close: None,
            asked_up_to: 0,
        }
    }

    fn say(&mut self, label: u32, what: impl Into<String>) {
        self.log.say(self.now, label, what);
    }

    /// None if it waits for ever.
    fn host(&mut self, host: &Host) -> Option<()> {
        match host {
            Host::Do(deed) => {
                if let Err(panic) = self.deed(deed) {
                    self.host_panicked(panic);
                }
            }
            Host::Turn => self.say_turn(Budget::Batch),
            Host::Polls(most) => self.say_turn(Budget::Polls(*most)),
            Host::Until(by) => self.say_turn(Budget::Until(self.now + by)),
            Host::RunUntilIdle => self.run_until_idle(),
            Host::Advance(by) => self.now += by,
            Host::BlockOn(body) => self.block_on(body)?,
            Host::ShutDown => self.shut_down()?,
        }
        Some(())
    }

    fn host_panicked(&mut self, panic: Panic) {
        self.say(0, format!("the host panicked: {}", panic.message()));
        self.drop_panic(panic);
    }

    fn say_what_was_printed(&mut self) {
        let printed = std::mem::take(&mut self.printed);
        if printed > 0 && self.settings.reads_stderr {
            self.say(0, format!("printed: {printed}"));
        }
    }

    fn say_how_things_are(&mut self) {
        self.say_what_was_printed();
        let Ledger { spawned, live, succeeded, failed, cancelled, .. } = self.ledger;
        let Ledger { retrieved, reported, ignored, held, refused, .. } = self.ledger;
        assert_eq!(spawned, live + succeeded + failed + cancelled);
        assert_eq!(failed, retrieved + reported + ignored + held);
        let next = self.next_deadline();
        self.say(
            0,
            format!(
                "{spawned} = {live} + {succeeded} + {failed} + {cancelled}; \
                 {failed} = {retrieved} + {reported} + {ignored} + {held}; {refused}; {next:?}"
            ),
        );
    }
}
