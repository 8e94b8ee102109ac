//! A node, from its configuration to its end.

use crate::audit::{Audit, Writer};
use crate::config::Config;
use crate::node::{self, Node, NodeError, Outbox, listen_to_log};
use crate::raft::{Member, Raft, RaftConfig, Settings, StartError};
use crate::rpc::peers::Peers;
use crate::rpc::{self, MountError, Speaker};
use crate::watch::Hub;
use regent_core::ids::NodeId;
use regent_proto::convert::NodeHello;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long the streams get to end by themselves.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why a node does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address}: {source}; stop what uses it (`ss -ltnp` shows it), or correct `listen`"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The audit file cannot be opened.
    #[error("cannot open the audit file {}: {source}; correct `audit`", .file.display())]
    Audit {
        /// Which.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The log does not start.
    #[error(transparent)]
    Raft(#[from] StartError),
    /// The loop.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A peer's address cannot be used.
    #[error("peers: {0}; correct the addresses")]
    Peers(tonic::transport::Error),
    /// The services.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The server ended by itself.
    #[error("the server ended: {0}")]
    Server(tonic::transport::Error),
}

/// Listens where the configuration says.
pub async fn bind(config: &Config) -> Result<TcpListener, ServeError> {
    let address = config.listen;
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Runs a node until `stop`, then lets it end in order: leadership is handed over, streams are ended, all is flushed.
pub async fn run(config: Config, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    let (audit, audit_writer) = open_audit(&config)?;
    let (on_change, log) = listen_to_log();
    let raft = Raft::start(raft_config(&config), on_change).await?;
    let ended = serve(Arc::new(config), listener, raft.clone(), log, audit.clone(), stop).await;
    raft.shutdown().await;
    audit.note("stopped", serde_json::json!({}));
    drop(audit);
    if tokio::task::spawn_blocking(move || audit_writer.finish()).await.is_err() {
        tracing::warn!("the audit writer ended badly");
    }
    ended
}

fn open_audit(config: &Config) -> Result<(Audit, Writer), ServeError> {
    let file = config.audit.clone().unwrap_or_default();
    Audit::open(config.audit.as_deref(), config.node, config.region.as_str())
        .map_err(|source| ServeError::Audit { file, source })
}

fn raft_config(config: &Config) -> RaftConfig {
    let member = |peer: &crate::config::Peer| {
        (peer.id, Member { region: peer.region.to_string(), addr: peer.address.clone() })
    };
    RaftConfig {
        cluster_id: config.cluster.clone(),
        node_id: config.node,
        data_dir: config.data_dir.clone(),
        members: config.peers.iter().map(member).collect(),
        max_round_trip: config.max_round_trip(),
    }
}

async fn serve(
    config: Arc<Config>,
    listener: TcpListener,
    raft: Raft,
    log: node::LogNews,
    audit: Audit,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let hub = Arc::new(Hub::default());
    let settings = raft.settings();
    let peers = Arc::new(Peers::new(&config, &settings).map_err(ServeError::Peers)?);
    let parts = node::Parts {
        config: config.clone(),
        raft: raft.clone(),
        log,
        hub: hub.clone(),
        audit: audit.clone(),
    };
    let (node, handle) = Node::new(parts)?;
    let end = CancellationToken::new();
    let speakers = speak(&config, &settings, node.outboxes(), &end);
    let parts = rpc::Parts {
        config: config.clone(),
        node: handle,
        raft: raft.clone(),
        hub,
        peers,
        stop: end.clone(),
    };
    let (router, health) = rpc::mount(parts).await?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let server =
        router.serve_with_incoming_shutdown(rpc::connections(listener), end.clone().cancelled_owned());
    let mut server = tokio::spawn(server);
    raft.initialize().await?;
    announce(&config, address, &audit);
    let end_of_node = CancellationToken::new();
    let mut node = tokio::spawn(node.run(end_of_node.clone()));
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = &mut node => joined(ended).map_err(ServeError::Node),
        ended = &mut server => joined(ended).map_err(ServeError::Server),
    };
    tracing::info!("stopping");
    rpc::not_serving(&health).await;
    if let Err(error) = raft.step_down().await {
        tracing::info!("leadership was not handed over: {error}");
    }
    end.cancel();
    if tokio::time::timeout(GOODBYE, &mut server).await.is_err() {
        server.abort();
    }
    end_of_node.cancel();
    if !node.is_finished() {
        joined(node.await).map_err(ServeError::Node)?;
    }
    speakers.close();
    speakers.wait().await;
    ended
}

fn announce(config: &Config, address: SocketAddr, audit: &Audit) {
    let Config { node, cluster, region, .. } = config;
    tracing::info!("node {node} of cluster {cluster} in {region} serves on {address}");
    audit.note("started", serde_json::json!({"cluster": cluster, "address": address.to_string()}));
}

/// A task that panicked has said so already; the node then ends like one that was asked to.
fn joined<E>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> Result<(), E> {
    match ended {
        Ok(ended) => ended,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Ok(()),
    }
}

fn speak(
    config: &Config,
    settings: &Settings,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    stop: &CancellationToken,
) -> tokio_util::task::TaskTracker {
    let tracker = tokio_util::task::TaskTracker::new();
    for peer in config.others() {
        let Some(outbox) = outboxes.get(&NodeId(peer.id)).cloned() else { continue };
        let hello =
            NodeHello { cluster: config.cluster.clone(), from: NodeId(config.node), to: NodeId(peer.id) };
        let speaker = Speaker { hello, address: peer.address.clone(), settings: *settings, outbox };
        tracker.spawn(speaker.run(stop.clone()));
    }
    tracker
}
