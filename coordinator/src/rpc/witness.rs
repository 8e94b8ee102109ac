//! The lease protocol's service: agents attend, nodes confer, readers ask for the standing.

use super::confer::listen;
use super::stopping;
use crate::node::{AgentQueue, AgentStream, Book, Gone, Handle};
use regent_core::ids::{GroupName, InstanceName, NodeId};
use regent_core::message::ToWitness;
use regent_proto::convert::{FromAgent, NodeHello, StandingQuery, rejection};
use regent_proto::v1;
use regent_proto::v1::witness_server::Witness;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// See above.
#[derive(Clone)]
pub struct Service {
    /// The loop.
    pub node: Handle,
    /// The cluster of this node.
    pub cluster: String,
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub nodes: Arc<[NodeId]>,
    /// When streams have to end.
    pub stop: CancellationToken,
}

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Witness for Service {
    type AttendStream = Out<v1::WitnessMessage>;

    async fn attend(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (stream, queue) = AgentStream::open();
        let (fail, failed) = oneshot::channel();
        let mut attendance = Attendance {
            words: request.into_inner(),
            node: self.node.clone(),
            cluster: self.cluster.clone(),
            stream,
            of: BTreeMap::new(),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = attendance.listen() => ended,
                () = stop.cancelled() => Err(stopping(crate::node::Stopping)),
            };
            let _ = attendance.node.detach(attendance.stream.id()).await;
            if let Err(status) = ended {
                // The stream's other half may be gone.
                let _ = fail.send(status);
            }
        });
        Ok(Response::new(Box::pin(answers(queue, failed))))
    }

    type ConferStream = Out<v1::NodeMessage>;

    async fn confer(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::ConferStream>, Status> {
        let words = request.into_inner();
        let (node, nodes, stop) = (self.node.clone(), self.nodes.clone(), self.stop.clone());
        // The sender is whoever says hello; only cluster and addressee are expected.
        let expected = NodeHello { cluster: self.cluster.clone(), from: self.me, to: self.me };
        let (fail, failed) = oneshot::channel();
        // A task of its own, so that the end of the stream is noticed whoever ends it.
        tokio::spawn(async move {
            if let Err(status) = listen(words, &expected, &nodes, &node, &stop).await {
                // The stream's other half may be gone.
                let _ = fail.send(status);
            }
        });
        let silence = async_stream::stream! {
            if let Ok(status) = failed.await {
                yield Err(status);
            }
        };
        Ok(Response::new(Box::pin(silence)))
    }

    async fn get_standing(
        &self,
        request: Request<v1::GetStandingRequest>,
    ) -> Result<Response<v1::Standing>, Status> {
        let StandingQuery { cluster, group } = request.into_inner().try_into()?;
        self.check_cluster(&cluster)?;
        let look = move |book: &Book, now| match book.witness.standing(&group, now) {
            Some(standing) => Ok(standing),
            None => Err(book.unknown(&group)),
        };
        let standing = self.node.ask(look).await.map_err(stopping)?;
        Ok(Response::new(standing.map_err(|unknown| rejection(&unknown))?.into()))
    }
}

impl Service {
    fn check_cluster(&self, got: &str) -> Result<(), Status> {
        if got == self.cluster {
            return Ok(());
        }
        Err(wrong_cluster(&self.cluster, got))
    }
}

fn wrong_cluster(expected: &str, got: &str) -> Status {
    let text =
        format!("cluster: expected {expected:?}, got {got:?}; correct the addresses in the configuration");
    Status::failed_precondition(text)
}

/// The listening half of an agent's stream.
struct Attendance {
    words: Streaming<v1::AgentMessage>,
    node: Handle,
    cluster: String,
    stream: Arc<AgentStream>,
    /// As whom it has said hello, by group.
    of: BTreeMap<GroupName, InstanceName>,
}

impl Attendance {
    async fn listen(&mut self) -> Result<(), Status> {
        while let Some(word) = self.words.message().await? {
            let FromAgent { cluster, message } = word.try_into()?;
            if let Some(cluster) = cluster.filter(|cluster| *cluster != self.cluster) {
                return Err(wrong_cluster(&self.cluster, &cluster));
            }
            match message {
                ToWitness::Hello { group, instance, at } => {
                    let attached = self.node.attach(self.stream.clone(), group.clone(), instance.clone(), at);
                    attached.await.map_err(stopping)?.map_err(|rejected| rejection(&rejected))?;
                    self.of.insert(group, instance);
                }
                message => {
                    self.check(&message)?;
                    self.node.agent(self.stream.id(), message).await.map_err(stopping)?;
                }
            }
        }
        Ok(())
    }

    /// An agent speaks for the instances it said hello for.
    fn check(&self, message: &ToWitness) -> Result<(), Status> {
        let (group, instance) = match message {
            ToWitness::Report(report) => (&report.group, Some(&report.instance)),
            ToWitness::Release(release) => (&release.group, Some(&release.instance)),
            ToWitness::Show(certificate) => (certificate.group(), None),
            ToWitness::Hello { group, instance, .. } => (group, Some(instance)),
            ToWitness::Tail { group, tail } => (group, Some(&tail.instance)),
        };
        let of = self.of.get(group).ok_or_else(|| {
            Status::failed_precondition(format!(
                "expected a hello for group {group} first, got another message"
            ))
        })?;
        match instance.filter(|instance| *instance != of) {
            None => Ok(()),
            Some(got) => Err(Status::invalid_argument(format!(
                "group {group}: this stream is that of instance {of}, got a message of {got}"
            ))),
        }
    }
}

/// The speaking half: what the loop queues, until the stream has to end.
fn answers(
    mut queue: AgentQueue,
    mut failed: oneshot::Receiver<Status>,
) -> impl Stream<Item = Result<v1::WitnessMessage, Status>> {
    async_stream::stream! {
        loop {
            tokio::select! {
                biased;
                ended = &mut failed => {
                    if let Ok(status) = ended {
                        yield Err(status);
                    }
                    break;
                }
                gone = gone(&mut queue.gone) => {
                    yield Err(Status::aborted(gone.to_string()));
                    break;
                }
                message = queue.messages.recv() => match message {
                    Some(message) => yield Ok(message.into()),
                    None => break,
                }
            }
        }
    }
}

/// Waits until the loop ends the stream for a reason of its own.
async fn gone(told: &mut watch::Receiver<Option<Gone>>) -> Gone {
    let gone = told.wait_for(Option::is_some).await.ok().and_then(|gone| *gone);
    match gone {
        Some(gone) => gone,
        None => std::future::pending().await,
    }
}
