//! Wakes from everywhere against what is owed to whom, on inputs that libFuzzer makes.
//!
//! Two executors stand side by side. Their tasks do nothing but leave their wakers in one
//! heap, and do *deeds*: clone a waker of the heap, wake by it, drop it, end or cancel a
//! task, spawn one. A deed is done by a host, in a poll, or in the drop of a future, also
//! while the executor is dropped; and some of them by another thread, which is handed
//! them and waited for, so that an input does the same each time.
//!
//! The model is a list of who is owed a poll. Whoever was woken since his last poll began
//! is polled in the next turn. Nobody is polled who was not woken, but for what 7.2 allows:
//! a wake that came by way of the inbox is for whoever has the slot, so a stale waker, or
//! one that came while its task was queued, gives one poll more.

#![no_main]

#[path = "wakes/house.rs"]
mod house;
#[path = "wakes/thread.rs"]
mod thread;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use hearken::{Budget, Next, Task, sleep};
use house::House;
use libfuzzer_sys::fuzz_target;
use thread::{Deed, elsewhere};

/// More are not spawned, or held, at a time.
const MOST_TASKS: usize = 24;
const MOST_WAKERS: usize = 48;
/// In one input: each costs as much as a hundred polls.
const MOST_VISITS: usize = 12;

struct World {
    /// What is to be done, last byte first.
    input: RefCell<Vec<u8>>,
    tasks: RefCell<Vec<Sleeper>>,
    houses: [RefCell<House>; 2],
    wakers: RefCell<Vec<Waker>>,
    /// In whose turn we are.
    inside: Cell<Option<usize>>,
    visits: Cell<usize>,
    spawned: Cell<usize>,
}

/// A task, as long as its future is there.
struct Sleeper {
    number: usize,
    house: usize,
    task: Task<()>,
    waker: Option<Waker>,
    /// It has a place in the queue, for all that the model knows.
    queued: bool,
    /// It was woken since its last poll began.
    owed: bool,
    over: bool,
    cancelled: bool,
    polled_in_turn: bool,
}

/// What a waker says: which executor, which slot, and the low bits of which task.
fn name_of(waker: &Waker) -> u64 {
    waker.data().addr() as u64
}

fn slot_of(name: u64) -> (u16, u32) {
    ((name >> 48) as u16, (name & 0xff_ffff) as u32)
}

/// In the future of a task.
struct Bed {
    world: Rc<World>,
    number: usize,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.world.tasks.borrow_mut().retain(|sleeper| sleeper.number != self.number);
        self.world.some_deeds();
    }
}

impl World {
    fn byte(&self) -> usize {
        self.input.borrow_mut().pop().map_or(0, usize::from)
    }

    fn spawn(self: &Rc<World>, house: usize) {
        let Some(executor) = self.houses[house].borrow().executor() else { return };
        let number = self.spawned.get();
        self.spawned.set(number + 1);
        let bed = Bed { world: self.clone(), number };
        let sleep = async move {
            poll_fn(|cx| bed.world.polled(bed.number, cx.waker())).await;
            Ok(())
        };
        let task = executor.spawn(sleep);
        self.tasks.borrow_mut().push(Sleeper {
            number,
            house,
            task,
            waker: None,
            queued: true,
            owed: true,
            over: false,
            cancelled: false,
            polled_in_turn: false,
        });
    }

