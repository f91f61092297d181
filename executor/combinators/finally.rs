//! What must be done however it ends.

use super::around::{Sequence, Sequenced};
use super::scope::Outward;
use crate::asking::with_running_task;
use crate::outcome::{Cancelled, Panicked, TaskCancelled, catch};
use crate::place::{Heard, Place};
use crate::report::TaskInfo;
use crate::request::Delivery;
use crate::rules::outermost;
use crate::state::State;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Runs `f`, and then `cleanup`, whatever way `f` ends: with a value, an error,
/// a panic, also in its drop, or because the task was asked to cancel. `cleanup`
/// may await.
///
/// Then `f`'s own ending goes on: the value, the error, or the panic. A
/// cancellation goes on outward, as by [`rethrow`](crate::Cancelled::rethrow): to
/// the next scope around, or to the end of the task. It is not handed to the code
/// behind `finally`.
///
/// `cleanup` is not shielded: a further request cuts it short. What must finish
/// goes under a [`shield`](crate::shield()).
///
/// # Errors
///
/// The error of `f`; or [`CleanupFailed`], if `cleanup` failed, which holds both
/// errors when there are two. Outside of a task also a [`Cancelled`] that `f`
/// returned.
///
/// # Cancellation
///
/// Dropping it drops `f`, and `cleanup` does not run: nobody is there to await
/// it. A task that was never polled, or is dropped with its executor, ends so.
///
/// One that is polled by reference, and whose cancellation has been stopped further
/// out, has ended: awaited again, it gives a [`TaskCancelled`].
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let task = executor.spawn(async {
///     let work = std::future::pending::<anyhow::Result<()>>();
///     hearken::finally(work, async || {
///         hearken::yield_now().await; // close the connection
///         Ok(())
///     })
///     .await
/// });
/// executor.run_until_idle();
/// task.cancel();
/// executor.run_until_idle();
/// assert!(task.is_cancelled());
/// ```
pub fn finally<T>(
    f: impl Future<Output = anyhow::Result<T>>,
    cleanup: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> impl Future<Output = anyhow::Result<T>> {
    Sequenced::new(f, async move { cleanup().await }, Finally::Body(Place::default()))
}

/// What is being done.
enum Finally<T> {
    Body(Place),
    Cleanup(Unfinished<T>),
    /// The clean-up is done, and the cancellation goes on outward.
    Leaving(Outward),
    Done,
}

/// How the body ended.
enum Ended<T> {
    Returned(anyhow::Result<T>),
    Panicked(Panicked),
    Cancelled(Cancelled),
}

/// How the body ended, while the clean-up runs. If that is cut short, a failure of the
/// body is reported.
struct Unfinished<T> {
    ended: Option<Ended<T>>,
    /// In which task it failed.
    failed: Option<Box<(Rc<State>, TaskInfo)>>,
}

impl<T> Unfinished<T> {
    fn new(ended: Ended<T>) -> Unfinished<T> {
        let failed = match &ended {
            Ended::Returned(Err(error)) => error.downcast_ref::<Cancelled>().is_none(),
            Ended::Panicked(_) => true,
            Ended::Returned(Ok(_)) | Ended::Cancelled(_) => false,
        };
        let info = |state: &Rc<State>| {
            let info = state.with_running(|header| state.info(header))?;
            Some(Box::new((state.clone(), info)))
        };
        let failed = failed.then(|| with_running_task(|state| state.and_then(info))).flatten();
        Unfinished { ended: Some(ended), failed }
    }

    fn finish(mut self) -> Ended<T> {
        self.failed = None;
        self.ended.take().expect("it is finished once")
    }
}

impl<T> Drop for Unfinished<T> {
    fn drop(&mut self) {
        let (Some(failed), Some(ended)) = (self.failed.take(), self.ended.take()) else { return };
        let (home, task) = *failed;
        let error = match ended {
            Ended::Returned(Err(error)) => error,
            Ended::Panicked(panicked) => panicked.into(),
            Ended::Returned(Ok(_)) | Ended::Cancelled(_) => return,
        };
        home.report_cut_short(task, error);
    }
}

impl<T, F, G> Sequence<F, G> for Finally<T>
where
    F: Future<Output = anyhow::Result<T>>,
    G: Future<Output = anyhow::Result<()>>,
{
    type Output = anyhow::Result<T>;

    fn poll(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        mut cleanup: Pin<&mut Option<G>>,
        cx: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        loop {
            match self {
                Finally::Body(place) => {
                    let Some(mut ended) = poll_body(place, body.as_mut(), cx) else {
                        return Poll::Pending;
                    };
                    // It is foreign, and its drop may panic in its turn.
                    if let Err(panicked) = catch(|| body.set(None)) {
                        ended = Ended::Panicked(match &ended {
                            Ended::Cancelled(cancelled) => panicked.while_cancelled(cancelled),
                            _ => panicked,
                        });
                    }
                    *self = Finally::Cleanup(Unfinished::new(ended));
                }
                Finally::Cleanup(_) => {
                    let cleaning = cleanup.as_mut().as_pin_mut().expect("it is polled to its end");
                    let Poll::Ready(cleaned) = cleaning.poll(cx) else { return Poll::Pending };
                    cleanup.set(None);
                    let Finally::Cleanup(unfinished) = mem::replace(self, Finally::Done) else {
                        unreachable!("it was a line ago")
                    };
                    let ended = unfinished.finish();
                    match ended.leaves(&cleaned) {
                        Some(delivery) => *self = Finally::Leaving(Outward::new(delivery)),
                        None => return Poll::Ready(ended.after(cleaned)),
                    }
                }
                // Stopped before, and kept: it says how it has ended, as a task does.
                Finally::Leaving(outward) => {
                    return outward.poll(cx).map(|stopped| Err(cancelled_before(&stopped)));
                }
                Finally::Done => panic!("finally polled after it was ready"),
            }
        }
    }
}

/// What a future says that ended by this request, when it is asked once more.
fn cancelled_before(delivery: &Delivery) -> anyhow::Error {
    let task = with_running_task(|state| state.and_then(|state| state.running.get()));
    TaskCancelled::of(delivery, task.expect("it is polled in a task")).into()
}

/// Polls the body, which is the inside of a scope.
fn poll_body<T, F: Future<Output = anyhow::Result<T>>>(
    place: &mut Place,
    mut body: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Option<Ended<T>> {
    with_running_task(|state| {
        let mut poll = |cx: &mut Context<'_>| {
            let body = body.as_mut().as_pin_mut().expect("it is polled until it has ended");
            match catch(|| body.poll(cx)) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(returned)) => Poll::Ready(Ended::Returned(returned)),
                Err(panicked) => Poll::Ready(Ended::Panicked(panicked)),
            }
        };
        let Some(state) = state else {
            return match poll(cx) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            };
        };
        place.arrive(state, cx);
        let ended = match place.poll_hearing(state, cx, false, None, poll) {
            Heard::Pending(found) => {
                place.suspend(state, Default::default(), found.roles);
                return None;
            }
            Heard::Ready(ended) => ended,
            Heard::Takes(delivery) => {
                // The token first: one that is dropped inside is not the last.
                let cancelled = state.hear(&delivery).expect("it is polled in a task");
                let mut panicked = None;
                state.drop_inside(&delivery, || panicked = catch(|| body.set(None)).err());
                match panicked {
                    Some(panicked) => Ended::Panicked(panicked.while_cancelled(&cancelled)),
                    None => Ended::Cancelled(cancelled),
                }
            }
        };
        place.leave();
        Some(ended)
    })
}

