//! Wakers: whoever is woken is polled, and whoever holds a waker too long does
//! no harm with it.

mod common;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::foreign::{Foreign, Op};
use common::{
    OnDrop, Random, World, assert_balances, every_order, hushed, poll_once, secs, waiting,
};
use hearken::{
    Budget, Executor, Interrupter, ManualClock, Next, Report, ReportKind, RunError, Spawner,
    SystemClock, Task, TaskInfo, Verdict, scope, sleep, timeout,
};

/// How long to wait for another thread before a wake counts as lost.
const LONG: Duration = Duration::from_secs(60);

/// What a task that waits to be woken shares with the test, and its threads.
#[derive(Clone, Default)]
struct Sleeper(Arc<Bed>);

#[derive(Default)]
struct Bed {
    polls: AtomicUsize,
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Sleeper {
    /// A sleeper in a task, which was polled once and waits.
    fn on(executor: &Executor) -> (Sleeper, Task<()>) {
        let sleeper = Sleeper::default();
        let task = executor.spawn(sleeper.clone().sleep());
        executor.run_until_idle();
        assert_eq!(sleeper.polls(), 1);
        (sleeper, task)
    }

    async fn sleep(self) -> anyhow::Result<()> {
        poll_fn(|cx| {
            self.0.polls.fetch_add(1, Ordering::SeqCst);
            *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
            match self.0.over.load(Ordering::SeqCst) {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// The waker of the last poll.
    fn waker(&self) -> Waker {
        self.0.waker.lock().unwrap().clone().expect("it was polled")
    }

    fn end(&self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.waker().wake();
    }
}

fn batch(executor: &Executor) -> (usize, Next) {
    let turn = executor.turn(Budget::Batch);
    (turn.polled, turn.next)
}

/// Does it on another thread, and waits until that has ended.
fn elsewhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|threads| threads.spawn(work).join().expect("the other thread is well"))
}

fn mute(_: &Report) -> Verdict {
    Verdict::Proceed
}

fn muted() -> Executor {
    Executor::builder().clock(ManualClock::new()).handler(mute).build()
}

/// A task that wakes `waker` in its only poll, on the executor's own thread.
fn wakes_in_a_turn(executor: &Executor, waker: Waker) {
    let work = async move {
        waker.wake_by_ref();
        waker.wake();
        Ok(())
    };
    executor.spawn(work).detach();
}

// ---- Woken is polled --------------------------------------------------------------

// promise 7.1, 7.2
#[test]
fn a_task_that_wakes_itself_in_its_poll_is_polled_in_the_next_batch() {
    let world = World::new();
    let mut left = 3;
    let task = world.executor.spawn(poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(Ok(()));
        }
        left -= 1;
        let waker = cx.waker().clone();
        waker.wake_by_ref();
        waker.wake();
        Poll::Pending
    }));
    for _ in 0..3 {
        assert_eq!(batch(&world.executor), (1, Next::Ready));
    }
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_task_that_was_woken_many_times_is_polled_once() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    wakes_in_a_turn(&world.executor, sleeper.waker());
    (0..10).for_each(|_| sleeper.waker().wake());
    elsewhere(|| (0..10).for_each(|_| sleeper.waker().wake()));
    world.executor.run_until_idle();
    assert_eq!(sleeper.polls(), 2);
    drop(task);
    world.close();
}

