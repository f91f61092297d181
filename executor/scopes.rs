//! The tree of a task's scopes: who gets a request to cancel.
//!
//! In Python a cancellation is an exception, thrown at the innermost `await`,
//! and every `except` and `finally` on its way out may await. In Rust nothing
//! can be thrown at a suspended future; it can only be dropped. The bridge is a
//! future that knows how to be told: a [scope](crate::scope()) drops what is
//! inside it, and then the code after it goes on, and awaits as it likes.
//!
//! So each task has a tree of those futures in it that are waiting to be told.
//! A scope enters at its first poll, under the one that is being polled around
//! it, and leaves when it is through or dropped. A task without any has no
//! tree and pays nothing. Neither does one that only awaits another task, until
//! there is a request (`Awaits` in `header.rs`), nor a deadline with nobody
//! inside it who is in the tree.
//!
//! | kind | is told of a request | stops one that is raised to it |
//! | --- | --- | --- |
//! | `Catch` | when it is innermost: a scope, a group | yes |
//! | `Forward` | when it is innermost: the await of a task, a gather | no |
//! | `Deadline` | no: it lets requests through | its own |
//! | `Shield` | no, and nobody below it either | no |
//!
//! Nothing here calls foreign code. It decides and answers; `cancelling.rs`
//! acts.
//!
//! # Invariants
//!
//! - **Innermost.** A request goes to those who have nobody below them that
//!   could take it, in the order in which they entered.
//! - **Own waker.** Each is woken by the waker of its own latest poll. To wake
//!   the task is not enough: a combinator in between polls only those whose own
//!   waker was called.
//! - **Ghosts are passed over.** A forgotten future never takes its mark. Who was
//!   told a few times in vain does not count any more, and the request goes to
//!   the next outward, at last to the root.
//! - **Parents are found anew** at each poll, for a future may move.

use crate::id::TaskId;
use crate::outcome::Request;
use slab::Slab;
use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;

const NONE: u32 = u32::MAX;

/// All trees of an executor, in one table.
#[derive(Default)]
pub(crate) struct Scopes {
    nodes: Slab<Node>,
    /// How many have ever entered: tells the tenants of a place apart.
    entries: u32,
}

/// A node, as the future that it stands for knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeKey {
    index: u32,
    entry: u32,
}

impl NodeKey {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) | u64::from(self.entry) << 32
    }

    pub(crate) fn from_bits(bits: u64) -> NodeKey {
        NodeKey { index: bits as u32, entry: (bits >> 32) as u32 }
    }

    /// Tells this node from all others: the name of a deadline.
    pub(crate) fn entry(self) -> u32 {
        self.entry
    }
}

/// The nodes of one task, in the order in which they entered.
#[derive(Clone, Copy)]
pub(crate) struct Nodes {
    first: u32,
    last: u32,
}

impl Nodes {
    pub(crate) const EMPTY: Nodes = Nodes { first: NONE, last: NONE };

    pub(crate) fn is_empty(self) -> bool {
        self.first == NONE
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Catch,
    Forward,
    Deadline,
    Shield,
}

struct Node {
    entry: u32,
    task: TaskId,
    kind: Kind,
    parent: Option<NodeKey>,
    /// How many have this as their parent.
    children: u32,
    previous: u32,
    next: u32,
    /// None while it is being called.
    waker: Option<Waker>,
    /// A request that it has not been told of yet.
    mark: Option<Arc<Request>>,
    /// The request that it has passed on, and whose effect it waits for.
    passed_on: Option<Arc<Request>>,
    passed_on_to: Option<TaskId>,
    /// What it has passed a request on to has ended.
    through: bool,
    /// Of a shield: the request that others in the task have heard meanwhile.
    held: Option<Arc<Request>>,
    /// How often it was told of its mark in vain.
    unheard: u8,
    /// Used while targets are sought.
    covered: bool,
}

/// What became of a request.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// The task is to be polled: those whom the request goes to have been
    /// marked, or a value that was waited for comes first.
    Marked,
    /// All who could take it are under a shield.
    Shielded,
    /// There is nobody to take it.
    Nobody,
}

// ---- Entering and leaving -----------------------------------------------------

