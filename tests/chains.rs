//! Tasks that await tasks that await tasks: long chains are cancelled, complete
//! and fail from the far end without recursion.

mod common;

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;

use common::{Gate, Play, Shelf, Transcript, World, hushed, secs};
use hearken::{Next, Panicked, ReportKind, Task, TaskError, scope, sleep, spawn};

/// A recursive stack overflows long before this.
const LENGTH: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// The first of `length` tasks, each of which awaits the next; the last is `end`.
fn chain<T: 'static>(
    length: usize,
    alive: &Rc<()>,
    end: impl Future<Output = anyhow::Result<T>> + 'static,
) -> Task<T> {
    let mut task = spawn(end);
    for _ in 1..length {
        let (next, alive) = (task, alive.clone());
        task = spawn(async move {
            let value = next.await;
            drop(alive);
            Ok(value?)
        });
    }
    task
}

/// Runs to the end, of which there may be more than a million batches.
fn run(world: &World) {
    while world.executor.run_until_idle().next == Next::Ready {}
}

/// Spawns a chain from inside a task, and waits until all wait.
fn start<T: 'static>(
    world: &World,
    alive: &Rc<()>,
    end: impl Future<Output = anyhow::Result<T>> + 'static,
) -> Task<T> {
    let alive = alive.clone();
    let shelf = Shelf::new();
    let maker = {
        let shelf = shelf.clone();
        async move {
            shelf.put(chain(LENGTH, &alive, end));
            Ok(())
        }
    };
    world.executor.spawn(maker).detach();
    run(world);
    shelf.take().expect("the chain was made")
}

async fn link(said: Transcript, depth: u32) -> anyhow::Result<()> {
    let inner: Pin<Box<dyn Future<Output = anyhow::Result<()>>>> = match depth {
        0 => Box::pin(pending()),
        _ => {
            let task = spawn(link(said.clone(), depth - 1));
            Box::pin(async move { Ok(task.await?) })
        }
    };
    let awaited = scope(inner).await;
    said.say(format!("{depth} told"));
    sleep(secs(1)).await;
    said.say(format!("{depth} cleaned up"));
    awaited?
}

// promise 4.8
#[test]
fn a_chain_of_three_cleans_up_from_the_far_end() {
    let play = Play::new();
    let task = play.start(|said| link(said, 2));

    task.cancel();
    assert_eq!(
        play.run(),
        ["0 told", "0 cleaned up", "1 told", "1 cleaned up", "2 told", "2 cleaned up",]
    );
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.8
#[test]
fn a_chain_of_any_length_is_cancelled_from_the_far_end() {
    let (world, alive) = (World::new(), Rc::new(()));
    let last_told = Rc::new(Cell::new(false));
    let end = {
        let last_told = last_told.clone();
        async move {
            let work = scope(pending::<()>()).await;
            last_told.set(true);
            Ok(work?)
        }
    };
    let mut first = start(&world, &alive, end);

    assert!(first.cancel_with("closing time"));
    run(&world);
    let Ok(Err(TaskError::Cancelled(token))) = first.take() else { panic!("it was cancelled") };
    assert_eq!(token.reason(), "closing time");
    assert!(last_told.get());
    assert_eq!(world.executor.ledger().cancelled as usize, LENGTH);
    assert_eq!(Rc::strong_count(&alive), 1);
    drop((first, token));
    world.close();
}

// promise 7.2
#[test]
fn a_chain_of_any_length_completes_from_the_far_end() {
    let (world, alive, gate) = (World::new(), Rc::new(()), Gate::new());
    let end = {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(7)
        }
    };
    let first = start(&world, &alive, end);

    gate.open();
    run(&world);
    assert_eq!(*first.result().unwrap(), 7);
    assert_eq!(Rc::strong_count(&alive), 1);
    drop((first, gate));
    world.close();
}

// promise 3.4, 3.5
#[test]
fn a_chain_of_any_length_fails_from_the_far_end() {
    let (world, alive, gate) = (World::new(), Rc::new(()), Gate::new());
    let end = {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            if true {
                panic!("slipped");
            }
            Ok(())
        }
    };
    let first = start(&world, &alive, end);

    gate.open();
    hushed(|| run(&world));
    let panicked = first.error().unwrap().unwrap().downcast_ref::<Panicked>().unwrap();
    assert_eq!(panicked.message(), "slipped");
    assert_eq!(world.executor.ledger().retrieved as usize, LENGTH);
    assert_eq!(Rc::strong_count(&alive), 1);
    drop((first, gate));
    world.close();
}

// promise 6.4
#[test]
fn a_chain_of_any_length_is_shut_down() {
    let (world, alive) = (World::new(), Rc::new(()));
    let first = start(&world, &alive, pending::<anyhow::Result<()>>());

    world.executor.shut_down();
    assert!(first.is_cancelled());
    assert_eq!(Rc::strong_count(&alive), 1);
    drop(first);
    world.close();
}

// promise 6.8
#[test]
fn a_chain_of_any_length_is_dropped_with_its_executor() {
    let (world, alive) = (World::new(), Rc::new(()));
    let first = start(&world, &alive, pending::<anyhow::Result<()>>());

    drop(world);
    assert!(first.is_cancelled());
    assert_eq!(Rc::strong_count(&alive), 1);
}

// ---- Outcomes in outcomes ---------------------------------------------------------------

/// The handle of a task whose value has the handle of a task, and so on.
struct Nested {
    next: Option<Task<Nested>>,
    alive: Rc<Cell<usize>>,
}

impl Nested {
    /// The first of so many. The last one panics when it is dropped.
    fn new(world: &World, length: usize, alive: &Rc<Cell<usize>>) -> Task<Nested> {
        let mut next = None;
        for _ in 0..length {
            alive.set(alive.get() + 1);
            let nested = Nested { next, alive: alive.clone() };
            next = Some(world.executor.spawn(async { Ok(nested) }));
        }
        next.expect("there is one at least")
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
        assert!(self.next.is_some(), "the last of all");
    }
}

/// To drop the first handle drops them all, and one that panics is reported: whether they
/// have ended or not, and after the executor too.
// promise 8.3, 3.11
#[test]
fn outcomes_that_have_handles_of_outcomes_are_dropped_however_many_there_are() {
    for (turns, shuts_down) in [(true, false), (false, false), (true, true)] {
        let (world, alive) = (World::new(), Rc::default());
        let first = Nested::new(&world, LENGTH, &alive);
        if turns {
            run(&world);
            assert_eq!(alive.get(), LENGTH);
        }
        let heard = world.heard.clone();
        hushed(|| match shuts_down {
            true => {
                world.executor.shut_down();
                drop(first);
                drop(world);
            }
            false => {
                drop(first);
                run(&world);
                drop(world);
            }
        });
        assert_eq!(alive.get(), 0);
        assert_eq!(heard.count(ReportKind::PanickedInDrop), 1);
    }
}
