//! Who wants a program to stop, and who wants to run one inside another.
//!
//! What a handler may make of an interrupt is in `handlers.rs`; that Ctrl-C is
//! one, in `signals.rs`.

mod common;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use common::{OnDrop, Spilled, Transcript, World, assert_balances, hushed, waiting};
use hearken::{
    Budget, Executor, Interrupter, Next, Origin, ReportKind, RunError, Task, TaskError, Verdict,
    scope, shield, sleep, sleep_until, spawn,
};

const SECOND: Duration = Duration::from_secs(1);

/// A task that interrupts so many seconds from now, one after the other.
fn interrupts_at(world: &World, seconds: &'static [u64]) {
    let interrupter = world.executor.interrupter();
    let work = async move {
        for &second in seconds {
            let moment = hearken::Instant::ZERO + Duration::from_secs(second);
            // Its own cancellation, by the second one, does not stop it.
            while let Err(cancelled) = scope(sleep_until(moment)).await {
                cancelled.accept();
            }
            interrupter.interrupt();
        }
        Ok(())
    };
    world.executor.spawn(work).named("finger").detach();
}

fn reason<T>(task: &mut Task<T>) -> (String, Origin) {
    match task.take() {
        Ok(Err(TaskError::Cancelled(cancelled))) => {
            (cancelled.reason().to_owned(), cancelled.origin())
        }
        Ok(Err(error)) => panic!("{error}"),
        _ => panic!("it was cancelled"),
    }
}

// ---- In block_on ------------------------------------------------------------------------

// promise 6.2, 6.3
#[test]
fn the_first_interrupt_cancels_the_main_and_nobody_else() {
    let (world, said) = (World::new(), Transcript::new());
    let other = world.executor.spawn(pending::<anyhow::Result<()>>());
    interrupts_at(&world, &[1]);
    let guard = said.finally("the main cleaned up");
    let answer = world.executor.block_on(async move {
        let _guard = guard;
        pending::<anyhow::Result<()>>().await
    });
    let Err(RunError::Interrupted { main: Some(TaskError::Cancelled(cancelled)) }) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!((cancelled.reason(), cancelled.origin()), ("interrupted", Origin::Interrupt));
    assert_eq!(answer.as_ref().unwrap_err().exit_code(), 130);
    assert_eq!(answer.unwrap_err().to_string(), "interrupted");
    assert_eq!(said.lines(), ["the main cleaned up"]);
    assert_eq!(world.executor.now() - hearken::Instant::ZERO, SECOND);
    assert!(!other.is_finished());
    assert_eq!(world.heard.kinds()[0], ReportKind::Interrupted, "the handler heard it first");
    drop(other);
    world.close();
}

// promise 6.3
#[test]
fn an_interrupt_is_not_lost_whatever_the_main_makes_of_it() {
    for makes in ["a value", "a value after a while", "a failure", "a panic", "the cancellation"] {
        let world = World::new();
        interrupts_at(&world, &[1]);
        let answer = hushed(|| {
            world.executor.block_on(async {
                let Err(cancelled) = scope(pending::<()>()).await else { unreachable!() };
                match makes {
                    "a value" => Ok(()),
                    "a value after a while" => {
                        sleep(SECOND).await;
                        Ok(())
                    }
                    "a failure" => Err(Spilled("tea").into()),
                    "a panic" => panic!("oh"),
                    _ => Err(cancelled.into()),
                }
            })
        });
        let Err(RunError::Interrupted { main }) = answer else { panic!("{makes}: {answer:?}") };
        let as_expected = match makes {
            "a failure" => matches!(main, Some(TaskError::Failed(_))),
            "a panic" => matches!(main, Some(TaskError::Panicked(_))),
            "the cancellation" => matches!(main, Some(TaskError::Cancelled(_))),
            _ => main.is_none(),
        };
        assert!(as_expected, "{makes}: {main:?}");
        world.close();
    }
}

