//! What must be done however it ends: `finally`.

mod common;

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{anyhow, bail};
use common::{Gate, Play, Shelf, Spilled, World, hushed, poll_once, secs};
use hearken::{
    Cancelled, CleanupFailed, Panicked, TaskCancelled, TaskError, finally, scope, shield, sleep,
    spawn, timeout, yield_now,
};

/// How `f` ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Value,
    Error,
    Panic,
    Cancelled,
}

async fn work(ends: Ends) -> anyhow::Result<u32> {
    yield_now().await;
    match ends {
        Ends::Value => Ok(7),
        Ends::Error => Err(Spilled("tea").into()),
        Ends::Panic => panic!("slipped"),
        Ends::Cancelled => pending().await,
    }
}

fn said_of(outcome: &Result<u32, TaskError>) -> String {
    match outcome {
        Ok(value) => format!("value {value}"),
        Err(TaskError::Failed(error)) => format!("failed: {error:#}"),
        Err(TaskError::Panicked(panicked)) => panicked.to_string(),
        Err(TaskError::Cancelled(token)) => token.to_string(),
    }
}

// promise 4.7
#[test]
fn whatever_way_it_ends_the_clean_up_runs_and_awaits_and_the_ending_goes_on() {
    let endings = [
        (Ends::Value, "value 7"),
        (Ends::Error, "failed: spilled tea"),
        (Ends::Panic, "panicked: slipped"),
        (Ends::Cancelled, "cancelled: closing time"),
    ];
    for (ends, expected) in endings {
        let play = Play::new();
        let mut task = hushed(|| {
            play.start(|said| {
                finally(work(ends), async move || {
                    said.say("cleaning up");
                    sleep(secs(1)).await;
                    said.say("cleaned up");
                    Ok(())
                })
            })
        });
        if ends == Ends::Cancelled {
            task.cancel_with("closing time");
        }
        assert_eq!(hushed(|| play.run()), ["cleaning up", "cleaned up"], "{ends:?}");
        let outcome = task.take().unwrap();
        assert_eq!(said_of(&outcome), expected);
        drop((task, outcome));
        play.close();
    }
}

// threads 46; test 26: neither error masks the other.
// promise 3.7, 4.7
#[test]
fn a_clean_up_that_fails_is_a_failure_that_holds_both_errors() {
    let endings = [
        (Ends::Value, None),
        (Ends::Error, Some("spilled tea")),
        (Ends::Panic, Some("panicked: slipped")),
        (Ends::Cancelled, Some("was cancelled: closing time")),
    ];
    for (ends, expected) in endings {
        let play = Play::new();
        let task = hushed(|| {
            play.start(|_| {
                finally(work(ends), async || {
                    yield_now().await;
                    Err(Spilled("milk").into())
                })
            })
        });
        if ends == Ends::Cancelled {
            task.cancel_with("closing time");
        }
        hushed(|| play.run());
        assert!(!task.is_cancelled(), "a failure in the clean-up is a failure");
        let failed = task.error().unwrap().unwrap().downcast_ref::<CleanupFailed>().unwrap();
        assert_eq!(failed.error().downcast_ref(), Some(&Spilled("milk")));
        let before = failed.before().map(ToString::to_string);
        match (&before, expected) {
            (None, None) => {}
            (Some(before), Some(expected)) => assert!(before.ends_with(expected), "{before}"),
            (before, expected) => panic!("{before:?} instead of {expected:?}"),
        }
        drop(task);
        play.close();
    }
}

// promise 4.7
#[test]
fn both_errors_of_a_clean_up_can_be_found_and_are_in_the_report() {
    let play = Play::new();
    play.start(|_| finally(work(Ends::Error), async || bail!("the sink is full"))).detach();
    play.run();

    let notes = play.world.heard.notes();
    assert_eq!(
        notes[0].error.as_deref(),
        Some("the clean-up failed, after: spilled tea: the sink is full")
    );
    play.close();
}

// promise 4.7
#[test]
fn what_panicked_before_its_clean_up_failed_can_be_found() {
    let play = Play::new();
    let task = hushed(|| {
        play.start(|_| finally(work(Ends::Panic), async || Err(anyhow!("the sink is full"))))
    });

    let failed = task.error().unwrap().unwrap().downcast_ref::<CleanupFailed>().unwrap();
    assert_eq!(failed.before().unwrap().downcast_ref::<Panicked>().unwrap().message(), "slipped");
    drop(task);
    play.close();
}

