//! Awaits that outlive the task in which they were polled: somebody
//! else has a share in them, or they were moved out. They are woken where they
//! are now, and a request stays with the task that was asked.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures::future::{FutureExt as _, LocalBoxFuture, Shared};
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::{pin_mut, select_biased};
use hearken::{
    Budget, Executor, ManualClock, Report, ReportKind, Task, Verdict, scope, sleep,
    spawn_infallible, timeout, yield_now,
};

fn executor() -> Executor {
    Executor::builder().clock(ManualClock::auto()).build()
}

const SECOND: Duration = Duration::from_secs(1);

async fn nap(seconds: u32) -> anyhow::Result<()> {
    sleep(seconds * SECOND).await;
    Ok(())
}

/// Polls what is awaited for a second, and no longer. Answers whether it gave up.
async fn gives_up_on(awaited: impl Future + Unpin) -> anyhow::Result<bool> {
    let second = sleep(SECOND).fuse();
    pin_mut!(second);
    Ok(select_biased! { _ = awaited.fuse() => false, () = second => true })
}

/// A task that gives seven after ten seconds, and two shares in it.
fn shares(executor: &Executor) -> [Shared<LocalBoxFuture<'static, Option<i32>>>; 2] {
    let child = executor.spawn(nap(10));
    let share = child.map(|ended| ended.is_ok().then_some(7)).boxed_local().shared();
    [share.clone(), share]
}

// ---- Woken where they are now -------------------------------------------------------

// promise 7.2, 3.2
#[test]
fn who_has_a_share_in_an_await_is_woken_though_another_polled_it_first_and_ended() {
    let executor = executor();
    let [first, second] = shares(&executor);
    let gives_up = executor.spawn(gives_up_on(first));
    let waits = executor.spawn(async { Ok(second.await) });
    executor.run_until_idle();
    assert!(*gives_up.result().unwrap());
    assert_eq!(*waits.result().expect("it was woken"), Some(7));
}

// promise 7.2, 4.9
#[test]
fn so_is_who_shares_it_with_a_task_whose_time_limit_passed() {
    let executor = executor();
    let [first, second] = shares(&executor);
    let gives_up = executor.spawn(async { Ok(timeout(SECOND, first).await.is_err()) });
    let waits = executor.spawn(async { Ok(second.await) });
    executor.run_until_idle();
    assert!(gives_up.is_finished());
    assert!(waits.is_finished(), "{}", executor.dump());
}

// promise 7.2
#[test]
fn awaits_that_are_handed_on_are_woken_in_their_next_task() {
    let executor = executor();
    let children: FuturesUnordered<_> =
        [10, 20].map(|n| executor.spawn(nap(n))).into_iter().collect();
    let first = executor.spawn(async {
        let mut children = children;
        let second = sleep(SECOND).fuse();
        pin_mut!(second);
        select_biased! { _ = children.next() => panic!("too early"), () = second => {} }
        Ok(children)
    });
    let next = executor.spawn(async {
        let mut children = first.await?;
        let mut ended = 0;
        while let Some(child) = children.next().await {
            child?;
            ended += 1;
        }
        Ok(ended)
    });
    executor.run_until_idle();
    assert_eq!(*next.result().expect("it was woken"), 2);
}

// promise 7.2: the same for a main.
#[test]
fn what_a_main_leaves_behind_is_woken_in_the_next_main() {
    let executor = executor();
    let [first, second] = shares(&executor);
    let gave_up = executor.block_on(gives_up_on(first));
    assert!(gave_up.unwrap());
    assert_eq!(executor.block_on(async { Ok(second.await) }).unwrap(), Some(7));
}

// ---- A failure that goes with a waker ------------------------------------------------

thread_local! {
    static LAST_HANDLE: RefCell<Option<Task<()>>> = const { RefCell::new(None) };
}

/// Drops the last handle of a task when it is dropped.
struct Holder;

impl Wake for Holder {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone_at_the_threads_end = LAST_HANDLE.try_with(|handle| handle.take());
    }
}

