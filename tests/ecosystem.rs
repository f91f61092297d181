//! The promises hold with the combinators, channels and locks that others have
//! written, inside of one task and across tasks.
//!
//! What these crates do on their own is not tested here; only what a request to
//! cancel makes of them.

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;

use common::cast::{Spoken, fails, naps, second, seconds, stays, tidies};
use common::{Play, Random, Spilled, Transcript};
use futures::future::{BoxFuture, LocalBoxFuture, join_all, try_join_all};
use futures::stream::{FuturesOrdered, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _, select, select_biased, stream};
use hearken::{Task, TaskError, scope, sleep, spawn, timeout, yield_now};

/// A branch with a scope of its own: says when it is told, and cleans up.
async fn branch(said: Transcript, name: &'static str, n: u64) -> &'static str {
    let told = scope(pending::<()>()).await;
    said.say(format!("{name} told: {}", told.as_ref().unwrap_err().reason()));
    sleep(seconds(n)).await;
    said.say(format!("{name} tidied at {}", second()));
    name
}

// ---- Branches of one task -------------------------------------------------------

/// Puts three branches together in some way, and says what came of it.
type Joined = fn([LocalBoxFuture<'static, &'static str>; 3]) -> LocalBoxFuture<'static, String>;

const JOINS: [(&str, Joined); 7] = [
    ("join!", |[a, b, c]| {
        async move {
            let (a, b, c) = futures::join!(a, b, c);
            [a, b, c].join(" ")
        }
        .boxed_local()
    }),
    ("try_join!", |branches| {
        async move {
            let [a, b, c] = branches.map(|branch| branch.map(Ok::<_, ()>));
            let (a, b, c) = futures::try_join!(a, b, c).unwrap();
            [a, b, c].join(" ")
        }
        .boxed_local()
    }),
    ("join_all", |branches| join_all(branches).map(|all| all.join(" ")).boxed_local()),
    ("try_join_all", |branches| {
        let branches = branches.map(|branch| branch.map(Ok::<_, ()>));
        try_join_all(branches).map(|all| all.unwrap().join(" ")).boxed_local()
    }),
    ("FuturesUnordered", |branches| {
        let all: FuturesUnordered<_> = branches.into_iter().collect();
        all.collect::<Vec<_>>().map(|all| all.join(" ")).boxed_local()
    }),
    ("FuturesOrdered", |branches| {
        let all: FuturesOrdered<_> = branches.into_iter().collect();
        all.collect::<Vec<_>>().map(|all| all.join(" ")).boxed_local()
    }),
    ("buffer_unordered", |branches| {
        let all = stream::iter(branches).buffer_unordered(3);
        all.collect::<Vec<_>>().map(|all| all.join(" ")).boxed_local()
    }),
];

// Pitfalls 1 and 3.
// promise 4.4
#[test]
fn each_branch_with_a_scope_gets_the_request_once_and_in_order() {
    for (name, joined) in JOINS {
        let play = Play::new();
        let task = play.start(|said| async move {
            let branches = [("a", 2), ("b", 3), ("c", 1)];
            let branches = branches.map(|(name, n)| branch(said.clone(), name, n).boxed_local());
            said.say(joined(branches).await);
            Ok(())
        });
        task.cancel_with("once");
        let said = play.run();
        assert_eq!(said[..3], ["a told: once", "b told: once", "c told: once"], "{name}");
        assert_eq!(said[3..6], ["c tidied at 1", "a tidied at 2", "b tidied at 3"], "{name}");
        assert_eq!(said[6].split(' ').count(), 3, "{name}");
        // They swallowed it, so the task goes on to its end.
        assert_eq!(task.result().ok(), Some(&()), "{name}");
        drop(task);
        play.close();
    }
}

// Pitfall 1.
// promise 4.4
#[test]
fn a_branch_without_a_scope_is_not_hit_and_the_next_request_ends_it() {
    for (name, joined) in JOINS {
        let play = Play::new();
        let task = play.start(|said| async move {
            let plain = said.clone();
            let bare = async move {
                let _dropped = plain.finally("bare dropped");
                pending().await
            };
            let a = branch(said.clone(), "a", 0).boxed_local();
            let b = branch(said.clone(), "b", 0).boxed_local();
            said.say(joined([a, bare.boxed_local(), b]).await);
            Ok(())
        });
        task.cancel_with("first");
        let mut said = play.run();
        said.retain(|line| line.contains("told"));
        assert_eq!(said, ["a told: first", "b told: first"], "{name}");
        assert!(!task.is_finished(), "{name}");
        task.cancel_with("second");
        assert_eq!(play.run(), ["bare dropped"], "{name}");
        assert!(task.is_cancelled(), "{name}");
        drop(task);
        play.close();
    }
}

// Pitfall 2.
// promise 4.4, 4.11
#[test]
fn the_losers_of_a_select_do_not_hold_a_request_up() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut lost = pin!(branch(said.clone(), "lost", 9).fuse());
        select_biased! {
            _ = lost => unreachable!("the other one is ready first"),
            () = sleep(seconds(1)).fuse() => said.say("selected"),
        }
        // It was polled, still lives, and is not polled any more.
        let told = scope(pending::<()>()).await;
        said.say("told");
        Ok(told?)
    });
    play.turn();
    assert_eq!(play.run(), ["selected"]);
    task.cancel();
    assert_eq!(play.run(), ["told"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// promise 4.4
#[test]
fn a_select_between_scopes_ends_with_the_first_that_is_through() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let (a, b) = (branch(said.clone(), "a", 2), branch(said.clone(), "b", 1));
        let first = select! {
            name = Box::pin(a.fuse()) => name,
            name = Box::pin(b.fuse()) => name,
        };
        said.say(first);
        Ok(())
    });
    task.cancel_with("once");
    let mut said = play.run();
    said[..2].sort(); // `select!` polls in a random order
    assert_eq!(said, ["a told: once", "b told: once", "b tidied at 1", "b"]);
    drop(task);
    play.close();
}