// promise 6.3
#[test]
fn a_main_that_ends_in_the_turn_of_the_interrupt_was_interrupted_all_the_same() {
    let world = World::new();
    let other = world.executor.spawn(pending::<anyhow::Result<()>>());
    world.executor.interrupter().interrupt();
    let answer = world.executor.block_on(async { Ok(()) });
    assert!(matches!(answer, Err(RunError::Interrupted { main: None })), "{answer:?}");
    world.executor.run_until_idle();
    assert!(!other.is_finished(), "the first is for the main, also when it has just ended");
    drop(other);
    world.close();
}

// promise 6.2, 6.3
#[test]
fn an_interrupt_is_for_the_block_on_in_which_it_came() {
    let world = World::new();
    let interrupter = world.executor.interrupter();
    interrupter.interrupt();
    let first = world.executor.block_on(pending::<anyhow::Result<()>>());
    assert!(matches!(first, Err(RunError::Interrupted { .. })), "also one from before");
    let second = world.executor.block_on(async {
        sleep(SECOND).await;
        Ok(7)
    });
    assert_eq!(second.unwrap(), 7);
    world.close();
}

// promise 6.2
#[test]
fn the_second_interrupt_cancels_everybody_through_their_shields() {
    let world = World::new();
    interrupts_at(&world, &[1, 2]);
    let mut plain = world.executor.spawn(pending::<anyhow::Result<()>>());
    let mut shielded = world.executor.spawn(shield(pending::<anyhow::Result<()>>()));
    let answer = world.executor.block_on(async {
        let _ = scope(pending::<()>()).await.map_err(hearken::Cancelled::accept);
        pending::<anyhow::Result<()>>().await
    });
    assert!(matches!(answer, Err(RunError::Interrupted { main: Some(_) })), "{answer:?}");
    assert_eq!(world.executor.now() - hearken::Instant::ZERO, 2 * SECOND);
    world.executor.run_until_idle();
    let expected = ("interrupted again".to_owned(), Origin::Interrupt);
    assert_eq!([reason(&mut plain), reason(&mut shielded)], [expected.clone(), expected]);
    drop((plain, shielded));
    world.close();
}

/// Takes every cancellation for a joke.
async fn stubborn() -> anyhow::Result<()> {
    loop {
        let _ = scope(pending::<()>()).await.map_err(hearken::Cancelled::accept);
    }
}

// promise 6.2
#[test]
fn the_third_interrupt_drops_everybody() {
    let (world, said) = (World::new(), Transcript::new());
    interrupts_at(&world, &[1, 2, 3]);
    let others = ["older", "younger"].map(|name| {
        let guard = said.finally(name);
        world.executor.spawn(async move {
            let _guard = guard;
            stubborn().await
        })
    });
    let answer = world.executor.block_on(stubborn());
    assert!(matches!(answer, Err(RunError::Interrupted { main: Some(_) })), "{answer:?}");
    assert_eq!(world.executor.now() - hearken::Instant::ZERO, 3 * SECOND);
    assert_eq!(said.lines(), ["younger", "older"], "after the current poll");
    drop(others);
    world.close();
}

// promise 6.2, 6.4
#[test]
fn the_stages_go_on_by_themselves_when_the_grace_is_over() {
    let world = World::new();
    interrupts_at(&world, &[1]);
    let answer = world.executor.block_on(stubborn());
    assert!(matches!(answer, Err(RunError::Interrupted { main: Some(_) })), "{answer:?}");
    let took = world.executor.now() - hearken::Instant::ZERO;
    assert_eq!(took, 11 * SECOND, "two graces of five seconds");
    world.close();
}

// promise 6.1, 7.2
#[test]
fn an_interrupt_from_another_thread_wakes_an_executor_that_sleeps() {
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    let executor = Executor::builder().handler(|_| Verdict::Proceed).build();
    let interrupter: Interrupter = executor.interrupter();
    is_shared(&interrupter);
    let (other, (begun, wait)) = (interrupter.clone(), std::sync::mpsc::channel());
    let thread = std::thread::spawn(move || {
        wait.recv().unwrap();
        other.interrupt();
    });
    let answer = executor.block_on(async move {
        begun.send(()).unwrap();
        pending::<anyhow::Result<()>>().await
    });
    assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{answer:?}");
    thread.join().unwrap();
    executor.shut_down();
    assert_balances(&executor);
}

