//! Why a command is not applied, in words.

use crate::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName};
use crate::quorum::Electorate;
use serde::{Deserialize, Serialize};

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
