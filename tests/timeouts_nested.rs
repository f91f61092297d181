//! Deadlines around several things, and around one another.

mod common;

use std::future::pending;
use std::pin::pin;

use common::{Play, secs};
use futures::future::select;
use hearken::{
    Budget, Elapsed, Executor, Group, GroupError, ManualClock, TaskState, current, finally, gather,
    group, now, scope, settle, shield, sleep, spawn, timeout, yield_now,
};

fn seconds() -> u64 {
    now().as_nanos() / 1_000_000_000
}

// ---- Around several things -----------------------------------------------------------------

// rows 78, 79; test 68
// promise 4.8, 4.9, 5.1, 5.4
#[test]
fn around_tasks_gathers_and_groups_it_cancels_and_waits() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let slow = |name: &'static str| {
            let said = said.clone();
            async move {
                let work = scope(pending::<()>()).await;
                sleep(secs(1)).await;
                said.say(format!("{name} cleaned up"));
                Ok(work?)
            }
        };
        assert!(timeout(secs(1), spawn(slow("task"))).await.is_err());
        assert_eq!(seconds(), 2);
        assert!(timeout(secs(1), gather([spawn(slow("one")), spawn(slow("two"))])).await.is_err());
        assert_eq!(seconds(), 4);
        let members = group(async |members: Group| {
            members.spawn(slow("member")).detach();
            pending::<anyhow::Result<()>>().await
        });
        let answer: Result<Result<(), GroupError>, Elapsed> = timeout(secs(1), members).await;
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(seconds(), 6);
        assert_eq!(current().cancelling(), 0);
        yield_now().await;
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded, "{:?}", task.error());
    assert_eq!(
        play.said.lines(),
        ["task cleaned up", "one cleaned up", "two cleaned up", "member cleaned up",]
    );
    drop(task);
    play.close();
}

// promise 4.9
#[test]
fn of_several_side_by_side_each_answers_for_its_own() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let both = futures::join!(
            timeout(secs(1), pending::<()>()),
            timeout(secs(3), scope(sleep(secs(2)))),
        );
        assert!(matches!(both, (Err(Elapsed), Ok(Ok(())))), "{both:?}");
        let same = futures::join!(
            timeout(secs(1), scope(pending::<()>())),
            timeout(secs(1), scope(pending::<()>())),
        );
        assert!(matches!(same, (Err(Elapsed), Err(Elapsed))), "{same:?}");
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// ---- Nested -----------------------------------------------------------------------------------

// row 87; test 62
// promise 4.9
#[test]
fn of_nested_deadlines_that_have_passed_the_outermost_answers() {
    // The three limits, and who answers: 0 is the outermost.
    let cases = [
        ([1, 1, 1], 0),
        ([1, 2, 3], 0),
        ([2, 1, 2], 1),
        ([3, 2, 1], 2),
        ([3, 1, 1], 1),
        ([2, 3, 1], 2),
        ([1, 3, 1], 0),
    ];
    for (limits, who) in cases {
        let play = Play::new();
        let [outer, middle, inner] = limits.map(secs);
        let bare = play.start(|_| async move {
            Ok(timeout(outer, timeout(middle, timeout(inner, pending::<()>()))).await)
        });
        let scoped = play.start(|_| async move {
            let innermost = timeout(inner, scope(pending::<()>()));
            Ok(timeout(outer, scope(timeout(middle, scope(innermost)))).await)
        });
        let answered = match bare.result().unwrap() {
            Err(Elapsed) => 0,
            Ok(Err(Elapsed)) => 1,
            Ok(Ok(Err(Elapsed))) => 2,
            Ok(Ok(Ok(()))) => unreachable!("it waits for ever"),
        };
        assert_eq!(answered, who, "{limits:?}");
        let answered = match scoped.result().unwrap() {
            Err(Elapsed) => 0,
            Ok(Ok(Err(Elapsed))) => 1,
            Ok(Ok(Ok(Ok(Err(Elapsed))))) => 2,
            other => panic!("{limits:?}: {other:?}"),
        };
        assert_eq!(answered, who, "{limits:?}, with scopes");
        drop((bare, scoped));
        play.close();
    }
}

// test 62 (busy): the loop was late, and finds both passed.
// promise 4.9
#[test]
fn the_outermost_answers_also_when_the_loop_comes_late() {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let task =
        executor.spawn(async { Ok(timeout(secs(2), timeout(secs(1), pending::<()>())).await) });
    executor.turn(Budget::Batch);

    clock.advance(secs(60));
    executor.run_until_idle();
    assert_eq!(*task.result().unwrap(), Err(Elapsed));
}

