//! Sets, races, and futures that nobody polls just now.

use std::future::pending;
use std::pin::pin;
use std::rc::Rc;

use async_lock::Semaphore;
use futures::FutureExt as _;
use futures::future::{Either, Shared, join, join_all, select};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use hearken::{
    Group, Panicked, Task, TaskState, current, finally, group, scope, shield, sleep, spawn,
    timeout, yield_now,
};

use crate::common::cast::{naps, tidies};
use crate::common::{Gate, OnDrop, Play, hushed, secs};
use crate::{cancel_at, run, tell};

// rust-lang/futures-rs 2387, rust-lang/wg-async 131: what stands in a buffer is not
// polled while the loop's body waits for something else.
// promise 4.4, 4.11
#[test]
fn what_stands_in_a_buffer_is_not_told_of_a_request_that_the_body_of_the_loop_has_heard() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let reads = |n| async move { scope(sleep(secs(n))).await.map(|()| n) };
        let mut numbers = pin!(stream::iter(1..4).map(reads).buffer_unordered(3));
        while let Some(n) = numbers.next().await {
            tell(&said, &format!("{:?}", n.map_err(|told| told.reason().to_owned())));
            if let Err(told) = scope(sleep(secs(10))).await {
                tell(&said, "body told");
                told.accept();
            }
        }
        Ok(())
    });
    cancel_at(&play, &task, 2);
    assert_eq!(run(&play), ["Ok(1) at 1", "body told at 2", "Ok(2) at 2", "Ok(3) at 12"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// The same report: and here nobody listens but what is not polled.
// promise 4.4, 4.11, 4.2
#[test]
fn what_stands_in_a_buffer_does_not_keep_a_task_from_being_cancelled() {
    for shielded in [false, true] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let reads = |n| async move {
                match shielded {
                    true => shield(sleep(secs(n))).await,
                    false => drop(scope(sleep(secs(n))).await),
                }
                n
            };
            let mut numbers = pin!(stream::iter(1..4).map(reads).buffer_unordered(3));
            while let Some(n) = numbers.next().await {
                tell(&said, &n.to_string());
                sleep(secs(10)).await;
            }
            Ok(())
        });
        cancel_at(&play, &task, 2);
        assert_eq!(run(&play), ["1 at 1"], "{shielded}");
        assert!(task.is_cancelled());
        assert_eq!(play.world.executor.now().as_nanos(), 2_000_000_000);
        drop(task);
        play.close();
    }
}

// rust-lang/futures-rs 2387, its second half: those in the buffer have the permits
// that the body waits for.
// promise 4.3, 4.7, 4.11
#[test]
fn a_clean_up_may_take_what_a_future_that_nobody_polls_had_in_hand() {
    let play = Play::new();
    let permits = Rc::new(Semaphore::new(1));
    let shared = permits.clone();
    let task = play.start(|said| async move {
        let body = async {
            let mut holds = pin!(async {
                let _permit = shared.acquire().await;
                scope(pending::<()>()).await
            });
            assert!(futures::poll!(&mut holds).is_pending());
            let _permit = shared.acquire().await;
            unreachable!("nobody polls the one that has it")
        };
        finally(body, async || {
            let _permit = shared.acquire().await;
            said.say("has the permit");
            Ok(())
        })
        .await
    });
    task.cancel();
    assert_eq!(run(&play), ["has the permit"]);
    let task: Task<()> = task;
    assert!(task.is_cancelled());
    assert!(permits.try_acquire().is_some());
    drop(task);
    play.close();
}

// typelevel/cats-effect 3453: a race of which one side had cancelled itself was
// won by the other.
// promise 4.6, 4.4
#[test]
fn a_branch_that_cancels_its_task_does_not_leave_the_race_to_the_other() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let cancels = async {
            current().cancel();
            pending::<()>().await;
        };
        select(pin!(cancels), pin!(sleep(secs(3)))).await;
        tell(&said, "never");
        Ok(())
    });
    assert_eq!(run(&play), [""; 0]);
    assert!(task.is_cancelled());
    assert_eq!(play.world.executor.now().as_nanos(), 0);
    drop(task);
    play.close();
}

