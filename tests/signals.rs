//! Ctrl-C and SIGTERM as a process has them: whose they are, who hears them, and
//! what they do when nobody listens any more.
//!
//! A disposition belongs to the whole process. So each scenario runs in a process
//! of its own, which is this binary once more; and it sends the signals to itself,
//! so that nothing has to be waited for.

#![cfg(all(unix, feature = "signal"))]

use std::cell::Cell;
use std::env;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hearken::{
    Executor, Listening, Report, ReportKind, RunError, Signal, TaskError, Verdict, ctrl_c,
    listen_for,
};
use libc::{SIG_DFL, SIG_IGN, SIGINT, SIGTERM};

/// The variable that says which scenario this process is.
const SCENARIO: &str = "HEARKEN_SIGNALS";

// ---- What a process does with signals ---------------------------------------------

/// Sends it to this thread, which has handled it when this returns.
#[allow(unsafe_code)]
fn raise(signal: i32) {
    // SAFETY: it has no preconditions.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// What the signal does: `SIG_DFL`, `SIG_IGN`, or somebody's handler.
#[allow(unsafe_code)]
fn disposition(signal: i32) -> libc::sighandler_t {
    // SAFETY: all zeroes is a `sigaction`; null as the next one changes nothing.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut now), 0);
        now.sa_sigaction
    }
}

/// From now on the signal does this.
#[allow(unsafe_code)]
fn dispose(signal: i32, next: libc::sighandler_t) {
    // SAFETY: `next` is `SIG_DFL`, `SIG_IGN` or `on_signal_of_the_host`, which
    // does nothing but count.
    assert_ne!(unsafe { libc::signal(signal, next) }, libc::SIG_ERR);
}

/// How often the host's own handler was called.
static HOST_HEARD: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal_of_the_host(_: i32) {
    HOST_HEARD.fetch_add(1, Ordering::SeqCst);
}

fn hosts() -> libc::sighandler_t {
    on_signal_of_the_host as *const () as libc::sighandler_t
}

/// Allows so many descriptors to be open.
#[allow(unsafe_code)]
fn allow_descriptors(most: libc::rlim_t) {
    // SAFETY: both calls get a valid structure.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// The host's handler for a signal that nobody listens for: what it meets in a
/// system call ends that with `EINTR`.
#[allow(unsafe_code)]
fn dispose_without_restart(signal: i32) {
    // SAFETY: all zeroes is a `sigaction`, and the handler does nothing but count.
    unsafe {
        let mut next: libc::sigaction = std::mem::zeroed();
        next.sa_sigaction = hosts();
        assert_eq!(libc::sigaction(signal, &next, std::ptr::null_mut()), 0);
    }
}

/// Sends a signal to each of the other threads of this process, and waits until
/// they have handled it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn raise_in_the_others(signal: i32) {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let threads = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
    let threads: Vec<i32> = threads.map(|id| id.parse().unwrap()).collect();
    let before = HOST_HEARD.load(Ordering::SeqCst);
    // SAFETY: these calls have no preconditions.
    let sent = unsafe {
        let own = libc::gettid();
        let others = threads.into_iter().filter(|&thread| thread != own);
        others.map(|thread| assert_eq!(libc::tgkill(libc::getpid(), thread, signal), 0)).count()
    };
    while HOST_HEARD.load(Ordering::SeqCst) < before + sent {
        std::thread::yield_now();
    }
}

/// Forks, and does this in the child, which then ends. Its status.
#[allow(unsafe_code)]
fn in_a_child(work: impl FnOnce()) -> std::process::ExitStatus {
    // SAFETY: the other threads of this process sleep in system calls, so that none
    // of them holds a lock that the child would miss.
    match unsafe { libc::fork() } {
        0 => {
            let done = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: it has no preconditions.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        -1 => panic!("there is no child to be had"),
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            std::process::ExitStatus::from_raw(status)
        }
    }
}

/// Waits until the listening thread sleeps in its system call again.
fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

/// When it is printed, presses Ctrl-C.
#[derive(Debug)]
struct PressesWhenPrinted;

impl std::fmt::Display for PressesWhenPrinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        raise(SIGINT);
        f.write_str("pressed")
    }
}

impl std::error::Error for PressesWhenPrinted {}

fn executor() -> Executor {
    counting().0
}

