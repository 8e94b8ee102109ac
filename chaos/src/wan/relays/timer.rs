//! A timer with the kernel's resolution: tokio's own rounds up to whole milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

pub(super) struct Timer(AsyncFd<Fd>);

struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    pub fn new() -> io::Result<Timer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = Fd(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: `Fd` owns its descriptor and names the same one for as long as it lives.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Timer(registered.map_err(io::Error::other)?))
    }

    /// Waits until `when`; returns at once if that has passed.
    pub async fn until(&self, when: Instant) -> io::Result<()> {
        loop {
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.0
                .get_ref()
                .0
                .set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            // Setting the timer again takes its readiness back; an early wake-up only goes round the loop.
            self.0.readable().await?.clear_ready();
        }
    }
}
