//! The turn: in which order, how much of it, when to come back, and who calls
//! the host when it was told not to.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{
    Gate, Heard, Play, Shelf, Spilled, Transcript, World, assert_balances, failed, failing, hushed,
    poll_once, secs, waiting,
};
use futures::task::{LocalSpawn, LocalSpawnExt, Spawn, SpawnExt};
use hearken::{
    Budget, Executor, Instant, Interrupter, ManualClock, Next, Report, ReportKind, Sleep, Spawner,
    Turn, Verdict, current, now, sleep, spawn,
};

/// An executor on a clock that stands still, and that clock.
fn still() -> (Executor, ManualClock) {
    let clock = ManualClock::new();
    let builder = Executor::builder().clock(clock.clone());
    (builder.handler(|_| Verdict::Proceed).build(), clock)
}

fn batch(executor: &Executor) -> (usize, Next) {
    let turn = executor.turn(Budget::Batch);
    (turn.polled, turn.next)
}

/// Tasks that say their numbers, one each.
fn sayers(executor: &Executor, said: &Transcript, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        let said = said.clone();
        let work = async move {
            said.say(number.to_string());
            Ok(())
        };
        executor.spawn(work).detach();
    }
}

fn numbers(said: &Transcript) -> Vec<usize> {
    said.lines().iter().map(|line| line.parse().expect("a number")).collect()
}

/// A task that wakes itself in each poll, for ever.
fn restless(executor: &Executor) -> Rc<Cell<usize>> {
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    let work = poll_fn(move |cx| {
        count.set(count.get() + 1);
        cx.waker().wake_by_ref();
        Poll::<anyhow::Result<()>>::Pending
    });
    executor.spawn(work).detach();
    polls
}

/// A task that waits, and its waker.
fn waiter(executor: &Executor, said: &Transcript, name: &'static str) -> Waker {
    let (shelf, said) = (Shelf::new(), said.clone());
    let put = shelf.clone();
    let mut first = true;
    let work = poll_fn(move |cx| {
        if !std::mem::take(&mut first) {
            said.say(name);
        }
        put.put(cx.waker().clone());
        Poll::<anyhow::Result<()>>::Pending
    });
    executor.spawn(work).detach();
    executor.turn(Budget::Batch);
    shelf.take().expect("it was polled")
}

fn elsewhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|threads| threads.spawn(work).join().expect("the other thread is well"))
}

async fn slept(seconds: u64) -> anyhow::Result<()> {
    sleep(secs(seconds)).await;
    Ok(())
}

// ---- Batches ------------------------------------------------------------------------

// promise 7.1
#[test]
fn tasks_are_polled_first_in_first_out() {
    let ((executor, _), said) = (still(), Transcript::new());
    sayers(&executor, &said, 0..100);
    assert_eq!(batch(&executor), (100, Next::Empty));
    assert_eq!(numbers(&said), (0..100).collect::<Vec<_>>());
    let wakers: Vec<_> = ["a", "b", "c"].map(|name| waiter(&executor, &said, name)).into();
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        order.iter().for_each(|&which| wakers[which].wake_by_ref());
        assert_eq!(batch(&executor), (3, Next::Waiting));
        assert_eq!(said.lines(), order.map(|which| ["a", "b", "c"][which]), "outside of a turn");
    }
}

// promise 7.1, 7.3
#[test]
fn what_becomes_ready_in_a_batch_waits_for_the_next() {
    let play = Play::new();
    let task = play.spawn(|said| async move {
        for name in ["one", "two"] {
            let saying = said.clone();
            spawn(async move {
                saying.say(name);
                Ok(())
            })
            .detach();
        }
        said.say("spawned");
        Ok(())
    });
    sayers(&play.world.executor, &play.said, [3]);
    assert_eq!(play.turn(), ["spawned", "3"]);
    assert_eq!(play.turn(), ["one", "two"]);
    drop(task);
    play.close();
}

// promise 7.3
#[test]
fn a_spawned_task_is_not_polled_inside_spawn() {
    let (world, said) = (World::new(), Transcript::new());
    sayers(&world.executor, &said, [1]);
    assert!(said.lines().is_empty());
    let saying = said.clone();
    let answer = world.executor.block_on(async move {
        let inner = saying.clone();
        let task = spawn(async move {
            inner.say("child");
            Ok(())
        });
        saying.say("parent");
        task.await?;
        Ok(())
    });
    assert!(answer.is_ok());
    assert_eq!(said.lines(), ["1", "parent", "child"]);
    world.close();
}

