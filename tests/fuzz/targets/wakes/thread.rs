//! The other thread: it does what it is handed, and answers when that is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;

/// What is done with a waker.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Clone,
    Wake,
    WakeByRef,
    /// As by whoever clones it for that.
    CloneAndWake,
    Drop,
}

impl Deed {
    pub fn of(byte: usize) -> Deed {
        [Deed::Wake, Deed::WakeByRef, Deed::CloneAndWake, Deed::Clone, Deed::Drop][byte % 5]
    }

    pub fn wakes(self) -> bool {
        matches!(self, Deed::Wake | Deed::WakeByRef | Deed::CloneAndWake)
    }

    /// Answers what is left of it.
    pub fn on(self, waker: Waker) -> Vec<Waker> {
        match self {
            Deed::Clone => vec![waker.clone(), waker],
            Deed::Wake => {
                waker.wake();
                vec![]
            }
            Deed::WakeByRef => {
                waker.wake_by_ref();
                vec![waker]
            }
            Deed::CloneAndWake => {
                waker.clone().wake();
                vec![waker]
            }
            Deed::Drop => vec![],
        }
    }
}

type Errand = Box<dyn FnOnce() -> Vec<Waker> + Send>;

thread_local! {
    /// The ends of the channels to the other thread, which lives as long as this one.
    static THREAD: (Sender<Errand>, Receiver<Vec<Waker>>) = {
        let (errands, to_do) = channel::<Errand>();
        let (done, answers) = channel();
        std::thread::spawn(move || to_do.iter().try_for_each(|errand| done.send(errand())));
        (errands, answers)
    };
}

fn send(errand: impl FnOnce() -> Vec<Waker> + Send + 'static) {
    THREAD.with(|(errands, _)| errands.send(Box::new(errand)).expect("the thread is there"));
}

/// Has these deeds done there, and waits. Answers what is left of the wakers.
pub fn elsewhere(deeds: Vec<(Deed, Waker)>) -> Vec<Waker> {
    send(move || deeds.into_iter().flat_map(|(deed, waker)| deed.on(waker)).collect());
    roused()
}

/// Has it say that it is over, and wake; without waiting.
pub fn rouse(over: Arc<AtomicBool>, waker: Waker) {
    send(move || {
        over.store(true, Ordering::SeqCst);
        Deed::Wake.on(waker)
    });
}

/// Waits until what was asked for is done.
pub fn roused() -> Vec<Waker> {
    THREAD.with(|(_, answers)| answers.recv().expect("the thread is there"))
}
