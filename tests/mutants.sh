#!/usr/bin/env bash
# Changes the deciders one small way after another, and sees whether a test fails.
# From any folder:
#
#     bash tests/mutants.sh [FILE]...      # these; or life.rs, rules.rs and the stages
#
# It needs `cargo install cargo-mutants`. A mutant that no test catches is printed as
# MISSED; those that are known, and why they are no faults, stand in
# docs/reliability.md. Only the tests that are quick and near are run: the unit tests,
# and those of cancellation, interrupts and shutdown. The copies are made beside the
# target folder, and go with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=("$@")
[ ${#files[@]} -gt 0 ] || files=(life.rs rules.rs interrupt.rs stop.rs shutdown.rs)

tests=()
for name in cancel cancellation_model forwarding groups interrupts kinds ledger outcomes \
    scopes shields shutdown stages still_held stopping timeouts_cancelled tokens; do
    tests+=(--test "$name")
done

cargo mutants --timeout 60 --baseline skip --no-shuffle --jobs 1 \
    --output "${CARGO_TARGET_DIR:-target}/mutants" \
    "${files[@]/#/--file=executor/}" -- --lib "${tests[@]}"
