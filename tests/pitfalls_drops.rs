//! The traps of cancelling by scopes, from the seventh on: what is dropped
//! panics, moves, swallows, cancels and spawns. The first six are in
//! `pitfalls.rs`.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use common::{OnDrop, Play, Shelf, hushed, secs};
use hearken::{Panicked, ReportKind, Task, current, scope, sleep, spawn};

/// Pending; panics when dropped.
async fn slippery() {
    let _panics = OnDrop(|| panic!("slipped"));
    pending().await
}

// pitfall 7: a panic while the root is dropped
// promise 4.12
#[test]
fn a_root_that_panics_while_it_is_dropped_has_panicked_and_says_why() {
    let play = Play::new();
    let task = play.start(|_| async {
        slippery().await;
        Ok(())
    });

    task.cancel_with("closing time");
    hushed(|| play.run());
    assert!(!task.is_cancelled());
    let panicked = task.error().unwrap().unwrap().downcast_ref::<Panicked>().unwrap();
    assert_eq!(panicked.message(), "slipped");
    assert_eq!(panicked.cancelled().map(|told| told.reason()), Some("closing time"));
    drop(task);
    play.close();
}

// pitfall 7: a panic while what is inside a scope is dropped
// promise 4.12
#[test]
fn a_scope_whose_inside_panics_while_it_is_dropped_has_panicked_and_says_why() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let _dropped = said.finally("root dropped");
        let work = scope(slippery()).await;
        said.say("never");
        Ok(work?)
    });
    let number = task.id().number();

    task.cancel_with("closing time");
    drop(task); // so that it is reported
    assert_eq!(hushed(|| play.run()), ["root dropped"]);
    let notes = play.world.heard.notes();
    let notes: Vec<_> =
        notes.iter().filter(|note| note.kind == ReportKind::NeverRetrieved).collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].task, Some(number));
    let error = notes[0].error.as_deref().unwrap();
    assert!(error.contains("slipped") && error.contains("closing time"), "{error}");
    // The loop goes on.
    let next = play.start(|_| async { Ok(7) });
    assert_eq!(*next.result().unwrap(), 7);
    drop(next);
    play.close();
}

/// Panics when it is polled for the second time; says when it is dropped.
struct PanicsAtTheSecondPoll {
    polls: Rc<Cell<u32>>,
    drops: Rc<Cell<u32>>,
}

impl Future for PanicsAtTheSecondPoll {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        assert!(self.polls.get() < 2, "polled {} times", self.polls.get());
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for PanicsAtTheSecondPoll {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

// pitfall 8: a panic in a poll
// promise 3.1, 4.3
#[test]
fn what_panics_inside_a_scope_is_never_polled_again_and_is_dropped_once() {
    let (play, polls, drops) = (Play::new(), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let future = PanicsAtTheSecondPoll { polls: polls.clone(), drops: drops.clone() };
    let task = hushed(|| {
        play.start(|_| async {
            scope(scope(future)).await??;
            Ok(())
        })
    });

    assert!(task.error().unwrap().unwrap().is::<Panicked>());
    assert_eq!((polls.get(), drops.get()), (2, 1));
    assert!(!task.cancel());
    drop(task);
    play.close();
}

// pitfall 9, swallowing, is in tokens.rs.

// pitfall 10: a task that never finishes after the request
// promise 6.4
#[test]
fn a_task_that_catches_every_request_lives_as_long_as_the_grace() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let _dropped = said.finally("dropped");
        loop {
            let _ = scope(pending::<()>()).await;
            said.say("told, and goes on");
        }
        #[allow(unreachable_code)] // gives the block its type
        Ok(())
    });

    let before = play.world.executor.now();
    let shutdown = play.world.executor.shut_down();
    assert_eq!(shutdown.dropped, 1);
    assert_eq!(play.world.executor.now() - before, secs(5), "the default grace");
    let lines = play.said.lines();
    assert_eq!(
        (lines.first().unwrap().as_str(), lines.last().unwrap().as_str()),
        ("told, and goes on", "dropped")
    );
    assert!(task.is_cancelled());
    assert_eq!(play.world.heard.count(ReportKind::Overran), 1);
    drop(task);
    play.close();
}

/// Notes where it is polled, and asserts that it is dropped there.
struct Immovable {
    polled_at: Cell<usize>,
    dropped_in_place: Rc<Cell<bool>>,
    _pin: PhantomPinned,
}

impl Future for Immovable {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.polled_at.set(std::ptr::from_ref(&*self).addr());
        Poll::Pending
    }
}

