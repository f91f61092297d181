//! Bugs that others had with their loops: code that is called by a loop and changes what
//! the loop goes through, a host that is told too often or not at all, budgets, and loops
//! inside of loops. Each test names the thread.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;

use common::{OnDrop, Play, Shelf, Transcript, World, failing, hushed, secs};
use hearken::{
    Budget, CallbackId, Executor, Next, Origin, ReportKind, RunError, Task, Verdict, sleep, spawn,
    yield_now,
};

/// Gives its waker away at each poll, for ever.
async fn hand_over(to: impl Fn(Waker)) -> anyhow::Result<()> {
    poll_fn(|cx| {
        to(cx.waker().clone());
        Poll::Pending
    })
    .await
}

async fn yields() -> anyhow::Result<()> {
    yield_now().await;
    Ok(())
}

/// A world, and how often its host was told to come back.
fn hosted() -> (World, Arc<AtomicUsize>) {
    let rings = Arc::new(AtomicUsize::new(0));
    let counts = rings.clone();
    let count = move || {
        counts.fetch_add(1, Ordering::SeqCst);
    };
    (World::with(|builder| builder.on_wake(count)), rings)
}

// ---- What the loop calls changes what it goes through ------------------------------------

/// nodejs/node 9756: the first of several immediates cleared those after it, and the loop
/// that went through them never ended.
// promise 4.2, 8.3
#[test]
fn the_first_of_a_batch_may_cancel_and_drop_those_that_come_after_it() {
    for at_end in [false, true] {
        let play = Play::new();
        let others: Rc<RefCell<Vec<Task<()>>>> = Rc::default();
        let reached = others.clone();
        let first = play.spawn(|said| async move {
            said.say("first");
            let mut tasks = reached.take();
            let kept = if at_end { tasks.remove(0) } else { tasks.pop().expect("the last") };
            tasks.iter().for_each(|task| assert!(task.cancel()));
            drop(tasks);
            *reached.borrow_mut() = vec![kept];
            Ok(())
        });
        for name in ["a", "b", "c", "d"] {
            let task = play.spawn(|said| async move {
                said.say(name);
                Ok(())
            });
            others.borrow_mut().push(task);
        }
        assert_eq!(play.turn(), ["first", if at_end { "a" } else { "d" }]);
        assert_eq!(play.world.executor.turn(Budget::Batch).next, Next::Empty);
        drop((first, others));
        play.close();
    }
}

/// Smithay/calloop 45: a source could not remove itself, or others, while it was called.
/// Here what waits in the queue is called, and who asks is told so.
// promise 3.13, 8.3
#[test]
fn a_callback_may_try_to_remove_itself_and_its_fellows_and_those_of_others() {
    let play = Play::new();
    let other = Rc::new(play.world.tidy(secs(1)));
    let task = Rc::new(play.spawn(|_| async { Ok(()) }));
    let ids: Rc<RefCell<Vec<CallbackId>>> = Rc::default();
    let says = |line: &'static str| {
        let said = play.said.clone();
        move |_: hearken::Finished<'_, ()>| said.say(line)
    };
    let of_other = other.on_done(says("of another"));
    for place in 0..4 {
        let (said, own, all) = (play.said.clone(), task.clone(), ids.clone());
        let others = other.clone();
        let id = task.on_done(move |_| {
            said.say(place.to_string());
            if place == 1 {
                let removed = all.take().into_iter().map(|id| own.remove_on_done(id));
                said.say(format!("{:?}", removed.collect::<Vec<_>>()));
                said.say(others.remove_on_done(of_other).to_string());
            }
        });
        ids.borrow_mut().push(id);
    }
    assert!(task.remove_on_done(ids.borrow_mut().pop().expect("the last")));
    assert_eq!(play.run(), ["0", "1", "[false, false, false]", "true", "2"]);
    other.cancel();
    assert_eq!(play.run(), [] as [&str; 0]);
    drop((task, other, ids));
    play.close();
}

/// rust-lang/futures-rs 1737: a pool that was run until it stalled had futures left that
/// were spawned by those that it ran.
// promise 7.1, 8.1
#[test]
fn until_idle_is_until_nothing_is_ready_that_was_spawned_meanwhile() {
    fn chain(length: u32) -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<u32>>>> {
        Box::pin(async move {
            Ok(match length {
                0 => 0,
                _ => spawn(chain(length - 1)).await? + 1,
            })
        })
    }
    let world = World::new();
    let task = world.executor.spawn(chain(300));
    assert_eq!(world.executor.run_until_idle().next, Next::Empty);
    assert_eq!(task.result().ok(), Some(&300));
    drop(task);
    world.close();
}

