//! Cancelling: how a request gets to those who can clean up after it.
//!
//! A request waits in the task's header until the task's place in the queue.
//! There it is delivered: those scopes of the task that are to be told
//! (`scopes.rs`) get a mark and are woken, and the task is polled. Where there
//! is nobody to tell, the root is dropped. Where there is only a shield, the
//! request stays where it is, until the shield is through.
//!
//! A request that nobody has heard is never lost. It is asked again at the end
//! of the poll, and delivered at the next suspension.
//!
//! # Invariants
//!
//! - **Once.** A request is gone from the header when the first has heard of it.
//! - **No borrow is held while a waker is called**: it may be a combinator's.

use crate::clock::Instant;
use crate::current;
use crate::header::{AwaitedBy, Awaits, Header, Target};
use crate::id::{Name, TaskId};
use crate::life::{Ending, Life, Wish};
use crate::outcome::{Cancelled, Origin, Request, catch};
use crate::report::{Report, ReportKind};
use crate::scopes::{Delivery, Kind, Left, NodeKey, Nodes};
use crate::state::{State, request};
use crate::waker::waker;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

impl State {
    /// Asks a task to cancel. False if it has ended.
    pub(crate) fn ask_to_cancel(&self, header: &Header, request: Arc<Request>) -> bool {
        if header.is_finished() {
            return false;
        }
        self.lend_rare(header);
        // A shutdown asks everybody, and then those who await somebody pass it
        // on: that is one request, and not a second one for the clean-up.
        let is_new = header.rare(|rare| {
            if rare.last_wish.replace(request.wish) == Some(request.wish) {
                return false;
            }
            rare.cancelling = rare.cancelling.saturating_add(1);
            // Several requests before the next poll are one; the first counts,
            // unless a later one goes where it could not.
            match &rare.request {
                Some(first) if first.through_shields || !request.through_shields => {}
                _ => {
                    rare.request = Some(request);
                    rare.target = None;
                }
            }
            true
        });
        if is_new {
            self.ask(header);
        }
        true
    }

    /// Sees to it that the request in the header is delivered.
    fn ask(&self, header: &Header) {
        if header.asked() == Wish::Queue {
            self.wake(header.id.ticket());
            self.rouse();
        }
    }

    /// Takes one request back. Answers how many remain.
    pub(crate) fn take_back_cancel(&self, header: &Header) -> u32 {
        let left = header.if_rare(|rare| {
            let before = rare.cancelling;
            rare.cancelling = before.saturating_sub(1);
            rare.last_wish = None;
            if before == 1 {
                rare.request = None;
                rare.target = None;
            }
            (before, rare.cancelling)
        });
        let (before, left) = left.unwrap_or((0, 0));
        if before == 1 && !header.is_finished() {
            header.life.set(header.life.get().unasked());
            self.scopes.borrow_mut().unmark(header.nodes.get());
        }
        left
    }

    /// The task's place in the queue has come: tells whom the request in its
    /// header goes to.
    pub(crate) fn deliver(&self, header: &Header) -> Delivery {
        let awaits = header.awaits.replace(Awaits::NOTHING);
        if let Some(slot) = awaits.slot() {
            self.give_await_its_place(header, slot);
        }
        if header.nodes.get().is_empty() {
            // What it waited for is there: it gets that first.
            let waits = awaits == Awaits::VALUE;
            return if waits { Delivery::Marked } else { Delivery::Nobody };
        }
        let (request, target) = header.rare(|rare| (rare.request.clone(), rare.target));
        let Some(request) = request else { return Delivery::Nobody };
        let nodes = header.nodes.get();
        let mut told = Vec::new();
        let delivery = self.deliver_to(nodes, target, &request, &mut told);
        self.as_if_queued(header, || {
            told.into_iter().for_each(|key| self.wake_node(key));
        });
        delivery
    }

