//! Bad input: what is asked for where it cannot be had, and numbers and tasks
//! beyond all bounds.

mod common;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Gate, Shelf, World, assert_balances, hushed, secs};
use hearken::{
    Budget, Executor, Instant, ManualClock, Next, Origin, Report, ReportKind, RunError,
    SpawnErrorKind, Task, TaskError, Verdict, ZeroInterval, interval, interval_at, now, scope,
    sleep, sleep_until, spawn, timeout, timeout_at, yield_now,
};

/// With what message `work` panics.
#[track_caller]
fn panic_of(work: impl FnOnce()) -> String {
    let payload = hushed(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
    let payload = payload.expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().expect("a message is text")).to_owned(),
    }
}

/// Polls once, outside of everything.
fn poll_outside<F: Future>(future: F) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

// promise 10.1
#[test]
fn a_free_function_outside_a_turn_panics_and_says_who_and_how() {
    type Function = (&'static str, fn());
    let functions: [Function; 15] = [
        ("spawn", || drop(hearken::spawn(async { Ok(()) }))),
        ("spawn_infallible", || drop(hearken::spawn_infallible(async {}))),
        ("try_spawn", || drop(hearken::try_spawn(async { Ok(()) }))),
        ("current", || drop(hearken::current())),
        ("now", || _ = now()),
        ("sleep", || drop(sleep(secs(1)))),
        ("sleep_until", || drop(sleep_until(Instant::ZERO))),
        ("interval", || drop(interval(secs(1)))),
        ("interval_at", || drop(interval_at(Instant::ZERO, secs(1)))),
        ("report", || hearken::report(Report::new(anyhow::anyhow!("unheard")))),
        ("request_shut_down", || hearken::request_shut_down("unheard")),
        ("group", || poll_outside(hearken::group(async |_| Ok(())))),
        ("timeout", || poll_outside(timeout(secs(1), pending::<()>()))),
        ("timeout_at", || poll_outside(timeout_at(Instant::ZERO + secs(1), pending::<()>()))),
        ("timeout_by", || {
            let handle = hearken::TimeoutHandle::new(Some(Instant::ZERO + secs(1)));
            poll_outside(hearken::timeout_by(&handle, pending::<()>()));
        }),
    ];
    let mut faults = Vec::new();
    for (name, call) in functions {
        let message = panic_of(call);
        let expected = format!(
            "hearken::{name} was called outside of a turn: call it in a task, that is, \
             inside the future given to `hearken::run`, `Executor::block_on` or `Executor::spawn`"
        );
        if message != expected {
            faults.push(format!("{name}: {message}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

// promise 10.1
#[test]
fn outside_means_between_turns_as_well() {
    let world = World::new();
    world.executor.run_until_idle();
    let message = panic_of(|| _ = now());
    assert!(message.starts_with("hearken::now was called outside of a turn"), "{message}");
    world.close();
}

// promise 10.1
#[test]
fn current_in_a_callback_panics_and_says_that_this_is_no_task() {
    let world = World::new();
    let task = world.executor.spawn(async { Ok(()) });
    let said = Rc::new(Cell::new(String::new()));
    let heard = said.clone();
    task.on_done(move |_| heard.set(panic_of(|| drop(hearken::current()))));
    world.executor.run_until_idle();
    let message = said.take();
    assert_eq!(message, "hearken::current was called in a turn, but not in a task");
    drop(task);
    world.close();
}

async fn nap(duration: Duration) -> anyhow::Result<()> {
    sleep(duration).await;
    Ok(())
}

/// Two executors, and a task of the second that waits at a gate.
fn strangers() -> (World, World, common::Gate, Task<u32>) {
    let (here, there, gate) = (World::new(), World::new(), common::Gate::new());
    let at = gate.clone();
    let task = there.executor.spawn(async move {
        at.pass().await;
        Ok(7)
    });
    there.executor.run_until_idle();
    (here, there, gate, task)
}

// promise 10.2
#[test]
fn a_task_of_another_executor_can_be_awaited() {
    let (here, there, gate, task) = strangers();
    let awaiter = here.executor.spawn(async { Ok(task.await?) });
    here.executor.run_until_idle();
    gate.open();
    there.executor.run_until_idle();
    assert!(!awaiter.is_finished(), "only its own executor polls it");
    here.executor.run_until_idle();
    assert_eq!(*awaiter.result().expect("it succeeds"), 7);
    drop(awaiter);
    here.close();
    there.close();
}

// promise 10.2
#[test]
fn a_cancel_is_not_forwarded_to_a_task_of_another_executor() {
    let (here, there, gate, task) = strangers();
    let stranger = task.task_ref();
    let awaiter = here.executor.spawn(async { Ok(task.await?) });
    here.executor.run_until_idle();
    assert!(awaiter.cancel());
    here.executor.run_until_idle();
    assert!(awaiter.is_cancelled(), "it does not wait for the other");
    there.executor.run_until_idle();
    assert!(!stranger.is_finished());
    assert_eq!(stranger.cancelling(), 0);
    gate.open();
    there.executor.run_until_idle();
    assert_eq!(stranger.state(), hearken::TaskState::Succeeded);
    drop(awaiter);
    here.close();
    there.close();
}

// promise 10.3
#[test]
fn a_sleep_of_zero_or_into_the_past_is_over_at_its_first_poll() {
    let world = World::new();
    world.clock.advance(secs(10));
    let task = world.executor.spawn(async {
        sleep(Duration::ZERO).await;
        sleep_until(now()).await;
        sleep_until(Instant::ZERO).await;
        Ok(())
    });
    let turn = world.executor.turn(Budget::Batch);
    assert!(task.is_finished(), "{turn:?}");
    assert_eq!(world.clock.now(), Instant::ZERO + secs(10));
    drop(task);
    world.close();
}

// promise 10.3
#[test]
fn a_zero_timeout_elapses_at_once_unless_the_body_is_ready() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        let late = timeout(Duration::ZERO, pending::<()>()).await;
        let past = timeout_at(Instant::ZERO, pending::<()>()).await;
        let good = timeout(Duration::ZERO, ready(1)).await;
        Ok((late.map_err(|elapsed| elapsed.to_string()), past.is_err(), good.ok(), now()))
    });
    let elapsed = "the deadline has elapsed".to_owned();
    assert_eq!(answer.expect("it succeeds"), (Err(elapsed), true, Some(1), Instant::ZERO));
    world.close();
}

// promise 10.3
#[test]
fn a_zero_interval_is_refused_with_an_error() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        assert_eq!(interval(Duration::ZERO).err(), Some(ZeroInterval));
        assert_eq!(interval_at(now(), Duration::ZERO).err(), Some(ZeroInterval));
        interval(Duration::ZERO)?;
        Ok(())
    });
    match answer {
        Err(RunError::Failed(error)) => {
            assert!(error.is::<ZeroInterval>());
            assert_eq!(error.to_string(), "an interval's period must not be zero");
        }
        other => panic!("{other:?}"),
    }
    world.close();
}

