//! Connections to the other nodes, as a client: one for what they must be told at once, another for calls.

use crate::config::Config;
use crate::raft::Settings;
use hyper_util::client::legacy::connect::HttpConnector;
use regent_core::ids::{GroupName, NodeId};
use regent_core::message::Standing;
use regent_proto::convert::StandingQuery;
use regent_proto::v1::admin_client::AdminClient;
use regent_proto::v1::witness_client::WitnessClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// The largest message between nodes and agents: a group with its history, several times over.
pub const MAX_MESSAGE: usize = 512 << 10;

/// The other nodes.
pub struct Peers {
    cluster: String,
    patience: Duration,
    calls: BTreeMap<NodeId, Channel>,
}

impl Peers {
    /// Connections are made when they are first needed.
    pub fn new(config: &Config, settings: &Settings) -> Result<Peers, tonic::transport::Error> {
        let mut calls = BTreeMap::new();
        for peer in config.others() {
            calls.insert(NodeId(peer.id), connect(&peer.address, settings)?);
        }
        Ok(Peers { cluster: config.cluster.clone(), patience: settings.connect_timeout(), calls })
    }

    /// Who they are.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.calls.keys().copied()
    }

    /// How long one is waited for.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Where a peer's witness stands.
    pub async fn standing(&self, peer: NodeId, group: GroupName) -> Result<Standing, Status> {
        let channel = self.calls.get(&peer).ok_or_else(|| Status::not_found(format!("no node {peer}")))?;
        let mut client = WitnessClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let query = StandingQuery { cluster: self.cluster.clone(), group };
        let mut request = tonic::Request::new(query.into());
        request.set_timeout(self.patience);
        let answer = tokio::time::timeout(self.patience, client.get_standing(request)).await;
        let answer =
            answer.map_err(|_| Status::deadline_exceeded(format!("node {peer} did not answer")))??;
        let standing = Standing::try_from(answer.into_inner())?;
        if standing.witness == peer {
            return Ok(standing);
        }
        Err(Status::failed_precondition(format!(
            "expected the standing of node {peer}, got that of node {}; correct the addresses of the peers",
            standing.witness
        )))
    }

    /// The admin's calls of a peer.
    pub fn admin(&self, peer: NodeId) -> Option<AdminClient<Channel>> {
        let client = AdminClient::new(self.calls.get(&peer)?.clone());
        // An answer about many groups is longer than what nodes say to each other.
        Some(client.max_decoding_message_size(64 << 20))
    }
}

/// A connection that is made when it is first used, and kept warm.
pub fn connect(address: &str, settings: &Settings) -> Result<Channel, tonic::transport::Error> {
    let patience = settings.connect_timeout();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(patience));
    // Unacknowledged bytes for this long: the connection is dead, whatever TCP's own patience.
    tcp.set_tcp_user_timeout(Some(patience.max(Duration::from_secs(1))));
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(patience)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(patience.max(Duration::from_secs(1)))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(tcp))
}
