//! Sleeps for the floor: a hashed wheel of one level (Varghese and Lauck 1987,
//! scheme 6), in milliseconds.
//!
//! A slot is a list of the sleeps that end in its millisecond, of this or of a
//! later revolution. Setting and dropping one takes a few writes; a sleep of
//! many revolutions is looked at once in each.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use super::running;

/// Milliseconds in a revolution.
const SLOTS: u64 = 4096;

/// No entry.
const NONE: usize = usize::MAX;

#[derive(Default)]
pub struct Wheel {
    /// Made with the first sleep: when this was, and the heads of the slots.
    wheel: Option<(Instant, Vec<usize>)>,
    entries: Slab<Entry>,
    /// Those that have not fired.
    waiting: usize,
    /// All before this millisecond have fired.
    next: u64,
}

struct Entry {
    /// In milliseconds since the first sleep.
    deadline: u64,
    /// `None` once it has fired.
    waker: Option<Waker>,
    before: usize,
    after: usize,
}

impl Wheel {
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes the wakers of those that are due.
    pub fn take_due(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        let Some((start, heads)) = &self.wheel else { return due };
        let now = start.elapsed().as_millis() as u64;
        // After a long time every slot is looked at, once.
        let from = self.next.max(now.saturating_sub(SLOTS - 1));
        let slots: Vec<_> = (from..=now).map(|milli| heads[(milli % SLOTS) as usize]).collect();
        self.next = self.next.max(now + 1);
        for mut key in slots {
            while key != NONE {
                let entry = &mut self.entries[key];
                let after = entry.after;
                if entry.deadline <= now {
                    due.extend(entry.waker.take());
                    self.unlink(key);
                }
                key = after;
            }
        }
        due
    }

    /// How long nobody is due. Later revolutions are not told from this one: it
    /// may be too short.
    pub fn until_next(&self) -> Option<Duration> {
        let (start, heads) = self.wheel.as_ref()?;
        if self.is_empty() {
            return None;
        }
        let taken = |milli: &u64| heads[(milli % SLOTS) as usize] != NONE;
        let milli = (self.next..self.next + SLOTS).find(taken).expect("somebody waits");
        Some(Duration::from_millis(milli).saturating_sub(start.elapsed()))
    }

    fn insert(&mut self, delay: Duration, waker: Waker) -> usize {
        let (start, heads) =
            self.wheel.get_or_insert_with(|| (Instant::now(), vec![NONE; SLOTS as usize]));
        let end = start.elapsed() + delay;
        // Not before it is over; and not in a slot that has been looked at.
        let deadline = (end.as_nanos().div_ceil(1_000_000) as u64).max(self.next);
        let head = &mut heads[(deadline % SLOTS) as usize];
        let entry = Entry { deadline, waker: Some(waker), before: NONE, after: *head };
        let key = self.entries.insert(entry);
        if *head != NONE {
            self.entries[*head].before = key;
        }
        *head = key;
        self.waiting += 1;
        key
    }

    fn unlink(&mut self, key: usize) {
        let Entry { deadline, before, after, .. } = self.entries[key];
        match before {
            NONE => {
                let (_, heads) = self.wheel.as_mut().expect("there are entries");
                heads[(deadline % SLOTS) as usize] = after;
            }
            before => self.entries[before].after = after,
        }
        if after != NONE {
            self.entries[after].before = before;
        }
        self.waiting -= 1;
    }
}

/// Begins with its first poll.
pub struct Sleep {
    delay: Duration,
    key: Option<usize>,
}

impl Sleep {
    pub fn new(delay: Duration) -> Self {
        Self { delay, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        running(|shared| {
            let mut wheel = shared.expect("it runs").wheel.borrow_mut();
            match self.key {
                None => self.key = Some(wheel.insert(self.delay, cx.waker().clone())),
                Some(key) => match &mut wheel.entries[key].waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => {
                        wheel.entries.remove(key);
                        self.key = None;
                        return Poll::Ready(());
                    }
                },
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        running(|shared| {
            // When the executor is gone, so is the wheel.
            let Some(shared) = shared else { return };
            let mut wheel = shared.wheel.borrow_mut();
            if wheel.entries[key].waker.is_some() {
                wheel.unlink(key);
            }
            wheel.entries.remove(key);
        });
    }
}
