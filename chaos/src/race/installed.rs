//! What `deploy/get-peers` has put beside the programs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// Nobody to race with.
#[derive(Debug, thiserror::Error)]
#[error("not installed: run ./deploy/get-peers")]
pub struct NotInstalled;

/// The directory with the peers' programs.
#[derive(Clone, Debug)]
pub struct Peers {
    dir: PathBuf,
}

impl Peers {
    /// In `REGENT_PEERS`, else in `peers` of the build directory; none if something is missing there.
    pub fn find() -> anyhow::Result<Option<Peers>> {
        let dir = match std::env::var_os("REGENT_PEERS") {
            Some(dir) => PathBuf::from(dir),
            None => {
                let own = std::env::current_exe()?;
                let built = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
                built.context("a program lives in a directory")?.join("../peers")
            }
        };
        let Ok(dir) = dir.canonicalize() else { return Ok(None) };
        let peers = Peers { dir };
        let programs = [
            peers.patroni(),
            peers.etcd(),
            peers.etcdctl(),
            peers.pg_autoctl(),
            peers.bin().join("postgres"),
        ];
        Ok(programs.iter().all(|program| program.exists()).then_some(peers))
    }

    /// A copy of Debian's PostgreSQL, with pg_auto_failover's extension in it.
    pub fn bin(&self) -> PathBuf {
        self.dir.join("usr/lib/postgresql/15/bin")
    }

    /// Patroni's agent.
    pub fn patroni(&self) -> PathBuf {
        self.dir.join("patroni/bin/patroni")
    }

    /// Its command.
    pub fn patronictl(&self) -> PathBuf {
        self.dir.join("patroni/bin/patronictl")
    }

    /// Patroni's coordinator here.
    pub fn etcd(&self) -> PathBuf {
        self.dir.join("usr/bin/etcd")
    }

    /// Its command.
    pub fn etcdctl(&self) -> PathBuf {
        self.dir.join("usr/bin/etcdctl")
    }

    /// pg_auto_failover's agent, monitor and command.
    pub fn pg_autoctl(&self) -> PathBuf {
        self.dir.join("usr/bin/pg_autoctl")
    }

    /// What each says of itself.
    pub fn versions(&self) -> anyhow::Result<Vec<String>> {
        let first = |program: PathBuf, argument: &str| {
            let said = Command::new(&program).arg(argument).output();
            let said = said.with_context(|| format!("cannot run {}", program.display()))?;
            let said = String::from_utf8_lossy(&said.stdout);
            Ok::<String, anyhow::Error>(said.lines().next().unwrap_or_default().to_owned())
        };
        Ok(vec![
            first(self.patroni(), "--version")?,
            first(self.etcd(), "--version")?.replace(" Version:", ""),
            first(self.pg_autoctl(), "version")?.replace("pg_autoctl version", "pg_auto_failover"),
            first(self.bin().join("postgres"), "--version")?,
        ])
    }
}
