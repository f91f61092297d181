#!/usr/bin/env bash
# The tests as they are, built in ways that find what a plain build does not, which
# .ci/run leaves out. From any folder:
#
#     bash tests/sanitizers.sh [PART…]
#
# | part    | what is run, all by the nightly compiler                             |
# | ------- | -------------------------------------------------------------------- |
# | address | all tests under the address sanitizer                                |
# | leaks   | the same, and what is lost; without those that forget on purpose     |
# | thread  | the tests that have threads, under the thread sanitizer              |
# | layout  | all tests, with the fields of every type in another order            |
# | checks  | all tests, with the standard library's checks of unsafe code         |
# | abort   | those that need no unwinding, where a panic ends the process         |
#
# If none is named all are run. It goes on after a failure, and says at the end which
# parts failed. Only the crates are instrumented, not the standard library.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(address leaks thread layout checks abort)
target=${CARGO_TARGET_DIR:-target}
# With a target named the flags are not for build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_INCREMENTAL=0 RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0

# under FLAGS ARGUMENTS…: the tests, built with these flags, in a folder of the part. Some
# start the examples.
under() {
    local flags=$1
    shift
    with_flags() {
        RUSTFLAGS="${RUSTFLAGS:-} $flags" CARGO_TARGET_DIR="$target/$part" \
            CARGO_BUILD_TARGET=$host cargo +nightly "$@"
    }
    with_flags build --quiet --examples
    with_flags test --quiet --no-fail-fast "$@"
}

run_part() {
    case $part in
    address) ASAN_OPTIONS=detect_leaks=0 under -Zsanitizer=address --lib --tests ;;
    leaks)
        # These lose memory because they are about that: who forgets a future; a set of
        # futures-util that is lost when several of its members panic in their drop; and
        # what is thrown by the drop of what was thrown, which is forgotten, since its
        # drop might throw in its turn. Random programs that do so are left out, too.
        local lossy=(
            a_forgotten_scope_neither_swallows_nor_blocks_a_request
            a_task_with_nothing_but_ghosts_is_dropped
            what_was_on_its_way_out_of_a_body_that_has_ended_is_told_to_the_group
            a_set_of_futures_that_panic_as_they_are_dropped_ends_with_its_task
            a_payload_whose_drop_panics_is_dropped_quietly
            a_payload_that_panics_when_it_is_dropped_does_not_escape
        )
        part=address HEARKEN_WITHOUT="Forget Bomb Throw" \
            under -Zsanitizer=address --lib --tests -- "${lossy[@]/#/--skip=}"
        ;;
    thread)
        # What libtest itself does with its threads is not looked at; nor what is behind a
        # `OnceLock`, whose orders are in the standard library and so are not seen.
        local file=$target/thread.suppressions
        mkdir -p "$target"
        printf 'race:%s\n' library/test/src test:: std::sync::once_lock >"$file"
        TSAN_OPTIONS="suppressions=$(realpath "$file")" \
            under "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" --lib \
            --test wakes --test wake_reports --test several_executors --test callbacks \
            --test interrupts --test last_look
        ;;
    layout) under "-Zrandomize-layout" --lib --tests ;;
    checks) under "-Zub-checks=yes -Cdebug-assertions=yes -Coverflow-checks=yes" --lib --tests ;;
    abort)
        # Each test is a process of its own, and a panic that is caught elsewhere is its
        # end here. So those are left out that are about panics; and those that signal a
        # process of theirs, since the test is that one's child here, and would go on.
        under "-Cpanic=abort -Zpanic-abort-tests" --test time --test turns --test scopes \
            --test shields --test 'forwarding*' --test 'timeouts*' --test 'groups*' \
            --test moved_deadlines --test tokens --test waits --test shutdown \
            --test memory --test large_futures --test wakes --test wake_reports \
            -- --skip panic --skip a_turn_inside_of_a_turn
        ;;
    *) echo "there is no part $part" >&2 && return 1 ;;
    esac
}

failed=()
for part in "${parts[@]}"; do
    printf '\n=== %s\n' "$part"
    began=$SECONDS
    (run_part) || failed+=("$part")
    printf -- '--- %s: %d s\n' "$part" $((SECONDS - began))
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2 && exit 1; }
