//! The ledger balances, whatever happens in whatever order.
//!
//! A seeded program spawns tasks that end in every way and meddle with one
//! another, and keeps books of its own: how many futures there are, who was
//! given which failure, and what the handler heard. After every turn both
//! books must agree.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use common::{Random, assert_settled, poll_once};
use hearken::{
    Budget, Executor, ManualClock, Panicked, Report, ReportKind, RunError, Task, TaskError,
    TaskRef, Verdict, gather, scope, settle, shield, sleep, spawn, timeout, try_gather, yield_now,
};

/// A failure with a number, so that its way can be followed.
#[derive(Debug)]
struct Numbered(u64);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {}", self.0)
    }
}

impl std::error::Error for Numbered {}

/// The program's own books, and what its tasks can reach.
#[derive(Default)]
struct Books {
    futures: Cell<u64>,
    spawned: Cell<u64>,
    numbers: Cell<u64>,
    /// The failures that somebody had in hands, and how often they were reported.
    failures: RefCell<BTreeMap<u64, u32>>,
    told: RefCell<BTreeMap<&'static str, u64>>,
    handles: RefCell<Vec<Task<u64>>>,
    looks: RefCell<Vec<TaskRef>>,
}

impl Books {
    fn asked(&self, error: &anyhow::Error) {
        self.in_hands(error, 0);
    }

    fn in_hands(&self, error: &anyhow::Error, reports: u32) {
        let number = match error.downcast_ref::<Numbered>() {
            Some(Numbered(number)) => *number,
            // A panic says its number; a cancellation that was passed on has none.
            None => match error.downcast_ref::<Panicked>() {
                Some(panicked) => panicked.message().parse().expect("a number"),
                None => return,
            },
        };
        *self.failures.borrow_mut().entry(number).or_default() += reports;
    }

    fn got(&self, outcome: Result<u64, TaskError>) -> anyhow::Result<u64> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => anyhow::Error::from(error),
        };
        self.asked(&error);
        Err(error)
    }

    fn heard(&self, report: &Report) {
        let what = match report.kind() {
            ReportKind::NeverRetrieved
            | ReportKind::FailedDuringShutdown
            | ReportKind::StillHeld => {
                let error = report.error().expect("a failure has an error");
                self.in_hands(error, 1);
                "failure"
            }
            ReportKind::Cancelled => "cancelled",
            ReportKind::CallbackPanicked => "callback panicked",
            // Accepted the cancellation of the shutdown, and waited on.
            ReportKind::Overran => "overran",
            _ => "something unexpected",
        };
        *self.told.borrow_mut().entry(what).or_default() += 1;
    }

    fn told(&self, what: &str) -> u64 {
        self.told.borrow().get(what).copied().unwrap_or_default()
    }

    /// A number for a failure that is about to happen, if it does.
    fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    fn take_handle(&self, random: &mut Random) -> Option<Task<u64>> {
        let mut handles = self.handles.borrow_mut();
        let place = random.below(handles.len().max(1));
        (place < handles.len()).then(|| handles.swap_remove(place))
    }

    fn look(&self, random: &mut Random) -> Option<TaskRef> {
        let looks = self.looks.borrow();
        looks.get(random.below(looks.len().max(1))).cloned()
    }
}

/// Counts the futures that are there.
struct Counted(Rc<Books>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.futures.set(self.0.futures.get() - 1);
    }
}

/// A panic that says a number, and of which nothing is printed.
fn quiet_panic(number: u64) -> ! {
    std::panic::resume_unwind(Box::new(number.to_string()))
}

