//! Executors inside one another's polls and callbacks: which of them is meant?

mod common;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use common::{Gate, Shelf, assert_balances, assert_settled};
use hearken::{
    AwaitedItself, Budget, Task, Verdict, WaitFor, as_completed, gather, scope, settle, spawn,
    try_gather, wait,
};

type Words = Vec<String>;
type Waiting = Pin<Box<dyn Future<Output = Words>>>;
type Waits = fn(Vec<Task<i32>>) -> Waiting;

fn word<T: ToString, E: ToString>(outcome: Result<T, E>) -> String {
    outcome.map_or_else(|error| error.to_string(), |value| value.to_string())
}

/// All that wait for tasks and take their outcomes.
const ALL: [(&str, Waits); 5] = [
    ("an await", |tasks| {
        Box::pin(async {
            let mut words = Vec::new();
            for task in tasks {
                words.push(word(task.await));
            }
            words
        })
    }),
    ("gather", |tasks| {
        Box::pin(async {
            let all = gather(tasks).await.map_err(anyhow::Error::from);
            all.map_or_else(
                |error| vec![error.to_string()],
                |all| all.into_iter().map(|n| n.to_string()).collect(),
            )
        })
    }),
    ("try_gather", |tasks| {
        Box::pin(async {
            let all = try_gather(tasks).await.map_err(anyhow::Error::from);
            all.map_or_else(
                |error| vec![error.to_string()],
                |all| all.into_iter().map(|n| n.to_string()).collect(),
            )
        })
    }),
    ("settle", |tasks| Box::pin(async { settle(tasks).await.into_iter().map(word).collect() })),
    ("as_completed", |tasks| {
        Box::pin(async {
            let mut completed = as_completed(tasks);
            let mut words = Vec::new();
            while let Some(outcome) = completed.next().await {
                words.push(word(outcome));
            }
            words
        })
    }),
];

/// Polls it, and answers what it gave, if it did.
fn look(future: &mut Waiting) -> Option<Words> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(words) => Some(words),
        Poll::Pending => None,
    }
}

// promise 3.2, 10.2: the inner one's task is running, further down the stack
#[test]
fn a_callback_of_an_outer_executor_may_wait_for_the_task_of_an_inner_one() {
    for (name, waits) in ALL {
        let (inner, outer) = (
            common::executor(|_| Verdict::Proceed),
            Rc::new(common::executor(|_| Verdict::Proceed)),
        );
        let waiting: Rc<RefCell<Option<Waiting>>> = Rc::default();
        let own: Shelf<Task<i32>> = Shelf::new();
        // Its task turns the outer executor, whose callback polls the wait.
        let (shelf, turns, kept) = (own.clone(), outer.clone(), waiting.clone());
        own.put(inner.spawn(async move {
            let ended = turns.spawn(async { Ok(()) });
            ended.on_done(move |_| {
                let mut wait = waits(vec![shelf.take().unwrap()]);
                assert_eq!(look(&mut wait), None, "it has not ended");
                *kept.borrow_mut() = Some(wait);
            });
            turns.run_until_idle();
            drop(ended);
            Ok(7)
        }));
        inner.run_until_idle();
        let mut wait = waiting.take().expect("the callback ran");
        assert_eq!(look(&mut wait), Some(vec!["7".to_owned()]), "{name}");
        drop(wait);
        assert_settled(&inner);
        assert_settled(&outer);
    }
}

// promise 3.2, 10.2: a task of another executor, inside of the poll of the one
// that it awaits
#[test]
fn a_task_may_await_the_one_in_whose_poll_its_executor_is_turned() {
    for (name, waits) in ALL {
        let (outer, inner) = (
            common::executor(|_| Verdict::Proceed),
            Rc::new(common::executor(|_| Verdict::Proceed)),
        );
        let own: Shelf<Task<i32>> = Shelf::new();
        let (shelf, turns) = (own.clone(), inner.clone());
        let answer: Shelf<Task<Words>> = Shelf::new();
        let kept = answer.clone();
        own.put(outer.spawn(async move {
            let task = shelf.take().unwrap();
            kept.put(turns.spawn(async move { Ok(waits(vec![task]).await) }));
            turns.turn(Budget::Batch);
            Ok(7)
        }));
        outer.run_until_idle();
        inner.run_until_idle();
        let answer = answer.take().unwrap();
        assert_eq!(*answer.result().expect(name), ["7"], "{name}");
        drop(answer);
        assert_settled(&outer);
        assert_settled(&inner);
    }
}