// promise 7.1, 7.2
#[test]
fn a_task_that_a_sibling_wakes_is_polled_in_the_next_batch() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    wakes_in_a_turn(&world.executor, sleeper.waker());
    assert_eq!(batch(&world.executor), (1, Next::Ready));
    assert_eq!(sleeper.polls(), 1);
    assert_eq!(batch(&world.executor), (1, Next::Waiting));
    assert_eq!(sleeper.polls(), 2);
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_wake_outside_of_a_turn_is_taken_in_by_the_next_one() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    sleeper.waker().wake();
    assert_eq!(sleeper.polls(), 1, "not inside of wake");
    assert_eq!(batch(&world.executor), (1, Next::Waiting));
    elsewhere(|| sleeper.waker().wake());
    assert_eq!(batch(&world.executor), (1, Next::Waiting));
    elsewhere(|| sleeper.waker().wake_by_ref());
    assert_eq!(batch(&world.executor), (1, Next::Waiting));
    sleeper.end();
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_wake_from_another_thread_during_the_poll_is_not_lost() {
    let world = World::new();
    let mut polls = 0;
    let task = world.executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 100 {
            return Poll::Ready(Ok(polls));
        }
        let waker = cx.waker().clone();
        elsewhere(|| waker.wake());
        Poll::Pending
    }));
    for _ in 1..100 {
        assert_eq!(batch(&world.executor), (1, Next::Ready));
    }
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    assert_eq!(*task.result().unwrap(), 100);
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_wake_at_the_very_moment_of_parking_is_not_lost() {
    const ROUNDS: u64 = 2_000;
    let executor = Executor::builder().clock(SystemClock::new()).build();
    let answered = Arc::new(AtomicU64::new(0));
    let (asks, asked) = mpsc::channel::<(u64, Waker)>();
    let echo = thread::spawn({
        let answered = answered.clone();
        move || {
            for (round, waker) in asked {
                answered.store(round, Ordering::Relaxed); // the wake publishes it
                waker.wake();
            }
        }
    });
    let main = async move {
        for round in 1..=ROUNDS {
            let mut asked = false;
            poll_fn(|cx| {
                if answered.load(Ordering::Relaxed) == round {
                    return Poll::Ready(());
                }
                if !std::mem::replace(&mut asked, true) {
                    asks.send((round, cx.waker().clone())).expect("the echo is there");
                }
                Poll::Pending
            })
            .await;
        }
    };
    let answer = executor.block_on(async {
        timeout(LONG, main).await?;
        Ok(())
    });
    assert!(answer.is_ok(), "a wake was lost: {answer:?}");
    echo.join().expect("the echo is well");
    assert_balances(&executor);
}

// promise 6.4, 7.2
#[test]
fn a_task_that_cleans_up_during_shutdown_is_woken_as_ever() {
    // One wakes itself, one is woken during its poll, one while the thread is parked.
    let executor =
        Executor::builder().clock(SystemClock::new()).handler(mute).grace(Some(LONG)).build();
    let cleaned = Rc::new(Cell::new(0));
    let (threads, started) = mpsc::channel::<thread::JoinHandle<()>>();
    for way in 0..3 {
        let (cleaned, threads) = (cleaned.clone(), threads.clone());
        let work = async move {
            let Err(cancelled) = scope(pending::<()>()).await else { return Ok(()) };
            let over = Arc::new(AtomicBool::new(false));
            let mut begun = false;
            poll_fn(|cx| {
                if over.load(Ordering::SeqCst) {
                    return Poll::Ready(());
                }
                if !std::mem::replace(&mut begun, true) {
                    let (over, waker) = (over.clone(), cx.waker().clone());
                    let wake = move || {
                        over.store(true, Ordering::SeqCst);
                        waker.wake();
                    };
                    match way {
                        0 => wake(),
                        1 => elsewhere(wake),
                        _ => threads.send(thread::spawn(wake)).expect("the test is there"),
                    }
                }
                Poll::Pending
            })
            .await;
            cleaned.set(cleaned.get() + 1);
            Err::<(), _>(cancelled.into())
        };
        executor.spawn(work).detach();
    }
    executor.run_until_idle();
    let shutdown = executor.shut_down();
    assert_eq!((cleaned.get(), shutdown.dropped), (3, 0));
    drop(threads);
    started.iter().for_each(|thread| thread.join().expect("it is well"));
    common::assert_settled(&executor);
}

// ---- Wakers that are held too long ------------------------------------------------

