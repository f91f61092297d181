//! An HTTP/1.1 file server: hyper on async-io's sockets, on one thread.
//!
//! ```text
//! cargo run --release --example serve -- DIR --port N
//! ```
//!
//! It answers GET and HEAD for what lies below `DIR`, on 127.0.0.1; port 0 takes
//! any that is free. Neither hyper nor async-io knows hearken. hyper wants a
//! future polled, async-io's reactor wants to call a `Waker` from its own thread,
//! and an executor is no more than that.
//!
//! What to look at is how failures travel. A connection is a task, and each of
//! its requests is another one. Three paths are routes, not files:
//!
//! - `/fail` returns an error and `/panic` panics. The client gets a 500, the
//!   server goes on, and standard error names the task, where it was spawned and
//!   what went wrong. Nothing in this file logs: nobody retrieved the outcome, so
//!   hearken reports it.
//! - `/slow` sleeps for an hour and runs into the limit for requests. The client
//!   gets a 503, and nobody else hears of it: the outcome was an answer.
//!
//! Ctrl-C drains it. Nobody new is let in, connections that stand idle are closed,
//! and what has been asked for is answered to its end, for [`DRAIN`] at most. A
//! second Ctrl-C cuts off whoever is left, a third does not even wait for clean-up.
//! Then it prints the ledger, and exits with 130. Nothing here counts: the first is
//! for main alone, which tells the connections and waits for them ([`serve`]); the
//! second, or the end of the grace, is for everybody.
//!
//! It is not for production. Files are read with `std::fs` inside the task, which
//! is simple and holds up everybody else for as long as the disk takes: some
//! microseconds a chunk out of the page cache, milliseconds from a slow disk. The
//! remedy is to read on another thread, with the `blocking` crate for example, and
//! to await that.
//!
//! # Invariants
//!
//! - **Below.** Nothing is read that is not below `DIR` once every link has been
//!   followed. Whoever may change links there while we look may break this.
//! - **Heard.** A failure of ours is reported; a mistake of the client's is
//!   answered, or ends its connection, and is not.
//! - **Patience.** A connection that hands in no whole request and takes no byte
//!   of an answer for [`PATIENCE`] is closed, however busily it trickles.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::iter;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_channel::{Receiver, Sender};
use async_io::Async;
use futures::channel::oneshot;
use futures::stream;
use futures_lite::{AsyncRead, AsyncWrite, future};
use hearken::{Executor, Instant, Report, RunError};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};

/// How long a request may take until its answer begins.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How long what is under way may take when the server is to stop. Longer than
/// [`REQUEST_LIMIT`]: only a client that is slow itself is cut off.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a connection may stand still. Longer than [`REQUEST_LIMIT`], so that
/// it is never cut off while the server is the one to be waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of a file is in memory at a time, in bytes.
const CHUNK: u64 = 64 * 1024;

/// The body of a response: bytes at hand, or a file on its way.
type Content = UnsyncBoxBody<Bytes, io::Error>;

// ---- The program --------------------------------------------------------------

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args_os().skip(1)) else {
        eprintln!("usage: serve DIR --port N");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            eprintln!("serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Options {
    directory: PathBuf,
    port: u16,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Options> {
        let (mut directory, mut port) = (None, None);
        while let Some(argument) = arguments.next() {
            let taken = if argument == "--port" {
                port.replace(arguments.next()?.to_str()?.parse().ok()?).is_some()
            } else if argument.as_encoded_bytes().starts_with(b"-") {
                return None;
            } else {
                directory.replace(PathBuf::from(argument)).is_some()
            };
            if taken {
                return None; // twice is a mistake, not a correction
            }
        }
        Some(Options { directory: directory?, port: port? })
    }
}

/// Serves until Ctrl-C, and says how the tasks ended.
///
/// This is `hearken::run` by hand, for the sake of the ledger: `run` owns its
/// executor, and we want to ask ours something after it has shut down.
///
/// # Errors
///
/// If there is no such directory, or the port is taken.
fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let site = Rc::new(Site::new(&options.directory)?);
    let listener = Async::<TcpListener>::bind((Ipv4Addr::LOCALHOST, options.port))
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    let executor = Executor::builder().grace(Some(DRAIN)).build();
    // Where hearken knows nothing of Ctrl-C, it ends the process as it always did.
    #[cfg(all(unix, feature = "signal"))]
    let _ctrl_c = hearken::ctrl_c(&executor.interrupter())?;
    println!("listening on http://{}", listener.get_ref().local_addr()?);

    let Err(ended) = executor.block_on(serve(listener, site));
    executor.shut_down();
    eprintln!("{}", executor.ledger());

    let exit_code = ExitCode::from(ended.exit_code());
    match ended {
        RunError::Interrupted { .. } => Ok(exit_code),
        other => Err(other.into()),
    }
}

