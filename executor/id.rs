//! Names: which task, and which task of which executor.
//!
//! A task lives in a slot of its executor's table, and slots are used again.
//! So an id is a slot and a *serial*: how many tasks the executor had spawned
//! before. Who comes back with yesterday's id finds the right slot and the
//! wrong serial, and is told that the task is gone.
//!
//! A [`Name`] is what a waker carries: an executor's number and the low bits of
//! an id, together exactly 64. It is a number and nothing but a number, which
//! is why a waker can be copied without counting and thrown away without
//! freeing (see `waker.rs`).
//!
//! # Invariants
//!
//! - **Nonzero.** A serial whose low 40 bits are zero is passed over, so no id is
//!   zero, and `Option<TaskId>` is as small as `TaskId`. The executors' numbers
//!   start at one, so no name is zero.
//! - **Stale is harmless.** A name holds only 24 bits of the serial. After 16
//!   million tasks in one slot a forgotten waker may name the present tenant,
//!   who is then polled once for nothing. Nobody is ever *not* polled.

use std::fmt;
use std::num::NonZeroU64;

/// How many bits of an id say the slot.
const SLOT_BITS: u32 = 24;
/// How many low bits of an id go into a [`Name`].
const NAMED_BITS: u32 = 48;
const SERIAL_MASK: u64 = (1 << (u64::BITS - SLOT_BITS)) - 1;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const NAMED_MASK: u64 = (1 << NAMED_BITS) - 1;

/// How many slots there can be: 16,777,216.
pub(crate) const MOST_SLOTS: usize = 1 << SLOT_BITS;
/// The most tasks that one executor can have at a time; a slot is kept for the main
/// of [`block_on`](crate::Executor::block_on), which nobody refuses.
pub(crate) const MOST_TASKS: usize = MOST_SLOTS - 1;

/// Which task: unique within its executor.
///
/// The number counts spawned tasks from 1, the main of
/// [`block_on`](crate::Executor::block_on) included. After 2⁴⁰ − 1 spawns, about
/// one million million, it begins at 1 again.
///
/// Ids order by age: the younger task has the larger id.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let first = executor.spawn(async { Ok(()) });
/// let second = executor.spawn(async { Ok(()) });
/// assert_eq!(first.id().to_string(), "#1");
/// assert_eq!(second.id().number(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    /// The id of somebody who is in no table, and in no slot.
    pub(crate) const NOBODY: TaskId = TaskId(NonZeroU64::MIN);

    /// The id of who comes next, into this slot. `latest` is the serial of the last
    /// one, and then his.
    #[inline]
    pub(crate) fn next(latest: &mut u64, slot: usize) -> TaskId {
        debug_assert!(slot < MOST_SLOTS, "a slot fits into its bits");
        loop {
            *latest += 1;
            // Cut to its 40 bits; none of them is no serial (Nonzero).
            if let Some(serial) = NonZeroU64::new(*latest << SLOT_BITS) {
                return TaskId(serial | slot as u64);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn new(serial: u64, slot: usize) -> TaskId {
        TaskId::next(&mut (serial - 1), slot)
    }

    /// The whole serial, of which the id has the low 40 bits. `latest` is that of the
    /// youngest: nobody lives who is older than 2⁴⁰ others.
    pub(crate) fn serial(self, latest: u64) -> u64 {
        let age = latest.wrapping_sub(self.number()) & SERIAL_MASK;
        latest - age
    }

    /// How many tasks the executor had spawned when this one came, itself
    /// included.
    pub fn number(self) -> u64 {
        self.0.get() >> SLOT_BITS
    }

    pub(crate) fn slot(self) -> usize {
        (self.0.get() & SLOT_MASK) as usize
    }

    /// The part of the id that a [`Name`] keeps.
    pub(crate) fn ticket(self) -> Ticket {
        Ticket(self.0.get() & NAMED_MASK)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.number())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// An id with its serial cut to 24 bits: what the run queue and wakers hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

impl Ticket {
    pub(crate) fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    /// The low 24 bits of the serial.
    #[cfg(test)]
    fn serial(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Ticket {
        Ticket(bits & NAMED_MASK)
    }
}

/// A task among all executors of the process: what a waker carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name(u64);

impl Name {
    /// No name has fewer bits: the executors' numbers start at one (Nonzero).
    pub(crate) const LEAST: u64 = 1 << NAMED_BITS;

    pub(crate) fn new(executor: u16, ticket: Ticket) -> Name {
        Name((u64::from(executor) << NAMED_BITS) | ticket.to_bits())
    }

    pub(crate) fn executor(self) -> u16 {
        (self.0 >> NAMED_BITS) as u16
    }

    pub(crate) fn ticket(self) -> Ticket {
        Ticket::from_bits(self.0)
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Name {
        Name(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_what_went_in_at_every_limit() {
        for executor in [1, 2, u16::MAX] {
            for slot in [0, 1, MOST_SLOTS - 1] {
                for serial in [1, 2, (1 << 24) - 1, 1 << 24, (1 << 40) - 1] {
                    let id = TaskId::new(serial, slot);
                    let name = Name::from_bits(Name::new(executor, id.ticket()).to_bits());
                    assert_eq!((id.number(), id.slot()), (serial, slot));
                    assert_eq!(name.executor(), executor);
                    assert_eq!(name.ticket(), id.ticket());
                    assert_eq!(name.ticket().slot(), slot);
                    assert_eq!(u64::from(name.ticket().serial()), serial & 0xff_ffff);
                }
            }
        }
    }

    #[test]
    fn serials_go_round_without_zero_and_are_known_again() {
        for begin in [0, (1 << 40) - 3, (1 << 41) - 3, 77 << 40] {
            let mut latest = begin;
            for _ in 0..5 {
                let id = TaskId::next(&mut latest, 0);
                assert_ne!(id.number(), 0);
                assert_eq!(id.number(), latest & SERIAL_MASK);
                for later in [0, 1, 5, (1 << 40) - 1] {
                    assert_eq!(id.serial(latest + later), latest);
                }
            }
        }
        assert_eq!(TaskId::NOBODY.number(), 0);
    }
}
