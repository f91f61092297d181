//! The example `serve`, as a program: what it answers, what it says when
//! something fails, and how it ends.
//!
//! Each test starts a server of its own on a free port, and talks to it through
//! sockets. Nothing sleeps: every wait is for a line, a byte or an end of file,
//! and gives up after [`LIMIT`]. Two of them are for limits of the server's own,
//! of two and of five seconds.

#![cfg(all(unix, feature = "signal"))]

mod example;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. Only a broken server needs it.
const LIMIT: Duration = Duration::from_secs(20);

/// hearken leaves Ctrl-C alone where it is ignored, and that is inherited.
const STILL_THERE: &str = "Ctrl-C did not end it. If these tests were started by `&` in a script, \
    then that ignores Ctrl-C for them, and so for the server. Otherwise it hangs. It said:";

// ---- What it answers ------------------------------------------------------------

#[test]
fn a_file_comes_with_its_type_and_length() {
    let server = Server::start("file");
    let page = server.get("/notes.txt");
    assert_eq!(page.status(), 200);
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(page.header("content-length"), Some("6"));
    assert_eq!(page.body, b"hello\n");

    assert_eq!(server.get("/a%20b.txt?query").body, b"spaced\n");
    assert_eq!(server.get("/empty.bin").body, b"");
    assert_eq!(server.get("/empty.bin").header("content-length"), Some("0"));
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = Server::start("head");
    let page = server.ask("HEAD /notes.txt");
    assert_eq!(page.status(), 200);
    assert_eq!(page.header("content-length"), Some("6"));
    assert_eq!(page.body, b"");
}

#[test]
fn a_big_file_arrives_whole() {
    let server = Server::start("big");
    let big: Vec<u8> = (0..8_000_001_u32).map(|i| (i % 251) as u8).collect();
    fs::write(server.root.join("big.bin"), &big).unwrap();
    let page = server.get("/big.bin");
    assert_eq!(page.header("content-length"), Some("8000001"));
    assert!(page.body == big, "{} bytes came, or the wrong ones", page.body.len());
}

