//! Ctrl-C, as far as a program can press it itself.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hearken::{Executor, RunError, finally, sleep, spawn};

use crate::start::SECOND;

/// Sleeps until somebody interrupts, and says beforehand that it does. The
/// clean-up takes a moment, and is waited for.
async fn sleeper(name: &'static str, asleep: mpsc::Sender<()>) -> anyhow::Result<()> {
    let night = async {
        asleep.send(())?;
        sleep(3600 * SECOND).await;
        Ok(())
    };
    finally(night, async || {
        sleep(Duration::from_millis(5)).await;
        println!("{name} cleaned up");
        Ok(())
    })
    .await
}

/// A second thread interrupts while main and two tasks sleep for an hour.
///
/// Main is cancelled first. Shutting down then cancels the others, the youngest
/// first, because children are younger than those who spawned them. So `task 2`
/// is spawned before `task 1` here, for the lines to come in order.
pub fn interrupt() -> Result<(), RunError> {
    // On the system's clock: a clock that jumps would be an hour ahead before
    // the thread had started.
    let executor = Executor::new();
    let interrupter = executor.interrupter();
    let (asleep, all_asleep) = mpsc::channel();

    let ctrl_c = thread::spawn(move || {
        for _sleeper in 0..3 {
            all_asleep.recv().expect("all three fall asleep");
        }
        interrupter.interrupt();
    });
    let ending = executor.block_on(async {
        let older = spawn(sleeper("task 2", asleep.clone()));
        let younger = spawn(sleeper("task 1", asleep.clone()));
        older.detach();
        younger.detach();
        sleeper("main", asleep).await
    });
    let _ = executor.shut_down();
    ctrl_c.join().expect("the other thread only interrupts");

    match ending {
        Err(RunError::Interrupted { .. }) => {
            println!("interrupted");
            Ok(())
        }
        ending => ending,
    }
}
