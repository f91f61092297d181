//! The inbox: the one door through which other threads reach an executor.
//!
//! Wakes, spawns and interrupts come in here, and the executor that sleeps (or
//! the host that was told that there is nothing to do) is roused.
//!
//! An inbox is never freed: when its executor dies it is closed, and a later
//! executor moves in (`lodgings.rs`). So a waker that fires while its executor is
//! being dropped, which elsewhere is a use after free, here rings at an empty
//! house, or rouses the next tenant for nothing.
//!
//! It is not for wakes on the executor's own thread during its turn. Those go
//! straight to the run queue, without an atomic: see `waker.rs`.
//!
//! # Invariants
//!
//! - **Slots, not serials.** What lies in the pile is a slot. If a stale waker
//!   put it there, the present tenant's own wake finds it there and goes away,
//!   trusting that somebody is woken. So whoever is in the slot now gets polled.
//! - **Mail is never missed.** First the letter, then the bell. The executor
//!   looks for mail once more after it said that it is waiting.
//! - **Shut until needed.** The door is opened for a tenant when somebody is
//!   first told his address. Until then nobody can have left a letter, and the
//!   executor does not look: most come and go without.

use crate::pile::Pile;
use crate::sync::{
    AtomicBool, AtomicU8, AtomicU32, Condvar, Mutex, MutexGuard, SegQueue, spin_loop,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Work from another thread, done at the start of a turn.
pub(crate) enum Errand {
    /// Spawns a task; refused when the executor is closed.
    Spawn(Box<dyn FnOnce() + Send>),
    /// Notes that what came before has been taken in.
    Note(Box<dyn FnOnce() + Send>),
}

/// What [`Builder::on_wake`](crate::Builder::on_wake) was given.
pub(crate) type Bell = Arc<dyn Fn() + Send + Sync>;

/// What a wake writes stands at the beginning, side by side: two cores hand it to
/// and fro a cache line at a time.
#[repr(C, align(64))]
pub(crate) struct Inbox {
    bell: AtomicU8,
    on_wake_panicked: AtomicBool,
    interrupts: AtomicU32,
    /// Slots woken from elsewhere.
    pile: Pile,
    errands: SegQueue<Errand>,
    door: Mutex<Door>,
    /// Signalled, with `door` locked in between, when `bell` goes from waiting
    /// to mail and somebody is parked.
    unpark: Condvar,
}

/// Nobody needs to be told anything: the executor is in a turn, or is coming
/// back at once.
const QUIET: u8 = 0;
/// Something lies in the inbox.
const MAIL: u8 = 1;
/// The executor's thread sleeps, or its host was told that nothing is ready.
const WAITING: u8 = 2;

/// How much later than asked for the system rouses a thread: what Linux calls
/// the timer slack, unless the thread has been given another.
const SLACK: Duration =
    if cfg!(target_os = "linux") { Duration::from_micros(50) } else { Duration::ZERO };

/// How often a thread looks for mail before it goes to sleep, which takes, with
/// being roused, much longer than to look in vain: that is a microsecond or two.
const LOOKS: u32 = 16;
/// How long it waits between two looks. To look is to take the cache line away
/// from whoever is just leaving mail.
const PAUSES: u32 = 8;

/// What is rare enough to stand behind a lock. Whoever leaves a letter holds it,
/// so that the door is not closed meanwhile; the executor takes letters in
/// without it.
struct Door {
    /// For which tenant it is open. A `Spawner` or `Interrupter` of an earlier
    /// one finds another number.
    open_for: Option<u64>,
    on_wake: Option<Bell>,
    /// Whether the executor's thread sleeps. To rouse somebody who does not is a
    /// system call for nothing.
    parked: bool,
}

/// The rest of the process knows one inbox by this: where, and which tenant.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    inbox: &'static Inbox,
    tenant: u64,
}

/// What an executor has of its inbox, until it moves out.
pub(crate) struct Lodging {
    pub(crate) number: u16,
    /// Which tenant this is, of all that any inbox has ever had.
    pub(crate) tenant: u64,
    pub(crate) inbox: &'static Inbox,
    /// Whether the door has been opened (Shut until needed), and whether it has
    /// been closed for good.
    opened: Cell<bool>,
    closed: Cell<bool>,
    /// Whether mail ended the last wait: then more may be on its way.
    hopeful: Cell<bool>,
}

/// The executor is closed, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the executor is shut down or gone")
    }
}

impl std::error::Error for Closed {}

/// What the executor finds when it opens its letters.
pub(crate) struct Letters {
    pub(crate) errands: Vec<Errand>,
    pub(crate) interrupts: u32,
    pub(crate) on_wake_panicked: bool,
}