    fn polled(self: &Rc<World>, number: usize, waker: &Waker) -> Poll<()> {
        let is_over = {
            let mut tasks = self.tasks.borrow_mut();
            let sleeper = tasks.iter_mut().find(|sleeper| sleeper.number == number);
            let sleeper = sleeper.expect("it is there while it is polled");
            assert_eq!(self.inside.get(), Some(sleeper.house), "{number} in another's turn");
            assert!(!sleeper.cancelled, "{number} is polled although it is cancelled");
            let mut house = self.houses[sleeper.house].borrow_mut();
            let name = name_of(waker);
            house.has_number(slot_of(name).0);
            let before = sleeper.waker.replace(waker.clone());
            assert!(before.is_none_or(|before| before.will_wake(waker)), "{number}");
            match house.is_in_one_turn {
                true => assert!(!sleeper.polled_in_turn, "{number} twice in a turn"),
                false if sleeper.queued => {}
                false => sleeper.queued = house.takes_in(slot_of(name)),
            }
            assert!(sleeper.queued, "{number} is polled, and nobody has woken it");
            (sleeper.queued, sleeper.owed, sleeper.polled_in_turn) = (false, false, true);
            sleeper.over
        };
        self.hold(waker.clone());
        self.some_deeds();
        match is_over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn hold(&self, waker: Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() < MOST_WAKERS {
            wakers.push(waker);
        }
    }

    fn a_waker(&self) -> Option<Waker> {
        let (which, mut wakers) = (self.byte(), self.wakers.borrow_mut());
        let held = wakers.len();
        (held > 0).then(|| wakers.swap_remove(which % held))
    }

    // ---- Deeds --------------------------------------------------------------------

    fn some_deeds(self: &Rc<World>) {
        for _ in 0..self.byte() % 4 {
            self.deed();
        }
    }

    fn deed(self: &Rc<World>) {
        match self.byte() % 13 {
            what @ 0..5 => {
                let Some(waker) = self.a_waker() else { return };
                let deed = Deed::of(what);
                self.notes(deed, name_of(&waker), self.inside.get());
                deed.on(waker).into_iter().for_each(|waker| self.hold(waker));
            }
            5 => self.visits_thread(),
            6 => self.with_a_task(|sleeper| {
                sleeper.over = true;
                sleeper.waker.clone()
            }),
            7 => self.with_a_task(|sleeper| sleeper.waker.clone()),
            8 => self.cancels(),
            9 | 10 => self.hold_one_of_a_task(),
            11 if self.tasks.borrow().len() < MOST_TASKS => self.spawn(self.byte() % 2),
            _ => {}
        }
    }

    /// Wakes a task by its own waker, unless it has none yet.
    fn with_a_task(&self, does: impl FnOnce(&mut Sleeper) -> Option<Waker>) {
        let which = self.byte();
        let waker = {
            let mut tasks = self.tasks.borrow_mut();
            let count = tasks.len();
            (count > 0).then(|| does(&mut tasks[which % count])).flatten()
        };
        if let Some(waker) = waker {
            self.notes(Deed::Wake, name_of(&waker), self.inside.get());
            waker.wake();
        }
    }

    fn hold_one_of_a_task(&self) {
        let which = self.byte();
        let tasks = self.tasks.borrow();
        let waker = tasks.get(which % tasks.len().max(1)).and_then(|task| task.waker.clone());
        drop(tasks);
        waker.into_iter().for_each(|waker| self.hold(waker));
    }

    fn cancels(&self) {
        let which = self.byte();
        let mut tasks = self.tasks.borrow_mut();
        let count = tasks.len();
        if count > 0 {
            let sleeper = &mut tasks[which % count];
            sleeper.task.cancel();
            (sleeper.cancelled, sleeper.queued) = (true, true);
        }
    }

    /// Some deeds by the other thread.
    fn visits_thread(&self) {
        let mut errands = Vec::new();
        for _ in 0..1 + self.byte() % 6 {
            let deed = Deed::of(self.byte());
            errands.extend(self.a_waker().map(|waker| (deed, waker)));
        }
        self.visits.set(self.visits.get() + 1);
        if self.visits.get() > MOST_VISITS {
            return errands.into_iter().for_each(|(_, waker)| self.hold(waker));
        }
        for (deed, waker) in &errands {
            self.notes(*deed, name_of(waker), None);
        }
        elsewhere(errands).into_iter().for_each(|waker| self.hold(waker));
    }

    /// What a deed means for those whom it may wake.
    fn notes(&self, deed: Deed, name: u64, inside: Option<usize>) {
        if !deed.wakes() {
            return;
        }
        let slot = slot_of(name);
        let is_direct = inside.is_some_and(|house| self.houses[house].borrow().number() == slot.0);
        let mut tasks = self.tasks.borrow_mut();
        let is_of = |sleeper: &&mut Sleeper| {
            sleeper.waker.as_ref().is_some_and(|waker| name_of(waker) == name)
        };
        if let Some(sleeper) = tasks.iter_mut().find(is_of) {
            sleeper.owed = true;
            sleeper.queued |= is_direct;
            let mut house = self.houses[sleeper.house].borrow_mut();
            house.is_called |= inside != Some(sleeper.house);
        }
        if !is_direct {
            self.houses.iter().for_each(|house| house.borrow_mut().has_mail(slot));
        }
    }

    // ---- What a host does -----------------------------------------------------------

    /// Who has a place in the queue as a turn begins, or is in the inbox.
    fn begins(&self, at: usize, is_one_turn: bool) -> Vec<usize> {
        let mut house = self.houses[at].borrow_mut();
        house.begins(is_one_turn);
        let mut tasks = self.tasks.borrow_mut();
        for sleeper in tasks.iter_mut().filter(|sleeper| sleeper.house == at) {
            sleeper.polled_in_turn = false;
            let slot = sleeper.waker.as_ref().map(|waker| slot_of(name_of(waker)));
            sleeper.queued |= is_one_turn && slot.is_some_and(|slot| house.takes_in(slot));
        }
        if is_one_turn {
            house.has_taken_in();
        }
        self.inside.set(Some(at));
        let is_due =
            |sleeper: &&Sleeper| sleeper.house == at && (sleeper.owed || sleeper.cancelled);
        tasks.iter().filter(is_due).map(|sleeper| sleeper.number).collect()
    }

    /// Those who were due have been polled, or are gone.
    fn ends(&self, at: usize, due: &[usize]) {
        self.inside.set(None);
        for sleeper in &*self.tasks.borrow() {
            let missed = due.contains(&sleeper.number) && !sleeper.polled_in_turn;
            assert!(!missed, "{} was woken, and is not polled", sleeper.number);
        }
        self.houses[at].borrow_mut().ends();
    }

    fn turn(&self, at: usize, budget: Budget) -> bool {
        let Some(executor) = self.houses[at].borrow().executor() else { return false };
        let due = self.begins(at, true);
        let turn = executor.turn(budget);
        let all = budget == Budget::Batch;
        self.ends(at, if all { &due } else { &[] });
        let tasks = self.tasks.borrow();
        let mut own = tasks.iter().filter(|sleeper| sleeper.house == at);
        let is_empty = own.clone().next().is_none();
        let is_owed = own.any(|sleeper| sleeper.owed || sleeper.cancelled);
        match turn.next {
            Next::Ready => {}
            Next::Waiting => assert!(!is_owed && !is_empty, "somebody is ready, or nobody there"),
            Next::Empty => assert!(is_empty, "somebody is there"),
            _ => panic!("there is no timer"),
        }
        self.houses[at].borrow_mut().was_told(turn.next != Next::Ready);
        turn.next == Next::Ready
    }

    /// Until nothing is ready: what a task does in its polls comes to an end with the input.
    fn many_turns(&self, at: usize, takes: impl FnOnce(&hearken::Executor)) {
        let Some(executor) = self.houses[at].borrow().executor() else { return };
        let due = self.begins(at, false);
        takes(&executor);
        self.ends(at, &due);
    }

    fn blocks(&self, at: usize) {
        let kind = self.byte();
        self.many_turns(at, |executor| match kind % 3 {
            0 => executor.block_on(async { Ok(()) }).expect("it is ready"),
            1 => {
                let naps = async move { Ok(sleep(Duration::from_millis(kind as u64)).await) };
                executor.block_on(naps).expect("the clock jumps");
            }
            _ => {
                // The other thread rouses it, now or when it is parked.
                let over = Arc::new(AtomicBool::new(false));
                let mut asked = false;
                let waits = poll_fn(|cx| {
                    if over.load(Ordering::SeqCst) {
                        return Poll::Ready(Ok(()));
                    }
                    if !std::mem::replace(&mut asked, true) {
                        thread::rouse(over.clone(), cx.waker().clone());
                    }
                    Poll::Pending
                });
                executor.block_on(waits).expect("it is roused");
                thread::roused();
            }
        });
    }

    fn drops(&self, at: usize) {
        // Its tasks are dropped, and do their deeds; no borrow is held meanwhile.
        let executor = self.houses[at].borrow_mut().take();
        drop(executor);
        let left = self.tasks.borrow().iter().filter(|sleeper| sleeper.house == at).count();
        assert_eq!(left, 0, "the futures go with their executor");
    }

    fn host(self: &Rc<World>) {
        while !self.input.borrow().is_empty() {
            let what = self.byte();
            let at = what >> 7;
            match what % 16 {
                0..4 if self.tasks.borrow().len() < MOST_TASKS => {
                    self.spawn(at);
                }
                0..8 => _ = self.turn(at, Budget::Batch),
                8 => _ = self.turn(at, Budget::Polls(self.byte() % 4)),
                9 => self.many_turns(at, |executor| _ = executor.run_until_idle()),
                10 if self.visits.get() < MOST_VISITS => {
                    self.visits.set(self.visits.get() + 1);
                    self.blocks(at);
                }
                11 if self.byte().is_multiple_of(4) => {
                    self.drops(at);
                    self.houses[at].replace(House::new());
                }
                _ => self.deed(),
            }
        }
        for at in [0, 1] {
            let is_over = (0..10).any(|_| !self.turn(at, Budget::Batch));
            assert!(is_over, "it does not come to an end");
            self.drops(at);
        }
        // Nobody is there any more.
        let stale = self.wakers.take().into_iter().map(|waker| (Deed::Wake, waker));
        if self.visits.get() > 0 {
            elsewhere(stale.collect());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let world = Rc::new(World {
        input: RefCell::new(input.iter().rev().copied().collect()),
        tasks: RefCell::default(),
        houses: [RefCell::new(House::new()), RefCell::new(House::new())],
        wakers: RefCell::default(),
        inside: Cell::new(None),
        visits: Cell::new(0),
        spawned: Cell::new(0),
    });
    world.host();
    assert_eq!(Rc::strong_count(&world), 1, "each future is dropped");
});
