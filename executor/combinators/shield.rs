//! Not now.

use super::around::{Around, Wrapped};
use crate::asking::with_running_task;
use crate::clock::Instant;
use crate::descent::Around as Surroundings;
use crate::place::Place;
use crate::roles::Roles;
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
    Wrapped::new(f, Shield { place: Place::default() })
}

struct Shield {
    place: Place,
}

impl<F: Future> Around<F> for Shield {
    type Output = F::Output;

    fn poll(&mut self, mut future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
        with_running_task(|state| {
            let poll = |cx: &mut Context<'_>| {
                let inner = future.as_mut().as_pin_mut();
                inner.expect("shield polled after it was ready").poll(cx)
            };
            let Some(state) = state else { return { poll }(cx) };
            self.place.arrive(state, cx);
            let told = self.place.is_told(state);
            let descent = &state.descent;
            let around = descent.around.get();
            let inside = Surroundings {
                deadline: Instant::NEVER,
                shielded: true,
                asked: false,
                waits: false,
                ..around
            };
            let (polled, mut found) = if self.place.is_polled_plainly(state) {
                let inside = descent.enter_plainly(cx.waker(), inside);
                let polled = { poll }(cx);
                let found = match inside.leave() {
                    Ok(found) => found,
                    Err(inner) => self.place.leave_inner(state, inner, true),
                };
                (polled, found)
            } else {
                let goes_through = descent.carried_goes_through();
                let within = || self.place.poll_inside(state, cx, None, poll);
                descent.within(inside, || match goes_through {
                    true => within(),
                    false => descent.keep_off(within),
                })
            };
            let outward = found.outward.take();
            if polled.is_pending() {
                outward.into_iter().for_each(|outward| self.place.lets_outward(outward));
                // What goes outward from inside of it does not wait for its end.
                let own = match (self.place.sends_outward(state, found.roles), told) {
                    (Some(true), true) => Roles::OPEN_SHIELD,
                    (Some(true), false) => Roles::NONE,
                    (_, true) => Roles::SHIELD,
                    (_, false) => Roles::NEW_SHIELD,
                };
                // Who takes what an inner owner asks takes nothing of what is kept off.
                let inside = found.roles.with_takers_of(Roles::NONE);
                self.place.suspend(state, own, inside);
            } else {
                outward.iter().for_each(|outward| descent.send_outward(outward));
                self.place.leave();
                future.set(None);
            }
            polled
        })
    }
}
