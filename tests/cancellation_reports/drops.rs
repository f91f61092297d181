//! Drops and panics, and what is handed over at a bad moment.

use std::cell::Cell;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use async_lock::Mutex;
use futures::FutureExt as _;
use futures::future::join;
use hearken::{
    Budget, Origin, Panicked, TaskState, finally, scope, sleep, spawn, timeout, yield_now,
};

use crate::common::{OnDrop, Play, hushed, secs};
use crate::{run, tell};

// python/cpython 112202, agronholm/anyio 1075: a waiter that was woken and
// cancelled at once took the wake-up with it.
// promise 4.2, 7.2
#[test]
fn a_waiter_that_is_cancelled_as_it_is_woken_passes_the_lock_on() {
    for cancelled_first in [true, false] {
        for listens in [true, false] {
            let play = Play::new();
            let lock = Arc::new(Mutex::new(()));
            let guard = lock.try_lock_arc().expect("nobody has it");
            let waits = |name: &'static str| {
                let lock = lock.clone();
                play.start(move |said| async move {
                    let guard = match listens {
                        true => scope(lock.lock()).await?,
                        false => lock.lock().await,
                    };
                    said.say(name);
                    yield_now().await;
                    drop(guard);
                    Ok(())
                })
            };
            let (first, second) = (waits("first"), waits("second"));
            if cancelled_first {
                first.cancel();
            }
            drop(guard);
            if !cancelled_first {
                first.cancel();
            }
            let lines = run(&play);
            assert_eq!(lines.last().map(String::as_str), Some("second"), "{lines:?}");
            assert!(first.is_cancelled());
            drop((first, second));
            play.close();
        }
    }
}

/// A panic on drop.
fn loud() -> OnDrop<impl FnMut()> {
    OnDrop(|| panic!("not like this"))
}

// Kotlin/kotlinx.coroutines 1937, in review: what if the handler of a cancellation
// throws?
// promise 4.12
#[test]
fn a_branch_that_panics_as_it_is_told_takes_the_other_with_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let panics = scope(async {
            let _loud = loud();
            pending::<()>().await;
        });
        let tidies = async {
            let _dropped = said.finally("the other dropped");
            let told = scope(pending::<()>()).await;
            sleep(secs(1)).await;
            said.say("never");
            told
        };
        let _ = join(panics, tidies).await;
        Ok(())
    });
    task.cancel_with("closing time");
    assert_eq!(hushed(|| run(&play)), ["the other dropped"]);
    let panicked = task.error().unwrap().unwrap().downcast_ref::<Panicked>().unwrap();
    assert_eq!(panicked.message(), "not like this");
    assert_eq!(panicked.cancelled().unwrap().reason(), "closing time");
    drop(task);
    play.close();
}

// The same question, of a limit; and the panic is caught.
// promise 4.12, 4.9
#[test]
fn a_deadline_whose_inside_panics_as_it_is_dropped_lets_the_panic_through() {
    for listens in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let inside = async {
                let _loud = loud();
                pending::<()>().await;
            };
            let caught = match listens {
                false => AssertUnwindSafe(timeout(secs(1), inside)).catch_unwind().await.is_err(),
                true => {
                    let limited = timeout(secs(1), scope(inside));
                    AssertUnwindSafe(limited).catch_unwind().await.is_err()
                }
            };
            tell(&said, &format!("caught: {caught}"));
            let told = timeout(secs(1), scope(pending::<()>())).await.map(drop);
            tell(&said, &format!("{told:?}"));
            let told = scope(pending::<()>()).await;
            tell(&said, &format!("{:?}", told.as_ref().unwrap_err().origin()));
            Ok(told?)
        });
        assert_eq!(hushed(|| run(&play)), ["caught: true at 1", "Err(Elapsed) at 2"]);
        task.cancel();
        assert_eq!(run(&play), [format!("{:?} at 2", Origin::Requested)]);
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// The same question, of a scope. The request has been heard by whoever catches the
// panic: it is in his hand, as the token would have been.
// promise 4.12
#[test]
fn a_task_that_catches_the_panic_of_what_a_request_dropped_can_be_cancelled_again() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inside = scope(async {
            let _loud = loud();
            pending::<()>().await;
        });
        let caught = AssertUnwindSafe(inside).catch_unwind().await;
        said.say(format!("caught: {}", caught.is_err()));
        yield_now().await;
        pending::<()>().await;
        Ok(())
    });
    task.cancel();
    assert_eq!(hushed(|| run(&play)), ["caught: true"]);
    task.cancel();
    run(&play);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// python/cpython 103847: a process that was made at the moment of a cancellation
// was neither handed over nor ended.
// promise 4.8, 4.2, 3.5
#[test]
fn what_a_task_has_made_is_closed_at_whatever_moment_its_awaiter_is_cancelled() {
    for turns in 0..7 {
        for cleans_up in [false, true] {
            let play = Play::new();
            let (made, closed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (makes, closes) = (made.clone(), closed.clone());
            let task = play.spawn(|_| async move {
                let maker = spawn(async move {
                    yield_now().await;
                    makes.set(makes.get() + 1);
                    let process = OnDrop(move || closes.set(closes.get() + 1));
                    yield_now().await;
                    Ok(process)
                });
                match cleans_up {
                    true => {
                        let uses = async {
                            let _process = maker.await?;
                            pending::<anyhow::Result<()>>().await
                        };
                        finally(uses, async || {
                            sleep(secs(1)).await;
                            Ok(())
                        })
                        .await
                    }
                    false => {
                        let _process = maker.await?;
                        pending::<anyhow::Result<()>>().await
                    }
                }
            });
            for _ in 0..turns {
                play.world.executor.turn(Budget::Batch);
            }
            task.cancel();
            run(&play);
            assert_eq!(task.info().state(), TaskState::Cancelled, "{turns} {cleans_up}");
            assert_eq!(made.get(), closed.get(), "{turns} {cleans_up}");
            drop(task);
            play.close();
        }
    }
}
