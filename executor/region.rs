//! Those in a task who are polled by wakers of their own.
//!
//! `FuturesUnordered` and its like give each child a waker, and poll only those
//! children whose waker was called. To carry a request down by a poll does not
//! reach them, so they have to be called first. Whoever is polled by another
//! waker than the nearest place around it therefore leaves its own here, in the
//! *region* of that place. All others pay nothing.
//!
//! A member that has passed a request on, or is a shield, is not polled again
//! before it ends. So a region remembers who of its members holds something.
//!
//! When a place ends, those of its region whose futures are still about (in a set
//! that was polled by reference, say) are *displaced*: its region goes over into one that
//! the task has for such, with all of them at once, however many. Where they are now is
//! seen when they are polled. So every delivery in the task calls them, and whoever
//! waits until nothing inside holds a request calls those of them who hold something; and
//! as long as any was called and has not come, a place that believes that nobody inside
//! of it listens had better look.
//!
//! Nothing here calls foreign code; a waker is lent, and called where no borrow
//! is held.
//!
//! # Invariants
//!
//! - **Passed over.** A member that was called three times in vain, while nobody came
//!   who had not come before, is not being
//!   polled: it lies behind a lost `select!`, or is forgotten. It is not called
//!   and holds nothing, until it is polled again.
//! - **Counted.** `holders` and `responsive` of a region are the sums over its
//!   members, also of those who came with a region that has gone over into it.
//! - **Displaced.** Nobody is chosen who is displaced. A region that has gone over is
//!   that of no place any more.

use crate::id::Name;
use crate::pages::Pages;
use crate::roles::{Counts, Roles};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::task::Waker;

const NONE: u32 = u32::MAX;

/// How often a member is called before it is passed over. More than once,
/// because a combinator may poll only some of its children in one poll.
pub(crate) const PATIENCE: u32 = 3;

/// How often at most, as long as others come each time who had not come before: it
/// may be one of many then, and is not passed over.
pub(crate) const PATIENCE_WITH_MANY: u32 = 9;

/// The members that have one place as the nearest around them.
pub(crate) struct Region {
    /// Into which it has gone over.
    into: OnceCell<Rc<Region>>,
    first: Cell<u32>,
    last: Cell<u32>,
    /// The member at which one that holds something was found last, and one that sends.
    found_at: [Cell<u32>; 2],
    holders: Counts,
    /// Members that are not passed over.
    responsive: Cell<u32>,
    /// The delivery for which they were called last.
    called_for: Cell<u64>,
    /// Of those that were called, how many have not been polled since.
    unreached: Cell<u32>,
    /// What those hold who have been polled since this was last cleared.
    met: Cell<Roles>,
    /// The number of the pass that is going on, and how many have come in it.
    pass: Cell<u32>,
    came: Cell<u32>,
}

impl Default for Region {
    fn default() -> Region {
        Region {
            into: OnceCell::new(),
            first: Cell::new(NONE),
            last: Cell::new(NONE),
            found_at: [const { Cell::new(NONE) }; 2],
            holders: Counts::default(),
            responsive: Cell::default(),
            called_for: Cell::default(),
            unreached: Cell::default(),
            met: Cell::default(),
            pass: Cell::default(),
            came: Cell::default(),
        }
    }
}

impl Region {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get() == NONE
    }

    pub(crate) fn listens(&self) -> bool {
        self.responsive.get() > 0
    }

    pub(crate) fn holders(&self) -> Roles {
        self.holders.roles()
    }

    /// How many members were called and have not been polled since.
    pub(crate) fn unreached(&self) -> u32 {
        self.unreached.get()
    }

    /// The place is going to be polled until all have come who were called.
    pub(crate) fn begin_pass(&self) {
        self.met.set(Roles::NONE);
        self.pass.set(self.pass.get().wrapping_add(1));
        self.came.set(0);
    }

    /// How many members have come since the pass began, each counted once.
    pub(crate) fn came(&self) -> u32 {
        self.came.get()
    }

    fn comes(&self, last: u32) -> u32 {
        let pass = self.pass.get();
        if last != pass {
            self.came.set(self.came.get() + 1);
        }
        pass
    }

    pub(crate) fn met(&self) -> Roles {
        self.met.get()
    }

    /// The region that it is by now.
    fn now(self: &Rc<Region>) -> &Rc<Region> {
        self.into.get().unwrap_or(self)
    }
}

