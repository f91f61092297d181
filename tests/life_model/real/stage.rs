//! What the parts of a running program share.

use crate::log::Log;
use crate::program::{HANDLES, Payload, Program, Slot, TIMERS};
use hearken::{CallbackId, Executor, Interrupter, ManualClock, Sleep, Task};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;

/// What everything in a program can reach.
pub struct Stage {
    pub log: RefCell<Log>,
    pub clock: ManualClock,
    /// None from the moment on at which it begins to be dropped.
    pub executor: RefCell<Option<Rc<Executor>>>,
    pub gone: Cell<bool>,
    pub interrupter: RefCell<Option<Interrupter>>,
    pub handles: [RefCell<Option<Handle>>; HANDLES],
    pub timers: [RefCell<Option<Sleep>>; TIMERS],
    pub waker: RefCell<Option<Waker>>,
    /// What was made and not dropped.
    pub made: RefCell<HashMap<u64, Content>>,
    made_ever: Cell<u64>,
    /// Which label the task with this number has.
    labels: RefCell<HashMap<u64, u32>>,
    /// Each future has one.
    pub alive: Rc<()>,
}

pub struct Handle {
    pub task: Task<Made>,
    /// The callback that was added last.
    pub callback: Option<CallbackId>,
}

/// A value, an error, or what is thrown.
///
/// An error has to be `Send`: so what it is stands on the stage.
#[derive(Debug)]
pub struct Made {
    pub id: u64,
    pub label: u32,
}

/// What stands on the stage of it.
pub struct Content {
    pub label: u32,
    pub payload: Payload,
    pub held: Option<Handle>,
}

thread_local! {
    static STAGE: RefCell<Option<Rc<Stage>>> = const { RefCell::new(None) };
}

impl Stage {
    pub fn set_up(program: &Program) -> Rc<Stage> {
        let clock = ManualClock::new();
        clock.set_auto_advance(program.settings.auto);
        let stage = Rc::new(Stage {
            log: RefCell::default(),
            clock,
            executor: RefCell::default(),
            gone: Cell::default(),
            interrupter: RefCell::default(),
            handles: Default::default(),
            timers: Default::default(),
            waker: RefCell::default(),
            made: RefCell::default(),
            made_ever: Cell::default(),
            labels: RefCell::default(),
            alive: Rc::new(()),
        });
        STAGE.set(Some(stage.clone()));
        stage
    }

    /// Takes the log, when all is over. What holds the handle of its own task is
    /// left over in every Rust program, and goes here.
    pub fn clear_away(&self) -> Log {
        let log = self.log.take();
        drop(self.made.take());
        let _same = STAGE.take();
        log
    }

    pub fn here() -> Rc<Stage> {
        STAGE.with_borrow(|stage| stage.clone()).expect("a program is running")
    }

    pub fn say(&self, label: u32, what: impl Into<String>) {
        let now = super::millis(self.clock.now().as_nanos());
        self.log.borrow_mut().say(now, label, what);
    }

    pub fn executor(&self) -> Option<Rc<Executor>> {
        self.executor.borrow().clone()
    }

    /// What should be nothing at the end.
    pub fn left(&self) -> String {
        let futures = Rc::strong_count(&self.alive) - 1;
        format!("{} values and errors, {futures} futures", self.made.borrow().len())
    }

    pub fn name_task(&self, number: u64, label: u32) {
        self.labels.borrow_mut().insert(number, label);
    }

    pub fn label_of(&self, number: u64) -> u32 {
        self.labels.borrow().get(&number).copied().unwrap_or(0)
    }

    pub fn make(&self, label: u32, payload: &Payload) -> Made {
        let id = self.made_ever.get() + 1;
        self.made_ever.set(id);
        let held = payload.holds.and_then(|slot| self.handles[slot].take());
        self.made.borrow_mut().insert(id, Content { label, payload: payload.clone(), held });
        Made { id, label }
    }

    /// What was there before is dropped when nothing is borrowed.
    pub fn put(&self, slot: Slot, handle: Handle) {
        let _before = self.handles[slot].replace(Some(handle));
    }
}
