//! Whatever lives in a region, by name: killed, brought back, stopped in its tracks, and let go on.

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::NothingThere;
use super::process::Loss;
use crate::clock::now_ns;
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process, processes};

/// What a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// `regentd`
    Node,
    /// `regent-agent`
    Agent,
    /// Postgres' first process: its children live on for a while.
    Postmaster,
    /// One session of a client: Postgres ends all others itself.
    Backend,
    /// The process of a standby that replays, and that ends recovery when it is promoted.
    Startup,
    /// All of Postgres.
    Postgres,
    /// Everything in the region; its links are cut as well when it is killed.
    Region,
}

impl Cluster {
    /// Kills it.
    pub fn kill(&mut self, region: usize, victim: Victim) -> anyhow::Result<Loss> {
        match victim {
            Victim::Node => self.kill_process(region, Process::Node),
            Victim::Agent => self.kill_process(region, Process::Agent),
            Victim::Postgres => self.kill_postgres(region),
            Victim::Region => self.kill_region(region),
            Victim::Postmaster | Victim::Backend | Victim::Startup => {
                self.signal(region, victim, Signal::SIGKILL)
            }
        }
    }

    /// Brings back what was killed. A Postgres is brought back by its agent, without being asked; what is in a region that is lost
    /// comes back with it.
    pub fn revive(&mut self, region: usize, victim: Victim) -> anyhow::Result<()> {
        match victim {
            Victim::Node | Victim::Agent if self.regions[region].lost => Ok(()),
            Victim::Node => self.start_process(region, Process::Node),
            Victim::Agent => self.start_process(region, Process::Agent),
            Victim::Region => self.restore_region(region),
            Victim::Postgres | Victim::Postmaster | Victim::Backend | Victim::Startup => Ok(()),
        }
    }

    /// Stops it in its tracks: it lives, and knows nothing of it. Its links are as they were, and the kernel answers for it.
    pub fn freeze(&self, region: usize, victim: Victim) -> anyhow::Result<Loss> {
        if victim == Victim::Region {
            let at_ns = now_ns();
            // Also those that begin meanwhile.
            let processes = processes::signal_all_under(&self.run.region(region), Signal::SIGSTOP)?;
            return Ok(Loss { at_ns, processes });
        }
        self.signal(region, victim, Signal::SIGSTOP)
    }

    /// Lets it go on, and with it everything in the region.
    pub fn thaw(&self, region: usize) -> anyhow::Result<()> {
        processes::signal_all_under(&self.run.region(region), Signal::SIGCONT).map(drop)
    }

    fn signal(&self, region: usize, victim: Victim, signal: Signal) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        let pids = self.pids(region, victim)?;
        if pids.is_empty() {
            return Err(NothingThere { what: format!("{victim:?}"), region: REGIONS[region] }.into());
        }
        for pid in &pids {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        Ok(Loss { at_ns, processes: pids.len() })
    }

    /// Who that is now.
    pub fn pids(&self, region: usize, victim: Victim) -> anyhow::Result<Vec<i32>> {
        let of = |which| self.pid(region, which).map(|pid| pid as i32).into_iter().collect();
        Ok(match victim {
            Victim::Node => of(Process::Node),
            Victim::Agent => of(Process::Agent),
            Victim::Postmaster => self.postmaster(region)?.into_iter().collect(),
            Victim::Backend => self.children(region, is_session)?.into_iter().take(1).collect(),
            Victim::Startup => self.children(region, is_startup)?,
            Victim::Postgres => processes::under(&self.data_dir(region))?.into_iter().collect(),
            Victim::Region => processes::under(&self.run.region(region))?.into_iter().collect(),
        })
    }

    /// Postgres' processes with such a title.
    fn children(&self, region: usize, of: fn(&str) -> bool) -> anyhow::Result<Vec<i32>> {
        let all = processes::under(&self.data_dir(region)).context("cannot look at what Postgres runs")?;
        Ok(all.into_iter().filter(|pid| of(&title(*pid))).collect())
    }
}

/// What a process calls itself.
fn title(pid: i32) -> String {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&title).trim_end_matches('\0').to_owned()
}

/// `postgres: NAME: USER DATABASE ADDRESS(PORT) STATE`, of one that came over the network; a WAL sender has no database.
fn is_session(title: &str) -> bool {
    let Some(rest) = title.strip_prefix("postgres: ") else { return false };
    let words: Vec<&str> = rest.split_whitespace().skip_while(|word| word.ends_with(':')).collect();
    words.first() != Some(&"walsender")
        && words.get(2).is_some_and(|from| from.ends_with(')') && from.contains('('))
}

/// `postgres: NAME: startup recovering 000000010000000000000003`.
fn is_startup(title: &str) -> bool {
    let Some(rest) = title.strip_prefix("postgres: ") else { return false };
    rest.split_whitespace().find(|word| !word.ends_with(':')) == Some("startup")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_from_the_rest_of_postgres() {
        let cases = [
            ("postgres: orders-us-east: demo postgres 10.77.2.1(41320) idle", true),
            ("postgres: demo postgres 127.0.0.1(41320) INSERT waiting", true),
            ("postgres: orders-us-east: checkpointer ", false),
            ("postgres: orders-us-east: walwriter ", false),
            ("postgres: orders-us-east: walsender regent 10.77.2.1(41322) streaming 0/3000148", false),
            ("postgres: postgres postgres [local] idle", false),
            ("/usr/lib/postgresql/15/bin/postgres -D /tmp/x", false),
            ("", false),
        ];
        for (title, expected) in cases {
            assert_eq!(is_session(title), expected, "{title}");
            assert!(!is_startup(title), "{title}");
        }
        assert!(is_startup("postgres: orders-us-west: startup recovering 000000010000000000000003"));
        assert!(is_startup("postgres: startup "));
    }
}