// ---- The tasks: main, one for each connection, one for each request -----------

/// The main task: takes in connections until it is to stop, and sees them out.
///
/// # Cancellation
///
/// The first request closes the port and tells the connections, which answer what
/// they have been asked. It waits for them; a further request drops it.
async fn serve(listener: Async<TcpListener>, site: Rc<Site>) -> anyhow::Result<Infallible> {
    let (stop, stopping) = async_channel::bounded(1);
    let (open, all_closed) = async_channel::bounded(1);
    match hearken::scope(accept(listener, site, Guest { stopping, _open: open })).await {
        Ok(failed) => failed,
        // `accept` has been dropped, and has closed the port by that.
        Err(interrupted) => {
            drop(stop);
            let _closed = all_closed.recv().await;
            interrupted.rethrow().await
        }
    }
}

/// What a connection has from main. Nothing is ever sent through these channels;
/// what matters is when they are closed.
#[derive(Clone)]
struct Guest {
    /// Closed when the server is to stop.
    stopping: Receiver<Infallible>,
    /// Closed when nobody has it any more: so main knows that all have left. No
    /// list is kept, so none grows, and no handle holds a failure back.
    _open: Sender<Infallible>,
}

/// Takes in connections, for ever.
///
/// # Cancellation
///
/// The port is closed, and connections go on.
async fn accept(
    listener: Async<TcpListener>,
    site: Rc<Site>,
    guest: Guest,
) -> anyhow::Result<Infallible> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                hearken::spawn(connection(stream, site.clone(), guest.clone()))
                    .named(format!("connection {peer}"))
                    .detach();
                // `accept` does not suspend while more of them are waiting. A
                // flood is let in one a turn, beside those already inside.
                hearken::yield_now().await;
            }
            Err(error) => {
                // Out of descriptors, as a rule. It passes when somebody leaves;
                // trying again at once would only keep them from leaving.
                let error = anyhow::Error::new(error).context("accepting a connection");
                hearken::report(Report::new(error));
                hearken::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The task of one connection: hyper reads requests from it until it closes, or
/// until the server is to stop and the request that has begun is answered.
///
/// # Cancellation
///
/// The socket is closed, and the request that is being worked on is cancelled.
async fn connection(stream: Async<TcpStream>, site: Rc<Site>, guest: Guest) -> anyhow::Result<()> {
    // A matter of speed. If it cannot be had, the connection is gone, and the
    // first read will say so.
    let _ = stream.get_ref().set_nodelay(true);

    let progress = Rc::new(Cell::new(hearken::now()));
    let io = Io { stream, progress: progress.clone() };
    let service = service_fn(|request| {
        progress.set(hearken::now());
        respond(request, site.clone())
    });
    // hyper's timers must be `Send`, and ours belong to this thread. Patience
    // does what this one is for.
    let http = http1::Builder::new().header_read_timeout(None).serve_connection(io, service);
    let mut http = pin!(http);
    let served = async {
        let stopping = async {
            let _closed = guest.stopping.recv().await;
            None
        };
        if let Some(served) = future::or(async { Some(http.as_mut().await) }, stopping).await {
            return served;
        }
        http.as_mut().graceful_shutdown(); // which ends it at once if it stands idle
        http.await
    };

    match future::or(async { Some(served.await) }, stagnation(&progress)).await {
        // Ours: a file could not be read to its end. The client learns it from a
        // body that is too short, everybody else from the report.
        Some(Err(error)) if error.is_user() => Err(error.into()),
        // The client's: bad HTTP, or it left in the middle. Neither is news.
        Some(_) => Ok(()),
        None => Ok(()), // Patience
    }
}

/// Resolves when nothing has moved for [`PATIENCE`].
///
/// It looks again only when the deadline has come that it knew of, so progress
/// costs the setting of a cell and no work on the timer wheel.
///
/// # Cancellation
///
/// Takes its timer off the wheel, and does nothing else.
async fn stagnation<T>(progress: &Cell<Instant>) -> Option<T> {
    loop {
        let deadline = progress.get() + PATIENCE;
        if hearken::now() >= deadline {
            return None;
        }
        hearken::sleep_until(deadline).await;
    }
}

/// Answers one request, whatever becomes of it.
///
/// The work is a task of its own. It sends its answer through a channel; we hold
/// its handle, and never ask it anything. So a failure has two ends: the channel
/// breaks, which makes a 500 for the client, and the handle goes without the
/// outcome having been retrieved, which makes a report (Heard). To await the
/// task would be shorter; the failure would then be ours, and ours to log.
///
/// # Cancellation
///
/// A client that hangs up has this dropped. The handle cancels the work with it.
async fn respond(
    request: Request<Incoming>,
    site: Rc<Site>,
) -> Result<Response<Content>, Infallible> {
    let name = describe(&request);
    let (answer, answered) = oneshot::channel();
    let task = hearken::spawn(async move {
        let response = work(request, &site).await?;
        let _ = answer.send(response); // nobody listens any more: no harm
        Ok(())
    });
    let _work = task.named(name).cancel_on_drop();
    Ok(answered.await.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR)))
}

