#!/usr/bin/env python3
"""Changes the library in one small way after another, and sees whether a test fails.
From any folder:

    python3 tests/mutants.py [FILE]...     # below executor/; or what decides

`cargo-mutants` says what the changes are (`cargo install cargo-mutants`). To build
the tests anew for each takes a minute, so all are built at once: in a copy, a function
has each of its changed bodies beside its own, and HEARKEN_MUTANT says which is run.

    fn is_polled(self) -> bool {
        match crate::mutant() {
            1 => { true }
            2 => { false }
            _ => { matches!(self, Life::Polling | Life::PollingCancelRequested) }
        }
    }

Every test is run until one fails, the quick ones first, and whoever was the last to
find something before all others. What none finds is printed as MISSED, and that a test
did not end as TIMED OUT: on a machine with much else to do that may say nothing. Those
that are known stand in docs/reliability.md.
Constants and `const fn` cannot ask, and two bodies cannot give the same `impl Trait`;
those are left out.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

DECIDERS = ["life.rs", "interrupt.rs", "stop.rs", "shutdown.rs", "rules.rs", "wheel.rs"]
# Those that read the library's source, which here is another.
NOT_RUN = {"house", "promises"}
# The random programs have more seeds than a fault needs.
SEEDS = "200"
MOST_BYTES = 4 << 30

ROOT = Path(__file__).resolve().parent.parent
FOLDER = (ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "mutants").resolve()
COPY = FOLDER / "copy"

ASKING = """
#[doc(hidden)]
pub(crate) fn mutant() -> u32 {
    static WHICH: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *WHICH.get_or_init(|| std::env::var("HEARKEN_MUTANT").map_or(0, |n| n.parse().unwrap()))
}
"""


def main():
    files = [f"executor/{name}" for name in sys.argv[1:] or DECIDERS]
    copy_sources()
    mutants = list_mutants(files)
    results = dict.fromkeys((mutant["number"] for mutant in mutants), None)
    results.update(drop_what_does_not_compile(files, mutants))
    tests = measure(build_tests())
    for mutant in mutants:
        if results[mutant["number"]] is None:
            results[mutant["number"]] = try_mutant(mutant, tests)
    print_table(files, mutants, results)


def copy_sources():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    with open(COPY / "executor/lib.rs", "a") as lib:
        lib.write(ASKING)


# What is changed, and where it goes


def list_mutants(files):
    command = ["cargo", "mutants", "--list", "--json", *(f"--file={file}" for file in files)]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    mutants = json.loads(listed.stdout)
    mutants.sort(key=lambda mutant: files.index(mutant["file"]))
    for number, mutant in enumerate(mutants, 1):
        mutant["number"] = number
    return mutants


def drop_what_does_not_compile(files, mutants):
    """Writes all changes into the copy, until the compiler is content with those that
    are left."""
    results = {}
    while True:
        lines = {}
        for file in files:
            of_file = [m for m in mutants if m["file"] == file and m["number"] not in results]
            lines[file], left_out = write_mutants(file, of_file)
            results.update(dict.fromkeys(left_out, "left out"))
        checked = subprocess.run(
            ["cargo", "check", "--quiet", "--lib", "--message-format", "json"],
            cwd=COPY, env=build_environment(), capture_output=True, text=True,
        )
        if checked.returncode == 0:
            return results
        wrong = set()
        for line in checked.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            if message.get("level") != "error":
                continue
            for span in message["spans"]:
                number = lines.get(span["file_name"], {}).get(span["line_start"])
                if span["is_primary"] and number:
                    wrong.add(number)
        if not wrong:
            sys.exit("the copy does not compile, and no change is at fault")
        results.update(dict.fromkeys(wrong, "does not compile"))


def write_mutants(file, mutants):
    """Answers whose line each changed line is, and the numbers of those who cannot be
    written."""
    text = (ROOT / file).read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(span):
        return tuple(
            starts[span[end]["line"] - 1] + span[end]["column"] - 1 for end in ("start", "end")
        )

    functions = {place(m["function"]["span"]) for m in mutants if m["function"]}
    inside = {}
    left_out = []
    for mutant in mutants:
        at = place(mutant["span"])
        # A function in a function goes with the outer one.
        around = [f for f in functions if f[0] <= at[0] and at[1] <= f[1]]
        if around and not re.search(r"\bconst fn|-> impl", head(text, min(around))):
            inside.setdefault(min(around), []).append((mutant, at))
        else:
            left_out.append(mutant["number"])

    written, lines, done = "", {}, 0
    for function in sorted(inside):
        begin, end = function[0] + len(head(text, function)), function[1] - 1
        written += text[done:begin] + "match crate::mutant() {\n"
        for mutant, at in inside[function]:
            first = written.count("\n") + 1
            changed = text[begin:at[0]] + mutant["replacement"] + text[at[1]:end]
            written += f"{mutant['number']} => {{{changed}}}\n"
            for line in range(first, written.count("\n") + 1):
                lines[line] = mutant["number"]
        written += f"_ => {{{text[begin:end]}}}\n}}"
        done = end
    (COPY / file).write_text(written + text[done:])
    return lines, left_out


def head(text, function):
    """A function up to the brace that opens its body."""
    depth = 0
    for token in re.finditer(r"//[^\n]*|[(\[)\]{]", text[slice(*function)]):
        if token[0] == "{" and depth == 0:
            return text[function[0]:function[0] + token.end()]
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token[0], 0)
    raise ValueError("a function without a body")


# The tests


def build_environment():
    return os.environ | {
        "CARGO_TARGET_DIR": str(FOLDER / "target"),  # which cargo makes and marks
        "CARGO_INCREMENTAL": "0",
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "RUSTFLAGS": os.environ.get("RUSTFLAGS", "") + " --cap-lints allow",
    }


def build_tests():
    """Answers the programs by name. Some start the examples."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--examples"],
        cwd=COPY, check=True, env=build_environment(),
    )
    built = subprocess.run(
        ["cargo", "test", "--no-run", "--quiet", "--lib", "--tests", "--message-format", "json"],
        cwd=COPY, check=True, env=build_environment(), stdout=subprocess.PIPE, text=True,
    )
    messages = map(json.loads, built.stdout.splitlines())
    programs = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}
    return {name: path for name, path in programs.items() if name not in NOT_RUN}


