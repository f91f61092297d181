//! A task's life, as a table: what can happen to it, and what is to be done.
//!
//! Nothing is done here. A [`Life`] decides and answers; the caller acts. So
//! the rules can be read in one place, and tried in every order.
//!
//! ```text
//!                begin_poll                  request_cancel
//!          ┌──────── Waiting ─────────────────────────► CancelRequested ◄─────┐
//!    Poll  │            ▲  (Listening, Involved)           │ begin_poll       │
//!          ▼   end_poll │         Deliver, if it listens   │                  │
//!       Polling ────────┘   PollingCancelRequested ◄───────┤                  │
//!          │  ╲ request_cancel ─► │     │ end_poll: once more at its next place┘
//!          │  ◄── withdraw_cancel ┘     │    Drop, if not  ▼
//!          │                            │              Dropping
//!          └── finished ────────────────┴──────────────────┴──► Ended(how)
//! ```
//!
//! A task that is suspended is `Waiting`. It is `Listening` when the last poll
//! met somebody in it who can be told of a request, and `Involved` when there is
//! more to look at: a request that was delivered rests in it, or somebody in it
//! is polled by a waker of his own.
//!
//! | life | begin_poll | request_cancel | withdraw_cancel | end_poll | finished with a value | with an error | panicked | dropped |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `Waiting`, `Listening` | `Poll` → `Polling` | → `CancelRequested`, queue it | – | | | | | |
//! | `Involved` | `Attend` → `Polling` | → `CancelRequested`, queue it | – | | | | | |
//! | `CancelRequested`, listens | `Deliver` → `PollingCancelRequested` | – | → `Involved` | | | | | |
//! | `CancelRequested`, does not | `Drop` → `Dropping` | – | → `Waiting` | | | | | |
//! | `Polling` | – | → `PollingCancelRequested` | – | → as it was met | succeeded | failed, or cancelled by its own token | panicked | |
//! | `PollingCancelRequested` | – | – | → `Polling` | → `CancelRequested`, queue it | **cancelled** | failed, or cancelled | panicked | |
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

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// Suspended, or not yet polled.
    Waiting,
    /// Suspended, and somebody in it can be told of a request.
    Listening,
    /// The same, and there is more to look at before and after its poll.
    Involved,
    /// Suspended, and asked to cancel: told or dropped when its turn comes.
    CancelRequested { listens: bool },
    /// Its poll is on the stack.
    Polling,
    /// Its poll is on the stack, and a request is not answered yet.
    PollingCancelRequested,
    /// Its future is being dropped because of a cancellation.
    Dropping,
    /// It is over.
    Ended(Ending),
}

/// What a poll that was pending has met in the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    Nobody,
    Listeners,
    /// Listeners, and what is to be looked at with the next poll.
    More,
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
pub(crate) enum PollAnswer {
    Poll,
    /// Poll it, and look at what rests in it.
    Attend,
    /// Poll it, so that those in it hear of the request.
    Deliver,
    /// Nobody in it listens: drop it.
    Drop,
    /// It is running already, further down the stack, or has ended.
    Nothing,
}

/// What to do about a request to cancel.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CancelAnswer {
    /// Put the task into the queue: told or dropped there.
    Queue,
    /// It will be seen to when the present poll is over, or was before.
    Noted,
    /// The task has ended.
    TooLate,
}

impl Life {
    /// Whether its future is being polled.
    pub(crate) fn is_polled(self) -> bool {
        matches!(self, Life::Polling | Life::PollingCancelRequested)
    }

    #[inline]
    pub(crate) fn begin_poll(self) -> (Life, PollAnswer) {
        match self {
            Life::Waiting | Life::Listening => (Life::Polling, PollAnswer::Poll),
            Life::Involved => (Life::Polling, PollAnswer::Attend),
            Life::CancelRequested { listens: true } => {
                (Life::PollingCancelRequested, PollAnswer::Deliver)
            }
            Life::CancelRequested { listens: false } => (Life::Dropping, PollAnswer::Drop),
            other => (other, PollAnswer::Nothing),
        }
    }

    pub(crate) fn request_cancel(self) -> (Life, CancelAnswer) {
        match self {
            Life::Waiting => (Life::CancelRequested { listens: false }, CancelAnswer::Queue),
            Life::Listening | Life::Involved => {
                (Life::CancelRequested { listens: true }, CancelAnswer::Queue)
            }
            Life::Polling => (Life::PollingCancelRequested, CancelAnswer::Noted),
            Life::Ended(_) => (self, CancelAnswer::TooLate),
            other => (other, CancelAnswer::Noted),
        }
    }

    /// The request was taken back or answered before it had an effect.
    pub(crate) fn withdraw_cancel(self) -> Life {
        match self {
            Life::CancelRequested { listens: false } => Life::Waiting,
            Life::CancelRequested { listens: true } => Life::Involved,
            Life::PollingCancelRequested => Life::Polling,
            other => other,
        }
    }

