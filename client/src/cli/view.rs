//! The shapes of `-o json` and `-o yaml`. They are a promise to scripts: fields are added, never renamed.
//!
//! Spans are whole milliseconds (`_ms`), sizes are bytes (`_bytes`), places in the WAL are as Postgres writes them.

use super::status::problems;
use regent_core::ids::Position;
use regent_core::state::{Change, Group};
use regent_core::tags::Tags;
use regent_core::tail::Tail;
use regent_proto::api::{
    Assignment, Forecast, GroupStatus, InstanceStatus, NodeStatus, Status, Switching, SwitchoverPlan,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub struct StatusView {
    cluster: String,
    answered_by: u64,
    healthy: bool,
    problems: Vec<String>,
    raft_leader: Option<u64>,
    raft_term: u64,
    nodes: Vec<NodeView>,
    groups: Vec<GroupStatusView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drained: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    id: u64,
    region: String,
    address: String,
    state: String,
    heard_ms_ago: Option<u64>,
}

#[derive(Debug, Serialize)]
struct GroupStatusView {
    #[serde(flatten)]
    group: GroupView,
    decided_epoch: u64,
    decided_primary: Option<String>,
    leased: bool,
    promised_by: Vec<u64>,
    forecast: Option<ForecastView>,
    troubles: Vec<String>,
    instances: Vec<InstanceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    switchover: Option<SwitchingView>,
}

#[derive(Debug, Serialize)]
struct ForecastView {
    heir: Option<String>,
    outage_ms: u64,
    lost_bytes: u64,
    waits_for_another: bool,
    words: String,
}

#[derive(Debug, Serialize)]
struct InstanceView {
    name: String,
    region: String,
    address: String,
    role: Option<String>,
    streaming: bool,
    position: Option<PositionView>,
    lag_bytes: Option<u64>,
    heard_ms_ago: Option<u64>,
    fences: Vec<String>,
    place_in_succession: Option<u32>,
    why_not: Option<String>,
    trouble: Option<String>,
    progress: Option<String>,
    receives_through: Option<String>,
    tags: TagsView,
}

#[derive(Debug, Default, Serialize)]
struct TagsView {
    no_promote: bool,
    priority: u32,
    no_load_balance: bool,
    replicate_from: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct ReplicaView {
    instance: String,
    region: String,
    address: String,
    lag_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PositionView {
    timeline: u32,
    received: String,
    flushed: String,
    replayed: String,
}

#[derive(Debug, Serialize)]
pub struct GroupView {
    name: String,
    revision: u64,
    epoch: u64,
    primary: Option<String>,
    primary_since_epoch: u64,
    succession: Vec<String>,
    electorate: Vec<u64>,
    desired_electorate: Option<Vec<u64>>,
    ttl_ms: u64,
    suspicion_ms: u64,
    mode: String,
    policy: String,
    max_promotion_lag_bytes: u64,
    first: Option<String>,
    instance_names: Vec<String>,
    /// A text: most JSON readers lose digits of so large a number.
    system_id: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct AssignmentView {
    group: String,
    epoch: u64,
    primary: Option<String>,
    region: Option<String>,
    address: Option<String>,
    revision: Option<u64>,
    age_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct SwitchoverView {
    #[serde(flatten)]
    assignment: AssignmentView,
    commits_waited_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct PlanView {
    group: String,
    from: String,
    to: String,
    lag_bytes: Option<u64>,
    commits_wait_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SwitchingView {
    from: String,
    to: String,
    step: String,
    why: Option<String>,
    began_ms_ago: u64,
    commits_waited_ms: Option<u64>,
    over: bool,
}

#[derive(Debug, Serialize)]
pub struct ChangeView {
    at: String,
    at_unix_ms: u64,
    revision: u64,
    epoch: u64,
    primary: String,
    primary_since_epoch: u64,
    reason: String,
    voters: Vec<u64>,
    positions: BTreeMap<String, PositionView>,
    left_behind: Vec<TailView>,
}

#[derive(Debug, Serialize)]
struct TailView {
    instance: String,
    timeline: u32,
    from: String,
    to: String,
    bytes: u64,
    commits: u64,
    kept: String,
    found: String,
    found_unix_ms: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventView {
    Present {
        #[serde(flatten)]
        assignment: AssignmentView,
    },
    Changed {
        #[serde(flatten)]
        assignment: AssignmentView,
        jumped: Vec<u64>,
        reason: String,
    },
    Compacted,
    Lost {
        tried: BTreeMap<String, String>,
    },
}

#[derive(Debug, Serialize)]
pub struct DrainView {
    pub drained: Vec<String>,
    /// The groups whose primary is still in the region.
    pub left: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct LeaderView {
    pub raft_leader: u64,
    pub raft_term: u64,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

impl From<&Status> for StatusView {
    fn from(status: &Status) -> StatusView {
        let problems = problems(status);
        StatusView {
            cluster: status.cluster.clone(),
            answered_by: status.node.0,
            healthy: problems.is_empty(),
            problems,
            raft_leader: status.leader.map(|id| id.0),
            raft_term: status.term,
            nodes: status.nodes.iter().map(Into::into).collect(),
            groups: status.groups.iter().map(Into::into).collect(),
            drained: texts(&status.drained),
        }
    }
}

impl From<&NodeStatus> for NodeView {
    fn from(node: &NodeStatus) -> NodeView {
        NodeView {
            id: node.id.0,
            region: node.region.to_string(),
            address: node.address.clone(),
            state: node.state.clone(),
            heard_ms_ago: node.heard.map(millis),
        }
    }
}

impl From<&GroupStatus> for GroupStatusView {
    fn from(status: &GroupStatus) -> GroupStatusView {
        GroupStatusView {
            group: (&status.group).into(),
            decided_epoch: status.epoch.0,
            decided_primary: status.primary.as_ref().map(ToString::to_string),
            leased: status.leased,
            promised_by: status.promised_by.iter().map(|id| id.0).collect(),
            forecast: status.forecast.as_ref().map(Into::into),
            troubles: status.troubles.clone(),
            instances: status.instances.iter().map(|one| InstanceView::of(one, &status.group)).collect(),
            switchover: status.switching.as_ref().map(Into::into),
        }
    }
}

impl From<&Forecast> for ForecastView {
    fn from(forecast: &Forecast) -> ForecastView {
        ForecastView {
            heir: forecast.heir.as_ref().map(ToString::to_string),
            outage_ms: millis(forecast.outage),
            lost_bytes: forecast.lost_bytes,
            waits_for_another: forecast.waits,
            words: forecast.words.clone(),
        }
    }
}

impl InstanceView {
    fn of(instance: &InstanceStatus, group: &Group) -> InstanceView {
        let tags = group.instances.get(&instance.name).map(|at| (&at.tags).into());
        InstanceView {
            name: instance.name.to_string(),
            region: instance.region.to_string(),
            address: instance.address.clone(),
            role: instance.role.map(|role| role.to_string()),
            streaming: instance.streaming,
            position: instance.position.map(Into::into),
            lag_bytes: instance.lag_bytes,
            heard_ms_ago: instance.heard.map(millis),
            fences: instance.fences.clone(),
            place_in_succession: instance.place,
            why_not: some(&instance.why_not),
            trouble: some(&instance.trouble),
            progress: some(&instance.progress),
            receives_through: instance.through.as_ref().map(ToString::to_string),
            tags: tags.unwrap_or_default(),
        }
    }
}

impl From<&Tags> for TagsView {
    fn from(tags: &Tags) -> TagsView {
        TagsView {
            no_promote: tags.no_promote,
            priority: tags.priority,
            no_load_balance: tags.no_load_balance,
            replicate_from: tags.replicate_from.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&InstanceStatus> for ReplicaView {
    fn from(instance: &InstanceStatus) -> ReplicaView {
        ReplicaView {
            instance: instance.name.to_string(),
            region: instance.region.to_string(),
            address: instance.address.clone(),
            lag_bytes: instance.lag_bytes,
        }
    }
}

impl From<Position> for PositionView {
    fn from(position: Position) -> PositionView {
        PositionView {
            timeline: position.timeline,
            received: position.received.to_string(),
            flushed: position.flushed.to_string(),
            replayed: position.replayed.to_string(),
        }
    }
}

impl From<&Group> for GroupView {
    fn from(group: &Group) -> GroupView {
        let desired = group.desired_electorate.as_ref();
        GroupView {
            name: group.name.to_string(),
            revision: group.revision.0,
            epoch: group.epoch.0,
            primary: group.primary.as_ref().map(ToString::to_string),
            primary_since_epoch: group.since.0,
            succession: texts(&group.succession),
            electorate: group.electorate.iter().map(|id| id.0).collect(),
            desired_electorate: desired.map(|ids| ids.iter().map(|id| id.0).collect()),
            ttl_ms: millis(group.terms.ttl),
            suspicion_ms: millis(group.terms.suspicion),
            mode: group.terms.mode.to_string(),
            policy: group.terms.policy.to_string(),
            max_promotion_lag_bytes: group.terms.max_promotion_lag,
            first: group.first.as_ref().map(ToString::to_string),
            instance_names: group.instances.keys().map(ToString::to_string).collect(),
            system_id: group.system_id.map(|id| id.to_string()),
        }
    }
}

impl From<&Assignment> for AssignmentView {
    fn from(assignment: &Assignment) -> AssignmentView {
        let primary = assignment.primary.as_ref();
        AssignmentView {
            group: assignment.group.to_string(),
            epoch: assignment.epoch.0,
            primary: primary.map(|primary| primary.instance.to_string()),
            region: primary.map(|primary| primary.region.to_string()),
            address: primary.map(|primary| primary.address.clone()),
            revision: assignment.revision.map(|revision| revision.0),
            age_ms: millis(assignment.age),
        }
    }
}

impl SwitchoverView {
    /// Who is primary now, and how long commits waited for it.
    pub fn of(assignment: &Assignment, waited: Option<Duration>) -> SwitchoverView {
        SwitchoverView { assignment: assignment.into(), commits_waited_ms: waited.map(millis) }
    }
}

impl From<&SwitchoverPlan> for PlanView {
    fn from(plan: &SwitchoverPlan) -> PlanView {
        PlanView {
            group: plan.group.to_string(),
            from: plan.from.to_string(),
            to: plan.to.to_string(),
            lag_bytes: plan.lag_bytes,
            commits_wait_ms: plan.pause.map(millis),
        }
    }
}

impl From<&Switching> for SwitchingView {
    fn from(switching: &Switching) -> SwitchingView {
        SwitchingView {
            from: switching.from.to_string(),
            to: switching.to.to_string(),
            step: switching.step.to_string(),
            why: some(&switching.why),
            began_ms_ago: millis(switching.began),
            commits_waited_ms: switching.held.map(millis),
            over: switching.over,
        }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> ChangeView {
        let positions = change.positions.iter().map(|(name, at)| (name.to_string(), PositionView::from(*at)));
        ChangeView {
            at: super::words::time(change.at_unix_ms),
            at_unix_ms: change.at_unix_ms,
            revision: change.revision.0,
            epoch: change.epoch.0,
            primary: change.primary.to_string(),
            primary_since_epoch: change.since.0,
            reason: change.reason.to_string(),
            voters: change.voters.iter().map(|id| id.0).collect(),
            positions: positions.collect(),
            left_behind: change.tails.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Tail> for TailView {
    fn from(tail: &Tail) -> TailView {
        TailView {
            instance: tail.instance.to_string(),
            timeline: tail.timeline,
            from: tail.from.to_string(),
            to: tail.to.to_string(),
            bytes: tail.bytes(),
            commits: tail.commits,
            kept: tail.kept.clone(),
            found: super::words::time(tail.found_unix_ms),
            found_unix_ms: tail.found_unix_ms,
        }
    }
}