// promise 4.4, 3.4
#[test]
fn a_failure_in_a_try_join_drops_the_others_where_they_are() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let dropped = said.clone();
        let slow = async move {
            let _dropped = dropped.finally("dropped");
            scope(pending::<()>()).await?;
            Ok(())
        };
        futures::try_join!(slow, fails(said.clone(), "tea", 1))?;
        Ok(())
    });
    assert_eq!(play.run(), ["tea failed at 1", "dropped"]);
    let error = task.error().unwrap().unwrap();
    assert_eq!(error.downcast_ref::<Spilled>(), Some(&Spilled("tea")));
    drop(task);
    play.close();
}

// ---- Tasks in streams and joins ----------------------------------------------------

/// Waits for tasks in some way; says nothing.
type Gathered = fn(Vec<Task<&'static str>>) -> LocalBoxFuture<'static, usize>;

const GATHERINGS: [(&str, Gathered); 5] = [
    ("join_all", |tasks| join_all(tasks).map(|all| all.len()).boxed_local()),
    ("try_join_all", |tasks| {
        try_join_all(tasks)
            .map(|all: Result<_, TaskError>| all.map_or(0, |all| all.len()))
            .boxed_local()
    }),
    ("FuturesUnordered", |tasks| {
        let all: FuturesUnordered<_> = tasks.into_iter().collect();
        all.count().boxed_local()
    }),
    ("buffer_unordered", |tasks| stream::iter(tasks).buffer_unordered(8).count().boxed_local()),
    ("buffered", |tasks| stream::iter(tasks).buffered(8).count().boxed_local()),
];

// promise 4.8, 4.4
#[test]
fn to_cancel_who_awaits_tasks_in_foreign_combinators_cancels_them_and_waits() {
    for (name, gathered) in GATHERINGS {
        let play = Play::new();
        let task = play.start(|said| async move {
            let times = [("a", 2), ("b", 3), ("c", 1)];
            let tasks = times.map(|(name, n)| spawn(tidies(said.clone(), name, n)));
            let told = scope(gathered(tasks.into())).await.unwrap_err();
            said.say(format!("{told} at {}", second()));
            Err::<(), _>(told.into())
        });
        task.cancel();
        let expected =
            ["c tidied at 1", "a tidied at 2", "b tidied at 3", "cancelled: requested at 3"];
        assert_eq!(play.run(), expected, "{name}");
        assert!(task.is_cancelled(), "{name}");
        drop(task);
        play.close();
    }
}

// promise 4.9, 4.8
#[test]
fn a_deadline_around_them_does_the_same_and_the_task_goes_on() {
    for (name, gathered) in GATHERINGS {
        let play = Play::new();
        let task = play.start(|said| async move {
            let tasks =
                vec![spawn(tidies(said.clone(), "tidy", 1)), spawn(naps(said.clone(), "nap", 60))];
            assert!(timeout(seconds(1), gathered(tasks)).await.is_err());
            said.say(format!("elapsed at {}", second()));
            sleep(seconds(1)).await;
            said.say("goes on");
            Ok(())
        });
        assert_eq!(play.run(), ["tidy tidied at 2", "elapsed at 2", "goes on"], "{name}");
        assert_eq!(task.result().ok(), Some(&()), "{name}");
        drop(task);
        play.close();
    }
}

// promise 4.8, 4.9
#[test]
fn values_of_those_who_stay_do_not_leave_the_deadline_behind() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let tasks = ["a", "b"].map(|name| spawn(stays(said.clone(), name, 1)));
        let names = timeout(seconds(1), try_join_all(tasks)).await??;
        said.say(names.join(" "));
        sleep(seconds(1)).await; // nobody has cancelled this task
        said.say("goes on");
        Ok(())
    });
    assert_eq!(play.run(), ["a stayed until 2", "b stayed until 2", "a b", "goes on"]);
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// ---- Channels -----------------------------------------------------------------------