/// An executor, and how many interrupts it has heard.
fn counting() -> (Executor, Rc<Cell<usize>>) {
    let heard = Rc::new(Cell::new(0));
    let counted = heard.clone();
    let handler = move |report: &Report| {
        counted.set(counted.get() + usize::from(report.kind() == ReportKind::Interrupted));
        Verdict::Proceed
    };
    (Executor::builder().handler(handler).build(), heard)
}

/// Waits for an interrupt, and for nothing else.
fn is_interrupted(executor: &Executor) -> bool {
    let answer = executor.block_on(pending::<anyhow::Result<()>>());
    matches!(answer, Err(RunError::Interrupted { .. }))
}

fn listens(executor: &Executor) -> Listening {
    let listening = ctrl_c(&executor.interrupter()).unwrap();
    assert!(listening.is_listening());
    listening
}

// ---- The scenarios ----------------------------------------------------------------

/// What happens in a process of its own.
const SCENARIOS: [(&str, fn()); 21] = [
    ("a host's handler", || {
        dispose(SIGINT, hosts());
        let (executor, heard) = counting();
        let listening = ctrl_c(&executor.interrupter()).unwrap();
        assert!(!listening.is_listening());
        raise(SIGINT);
        let answer = hearken::run(async {
            raise(SIGINT);
            hearken::sleep(Duration::from_millis(1)).await;
            Ok(7)
        });
        assert_eq!(answer.unwrap(), 7, "nobody told us");
        drop(listening);
        executor.run_until_idle();
        assert_eq!((HOST_HEARD.load(Ordering::SeqCst), heard.get()), (2, 0));
        assert_eq!(disposition(SIGINT), hosts());
    }),
    ("a handler that comes later", || {
        let executor = executor();
        let listening = listens(&executor);
        dispose(SIGINT, hosts());
        drop(listening);
        assert_eq!(disposition(SIGINT), hosts(), "it is not ours to put back");
        raise(SIGINT);
        assert_eq!(HOST_HEARD.load(Ordering::SeqCst), 1);
    }),
    ("ignored", || {
        dispose(SIGINT, SIG_IGN);
        let executor = executor();
        let signals = [Signal::CtrlC, Signal::Terminate];
        let listening = listen_for(&signals, &executor.interrupter()).unwrap();
        raise(SIGINT);
        assert!(listening.is_listening(), "to the other");
        raise(SIGTERM);
        assert!(is_interrupted(&executor));
        drop(listening);
        assert_eq!((disposition(SIGINT), disposition(SIGTERM)), (SIG_IGN, SIG_DFL));
    }),
    ("two executors", || {
        let ((one, heard), other) = (counting(), executor());
        let (one_listens, other_listens) = (listens(&one), listens(&other));
        raise(SIGINT);
        assert!(is_interrupted(&one) && is_interrupted(&other));
        drop(one_listens);
        raise(SIGINT);
        assert!(is_interrupted(&other));
        drop(other_listens); // and the thread is at its end
        one.run_until_idle();
        assert_eq!(heard.get(), 1, "the first");
        assert_eq!(disposition(SIGINT), SIG_DFL);
        // And all over again.
        let again = listens(&one);
        raise(SIGINT);
        assert!(is_interrupted(&one));
        drop(again);
        assert_eq!(disposition(SIGINT), SIG_DFL);
    }),
    ("sigterm", || {
        let executor = executor();
        let listening = listen_for(&[Signal::Terminate], &executor.interrupter()).unwrap();
        assert!(listening.is_listening());
        assert_eq!(disposition(SIGINT), SIG_DFL, "that was not asked for");
        raise(SIGTERM);
        assert!(is_interrupted(&executor));
        drop(listening);
        assert_eq!(disposition(SIGTERM), SIG_DFL);
        raise(SIGTERM); // of which this dies
    }),
    ("panics", || {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let executor = executor();
            let _listening = listens(&executor);
            panic!("oh");
        }));
        assert!(unwound.is_err());
        assert_eq!(disposition(SIGINT), SIG_DFL);
        // Out of `run` no panic comes, wherever it began.
        let answer = hearken::run::<()>(async { panic!("oh") });
        assert!(matches!(answer, Err(RunError::Panicked(_))));
        assert_eq!(disposition(SIGINT), SIG_DFL);
        let thread = std::thread::spawn(|| {
            let executor = executor();
            let _listening = listens(&executor);
            panic!("oh");
        });
        assert!(thread.join().is_err());
        assert_eq!(disposition(SIGINT), SIG_DFL);
    }),
    ("after run", || {
        assert_eq!(hearken::run(async { Ok(7) }).unwrap(), 7);
        println!("@it has run");
        raise(SIGINT); // of which this dies
    }),
    ("stuck", || {
        let _never = hearken::run::<()>(async {
            // All in one poll, so nothing is taken in.
            raise(SIGINT);
            raise(SIGINT);
            println!("@two are not enough");
            let began = Instant::now();
            while began.elapsed().as_secs() < 20 {
                raise(SIGINT); // of which this dies, when the first is old enough
            }
            println!("@it should be dead");
            Ok(())
        });
    }),
    ("not stuck", || {
        let executor = executor();
        let _listening = listens(&executor);
        for _ in 0..10 {
            raise(SIGINT);
            assert!(is_interrupted(&executor), "each one is taken in");
        }
    }),
    #[cfg(target_os = "linux")]
    ("system call interrupted", || {
        let executor = executor();
        let _listening = listens(&executor);
        dispose_without_restart(libc::SIGUSR1);
        for _ in 0..3 {
            settle();
            raise_in_the_others(libc::SIGUSR1);
            settle();
            raise(SIGINT);
            assert!(is_interrupted(&executor));
        }
    }),
    #[cfg(not(target_os = "linux"))]
    ("system call interrupted", || ()),
    ("forked", || {
        let (executor, heard) = counting();
        let listening = listens(&executor);
        settle();
        // There it is as if nobody listened: its parent's thread is not there.
        let status = in_a_child(|| raise(SIGINT));
        assert_eq!(status.signal(), Some(SIGINT), "it is the child that is ended");
        settle();
        executor.run_until_idle();
        assert_eq!(heard.get(), 0, "and its parent hears nothing");
        raise(SIGINT);
        assert!(is_interrupted(&executor));
        assert_eq!(heard.get(), 1);
        drop(listening);
    }),
    ("forked child listens", || {
        let (executor, heard) = counting();
        let mut inherited = Some(listens(&executor));
        settle();
        let status = in_a_child(|| {
            let (own, heard_here) = counting();
            let listening = listens(&own);
            raise(SIGINT);
            assert!(is_interrupted(&own));
            inherited.take(); // of its parent, and nothing there
            raise(SIGINT);
            assert!(is_interrupted(&own));
            assert_eq!(heard_here.get(), 2);
            drop(listening);
            assert_eq!(disposition(SIGINT), SIG_DFL);
            assert_eq!(hearken::run(async { Ok(7) }).unwrap(), 7);
        });
        assert!(status.success(), "{status}");
        settle();
        executor.run_until_idle();
        assert_eq!(heard.get(), 0);
        raise(SIGINT);
        assert!(is_interrupted(&executor), "its parent listens as before");
    }),
    ("forked child stops listening", || {
        let executor = executor();
        let inherited = listens(&executor);
        settle();
        let status = in_a_child(move || {
            drop(inherited);
            assert_eq!(disposition(SIGINT), SIG_DFL);
            println!("@not waited for a thread that is not there");
        });
        assert!(status.success(), "{status}");
    }),
    ("forked child that stays", || {
        let executor = executor();
        let listening = listens(&executor);
        settle();
        // SAFETY: as in `in_a_child`; the child only sleeps.
        #[allow(unsafe_code)]
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1, "to kill -1 is to kill everybody");
        if child == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1)); // with the pipe open
            }
        }
        drop(listening);
        println!("@not waited for the child to close the pipe");
        // SAFETY: the child is ours.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }),
    // libuv 3483: the child could not close what had a signal to tell, and spun.
    ("signal before the fork", || {
        let (executor, heard) = counting();
        let mut inherited = Some(listens(&executor));
        raise(SIGINT);
        settle(); // it lies in the inbox, of which the child has a copy
        let status = in_a_child(|| {
            inherited.take();
            let (own, heard_here) = counting();
            let listening = listens(&own);
            own.run_until_idle();
            drop(listening);
            assert_eq!(heard_here.get(), 0, "what came before the fork was its parent's");
        });
        assert!(status.success(), "{status}");
        assert!(is_interrupted(&executor));
        assert_eq!(heard.get(), 1);
    }),
    // libevent 1158, booksbyus/zguide 808: the handler's write came upon a full pipe.
    ("thousands of signals", || {
        let (executor, heard) = counting();
        let listening = listens(&executor);
        let mut raised = 0;
        while raised < 5_000 {
            (0..2).for_each(|_| raise(SIGINT)); // a third may mean that we insist
            raised += 2;
            while heard.get() < raised {
                executor.run_until_idle();
            }
        }
        drop(listening);
        assert_eq!(heard.get(), raised, "each once");
    }),
    ("stops listening in the hook", || {
        let listening = std::sync::Arc::new(std::sync::Mutex::new(None::<Listening>));
        let drops = listening.clone();
        let done = std::sync::Arc::new(AtomicUsize::new(0));
        let says = done.clone();
        let executor = Executor::builder()
            .on_wake(move || {
                let listening = drops.lock().unwrap().take();
                drop(listening); // on the thread that would be waited for
                says.fetch_add(1, Ordering::SeqCst);
            })
            .handler(|report| {
                assert_eq!(report.kind(), ReportKind::Interrupted, "the hook did not panic");
                Verdict::Proceed
            })
            .build();
        *listening.lock().unwrap() = Some(listens(&executor));
        executor.run_until_idle(); // so that the hook is called
        raise(SIGINT);
        while done.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(disposition(SIGINT), SIG_DFL);
        executor.run_until_idle();
        drop(listens(&executor));
    }),
    ("the last moment of run", || {
        thread_local! {
            static HELD: Cell<Option<hearken::Task<()>>> = const { Cell::new(None) };
        }
        // It is told when `run` takes no interrupts any more, and Ctrl-C is still its.
        for how in ["a value", "a failure", "a panic", "a cancellation", "a shutdown"] {
            let answer = hearken::run(async move {
                let task = hearken::spawn(async { Err(PressesWhenPrinted.into()) });
                hearken::yield_now().await;
                HELD.set(Some(task));
                match how {
                    "a failure" => anyhow::bail!("spilled"),
                    "a panic" => std::panic::resume_unwind(Box::new("slipped")),
                    "a cancellation" => _ = hearken::current().cancel(),
                    "a shutdown" => hearken::request_shut_down("closing time"),
                    _ => {}
                }
                Ok(7)
            });
            let is_told = match answer {
                Err(RunError::Interrupted { main }) => match how {
                    "a failure" => matches!(main, Some(TaskError::Failed(_))),
                    "a panic" => matches!(main, Some(TaskError::Panicked(_))),
                    "a cancellation" => matches!(main, Some(TaskError::Cancelled(_))),
                    _ => main.is_none(),
                },
                // What the program was ended for before.
                Err(RunError::ShutDown(_)) => how == "a shutdown",
                _ => false,
            };
            assert!(is_told, "{how}");
        }
        assert_eq!(disposition(SIGINT), SIG_DFL);
    }),
    // MagicStack/uvloop 295: after the first run nobody heard the signals of the next.
    ("one run after the other", || {
        for round in 0..4 {
            let presses = round % 2 == 1;
            let answer = hearken::run(async move {
                hearken::yield_now().await;
                if presses {
                    raise(SIGINT);
                    return pending().await;
                }
                Ok(round)
            });
            match answer {
                Err(RunError::Interrupted { .. }) => assert!(presses, "{round}"),
                other => assert_eq!((other.ok(), presses), (Some(round), false)),
            }
            assert_eq!(disposition(SIGINT), SIG_DFL, "{round}");
        }
    }),
    // python/cpython 18628, as it was first proposed: a loop on another thread than the
    // first was not the one that was interrupted.
    ("a run on another thread", || {
        let (executor, heard) = counting();
        let (runs, running) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let answer = hearken::run::<()>(async move {
                runs.send(()).unwrap();
                pending().await
            });
            assert!(matches!(answer, Err(RunError::Interrupted { .. })), "{answer:?}");
        });
        running.recv().unwrap();
        raise(SIGINT); // to this thread, on which nobody listens
        thread.join().unwrap();
        executor.run_until_idle();
        assert_eq!((heard.get(), disposition(SIGINT)), (0, SIG_DFL));
    }),
    ("no descriptor", || {
        let executor = executor();
        allow_descriptors(0);
        assert!(ctrl_c(&executor.interrupter()).is_err());
        assert_eq!(hearken::run(async { Ok(7) }).unwrap(), 7, "it runs all the same");
        assert_eq!(disposition(SIGINT), SIG_DFL);
        allow_descriptors(64);
        drop(listens(&executor));
    }),
];

