//! Ctrl-C and its like, for whoever asks for it.
//!
//! A signal handler may do next to nothing: no lock, no allocation, so it
//! cannot unpark an executor. It writes a byte into a pipe. A thread that reads
//! the pipe does the rest, and that thread lives only as long as somebody
//! listens.
//!
//! Only a signal that would have ended the process is taken over. A host with a
//! handler of its own keeps it, and a process that ignores Ctrl-C (under
//! `nohup`, say) goes on ignoring it.
//!
//! This is for Unix. Elsewhere `run` leaves Ctrl-C as it is, and a program that
//! wants to be interrupted tells an [`Interrupter`] from a handler of its own.
//!
//! # Invariants
//!
//! - **As it was before.** When nobody listens any more, the disposition is what
//!   it was, unless somebody else has changed it meanwhile.
//! - **Whose signal.** What belongs to a thread that reads is no use to a child
//!   that was forked: the thread is not there, and the pipe is its parent's. There
//!   a signal does what it does by default, until the child listens itself.
//! - **Who insists gets out.** An executor that is stuck in a poll takes in
//!   nothing. A signal that finds two before it not taken in, and the first of
//!   them a tenth of a second old, ends the process as if nobody listened.

use crate::interrupt::Interrupter;
use std::fmt;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Interrupts the executor of `interrupter` at each Ctrl-C, until what this
/// returns is dropped.
///
/// [`run`](crate::run()) does this by itself. Several executors may listen;
/// each is interrupted. If the process has a handler for Ctrl-C of its own, or
/// ignores it, this changes nothing: see [`Listening::is_listening`].
///
/// Starts one thread for the process, and ends it when the last is dropped.
///
/// A child that the process forks does not listen: Ctrl-C ends it, until it calls
/// this itself.
///
/// # Errors
///
/// If there is no pipe or no thread to be had.
///
/// # Examples
///
/// ```
/// let executor = hearken::Executor::new();
/// let ctrl_c = hearken::ctrl_c(&executor.interrupter())?;
/// // … executor.block_on(…)
/// drop(ctrl_c);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ctrl_c(interrupter: &Interrupter) -> io::Result<Listening> {
    listen_for(&[Signal::CtrlC], interrupter)
}

/// As [`ctrl_c`], for these signals.
///
/// # Errors
///
/// If there is no pipe or no thread to be had.
///
/// # Examples
///
/// A service that ends in an orderly way also when it is asked by its manager:
///
/// ```
/// use hearken::Signal;
///
/// let executor = hearken::Executor::new();
/// let signals = [Signal::CtrlC, Signal::Terminate];
/// let listening = hearken::listen_for(&signals, &executor.interrupter())?;
/// // … executor.block_on(…)
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn listen_for(signals: &[Signal], interrupter: &Interrupter) -> io::Result<Listening> {
    let mut ears = lock();
    if ears.pipe.is_none() {
        ears.pipe = Some(Pipe::open()?);
    }
    let mut heard = Vec::new();
    for &signal in signals {
        match ears.listen_to(signal) {
            Ok(true) => heard.push(signal),
            Ok(false) => {}
            Err(error) => {
                let pipe = ears.forget_unneeded(|_| true);
                drop(ears);
                close(pipe);
                return Err(error);
            }
        }
    }
    ears.ever += 1;
    let number = ears.ever;
    let is_listening = !heard.is_empty();
    let interrupter = interrupter.clone();
    ears.listeners.push(Listener { number, signals: heard, interrupter, missed: false });
    Ok(Listening { number, is_listening })
}

/// A signal that can be listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// Ctrl-C: `SIGINT`.
    CtrlC,
    /// The wish of a service manager: `SIGTERM`.
    Terminate,
}

impl Signal {
    const ALL: [Signal; 2] = [Signal::CtrlC, Signal::Terminate];

    fn number(self) -> libc::c_int {
        match self {
            Signal::CtrlC => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
        }
    }
}

