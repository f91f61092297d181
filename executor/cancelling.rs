//! Cancelling a task: how a request gets from `cancel()` to those who hear it.
//!
//! A request waits with the task until the task's place in the queue. If the
//! last poll met nobody in it who listens, the future is dropped there and then.
//! Otherwise the task is polled, and the poll carries the request down to those
//! who do (`rules.rs` says to whom). What comes of it is looked at when the poll
//! is over, still at the same place of the queue: has somebody heard, does
//! something hold it, is it to be asked again, or is the future to be dropped?
//!
//! A task is the owner of all that is asked of it. Deadlines and groups are
//! owners too, of what they ask of those inside of them; they do the same with
//! `inside.rs` and the same rules.
//!
//! # Invariants
//!
//! - **Where a request is.** It is in the task's header or in `pending` (asked),
//!   in `asking` (delivered), or in `outward` (on its way out).

use crate::current;
use crate::header::{Cancelling, Header, Lately, Queued};
use crate::id::Name;
use crate::inside::{add_region, pass};
use crate::life::{CancelAnswer, Life, Met, PollAnswer};
use crate::outcome::Cancelled;
use crate::request::{Delivery, Origin, Rank, Request, Why};
use crate::rules::{Asking, Forwarding, Hold, OwnerAnswer, Watched};
use crate::signs::{Found, Looking, Signs};
use crate::state::State;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

// ---- Asking ------------------------------------------------------------------------

impl State {
    /// A request of its own.
    pub(crate) fn new_request(&self, why: Why) -> Request {
        let id = self.requests_ever.get() + 1;
        self.requests_ever.set(id);
        Request { id, why, through_shields: false }
    }

    /// Somebody calls `cancel()` here. False if the task has ended.
    ///
    /// As a rule it is the only request, and nothing has to be kept of it but
    /// the place.
    pub(crate) fn cancel_plainly(
        &self,
        header: &Header,
        location: &'static Location<'static>,
    ) -> bool {
        if header.has_rare() || header.requested_at.get().is_some() {
            return self.cancel(header, self.new_request(Why::Plain(location)));
        }
        if header.is_finished() {
            return false;
        }
        header.requested_at.set(Some(location));
        self.see_to_request(header);
        true
    }

    /// Asks a task to cancel. False if it has ended.
    pub(crate) fn cancel(&self, header: &Header, request: Request) -> bool {
        if header.is_finished() {
            return false;
        }
        self.lend_rare(header);
        // A shutdown asks everybody, and then those who await somebody pass it
        // on: that is one request, and not a second one for the clean-up.
        let is_new = header.cancelling(|cancel, plain| {
            if !cancel.lately.is_new(request.id) {
                return false;
            }
            cancel.count = cancel.count.saturating_add(1);
            // Several requests before the next poll are one; the first counts,
            // unless a later one goes where it could not.
            let first_goes_through = cancel
                .pending
                .as_ref()
                .map(|first| first.through_shields)
                .or(plain.then_some(false));
            match first_goes_through {
                Some(through) if through || !request.through_shields => {}
                _ => cancel.pending = Some(request),
            }
            true
        });
        if is_new {
            self.see_to_request(header);
        }
        true
    }

    fn see_to_request(&self, header: &Header) {
        if header.request_cancel() == CancelAnswer::Queue {
            self.wake(header.id.ticket());
            self.rouse();
        }
    }

    /// Takes one request back. Answers how many remain.
    pub(crate) fn take_back_cancel(&self, header: &Header) -> u32 {
        if header.cancelling_count() == 0 {
            return 0;
        }
        let left = header.cancelling(|cancel, _| {
            cancel.count = cancel.count.saturating_sub(1);
            if cancel.count == 0 {
                cancel.lately = Lately::default();
            }
            cancel.count
        });
        if left == 0 && !header.is_finished() {
            self.withdraw(header);
        }
        left
    }

