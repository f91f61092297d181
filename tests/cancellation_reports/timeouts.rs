//! Deadlines.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use async_lock::Semaphore;
use futures::future::{Either, select};
use hearken::{
    Cancelled, Elapsed, Group, GroupError, Instant, Origin, Task, TaskError, TaskState,
    TimeoutHandle, current, finally, gather, group, now, scope, shield, sleep, sleep_until, spawn,
    timeout, timeout_by, yield_now,
};

use crate::common::cast::{fails, naps, tidies};
use crate::common::{Play, Transcript, World, secs};
use crate::{cancel_at, run, tell};

// typelevel/cats-effect 3396: a deadline around what cancels itself was slept
// through to its end.
// promise 4.6, 4.9
#[test]
fn who_cancels_itself_under_a_deadline_does_not_wait_for_it() {
    for listens in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let inside = async {
                current().cancel_with("enough");
                match listens {
                    true => scope(pending::<()>()).await,
                    false => pending().await,
                }
            };
            let told = timeout(secs(3), inside).await.expect("it is not the deadline");
            tell(&said, told.as_ref().unwrap_err().reason());
            Ok(told?)
        });

        assert_eq!(run(&play), if listens { &["enough at 0"][..] } else { &[] });
        assert!(task.is_cancelled());
        assert_eq!(play.world.executor.next_deadline(), None);
        drop(task);
        play.close();
    }
}

/// Tries for ever, each time for a second at most.
async fn tries(said: &Transcript) {
    loop {
        let answer = timeout(secs(1), pending::<()>()).await;
        tell(said, &format!("{answer:?}"));
    }
}

// Kotlin/kotlinx.coroutines 67: the inner limit took the outer one's signal for
// its own, and the loop tried for ever.
// promise 4.9
#[test]
fn who_tries_again_after_each_limit_is_stopped_by_the_limit_around_it() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let whole = timeout(secs(3), tries(&said)).await;
        tell(&said, &format!("whole {whole:?}"));
        Ok(())
    });
    // The third try and the whole end at the same moment: the outermost answers.
    assert_eq!(run(&play), ["Err(Elapsed) at 1", "Err(Elapsed) at 2", "whole Err(Elapsed) at 3"]);
    drop(task);
    play.close();
}

// The same report; and here the signal is a request, at the moment of a limit.
// promise 4.9, 4.2
#[test]
fn who_tries_again_after_each_limit_is_stopped_by_a_request_that_meets_one() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        tries(&said).await;
        Ok(())
    });
    cancel_at(&play, &task, 3);
    assert_eq!(run(&play), ["Err(Elapsed) at 1", "Err(Elapsed) at 2"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// Kotlin/kotlinx.coroutines 1374, 2394: that a limit was exceeded counts as a
// cancellation there, so the task ends in silence.
// promise 3.3, 3.6, 4.9
#[test]
fn a_limit_that_is_passed_on_is_a_failure_and_is_reported() {
    let play = Play::new();
    let task = play.spawn(|_| async { Ok(timeout(secs(1), pending::<()>()).await?) });
    run(&play);
    assert_eq!(task.info().state(), TaskState::Failed);
    drop(task);
    run(&play);
    assert_eq!(play.world.heard.unretrieved(), [Elapsed.to_string()]);
    play.close();
}

// Kotlin/kotlinx.coroutines 1374: nor did it stop the others of its group.
// promise 3.3, 5.4
#[test]
fn a_limit_that_a_task_of_a_group_passes_on_is_an_error_of_the_group() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let error: GroupError = group(async |g: Group| {
            g.spawn(async { Ok(timeout(secs(1), pending::<()>()).await?) }).detach();
            g.spawn(tidies(said.clone(), "sibling", 2)).detach();
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.errors().len(), 1);
        assert!(error.errors()[0].is::<Elapsed>());
        tell(&said, "group over");
        Ok(())
    });
    assert_eq!(run(&play), ["sibling tidied at 3", "group over at 3"]);
    drop(task);
    play.close();
}

// agronholm/anyio 698, python-trio/trio 860: with two of them cancelled at once,
// it was a matter of luck which one caught the signal.
// promise 4.9
#[test]
fn an_outer_deadline_that_passes_while_the_inner_one_is_answered_acts_after_it() {
    let play = Play::new();
    let clock = play.world.clock.clone();
    let task = play.spawn(|said| async move {
        let outer = timeout(secs(10), async {
            let inner = timeout(secs(5), async {
                let told = scope(pending::<()>()).await;
                clock.advance(secs(5)); // busy, and without a suspension
                told
            });
            said.say(format!("inner {:?}", inner.await.map(drop)));
            pending::<()>().await;
        });
        said.say(format!("outer {:?}", outer.await));
        sleep(secs(1)).await;
        said.say("goes on");
        Ok(())
    });
    assert_eq!(run(&play), ["inner Err(Elapsed)", "outer Err(Elapsed)", "goes on"]);
    drop(task);
    play.close();
}

