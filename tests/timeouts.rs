//! Deadlines: whose cancellation is whose, and what is waited for before a
//! timeout answers.

mod common;

use std::future::{pending, ready};
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use common::{Play, Spilled, poll_once, secs};
use hearken::{
    Elapsed, Instant, TaskState, TimeoutHandle, current, finally, now, scope, shield, sleep, spawn,
    timeout, timeout_at, timeout_by, yield_now,
};

fn seconds() -> u64 {
    now().as_nanos() / 1_000_000_000
}

// ---- Its own deadline ------------------------------------------------------------------

// rows 79, 82, 83; thread 16
// promise 4.9
#[test]
fn a_deadline_drops_what_is_inside_and_answers_elapsed() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inside = async {
            let _dropped = said.finally("dropped");
            pending::<()>().await;
        };
        let answer = timeout(secs(2), inside).await;
        said.say(format!("{answer:?} at {}", seconds()));
        assert_eq!(current().cancelling(), 0, "nobody asked the task");
        yield_now().await;
        said.say("goes on");
        Ok(())
    });

    assert_eq!(play.said.lines(), ["dropped", "Err(Elapsed) at 2", "goes on"]);
    drop(task);
    play.close();
}

// promise 4.9
#[test]
fn what_is_ready_in_time_is_the_answer_and_the_timer_is_gone() {
    let play = Play::new();
    let task = play.start(|_| async move {
        assert_eq!(timeout(secs(2), sleep(secs(1))).await, Ok(()));
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    assert_eq!(play.world.executor.next_deadline(), None);
    drop(task);
    play.close();
}

// promise 4.9
#[test]
fn what_is_ready_in_the_very_turn_of_the_deadline_is_the_answer() {
    let play = Play::new();
    let task = play.start(|_| async move {
        assert_eq!(timeout(secs(1), sleep(secs(1))).await, Ok(()));
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// rows 78, 89; tests 65, 67
// promise 4.9, 10.3
#[test]
fn zero_is_due_at_the_first_poll_unless_it_is_ready() {
    let play = Play::new();
    let task = play.start(|said| async move {
        assert_eq!(timeout(Duration::ZERO, ready(7)).await, Ok(7));
        assert_eq!(timeout_at(Instant::ZERO, ready(7)).await, Ok(7));
        let done = spawn(async { Ok(7) });
        yield_now().await;
        assert_eq!(timeout(Duration::ZERO, done).await.map(Result::ok), Ok(Some(7)));

        let started = async {
            said.say("started"); // asyncio's wait_for does not even start it
            pending::<()>().await;
        };
        assert_eq!(timeout(Duration::ZERO, started).await, Err(Elapsed));
        Ok(seconds())
    });

    assert_eq!(play.said.lines(), ["started"]);
    assert_eq!(*task.result().unwrap(), 0);
    drop(task);
    play.close();
}

// promise 10.4
#[test]
fn max_never_passes_and_leaves_no_timer() {
    let play = Play::new();
    let task = play.start(|_| async move {
        Ok(timeout(Duration::MAX, timeout_at(Instant::from_nanos(u64::MAX), pending::<()>())).await)
    });

    assert_eq!(play.world.executor.next_deadline(), None);
    assert!(!task.is_finished());
    task.cancel();
    play.run();
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// row 88; test 65
// promise 4.9
#[test]
fn timeout_at_takes_a_moment_of_the_clock_and_a_past_one_is_due_at_once() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let three = now() + secs(3);
        assert_eq!(timeout_at(three, pending::<()>()).await, Err(Elapsed));
        assert_eq!(seconds(), 3);
        assert_eq!(timeout_at(Instant::ZERO, pending::<()>()).await, Err(Elapsed));
        assert_eq!(seconds(), 3);
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// rows 81, 85, 88; test 65, thread 16
// promise 4.9
#[test]
fn a_deadline_can_be_moved_switched_off_and_asked_whether_it_has_passed() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let later = TimeoutHandle::new(Some(now() + secs(1)));
        let talk = async {
            later.reschedule(Some(now() + secs(5)));
            pending::<()>().await;
        };
        assert_eq!(timeout_by(&later, talk).await, Err(Elapsed));
        assert_eq!((seconds(), later.expired()), (5, true));

        let off = TimeoutHandle::new(Some(now() + secs(1)));
        let talk = async {
            off.reschedule(None);
            sleep(secs(5)).await;
        };
        assert_eq!(timeout_by(&off, talk).await, Ok(()));
        assert_eq!((seconds(), off.expired()), (10, false));

        let past = TimeoutHandle::new(None);
        let talk = async {
            sleep(secs(1)).await;
            past.reschedule(Some(Instant::ZERO));
            sleep(secs(5)).await;
        };
        assert_eq!(timeout_by(&past, talk).await, Err(Elapsed));
        assert_eq!((seconds(), past.expired()), (11, true));

        let swallowed = TimeoutHandle::new(Some(now() + secs(1)));
        let talk = async { scope(pending::<()>()).await.map_err(|token| token.accept()) };
        assert_eq!(timeout_by(&swallowed, talk).await, Ok(Err(())));
        assert!(swallowed.expired());
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded, "{:?}", task.error());
    drop(task);
    play.close();
}

// promise 4.9
#[test]
fn outside_of_a_task_what_is_ready_is_ready() {
    assert_eq!(poll_once(&mut Box::pin(timeout(secs(1), ready(7)))), Poll::Ready(Ok(7)));
}

// ---- What is inside cleans up -------------------------------------------------------------

// row 79, thread 13; tests 66, 68
// promise 4.9
#[test]
fn the_scopes_inside_clean_up_before_it_answers() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inside = async {
            let work = scope(pending::<()>()).await;
            let token = work.as_ref().unwrap_err();
            said.say(format!("{:?}: {}", token.origin(), token.reason()));
            sleep(secs(10)).await;
            said.say("cleaned up");
            work
        };
        let answer = timeout(secs(1), inside).await;
        said.say(format!("{} at {}", answer.unwrap_err(), seconds()));
        Ok(())
    });

    assert_eq!(
        play.said.lines(),
        ["TimedOut: the deadline has elapsed", "cleaned up", "the deadline has elapsed at 11",]
    );
    drop(task);
    play.close();
}

// rows 80, 85; test 68 (suppressed)
// promise 4.9
#[test]
fn a_value_of_who_swallowed_the_deadline_is_the_answer() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let inside = async {
            let work = scope(pending::<u32>()).await;
            work.unwrap_or(7)
        };
        assert_eq!(timeout(secs(1), inside).await, Ok(7));
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// rows 80, 85: what a child of the body was told is not in the body's value.
// promise 4.9
#[test]
fn a_value_is_the_answer_also_when_a_task_has_ended_by_the_deadline() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let mut helper = spawn(pending::<anyhow::Result<u32>>());
        let inside = async {
            let helped = scope(&mut helper).await;
            helped.map_or(7, |_| 8)
        };
        assert_eq!(timeout(secs(1), inside).await, Ok(7));
        assert!(helper.is_cancelled());
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// rows 80, 84; tests 63, 68 (reraises)
// promise 4.9
#[test]
fn an_error_in_the_clean_up_is_the_answer() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let inside = async {
            let work = scope(pending::<()>()).await;
            let told = work.unwrap_err().to_string();
            Err::<(), _>(anyhow::Error::new(Spilled("tea")).context(told))
        };
        let error = timeout(secs(1), inside).await?.unwrap_err();
        assert_eq!(format!("{error:#}"), "cancelled: the deadline has elapsed: spilled tea");
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// row 83
// promise 4.9
#[test]
fn the_token_that_comes_back_with_context_or_rethrown_is_the_deadlines_own() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let inside = async {
            scope(pending::<()>()).await.context("reading")?;
            anyhow::Ok(())
        };
        assert_eq!(timeout(secs(1), inside).await.err(), Some(Elapsed));
        let inside = async {
            let token = scope(pending::<()>()).await.unwrap_err();
            sleep(secs(1)).await;
            token.rethrow().await
        };
        assert_eq!(timeout(secs(1), inside).await, Err::<(), _>(Elapsed));
        Ok(seconds())
    });

    assert_eq!(*task.result().unwrap(), 3);
    drop(task);
    play.close();
}

