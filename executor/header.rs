//! The header: what every task has, whatever its future.
//!
//! It is the part of a task that the loop, the handle and everybody else see.
//! It is small, since there may be a million of it, and what few tasks have
//! (a name, callbacks, a request) stands elsewhere and is made when needed.
//!
//! # Invariants
//!
//! - **No user code.** Nothing here calls any, nor drops any: what is replaced
//!   is handed to the caller.
//! - **One awaiter.** There is one handle, so at most one waits for it.

use crate::id::{Name, TaskId};
use crate::life::{CancelAnswer, Ending, Hearing, Held, Life, PollAnswer};
use crate::region::{MemberKey, Region};
use crate::report::TaskInfo;
use crate::request::{Answered, Request};
use crate::rules::{Asking, Forwarding, Hold};
use anyhow::Error;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// What every task has, whatever its future: the part that the loop sees.
pub(crate) struct Header {
    pub(crate) id: TaskId,
    pub(crate) location: &'static Location<'static>,
    pub(crate) parent: Option<TaskId>,
    /// Who awaits the task: see [`AwaitedBy`].
    awaiter: Cell<u64>,
    /// What few tasks have, made when first needed.
    rare: Cell<Option<Box<Rare>>>,
    /// Where a plain `cancel` was called that has not been delivered: all that
    /// has to be kept of it.
    pub(crate) requested_at: Cell<Option<&'static Location<'static>>>,
    /// Low bits of the number of the delivery in which its await began, or of
    /// which that was told last.
    pub(crate) await_seen: Cell<u32>,
    /// What `awaiter` is.
    awaited_by: Cell<Who>,
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
    /// What stands behind the header: see `stage.rs`.
    pub(crate) within: Cell<Within>,
    /// Whether it stands in the run queue: see `table.rs`.
    pub(crate) queued: Cell<Queued>,
}

/// Whether a task stands in the run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queued {
    No,
    Yes,
    /// It is being polled, and will be once more before that is over: to be woken
    /// does not queue it.
    Aside,
    /// The same, and it has been woken.
    Woken,
}

/// Who awaits a task, as its header has it; whoever else does is rare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AwaitedBy {
    Nobody,
    /// This task, by a waker of its own.
    Task(Name),
    /// Somebody polled by another waker: a member of a region, where that is.
    Member(MemberKey),
}

impl AwaitedBy {
    /// The member of a region that it is.
    pub(crate) fn member(self) -> Option<MemberKey> {
        match self {
            AwaitedBy::Member(key) => Some(key),
            AwaitedBy::Nobody | AwaitedBy::Task(_) => None,
        }
    }
}

/// An [`AwaitedBy`] without its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Nobody,
    Task,
    Member,
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
    pub(crate) callbacks_ever: u64,
    /// Who awaits the task, if the header does not say.
    awaiter: Option<Awaiter>,
    /// What has been asked of it, and where that is.
    pub(crate) cancel: Cancelling,
    /// What became of a request at the await of this task.
    pub(crate) awaited: Forwarding,
    /// The group that it belongs to.
    pub(crate) guardian: Option<Rc<dyn Guardian>>,
    /// Where in the list of held failures.
    pub(crate) held_at: Option<u32>,
}

impl Rare {
    #[cold]
    fn boxed() -> Box<Rare> {
        Box::default()
    }

    /// Makes it as new. Mostly there was nothing to do with cancellation in it.
    pub(crate) fn clear(&mut self) {
        let Rare { cancel, awaited, name, callbacks, callbacks_ever, awaiter, guardian, held_at } =
            self;
        if cancel.is_used() {
            cancel.clear();
        }
        if !awaited.is_nothing() {
            *awaited = Forwarding::Nothing;
        }
        if std::mem::take(callbacks_ever) > 0 {
            *callbacks = Callbacks::default();
        }
        *held_at = None;
        (*name, *awaiter, *guardian) = (None, None, None);
    }
}

