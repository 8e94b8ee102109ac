//! The replicated state and the one function that changes it, `State::apply`. Every node runs it in log order, so
//! nothing here may depend on a clock, on chance, on configuration or on hash order.

use crate::command::{Command, Instance, Node, Terms};
use crate::ids::{Epoch, GroupName, InstanceName, NodeId, Position, RegionName, Revision};
use crate::message::Role;
use crate::mutant::{self, Mutant};
use crate::quorum::{Electorate, one_step};
use crate::replication::{Configuration, Mode, Offer, Policy, check_numbers};
use crate::tail::{TAILS_KEPT, Tail};
use crate::vote::{Certificate, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many instances a group may have: its facts have to fit into one message, and a witness's votes in vain, each with
/// the rest that may follow, into one record of its store.
pub const MAX_INSTANCES: usize = 16;
/// How many witnesses may govern a group.
pub const MAX_WITNESSES: usize = 31;
/// How many changes of primary a group remembers.
pub const HISTORY_LENGTH: usize = 256;

/// Everything the log has decided.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct State {
    /// The cluster this is the state of.
    pub cluster: String,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The groups.
    pub groups: BTreeMap<GroupName, Group>,
    /// The regions that shall have no primary.
    #[serde(default)]
    pub drained: BTreeSet<RegionName>,
}

/// What the log says of one group.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Grows with every change of anything below.
    pub revision: Revision,
    /// The epoch recorded last; 0 before the first primary.
    pub epoch: Epoch,
    /// The primary of that epoch.
    pub primary: Option<InstanceName>,
    /// Since which epoch it has been primary without interruption.
    pub since: Epoch,
    /// Who may take over next, the heir first.
    pub succession: Vec<InstanceName>,
    /// The version of the offer that the succession is taken from, in this epoch; 0 for none.
    #[serde(default)]
    pub offered: u64,
    /// The configuration of the last offer that was taken, of whichever epoch: who is named next goes by it. None in
    /// `async`, and until the first offer after it.
    #[serde(default)]
    pub configuration: Option<Configuration>,
    /// Which witnesses govern the next epoch.
    pub electorate: Electorate,
    /// Which did before the last change of the electorate.
    pub former_electorate: Option<Electorate>,
    /// Where the electorate shall go.
    pub desired_electorate: Option<Electorate>,
    /// Its terms.
    pub terms: Terms,
    /// The revision at which it went from `async` to another mode or back; 0 for never.
    #[serde(default)]
    pub mode_since: Revision,
    /// The revision at which the mode began to let less be missing than before; 0 for never.
    #[serde(default)]
    pub tightened: Revision,
    /// Which of these the members of the offer that was taken have confirmed under.
    #[serde(default)]
    pub offered_under: Revision,
    /// Who was wished to be the first primary.
    pub first: Option<InstanceName>,
    /// Its instances.
    pub instances: BTreeMap<InstanceName, Instance>,
    /// Which database they hold, once known.
    pub system_id: Option<u64>,
    /// What is added to an epoch to number the timeline of its promotion (`agent/timeline`): 0 where the group's first
    /// primary made the database; known with it.
    #[serde(default)]
    pub timeline_base: u32,
    /// The last changes of primary, oldest first.
    pub history: Vec<Change>,
}

/// One change of a group's epoch, as the log recorded it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Change {
    /// The revision it made.
    pub revision: Revision,
    /// The new epoch.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: InstanceName,
    /// Less than `epoch` when the primary stayed.
    pub since: Epoch,
    /// Why.
    pub reason: Reason,
    /// Whose votes.
    pub voters: Vec<NodeId>,
    /// Where each instance was, as far as known.
    pub positions: BTreeMap<InstanceName, Position>,
    /// Wall clock of the proposer, for people only.
    pub at_unix_ms: u64,
    /// What it left behind, as far as found.
    #[serde(default)]
    pub tails: Vec<Tail>,
}

/// What applying a command did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// A node is known now.
    Node(NodeId),
    /// A group has changed; its revision is this now.
    Group(GroupName, Revision),
    /// A region is drained now, or no longer.
    Region(RegionName),
    /// It was so already.
    Unchanged,
}

