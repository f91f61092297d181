//! `dump()` and `tasks()`: what they show of every task, and that to look
//! changes nothing.

// There a waker cannot be asked whom it wakes, and the dump says "unknown".
#![cfg(not(hearken_arc_waker))]

mod common;

use std::cell::RefCell;
use std::future::{Future, pending};
use std::rc::Rc;

use common::foreign::Foreign;
use common::{Shelf, World, assert_balances, failed, failing, secs};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hearken::{
    Budget, Executor, ManualClock, Task, TaskInfo, TaskState, Verdict, gather, sleep, spawn,
    yield_now,
};

/// An executor whose clock stands still, and whose reports nobody reads.
fn standing() -> (Executor, ManualClock) {
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock.clone()).handler(|_| Verdict::Proceed).build();
    (executor, clock)
}

/// The line of the dump that is about the task with this name.
#[track_caller]
fn line_of(executor: &Executor, name: &str) -> String {
    let (dump, name) = (executor.dump().to_string(), format!("{name:?}"));
    let line = dump.lines().find(|line| line.contains(&name));
    line.unwrap_or_else(|| panic!("no {name} in\n{dump}")).to_owned()
}

// promise 9.1
#[test]
fn the_tree_shows_who_spawned_whom() {
    let (executor, _) = standing();
    executor
        .spawn(async {
            let child = spawn(async {
                spawn(pending::<anyhow::Result<()>>()).named("grandchild").detach();
                pending::<anyhow::Result<()>>().await
            });
            child.named("child").detach();
            spawn(pending::<anyhow::Result<()>>()).named("sibling").detach();
            pending::<anyhow::Result<()>>().await
        })
        .named("parent")
        .detach();
    executor.spawn(pending::<anyhow::Result<()>>()).named("stranger").detach();
    executor.run_until_idle();

    let dump = executor.dump().to_string();
    let shape: Vec<(usize, &str)> = dump
        .lines()
        .filter_map(|line| Some((line.len() - line.trim_start().len(), line.split('"').nth(1)?)))
        .collect();
    assert_eq!(
        shape,
        [(2, "parent"), (4, "child"), (6, "grandchild"), (4, "sibling"), (2, "stranger")],
        "{dump}"
    );
}

// promise 9.1
#[test]
fn a_child_whose_parent_has_ended_stands_at_the_root() {
    let (executor, _) = standing();
    let parent = executor.spawn(async {
        spawn(pending::<anyhow::Result<()>>()).named("orphan").detach();
        Ok(())
    });
    executor.run_until_idle();
    assert!(line_of(&executor, "orphan").starts_with("  #2 "));
    assert_eq!(executor.tasks()[0].parent(), Some(parent.id()), "that is still known");
}

// promise 9.1
#[test]
fn a_line_says_id_name_place_state_and_polls() {
    let (executor, _) = standing();
    let line = line!() + 1;
    let task = executor.spawn(pending::<anyhow::Result<()>>()).named("idle");
    let place = format!("spawned at {}:{line}:", file!());
    let text = line_of(&executor, "idle");
    assert!(text.starts_with(&format!("  {} \"idle\", {place}", task.id())), "{text}");
    assert!(text.ends_with(": ready, polled 0 times"), "{text}");

    executor.run_until_idle();
    let text = line_of(&executor, "idle");
    assert!(text.ends_with(": waiting, polled 1 times, waits for something unknown"), "{text}");
}

// promise 9.1
#[test]
fn a_sleeper_waits_for_a_timer_and_the_line_says_until_when() {
    let (executor, clock) = standing();
    clock.advance(secs(1));
    let nap = executor.spawn_infallible(sleep_for(60)).named("nap");
    executor.run_until_idle();
    assert!(line_of(&executor, "nap").ends_with(", waits for a timer at 61s"));
    assert!(executor.dump().to_string().starts_with("1 tasks at 1s, 0 ready, 1 timers\n"));
    drop(nap);
}

async fn sleep_for(seconds: u64) {
    sleep(secs(seconds)).await;
}

// promise 9.1
#[test]
fn one_that_sleeps_in_two_branches_waits_for_both_timers() {
    let (executor, _) = standing();
    executor
        .spawn_infallible(async { futures::join!(sleep_for(1), sleep_for(2)) })
        .named("both")
        .detach();
    executor.run_until_idle();
    let line = line_of(&executor, "both");
    assert!(line.contains("a timer at 1s") && line.contains("a timer at 2s"), "{line}");
}

// promise 9.1
#[test]
fn an_awaiter_waits_for_a_task_and_the_line_says_for_which() {
    let (executor, _) = standing();
    let child = executor.spawn(pending::<anyhow::Result<()>>());
    let id = child.id();
    executor.spawn(async { Ok(child.await?) }).named("awaiter").detach();
    executor.run_until_idle();
    let line = line_of(&executor, "awaiter");
    assert!(line.ends_with(&format!(", waits for task {id}")), "{line}");
}