/// Listens for signals until it is dropped: [`ctrl_c`], [`listen_for`].
#[must_use = "signals are listened for until this is dropped"]
pub struct Listening {
    number: u64,
    is_listening: bool,
}

impl Listening {
    /// Whether at least one of the signals interrupts the executor. False if
    /// the process had handlers of its own for them, or ignored them.
    pub fn is_listening(&self) -> bool {
        self.is_listening
    }

    /// Listens no more. Answers whether a signal came when the executor took no
    /// interrupts any more, and was taken over all the same.
    pub(crate) fn end(self) -> bool {
        let missed = self.leave();
        std::mem::forget(self); // there is nothing else to it
        missed
    }

    fn leave(&self) -> bool {
        let mut ears = lock();
        let pipe = ears.forget_unneeded(|listener| listener.number != self.number);
        drop(ears); // the thread may be waiting for this lock
        close(pipe); // and who leaves is told of what lies in there
        let mut ears = lock();
        let at = ears.listeners.iter().position(|listener| listener.number == self.number);
        at.is_some_and(|at| ears.listeners.remove(at).missed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("is_listening", &self.is_listening).finish()
    }
}

// ---- Who listens ---------------------------------------------------------------

struct Ears {
    listeners: Vec<Listener>,
    ever: u64,
    /// Of each signal that our handler is in force for: what was before.
    before: [Option<libc::sigaction>; Signal::ALL.len()],
    pipe: Option<Pipe>,
}

struct Listener {
    number: u64,
    signals: Vec<Signal>,
    interrupter: Interrupter,
    /// Whether a signal came that the executor did not take any more.
    missed: bool,
}

static EARS: Mutex<Ears> = Mutex::new(Ears {
    listeners: Vec::new(),
    ever: 0,
    before: [None; Signal::ALL.len()],
    pipe: None,
});

fn lock() -> MutexGuard<'static, Ears> {
    let mut ears = EARS.lock().unwrap_or_else(PoisonError::into_inner);
    ears.forget_the_parents();
    ears
}

impl Ears {
    /// Puts our handler into force. False if that would change more than what
    /// the signal does by default.
    fn listen_to(&mut self, signal: Signal) -> io::Result<bool> {
        if self.before[signal as usize].is_some() {
            return Ok(true);
        }
        if disposition(signal, None)?.sa_sigaction != libc::SIG_DFL {
            return Ok(false);
        }
        self.before[signal as usize] = Some(disposition(signal, Some(&ours()))?);
        Ok(true)
    }

    /// Puts back what was before for signals that none of those who stay listens
    /// for. If none stays, the pipe is to be closed.
    #[must_use]
    fn forget_unneeded(&mut self, stays: impl Fn(&Listener) -> bool) -> Option<Pipe> {
        let staying = || self.listeners.iter().filter(|listener| stays(listener));
        for signal in Signal::ALL {
            let needed = staying().any(|listener| listener.signals.contains(&signal));
            let before = self.before[signal as usize].take_if(|_| !needed);
            // Not if somebody else has put in a handler since.
            let now = disposition(signal, None).map(|now| now.sa_sigaction);
            if before.is_some() && now.is_ok_and(|now| now == ours().sa_sigaction) {
                // It cannot fail: the signal exists, and the structure is valid.
                let _ours = disposition(signal, before.as_ref());
            }
        }
        if staying().next().is_some() {
            return None;
        }
        // The handler is out of force; whoever is still in it is soon done.
        while IN_HANDLER.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        PIPE.store(-1, Ordering::SeqCst);
        self.pipe.take()
    }

    /// In a child that was forked: nobody listens here (Whose signal).
    fn forget_the_parents(&mut self) {
        let process = std::process::id();
        let Some(pipe) = self.pipe.take_if(|pipe| pipe.process != process) else { return };
        self.listeners.clear();
        IN_HANDLER.store(0, Ordering::SeqCst); // by threads that are not here
        let _none = self.forget_unneeded(|_| true);
        // Not to be joined, nor detached: it has no thread. The pipe is closed here,
        // which its reader in the parent does not notice.
        std::mem::forget(pipe.thread);
    }
}

