//! The traps of cancelling by scopes, each as a test.
//!
//! A scope sits in a tree of its own, beside the tree of futures, and the two
//! can come apart: a branch is not polled, a future is forgotten, moved, kept
//! for later, or dropped by surprise. Sixteen such ways were known before a line
//! was written; the first six are here, the rest in `pitfalls_drops.rs`.

mod common;

use std::future::{Future, pending, poll_fn, ready};
use std::mem::forget;
use std::pin::pin;
use std::task::Poll;

use common::{Play, Shelf, Transcript, World, poll_once, secs};
use futures::future::{join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use hearken::{Cancelled, Executor, ManualClock, scope, sleep, spawn, yield_now};

/// Waits for ever; when it is told, cleans up for `seconds`.
async fn branch(said: Transcript, name: &'static str, seconds: u64) -> Result<(), Cancelled> {
    let work = scope(pending::<()>()).await;
    said.say(format!("{name} told"));
    sleep(secs(seconds)).await;
    said.say(format!("{name} cleaned up"));
    work
}

// pitfalls 1 and 13: several branches, and their order
// promise 4.4
#[test]
fn every_branch_of_a_join_is_told_in_order_of_registration() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let late = async {
            yield_now().await; // registers last
            branch(said.clone(), "a", 3).await
        };
        let (b, c) = (branch(said.clone(), "b", 2), branch(said.clone(), "c", 1));
        // Polled from the left, registered b, c, a.
        let (a, _b, _c) = futures::join!(late, b, c);
        Ok(a?)
    });

    task.cancel();
    // They are woken in order of registration, and `join!` polls from the left.
    assert_eq!(play.turn(), ["a told", "b told", "c told"]);
    assert_eq!(play.run(), ["c cleaned up", "b cleaned up", "a cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 1: a branch without a scope
// promise 4.4
#[test]
fn a_branch_without_a_scope_is_not_hit_until_the_next_request() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let bare = async {
            let _dropped = said.finally("bare dropped");
            pending::<()>().await;
        };
        let (_told, ()) = futures::join!(branch(said.clone(), "scoped", 1), bare);
        Ok(())
    });

    task.cancel();
    assert_eq!(play.run(), ["scoped told", "scoped cleaned up"]);
    assert!(!task.is_finished(), "it waits for the bare branch, as join! does");
    task.cancel();
    assert_eq!(play.run(), ["bare dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 2: the loser of a select is dropped
// promise 4.11
#[test]
fn the_loser_of_a_select_leaves_the_tree() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let loser = Box::pin(branch(said.clone(), "loser", 1));
        let winner = select(loser, Box::pin(yield_now())).await;
        drop(winner); // and the loser with it
        let work = scope(pending::<()>()).await;
        said.say("told");
        Ok(work?)
    });

    task.cancel();
    assert_eq!(play.run(), ["told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 2: the loser of a select is kept, and polled elsewhere
// promise 4.11
#[test]
fn the_loser_of_a_select_that_goes_on_elsewhere_has_a_new_parent() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut loser = Box::pin(branch(said.clone(), "loser", 60));
        select(&mut loser, pin!(yield_now())).await;
        let outer = scope(&mut loser).await;
        said.say("the scope around told");
        drop(loser);
        outer??;
        Ok(())
    });

    task.cancel();
    assert_eq!(play.turn(), ["loser told"]); // and not the scope around it
    task.cancel();
    assert_eq!(play.run(), ["the scope around told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 3: combinators that poll only those whose own waker was called
// promise 4.4
#[test]
fn a_scope_is_told_through_its_own_waker() {
    const BRANCHES: usize = 100;
    let play = Play::new();
    let streamed = play.start(|said| async move {
        let branches: FuturesUnordered<_> =
            (0..BRANCHES).map(|_| branch(said.clone(), "streamed", 1)).collect();
        let tokens: Vec<_> = branches.collect().await;
        said.say("all streamed");
        Ok(tokens.into_iter().collect::<Result<(), _>>()?)
    });
    let joined = play.start(|said| async move {
        let tokens = join_all((0..BRANCHES).map(|_| branch(said.clone(), "joined", 1))).await;
        said.say("all joined");
        Ok(tokens.into_iter().collect::<Result<(), _>>()?)
    });

    for (task, name) in [(streamed, "streamed"), (joined, "joined")] {
        task.cancel();
        let lines = play.run();
        assert_eq!(lines.len(), 2 * BRANCHES + 1);
        assert_eq!(lines.iter().filter(|line| **line == format!("{name} told")).count(), BRANCHES);
        assert!(task.is_cancelled());
    }
    play.close();
}

// pitfall 3: the waker of the latest poll counts, not that of the first
// promise 4.4
#[test]
fn a_scope_that_moves_into_another_combinator_is_told_there() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut moved = Box::pin(branch(said.clone(), "moved", 1));
        assert!(futures::poll!(&mut moved).is_pending());
        let mut branches = FuturesUnordered::new();
        branches.push(moved);
        Ok(branches.next().await.expect("there is one")?)
    });

    task.cancel();
    assert_eq!(play.run(), ["moved told", "moved cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 4: ghosts
// promise 4.11
#[test]
fn a_forgotten_scope_neither_swallows_nor_blocks_a_request() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let outer = scope(async {
            let mut ghost = Box::pin(scope(pending::<()>()));
            assert!(poll_fn(|cx| Poll::Ready(ghost.as_mut().poll(cx))).await.is_pending());
            forget(ghost);
            pending::<()>().await;
        });
        let outer = outer.await;
        said.say("told");
        sleep(secs(1)).await;
        said.say("cleaned up");
        Ok(outer?)
    });

    task.cancel();
    assert_eq!(play.run(), ["told", "cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 4: ghosts, and nobody else
// promise 4.11
#[test]
fn a_task_with_nothing_but_ghosts_is_dropped() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let _dropped = said.finally("root dropped");
        for _ in 0..10 {
            let mut ghost = Box::pin(scope(pending::<()>()));
            assert!(futures::poll!(&mut ghost).is_pending());
            forget(ghost);
        }
        pending::<anyhow::Result<()>>().await
    });

    task.cancel();
    assert_eq!(play.run(), ["root dropped"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 4: parked, and polled again when another has heard
// promise 4.4, 4.11
#[test]
fn a_parked_scope_does_not_block_a_request_and_does_not_hear_it_when_it_is_polled_again() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut parked = Box::pin(branch(said.clone(), "parked", 1));
        assert!(futures::poll!(&mut parked).is_pending());
        let work = scope(pending::<()>()).await;
        said.say("told");
        sleep(secs(1)).await;
        said.say("cleaned up");
        drop(work);
        Ok(parked.await?)
    });

    task.cancel();
    assert_eq!(play.run(), ["told", "cleaned up"]); // it is answered
    task.cancel();
    assert_eq!(play.run(), ["parked told", "parked cleaned up"]); // it is polled by now
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 5: moved between tasks
// promise 4.11
#[test]
fn a_scope_that_moved_to_another_task_belongs_to_that_one() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let first = play.start(|said| {
        let shelf = shelf.clone();
        async move {
            let mut moved = Box::pin(branch(said, "moved", 1));
            assert!(futures::poll!(&mut moved).is_pending());
            shelf.put(moved);
            pending::<anyhow::Result<()>>().await
        }
    });
    let second = play.start(|_| {
        let moved = shelf.take().unwrap();
        async move { Ok(moved.await?) }
    });

    first.cancel();
    assert!(play.run().is_empty());
    assert!(first.is_cancelled() && !second.is_finished());
    second.cancel();
    assert_eq!(play.run(), ["moved told", "moved cleaned up"]);
    assert!(second.is_cancelled(), "the token is the second's own");
    drop((first, second));
    play.close();
}

