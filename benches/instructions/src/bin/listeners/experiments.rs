//! Many that listen for a request, and the request: what each of them costs must
//! not depend on how many there are.
//!
//! They stand beside each other in one task, or are a chain of tasks of which
//! each awaits the next. The request comes by a cancel, a shutdown or a deadline
//! around all of them. They are done together, or, as happens with clean-ups that
//! take their time, each at a moment of its own.
//!
//! Each experiment asserts that everybody heard and everything has ended. It does
//! not say who hears first.
//!
//! `tests/scale_cancellation.rs` has this file too, and counts polls.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use hearken::{
    Budget, Executor, Group, ManualClock, Next, gather, group, scope, shield, sleep, spawn, timeout,
};

/// When deadlines pass.
const LIMIT: Duration = Duration::from_millis(1);

/// How long a shield takes: longer than [`LIMIT`].
const LONG: Duration = Duration::from_secs(1);

/// A deadline that does not pass.
const FAR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Experiment {
    /// All in one task.
    Beside { listener: Listener, place: Place, request: Request, ends: Ends },
    /// Each in a task, which awaits the next one.
    Chain { link: Link, request: Request },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Scope,
    Shield,
    /// A scope that is told when the shield inside it is through.
    Shielded,
    /// Every other one is a scope, and the rest are shielded.
    Mixed,
    Await,
    /// A deadline with a scope inside.
    Deadline,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Under wakers of their own.
    Set,
    /// The same; there is a scope around the wait for each next one, which ends with it.
    InScopes,
    /// The same with a deadline.
    InDeadlines,
    /// The same, in their order.
    JoinAll,
    /// Under the waker of the task, so that all are polled when it is.
    Join,
    Gather,
    Group,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Cancel,
    ShutDown,
    /// A deadline around all of them.
    Deadline,
    /// The listeners are deadlines, and these pass.
    Own,
    /// There is none: they listen, and go.
    Nobody,
}

/// When the listeners are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Together,
    /// A microsecond after one another.
    Apart,
}

/// What a task of a chain does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Await,
    /// The same, but the last one was spawned first.
    Backward,
    /// It awaits the next in a scope.
    Scope,
    /// The same, and when told takes a microsecond to clean up.
    CleanUp,
}

use Request::{Cancel, Deadline, Nobody, Own, ShutDown};

impl Experiment {
    pub fn all() -> Vec<Experiment> {
        use Ends::{Apart, Together};
        use Listener::{Await, Mixed, Scope, Shield, Shielded};
        use Place::{Gather, InDeadlines, InScopes, Join, JoinAll, Set};
        let mut all = Vec::new();
        let mut beside = |listener, place, request, ends| {
            all.push(Experiment::Beside { listener, place, request, ends });
        };
        for listener in [Scope, Shield, Shielded, Mixed, Listener::Deadline] {
            beside(listener, Set, Cancel, Together);
            beside(listener, Set, Cancel, Apart);
            beside(listener, Set, ShutDown, Apart);
            beside(listener, Set, Deadline, Together);
            beside(listener, Join, Cancel, Together);
        }
        for request in [Cancel, ShutDown, Deadline] {
            beside(Await, Set, request, Together);
            beside(Await, Set, request, Apart);
            beside(Await, Join, request, Together);
        }
        for listener in [Scope, Shield, Await] {
            beside(listener, JoinAll, Cancel, Apart);
        }
        for place in [Gather, Place::Group] {
            beside(Await, place, Cancel, Apart);
            beside(Await, place, ShutDown, Together);
            beside(Await, place, Deadline, Apart);
        }
        beside(Listener::Deadline, Set, Own, Together);
        beside(Listener::Deadline, Set, Own, Apart);
        beside(Listener::Deadline, Join, Own, Together);
        for listener in [Scope, Shield, Await, Listener::Deadline] {
            beside(listener, Set, Nobody, Apart);
        }
        for place in [InScopes, InDeadlines] {
            for listener in [Scope, Shield, Await] {
                beside(listener, place, Nobody, Apart);
                beside(listener, place, Cancel, Apart);
            }
        }
        for link in [Link::Await, Link::Backward, Link::Scope, Link::CleanUp] {
            for request in [Cancel, ShutDown, Deadline] {
                all.push(Experiment::Chain { link, request });
            }
        }
        all
    }

