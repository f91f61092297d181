//! The workloads, and the list of them.
//!
//! Each does a number of passes of [`OPERATIONS`] operations, after a warm-up
//! of [`WARM_UP`] passes. Those that are about a large number of something have
//! as many operations in a pass, and fewer passes. What does not grow with the passes (starting the
//! executor, the first growth of its tables, the end) is in every run alike and
//! goes away when two runs are subtracted. So a pass leaves everything as it
//! found it.
//!
//! Nothing here depends on the hour or on chance: whatever looks at a clock
//! looks at a `ManualClock`. What a real clock costs is not counted, therefore.
//!
//! Each asserts that its work was done.

mod tasks; //      spawning, failing, cancelling; many at a time; the executor itself
mod timers; //     sleeps made, dropped, pushed back, fired; timeouts
mod wakes; //      yielding, one task wakes another, a wake from outside
mod scopes; //     scopes, shields, clean-ups that nobody disturbs
mod cancelling; // a request, and who hears it
mod sets; //       thousands in one task

use std::rc::Rc;

use hearken::{Executor, ManualClock};

/// In one pass, if the workload does not say otherwise.
pub const OPERATIONS: usize = 100;

/// Passes before those that were asked for.
pub const WARM_UP: usize = 2;

/// The most passes that may be asked for: some workloads make the tasks for all
/// of them beforehand.
pub const MOST_PASSES: usize = 12;

/// One of the things counted.
pub struct Workload {
    /// As on the command line and in the record.
    pub name: &'static str,
    /// One operation of it, in words.
    pub about: &'static str,
    /// In one pass.
    pub operations: usize,
    /// Does it: the warm-up, and so many passes.
    pub run: fn(usize),
}

impl Workload {
    /// The two runs that are counted, in passes. In thousands of operations
    /// chance evens out by itself, and they take their time.
    pub fn passes(&self) -> (usize, usize) {
        if self.operations > OPERATIONS { (0, 2) } else { (2, MOST_PASSES) }
    }
}

/// Makes the list below. The names are those of the functions; in brackets
/// stands how many operations a pass has.
macro_rules! workloads {
    ($($file:ident::$function:ident $([$operations:expr])?, $about:literal;)*) => {
        pub static WORKLOADS: &[Workload] = &[$(
            Workload {
                name: stringify!($function),
                about: $about,
                operations: [$($operations,)? OPERATIONS][0],
                run: $file::$function,
            },
        )*];
    };
}

workloads! {
    tasks::spawn_join, "a task is spawned in a crowd and awaited for its value";
    tasks::spawn_await, "a task is spawned and awaited at once";
    tasks::spawn_detach, "a task is spawned without a handle, and runs";
    tasks::spawn_failing, "a task without a handle fails, and the handler hears of it";
    tasks::cancel_parked, "a task that waits is cancelled, and its handle dropped";
    tasks::gather, "a task is spawned and gathered, in a crowd";
    tasks::group, "a task is spawned in a group, and ends in it";
    tasks::startup, "an executor is made, runs a future that is ready, is dropped";
    tasks::block_on_ready, "the same executor runs a future that is ready";
    tasks::idle_turn, "a turn, when there is nothing to do";
    wakes::yield_many, "a task yields, in a crowd";
    wakes::yield_one, "a task yields, alone";
    wakes::ping_pong, "a task wakes another and is woken by it";
    wakes::chain, "a task in a ring wakes the next";
    wakes::wake_outside, "a wake through the inbox, and the turn that takes it in";
    timers::sleep_set_dropped, "a sleep is made, polled once, dropped";
    timers::sleep_reset, "a sleep that waits is pushed back and polled";
    timers::sleeps, "a task is spawned, sleeps, is awaited, in a crowd";
    timers::timeout_ready, "a timeout around a future that is ready";
    timers::timeout_yield, "a timeout around a future that yields once";
    scopes::scope, "a scope is entered and left";
    scopes::scope_yield, "a scope around a future that yields once";
    scopes::scopes_ten, "ten scopes around each other and a future that yields once";
    scopes::shield, "a shield is entered and left";
    scopes::shield_yield, "a shield around a future that yields once";
    scopes::finally, "a clean-up after a future that is ready";
    scopes::await_foreign, "a task is spawned and awaited under another waker";
    cancelling::scope_cancelled, "a task in a scope is cancelled, hears of it, ends";
    cancelling::finally_cancelled, "a task is cancelled, and its clean-up runs";
    cancelling::cancel_join, "a task in two scopes at a time is cancelled";
    cancelling::forward, "a task that awaits another is cancelled, and the other first";
    cancelling::forward_scope, "the same, with a scope around the await";
    cancelling::forward_chain, "ten tasks that await one another are cancelled";
    cancelling::deadline, "a deadline passes, and nobody inside it listens";
    cancelling::deadline_scope, "a deadline passes, and a scope inside it hears of it";
    sets::fan_out[sets::AWAITS], "one of 10,000 tasks is spawned, and awaited in a set";
    sets::set_scopes[sets::SCOPES], "one of 1,500 scopes in a set is entered, and told";
    sets::set_deadlines[sets::DEADLINES], "one of 2,000 deadlines in a set passes";
    sets::set_deadlines_told[sets::DEADLINES], "the same, with a scope in each";
    sets::set_awaits[sets::AWAITS], "one of 10,000 awaits in a set passes a request on";
}

/// Runs `pass` in a task of the executor, for the warm-up and `passes` times.
fn repeat(executor: &Executor, passes: usize, pass: impl AsyncFn() + 'static) {
    let main = async move {
        let repeats = hearken::spawn_infallible(async move {
            for _ in 0..WARM_UP + passes {
                pass().await;
            }
        });
        Ok(repeats.await?)
    };
    executor.block_on(main).expect("no workload fails");
}

/// [`OPERATIONS`] tasks do it once in each pass, side by side. They are spawned
/// once. When all of them wait, the clock goes on.
fn in_a_crowd(passes: usize, each: impl AsyncFn() + 'static) {
    let each = Rc::new(each);
    let main = async move {
        let member = |_| {
            let each = each.clone();
            hearken::spawn_infallible(async move {
                for _ in 0..WARM_UP + passes {
                    each().await;
                }
            })
        };
        let members: Vec<_> = (0..OPERATIONS).map(member).collect();
        for member in members {
            member.await?;
        }
        Ok(())
    };
    let executor = Executor::builder().clock(ManualClock::auto()).build();
    executor.block_on(main).expect("no workload fails");
}
