//! The binary of an example, for tests that run it as a program.

use std::env;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the example's binary lies: `target/debug/examples/NAME`, seen from a
/// test in `target/debug/deps/`.
///
/// `cargo test` has built it; `cargo test --test NAME` has not, and yesterday's
/// would be run. So cargo is asked to build it, which is mostly nothing to do.
pub fn binary(name: &str) -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = env::current_exe().expect("a test is a file");
        let profile = test.ancestors().nth(2).expect("tests lie in deps/");
        build(name, profile);
        profile.join("examples").join(format!("{name}{EXE_SUFFIX}"))
    })
}

/// Builds the example for the same profile, target and folder as the test.
fn build(name: &str, profile: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--example", name]);
    if last(profile) != "debug" {
        cargo.arg("--profile").arg(last(profile));
    }
    // `target/debug`, or `target/x86_64-unknown-linux-gnu/debug` with --target.
    let mut folder = profile.parent().expect("a profile lies in target/");
    if !folder.join("CACHEDIR.TAG").exists() {
        cargo.arg("--target").arg(last(folder));
        folder = folder.parent().expect("a target lies in target/");
    }
    let built = cargo.arg("--target-dir").arg(folder).status();
    assert!(built.is_ok_and(|status| status.success()), "cannot build the example {name}");
}

fn last(path: &Path) -> &OsStr {
    path.file_name().expect("a folder has a name")
}