// promise 3.1, 4.7
#[test]
fn a_clean_up_that_panics_makes_the_task_panicked() {
    let play = Play::new();
    let mut task =
        hushed(|| play.start(|_| finally(work(Ends::Value), async || panic!("slipped again"))));

    let outcome = task.take().unwrap();
    assert_eq!(said_of(&outcome), "panicked: slipped again");
    drop((task, outcome));
    play.close();
}

// promise 4.5, 4.7
#[test]
fn a_second_request_cuts_the_clean_up_short() {
    let play = Play::new();
    let mut task = play.start(|said| {
        finally(work(Ends::Cancelled), async move || {
            let _dropped = said.finally("clean-up dropped");
            sleep(secs(60)).await;
            said.say("never");
            Ok(())
        })
    });

    task.cancel_with("please");
    play.turn();
    task.cancel_with("now");
    assert_eq!(play.run(), ["clean-up dropped"]);
    let outcome = task.take().unwrap();
    assert_eq!(said_of(&outcome), "cancelled: now");
    drop((task, outcome));
    play.close();
}

// promise 4.5, 4.7
#[test]
fn a_clean_up_under_a_shield_is_not_cut_short() {
    let play = Play::new();
    let task = play.start(|said| {
        finally(work(Ends::Cancelled), async move || {
            let cleanup = async {
                sleep(secs(60)).await;
                said.say("cleaned up");
            };
            shield(cleanup).await;
            Ok(())
        })
    });

    for _ in 0..3 {
        task.cancel();
        play.turn();
    }
    assert_eq!(play.run(), ["cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.3, 4.7
#[test]
fn nested_clean_ups_run_from_the_inside_out() {
    let play = Play::new();
    let task = play.start(|said| {
        let (inner, outer) = (said.clone(), said);
        let inner = finally(work(Ends::Cancelled), async move || {
            sleep(secs(1)).await;
            inner.say("inner cleaned up");
            Ok(())
        });
        finally(inner, async move || {
            sleep(secs(1)).await;
            outer.say("outer cleaned up");
            Ok(())
        })
    });

    task.cancel();
    assert_eq!(play.run(), ["inner cleaned up", "outer cleaned up"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.5, 4.7
#[test]
fn a_second_request_in_an_inner_clean_up_starts_the_outer_one() {
    let play = Play::new();
    let mut task = play.start(|said| {
        let (inner, outer) = (said.clone(), said);
        let inner = finally(work(Ends::Cancelled), async move || {
            let _dropped = inner.finally("inner clean-up dropped");
            sleep(secs(60)).await;
            Ok(())
        });
        finally(inner, async move || {
            sleep(secs(1)).await;
            outer.say("outer cleaned up");
            Ok(())
        })
    });

    task.cancel_with("please");
    play.turn();
    task.cancel_with("now");
    assert_eq!(play.run(), ["inner clean-up dropped", "outer cleaned up"]);
    let outcome = task.take().unwrap();
    assert_eq!(said_of(&outcome), "cancelled: now");
    drop((task, outcome));
    play.close();
}

// row 59
// promise 4.2, 4.7
#[test]
fn no_clean_up_runs_for_a_task_that_was_never_polled_or_is_dropped_with_its_executor() {
    let play = Play::new();
    let never_polled = play.spawn(|said| {
        finally(work(Ends::Cancelled), async move || {
            said.say("never");
            Ok(())
        })
    });
    never_polled.cancel();
    assert!(play.run().is_empty());
    assert!(never_polled.is_cancelled());

    let dropped = play.start(|said| {
        finally(work(Ends::Cancelled), async move || {
            said.say("never");
            Ok(())
        })
    });
    let Play { world: World { executor, .. }, said } = play;
    drop(executor);
    assert!(said.lines().is_empty());
    assert!(dropped.is_cancelled());
}

// promise 4.7
#[test]
fn the_clean_up_may_use_what_the_future_used() {
    let play = Play::new();
    let gate = Gate::new();
    let task = play.start(|said| {
        let gate = gate.clone();
        async move {
            let mut lines = vec!["opened"];
            let used = finally(
                async {
                    gate.pass().await;
                    Ok(())
                },
                async || {
                    lines.push("closed"); // borrows from the task
                    Ok(())
                },
            );
            let ended = used.await;
            said.say(lines.join(", "));
            ended
        }
    });

    gate.open();
    assert_eq!(play.run(), ["opened, closed"]);
    drop((task, gate));
    play.close();
}

// promise 3.3, 4.7
#[test]
fn a_cancelled_child_in_the_body_is_an_error_like_others() {
    let play = Play::new();
    let task = play.start(|_| {
        finally(
            async {
                let child = spawn(pending::<anyhow::Result<()>>());
                child.cancel_with("elsewhere");
                Ok(child.await?)
            },
            async || Ok(()),
        )
    });

    let error = task.error().unwrap().unwrap();
    assert!(error.is::<TaskCancelled>() && !error.is::<Cancelled>());
    drop(task);
    play.close();
}

// The token of the deadline is not handed out with the failure, or that would be
// taken for the answer of the deadline, and nobody would hear of it.
// promise 4.7, 4.9
#[test]
fn a_failure_is_not_lost_when_a_deadline_stops_the_clean_up() {
    let play = Play::new();
    let task = play.start(|_| async {
        let clumsy = finally(async { Err::<(), _>(Spilled("milk").into()) }, async || {
            scope(pending::<()>()).await?;
            Ok(())
        });
        timeout(secs(1), clumsy).await?
    });
    hushed(|| play.run());
    let failed = task.error().unwrap().unwrap().downcast_ref::<CleanupFailed>().unwrap();
    assert!(failed.error().is::<TaskCancelled>());
    assert_eq!(failed.before().unwrap().downcast_ref(), Some(&Spilled("milk")));
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn a_body_that_panics_as_it_is_dropped_at_its_end_is_cleaned_up_after() {
    /// Is ready with 7 at once, and panics when it is dropped.
    struct Clumsy;

    impl Future for Clumsy {
        type Output = anyhow::Result<u32>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(7))
        }
    }

    impl Drop for Clumsy {
        fn drop(&mut self) {
            panic!("slipped");
        }
    }

    let play = Play::new();
    let mut task = hushed(|| {
        play.start(|said| {
            finally(Clumsy, async move || {
                said.say("cleaned up");
                Ok(())
            })
        })
    });
    assert_eq!(play.said.lines(), ["cleaned up"]);
    assert_eq!(said_of(&task.take().expect("it has ended")), "panicked: slipped");
    drop(task);
    play.close();
}

// promise 4.7
#[test]
fn a_clean_up_that_fails_after_a_value_says_that_and_no_more() {
    let play = Play::new();
    let task = play.start(|_| finally(async { Ok(7) }, async || bail!("the sink is full")));
    let error = task.error().unwrap().unwrap();
    assert_eq!(format!("{error:#}"), "the clean-up failed: the sink is full");
    assert!(error.downcast_ref::<CleanupFailed>().unwrap().before().is_none());
    drop(task);
    play.close();
}

/// A clean-up that passes on what it is told.
async fn told() -> anyhow::Result<()> {
    Ok(scope(pending::<()>()).await?)
}

// promise 4.7
#[test]
fn a_clean_up_that_ends_by_a_cancellation_has_not_failed_and_that_goes_outward() {
    for body_is_cancelled in [false, true] {
        let play = Play::new();
        let task = play.start(|said| async move {
            let body = async move {
                if body_is_cancelled {
                    told().await?;
                }
                Ok(7)
            };
            let told = scope(finally(body, told)).await.expect_err("it goes to the scope around");
            said.say(told.reason().to_owned());
            Ok(())
        });
        if body_is_cancelled {
            task.cancel_with("first");
            assert!(play.run().is_empty(), "the clean-up goes first");
        }
        task.cancel_with("now");
        assert_eq!(play.run(), ["now"], "the latest is told: {body_is_cancelled}");
        drop(task);
        play.close();
    }
}

// promise 4.7, 4.11
#[test]
fn a_token_of_another_task_that_ends_the_clean_up_is_a_failure_of_it() {
    let play = Play::new();
    let shelf = Shelf::new();
    let shelved = shelf.clone();
    let other = play.start(|_| async move {
        shelved.put(scope(pending::<()>()).await.expect_err("it is cancelled"));
        Ok(())
    });
    other.cancel_with("theirs");
    play.run();
    let token: Cancelled = shelf.take().expect("it was told");
    let task = play.start(|_| finally(async { Ok(7) }, async move || Err(token.into())));
    let error = task.error().unwrap().unwrap();
    assert_eq!(format!("{error:#}"), "the clean-up failed: cancelled: theirs");
    drop((other, task));
    play.close();
}

// promise 4.7
#[test]
#[should_panic(expected = "finally polled after it was ready")]
fn whoever_polls_it_after_its_end_is_told_so() {
    let mut over = Box::pin(finally(async { Ok(()) }, async || Ok(())));
    assert!(poll_once(&mut over).is_ready());
    _ = poll_once(&mut over);
}
