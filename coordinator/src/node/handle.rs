//! How others reach the loop.

use super::agents::AgentStream;
use super::book::Book;
use super::proposals::{Ending, Subject};
use regent_core::command::Instance;
use regent_core::ids::{GroupName, InstanceName, NodeId};
use regent_core::message::{ToNode, ToWitness};
use regent_core::restart;
use regent_core::state::Rejected;
use regent_core::switchover::{Plan, Refused};
use regent_core::time::Time;
use regent_proto::api::{Restart, Switchover};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Something the loop can be told.
pub(super) enum Input {
    /// A stream is that of an instance.
    Attach {
        stream: Arc<AgentStream>,
        group: GroupName,
        instance: InstanceName,
        at: Instance,
        reply: oneshot::Sender<Result<(), Rejected>>,
    },
    /// A stream has ended.
    Detach(u64),
    /// An agent speaks, on that stream.
    Agent(u64, ToWitness),
    /// A stream of another node stands.
    NodeUp(NodeId),
    /// It is gone.
    NodeDown(NodeId),
    /// Another node speaks.
    Node(NodeId, ToNode),
    /// A switchover is wished for.
    HandOver { wish: Switchover, reply: oneshot::Sender<Result<Plan, Refused>> },
    /// A restart is wished for.
    Restart { wish: Restart, reply: oneshot::Sender<Result<restart::Plan, Refused>> },
    /// A proposal has ended.
    Proposed(Subject, Ending),
    /// Somebody wants to know something.
    Ask(Question),
}

/// Runs in the loop, between two events.
type Question = Box<dyn FnOnce(&Book, Time) + Send>;

/// The node ends; nothing can be asked of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node is stopping; ask another")]
pub struct Stopping;

/// Reaches the loop.
#[derive(Clone)]
pub struct Handle(mpsc::Sender<Input>);

impl Handle {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Handle {
        Handle(inputs)
    }

    pub(super) async fn send(&self, input: Input) -> Result<(), Stopping> {
        self.0.send(input).await.map_err(|_| Stopping)
    }

    /// A stream is that of an instance from now on; the state may refuse that.
    pub async fn attach(
        &self,
        stream: Arc<AgentStream>,
        group: GroupName,
        instance: InstanceName,
        at: Instance,
    ) -> Result<Result<(), Rejected>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Attach { stream, group, instance, at, reply }).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// A stream has ended.
    pub async fn detach(&self, stream: u64) -> Result<(), Stopping> {
        self.send(Input::Detach(stream)).await
    }

    /// An agent speaks, on that stream.
    pub async fn agent(&self, stream: u64, message: ToWitness) -> Result<(), Stopping> {
        self.send(Input::Agent(stream, message)).await
    }

    /// A stream of another node stands.
    pub async fn node_up(&self, node: NodeId) -> Result<(), Stopping> {
        self.send(Input::NodeUp(node)).await
    }

    /// It is gone.
    pub async fn node_down(&self, node: NodeId) -> Result<(), Stopping> {
        self.send(Input::NodeDown(node)).await
    }

    /// Another node speaks.
    pub async fn node(&self, node: NodeId, message: ToNode) -> Result<(), Stopping> {
        self.send(Input::Node(node, message)).await
    }

    /// A switchover is wished for: the leader checks it and begins to ask for it.
    pub async fn hand_over(&self, wish: Switchover) -> Result<Result<Plan, Refused>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::HandOver { wish, reply }).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// A restart is wished for: the leader checks it and begins to ask for it, unless a switchover has to come first.
    pub async fn restart(&self, wish: Restart) -> Result<Result<restart::Plan, Refused>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Restart { wish, reply }).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// Looks into the book, between two events. What is asked runs in the loop: it must be quick.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Book, Time) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        let ask = move |book: &Book, now: Time| {
            let _ = reply.send(question(book, now));
        };
        self.send(Input::Ask(Box::new(ask))).await?;
        answer.await.map_err(|_| Stopping)
    }
}