// python-trio/trio 1175: a scope that nobody had cancelled swallowed the signal
// of another one on its way out.
// promise 4.9
#[test]
fn a_deadline_that_has_not_passed_lets_the_token_of_another_through() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let answer = timeout(secs(5), async {
            let inner = timeout(
                secs(100),
                finally(scope_and_pass(), async || {
                    sleep(secs(1)).await;
                    tell(&said, "cleaned up");
                    Ok(())
                }),
            );
            let inner = inner.await;
            said.say(format!("never: {:?}", inner.map(|inner| inner.is_ok())));
        });
        let answer = answer.await;
        tell(&said, &format!("{answer:?}"));
        let told = timeout(secs(5), timeout(secs(100), scope(pending::<()>())));
        let answer = told.await;
        tell(&said, &format!("{:?}", answer.map(|inner| inner.is_ok())));
        Ok(())
    });
    assert_eq!(
        run(&play),
        [
            "cleaned up at 6",
            "Err(Elapsed) at 6", // the token went outward past the inner deadline
            "Err(Elapsed) at 11", // and here it was in the inner one's output
        ]
    );
    drop(task);
    play.close();
}

async fn scope_and_pass() -> anyhow::Result<()> {
    Ok(scope(pending::<()>()).await?)
}

// python-trio/trio 835, Tinche/quattro 2: who was busy until after its deadline
// got past the next suspension all the same.
// promise 4.9
#[test]
fn who_was_busy_beyond_its_deadline_does_not_get_past_the_next_suspension() {
    let play = Play::new();
    let clock = play.world.clock.clone();
    let task = play.spawn(|said| async move {
        let inside = async {
            yield_now().await; // its time has begun
            clock.advance(secs(2));
            pending::<()>().await;
        };
        let answer = timeout(secs(1), inside).await;
        tell(&said, &format!("{answer:?}"));
        // And one that has passed when it is set gets by no suspension at all.
        let past = timeout_by(&TimeoutHandle::new(Some(now())), async {
            yield_now().await;
            said.say("never");
        });
        let answer = past.await;
        tell(&said, &format!("{answer:?}"));
        Ok(())
    });
    assert_eq!(run(&play), ["Err(Elapsed) at 2", "Err(Elapsed) at 2"]);
    drop(task);
    play.close();
}

// tokio-rs/tokio 4314: the clock was never asked as long as the inside used up
// its share of each poll.
// promise 4.9, 7.1
#[test]
fn a_deadline_stops_what_is_never_idle() {
    for listens in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let busy = async {
                loop {
                    yield_now().await;
                }
            };
            let answer = match listens {
                true => timeout(secs(1), scope(busy)).await.map(drop),
                false => timeout(secs(1), busy).await,
            };
            tell(&said, &format!("{answer:?}"));
            Ok(())
        });
        for _ in 0..8 {
            play.turn();
        }
        assert!(!task.is_finished());
        play.world.clock.advance(secs(1));
        assert_eq!(run(&play), ["Err(Elapsed) at 1"]);
        drop(task);
        play.close();
    }
}

// Kotlin/kotlinx.coroutines 2233, 1355: a permit that was granted at the very
// moment of the limit was nobody's.
// promise 4.9, 4.2
#[test]
fn a_permit_that_comes_in_the_turn_of_the_deadline_is_had_or_left() {
    for (turns, ending) in [(0, "had at 1"), (3, "left at 1")] {
        let play = Play::new();
        let permits = Rc::new(Semaphore::new(1));
        let (held, wanted) = (permits.clone(), permits.clone());
        let holds = play.spawn(|_| async move {
            let _permit = held.acquire().await;
            for _ in 0..turns {
                yield_now().await; // its timer is the younger one then
            }
            sleep_until(Instant::from_nanos(1_000_000_000)).await;
            Ok(())
        });
        let waits = play.spawn(|said| async move {
            let permit = timeout(secs(1), wanted.acquire()).await;
            tell(&said, if permit.is_ok() { "had" } else { "left" });
            Ok(())
        });
        assert_eq!(run(&play), [ending]);
        assert!(permits.try_acquire().is_some(), "and was given back");
        drop((holds, waits));
        play.close();
    }
}

