//! Awaiting a task, and passing on to it what the awaiting task is asked.
//!
//! **To cancel a task that awaits another cancels that one first**, and waits for
//! it. An await is the innermost that can be told: it passes the request on and
//! holds it ([`Forwarding::Waiting`]), and when the awaited task has ended because
//! of it, the request goes outward from here ([`Forwarding::Outward`]). What
//! becomes of it is noted with the awaited task, for a [`Task`] may be awaited by
//! reference, given up, and awaited again somewhere else.
//!
//! Nearly always there is no request, and then an await writes down who is to be
//! woken, and no more.

use crate::current;
use crate::handle::Task;
use crate::header::{AwaitedBy, Awaiter, Rare};
use crate::life::Ending;
use crate::outcome::{AwaitedItself, TaskError};
use crate::region::MemberKey;
use crate::request::{Delivery, Request};
use crate::roles::Roles;
use crate::rules::Forwarding;
use crate::state::State;
use crate::waker::name_of;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let header = self.header();
        if !header.is_finished() || header.onlookers.get() > 0 {
            return self.poll_pending(cx);
        }
        match header.awaited_by() {
            AwaitedBy::Nobody if !header.has_rare() => self.answer(),
            _ => self.poll_finished(cx),
        }
    }
}

#[cold]
#[track_caller]
fn awaited_after_taken() -> ! {
    panic!("task awaited after its outcome was taken")
}

/// The await of a task began, and not during a delivery. The numbers of
/// deliveries are even.
const BEGUN: u32 = 1;

impl<T> Task<T> {
    /// Passes a request on to the task, for the running one, which will wait for
    /// it. False if there is no use in waiting: it has ended, belongs to another
    /// executor, or waits for the running one in its turn.
    #[must_use]
    pub(crate) fn pass_on(&self, state: &Rc<State>, request: &Request) -> bool {
        let header = self.header();
        if !Rc::ptr_eq(state, self.home())
            || header.is_finished()
            || state.would_wait_in_circle(header)
        {
            return false;
        }
        state.cancel(header, request.clone());
        state.note_asked_by_running(header);
        true
    }

    #[inline(never)]
    fn poll_pending(&mut self, cx: &Context<'_>) -> Poll<Result<T, TaskError>> {
        // Whoever cancels the task that awaits this one, cancels this one first.
        // For that the await has only to be polled; mostly there is no request.
        let (home, header) = (self.home(), self.header());
        if let Some(name) = name_of(cx.waker())
            && header.is_awaited_by_nobody_but(name)
            && home.descent.number() == 0
            && home.is_waker_around(cx.waker())
            && home.running.get() != Some(header.id)
        {
            header.set_awaited_by(AwaitedBy::Task(name));
            header.await_seen.set(BEGUN);
            home.descent.meet_listener();
            return Poll::Pending;
        }
        self.poll_among_others(cx)
    }

    /// There is a request, or the task has callbacks, say, or is awaited under
    /// the waker of a combinator, or by itself, or outside of a task.
    #[inline(never)]
    fn poll_among_others(&mut self, cx: &Context<'_>) -> Poll<Result<T, TaskError>> {
        if self.is_the_running_task() {
            return Poll::Ready(Err(TaskError::Failed(anyhow::Error::new(AwaitedItself))));
        }
        let (home, header) = (self.home(), self.header());
        let member = if self.is_awaited_here() {
            let told = self.told(); // before it is known that it is in this task now
            let member = home.arrive(header.awaited_by().member(), cx.waker());
            if let Some(delivery) = told.filter(|_| !self.sends_outward()) {
                self.pass_on_or_give_up(&delivery);
            }
            self.suspend(member);
            member
        } else {
            None // nothing is passed on: of another executor, or in no task
        };
        let name = name_of(cx.waker());
        let replaced = match (member, name) {
            (Some(key), _) => header.set_awaiter(AwaitedBy::Member(key)),
            (None, Some(name)) => header.set_awaiter(AwaitedBy::Task(name)),
            (None, None) if header.is_awaited_by(cx.waker()) => None,
            (None, None) => header.set_rare_awaiter(Awaiter::Waker(cx.waker().clone())),
        };
        home.drop_awaiter(replaced);
        Poll::Pending
    }