/// A member, as the future that it stands for knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberKey {
    index: u32,
    entry: u32,
}

impl MemberKey {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) | u64::from(self.entry) << 32
    }

    pub(crate) fn from_bits(bits: u64) -> MemberKey {
        MemberKey { index: bits as u32, entry: (bits >> 32) as u32 }
    }
}

/// What is to be done about a member that is polled.
#[must_use]
pub(crate) enum Polled {
    Stays,
    HasAnotherWaker,
    /// It is in another region now, and has to leave and to enter again.
    HasMoved,
}

struct Member {
    /// The one that it entered.
    region: Rc<Region>,
    /// Tells the occupants of an index apart.
    entry: u32,
    previous: u32,
    next: u32,
    /// In which pass it was polled last.
    pass: u32,
    /// In which task it was polled last.
    task: Name,
    /// None while it is being called.
    waker: Option<Waker>,
    holds: Roles,
    state: Called,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Called {
    Reached,
    /// It has been called, and was not polled since.
    Waiting,
    PassedOver,
}

/// All members of an executor, in one table.
#[derive(Default)]
pub(crate) struct Members {
    members: Pages<Member>,
    entries: u32,
}

impl Members {
    pub(crate) fn enter(&mut self, region: Rc<Region>, task: Name, waker: Waker) -> MemberKey {
        self.entries = self.entries.wrapping_add(1);
        let (entry, previous) = (self.entries, region.last.get());
        region.responsive.set(region.responsive.get() + 1);
        let pass = region.comes(region.pass.get().wrapping_sub(1));
        let member = Member {
            region,
            entry,
            previous,
            next: NONE,
            pass,
            task,
            waker: Some(waker),
            holds: Roles::NONE,
            state: Called::Reached,
        };
        let index = self.members.insert(member);
        match previous {
            NONE => self.members[index].region.first.set(index),
            previous => self.members[previous].next = index,
        }
        self.members[index].region.last.set(index);
        MemberKey { index, entry }
    }

    /// Takes a member out. Its waker is foreign: to be dropped where no borrow
    /// is held.
    pub(crate) fn leave(&mut self, key: MemberKey) -> Option<Waker> {
        self.get(key)?;
        self.uncall(key.index, Called::Reached);
        let member = self.members.remove(key.index)?;
        let region = member.region.now();
        for found_at in region.found_at.iter().filter(|found_at| found_at.get() == key.index) {
            found_at.set(member.next);
        }
        match member.previous {
            NONE => region.first.set(member.next),
            previous => self.members[previous].next = member.next,
        }
        match member.next {
            NONE => region.last.set(member.previous),
            next => self.members[next].previous = member.previous,
        }
        region.holders.change(member.holds, Roles::NONE);
        region.responsive.set(region.responsive.get() - 1);
        member.waker
    }

    /// It is polled with this waker.
    pub(crate) fn is_polled(
        &mut self,
        key: MemberKey,
        waker: &Waker,
        in_region: impl Fn(&Rc<Region>) -> bool,
    ) -> Polled {
        if !self.get(key).is_some_and(|member| in_region(member.region.now())) {
            return Polled::HasMoved;
        }
        self.uncall(key.index, Called::Reached);
        let Some(member) = self.get_mut(key) else { return Polled::HasMoved };
        member.pass = member.region.comes(member.pass);
        match &member.waker {
            Some(own) if own.will_wake(waker) => Polled::Stays,
            _ => Polled::HasAnotherWaker,
        }
    }

    /// Says what it holds, until it is polled again.
    pub(crate) fn set_holds(&mut self, key: MemberKey, holds: Roles) {
        let Some(member) = self.get_mut(key) else { return };
        let before = std::mem::replace(&mut member.holds, holds);
        let region = member.region.now();
        if holds != Roles::NONE {
            let mut met = region.met.get();
            met |= holds;
            region.met.set(met);
        }
        if holds != before {
            region.holders.change(before, holds);
        }
    }

