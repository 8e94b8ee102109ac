//! WAL is kept for every other instance of the group: its slots on this server, looked after every moment.
//!
//! Who there is, and how far each has come, is asked of a node: the witnesses hear all positions. What an answer says may be
//! old, and is then less than what was flushed: a slot moves too late, never too far.

use super::eyes::Look;
use super::{Config, in_words};
use crate::leadership::Client;
use crate::postgres::{self, Owner, PostgresError, Server, slot_name};
use regent_core::ids::{GroupName, InstanceName, Revision};
use regent_core::state::Group;
use regent_core::tags::never_promoted;
use regent_proto::api::GroupStatus;
use std::sync::Arc;
use std::time::Duration;

/// How often.
const INTERVAL: Duration = Duration::from_secs(2);
/// Since when an instance has to be silent to be taken for away.
const AWAY: Duration = Duration::from_secs(10);

struct Keeper {
    server: Arc<Server>,
    client: Client,
    group: GroupName,
    instance: InstanceName,
    /// The newest of the log that an answer told of: an older answer might not know an instance.
    known: Revision,
    said: String,
}

/// Begins to keep the slots of this server, and tells the eyes what an operator should know about them.
pub(super) fn keep(server: Arc<Server>, config: &Config, look: Arc<Look>) {
    let client = match Client::new(config.nodes.iter().map(|node| node.address.clone())) {
        Ok(client) => client,
        Err(error) => return tracing::error!("no WAL is kept for absent standbys: {error}"),
    };
    let (group, instance) = (config.group.clone(), config.instance.clone());
    let mut keeper = Keeper { server, client, group, instance, known: Revision(0), said: String::new() };
    tokio::spawn(async move {
        loop {
            keeper.look_after(&look).await;
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

impl Keeper {
    async fn look_after(&mut self, look: &Look) {
        let Some(status) = self.ask().await else { return };
        let owners = self.owners(&status);
        match self.server.keep_slots(&owners).await {
            Ok(slots) => {
                self.say(slots.troubles.join("; "));
                look.warns(slots.warning(&owners));
            }
            Err(PostgresError::NotRunning(_)) => look.warns(String::new()),
            // What is wrong with Postgres is seen by others as well, and said there.
            Err(error) => tracing::debug!("the slots could not be looked after: {}", in_words(&error)),
        }
        if self.server.settings().failover_slots
            && let Err(error) = self.server.set_synchronized_slots(&followers(&status.group)).await
        {
            self.say(in_words(&error));
        }
    }

    /// No answer is no news: WAL is kept, within its limit.
    async fn ask(&mut self) -> Option<GroupStatus> {
        let status = self.client.status(std::slice::from_ref(&self.group)).await.ok()?;
        let status = status.groups.into_iter().find(|status| status.group.name == self.group)?;
        if status.group.revision < self.known {
            return None;
        }
        self.known = status.group.revision;
        Some(status)
    }

    fn owners(&self, status: &GroupStatus) -> Vec<Owner> {
        let others = status.instances.iter().filter(|other| other.name != self.instance);
        let owner = |other: &regent_proto::api::InstanceStatus| Owner {
            instance: other.name.to_string(),
            flushed: other.position.map(|at| (at.timeline, postgres::Lsn(at.flushed.0))),
            heard: other.heard.is_some_and(|heard| heard < AWAY),
        };
        others.map(owner).collect()
    }

    fn say(&mut self, words: String) {
        if !words.is_empty() && words != self.said {
            tracing::warn!("WAL is not kept for every standby: {words}");
        }
        self.said = words;
    }
}

/// Whom no subscriber may get ahead of: who may be primary next would not have what it was sent.
fn followers(group: &Group) -> Vec<String> {
    let next = group.succession.iter().filter(|name| !never_promoted(group, name));
    next.map(|name| slot_name(name.as_str())).collect()
}
