//! Many of everything, for long: what the table at the end of `docs/reliability.md`
//! wants an executor to survive.
//!
//! Bytes are counted by the allocator, on the executor's thread. By `cargo test` the
//! numbers are small; with `HEARKEN_LONG=1` in the environment, in an optimized
//! build, they are those of the table, and it takes a minute or two:
//! `bash tests/long.sh 1 0 --release`. Each test prints what it has done.

mod common;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/long.rs"]
mod long;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Random, assert_balances, assert_settled, hushed, secs};
use counting::bytes;
use hearken::{
    Budget, Executor, Instant, ManualClock, Next, Panicked, Report, ReportKind, Task, TaskRef,
    Verdict, scope, sleep, sleep_until, spawn, timeout, yield_now,
};
use long::times;

/// How long to wait for another thread before a wake counts as lost.
const LONG: Duration = Duration::from_secs(60);

fn mute(_: &Report) -> Verdict {
    Verdict::Proceed
}

/// An executor on a clock that jumps, whose handler says nothing.
fn muted() -> Executor {
    Executor::builder().clock(ManualClock::auto()).handler(mute).build()
}

// ---- Wakes ------------------------------------------------------------------------

/// What the tasks of the storm see.
struct Storm {
    /// Before each wake somebody adds to these.
    done: Arc<Vec<AtomicUsize>>,
    /// What the last poll of each found there.
    seen: RefCell<Vec<usize>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Storm {
    /// A task that never ends; at some of its polls it wakes the one before it.
    fn task(self: Rc<Storm>, number: usize) -> impl Future<Output = anyhow::Result<()>> {
        let mut polls = 0_usize;
        poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                self.wakers.borrow_mut().push(cx.waker().clone());
            } else if polls.is_multiple_of(8) && number > 0 {
                self.wakers.borrow()[number - 1].wake_by_ref();
            }
            // A wake publishes it.
            self.seen.borrow_mut()[number] = self.done[number].load(Ordering::Relaxed);
            Poll::Pending
        })
    }
}

// promise 7.2, 8.1
#[test]
fn in_a_storm_of_wakes_from_four_threads_none_is_lost_and_the_queue_stays_short() {
    const THREADS: usize = 4;
    const TASKS: usize = 1_000;
    let wakes = times(100_000, 10_000_000) as usize / THREADS;
    let (rings, rung) = mpsc::channel();
    let executor = Executor::builder()
        .clock(ManualClock::new())
        .handler(mute)
        .on_wake(move || {
            let _the_test_may_have_failed = rings.send(());
        })
        .build();
    let storm = Rc::new(Storm {
        done: Arc::new((0..TASKS).map(|_| AtomicUsize::new(0)).collect()),
        seen: RefCell::new(vec![0; TASKS]),
        wakers: RefCell::default(),
    });
    for number in 0..TASKS {
        executor.spawn(storm.clone().task(number)).detach();
    }
    executor.run_until_idle();
    rung.try_iter().for_each(drop); // of the spawns
    let before = bytes();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (done, wakers) = (storm.done.clone(), storm.wakers.borrow().clone());
            thread::spawn(move || {
                let mut random = Random(thread as u64);
                for _ in 0..wakes {
                    let task = random.below(TASKS);
                    done[task].fetch_add(1, Ordering::Relaxed);
                    wakers[task].wake_by_ref();
                }
            })
        })
        .collect();
    let (mut turns, mut polls, mut waits) = (0, 0, 0);
    let mut next = Next::Waiting;
    while storm.seen.borrow().iter().sum::<usize>() < THREADS * wakes {
        if next != Next::Ready {
            // Who was told that there is nothing to do hears the bell, once.
            rung.recv_timeout(LONG).expect("no wake is lost");
            waits += 1;
        }
        assert!(rung.try_recv().is_err(), "once, and only who waits");
        let turn = executor.turn(Budget::Batch);
        assert!(turn.polled <= TASKS, "each stands in the queue once");
        next = turn.next;
        turns += 1;
        polls += turn.polled;
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it is well"));
    let last: Vec<_> = storm.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
    assert_eq!(*storm.seen.borrow(), last, "a poll follows the last wake of each");
    executor.run_until_idle();
    let grown = bytes() - before;
    println!(
        "storm: {} wakes, {turns} turns, {polls} polls, {waits} waits, {grown} bytes more",
        THREADS * wakes
    );
    assert!(grown < 128 << 10, "{grown} bytes");
    assert_balances(&executor);
}

