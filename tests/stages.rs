//! Every stage of a stop × every state that a task can be in, as tables: under a
//! main (`block_on`) and in a host's loop, with the handle held and without.
//!
//! A cell says what had become of the task two seconds after the last event of
//! its stage. That the ledger balances after each turn, that every ending was
//! heard of once, that no future is left and that nothing takes for ever is
//! checked in each cell.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use common::{Note, OnDrop, Spilled, assert_balances, assert_settled, hushed, secs};
use hearken::ReportKind::{FailedDuringShutdown, NeverRetrieved, StillHeld};
use hearken::{
    Budget, Cancelled, Executor, Instant, ManualClock, Next, Report, ReportKind, RunError, Task,
    TaskError, TaskRef, TaskState, Verdict, scope, shield, sleep, sleep_until, spawn, yield_now,
};

// ---- The states of a task --------------------------------------------------------

/// What a future holds as long as it is there; and the clock, for those who make
/// the time pass. They are counted.
#[derive(Clone)]
struct Kit {
    clock: ManualClock,
    alive: Rc<()>,
}

type Start = fn(&Executor, Kit) -> Task<()>;

/// Never polled before the stage begins.
const FRESH: &str = "fresh";

/// The rest have been: one that is always ready, one with a timer, one whose
/// clean-up awaits, one under a shield, one that takes no request seriously; those
/// whose clean-up fails or spawns; one that awaits another task, and one whose
/// drop panics.
const STATES: [(&str, Start); 10] = [
    (FRESH, |executor, kit| executor.spawn(waits(kit))),
    ("ready", |executor, kit| {
        executor.spawn(async move {
            loop {
                // Always ready; so it is he who makes the time pass.
                kit.clock.advance(Duration::from_millis(100));
                yield_now().await;
            }
        })
    }),
    ("sleeps", |executor, kit| {
        executor.spawn(async move {
            let _kit = kit;
            sleep(secs(3600)).await;
            Ok(())
        })
    }),
    ("tidies", |executor, kit| executor.spawn(tidies(kit))),
    ("shield", |executor, kit| executor.spawn(shield(waits(kit)))),
    ("deaf", |executor, kit| {
        executor.spawn(async move {
            let _kit = kit;
            loop {
                let _ = scope(pending::<()>()).await.map_err(Cancelled::accept);
            }
        })
    }),
    ("fails", |executor, kit| {
        executor.spawn(async move {
            let _kit = kit;
            let _told = scope(pending::<()>()).await;
            Err(Spilled("tea").into())
        })
    }),
    ("spawns", |executor, kit| {
        executor.spawn(async move {
            let told = scope(waits(kit.clone())).await;
            spawn(waits(kit)).detach();
            told?
        })
    }),
    ("awaits", |executor, kit| executor.spawn(async move { Ok(spawn(tidies(kit)).await?) })),
    ("bursts", |executor, kit| {
        executor.spawn(async move {
            let _panics = OnDrop(|| panic!("oh"));
            waits(kit).await
        })
    }),
];

async fn waits(kit: Kit) -> anyhow::Result<()> {
    let _kit = kit;
    pending().await
}

async fn tidies(kit: Kit) -> anyhow::Result<()> {
    let told = scope(waits(kit)).await;
    sleep(Duration::from_millis(1500)).await;
    told?
}

// ---- The stages ------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Debug)]
enum Event {
    Interrupt,
    RequestShutDown,
    /// A report to which the handler answers `ShutDown`.
    Fatal,
    /// So many seconds pass.
    Pass(u64),
    ShutDown,
    Drop,
}
use Event::*;

