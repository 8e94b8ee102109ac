//! What this witness promised last, and to whom: for the audit, which shows with each vote that no promise to another ran.
//! Nothing is decided on it; it is noted from what was sent, not from what the witness says of itself.

use regent_core::ids::{Epoch, GroupName, InstanceName};
use regent_core::message::ToAgent;
use regent_core::time::Time;
use regent_core::vote::Vote;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// For each group and instance: the epoch of its last promise, and when that is over.
#[derive(Default)]
pub(super) struct Granted(BTreeMap<GroupName, BTreeMap<InstanceName, (Epoch, Time)>>);

impl Granted {
    /// Something is sent to an instance.
    pub fn told(&mut self, to: &InstanceName, message: &ToAgent, now: Time) {
        if let ToAgent::Promised { group, epoch, ttl, .. } = message {
            self.promised(group, to, *epoch, now + *ttl);
        }
    }

    /// A vote is cast, which is a promise too. Returns the promise to another that ends last, if there was one.
    pub fn voted(&mut self, vote: &Vote, now: Time) -> Option<Value> {
        let others =
            self.0.get(&vote.group).into_iter().flatten().filter(|(holder, _)| **holder != vote.named);
        let last = others.max_by_key(|(_, (_, until))| *until);
        let last = last.map(|(to, (epoch, until))| json!({"to": to, "epoch": epoch, "until_ns": until.0}));
        self.promised(&vote.group, &vote.named, vote.floor, now + vote.ttl);
        last
    }

    fn promised(&mut self, group: &GroupName, to: &InstanceName, epoch: Epoch, until: Time) {
        self.0.entry(group.clone()).or_default().insert(to.clone(), (epoch, until));
    }
}
