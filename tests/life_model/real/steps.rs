//! What tasks do.

use super::stage::{Made, Stage};
use super::words::{Failure, Thrown, cancelled, outcome};
use crate::program::{After, Body, CleanUp, Deed, Missed, Payload, Slot, Step, Wait};
use hearken::{MissedTicks, Task, interval, scope, shield, sleep, yield_now};
use std::future::{Future, pending, poll_fn};
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

type Ending = anyhow::Result<Made>;

/// The future of a task.
pub fn run(stage: &Rc<Stage>, body: Body) -> impl Future<Output = Ending> + use<> {
    let (stage, alive) = (stage.clone(), stage.alive.clone());
    async move {
        let _alive = alive;
        let guard = Guard { stage: stage.clone(), label: body.label, deeds: body.guard };
        let ended = match body.cleanup {
            None => steps(&stage, &body.inside).await,
            Some(cleanup) => match scope(steps(&stage, &body.inside)).await {
                Ok(ended) => ended,
                Err(token) => {
                    stage.say(body.label, format!("hears {}", cancelled(&token)));
                    clean_up(&stage, &cleanup, token).await
                }
            },
        };
        // By name: if it panics, what has ended is dropped, and not lost.
        drop(guard);
        ended.unwrap_or_else(|| Ok(stage.make(body.label, &Payload::default())))
    }
}

async fn clean_up(
    stage: &Rc<Stage>,
    cleanup: &CleanUp,
    token: hearken::Cancelled,
) -> Option<Ending> {
    let ended = steps(stage, &cleanup.steps).await;
    match cleanup.after {
        _ if ended.is_some() => drop(token),
        After::Return => return Some(Err(token.into())),
        After::Accept => token.accept(),
        After::Drop => drop(token),
    }
    ended
}

/// Answers how they have ended, if they say so.
async fn steps(stage: &Rc<Stage>, steps: &[Step]) -> Option<Ending> {
    for Step { label, wait } in steps {
        let label = *label;
        match wait {
            Wait::Do(act) => stage.act(label, act),
            Wait::Yield => yield_now().await,
            Wait::Sleep(millis) => sleep(Duration::from_millis(*millis)).await,
            Wait::Shield(millis) => shield(sleep(Duration::from_millis(*millis))).await,
            Wait::Pending => pending().await,
            Wait::Await { slot, pass_on } => {
                let Some(handle) = stage.handles[*slot].take() else { continue };
                let task = handle.task;
                let outcome = task.await;
                stage.say(label, format!("awaited {}", self::outcome(&outcome)));
                match outcome {
                    Err(error) if *pass_on => return Some(Err(error.into())),
                    outcome => drop(outcome),
                }
            }
            Wait::AwaitHere(slot) => {
                let outcome = poll_fn(|cx| match &mut *stage.handles[*slot].borrow_mut() {
                    None => Poll::Ready(None),
                    Some(handle) => Pin::new(&mut handle.task).poll(cx).map(Some),
                });
                if let Some(outcome) = outcome.await {
                    stage.say(label, format!("awaited {}", self::outcome(&outcome)));
                }
            }
            Wait::PollOnce { slot, keeps } => poll_once(stage, label, *slot, *keeps).await,
            Wait::GiveWaker => {
                poll_fn(|cx| Poll::Ready(stage.waker.replace(Some(cx.waker().clone())))).await;
            }
            Wait::NewTimer(slot, millis) => {
                let timer = sleep(Duration::from_millis(*millis));
                drop(stage.timers[*slot].replace(Some(timer)));
            }
            Wait::AwaitTimer(slot) => {
                poll_fn(|cx| match &mut *stage.timers[*slot].borrow_mut() {
                    None => Poll::Ready(()),
                    Some(timer) => Pin::new(timer).poll(cx),
                })
                .await;
            }
            Wait::PollTimer(slot) => {
                let polled = poll_fn(|cx| match &mut *stage.timers[*slot].borrow_mut() {
                    None => Poll::Ready(None),
                    Some(timer) => Poll::Ready(Some(Pin::new(timer).poll(cx).is_ready())),
                });
                if let Some(is_over) = polled.await {
                    stage.say(label, format!("the timer is over: {is_over}"));
                }
                continue;
            }
            Wait::Ticks { period, count, missed } => {
                ticks(stage, label, *period, *count, *missed).await;
            }
            Wait::Value(payload) => return Some(Ok(stage.make(label, payload))),
            Wait::Fail(payload) => return Some(Err(Failure(stage.make(label, payload)).into())),
            Wait::Throw(payload) => panic_any(Thrown { _made: stage.make(label, payload) }),
        }
        if !matches!(wait, Wait::Do(_)) {
            stage.say(label, "goes on");
        }
    }
    None
}

async fn poll_once(stage: &Rc<Stage>, label: u32, slot: Slot, keeps: bool) {
    let Some(mut handle) = stage.handles[slot].take() else { return };
    let polled = poll_fn(|cx| {
        let task: &mut Task<Made> = &mut handle.task;
        Poll::Ready(Pin::new(task).poll(cx))
    });
    match polled.await {
        Poll::Ready(outcome) => {
            stage.say(label, format!("found {}", self::outcome(&outcome)));
            drop(handle);
            drop(outcome);
        }
        Poll::Pending => {
            stage.say(label, "found it pending");
            match keeps {
                true => stage.put(slot, handle),
                false => drop(handle),
            }
        }
    }
}

async fn ticks(stage: &Rc<Stage>, label: u32, period: u64, count: u32, missed: Missed) {
    let mut interval = interval(Duration::from_millis(period)).expect("it is not zero");
    interval.set_missed_ticks(match missed {
        Missed::Burst => MissedTicks::Burst,
        Missed::Delay => MissedTicks::Delay,
        Missed::Skip => MissedTicks::Skip,
    });
    for _ in 0..count {
        let due = interval.tick().await;
        stage.say(label, format!("ticks, due {}", super::millis(due.as_nanos())));
    }
}

/// The locals of a task.
struct Guard {
    stage: Rc<Stage>,
    label: u32,
    deeds: Vec<Deed>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stage.say(self.label, "lets go");
        self.deeds.iter().for_each(|deed| self.stage.deed(deed));
    }
}
