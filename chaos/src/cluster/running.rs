//! A region's node and agent: their files, their start, and whether they live.

use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};

use anyhow::bail;

use super::config::RegionConfig;
use super::topology::REGIONS;
use super::{Cluster, processes};

/// Where a process's log goes.
pub(super) enum Log {
    /// To its file in the region's directory.
    File,
    /// Wherever that ends.
    Pipe(PipeWriter),
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
    /// The program's name, and what its files in the region's directory begin with.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Process::Node => ("regentd", "node"),
            Process::Agent => ("regent-agent", "agent"),
        }
    }
}

impl Cluster {
    /// Those that there are in a region: an agent only where there is a Postgres.
    pub(super) fn processes_of(&self, region: usize) -> &'static [Process] {
        if region < self.instances() { &[Process::Node, Process::Agent] } else { &[Process::Node] }
    }

    /// Starts whatever of a region's node and agent was killed alone.
    pub fn start_processes(&mut self, region: usize) -> anyhow::Result<()> {
        for which in self.processes_of(region) {
            self.start_process(region, *which)?;
        }
        Ok(())
    }

    /// Starts one of them, if it does not run.
    pub fn start_process(&mut self, region: usize, which: Process) -> anyhow::Result<()> {
        self.start_logging(region, which, Log::File)
    }

    /// Starts again what has ended by itself, as whoever keeps services running does.
    pub fn start_ended(&mut self, region: usize) -> anyhow::Result<()> {
        for which in self.processes_of(region) {
            if self.has_ended(region, *which)? {
                self.kill_process(region, *which)?;
                self.start_process(region, *which)?;
            }
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self, region: usize, which: Process) -> anyhow::Result<bool> {
        let slot = &mut self.regions[region].processes[which as usize];
        Ok(slot.as_mut().map(Child::try_wait).transpose()?.flatten().is_some())
    }

    pub(super) fn start_logging(&mut self, region: usize, which: Process, log: Log) -> anyhow::Result<()> {
        if self.regions[region].processes[which as usize].is_some() {
            return Ok(());
        }
        let dir = self.run.region(region);
        let (program, name) = which.names();
        let instead = self.blunt.map(|blunt| blunt.instead_of(which));
        let program = instead.as_ref().and_then(|instead| instead.program).unwrap_or(program);
        let mut command = self.ground.command(region, &self.run.program(program), self.run.user())?;
        command.args(instead.iter().flat_map(|instead| &instead.args));
        command.arg("--config").arg(dir.join(format!("{name}.toml")));
        if let Some(shim) = &self.regions[region].shim {
            command.envs(shim.environment());
        }
        if let Some(library) = instead.and_then(|instead| instead.preload) {
            preload(&mut command, &self.run.program(library));
        }
        let output = match log {
            Log::File => processes::append(&dir.join(format!("{name}.log")))?,
            Log::Pipe(pipe) => File::from(OwnedFd::from(pipe)),
        };
        let started = processes::spawn_command(command, &dir, output, self.run.user())?;
        self.regions[region].processes[which as usize] = Some(started);
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

    pub(super) fn write_config(&self, region: usize) -> anyhow::Result<()> {
        let here = &self.regions[region];
        let (dir, lease_dir, gate) = (self.run.region(region), self.run.lease_dir(region), self.run.gate());
        let durable = self.durable(region);
        let config = RegionConfig {
            region,
            dir: &dir,
            durable: &durable,
            lease_dir: &lease_dir,
            gate: &gate,
            postgres_bin: &self.programs.postgres_bin,
            nodes: here.seen_nodes.clone(),
            advertised: self.regions.iter().map(|region| region.node).collect(),
            postgres: here.seen_postgres.clone(),
            networks: self.ground.networks(),
            max_round_trip_ms: self.round_trips.longest_ms().max(1),
        };
        fs::write(dir.join("node.toml"), config.node())?;
        if self.processes_of(region).contains(&Process::Agent) {
            fs::write(dir.join("agent.toml"), config.agent())?;
        }
        Ok(())
    }
}

/// Has a library loaded before what is loaded already.
fn preload(command: &mut Command, library: &Path) {
    const NAME: &str = "LD_PRELOAD";
    let before = command.get_envs().find(|(name, _)| *name == NAME).and_then(|(_, value)| value);
    let mut all = library.as_os_str().to_owned();
    if let Some(before) = before {
        all.push(":");
        all.push(before);
    }
    command.env(NAME, all);
}
