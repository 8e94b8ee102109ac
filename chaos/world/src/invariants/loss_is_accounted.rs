//! S4: nothing that was acknowledged while `sync` was in force is ever lost, whoever becomes primary after it. S5: what a
//! change of primary loses in `bounded` was acknowledged within the bound before the last acknowledgement. Both are one
//! claim: each acknowledgement settles for good what was acknowledged longer before than the mode lets be missing, which in
//! `sync` is all, itself included. S5, as far as `async` goes: a change of primary may lose acknowledged writes, but only those at the end of the old primary's timeline that its heir had not received. So every acknowledged write is in the
//! last primary or in a tail that was left behind, and nobody goes on with a timeline that others have left.
//!
//! An heir may have received nothing at all of the primary before it: when that one's region is lost, and the standby that
//! is left had still to be rewound to it. Then the whole of that epoch is the tail, and what an earlier change had lost is
//! back. `async` allows it where there is nobody better: the world looks for one that had followed, and that every witness
//! had heard for long (`World::judge_choice`).

use super::{Found, HostId, Theorem};
use crate::clock::MS;
use crate::postgres::Branch;

/// Some timeline from some position on, given up.
type Tail = (Branch, u64);

/// An acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The timeline it was written on.
    pub branch: Branch,
    /// Where its commit record ends.
    pub end: u64,
}

/// Writes and timelines of one group.
#[derive(Default)]
pub struct Loss {
    lineage: Vec<Branch>,
    left: Vec<Tail>,
    rows: Vec<Row>,
    /// The writes about which the mode promises something, and when each was acknowledged.
    kept: Vec<(Row, u64)>,
    /// What was acknowledged until then may not be lost any more.
    settled: u64,
    /// When something was acknowledged last.
    last: u64,
    /// How often an heir brought back what an earlier change had lost.
    pub returns: u64,
}

impl Loss {
    /// A write is acknowledged; how old what is acknowledged may be and still be lost, if the mode promises that.
    pub fn acknowledged(&mut self, row: Row, slack: Option<u64>, now: u64) {
        self.rows.push(row);
        if let Some(slack) = slack {
            self.kept.push((row, now));
            let by_its_clock = slack + slack / 100; // which may be slow
            self.settled = now.saturating_sub(by_its_clock).max(self.settled);
            self.last = now;
        }
    }

    /// The mode is `async` from now on, by the log's word: what was acknowledged before is like all else.
    pub fn mode_loosened(&mut self) {
        self.kept.clear();
    }

    /// A gate opens in a new epoch, on these timelines, the last of which reaches to `end`.
    /// Says whether it has what an earlier change had lost.
    pub fn opened(&mut self, who: HostId, lineage: &[Branch], end: u64, found: &mut Found) -> bool {
        let mut returned = false;
        for (branch, from) in &mut self.left {
            let reached = reach(lineage, end, branch);
            returned |= reached > *from;
            *from = reached.max(*from);
        }
        self.returns += u64::from(returned);
        let has = |row: &Row| row.end <= reach(lineage, end, &row.branch);
        let lost = self.kept.iter().find(|(row, at)| *at <= self.settled && !has(row));
        found.demand(Theorem::LossIsAccounted, lost.is_none(), |names| {
            let Some((Row { branch, end }, at)) = lost else { return String::new() };
            let (timeline, age) = (branch.timeline, (self.last - at) / MS);
            let what = format!("the write at {end} of timeline {timeline}");
            format!(
                "{} lacks {what}, acknowledged {age} ms before the last, longer than may be lost",
                names[who]
            )
        });
        self.kept.retain(|(row, _)| has(row)); // what is lost within the bound is lost
        let common = self.lineage.iter().zip(lineage).take_while(|(old, new)| old == new).count();
        let forgets = common == lineage.len() && common < self.lineage.len();
        found.demand(Theorem::LossIsAccounted, !forgets, |names| {
            format!("{} goes on with a timeline that others have left", names[who])
        });
        if let (Some(fork), Some(last)) = (lineage.get(common), common.checked_sub(1)) {
            self.left.push((self.lineage[last], fork.start));
        }
        self.left.extend(self.lineage[common..].iter().map(|branch| (*branch, branch.start)));
        if lineage != self.lineage {
            self.lineage = lineage.to_vec();
        }
        returned
    }

    /// The timelines of the last primary.
    pub fn lineage(&self) -> &[Branch] {
        &self.lineage
    }