impl Scopes {
    pub(crate) fn enter(
        &mut self,
        nodes: &Cell<Nodes>,
        task: TaskId,
        kind: Kind,
        parent: Option<NodeKey>,
        waker: Waker,
    ) -> NodeKey {
        self.entries = self.entries.wrapping_add(1);
        let Nodes { first, last } = nodes.get();
        let entry = self.entries;
        let index = self.nodes.insert(Node {
            entry,
            task,
            kind,
            parent,
            children: 0,
            previous: last,
            next: NONE,
            waker: Some(waker),
            mark: None,
            passed_on: None,
            passed_on_to: None,
            through: false,
            held: None,
            unheard: 0,
            covered: false,
        }) as u32;
        match last {
            NONE => nodes.set(Nodes { first: index, last: index }),
            last => {
                self.nodes[last as usize].next = index;
                nodes.set(Nodes { first, last: index });
            }
        }
        self.count_child(parent, 1);
        NodeKey { index, entry }
    }

    /// As [`enter`](Scopes::enter), for an await that was there before all
    /// others of its task.
    pub(crate) fn enter_first(
        &mut self,
        nodes: &Cell<Nodes>,
        task: TaskId,
        waker: Waker,
    ) -> NodeKey {
        let others = nodes.replace(Nodes::EMPTY);
        let key = self.enter(nodes, task, Kind::Forward, None, waker);
        if let Some(next) = self.nodes.get_mut(others.first as usize) {
            next.previous = key.index;
            self.nodes[key.index as usize].next = others.first;
            nodes.set(Nodes { first: key.index, last: others.last });
        }
        key
    }

    /// Whether all is as it was at the last poll.
    #[inline]
    pub(crate) fn stays(
        &self,
        key: NodeKey,
        task: TaskId,
        parent: Option<NodeKey>,
        waker: &Waker,
    ) -> bool {
        self.get(key).is_some_and(|node| {
            node.task == task && node.parent == parent && node.is_woken_by(waker)
        })
    }

    /// It is polled in another place, or with another waker. False if it was
    /// struck off, or is in another task now, and has to enter anew. The waker
    /// that it had is left in the place of the new one: it may be foreign.
    #[must_use]
    pub(crate) fn moves(
        &mut self,
        key: NodeKey,
        task: TaskId,
        parent: Option<NodeKey>,
        waker: &mut Option<Waker>,
    ) -> bool {
        let Some(node) = self.get_mut(key).filter(|node| node.task == task) else { return false };
        std::mem::swap(&mut node.waker, waker);
        self.set_parent(key, parent);
        true
    }

    fn set_parent(&mut self, key: NodeKey, parent: Option<NodeKey>) {
        let node = &mut self.nodes[key.index as usize];
        let before = std::mem::replace(&mut node.parent, parent);
        if before != parent {
            self.count_child(before, -1);
            self.count_child(parent, 1);
        }
    }

    /// Whether nobody is in any tree.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many have ever entered.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// Whether `innermost` and those around it are all there is.
    pub(crate) fn are_around(&self, nodes: Nodes, innermost: Option<NodeKey>) -> bool {
        let (mut at, mut around) = (innermost, 0);
        while let Some(node) = at.and_then(|key| self.get(key)) {
            around += 1;
            at = node.parent;
        }
        self.indices(nodes).nth(around).is_none()
    }

    /// One that has just entered takes in those that entered since there had
    /// been so many, and have the same parent: they are inside of it.
    pub(crate) fn take_in(&mut self, nodes: Nodes, entries: u32, key: NodeKey) {
        let Some(parent) = self.get(key).map(|node| node.parent) else { return };
        let mut index = nodes.last;
        while let Some(node) = self.nodes.get(index as usize) {
            let (entry, previous) = (node.entry, node.previous);
            let inside = entry != key.entry && node.parent == parent;
            if entry.wrapping_sub(entries) as i32 <= 0 {
                break;
            }
            if inside {
                self.set_parent(NodeKey { index, entry }, Some(key));
            }
            index = previous;
        }
    }

    /// Whether a node has been told of nothing and has passed nothing on.
    pub(crate) fn is_quiet(&self, key: NodeKey) -> bool {
        self.get(key).is_none_or(|node| node.mark.is_none() && node.passed_on.is_none())
    }