    /// Those to be called for a delivery, if they have not been yet: to find out
    /// who is there, or for those of them to hear who have been chosen.
    pub(crate) fn call_all(&mut self, region: &Region, number: u64, acts: bool) -> Vec<MemberKey> {
        let called_for = number + u64::from(acts);
        if region.called_for.replace(called_for) == called_for {
            return Vec::new();
        }
        let mut keys = Vec::new();
        let mut index = region.first.get();
        while let Some(member) = self.members.get_mut(index) {
            let chosen = member.holds.only(Roles::CHOSEN);
            if chosen != Roles::NONE {
                member.holds = member.holds.without(Roles::CHOSEN);
                region.holders.change(Roles::CHOSEN, Roles::NONE);
            }
            if member.state != Called::PassedOver && (!acts || chosen != Roles::NONE) {
                member.call();
                keys.push(MemberKey { index, entry: member.entry });
            }
            index = member.next;
        }
        keys
    }

    /// One of those that hold something, to be called; perhaps once more.
    pub(crate) fn a_holder(
        &mut self,
        region: &Region,
        holds: impl Fn(Roles) -> bool,
    ) -> Option<MemberKey> {
        let is_one = |it: &Member| holds(it.holds) && it.state != Called::PassedOver;
        self.next_that(region, &region.found_at[0], is_one)
    }

    /// One of those that let something go outward, to be called; perhaps once more.
    pub(crate) fn a_sender(&mut self, region: &Region) -> Option<MemberKey> {
        let is_one = |it: &Member| it.holds.sends() && it.state != Called::PassedOver;
        self.next_that(region, &region.found_at[1], is_one)
    }

    /// Some of those that hold something and have not been called, to be called.
    pub(crate) fn holders(
        &mut self,
        region: &Region,
        most: usize,
        holds: impl Fn(Roles) -> bool,
    ) -> Vec<MemberKey> {
        let is_one = |it: &Member| holds(it.holds) && it.state == Called::Reached;
        let next = || self.next_that(region, &region.found_at[0], is_one);
        std::iter::from_fn(next).take(most).collect()
    }

    /// From where one was found last: those before it are not such any more.
    fn next_that(
        &mut self,
        region: &Region,
        found_at: &Cell<u32>,
        is_one: impl Fn(&Member) -> bool,
    ) -> Option<MemberKey> {
        let start = match found_at.get() {
            NONE => region.first.get(),
            found_at => found_at,
        };
        let mut index = start;
        loop {
            let member = self.members.get_mut(index)?;
            if is_one(member) {
                member.call();
                found_at.set(index);
                return Some(MemberKey { index, entry: member.entry });
            }
            index = match member.next {
                NONE => region.first.get(),
                next => next,
            };
            if index == start {
                return None;
            }
        }
    }

    /// Those who were called and did not come.
    pub(crate) fn pass_over(&mut self, region: &Region) {
        let mut index = region.first.get();
        while let Some(member) = self.members.get_mut(index) {
            let next = member.next;
            if member.state == Called::Waiting {
                let holds = std::mem::take(&mut member.holds);
                region.holders.change(holds, Roles::NONE);
                self.uncall(index, Called::PassedOver);
            }
            index = next;
        }
    }

    /// The place of a region is no more. Answers those who were to hear, or let something go
    /// outward, which that place may have stopped, or have waited for it: they are to be
    /// polled where they are now. The others wait until they are called.
    pub(crate) fn displace(&mut self, region: &Rc<Region>) -> Vec<MemberKey> {
        let mut keys = Vec::new();
        if region.unreached() == 0 && !region.holders().has(Roles::LOOKS) {
            return keys;
        }
        let mut index = region.first.get();
        while let Some(member) = self.members.get(index) {
            let next = member.next;
            if member.holds.has(Roles::LOOKS) {
                keys.push(MemberKey { index, entry: member.entry });
            }
            if member.state == Called::Waiting {
                self.uncall(index, Called::Reached);
            }
            index = next;
        }
        keys
    }