/// Why a command was not applied. The state is as before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// No such group.
    #[error("no group {got}: {}", those(.known))]
    UnknownGroup {
        /// The name asked for.
        got: GroupName,
        /// Those there are.
        known: Vec<GroupName>,
    },
    /// No such instance.
    #[error("no instance {got} in group {group}: {}", those(.known))]
    UnknownInstance {
        /// The group.
        group: GroupName,
        /// The name asked for.
        got: InstanceName,
        /// Those there are.
        known: Vec<InstanceName>,
    },
    /// No such node.
    #[error("no node {got}: {}", those(.known))]
    UnknownNode {
        /// The id asked for.
        got: NodeId,
        /// Those there are.
        known: Vec<NodeId>,
    },
    /// No such region.
    #[error("no region {got}: {}", those(.known))]
    UnknownRegion {
        /// The name asked for.
        got: RegionName,
        /// Those there are.
        known: Vec<RegionName>,
    },
    /// The group is there already, and different.
    #[error("group {0} exists already; choose another name, or see it with `regent status`")]
    GroupExists(GroupName),
    /// Another instance of that name is there, in another region.
    #[error(
        "instance {instance} is registered already in region {registered}, not in {got}; give the new instance a name of its own"
    )]
    InstanceElsewhere {
        /// The instance.
        instance: InstanceName,
        /// Where it is registered.
        registered: RegionName,
        /// Where the new one says it is.
        got: RegionName,
    },
    /// The terms make no sense.
    #[error("{0}")]
    BadTerms(String),
    /// An electorate was empty or goes further than one witness at a time.
    #[error("an electorate changes by one witness at a time and is never empty: from {from:?} to {to:?}")]
    BadElectorate {
        /// The present one.
        from: Electorate,
        /// The one asked for.
        to: Electorate,
    },
    /// The group has a primary already.
    #[error("group {group} is in epoch {epoch} already")]
    Begun {
        /// The group.
        group: GroupName,
        /// Its epoch.
        epoch: Epoch,
    },
    /// It was decided on something that is no longer so.
    #[error("group {group} moved on: expected epoch {expected}, got {got}")]
    Stale {
        /// The group.
        group: GroupName,
        /// What the log says.
        expected: String,
        /// What the command says.
        got: String,
    },
    /// Another database.
    #[error(
        "group {group} holds the database with system identifier {expected}, got {got}: this instance belongs elsewhere"
    )]
    OtherSystem {
        /// The group.
        group: GroupName,
        /// The group's.
        expected: u64,
        /// The instance's.
        got: u64,
    },
    /// More than a message can carry.
    #[error("a group has at most {most} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there may be.
        most: usize,
    },
    /// A succession that names the primary, a stranger, or somebody twice.
    #[error("the succession of group {group} must be distinct instances other than the primary, got {got:?}")]
    BadSuccession {
        /// The group.
        group: GroupName,
        /// What was asked for.
        got: Vec<InstanceName>,
    },
    /// But in `async`, a succession that the primary has not offered, or no longer offers.
    #[error(
        "the succession of group {group} must be taken from offer {expected} of its primary or a later one, got {got}"
    )]
    NotOffered {
        /// The group.
        group: GroupName,
        /// The version of the last offer taken.
        expected: u64,
        /// The version it is taken from; 0 for none, or for members that are not in it.
        got: u64,
    },
    /// The votes are those of an electorate that governs neither this epoch nor the one before.
    #[error(
        "the certificate for epoch {epoch} of group {group} rests on the electorate {got:?}, expected {expected:?}"
    )]
    WrongElectorate {
        /// The group.
        group: GroupName,
        /// The epoch it would decide.
        epoch: Epoch,
        /// The electorate in force.
        expected: Electorate,
        /// The electorate the votes rest on.
        got: Electorate,
    },
}

fn those<T: ToString>(names: &[T]) -> String {
    if names.is_empty() {
        "there is none yet".to_owned()
    } else {
        format!("known are {}", names.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
    }
}

/// Shortest and longest ttl accepted: below, a single late packet closes the gate; above, an outage lasts longer
/// than people take to act.
pub const TTL_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);

impl State {
    /// The state of a cluster in which nothing was decided yet.
    pub fn new(cluster: impl Into<String>) -> State {
        let cluster = cluster.into();
        State { cluster, nodes: BTreeMap::new(), groups: BTreeMap::new(), drained: BTreeSet::new() }
    }