/// What reports call a request. They escape what the client chose to put into
/// it; we see to the length.
fn describe(request: &Request<Incoming>) -> String {
    let name = format!("{} {}", request.method(), request.uri().path());
    name.chars().take(80).collect()
}

/// The work of one request, within [`REQUEST_LIMIT`].
///
/// # Errors
///
/// What is our failure (Heard). What the client must know is a response.
async fn work(request: Request<Incoming>, site: &Site) -> anyhow::Result<Response<Content>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = status(StatusCode::METHOD_NOT_ALLOWED);
        refused.headers_mut().insert(ALLOW, "GET, HEAD".parse()?);
        return Ok(refused);
    }
    match hearken::timeout(REQUEST_LIMIT, route(request.uri().path(), site)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

/// Three paths misbehave; all others are looked for below the directory.
async fn route(path: &str, site: &Site) -> anyhow::Result<Response<Content>> {
    match path {
        "/fail" => bail!("this request always fails"),
        "/panic" => panic!("this request always panics"),
        "/slow" => {
            hearken::sleep(Duration::from_secs(3600)).await;
            Ok(status(StatusCode::OK))
        }
        _ => site.get(path),
    }
}

// ---- From a URL's path to an answer -------------------------------------------

/// The directory that is served.
struct Site {
    /// Without links, so that what has been resolved can be compared with it.
    root: PathBuf,
}

impl Site {
    fn new(directory: &Path) -> anyhow::Result<Site> {
        let root = directory
            .canonicalize()
            .and_then(|root| fs::read_dir(&root).map(|_| root))
            .with_context(|| format!("cannot serve {}", directory.display()))?;
        Ok(Site { root })
    }

    /// The answer for a path: a file, a directory's index or listing, a redirect,
    /// or a refusal.
    ///
    /// # Errors
    ///
    /// If the file system fails in a way that is not the client's business.
    fn get(&self, url_path: &str) -> anyhow::Result<Response<Content>> {
        let Some(segments) = segments(url_path) else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        match self.find(&segments, url_path.ends_with('/')) {
            Ok(response) => Ok(response),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
                    Ok(status(StatusCode::NOT_FOUND))
                }
                ErrorKind::PermissionDenied => Ok(status(StatusCode::FORBIDDEN)),
                _ => Err(error).with_context(|| format!("looking for {segments:?}")),
            },
        }
    }

    fn find(&self, segments: &[String], asks_directory: bool) -> io::Result<Response<Content>> {
        let path = self.resolve(&segments.iter().collect::<PathBuf>())?;
        match (path.is_dir(), asks_directory) {
            (true, true) => self.directory(&path),
            // Relative links in an index need the slash.
            (true, false) => Ok(redirect(segments)),
            (false, true) => Err(ErrorKind::NotADirectory.into()),
            (false, false) => whole_file(&path),
        }
    }

    fn directory(&self, path: &Path) -> io::Result<Response<Content>> {
        // Resolved like everything else: an index may be a link that leads out.
        match self.resolve(&path.join("index.html")) {
            Ok(index) => whole_file(&index),
            Err(error) if error.kind() == ErrorKind::NotFound => listing(path),
            Err(error) => Err(error),
        }
    }

    /// Follows every link, and refuses what leads out (Below).
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let resolved = self.root.join(path).canonicalize()?;
        if resolved.starts_with(&self.root) {
            Ok(resolved)
        } else {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
}

