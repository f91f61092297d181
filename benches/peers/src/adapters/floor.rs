//! What is possible: an executor written for this measurement, with little else
//! in mind. Nobody should use it.
//!
//! It does what all the others do as well: one allocation per task, wakers
//! that may go to any thread, panics caught, values awaited, tasks cancelled,
//! sleeps (in milliseconds, like tokio's). It reports nothing, counts nothing
//! and names nothing; a stale waker polls whoever has the slot now; a future
//! whose drop panics takes the loop with it; and its number of executors and
//! of tasks had better fit into half a pointer each.
//!
//! A waker is a number: which executor, which slot. On the executor's thread a
//! wake sets a flag and pushes the slot onto a queue; from elsewhere it goes
//! through a table of inboxes.

#![allow(unsafe_code)]

mod wheel;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread::Thread;
use std::time::Duration;

use slab::Slab;

use crate::runtime::Runtime;
use wheel::{Sleep, Wheel};

pub struct Floor(Shared);

/// What the loop and the running task have in common.
struct Shared {
    /// In [`INBOXES`].
    number: usize,
    inbox: Arc<Inbox>,
    tasks: RefCell<Slab<Entry>>,
    ready: RefCell<VecDeque<usize>>,
    wheel: RefCell<Wheel>,
}

struct Entry {
    task: Rc<dyn Run>,
    is_ready: bool,
}

thread_local! {
    /// Of the executor that runs on this thread: null, or alive.
    static RUNNING: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

/// Of all executors, by their numbers.
static INBOXES: Mutex<Slab<Arc<Inbox>>> = Mutex::new(Slab::new());

/// Where other threads leave the slots that they have woken.
struct Inbox {
    woken: Mutex<Vec<usize>>,
    has_some: AtomicBool,
    owner: Thread,
}

/// Runs `f` with the executor that runs on this thread, if one does.
fn running<T>(f: impl FnOnce(Option<&Shared>) -> T) -> T {
    // SAFETY: `Running` takes the pointer back before the executor that it
    // points to can be dropped, since `block_on` borrows that; and nobody has
    // a `&mut Shared`.
    f(unsafe { RUNNING.get().as_ref() })
}

/// Sets [`RUNNING`], and takes it back.
struct Running;

impl Running {
    fn enter(shared: &Shared) -> Self {
        RUNNING.set(shared);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(std::ptr::null());
    }
}

impl Runtime for Floor {
    type Task<T: 'static> = Rc<dyn Join<T>>;

    fn start() -> Result<Self, String> {
        let inbox = Arc::new(Inbox {
            woken: Mutex::new(Vec::new()),
            has_some: AtomicBool::new(false),
            owner: std::thread::current(),
        });
        Ok(Self(Shared {
            number: inboxes().insert(Arc::clone(&inbox)),
            inbox,
            tasks: RefCell::default(),
            ready: RefCell::default(),
            wheel: RefCell::default(),
        }))
    }

    fn block_on<T: 'static>(&mut self, main: impl Future<Output = T> + 'static) -> T {
        let _running = Running::enter(&self.0);
        let main = Self::spawn(main);
        loop {
            self.0.turn();
            if Rc::strong_count(&main) == 1 {
                // It has ended: the slab has let go of it.
                let ended = main.take().expect("nobody else takes it");
                return ended.expect("main does not panic");
            }
            if self.0.ready.borrow().is_empty() {
                // An unpark in the meantime makes it return at once.
                let until_next = self.0.wheel.borrow().until_next();
                match until_next {
                    None => std::thread::park(),
                    Some(delay) => std::thread::park_timeout(delay),
                }
            }
        }
    }

    fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Self::Task<T> {
        running(|shared| {
            let shared = shared.expect("it runs");
            let mut tasks = shared.tasks.borrow_mut();
            let entry = tasks.vacant_entry();
            let task = Rc::new(Task {
                slot: entry.key(),
                is_cancelled: Cell::new(false),
                joiner: Cell::new(None),
                life: RefCell::new(Life::Running(future)),
            });
            shared.ready.borrow_mut().push_back(entry.key());
            entry.insert(Entry { task: Rc::clone(&task) as _, is_ready: true });
            task
        })
    }

    async fn join<T: 'static>(task: Self::Task<T>) -> T {
        task.joined().await.expect("no task fails")
    }

    fn join_caught<T: 'static>(task: Self::Task<T>) -> Option<impl Future<Output = Option<T>>> {
        Some(async move { task.joined().await.ok() })
    }

    fn cancel<T: 'static>(task: Self::Task<T>) -> Option<()> {
        running(|shared| shared.expect("it runs").wake(task.cancel()));
        Some(())
    }

    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        Self::spawn(future);
    }

    fn sleep(delay: Duration) -> impl Future {
        Sleep::new(delay)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        let (mut future, mut sleep) = (pin!(future), pin!(Sleep::new(limit)));
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        inboxes().remove(self.0.number);
    }
}