// promise 10.4
#[test]
fn a_sleep_or_timeout_of_the_longest_duration_never_ends() {
    let world = World::new();
    world.clock.advance(secs(1));
    let sleeper = world.executor.spawn(nap(Duration::MAX));
    let until = world.executor.spawn(async {
        sleep_until(Instant::NEVER).await;
        Ok(())
    });
    let timer = world.executor.spawn(async {
        assert_eq!(timeout(Duration::MAX, ready(1)).await.ok(), Some(1));
        Ok(timeout(Duration::MAX, pending::<()>()).await)
    });
    let turn = world.executor.run_until_idle();
    assert_eq!(turn.next, Next::Waiting);
    assert_eq!(world.executor.next_deadline(), None);
    assert_eq!(world.clock.now(), Instant::ZERO + secs(1), "nobody jumps to the end of time");
    for task in [&sleeper, &until] {
        assert!(!task.is_finished());
    }
    assert!(!timer.is_finished());
    drop((sleeper, until, timer));
    world.close();
}

// promise 10.4
#[test]
fn an_interval_of_the_longest_duration_ticks_once() {
    let world = World::new();
    let ticks = Rc::new(Cell::new(0));
    let counted = ticks.clone();
    let task = world.executor.spawn(async move {
        let mut interval = interval(Duration::MAX)?;
        loop {
            interval.tick().await;
            counted.set(counted.get() + 1);
            if counted.get() == 100 {
                return Ok(());
            }
        }
    });
    world.executor.run_until_idle();
    assert_eq!(ticks.get(), 1);
    assert_eq!(world.executor.next_deadline(), None);
    drop(task);
    world.close();
}