def measure(programs):
    """Runs all without a change. Answers those that pass, the quick ones first: name,
    path, seconds."""
    tests = []
    for name, path in programs.items():
        began = time.monotonic()
        outcome = run_test(path, 0, 600)
        if outcome == "passed":
            tests.append((name, path, time.monotonic() - began))
        else:
            print(f"{name} {outcome} without a change, and is left out", flush=True)
    return sorted(tests, key=lambda test: test[2])


def try_mutant(mutant, tests):
    for at, test in enumerate(tests):
        name, path, seconds = test
        most_seconds = 10 + 5 * seconds
        outcome = run_test(path, mutant["number"], most_seconds)
        # A test that fails without the change as well has found nothing.
        if outcome == "passed" or run_test(path, 0, most_seconds) != "passed":
            continue
        print(f"{outcome:9} {name:20} {mutant['name']}", flush=True)
        if outcome == "TIMED OUT":
            return "timed out"
        tests.insert(0, tests.pop(at))
        return "caught"
    print(f"MISSED    {'':20} {mutant['name']}", flush=True)
    return "missed"


def run_test(path, number, most_seconds):
    """Runs a test program until a test of it fails."""

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def end():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def run_out():
        late.append(True)
        end()

    # Some build an example, which is there already.
    environment = build_environment() | {
        "HEARKEN_MUTANT": str(number),
        "HEARKEN_SEEDS": SEEDS,
        "RUST_BACKTRACE": "0",
        "RUST_LIB_BACKTRACE": "0",
    }
    process = subprocess.Popen(
        [path], cwd=COPY, env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=prepare,
    )
    late = []
    timer = threading.Timer(most_seconds, run_out)
    timer.start()
    failed = any(line.startswith("test ") and "FAILED" in line for line in process.stdout)
    timer.cancel()
    end()
    process.stdout.close()
    passed = process.wait() == 0
    if failed:
        return "caught"
    return "TIMED OUT" if late else "passed" if passed else "caught"


def print_table(files, mutants, results):
    kinds = ["caught", "timed out", "does not compile", "left out", "missed"]
    print("\n| file | mutants |", " | ".join(kinds), "|")
    print("| --- " * (len(kinds) + 2) + "|")
    for file in files:
        of_file = [results[m["number"]] for m in mutants if m["file"] == file]
        count = Counter(of_file)
        counts = " | ".join(str(count[kind]) for kind in kinds)
        print(f"| `{file.removeprefix('executor/')}` | {len(of_file)} | {counts} |")


if __name__ == "__main__":
    main()