    /// Whether a request goes outward from here, and takes everything with it.
    fn sends_outward(&self) -> bool {
        let outward = |rare: &mut Rare| matches!(rare.awaited, Forwarding::Outward(..));
        self.header().if_rare(outward) == Some(true)
    }

    /// Whether it is being awaited by a task of its own executor.
    fn is_awaited_here(&self) -> bool {
        let home = self.home();
        home.running.get().is_some()
            && current::with(|state| state.is_some_and(|state| Rc::ptr_eq(state, home)))
    }

    /// Whether the running task is the one that has awaited it, if any has. A handle may
    /// be polled in one task, and then given to another.
    fn was_awaited_here(&self) -> bool {
        let home = self.home();
        match self.header().awaited_by() {
            AwaitedBy::Nobody => true,
            AwaitedBy::Task(name) => home.running_name() == Some(name),
            AwaitedBy::Member(key) => {
                let task = home.members.borrow().task_of(key);
                task.is_some() && task == home.running_name()
            }
        }
    }

    /// What the await is told of just now.
    fn told(&self) -> Option<Arc<Delivery>> {
        let (home, header) = (self.home(), self.header());
        let number = home.descent.number();
        let seen = if self.was_awaited_here() { header.await_seen.get() } else { 0 };
        if header.has_rare() {
            self.refresh(seen); // before it is told of more
        }
        if number != 0 || seen == 0 {
            header.await_seen.set(number as u32 | u32::from(number == 0));
        }
        if number != 0 && seen == 0 {
            home.descent.meet_newcomer();
        }
        let is_told = home.descent.is_choosing() && seen != 0 && seen != number as u32;
        if is_told { home.descent.carried() } else { None }
    }

    fn pass_on_or_give_up(&self, delivery: &Arc<Delivery>) {
        let (home, header) = (self.home(), self.header());
        home.descent.meet_taker();
        home.lend_rare(header);
        // If it waits for us in its turn, there is nobody to wait for.
        let waits = self.pass_on(home, &delivery.request);
        if !waits {
            home.forget_asked_by(delivery.task, header);
        }
        let delivery = delivery.clone();
        header.rare(|rare| match waits {
            true => rare.awaited.pass_on(delivery),
            false => rare.awaited.go_outward(delivery),
        });
    }

    /// What was asked of it in another task, or is over, counts no more, nor what others
    /// have heard since it was told last, by the delivery `seen`.
    #[inline]
    fn refresh(&self, seen: u32) {
        let (home, header) = (self.home(), self.header());
        let other = header.if_rare(|rare| {
            if rare.awaited.is_nothing() {
                return None;
            }
            rare.awaited.refresh(home.polls_here(seen)?)
        });
        other.flatten().into_iter().for_each(|other| home.wake_task(other));
    }

    /// What stands at the await, if anything does.
    #[inline]
    fn with_awaited<R>(&self, work: impl FnOnce(&mut Forwarding) -> R) -> Option<R> {
        let work = |rare: &mut Rare| (!rare.awaited.is_nothing()).then(|| work(&mut rare.awaited));
        self.header().if_rare(work).flatten()
    }

    /// It waits on, and holds what it has passed on.
    fn suspend(&self, member: Option<MemberKey>) {
        let home = self.home();
        let stop = home.descent.around.get().stop;
        let held = self.with_awaited(|awaited| match awaited {
            Forwarding::Nothing => (Roles::NONE, None),
            Forwarding::Waiting(delivery, _) => (Roles::forward(delivery.rank()), None),
            Forwarding::Outward(delivery, to) => {
                *to = stop;
                (Roles::OUTWARD, Some(Arc::clone(delivery)))
            }
        });
        let (holds, outward) = held.unwrap_or((Roles::NONE, None));
        home.descent.meet(holds, member.is_some());
        if let Some(key) = member {
            home.members.borrow_mut().set_holds(key, holds);
        }
        if let Some(delivery) = outward {
            home.send_outward(&delivery);
        }
    }

