//! A task's life, as a table: what can happen to it, and what is to be done.
//!
//! Nothing is done here. A [`Life`] decides and answers; the caller acts. So
//! the rules can be read in one place, and tried in every order.
//!
//! ```text
//!            taken from the queue             cancel()
//!          ┌──────── Waiting ─────────────────────────► Asked ◄───────────────┐
//!    Poll  │            ▲                                 │ taken: Cancel      │
//!          ▼    pending │            somebody to tell     │                    │
//!       Polling ────────┘   PollingAsked ◄────────────────┤                    │
//!          │  ╲ cancel() ──► │     │ pending, not heard ──┼────────────────────┘
//!          │  ◄── heard ─────┘     │       nobody to tell ▼
//!          │                       │                   Dropping
//!          └── ready ──────────────┴──────────────────────┴──► Ended(how)
//! ```
//!
//! | life | taken | cancel | uncancel, heard | pending | ready with a value | with an error | panicked | dropped |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `Waiting` | poll → `Polling` | → `Asked`, queue it | – | | | | | |
//! | `Asked` | cancel: tell → `PollingAsked`; nobody → `Dropping`; shielded → `Polling` | – | → `Waiting` | | | | | |
//! | `Polling` | – | → `PollingAsked` | – | → `Waiting` | succeeded | failed, or cancelled by its own token | panicked | |
//! | `PollingAsked` | – | – | → `Polling` | → `Asked`, queue it | **cancelled** | failed, or cancelled | panicked | |
//! | `Dropping` | – | – | – | | | | | cancelled, or panicked |
//! | `Ended` | – | too late | – | | | | | |
//!
//! The second half of a life begins at its end: who hears of it? That is
//! [`Hearing`], and it too is a table.
//!
//! | hearing | failed, somebody may ask | failed, nobody may | retrieved | last asker gone | ignore | end of the executor |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `Open` | → `Held` | → `Leaving`, report | – | – | → `Unwanted` | – |
//! | `Unwanted` | → `Ignored` | → `Ignored` | – | – | – | – |
//! | `Owned` by a group, which counts | `Owned` | `Owned` | – | – | – | – |
//! | `Held` | | | → `Retrieved` | → `Leaving`, report | → `Ignored` | → `Reported`, report |
//! | all others | | | – | – | – | – |
//!
//! # Invariants
//!
//! - **Once.** A task ends once: nothing leads out of `Ended`.
//! - **One door.** A failure leaves by one door: retrieved, reported or ignored.
//! - **No user code.** Nothing here calls any.

use crate::id::{Name, TaskId};
use crate::outcome::Request;
use crate::scopes::{NodeKey, Nodes};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// Suspended, or not yet polled.
    Waiting,
    /// Suspended, and asked to cancel: dropped when its turn comes.
    Asked,
    /// Its poll is on the stack.
    Polling,
    /// Its poll is on the stack, and it was asked to cancel meanwhile.
    PollingAsked,
    /// Its future is being dropped because of a cancellation.
    Dropping,
    /// It is over.
    Ended(Ending),
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Succeeded,
    Failed,
    Panicked,
    Cancelled,
}

/// What to do with a task taken from the run queue.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Poll,
    /// Tell its scopes, and poll it; drop it, if there is nobody to tell.
    Cancel,
    /// It is running already, further down the stack, or has ended.
    Nothing,
}

/// What to do about a wish to cancel.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// Put the task into the queue, to be dropped there.
    Queue,
    /// It will be seen to when the present poll is over, or was before.
    Noted,
    /// The task has ended.
    TooLate,
}

impl Life {
    pub(crate) fn taken(self) -> (Life, Step) {
        match self {
            Life::Waiting => (Life::Polling, Step::Poll),
            Life::Asked => (Life::Asked, Step::Cancel),
            other => (other, Step::Nothing),
        }
    }

