//! Regions of real processes on one machine: in each a node, in most of them an agent and its Postgres, joined only by what
//! they stand on: relays, or a network of their own ([`ground`]). Nothing is left behind, whatever ends the run: see
//! [`run_dir`]. What can happen to them is in [`faults`].

pub mod admin;
mod config;
pub mod control_group;
pub mod disk;
pub mod ending;
pub mod evidence;
pub mod faults;
pub mod ground;
pub mod land;
pub mod processes;
pub mod reaper;
pub mod run_dir;
mod running;
pub mod topology;
pub mod ways;

use std::collections::BTreeSet;
use std::io::PipeReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::runtime::Handle;

pub use config::CLUSTER;
use disk::Disk;
pub use faults::process::Loss;
pub use faults::victim::Victim;
use ground::Ground;
use land::Land;
use run_dir::{Programs, RunDir};
pub use running::Process;
use topology::{REGIONS, RoundTrips};

use crate::sharp::Blunt;
use crate::shim::{Library, Shim};
use crate::wan::LatenessReport;
use crate::wan::relays::Relays;
use crate::workload::Clients;

/// The running regions. Dropping it kills every process.
pub struct Cluster {
    // Dropped in this order: first what writes into the run's directory, at last the directory.
    regions: Vec<Region>,
    ground: Ground,
    run: RunDir,
    programs: Programs,
    instances: usize,
    blunt: Option<&'static Blunt>,
    /// As they were asked for.
    pub round_trips: RoundTrips,
    /// How long a promise lasts, if not as long as usual.
    pub ttl: Option<Duration>,
}

struct Region {
    node: SocketAddr,
    postgres: SocketAddr,
    /// Each node and each instance as seen from here: over relays through a link, the own ones directly.
    seen_nodes: Vec<SocketAddr>,
    seen_postgres: Vec<SocketAddr>,
    processes: [Option<Child>; 2],
    lost: bool,
    shim: Option<Shim>,
    disk: Option<Disk>,
    /// Logs that nobody reads.
    unread: Vec<PipeReader>,
}

/// What is started.
pub struct Options {
    /// What the cluster stands on.
    pub ground: On,
    /// How many regions have a Postgres: the first so many. All have a node.
    pub instances: usize,
    /// Whether every process is under the shim of its region.
    pub shim: bool,
    /// Regions that have a disk of their own, with all on it that must not be forgotten. Needs root.
    pub disks: Vec<usize>,
    /// How long a promise lasts, if not as long as usual.
    pub ttl: Option<Duration>,
    /// Nodes and agents that are wrong on purpose.
    pub blunt: Option<&'static Blunt>,
}

/// What a cluster can stand on.
pub enum On {
    /// Relays between regions so far apart.
    Relays(RoundTrips),
    /// A network of its own.
    Land(Arc<Land>),
}

impl Options {
    /// Over relays, which need no privilege: Postgres in every region, no shim.
    pub fn over_relays(round_trips: RoundTrips) -> Options {
        Options {
            instances: round_trips.regions(),
            ground: On::Relays(round_trips),
            shim: false,
            disks: Vec::new(),
            ttl: None,
            blunt: None,
        }
    }

    /// The same on a network of its own. The cluster has to be started by what [`Land::run`] runs.
    pub fn on(land: &Arc<Land>) -> Options {
        let instances = land.round_trips().regions();
        Options {
            instances,
            ground: On::Land(land.clone()),
            shim: false,
            disks: Vec::new(),
            ttl: None,
            blunt: None,
        }
    }
}

impl Cluster {
    /// Starts everything over relays; returns as soon as the processes run, not when they are ready.
    pub fn start(programs: Programs, round_trips: RoundTrips) -> anyhow::Result<Cluster> {
        Cluster::start_with(programs, Options::over_relays(round_trips))
    }

    /// The same, as these say.
    pub fn start_with(programs: Programs, options: Options) -> anyhow::Result<Cluster> {
        let Options { ground, instances, shim, disks, ttl, blunt } = options;
        let ground = match ground {
            On::Relays(round_trips) => Ground::Relays(Relays::start()?, round_trips),
            On::Land(land) => Ground::Land(land),
        };
        let mut cluster = Cluster::make(programs, ground, instances)?;
        cluster.ttl = ttl;
        if shim {
            cluster.lay_shim()?;
        }
        for region in disks {
            let mount = cluster.run.region(region).join(ending::DISK);
            cluster.regions[region].disk = Some(Disk::make(&mount, disk::SIZE, cluster.run.user())?);
        }
        if let Some(blunt) = blunt {
            blunt.lay(&cluster.programs.bin_dir, &cluster.run.path().join("bin"))?;
            cluster.blunt = Some(blunt);
        }
        for region in 0..cluster.regions() {
            cluster.write_config(region)?;
            cluster.start_processes(region)?;
        }
        Ok(cluster)
    }