// promise 7.1
#[test]
fn the_batch_in_which_the_main_ends_is_finished_and_no_other_begun() {
    let (world, said) = (World::new(), Transcript::new());
    let saying = said.clone();
    let answer = world.executor.block_on(async move {
        sayers_inside(&saying, &["after"]);
        hearken_yield().await;
        sayers_inside(&saying, &["next batch"]);
        saying.say("main");
        Ok(())
    });
    assert!(answer.is_ok());
    assert_eq!(said.lines(), ["after", "main"]);
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    assert_eq!(said.lines(), ["next batch"]);

    // And who stands behind the main in its last batch is polled.
    let saying = said.clone();
    world.executor.block_on(async { Ok(()) }).expect("nothing fails");
    sayers(&world.executor, &saying, [1]);
    world.executor.block_on(async { Ok(()) }).expect("nothing fails");
    assert_eq!(said.lines(), ["1"]);
    world.close();
}

fn sayers_inside(said: &Transcript, lines: &[&'static str]) {
    for &line in lines {
        let said = said.clone();
        spawn(async move {
            said.say(line);
            Ok(())
        })
        .detach();
    }
}

async fn hearken_yield() {
    let mut yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

// promise 7.1, 7.5
#[test]
fn who_is_woken_by_a_thread_or_a_timer_is_in_the_batch_of_that_turn() {
    let ((executor, clock), said) = (still(), Transcript::new());
    let waker = waiter(&executor, &said, "thread");
    let saying = said.clone();
    let timer = executor.spawn(async move {
        sleep(secs(1)).await;
        saying.say("timer");
        Ok(())
    });
    assert_eq!(batch(&executor), (1, Next::At(Instant::ZERO + secs(1))));
    clock.advance(secs(1));
    elsewhere(|| waker.wake());
    assert_eq!(batch(&executor), (2, Next::Waiting));
    assert_eq!(said.lines(), ["thread", "timer"], "wakes are taken in, then timers fire");
    assert!(timer.is_finished());
}

// ---- Budgets --------------------------------------------------------------------------

// promise 8.1
#[test]
fn a_budget_of_polls_is_kept_to_the_poll() {
    for budget in 0..=12 {
        let ((executor, _), said) = (still(), Transcript::new());
        sayers(&executor, &said, 0..10);
        let turn = executor.turn(Budget::Polls(budget));
        assert_eq!(turn.polled, budget.min(10));
        assert_eq!(turn.next, if budget < 10 { Next::Ready } else { Next::Empty });
        assert_eq!(numbers(&said), (0..budget.min(10)).collect::<Vec<_>>());
    }
}

// promise 8.1
#[test]
fn a_budget_of_zero_polls_takes_in_wakes_fires_timers_and_delivers_reports() {
    let ((executor, clock), said, heard) = (still(), Transcript::new(), Heard::default());
    executor.set_handler(heard.handler());
    let waker = waiter(&executor, &said, "woken");
    let saying = said.clone();
    let sleeping = async move {
        sleep(secs(1)).await;
        saying.say("slept");
        Ok(())
    };
    executor.spawn(sleeping).detach();
    executor.run_until_idle();
    executor.report(Report::new(Spilled("tea")));
    clock.advance(secs(1));
    elsewhere(|| waker.wake());
    let turn = executor.turn(Budget::Polls(0));
    assert_eq!((turn.polled, turn.next), (0, Next::Ready));
    assert_eq!(heard.kinds(), [ReportKind::Library]);
    assert_eq!(executor.next_deadline(), None, "the timer has fired");
    assert!(said.lines().is_empty());
    // They are in line already, before whoever comes now.
    sayers(&executor, &said, [3]);
    assert_eq!(batch(&executor), (3, Next::Waiting));
    assert_eq!(said.lines(), ["woken", "slept", "3"]);
}

// promise 8.1
#[test]
fn drops_of_cancelled_tasks_and_callbacks_count_and_reports_do_not() {
    let ((executor, _), said) = (still(), Transcript::new());
    let guard = said.finally("dropped");
    let cancelled = executor.spawn(waiting(move || guard.say("dropping")));
    executor.run_until_idle();
    cancelled.cancel();
    let saying = said.clone();
    cancelled.on_done(move |_| saying.say("callback"));
    (0..5).for_each(|_| executor.report(Report::new(Spilled("tea"))));
    let one = || {
        let turn = executor.turn(Budget::Polls(1));
        (turn.polled, turn.next, said.lines().join(" "))
    };
    assert_eq!(one(), (1, Next::Ready, "dropping dropped".into()));
    assert_eq!(one(), (1, Next::Empty, "callback".into()));
    assert_eq!(one(), (0, Next::Empty, "".into()));
}

// promise 8.1
#[test]
fn a_budget_until_a_moment_begins_no_poll_at_or_after_it() {
    let (executor, clock) = still();
    for _ in 0..10 {
        let clock = clock.clone();
        let work = async move {
            clock.advance(secs(2));
            Ok(())
        };
        executor.spawn(work).detach();
    }
    let until = |seconds| {
        let turn = executor.turn(Budget::Until(Instant::ZERO + secs(seconds)));
        (turn.polled, turn.next)
    };
    assert_eq!(until(0), (0, Next::Ready), "past already");
    assert_eq!(until(1), (1, Next::Ready), "one that has begun is not broken into");
    assert_eq!(until(2), (0, Next::Ready), "it reads this now");
    assert_eq!(until(8), (3, Next::Ready));
    assert_eq!(until(1_000), (6, Next::Empty));
}

// promise 7.1, 8.1
#[test]
fn what_a_budget_left_comes_first_in_the_next_turn() {
    let ((executor, _), said) = (still(), Transcript::new());
    let waker = waiter(&executor, &said, "100");
    sayers(&executor, &said, 0..5);
    executor.turn(Budget::Polls(2));
    elsewhere(|| waker.wake());
    sayers(&executor, &said, 5..7);
    assert_eq!(executor.turn(Budget::Polls(4)).polled, 4);
    assert_eq!(numbers(&said), [0, 1, 2, 3, 4, 5]);
    assert_eq!(batch(&executor), (2, Next::Waiting));
    assert_eq!(numbers(&said), [6, 100], "taken in by the second turn, after those spawned before");
}

// promise 7.1
#[test]
fn budgets_of_one_poll_each_take_the_same_order_as_whole_batches() {
    let order = |budget| {
        let ((executor, _), said) = (still(), Transcript::new());
        for task in 0..5 {
            let said = said.clone();
            let work = async move {
                for round in 0..3 {
                    said.say(format!("{task}.{round}"));
                    hearken_yield().await;
                }
                Ok(())
            };
            executor.spawn(work).detach();
        }
        while executor.turn(budget).next == Next::Ready {}
        said.lines()
    };
    assert_eq!(order(Budget::Polls(1)), order(Budget::Batch));
    assert_eq!(order(Budget::Polls(3)), order(Budget::Batch));
}

// ---- Shuffle ----------------------------------------------------------------------------

fn shuffled(seed: u64) -> (Executor, Transcript) {
    let executor = Executor::builder().clock(ManualClock::new()).shuffle(seed).build();
    (executor, Transcript::new())
}

// promise 7.1
#[test]
fn a_seed_gives_the_same_permutation_of_each_batch_on_every_run() {
    let run = |seed| {
        let (executor, said) = shuffled(seed);
        (0..3)
            .map(|_| {
                sayers(&executor, &said, 0..50);
                executor.turn(Budget::Batch);
                numbers(&said)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    let batches = run(7);
    assert_ne!(batches[0], batches[1], "each batch is drawn anew");
    for mut numbers in batches {
        assert_ne!(numbers, (0..50).collect::<Vec<_>>());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

// promise 7.1
#[test]
fn a_seed_gives_the_same_order_on_every_machine() {
    let (executor, said) = shuffled(1);
    sayers(&executor, &said, 0..10);
    executor.turn(Budget::Batch);
    assert_eq!(numbers(&said), SEED_ONE);
}

/// Noted once.
const SEED_ONE: [usize; 10] = [9, 0, 1, 4, 8, 2, 3, 7, 6, 5];

// promise 7.1
#[test]
fn different_seeds_find_every_order_of_a_small_batch() {
    let mut orders = BTreeSet::new();
    for seed in 0..500 {
        let (executor, said) = shuffled(seed);
        sayers(&executor, &said, 0..4);
        executor.turn(Budget::Batch);
        orders.insert(numbers(&said));
    }
    assert_eq!(orders.len(), 24);
}

// promise 7.1, 8.1
#[test]
fn what_a_budget_left_of_a_shuffled_batch_comes_before_newcomers() {
    for budget in 0..10 {
        let (executor, said) = shuffled(3);
        sayers(&executor, &said, 0..10);
        let whole = {
            let (executor, said) = shuffled(3);
            sayers(&executor, &said, 0..10);
            executor.turn(Budget::Batch);
            numbers(&said)
        };
        executor.turn(Budget::Polls(budget));
        sayers(&executor, &said, 10..30);
        executor.turn(Budget::Batch);
        let order = numbers(&said);
        assert_eq!(order[..10], whole, "a budget does not change the order");
        assert!(order[10..].iter().all(|&number| number >= 10));
        assert_eq!(order.len(), 30);
    }
}

// ---- When to come back --------------------------------------------------------------------

// promise 8.1
#[test]
fn a_turn_says_when_to_come_back_in_every_state() {
    let ((executor, clock), said) = (still(), Transcript::new());
    let after = |budget| executor.turn(budget).next;
    assert_eq!(after(Budget::Batch), Next::Empty);
    let waker = waiter(&executor, &said, "waiter");
    assert_eq!(after(Budget::Batch), Next::Waiting);
    waker.wake_by_ref();
    assert_eq!(after(Budget::Polls(0)), Next::Ready);
    assert_eq!(after(Budget::Batch), Next::Waiting);
    // The earliest of the deadlines.
    for seconds in [5, 3, 9] {
        executor.spawn(slept(seconds)).detach();
    }
    assert_eq!(after(Budget::Polls(1)), Next::Ready);
    assert_eq!(after(Budget::Batch), Next::At(Instant::ZERO + secs(3)));
    assert_eq!(executor.next_deadline(), Some(Instant::ZERO + secs(3)));
    clock.advance(secs(3) - Duration::from_nanos(1));
    assert_eq!(after(Budget::Batch), Next::At(Instant::ZERO + secs(3)));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(after(Budget::Polls(0)), Next::Ready);
    assert_eq!(after(Budget::Batch), Next::At(Instant::ZERO + secs(5)));
    clock.advance(secs(6));
    assert_eq!(after(Budget::Batch), Next::Waiting);
    // A report is something to do, and one made by the handler waits for the next turn.
    let task = executor.spawn(failing());
    assert_eq!(after(Budget::Batch), Next::Waiting);
    drop(task);
    executor.set_handler(|report| {
        if report.kind() == ReportKind::NeverRetrieved {
            hearken::report(Report::new(Spilled("more")));
        }
        Verdict::Proceed
    });
    assert_eq!(after(Budget::Polls(0)), Next::Ready);
    assert_eq!(after(Budget::Polls(0)), Next::Waiting);
    executor.shut_down();
    assert_eq!(after(Budget::Batch), Next::Empty);
}

// promise 8.1, 7.4
#[test]
fn a_turn_says_by_how_far_the_clock_jumped_and_a_still_clock_never_does() {
    let world = World::new();
    let task = world.executor.spawn(slept(3600));
    let first = world.executor.turn(Budget::Batch);
    assert_eq!((first.jumped, first.next), (None, Next::At(Instant::ZERO + secs(3600))));
    let second = world.executor.turn(Budget::Batch);
    assert_eq!((second.jumped, second.polled), (Some(secs(3600)), 1));
    drop(task);
    world.close();

    let (executor, _) = still();
    executor.spawn(slept(1)).detach();
    let Turn { polled, next, jumped, .. } = executor.run_until_idle();
    assert_eq!((polled, next, jumped), (1, Next::At(Instant::ZERO + secs(1)), None));
}

// promise 7.1
#[test]
fn run_until_idle_comes_back_from_a_task_that_wakes_itself_for_ever() {
    let (executor, _) = still();
    let polls = restless(&executor);
    let turn = executor.run_until_idle();
    assert_eq!((turn.polled, turn.next), (1_000_000, Next::Ready));
    assert_eq!(polls.get(), 1_000_000);
}

// promise 7.1
#[test]
fn a_task_that_wakes_itself_holds_back_no_timer_no_thread_and_no_sibling() {
    let ((executor, clock), said) = (still(), Transcript::new());
    let polls = restless(&executor);
    let waker = waiter(&executor, &said, "thread");
    let saying = said.clone();
    let sleeping = async move {
        loop {
            sleep(secs(1)).await;
            saying.say("timer");
        }
    };
    executor.spawn::<()>(sleeping).detach();
    executor.turn(Budget::Batch);
    for _ in 0..100 {
        let before = polls.get();
        clock.advance(secs(1));
        elsewhere(|| waker.wake_by_ref());
        sayers(&executor, &said, [1]);
        assert_eq!(batch(&executor), (4, Next::Ready));
        let mut lines = said.lines();
        lines.sort_unstable();
        assert_eq!(lines, ["1", "thread", "timer"]);
        assert_eq!(polls.get(), before + 1, "nor do they hold it back");
    }
    // With the smallest budget it takes longer, and it does come.
    clock.advance(secs(1));
    elsewhere(|| waker.wake_by_ref());
    (0..3).for_each(|_| {
        executor.turn(Budget::Polls(1));
    });
    assert_eq!(said.lines(), ["thread", "timer"]);
}

// promise 8.1
#[test]
fn a_turn_inside_of_a_turn_is_refused_and_harms_nothing() {
    let world = World::new();
    let executor = Rc::new(world.executor);
    let inner = executor.clone();
    let task = executor.spawn(async move {
        inner.turn(Budget::Batch);
        Ok(())
    });
    hushed(|| executor.run_until_idle());
    let error = task.error().expect("it has ended").expect("it panicked").to_string();
    assert!(error.contains("a turn was taken inside a turn"), "{error}");
    drop(task);
    assert_eq!(batch(&executor), (0, Next::Empty));
    assert_balances(&executor);
}

// ---- Calling the host -----------------------------------------------------------------------

/// An executor and how often it called its host.
struct Hosted {
    executor: Executor,
    calls: Arc<AtomicUsize>,
}

impl Hosted {
    fn new() -> Hosted {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let executor = Executor::builder()
            .clock(ManualClock::new())
            .handler(|_| Verdict::Proceed)
            .on_wake(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .build();
        Hosted { executor, calls }
    }

    /// How often it called since this was last asked.
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }

    /// Turns until the host is told that nothing is ready.
    fn rest(&self) {
        self.executor.run_until_idle();
        assert_ne!(self.executor.turn(Budget::Batch).next, Next::Ready);
        assert_eq!(self.calls(), 0, "not by itself");
    }
}

/// What somebody can do outside of a turn, and the turn has something to do then.
type Stimulus = (&'static str, fn(&Hosted) -> Box<dyn FnOnce()>);

fn stimuli() -> Vec<Stimulus> {
    fn foreign(work: impl FnOnce() + Send + 'static) -> Box<dyn FnOnce()> {
        Box::new(move || thread::spawn(work).join().expect("the other thread is well"))
    }
    fn asleep(hosted: &Hosted) -> Waker {
        waiter(&hosted.executor, &Transcript::new(), "woken")
    }
    vec![
        ("a foreign wake", |hosted| {
            let waker = asleep(hosted);
            foreign(move || waker.wake())
        }),
        ("a wake on the own thread", |hosted| {
            let waker = asleep(hosted);
            Box::new(move || waker.wake())
        }),
        ("a foreign spawn", |hosted| {
            let spawner = hosted.executor.spawner();
            foreign(move || spawner.spawn_with(|| async { Ok(()) }).expect("it is open"))
        }),
        ("a spawner on the own thread", |hosted| {
            let spawner = hosted.executor.spawner();
            Box::new(move || spawner.spawn_with(|| async { Ok(()) }).expect("it is open"))
        }),
        ("a foreign interrupt", |hosted| {
            let interrupter = hosted.executor.interrupter();
            foreign(move || interrupter.interrupt())
        }),
        ("a cancellation", |hosted| {
            let task = hosted.executor.spawn(pending::<anyhow::Result<()>>());
            hosted.executor.run_until_idle();
            Box::new(move || assert!(task.cancel()))
        }),
        ("a cancellation by a TaskRef", |hosted| {
            let task = hosted.executor.spawn(pending::<anyhow::Result<()>>());
            hosted.executor.run_until_idle();
            let look = task.task_ref();
            task.detach();
            Box::new(move || assert!(look.cancel()))
        }),
        ("the drop of a task's last handle that cancels it", |hosted| {
            let task = hosted.executor.spawn(pending::<anyhow::Result<()>>()).cancel_on_drop();
            hosted.executor.run_until_idle();
            Box::new(move || drop(task))
        }),
        ("the drop of the handle of a failed task", |hosted| {
            let task = failed(&hosted.executor);
            Box::new(move || drop(task))
        }),
        ("a callback on a task that has ended", |hosted| {
            let task = hosted.executor.spawn(async { Ok(()) });
            hosted.executor.run_until_idle();
            Box::new(move || {
                task.on_done(|_| ());
            })
        }),
        ("an earlier deadline", |hosted| {
            let mut sleep = made_in_a_turn(hosted, 10);
            Box::new(move || sleep.as_mut().reset(Instant::ZERO + secs(5)))
        }),
        ("a new deadline", |hosted| {
            let mut sleep = unpolled(hosted, 5);
            Box::new(move || assert!(poll_once(&mut sleep).is_pending()))
        }),
    ]
}

/// A sleep that no task owns, and that is not on the wheel yet.
fn unpolled(hosted: &Hosted, seconds: u64) -> Pin<Box<Sleep>> {
    let made = hosted.executor.block_on(async { Ok(Box::pin(sleep(secs(seconds)))) });
    made.expect("nothing fails")
}

/// The same, on the wheel.
fn made_in_a_turn(hosted: &Hosted, seconds: u64) -> Pin<Box<Sleep>> {
    let mut sleep = unpolled(hosted, seconds);
    assert!(poll_once(&mut sleep).is_pending());
    sleep
}

// promise 8.1
#[test]
fn the_host_is_called_once_by_whatever_gives_the_next_turn_something_to_do() {
    for (name, prepare) in stimuli() {
        let hosted = Hosted::new();
        let act = prepare(&hosted);
        let _ = hosted.executor.turn(Budget::Batch);
        hosted.calls();
        hosted.rest();
        act();
        assert_eq!(hosted.calls(), 1, "{name}");
        hosted.rest();
    }
}

// promise 8.1
#[test]
fn the_host_is_called_by_a_spawn_and_a_report_and_a_request_to_stop() {
    let hosted = Hosted::new();
    hosted.rest();
    hosted.executor.spawn(async { Ok(()) }).detach();
    assert_eq!(hosted.calls(), 1);
    hosted.rest();
    hosted.executor.report(Report::new(Spilled("tea")));
    assert_eq!(hosted.calls(), 1);
    hosted.rest();
    hosted.executor.spawn(pending::<anyhow::Result<()>>()).detach();
    hosted.executor.run_until_idle();
    hosted.calls();
    hosted.rest();
    hosted.executor.request_shut_down("enough");
    assert_eq!(hosted.calls(), 1);
}

// promise 8.1
#[test]
fn the_host_is_called_at_most_once_between_two_turns() {
    for (first, prepare) in stimuli() {
        for (second, prepare_second) in stimuli() {
            let hosted = Hosted::new();
            let (act, act_again) = (prepare(&hosted), prepare_second(&hosted));
            hosted.executor.turn(Budget::Batch);
            hosted.calls();
            hosted.rest();
            act();
            act_again();
            assert_eq!(hosted.calls(), 1, "{first}, and then {second}");
            hosted.rest();
        }
    }
    let hosted = Hosted::new();
    let waker = waiter(&hosted.executor, &Transcript::new(), "woken");
    hosted.rest();
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..1_000).for_each(|_| waker.wake_by_ref()));
        }
    });
    assert_eq!(hosted.calls(), 1);
}

// promise 8.1
#[test]
fn the_host_is_not_called_when_it_knows_that_something_is_ready() {
    // It was never told anything, or that there is more.
    for (name, prepare) in stimuli() {
        let hosted = Hosted::new();
        let act = prepare(&hosted);
        let said = Transcript::new();
        sayers(&hosted.executor, &said, 0..2);
        hosted.executor.turn(Budget::Polls(0));
        hosted.calls();
        assert_eq!(hosted.executor.turn(Budget::Polls(1)).next, Next::Ready);
        act();
        assert_eq!(hosted.calls(), 0, "{name}");
    }
    let hosted = Hosted::new();
    sayers(&hosted.executor, &Transcript::new(), 0..2);
    hosted.executor.spawner().spawn_with(|| async { Ok(()) }).expect("it is open");
    assert_eq!(hosted.calls(), 0, "before the first turn");
}

// promise 8.1
#[test]
fn the_host_is_not_called_during_a_turn() {
    let hosted = Hosted::new();
    let (interrupter, spawner) = (hosted.executor.interrupter(), hosted.executor.spawner());
    let waker = waiter(&hosted.executor, &Transcript::new(), "woken");
    hosted.rest();
    let failed = failed(&hosted.executor);
    let task = hosted.executor.spawn(async move {
        elsewhere(|| waker.wake());
        elsewhere(|| spawner.spawn_with(|| async { Ok(()) }).expect("it is open"));
        spawn(slept(1)).detach();
        hearken::report(Report::new(Spilled("tea")));
        drop(failed);
        interrupter.interrupt();
        Ok(())
    });
    hosted.calls();
    assert_eq!(hosted.executor.turn(Budget::Batch).next, Next::Ready);
    assert_eq!(hosted.calls(), 0);
    hosted.rest();
    assert!(task.is_finished());
}

// promise 8.1, 8.3
#[test]
fn no_lock_is_held_while_the_host_is_called() {
    type Doors = (Spawner, Interrupter, Waker);
    let doors: Arc<OnceLock<Doors>> = Arc::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let heard = Heard::default();
    let executor = Executor::builder()
        .clock(ManualClock::new())
        .handler(heard.handler())
        .on_wake({
            let (doors, calls) = (doors.clone(), calls.clone());
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
                let (spawner, interrupter, waker) = doors.get().expect("it was put there");
                spawner.spawn_with(|| async { Ok(()) }).expect("it is open");
                interrupter.interrupt();
                waker.wake_by_ref();
                // A whole executor begins and ends in the meantime.
                let (other, _) = still();
                other.spawn(async { Ok(()) }).detach();
                other.run_until_idle();
            }
        })
        .build();
    let waker = waiter(&executor, &Transcript::new(), "woken");
    let put = doors.set((executor.spawner(), executor.interrupter(), waker.clone()));
    assert!(put.is_ok());
    executor.run_until_idle();
    elsewhere(|| waker.wake());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "and its own doings do not call it again");
    executor.run_until_idle();
    assert_eq!(heard.count(ReportKind::Interrupted), 1);
    assert_eq!(executor.ledger().spawned, 2);
    executor.spawn(async { Ok(()) }).detach();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "on the own thread too");
    assert_eq!(executor.run_until_idle().next, Next::Empty);
}