    pub(crate) fn asked(self) -> (Life, Wish) {
        match self {
            Life::Waiting => (Life::Asked, Wish::Queue),
            Life::Polling => (Life::PollingAsked, Wish::Noted),
            Life::Ended(_) => (self, Wish::TooLate),
            other => (other, Wish::Noted),
        }
    }

    /// The wish was taken back before it had an effect.
    pub(crate) fn unasked(self) -> Life {
        match self {
            Life::Asked => Life::Waiting,
            Life::PollingAsked => Life::Polling,
            other => other,
        }
    }

    /// The poll was pending. Answers whether to queue the task again.
    pub(crate) fn suspended(self) -> (Life, bool) {
        match self {
            Life::PollingAsked => (Life::Asked, true),
            _ => (Life::Waiting, false),
        }
    }

    /// The poll was ready, or panicked. A value that comes after a wish to
    /// cancel is not kept; a failure is, since somebody has to hear of it.
    pub(crate) fn finished(self, ending: Ending) -> Ending {
        match (self, ending) {
            (Life::PollingAsked, Ending::Succeeded) => Ending::Cancelled,
            _ => ending,
        }
    }

    pub(crate) fn ending(self) -> Option<Ending> {
        match self {
            Life::Ended(ending) => Some(ending),
            _ => None,
        }
    }
}

/// Who hears of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hearing {
    /// Nothing has failed.
    Open,
    /// Nothing has failed yet, and if it does, nobody wants to know.
    Unwanted,
    /// It is about to fail, and a group has its error, to hand it over or to
    /// have it reported.
    Owned,
    /// Failed, and somebody may ask. `late`: it failed during a shutdown.
    Held { late: bool },
    /// Nobody can ask any more: a report is on its way.
    Leaving,
    /// Somebody was given the failure.
    Retrieved,
    /// The handler was told while somebody still holds the task.
    Reported,
    /// Somebody said that it does not matter.
    Ignored,
}

impl Hearing {
    pub(crate) fn failed(self, somebody_may_ask: bool, late: bool) -> Hearing {
        match self {
            Hearing::Unwanted => Hearing::Ignored,
            Hearing::Owned => Hearing::Owned,
            _ if somebody_may_ask => Hearing::Held { late },
            _ => Hearing::Leaving,
        }
    }

    /// From `Held` to `next`, or stay. Answers what it was, if it was held.
    pub(crate) fn leave(self, next: Hearing) -> (Hearing, Option<Held>) {
        match self {
            Hearing::Held { late } => (next, Some(Held { late })),
            other => (other, None),
        }
    }

    pub(crate) fn unwanted(self) -> Hearing {
        match self {
            Hearing::Open => Hearing::Unwanted,
            other => other,
        }
    }
}

/// The failure was held until now.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) late: bool,
}

/// What every task has, whatever its future: the part that the loop sees.
pub(crate) struct Header {
    pub(crate) id: TaskId,
    pub(crate) location: &'static Location<'static>,
    pub(crate) parent: Option<TaskId>,
    /// Who awaits the task, if it is a task: see [`Awaiter`].
    awaiter: Cell<Option<Name>>,
    /// What few tasks have, made when first needed.
    rare: Cell<Option<Box<Rare>>>,
    /// The task that it awaits, when that is all.
    pub(crate) awaits: Cell<Awaits>,
    /// Its scopes, and whatever else in it is waiting to be told.
    pub(crate) nodes: Cell<Nodes>,
    /// How many pointers there are to the task: see `counted.rs`.
    pub(crate) pointers: Cell<u32>,
    /// How many may still ask for the outcome: the handle, and callbacks that
    /// have not run.
    pub(crate) askers: Cell<u32>,
    pub(crate) polls: Cell<u32>,
    pub(crate) life: Cell<Life>,
    pub(crate) hearing: Cell<Hearing>,
    /// How many look at the outcome just now: callbacks, the handler. Nobody
    /// may take it away under their eyes.
    pub(crate) onlookers: Cell<u8>,
    /// What stands behind the header: see `task.rs`.
    pub(crate) within: Cell<Within>,
}

