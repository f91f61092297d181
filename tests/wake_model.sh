#!/usr/bin/env bash
# The protocol by which other threads reach an executor, under loom and shuttle:
# the scenarios of tests/models/, on the library's own pile.rs and inbox.rs. From
# any folder:
#
#     bash tests/wake_model.sh
#
# First all scenarios are run as the code is. Then each of the changes below is
# made to a copy of the code, and must be found: by loom, and where it stands in
# its line by shuttle, which does not know of weak memory. A change that is not
# found, or that sed does not find the place for, is a failure too.
#
# To see how one is found, for example the store in the place of the exchange:
#
#     bash tests/wake_model.sh store
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# name | tools that find it | file | what sed does
changes=$(
    cat <<'END'
store | loom | inbox.rs | s/let _rung_or_not = self.inbox.bell.swap(QUIET, Ordering::AcqRel)/self.inbox.bell.store(QUIET, Ordering::Release)/
look-then-exchange | loom shuttle | inbox.rs | /let _rung_or_not = /{h;d};/^        self.take_wakes(|_| ());/{p;x}
forgotten-pile | loom shuttle | inbox.rs | /^        self.take_wakes(|_| ());/d
wait-without-look | loom shuttle | inbox.rs | /compare_exchange(QUIET, WAITING/{s/compare_exchange(QUIET, WAITING, Ordering::AcqRel, Ordering::Acquire)/swap(WAITING, Ordering::AcqRel)/;n;s/.is_ok()/.ne(\&WAITING)/}
park-without-lock | loom shuttle | inbox.rs | /fn sleep_until/,/^    }/{s/while self.is_waiting()/let waits = self.is_waiting();\n        let mut door = { drop(door); self.inbox.door() };\n        while waits/}
letter-through-a-closed-door | loom shuttle | inbox.rs | /fn close(/,/^    }/{s/self.inbox.door().open_for = None;//;s/self.inbox.take_letters()/{ let left = self.inbox.take_letters(); self.inbox.door().open_for = None; left }/}
panic-for-another | loom shuttle | inbox.rs | s/tenant.is_none() || door.open_for != tenant/tenant.is_none()/
slot-cleared-after-the-poll | loom shuttle | pile.rs | /place.lies.swap(false, Ordering::AcqRel);/d;s/^            take(slot);/            take(slot);\n            place.lies.swap(false, Ordering::AcqRel);/
load-before-the-swap | loom | pile.rs | s/if place.lies.swap(true, Ordering::AcqRel)/if place.lies.load(Ordering::Relaxed) || place.lies.swap(true, Ordering::AcqRel)/
relaxed-swap | loom | pile.rs | s/place.lies.swap(\(true\|false\), Ordering::AcqRel)/place.lies.swap(\1, Ordering::Relaxed)/
relaxed-push | loom | pile.rs | s/(Ordering::Release, Ordering::Relaxed)/(Ordering::Relaxed, Ordering::Relaxed)/
END
)
named=("$@")

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export RUST_BACKTRACE=0 SHUTTLE_SILENCE_WARNINGS=1
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target

if [ ${#named[@]} -eq 0 ]; then
    cargo build --quiet --release --package hearken-models --examples
    for tool in loom shuttle; do
        printf '\n=== %s\n' "$tool"
        "$target/release/examples/wake-$tool"
    done
fi

# The models and the two files, as they stand to one another here.
mkdir -p "$folder/executor" "$folder/tests"
cp -r tests/models "$folder/tests/"
cp Cargo.lock "$folder/tests/models/"
printf '\n[workspace]\n' >>"$folder/tests/models/Cargo.toml"

printf '\n=== changes that must be found\n'
failed=()
while IFS='|' read -r name tools file change; do
    name=${name// /} file=${file// /}
    if [ ${#named[@]} -gt 0 ] && [[ " ${named[*]} " != *" $name "* ]]; then
        continue
    fi
    cp executor/pile.rs executor/inbox.rs "$folder/executor/"
    sed -i -e "${change# }" "$folder/executor/$file"
    if cmp -s "executor/$file" "$folder/executor/$file"; then
        echo "$name: there is no such place in $file any more" && failed+=("$name")
        continue
    fi
    # In a folder of its own: there is one of the code as it is, too.
    if ! cargo build --quiet --release --examples --manifest-path "$folder/tests/models/Cargo.toml" \
        --target-dir "$target/changed" 2>"$folder/errors"; then
        cat "$folder/errors"
        echo "$name: does not compile" && failed+=("$name")
        continue
    fi
    for tool in $tools; do
        status=0
        timeout 300 "$target/changed/release/examples/wake-$tool" >"$folder/said" 2>&1 || status=$?
        if [ "$status" -eq 101 ]; then
            how=$(grep -m 1 -A 1 'panicked at' "$folder/said" | tail -n 1)
            echo "$name: $tool finds it, after $(grep -c executions, "$folder/said" || true)" \
                "scenarios: $how"
        else
            echo "$name: $tool does not find it (status $status)" && failed+=("$name")
        fi
    done
    [ ${#named[@]} -eq 0 ] || cat "$folder/said"
done <<<"$changes"

printf '\n=== %d failed (%s), %d s\n' ${#failed[@]} "${failed[*]:-none}" "$SECONDS"
[ ${#failed[@]} -eq 0 ]
