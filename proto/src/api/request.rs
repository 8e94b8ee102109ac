//! What is asked of a node.

use regent_core::command::Terms;
use regent_core::ids::{Epoch, GroupName, InstanceName, RegionName};
use regent_core::quorum::Electorate;
use regent_core::replication::{Mode, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How fresh an answer has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// A round to a majority of witnesses begun after the call: never older than anything answered before it.
    #[default]
    Linearizable,
    /// What the asked node knows, at once, with its age.
    Local,
}

/// Who is primary of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrimaryQuery {
    /// The group.
    pub group: GroupName,
    /// How fresh the answer has to be.
    pub consistency: Consistency,
}

/// Which groups are watched, and what of them was seen already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchQuery {
    /// All groups when empty.
    pub groups: BTreeSet<GroupName>,
    /// Per group the last epoch already seen.
    pub from: BTreeMap<GroupName, Epoch>,
}

/// A group to be created. What is left out takes the default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewGroup {
    /// Its name.
    pub group: GroupName,
    /// How long a promise lasts, in whole milliseconds. Default: 250 ms.
    pub ttl: Option<Duration>,
    /// How long a witness hears nothing from the primary before it votes it out, in whole milliseconds.
    /// Default: 150 ms more than the ttl.
    pub suspicion: Option<Duration>,
    /// When a commit is acknowledged. Default: `async`.
    pub mode: Option<Mode>,
    /// What happens while nobody confirms. Default: `block`.
    pub policy: Option<Policy>,
    /// How far behind a standby may be and still take over, in bytes of WAL. Default: 16 MiB.
    pub max_promotion_lag: Option<u64>,
    /// The first primary. Default: the first instance that reports.
    pub first: Option<InstanceName>,
    /// The nodes that govern it. Default: all nodes.
    pub electorate: Option<Electorate>,
}

impl NewGroup {
    /// A group with all defaults.
    pub fn new(group: GroupName) -> NewGroup {
        NewGroup {
            group,
            ttl: None,
            suspicion: None,
            mode: None,
            policy: None,
            max_promotion_lag: None,
            first: None,
            electorate: None,
        }
    }

    /// Its terms, with the defaults filled in. A suspicion that was left out keeps its distance from the ttl.
    pub fn terms(&self) -> Terms {
        let default = Terms::default();
        let grace = default.suspicion.saturating_sub(default.ttl);
        let ttl = self.ttl.unwrap_or(default.ttl);
        Terms {
            ttl,
            suspicion: self.suspicion.unwrap_or(ttl.saturating_add(grace)),
            mode: self.mode.unwrap_or(default.mode),
            policy: self.policy.unwrap_or(default.policy),
            max_promotion_lag: self.max_promotion_lag.unwrap_or(default.max_promotion_lag),
        }
    }
}

/// A planned change of primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switchover {
    /// The group.
    pub group: GroupName,
    /// The new primary, or a region: then the first there in the succession; without it the heir.
    pub to: Option<InstanceName>,
    /// How long the successor may take to come close while commits still pass. Default: 5 s.
    pub wait: Option<Duration>,
}

impl Switchover {
    /// To that instance or region, or to the heir.
    pub fn new(group: GroupName, to: Option<InstanceName>) -> Switchover {
        Switchover { group, to, wait: None }
    }
}

/// A restart of an instance's Postgres.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restart {
    /// The group.
    pub group: GroupName,
    /// Which instance.
    pub instance: InstanceName,
    /// How long the checkpoint before it may take while commits still pass. Default: 5 s.
    pub wait: Option<Duration>,
}

/// Whether a region shall be without primaries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drain {
    /// The region.
    pub region: RegionName,
    /// Whether it is drained from now on.
    pub drained: bool,
}

/// Who shall govern a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewElectorate {
    /// The group.
    pub group: GroupName,
    /// The nodes.
    pub electorate: Electorate,
}

/// When commits shall be acknowledged from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewMode {
    /// The group.
    pub group: GroupName,
    /// The mode.
    pub mode: Mode,
    /// What happens while nobody confirms; without it, as it is.
    pub policy: Option<Policy>,
}
