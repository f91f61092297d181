#!/usr/bin/env bash
# Many random programs against a model, which .ci/run leaves out: that of
# cancellation (tests/cancellation_model/), or the one that HEARKEN_TEST names, that
# of outcomes, timers, shutdown and interrupts (life_model). From any folder:
#
#     bash tests/random_programs.sh [PROGRAMS] [PART…]
#     HEARKEN_TEST=life_model bash tests/random_programs.sh [PROGRAMS] [PART…]
#
# | part     | in release mode with assertions, and                      |
# | -------- | --------------------------------------------------------- |
# | model    | nothing else                                              |
# | fallback | the waker of machines with 32-bit pointers                |
# | address  | under the address sanitizer (nightly)                     |
# | leaks    | under the leak sanitizer too; without programs that leak: |
# |          | those that forget a future, panic in a drop, or throw     |
# |          | something that does so                                    |
#
# Each part that is named tries PROGRAMS, 10,000,000 if not told. If none is named
# all are run, and those after the first try 100,000 at most. Of the seeds each
# kind has a range of its own, beginning with HEARKEN_FIRST_SEED (0 if not told).
# HEARKEN_JOBS processes share the work, one per core if not told.
#
# A fault is printed when it is found, with what runs its seed alone. The run goes
# on, has a table for each part, and fails if there was a fault. It needs bash 5.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=${1:-10000000}
case $programs in
"" | *[!0-9]*)
    echo "usage: bash tests/random_programs.sh [PROGRAMS] [PART…]" >&2
    exit 2
    ;;
esac
parts=("${@:2}")
most=$programs
if [ ${#parts[@]} -eq 0 ]; then
    parts=(model fallback address leaks)
    most=100000
fi
jobs=${HEARKEN_JOBS:-$(getconf _NPROCESSORS_ONLN)}
first_seed=${HEARKEN_FIRST_SEED:-0}
# What a process tries: few enough that all cores are busy until the end.
export piece=10000
# A process that takes longer hangs: the slowest kind needs a tenth of that.
export most_seconds=600

test=${HEARKEN_TEST:-cancellation_model}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export folder
# An error of anyhow has a backtrace otherwise, and most programs have errors.
export RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
export CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
target=${CARGO_TARGET_DIR:-target}

# build COMMAND…: builds the test, and sets $binary to its path.
build() {
    local answer
    answer=$("$@" test --release --test "$test" --no-run --message-format json)
    binary=$(sed -n 's/.*"executable":"\([^"]*'"$test"'[^"]*\)".*/\1/p' <<<"$answer")
    [ -x "$binary" ] || { echo "no test was built" >&2 && return 1; }
}

# What is different in a part.
prepare() {
    unset HEARKEN_WITH HEARKEN_WITHOUT
    case $1 in
    model) build cargo ;;
    fallback)
        # In a folder of its own, as in .ci/run.
        build env RUSTFLAGS="${RUSTFLAGS:-} --cfg hearken_arc_waker" \
            CARGO_TARGET_DIR="$target/arc-waker" cargo
        ;;
    address | leaks)
        # With a target the flag is not for build scripts.
        build env RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address" CARGO_TARGET_DIR="$target/asan" \
            CARGO_BUILD_TARGET="$(rustc -vV | sed -n 's/^host: //p')" cargo +nightly
        export ASAN_OPTIONS=detect_leaks=0
        if [ "$1" = leaks ]; then
            ASAN_OPTIONS=detect_leaks=1
            # To forget is to leak. And what a function is about to return is lost
            # when a local of it panics in its drop: so it is in every Rust program
            # (rust-lang/rust 47949). What is thrown by the drop of what was thrown is
            # forgotten, since its drop might throw in its turn.
            export HEARKEN_WITHOUT="Forget Bomb Throw"
        fi
        ;;
    *) echo "there is no part $1" >&2 && return 2 ;;
    esac
    export binary
}

# try KIND FIRST COUNT OUTPUT: tries these seeds, and says so in OUTPUT.
try() {
    HEARKEN_FIRST_SEED=$2 HEARKEN_SEEDS=$3 HEARKEN_FAULTS=1000000 HEARKEN_AT=$4.at \
        timeout "$most_seconds" "$binary" --exact "$1" --nocapture >"$4" 2>&1
}