// pitfall 5: moved while it should have been told
// promise 4.11
#[test]
fn a_scope_that_moves_away_before_it_hears_takes_no_request_along() {
    let (play, shelf) = (Play::new(), Shelf::new());
    let first = play.start(|said| {
        let shelf = shelf.clone();
        async move {
            let _dropped = said.finally("first dropped");
            let mut moved = Box::pin(branch(said.clone(), "moved", 1));
            assert!(futures::poll!(&mut moved).is_pending());
            shelf.put(moved);
            pending::<anyhow::Result<()>>().await
        }
    });
    first.cancel();
    play.world.executor.turn(hearken::Budget::Polls(1)); // told, and nobody heard
    let second = play.start(|_| {
        let moved = shelf.take().unwrap();
        async move { Ok(moved.await?) }
    });

    assert_eq!(play.said.lines(), ["first dropped"]);
    assert!(first.is_cancelled() && !second.is_finished());
    drop(second);
    play.world.executor.shut_down();
    assert_eq!(play.said.lines(), ["moved told", "moved cleaned up"]);
    drop((first, shelf));
    play.close();
}

// pitfalls 5 and 6: moved between executors
// promise 4.11
#[test]
fn a_scope_that_moved_to_another_executor_belongs_to_the_task_there() {
    let (here, there, shelf) = (Play::new(), World::new(), Shelf::new());
    let first = here.start(|said| {
        let shelf = shelf.clone();
        async move {
            let mut moved = Box::pin(branch(said, "moved", 0));
            assert!(futures::poll!(&mut moved).is_pending());
            shelf.put(moved);
            pending::<anyhow::Result<()>>().await
        }
    });
    let moved = shelf.take().unwrap();
    let second = there.executor.spawn(async move { Ok(moved.await?) });
    there.executor.run_until_idle();

    first.cancel();
    assert!(here.run().is_empty());
    assert!(first.is_cancelled());
    second.cancel();
    there.executor.run_until_idle();
    assert_eq!(here.said.lines(), ["moved told", "moved cleaned up"]);
    assert!(second.is_cancelled());
    drop((first, second));
    there.close();
    here.close();
}

// pitfall 6: nested executors
// promise 4.3, 6.6
#[test]
fn an_executor_inside_a_poll_has_scopes_of_its_own() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(async {
            let inner = Executor::builder().clock(ManualClock::auto()).build();
            let told = inner.block_on(async {
                let task = spawn(branch_of(said.clone()));
                yield_now().await;
                task.cancel();
                Ok(task.await.is_err())
            });
            said.say(format!("inner main: {}", told.unwrap()));
            pending::<()>().await;
        });
        let work = work.await;
        said.say("outer told");
        Ok(work?)
    });

    assert_eq!(play.said.lines(), ["inner told", "inner cleaned up", "inner main: true"]);
    task.cancel();
    assert_eq!(play.run(), ["outer told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

async fn branch_of(said: Transcript) -> anyhow::Result<()> {
    Ok(branch(said, "inner", 1).await?)
}

// pitfall 6: no task at all
// promise 4.3
#[test]
fn outside_of_a_task_a_scope_is_what_is_inside_it() {
    assert_eq!(futures::executor::block_on(scope(ready(7))).ok(), Some(7));
    let mut waiting = Box::pin(scope(pending::<()>()));
    assert!(poll_once(&mut waiting).is_pending());
}
