//! A deadline and a request to cancel, close together: the request is never
//! taken for the deadline, and never lost to it.

mod common;

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use common::{Gate, Play, assert_settled, secs};
use futures::future::select;
use hearken::{
    Budget, Cancelled, Elapsed, Executor, ManualClock, Origin, Task, TaskState, current, scope,
    shield, sleep, spawn, timeout, yield_now,
};

/// A clock that stands still until told, and an executor on it.
fn by_hand() -> (Executor, ManualClock) {
    let clock = ManualClock::new();
    (Executor::builder().clock(clock.clone()).build(), clock)
}

// test 64: a foreign request before the deadline
// promise 4.9
#[test]
fn a_request_before_the_deadline_is_not_taken_for_it() {
    let play = Play::new();
    let bare = play.spawn(|said| async move {
        let answer = timeout(secs(9), pending::<()>()).await;
        said.say(format!("never: {answer:?}"));
        Ok(())
    });
    let inside = play.spawn(|said| async move {
        let answer = timeout(secs(9), scope(pending::<()>())).await;
        let work: Result<(), Cancelled> = answer?;
        said.say(format!("inside told: {:?}", work.as_ref().unwrap_err().origin()));
        Ok(work?)
    });
    let around = play.spawn(|said| async move {
        let answer = scope(timeout(secs(9), pending::<()>())).await;
        said.say(format!("around told: {:?}", answer.as_ref().unwrap_err().origin()));
        Ok(answer??)
    });
    play.turn();

    for task in [&bare, &inside, &around] {
        task.cancel();
    }
    assert_eq!(play.run(), ["inside told: Requested", "around told: Requested"]);
    for task in [&bare, &inside, &around] {
        assert!(task.is_cancelled());
    }
    drop((bare, inside, around));
    play.close();
}

/// Where the scope is.
#[derive(Clone, Copy, Debug)]
enum Scoped {
    Nowhere,
    Inside,
    Around,
}

/// Waits for ever under a deadline of one second.
fn under_a_deadline(executor: &Executor, scoped: Scoped) -> Task<Origin> {
    executor.spawn(async move {
        let token = match scoped {
            Scoped::Nowhere => {
                timeout(secs(1), pending::<()>()).await?;
                unreachable!("it waits for ever")
            }
            Scoped::Inside => timeout(secs(1), scope(pending::<()>())).await?.unwrap_err(),
            Scoped::Around => match scope(timeout(secs(1), pending::<()>())).await {
                Ok(answer) => {
                    answer?;
                    unreachable!("it waits for ever")
                }
                Err(token) => token,
            },
        };
        Ok(token.origin())
    })
}

const EVERYWHERE: [Scoped; 3] = [Scoped::Nowhere, Scoped::Inside, Scoped::Around];

// row 86, thread 15; test 67 (race)
// promise 4.9
#[test]
fn a_request_that_comes_in_the_same_turn_wins_over_the_deadline() {
    for scoped in EVERYWHERE {
        for request_first in [true, false] {
            let (executor, clock) = by_hand();
            let task = under_a_deadline(&executor, scoped);
            executor.turn(Budget::Batch);

            if request_first {
                task.cancel();
            }
            clock.advance(secs(1));
            if !request_first {
                task.cancel();
            }
            executor.run_until_idle();
            match scoped {
                Scoped::Nowhere => assert!(task.is_cancelled()),
                _ => assert_eq!(*task.result().unwrap(), Origin::Requested, "{scoped:?}"),
            }
            drop(task);
            executor.shut_down();
            assert_settled(&executor);
        }
    }
}

// row 86: the request comes from an earlier task of the very batch in which the
// deadline is found to have passed.
// promise 4.9
#[test]
fn a_request_from_an_earlier_task_of_the_same_batch_wins_too() {
    for scoped in EVERYWHERE {
        let (executor, clock) = by_hand();
        let gate = Gate::new();
        let task = under_a_deadline(&executor, scoped);
        let task_ref = task.task_ref();
        let passes = gate.clone().pass();
        executor
            .spawn(async move {
                passes.await;
                task_ref.cancel();
                Ok(())
            })
            .detach();
        executor.run_until_idle();

        gate.open(); // queued before the timer fires
        clock.advance(secs(1));
        executor.run_until_idle();
        match scoped {
            Scoped::Nowhere => assert!(task.is_cancelled()),
            _ => assert_eq!(*task.result().unwrap(), Origin::Requested, "{scoped:?}"),
        }
    }
}

