//! What waits to be told to another node. A newer message takes the place of an older one of its kind and group: so it is
//! bounded by itself, and a vote never waits behind a heap of old standings.

use regent_core::ids::GroupName;
use regent_core::message::ToNode;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The messages for one node. Filled by the loop, emptied by the stream to that node.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<ToNode>>,
    filled: Notify,
}

impl Outbox {
    /// Adds a message; never waits.
    pub fn put(&self, message: ToNode) {
        let mut waiting = self.locked();
        waiting.retain(|old| subject(old) != subject(&message));
        waiting.push_back(message);
        drop(waiting);
        self.filled.notify_one();
    }

    /// The next message, when there is one.
    pub async fn next(&self) -> ToNode {
        loop {
            let filled = self.filled.notified();
            if let Some(message) = self.locked().pop_front() {
                return message;
            }
            filled.await;
        }
    }

    // Nothing that holds the lock can panic halfway.
    fn locked(&self) -> MutexGuard<'_, VecDeque<ToNode>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject(message: &ToNode) -> (u8, &GroupName) {
    match message {
        ToNode::Vote(vote) => (0, &vote.group),
        ToNode::Decided(certificate) => (1, certificate.group()),
        ToNode::Solicit(solicit) => (2, &solicit.group),
        ToNode::Standing(standing) => (3, &standing.group),
    }
}
