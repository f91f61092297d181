//! What is done n times, and the executors that do it.
//!
//! Each experiment goes through n of its operations once to warm up, and then as
//! often as it is told. The bytes are those of the first time: taken from the
//! heap by all threads when all n are alive, and not given back when none is any
//! more and the executor has had some turns without them. What the caller keeps
//! (handles, wakers) is made beforehand or not counted.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hint::black_box;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hearken_peers::adapters::{async_executor, hearken as ours, tokio as tokios};
use hearken_peers::allocations::Heap;
use hearken_peers::runtime::{Runtime, yield_now};
use rustix::time::{ClockId, clock_gettime};

/// What an experiment says, per operation.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Processor time of the whole process.
    pub nanos: f64,
    /// When all are alive.
    pub bytes: f64,
    /// When none is any more: of all together, not per operation.
    pub left: f64,
}

pub struct Executor {
    pub name: &'static str,
    pub packages: &'static [&'static str],
    /// An experiment, of so many operations, so many times.
    pub run: fn(Experiment, usize, usize) -> Cost,
}

pub static EXECUTORS: [Executor; 3] = [
    Executor { name: "hearken", packages: &["hearken"], run: run::<ours::Hearken> },
    Executor { name: "tokio-rt", packages: &["tokio"], run: run::<tokios::Runtime> },
    Executor {
        name: "async-exec",
        packages: &["async-executor", "async-task", "async-io"],
        run: run::<async_executor::Local>,
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Experiment {
    Tasks,
    Sleeps,
    Chain,
    Gather,
    Group,
    Serial,
}

impl Experiment {
    pub const ALL: &[Experiment] = &[
        Experiment::Tasks,
        Experiment::Sleeps,
        Experiment::Chain,
        Experiment::Gather,
        Experiment::Group,
        Experiment::Serial,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Experiment::Tasks => "tasks",
            Experiment::Sleeps => "sleeps",
            Experiment::Chain => "chain",
            Experiment::Gather => "gather",
            Experiment::Group => "group",
            Experiment::Serial => "serial",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Experiment::Tasks => "n tasks are spawned, park, are woken together, are awaited",
            Experiment::Sleeps => {
                "n tasks are spawned, sleep, are awaited; a sleep ends each microsecond"
            }
            Experiment::Chain => "n tasks, of which each awaits the next",
            Experiment::Gather => "n tasks in a gather; elsewhere each is awaited in its turn",
            Experiment::Group => {
                "n tasks in a group; a JoinSet for tokio, FuturesUnordered for async-executor"
            }
            Experiment::Serial => "n tasks, each spawned when the one before it has ended",
        }
    }

    /// # Errors
    ///
    /// If there is none of that name.
    pub fn of_name(name: &str) -> Result<Experiment, String> {
        let found = Experiment::ALL.iter().find(|experiment| experiment.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Experiment::ALL.iter().map(|known| known.name()).collect();
            format!("there is no experiment {name}, but {}", names.join(", "))
        })
    }
}

/// What differs between the executors beyond [`Runtime`]: how one waits for many
/// tasks at once.
trait Many: Runtime {
    /// Awaits them all, and adds up.
    ///
    /// Without a gather one awaits each in its turn. (A `join_all` of tokio's
    /// handles takes time with the square of their number: after 128 of them
    /// the rest say `Pending` unasked, and are all asked again.)
    async fn gather(tasks: Vec<Self::Task<usize>>) -> usize {
        let mut sum = 0;
        for task in tasks {
            sum += Self::join(task).await;
        }
        sum
    }

    /// Spawns `size` of them where they belong together, and adds up as they
    /// end.
    async fn group<F>(size: usize, member: impl Fn() -> F) -> usize
    where
        F: Future<Output = usize> + 'static;
}

impl Many for ours::Hearken {
    async fn gather(tasks: Vec<hearken::Task<usize>>) -> usize {
        hearken::gather(tasks).await.expect("none fails").into_iter().sum()
    }

