//! Futures that live on when the scope, deadline or clean-up around them has ended:
//! what stopped there goes no further, and no failure goes with them.

mod common;

use std::future::pending;
use std::pin::pin;

use common::{Play, Shelf, Spilled, secs};
use futures::StreamExt as _;
use futures::poll;
use futures::stream::FuturesUnordered;
use hearken::{
    Group, ReportKind, Task, TaskCancelled, TaskError, finally, group, scope, sleep, spawn,
    timeout, yield_now,
};

// promise 4.8, 4.11, 7.2
#[test]
fn the_tasks_of_a_set_around_a_deadline_come_out_when_it_has_elapsed() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let mut set: FuturesUnordered<_> =
            (0..3).map(|_| spawn(pending::<anyhow::Result<()>>())).collect();
        assert!(timeout(secs(1), set.next()).await.is_err());
        while let Some(ended) = set.next().await {
            said.say(format!("{}", ended.unwrap_err()));
        }
        Ok(())
    });
    assert_eq!(play.run(), ["cancelled: the deadline has elapsed"; 3]);
    assert!(task.result().is_ok());
    drop(task);
    play.close();
}

// promise 4.8, 4.11, 7.2
#[test]
fn the_tasks_of_a_set_around_a_scope_can_be_collected_in_its_clean_up() {
    let play = Play::new();
    let task: Task<()> = play.spawn(|said| async move {
        let mut set: FuturesUnordered<_> =
            (0..2).map(|_| spawn(pending::<anyhow::Result<()>>())).collect();
        let told = scope(async { drop(set.next().await) }).await;
        while let Some(ended) = set.next().await {
            said.say(format!("{}", ended.unwrap_err()));
        }
        Ok(told?)
    });
    play.run();
    task.cancel();
    assert_eq!(play.run(), ["cancelled: requested"; 2]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.3, 4.11, 4.13
#[test]
fn a_future_that_a_deadline_has_stopped_says_so_when_it_is_kept_and_cancels_nobody() {
    let play = Play::new();
    let task = play.start(|_| async {
        let mut kept = pin!(finally(pending::<anyhow::Result<()>>(), async || Ok(())));
        assert!(timeout(secs(1), &mut kept).await.is_err());
        let error = kept.await.unwrap_err();
        assert!(error.downcast_ref::<TaskCancelled>().is_some(), "{error}");
        yield_now().await;
        Ok(())
    });
    play.run();
    assert!(task.result().is_ok());
    drop(task);
    play.close();
}

/// Which errors nobody had, in the order in which they were reported.
fn unheard(play: Play) -> Vec<String> {
    let notes = play.close().notes().into_iter();
    let never = notes.filter(|note| note.kind == ReportKind::NeverRetrieved);
    never.filter_map(|note| note.error).collect()
}

// promise 3.8, 4.7
#[test]
fn the_failure_of_a_body_is_reported_when_its_clean_up_is_cut_short() {
    for panics in [false, true] {
        let play = Play::new();
        let task = play.start(move |_| async move {
            let body = async move {
                assert!(!panics, "spilled tea");
                Err::<(), _>(Spilled("tea").into())
            };
            let cleanup = async || {
                sleep(secs(5)).await;
                Ok(())
            };
            assert!(timeout(secs(1), finally(body, cleanup)).await.is_err());
            Ok(())
        });
        play.run();
        assert!(task.result().is_ok());
        drop(task);
        let expected = if panics { "panicked: spilled tea" } else { "spilled tea" };
        assert_eq!(unheard(play), [expected]);
    }
}

// promise 3.8, 5.4
#[test]
fn the_failure_of_a_groups_body_is_reported_when_the_group_is_dropped() {
    let play = Play::new();
    let task = play.start(|_| async {
        let failing = group(async |g: Group| {
            g.spawn(async {
                let told = scope(pending::<()>()).await;
                sleep(secs(5)).await;
                Ok(told?)
            })
            .detach();
            yield_now().await;
            Err::<(), _>(Spilled("body").into())
        });
        let _ = futures::future::select(pin!(sleep(secs(1))), Box::pin(failing)).await;
        Ok(())
    });
    play.run();
    assert!(task.result().is_ok());
    drop(task);
    assert_eq!(unheard(play), ["spilled body"]);
}

// promise 3.3, 4.13
#[test]
fn the_token_of_a_deadline_that_is_over_cancels_nobody() {
    let play = Play::new();
    let mut task = play.start(|_| async {
        let mut kept = None;
        let waits = async {
            kept = scope(pending::<()>()).await.err();
        };
        assert!(timeout(secs(1), waits).await.is_err());
        Err::<(), _>(kept.expect("it was told").into())
    });
    play.run();
    let Ok(Err(TaskError::Failed(error))) = task.take() else { panic!("nobody cancelled it") };
    assert!(error.downcast_ref::<TaskCancelled>().is_some(), "{error}");
    drop((task, error));
    play.close();
}

/// A handle is polled in a task that ends, by itself or in a set, and given to another.
/// That awaits it when it has ended already: no suspension, so it gets the outcome, though
/// a shutdown is being told to the task in that very poll.
// promise 3.2, 4.6, 4.8, 4.11
#[test]
fn a_handle_that_a_task_which_has_ended_has_polled_is_as_if_nobody_had() {
    for (polls_it, in_a_set) in [(false, false), (true, false), (true, true)] {
        let play = Play::new();
        let task: Task<()> = play.spawn(move |said| async move {
            let given = Shelf::new();
            let gives = given.clone();
            let second = spawn(async move {
                let mut third = spawn(pending::<anyhow::Result<()>>());
                if in_a_set {
                    let mut set: FuturesUnordered<_> = [&mut third].into_iter().collect();
                    assert!(poll!(set.next()).is_pending());
                } else if polls_it {
                    assert!(poll!(&mut third).is_pending());
                }
                gives.put(third);
                Ok(())
            });
            second.await?;
            let third: Task<()> = given.take().expect("it was put there");
            assert!(third.is_finished());
            said.say(format!("{}", third.await.unwrap_err()));
            Ok(())
        });
        play.turn();
        play.turn();
        play.world.executor.shut_down();
        let said = play.said.lines();
        assert_eq!(said, ["cancelled: the executor is shut down"], "{polls_it} {in_a_set}");
        drop(task);
        play.close();
    }
}

/// The same, and its outcome has been taken: that is misuse, as it is without a request.
// promise 3.2, 4.8
#[test]
#[should_panic = "task awaited after its outcome was taken"]
fn to_await_what_another_task_has_taken_panics_also_for_who_is_asked_to_cancel() {
    let play = Play::new();
    let task: Task<()> = play.spawn(move |_| async move {
        let given = Shelf::new();
        let gives = given.clone();
        let second = spawn(async move {
            let mut third = spawn(async { Err::<(), _>(anyhow::anyhow!("no")) });
            assert!((&mut third).await.is_err());
            gives.put(third);
            Ok(())
        });
        second.await?;
        let third: Task<()> = given.take().expect("it was put there");
        third.await?;
        Ok(())
    });
    // The second has ended, and the first has not been polled since.
    (0..4).for_each(|_| drop(play.turn()));
    task.cancel();
    play.run();
    panic!("{:#}", task.error().expect("it has ended").expect("it has failed"));
}
