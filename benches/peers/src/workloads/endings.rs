//! Tasks that do not end by a value: cancelled, panicked.

use std::future::pending;
use std::rc::Rc;

use super::tasks::Latch;
use super::{Sample, Scale, Stopwatch, mean, started};
use crate::runtime::Runtime;

/// Cancelled at a time.
const PARKED: usize = 4096;

/// [`PARKED`] tasks are waiting for something that never comes; each is
/// cancelled, and the last to be dropped says so. Spawning them is not counted.
pub fn cancel<R: Runtime>(scale: Scale) -> Option<Sample> {
    /// Says that it was dropped.
    struct Dropped(Rc<Latch>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.count_down();
        }
    }

    async fn parked<R: Runtime>(count: usize, dropped: &Rc<Latch>) -> Vec<R::Task<()>> {
        let all = Latch::new(count);
        let park = || {
            let (all, dropped) = (Rc::clone(&all), Dropped(Rc::clone(dropped)));
            R::spawn(async move {
                let _dropped = dropped;
                all.count_down();
                drop(all);
                pending().await
            })
        };
        let tasks = std::iter::repeat_with(park).take(count).collect();
        all.wait().await;
        tasks
    }

    let passes = scale.of(100);
    started::<R>().block_on(async move {
        let dropped = Latch::new(1);
        for task in parked::<R>(1, &dropped).await {
            R::cancel::<()>(task)?;
        }
        dropped.wait().await;

        let mut cancelling = Vec::with_capacity(passes);
        for _ in 0..passes {
            let dropped = Latch::new(PARKED);
            let tasks = parked::<R>(PARKED, &dropped).await;
            let watch = Stopwatch::start();
            for task in tasks {
                R::cancel::<()>(task)?;
            }
            dropped.wait().await;
            cancelling.push(watch.per(PARKED));
        }
        Some(mean(&cancelling))
    })
}

/// A task panics, and whoever awaits it hears of that and goes on.
pub fn panic<R: Runtime>(scale: Scale) -> Option<Sample> {
    async fn pass<R: Runtime>(tasks: usize) -> Option<()> {
        for _ in 0..tasks {
            let task = R::spawn(async { panic!("on purpose") });
            assert_eq!(R::join_caught::<()>(task)?.await, None);
        }
        Some(())
    }

    let tasks = scale.of(5_000);
    started::<R>().block_on(async move {
        // One that does not panic, for those in which it would go through the loop.
        assert_eq!(R::join_caught(R::spawn(async { 42 }))?.await, Some(42));
        let _quiet = Quiet::begin();
        pass::<R>(10).await?;
        let watch = Stopwatch::start();
        pass::<R>(tasks).await?;
        Some(watch.per(tasks))
    })
}

/// While it lives, nothing is printed about panics.
struct Quiet;

impl Quiet {
    fn begin() -> Self {
        std::panic::set_hook(Box::new(|_| ()));
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Not while unwinding: that would panic again, and end the program
        // without a word.
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}
