//! The admin's calls. Any node takes them and passes on what must be written to the Raft leader.
//!
//! What changes something is carried out once at most. [`Error::Unavailable`] says that it was not;
//! [`Error::DeadlineExceeded`] and [`Error::Interrupted`] say that nobody knows: look at the status before asking again.

use crate::error::Error;
use crate::leadership::Client;
use crate::wire;
use regent_core::ids::{GroupName, NodeId, RegionName};
use regent_core::message::Role;
use regent_core::quorum::Electorate;
use regent_core::state::{Change, Group};
use regent_proto::api::{
    Assignment, Drain, GroupStatus, InstanceStatus, NewElectorate, NewGroup, NewMode, Status, Switchover,
    SwitchoverPlan,
};
use std::time::Duration;

/// A standby that was not heard of for so long is offered to no reader.
const UNHEARD: Duration = Duration::from_secs(2);

impl Client {
    /// Creates a group.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the name is taken; [`Error::Invalid`] with the accepted range for terms that make
    /// no sense; [`Error::NotFound`] for a node of the electorate that is not known.
    pub async fn create_group(&self, new: NewGroup) -> Result<Group, Error> {
        self.connection.write(|attempt| wire::create_group(attempt, new.clone())).await
    }

    /// All groups, as the log has them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        self.connection.read(wire::groups).await
    }

    /// The cluster, and these groups or all of them when none is named, as the asked node sees them.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups there are.
    pub async fn status(&self, groups: &[GroupName]) -> Result<Status, Error> {
        self.connection.read(|attempt| wire::status(attempt, groups.to_vec())).await
    }

    /// The standbys of a group that can be read from, as the asked node sees them, the one least behind first: they stream, were
    /// heard of within a moment, and are not tagged `no_load_balance`.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups there are.
    pub async fn replicas(&self, group: &GroupName) -> Result<Vec<InstanceStatus>, Error> {
        let status = self.status(std::slice::from_ref(group)).await?;
        let found = status.groups.into_iter().find(|status| status.group.name == *group);
        Ok(found.map(readable).unwrap_or_default())
    }

    /// The changes of primary of a group, oldest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups there are.
    pub async fn history(&self, group: &GroupName) -> Result<Vec<Change>, Error> {
        self.connection.read(|attempt| wire::history(attempt, group.clone())).await
    }

    /// Moves the primary; returns when the new primary is decided. Commits wait meanwhile, none fails. The deadline of
    /// the call has to be longer than [`Switchover::wait`].
    ///
    /// # Errors
    /// [`Error::Refused`] says why it cannot be done, or why it was called off; [`Error::NotFound`] names what there is.
    pub async fn switchover(&self, wish: &Switchover) -> Result<Assignment, Error> {
        self.connection.write(|attempt| wire::switchover(attempt, wish.clone())).await
    }

    /// What a switchover would do. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Refused`] says why it would be refused; [`Error::NotFound`] names what there is.
    pub async fn plan_switchover(&self, wish: &Switchover) -> Result<SwitchoverPlan, Error> {
        self.connection.read(|attempt| wire::plan_switchover(attempt, wish.clone())).await
    }

    /// Drains a region, or ends that; returns all drained regions when it is in the log. Its primaries are moved out from
    /// then on, a few at a time: the status tells which are left.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the regions there are.
    pub async fn set_drained(&self, region: &RegionName, drained: bool) -> Result<Vec<RegionName>, Error> {
        let wish = Drain { region: region.clone(), drained };
        self.connection.write(|attempt| wire::set_drained(attempt, wish.clone())).await
    }

    /// Changes who governs a group; returns when the electorate is the one asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups or nodes there are; [`Error::Invalid`] for an empty electorate.
    pub async fn set_electorate(&self, group: &GroupName, electorate: Electorate) -> Result<Group, Error> {
        let wish = NewElectorate { group: group.clone(), electorate };
        self.connection.write(|attempt| wire::set_electorate(attempt, wish.clone())).await
    }

    /// Changes when commits of a group are acknowledged; returns when it is written down. From then on the primary tightens
    /// or loosens step by step, without a restart.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the groups there are; [`Error::Invalid`] with the accepted range, or why there are not
    /// enough standbys now.
    pub async fn set_mode(&self, wish: NewMode) -> Result<Group, Error> {
        self.connection.write(|attempt| wire::set_mode(attempt, wish.clone())).await
    }

    /// Moves the Raft leadership to that node; returns its term when it leads. No group's primary is touched.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the nodes there are; [`Error::Refused`] when that node cannot lead.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<u64, Error> {
        self.connection.write(|attempt| wire::transfer_leader(attempt, to)).await
    }
}

/// Whoever is fit to be read from, the one least behind first.
fn readable(status: GroupStatus) -> Vec<InstanceStatus> {
    let GroupStatus { group, instances, .. } = status;
    let offered = |one: &InstanceStatus| {
        let tagged = group.instances.get(&one.name).is_some_and(|at| at.tags.no_load_balance);
        let streams = one.role == Some(Role::Standby) && one.streaming;
        streams && !tagged && one.heard.is_some_and(|heard| heard < UNHEARD)
    };
    let mut found: Vec<InstanceStatus> = instances.into_iter().filter(offered).collect();
    found.sort_by_key(|one| one.lag_bytes.unwrap_or(u64::MAX));
    found
}
