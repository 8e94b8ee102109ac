//! S3: nobody is primary of an epoch without a certificate or the log's word for it; a lease rests on promises of a
//! majority; a vote is cast when the voter's promise to anybody else is over, was given up by its holder after its gate
//! had closed, or was passed by a majority.

use super::epochs::Epochs;
use super::{Found, HostId, Theorem};
use regent_core::ids::{Epoch, InstanceName, NodeId};
use regent_core::quorum::{Electorate, is_majority};
use regent_core::vote::{Certificate, Reason, Vote};
use std::collections::{BTreeMap, BTreeSet};

/// Votes and promises of one group.
#[derive(Default)]
pub struct Votes {
    votes: BTreeMap<(Epoch, HostId), BTreeMap<NodeId, Vote>>,
    /// When the first of these was cast.
    first: BTreeMap<(Epoch, HostId), u64>,
    certified: BTreeSet<(Epoch, HostId)>,
    /// For each witness and holder: the epoch and the end, on the world's clock, of what was promised.
    promises: BTreeMap<(NodeId, HostId), (Epoch, u64)>,
    released: BTreeMap<HostId, Epoch>,
}

impl Votes {
    /// A witness promised `holder`, until `until` on the world's clock.
    pub fn promised(&mut self, by: NodeId, holder: HostId, epoch: Epoch, until: u64) {
        let known = self.promises.entry((by, holder)).or_insert((epoch, until));
        *known = (known.0.max(epoch), known.1.max(until));
    }

    /// A witness cast a vote. Returns whether it completes a certificate.
    pub fn voted(
        &mut self,
        vote: &Vote,
        named: HostId,
        until: u64,
        epochs: &Epochs,
        found: &mut Found,
    ) -> bool {
        let released = |who: &HostId| self.released.get(who).copied().unwrap_or_default();
        let broke = self.promises.iter().find(|((by, holder), (epoch, until))| {
            let runs = *by == vote.witness && *holder != named && found.now < *until;
            runs && released(holder) < *epoch && !epochs.passed(*epoch)
        });
        let broke = broke.map(|((_, holder), _)| *holder);
        found.demand(Theorem::PromotedOnlyAfterVotes, broke.is_none(), |names| {
            let to = &names[broke.unwrap_or_default()];
            format!("witness {} votes {} while its promise to {to} runs", vote.witness, vote.floor)
        });
        let key = (vote.floor, named);
        self.first.entry(key).or_insert(found.now);
        let votes = self.votes.entry(key).or_default();
        votes.insert(vote.witness, vote.clone());
        let decides =
            !self.certified.contains(&key) && Certificate::new(votes.values().cloned().collect()).is_ok();
        if decides {
            self.certified.insert(key);
        }
        self.promised(vote.witness, named, vote.floor, until);
        decides
    }

    /// When a witness named it first for that epoch, and who might have been named instead, if they did so by themselves: no
    /// leader had asked for it, and no primary.
    pub fn chosen(&self, epoch: Epoch, named: HostId) -> Option<(u64, &[InstanceName])> {
        let unasked =
            |vote: &Vote| matches!(vote.reason, Reason::Silent | Reason::PostgresDied | Reason::Joined);
        let votes = self.votes.get(&(epoch, named))?;
        let shortest = votes.values().map(|vote| &vote.rest[..]).min_by_key(|rest| rest.len())?;
        votes.values().all(unasked).then(|| (self.first[&(epoch, named)], shortest))
    }

    /// An agent released an epoch durably.
    pub fn released(&mut self, who: HostId, epoch: Epoch, gate_open: bool, found: &mut Found) {
        self.released.insert(who, epoch);
        found.demand(Theorem::PromotedOnlyAfterVotes, !gate_open, |names| {
            format!("{} released {epoch} with its gate open", names[who])
        });
    }

    /// A gate is opened until then, or stays open for longer.
    pub fn opened(
        &self,
        who: HostId,
        epoch: Epoch,
        until: u64,
        logged: bool,
        electorates: &[Electorate],
        found: &mut Found,
    ) {
        let word = logged || self.certified.contains(&(epoch, who));
        found.demand(Theorem::PromotedOnlyAfterVotes, word, |names| {
            format!("{} opens {epoch} without a certificate or the log's word", names[who])
        });
        let vouching: Vec<NodeId> = self
            .promises
            .iter()
            .filter(|((_, holder), (_, end))| *holder == who && until <= *end)
            .map(|((by, _), _)| *by)
            .collect();
        let vouched = electorates.iter().rev().any(|electorate| is_majority(electorate, &vouching));
        found.demand(Theorem::PromotedOnlyAfterVotes, vouched, |names| {
            format!("{} holds a lease that no majority promised ({vouching:?})", names[who])
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::ids::{GroupName, Revision};
    use std::time::Duration;

    fn vote(witness: u64, floor: u64) -> Vote {
        Vote {
            group: GroupName::new("g").unwrap(),
            witness: NodeId(witness),
            floor: Epoch(floor),
            named: InstanceName::new("b").unwrap(),
            since: Epoch(floor),
            rest: Vec::new(),
            seq: None,
            ttl: Duration::from_millis(250),
            basis: Epoch(1),
            revision: Revision(5),
            electorate: [1, 2, 3].map(NodeId).into(),
            configuration: None,
            reason: Reason::Silent,
        }
    }

    fn found() -> Found {
        Found { names: vec!["A".to_owned(), "B".to_owned()], now: 100, ..Found::default() }
    }

    #[test]
    fn a_lease_after_votes_after_promises_passes() {
        let (mut votes, epochs, mut found) = (Votes::default(), Epochs::default(), found());
        votes.promised(NodeId(2), 0, Epoch(1), 100);
        assert!(!votes.voted(&vote(2, 2), 1, 350, &epochs, &mut found));
        assert!(votes.voted(&vote(3, 2), 1, 350, &epochs, &mut found));
        votes.opened(1, Epoch(2), 340, false, &[[1, 2, 3].map(NodeId).into()], &mut found);
        assert_eq!(found.violations, []);
    }

    #[test]
    fn a_vote_beside_a_promise_is_found_unless_it_was_released() {
        let (mut votes, epochs, mut found) = (Votes::default(), Epochs::default(), found());
        votes.promised(NodeId(2), 0, Epoch(1), 101);
        votes.voted(&vote(2, 2), 1, 350, &epochs, &mut found);
        assert_eq!(found.violations.len(), 1);
        votes.promised(NodeId(3), 0, Epoch(1), 101);
        votes.released(0, Epoch(1), false, &mut found);
        votes.voted(&vote(3, 2), 1, 350, &epochs, &mut found);
        assert_eq!(found.violations.len(), 1);
        votes.released(0, Epoch(1), true, &mut found);
        assert_eq!(found.violations.len(), 2);
    }

    #[test]
    fn an_opening_without_word_or_majority_is_found() {
        let (mut votes, mut found) = (Votes::default(), found());
        let three: Vec<Electorate> = vec![[1, 2, 3].map(NodeId).into()];
        votes.promised(NodeId(1), 1, Epoch(2), 300);
        votes.promised(NodeId(2), 1, Epoch(2), 200);
        votes.opened(1, Epoch(2), 200, false, &three, &mut found);
        assert_eq!(found.violations.len(), 1); // no certificate
        votes.opened(1, Epoch(2), 201, true, &three, &mut found);
        assert_eq!(found.violations.len(), 2); // one witness does not reach so far
    }
}