// ---- What the host is told -------------------------------------------------------------------

/// Smithay/calloop 171: after a wake from within the dispatch the next one from outside
/// rang nobody, as it counted as told.
// promise 8.1, 7.2
#[test]
fn a_wake_from_within_a_turn_does_not_use_up_the_next_ring() {
    let (world, rings) = hosted();
    let (wakers, polls) = (Shelf::<Waker>::new(), Rc::new(Cell::new(0)));
    let (shelf, counts) = (wakers.clone(), polls.clone());
    let waits = world.executor.spawn(hand_over(move |waker| {
        counts.set(counts.get() + 1);
        shelf.put(waker);
    }));
    world.executor.run_until_idle();
    let handler = wakers.clone();
    world.executor.set_handler(move |_| {
        handler.with(|waker| waker.wake_by_ref());
        Verdict::Proceed
    });
    for round in 1..10 {
        let (polled, rung) = (polls.get(), rings.load(Ordering::SeqCst));
        let inside = wakers.clone();
        let wakes = move || inside.with(|waker| waker.wake_by_ref());
        match round % 3 {
            0 => {
                let done = world.executor.spawn(async { Ok(()) });
                done.on_done(move |_| wakes());
                done.detach();
            }
            1 => world.executor.spawn(failing()).detach(), // the handler does
            _ => world.executor.spawn_infallible(async move { wakes() }).detach(),
        }
        world.executor.run_until_idle();
        assert_eq!(polls.get(), polled + 1);
        assert_eq!(rings.load(Ordering::SeqCst), rung + 1, "by the spawn alone: {round}");
        let waker = wakers.with(|waker| waker.clone());
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), rung + 2, "{round}");
        world.executor.run_until_idle();
        assert_eq!(polls.get(), polled + 2);
    }
    drop(waits);
    world.close();
}

/// joyent/libuv 1453: what was sent after the loop had looked for messages, and before it
/// went to sleep, did not keep it awake.
// promise 7.2, 8.1
#[test]
fn what_another_thread_sends_in_the_middle_of_a_turn_keeps_the_host_awake() {
    let (world, rings) = hosted();
    let (wakers, taken) = mpsc::channel();
    let waits = world.executor.spawn(hand_over(move |waker| wakers.send(waker).unwrap()));
    world.executor.run_until_idle();
    for sends in ["wakes", "spawns"] {
        let waker: Waker = taken.recv().unwrap();
        let spawner = world.executor.spawner();
        let sender = async move {
            let sent = thread::spawn(move || match sends {
                "wakes" => waker.wake(),
                _ => spawner.spawn_with(move || waker_wakes(waker)).unwrap(),
            });
            sent.join().unwrap();
        };
        world.executor.spawn_infallible(sender).detach();
        let before = rings.load(Ordering::SeqCst);
        assert_eq!(world.executor.turn(Budget::Batch).next, Next::Ready, "{sends}");
        assert_eq!(rings.load(Ordering::SeqCst), before, "it has not gone away");
        assert_eq!(world.executor.run_until_idle().next, Next::Waiting);
    }
    taken.recv().unwrap();
    drop(waits);
    world.close();
}

async fn waker_wakes(waker: Waker) -> anyhow::Result<()> {
    waker.wake();
    Ok(())
}

/// libuv/libuv 276: what was sent while nobody ran the loop, and nothing kept it alive,
/// was lost.
// promise 8.1, 6.3
#[test]
fn what_is_sent_to_an_executor_without_tasks_is_not_lost() {
    for turned in [false, true] {
        let (world, rings) = hosted();
        if turned {
            assert_eq!(world.executor.turn(Budget::Batch).next, Next::Empty);
        }
        let ran = Arc::new(AtomicUsize::new(0));
        let (runs, spawner) = (ran.clone(), world.executor.spawner());
        let send = move || {
            let work = move || {
                runs.fetch_add(1, Ordering::SeqCst);
                async { Ok(()) }
            };
            spawner.spawn_with(work).unwrap();
        };
        thread::spawn(send).join().unwrap();
        assert_eq!(rings.load(Ordering::SeqCst), usize::from(turned));
        // Whoever does not look at its answer runs it with the next main.
        world.executor.block_on(yields()).unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        let interrupter = world.executor.interrupter();
        thread::spawn(move || interrupter.interrupt()).join().unwrap();
        assert!(matches!(
            world.executor.block_on(pending::<anyhow::Result<()>>()),
            Err(RunError::Interrupted { .. })
        ));
        world.close();
    }
}