// promise 6.1
#[test]
fn interrupts_from_many_threads_are_all_told_and_none_twice() {
    const EACH: usize = 500;
    let heard = Rc::new(std::cell::Cell::new(0));
    let counted = heard.clone();
    let executor = Executor::builder()
        .handler(move |report| {
            counted.set(counted.get() + usize::from(report.kind() == ReportKind::Interrupted));
            Verdict::Ignore
        })
        .build();
    let answer = executor.block_on(async {
        let threads = [(); 4].map(|()| {
            let interrupter = executor.interrupter();
            std::thread::spawn(move || (0..EACH).for_each(|_| interrupter.interrupt()))
        });
        // Some come while it turns, some while it sleeps.
        let all = async {
            while heard.get() < threads.len() * EACH {
                sleep(Duration::from_micros(50)).await;
            }
        };
        assert!(hearken::timeout(20 * SECOND, all).await.is_ok(), "{} were told", heard.get());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        hearken::yield_now().await; // one more would be told by now
        Ok(())
    });
    assert!(answer.is_ok(), "all were ignored: {answer:?}");
    assert_eq!(heard.get(), 4 * EACH);
    executor.shut_down();
}

// ---- In a host's loop ---------------------------------------------------------------------

// promise 6.1, 6.2
#[test]
fn without_a_main_the_first_interrupt_cancels_everybody_the_youngest_first() {
    let (world, said) = (World::new(), Transcript::new());
    let mut tasks = ["oldest", "middle", "youngest"].map(|name| {
        let guard = said.finally(name);
        world.executor.spawn(waiting(move || {
            let _guard = &guard;
        }))
    });
    world.executor.run_until_idle();
    world.executor.interrupter().interrupt();
    let turn = world.executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.next), (0, Next::Ready));
    assert_eq!(world.heard.kinds(), [ReportKind::Interrupted]);
    assert_eq!(world.executor.run_until_idle().next, Next::Empty);
    assert_eq!(said.lines(), ["youngest", "middle", "oldest"]);
    for task in &mut tasks {
        assert_eq!(reason(task), ("interrupted".to_owned(), Origin::Interrupt));
    }
    let after = world.executor.spawn(async { Ok(7) });
    world.executor.run_until_idle();
    assert_eq!(after.result().ok(), Some(&7), "a host goes on as it likes");
    drop((tasks, after));
    world.close();
}

// promise 6.1
#[test]
fn each_interrupt_is_told_and_a_second_goes_through_shields_in_a_host_too() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    let mut task = world.executor.spawn(shield(pending::<anyhow::Result<()>>()));
    world.executor.run_until_idle();
    let interrupter = world.executor.interrupter();
    interrupter.interrupt();
    world.executor.run_until_idle();
    assert!(!task.is_finished());
    interrupter.interrupt();
    world.executor.run_until_idle();
    assert_eq!(reason(&mut task).1, Origin::Interrupt);
    assert_eq!(world.heard.count(ReportKind::Interrupted), 2);
    for _ in 0..5 {
        interrupter.interrupt();
    }
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::Interrupted), 7, "any number of times");
    drop(task);
    world.close();
}

// promise 6.4, 6.2
#[test]
fn an_interrupt_hurries_a_shutdown() {
    for (interrupts, lasts) in [(&[][..], 4), (&[1][..], 4), (&[1, 2][..], 2)] {
        let world = World::new();
        let interrupter = world.executor.interrupter();
        let task = world.executor.spawn(async move {
            if let Err(cancelled) = scope(pending::<()>()).await {
                for second in 1..=4 {
                    shield(sleep(SECOND)).await;
                    if interrupts.contains(&second) {
                        interrupter.interrupt();
                    }
                }
                Err(cancelled)?;
            }
            Ok(())
        });
        world.executor.run_until_idle();
        world.executor.shut_down();
        let took = world.executor.now() - hearken::Instant::ZERO;
        assert_eq!(took, lasts * SECOND, "{interrupts:?}");
        assert!(task.is_finished());
        drop(task);
        world.close();
    }
}

