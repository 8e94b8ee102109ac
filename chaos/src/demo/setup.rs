//! From nothing to a group that is whole, with the role and the table of the writers in it.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use regent_core::replication::Mode;

use crate::cluster::admin::{Admin, View, insist, wait_for};
use crate::cluster::run_dir::Programs;
use crate::cluster::topology::{GROUP, REGIONS, RoundTrips};
use crate::cluster::{Cluster, Options};
use crate::terminal::Stage;
use crate::workload::{Account, Table};

/// initdb and two copies of it on a busy machine.
const WHOLE: Duration = Duration::from_secs(180);
/// The same for an answer of the nodes.
const ANSWER: Duration = Duration::from_secs(60);

/// Starts the regions, creates the group, waits until all stream, and lets the writers in.
pub async fn start(round_trips: RoundTrips) -> anyhow::Result<(Cluster, Account)> {
    start_with(Options::over_relays(round_trips)).await
}

/// The same, with every process under the shim of its region.
pub async fn start_under_shim(round_trips: RoundTrips) -> anyhow::Result<(Cluster, Account)> {
    let mut options = Options::over_relays(round_trips);
    options.shim = true;
    start_with(options).await
}

/// The same, as these say.
pub async fn start_with(options: Options) -> anyhow::Result<(Cluster, Account)> {
    let_in(Cluster::start_with(Programs::find()?, options)?).await
}

/// Sets the group's mode, and waits until it is in force.
pub async fn set_mode(cluster: &Cluster, mode: Mode) -> anyhow::Result<()> {
    let admin = Admin::of(cluster)?;
    insist("changing the mode", ANSWER, async || admin.set_mode(mode).await).await?;
    insist("the mode in force", ANSWER, async || admin.in_force().await).await
}

async fn let_in(mut cluster: Cluster) -> anyhow::Result<(Cluster, Account)> {
    match prepare(&mut cluster).await {
        Ok(account) => Ok((cluster, account)),
        Err(error) => {
            cluster.keep_files();
            Err(error).with_context(|| format!("logs are in {}", cluster.run_dir().path().display()))
        }
    }
}

async fn prepare(cluster: &mut Cluster) -> anyhow::Result<Account> {
    let (regions, apart) = (cluster.regions(), cluster.round_trips.words());
    let stage = Stage::begin(format!("{regions} regions, {apart} ms apart"));
    let (admin, ttl) = (Admin::of(cluster)?, cluster.ttl.or(cluster.round_trips.ttl()));
    tokio::select! {
        created = insist("creating the group", ANSWER, async || admin.create_group(ttl).await) => created?,
        died = watch_over(cluster) => died?,
    }
    stage.done(REGIONS[..regions].join(", "));

    let mut stage = Stage::begin("PostgreSQL in each, streaming");
    let view = wait_for(cluster, "all standbys stream", WHOLE, View::is_whole, |view| {
        stage.tell(format!("{} of {} stream", view.streaming, view.standbys));
    })
    .await?;
    stage.done(&view.forecast);
    let primary = view.primary.context("a whole group has a primary")?;
    let account = Account { user: "demo".into(), password: "demo".into(), database: "postgres".into() };
    let_writers_in(cluster, primary, &account)?;
    Ok(account)
}

/// Ends, with an error, when a process ends that should not.
async fn watch_over(cluster: &mut Cluster) -> anyhow::Result<()> {
    loop {
        cluster.check_alive()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A role and a table.
fn let_writers_in(cluster: &Cluster, primary: usize, account: &Account) -> anyhow::Result<()> {
    as_superuser(cluster, primary, &Table::let_in(account))
        .with_context(|| format!("cannot prepare group {GROUP} in {}", REGIONS[primary]))?;
    Ok(())
}

/// Runs SQL in a region as the superuser, who may only come in through the unix socket. Returns what it answers, without
/// headings. A server may accept and never answer: that is waited for 30 s.
pub fn as_superuser(cluster: &Cluster, region: usize, sql: &str) -> anyhow::Result<String> {
    let (dir, port) = (cluster.run_dir().region(region), cluster.postgres(region).port());
    let mut psql = Command::new("timeout");
    psql.arg("30").arg(cluster.postgres_bin().join("psql")).env("PGCONNECT_TIMEOUT", "5");
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
    psql.arg("-h").arg(&dir).args(["-p", &port.to_string(), "-c", sql]).current_dir(&dir);
    if let Some(account) = cluster.run_dir().user() {
        psql.uid(account.uid).gid(account.gid);
    }
    let output = psql.output().context("cannot run psql")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql in {}: {}: {said}", REGIONS[region], output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
