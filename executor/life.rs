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
    #[inline]
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
