//! The planned change: who can be handed the office now, and why not; and how far one is that was begun.

use crate::drain::is_drained;
use crate::forecast::pause;
use crate::ids::{InstanceName, NodeId, RegionName};
use crate::message::{HandOver, Report, Role, Step};
use crate::plan::HAND_OVER_PATIENCE;
use crate::replication::Mode;
use crate::state::{Group, Rejected};
use crate::succession::{lag_bytes, why_not};
use crate::time::Time;
use crate::view::GroupView;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a successor may take to come close while commits pass, when whoever asks does not say.
pub const WAIT: Duration = Duration::from_secs(5);
/// The longest that may be asked for: the call that asks has to outlast it.
pub const MOST_WAIT: Duration = Duration::from_secs(50);
/// WAL that the successor may have received and still have to replay, in bytes: replaying it is part of the pause.
const MOST_REPLAY: u64 = 16 << 20;

/// Why a switchover is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such group.
    #[error(transparent)]
    Unknown(#[from] Rejected),
    /// No such instance, nor a region with one.
    #[error("no instance or region {got} in group {group}: known are {known}")]
    UnknownTarget {
        /// The group.
        group: String,
        /// What was asked for.
        got: InstanceName,
        /// The instances, each with its region.
        known: String,
    },
    /// There is no primary to hand over.
    #[error("group {0} has no primary that holds its lease: nothing can be handed over; see `regent status`")]
    NoPrimary(String),
    /// It is primary already.
    #[error("{0} is the primary already")]
    AlreadyPrimary(InstanceName),
    /// Nobody is in the succession.
    #[error("nobody can take over in group {group} now: {why}")]
    NobodyReady {
        /// The group.
        group: String,
        /// Each of its standbys, and why not.
        why: String,
    },
    /// The one asked for cannot take over.
    #[error("{instance} cannot take over now: it {why}")]
    NotReady {
        /// Who was asked for.
        instance: InstanceName,
        /// Why not.
        why: String,
    },
    /// Nobody in the region asked for can.
    #[error("nobody in region {region} can take over now: {why}")]
    NobodyThere {
        /// The region.
        region: RegionName,
        /// Each of its instances, and why not.
        why: String,
    },
    /// Another switchover is under way.
    #[error("a switchover of group {group} to {to} is under way already; see `regent status`")]
    UnderWay {
        /// The group.
        group: String,
        /// To whom.
        to: InstanceName,
    },
}

/// What a switchover would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Who hands over.
    pub from: InstanceName,
    /// What it is asked.
    pub wish: HandOver,
    /// WAL that the successor lacks, in bytes.
    pub lag_bytes: Option<u64>,
    /// How long commits will wait, about; none while the round trips are not known.
    pub pause: Option<Duration>,
}

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// An instance, or the first in the succession of a region; without it the heir.
    pub to: Option<&'a InstanceName>,
    /// How long the successor may take to come close.
    pub wait: Duration,
    /// The regions that shall have no primary.
    pub drained: &'a BTreeSet<RegionName>,
}

/// Checks a wish, and says what would be done. `region_of` tells where each witness is.
pub fn check(
    group: &Group,
    view: &GroupView,
    wish: Wish<'_>,
    region_of: impl Fn(NodeId) -> Option<RegionName>,
    now: Time,
) -> Result<Plan, Refused> {
    let (epoch, primary) = view.current(group);
    let no_primary = || Refused::NoPrimary(group.name.to_string());
    let primary = primary.ok_or_else(no_primary)?;
    if let Some(to) = under_way(group, view, now) {
        return Err(Refused::UnderWay { group: group.name.to_string(), to });
    }
    if !view.well(group, now) {
        return Err(no_primary());
    }
    let to = target(group, view, primary, wish, now)?;
    let report = view.last_report(&to).map(|(report, _)| report);
    Ok(Plan {
        from: primary.clone(),
        lag_bytes: report.and_then(|report| lag_bytes(group, view, report)),
        pause: pause(group, view, primary, &to, region_of, now),
        wish: HandOver { epoch, to, ticket: now.0, wait: wish.wait },
    })
}

/// To whom a switchover is under way: asked for and not heard yet, or taken up and not ended.
pub fn under_way(group: &Group, view: &GroupView, now: Time) -> Option<InstanceName> {
    let primary = view.current(group).1?;
    let progress = view.progress(primary);
    if let Some(progress) = progress.filter(|progress| progress.step.under_way()) {
        return Some(progress.to.clone());
    }
    let (wish, asked) = view.hand_over(group)?;
    let ended = progress.is_some_and(|progress| progress.ticket == wish.ticket);
    (!ended && now < asked + HAND_OVER_PATIENCE).then(|| wish.to.clone())
}