// ---- Mail ---------------------------------------------------------------------

impl Inbox {
    pub(crate) fn new() -> Inbox {
        let door = Door { open_for: None, on_wake: None, parked: false };
        Inbox {
            bell: AtomicU8::new(QUIET),
            on_wake_panicked: AtomicBool::new(false),
            interrupts: AtomicU32::new(0),
            pile: Pile::default(),
            errands: SegQueue::new(),
            door: Mutex::new(door),
            unpark: Condvar::new(),
        }
    }

    /// Wakes a slot, from any thread.
    ///
    /// Once the slot is in the pile the executor may be gone at any moment; the
    /// inbox is not.
    #[inline]
    pub(crate) fn wake(&self, slot: usize) {
        if self.pile.put(slot) {
            self.ring();
        }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.door)
    }

    /// Says that there is mail. Rouses whoever was told that there is none, at
    /// most once until the next turn.
    fn ring(&self) {
        if self.bell.swap(MAIL, Ordering::AcqRel) != WAITING {
            return;
        }
        // The lock is what makes this safe against a thread that has looked at
        // the bell and is about to sleep.
        let door = self.door();
        let (on_wake, parked, tenant) = (door.on_wake.clone(), door.parked, door.open_for);
        drop(door);
        if parked {
            self.unpark.notify_one();
        }
        // Foreign code: no lock is held. It must not unwind into the thread
        // that happened to wake a task, nor may the hook's drop, if the executor
        // is gone meanwhile; if it is not, it will hear of it.
        let rung = on_wake.map(|on_wake| catch_unwind(AssertUnwindSafe(move || on_wake())));
        if let Some(Err(payload)) = rung {
            drop_payload(payload);
            self.note_panic(tenant);
        }
    }

    /// The hook of this tenant has panicked. If he is gone, the next one is not
    /// told.
    #[cold]
    fn note_panic(&self, tenant: Option<u64>) {
        let door = self.door();
        if tenant.is_none() || door.open_for != tenant {
            return;
        }
        self.on_wake_panicked.store(true, Ordering::Release);
        // A turn that is going on looks again at its end, and a thread that sleeps
        // wakes up. A host finds it with the next mail: to tell it earlier is to
        // call the hook again, which may go on for ever.
        let before = if door.parked { WAITING } else { QUIET };
        let (change, look) = (Ordering::AcqRel, Ordering::Relaxed);
        let told = self.bell.compare_exchange(before, MAIL, change, look);
        if door.parked && told.is_ok() {
            self.unpark.notify_one();
        }
    }

    /// Takes the letters that lie here now, and no more.
    fn take_letters(&self) -> Letters {
        let interrupts = self.interrupts.swap(0, Ordering::AcqRel);
        let errands = (0..self.errands.len()).map_while(|_| self.errands.pop()).collect();
        let on_wake_panicked = self.on_wake_panicked.swap(false, Ordering::AcqRel);
        Letters { errands, interrupts, on_wake_panicked }
    }
}

// ---- What the executor does with its inbox --------------------------------

impl Lodging {
    /// An empty inbox for the next tenant.
    #[inline]
    pub(crate) fn new(number: u16, tenant: u64, inbox: &'static Inbox) -> Lodging {
        Lodging {
            number,
            tenant,
            inbox,
            opened: Cell::new(false),
            closed: Cell::new(false),
            hopeful: Cell::new(true),
        }
    }

    /// The address, for somebody who may leave letters here.
    pub(crate) fn address(&self) -> Address {
        if !self.opened.get() && !self.closed.get() {
            self.open(None);
        }
        Address { inbox: self.inbox, tenant: self.tenant }
    }

    /// Opens the door, and hangs up a bell.
    pub(crate) fn open(&self, on_wake: Option<Bell>) {
        let mut door = self.inbox.door();
        door.open_for = Some(self.tenant);
        door.on_wake = on_wake;
        self.opened.set(true);
    }

