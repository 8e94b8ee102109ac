//! What would happen if the primary died now: who would take over, in about how many milliseconds, losing what. And how
//! long a switchover would make commits wait. The formulas are the time budget of design section 7.

use crate::agent::REPORT_INTERVAL;
use crate::command::Instance;
use crate::ids::{InstanceName, NodeId, RegionName};
use crate::message::Report;
use crate::quorum::majority;
use crate::replication::{Configuration, Mode, Policy};
use crate::state::Group;
use crate::succession::{lag_bytes, why_not};
use crate::time::{Time, held, to_hold};
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
/// It starts, where no start has been seen.
const START: Duration = Duration::from_millis(300);
/// Round trips until a standby confirms to a new primary: it connects and logs in (five), asks what that one is and for its
/// history (two), receives the end of the old timeline and leaves it (two), begins on the new one (two), and confirms (one).
const CONFIRMING: u32 = 12;

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// Who would take over.
    pub heir: InstanceName,
    /// From the death of the primary's region to the first commit at the heir.
    pub outage: Duration,
    /// Whether commits wait after that until somebody else comes back: nobody would be left to confirm them.
    pub waits: bool,
    /// WAL that only the primary has, in bytes; 0 in `sync` and `quorum`, where none of it was acknowledged.
    pub lost_bytes: u64,
    /// In `bounded`, in force: how long before the last acknowledgement what is lost was acknowledged, at most.
    pub rpo: Option<Duration>,
}

/// Predicts the loss of the primary's whole region, `region_of` telling where each witness is.
pub fn forecast(
    group: &Group,
    view: &GroupView,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
    primary_region: Option<RegionName>,
    now: Time,
) -> Option<Forecast> {
    let heir = group.succession.iter().find(|name| why_not(group, view, name, now).is_none())?;
    let lost_with_it = |id: &NodeId| primary_region.is_some() && region_of(*id) == primary_region;
    let mut votes: Vec<Duration> = group
        .electorate
        .iter()
        .filter(|id| !lost_with_it(id))
        .filter_map(|id| round_trip(view, *id, heir))
        .map(|there| there / 2)
        .collect();
    votes.sort_unstable();
    let last = votes.get(majority(group.electorate.len()) - 1)?;
    let report = view.last_report(heir).map(|(report, _)| report)?;
    let confirmed = group.in_force() && group.terms.mode.rpo().is_none();
    let lost_bytes = lag_bytes(group, view, report).filter(|_| !confirmed).unwrap_or(0);
    // Whoever may lack a commit asks the others first: they hear of the decision, and answer.
    let gathers = group.configuration.as_ref().is_some_and(Configuration::must_gather);
    let gathering = if gathers { *last * 2 + TURN } else { Duration::ZERO };
    let left = |at: &Instance| Some(&at.region) != primary_region.as_ref();
    let confirming = confirming(group, view, heir, &region_of, left, now);
    let outage = group.terms.suspicion + FLUSH + *last + gathering + PROMOTION + RECONNECT;
    Some(Forecast {
        heir: heir.clone(),
        outage: outage + confirming.unwrap_or_default(),
        waits: confirming.is_none(),
        lost_bytes,
        rpo: group.terms.mode.rpo().filter(|_| group.in_force()),
    })
}

/// How long a new primary's first commit waits for the nearest standby to come and confirm it, of those that are left. `None`:
/// nobody is. Which standby may confirm is decided where it is done; that it cannot is rarely so, and makes this too short.
fn confirming(
    group: &Group,
    view: &GroupView,
    primary: &InstanceName,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
    left: impl Fn(&Instance) -> bool,
    now: Time,
) -> Option<Duration> {
    if group.terms.mode == Mode::Async || group.terms.policy == Policy::Degrade {
        return Some(Duration::ZERO);
    }
    let others = view.all_fresh(group, now).filter(|report| report.instance != *primary);
    let others = others.filter(|report| group.instances.get(&report.instance).is_some_and(&left));
    // Where no witness is in its region, how far it is is not known.
    let far = |other: &Report| between(group, view, primary, &other.instance, &region_of).unwrap_or_default();
    others.map(|other| far(other) * CONFIRMING).min()
}

