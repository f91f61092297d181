//! How much is tried: little by `cargo test`, much by `tests/long.sh`.

/// `short`; or `long` with `HEARKEN_LONG=1` in the environment, if the build is
/// optimized: otherwise that would take hours.
pub fn times(short: u64, long: u64) -> u64 {
    let wanted = std::env::var("HEARKEN_LONG").is_ok_and(|long| long == "1");
    if wanted && !cfg!(debug_assertions) { long } else { short }
}
