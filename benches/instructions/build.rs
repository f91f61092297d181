//! Notes which compiler builds this: a count is one compiler's.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").expect("cargo says which compiler");
    let version = Command::new(rustc).arg("--version").output().expect("the compiler starts");
    let version = String::from_utf8(version.stdout).expect("a version is text");
    let target = env::var("TARGET").expect("cargo says for which machine");
    println!("cargo::rustc-env=HEARKEN_BUILT_BY={}, {target}", version.trim());
}
