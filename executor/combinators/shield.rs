//! Not now.

use super::around::{Around, Wrapped};
use crate::cancelling::Standing;
use crate::scopes::Kind;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs `f` to its end before a request to cancel is heard.
///
/// A request that comes meanwhile waits, and so does whoever waits for the
/// task. It is delivered at the first suspension after `f`. Deadlines around
/// wait too.
///
/// `shield(task)` also keeps the request from being forwarded to the task.
///
/// The second interrupt, and the end of the grace at shutdown, go through: else
/// one shielded future that never ends could keep a program alive.
///
/// # Cancellation
///
/// Dropping it drops `f`: a shield keeps off requests, not drops.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let task = executor.spawn(async {
///     hearken::shield(async {
///         hearken::yield_now().await; // write the first half
///         hearken::yield_now().await; // and the second
///     })
///     .await;
///     println!("both halves are there");
///     std::future::pending::<anyhow::Result<()>>().await
/// });
/// executor.turn(hearken::Budget::Batch);
/// task.cancel();
/// executor.run_until_idle();
/// assert!(task.is_cancelled());
/// ```
pub fn shield<F: Future>(f: F) -> impl Future<Output = F::Output> {
    Wrapped::new(f, Shield { standing: Standing::default() })
}

struct Shield {
    standing: Standing,
}

impl<F: Future> Around<F> for Shield {
    type Output = F::Output;

    fn poll(&mut self, mut future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let inner = future.as_mut().as_pin_mut().expect("shield polled after it was ready");
        let output = match self.standing.poll(Kind::Shield, cx) {
            Some(here) => here.home.with_deadline(None, || here.inside(|| inner.poll(cx))),
            None => inner.poll(cx),
        };
        if output.is_ready() {
            future.set(None);
            self.standing.leave();
        }
        output
    }
}
