//! The handle to this node's Raft: start, propose, watch, stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::errors::{ClientWriteError, ForwardReason, InitializeError, RaftError};
use regent_core::command::Command;
use regent_core::state::{Applied, Rejected};
use tokio::sync::watch;
use tokio::time::Instant;

use super::durable::Durable;
use super::engine::Durability;
use super::error::{ProposeError, StartError};
use super::leadership::{self, Leadership};
use super::open::Disk;
use super::peers::Peers;
use super::record::MAX_VALUE;
use super::settings::Settings;
use super::state_machine::{OnChange, Replicated, StateMachine};
use super::transport::{self, Address, Network, RaftServer, RaftService, Server};
use super::types::{Member, Proposal, Types};
use super::writer::Writer;

/// The largest command. What an entry adds to it (its place in the log) fits into the difference to the largest value.
const MAX_COMMAND: usize = MAX_VALUE - 1024;

/// What a node must know to take part.
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// The cluster. Nodes of different clusters refuse each other.
    pub cluster_id: String,
    /// This node.
    pub node_id: u64,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// The members that a fresh cluster starts with: the same ids on every node. Later the members in the log count. Their
    /// addresses are as *this* node reaches them, and may differ from node to node: for a member listed here they win over
    /// the address in the log.
    pub members: BTreeMap<u64, Member>,
    /// The longest round trip between two nodes at which the cluster has to work.
    pub max_round_trip: Duration,
}

/// This node's Raft. Cheap to clone; it runs until [`Raft::shutdown`].
#[derive(Clone)]
pub struct Raft {
    pub(super) library: openraft::Raft<Types, StateMachine>,
    pub(super) node_id: u64,
    pub(super) settings: Settings,
    members: BTreeMap<u64, Member>,
    server: Server,
    durable: Durable,
    replicated: watch::Receiver<Replicated>,
    leadership: watch::Receiver<Leadership>,
    writer: Writer,
    writer_thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    #[cfg(test)]
    pub(super) cut: super::tests::Cut,
}

impl Raft {
    /// Opens the data directory, checks all that is in it, and starts to take part.
    ///
    /// `on_change` is told first of the snapshot on disk, then of every entry after it that is known to be committed, and
    /// from then on of every change, in order: see [`super::Change`].
    pub async fn start(config: RaftConfig, on_change: OnChange) -> Result<Self, StartError> {
        let RaftConfig { cluster_id, node_id, data_dir, members, max_round_trip } = config;
        let settings = Settings::for_round_trip(max_round_trip)?;
        for (&node_id, member) in &members {
            if !transport::check_addr(&member.addr) {
                return Err(StartError::Address { node_id, addr: member.addr.clone() });
            }
        }
        let library_config =
            settings.library_config(&cluster_id).map_err(|e| StartError::Raft(e.to_string()))?;
        let disk = {
            let cluster_id = cluster_id.clone();
            let open = move || Disk::open(&data_dir, &cluster_id, node_id, Durability::Full);
            tokio::task::spawn_blocking(open).await.map_err(|e| StartError::Raft(e.to_string()))??
        };
        let me =
            Address { cluster: cluster_id.clone(), node: node_id, incarnation: disk.identity.incarnation };
        let peers = Peers::new(disk.durable.clone());
        #[cfg(test)]
        let cut = super::tests::Cut::default();
        let network = Network::new(
            me.clone(),
            peers.clone(),
            settings,
            members.iter().map(|(id, member)| (*id, member.addr.clone())).collect(),
            #[cfg(test)]
            cut.clone(),
        );
        let (machine, replicated) = StateMachine::new(&cluster_id, disk.snapshot, on_change);
        let library = openraft::Raft::new(node_id, Arc::new(library_config), network, disk.log, machine)
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
        let server = Server::new(
            me,
            library.clone(),
            peers,
            #[cfg(test)]
            cut.clone(),
        );
        Ok(Self {
            leadership: leadership::watch(library.metrics(), settings.election_max),
            library,
            node_id,
            settings,
            members,
            server,
            durable: disk.durable,
            replicated,
            writer: disk.writer,
            writer_thread: Arc::new(Mutex::new(Some(disk.thread))),
            #[cfg(test)]
            cut,
        })
    }

    /// The service by which the other nodes reach this one, to be mounted on a gRPC server.
    pub fn service(&self) -> RaftServer<impl RaftService + use<>> {
        self.server.clone().into_service()
    }

    /// Founds the cluster from the configured members. To be called at every start of a founding member: where the cluster
    /// is founded already it does nothing, and all founders may call it at once, because they write the same first entry.
    /// A node that joins later is not among its founders and must not call it.
    pub async fn initialize(&self) -> Result<(), StartError> {
        if !self.members.contains_key(&self.node_id) {
            let members = self.members.keys().copied().collect();
            return Err(StartError::NotAMember { node_id: self.node_id, members });
        }
        match self.library.initialize(self.members.clone()).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(StartError::Raft(e.to_string())),
        }
    }

    /// Puts a command into the log and waits until it is applied here. Only the leader can.
    ///
    /// A leader that was just elected is not yet writable, or its lease may be late: then it is tried again until `patience`
    /// is over. [`ProposeError::Undecided`] is the one answer after which the command may still take effect.
    pub async fn propose(
        &self,
        command: Command,
        patience: Duration,
    ) -> Result<Result<Applied, Rejected>, ProposeError> {
        let got = serde_json::to_vec(&command).map_or(usize::MAX, |json| json.len());
        if got > MAX_COMMAND {
            return Err(ProposeError::TooLarge { got, max: MAX_COMMAND });
        }
        let deadline = Instant::now() + patience;
        loop {
            let write = self.library.client_write(Proposal(command.clone()));
            let written = tokio::time::timeout_at(deadline, write).await;
            let forward = match written {
                Err(_) => return Err(ProposeError::Undecided { waited: patience }),
                Ok(Ok(answer)) => match answer.data {
                    Some(outcome) => return Ok(outcome),
                    // A command always has an outcome; without one nobody knows what happened.
                    None => return Err(ProposeError::Undecided { waited: patience }),
                },
                Ok(Err(RaftError::Fatal(e))) => return Err(ProposeError::Stopped(e.to_string())),
                Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => forward,
                Ok(Err(RaftError::APIError(_))) => {
                    return Err(ProposeError::Undecided {
                        waited: patience.saturating_sub(deadline - Instant::now()),
                    });
                }
            };
            let pause = self.settings.heartbeat / 8;
            if forward.reason != ForwardReason::LeaseExpired || Instant::now() + pause >= deadline {
                return Err(ProposeError::NotLeader { leader: forward.leader_id });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The replicated state as applied here, and every later one. A slow watcher sees the latest, not each.
    pub fn state(&self) -> watch::Receiver<Replicated> {
        self.replicated.clone()
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Where the witness keeps its records: the same store, the same writer, the same order.
    pub fn durable(&self) -> Durable {
        self.durable.clone()
    }

    /// The times in use.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Stops taking part, and returns when all that was acknowledged is on disk and the directory is free again.
    pub async fn shutdown(&self) {
        if let Err(e) = self.library.shutdown().await {
            tracing::warn!("Raft ended badly: {e}");
        }
        self.writer.close();
        let thread = self.writer_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer ended badly");
            }
        }
    }
}
