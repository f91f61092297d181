//! Futures that are large: how many copies of one are on the stack while it is
//! spawned, and how large a combinator makes it.
//!
//! A future moves from the caller's stack to where the task is, and each move by
//! way of a closure, a tuple or a `Result` is a copy in a debug build. With
//! twenty of them a future of 100 KiB overflows a thread's two mebibytes.

mod common;

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use common::assert_settled;
use hearken::{
    Executor, ManualClock, SpawnErrorKind, Task, TimeoutHandle, finally, group, scope, shield,
    timeout, timeout_at, timeout_by,
};

/// What a thread has, if nobody says otherwise.
const STACK: usize = 2 << 20;

/// Does `work` on a thread with the usual stack. An overflow ends the process.
fn on_a_usual_stack(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread");
    thread.join().expect("it does not panic");
}

/// A future of so many KiB, which are there from the beginning.
fn of<const KIB: usize>() -> Large<KIB> {
    Large { bytes: [[7; 1024]; KIB], polls: 0 }
}

struct Large<const KIB: usize> {
    bytes: [[u8; 1024]; KIB],
    polls: u32,
}

impl<const KIB: usize> Future for Large<KIB> {
    type Output = anyhow::Result<u8>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        if self.polls == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(black_box(self.bytes[KIB - 1][1023])))
    }
}

// promise 10.9
#[test]
fn half_a_mebibyte_is_spawned_on_an_executor() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        let task = executor.spawn(of::<500>());
        executor.run_until_idle();
        assert_eq!(*task.result().unwrap(), 7);
        drop(task);
        assert_settled(&executor);
    });
}

// promise 10.9
#[test]
fn half_a_mebibyte_is_spawned_in_a_task() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        let answer = executor.block_on(async { Ok(hearken::spawn(of::<500>()).await?) });
        assert_eq!(answer.unwrap(), 7);
        assert_settled(&executor);
    });
}

// promise 10.9
#[test]
fn half_a_mebibyte_is_spawned_infallibly() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        let answer = executor.block_on(async {
            let task = hearken::spawn_infallible(async { of::<400>().await.unwrap() });
            Ok(task.await?)
        });
        assert_eq!(answer.unwrap(), 7);
        let task = executor.spawn_infallible(of::<500>());
        executor.run_until_idle();
        assert_eq!(*task.result().unwrap().as_ref().unwrap(), 7);
        drop(task);
        assert_settled(&executor);
    });
}

// promise 10.9
#[test]
fn half_a_mebibyte_is_the_main_of_block_on() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        assert_eq!(executor.block_on(of::<500>()).unwrap(), 7);
        assert_settled(&executor);
    });
}

/// A `Result` that holds a future is as large: it has a frame to itself.
fn tried(executor: &Executor) -> Option<Task<u8>> {
    match executor.try_spawn(of::<200>()) {
        Ok(task) => Some(task),
        Err(error) => {
            assert_eq!(error.kind(), SpawnErrorKind::Full);
            None
        }
    }
}

// promise 10.9: it may be given back, so it stands once more in the answer.
#[test]
fn what_may_be_given_back_is_to_be_a_little_smaller() {
    on_a_usual_stack(|| {
        let executor = Executor::builder().max_tasks(1).build();
        let task = tried(&executor).unwrap();
        assert!(tried(&executor).is_none());
        executor.run_until_idle();
        assert_eq!(*task.result().unwrap(), 7);
        drop(task);
        assert_settled(&executor);
    });
}

// promise 10.9: in a group.
#[test]
fn a_group_takes_one_too() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        let answer = executor
            .block_on(async { Ok(group(async |g| Ok(g.spawn(of::<300>()).await?)).await?) });
        assert_eq!(answer.unwrap(), 7);
        assert_settled(&executor);
    });
}

// promise 10.9, 6.5
#[test]
fn half_a_mebibyte_is_refused() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        executor.shut_down();
        assert!(executor.spawn(of::<500>()).is_cancelled());
        assert_eq!(executor.ledger().refused, 1);
    });
}

// promise 10.9: made on the executor's own thread.
#[test]
fn a_large_future_is_made_by_a_spawner() {
    on_a_usual_stack(|| {
        let executor = Executor::new();
        executor.spawner().spawn_with(of::<300>).unwrap();
        executor.run_until_idle();
        assert_eq!(executor.ledger().succeeded, 1);
    });
}

/// The sizes of a future, and of one to ten of a combinator around it.
macro_rules! sizes {
    ($around:expr, $inner:expr) => {{
        let mut sizes = Vec::new();
        let future = $inner;
        sizes.push(size_of_val(&future));
        sizes!(@ sizes, future, $around, 1 2 3 4 5 6 7 8 9 10);
        sizes
    }};
    (@ $sizes:ident, $future:ident, $around:expr, ) => {
        drop($future);
    };
    (@ $sizes:ident, $future:ident, $around:expr, $one:literal $($more:literal)*) => {
        let future = $around($future);
        $sizes.push(size_of_val(&future));
        sizes!(@ $sizes, future, $around, $($more)*);
    };
}

/// That each layer adds what the first added, within a word for alignment.
fn assert_adds_up(combinator: &str, sizes: &[usize]) {
    let steps: Vec<_> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let dearest = steps.iter().max().unwrap();
    println!("{combinator}: {sizes:?}");
    assert!(*dearest <= 256 && *dearest <= steps[0] + 8, "{combinator}: {sizes:?}");
}

// promise 10.9
#[test]
fn ten_layers_of_a_combinator_add_up() {
    let second = Duration::from_secs(1);
    let inner = || Large::<1> { bytes: [[0; 1024]], polls: 0 };
    let clock = ManualClock::new();
    let executor = Executor::builder().clock(clock).build();
    let tenth = executor.now() + second;
    let handle = TimeoutHandle::new(None);
    assert_adds_up("scope", &sizes!(scope, inner()));
    assert_adds_up("shield", &sizes!(shield, inner()));
    assert_adds_up("timeout", &sizes!(|f| timeout(second, f), inner()));
    assert_adds_up("timeout_at", &sizes!(|f| timeout_at(tenth, f), inner()));
    assert_adds_up("timeout_by", &sizes!(|f| timeout_by(&handle, f), inner()));
    assert_adds_up("finally", &sizes!(|f| finally(f, async || Ok(())), inner()));
    // What a future awaits it holds twice if it has captured it: that is how
    // `async` blocks are made (rust-lang/rust 62958), so a clean-up that awaits
    // something captured, or the body of a group, is as large as it is written.
}
