//! S1: for epochs e < f of a group, no write acknowledged under e was begun after a write under f was acknowledged; and,
//! what makes it so, no two gates are open at once.

use super::{Found, HostId, Theorem};
use regent_core::ids::Epoch;
use std::collections::BTreeMap;

/// Gates and acknowledgements of one group.
#[derive(Default)]
pub struct Writable {
    gates: BTreeMap<HostId, (Epoch, u64)>,
    /// When the first write of each epoch was acknowledged.
    first: BTreeMap<Epoch, u64>,
}

impl Writable {
    /// A gate was closed.
    pub fn closed(&mut self, who: HostId) {
        self.gates.remove(&who);
    }

    /// A gate is open until then.
    pub fn opened(&mut self, who: HostId, epoch: Epoch, until: u64, found: &mut Found) {
        let other = self.gates.iter().find(|(name, (_, end))| **name != who && found.now < *end);
        let other = other.map(|(name, (epoch, _))| (*name, *epoch));
        found.demand(Theorem::OneWritablePrimary, other.is_none(), |names| {
            let (other, theirs) = other.unwrap_or_default();
            format!("two gates are open: {} in {epoch} and {} in {theirs}", names[who], names[other])
        });
        self.gates.insert(who, (epoch, until));
    }

    /// Whether that one's gate is open.
    pub fn is_open(&self, who: HostId, now: u64) -> bool {
        self.gates.get(&who).is_some_and(|(_, until)| now < *until)
    }

    /// The instances whose gates are open.
    pub fn open(&self, now: u64) -> impl Iterator<Item = (HostId, Epoch)> + '_ {
        let open = self.gates.iter().filter(move |(_, (_, until))| now < *until);
        open.map(|(who, (epoch, _))| (*who, *epoch))
    }

    /// A write begun then is acknowledged now.
    pub fn acknowledged(&mut self, epoch: Epoch, begun: u64, found: &mut Found) {
        let later = self.first.range(epoch.next()..).find(|(_, first)| **first < begun);
        let later = later.map(|(later, first)| (*later, begun - first));
        found.demand(Theorem::OneWritablePrimary, later.is_none(), |_| {
            let (later, by) = later.unwrap_or_default();
            format!(
                "a write is acknowledged under {epoch} that was begun {by} ns after one under {later} was"
            )
        });
        self.first.entry(epoch).or_insert(found.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found { names: vec!["A".to_owned(), "B".to_owned()], now: 100, ..Found::default() }
    }

    #[test]
    fn gates_one_after_the_other_pass_and_two_at_once_do_not() {
        let (mut writable, mut found) = (Writable::default(), found());
        writable.opened(0, Epoch(1), 100, &mut found);
        writable.opened(1, Epoch(2), 300, &mut found);
        assert_eq!(found.violations, []);
        writable.opened(0, Epoch(3), 300, &mut found);
        assert_eq!(found.violations.len(), 1);
    }

    #[test]
    fn a_late_acknowledgement_passes_only_if_the_write_was_begun_early() {
        let (mut writable, mut found) = (Writable::default(), found());
        writable.acknowledged(Epoch(1), 10, &mut found);
        writable.acknowledged(Epoch(2), 90, &mut found);
        found.now = 200;
        writable.acknowledged(Epoch(1), 100, &mut found);
        assert_eq!(found.violations, []);
        writable.acknowledged(Epoch(1), 101, &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