// test 62
// promise 4.7, 4.9
#[test]
fn what_finally_does_inside_is_waited_for() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let inside = finally(pending::<anyhow::Result<()>>(), async || {
            sleep(secs(2)).await;
            said.say("cleaned up");
            Ok(())
        });
        let answer = timeout(secs(1), inside).await;
        said.say(format!("{:?} at {}", answer.unwrap_err(), seconds()));
        Ok(())
    });

    assert_eq!(play.said.lines(), ["cleaned up", "Elapsed at 3"]);
    drop(task);
    play.close();
}

// test 62, nested in finally
// promise 4.7, 4.9
#[test]
fn a_clean_up_may_have_a_deadline_of_its_own() {
    let play = Play::new();
    let task = play.start(|said| {
        finally(pending::<anyhow::Result<()>>(), async move || {
            let goodbye = timeout(secs(2), pending::<()>()).await;
            said.say(format!("goodbye: {goodbye:?}"));
            Ok(())
        })
    });

    task.cancel();
    assert_eq!(play.run(), ["goodbye: Err(Elapsed)"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// test 64: a timeout after a cancellation
// promise 4.9
#[test]
fn a_request_that_was_heard_before_does_not_count_against_a_later_deadline() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let work = scope(pending::<()>()).await;
        let answer = timeout(Duration::ZERO, pending::<()>()).await;
        said.say(format!("{answer:?}"));
        let answer = timeout(secs(1), scope(pending::<()>())).await;
        said.say(format!("{:?}", answer.map(|inner| inner.is_ok())));
        Ok(work?)
    });

    task.cancel();
    assert_eq!(play.run(), ["Err(Elapsed)", "Err(Elapsed)"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.7, 4.9
#[test]
fn a_deadline_waits_for_a_shield_inside_and_works_under_one_outside() {
    let play = Play::new();
    let task = play.start(|_| async move {
        let inside = async {
            shield(sleep(secs(5))).await;
            sleep(secs(5)).await; // hit here
        };
        assert_eq!(timeout(secs(1), inside).await, Err(Elapsed));
        assert_eq!(seconds(), 5);
        assert_eq!(timeout(secs(1), shield(sleep(secs(5)))).await, Ok(()));
        assert_eq!(seconds(), 10);
        assert_eq!(shield(timeout(secs(1), pending::<()>())).await, Err(Elapsed));
        assert_eq!(seconds(), 11);
        let outer = timeout(secs(1), shield(timeout(secs(2), pending::<()>())));
        assert_eq!(outer.await, Ok(Err(Elapsed)), "the outer one waits for the shield");
        assert_eq!(seconds(), 13);
        Ok(())
    });

    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}