// promise 8.1, 8.3
#[test]
fn a_hook_that_panics_does_not_unwind_into_who_woke_and_is_reported() {
    let heard = Heard::default();
    let executor = Executor::builder()
        .clock(ManualClock::new())
        .handler(heard.handler())
        .on_wake(|| panic!("the hook"))
        .build();
    let waker = waiter(&executor, &Transcript::new(), "woken");
    executor.run_until_idle();
    elsewhere(|| hushed(|| waker.wake_by_ref()));
    assert_eq!(executor.turn(Budget::Batch).polled, 1);
    assert_eq!(heard.kinds(), [ReportKind::CallbackPanicked]);
    hushed(|| drop(executor));
}

// ---- Executors inside of executors -------------------------------------------------------------

// promise 8.3
#[test]
fn an_executor_may_be_turned_inside_a_poll_of_another() {
    let ((outer, outer_clock), said) = (still(), Transcript::new());
    outer_clock.advance(secs(100));
    let (inner, _) = still();
    let saying = said.clone();
    let task = outer.spawn(async move {
        let me = current().id();
        let inside = saying.clone();
        let inner_task = inner.spawn(async move {
            inside.say(format!("inner at {}", now().as_nanos()));
            let deeper = inside.clone();
            spawn(async move {
                deeper.say("spawned inside");
                Ok(())
            })
            .detach();
            Ok(())
        });
        assert_eq!(batch(&inner), (1, Next::Ready));
        assert_eq!((current().id(), now()), (me, Instant::ZERO + secs(100)));
        spawn(async { Ok(()) }).detach(); // on the outer one
        assert_eq!(batch(&inner), (1, Next::Empty));
        inner_task.await?;
        Ok(inner.ledger())
    });
    let turn = outer.run_until_idle();
    assert_eq!((turn.polled, turn.next), (2, Next::Empty));
    assert_eq!(said.lines(), ["inner at 0", "spawned inside"]);
    assert_eq!(task.result().unwrap().spawned, 2);
    assert_eq!(outer.ledger().spawned, 2);
}