    /// Does it with so many listeners. Answers how often futures were polled.
    ///
    /// # Panics
    ///
    /// If somebody has not heard, or has not ended.
    pub fn run(self, listeners: usize) -> u64 {
        let clock = ManualClock::auto();
        let executor = Executor::builder().clock(clock).grace(Some(FAR)).build();
        let tally = Tally::default();
        let request = match self {
            Experiment::Beside { request, .. } | Experiment::Chain { request, .. } => request,
        };
        let main: Boxed = match self {
            Experiment::Beside { listener, place, ends, .. } => {
                let crowd = Crowd { listener, request, ends, tally: tally.clone() };
                Box::pin(crowd.stand(place, listeners))
            }
            Experiment::Chain { link: Link::Backward, .. } => {
                let mut next = executor.spawn(tally.clone().wait());
                for _ in 1..listeners {
                    let tally = tally.clone();
                    next = executor.spawn(tally.clone().polls(async move {
                        let _told = tally.told_when_dropped();
                        Ok(next.await?)
                    }));
                }
                Box::pin(async { Ok(next.await?) })
            }
            Experiment::Chain { link, .. } => chain(link, listeners, tally.clone()),
        };
        let main: Boxed = match request {
            Deadline => Box::pin(async { timeout(LIMIT, main).await.unwrap_or(Ok(())) }),
            _ => main,
        };
        let main = executor.spawn(tally.clone().polls(main));
        // The clock does not go on by turns.
        while executor.turn(Budget::Batch).next == Next::Ready {}
        match request {
            Cancel => assert!(main.cancel(), "it waits"),
            ShutDown => assert_eq!(executor.shut_down().dropped, 0),
            Deadline | Own | Nobody => {}
        }
        executor.run_until_idle();
        assert!(main.is_finished(), "somebody still waits");
        let ledger = executor.ledger();
        assert_eq!((ledger.live, ledger.failed), (0, 0), "{ledger}");
        assert_eq!(tally.told(), listeners as u64, "all hear of it, and once");
        tally.0.polls.get()
    }
}

/// As on the command line.
impl Display for Experiment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (request, ends) = match *self {
            Experiment::Beside { listener, place, request, ends } => {
                let place = match place {
                    Place::Set => "set",
                    Place::InScopes => "in_scopes",
                    Place::InDeadlines => "in_deadlines",
                    Place::JoinAll => "join_all",
                    Place::Join => "join",
                    Place::Gather => "gather",
                    Place::Group => "group",
                };
                let listener = match listener {
                    Listener::Scope => "scope",
                    Listener::Shield => "shield",
                    Listener::Shielded => "shielded",
                    Listener::Mixed => "mixed",
                    Listener::Await => "await",
                    Listener::Deadline => "deadline",
                };
                write!(f, "{place}-{listener}")?;
                (request, ends)
            }
            Experiment::Chain { link, request } => {
                f.write_str(match link {
                    Link::Await => "chain-await",
                    Link::Backward => "chain-backward",
                    Link::Scope => "chain-scope",
                    Link::CleanUp => "chain-cleanup",
                })?;
                (request, Ends::Together)
            }
        };
        f.write_str(match request {
            Cancel => "-cancel",
            ShutDown => "-shutdown",
            Deadline => "-timeout",
            Own => "-own",
            Nobody => "-quiet",
        })?;
        f.write_str(if ends == Ends::Apart { "-apart" } else { "" })
    }
}

type Boxed = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

// ---- Beside each other ---------------------------------------------------------

/// The listeners of one task.
#[derive(Clone)]
struct Crowd {
    listener: Listener,
    request: Request,
    ends: Ends,
    tally: Tally,
}

impl Crowd {
    async fn stand(self, place: Place, many: usize) -> anyhow::Result<()> {
        let member = |number| self.tally.clone().polls(self.clone().listen(number));
        let child = |number| self.tally.clone().polls(self.clone().awaited(number));
        match place {
            Place::Set => {
                let mut set: FuturesUnordered<_> = (0..many).map(member).collect();
                while set.next().await.is_some() {}
            }
            Place::InScopes => {
                let mut set: FuturesUnordered<_> = (0..many).map(member).collect();
                loop {
                    match scope(set.next()).await {
                        Ok(Some(())) => {}
                        Ok(None) => break,
                        Err(told) => told.accept(),
                    }
                }
            }
            Place::InDeadlines => {
                let mut set: FuturesUnordered<_> = (0..many).map(member).collect();
                while timeout(FAR, set.next()).await?.is_some() {}
            }
            Place::JoinAll => drop(join_all((0..many).map(member)).await),
            Place::Join => {
                Join((0..many).map(|number| Some(Box::pin(member(number)))).collect()).await
            }
            Place::Gather => drop(gather((0..many).map(|number| spawn(child(number)))).await?),
            Place::Group => {
                let all = group(async |group: Group| {
                    (0..many).for_each(|number| group.spawn(child(number)).detach());
                    Ok(())
                });
                all.await?;
            }
        }
        if self.listener == Listener::Shield && self.request != Nobody {
            pending::<()>().await; // where they hear who were shielded
        }
        Ok(())
    }