/// What a task does. It draws its deeds from a seed of its own.
async fn body(books: Rc<Books>, seed: u64, _counted: Counted) -> anyhow::Result<u64> {
    let mut random = Random(seed);
    for _ in 0..random.below(5) {
        match random.below(16) {
            0..4 => yield_now().await,
            4 => sleep(Duration::from_millis(random.below(50) as u64)).await,
            5 => {
                if let Some(task) = younger(&books, &mut random) {
                    books.got(task.await)?;
                }
            }
            6 => drop(books.take_handle(&mut random)),
            7 => {
                books.look(&mut random).map(|task| task.cancel());
            }
            8 => {
                let task = spawn_counted(&books, random.next(), |work| spawn(work));
                match random.below(3) {
                    0 => task.detach(),
                    1 => task.ignore(),
                    _ => {
                        books.got(task.await)?;
                    }
                }
            }
            9 => {
                hearken::current().cancel();
            }
            10 => {
                hearken::current().uncancel();
            }
            11 => {
                // Cleans up for a while, and then goes on or not.
                if let Err(cancelled) = scope(sleep(Duration::from_millis(20))).await {
                    yield_now().await;
                    match random.below(2) {
                        0 => cancelled.accept(),
                        _ => Err(cancelled)?,
                    }
                }
            }
            12 => shield(sleep(Duration::from_millis(20))).await,
            13 => drop(timeout(Duration::from_millis(10), pending::<()>()).await),
            14 => {
                let tasks = younger(&books, &mut random).into_iter();
                let tasks: Vec<_> = tasks.chain(younger(&books, &mut random)).collect();
                match random.below(3) {
                    0 => drop(books.got(gather(tasks).await.map(|_| 0))),
                    1 => drop(books.got(try_gather(tasks).await.map(|_| 0))),
                    _ => settle(tasks).await.into_iter().for_each(|outcome| {
                        let _seen = books.got(outcome);
                    }),
                }
            }
            _ => {
                let task = spawn_counted(&books, random.next(), |work| spawn(work));
                books.handles.borrow_mut().push(task);
            }
        }
    }
    match random.below(8) {
        0..3 => Ok(seed),
        3 => pending().await,
        4 => quiet_panic(books.number()),
        _ => Err(Numbered(books.number()).into()),
    }
}

/// Somebody's handle, if the task is younger than the one that is running. Who
/// awaits only younger ones awaits nobody who awaits him; what becomes of a
/// circle is tried elsewhere.
fn younger(books: &Books, random: &mut Random) -> Option<Task<u64>> {
    let task = books.take_handle(random)?;
    if task.id() > hearken::current().id() {
        return Some(task);
    }
    books.handles.borrow_mut().push(task);
    None
}

fn spawn_counted<S>(books: &Rc<Books>, seed: u64, spawn: S) -> Task<u64>
where
    S: FnOnce(std::pin::Pin<Box<dyn Future<Output = anyhow::Result<u64>>>>) -> Task<u64>,
{
    books.futures.set(books.futures.get() + 1);
    books.spawned.set(books.spawned.get() + 1);
    let task = spawn(Box::pin(body(books.clone(), seed, Counted(books.clone()))));
    books.looks.borrow_mut().push(task.task_ref());
    task
}

/// Both books agree. `ignored` is left out of the program's: nobody was given it.
fn agree(executor: &Executor, books: &Books, what: &str) {
    let ledger = executor.ledger();
    assert!(ledger.balances(), "{what}: {ledger}");
    assert_eq!(ledger.spawned, books.spawned.get(), "{what}: {ledger}");
    assert_eq!(ledger.live, books.futures.get(), "{what}: a future is live: {ledger}");
    assert_eq!(ledger.reported, books.told("failure"), "{what}: {ledger}");
    assert_eq!(ledger.cancelled, books.told("cancelled"), "{what}: {ledger}");
    assert_eq!(books.told("something unexpected"), 0, "{what}");
}

fn callback(books: &Rc<Books>, task: &Task<u64>, sort: usize) {
    let books = books.clone();
    let id = task.on_done(move |finished| match sort {
        0 => {}
        1 => {
            if let Ok(Some(error)) = finished.error() {
                books.asked(error);
            }
        }
        2 => quiet_panic(0),
        _ => books.handles.borrow_mut().truncate(3),
    });
    if sort == 4 {
        task.remove_on_done(id);
    }
}

fn main_that(books: Rc<Books>, seed: u64) -> impl Future<Output = anyhow::Result<u64>> {
    books.spawned.set(books.spawned.get() + 1);
    async move {
        match seed % 4 {
            0 => Ok(1),
            1 => Err(Numbered(books.number()).into()),
            2 => quiet_panic(books.number()),
            _ => {
                hearken::current().cancel();
                pending().await
            }
        }
    }
}

