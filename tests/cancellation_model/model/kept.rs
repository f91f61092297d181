//! How a step goes on that keeps a future, and one that awaits it by reference.
//!
//! What is kept stands in the tree where it is polled: inside of the step that awaits
//! it, or parked with the step that keeps it. When the first is dropped and the second
//! is not, it is given back. Three things are to hold then:
//!
//! - A request that was heard goes no further (4.13). So what had been let go outward
//!   by what is kept, to somebody who has heard of it and dropped the reference, is not
//!   let go once more when it is polled again. An await gives the outcome of its task
//!   then, a gather those of its tasks, and a group the value of its body, if there is
//!   one; a `finally` says that it was cancelled. What has nothing to give waits for ever.
//! - A request that nobody has heard is delivered anew (4.13), and not to what is kept
//!   as long as nobody polls it (4.4).
//! - What was heard by others meanwhile is nothing to it (4.11). That is as for what
//!   lost a `select`.
//!
//! The branches of a set are where each was polled last (4.4). When a set has been polled
//! in one place, which is still there, and is polled in another, it is not said which of
//! its branches are polled there too. What the program says is open from then on.

use super::delivery::RequestId;
use super::tree::{NodeId, State};
use super::{End, Error, World};
use crate::program::{Act, Step};

impl World {
    /// The user goes on, and then what is kept.
    pub fn keep(&mut self, node: NodeId, kept: &Step, user: &Step, resume: bool) -> Option<End> {
        if let State::New = self.nodes[node].state {
            self.set(node, State::Keeps(None));
            self.enter(node, user);
        }
        if let State::Keeps(_) = self.nodes[node].state {
            let user = self.nodes[node].children.iter().copied().find(|&it| !self.is_kept(it));
            let end = self.go_on(user.expect("it has not ended"))?;
            if matches!(end, End::Panic(_)) {
                return Some(end);
            }
            let words = self.words(&end);
            self.say(node, format!("the user gave {words}"));
            let State::Keeps(begun) = self.nodes[node].state else { unreachable!() };
            match begun {
                Some(begun) if !self.nodes[begun].is_there => return Some(End::Value),
                Some(begun) if !resume => {
                    return Some(self.discard(begun, None).map_or(End::Value, End::Panic));
                }
                None if !resume => return Some(End::Value),
                Some(begun) => self.takes_up(begun),
                None => {
                    self.enter(node, kept);
                }
            }
            self.set(node, State::Part(0));
        }
        self.go_on_inside(node)
    }

    /// `(&mut kept).await`
    pub fn await_kept(&mut self, node: NodeId) -> Option<End> {
        if let State::New = self.nodes[node].state {
            let Some(keeper) = self.keeper(node).filter(|&keeper| !self.has_lost(keeper)) else {
                self.say(node, "finds nothing kept");
                return Some(End::Value);
            };
            self.set(node, State::Part(0));
            match self.nodes[keeper].state {
                State::Keeps(Some(kept)) => {
                    self.moves(kept, keeper, node);
                    self.takes_up(kept);
                }
                _ => {
                    let Act::Keep { kept, .. } = self.act(keeper).clone() else { unreachable!() };
                    let kept = self.enter(node, &kept);
                    self.set(keeper, State::Keeps(Some(kept)));
                }
            }
        }
        self.go_on_inside(node)
    }

    /// The nearest step around that keeps something for this one.
    fn keeper(&self, node: NodeId) -> Option<NodeId> {
        let mut inner = node;
        for around in self.around(node) {
            match self.act(around) {
                Act::Keep { .. } if self.is_root_state(around) => {}
                Act::Keep { .. } => return (!self.is_kept(inner)).then_some(around),
                Act::Kept => return None, // we are inside of what is kept
                _ => {}
            }
            inner = around;
        }
        None
    }

    /// The nearest place around: those in a set are called by way of that.
    fn place_around(&self, node: NodeId) -> Option<NodeId> {
        let is_place = |&around: &NodeId| {
            let node = &self.nodes[around];
            let is_other = matches!(
                node.state,
                State::Root | State::Deadline(_) | State::Shield(_) | State::Group(_)
            );
            node.is_scope() || is_other
        };
        self.around(node).into_iter().find(is_place)
    }

    /// Whether there is anything in it that polls its branches by wakers of their own.
    fn has_branches(&self, kept: NodeId) -> bool {
        let has_branches =
            |act: &Act| matches!(act, Act::Set(_) | Act::Stream { .. } | Act::Concurrent(_));
        self.nodes[kept].step.contains(&has_branches)
    }

    /// The root of a task has the step of its body.
    fn is_root_state(&self, node: NodeId) -> bool {
        matches!(self.nodes[node].state, State::Root)
    }