// promise 3.6, 3.7
#[test]
fn a_failure_whose_handle_goes_with_a_waker_in_its_tree_is_reported_with_its_error() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let tells = told.clone();
    let executor = Executor::builder().handler(move |report: &Report| {
        let error = report.error().map(ToString::to_string);
        tells.borrow_mut().push((report.kind(), error));
        Verdict::Proceed
    });
    let executor = executor.build();
    let awaited = Rc::new(RefCell::new(executor.spawn(pending::<anyhow::Result<()>>())));
    let awaits = awaited.clone();
    let fails = executor.spawn(async move {
        let waker = Waker::from(Arc::new(Holder));
        let polled = Pin::new(&mut *awaits.borrow_mut()).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        anyhow::bail!("lost?")
    });
    LAST_HANDLE.set(Some(fails));
    executor.run_until_idle();
    let expected = (ReportKind::NeverRetrieved, Some("lost?".to_string()));
    assert_eq!(*told.borrow(), [expected]);
    assert!(executor.ledger().balances(), "{}", executor.ledger());
    drop(awaited);
}

// ---- Whose request ---------------------------------------------------------------------

/// The handle of a task that cleans up for ten seconds, where two can reach it.
type Slot = Rc<RefCell<Option<Task<()>>>>;

/// One that awaits what is in a slot, was asked to cancel, and has passed that on.
fn has_passed_a_request_on(executor: &Executor) -> (Task<()>, Slot) {
    let child = executor.spawn(async {
        let _told = scope(pending::<()>()).await;
        sleep(10 * SECOND).await;
        Ok(())
    });
    let slot = Rc::new(RefCell::new(Some(child)));
    let inside = slot.clone();
    let awaits = executor.spawn(async move {
        poll_fn(|cx| match inside.borrow_mut().as_mut() {
            Some(task) => Pin::new(task).poll(cx).map(|_| ()),
            None => Poll::Pending,
        })
        .await;
        Ok(())
    });
    executor.run_until_idle();
    assert!(awaits.cancel());
    executor.run_until_idle();
    assert!(!awaits.is_finished(), "it waits for the clean-up");
    (awaits, slot)
}

/// The clean-ups take as long as the test does.
fn standing() -> Executor {
    Executor::builder().clock(ManualClock::new()).build()
}

// promise 3.3, 4.8
#[test]
fn who_drops_the_handle_that_another_awaits_is_not_cancelled_in_his_place() {
    let executor = standing();
    let (asked, slot) = has_passed_a_request_on(&executor);
    let drops = executor.spawn(async move {
        drop(slot.take());
        yield_now().await;
        Ok(())
    });
    executor.run_until_idle();
    assert!(asked.is_cancelled());
    assert!(!drops.is_cancelled() && drops.result().is_ok(), "nobody asked it");
}

// promise 4.8
#[test]
fn a_request_that_was_passed_on_is_not_lost_with_a_handle_that_goes_outside_of_a_turn() {
    let executor = standing();
    let (asked, slot) = has_passed_a_request_on(&executor);
    drop(slot.take());
    executor.run_until_idle();
    assert!(asked.is_cancelled());
}

// promise 4.8
#[test]
fn nor_when_another_task_awaits_the_handle_from_now_on() {
    let executor = standing();
    let (asked, slot) = has_passed_a_request_on(&executor);
    let takes = executor.spawn(async move {
        let task = slot.take().expect("it is there");
        Ok(task.await?)
    });
    executor.run_until_idle();
    assert!(asked.is_cancelled());
    assert!(!takes.is_finished(), "nobody asked it, and it waits");
}

// promise 4.8, 3.3: the share is polled by the other last, so that it stands there.
#[test]
fn of_two_who_share_an_await_only_the_one_that_was_asked_is_cancelled() {
    let executor = standing();
    let child = executor.spawn(pending::<anyhow::Result<()>>());
    let share = child.map(|ended| ended.is_ok()).shared();
    let also = share.clone();
    let other = executor.spawn(async { Ok(share.await) });
    let asked = executor.spawn(async { Ok(also.await) });
    executor.run_until_idle();
    asked.cancel();
    executor.run_until_idle();
    assert!(!other.is_cancelled());
    other.cancel();
    executor.run_until_idle();
    assert!(asked.is_finished() && other.is_finished(), "{}", executor.dump());
}