const STAGES: [(&str, &[Event]); 11] = [
    ("1st", &[Interrupt, Pass(2)]),
    ("2nd", &[Interrupt, Pass(1), Interrupt, Pass(2)]),
    ("3rd", &[Interrupt, Pass(1), Interrupt, Pass(1), Interrupt, Pass(2)]),
    ("1st, grace over", &[Interrupt, Pass(7)]),
    ("1st, two graces", &[Interrupt, Pass(12)]),
    (IGNORED, &[Interrupt, Pass(2)]),
    ("asked", &[RequestShutDown, Pass(2)]),
    ("asked, grace over", &[RequestShutDown, Pass(7)]),
    ("verdict", &[Fatal, Pass(2)]),
    ("shut_down", &[ShutDown]),
    ("drop", &[Drop]),
];

const IGNORED: &str = "1st, ignored";

/// Whether what fails from then on fails during a shutdown.
fn closes(events: &[Event]) -> bool {
    !events.contains(&Interrupt)
}

// ---- One cell --------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    BlockOn,
    Host,
}

struct Stage {
    executor: Option<Executor>,
    clock: ManualClock,
    heard: Rc<RefCell<Vec<Note>>>,
}

impl Stage {
    fn new(ignores: bool) -> Stage {
        let (clock, heard) = (ManualClock::new(), Rc::<RefCell<Vec<Note>>>::default());
        let notes = heard.clone();
        let handler = move |report: &Report| {
            notes.borrow_mut().push(Note::of(report));
            match report.kind() {
                ReportKind::Interrupted if ignores => Verdict::Ignore,
                ReportKind::Library if report.error().is_some() => Verdict::ShutDown,
                _ => Verdict::Proceed,
            }
        };
        let executor = Executor::builder().clock(clock.clone()).handler(handler).build();
        Stage { executor: Some(executor), clock, heard }
    }

    fn executor(&self) -> &Executor {
        self.executor.as_ref().expect("it was not dropped yet")
    }

    /// A host's loop: it turns, and sleeps as long as it was told to, until `end`.
    fn turn_until(&self, end: Instant) {
        for _ in 0..500 {
            let next = self.executor().turn(Budget::Batch).next;
            assert_balances(self.executor());
            let now = self.clock.now();
            match next {
                Next::Ready if now < end => {}
                Next::At(moment) if moment <= end => self.clock.advance(moment - now),
                _ if now < end => self.clock.advance(end - now),
                _ => return,
            }
        }
        panic!("it takes for ever");
    }

    fn host(&self, events: &[Event]) {
        for &event in events {
            match event {
                Interrupt => self.executor().interrupter().interrupt(),
                RequestShutDown => self.executor().request_shut_down("enough"),
                Fatal => self.executor().report(Report::new(Spilled("fuel"))),
                Pass(seconds) => self.turn_until(self.clock.now() + secs(seconds)),
                ShutDown | Drop => {}
            }
        }
    }

    /// The same by a main, which means to see it to the end. Answers what
    /// `block_on` answered.
    fn block_on(&self, events: &[Event]) -> &'static str {
        self.clock.set_auto_advance(true);
        let interrupter = self.executor().interrupter();
        let answer = self.executor().block_on(async {
            for &event in events {
                match event {
                    Interrupt => interrupter.interrupt(),
                    RequestShutDown => hearken::request_shut_down("enough"),
                    Fatal => hearken::report(Report::new(Spilled("fuel"))),
                    Pass(seconds) => {
                        let end = hearken::now() + secs(seconds);
                        while let Err(cancelled) = scope(sleep_until(end)).await {
                            cancelled.accept();
                        }
                    }
                    ShutDown | Drop => {}
                }
            }
            Ok(())
        });
        assert_balances(self.executor());
        match answer {
            Ok(()) => "Ok",
            Err(RunError::Interrupted { main: None }) => "Int",
            Err(RunError::Interrupted { main: Some(TaskError::Cancelled(_)) }) => "Int*",
            Err(RunError::ShutDown(report)) => match report.kind() {
                ReportKind::Library => "Shut",
                kind => panic!("{kind:?}"),
            },
            Err(error) => panic!("{error}"),
        }
    }

    fn heard_of(&self, task: &TaskRef) -> Vec<ReportKind> {
        let (heard, number) = (self.heard.borrow(), Some(task.id().number()));
        heard.iter().filter(|note| note.task == number).map(|note| note.kind).collect()
    }

    /// The reports that tell how a task ended.
    fn endings_of(&self, task: &TaskRef) -> Vec<ReportKind> {
        let ends = [ReportKind::Cancelled, NeverRetrieved, FailedDuringShutdown, StillHeld];
        self.heard_of(task).into_iter().filter(|kind| ends.contains(kind)).collect()
    }

    /// What has become of a task, in a word.
    fn became(&self, task: &TaskRef) -> &'static str {
        let heard = self.heard_of(task);
        match task.state() {
            TaskState::Cancelled if heard.contains(&ReportKind::Overran) => "over",
            TaskState::Cancelled if heard.contains(&ReportKind::DroppedPending) => "drop",
            TaskState::Cancelled => "canc",
            TaskState::Failed => "fail",
            TaskState::Panicked => "panic",
            TaskState::Succeeded => "value",
            _ => "lives",
        }
    }
}