    /// The poll was pending. Answers whether to queue the task again.
    pub(crate) fn end_poll(self, met: Met) -> (Life, bool) {
        match (self, met) {
            (Life::PollingCancelRequested, met) => {
                (Life::CancelRequested { listens: met != Met::Nobody }, true)
            }
            (_, Met::Nobody) => (Life::Waiting, false),
            (_, Met::Listeners) => (Life::Listening, false),
            (_, Met::More) => (Life::Involved, false),
        }
    }

    /// The poll was ready, or panicked. A value that comes after a wish to
    /// cancel is not kept; a failure is, since somebody has to hear of it.
    pub(crate) fn finished(self, ending: Ending) -> Ending {
        match (self, ending) {
            (Life::PollingCancelRequested, Ending::Succeeded) => Ending::Cancelled,
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Life; 12] = [
        Life::Waiting,
        Life::Listening,
        Life::Involved,
        Life::CancelRequested { listens: false },
        Life::CancelRequested { listens: true },
        Life::Polling,
        Life::PollingCancelRequested,
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
            assert_eq!(life.begin_poll(), (life, PollAnswer::Nothing));
            assert_eq!(life.request_cancel(), (life, CancelAnswer::TooLate));
            assert_eq!(life.withdraw_cancel(), life);
        }
    }

    // promise 4.6: what an undelivered request makes of a value and of an error.
    #[test]
    fn a_value_after_a_request_is_not_kept_and_an_error_is() {
        let requested = Life::PollingCancelRequested;
        assert_eq!(requested.finished(Ending::Succeeded), Ending::Cancelled);
        assert_eq!(requested.finished(Ending::Failed), Ending::Failed);
        assert_eq!(requested.finished(Ending::Panicked), Ending::Panicked);
        assert_eq!(Life::Polling.finished(Ending::Succeeded), Ending::Succeeded);
    }

    /// Every sequence of events up to seven, against the same told once more in
    /// a different way: four facts instead of eight states.
    #[test]
    fn every_short_sequence_of_events_agrees_with_the_four_facts() {
        #[derive(Clone, Copy)]
        struct Facts {
            on_the_stack: bool,
            dropping: bool,
            requested: bool,
            met: Met,
        }
        fn agree(life: Life, facts: Facts) {
            let listens = facts.met != Met::Nobody;
            let expected = match facts {
                Facts { dropping: true, .. } => Life::Dropping,
                Facts { on_the_stack: true, requested: true, .. } => Life::PollingCancelRequested,
                Facts { on_the_stack: true, .. } => Life::Polling,
                Facts { requested: true, .. } => Life::CancelRequested { listens },
                Facts { met: Met::Nobody, .. } => Life::Waiting,
                Facts { met: Met::Listeners, .. } => Life::Listening,
                Facts { met: Met::More, .. } => Life::Involved,
            };
            assert_eq!(life, expected);
        }
        fn go(life: Life, facts: Facts, left: u32) {
            agree(life, facts);
            if left == 0 {
                return;
            }
            let idle = !facts.on_the_stack && !facts.dropping;
            let listens = facts.met != Met::Nobody;
            // Taken from the queue.
            let (next, answer) = life.begin_poll();
            let expected = match (idle, facts.requested) {
                (false, _) => PollAnswer::Nothing,
                (true, true) if listens => PollAnswer::Deliver,
                (true, true) => PollAnswer::Drop,
                (true, false) if facts.met == Met::More => PollAnswer::Attend,
                (true, false) => PollAnswer::Poll,
            };
            assert_eq!(answer, expected);
            let on_the_stack =
                facts.on_the_stack || !matches!(answer, PollAnswer::Drop | PollAnswer::Nothing);
            let dropping = facts.dropping || answer == PollAnswer::Drop;
            go(next, Facts { on_the_stack, dropping, ..facts }, left - 1);
            // Asked to cancel.
            let (next, answer) = life.request_cancel();
            assert_eq!(answer == CancelAnswer::Queue, idle && !facts.requested);
            go(next, Facts { requested: true, ..facts }, left - 1);
            // Taken back: whoever listened is looked at once more.
            if !facts.dropping && facts.requested {
                let met = if idle && listens { Met::More } else { facts.met };
                go(life.withdraw_cancel(), Facts { requested: false, met, ..facts }, left - 1);
            }
            // The poll was pending.
            if facts.on_the_stack {
                for met in [Met::Nobody, Met::Listeners, Met::More] {
                    let (next, again) = life.end_poll(met);
                    assert_eq!(again, facts.requested);
                    go(next, Facts { on_the_stack: false, met, ..facts }, left - 1);
                }
            }
        }
        let facts =
            Facts { on_the_stack: false, dropping: false, requested: false, met: Met::Nobody };
        go(Life::Waiting, facts, 7);
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
