//! What everybody has said and done so far, in real time, as nobody in the world can know it; and what must follow from
//! it. Each broken theorem is a sentence.

use crate::words::{inst, witness, witnesses};
use regent_core::ids::{Epoch, InstanceName, NodeId};
use regent_core::quorum::{Electorate, is_majority};
use regent_core::vote::{Certificate, Vote};
use std::collections::{BTreeMap, BTreeSet};

/// What can be broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Theorem {
    /// S1: gates never overlap, and an old epoch's is never open after a newer one's was.
    OneWritablePrimary,
    /// S2: one owner an epoch; epochs of the log grow; one name a floor.
    OneOwnerAnEpoch,
    /// S3: a gate rests on a certificate, its votes on promises that were over or given up, its lease on promises.
    PromotedByVotes,
    /// What S4 needs of the witnesses: who follows a primary stood in what was voted with it, or in the log; and a Postgres
    /// that goes on as primary is the last one that was.
    Succession,
    /// No reachable state is one from which nothing can be decided any more.
    NoWedge,
}

/// A theorem that does not hold, and how it was seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breach {
    /// Which.
    pub theorem: Theorem,
    /// The sentence.
    pub what: String,
}

/// A gate that is opened, with all that must be true of it.
pub struct Opening<'a> {
    /// The instance.
    pub who: &'a InstanceName,
    /// The epoch.
    pub epoch: Epoch,
    /// Now, in real time.
    pub now: u64,
    /// The end of its lease, in real time.
    pub until: u64,
    /// The epoch under which its Postgres last became primary by promotion.
    pub stint: Epoch,
}

/// What was said and done.
#[derive(Clone, Default, Hash, Debug)]
pub struct Oath {
    named: BTreeMap<(NodeId, Epoch), InstanceName>,
    votes: BTreeMap<(Epoch, InstanceName), BTreeMap<NodeId, Vote>>,
    owner: BTreeMap<Epoch, InstanceName>,
    /// For each witness and holder: the epoch and the end, in real time, of what was promised.
    promises: BTreeMap<(NodeId, InstanceName), (Epoch, u64)>,
    released: BTreeMap<InstanceName, Epoch>,
    gates: BTreeMap<InstanceName, (Epoch, u64)>,
    opened: BTreeMap<Epoch, InstanceName>,
    logged: BTreeMap<Epoch, InstanceName>,
    heirs: BTreeMap<Epoch, BTreeSet<InstanceName>>,
    electorates: BTreeSet<Electorate>,
    /// The first theorem that was broken.
    pub breach: Option<Breach>,
}

impl Oath {
    fn demand(&mut self, theorem: Theorem, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.breach.is_none() {
            self.breach = Some(Breach { theorem, what: what() });
        }
    }

    /// Time has passed: what is over binds nobody any more.
    pub fn forget(&mut self, now: u64) {
        self.promises.retain(|_, (_, until)| now < *until);
        self.gates.retain(|_, (_, until)| now < *until);
    }

    /// A witness promised `holder` something until then.
    pub fn promised(&mut self, by: NodeId, holder: &InstanceName, epoch: Epoch, until: u64) {
        let known = self.promises.entry((by, holder.clone())).or_insert((epoch, until));
        *known = (known.0.max(epoch), known.1.max(until));
    }

    /// A witness cast a vote; the promise in it ends at `until`.
    pub fn voted(&mut self, vote: &Vote, now: u64, until: u64) {
        let key = (vote.witness, vote.floor);
        let first = self.named.entry(key).or_insert_with(|| vote.named.clone()).clone();
        let who = witness(vote.witness);
        self.demand(Theorem::OneOwnerAnEpoch, first == vote.named, || {
            format!("{who} names {} and {} for floor {}", inst(&first), inst(&vote.named), vote.floor)
        });
        let broken = self.broken_promises(vote, now);
        self.demand(Theorem::PromotedByVotes, broken.is_none(), || {
            let holder = broken.as_ref().map(inst).unwrap_or_default();
            format!("{who} votes {} in {} while its promise to {holder} runs", inst(&vote.named), vote.floor)
        });
        let votes = self.votes.entry((vote.floor, vote.named.clone())).or_default();
        votes.insert(vote.witness, vote.clone());
        if Certificate::new(votes.values().cloned().collect()).is_ok() {
            self.owned(vote.floor, &vote.named);
        }
        self.promised(vote.witness, &vote.named, vote.floor, until);
    }

    /// Whom the voter had promised that nobody else would be primary: unless that one gave it up, or a majority has
    /// decided past it.
    fn broken_promises(&self, vote: &Vote, now: u64) -> Option<InstanceName> {
        let released = |name: &InstanceName| self.released.get(name).copied().unwrap_or_default();
        let broken = self.promises.iter().find(|((by, holder), (epoch, until))| {
            let past = self.owner.range(epoch.next()..).next().is_some();
            *by == vote.witness && *holder != vote.named && now < *until && released(holder) < *epoch && !past
        });
        broken.map(|((_, holder), _)| holder.clone())
    }

