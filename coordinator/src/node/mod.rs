//! The one loop. It owns the witness and all that the node knows; everything else sends it messages and is told by it.
//!
//! The rule it exists for: what a witness says is on disk before anybody hears it. Effects are carried out in their order,
//! and a `Persist` is waited for before the next effect, and before the next event. Nothing else here ever waits: agents,
//! nodes and watchers that do not keep up lose messages or their stream, never the loop's time.

mod agents;
mod book;
mod granted;
mod handle;
mod lead;
mod outbox;
mod proposals;
mod record;

pub use agents::{AgentQueue, AgentStream, Gone};
pub use book::Book;
pub use handle::{Handle, Stopping};
pub use outbox::Outbox;

use crate::audit::Audit;
use crate::clock;
use crate::config::Config;
use crate::raft::{Change, Durable as Store, Leadership, OnChange, PutError, Raft};
use crate::watch::Hub;
use agents::Agents;
use granted::Granted;
use handle::Input;
use proposals::Proposals;
use regent_core::ids::{GroupName, NodeId};
use regent_core::message::{ToAgent, ToNode, ToWitness};
use regent_core::state::{Applied, Group};
use regent_core::tail::Tail;
use regent_core::time::Time;
use regent_core::view::View;
use regent_core::witness::{Durable, Effect, Event, Witness};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages that may wait for the loop; whoever sends more waits.
const QUEUE: usize = 4_096;
/// How many messages are taken before time is looked at again.
const BATCH: usize = 128;
/// How often the leader looks at least.
const TICK: Duration = Duration::from_millis(50);
/// Never, as far as a timer is concerned.
const FAR: Time = Time(u64::MAX);
/// Where the witness's records are in the store.
const RECORDS: &str = "witness/";

/// Why the loop ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// What the witness keeps could not be stored.
    #[error("the witness's record cannot be stored: {0}")]
    Store(#[from] PutError),
    /// A record in the store is not one of a witness.
    #[error(
        "record {name:?} of the store is damaged: {what}; do not start this node again with an empty directory, see the \
         error of a damaged store"
    )]
    Record {
        /// Which.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// What the witness keeps cannot be written down.
    #[error("the witness's record cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
}

/// News of the log, from the thread that applies it to the loop.
pub type LogNews = mpsc::UnboundedReceiver<Group>;

/// What Raft calls with each change, and where the loop hears of it.
pub fn listen_to_log() -> (OnChange, LogNews) {
    let (tell, news) = mpsc::unbounded_channel();
    let on_change = Box::new(move |change: Change<'_>| {
        // The loop has ended if nobody listens.
        match change {
            Change::Applied { outcome: Ok(Applied::Group(name, _)), state, .. } => {
                if let Some(group) = state.groups.get(name) {
                    let _ = tell.send(group.clone());
                }
            }
            Change::Applied { .. } => {}
            Change::Installed { state, .. } => {
                for group in state.groups.values() {
                    let _ = tell.send(group.clone());
                }
            }
        }
    });
    (on_change, news)
}

/// What the loop needs.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The log.
    pub raft: Raft,
    /// Its news.
    pub log: LogNews,
    /// Who watches.
    pub hub: Arc<Hub>,
    /// Who asks afterwards.
    pub audit: Audit,
}

/// The loop's own.
pub struct Node {
    book: Book,
    store: Store,
    raft: Raft,
    log: LogNews,
    inputs: mpsc::Receiver<Input>,
    handle: Handle,
    agents: Agents,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    hub: Arc<Hub>,
    audit: Audit,
    proposals: Proposals,
    granted: Granted,
    /// What was known of the leader when the loop last looked.
    led: Leadership,
    plan_at: Time,
    wake_at: Time,
}