// promise 4.11, 7.2: when the task that polled them is dropped, as when it ends.
#[test]
fn the_branches_of_a_set_are_told_of_what_comes_in_the_task_that_polls_it_next() {
    let executor = executor();
    let told = Rc::new(RefCell::new(Vec::new()));
    let set = Rc::new(RefCell::new(FuturesUnordered::new()));
    for branch in 0..3 {
        let told = told.clone();
        set.borrow_mut().push(async move {
            let told_of = scope(pending::<()>()).await.expect_err("it waits for ever");
            told.borrow_mut().push((branch, told_of.reason().to_owned()));
        });
    }
    let polls = |set: &Rc<RefCell<FuturesUnordered<_>>>| {
        let set = set.clone();
        executor.spawn(async move {
            let all = poll_fn(|cx| {
                while ready!(set.borrow_mut().poll_next_unpin(cx)).is_some() {}
                Poll::Ready(())
            });
            scope(all).await?; // or it is told itself
            Ok(())
        })
    };
    let first = polls(&set);
    executor.run_until_idle();
    (0..3).for_each(|_| executor.interrupter().interrupt());
    executor.turn(Budget::Polls(0)); // the third interrupt: dropped where it stands
    assert!(first.is_finished() && told.borrow().is_empty());
    let bystander = executor.spawn(scope(pending::<()>()).map(|told| Ok(told?)));
    executor.run_until_idle();

    let second = polls(&set);
    executor.run_until_idle();
    second.cancel_with("closing time");
    executor.run_until_idle();
    let mut told = told.take();
    told.sort();
    assert_eq!(told, [0, 1, 2].map(|branch| (branch, "closing time".to_owned())));
    assert!(second.is_finished() && !bystander.is_finished());
}

// ---- Requests that are taken back, and tasks that never were -------------------------------

/// Takes the request of a task back when it is woken because of it.
struct TakesBack;

thread_local! {
    static ASKED: RefCell<Option<Task<i32>>> = const { RefCell::new(None) };
}

impl Wake for TakesBack {
    fn wake(self: Arc<Self>) {
        ASKED.with_borrow(|task| task.iter().for_each(|task| assert_eq!(task.uncancel(), 0)));
    }
}

// promise 4.10
#[test]
fn a_request_may_be_taken_back_by_the_waker_that_is_told_of_it() {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).build();
    let task = executor.spawn(async {
        let mut inside = Box::pin(scope(pending::<()>()));
        let waker = Waker::from(Arc::new(TakesBack));
        let mut nap = Box::pin(sleep(SECOND));
        poll_fn(|cx| {
            let told = inside.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(told.is_pending(), "it was taken back");
            nap.as_mut().poll(cx)
        })
        .await;
        Ok(7)
    });
    executor.run_until_idle();
    task.cancel();
    ASKED.set(Some(task));
    executor.run_until_idle();
    clock.advance(SECOND);
    executor.run_until_idle();
    assert_eq!(*ASKED.take().unwrap().result().unwrap(), 7);
}

// promise 10.5
#[test]
fn a_task_that_was_refused_was_never_ready() {
    let states = Rc::new(RefCell::new(Vec::new()));
    let tells = states.clone();
    let executor = Executor::builder().max_tasks(1).handler(move |report: &Report| {
        tells.borrow_mut().extend(report.task().map(|task| task.state()));
        Verdict::Proceed
    });
    let executor = executor.build();
    let _one = executor.spawn(pending::<anyhow::Result<()>>());
    drop(executor.spawn(async { Ok(()) }));
    executor.run_until_idle();
    assert_eq!(*states.borrow(), [hearken::TaskState::Waiting]);
}

// promise 8.1: what a main leaves ready is nothing that the host knows of.
#[test]
fn a_host_that_waits_hears_of_what_a_main_has_left() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = calls.clone();
    let executor = Executor::builder().on_wake(move || {
        counts.fetch_add(1, Ordering::SeqCst);
    });
    let executor = executor.build();
    assert_eq!(executor.turn(hearken::Budget::Batch).next, hearken::Next::Empty);
    let main = async {
        spawn_infallible(yield_now()).detach();
        Ok(())
    };
    executor.block_on(main).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
