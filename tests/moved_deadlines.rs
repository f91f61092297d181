//! Deadlines that are moved while somebody waits: a sleep that is reset, a time
//! limit whose handle several wait by.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future as _, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use common::cast::seconds;
use common::{World, poll_once};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hearken::{
    Budget, Elapsed, Executor, Instant, ManualClock, Next, TimeoutHandle, now, sleep, timeout_by,
};

fn at(second: u64) -> Instant {
    Instant::ZERO + seconds(second)
}

// promise 7.5
#[test]
fn a_sleep_that_waits_and_is_reset_into_the_past_is_due_at_once() {
    for past in [Instant::ZERO, at(3), at(5)] {
        let world = World::new();
        world.clock.advance(seconds(5));
        let task = world.executor.spawn(async move {
            let mut sleep = Box::pin(sleep(seconds(60)));
            poll_fn(|cx| {
                assert!(sleep.as_mut().poll(cx).is_pending() && !sleep.is_elapsed());
                sleep.reset(past);
                assert!(sleep.is_elapsed());
                assert!(sleep.as_mut().poll(cx).is_ready(), "what is elapsed is ready");
                Poll::Ready(Ok(now()))
            })
            .await
        });
        world.executor.turn(Budget::Batch);
        assert_eq!(task.result().ok(), Some(&at(5)));
        assert_eq!(world.executor.next_deadline(), None);
        drop(task);
        world.close();
    }
}

// promise 7.5, 7.2
#[test]
fn who_waits_for_it_is_woken_without_a_clock_that_moves_or_a_timer() {
    for inside in [true, false] {
        let rung = Arc::new(AtomicUsize::new(0));
        let rings = rung.clone();
        let clock = ManualClock::new();
        let on_wake = move || {
            rings.fetch_add(1, Ordering::Relaxed);
        };
        let executor = Executor::builder().clock(clock.clone()).on_wake(on_wake).build();
        clock.advance(seconds(5));
        let shared = Rc::new(RefCell::new(None::<Pin<Box<hearken::Sleep>>>));
        let waits = shared.clone();
        let task = executor.spawn(async move {
            *waits.borrow_mut() = Some(Box::pin(sleep(seconds(60))));
            poll_fn(|cx| waits.borrow_mut().as_mut().expect("it is there").as_mut().poll(cx)).await;
            Ok(())
        });
        executor.run_until_idle();
        assert!(!task.is_finished());
        let (moves, rung_before) = (shared.clone(), rung.load(Ordering::Relaxed));
        let reset = move || moves.borrow_mut().as_mut().expect("it is there").reset(at(1));
        if inside {
            executor.spawn_infallible(async move { reset() }).detach();
        } else {
            reset();
            assert_eq!(rung.load(Ordering::Relaxed), rung_before + 1, "the host is told");
        }
        executor.run_until_idle();
        assert!(task.is_finished());
        shared.take();
    }
}

// promise 4.9
#[test]
fn all_who_wait_by_one_handle_hear_that_it_was_moved() {
    // In tasks of their own, or in one; moved to an earlier moment, a later, and none.
    for one_task in [false, true] {
        for (moved_to, ends) in [(Some(20), 20), (Some(90), 90), (Some(2), 10), (None, 200)] {
            let world = World::new();
            let handle = TimeoutHandle::new(Some(at(60)));
            let mut tasks = Vec::new();
            let limited = |handle: &TimeoutHandle| {
                let limited = timeout_by(handle, async { sleep(seconds(200)).await });
                async move { (limited.await, now()) }
            };
            if one_task {
                let all: FuturesUnordered<_> = (0..3).map(|_| limited(&handle)).collect();
                tasks.push(world.executor.spawn_infallible(all.collect::<Vec<_>>()));
            } else {
                for _ in 0..3 {
                    let one = limited(&handle);
                    tasks.push(world.executor.spawn_infallible(async { vec![one.await] }));
                }
            }
            let moves = handle.clone();
            let mover = world.executor.spawn_infallible(async move {
                sleep(seconds(10)).await;
                moves.reschedule(moved_to.map(at));
            });
            world.executor.run_until_idle();
            let answer = if ends == 200 { Ok(()) } else { Err(Elapsed) };
            for task in &tasks {
                let result = task.result().expect("all have ended");
                assert!(
                    result.iter().all(|one| *one == (answer, at(ends))),
                    "{moved_to:?}: {result:?}"
                );
            }
            drop((tasks, mover));
            world.close();
        }
    }
}

thread_local! {
    /// Of a host that takes a turn as soon as it is told that there is something to do.
    static EAGER: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
    /// What the last such turn said.
    static TOLD: Cell<Option<Next>> = const { Cell::new(None) };
}

// promise 7.5, 8.1
#[test]
fn a_host_that_takes_a_turn_when_it_is_called_is_told_of_the_deadline_because_of_which() {
    let hook = || {
        if let Some(executor) = EAGER.with_borrow(Clone::clone) {
            TOLD.set(Some(executor.turn(Budget::Batch).next));
        }
    };
    let executor = Rc::new(Executor::builder().clock(ManualClock::new()).on_wake(hook).build());
    let mut maker = executor.spawn(async { Ok(Box::pin(sleep(seconds(9)))) });
    executor.spawn(pending::<anyhow::Result<()>>()).detach();
    executor.run_until_idle();
    let mut sleep = maker.take().expect("it has ended").expect("it did not fail");
    EAGER.set(Some(executor.clone()));
    assert!(poll_once(&mut sleep).is_pending());
    assert_eq!(TOLD.take(), Some(Next::At(at(9))), "set");
    sleep.as_mut().reset(at(5));
    assert_eq!(TOLD.take(), Some(Next::At(at(5))), "moved");
    sleep.as_mut().reset(at(7));
    assert_eq!(TOLD.take(), None, "later");
    EAGER.take();
}

// promise 4.9
#[test]
fn one_that_no_longer_waits_by_a_handle_takes_nothing_from_the_others() {
    let world = World::new();
    let handle = TimeoutHandle::new(None);
    let limited: Vec<_> = (0..4)
        .map(|_| world.executor.spawn_infallible(timeout_by(&handle, pending::<()>())))
        .collect();
    world.executor.run_until_idle();
    limited[0].cancel();
    limited[2].cancel();
    world.executor.run_until_idle();
    let late = world.executor.spawn_infallible(timeout_by(&handle, pending::<()>()));
    world.executor.run_until_idle();
    handle.reschedule(Some(at(7)));
    world.executor.run_until_idle();
    for (place, task) in limited.iter().chain([&late]).enumerate() {
        let cancelled = [0, 2].contains(&place);
        assert_eq!((task.is_cancelled(), task.is_finished()), (cancelled, true), "{place}");
    }
    assert!(handle.expired());
    drop((limited, late));
    world.close();
}

// promise 4.9
#[test]
fn a_handle_whose_deadline_has_passed_can_be_moved_no_more() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        let at = now() + seconds(1);
        let handle = TimeoutHandle::new(Some(at));
        let limited = timeout_by(&handle, pending::<()>()).await;
        assert!(limited.is_err() && handle.expired());
        handle.reschedule(Some(at + seconds(9)));
        assert_eq!(handle.deadline(), Some(at));
        Ok(())
    });
    assert!(answer.is_ok());
    world.close();
}