/// Sends `n` numbers through a channel to receivers that are cancelled at any
/// moment, or give up after a while. Answers what arrived.
fn through_a_channel(seed: u64, n: u64, capacity: usize, cancelled_by_hand: bool) -> Vec<u64> {
    let play = Play::new();
    let (sender, receiver) = async_channel::bounded(capacity);
    let arrived = Rc::new(RefCell::new(Vec::new()));
    let sending = play.spawn(|_| async move {
        for number in 0..n {
            sender.send(number).await?;
            if number % 3 == 0 {
                yield_now().await;
            }
        }
        Ok(())
    });
    let received = arrived.clone();
    let receives = move || {
        let (receiver, arrived) = (receiver.clone(), received.clone());
        async move {
            while let Ok(number) = receiver.recv().await {
                arrived.borrow_mut().push(number);
            }
            Ok(())
        }
    };
    let mut random = Random(seed);
    let mut receiving: Vec<_> = (0..3).map(|_| play.spawn(|_| receives())).collect();
    while !sending.is_finished() || !play.world.executor.tasks().is_empty() {
        play.turn();
        if cancelled_by_hand && !sending.is_finished() {
            let place = random.below(receiving.len());
            receiving[place].cancel();
            receiving[place] = play.spawn(|_| receives());
        }
    }
    drop((receives, receiving, sending));
    play.close();
    arrived.take()
}

// Row 75, thread 39.
// promise 4.2, 7.2
#[test]
fn no_item_is_lost_between_a_channel_and_receivers_that_are_cancelled() {
    for seed in 0..20 {
        for capacity in [1, 2, 7] {
            let mut arrived = through_a_channel(seed, 100, capacity, true);
            arrived.sort_unstable();
            assert!(arrived.into_iter().eq(0..100), "seed {seed}, capacity {capacity}");
        }
    }
    assert_eq!(through_a_channel(0, 100, 1, false).len(), 100);
}

// Row 75.
// promise 4.9
#[test]
fn no_item_is_lost_between_a_channel_and_a_receiver_that_gives_up() {
    let play = Play::new();
    let task = play.start(|_| async {
        let (sender, receiver) = async_channel::bounded(1);
        let sending = spawn(async move {
            for number in 0..50u64 {
                sleep(seconds(number % 3)).await;
                sender.send(number).await?;
            }
            Ok(())
        });
        let mut arrived = Vec::new();
        loop {
            match timeout(seconds(1), receiver.recv()).await {
                Ok(Ok(number)) => arrived.push(number),
                Ok(Err(_closed)) => break,
                Err(_elapsed) => {}
            }
        }
        assert!(arrived.into_iter().eq(0..50));
        Ok(sending.await?)
    });
    assert_eq!(task.result().ok(), Some(&()));
    drop(task);
    play.close();
}

