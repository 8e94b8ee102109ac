//! Where a peer runs: a directory in each region with one directory for each of its programs, and the faults that need to know no
//! more of it than that. Whatever is started works below its region's directory, as everywhere in [`crate::cluster`].

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use regent_client::postgres::DEFAULTS;

use super::contestant::Look;
use super::fault::{Fault, HOME};
use super::installed::Peers;
use crate::cluster::land::Land;
use crate::cluster::run_dir::{Programs, RunDir};
use crate::cluster::topology::REGIONS;
use crate::cluster::ways::Ways;
use crate::cluster::{ending, processes};

/// How many regions there are.
pub const NUMBER: usize = 3;
/// Where the first Postgres listens, the others following: pg_auto_failover's keep their sockets in one directory, which has room
/// for one of a port.
const POSTGRES_PORT: u16 = 15_431;
/// Where commands are run that have to reach everybody: no fault is there.
const DESK: usize = 2;
/// A command that takes longer has failed.
const PATIENCE_S: &str = "60";

/// What every server is given beside what Regent gives its own.
const COMMON: [(&str, &str); 4] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "128MB"),
    // What is killed leaves its shared memory in its data directory.
    ("dynamic_shared_memory_type", "mmap"),
];

/// The settings of every server: see `docs/race.md`. What is written to the log for replicas each chooses for itself.
pub fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMON.into_iter().chain(DEFAULTS).filter(|(name, _)| *name != "wal_level")
}

/// The regions' directories, and the programs.
pub struct Site {
    // Dropped in this order: the directory at last.
    children: Vec<Child>,
    run: RunDir,
    land: Arc<Land>,
    pub peers: Peers,
}

impl Site {
    /// Empty.
    pub fn new(land: &Arc<Land>, peers: Peers) -> anyhow::Result<Site> {
        let run = RunDir::create(&Programs::find()?, NUMBER)?;
        let site = Site { children: Vec::new(), run, land: land.clone(), peers };
        let programs = [site.peers.patroni(), site.peers.pg_autoctl()];
        for program in programs {
            let said = site.here(&program, &["--version"])?.output()?;
            let why = String::from_utf8_lossy(&said.stderr);
            ensure!(said.status.success(), "{} cannot be run by another user: {why}", program.display());
        }
        Ok(site)
    }

    /// Everything of a region is in here.
    pub fn dir(&self, region: usize) -> PathBuf {
        self.run.region(region)
    }

    /// Its server's data, which the server works in.
    pub fn data(&self, region: usize) -> PathBuf {
        self.dir(region).join("postgres")
    }

    /// Its one address.
    pub fn address(&self, region: usize) -> Ipv4Addr {
        self.land.region(region).address()
    }

    /// Every Postgres.
    pub fn postgres(&self) -> Vec<SocketAddr> {
        (0..NUMBER).map(|region| (self.address(region), self.port(region)).into()).collect()
    }

    /// Where its Postgres listens.
    pub fn port(&self, region: usize) -> u16 {
        POSTGRES_PORT + region as u16
    }

    /// Starts a program in a region, in a directory of its own below the region's, where its log is as well.
    pub fn start(&mut self, region: usize, name: &str, program: &Path, args: &[&str]) -> anyhow::Result<()> {
        let dir = self.dir(region).join(name);
        self.run.make(&dir)?;
        let mut command = self.in_region(region, program)?;
        command.args(args);
        let log = self.dir(region).join(format!("{name}.log"));
        // Those that were killed meanwhile.
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        self.children.push(processes::spawn_command(
            command,
            &dir,
            processes::append(&log)?,
            self.run.user(),
        )?);
        Ok(())
    }

    /// Runs a command of theirs to its end, where everybody can be reached, and returns what it says.
    pub fn ask(&self, program: &Path, args: &[&str]) -> anyhow::Result<String> {
        self.tool(DESK, program, args)
    }

    /// The same in a region.
    pub fn tool(&self, region: usize, program: &Path, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.in_region(region, Path::new("timeout"))?;
        command.args(["-k", "1", PATIENCE_S]).arg(program).args(args).current_dir(self.dir(region));
        said(command)
    }

    /// As superuser, from within the region, which needs no link.
    pub fn psql(&self, region: usize, sql: &str) -> anyhow::Result<String> {
        let (host, port) = (self.address(region).to_string(), self.port(region).to_string());
        let to = ["-h", &host, "-p", &port, "-U", "postgres", "-d", "postgres"];
        let how = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let args: Vec<&str> = to.into_iter().chain(how).collect();
        let said = self.tool(region, &self.peers.bin().join("psql"), &args);
        said.with_context(|| format!("psql in {}", REGIONS[region]))
    }

    /// By what the servers say: one of them is primary and the others stream from it.
    pub fn look(&self) -> anyhow::Result<Look> {
        const HOW: &str = "SELECT NOT pg_is_in_recovery(), \
            (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'), \
            (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming')";
        let said = (0..NUMBER).map(|region| self.psql(region, HOW)).collect::<Result<Vec<_>, _>>()?;
        Ok(judge(&said))
    }

