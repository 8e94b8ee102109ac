//! Who writes and asks while a scenario is played: the writers of each region, and whom the scenario names beside them.

use std::net::SocketAddr;

use anyhow::Context;
use futures::TryStreamExt;
use tokio::task::JoinSet;
use tokio_postgres::{Config, NoTls};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::cluster::topology::REGIONS;
use crate::history::History;
use crate::scenario::Client;
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
    /// Starts the writers of every region, and these beside them; home is where the primary is.
    pub async fn start(
        cluster: &Cluster,
        account: &Account,
        history: &History,
        home: usize,
        beside: &[Client],
    ) -> anyhow::Result<Clients> {
        let stop = CancellationToken::new();
        let mut others = JoinSet::new();
        let mut writers: Vec<_> = (0..cluster.regions()).map(|region| cluster.writers(region)).collect();
        for client in beside {
            match client {
                Client::Stubborn => writers.push(workload::Clients {
                    region: REGIONS[home],
                    instances: vec![cluster.postgres(home)],
                    runtime: cluster.clients(home),
                }),
                Client::OpenSessions => {
                    for region in [home, (home + 1) % cluster.regions()] {
                        let (address, account) = (cluster.postgres_seen_from(region)[home], account.clone());
                        let opened = async move {
                            workload::open_session(address, &account, home, REGIONS[region]).await
                        };
                        // There, like everything it does later: a connection is where it was made.
                        let session = cluster.clients(region).spawn(opened).await??;
                        others.spawn_on(session.run(history.clone(), stop.clone()), &cluster.clients(region));
                    }
                }
                Client::NeverReads => {
                    let unread = never_reads(cluster.postgres(home), account.clone(), stop.clone());
                    others.spawn_on(unread, &cluster.clients(home));
                }
            }
        }
        let writers = Workload::start(writers, account, history);
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
