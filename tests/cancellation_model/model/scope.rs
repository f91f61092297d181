//! How a scope, a `finally` and a shield go on (4.3, 4.7).

use super::delivery::{Phase, RequestId};
use super::tree::{NodeId, Scope, State};
use super::{End, Error, World};
use crate::program::{After, Step};

/// How the future of a scope goes on.
enum Inside {
    Ended(End),
    /// It has been dropped because of a request; that may have panicked.
    Took(RequestId, Option<u32>),
}

/// What a scope or group is told.
pub enum Told {
    Nothing,
    /// It is to hear when it is known of all who are.
    IsChosen,
    Takes(RequestId),
}

impl World {
    /// `match scope(inside).await { … }`
    pub fn scope(
        &mut self,
        node: NodeId,
        inside: &Step,
        cleanup: &Step,
        after: After,
    ) -> Option<End> {
        if let Some(ended) = self.future_of_scope(node, inside)? {
            let token = match ended {
                Inside::Ended(end) => {
                    if !matches!(end, End::Panic(_)) {
                        self.say(node, "is through");
                    }
                    return Some(end);
                }
                Inside::Took(_, Some(panicked)) => return Some(End::Panic(panicked)),
                Inside::Took(request, None) => request,
            };
            let (origin, reason) = (self.origin(token), self.reason(token).to_owned());
            self.say(node, format!("heard {origin}: {reason}"));
            self.set(node, State::CleansUp(End::Error(Error::Token(token))));
            self.enter(node, cleanup);
        }
        let State::CleansUp(token) = self.nodes[node].state.clone() else { return None };
        match self.go_on_inside(node)? {
            End::Value => {}
            end => return Some(end), // and the token is dropped with it
        }
        self.say(node, format!("{after:?}"));
        match (after, token) {
            (After::Accept | After::Drop, _) => Some(End::Value),
            (After::Return, token) => Some(token),
            (After::Rethrow, End::Error(Error::Token(request))) => {
                self.goes_on_outward(node, request);
                None
            }
            (After::Rethrow, _) => unreachable!("a scope cleans up with a token in its hands"),
        }
    }

    /// `finally` is a scope around its future. However that ends, the clean-up
    /// runs; then that ending goes on, a cancellation outward (4.7).
    pub fn finally(&mut self, node: NodeId, inside: &Step, cleanup: &Step) -> Option<End> {
        if let Some(ended) = self.future_of_scope(node, inside)? {
            let how = match ended {
                Inside::Ended(end) => end,
                Inside::Took(_, Some(panicked)) => End::Panic(panicked),
                Inside::Took(request, None) => End::Error(Error::Token(request)),
            };
            self.say(node, "cleans up");
            self.set(node, State::CleansUp(how));
            self.enter(node, cleanup);
        }
        let State::CleansUp(how) = self.nodes[node].state.clone() else { return None };
        let end = match (how, self.go_on_inside(node)?) {
            (how, End::Panic(label)) => {
                self.is_cut_short(node, &how);
                return Some(End::Panic(label));
            }
            (how, End::Value) => {
                self.say(node, "has cleaned up");
                how
            }
            // A clean-up that ends by a cancellation has not failed.
            (End::Error(Error::Token(first)), End::Error(Error::Token(second))) => {
                let outermost = self.outermost([first, second]).expect("there are two");
                End::Error(Error::Token(outermost))
            }
            (End::Value, End::Error(Error::Token(token))) => End::Error(Error::Token(token)),
            // What failed before is not lost by it.
            (how, End::Error(error)) => {
                let before = match how {
                    End::Value => None,
                    End::Error(Error::Token(request)) => Some(Error::TaskCancelled(request)),
                    End::Error(error) => Some(error),
                    End::Panic(label) => Some(Error::Panicked(label)),
                };
                // Nobody is to take a token in it for an ending.
                let error = match error {
                    Error::Token(request) => Error::TaskCancelled(request),
                    error => error,
                };
                End::Error(Error::CleanupFailed(Box::new(error), before.map(Box::new)))
            }
        };
        match end {
            End::Error(Error::Token(request)) => {
                self.goes_on_outward(node, request);
                None
            }
            End::Panic(_) => Some(end),
            end => {
                let words = self.words(&end);
                self.say(node, format!("gave {words}"));
                Some(end)
            }
        }
    }

    /// What has been heard goes on outward: that is as if nobody had, until somebody
    /// stops it.
    fn goes_on_outward(&mut self, node: NodeId, request: RequestId) {
        let request = self.goes_on(self.nodes[node].task, request);
        self.unhear(request);
        self.goes_outward_from(node, request);
        self.set(node, State::Outward(request));
    }

    /// The future of a scope goes on, unless the scope is told to drop it. None
    /// if it waits; `Some(None)` if the future was gone before.
    fn future_of_scope(&mut self, node: NodeId, inside: &Step) -> Option<Option<Inside>> {
        match &self.nodes[node].state {
            State::New => {
                self.set(node, State::Scope(Scope::default()));
                self.enter(node, inside);
            }
            State::Scope(_) => {}
            _ => return Some(None),
        }
        match self.told_at_once(node) {
            Told::Takes(request) => return Some(Some(self.take(node, request))),
            Told::IsChosen => return None,
            Told::Nothing => {}
        }
        let taken = self.taken.len();
        if let Some(end) = self.go_on_inside(node) {
            return Some(Some(Inside::Ended(end)));
        }
        match self.told_in_the_end(node, taken) {
            Told::Takes(request) => Some(Some(self.take(node, request))),
            _ => None,
        }
    }

