//! What is polled outside of a turn, where no task is that could be asked.
//!
//! There a combinator is the future inside of it alone: nobody can be told of a
//! request, and nothing is delivered. One that was begun in a task and is polled
//! outside of a turn goes on, and gives its outcome.

mod common;

use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use common::foreign::{Foreign, Op};
use common::{Gate, Shelf, World, hushed, poll_once, secs};
use hearken::{
    Group, TimeoutHandle, finally, group, scope, shield, timeout, timeout_by, yield_now,
};

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Polls `future` once in a task of `world`, and hands it back.
fn begun<T: 'static>(world: &World, future: impl Future<Output = T> + 'static) -> Boxed<T> {
    let mut future: Boxed<T> = Box::pin(future);
    let shelf = Shelf::new();
    let shelved = shelf.clone();
    let task = world.executor.spawn_infallible(async move {
        assert!(poll_once(&mut future).is_pending());
        shelved.put(future);
    });
    world.executor.run_until_idle();
    assert!(task.is_finished());
    shelf.take().expect("it was polled")
}

/// Polls it outside of every turn until it is ready, a few times at most.
fn ended<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    for _ in 0..10 {
        if let Poll::Ready(output) = poll_once(&mut future) {
            return output;
        }
    }
    panic!("it does not end")
}

// promise 4.3, 4.7, 10.3
#[test]
fn outside_of_a_turn_a_combinator_is_the_future_inside_of_it() {
    let two_polls = || async {
        yield_now().await;
        7
    };
    assert_eq!(ended(Box::pin(scope(two_polls()))).ok(), Some(7));
    assert_eq!(ended(Box::pin(shield(two_polls()))), 7);
    assert_eq!(ended(Box::pin(timeout(secs(1), ready(7)))).ok(), Some(7), "ready at once");
    let cleaned = Rc::new(Cell::new(false));
    let cleans = cleaned.clone();
    let tidy = finally(async move { Ok(two_polls().await) }, async move || {
        cleans.set(true);
        Ok(())
    });
    assert_eq!(ended(Box::pin(tidy)).ok(), Some(7));
    assert!(cleaned.get());
}

// promise 4.11, 5.4
#[test]
fn a_group_that_is_polled_on_outside_of_a_turn_waits_for_its_tasks_and_returns() {
    let world = World::new();
    let gate = Gate::new();
    let at = gate.clone();
    let mut future = begun(
        &world,
        group(async move |g: Group| {
            g.spawn(async move {
                at.pass().await;
                Ok(())
            })
            .detach();
            Ok(12)
        }),
    );
    assert!(poll_once(&mut future).is_pending(), "its task waits");
    gate.open();
    world.executor.run_until_idle();
    assert_eq!(ended(future).ok(), Some(12));
    world.close();
}

/// Nobody can tell the body that it is to stop, so it is dropped.
// promise 4.11, 5.4
#[test]
fn a_group_that_is_polled_on_outside_of_a_turn_fails_with_its_task() {
    let world = World::new();
    let gate = Gate::new();
    let at = gate.clone();
    let mut future = begun(
        &world,
        group(async move |g: Group| {
            g.spawn(async move {
                at.pass().await;
                Err::<(), _>(anyhow::anyhow!("no"))
            })
            .detach();
            pending::<anyhow::Result<()>>().await
        }),
    );
    assert!(poll_once(&mut future).is_pending(), "its task waits");
    gate.open();
    world.executor.run_until_idle();
    assert_eq!(ended(future).expect_err("it has failed").errors().len(), 1);
    world.close();
}

// promise 10.7
#[test]
fn a_waker_that_panics_when_a_deadline_is_moved_outside_of_a_turn_harms_nobody() {
    let world = World::new();
    let handle = TimeoutHandle::new(None);
    let foreign = Foreign::that(Op::Wake, || panic!("waker"));
    let limited = world.executor.block_on(async {
        let mut limited = Box::pin(timeout_by(&handle, pending::<()>()));
        let waker = foreign.waker();
        assert!(limited.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        Ok(limited)
    });
    hushed(|| handle.reschedule(Some(hearken::Instant::ZERO)));
    assert_eq!(foreign.count(Op::Wake), 1, "it was woken, and panicked");
    assert_eq!(handle.deadline(), Some(hearken::Instant::ZERO));
    drop(limited);
    foreign.quieten();
    world.close();
}

// promise 4.11
#[test]
fn what_was_rethrown_and_is_kept_waits_for_ever_outside_of_a_turn() {
    let world = World::new();
    let shelf: Shelf<Boxed<()>> = Shelf::new();
    let shelved = shelf.clone();
    let task = world.executor.spawn(async move {
        let Err(token) = scope(pending::<()>()).await else { unreachable!("it waits for ever") };
        let mut going: Boxed<()> = Box::pin(async move {
            token.rethrow().await;
        });
        assert!(poll_once(&mut going).is_pending());
        shelved.put(going);
        pending::<anyhow::Result<()>>().await
    });
    world.executor.run_until_idle();
    task.cancel();
    world.executor.run_until_idle();
    let mut going = shelf.take().expect("it was cancelled");
    assert!(poll_once(&mut going).is_pending());
    drop((going, task));
    world.close();
}
