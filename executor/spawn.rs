//! Spawning: how a future becomes a task.
//!
//! A task is not polled inside `spawn`; it gets a place in the queue. When the
//! executor does not take it (closed, or full), `try_spawn` gives the future
//! back, and `spawn` answers with a task that is cancelled already, so that a
//! destructor may spawn without asking first whether it still can.

use crate::current::{state_for, with_state};
use crate::handle::Task;
use crate::header::{Header, Queued};
use crate::id::TaskId;
use crate::inbox::{Address, Closed, Errand};
use crate::outcome::{Cancelled, Panicked, catch};
use crate::report::{Report, ReportKind};
use crate::request::{Origin, Why};
use crate::stage::Parcel;
use crate::state::{Phase, State};
use crate::task::{Body, Fallible, Infallible, TaskCell};
use crate::task_ref::TaskRef;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;

/// Spawns a task on the executor whose turn it is.
///
/// # Panics
///
/// If called outside a turn.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// executor.block_on(async {
///     let task = hearken::spawn(async { Ok(6 * 7) });
///     assert_eq!(task.await?, 42);
///     Ok(())
/// })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[track_caller]
#[inline]
#[doc(alias = "create_task")]
pub fn spawn<T: 'static>(f: impl Future<Output = anyhow::Result<T>> + 'static) -> Task<T> {
    spawn_here::<_, Fallible>("spawn", &mut Parcel::Packed(f))
}

/// Spawns a task whose output is its value: it can fail only by a panic.
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
#[inline] // into the loop that spawns: of a short task it is a twentieth
pub fn spawn_infallible<T: 'static>(f: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_here::<_, Infallible>("spawn_infallible", &mut Parcel::Packed(f))
}

/// Spawns a task, or gives the future back.
///
/// # Errors
///
/// If the executor is shut down, or has as many tasks as it may.
///
/// # Panics
///
/// If called outside a turn.
#[track_caller]
pub fn try_spawn<T: 'static, F>(f: F) -> Result<Task<T>, SpawnError<F>>
where
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    try_spawn_on::<_, Fallible>(&state_for("try_spawn"), f, Location::caller())
}

/// The task that is being polled.
///
/// # Panics
///
/// If called outside a task: outside a turn, or in a handler or callback.
#[track_caller]
pub fn current() -> TaskRef {
    let state = state_for("current");
    let task = state.running.get().and_then(|id| state.task(id));
    let task = task.expect("hearken::current was called in a turn, but not in a task");
    TaskRef::new(task, state)
}

/// Where a task was spawned: kept in its header, shown in reports.
type Place = &'static Location<'static>;

/// Spawns on the executor whose turn it is.
#[inline]
#[track_caller]
fn spawn_here<F, B>(function: &str, future: &mut Parcel<F>) -> Task<B::Value>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    let place = Location::caller();
    match with_state(function, |home| begin::<F, B>(home, future, place)) {
        Ok(task) => task,
        Err(kind) => refuse::<F, B>(&state_for(function), future, kind, place),
    }
}

#[inline]
pub(crate) fn spawn_on<F, B>(
    home: &Rc<State>,
    future: &mut Parcel<F>,
    place: Place,
) -> Task<B::Value>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    match begin::<F, B>(home, future, place) {
        Ok(task) => task,
        Err(kind) => refuse::<F, B>(home, future, kind, place),
    }
}

#[inline]
pub(crate) fn try_spawn_on<F, B>(
    home: &Rc<State>,
    future: F,
    place: Place,
) -> Result<Task<B::Value>, SpawnError<F>>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    let mut future = Parcel::Packed(future);
    let kind = match begin::<F, B>(home, &mut future, place) {
        Ok(task) => return Ok(task),
        Err(kind) => kind,
    };
    let Parcel::Packed(future) = future else { unreachable!("only a task that began has it") };
    Err(SpawnError { future, kind })
}

/// A new task: makes it, and gives it its future and a place in the queue.
#[inline]
fn begin<F, B>(
    home: &Rc<State>,
    future: &mut Parcel<F>,
    place: Place,
) -> Result<Task<B::Value>, SpawnErrorKind>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    if home.phase.get() != Phase::Open && !home.lets_in() {
        return Err(SpawnErrorKind::Closed);
    }
    let cell = home.enroll(|id| {
        let header = Header::new(id, place, home.running.get());
        let cell = TaskCell::<F, B>::make(&home.pool, || (header, home.clone()));
        cell.begin(future);
        (cell.clone().into_task(), cell)
    });
    let Some(cell) = cell else {
        home.count_refused();
        return Err(SpawnErrorKind::Full);
    };
    Ok(Task::new(cell.into_join()))
}

/// As [`refuse`], for one that was given back.
#[cold]
pub(crate) fn refused<F, B>(
    home: &Rc<State>,
    SpawnError { future, kind }: SpawnError<F>,
    place: Place,
) -> Task<B::Value>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    refuse::<F, B>(home, &mut Parcel::Packed(future), kind, place)
}