// rust-lang/futures-rs 304, typelevel/cats-effect 1519: the one who had polled what
// several share was cancelled, and the others waited for ever.
// promise 4.11
#[test]
fn of_two_who_share_a_future_the_other_goes_on_when_one_is_cancelled() {
    for cancelled in [0, 1] {
        let play = Play::new();
        let gate = Gate::new();
        let passes = gate.clone();
        let work = async move { scope(passes.pass()).await.map_err(|told| told.accept()) };
        let work: Shared<_> = work.shared();
        let shares = |name: &'static str| {
            let work = work.clone();
            play.spawn(move |said| async move {
                said.say(format!("{name}: {:?}", work.await));
                Ok(())
            })
        };
        let tasks = [shares("a"), shares("b")];
        drop(work);
        run(&play);
        tasks[cancelled].cancel();
        let told = run(&play);
        gate.open();
        let lines = [told, run(&play)].concat();
        let ended: Vec<_> = tasks.iter().map(Task::is_cancelled).collect();
        // The scope in it is that of the one who polled it last, and of nobody else.
        match cancelled {
            0 => {
                assert_eq!((&lines[..], ended), (&["b: Ok(())".to_owned()][..], vec![true, false]))
            }
            _ => {
                assert_eq!(lines, ["b: Err(())", "a: Err(())"]); // what they share has ended
                assert_eq!(ended, [false, false]);
            }
        }
        drop(tasks);
        play.close();
    }
}

// rust-lang/futures-rs 2886: one that panicked as its set was dropped, and others
// were used after they were dropped. (In our version of it the set still leaves out
// those behind the panic, so this is a `join_all`, which is a `Vec`.)
// promise 4.12, 4.2
#[test]
fn of_many_of_which_one_panics_as_it_is_dropped_all_are_dropped() {
    for scoped in [false, true] {
        let play = Play::new();
        let task: Task<()> = play.start(|said| async move {
            let waits = |n: u32| {
                let said = said.clone();
                let dropped = OnDrop(move || {
                    said.say(format!("{n} dropped"));
                    assert!(n != 1, "not like this");
                });
                async move {
                    let _dropped = dropped;
                    pending::<()>().await;
                }
            };
            let all = join_all((0..3).map(waits));
            match scoped {
                true => scope(all).await.map(drop)?,
                false => drop(all.await),
            }
            Ok(())
        });
        task.cancel();
        assert_eq!(hushed(|| run(&play)), ["0 dropped", "1 dropped", "2 dropped"]);
        let error = task.error().unwrap().unwrap().downcast_ref::<Panicked>().unwrap();
        assert_eq!(error.message(), "not like this");
        assert!(error.cancelled().is_some());
        drop(task);
        play.close();
    }
}

// tokio-rs/tokio 3964: an abort had no effect when the handle was dropped at once.
// promise 4.1, 4.2, 4.8
#[test]
fn a_request_outlives_the_handle_however_that_goes() {
    let goes: [fn(Task<()>); 4] =
        [drop, Task::detach, Task::ignore, |task| drop(task.cancel_on_drop())];
    for go in goes {
        for begun in [false, true] {
            let play = Play::new();
            let task = play.spawn(|said| {
                let dropped = said.finally("dropped");
                async move {
                    let _dropped = dropped;
                    pending().await
                }
            });
            if begun {
                play.turn();
            }
            task.cancel();
            go(task);
            assert_eq!(run(&play), ["dropped"]);
            play.close();
        }
    }
}