/// embassy-rs/embassy 1748: whoever woke a task for a timer told the host to come back,
/// who was there. DoumanAsh/async-timer 9: and the timers' tasks were polled in vain.
// promise 8.1, 7.5
#[test]
fn timers_that_fire_tell_the_host_nothing_and_are_polled_once_each() {
    let (world, rings) = hosted();
    let polls = Rc::new(Cell::new(0));
    for each in 1..=10 {
        let counts = polls.clone();
        let naps = async move {
            let mut naps = Box::pin(async move {
                for _ in 0..10 {
                    sleep(secs(each)).await;
                }
            });
            poll_fn(|cx| {
                counts.set(counts.get() + 1);
                naps.as_mut().poll(cx)
            })
            .await;
            Ok(())
        };
        world.executor.spawn(naps).detach();
    }
    let before = rings.load(Ordering::SeqCst);
    world.executor.run_until_idle();
    assert_eq!((rings.load(Ordering::SeqCst) - before, polls.get()), (0, 10 * 11));
    world.close();
}

/// tokio-rs/tokio 5211: that a task had panicked was found in the next tick, when it was
/// the last one of its tick's budget.
// promise 3.8, 8.1
#[test]
fn what_fails_in_the_last_poll_of_a_budget_is_heard_in_that_turn() {
    for budget in 1..=3 {
        let world = World::new();
        for place in 1..=3 {
            let task = async move {
                assert!(place != budget, "the last one that is polled");
                pending::<anyhow::Result<()>>().await
            };
            world.executor.spawn(task).detach();
        }
        let kinds = world.heard.clone();
        world.executor.set_handler(move |report| {
            kinds.note(report);
            match report.kind() {
                ReportKind::NeverRetrieved => Verdict::ShutDown,
                _ => Verdict::Proceed,
            }
        });
        let turn = hushed(|| world.executor.turn(Budget::Polls(budget)));
        assert_eq!((turn.polled, turn.next), (budget, Next::Ready));
        assert_eq!(world.heard.kinds(), [ReportKind::NeverRetrieved]);
        // And the end that this begins needs no more than what is left.
        while world.executor.turn(Budget::Polls(1)).next != Next::Empty {}
        assert_eq!(world.heard.kinds(), [ReportKind::Cancelled; 2]);
        world.close();
    }
}

// ---- The end of `block_on` --------------------------------------------------------------------

/// Chaoses-Ib/nest-asyncio2 3: a loop that ended with its main left out the callbacks of
/// what had ended beside it.
// promise 3.13, 6.4
#[test]
fn callbacks_of_what_ends_with_the_main_are_called_by_the_end_of_the_program() {
    thread_local! {
        static SAID: Transcript = Transcript::new();
    }
    let beside = |name: &'static str, turns: u32| {
        let task = spawn(async move {
            for _ in 0..turns {
                yield_now().await;
            }
            Ok(())
        });
        task.on_done(move |done| {
            let how = if done.result().is_ok() { "done" } else { "cancelled" };
            SAID.with(|said| said.say(format!("{name} {how}")));
        });
        task.detach();
    };
    let answer = hearken::run(async move {
        beside("in the batch before", 0);
        beside("with the main", 1);
        beside("after the main", 2);
        yield_now().await;
        yield_now().await;
        Ok(7)
    });
    assert_eq!(answer.unwrap(), 7);
    let mut said = SAID.with(Transcript::lines);
    said.sort();
    assert_eq!(
        said,
        ["after the main cancelled", "in the batch before done", "with the main done"]
    );
}