/// The names in a URL's path, or `None` if one of them is not a plain name.
///
/// Taken apart before they are decoded: so `%2F` is no separator, and `%2e%2e` is
/// seen for what it is.
fn segments(url_path: &str) -> Option<Vec<String>> {
    url_path.split('/').filter(|segment| !segment.is_empty()).map(plain_name).collect()
}

fn plain_name(encoded: &str) -> Option<String> {
    let name = percent_decoded(encoded)?;
    let mut parts = Path::new(&name).components();
    let plain = match (parts.next(), parts.next()) {
        // `Components` drops what has no meaning, as the end of `a/.`: not here.
        (Some(Component::Normal(part)), None) => part == name.as_str(),
        _ => false,
    };
    (plain && !name.contains('\0')).then_some(name)
}

fn percent_decoded(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// A name as it may stand in a link, in HTML as well as in a header.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into());
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

// ---- Answers ------------------------------------------------------------------

/// A status and nothing more to say than its name.
fn status(code: StatusCode) -> Response<Content> {
    text("text/plain; charset=utf-8", format!("{code}\n"), code)
}

fn text(content_type: &'static str, text: String, code: StatusCode) -> Response<Content> {
    Response::builder()
        .status(code)
        .header(CONTENT_TYPE, content_type)
        .body(Full::from(text).map_err(|never| match never {}).boxed_unsync())
        .expect("status and header are valid")
}

/// To the directory's own URL. It is put together from the names, and not taken
/// from the request: `//example.org` would lead to another host.
fn redirect(segments: &[String]) -> Response<Content> {
    let location = format!("/{}/", percent_encoded(&segments.join("/")));
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    let location = location.parse().expect("a percent-encoded path is a valid header");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The names in a directory, as links. Names that are not Unicode are left out:
/// no URL here could ask for them.
fn listing(directory: &Path) -> io::Result<Response<Content>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name + if entry.path().is_dir() { "/" } else { "" });
        }
    }
    names.sort();

    let mut html = String::from("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<ul>\n");
    for name in names {
        let shown = name.replace('&', "&amp;").replace('<', "&lt;");
        html += &format!("<li><a href=\"{}\">{shown}</a>\n", percent_encoded(&name));
    }
    html += "</ul>\n";
    Ok(text("text/html; charset=utf-8", html, StatusCode::OK))
}

fn whole_file(path: &Path) -> io::Result<Response<Content>> {
    // Before it is opened: to open a named pipe is to wait for somebody's write.
    if !fs::metadata(path)?.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let body = StreamBody::new(stream::iter(chunks(file, length)));
    Ok(Response::builder()
        .header(CONTENT_TYPE, content_type(path))
        .header(CONTENT_LENGTH, length)
        .body(body.boxed_unsync())
        .expect("both headers are valid"))
}

/// The first `left` bytes of a file, read when hyper asks for them. It asks when
/// the client has taken what came before, so a big file is never in memory.
///
/// The length has been promised by then. A file that has grown is cut there; one
/// that has shrunk is an error.
fn chunks(mut file: File, mut left: u64) -> impl Iterator<Item = io::Result<Frame<Bytes>>> {
    iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let size = left.min(CHUNK);
        left -= size;
        let mut chunk = vec![0; size as usize];
        Some(file.read_exact(&mut chunk).map(|()| Frame::data(chunk.into())))
    })
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str().unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "rs" | "toml" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "xml" => "application/xml",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

// ---- hyper's view of a socket -------------------------------------------------

/// async-io's socket with hyper's traits, which differ from everybody else's in
/// that one reads into memory which need not have been written to before.
struct Io {
    stream: Async<TcpStream>,
    /// When the client last took something (Patience).
    progress: Rc<Cell<Instant>>,
}

impl Io {
    fn written(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        if result.is_ok() {
            self.progress.set(hearken::now());
        }
        Poll::Ready(result)
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // By way of the stack: copying a request costs less than an `unsafe`.
        let mut bytes = [0; 8 * 1024];
        let room = into.remaining().min(bytes.len());
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes[..room]))?;
        into.put_slice(&bytes[..count]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