    async fn listen(self, number: usize) {
        let heard = match self.listener {
            Listener::Scope => scope(self.work(number)).await.is_err(),
            Listener::Mixed if number.is_multiple_of(2) => scope(self.work(number)).await.is_err(),
            Listener::Deadline if self.request == Own => {
                let limit = LIMIT + self.later(number);
                return self.tally.count(timeout(limit, scope(pending::<()>())).await.is_err());
            }
            Listener::Deadline => {
                let ended = timeout(FAR, scope(self.work(number))).await;
                ended.expect("it is far away").is_err()
            }
            Listener::Shielded | Listener::Mixed => {
                let shielded = async {
                    shield(sleep(LONG + self.later(number))).await;
                    pending::<()>().await;
                };
                return self.tally.count(scope(shielded).await.is_err());
            }
            Listener::Shield => {
                shield(sleep(LONG + self.later(number))).await;
                return self.tally.count(true);
            }
            Listener::Await => {
                let child = self.tally.clone().polls(self.clone().awaited(number));
                return drop(spawn(child).await);
            }
        };
        self.clean_up(heard, number).await;
    }

    /// Whom a listener awaits, or a gather, or a group.
    async fn awaited(self, number: usize) -> anyhow::Result<()> {
        if self.ends == Ends::Together {
            return self.tally.wait().await;
        }
        let ended = scope(self.work(number)).await;
        self.clean_up(ended.is_err(), number).await;
        Ok(ended?)
    }

    /// What is disturbed, if there is somebody who disturbs.
    async fn work(&self, number: usize) {
        match self.request {
            Nobody => sleep(self.later(number)).await,
            _ => pending().await,
        }
    }

    async fn clean_up(&self, heard: bool, number: usize) {
        if heard && self.ends == Ends::Apart {
            sleep(self.later(number)).await;
        }
        self.tally.count(heard != (self.request == Nobody));
    }

    fn later(&self, number: usize) -> Duration {
        match self.ends {
            Ends::Together => Duration::ZERO,
            Ends::Apart => Duration::from_micros(1 + number as u64),
        }
    }
}

/// Polls all that are not ready with the waker that it is polled with.
struct Join<F>(Vec<Option<Pin<Box<F>>>>);

impl<F: Future<Output = ()>> Future for Join<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut all = Poll::Ready(());
        for place in &mut self.0 {
            let Some(member) = place else { continue };
            match member.as_mut().poll(cx) {
                Poll::Ready(()) => *place = None,
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    }
}

// ---- A chain -------------------------------------------------------------------

/// Awaits `tasks` tasks that await one another.
fn chain(link: Link, tasks: usize, tally: Tally) -> Boxed {
    let next = move || spawn(tally.clone().polls(chain_link(link, tasks, tally)));
    Box::pin(async { Ok(next().await?) })
}

async fn chain_link(link: Link, tasks: usize, tally: Tally) -> anyhow::Result<()> {
    let _told = tally.clone().told_when_dropped();
    if tasks == 1 {
        return pending().await;
    }
    let next = chain(link, tasks - 1, tally);
    match link {
        Link::Await | Link::Backward => next.await,
        Link::Scope => scope(next).await?,
        Link::CleanUp => {
            let told = scope(next).await;
            sleep(Duration::from_micros(1)).await;
            told?
        }
    }
}

// ---- What happened ---------------------------------------------------------------

#[derive(Clone, Default)]
struct Tally(Rc<Tallied>);

#[derive(Default)]
struct Tallied {
    told: Cell<u64>,
    polls: Cell<u64>,
}

impl Tally {
    fn told(&self) -> u64 {
        self.0.told.get()
    }

    fn count(&self, told: bool) {
        self.0.told.set(self.told() + u64::from(told));
    }

    fn told_when_dropped(self) -> impl Drop {
        struct WhenDropped(Tally);

        impl Drop for WhenDropped {
            fn drop(&mut self) {
                self.0.count(true);
            }
        }
        WhenDropped(self)
    }

    /// Waits for ever, and when dropped has been told.
    async fn wait(self) -> anyhow::Result<()> {
        let _told = self.told_when_dropped();
        pending().await
    }

    /// Is `f`, and counts its polls.
    async fn polls<F: Future>(self, f: F) -> F::Output {
        let mut f = pin!(f);
        poll_fn(|cx| {
            self.0.polls.set(self.0.polls.get() + 1);
            f.as_mut().poll(cx)
        })
        .await
    }
}
