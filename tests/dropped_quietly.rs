//! Every `Drop` of the library in which foreign code may panic finishes its work.
//!
//! | what is dropped | the foreign thing in it | what must be done all the same |
//! | --- | --- | --- |
//! | `Task`, a pending one | the waker of whoever polled it | nobody can ask any more |
//! | `Task`, a finished one | its output; its error, in the report | the ledger; the memory |
//! | `CancelOnDrop` | the same | the task is asked |
//! | a gather, a `wait`, an `AsCompleted` | the waker of whoever polled it | every task is let go |
//! | a group, a deadline by a handle | the waker of whoever polled it | the tasks are cancelled; the handle forgets it |
//! | `Sleep` | the waker of whoever polled it | its timer is off the wheel |
//! | a callback, run or removed or never called | what the closure holds | it counts as an asker no more |
//! | a scope, a shield, `timeout`, `finally`, a group | the future inside, which is dropped in a poll | see `panics.rs` and `finally.rs` |
//! | a member of a region | the waker of a combinator | it is out of its region |
//! | `Executor` | futures, outputs, callbacks, the handler, the reports | the next one of each; every report is delivered |
//! | its last handle | the clock; a report made now | see `executor_drop.rs` |
//! | the inbox | `on_wake`, messages of other threads | the next executor can have it |
//!
//! What is foreign is dropped alone, each thing for itself: of two that panic in
//! one `Vec` the second would end the process. And a drop may happen while a
//! thread unwinds, where a panic that leaves it would, too.

mod common;

use std::cell::Cell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use common::foreign::{Foreign, Op};
use common::{OnDrop, Spilled, World, assert_balances, assert_settled, hushed, secs};
use hearken::{
    Executor, Finished, Group, ManualClock, Report, ReportKind, RunError, Task, TimeoutHandle,
    Verdict, WaitFor, as_completed, gather, group, scope, settle, sleep, timeout_by, try_gather,
    wait,
};

/// Polls once with a waker of `foreign`.
fn poll_with<F: Future + ?Sized>(foreign: &Foreign, future: Pin<&mut F>) -> Poll<F::Output> {
    let waker = foreign.waker();
    let polled = future.poll(&mut Context::from_waker(&waker));
    foreign.quietly(|| drop(waker));
    polled
}

/// Wakers that panic when they are dropped.
fn loud() -> Foreign {
    Foreign::that(Op::Drop, || panic!("waker"))
}

/// Drops it, also while the thread unwinds: nothing may leave the drop.
#[track_caller]
fn drop_twice_over<T>(make: impl Fn() -> T) {
    let plainly = make();
    let dropped = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(plainly))));
    assert!(dropped.is_ok(), "nothing leaves the drop");
    let unwinding = make();
    let thrown = hushed(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let _unwinding = unwinding;
            panic!("of the program's own");
        }))
    });
    assert_eq!(*thrown.unwrap_err().downcast::<&str>().unwrap(), "of the program's own");
}

// promise 3.6, 10.7
#[test]
fn a_handle_whose_awaiter_panics_as_it_is_dropped_leaves_its_failure_to_the_handler() {
    let world = World::new();
    let foreign = loud();
    drop_twice_over(|| {
        let mut task = world.executor.spawn(async {
            sleep(secs(1)).await;
            Err::<(), _>(Spilled("tea").into())
        });
        assert!(poll_with(&foreign, pin!(&mut task)).is_pending());
        task
    });
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 2);
    assert_eq!(world.heard.count(ReportKind::PanickedInDrop), 2, "of the wakers");
    assert_eq!(foreign.alive(), 0);
    world.close();
}

// promise 3.6, 10.7: its report or its output is dropped where it is due.
#[test]
fn what_a_finished_task_left_is_dropped_quietly() {
    let world = World::new();
    drop_twice_over(|| {
        let task = world.executor.spawn(async { Ok(OnDrop(|| panic!("output"))) });
        world.executor.run_until_idle();
        task
    });
    drop_twice_over(|| {
        let task = world.executor.spawn(async { Ok(OnDrop(|| panic!("output"))) });
        world.executor.run_until_idle();
        task.cancel_on_drop()
    });
    hushed(|| world.executor.run_until_idle());
    assert_eq!(world.heard.count(ReportKind::PanickedInDrop), 4);
    world.close();
}