/// MagicStack/uvloop 336: after a main that had ended the program by an exception the next
/// one was told that the loop had been stopped before its time.
// promise 6.3, 10.7
#[test]
fn however_a_main_ends_the_next_one_runs_to_its_end() {
    type Main = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;
    type Ends = (&'static str, fn(&World) -> Main);
    let mains: [Ends; 6] = [
        ("Failed", |_| Box::pin(failing())),
        ("Panicked", |_| Box::pin(async { panic!("oh") })),
        ("Cancelled", |_| {
            Box::pin(async {
                hearken::current().cancel();
                pending().await
            })
        }),
        ("Interrupted", |world| {
            let interrupter = world.executor.interrupter();
            Box::pin(async move {
                interrupter.interrupt();
                pending().await
            })
        }),
        ("ShutDown", |_| {
            Box::pin(async {
                hearken::request_shut_down("enough");
                pending().await
            })
        }),
        ("Stalled", |_| Box::pin(pending())),
    ];
    for (expected, main) in mains {
        let world = World::with(|builder| builder.closed_world(true));
        for _ in 0..2 {
            let main = main(&world);
            let ended = hushed(|| world.executor.block_on(main)).unwrap_err();
            assert!(format!("{ended:?}").starts_with(expected), "{ended:?}, not {expected}");
        }
        let next = world.executor.block_on(async {
            sleep(secs(1)).await;
            Ok(spawn(async { Ok(7) }).await?)
        });
        match expected {
            // Whoever asks for that asks for the end of all: it has begun.
            "ShutDown" => match next {
                Err(RunError::Cancelled(by)) => assert_eq!(by.origin(), Origin::ShutDown),
                other => panic!("{other:?}"),
            },
            _ => assert_eq!(next.unwrap(), 7, "after {expected}"),
        }
        world.close();
    }
}

/// Kotlin/kotlinx.coroutines 589: a loop whose main was cancelled waited for the next
/// delay of somebody else before it returned.
// promise 6.1, 6.2
#[test]
fn a_main_that_is_interrupted_does_not_wait_for_the_timers_of_others() {
    let executor = Executor::builder().handler(|_| Verdict::Proceed).build();
    let interrupter = executor.interrupter();
    let (ready, waits) = mpsc::channel();
    let other = thread::spawn(move || {
        waits.recv().unwrap();
        interrupter.interrupt();
    });
    let naps = executor.spawn(async move {
        sleep(secs(1_000_000)).await;
        Ok(())
    });
    let answer = executor.block_on(async move {
        ready.send(()).unwrap();
        pending::<anyhow::Result<()>>().await
    });
    assert!(matches!(answer, Err(RunError::Interrupted { .. })));
    assert!(!naps.is_finished());
    other.join().unwrap();
    executor.shut_down();
    drop(naps);
}

// ---- Loops inside of loops -------------------------------------------------------------------

/// MagicStack/uvloop 351: the loop was told to run to its end in a callback of its own,
/// and was in no state to do anything afterwards.
// promise 6.6, 8.3
#[test]
fn a_shutdown_in_the_executors_own_turn_is_refused_wherever_and_harms_nothing() {
    let world = World::new();
    let (executor, heard) = (Rc::new(world.executor), world.heard);
    let said = Transcript::new();
    let shuts = |place: &'static str| {
        let (own, said) = (Rc::downgrade(&executor), said.clone());
        move || {
            let own = own.upgrade().expect("it is alive");
            let refused = hushed(|| catch_unwind(AssertUnwindSafe(|| own.shut_down())));
            let message = refused.map(|_| String::new()).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                text.or_else(|| panic.downcast_ref().cloned()).expect("a message")
            });
            assert!(message.contains("shut_down was called inside"), "{place}: {message}");
            said.say(place);
        }
    };
    for waits in [false, true] {
        let (poll, callback, on_drop) = (shuts("poll"), shuts("callback"), shuts("drop"));
        let guard = OnDrop(on_drop);
        let task = executor.spawn(async move {
            let _guard = guard;
            poll();
            if waits {
                sleep(secs(1)).await;
            }
            Ok(())
        });
        task.on_done(move |_| callback());
        executor.run_until_idle();
        assert_eq!(said.lines(), ["poll", "drop", "callback"]);
        assert!(matches!(task.result(), Ok(())));
    }
    let task = executor.spawn(pending::<anyhow::Result<()>>());
    assert_eq!(executor.shut_down().found, 1);
    assert!(task.is_cancelled());
    drop(task);
    common::assert_settled(&executor);
    drop(heard);
}

