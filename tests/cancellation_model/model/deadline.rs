//! How a deadline goes on (4.9): `timeout(limit, inside).await?`.

use super::delivery::{Delivery, RequestId};
use super::tree::{Deadline, NodeId, State};
use super::{End, Error, World};
use crate::program::{Moment, Step};

impl World {
    /// What is inside goes on first; when it waits, the deadline looks at the
    /// clock. Then it delivers a request of its own, or has to wait, or leaves
    /// that to one around it.
    pub fn deadline(&mut self, node: NodeId, limit: Moment, inside: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let due = self.now + limit;
            self.set(node, State::Deadline(Deadline { due, asked: None, is_answered: false }));
            self.enter(node, inside);
        }
        let taken = self.taken.len();
        loop {
            if let Some(end) = self.go_on_inside(node) {
                return Some(self.answer_of_deadline(node, end));
            }
            self.answered_by_an_outer_request(node, taken);
            let deadline = self.state_of_deadline(node);
            match deadline.asked {
                Some(own) if self.outward_to(node) == Some(own) => {
                    return (!self.waits_below(node)).then(|| self.elapsed(node, own));
                }
                // A deadline acts once; again only when its request is unheard
                // again (4.13).
                Some(own) if !self.is_unheard(own) => return None,
                Some(_) => {}
                None if deadline.is_answered || self.now < deadline.due => return None,
                // Of several that have passed the outermost answers.
                None if self.an_outer_one_has_passed(node) => return None,
                None => {}
            }
            if self.somebody_goes_first(node, deadline.asked, taken) {
                return None;
            }
            let own = deadline.asked.unwrap_or_else(|| self.acts(node));
            match self.deliver(node, own) {
                Delivery::Ended(end) => return Some(self.answer_of_deadline(node, end)),
                Delivery::Nobody => return Some(self.elapsed(node, own)),
                Delivery::Taken => {}
            }
        }
    }

    fn state_of_deadline(&self, node: NodeId) -> Deadline {
        match &self.nodes[node].state {
            State::Deadline(deadline) => deadline.clone(),
            _ => unreachable!("a deadline has one state"),
        }
    }

    fn acts(&mut self, node: NodeId) -> RequestId {
        let own = self.own_request(node, "TimedOut", "the deadline has elapsed");
        let deadline = Deadline { asked: Some(own), ..self.state_of_deadline(node) };
        self.set(node, State::Deadline(deadline));
        own
    }

    /// Nobody inside has anything left to do: it is dropped.
    fn elapsed(&mut self, node: NodeId, own: RequestId) -> End {
        self.answer(own);
        let inside = self.nodes[node].children[0];
        if let Some(panicked) = self.discard(inside, Some(own)) {
            return End::Panic(panicked);
        }
        self.say(node, "has elapsed");
        End::Error(Error::Elapsed)
    }

    /// The inside has ended. If the deadline's own token is still there, it was
    /// passed on to it; if it is gone, somebody has swallowed it.
    fn answer_of_deadline(&mut self, node: NodeId, end: End) -> End {
        let asked = self.state_of_deadline(node).asked;
        asked.into_iter().for_each(|own| self.answer(own));
        match end {
            End::Error(Error::Token(token)) if Some(token) == asked => {
                self.say(node, "has elapsed");
                End::Error(Error::Elapsed)
            }
            End::Panic(_) => end,
            end => {
                self.say(node, "is in time");
                end
            }
        }
    }

    /// A request from further out that is taken inside in the turn in which the
    /// deadline passes goes first: the deadline counts as answered with it.
    fn answered_by_an_outer_request(&mut self, node: NodeId, taken: usize) {
        let Deadline { due, asked, .. } = self.state_of_deadline(node);
        if !self.outer_one_is_taken(node, taken) || self.now < due {
            return;
        }
        if let Some(own) = asked.filter(|&own| self.is_unheard(own)) {
            self.answer(own);
        }
        if asked.is_none() {
            let is_answered = true;
            self.set(node, State::Deadline(Deadline { due, asked, is_answered }));
        }
    }

    /// Whether a request of an owner further out has been taken inside, since so
    /// many had been taken.
    pub fn outer_one_is_taken(&self, node: NodeId, taken: usize) -> bool {
        let rank = self.around(node).len();
        self.taken[taken..].iter().any(|&request| self.rank(request) < rank)
    }

    /// Whether a deadline around this one, not beyond a shield, has passed, and
    /// nobody has been told of it yet.
    fn an_outer_one_has_passed(&self, node: NodeId) -> bool {
        let has_passed = |around: NodeId| match &self.nodes[around].state {
            State::Deadline(deadline) => {
                let is_told = deadline.asked.is_some_and(|own| {
                    self.is_answered(own)
                        || self.has_passed_on(around, own)
                        || self.is_going_outward(around, own)
                });
                deadline.due <= self.now && !deadline.is_answered && !is_told
            }
            _ => false,
        };
        self.around_in_shield(node).into_iter().any(has_passed)
    }

    /// Whether a request of an owner further out, not beyond a shield, has not
    /// been delivered yet. It is never turned into `Elapsed`.
    pub fn somebody_goes_first(&self, node: NodeId, own: Option<RequestId>, taken: usize) -> bool {
        let carried = self.carried.map(|(request, _)| request).filter(|&r| Some(r) != own);
        let is_untaken = |request| !self.is_taken(node, request, taken);
        let asked_of = |around: NodeId| match &self.nodes[around].state {
            State::Root => self.tasks[self.nodes[around].task].asked.clone(),
            State::Deadline(deadline) => deadline.asked.into_iter().collect(),
            State::Group(group) => group.abort.into_iter().collect(),
            _ => vec![],
        };
        let outer = self.around_in_shield(node).into_iter().flat_map(asked_of);
        carried.is_some_and(is_untaken) || outer.into_iter().any(|request| self.is_unheard(request))
    }
}