    /// The group waits for its tasks and keeps no values, so they are added up
    /// in a cell.
    async fn group<F>(size: usize, member: impl Fn() -> F) -> usize
    where
        F: Future<Output = usize> + 'static,
    {
        let sum = Rc::new(Cell::new(0));
        let all = hearken::group(async |group: hearken::Group| {
            for _ in 0..size {
                let (sum, member) = (sum.clone(), member());
                let adds = async move {
                    let one = member.await;
                    sum.set(sum.get() + one);
                    Ok(())
                };
                group.spawn(adds).detach();
            }
            Ok(())
        });
        all.await.expect("none fails");
        sum.get()
    }
}

impl Many for tokios::Runtime {
    async fn group<F>(size: usize, member: impl Fn() -> F) -> usize
    where
        F: Future<Output = usize> + 'static,
    {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..size {
            set.spawn_local(member());
        }
        let mut sum = 0;
        while let Some(ended) = set.join_next().await {
            sum += ended.expect("none fails");
        }
        sum
    }
}

impl Many for async_executor::Local {
    async fn group<F>(size: usize, member: impl Fn() -> F) -> usize
    where
        F: Future<Output = usize> + 'static,
    {
        let tasks: FuturesUnordered<_> = (0..size).map(|_| Self::spawn(member())).collect();
        tasks.fold(0, async |sum, ended| sum + ended).await
    }
}

fn run<R: Many>(experiment: Experiment, size: usize, passes: usize) -> Cost {
    let mut executor = R::start().expect("it starts on every machine");
    executor.block_on(async move {
        // In a task, since that is where most of a program is.
        let measured = R::spawn(async move {
            let before = Heap::now();
            let bytes = pass::<R>(experiment, size).await;
            for _ in 0..10 {
                yield_now().await;
            }
            let left = Heap::now().since(before).live();
            let start = processor_nanos();
            for _ in 0..passes {
                pass::<R>(experiment, size).await;
            }
            let nanos = (processor_nanos() - start) / (size * passes.max(1)) as f64;
            Cost { nanos, bytes: bytes / size as f64, left }
        });
        R::join(measured).await
    })
}

/// Once. Answers how many bytes all of them had, when all were there.
async fn pass<R: Many>(experiment: Experiment, size: usize) -> f64 {
    match experiment {
        Experiment::Tasks => tasks::<R>(size).await,
        Experiment::Sleeps => sleeps::<R>(size).await,
        Experiment::Chain => chain::<R>(size).await,
        Experiment::Gather => gather::<R>(size).await,
        Experiment::Group => group::<R>(size).await,
        Experiment::Serial => serial::<R>(size).await,
    }
}

async fn tasks<R: Many>(size: usize) -> f64 {
    let mut tasks = Vec::with_capacity(size);
    let gate = Gate::new(size, size);
    let crowd = gate.crowd.clone();
    for _ in 0..size {
        let gate = gate.clone();
        tasks.push(R::spawn(async move { gate.pass().await }));
    }
    crowd.is_there().await;
    gate.open();
    let mut sum = 0;
    for task in tasks {
        sum += R::join::<usize>(task).await;
    }
    assert_eq!(sum, size);
    crowd.bytes()
}

/// They sleep for at least as long as it takes to make them all, unless the
/// machine is very busy; then some end before the last has begun, and the bytes
/// are too few.
async fn sleeps<R: Many>(size: usize) -> f64 {
    let mut tasks = Vec::with_capacity(size);
    let crowd = Crowd::new(size);
    let micros = size as u64;
    let least = 20_000 + 3 * micros;
    let mut state = 0x2545_f491_4f6c_dd1d_u64; // xorshift, Marsaglia 2003
    for _ in 0..size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let delay = Duration::from_micros(least + state % micros);
        let crowd = crowd.clone();
        tasks.push(R::spawn(async move {
            let mut sleep = std::pin::pin!(R::sleep(delay));
            let mut polled = false;
            poll_fn(|cx| {
                let poll = sleep.as_mut().poll(cx);
                if !std::mem::replace(&mut polled, true) {
                    crowd.arrive();
                }
                poll
            })
            .await;
            1
        }));
    }
    let mut sum = 0;
    for task in tasks {
        sum += R::join::<usize>(task).await;
    }
    assert_eq!(sum, size);
    crowd.bytes()
}

