//! Patroni 4 with etcd: an agent in each region, which holds a lease in etcd or does not, and a member of etcd in each.

mod config;
mod etcd;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::contestant::{Contestant, Look, Speed};
use super::fault::{Fault, HOME};
use super::installed::Peers;
use super::site::{NUMBER, Site};
use super::wait;
use crate::cluster::land::Land;
use crate::cluster::topology::{GROUP, instance};

/// See the module.
pub struct Patroni {
    site: Site,
}

impl Patroni {
    /// From nothing to three servers that stream.
    pub async fn start(land: &Arc<Land>, peers: Peers, speed: Speed) -> anyhow::Result<Patroni> {
        let mut all = Patroni { site: Site::new(land, peers)? };
        match all.set_up(speed).await {
            Ok(()) => Ok(all),
            Err(error) => Err(all.site.not_started(error)),
        }
    }

    async fn set_up(&mut self, speed: Speed) -> anyhow::Result<()> {
        for region in 0..NUMBER {
            let text = serde_json::to_string_pretty(&config::of(&self.site, region, speed))?;
            fs::write(self.config(region), text)?;
            etcd::start(&mut self.site, region)?;
        }
        wait::until("a leader of etcd", || Ok(etcd::leader(&self.site)?.is_some())).await?;
        self.start_agent(HOME)?;
        let primary_serves = || Ok(self.site.psql(HOME, "SELECT pg_is_in_recovery()")? == "f");
        wait::until("a primary", primary_serves).await?;
        (1..NUMBER).try_for_each(|region| self.start_agent(region))
    }

    fn config(&self, region: usize) -> PathBuf {
        self.site.dir(region).join("patroni.yml")
    }

    fn start_agent(&mut self, region: usize) -> anyhow::Result<()> {
        let (program, config) = (self.site.peers.patroni(), self.config(region).display().to_string());
        self.site.start(region, "agent", &program, &[&config])
    }

    /// The agents' own view, by any of them: JSON of all members.
    fn members(&self) -> anyhow::Result<Vec<Member>> {
        let said = self.ctl(&["list", GROUP, "--format", "json"])?;
        serde_json::from_str(&said).with_context(|| format!("patronictl list: {said}"))
    }

    fn ctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let config = self.config(NUMBER - 1).display().to_string();
        let all: Vec<&str> = ["-c", &config].into_iter().chain(args.iter().copied()).collect();
        self.site.ask(&self.site.peers.patronictl(), &all)
    }

    fn switchover(&self, from: usize, to: Option<usize>) -> anyhow::Result<()> {
        let (from, to) = (instance(from), to.map(instance));
        let mut args = vec!["switchover", GROUP, "--leader", &from, "--force"];
        if let Some(to) = &to {
            args.extend(["--candidate", to]);
        }
        self.ctl(&args).map(drop)
    }
}

/// What `patronictl list` says of one.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    role: String,
    state: String,
}

impl Member {
    fn is_well(&self) -> bool {
        matches!((self.role.as_str(), self.state.as_str()), ("Leader", "running") | ("Replica", "streaming"))
    }
}

impl Contestant for Patroni {
    fn look(&mut self) -> anyhow::Result<Look> {
        let mut look = self.site.look()?;
        if look.missing.is_some() {
            return Ok(look);
        }
        look.leader = etcd::leader(&self.site)?;
        let well = self.members()?.iter().filter(|member| member.is_well()).count();
        if look.leader.is_none() || well != NUMBER {
            look.missing = Some(format!("{well} members of {NUMBER} are well"));
        }
        Ok(look)
    }

    fn arrange(&mut self, fault: Fault, look: &Look) -> anyhow::Result<()> {
        if let Some(primary) = look.primary.filter(|primary| *primary != HOME) {
            self.switchover(primary, Some(HOME))?;
        }
        match look.leader {
            Some(leader) if leader != fault.leader() => etcd::move_leader(&self.site, leader, fault.leader()),
            _ => Ok(()),
        }
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Switchover => self.switchover(HOME, None),
            other => self.site.strike(other),
        }
    }

    fn undo(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.site.undo(fault)?;
        if fault.kills_region() {
            etcd::start(&mut self.site, HOME)?;
        }
        if fault.kills_region() || fault == Fault::Agent {
            self.start_agent(HOME)?;
        }
        Ok(())
    }

    fn postgres(&self) -> Vec<SocketAddr> {
        self.site.postgres()
    }

    fn as_superuser(&self, region: usize, sql: &str) -> anyhow::Result<String> {
        self.site.psql(region, sql)
    }

    fn keep_files(&mut self) -> PathBuf {
        self.site.keep_files()
    }
}

/// How a program is named in an argument.
fn text(path: &Path) -> String {
    path.display().to_string()
}
