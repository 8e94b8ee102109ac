//! The stream to one witness: made, kept, made again.

use super::{Config, LINK_PATIENCE};
use regent_core::agent::Event;
use regent_core::ids::NodeId;
use regent_core::message::{ToAgent, ToWitness};
use regent_proto::convert::agent_message;
use regent_proto::v1::witness_client::WitnessClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// Reports come every 50 ms; more than this many unsent ones would only be stale.
const QUEUE: usize = 64;
/// The first and the longest pause before a link is made again. With the jitter and `LINK_PATIENCE` it stays within
/// `regent_core::witness::LINKING`: for so long a witness that starts counts nobody's silence.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// Keeps a stream to the witness at `address`; what is sent to the returned queue goes there while it stands.
pub(super) fn keep(
    node: NodeId,
    address: String,
    config: &Config,
    events: mpsc::Sender<Event>,
) -> mpsc::Sender<ToWitness> {
    let (queue, outbox) = mpsc::channel(QUEUE);
    let cluster = config.cluster.clone();
    tokio::spawn(run(node, address, cluster, outbox, events));
    queue
}

async fn run(
    node: NodeId,
    address: String,
    cluster: String,
    mut outbox: mpsc::Receiver<ToWitness>,
    events: mpsc::Sender<Event>,
) {
    let mut pause = PAUSE.0;
    let mut said = String::new();
    while !events.is_closed() {
        let ended = match endpoint(&address) {
            Ok(endpoint) => attend(node, endpoint, &cluster, &mut outbox, &events, &mut pause).await,
            Err(error) => error.to_string(),
        };
        if ended != said {
            tracing::warn!(%node, address, "the witness cannot be reached: {ended}");
            said = ended;
        }
        let _ = events.send(Event::Unlinked(node)).await;
        // Up to half as long again, so that agents do not come back all at once.
        let jitter = rand::random_range(0..=pause.as_millis() as u64 / 2);
        tokio::time::sleep(pause + Duration::from_millis(jitter)).await;
        pause = (pause * 2).min(PAUSE.1);
        while outbox.try_recv().is_ok() {} // what was meant for the old stream is stale
    }
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(LINK_PATIENCE)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(1)))
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(1))
        .keep_alive_while_idle(true))
}

/// One life of the stream; returns why it ended.
async fn attend(
    node: NodeId,
    endpoint: Endpoint,
    cluster: &str,
    outbox: &mut mpsc::Receiver<ToWitness>,
    events: &mpsc::Sender<Event>,
    pause: &mut Duration,
) -> String {
    let channel: Channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return root_cause(&error),
    };
    let (wire, requests) = mpsc::channel(QUEUE);
    let mut client = WitnessClient::new(channel);
    let opened = tokio::time::timeout(LINK_PATIENCE, client.attend(ReceiverStream::new(requests)));
    let mut answers = match opened.await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return status.message().to_owned(),
        Err(_) => return format!("no answer within {} s", LINK_PATIENCE.as_secs()),
    };
    if events.send(Event::Linked(node)).await.is_err() {
        return "the agent stops".to_owned();
    }
    tracing::info!(%node, "linked to the witness");
    loop {
        tokio::select! {
            message = outbox.recv() => match message {
                // Full: the connection does not drain. Reports are not worth waiting for.
                Some(message) => drop(wire.try_send(agent_message(cluster, message))),
                None => return "the agent stops".to_owned(),
            },
            answer = answers.next() => match answer {
                Some(Ok(answer)) => {
                    *pause = PAUSE.0;
                    match ToAgent::try_from(answer) {
                        Ok(message) => drop(events.send(Event::Heard(node, message)).await),
                        Err(error) => return format!("it sent what cannot be understood: {error}"),
                    }
                }
                Some(Err(status)) => return status.message().to_owned(),
                None => return "it closed the stream".to_owned(),
            },
        }
    }
}

/// tonic says "transport error" and keeps the reason inside.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
