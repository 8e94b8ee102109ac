//! The harness's one clock: CLOCK_BOOTTIME in nanoseconds, the clock that nodes and agents stamp their audit
//! events with. One machine has one such clock, so events of all processes have one exact order. Beside it, what a thread
//! has cost.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, suspends included.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    Duration::from(now).as_nanos() as u64
}

/// Processor time that the calling thread has used: a speed counted by it is the same on a busy machine.
pub fn thread_time() -> Duration {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    used.expect("Linux has CLOCK_THREAD_CPUTIME_ID since 2.6.12").into()
}

/// Milliseconds from `start_ns` to `t_ns`, negative if it lies before.
pub fn ms_between(start_ns: u64, t_ns: u64) -> f64 {
    (t_ns as f64 - start_ns as f64) / 1e6
}
