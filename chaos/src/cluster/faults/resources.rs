//! What a process needs from the machine and does not get: processors, memory, descriptors, somebody who reads its log.

use std::io::{ErrorKind, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::victim::Victim;
use crate::cluster::control_group::{ControlGroup, Resource};
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process, running::Log};

impl Cluster {
    /// From now on everything in a region, and what it starts, has together so much of one processor, in percent. Needs root,
    /// or a control group that this user may write to.
    pub fn starve(&self, region: usize, percent: u64) -> anyhow::Result<()> {
        ensure!((1..=100).contains(&percent), "{percent}% of a processor: expected 1 to 100");
        self.confine(region, Resource::Processor, percent)
    }

    /// It has as much as there is.
    pub fn feed(&self, region: usize) -> anyhow::Result<()> {
        self.control_group(region, Resource::Processor)?.limit(None)
    }

    /// From now on everything in a region, and what it starts, has together so many bytes of memory, beside what it has already.
    /// The kernel kills somebody there when they want more. Needs the same.
    pub fn limit_memory(&self, region: usize, bytes: u64) -> anyhow::Result<()> {
        self.confine(region, Resource::Memory, bytes)
    }

    /// It has as much as there is. What the kernel has killed of node and agent is started again.
    pub fn lift_memory_limit(&mut self, region: usize) -> anyhow::Result<()> {
        self.control_group(region, Resource::Memory)?.limit(None)?;
        self.start_ended(region)
    }

    fn confine(&self, region: usize, resource: Resource, most: u64) -> anyhow::Result<()> {
        let group = self.control_group(region, resource)?;
        group.limit(Some(most))?;
        self.pids(region, Victim::Region)?.into_iter().try_for_each(|pid| group.take(pid))
    }

    fn control_group(&self, region: usize, resource: Resource) -> anyhow::Result<ControlGroup> {
        ControlGroup::of(self.run.path(), REGIONS[region], resource)
    }

    /// A node or an agent cannot open anything more: no file, no connection.
    pub fn exhaust_descriptors(&self, region: usize, which: Process) -> anyhow::Result<()> {
        let pid = self.running(region, which)?;
        let taken = |number: &u32| Path::new(&format!("/proc/{pid}/fd/{number}")).is_symlink();
        // The lowest that is free: what is open above it stays open.
        let next = (0..).find(|number| !taken(number)).context("some number is free")?;
        self.prlimit(pid, &[&format!("--nofile={next}:")]).map(drop)
    }

    /// It can again. If it has ended for want of them, it is started again.
    pub fn release_descriptors(&mut self, region: usize, which: Process) -> anyhow::Result<()> {
        if self.has_ended(region, which)? {
            self.kill_process(region, which)?;
            return self.start_process(region, which);
        }
        let pid = self.running(region, which)?;
        let most = self.prlimit(pid, &["--nofile", "--output=HARD", "--noheadings"])?;
        self.prlimit(pid, &[&format!("--nofile={}:", most.trim())]).map(drop)
    }

    /// As the user whom the process belongs to: root may not everywhere, and he may.
    fn prlimit(&self, pid: u32, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("prlimit");
        command.arg("--pid").arg(pid.to_string()).args(args);
        if let Some(user) = self.run.user() {
            command.uid(user.uid).gid(user.gid);
        }
        let output = command.output().context("cannot run prlimit")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "prlimit {args:?} of {pid}: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn running(&self, region: usize, which: Process) -> anyhow::Result<u32> {
        let none = || format!("{} of {}: expected one that runs", which.names().0, REGIONS[region]);
        self.pid(region, which).with_context(none)
    }

    /// Starts a node or an agent again, with a log that nobody reads: a pipe which is full.
    pub fn block_log(&mut self, region: usize, which: Process) -> anyhow::Result<()> {
        self.kill_process(region, which)?;
        let (unread, full) = std::io::pipe()?;
        fill(&full)?;
        self.start_logging(region, which, Log::Pipe(full))?;
        // Closed it would be an error to write to it, which is not the same.
        self.regions[region].unread.push(unread);
        Ok(())
    }

    /// Starts it again, with its log in its file.
    pub fn unblock_log(&mut self, region: usize, which: Process) -> anyhow::Result<()> {
        self.kill_process(region, which)?;
        self.start_process(region, which)
    }
}

/// Writes until whoever writes more has to wait.
fn fill(mut pipe: &PipeWriter) -> anyhow::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    loop {
        match pipe.write(&[b'.'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("cannot fill a pipe"),
        }
    }
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(())
}
