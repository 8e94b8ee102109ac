//! One writing session, and the question who is primary.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::SimpleQueryRow;
use tokio_util::sync::CancellationToken;

use super::lane::{Lane, NoAnswer};
use super::{ASKING, PACE, PATIENCE};
use crate::clock::now_ns;
use crate::cluster::topology::instance;
use crate::history::{History, Outcome, Receipt};

/// Timeline of the server's writes; an error on a standby.
const TIMELINE: &str = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";
/// How long after a failed connection the next is tried.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Session {
    pub name: String,
    pub region: &'static str,
    pub lanes: Vec<Lane>,
    pub primary: watch::Receiver<Option<usize>>,
    pub history: History,
    pub stop: CancellationToken,
}

impl Session {
    pub async fn run(mut self, phase: Duration) {
        sleep(phase).await;
        let lanes: Vec<Arc<Lane>> = std::mem::take(&mut self.lanes).into_iter().map(Arc::new).collect();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        let mut keepers: JoinSet<()> = lanes.iter().cloned().map(keep_connected).collect();
        while stop.run_until_cancelled(pace.tick()).await.is_some() {
            let Some(target) = *self.primary.borrow_and_update() else { continue };
            self.write(&lanes[target], target).await;
        }
        keepers.shutdown().await;
    }

    async fn write(&self, lane: &Lane, target: usize) {
        let mut primary = self.primary.clone();
        let changed = async { drop(primary.wait_for(|now| *now != Some(target)).await) };
        tokio::pin!(changed);
        // A row is invoked when it can be sent: connecting is not writing. Nobody waits for a server that is primary no more.
        let connected = tokio::select! {
            connected = lane.connect() => connected.is_ok(),
            () = &mut changed => false,
        };
        if !connected {
            return;
        }
        let id = self.history.invoke(&self.name, self.region, target);
        let sql = insert(id, self.region, target);
        let (outcome, given_up) = tokio::select! {
            answer = lane.ask(&sql, PATIENCE) => (outcome(answer), false),
            () = changed => (Outcome::Unknown("the primary changed".into()), true),
            _ = self.stop.cancelled() => (Outcome::Unknown("the writer stopped".into()), true),
        };
        let at_ns = match &outcome {
            Outcome::Acknowledged(receipt) => receipt.at_ns,
            _ => now_ns(),
        };
        self.history.complete(&self.name, id, at_ns, outcome);
        if given_up {
            lane.abandon().await;
        }
    }
}

/// The statement that writes a row, and tells what it needs to be found again.
pub(super) fn insert(id: u64, client: &str, target: usize) -> String {
    format!(
        "INSERT INTO regent_writes(id, client, instance, timeline) VALUES ({id}, '{client}', '{}', {TIMELINE}) \
         RETURNING timeline, pg_current_wal_insert_lsn() - '0/0', pg_current_xact_id()",
        instance(target),
    )
}

pub(super) fn outcome(answer: Result<Vec<SimpleQueryRow>, NoAnswer>) -> Outcome {
    let at_ns = now_ns();
    match answer {
        Ok(rows) => match rows.first().and_then(|row| receipt(row, at_ns)) {
            Some(receipt) => Outcome::Acknowledged(receipt),
            None => Outcome::Unknown("an answer without the row".into()),
        },
        Err(NoAnswer::Unknown(why)) => Outcome::Unknown(why),
        Err(refused) => Outcome::Failed(refused.to_string()),
    }
}

fn receipt(row: &SimpleQueryRow, at_ns: u64) -> Option<Receipt> {
    let number = |column| row.get(column)?.parse::<u64>().ok();
    // The log's records have the lower half of the transaction's number.
    let xid = number(2)? & 0xffff_ffff;
    Some(Receipt { at_ns, timeline: number(0)? as u32, lsn: number(1)?, xid })
}

/// Keeps a connection warm.
async fn keep_connected(lane: Arc<Lane>) {
    loop {
        // Whoever uses the lane meets the error; here it only says when to try again.
        let _ = lane.connect().await;
        sleep(AGAIN).await;
    }
}

/// Asks all instances, all the time, and publishes the one that is primary on the newest timeline.
pub(super) async fn find_primary(lanes: Vec<Lane>, primary: watch::Sender<Option<usize>>) {
    let newest = Arc::new(std::sync::Mutex::new(0));
    let primary = Arc::new(primary);
    let ask = |(index, lane): (usize, Lane)| {
        let (newest, primary) = (newest.clone(), primary.clone());
        async move {
            loop {
                match timeline_if_primary(&lane).await {
                    Ok(Some(timeline)) => publish(&newest, &primary, timeline, index),
                    Ok(None) => {}
                    Err(_) => sleep(AGAIN).await,
                }
                sleep(ASKING).await;
            }
        }
    };
    futures::future::join_all(lanes.into_iter().enumerate().map(ask)).await;
}

fn publish(
    newest: &std::sync::Mutex<u32>,
    primary: &watch::Sender<Option<usize>>,
    timeline: u32,
    index: usize,
) {
    let mut newest = newest.lock().expect("nothing panics while it holds the newest timeline");
    if timeline > *newest {
        *newest = timeline;
        primary.send_replace(Some(index));
    }
}

async fn timeline_if_primary(lane: &Lane) -> Result<Option<u32>, NoAnswer> {
    let sql = format!("SELECT CASE WHEN NOT pg_is_in_recovery() THEN {TIMELINE} END");
    let rows = lane.ask(&sql, PATIENCE).await?;
    Ok(rows.first().and_then(|row| row.get(0)).and_then(|timeline| timeline.parse().ok()))
}