    /// In which task a node is.
    pub(crate) fn task_of(&self, key: NodeKey) -> Option<TaskId> {
        self.get(key).map(|node| node.task)
    }

    /// Takes a node out. What it answers is to be dropped where no borrow is
    /// held: the node's waker is in it.
    pub(crate) fn leave(&mut self, nodes: &Cell<Nodes>, key: NodeKey) -> Option<Left> {
        let node = self.unlink(nodes, key)?;
        let Node { kind, parent, held, passed_on, waker, mark, .. } = node;
        Some(Left { kind, parent, held, passed_on, _mark: mark, _waker: waker })
    }

    /// The same, for a node that is quiet: only its waker is left.
    #[inline]
    pub(crate) fn leave_quietly(&mut self, nodes: &Cell<Nodes>, key: NodeKey) -> Option<Waker> {
        debug_assert!(self.is_quiet(key), "it has neither been told nor passed anything on");
        self.unlink(nodes, key)?.waker
    }

    #[inline]
    fn unlink(&mut self, nodes: &Cell<Nodes>, key: NodeKey) -> Option<Node> {
        self.get(key)?;
        let node = self.nodes.remove(key.index as usize);
        let Node { parent, children, previous, next, .. } = node;
        let Nodes { mut first, mut last } = nodes.get();
        match previous {
            NONE => first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        nodes.set(Nodes { first, last });
        self.count_child(parent, -1);
        if children > 0 {
            self.adopt(first, key, parent);
        }
        Some(node)
    }

    /// Those below a node that has left are now below its parent. Rare: a
    /// future mostly outlives what is inside it.
    fn adopt(&mut self, first: u32, old: NodeKey, parent: Option<NodeKey>) {
        let mut index = first;
        while index != NONE {
            let node = &mut self.nodes[index as usize];
            let next = node.next;
            if node.parent == Some(old) {
                node.parent = parent;
                self.count_child(parent, 1);
            }
            index = next;
        }
    }

    fn count_child(&mut self, parent: Option<NodeKey>, by: i32) {
        let Some(key) = parent.filter(|&key| self.get(key).is_some()) else { return };
        let node = &mut self.nodes[key.index as usize];
        node.children = node.children.wrapping_add_signed(by);
    }

    fn get(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(key.index as usize).filter(|node| node.entry == key.entry)
    }

    fn get_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key.index as usize).filter(|node| node.entry == key.entry)
    }
}

/// What a node leaves behind.
pub(crate) struct Left {
    pub(crate) kind: Kind,
    pub(crate) parent: Option<NodeKey>,
    pub(crate) held: Option<Arc<Request>>,
    pub(crate) passed_on: Option<Arc<Request>>,
    _mark: Option<Arc<Request>>,
    _waker: Option<Waker>,
}

// ---- Who gets a request ---------------------------------------------------------

impl Scopes {
    /// Marks everybody whom a request goes to: in the whole task, or below
    /// `within`. Appends them, to be woken.
    pub(crate) fn deliver(
        &mut self,
        nodes: Nodes,
        within: Option<NodeKey>,
        request: &Arc<Request>,
        told: &mut Vec<NodeKey>,
    ) -> Delivery {
        let all: Vec<u32> = self.indices(nodes).collect();
        self.count_unheard(request, &all);
        // First, who has somebody below that could take it? A shield covers
        // those around it too: they may not drop what it shields.
        for &index in &all {
            self.nodes[index as usize].covered = false;
        }
        for &index in &all {
            let node = &self.nodes[index as usize];
            let holds = node.kind == Kind::Shield && !request.through_shields;
            if node.is_ghost() || !(node.takes() || holds) {
                continue;
            }
            let mut above = node.parent;
            while let Some(node) = above.and_then(|key| self.get_mut(key)) {
                if std::mem::replace(&mut node.covered, true) {
                    break;
                }
                above = node.parent;
            }
        }
        // Then, who of the others may be reached?
        let (mut marked, mut shielded) = (0, Vec::new());
        for &index in &all {
            let node = &self.nodes[index as usize];
            let is_shield = node.kind == Kind::Shield;
            if node.covered && !is_shield || node.is_ghost() || node.kind == Kind::Deadline {
                continue;
            }
            let key = NodeKey { index, entry: node.entry };
            match self.reach(key, within, request.through_shields) {
                Reach::Outside => {}
                Reach::Shielded if is_shield => shielded.push(index),
                Reach::Shielded => {}
                Reach::Open if is_shield => {}
                Reach::Open => {
                    let node = &mut self.nodes[index as usize];
                    node.tell(request);
                    told.push(key);
                    marked += 1;
                }
            }
        }
        if marked == 0 {
            return if shielded.is_empty() { Delivery::Nobody } else { Delivery::Shielded };
        }
        // The others hear it now; those under shields when they are through.
        for index in shielded {
            self.nodes[index as usize].held.get_or_insert_with(|| request.clone());
        }
        Delivery::Marked
    }