    /// The await of a task that has finished, and was awaited before or has rare
    /// things.
    #[inline(never)]
    #[track_caller]
    fn poll_finished(&mut self, cx: &Context<'_>) -> Poll<Result<T, TaskError>> {
        match self.header().awaited_by() {
            _ if self.is_told_to_stay(cx) => return Poll::Pending,
            AwaitedBy::Member(key) => {
                self.home().leave_region(key);
                self.header().set_awaited_by(AwaitedBy::Nobody);
            }
            _ => self.header().set_awaited_by(AwaitedBy::Nobody),
        }
        self.header().await_seen.set(0); // this await is over
        if self.header().is_awaited() {
            self.drop_awaiter();
        }
        self.answer()
    }

    #[inline]
    #[track_caller]
    fn answer(&mut self) -> Poll<Result<T, TaskError>> {
        match self.take_now() {
            Some(outcome) => Poll::Ready(outcome),
            None => awaited_after_taken(),
        }
    }

    #[inline(never)]
    fn drop_awaiter(&self) {
        self.home().drop_awaiter(self.header().take_awaiter());
    }

    /// What was awaited is there. But is there a request that goes outward from
    /// here, and takes everything with it?
    #[inline]
    fn is_told_to_stay(&mut self, cx: &Context<'_>) -> bool {
        let (home, header) = (self.home(), self.header());
        (header.has_rare() || home.descent.number() != 0) && self.stays(cx)
    }

    #[inline(never)]
    fn stays(&mut self, cx: &Context<'_>) -> bool {
        if !self.is_awaited_here() {
            return false;
        }
        let (home, header) = (self.home(), self.header());
        let is_on_its_way = self.sends_outward();
        let told =
            self.told().filter(|_| !is_on_its_way && header.ending() != Some(Ending::Succeeded));
        // Told of a request when it had ended already: a value is still good; a
        // failure is left for whoever hears of it.
        if let Some(delivery) = told {
            home.descent.meet_taker();
            header.rare(|rare| rare.awaited.go_outward(delivery));
        }
        let cancelled = header.ending() == Some(Ending::Cancelled);
        let stays = self.with_awaited(|awaited| match awaited {
            Forwarding::Outward(..) => true,
            Forwarding::Waiting(..) if cancelled => {
                awaited.ends();
                true
            }
            _ => {
                awaited.all().for_each(|lost| home.descent.comes_to_nothing(lost));
                *awaited = Forwarding::Nothing;
                false
            }
        });
        if stays != Some(true) {
            return false;
        }
        let member = home.arrive(header.awaited_by().member(), cx.waker());
        match member {
            Some(key) => header.set_awaited_by(AwaitedBy::Member(key)),
            None => header.set_awaited_by(AwaitedBy::Nobody),
        }
        self.suspend(member);
        true
    }

    /// Nobody awaits it any more, or somebody else.
    #[inline]
    pub(crate) fn stop_awaiting(&self) {
        let header = self.header();
        header.await_seen.set(0);
        if header.has_await() {
            self.take_back_await();
        }
    }

    #[inline(never)]
    fn take_back_await(&self) {
        let header = self.header();
        match header.take_awaiter() {
            Some(Awaiter::Member(key)) => self.home().leave_region(key),
            other => self.home().drop_awaiter(other),
        }
        let awaited = header.if_rare(|rare| std::mem::take(&mut rare.awaited));
        let Some(delivery) = awaited.as_ref().and_then(Forwarding::request).cloned() else {
            return;
        };
        drop(awaited);
        let home = self.home();
        home.forget_asked_by(delivery.task, header);
        match self.home().running_name() == Some(delivery.task) {
            true => self.home().give_up(&delivery),
            // Its owner is to look after what it has asked.
            false => self.home().wake_task(delivery.task),
        }
    }
}

impl State {
    /// What was passed on, or sent outward, counts no more if its owner is gone, or if it
    /// was stopped.
    pub(crate) fn forget_stopped(&self, forwarding: &mut Forwarding) {
        if !forwarding.is_nothing()
            && let Some(here) = self.polls_here(0)
            && let Some(other) = forwarding.forget(here, Delivery::is_ownerless)
        {
            self.wake_task(other);
        }
    }
}