/// What was asked of a task, and where that is now.
#[derive(Default)]
pub(crate) struct Cancelling {
    /// Asked, and not delivered yet; a plain one stands in the header.
    pub(crate) pending: Option<Request>,
    /// Delivered.
    pub(crate) asking: Option<Asking>,
    /// On its way out of the task.
    pub(crate) outward: Hold,
    /// The latest that somebody in it has heard of.
    pub(crate) answered: Answered,
    /// Those in the task who are polled by wakers of their own.
    pub(crate) region: Option<Rc<Region>>,
    /// Those of them whose place is no more.
    pub(crate) displaced: Option<Rc<Region>>,
    /// Whether somebody else in it listens.
    pub(crate) listens_directly: bool,
    /// The requests that it was asked lately: they may come from several sides.
    pub(crate) lately: Lately,
    /// How many requests stand.
    pub(crate) count: u32,
    /// So many there had been when the task said that it goes on.
    pub(crate) accepted: u32,
    /// Whether it has passed a request on, and waits.
    pub(crate) waits: bool,
    /// Tasks that have passed a request on to this one.
    pub(crate) asked_by: Vec<TaskId>,
}

/// The latest requests that a task was asked, so that one that comes once more,
/// from another side, counts once.
#[derive(Default)]
pub(crate) struct Lately {
    /// Or zero. Mostly it is the only one, and nothing is allocated for it.
    latest: u64,
    before: Vec<u64>,
}

impl Lately {
    /// So many are remembered beside the latest.
    const MOST: usize = 63;

    /// Whether this one has not come before. It has from now on.
    pub(crate) fn is_new(&mut self, id: u64) -> bool {
        if id == self.latest || self.before.contains(&id) {
            return false;
        }
        let before = std::mem::replace(&mut self.latest, id);
        if self.before.len() == Lately::MOST {
            self.before.remove(0);
        }
        if before != 0 {
            self.before.push(before);
        }
        true
    }
}

impl Cancelling {
    /// Whether there is, or was, anything in it.
    fn is_used(&self) -> bool {
        let Cancelling { pending, asking, outward, region, displaced, lately, .. } = self;
        self.listens_directly
            || self.waits
            || (self.count, self.accepted, lately.latest) != (0, 0, 0)
            || pending.is_some()
            || asking.is_some()
            || !outward.is_nothing()
            || region.is_some()
            || displaced.is_some()
            || !self.asked_by.is_empty()
    }

    /// Makes it as new. Short lists keep their room.
    fn clear(&mut self) {
        let mut asked_by = std::mem::take(&mut self.asked_by);
        asked_by.clear();
        asked_by.shrink_to(Lately::MOST);
        *self = Cancelling { asked_by, ..Cancelling::default() };
    }

    /// Whether there is a request that nobody in the task has heard of, and that
    /// it cannot end with a value in spite of.
    #[inline]
    pub(crate) fn is_unanswered(&self) -> bool {
        self.outward.is_sent() || self.asking.as_ref().is_some_and(Asking::is_unheard)
    }
}

/// The done callbacks of a task.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// In order of registration, numbered; none where one was taken back.
    list: Vec<(u64, Option<Callback>)>,
    /// How many were taken back and are in the list: at most half, so that to take
    /// all back, in whatever order, costs each the same.
    gaps: usize,
    /// The awaiter asked after this many callbacks, and is woken after them.
    pub(crate) awaiter_after: u64,
}

impl Callbacks {
    /// A number is larger than all before it.
    pub(crate) fn push(&mut self, number: u64, callback: Callback) {
        self.list.push((number, Some(callback)));
    }

