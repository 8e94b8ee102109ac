//! How an instance is restarted, and for about how long commits wait for it; and why it cannot be now.

use crate::forecast;
use crate::ids::{InstanceName, NodeId, RegionName};
use crate::message::{HandOver, Role};
use crate::replication::Mode;
use crate::state::Group;
use crate::switchover::{self, Refused, refuse_second};
use crate::time::Time;
use crate::view::GroupView;
use std::time::Duration;

/// For so long a restart in place may be expected to keep commits waiting, where somebody could take over instead: the gate
/// refuses those that have waited for a second.
pub const IN_PLACE: Duration = Duration::from_millis(700);

/// How it is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// It is a standby: it stops and starts, and no commit waits.
    AsStandby,
    /// It is the primary and stays it: commits wait until it runs again.
    InPlace,
    /// It is the primary, and would take too long: the office goes to that one, for which it stops, and it starts as a standby.
    AfterSwitchover(InstanceName),
}

/// What a restart would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How.
    pub how: How,
    /// What is asked: the restart, or the switchover instead of it.
    pub wish: HandOver,
    /// How long commits will wait, about; none where they do not, and while the round trips of a switchover are not known.
    pub pause: Option<Duration>,
    /// Parameters that wait for it.
    pub pending: Vec<String>,
}

/// Checks a wish, and says what would be done. `region_of` tells where each witness is.
pub fn check(
    group: &Group,
    view: &GroupView,
    instance: &InstanceName,
    wish: switchover::Wish<'_>,
    region_of: impl Fn(NodeId) -> Option<RegionName> + Copy,
    now: Time,
) -> Result<Plan, Refused> {
    if !group.instances.contains_key(instance) {
        let known = group.instances.iter().map(|(name, at)| format!("{name} in {}", at.region));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(Refused::UnknownTarget { group: group.name.to_string(), got: instance.clone(), known });
    }
    refuse_second(group, view, now)?;
    let (epoch, primary) = view.current(group);
    let report = view.fresh(group, instance, now);
    let running = report.filter(|report| matches!(report.role, Role::Primary | Role::Standby));
    let Some(report) = running else {
        let why = report.map_or("it does not report".to_owned(), |report| {
            format!("Postgres is {}, and its agent's to start; see `regent status`", report.role)
        });
        return Err(Refused::NotRunning { instance: instance.clone(), why });
    };
    let pending = report.pending_restart.clone();
    let restart = HandOver { epoch, to: instance.clone(), ticket: now.0, wait: wish.wait, restart: true };
    let pause = forecast::restart(group, view, instance, region_of, now);
    if primary != Some(instance) {
        let confirms = group.terms.mode != Mode::Async && group.succession.contains(instance);
        return Ok(Plan { how: How::AsStandby, wish: restart, pause: confirms.then_some(pause), pending });
    }
    if !view.well(group, now) {
        let why = "it is the primary, and holds no lease; see `regent status`".to_owned();
        return Err(Refused::NotRunning { instance: instance.clone(), why });
    }
    let away =
        (pause > IN_PLACE).then(|| switchover::check(group, view, wish, region_of, now).ok()).flatten();
    Ok(match away {
        Some(plan) => Plan {
            how: How::AfterSwitchover(plan.wish.to.clone()),
            wish: plan.wish,
            pause: plan.pause,
            pending,
        },
        None => Plan { how: How::InPlace, wish: restart, pause: Some(pause), pending },
    })
}
