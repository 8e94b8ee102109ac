//! How the nodes talk: one gRPC service, three connections to each peer.
//!
//! Votes and heartbeats, the log, and snapshots each have a connection of their own, because a lost segment or a big
//! message delays all that comes after it on the same one, and a late heartbeat is an election.
//!
//! Every message names its cluster, its sender and its addressee, and the sender's incarnation. A wrong address in a
//! configuration must not mix two clusters, and a node that lost its disk must not vote again as if it had not.

mod client;
mod server;

pub use client::{Network, check_addr};
pub use regent_proto::raft::raft_server::{Raft as RaftService, RaftServer};
pub use server::Server;

use regent_proto::raft::Envelope;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest message of the service: some dozen entries of the largest size, as JSON.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The pieces that a snapshot travels in.
pub const CHUNK: usize = 256 << 10;
/// The largest snapshot that is accepted.
pub const MAX_SNAPSHOT: usize = 256 << 20;

/// Who a node is, to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub cluster: String,
    pub node: u64,
    pub incarnation: u64,
}

impl Address {
    fn envelope(&self, to: u64, payload: &impl Serialize) -> Result<Envelope, serde_json::Error> {
        Ok(Envelope {
            cluster: self.cluster.clone(),
            from: self.node,
            to,
            incarnation: self.incarnation,
            payload: serde_json::to_vec(payload)?,
        })
    }

    /// Whether a message from `envelope.from` was meant for this node.
    fn check(&self, envelope: &Envelope) -> Result<(), Misdirected> {
        if envelope.cluster != self.cluster {
            let (expected, got) = (self.cluster.clone(), envelope.cluster.clone());
            return Err(Misdirected::Cluster { from: envelope.from, expected, got });
        }
        if envelope.to != self.node {
            return Err(Misdirected::Node { from: envelope.from, expected: self.node, got: envelope.to });
        }
        Ok(())
    }
}

/// Why a message was not for this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misdirected {
    /// From another cluster.
    #[error(
        "message from node {from}: expected cluster {expected:?}, got {got:?}; correct the addresses in its configuration"
    )]
    Cluster {
        /// Who sent it.
        from: u64,
        /// Ours.
        expected: String,
        /// Theirs.
        got: String,
    },
    /// For another node.
    #[error(
        "message from node {from}: this is node {expected}, it was meant for node {got}; correct the addresses in its configuration"
    )]
    Node {
        /// Who sent it.
        from: u64,
        /// Who this is.
        expected: u64,
        /// Whom it was meant for.
        got: u64,
    },
    /// From a node that has lost what it promised.
    #[error(
        "message from node {from}: expected incarnation {expected:016x}, got {got:016x}: the node has lost its disk and \
         must not come back under this id; remove it and add a new node under an id that was never used"
    )]
    Incarnation {
        /// Who sent it.
        from: u64,
        /// The one first seen.
        expected: u64,
        /// The one it has now.
        got: u64,
    },
}

fn open<T: DeserializeOwned>(envelope: &Envelope) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&envelope.payload)
}
