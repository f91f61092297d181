//! What tasks await.
//!
//! Each file is one of them, written with public names as far as that goes. A
//! new one goes into a file of its own.

mod around;
mod yield_now;
mod sleep;
mod timeout;
mod interval;
mod gather;

pub use gather::{gather, settle};
pub use interval::{Interval, MissedTicks, ZeroInterval, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, timeout, timeout_at};
pub use yield_now::{YieldNow, yield_now};
