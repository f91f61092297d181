//! Scopes, shields and clean-ups that nobody disturbs: what a program pays for
//! being ready to be cancelled. And the await that has to be ready for it.

use std::cell::Cell;
use std::future::{poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use hearken::{Cancelled, Executor, spawn_infallible, yield_now};

use super::{OPERATIONS, WARM_UP, repeat};

pub fn scope(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        for number in 0..OPERATIONS {
            assert_eq!(hearken::scope(ready(number)).await.ok(), Some(number));
        }
    });
}

pub fn scope_yield(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        for _ in 0..OPERATIONS {
            assert!(hearken::scope(yield_now()).await.is_ok());
        }
    });
}

pub fn scopes_ten(passes: usize) {
    let yielded = Rc::new(Cell::new(0));
    let counts = yielded.clone();
    repeat(&Executor::new(), passes, async move || {
        for _ in 0..OPERATIONS {
            let inside = async {
                yield_now().await;
                counts.set(counts.get() + 1);
            };
            assert!(in_five_scopes(in_five_scopes(inside)).await.is_ok());
        }
    });
    assert_eq!(yielded.get(), (WARM_UP + passes) * OPERATIONS);
}

fn in_five_scopes<F: Future>(f: F) -> impl Future<Output = Result<impl Sized, Cancelled>> {
    use hearken::scope;
    scope(scope(scope(scope(scope(f)))))
}

pub fn shield(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        for number in 0..OPERATIONS {
            assert_eq!(hearken::shield(ready(number)).await, number);
        }
    });
}

pub fn shield_yield(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let mut yielded = 0;
        for _ in 0..OPERATIONS {
            hearken::shield(yield_now()).await;
            yielded += 1;
        }
        assert_eq!(yielded, OPERATIONS);
    });
}

pub fn finally(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let mut cleaned = 0;
        for number in 0..OPERATIONS {
            let work = ready(Ok(number));
            let ended = hearken::finally(work, async || {
                cleaned += 1;
                Ok(())
            });
            assert_eq!(ended.await.expect("it does not fail"), number);
        }
        assert_eq!(cleaned, OPERATIONS);
    });
}

/// As in a set or under a combinator. The waker is made once in a pass.
pub fn await_foreign(passes: usize) {
    repeat(&Executor::new(), passes, async || {
        let mut sum = 0;
        under_another_waker(async {
            for number in 0..OPERATIONS {
                let task = spawn_infallible(async move { number });
                sum += task.await.expect("it does not fail");
            }
        })
        .await;
        assert_eq!(sum, OPERATIONS * (OPERATIONS - 1) / 2);
    });
}

/// Polls `f` with a waker that is not the task's own, and calls that.
async fn under_another_waker(f: impl Future<Output = ()>) {
    struct Calls(Waker);

    impl Wake for Calls {
        fn wake(self: Arc<Calls>) {
            self.0.wake_by_ref();
        }
    }

    let mut f = pin!(f);
    let mut waker = None;
    poll_fn(|cx| {
        let waker = waker.get_or_insert_with(|| Arc::new(Calls(cx.waker().clone())).into());
        f.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await;
}
