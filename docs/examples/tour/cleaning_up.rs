//! A cancelled task cleans up, and its clean-up awaits.
//!
//! In asyncio these are `try: … finally: await …`, `asyncio.shield` and
//! `asyncio.wait_for`.

use hearken::{RunError, finally, now, shield, sleep, spawn, timeout};

use crate::start::{SECOND, TENTH, run};

/// Talks for an hour, and says goodbye whatever happens. Goodbyes take time.
async fn call() -> anyhow::Result<()> {
    let talk = async {
        println!("talking");
        sleep(3600 * SECOND).await;
        Ok(())
    };
    finally(talk, async || {
        println!("saying goodbye");
        sleep(SECOND / 2).await;
        println!("hung up");
        Ok(())
    })
    .await
}

/// `try: await talk()` with `finally: await hang_up()`. Main cancels the task,
/// which hangs up first, and ends as cancelled all the same.
pub fn finally_awaits() -> Result<(), RunError> {
    run(async {
        let task = spawn(call());
        sleep(TENTH).await;
        task.cancel();
        println!("main asked it to cancel");
        if let Err(error) = task.await {
            println!("{error}");
        }
        Ok(())
    })
}

async fn save() -> anyhow::Result<()> {
    shield(async {
        println!("wrote the first half");
        sleep(SECOND).await;
        println!("wrote the second half");
    })
    .await;
    sleep(SECOND).await;
    println!("never printed, because the request waited until here");
    Ok(())
}

/// Half a file is worse than none. The request to cancel waits until the
/// shielded part is through, and then takes effect.
pub fn shield_writes() -> Result<(), RunError> {
    run(async {
        let task = spawn(save());
        sleep(TENTH).await;
        task.cancel();
        println!("main asked it to cancel");
        if let Err(error) = task.await {
            println!("{error}");
        }
        Ok(())
    })
}

/// `asyncio.wait_for(call(), 1)`. The deadline is a cancellation too, so the
/// call hangs up, and `timeout` returns when it has.
pub fn timeout_cleanup() -> Result<(), RunError> {
    run(async {
        let start = now();
        if let Err(elapsed) = timeout(SECOND, call()).await {
            println!("{elapsed}: it was 1s, and the goodbye made it {:?}", now() - start);
        }
        Ok(())
    })
}