    /// What nobody has taken yet is taken back.
    fn withdraw(&self, header: &Header) {
        header.requested_at.set(None);
        let unanswered = header.rare(|rare| {
            rare.cancel.pending = None;
            // What was taken may have come to nothing in this very poll.
            let is_untaken = |asking: &mut Asking| {
                asking.is_untaken()
                    || asking.is_unheard() && self.descent.noted.is_lost(&asking.delivery)
            };
            if let Some(asking) = rare.cancel.asking.take_if(is_untaken) {
                asking.delivery.set_over();
            }
            rare.cancel.is_unanswered()
        });
        if !unanswered {
            header.withdraw_cancel();
        }
    }

    // ---- The running task ------------------------------------------------------------

    /// Whether a token was made for the running task.
    pub(crate) fn is_mine(&self, token: &Cancelled) -> bool {
        self.running.get().is_some_and(|id| token.is_for(id, self.identity))
    }

    /// What was asked of the running task, and nobody has heard of, nor does it go
    /// outward: it may be delivered again when the poll is over. Whoever asks may know
    /// that those who sent something are gone.
    pub(crate) fn resting_request(&self, senders_are_gone: bool) -> Option<Arc<Delivery>> {
        let resting = |header: &Header| {
            header.if_rare(|rare| {
                let asking = rare.cancel.asking.as_ref()?;
                let stops = rare.cancel.outward.request();
                let stops = stops.is_some_and(|stops| Arc::ptr_eq(stops, &asking.delivery));
                let leaves = stops || self.descent.noted.sends(&asking.delivery) || asking.leaves();
                if senders_are_gone {
                    self.descent.leave_behind(&asking.delivery);
                }
                let is_sent = asking.delivery.is_sent()
                    && !self.descent.noted.is_left_behind(&asking.delivery);
                let leaves = leaves && is_sent;
                (asking.is_unheard() && !leaves).then(|| asking.delivery.clone())
            })
        };
        self.with_running(resting).flatten().flatten()
    }

    /// Whether the running task was asked to cancel in this very poll, or before
    /// it, and that has not been delivered.
    pub(crate) fn has_undelivered_request(&self) -> bool {
        self.with_running(|header| header.has_undelivered_request()).unwrap_or(false)
    }

    /// A delivery for somebody in the running task.
    pub(crate) fn new_delivery(&self, why: Why, rank: Rank) -> Option<Arc<Delivery>> {
        Some(self.delivery(self.new_request(why), self.running_name()?, rank))
    }

    /// A delivery of this request in this task.
    pub(crate) fn delivery(&self, request: Request, task: Name, rank: Rank) -> Arc<Delivery> {
        let order = self.requests_ever.get() + 1;
        self.requests_ever.set(order);
        Delivery::new(request, task, rank, order)
    }

    /// Somebody in the running task hears of it. What was carried to him beside
    /// that is heard in the same breath.
    pub(crate) fn hear(&self, delivery: &Arc<Delivery>) -> Option<Cancelled> {
        delivery.set_heard();
        self.descent.meet_hearer(delivery.rank);
        self.is_heard_in_running_task();
        let task = self.running.get()?;
        Some(Cancelled::of(delivery.clone(), task, self.identity))
    }

    /// The running task may have answered all that was asked of it.
    pub(crate) fn is_heard_in_running_task(&self) {
        self.with_running(|header| {
            if header.life.get() != Life::PollingCancelRequested {
                return; // it has answered, or was not asked
            }
            let unanswered = header.if_rare(|rare| rare.cancel.is_unanswered()) == Some(true);
            if !unanswered && !header.has_undelivered_request() {
                header.withdraw_cancel();
            }
        });
    }

    /// What is to go outward on behalf of a token. If the owner of that is gone, it is as
    /// if the task had been asked: there is nobody else to stop it.
    pub(crate) fn goes_on(&self, token: Arc<Delivery>) -> Arc<Delivery> {
        let renewed = || self.new_delivery(token.request.why.clone(), Rank::TASK);
        let renewed = token.is_ownerless().then(renewed).flatten();
        renewed.unwrap_or(token)
    }