// promise 3.6, 10.7
#[test]
fn whoever_waits_for_many_lets_all_of_them_go() {
    let world = World::new();
    let foreign = loud();
    let tasks = || -> Vec<Task<()>> {
        let failing = || async {
            sleep(secs(1)).await;
            Err::<(), _>(anyhow::Error::from(Spilled("tea")))
        };
        (0..3).map(|_| world.executor.spawn(failing())).collect()
    };
    let polled = |mut future: Pin<Box<dyn Future<Output = ()>>>| {
        assert!(poll_with(&foreign, future.as_mut()).is_pending());
        future
    };
    drop_twice_over(|| {
        let all = gather(tasks());
        polled(Box::pin(async { drop(all.await) }))
    });
    drop_twice_over(|| {
        let all = try_gather(tasks());
        polled(Box::pin(async { drop(all.await) }))
    });
    drop_twice_over(|| {
        let all = settle(tasks());
        polled(Box::pin(async { drop(all.await) }))
    });
    drop_twice_over(|| {
        let mut all = tasks();
        polled(Box::pin(async move {
            wait(&mut all, WaitFor::All).await;
        }))
    });
    drop_twice_over(|| {
        let mut all = as_completed(tasks());
        polled(Box::pin(async move {
            all.next().await;
        }))
    });
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 30);
    assert_eq!(foreign.alive(), 0);
    world.close();
}

// promise 7.6, 10.7
#[test]
fn a_sleep_whose_waker_panics_is_off_the_wheel() {
    let world = World::new();
    let foreign = loud();
    let executor = &world.executor;
    let slept = Rc::new(Cell::new(None));
    drop_twice_over(|| {
        let shelf = slept.clone();
        let nap = executor.block_on(async { Ok(Box::pin(sleep(secs(9)))) });
        shelf.set(nap.ok());
        let mut nap = slept.take().unwrap();
        assert!(poll_with(&foreign, nap.as_mut()).is_pending());
        assert!(executor.next_deadline().is_some());
        // Polled by another, the first waker goes.
        let other = loud();
        assert!(hushed(|| poll_with(&other, nap.as_mut())).is_pending());
        nap
    });
    assert_eq!(executor.next_deadline(), None);
    assert_eq!(foreign.alive(), 0);
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::PanickedInDrop), 4);
    world.close();
}

// promise 4.9, 5.4, 10.7
#[test]
fn a_deadline_that_can_be_moved_and_a_group_lose_their_wakers_quietly() {
    let world = World::new();
    let foreign = loud();
    let handle = TimeoutHandle::new(None);
    let waits = |mut waits: Pin<Box<dyn Future<Output = ()>>>| {
        let polled = world.executor.block_on(async {
            assert!(poll_with(&foreign, waits.as_mut()).is_pending());
            Ok(waits)
        });
        polled.unwrap_or_else(|_| panic!("it is polled"))
    };
    drop_twice_over(|| {
        let handle = handle.clone();
        waits(Box::pin(async move {
            let _never = timeout_by(&handle, pending::<()>()).await;
        }))
    });
    drop_twice_over(|| {
        waits(Box::pin(async {
            let all = group(async |tasks: Group| {
                tasks.spawn(pending::<anyhow::Result<()>>()).detach();
                Ok(())
            });
            let _nothing = all.await;
        }))
    });
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::PanickedInDrop), 4);
    assert_eq!(foreign.alive(), 0);
    world.close();
}