// promise 10.4
#[test]
fn a_clock_at_the_end_of_time_stays_there() {
    let world = World::new();
    world.clock.advance(Duration::MAX);
    assert_eq!(world.clock.now(), Instant::NEVER);
    world.clock.advance(Duration::MAX);
    let answer = world.executor.block_on(async { Ok(now() + Duration::MAX) });
    assert_eq!(answer.expect("it succeeds"), Instant::NEVER);
    world.close();
}

// promise 10.4
#[test]
fn a_grace_of_the_longest_duration_is_no_limit() {
    let world = World::with(|builder| builder.grace(Some(Duration::MAX)));
    world.clock.advance(secs(1));
    let tidy = world.tidy(secs(1_000_000_000));
    world.executor.shut_down();
    assert_eq!(world.clock.now(), Instant::ZERO + secs(1_000_000_001));
    assert!(tidy.is_cancelled());
    drop(tidy);
    assert_eq!(world.close().count(ReportKind::Overran), 0);
}

/// Nor is it a moment to come back, or one to which a clock jumps.
// promise 10.4
#[test]
fn a_grace_of_the_longest_duration_is_no_deadline() {
    let world = World::with(|builder| builder.grace(Some(Duration::MAX)));
    let gate = Gate::new();
    let passes = gate.clone();
    let tidy = world.executor.spawn(async move {
        let told = scope(pending::<()>()).await;
        passes.pass().await;
        Ok(told?)
    });
    world.executor.run_until_idle();
    world.executor.request_shut_down("enough");
    let turn = world.executor.run_until_idle();
    assert_eq!((turn.next, turn.jumped), (Next::Waiting, None));
    gate.open();
    assert_eq!(world.executor.run_until_idle().next, Next::Empty);
    assert_eq!(world.clock.now(), Instant::ZERO);
    assert!(tidy.is_cancelled());
    drop(tidy);
    assert_eq!(world.close().count(ReportKind::Overran), 0);
}

// promise 10.4
#[test]
fn a_slow_poll_of_the_longest_duration_names_nobody() {
    let world = World::with(|builder| builder.slow_poll(Duration::MAX));
    let clock = world.clock.clone();
    let task = world.executor.spawn(async move {
        clock.advance(secs(1_000_000_000));
        Ok(())
    });
    world.executor.run_until_idle();
    assert!(task.is_finished());
    drop(task);
    assert!(world.close().notes().is_empty());
}

// promise 10.5
#[test]
fn beyond_max_tasks_try_spawn_gives_the_future_back() {
    let world = World::with(|builder| builder.max_tasks(1));
    let first = world.executor.spawn(async { Ok(1) });
    let error = world.executor.try_spawn(ready(anyhow::Ok(2))).expect_err("it is full");
    assert_eq!(error.kind(), SpawnErrorKind::Full);
    assert_eq!(error.to_string(), "the executor has as many tasks as it may");
    let future = error.into_future();
    let ledger = world.executor.ledger();
    assert_eq!((ledger.spawned, ledger.live, ledger.refused), (1, 1, 1));
    world.executor.run_until_idle();
    let second = world.executor.try_spawn(future).expect("there is room again");
    world.executor.run_until_idle();
    assert_eq!(*second.result().expect("it succeeds"), 2);
    drop((first, second));
    assert!(world.close().notes().is_empty(), "who was given the future back has heard of it");
}

