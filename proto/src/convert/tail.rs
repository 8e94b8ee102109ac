//! What a change of primary left behind.

use super::field::{ConvertError, at_most, fitting, name, number, real_epoch, required, text};
use crate::v1;
use regent_core::ids::{GroupName, Lsn};
use regent_core::message::{ToAgent, ToWitness};
use regent_core::tail::{TAILS_KEPT, Tail};

impl From<Tail> for v1::Tail {
    fn from(tail: Tail) -> v1::Tail {
        v1::Tail {
            instance: tail.instance.into(),
            epoch: tail.epoch.0,
            timeline: tail.timeline,
            from: tail.from.0,
            to: tail.to.0,
            commits: tail.commits,
            kept: fitting(tail.kept),
            found_unix_ms: tail.found_unix_ms,
        }
    }
}

impl TryFrom<v1::Tail> for Tail {
    type Error = ConvertError;
    fn try_from(tail: v1::Tail) -> Result<Tail, ConvertError> {
        Ok(Tail {
            instance: name("instance", tail.instance)?,
            epoch: real_epoch("epoch", tail.epoch)?,
            timeline: tail.timeline,
            from: Lsn(tail.from),
            to: Lsn(number("to", tail.to, tail.from..=u64::MAX)?),
            commits: tail.commits,
            kept: text("kept", tail.kept)?,
            found_unix_ms: tail.found_unix_ms,
        })
    }
}

/// The tails of one change.
pub(super) fn tails(list: Vec<v1::Tail>) -> Result<Vec<Tail>, ConvertError> {
    at_most("tails", list.len(), TAILS_KEPT)?;
    list.into_iter().map(|tail| Tail::try_from(tail).map_err(|error| error.within("tails"))).collect()
}

/// An agent tells of a tail.
pub(super) fn told(group: GroupName, tail: Tail) -> v1::LeftBehind {
    v1::LeftBehind { group: group.into(), tail: Some(tail.into()) }
}

pub(super) fn heard(left: v1::LeftBehind) -> Result<ToWitness, ConvertError> {
    let tail = Tail::try_from(required("tail", left.tail)?).map_err(|error| error.within("tail"))?;
    Ok(ToWitness::Tail { group: name("group", left.group)?, tail })
}

pub(super) fn recorded(wire: v1::TailRecorded) -> Result<ToAgent, ConvertError> {
    let group = name("group", wire.group)?;
    Ok(ToAgent::TailRecorded { group, timeline: wire.timeline, from: Lsn(wire.from) })
}