// row 86
// promise 4.9
#[test]
fn a_request_after_the_deadline_was_answered_hits_the_next_suspension() {
    let (executor, clock) = by_hand();
    let task = executor.spawn(async {
        let answer = timeout(secs(1), pending::<()>()).await;
        current().cancel();
        assert_eq!(answer, Err(Elapsed));
        let next = scope(pending::<()>()).await;
        Ok(next.unwrap_err().origin())
    });
    executor.turn(Budget::Batch);
    clock.advance(secs(1));
    executor.run_until_idle();
    assert_eq!(*task.result().unwrap(), Origin::Requested);
}

// row 86, thread 14: asyncio's zero timeout eats it.
// promise 4.9
#[test]
fn a_request_made_before_entry_is_not_turned_into_elapsed() {
    for limit in [Duration::ZERO, secs(1)] {
        let play = Play::new();
        let bare = play.start(|said| async move {
            current().cancel_with("before");
            let answer = timeout(limit, pending::<()>()).await;
            said.say(format!("never: {answer:?}"));
            Ok(())
        });
        let scoped = play.start(|said| async move {
            current().cancel_with("before");
            let answer = timeout(limit, scope(pending::<()>())).await?;
            said.say(answer.as_ref().unwrap_err().reason());
            Ok(answer?)
        });

        assert_eq!(play.said.lines(), ["before"]);
        assert!(bare.is_cancelled() && scoped.is_cancelled());
        drop((bare, scoped));
        play.close();
    }
}

// thread 14: and the clean-up after it takes longer than the deadline.
// promise 4.9
#[test]
fn a_request_made_before_entry_is_not_lost_to_a_deadline_that_passes_in_the_clean_up() {
    for limit in [Duration::ZERO, secs(1)] {
        let play = Play::new();
        let task = play.start(|said| async move {
            current().cancel();
            let inside = async {
                let work = scope(pending::<()>()).await;
                sleep(secs(5)).await;
                work
            };
            match timeout(limit, inside).await {
                Ok(work) => work?,
                Err(Elapsed) => said.say("elapsed"),
            }
            yield_now().await;
            said.say("never");
            Ok(())
        });

        assert!(!play.said.lines().contains(&"never".to_owned()), "{limit:?}");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}

// Thread 10: the clean-up after a foreign request is cut short by the deadline.
// promise 4.9
#[test]
fn a_request_is_not_lost_to_a_deadline_that_passes_while_it_is_cleaned_up_after() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async {
            let work = scope(pending::<()>()).await;
            said.say("told");
            sleep(secs(60)).await;
            said.say("cleaned up");
            work
        };
        match timeout(secs(9), inside).await {
            Ok(work) => work?,
            Err(Elapsed) => said.say("elapsed"),
        }
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();

    task.cancel();
    let lines = play.run();
    assert_eq!(lines[0], "told");
    assert!(!lines.contains(&"never".to_owned()), "{lines:?}");
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// Thread 10: the same, when it is a child that cleans up after it.
// promise 4.8, 4.9
#[test]
fn a_forwarded_request_is_not_lost_to_a_deadline_that_passes_while_the_child_cleans_up() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let child = spawn(async move {
            let work = scope(pending::<()>()).await;
            sleep(secs(60)).await;
            Ok(work?)
        });
        let answer = timeout(secs(9), child).await;
        said.say(format!("elapsed: {}", answer.is_err()));
        yield_now().await;
        said.say("never");
        Ok(())
    });
    play.turn();
    play.turn();

    task.cancel();
    assert!(!play.run().contains(&"never".to_owned()));
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.9, 4.11
#[test]
fn a_deadline_that_a_given_up_await_had_heard_hits_what_comes_after() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inside = async {
            let slow = spawn(async {
                let work = scope(pending::<()>()).await;
                sleep(secs(60)).await;
                Ok(work?)
            });
            drop(select(slow, Box::pin(sleep(secs(5)))).await);
            said.say("the await is given up");
            pending::<()>().await;
        };
        said.say(format!("{:?}", timeout(secs(1), inside).await));
        Ok(())
    });

    assert_eq!(play.run(), ["the await is given up", "Err(Elapsed)"]);
    assert!(task.is_finished());
    drop(task);
    play.close();
}