impl<T> Ended<T> {
    /// What goes on outward: the cancellation by which it ended, or by which the
    /// clean-up did. A failure does not go with either.
    fn leaves(&self, cleaned: &anyhow::Result<()>) -> Option<Arc<Delivery>> {
        let own = match self {
            Ended::Cancelled(cancelled) => Some(cancelled),
            Ended::Returned(Err(error)) => error.downcast_ref::<Cancelled>(),
            _ => None,
        };
        let has_failed = match self {
            Ended::Returned(Err(_)) => own.is_none(),
            Ended::Panicked(_) => true,
            _ => false,
        };
        let own = own.and_then(delivery_of);
        match cleaned {
            Ok(()) => own,
            Err(_) if has_failed => None,
            Err(error) => {
                let latest = delivery_of(error.downcast_ref::<Cancelled>()?)?;
                Some(match own {
                    Some(own) => outermost(own, latest),
                    None => latest,
                })
            }
        }
    }

    /// Goes on when the clean-up has ended.
    fn after(self, cleaned: anyhow::Result<()>) -> anyhow::Result<T> {
        match (self, cleaned) {
            (Ended::Returned(returned), Ok(())) => returned,
            (Ended::Cancelled(cancelled), Ok(())) => Err(cancelled.into()),
            (Ended::Panicked(panicked), Ok(())) => {
                std::panic::resume_unwind(panicked.into_payload())
            }
            (Ended::Returned(Ok(_)), Err(error)) => {
                Err(CleanupFailed { error, before: None }.into())
            }
            (Ended::Returned(Err(before)), Err(error)) => {
                let own = before.downcast_ref().filter(|own| delivery_of(own).is_some());
                let own = own.map(|own: &Cancelled| TaskCancelled::from(own).into());
                Err(CleanupFailed::after(own.unwrap_or(before), error))
            }
            (Ended::Panicked(panicked), Err(error)) => {
                Err(CleanupFailed::after(panicked.into(), error))
            }
            (Ended::Cancelled(cancelled), Err(error)) => {
                // A failure in the clean-up after a cancellation is a failure;
                // the cancellation is part of the story, and not the ending.
                let before = TaskCancelled::from(&cancelled);
                Err(CleanupFailed::after(before.into(), error))
            }
        }
    }
}

/// Of what a token of the running task was made.
fn delivery_of(token: &Cancelled) -> Option<Arc<Delivery>> {
    let is_mine = with_running_task(|state| state.is_some_and(|state| state.is_mine(token)));
    token.delivery().filter(|_| is_mine).cloned()
}

/// The clean-up of a [`finally`] failed.
///
/// Its source is the clean-up's error.
#[derive(Debug)]
pub struct CleanupFailed {
    error: anyhow::Error,
    before: Option<anyhow::Error>,
}

impl CleanupFailed {
    fn after(before: anyhow::Error, error: anyhow::Error) -> anyhow::Error {
        // Nobody is to take a token in it for an ending.
        let error = match error.downcast::<Cancelled>() {
            Ok(token) => TaskCancelled::from(&token).into(),
            Err(error) => error,
        };
        CleanupFailed { error, before: Some(before) }.into()
    }

    /// The error of the clean-up.
    pub fn error(&self) -> &anyhow::Error {
        &self.error
    }

    /// How the future itself had ended before, if not with a value.
    pub fn before(&self) -> Option<&anyhow::Error> {
        self.before.as_ref()
    }
}

impl fmt::Display for CleanupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            Some(before) => write!(f, "the clean-up failed, after: {before:#}"),
            None => f.write_str("the clean-up failed"),
        }
    }
}

impl Error for CleanupFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}