impl Shared {
    /// Takes in wakes, fires timers, polls whoever is ready.
    fn turn(&self) {
        if self.inbox.has_some.load(Ordering::Relaxed) {
            self.inbox.has_some.store(false, Ordering::Relaxed);
            self.inbox.woken().drain(..).for_each(|slot| self.wake(slot));
        }
        if !self.wheel.borrow().is_empty() {
            let due = self.wheel.borrow_mut().take_due();
            due.into_iter().for_each(Waker::wake);
        }
        let batch = self.ready.borrow().len();
        for _ in 0..batch {
            let slot = self.ready.borrow_mut().pop_front().expect("only we take from it");
            let task = {
                let mut tasks = self.tasks.borrow_mut();
                let entry = &mut tasks[slot];
                entry.is_ready = false;
                Rc::clone(&entry.task)
            };
            let waker = waker(self.number, slot);
            if task.run(&mut Context::from_waker(&waker)) {
                let ended = self.tasks.borrow_mut().remove(slot);
                if ended.is_ready {
                    // Woken in its last poll.
                    self.ready.borrow_mut().retain(|&ready| ready != slot);
                }
                drop(ended);
            }
        }
    }

    fn wake(&self, slot: usize) {
        if let Some(entry) = self.tasks.borrow_mut().get_mut(slot)
            && !entry.is_ready
        {
            entry.is_ready = true;
            self.ready.borrow_mut().push_back(slot);
        }
    }
}

/// A task, whatever its future and its value are.
trait Run {
    /// Polls it, or drops its future if it is cancelled. Whether it has ended.
    fn run(&self, cx: &mut Context<'_>) -> bool;
}

/// A task, whatever its future is.
pub trait Join<T> {
    /// What became of it, once it has ended; once.
    fn take(&self) -> Option<Result<T, Box<dyn Any + Send>>>;
    fn set_joiner(&self, joiner: Waker);
    /// Has it dropped at its next turn. Returns its slot, which is to be woken.
    fn cancel(&self) -> usize;
}

impl<T> dyn Join<T> {
    async fn joined(&self) -> Result<T, Box<dyn Any + Send>> {
        std::future::poll_fn(|cx| match self.take() {
            Some(ended) => Poll::Ready(ended),
            None => {
                self.set_joiner(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

struct Task<F: Future> {
    slot: usize,
    is_cancelled: Cell<bool>,
    joiner: Cell<Option<Waker>>,
    life: RefCell<Life<F>>,
}

enum Life<F: Future> {
    Running(F),
    Ended(Result<F::Output, Box<dyn Any + Send>>),
    Over,
}

impl<F: Future> Run for Task<F> {
    fn run(&self, cx: &mut Context<'_>) -> bool {
        let mut life = self.life.borrow_mut();
        if self.is_cancelled.get() {
            *life = Life::Over;
        }
        if let Life::Running(future) = &mut *life {
            // SAFETY: a task is only ever made inside of an `Rc`, and `life` is
            // private to it: the future is dropped where it is, by the
            // assignments above and below, and never moved.
            let future = unsafe { Pin::new_unchecked(future) };
            *life = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return false,
                Ok(Poll::Ready(value)) => Life::Ended(Ok(value)),
                Err(panic) => Life::Ended(Err(panic)),
            };
        }
        drop(life);
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
        true
    }
}

impl<F: Future> Join<F::Output> for Task<F> {
    fn take(&self) -> Option<Result<F::Output, Box<dyn Any + Send>>> {
        let mut life = self.life.borrow_mut();
        match &mut *life {
            Life::Ended(_) => match std::mem::replace(&mut *life, Life::Over) {
                Life::Ended(ended) => Some(ended),
                Life::Running(_) | Life::Over => None,
            },
            Life::Running(_) | Life::Over => None,
        }
    }

    fn set_joiner(&self, joiner: Waker) {
        self.joiner.set(Some(joiner));
    }

    fn cancel(&self) -> usize {
        self.is_cancelled.set(true);
        self.slot
    }
}

/// Half a pointer for the executor, half for the slot.
const HALF: u32 = usize::BITS / 2;

fn waker(executor: usize, slot: usize) -> Waker {
    let name = executor << HALF | slot;
    // SAFETY: the functions of the table keep to the contract of `RawWaker` for
    // whatever number: it is never followed as a pointer, and never owned.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(name), &WAKER)) }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |name| RawWaker::new(name, &WAKER),
    |name| wake(name.addr()),
    |name| wake(name.addr()),
    |_| (),
);

fn wake(name: usize) {
    let (executor, slot) = (name >> HALF, name & ((1 << HALF) - 1));
    running(|shared| match shared {
        Some(shared) if shared.number == executor => shared.wake(slot),
        _ => wake_from_afar(executor, slot),
    });
}

#[cold]
fn wake_from_afar(executor: usize, slot: usize) {
    let Some(inbox) = inboxes().get(executor).cloned() else { return };
    let mut woken = inbox.woken();
    if woken.last() != Some(&slot) {
        woken.push(slot);
    }
    drop(woken);
    inbox.has_some.store(true, Ordering::Release);
    inbox.owner.unpark();
}

impl Inbox {
    fn woken(&self) -> MutexGuard<'_, Vec<usize>> {
        self.woken.lock().expect("no one panics with it")
    }
}

fn inboxes() -> MutexGuard<'static, Slab<Arc<Inbox>>> {
    INBOXES.lock().expect("no one panics with it")
}