// Kotlin/kotlinx.coroutines 892: a failure that was caught inside came out of
// the limit around it.
// promise 4.9, 4.8
#[test]
fn a_failure_that_is_caught_inside_does_not_come_out_of_the_deadline() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async {
            loop {
                let failed = spawn(fails(said.clone(), "tea", 1)).await;
                assert!(matches!(failed, Err(TaskError::Failed(_))), "{failed:?}");
            }
        };
        let answer: Result<(), Elapsed> = timeout(secs(3), inside).await;
        tell(&said, &format!("{answer:?}"));
        Ok(())
    });
    // The deadline is the older timer, so the third child is cancelled in time.
    assert_eq!(run(&play), ["tea failed at 1", "tea failed at 2", "Err(Elapsed) at 3"]);
    drop(task);
    assert!(play.close().unretrieved().is_empty());
}

// python/cpython 88537: to wait for a task that was being cancelled already, with
// a limit, left it running or waited for ever.
// promise 4.9, 4.8, 4.5
#[test]
fn a_deadline_around_a_task_that_cleans_up_already_asks_it_again() {
    let play = Play::new();
    let child = play.start(|said| tidies(said, "child", 60));
    child.cancel();
    let child_ref = child.task_ref();
    let task = play.spawn(|said| async move {
        let answer = timeout(secs(1), child).await;
        tell(&said, &format!("{:?}", answer.map(drop)));
        Ok(())
    });
    assert_eq!(run(&play), ["Err(Elapsed) at 1"]); // its clean-up was cut short
    assert_eq!(child_ref.state(), TaskState::Cancelled);
    drop((task, child_ref));
    play.close();
}

// Kotlin/kotlinx.coroutines 4382: a limit did not work around what ran on a
// dispatcher that stood still.
// promise 4.9, 10.2
#[test]
fn a_deadline_does_not_wait_for_a_task_of_an_executor_that_stands_still() {
    let (play, there) = (Play::new(), World::new());
    let child = there.executor.spawn(pending::<anyhow::Result<()>>());
    let child_ref = child.task_ref();
    let task = play.spawn(|said| async move {
        let answer = timeout(secs(1), child).await;
        tell(&said, &format!("{:?}", answer.map(drop)));
        Ok(())
    });
    assert_eq!(run(&play), ["Err(Elapsed) at 1"]);
    assert_eq!((child_ref.is_finished(), child_ref.cancelling()), (false, 0));
    drop((task, child_ref));
    there.close();
    play.close();
}

// zio/zio 10255: a sleeper with a limit, forked and interrupted over and over,
// hung after some seconds: once in a while the two met at a bad moment.
// promise 4.1, 4.2, 4.9, 7.6
#[test]
fn a_limited_nap_may_be_cancelled_at_every_moment() {
    for turns_before in 0..6 {
        for (limit, nap) in [(1, 2), (2, 1), (1, 1), (0, 1)] {
            let play = Play::new();
            let nap = async move {
                let napped = timeout(secs(limit), scope(sleep(secs(nap)))).await;
                Ok(napped??)
            };
            let task = play.spawn(|_| nap);
            for _ in 0..turns_before {
                play.turn();
            }
            let asked = task.cancel();
            run(&play);
            assert!(task.is_finished());
            assert!(task.is_cancelled() || !asked || turns_before > 0);
            assert_eq!(play.world.executor.next_deadline(), None);
            drop(task);
            play.close();
        }
    }
}