/// A task that never was one. Its future is dropped.
#[cold]
fn refuse<F, B>(
    home: &Rc<State>,
    future: &mut Parcel<F>,
    kind: SpawnErrorKind,
    place: Place,
) -> Task<B::Value>
where
    F: Future + 'static,
    B: Body<F> + 'static,
{
    // It is foreign, and may panic; and this may be a destructor.
    let dropped = catch(|| *future = Parcel::Unpacked);
    let cell = TaskCell::<F, B>::make(&home.pool, || {
        let header = Header::new(TaskId::NOBODY, place, home.running.get());
        header.queued.set(Queued::No); // nor will it ever be
        (header, home.clone())
    });
    cell.refuse(report_refused(home, cell.header(), kind, dropped));
    Task::new(cell.into_join())
}

/// Answers why the task is cancelled.
#[cold]
fn report_refused(
    home: &State,
    header: &Header,
    kind: SpawnErrorKind,
    dropped: Result<(), Panicked>,
) -> Cancelled {
    if let Err(panicked) = dropped {
        let message = "a refused future panicked while it was dropped";
        home.report(Report::make(ReportKind::PanickedInDrop, message).with_panic(panicked));
    }
    let why = match kind {
        SpawnErrorKind::Closed => Why::of(Origin::ShutDown, "the executor is shut down"),
        SpawnErrorKind::Full => {
            let report =
                Report::make(ReportKind::Refused, "a task was refused: too many are alive");
            home.report(report.about(home.info(header)));
            Why::of(Origin::Requested, "too many tasks are alive")
        }
        SpawnErrorKind::GroupEnded => {
            Why::of(Origin::Group, "the group is being aborted or has ended")
        }
    };
    Cancelled::new(why, header.id, home.identity)
}

/// The executor did not take the future: here it is again.
pub struct SpawnError<F> {
    pub(crate) future: F,
    pub(crate) kind: SpawnErrorKind,
}

/// Why an executor does not take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnErrorKind {
    /// The executor is shut down.
    Closed,
    /// The executor has as many tasks as it may:
    /// [`Builder::max_tasks`](crate::Builder::max_tasks).
    Full,
    /// The group is being aborted or has ended: [`group`](crate::group()).
    GroupEnded,
}

impl<F> SpawnError<F> {
    /// The future.
    pub fn into_future(self) -> F {
        self.future
    }

    /// Why it was not taken.
    pub fn kind(&self) -> SpawnErrorKind {
        self.kind
    }
}

impl fmt::Display for SpawnErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnErrorKind::Closed => "the executor is shut down",
            SpawnErrorKind::Full => "the executor has as many tasks as it may",
            SpawnErrorKind::GroupEnded => "the group is being aborted or has ended",
        })
    }
}

impl std::error::Error for SpawnErrorKind {}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.kind).finish()
    }
}

impl<F> From<SpawnError<F>> for anyhow::Error {
    fn from(error: SpawnError<F>) -> anyhow::Error {
        anyhow::Error::new(error.kind)
    }
}

// ---- From other threads ------------------------------------------------------

/// Spawns tasks on an executor from any thread.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let spawner = executor.spawner();
/// std::thread::spawn(move || {
///     spawner.spawn_with(|| async { Ok(()) }).expect("the executor is there");
/// })
/// .join()
/// .unwrap();
/// executor.run_until_idle();
/// assert_eq!(executor.ledger().succeeded, 1);
/// ```
#[derive(Clone)]
pub struct Spawner {
    address: Address,
}

impl Spawner {
    pub(crate) fn new(address: Address) -> Spawner {
        Spawner { address }
    }

    /// Spawns the task whose future `f` makes: on the executor's own thread, at
    /// the start of its next turn. The future need not be `Send`.
    ///
    /// If `f` panics, or the task fails, the handler hears of it.
    ///
    /// # Errors
    ///
    /// If the executor is shut down or gone; `f` is dropped then. An executor
    /// that closes before it has looked drops `f` too, on its own thread, and
    /// reports that it was refused.
    #[track_caller]
    pub fn spawn_with<T: 'static, Fut>(
        &self,
        f: impl FnOnce() -> Fut + Send + 'static,
    ) -> Result<(), Closed>
    where
        Fut: Future<Output = anyhow::Result<T>> + 'static,
    {
        let place = Location::caller();
        let spawn = Box::new(move || {
            let home = state_for("spawn_with");
            // Made inside the task, so that a panic is the task's.
            let mut future = Parcel::Packed(async move { f().await });
            spawn_on::<_, Fallible>(&home, &mut future, place).detach();
        });
        self.address.send(Errand::Spawn(spawn))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").field("open", &self.address.is_open()).finish()
    }
}

impl futures_task::Spawn for Spawner {
    #[track_caller]
    fn spawn_obj(
        &self,
        future: futures_task::FutureObj<'static, ()>,
    ) -> Result<(), futures_task::SpawnError> {
        let sent = self.spawn_with(move || async move {
            future.await;
            Ok(())
        });
        sent.map_err(|Closed| futures_task::SpawnError::shutdown())
    }

    fn status(&self) -> Result<(), futures_task::SpawnError> {
        match self.address.is_open() {
            true => Ok(()),
            false => Err(futures_task::SpawnError::shutdown()),
        }
    }
}
