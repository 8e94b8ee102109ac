//! A standby's Postgres moved to a disk of its own while the cluster lives, and back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster::disk::{self, Disk};
use crate::cluster::{Cluster, Process};

/// Moves a standby's data directory to a disk of its own, with what its agent must not forget if `state`. Its agent and its
/// Postgres are restarted.
pub fn under(cluster: &mut Cluster, region: usize, state: bool) -> anyhow::Result<Disk> {
    let dir = cluster.run_dir().region(region);
    cluster.kill_process(region, Process::Agent)?;
    cluster.kill_postgres(region)?;
    let disk = Disk::make(&dir.join("disk"), disk::SIZE, cluster.run_dir().user())?;
    let moved: &[&str] = if state { &["postgres", "agent"] } else { &["postgres"] };
    for name in moved {
        copy(&dir.join(name), disk.path())?;
        fs::remove_dir_all(dir.join(name))?;
        symlink(disk.path().join(name), dir.join(name))?;
    }
    // Its agent replaces a data directory by renaming: it has to know where it really is.
    let config = dir.join("agent.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text.replace(&data_dir(&dir), &data_dir(disk.path())))?;
    cluster.start_processes(region)?;
    Ok(disk)
}

/// Undoes that: all is back where it was, and the disk is gone.
pub fn back(disk: Disk, cluster: &mut Cluster, region: usize) -> anyhow::Result<()> {
    let dir = cluster.run_dir().region(region);
    cluster.kill_process(region, Process::Agent)?;
    cluster.kill_postgres(region)?;
    for name in ["postgres", "agent"] {
        let was = dir.join(name);
        if was.is_symlink() {
            fs::remove_file(&was)?;
            copy(&disk.path().join(name), &dir)?;
        }
    }
    let config = dir.join("agent.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text.replace(&data_dir(disk.path()), &data_dir(&dir)))?;
    drop(disk);
    cluster.start_processes(region)
}

fn data_dir(dir: &Path) -> String {
    format!("data_dir = \"{}/postgres\"", dir.display())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let output = Command::new("cp").arg("-a").args([from, to]).output().context("cannot run cp")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cp -a {} {}: {}", from.display(), to.display(), said.trim());
    Ok(())
}