async fn chain<R: Many>(size: usize) -> f64 {
    let crowd = Crowd::new(size);
    let gate = Gate::new(1, size);
    let mut task = {
        let (crowd, gate) = (crowd.clone(), gate.clone());
        R::spawn(async move {
            crowd.arrive();
            gate.pass().await
        })
    };
    for _ in 1..size {
        let crowd = crowd.clone();
        task = R::spawn(async move {
            crowd.arrive();
            R::join::<usize>(task).await + 1
        });
    }
    crowd.is_there().await;
    gate.open();
    assert_eq!(R::join(task).await, size);
    crowd.bytes()
}

async fn gather<R: Many>(size: usize) -> f64 {
    let mut tasks = Vec::with_capacity(size);
    let crowd = Crowd::new(size);
    tasks.extend((0..size).map(|_| R::spawn(member(crowd.clone()))));
    assert_eq!(R::gather(tasks).await, size);
    crowd.bytes()
}

async fn group<R: Many>(size: usize) -> f64 {
    let crowd = Crowd::new(size);
    assert_eq!(R::group(size, || member(crowd.clone())).await, size);
    crowd.bytes()
}

/// Yields once, so that all are alive at a time.
async fn member(crowd: Rc<Crowd>) -> usize {
    crowd.arrive();
    yield_now().await;
    black_box(1)
}

async fn serial<R: Many>(size: usize) -> f64 {
    let before = Heap::now();
    let mut sum = 0;
    for number in 0..size {
        sum += R::join::<usize>(R::spawn(async move { black_box(number & 1) })).await;
    }
    assert_eq!(sum, size / 2);
    Heap::now().since(before).live()
}

/// Knows when all have arrived, and what the heap was then.
struct Crowd {
    missing: Cell<usize>,
    before: Cell<Heap>,
    there: Cell<Heap>,
    waiting: Cell<Option<Waker>>,
}

impl Crowd {
    fn new(size: usize) -> Rc<Crowd> {
        Rc::new(Crowd {
            missing: Cell::new(size),
            before: Cell::new(Heap::now()),
            there: Cell::default(),
            waiting: Cell::default(),
        })
    }

    fn arrive(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.there.set(Heap::now());
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }

    async fn is_there(&self) {
        poll_fn(|cx| {
            if self.missing.get() == 0 {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    fn bytes(&self) -> f64 {
        assert_eq!(self.missing.get(), 0);
        self.there.get().since(self.before.get()).live()
    }
}

/// Where tasks park until it opens.
struct Gate {
    is_open: Cell<bool>,
    parked: RefCell<Vec<Waker>>,
    crowd: Rc<Crowd>,
}

impl Gate {
    /// With room for so many; its crowd is of `size`.
    fn new(room: usize, size: usize) -> Rc<Gate> {
        let parked = RefCell::new(Vec::with_capacity(room));
        Rc::new(Gate { is_open: Cell::new(false), parked, crowd: Crowd::new(size) })
    }

    async fn pass(&self) -> usize {
        poll_fn(|cx| {
            if self.is_open.get() {
                return Poll::Ready(1);
            }
            self.parked.borrow_mut().push(cx.waker().clone());
            self.crowd.arrive();
            Poll::Pending
        })
        .await
    }

    fn open(&self) {
        self.is_open.set(true);
        self.parked.take().into_iter().for_each(Waker::wake);
    }
}

/// Processor time of this process so far, all its threads together.
pub fn processor_nanos() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// `size` tasks one after another, and what `look` says at each `mark` of them
/// and at the end.
pub fn one_after_another<R: Runtime, T: 'static>(
    size: usize,
    mark: usize,
    look: impl Fn() -> T + 'static,
) -> Vec<T> {
    let mut executor = R::start().expect("it starts on every machine");
    executor.block_on(async move {
        let mut looks = Vec::new();
        let mut sum = 0;
        for number in 0..size {
            sum += R::join::<usize>(R::spawn(async move { black_box(number & 1) })).await;
            if (number + 1) % mark == 0 || number + 1 == size {
                looks.push(look());
            }
        }
        assert_eq!(sum, size / 2);
        looks
    })
}