/// The one task that a task awaits.
///
/// To pass a request on, an await has to stand in the tree of scopes. Nearly
/// all are over before anybody asks, and nearly all are alone in their task. So
/// the await of a task that has no scope only leaves this note, and gets its
/// place in the tree when there is a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaits {
    Nothing,
    /// The task in this slot, whose awaiter it is.
    Task(u32),
    /// That task has ended with a value, which has not been fetched yet.
    Value,
}

impl Awaits {
    pub(crate) fn task(header: &Header) -> Awaits {
        Awaits::Task(header.id.slot() as u32)
    }
}

/// What stands in the place that a task's future and its outcome share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Within {
    Future,
    Outcome,
    Empty,
    /// Somebody is at it: the future is polled or dropped.
    Busy,
}

/// What few tasks have.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) callbacks: Callbacks,
    pub(crate) callbacks_ever: u32,
    /// Who awaits the task, if it is not a task.
    awaiter: Option<Awaiter>,
    /// Where the await of this task stands in the tree of whoever awaits it.
    pub(crate) awaited_at: Option<NodeKey>,
    /// The wish to cancel that has not been fulfilled.
    pub(crate) request: Option<Arc<Request>>,
    /// The wish that it was last asked to fulfil: it may come from several sides.
    pub(crate) last_wish: Option<u64>,
    /// Where the request goes, if not to the innermost of the whole task.
    pub(crate) target: Option<Target>,
    /// The latest request that somebody in the task has heard.
    pub(crate) last_heard: Option<Arc<Request>>,
    /// The request because of which something inside is being dropped.
    pub(crate) dropping: Option<Arc<Request>>,
    pub(crate) cancelling: u32,
    /// So many requests had there been when the task said that it goes on.
    pub(crate) accepted: u32,
    /// The group that it belongs to.
    pub(crate) guardian: Option<Rc<dyn Guardian>>,
    /// Where in the list of held failures.
    pub(crate) held_at: Option<usize>,
}

/// The done callbacks of a task.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// In order of registration, numbered.
    pub(crate) list: Vec<(u32, Callback)>,
    /// The awaiter asked after this many callbacks, and is woken after them.
    pub(crate) awaiter_after: u32,
}

/// Who is told that a task has ended: there is one at most, since there is one
/// handle.
pub(crate) enum Awaiter {
    /// A task, by its own name. The others are rare.
    Task(Name),
    /// Whoever awaits the handle otherwise.
    Waker(Waker),
    /// Whoever awaits many at once, and what the task is called there.
    Watch(Rc<Watch>, usize),
}

/// Waiting for many tasks at once: which of them have ended, in that order.
///
/// Without it, whoever waits for n tasks would have to ask all of them each
/// time that one wakes it: n² questions.
#[derive(Default)]
pub(crate) struct Watch {
    ended: RefCell<VecDeque<usize>>,
    waker: Cell<Option<Waker>>,
}

impl Watch {
    /// One has ended. Answers whom to wake.
    #[must_use]
    pub(crate) fn ended(&self, place: usize) -> Option<Waker> {
        self.ended.borrow_mut().push_back(place);
        self.waker.take()
    }

    /// The next that has ended. If there is none, `waker` is to be woken.
    pub(crate) fn next(&self, waker: &Waker) -> Option<usize> {
        let next = self.ended.borrow_mut().pop_front();
        if next.is_none() {
            let replaced = self.waker.replace(Some(waker.clone()));
            drop(replaced);
        }
        next
    }
}

/// Who has to know when a task has ended, whoever else waits for it: a group.
pub(crate) trait Guardian {
    /// One of its tasks has ended. Answers whom to wake.
    fn ended(&self) -> Option<Waker>;
}

/// Where a request goes that does not begin at the innermost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// It was raised to the root: the whole task is dropped.
    Root,
    /// It was raised to this scope.
    Raised(NodeKey),
    /// A shield held it back. Now it goes to the innermost of what is around.
    Within(NodeKey),
}

