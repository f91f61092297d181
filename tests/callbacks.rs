//! Done callbacks: when they are called, in what order, and what they may do.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::task::Poll;

use common::{
    Gate, Shelf, Spilled, Transcript, World, assert_balances, assert_settled, failing, hushed,
    poll_once,
};
use hearken::{
    Budget, Finished, Next, OutcomeError, ReportKind, TakeError, Task, TaskError, spawn, yield_now,
};

/// A callback that says a line.
fn says(said: &Transcript, line: &str) -> impl FnOnce(Finished<'_, ()>) + 'static {
    let (said, line) = (said.clone(), line.to_owned());
    move |_| said.say(line)
}

/// A task that succeeds when the gate is opened.
fn gated(world: &World, gate: &Gate) -> Task<()> {
    let passage = gate.clone();
    let task = world.executor.spawn(async {
        passage.pass().await;
        Ok(())
    });
    world.executor.run_until_idle();
    task
}

/// Awaits the task on a shelf, and leaves it there.
fn task_on(shelf: &Shelf<Task<()>>) -> impl Future<Output = Result<(), TaskError>> + use<> {
    let shelf = shelf.clone();
    std::future::poll_fn(move |cx| shelf.with(|task| Future::poll(std::pin::Pin::new(task), cx)))
}

// ---- When and in what order ------------------------------------------------------------

// promise 3.13
#[test]
fn callbacks_run_in_the_order_of_registration_after_the_turn_of_the_end() {
    let (world, said) = (World::new(), Transcript::new());
    let ends = said.clone();
    let task = world.executor.spawn(async move {
        ends.say("the task ends");
        Ok(())
    });
    for line in ["first", "second", "third"] {
        task.on_done(says(&said, line));
    }
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["the task ends"], "not inline");
    assert!(task.is_finished());
    let turn = world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["first", "second", "third"]);
    assert_eq!(turn.polled, 3, "each counts one");
    world.executor.run_until_idle();
    assert!(said.lines().is_empty(), "each is called once");
    drop(task);
    world.close();
}

// promise 3.13, 8.1
#[test]
fn a_callback_counts_one_in_the_budget_and_its_fellows_come_first_in_the_next_turn() {
    let (world, said) = (World::new(), Transcript::new());
    let task = world.executor.spawn(async { Ok(()) });
    for line in ["first", "second"] {
        task.on_done(says(&said, line));
    }
    world.executor.turn(Budget::Batch);
    let turn = world.executor.turn(Budget::Polls(1));
    assert_eq!((turn.polled, turn.next), (1, Next::Ready));
    assert_eq!(said.lines(), ["first"]);
    task.on_done(says(&said, "late"));
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["second", "late"]);
    drop(task);
    world.close();
}

// promise 3.13
#[test]
fn a_callback_that_is_added_late_runs_in_its_turn_and_not_inline() {
    let (world, said) = (World::new(), Transcript::new());
    let task = world.executor.spawn(async { Ok(()) });
    world.executor.run_until_idle();
    let before = said.clone();
    let other = world.executor.spawn(async move {
        before.say("a task that was ready before");
        Ok(())
    });
    let id = task.on_done(says(&said, "late"));
    assert!(said.lines().is_empty());
    assert!(!task.remove_on_done(id), "it waits in the queue already");
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["a task that was ready before", "late"]);
    drop((task, other));
    world.close();
}

// promise 3.13
#[test]
fn callbacks_and_awaiters_stand_in_one_line() {
    // The awaiter comes after so many of the three callbacks.
    for place in 0..=3 {
        let (world, said, gate) = (World::new(), Transcript::new(), Gate::new());
        let shelf = Shelf::new();
        shelf.put(gated(&world, &gate));
        let mut expected: Vec<String> = (0..3).map(|n| format!("callback {n}")).collect();
        expected.insert(place, "awaiter".into());
        for line in &expected {
            if line != "awaiter" {
                shelf.with(|task| task.on_done(says(&said, line)));
                continue;
            }
            let (awaited, said) = (task_on(&shelf), said.clone());
            let waiter = world.executor.spawn(async move {
                awaited.await?;
                said.say("awaiter");
                Ok(())
            });
            waiter.detach();
            world.executor.run_until_idle();
        }
        gate.open();
        world.executor.run_until_idle();
        assert_eq!(said.lines(), expected);
        drop(shelf.take());
        world.close();
    }
}

