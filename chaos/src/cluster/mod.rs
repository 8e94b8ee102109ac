//! Three regions of real processes on one machine: in each a node, an agent and its Postgres, joined only by the
//! links of a [`Wan`]. Nothing is left behind, whatever ends the run: see [`run_dir`].

pub mod admin;
mod config;
pub mod ending;
pub mod evidence;
pub mod processes;
pub mod run_dir;
pub mod topology;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;

use crate::clock::now_ns;
use crate::shim::{Library, Shim};
use crate::wan::{LinkSpec, Wan};
use config::RegionConfig;
use run_dir::{Programs, RunDir};
use topology::{REGIONS, RoundTrips, address, instance};

/// Ports are taken below the range that the kernel gives to outgoing connections, so that a server which is killed
/// finds its port free when it comes back.
const PORTS: std::ops::Range<u16> = 15_000..31_000;

/// The running regions. Dropping it kills every process.
pub struct Cluster {
    // Dropped in this order: first what writes into the run's directory, at last the directory.
    regions: Vec<Region>,
    wan: Wan,
    run: RunDir,
    programs: Programs,
    /// As they were asked for.
    pub round_trips: RoundTrips,
}

struct Region {
    node: SocketAddr,
    postgres: SocketAddr,
    /// Each node and each instance as seen from here: through a link, the own ones directly.
    seen_nodes: Vec<SocketAddr>,
    seen_postgres: Vec<SocketAddr>,
    processes: [Option<Child>; 2],
    lost: bool,
    shim: Option<Shim>,
}

/// A region that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// When its links were cut; its processes were killed right after.
    pub at_ns: u64,
    /// How many processes there were.
    pub processes: usize,
}

impl Cluster {
    /// Starts everything; returns as soon as the processes run, not when they are ready.
    pub fn start(programs: Programs, round_trips: RoundTrips) -> anyhow::Result<Cluster> {
        Cluster::make(programs, round_trips)?.begin()
    }

