#!/usr/bin/env bash
# Which lines and branches of executor/ the tests never come to, which .ci/run leaves
# out. From any folder:
#
#     bash tests/coverage.sh [REPORT ARGUMENT…]
#
# It prints a table of the files; or what the arguments ask of `cargo llvm-cov report`,
# say `--text --output-dir DIR`. What is not covered, and why, stands in
# docs/reliability.md.
#
# It needs nightly for the branches, `cargo-llvm-cov`, and the llvm-cov and
# llvm-profdata of nightly's LLVM, which LLVM_COV and LLVM_PROFDATA name if rustup has
# not installed them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_INCREMENTAL=0 RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}/coverage")
export CARGO_TARGET_DIR
export RUSTFLAGS="${RUSTFLAGS:-} -Cllvm-args=-runtime-counter-relocation"

eval "$(cargo +nightly llvm-cov show-env --branch --sh)"
# The counters are in the file itself (`%c`): a process that is killed, as some tests
# do with their children, counts as far as it came.
export LLVM_PROFILE_FILE=$CARGO_TARGET_DIR/%c%m.profraw
rm -f "$CARGO_TARGET_DIR"/*.profraw

# Some tests start the examples.
cargo +nightly build --quiet --examples
status=0
cargo +nightly test --quiet --no-fail-fast --lib --tests || status=$?
cargo +nightly llvm-cov report --branch "$@"
exit "$status" # what a failing test has come to is in the report