/// A done callback, ready to be called from the loop.
pub(crate) type Callback = Box<dyn FnOnce()>;

impl Header {
    pub(crate) fn new(
        id: TaskId,
        location: &'static Location<'static>,
        parent: Option<TaskId>,
    ) -> Header {
        Header {
            id,
            location,
            parent,
            awaiter: Cell::new(None),
            rare: Cell::new(None),
            awaits: Cell::new(Awaits::Nothing),
            nodes: Cell::new(Nodes::EMPTY),
            pointers: Cell::new(1),
            askers: Cell::new(1),
            polls: Cell::new(0),
            life: Cell::new(Life::Waiting),
            hearing: Cell::new(Hearing::Open),
            onlookers: Cell::new(0),
            within: Cell::new(Within::Future),
        }
    }

    /// Works on the rare things, made now if there were none. `work` must not
    /// call foreign code, nor drop any: it would find the rare things gone.
    pub(crate) fn rare<R>(&self, work: impl FnOnce(&mut Rare) -> R) -> R {
        let mut rare = self.rare.take().unwrap_or_default();
        let answer = work(&mut rare);
        self.rare.set(Some(rare));
        answer
    }

    /// Works on the rare things if there are any. As careful as [`rare`](Self::rare).
    pub(crate) fn if_rare<R>(&self, work: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        let mut rare = self.rare.take()?;
        let answer = work(&mut rare);
        self.rare.set(Some(rare));
        Some(answer)
    }

    /// Who is to be woken when the task ends. Answers whose place that was.
    pub(crate) fn set_awaiter(&self, awaiter: Awaiter) -> Option<Awaiter> {
        let replaced = self.take_awaiter();
        if replaced.is_none() {
            // Awaiters and callbacks are served in the order in which they came.
            self.if_rare(|rare| rare.callbacks.awaiter_after = rare.callbacks_ever);
        }
        match awaiter {
            Awaiter::Task(name) => self.awaiter.set(Some(name)),
            other => self.rare(|rare| rare.awaiter = Some(other)),
        }
        replaced
    }

    /// Whether this task is to be woken when this one ends.
    #[inline]
    pub(crate) fn is_awaited_by_task(&self, name: Name) -> bool {
        self.awaiter.get() == Some(name)
    }

    /// Whether waking `waker` would wake the present awaiter, which is not
    /// known to be a task.
    pub(crate) fn is_awaited_by(&self, waker: &Waker) -> bool {
        // Compared with no other thing at hand: `will_wake` calls nobody.
        let same = |rare: &mut Rare| match &rare.awaiter {
            Some(Awaiter::Waker(own)) => own.will_wake(waker),
            _ => false,
        };
        self.if_rare(same) == Some(true)
    }

    /// The task that the end of this one wakes, if it is one.
    pub(crate) fn awaiting_task(&self, name_of: impl Fn(&Waker) -> Option<Name>) -> Option<Name> {
        self.awaiter.get().or_else(|| {
            let awaiter = self.if_rare(|rare| match &rare.awaiter {
                Some(Awaiter::Waker(waker)) => name_of(waker),
                Some(Awaiter::Watch(watch, _)) => {
                    let waker = watch.waker.take();
                    let name = waker.as_ref().and_then(&name_of);
                    watch.waker.set(waker);
                    name
                }
                _ => None,
            });
            awaiter.flatten()
        })
    }

    /// Nobody awaits it any more.
    pub(crate) fn take_awaiter(&self) -> Option<Awaiter> {
        match self.awaiter.take() {
            Some(name) => Some(Awaiter::Task(name)),
            None => self.if_rare(|rare| rare.awaiter.take()).flatten(),
        }
    }

