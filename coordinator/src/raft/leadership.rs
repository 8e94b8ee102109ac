//! Who leads, watched.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::sync::watch;

use super::fatal;
use super::types::{MetricsWatch, Types};

/// Who leads, as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// This node leads, has applied an entry of its own term (so it knows all that was committed before), and a majority
    /// has acknowledged it within the last lease.
    pub ready: bool,
    /// The index of the last entry applied here.
    pub applied: Option<u64>,
    /// The index of the last entry in the log here, committed or not.
    pub last_log: Option<u64>,
}

/// Who leads by these metrics, and for how long that is true without any news.
fn judge(metrics: &RaftMetrics<Types>, lease: Duration) -> (Leadership, Option<Duration>) {
    let leads = metrics.state == ServerState::Leader;
    let own_term = metrics.last_applied.is_some_and(|id| id.leader_id == metrics.vote.leader_id);
    let left = metrics.last_quorum_acked.and_then(|at| lease.checked_sub(at.elapsed()));
    // A leader alone in its cluster needs nobody's acknowledgement.
    let alone = metrics.membership_config.voter_ids().count() == 1;
    let acked = alone || left.is_some();
    let leadership = Leadership {
        leader: metrics.current_leader,
        term: metrics.current_term,
        ready: leads && own_term && acked,
        applied: metrics.last_applied.map(|id| id.index),
        last_log: metrics.last_log_index,
    };
    let left = left.filter(|_| leadership.ready && !alone);
    (leadership, left)
}

/// Keeps a watch on who leads until Raft stops. If it stops by itself, the process ends.
pub fn watch(mut metrics: MetricsWatch, lease: Duration) -> watch::Receiver<Leadership> {
    let (tell, told) = watch::channel(judge(&metrics.borrow_and_update(), lease).0);
    tokio::spawn(async move {
        if let Some(why) = follow(&mut metrics, lease, &tell).await {
            fatal::end_for_raft(why);
        }
        // Nobody may believe that a stopped node leads.
        tell.send_modify(|known| known.ready = false);
    });
    told
}

/// Tells who leads until Raft stops; returns why, unless it was asked to.
async fn follow(
    metrics: &mut MetricsWatch,
    lease: Duration,
    tell: &watch::Sender<Leadership>,
) -> Option<String> {
    loop {
        let (leadership, left) = judge(&metrics.borrow_watched(), lease);
        tell.send_if_modified(|known| std::mem::replace(known, leadership.clone()) != leadership);
        // The lease can run out without any news.
        let expired = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let gone = tokio::select! {
            news = metrics.changed() => news.is_err(),
            () = expired => false,
        };
        match &metrics.borrow_and_update().running_state {
            Err(openraft::errors::Fatal::Stopped) => return None,
            Err(fatal) => return Some(fatal.to_string()),
            // Its task ends without a word only by a panic.
            Ok(()) if gone => {
                return Some("its task has panicked; the log has the place above this line".into());
            }
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::async_runtime::WatchSender;
    use openraft::errors::Fatal;
    use openraft::type_config::TypeConfigExt;

    /// What is said of a Raft that goes away having said this last.
    async fn said_of(running_state: Result<(), Fatal<Types>>) -> Option<String> {
        let metrics = RaftMetrics::<Types> { running_state, ..RaftMetrics::new_initial(1) };
        let (sender, mut receiver) = Types::watch_channel(RaftMetrics::new_initial(1));
        sender.send(metrics).ok();
        drop(sender);
        let (tell, _told) = watch::channel(Leadership::default());
        follow(&mut receiver, Duration::from_secs(1), &tell).await
    }

    #[tokio::test]
    async fn a_raft_that_ends_by_itself_is_told_from_one_that_was_stopped() {
        assert_eq!(said_of(Err(Fatal::Stopped)).await, None);
        assert!(said_of(Err(Fatal::Panicked)).await.is_some());
        assert!(said_of(Ok(())).await.unwrap().contains("panicked"));
    }
}
