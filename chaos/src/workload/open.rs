//! A session that is open before anything happens, and commits through it for as long as its connection lives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Account;
use super::lane::{Lane, NoAnswer};
use super::session::{insert, outcome};
use crate::clock::now_ns;
use crate::history::{History, Outcome};

const PACE: Duration = Duration::from_millis(50);
/// It is in no hurry: what a frozen server answers when it goes on is what it is here for.
const PATIENCE: Duration = Duration::from_secs(600);

/// The session.
pub struct OpenSession {
    lane: Lane,
    target: usize,
    region: &'static str,
}

/// Opens a session of a client in `region` on the instance `target`, which is at that address.
pub async fn open_session(
    address: SocketAddr,
    account: &Account,
    target: usize,
    region: &'static str,
) -> anyhow::Result<OpenSession> {
    let lane = Lane::new(address, account);
    lane.connect().await.with_context(|| format!("a session from {region}"))?;
    Ok(OpenSession { lane, target, region })
}

impl OpenSession {
    /// Commits until it is told to stop, or its connection ends.
    pub async fn run(self, history: History, stop: CancellationToken) {
        let name = format!("open-{}", self.region);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(pace.tick()).await.is_some() {
            let id = history.invoke(&name, self.region, self.target);
            let sql = insert(id, self.region, self.target);
            let (outcome, over) = match stop.run_until_cancelled(self.lane.ask(&sql, PATIENCE)).await {
                Some(answer) => {
                    let over = !matches!(answer, Ok(_) | Err(NoAnswer::Refused(_)));
                    (outcome(answer), over)
                }
                None => (Outcome::Unknown("the session stopped".into()), true),
            };
            let at_ns = match &outcome {
                Outcome::Acknowledged(receipt) => receipt.at_ns,
                _ => now_ns(),
            };
            history.complete(&name, id, at_ns, outcome);
            if over {
                return;
            }
        }
    }
}
