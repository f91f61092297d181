//! A single-threaded async executor in which no failure goes unheard.
//!
//! A task holds its outcome. Whoever asks gets it. If nobody ever will, the
//! executor tells a handler: once, and at the moment when that becomes certain.
//!
//! ```
//! use hearken::Executor;
//!
//! let executor = Executor::new();
//! let answer = executor.block_on(async {
//!     let good = hearken::spawn(async { Ok("12".parse::<i32>()?) });
//!     let bad = hearken::spawn(async { Ok("1x".parse::<i32>()?) }).named("parser");
//!     drop(bad); // nobody will ask: standard error hears of it
//!     Ok(good.await?)
//! })?;
//! assert_eq!(answer, 12);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! [`run`] makes a whole program of a future. An [`Executor`] can also live in
//! somebody else's loop: [`turn`](Executor::turn) never blocks, and says when to
//! come back. There is no thread, no file descriptor, no signal handler and no
//! output unless asked for, other than the default handler's.
//!
//! # A turn
//!
//! ```text
//!       host, other threads, devices                wake on this thread
//!                     │                                    │
//!                     ▼                                    ▼
//!  spawn ──────────────────────────────────────────► run queue ───► poll ──┬─ pending: wait for a wake
//!                   inbox ── (start of a turn) ─────────►  ▲     (a batch) │
//!  wheel (deadline passed) ────────────────────────────────┘               └─ ready ─► outcome
//!                                                                   ┌───────────────────┴───────┐
//!                                                         somebody holds the Task     nobody will ever ask
//!                                                            retrieved                report ─► handler, once
//! ```
//!
//! # Reading it
//!
//! The modules are declared below in the order in which to read them, and a
//! file uses only files above it. `docs/ARCHITECTURE.md` is the map;
//! `docs/promises.md` says what may be relied on, by numbers which the tests
//! cite.

#![warn(missing_docs)]

// I. Who is ready?
mod id;
mod pages;
mod run_queue;
mod sync;
mod pile;
mod inbox;
mod lodgings;
// II. What time is it?
mod clock;
mod order;
mod levels;
mod wheel;
// III. What became of it?
mod request;
mod outcome;
mod report;
mod roles;
mod rules;
mod region;
mod life;
mod header;
// IV. A task and its executor
mod counted;
mod table;
mod signs;
mod noted;
mod displaced;
mod descent;
mod discards;
mod state;
mod ending;
mod current;
mod waker;
mod inside;
mod circles;
mod asking;
mod cancelling;
mod place;
mod stage;
mod task;
mod gives_way;
mod handle;
mod awaiting;
mod task_ref;
mod spawn;
mod dump;
// V. Turning the crank
mod stop;
mod interrupt;
mod turn;
mod shutdown;
mod run_error;
mod executor;
mod builder;
// VI. What tasks await
mod combinators;
// VII. A whole program
#[cfg(all(feature = "signal", unix))]
mod signal;
mod run;

pub use builder::Builder;
pub use clock::{Clock, Instant, ManualClock, SystemClock};
pub use combinators::*;
pub use dump::Dump;
pub use executor::{Executor, now, report, request_shut_down};
pub use handle::{CallbackId, Finished, Task};
pub use id::TaskId;
pub use inbox::Closed;
pub use interrupt::Interrupter;
pub use outcome::{
    AwaitedItself, Cancelled, OutcomeError, Panicked, TakeError, TaskCancelled, TaskError,
};
pub use report::{
    DefaultHandler, Handler, Ledger, Report, ReportKind, TaskInfo, TaskState, Verdict,
};
pub use request::Origin;
pub use run::run;
pub use run_error::{Nested, RunError};
pub use shutdown::Shutdown;
#[cfg(all(feature = "signal", unix))]
pub use signal::{Listening, Signal, ctrl_c, listen_for};
pub use spawn::{SpawnError, SpawnErrorKind, Spawner, current, spawn, spawn_infallible, try_spawn};
pub use task_ref::{CancelOnDrop, TaskRef};
pub use turn::{Budget, Next, Turn};

/// What must not compile: a task's value may be dropped after whatever it borrows
/// from, with the executor, say. (The future itself is `'static`, and yet its output
/// need not be.)
///
/// ```compile_fail,E0597
/// use std::cell::Cell;
/// use std::future::Future;
/// use std::marker::PhantomData;
///
/// struct Looks<'a>(Cell<Option<&'a String>>);
///
/// impl Drop for Looks<'_> {
///     fn drop(&mut self) {
///         println!("{:?}", self.0.get());
///     }
/// }
///
/// fn looks<'a>(_: PhantomData<&'a ()>) -> impl Future<Output = anyhow::Result<Looks<'a>>> + 'static {
///     async { Ok(Looks(Cell::new(None))) }
/// }
///
/// let executor = hearken::Executor::new();
/// let text = String::from("gone");
/// let task = executor.spawn(looks(PhantomData));
/// executor.run_until_idle();
/// task.result().unwrap().0.set(Some(&text));
/// std::mem::forget(task);
/// drop(text);
/// drop(executor);
/// ```
#[cfg(doctest)]
struct BorrowedOutputs;

/// The documents whose examples are run as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/cancellation.md")]
    struct Cancellation;
    #[doc = include_str!("../docs/shutdown.md")]
    struct Shutdown;
    #[doc = include_str!("../docs/more-cores.md")]
    struct MoreCores;
}