// zio/zio 9288, 2226: limits, races and children that were begun in the clean-up
// of an interrupted fiber were interrupted at once.
// promise 4.3, 4.7
#[test]
fn what_is_begun_in_a_clean_up_is_not_hit_by_the_request_that_began_it() {
    let play = Play::new();
    let task = play.spawn(|said| {
        finally(pending::<anyhow::Result<()>>(), async move || {
            let both = [spawn(naps(said.clone(), "a", 1)), spawn(naps(said.clone(), "b", 2))];
            gather(both).await?;
            timeout(secs(5), naps(said.clone(), "c", 1)).await??;
            select(pin!(pending::<()>()), pin!(sleep(secs(1)))).await;
            tell(&said, "raced");
            let d = group(async |g: Group| g.spawn(naps(said.clone(), "d", 1)).await.map_err(into));
            d.await?;
            Ok(())
        })
    });
    play.turn();
    task.cancel();
    assert_eq!(
        run(&play),
        ["a done at 1", "b done at 2", "c done at 3", "raced at 4", "d done at 5"]
    );
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

fn into(error: TaskError) -> anyhow::Error {
    error.into()
}

// typelevel/cats-effect 1132: a race that was the loser of another race was
// waited for to its end.
// promise 4.9, 4.11
#[test]
fn a_deadline_that_loses_a_race_takes_its_request_along() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let limited = timeout(secs(1), spawn(tidies(said.clone(), "child", 5)));
        let raced = select(Box::pin(limited), Box::pin(sleep(secs(2)))).await;
        assert!(matches!(raced, Either::Right(_)));
        tell(&said, "raced");
        drop(raced);
        scope(sleep(secs(1))).await?;
        tell(&said, "goes on");
        Ok(())
    });
    assert_eq!(run(&play), ["raced at 2", "goes on at 3", "child tidied at 6"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// aio-libs-abandoned/async-timeout 295: a limit that was moved to this very
// moment, and a request in the same pass: the request was taken for the limit.
// promise 4.9
#[test]
fn a_request_goes_before_a_deadline_that_is_moved_to_this_very_moment() {
    for moved_first in [true, false] {
        let play = Play::new();
        let handle = TimeoutHandle::new(None);
        let shared = Rc::new(handle);
        let limited = shared.clone();
        let task = play.start(|said| async move {
            let told: Result<(), Cancelled> =
                timeout_by(&limited, scope(pending::<()>())).await.expect("not the deadline");
            said.say(format!("{:?}", told.as_ref().unwrap_err().origin()));
            Ok(told?)
        });
        let moves = || shared.reschedule(Some(play.world.executor.now()));
        if moved_first {
            moves();
        }
        task.cancel();
        if !moved_first {
            moves();
        }
        assert_eq!(run(&play), [format!("{:?}", Origin::Requested)]);
        assert!(task.is_cancelled());
        drop((task, shared));
        play.close();
    }
}

// Kotlin/kotlinx.coroutines 2469: of ten thousand with the same limit some slept
// on, and were told that they were in time.
// promise 4.9, 7.5
#[test]
fn of_many_with_the_same_limit_none_is_late() {
    const MANY: usize = 10_000;
    let play = Play::new();
    let late = Rc::new(Cell::new(0));
    let tasks: Vec<Task<()>> = (0..MANY)
        .map(|_| {
            let late = late.clone();
            play.spawn(|_| async move {
                let nap = sleep(Duration::from_millis(1000));
                let in_time = timeout(Duration::from_millis(50), nap).await.is_ok();
                let on_time = now().as_nanos() == 50_000_000;
                late.set(late.get() + usize::from(in_time || !on_time));
                Ok(())
            })
        })
        .collect();
    run(&play);
    assert!(tasks.iter().all(Task::is_finished));
    assert_eq!(late.get(), 0);
    drop(tasks);
    play.close();
}

// python-trio/trio 901: which of several scopes a signal is for was decided when it
// was made, though others were cancelled while it was on its way.
// promise 4.9, 4.8
#[test]
fn an_inner_limit_that_cuts_a_clean_up_short_leaves_the_answer_to_the_outer_one() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async {
            let child = spawn(tidies(said.clone(), "never", 60));
            let inner = timeout(secs(5), child).await;
            said.say(format!("never: {:?}", inner.is_ok()));
        };
        let outer = timeout(secs(1), inside).await;
        tell(&said, &format!("{outer:?}"));
        scope(sleep(secs(1))).await?;
        tell(&said, "goes on");
        Ok(())
    });
    assert_eq!(
        run(&play),
        [
            "Err(Elapsed) at 5", // the child was asked at 1, and again at 5
            "goes on at 6",
        ]
    );
    drop(task);
    play.close();
}

// bluetape4k/bluetape4k-projects 953: a limit that is made of an interrupt took
// every interrupt for its own, one from before too.
// promise 4.9, 4.7, 4.8
#[test]
fn a_request_from_behind_a_shield_goes_before_the_limit_that_is_over_at_the_same_moment() {
    for limit in [3, 2] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let second = spawn(tidies(said.clone(), "second", 1));
            let inside = async {
                shield(sleep(secs(3))).await;
                tell(&said, "through");
                second.await
            };
            let answer = timeout(secs(limit), inside).await;
            said.say(format!("never: {:?}", answer.is_ok()));
            Ok(())
        });
        cancel_at(&play, &task, 1);
        assert_eq!(run(&play), ["through at 3", "second tidied at 4"], "{limit}");
        assert!(task.is_cancelled());
        drop(task);
        play.close();
    }
}
