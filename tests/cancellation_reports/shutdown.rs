//! The end of the program.

use std::future::pending;

use hearken::{Task, finally, gather, settle, sleep, spawn};

use crate::common::cast::{ending, naps, tidies};
use crate::common::{Play, secs};
use crate::tell;

const GONE: &str = "cancelled: the executor is shut down";

// n0-computer/iroh 4460, svix/diom 730: a clean-up that waited for its workers
// panicked, because the runtime had cancelled them first.
// promise 6.4, 4.7, 5.1
#[test]
fn a_clean_up_may_wait_for_workers_that_the_shutdown_has_cancelled_too() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let workers: [Task<&str>; 2] =
            [spawn(tidies(said.clone(), "a", 1)), spawn(tidies(said.clone(), "b", 2))];
        finally(pending::<anyhow::Result<()>>(), async || {
            let endings = settle(workers).await;
            let endings: Vec<_> = endings.iter().map(ending).collect();
            tell(&said, &endings.join(", "));
            Ok(())
        })
        .await
    });
    let shutdown = play.world.executor.shut_down();
    assert_eq!(
        play.said.lines(),
        ["a tidied at 1", "b tidied at 2", &format!("{GONE}, {GONE} at 2")]
    );
    assert_eq!((shutdown.found, shutdown.dropped), (3, 0));
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// aio-libs/aiohttp 3593: what was to be done at the end came after the workers
// that it needed had been cancelled, or before, by chance.
// promise 6.4
#[test]
fn a_clean_up_that_needs_a_worker_hears_that_it_is_gone() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let (sends, receives) = async_channel::bounded::<&str>(1);
        sends.send("in the way").await?;
        let worker = spawn(async move {
            let _receives = receives;
            pending::<anyhow::Result<()>>().await
        });
        finally(async { Ok(worker.await?) }, async || {
            let answer = sends.send("goodbye").await;
            said.say(format!("the worker has it: {}", answer.is_ok()));
            Ok(())
        })
        .await
    });
    let shutdown = play.world.executor.shut_down();
    assert_eq!(play.said.lines(), ["the worker has it: false"]);
    assert_eq!(shutdown.dropped, 0);
    drop(task);
    play.close();
}

// zio/zio 8804: children were interrupted from the top, while the parent's
// clean-up still needed them.
// promise 6.4, 4.7, 4.8
#[test]
fn a_task_that_is_begun_and_awaited_in_a_clean_up_is_cancelled_in_its_turn_and_waited_for() {
    let play = Play::new();
    let task = play.start(|said| {
        finally(pending::<anyhow::Result<()>>(), async move || {
            let flushes = spawn(naps(said.clone(), "flushed", 1));
            let endings = settle([flushes]).await;
            tell(&said, &ending(&endings[0]));
            sleep(secs(1)).await;
            tell(&said, "closed");
            Ok(())
        })
    });
    let shutdown = play.world.executor.shut_down();
    let lines = play.said.lines();
    // A newcomer has its first poll, and is cancelled at its first suspension.
    assert_eq!(lines, [format!("{GONE} at 0"), "closed at 1".to_owned()]);
    assert_eq!(shutdown.dropped, 0);
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}

// hail-is/hail 10534: the end waited for one after the other, and those that came
// or went meanwhile were missed.
// promise 6.4, 5.1
#[test]
fn chains_and_gathers_across_one_another_are_told_once_at_the_end() {
    let play = Play::new();
    let task = play.start(|said| async move {
        let a = spawn(tidies(said.clone(), "a", 3));
        let b = spawn(tidies(said.clone(), "b", 2));
        let both = spawn(async move { Ok(gather([a, b]).await?) });
        let c = spawn(tidies(said.clone(), "c", 1));
        c.await?;
        both.await?;
        Ok(())
    });
    let shutdown = play.world.executor.shut_down();
    assert_eq!(play.said.lines(), ["c tidied at 1", "b tidied at 2", "a tidied at 3"]);
    assert_eq!((shutdown.found, shutdown.dropped), (5, 0));
    assert!(task.is_cancelled());
    drop(task);
    play.close();
}
