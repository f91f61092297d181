//! Many handles, callbacks and shields: what is done to each of n costs the same,
//! and no stack grows with them.
//!
//! The stack is small here and the numbers are large, so that what takes a frame for
//! each overflows, and what takes n² does not end. Instructions are counted by
//! `benches/instructions`.

mod common;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use common::World;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hearken::{CallbackId, Task, shield, spawn, yield_now};

const MANY: usize = 100_000;

/// On a thread whose stack would not hold a frame for each of them.
fn on_a_small_stack(play: fn()) {
    let builder = std::thread::Builder::new().stack_size(512 << 10);
    builder.spawn(play).expect("a thread").join().expect("it plays to its end");
}

// promise 3.13
#[test]
fn callbacks_are_taken_back_in_any_order_and_the_others_run_in_theirs() {
    let orders: [fn(usize) -> usize; 4] =
        [|nth| nth, |nth| MANY - 1 - nth, |nth| nth * 7_919 % MANY, |nth| (nth * 2) % MANY];
    for order in orders {
        let world = World::new();
        let task: Task<()> = world.executor.spawn(pending());
        let ran = Rc::new(Cell::new(0));
        let ids: Vec<CallbackId> = (0..MANY)
            .map(|number| {
                let ran = ran.clone();
                task.on_done(move |_| {
                    assert!(number >= ran.get(), "in the order of registration");
                    ran.set(number);
                })
            })
            .collect();
        let mut removed = vec![false; MANY];
        for nth in 0..MANY - 10 {
            let place = order(nth);
            assert_eq!(task.remove_on_done(ids[place]), !removed[place]);
            removed[place] = true;
        }
        task.cancel();
        world.executor.run_until_idle();
        let last = removed.iter().rposition(|removed| !removed).expect("some are left");
        assert_eq!(ran.get(), last);
        assert!(ids.iter().all(|&id| !task.remove_on_done(id)), "they have run");
        drop(task);
        world.close();
    }
}

// promise 3.6, 3.8
#[test]
fn a_list_of_handles_is_dropped_without_a_frame_for_each() {
    on_a_small_stack(|| {
        let world = World::new();
        let fails = |number: usize| async move {
            if number.is_multiple_of(2) {
                anyhow::bail!("spilled");
            }
            Ok(number)
        };
        let ended: Vec<_> = (0..MANY).map(|number| world.executor.spawn(fails(number))).collect();
        world.executor.run_until_idle();
        let pending: Vec<Task<()>> = (0..MANY).map(|_| world.executor.spawn(pending())).collect();
        world.executor.run_until_idle();
        drop((ended, pending));
        world.executor.run_until_idle();
        let ledger = world.executor.ledger();
        assert_eq!((ledger.reported, ledger.live), (MANY as u64 / 2, MANY as u64));
        assert_eq!(world.close().unretrieved().len(), MANY / 2);
    });
}

// promise 4.13
#[test]
fn many_shields_in_one_task_are_polled_a_few_times_each_when_it_is_cancelled() {
    for many in [MANY / 100, MANY / 10] {
        let world = World::new();
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let task = world.executor.spawn(async move {
            let shields = (0..many).map(|_| {
                let polls = counted.clone();
                shield(async move {
                    for _ in 0..3 {
                        polls.set(polls.get() + 1);
                        yield_now().await;
                    }
                })
            });
            let shields: FuturesUnordered<_> = shields.collect();
            shields.collect::<Vec<()>>().await;
            spawn(pending::<anyhow::Result<()>>()).await?;
            Ok(())
        });
        world.executor.turn(hearken::Budget::Batch);
        task.cancel();
        world.executor.run_until_idle();
        assert!(task.is_cancelled());
        assert_eq!(polls.get(), 3 * many);
        drop(task);
        world.close();
    }
}