    /// Takes one back: foreign, to be dropped where nothing is borrowed.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Callback> {
        let place = self.list.binary_search_by_key(&number, |&(number, _)| number).ok()?;
        let callback = self.list[place].1.take()?;
        self.gaps += 1;
        if self.gaps > self.list.len() / 2 {
            self.list.retain(|(_, callback)| callback.is_some());
            self.list.shrink_to(2 * self.list.len());
            self.gaps = 0;
        }
        Some(callback)
    }

    pub(crate) fn into_list(self) -> impl Iterator<Item = (u64, Callback)> {
        let there = |(number, callback): (u64, Option<Callback>)| Some((number, callback?));
        self.list.into_iter().filter_map(there)
    }
}

/// Who is told that a task has ended: there is one at most, since there is one
/// handle.
pub(crate) enum Awaiter {
    /// A task, by its own name.
    Task(Name),
    /// A member of a region, where its waker is.
    Member(MemberKey),
    /// An await in no region: of another executor, or outside of a turn.
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

    /// The next that has ended.
    pub(crate) fn next(&self) -> Option<usize> {
        self.ended.borrow_mut().pop_front()
    }

    /// From now on this one is woken, or nobody. Answers who was before.
    #[must_use]
    pub(crate) fn set_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.replace(waker)
    }
}

/// Who has to know when a task has ended, whoever else waits for it: a group.
pub(crate) trait Guardian {
    /// One of its tasks has ended. Answers whom to wake.
    fn ended(&self) -> Option<Waker>;

