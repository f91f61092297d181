//! A sharded store: an executor on each core, and channels between them.
//!
//! ```text
//! cargo run --release --example per_core -- [THREADS].. [--requests N] [--value BYTES]
//!                                           [--batch N] [--hot PERCENT] [--break CORE]
//! ```
//!
//! An executor is one thread, and a task stays where it was spawned. So more
//! cores means more executors, with the work divided between them beforehand.
//! Here the keys are: each core has its part of them (its shard) in a map of its
//! own, without a lock, and whoever wants a key asks the core that has it. Each
//! core also has clients, as a server's core would have connections. A client
//! makes a batch of requests, sends each core its share in one parcel, serves
//! its own core's share itself, and waits for the answers.
//!
//! The program does the same work on as many threads as it is told (1, and then
//! one for each core, unless told otherwise) and prints requests per second.
//! A value has a checksum, which is made when it is written and looked at when it
//! is read: that is the work of a request. `--value 10` shows what becomes of all
//! this when there is next to none, `--batch 1` what a message between two cores
//! costs, and `--hot 90` what it means that nine of ten requests are for one key.
//!
//! What to look at is what goes where:
//!
//! - `Spawner::spawn_with` sends a core the closure that makes its load; the
//!   future is made over there, and need not be `Send`.
//! - A parcel goes by a channel of async-channel, and comes back by a oneshot with
//!   the answers in it. What a core has allocated it also frees; otherwise the
//!   cores would wait for each other in the allocator.
//! - Nobody says when it is over. A core serves until its channel is closed, and
//!   that is when no load anywhere holds the other end.
//! - Ctrl-C goes to every core. The handler ignores the first and has the
//!   clients stop after their batch; the rest follows by itself.
//!
//! # Invariants
//!
//! - **One owner.** A key is looked at by the core that [`owner`] names, only.
//! - **No circle.** A core that serves waits for nobody but its own channel, so
//!   that full channels cannot wait for each other.
//! - **Nobody waits for the dead.** A core that ends, however it ends, closes its
//!   channel and drops what is in it. Who was to have an answer hears that there
//!   is none.
//! - **Nothing lost.** All that was added is there in the end, and a core that
//!   fails makes the program fail.

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use async_channel::{Receiver, Sender, bounded};
use futures::channel::oneshot;
use hearken::{Executor, Group, ReportKind, Spawner, Verdict};

/// On all cores together; so many batches are under way at a time.
const CLIENTS: usize = 64;

/// Different keys that are asked for.
const KEYS: u64 = 20_000;

/// Parcels that may lie in a core's channel.
const UNDER_WAY: usize = 64;

/// Somebody has interrupted the program: the clients are to stop. For all cores,
/// since a core that is about to start does not hear what the others heard.
static STOP: AtomicBool = AtomicBool::new(false);

const USAGE: &str = "usage: per_core [THREADS].. [--requests N] [--value BYTES] [--batch N] \
    [--hot PERCENT] [--break CORE]";

// ---- The program --------------------------------------------------------------

fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!(
        "{} requests for values of {} bytes, in batches of {}, {} % of them for one key",
        options.requests, options.value, options.batch, options.hot
    );
    println!("threads  requests/s  beside the first");
    let mut first = None;
    for &threads in &options.threads {
        match run(threads, &options) {
            Ok(Run { interrupted: true, requests, .. }) => {
                eprintln!("per_core: interrupted, after {requests} requests");
                return ExitCode::from(130);
            }
            Ok(run) => {
                let rate = run.requests as f64 / run.seconds;
                let first = *first.get_or_insert(rate);
                println!("{threads:>7}  {rate:>10.0}  {:>16.2}", rate / first);
            }
            Err(error) => {
                eprintln!("per_core: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// What the command line asks for.
#[derive(Clone)]
struct Options {
    threads: Vec<usize>,
    /// In all, on however many threads.
    requests: usize,
    /// In bytes.
    value: usize,
    batch: usize,
    /// How many of a hundred requests are for the same key.
    hot: u64,
    /// The core that is to fail half-way.
    broken: Option<usize>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
        let mut options = Options {
            threads: Vec::new(),
            requests: 2_000_000,
            value: 1_000,
            batch: 100,
            hot: 0,
            broken: None,
        };
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next()?.parse().ok();
            match argument.as_str() {
                "--requests" => options.requests = number()?,
                "--value" => options.value = number()?,
                "--batch" => options.batch = number().filter(|&batch| batch > 0)?,
                "--hot" => options.hot = number().filter(|&hot| hot <= 100)? as u64,
                "--break" => options.broken = Some(number()?),
                threads => {
                    options.threads.push(threads.parse().ok().filter(|&threads| threads > 0)?);
                }
            }
        }
        if options.threads.is_empty() {
            options.threads = vec![1, available_parallelism().map_or(2, usize::from)];
            options.threads.dedup();
        }
        Some(options)
    }
}

/// What came of a run.
struct Run {
    requests: u64,
    seconds: f64,
    interrupted: bool,
}

/// Starts the cores, gives each its load, and waits for their ends.
///
/// # Errors
///
/// If a core fails, or if what was added is not what is there in the end. All
/// cores have ended then, too.
fn run(threads: usize, options: &Options) -> anyhow::Result<Run> {
    let (doors, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| bounded(UNDER_WAY)).unzip();
    let start = |(number, inbox)| Core::start(number, Inbox(inbox));
    let cores = inboxes.into_iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
    for (number, core) in cores.iter().enumerate() {
        let place = Place { number, doors: doors.clone() };
        let options = options.clone();
        // That a core is gone already is what its end will say.
        let _ = core.spawner.spawn_with(move || load(place, options));
    }
    drop(doors); // the loads have them now: when they end, all channels are closed

    let ends: Vec<_> = cores.into_iter().map(Core::end).collect();
    let mut books = Vec::new();
    for (number, end) in ends.into_iter().enumerate() {
        match end {
            Ok(book) => books.push(book),
            Err(error) => eprintln!("per_core: core {number} failed: {error:#}"),
        }
    }
    ensure!(books.len() == threads, "{} of {threads} cores failed", threads - books.len());
    audit(&books)
}

/// Adds the cores' books up (Nothing lost).
fn audit(books: &[Book]) -> anyhow::Result<Run> {
    let sum = |entry: fn(&Book) -> u64| books.iter().map(entry).sum::<u64>();
    let (made, served) = (sum(|book| book.made), sum(|book| book.served));
    ensure!(made == served, "{made} requests were made, and {served} served");
    let (added, held) = (sum(|book| book.added), sum(|book| book.held));
    ensure!(added == held, "{added} were added, and {held} are there");
    let began = books.iter().filter_map(|book| book.began).min();
    let ended = books.iter().filter_map(|book| book.ended).max();
    let (began, ended) = began.zip(ended).context("no core had a load")?;
    Ok(Run {
        requests: served,
        seconds: (ended - began).as_secs_f64(),
        interrupted: STOP.load(Ordering::Relaxed),
    })
}

// ---- A core: a thread, an executor, a shard -------------------------------------

struct Core {
    spawner: Spawner,
    thread: JoinHandle<anyhow::Result<Book>>,
}

impl Core {
    fn start(number: usize, inbox: Inbox) -> anyhow::Result<Core> {
        let (hello, started) = std::sync::mpsc::sync_channel(1);
        let name = format!("core {number}");
        let thread = thread::Builder::new().name(name).spawn(move || {
            let executor = executor();
            #[cfg(all(unix, feature = "signal"))]
            let _ctrl_c = hearken::ctrl_c(&executor.interrupter())?;
            hello.send(executor.spawner())?;
            let served = executor.block_on(serve(inbox));
            executor.shut_down(); // the load, if it was the inbox that ended first
            ensure!(executor.ledger().balances(), "the ledger: {}", executor.ledger());
            served?;
            Ok(SHARD.take().close())
        })?;
        match started.recv() {
            Ok(spawner) => Ok(Core { spawner, thread }),
            Err(_) => Err(joined(thread).err().unwrap_or_else(|| anyhow!("it said nothing"))),
        }
    }

    /// Waits for its end.
    fn end(self) -> anyhow::Result<Book> {
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<anyhow::Result<Book>>) -> anyhow::Result<Book> {
    thread.join().unwrap_or_else(|_| bail!("its thread panicked"))
}

/// What goes wrong on a core ends it. The first interrupt does not: after it the
/// clients stop by themselves.
fn executor() -> Executor {
    let executor = Executor::builder().handler(|report| match report.kind() {
        ReportKind::Cancelled => Verdict::Proceed, // by what was reported itself
        ReportKind::Interrupted => {
            STOP.store(true, Ordering::Relaxed);
            match SHARD.with_borrow_mut(|shard| mem::replace(&mut shard.interrupted, true)) {
                false => Verdict::Ignore,
                true => Verdict::Proceed,
            }
        }
        _ => {
            eprintln!("{report}");
            Verdict::ShutDown
        }
    });
    executor.build()
}

/// The main task of a core: answers the other cores, until none can ask.
async fn serve(inbox: Inbox) -> anyhow::Result<()> {
    while let Ok(Parcel { mut requests, back }) = inbox.0.recv().await {
        SHARD.with_borrow_mut(|shard| shard.serve(&mut requests))?;
        // Who has asked may have been cancelled meanwhile.
        let _ = back.send(requests);
        // There may be more, and the clients here want their turn too.
        hearken::yield_now().await;
    }
    Ok(())
}

/// Where the other cores' parcels arrive.
struct Inbox(Receiver<Parcel>);

/// A channel keeps what is in it for as long as somebody could send; so its
/// parcels, and the oneshots in them, would outlive the core that was to open
/// them (Nobody waits for the dead).
impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

/// What one client asks one core for, in one message.
struct Parcel {
    requests: Vec<Request>,
    back: oneshot::Sender<Vec<Request>>,
}

struct Request {
    key: String,
    wish: Wish,
    /// The count of the key, when it has been served.
    count: Option<u64>,
}

#[derive(Clone, Copy)]
enum Wish {
    /// Read it.
    Get,
    /// Add so much to its count, and write a value of so many bytes.
    Add { count: u64, bytes: usize },
}

/// Which core has the key.
fn owner(key: &str, cores: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() as usize % cores
}

thread_local! {
    /// The shard of this core. What is in a thread-local needs no lock; and no
    /// borrow of it is held across an `await`.
    static SHARD: RefCell<Shard> = RefCell::default();
}

#[derive(Default)]
struct Shard {
    entries: HashMap<String, Entry>,
    book: Book,
    /// Whether this core has heard of an interrupt.
    interrupted: bool,
}

#[derive(Default)]
struct Entry {
    count: u64,
    value: Vec<u8>,
    checksum: u64,
}

/// After FNV-1a (Fowler, Noll, Vo 1991), about a nanosecond a byte; of nothing it
/// is 0.
fn checksum(value: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    value.iter().fold(0, step)
}

/// What a core has done.
#[derive(Default)]
struct Book {
    /// Requests made by its clients.
    made: u64,
    /// What its clients wanted added.
    added: u64,
    /// Requests served by its shard.
    served: u64,
    /// What the shard's counts come to.
    held: u64,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Shard {
    /// # Errors
    ///
    /// If a value is not what was written.
    fn serve(&mut self, requests: &mut [Request]) -> anyhow::Result<()> {
        self.book.served += requests.len() as u64;
        for Request { key, wish, count } in requests {
            // Most of them are there. It is copied only when it is not, because
            // the request goes back whole.
            let entry = match self.entries.get_mut(key) {
                Some(entry) => entry,
                None => self.entries.entry(key.clone()).or_default(),
            };
            match *wish {
                Wish::Get => {
                    ensure!(checksum(&entry.value) == entry.checksum, "{key} is damaged");
                }
                Wish::Add { count, bytes } => {
                    entry.count += count;
                    entry.value.clear();
                    entry.value.resize(bytes, entry.count as u8);
                    entry.checksum = checksum(&entry.value);
                }
            }
            *count = Some(entry.count);
        }
        Ok(())
    }

    /// Counts what is there.
    fn close(self) -> Book {
        Book { held: self.entries.values().map(|entry| entry.count).sum(), ..self.book }
    }
}

// ---- The clients ------------------------------------------------------------------

/// Where a client is, and how it reaches the others.
#[derive(Clone)]
struct Place {
    number: usize,
    doors: Vec<Sender<Parcel>>,
}

/// This core's part of the clients. Its failure is nobody's but the handler's.
async fn load(place: Place, options: Options) -> anyhow::Result<()> {
    let cores = place.doors.len();
    let batches = options.requests.div_ceil(options.batch);
    SHARD.with_borrow_mut(|shard| shard.book.began = Some(Instant::now()));
    hearken::group(async |group: Group| {
        for number in (place.number..CLIENTS).step_by(cores) {
            let batches = share(batches, number, CLIENTS);
            group.spawn(client(number, batches, place.clone(), options.clone())).detach();
        }
        if options.broken == Some(place.number) {
            let half = (options.requests / cores / 2) as u64;
            while SHARD.with_borrow(|shard| shard.book.made < half) {
                hearken::yield_now().await;
            }
            bail!("it was told to");
        }
        Ok(())
    })
    .await?;
    SHARD.with_borrow_mut(|shard| shard.book.ended = Some(Instant::now()));
    Ok(())
}

/// How many of `all` fall to this one of so many.
fn share(all: usize, number: usize, of: usize) -> usize {
    all / of + usize::from(number < all % of)
}

/// Asks for batch after batch.
///
/// # Errors
///
/// If a core that it asks is gone.
async fn client(
    number: usize,
    batches: usize,
    place: Place,
    options: Options,
) -> anyhow::Result<()> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(1 + number as u64));
    for _ in 0..batches {
        let mut parts: Vec<_> = place.doors.iter().map(|_| Vec::new()).collect();
        let mut added = 0;
        for _ in 0..options.batch {
            let request = dice.request(&options);
            if let Wish::Add { count, .. } = request.wish {
                added += count;
            }
            let owner = owner(&request.key, parts.len());
            parts[owner].push(request);
        }
        let mut own = mem::take(&mut parts[place.number]);

        // The others first, so that they work while we do.
        let mut sent = Vec::new();
        for (core, requests) in parts.into_iter().enumerate() {
            if !requests.is_empty() {
                let (back, answer) = oneshot::channel();
                let parcel = Parcel { requests, back };
                let taken = place.doors[core].send(parcel).await;
                taken.map_err(|_| anyhow!("core {core} is gone"))?;
                sent.push((core, answer));
            }
        }
        SHARD.with_borrow_mut(|shard| shard.serve(&mut own))?;
        for (core, answer) in sent {
            let answer = answer.await.with_context(|| format!("core {core} is gone"))?;
            let all = answer.iter().all(|request| request.count.is_some());
            ensure!(all, "core {core} did not serve all");
        }

        SHARD.with_borrow_mut(|Shard { book, .. }| {
            book.made += options.batch as u64;
            book.added += added;
        });
        if STOP.load(Ordering::Relaxed) {
            break;
        }
        // If it was all for this core, then nothing above has suspended.
        hearken::yield_now().await;
    }
    Ok(())
}

/// What clients ask for (xorshift, Marsaglia 2003). The same for each number of
/// threads, since a client throws its own.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16 // the low bits are the poorer ones
    }

    /// One in ten adds something.
    fn request(&mut self, options: &Options) -> Request {
        let number = if self.throw() % 100 < options.hot { 0 } else { self.throw() % KEYS };
        let wish = match self.throw() % 10 {
            0 => Wish::Add { count: 1 + self.throw() % 9, bytes: options.value },
            _ => Wish::Get,
        };
        Request { key: format!("user:{number}"), wish, count: None }
    }
}