#[test]
fn a_directory_is_its_index_or_a_listing() {
    let server = Server::start("directory");
    assert_eq!(server.get("/with-index/").body, b"<p>index\n");

    let listing = server.get("/");
    assert_eq!(listing.header("content-type"), Some("text/html; charset=utf-8"));
    let listing = listing.text();
    assert!(listing.contains("<a href=\"a%20b.txt\">a b.txt</a>"), "{listing}");
    assert!(listing.contains("<a href=\"with-index/\">with-index/</a>"), "{listing}");

    // Without the slash, relative links in the index would lead elsewhere.
    let moved = server.get("//with-index");
    assert_eq!((moved.status(), moved.header("location")), (301, Some("/with-index/")));
    assert_eq!(server.get("/notes.txt/").status(), 404);
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_get_is_405() {
    let server = Server::start("refusals");
    assert_eq!(server.get("/nothing").status(), 404);
    assert_eq!(server.get("/notes.txt/below").status(), 404);
    assert_eq!(server.get(&format!("/{}", "long".repeat(1000))).status(), 404);
    let refused = server.ask("DELETE /notes.txt");
    assert_eq!((refused.status(), refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(server.end().reports(), 0); // mistakes of the client's are not reported
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let server = Server::start("traversal");
    let outside = server.root.with_extension("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let link =
        |to: &Path, name: &str| std::os::unix::fs::symlink(to, server.root.join(name)).unwrap();
    link(&outside, "link-out");
    link(&outside.join("secret"), "link-to-file");
    fs::create_dir(server.root.join("bad-index")).unwrap();
    link(&outside.join("secret"), "bad-index/index.html");
    link(Path::new("notes.txt"), "link-within");

    let name = outside.file_name().unwrap().to_str().unwrap();
    for (path, status) in [
        (format!("/../{name}/secret"), 400),
        (format!("/with-index/../../{name}/secret"), 400),
        (format!("/%2e%2e/{name}/secret"), 400),
        (format!("/.%2E/{name}/secret"), 400),
        (format!("/..%2f{name}%2fsecret"), 400),
        (format!("/with-index%2f..%2f..%2f{name}%2fsecret"), 400),
        (format!("/%252e%252e/{name}/secret"), 404), // decoded once: a strange name
        (format!("/{}/secret", outside.display()), 404), // relative to the root all the same
        (format!("/%2f{}", name), 400),
        ("/notes.txt%00".into(), 400),
        ("/%".into(), 400),
        ("/%zz".into(), 400),
        ("/%ff".into(), 400), // not Unicode
        ("/link-out/secret".into(), 403),
        ("/link-out/".into(), 403),
        ("/link-to-file".into(), 403),
        ("/bad-index/".into(), 403),
        ("/link-within".into(), 200),
    ] {
        let page = server.get(&path);
        assert_eq!(page.status(), status, "{path}");
        assert!(!page.text().contains("secret"), "{path} gave it away");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start("keep-alive");
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /notes.txt HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut page = Vec::new();
        while !page.ends_with(b"\r\n\r\nhello\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            page.push(byte[0]);
        }
    }
}

// ---- What it says when something fails ------------------------------------------

// promise 3.6, 3.10
#[test]
fn failures_are_500s_and_reports_and_the_server_goes_on() {
    let server = Server::start("failures");
    assert_eq!(server.get("/fail").status(), 500);
    assert_eq!(server.ask("HEAD /panic").status(), 500);
    assert_eq!(server.get("/notes.txt").status(), 200);

    let ended = server.end();
    let said = ended.lines.join("\n");
    assert_eq!(ended.reports(), 2, "{said}");
    for (task, error) in [
        ("\"GET /fail\"", "this request always fails"),
        ("\"HEAD /panic\"", "panicked: this request always panics"),
    ] {
        let report = said.split("hearken: ").find(|report| report.contains(task)).unwrap();
        assert!(report.starts_with("failure was never retrieved"), "{report}");
        assert!(report.contains("docs/examples/serve.rs:"), "no location: {report}");
        assert!(report.contains(error), "{report}");
    }
    assert!(ended.ledger().contains("2 failed = 0 retrieved + 2 reported"), "{said}");
}

#[test]
fn a_failure_on_a_kept_connection_leaves_it_usable() {
    let server = Server::start("kept");
    let mut stream = server.connect();
    let asks = b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\n\
        GET /fail HTTP/1.1\r\nHost: test\r\n\r\n\
        GET /notes.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(asks).unwrap();
    let mut pages = String::new();
    stream.read_to_string(&mut pages).unwrap();
    assert_eq!(pages.matches("HTTP/1.1 500").count(), 2, "{pages}");
    assert!(pages.ends_with("\r\n\r\nhello\n"), "{pages}");
}

#[test]
fn a_request_that_takes_too_long_is_answered_and_not_reported() {
    let server = Server::start("slow");
    assert_eq!(server.get("/slow").status(), 503);
    assert_eq!(server.end().reports(), 0);
}

#[test]
fn a_file_that_shrinks_under_way_fails_its_connection() {
    let server = Server::start("shrinks");
    let path = server.root.join("shrinks.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(200_000_000).unwrap(); // more than the sockets' buffers hold
    let mut stream = server.connect();
    stream.write_all(b"GET /shrinks.bin HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    file.set_len(1000).unwrap();
    let _ = stream.read_to_end(&mut Vec::new()); // closed or reset, as the system likes

    let name = format!("\"connection {}\"", stream.local_addr().unwrap());
    let said = server.end().lines.join("\n");
    assert!(said.contains(&name), "{said}");
}

// ---- How it begins and ends -----------------------------------------------------

// promise 3.5, 6.2, 6.3, 6.7
#[test]
fn the_first_ctrl_c_drains_it() {
    let mut server = Server::start("drains");
    let big = server.big_file();
    let fresh = server.connect();
    let mut idle = server.connect();
    idle.write_all(b"GET /notes.txt HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 1);
    let slow = server.asked("/slow");
    let mut loads = server.asked("/big.bin");
    loads.read_exact(&mut [0; 1000]).unwrap(); // it has begun
    let mut halfway = server.connect();
    halfway.write_all(b"GET /notes").unwrap();
    assert_eq!(server.get("/fail").status(), 500); // so all have been accepted by now
    server.press();

    // Who has asked for nothing is sent away, and nobody else is let in.
    assert_eq!(rest(fresh), b"");
    assert!(rest(idle).ends_with(b"\r\n\r\nhello\n"));
    let refused = TcpStream::connect(&server.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // What has begun is finished, however long that takes.
    halfway.write_all(b".txt HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let page = Page::new(rest(halfway));
    assert_eq!((page.status(), page.body.as_slice()), (200, &b"hello\n"[..]));
    assert_eq!(page.header("connection"), Some("close"));
    assert_eq!(Page::new(rest(slow)).body, b"503 Service Unavailable\n");
    let loaded = rest(loads);
    assert!(big.ends_with(&loaded), "{} bytes came, or the wrong ones", loaded.len());
    assert!(loaded.len() > big.len() - 1000, "{} bytes came", loaded.len());

    let ended = server.end();
    assert_eq!(ended.status.code(), Some(130));
    let ledger = ended.ledger();
    assert!(ledger.contains("= 0 live +") && ledger.contains("+ 0 held;"), "{ledger}");
    assert!(ledger.contains("+ 1 cancelled;"), "main, and nobody else: {ledger}");
}

// promise 6.2, 6.3, 6.7
#[test]
fn no_request_is_lost_when_ctrl_c_comes_amid_many() {
    const CLIENTS: usize = 16;
    let mut server = Server::start("amid");
    let file = vec![b'x'; 10_000];
    fs::write(server.root.join("file.bin"), &file).unwrap();
    let streams = [(); CLIENTS].map(|()| server.connect());
    let all_at_it = Barrier::new(CLIENTS + 1);
    let answered: usize = thread::scope(|threads| {
        let clients = streams.map(|stream| {
            let (all_at_it, file) = (&all_at_it, &file);
            threads.spawn(move || {
                let mut pages = BufReader::new(stream);
                let began = Instant::now();
                for answered in 0.. {
                    assert!(began.elapsed() < LIMIT, "{STILL_THERE}");
                    if answered == 20 {
                        all_at_it.wait();
                    }
                    // It may be closed at any moment between two requests.
                    let asks = b"GET /file.bin HTTP/1.1\r\nHost: test\r\n\r\n";
                    let mut head = String::new();
                    if pages.get_mut().write_all(asks).is_err()
                        || pages.read_line(&mut head).is_err()
                        || head.is_empty()
                    {
                        return answered;
                    }
                    assert_eq!(head, "HTTP/1.1 200 OK\r\n");
                    while !head.ends_with("\r\n\r\n") {
                        assert_ne!(pages.read_line(&mut head).unwrap(), 0, "cut: {head}");
                    }
                    let mut body = vec![0; file.len()];
                    pages.read_exact(&mut body).expect("all of the body");
                    assert!(body == *file, "the wrong bytes");
                }
                unreachable!("it was to be drained")
            })
        });
        all_at_it.wait();
        server.press();
        clients.map(|client| client.join().unwrap()).into_iter().sum()
    });
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(130));
    // Each request is a task, and each was answered; so were all connections
    // tasks, and nobody but main was cancelled.
    let tasks = 1 + CLIENTS + answered;
    let ledger = ended.ledger();
    let says =
        format!("{tasks} spawned = 0 live + {} succeeded + 0 failed + 1 cancelled", tasks - 1);
    assert!(ledger.starts_with(&says), "{answered} were answered: {ledger}");
}

// promise 3.5, 6.2, 6.3, 6.7
#[test]
fn the_second_ctrl_c_cuts_off_who_is_left() {
    let mut server = Server::start("cuts-off");
    let big = server.big_file();
    let mut loads = server.asked("/big.bin");
    loads.read_exact(&mut [0; 1000]).unwrap();
    let mut slow = server.asked("/slow");
    assert_eq!(server.get("/fail").status(), 500);
    server.press();
    // It has taken the first in when it has closed its port.
    while TcpStream::connect(&server.address).is_ok() {}
    server.press();

    let _ = slow.read_to_end(&mut Vec::new());
    let mut loaded = Vec::new();
    let _ = loads.read_to_end(&mut loaded); // closed or reset, as the system likes
    assert!(loaded.len() < big.len(), "there was time for all of it");
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(130));
    let ledger = ended.ledger();
    // Main, two connections, one request: the work for the file was over when
    // its answer began.
    assert!(ledger.contains("= 0 live +") && ledger.contains("+ 4 cancelled;"), "{ledger}");
}

// promise 6.2, 6.4
#[test]
fn a_drain_has_a_limit() {
    let mut server = Server::start("limit");
    let mut never_asks = server.connect();
    never_asks.write_all(b"GET /notes").unwrap();
    assert_eq!(server.get("/notes.txt").status(), 200);
    let began = Instant::now();
    server.press();
    let _ = never_asks.read_to_end(&mut Vec::new());
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    let ended = server.end();
    assert_eq!((ended.status.code(), ended.reports()), (Some(130), 0));
    let ledger = ended.ledger();
    assert!(ledger.contains("= 0 live +") && ledger.contains("+ 2 cancelled;"), "{ledger}");
}

#[test]
fn a_bad_command_line_gets_one_line_and_2() {
    for arguments in [
        &[][..],
        &["."],
        &["--port", "0"],
        &[".", "--port"],
        &[".", "--port", "many"],
        &[".", "--port", "65536"],
        &[".", ".", "--port", "0"],
        &[".", "--port", "0", "--port", "0"],
        &[".", "--port", "0", "--verbose"],
    ] {
        let output = refused(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stderr, b"usage: serve DIR --port N\n", "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let taken = Server::start("taken");
    let port = taken.address.rsplit(':').next().unwrap();
    for (arguments, says) in [
        ([".", "--port", port], "serve: cannot listen on port"),
        (["/does/not/exist", "--port", "0"], "serve: cannot serve /does/not/exist: "),
        (["Cargo.toml", "--port", "0"], "serve: cannot serve Cargo.toml: "),
    ] {
        let output = refused(&arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr.starts_with(says) && stderr.lines().count() == 1, "{stderr}");
    }
}

// ---- The server under test ------------------------------------------------------

/// A running server with a directory of its own. Killed when dropped.
struct Server {
    child: Child,
    address: String,
    root: PathBuf,
    stderr: Receiver<String>,
    /// What it has written to standard error until now.
    said: Vec<String>,
}

/// What is left of a server.
struct Ended {
    status: ExitStatus,
    /// All that it wrote to standard error.
    lines: Vec<String>,
}

/// A response, taken apart.
struct Page {
    head: String,
    body: Vec<u8>,
}

impl Server {
    fn start(name: &str) -> Server {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{name}"));
        furnish(&root);
        let mut child = command().arg(&root).args(["--port", "0"]).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        // Made first, so that it is killed when the line does not come.
        let mut server = Server { child, address: String::new(), root, stderr, said: Vec::new() };
        let line = stdout.recv_timeout(LIMIT).expect("the server says where it listens");
        server.address = line.strip_prefix("listening on http://").expect(&line).to_owned();
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> Page {
        self.ask(&format!("GET {path}"))
    }

    /// Sends a method and a path, just as they are, on a connection of their own.
    fn ask(&self, what: &str) -> Page {
        let mut stream = self.connect();
        write!(stream, "{what} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        Page::new(rest(stream))
    }

    /// A connection that has asked for a path, and has not read anything.
    fn asked(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream
    }

    /// Makes a file that is more than the sockets' buffers hold.
    fn big_file(&self) -> Vec<u8> {
        let big = (0..251).collect::<Vec<u8>>().repeat(160_000);
        fs::write(self.root.join("big.bin"), &big).unwrap();
        big
    }

    /// Ctrl-C. Returns when it has been heard.
    fn press(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        while self.next_line().expect("it says that it was interrupted") != "hearken: interrupted" {
        }
    }

    /// The next line that it writes to standard error. None if that is closed, so
    /// that it is gone or as good as.
    fn next_line(&mut self) -> Option<&str> {
        match self.stderr.recv_timeout(LIMIT) {
            Ok(line) => self.said.push(line),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("{STILL_THERE}\n{:#?}", self.said),
        }
        self.said.last().map(String::as_str)
    }

    /// Waits for its end, after a Ctrl-C if there was none yet.
    fn end(mut self) -> Ended {
        if !self.said.iter().any(|line| line == "hearken: interrupted") {
            self.press();
        }
        while self.next_line().is_some() {}
        Ended { status: self.child.wait().unwrap(), lines: std::mem::take(&mut self.said) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// How many reports there were, not counting the one of the Ctrl-C.
    fn reports(&self) -> usize {
        let mut heads = self.lines.iter().filter_map(|line| line.strip_prefix("hearken: "));
        assert_eq!(heads.next_back(), Some("interrupted"), "{:#?}", self.lines);
        heads.count()
    }

    /// The last line, which balances.
    fn ledger(&self) -> &str {
        let ledger = self.lines.last().expect("a ledger");
        let numbers = ledger.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let numbers: Vec<u64> = numbers.collect();
        assert_eq!(numbers.len(), 11, "not a ledger: {ledger}");
        assert_eq!(numbers[0], numbers[1..5].iter().sum(), "tasks are missing: {ledger}");
        assert_eq!(numbers[5], numbers[6..10].iter().sum(), "failures are missing: {ledger}");
        ledger
    }
}

impl Page {
    fn new(mut page: Vec<u8>) -> Page {
        let end = page.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let body = page.split_off(end + 4);
        Page { head: String::from_utf8(page).unwrap(), body }
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).expect("a status").parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What a connection brings until it is closed.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Makes the directory anew, with a few files.
fn furnish(root: &Path) {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root.join("with-index")).unwrap();
    fs::write(root.join("notes.txt"), "hello\n").unwrap();
    fs::write(root.join("a b.txt"), "spaced\n").unwrap();
    fs::write(root.join("empty.bin"), "").unwrap();
    fs::write(root.join("with-index/index.html"), "<p>index\n").unwrap();
}

/// Runs it with arguments that it is expected to refuse.
fn refused(arguments: &[&str]) -> Output {
    let mut child = command().args(arguments).spawn().unwrap();
    let stderr = lines(child.stderr.take().unwrap());
    let mut said = Vec::new();
    loop {
        match stderr.recv_timeout(LIMIT) {
            Ok(line) => said.extend((line + "\n").into_bytes()),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("was not refused: {arguments:?}");
            }
        }
    }
    Output { status: child.wait().unwrap(), stdout: Vec::new(), stderr: said }
}

/// What a pipe brings, line by line, so that one can stop waiting for it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

fn command() -> Command {
    let mut command = Command::new(example::binary("serve"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
