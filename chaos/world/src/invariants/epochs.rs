//! S2: one epoch has one primary; epochs of a group strictly increase in the log; no agent acts on an epoch below the
//! highest that it has seen; who opens an epoch opens none that another passed; no two promotions share a timeline.

use super::{Found, HostId, Theorem};
use regent_core::agent;
use regent_core::ids::{Epoch, NodeId};
use regent_core::witness;
use std::collections::BTreeMap;

/// What is known of a group's epochs.
#[derive(Default)]
pub struct Epochs {
    owner: BTreeMap<Epoch, HostId>,
    logged: BTreeMap<Epoch, HostId>,
    opened: BTreeMap<Epoch, HostId>,
    named: BTreeMap<(NodeId, Epoch), HostId>,
    timelines: BTreeMap<u32, (Epoch, HostId)>,
}

impl Epochs {
    /// Somebody takes that instance for the primary of that epoch.
    pub fn owned(&mut self, epoch: Epoch, who: HostId, found: &mut Found) {
        let owner = *self.owner.entry(epoch).or_insert(who);
        found.demand(Theorem::Epochs, owner == who, |names| {
            format!("epoch {epoch} has two primaries: {} and {}", names[owner], names[who])
        });
    }

    /// Whether an epoch above that one is decided.
    pub fn passed(&self, epoch: Epoch) -> bool {
        self.owner.last_key_value().is_some_and(|(last, _)| *last > epoch)
    }

    /// Whom the log recorded for an epoch.
    pub fn logged_for(&self, epoch: Epoch) -> Option<HostId> {
        self.logged.get(&epoch).copied()
    }

    /// The highest epoch that the log recorded.
    pub fn last_logged(&self) -> Epoch {
        self.logged.last_key_value().map(|(last, _)| *last).unwrap_or_default()
    }

    /// The log recorded an epoch.
    pub fn logged(&mut self, epoch: Epoch, who: HostId, found: &mut Found) {
        self.owned(epoch, who, found);
        let last = self.last_logged();
        self.logged.insert(epoch, who);
        found.demand(Theorem::Epochs, last < epoch, |_| format!("the log goes from epoch {last} to {epoch}"));
    }

    /// A witness voted: one name for one floor.
    pub fn voted(&mut self, witness: NodeId, floor: Epoch, named: HostId, found: &mut Found) {
        let first = *self.named.entry((witness, floor)).or_insert(named);
        found.demand(Theorem::Epochs, first == named, |names| {
            format!("witness {witness} names {} and {} for floor {floor}", names[first], names[named])
        });
    }

    /// A Postgres begins a timeline of that number.
    pub fn began(&mut self, timeline: u32, epoch: Epoch, who: HostId, found: &mut Found) {
        let before = self.timelines.insert(timeline, (epoch, who));
        found.demand(Theorem::Epochs, before.is_none(), |names| {
            let (earlier, first) = before.unwrap_or_default();
            format!(
                "timeline {timeline} is two: that of {} since {earlier}, and that of {} since {epoch}",
                names[first], names[who]
            )
        });
    }

    /// A gate is opened. Returns whether the one who opened last was another.
    pub fn opened(&mut self, epoch: Epoch, who: HostId, found: &mut Found) -> bool {
        self.owned(epoch, who, found);
        let others = self.opened.iter().rev().find(|(_, name)| **name != who).map(|(epoch, _)| *epoch);
        let others = others.unwrap_or_default();
        found.demand(Theorem::Epochs, others < epoch, |names| {
            format!("{} opens {epoch} after another opened {others}", names[who])
        });
        let news = self.opened.last_key_value().is_none_or(|(_, last)| *last != who);
        self.opened.insert(epoch, who);
        news
    }

    /// Whether that epoch's gate was opened before.
    pub fn was_opened(&self, epoch: Epoch) -> bool {
        self.opened.contains_key(&epoch)
    }

