//! What watchers are told, and what of it can still be told to those who were away.
//!
//! Decisions reach this node twice: as a certificate, at once, and later through the log. Whichever comes first is told;
//! epochs strictly increase, and an event names those it jumps.

use regent_core::ids::{Epoch, GroupName, InstanceName, Revision};
use regent_core::state::{Group, Rejected};
use regent_core::vote::{Certificate, Reason};
use regent_proto::api::{Assignment, Primary, Told, WatchQuery};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Events a watcher may be behind before it is told to come back.
const QUEUE: usize = 1_024;
/// The most jumped epochs that are named: more would not fit into a message.
const JUMPS: u64 = 1_024;

/// Tells everybody who watches.
pub struct Hub {
    groups: Mutex<BTreeMap<GroupName, Known>>,
    news: broadcast::Sender<Arc<Told>>,
}

struct Known {
    group: Group,
    /// What certificates said that the log does not hold yet, in order.
    ahead: Vec<Arc<Told>>,
    /// The highest epoch told.
    told: Epoch,
}

/// Why a watch cannot begin, or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// No such group.
    #[error(transparent)]
    Unknown(#[from] Rejected),
    /// The changes since then are no longer kept.
    #[error(
        "COMPACTED: the changes of group {group} since epoch {from} are no longer kept, the oldest kept is that to epoch \
         {oldest}; watch anew without `from`"
    )]
    Compacted {
        /// The group.
        group: GroupName,
        /// Where the watcher wanted to go on.
        from: Epoch,
        /// The first that could be told.
        oldest: Epoch,
    },
}

/// A watch that has begun.
pub struct Watch {
    /// What is to be told first.
    pub first: Vec<Told>,
    /// Per group the last epoch told, counting `first`.
    pub seen: BTreeMap<GroupName, Epoch>,
    /// All news after it, of all groups.
    pub news: broadcast::Receiver<Arc<Told>>,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { groups: Mutex::default(), news: broadcast::channel(QUEUE).0 }
    }
}

impl Hub {
    /// The log has moved, here; or, at the start, this is what the witness had answered with.
    pub fn applied(&self, group: &Group) {
        let mut groups = self.locked();
        let Some(known) = groups.get_mut(&group.name) else {
            let known = Known { group: group.clone(), ahead: Vec::new(), told: Epoch(0) };
            groups.entry(group.name.clone()).or_insert(known).catch_up(&self.news);
            return;
        };
        if group.revision >= known.group.revision {
            known.group = group.clone();
            known.catch_up(&self.news);
        }
    }

    /// A decision is known that the log may not hold yet.
    pub fn decided(&self, certificate: &Certificate) {
        let mut groups = self.locked();
        let Some(known) = groups.get_mut(certificate.group()) else { return };
        let (epoch, primary) = (certificate.epoch(), certificate.named());
        let event = known.event(epoch, primary, None, certificate.reason());
        if let Some(event) = event.filter(|_| epoch > known.told) {
            let event = Arc::new(event);
            known.ahead.push(event.clone());
            known.tell(event, &self.news);
        }
    }

    /// The highest decided epoch of a group and its primary, as known here.
    pub fn present(&self, group: &GroupName) -> Result<Assignment, Rejected> {
        let groups = self.locked();
        groups.get(group).map(|known| known.present().assignment).ok_or_else(|| unknown(group, &groups))
    }

    /// The assignment that a read came to.
    pub fn assignment(&self, group: &GroupName, epoch: Epoch, primary: &InstanceName) -> Option<Assignment> {
        let groups = self.locked();
        let known = groups.get(group)?;
        let revision = known.revision_of(epoch);
        known.event(epoch, primary, revision, Reason::First).map(|told| told.assignment)
    }

    /// Begins a watch: nothing is missed between what is told first and the news.
    pub fn watch(&self, query: &WatchQuery) -> Result<Watch, WatchError> {
        let groups = self.locked();
        let names = query.groups.iter().chain(query.from.keys());
        if let Some(stranger) = names.into_iter().find(|name| !groups.contains_key(*name)) {
            return Err(unknown(stranger, &groups).into());
        }
        let mut watch = Watch { first: Vec::new(), seen: BTreeMap::new(), news: self.news.subscribe() };
        let wanted = |name: &GroupName| query.groups.is_empty() || query.groups.contains(name);
        for (name, known) in groups.iter().filter(|(name, _)| wanted(name)) {
            let first = match query.from.get(name) {
                None => vec![known.present()],
                Some(from) => known.since(*from)?,
            };
            let from = query.from.get(name).copied().unwrap_or_default();
            let last = first.last().map_or(from, |told| told.assignment.epoch.max(from));
            watch.seen.insert(name.clone(), last);
            watch.first.extend(first);
        }
        Ok(watch)
    }

