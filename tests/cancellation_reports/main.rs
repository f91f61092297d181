//! What others have reported against their cancellation, tried here.
//!
//! asyncio, trio and anyio, Kotlin's coroutines, Swift's tasks, Go's groups,
//! Java's scopes, ZIO and cats-effect, tokio and futures have all shipped faults
//! in how they cancel, and mended them in public. Each test takes one such
//! report, says in a line what went wrong there, puts the same situation in our
//! terms, and expects what our promises say: which is not always what was
//! decided there. `owner/name number` is a thread of that repository.
//!
//! A fault in this field is often one that goes round for ever, so all of it
//! runs by [`run`], which counts the turns.

#[path = "../common/mod.rs"]
mod common;

mod counting;
mod drops;
mod gathers;
mod groups;
mod sets;
mod shields;
mod shutdown;
mod timeouts;

use common::cast::second;
use common::{Play, Transcript, secs};
use hearken::{Budget, Next, Task, sleep};

/// More turns than any of this needs.
const MOST_TURNS: usize = 2_000;

/// Runs until all wait. What was said since this was last asked.
#[track_caller]
fn run(play: &Play) -> Vec<String> {
    for _ in 0..MOST_TURNS {
        let turn = play.world.executor.turn(Budget::Batch);
        if matches!(turn.next, Next::Waiting | Next::Empty) {
            return play.said.lines();
        }
    }
    panic!("it goes round and round, and has said {:?}", play.said.lines());
}

/// Has `task` cancelled, with a reason, at that second.
fn cancel_at<T>(play: &Play, task: &Task<T>, second: u64) {
    let task = task.task_ref();
    let cancels = async move {
        sleep(secs(second)).await;
        task.cancel_with("enough");
        Ok(())
    };
    play.world.executor.spawn(cancels).detach();
}

/// Says `line`, and at what second.
fn tell(said: &Transcript, line: &str) {
    said.say(format!("{line} at {}", second()));
}
