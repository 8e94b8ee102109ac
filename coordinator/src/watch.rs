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
        let primary =
            Primary { instance: primary.clone(), region: at.region.clone(), address: at.address.clone() };
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
        let whole =
            history.first().map_or(self.group.epoch == Epoch(0), |first| first.reason == Reason::First);
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

/// A log that grows, without Raft.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use regent_core::command::{Command, Instance, Terms};
    use regent_core::ids::{NodeId, RegionName};
    use regent_core::state::State;
    use regent_core::vote::Vote;

    pub fn group() -> GroupName {
        GroupName::new("g").unwrap()
    }

    pub fn certificate(state: &State, epoch: u64) -> Certificate {
        let known = state.group(&group()).unwrap();
        let named = InstanceName::new(if epoch.is_multiple_of(2) { "b" } else { "a" }).unwrap();
        let vote = |witness| Vote {
            group: group(),
            witness: NodeId(witness),
            floor: Epoch(epoch),
            named: named.clone(),
            since: Epoch(epoch),
            rest: Vec::new(),
            seq: None,
            ttl: Duration::from_millis(250),
            basis: known.epoch,
            revision: known.revision,
            electorate: known.electorate.clone(),
            configuration: None,
            reason: Reason::Silent,
        };
        Certificate::new(vec![vote(1)]).unwrap()
    }

    fn apply(state: &mut State, command: Command) {
        state.apply(&command).unwrap();
    }

    pub fn record(state: &mut State, epoch: u64) {
        let certificate = certificate(state, epoch);
        let (positions, at_unix_ms) = (BTreeMap::new(), 0);
        apply(state, Command::Record { certificate, electorate: None, positions, at_unix_ms });
    }

    /// A group in epoch 1 of `a`, with another instance `b`.
    pub fn begun() -> State {
        let mut state = State::new("c");
        let region = RegionName::new("r").unwrap();
        let node = regent_core::command::Node { region: region.clone(), address: "n:1".into() };
        apply(&mut state, Command::SetNode { id: NodeId(1), node });
        let electorate = [NodeId(1)].into();
        let create =
            Command::CreateGroup { group: group(), terms: Terms::default(), electorate, first: None };
        apply(&mut state, create);
        for name in ["a", "b"] {
            let at = Instance {
                region: region.clone(),
                address: format!("{name}:5432"),
                tags: Default::default(),
            };
            let instance = InstanceName::new(name).unwrap();
            apply(&mut state, Command::Register { group: group(), instance, at });
        }
        let primary = InstanceName::new("a").unwrap();
        apply(&mut state, Command::Begin { group: group(), primary, at_unix_ms: 0 });
        state
    }

    pub fn tell(hub: &Hub, state: &State) {
        hub.applied(state.group(&group()).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{begun, certificate, group, record, tell};
    use super::*;

    /// Epoch and what it jumped of everything there is to hear.
    fn heard(watch: &mut Watch) -> Vec<(u64, Vec<u64>)> {
        let brief =
            |told: &Told| (told.assignment.epoch.0, told.jumped.iter().map(|epoch| epoch.0).collect());
        let mut all: Vec<_> = watch.first.drain(..).map(|told| brief(&told)).collect();
        while let Ok(told) = watch.news.try_recv() {
            all.push(brief(&told));
        }
        all
    }

    fn from(epoch: u64) -> WatchQuery {
        WatchQuery { from: [(group(), Epoch(epoch))].into(), ..WatchQuery::default() }
    }

    #[test]
    fn a_decision_is_told_once_whether_certificate_or_log_comes_first() {
        let (hub, mut state) = (Hub::default(), begun());
        tell(&hub, &state);
        let mut watch = hub.watch(&WatchQuery::default()).unwrap();
        assert!(watch.first[0].present);
        hub.decided(&certificate(&state, 2));
        record(&mut state, 2);
        tell(&hub, &state);
        record(&mut state, 3);
        tell(&hub, &state);
        hub.decided(&certificate(&begun(), 3));
        assert_eq!(heard(&mut watch), [(1, vec![]), (2, vec![]), (3, vec![])]);
    }

    #[test]
    fn an_event_names_the_epochs_it_jumps_and_an_overtaken_one_is_left_out() {
        let (hub, mut state) = (Hub::default(), begun());
        tell(&hub, &state);
        let mut watch = hub.watch(&from(1)).unwrap();
        hub.decided(&certificate(&state, 4));
        hub.decided(&certificate(&state, 3));
        record(&mut state, 2);
        tell(&hub, &state);
        assert_eq!(heard(&mut watch), [(1, vec![]), (4, vec![2, 3])]);
        assert_eq!(hub.present(&group()).unwrap().revision, None);
        record(&mut state, 4);
        tell(&hub, &state);
        assert!(hub.present(&group()).unwrap().revision.is_some());
    }

    #[test]
    fn who_comes_back_is_told_what_it_missed_or_that_it_is_compacted() {
        let (hub, mut state) = (Hub::default(), begun());
        for epoch in 2..=5 {
            record(&mut state, epoch);
        }
        tell(&hub, &state);
        hub.decided(&certificate(&state, 7));
        let missed = heard(&mut hub.watch(&from(3)).unwrap());
        assert_eq!(missed, [(4, vec![]), (5, vec![]), (7, vec![6])]);
        assert!(heard(&mut hub.watch(&from(9)).unwrap()).is_empty());
        for epoch in 8..=600 {
            record(&mut state, epoch);
        }
        tell(&hub, &state);
        let oldest = state.group(&group()).unwrap().history[0].epoch;
        assert_eq!(heard(&mut hub.watch(&from(oldest.0 - 1)).unwrap()).len(), 256);
        let error = hub.watch(&from(3)).err().unwrap();
        assert!(error.to_string().starts_with("COMPACTED: "), "{error}");
        assert_eq!(heard(&mut hub.watch(&WatchQuery::default()).unwrap()), [(600, vec![])]);
    }

    #[test]
    fn an_unknown_group_is_refused_by_name() {
        let hub = Hub::default();
        tell(&hub, &begun());
        let stranger = GroupName::new("nope").unwrap();
        let query = WatchQuery { groups: [stranger].into(), ..WatchQuery::default() };
        assert_eq!(hub.watch(&query).err().unwrap().to_string(), "no group nope: known are g");
    }
}
