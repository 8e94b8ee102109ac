//! Who may take over, in which order, and why not the others. Kept by the leader in calm, in the log; only advice to
//! safety, all to speed.

use crate::ids::{Epoch, InstanceName};
use crate::message::{Report, Role};
use crate::mutant::{self, Mutant};
use crate::replication::{Mode, Offer};
use crate::state::{Group, MAX_INSTANCES};
use crate::tags::{never_promoted, priority};
use crate::time::Time;
use crate::view::GroupView;
use std::time::Duration;

/// How long a member of the succession may be unheard before it is dropped: longer than a lapse, shorter than a coffee.
pub const FORGET_AFTER: Duration = Duration::from_secs(2);

/// How long a standby has to have streamed without a break before its priority moves it ahead of others: an heir that comes
/// and goes would change the succession each time.
pub const CALM: Duration = Duration::from_secs(3);

/// Why an instance cannot take over now, in words; `None` if it can.
pub fn why_not(group: &Group, view: &GroupView, name: &InstanceName, now: Time) -> Option<String> {
    obstacle(group, view, name, now, Duration::ZERO)
}

/// The same, forgiving one that has not streamed, or could not follow a new primary yet, for no longer than `lapse`.
fn obstacle(
    group: &Group,
    view: &GroupView,
    name: &InstanceName,
    now: Time,
    lapse: Duration,
) -> Option<String> {
    let (epoch, primary) = view.current(group);
    if primary == Some(name) {
        return Some("is the primary".to_owned());
    }
    if never_promoted(group, name) && !mutant::on(Mutant::NeverPromotedNamed) {
        return Some("is tagged no_promote".to_owned());
    }
    let Some((report, _)) = view.last_report(name).filter(|(_, at)| now < *at + FORGET_AFTER) else {
        return Some("does not report".to_owned());
    };
    if !report.trouble.is_empty() {
        return Some(report.trouble.clone());
    }
    if report.role != Role::Standby {
        return Some(format!("Postgres is {}", report.role));
    }
    if report.system_id != group.system_id {
        return Some("holds another database".to_owned());
    }
    if !report.gate_armed {
        return Some("its gate is not armed".to_owned());
    }
    let new = view.primary_since(group).is_some_and(|since| now < since + lapse);
    let followed = followed(report, |name| view.last_report(name).map(|(report, _)| report));
    match &report.through {
        Some(from) if group.terms.mode != Mode::Async => {
            return Some(format!("receives from {from}, so that the primary does not see it confirm"));
        }
        Some(from) if followed < group.since && !new => {
            return Some(format!(
                "receives from {from}, which has not followed the primary of epoch {epoch} yet"
            ));
        }
        _ if !report.ready || (followed < group.since && !new) => {
            return Some(format!("has not followed the primary of epoch {epoch} yet"));
        }
        _ => {}
    }
    let streamed = view.streamed_at(name).is_some_and(|at| now < at + lapse);
    if !(report.streaming || streamed) {
        return Some("does not stream".to_owned());
    }
    // A receiver counts as streaming from the moment it is connected, also one that has still to learn that its upstream's
    // timeline is another, and that it went too far on the old one to follow.
    let theirs =
        primary.and_then(|primary| view.last_report(primary)).map(|(report, _)| report.position.timeline);
    let ours = report.position.timeline;
    let older = |theirs: &u32| ours < *theirs && !mutant::on(Mutant::TimelineIgnored);
    if let Some(theirs) = theirs.filter(|theirs| older(theirs) && !new) {
        return Some(format!("is still on timeline {ours}, the primary on {theirs}"));
    }
    let member = group.succession.contains(name);
    let allowed = group.terms.max_promotion_lag.saturating_mul(if member { 2 } else { 1 }); // hysteresis
    let lag = lag_bytes(group, view, report);
    if lag.is_some_and(|lag| lag > allowed) {
        return Some(format!("is {} bytes behind, allowed are {allowed}", lag.unwrap_or_default()));
    }
    None
}

