//! Everything an admin asks for at three in the morning.

use regent_core::ids::{Epoch, InstanceName, NodeId, Position, RegionName};
use regent_core::message::{Role, Step};
use regent_core::state::Group;
use std::time::Duration;

/// The cluster as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The node that answers.
    pub node: NodeId,
    /// The Raft leader, if that node knows one.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// The groups asked for.
    pub groups: Vec<GroupStatus>,
    /// The regions that shall have no primary.
    pub drained: Vec<RegionName>,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Which.
    pub id: NodeId,
    /// Where it is.
    pub region: RegionName,
    /// Where it is reached: `host:port`.
    pub address: String,
    /// `leader`, `follower` or `unreachable`; a text, so that a newer node may know another.
    pub state: String,
    /// How long ago the node that answers heard of it; none when never.
    pub heard: Option<Duration>,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// The log's word.
    pub group: Group,
    /// The highest epoch decided, which may be ahead of the log.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: Option<InstanceName>,
    /// The witnesses whose promise to the primary runs, as far as the node that answers has heard.
    pub promised_by: Vec<NodeId>,
    /// Whether the primary says that it holds a lease.
    pub leased: bool,
    /// The instances.
    pub instances: Vec<InstanceStatus>,
    /// If the primary died now.
    pub forecast: Option<Forecast>,
    /// What an admin should know at once; empty when all is well.
    pub troubles: Vec<String>,
    /// The last switchover that the node that answers has heard of.
    pub switching: Option<Switching>,
}

/// A switchover, as the node that answers has heard of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switching {
    /// Who hands over.
    pub from: InstanceName,
    /// Who shall follow.
    pub to: InstanceName,
    /// How far the one that hands over is.
    pub step: Step,
    /// Why it was called off; empty otherwise.
    pub why: String,
    /// How long ago it was first heard of.
    pub began: Duration,
    /// How long commits have waited so far, or did; none while they have not. Exact to a round trip.
    pub held: Option<Duration>,
    /// Whether commits pass again.
    pub over: bool,
}

/// One instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceStatus {
    /// Its name.
    pub name: InstanceName,
    /// Where it is.
    pub region: RegionName,
    /// Where its Postgres is reached: `host:port`.
    pub address: String,
    /// What its Postgres is doing; none when it never reported.
    pub role: Option<Role>,
    /// Whether its standby receives WAL at the moment.
    pub streaming: bool,
    /// How far it is; none when it never reported.
    pub position: Option<Position>,
    /// Bytes of WAL behind the primary's last reported position.
    pub lag_bytes: Option<u64>,
    /// How long ago its last report came; none when never.
    pub heard: Option<Duration>,
    /// The fences armed: `gate`, `agent`.
    pub fences: Vec<String>,
    /// Its place in the succession: 1 for the heir, none when it is not in it.
    pub place: Option<u32>,
    /// Why it is not in the succession, in words; empty when it is.
    pub why_not: String,
    /// What stands in its way, in words; empty when nothing does.
    pub trouble: String,
    /// How far a long task of its agent is, in words; empty when none is under way.
    pub progress: String,
    /// From which other standby it receives instead of from the primary, if it does.
    pub through: Option<InstanceName>,
}

/// What would happen if a primary died now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Who would take over; none when nobody could.
    pub heir: Option<InstanceName>,
    /// From the primary's death to the heir's first commit, about.
    pub outage: Duration,
    /// Bytes of WAL that only the primary has, about.
    pub lost_bytes: u64,
    /// Whether commits then wait until another instance comes back: nobody would be left to confirm them.
    pub waits: bool,
    /// The same in words.
    pub words: String,
}