    /// The request for which a scope or group drops what is inside it without
    /// polling it once more: nobody inside listens.
    pub fn told_at_once(&mut self, node: NodeId) -> Told {
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        if let Some(chosen) = scope.chosen.take() {
            return Told::Takes(chosen);
        }
        let Some((_, delivery)) = self.carried else { return Told::Nothing };
        let request = self.carried_to(node).filter(|_| !self.has_listener(node, delivery));
        let Some(request) = request else { return Told::Nothing };
        self.has_taken(request, None);
        // While it is found out who is there, it is only noted that it is.
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        scope.chosen = Some(request);
        self.choices += 1;
        Told::IsChosen
    }

    /// The same after what is inside has gone on, and waits: what goes outward
    /// from there, or what is delivered, if nobody there has taken or holds it, or
    /// what a shield there has held.
    pub fn told_in_the_end(&mut self, node: NodeId, taken: usize) -> Told {
        let newly_taken = self.taken[taken..].to_vec();
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        scope.heard.extend(newly_taken);
        let outward = self.outward_to(node).filter(|_| !self.waits_below(node));
        let later = self.nodes[node].scope_mut().and_then(|scope| scope.later.take());
        let is_for_us = |&request: &RequestId| {
            let delivery = self.carried.map_or(0, |(_, delivery)| delivery);
            !self.is_taken(node, request, taken) && !self.has_newcomer(node, delivery)
        };
        let inward = self.carried_to(node).filter(is_for_us);
        let shielded = self.held_by_a_shield_until_now(node);
        let all = outward.into_iter().chain(inward).chain(shielded).chain(later);
        let Some(request) = self.outermost(all) else { return Told::Nothing };
        let taken_inside = |beside: &RequestId| self.is_taken(node, *beside, taken);
        let beside = self.carried_to(node).filter(|beside| !taken_inside(beside));
        self.has_taken(request, beside);
        if outward == Some(request) {
            self.stops(node, request);
        }
        if self.carried.is_none() || self.phase == Phase::Acting {
            return Told::Takes(request);
        }
        let scope = self.nodes[node].scope_mut().expect("only a scope is told");
        match inward == Some(request) {
            true => scope.chosen = Some(request),
            false => scope.later = Some(request),
        }
        self.choices += 1;
        Told::IsChosen
    }

    fn take(&mut self, node: NodeId, request: RequestId) -> Inside {
        self.hear(request, node);
        let inside = self.nodes[node].children[0];
        Inside::Took(request, self.discard(inside, Some(request)))
    }

    /// A listener has taken a request, and with it what is delivered at the same
    /// time.
    fn has_taken(&mut self, request: RequestId, beside: Option<RequestId>) {
        self.taken.push(request);
        self.counts_for_those_before(request);
        if let Some(beside) = beside.filter(|&beside| beside != request) {
            self.taken.push(beside);
            if self.rank(beside) >= self.rank(request) {
                self.answer(beside);
            }
        }
    }

    /// What was asked around a node, not beyond another shield, and is not over: nobody
    /// has heard of it, or other shields hold it.
    fn rests_around(&self, node: NodeId) -> Vec<RequestId> {
        let task = self.nodes[node].task;
        let around = self.around_in_shield(node);
        let inside = around.iter().flat_map(|&around| self.inside(around));
        let held: Vec<_> = inside.flat_map(|it| self.nodes[it].keeps_off().to_vec()).collect();
        let asked = around.iter().flat_map(|&owner| match &self.nodes[owner].state {
            State::Deadline(deadline) => deadline.asked.into_iter().collect(),
            State::Group(group) => group.abort.into_iter().collect(),
            State::Root => self.delivered(task),
            _ => vec![],
        });
        asked.filter(|it| !self.is_answered(*it) || held.contains(it)).collect()
    }

    /// Requests wait until it is through (4.7); so do deadlines.
    pub fn shield(&mut self, node: NodeId, inside: &Step) -> Option<End> {
        if let State::New = self.nodes[node].state {
            self.set(node, State::Shield(vec![]));
            self.enter(node, inside);
        }
        let carried = self.carried_to(node);
        // One that is through before it is known who hears has kept off nothing.
        let before = match &self.nodes[node].state {
            State::Shield(held) => held.clone(),
            _ => vec![],
        };
        if let Some(request) = carried {
            let rests = self.rests_around(node);
            let State::Shield(held) = &mut self.nodes[node].state else { unreachable!() };
            held.push(request);
            // Told of one it keeps off all that are not over.
            held.extend(rests.into_iter().filter(|&rests| rests != request));
            held.sort_unstable();
            held.dedup();
        }
        let outer = self.carried.take();
        let end = self.go_on_inside(node);
        self.carried = outer;
        let end = end?;
        self.is_through(node, before);
        if !matches!(end, End::Panic(_)) {
            self.say(node, "is through");
        }
        Some(end)
    }
}