    /// The same, with every process under the shim of its region.
    pub fn start_under_shim(programs: Programs, round_trips: RoundTrips) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::make(programs, round_trips)?;
        let library = Library::compile(&cluster.run.path().join("bin"))?;
        for region in 0..REGIONS.len() {
            let file = cluster.run.region(region).join("shim");
            cluster.regions[region].shim = Some(Shim::new(&library, file)?);
        }
        cluster.begin()
    }

    fn make(programs: Programs, round_trips: RoundTrips) -> anyhow::Result<Cluster> {
        let (run, wan) = (RunDir::create(&programs)?, Wan::start()?);
        let mut taken = BTreeSet::new();
        let mut servers = Vec::new();
        for region in 0..REGIONS.len() {
            servers.push((free_port(region, &mut taken)?, free_port(region, &mut taken)?));
        }
        let mut regions = Vec::new();
        for (from, (node, postgres)) in servers.iter().enumerate() {
            let see = |to: usize, target: SocketAddr| open_link(&wan, &round_trips, from, to, target);
            let seen = |pick: fn(&(SocketAddr, SocketAddr)) -> SocketAddr| {
                servers
                    .iter()
                    .enumerate()
                    .map(|(to, pair)| see(to, pick(pair)))
                    .collect::<Result<Vec<_>, _>>()
            };
            let (seen_nodes, seen_postgres) = (seen(|pair| pair.0)?, seen(|pair| pair.1)?);
            let (node, postgres) = (*node, *postgres);
            regions.push(Region {
                node,
                postgres,
                seen_nodes,
                seen_postgres,
                processes: [None, None],
                lost: false,
                shim: None,
            });
        }
        Ok(Cluster { regions, wan, run, programs, round_trips })
    }

    fn begin(mut self) -> anyhow::Result<Cluster> {
        for region in 0..REGIONS.len() {
            self.write_config(region)?;
            self.start_processes(region)?;
        }
        Ok(self)
    }

    /// What the processes of a region are told, if the cluster was started under the shim.
    pub fn shim(&self, region: usize) -> anyhow::Result<&Shim> {
        self.regions[region].shim.as_ref().context("the cluster was not started under the shim")
    }

    /// Every link of the region's agent to the nodes, and of its node to the others; Postgres' own stay.
    fn links_of_nodes(&self, region: usize) -> impl Iterator<Item = SocketAddr> {
        let ends = move |from: usize, to: usize| from != to && (from == region || to == region);
        self.regions.iter().enumerate().flat_map(move |(from, one)| {
            let seen = one.seen_nodes.iter().enumerate();
            seen.filter_map(move |(to, link)| ends(from, to).then_some(*link))
        })
    }

    /// Cuts a region's agent and node off from all other nodes; Postgres' own links stay.
    pub fn cut_nodes(&self, region: usize) {
        self.links_of_nodes(region).for_each(|link| self.wan.cut_link(link));
    }

    /// Undoes that; what was under way arrives now.
    pub fn heal_nodes(&self, region: usize) {
        self.links_of_nodes(region).for_each(|link| self.wan.heal_link(link));
    }

    /// An address in a region on which nothing listens.
    pub fn free_address(&self, region: usize) -> anyhow::Result<SocketAddr> {
        free_port(region, &mut BTreeSet::new())
    }

    /// How processes in `from` reach a server in `to`: through a link of its own.
    pub fn link(&self, from: usize, to: usize, target: SocketAddr) -> anyhow::Result<SocketAddr> {
        open_link(&self.wan, &self.round_trips, from, to, target)
    }

    /// The links.
    pub fn wan(&self) -> &Wan {
        &self.wan
    }

    /// The run's directory.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Where Postgres' programs are.
    pub fn postgres_bin(&self) -> &Path {
        &self.programs.postgres_bin
    }

    /// Address of a region's node, without a link between.
    pub fn node(&self, region: usize) -> SocketAddr {
        self.regions[region].node
    }

    /// Address of a region's Postgres, without a link between.
    pub fn postgres(&self, region: usize) -> SocketAddr {
        self.regions[region].postgres
    }

    /// Addresses of all instances as clients in `region` see them.
    pub fn postgres_seen_from(&self, region: usize) -> Vec<SocketAddr> {
        self.regions[region].seen_postgres.clone()
    }

    /// A region's data directory, where it really is.
    pub fn data_dir(&self, region: usize) -> PathBuf {
        let named = self.run.region(region).join("postgres");
        named.canonicalize().unwrap_or(named)
    }

    /// Regions that are not lost.
    pub fn living(&self) -> Vec<usize> {
        (0..REGIONS.len()).filter(|region| !self.regions[*region].lost).collect()
    }

    /// The files in which nodes and agents say what they do.
    pub fn audit_files(&self) -> Vec<PathBuf> {
        let files = |region| ["node.audit", "agent.audit"].map(|name| self.run.region(region).join(name));
        (0..REGIONS.len()).flat_map(files).collect()
    }

    /// Loses a region: first all its links, then, with SIGKILL, every process in it.
    pub fn kill_region(&mut self, region: usize) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        self.wan.cut(REGIONS[region]);
        let processes = processes::kill_all_under(&self.run.region(region))?;
        self.regions[region].processes.iter_mut().for_each(processes::end);
        self.regions[region].lost = true;
        Ok(Loss { at_ns, processes })
    }

    /// Brings a lost region back: its links, and its node and agent as after a reboot.
    pub fn restore_region(&mut self, region: usize) -> anyhow::Result<()> {
        // What a reboot does to a tmpfs.
        fs::remove_dir_all(self.run.lease_dir(region))?;
        self.run.make(&self.run.lease_dir(region))?;
        self.wan.restore(REGIONS[region]);
        self.regions[region].lost = false;
        self.start_processes(region)
    }

    /// Kills a region's Postgres alone: postmaster and backends.
    pub fn kill_postgres(&mut self, region: usize) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        let processes = processes::kill_all_under(&self.data_dir(region))?;
        Ok(Loss { at_ns, processes })
    }

    /// Kills a region's node or agent alone.
    pub fn kill_process(&mut self, region: usize, which: Process) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        processes::end(&mut self.regions[region].processes[which as usize]);
        Ok(Loss { at_ns, processes: 1 })
    }

    /// Asks a region's node or agent to end, and waits until it has.
    pub fn terminate_process(&mut self, region: usize, which: Process) -> anyhow::Result<ExitStatus> {
        let slot = &mut self.regions[region].processes[which as usize];
        let mut child = slot.take().with_context(|| format!("{} is not running", which.names().0))?;
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
        Ok(child.wait()?)
    }

    /// Stops every process of a region in its tracks; they live, and know nothing of it.
    pub fn freeze_region(&mut self, region: usize) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        let processes = processes::signal_all_under(&self.run.region(region), Signal::SIGSTOP)?;
        Ok(Loss { at_ns, processes })
    }

    /// Lets a frozen region go on.
    pub fn thaw_region(&mut self, region: usize) -> anyhow::Result<()> {
        processes::signal_all_under(&self.run.region(region), Signal::SIGCONT).map(drop)
    }

    /// Id of a region's node or agent; none when it was killed.
    pub fn pid(&self, region: usize, which: Process) -> Option<u32> {
        self.regions[region].processes[which as usize].as_ref().map(Child::id)
    }

    /// Id of a region's postmaster, if it runs.
    pub fn postmaster(&self, region: usize) -> anyhow::Result<Option<i32>> {
        let Ok(text) = fs::read_to_string(self.data_dir(region).join("postmaster.pid")) else {
            return Ok(None);
        };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        let running = processes::under(&self.data_dir(region))?;
        Ok(pid.filter(|pid| running.contains(pid)))
    }

    /// Starts whatever of a region's node and agent was killed alone.
    pub fn start_processes(&mut self, region: usize) -> anyhow::Result<()> {
        let dir = self.run.region(region);
        for which in [Process::Node, Process::Agent] {
            if self.regions[region].processes[which as usize].is_some() {
                continue;
            }
            let (program, name) = which.names();
            let config = dir.join(format!("{name}.toml")).display().to_string();
            let log = dir.join(format!("{name}.log"));
            let args = ["--config", config.as_str()];
            let shim = self.regions[region].shim.as_ref();
            let environment = shim.map(|shim| shim.environment().to_vec()).unwrap_or_default();
            let started = processes::spawn_with(
                &environment,
                &self.run.program(program),
                &args,
                &dir,
                &log,
                self.run.user(),
            )?;
            self.regions[region].processes[which as usize] = Some(started);
        }
        Ok(())
    }

    /// Fails when a process has ended that nobody killed; names its log.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        for (index, region) in self.regions.iter_mut().enumerate() {
            for which in [Process::Node, Process::Agent] {
                let (program, name) = which.names();
                let Some(child) = &mut region.processes[which as usize] else { continue };
                if let Some(status) = child.try_wait()? {
                    let log = self.run.region(index).join(format!("{name}.log"));
                    let last = fs::read_to_string(&log).unwrap_or_default();
                    let last = last.lines().last().unwrap_or("(nothing)").to_string();
                    bail!("{program} of {} ended: {status}; {} ends: {last}", REGIONS[index], log.display());
                }
            }
        }
        Ok(())
    }

    /// Leaves the run's files where they are when it is over.
    pub fn keep_files(&mut self) {
        self.run.keep();
    }

    fn write_config(&self, region: usize) -> anyhow::Result<()> {
        let here = &self.regions[region];
        let (dir, lease_dir, gate) = (self.run.region(region), self.run.lease_dir(region), self.run.gate());
        let config = RegionConfig {
            region,
            dir: &dir,
            lease_dir: &lease_dir,
            gate: &gate,
            postgres_bin: &self.programs.postgres_bin,
            nodes: here.seen_nodes.clone(),
            advertised: self.regions.iter().map(|region| region.node).collect(),
            postgres: here.seen_postgres.clone(),
            max_round_trip_ms: self.round_trips.longest_ms().max(1),
        };
        fs::write(dir.join("node.toml"), config.node())?;
        fs::write(dir.join("agent.toml"), config.agent())?;
        Ok(())
    }
}

