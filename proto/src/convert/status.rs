//! The status, on its way to the admin.

use super::answer::millis;
use super::field::{ConvertError, epoch, filled, name, node, nodes, required};
use super::vote::role;
use crate::api::{Forecast, GroupStatus, InstanceStatus, NodeStatus, Status, Switching};
use crate::v1;
use regent_core::ids::{InstanceName, NodeId, RegionName};
use std::time::Duration;

impl From<Status> for v1::Status {
    fn from(status: Status) -> v1::Status {
        v1::Status {
            cluster: status.cluster,
            node: status.node.0,
            leader: status.leader.map(|id| id.0),
            term: status.term,
            nodes: status.nodes.into_iter().map(Into::into).collect(),
            groups: status.groups.into_iter().map(Into::into).collect(),
            drained: status.drained.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Status> for Status {
    type Error = ConvertError;
    fn try_from(status: v1::Status) -> Result<Status, ConvertError> {
        Ok(Status {
            cluster: filled("cluster", status.cluster)?,
            node: node("node", status.node)?,
            leader: status.leader.map(|id| node("leader", id)).transpose()?,
            term: status.term,
            nodes: all("nodes", status.nodes)?,
            groups: all("groups", status.groups)?,
            drained: regions("drained", status.drained)?,
        })
    }
}

/// Each of a list; the answer of a node is bounded by the size of its message only.
fn all<T: TryFrom<W, Error = ConvertError>, W>(field: &str, list: Vec<W>) -> Result<Vec<T>, ConvertError> {
    list.into_iter().map(|one| T::try_from(one).map_err(|error| error.within(field))).collect()
}

/// Regions, from the answer of a node.
pub fn regions(field: &str, list: Vec<String>) -> Result<Vec<RegionName>, ConvertError> {
    list.into_iter().map(|region| name(field, region)).collect()
}

/// An empty name stands for nobody.
pub(super) fn somebody(field: &str, text: String) -> Result<Option<InstanceName>, ConvertError> {
    (!text.is_empty()).then(|| name(field, text)).transpose()
}

fn text_of(name: Option<InstanceName>) -> String {
    name.map(Into::into).unwrap_or_default()
}

impl From<NodeStatus> for v1::NodeStatus {
    fn from(node: NodeStatus) -> v1::NodeStatus {
        v1::NodeStatus {
            id: node.id.0,
            region: node.region.into(),
            address: node.address,
            state: node.state,
            heard_ms_ago: node.heard.map(millis),
        }
    }
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = ConvertError;
    fn try_from(wire: v1::NodeStatus) -> Result<NodeStatus, ConvertError> {
        Ok(NodeStatus {
            id: node("id", wire.id)?,
            region: name("region", wire.region)?,
            address: wire.address,
            state: wire.state,
            heard: wire.heard_ms_ago.map(Duration::from_millis),
        })
    }
}

impl From<GroupStatus> for v1::GroupStatus {
    fn from(status: GroupStatus) -> v1::GroupStatus {
        v1::GroupStatus {
            group: Some(status.group.into()),
            epoch: status.epoch.0,
            primary: text_of(status.primary),
            promised_by: status.promised_by.into_iter().map(|NodeId(id)| id).collect(),
            leased: status.leased,
            instances: status.instances.into_iter().map(Into::into).collect(),
            forecast: status.forecast.map(Into::into),
            troubles: status.troubles,
            switching: status.switching.map(Into::into),
        }
    }
}

impl TryFrom<v1::GroupStatus> for GroupStatus {
    type Error = ConvertError;
    fn try_from(status: v1::GroupStatus) -> Result<GroupStatus, ConvertError> {
        let group = required("group", status.group)?.try_into();
        Ok(GroupStatus {
            group: group.map_err(|error: ConvertError| error.within("group"))?,
            epoch: epoch("epoch", status.epoch)?,
            primary: somebody("primary", status.primary)?,
            promised_by: nodes("promised_by", status.promised_by)?,
            leased: status.leased,
            instances: all("instances", status.instances)?,
            forecast: status.forecast.map(Forecast::try_from).transpose()?,
            troubles: status.troubles,
            switching: status
                .switching
                .map(|switching| Switching::try_from(switching).map_err(|error| error.within("switching")))
                .transpose()?,
        })
    }
}

impl From<InstanceStatus> for v1::InstanceStatus {
    fn from(instance: InstanceStatus) -> v1::InstanceStatus {
        v1::InstanceStatus {
            name: instance.name.into(),
            region: instance.region.into(),
            address: instance.address,
            role: instance.role.map(v1::Role::from).unwrap_or_default().into(),
            streaming: instance.streaming,
            position: instance.position.map(Into::into),
            lag_bytes: instance.lag_bytes,
            heard_ms_ago: instance.heard.map(millis),
            fences: instance.fences,
            place: instance.place.unwrap_or_default(),
            why_not: instance.why_not,
            trouble: instance.trouble,
            progress: instance.progress,
            through: text_of(instance.through),
        }
    }
}

impl TryFrom<v1::InstanceStatus> for InstanceStatus {
    type Error = ConvertError;
    fn try_from(wire: v1::InstanceStatus) -> Result<InstanceStatus, ConvertError> {
        let heard = wire.heard_ms_ago.map(Duration::from_millis);
        Ok(InstanceStatus {
            name: name("name", wire.name)?,
            region: name("region", wire.region)?,
            address: wire.address,
            // Its role is on the wire in any case, and means something only when it was heard.
            role: heard.map(|_| role("role", wire.role)).transpose()?,
            streaming: wire.streaming,
            position: wire.position.map(Into::into),
            lag_bytes: wire.lag_bytes,
            heard,
            fences: wire.fences,
            place: Some(wire.place).filter(|place| *place > 0),
            why_not: wire.why_not,
            trouble: wire.trouble,
            progress: wire.progress,
            through: somebody("through", wire.through)?,
        })
    }
}

impl From<Forecast> for v1::Forecast {
    fn from(forecast: Forecast) -> v1::Forecast {
        v1::Forecast {
            heir: text_of(forecast.heir),
            outage_ms: millis(forecast.outage),
            lost_bytes: forecast.lost_bytes,
            waits: forecast.waits,
            words: forecast.words,
        }
    }
}

impl TryFrom<v1::Forecast> for Forecast {
    type Error = ConvertError;
    fn try_from(forecast: v1::Forecast) -> Result<Forecast, ConvertError> {
        Ok(Forecast {
            heir: somebody("forecast.heir", forecast.heir)?,
            outage: Duration::from_millis(forecast.outage_ms),
            lost_bytes: forecast.lost_bytes,
            waits: forecast.waits,
            words: forecast.words,
        })
    }
}
