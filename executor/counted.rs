//! A counted pointer to a task, and the memory that tasks leave to one another.
//!
//! A task is in three hands: the table's, the handle's, and those that look at
//! it for a moment. An `Rc` would do for that, but for two things. It counts
//! twice, for the sake of weak pointers that nobody here has; and each task
//! would be a `malloc` and a `free`, which is most of what a short task costs.
//! So [`Counted`] counts in the header, and the memory of a task that is gone
//! goes to the [`Pool`] of its executor, for the next of the same size.
//!
//! # Invariants
//!
//! - **Header first.** What a `Counted` points to begins with its [`Header`].
//!   So the header is found without asking what comes after it.
//! - **Counted.** A header's `pointers` is the number of `Counted`s to it, and
//!   nobody changes it but `Counted`.
//! - **Stays.** What is pointed to is never moved, and is dropped in place after
//!   the last pointer has gone: it may be given out pinned.
//! - **Nobody's.** Memory in the pool is nobody else's, has the size of its
//!   class, and came from the global allocator with that layout.

use crate::header::Header;
use crate::outcome::Cancelled;
use crate::report::Report;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// What the loop needs of a task, whatever its future and value.
pub(crate) trait AnyTask {
    fn header(&self) -> &Header;

    /// Polls the future. When it is through, by a panic too, the outcome is
    /// kept and the task's life has ended.
    fn poll(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Drops the future because of the request that stands in the header. The
    /// task's life has ended then.
    fn cancel(self: Pin<&Self>);

    /// The cancellation by which it ended, if it did and nobody has taken it.
    fn cancellation(&self) -> Option<Cancelled>;

    /// Drops an outcome that nobody can ask for any more.
    fn discard(self: Pin<&Self>);

    /// Takes the error of a failure that nobody can ask for any more.
    fn take_failure(self: Pin<&Self>) -> Option<anyhow::Error>;

    /// Shows the error of a failure as part of `report`, and leaves it in place.
    fn show_failure(self: Pin<&Self>, report: Report, look: &mut dyn FnMut(&Report));

    /// What drops it and keeps its memory: the function that the last
    /// [`Counted`] calls.
    fn release(&self) -> Release;
}

/// Drops a task, and gives its memory to the pool of its executor. It is called
/// once, by the last pointer to the task, with that pointer.
pub(crate) type Release = unsafe fn(NonNull<Header>);

/// What a [`Counted`] may be made of.
///
/// # Safety
///
/// `HEADER_AT` is the offset of the [`Header`], of which there is one.
#[allow(unsafe_code)]
pub(crate) unsafe trait HeaderFirst: AnyTask {
    const HEADER_AT: usize;
}

/// One of the pointers to a task.
pub(crate) struct Counted<T: ?Sized + AnyTask>(NonNull<T>);

/// A task, whatever its future.
pub(crate) type TaskRc = Counted<dyn AnyTask>;

#[allow(unsafe_code)]
impl<T: HeaderFirst> Counted<T> {
    /// Puts a task into memory from the pool. This is its first pointer.
    #[inline]
    pub(crate) fn new(pool: &Pool, make: impl FnOnce() -> T) -> Counted<T> {
        // SAFETY: a whole `T` is written.
        unsafe { Counted::in_place(pool, |place| place.write(make())) }
    }

    /// The same for one that is too large to be handed about: `fill` writes it
    /// where it is to be.
    ///
    /// # Safety
    ///
    /// When `fill` is through, there is a valid `T` at the place that it was
    /// given, which is writable, and of the size and alignment of a `T`.
    #[inline]
    pub(crate) unsafe fn in_place(pool: &Pool, fill: impl FnOnce(NonNull<T>)) -> Counted<T> {
        const { assert!(T::HEADER_AT == 0, "the header comes first (Header first)") };
        let place = pool.take(Layout::new::<T>()).cast::<T>(); // (Nobody's)
        fill(place);
        let task = Counted(place);
        debug_assert_eq!(task.header().pointers.get(), 1, "a new header counts its first pointer");
        task
    }

