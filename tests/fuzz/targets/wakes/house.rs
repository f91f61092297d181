//! An executor, and what the model knows of its inbox and of its host.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearken::{Executor, ManualClock, Verdict};

pub struct House {
    executor: Option<Rc<Executor>>,
    /// What its wakers say; zero while none of its tasks has been polled.
    number: u16,
    /// How often a slot was woken by way of an inbox, of any number while ours is not
    /// known, and has not been taken in for all that is known.
    mail: BTreeMap<(u16, u32), usize>,
    pub is_in_one_turn: bool,
    /// A task of ours was woken from outside since the last turn.
    pub is_called: bool,
    /// The host was told that nothing is ready.
    was_told: bool,
    hooks: Arc<AtomicUsize>,
}

impl House {
    pub fn new() -> House {
        let hooks = Arc::new(AtomicUsize::new(0));
        let counts = hooks.clone();
        let builder = Executor::builder()
            .clock(ManualClock::auto())
            .handler(|_| Verdict::Proceed)
            .on_wake(move || _ = counts.fetch_add(1, Ordering::SeqCst));
        House {
            executor: Some(Rc::new(builder.build())),
            number: 0,
            mail: BTreeMap::new(),
            is_in_one_turn: false,
            is_called: false,
            was_told: false,
            hooks,
        }
    }

    pub fn executor(&self) -> Option<Rc<Executor>> {
        self.executor.clone()
    }

    pub fn take(&mut self) -> Option<Rc<Executor>> {
        self.executor.take()
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn has_number(&mut self, number: u16) {
        assert!(number > 0 && (self.number == 0 || self.number == number));
        self.number = number;
    }

    pub fn has_mail(&mut self, slot: (u16, u32)) {
        *self.mail.entry(slot).or_default() += 1;
    }

    /// Whether somebody has woken whoever has this slot; then that is answered.
    pub fn takes_in(&mut self, slot: (u16, u32)) -> bool {
        let times = self.mail.get_mut(&slot).filter(|times| **times > 0);
        times.map(|times| *times -= 1).is_some()
    }

    /// A turn takes in all that there is. If nobody has been polled yet, everybody is in
    /// the queue, and nothing is known.
    pub fn has_taken_in(&mut self) {
        if self.number > 0 {
            self.mail.clear();
        }
    }

    pub fn begins(&mut self, is_one_turn: bool) {
        self.is_in_one_turn = is_one_turn;
        let calls = self.hooks.load(Ordering::SeqCst);
        assert!(calls <= 1, "on_wake was called {calls} times between two turns");
        let is_missing = self.was_told && self.is_called && calls == 0;
        assert!(!is_missing, "on_wake was not called");
    }

    pub fn ends(&mut self) {
        self.hooks.store(0, Ordering::SeqCst);
        (self.is_called, self.was_told) = (false, false);
    }

    pub fn was_told(&mut self, nothing: bool) {
        self.was_told = nothing;
    }
}
