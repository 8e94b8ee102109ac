//! S8: losing the Raft leader, or its election, neither takes a lease away nor delays a promotion. Judged in runs with
//! no other faults than the loss of leaders and of regions: no gate closes by itself in a region that lives, and each
//! failover is over within what its distances allow, whether or not somebody leads.

use super::{Found, HostId, Theorem};
use crate::clock::MS;

/// After a failover: how long the group had no gate open, and how long that may be.
pub fn failed_over(who: HostId, took: u64, bound: u64, found: &mut Found) {
    found.demand(Theorem::LeaderCostsNothing, took <= bound, |names| {
        format!("{} took over after {} ms; {} ms are allowed", names[who], took / MS, bound / MS)
    });
}

/// A gate closed by itself, though its region lives.
pub fn lapsed(who: HostId, found: &mut Found) {
    found.demand(Theorem::LeaderCostsNothing, false, |names| {
        format!("{} lost its lease, though nothing but leaders and other regions was lost", names[who])
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_failovers_and_lapses_are_found() {
        let mut found = Found { names: vec!["A".to_owned()], ..Found::default() };
        failed_over(0, 500 * MS, 500 * MS, &mut found);
        assert_eq!(found.violations, []);
        failed_over(0, 501 * MS, 500 * MS, &mut found);
        lapsed(0, &mut found);
        assert_eq!(found.violations.len(), 2);
    }
}