    /// The last epoch that another opened.
    pub fn others_last(&self, who: HostId) -> Epoch {
        let others = self.opened.iter().rev().find(|(_, name)| **name != who);
        others.map(|(epoch, _)| *epoch).unwrap_or_default()
    }
}

/// What an agent makes durable never goes back, and never acts below what was decided.
pub fn agent_persists(
    who: HostId,
    before: Option<&agent::Durable>,
    after: &agent::Durable,
    found: &mut Found,
) {
    let Some(before) = before else { return };
    let grows = before.acted <= after.acted
        && before.released <= after.released
        && before.declined <= after.declined
        && before.seen() <= after.seen()
        && before.incarnation <= after.incarnation;
    found.demand(Theorem::Epochs, grows, |names| format!("{} forgets an epoch that it knew", names[who]));
    let acts = after.acted > before.acted;
    found.demand(Theorem::Epochs, !acts || after.acted >= before.seen(), |names| {
        format!("{} acts on {} though it knows of {}", names[who], after.acted, before.seen())
    });
    found.demand(Theorem::Epochs, !acts || after.acted > before.declined.max(before.released), |names| {
        format!("{} acts on {} though it gave that up", names[who], after.acted)
    });
}

/// What a witness makes durable never goes back.
pub fn witness_persists(
    by: NodeId,
    before: Option<&witness::Durable>,
    after: &witness::Durable,
    found: &mut Found,
) {
    let Some(before) = before else { return };
    let grows = before.floor <= after.floor
        && before.group.revision <= after.group.revision
        && before.group.epoch <= after.group.epoch
        && before.max_ttl <= after.max_ttl;
    found.demand(Theorem::Epochs, grows, |_| format!("witness {by} goes back behind what it answered with"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(play: impl FnOnce(&mut Epochs, &mut Found)) -> usize {
        let mut found = Found { names: vec!["A".to_owned(), "B".to_owned()], ..Found::default() };
        play(&mut Epochs::default(), &mut found);
        found.violations.len()
    }

    #[test]
    fn a_good_history_passes() {
        let good = broken(|epochs, found| {
            epochs.logged(Epoch(1), 0, found);
            assert!(epochs.opened(Epoch(1), 0, found));
            epochs.voted(NodeId(1), Epoch(2), 1, found);
            assert!(epochs.opened(Epoch(2), 1, found));
            epochs.logged(Epoch(2), 1, found);
            epochs.began(1, Epoch(1), 0, found);
            epochs.began(2, Epoch(2), 1, found);
        });
        assert_eq!(good, 0);
    }

    #[test]
    fn bad_histories_do_not() {
        let two_owners = broken(|epochs, found| {
            epochs.owned(Epoch(2), 0, found);
            epochs.owned(Epoch(2), 1, found);
        });
        let two_names = broken(|epochs, found| {
            epochs.voted(NodeId(1), Epoch(2), 0, found);
            epochs.voted(NodeId(1), Epoch(2), 1, found);
        });
        let backwards = broken(|epochs, found| {
            epochs.logged(Epoch(3), 0, found);
            epochs.logged(Epoch(2), 1, found);
        });
        let behind = broken(|epochs, found| {
            assert!(epochs.opened(Epoch(3), 1, found));
            epochs.opened(Epoch(2), 0, found);
        });
        let twins = broken(|epochs, found| {
            epochs.began(2, Epoch(2), 1, found);
            epochs.began(2, Epoch(3), 0, found);
        });
        let forgets = broken(|_, found| {
            let knew = agent::Durable { acted: Epoch(3), ..agent::Durable::default() };
            agent_persists(0, Some(&knew), &agent::Durable::default(), found);
        });
        let released = broken(|_, found| {
            let knew = agent::Durable { acted: Epoch(1), released: Epoch(3), ..agent::Durable::default() };
            let acts = agent::Durable { acted: Epoch(2), ..knew.clone() };
            agent_persists(0, Some(&knew), &acts, found);
        });
        assert_eq!([two_owners, two_names, backwards, behind, twins, forgets, released], [1; 7]);
    }
}
