//! What arrives after the last look.
//!
//! Whoever is about to leave looks once more whether somebody has left something
//! meanwhile; and then something is left. Here it is left from inside, by code of
//! the user's that runs at that very moment, so that nothing has to be timed.
//! Between threads, `tests/models` tries the orders.

mod common;

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Heard, OnDrop, Spilled, World, hushed, secs, waiting};
use hearken::{
    Clock, Executor, Instant, Interrupter, ReportKind, RunError, TaskError, Verdict, sleep,
};

/// That it was interrupted, and that the next main is not.
#[track_caller]
fn assert_interrupted_once<T>(executor: &Executor, heard: &Heard, answer: Result<T, RunError>) {
    assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{:?}", answer.err());
    assert_eq!(heard.count(ReportKind::Interrupted), 1, "the handler hears of it once");
    let next = executor.block_on(async {
        sleep(secs(1)).await;
        Ok(7)
    });
    assert_eq!(next.unwrap(), 7, "it was not for this one");
    assert_eq!(heard.count(ReportKind::Interrupted), 1, "nor is it told again");
}

async fn sleeping() -> anyhow::Result<()> {
    sleep(secs(1)).await;
    Ok(())
}

// ---- An interrupt, when the main has ended ------------------------------------------

// promise 6.3, 6.2
#[test]
fn an_interrupt_in_the_last_poll_of_the_main_was_for_it() {
    for end in ["a value", "a failure", "a panic", "a drop"] {
        let world = World::new();
        let other = world.executor.spawn(pending::<anyhow::Result<()>>());
        let interrupter = world.executor.interrupter();
        let answer = hushed(|| {
            world.executor.block_on(async {
                sleep(secs(1)).await;
                let on_drop = OnDrop(|| interrupter.interrupt());
                if end != "a drop" {
                    drop(on_drop);
                }
                match end {
                    "a failure" => Err(Spilled("tea").into()),
                    "a panic" => panic!("oh"),
                    _ => Ok(7),
                }
            })
        });
        let Err(RunError::Interrupted { main }) = &answer else { panic!("{end}: {answer:?}") };
        match end {
            "a failure" => assert!(matches!(main, Some(TaskError::Failed(_)))),
            "a panic" => assert!(matches!(main, Some(TaskError::Panicked(_)))),
            _ => assert!(main.is_none()),
        }
        assert_interrupted_once(&world.executor, &world.heard, answer);
        assert!(!other.is_finished(), "the first is for the main, and for nobody else");
        drop(other);
        world.close();
    }
}

// promise 6.3
#[test]
fn an_interrupt_later_in_the_batch_in_which_the_main_ends_was_for_it() {
    let world = World::new();
    let interrupter = world.executor.interrupter();
    let answer = world.executor.block_on(async {
        hearken::spawn(async move {
            interrupter.interrupt();
            Ok(())
        })
        .detach();
        hearken::yield_now().await; // the other is in this batch, behind
        Ok(7)
    });
    assert_interrupted_once(&world.executor, &world.heard, answer);
    world.close();
}

// promise 6.3, 3.12
#[test]
fn an_interrupt_while_the_last_reports_are_told_is_not_lost() {
    let (heard, interrupter) = (Heard::default(), Rc::new(RefCell::new(None::<Interrupter>)));
    let (noted, interrupts) = (heard.clone(), interrupter.clone());
    let executor = common::executor(move |report| {
        noted.note(report);
        if report.kind() != ReportKind::Interrupted
            && let Some(interrupter) = interrupts.take()
        {
            interrupter.interrupt();
        }
        Verdict::Proceed
    });
    *interrupter.borrow_mut() = Some(executor.interrupter());
    let answer = executor.block_on(async {
        hearken::spawn(common::failing()).detach();
        hearken::yield_now().await;
        Ok(())
    });
    assert_interrupted_once(&executor, &heard, answer);
    executor.shut_down();
    common::assert_settled(&executor);
}

