//! The planned change: who can be handed the office now, and why not.

use crate::ids::InstanceName;
use crate::state::{Group, Rejected};
use crate::succession::why_not;
use crate::time::Time;
use crate::view::{GroupView, HandOver};

/// Why a switchover is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such instance.
    #[error(transparent)]
    Unknown(#[from] Rejected),
    /// There is no primary to hand over.
    #[error("group {0} has no primary that holds its lease: nothing can be handed over; see `regent status`")]
    NoPrimary(String),
    /// It is primary already.
    #[error("{0} is the primary already")]
    AlreadyPrimary(InstanceName),
    /// Nobody is in the succession.
    #[error("nobody is in the succession of group {0}; see `regent status` for why")]
    NobodyReady(String),
    /// The one asked for cannot take over.
    #[error("{instance} cannot take over now: it {why}")]
    NotReady {
        /// Who was asked for.
        instance: InstanceName,
        /// Why not.
        why: String,
    },
    /// Another switchover is under way.
    #[error("a switchover of this group to {0} is under way already")]
    UnderWay(InstanceName),
}

/// Checks a wish; without a name the heir is meant.
pub fn check(
    group: &Group,
    view: &GroupView,
    to: Option<&InstanceName>,
    now: Time,
) -> Result<HandOver, Refused> {
    let (epoch, primary) = view.current(group);
    let primary = primary.filter(|_| view.well(group, now));
    let primary = primary.ok_or_else(|| Refused::NoPrimary(group.name.to_string()))?;
    if let Some((under_way, _)) =
        view.hand_over(group).filter(|(_, at)| now < *at + crate::plan::HAND_OVER_PATIENCE)
    {
        return Err(Refused::UnderWay(under_way.to.clone()));
    }
    let to = match to {
        Some(to) => to,
        None => group.succession.first().ok_or_else(|| Refused::NobodyReady(group.name.to_string()))?,
    };
    group.instance(to)?;
    if to == primary {
        return Err(Refused::AlreadyPrimary(to.clone()));
    }
    if let Some(why) = why_not(group, view, to, now) {
        return Err(Refused::NotReady { instance: to.clone(), why });
    }
    if !group.succession.contains(to) {
        let why = "is not in the succession yet; try again in a moment".to_owned();
        return Err(Refused::NotReady { instance: to.clone(), why });
    }
    Ok(HandOver { epoch, to: to.clone() })
}
