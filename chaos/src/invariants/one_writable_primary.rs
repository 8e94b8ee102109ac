//! S1: for epochs e < f, no write acknowledged under e was invoked after a write under f was acknowledged.
//! And, from S2: a timeline is written by one instance.
//!
//! A write tells its timeline, not its epoch: a row inserted while its server was being promoted commits under an
//! epoch that did not hold yet when the row was made. Each promotion begins a timeline of a higher number, so along
//! the chain of primaries the two have one order; and two that were promoted from the same timeline, which would
//! give theirs the same number, are caught as one timeline with two writers.
//!
//! Sorting makes the check exact and O(n log n): a write may be invoked at the latest when the first acknowledgement
//! on any later timeline comes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history::{Receipt, Write};

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Acknowledged writes looked at.
    pub acknowledged: usize,
    /// Rows acknowledged by an old primary although they were sent after the new one had acknowledged.
    pub late: Vec<u64>,
    /// Rows on a timeline that another instance has written on as well.
    pub shared: Vec<u64>,
}

impl Report {
    /// Whether the theorem holds.
    pub fn holds(&self) -> bool {
        self.late.is_empty() && self.shared.is_empty()
    }
}

/// Checks a whole history.
pub fn check(writes: &[Write]) -> Report {
    let acknowledged: Vec<_> = writes.iter().filter_map(|write| Some((write, write.receipt()?))).collect();
    Report { acknowledged: acknowledged.len(), late: late(&acknowledged), shared: shared(&acknowledged) }
}

fn late(acknowledged: &[(&Write, &Receipt)]) -> Vec<u64> {
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    for (_, receipt) in acknowledged {
        let earliest = first.entry(receipt.timeline).or_insert(u64::MAX);
        *earliest = receipt.at_ns.min(*earliest);
    }
    // From the newest timeline down: when the first acknowledgement on any later one came.
    let mut limits = BTreeMap::new();
    let mut limit = u64::MAX;
    for (timeline, earliest) in first.into_iter().rev() {
        limits.insert(timeline, limit);
        limit = limit.min(earliest);
    }
    let is_late = |(write, receipt): &&(&Write, &Receipt)| write.invoked_ns > limits[&receipt.timeline];
    acknowledged.iter().filter(is_late).map(|(write, _)| write.id).collect()
}

fn shared(acknowledged: &[(&Write, &Receipt)]) -> Vec<u64> {
    let mut writers = BTreeMap::new();
    let is_foreign = |(write, receipt): &&(&Write, &Receipt)| {
        *writers.entry(receipt.timeline).or_insert(write.instance) != write.instance
    };
    acknowledged.iter().filter(is_foreign).map(|(write, _)| write.id).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::write;
    use super::*;
    use crate::history::Outcome;

    #[test]
    fn a_clean_failover_holds() {
        // The second was sent before the new primary acknowledged, and answered after: that is no lie.
        let report = check(&[write(1, 0, 1, 10, 20), write(2, 0, 1, 25, 90), write(3, 1, 2, 50, 60)]);
        assert!(report.holds(), "{report:?}");
        assert_eq!(report.acknowledged, 3);
    }

    #[test]
    fn an_old_primary_that_acknowledges_later_is_caught_even_two_timelines_back() {
        let new = [write(1, 1, 2, 50, 60), write(2, 2, 3, 200, 210)];
        for (sent, answered) in [(61, 62), (205, 211), (400, 500)] {
            let late = write(9, 0, 1, sent, answered);
            let report = check(&[new[0].clone(), late, new[1].clone()]);
            assert_eq!(report.late, [9], "sent at {sent}");
        }
    }

    #[test]
    fn a_refused_late_write_is_no_violation() {
        let mut late = write(9, 0, 1, 61, 62);
        late.outcome = Outcome::Failed("25006".into());
        assert!(check(&[write(1, 1, 2, 50, 60), late]).holds());
    }

    #[test]
    fn two_instances_on_one_timeline_are_caught() {
        let report = check(&[write(1, 1, 2, 10, 20), write(2, 2, 2, 11, 21)]);
        assert_eq!(report.shared, [2]);
        assert!(!report.holds());
    }
}
