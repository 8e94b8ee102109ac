//! Writers: in each of some regions several sessions, each writing one row a transaction.
//!
//! A session keeps an open connection to every instance, as a pool with several hosts does (a session on a
//! standby becomes writable when the standby is promoted), and writes to the one that says it is primary. What
//! was sent and not answered when the primary changed, or for [`PATIENCE`], is *unknown*, never failed.

mod lane;
mod open;
mod session;
pub mod stubborn;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::History;
pub use lane::Account;
use lane::Lane;
pub use open::{OpenSession, open_session};

/// Sessions in each region, each writing at most every [`PACE`]: a row every 10 ms where the primary is near. More of them would
/// not see a gap any better, and would take from servers and links the processors that these share.
const SESSIONS: usize = 2;
const PACE: Duration = Duration::from_millis(20);
/// How often a client asks an instance whether it is primary.
const ASKING: Duration = Duration::from_millis(10);
/// An answer that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who writes, and where from.
pub struct Clients {
    /// Region of the clients.
    pub region: &'static str,
    /// Each instance's address as seen from there, in the order of regions.
    pub instances: Vec<SocketAddr>,
    /// Where they run.
    pub runtime: Handle,
}

/// Running writers; they stop when this is dropped.
pub struct Workload {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Workload {
    /// Starts writers for each of `clients`.
    pub fn start(clients: Vec<Clients>, account: &Account, history: &History) -> Workload {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for Clients { region, instances, runtime } in clients {
            // What is spawned from here on, and what that spawns, runs there.
            let _there = runtime.enter();
            let (primary, known) = watch::channel(None);
            let asking: Vec<Lane> = instances.iter().map(|address| Lane::new(*address, account)).collect();
            spawn(&mut tasks, &stop, session::find_primary(asking, primary));
            for number in 0..SESSIONS {
                let lanes = instances.iter().map(|address| Lane::new(*address, account)).collect();
                let session = session::Session {
                    name: format!("writer-{region}-{number}"),
                    region,
                    lanes,
                    primary: known.clone(),
                    history: history.clone(),
                    stop: stop.clone(),
                };
                // Spread over the pace, so that together they write evenly.
                tasks.spawn(session.run(PACE * number as u32 / SESSIONS as u32));
            }
        }
        Workload { stop, tasks }
    }

    /// Stops the writers; what is not answered by then is unknown.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn spawn(tasks: &mut JoinSet<()>, stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(work).await;
    });
}

/// The table, and the numbers of all rows in it.
pub struct Table;

impl Table {
    /// Makes it.
    pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS regent_writes(id bigint PRIMARY KEY, client text, \
        instance text, timeline int, written_at timestamptz DEFAULT clock_timestamp())";

    /// What a superuser runs to let writers in: makes their role, and the table as its own.
    pub fn let_in(account: &Account) -> String {
        let Account { user, password, .. } = account;
        format!(
            "CREATE ROLE {user} LOGIN PASSWORD '{password}';\nGRANT CREATE ON SCHEMA public TO {user};\n\
             SET ROLE {user};\n{};\n",
            Table::CREATE
        )
    }

    /// Reads the numbers of the rows that `address` has.
    pub async fn rows(
        address: SocketAddr,
        account: &Account,
    ) -> anyhow::Result<std::collections::BTreeSet<u64>> {
        let lane = Lane::new(address, account);
        let rows = lane.ask("SELECT id FROM regent_writes", Duration::from_secs(60)).await?;
        rows.iter().map(|row| Ok(row.get(0).context("a row without id")?.parse()?)).collect()
    }
}
