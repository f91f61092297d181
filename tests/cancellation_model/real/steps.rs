//! Each step of a program as the code that it stands for.

use super::words::{Failure, reason, words};
use super::{Counted, Stage};
use crate::program::{Act, After, Kind, Loser, Step};
use futures::StreamExt;
use futures::future::{Either, LocalBoxFuture, join_all, select};
use futures::stream::FuturesUnordered;
use futures_concurrency::future::Join;
use hearken::{Elapsed, Group, Task, TaskState};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::{Rc, Weak};
use std::time::Duration;

pub type Ending = anyhow::Result<()>;

/// What the nearest step around keeps, for those who await it by reference.
type Kept = Weak<RefCell<Option<LocalBoxFuture<'static, Ending>>>>;

/// Spawns a task that says what it returns and how it ends.
pub fn spawn(
    stage: &Rc<Stage>,
    body: &Step,
    spawn: impl FnOnce(LocalBoxFuture<'static, Ending>) -> Task<()>,
) -> Task<()> {
    let label = body.label;
    let future = run_step(stage, body, &Weak::new());
    let said = stage.clone();
    let task = spawn(Box::pin(async move {
        let ending = future.await;
        said.say(label, format!("returns {}", words(&ending)));
        ending
    }));
    task.set_name(label.to_string());
    stage.tasks.borrow_mut().insert(label, task.task_ref());
    let said = stage.clone();
    task.on_done(move |finished| {
        let words = match finished.info().state() {
            TaskState::Succeeded => "ended with a value",
            TaskState::Failed | TaskState::Panicked => "has failed",
            TaskState::Cancelled => return, // the report has the reason
            state => unreachable!("it has not ended: {state:?}"),
        };
        said.say(label, words);
    });
    task
}

fn run_step(stage: &Rc<Stage>, step: &Step, kept: &Kept) -> LocalBoxFuture<'static, Ending> {
    let (stage, step, kept) = (stage.clone(), step.clone(), kept.clone());
    let counted = Counted::new(&stage);
    Box::pin(async move {
        let _counted = counted;
        act(&stage, step.label, &step.act, &kept).await
    })
}