/// tokio-rs/tokio 6463: a destructor that blocks on something hung as the runtime was shut
/// down, since nobody took care of its timers any more.
// promise 6.6, 6.8, 8.3
#[test]
fn a_destructor_may_run_another_executor_at_every_end() {
    let ends = ["ends", "is cancelled", "is shut down", "goes with its executor", "never began"];
    for end in ends {
        let (world, said) = (World::new(), Transcript::new());
        let says = said.clone();
        let blocks = OnDrop(move || {
            let inner = World::new();
            let answer = inner.executor.block_on(async {
                let naps = spawn(async {
                    sleep(secs(1)).await;
                    Ok(3)
                });
                sleep(secs(2)).await;
                Ok(naps.await? + 4)
            });
            says.say(format!("{:?}", answer.ok()));
            inner.close();
        });
        let task = world.executor.spawn(async move {
            let _blocks = blocks;
            if end != "ends" {
                pending::<()>().await;
            }
            Ok(())
        });
        if end != "never began" {
            world.executor.run_until_idle();
        }
        match end {
            "is cancelled" => {
                task.cancel();
                world.executor.run_until_idle();
            }
            "is shut down" => assert_eq!(world.executor.shut_down().found, 1),
            _ => {}
        }
        drop(world);
        assert_eq!(said.lines(), ["Some(7)"], "{end}");
        drop(task);
    }
}

/// status-im/nim-chronos 689: whoever entered the loop once more from where it calls had
/// its events in another order, or none.
// promise 8.1, 8.3
#[test]
fn a_hook_that_takes_the_turn_itself_finds_all_in_order() {
    thread_local! {
        static OWN: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
        static TURNS: Cell<u32> = const { Cell::new(0) };
    }
    // It is called on this thread only: nobody else sends anything.
    let world = World::with(|builder| {
        builder.on_wake(|| {
            let own = OWN.with(|own| own.borrow().clone());
            if let Some(own) = own {
                TURNS.set(TURNS.get() + 1);
                own.run_until_idle();
            }
        })
    });
    let (executor, heard) = (Rc::new(world.executor), world.heard);
    OWN.set(Some(executor.clone()));
    executor.run_until_idle();
    let quick = executor.spawn(async { Ok(1) });
    assert_eq!(quick.result().ok(), Some(&1), "inside of the spawn");
    let said = Transcript::new();
    let guard = said.finally("dropped");
    let slow = executor.spawn(common::waiting(move || {
        let _guard = &guard;
    }));
    assert!(slow.cancel(), "and it has been cancelled when that returns");
    assert_eq!((slow.is_cancelled(), said.lines()), (true, vec!["dropped".to_owned()]));
    drop(executor.spawn(failing()));
    executor.spawner().spawn_with(|| async { Ok(()) }).unwrap();
    executor.interrupter().interrupt();
    executor.request_shut_down("enough");
    executor.shut_down();
    assert!(TURNS.get() >= 6, "{}", TURNS.get());
    let expected = [ReportKind::Cancelled, ReportKind::NeverRetrieved, ReportKind::Interrupted];
    assert_eq!(heard.kinds(), expected);
    OWN.set(None);
    drop((quick, slow));
    common::assert_settled(&executor);
}

/// wasm-bindgen/wasm-bindgen 2562: a task that had panicked was polled once more when it
/// was woken, and found itself borrowed. redbadger/crux 397: and with it the executor.
// promise 3.1, 7.2
#[test]
fn a_task_that_has_panicked_is_not_polled_when_it_is_woken() {
    let (world, wakers, polls) = (World::new(), Shelf::<Waker>::new(), Rc::new(Cell::new(0)));
    let (shelf, counts, said) = (wakers.clone(), polls.clone(), Transcript::new());
    let guard = said.finally("dropped");
    let task = world.executor.spawn::<()>(poll_fn(move |cx| {
        let _guard = &guard;
        counts.set(counts.get() + 1);
        shelf.put(cx.waker().clone());
        cx.waker().wake_by_ref(); // it is on its way, too
        panic!("oh")
    }));
    hushed(|| world.executor.run_until_idle());
    for _ in 0..3 {
        wakers.with(|waker| waker.wake_by_ref());
        let waker = wakers.with(|waker| waker.clone());
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(world.executor.run_until_idle().polled, 0);
    }
    assert_eq!((polls.get(), said.lines()), (1, vec!["dropped".to_owned()]));
    drop(task);
    world.close();
}