/// Waits for its own wake, again and again, until it is told to end.
#[derive(Default)]
struct Tenant {
    polls: Cell<u32>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Tenant {
    async fn stay(self: Rc<Tenant>) -> anyhow::Result<()> {
        poll_fn(|cx| {
            self.polls.set(self.polls.get() + 1);
            if self.over.get() {
                return Poll::Ready(Ok(()));
            }
            if self.waker.borrow().is_none() {
                self.waker.replace(Some(cx.waker().clone()));
            }
            Poll::Pending
        })
        .await
    }

    /// Ends at its next poll, which is now due.
    fn end(&self) {
        self.over.set(true);
        self.waker.borrow().as_ref().expect("it was polled").wake_by_ref();
    }
}

/// Takes turns until that is so. Answers how often it was not so at once: another
/// thread may have left a slot at the door, and not have rung yet.
fn run_until(executor: &Executor, so: impl Fn() -> bool) -> u64 {
    let (began, mut waits) = (std::time::Instant::now(), 0);
    loop {
        executor.run_until_idle();
        if so() {
            return waits;
        }
        waits = 1;
        assert!(began.elapsed() < LONG, "a wake was lost");
        thread::yield_now();
    }
}

/// What is left of the one who had the slot before.
struct Stale {
    waker: Waker,
    handle: Task<()>,
    look: TaskRef,
}

/// All tenants but one have the same slot. Names have 24 bits of a serial, so in the
/// long form one of the tenants has the very waker of the first.
// promise 7.2, 10.7
#[test]
fn what_is_left_of_a_task_does_nothing_to_those_who_have_its_slot_later() {
    let tenants = times(20_000, (1 << 24) + 100_000);
    let executor = Executor::builder().clock(ManualClock::new()).handler(mute).build();
    let stop = Arc::new(AtomicBool::new(false));
    let (gives, given) = mpsc::channel::<Waker>();
    // Another thread uses the first one's waker, all the time.
    let mut rouser = Some(thread::spawn({
        let stop = stop.clone();
        move || {
            let waker = given.recv().expect("there is one");
            let mut wakes = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                waker.wake_by_ref();
                (0..200).for_each(|_| std::hint::spin_loop());
                wakes += 1;
            }
            wakes
        }
    }));
    let first_waker = Rc::new(RefCell::new(None::<Waker>));
    let stale = Rc::new(RefCell::new(None::<Stale>));
    // In a turn wakes go by the name, and not by the slot.
    let now = Rc::new(RefCell::new(None::<Waker>));
    let (first, asked) = (first_waker.clone(), Rc::new(Cell::new(false)));
    let (left, asks, keeps) = (stale.clone(), asked.clone(), now.clone());
    let nag = poll_fn(move |cx| {
        keeps.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        if asks.take() {
            if let Some(first) = &*first.borrow() {
                first.wake_by_ref();
            }
            if let Some(stale) = &*left.borrow() {
                stale.waker.wake_by_ref();
                assert!(!stale.handle.cancel() && !stale.look.cancel_with("late"));
                stale.handle.uncancel();
            }
        }
        Poll::<anyhow::Result<()>>::Pending
    });
    executor.spawn(nag).detach();
    executor.run_until_idle();
    let nag = now.take().expect("it was polled");