    /// Sends a request outward from what is being polled. From here on a value
    /// does not answer it.
    pub(crate) fn send_outward(&self, delivery: &Arc<Delivery>) {
        self.descent.meet_listener(); // so that what rests in the task is looked at
        self.descent.send_outward(delivery);
        if delivery.rank == Rank::TASK {
            self.with_running(|header| {
                let _its_poll_is_on = header.request_cancel();
            });
        }
    }

    /// Somebody who had passed this on, or sent it outward, is given up. If nobody
    /// else has, its owner is to look after it.
    pub(crate) fn give_up(&self, delivery: &Arc<Delivery>) {
        let is_over = self.descent.drops_inner(delivery.rank);
        if delivery.is_heard() {
            self.is_heard_in_running_task();
        } else if !is_over && !delivery.is_taken() {
            self.is_lost(delivery);
        }
    }

    /// What was heard of a request had no effect: its owner is to ask again, and
    /// a value does not answer it.
    fn is_lost(&self, delivery: &Arc<Delivery>) {
        if delivery.is_heard() {
            return; // by somebody else
        }
        if delivery.rank == Rank::TASK && self.has_heard_a_later_one(delivery) {
            return delivery.set_over();
        }
        self.descent.is_lost(delivery);
        if delivery.rank == Rank::TASK {
            self.with_running(|header| {
                let _its_poll_is_on = header.request_cancel();
            });
        }
    }

    /// Whether somebody has heard of a later request to the running task: that counts for
    /// those before it.
    fn has_heard_a_later_one(&self, lost: &Delivery) -> bool {
        let is_heard = |header: &Header| {
            let is_later = |asking: &Asking| {
                let latest = &asking.delivery;
                latest.task == lost.task && latest.order > lost.order && !asking.is_unheard()
            };
            header.if_rare(|rare| rare.cancel.asking.as_ref().is_some_and(is_later))
        };
        self.with_running(is_heard).flatten() == Some(true)
    }

    /// Drops what is inside of a place because of a request, so that a panic in
    /// the drop can say why there was one, and that no other request is lost.
    pub(crate) fn drop_inside(&self, cause: &Delivery, drop: impl FnOnce()) {
        let task = self.running.get();
        cause.stop();
        self.dropping.set(task.map(|task| (task, cause.request.why.clone())));
        self.descent.drop_because_of(cause.rank, drop);
        self.dropping.set(None);
    }

    /// A task has panicked: because of what something inside was being dropped, if
    /// it was.
    pub(crate) fn was_dropping(&self, header: &Header) -> Option<Why> {
        let dropping = self.dropping.take().filter(|(task, _)| *task == header.id);
        dropping.map(|(_, why)| why)
    }
}

/// One token less; its owner may have to know.
impl Drop for Cancelled {
    fn drop(&mut self) {
        let Some(delivery) = self.delivery() else { return };
        delivery.uncount_token();
        current::with(|state| {
            let own = |state: &&Rc<State>| state.running_name() == Some(delivery.task);
            if let Some(state) = state.filter(own)
                && state.descent.drops_outer(delivery.rank)
            {
                delivery.unhear();
                state.is_lost(delivery);
            }
        });
    }
}

/// Whoever had passed something on, or sent it outward, is given up.
pub(crate) fn give_up(forwarding: &mut Forwarding) {
    let forwarding = std::mem::take(forwarding);
    let Some(delivery) = forwarding.request().cloned() else { return };
    drop(forwarding);
    with_running_task(|state| {
        let own = state.filter(|state| state.running_name() == Some(delivery.task));
        own.into_iter().for_each(|state| state.give_up(&delivery));
    });
}

/// Looks at the executor in whose task something is polled just now, if it is in
/// one.
#[inline]
pub(crate) fn with_running_task<R>(look: impl FnOnce(Option<&Rc<State>>) -> R) -> R {
    current::with(|state| look(state.filter(|state| state.running.get().is_some())))
}