// promise 4.3
#[test]
fn a_cancelled_receiver_may_empty_the_channel_before_it_ends() {
    let play = Play::new();
    let (sender, receiver) = async_channel::unbounded();
    let task = play.start(|said| async move {
        let told = scope(async { while receiver.recv().await.is_ok() {} }).await;
        receiver.close();
        while let Ok(left) = receiver.recv().await {
            said.say(left);
        }
        Ok(told?)
    });
    task.cancel();
    sender.try_send("one").unwrap();
    sender.try_send("two").unwrap();
    assert_eq!(play.run(), ["one", "two"]);
    assert!(task.is_cancelled() && sender.is_closed());
    drop(task);
    play.close();
}

// ---- Locks ------------------------------------------------------------------------------

// Row 74, thread 38: who is cancelled after it was its turn passes the turn on.
// promise 4.2, 7.2
#[test]
fn a_cancelled_waiter_for_a_lock_passes_the_turn_on() {
    for (name, kind) in [("mutex", 0), ("semaphore", 1)] {
        let play = Play::new();
        let mutex = Rc::new(async_lock::Mutex::new(()));
        let semaphore = Rc::new(async_lock::Semaphore::new(1));
        let waits = |who: &'static str| {
            let (mutex, semaphore) = (mutex.clone(), semaphore.clone());
            play.spawn(|said| async move {
                let _held = if kind == 0 {
                    (Some(mutex.lock().await), None)
                } else {
                    (None, Some(semaphore.acquire().await))
                };
                said.say(who);
                sleep(seconds(1)).await;
                Ok(())
            })
        };
        let [first, second, third, fourth] = ["first", "second", "third", "fourth"].map(waits);
        play.world.executor.turn(hearken::Budget::Batch);
        third.cancel(); // while it is in the line
        assert_eq!(play.turn(), ["first"]);
        // The first lets go: it is the second's turn, which is cancelled at the
        // very moment.
        assert!(play.turn().is_empty());
        second.cancel();
        assert_eq!(play.run(), ["fourth"], "{name}");
        assert!(second.is_cancelled() && third.is_cancelled());
        drop((first, second, third, fourth));
        play.close();
    }
}

// Row 74.
// promise 4.2
#[test]
fn who_is_cancelled_while_it_fills_a_cell_leaves_that_to_the_next() {
    let play = Play::new();
    let cell = Rc::new(async_lock::OnceCell::new());
    let fills = |who: &'static str| {
        let cell = cell.clone();
        play.spawn(move |said| async move {
            let slowly = async {
                sleep(seconds(1)).await;
                who
            };
            said.say(format!("{who} sees {}", cell.get_or_init(|| slowly).await));
            Ok(())
        })
    };
    let [first, second, third] = ["first", "second", "third"].map(fills);
    play.world.executor.turn(hearken::Budget::Batch);
    first.cancel();
    assert_eq!(play.run(), ["second sees second", "third sees second"]);
    assert!(first.is_cancelled());
    drop((first, second, third));
    play.close();
}

// promise 4.4, 7.2
#[test]
fn branches_of_one_task_share_a_lock_like_tasks() {
    let play = Play::new();
    let most = Rc::new(Cell::new((0, 0)));
    let seen = most.clone();
    let task = play.start(|said| async move {
        let semaphore = async_lock::Semaphore::new(2);
        let branches = (0..10u64).map(|n| {
            let (semaphore, seen, said) = (&semaphore, &seen, &said);
            async move {
                let _permit = semaphore.acquire().await;
                let (now, most) = seen.get();
                seen.set((now + 1, most.max(now + 1)));
                // The third is given up while it has its permit.
                let limit = if n == 2 { seconds(1) } else { seconds(60) };
                let _slept = timeout(limit, sleep(seconds(2))).await;
                let (now, most) = seen.get();
                seen.set((now - 1, most));
                said.say(n.to_string());
            }
        });
        branches.collect::<FuturesUnordered<_>>().collect::<Vec<()>>().await;
        Ok(())
    });
    assert_eq!(play.run().len(), 10);
    assert_eq!(most.get(), (0, 2));
    drop(task);
    play.close();
}

// promise 7.2, 8.4
#[test]
fn a_send_future_of_another_crate_runs_like_any() {
    let play = Play::new();
    let boxed: BoxFuture<'static, Spoken> = Box::pin(async { Ok("boxed") });
    let task = play.start(|_| boxed);
    assert_eq!(task.result().ok(), Some(&"boxed"));
    drop(task);
    play.close();
}