impl Node {
    /// A node with what its witness had made durable.
    pub fn new(parts: Parts) -> Result<(Node, Handle), NodeError> {
        let Parts { config, raft, log, hub, audit } = parts;
        let store = raft.durable();
        let records = records(&store)?;
        // Until the log is replayed, what this witness answered with is what is known.
        records.iter().for_each(|record| hub.applied(&record.group));
        let me = NodeId(config.node);
        let outboxes = config.others().map(|peer| (NodeId(peer.id), Arc::default())).collect();
        let book = Book {
            me,
            config,
            witness: Witness::new(me, records, clock::now()),
            view: View::default(),
            heard: BTreeMap::new(),
            open: BTreeMap::new(),
            replicated: raft.state(),
            leadership: raft.leadership(),
        };
        let (send, inputs) = mpsc::channel(QUEUE);
        let handle = Handle::new(send);
        let node = Node {
            book,
            store,
            raft,
            log,
            inputs,
            handle: handle.clone(),
            agents: Agents::default(),
            outboxes,
            hub,
            audit,
            proposals: Proposals::default(),
            granted: Granted::default(),
            led: Leadership::default(),
            plan_at: Time::ZERO,
            wake_at: Time::ZERO,
        };
        Ok((node, handle))
    }

    /// What is to be told to each other node.
    pub fn outboxes(&self) -> BTreeMap<NodeId, Arc<Outbox>> {
        self.outboxes.clone()
    }