// ---- At the task's place in the queue ----------------------------------------------------

/// What has become of a task at its place in the queue.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ran {
    Pending,
    Ended,
    /// Nobody in it can take what was asked: it is to be dropped.
    Drop,
}

/// So often something is delivered at one place in the queue. Who asks himself
/// again and again is to let others have their turns.
pub(crate) const MOST_DELIVERIES: u32 = 3;

/// So often it is polled for those who were called, one set in the other, before
/// it is left to the next turn.
const MOST_PAID: u32 = 16;

/// After a plain poll that was pending.
#[inline]
pub(crate) fn after_poll(state: &State, header: &Header, poll: impl FnMut() -> Poll<()>) -> Ran {
    if header.life.get() == Life::Polling {
        let signs = state.descent.signs();
        if signs == Signs::NONE {
            header.life.set(Life::Waiting);
            return Ran::Pending;
        }
        if signs.is_plain() {
            let listens = signs.has(Signs::LISTENS);
            header.life.set(if listens { Life::Listening } else { Life::Waiting });
            state.descent.clear();
            return Ran::Pending;
        }
        if signs.is_plain_beside_region() && keep_region(state, header, signs) {
            return Ran::Pending;
        }
    }
    run(state, header, PollAnswer::Poll, poll)
}

/// Lays out the region of a task in which nothing rests, and then the poll of it is
/// a plain one. False if there is more to look at.
fn lay_out_region(state: &State, header: &Header) -> bool {
    header.rare(|rare| {
        let cancel = &mut rare.cancel;
        let rests = cancel.waits || cancel.asking.is_some() || !cancel.outward.is_nothing();
        let rests = rests || cancel.displaced.is_some();
        if !rests && let Some(region) = cancel.region.take() {
            state.descent.set_region(region);
        }
        !rests
    })
}

/// A plain poll has met nobody but listeners and members of the task's region. False
/// if some of those have passed a request on.
#[inline(never)]
fn keep_region(state: &State, header: &Header, signs: Signs) -> bool {
    let Some(region) = state.descent.take_region_if(|members| !members.waits()) else {
        return false;
    };
    let listens = signs.has(Signs::LISTENS);
    let region = Some(region).filter(|region| !region.is_empty());
    state.lend_rare(header);
    header.life.set(match (&region, listens) {
        (Some(_), _) => Life::Involved,
        (None, true) => Life::Listening,
        (None, false) => Life::Waiting,
    });
    header.rare(|rare| {
        rare.cancel.listens_directly = listens;
        rare.cancel.region = region;
    });
    true
}

/// After a plain poll that was ready, or panicked.
#[inline]
pub(crate) fn after_end(state: &State, header: &Header) -> Ran {
    if state.descent.signs() != Signs::NONE {
        // Futures that were polled in it may outlive it.
        let (_, region) = state.descent.found();
        let displaced = state.descent.take_displaced();
        if region.is_some() || displaced.is_some() {
            header.rare(|rare| {
                rare.cancel.region = region;
                rare.cancel.displaced = displaced;
            });
        }
        state.descent.clear();
    }
    Ran::Ended
}

/// Polls a task in which there is something to look at; or looks at what a plain
/// poll has met in it.
#[inline(never)]
pub(crate) fn run(
    state: &State,
    header: &Header,
    answer: PollAnswer,
    mut poll: impl FnMut() -> Poll<()>,
) -> Ran {
    if answer == PollAnswer::Attend && lay_out_region(state, header) {
        return match poll() {
            Poll::Pending => after_poll(state, header, &mut poll as &mut dyn FnMut() -> Poll<()>),
            Poll::Ready(()) => after_end(state, header),
        };
    }
    state.lend_rare(header);
    state.descent.put_displaced(header.rare(|rare| rare.cancel.displaced.take()));
    let ran = run_closely(state, header, answer, &mut poll);
    header.rare(|rare| rare.cancel.displaced = state.descent.take_displaced());
    ran
}

