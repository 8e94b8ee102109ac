//! What the log says of one group, and how it comes to its instances and its first primary.

use super::{Applied, MAX_INSTANCES, Rejected};
use crate::command::{Instance, Terms};
use crate::ids::{Epoch, GroupName, InstanceName, NodeId, Position, Revision};
use crate::message::Role;
use crate::quorum::Electorate;
use crate::replication::Configuration;
use crate::tail::Tail;
use crate::vote::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

    pub(super) fn changed(&mut self) -> Applied {
        self.revision = self.revision.next();
        Applied::Group(self.name.clone(), self.revision)
    }

    pub(super) fn register(&mut self, name: &InstanceName, at: &Instance) -> Result<Applied, Rejected> {
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

    pub(super) fn begin(&mut self, primary: &InstanceName, at_unix_ms: u64) -> Result<Applied, Rejected> {
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

    pub(super) fn set_system(&mut self, system_id: u64, timeline_base: u32) -> Result<Applied, Rejected> {
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
}
