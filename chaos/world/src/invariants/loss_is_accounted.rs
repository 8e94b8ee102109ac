//! S4: nothing that was acknowledged while `sync` was in force is ever lost, whoever becomes primary after it. S5, as far
//! as `async` goes: a change of primary may lose acknowledged writes, but only those at the end of the old primary's timeline that its heir had not received. So every acknowledged write is in the
//! last primary or in a tail that was left behind, and nobody goes on with a timeline that others have left.
//!
//! An heir may have received nothing at all of the primary before it: when that one's region is lost, and the standby that
//! is left had still to be rewound to it. Then the whole of that epoch is the tail, and what an earlier change had lost is
//! back. `async` allows it where there is nobody better: the world looks for one that had followed, and that every witness
//! had heard for long (`World::judge_choice`).

use super::{Found, HostId, Theorem};
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
    /// The writes that may not be lost.
    kept: Vec<Row>,
    /// How often an heir brought back what an earlier change had lost.
    pub returns: u64,
}

impl Loss {
    /// A write is acknowledged; whether it may never be lost.
    pub fn acknowledged(&mut self, row: Row, kept: bool) {
        self.rows.push(row);
        if kept {
            self.kept.push(row);
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
        let lost = self.kept.iter().find(|row| row.end > reach(lineage, end, &row.branch));
        found.demand(Theorem::LossIsAccounted, lost.is_none(), |names| {
            let Some(Row { branch, end }) = lost else { return String::new() };
            let timeline = branch.timeline;
            format!("{} lacks the write at {end} of timeline {timeline}, acknowledged in sync", names[who])
        });
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
            loss.acknowledged(Row { branch: branch(1, 0), end }, false);
        }
        loss.opened(1, &[branch(1, 0), branch(2, 60)], 60, found);
        loss.acknowledged(Row { branch: branch(2, 60), end: 70 }, false);
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
        loss.acknowledged(Row { branch: branch(2, 60), end: 80 }, true);
        loss.opened(0, &[branch(1, 0), branch(2, 60), branch(3, 80)], 80, &mut found);
        assert_eq!(found.violations, []);
        loss.opened(1, &[branch(1, 0), branch(2, 60), branch(4, 79)], 79, &mut found);
        assert!(found.violations[0].sentence.contains("lacks the write at 80"), "{:?}", found.violations);
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
