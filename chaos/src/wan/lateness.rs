//! How late the emulator itself was. On a machine that is too busy, what was not in time says nothing about failover.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a timer's oversleeping is measured.
pub(super) const TICK: Duration = Duration::from_millis(5);
const BUCKET_US: u64 = 20;
const BUCKETS: usize = 10_000;
/// Above this at the 99.9th percentile, what was not in time may be so because of it.
pub const LIMIT_MS: f64 = 2.0;
/// Above this at the 99.9th percentile the links were not those that were asked for: packets that waited for the forwarder outlive
/// a short cut. A sixth of the shortest that a scenario asks for, half of the shortest that chance draws.
pub const UNLIKE_MS: f64 = 50.0;

/// Two histograms of the one thread that delays. `chunks` (of a stream for the relays, packets for the forwarder): time from
/// when a chunk was due to when it was written, chunks behind a slow reader or a cut link excepted. `ticks`: how much a
/// 5 ms timer overslept; it catches what `chunks` cannot, the time a chunk lay in the kernel before the thread got to read it.
#[derive(Default)]
pub struct Lateness {
    chunks: Histogram,
    ticks: Histogram,
}

/// What was measured. Times in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LatenessReport {
    /// Chunks that were measured.
    pub chunks: u64,
    /// Median lateness of a chunk.
    pub p50_ms: f64,
    /// 99th percentile of a chunk.
    pub p99_ms: f64,
    /// 99.9th percentile: the worse of chunks and ticks.
    pub p999_ms: f64,
    /// Worst of all.
    pub max_ms: f64,
}

impl LatenessReport {
    /// Whether the links were in time: whether times in milliseconds over them may be compared.
    pub fn valid(&self) -> bool {
        self.p999_ms <= LIMIT_MS
    }

    /// Whether they were those that were asked for, if late: whether a run over them says anything.
    pub fn faithful(&self) -> bool {
        self.p999_ms <= UNLIKE_MS
    }
}

impl Lateness {
    pub(super) fn chunk(&self, late: Duration) {
        self.chunks.record(late);
    }

    pub(super) fn tick(&self, late: Duration) {
        self.ticks.record(late);
    }

    pub(super) fn report(&self) -> LatenessReport {
        LatenessReport {
            chunks: self.chunks.count(),
            p50_ms: self.chunks.percentile_ms(0.5),
            p99_ms: self.chunks.percentile_ms(0.99),
            p999_ms: self.chunks.percentile_ms(0.999).max(self.ticks.percentile_ms(0.999)),
            max_ms: self.chunks.max_ms().max(self.ticks.max_ms()),
        }
    }

    pub(super) fn forget(&self) {
        self.chunks.clear();
        self.ticks.clear();
    }
}

struct Histogram {
    buckets: Vec<AtomicU64>,
    max_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn record(&self, late: Duration) {
        let us = late.as_micros() as u64;
        let bucket = ((us / BUCKET_US) as usize).min(BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    /// Upper edge of the bucket that holds the percentile, and never more than the worst seen.
    fn percentile_ms(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let edge = self.buckets.iter().position(|b| {
            seen += b.load(Ordering::Relaxed);
            seen >= wanted.max(1)
        });
        edge.map_or(0.0, |i| ((i as u64 + 1) * BUCKET_US) as f64 / 1e3).min(self.max_ms())
    }

    fn max_ms(&self) -> f64 {
        self.max_us.load(Ordering::Relaxed) as f64 / 1e3
    }

    fn clear(&self) {
        self.buckets.iter().for_each(|b| b.store(0, Ordering::Relaxed));
        self.max_us.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_upper_edges_and_a_late_run_is_invalid() {
        let lateness = Lateness::default();
        (0..998).for_each(|_| lateness.chunk(Duration::from_micros(110)));
        assert!(lateness.report().valid());
        (0..2).for_each(|_| lateness.chunk(Duration::from_millis(7)));
        let report = lateness.report();
        assert_eq!(report.chunks, 1000);
        assert_eq!((report.p50_ms, report.p99_ms), (0.12, 0.12));
        assert_eq!(report.p999_ms, 7.0);
        assert!(!report.valid());
        lateness.forget();
        assert_eq!(lateness.report().max_ms, 0.0);
    }
}
