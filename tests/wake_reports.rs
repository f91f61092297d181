//! What others were told of their wakers, threads and signals: bug reports of other
//! runtimes, tried here.
//!
//! Each test names the thread that it comes from, as `owner/repository number` where
//! the owner is not known from the name. Those about signals are scenarios of
//! `signals.rs`, which names them; those about what other executors have shipped
//! before, in `pitfalls.rs`.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{OnDrop, Transcript, World, assert_settled, poll_once, secs};
use hearken::{Budget, Executor, ManualClock, Next, ReportKind, RunError, Verdict, sleep, spawn};

/// Gives its waker away at the first poll, and is ready at the second.
async fn hand_over(to: impl Fn(Waker)) {
    let mut polls = 0;
    poll_fn(move |cx| {
        polls += 1;
        match polls {
            1 => {
                to(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// An executor, and how often its host was told to come back.
fn hosted() -> (Executor, Arc<AtomicUsize>) {
    let rings = Arc::new(AtomicUsize::new(0));
    let ringing = rings.clone();
    let on_wake = move || {
        ringing.fetch_add(1, Ordering::SeqCst);
    };
    (Executor::builder().clock(ManualClock::auto()).on_wake(on_wake).build(), rings)
}

// ---- One executor inside another ------------------------------------------------------

// async-std 358, promise 7.2, 6.6: the inner one took the wake of the outer one,
// since both slept on the same thread's parker.
#[test]
fn a_wake_of_the_outer_executor_is_not_used_up_by_one_that_sleeps_inside() {
    let outer = Executor::new();
    let (wakers, to_wake) = mpsc::channel::<Waker>();
    let waking = thread::spawn(move || {
        // The outer one's first, while the inner one sleeps.
        let (outer, inner) = (to_wake.recv().unwrap(), to_wake.recv().unwrap());
        outer.wake();
        thread::sleep(Duration::from_millis(5));
        inner.wake();
    });
    let answer = outer.block_on(async {
        let to_outer = wakers.clone();
        let waits = spawn(async move {
            hand_over(|waker| to_outer.send(waker).unwrap()).await;
            Ok(1)
        });
        hearken::yield_now().await; // it has handed over its waker
        let inner = Executor::new();
        let two = inner.block_on(async {
            hand_over(|waker| wakers.send(waker).unwrap()).await;
            Ok(2)
        });
        Ok((waits.await?, two?))
    });
    assert_eq!(answer.unwrap(), (1, 2));
    waking.join().unwrap();
}

// Dicklesworthstone/asupersync 56, promise 6.6, 7.5: timers of the inner one were set
// on the outer one, which did not turn, and a third level slept for ever.
#[test]
fn timers_of_an_executor_inside_an_executor_inside_an_executor_fire() {
    let limit = Duration::from_millis(2);
    let (a, b, c) = (Executor::new(), Executor::new(), Executor::new());
    let answer = a.block_on(async {
        sleep(limit).await;
        let answer = b.block_on(async {
            // The same one once more is refused, and does not sleep for ever.
            let again = b.block_on(async { Ok(()) });
            assert!(matches!(again, Err(RunError::Nested(_))));
            let answer = c.block_on(async {
                let late = hearken::timeout(limit, pending::<()>()).await.is_err();
                sleep(limit).await;
                Ok(late)
            });
            sleep(limit).await;
            Ok(answer?)
        });
        sleep(limit).await;
        Ok(answer?)
    });
    assert!(answer.unwrap());
}

// ---- What `wake` does, and does not do ------------------------------------------------

// compio 1044, promise 7.2: when a queue of so many places was full, `wake` waited for
// the executor, which waited for the lock that its caller held.
#[test]
fn wake_never_waits_for_an_executor_that_takes_nothing_in() {
    let (world, wakers) = (World::new(), Rc::new(RefCell::new(Vec::new())));
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let wakers = wakers.clone();
            world.executor.spawn(async move {
                hand_over(|waker| wakers.borrow_mut().push(waker)).await;
                Ok(())
            })
        })
        .collect();
    world.executor.turn(Budget::Batch);
    let (lock, all) = (Arc::new(Mutex::new(())), wakers.take());
    let (held, both) = (lock.clone(), Arc::new(std::sync::Barrier::new(2)));
    let ready = both.clone();
    let waking = thread::spawn(move || {
        let _held = held.lock().unwrap();
        ready.wait();
        for waker in &all {
            (0..20).for_each(|_| waker.wake_by_ref());
        }
    });
    both.wait();
    drop(lock.lock().unwrap()); // as a poll may that needs it: nothing is taken in
    waking.join().unwrap();
    assert_eq!(world.executor.turn(Budget::Batch).polled, 10_000);
    drop(tasks);
    world.close();
}

// ngx-rust 295, promise 7.2, 7.3: `wake` ran the task on its caller's stack, while the
// caller held a lock that the task needs.
#[test]
fn wake_never_runs_the_task_that_it_wakes() {
    let (world, said) = (World::new(), Transcript::new());
    let (lock, waker) = (Rc::new(RefCell::new(0)), common::Shelf::new());
    let (needed, shelf, says) = (lock.clone(), waker.clone(), said.clone());
    let task = world.executor.spawn(async move {
        hand_over(|waker| shelf.put(waker)).await;
        *needed.borrow_mut() += 1; // panics if it is held
        says.say("polled");
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    let waker: Waker = waker.take().unwrap();
    for way in ["in a turn", "outside of one"] {
        let (lock, waker, said) = (lock.clone(), waker.clone(), said.clone());
        let wake = move || {
            let _held = lock.borrow_mut();
            waker.wake();
            said.say(format!("woken {way}"));
        };
        match way {
            "in a turn" => {
                world.executor.spawn_infallible(async move { wake() }).detach();
                world.executor.turn(Budget::Polls(1));
            }
            _ => wake(),
        }
    }
    world.executor.run_until_idle();
    assert_eq!(said.lines(), ["woken in a turn", "woken outside of one", "polled"]);
    drop(task);
    world.close();
}

// shd101wyy/Yo 799, promise 7.2: a wake that another thread had queued was skipped when
// the task had dropped its own copy of the waker meanwhile.
#[test]
fn a_wake_that_is_on_its_way_is_not_lost_when_the_waker_is_dropped() {
    let world = World::new();
    let (kept, polls) = (Rc::new(RefCell::new(None::<Waker>)), Rc::new(Cell::new(0)));
    let (keeps, counts) = (kept.clone(), polls.clone());
    let task = world.executor.spawn_infallible(poll_fn(move |cx| {
        counts.set(counts.get() + 1);
        if counts.get() == 2 {
            return Poll::Ready(());
        }
        let foreign = cx.waker().clone();
        *keeps.borrow_mut() = Some(cx.waker().clone());
        thread::spawn(move || foreign.wake()).join().unwrap();
        keeps.take(); // the last that is left
        Poll::Pending
    }));
    world.executor.run_until_idle();
    assert_eq!(polls.get(), 2);
    assert!(task.is_finished());
    drop((task, kept));
    world.close();
}

// madsim 125, promise 6.8, 8.3: the drop of one task woke the next, which was dropped
// inside of that, with the list of tasks locked.
#[test]
fn tasks_that_wake_one_another_as_they_are_dropped_are_dropped_one_by_one() {
    let (world, deep) = (World::new(), Rc::new(Cell::new((0, 0))));
    let wakers = Rc::new(RefCell::new(Vec::<Waker>::new()));
    for _ in 0..100 {
        let (wakers, deep) = (wakers.clone(), deep.clone());
        let work = async move {
            let all = wakers.clone();
            let _wakes = OnDrop(move || {
                let (inside, most) = deep.get();
                deep.set((inside + 1, most.max(inside + 1)));
                let wakers = all.borrow().clone();
                wakers.iter().for_each(Waker::wake_by_ref);
                spawn(pending::<anyhow::Result<()>>()).detach();
                deep.set((inside, deep.get().1));
            });
            hand_over(|waker| wakers.borrow_mut().push(waker)).await;
            pending().await
        };
        world.executor.spawn::<()>(work).detach();
    }
    world.executor.run_until_idle();
    wakers.borrow().iter().for_each(Waker::wake_by_ref);
    let heard = world.close();
    assert_eq!(deep.get(), (0, 1), "never one inside another");
    assert_eq!(heard.count(ReportKind::PanickedInDrop), 0);
}

// ---- A host that was told that there is nothing to do ----------------------------------

// tokio 3117, promise 8.1: who slept was not told of what was spawned beside it.
#[test]
fn a_host_that_sleeps_is_told_of_what_is_spawned_beside_it() {
    let (executor, rings) = hosted();
    let waits = executor.spawn(pending::<anyhow::Result<()>>());
    assert_eq!(executor.run_until_idle().next, Next::Waiting);
    let before = rings.load(Ordering::SeqCst);
    let task = executor.spawn(async { Ok(()) });
    assert_eq!(rings.load(Ordering::SeqCst), before + 1);
    executor.spawn(async { Ok(()) }).detach();
    assert_eq!(rings.load(Ordering::SeqCst), before + 1, "once until the next turn");
    executor.run_until_idle();
    assert!(task.is_finished());
    drop((waits, task));
    executor.shut_down();
}

// GNOME/glib 21, promise 8.1, 7.2: what came between the question what to wait for and
// the waiting was not waited for.
#[test]
fn what_comes_between_the_end_of_a_turn_and_the_sleep_of_its_host_is_told() {
    let (executor, rings) = hosted();
    let (wakers, waker) = mpsc::channel();
    let task = executor.spawn(async move {
        loop {
            hand_over(|waker| wakers.send(waker).unwrap()).await;
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    for round in 0..100 {
        let turn = executor.run_until_idle();
        assert_eq!(turn.next, Next::Waiting);
        let before = rings.load(Ordering::SeqCst);
        let waker: Waker = waker.recv().unwrap();
        // The host has its answer, and does not sleep yet.
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), before + 1, "round {round}");
    }
    drop(task);
    executor.shut_down();
}

// ---- Messages, when the executor is about to end ------------------------------------------

// trio 1738, promise 6.5: what was sent in the last phase of a run neither ran nor
// failed; its sender waited for ever.
#[test]
fn what_is_sent_in_each_phase_of_a_shutdown_runs_or_is_refused() {
    let (said, refused) = (Transcript::new(), Rc::new(Cell::new(0)));
    let counts = refused.clone();
    let executor = common::executor(move |report| {
        counts.set(counts.get() + usize::from(report.kind() == ReportKind::Refused));
        Verdict::Proceed
    });
    let spawner = executor.spawner();
    let ran = Arc::new(AtomicUsize::new(0));
    let send = move || {
        let (ran, spawner) = (ran.clone(), spawner.clone());
        let count = ran.clone();
        let sent = thread::spawn(move || {
            spawner.spawn_with(move || {
                count.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            })
        });
        (sent.join().unwrap().is_ok(), ran)
    };
    // In a poll, in a clean-up, in a drop, in a callback at the very end.
    let sends = send.clone();
    let says = said.clone();
    let task = executor.spawn(hearken::finally(pending::<anyhow::Result<()>>(), async move || {
        assert!(sends().0, "a clean-up may still send");
        sleep(secs(1)).await;
        let sends = sends.clone();
        let _last = OnDrop(move || says.say(format!("{}", sends().0)));
        Ok(())
    }));
    executor.run_until_idle();
    executor.shut_down();
    let (sent, ran) = send();
    assert!(!sent, "it is shut down");
    let in_drop = said.lines();
    assert_eq!(in_drop.len(), 1);
    let accepted = 1 + usize::from(in_drop[0] == "true");
    assert_eq!(ran.load(Ordering::SeqCst) + refused.get(), accepted);
    drop(task);
    assert_settled(&executor);
}

// anyio 1245, promise 6.5, 3.5: a worker that sent its result as the loop closed.
#[test]
fn what_a_worker_sends_while_the_executor_is_dropped_is_counted_once() {
    for _ in 0..200 {
        let (ran, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counts, go) = (refused.clone(), Arc::new(AtomicBool::new(false)));
        let executor = Executor::builder()
            .handler(move |report| {
                let is_refused = report.kind() == ReportKind::Refused;
                counts.fetch_add(usize::from(is_refused), Ordering::SeqCst);
                Verdict::Proceed
            })
            .build();
        let (spawner, count, goes) = (executor.spawner(), ran.clone(), go.clone());
        let worker = thread::spawn(move || {
            goes.store(true, Ordering::SeqCst);
            let sent = (0..50).filter(|_| {
                let count = count.clone();
                let work = move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    async { Ok(()) }
                };
                spawner.spawn_with(work).is_ok()
            });
            sent.count()
        });
        while !go.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        executor.turn(Budget::Batch);
        drop(executor);
        let sent = worker.join().unwrap();
        assert_eq!(sent, ran.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst));
    }
}

// tokio-core 190, promise 8.3: what was sent from elsewhere and dropped a future was run
// with the loop's own state borrowed.
#[test]
fn what_is_sent_may_drop_spawn_and_cancel_as_it_begins() {
    thread_local! {
        static VICTIM: Cell<Option<hearken::Task<()>>> = const { Cell::new(None) };
    }
    let world = World::new();
    let executor = Rc::new(RefCell::new(None::<Waker>));
    let waker = executor.clone();
    let victim = world.executor.spawn(async move {
        let _spawns = OnDrop(|| spawn(async { Ok(()) }).detach());
        hand_over(|mine| *waker.borrow_mut() = Some(mine)).await;
        pending().await
    });
    world.executor.run_until_idle();
    let waker = executor.take().unwrap();
    VICTIM.set(Some(victim));
    let spawner = world.executor.spawner();
    let sent = thread::spawn(move || {
        spawner.spawn_with(move || {
            waker.wake();
            let victim = VICTIM.take().expect("this is its thread");
            victim.cancel();
            drop(victim);
            spawn(async { Ok(()) }).detach();
            async { Ok(()) }
        })
    });
    assert!(sent.join().unwrap().is_ok());
    world.executor.run_until_idle();
    assert_eq!(world.executor.ledger().live, 0);
    world.close();
}

// embassy-rs/embassy 4598, promise 7.2: to drop the waker that somebody has left is to
// lose the wake that he waits for.
#[test]
fn an_awaiter_that_is_polled_by_another_waker_meanwhile_is_woken_by_the_latest() {
    let world = World::new();
    let mut slow = world.executor.spawn(async {
        sleep(secs(1)).await;
        Ok(7)
    });
    world.executor.turn(Budget::Batch);
    let foreign = common::foreign::Foreign::new();
    let waker = foreign.waker();
    let cx = &mut std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut slow).poll(cx).is_pending());
    // And now a task of the executor's waits for it.
    let waits = world.executor.spawn(async move { Ok(slow.await?) });
    world.executor.run_until_idle();
    let mut waits = waits;
    assert!(matches!(poll_once(&mut waits), Poll::Ready(Ok(7))));
    drop(waits);
    world.close();
}