    // Nothing that holds the lock can panic halfway.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<GroupName, Known>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(got: &GroupName, groups: &BTreeMap<GroupName, Known>) -> Rejected {
    Rejected::UnknownGroup { got: got.clone(), known: groups.keys().cloned().collect() }
}

impl Known {
    /// Tells what the log has beyond what was told.
    fn catch_up(&mut self, news: &broadcast::Sender<Arc<Told>>) {
        let logged: Vec<Told> = self.logged().filter(|told| told.assignment.epoch > self.told).collect();
        for mut told in logged {
            told.jumped = jumped(self.told, told.assignment.epoch);
            self.tell(Arc::new(told), news);
        }
        self.told = self.told.max(self.group.epoch);
        self.ahead.retain(|told| told.assignment.epoch > self.group.epoch);
    }

    fn tell(&mut self, told: Arc<Told>, news: &broadcast::Sender<Arc<Told>>) {
        self.told = told.assignment.epoch;
        // Nobody may be watching.
        let _ = news.send(told);
    }

    /// The changes the log remembers, oldest first.
    fn logged(&self) -> impl Iterator<Item = Told> + '_ {
        let mut before = None;
        self.group.history.iter().filter_map(move |change| {
            let mut told = self.event(change.epoch, &change.primary, Some(change.revision), change.reason)?;
            told.jumped = before.map_or(Vec::new(), |before| jumped(before, change.epoch));
            before = Some(change.epoch);
            Some(told)
        })
    }

    fn event(
        &self,
        epoch: Epoch,
        primary: &InstanceName,
        revision: Option<Revision>,
        reason: Reason,
    ) -> Option<Told> {
        let at = self.group.instances.get(primary)?;
        let primary = Primary {
            instance: primary.clone(),
            region: at.region.clone(),
            address: at.address.clone(),
        };
        let assignment = Assignment {
            group: self.group.name.clone(),
            epoch,
            primary: Some(primary),
            revision,
            age: Duration::ZERO,
        };
        let jumped = jumped(self.told, epoch);
        Some(Told { assignment, present: false, jumped, reason: reason.to_string() })
    }

    fn revision_of(&self, epoch: Epoch) -> Option<Revision> {
        let recorded = self.group.history.iter().rev().find(|change| change.epoch == epoch);
        recorded.map(|change| change.revision).or((self.group.epoch == epoch).then_some(self.group.revision))
    }

    fn present(&self) -> Told {
        if let Some(ahead) = self.ahead.last() {
            return Told { present: true, jumped: Vec::new(), ..Told::clone(ahead) };
        }
        let (epoch, revision) = (self.group.epoch, self.revision_of(self.group.epoch));
        let change = self.group.history.last();
        let reason = change.map_or(String::new(), |change| change.reason.to_string());
        let told = self
            .group
            .primary
            .as_ref()
            .and_then(|primary| self.event(epoch, primary, revision, Reason::First))
            .unwrap_or_else(|| self.nobody());
        Told { present: true, jumped: Vec::new(), reason, ..told }
    }

    fn nobody(&self) -> Told {
        let group = self.group.name.clone();
        let (epoch, primary, revision) = (Epoch(0), None, Some(self.group.revision));
        let assignment = Assignment { group, epoch, primary, revision, age: Duration::ZERO };
        Told { assignment, present: true, jumped: Vec::new(), reason: String::new() }
    }

    /// The changes after `from`, in order; the present state when there is none.
    fn since(&self, from: Epoch) -> Result<Vec<Told>, WatchError> {
        let history = &self.group.history;
        let whole = history.first().map_or(self.group.epoch == Epoch(0), |first| first.reason == Reason::First);
        let reaches = whole || history.first().is_some_and(|first| first.epoch <= from.next());
        if !reaches && from < self.group.epoch {
            let oldest = history.first().map_or(self.group.epoch, |first| first.epoch);
            return Err(WatchError::Compacted { group: self.group.name.clone(), from, oldest });
        }
        let ahead = self.ahead.iter().map(|told| Told::clone(told));
        let all = self.logged().chain(ahead).filter(|told| told.assignment.epoch > from);
        let mut last = from;
        let missed: Vec<Told> = all
            .map(|told| {
                let jumped = jumped(last, told.assignment.epoch);
                last = told.assignment.epoch;
                Told { jumped, ..told }
            })
            .collect();
        if missed.is_empty() && self.present().assignment.epoch == from {
            return Ok(vec![self.present()]);
        }
        Ok(missed)
    }
}

fn jumped(from: Epoch, to: Epoch) -> Vec<Epoch> {
    let first = to.0.saturating_sub(JUMPS).max(from.0 + 1);
    (first..to.0).map(Epoch).collect()
}
