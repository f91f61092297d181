//! How a program stops, beside how `asyncio.run` and its `Runner` do: row by row
//! of what is known of those, the numbers being the rows'.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use common::{Play, Spilled, World, assert_settled, failing, secs};
use hearken::{
    Budget, Cancelled, Executor, Instant, ManualClock, Next, Origin, ReportKind, RunError,
    Shutdown, Task, TaskError, finally, request_shut_down, scope, shield, sleep, spawn, yield_now,
};

/// `hearken::run` listens for Ctrl-C, which is the process's.
fn alone<R>(work: impl FnOnce() -> R) -> R {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

// row 114: `run` inside a running loop, `run_until_complete` in it, and two loops
// in one thread are errors. The third is none here.
// promise 6.6
#[test]
fn row_114_a_program_inside_a_program_is_refused_and_an_executor_beside_it_is_not() {
    let answer = alone(|| {
        hearken::run(async {
            let inner = hearken::run(async { Ok(()) }).unwrap_err();
            assert!(matches!(inner, RunError::Nested(_)), "{inner:?}");
            let beside = World::new();
            let value = beside.executor.block_on(async { Ok(spawn(async { Ok(7) }).await?) })?;
            beside.close();
            Ok(value)
        })
    });
    assert_eq!(answer.unwrap(), 7);
    let world = Rc::new(World::new());
    let itself = Rc::downgrade(&world);
    let answer = world.executor.block_on(async move {
        let world = itself.upgrade().expect("it is there");
        Ok(world
            .executor
            .block_on(async { Ok(()) })
            .is_err_and(|error| matches!(error, RunError::Nested(_))))
    });
    assert!(answer.unwrap());
}

/// Whether this process has a handler for SIGINT.
#[cfg(all(target_os = "linux", feature = "signal"))]
fn catches_ctrl_c() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << (2 - 1) != 0
}

// row 115: SIGINT is taken over only if the default is in force, and given back.
// Without `run`, it is the host's, and is left alone.
// promise 6.7, 8.2
#[cfg(all(target_os = "linux", feature = "signal"))]
#[test]
fn row_115_ctrl_c_is_taken_over_by_run_alone_and_given_back() {
    alone(|| {
        assert!(!catches_ctrl_c(), "nobody listens");
        let world = World::new();
        assert!(!world.executor.block_on(async { Ok(catches_ctrl_c()) }).unwrap());
        world.close();
        assert!(hearken::run(async { Ok(catches_ctrl_c()) }).unwrap());
        assert!(!catches_ctrl_c(), "given back");
        let failed = common::hushed(|| hearken::run::<()>(async { panic!("oh") }));
        assert!(matches!(failed, Err(RunError::Panicked(_))) && !catches_ctrl_c(), "then, too");
    });
}

