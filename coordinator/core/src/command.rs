//! What can be written into the replicated log. Each command carries everything `State::apply` needs to decide.

use crate::ids::{Epoch, GroupName, InstanceName, NodeId, Position, RegionName, Revision};
use crate::quorum::Electorate;
use crate::replication::{Mode, Offer, Policy};
use crate::tags::Tags;
use crate::tail::Tail;
use crate::vote::Certificate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What all who take part in a group must agree on about time and loss.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// How long a promise lasts.
    pub ttl: Duration,
    /// How long a witness hears nothing from the primary before it votes it out.
    pub suspicion: Duration,
    /// When a commit is acknowledged.
    pub mode: Mode,
    /// How far behind, in bytes of WAL, a standby may be and still stand in the succession.
    pub max_promotion_lag: u64,
    /// What happens in `sync` while too few standbys confirm.
    #[serde(default)]
    pub policy: Policy,
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            ttl: Duration::from_millis(250),
            suspicion: Duration::from_millis(400),
            mode: Mode::Async,
            max_promotion_lag: 16 << 20,
            policy: Policy::Block,
        }
    }
}

/// One Postgres of a group, as it registered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The failure domain it lives in.
    pub region: RegionName,
    /// Where clients and standbys reach its Postgres: `host:port`.
    pub address: String,
    /// What its operator wants of it.
    #[serde(default, skip_serializing_if = "Tags::is_plain")]
    pub tags: Tags,
}

/// A node, as configured.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The failure domain it lives in.
    pub region: RegionName,
    /// Where its services are reached: `host:port`.
    pub address: String,
}

/// An entry of the replicated log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A node makes itself known, or moves.
    SetNode {
        /// Which.
        id: NodeId,
        /// Where.
        node: Node,
    },
    /// A new group, without a primary yet.
    CreateGroup {
        /// Its name.
        group: GroupName,
        /// Its terms.
        terms: Terms,
        /// Which witnesses govern it.
        electorate: Electorate,
        /// Who shall be its first primary; without it the first instance that reports.
        first: Option<InstanceName>,
    },
    /// An instance joins a group, moves to another address, or has other tags.
    Register {
        /// The group.
        group: GroupName,
        /// The instance.
        instance: InstanceName,
        /// Where it is.
        at: Instance,
    },
    /// The first primary: epoch 1. Only while the group has none.
    Begin {
        /// The group.
        group: GroupName,
        /// Its first primary.
        primary: InstanceName,
        /// Wall clock of the proposer, for people only.
        at_unix_ms: u64,
    },
    /// Which database the group's instances hold: set once, by the first primary.
    SetSystem {
        /// The group.
        group: GroupName,
        /// `pg_control`'s system identifier.
        system_id: u64,
        /// What is added to an epoch to number the timeline of its promotion.
        #[serde(default)]
        timeline_base: u32,
    },
    /// Who may take over next.
    SetSuccession {
        /// The group.
        group: GroupName,
        /// The epoch it is for.
        epoch: Epoch,
        /// The revision it was decided on; refused when the group has moved on (finding F3).
        revision: Revision,
        /// The heir first.
        succession: Vec<InstanceName>,
        /// In `sync`: what the primary offered, which the succession is taken from.
        #[serde(default)]
        offer: Option<Offer>,
    },
    /// When commits are acknowledged from now on.
    SetMode {
        /// The group.
        group: GroupName,
        /// The mode.
        mode: Mode,
        /// What happens while too few standbys confirm.
        policy: Policy,
    },
    /// Who shall govern the group in the end; the leader goes there one witness at a time (finding F8).
    SetDesiredElectorate {
        /// The group.
        group: GroupName,
        /// The electorate wanted.
        electorate: Electorate,
    },
    /// A region is drained of primaries, or may have them again.
    SetDrained {
        /// Which.
        region: RegionName,
        /// Whether it is drained from now on.
        drained: bool,
    },
    /// What the witnesses decided.
    Record {
        /// Their votes.
        certificate: Certificate,
        /// The electorate from this epoch on, when it changes with it.
        electorate: Option<Electorate>,
        /// Where each instance was when it was decided, as the proposer had heard.
        positions: BTreeMap<InstanceName, Position>,
        /// Wall clock of the proposer, for people only.
        at_unix_ms: u64,
    },
    /// What a change of primary left behind, as found by the instance that had it.
    RecordTail {
        /// The group.
        group: GroupName,
        /// What was found.
        tail: Tail,
    },
}

impl Command {
    /// The group it is about, if it is about one.
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Command::SetNode { .. } | Command::SetDrained { .. } => None,
            Command::CreateGroup { group, .. }
            | Command::Register { group, .. }
            | Command::Begin { group, .. }
            | Command::SetSystem { group, .. }
            | Command::SetSuccession { group, .. }
            | Command::SetDesiredElectorate { group, .. }
            | Command::SetMode { group, .. }
            | Command::RecordTail { group, .. } => Some(group),
            Command::Record { certificate, .. } => Some(certificate.group()),
        }
    }
}
