//! What is kept and not polled (4.4, 4.11): it takes no part in anything, and is given
//! up; and what becomes of it when it is polled again.

use super::World;
use super::delivery::{RequestId, Through};
use super::tree::{NodeId, State};

impl World {
    /// A node is kept and not polled any more: nothing in it takes part in
    /// anything.
    pub fn park(&mut self, parked: NodeId) {
        self.nodes[parked].is_parked = true;
        self.just_parked.push(parked);
        self.gives_up(parked);
    }

    /// The poll is over. What a parked node was waiting with is given up (4.11);
    /// but not the request of an owner that is parked with it.
    pub fn settle_parked(&mut self) {
        for parked in std::mem::take(&mut self.just_parked) {
            if self.nodes[parked].is_parked && self.nodes[parked].is_there {
                self.gives_up(parked);
            }
        }
    }

    fn gives_up(&mut self, parked: NodeId) {
        let all: Vec<NodeId> = [parked].into_iter().chain(self.inside(parked)).collect();
        for &node in &all {
            let owner = |request| self.owner(request).expect("it has been delivered");
            let is_outer = |request: &RequestId| {
                let keeps = self.keeps_parked() && self.is_heard(*request);
                !keeps && !all.contains(&owner(*request))
            };
            let mut state = self.nodes[node].state.clone();
            if let State::Shield(held) = &mut state {
                let given_up = held.extract_if(.., |request| is_outer(request)).collect();
                self.is_through(node, given_up);
            }
            self.nodes[node].state = state;
        }
    }

    /// A parked node is polled again. It was not there, as far as the delivery of
    /// this moment is concerned; unless it has been parked in this very poll.
    pub fn unpark(&mut self, node: NodeId) {
        self.nodes[node].is_parked = false;
        let whole = self.whole(node);
        // A shield keeps off again what it had only just given up.
        let is_back = |through: &mut Through| whole.contains(&through.shield);
        for Through { request, shield, .. } in self.through.extract_if(.., is_back) {
            if let State::Shield(held) = &mut self.nodes[shield].state {
                held.push(request);
            }
        }
        let is_just_parked = self.just_parked.contains(&node);
        if is_just_parked && !self.forgets_at_once() {
            return;
        }
        let was_there = is_just_parked || self.tells_unparked();
        for &node in &whole {
            if !was_there {
                self.nodes[node].entered = self.deliveries;
            }
            // What others have answered meanwhile is nothing to it any more.
            if let State::Tasks(mut tasks) = self.nodes[node].state.clone() {
                let task = self.nodes[node].task;
                let is_of_this = |&request: &RequestId| self.task_of(request) == task;
                // An owner that was parked with it has not looked.
                let is_over = |&request: &RequestId| {
                    let owner = self.owner(request);
                    let keeps = self.keeps_parked() && self.is_heard(request)
                        || owner.is_some_and(|it| whole.contains(&it));
                    self.is_answered(request) && !keeps
                };
                tasks.passed.retain(|it| is_of_this(it) && !is_over(it));
                tasks.outward.take_if(|outward| is_over(outward));
                if tasks.passed.is_empty() {
                    tasks.waits_for.clear();
                }
                self.set(node, State::Tasks(tasks));
            }
        }
    }
}