/// What can be killed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// `regentd`
    Node = 0,
    /// `regent-agent`
    Agent = 1,
}

impl Process {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Process::Node => ("regentd", "node"),
            Process::Agent => ("regent-agent", "agent"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The reaper would find them as well; this is sooner, and collects the exit statuses.
        let _ = ending::end_all(self.run.path());
        self.regions.iter_mut().flat_map(|region| region.processes.iter_mut()).for_each(processes::end);
    }
}

fn open_link(
    wan: &Wan,
    round_trips: &RoundTrips,
    from: usize,
    to: usize,
    target: SocketAddr,
) -> anyhow::Result<SocketAddr> {
    if from == to || round_trips.longest_ms() == 0 {
        return Ok(target);
    }
    let round_trip = round_trips.between(from, to);
    let (from_region, to_region) = (REGIONS[from].to_string(), REGIONS[to].to_string());
    let spec = LinkSpec { from: from_region, to: to_region, listen: address(from), target, round_trip };
    wan.link(spec).with_context(|| format!("cannot open a link to {} from {}", instance(to), address(from)))
}

fn free_port(region: usize, taken: &mut BTreeSet<u16>) -> anyhow::Result<SocketAddr> {
    let mut random = rand::rng();
    for _ in 0..1000 {
        let port = random.random_range(PORTS);
        let candidate = SocketAddr::new(address(region), port);
        if taken.insert(port) && TcpListener::bind(candidate).is_ok() {
            return Ok(candidate);
        }
    }
    bail!("no free port on {}", address(region))
}