// promise 4.9, 10.7
#[test]
fn to_move_a_deadline_wakes_all_though_a_waker_panics() {
    let world = World::new();
    let handle = TimeoutHandle::new(None);
    let foreign = Foreign::that(Op::Wake, || panic!("waker"));
    let first = timeout_by(&handle, pending::<()>());
    let polled = world.executor.block_on(async {
        let mut first = Box::pin(first);
        assert!(poll_with(&foreign, first.as_mut()).is_pending());
        Ok(first)
    });
    let second = handle.clone();
    let second =
        world.executor.spawn(async move { Ok(timeout_by(&second, pending::<()>()).await) });
    world.executor.run_until_idle();

    let now = world.executor.now();
    let moved = world.executor.block_on(async {
        hushed(|| handle.reschedule(Some(now)));
        Ok(())
    });
    assert!(moved.is_ok());
    world.executor.run_until_idle();
    assert!(second.result().is_ok_and(|answer| answer.is_err()), "it is told that it is over");
    assert_eq!(world.heard.count(ReportKind::CallbackPanicked), 1);
    drop((polled, second));
    world.close();
}

/// A closure that panics when it is dropped, and does nothing else.
fn bomb() -> impl FnOnce(Finished<'_, ()>) {
    let bomb = OnDrop(|| panic!("callback"));
    move |_| {
        let _kept_until_here = &bomb;
    }
}

// promise 3.6, 3.13, 10.7
#[test]
fn callbacks_that_are_removed_or_never_called_are_dropped_quietly() {
    let world = World::new();
    let task = world.executor.spawn(pending::<anyhow::Result<()>>());
    let callback = task.on_done(bomb());
    let removed = hushed(|| catch_unwind(AssertUnwindSafe(|| task.remove_on_done(callback))));
    assert!(removed.expect("nothing leaves it"));
    world.executor.run_until_idle();
    assert_eq!(world.heard.count(ReportKind::PanickedInDrop), 1);
    drop(task);

    // Of an executor that is gone.
    let World { executor, heard, .. } = world;
    let ended = executor.spawn(async { Ok(()) });
    executor.run_until_idle();
    drop(executor);
    let added = hushed(|| catch_unwind(AssertUnwindSafe(|| ended.on_done(bomb()))));
    assert!(added.is_ok(), "nothing leaves it");
    drop((ended, heard));
}

// promise 3.8, 6.8, 10.7: two of them in one queue.
#[test]
fn callbacks_that_go_with_their_executor_are_each_dropped() {
    let executor = common::executor(|_| Verdict::Proceed);
    let dropped = Rc::new(Cell::new(0));
    let again = Rc::new(Cell::new(None::<Task<()>>));
    /// Registers itself anew each time that it is called.
    fn forever(task: &Rc<Cell<Option<Task<()>>>>, dropped: &Rc<Cell<u32>>) {
        let bomb = OnDrop({
            let dropped = dropped.clone();
            move || {
                dropped.set(dropped.get() + 1);
                panic!("callback");
            }
        });
        let held = task.take().unwrap();
        let (own, count) = (task.clone(), dropped.clone());
        held.on_done(move |_| {
            let _bomb = &bomb;
            forever(&own, &count);
        });
        task.set(Some(held));
    }
    again.set(Some(executor.spawn(async { Ok(()) })));
    executor.run_until_idle();
    for _ in 0..3 {
        forever(&again, &dropped);
    }
    let gone = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(executor))));
    assert!(gone.is_ok(), "nothing leaves the drop of an executor");
    assert!(dropped.get() > 300, "a hundred rounds, and those that were left");
    drop(again.take());
}

/// Makes reports whose errors panic when they are dropped.
struct Reports(u32, Rc<Cell<u32>>);

impl Drop for Reports {
    fn drop(&mut self) {
        for _ in 0..self.0 {
            self.1.set(self.1.get() + 1);
            hearken::report(Report::new(Touchy));
        }
        panic!("handler");
    }
}

#[derive(Debug)]
struct Touchy;

impl std::fmt::Display for Touchy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SHOWN.set(SHOWN.get() + 1);
        f.write_str("touchy")
    }
}

impl std::error::Error for Touchy {}

impl Drop for Touchy {
    fn drop(&mut self) {
        panic!("error");
    }
}

thread_local! {
    /// How often one was written.
    static SHOWN: Cell<u32> = const { Cell::new(0) };
}