// promise 4.9
#[test]
fn an_outer_deadline_that_passes_during_the_clean_up_cuts_it_short() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inner = async {
            let work = scope(pending::<()>()).await;
            let _dropped = said.finally("clean-up dropped");
            sleep(secs(60)).await;
            work
        };
        let answer = timeout(secs(2), timeout(secs(1), inner)).await;
        said.say(format!("{:?} at {}", answer.map(|inner| inner.is_ok()), seconds()));
        Ok(())
    });

    assert_eq!(play.said.lines(), ["clean-up dropped", "Err(Elapsed) at 2"]);
    drop(task);
    play.close();
}

// thread 18
// promise 4.9
#[test]
fn an_inner_timeout_does_not_swallow_the_deadline_of_an_outer_one() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let attempts = async {
            loop {
                let attempt = timeout(secs(10), pending::<()>()).await;
                said.say(format!("attempt: {attempt:?}"));
            }
        };
        let answer: Result<(), Elapsed> = timeout(secs(25), attempts).await;
        said.say(format!("{answer:?} at {}", seconds()));
        Ok(())
    });

    assert_eq!(
        play.said.lines(),
        ["attempt: Err(Elapsed)", "attempt: Err(Elapsed)", "Err(Elapsed) at 25",]
    );
    drop(task);
    play.close();
}

/// The outer one has passed, and waits with what it has to say for the shield. What the
/// scope hears in the end is the request to the task, and counts for it. It does not act
/// any more; the inner one, which has let it go first, is late, and does.
// promise 4.9
#[test]
fn a_deadline_acts_when_the_one_around_it_is_answered_otherwise() {
    for first in [true, false] {
        let play = Play::new();
        let task = play.start(move |said| async move {
            let late = async {
                let answer = timeout(secs(4), sleep(secs(25))).await;
                said.say(format!("inner: {answer:?} at {}", seconds()));
            };
            let hears = async {
                let told = scope(async {
                    current().cancel();
                    futures::join!(settle([spawn(async { Ok(()) })]), shield(sleep(secs(16))));
                    pending::<()>().await
                });
                said.say(told.await.expect_err("it is told").reason().to_owned());
            };
            let both = async {
                match first {
                    true => _ = futures::join!(late, hears),
                    false => _ = futures::join!(hears, late),
                }
            };
            timeout(secs(1), both).await.expect("it has been answered");
            Ok(())
        });

        assert_eq!(play.said.lines(), ["requested", "inner: Err(Elapsed) at 16"]);
        drop(task);
        play.close();
    }
}

// ---- Around what was polled beside it, and after it has passed ----------------------------

/// A task that waits until it is told, and then cleans up for a second.
fn with_clean_up(play_said: &common::Transcript) -> hearken::Task<()> {
    let said = play_said.clone();
    spawn(async move {
        let told = scope(pending::<()>()).await;
        sleep(secs(1)).await;
        said.say("the task has cleaned up");
        Ok(told?)
    })
}

// promise 4.8, 4.9
#[test]
fn a_task_that_was_polled_beside_a_deadline_is_waited_for_inside_of_it() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut beside = with_clean_up(&said);
        let around = scope(async {
            select(&mut beside, pin!(yield_now())).await;
            said.say(format!(
                "{:?} at {}",
                timeout(secs(1), &mut beside).await.is_err(),
                seconds()
            ));
        });
        around.await?;

        let mut twice = with_clean_up(&said);
        let first = timeout(secs(9), async {
            select(&mut twice, pin!(yield_now())).await;
        });
        assert!(first.await.is_ok());
        said.say(format!("{:?} at {}", timeout(secs(1), &mut twice).await.is_err(), seconds()));
        Ok(())
    });

    assert_eq!(
        play.said.lines(),
        ["the task has cleaned up", "true at 2", "the task has cleaned up", "true at 4"]
    );
    drop(task);
    play.close();
}

// promise 4.9: a deadline is told once; what follows may have limits of its own.
#[test]
fn whoever_has_heard_of_a_deadline_may_set_others() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let swallows = async {
            drop(scope(pending::<()>()).await.unwrap_err());
            timeout(secs(5), pending::<()>()).await
        };
        let answer = timeout(secs(1), swallows).await;
        said.say(format!("{answer:?} at {}", seconds()));

        let work = pending::<anyhow::Result<()>>();
        let clean_up = async || {
            let limited = timeout(secs(5), pending::<()>()).await;
            said.say(format!("clean-up: {limited:?}"));
            Ok(())
        };
        let answer = timeout(secs(1), finally(work, clean_up)).await;
        said.say(format!("{:?} at {}", answer.is_err(), seconds()));
        Ok(())
    });

    assert_eq!(
        play.said.lines(),
        ["Ok(Err(Elapsed)) at 6", "clean-up: Err(Elapsed)", "true at 12"]
    );
    drop(task);
    play.close();
}
