//! The log's word about a group.

use super::MAX_INSTANCES;
use super::field::{
    ConvertError, address, at_most, electorate, epoch, name, names, nodes, optional_name, quoted,
    real_electorate, real_epoch, required, revision, span,
};
use super::field::{micros, number};
use super::status::somebody;
use super::tail::tails;
use super::vote::{ids, optional_configuration, reason, texts};
use crate::v1;
use regent_core::command::{Instance, Terms};
use regent_core::ids::{InstanceName, Position};
use regent_core::quorum::Electorate;
use regent_core::replication::{Mode, Policy, Unknown};
use regent_core::state::{Change, Group, HISTORY_LENGTH};
use regent_core::tags::Tags;
use std::collections::{BTreeMap, HashMap};

impl From<Terms> for v1::Terms {
    fn from(terms: Terms) -> v1::Terms {
        v1::Terms {
            ttl_us: micros(terms.ttl),
            suspicion_us: micros(terms.suspicion),
            mode: terms.mode.to_string(),
            max_promotion_lag: terms.max_promotion_lag,
            policy: terms.policy.to_string(),
        }
    }
}

impl TryFrom<v1::Terms> for Terms {
    type Error = ConvertError;
    fn try_from(terms: v1::Terms) -> Result<Terms, ConvertError> {
        Ok(Terms {
            ttl: span("ttl_us", terms.ttl_us)?,
            suspicion: span("suspicion_us", terms.suspicion_us)?,
            mode: mode("mode", &terms.mode)?,
            max_promotion_lag: terms.max_promotion_lag,
            policy: if terms.policy.is_empty() { Policy::Block } else { policy("policy", &terms.policy)? },
        })
    }
}

/// The mode of that name.
pub fn mode(field: &str, got: &str) -> Result<Mode, ConvertError> {
    got.parse().map_err(|unknown: Unknown| ConvertError::new(field, unknown.expected, quoted(got)))
}

/// The policy of that name.
pub fn policy(field: &str, got: &str) -> Result<Policy, ConvertError> {
    got.parse().map_err(|unknown: Unknown| ConvertError::new(field, unknown.expected, quoted(got)))
}