// promise 7.2
#[test]
fn a_waker_of_a_task_that_has_ended_does_nothing() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    let waker = sleeper.waker();
    sleeper.end();
    world.executor.run_until_idle();
    let polls = sleeper.polls();
    waker.wake_by_ref();
    assert_eq!(batch(&world.executor), (0, Next::Empty));
    elsewhere(|| waker.wake_by_ref());
    assert_eq!(batch(&world.executor), (0, Next::Empty));
    wakes_in_a_turn(&world.executor, waker);
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    assert_eq!(sleeper.polls(), polls);
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_task_that_ends_although_it_was_woken_is_not_polled_again() {
    let world = World::new();
    let task = world.executor.spawn(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        let waker = cx.waker().clone();
        elsewhere(|| waker.wake());
        Poll::Ready(Ok(()))
    }));
    assert_eq!(batch(&world.executor).0, 1);
    let turn = world.executor.run_until_idle();
    assert_eq!((turn.polled, turn.next), (0, Next::Empty));
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_stale_waker_gives_the_next_tenant_of_the_slot_at_most_a_spurious_poll() {
    let world = World::new();
    for round in 0..100 {
        let (old, ended) = Sleeper::on(&world.executor);
        let stale = old.waker();
        old.end();
        world.executor.run_until_idle();
        drop(ended);
        // The slot is free, and this one moves in.
        let (tenant, task) = Sleeper::on(&world.executor);
        match round % 3 {
            0 => elsewhere(|| stale.wake()),
            1 => stale.wake(),
            _ => {
                wakes_in_a_turn(&world.executor, stale);
                world.executor.run_until_idle();
                assert_eq!(tenant.polls(), 1, "in a turn nobody is disturbed");
            }
        }
        world.executor.run_until_idle();
        assert!(tenant.polls() <= 2, "{}", tenant.polls());
        assert!(!task.is_finished());
        tenant.end();
        world.executor.run_until_idle();
        assert!(task.is_finished());
    }
    world.close();
}

// promise 7.2
#[test]
fn a_stale_waker_does_not_swallow_the_wake_of_the_next_tenant() {
    let world = World::new();
    let (old, ended) = Sleeper::on(&world.executor);
    let stale = old.waker();
    old.end();
    world.executor.run_until_idle();
    let (tenant, task) = Sleeper::on(&world.executor);
    // Whichever came first, the tenant's own wake counts.
    for stale_first in [true, false] {
        let before = tenant.polls();
        elsewhere(|| {
            let (mut first, mut second) = (tenant.waker(), stale.clone());
            if stale_first {
                std::mem::swap(&mut first, &mut second);
            }
            first.wake();
            second.wake();
        });
        world.executor.run_until_idle();
        assert!((before + 1..=before + 2).contains(&tenant.polls()));
    }
    tenant.end();
    world.executor.run_until_idle();
    // A stale wake that lies in the inbox from before the tenant moved in.
    elsewhere(|| stale.wake_by_ref());
    let next = Sleeper::default();
    let another = world.executor.spawn(next.clone().sleep());
    world.executor.run_until_idle();
    assert!((1..=2).contains(&next.polls()));
    next.end();
    world.executor.run_until_idle();
    assert!(another.is_finished());
    drop((ended, task, another));
    world.close();
}

// promise 7.2
#[test]
fn a_waker_that_outlives_its_executor_is_harmless() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    let waker = sleeper.waker();
    drop(task);
    world.close();
    waker.wake_by_ref();
    elsewhere(|| waker.wake_by_ref());
    // Whoever moves in next has spurious polls at most.
    let next = World::new();
    let (tenant, task) = Sleeper::on(&next.executor);
    waker.wake_by_ref();
    elsewhere(|| waker.wake_by_ref());
    next.executor.run_until_idle();
    assert!((1..=2).contains(&tenant.polls()));
    wakes_in_a_turn(&next.executor, waker);
    next.executor.run_until_idle();
    tenant.end();
    next.executor.run_until_idle();
    assert!(task.is_finished());
    assert_eq!(sleeper.polls(), 1);
    drop(task);
    next.close();
}