    /// Applies one command: either all of it, or nothing and the reason.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, Rejected> {
        match command {
            Command::SetNode { id, node } => Ok(self.set_node(*id, node)),
            Command::CreateGroup { group, terms, electorate, first } => {
                self.create(group, terms, electorate, first.as_ref())
            }
            Command::Register { group, instance, at } => self.group_mut(group)?.register(instance, at),
            Command::Begin { group, primary, at_unix_ms } => {
                self.group_mut(group)?.begin(primary, *at_unix_ms)
            }
            Command::SetSystem { group, system_id, timeline_base } => {
                self.group_mut(group)?.set_system(*system_id, *timeline_base)
            }
            Command::SetSuccession { group, epoch, revision, succession, offer } => {
                self.group_mut(group)?.set_succession(*epoch, *revision, succession, offer.as_ref())
            }
            Command::SetMode { group, mode, policy } => self.group_mut(group)?.set_mode(*mode, *policy),
            Command::SetDesiredElectorate { group, electorate } => self.desire(group, electorate),
            Command::SetDrained { region, drained } => self.drain(region, *drained),
            Command::Record { certificate, electorate, positions, at_unix_ms } => {
                let group = self.group_mut(certificate.group())?;
                group.record(certificate, electorate.as_ref(), positions, *at_unix_ms)
            }
            Command::RecordTail { group, tail } => self.group_mut(group)?.record_tail(tail),
        }
    }

    /// The group of that name, or a rejection that names those there are.
    pub fn group(&self, name: &GroupName) -> Result<&Group, Rejected> {
        self.groups.get(name).ok_or_else(|| self.unknown(name))
    }

    fn group_mut(&mut self, name: &GroupName) -> Result<&mut Group, Rejected> {
        if !self.groups.contains_key(name) {
            return Err(self.unknown(name));
        }
        self.groups.get_mut(name).ok_or_else(|| unreachable!("looked up the line before"))
    }

    fn unknown(&self, name: &GroupName) -> Rejected {
        Rejected::UnknownGroup { got: name.clone(), known: self.groups.keys().cloned().collect() }
    }

    fn set_node(&mut self, id: NodeId, node: &Node) -> Applied {
        if self.nodes.get(&id) == Some(node) {
            return Applied::Unchanged;
        }
        self.nodes.insert(id, node.clone());
        Applied::Node(id)
    }

    /// Where there is anything: the regions of the nodes and of the instances.
    pub fn regions(&self) -> BTreeSet<&RegionName> {
        let instances = self.groups.values().flat_map(|group| group.instances.values());
        let places = instances.map(|at| &at.region);
        self.nodes.values().map(|node| &node.region).chain(places).collect()
    }

    fn drain(&mut self, region: &RegionName, drained: bool) -> Result<Applied, Rejected> {
        // A mark that is there can be taken back also when nothing is left there.
        if !self.regions().contains(region) && !self.drained.contains(region) {
            let known = self.regions().into_iter().cloned().collect();
            return Err(Rejected::UnknownRegion { got: region.clone(), known });
        }
        let changed = if drained { self.drained.insert(region.clone()) } else { self.drained.remove(region) };
        Ok(if changed { Applied::Region(region.clone()) } else { Applied::Unchanged })
    }

    fn known_nodes(&self, electorate: &Electorate) -> Result<(), Rejected> {
        if electorate.len() > MAX_WITNESSES {
            return Err(Rejected::TooMany { what: "witnesses".to_owned(), most: MAX_WITNESSES });
        }
        match electorate.iter().find(|id| !self.nodes.contains_key(id)) {
            Some(&got) => Err(Rejected::UnknownNode { got, known: self.nodes.keys().copied().collect() }),
            None => Ok(()),
        }
    }

    fn create(
        &mut self,
        name: &GroupName,
        terms: &Terms,
        electorate: &Electorate,
        first: Option<&InstanceName>,
    ) -> Result<Applied, Rejected> {
        if self.groups.contains_key(name) {
            return Err(Rejected::GroupExists(name.clone()));
        }
        check_terms(terms)?;
        if electorate.is_empty() {
            return Err(Rejected::BadElectorate { from: Electorate::new(), to: Electorate::new() });
        }
        self.known_nodes(electorate)?;
        let group = Group {
            name: name.clone(),
            revision: Revision(1),
            epoch: Epoch(0),
            primary: None,
            since: Epoch(0),
            succession: Vec::new(),
            offered: 0,
            configuration: None,
            electorate: electorate.clone(),
            former_electorate: None,
            desired_electorate: None,
            terms: terms.clone(),
            mode_since: Revision(0),
            tightened: Revision(0),
            offered_under: Revision(0),
            first: first.cloned(),
            instances: BTreeMap::new(),
            system_id: None,
            timeline_base: 0,
            history: Vec::new(),
        };
        self.groups.insert(name.clone(), group);
        Ok(Applied::Group(name.clone(), Revision(1)))
    }

    fn desire(&mut self, name: &GroupName, electorate: &Electorate) -> Result<Applied, Rejected> {
        self.known_nodes(electorate)?;
        let group = self.group_mut(name)?;
        if electorate.is_empty() {
            return Err(Rejected::BadElectorate { from: group.electorate.clone(), to: electorate.clone() });
        }
        group.desired_electorate = (*electorate != group.electorate).then(|| electorate.clone());
        Ok(group.changed())
    }
}