// promise 8.3
#[test]
fn another_executor_may_block_on_something_inside_a_poll() {
    let world = World::new();
    let task = world.executor.spawn(async {
        let inner = World::new();
        let slept = inner.executor.block_on(async {
            let child = spawn(async {
                sleep(secs(3600)).await;
                Ok(7)
            });
            Ok(child.await?)
        })?;
        let name = inner.executor.now();
        inner.close();
        sleep(secs(1)).await;
        Ok((slept, name, now()))
    });
    world.executor.run_until_idle();
    let hour = Instant::ZERO + secs(3600);
    assert_eq!(*task.result().unwrap(), (7, hour, Instant::ZERO + secs(1)));
    drop(task);
    world.close();
}

// promise 7.2, 8.3
#[test]
fn tasks_of_nested_executors_wake_each_other() {
    let ((outer, _), (inner, _)) = (still(), still());
    let (to_inner, to_outer, said) = (Gate::new(), Gate::new(), Transcript::new());
    let (pass, open, saying) = (to_inner.clone(), to_outer.clone(), said.clone());
    let inside = inner.spawn(async move {
        pass.pass().await;
        saying.say("inner");
        open.open();
        Ok(())
    });
    inner.run_until_idle();
    let saying = said.clone();
    let waits = outer.spawn(async move {
        to_outer.pass().await;
        saying.say("outer");
        Ok(())
    });
    outer.run_until_idle();
    let turns = outer.spawn(async move {
        to_inner.open(); // wakes a task of an executor whose turn it is not
        assert_eq!(inner.turn(Budget::Batch).polled, 1); // wakes one of ours from inside
        Ok(())
    });
    outer.run_until_idle();
    assert_eq!(said.lines(), ["inner", "outer"]);
    assert!(inside.is_finished() && waits.is_finished() && turns.is_finished());
}

