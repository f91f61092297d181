#!/usr/bin/env bash
# The checks that take long, which .ci/run leaves out. From any folder:
#
#     bash tests/long.sh [ROUNDS] [BUSY] [FLAGS …]
#     bash tests/long.sh 1 0 --release
#
# A test that has a longer form takes it when HEARKEN_LONG=1 is in the
# environment, and says so in its first lines; some, of load and of memory, only
# in an optimized build, for which --release among the FLAGS of cargo asks. This
# runs all of those, ROUNDS times (1 if not told), beside BUSY loops that do
# nothing but keep the machine busy (none if not told): some orders of events come
# only to those who are made to wait. It goes on after a failure, and says at the
# end how many there were. HEARKEN_TEST="load memory" has only these files run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-1}
busy=${2:-0}
flags=("${@:3}")

names=${HEARKEN_TEST:-$(grep -l HEARKEN_LONG tests/*.rs)}
tests=("${flags[@]}")
for file in $names; do
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