    /// At the end: every acknowledged write is there, or is in a tail that was left behind, and not both. Returns how
    /// many are lost.
    pub fn settle(&self, who: HostId, lineage: &[Branch], end: u64, found: &mut Found) -> usize {
        let lost =
            |row: &Row| self.left.iter().any(|(branch, from)| *branch == row.branch && row.end > *from);
        let there = |row: &Row| row.end <= reach(lineage, end, &row.branch);
        let wrong = self.rows.iter().find(|row| lost(row) == there(row));
        found.demand(Theorem::LossIsAccounted, wrong.is_none(), |names| {
            let Some(Row { branch, end }) = wrong else { return String::new() };
            let place = format!("the write at {end} of timeline {}", branch.timeline);
            format!("{place} is neither in {} nor in a tail left behind, or in both", names[who])
        });
        self.rows.iter().filter(|row| lost(row)).count()
    }
}

/// How far a timeline is part of a history whose last one reaches to `end`; zero when it is none.
fn reach(lineage: &[Branch], end: u64, branch: &Branch) -> u64 {
    let Some(at) = lineage.iter().position(|other| other == branch) else { return 0 };
    lineage.get(at + 1).map_or(end, |next| next.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::ids::Epoch;

    fn branch(timeline: u32, start: u64) -> Branch {
        Branch { timeline, start, epoch: Epoch(u64::from(timeline)) }
    }

    fn found() -> Found {
        Found { names: vec!["A".to_owned(), "B".to_owned()], ..Found::default() }
    }

    /// A writes up to 100; B had received 60 when it took over.
    fn history(found: &mut Found) -> Loss {
        let mut loss = Loss::default();
        loss.opened(0, &[branch(1, 0)], 0, found);
        for end in [50, 60, 61, 100] {
            loss.acknowledged(Row { branch: branch(1, 0), end }, None, 0);
        }
        loss.opened(1, &[branch(1, 0), branch(2, 60)], 60, found);
        loss.acknowledged(Row { branch: branch(2, 60), end: 70 }, None, 0);
        loss
    }

    #[test]
    fn what_the_heir_had_not_received_is_lost_and_no_more() {
        let mut found = found();
        let lost = history(&mut found).settle(1, &[branch(1, 0), branch(2, 60)], 70, &mut found);
        assert_eq!((lost, found.violations), (2, Vec::new()));
    }

    #[test]
    fn what_was_acknowledged_in_sync_is_in_every_later_primary() {
        let mut found = found();
        let mut loss = history(&mut found);
        loss.acknowledged(Row { branch: branch(2, 60), end: 80 }, Some(0), 5);
        loss.opened(0, &[branch(1, 0), branch(2, 60), branch(3, 80)], 80, &mut found);
        assert_eq!(found.violations, []);
        loss.opened(1, &[branch(1, 0), branch(2, 60), branch(4, 79)], 79, &mut found);
        assert!(found.violations[0].sentence.contains("lacks the write at 80"), "{:?}", found.violations);
    }

    #[test]
    fn what_was_acknowledged_in_bounded_is_lost_only_within_the_bound() {
        for (end, broken) in [(300, 0), (200, 0), (199, 1)] {
            let (mut found, mut loss) = (found(), Loss::default());
            let old = branch(1, 0);
            loss.opened(0, &[old], 0, &mut found);
            for (end, at) in [(200, 0), (201, 1), (300, 101)] {
                loss.acknowledged(Row { branch: old, end }, Some(100), at);
            }
            loss.opened(1, &[old, branch(2, end)], end, &mut found);
            assert_eq!(found.violations.len(), broken, "{:?}", found.violations);
            // What that change has lost is not held against the next.
            loss.opened(0, &[old, branch(2, end), branch(3, end)], end, &mut found);
            assert_eq!(found.violations.len(), broken, "{:?}", found.violations);
        }
    }

    #[test]
    fn what_is_missing_without_having_been_left_is_found() {
        let mut found = found();
        history(&mut found).settle(1, &[branch(1, 0), branch(2, 60)], 69, &mut found);
        assert_eq!(found.violations.len(), 1);
    }

    #[test]
    fn what_comes_back_is_counted_and_lost_no_more() {
        let mut found = found();
        let mut loss = history(&mut found);
        let lineage = [branch(1, 0), branch(3, 100)];
        loss.opened(0, &lineage, 100, &mut found);
        assert_eq!((loss.returns, loss.settle(0, &lineage, 100, &mut found)), (1, 1));
        assert_eq!(found.violations, []);
    }

    #[test]
    fn nobody_goes_on_with_a_timeline_that_others_have_left() {
        let mut found = found();
        history(&mut found).opened(0, &[branch(1, 0)], 60, &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