// promise 7.2
#[test]
fn a_wake_may_race_with_the_drop_of_the_executor() {
    const ROUNDS: usize = 2_000;
    let (to_wake, wakers) = mpsc::sync_channel::<(Waker, u64)>(0);
    let started = Arc::new(AtomicUsize::new(0));
    let rouser = thread::spawn({
        let started = started.clone();
        move || {
            for (waker, spins) in wakers {
                started.fetch_add(1, Ordering::SeqCst);
                (0..spins).for_each(|_| std::hint::spin_loop());
                waker.wake_by_ref();
                waker.wake();
            }
        }
    });
    let (mut random, dropped) = (Random(7), Rc::new(Cell::new(0)));
    for round in 1..=ROUNDS {
        let executor = muted();
        let count = dropped.clone();
        let guard = OnDrop(move || count.set(count.get() + 1));
        let sleeper = Sleeper::default();
        let work = sleeper.clone().sleep();
        let task = executor.spawn(async move {
            let _guard = guard;
            work.await
        });
        executor.run_until_idle();
        assert!((1..=3).contains(&sleeper.polls()), "at most the stale wakes of the round before");
        to_wake.send((sleeper.waker(), random.next() % 200)).expect("the rouser is there");
        while started.load(Ordering::SeqCst) < round {
            std::hint::spin_loop();
        }
        (0..random.below(200)).for_each(|_| std::hint::spin_loop());
        drop((executor, task));
        assert_eq!(dropped.get(), round);
    }
    drop(to_wake);
    rouser.join().expect("the rouser is well");
}

// ---- Clones -----------------------------------------------------------------------

/// What can be done with two wakers of one task.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Clone,
    Wake(usize),
    WakeByRef(usize),
    Drop(usize),
}

/// Does what can be done of `deeds`. True if the task was woken.
fn perform(deeds: &[Deed], waker: Waker) -> bool {
    let mut wakers = [Some(waker), None];
    let mut woken = false;
    for &deed in deeds {
        match deed {
            Deed::Clone => wakers[1] = wakers[0].clone(),
            Deed::Wake(which) => woken |= wakers[which].take().map(Waker::wake).is_some(),
            Deed::WakeByRef(which) => {
                woken |= wakers[which].as_ref().map(Waker::wake_by_ref).is_some();
            }
            Deed::Drop(which) => wakers[which] = None,
        }
    }
    woken
}

// promise 7.2
#[test]
fn wakers_may_be_cloned_woken_and_dropped_in_any_order() {
    let mut deeds = vec![Deed::Clone];
    (0..2).for_each(|which| {
        deeds.extend([Deed::Wake(which), Deed::WakeByRef(which), Deed::Drop(which)]);
    });
    let mut orders = Vec::new();
    every_order(&deeds, &mut |order| orders.push(order.to_vec()));
    for way in ["here", "elsewhere", "in a turn"] {
        let executor = muted();
        let sleepers: Vec<_> = orders.iter().map(|_| Sleeper::default()).collect();
        for sleeper in &sleepers {
            executor.spawn(sleeper.clone().sleep()).detach();
        }
        executor.run_until_idle();
        let wakers: Vec<_> = sleepers.iter().map(Sleeper::waker).collect();
        let act = || -> Vec<bool> {
            orders.iter().zip(wakers).map(|(order, waker)| perform(order, waker)).collect()
        };
        let woken = match way {
            "here" => act(),
            "elsewhere" => elsewhere(act),
            _ => executor.block_on(async { Ok(act()) }).expect("nothing fails"),
        };
        executor.run_until_idle();
        for ((order, sleeper), woken) in orders.iter().zip(&sleepers).zip(woken) {
            assert_eq!(sleeper.polls(), 1 + usize::from(woken), "{way}: {order:?}");
        }
    }
}