// ---- Spawning from elsewhere -------------------------------------------------------------------

// promise 7.3
#[test]
fn the_spawn_traits_of_futures_spawn_tasks() {
    let world = World::new();
    let done = Rc::new(Cell::new(0));
    let add = done.clone();
    let local: &dyn LocalSpawn = &world.executor;
    local.spawn_local(async move { add.set(add.get() + 1) }).expect("it is open");
    assert_eq!(done.get(), 0, "not polled yet");
    let spawner = world.executor.spawner();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    elsewhere(|| {
        let remote: &dyn Spawn = &spawner;
        remote.status().expect("it is open");
        let work = async move {
            count.fetch_add(1, Ordering::SeqCst);
        };
        remote.spawn(work).expect("it is open");
    });
    local.status_local().expect("it is open");
    let handle = local.spawn_local_with_handle(async { 7 }).expect("it is open");
    world.executor.run_until_idle();
    assert_eq!((done.get(), sent.load(Ordering::SeqCst)), (1, 1));
    assert!(matches!(world.executor.block_on(async { Ok(handle.await) }), Ok(7)));

    world.executor.shut_down();
    assert!(local.status_local().unwrap_err().is_shutdown());
    assert!(local.spawn_local(async {}).unwrap_err().is_shutdown());
    assert!(spawner.status().unwrap_err().is_shutdown());
    assert!(spawner.spawn(async {}).unwrap_err().is_shutdown());
    world.close();
    assert!(spawner.status().unwrap_err().is_shutdown(), "the executor is gone");
}

