//! `process::exit` in the middle of a turn, with the executor in a thread-local:
//! its destructor runs while the turn is still on the stack, which never goes on.

use std::cell::Cell;
use std::env;
use std::future::pending;
use std::process::{Command, exit};
use std::rc::Rc;

use hearken::{Executor, Report, Verdict};

const CODE: i32 = 7;
const CASE: &str = "HEARKEN_EXITS_IN";

thread_local! {
    static EXECUTOR: Executor = Executor::builder()
        .handler(|report| {
            println!("@heard {}", report.message());
            if report.error().is_some_and(|error| error.to_string() == "exit") {
                exit(CODE);
            }
            Verdict::Proceed
        })
        .on_wake(|| {
            if ON_WAKE.get() {
                exit(CODE);
            }
        })
        .build();

    static ON_WAKE: Cell<bool> = const { Cell::new(false) };
}

struct Exits;

impl Drop for Exits {
    fn drop(&mut self) {
        exit(CODE);
    }
}

/// Says when it is dropped.
struct Says(&'static str);

impl Drop for Says {
    fn drop(&mut self) {
        println!("@dropped {}", self.0);
    }
}

fn waits_beside(executor: &Executor) {
    let says = Says("a sibling");
    executor
        .spawn(async move {
            let _says = says;
            pending::<anyhow::Result<()>>().await
        })
        .detach();
    executor.run_until_idle();
}

type Case = (&'static str, fn(&Executor));

const CASES: [Case; 10] = [
    ("a poll", |executor| {
        executor.spawn_infallible::<()>(async { exit(CODE) }).detach();
    }),
    ("the poll of a main", |executor| {
        let _ = executor.block_on::<()>(async { exit(CODE) });
    }),
    ("a poll, with a report on its way", |executor| {
        executor.spawn(async { Err::<(), _>(anyhow::anyhow!("lost?")) }).detach();
        executor.spawn_infallible::<()>(async { exit(CODE) }).detach();
    }),
    ("the drop of a future", |executor| {
        let exits = Exits;
        let task = executor.spawn(async move {
            let _exits = exits;
            pending::<anyhow::Result<()>>().await
        });
        executor.run_until_idle();
        task.cancel();
    }),
    ("the drop of an output", |executor| executor.spawn(async { Ok(Exits) }).detach()),
    ("a callback", |executor| {
        let task = executor.spawn(async { Ok(()) });
        task.on_done(|_| exit(CODE));
        task.detach();
    }),
    ("a handler", |executor| executor.report(Report::new(anyhow::anyhow!("exit")))),
    ("a handler, with a report on its way behind that", |executor| {
        executor.report(Report::new(anyhow::anyhow!("exit")));
        executor.spawn(async { Err::<(), _>(anyhow::anyhow!("lost?")) }).detach();
    }),
    ("on_wake", |executor| {
        executor.run_until_idle();
        ON_WAKE.set(true);
        executor.spawn(async { Ok(()) }).detach();
    }),
    ("a poll, inside that of another executor", |executor| {
        let inner = Rc::new(Executor::new());
        executor
            .spawn(async move {
                inner.spawn_infallible::<()>(async { exit(CODE) }).detach();
                inner.run_until_idle();
                Ok(())
            })
            .detach();
    }),
];

/// Only what the test below starts has anything to do here.
#[test]
fn one_that_exits() {
    let Ok(case) = env::var(CASE) else { return };
    let (_, arrange) = CASES.into_iter().find(|(name, _)| *name == case).expect("a case");
    EXECUTOR.with(|executor| {
        waits_beside(executor);
        arrange(executor);
        executor.run_until_idle();
    });
    unreachable!("it has exited");
}

// promise 6.8
#[test]
fn whoever_exits_in_a_turn_exits_with_its_code() {
    for (case, _) in CASES {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "one_that_exits", "--nocapture"])
            .env(CASE, case)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wrote = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(CODE), "in {case}: {said}{wrote}");
        assert!(!wrote.contains("panicked"), "in {case}: {wrote}");
        // No failure goes unheard that was to be heard of next.
        if case.contains("report") {
            // By the default handler, if it is in the program's own that it exits.
            let heard = if case.contains("handler") { &wrote } else { &said };
            assert!(heard.contains("failure was never retrieved"), "in {case}: {said}{wrote}");
        }
    }
}

// promise 6.8: outside of a turn it is dropped like any other.
#[test]
fn an_executor_in_a_thread_local_is_dropped_when_its_thread_ends() {
    let dropped = std::thread::spawn(|| {
        EXECUTOR.with(waits_beside);
    });
    dropped.join().expect("nothing leaves the drop");
}
