//! Wakers of somebody else's runtime: they count what is done to them, and can
//! do anything while it is done. Ours never see more of them than a `Waker`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// What can be done to a waker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Clone,
    Wake,
    Drop,
}

impl Op {
    pub const ALL: [Op; 3] = [Op::Clone, Op::Wake, Op::Drop];
}

/// Makes foreign wakers, and knows how many are about.
#[derive(Clone, Default)]
pub struct Foreign(Rc<Desk>);

type Act = Rc<dyn Fn()>;

#[derive(Default)]
struct Desk {
    alive: Cell<usize>,
    done: [Cell<usize>; 3],
    acts: [RefCell<Option<Act>>; 3],
}

impl Foreign {
    pub fn new() -> Foreign {
        Foreign::default()
    }

    /// One that does `act` whenever `op` is done to a waker of it.
    pub fn that(op: Op, act: impl Fn() + 'static) -> Foreign {
        let foreign = Foreign::new();
        foreign.on(op, act);
        foreign
    }

    pub fn on(&self, op: Op, act: impl Fn() + 'static) {
        let _old = self.0.acts[op as usize].replace(Some(Rc::new(act)));
    }

    /// From now on they are quiet.
    pub fn quieten(&self) {
        self.0.acts.iter().for_each(|act| drop(act.take()));
    }

    /// Does `work`, during which they are quiet.
    pub fn quietly<R>(&self, work: impl FnOnce() -> R) -> R {
        let acts = self.0.acts.each_ref().map(RefCell::take);
        let done = work();
        for (own, act) in self.0.acts.iter().zip(acts) {
            own.replace(act);
        }
        done
    }

    pub fn count(&self, op: Op) -> usize {
        self.0.done[op as usize].get()
    }

    /// How many wakers there are.
    pub fn alive(&self) -> usize {
        self.0.alive.get()
    }

    #[allow(unsafe_code)]
    pub fn waker(&self) -> Waker {
        // SAFETY: the table keeps the contract of `RawWaker`, but for one
        // thing: its wakers must stay on this thread, and in the tests they do.
        unsafe { Waker::from_raw(self.raw()) }
    }

    fn raw(&self) -> RawWaker {
        self.0.alive.set(self.0.alive.get() + 1);
        RawWaker::new(Rc::into_raw(self.0.clone()).cast(), &TABLE)
    }

    fn act(&self, op: Op) {
        let done = &self.0.done[op as usize];
        done.set(done.get() + 1);
        let act = self.0.acts[op as usize].borrow().clone();
        if let Some(act) = act {
            act();
        }
    }

    fn one_less(&self) {
        self.0.alive.set(self.0.alive.get() - 1);
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

#[allow(unsafe_code)]
fn look(data: *const ()) -> Foreign {
    // SAFETY: the pointer comes from `Rc::into_raw` in `raw`, and the count that
    // it stands for is left alone.
    unsafe {
        Rc::increment_strong_count(data.cast::<Desk>());
        Foreign(Rc::from_raw(data.cast()))
    }
}

#[allow(unsafe_code)]
fn take(data: *const ()) -> Foreign {
    // SAFETY: as in `look`, but the waker is being consumed, and its count with it.
    let foreign = Foreign(unsafe { Rc::from_raw(data.cast()) });
    foreign.one_less();
    foreign
}

fn clone(data: *const ()) -> RawWaker {
    let foreign = look(data);
    foreign.act(Op::Clone);
    foreign.raw()
}

fn wake(data: *const ()) {
    take(data).act(Op::Wake);
}

fn wake_by_ref(data: *const ()) {
    look(data).act(Op::Wake);
}

fn drop_waker(data: *const ()) {
    take(data).act(Op::Drop);
}
