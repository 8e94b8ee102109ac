//! The services, and the server they are mounted on. Wire types live here and no deeper.

mod admin;
mod confer;
mod leadership;
pub mod peers;
mod restart;
mod status;
mod switchover;
mod witness;

pub use confer::Speaker;

use crate::config::Config;
use crate::node::{Handle, Stopping};
use crate::raft::Raft;
use crate::reads::Reads;
use crate::watch::Hub;
use peers::{MAX_MESSAGE, Peers};
use regent_core::ids::NodeId;
use regent_proto::DESCRIPTORS;
use regent_proto::v1::admin_server::AdminServer;
use regent_proto::v1::leadership_server::LeadershipServer;
use regent_proto::v1::witness_server::WitnessServer;
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Status};
use tonic_health::server::HealthReporter;

/// The largest request of a client.
const MAX_REQUEST: usize = 256 << 10;
/// Calls and streams on one connection.
const MAX_STREAMS: u32 = 4_096;
/// How long a call may take when its caller does not say.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take whatever its caller says.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// What the services need.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The loop.
    pub node: Handle,
    /// The log.
    pub raft: Raft,
    /// What watchers are told.
    pub hub: Arc<Hub>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// When streams have to end.
    pub stop: CancellationToken,
}

/// Why the services cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[error("gRPC reflection: {0}")]
pub struct MountError(#[from] tonic_reflection::server::Error);

/// Mounts all services.
pub async fn mount(parts: Parts) -> Result<(Router, HealthReporter), MountError> {
    let Parts { config, node, raft, hub, peers, stop } = parts;
    let reads = Reads::new(node.clone(), hub.clone(), peers.clone());
    let witness = witness::Service {
        node: node.clone(),
        cluster: config.cluster.clone(),
        me: NodeId(config.node),
        nodes: config.peers.iter().map(|peer| NodeId(peer.id)).collect(),
        stop: stop.clone(),
    };
    let leadership = leadership::Service { node: node.clone(), reads, hub: hub.clone(), stop };
    let raft_service = raft.service();
    let admin = admin::Service { config, node, raft, hub, peers };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<WitnessServer<witness::Service>>().await;
    health.set_serving::<LeadershipServer<leadership::Service>>().await;
    health.set_serving::<AdminServer<admin::Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let router = server()
        .add_service(WitnessServer::new(witness).max_decoding_message_size(MAX_MESSAGE))
        .add_service(LeadershipServer::new(leadership).max_decoding_message_size(MAX_REQUEST))
        .add_service(AdminServer::new(admin).max_decoding_message_size(MAX_REQUEST))
        .add_service(raft_service)
        .add_service(health_service)
        .add_service(reflection);
    Ok((router, health))
}

/// The services whose health is told.
pub async fn not_serving(health: &HealthReporter) {
    health.set_not_serving::<WitnessServer<witness::Service>>().await;
    health.set_not_serving::<LeadershipServer<leadership::Service>>().await;
    health.set_not_serving::<AdminServer<admin::Service>>().await;
    health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(1)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(16 << 10)
        .http2_max_pending_accept_reset_streams(Some(256))
        .http2_max_local_error_reset_streams(Some(256))
}

/// The connections of a listener, each set up so that nothing is held back and a dead one is noticed.
pub fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    TcpListenerStream::new(listener).map(|accepted| {
        let stream = accepted?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_secs(3)))?;
        Ok(stream)
    })
}

/// How long a call may take: a little less than its caller waits, so that the caller hears why.
fn patience<T>(request: &Request<T>) -> Duration {
    let asked = request.metadata().get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
    asked.map_or(PATIENCE, |asked| (asked - asked / 10).min(MOST_PATIENCE))
}

/// As gRPC writes it: digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u32 = digits.parse().ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3_600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    unit.checked_mul(count)
}

fn stopping(stopping: Stopping) -> Status {
    Status::unavailable(stopping.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_timeout_is_kept_below_and_bounded() {
        let asked = |text: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
            patience(&request)
        };
        assert_eq!(asked("1S"), Duration::from_millis(900));
        assert_eq!(asked("100m"), Duration::from_millis(90));
        assert_eq!(asked("99999999H"), PATIENCE.max(MOST_PATIENCE));
        assert_eq!(asked("soon"), PATIENCE);
        assert_eq!(patience(&Request::new(())), PATIENCE);
    }
}