// promise 3.8, 6.8, 10.7
#[test]
fn reports_that_are_made_while_the_handler_is_dropped_are_all_delivered() {
    let made = Rc::new(Cell::new(0));
    let reports = Reports(3, made.clone());
    let executor = common::executor(move |_| {
        let _reports = &reports;
        Verdict::Proceed
    });
    let gone = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(executor))));
    assert!(gone.is_ok(), "nothing leaves the drop of an executor");
    assert_eq!(made.get(), 3);
    assert_eq!(SHOWN.get(), 3, "the default handler wrote each, since the other was gone");
}

// promise 3.8, 6.8, 10.7
#[test]
fn the_report_that_began_a_shutdown_goes_while_there_is_a_handler_to_hear_of_it() {
    let heard = common::Heard::default();
    let notes = heard.clone();
    let executor = common::executor(move |report| {
        notes.note(report);
        Verdict::ShutDown
    });
    executor.report(Report::new(Touchy));
    executor.run_until_idle();
    hushed(|| drop(executor));
    assert_eq!(heard.kinds(), [ReportKind::Library, ReportKind::PanickedInDrop]);
}

// promise 6.3, 10.7: a main that is interrupted as its answer is made
#[test]
fn the_report_of_a_later_shutdown_is_dropped_quietly_and_the_first_one_counts() {
    let interrupter: Rc<Cell<Option<hearken::Interrupter>>> = Rc::default();
    let theirs = interrupter.clone();
    let executor = common::executor(move |report| match report.kind() {
        ReportKind::NeverRetrieved => {
            theirs.take().expect("it is heard once").interrupt();
            Verdict::ShutDown
        }
        _ => Verdict::Proceed,
    });
    interrupter.set(Some(executor.interrupter()));
    executor.request_shut_down("the first");

    let fails = async { Err::<(), _>(Touchy.into()) };
    let answer = hushed(|| executor.block_on(fails));
    assert!(matches!(answer, Err(RunError::Interrupted { main: None })));
    let Err(RunError::ShutDown(report)) = executor.block_on(async { Ok(()) }) else {
        panic!("the next main is told why there is a shutdown");
    };
    assert_eq!(report.message(), "the first");
    executor.shut_down();
    assert_settled(&executor);
}

// promise 3.6, 3.8, 10.7: there is no loop any more, and the default handler hears
#[test]
fn a_handle_that_outlives_its_executor_reports_quietly() {
    SHOWN.set(0);
    drop_twice_over(|| {
        let executor = Executor::builder().clock(ManualClock::auto()).build();
        let task = executor.spawn(async { Err::<(), _>(Touchy.into()) });
        hushed(|| executor.run_until_idle());
        hushed(|| drop(executor)); // which says that it is still held
        task
    });
    assert_eq!(SHOWN.get(), 2);
}

// promise 6.3, 10.7: the value of a main that is not handed to anybody
#[test]
fn the_value_of_a_main_that_was_interrupted_is_dropped_quietly() {
    let world = World::new();
    let interrupter = world.executor.interrupter();
    let answer = hushed(|| {
        catch_unwind(AssertUnwindSafe(|| {
            world.executor.block_on(async move {
                interrupter.interrupt();
                let _heard = scope(sleep(secs(1))).await;
                Ok(OnDrop(|| panic!("value")))
            })
        }))
    });
    let answer = answer.expect("nothing leaves block_on");
    assert!(matches!(answer, Err(hearken::RunError::Interrupted { .. })));
    drop(answer);
    assert_balances(&world.executor);
    world.close();
}

// promise 6.5, 6.6, 10.7: a main that is refused
#[test]
fn a_main_that_is_refused_is_dropped_quietly() {
    let world = World::new();
    let main = || {
        let bomb = OnDrop(|| panic!("main"));
        async move {
            let _bomb = bomb;
            Ok(())
        }
    };
    let nested = world.executor.spawn(async { Ok(()) });
    world.executor.shut_down();
    let refused = hushed(|| catch_unwind(AssertUnwindSafe(|| world.executor.block_on(main()))));
    assert!(matches!(refused.expect("nothing leaves it"), Err(hearken::RunError::ShutDown(_))));
    drop(nested);
    let World { executor, heard, .. } = world;
    hushed(|| drop(executor));
    assert_eq!(heard.count(ReportKind::PanickedInDrop), 1);
}