// promise 7.2
#[test]
fn a_hundred_thousand_clones_wake_their_task_once() {
    let world = World::new();
    let (sleeper, task) = Sleeper::on(&world.executor);
    let clones = vec![sleeper.waker(); 100_000];
    let more = clones.clone();
    elsewhere(move || more.into_iter().for_each(Waker::wake));
    assert_eq!(batch(&world.executor), (1, Next::Waiting));
    drop(clones);
    assert_eq!(batch(&world.executor), (0, Next::Waiting));
    sleeper.end();
    assert_eq!(batch(&world.executor), (1, Next::Empty));
    drop(task);
    world.close();
}

// promise 7.2
#[test]
fn a_clone_will_wake_the_same_task_and_no_other() {
    let (world, other) = (World::new(), World::new());
    let (one, first) = Sleeper::on(&world.executor);
    let (two, second) = Sleeper::on(&world.executor);
    let (three, third) = Sleeper::on(&other.executor);
    let waker = one.waker();
    assert!(waker.will_wake(&waker.clone()));
    assert!(waker.clone().will_wake(&waker));
    assert!(!waker.will_wake(&two.waker()));
    assert!(!waker.will_wake(&three.waker()), "the same slot of another executor");
    assert!(!waker.will_wake(Waker::noop()));
    if cfg!(all(target_pointer_width = "64", not(hearken_arc_waker))) {
        waker.wake_by_ref();
        world.executor.run_until_idle();
        assert!(waker.will_wake(&one.waker()), "that of the next poll is the same");
    }
    drop((first, second, third));
    world.close();
    other.close();
}

// ---- Foreign wakers that panic ----------------------------------------------------