// row 116: the first one cancels the main, and leaves the wait. The others learn
// nothing yet.
// promise 6.2
#[test]
fn row_116_the_first_interrupt_is_for_the_main() {
    let world = World::new();
    let other = world.executor.spawn(pending::<anyhow::Result<()>>());
    world.executor.interrupter().interrupt();
    let answer = world.executor.block_on(pending::<anyhow::Result<()>>());
    let Err(RunError::Interrupted { main: Some(TaskError::Cancelled(cancelled)) }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(cancelled.origin(), Origin::Interrupt);
    assert_eq!((other.is_finished(), other.cancelling()), (false, 0));
    drop(other);
    world.close();
}

// row 117: the second one is raised between any two bytecodes, and can lose a
// `finally`. Here nothing is ever broken into.
// promise 6.2, 6.1
#[test]
fn row_117_no_interrupt_comes_between_two_statements() {
    let play = Play::new();
    let interrupter = play.world.executor.interrupter();
    let said = play.said.clone();
    let answer = play.world.executor.block_on(async {
        let _finally = said.finally("finally");
        for n in 1..=5 {
            interrupter.interrupt();
            said.say(format!("{n}"));
        }
        said.say("to the end of the poll");
        yield_now().await;
        said.say("one more poll: the handler hears when it is over");
        pending::<anyhow::Result<()>>().await
    });
    assert!(matches!(answer, Err(RunError::Interrupted { main: Some(_) })), "{answer:?}");
    let lines = said.lines();
    assert_eq!(lines[..6], ["1", "2", "3", "4", "5", "to the end of the poll"]);
    assert_eq!(lines.last().map(String::as_str), Some("finally"));
    drop(said);
    assert_eq!(play.close().count(ReportKind::Interrupted), 5, "each is told");
}

// row 118: it becomes an interrupt only if nobody else had cancelled the main.
// promise 6.3
#[test]
fn row_118_an_interrupt_counts_also_if_somebody_else_cancels_the_main() {
    for first in [true, false] {
        let world = World::new();
        let interrupter = world.executor.interrupter();
        let answer = world.executor.block_on(async {
            let me = hearken::current();
            if first {
                interrupter.interrupt();
            }
            spawn(async move {
                me.cancel_with("somebody else");
                Ok(())
            })
            .detach();
            if !first {
                interrupter.interrupt();
            }
            pending::<anyhow::Result<()>>().await
        });
        let as_it_was =
            matches!(answer, Err(RunError::Interrupted { main: Some(TaskError::Cancelled(_)) }));
        assert!(as_it_was, "{answer:?}");
        world.close();
    }
}

// row 119: a main that swallows it, or raises something else, loses it.
// promise 6.3
#[test]
fn row_119_an_interrupt_that_is_swallowed_is_not_lost() {
    for fails in [false, true] {
        let world = World::new();
        world.executor.interrupter().interrupt();
        let answer = world.executor.block_on(async {
            let _ = scope(pending::<()>()).await.map_err(Cancelled::accept);
            if fails { Err(Spilled("tea").into()) } else { Ok(()) }
        });
        let Err(RunError::Interrupted { main }) = &answer else { panic!("{answer:?}") };
        assert_eq!(matches!(main, Some(TaskError::Failed(_))), fails);
        assert_eq!(answer.unwrap_err().exit_code(), 130);
        assert!(!world.close().kinds().contains(&ReportKind::NeverRetrieved), "it was handed on");
    }
}

// row 120: all are cancelled once, in no order, and waited for without a limit.
// promise 6.4
#[test]
fn row_120_the_shutdown_goes_from_the_youngest_to_the_oldest_and_has_a_limit() {
    let play = Play::new();
    let spawn_one = |name: &'static str, needs: u64| {
        play.spawn(move |said| async move {
            let told = scope(pending::<()>()).await;
            said.say(format!("{name} told"));
            sleep(secs(needs)).await;
            said.say(format!("{name} done"));
            Ok(told?)
        })
    };
    let tasks = [spawn_one("oldest", 1), spawn_one("middle", 3600), spawn_one("youngest", 1)];
    play.run();
    let shutdown = play.world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped), (3, 1));
    assert_eq!(
        play.said.lines(),
        ["youngest told", "middle told", "oldest told", "youngest done", "oldest done"],
    );
    assert_eq!(play.world.executor.now(), Instant::ZERO + secs(5), "the grace");
    drop(tasks);
    play.close();
}

// row 121: an error during the shutdown goes to the handler, with the task.
// promise 6.4, 3.11
#[test]
fn row_121_a_failure_during_the_shutdown_is_told_with_its_task_and_error() {
    let world = World::new();
    let work = async {
        let _told = scope(pending::<()>()).await;
        failing().await
    };
    world.executor.spawn(work).named("clumsy").detach();
    world.executor.run_until_idle();
    world.executor.shut_down();
    let notes = world.close().notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].kind, ReportKind::FailedDuringShutdown);
    assert_eq!((notes[0].task, notes[0].error.as_deref()), (Some(1), Some("pouring: spilled tea")));
    assert!(notes[0].text.contains("clumsy"), "{}", notes[0].text);
}

