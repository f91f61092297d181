//! Bugs that others had with drops, handles and wakers that outlive somebody, and
//! code that is called where it was not expected. Each test names the thread.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use common::{OnDrop, Play, Shelf, World, assert_settled, hushed, secs};
use futures::stream::{FuturesUnordered, StreamExt as _};
use hearken::{Budget, Executor, ReportKind, Task, sleep, spawn};

/// Is dropped with the future that has it.
fn token() -> (Rc<()>, Weak<()>) {
    let token = Rc::new(());
    let seen = Rc::downgrade(&token);
    (token, seen)
}

// compio-rs/compio 489: a waker that is dropped, or woken, when the runtime is
// gone puts the task back into a queue that nobody drains, and it leaks.
// promise 6.8, 7.2
#[test]
fn a_waker_that_outlives_the_executor_keeps_no_future_alive() {
    let world = World::new();
    let (token, seen) = token();
    let kept: Rc<Cell<Option<Waker>>> = Rc::default();
    let shelf = kept.clone();
    let waits = async move {
        let _token = token;
        poll_fn(|cx| {
            shelf.set(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })
        .await;
        Ok(())
    };
    world.executor.spawn(waits).detach();
    world.executor.run_until_idle();
    drop(world.executor);
    assert!(seen.upgrade().is_none());
    let waker = kept.take().unwrap();
    waker.wake_by_ref();
    drop(waker);
    assert!(seen.upgrade().is_none());
}

// tokio-rs/tokio 4724 and 6505: two tasks that await each other's handles were
// never freed, since each had the other's waker.
// promise 3.5, 6.8
#[test]
fn two_tasks_that_await_each_other_are_freed() {
    for cancelled in [false, true] {
        let world = World::new();
        let (one, two) = (token(), token());
        let (first, second): (Shelf<Task<()>>, Shelf<Task<()>>) = (Shelf::new(), Shelf::new());
        let awaits = |shelf: &Shelf<Task<()>>, token: Rc<()>| {
            let shelf = shelf.clone();
            world.executor.spawn(async move {
                let _token = token;
                hearken::yield_now().await;
                let other = shelf.take().unwrap();
                Ok(other.await?)
            })
        };
        first.put(awaits(&second, one.0));
        second.put(awaits(&first, two.0));
        let seen = first.with(|task| task.task_ref());
        world.executor.run_until_idle();
        if cancelled {
            seen.cancel();
            world.executor.run_until_idle();
            assert!(seen.is_finished());
        }
        drop(seen);
        drop(world.executor);
        assert!(one.1.upgrade().is_none() && two.1.upgrade().is_none());
    }
}

// udoprog/unicycle 30: a task that stores its own waker was not dropped.
// promise 4.2, 6.8
#[test]
fn a_future_that_has_its_own_waker_is_dropped() {
    struct Stores(Option<Waker>, Rc<()>);
    impl Future for Stores {
        type Output = anyhow::Result<()>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            assert_eq!(Rc::strong_count(&self.1), 1);
            self.0 = Some(cx.waker().clone());
            Poll::Pending
        }
    }
    let world = World::new();
    let (one, two) = (token(), token());
    let cancelled = world.executor.spawn(Stores(None, one.0));
    world.executor.spawn(Stores(None, two.0)).detach();
    world.executor.run_until_idle();
    cancelled.cancel();
    world.executor.run_until_idle();
    assert!(one.1.upgrade().is_none());
    drop(cancelled);
    drop(world.executor);
    assert!(two.1.upgrade().is_none());
}

// smol-rs/async-executor 54: of two futures that ran one executor, the first was
// dropped, and the second did not go on.
// promise 7.2
#[test]
fn whoever_drives_next_goes_on_where_another_was_dropped() {
    let play = Play::new();
    let started = play.spawn(|said| async move {
        said.say("begun");
        hearken::yield_now().await;
        said.say("gone on");
        Ok(())
    });
    // A host that is given up in the middle of it.
    let mut host = Box::pin(async {
        play.world.executor.turn(Budget::Polls(1));
        pending::<()>().await;
    });
    assert!(common::poll_once(&mut host).is_pending());
    drop(host);
    assert_eq!(play.run(), ["begun", "gone on"]);
    drop(started);
    play.close();
}