    /// Somebody takes that instance for the primary of that epoch.
    pub fn owned(&mut self, epoch: Epoch, who: &InstanceName) {
        let owner = self.owner.entry(epoch).or_insert_with(|| who.clone()).clone();
        self.demand(Theorem::OneOwnerAnEpoch, owner == *who, || {
            format!("epoch {epoch} has two primaries: {} and {}", inst(&owner), inst(who))
        });
    }

    /// The log says so.
    pub fn logged(
        &mut self,
        epoch: Epoch,
        who: &InstanceName,
        heirs: &[InstanceName],
        electorate: &Electorate,
    ) {
        self.owned(epoch, who);
        self.electorates.insert(electorate.clone());
        self.heirs.entry(epoch).or_default().extend(heirs.iter().cloned());
        let last = self.logged.last_key_value().map(|(last, _)| *last).unwrap_or_default();
        let news = self.logged.insert(epoch, who.clone()).is_none();
        self.demand(Theorem::OneOwnerAnEpoch, last < epoch || !news, || {
            format!("the log goes from epoch {last} to {epoch}")
        });
    }

    /// An agent released an epoch durably.
    pub fn released(&mut self, who: &InstanceName, epoch: Epoch, now: u64) {
        self.released.insert(who.clone(), epoch);
        let open = self.gates.get(who).is_some_and(|(_, until)| now < *until);
        self.demand(Theorem::PromotedByVotes, !open, || {
            format!("{} releases {epoch} with its gate open", inst(who))
        });
    }

    /// A gate was closed.
    pub fn closed(&mut self, who: &InstanceName) {
        self.gates.remove(who);
    }

    /// Something is said before it is durable.
    pub fn said_too_early(&mut self, who: &str, what: &str) {
        self.demand(Theorem::PromotedByVotes, false, || format!("{who} says {what} before it is durable"));
    }

    /// A gate is opened, or stays open for longer.
    pub fn opened(&mut self, opening: &Opening<'_>) {
        let Opening { who, epoch, now, until, stint } = *opening;
        self.owned(epoch, who);
        let name = inst(who);
        let other = self.gates.iter().find(|(other, (_, end))| *other != who && now < *end);
        let other = other.map(|(other, (epoch, _))| format!("{} in {epoch}", inst(other)));
        self.demand(Theorem::OneWritablePrimary, other.is_none(), || {
            format!("two gates are open: {name} in {epoch} and {}", other.unwrap_or_default())
        });
        let newest = self.opened.last_key_value().map_or(epoch, |(newest, _)| *newest);
        self.demand(Theorem::OneWritablePrimary, newest <= epoch, || {
            format!("{name} opens {epoch} after {newest} was open")
        });
        self.rests_on_votes(opening);
        self.follows_rightly(who, epoch, stint);
        self.opened.insert(epoch, who.clone());
        self.gates.insert(who.clone(), (epoch, until));
    }

    fn rests_on_votes(&mut self, opening: &Opening<'_>) {
        let Opening { who, epoch, until, .. } = *opening;
        let votes = self.votes.get(&(epoch, who.clone())).cloned().unwrap_or_default();
        let certified = Certificate::new(votes.into_values().collect()).is_ok();
        let word = certified || self.logged.get(&epoch) == Some(who);
        self.demand(Theorem::PromotedByVotes, word, || {
            format!("{} opens {epoch} without a certificate or the log's word", inst(who))
        });
        let running = self.promises.iter().filter(|((_, holder), (_, end))| holder == who && until <= *end);
        let vouching: Vec<NodeId> = running.map(|((by, _), _)| *by).collect();
        let vouched = self.electorates.iter().any(|electorate| is_majority(electorate, &vouching));
        self.demand(Theorem::PromotedByVotes, vouched, || {
            let by = if vouching.is_empty() { "nobody".to_owned() } else { witnesses(&vouching) };
            format!("{} opens {epoch} for longer than a majority promised: only {by} did", inst(who))
        });
    }

    fn follows_rightly(&mut self, who: &InstanceName, epoch: Epoch, stint: Epoch) {
        let Some((before, last)) = self.opened.range(..epoch).next_back() else { return };
        let (before, last) = (*before, last.clone());
        let voted = self.votes.get(&(before, last.clone()));
        let in_votes = voted.is_some_and(|votes| votes.values().any(|vote| vote.rest.contains(who)));
        let in_log = self.heirs.get(&before).is_some_and(|heirs| heirs.contains(who));
        self.demand(Theorem::Succession, last == *who || in_votes || in_log, || {
            format!(
                "{} opens {epoch} after {} had {before}, whose votes did not allow it",
                inst(who),
                inst(&last)
            )
        });
        let others_last = self.opened.iter().rev().find(|(_, name)| *name != who).map(|(epoch, _)| *epoch);
        let others_last = others_last.unwrap_or_default();
        self.demand(Theorem::Succession, others_last < stint, || {
            format!(
                "{} goes on as the primary of {stint} though another was primary in {others_last}",
                inst(who)
            )
        });
    }

    /// The highest epoch that anybody voted for.
    pub fn highest(&self) -> Epoch {
        self.votes.keys().map(|(epoch, _)| *epoch).max().unwrap_or_default()
    }
}
