//! The streams between nodes. Each node keeps one to every other, warm, and speaks on it; on those that others keep to it,
//! it listens.

use super::peers::{MAX_MESSAGE, connect};
use crate::node::{Handle, Outbox};
use crate::raft::Settings;
use rand::Rng;
use regent_core::ids::NodeId;
use regent_core::message::ToNode;
use regent_proto::convert::NodeHello;
use regent_proto::v1;
use regent_proto::v1::witness_client::WitnessClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(1);
/// A stream that stood for so long was a good one: the next is tried soon.
const STEADY: Duration = Duration::from_secs(2);

/// One stream to another node, for as long as this node runs.
pub struct Speaker {
    /// Who speaks to whom.
    pub hello: NodeHello,
    /// Where it is.
    pub address: String,
    /// The times in use.
    pub settings: Settings,
    /// What is to be said.
    pub outbox: Arc<Outbox>,
}

impl Speaker {
    /// Keeps the stream up until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let channel = match connect(&self.address, &self.settings) {
            Ok(channel) => channel,
            Err(error) => {
                let (to, address) = (self.hello.to, &self.address);
                tracing::error!("node {to} cannot be reached at {address:?}: {error}; correct its address");
                return;
            }
        };
        let keep = async {
            let mut pause = *BACKOFF.start();
            let mut trouble = String::new();
            loop {
                let begun = Instant::now();
                let ended = self.speak(channel.clone()).await;
                self.report(&ended, &mut trouble);
                pause = if begun.elapsed() > STEADY { *BACKOFF.start() } else { pause };
                let jitter = rand::rng().random_range(0.5..1.0);
                tokio::time::sleep(pause.mul_f64(jitter)).await;
                pause = (pause * 2).min(*BACKOFF.end());
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keep => {}
        }
    }

    async fn speak(&self, channel: Channel) -> Status {
        let hello = v1::NodeMessage::from(self.hello.clone());
        let outbox = self.outbox.clone();
        let words = async_stream::stream! {
            yield hello;
            loop {
                yield v1::NodeMessage::from(outbox.next().await);
            }
        };
        let mut client = WitnessClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut silence = match client.confer(words).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return status,
        };
        tracing::debug!("the stream to node {} stands", self.hello.to);
        loop {
            match silence.message().await {
                // The other side speaks on a stream of its own.
                Ok(Some(_)) => {}
                Ok(None) => return Status::unavailable("it ended the stream"),
                Err(status) => return status,
            }
        }
    }

    /// A lasting trouble is said once.
    fn report(&self, ended: &Status, last: &mut String) {
        let trouble = format!("{}: {}", ended.code(), ended.message());
        if trouble != *last {
            tracing::warn!("no stream to node {} at {}: {trouble}", self.hello.to, self.address);
            *last = trouble;
        }
    }
}

/// Listens to another node until its stream ends.
pub async fn listen(
    mut words: tonic::Streaming<v1::NodeMessage>,
    expected: &NodeHello,
    known: &[NodeId],
    node: &Handle,
    stop: &CancellationToken,
) -> Result<(), Status> {
    let Some(first) = words.message().await? else { return Ok(()) };
    let hello = NodeHello::try_from(first)?;
    check(&hello, expected, known)?;
    let from = hello.from;
    node.node_up(from).await.map_err(super::stopping)?;
    let heard = tokio::select! {
        heard = hear(&mut words, from, node) => heard,
        () = stop.cancelled() => Err(super::stopping(crate::node::Stopping)),
    };
    let _ = node.node_down(from).await;
    heard
}

async fn hear(
    words: &mut tonic::Streaming<v1::NodeMessage>,
    from: NodeId,
    node: &Handle,
) -> Result<(), Status> {
    while let Some(word) = words.message().await? {
        let message = ToNode::try_from(word)?;
        let speaker = match &message {
            ToNode::Vote(vote) => vote.witness,
            ToNode::Standing(standing) => standing.witness,
            ToNode::Decided(_) | ToNode::Solicit(_) => from,
        };
        if speaker != from {
            return Err(Status::invalid_argument(format!(
                "expected the word of node {from} on its own stream, got that of node {speaker}"
            )));
        }
        node.node(from, message).await.map_err(super::stopping)?;
    }
    Ok(())
}

fn check(hello: &NodeHello, expected: &NodeHello, known: &[NodeId]) -> Result<(), Status> {
    let refuse = |what: &str, expected: String, got: String| {
        let from = hello.from;
        let text =
            format!("{what} of node {from}: expected {expected}, got {got}; correct its configuration");
        tracing::warn!("refused: {text}");
        Err(Status::failed_precondition(text))
    };
    if hello.cluster != expected.cluster {
        return refuse("cluster", format!("{:?}", expected.cluster), format!("{:?}", hello.cluster));
    }
    if hello.to != expected.to {
        return refuse("addressee", format!("node {}", expected.to), format!("node {}", hello.to));
    }
    if !known.contains(&hello.from) {
        return refuse("sender", format!("one of nodes {known:?}"), format!("node {}", hello.from));
    }
    Ok(())
}