    /// Whether anything has arrived. One load; begins a turn.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        match self.inbox.bell.load(Ordering::Acquire) {
            QUIET => false,
            // From here on nobody needs to ring.
            _ => self.inbox.bell.swap(QUIET, Ordering::AcqRel) == MAIL,
        }
    }

    /// Takes out the slots that others have woken: each once, and no more than
    /// are there now, so that a storm of wakes cannot hold up the turn.
    pub(crate) fn take_wakes(&self, woken: impl FnMut(u32)) {
        self.inbox.pile.take_all(woken);
    }

    /// Whether an interrupt lies here. One load; ends a `block_on`.
    #[inline]
    pub(crate) fn has_interrupts(&self) -> bool {
        self.inbox.interrupts.load(Ordering::Acquire) > 0
    }

    pub(crate) fn take_letters(&self) -> Option<Letters> {
        self.opened.get().then(|| self.inbox.take_letters())
    }

    /// Ends a turn with nothing ready. False if mail has come meanwhile.
    pub(crate) fn wait(&self) -> bool {
        self.inbox
            .bell
            .compare_exchange(QUIET, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Rouses the executor's own host, if it was told that nothing is ready.
    /// Nothing is in the inbox: what there is to do, the next turn finds anyway.
    pub(crate) fn rouse(&self) {
        if self.inbox.bell.load(Ordering::Acquire) == WAITING {
            self.inbox.ring();
        }
    }

    /// Sleeps until there is mail, or for at most `limit`.
    ///
    /// Who asks Linux to be roused at a moment is roused up to [`SLACK`] later,
    /// and mostly as late as that. So we ask for so much less; should it come
    /// before its time, we wait for the rest awake. A limit that is not longer
    /// than the slack is left to the system: a task that sleeps so again and
    /// again would keep a processor busy.
    pub(crate) fn park(&self, limit: Option<Duration>) {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        if self.hopeful.get() && self.is_mail_on_its_way() {
            return;
        }
        match end {
            Some(end) if limit > Some(SLACK) => {
                self.sleep_until(Some(end - SLACK));
                while self.is_waiting() && Instant::now() < end {
                    spin_loop();
                }
            }
            end => self.sleep_until(end),
        }
        self.hopeful.set(!self.is_waiting());
    }

    /// Looks for mail a little longer.
    fn is_mail_on_its_way(&self) -> bool {
        for _ in 0..LOOKS {
            if !self.is_waiting() {
                return true;
            }
            (0..PAUSES).for_each(|_| spin_loop());
        }
        false
    }

    /// Sleeps until there is mail, or until `end`.
    pub(crate) fn sleep_until(&self, end: Option<Instant>) {
        let mut door = self.inbox.door();
        door.parked = true;
        while self.is_waiting() {
            let Some(end) = end else {
                let woken = self.inbox.unpark.wait(door);
                door = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.inbox.unpark.wait_timeout(door, left);
            door = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        door.parked = false;
    }

    /// Whether nothing has come since `wait`.
    pub(crate) fn is_waiting(&self) -> bool {
        self.inbox.bell.load(Ordering::Acquire) == WAITING
    }

    /// Closes the door: no errand or interrupt is taken any more. Answers what
    /// was still lying there.
    pub(crate) fn close(&self) -> Option<Letters> {
        self.closed.set(true);
        self.opened.get().then(|| {
            self.inbox.door().open_for = None;
            self.inbox.take_letters()
        })
    }

    /// Leaves the inbox as a next tenant may find it. What it answers is foreign,
    /// and to be dropped when somebody else may move in.
    #[must_use]
    #[inline]
    pub(crate) fn vacate(&self) -> Option<Bell> {
        // An exchange, and not a store: a store may come to the others later than
        // the look at the pile is taken, and wipe out the bell of a slot that was
        // not there yet. That slot's wakes would all find it there, and go away.
        // So what is taken here has rung already, and what comes from now on rings
        // at the next tenant's, for nothing.
        let _rung_or_not = self.inbox.bell.swap(QUIET, Ordering::AcqRel);
        self.take_wakes(|_| ());
        self.opened.get().then(|| self.inbox.door().on_wake.take()).flatten()
    }
}

// ---- What other threads do with it ----------------------------------------

impl Address {
    pub(crate) fn send(&self, errand: Errand) -> Result<(), Closed> {
        self.at_open_door(|inbox| inbox.errands.push(errand))
    }

    pub(crate) fn interrupt(&self) -> Result<(), Closed> {
        self.at_open_door(|inbox| {
            let one_more = |count: u32| Some(count.saturating_add(1));
            let (change, look) = (Ordering::AcqRel, Ordering::Acquire);
            let _never_refused = inbox.interrupts.fetch_update(change, look, one_more);
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.inbox.door().open_for == Some(self.tenant)
    }

    fn at_open_door(&self, leave: impl FnOnce(&Inbox)) -> Result<(), Closed> {
        let door = self.inbox.door();
        if door.open_for != Some(self.tenant) {
            return Err(Closed);
        }
        leave(self.inbox);
        drop(door);
        self.inbox.ring();
        Ok(())
    }
}

/// Drops what was thrown, which may throw again.
pub(crate) fn drop_payload(payload: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// Our locks guard plain data that is whole at every moment, so a panic while
/// one was held (out of memory, say) is no reason to stop.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