/// Plays a stage to a task in a state. Answers what became of it and, in
/// `block_on`, what that answered.
fn play(
    mode: Mode,
    (name, events): (&str, &[Event]),
    (state, start): (&str, Start),
    held: bool,
) -> (&'static str, &'static str) {
    let mut stage = Stage::new(name == IGNORED);
    let kit = Kit { clock: stage.clock.clone(), alive: Rc::new(()) };
    let task = start(stage.executor(), kit.clone());
    if state != FRESH {
        for _ in 0..3 {
            stage.executor().turn(Budget::Batch);
        }
    }
    let (look, mut handle) = (task.task_ref(), Some(task));
    if !held {
        handle.take().into_iter().for_each(Task::detach);
    }
    let answer = match mode {
        Mode::BlockOn => stage.block_on(events),
        Mode::Host => {
            stage.host(events);
            ""
        }
    };
    let early = stage.became(&look);

    // And then everything comes to its end.
    stage.clock.set_auto_advance(true);
    match events {
        [Drop] => drop(stage.executor.take()),
        _ => _ = stage.executor().shut_down(),
    }
    // The reports about what was dropped have been delivered by now.
    let ends_by_it = matches!(events, [ShutDown] | [Drop]);
    let became = if early == "lives" && !ends_by_it { early } else { stage.became(&look) };
    drop(handle);
    assert_eq!(Rc::strong_count(&kit.alive), 1, "no future is left");
    let late = closes(events) || early == "lives";
    assert_eq!(stage.endings_of(&look), [expected(look.state(), held, late)]);
    if let Some(executor) = &stage.executor {
        assert_settled(executor);
        let ledger = executor.ledger();
        let heard = |kind| stage.heard.borrow().iter().filter(|note| note.kind == kind).count();
        let failures = [NeverRetrieved, FailedDuringShutdown, StillHeld].map(heard);
        assert_eq!(heard(ReportKind::Cancelled) as u64, ledger.cancelled, "each is heard of once");
        assert_eq!(failures.iter().sum::<usize>() as u64, ledger.reported);
    }
    (became, answer)
}

/// The one report that tells how a task ended.
fn expected(state: TaskState, held: bool, late: bool) -> ReportKind {
    match state {
        TaskState::Cancelled => ReportKind::Cancelled,
        _ if held => StillHeld,
        _ if late => FailedDuringShutdown,
        _ => NeverRetrieved,
    }
}

// ---- The tables ------------------------------------------------------------------

