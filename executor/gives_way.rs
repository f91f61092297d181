//! Who goes first, when several want to tell those inside of a deadline or group.
//!
//! A deadline that has passed, and a group of which a task has failed, have a
//! request of their own for what is inside. Before they deliver it they look
//! whether one from further out goes first: it counts more, and an answer to it
//! counts for theirs. Those further out are only through with their look when the
//! poll comes back to them, so *to give way* is to let the poll go on outward, and
//! to look again in the next turn. Whoever is still there then does not come, and
//! is not waited for.

use crate::place::Place;
use crate::request::Rank;
use crate::signs::{Found, Looking};
use crate::state::State;
use std::task::Context;

/// Those to whom an owner has given way lately.
#[derive(Default)]
pub(crate) struct GaveWay(Option<Box<Lately>>);

#[derive(Default)]
struct Lately {
    /// To this request to the task, in this turn.
    task: Option<(u64, u64)>,
    /// To one that had not been delivered, in this turn.
    undelivered: Option<u64>,
    /// To a deadline or group further out, in this turn.
    owner: Option<u64>,
    /// To a deadline further out that has passed, in this turn.
    passed: Option<u64>,
    /// Whether that is what it waits for.
    waits: bool,
    /// In this turn it gives way whatever it finds.
    gives_in: Option<u64>,
}

/// Whether an owner goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Free,
    /// Another goes first: it is to look again.
    Given,
    /// Another has been heard inside in the same breath, which counts for its own.
    Answered,
}

impl GaveWay {
    /// What the owner asks rests: when it does not any more, others may go first
    /// again.
    pub(crate) fn rests(&mut self) {
        self.0 = None;
    }

    /// Whether it waits for a deadline further out, and has to be called when that
    /// calls those inside.
    pub(crate) fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|lately| lately.waits)
    }

    /// Whatever it finds in this turn, others go first.
    pub(crate) fn gives_for_a_turn(&mut self, state: &State, cx: &Context<'_>) {
        self.0.get_or_insert_default().gives_in = Some(state.turns.get());
        cx.waker().wake_by_ref();
    }

    /// Whether what it has given way to in this turn has just been taken inside: that
    /// counts for its own.
    pub(crate) fn is_answered(&self, state: &State, found: &Found) -> bool {
        let Some(carried) = state.descent.carried().filter(|_| found.roles.takes()) else {
            return false;
        };
        let Some(lately) = &self.0 else { return false };
        let turn = state.turns.get();
        lately.task == Some((carried.request.id, turn))
            || carried.rank() == Rank::TASK && lately.undelivered == Some(turn)
    }

    /// Whether the owner goes first who has this place, and has found this inside.
    pub(crate) fn look(
        &mut self,
        state: &State,
        cx: &Context<'_>,
        place: &Place,
        found: &Found,
    ) -> Way {
        if let Some(lately) = &mut self.0 {
            lately.waits = false;
        }
        let around = state.descent.around.get();
        let carried = state.descent.carried();
        let own = around.rank.inside();
        let hears_outer = found.heard.is_some_and(|heard| heard < own);
        if carried.is_some() && found.roles.takes() || hears_outer {
            return Way::Answered;
        }
        if carried.is_some_and(|carried| found.roles.holds(&carried)) {
            self.0 = None;
            return Way::Given; // it will come again through us
        }
        let turn = state.turns.get();
        // Or the place around us takes something now that was held in here.
        let asked = around.asked || around.waits;
        let asked = asked || state.descent.noted.sends_of_owner(around.rank);
        let gives = if around.shielded {
            self.gives_to_owner(asked, turn)
        } else {
            let rests = state.resting_request(place.has_lost_sender(found));
            let is_held = rests.as_ref().is_some_and(|rests| found.roles.holds(rests));
            if let Some(lately) = self.0.as_mut().filter(|_| is_held) {
                lately.task = None; // when it is not any more, it is to go first
            }
            let rests = rests.filter(|_| !is_held).map(|rests| rests.request.id);
            // Both, for each is given one turn.
            let to_task = rests.is_some_and(|rests| self.gives_to_task(rests, turn));
            let to_owner = self.gives_to_owner(asked, turn);
            let is_undelivered = state.has_undelivered_request();
            if is_undelivered {
                self.0.get_or_insert_default().undelivered = Some(turn);
            }
            to_task || to_owner || is_undelivered
        };
        // After a delivery a poll that only pays for members is not one to act in.
        let looks = state.descent.looking() == Looking::Pays && state.descent.noted.has_delivered();
        // What an outer one had been heard of is lost in this very poll: that looks
        // after it first.
        let gives = gives || state.descent.noted.loses_of_owner(around.rank);
        let gives = gives || self.0.as_ref().is_some_and(|lately| lately.gives_in == Some(turn));
        if gives || looks || state.descent.number() != 0 {
            cx.waker().wake_by_ref();
            return Way::Given;
        }
        // The outermost answers. It polls us just now, and looks when we are done; or
        // what it has asked rests, and it will call those inside again.
        if around.deadline > state.latest() {
            return Way::Free;
        }
        let lately = self.0.get_or_insert_default();
        lately.waits = true;
        if *lately.passed.get_or_insert(turn) == turn {
            cx.waker().wake_by_ref();
        }
        Way::Given
    }

    /// Nothing in here holds a request to the task that nobody has heard: perhaps
    /// it is delivered when this poll is over.
    fn gives_to_task(&mut self, rests: u64, turn: u64) -> bool {
        let lately = self.0.get_or_insert_default();
        let gives = lately.task.is_none_or(|(last, in_turn)| last != rests || in_turn == turn);
        if gives {
            lately.task = Some((rests, turn));
        }
        gives
    }

    /// The same of what a deadline or group around us has asked.
    fn gives_to_owner(&mut self, has_asked: bool, turn: u64) -> bool {
        has_asked && *self.0.get_or_insert_default().owner.get_or_insert(turn) == turn
    }
}
