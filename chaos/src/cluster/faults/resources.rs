//! What a process needs from the machine and does not get: processors, descriptors, somebody who reads its log.

use std::fs;
use std::io::{ErrorKind, PipeWriter, Write};

use anyhow::{Context, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::victim::Victim;
use crate::cluster::control_group::ControlGroup;
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process, running::Log};

impl Cluster {
    /// From now on everything in a region, and what it starts, has together so much of one processor, in percent. Needs root,
    /// or a control group that this user may write to.
    pub fn starve(&self, region: usize, percent: u64) -> anyhow::Result<()> {
        ensure!((1..=100).contains(&percent), "{percent}% of a processor: expected 1 to 100");
        let group = self.control_group(region)?;
        group.limit(Some(percent))?;
        self.pids(region, Victim::Region)?.into_iter().try_for_each(|pid| group.take(pid))
    }

    /// It has as much as there is.
    pub fn feed(&self, region: usize) -> anyhow::Result<()> {
        self.control_group(region)?.limit(None)
    }

    fn control_group(&self, region: usize) -> anyhow::Result<ControlGroup> {
        ControlGroup::of(self.run.path(), REGIONS[region])
    }

    /// A node or an agent cannot open anything more: no file, no connection.
    pub fn exhaust_descriptors(&self, region: usize, which: Process) -> anyhow::Result<()> {
        let pid = self.running(region, which)?;
        let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        limit_descriptors(pid, |limit| libc::rlimit { rlim_cur: open as u64, ..limit })
    }

    /// It can again.
    pub fn release_descriptors(&self, region: usize, which: Process) -> anyhow::Result<()> {
        let pid = self.running(region, which)?;
        limit_descriptors(pid, |limit| libc::rlimit { rlim_cur: limit.rlim_max, ..limit })
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

fn limit_descriptors(pid: u32, to: impl Fn(libc::rlimit) -> libc::rlimit) -> anyhow::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let (pid, none) = (pid as i32, std::ptr::null_mut::<libc::rlimit>());
    // SAFETY: the kernel reads and writes plain numbers that outlive the calls.
    let done = unsafe {
        libc::prlimit(pid, libc::RLIMIT_NOFILE, none, &mut limit) == 0
            && libc::prlimit(pid, libc::RLIMIT_NOFILE, &to(limit), none) == 0
    };
    ensure!(done, "cannot limit the descriptors of {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}