    fn deliver_to(
        &self,
        nodes: Nodes,
        target: Option<Target>,
        request: &Arc<Request>,
        told: &mut Vec<NodeKey>,
    ) -> Delivery {
        let mut scopes = self.scopes.borrow_mut();
        let within = match target {
            None => return scopes.deliver(nodes, None, request, told),
            Some(Target::Root) => None,
            Some(Target::Raised(key) | Target::Within(key)) => Some(key),
        };
        if let Some(Target::Within(_)) = target {
            match scopes.deliver(nodes, within, request, told) {
                Delivery::Nobody => {}
                delivery => return delivery,
            }
        }
        // What would be dropped now must not be under a shield.
        if !request.through_shields && scopes.has_shield(nodes, within) {
            return Delivery::Shielded;
        }
        let catcher = scopes.catcher(within, request);
        match catcher.filter(|&key| scopes.mark(key, request.clone())) {
            Some(catcher) => {
                told.push(catcher);
                Delivery::Marked
            }
            None => Delivery::Nobody,
        }
    }

    /// Tells those below a deadline that it has passed.
    pub(crate) fn deliver_below(&self, key: NodeKey, request: &Arc<Request>) -> Delivery {
        let Some(nodes) = self.with_running(|header| header.nodes.get()) else {
            return Delivery::Nobody;
        };
        let mut told = Vec::new();
        let delivery = self.scopes.borrow_mut().deliver(nodes, Some(key), request, &mut told);
        told.into_iter().for_each(|key| self.wake_node(key));
        delivery
    }

    /// Marks a node, and wakes it.
    pub(crate) fn tell(&self, key: NodeKey, request: Arc<Request>) {
        let is_there = self.scopes.borrow_mut().mark(key, request);
        if is_there {
            self.wake_node(key);
        }
    }

    /// Wakes a future in the tree by its own latest waker, which may be
    /// anybody's: so it is called, and even cloned, with no borrow held.
    pub(crate) fn wake_node(&self, key: NodeKey) {
        let lent = self.scopes.borrow_mut().take_waker(key);
        let Some(waker) = lent else { return };
        if let Err(panicked) = catch(|| waker.wake_by_ref()) {
            let report = Report::make(ReportKind::CallbackPanicked, "a waker panicked");
            self.report(report.with_panic(panicked));
        }
        let surplus = self.scopes.borrow_mut().put_waker(key, waker);
        surplus.into_iter().for_each(|waker| self.drop_waker(waker));
    }

    /// Sends a request outward from the scope that is being polled: to the
    /// nearest that stops it, or else to the root. What is shielded beside is
    /// waited for.
    pub(crate) fn raise(&self, request: &Arc<Request>) {
        request.set_raised();
        let catcher = self.scopes.borrow().catcher(self.scope.get(), request);
        self.with_running(|header| {
            let shielded = self.scopes.borrow().has_shield(header.nodes.get(), catcher);
            let waits = shielded && !request.through_shields;
            if let Some(catcher) = catcher.filter(|_| !waits) {
                return self.tell(catcher, request.clone());
            }
            header.rare(|rare| {
                rare.request = Some(request.clone());
                rare.target = Some(catcher.map_or(Target::Root, Target::Raised));
            });
            self.ask(header);
        });
    }

    /// Puts a request back that was heard and had no effect. It is delivered at
    /// the next suspension of the running task; that of a deadline or a group,
    /// by its owner, if that is still there.
    pub(crate) fn put_back(&self, request: &Arc<Request>) {
        self.put_back_to(self.running.get(), request);
    }

    /// The same, for the task that was asked.
    fn put_back_to(&self, task: Option<TaskId>, request: &Arc<Request>) {
        if request.owner.is_some() {
            request.set_unheard();
            return;
        }
        let Some(task) = task.and_then(|id| self.task(id)) else { return };
        let header = task.header();
        header.rare(|rare| {
            if rare.request.is_none() {
                rare.request = Some(request.clone());
                rare.target = None;
            }
        });
        self.ask(header);
    }

    /// Whether a task waits, for the effect of a request that it has passed on,
    /// for the running one, directly or through others. Circles of more than 32
    /// are not found; they are left to the grace.
    fn awaits_running(&self, task: TaskId) -> bool {
        let mut at = Some(task);
        for _ in 0..32 {
            let Some(id) = at else { return false };
            if self.running.get() == Some(id) {
                return true;
            }
            let nodes = self.task(id).map(|task| task.header().nodes.get());
            at = nodes.and_then(|nodes| self.scopes.borrow().passed_on_to(nodes));
        }
        false
    }

