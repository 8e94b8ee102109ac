//! S4 and S5, as far as a mode promises them: each acknowledged row is on the primary in the end, or it is in the
//! part of the old primary's log that the new timeline left behind, and its commit record is found there. Nothing
//! appears that nobody wrote, and nothing lost comes back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::history::{Outcome, Write};

/// The end of a timeline that its successor did not take along.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tail {
    /// The timeline that was left.
    pub timeline: u32,
    /// Where it was left.
    pub fork: u64,
    /// Commit records found behind that point: transaction id and position.
    pub commits: BTreeMap<u64, u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Acknowledged rows.
    pub acknowledged: usize,
    /// Of those, rows on the primary in the end.
    pub present: usize,
    /// Of those, rows that only an abandoned tail has, and it does have them.
    pub lost: Vec<u64>,
    /// Of those, rows found nowhere.
    pub unaccounted: Vec<u64>,
    /// Rows on the primary that nobody wrote, or that were refused.
    pub from_nowhere: Vec<u64>,
    /// Rows that were lost before and are there again.
    pub reappeared: Vec<u64>,
}

impl Report {
    /// Whether the theorem holds.
    pub fn holds(&self) -> bool {
        self.unaccounted.is_empty() && self.from_nowhere.is_empty() && self.reappeared.is_empty()
    }
}

/// Compares what was acknowledged with what is there: `present` on the primary, `tails` in the old ones' logs,
/// `lost_before` by an earlier check.
pub fn check(
    writes: &[Write],
    present: &BTreeSet<u64>,
    tails: &[Tail],
    lost_before: &BTreeSet<u64>,
) -> Report {
    let mut report = Report::default();
    let mut possible = BTreeSet::new();
    for write in writes {
        if !matches!(write.outcome, Outcome::Failed(_)) {
            possible.insert(write.id);
        }
        let Some(receipt) = write.receipt() else { continue };
        report.acknowledged += 1;
        let in_tail = tails.iter().any(|tail| {
            let commit = tail.commits.get(&receipt.xid);
            tail.timeline == receipt.timeline && commit.is_some_and(|lsn| *lsn >= tail.fork)
        });
        match present.contains(&write.id) {
            true => report.present += 1,
            false if in_tail => report.lost.push(write.id),
            false => report.unaccounted.push(write.id),
        }
    }
    report.from_nowhere = present.difference(&possible).copied().collect();
    report.reappeared = present.intersection(lost_before).copied().collect();
    report
}

#[cfg(test)]
mod tests {
    use super::super::testing::write;
    use super::*;

    fn tail(commits: &[(u64, u64)]) -> Tail {
        Tail { timeline: 1, fork: 150, commits: commits.iter().copied().collect() }
    }

    #[test]
    fn present_and_lost_rows_are_told_apart() {
        let writes = [write(1, 0, 1, 0, 1), write(2, 0, 1, 2, 3), write(3, 1, 2, 4, 5)];
        let report = check(&writes, &[1, 3].into(), &[tail(&[(702, 220)])], &[].into());
        assert!(report.holds(), "{report:?}");
        assert_eq!((report.acknowledged, report.present, report.lost), (3, 2, vec![2]));
    }

    #[test]
    fn a_row_that_should_have_been_there_is_unaccounted() {
        let writes = [write(2, 0, 1, 2, 3)];
        // Its commit lies before the fork, or was written on another timeline, or is nowhere.
        let mut elsewhere = tail(&[(702, 220)]);
        elsewhere.timeline = 3;
        for wrong in [tail(&[(702, 149)]), elsewhere, tail(&[])] {
            assert_eq!(check(&writes, &[].into(), &[wrong], &[].into()).unaccounted, [2]);
        }
    }

    #[test]
    fn ghosts_and_revenants_are_caught() {
        let mut refused = write(5, 0, 1, 0, 1);
        refused.outcome = Outcome::Failed("25006".into());
        let mut unknown = write(6, 0, 1, 0, 1);
        unknown.outcome = Outcome::Unknown("connection closed".into());
        let report = check(&[refused, unknown], &[5, 6, 7].into(), &[], &[6].into());
        assert_eq!(report.from_nowhere, [5, 7], "an unknown one may be there, a refused one may not");
        assert_eq!(report.reappeared, [6]);
        assert!(!report.holds());
    }
}