/// What says to the thread that nothing comes any more. Not the end of the pipe:
/// that does not come while a forked child has the other end open as well.
const END: u8 = 0;

/// Reads the pipe until it is told that nothing comes any more.
fn listen(mut pipe: PipeReader) {
    let mut presses = [0; 16];
    loop {
        let count = match pipe.read(&mut presses) {
            Ok(count @ 1..) => count,
            // A signal of the host's has been handled on this thread.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
        };
        for &press in &presses[..count] {
            if press == END {
                return;
            }
            let signal = Signal::ALL.into_iter().find(|signal| signal.number() == press.into());
            let ears = lock();
            let wants =
                |listener: &&Listener| signal.is_some_and(|it| listener.signals.contains(&it));
            let told = ears.listeners.iter().filter(wants);
            let told = told.map(|listener| (listener.number, listener.interrupter.clone()));
            let told: Vec<(u64, Interrupter)> = told.collect();
            drop(ears); // to interrupt calls `on_wake`, which is foreign
            for (number, interrupter) in told {
                // Done by the executor when it takes the interrupt in. Sent first:
                // behind it, it could come a turn late, and two more signals in
                // between would count as not taken in.
                interrupter.when_taken_in(all_heard);
                if interrupter.try_interrupt().is_err() {
                    let mut ears = lock();
                    let mut listeners = ears.listeners.iter_mut();
                    if let Some(it) = listeners.find(|listener| listener.number == number) {
                        it.missed = true;
                    }
                }
            }
        }
    }
}

// ---- The handler ------------------------------------------------------------------

/// Where the handler writes.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// In which process: a forked child has the handler too.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// How many signals have come since an executor last took one in.
static UNHEARD: AtomicU32 = AtomicU32::new(0);
/// When the first of these came, by `milliseconds`; zero if there is none.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// How many threads are in the handler.
static IN_HANDLER: AtomicU32 = AtomicU32::new(0);

/// How many may be unheard, and for how many milliseconds, before the signal
/// means what it means elsewhere. A loop that is not stuck turns more often.
const PATIENCE: (u32, u64) = (2, 100);

/// So many are written to the pipe while nobody hears, so that it is never full.
const MOST_WRITTEN: u32 = 1000;

/// An executor has taken a signal in.
fn all_heard() {
    SINCE.store(0, Ordering::SeqCst);
    UNHEARD.store(0, Ordering::SeqCst);
}

/// Whether it is time to give up on the executors, when so many signals before
/// this one are unheard, the first of them for so many milliseconds.
fn is_insisting(unheard: u32, milliseconds: u64) -> bool {
    unheard >= PATIENCE.0 && milliseconds >= PATIENCE.1
}

#[allow(unsafe_code)]
extern "C" fn on_signal(signal: libc::c_int) {
    if std::process::id() != PROCESS.load(Ordering::SeqCst) {
        return as_by_default(signal); // before it counts: memory may be the parent's
    }
    IN_HANDLER.fetch_add(1, Ordering::SeqCst);
    let unheard = UNHEARD.fetch_add(1, Ordering::SeqCst);
    let now = milliseconds();
    let first = SINCE.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    let waited = now.saturating_sub(first.unwrap_or_else(|before| before));
    // SAFETY: `write` may be called in a signal handler. The descriptor is open: it is closed only after the handler is out of
    // force and nobody is in it. `errno` is put back, since the handler may
    // have come between a failed call and the reading of its reason.
    unsafe {
        let errno = *errno();
        if is_insisting(unheard, waited) {
            as_by_default(signal);
        } else if unheard < MOST_WRITTEN {
            let press = [signal as u8]; // no signal is `END`
            let _gone_is_fine = libc::write(PIPE.load(Ordering::SeqCst), press.as_ptr().cast(), 1);
        }
        *self::errno() = errno;
    }
    IN_HANDLER.fetch_sub(1, Ordering::SeqCst);
}

