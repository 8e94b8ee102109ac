//! Who takes part: seen, and changed one node at a time.
//!
//! A node is added as a learner first and gets its vote when it has caught up; otherwise a cluster of three with one node
//! down could not commit while a fourth is still empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::Instant;

use super::error::MembersError;
use super::handle::Raft;
use super::types::{Member, Types};

/// The members, as the log has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Those whose majority decides.
    pub voters: BTreeMap<u64, Member>,
    /// Those that only follow, as yet.
    pub learners: BTreeMap<u64, Member>,
    /// A change is under way, and both the old and the new majority are needed until it is finished.
    pub changing: bool,
}

type Written<T> = Result<T, RaftError<Types, ClientWriteError<Types>>>;

impl Raft {
    /// Who takes part now.
    pub fn members(&self) -> Members {
        let metrics = self.library.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let (voters, learners) =
            membership.nodes().map(|(id, node)| (*id, node.clone())).partition(|(id, _)| voters.contains(id));
        let changing = membership.get_joint_config().len() > 1
            || metrics.membership_config.log_id() != metrics.committed_membership_config.log_id();
        Members { voters, learners, changing }
    }

    /// Adds a node: first as a learner, and when it has caught up, as a voter. To be called again if it did not finish.
    pub async fn add_member(
        &self,
        node_id: u64,
        member: Member,
        patience: Duration,
    ) -> Result<(), MembersError> {
        if !super::transport::check_addr(&member.addr) {
            let addr = &member.addr;
            return Err(MembersError::Refused(format!(
                "node {node_id}: expected an address like host:port, got {addr:?}"
            )));
        }
        let deadline = Instant::now() + patience;
        self.finish_change(node_id, deadline, patience).await?;
        let now = self.members();
        if let Some(known) =
            now.voters.get(&node_id).or_else(|| now.learners.get(&node_id)).filter(|k| **k != member)
        {
            let what = format!(
                "node {node_id} is a member at {} already, not at {}; remove it first",
                known.addr, member.addr
            );
            return Err(MembersError::Refused(what));
        }
        if now.voters.contains_key(&node_id) {
            return Ok(());
        }
        let learn = self.library.add_learner(node_id, member, true);
        self.written(node_id, deadline, patience, learn).await?;
        let promote = self.library.change_membership(ChangeMembers::AddVoterIds([node_id].into()), false);
        self.written(node_id, deadline, patience, promote).await
    }

    /// Removes a node. Its id must not be used again.
    pub async fn remove_member(&self, node_id: u64, patience: Duration) -> Result<(), MembersError> {
        let deadline = Instant::now() + patience;
        self.finish_change(node_id, deadline, patience).await?;
        let now = self.members();
        if now.voters.keys().eq([&node_id]) {
            return Err(MembersError::Refused(format!(
                "node {node_id} is the only voter; add another one first"
            )));
        }
        if now.voters.contains_key(&node_id) {
            let remove = self.library.change_membership(ChangeMembers::RemoveVoters([node_id].into()), false);
            return self.written(node_id, deadline, patience, remove).await;
        }
        if now.learners.contains_key(&node_id) {
            let remove = self.library.change_membership(ChangeMembers::RemoveNodes([node_id].into()), false);
            return self.written(node_id, deadline, patience, remove).await;
        }
        Ok(())
    }

    /// Finishes a change that was interrupted halfway, by a death of the leader for instance: until then the majorities of
    /// both memberships are needed, and no other change is possible.
    async fn finish_change(
        &self,
        node_id: u64,
        deadline: Instant,
        patience: Duration,
    ) -> Result<(), MembersError> {
        let halfway = {
            let metrics = self.library.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_joint_config().len() > 1
        };
        if !halfway {
            return Ok(());
        }
        let flatten = self.library.change_membership(ChangeMembers::AddVoterIds(BTreeSet::new()), false);
        self.written(node_id, deadline, patience, flatten).await
    }

    async fn written<T>(
        &self,
        node_id: u64,
        deadline: Instant,
        patience: Duration,
        change: impl Future<Output = Written<T>>,
    ) -> Result<(), MembersError> {
        let unfinished = MembersError::Unfinished { node_id, waited: patience };
        match tokio::time::timeout_at(deadline, change).await {
            Err(_) => Err(unfinished),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(e))) => Err(MembersError::Stopped(e.to_string())),
            Ok(Err(RaftError::APIError(e))) => Err(match e {
                ClientWriteError::ForwardToLeader(f) => MembersError::NotLeader { leader: f.leader_id },
                ClientWriteError::LogEntryDiscarded(_) => unfinished,
                other => MembersError::Refused(other.to_string()),
            }),
        }
    }
}