/// Why a lease has breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFar {
    /// The round trip to the nearest witnesses that make a majority.
    pub round_trip: Duration,
    /// A ttl that would do, in whole milliseconds: it leaves room for one answer that is lost.
    pub enough: Duration,
}

/// Whether the witnesses that are there are too far away for a lease without breaks: a promise counts from when it was asked for, and
/// the next has to be back before it is over. `None` also while the round trips of a majority are not known.
pub fn too_far(group: &Group, view: &GroupView, primary: &InstanceName, now: Time) -> Option<TooFar> {
    let there = view.standings(group, now).filter_map(|standing| round_trip(view, standing.witness, primary));
    // None at all is what an agent says that has not measured any.
    let mut trips: Vec<Duration> = there.filter(|trip| !trip.is_zero()).collect();
    trips.sort_unstable();
    let round_trip = *trips.get(majority(group.electorate.len()) - 1)?;
    let next = round_trip + REPORT_INTERVAL;
    let far = TooFar { round_trip, enough: to_hold(next + REPORT_INTERVAL) };
    (next >= held(group.terms.ttl)).then_some(far)
}

/// How far a witness is from an instance.
fn round_trip(view: &GroupView, from: NodeId, to: &InstanceName) -> Option<Duration> {
    let (standing, _) = view.last_standing(from)?;
    let (_, rtt_us) = standing.hears.iter().find(|(heard, _)| heard == to)?;
    Some(Duration::from_micros(u64::from(*rtt_us)))
}

/// How far an instance is from another, as a witness in that one's region measures it.
fn between(
    group: &Group,
    view: &GroupView,
    one: &InstanceName,
    other: &InstanceName,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
) -> Option<Duration> {
    let at = &group.instances.get(other)?.region;
    let mut beside = group.electorate.iter().filter(|id| region_of(**id).as_ref() == Some(at));
    beside.find_map(|id| round_trip(view, *id, one))
}

/// How long commits will wait in a switchover: until the old primary has stopped, which takes a round trip to its
/// successor, its release has reached a majority of witnesses and their votes the successor, that one is promoted, and
/// somebody confirms to it, where commits wait for that. `None` while the round trips are not known.
pub fn pause(
    group: &Group,
    view: &GroupView,
    from: &InstanceName,
    to: &InstanceName,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
    now: Time,
) -> Option<Duration> {
    let there = between(group, view, from, to, &region_of)?;
    let way = |id: &NodeId| Some((round_trip(view, *id, from)? + round_trip(view, *id, to)?) / 2);
    let mut votes: Vec<Duration> = group.electorate.iter().filter_map(way).collect();
    votes.sort_unstable();
    let last = votes.get(majority(group.electorate.len()) - 1)?;
    let confirming = confirming(group, view, to, &region_of, |_| true, now)?;
    Some(STOP + there + *last + FLUSH + PROMOTION + RECONNECT + confirming)
}

/// How long commits will wait while one is restarted for which they wait: it stops, which takes a primary a round trip to its
/// heir, and starts, and where commits have to be confirmed a standby comes back to confirm them.
pub fn restart(
    group: &Group,
    view: &GroupView,
    instance: &InstanceName,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
    now: Time,
) -> Duration {
    let heir = group.succession.first().filter(|heir| *heir != instance);
    let there = heir.and_then(|heir| between(group, view, instance, heir, &region_of)).unwrap_or_default();
    let starts = view.last_report(instance).and_then(|(report, _)| report.started_in).unwrap_or(START);
    let leads = view.current(group).1 == Some(instance);
    let confirming = confirming(group, view, instance, &region_of, |_| true, now).filter(|_| leads);
    STOP + there + starts + RECONNECT + confirming.unwrap_or_default()
}
