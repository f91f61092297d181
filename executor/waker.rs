//! A waker is a name, not a reference.
//!
//! The usual waker is an `Arc` of its task: two atomic operations for each
//! clone and drop, and a class of bugs in which a waker outlives what it points
//! to. This one's data pointer is a plain number, the task's [`Name`]. To clone
//! it is to copy it, to drop it is to do nothing, and nothing is ever
//! dereferenced: a waker that outlives its task, the next tenant of its slot,
//! or its executor, looks for the name and finds nobody.
//!
//! There are two ways from a waker to the queue. On the executor's own thread,
//! during its turn, it is a push. From anywhere else it leads through the inbox.
//!
//! Where a pointer has fewer than 64 bits the name does not fit, and an `Arc`
//! of it stands in; so too with `--cfg hearken_arc_waker`, to test that.

use crate::current;
use crate::id::Name;
use crate::lodgings;

pub(crate) use carrier::{name_of, waker};

/// Whether a waker wakes the task of this name.
#[inline]
pub(crate) fn is_waker_of(waker: &std::task::Waker, name: Name) -> bool {
    name_of(waker) == Some(name)
}

#[inline]
fn wake(name: Name) {
    current::with(|state| match state {
        Some(state) if state.number == name.executor() => state.wake(name.ticket()),
        _ => lodgings::wake(name),
    });
}

#[cfg(all(target_pointer_width = "64", not(hearken_arc_waker)))]
#[allow(unsafe_code)]
mod carrier {
    use super::{Name, wake};
    use std::mem::ManuallyDrop;
    use std::ptr;
    use std::task::{RawWaker, RawWakerVTable, Waker};

    /// One for the whole program, so that `will_wake` can compare its address.
    static VTABLE: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake_data, wake_data, |_| ());

    fn wake_data(data: *const ()) {
        wake(to_name(data));
    }

    fn to_name(data: *const ()) -> Name {
        Name::from_bits(data.addr() as u64)
    }

    /// A waker for this task. There is nothing to drop.
    pub(crate) fn waker(name: Name) -> ManuallyDrop<Waker> {
        let data = ptr::without_provenance(name.to_bits() as usize);
        // SAFETY: the functions of the table do not dereference `data`, which
        // is a number, and may be called from any thread: `wake` goes to the
        // thread's own executor or to an inbox that is never freed.
        ManuallyDrop::new(unsafe { Waker::new(data, &VTABLE) })
    }

    /// Whom a waker wakes, if it is one of ours.
    pub(crate) fn name_of(waker: &Waker) -> Option<Name> {
        ptr::eq(waker.vtable(), &VTABLE).then(|| to_name(waker.data()))
    }
}

#[cfg(not(all(target_pointer_width = "64", not(hearken_arc_waker))))]
#[allow(unsafe_code)]
mod carrier {
    use super::{Name, wake};
    use std::ops::Deref;
    use std::ptr;
    use std::sync::Arc;
    use std::task::{RawWaker, RawWakerVTable, Waker};

    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: `data` came from `Arc::into_raw`, and the waker that is
            // cloned keeps it alive.
            unsafe { Arc::increment_strong_count(data.cast::<Name>()) };
            RawWaker::new(data, &VTABLE)
        },
        // SAFETY: this takes over the waker's share of the `Arc`.
        |data| wake(*unsafe { Arc::from_raw(data.cast::<Name>()) }),
        |data| wake(to_name(data)),
        // SAFETY: as above.
        |data| drop(unsafe { Arc::from_raw(data.cast::<Name>()) }),
    );

    fn to_name(data: *const ()) -> Name {
        // SAFETY: a waker with this table points to the name that it keeps.
        unsafe { *data.cast::<Name>() }
    }

    pub(crate) fn waker(name: Name) -> impl Deref<Target = Waker> {
        let data = Arc::into_raw(Arc::new(name)).cast();
        // SAFETY: the functions of the table keep the rules of `RawWakerVTable`:
        // they count the `Arc`, which may be dropped on any thread.
        Box::new(unsafe { Waker::new(data, &VTABLE) })
    }

    /// Whom a waker wakes, if it is one of ours.
    pub(crate) fn name_of(waker: &Waker) -> Option<Name> {
        ptr::eq(waker.vtable(), &VTABLE).then(|| to_name(waker.data()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;

    // promise 7.2: a waker may be cloned and compared.
    #[test]
    #[cfg(all(target_pointer_width = "64", not(hearken_arc_waker)))]
    fn a_clone_wakes_the_same_and_says_so() {
        let name = Name::new(3, TaskId::new(9, 4).ticket());
        let one = waker(name);
        let clone = (*one).clone();
        assert!(clone.will_wake(&one));
        assert_eq!(name_of(&clone), Some(name));
        let other = waker(Name::new(3, TaskId::new(10, 4).ticket()));
        assert!(!clone.will_wake(&other));
    }

    // promise 7.2: nobody is there, and nothing happens.
    #[test]
    fn a_waker_of_nobody_is_harmless() {
        let nobody = waker(Name::new(u16::MAX, TaskId::new(1, 1).ticket()));
        nobody.wake_by_ref();
    }
}
