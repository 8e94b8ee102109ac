//! What must hold at every step, whatever the script does. Each broken promise is a sentence; the script fails.

use super::words::{inst, node};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId};
use regent_core::quorum::{Electorate, is_majority};
use regent_core::vote::{Certificate, Vote};
use std::collections::BTreeMap;

/// What one group has shown so far.
#[derive(Default)]
struct Seen {
    named: BTreeMap<(NodeId, Epoch), InstanceName>,
    votes: BTreeMap<(Epoch, InstanceName), BTreeMap<NodeId, Vote>>,
    owner: BTreeMap<Epoch, InstanceName>,
    logged: BTreeMap<Epoch, InstanceName>,
    /// For each witness and holder: the epoch and the end, on the stage's clock, of what was promised.
    promises: BTreeMap<(NodeId, InstanceName), (Epoch, u64)>,
    released: BTreeMap<InstanceName, Epoch>,
    gates: BTreeMap<InstanceName, (Epoch, u64)>,
    opened: BTreeMap<Epoch, InstanceName>,
    electorates: Vec<Electorate>,
}

/// A gate that is opened, with all that must be true of it.
pub struct Opening<'a> {
    /// The instance.
    pub who: &'a InstanceName,
    /// The epoch.
    pub epoch: Epoch,
    /// The end of its lease, on the stage's clock.
    pub until: u64,
    /// The epoch under which its Postgres last became primary by promotion or initialisation.
    pub stint: Epoch,
}

/// The checks.
#[derive(Default)]
pub struct Checks {
    groups: BTreeMap<GroupName, Seen>,
    /// What was broken.
    pub broken: Vec<String>,
    /// How many gates were opened for an instance that was not the last to open one: changes of primary.
    pub changes: usize,
}

impl Checks {
    fn seen(&mut self, group: &GroupName) -> &mut Seen {
        self.groups.entry(group.clone()).or_default()
    }