// promise 3.13
#[test]
fn an_awaiter_who_takes_the_place_of_another_comes_after_the_callbacks_between() {
    let (world, said, gate, shelf) = (World::new(), Transcript::new(), Gate::new(), Shelf::new());
    shelf.put(gated(&world, &gate));
    let mut glance = task_on(&shelf);
    let looks_once = std::future::poll_fn(move |cx| {
        assert!(std::pin::Pin::new(&mut glance).poll(cx).is_pending());
        Poll::Ready(Ok(()))
    });
    world.executor.spawn(looks_once).detach();
    world.executor.run_until_idle();
    shelf.with(|task| task.on_done(says(&said, "callback")));
    let (awaited, says) = (task_on(&shelf), said.clone());
    let waiter = world.executor.spawn(async move {
        awaited.await?;
        says.say("awaiter");
        Ok(())
    });
    waiter.detach();
    world.executor.run_until_idle();

    gate.open();
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["callback", "awaiter"]);
    drop(shelf.take());
    world.close();
}

// promise 3.13, 3.2
#[test]
fn a_callback_behind_an_awaiter_finds_that_the_outcome_was_taken() {
    let (world, gate, found) = (World::new(), Gate::new(), Rc::new(Cell::new("nothing")));
    let task = gated(&world, &gate);
    let (shelf, finds) = (Shelf::new(), found.clone());
    let awaited = task_on(&shelf);
    let waiter = world.executor.spawn(async { Ok(awaited.await?) });
    shelf.put(task);
    world.executor.run_until_idle();
    shelf.with(|task| {
        task.on_done(move |finished| {
            finds.set(match finished.result() {
                Err(OutcomeError::Taken) => "taken",
                _ => "something else",
            });
        })
    });
    gate.open();
    world.executor.run_until_idle();
    assert_eq!(found.get(), "taken");
    assert!(waiter.result().is_ok());
    drop((shelf.take(), waiter));
    world.close();
}

// promise 3.13, 6.4, 6.8
#[test]
fn callbacks_run_at_the_end_of_the_executor_too() {
    for by_drop in [false, true] {
        let (world, said) = (World::new(), Transcript::new());
        let ended = world.executor.spawn(async { Ok(()) });
        world.executor.run_until_idle();
        let unfinished = world.executor.spawn(pending::<anyhow::Result<()>>());
        ended.on_done(says(&said, "ended before"));
        unfinished.on_done(says(&said, "cancelled now"));
        if by_drop {
            drop(world.executor);
        } else {
            world.executor.shut_down();
            assert_balances(&world.executor);
        }
        assert_eq!(said.lines(), ["ended before", "cancelled now"]);
        assert!(unfinished.is_cancelled());
    }
}

// ---- Removing -----------------------------------------------------------------------------

// promise 3.13
#[test]
fn a_callback_that_is_removed_is_dropped_and_not_called() {
    let (world, said) = (World::new(), Transcript::new());
    let task = world.executor.spawn(async { Ok(()) });
    task.on_done(says(&said, "first"));
    let guard = said.finally("dropped");
    let second = task.on_done(move |_| drop(guard));
    let third = task.on_done(says(&said, "third"));
    assert!(task.remove_on_done(second));
    assert_eq!(said.lines(), ["dropped"]);
    assert!(!task.remove_on_done(second), "it is gone");
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["first", "third"]);
    assert!(!task.remove_on_done(third), "it ran");
    drop(task);
    world.close();
}

// promise 3.13
#[test]
fn a_callback_is_not_removed_by_the_id_of_another_tasks() {
    let (world, said) = (World::new(), Transcript::new());
    let (one, other) = (world.executor.spawn(async { Ok(()) }), world.executor.spawn(failing()));
    one.on_done(says(&said, "one"));
    let id = other.on_done(says(&said, "other"));
    assert!(!one.remove_on_done(id), "it is the other's");
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["one", "other"]);
    other.ignore();
    drop(one);
    world.close();
}

// ---- What it sees ---------------------------------------------------------------------------

