//! A primary that commits nothing any more gives its office up: with an agent that works and somebody to take over, no
//! gate stays open for longer than the patience before a Postgres that hangs.

use super::{Found, HostId, Theorem};
use crate::clock::MS;
use std::collections::BTreeMap;

/// Beyond the patience: the drift of a clock, and two reports' time.
const SLACK: u64 = 200 * MS;

/// Since when each gate has been open before a Postgres that hangs.
#[derive(Default)]
pub struct Hung {
    since: BTreeMap<HostId, u64>,
}

impl Hung {
    /// At every look.
    pub fn looked_at(&mut self, who: HostId, open_and_hung: bool, allowed: u64, found: &mut Found) {
        if !open_and_hung {
            self.since.remove(&who);
            return;
        }
        let lasts = found.now - *self.since.entry(who).or_insert(found.now);
        found.demand(Theorem::HungGivesUp, lasts <= allowed + SLACK, |names| {
            format!("{}'s gate is open and its Postgres has hung for {} ms", names[who], lasts / MS)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_gate_before_a_hung_postgres_is_found() {
        let (mut hung, mut found) = (Hung::default(), Found::default());
        found.names.push("A".to_owned());
        for (ms, open, wrong) in
            [(0, true, 0), (2_000, true, 0), (2_100, false, 0), (2_300, true, 0), (4_501, true, 1)]
        {
            found.now = ms * MS;
            hung.looked_at(0, open, 2_000 * MS, &mut found);
            assert_eq!(found.violations.len(), wrong, "at {ms} ms");
        }
    }
}
