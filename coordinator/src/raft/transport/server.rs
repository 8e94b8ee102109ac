//! The receiving side: checks whom a message is for, and hands it to the library.

use openraft::errors::{Fatal, RaftError};
use regent_proto::raft::raft_server::{Raft, RaftServer};
use regent_proto::raft::{Envelope, SnapshotChunk};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::client::SnapshotHeader;
use super::{Address, MAX_MESSAGE, MAX_SNAPSHOT, Misdirected, open};
use crate::raft::peers::Peers;
use crate::raft::snapshot::SnapshotData;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::Types;

type Library = openraft::Raft<Types, StateMachine>;

/// The Raft service of one node.
#[derive(Clone)]
pub struct Server {
    me: Address,
    raft: Library,
    peers: Peers,
    #[cfg(test)]
    cut: crate::raft::tests::Cut,
}

impl Server {
    pub fn new(me: Address, raft: Library, peers: Peers, #[cfg(test)] cut: crate::raft::tests::Cut) -> Self {
        Self {
            me,
            raft,
            peers,
            #[cfg(test)]
            cut,
        }
    }

    /// To be mounted on a tonic server.
    pub fn into_service(self) -> RaftServer<Self> {
        RaftServer::new(self).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }

    async fn admit<T: DeserializeOwned>(&self, envelope: &Envelope) -> Result<T, Status> {
        #[cfg(test)]
        self.cut.check()?;
        self.me.check(envelope).map_err(refuse)?;
        self.peers.admit(envelope.from, envelope.incarnation).await.map_err(refuse)?;
        open(envelope)
            .map_err(|e| Status::invalid_argument(format!("message from node {}: {e}", envelope.from)))
    }

    fn answer(&self, to: u64, answer: &impl Serialize) -> Result<Response<Envelope>, Status> {
        let envelope = self.me.envelope(to, answer).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(envelope))
    }
}

fn refuse(why: Misdirected) -> Status {
    tracing::warn!("refused: {why}");
    Status::failed_precondition(why.to_string())
}

fn stopped(fatal: Fatal<Types>) -> Status {
    Status::unavailable(format!("this node's Raft has stopped: {fatal}"))
}

fn failed(error: RaftError<Types>) -> Status {
    stopped(error.unwrap_fatal())
}

#[tonic::async_trait]
impl Raft for Server {
    async fn append(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let envelope = request.into_inner();
        let answer = self.raft.append_entries(self.admit(&envelope).await?).await.map_err(failed)?;
        self.answer(envelope.from, &answer)
    }

    async fn vote(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let envelope = request.into_inner();
        let answer = self.raft.vote(self.admit(&envelope).await?).await.map_err(failed)?;
        self.answer(envelope.from, &answer)
    }

    async fn pre_vote(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let envelope = request.into_inner();
        let answer = self.raft.pre_vote(self.admit(&envelope).await?).await.map_err(failed)?;
        self.answer(envelope.from, &answer)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<Envelope>, Status> {
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.and_then(|chunk| chunk.header);
        let envelope = first
            .ok_or_else(|| Status::invalid_argument("expected a header in the first chunk, got none"))?;
        let SnapshotHeader { vote, meta, size, crc32c } = self.admit(&envelope).await?;
        let snapshot = receive(&mut chunks, size, crc32c).await?;
        let snapshot = openraft::Snapshot { meta, snapshot };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        self.answer(envelope.from, &answer)
    }

    async fn transfer_leader(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let envelope = request.into_inner();
        let answer = self.raft.handle_transfer_leader(self.admit(&envelope).await?).await.map_err(stopped)?;
        self.answer(envelope.from, &answer)
    }
}

/// Collects a snapshot and checks that it is the one announced.
async fn receive(
    chunks: &mut Streaming<SnapshotChunk>,
    size: usize,
    crc32c: u32,
) -> Result<SnapshotData, Status> {
    if size > MAX_SNAPSHOT {
        return Err(Status::resource_exhausted(format!(
            "snapshot of {size} bytes, expected at most {MAX_SNAPSHOT}"
        )));
    }
    let mut data = Vec::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        if data.len() + chunk.data.len() > size {
            return Err(Status::invalid_argument(format!("snapshot: expected {size} bytes, got more")));
        }
        data.extend_from_slice(&chunk.data);
    }
    if data.len() != size || crc32c::crc32c(&data) != crc32c {
        let got = data.len();
        return Err(Status::data_loss(format!(
            "snapshot: expected {size} bytes with crc32c {crc32c:08x}, got {got} others"
        )));
    }
    Ok(data.into())
}