fn panics(op: Op) -> Foreign {
    Foreign::that(op, || panic!("a foreign waker"))
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls with it; does the poll panic?
fn poll_panics(task: &mut Task<u32>, waker: &Waker) -> bool {
    let poll = AssertUnwindSafe(|| poll_with(task, waker).is_pending());
    hushed(|| catch_unwind(poll)).map(|pending| assert!(pending)).is_err()
}

/// A task that ends in a second, with seven.
fn slow(world: &World) -> Task<u32> {
    let task = world.executor.spawn(async {
        sleep(secs(1)).await;
        Ok(7)
    });
    world.executor.turn(Budget::Batch);
    task
}

#[track_caller]
fn assert_seven(mut task: Task<u32>) {
    assert!(matches!(poll_once(&mut task), Poll::Ready(Ok(7))));
}

// promise 8.3
#[test]
fn an_awaiter_that_panics_when_cloned_panics_at_its_own_poll_only() {
    let world = World::new();
    let mut task = slow(&world);
    let foreign = panics(Op::Clone);
    assert!(poll_panics(&mut task, &foreign.waker()));
    assert_eq!(foreign.alive(), 0);
    world.executor.run_until_idle();
    assert_seven(task);
    assert!(world.close().notes().is_empty());
}

// promise 8.3
#[test]
fn an_awaiter_that_panics_when_woken_is_reported_and_the_others_run_on() {
    let world = World::new();
    let (mut task, other) = (slow(&world), slow(&world));
    let foreign = panics(Op::Wake);
    assert!(!poll_panics(&mut task, &foreign.waker()));
    hushed(|| world.executor.run_until_idle());
    assert_eq!((foreign.count(Op::Wake), foreign.alive()), (1, 0));
    assert_eq!(world.heard.kinds(), [ReportKind::CallbackPanicked]);
    assert_seven(task);
    assert_seven(other);
    assert!(world.close().notes().is_empty());
}

// promise 8.3
#[test]
fn an_awaiter_that_panics_when_dropped_harms_nobody_but_who_dropped_it() {
    for way in ["replaced", "dropped with the handle", "woken"] {
        let world = World::new();
        let (mut task, other) = (slow(&world), slow(&world));
        let (foreign, next) = (panics(Op::Drop), Foreign::new());
        let own = foreign.waker();
        assert!(!poll_panics(&mut task, &own));
        assert_eq!(foreign.alive(), 2);
        match way {
            "replaced" => {
                let _perhaps = poll_panics(&mut task, &next.waker());
                world.executor.run_until_idle();
                assert_eq!(next.count(Op::Wake), 1, "it stands in the other's place");
                assert_seven(task);
            }
            "woken" => {
                hushed(|| world.executor.run_until_idle());
                assert_eq!(foreign.count(Op::Wake), 1);
                assert_seven(task);
            }
            _ => {
                let _perhaps = hushed(|| catch_unwind(AssertUnwindSafe(|| drop(task))));
                world.executor.run_until_idle();
                assert_eq!(foreign.count(Op::Wake), 0, "nobody waits any more");
            }
        }
        foreign.quieten();
        drop(own);
        assert_eq!((foreign.alive(), next.alive()), (0, 0), "{way}");
        assert_seven(other);
        world.close();
    }
}

// promise 8.3
#[test]
fn a_timer_whose_foreign_waker_panics_lets_the_next_timer_fire() {
    let world = World::new();
    let mut maker = world.executor.spawn(async { Ok(Box::pin(sleep(secs(1)))) });
    world.executor.turn(Budget::Batch);
    let mut timer = maker.take().expect("it has ended").expect("nothing fails");
    let foreign = panics(Op::Wake);
    assert!(poll_with(&mut timer, &foreign.waker()).is_pending());
    let task = slow(&world);
    hushed(|| world.executor.run_until_idle());
    assert_eq!(foreign.count(Op::Wake), 1);
    assert_eq!(world.heard.kinds(), [ReportKind::CallbackPanicked]);
    assert!(poll_once(&mut timer).is_ready());
    assert_seven(task);
    drop((maker, timer));
    world.close();
}

// promise 8.3
#[test]
fn a_foreign_waker_may_wake_spawn_and_cancel_while_it_is_woken() {
    let world = World::new();
    let (sleeper, sleeping) = Sleeper::on(&world.executor);
    let victim = world.executor.spawn(waiting(|| ()));
    let (mut task, mut again) = (slow(&world), slow(&world));
    let (waker, spawner) = (sleeper.waker(), world.executor.spawner());
    let foreign = Foreign::that(Op::Wake, move || {
        waker.wake_by_ref();
        spawner.spawn_with(|| async { Ok(()) }).expect("it is open");
        hearken::spawn(async { Ok(()) }).detach();
        victim.cancel();
    });
    assert!(poll_with(&mut task, &foreign.waker()).is_pending());
    assert!(poll_with(&mut again, &foreign.waker()).is_pending());
    world.executor.run_until_idle();
    assert!(sleeper.polls() > 1);
    let ledger = world.executor.ledger();
    assert_eq!((ledger.live, ledger.cancelled, ledger.spawned), (1, 1, 8));
    drop((sleeping, foreign));
    assert_seven(task);
    assert_seven(again);
    world.close();
}

// ---- Which thread -----------------------------------------------------------------

/// Does not compile if a type is `Send`: then both impls fit.
macro_rules! assert_not_send {
    ($($type:ty),+ $(,)?) => {$({
        trait Ambiguous<Which> {
            fn chosen() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        #[allow(dead_code)] // only its name is needed
        struct IsSend;
        impl<T: ?Sized + Send> Ambiguous<IsSend> for T {}
        <$type as Ambiguous<_>>::chosen();
    })+};
}

// promise 8.4
#[test]
fn what_belongs_to_a_thread_cannot_leave_it() {
    assert_not_send!(Executor, Task<()>, Task<u32>, ManualClock, hearken::TaskRef);
    assert_not_send!(hearken::Builder, hearken::Sleep, hearken::CancelOnDrop<()>);
}

// promise 8.1, 8.4
#[test]
fn what_is_for_other_threads_can_go_there() {
    fn send<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Waker>();
    shared::<Spawner>();
    shared::<Interrupter>();
    shared::<TaskInfo>();
    send::<Report>();
    send::<RunError>();
    send::<hearken::TaskError>();
    send::<hearken::Ledger>();
    send::<SystemClock>();
}