// row 122: a task made during the shutdown is left pending.
// promise 6.4
#[test]
fn row_122_a_task_made_during_the_shutdown_is_run_and_cancelled_like_the_others() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let told = scope(pending::<()>()).await;
        spawn(async move {
            said.say("born");
            let told = scope(pending::<()>()).await;
            sleep(secs(1)).await;
            said.say("cleaned up");
            Ok(told?)
        })
        .detach();
        Ok(told?)
    });
    let shutdown = play.world.executor.shut_down();
    assert_eq!(shutdown.dropped, 0);
    assert_eq!(play.said.lines(), ["born", "cleaned up"]);
    drop(task);
    assert_eq!(play.close().kinds(), [ReportKind::Cancelled; 2]);
}

// row 123: async generators are closed together, and the pool of threads is
// joined with another limit. Here whatever awaits in its clean-up has the grace.
// promise 6.4, 4.7
#[test]
fn row_123_all_that_cleans_up_shares_one_grace() {
    let play = Play::new();
    let closing = |name: &'static str, needs: u64| {
        play.spawn(move |said| {
            finally(pending::<anyhow::Result<()>>(), async move || {
                sleep(secs(needs)).await;
                said.say(name);
                Ok(())
            })
        })
    };
    let tasks = [closing("generator", 2), closing("connection", 4), closing("pool", 300)];
    play.run();
    assert_eq!(play.world.executor.shut_down().dropped, 1);
    assert_eq!(play.said.lines(), ["generator", "connection"]);
    assert_eq!(play.world.executor.now(), Instant::ZERO + secs(5), "of all of them together");
    drop(tasks);
    play.close();
}

// row 124: what is ready and what waits for a timer is thrown away unrun.
// promise 6.4, 6.8, 3.13
#[test]
fn row_124_nothing_is_thrown_away_in_silence() {
    for drops in [false, true] {
        let play = Play::new();
        play.world.clock.set_auto_advance(false);
        let sleeps = play.start(|_| async {
            sleep(secs(1)).await;
            Ok(())
        });
        let callback = play.said.clone();
        let done = play.start(|_| async { Ok(()) });
        done.on_done(move |_| callback.say("callback"));
        let ready = play.spawn(|_| async { Ok(()) });
        drop((sleeps, ready, done));
        let (said, heard) = (play.said.clone(), play.world.heard.clone());
        let kind = if drops {
            drop(play);
            ReportKind::DroppedPending
        } else {
            play.world.executor.shut_down();
            assert_settled(&play.world.executor);
            ReportKind::Cancelled
        };
        assert_eq!(said.lines(), ["callback"]);
        assert_eq!(heard.count(kind), 2, "each is told of");
        assert_eq!(heard.count(ReportKind::Cancelled), 2);
    }
}

// row 125: an interrupt during the shutdown is raised inside the loop's own code.
// promise 6.2, 6.4
#[test]
fn row_125_an_interrupt_during_the_shutdown_is_its_next_stage() {
    let play = Play::with(|builder| builder.grace(None));
    let interrupter = play.world.executor.interrupter();
    let task = play.start(|said| async move {
        let _told = scope(pending::<()>()).await;
        for n in 1..=3 {
            said.say(format!("interrupt {n}"));
            interrupter.interrupt();
            // The second goes through the shield, and only the third through this.
            let _ = scope(shield(sleep(secs(60)))).await.map_err(Cancelled::accept);
        }
        said.say("never");
        Ok(())
    });
    let shutdown = play.world.executor.shut_down();
    assert_eq!((shutdown.found, shutdown.dropped), (1, 1));
    assert_eq!(play.said.lines(), ["interrupt 1", "interrupt 2", "interrupt 3"]);
    assert_eq!(play.world.executor.now(), Instant::ZERO + secs(60), "the shield held one off");
    drop(task);
    assert_eq!(play.close().count(ReportKind::Interrupted), 3);
}