fn run_closely(
    state: &State,
    header: &Header,
    answer: PollAnswer,
    poll: &mut dyn FnMut() -> Poll<()>,
) -> Ran {
    let waits = header.rare(|rare| rare.cancel.waits);
    let (mut polled, mut found) = match answer {
        PollAnswer::Deliver
            if state.descent.displaced().is_none()
                && header.rare(|rare| rare.cancel.members_have_left()) =>
        {
            return Ran::Drop;
        }
        PollAnswer::Deliver => match next_delivery(state, header) {
            Some(delivery) => deliver(state, header, delivery, poll),
            None => attend(state, header, poll),
        },
        PollAnswer::Attend => attend(state, header, poll),
        PollAnswer::Poll => {
            let (mut found, mut region) = state.descent.found();
            add_region(state, &mut region, &mut found);
            header.rare(|rare| rare.cancel.region = region);
            found.roles |= state.descent.displaced_hold();
            (Poll::Pending, found)
        }
        PollAnswer::Drop | PollAnswer::Nothing => (Poll::Pending, Found::default()),
    };
    let mut deliveries = u32::from(answer == PollAnswer::Deliver);
    let mut is_confirmed = answer != PollAnswer::Deliver && !waits && found.outward.is_none();
    let mut is_doubted = false;
    let mut paid = 0;
    while polled.is_pending() {
        // Whoever took a request, waits with one, or holds what goes outward, may have
        // been left behind in the same poll.
        if state.descent.noted.has_just_lost() {
            is_confirmed = false;
        }
        let looks = match owes_a_poll(state, header, &mut paid) {
            true => Some(Looking::Pays),
            false if !is_confirmed && found.roles.holds_any() => Some(Looking::Confirms),
            // What went outward stopped further in, and may be over: who sends what
            // rests was perhaps not met.
            false if !is_doubted && seems_sent(header, &found) => {
                is_doubted = true;
                Some(Looking::Confirms)
            }
            false => None,
        };
        if let Some(looks) = looks {
            is_confirmed |= looks == Looking::Confirms;
            state.descent.noted.put_back_sent(None);
            let (again, more) = state.descent.look(looks, || attend(state, header, poll));
            (polled, found) = (again, more.after(found));
            continue;
        }
        match decide(state, header, &mut found) {
            Decision::Drop => {
                state.descent.clear_all();
                return Ran::Drop;
            }
            Decision::Rest => {
                state.descent.clear_all();
                return Ran::Pending;
            }
            Decision::Deliver if deliveries == MOST_DELIVERIES => {
                header.life.set(Life::CancelRequested { listens: true });
                state.wake(header.id.ticket());
                state.descent.clear_all();
                return Ran::Pending;
            }
            Decision::Deliver => {
                deliveries += 1;
                is_confirmed = false;
                state.descent.set_polls_again();
                let Some(delivery) = next_delivery(state, header) else { continue };
                (polled, found) = deliver(state, header, delivery, poll);
            }
        }
    }
    state.descent.clear_all();
    Ran::Ended
}

/// Whether somebody sends what rests in the task, and something was met that goes
/// outward, but not this.
fn seems_sent(header: &Header, found: &Found) -> bool {
    let rests = |asking: &Asking| asking.is_unheard() && asking.delivery.is_sent();
    found.roles.sends()
        && found.outward.is_none()
        && header.rare(|rare| rare.cancel.asking.as_ref().is_some_and(rests))
}

/// Whether the task is to be polled once more because members have been called;
/// until nobody is woken by that, for a set whose only child was polled asks to
/// be polled again.
fn owes_a_poll(state: &State, header: &Header, paid: &mut u32) -> bool {
    if !state.descent.owes_a_poll() {
        return false;
    }
    let is_woken = header.queued.get() == Queued::Woken;
    if *paid == 0 || is_woken && *paid < MOST_PAID {
        header.queued.set(Queued::Aside);
        *paid += 1;
        return true;
    }
    *paid = 0;
    state.descent.has_paid(&header.queued);
    if is_woken {
        state.wake(header.id.ticket());
    }
    false
}

