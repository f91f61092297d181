//! The table of inboxes: which executor lives where.
//!
//! A waker knows its executor by a number, and finds the inbox of that number
//! here, without a lock. Executors come and go, the inboxes stay: one that is
//! empty is given to the next who needs one, so there are as many as there ever
//! were executors at a time.

use crate::id::Name;
use crate::inbox::{Inbox, Lodging, drop_payload, lock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};

const ROW: usize = 256;

/// All inboxes, found by number without a lock; rows are made when needed.
static TABLE: [OnceLock<Box<[OnceLock<Inbox>]>>; ROW] = [const { OnceLock::new() }; ROW];

/// Who may move in where.
static LODGINGS: Mutex<Lodgings> = Mutex::new(Lodgings { empty: Vec::new(), built: 1, tenants: 0 });

struct Lodgings {
    /// Inboxes whose executor is gone, with their numbers.
    empty: Vec<(u16, &'static Inbox)>,
    /// The next number that nobody has had. Zero is nobody's (Nonzero in `id.rs`).
    built: usize,
    /// How many executors there have ever been.
    tenants: u64,
}

impl Lodgings {
    #[cold]
    #[track_caller]
    fn build(&mut self) -> (u16, &'static Inbox) {
        let number = u16::try_from(self.built).expect("65,535 executors are alive");
        self.built += 1;
        let (row, place) = (usize::from(number) / ROW, usize::from(number) % ROW);
        let row = TABLE[row].get_or_init(|| (0..ROW).map(|_| OnceLock::new()).collect());
        (number, row[place].get_or_init(Inbox::new))
    }
}

fn find(number: u16) -> Option<&'static Inbox> {
    let (row, place) = (usize::from(number) / ROW, usize::from(number) % ROW);
    TABLE[row].get()?[place].get()
}

/// Moves into an empty inbox.
///
/// # Panics
///
/// If 65,535 executors are alive.
#[track_caller]
pub(crate) fn move_in() -> Lodging {
    let mut lodgings = lock(&LODGINGS);
    let (number, inbox) = match lodgings.empty.pop() {
        Some(empty) => empty,
        None => lodgings.build(), // not in a closure: there the caller is lost
    };
    lodgings.tenants += 1;
    Lodging::new(number, lodgings.tenants, inbox)
}

/// Leaves the inbox to the next tenant.
pub(crate) fn move_out(lodging: &Lodging) {
    let on_wake = lodging.vacate();
    lock(&LODGINGS).empty.push((lodging.number, lodging.inbox));
    // Foreign code: no lock is held, and a panic has nobody to go to.
    if let Some(on_wake) = on_wake
        && let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(on_wake)))
    {
        drop_payload(payload);
    }
}

/// Wakes a task of some executor, from any thread.
pub(crate) fn wake(name: Name) {
    if let Some(inbox) = find(name.executor()) {
        inbox.wake(name.ticket().slot());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Closed;
    use std::time::{Duration, Instant};

    #[test]
    fn who_is_parked_is_roused_by_mail_or_by_the_end_and_not_before() {
        let lodging = move_in();
        // Shorter and longer than the slack.
        for micros in [0, 1, 20, 49, 50, 51, 70, 100, 150, 500] {
            let limit = Duration::from_micros(micros);
            assert!(lodging.wait());
            let parked = Instant::now();
            lodging.park(Some(limit));
            assert!(parked.elapsed() >= limit, "{limit:?}");
            assert!(!lodging.has_mail());
        }
        for limit in [None, Some(Duration::from_secs(3600)), Some(Duration::MAX)] {
            assert!(lodging.wait());
            lodging.inbox.wake(0);
            lodging.park(limit);
            assert!(lodging.has_mail());
            lodging.take_wakes(|_| ());
        }
        move_out(&lodging);
    }

    #[test]
    fn whoever_moved_out_cannot_write_to_the_next_tenant() {
        let before = move_in();
        let old = before.address();
        assert_eq!(old.interrupt(), Ok(()));
        assert_eq!(before.close().unwrap().interrupts, 1);
        assert_eq!(old.interrupt(), Err(Closed));
        move_out(&before);
        // Other tests move in and out as well; one of us will get the number.
        let next = move_in();
        assert_eq!(old.interrupt(), Err(Closed));
        assert_eq!(next.address().interrupt(), Ok(()));
        assert_eq!(old.interrupt(), Err(Closed));
        assert_eq!(next.take_letters().unwrap().interrupts, 1);
    }

    #[test]
    fn a_door_that_was_closed_before_it_was_needed_stays_closed() {
        let lodging = move_in();
        assert!(lodging.close().is_none());
        assert_eq!(lodging.address().interrupt(), Err(Closed));
        assert!(!lodging.address().is_open());
        move_out(&lodging);
    }
}
