//! Load without a fault: pgbench at saturation, over the primary's own socket.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster::Cluster;

/// Sessions that write: far more than there are processors.
pub const CLIENTS: u32 = 24;

/// Makes pgbench's tables.
pub fn prepare(cluster: &Cluster, region: usize) -> anyhow::Result<()> {
    pgbench(cluster, region, &["-q", "-i", "-s", "5"]).map(drop)
}

/// Drops them.
pub fn clear(cluster: &Cluster, region: usize) -> anyhow::Result<()> {
    pgbench(cluster, region, &["-q", "-i", "-I", "d"]).map(drop)
}

/// Writes as fast as it goes for so many seconds. Returns the transactions per second.
pub fn saturate(cluster: &Cluster, region: usize, seconds: u64) -> anyhow::Result<f64> {
    let (clients, seconds) = (CLIENTS.to_string(), seconds.to_string());
    let said = pgbench(cluster, region, &["-n", "-c", &clients, "-j", "2", "-T", &seconds])?;
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.with_context(|| format!("pgbench says no tps: {said}"))
}

fn pgbench(cluster: &Cluster, region: usize, args: &[&str]) -> anyhow::Result<String> {
    let (dir, port) = (cluster.run_dir().region(region), cluster.postgres(region).port());
    let mut command = Command::new(cluster.postgres_bin().join("pgbench"));
    command.args(args).args(["-U", "postgres", "-p", &port.to_string(), "-h"]).arg(&dir).arg("postgres");
    command.current_dir(&dir);
    if let Some(account) = cluster.run_dir().user() {
        command.uid(account.uid).gid(account.gid);
    }
    let output = command.output().context("cannot run pgbench")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench {args:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