    /// As the table knows it.
    #[inline]
    pub(crate) fn into_task(self) -> TaskRc
    where
        T: 'static,
    {
        // SAFETY: only a pointer to a trait object is made.
        unsafe { self.seen_as(|task| task as NonNull<dyn AnyTask>) }
    }
}

#[allow(unsafe_code)]
impl<T: ?Sized + AnyTask> Counted<T> {
    /// The same pointer, which knows less of what it points to.
    ///
    /// # Safety
    ///
    /// `unsize` does nothing but make a pointer to a trait object of a pointer.
    #[inline]
    pub(crate) unsafe fn seen_as<U: ?Sized + AnyTask>(
        self,
        unsize: impl FnOnce(NonNull<T>) -> NonNull<U>,
    ) -> Counted<U> {
        Counted(unsize(ManuallyDrop::new(self).0))
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `self` is one of those who keep the task there (Counted), and
        // it begins with its header (Header first).
        unsafe { self.0.cast::<Header>().as_ref() }
    }

    #[inline]
    pub(crate) fn as_ref(&self) -> Pin<&T> {
        // SAFETY: it stays where it is until it is dropped in place (Stays).
        unsafe { Pin::new_unchecked(&**self) }
    }
}

#[allow(unsafe_code)]
impl<T: ?Sized + AnyTask> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `self` is one of those who keep the task there (Counted), and
        // nobody has more than a shared reference to it.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized + AnyTask> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Counted<T> {
        let pointers = &self.header().pointers;
        // Four thousand million pointers to one task: a program that forgets
        // them in a loop. It must not come round to zero.
        pointers.set(pointers.get().checked_add(1).expect("a task has too many pointers to it"));
        Counted(self.0)
    }
}

#[allow(unsafe_code)]
impl<T: ?Sized + AnyTask> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        let pointers = &self.header().pointers;
        pointers.set(pointers.get() - 1);
        if pointers.get() == 0 {
            let release = self.release();
            // SAFETY: this was the last pointer (Counted), and nobody who has
            // borrowed from one is left.
            unsafe { release(self.0.cast()) };
        }
    }
}

/// The memory of tasks that are gone, by size.
///
/// What is kept is bounded, more so when the executor is idle
/// ([`Pool::shrink`]), and goes back with the executor and its last handle.
pub(crate) struct Pool {
    /// The first of each size.
    free: [Cell<Option<NonNull<Free>>>; CLASSES],
    /// How many bytes lie here.
    kept: Cell<usize>,
    /// How many bytes of these sizes are with tasks.
    lent: Cell<usize>,
}

/// A piece of memory that waits for its next task.
struct Free {
    next: Option<NonNull<Free>>,
}

/// Sizes are so many bytes apart, and eight less than a multiple of it: what
/// common allocators hand out without a gap.
const STEP: usize = 32;
const CLASSES: usize = 16;
const ALIGN: usize = align_of::<usize>();
/// So much is kept by an executor that is busy, beside as much as its tasks have.
const KEPT_WHEN_BUSY: usize = 1 << 20;
/// So much is kept by an executor that is idle.
const KEPT_WHEN_IDLE: usize = 64 << 10;

/// Which class a layout belongs to; none, if it is too large or oddly aligned.
#[inline]
const fn class_of(layout: Layout) -> Option<usize> {
    let class = (layout.size() + 7) / STEP;
    if class < CLASSES && layout.align() <= ALIGN { Some(class) } else { None }
}

/// How large the memory of a class is.
#[inline]
const fn size_of_class(class: usize) -> usize {
    class * STEP + STEP - 8
}

/// The layout with which the memory of a class is allocated.
fn layout_of_class(class: usize) -> Layout {
    Layout::from_size_align(size_of_class(class), ALIGN).expect("a class is small")
}

#[allow(unsafe_code)]
impl Pool {
    pub(crate) fn new() -> Pool {
        Pool { free: [const { Cell::new(None) }; CLASSES], kept: Cell::new(0), lent: Cell::new(0) }
    }

    /// Memory for something of this layout: from here, or else new.
    #[inline]
    fn take(&self, layout: Layout) -> NonNull<u8> {
        let Some(class) = class_of(layout) else { return fresh(layout) };
        self.lent.set(self.lent.get() + size_of_class(class));
        let Some(first) = self.free[class].get() else { return fresh(layout_of_class(class)) };
        // SAFETY: it lies here, so that it is ours, and was written by `give`
        // (Nobody's).
        self.free[class].set(unsafe { first.as_ref() }.next);
        self.kept.set(self.kept.get() - size_of_class(class));
        first.cast()
    }