    /// Whether the running task has been asked to cancel, and nobody in it has
    /// heard yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.with_running(|header| header.life.get() == Life::PollingAsked).unwrap_or(false)
    }

    /// A shield has left: what it held back goes on.
    fn shield_is_through(&self, header: &Header, left: &Left) {
        // A task that was never asked has nothing rare, and needs nothing now.
        let waits = header.if_rare(|rare| {
            if let (None, Some(held), Some(parent)) = (&rare.request, &left.held, left.parent) {
                rare.request = Some(held.clone());
                rare.target = Some(Target::Within(parent));
            }
            rare.request.is_some()
        });
        if waits == Some(true) {
            self.ask(header);
        }
    }

    /// Whether a token was made for the running task.
    pub(crate) fn is_mine(&self, token: &Cancelled) -> bool {
        self.running.get().is_some_and(|id| token.is_for(id, self.identity))
    }

    pub(crate) fn with_running<R>(&self, work: impl FnOnce(&Header) -> R) -> Option<R> {
        let task = self.running.get().and_then(|id| self.task(id))?;
        Some(work(task.header()))
    }

    /// Polls what stands within a deadline; `None`, within a shield.
    #[inline]
    pub(crate) fn with_deadline<R>(
        &self,
        deadline: Option<Instant>,
        poll: impl FnOnce() -> R,
    ) -> R {
        let around = self.deadline.get();
        let earliest = deadline.map(|deadline| around.map_or(deadline, |a| a.min(deadline)));
        self.deadline.set(earliest);
        let _back = Beyond { home: self, around };
        poll()
    }

    /// Whether nobody is in the tree of the running task but those around what
    /// is being polled.
    #[inline]
    pub(crate) fn is_nobody_beside(&self) -> bool {
        self.scopes.borrow().is_empty() || self.are_all_around()
    }

    fn are_all_around(&self) -> bool {
        let table = self.table.borrow();
        let header = self.running.get().and_then(|id| table.get(id)).map(|task| task.header());
        header.is_none_or(|header| {
            let nodes = header.nodes.get();
            nodes.is_empty() || self.scopes.borrow().are_around(nodes, self.scope.get())
        })
    }

    /// Strikes off the scopes of a task that has ended. Answers the wakers of
    /// those futures that are still about: foreign code, for when all is done.
    #[inline(never)]
    pub(crate) fn clear_scopes(&self, header: &Header) -> Option<Vec<Waker>> {
        let mut wakers = Vec::new();
        self.scopes.borrow_mut().clear(&header.nodes, &mut wakers);
        (!wakers.is_empty()).then_some(wakers)
    }
}

// ---- The await that stands alone ------------------------------------------------

impl State {
    /// A task is awaited under the waker of `name`. Answers whether a note was
    /// enough: the await is all that the running task waits for, and needs no
    /// place in its tree unless there is a request.
    #[inline]
    pub(crate) fn note_await(&self, awaited: &Header, name: Name) -> bool {
        let Some(running) = self.running.get() else { return false };
        let by_its_own_waker = name.executor() == self.number && name.ticket() == running.ticket();
        if !by_its_own_waker
            || running == awaited.id
            || self.scope.get().is_some()
            || self.deadline.get().is_some()
        {
            return false;
        }
        let table = self.table.borrow();
        let Some(task) = table.find(name.ticket()) else { return false };
        let header = task.header();
        let this = Awaits::task(awaited);
        if header.awaits.get() == Awaits::NOTHING && header.nodes.get().is_empty() {
            header.awaits.set(this);
        }
        header.awaits.get() == this
    }

    /// The await of a task is over, or goes on in another way.
    #[inline]
    pub(crate) fn unnote_await(&self, awaited: &Header, name: Name) {
        self.with_awaiting(name, |awaiting| awaiting.unnote_await(awaited));
    }

    /// Looks at a task that awaits another, if it is one of this executor.
    #[inline]
    pub(crate) fn with_awaiting(&self, name: Name, look: impl FnOnce(&Header)) {
        if name.executor() == self.number
            && let Some(task) = self.table.borrow().find(name.ticket())
        {
            look(task.header());
        }
    }