// promise 7.3, 8.1
#[test]
fn whatever_threads_spawn_is_run_in_the_order_of_each_thread() {
    const THREADS: usize = 4;
    const EACH: usize = 250;
    thread_local! {
        static SAID: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
    }
    let world = World::new();
    let spawner = world.executor.spawner();
    thread::scope(|threads| {
        for thread in 0..THREADS {
            let spawner = spawner.clone();
            threads.spawn(move || {
                for number in 0..EACH {
                    // The future is made over there, and need not be Send.
                    let make = move || {
                        let place = Rc::new((thread, number));
                        async move {
                            SAID.with_borrow_mut(|said| said.push(*place));
                            Ok(())
                        }
                    };
                    spawner.spawn_with(make).expect("it is open");
                }
            });
        }
        // Some of it while they are at it.
        for _ in 0..10 {
            world.executor.turn(Budget::Batch);
        }
    });
    assert_eq!(world.executor.run_until_idle().next, Next::Empty);
    let said = SAID.take();
    for thread in 0..THREADS {
        let numbers = said.iter().filter(|said| said.0 == thread).map(|said| said.1);
        assert!(numbers.eq(0..EACH), "thread {thread}");
    }
    let ledger = world.executor.ledger();
    assert_eq!(ledger.succeeded, (THREADS * EACH) as u64);
    world.close();
}