/// What is to be delivered next: what was asked last, or again what rests and
/// nobody has taken.
fn next_delivery(state: &State, header: &Header) -> Option<Arc<Delivery>> {
    let name = Name::new(state.number, header.id.ticket());
    let fresh = header.cancelling(|cancel, _| cancel.pending.take());
    let plain = header.requested_at.take();
    header.rare(|rare| {
        let cancel = &mut rare.cancel;
        let fresh = fresh.or_else(|| Some(state.new_request(Why::Plain(plain?))));
        let rests = cancel.asking.as_ref().filter(|asking| asking.is_unheard());
        match (fresh, rests) {
            // Of several that nobody has taken the first counts.
            (Some(fresh), Some(first))
                if first.is_untaken()
                    && (first.delivery.request.through_shields || !fresh.through_shields) =>
            {
                Some(first.delivery.clone())
            }
            (Some(fresh), _) => Some(state.delivery(fresh, name, Rank::TASK)),
            (None, first) => first.map(|first| first.delivery.clone()),
        }
    })
}

/// Polls a task so that those in it hear of a request.
fn deliver(
    state: &State,
    header: &Header,
    delivery: Arc<Delivery>,
    poll: &mut dyn FnMut() -> Poll<()>,
) -> (Poll<()>, Found) {
    header.life.set(Life::PollingCancelRequested);
    let mut region = header.rare(|rare| {
        rare.cancel.asking = Some(Asking::new(delivery.clone()));
        rare.cancel.region.take()
    });
    let (polled, mut found) =
        state.descent.deliver(&delivery, || pass(state, &mut region, None, None, &mut *poll));
    found.roles |= state.descent.displaced_hold();
    header.rare(|rare| {
        rare.cancel.region = region;
        if let Some(asking) = &mut rare.cancel.asking {
            asking.delivered(found.roles);
        }
    });
    (polled, found)
}

/// Polls a task in which something rests, or somebody is polled by a waker of
/// his own.
fn attend(state: &State, header: &Header, poll: &mut dyn FnMut() -> Poll<()>) -> (Poll<()>, Found) {
    let (mut region, watched, unanswered, waits) = header.rare(|rare| {
        let cancel = &mut rare.cancel;
        (cancel.region.take(), cancel.watched(), cancel.is_unanswered(), cancel.waits)
    });
    if unanswered {
        header.life.set(Life::PollingCancelRequested);
    }
    let mut pass = || pass(state, &mut region, None, watched.as_ref(), &mut *poll);
    // Whoever waits with what others have heard may be left behind too.
    let (polled, mut found) = match waits || state.descent.looking() == Looking::Confirms {
        true => state.descent.watch(pass),
        false => pass(),
    };
    found.roles |= state.descent.displaced_hold();
    header.rare(|rare| rare.cancel.region = region);
    (polled, found)
}

/// What is to be done with a task whose poll was pending.
enum Decision {
    Rest,
    Deliver,
    Drop,
}