/// Whether an instance has turned to the primary of `since`: it has received from that one, on that one's timeline as far
/// as this was reported. Who has not may hold what that primary's history left behind, and lack all that is in it.
pub fn has_turned<'a>(
    report: &'a Report,
    since: Epoch,
    primary: Option<&Report>,
    reported: impl Fn(&InstanceName) -> Option<&'a Report>,
) -> bool {
    let older = primary.is_some_and(|primary| report.position.timeline < primary.position.timeline);
    (followed(report, reported) >= since && !older) || mutant::on(Mutant::TurningIgnored)
}

/// The highest epoch whose primary an instance has followed. Who receives through another standby knows only that it agrees
/// with that one: so it has followed whom that one has.
fn followed<'a>(report: &'a Report, reported: impl Fn(&InstanceName) -> Option<&'a Report>) -> Epoch {
    let mut at = report;
    for _ in 0..MAX_INSTANCES {
        match at.through.as_ref().map(&reported) {
            _ if mutant::on(Mutant::ChainIgnoredByCascade) && at.through.is_some() => return Epoch(u64::MAX),
            None => return at.followed,
            Some(Some(next)) => at = next,
            Some(None) => break,
        }
    }
    Epoch(0) // nobody heard it say, or it goes round in a circle
}

/// How many bytes of WAL an instance is behind the primary's last reported position; `None` without a primary's report.
pub fn lag_bytes(group: &Group, view: &GroupView, report: &Report) -> Option<u64> {
    let primary = view.current(group).1?;
    let (ahead, _) = view.last_report(primary)?;
    Some(ahead.position.received.0.saturating_sub(report.position.flushed.0))
}

/// The succession as it should be now: members keep their places while they may be in it; new ones come after, by name. Who
/// has a higher priority comes before who has a lower, but moves there only when it has been fit for [`CALM`] without a break.
///
/// A member that has just stopped streaming stays: when the primary dies, every standby does, moments before the
/// witnesses look for an heir. So does one that still turns to a new primary, but behind those that have turned.
///
/// In `sync` and `quorum` it is taken from what the primary offers. Before its first offer in this epoch it stays as it is: after a
/// change of primary commits wait for all in it anyway, and after a change of the mode an heir is better than none.
pub fn desired(group: &Group, view: &GroupView, now: Time) -> Option<(Vec<InstanceName>, Option<Offer>)> {
    let able = able(group, view, now);
    if group.terms.mode == Mode::Async {
        return Some((able, None));
    }
    let report = view.current(group).1.and_then(|primary| view.fresh(group, primary, now))?;
    let offer =
        report.offer.clone().filter(|offer| offer.version > 0 && report.claims == Some(group.epoch))?;
    let offered = able.into_iter().filter(|name| offer.members.contains(name)).collect();
    Some((offered, Some(offer)))
}

fn able(group: &Group, view: &GroupView, now: Time) -> Vec<InstanceName> {
    let lapse = FORGET_AFTER.max(group.terms.suspicion * 3);
    let may_stay = |name: &&InstanceName| obstacle(group, view, name, now, lapse).is_none();
    let may_join = |name: &&InstanceName| why_not(group, view, name, now).is_none();
    let primary =
        view.current(group).1.and_then(|primary| view.last_report(primary)).map(|(report, _)| report);
    let turned = |name: &&InstanceName| {
        let reported = |name: &InstanceName| view.last_report(name).map(|(report, _)| report);
        reported(name).is_some_and(|report| has_turned(report, group.since, primary, reported))
    };
    let (stay, turning): (Vec<_>, Vec<_>) = group.succession.iter().filter(may_stay).partition(turned);
    let join = group.instances.keys().filter(|name| !group.succession.contains(name)).filter(may_join);
    let placed = by_priority(group, view, stay.into_iter().chain(join), now);
    placed.into_iter().chain(turning).cloned().collect()
}

/// Those in order, but who has been fit for long enough before all with a lower priority.
fn by_priority<'a>(
    group: &Group,
    view: &GroupView,
    names: impl Iterator<Item = &'a InstanceName>,
    now: Time,
) -> Vec<&'a InstanceName> {
    let mut placed: Vec<&InstanceName> = Vec::new();
    for name in names {
        let calm = view.fit_since(name).is_some_and(|since| now >= since + CALM);
        let lower = |other: &&InstanceName| priority(group, other) < priority(group, name);
        let place = placed.iter().position(lower).filter(|_| calm);
        placed.insert(place.unwrap_or(placed.len()), name);
    }
    placed
}
