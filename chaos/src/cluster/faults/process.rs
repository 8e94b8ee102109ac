//! Processes killed, stopped in their tracks, and started again.

use std::fs;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::NothingThere;
use crate::clock::now_ns;
use crate::cluster::topology::REGIONS;
use crate::cluster::ways::Ways;
use crate::cluster::{Cluster, Process, processes};

/// Who has not ended by then does not hear that he is asked to: he may have been stopped.
const ENDING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// Something that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// When it began. Of a region: when its links were cut; its processes were killed right after.
    pub at_ns: u64,
    /// How many processes there were.
    pub processes: usize,
}

impl Cluster {
    /// Loses a region: first all its links, then, with SIGKILL, every process in it.
    pub fn kill_region(&mut self, region: usize) -> anyhow::Result<Loss> {
        let at_ns = now_ns();
        self.ground.cut(&Ways::Around(region))?;
        let processes = processes::kill_all_under(&self.run.region(region))?;
        self.regions[region].processes.iter_mut().for_each(processes::end);
        self.regions[region].lost = true;
        Ok(Loss { at_ns, processes })
    }

    /// Brings a lost region back: its links, and its node and agent as after a reboot.
    pub fn restore_region(&mut self, region: usize) -> anyhow::Result<()> {
        // Another fault may have ended there meanwhile.
        processes::kill_all_under(&self.run.region(region))?;
        self.regions[region].processes.iter_mut().for_each(processes::end);
        // What a reboot does to a tmpfs.
        fs::remove_dir_all(self.run.lease_dir(region))?;
        self.run.make(&self.run.lease_dir(region))?;
        if let Some(disk) = &self.regions[region].disk {
            disk.plug_in()?;
        }
        self.ground.restore(region)?;
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

    /// Asks a region's node or agent to end, and waits until it has; one that does not listen is killed, as by a service manager.
    pub fn terminate_process(&mut self, region: usize, which: Process) -> anyhow::Result<ExitStatus> {
        let slot = &mut self.regions[region].processes[which as usize];
        let nothing = || NothingThere { what: which.names().0.to_owned(), region: REGIONS[region] };
        let mut child = slot.take().ok_or_else(nothing)?;
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
        let asked = Instant::now();
        while asked.elapsed() < ENDING {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        child.kill()?;
        Ok(child.wait()?)
    }
}