fn decide(state: &State, header: &Header, found: &mut Found) -> Decision {
    let lost = state.descent.noted.take_lost();
    let name = Name::new(state.number, header.id.ticket());
    let fresh = header.has_undelivered_request();
    let listens = found.listens || state.descent.displaced_listen();
    let decision = header.rare(|rare| {
        let cancel = &mut rare.cancel;
        // A request that is asked again after its token was lost; unless there is a
        // later one by now: whoever hears of that has heard of this.
        if let Some(lost) = lost.filter(|lost| lost.task == name && !lost.is_over())
            && cancel.asking.as_ref().is_none_or(|asking| asking.is_before(&lost))
        {
            cancel.asking = Some(Asking::new(lost));
        }
        if !cancel.outward.is_nothing() || found.outward.is_some() {
            let outward = std::mem::take(&mut cancel.outward);
            let carried = cancel.asking.as_ref().and_then(Asking::in_vain);
            let carried = carried.filter(|carried| !found.roles.holds(carried));
            let (outward, leaves) = outward.settle(0, carried, found.outward.take(), found.roles);
            cancel.outward = outward;
            if let Some(leaves) = leaves {
                cancel.outward = Hold::Chosen(leaves); // it is what the task ends by
                return Decision::Drop;
            }
        }
        let asking = cancel.asking.as_mut();
        let settled = asking.map_or(OwnerAnswer::Rest, |asking| asking.settle(found.roles));
        if fresh {
            return if listens { Decision::Deliver } else { Decision::Drop };
        }
        match settled {
            // What goes outward waits for others, and will take effect.
            _ if !cancel.outward.is_nothing() => Decision::Rest,
            OwnerAnswer::Act => Decision::Drop,
            OwnerAnswer::AskAgain if !listens => Decision::Drop,
            OwnerAnswer::AskAgain => Decision::Deliver,
            OwnerAnswer::Rest => Decision::Rest,
        }
    });
    if matches!(decision, Decision::Rest) {
        let more = header.rare(|rare| {
            let cancel = &mut rare.cancel;
            cancel.listens_directly = found.listens_directly;
            cancel.waits = listens && found.roles.waits();
            let has_members = cancel.region.is_some() || state.descent.displaced().is_some();
            has_members || cancel.waits || cancel.is_unanswered()
        });
        let met = match (more, listens) {
            (true, _) => Met::More,
            (false, true) => Met::Listeners,
            (false, false) => Met::Nobody,
        };
        header.life.set(Life::Polling.end_poll(met).0);
    }
    decision
}

impl Cancelling {
    /// Whether all who listened in the task were members of its region, and are
    /// in that of another task by now.
    fn members_have_left(&self) -> bool {
        let left = self.region.as_ref().is_some_and(|region| region.is_empty());
        left && !self.listens_directly && !self.is_unanswered()
    }

    /// What rests in the task, and waits for others.
    fn watched(&self) -> Option<Watched> {
        let asking = self.asking.as_ref().filter(|asking| asking.is_unheard());
        let asked = || asking.map(|asking| Watched::Asked(asking.delivery.clone()));
        self.outward.watched().or_else(asked)
    }

    /// Why the task is cancelled, if it ends now.
    fn ends_by(&self, plain: Option<&'static Location<'static>>) -> Option<Why> {
        let asking = self.asking.as_ref();
        let outward = self.outward.request().filter(|_| self.outward.is_sent());
        let unheard = asking.filter(|asking| asking.is_unheard()).map(|asking| &asking.delivery);
        if let Some(delivery) = outward.or(unheard) {
            return Some(delivery.request.why.clone());
        }
        // The first counts, unless a later one goes where it could not.
        let pending = |goes_through: bool| {
            let pending = self.pending.as_ref();
            let pending = pending.filter(|it| it.through_shields || !goes_through);
            pending.map(|request| request.why.clone())
        };
        pending(true)
            .or(plain.map(Why::Plain))
            .or_else(|| pending(false))
            .or_else(|| asking.map(|asking| asking.delivery.request.why.clone()))
    }
}

/// The cancellation by which a task ends.
pub(crate) fn fulfil(home: &State, header: &Header) -> Cancelled {
    let plain = header.requested_at.get();
    let why = match header.if_rare(|rare| rare.cancel.ends_by(plain)) {
        Some(why) => why,
        None => plain.map(Why::Plain),
    };
    debug_assert!(why.is_some(), "a task that is being cancelled has a request");
    let why = why.unwrap_or_else(|| Why::of(Origin::Requested, "requested"));
    Cancelled::new(why, header.id, home.identity)
}
