//! Load without a fault: pgbench, over a server's own socket.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::cluster::run_dir::User;

/// Sessions that write: far more than there are processors.
pub const CLIENTS: u32 = 24;

/// Whom pgbench writes to.
pub struct Server {
    /// Where Postgres' programs are.
    pub bin: PathBuf,
    /// Where its socket is.
    pub socket_dir: PathBuf,
    /// Its port, part of the socket's name.
    pub port: u16,
    /// Who may come in there, if that is not the present account.
    pub user: Option<User>,
}

/// What pgbench says in the end.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// Transactions per second.
    pub tps: f64,
    /// How long one took, on average.
    pub latency_ms: f64,
}

impl Server {
    /// The instance of a region.
    pub fn of(cluster: &Cluster, region: usize) -> Server {
        Server {
            bin: cluster.postgres_bin().to_owned(),
            socket_dir: cluster.run_dir().region(region),
            port: cluster.postgres(region).port(),
            user: cluster.run_dir().user().cloned(),
        }
    }

    /// Makes pgbench's tables.
    pub fn prepare(&self, scale: u32) -> anyhow::Result<()> {
        self.pgbench(&["-q", "-i", "-s", &scale.to_string()]).map(drop)
    }

    /// Runs a built-in script with so many sessions for so many seconds.
    pub fn load(&self, script: &str, sessions: u32, seconds: u64) -> anyhow::Result<Said> {
        let jobs = sessions.min(2).to_string();
        let (sessions, seconds) = (sessions.to_string(), seconds.to_string());
        let said = self.pgbench(&["-n", "-b", script, "-c", &sessions, "-j", &jobs, "-T", &seconds])?;
        read(&said).with_context(|| format!("pgbench says no figures: {said}"))
    }

    /// What one statement returns, as text.
    pub fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let said = self.run("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])?;
        Ok(said.trim().to_owned())
    }

    fn pgbench(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("pgbench", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let (dir, port) = (path(&self.socket_dir), self.port.to_string());
        let mut command = Command::new(self.bin.join(program));
        command.args(args).args(["-U", "postgres", "-p", &port, "-h", dir, "postgres"]);
        command.current_dir(&self.socket_dir);
        if let Some(account) = &self.user {
            command.uid(account.uid).gid(account.gid);
        }
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {args:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn read(said: &str) -> Option<Said> {
    let after = |start: &str| {
        let rest = said.lines().find_map(|line| line.strip_prefix(start))?;
        rest.split(' ').next()?.parse().ok()
    };
    Some(Said { tps: after("tps = ")?, latency_ms: after("latency average = ")? })
}

fn path(path: &Path) -> &str {
    // The run's directory is named by this crate.
    path.to_str().unwrap_or_default()
}

/// Makes pgbench's tables.
pub fn prepare(cluster: &Cluster, region: usize) -> anyhow::Result<()> {
    Server::of(cluster, region).prepare(5)
}

/// Drops them.
pub fn clear(cluster: &Cluster, region: usize) -> anyhow::Result<()> {
    Server::of(cluster, region).pgbench(&["-q", "-i", "-I", "d"]).map(drop)
}

/// Writes as fast as it goes for so many seconds. Returns the transactions per second.
pub fn saturate(cluster: &Cluster, region: usize, seconds: u64) -> anyhow::Result<f64> {
    Ok(Server::of(cluster, region).load("tpcb-like", CLIENTS, seconds)?.tps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let said = "number of transactions actually processed: 9\nlatency average = 1.234 ms\n\
                    initial connection time = 3.0 ms\ntps = 810.5 (without initial connection time)\n";
        let read = read(said).unwrap();
        assert_eq!((read.tps, read.latency_ms), (810.5, 1.234));
        assert!(super::read("pgbench: error").is_none());
    }
}
