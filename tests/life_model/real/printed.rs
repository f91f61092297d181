//! What the default handler writes to standard error.
//!
//! That is one for the whole process. So there is a process for those programs of
//! which it is read, and there it is a file.

use super::stage::Stage;
use crate::program::Program;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the process finds what it has written to standard error.
const FILE: &str = "HEARKEN_STDERR";

/// Runs `work` in a process that has standard error to itself. `test` is the name of
/// the test that calls this.
pub fn in_a_process_of_its_own(test: &str, work: impl FnOnce()) {
    if std::env::var_os(FILE).is_some() {
        return work();
    }
    let path = std::env::temp_dir().join(format!("hearken-life-{}", std::process::id()));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let child = Command::new(std::env::current_exe().expect("it runs"))
        .args(["--exact", test, "--nocapture"])
        .env(FILE, &path)
        .stderr(file.expect("a file can be made"))
        .output()
        .expect("the test can be started once more");
    println!("{}", String::from_utf8_lossy(&child.stdout));
    let left = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::remove_file(&path).expect("it was made above");
    assert!(child.status.success(), "{left}");
}

/// Standard error, if it is read.
pub struct Printed(Option<PathBuf>);

impl Printed {
    pub fn begin(program: &Program) -> Printed {
        let path = std::env::var_os(FILE).map(PathBuf::from);
        let printed = Printed(path.filter(|_| program.settings.reads_stderr));
        printed.0.iter().for_each(|path| empty(path));
        printed
    }

    /// Says how many reports were written since this was last called.
    pub fn say(&self, stage: &Stage) {
        let Some(path) = &self.0 else { return };
        let written = std::fs::read_to_string(path).expect("it was made for this");
        let reports = written.lines().filter(|line| line.starts_with("hearken: ")).count();
        if reports > 0 {
            stage.say(0, format!("printed: {reports}"));
        }
        if !written.is_empty() {
            empty(path);
        }
    }
}

fn empty(path: &Path) {
    let file = File::options().write(true).open(path).expect("it was made for this");
    file.set_len(0).expect("it is a file of ours");
}