// promise 6.5, 8.3: what `LocalSpawn` cannot give back
#[test]
fn a_future_that_local_spawn_refuses_is_dropped_quietly() {
    use futures::task::LocalSpawnExt as _;
    let world = World::new();
    world.executor.shut_down();
    let bomb = OnDrop(|| panic!("future"));
    let spawned = hushed(|| {
        catch_unwind(AssertUnwindSafe(|| {
            world.executor.spawn_local(async move {
                let _bomb = &bomb;
            })
        }))
    });
    assert!(spawned.expect("nothing leaves it").is_err());
    assert_settled(&world.executor);
}

// promise 6.8, 10.7
#[test]
fn a_hook_that_panics_as_it_is_dropped_goes_quietly_with_its_executor() {
    /// Panics when it is dropped, with something that does so, too.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Shrapnel);
        }
    }

    struct Shrapnel;

    impl Drop for Shrapnel {
        fn drop(&mut self) {
            panic!("payload");
        }
    }

    for _ in 0..2 {
        let bomb = Bomb;
        let executor = Executor::builder().on_wake(move || _ = &bomb).build();
        let dropped = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(executor))));
        assert!(dropped.is_ok(), "nothing leaves the drop");
        assert_eq!(Executor::new().block_on(async { Ok(7) }).ok(), Some(7), "the next is well");
    }
}

// promise 10.7, 3.5
#[test]
fn outcomes_deep_in_each_other_that_panic_as_they_are_dropped_are_each_reported() {
    const DEEP: usize = 200;
    type Link = (Option<Task<Box<dyn std::any::Any>>>, OnDrop<fn()>);
    let world = World::new();
    let mut last: Option<Task<Box<dyn std::any::Any>>> = None;
    for _ in 0..DEEP {
        let link: Link = (last.take(), OnDrop(|| panic!("value")));
        last = Some(world.executor.spawn(async { Ok(Box::new(link) as Box<dyn std::any::Any>) }));
        world.executor.run_until_idle();
    }
    let dropped = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(last))));
    assert!(dropped.is_ok(), "nothing leaves the drop");
    world.executor.run_until_idle();
    let notes = world.heard.notes();
    assert!(notes.iter().all(|note| note.kind == ReportKind::PanickedInDrop));
    let mut tasks: Vec<_> = notes.iter().filter_map(|note| note.task).collect();
    tasks.sort_unstable();
    assert!(tasks.into_iter().eq(1..=DEEP as u64), "each once");
    world.close();
}

// promise 4.4, 10.7: not a drop, but a waker all the same
#[test]
fn a_combinators_waker_that_panics_when_a_request_calls_it_is_reported_and_all_are_told() {
    let world = World::new();
    let [one, other] = [(); 2].map(|()| Foreign::that(Op::Wake, || panic!("waker")));
    let [first, second] = [one.clone(), other.clone()];
    let task = world.executor.spawn(async move {
        let mut inner = pin!(scope(pending::<()>()));
        let mut polls = 0;
        // By another waker each time, so that it is called by the latest.
        let told = std::future::poll_fn(|cx| {
            polls += 1;
            let foreign = if polls % 2 == 0 { &first } else { &second };
            if polls < 4 {
                cx.waker().wake_by_ref();
            }
            poll_with(foreign, inner.as_mut())
        });
        assert_eq!(told.await.expect_err("it was cancelled").reason(), "enough");
        Ok(7)
    });
    world.executor.run_until_idle();
    task.cancel_with("enough");
    hushed(|| world.executor.run_until_idle());
    assert_eq!(task.result().ok(), Some(&7));
    let calls = one.count(Op::Wake) + other.count(Op::Wake);
    assert!(calls > 0, "it was called");
    assert_eq!(world.heard.count(ReportKind::CallbackPanicked), calls);
    assert_eq!((one.alive(), other.alive()), (0, 0));
    drop(task);
    world.close();
}
