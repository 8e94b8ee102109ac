//! The sending side: what the library asks for, with a deadline, over a connection that is made when it is needed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use regent_proto::raft::raft_client::RaftClient;
use regent_proto::raft::{Envelope, SnapshotChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Address, CHUNK, MAX_MESSAGE, open};
use crate::raft::peers::Peers;
use crate::raft::settings::Settings;
use crate::raft::snapshot::{RaftSnapshot, SnapshotData};
use crate::raft::types::{Member, SnapshotMeta, Types, Vote};

/// What a snapshot begins with.
#[derive(Serialize, serde::Deserialize)]
pub struct SnapshotHeader {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub size: usize,
    pub crc32c: u32,
}

/// The connections to one peer, under the address they were made for.
#[derive(Clone)]
struct Links {
    addr: String,
    beat: Channel,
    log: Channel,
    snapshot: Channel,
}

/// Makes clients. Clones share the connections.
#[derive(Clone)]
pub struct Network {
    me: Address,
    peers: Peers,
    settings: Settings,
    /// Where this node reaches the members it is configured with.
    routes: Arc<BTreeMap<u64, String>>,
    links: Arc<Mutex<BTreeMap<u64, Links>>>,
    #[cfg(test)]
    cut: crate::raft::tests::Cut,
}

impl Network {
    pub fn new(
        me: Address,
        peers: Peers,
        settings: Settings,
        routes: BTreeMap<u64, String>,
        #[cfg(test)] cut: crate::raft::tests::Cut,
    ) -> Self {
        Self {
            me,
            peers,
            settings,
            routes: Arc::new(routes),
            links: Arc::default(),
            #[cfg(test)]
            cut,
        }
    }

    /// The connections to a peer; made lazily, so this never waits.
    fn links(&self, target: u64, addr: &str) -> Result<Links, String> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = links.get(&target).filter(|l| l.addr == addr) {
            return Ok(known.clone());
        }
        let connect = || connect_lazily(addr, &self.settings);
        let made = Links { addr: addr.to_owned(), beat: connect()?, log: connect()?, snapshot: connect()? };
        links.insert(target, made.clone());
        Ok(made)
    }

    fn client(&self, target: u64, node: &Member, entries_on: Lane) -> Client {
        let addr = self.routes.get(&target).unwrap_or(&node.addr);
        let links = self.links(target, addr);
        if let Err(error) = &links {
            tracing::error!(node = target, addr, error, "cannot be reached at this address; correct it");
        }
        Client { network: self.clone(), target, links, entries_on }
    }
}

/// Whether an address can be connected to at all.
pub fn check_addr(addr: &str) -> bool {
    addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        && Endpoint::from_shared(format!("http://{addr}")).is_ok()
}

fn connect_lazily(addr: &str, settings: &Settings) -> Result<Channel, String> {
    let patience = settings.connect_timeout();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(patience));
    // Unacknowledged bytes for this long: the connection is dead, whatever TCP's own patience.
    tcp.set_tcp_user_timeout(Some(patience.max(Duration::from_secs(1))));
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|e| e.to_string())?
        .connect_timeout(patience)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(patience.max(Duration::from_secs(1)))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(tcp))
}