/// Lets a signal do what it does by default, when its handler has returned.
#[allow(unsafe_code)]
fn as_by_default(signal: libc::c_int) {
    // SAFETY: both may be called in a signal handler, and take plain numbers.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Of the machine's monotonic clock, and never zero.
#[allow(unsafe_code)]
fn milliseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `now` or fails, and may be called in a signal handler.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).saturating_mul(1000) + now.tv_nsec as u64 / 1_000_000 + 1
}

#[allow(unsafe_code)]
fn errno() -> *mut libc::c_int {
    // SAFETY: it has no preconditions; the location is this thread's own.
    unsafe {
        #[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "redox"))]
        return libc::__errno_location();
        #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
        return libc::__errno();
        #[cfg(any(target_os = "solaris", target_os = "illumos"))]
        return libc::___errno();
        #[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
        return libc::__error();
    }
}

/// What the handler writes to, and the thread that reads it.
struct Pipe {
    writer: PipeWriter,
    thread: JoinHandle<()>,
    /// Whose they are.
    process: u32,
}

impl Pipe {
    fn open() -> io::Result<Pipe> {
        let (reader, writer) = io::pipe()?;
        never_wait_for(&writer)?;
        let thread = std::thread::Builder::new().name("hearken-signals".into());
        let thread = thread.spawn(|| listen(reader))?;
        all_heard();
        let process = std::process::id();
        PROCESS.store(process, Ordering::SeqCst);
        PIPE.store(writer.as_raw_fd(), Ordering::SeqCst);
        Ok(Pipe { writer, thread, process })
    }
}

/// Makes a write into a full pipe fail. The handler must not wait for the thread
/// that reads, which may be in a hook of the host's, and that may wait for the
/// thread that the handler has come upon.
#[allow(unsafe_code)]
fn never_wait_for(writer: &PipeWriter) -> io::Result<()> {
    let pipe = writer.as_raw_fd();
    // SAFETY: the descriptor is open, and the calls take and give plain numbers.
    let answer = unsafe {
        match libc::fcntl(pipe, libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(pipe, libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes a pipe that the handler does not know any more, when what lies in it has
/// been told.
fn close(pipe: Option<Pipe>) {
    let Some(Pipe { mut writer, thread, .. }) = pipe else { return };
    while writer.write_all(&[END]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        std::thread::yield_now(); // it is full, and being read
    }
    // A hook may stop listening, and hooks are called by that very thread.
    if thread.thread().id() != std::thread::current().id() {
        let _it_does_not_panic = thread.join();
    }
}

#[allow(unsafe_code)]
fn ours() -> libc::sigaction {
    // SAFETY: all zeroes is a `sigaction` like any other.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = on_signal as *const () as usize;
    // On the stack for signals where a thread has one: those of other languages'
    // threads may be small, and some runtimes insist on it.
    ours.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    ours
}

/// What a signal does; and from now on, if `next` is given.
#[allow(unsafe_code)]
fn disposition(signal: Signal, next: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: all zeroes is a `sigaction` like any other; `next` is valid or
    // null, and what it installs is async-signal-safe (`on_signal`) or was in
    // force before.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        let next = next.map_or(std::ptr::null(), std::ptr::from_ref);
        match libc::sigaction(signal.number(), next, &mut before) {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // promise 6.7, 6.2: three presses at once are three stages, and no end by force.
    #[test]
    fn who_insists_has_waited_and_pressed_three_times() {
        for (unheard, milliseconds, insists) in
            [(0, 0, false), (1, 60_000, false), (2, 99, false), (2, 100, true), (900, 3, false)]
        {
            assert_eq!(is_insisting(unheard, milliseconds), insists, "{unheard}, {milliseconds}");
        }
    }
}
