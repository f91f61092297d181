//! When a failure is reported, and as what: exactly when nobody can ask for it
//! any more, and exactly once.
//!
//! What the handler may do about it is in `handlers.rs`.

mod common;

use std::time::Duration;

use common::{Gate, Spilled, World, assert_settled, every_order, hushed, poll_once, waiting};
use hearken::{Budget, Ledger, ReportKind, RunError, gather, sleep, spawn};

// ---- Every order of what can happen to a task that fails ---------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// It will fail at its next poll.
    Fails,
    /// The handle goes.
    Left,
    /// The handle is polled once.
    Awaited,
    Cancelled,
    LookedAt,
    /// A callback is left with it.
    Callback,
}

const EVENTS: [Event; 6] =
    [Event::Fails, Event::Left, Event::Awaited, Event::Cancelled, Event::LookedAt, Event::Callback];

/// What does not change during a sequence of events.
#[derive(Clone, Copy, Debug)]
struct Manner {
    callback_looks: bool,
    /// The handle goes by `ignore`, not by a drop.
    left_by_ignore: bool,
    /// The executor is dropped at the end without being shut down.
    ends_by_drop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    NotYet,
    Held,
    Retrieved,
    Reported,
    Ignored,
}

/// What the contract says, in as few words as possible.
struct Model {
    manner: Manner,
    fails: bool,
    asked: bool,
    cancelled: bool,
    failure: Failure,
    unwanted: bool,
    handle: bool,
    callback: bool,
    taken: bool,
    reports: Vec<ReportKind>,
}

impl Model {
    fn new(manner: Manner) -> Model {
        Model {
            manner,
            fails: false,
            asked: false,
            cancelled: false,
            failure: Failure::NotYet,
            unwanted: false,
            handle: true,
            callback: false,
            taken: false,
            reports: Vec::new(),
        }
    }

    fn ended(&self) -> bool {
        self.cancelled || self.failure != Failure::NotYet
    }

    fn leaves_by(&mut self, door: Failure) {
        if self.failure == Failure::Held {
            self.failure = door;
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Fails => self.fails = true,
            Event::Cancelled => self.asked |= !self.ended(),
            _ if !self.handle => {}
            Event::Left => {
                self.handle = false;
                if self.manner.left_by_ignore {
                    self.unwanted = true;
                    self.leaves_by(Failure::Ignored);
                }
            }
            Event::Awaited if !self.ended() => {}
            Event::Awaited => {
                self.taken = true;
                self.leaves_by(Failure::Retrieved);
            }
            Event::LookedAt => self.leaves_by(Failure::Retrieved),
            Event::Callback => self.callback = true,
        }
    }

    fn turns(&mut self) {
        if !self.ended() && self.asked {
            self.cancelled = true;
            self.reports.push(ReportKind::Cancelled);
        } else if !self.ended() && self.fails {
            self.failure = if self.unwanted { Failure::Ignored } else { Failure::Held };
        }
        if self.ended() && self.callback {
            self.callback = false;
            if self.manner.callback_looks {
                self.leaves_by(Failure::Retrieved);
            }
        }
        if self.failure == Failure::Held && !self.handle && !self.callback {
            self.failure = Failure::Reported;
            self.reports.push(ReportKind::NeverRetrieved);
        }
    }

    fn ends(&mut self) {
        if !self.ended() && self.manner.ends_by_drop {
            self.reports.push(ReportKind::DroppedPending);
        }
        self.asked = true;
        self.turns();
        if self.failure == Failure::Held {
            self.failure = Failure::Reported;
            self.reports.push(ReportKind::StillHeld);
        }
    }

    fn ledger(&self) -> [u64; 7] {
        let count = |failure| u64::from(self.failure == failure);
        [
            u64::from(!self.ended()),
            u64::from(self.cancelled),
            u64::from(self.failure != Failure::NotYet),
            count(Failure::Held),
            count(Failure::Retrieved),
            count(Failure::Reported),
            count(Failure::Ignored),
        ]
    }
}

fn figures(ledger: Ledger) -> [u64; 7] {
    assert!(ledger.balances() && ledger.spawned == 1, "{ledger}");
    let Ledger { live, cancelled, failed, held, retrieved, reported, ignored, .. } = ledger;
    [live, cancelled, failed, held, retrieved, reported, ignored]
}

/// Lets it happen; after the events whose bit is in `turns`, turns are taken.
fn happens(events: &[Event], turns: u32, manner: Manner) {
    let what = || format!("{events:?}, turns {turns:b}, {manner:?}");
    let (world, gate) = (World::new(), Gate::new());
    let (executor, passage) = (&world.executor, gate.clone());
    let mut heard = Vec::new();
    let mut model = Model::new(manner);
    let task = executor.spawn(async move {
        passage.pass().await;
        Err::<(), _>(Spilled("tea").into())
    });
    let look = task.task_ref();
    let mut handle = Some(task);
    for (place, event) in events.iter().enumerate() {
        let ended = model.ended();
        match (event, &mut handle) {
            (Event::Fails, _) => gate.open(),
            (Event::Cancelled, _) => assert_eq!(look.cancel(), !ended, "{}", what()),
            (_, None) => {}
            (Event::Left, _) if manner.left_by_ignore => handle.take().unwrap().ignore(),
            (Event::Left, _) => drop(handle.take()),
            (Event::Awaited, Some(task)) => {
                assert_eq!(poll_once(task).is_ready(), ended, "{}", what());
            }
            (Event::LookedAt, Some(task)) => {
                let there = model.failure != Failure::NotYet && !model.taken;
                assert_eq!(matches!(task.error(), Ok(Some(_))), there, "{}", what());
            }
            (Event::Callback, Some(task)) => {
                task.on_done(move |finished| {
                    if manner.callback_looks {
                        let _ = finished.error();
                    }
                });
            }
        }
        model.happens(*event);
        if turns & (1 << place) != 0 {
            executor.run_until_idle();
            model.turns();
        }
        heard.extend(world.heard.kinds());
        assert_eq!(heard, model.reports, "{} after {event:?}", what());
        assert_eq!(figures(executor.ledger()), model.ledger(), "{} after {event:?}", what());
    }
    model.ends();
    if manner.ends_by_drop {
        drop(world.executor);
    } else {
        executor.shut_down();
        assert_eq!(figures(executor.ledger()), model.ledger(), "{} at the end", what());
        assert_settled(executor);
        if let Some(task) = handle.as_ref().filter(|_| model.failure != Failure::NotYet) {
            assert_eq!(task.error().is_ok(), !model.taken, "{}", what());
        }
        drop(handle);
        executor.run_until_idle();
        assert_eq!(figures(executor.ledger()), model.ledger(), "{} after the end", what());
    }
    heard.extend(world.heard.kinds());
    assert_eq!(heard, model.reports, "{} at the end", what());
}

