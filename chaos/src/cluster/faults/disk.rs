//! A region's disk: power lost, full, frozen, failing, slow; and a node's files gone or damaged.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::process::Loss;
use super::store;
use crate::cluster::disk::Disk;
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, Process, processes};

/// What the directory is called that a node's files are kept in.
const ASIDE: &str = "aside";

impl Cluster {
    /// A region's own disk, with everything on it that its node, its agent and its Postgres must not forget.
    pub fn disk(&self, region: usize) -> anyhow::Result<&Disk> {
        let none = || format!("{} has no disk of its own: start the cluster with one there", REGIONS[region]);
        self.regions[region].disk.as_ref().with_context(none)
    }

    /// Everything that was written so far is kept on every disk: from then on a power cut takes what nobody flushed.
    pub fn settle_disks(&self) -> anyhow::Result<()> {
        self.regions.iter().filter_map(|region| region.disk.as_ref()).try_for_each(Disk::settle)
    }

    /// A region loses its power: its links, its processes, its connections, and whatever is not flushed. `restore_region`
    /// brings it back.
    pub fn cut_power(&mut self, region: usize) -> anyhow::Result<Loss> {
        self.disk(region)?;
        let loss = self.kill_region(region)?;
        if self.ground.is_land() {
            // The kernel would go on sending what the dead have left.
            self.ground.reset(region)?;
        }
        self.disk(region)?.cut_power()?;
        Ok(loss)
    }

    /// Every write to a region's disk waits.
    pub fn freeze_disk(&self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.freeze()
    }

    /// They go on.
    pub fn thaw_disk(&self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.thaw();
        Ok(())
    }

    /// A region's disk has no room left.
    pub fn fill_disk(&self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.fill()
    }

    /// It has again. What has ended there for want of it is started again.
    pub fn free_disk(&mut self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.free()?;
        self.start_ended(region)
    }

    /// From now on flushes fail in a region: once for each file, and what could not be written is forgotten. Only of what is
    /// written where nothing was before: a log that grows soon, a page that is overwritten never.
    pub fn fail_disk(&self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.fail()
    }

    /// They succeed again. What has ended there because one did not is started again; everything, where the file system needs a
    /// boot.
    pub fn mend_disk(&mut self, region: usize) -> anyhow::Result<()> {
        self.disk(region)?.mend()?;
        if !self.disk(region)?.has_given_up()? {
            return self.start_ended(region);
        }
        processes::kill_all_under(&self.run.region(region))?;
        self.regions[region].processes.iter_mut().for_each(processes::end);
        self.disk(region)?.check()?;
        self.start_processes(region)
    }

    /// Each flush of a Postgres takes so much longer, none if zero. The cluster must have been started under the shim.
    pub fn slow_disk(&self, region: usize, by: Duration) -> anyhow::Result<()> {
        self.shim(region)?.slow_flushes(by)
    }

    /// Takes everything away that a killed node knew, its identity as well.
    pub fn wipe_node(&self, region: usize) -> anyhow::Result<()> {
        let store = self.store(region)?;
        fs::rename(&store, aside(&store)?).context("cannot move a node's files aside")
    }

    /// Turns a bit in the middle of what a killed node wrote. Says in which file.
    pub fn flip_bit(&self, region: usize) -> anyhow::Result<PathBuf> {
        store::flip_bit(&self.copied_store(region)?)
    }

    /// Takes so many bytes from the end of what a killed node wrote away, as a power cut in the middle of a write does. Says of
    /// which file.
    pub fn tear_tail(&self, region: usize, bytes: u64) -> anyhow::Result<PathBuf> {
        store::tear_tail(&self.copied_store(region)?, bytes)
    }

    /// Gives a killed node back what it had before any of these; what it has made of its directory since is removed. It must
    /// not have taken part in anything meanwhile: it would have forgotten it.
    pub fn give_store_back(&self, region: usize) -> anyhow::Result<()> {
        let store = self.store(region)?;
        match fs::remove_dir_all(&store) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::rename(store.with_extension(ASIDE), &store).context("cannot move a node's files back")
    }

    /// Leaves what a killed node has made of damaged files: it has taken part in something since.
    pub fn keep_store(&self, region: usize) -> anyhow::Result<()> {
        fs::remove_dir_all(self.store(region)?.with_extension(ASIDE))
            .context("cannot remove a node's old files")
    }

    /// Removes the WAL of a killed Postgres, as somebody does who needs room: every segment, and the histories with them.
    pub fn lose_wal(&self, region: usize) -> anyhow::Result<()> {
        let runs = self.postmaster(region)?.is_some();
        ensure!(!runs, "Postgres of {} runs: expected one that was killed", REGIONS[region]);
        let wal = self.data_dir(region).join("pg_wal");
        for entry in fs::read_dir(&wal).with_context(|| format!("cannot read {}", wal.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// A killed node's directory.
    fn store(&self, region: usize) -> anyhow::Result<PathBuf> {
        let name = REGIONS[region];
        let runs = self.pid(region, Process::Node).is_some();
        ensure!(!runs, "the node of {name} runs: expected one that was killed");
        Ok(self.durable(region).join("node"))
    }

    /// The same, with a copy of it beside: a node that finds damage changes more while it looks.
    fn copied_store(&self, region: usize) -> anyhow::Result<PathBuf> {
        let store = self.store(region)?;
        let output =
            Command::new("cp").arg("-a").arg(&store).arg(aside(&store)?).output().context("cannot run cp")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot copy a node's files: {}", said.trim());
        Ok(store)
    }
}

/// Where a node's files are meanwhile; nothing else may be there.
fn aside(store: &Path) -> anyhow::Result<PathBuf> {
    let aside = store.with_extension(ASIDE);
    ensure!(!aside.exists(), "{} is there: give the store back before the next fault", aside.display());
    Ok(aside)
}