    /// Whether it is the future that the step around it keeps.
    fn is_kept(&self, node: NodeId) -> bool {
        let keeper = self.nodes[node].parent.map(|parent| &self.nodes[parent].state);
        match keeper {
            Some(State::Keeps(kept)) => *kept == Some(node),
            _ => false,
        }
    }

    /// Whether what was kept has ended.
    fn has_lost(&self, keeper: NodeId) -> bool {
        match self.nodes[keeper].state {
            State::Keeps(Some(kept)) => !self.nodes[kept].is_there,
            State::Keeps(None) => false,
            _ => true,
        }
    }

    fn moves(&mut self, kept: NodeId, from: NodeId, to: NodeId) {
        self.nodes[from].children.retain(|&child| child != kept);
        self.nodes[to].children.push(kept);
        self.nodes[kept].parent = Some(to);
    }

    /// Some steps are dropped. What they have awaited by reference is not.
    pub fn give_back_all(&mut self, node: NodeId, because: Option<RequestId>) {
        let whole = self.whole(node);
        for &borrower in &whole {
            let kept = self.nodes[borrower].children.first().copied();
            if let Act::Kept = self.act(borrower)
                && let Some(kept) = kept.filter(|_| !self.is_root_state(borrower))
                && let Some(keeper) = self.keeper(borrower).filter(|it| !whole.contains(it))
            {
                if let Some(because) = because.filter(|_| self.is_active(kept)) {
                    self.is_stopped(kept, because);
                }
                if let Some(place) = self.place_around(borrower).filter(|it| !whole.contains(it))
                    && self.has_branches(kept)
                {
                    self.sets_left.push((kept, place));
                }
                // What shields in it kept off that are through is for those it was in.
                let gone = self.whole(kept);
                self.through
                    .retain(|it| self.nodes[it.shield].is_there || !gone.contains(&it.from));
                self.moves(kept, borrower, keeper);
                self.park(kept);
            }
        }
    }

    /// Whoever has heard of this, which came from in here or not, has heard of all that
    /// came from in here and counts no more than that.
    fn is_stopped(&mut self, kept: NodeId, because: RequestId) {
        let whole = self.whole(kept);
        self.open_again(&whole);
        for &node in &whole {
            let Some(sent) = self.nodes[node].outward().filter(|_| self.is_active(node)) else {
                continue;
            };
            let stays = whole.contains(&self.stopper(node, sent));
            if stays || sent != because && self.rank(sent) < self.rank(because) {
                continue;
            }
            if sent != because {
                self.answer(sent);
            }
            match &mut self.nodes[node].state {
                State::Tasks(tasks) => {
                    tasks.outward = None;
                    tasks.passed.clear();
                    tasks.waits_for.clear();
                }
                State::Group(group) => {
                    group.outward = None;
                    group.passed.clear();
                }
                state => *state = State::Stopped(sent),
            }
        }
    }

    /// It is awaited again, after what it let go outward was stopped.
    pub fn after_stop(&mut self, node: NodeId) -> Option<End> {
        let State::Stopped(request) = self.nodes[node].state else { unreachable!() };
        let Act::Finally { .. } = self.act(node) else { return None };
        let end = End::Error(Error::TaskCancelled(request));
        let words = self.words(&end);
        self.say(node, format!("gave {words}"));
        Some(end)
    }

    /// What is kept is polled again. Requests that are over with their owners, who were
    /// around it when it was polled before, are nothing to it any more.
    fn takes_up(&mut self, kept: NodeId) {
        let here = self.place_around(kept);
        let is_elsewhere = |world: &World, &(set, place): &(NodeId, NodeId)| {
            set == kept && Some(place) != here && world.nodes[place].is_there
        };
        self.leaves_open |= self.sets_left.iter().any(|left| is_elsewhere(self, left));
        self.unpark(kept);
        let whole = self.whole(kept);
        for &node in &whole {
            let is_over = |world: &World, request| {
                let is_outer = |owner| !whole.contains(&owner);
                world.is_over(request) && world.owner(request).is_some_and(is_outer)
            };
            let sent = self.nodes[node].outward().filter(|&sent| is_over(self, sent));
            let mut state = self.nodes[node].state.clone();
            match &mut state {
                State::Tasks(tasks) => {
                    tasks.passed.retain(|&request| !is_over(self, request));
                    tasks.outward.take_if(|_| sent.is_some());
                    if tasks.passed.is_empty() {
                        tasks.waits_for.clear();
                    }
                }
                State::Group(group) => {
                    group.passed.retain(|&request| !is_over(self, request));
                    group.outward.take_if(|_| sent.is_some());
                }
                State::Outward(sent) if is_over(self, *sent) => state = State::Stopped(*sent),
                _ => {}
            }
            self.set(node, state);
        }
    }
}