/// A line for each stage, a column for each state; then what `block_on` answered.
fn table(mode: Mode) -> String {
    let mut lines = format!("{:18}", "");
    lines.extend(STATES.map(|(name, _)| format!("{name:<7}")));
    lines = format!("\n{}\n", lines.trim_end());
    for stage in STAGES {
        lines += &format!("{:<18}", stage.0);
        let mut answers = BTreeSet::new();
        for state in STATES {
            let [detached, held] =
                [false, true].map(|held| hushed(|| play(mode, stage, state, held)));
            assert_eq!(detached, held, "{}, {}", stage.0, state.0);
            lines += &format!("{:<7}", held.0);
            answers.insert(held.1);
        }
        assert_eq!(answers.len(), 1, "{}: others do not change the answer", stage.0);
        lines += answers.first().unwrap_or(&"");
        lines.truncate(lines.trim_end().len());
        lines.push('\n');
    }
    lines
}

/// `drop`: cancelled, and reported as dropped before it ended; `over`: cancelled,
/// and reported as having overrun the grace.
const IN_A_HOST: &str = "
                  fresh  ready  sleeps tidies shield deaf   fails  spawns awaits bursts
1st               canc   canc   canc   canc   lives  lives  fail   canc   canc   panic
2nd               canc   canc   canc   canc   canc   lives  fail   canc   canc   panic
3rd               canc   canc   canc   canc   canc   drop   fail   canc   canc   panic
1st, grace over   canc   canc   canc   canc   canc   lives  fail   canc   canc   panic
1st, two graces   canc   canc   canc   canc   canc   drop   fail   canc   canc   panic
1st, ignored      lives  lives  lives  lives  lives  lives  lives  lives  lives  lives
asked             canc   canc   canc   canc   lives  lives  fail   canc   canc   panic
asked, grace over canc   canc   canc   canc   over   over   fail   canc   canc   panic
verdict           canc   canc   canc   canc   lives  lives  fail   canc   canc   panic
shut_down         canc   canc   canc   canc   over   over   fail   canc   canc   panic
drop              drop   drop   drop   drop   drop   drop   drop   drop   drop   panic
";

// promise 6.1, 6.2, 6.4, 6.8, 3.5, 3.12
#[test]
fn every_stage_meets_every_state_in_a_hosts_loop() {
    assert_eq!(table(Mode::Host), IN_A_HOST);
}

/// The main sends the interrupts, and means to see it to the end. What `block_on`
/// answers stands in the last column; with a star when the main was dropped.
const BESIDE_A_MAIN: &str = "
                  fresh  ready  sleeps tidies shield deaf   fails  spawns awaits bursts
1st               lives  lives  lives  lives  lives  lives  lives  lives  lives  lives  Int
2nd               canc   canc   canc   canc   canc   lives  fail   canc   canc   panic  Int
3rd               canc   canc   canc   drop   canc   drop   fail   canc   drop   panic  Int*
1st, grace over   canc   canc   canc   canc   canc   lives  fail   canc   canc   panic  Int
1st, two graces   canc   canc   canc   canc   canc   drop   fail   canc   canc   panic  Int*
1st, ignored      lives  lives  lives  lives  lives  lives  lives  lives  lives  lives  Ok
asked             canc   canc   canc   canc   lives  lives  fail   canc   canc   panic  Shut
asked, grace over canc   canc   canc   canc   over   over   fail   canc   canc   panic  Shut
verdict           canc   canc   canc   canc   lives  lives  fail   canc   canc   panic  Shut
shut_down         canc   canc   canc   canc   over   over   fail   canc   canc   panic  Ok
drop              drop   drop   drop   drop   drop   drop   drop   drop   drop   panic  Ok
";

// promise 6.1, 6.2, 6.3, 6.4, 6.8, 3.5, 3.12
#[test]
fn every_stage_meets_every_state_beside_a_main() {
    assert_eq!(table(Mode::BlockOn), BESIDE_A_MAIN);
}