impl Drop for Immovable {
    fn drop(&mut self) {
        let here = std::ptr::from_ref(self).addr();
        self.dropped_in_place.set(self.polled_at.get() == here);
    }
}

// pitfall 11: pins
// promise 4.3
#[test]
fn what_is_inside_a_scope_is_dropped_where_it_was_polled() {
    let (play, in_place) = (Play::new(), Rc::new(Cell::new(false)));
    let future = Immovable {
        polled_at: Cell::new(0),
        dropped_in_place: in_place.clone(),
        _pin: PhantomPinned,
    };
    let task = play.start(|_| async move { Ok(scope(future).await?) });

    task.cancel();
    play.run();
    assert!(task.is_cancelled() && in_place.get());
    drop(task);
    play.close();
}

// pitfall 12: cancel is called from inside drops and polls
// promise 4.1, 4.5, 8.3
#[test]
fn a_request_made_while_what_is_inside_is_dropped_is_the_next_request() {
    let (play, other) = (Play::new(), Shelf::new());
    let task = play.start(|said| {
        let other = other.clone();
        async move {
            let me = current();
            let inside = async {
                let _cancels = OnDrop(|| {
                    assert!(me.cancel_with("from the drop"));
                    other.with(|other: &mut Task<()>| assert!(other.cancel()));
                });
                pending::<()>().await;
            };
            let work = scope(inside).await;
            said.say(format!("first: {}", work.as_ref().unwrap_err().reason()));
            let cleanup = scope(sleep(secs(60))).await;
            said.say(format!("second: {}", cleanup.unwrap_err().reason()));
            Ok(work?)
        }
    });
    other.put(play.start(|said| async move {
        let _dropped = said.finally("the other is dropped");
        pending().await
    }));

    task.cancel_with("from outside");
    assert_eq!(
        play.run(),
        ["first: from outside", "second: from the drop", "the other is dropped"]
    );
    assert!(task.is_cancelled());
    drop((task, other));
    play.close();
}

// pitfall 12: and from a sibling's clean-up
// promise 4.1, 4.4, 8.3
#[test]
fn branches_may_cancel_their_own_task_and_each_other_while_they_are_told() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let told = |name| {
            let said = said.clone();
            async move {
                let work = scope(pending::<()>()).await;
                said.say(format!("{name} told"));
                current().cancel();
                let cleanup = scope(pending::<()>()).await;
                said.say(format!("{name} told again"));
                drop(cleanup);
                work
            }
        };
        let (a, b) = futures::join!(told("a"), told("b"));
        a?;
        b?;
        Ok(())
    });

    task.cancel();
    assert_eq!(play.run(), ["a told", "b told", "a told again", "b told again"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// pitfall 14: the drop of the root runs foreign code
// promise 4.2, 8.3
#[test]
fn a_root_that_is_dropped_may_spawn_cancel_and_drop_handles() {
    let play = Play::new();
    let victim = play.start(|said| async move {
        let _dropped = said.finally("victim dropped");
        pending::<anyhow::Result<()>>().await
    });
    let failed = play.start(|_| common::failing());
    let handles = RefCell::new(Some((victim, failed)));
    let task = play.start(|said| async move {
        let _at_the_end = OnDrop(move || {
            let line = said.clone();
            spawn(async move {
                line.say("spawned by a drop");
                Ok(())
            })
            .detach();
            let (victim, failed) = handles.take().unwrap();
            assert!(victim.cancel());
            drop((victim, failed));
        });
        pending::<anyhow::Result<()>>().await
    });

    task.cancel();
    assert_eq!(play.run(), ["spawned by a drop", "victim dropped"]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.heard.count(ReportKind::NeverRetrieved), 1, "the failed one");
    drop(task);
    play.close();
}

// pitfall 15: children of a body that is dropped
// promise 4.2
#[test]
fn children_of_a_task_that_is_dropped_run_on() {
    let play = Play::new();
    let parent = play.spawn(|said| async move {
        let child = {
            let said = said.clone();
            spawn(async move {
                sleep(secs(1)).await;
                said.say("child runs on");
                Ok(())
            })
        };
        let _held = (child, said.finally("parent dropped"));
        pending::<anyhow::Result<()>>().await
    });
    play.turn();
    parent.cancel();
    assert_eq!(play.run(), ["parent dropped", "child runs on"]);
    drop(parent);
    play.close();
}

// Pitfall 16, clean-up that awaits cannot hide in a type, is what `finally` is
// for: see shields.rs.