fn target(
    group: &Group,
    view: &GroupView,
    primary: &InstanceName,
    wish: Wish<'_>,
    now: Time,
) -> Result<InstanceName, Refused> {
    let able = |name: &&InstanceName| obstacle(group, view, name, wish.drained, now).is_none();
    let reasons = |names: &mut dyn Iterator<Item = &InstanceName>| {
        let reason =
            |name: &InstanceName| Some(format!("{name} {}", obstacle(group, view, name, wish.drained, now)?));
        names.filter_map(reason).collect::<Vec<_>>().join(", ")
    };
    let Some(to) = wish.to else {
        return group.succession.iter().find(able).cloned().ok_or_else(|| Refused::NobodyReady {
            group: group.name.to_string(),
            why: reasons(&mut group.instances.keys().filter(|name| *name != primary)),
        });
    };
    if to == primary {
        return Err(Refused::AlreadyPrimary(to.clone()));
    }
    if group.instances.contains_key(to) {
        return match obstacle(group, view, to, wish.drained, now) {
            Some(why) => Err(Refused::NotReady { instance: to.clone(), why }),
            None => Ok(to.clone()),
        };
    }
    let there: Vec<&InstanceName> = group
        .instances
        .iter()
        .filter(|(_, at)| at.region.as_str() == to.as_str())
        .map(|(name, _)| name)
        .collect();
    let Some(region) = there.first().map(|name| group.instances[*name].region.clone()) else {
        let known = group.instances.iter().map(|(name, at)| format!("{name} in {}", at.region));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(Refused::UnknownTarget { group: group.name.to_string(), got: to.clone(), known });
    };
    if there.contains(&primary) {
        return Err(Refused::AlreadyPrimary(primary.clone()));
    }
    let mut there_in_order = candidates(group).filter(|name| there.contains(name));
    there_in_order
        .find(able)
        .cloned()
        .ok_or_else(|| Refused::NobodyThere { region, why: reasons(&mut there.iter().copied()) })
}

/// Who might be asked, in order: the succession, and then the others, whom `sync` has to let into it first.
pub fn candidates(group: &Group) -> impl Iterator<Item = &InstanceName> {
    let others = group.instances.keys().filter(|name| !group.succession.contains(name));
    group.succession.iter().chain(others)
}

/// Why an instance cannot be handed the office now; `None` if it can.
fn obstacle(
    group: &Group,
    view: &GroupView,
    name: &InstanceName,
    drained: &BTreeSet<RegionName>,
    now: Time,
) -> Option<String> {
    if is_drained(group, name, drained) {
        let region = &group.instances[name].region;
        return Some(format!("is in region {region}, which is drained; `regent undrain {region}` ends that"));
    }
    if let Some(why) = why_not(group, view, name, now) {
        return Some(why);
    }
    // In `sync` and `quorum` the primary lets it in, once it confirms, before commits are held.
    if !group.succession.contains(name) && group.terms.mode == Mode::Async {
        return Some("is not in the succession yet; try again in a moment".to_owned());
    }
    let (report, _) = view.last_report(name)?;
    if let Some(from) = &report.through {
        return Some(format!(
            "receives from {from} and not from the primary, which could not see that it has everything"
        ));
    }
    let left = report.position.flushed.0.saturating_sub(report.position.replayed.0);
    (left > MOST_REPLAY).then(|| format!("has {left} bytes to replay yet, allowed are {MOST_REPLAY}"))
}

/// A switchover as a node has heard of it, from when its primary took it up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switching {
    /// Which wish.
    pub ticket: u64,
    /// Who hands over.
    pub from: InstanceName,
    /// Who shall follow.
    pub to: InstanceName,
    /// How far the one that hands over is.
    pub step: Step,
    /// Why it was called off.
    pub why: String,
    /// When it was first heard of.
    pub began: Time,
    /// When commits were first heard to wait.
    pub held: Option<Time>,
    /// When they were heard to pass again: at the successor, or where they were.
    pub passed: Option<Time>,
}

impl Switching {
    /// What is known after one more report.
    pub fn after(known: Option<Switching>, report: &Report, now: Time) -> Option<Switching> {
        let mut known = match &report.hand_over {
            Some(progress) if known.as_ref().is_none_or(|known| known.ticket != progress.ticket) => {
                // What had ended before this node heard of it is no news.
                if !progress.step.under_way() {
                    return known;
                }
                Switching {
                    ticket: progress.ticket,
                    from: report.instance.clone(),
                    to: progress.to.clone(),
                    step: progress.step,
                    why: String::new(),
                    began: now,
                    held: None,
                    passed: None,
                }
            }
            _ => known?,
        };
        if let Some(progress) = report.hand_over.as_ref().filter(|_| report.instance == known.from) {
            (known.step, known.why) = (progress.step, progress.why.clone());
            if progress.step.holds() {
                known.held.get_or_insert(now);
            }
        }
        let passes = report.leased && report.role == Role::Primary;
        let there = report.instance == known.to && known.step != Step::CalledOff && known.held.is_some();
        let here = report.instance == known.from && known.step == Step::CalledOff;
        if passes && (there || here) {
            known.passed.get_or_insert(now);
        }
        Some(known)
    }
}
