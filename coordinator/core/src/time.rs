//! Time as it is handed in: an instant on CLOCK_BOOTTIME of one machine, and the drift that the promise assumes.
//! Nothing here can read a clock.

use crate::mutant::{self, Mutant};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since the boot of the machine that took it; means nothing on another machine, nor after a boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The beginning: the machine's boot.
    pub const ZERO: Time = Time(0);
    /// Later than anything.
    pub const MAX: Time = Time(u64::MAX);

    /// How long before `self` that was; zero when it was not before.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it still is until then; zero when it is past.
    pub fn until(self, later: Time) -> Duration {
        later.since(self)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}ms", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The rate error a clock may have, in millionths: 0.5 % (design section 2).
pub const DRIFT_PPM: u64 = 5_000;

/// What the holder of a promise may count on, by its own clock, of a span that another clock measures.
///
/// Two clocks, each wrong by r at most, differ by up to 2r/(1+r) of the span (finding F7: a margin of r alone
/// let two leases overlap for 1.24 ms). A microsecond is kept back, because clocks are read in grains: to the last
/// nanosecond the bound is exact, and rounding alone broke it.
pub fn held(span: Duration) -> Duration {
    if mutant::on(Mutant::NoDriftMargin) {
        return span;
    }
    let million = 1_000_000;
    let kept = million - DRIFT_PPM; // 1 - 2r/(1+r) = (1-r)/(1+r)
    let whole = if mutant::on(Mutant::OneDriftMargin) { million } else { million + DRIFT_PPM };
    scaled(span, kept, whole).saturating_sub(Duration::from_micros(1))
}

/// The shortest span of which [`held`] leaves so much, in whole milliseconds, rounded up.
pub fn to_hold(span: Duration) -> Duration {
    let whole = scaled(span + Duration::from_micros(1), 1_000_000 + DRIFT_PPM, 1_000_000 - DRIFT_PPM);
    Duration::from_millis(whole.as_millis() as u64 + 1)
}

/// What a process must wait, by its own clock, to be sure that a span measured by the same clock before its restart
/// is over: the span and the drift, rounded up.
pub fn outlived(span: Duration) -> Duration {
    scaled(span, 1_000_000 + DRIFT_PPM, 1_000_000) + Duration::from_nanos(1)
}

fn scaled(span: Duration, numerator: u64, denominator: u64) -> Duration {
    let value = u128::from(nanos(span)) * u128::from(numerator) / u128::from(denominator);
    Duration::from_nanos(u64::try_from(value).unwrap_or(u64::MAX))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_holder_stops_before_the_fastest_witness() {
        for ms in [1, 50, 250, 1_000, 60_000] {
            let ttl = Duration::from_millis(ms);
            // A holder's clock that is slow by r measures held(ttl) in real time held / (1 - r);
            // a witness's clock that is fast by r measures ttl in real time ttl / (1 + r).
            let holder_real = held(ttl).as_nanos() * 1_000_000 / u128::from(1_000_000 - DRIFT_PPM);
            let witness_real = ttl.as_nanos() * 1_000_000 / u128::from(1_000_000 + DRIFT_PPM);
            assert!(holder_real <= witness_real, "{ms} ms: {holder_real} > {witness_real}");
        }
    }

    #[test]
    fn what_is_to_hold_a_span_holds_it_and_a_millisecond_less_may_not() {
        for us in [1, 50_000, 160_000, 240_000, 999_999, 60_000_000] {
            let (span, enough) = (Duration::from_micros(us), to_hold(Duration::from_micros(us)));
            assert!(held(enough) >= span, "{us} us: {enough:?}");
            assert!(held(enough.saturating_sub(Duration::from_millis(2))) < span, "{us} us: {enough:?}");
        }
    }

    #[test]
    fn a_margin_of_one_drift_alone_would_not_hold() {
        let ttl = Duration::from_millis(250);
        let wrong = scaled(ttl, 1_000_000 - DRIFT_PPM, 1_000_000);
        assert!(held(ttl) < wrong);
    }
}