    /// There is a request: the await that was only noted enters the tree, as
    /// the first, for it was alone when it came.
    fn give_await_its_place(&self, header: &Header, slot: u32) {
        let name = Name::new(self.number, header.id.ticket());
        let awaited = self.table.borrow().tenant(slot).cloned();
        let Some(awaited) = awaited.filter(|task| task.header().is_awaited_by_task(name)) else {
            return;
        };
        let waker = (*waker(name)).clone();
        let key = self.scopes.borrow_mut().enter_first(&header.nodes, header.id, waker);
        awaited.header().set_awaited_by(AwaitedBy::Node(key));
    }
}

impl State {
    /// An await enters the tree of the running task. None outside of a task.
    pub(crate) fn enter_await(&self, waker: &Waker) -> Option<NodeKey> {
        let task = self.running.get()?;
        let (waker, scope) = (waker.clone(), self.scope.get()); // foreign: no borrow is held
        let table = self.table.borrow();
        let nodes = &table.get(task)?.header().nodes;
        Some(self.scopes.borrow_mut().enter(nodes, task, Kind::Forward, scope, waker))
    }

    /// An await that is over leaves the tree, if it has not been told of
    /// anything there, as nearly always.
    #[must_use]
    pub(crate) fn leave_await(&self, key: NodeKey) -> bool {
        let mut scopes = self.scopes.borrow_mut();
        let quiet = scopes.is_quiet(key);
        if let Some(task) = scopes.task_of(key).filter(|_| quiet) {
            let table = self.table.borrow();
            let nodes = table.get(task).map(|task| &task.header().nodes);
            let waker = nodes.and_then(|nodes| scopes.leave_quietly(nodes, key));
            drop((scopes, table));
            waker.into_iter().for_each(|waker| self.drop_waker(waker));
        }
        quiet
    }
}

/// The cancellation of a task by the request in its header.
pub(crate) fn fulfil(home: &State, header: &Header) -> Cancelled {
    let wish = header.rare(|rare| rare.request.take());
    debug_assert!(wish.is_some(), "a task that is being cancelled has a request");
    let wish = wish.unwrap_or_else(|| request("requested", Origin::Requested));
    Cancelled::new(wish, header.id, home.identity)
}

// ---- A future in the tree of scopes ---------------------------------------------

/// Where a future stands in the tree of scopes, if it has been polled in a task.
///
/// It leaves the tree when it is dropped.
#[derive(Default)]
pub(crate) struct Standing {
    place: Option<(Rc<State>, NodeKey)>,
}

impl Standing {
    /// The place that the await of a task was given.
    pub(crate) fn at(home: &Rc<State>, key: Option<NodeKey>) -> Standing {
        Standing { place: key.map(|key| (home.clone(), key)) }
    }

    /// Only the key, to be kept until the next poll.
    pub(crate) fn into_key(mut self) -> Option<NodeKey> {
        self.place.take().map(|(_, key)| key)
    }

    /// The future is polled: enters the tree, or tells it where the future is
    /// now. None outside of a task, where nobody can be told of anything.
    #[inline]
    pub(crate) fn poll(&mut self, kind: Kind, cx: &Context<'_>) -> Option<Here<'_>> {
        current::with(|state| {
            let state = state?;
            let task = state.running.get()?;
            if !self.stays(state, task, cx.waker()) {
                self.move_to(state, task, kind, cx.waker());
            }
            Some(())
        })?;
        self.here()
    }

    /// Where it stood when it was last polled.
    pub(crate) fn here(&self) -> Option<Here<'_>> {
        self.place.as_ref().map(|(home, key)| Here { home, key: *key })
    }

    /// As [`poll`](Standing::poll), for a deadline, after a poll of what is
    /// inside: takes in whoever entered the tree during that, when there had
    /// been `entries`, and is not inside of others.
    pub(crate) fn enter_around(&mut self, entries: u32, cx: &Context<'_>) {
        if let Some(Here { home, key }) = self.poll(Kind::Deadline, cx) {
            home.with_running(|header| {
                home.scopes.borrow_mut().take_in(header.nodes.get(), entries, key);
            });
        }
    }