    /// Whether a request from `within` (or from outside) gets through to a node.
    fn reach(&self, key: NodeKey, within: Option<NodeKey>, through_shields: bool) -> Reach {
        let (mut at, mut shielded) = (Some(key), false);
        while let Some(key) = at.filter(|&at| Some(at) != within) {
            let Some(node) = self.get(key) else { break };
            shielded |= node.kind == Kind::Shield && !through_shields;
            at = node.parent;
        }
        match (within.is_some() && at != within, shielded) {
            (true, _) => Reach::Outside,
            (false, true) => Reach::Shielded,
            (false, false) => Reach::Open,
        }
    }

    /// Who stops a request that goes outward from `from`: the nearest scope
    /// around, or the deadline whose own it is.
    pub(crate) fn catcher(&self, from: Option<NodeKey>, request: &Request) -> Option<NodeKey> {
        let mut at = from;
        while let Some(node) = at.and_then(|key| self.get(key)) {
            let stops = match node.kind {
                Kind::Catch => true,
                Kind::Deadline => request.owner == Some(node.entry),
                Kind::Forward | Kind::Shield => false,
            };
            if stops {
                break;
            }
            at = node.parent;
        }
        at
    }

    /// Marks one node, to be woken. False if it is not there.
    #[must_use]
    pub(crate) fn mark(&mut self, key: NodeKey, request: Arc<Request>) -> bool {
        self.get_mut(key).map(|node| node.mark = Some(request)).is_some()
    }

    /// Lends a node's waker, to be called where no borrow is held.
    pub(crate) fn take_waker(&mut self, key: NodeKey) -> Option<Waker> {
        self.get_mut(key)?.waker.take()
    }

    /// Takes it back; or not, if the node has another by now or is gone.
    #[must_use]
    pub(crate) fn put_waker(&mut self, key: NodeKey, waker: Waker) -> Option<Waker> {
        match self.get_mut(key) {
            Some(node) if node.waker.is_none() => node.waker.replace(waker),
            _ => Some(waker),
        }
    }

    /// The request that a node is told of now.
    pub(crate) fn take_mark(&mut self, key: NodeKey) -> Option<Arc<Request>> {
        let node = self.get_mut(key)?;
        node.unheard = 0;
        node.mark.take()
    }

    /// A node passes its request on to the tasks that it waits for.
    /// `only` is the one, if there is only one.
    pub(crate) fn pass_on(&mut self, key: NodeKey, request: Arc<Request>, only: Option<TaskId>) {
        if let Some(node) = self.get_mut(key) {
            // A deadline does not take the place of somebody's request.
            let stays = |before: &Arc<Request>| before.owner.is_none() && request.owner.is_some();
            if !node.passed_on.as_ref().is_some_and(stays) {
                node.passed_on = Some(request);
            }
            node.passed_on_to = only;
            node.through = false;
        }
    }

    /// Whom one of these has passed a request on to.
    pub(crate) fn passed_on_to(&self, nodes: Nodes) -> Option<TaskId> {
        self.indices(nodes).find_map(|index| self.nodes[index as usize].passed_on_to)
    }

    /// The request that a node has passed on.
    pub(crate) fn passed_on(&self, key: NodeKey) -> Option<Arc<Request>> {
        self.get(key)?.passed_on.clone()
    }