    /// Who is to be woken now. A task stays noted until it comes.
    #[inline]
    pub(crate) fn awaiter_to_wake(&self) -> Option<Awaiter> {
        match self.awaiter.get() {
            Some(name) => Some(Awaiter::Task(name)),
            None => self.if_rare(|rare| rare.awaiter.take()).flatten(),
        }
    }

    /// The task that awaits it, or did when it ended.
    #[inline]
    pub(crate) fn awaiter(&self) -> Option<Name> {
        self.awaiter.get()
    }

    /// Whether there is anything to be taken back when nobody awaits it any more.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        let rarely = |rare: &mut Rare| rare.awaiter.is_some() || rare.awaited_at.is_some();
        self.awaiter.get().is_some() || self.if_rare(rarely) == Some(true)
    }

    /// Takes the mark of its await in the tree.
    pub(crate) fn take_awaited_at(&self) -> Option<NodeKey> {
        self.if_rare(|rare| rare.awaited_at.take()).flatten()
    }

    /// Whether nobody can ask for the outcome any more, and nobody looks at it.
    pub(crate) fn is_alone(&self) -> bool {
        self.askers.get() == 0 && self.onlookers.get() == 0
    }

    /// Whether the end of the task concerns nobody: who might wait, or whatever
    /// it has that few tasks have.
    #[inline]
    pub(crate) fn has_nobody_waiting(&self) -> bool {
        self.awaiter.get().is_none() && self.if_rare(|_| ()).is_none()
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.if_rare(|rare| rare.name.clone()).flatten()
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.life.get().ending()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.ending().is_some()
    }

    // The transitions, applied: decide with the table, keep the next state.

    pub(crate) fn taken(&self) -> Step {
        let (life, step) = self.life.get().taken();
        self.life.set(life);
        step
    }

    pub(crate) fn suspended(&self) -> bool {
        let (life, again) = self.life.get().suspended();
        self.life.set(life);
        again
    }

    pub(crate) fn asked(&self) -> Wish {
        let (life, wish) = self.life.get().asked();
        self.life.set(life);
        wish
    }

    #[inline]
    pub(crate) fn leave(&self, next: Hearing) -> Option<Held> {
        let (hearing, held) = self.hearing.get().leave(next);
        self.hearing.set(hearing);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Life; 9] = [
        Life::Waiting,
        Life::Asked,
        Life::Polling,
        Life::PollingAsked,
        Life::Dropping,
        Life::Ended(Ending::Succeeded),
        Life::Ended(Ending::Failed),
        Life::Ended(Ending::Panicked),
        Life::Ended(Ending::Cancelled),
    ];

    // promise 3.2, 4.1: nothing leads out of the end.
    #[test]
    fn nothing_leads_out_of_the_end() {
        for life in ALL.into_iter().filter(|life| life.ending().is_some()) {
            assert_eq!(life.taken(), (life, Step::Nothing));
            assert_eq!(life.asked(), (life, Wish::TooLate));
            assert_eq!(life.unasked(), life);
        }
    }

    // promise 4.6: what an undelivered request makes of a value and of an error.
    #[test]
    fn a_value_after_a_wish_to_cancel_is_not_kept_and_an_error_is() {
        assert_eq!(Life::PollingAsked.finished(Ending::Succeeded), Ending::Cancelled);
        assert_eq!(Life::PollingAsked.finished(Ending::Failed), Ending::Failed);
        assert_eq!(Life::PollingAsked.finished(Ending::Panicked), Ending::Panicked);
        assert_eq!(Life::Polling.finished(Ending::Succeeded), Ending::Succeeded);
    }

    /// Every sequence of events up to eight, against the same told once more in
    /// a different way: three facts instead of five states.
    #[test]
    fn every_short_sequence_of_events_agrees_with_the_three_facts() {
        #[derive(Clone, Copy)]
        struct Facts {
            on_the_stack: bool,
            dropping: bool,
            wish: bool,
        }
        fn agree(life: Life, facts: Facts) {
            let expected = match facts {
                Facts { dropping: true, .. } => Life::Dropping,
                Facts { on_the_stack: true, wish: true, .. } => Life::PollingAsked,
                Facts { on_the_stack: true, .. } => Life::Polling,
                Facts { wish: true, .. } => Life::Asked,
                _ => Life::Waiting,
            };
            assert_eq!(life, expected);
        }
        fn go(life: Life, facts: Facts, left: u32) {
            agree(life, facts);
            if left == 0 {
                return;
            }
            // Taken from the queue.
            let (next, step) = life.taken();
            let mut then = facts;
            let idle = !facts.on_the_stack && !facts.dropping;
            assert_eq!(
                step,
                match (idle, facts.wish) {
                    (true, false) => Step::Poll,
                    (true, true) => Step::Cancel,
                    (false, _) => Step::Nothing,
                }
            );
            then.on_the_stack |= step == Step::Poll;
            if step == Step::Cancel {
                // The caller decides: nobody to tell, or somebody.
                go(Life::Dropping, Facts { dropping: true, ..facts }, left - 1);
                go(Life::PollingAsked, Facts { on_the_stack: true, ..facts }, left - 1);
            } else {
                go(next, then, left - 1);
            }
            // Asked to cancel.
            let (next, wish) = life.asked();
            assert_eq!(wish == Wish::Queue, idle && !facts.wish);
            go(next, Facts { wish: true, ..facts }, left - 1);
            // Taken back.
            if !facts.dropping {
                go(life.unasked(), Facts { wish: false, ..facts }, left - 1);
            }
            // The poll was pending.
            if facts.on_the_stack {
                let (next, again) = life.suspended();
                assert_eq!(again, facts.wish);
                go(next, Facts { on_the_stack: false, ..facts }, left - 1);
            }
        }
        go(Life::Waiting, Facts { on_the_stack: false, dropping: false, wish: false }, 8);
    }

    // promise 3.6: every order of {fails, asker gone, retrieved, ignored, end of
    // the executor} leaves by exactly one door.
    #[test]
    fn a_failure_leaves_by_one_door_in_every_order() {
        #[derive(Clone, Copy, PartialEq, Debug)]
        enum Event {
            Fails,
            AskerGone,
            Retrieved,
            Ignored,
            EndOfExecutor,
        }
        use Event::*;
        fn go(hearing: Hearing, failed: bool, asker: bool, doors: Vec<Event>, left: &[Event]) {
            for (index, &event) in left.iter().enumerate() {
                let mut rest = left.to_vec();
                rest.remove(index);
                let (mut hearing, mut failed, mut asker, mut doors) =
                    (hearing, failed, asker, doors.clone());
                let mut through = |(next, held): (Hearing, Option<Held>)| {
                    if held.is_some() {
                        doors.push(event);
                    }
                    next
                };
                match event {
                    Fails => {
                        failed = true;
                        hearing = hearing.failed(asker, false);
                        match hearing {
                            Hearing::Held { .. } => {}
                            _ => doors.push(Fails),
                        }
                    }
                    AskerGone => {
                        asker = false;
                        hearing = through(hearing.leave(Hearing::Leaving));
                    }
                    Retrieved if asker => hearing = through(hearing.leave(Hearing::Retrieved)),
                    Retrieved => {}
                    Ignored if asker => {
                        hearing = hearing.unwanted();
                        hearing = through(hearing.leave(Hearing::Ignored));
                    }
                    Ignored => {}
                    EndOfExecutor => hearing = through(hearing.leave(Hearing::Reported)),
                }
                if rest.is_empty() {
                    assert!(failed && !asker);
                    assert_eq!(
                        doors.len(),
                        1,
                        "{doors:?} at the end of an order that ended with {event:?}"
                    );
                }
                go(hearing, failed, asker, doors, &rest);
            }
        }
        go(
            Hearing::Open,
            false,
            true,
            vec![],
            &[Fails, AskerGone, Retrieved, Ignored, EndOfExecutor],
        );
    }
}
