//! The streams of the agents: who is there, and how to tell them something without ever waiting for them.

use regent_core::ids::{GroupName, InstanceName};
use regent_core::message::ToAgent;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};

/// Messages that may wait for one agent: some seconds of answers.
const QUEUE: usize = 512;

/// Why a stream was ended from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The instance has another, newer stream.
    #[error(
        "a newer stream of this instance has taken this one's place; see that only one agent runs for it"
    )]
    Replaced,
    /// It does not read.
    #[error("the agent does not read its messages in time; connect again")]
    Slow,
}

/// The loop's end of a stream.
pub struct AgentStream {
    id: u64,
    queue: mpsc::Sender<ToAgent>,
    gone: watch::Sender<Option<Gone>>,
}

/// The stream's own end.
pub struct AgentQueue {
    /// What the agent is to be told.
    pub messages: mpsc::Receiver<ToAgent>,
    /// Set when the stream has to end.
    pub gone: watch::Receiver<Option<Gone>>,
}

impl AgentStream {
    /// Both ends of a new stream.
    pub fn open() -> (Arc<AgentStream>, AgentQueue) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (queue, messages) = mpsc::channel(QUEUE);
        let (gone, told) = watch::channel(None);
        let stream = AgentStream { id: NEXT.fetch_add(1, Ordering::Relaxed), queue, gone };
        (Arc::new(stream), AgentQueue { messages, gone: told })
    }

    /// Its number, never used twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Queues a message; `false` if the stream cannot take it.
    fn tell(&self, message: ToAgent) -> bool {
        let sent = self.queue.try_send(message);
        if let Err(mpsc::error::TrySendError::Full(_)) = &sent {
            self.gone.send_replace(Some(Gone::Slow));
        }
        sent.is_ok()
    }
}

/// The streams by whom they are of.
#[derive(Default)]
pub struct Agents {
    of: BTreeMap<GroupName, BTreeMap<InstanceName, Arc<AgentStream>>>,
}

impl Agents {
    /// A stream is that of an instance now; an older one has to go. Returns whether it is news.
    pub fn attach(&mut self, group: GroupName, instance: InstanceName, stream: &Arc<AgentStream>) -> bool {
        let old = self.of.entry(group).or_default().insert(instance, stream.clone());
        match old {
            Some(old) if old.id == stream.id => return false,
            Some(old) => {
                old.gone.send_replace(Some(Gone::Replaced));
                self.detach(old.id);
            }
            None => {}
        }
        true
    }

    /// A stream is gone. Returns whose it was.
    pub fn detach(&mut self, id: u64) -> Vec<(GroupName, InstanceName)> {
        let mut gone = Vec::new();
        for (group, streams) in &mut self.of {
            streams.retain(|instance, stream| {
                if stream.id == id {
                    gone.push((group.clone(), instance.clone()));
                }
                stream.id != id
            });
        }
        self.of.retain(|_, streams| !streams.is_empty());
        gone
    }

    /// Whether that stream is the one of that instance.
    pub fn is_of(&self, id: u64, group: &GroupName, instance: &InstanceName) -> bool {
        self.of.get(group).and_then(|streams| streams.get(instance)).is_some_and(|stream| stream.id == id)
    }

    /// Tells one agent, if it is here.
    pub fn tell(&mut self, group: &GroupName, instance: &InstanceName, message: ToAgent) {
        let Some(stream) = self.of.get(group).and_then(|streams| streams.get(instance)) else { return };
        if !stream.tell(message) {
            let id = stream.id;
            self.detach(id);
        }
    }

    /// Tells every agent of the message's group that is here.
    pub fn tell_all(&mut self, message: &ToAgent) {
        let instances = self.of.get(message.group()).into_iter().flat_map(BTreeMap::keys).cloned();
        for instance in instances.collect::<Vec<_>>() {
            self.tell(message.group(), &instance, message.clone());
        }
    }
}
