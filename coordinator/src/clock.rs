//! The clocks. Decisions are taken on CLOCK_BOOTTIME alone: it counts suspend and nobody sets it.

use nix::time::{ClockId, clock_gettime};
use regent_core::time::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, for decisions.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    Time(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock in milliseconds, for people only.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