// promise 10.5
#[test]
fn beyond_max_tasks_spawn_gives_a_cancelled_task_and_a_report_says_so() {
    let world = World::with(|builder| builder.max_tasks(1));
    let first = world.executor.spawn(pending::<anyhow::Result<()>>());
    let dropped = common::Transcript::new();
    let guard = dropped.finally("dropped");
    let mut refused = world.executor.spawn(async move {
        drop(guard);
        Ok(())
    });
    assert_eq!(dropped.lines(), ["dropped"], "it is dropped at once");
    match refused.take() {
        Ok(Err(TaskError::Cancelled(cancelled))) => {
            assert_eq!(cancelled.reason(), "too many tasks are alive");
            assert_eq!(cancelled.origin(), Origin::Requested);
        }
        other => panic!("{other:?}"),
    }
    assert!(world.heard.notes().is_empty(), "the loop delivers");
    world.executor.run_until_idle();
    let notes = world.heard.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].kind, ReportKind::Refused);
    assert_eq!(notes[0].message, "a task was refused: too many are alive");
    assert!(notes[0].text.contains(file!()), "{}", notes[0].text);
    let ledger = world.executor.ledger();
    assert_eq!((ledger.spawned, ledger.cancelled, ledger.refused), (1, 0, 1));
    assert_balances(&world.executor);
    drop((first, refused));
    world.close();
}

// promise 10.5
#[test]
fn with_room_for_none_only_the_main_runs() {
    let world = World::with(|builder| builder.max_tasks(0));
    let answer = world.executor.block_on(async {
        let task = spawn(async { Ok(()) });
        Ok(task.is_cancelled())
    });
    assert!(answer.expect("a main is not refused"));
    assert_eq!(world.executor.ledger().refused, 1);
    world.close();
}

// promise 10.6
#[test]
fn a_task_that_spawns_for_ever_does_not_starve_the_others() {
    async fn spawns() -> anyhow::Result<()> {
        spawn_next();
        Ok(())
    }
    fn spawn_next() {
        let next: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>> = Box::pin(spawns());
        spawn(next).detach();
    }
    let world = World::new();
    world.executor.spawn(spawns()).detach();
    let others: Vec<_> = (0..5).map(|_| world.executor.spawn(yields(10))).collect();
    for _ in 0..11 {
        assert!(world.executor.turn(Budget::Batch).polled <= 6);
    }
    assert!(others.iter().all(Task::is_finished));
    assert_balances(&world.executor);
    drop(others);
    world.close();
}

async fn yields(times: u32) -> anyhow::Result<()> {
    for _ in 0..times {
        yield_now().await;
    }
    Ok(())
}

