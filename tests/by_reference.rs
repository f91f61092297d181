//! What is polled by reference in a place that ends lives on, and may be awaited again.

mod common;

use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use common::{Play, Transcript, secs};
use futures::future::select;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearken::{
    Elapsed, Group, Task, TaskCancelled, TaskError, finally, gather, group, now, scope, shield,
    sleep, spawn, timeout, yield_now,
};

/// Waits for ever; when it is told, cleans up for a second.
async fn child(said: Transcript) -> anyhow::Result<u32> {
    let work = scope(pending::<u32>()).await;
    said.say("child told");
    sleep(secs(1)).await;
    Ok(work?)
}

// ---- What was stopped goes no further ---------------------------------------------------

/// Nobody has cancelled the task: the deadline asked, and the deadline has stopped it. The
/// `finally` says how it has ended.
// promise 4.7, 4.9, 4.13
#[test]
fn a_finally_that_a_deadline_has_cancelled_does_not_cancel_the_task_when_it_is_awaited_again() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        let mut work = pin!(finally(pending::<anyhow::Result<()>>(), async || {
            said.say("cleaned up");
            Ok(())
        }));
        assert_eq!(timeout(secs(1), &mut work).await.map(drop), Err(Elapsed));
        assert!(work.await.unwrap_err().is::<TaskCancelled>());
        Ok(())
    });

    assert_eq!(play.run(), ["cleaned up"]);
    assert!(matches!(task.take(), Ok(Ok(()))));
    play.close();
}

/// The scope waits for the shield before it takes what goes outward, and in the meantime
/// who sends it may not be polled at all.
// promise 4.7, 4.13
#[test]
fn what_a_scope_took_when_its_shield_was_through_is_not_sent_again() {
    for in_a_set in [false, true] {
        let play = Play::new();
        let task = play.start(|said| async move {
            let mut work = pin!(finally(pending::<anyhow::Result<()>>(), async || Ok(())));
            let sends = async { drop((&mut work).await) }.boxed_local();
            let shielded = shield(sleep(secs(1))).boxed_local();
            let both = match in_a_set {
                false => futures::future::join(sends, shielded).map(drop).boxed_local(),
                true => FuturesUnordered::from_iter([sends, shielded])
                    .for_each(async |()| ())
                    .boxed_local(),
            };
            let told = scope(both).await;
            said.say(format!("told: {}, at {}", told.is_err(), now()));
            let again = scope(work).await;
            let outcome = again.expect("it goes no further than to the first scope");
            assert!(outcome.unwrap_err().is::<TaskCancelled>());
            Ok(())
        });
        task.cancel();
        assert_eq!(play.run(), ["told: true, at 1s"]);
        assert!(task.result().is_ok(), "{in_a_set}");
        drop(task);
        play.close();
    }
}

/// The same for a request to the task, which a scope has accepted.
// promise 4.7, 4.13
#[test]
fn a_rethrow_that_a_scope_has_stopped_is_not_told_to_the_next_scope() {
    let play = Play::new();
    let mut task = play.start(|said| async move {
        let mut work = Box::pin(async {
            scope(pending::<()>()).await.expect_err("it is cancelled").rethrow().await
        });
        let first: Result<(), _> =
            scope(&mut work).await.map(|never: std::convert::Infallible| match never {});
        first.expect_err("it is stopped here").accept();
        said.say("stopped");
        let again = timeout(secs(1), scope(&mut work)).await;
        assert!(again.is_err(), "nobody asks again");
        Ok(())
    });
    task.cancel();
    assert_eq!(play.run(), ["stopped"]);
    assert!(matches!(task.take(), Ok(Ok(()))));
    play.close();
}

