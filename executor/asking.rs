//! A request to cancel, from those who ask for it to those in the task who hear it.
//!
//! Somebody asks, or takes that back; somebody in the running task hears of it, sends it
//! on outward, or lets it come to nothing. What happens in between, at the task's place
//! in the queue, is in `cancelling.rs`.

use crate::current;
use crate::header::{Header, Lately};
use crate::id::Name;
use crate::life::{CancelAnswer, Life};
use crate::outcome::Cancelled;
use crate::request::{Answered, Delivery, Rank, Request, Why};
use crate::rules::{Asking, Forwarding, PolledAt};
use crate::state::State;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

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
            // What was taken may have come to nothing in this very poll: with its token, or
            // where it had been passed on.
            let noted = &self.descent.noted;
            let is_untaken = |asking: &mut Asking| {
                asking.is_untaken()
                    || noted.loses(&asking.delivery) && !asking.delivery.is_taken()
                    || noted.loses_token(&asking.delivery) && !asking.delivery.is_passed_on()
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
                let leaves = stops || self.descent.noted.sends(&asking.delivery);
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

    /// Where something is polled in the running task that was told last by the delivery
    /// of this number.
    pub(crate) fn polls_here(&self, seen: u32) -> Option<PolledAt> {
        let stop = self.descent.around.get().stop;
        Some(PolledAt { task: self.running_name()?, stop, seen, answered: self.answered() })
    }

    /// What has been answered in the running task.
    fn answered(&self) -> Answered {
        let answered = |header: &Header| header.if_rare(|rare| rare.cancel.answered);
        self.with_running(answered).flatten().unwrap_or_default()
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
        self.descent.meet_hearer(delivery.rank());
        self.is_heard_in_running_task(delivery.answers());
        let task = self.running.get()?;
        Some(Cancelled::of(delivery.clone(), task, self.identity))
    }

    /// The running task may have answered all that was asked of it, and has answered this.
    fn is_heard_in_running_task(&self, now: Option<Answered>) {
        self.with_running(|header| {
            let unanswered = header.if_rare(|rare| {
                let cancel = &mut rare.cancel;
                now.into_iter().for_each(|now| cancel.answered = cancel.answered.max(now));
                cancel.is_unanswered()
            });
            // Else it has answered, or was not asked.
            let is_asked = header.life.get() == Life::PollingCancelRequested;
            if is_asked && unanswered != Some(true) && !header.has_undelivered_request() {
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
        if delivery.rank() == Rank::TASK {
            self.with_running(|header| {
                let _its_poll_is_on = header.request_cancel();
            });
        }
    }

    /// Somebody who had passed this on, or sent it outward, is given up. If nobody
    /// else has, its owner is to look after it.
    pub(crate) fn give_up(&self, delivery: &Arc<Delivery>) {
        let is_over = self.descent.drops_inner(delivery.rank());
        if delivery.is_heard() {
            self.is_heard_in_running_task(None);
        } else if !is_over && !delivery.is_taken() {
            self.is_lost(delivery);
        }
    }

    /// What was heard of a request had no effect: its owner is to ask again, and
    /// a value does not answer it.
    fn is_lost(&self, delivery: &Arc<Delivery>) {
        if delivery.is_heard() || delivery.rank() == Rank::TASK && delivery.is_over() {
            return; // by somebody else, or it has been taken back
        }
        if delivery.rank() == Rank::TASK && delivery.order < self.answered().order {
            return delivery.set_over(); // somebody has heard of a later one
        }
        self.descent.is_lost(delivery);
        if delivery.rank() == Rank::TASK {
            self.with_running(|header| {
                let _its_poll_is_on = header.request_cancel();
            });
        }
    }

    /// Drops what is inside of a place because of a request, so that a panic in
    /// the drop can say why there was one, and that no other request is lost.
    pub(crate) fn drop_inside(&self, cause: &Delivery, drop: impl FnOnce()) {
        let task = self.running.get();
        self.dropping.set(task.map(|task| (task, cause.request.why.clone())));
        self.descent.drop_because_of(cause.rank(), drop);
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
                && state.descent.drops_outer(delivery.rank())
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