/// Which connection the log entries of a client take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Beat,
    Log,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Member) -> Client {
        self.client(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Client {
        self.client(target, node, Lane::Beat)
    }
}

/// Speaks to one peer.
pub struct Client {
    network: Network,
    target: u64,
    links: Result<Links, String>,
    entries_on: Lane,
}

/// Why a call failed, before it is one of the library's errors.
enum CallError {
    Timeout(Duration),
    Refused(Status),
    Garbled(serde_json::Error),
    NoAddress(String),
}

impl Client {
    async fn call<Q, A, F, Fut>(
        &self,
        request: &Q,
        deadline: Duration,
        lane: Lane,
        rpc: F,
    ) -> Result<A, CallError>
    where
        Q: Serialize,
        A: DeserializeOwned,
        F: FnOnce(RaftClient<Channel>, Envelope) -> Fut,
        Fut: Future<Output = Result<tonic::Response<Envelope>, Status>>,
    {
        #[cfg(test)]
        self.network.cut.check().map_err(CallError::Refused)?;
        let links = self.links.as_ref().map_err(|e| CallError::NoAddress(e.clone()))?;
        let channel = match lane {
            Lane::Beat => links.beat.clone(),
            Lane::Log => links.log.clone(),
        };
        let envelope = self.network.me.envelope(self.target, request).map_err(CallError::Garbled)?;
        let client = RaftClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let answer = within(deadline, rpc(client, envelope)).await?.into_inner();
        self.trust(&answer).await?;
        open(&answer).map_err(CallError::Garbled)
    }

    fn error(&self, error: CallError, action: RPCTypes) -> RPCError<Types> {
        let (id, target) = (self.network.me.node, self.target);
        match error {
            CallError::Timeout(timeout) => RPCError::Timeout(Timeout { action, id, target, timeout }),
            CallError::Refused(status) if is_away(&status) => {
                RPCError::Unreachable(Unreachable::from_string(describe(target, &status)))
            }
            CallError::Refused(status) => {
                RPCError::Network(NetworkError::from_string(describe(target, &status)))
            }
            CallError::Garbled(e) => RPCError::Network(NetworkError::new(&e)),
            CallError::NoAddress(e) => RPCError::Unreachable(Unreachable::from_string(e)),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: RaftSnapshot,
        deadline: Duration,
    ) -> Result<SnapshotResponse<Types>, CallError> {
        #[cfg(test)]
        self.network.cut.check().map_err(CallError::Refused)?;
        let links = self.links.as_ref().map_err(|e| CallError::NoAddress(e.clone()))?;
        let data = snapshot.snapshot;
        let header =
            SnapshotHeader { vote, meta: snapshot.meta, size: data.len(), crc32c: crc32c::crc32c(&data) };
        let header = self.network.me.envelope(self.target, &header).map_err(CallError::Garbled)?;
        let mut client = RaftClient::new(links.snapshot.clone());
        let answer =
            within(deadline, client.snapshot(tokio_stream::iter(chunks(header, data)))).await?.into_inner();
        self.trust(&answer).await?;
        open(&answer).map_err(CallError::Garbled)
    }

    /// An answer counts like a message: a vote from a node that lost its disk is worth nothing.
    async fn trust(&self, answer: &Envelope) -> Result<(), CallError> {
        let sound = match self.network.me.check(answer) {
            Ok(()) => self.network.peers.admit(self.target, answer.incarnation).await,
            Err(wrong) => Err(wrong),
        };
        sound.map_err(|why| {
            tracing::warn!("answer refused: {why}");
            CallError::Refused(Status::failed_precondition(why.to_string()))
        })
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(CallError::Refused),
        Err(_) => Err(CallError::Timeout(deadline)),
    }
}

fn chunks(header: Envelope, data: Bytes) -> impl Iterator<Item = SnapshotChunk> {
    let first = SnapshotChunk { header: Some(header), data: Vec::new() };
    let rest = (0..data.len()).step_by(CHUNK).map(move |at| {
        let end = data.len().min(at + CHUNK);
        SnapshotChunk { header: None, data: data.slice(at..end).to_vec() }
    });
    std::iter::once(first).chain(rest)
}

/// Nobody answers there, or somebody who is not the peer: try again later, not at once.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::FailedPrecondition | Code::Unimplemented)
}

fn describe(target: u64, status: &Status) -> String {
    format!("node {target}: {:?}: {}", status.code(), status.message())
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        // The library gives both a heartbeat interval. For a heartbeat that is right; entries have to be flushed over
        // there, so they get the time of a lease.
        let deadline = match self.entries_on {
            Lane::Beat => option.hard_ttl(),
            Lane::Log => self.network.settings.election_max,
        };
        self.call(&request, deadline, self.entries_on, |mut c, e| async move { c.append(e).await })
            .await
            .map_err(|e| self.error(e, RPCTypes::AppendEntries))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(&request, option.hard_ttl(), Lane::Beat, |mut c, e| async move { c.vote(e).await })
            .await
            .map_err(|e| self.error(e, RPCTypes::Vote))
    }

    // The library's default grants; a peer that cannot be asked must not.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(&request, option.hard_ttl(), Lane::Beat, |mut c, e| async move { c.pre_vote(e).await })
            .await
            .map_err(|e| self.error(e, RPCTypes::Vote))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot, option.hard_ttl()) => sent,
        };
        sent.map_err(|e| match self.error(e, RPCTypes::InstallSnapshot) {
            RPCError::Timeout(e) => e.into(),
            RPCError::Unreachable(e) => e.into(),
            RPCError::Network(e) => e.into(),
            RPCError::RemoteError(e) => match e.source {},
        })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(
            &request,
            option.hard_ttl(),
            Lane::Beat,
            |mut c, e| async move { c.transfer_leader(e).await },
        )
        .await
        .map_err(|e| self.error(e, RPCTypes::TransferLeader))
    }
}