    /// One of its tasks panicked as it was dropped. Takes the error over, and
    /// answers what is left to the task; or gives it back.
    fn take_failure(&self, task: TaskInfo, error: Error) -> Result<Error, Error>;
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
            awaiter: Cell::new(0),
            rare: Cell::new(None),
            requested_at: Cell::new(None),
            await_seen: Cell::new(0),
            awaited_by: Cell::new(Who::Nobody),
            pointers: Cell::new(1),
            askers: Cell::new(1),
            polls: Cell::new(0),
            life: Cell::new(Life::Waiting),
            hearing: Cell::new(Hearing::Open),
            onlookers: Cell::new(0),
            within: Cell::new(Within::Future),
            queued: Cell::new(Queued::Yes), // it is enrolled next
        }
    }

    /// Works on the rare things, made now if there were none. `work` must not
    /// call foreign code, nor drop any: it would find the rare things gone.
    #[inline]
    pub(crate) fn rare<R>(&self, work: impl FnOnce(&mut Rare) -> R) -> R {
        let mut rare = self.rare.take().unwrap_or_else(Rare::boxed);
        let answer = work(&mut rare);
        self.put_back(rare);
        answer
    }

    /// Works on the rare things if there are any. As careful as [`rare`](Self::rare).
    #[inline]
    pub(crate) fn if_rare<R>(&self, work: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        let mut rare = self.rare.take()?;
        let answer = work(&mut rare);
        self.put_back(rare);
        Some(answer)
    }

    /// Works on what was asked of it; a plain request is counted there now. Is
    /// told whether that has not been delivered.
    #[inline]
    pub(crate) fn cancelling<R>(&self, work: impl FnOnce(&mut Cancelling, bool) -> R) -> R {
        let plain = self.requested_at.get().is_some();
        self.rare(|rare| {
            if plain && rare.cancel.count == 0 {
                rare.cancel.count = 1;
            }
            work(&mut rare.cancel, plain)
        })
    }

    /// How many requests to cancel stand.
    pub(crate) fn cancelling_count(&self) -> u32 {
        let plain = u32::from(self.requested_at.get().is_some());
        self.if_rare(|rare| rare.cancel.count).unwrap_or(0).max(plain)
    }

    /// Whether there is a request that has not been delivered.
    #[inline]
    pub(crate) fn has_undelivered_request(&self) -> bool {
        self.requested_at.get().is_some()
            || self.if_rare(|rare| rare.cancel.pending.is_some()) == Some(true)
    }

    /// Takes the box of the rare things away: the task is gone.
    #[inline]
    pub(crate) fn take_rare(&self) -> Option<Box<Rare>> {
        self.rare.take()
    }

    #[inline]
    pub(crate) fn put_back(&self, rare: Box<Rare>) {
        let none = self.rare.replace(Some(rare));
        debug_assert!(none.is_none(), "whoever works on the rare things calls nobody");
        std::mem::forget(none); // so that nobody asks whether to drop it
    }

    /// Who awaits it, as far as the header says.
    #[inline]
    pub(crate) fn awaited_by(&self) -> AwaitedBy {
        match self.awaited_by.get() {
            Who::Nobody => AwaitedBy::Nobody,
            Who::Task => AwaitedBy::Task(Name::from_bits(self.awaiter.get())),
            Who::Member => AwaitedBy::Member(MemberKey::from_bits(self.awaiter.get())),
        }
    }

    #[inline]
    pub(crate) fn set_awaited_by(&self, by: AwaitedBy) {
        let (who, bits) = match by {
            AwaitedBy::Nobody => (Who::Nobody, 0),
            AwaitedBy::Task(name) => (Who::Task, name.to_bits()),
            AwaitedBy::Member(key) => (Who::Member, key.to_bits()),
        };
        self.awaited_by.set(who);
        self.awaiter.set(bits);
    }

    /// Who is to be woken when the task ends, if nobody else was before.
    /// Otherwise answers whose place that was.
    #[inline]
    pub(crate) fn set_awaiter(&self, by: AwaitedBy) -> Option<Awaiter> {
        if self.awaited_by() == by {
            return None; // it keeps its place among the callbacks
        }
        // One task's await may look different from poll to poll, when it is polled by
        // other wakers. Another task's has come later.
        let is_another =
            matches!((self.awaited_by(), by), (AwaitedBy::Task(_), AwaitedBy::Task(_)));
        let replaced = if self.has_rare() { self.make_place(is_another) } else { None };
        self.set_awaited_by(by);
        replaced
    }

    /// The same, for whom the header has no room.
    pub(crate) fn set_rare_awaiter(&self, awaiter: Awaiter) -> Option<Awaiter> {
        let replaced = if self.has_rare() || self.awaited_by.get() != Who::Nobody {
            self.make_place(false)
        } else {
            None
        };
        self.rare(|rare| rare.awaiter = Some(awaiter));
        replaced
    }

    fn make_place(&self, is_another: bool) -> Option<Awaiter> {
        let replaced = self.take_awaiter();
        if is_another || replaced.is_none() {
            // Awaiters and callbacks are served in the order in which they came.
            self.if_rare(|rare| rare.callbacks.awaiter_after = rare.callbacks_ever);
        }
        replaced
    }

    /// Whether this task, is to be woken when this
    /// one ends.
    #[inline]
    pub(crate) fn is_awaited_by_task(&self, name: Name) -> bool {
        self.awaited_by() == AwaitedBy::Task(name)
    }

    /// Whether nobody awaits it, or only this task, and it has nothing rare.
    #[inline]
    pub(crate) fn is_awaited_by_nobody_but(&self, name: Name) -> bool {
        !self.has_rare() && (self.awaited_by.get() == Who::Nobody || self.is_awaited_by_task(name))
    }

    /// Whether waking `waker` would wake the awaiter, if that is in no tree.
    pub(crate) fn is_awaited_by(&self, waker: &Waker) -> bool {
        // `will_wake` compares, and calls nobody.
        let same = |rare: &mut Rare| match &rare.awaiter {
            Some(Awaiter::Waker(own)) => own.will_wake(waker),
            _ => false,
        };
        self.if_rare(same) == Some(true)
    }

    /// Whom the end of this one wakes, if the header does not say, and if it is
    /// a task.
    pub(crate) fn rarely_awaited_by(
        &self,
        name_of: impl Fn(&Waker) -> Option<Name>,
    ) -> Option<Name> {
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
    }

    /// Nobody awaits it any more.
    #[inline]
    pub(crate) fn take_awaiter(&self) -> Option<Awaiter> {
        let awaiter = self.awaiter_to_wake();
        self.set_awaited_by(AwaitedBy::Nobody);
        awaiter
    }

    /// Who is to be woken now. Who is in the header stays noted until it comes.
    #[inline]
    pub(crate) fn awaiter_to_wake(&self) -> Option<Awaiter> {
        match self.awaited_by() {
            AwaitedBy::Task(name) => Some(Awaiter::Task(name)),
            AwaitedBy::Member(key) => Some(Awaiter::Member(key)),
            AwaitedBy::Nobody => self.if_rare(|rare| rare.awaiter.take()).flatten(),
        }
    }

    /// Whether anything has become of its await that is to be taken back.
    #[inline]
    pub(crate) fn has_await(&self) -> bool {
        let is_rare = |rare: &mut Rare| rare.awaiter.is_some() || !rare.awaited.is_nothing();
        self.awaited_by.get() != Who::Nobody || self.if_rare(is_rare) == Some(true)
    }

    /// Whether there is anything to be taken back when nobody awaits it any more.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited_by.get() != Who::Nobody
            || self.if_rare(|rare| rare.awaiter.is_some()) == Some(true)
    }

    /// One of those who could have asked for the outcome is gone. Answers whether
    /// it was the last, and there is an outcome left, to be disposed of by
    /// `nobody_will_ask`.
    #[inline]
    #[must_use]
    pub(crate) fn asker_gone(&self) -> bool {
        self.askers.set(self.askers.get() - 1);
        self.is_alone() && self.is_finished() && self.within.get() != Within::Empty
    }

    /// Whether a failure waits to be asked for.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.hearing.get(), Hearing::Held { .. })
    }

    /// Whether nobody can ask for the outcome any more, and nobody looks at it.
    pub(crate) fn is_alone(&self) -> bool {
        self.askers.get() == 0 && self.onlookers.get() == 0
    }

    /// Whether there are members of its region, whom its end concerns.
    #[inline]
    pub(crate) fn has_region(&self) -> bool {
        let has = |rare: &mut Rare| rare.cancel.region.is_some() || rare.cancel.displaced.is_some();
        self.if_rare(has) == Some(true)
    }

    /// Whether it has what few tasks have.
    #[inline]
    pub(crate) fn has_rare(&self) -> bool {
        self.if_rare(|_| ()).is_some()
    }

    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.if_rare(|rare| rare.name.clone()).flatten()
    }

    #[inline]
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.life.get().ending()
    }

    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.life.get(), Life::Ended(_))
    }

    // The transitions, applied: decide with the table, keep the next state.

    #[inline]
    pub(crate) fn begin_poll(&self) -> PollAnswer {
        let (life, answer) = self.life.get().begin_poll();
        self.life.set(life);
        answer
    }

    /// Whether it is to be put into the queue, now that it is woken.
    #[inline]
    pub(crate) fn is_to_be_queued(&self) -> bool {
        if self.queued.get() != Queued::No {
            self.wake_aside();
            return false;
        }
        self.queued.set(Queued::Yes);
        true
    }

    #[cold]
    fn wake_aside(&self) {
        if self.queued.get() == Queued::Aside {
            self.queued.set(Queued::Woken);
        }
    }

    pub(crate) fn request_cancel(&self) -> CancelAnswer {
        let (life, answer) = self.life.get().request_cancel();
        self.life.set(life);
        answer
    }

    pub(crate) fn withdraw_cancel(&self) {
        self.life.set(self.life.get().withdraw_cancel());
    }

    #[inline]
    pub(crate) fn leave(&self, next: Hearing) -> Option<Held> {
        let (hearing, held) = self.hearing.get().leave(next);
        self.hearing.set(hearing);
        held
    }
}
