//! How a deadline goes on (4.9): `timeout(limit, inside).await?`.

use super::delivery::{Delivery, RequestId};
use super::tree::{Deadline, GaveWay, NodeId, State};
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
        if let Some(end) = self.go_on_inside(node) {
            return Some(self.answer_of_deadline(node, end));
        }
        loop {
            // It gives way to what goes outward through it.
            if self.lets_outward_through(node) {
                return None;
            }
            self.answered_by_an_outer_request(node, taken);
            let deadline = self.state_of_deadline(node);
            match deadline.asked {
                Some(own) if self.outward_to(node) == Some(own) => {
                    return (!self.waits_below(node)).then(|| self.elapsed(node, own));
                }
                // A deadline acts once; again only when its request is unheard
                // again (4.13).
                Some(own) if !self.is_unheard(own) => {
                    self.nodes[node].gave_way = GaveWay::default();
                    return None;
                }
                Some(_) => {}
                None if deadline.is_answered || self.now < deadline.due => return None,
                None => {}
            }
            if self.gives_way(node, deadline.asked) {
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
            // It is not known that nobody will look at a token that is left.
            _ if asked.is_some_and(|own| self.is_put_aside(own)) => {
                self.say(node, "has elapsed");
                End::Error(Error::Elapsed)
            }
            end => {
                self.say(node, "is in time");
                end
            }
        }
    }

    /// Whether a token is left, in what has been forgotten or is kept.
    fn is_put_aside(&self, own: RequestId) -> bool {
        let mut there = self.nodes.iter().filter(|node| node.is_there);
        self.leaked.contains(&own) || there.any(|node| node.tokens().contains(&own))
    }

    /// A request from further out that is taken inside in the turn in which the
    /// deadline passes goes first: the deadline counts as answered with it.
    fn answered_by_an_outer_request(&mut self, node: NodeId, taken: usize) {
        let Deadline { due, asked, .. } = self.state_of_deadline(node);
        if !self.outer_one_is_taken(node, taken) || self.now < due {
            return;
        }
        let turn = self.turn;
        let gave_way = self
            .carried
            .is_some_and(|(carried, _)| self.nodes[node].gave_way.to_task == Some((carried, turn)));
        let is_answered = |&own: &RequestId| self.is_unheard(own) || gave_way;
        if let Some(own) = asked.filter(is_answered) {
            self.answer(own);
        } else if asked.is_none() {
            let is_answered = true;
            self.set(node, State::Deadline(Deadline { due, asked, is_answered }));
        } else {
            return;
        }
        // Those inside that have waited for it look again.
        self.wake(self.nodes[node].task);
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

    /// Whether an owner lets another go first, who is further out and not beyond a
    /// shield: what is carried; what nobody has heard of, and nothing in here holds,
    /// for it may be delivered when this poll is over; a deadline that has passed.
    /// Its own request then waits for the next turn, and not for one after that.
    pub fn gives_way(&mut self, node: NodeId, own: Option<RequestId>) -> bool {
        let task = self.nodes[node].task;
        let around = self.around_in_shield(node);
        let carried = self.carried.map(|(request, _)| request).filter(|&r| Some(r) != own);
        if carried.is_some_and(|carried| self.holds(node, carried)) {
            self.nodes[node].gave_way = GaveWay::default();
            self.wake(task);
            return true; // it will come again through here
        }
        let mut gives = carried.is_some();
        let root = self.tasks[task].root.filter(|root| around.contains(root));
        if let Some(root) = root
            && let Some(rests) = self.resting(task)
            && !self.is_going_outward(root, rests)
        {
            if self.holds(node, rests) {
                self.nodes[node].gave_way.to_task = None;
            } else {
                gives |= self.gives_way_to(node, rests);
            }
        }
        let has_asked = |&around: &NodeId| {
            let asked = match &self.nodes[around].state {
                State::Deadline(deadline) => deadline.asked,
                State::Group(group) => group.abort,
                _ => None,
            };
            asked.is_some_and(|asked| !self.is_answered(asked))
        };
        if around.iter().any(|it| has_asked(it) || self.waits_with_what_was_heard(*it)) {
            let turn = self.turn;
            gives |= *self.nodes[node].gave_way.to_owner.get_or_insert(turn) == turn;
        }
        let turn = self.turn;
        if self.lets_a_turn_pass() {
            gives |= *self.nodes[node].gave_way.to_nobody.get_or_insert(turn) == turn;
        }
        if gives {
            self.wake(task);
        }
        // Of several that have passed the outermost answers; unless that is answered
        // otherwise in this very turn.
        let waits = self.an_outer_one_has_passed(node);
        let turn = self.turn;
        if waits && *self.nodes[node].gave_way.to_passed.get_or_insert(turn) == turn {
            self.wake(task);
        }
        gives || waits
    }

    fn gives_way_to(&mut self, node: NodeId, rests: RequestId) -> bool {
        let turn = self.turn;
        let before = self.nodes[node].gave_way.to_task;
        let gives = before.is_none_or(|(last, in_turn)| last != rests || in_turn == turn);
        if gives {
            self.nodes[node].gave_way.to_task = Some((rests, turn));
        }
        gives
    }
}
