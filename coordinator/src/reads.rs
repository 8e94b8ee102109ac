//! Linearizable reads: rounds to a majority of witnesses. Callers at the same time share a round, but only one that begins
//! after they came (finding F17): a round under way may have asked before somebody was told something newer.

use crate::node::{Handle, Stopping};
use crate::rpc::peers::Peers;
use crate::watch::Hub;
use futures::stream::{FuturesUnordered, StreamExt};
use regent_core::ids::{Epoch, GroupName};
use regent_core::message::Standing;
use regent_core::read::{Outcome, decide};
use regent_core::state::Rejected;
use regent_core::vote::Certificate;
use regent_proto::api::Assignment;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Between two rounds that settled nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No such group.
    #[error(transparent)]
    Unknown(#[from] Rejected),
    /// Too few witnesses answered until the deadline.
    #[error(
        "{answered} of the witnesses of group {group} answered, {needed} are needed: no majority is in reach of this node; \
         ask another, or ask with LOCAL consistency"
    )]
    NoMajority {
        /// The group.
        group: GroupName,
        /// How many answered.
        answered: usize,
        /// How many must.
        needed: usize,
    },
    /// It was open until the deadline who is primary.
    #[error(
        "group {group} was in transition until the deadline: whether epoch {epoch} is decided could not be known; ask again"
    )]
    InTransition {
        /// The group.
        group: GroupName,
        /// The epoch that is open.
        epoch: Epoch,
    },
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Reads, and shares rounds among them. Clones share them too.
#[derive(Clone)]
pub struct Reads {
    node: Handle,
    hub: Arc<Hub>,
    peers: Arc<Peers>,
    waiting: Arc<Mutex<BTreeMap<GroupName, Queue>>>,
}

type Answer = Result<Outcome, Stopping>;
/// Those who wait for the next round of a group, while one is under way.
type Queue = Vec<oneshot::Sender<Answer>>;

impl Reads {
    /// Reads that ask `node` itself and its `peers`.
    pub fn new(node: Handle, hub: Arc<Hub>, peers: Arc<Peers>) -> Reads {
        Reads { node, hub, peers, waiting: Arc::default() }
    }

    /// Who is primary: never older than what anybody was answered before this call.
    pub async fn primary(&self, group: &GroupName, patience: Duration) -> Result<Assignment, ReadError> {
        let mut present = self.hub.present(group)?;
        let deadline = Instant::now() + patience;
        let mut last = ReadError::NoMajority { group: group.clone(), answered: 0, needed: 1 };
        loop {
            let Ok(outcome) = tokio::time::timeout_at(deadline, self.round(group)).await else {
                return Err(last);
            };
            match outcome? {
                Outcome::Decided(epoch, primary) => {
                    if let Some(assignment) = self.hub.assignment(group, epoch, &primary) {
                        return Ok(assignment);
                    }
                    // Decided, but this node's log does not know that instance yet.
                    last = ReadError::InTransition { group: group.clone(), epoch };
                }
                Outcome::NoPrimary => {
                    (present.epoch, present.primary) = (Epoch(0), None);
                    return Ok(present);
                }
                Outcome::TooFew { answered, needed } => {
                    last = ReadError::NoMajority { group: group.clone(), answered, needed };
                }
                Outcome::InTransition(epoch) => {
                    last = ReadError::InTransition { group: group.clone(), epoch };
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What a round that begins from now on comes to.
    async fn round(&self, group: &GroupName) -> Answer {
        let (tell, told) = oneshot::channel();
        let idle = {
            let mut waiting = self.locked();
            let idle = !waiting.contains_key(group);
            waiting.entry(group.clone()).or_default().push(tell);
            idle
        };
        if idle {
            let (reads, group) = (self.clone(), group.clone());
            tokio::spawn(async move { reads.serve(&group).await });
        }
        told.await.unwrap_or(Err(Stopping))
    }

    /// One round after the other for as long as somebody waits.
    async fn serve(&self, group: &GroupName) {
        while let Some(callers) = self.next_callers(group) {
            let answer = self.ask_all(group).await;
            for caller in callers {
                // It may have given up.
                let _ = caller.send(answer.clone());
            }
        }
    }

    fn next_callers(&self, group: &GroupName) -> Option<Queue> {
        let mut waiting = self.locked();
        let callers = std::mem::take(waiting.get_mut(group)?);
        if callers.is_empty() {
            waiting.remove(group);
            return None;
        }
        Some(callers)
    }

    async fn ask_all(&self, group: &GroupName) -> Answer {
        let mut asked: FuturesUnordered<_> =
            self.peers.ids().map(|peer| self.peers.standing(peer, group.clone())).collect();
        let (own, mut known) = self.own(group).await?;
        let mut answers: Vec<Standing> = own.into_iter().collect();
        let begun = Instant::now();
        let mut settled = decide(&answers, known.as_ref());
        let mut until = begun + self.peers.patience();
        while !matches!(settled, Outcome::Decided(..)) {
            let Ok(Some(answer)) = tokio::time::timeout_at(until, asked.next()).await else { break };
            let Ok(answer) = answer else { continue };
            answers.push(answer);
            known = self.own(group).await?.1;
            settled = decide(&answers, known.as_ref());
            if matches!(settled, Outcome::InTransition(_)) {
                // A majority has answered: one that is cut off must not hold the next round up for long.
                until = until.min(Instant::now() + begun.elapsed() + PAUSE);
            }
        }
        Ok(settled)
    }

    async fn own(&self, group: &GroupName) -> Result<(Option<Standing>, Option<Certificate>), Stopping> {
        let group = group.clone();
        let look = move |book: &crate::node::Book, now| {
            (book.witness.standing(&group, now), book.witness.decided(&group).cloned())
        };
        self.node.ask(look).await
    }

    // Nothing that holds the lock can panic halfway.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<GroupName, Queue>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