// DataDog/glommio 239: a timer that had not fired was left when the executor went.
// promise 6.8, 7.6
#[test]
fn a_timer_that_has_not_fired_goes_with_its_executor() {
    let world = World::new();
    let (token, seen) = token();
    let nap = Rc::new(Cell::new(None));
    let kept = nap.clone();
    let naps = async move {
        let _token = token;
        kept.set(Some(Box::pin(sleep(secs(9)))));
        sleep(secs(1)).await;
        Ok(())
    };
    world.executor.spawn(naps).detach();
    world.executor.turn(Budget::Batch);
    drop(world.executor);
    assert!(seen.upgrade().is_none());
    // One that is kept outside resolves never, and can be polled and dropped.
    let mut nap = nap.take().unwrap();
    assert!(common::poll_once(&mut nap).is_pending());
    drop(nap);
}

// tokio-rs/tokio-core 190: a future that was dropped while the queue was borrowed.
// madsim-rs/madsim 182: a destructor that spawns, in a task that is being dropped.
// promise 6.5, 8.3
#[test]
fn a_future_that_is_dropped_may_drop_send_and_spawn() {
    let play = Play::new();
    let spawner = play.world.executor.spawner();
    let said = play.said.clone();
    let other = play.spawn(|said| async move {
        let _says = said.finally("other dropped");
        pending::<anyhow::Result<()>>().await
    });
    let other = RefCell::new(Some(other.cancel_on_drop()));
    let at_the_end = OnDrop(move || {
        drop(other.take());
        let line = said.clone();
        spawn(async move {
            line.say("spawned");
            Ok(())
        })
        .detach();
        spawner.spawn_with(async || Ok(())).expect("it is open");
    });
    let task = play.start(|_| async move {
        let _at_the_end = at_the_end;
        pending::<anyhow::Result<()>>().await
    });
    task.cancel();
    assert_eq!(play.run(), ["other dropped", "spawned"]);
    drop(task);
    play.close();
}

// glommio/glommio 37: a closure that panics on the way hung whoever awaited it, and
// all that came after.
// promise 3.6, 10.7
#[test]
fn a_future_that_cannot_be_made_is_a_failure_and_the_next_is_made() {
    let world = World::new();
    let spawner = world.executor.spawner();
    let sent = thread::spawn(move || {
        let broken = || -> std::future::Ready<anyhow::Result<()>> { panic!("boom") };
        (spawner.spawn_with(broken).is_ok(), spawner.spawn_with(async || Ok(())).is_ok())
    });
    assert_eq!(sent.join().unwrap(), (true, true));
    hushed(|| world.executor.run_until_idle());
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 1);
    assert_eq!(world.executor.ledger().succeeded, 1);
    world.close();
}

type Act = OnDrop<Box<dyn FnMut()>>;

thread_local! {
    /// Wakes when the thread ends.
    static LAST: RefCell<Vec<Act>> = const { RefCell::new(Vec::new()) };
    static KEPT: RefCell<Option<(Executor, Task<()>)>> = const { RefCell::new(None) };
}

// tokio-rs/tokio 593, 4973 and 6091: executors, and wakes, when a thread and its
// thread-locals end, in either order.
// promise 6.8, 7.2, 8.2
#[test]
fn a_thread_that_ends_may_wake_and_drop_executors_in_any_order() {
    for executor_first in [false, true] {
        let ended = thread::spawn(move || {
            if executor_first {
                KEPT.with_borrow(|none| assert!(none.is_none()));
            }
            let executor = Executor::builder().handler(|_| hearken::Verdict::Proceed).build();
            let waker: Rc<Cell<Option<Waker>>> = Rc::default();
            let own = waker.clone();
            let task = executor.spawn(poll_fn(move |cx| {
                own.set(Some(cx.waker().clone()));
                Poll::Pending::<anyhow::Result<()>>
            }));
            executor.run_until_idle();
            LAST.with_borrow_mut(|last| {
                last.push(OnDrop(Box::new(move || waker.take().into_iter().for_each(Waker::wake))));
            });
            KEPT.set(Some((executor, task)));
        });
        ended.join().expect("nothing panics");
    }
}