    /// Whether somebody else below `within`, or in the whole task, has passed a
    /// request on and still waits for its effect.
    pub(crate) fn others_wait(&self, nodes: Nodes, key: NodeKey, within: Option<NodeKey>) -> bool {
        self.indices(nodes).any(|index| {
            let node = &self.nodes[index as usize];
            let waits = node.passed_on.is_some() && !node.through && index != key.index;
            let other = NodeKey { index, entry: node.entry };
            waits && !matches!(self.reach(other, within, true), Reach::Outside)
        })
    }

    /// All that has been passed on below `within` goes on outward as one.
    pub(crate) fn set_raised(&self, nodes: Nodes, within: Option<NodeKey>) {
        for index in self.indices(nodes) {
            let node = &self.nodes[index as usize];
            let key = NodeKey { index, entry: node.entry };
            if let Some(request) = &node.passed_on
                && !matches!(self.reach(key, within, true), Reach::Outside)
            {
                request.set_raised();
            }
        }
    }

    /// What a node has passed its request on to has ended.
    pub(crate) fn set_through(&mut self, key: NodeKey) {
        if let Some(node) = self.get_mut(key) {
            node.through = true;
        }
    }

    /// Whether there is a shield below `within`, or anywhere in the task.
    pub(crate) fn has_shield(&self, nodes: Nodes, within: Option<NodeKey>) -> bool {
        self.indices(nodes).any(|index| {
            let node = &self.nodes[index as usize];
            let key = NodeKey { index, entry: node.entry };
            node.kind == Kind::Shield && !matches!(self.reach(key, within, true), Reach::Outside)
        })
    }

    /// Counts how often somebody was told of this very request and did not come
    /// to hear it. After a few times he is a ghost.
    fn count_unheard(&mut self, request: &Arc<Request>, all: &[u32]) {
        for &index in all {
            let node = &mut self.nodes[index as usize];
            if node.mark.as_ref().is_some_and(|mark| Arc::ptr_eq(mark, request)) {
                node.unheard = node.unheard.saturating_add(1);
            }
        }
    }

    /// Takes back what has been marked and not been told.
    pub(crate) fn unmark(&mut self, nodes: Nodes) {
        let all: Vec<u32> = self.indices(nodes).collect();
        for index in all {
            self.nodes[index as usize].mark = None;
        }
    }

    /// Strikes off all nodes of a task that has ended.
    pub(crate) fn clear(&mut self, nodes: &Cell<Nodes>, wakers: &mut Vec<Waker>) {
        let Nodes { mut first, .. } = nodes.replace(Nodes::EMPTY);
        while first != NONE {
            let node = self.nodes.remove(first as usize);
            first = node.next;
            wakers.extend(node.waker);
        }
    }

    pub(crate) fn is_shielded(&self, key: NodeKey) -> bool {
        let mut at = self.get(key).and_then(|node| node.parent);
        while let Some(node) = at.and_then(|at| self.get(at)) {
            if node.kind == Kind::Shield {
                return true;
            }
            at = node.parent;
        }
        false
    }

    fn indices(&self, nodes: Nodes) -> impl Iterator<Item = u32> + use<'_> {
        let mut index = nodes.first;
        std::iter::from_fn(move || {
            let this = self.nodes.get(index as usize)?;
            Some(std::mem::replace(&mut index, this.next))
        })
    }
}

enum Reach {
    Open,
    Shielded,
    Outside,
}

/// How often somebody is told before he counts as a ghost. More than once,
/// because a combinator with many children may poll only some of them in one
/// poll of the task.
const PATIENCE: u8 = 3;

impl Node {
    fn takes(&self) -> bool {
        matches!(self.kind, Kind::Catch | Kind::Forward)
    }

    fn is_woken_by(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|own| own.will_wake(waker))
    }

    fn is_ghost(&self) -> bool {
        self.unheard >= PATIENCE
    }

    /// The first request counts; but a deadline that has passed gives way to
    /// one around it, since the outermost wins.
    fn tell(&mut self, request: &Arc<Request>) {
        match &self.mark {
            None => self.mark = Some(request.clone()),
            Some(mark) if Arc::ptr_eq(mark, request) => {}
            Some(mark) if mark.owner.is_some() => {
                // An outer deadline replaces an inner one, and somebody's wish
                // replaces both.
                mark.set_heard();
                self.mark = Some(request.clone());
            }
            // What comes in the same breath as another is heard with it.
            Some(_) => request.set_heard(),
        }
    }
}
