//! What tasks await.
//!
//! Each file is one of them, written with public names as far as that goes. A
//! new one goes into a file of its own.

mod around;
mod yield_now;
mod sleep;
mod scope;
mod shield;
mod finally;
mod timeout_handle;
mod deadline;
mod timeout;
mod interval;
mod watching;
mod gather;
mod wait;
mod group_error;
mod group;

pub use deadline::Elapsed;
pub use finally::{CleanupFailed, finally};
pub use gather::{gather, settle, try_gather};
pub use group::{Group, group};
pub use group_error::{GroupError, OwnedByGroup};
pub use interval::{Interval, MissedTicks, ZeroInterval, interval, interval_at};
pub use scope::scope;
pub use shield::shield;
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{timeout, timeout_at, timeout_by};
pub use timeout_handle::TimeoutHandle;
pub use wait::{AsCompleted, WaitFor, as_completed, wait, wait_timeout};
pub use yield_now::{YieldNow, yield_now};
