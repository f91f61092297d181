//! One task wakes another.
//!
//! But for one of them by hand-written cells and no channel, so that what is
//! measured is the executor. They do what a channel does: clone the waker in
//! order to wait, take it out in order to wake.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{Sample, Scale, Stopwatch, started};
use crate::runtime::Runtime;

/// Tasks in the ring of [`chain`].
const LINKS: usize = 1000;

/// Two tasks hit a ball to and fro. One operation is a round trip: two wakes,
/// two polls.
pub fn ping_pong<R: Runtime>(scale: Scale) -> Sample {
    let trips = scale.of(100_000);
    started::<R>().block_on(async move {
        rounds::<R>(2, 100).await;
        let watch = Stopwatch::start();
        rounds::<R>(2, trips).await;
        watch.per(trips)
    })
}

/// A ball goes round among [`LINKS`] tasks. One operation is a hop: one wake,
/// one poll, of a task that the processor has not seen for a while.
pub fn chain<R: Runtime>(scale: Scale) -> Sample {
    let trips = scale.of(200);
    started::<R>().block_on(async move {
        rounds::<R>(LINKS, 2).await;
        let watch = Stopwatch::start();
        rounds::<R>(LINKS, trips).await;
        watch.per(LINKS * trips)
    })
}

/// One task sends numbers to another through a channel with room for one.
pub fn channel<R: Runtime>(scale: Scale) -> Sample {
    async fn pass<R: Runtime>(messages: usize) {
        let (sender, receiver) = async_channel::bounded(1);
        let sending = R::spawn(async move {
            for message in 0..messages {
                sender.send(message).await.expect("the receiver is there");
            }
        });
        let receiving = R::spawn(async move {
            let mut sum = 0;
            while let Ok(message) = receiver.recv().await {
                sum += message;
            }
            sum
        });
        R::join::<()>(sending).await;
        assert_eq!(R::join::<usize>(receiving).await, (0..messages).sum());
    }

    let messages = scale.of(100_000);
    started::<R>().block_on(async move {
        pass::<R>(100).await;
        let watch = Stopwatch::start();
        pass::<R>(messages).await;
        watch.per(messages)
    })
}

/// `players` tasks, and a ball that goes round among them `trips` times.
async fn rounds<R: Runtime>(players: usize, trips: usize) {
    let ball = Rc::new(Ball::among(players));
    // The last one first, so that all but the first wait when they are hit.
    let playing = (0..players).rev().map(|place| R::spawn(player(Rc::clone(&ball), place, trips)));
    for player in playing.collect::<Vec<_>>() {
        R::join::<()>(player).await;
    }
    assert_eq!(ball.hits.get(), players * trips);
}

/// Whose turn it is, and who waits for it.
struct Ball {
    hits: Cell<usize>,
    /// The place of the next to hit.
    at: Cell<usize>,
    waiting: Vec<Cell<Option<Waker>>>,
}

impl Ball {
    fn among(players: usize) -> Self {
        let waiting = (0..players).map(|_| Cell::new(None)).collect();
        Self { hits: Cell::new(0), at: Cell::new(0), waiting }
    }
}

async fn player(ball: Rc<Ball>, place: usize, hits: usize) {
    let next = (place + 1) % ball.waiting.len();
    for _ in 0..hits {
        std::future::poll_fn(|cx| {
            if ball.at.get() == place {
                return Poll::Ready(());
            }
            ball.waiting[place].set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        ball.hits.set(ball.hits.get() + 1);
        ball.at.set(next);
        if let Some(other) = ball.waiting[next].take() {
            other.wake();
        }
    }
}
