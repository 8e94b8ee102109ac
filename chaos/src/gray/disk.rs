//! A disk for one region's Postgres alone: an ext4 in a file, which can be frozen and filled without anybody else noticing.
//! Needs root, and the right to mount.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster::{Cluster, Process};

/// Enough for a small database, its WAL, and a copy of it.
const SIZE: u64 = 512 * 1024 * 1024;

/// The disk. Dropping it thaws and unmounts it, whatever is on it.
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Why there can be no such disk here, if so.
    pub fn unavailable() -> Option<String> {
        let tried = tempfile::tempdir().map_err(anyhow::Error::from).and_then(|dir| {
            let disk = Disk::make(&dir.path().join("tried"), 8 * 1024 * 1024)?;
            drop(disk);
            Ok(())
        });
        tried.err().map(|error| format!("no disk of its own can be mounted: {error:#}"))
    }

    /// Moves a standby's data directory to a disk of its own, with what its agent must not forget if `state`. Its agent and
    /// its Postgres are restarted.
    pub fn under(cluster: &mut Cluster, region: usize, state: bool) -> anyhow::Result<Disk> {
        let dir = cluster.run_dir().region(region);
        cluster.kill_process(region, Process::Agent)?;
        cluster.kill_postgres(region)?;
        let disk = Disk::make(&dir.join("disk"), SIZE)?;
        let moved: &[&str] = if state { &["postgres", "agent"] } else { &["postgres"] };
        for name in moved {
            run("cp", &["-a", path(&dir.join(name)), path(&disk.mount)])?;
            fs::remove_dir_all(dir.join(name))?;
            symlink(disk.mount.join(name), dir.join(name))?;
        }
        if let Some(user) = cluster.run_dir().user() {
            chown(&disk.mount, Some(user.uid), Some(user.gid))?;
        }
        // Its agent replaces a data directory by renaming: it has to know where it really is.
        let config = dir.join("agent.toml");
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text.replace(&data_dir(&dir), &data_dir(&disk.mount)))?;
        cluster.start_processes(region)?;
        Ok(disk)
    }

    /// Undoes that: all is back where it was, and the disk is gone.
    pub fn back(self, cluster: &mut Cluster, region: usize) -> anyhow::Result<()> {
        let dir = cluster.run_dir().region(region);
        cluster.kill_process(region, Process::Agent)?;
        cluster.kill_postgres(region)?;
        for name in ["postgres", "agent"] {
            let was = dir.join(name);
            if was.is_symlink() {
                fs::remove_file(&was)?;
                run("cp", &["-a", path(&self.mount.join(name)), path(&dir)])?;
            }
        }
        let config = dir.join("agent.toml");
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text.replace(&data_dir(&self.mount), &data_dir(&dir)))?;
        drop(self);
        cluster.start_processes(region)
    }

    fn make(mount: &Path, size: u64) -> anyhow::Result<Disk> {
        let image = mount.with_extension("img");
        File::create(&image)?.set_len(size)?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", path(&image)])?;
        fs::create_dir_all(mount)?;
        run("mount", &["-o", "loop", path(&image), path(mount)])?;
        Ok(Disk { mount: mount.to_owned() })
    }

    /// From now on every write waits.
    pub fn freeze(&self) -> anyhow::Result<()> {
        run("fsfreeze", &["-f", path(&self.mount)])
    }

    /// Takes all the room there is.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.mount.join("filler"))?;
        for size in [1 << 20, 1 << 12] {
            let block = vec![0; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(())
    }

    /// Whatever was done to it is over.
    pub fn well(&self) -> anyhow::Result<()> {
        // Refused when it is not frozen.
        let _ = run("fsfreeze", &["-u", path(&self.mount)]);
        match fs::remove_file(self.mount.join("filler")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &["-u", path(&self.mount)]);
        // Who still works on it must not keep it.
        let _ = run("umount", &["-l", path(&self.mount)]);
        let _ = fs::remove_dir(&self.mount);
        let _ = fs::remove_file(self.mount.with_extension("img"));
    }
}

fn data_dir(dir: &Path) -> String {
    format!("data_dir = \"{}/postgres\"", dir.display())
}

fn path(path: &Path) -> &str {
    // The run's directory is named by this crate.
    path.to_str().unwrap_or_default()
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {args:?}: {}", said.trim());
    Ok(())
}