// The converse of it: who has accepted a request is not asked again.
// promise 4.3, 4.9
#[test]
fn a_request_that_was_accepted_does_not_come_back_with_the_deadline() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async {
            scope(pending::<()>()).await.unwrap_err().accept();
            said.say("accepted");
            pending::<()>().await;
        };
        said.say(format!("{:?}", timeout(secs(9), inside).await));
        yield_now().await;
        said.say("goes on");
        Ok(())
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["accepted", "Err(Elapsed)", "goes on"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// Threads 10 and 11: asyncio's wait_for hid the cancellation, or lost the value.
// promise 4.8, 4.9
#[test]
fn a_value_that_comes_in_the_same_turn_as_a_request_is_kept_and_so_is_the_request() {
    let (play, gate) = (Play::new(), Gate::new());
    let task = play.spawn(|said| {
        let gate = gate.clone();
        async move {
            let child = spawn(async {
                gate.pass().await;
                Ok(7)
            });
            let answer = timeout(secs(9), child).await;
            said.say(format!("{:?}", answer.map(Result::ok)));
            yield_now().await;
            said.say("never");
            Ok(())
        }
    });
    play.turn();
    play.turn();

    gate.open();
    play.turn(); // the child is done
    task.cancel();
    assert_eq!(play.run(), ["Ok(Some(7))"]);
    assert!(task.is_cancelled());
    drop((task, gate));
    play.close();
}

// test 64: a foreign request while what is inside cleans up after the deadline
// promise 4.5, 4.9
#[test]
fn a_request_during_the_clean_up_after_a_deadline_is_a_request() {
    let play = Play::new();
    let scoped = play.spawn(|said| async move {
        let inside = async {
            let work = scope(pending::<()>()).await;
            said.say("cleaning up");
            let cleanup = scope(sleep(secs(60))).await;
            said.say(format!("told: {:?}", cleanup.unwrap_err().origin()));
            work
        };
        said.say(format!("{:?}", timeout(secs(1), inside).await.map(|work| work.is_ok())));
        Ok(())
    });
    let bare = play.spawn(|said| async move {
        let inside = async {
            let work = scope(pending::<()>()).await;
            said.say("cleaning up");
            sleep(secs(60)).await;
            work
        };
        let answer = timeout(secs(1), inside).await;
        said.say(format!("never: {:?}", answer.map(|work| work.is_ok())));
        Ok(())
    });
    let mut lines = Vec::new();
    while lines.len() < 2 {
        lines.extend(play.turn());
    }
    assert_eq!(lines, ["cleaning up", "cleaning up"]);
    assert_eq!(play.world.executor.now().as_nanos(), 1_000_000_000);

    scoped.cancel();
    bare.cancel();
    assert_eq!(play.run(), ["told: Requested", "Err(Elapsed)"]);
    assert_eq!(scoped.info().state(), TaskState::Succeeded);
    assert!(bare.is_cancelled());
    drop((scoped, bare));
    play.close();
}

// promise 4.7, 4.9
#[test]
fn a_request_that_a_shield_holds_back_is_not_taken_for_a_deadline_under_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let shielded = async {
            let answer = timeout(secs(1), scope(pending::<()>())).await;
            said.say(format!("{:?}", answer.map(|inner| inner.is_ok())));
        };
        shield(shielded).await;
        let next = scope(pending::<()>()).await;
        said.say(format!("{:?}", next.as_ref().unwrap_err().origin()));
        Ok(next?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["Err(Elapsed)", "Requested"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.7, 4.9
#[test]
fn a_request_that_waits_for_a_shield_goes_before_the_deadline_around_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async {
            shield(sleep(secs(5))).await;
            let work = scope(pending::<()>()).await;
            said.say(format!("{:?}", work.as_ref().unwrap_err().origin()));
            work
        };
        let answer = timeout(secs(1), inside).await?;
        Ok(answer?)
    });
    play.turn();

    task.cancel();
    assert_eq!(play.run(), ["Requested"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

/// The await goes outward, and waits for the shield; then it loses a `select!`, and is kept.
/// What follows it hears of the request, and cleans up: nobody sends it outward any more.
// promise 4.11, 4.13
#[test]
fn what_was_sent_outward_through_a_deadline_is_heard_in_it_when_its_sender_is_parked() {
    for limited in [false, true] {
        let play = Play::new();
        let task: Task<()> = play.spawn(move |said| async move {
            let work = async {
                let child = spawn(pending::<anyhow::Result<()>>());
                let _kept = select(child, pin!(sleep(secs(3)))).await;
                let told = scope(pending::<()>()).await.expect_err("it is told");
                said.say("cleans up");
                told.rethrow().await
            };
            let work = async {
                match limited {
                    true => _ = timeout(secs(30), work).await.map(|never: Infallible| never),
                    false => match work.await {},
                }
            };
            futures::join!(shield(sleep(secs(12))), work);
            Ok(())
        });
        play.turn();
        play.turn();
        task.cancel();
        assert_eq!(play.run(), ["cleans up"], "{limited}");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}
