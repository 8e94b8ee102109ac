//! Who leads.

use regent_core::ids::{Epoch, GroupName, InstanceName, RegionName, Revision};
use regent_core::restart::How;
use std::time::Duration;

/// Who is primary of a group, in which epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The group.
    pub group: GroupName,
    /// The epoch: the fencing token. 0 exactly when there has been no primary yet.
    pub epoch: Epoch,
    /// The primary of that epoch.
    pub primary: Option<Primary>,
    /// The log revision it rests on; none when it rests on a certificate that the log does not hold yet.
    pub revision: Option<Revision>,
    /// How long ago the node that answered last heard the primary claim its lease. Only in answers to
    /// [`Consistency::Local`](super::Consistency::Local).
    pub age: Duration,
}

/// The primary of an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Primary {
    /// Its name.
    pub instance: InstanceName,
    /// Where it is.
    pub region: RegionName,
    /// Where its Postgres is reached: `host:port`.
    pub address: String,
}

/// What a switchover would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwitchoverPlan {
    /// The group.
    pub group: GroupName,
    /// Who hands over.
    pub from: InstanceName,
    /// Who follows.
    pub to: InstanceName,
    /// WAL that the successor lacks, in bytes.
    pub lag_bytes: Option<u64>,
    /// How long commits will wait, about; none while the round trips are not known.
    pub pause: Option<Duration>,
}

/// What a restart would do, or did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestartPlan {
    /// The group.
    pub group: GroupName,
    /// Which instance.
    pub instance: InstanceName,
    /// How.
    pub how: How,
    /// How long commits will wait, about; none where they do not, and while the round trips of a switchover are not known.
    pub pause: Option<Duration>,
    /// Parameters that wait for it.
    pub pending: Vec<String>,
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Who is primary now.
    pub assignment: Assignment,
    /// Whether this is the state at the time of the call rather than a change.
    pub present: bool,
    /// Epochs passed over: decided by nobody, or recorded together with this one.
    pub jumped: Vec<Epoch>,
    /// Why the primary changed, in words.
    pub reason: String,
}
