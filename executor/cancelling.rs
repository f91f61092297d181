//! Cancelling a task, at its place in the queue.
//!
//! A request that was asked (`asking.rs`) waits with the task until then. If the
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

use crate::header::{Cancelling, Header, Queued};
use crate::id::Name;
use crate::inside::{add_region, pass};
use crate::life::{Life, Met, PollAnswer};
use crate::outcome::Cancelled;
use crate::request::{Delivery, Origin, Rank, Why};
use crate::rules::{Asking, Hold, OwnerAnswer, Watched};
use crate::signs::{Found, Looking, Signs};
use crate::state::State;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;

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
        let displaced = state.descent.displaced.take();
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
    state.descent.displaced.put(header.rare(|rare| rare.cancel.displaced.take()));
    let ran = run_closely(state, header, answer, &mut poll);
    header.rare(|rare| rare.cancel.displaced = state.descent.displaced.take());
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
            if state.descent.displaced.region().is_none()
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
            found.roles |= state.descent.displaced.hold();
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

/// Whether somebody sends what rests in the task, or goes out of it, and something was
/// met that goes outward, but not this.
fn seems_sent(header: &Header, found: &Found) -> bool {
    let rests = |asking: &Asking| asking.is_unheard() && asking.delivery.is_sent();
    let seems =
        |cancel: &Cancelling| cancel.asking.as_ref().is_some_and(rests) || cancel.outward.is_sent();
    found.roles.sends() && found.outward.is_none() && header.rare(|rare| seems(&rare.cancel))
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
    found.roles |= state.descent.displaced.hold();
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
    found.roles |= state.descent.displaced.hold();
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
    state.descent.noted.looks_at_lost();
    let fresh = header.has_undelivered_request();
    let listens = found.listens || state.descent.displaced.listen();
    let decision = header.rare(|rare| {
        let cancel = &mut rare.cancel;
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
        // What goes outward waits for others, and will take effect; but a later one is for
        // whoever has come since.
        let waits = !cancel.outward.is_nothing();
        let is_later = || {
            let asking = cancel.asking.as_ref().map(|asking| &asking.delivery);
            cancel.outward.request().zip(asking).is_some_and(|(one, later)| later.order > one.order)
        };
        match settled {
            OwnerAnswer::AskAgain if waits && listens && is_later() => Decision::Deliver,
            _ if waits => Decision::Rest,
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
            let has_members = cancel.region.is_some() || state.descent.displaced.region().is_some();
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
        // It is dropped because of the one, or returns in spite of them: then the latest.
        let unheard = unheard.filter(|_| !self.outward.is_chosen());
        let latest = outward.into_iter().chain(unheard).max_by_key(|delivery| delivery.order);
        if let Some(delivery) = latest {
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
