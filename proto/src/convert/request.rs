//! What is asked of a node.

use super::MAX_SPAN_US;
use super::answer::millis;
use super::field::{ConvertError, at_most, electorate, epoch, name, number, optional_name, real_electorate};
use super::group::{mode, policy};
use super::vote::ids;
use crate::api::{
    Consistency, Drain, NewElectorate, NewGroup, NewMode, PrimaryQuery, Restart, Switchover, WatchQuery,
};
use crate::v1;
use regent_core::switchover::MOST_WAIT;
use std::time::Duration;

impl From<PrimaryQuery> for v1::GetPrimaryRequest {
    fn from(query: PrimaryQuery) -> v1::GetPrimaryRequest {
        let consistency = match query.consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Local => v1::Consistency::Local,
        };
        v1::GetPrimaryRequest { group: query.group.into(), consistency: consistency.into() }
    }
}

impl TryFrom<v1::GetPrimaryRequest> for PrimaryQuery {
    type Error = ConvertError;
    fn try_from(query: v1::GetPrimaryRequest) -> Result<PrimaryQuery, ConvertError> {
        let unknown = |_| ConvertError::new("consistency", "LINEARIZABLE or LOCAL", query.consistency);
        let consistency = match v1::Consistency::try_from(query.consistency).map_err(unknown)? {
            v1::Consistency::Linearizable => Consistency::Linearizable,
            v1::Consistency::Local => Consistency::Local,
        };
        Ok(PrimaryQuery { group: name("group", query.group)?, consistency })
    }
}

impl From<WatchQuery> for v1::WatchRequest {
    fn from(query: WatchQuery) -> v1::WatchRequest {
        v1::WatchRequest {
            groups: query.groups.into_iter().map(Into::into).collect(),
            from: query.from.into_iter().map(|(group, epoch)| (group.into(), epoch.0)).collect(),
        }
    }
}

/// The most groups that can be named in one watch; all of them need no names.
const MAX_WATCHED: usize = 1_024;

impl TryFrom<v1::WatchRequest> for WatchQuery {
    type Error = ConvertError;
    fn try_from(query: v1::WatchRequest) -> Result<WatchQuery, ConvertError> {
        at_most("groups", query.groups.len(), MAX_WATCHED)?;
        at_most("from", query.from.len(), MAX_WATCHED)?;
        let seen = |(group, seen)| Ok((name("from", group)?, epoch("from", seen)?));
        Ok(WatchQuery {
            groups: query.groups.into_iter().map(|group| name("groups", group)).collect::<Result<_, _>>()?,
            from: query.from.into_iter().map(seen).collect::<Result<_, ConvertError>>()?,
        })
    }
}

impl From<NewGroup> for v1::CreateGroupRequest {
    fn from(new: NewGroup) -> v1::CreateGroupRequest {
        v1::CreateGroupRequest {
            group: new.group.into(),
            ttl_ms: new.ttl.map(millis),
            suspicion_ms: new.suspicion.map(millis),
            mode: new.mode.map(|mode| mode.to_string()),
            max_promotion_lag: new.max_promotion_lag,
            first: new.first.map(Into::into),
            electorate: ids(new.electorate.unwrap_or_default()),
            policy: new.policy.map(|policy| policy.to_string()),
        }
    }
}

impl TryFrom<v1::CreateGroupRequest> for NewGroup {
    type Error = ConvertError;
    fn try_from(new: v1::CreateGroupRequest) -> Result<NewGroup, ConvertError> {
        let electorate = electorate("electorate", new.electorate)?;
        Ok(NewGroup {
            group: name("group", new.group)?,
            ttl: span("ttl_ms", new.ttl_ms)?,
            suspicion: span("suspicion_ms", new.suspicion_ms)?,
            mode: new.mode.map(|got| mode("mode", &got)).transpose()?,
            policy: new.policy.map(|got| policy("policy", &got)).transpose()?,
            max_promotion_lag: new.max_promotion_lag,
            first: optional_name("first", new.first)?,
            electorate: (!electorate.is_empty()).then_some(electorate),
        })
    }
}

