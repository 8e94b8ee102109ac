//! pg_auto_failover: a keeper in each region, and one monitor, which decides alone and cannot be moved.

mod config;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::contestant::{Contestant, Look, Speed};
use super::fault::{ELSEWHERE, Fault, HOME};
use super::installed::Peers;
use super::site::{NUMBER, Site};
use super::wait;
use crate::cluster::land::Land;
use crate::cluster::topology::instance;

/// The monitor has a Postgres of its own.
const MONITOR_PORT: u16 = 15_441;

/// See the module.
pub struct AutoFailover {
    site: Site,
    /// Region of the monitor.
    monitor: usize,
    speed: Speed,
}

/// The monitor is the coordinator and its own leader. It stands where the loss of the primary's region spares it, but for the
/// one fault that is meant to take the coordinator along.
fn place_of_monitor(fault: Fault) -> usize {
    if fault == Fault::Region { HOME } else { ELSEWHERE }
}

impl AutoFailover {
    /// From nothing to three keepers.
    pub async fn start(
        land: &Arc<Land>,
        peers: Peers,
        speed: Speed,
        fault: Fault,
    ) -> anyhow::Result<AutoFailover> {
        let monitor = place_of_monitor(fault);
        let mut all = AutoFailover { site: Site::new(land, peers)?, monitor, speed };
        match all.set_up().await {
            Ok(()) => Ok(all),
            Err(error) => Err(all.site.not_started(error)),
        }
    }

    async fn set_up(&mut self) -> anyhow::Result<()> {
        self.create_monitor()?;
        self.start_monitor()?;
        wait::until("a monitor", || self.states().map(|_| true)).await?;
        for region in 0..NUMBER {
            self.create_keeper(region)?;
            self.start_agent(region)?;
            let primary_serves = || Ok(self.site.psql(HOME, "SELECT pg_is_in_recovery()")? == "f");
            wait::until("a primary", primary_serves).await?;
            wait::until("a settled group", || Ok(self.unsettled(region + 1)?.is_none())).await?;
        }
        Ok(())
    }

    fn autoctl(&self, region: usize, args: &[&str]) -> anyhow::Result<String> {
        self.site.tool(region, &self.site.peers.pg_autoctl(), args)
    }

    fn monitor_data(&self) -> PathBuf {
        self.site.dir(self.monitor).join("monitor")
    }

    /// How the monitor is reached from everywhere.
    fn uri(&self) -> String {
        format!("postgres://autoctl_node@{}:{MONITOR_PORT}/pg_auto_failover", self.site.address(self.monitor))
    }

    fn create_monitor(&self) -> anyhow::Result<()> {
        let (data, pg_ctl) = (self.monitor_data().display().to_string(), self.pg_ctl());
        let (host, port) = (self.site.address(self.monitor).to_string(), MONITOR_PORT.to_string());
        let mut args = vec!["create", "monitor", "--pgdata", &data, "--pgctl", &pg_ctl, "--pgport", &port];
        args.extend(["--hostname", &host, "--auth", "trust", "--no-ssl"]);
        self.autoctl(self.monitor, &args)?;
        config::extend(&self.monitor_data(), &config::monitor(self.speed))
    }

    fn create_keeper(&self, region: usize) -> anyhow::Result<()> {
        let (data, pg_ctl) = (self.site.data(region).display().to_string(), self.pg_ctl());
        let (host, port) = (self.site.address(region).to_string(), self.site.port(region).to_string());
        let (name, monitor) = (instance(region), self.uri());
        let mut args = vec!["create", "postgres", "--pgdata", &data, "--pgctl", &pg_ctl, "--pgport", &port];
        args.extend(["--hostname", &host, "--name", &name, "--monitor", &monitor]);
        // Asynchronous, as everybody's here; by default the primary would wait for one standby of the two.
        args.extend(["--auth", "trust", "--no-ssl", "--replication-quorum", "false"]);
        self.autoctl(region, &args)?;
        config::extend(&self.site.data(region), &config::server())?;
        for (name, value) in config::keeper(self.speed) {
            self.autoctl(region, &["config", "set", name, value, "--pgdata", &data])?;
        }
        Ok(())
    }

    fn pg_ctl(&self) -> String {
        self.site.peers.bin().join("pg_ctl").display().to_string()
    }