    /// Those of a region, none of whom is called or chosen, are in another from now on.
    /// False if they are of another task, or of another executor.
    pub(crate) fn go_over(&mut self, from: &Rc<Region>, into: &Rc<Region>, task: Name) -> bool {
        let (first, last) = (from.first.get(), from.last.get());
        let is_first = |member: &&Member| Rc::ptr_eq(member.region.now(), from);
        let is_here = self.members.get(first).filter(is_first).is_some_and(|it| it.task == task);
        if !is_here || from.into.set(into.clone()).is_err() {
            return false;
        }
        let before = into.last.replace(last);
        match self.members.get_mut(before) {
            Some(before) => before.next = first,
            None => into.first.set(first),
        }
        if let Some(first) = self.members.get_mut(first) {
            first.previous = before;
        }
        from.first.set(NONE);
        from.last.set(NONE);
        from.found_at.iter().for_each(|found_at| found_at.set(NONE));
        into.responsive.set(into.responsive.get() + from.responsive.take());
        into.holders.add(&from.holders);
        true
    }

    /// Lends a member's waker, to be called where no borrow is held.
    pub(crate) fn take_waker(&mut self, key: MemberKey) -> Option<Waker> {
        self.get_mut(key)?.waker.take()
    }

    /// Takes it back; or not, if the member has another by now or is gone.
    #[must_use]
    pub(crate) fn put_waker(&mut self, key: MemberKey, waker: Waker) -> Option<Waker> {
        match self.get_mut(key) {
            Some(member) if member.waker.is_none() => member.waker.replace(waker),
            _ => Some(waker),
        }
    }

    /// Gives a member another waker. Answers the one it had.
    pub(crate) fn set_waker(&mut self, key: MemberKey, waker: Waker) -> Option<Waker> {
        match self.get_mut(key) {
            Some(member) => member.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// In which task a member is.
    pub(crate) fn task_of(&self, key: MemberKey) -> Option<Name> {
        self.get(key).map(|member| member.task)
    }

    /// Those who have to look, since what is around them has changed.
    pub(crate) fn that_look(&self, region: &Rc<Region>) -> Vec<MemberKey> {
        let mut keys = self.all(region);
        keys.retain(|&key| self.get(key).is_some_and(|it| it.holds.has(Roles::LOOKS)));
        keys
    }

    /// All who are still in a region; none if it is of another executor.
    pub(crate) fn all(&self, region: &Rc<Region>) -> Vec<MemberKey> {
        let mut keys = Vec::new();
        let mut index = region.first.get();
        let in_region = |member: &&Member| Rc::ptr_eq(member.region.now(), region);
        while let Some(member) = self.members.get(index).filter(in_region) {
            keys.push(MemberKey { index, entry: member.entry });
            index = member.next;
        }
        keys
    }

    /// A member that may have been called was polled, or is passed over.
    fn uncall(&mut self, index: u32, state: Called) {
        let Some(member) = self.members.get_mut(index) else { return };
        let before = std::mem::replace(&mut member.state, state);
        let region = member.region.now();
        if before == Called::Waiting {
            region.unreached.set(region.unreached.get() - 1);
        }
        match (before == Called::PassedOver, state == Called::PassedOver) {
            (false, true) => region.responsive.set(region.responsive.get() - 1),
            (true, false) => region.responsive.set(region.responsive.get() + 1),
            _ => {}
        }
    }

    fn get(&self, key: MemberKey) -> Option<&Member> {
        self.members.get(key.index).filter(|member| member.entry == key.entry)
    }

    fn get_mut(&mut self, key: MemberKey) -> Option<&mut Member> {
        self.members.get_mut(key.index).filter(|member| member.entry == key.entry)
    }
}

impl Member {
    fn call(&mut self) {
        if std::mem::replace(&mut self.state, Called::Waiting) != Called::Waiting {
            let region = self.region.now();
            region.unreached.set(region.unreached.get() + 1);
        }
    }
}