// promise 6.7, 6.3, 3.12, 10.8
#[test]
fn every_end_has_its_exit_code() {
    type Main = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;
    /// What the handler answers to an interrupt, a main, what it comes to, and the
    /// exit code of that.
    type End = (Verdict, fn(Interrupter) -> Main, &'static str, u8);
    let ends: [End; 9] = [
        (Verdict::Proceed, |_| Box::pin(async { Err(Spilled("tea").into()) }), "spilled tea", 1),
        (Verdict::Proceed, |_| Box::pin(async { panic!("oh") }), "panicked: oh", 1),
        (Verdict::Proceed, |_| Box::pin(pending()), "all tasks wait, and nothing can wake them", 1),
        (
            Verdict::Proceed,
            |_| {
                Box::pin(async {
                    hearken::current().cancel();
                    pending().await
                })
            },
            "cancelled: requested",
            1,
        ),
        (
            Verdict::Proceed,
            |_| {
                Box::pin(async {
                    hearken::request_shut_down("enough");
                    pending().await
                })
            },
            "shut down: enough",
            1,
        ),
        // Interrupted: whatever main makes of it.
        (Verdict::Proceed, |finger| Box::pin(interrupted(finger, pending())), "interrupted", 130),
        (
            Verdict::Proceed,
            |finger| Box::pin(interrupted(finger, shield(async { Ok(()) }))),
            "interrupted",
            130,
        ),
        (
            Verdict::Proceed,
            |finger| Box::pin(interrupted(finger, shield(async { Err(Spilled("tea").into()) }))),
            "interrupted",
            130,
        ),
        // The handler makes a shutdown of it; it was an interrupt all the same.
        (
            Verdict::ShutDown,
            |finger| Box::pin(interrupted(finger, pending())),
            "shut down: interrupted",
            130,
        ),
    ];
    for (verdict, main, says, code) in ends {
        let executor = Executor::builder()
            .clock(hearken::ManualClock::auto())
            .closed_world(true)
            .handler(move |_| verdict)
            .build();
        let main = main(executor.interrupter());
        let error = hushed(|| executor.block_on(main)).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}, and not {says}");
        assert_eq!(error.exit_code(), code, "{says}");
        executor.shut_down();
    }
    let executor = Executor::new();
    let error = executor.block_on(async { Ok(hearken::run(pending::<anyhow::Result<()>>())) });
    assert_eq!(error.unwrap().unwrap_err().exit_code(), 1, "nested");
}

/// A main that is interrupted, and goes on with this a turn later.
async fn interrupted(
    finger: Interrupter,
    goes_on: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    finger.interrupt();
    shield(hearken::yield_now()).await;
    goes_on.await
}

// ---- One inside another ------------------------------------------------------------------------

// promise 6.6
#[test]
fn block_on_inside_the_executors_own_turn_is_refused_wherever_it_is_called() {
    let (world, said) = (World::new(), Transcript::new());
    let executor = Rc::new(world.executor);
    let nests = {
        let (executor, said) = (Rc::downgrade(&executor), said.clone());
        move |place: &str| {
            let executor = executor.upgrade().expect("it is there");
            let answer = executor.block_on(async { Ok(()) });
            let Err(RunError::Nested(nested)) = answer else { panic!("{answer:?}") };
            assert!(nested.to_string().starts_with("block_on was called inside"), "{nested}");
            assert!(nested.to_string().ends_with(&nested.outer().to_string()), "{nested}");
            said.say(format!("{place}, from {}", nested.outer()));
        }
    };
    let (in_task, in_drop, in_callback) = (nests.clone(), nests.clone(), nests.clone());
    let task = executor.spawn(async move {
        in_task("task");
        Ok(OnDrop(move || in_drop("drop")))
    });
    task.on_done(move |_| in_callback("callback"));
    // All that a host's loop can name is the task that is running.
    let spawned = task.location();
    drop(task);
    executor.run_until_idle();
    let said = said.lines();
    assert_eq!(said[0], format!("task, from {spawned}"));
    assert!(said[1].starts_with("callback, ") && said[2].starts_with("drop, "), "{said:?}");
    let ledger = executor.ledger();
    assert_eq!((ledger.spawned, ledger.succeeded), (1, 1), "a refused main is no task");
    executor.shut_down();
    assert_balances(&executor);
}