    /// What is done to everybody in the same way.
    pub fn strike(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Region | Fault::RegionAlone => {
                self.land.cut(&Ways::Around(HOME))?;
                processes::kill_all_under(&self.dir(HOME))?;
            }
            Fault::Frozen => drop(processes::signal_all_under(&self.dir(HOME), Signal::SIGSTOP)?),
            Fault::Agent => drop(processes::kill_all_under(&self.dir(HOME).join("agent"))?),
            Fault::Cut => self.land.cut(&Ways::Around(HOME))?,
            Fault::Hung => drop(processes::signal_all_under(&self.data(HOME), Signal::SIGSTOP)?),
            Fault::Switchover => bail!("everybody has a way of its own to be told to move the primary"),
        }
        Ok(())
    }

    /// Undoes it, but for starting again what was killed.
    pub fn undo(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Region | Fault::RegionAlone | Fault::Cut => self.land.heal(&Ways::Around(HOME))?,
            Fault::Frozen => drop(processes::signal_all_under(&self.dir(HOME), Signal::SIGCONT)?),
            Fault::Hung => drop(processes::signal_all_under(&self.data(HOME), Signal::SIGCONT)?),
            Fault::Agent | Fault::Switchover => {}
        }
        Ok(())
    }

    /// Leaves the files where they are.
    pub fn keep_files(&mut self) -> PathBuf {
        self.run.keep();
        self.run.path().to_owned()
    }

    /// Somebody will want to read why.
    pub fn not_started(&mut self, why: anyhow::Error) -> anyhow::Error {
        why.context(format!("its files are in {}", self.keep_files().display()))
    }

    fn in_region(&self, region: usize, program: &Path) -> anyhow::Result<Command> {
        let ids = self.run.user().map(|user| (user.uid, user.gid));
        let mut command = self.land.region(region).daemon(program, ids)?;
        self.environment(&mut command, region);
        Ok(command)
    }

    /// A program that needs no network.
    fn here(&self, program: &Path, args: &[&str]) -> anyhow::Result<Command> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        if let Some(user) = self.run.user() {
            command.uid(user.uid).gid(user.gid);
        }
        command.args(args).current_dir(self.run.path());
        self.environment(&mut command, DESK);
        Ok(command)
    }

    /// Nothing of the harness's own environment decides what they do.
    fn environment(&self, command: &mut Command, region: usize) {
        let path = [self.peers.bin(), "/usr/bin".into(), "/bin".into()];
        let path = std::env::join_paths(path).unwrap_or_default();
        let dir = self.dir(region);
        let all: [(&str, &OsStr); 7] = [
            ("PATH", &path),
            ("LC_ALL", OsStr::new("C.UTF-8")),
            ("HOME", dir.as_os_str()),
            // Where pg_autoctl keeps what it knows, whatever directory it works in.
            ("XDG_CONFIG_HOME", dir.as_os_str()),
            ("XDG_DATA_HOME", dir.as_os_str()),
            ("XDG_RUNTIME_DIR", dir.as_os_str()),
            ("PGCONNECT_TIMEOUT", OsStr::new("5")),
        ];
        command.env_clear().envs(all);
    }
}

/// Whoever would start something again is ended first, and no shared memory is left.
impl Drop for Site {
    fn drop(&mut self) {
        let _ = ending::end_all(self.run.path());
        self.children.drain(..).for_each(|child| processes::end(&mut Some(child)));
    }
}

fn said(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    ensure!(output.status.success(), "{}: {}{}", args.join(" "), out.trim(), err.trim());
    Ok(out.trim().to_owned())
}

/// A line of each server: whether it is primary, how many stream from it, and from how many it streams.
fn judge(said: &[String]) -> Look {
    let fields: Vec<Vec<&str>> = said.iter().map(|line| line.split('|').collect()).collect();
    let is_primary = |line: &&Vec<&str>| line.first() == Some(&"t");
    let primaries = fields.iter().filter(is_primary).count();
    let primary = fields.iter().position(|line| is_primary(&line)).filter(|_| primaries == 1);
    let senders = primary.and_then(|primary| fields[primary].get(1)?.parse::<usize>().ok()).unwrap_or(0);
    let receivers = fields.iter().filter(|line| !is_primary(line) && line.get(2) == Some(&"1")).count();
    let missing = match (primaries, senders.min(receivers)) {
        (1, streaming) if streaming == said.len() - 1 => None,
        (1, streaming) => Some(format!("{streaming} of {} standbys stream", said.len() - 1)),
        (several, _) => Some(format!("{several} servers are primary")),
    };
    Look { primary, leader: None, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_servers_are_well_when_two_stream_from_the_third() {
        let look = |said: [&str; 3]| judge(&said.map(str::to_owned));
        let well = look(["f|0|1", "t|2|0", "f|0|1"]);
        assert_eq!((well.primary, well.missing), (Some(1), None));
        let one = look(["f|0|0", "t|2|0", "f|0|1"]);
        assert_eq!((one.primary, one.missing.as_deref()), (Some(1), Some("1 of 2 standbys stream")));
        let two = look(["t|0|0", "t|1|0", "f|0|1"]);
        assert_eq!((two.primary, two.missing.as_deref()), (None, Some("2 servers are primary")));
        assert_eq!(look(["f|0|0", "f|0|0", "f|0|0"]).missing.as_deref(), Some("0 servers are primary"));
    }
}
