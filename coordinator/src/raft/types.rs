//! What Raft replicates here, and the names that the library wants for it.

use std::fmt;

use regent_core::command::Command;
use regent_core::state::{Applied, Rejected};
use serde::{Deserialize, Serialize};

/// Where a node is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The region the node stands in.
    pub region: String,
    /// `host:port` of its Raft service, as the other nodes reach it.
    pub addr: String,
}

/// What a log entry carries. The newtype exists because the library wants a `Display`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proposal(pub Command);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What became of an entry. `None` for the entries that Raft writes for itself.
pub type Outcome = Option<Result<Applied, Rejected>>;

openraft::declare_raft_types!(
    /// The types of Regent's log.
    pub Types:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = Member,
);

pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
/// What the library tells about itself, watched.
pub type MetricsWatch = openraft::type_config::alias::WatchReceiverOf<Types, openraft::RaftMetrics<Types>>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