    /// Keeps the memory of something that is gone.
    ///
    /// # Safety
    ///
    /// It came from `take` of the same layout, and nobody uses it any more.
    #[inline]
    unsafe fn give(&self, memory: NonNull<u8>, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: `take` got it from the allocator with this layout.
            return unsafe { dealloc(memory.as_ptr(), layout) };
        };
        let free = memory.cast::<Free>();
        // SAFETY: it is ours now, and large enough: the smallest class has room
        // for a pointer.
        unsafe { free.write(Free { next: self.free[class].get() }) };
        self.free[class].set(Some(free));
        self.kept.set(self.kept.get() + size_of_class(class));
        self.lent.set(self.lent.get() - size_of_class(class));
        // After a crowd: for each that goes, as much as two go back.
        let most = self.lent.get() + KEPT_WHEN_BUSY;
        if self.kept.get() > most {
            self.give_back_to(most.max(self.kept.get() - 2 * size_of_class(class)));
        }
    }

    /// Drops a task, and keeps its memory. (If the drop unwound, the memory
    /// would be lost; but what is foreign in a task has been dropped before, and
    /// quietly.)
    ///
    /// # Safety
    ///
    /// The task came from [`Counted::new`] with this pool, and nobody has a
    /// pointer or a reference to it any more.
    #[inline]
    pub(crate) unsafe fn release<T: HeaderFirst>(&self, task: NonNull<T>) {
        // SAFETY: it is nobody else's, and stays where it is (Stays).
        unsafe { task.drop_in_place() };
        // SAFETY: it came from `take` with the layout of its type, and what was
        // in it is dropped.
        unsafe { self.give(task.cast(), Layout::new::<T>()) };
    }

    /// Gives half of what is kept back to the allocator, if it is much.
    pub(crate) fn shrink(&self) {
        if self.kept.get() > KEPT_WHEN_IDLE {
            let enough = self.kept.get() / 2;
            self.give_back_to(enough);
        }
    }

    #[inline(never)]
    fn give_back_to(&self, enough: usize) {
        for (class, list) in self.free.iter().enumerate() {
            if self.kept.get() <= enough {
                break;
            }
            let layout = layout_of_class(class);
            while self.kept.get() > enough
                && let Some(first) = list.get()
            {
                // SAFETY: it lies here (Nobody's).
                list.set(unsafe { first.as_ref() }.next);
                self.kept.set(self.kept.get() - layout.size());
                // SAFETY: memory of this class was allocated with this layout
                // (Nobody's).
                unsafe { dealloc(first.as_ptr().cast(), layout) };
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.give_back_to(0);
    }
}

#[inline(never)]
#[allow(unsafe_code)]
fn fresh(layout: Layout) -> NonNull<u8> {
    // SAFETY: a task has a header, so the size is not zero.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, ALIGN).unwrap()
    }

    #[test]
    fn a_class_has_room_for_all_its_sizes_and_no_step_more() {
        for size in 1..=STEP * CLASSES - 8 {
            let class = class_of(layout(size)).unwrap();
            assert!(size <= size_of_class(class) && size + STEP > size_of_class(class), "{size}");
        }
        assert_eq!(class_of(layout(STEP * CLASSES)), None);
        assert_eq!(class_of(Layout::from_size_align(64, 64).unwrap()), None);
    }

    #[test]
    fn memory_goes_to_the_next_of_its_class_and_to_no_other() {
        let pool = Pool::new();
        let one = pool.take(layout(100));
        // SAFETY: each is given as it was taken, and nobody uses it.
        unsafe { pool.give(one, layout(100)) };
        let other = pool.take(layout(300));
        assert_ne!(other, one);
        assert_eq!(pool.take(layout(110)), one);
        // SAFETY: as above.
        unsafe {
            pool.give(one, layout(110));
            pool.give(other, layout(300));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_when_busy_and_halved_when_idle() {
        let pool = Pool::new();
        let crowd: Vec<_> = (0..40_000).map(|_| pool.take(layout(120))).collect();
        for memory in crowd {
            // SAFETY: each is given as it was taken, and nobody uses it.
            unsafe { pool.give(memory, layout(120)) };
            assert!(pool.kept.get() <= pool.lent.get() + KEPT_WHEN_BUSY);
        }
        assert_eq!(pool.lent.get(), 0);
        let mut kept = pool.kept.get();
        assert!(kept > KEPT_WHEN_BUSY / 2);
        while kept > KEPT_WHEN_IDLE {
            pool.shrink();
            assert!(pool.kept.get() <= kept / 2);
            kept = pool.kept.get();
        }
        pool.shrink();
        assert_eq!(pool.kept.get(), kept, "so much an idle executor keeps");
    }
}