/// A group gives the value of its body, if there is one: its tasks have ended.
// promise 4.13, 5.4
#[test]
fn a_group_that_was_cancelled_and_stopped_gives_what_it_has() {
    for has_value in [true, false] {
        let play = Play::new();
        let mut task = play.start(move |said| async move {
            let mut work = Box::pin(group(async move |tasks: Group| {
                tasks.spawn(child(said)).detach();
                if !has_value {
                    pending::<()>().await;
                }
                Ok(7)
            }));
            scope(&mut work).await.expect_err("it is cancelled").accept();
            for _ in 0..2 {
                match timeout(secs(1), scope(&mut work)).await {
                    Ok(Ok(given)) => return Ok(given.ok()),
                    Ok(Err(_)) => panic!("it is heard a second time"),
                    Err(Elapsed) => {}
                }
            }
            Ok(None)
        });
        task.cancel();
        assert_eq!(play.run(), ["child told"]);
        assert_eq!(task.take().unwrap().unwrap(), has_value.then_some(7));
        play.close();
    }
}

/// The token of the scope is lost with the deadline around it, so the request is told
/// anew; but not by the await, which has passed it on already.
// promise 4.8, 4.13
#[test]
fn an_outcome_is_collected_also_when_the_token_has_been_lost_meanwhile() {
    let play = Play::new();
    let mut parent = play.spawn(|said| async move {
        let mut task = spawn(child(said.clone()));
        let told = async {
            let _told = scope(&mut task).await.map(drop).expect_err("it is cancelled");
            pending::<()>().await
        };
        assert_eq!(timeout(secs(5), told).await, Err(Elapsed));
        said.say(format!("{}", matches!(task.await, Err(TaskError::Cancelled(_)))));
        let again = scope(pending::<()>()).await;
        again.expect_err("it is told anew").accept();
        Ok(())
    });
    play.turn();
    play.turn(); // the child has begun
    parent.cancel();
    assert_eq!(play.run(), ["child told", "true"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// The group has taken the request, and has an error to give. It is told anew, to
/// whoever waits then, and the gather gives the outcome of its task.
// promise 4.13, 5.1, 5.4
#[test]
fn what_a_group_with_errors_has_stopped_is_not_sent_by_a_gather_again() {
    let play = Play::new();
    let mut parent = play.start(|said| async move {
        let slow = spawn(async {
            shield(sleep(secs(1))).await;
            Ok(())
        });
        let mut all = gather([slow]);
        let mut body = pin!(&mut all);
        let given = group(async |tasks: Group| {
            tasks.spawn(async { anyhow::bail!("no answer") as anyhow::Result<()> }).detach();
            body.as_mut().await.map(drop).map_err(Into::into)
        });
        assert_eq!(given.await.unwrap_err().errors().len(), 1);
        let again = all.await;
        said.say(format!("{}", matches!(again, Err(TaskError::Cancelled(_)))));
        scope(pending::<()>()).await.expect_err("it is told anew").accept();
        Ok(())
    });
    parent.cancel();
    assert_eq!(play.run(), ["true"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// The same for a deadline, which is asleep by then: it has to look again.
// promise 4.9, 4.13
#[test]
fn a_deadline_is_told_that_its_request_has_come_to_nothing_in_a_group_with_errors() {
    let play = Play::new();
    let mut parent = play.start(|said| async move {
        let limited = timeout(secs(5), async {
            let mut task = spawn(async {
                scope(pending::<()>()).await.expect_err("it is cancelled").accept();
                pending::<()>().await;
                Ok(())
            });
            let given = group(async |tasks: Group| {
                tasks.spawn(async { anyhow::bail!("no answer") as anyhow::Result<()> }).detach();
                Ok((&mut task).await?)
            });
            assert_eq!(given.await.unwrap_err().errors().len(), 1);
            pending::<()>().await
        });
        assert_eq!(limited.await, Err(Elapsed));
        said.say(format!("{} s", now().as_nanos() / 1_000_000_000));
        Ok(())
    });
    assert_eq!(play.run(), ["5 s"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// The token of a scope is lost with another deadline, while what sent it is kept.
// promise 4.9, 4.13
#[test]
fn a_deadline_is_told_that_its_token_was_lost_beside_an_await_that_is_kept() {
    let play = Play::new();
    let mut parent = play.start(|said| async move {
        let limited = timeout(secs(1), async {
            let mut task = spawn(pending::<anyhow::Result<()>>());
            let told = async {
                let _told = scope(&mut task).await.expect_err("it is cancelled");
                group(async |tasks: Group| {
                    tasks.spawn(pending::<anyhow::Result<()>>()).detach();
                    Ok(())
                })
                .await
            };
            assert!(timeout(secs(2), told).await.is_err());
            pending::<()>().await
        });
        assert_eq!(limited.await, Err(Elapsed));
        said.say(format!("{} s", now().as_nanos() / 1_000_000_000));
        Ok(())
    });
    assert_eq!(play.run(), ["2 s"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// A request is over with its owner, also for whoever had passed it on.
// promise 4.11, 4.13
#[test]
fn what_a_deadline_has_asked_that_is_gone_does_not_cancel_the_task() {
    let play = Play::new();
    let mut parent = play.start(|said| async move {
        let mut task = spawn(child(said.clone()));
        {
            let limited = pin!(timeout(secs(1), &mut task));
            select(limited, pin!(sleep(secs(1) + secs(1) / 2))).await;
        }
        let outcome = task.await;
        said.say(format!("{}", matches!(outcome, Err(TaskError::Cancelled(_)))));
        Ok(())
    });
    assert_eq!(play.run(), ["child told", "true"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// It had let a request outward, and that was stopped: it does not wait for anybody to
/// look after it.
// promise 4.9
#[test]
fn a_deadline_that_let_a_request_through_is_not_late_when_it_is_awaited_again() {
    let play = Play::new();
    let mut task = play.spawn(|said| async move {
        let work = group(async |_| pending::<anyhow::Result<()>>().await);
        let mut limited = Box::pin(timeout(secs(1), work));
        scope(&mut limited).await.expect_err("it is cancelled").accept();
        sleep(secs(2)).await;
        // Both are ready, and the first is asked first.
        match select(limited, pin!(yield_now())).await {
            futures::future::Either::Left((answer, _)) => {
                said.say(format!("{:?}", answer.map(drop)));
            }
            futures::future::Either::Right(_) => said.say("late"),
        }
        Ok(())
    });
    play.turn();
    task.cancel();
    assert_eq!(play.run(), ["Err(Elapsed)"]);
    assert!(matches!(task.take(), Ok(Ok(()))));
    play.close();
}

// ---- Those with wakers of their own -------------------------------------------------------

/// A set polls those only who were woken.
// promise 4.8, 4.13
#[test]
fn the_outcomes_of_a_set_can_be_collected_in_the_clean_up() {
    let play = Play::new();
    let mut parent = play.start(|said| async move {
        let mut tasks: FuturesUnordered<_> = [spawn(child(said.clone()))].into_iter().collect();
        scope(tasks.next()).await.expect_err("it is cancelled").accept();
        let outcome = tasks.next().await.expect("there is one");
        said.say(format!("{}", matches!(outcome, Err(TaskError::Cancelled(_)))));
        Ok(())
    });
    parent.cancel();
    assert_eq!(play.run(), ["child told", "true"]);
    assert!(matches!(parent.take(), Ok(Ok(()))));
    play.close();
}

/// The scope is gone in which they were polled first. The deadline asks them, though
/// none of them was polled in it.
// promise 4.4, 4.9
#[test]
fn a_set_that_was_polled_in_a_scope_before_is_told_of_a_deadline() {
    let play = Play::new();
    let parent = play.start(|said| async move {
        let children = (0..3).map(|_| spawn(child(said.clone())));
        let mut tasks: FuturesUnordered<_> = children.collect();
        {
            let inside = pin!(scope(tasks.next()));
            select(inside, pin!(sleep(secs(1)))).await;
        }
        assert_eq!(timeout(secs(1), tasks.next()).await.map(drop), Err(Elapsed));
        said.say(format!("{} s", now().as_nanos() / 1_000_000_000));
        Ok(())
    });
    assert_eq!(play.run(), ["child told", "child told", "child told", "3 s"]);
    drop(parent);
    play.close();
}

/// What the deadline has asked goes outward with the request to the task, and a scope
/// outside of the deadline stops that. The group has nothing to give, so it is the deadline
/// that ends the wait.
// promise 4.9, 4.13
#[test]
fn a_deadline_acts_again_whose_request_went_outward_with_one_that_was_stopped_outside() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut limited = pin!(timeout(
            secs(3),
            group(async |tasks: Group| {
                tasks.spawn(child(said.clone())).detach();
                pending::<anyhow::Result<()>>().await
            })
        ));
        scope(&mut limited).await.map(drop).expect_err("it is cancelled").accept();
        said.say(format!("{:?}", timeout(secs(60), limited).await.map(|it| it.map(drop))));
        Ok(())
    });
    let task = Rc::new(task);
    let other = Rc::clone(&task);
    let cancels = play.spawn(|_| async move {
        sleep(Duration::from_millis(3_500)).await;
        other.cancel();
        Ok(())
    });
    assert_eq!(play.run(), ["child told", "Ok(Err(Elapsed))"]);
    drop((task, cancels));
    play.close();
}

/// The shield keeps the request off, in a set that is polled in a scope of its own each
/// time: the task does not end before it is through.
// promise 4.4, 4.5
#[test]
fn a_shield_in_a_set_keeps_a_request_off_whatever_the_set_is_polled_in() {
    let play = Play::new();
    let task: Task<()> = play.spawn(|said| async move {
        let naps = [1, 2, 4].map(|seconds| shield(sleep(secs(seconds))));
        let mut naps: FuturesUnordered<_> = naps.into_iter().collect();
        while let Some(()) = timeout(secs(60), naps.next()).await? {
            said.say(format!("{} s", now().as_nanos() / 1_000_000_000));
        }
        pending().await
    });
    assert!(play.turn().is_empty(), "all naps last");
    task.cancel();
    assert_eq!(play.run(), ["1 s", "2 s", "4 s"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

/// Those in it had been in a scope that is gone.
// promise 4.4, 4.8
#[test]
fn a_set_that_was_polled_in_a_scope_before_is_told_where_it_is_now() {
    let play = Play::new();
    let parent: Task<()> = play.start(|said| async move {
        let mut tasks: FuturesUnordered<_> = [spawn(child(said.clone()))].into_iter().collect();
        {
            let inside = pin!(scope(tasks.next()));
            select(inside, pin!(sleep(secs(1)))).await;
        }
        tasks.next().await;
        unreachable!("it is cancelled")
    });
    parent.cancel();
    assert_eq!(play.run(), ["child told"]);
    drop(parent);
    play.close();
}

/// A deadline around a set is kept, and what a branch of the set has sent outward is stopped
/// by the scope around. Awaited again, elsewhere, the branch is polled, and gives what it
/// has.
// promise 4.4, 4.13
#[test]
fn a_set_in_a_kept_deadline_goes_on_when_what_came_out_of_it_was_stopped() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut set: FuturesUnordered<_> = [spawn(child(said.clone()))].into_iter().collect();
        let mut limited = pin!(timeout(secs(100), set.next()));
        scope(&mut limited).await.expect_err("it is cancelled").accept();
        said.say("stopped");
        let ended = limited.await.expect("it is in time").expect("it has one");
        said.say(format!("{}", ended.unwrap_err()));
        Ok(())
    });
    (0..3).for_each(|_| drop(play.turn()));
    task.cancel();
    assert_eq!(play.run(), ["child told", "stopped", "cancelled: requested"]);
    drop(task);
    play.close();
}