// promise 3.6, 3.13
#[test]
fn a_callback_retrieves_a_failure_only_by_looking() {
    type Look = fn(Finished<'_, ()>);
    let looks: [(&str, Look, bool); 4] = [
        ("at nothing", |_| {}, false),
        ("at the facts", |finished| assert_eq!(finished.info().polls(), 1), false),
        ("at the error", |finished| assert!(finished.error().unwrap().is_some()), true),
        ("at the result", |finished| assert!(finished.result().is_err()), true),
    ];
    for (what, look, retrieves) in looks {
        for detached in [false, true] {
            let world = World::new();
            let task = world.executor.spawn(failing());
            task.on_done(look);
            let kept = (!detached).then_some(task);
            world.executor.run_until_idle();
            let ledger = world.executor.ledger();
            assert_eq!(ledger.retrieved == 1, retrieves, "{what}: {ledger}");
            assert_eq!(ledger.held == 1, !retrieves && !detached, "{what}: {ledger}");
            drop(kept);
            let heard = world.close();
            let reported = heard.count(ReportKind::NeverRetrieved);
            assert_eq!(reported, usize::from(!retrieves), "{what}");
        }
    }
}

// promise 3.2, 3.13
#[test]
fn a_callback_sees_every_ending() {
    async fn ends(how: u32) -> anyhow::Result<u32> {
        match how {
            0 => Ok(7),
            1 => Err(Spilled("tea").into()),
            2 => panic!("oh"),
            _ => pending().await,
        }
    }
    let expected = ["7", "spilled tea", "panicked: oh", "cancelled: late"];
    for (how, expected) in (0..).zip(expected) {
        let (world, seen) = (World::new(), Transcript::new());
        let task = world.executor.spawn(ends(how));
        let sees = seen.clone();
        task.on_done(move |finished| {
            sees.say(match finished.result() {
                Ok(value) => value.to_string(),
                Err(error) => error.to_string(),
            });
        });
        hushed(|| world.executor.turn(Budget::Batch));
        task.cancel_with("late");
        task.detach();
        world.executor.run_until_idle();
        assert_eq!(seen.lines(), [expected]);
        world.close();
    }
}

// promise 3.2, 8.3
#[test]
fn while_a_callback_looks_nobody_can_take_what_it_looks_at() {
    let (world, shelf) = (World::new(), Shelf::<Task<()>>::new());
    let task = world.executor.spawn(failing());
    let mine = shelf.clone();
    task.on_done(move |finished| {
        let error = finished.error().unwrap().unwrap();
        mine.with(|task| {
            assert_eq!(task.take().unwrap_err(), TakeError::Pending);
            assert!(poll_once(task).is_pending());
        });
        drop(mine.take()); // nor by dropping the handle
        assert_eq!(error.to_string(), "pouring");
    });
    shelf.put(task);
    world.executor.run_until_idle();
    assert!(shelf.is_empty());
    assert!(world.close().notes().is_empty(), "and it was retrieved");
}

// promise 3.2, 7.2
#[test]
fn who_awaits_a_task_during_its_callback_is_woken_after_it() {
    let (world, shelf) = (World::new(), Shelf::<Task<()>>::new());
    let task = world.executor.spawn(async { Ok(()) });
    let (mine, wakers) = (shelf.clone(), Shelf::new());
    let waker = wakers.clone();
    task.on_done(move |_| {
        let waker: std::task::Waker = waker.take().expect("the waiter left it");
        let cx = &mut std::task::Context::from_waker(&waker);
        let poll = mine.with(|task| Future::poll(std::pin::Pin::new(task), cx));
        assert!(matches!(poll, Poll::Pending));
    });
    shelf.put(task);
    let mine = shelf.clone();
    let mut polls = 0;
    let waiter = world.executor.spawn_infallible(std::future::poll_fn(move |cx| {
        wakers.put(cx.waker().clone());
        polls += 1;
        match polls {
            1 => Poll::Pending,
            _ => mine.with(poll_once).map(|outcome| outcome.is_ok()),
        }
    }));
    world.executor.run_until_idle();
    assert_eq!(waiter.result().ok(), Some(&true));
    drop((shelf.take(), waiter));
    world.close();
}

// ---- What it may do ---------------------------------------------------------------------------

// promise 3.13, 3.11, 10.7
#[test]
fn a_callback_that_panics_is_reported_and_stops_nobody() {
    let (world, said) = (World::new(), Transcript::new());
    let task = world.executor.spawn(failing());
    task.on_done(says(&said, "first"));
    task.on_done(|_| panic!("oh"));
    task.on_done(says(&said, "third"));
    hushed(|| world.executor.run_until_idle());
    assert_eq!(said.lines(), ["first", "third"]);
    let notes = world.heard.notes();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((note.kind, note.task), (ReportKind::CallbackPanicked, Some(1)));
    assert_eq!(note.error.as_deref(), Some("panicked: oh"));
    assert_eq!(world.executor.ledger().held, 1, "a panic is no look");
    drop(task);
    world.close();
}

// promise 3.13, 8.3
#[test]
fn a_callback_may_add_remove_spawn_cancel_and_report() {
    let (world, said) = (World::new(), Transcript::new());
    let victim = world.executor.spawn(pending::<anyhow::Result<()>>());
    let (shelf, prey) = (Shelf::<Task<()>>::new(), victim.task_ref());
    let task = world.executor.spawn(async { Ok(()) });
    let (mine, says_on) = (shelf.clone(), said.clone());
    let third = Rc::new(Cell::new(None));
    let later = third.clone();
    task.on_done(move |finished| {
        mine.with(|task| task.on_done(says(&says_on, "added")));
        let removed = mine.with(|task| task.remove_on_done(later.get().unwrap()));
        says_on.say(format!("removed a queued one: {removed}"));
        prey.cancel_with("a callback said so");
        let child = says_on.clone();
        spawn(async move {
            child.say("spawned");
            Ok(())
        })
        .detach();
        hearken::report(hearken::Report::new(Spilled("ink")));
        assert!(finished.result().is_ok());
    });
    task.on_done(says(&said, "second"));
    third.set(Some(task.on_done(says(&said, "third"))));
    shelf.put(task);
    world.executor.turn(Budget::Batch); // the victim waits, the task ends
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["removed a queued one: false", "second", "third"]);
    assert_eq!(world.heard.kinds(), [ReportKind::Library]);
    world.executor.turn(Budget::Batch);
    assert_eq!(said.lines(), ["added", "spawned"]);
    assert!(victim.is_cancelled());
    drop((shelf.take(), victim));
    world.close();
}