    fn make(programs: Programs, ground: Ground, instances: usize) -> anyhow::Result<Cluster> {
        let round_trips = ground.round_trips();
        let number = round_trips.regions();
        ensure!((1..=number).contains(&instances), "{instances} instances: expected 1 to {number}");
        let run = RunDir::create(&programs, number)?;
        let mut taken = BTreeSet::new();
        let mut free = |region| ground.free_address(region, &mut taken);
        let nodes = (0..number).map(&mut free).collect::<Result<Vec<_>, _>>()?;
        let servers = (0..number).map(&mut free).collect::<Result<Vec<_>, _>>()?;
        let mut regions = Vec::new();
        for (from, (node, postgres)) in nodes.iter().zip(&servers).enumerate() {
            let seen = |targets: &[SocketAddr]| {
                let links = targets.iter().enumerate().map(|(to, target)| ground.link(from, to, *target));
                links.collect::<anyhow::Result<Vec<_>>>()
            };
            regions.push(Region {
                node: *node,
                postgres: *postgres,
                seen_nodes: seen(&nodes)?,
                seen_postgres: seen(&servers[..instances])?,
                processes: [None, None],
                lost: false,
                shim: None,
                disk: None,
                unread: Vec::new(),
            });
        }
        Ok(Cluster { regions, ground, run, programs, instances, round_trips, ttl: None, blunt: None })
    }

    fn lay_shim(&mut self) -> anyhow::Result<()> {
        let library = Library::compile(&self.run.path().join("bin"))?;
        for region in 0..self.regions() {
            let file = self.run.region(region).join("shim");
            self.regions[region].shim = Some(Shim::new(&library, file)?);
        }
        Ok(())
    }

    /// How many regions there are: the first so many of [`REGIONS`].
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// Their names.
    pub fn names(&self) -> &'static [&'static str] {
        &REGIONS[..self.regions()]
    }

    /// How many of them have a Postgres: the first so many.
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// What the processes of a region are told, if the cluster was started under the shim.
    pub fn shim(&self, region: usize) -> anyhow::Result<&Shim> {
        self.regions[region].shim.as_ref().context("the cluster was not started under the shim")
    }

    /// An address in a region on which nothing listens.
    pub fn free_address(&self, region: usize) -> anyhow::Result<SocketAddr> {
        self.ground.free_address(region, &mut BTreeSet::new())
    }

    /// How processes in `from` reach a server in `to`: over relays through a link of its own.
    pub fn link(&self, from: usize, to: usize, target: SocketAddr) -> anyhow::Result<SocketAddr> {
        self.ground.link(from, to, target)
    }

    /// How late packets were since the start or the last [`Cluster::forget_lateness`].
    pub fn lateness(&self) -> LatenessReport {
        self.ground.lateness()
    }

    /// Starts measuring afresh.
    pub fn forget_lateness(&self) {
        self.ground.forget_lateness();
    }

    /// The run's directory.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Where Postgres' programs are.
    pub fn postgres_bin(&self) -> &Path {
        &self.programs.postgres_bin
    }

    /// Address of a region's node, as the harness reaches it.
    pub fn node(&self, region: usize) -> SocketAddr {
        self.regions[region].node
    }

    /// Address of a region's Postgres, as the harness reaches it.
    pub fn postgres(&self, region: usize) -> SocketAddr {
        self.regions[region].postgres
    }

    /// Addresses of all nodes as clients in `region` see them, the own one first.
    pub fn nodes_seen_from(&self, region: usize) -> Vec<SocketAddr> {
        let mut nodes = self.regions[region].seen_nodes.clone();
        nodes.rotate_left(region);
        nodes
    }

    /// Addresses of all instances as clients in `region` see them.
    pub fn postgres_seen_from(&self, region: usize) -> Vec<SocketAddr> {
        self.regions[region].seen_postgres.clone()
    }

    /// Where clients of a region run. Over relays that is wherever this is called; they only know other addresses there.
    pub fn clients(&self, region: usize) -> Handle {
        self.ground.clients(region)
    }

    /// Writers in a region, who know all instances.
    pub fn writers(&self, region: usize) -> Clients {
        let (instances, runtime) = (self.postgres_seen_from(region), self.clients(region));
        Clients { region: REGIONS[region], instances, runtime }
    }

    /// Where a region's node, agent and Postgres keep what they must not forget.
    pub(crate) fn durable(&self, region: usize) -> PathBuf {
        let disk = self.regions[region].disk.as_ref().map(|disk| disk.path().to_owned());
        disk.unwrap_or_else(|| self.run.region(region))
    }

    /// A region's data directory, where it really is.
    pub fn data_dir(&self, region: usize) -> PathBuf {
        let named = self.durable(region).join("postgres");
        named.canonicalize().unwrap_or(named)
    }

    /// Regions that are not lost.
    pub fn living(&self) -> Vec<usize> {
        (0..self.regions()).filter(|region| !self.regions[*region].lost).collect()
    }

    /// The files in which nodes and agents say what they do.
    pub fn audit_files(&self) -> Vec<PathBuf> {
        let files = |region| ["node.audit", "agent.audit"].map(|name| self.run.region(region).join(name));
        (0..self.regions()).flat_map(files).collect()
    }

    /// Leaves the run's files where they are when it is over.
    pub fn keep_files(&mut self) {
        self.run.keep();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The reaper would find them as well; this is sooner, and collects the exit statuses.
        let _ = ending::end_all(self.run.path());
        if self.run.keeps() {
            let disks = self.regions.iter().filter_map(|region| region.disk.as_ref());
            disks.for_each(|disk| drop(disk.keep()));
        }
        self.regions.iter_mut().flat_map(|region| region.processes.iter_mut()).for_each(processes::end);
    }
}