fn check_terms(terms: &Terms) -> Result<(), Rejected> {
    if !TTL_RANGE.contains(&terms.ttl) {
        return Err(Rejected::BadTerms(format!(
            "ttl must be between {} and {} ms, got {} ms",
            TTL_RANGE.start().as_millis(),
            TTL_RANGE.end().as_millis(),
            terms.ttl.as_millis()
        )));
    }
    if terms.suspicion < terms.ttl {
        return Err(Rejected::BadTerms(format!(
            "suspicion must not be shorter than ttl ({} ms), got {} ms: a witness cannot vote while its promise runs",
            terms.ttl.as_millis(),
            terms.suspicion.as_millis()
        )));
    }
    check_numbers(terms.mode)
}

impl Group {
    /// Whether an instance of that name is registered; a rejection names those that are.
    pub fn instance(&self, name: &InstanceName) -> Result<&Instance, Rejected> {
        self.instances.get(name).ok_or_else(|| Rejected::UnknownInstance {
            group: self.name.clone(),
            got: name.clone(),
            known: self.instances.keys().cloned().collect(),
        })
    }

    /// Whether a Postgres in that role has, or may still make, this group's data.
    pub fn holds_data(&self, role: Role) -> bool {
        match role {
            Role::Stopped | Role::Standby | Role::Primary => true,
            Role::Preparing => self.system_id.is_none(),
            Role::Refused => false,
        }
    }

    /// The timeline that a promotion in that epoch makes; none beyond what Postgres can count.
    pub fn timeline_of(&self, epoch: Epoch) -> Option<u32> {
        u32::try_from(epoch.0).ok()?.checked_add(self.timeline_base)
    }

    fn changed(&mut self) -> Applied {
        self.revision = self.revision.next();
        Applied::Group(self.name.clone(), self.revision)
    }

    fn register(&mut self, name: &InstanceName, at: &Instance) -> Result<Applied, Rejected> {
        match self.instances.get(name) {
            Some(there) if there == at => return Ok(Applied::Unchanged),
            Some(there) if there.region != at.region => {
                return Err(Rejected::InstanceElsewhere {
                    instance: name.clone(),
                    registered: there.region.clone(),
                    got: at.region.clone(),
                });
            }
            _ => {}
        }
        if self.instances.len() >= MAX_INSTANCES && !self.instances.contains_key(name) {
            return Err(Rejected::TooMany { what: "instances".to_owned(), most: MAX_INSTANCES });
        }
        self.instances.insert(name.clone(), at.clone());
        Ok(self.changed())
    }

    fn begin(&mut self, primary: &InstanceName, at_unix_ms: u64) -> Result<Applied, Rejected> {
        self.instance(primary)?;
        if self.epoch != Epoch(0) {
            return Err(Rejected::Begun { group: self.name.clone(), epoch: self.epoch });
        }
        self.epoch = Epoch(1);
        self.since = Epoch(1);
        self.primary = Some(primary.clone());
        let applied = self.changed();
        self.remember(Change {
            revision: self.revision,
            epoch: self.epoch,
            primary: primary.clone(),
            since: self.since,
            reason: Reason::First,
            voters: Vec::new(),
            positions: BTreeMap::new(),
            at_unix_ms,
            tails: Vec::new(),
        });
        Ok(applied)
    }

