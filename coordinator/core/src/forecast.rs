//! What would happen if the primary died now: who would take over, in about how many milliseconds, losing what. And how
//! long a switchover would make commits wait. The formulas are the time budget of design section 7.

use crate::ids::{InstanceName, NodeId, RegionName};
use crate::quorum::majority;
use crate::replication::Configuration;
use crate::state::Group;
use crate::succession::{lag_bytes, why_not};
use crate::time::Time;
use crate::view::GroupView;
use std::time::Duration;

/// A vote made durable: one flush.
const FLUSH: Duration = Duration::from_millis(5);
/// Postgres promoted and its gate open, from the certificate on.
const PROMOTION: Duration = Duration::from_millis(70);
/// A standby's Postgres receives from nobody but the heir any more, and was looked at.
const TURN: Duration = Duration::from_millis(30);
/// A client told and connected.
const RECONNECT: Duration = Duration::from_millis(20);
/// A Postgres that has just made a checkpoint stops.
const STOP: Duration = Duration::from_millis(50);

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Who would take over.
    pub heir: InstanceName,
    /// From the death of the primary's region to the first commit at the heir.
    pub outage: Duration,
    /// WAL that only the primary has, in bytes; 0 in `sync` and `quorum`, where none of it was acknowledged.
    pub lost_bytes: u64,
    /// In `bounded`, in force: how long before the last acknowledgement what is lost was acknowledged, at most.
    pub rpo: Option<Duration>,
}

/// Predicts the loss of the primary's whole region, `region_of` telling where each witness is.
pub fn forecast<'a, R: PartialEq>(
    group: &'a Group,
    view: &'a GroupView,
    region_of: impl Fn(NodeId) -> Option<R>,
    primary_region: Option<R>,
    now: Time,
) -> Option<Forecast> {
    let heir = group.succession.iter().find(|name| why_not(group, view, name, now).is_none())?;
    let lost_with_it = |id: &NodeId| primary_region.is_some() && region_of(*id) == primary_region;
    let mut votes: Vec<Duration> = group
        .electorate
        .iter()
        .filter(|id| !lost_with_it(id))
        .filter_map(|id| view.last_standing(*id))
        .filter_map(|(standing, _)| standing.hears.iter().find(|(name, _)| name == heir))
        .map(|(_, rtt_us)| Duration::from_micros(u64::from(*rtt_us)) / 2)
        .collect();
    votes.sort_unstable();
    let last = votes.get(majority(group.electorate.len()) - 1)?;
    let report = view.last_report(heir).map(|(report, _)| report)?;
    let confirmed = group.in_force() && group.terms.mode.rpo().is_none();
    let lost_bytes = lag_bytes(group, view, report).filter(|_| !confirmed).unwrap_or(0);
    // Whoever may lack a commit asks the others first: they hear of the decision, and answer.
    let gathers = group.configuration.as_ref().is_some_and(Configuration::must_gather);
    let gathering = if gathers { *last * 2 + TURN } else { Duration::ZERO };
    Some(Forecast {
        heir: heir.clone(),
        outage: group.terms.suspicion + FLUSH + *last + gathering + PROMOTION + RECONNECT,
        lost_bytes,
        rpo: group.terms.mode.rpo().filter(|_| group.in_force()),
    })
}

/// How long commits will wait in a switchover: until the old primary has stopped, which takes a round trip to its
/// successor, its release has reached a majority of witnesses and their votes the successor, and that one is
/// promoted. `None` while the round trips are not known.
pub fn pause(
    group: &Group,
    view: &GroupView,
    from: &InstanceName,
    to: &InstanceName,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
) -> Option<Duration> {
    let trip = |id: NodeId, name: &InstanceName| {
        let (standing, _) = view.last_standing(id)?;
        let (_, rtt_us) = standing.hears.iter().find(|(heard, _)| heard == name)?;
        Some(Duration::from_micros(u64::from(*rtt_us)))
    };
    let at = &group.instances.get(to)?.region;
    let mut beside = group.electorate.iter().filter(|id| region_of(**id).as_ref() == Some(at));
    let there = beside.find_map(|id| trip(*id, from))?;
    let mut votes: Vec<Duration> =
        group.electorate.iter().filter_map(|id| Some((trip(*id, from)? + trip(*id, to)?) / 2)).collect();
    votes.sort_unstable();
    let last = votes.get(majority(group.electorate.len()) - 1)?;
    Some(STOP + there + *last + FLUSH + PROMOTION + RECONNECT)
}