// promise 6.3, 3.12
#[test]
fn an_interrupt_while_the_main_is_reported_that_was_shut_down_is_not_lost() {
    let (heard, interrupter) = (Heard::default(), Rc::new(RefCell::new(None::<Interrupter>)));
    let (noted, interrupts) = (heard.clone(), interrupter.clone());
    let executor = common::executor(move |report| {
        noted.note(report);
        if report.error().is_some_and(|error| error.is::<Spilled>())
            && let Some(interrupter) = interrupts.take()
        {
            interrupter.interrupt();
        }
        Verdict::Proceed
    });
    *interrupter.borrow_mut() = Some(executor.interrupter());
    let answer = executor.block_on(async {
        hearken::request_shut_down("enough");
        Err::<(), _>(Spilled("tea").into())
    });
    assert!(matches!(answer, Err(RunError::Interrupted { main: None })), "{answer:?}");
    // Why it was shut down is not lost either.
    let next = executor.block_on(async { Ok(()) });
    assert!(matches!(next, Err(RunError::ShutDown(_))), "{next:?}");
    assert_eq!(heard.count(ReportKind::Interrupted), 1);
    executor.shut_down();
    common::assert_settled(&executor);
}

// promise 6.3
#[test]
fn an_interrupt_while_the_value_of_an_interrupted_main_is_dropped_is_of_the_same_run() {
    let world = World::new();
    let interrupter = world.executor.interrupter();
    interrupter.interrupt();
    let answer = world.executor.block_on(async {
        Ok(OnDrop(move || {
            interrupter.interrupt();
            hushed(|| panic!("and it panics"));
        }))
    });
    assert!(matches!(answer, Err(RunError::Interrupted { main: None })));
    let kinds = world.heard.kinds();
    let two = [ReportKind::Interrupted, ReportKind::PanickedInDrop, ReportKind::Interrupted];
    assert_eq!(kinds, two);
    assert_eq!(world.executor.block_on(async { Ok(7) }).unwrap(), 7);
    world.close();
}

// promise 6.3, 8.3
#[test]
fn an_interrupt_while_the_value_of_a_main_that_was_shut_down_is_dropped_is_not_lost() {
    let heard = Heard::default();
    let noted = heard.clone();
    let executor = common::executor(move |report| {
        noted.note(report);
        match report.kind() {
            ReportKind::NeverRetrieved => Verdict::ShutDown, // when the main has ended
            _ => Verdict::Proceed,
        }
    });
    let interrupter = executor.interrupter();
    let answer = executor.block_on(async {
        hearken::spawn(common::failing()).detach();
        hearken::yield_now().await;
        Ok(OnDrop(move || {
            interrupter.interrupt();
            hushed(|| panic!("and it panics"));
        }))
    });
    assert!(matches!(answer, Err(RunError::Interrupted { main: None })));
    let kinds = heard.kinds();
    let all = [ReportKind::NeverRetrieved, ReportKind::PanickedInDrop, ReportKind::Interrupted];
    assert_eq!(kinds, all);
    executor.shut_down();
}

// promise 6.3, 3.12
#[test]
fn a_late_interrupt_may_be_swallowed_as_any_other() {
    let executor = common::executor(|_| Verdict::Ignore);
    let interrupter = executor.interrupter();
    let main = async || {
        interrupter.interrupt();
        Ok(7)
    };
    assert_eq!(executor.block_on(main()).unwrap(), 7);
    assert_eq!(executor.block_on(main()).unwrap(), 7);
    executor.shut_down();
}

// promise 6.1, 6.3: it ends, although there is always one more.
#[test]
fn a_handler_that_interrupts_whenever_it_hears_of_an_interrupt_does_not_go_on_for_ever() {
    let interrupter = Rc::new(RefCell::new(None::<Interrupter>));
    let interrupts = interrupter.clone();
    let executor = common::executor(move |report| {
        if let (ReportKind::Interrupted, Some(interrupter)) = (report.kind(), &*interrupts.borrow())
        {
            interrupter.interrupt();
        }
        Verdict::Proceed
    });
    *interrupter.borrow_mut() = Some(executor.interrupter());
    executor.interrupter().interrupt();
    let answer = executor.block_on(async { Ok(()) });
    assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{answer:?}");
    interrupter.take();
    executor.shut_down();
}