// promise 3.6, 3.13
#[test]
fn a_callback_may_hold_its_own_task() {
    for looks in [false, true] {
        for ends in [false, true] {
            let (world, shelf, token) = (World::new(), Shelf::new(), Rc::new(()));
            let (gate, kept) = (Gate::new(), token.clone());
            let passage = gate.clone();
            let task = world.executor.spawn(async {
                passage.pass().await;
                failing().await
            });
            let mine = shelf.clone();
            task.on_done(move |finished| {
                let _kept = kept;
                if looks {
                    let _seen = finished.error();
                }
                drop(mine.take());
            });
            shelf.put(task);
            drop(shelf); // now only the callback has it
            world.executor.run_until_idle();
            if ends {
                gate.open();
                world.executor.run_until_idle();
            }
            let heard = world.close();
            let reported = usize::from(ends && !looks);
            assert_eq!(heard.count(ReportKind::NeverRetrieved), reported, "{looks} {ends}");
            assert_eq!(Rc::strong_count(&token), 1, "nothing is kept: {looks} {ends}");
        }
    }
}

// promise 3.13, 6.5
#[test]
fn a_callback_that_comes_too_late_for_the_executor_is_not_kept_for_ever() {
    for after_drop in [false, true] {
        let (world, token) = (World::new(), Rc::new(()));
        let task = world.executor.spawn(async { Ok(()) });
        world.executor.run_until_idle();
        world.executor.shut_down();
        let World { executor, .. } = world;
        let mut executor = Some(executor);
        if after_drop {
            executor = None;
        }
        let kept = token.clone();
        task.on_done(move |_| drop(kept));
        drop((executor, task));
        assert_eq!(Rc::strong_count(&token), 1, "after the drop: {after_drop}");
    }
}

/// Has itself called again and again, up to a limit that stands for "for ever".
fn again(task: Rc<Task<()>>, calls: Rc<Cell<u32>>) {
    let next = task.clone();
    task.on_done(move |_| {
        calls.set(calls.get() + 1);
        if calls.get() < 3_000_000 {
            again(next, calls);
        }
    });
}

// promise 3.13, 6.4, 6.8, 7.1
#[test]
fn a_callback_that_has_itself_called_for_ever_holds_up_neither_others_nor_the_end() {
    for by_drop in [false, true] {
        let (world, calls) = (World::new(), Rc::new(Cell::new(0)));
        let task = Rc::new(world.executor.spawn(async { Ok(()) }));
        again(task, calls.clone());
        let other = world.executor.spawn(async {
            yield_now().await;
            Ok(())
        });
        for _ in 0..3 {
            world.executor.turn(Budget::Batch);
        }
        assert!(other.is_finished() && calls.get() <= 3, "fair to others");
        if by_drop {
            drop(world.executor);
        } else {
            world.executor.shut_down();
            assert_settled(&world.executor);
        }
        assert!(calls.get() < 3_000_000, "it was called until it gave up; dropped: {by_drop}");
    }
}
