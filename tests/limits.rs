//! Numbers that have a limit, at their limit.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearken::{Budget, Executor, ManualClock, SpawnErrorKind, Verdict, sleep};

// promise 10.5
#[test]
fn the_main_of_block_on_has_room_beside_as_many_tasks_as_there_may_be() {
    let refused = Rc::new(Cell::new(0));
    let counts = refused.clone();
    let handler = move |_: &hearken::Report| {
        counts.set(counts.get() + 1);
        Verdict::Proceed
    };
    let executor = Executor::builder().max_tasks(3).handler(handler).build();
    (0..3).for_each(|_| executor.spawn(pending::<anyhow::Result<()>>()).detach());
    let full = executor.try_spawn(pending::<anyhow::Result<()>>()).map(|_| ()).unwrap_err();
    assert_eq!(full.kind(), SpawnErrorKind::Full);
    assert_eq!(executor.block_on(async { Ok(executor.ledger().live) }).unwrap(), 4);
    assert_eq!((executor.ledger().live, refused.get()), (3, 0));
}

/// Two gibibytes and a quarter, and a minute without optimization: by hand.
// promise 10.5
#[test]
#[ignore = "it takes two gibibytes"]
fn sixteen_million_tasks_and_a_main() {
    let clock = ManualClock::auto();
    let builder = Executor::builder().clock(clock).handler(|_| Verdict::Proceed);
    let executor = builder.build();
    let mut spawned = 0_usize;
    while let Ok(task) = executor.try_spawn(pending::<anyhow::Result<()>>()) {
        task.detach();
        spawned += 1;
    }
    assert_eq!(spawned, (1 << 24) - 1);
    executor.turn(Budget::Batch);
    let main = async {
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
        }
        Ok(7)
    };
    assert_eq!(executor.block_on(main).unwrap(), 7);
    assert_eq!(executor.ledger().live, (1 << 24) - 1);
}

/// All executors of a process are in one table, so no other test here makes one
/// while this has them all: it runs in a process of its own.
// promise 8.2, 10.1
#[test]
#[ignore = "it takes all executors that there can be, and the other tests need some"]
fn as_many_executors_as_there_can_be_and_one_more() {
    let mut all: Vec<Executor> = (0..65_535).map(|_| Executor::new()).collect();
    // Each of the ways to one more names the line where it is gone.
    type Way = (u32, fn());
    let ways: [Way; 4] = [
        (line!(), || drop(Executor::new())),
        (line!(), || drop(Executor::default())),
        (line!(), || drop(Executor::builder().build())),
        (line!(), || drop(hearken::run(async { Ok(()) }))),
    ];
    let seen = Arc::new(Mutex::new(None));
    let sees = seen.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|at| (at.file().to_owned(), at.line()));
        *sees.lock().unwrap() = place;
    }));
    let panics = ways.map(|(line, way)| {
        let message = std::panic::catch_unwind(way).unwrap_err();
        (line, message.downcast_ref::<String>().cloned(), seen.lock().unwrap().take())
    });
    std::panic::set_hook(hook);
    for (line, message, place) in panics {
        assert!(message.as_ref().is_some_and(|it| it.contains("65,535 executors")), "{message:?}");
        assert_eq!(place, Some((file!().to_owned(), line)));
    }
    assert_eq!(all.pop().map(|last| last.block_on(async { Ok(1) }).unwrap()), Some(1));
    let again = Executor::new();
    assert_eq!(again.block_on(async { Ok(2) }).unwrap(), 2);
}
