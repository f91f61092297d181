//! Instructions of one workload, by callgrind.

use std::env;
use std::io::ErrorKind;
use std::process::Command;

use crate::workloads::Workload;

/// How many instructions one operation takes.
///
/// # Errors
///
/// If there is no valgrind, or the workload fails under it.
pub fn per_operation(workload: &Workload) -> Result<f64, String> {
    let (few, many) = workload.passes();
    let operations = (many - few) * workload.operations;
    let (few, many) = (instructions(workload, few)?, instructions(workload, many)?);
    Ok((many as f64 - few as f64) / operations as f64)
}

/// How many instructions a whole run takes, from the loader on.
fn instructions(workload: &Workload, passes: usize) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut valgrind = Command::new("valgrind");
    // The sum is among what it says; nobody wants the file.
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(program).args(["--run", workload.name, &passes.to_string()]);
    // The same for everybody (Same). The search path is for valgrind itself.
    valgrind.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    valgrind.env("RUST_BACKTRACE", "0");

    let output = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            "there is no valgrind here; on Debian: apt-get install valgrind".into()
        }
        _ => format!("valgrind does not start: {error}"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(collected).filter(|_| output.status.success());
    count.ok_or_else(|| format!("{} under valgrind: {}\n{said}", workload.name, output.status))
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
