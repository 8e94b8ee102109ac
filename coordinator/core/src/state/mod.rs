//! The replicated state and the one function that changes it, `State::apply`. Every node runs it in log order, so
//! nothing here may depend on a clock, on chance, on configuration or on hash order.

mod group;
mod record;
mod rejected;
mod succession;

pub use group::{Change, Group};
pub use rejected::Rejected;

use crate::command::{Command, Node, Terms};
use crate::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName, Revision};
use crate::quorum::Electorate;
use crate::replication::check_numbers;
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