fn random_program(seed: u64, deeds: usize, shuffled: bool) {
    let (books, clock) = (Rc::new(Books::default()), ManualClock::new());
    let hears = books.clone();
    let builder = Executor::builder().clock(clock.clone()).handler(move |report| {
        hears.heard(report);
        Verdict::Proceed
    });
    let builder = if shuffled { builder.shuffle(seed) } else { builder };
    let executor = builder.build();
    let mut random = Random(seed);
    for deed in 0..deeds {
        let what = format!("seed {seed}, deed {deed}");
        match random.below(20) {
            0..5 => {
                let task = spawn_counted(&books, random.next(), |work| executor.spawn(work));
                books.handles.borrow_mut().push(task);
            }
            5 => drop(books.take_handle(&mut random)),
            6 => books.take_handle(&mut random).into_iter().for_each(Task::ignore),
            7 => books.take_handle(&mut random).into_iter().for_each(Task::detach),
            8 => books.take_handle(&mut random).into_iter().for_each(|task| {
                drop(task.cancel_on_drop());
            }),
            9 => {
                if let Some(task) = books.look(&mut random) {
                    let (ended, before) = (task.is_finished(), task.cancelling());
                    assert_eq!(task.cancel(), !ended, "{what}");
                    assert_eq!(task.cancelling(), before + u32::from(!ended), "{what}");
                }
            }
            10 => {
                books.look(&mut random).map(|task| task.uncancel());
            }
            11 => {
                if let Some(task) = books.take_handle(&mut random) {
                    if let Ok(Some(error)) = task.error() {
                        books.asked(error);
                    }
                    books.handles.borrow_mut().push(task);
                }
            }
            12 => {
                if let Some(mut task) = books.take_handle(&mut random) {
                    match task.take() {
                        Ok(outcome) => drop(books.got(outcome)),
                        Err(_) => books.handles.borrow_mut().push(task),
                    }
                }
            }
            13 => {
                if let Some(mut task) = books.take_handle(&mut random) {
                    match poll_once(&mut task) {
                        Poll::Ready(outcome) => drop(books.got(outcome)),
                        Poll::Pending => books.handles.borrow_mut().push(task),
                    }
                }
            }
            14 => {
                if let Some(task) = books.take_handle(&mut random) {
                    callback(&books, &task, random.below(5));
                    books.handles.borrow_mut().push(task);
                }
            }
            15 => clock.advance(Duration::from_millis(random.below(60) as u64)),
            16 => {
                let answer = executor.block_on(main_that(books.clone(), random.next()));
                match answer {
                    Err(error @ (RunError::Failed(_) | RunError::Panicked(_))) => {
                        books.asked(&error.into());
                    }
                    Ok(1) | Err(RunError::Cancelled(_)) => {}
                    other => panic!("{what}: {other:?}"),
                }
                agree(&executor, &books, &what);
            }
            17 => {
                executor.turn(Budget::Polls(random.below(4)));
                agree_if_told(&executor, &books, &what);
            }
            _ => {
                executor.turn(Budget::Batch);
                agree_if_told(&executor, &books, &what);
            }
        }
        let ledger = executor.ledger();
        assert!(ledger.balances(), "{what}: {ledger}");
    }
    clock.set_auto_advance(true); // scopes clean up, shields are waited for
    let shutdown = executor.shut_down();
    assert_eq!(shutdown.dropped as u64, books.told("overran"));
    agree(&executor, &books, "at the end");
    books.looks.take();
    drop(books.handles.take());
    assert_settled(&executor);
    assert_eq!(books.futures.get(), 0, "no future is left");
    every_failure_was_in_somebodys_hands(&executor, &books);
    drop(executor);
    assert_eq!(Rc::strong_count(&books), 1, "nothing is kept");
}

/// What was queued by a drop in this turn's callbacks is told in the next.
fn agree_if_told(executor: &Executor, books: &Books, what: &str) {
    executor.turn(Budget::Polls(0));
    agree(executor, books, what);
}

fn every_failure_was_in_somebodys_hands(executor: &Executor, books: &Books) {
    let (ledger, failures) = (executor.ledger(), books.failures.borrow());
    for (number, reports) in failures.iter() {
        assert!(*reports <= 1, "failure {number} was reported {reports} times");
    }
    let unheard = (1..=books.numbers.get()).filter(|number| !failures.contains_key(number));
    assert!(unheard.count() as u64 <= ledger.ignored, "somebody ignored the rest: {ledger}");
    // A program in which nothing happens shows nothing.
    let fates = [ledger.succeeded, ledger.cancelled, ledger.retrieved, ledger.reported];
    assert!(fates.into_iter().all(|count| count > 20) && ledger.ignored > 5, "{ledger}");
}

// promise 3.5, 3.6, 7.1
#[test]
fn the_ledger_balances_after_every_turn_of_a_random_program() {
    for seed in 0..40 {
        random_program(seed, 4000, seed % 3 == 0);
    }
}

// promise 3.5
#[test]
fn a_new_executor_owes_nothing() {
    let executor = Executor::new();
    assert_eq!(executor.ledger(), hearken::Ledger::default());
    executor.shut_down();
    assert_settled(&executor);
}