// promise 9.1
#[test]
fn the_ready_queue_stands_below_the_tree_in_its_order() {
    let (executor, _) = standing();
    let tasks: Vec<Task<()>> = (0..3).map(|_| executor.spawn(async { Ok(()) })).collect();
    let dump = executor.dump().to_string();
    assert!(dump.starts_with("3 tasks at 0ns, 3 ready, 0 timers\n"), "{dump}");
    assert!(dump.ends_with("\nready queue: #1 #2 #3"), "{dump}");
    executor.turn(Budget::Polls(2));
    assert!(executor.dump().to_string().ends_with("\nready queue: #3"));
    executor.run_until_idle();
    assert_eq!(executor.dump().to_string(), "0 tasks at 0ns, 0 ready, 0 timers");
    drop(tasks);
}

// promise 9.1
#[test]
fn a_callback_in_the_queue_is_no_task_that_is_ready() {
    let (executor, _) = standing();
    let first = executor.spawn(async { Ok(()) });
    first.on_done(|_| ());
    executor.turn(Budget::Polls(1));
    let second = executor.spawn(pending::<anyhow::Result<()>>());
    let dump = executor.dump().to_string();
    assert!(dump.lines().any(|line| line == "ready queue: #2"), "{dump}");
    drop((first, second));
}

// promise 9.1
#[test]
fn who_awaits_from_inside_of_a_set_is_named_as_well() {
    for has_callback in [false, true] {
        let (executor, _) = standing();
        let child = executor.spawn(pending::<anyhow::Result<()>>()).named("child");
        if has_callback {
            child.on_done(|_| ());
        }
        let parent = executor
            .spawn(async move {
                let mut set: FuturesUnordered<_> = [child].into_iter().collect();
                _ = set.next().await;
                Ok(())
            })
            .named("parent");
        executor.run_until_idle();
        let line = line_of(&executor, "parent");
        assert!(line.ends_with("waits for task #1"), "{line}");
        drop(parent);
    }
}

// promise 9.1
#[test]
fn who_waits_for_several_waits_for_each_and_who_awaits_by_a_foreign_waker_is_known() {
    let (executor, _) = standing();
    let first = executor.spawn(pending::<anyhow::Result<()>>());
    let second = executor.spawn(pending::<anyhow::Result<()>>());
    executor.spawn(async { Ok(gather([first, second]).await?) }).named("waits").detach();
    let mut third = executor.spawn(pending::<anyhow::Result<()>>());
    let foreign = Foreign::new();
    executor
        .spawn(std::future::poll_fn(move |_| {
            let waker = foreign.waker();
            let mut cx = std::task::Context::from_waker(&waker);
            std::pin::Pin::new(&mut third).poll(&mut cx).map(|_| Ok(()))
        }))
        .named("foreign")
        .detach();
    executor.run_until_idle();
    let line = line_of(&executor, "waits");
    assert!(line.ends_with("waits for task #1, waits for task #2"), "{line}");
    let line = line_of(&executor, "foreign");
    assert!(line.ends_with("waits for task #4"), "{line}");
}

// promise 9.1
#[test]
fn a_failure_that_nobody_retrieved_is_named_until_somebody_does() {
    let world = World::new();
    let task = failed(&world.executor).named("cook");
    let dump = world.executor.dump().to_string();
    let expected = format!("\nunretrieved failure: task {} \"cook\", spawned at ", task.id());
    assert!(dump.contains(&expected), "{dump}");
    assert!(task.error().is_ok());
    let dump = world.executor.dump().to_string();
    assert!(!dump.contains("unretrieved"), "{dump}");
}

/// Spawns so many tasks in a circle, each of which awaits the next.
fn circle(executor: &Executor, length: usize) -> Vec<u64> {
    let shelves: Vec<Shelf<Task<()>>> = (0..length).map(|_| Shelf::new()).collect();
    let numbers = (0..length).map(|place| {
        let next = shelves[(place + 1) % length].clone();
        let task = executor.spawn(async move {
            let next = next.take().expect("the handles are there by now");
            Ok(next.await?)
        });
        let number = task.id().number();
        shelves[place].put(task);
        number
    });
    let numbers = numbers.collect();
    executor.run_until_idle();
    numbers
}

