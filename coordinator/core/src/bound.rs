//! What the gate remembers of acknowledgements in `bounded`, and what must be confirmed before the next: rule 5 and 6 of
//! [`crate::replication`], as arithmetic. The gate itself is C (`client/gate/bound.c`) and does the same in shared
//! memory; here it stands to be read, tested at its boundaries, and played in the simulated world.
//!
//! What may not enter: a clock, and who the confirmers are.

use crate::ids::{Epoch, Lsn};
use crate::mutant::{self, Mutant};
use crate::time::Time;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Shortest and longest bound accepted. A commit that waits looks again every 5 ms, and the window in which it passes may be
/// no longer than the bound: below two looks it could be missed. (The grain of the record is a part of the bound, so it
/// sets no limit.) Above a minute nothing is bounded that `async` would not lose.
pub const RPO_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Into how many slots a bound is divided: a commit counts as old by so much of the bound too early, and never too late.
pub const SLOTS: u64 = 64;

/// The highest end of a commit acknowledged in each slot of time that may still be young, and of all before.
#[derive(Clone, Default, Debug)]
pub struct Bound {
    epoch: Epoch,
    rpo: Duration,
    old: Lsn,
    recent: BTreeMap<u64, Lsn>,
}

impl Bound {
    /// Up to where all confirmers must have flushed before something is acknowledged now. `flushed` is what this Postgres
    /// has flushed: it counts as old where nothing is known of the time before.
    pub fn must_have(&mut self, epoch: Epoch, rpo: Duration, flushed: Lsn, now: Time) -> Lsn {
        if (epoch, rpo) != (self.epoch, self.rpo) {
            let recent = std::mem::take(&mut self.recent).into_values().max().unwrap_or_default();
            self.old = self.old.max(recent);
            if !mutant::on(Mutant::EarlierForgotten) {
                self.old = self.old.max(flushed);
            }
            (self.epoch, self.rpo) = (epoch, rpo);
        }
        let width = self.width();
        // A slot is old as soon as its beginning is: the commits in it may be that old.
        let is_old = |slot: u64| u128::from(slot) * u128::from(width) + rpo.as_nanos() < u128::from(now.0);
        while let Some((slot, end)) = self.recent.first_key_value().map(|(slot, end)| (*slot, *end)) {
            if !is_old(slot) {
                break;
            }
            self.old = self.old.max(end);
            self.recent.remove(&slot);
        }
        if mutant::on(Mutant::BoundIgnored) { Lsn(0) } else { self.old }
    }

    /// A commit that ends there is acknowledged now.
    pub fn acknowledged(&mut self, end: Lsn, now: Time) {
        let slot = self.recent.entry(now.0 / self.width()).or_default();
        *slot = end.max(*slot);
    }

    fn width(&self) -> u64 {
        let width = self.rpo.as_nanos() / u128::from(SLOTS);
        u64::try_from(width).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPO: Duration = Duration::from_millis(64);
    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time(1_000 * MS + ms * MS)
    }

    fn begun() -> Bound {
        let mut bound = Bound::default();
        assert_eq!(bound.must_have(Epoch(1), RPO, Lsn(100), at(0)), Lsn(100), "all before counts as old");
        bound
    }

    #[test]
    fn a_commit_counts_as_old_when_its_slot_begins_to_be() {
        let mut bound = begun();
        bound.acknowledged(Lsn(200), Time(at(0).0 + MS - 1)); // the last moment of a slot of 1 ms
        assert_eq!(bound.must_have(Epoch(1), RPO, Lsn(900), at(64)), Lsn(100));
        assert_eq!(bound.must_have(Epoch(1), RPO, Lsn(900), Time(at(64).0 + 1)), Lsn(200), "never too late");
    }

    #[test]
    fn only_what_was_acknowledged_counts_and_the_highest_of_it() {
        let mut bound = begun();
        for (end, ms) in [(300, 1), (200, 2), (400, 70)] {
            bound.acknowledged(Lsn(end), at(ms));
        }
        assert_eq!(bound.must_have(Epoch(1), RPO, Lsn(900), at(100)), Lsn(300));
        assert_eq!(bound.must_have(Epoch(1), RPO, Lsn(900), at(10_000)), Lsn(400));
    }

    #[test]
    fn another_epoch_or_bound_makes_all_before_old() {
        for (epoch, rpo) in [(Epoch(2), RPO), (Epoch(1), RPO * 2)] {
            let mut bound = begun();
            bound.acknowledged(Lsn(950), at(1)); // acknowledged before it was flushed
            assert_eq!(bound.must_have(epoch, rpo, Lsn(900), at(2)), Lsn(950));
            assert_eq!(bound.must_have(epoch, rpo, Lsn(999), at(2)), Lsn(950), "once");
        }
    }
}