// promise 6.6
#[test]
fn run_inside_run_is_refused() {
    let outer = line!() + 1;
    let answer = hearken::run(async {
        let names_the_outer = move |inner: Result<(), RunError>| {
            let Err(RunError::Nested(nested)) = inner else { panic!("{inner:?}") };
            assert!(nested.to_string().starts_with("run was called inside"), "{nested}");
            assert_eq!((nested.outer().file(), nested.outer().line()), (file!(), outer));
        };
        names_the_outer(hearken::run(async { Ok(()) }));
        spawn(async move {
            names_the_outer(hearken::run(async { Ok(()) }));
            Ok(())
        })
        .await?;
        Ok(7)
    });
    assert_eq!(answer.unwrap(), 7);
}

// promise 6.6
#[test]
fn a_turn_inside_its_own_turn_panics_and_says_so() {
    type Drive = fn(&Executor);
    let drives: [(Drive, &str); 3] = [
        (|executor| _ = executor.turn(Budget::Polls(0)), "a turn was taken"),
        (|executor| _ = executor.run_until_idle(), "a turn was taken"),
        (|executor| _ = executor.shut_down(), "shut_down was called"),
    ];
    for (drive, what) in drives {
        let world = World::new();
        let executor = Rc::new(world.executor);
        let itself = Rc::downgrade(&executor);
        let task = executor.spawn(async move {
            drive(&itself.upgrade().expect("it is there"));
            Ok(())
        });
        let other = executor.spawn(async { Ok(7) });
        hushed(|| executor.run_until_idle());
        let error = task.error().unwrap().unwrap().to_string();
        assert_eq!(error, format!("panicked: {what} inside a turn of the same executor"));
        assert_eq!(other.result().ok(), Some(&7), "nothing has happened but a panic");
        drop((task, other));
        executor.shut_down();
        assert_balances(&executor);
    }
}

// promise 6.6
#[test]
fn a_different_executor_may_run_inside() {
    let (outer, inner) = (World::new(), World::new());
    let answer = outer.executor.block_on(async {
        let before = hearken::current().id();
        let value = inner.executor.block_on(async {
            let innermost = World::new();
            let task = spawn(async { Ok(1) });
            let more = innermost.executor.block_on(async { Ok(spawn(async { Ok(2) }).await?) });
            innermost.close();
            sleep(SECOND).await;
            Ok(task.await? + more?)
        })?;
        assert_eq!(hearken::current().id(), before, "we are back");
        assert_eq!(hearken::now(), hearken::Instant::ZERO, "on our own clock");
        Ok(value)
    });
    assert_eq!(answer.unwrap(), 3);
    assert_eq!(inner.executor.ledger().spawned, 2);
    outer.close();
    inner.close();
}

// promise 6.6, 10.7
#[test]
fn a_panic_out_of_an_inner_turn_leaves_the_outer_one_where_it_was() {
    let outer = World::new();
    let answer = outer.executor.block_on(async {
        let inner = Rc::new(Executor::new());
        let itself = Rc::downgrade(&inner);
        let task = inner.spawn(async move {
            let _: hearken::Turn = itself.upgrade().expect("it is there").turn(Budget::Batch);
            Ok(())
        });
        let turned = catch_unwind(AssertUnwindSafe(|| hushed(|| inner.turn(Budget::Batch))));
        assert!(turned.is_ok() && task.error().unwrap().is_some());
        hearken::yield_now().await;
        Ok(spawn(async { Ok(7) }).await?)
    });
    assert_eq!(answer.unwrap(), 7);
    outer.close();
}