    fn start_monitor(&mut self) -> anyhow::Result<()> {
        let (program, data) = (self.site.peers.pg_autoctl(), self.monitor_data().display().to_string());
        self.site.start(self.monitor, "monitor-agent", &program, &["run", "--pgdata", &data])
    }

    fn start_agent(&mut self, region: usize) -> anyhow::Result<()> {
        let (program, data) = (self.site.peers.pg_autoctl(), self.site.data(region).display().to_string());
        self.site.start(region, "agent", &program, &["run", "--pgdata", &data])
    }

    /// Every keeper as the monitor sees it: reported and assigned state.
    fn states(&self) -> anyhow::Result<Vec<[String; 2]>> {
        const HOW: &str = "SELECT reportedstate, goalstate FROM pgautofailover.node";
        let said = self
            .site
            .ask(&self.site.peers.bin().join("psql"), &[&self.uri(), "-X", "-A", "-t", "-c", HOW])?;
        let state =
            |line: &str| line.split_once('|').map(|(reported, goal)| [reported.to_owned(), goal.to_owned()]);
        said.lines().map(|line| state(line).with_context(|| format!("the monitor says {said}"))).collect()
    }

    fn unsettled(&self, expected: usize) -> anyhow::Result<Option<String>> {
        Ok(unsettled(&self.states()?, expected))
    }
}

/// What is missing until one is primary and all others are its secondaries.
fn unsettled(states: &[[String; 2]], expected: usize) -> Option<String> {
    let settled = |state: &str| states.iter().filter(|pair| pair.iter().all(|one| one == state)).count();
    let primaries = settled("primary") + settled("single");
    let fine = (primaries, settled("secondary")) == (1, expected - 1);
    let all: Vec<String> = states.iter().map(|[reported, goal]| format!("{reported} to be {goal}")).collect();
    (!fine).then(|| all.join(", "))
}

impl Contestant for AutoFailover {
    fn look(&mut self) -> anyhow::Result<Look> {
        let mut look = self.site.look()?;
        look.leader = Some(self.monitor);
        look.missing = match look.missing {
            None => self.unsettled(NUMBER)?,
            missing => missing,
        };
        Ok(look)
    }

    fn fits(&self, fault: Fault) -> bool {
        self.monitor == place_of_monitor(fault)
    }

    fn leader_moves(&self) -> bool {
        false
    }

    fn arrange(&mut self, _fault: Fault, look: &Look) -> anyhow::Result<()> {
        if look.primary == Some(HOME) {
            return Ok(());
        }
        let args = ["perform", "promotion", "--monitor", &self.uri(), "--name", &instance(HOME)];
        self.site.ask(&self.site.peers.pg_autoctl(), &args).map(drop)
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Switchover => {
                let args = ["perform", "switchover", "--monitor", &self.uri(), "--group", "0"];
                self.site.ask(&self.site.peers.pg_autoctl(), &args).map(drop)
            }
            other => self.site.strike(other),
        }
    }

    fn undo(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.site.undo(fault)?;
        if fault.kills_region() && self.monitor == HOME {
            self.start_monitor()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_settled_when_everybody_is_what_he_is_to_be() {
        let states = |all: &[(&str, &str)]| -> Vec<[String; 2]> {
            all.iter().map(|(a, b)| [(*a).to_owned(), (*b).to_owned()]).collect()
        };
        assert_eq!(unsettled(&states(&[("single", "single")]), 1), None);
        let three = [("secondary", "secondary"), ("primary", "primary"), ("secondary", "secondary")];
        assert_eq!(unsettled(&states(&three), 3), None);
        let waiting = [("primary", "primary"), ("catchingup", "secondary")];
        assert_eq!(
            unsettled(&states(&waiting), 2).as_deref(),
            Some("primary to be primary, catchingup to be secondary")
        );
        assert!(unsettled(&states(&three[..2]), 3).is_some(), "one is missing");
    }

    #[test]
    fn the_monitor_dies_with_the_region_only_where_the_coordinator_is_meant_to() {
        let at_home = Fault::ALL.into_iter().filter(|fault| place_of_monitor(*fault) == HOME);
        assert_eq!(at_home.collect::<Vec<_>>(), [Fault::Region]);
    }
}