/// Wakes itself for ever.
fn restless() -> impl Future<Output = anyhow::Result<()>> {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

// promise 10.6
#[test]
fn a_task_that_wakes_itself_for_ever_does_not_starve_the_others() {
    let world = World::new();
    let restless = world.executor.spawn(restless());
    let others: Vec<_> = (0..5).map(|_| world.executor.spawn(yields(10))).collect();
    for _ in 0..11 {
        assert!(world.executor.turn(Budget::Batch).polled <= 6);
    }
    assert!(others.iter().all(Task::is_finished));
    assert_eq!(restless.info().polls(), 11, "nor does it starve itself");
    drop((restless, others));
    world.close();
}

// promise 10.6
#[test]
fn a_task_that_wakes_itself_for_ever_does_not_starve_the_timers() {
    let world = World::new();
    let restless = world.executor.spawn(restless());
    let sleeper = world.executor.spawn(nap(secs(1)));
    world.executor.turn(Budget::Batch);
    world.clock.advance(secs(1));
    world.executor.turn(Budget::Batch);
    assert!(sleeper.is_finished());
    drop((restless, sleeper));
    world.close();
}

// promise 10.6
#[test]
fn run_until_idle_ends_although_a_task_wakes_itself_for_ever() {
    let world = World::new();
    let restless = world.executor.spawn(restless());
    assert_eq!(world.executor.run_until_idle().next, Next::Ready);
    drop(restless);
    world.close();
}

// promise 10.6
#[test]
fn a_task_that_does_not_yield_is_named_by_slow_poll_afterwards() {
    let world = World::with(|builder| builder.slow_poll(secs(2)));
    for took in [1, 2, 3] {
        let clock = world.clock.clone();
        let hog = async move {
            clock.advance(secs(took)); // works for so long
            Ok(())
        };
        world.executor.spawn(hog).named(format!("hog {took}")).detach();
    }
    world.executor.run_until_idle();
    let notes = world.heard.notes();
    let said: Vec<_> = notes.iter().map(|note| (note.kind, note.message.as_str())).collect();
    let slow = ReportKind::SlowPoll;
    assert_eq!(said, [(slow, "a poll took 2s"), (slow, "a poll took 3s")]);
    assert_eq!([notes[0].task, notes[1].task], [Some(2), Some(3)]);
    assert!(notes[0].text.contains("\"hog 2\", spawned at "), "{}", notes[0].text);
    world.close();
}

// promise 10.8
#[test]
#[cfg(not(hearken_arc_waker))] // such a waker cannot be asked whom it wakes
fn a_closed_world_that_is_stuck_says_so_with_the_dump() {
    let world = World::with(|builder| builder.closed_world(true));
    let (left, right) = (Shelf::<Task<()>>::new(), Shelf::<Task<()>>::new());
    for (name, mine, other) in [("hen", &left, &right), ("egg", &right, &left)] {
        let other = other.clone();
        let task = async move {
            let other = other.take().expect("both are there");
            Ok(other.await?)
        };
        mine.put(world.executor.spawn(task).named(name));
    }
    let answer = world.executor.block_on(pending::<anyhow::Result<()>>());
    let dump = match answer {
        Err(RunError::Stalled(dump)) => dump,
        other => panic!("{other:?}"),
    };
    let names: Vec<String> = dump.tasks().map(hearken::TaskInfo::name).collect();
    assert_eq!(names, ["hen", "egg", "task-3"], "the main is among them");
    assert_eq!(dump.cycles().len(), 1);
    let text = dump.to_string();
    assert!(text.ends_with("\ndeadlock: #1 awaits #2 awaits #1"), "{text}");
    assert_balances(&world.executor);

    let answer = world.executor.block_on(async { Ok(1) });
    assert_eq!(answer.expect("the executor goes on"), 1);
    world.close();
}

// promise 10.8
#[test]
fn a_closed_world_in_which_time_passes_is_not_stuck() {
    let world = World::with(|builder| builder.closed_world(true));
    let answer = world.executor.block_on(nap(secs(1)));
    assert!(answer.is_ok());
    world.close();
}

// promise 10.8
#[test]
#[cfg(not(hearken_arc_waker))] // such a waker cannot be asked whom it wakes
fn a_closed_world_on_a_clock_that_stands_still_is_stuck() {
    let executor = Executor::builder().clock(ManualClock::new()).closed_world(true).build();
    let answer = executor.block_on(nap(secs(1)));
    match answer {
        Err(RunError::Stalled(dump)) => {
            assert!(dump.to_string().contains("waits for a timer at 1s"), "{dump}");
        }
        other => panic!("{other:?}"),
    }
}

// promise 10.8
#[test]
fn an_open_world_waits_until_another_thread_wakes_it() {
    let world = World::new();
    let (to_thread, wakers) = mpsc::channel::<Waker>();
    let thread = std::thread::spawn(move || wakers.recv().expect("a waker comes").wake());
    let mut polls = 0;
    let answer = world.executor.block_on(poll_fn(|cx| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(Ok(()));
        }
        to_thread.send(cx.waker().clone()).expect("the thread waits");
        Poll::Pending
    }));
    assert!(answer.is_ok());
    assert_eq!(polls, 2);
    thread.join().expect("it only wakes");
    world.close();
}

// promise 10.5
#[test]
fn a_handler_may_shut_down_because_of_a_refusal() {
    let executor = Executor::builder()
        .clock(ManualClock::auto())
        .max_tasks(1)
        .handler(|report| match report.kind() {
            ReportKind::Refused => Verdict::ShutDown,
            _ => Verdict::Proceed,
        })
        .build();
    let answer = executor.block_on(async {
        spawn(async { Ok(()) }).detach();
        pending::<anyhow::Result<()>>().await
    });
    match answer {
        Err(RunError::ShutDown(report)) => assert_eq!(report.kind(), ReportKind::Refused),
        other => panic!("{other:?}"),
    }
}