// promise 6.2, 6.4, 4.3, 4.8
#[test]
fn who_is_awaited_is_asked_once_and_cleans_up_in_full() {
    let cleaned_up = |events: &[Event]| {
        let stage = Stage::new(false);
        let kit = Kit { clock: stage.clock.clone(), alive: Rc::new(()) };
        let cleaned_up = Rc::new(Cell::new(false));
        let tidied = cleaned_up.clone();
        let task = stage.executor().spawn(async move {
            let child = spawn(async move {
                let told = scope(waits(kit)).await;
                sleep(secs(1)).await;
                tidied.set(true);
                told?
            });
            Ok(child.await?)
        });
        stage.host(&[Pass(1)]);
        stage.host(events);
        stage.clock.set_auto_advance(true);
        stage.executor().shut_down();
        drop(task);
        assert_settled(stage.executor());
        cleaned_up.get()
    };
    // Both are asked, and one of them hands on what it was asked.
    assert!(cleaned_up(&[Interrupt, Pass(2)]), "an interrupt");
    assert!(cleaned_up(&[RequestShutDown, Pass(2)]), "a shutdown");
    assert!(cleaned_up(&[]), "a shutdown, at once");
}

// ---- The drop of an executor, from inside of another -----------------------------

type Act = Box<dyn FnMut()>;
type Put = fn(&Executor, Act);

/// Where a loop calls foreign code. Each `Act` is called there once or more.
const PLACES: [(&str, Put); 5] = [
    ("a poll", |outer, mut act| outer.spawn_infallible(async move { act() }).detach()),
    ("the drop of a future", |outer, act| {
        let task = outer.spawn(common::waiting(act));
        outer.run_until_idle();
        task.cancel();
        task.detach();
    }),
    ("the drop of an output", |outer, act| {
        outer.spawn_infallible(async { OnDrop(act) }).detach();
    }),
    ("a done callback", |outer, mut act| {
        let task = outer.spawn_infallible(async {});
        task.on_done(move |_| act());
        task.detach();
    }),
    ("the handler", |outer, mut act| {
        outer.set_handler(move |_| {
            act();
            Verdict::Proceed
        });
        outer.report(Report::new(Spilled("tea")));
    }),
];

/// What had happened to the executor before it was dropped.
const BEFORE: [&[Event]; 5] =
    [&[], &[Pass(1)], &[Interrupt], &[Interrupt, Pass(1)], &[RequestShutDown, Pass(1)]];

// promise 6.8, 8.3, 3.8
#[test]
fn an_executor_may_be_dropped_in_every_state_from_every_place_in_another() {
    for (place, put) in PLACES {
        for (state, start) in STATES {
            for events in BEFORE {
                let what = format!("{state}, after {events:?}, dropped in {place}");
                let mut inner = Stage::new(false);
                let kit = Kit { clock: inner.clock.clone(), alive: Rc::new(()) };
                let (task, detached) =
                    (start(inner.executor(), kit.clone()), start(inner.executor(), kit.clone()));
                let looks = [task.task_ref(), detached.task_ref()];
                detached.detach();
                hushed(|| inner.host(events));

                let outer = Executor::builder().clock(ManualClock::new()).build();
                let mut dropped = inner.executor.take();
                put(&outer, Box::new(move || drop(dropped.take())));
                let beside = outer.spawn(async {
                    let (me, now) = (hearken::current().id(), hearken::now());
                    yield_now().await;
                    Ok(me == hearken::current().id() && now == hearken::now())
                });
                hushed(|| outer.run_until_idle());
                assert_eq!(beside.result().ok(), Some(&true), "{what}");
                drop(beside);
                outer.shut_down();
                assert_settled(&outer);

                assert!(looks.iter().all(TaskRef::is_finished) && task.is_finished(), "{what}");
                for look in &looks {
                    assert_eq!(inner.endings_of(look).len(), 1, "{what}: heard of once");
                }
                drop(task);
                assert_eq!(Rc::strong_count(&kit.alive), 1, "{what}: no future is left");
            }
        }
    }
}