// row 126: several mains on one runner; closed twice is fine; after that it is an
// error to use it.
// promise 6.5, 6.4
#[test]
fn row_126_an_executor_runs_several_mains_and_is_shut_down_once() {
    let world = World::new();
    let counter = Rc::new(Cell::new(0));
    let count = counter.clone();
    let other = world.executor.spawn(async move {
        loop {
            count.set(count.get() + 1);
            sleep(secs(1)).await;
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    for main in 1..=3 {
        let value = world.executor.block_on(async move {
            sleep(secs(10)).await;
            Ok(main)
        });
        assert_eq!(value.unwrap(), main);
        assert!(counter.get() >= 10 * main, "the others went on beside it");
    }
    assert_eq!(world.executor.shut_down().found, 1);
    assert_eq!(world.executor.shut_down(), Shutdown::default());
    let after = world.executor.block_on(async { Ok(()) });
    assert!(matches!(after, Err(RunError::ShutDown(_))), "{after:?}");
    drop(other);
    world.close();
}

// row 127: `stop` finishes the pass, and then the main's not being done is an
// error. A loop that is never closed gives a warning.
// promise 6.4, 6.8, 3.12
#[test]
fn row_127_who_asks_for_the_end_goes_on_to_the_next_suspension_and_all_clean_up() {
    let play = Play::new();
    let beside = play.start(|said| async move {
        let told = scope(pending::<()>()).await;
        said.say("the other cleans up");
        Ok(told?)
    });
    let asks = play.spawn(|said| async move {
        request_shut_down("stop");
        said.say("asks, and goes on");
        yield_now().await;
        Ok(())
    });
    let answer = play.world.executor.block_on(pending::<anyhow::Result<()>>());
    let Err(RunError::ShutDown(report)) = answer else { panic!("{answer:?}") };
    assert_eq!(report.message(), "stop");
    assert_eq!(play.said.lines(), ["asks, and goes on"]);
    assert_eq!(play.run(), ["the other cleans up"]);
    assert!(asks.is_cancelled() && beside.is_cancelled());
    drop((asks, beside));
    play.close();

    // Never closed: not one of its tasks goes unheard.
    let play = Play::new();
    let (said, heard) = (play.said.clone(), play.world.heard.clone());
    let left = play.start(|said| async move {
        let _finally = said.finally("finally");
        pending::<anyhow::Result<()>>().await
    });
    left.detach();
    drop(play);
    assert_eq!(said.lines(), ["finally"]);
    assert_eq!(heard.kinds(), [ReportKind::DroppedPending, ReportKind::Cancelled]);
}

// ---- Where asyncio has no row ------------------------------------------------------

// promise 6.4, 6.5
#[test]
fn a_shutdown_does_not_wait_for_what_destructors_spawn_for_ever() {
    fn heir() -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>> {
        // Only one that has been polled has an heir.
        Box::pin(async { common::waiting(|| spawn(heir()).detach()).await })
    }
    // On the machine's clock, and on one that moves by itself.
    for clock in [None, Some(ManualClock::auto())] {
        let builder = Executor::builder().grace(Some(std::time::Duration::ZERO));
        let builder = builder.handler(|_| hearken::Verdict::Proceed);
        let executor = match clock {
            Some(clock) => builder.clock(clock).build(),
            None => builder.build(),
        };
        executor.spawn(heir()).detach();
        executor.run_until_idle();
        executor.shut_down();
        assert_settled(&executor);
    }
}

// promise 6.4
#[test]
fn a_newcomer_has_its_poll_also_in_a_host_that_gives_small_budgets() {
    let world = World::new();
    world.executor.request_shut_down("enough");
    let newcomer = world.executor.spawn(async { Ok(7) });
    for _ in 0..3 {
        world.executor.turn(Budget::Polls(0));
    }
    world.executor.run_until_idle();
    assert_eq!(newcomer.result().ok(), Some(&7));
    drop(newcomer);
    world.close();
}

// promise 6.4
#[test]
fn those_that_small_budgets_have_not_come_to_are_asked_when_they_have_had_their_poll() {
    let world = World::with(|builder| builder.grace(None));
    world.executor.request_shut_down("enough");
    let newcomers = [(); 3].map(|()| world.executor.spawn(pending::<anyhow::Result<()>>()));
    world.executor.turn(Budget::Polls(0));
    world.executor.turn(Budget::Polls(1));
    assert_eq!(newcomers.each_ref().map(|it| it.info().polls()), [1, 0, 0]);
    for _ in 0..6 {
        world.executor.turn(Budget::Polls(1)); // the poll of each, and its drop
    }
    assert!(newcomers.iter().all(Task::is_cancelled), "{}", world.executor.dump());
    drop(newcomers);
    world.close();
}

// promise 6.5
#[test]
fn after_a_shutdown_an_interrupt_from_before_is_forgotten() {
    let world = World::new();
    let task = world.executor.spawn(pending::<anyhow::Result<()>>());
    world.executor.interrupter().interrupt();
    world.executor.shut_down();
    let now = world.executor.now();
    let turn = world.executor.turn(Budget::Batch);
    assert_eq!((turn.polled, turn.next, turn.jumped), (0, Next::Empty, None));
    assert_eq!(world.executor.now(), now);
    drop(task);
    world.close();
}

// promise 6.4, 4.3, 4.8
#[test]
fn a_newcomer_is_asked_once_also_by_an_elder_who_hears_of_the_shutdown_later() {
    let play = Play::new();
    play.world.clock.set_auto_advance(false);
    let elder = play.start(|said| async move {
        shield(sleep(secs(1))).await;
        let newcomer = spawn(async move {
            let told = scope(pending::<()>()).await;
            sleep(secs(2)).await;
            said.say("cleaned up");
            Ok(told?)
        });
        shield(sleep(secs(1))).await;
        Ok(newcomer.await?) // only here it hears, and passes on what it hears
    });
    play.world.clock.set_auto_advance(true);
    assert_eq!(play.world.executor.shut_down().dropped, 0);
    assert_eq!(play.said.lines(), ["cleaned up"]);
    drop(elder);
    play.close();
}

// promise 6.4, 4.13
#[test]
fn who_was_asked_when_the_shutdown_began_is_not_asked_again_beside_a_newcomer() {
    let play = Play::with(|builder| builder.grace(None));
    let stubborn = play.start(|said| async move {
        loop {
            let told = scope(pending::<()>()).await.expect_err("it waits for ever");
            said.say(told.reason().to_owned());
            told.accept();
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    play.world.executor.request_shut_down("enough");
    assert_eq!(play.run(), ["the executor is shut down"]);
    // More than it remembers of those that it has heard of.
    for nth in 0..100 {
        stubborn.cancel_with(format!("{nth}"));
        assert_eq!(play.run(), [nth.to_string()]);
    }
    let newcomer = play.start(|_| pending::<anyhow::Result<()>>());
    assert!(play.run().is_empty(), "each hears of a request once");
    assert!(newcomer.is_cancelled());
    (0..3).for_each(|_| play.world.executor.interrupter().interrupt());
    play.world.executor.turn(Budget::Polls(0));
    drop((stubborn, newcomer));
    play.close();
}

// promise 6.2, 6.4
#[test]
fn the_third_interrupt_ends_a_shutdown_without_limit_whatever_destructors_spawn() {
    fn heir() -> std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>> {
        Box::pin(async {
            let _heir = common::OnDrop(|| spawn(heir()).detach());
            loop {
                let _ = scope(pending::<()>()).await.map_err(Cancelled::accept);
            }
        })
    }
    let world = World::with(|builder| builder.grace(None));
    world.executor.spawn(heir()).detach();
    world.executor.run_until_idle();
    let interrupter = world.executor.interrupter();
    (0..3).for_each(|_| interrupter.interrupt());
    let shutdown = world.executor.shut_down();
    assert!(shutdown.dropped < 10, "{shutdown:?}");
    world.close();
}