// rust-lang/futures-rs 2529 and 2886 (of 2863): a set whose members panic as it is
// dropped, in the middle of a task.
// promise 4.12, 10.7
#[test]
fn a_set_of_futures_that_panic_as_they_are_dropped_ends_with_its_task() {
    let world = World::new();
    let dropped = Rc::new(Cell::new(0));
    let counted = dropped.clone();
    let task = world.executor.spawn(async move {
        let mut set = FuturesUnordered::new();
        for number in 0..3 {
            let counted = counted.clone();
            let on_drop = OnDrop(move || {
                counted.set(counted.get() + 1);
                assert_ne!(number, 1, "member");
            });
            set.push(async move {
                let _on_drop = on_drop;
                pending::<()>().await
            });
        }
        set.next().await;
        Ok(())
    });
    world.executor.run_until_idle();
    task.cancel();
    hushed(|| world.executor.run_until_idle());
    // What comes after it in the set is for the set to drop, and not for us.
    assert!(dropped.get() >= 2);
    assert!(task.error().unwrap().unwrap().is::<hearken::Panicked>());
    drop(task);
    world.close();
}

// compio-rs/compio 913 and 914: a handle that is dropped while its thread unwinds,
// with a waker registered, aborted or leaked the task.
// promise 3.6, 10.7
#[test]
fn a_handle_that_is_dropped_while_a_poll_unwinds_lets_its_task_go() {
    let world = World::new();
    let (token, seen) = token();
    let child = world.executor.spawn(async move {
        let _token = token;
        sleep(secs(1)).await;
        Err::<(), _>(anyhow::anyhow!("child"))
    });
    let parent = world.executor.spawn_infallible(async move {
        let mut child = child;
        let polled = futures::poll!(&mut child);
        assert!(polled.is_pending());
        panic!("parent");
        #[allow(unreachable_code)]
        drop(child)
    });
    hushed(|| world.executor.run_until_idle());
    assert!(seen.upgrade().is_none());
    assert!(parent.error().unwrap().is_some());
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 1, "the child's");
    drop(parent);
    world.close();
}

// embassy-rs/embassy 3622 and 4151: a task that is woken when it has ended.
// smol-rs/async-executor 140: and its memory is gone.
// promise 7.2
#[test]
fn a_task_that_has_ended_is_not_polled_when_it_is_woken() {
    let world = World::new();
    let waker: Rc<Cell<Option<Waker>>> = Rc::default();
    let polls = Rc::new(Cell::new(0));
    let (own, count) = (waker.clone(), polls.clone());
    let ends = poll_fn(move |cx| {
        count.set(count.get() + 1);
        own.set(Some(cx.waker().clone()));
        cx.waker().wake_by_ref(); // in its last poll
        Poll::Ready(anyhow::Ok(()))
    });
    world.executor.spawn(ends).detach();
    world.executor.run_until_idle();
    waker.take().unwrap().wake();
    world.executor.run_until_idle();
    assert_eq!(polls.get(), 1);
    world.close();
}

/// Takes the turn of another executor when it is woken.
struct Turns(Mutex<Option<thread::ThreadId>>);

thread_local! {
    static OTHER: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        let own = *self.0.lock().unwrap() == Some(thread::current().id());
        let other = OTHER.with_borrow(|other| other.clone()).filter(|_| own);
        other.iter().for_each(|other| drop(other.turn(Budget::Batch).polled.to_string()));
    }
}

// tokio-rs/tokio 1972 and its like: a waker that runs the other side at once.
// promise 8.3
#[test]
fn a_waker_may_take_the_turn_of_another_executor() {
    let (one, two) = (World::new(), Rc::new(Executor::new()));
    OTHER.set(Some(two.clone()));
    let waker = Waker::from(Arc::new(Turns(Mutex::new(Some(thread::current().id())))));
    let mut task = one.executor.spawn(async {
        sleep(secs(1)).await;
        Ok(())
    });
    let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    two.spawn(async { Ok(()) }).detach();
    one.executor.run_until_idle();
    assert_eq!(two.ledger().succeeded, 1);
    OTHER.set(None);
    drop(task);
    one.close();
    assert_settled(&two);
}