    let (mut wakes, mut spurious, mut late, mut before) = (None, 0_u64, 0, 0);
    for number in 0..tenants {
        let tenant = Rc::new(Tenant::default());
        let task = executor.spawn(tenant.clone().stay());
        if number == tenants / 2 {
            stop.store(true, Ordering::Relaxed);
            wakes = rouser.take().map(|rouser| rouser.join().expect("it is well"));
        }
        if number.is_multiple_of(2) {
            executor.run_until_idle();
        }
        asked.set(true);
        nag.wake_by_ref();
        let outside = number % 4 >= 2;
        if let Some(stale) = stale.borrow().as_ref().filter(|_| outside) {
            stale.waker.wake_by_ref();
        }
        late += run_until(&executor, || !asked.get());
        assert!(!task.is_finished());
        let polls = tenant.polls.get();
        assert!(polls >= 1);
        if number > tenants / 2 && !outside {
            // In a turn only a namesake of the first is disturbed.
            assert_eq!(polls, 1 + u32::from(number == 1 << 24), "{number}");
        }
        spurious += u64::from(polls - 1);
        tenant.end();
        late += run_until(&executor, || task.is_finished());
        assert!(matches!(task.result(), Ok(())));
        let left = Stale {
            waker: tenant.waker.take().expect("it was polled"),
            look: task.task_ref(),
            handle: task,
        };
        if number == 0 {
            gives.send(left.waker.clone()).expect("the rouser is there");
            first_waker.replace(Some(left.waker.clone()));
        }
        let of_the_same_name = first_waker.borrow().as_ref().unwrap().will_wake(&left.waker);
        if cfg!(all(target_pointer_width = "64", not(hearken_arc_waker))) {
            assert_eq!(of_the_same_name, number % (1 << 24) == 0, "{number}");
        }
        // Polled no more, and neither are they themselves.
        assert!(Rc::strong_count(&tenant) == 1, "its future is gone");
        stale.replace(Some(left));
        if number == 10_000 {
            before = bytes();
        }
    }
    let grown = bytes() - before;
    println!(
        "stale: {tenants} tenants, {} wakes from elsewhere, {spurious} polls for nothing, \
         {late} late, {grown} bytes more",
        wakes.unwrap_or_default()
    );
    assert!(grown < 64 << 10, "{grown} bytes");
    assert_eq!(executor.ledger().succeeded, tenants);
    stale.take();
    executor.shut_down();
    assert_settled(&executor);
}

// ---- Tasks ------------------------------------------------------------------------

/// One of many ends a task can have.
async fn life(number: u64) -> anyhow::Result<u64> {
    match number % 64 {
        3 => sleep(secs(1)).await,
        5 => {
            let _elapsed = timeout(secs(1), scope(pending::<()>())).await;
        }
        7 => anyhow::bail!("spilled {number}"),
        9 => return Ok(*spawn(async move { Ok(number) }).result().unwrap_or(&number)),
        11 => yield_now().await,
        _ => {}
    }
    if number % 65_536 == 13 {
        std::panic::panic_any(number);
    }
    Ok(number)
}

/// In the long form, a hundred million.
// promise 3.5, 7.7
#[test]
fn tasks_that_come_one_after_another_for_long_leave_no_memory_behind() {
    let tasks = times(50_000, 100_000_000);
    let executor = muted();
    let notes_of_memory = Rc::new(RefCell::new(Vec::new()));
    let notes = notes_of_memory.clone();
    let spawns = executor.spawn(async move {
        let (mut cancelled_soon, mut random) = (None::<Task<u64>>, Random(3));
        for number in 0..tasks {
            let task = spawn(life(number));
            match random.below(16) {
                0 => task.detach(),
                1 => drop(task.cancel()),
                2 => task.ignore(),
                4 => {
                    task.on_done(|finished| drop(finished.info()));
                }
                6 => {
                    if let Some(before) = cancelled_soon.replace(task) {
                        before.cancel_with("the next has come");
                    }
                }
                _ => {
                    let _whatever = task.await;
                }
            }
            if number % (tasks / 100) == 0 {
                yield_now().await;
                notes.borrow_mut().push(bytes());
            }
        }
        Ok(())
    });
    hushed(|| while executor.run_until_idle().next == Next::Ready {});
    let error = spawns.error().map(|error| error.map(ToString::to_string));
    assert!(matches!(error, Ok(None)), "{error:?}");
    let notes = notes_of_memory.take();
    let most = notes[2..].iter().max().expect("there are some") - notes[2];
    let ledger = executor.ledger();
    println!("one after another: {tasks} tasks, at most {most} bytes more; {ledger}");
    assert!(most <= 1 << 20, "{notes:?}");
    drop(spawns);
    executor.shut_down();
    assert_settled(&executor);
}