// Kotlin/kotlinx.coroutines 1937: what had been received at the moment of a
// cancellation was nobody's.
// promise 4.2, 4.9
#[test]
fn an_item_that_comes_in_the_turn_of_a_request_is_not_lost() {
    for cancelled_first in [true, false] {
        let play = Play::new();
        let (sends, receives) = async_channel::bounded(1);
        let (other, said) = (receives.clone(), play.said.clone());
        let first = play.start(|said| async move {
            let item: &str = receives.recv().await?;
            said.say(format!("first has {item}"));
            yield_now().await;
            Ok(())
        });
        let second = play.start(|said| async move {
            let item = other.recv().await?;
            said.say(format!("second has {item}"));
            Ok(())
        });
        if cancelled_first {
            first.cancel();
        }
        sends.try_send("tea").unwrap();
        if !cancelled_first {
            first.cancel();
        }
        drop(said);
        assert_eq!(run(&play), ["second has tea"], "{cancelled_first}");
        assert!(first.is_cancelled());
        drop((first, second, sends));
        play.close();
    }
}

// tokio-rs/tokio 4400: to abort a task leaves those that it had begun and awaited
// running. Here that depends on whether it awaits them at that moment.
// promise 4.8, 4.11
#[test]
fn of_several_awaits_those_are_passed_a_request_that_are_polled_at_that_moment() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut parked = spawn(naps(said.clone(), "parked", 5));
        assert!(futures::poll!(&mut parked).is_pending());
        let (a, b) = (spawn(tidies(said.clone(), "a", 1)), spawn(tidies(said.clone(), "b", 2)));
        let limited = timeout(secs(60), b);
        let (a, b) = join(a, limited).await;
        a?;
        b??;
        parked.await?;
        Ok(())
    });
    cancel_at(&play, &task, 1);
    assert_eq!(run(&play), ["a tidied at 2", "b tidied at 3", "parked done at 5"]);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// xline-kv/Xline 339: what is raced again and again in a loop began from the start
// each time, and missed what had come in between.
// promise 4.8, 4.11
#[test]
fn an_await_that_is_raced_again_in_the_same_poll_passes_a_request_on_once() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut child = spawn(tidies(said.clone(), "child", 4));
        loop {
            match select(&mut child, pin!(sleep(secs(2)))).await {
                Either::Left((outcome, _)) => return Ok(outcome?),
                Either::Right(_) => tell(&said, "tick"),
            }
        }
    });
    cancel_at(&play, &task, 3);
    assert_eq!(
        run(&play),
        ["tick at 2", "tick at 4", "tick at 6", "child tidied at 7"] // and not cut short
    );
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// The same report, of a scope in the place of the task.
// promise 4.3, 4.11
#[test]
fn a_scope_that_is_raced_again_in_the_same_poll_is_told_once() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let mut work = pin!(async {
            let told = scope(pending::<()>()).await;
            sleep(secs(3)).await;
            tell(&said, "tidied");
            told
        });
        loop {
            match select(&mut work, pin!(sleep(secs(1)))).await {
                Either::Left((told, _)) => return Ok(told?),
                Either::Right(_) => tell(&said, "tick"),
            }
        }
    });
    cancel_at(&play, &task, 2);
    let mut lines = run(&play);
    assert_eq!(lines.pop().unwrap(), "tidied at 5");
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// rust-lang/futures-rs 2387, its first half: limits that pass while nobody looks.
// promise 4.9, 4.11
#[test]
fn a_deadline_that_passes_while_nobody_polls_it_answers_when_it_is_polled_again() {
    for cancelled in [None, Some(15)] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let limited = |n| timeout(secs(n), pending::<()>());
            let mut limits = pin!(stream::iter(1..4).map(limited).buffer_unordered(3));
            while let Some(answer) = limits.next().await {
                tell(&said, &format!("{answer:?}"));
                sleep(secs(10)).await;
            }
            Ok(())
        });
        if let Some(second) = cancelled {
            cancel_at(&play, &task, second);
        }
        let lines = ["Err(Elapsed) at 1", "Err(Elapsed) at 11", "Err(Elapsed) at 21"];
        assert_eq!(run(&play), if cancelled.is_none() { &lines[..] } else { &lines[..2] });
        let end = play.world.executor.now().as_nanos() / 1_000_000_000;
        assert_eq!((task.is_cancelled(), end), (cancelled.is_some(), cancelled.unwrap_or(31)));
        drop(task);
        play.close();
    }
}