fn every_manner() -> impl Iterator<Item = Manner> {
    (0..8).map(|bits| Manner {
        callback_looks: bits & 1 != 0,
        left_by_ignore: bits & 2 != 0,
        ends_by_drop: bits & 4 != 0,
    })
}

// promise 3.5, 3.6, 3.7, 3.13
#[test]
fn a_failure_is_heard_of_once_in_every_order_of_events() {
    let mut tried = 0;
    for manner in every_manner() {
        every_order(&EVENTS, &mut |events| {
            // With turns after every event, after none, and after every other.
            for turns in [u32::MAX, 0, 0b010101, 0b101010] {
                happens(events, turns, manner);
                tried += 1;
            }
        });
    }
    assert_eq!(tried, 8 * 1957 * 4);
}

// promise 3.5, 3.6, 3.7, 3.13
#[test]
fn a_failure_is_heard_of_once_wherever_turns_are_taken_in_between() {
    for manner in every_manner() {
        every_order(&EVENTS, &mut |events| {
            if events.contains(&Event::Fails) && events.len() <= 4 {
                (0..1 << events.len()).for_each(|turns| happens(events, turns, manner));
            }
        });
    }
}

// ---- Where asyncio loses a failure ----------------------------------------------------

// promise 3.7, 5.1
#[test]
fn the_second_child_of_gather_that_fails_is_reported() {
    let world = World::new();
    let answer: Result<(), RunError> = world.executor.block_on(async {
        let tasks = ["first", "second", "third"].map(|name| {
            spawn(async move {
                if name != "first" {
                    sleep(Duration::from_secs(1)).await;
                }
                Err::<(), _>(Spilled(name).into())
            })
        });
        let first = gather(tasks).await;
        sleep(Duration::from_secs(2)).await;
        first?;
        Ok(())
    });
    assert_eq!(answer.unwrap_err().to_string(), "spilled first");
    let errors: Vec<_> = world.heard.notes().into_iter().map(|note| note.error).collect();
    assert_eq!(errors, [Some("spilled second".into()), Some("spilled third".into())]);
    world.close();
}

// promise 3.7
#[test]
fn an_awaiter_that_is_cancelled_while_its_wake_is_queued_takes_no_failure_with_it() {
    let world = World::new();
    let gate = Gate::new();
    let passage = gate.clone();
    let child = world.executor.spawn(async move {
        passage.pass().await;
        Err::<(), _>(Spilled("tea").into())
    });
    let parent = world.executor.spawn(async move { Ok(child.await?) });
    world.executor.run_until_idle();
    gate.open();
    world.executor.turn(Budget::Batch); // the child fails, the parent's wake is queued
    assert!(parent.cancel());
    world.executor.run_until_idle();
    assert!(parent.is_cancelled());
    assert_eq!(world.heard.count(ReportKind::NeverRetrieved), 1);
    drop(parent);
    world.close();
}

// promise 3.7, 4.12
#[test]
fn a_failure_in_the_cleanup_after_a_cancellation_is_a_failure() {
    let world = World::new();
    let task = world.executor.spawn(waiting(|| panic!("oh")));
    world.executor.run_until_idle();
    task.cancel_with("late");
    task.detach();
    hushed(|| world.executor.run_until_idle());
    let notes = world.heard.notes();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(note.kind, ReportKind::NeverRetrieved);
    let error = note.error.as_deref();
    assert_eq!(error, Some("panicked: oh (while it was dropped, cancelled: late)"));
    world.close();
}

// promise 3.5, 3.6, 3.12
#[test]
fn the_failure_of_a_main_is_heard_of_though_a_shutdown_is_the_answer() {
    let world = World::new();
    let answer = world.executor.block_on(async {
        hearken::request_shut_down("enough");
        Err::<(), _>(Spilled("tea").into())
    });
    let answer = format!("{answer:?}");
    let notes = world.heard.notes();
    let reported = notes.iter().any(|note| note.error.as_deref() == Some("spilled tea"));
    assert!(reported || answer.contains("tea"), "neither told {notes:?} nor returned {answer}");
    world.close();
}

// promise 3.5, 3.6
#[test]
fn a_main_that_panics_while_it_is_dropped_is_heard_of() {
    let world = World::with(|builder| builder.closed_world(true));
    let answer = hushed(|| world.executor.block_on(waiting(|| panic!("oh"))));
    let answer = format!("{answer:?}");
    let notes = world.heard.notes();
    let reported = notes.iter().any(|note| note.text.contains("panicked: oh"));
    assert!(reported || answer.contains("oh"), "neither told {notes:?} nor returned {answer}");
    world.close();
}
