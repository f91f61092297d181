//! Ctrl-C, for whoever asks for it.
//!
//! A signal handler may do next to nothing: no lock, no allocation, so it
//! cannot unpark an executor. It writes a byte into a pipe. A thread that reads
//! the pipe does the rest, and that thread lives only as long as somebody
//! listens.
//!
//! Only Ctrl-C that would have ended the process is taken over. A host with a
//! handler of its own keeps it, and a process that ignores Ctrl-C (under
//! `nohup`, say) goes on ignoring it.
//!
//! # Invariants
//!
//! - **As it was before.** When nobody listens any more, the disposition is what
//!   it was, unless somebody else has changed it meanwhile.
//! - **Who insists gets out.** An executor that is stuck in a poll takes in
//!   nothing. The third Ctrl-C that finds the two before it not taken in ends
//!   the process as if nobody listened.

use crate::interrupt::Interrupter;
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Interrupts the executor of `interrupter` at each Ctrl-C, until what this
/// returns is dropped.
///
/// [`run`](crate::run()) does this by itself. Several executors may listen;
/// each is interrupted. If the process has a handler for Ctrl-C of its own, or
/// ignores it, this changes nothing: see [`CtrlC::is_listening`].
///
/// Starts one thread for the process, and ends it when the last is dropped.
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
pub fn ctrl_c(interrupter: &Interrupter) -> io::Result<CtrlC> {
    let mut listening = lock();
    if listening.listeners.is_empty() {
        listening.ear = Ear::open()?;
    }
    if listening.ear.is_none() {
        return Ok(CtrlC { number: None });
    }
    listening.ever += 1;
    let number = listening.ever;
    listening.listeners.push((number, interrupter.clone()));
    Ok(CtrlC { number: Some(number) })
}

/// Listens for Ctrl-C until it is dropped: [`ctrl_c`].
#[must_use = "Ctrl-C is listened for until this is dropped"]
pub struct CtrlC {
    number: Option<u64>,
}

impl CtrlC {
    /// Whether Ctrl-C interrupts the executor. False if the process had a
    /// handler of its own, or ignored it.
    pub fn is_listening(&self) -> bool {
        self.number.is_some()
    }
}

impl Drop for CtrlC {
    fn drop(&mut self) {
        let mut listening = lock();
        listening.listeners.retain(|(number, _)| Some(*number) != self.number);
        let ear = if listening.listeners.is_empty() { listening.ear.take() } else { None };
        // The thread may be waiting for this lock.
        drop(listening);
        if let Some(ear) = ear {
            ear.close();
        }
    }
}

impl fmt::Debug for CtrlC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CtrlC").field("is_listening", &self.is_listening()).finish()
    }
}

// ---- Who listens ---------------------------------------------------------------

struct Listening {
    listeners: Vec<(u64, Interrupter)>,
    ever: u64,
    ear: Option<Ear>,
}

static LISTENING: Mutex<Listening> =
    Mutex::new(Listening { listeners: Vec::new(), ever: 0, ear: None });

fn lock() -> MutexGuard<'static, Listening> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the pipe until its other end is closed.
fn listen(mut pipe: PipeReader) {
    let mut presses = [0; 16];
    while let Ok(count @ 1..) = pipe.read(&mut presses) {
        let listeners = lock().listeners.clone();
        for (_, interrupter) in &listeners {
            for _ in 0..count {
                interrupter.interrupt();
            }
            // Done by the executor when it takes the interrupts in.
            interrupter.when_taken_in(|| UNHEARD.store(0, Ordering::SeqCst));
        }
    }
}

// ---- The handler ------------------------------------------------------------------

/// Where the handler writes.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// How often Ctrl-C was pressed since an executor last took it in.
static UNHEARD: AtomicU32 = AtomicU32::new(0);
/// How many threads are in the handler.
static IN_HANDLER: AtomicU32 = AtomicU32::new(0);

/// How many may be unheard before Ctrl-C means what it means elsewhere.
const PATIENCE: u32 = 2;

/// What is there while somebody listens: the handler, the pipe, the thread.
struct Ear {
    before: libc::sigaction,
    pipe: PipeWriter,
    thread: JoinHandle<()>,
}

#[allow(unsafe_code)]
extern "C" fn on_sigint(signal: libc::c_int) {
    IN_HANDLER.fetch_add(1, Ordering::SeqCst);
    // SAFETY: `write`, `signal` and `raise` may be called in a signal handler.
    // The descriptor is open: it is closed only after the handler is out of
    // force and nobody is in it. `errno` is put back, since the handler may
    // have come between a failed call and the reading of its reason.
    unsafe {
        let errno = *errno();
        if UNHEARD.fetch_add(1, Ordering::SeqCst) >= PATIENCE {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        } else {
            let _full_is_fine = libc::write(PIPE.load(Ordering::SeqCst), [0u8].as_ptr().cast(), 1);
        }
        *self::errno() = errno;
    }
    IN_HANDLER.fetch_sub(1, Ordering::SeqCst);
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

#[allow(unsafe_code)]
impl Ear {
    /// Puts the handler into force. None if that would change more than what
    /// Ctrl-C does by default.
    fn open() -> io::Result<Option<Ear>> {
        if disposition(None)?.sa_sigaction != libc::SIG_DFL {
            return Ok(None);
        }
        let (reader, pipe) = io::pipe()?;
        PIPE.store(pipe.as_raw_fd(), Ordering::SeqCst);
        UNHEARD.store(0, Ordering::SeqCst);
        let thread =
            std::thread::Builder::new().name("hearken-ctrl-c".into()).spawn(|| listen(reader))?;
        // SAFETY: all zeroes is a `sigaction` like any other.
        let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
        ours.sa_sigaction = on_sigint as *const () as usize;
        ours.sa_flags = libc::SA_RESTART;
        let before = disposition(Some(&ours))?;
        Ok(Some(Ear { before, pipe, thread }))
    }

    fn close(self) {
        let is_ours = |now: libc::sigaction| now.sa_sigaction == on_sigint as *const () as usize;
        if disposition(None).is_ok_and(is_ours) {
            // It cannot fail: the signal exists, and both structures are valid.
            let _ours = disposition(Some(&self.before));
        }
        while IN_HANDLER.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        PIPE.store(-1, Ordering::SeqCst);
        drop(self.pipe); // which ends the thread
        let _it_does_not_panic = self.thread.join();
    }
}

/// What Ctrl-C does; and from now on, if `next` is given.
#[allow(unsafe_code)]
fn disposition(next: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    // SAFETY: all zeroes is a `sigaction` like any other; `next` is valid or
    // null, and what it installs is async-signal-safe (`on_sigint`) or was in
    // force before.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        let next = next.map_or(std::ptr::null(), std::ptr::from_ref);
        match libc::sigaction(libc::SIGINT, next, &mut before) {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