// promise 3.2, 6.6: a callback drives another executor, which is not what is meant
#[test]
fn a_callback_may_run_another_executor_to_wait_for_the_tasks_of_that() {
    for (name, waits) in ALL {
        let outer = common::executor(|_| Verdict::Proceed);
        let inner = Rc::new(common::executor(|_| Verdict::Proceed));
        let words: Shelf<Words> = Shelf::new();
        let (said, own) = (words.clone(), inner.clone());
        outer.spawn(async { Ok(()) }).on_done(move |_| {
            let tasks = vec![own.spawn(async { Ok(1) }), own.spawn(async { Ok(2) })];
            said.put(own.block_on(async { Ok(waits(tasks).await) }).unwrap());
        });
        outer.run_until_idle();
        assert_eq!(words.take().expect(name), ["1", "2"], "{name}");
        assert_settled(&inner);
        assert_settled(&outer);
    }
}

// promise 3.2, 3.6, 3.13: a callback looks at the outcome that is waited for
#[test]
fn whoever_waits_for_a_task_whose_callback_is_running_waits_until_it_is_over() {
    for failing in [false, true] {
        for (name, waits) in ALL {
            let executor = common::executor(|_| Verdict::Proceed);
            let looked = Gate::new();
            let task = executor.spawn({
                let looked = looked.clone();
                async move {
                    looked.pass().await;
                    if failing { anyhow::bail!("seven") } else { Ok(7) }
                }
            });
            let quick = executor.spawn(async { Ok(1) });
            let shelf: Shelf<Waiting> = Shelf::new();
            let kept = shelf.clone();
            task.on_done(move |_| kept.with(|wait| assert_eq!(look(wait), None, "{name}")));
            let mut wait = waits(vec![quick, task]);
            assert_eq!(look(&mut wait), None);
            shelf.put(wait);
            looked.open();
            executor.run_until_idle();
            let words = shelf.with(look).expect("it is over");
            let expected: &[&str] = match (name, failing) {
                (_, false) => &["1", "7"],
                ("gather" | "try_gather", true) => &["seven"],
                (_, true) => &["1", "seven"],
            };
            assert_eq!(words, expected, "{name}");
            drop(shelf.take());
            executor.run_until_idle();
            assert_settled(&executor);
        }
    }
}

// promise 5.3: `wait` retrieves nothing, so it need not wait for that
#[test]
fn a_wait_for_a_task_whose_callback_is_running_is_over() {
    let executor = common::executor(|_| Verdict::Proceed);
    let shelf: Shelf<Vec<Task<i32>>> = Shelf::new();
    let kept = shelf.clone();
    let task = executor.spawn(async { Ok(7) });
    task.on_done(move |_| {
        kept.with(|tasks| {
            let mut wait = Box::pin(wait(tasks, WaitFor::All));
            let (done, _) = match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(sorted) => sorted,
                Poll::Pending => panic!("it has ended"),
            };
            assert_eq!(done.len(), 1);
        });
    });
    shelf.put(vec![task]);
    executor.run_until_idle();
    drop(shelf.take());
    assert_settled(&executor);
}

// promise 3.2: of the same executor it is still itself
#[test]
fn a_task_that_waits_for_itself_is_told_so() {
    // Not `as_completed`, which hands over the others meanwhile, and waits for it.
    for (name, waits) in ALL.into_iter().filter(|&(name, _)| name != "as_completed") {
        let executor = common::executor(|_| Verdict::Proceed);
        let own: Shelf<Task<i32>> = Shelf::new();
        let shelf = own.clone();
        let words: Shelf<Words> = Shelf::new();
        let said = words.clone();
        own.put(executor.spawn(async move {
            let task = shelf.take().unwrap();
            said.put(waits(vec![task]).await);
            Ok(7)
        }));
        executor.run_until_idle();
        assert_eq!(words.take().expect(name), [AwaitedItself.to_string()], "{name}");
        assert_balances(&executor);
    }
}

// promise 3.11, 4.3: `accept` is about the task whose token it is
#[test]
fn to_accept_the_cancellation_of_another_task_accepts_nothing_here() {
    let world = common::World::with(|builder| builder.debug(true));
    let task = world.executor.spawn(async {
        let told = scope(hearken::sleep(common::secs(1))).await;
        drop(told); // swallowed
        let mut child = spawn(std::future::pending::<anyhow::Result<()>>());
        child.cancel();
        hearken::yield_now().await;
        if let Ok(Err(hearken::TaskError::Cancelled(theirs))) = child.take() {
            theirs.accept();
        }
        Ok(())
    });
    world.executor.turn(Budget::Batch);
    task.cancel();
    world.executor.run_until_idle();
    drop(task);
    assert_eq!(world.heard.count(hearken::ReportKind::IgnoredCancellation), 1);
    world.close();
}
