//! How many instructions this program takes, by callgrind.
//!
//! The programs of this package run themselves under it. They are several so that
//! what is compiled for one has no part in what the other counts.

pub mod waiting;

use std::env;
use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many instructions a whole run of this program takes, from the loader on.
/// None if it takes longer than `patience`; then it is ended.
///
/// # Errors
///
/// If there is no valgrind, or the program fails under it.
pub fn instructions(arguments: &[&str], patience: Duration) -> Result<Option<u64>, String> {
    let program = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut valgrind = Command::new("valgrind");
    // The sum is among what it says; nobody wants the file.
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    // The same for everybody. The search path is for valgrind itself.
    valgrind.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    valgrind.env("RUST_BACKTRACE", "0");

    let does_not = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => {
            "there is no valgrind here; on Debian: apt-get install valgrind".into()
        }
        _ => format!("valgrind does not start: {error}"),
    };
    let mut running = valgrind.spawn().map_err(does_not)?;
    let began = Instant::now();
    // It says too little to be held up by a full pipe.
    while running.try_wait().map_err(does_not)?.is_none() {
        if began.elapsed() > patience {
            running.kill().and_then(|()| running.wait()).map_err(does_not)?;
            return Ok(None);
        }
        sleep(Duration::from_millis(2));
    }
    let output = running.wait_with_output().map_err(does_not)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(collected).filter(|_| output.status.success());
    let count = count.ok_or_else(|| format!("{arguments:?}: {}\n{said}", output.status))?;
    Ok(Some(count))
}

/// The number in `==123== Collected : 4567`.
fn collected(line: &str) -> Option<u64> {
    let (_, number) = line.split_once(" Collected : ")?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_sum_is_found_among_what_valgrind_says() {
        assert_eq!(collected("==123== Collected : 4567"), Some(4567));
        assert_eq!(collected("==123== Events    : Ir"), None);
    }
}