    /// Runs until it is told to stop, or its store fails.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), NodeError> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let rest = self.rest();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(group) = self.log.recv() => self.applied(group).await?,
                taken = self.inputs.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep(rest) => {}
            }
            // Looked at before anything is done: what becomes due meanwhile is then seen as due, not missed.
            let now = clock::now();
            for input in batch.drain(..) {
                self.take(input).await?;
            }
            if self.wake_at <= now {
                self.step(Event::Wake).await?;
            }
            self.wake_at = self.book.witness.wake_at(now).unwrap_or(FAR);
            self.lead().await?;
        }
    }

    /// How long nothing is due.
    fn rest(&self) -> Duration {
        let now = clock::now();
        let wake = now.until(self.wake_at);
        let plan = if self.led.ready { now.until(self.plan_at).max(Duration::from_millis(1)) } else { TICK };
        wake.min(plan).min(TICK)
    }

    async fn take(&mut self, input: Input) -> Result<(), NodeError> {
        let now = clock::now();
        match input {
            Input::Attach { stream, group, instance, at, reply } => {
                let welcome = self.attach(&stream, group, instance, at, now);
                let _ = reply.send(welcome);
            }
            Input::Detach(id) => {
                for (group, instance) in self.agents.detach(id) {
                    tracing::info!("group {group}: the agent of {instance} is gone");
                }
            }
            Input::Agent(id, message) => return self.agent(id, message, now).await,
            Input::NodeUp(id) => {
                self.book.heard.insert(id, now);
                *self.book.open.entry(id).or_default() += 1;
            }
            Input::NodeDown(id) => {
                let open = self.book.open.entry(id).or_default();
                *open = open.saturating_sub(1);
            }
            Input::Node(id, message) => {
                self.book.heard.insert(id, now);
                return self.node(message, now).await;
            }
            Input::HandOver { wish, reply } => {
                let _ = reply.send(self.hand_over(&wish, now));
            }
            Input::Restart { wish, reply } => {
                let _ = reply.send(self.restart(&wish, now));
            }
            Input::Proposed(subject, ending) => self.proposals.end(&subject, ending, now),
            Input::Ask(question) => question(&self.book, now),
        }
        Ok(())
    }

    async fn agent(&mut self, id: u64, message: ToWitness, now: Time) -> Result<(), NodeError> {
        let (group, instance) = match &message {
            ToWitness::Report(report) => (&report.group, &report.instance),
            ToWitness::Release(release) => (&release.group, &release.instance),
            ToWitness::Show(certificate) => {
                let certificate = certificate.clone();
                self.book.view.decided(certificate.clone(), now);
                return self.step(Event::Show(certificate)).await;
            }
            ToWitness::Tail { group, tail } => (group, &tail.instance),
            ToWitness::Hello { .. } => return Ok(()),
        };
        // What a replaced stream still had under way is older than what the newer one says.
        if !self.agents.is_of(id, group, instance) {
            return Ok(());
        }
        match message {
            ToWitness::Report(report) => {
                self.book.view.report((*report).clone(), now);
                self.step(Event::Report(report)).await
            }
            ToWitness::Release(release) => self.step(Event::Release(release)).await,
            ToWitness::Tail { group, tail } => {
                self.tail(&group, tail, now);
                Ok(())
            }
            ToWitness::Hello { .. } | ToWitness::Show(_) => Ok(()),
        }
    }

    /// What a change of primary left behind is told until the log has it.
    fn tail(&mut self, group: &GroupName, tail: Tail, now: Time) {
        let state = self.book.state();
        if !state.groups.get(group).is_some_and(|known| known.knows_tail(&tail)) {
            return self.book.view.tail(group, tail, now);
        }
        let Tail { instance, timeline, from, .. } = tail;
        let recorded = ToAgent::TailRecorded { group: group.clone(), timeline, from };
        self.agents.tell(group, &instance, recorded);
    }

    async fn node(&mut self, message: ToNode, now: Time) -> Result<(), NodeError> {
        match &message {
            ToNode::Standing(standing) => self.book.view.standing(standing.clone(), now),
            ToNode::Decided(certificate) => self.book.view.decided(certificate.clone(), now),
            ToNode::Vote(_) | ToNode::Solicit(_) => {}
        }
        self.step(Event::Node(message)).await
    }

    /// The log has moved. What this witness has seen before a restart is replayed, and is no news.
    async fn applied(&mut self, mut group: Group) -> Result<(), NodeError> {
        let before =
            self.book.witness.group(&group.name).map(|known| (known.epoch, known.succession.clone()));
        let seen = self.book.witness.group(&group.name).is_some_and(|known| known.revision >= group.revision);
        self.hub.applied(&group);
        if !seen {
            self.note_applied(&group, before.as_ref());
        }
        // A witness and its agents have no use for the past, and a record must stay small.
        group.history.clear();
        self.step(Event::Applied(Box::new(group))).await
    }

    async fn step(&mut self, event: Event) -> Result<(), NodeError> {
        let now = clock::now();
        for effect in self.book.witness.step(event, now) {
            self.perform(effect, now).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, effect: Effect, now: Time) -> Result<(), NodeError> {
        match effect {
            // Nothing after this may happen before it is durable.
            Effect::Persist(durable) => self.persist(&durable).await?,
            Effect::Tell(instance, message) => {
                let group = message.group().clone();
                self.granted.told(&instance, &message, now);
                self.agents.tell(&group, &instance, message);
            }
            Effect::TellAll(message) => self.agents.tell_all(&message),
            Effect::Nodes(message) => {
                if let ToNode::Standing(standing) = &message {
                    self.book.view.standing(standing.clone(), now);
                }
                self.tell_nodes(&message);
            }
            Effect::Voted(vote) => self.note_vote(&vote, now),
            Effect::Decided(certificate) => {
                self.note_decision(&certificate);
                self.hub.decided(&certificate);
                self.book.view.decided(certificate, now);
            }
        }
        Ok(())
    }

    async fn persist(&mut self, durable: &Durable) -> Result<(), NodeError> {
        let json = record::encode(durable).map_err(NodeError::Encode)?;
        Ok(self.store.put(&format!("{RECORDS}{}", durable.group.name), json).await?)
    }

    fn tell_nodes(&self, message: &ToNode) {
        self.outboxes.values().for_each(|outbox| outbox.put(message.clone()));
    }
}

fn records(store: &Store) -> Result<Vec<Durable>, NodeError> {
    let record = |(name, bytes): (String, Vec<u8>)| {
        record::decode(&bytes).map_err(|error| NodeError::Record { name, what: error.to_string() })
    };
    store.scan(RECORDS).into_iter().map(record).collect()
}