// promise 6.7, 8.2: what the tests below look at happens here
#[test]
#[ignore = "the tests below run it in processes of its own"]
fn a_process_of_its_own() {
    let Ok(name) = env::var(SCENARIO) else { return };
    println!(); // the harness has begun a line
    dispose(SIGINT, SIG_DFL); // it is ignored where a script started us by `&`
    let (_, happens) = SCENARIOS.into_iter().find(|(other, _)| *other == name).unwrap();
    happens();
}

/// Runs a scenario. No time limit: what hangs here hangs in `block_on`, and there
/// the harness says which test it is.
fn process(scenario: &str) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_process_of_its_own", "--nocapture"]);
    command.args(["--test-threads=1"]).env(SCENARIO, scenario).env("RUST_BACKTRACE", "0");
    command.output().unwrap()
}

#[track_caller]
fn goes_well(scenario: &str) {
    let output = process(scenario);
    assert!(output.status.success(), "{scenario}: {output:#?}");
}

/// What it said before it died of the signal.
#[track_caller]
fn dies_of(signal: i32, scenario: &str) -> Vec<String> {
    let output = process(scenario);
    assert_eq!(output.status.signal(), Some(signal), "{scenario}: {output:#?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_prefix('@')).map(str::to_owned).collect()
}

// ---- What is promised of them -----------------------------------------------------

// promise 6.7, 8.2
#[test]
fn a_host_with_a_handler_of_its_own_keeps_it() {
    goes_well("a host's handler");
    goes_well("a handler that comes later");
}

// promise 6.7
#[test]
fn what_was_ignored_is_ignored() {
    goes_well("ignored");
}

// promise 6.7, 6.1
#[test]
fn each_executor_that_listens_is_interrupted_until_it_does_not() {
    goes_well("two executors");
    goes_well("not stuck");
}

// promise 6.7
#[test]
fn sigterm_can_be_asked_for_and_is_given_back() {
    dies_of(SIGTERM, "sigterm");
}

// promise 6.7
#[test]
fn a_panic_gives_it_back_too() {
    goes_well("panics");
}

// promise 6.7
#[test]
fn after_run_ctrl_c_ends_the_process_as_it_always_did() {
    assert_eq!(dies_of(SIGINT, "after run"), ["it has run"]);
}

// promise 6.7
#[test]
fn who_insists_on_ctrl_c_ends_a_process_that_is_stuck_in_a_poll() {
    assert_eq!(dies_of(SIGINT, "stuck"), ["two are not enough"]);
}

// promise 6.7, 8.2
#[test]
fn without_a_pipe_to_be_had_a_program_runs_and_ctrl_c_is_as_it_was() {
    goes_well("no descriptor");
}

// promise 6.7
#[test]
fn a_signal_of_the_hosts_that_interrupts_system_calls_does_not_end_the_listening() {
    goes_well("system call interrupted");
}

// promise 6.7, 6.1
#[test]
fn only_the_process_that_was_signalled_hears_it() {
    goes_well("forked");
    goes_well("forked child listens");
}

// promise 6.7, 6.1
#[test]
fn signals_are_told_once_each_however_many_and_not_to_a_child() {
    goes_well("signal before the fork");
    goes_well("thousands of signals");
}

// promise 8.3, 6.7
#[test]
fn a_hook_may_stop_listening_though_it_is_called_by_the_thread_that_listens() {
    goes_well("stops listening in the hook");
}

// promise 6.7
#[test]
fn neither_a_parent_nor_its_forked_child_waits_for_the_other_to_stop_listening() {
    goes_well("forked child stops listening");
    goes_well("forked child that stays");
}

// promise 6.3, 6.7
#[test]
fn of_several_runs_each_hears_its_own_on_whichever_thread_it_is() {
    goes_well("one run after the other");
    goes_well("a run on another thread");
}

// promise 6.3, 6.7
#[test]
fn ctrl_c_is_not_lost_as_long_as_it_is_ours() {
    goes_well("the last moment of run");
}