/// Does what a step does.
async fn act(stage: &Rc<Stage>, label: u32, act: &Act, kept: &Kept) -> Ending {
    let say = |what: &str| stage.say(label, what);
    let run = |step: &Step| run_step(stage, step, kept);
    match act {
        Act::Log => {
            say("is here");
            Ok(())
        }
        Act::Sleep(duration) => {
            let waits = Waits::new(stage, label, false);
            stage.woken(hearken::sleep(Duration::from_millis(*duration))).await;
            say("has slept");
            waits.is_over.set(true);
            Ok(())
        }
        Act::Pending | Act::Bomb => {
            let _waits = Waits::new(stage, label, *act == Act::Bomb);
            stage.woken(pending()).await
        }
        Act::Fail => Err(Failure(label).into()),
        Act::Panic => panic!("panic {label}"),
        Act::CancelSelf => {
            hearken::current().cancel_with(format!("by itself at {label}"));
            Ok(())
        }
        Act::Uncancel => {
            hearken::current().uncancel();
            Ok(())
        }
        Act::Seq(parts) => {
            for part in parts {
                run(part).await?;
            }
            Ok(())
        }
        Act::Repeat(times, part) => {
            for _ in 0..*times {
                run(part).await?;
            }
            Ok(())
        }
        Act::Try(part) => {
            let ending = run(part).await;
            say(&format!("tried: {}", words(&ending)));
            Ok(())
        }
        Act::Scope { inside, cleanup, after } => {
            let token = match hearken::scope(run(inside)).await {
                Ok(ending) => {
                    say("is through");
                    return ending;
                }
                Err(token) => token,
            };
            say(&format!("heard {:?}: {}", token.origin(), reason(token.reason())));
            run(cleanup).await?;
            say(&format!("{after:?}"));
            match after {
                After::Accept => token.accept(),
                After::Return => Err(token)?,
                After::Rethrow => token.rethrow().await,
                After::Drop => drop(token),
            }
            Ok(())
        }
        Act::Shield(inside) => {
            let ending = hearken::shield(run(inside)).await;
            say("is through");
            ending
        }
        Act::Timeout(limit, inside) => {
            match hearken::timeout(Duration::from_millis(*limit), run(inside)).await {
                Ok(ending) => {
                    say("is in time");
                    ending
                }
                Err(Elapsed) => {
                    say("has elapsed");
                    Err(Elapsed.into())
                }
            }
        }
        Act::Finally { inside, cleanup } => {
            let cleanup = async || {
                say("cleans up");
                run(cleanup).await?;
                say("has cleaned up");
                Ok(())
            };
            let ending = hearken::finally(run(inside), cleanup).await;
            say(&format!("gave {}", words(&ending)));
            ending
        }
        Act::Await(body) => await_task(stage, label, spawn(stage, body, hearken::spawn)).await,
        Act::AwaitTask(number) => {
            let task = stage.handles.borrow_mut().get_mut(*number).and_then(Option::take);
            match task {
                Some(task) => await_task(stage, label, task).await,
                None => {
                    say("finds no handle");
                    Ok(())
                }
            }
        }
        Act::TakeOver => {
            let taken = stage.shelf.take();
            match taken {
                Some(taken) => taken.await,
                None => {
                    say("finds nothing");
                    Ok(())
                }
            }
        }
        Act::Spawn(body) => {
            spawn(stage, body, hearken::spawn).detach();
            Ok(())
        }
        Act::Gather(kind, bodies) => {
            let tasks: Vec<_> =
                bodies.iter().map(|body| spawn(stage, body, hearken::spawn)).collect();
            let ending = match kind {
                Kind::Gather => hearken::gather(tasks).await,
                Kind::TryGather => hearken::try_gather(tasks).await,
                Kind::Settle => {
                    for ending in hearken::settle(tasks).await {
                        let ending = ending.map_err(anyhow::Error::from);
                        say(&format!("was given {}", words(&ending)));
                    }
                    return Ok(());
                }
            };
            let ending = ending.map(drop).map_err(anyhow::Error::from);
            say(&format!("was given {}", words(&ending)));
            ending
        }
        Act::Group { tasks, body } => {
            let ending = hearken::group(async |group: Group| {
                for task in tasks {
                    spawn(stage, task, |future| group.spawn(future)).detach();
                }
                run(body).await
            })
            .await;
            let ending = ending.map_err(anyhow::Error::from);
            say(&format!("gave {}", words(&ending)));
            ending
        }
        Act::Join(parts) => first_error(stage, label, join_all(parts.iter().map(run)).await),
        Act::Concurrent(parts) => {
            let branches: Vec<_> = parts.iter().map(run).collect();
            first_error(stage, label, branches.join().await)
        }
        Act::Set(parts) => {
            let numbered = |(at, part)| {
                let branch = run(part);
                async move { (at, branch.await) }
            };
            let set: FuturesUnordered<_> = parts.iter().enumerate().map(numbered).collect();
            let mut endings: Vec<_> = set.collect().await;
            endings.sort_by_key(|(at, _)| *at);
            first_error(stage, label, endings.into_iter().map(|(_, ending)| ending).collect())
        }
        Act::Stream { parts, each } => {
            let named = |part| {
                let branch = run(part);
                async move { (part.label, branch.await) }
            };
            let mut set: FuturesUnordered<_> = parts.iter().map(named).collect();
            while let Some((branch, ending)) = set.next().await {
                say(&format!("branch {branch} gave {}", words(&ending)));
                drop(ending);
                run(each).await?;
            }
            Ok(())
        }
        Act::Keep { kept, user, resume } => {
            let kept = Rc::new(RefCell::new(Some(run_step(stage, kept, &Weak::new()))));
            let ending = run_step(stage, user, &Rc::downgrade(&kept)).await;
            say(&format!("the user gave {}", words(&ending)));
            drop(ending);
            let kept = kept.take();
            match kept {
                Some(kept) if *resume => kept.await,
                _ => Ok(()),
            }
        }
        Act::Kept => match kept.upgrade() {
            Some(future) if future.borrow().is_some() => await_kept(kept).await,
            _ => {
                say("finds nothing kept");
                Ok(())
            }
        },
        Act::Select { first, second, loser } => {
            let (mut first_future, mut second_future) = (run(first), run(second));
            let (winner, ending, lost) = match select(&mut first_future, &mut second_future).await {
                Either::Left((ending, _)) => (first.label, ending, second_future),
                Either::Right((ending, _)) => (second.label, ending, first_future),
            };
            say(&format!("was won by {winner}"));
            match loser {
                Loser::Drop => {
                    drop(lost);
                    ending
                }
                Loser::Forget => {
                    stage.forgotten.set(stage.forgotten.get() + 1);
                    std::mem::forget(lost);
                    ending
                }
                Loser::HandOver => {
                    let before = stage.shelf.replace(Some(lost));
                    drop(before);
                    ending
                }
                Loser::Park { then, resume } => {
                    say(&format!("the winner gave {}", words(&ending)));
                    drop(ending);
                    run(then).await?;
                    if *resume { lost.await } else { Ok(()) }
                }
            }
        }
    }
}

/// `(&mut kept).await`. It is dropped when it has ended, or panicked.
async fn await_kept(kept: &Kept) -> Ending {
    poll_fn(|cx| {
        let kept = kept.upgrade().expect("whoever keeps it is polled");
        let mut future = kept.take().expect("it has not ended");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            kept.replace(Some(future));
        }
        polled
    })
    .await
}

async fn await_task(stage: &Stage, label: u32, task: Task<()>) -> Ending {
    let ending = task.await.map_err(anyhow::Error::from);
    stage.say(label, format!("was given {}", words(&ending)));
    ending
}

fn first_error(stage: &Stage, label: u32, endings: Vec<Ending>) -> Ending {
    for ending in &endings {
        stage.say(label, format!("a branch gave {}", words(ending)));
    }
    endings.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

/// A leaf that says so when it is dropped before its time.
struct Waits {
    stage: Rc<Stage>,
    label: u32,
    is_over: Cell<bool>,
    is_bomb: bool,
}

impl Waits {
    fn new(stage: &Rc<Stage>, label: u32, is_bomb: bool) -> Waits {
        Waits { stage: stage.clone(), label, is_over: Cell::new(false), is_bomb }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        self.stage.say(self.label, "is dropped");
        if self.is_bomb && !std::thread::panicking() {
            panic!("panic {}", self.label);
        }
    }
}
