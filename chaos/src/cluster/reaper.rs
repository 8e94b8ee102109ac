//! The end of a run for whoever cannot see to it: processes, disks, control groups, files.
//!
//! Each run has a process that outlives the harness just long enough for that. Where that was killed as well, the next run
//! does it: who cares for a run holds a lock in its directory, which the kernel gives back.

use std::fs::{self, File};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

use super::{control_group, disk, ending};
use crate::wan;

/// Every run's directory begins with this.
pub(super) const PREFIX: &str = "regent-";
/// A file of this name in a run's directory says to leave the files.
pub(super) const KEEP: &str = "keep";
/// What a harness says that ends a run and lives on.
pub(super) const ALIVE: &[u8] = b"alive\n";
const LOCK: &str = "lock";
/// How long a harness may take to die: the kernel takes its devices back one after the other.
const DYING: Duration = Duration::from_secs(5);

/// Whoever has it cares for the run.
pub(super) type Held = Flock<File>;

/// Cares for a run that has just begun.
pub(super) fn hold(run: &Path) -> anyhow::Result<Held> {
    // Nobody may find it before it is held.
    let (unseen, seen) = (run.join("lock.new"), run.join(LOCK));
    let held = share(&unseen).context("cannot lock a run's directory")?;
    fs::rename(unseen, seen)?;
    Ok(held)
}

fn share(path: &Path) -> std::io::Result<Held> {
    let file = File::options().create(true).append(true).open(path)?;
    Flock::lock(file, FlockArg::LockShared).map_err(|(_, error)| error.into())
}

/// What `regent-chaos reap` does: waits until whoever started it has ended, by whatever death, then ends all that is left of
/// the run.
pub fn reap(run: &Path, leases: &Path) -> anyhow::Result<()> {
    let (held, harness) = (share(&run.join(LOCK)), parent_id());
    let alive = std::io::copy(&mut std::io::stdin(), &mut std::io::sink())? > 0;
    end(run, leases)?;
    drop(held);
    // The namespaces of a dead one are given back after its pipes.
    let ended = Instant::now();
    while !alive && parent_id() == harness && ended.elapsed() < DYING {
        std::thread::sleep(Duration::from_millis(20));
    }
    wan::sweep();
    Ok(())
}

/// Ends all runs that nobody cares for any more. Says which.
pub(super) fn sweep() -> Vec<PathBuf> {
    let runs = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let runs = runs.filter(|run| run.file_name().to_string_lossy().starts_with(PREFIX)).map(|run| run.path());
    runs.filter(|run| is_left(run).is_some_and(|_held| end(run, &leases(run)).is_ok())).collect()
}

/// The lock of a run that nobody else cares for.
fn is_left(run: &Path) -> Option<Held> {
    let lock = File::open(run.join(LOCK)).ok()?;
    Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok()
}

/// Where a run's lease files are: on tmpfs.
pub(super) fn leases(run: &Path) -> PathBuf {
    Path::new("/dev/shm").join(run.file_name().unwrap_or_default())
}

fn end(run: &Path, leases: &Path) -> anyhow::Result<()> {
    ending::end_all(run)?;
    disk::remove_all_under(run);
    control_group::remove_all_of(run);
    let _ = fs::remove_dir_all(leases);
    if run.join(KEEP).exists() {
        // Nothing is left that anybody has to care for.
        let _ = fs::remove_file(run.join(LOCK));
        return Ok(());
    }
    fs::remove_dir_all(run).with_context(|| format!("cannot remove {}", run.display()))
}