    /// Whether it stands where it stood, as nearly always.
    #[inline]
    fn stays(&self, state: &Rc<State>, task: TaskId, waker: &Waker) -> bool {
        self.place.as_ref().is_some_and(|(home, key)| {
            Rc::ptr_eq(home, state)
                && home.scopes.borrow().stays(*key, task, state.scope.get(), waker)
        })
    }

    fn move_to(&mut self, state: &Rc<State>, task: TaskId, kind: Kind, waker: &Waker) {
        // Foreign wakers are cloned and dropped with no borrow held.
        let (mut own, scope) = (Some(waker.clone()), state.scope.get());
        let moved = self.place.as_ref().is_some_and(|(home, key)| {
            Rc::ptr_eq(home, state) && home.scopes.borrow_mut().moves(*key, task, scope, &mut own)
        });
        if moved {
            return;
        }
        if self.place.is_some() {
            self.give_up(); // it was struck off, or is in another task now
        }
        if let (Some(cell), Some(own)) = (state.task(task), own) {
            let key = state.scopes.borrow_mut().enter(&cell.header().nodes, task, kind, scope, own);
            self.place = Some((state.clone(), key));
        }
    }

    /// Leaves the tree. What a shield held back goes on; what else becomes of
    /// the request that it leaves behind is the caller's affair.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if self.place.is_some() {
            drop(self.leave_tree());
        }
    }

    /// Answers the request that was passed on, if there is one, and where.
    #[inline(never)]
    fn leave_tree(&mut self) -> Option<(Rc<State>, TaskId, Arc<Request>)> {
        let (home, key) = self.place.take()?;
        let mut scopes = home.scopes.borrow_mut();
        let task = scopes.task_of(key)?;
        let left = home.table.borrow().get(task).and_then(|cell| {
            scopes.leave(&cell.header().nodes, key) // calls nobody
        });
        drop(scopes);
        let left = left?;
        if left.kind == Kind::Shield
            && let Some(cell) = home.task(task)
        {
            home.shield_is_through(cell.header(), &left);
        }
        left.passed_on.map(|request| (home, task, request))
    }

    /// What was waited for has ended because of `request`, which now goes on
    /// outward: at once, or when the last of those has raised it who wait for
    /// its effect beside us.
    pub(crate) fn raise_with_others(&mut self, request: &Arc<Request>) {
        let Some((home, key)) = self.place.as_ref().map(|(home, key)| (home.clone(), *key)) else {
            return;
        };
        let catcher = home.scopes.borrow().catcher(home.scope.get(), request);
        let nodes = home.with_running(|header| header.nodes.get());
        let waits = |nodes| home.scopes.borrow().others_wait(nodes, key, catcher);
        if nodes.is_some_and(waits) {
            home.scopes.borrow_mut().set_through(key);
            return;
        }
        // Of several requests that were passed on meanwhile one is told.
        if let Some(nodes) = nodes {
            home.scopes.borrow().set_raised(nodes, catcher);
        }
        self.leave();
        home.raise(request);
    }

    /// The await is through: what it waited for has ended, in this way.
    pub(crate) fn through(&mut self, ending: Option<Ending>) -> Through {
        let Some((home, key)) = &self.place else { return Through::Go };
        let (home, key) = (home.clone(), *key);
        if home.scopes.borrow().task_of(key) != home.running.get() {
            self.give_up(); // what it was told was for the task that it was in
            return Through::Go;
        }
        let cancelled = ending == Some(Ending::Cancelled);
        // Told of a request when it had ended already: a value is still good;
        // a failure is left for whoever hears of it.
        if let Some(told) = (Here { home: &home, key }).heard() {
            let request = told.request().clone();
            if ending == Some(Ending::Succeeded) {
                self.leave();
                home.put_back(&request);
                return Through::Go;
            }
            self.raise_with_others(&request);
            return Through::Stay;
        }
        let passed_on = home.scopes.borrow().passed_on(key);
        let Some(request) = passed_on else {
            self.leave();
            return Through::Go;
        };
        if cancelled {
            self.raise_with_others(&request);
            return Through::Stay;
        }
        self.leave();
        // It ended otherwise: its outcome is news, and the request still stands.
        home.put_back(&request);
        Through::Go
    }
}

