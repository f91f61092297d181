//! Putting in order: timers by their deadlines, tasks by their age.
//!
//! `std` makes a sort of its own, five kilobytes of machine code, for each type
//! that is sorted. So what is to be sorted here is written down as the same
//! small thing first, and the sort is found once in a program. It also looks at
//! nothing else while it sorts: neither at timers nor at tasks.

/// Something to be put in order: its place in some table, and the two numbers
/// by which it is compared.
#[derive(Clone, Copy)]
pub(crate) struct Ranked {
    pub(crate) rank: (u64, u64),
    pub(crate) place: u32,
}

/// Puts the lowest rank first. Of one rank there is one thing, perhaps told twice.
#[inline(never)]
pub(crate) fn sort(ranked: &mut [Ranked]) {
    ranked.sort_unstable_by_key(|ranked| ranked.rank);
}
