//! What the nodes say of the group that an instance joins or leaves.

use super::super::Config;
use crate::error::Error;
use crate::leadership::Client;
use crate::postgres::Survey;
use regent_core::state::Group;
use regent_proto::api::GroupStatus;
use std::time::Duration;

/// Since when an instance has to be silent for its agent to be taken for gone.
const GONE: Duration = Duration::from_secs(10);

/// The group, as any node sees it.
pub(super) async fn ask(config: &Config) -> Result<GroupStatus, Error> {
    let client = Client::new(config.nodes.iter().map(|node| node.address.clone()))?;
    let status = client.status(std::slice::from_ref(&config.group)).await?;
    let found = status.groups.into_iter().find(|status| status.group.name == config.group);
    found.ok_or_else(|| Error::NotFound { message: format!("no group {}", config.group) })
}

/// Why this server cannot come into the group, or nothing.
pub(super) fn obstacle(
    config: &Config,
    survey: &Survey,
    asked: &Result<GroupStatus, Error>,
) -> Option<String> {
    let (name, instance) = (&config.group, &config.instance);
    let group = match asked {
        Ok(status) => &status.group,
        Err(Error::NotFound { message }) => {
            return Some(format!(
                "{message}: first `regent group create {name} --first INSTANCE`, where INSTANCE is the one \
                 that is adopted as its primary"
            ));
        }
        Err(error) => {
            return Some(format!("nobody could give it a lease, for the nodes do not answer: {error}"));
        }
    };
    match group.system_id {
        Some(expected) if expected != survey.cluster.system_id => Some(format!(
            "it is another database than the group's: expected system identifier {expected}, got {}",
            survey.cluster.system_id
        )),
        Some(_) if !survey.standby => primary_of_a_group(config, group),
        None if survey.standby => Some(format!(
            "it is a standby, and group {name} has no database yet: adopt its primary first, and start that one's agent"
        )),
        None if group.first.as_ref().is_some_and(|first| first != instance) => {
            let first = group.first.as_ref().map(ToString::to_string).unwrap_or_default();
            Some(format!(
                "it is a primary, but group {name} was created with {first} as the first: adopt that one first"
            ))
        }
        None => begun_by_another(config, group),
        Some(_) => None,
    }
}

/// A group has one history: a second primary would have to be rewound.
fn primary_of_a_group(config: &Config, group: &Group) -> Option<String> {
    let primary = group.primary.as_ref().filter(|primary| **primary != config.instance)?;
    Some(format!(
        "it is a primary, and so is {primary} in group {}: what it has written by itself would be undone; make it a standby \
         first, or leave it out and let the agent make a new copy",
        config.group
    ))
}

fn begun_by_another(config: &Config, group: &Group) -> Option<String> {
    let primary = group.primary.as_ref().filter(|primary| **primary != config.instance)?;
    Some(format!("group {} is about to get a new database, from {primary}", config.group))
}

/// The other instances of the group, and whether their agents were heard of late.
pub(super) fn others<'a>(config: &Config, status: &'a GroupStatus) -> Vec<(&'a str, bool)> {
    let others = status.instances.iter().filter(|other| other.name != config.instance);
    others.map(|other| (other.name.as_str(), other.heard.is_some_and(|heard| heard < GONE))).collect()
}