/// Whether an await that is through hands on its outcome.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Through {
    Go,
    /// The request on whose behalf the task was cancelled takes it from here.
    Stay,
}

impl Drop for Standing {
    #[inline]
    fn drop(&mut self) {
        if self.place.is_some() {
            self.give_up();
        }
    }
}

impl Standing {
    /// The await is given up, and with it the wait for the effect of a request.
    /// The request still stands.
    #[inline(never)]
    fn give_up(&mut self) {
        if let Some((home, task, request)) = self.leave_tree()
            && !request.is_raised()
        {
            home.put_back_to(Some(task), &request);
        }
    }
}

/// A future in the tree, during its poll.
pub(crate) struct Here<'a> {
    pub(crate) home: &'a Rc<State>,
    pub(crate) key: NodeKey,
}

impl Here<'_> {
    /// What it is told, if it is.
    pub(crate) fn heard(&self) -> Option<Cancelled> {
        let request = self.home.scopes.borrow_mut().take_mark(self.key)?;
        request.set_heard();
        self.home.with_running(|header| {
            if request.owner.is_none() {
                header.rare(|rare| rare.last_heard = Some(request.clone()));
            }
            let same = |first: &Arc<Request>| Arc::ptr_eq(first, &request);
            let was = header.if_rare(|rare| rare.request.take_if(|first| same(first)).is_some());
            if was == Some(true) {
                header.life.set(header.life.get().unasked());
            }
            Cancelled::new(request.clone(), header.id, self.home.identity)
        })
    }

    /// Passes a request on to these, to wait for them. False if there is no use
    /// in waiting: they belong to another executor, or await us in a circle.
    #[must_use]
    pub(crate) fn forward(&self, home: &Rc<State>, them: &[&Header], wish: &Arc<Request>) -> bool {
        if !Rc::ptr_eq(self.home, home) {
            return false;
        }
        let only = match them {
            [one] => Some(one.id),
            _ => None,
        };
        if only.is_some_and(|one| self.home.awaits_running(one)) {
            return false;
        }
        self.home.scopes.borrow_mut().pass_on(self.key, wish.clone(), only);
        let passed_on = Arc::new(wish.passed_on());
        for child in them {
            self.home.ask_to_cancel(child, passed_on.clone());
        }
        true
    }

    /// Drops what is inside because a deadline has passed or a group is aborted.
    /// Somebody's request that is in hand there goes with it, and so is put back.
    pub(crate) fn drop_inside_of(&self, request: &Arc<Request>, drop: impl FnOnce()) {
        let home = self.home;
        let heard = home.with_running(|header| header.if_rare(|rare| rare.last_heard.clone()));
        let heard = heard.flatten().flatten().filter(|heard| heard.is_in_hand());
        self.drop_inside(request, drop);
        if let Some(heard) = heard.filter(|heard| !heard.is_in_hand()) {
            home.put_back(&heard);
        }
    }

    /// Passes a request on to nobody in particular: to wait for its effect.
    pub(crate) fn waits_for(&self, request: &Arc<Request>) {
        self.home.scopes.borrow_mut().pass_on(self.key, request.clone(), None);
    }

    /// Drops what is inside because of a request, so that a panic in the drop
    /// can say why there was one.
    pub(crate) fn drop_inside(&self, request: &Arc<Request>, drop: impl FnOnce()) {
        let home = self.home;
        home.with_running(|header| header.rare(|rare| rare.dropping = Some(request.clone())));
        self.inside(drop);
        home.with_running(|header| header.rare(|rare| rare.dropping = None));
    }

    /// Polls what is inside.
    pub(crate) fn inside<R>(&self, poll: impl FnOnce() -> R) -> R {
        let outside = self.home.scope.replace(Some(self.key));
        let _back = Outside { home: self.home, outside };
        poll()
    }
}

/// Goes back outside, also when the poll inside unwinds.
struct Outside<'a> {
    home: &'a State,
    outside: Option<NodeKey>,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.home.scope.set(self.outside);
    }
}

/// Goes back beyond a deadline, also when the poll within unwinds.
struct Beyond<'a> {
    home: &'a State,
    around: Option<Instant>,
}

impl Drop for Beyond<'_> {
    fn drop(&mut self) {
        self.home.deadline.set(self.around);
    }
}
