//! Who writes and asks while a scenario is played, beside the usual writers of each region.
//!
//! - A client at home that knows no other server than the one there, and goes on writing to it whatever happens.
//! - A session at home and one in another region that are open before anything happens, and commit every 50 ms through it;
//!   they wait for an answer however long it takes, and end with their connection.
//! - A client that has asked for much and never reads: its backend stands in the middle of a write to a full socket.

use std::net::SocketAddr;

use anyhow::Context;
use futures::TryStreamExt;
use tokio::task::JoinSet;
use tokio_postgres::{Config, NoTls};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::cluster::topology::REGIONS;
use crate::history::History;
use crate::workload::{self, Account, Workload};

/// Far more than sockets on both sides hold.
const MUCH: &str = "SELECT repeat('x', 8000) FROM generate_series(1, 1000000)";

/// All of them. They stop when this is dropped.
pub struct Clients {
    writers: Workload,
    stop: CancellationToken,
    others: JoinSet<()>,
}

impl Clients {
    /// Starts them.
    pub async fn start(
        cluster: &Cluster,
        account: &Account,
        history: &History,
        home: usize,
    ) -> anyhow::Result<Clients> {
        let stubborn = workload::Clients {
            region: REGIONS[home],
            instances: vec![cluster.postgres(home)],
            runtime: cluster.clients(home),
        };
        let stop = CancellationToken::new();
        let mut others = JoinSet::new();
        let far = (home + 1) % cluster.regions();
        for region in [home, far] {
            let address = cluster.postgres_seen_from(region)[home];
            let session = workload::open_session(address, account, home, REGIONS[region]).await?;
            others.spawn_on(session.run(history.clone(), stop.clone()), &cluster.clients(region));
        }
        others.spawn_on(
            never_reads(cluster.postgres(home), account.clone(), stop.clone()),
            &cluster.clients(home),
        );
        let followers = (0..cluster.regions()).map(|region| cluster.writers(region));
        let writers = Workload::start(followers.chain([stubborn]).collect(), account, history);
        Ok(Clients { writers, stop, others })
    }

    /// Stops them; what is not answered by then is unknown.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.writers.stop().await;
        while self.others.join_next().await.is_some() {}
    }
}

/// Asks for much, reads the first row, and then nothing more.
async fn never_reads(server: SocketAddr, account: Account, stop: CancellationToken) {
    // A server that does not let it in has one client less.
    let _ = stop.run_until_cancelled(hold_unread(server, &account)).await;
}

async fn hold_unread(server: SocketAddr, account: &Account) -> anyhow::Result<()> {
    let mut config = Config::new();
    config.host(server.ip().to_string()).port(server.port());
    config.user(&account.user).password(&account.password).dbname(&account.database);
    let (client, mut connection) = config.connect(NoTls).await?;
    let first = async {
        let rows = client.simple_query_raw(MUCH).await?;
        futures::pin_mut!(rows);
        rows.try_next().await?.context("no row")
    };
    tokio::select! {
        ended = &mut connection => ended?,
        first = first => drop(first?),
    }
    // Held, and not polled any more.
    std::future::pending::<()>().await;
    drop((client, connection));
    Ok(())
}