// promise 9.1, 10.8
#[test]
fn a_circle_of_tasks_is_named_once_and_each_of_several() {
    let (executor, _) = standing();
    circle(&executor, 2);
    circle(&executor, 3);
    let dump = executor.dump();
    let cycles: Vec<Vec<u64>> = dump
        .cycles()
        .into_iter()
        .map(|cycle| cycle.into_iter().map(hearken::TaskId::number).collect())
        .collect();
    assert_eq!(cycles, [vec![1, 2], vec![3, 4, 5]]);
    let text = dump.to_string();
    assert!(text.contains("\ndeadlock: #1 awaits #2 awaits #1\n"), "{text}");
    assert!(text.ends_with("\ndeadlock: #3 awaits #4 awaits #5 awaits #3"), "{text}");
}

// promise 9.1, 10.8
#[test]
fn a_chain_is_not_a_circle() {
    let (executor, _) = standing();
    let mut last = executor.spawn(pending::<anyhow::Result<()>>());
    for _ in 0..5 {
        let before = last;
        last = executor.spawn(async { Ok(before.await?) });
    }
    executor.run_until_idle();
    assert!(executor.dump().cycles().is_empty());
    assert!(!executor.dump().to_string().contains("deadlock"));
    drop(last);
}

// promise 9.1
#[test]
fn a_dump_polls_nobody_and_changes_nothing() {
    let world = World::new();
    world.clock.set_auto_advance(false);
    let polls = Rc::new(RefCell::new(0));
    let counted = polls.clone();
    let ready = world.executor.spawn(async move {
        *counted.borrow_mut() += 1;
        Ok(())
    });
    let held = world.executor.spawn(failing());
    let nap = world.executor.spawn_infallible(sleep_for(1));
    for _ in 0..3 {
        let before = (world.executor.ledger(), world.executor.next_deadline());
        let texts: Vec<String> = (0..3).map(|_| world.executor.dump().to_string()).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        assert_eq!(before, (world.executor.ledger(), world.executor.next_deadline()));
        assert!(*polls.borrow() <= 1);
        world.executor.turn(Budget::Polls(1));
    }
    assert!(ready.is_finished() && held.is_finished() && !nap.is_finished());
    assert_eq!(world.executor.ledger().held, 1, "to dump is not to retrieve");
    drop((ready, held, nap));
    world.clock.set_auto_advance(true);
    world.close();
}

// promise 9.1
#[test]
fn a_task_that_dumps_sees_itself_running() {
    let world = World::new();
    let executor = Rc::new(world.executor);
    let inside = executor.clone();
    let task = executor.spawn(async move {
        let (dump, me) = (inside.dump(), hearken::current().id());
        let info = dump.tasks().find(|info| info.id() == me).expect("it is alive");
        Ok((info.state(), info.polls(), dump.to_string()))
    });
    executor.run_until_idle();
    let (state, polls, text) = task.result().expect("it succeeds");
    assert_eq!((*state, *polls), (TaskState::Running, 1));
    assert!(text.ends_with(": running, polled 1 times"), "{text}");
}

// promise 9.1
#[test]
fn tasks_gives_the_live_ones_the_oldest_first_as_plain_data() {
    let (executor, _) = standing();
    let gone = executor.spawn(async { Ok(()) });
    let waits = executor.spawn(pending::<anyhow::Result<()>>()).named("waits");
    executor.run_until_idle();
    let ready = executor.spawn(async {
        yield_now().await;
        Ok(())
    });
    let infos = executor.tasks();
    let seen: Vec<_> =
        infos.iter().map(|info| (info.id(), info.name(), info.state(), info.polls())).collect();
    assert_eq!(
        seen,
        [
            (waits.id(), "waits".to_owned(), TaskState::Waiting, 1),
            (ready.id(), "task-3".to_owned(), TaskState::Ready, 0),
        ]
    );
    assert!(infos.iter().all(|info| info.parent().is_none() && info.location().file() == file!()));
    let dumped: Vec<_> = executor.dump().tasks().map(TaskInfo::id).collect();
    assert_eq!(dumped, [waits.id(), ready.id()]);

    // A snapshot stays what it was, and may go to another thread.
    executor.run_until_idle();
    let state = std::thread::spawn(move || infos[1].state()).join().expect("it only looks");
    assert_eq!(state, TaskState::Ready);
    assert!(ready.is_finished() && gone.is_finished());
    assert_balances(&executor);
}

// promise 9.1
#[test]
fn a_very_deep_tree_is_printed_without_a_deep_stack() {
    fn deeper(left: u32) {
        if left > 0 {
            let child = spawn(async move {
                deeper(left - 1);
                pending::<anyhow::Result<()>>().await
            });
            child.detach();
        }
    }
    let (executor, _) = standing();
    executor
        .spawn(async {
            deeper(20_000);
            Ok(())
        })
        .detach();
    executor.run_until_idle();
    let dump = executor.dump().to_string();
    assert_eq!(dump.lines().count(), 20_001);
    let widest = dump.lines().map(|line| line.len() - line.trim_start().len()).max();
    assert_eq!(widest, Some(64), "the indent has an end");
}