/// How a failure comes to be nobody's.
fn fail(executor: &Executor, number: u64, held: &mut Vec<Task<()>>) {
    let task = executor.spawn(async move {
        match number % 8 {
            1 => yield_now().await,
            2 => std::panic::panic_any(number.to_string()),
            _ => {}
        }
        Err::<(), _>(anyhow::anyhow!("{number}").context("spilled"))
    });
    match number % 5 {
        0..3 => task.detach(),
        3 => held.push(task), // dropped when it has failed
        _ => {
            let keeps = Rc::new(RefCell::new(None));
            let kept = keeps.clone();
            task.on_done(move |_| drop(kept.take()));
            keeps.replace(Some(task));
        }
    }
}

/// In the long form a million.
// promise 3.5, 3.6, 7.7
#[test]
fn of_many_failures_that_nobody_retrieves_each_is_reported_once_and_takes_no_memory() {
    const AT_A_TIME: u64 = 100;
    let failures = times(20_000, 1_000_000);
    let heard = Rc::new(RefCell::new(vec![false; failures as usize]));
    let hears = heard.clone();
    let handler = move |report: &Report| {
        assert_eq!(report.kind(), ReportKind::NeverRetrieved);
        let error = report.error().expect("it failed");
        let number = match error.downcast_ref::<Panicked>() {
            Some(panicked) => panicked.message().parse::<usize>(),
            None => error.root_cause().to_string().parse(),
        };
        let number = number.expect("it is a number");
        assert!(!std::mem::replace(&mut hears.borrow_mut()[number], true), "{number} twice");
        Verdict::Proceed
    };
    let executor = Executor::builder().clock(ManualClock::auto()).handler(handler).build();
    let (mut before, mut most) = (0, 0);
    hushed(|| {
        for number in (0..failures).step_by(AT_A_TIME as usize) {
            let mut held = Vec::new();
            (number..number + AT_A_TIME).for_each(|number| fail(&executor, number, &mut held));
            executor.run_until_idle();
            drop(held);
            executor.run_until_idle();
            assert_balances(&executor);
            if number < failures / 20 {
                before = bytes();
            }
            most = most.max(bytes() - before);
        }
    });
    let ledger = executor.ledger();
    println!("failures: {failures}, at most {most} bytes more; {ledger}");
    assert_eq!((ledger.failed, ledger.reported, ledger.held), (failures, failures, 0));
    assert!(heard.borrow().iter().all(|&heard| heard));
    assert!(most < 64 << 10, "{most} bytes");
    executor.shut_down();
    assert_settled(&executor);
}

/// The same answer as of a task that wakes itself for ever: go on, if you like.
// promise 7.4
#[test]
fn who_runs_until_idle_is_told_when_there_were_too_many_jumps_to_go_through() {
    let executor = muted();
    let sleeps = executor.spawn(async {
        for _ in 0..1_000_010 {
            sleep(secs(1)).await;
        }
        Ok(())
    });
    let turn = executor.run_until_idle();
    assert_eq!((turn.next, sleeps.is_finished()), (Next::Ready, false));
    let turn = executor.run_until_idle();
    assert_eq!((turn.next, sleeps.is_finished()), (Next::Empty, true));
}

// ---- Timers -----------------------------------------------------------------------

/// Many tasks, each with a timer; and who has fired, in order.
struct Timers {
    executor: Executor,
    clock: ManualClock,
    fired: Rc<RefCell<Vec<(Instant, u64)>>>,
    tasks: Vec<Option<Task<()>>>,
}

impl Timers {
    fn set(deadlines: impl Iterator<Item = Instant>) -> Timers {
        let clock = ManualClock::new();
        let executor = Executor::builder().clock(clock.clone()).handler(mute).build();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let tasks = (0..).zip(deadlines).map(|(number, deadline)| {
            let fired = fired.clone();
            Some(executor.spawn(async move {
                sleep_until(deadline).await;
                assert!(hearken::now() >= deadline, "early");
                fired.borrow_mut().push((deadline, number));
                Ok(())
            }))
        });
        let tasks = tasks.collect();
        executor.run_until_idle();
        Timers { executor, clock, fired, tasks }
    }