// promise 3.6, 8.1
#[test]
fn a_panic_of_what_makes_the_future_is_the_tasks_and_is_reported() {
    let world = World::new();
    let spawner = world.executor.spawner();
    elsewhere(|| {
        let make = || -> std::future::Ready<anyhow::Result<()>> { panic!("no future") };
        spawner.spawn_with(make).expect("it is open");
        spawner.spawn_with(|| async { Ok(()) }).expect("it is open");
        spawner.spawn_with(failing).expect("it is open");
    });
    hushed(|| world.executor.run_until_idle());
    let notes = world.heard.notes();
    let heard: Vec<_> = notes.iter().map(|note| (note.kind, note.error.as_deref())).collect();
    let kind = ReportKind::NeverRetrieved;
    assert_eq!(heard, [(kind, Some("panicked: no future")), (kind, Some("pouring: spilled tea"))]);
    assert_eq!(world.executor.ledger().succeeded, 1);
    world.close();
}

// promise 8.1
#[test]
fn what_was_sent_to_an_executor_too_late_is_dropped_and_reported_or_refused() {
    let world = World::new();
    let spawner = world.executor.spawner();
    let too_late = Arc::new(());
    let kept = too_late.clone();
    // Taken, and then the executor is dropped before its next turn.
    let make = move || async move {
        let _kept = kept;
        Ok(())
    };
    spawner.spawn_with(make).expect("it is open");
    let World { executor, heard, .. } = world;
    drop(executor);
    assert_eq!(Arc::strong_count(&too_late), 1);
    assert_eq!(heard.kinds(), [ReportKind::Refused]);
    let kept = too_late.clone();
    let make = move || async move {
        let _kept = kept;
        Ok(())
    };
    assert_eq!(spawner.spawn_with(make), Err(hearken::Closed));
    assert_eq!(Arc::strong_count(&too_late), 1);
}