    fn demand(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(sentence());
        }
    }

    /// A witness promised `holder`, until `until` on the stage's clock.
    pub fn promised(
        &mut self,
        group: &GroupName,
        by: NodeId,
        holder: &InstanceName,
        epoch: Epoch,
        until: u64,
    ) {
        let known = self.seen(group).promises.entry((by, holder.clone())).or_insert((epoch, until));
        *known = (known.0.max(epoch), known.1.max(until));
    }

    /// A witness cast a vote. It must name one instance a floor, and break no promise: one that runs must have been
    /// given up, or a majority must have decided past it.
    pub fn voted(&mut self, vote: &Vote, now: u64, until: u64) {
        let seen = self.seen(&vote.group);
        let first =
            seen.named.entry((vote.witness, vote.floor)).or_insert_with(|| vote.named.clone()).clone();
        let released = |name: &InstanceName| seen.released.get(name).copied().unwrap_or_default();
        let broke: Vec<InstanceName> = seen
            .promises
            .iter()
            .filter(|((by, holder), (epoch, until))| {
                let past = seen.owner.range(epoch.next()..).next().is_some();
                *by == vote.witness
                    && *holder != vote.named
                    && now < *until
                    && released(holder) < *epoch
                    && !past
            })
            .map(|((_, holder), _)| holder.clone())
            .collect();
        seen.votes.entry((vote.floor, vote.named.clone())).or_default().insert(vote.witness, vote.clone());
        let votes = seen.votes[&(vote.floor, vote.named.clone())].values().cloned().collect();
        let (group, who) = (vote.group.clone(), node(vote.witness));
        self.demand(first == vote.named, || format!("{who} names two instances for floor {}", vote.floor));
        self.demand(broke.is_empty(), || {
            format!("{who} votes {} while its promise to {broke:?} runs", vote.floor)
        });
        if Certificate::new(votes).is_ok() {
            self.owned(&group, vote.floor, &vote.named);
        }
        self.promised(&group, vote.witness, &vote.named, vote.floor, until);
    }

    /// Somebody takes that instance for the primary of that epoch.
    pub fn owned(&mut self, group: &GroupName, epoch: Epoch, who: &InstanceName) {
        let owner = self.seen(group).owner.entry(epoch).or_insert_with(|| who.clone()).clone();
        self.demand(owner == *who, || format!("epoch {epoch} has two primaries: {owner} and {who}"));
    }

    /// The log recorded an epoch.
    pub fn logged(&mut self, group: &GroupName, epoch: Epoch, who: &InstanceName, electorate: &Electorate) {
        self.owned(group, epoch, who);
        let seen = self.seen(group);
        seen.electorates.push(electorate.clone());
        let last = seen.logged.last_key_value().map(|(last, _)| *last).unwrap_or_default();
        seen.logged.insert(epoch, who.clone());
        self.demand(last < epoch, || format!("the log goes from epoch {last} to {epoch}"));
    }

    /// An agent released an epoch durably.
    pub fn released(&mut self, group: &GroupName, who: &InstanceName, epoch: Epoch, now: u64) {
        let seen = self.seen(group);
        seen.released.insert(who.clone(), epoch);
        let open = seen.gates.get(who).is_some_and(|(_, until)| now < *until);
        self.demand(!open, || format!("{} released {epoch} with its gate open", inst(who)));
    }

    /// A gate was closed.
    pub fn closed(&mut self, group: &GroupName, who: &InstanceName) {
        self.seen(group).gates.remove(who);
    }

    /// A gate is opened, or stays open for longer.
    pub fn opened(&mut self, group: &GroupName, opening: &Opening<'_>, now: u64) {
        let Opening { who, epoch, until, stint } = *opening;
        self.owned(group, epoch, who);
        let seen = self.seen(group);
        let other_open = seen.gates.iter().find(|(name, (_, end))| *name != who && now < *end);
        let other_open = other_open.map(|(name, (epoch, _))| (name.clone(), *epoch));
        let others_last = seen.opened.iter().rev().find(|(_, name)| *name != who).map(|(epoch, _)| *epoch);
        let others_last = others_last.unwrap_or_default();
        let by_votes = seen.votes.get(&(epoch, who.clone()));
        let certified =
            by_votes.is_some_and(|votes| Certificate::new(votes.values().cloned().collect()).is_ok());
        let word = certified || seen.logged.get(&epoch) == Some(who);
        let vouching: Vec<NodeId> = seen
            .promises
            .iter()
            .filter(|((_, holder), (_, end))| holder == who && until <= *end)
            .map(|((by, _), _)| *by)
            .collect();
        let vouched = seen.electorates.iter().any(|electorate| is_majority(electorate, &vouching));
        let news = seen.opened.last_key_value().is_none_or(|(_, last)| last != who);
        seen.opened.insert(epoch, who.clone());
        seen.gates.insert(who.clone(), (epoch, until));
        self.changes += usize::from(news);
        let name = inst(who);
        self.demand(other_open.is_none(), || {
            format!("two gates are open: {name} in {epoch} and {other_open:?}")
        });
        self.demand(others_last < epoch, || {
            format!("{name} opens {epoch} after another opened {others_last}")
        });
        self.demand(word, || format!("{name} opens {epoch} without a certificate or the log's word"));
        self.demand(vouched, || format!("{name} holds a lease that no majority promised ({vouching:?})"));
        self.demand(others_last < stint, || {
            format!("{name} goes on as the primary of {stint} though another was primary in {others_last}")
        });
    }

    /// The instances whose gates are open.
    pub fn open(&self, group: &GroupName, now: u64) -> Vec<(InstanceName, Epoch)> {
        let gates = self.groups.get(group).map(|seen| &seen.gates);
        let open = gates.into_iter().flatten().filter(|(_, (_, until))| now < *until);
        open.map(|(name, (epoch, _))| (name.clone(), *epoch)).collect()
    }

    /// Something was said that is not durable.
    pub fn durable(&mut self, is: bool, who: &str, what: &str) {
        self.demand(is, || format!("{who} says {what} before it is durable"));
    }
}
