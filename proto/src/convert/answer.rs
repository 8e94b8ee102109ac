//! Who leads, on its way to those who asked.

use super::field::{ConvertError, address, epoch, name, required, revision};
use crate::api::{Assignment, Primary, Told};
use crate::v1;
use regent_core::ids::Revision;
use std::time::Duration;

/// Whole milliseconds for the wire.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<Assignment> for v1::Assignment {
    fn from(assignment: Assignment) -> v1::Assignment {
        let (primary, region, address) = match assignment.primary {
            Some(primary) => (primary.instance.into(), primary.region.into(), primary.address),
            None => Default::default(),
        };
        v1::Assignment {
            group: assignment.group.into(),
            epoch: assignment.epoch.0,
            primary,
            region,
            address,
            revision: assignment.revision.unwrap_or_default().0,
            age_ms: millis(assignment.age),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = ConvertError;
    fn try_from(wire: v1::Assignment) -> Result<Assignment, ConvertError> {
        if wire.primary.is_empty() != (wire.epoch == 0) {
            let expected = "a primary from epoch 1 on, and none before";
            return Err(ConvertError::new("primary", expected, format!("epoch {}", wire.epoch)));
        }
        Ok(Assignment {
            group: name("group", wire.group)?,
            epoch: epoch("epoch", wire.epoch)?,
            primary: primary(wire.primary, wire.region, wire.address)?,
            revision: Some(revision("revision", wire.revision)?).filter(|revision| *revision != Revision(0)),
            age: Duration::from_millis(wire.age_ms),
        })
    }
}

fn primary(instance: String, region: String, at: String) -> Result<Option<Primary>, ConvertError> {
    if instance.is_empty() {
        return Ok(None);
    }
    let instance = name("primary", instance)?;
    Ok(Some(Primary { instance, region: name("region", region)?, address: address("address", at)? }))
}

impl From<Told> for v1::WatchEvent {
    fn from(told: Told) -> v1::WatchEvent {
        v1::WatchEvent {
            assignment: Some(told.assignment.into()),
            present: told.present,
            jumped: told.jumped.into_iter().map(|epoch| epoch.0).collect(),
            reason: told.reason,
        }
    }
}

impl TryFrom<v1::WatchEvent> for Told {
    type Error = ConvertError;
    fn try_from(event: v1::WatchEvent) -> Result<Told, ConvertError> {
        let assignment = required("assignment", event.assignment)?;
        Ok(Told {
            assignment: assignment.try_into().map_err(|error: ConvertError| error.within("assignment"))?,
            present: event.present,
            jumped: event.jumped.into_iter().map(|got| epoch("jumped", got)).collect::<Result<_, _>>()?,
            reason: event.reason,
        })
    }
}
