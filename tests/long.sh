#!/usr/bin/env bash
# The checks that take long, which .ci/run leaves out. From any folder:
#
#     bash tests/long.sh [ROUNDS] [BUSY]
#
# A test that has a longer form takes it when HEARKEN_LONG=1 is in the
# environment, and says so in its first lines. This runs all of those, ROUNDS
# times (1 if not told), beside BUSY loops that do nothing but keep the machine
# busy (none if not told): some orders of events come only to those who are made
# to wait. It goes on after a failure, and says at the end how many there were.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-1}
busy=${2:-0}

tests=()
for file in $(grep -l HEARKEN_LONG tests/*.rs); do
    name=${file##*/}
    tests+=(--test "${name%.rs}")
done
cargo test --quiet "${tests[@]}" --no-run

busy_ones=()
for ((i = 0; i < busy; i++)); do
    while :; do :; done &
    busy_ones+=($!)
done
trap '[ ${#busy_ones[@]} -eq 0 ] || kill "${busy_ones[@]}"' EXIT

failed=0
for ((round = 1; round <= rounds; round++)); do
    printf '\n=== round %d of %d, beside %d busy loops\n' "$round" "$rounds" "$busy"
    HEARKEN_LONG=1 cargo test --quiet --no-fail-fast "${tests[@]}" -- --nocapture ||
        failed=$((failed + 1))
done
printf '\n=== %d of %d rounds failed, %d s\n' "$failed" "$rounds" "$SECONDS"
[ "$failed" -eq 0 ]
