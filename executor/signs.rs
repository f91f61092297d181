//! What a poll of the inside has met: signs, and what they stand for.
//!
//! Most polls meet nobody, or one who listens. So what there is to look at when a
//! poll comes back is a byte of [`Signs`], which is mostly zero; only if it says so
//! is there more to be looked at, and that is a [`Found`].
//!
//! It is *not* where the signs are left: that is `descent.rs`.

use crate::request::{Delivery, Rank};
use crate::roles::Roles;
use crate::rules::outermost;
use std::sync::Arc;

/// What there is to look at after a poll.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signs(u8);

impl Signs {
    pub(crate) const NONE: Signs = Signs(0);
    /// Somebody inside can be told of a request.
    pub(crate) const LISTENS: Signs = Signs(1);
    pub(crate) const REGION: Signs = Signs(2);
    pub(crate) const OUTWARD: Signs = Signs(4);
    pub(crate) const LOST: Signs = Signs(8);
    /// Somebody has passed a request on, and waits.
    pub(crate) const WAITS: Signs = Signs(16);
    /// Members have been called, and the task is to be polled once more; or it
    /// has been: there is something to be cleared.
    pub(crate) const OWES: Signs = Signs(32);
    /// Somebody has heard of a request.
    pub(crate) const HEARD: Signs = Signs(64);
    /// Something has been counted.
    pub(crate) const COUNTED: Signs = Signs(128);
    /// What is put aside for the inside.
    pub(crate) const PUT_ASIDE: Signs = Signs::REGION.and(Signs::OUTWARD).and(Signs::HEARD);
    /// What is of interest at the task, wherever it was met.
    pub(crate) const STAYS: Signs =
        Signs::LOST.and(Signs::WAITS).and(Signs::OWES).and(Signs::HEARD).and(Signs::COUNTED);
    /// What needs nothing to be done about it.
    const PLAIN: Signs = Signs::LISTENS.and(Signs::COUNTED);

    #[inline]
    pub(crate) fn has(self, sign: Signs) -> bool {
        self.0 & sign.0 != 0
    }

    #[inline]
    pub(crate) const fn and(self, sign: Signs) -> Signs {
        Signs(self.0 | sign.0)
    }

    #[inline]
    pub(crate) fn only(self, sign: Signs) -> Signs {
        Signs(self.0 & sign.0)
    }

    /// Whether there is somebody who listens, at most, and something was counted.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.only(Signs::PLAIN) == self
    }

    /// The same, beside the members of a region.
    #[inline]
    pub(crate) fn is_plain_beside_region(self) -> bool {
        self.only(Signs::PLAIN.and(Signs::REGION)) == self
    }
}

/// What the poll that is going on is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Looking {
    /// To go on.
    #[default]
    GoesOn,
    /// To see who is still there. Members may be called for that.
    Confirms,
    /// Because members have been called. None is called any more.
    Pays,
}

/// What was met in a poll of the inside.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) listens: bool,
    /// Whether somebody does who is no member of a region.
    pub(crate) listens_directly: bool,
    pub(crate) roles: Roles,
    /// The outermost rank of which something was heard.
    pub(crate) heard: Option<Rank>,
    pub(crate) outward: Option<Arc<Delivery>>,
}

impl Found {
    /// What was met in the second of two polls, who took something in the first, and
    /// what went outward in either.
    pub(crate) fn after(mut self, first: Found) -> Found {
        self.roles |= first.roles.only(Roles::TAKERS);
        self.heard = first.heard.into_iter().chain(self.heard).min();
        self.outward = match (self.outward, first.outward) {
            (Some(one), Some(other)) if one.is_sent() && other.is_sent() => {
                Some(outermost(one, other))
            }
            (Some(one), Some(other)) => Some(if one.is_sent() { one } else { other }),
            (one, other) => one.or(other),
        };
        self
    }
}