    fn set_system(&mut self, system_id: u64, timeline_base: u32) -> Result<Applied, Rejected> {
        match self.system_id {
            Some(there) if there == system_id => Ok(Applied::Unchanged),
            Some(expected) => {
                Err(Rejected::OtherSystem { group: self.name.clone(), expected, got: system_id })
            }
            None => {
                self.system_id = Some(system_id);
                self.timeline_base = timeline_base;
                Ok(self.changed())
            }
        }
    }

    fn set_succession(
        &mut self,
        epoch: Epoch,
        revision: Revision,
        succession: &[InstanceName],
        offer: Option<&Offer>,
    ) -> Result<Applied, Rejected> {
        let stale = (epoch, revision) != (self.epoch, self.revision);
        if stale && !mutant::on(Mutant::SuccessionWithoutCas) {
            return Err(Rejected::Stale {
                group: self.name.clone(),
                expected: format!("{} at revision {}", self.epoch, self.revision),
                got: format!("{epoch} at revision {revision}"),
            });
        }
        let distinct: BTreeSet<_> = succession.iter().collect();
        let strangers = succession.iter().any(|name| !self.instances.contains_key(name));
        let primary = succession.iter().any(|name| Some(name) == self.primary.as_ref());
        if distinct.len() != succession.len() || strangers || primary {
            return Err(Rejected::BadSuccession { group: self.name.clone(), got: succession.to_vec() });
        }
        self.check_offer(succession, offer)?;
        // Not in `async`: there it says what a primary offered before, and is offered no more.
        let confirmed = offer.filter(|_| self.terms.mode != Mode::Async);
        let before = (self.offered, self.offered_under);
        let (offered, under) = confirmed.map_or(before, |offer| (offer.version, offer.tightened));
        let configuration = confirmed.map(Offer::configuration);
        if self.succession == succession && before == (offered, under) && self.configuration == configuration
        {
            return Ok(Applied::Unchanged);
        }
        self.succession = succession.to_vec();
        (self.offered, self.offered_under, self.configuration) = (offered, under, configuration);
        Ok(self.changed())
    }

    /// Whether what the mode promises holds for all in the succession: the primary has offered them since the mode became
    /// what it is, or a tighter one. In `async` nothing is promised.
    pub fn in_force(&self) -> bool {
        let taken = self.offered > 0 && self.configuration.is_some();
        self.terms.mode != Mode::Async && taken && self.offered_under == self.tightened
    }

    /// Whether that is the offer it took last, and nothing was taken since that is not of it.
    pub fn has_taken(&self, offer: &Offer) -> bool {
        let under = self.offered_under == offer.tightened;
        under && self.offered == offer.version && self.configuration.as_ref() == Some(&offer.configuration())
    }

    /// But in `async`, nobody enters the succession but by an offer of the primary, not older than the last (finding F3).
    fn check_offer(&self, succession: &[InstanceName], offer: Option<&Offer>) -> Result<(), Rejected> {
        let taken = offer.is_some_and(|offer| {
            offer.version >= self.offered && succession.iter().all(|name| offer.members.contains(name))
        });
        if self.terms.mode == Mode::Async || taken || mutant::on(Mutant::SuccessionBeyondOffer) {
            return Ok(());
        }
        Err(Rejected::NotOffered {
            group: self.name.clone(),
            expected: self.offered,
            got: offer.map_or(0, |offer| offer.version),
        })
    }

    /// The succession stays as it is until the primary offers another: until then a mode that is tighter is not in force.
    fn set_mode(&mut self, mode: Mode, policy: Policy) -> Result<Applied, Rejected> {
        check_numbers(mode)?;
        let standbys = self.instances.len().saturating_sub(1);
        if mode.count() > standbys && mode.count() != self.terms.mode.count() {
            return Err(Rejected::BadTerms(format!(
                "group {} has {standbys} standbys, so a {} count must be between 1 and {standbys}, got {}",
                self.name,
                mode.kind(),
                mode.count()
            )));
        }
        if (self.terms.mode, self.terms.policy) == (mode, policy) {
            return Ok(Applied::Unchanged);
        }
        let turned = (self.terms.mode == Mode::Async) != (mode == Mode::Async);
        let tighter = mode.slack() < self.terms.mode.slack();
        (self.terms.mode, self.terms.policy) = (mode, policy);
        let applied = self.changed();
        if turned {
            // The version stays: an offer of before the change must not be taken for one after it.
            (self.mode_since, self.configuration) = (self.revision, None);
        }
        if tighter && !mutant::on(Mutant::TightenedAtOnce) {
            self.tightened = self.revision;
        }
        Ok(applied)
    }

