//! Handing leadership over before a node stops, so that nobody has to notice its absence first.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};

use super::error::StepDownError;
use super::handle::Raft;
use super::types::Types;

impl Raft {
    /// Hands leadership to the voter that is in touch and furthest, and waits until it has it. Returns at once on a node
    /// that does not lead.
    pub async fn step_down(&self) -> Result<(), StepDownError> {
        self.hand_to(None).await
    }

    /// Hands leadership to that voter as soon as it is in touch and lacks nothing that is committed, and waits until it has
    /// it: the caller sets a limit. Returns at once on a node that does not lead, or that is the one.
    pub async fn transfer(&self, to: u64) -> Result<(), StepDownError> {
        if to == self.node_id { Ok(()) } else { self.hand_to(Some(to)).await }
    }

    async fn hand_to(&self, to: Option<u64>) -> Result<(), StepDownError> {
        let mut metrics = self.library.metrics();
        let heir = loop {
            let now = metrics.borrow_and_update().clone();
            if now.state != ServerState::Leader {
                return Ok(());
            }
            let fit = heirs(&now, self.settings.heartbeat * 2 + self.settings.max_round_trip);
            match to {
                Some(to) if fit.contains(&to) => break to,
                // A leader knows nothing of the others yet when it is new.
                Some(_) => metrics.changed().await.map_err(ended)?,
                None => break fit.last().copied().ok_or(StepDownError::NoHeir)?,
            }
        };
        self.give_way(heir).await
    }

    /// A transfer that fails leaves a leader that no longer beats, so it is watched: if nobody has taken over in time, this
    /// node stands for election itself, once, which ends the transfer either way.
    async fn give_way(&self, heir: u64) -> Result<(), StepDownError> {
        let mut metrics = self.library.metrics();
        self.library.trigger().transfer_leader(heir).await.map_err(stopped)?;
        // To the heir, the election there, and the news of it back; twice, for a lost segment.
        let patience = (self.settings.max_round_trip * 4 + self.settings.election_max) * 2;
        let me = self.node_id;
        let taken = async {
            while metrics.borrow_and_update().current_leader.is_none_or(|leader| leader == me) {
                metrics.changed().await.map_err(ended)?;
            }
            Ok(())
        };
        match tokio::time::timeout(patience, taken).await {
            Ok(taken) => taken,
            Err(_) => {
                self.library.trigger().elect(false).await.map_err(stopped)?;
                Err(StepDownError::NotTaken { heir, waited: patience })
            }
        }
    }
}

fn ended(_: openraft::async_runtime::RecvError) -> StepDownError {
    StepDownError::Stopped("Raft has ended".to_owned())
}

fn stopped(e: openraft::errors::Fatal<Types>) -> StepDownError {
    StepDownError::Stopped(e.to_string())
}

/// The voters that answered within `recently` and lack nothing that is committed, the one with the longest log last.
fn heirs(metrics: &RaftMetrics<Types>, recently: Duration) -> Vec<u64> {
    let (Some(progress), Some(beats)) = (&metrics.replication, &metrics.heartbeat) else { return Vec::new() };
    let in_touch = |id: &u64| {
        let beat = beats.get(id).copied().flatten();
        beat.is_some_and(|at| at.elapsed() < recently)
    };
    let mut fit: Vec<_> = metrics
        .membership_config
        .voter_ids()
        .filter(|id| *id != metrics.id && in_touch(id))
        .filter_map(|id| progress.get(&id).copied().flatten().map(|matched| (matched, id)))
        .filter(|(matched, _)| Some(matched) >= metrics.cluster_committed.as_ref())
        .collect();
    fit.sort_unstable();
    fit.into_iter().map(|(_, id)| id).collect()
}