/// Only bounded here: which terms make sense is for the log to say, with the range it accepts.
fn span(field: &str, got: Option<u64>) -> Result<Option<Duration>, ConvertError> {
    let span = |got| number(field, got, 0..=MAX_SPAN_US / 1_000).map(Duration::from_millis);
    got.map(span).transpose()
}

impl From<Switchover> for v1::SwitchoverRequest {
    fn from(wish: Switchover) -> v1::SwitchoverRequest {
        let wait_ms = wish.wait.map(millis);
        v1::SwitchoverRequest { group: wish.group.into(), to: wish.to.map(Into::into), wait_ms }
    }
}

impl TryFrom<v1::SwitchoverRequest> for Switchover {
    type Error = ConvertError;
    fn try_from(wish: v1::SwitchoverRequest) -> Result<Switchover, ConvertError> {
        Ok(Switchover {
            group: name("group", wish.group)?,
            to: optional_name("to", wish.to)?,
            wait: wait(wish.wait_ms)?,
        })
    }
}

impl From<Restart> for v1::RestartRequest {
    fn from(wish: Restart) -> v1::RestartRequest {
        let wait_ms = wish.wait.map(millis);
        v1::RestartRequest { group: wish.group.into(), instance: wish.instance.into(), wait_ms }
    }
}

impl TryFrom<v1::RestartRequest> for Restart {
    type Error = ConvertError;
    fn try_from(wish: v1::RestartRequest) -> Result<Restart, ConvertError> {
        Ok(Restart {
            group: name("group", wish.group)?,
            instance: name("instance", wish.instance)?,
            wait: wait(wish.wait_ms)?,
        })
    }
}

/// How long a planned change may take before commits wait for it.
fn wait(got: Option<u64>) -> Result<Option<Duration>, ConvertError> {
    let longest = u64::try_from(MOST_WAIT.as_millis()).unwrap_or(u64::MAX);
    got.map(|got| number("wait_ms", got, 1..=longest).map(Duration::from_millis)).transpose()
}

impl From<Drain> for v1::SetDrainedRequest {
    fn from(wish: Drain) -> v1::SetDrainedRequest {
        v1::SetDrainedRequest { region: wish.region.into(), drained: wish.drained }
    }
}

impl TryFrom<v1::SetDrainedRequest> for Drain {
    type Error = ConvertError;
    fn try_from(wish: v1::SetDrainedRequest) -> Result<Drain, ConvertError> {
        Ok(Drain { region: name("region", wish.region)?, drained: wish.drained })
    }
}

impl From<NewElectorate> for v1::SetElectorateRequest {
    fn from(wish: NewElectorate) -> v1::SetElectorateRequest {
        v1::SetElectorateRequest { group: wish.group.into(), electorate: ids(wish.electorate) }
    }
}

impl TryFrom<v1::SetElectorateRequest> for NewElectorate {
    type Error = ConvertError;
    fn try_from(wish: v1::SetElectorateRequest) -> Result<NewElectorate, ConvertError> {
        let electorate = real_electorate("electorate", wish.electorate)?;
        Ok(NewElectorate { group: name("group", wish.group)?, electorate })
    }
}

impl From<NewMode> for v1::SetModeRequest {
    fn from(wish: NewMode) -> v1::SetModeRequest {
        let policy = wish.policy.map(|policy| policy.to_string());
        v1::SetModeRequest { group: wish.group.into(), mode: wish.mode.to_string(), policy }
    }
}

impl TryFrom<v1::SetModeRequest> for NewMode {
    type Error = ConvertError;
    fn try_from(wish: v1::SetModeRequest) -> Result<NewMode, ConvertError> {
        Ok(NewMode {
            group: name("group", wish.group)?,
            mode: mode("mode", &wish.mode)?,
            policy: wish.policy.map(|got| policy("policy", &got)).transpose()?,
        })
    }
}