    fn record(
        &mut self,
        certificate: &Certificate,
        electorate: Option<&Electorate>,
        positions: &BTreeMap<InstanceName, Position>,
        at_unix_ms: u64,
    ) -> Result<Applied, Rejected> {
        let epoch = certificate.epoch();
        if epoch <= self.epoch {
            return Err(Rejected::Stale {
                group: self.name.clone(),
                expected: format!("above {}", self.epoch),
                got: epoch.to_string(),
            });
        }
        self.instance(certificate.named())?;
        self.check_electorate(certificate)?;
        self.change_electorate(certificate, electorate)?;
        let stayed = self.primary.as_ref() == Some(certificate.named()) && certificate.since() <= self.since;
        self.since = if stayed { self.since } else { certificate.since() };
        self.epoch = epoch;
        self.primary = Some(certificate.named().clone());
        self.succession = certificate.rest();
        self.offered = 0;
        let applied = self.changed();
        self.remember(Change {
            revision: self.revision,
            epoch,
            primary: certificate.named().clone(),
            since: if stayed { self.since } else { epoch },
            reason: certificate.reason(),
            voters: certificate.votes().iter().map(|vote| vote.witness).collect(),
            positions: positions.clone(),
            at_unix_ms,
            tails: Vec::new(),
        });
        Ok(applied)
    }

    /// The votes must be those of the present electorate, or of the one before it (finding F11d: a certificate of the
    /// old electorate may have been acted on while the new one was being recorded).
    fn check_electorate(&self, certificate: &Certificate) -> Result<(), Rejected> {
        let (_, got) = certificate.basis();
        let near = *got == self.electorate || Some(got) == self.former_electorate.as_ref();
        if near || mutant::on(Mutant::RecordOfAnyElectorate) {
            return Ok(());
        }
        Err(Rejected::WrongElectorate {
            group: self.name.clone(),
            epoch: certificate.epoch(),
            expected: self.electorate.clone(),
            got: got.clone(),
        })
    }

    /// A new electorate: one witness more or fewer, the same primary, all votes cast on the present epoch.
    fn change_electorate(
        &mut self,
        certificate: &Certificate,
        electorate: Option<&Electorate>,
    ) -> Result<(), Rejected> {
        let Some(to) = electorate else { return Ok(()) };
        let same = self.primary.as_ref() == Some(certificate.named());
        let fresh = certificate.votes().iter().all(|vote| vote.basis == self.epoch);
        if to.is_empty() || !one_step(&self.electorate, to) || !same || !fresh {
            return Err(Rejected::BadElectorate { from: self.electorate.clone(), to: to.clone() });
        }
        self.former_electorate = Some(std::mem::replace(&mut self.electorate, to.clone()));
        if self.desired_electorate.as_ref() == Some(to) {
            self.desired_electorate = None;
        }
        Ok(())
    }

    /// Whether the history has that tail.
    pub fn knows_tail(&self, tail: &Tail) -> bool {
        self.history.iter().flat_map(|change| &change.tails).any(|known| known.is(tail))
    }

    fn record_tail(&mut self, tail: &Tail) -> Result<Applied, Rejected> {
        self.instance(&tail.instance)?;
        if self.knows_tail(tail) {
            return Ok(Applied::Unchanged);
        }
        let stale = Rejected::Stale {
            group: self.name.clone(),
            expected: format!("a tail left behind by epoch {} or before", self.epoch),
            got: tail.epoch.to_string(),
        };
        // The change itself may be forgotten: then the oldest that is not is the nearest.
        let at = self.history.iter().rposition(|change| change.epoch <= tail.epoch).unwrap_or(0);
        let change = self.history.get_mut(at).filter(|_| tail.epoch <= self.epoch).ok_or(stale)?;
        change.tails.push(tail.clone());
        let extra = change.tails.len().saturating_sub(TAILS_KEPT);
        change.tails.drain(..extra);
        Ok(self.changed())
    }

    fn remember(&mut self, change: Change) {
        if mutant::on(Mutant::ChangeForgotten) && change.reason != Reason::First {
            return;
        }
        self.history.push(change);
        let extra = self.history.len().saturating_sub(HISTORY_LENGTH);
        self.history.drain(..extra);
    }
}