impl From<Change> for v1::Change {
    fn from(change: Change) -> v1::Change {
        let positions = change.positions.into_iter().map(|(name, at)| (name.into(), at.into()));
        v1::Change {
            revision: change.revision.0,
            epoch: change.epoch.0,
            primary: change.primary.into(),
            since: change.since.0,
            reason: v1::Reason::from(change.reason).into(),
            voters: change.voters.into_iter().map(|id| id.0).collect(),
            positions: positions.collect(),
            at_unix_ms: change.at_unix_ms,
            tails: change.tails.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Change> for Change {
    type Error = ConvertError;
    fn try_from(change: v1::Change) -> Result<Change, ConvertError> {
        let epoch = real_epoch("epoch", change.epoch)?;
        Ok(Change {
            revision: revision("revision", change.revision)?,
            epoch,
            primary: name("primary", change.primary)?,
            since: real_epoch("since", number("since", change.since, 1..=epoch.0)?)?,
            reason: reason("reason", change.reason)?,
            voters: nodes("voters", change.voters)?,
            positions: positions(change.positions)?,
            at_unix_ms: change.at_unix_ms,
            tails: tails(change.tails)?,
        })
    }
}

fn positions(map: HashMap<String, v1::Position>) -> Result<BTreeMap<InstanceName, Position>, ConvertError> {
    at_most("positions", map.len(), MAX_INSTANCES)?;
    map.into_iter().map(|(instance, at)| Ok((name("positions", instance)?, at.into()))).collect()
}

impl From<Group> for v1::Group {
    fn from(group: Group) -> v1::Group {
        let instance = |(name, at): (InstanceName, Instance)| v1::Instance {
            name: name.into(),
            region: at.region.into(),
            address: at.address,
            tags: wire_tags(at.tags),
        };
        v1::Group {
            name: group.name.into(),
            revision: group.revision.0,
            epoch: group.epoch.0,
            primary: group.primary.map(Into::into),
            since: group.since.0,
            succession: texts(group.succession),
            electorate: ids(group.electorate),
            former_electorate: ids(group.former_electorate.unwrap_or_default()),
            desired_electorate: ids(group.desired_electorate.unwrap_or_default()),
            terms: Some(group.terms.into()),
            first: group.first.map(Into::into),
            instances: group.instances.into_iter().map(instance).collect(),
            system_id: group.system_id,
            history: group.history.into_iter().map(Into::into).collect(),
            offered: group.offered,
            mode_since: group.mode_since.0,
            configuration: group.configuration.map(Into::into),
            tightened: group.tightened.0,
            offered_under: group.offered_under.0,
            timeline_base: group.timeline_base,
        }
    }
}

impl TryFrom<v1::Group> for Group {
    type Error = ConvertError;
    fn try_from(group: v1::Group) -> Result<Group, ConvertError> {
        let primary = optional_name("primary", group.primary)?;
        if primary.is_some() != (group.epoch > 0) {
            let expected = "a primary from epoch 1 on, and none before";
            return Err(ConvertError::new("primary", expected, format!("epoch {}", group.epoch)));
        }
        let terms =
            Terms::try_from(required("terms", group.terms)?).map_err(|error| error.within("terms"))?;
        Ok(Group {
            name: name("name", group.name)?,
            revision: revision("revision", group.revision)?,
            epoch: epoch("epoch", group.epoch)?,
            primary,
            since: epoch("since", number("since", group.since, 0..=group.epoch)?)?,
            succession: names("succession", group.succession)?,
            offered: group.offered,
            mode_since: revision("mode_since", group.mode_since)?,
            configuration: optional_configuration(group.configuration)?,
            tightened: revision("tightened", group.tightened)?,
            offered_under: revision("offered_under", group.offered_under)?,
            electorate: real_electorate("electorate", group.electorate)?,
            former_electorate: optional_electorate("former_electorate", group.former_electorate)?,
            desired_electorate: optional_electorate("desired_electorate", group.desired_electorate)?,
            terms,
            first: optional_name("first", group.first)?,
            instances: instances(group.instances)?,
            system_id: group.system_id,
            timeline_base: group.timeline_base,
            history: history(group.history)?,
        })
    }
}

/// Nobody governs no group: an empty list stands for none.
fn optional_electorate(field: &str, ids: Vec<u64>) -> Result<Option<Electorate>, ConvertError> {
    electorate(field, ids).map(|ids| (!ids.is_empty()).then_some(ids))
}

fn instances(list: Vec<v1::Instance>) -> Result<BTreeMap<InstanceName, Instance>, ConvertError> {
    at_most("instances", list.len(), MAX_INSTANCES)?;
    let count = list.len();
    let map: BTreeMap<InstanceName, Instance> = list
        .into_iter()
        .map(|one| {
            let at = Instance {
                region: name("instances.region", one.region)?,
                address: address("instances.address", one.address)?,
                tags: tags(one.tags)?,
            };
            Ok((name("instances.name", one.name)?, at))
        })
        .collect::<Result<_, ConvertError>>()?;
    if map.len() == count {
        return Ok(map);
    }
    Err(ConvertError::new("instances", "distinct names", format!("{} repeated", count - map.len())))
}

/// None where nothing is wanted, so that the message is as it was before there were any.
pub(super) fn wire_tags(tags: Tags) -> Option<v1::Tags> {
    (!tags.is_plain()).then(|| v1::Tags {
        no_promote: tags.no_promote,
        priority: tags.priority,
        no_load_balance: tags.no_load_balance,
        replicate_from: tags.replicate_from.map(Into::into).unwrap_or_default(),
    })
}

pub(super) fn tags(wire: Option<v1::Tags>) -> Result<Tags, ConvertError> {
    let Some(wire) = wire else { return Ok(Tags::default()) };
    Ok(Tags {
        no_promote: wire.no_promote,
        priority: wire.priority,
        no_load_balance: wire.no_load_balance,
        replicate_from: somebody("tags.replicate_from", wire.replicate_from)?,
    })
}

fn history(list: Vec<v1::Change>) -> Result<Vec<Change>, ConvertError> {
    at_most("history", list.len(), HISTORY_LENGTH)?;
    let change = |change| Change::try_from(change).map_err(|error: ConvertError| error.within("history"));
    list.into_iter().map(change).collect()
}