// The same report, of tasks.
// promise 4.8, 4.11
#[test]
fn tasks_that_stand_in_a_buffer_are_not_passed_a_request_that_the_body_has_heard() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let all = ["a", "b", "c"].into_iter().zip(1..);
        let mut tasks: FuturesUnordered<_> =
            all.map(|(name, n)| spawn(naps(said.clone(), name, n))).collect();
        while let Some(outcome) = tasks.next().await {
            assert!(outcome.is_ok());
            if let Err(told) = scope(sleep(secs(10))).await {
                tell(&said, "body told");
                told.accept();
            }
        }
        Ok(())
    });
    cancel_at(&play, &task, 2);
    let mut lines = run(&play);
    lines[1..3].sort(); // in the same turn
    assert_eq!(lines, ["a done at 1", "b done at 2", "body told at 2", "c done at 3"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// The same report, of a group.
// promise 5.4, 4.11
#[test]
fn a_group_that_nobody_polls_is_not_told_of_a_request_that_others_have_heard() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        let inside = async |g: Group| {
            let child = g.spawn(naps(said.clone(), "child", 5));
            sleep(secs(1)).await;
            Ok(child.await?)
        };
        let mut parked = Box::pin(group(inside));
        assert!(futures::poll!(&mut parked).is_pending());
        if let Err(told) = scope(sleep(secs(60))).await {
            tell(&said, "told");
            told.accept();
        }
        tell(&said, parked.await?);
        Ok(())
    });
    cancel_at(&play, &task, 2);
    assert_eq!(run(&play), ["told at 2", "child done at 5", "child at 5"]);
    assert_eq!(task.info().state(), TaskState::Succeeded);
    drop(task);
    play.close();
}

// The same report: and what has come in time, though nobody looked, has come.
// promise 4.9, 4.11
#[test]
fn a_task_that_ends_while_its_limit_is_not_polled_was_in_time() {
    for (naps_for, answer) in [(4, "Ok(Ok(\"child\")) at 6"), (10, "Err(Elapsed) at 6")] {
        let play = Play::new();
        let task = play.spawn(|said| async move {
            let child = spawn(naps(said.clone(), "child", naps_for));
            let mut limited = Box::pin(timeout(secs(2), child));
            assert!(futures::poll!(&mut limited).is_pending());
            sleep(secs(6)).await;
            let answer = limited.await.map(|outcome| outcome.map_err(drop));
            tell(&said, &format!("{answer:?}"));
            Ok(())
        });
        let lines = run(&play);
        assert_eq!(lines.last().map(String::as_str), Some(answer));
        drop(task);
        play.close();
    }
}

// opensearch-project/OpenSearch 21924: a race between the signal and what fails
// because of it was won by either, at random.
// promise 4.4, 4.8
#[test]
fn a_scope_that_is_told_wins_the_race_against_a_task_that_is_cancelled() {
    for scope_first in [true, false] {
        let play = Play::new();
        let child = play.start(|said| tidies(said, "child", 2));
        let task = play.start(|said| async move {
            let listens = Box::pin(scope(pending::<()>()));
            let told = match scope_first {
                true => match select(listens, child).await {
                    Either::Left((told, _)) => told.unwrap_err(),
                    Either::Right(_) => unreachable!("it cleans up first"),
                },
                false => match select(child, listens).await {
                    Either::Right((told, _)) => told.unwrap_err(),
                    Either::Left(_) => unreachable!("it cleans up first"),
                },
            };
            tell(&said, told.reason());
            told.accept();
            scope(sleep(secs(5))).await?; // it is over
            tell(&said, "goes on");
            Ok(())
        });
        task.cancel_with("enough");
        let mut lines = run(&play);
        // Whether the child was asked is left open: its await was lost in that poll.
        lines.retain(|line| line != "child tidied at 2");
        assert_eq!(lines, ["enough at 0", "goes on at 5"]);
        assert_eq!(task.info().state(), TaskState::Succeeded);
        drop(task);
        play.close();
    }
}
