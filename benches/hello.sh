#!/usr/bin/env bash
# What a program gets with an executor: its crates, the time to build it, its
# size. For each executor a program that spawns a task, awaits it and prints
# what it said is made in a temporary folder, which is gone afterwards.
#
#     bash benches/hello.sh [BUILDS]
#
# crates   packages in `cargo tree -e normal`, the program itself left out
# seconds  of a clean release build, everything downloaded: the median of BUILDS (3)
# KB       of the stripped program, more than one without any executor has
#
# Versions are those of this workspace's Cargo.lock.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
builds=${1:-3}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
export CARGO_TARGET_DIR="$room/target"

# package NAME DEPENDENCIES, the program on standard input.
package() {
    mkdir -p "$room/$1/src"
    cat >"$room/$1/src/main.rs"
    cp "$here/Cargo.lock" "$room/$1/"
    cat >"$room/$1/Cargo.toml" <<EOF
[package]
name = "hello"
version = "0.0.0"
edition = "2024"

[dependencies]
$2

[profile.release]
strip = true

[workspace]
EOF
}

package std-only '' <<'EOF'
fn main() {
    println!("hello");
}
EOF

package hearken "anyhow = '1'
hearken = { path = '$here' }" <<'EOF'
fn main() -> anyhow::Result<()> {
    let hello = hearken::run(async { Ok(hearken::spawn(async { Ok("hello") }).await?) })?;
    println!("{hello}");
    Ok(())
}
EOF

package hearken-plain "anyhow = '1'
hearken = { path = '$here', default-features = false }" <<'EOF'
fn main() -> anyhow::Result<()> {
    let hello = hearken::run(async { Ok(hearken::spawn(async { Ok("hello") }).await?) })?;
    println!("{hello}");
    Ok(())
}
EOF

package tokio "tokio = { version = '1', features = ['rt'] }" <<'EOF'
use tokio::runtime::{Builder, LocalOptions};

fn main() {
    let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
    let hello = runtime.block_on(async { tokio::task::spawn_local(async { "hello" }).await });
    println!("{}", hello.unwrap());
}
EOF

package async-executor "async-executor = '1'
futures-lite = '2'" <<'EOF'
fn main() {
    let executor = async_executor::LocalExecutor::new();
    let task = executor.spawn(async { "hello" });
    println!("{}", futures_lite::future::block_on(executor.run(task)));
}
EOF

package local-pool "futures-executor = '0.3'
futures-util = { version = '0.3', default-features = false, features = ['channel', 'std'] }" <<'EOF'
use futures_util::task::LocalSpawnExt;

fn main() {
    let mut pool = futures_executor::LocalPool::new();
    let task = pool.spawner().spawn_local_with_handle(async { "hello" }).unwrap();
    println!("{}", pool.run_until(task));
}
EOF

package monoio "monoio = '0.2'" <<'EOF'
fn main() {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().build().unwrap();
    println!("{}", runtime.block_on(async { monoio::spawn(async { "hello" }).await }));
}
EOF

package compio "compio-runtime = '0.12'
compio-driver = '0.12'" <<'EOF'
fn main() {
    let runtime = compio_runtime::Runtime::new().unwrap();
    let hello = runtime.block_on(async { compio_runtime::spawn(async { "hello" }).await });
    println!("{}", hello.unwrap());
}
EOF

# In tenths of a second, so that they can be sorted and divided.
build() {
    rm -rf "$CARGO_TARGET_DIR"
    local began=$(date +%s%N)
    cargo build --release --offline --quiet
    echo $((($(date +%s%N) - began) / 100000000))
}

printf '%-16s %8s %8s %8s\n' program crates seconds KB
for name in std-only hearken hearken-plain tokio async-executor local-pool monoio compio; do
    cd "$room/$name"
    cargo fetch --quiet
    crates=$(($(cargo tree -e normal --prefix none --format '{p}' | sed 's/ (\*)$//' | sort -u | wc -l) - 1))
    tenths=$(for ((build = 0; build < builds; build++)); do build; done | sort -n)
    tenths=$(sed -n "$((builds / 2 + 1))p" <<<"$tenths")
    said=$("$CARGO_TARGET_DIR/release/hello")
    [ "$said" = hello ] || { echo "$name said: $said" >&2; exit 1; }
    bytes=$(wc -c <"$CARGO_TARGET_DIR/release/hello")
    [ "$name" = std-only ] && least=$bytes
    printf '%-16s %8d %6d.%d %8d\n' \
        "$name" "$crates" $((tenths / 10)) $((tenths % 10)) $(((bytes - least) / 1024))
done