/// A clock that interrupts when it is asked how long to sleep, and stands still.
struct Pressing(Interrupter);

/// Where the interrupter is put when there is one.
type Slot = Rc<RefCell<Option<Pressing>>>;

struct PressingClock(Slot);

impl Clock for PressingClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn until(&self, _: Instant) -> Option<std::time::Duration> {
        if let Some(Pressing(interrupter)) = self.0.take() {
            interrupter.interrupt();
        }
        None
    }
}

// promise 6.3, 4.7: a closed world is one of wakes; the user may still press Ctrl-C.
#[test]
fn an_interrupt_of_a_closed_world_that_is_about_to_be_given_up_is_not_lost() {
    let said = common::Transcript::new();
    let (slot, heard) = (Slot::default(), Heard::default());
    let executor = Executor::builder()
        .clock(PressingClock(slot.clone()))
        .closed_world(true)
        .handler(heard.handler())
        .build();
    *slot.borrow_mut() = Some(Pressing(executor.interrupter()));
    // Somebody sleeps, so the clock is asked.
    let other = executor.spawn(sleeping());
    let answer = executor.block_on(async {
        hearken::finally(pending::<anyhow::Result<()>>(), async || {
            said.say("cleaned up");
            Ok(())
        })
        .await
    });
    let Err(RunError::Interrupted { .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(said.lines(), ["cleaned up"], "it is not dropped as one that is stuck");
    assert_eq!(heard.count(ReportKind::Interrupted), 1);
    drop(other);
    executor.shut_down();
}

/// A clock that wakes somebody when it is asked how long to sleep.
struct WakingClock(Rc<RefCell<Option<std::task::Waker>>>);

impl Clock for WakingClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn until(&self, _: Instant) -> Option<std::time::Duration> {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
        None
    }
}

// promise 7.2
#[test]
fn a_wake_of_a_closed_world_that_is_about_to_be_given_up_is_not_lost() {
    let waker = Rc::new(RefCell::new(None));
    let executor = Executor::builder().clock(WakingClock(waker.clone())).closed_world(true).build();
    let other = executor.spawn(sleeping());
    let mut polls = 0;
    let answer = executor.block_on(std::future::poll_fn(|cx| {
        polls += 1;
        *waker.borrow_mut() = Some(cx.waker().clone());
        if polls == 2 { std::task::Poll::Ready(Ok(7)) } else { std::task::Poll::Pending }
    }));
    assert_eq!(answer.unwrap(), 7);
    drop(other);
    executor.set_handler(|_| Verdict::Proceed); // of the one that is dropped
}

/// A clock that panics when it is asked how long to sleep.
struct BrokenClock;

impl Clock for BrokenClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn until(&self, _: Instant) -> Option<std::time::Duration> {
        hushed(|| panic!("out of order"))
    }
}

// promise 8.3: it counts as one that stands still, and its report wakes nobody.
#[test]
fn a_closed_world_whose_clock_panics_is_given_up() {
    let heard = Heard::default();
    let executor =
        Executor::builder().clock(BrokenClock).closed_world(true).handler(heard.handler()).build();
    let answer = executor.block_on(sleeping());
    assert!(matches!(answer, Err(RunError::Stalled(_))), "{answer:?}");
    assert_eq!(heard.count(ReportKind::CallbackPanicked), 1);
}

/// A clock that stands still, and says when it is asked how long to sleep; and then
/// panics, perhaps.
struct AskedClock {
    is_asked: std::sync::mpsc::Sender<()>,
    panics: bool,
}

impl Clock for AskedClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn until(&self, _: Instant) -> Option<std::time::Duration> {
        self.is_asked.send(()).expect("the thread listens");
        if self.panics {
            hushed(|| panic!("out of order"));
        }
        None
    }
}