# The same, with a line of the table, and what there is to say about it.
try_piece() {
    local kind=$1 output=$folder/$1.$2 began=${EPOCHREALTIME/[.,]/} died=0 status=0
    try "$@" "$output" || status=$?
    if [ "$status" -ne 0 ]; then
        sed '1,/^running/d; /^programs: /,$d' "$output"
        if ! grep -q '^programs: .* [1-9][0-9]* faults$' "$output" ||
            grep -q Sanitizer "$output"; then
            # It has died under way, or was ended, or something was lost that is
            # told only at the end.
            died=1
            local at=$(tail -n 1 "$output.at")
            if grep -q 'detected memory leaks' "$output"; then
                at=$(find_leak "$@")
            fi
            echo "seed $at: the process failed with status $status (124: it took" \
                "$most_seconds s); this one alone, in the environment of the part:"
            echo "    HEARKEN_FIRST_SEED=$at HEARKEN_SEEDS=1 $binary --exact $kind"
            sed '/^programs: /,$!d' "$output"
        fi
    fi
    local micros=$((${EPOCHREALTIME/[.,]/} - began))
    # A line of its own even when the process has none.
    { grep '^programs: ' "$output" || echo "programs: 0"; } |
        awk -v kind="$kind" -v died="$died" -v micros="$micros" \
            '{ print kind, $2 + 0, $4 + 0, $8 + 0, $12 + 0, died, micros }' >"$output.line"
    rm -f "$output" "$output.at"
}

# The first seed of a range after which something is lost.
find_leak() {
    local first=$2 count=$3 output=$folder/leak.$1.$2
    while [ "$count" -gt 1 ]; do
        local half=$((count / 2))
        if try "$1" "$first" "$half" "$output"; then
            first=$((first + half)) count=$((count - half))
        else
            count=$half
        fi
    done
    echo "$first"
}
export -f try try_piece find_leak

# Runs a part, and prints its table.
run_part() {
    local part=$1 programs=$2 began kinds kind each from at first=$first_seed
    printf '\n=== %s, %s: %d programs, %d processes\n' "$test" "$part" "$programs" "$jobs"
    prepare "$part"
    # What is not in a module of the test.
    mapfile -t kinds < <("$binary" --list | sed -n 's/^\([a-z_]*\): test$/\1/p')
    each=$(((programs + ${#kinds[@]} - 1) / ${#kinds[@]}))
    began=$SECONDS
    for ((from = 0; from < each; from += piece)); do
        for at in "${!kinds[@]}"; do
            echo "${kinds[at]} $((first + at * each + from))" \
                "$((each - from < piece ? each - from : piece))"
        done
    done | xargs -P "$jobs" -L 1 bash -c 'try_piece "$@"' _
    # The seconds of a kind are those of its processes; of all, those of the clock.
    cat "$folder"/*.line | awk -v seconds=$((SECONDS - began)) '
        BEGIN {
            format = "| %-45s | %10s | %10s | %10s | %6s | %6s | %7s |\n"
            printf format, "kind", "programs", "reordered", "no answer", "faults", "failed", "seconds"
            printf format, "---", "---", "---", "---", "---", "---", "---"
        }
        {
            if (!($1 in tried)) names[++count] = $1
            tried[$1] += $2; reordered[$1] += $3; unanswered[$1] += $4
            faults[$1] += $5; failed[$1] += $6; micros[$1] += $7
            all[2] += $2; all[3] += $3; all[4] += $4; all[5] += $5; all[6] += $6
        }
        END {
            for (at = 1; at <= count; at++) {
                kind = names[at]
                printf format, kind, tried[kind], reordered[kind], unanswered[kind], \
                    faults[kind], failed[kind], int(micros[kind] / 1000000 + 0.5)
            }
            printf format, "all", all[2], all[3], all[4], all[5], all[6], seconds
            exit all[5] + all[6] > 0
        }' || failures+=("$part")
    rm -f "$folder"/*
}

failures=()
for part in "${parts[@]}"; do
    count=$programs
    if [ "$part" != model ] && [ "$programs" -gt "$most" ]; then
        count=$most
    fi
    run_part "$part" "$count"
done
printf '\n=== %d of %d parts failed (%s), %d s\n' \
    ${#failures[@]} ${#parts[@]} "${failures[*]:-none}" "$SECONDS"
[ ${#failures[@]} -eq 0 ]