    /// Goes there, and answers who has fired.
    fn go_to(&self, moment: Instant) -> Vec<(Instant, u64)> {
        self.clock.advance(moment - self.clock.now());
        self.executor.run_until_idle();
        self.fired.take()
    }

    fn cancel(&mut self, number: usize) {
        if let Some(task) = self.tasks[number].take() {
            task.cancel();
        }
    }

    fn close(mut self) {
        self.tasks.clear();
        assert_eq!(self.executor.next_deadline(), None);
        self.executor.shut_down();
        assert_settled(&self.executor);
    }
}

/// In the long form a million.
// promise 7.5
#[test]
fn many_timers_of_one_deadline_fire_in_order_and_not_a_nanosecond_early() {
    let timers = times(20_000, 1_000_000);
    let deadline = Instant::ZERO + secs(86_400);
    let bench = Timers::set((0..timers).map(|_| deadline));
    assert_eq!(bench.executor.next_deadline(), Some(deadline));
    assert!(bench.go_to(deadline - Duration::from_nanos(1)).is_empty(), "early");
    let fired = bench.go_to(deadline);
    assert_eq!(fired.len() as u64, timers);
    assert!(fired.iter().zip(0..).all(|(&fired, number)| fired == (deadline, number)));
    println!("timers: {timers} of one deadline");
    bench.close();
}

/// A moment of some scale: nanoseconds, microseconds, … hours, days.
fn moment(random: &mut Random) -> Instant {
    let scale = 10_u64.pow(random.below(14) as u32 + 1);
    Instant::ZERO + Duration::from_nanos(random.next() % scale + 1)
}

/// In the long form a million.
// promise 7.5
#[test]
fn of_many_random_timers_of_which_half_are_cancelled_the_others_fire_in_exact_order() {
    let timers = times(20_000, 1_000_000);
    let mut random = Random(11);
    let deadlines: Vec<Instant> = (0..timers).map(|_| moment(&mut random)).collect();
    let mut left: Vec<(Instant, u64)> = deadlines.iter().copied().zip(0..).collect();
    left.sort();
    let mut left = left.into_iter().peekable();

    let mut bench = Timers::set(deadlines.iter().copied());
    let mut gone = vec![false; timers as usize];
    let cancel = |count: u64, bench: &mut Timers, gone: &mut [bool], random: &mut Random| {
        for _ in 0..count {
            let number = random.below(timers as usize);
            // Those that have fired are cancelled in vain.
            if deadlines[number] > bench.clock.now() {
                gone[number] = true;
            }
            bench.cancel(number);
        }
        bench.executor.run_until_idle();
    };
    cancel(timers / 3, &mut bench, &mut gone, &mut random);
    let (mut fired, mut steps) = (0, 0);
    loop {
        while left.next_if(|&(_, number)| gone[number as usize]).is_some() {}
        let next = left.peek().map(|&(deadline, _)| deadline);
        assert_eq!(bench.executor.next_deadline(), next);
        let Some(next) = next else { break };
        // To the very moment, or past some; or to the nanosecond before, in vain.
        let now = bench.clock.now();
        let to = match random.below(4) {
            0 => next - Duration::from_nanos(1),
            1 => next,
            _ => next.max(now + (next - now) * 3 / 2).max(now + (now - Instant::ZERO) / 500),
        };
        let mut expected = Vec::new();
        while let Some(due) = left.next_if(|&(deadline, _)| deadline <= to) {
            if !gone[due.1 as usize] {
                expected.push(due);
            }
        }
        fired += expected.len();
        assert_eq!(bench.go_to(to), expected);
        steps += 1;
        cancel(timers / 40_000 + 1, &mut bench, &mut gone, &mut random);
    }
    let cancelled = gone.iter().filter(|&&gone| gone).count();
    println!("timers: {timers}, {cancelled} cancelled, {fired} fired in {steps} steps");
    assert_eq!((fired + cancelled) as u64, timers);
    assert!((timers / 3..timers / 3 * 2).contains(&(cancelled as u64)));
    bench.close();
}