// promise 8.3, 10.7: in a world that is open another thread may end the wait.
#[test]
fn an_open_world_whose_clock_panics_or_stands_still_waits_for_other_threads() {
    for panics in [true, false] {
        let (heard, (is_asked, asked)) = (Heard::default(), std::sync::mpsc::channel());
        let clock = AskedClock { is_asked, panics };
        let executor = Executor::builder().clock(clock).handler(heard.handler()).build();
        let interrupter = executor.interrupter();
        let interrupts = thread::spawn(move || {
            asked.recv().expect("the clock is asked");
            interrupter.interrupt();
            asked // it may be asked once more
        });
        let answer = executor.block_on(sleeping());
        assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{answer:?}");
        assert_eq!(heard.count(ReportKind::CallbackPanicked) > 0, panics);
        drop(interrupts.join().expect("it interrupts"));
    }
}

/// A clock that panics when it is asked to jump.
struct RootedClock;

impl Clock for RootedClock {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn jump_to(&self, _: Instant) -> bool {
        hushed(|| panic!("rooted"))
    }

    fn until(&self, _: Instant) -> Option<std::time::Duration> {
        None
    }
}

// promise 7.4, 10.7
#[test]
fn a_clock_that_panics_when_it_is_to_jump_has_not_jumped() {
    let heard = Heard::default();
    let executor = Executor::builder().clock(RootedClock).handler(heard.handler()).build();
    let task = executor.spawn(sleeping());
    executor.run_until_idle();
    assert!(!task.is_finished());
    assert_eq!(executor.next_deadline(), Some(Instant::ZERO + secs(1)));
    executor.run_until_idle(); // it was the last thing that was done
    let notes = heard.notes();
    assert!(!notes.is_empty());
    let is_that = |error: &str| error == "panicked: rooted";
    assert!(notes.iter().all(|note| note.error.as_deref().is_some_and(is_that)), "{notes:?}");
    drop(task);
    executor.shut_down();
}

// ---- A report, when nobody looks any more ----------------------------------------------

// promise 3.8, 8.3
#[test]
fn a_hook_that_panics_before_the_executor_is_dropped_is_reported_in_the_drop() {
    let heard = Heard::default();
    let executor = Executor::builder()
        .handler(heard.handler())
        .on_wake(|| std::panic::resume_unwind(Box::new("nothing is printed of this")))
        .build();
    let task = executor.spawn(waiting(|| ()));
    executor.run_until_idle();
    let spawner = executor.spawner();
    let sender = thread::spawn(move || spawner.spawn_with(|| async { Ok(()) }));
    sender.join().unwrap().unwrap();
    drop((task, executor));
    assert_eq!(heard.count(ReportKind::CallbackPanicked), 1, "{:?}", heard.notes());
}

// promise 8.3: by whom it was called is decided when it is called.
#[test]
fn a_hook_that_panics_after_its_executor_is_gone_is_not_told_to_the_next() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // The same inbox, over and over: the latest that is empty is taken first.
    for _ in 0..100 {
        let (inside, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let both = std::sync::Arc::new((inside, go));
        let in_hook = both.clone();
        let first = Executor::builder()
            .on_wake(move || {
                in_hook.0.wait();
                in_hook.1.wait();
                CALLS.fetch_add(1, Ordering::SeqCst);
                std::panic::resume_unwind(Box::new("nothing is printed of this"));
            })
            .build();
        first.run_until_idle();
        let spawner = first.spawner();
        let sender = thread::spawn(move || spawner.spawn_with(|| async { Ok(()) }));
        both.0.wait();
        first.set_handler(|_| Verdict::Proceed); // of the spawn that comes too late
        drop(first);
        let heard = Heard::default();
        let next = Executor::builder().handler(heard.handler()).on_wake(|| ()).build();
        both.1.wait();
        sender.join().unwrap().unwrap();
        next.spawner().spawn_with(|| async { Ok(()) }).unwrap();
        next.run_until_idle();
        assert_eq!(heard.count(ReportKind::CallbackPanicked), 0);
    }
    assert_eq!(CALLS.load(Ordering::SeqCst), 100);
}
