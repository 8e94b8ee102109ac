//! Whose data directory this is, and whether it was ever used.
//!
//! The marker is what makes an empty store a loss instead of a fresh start. It goes through two states: `creating`, while
//! nothing was ever acknowledged from this directory, so that a crash in between may start over; and `used`, from the
//! moment the store durably holds its own birth record.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::error::StartError;

const MARKER: &str = "identity.json";
const LOCK: &str = "lock";

/// Who a store belongs to. Written into the marker and, as the first record, into the store itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: String,
    /// The node.
    pub node_id: u64,
    /// Drawn when the store was created. A node that comes back with another one has lost its disk.
    pub incarnation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Creating,
    Used,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    #[serde(flatten)]
    identity: Identity,
    stage: Stage,
}

/// A locked data directory that belongs to this node.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    identity: Identity,
    stage: Stage,
    // Held for as long as the directory is in use; the kernel gives it up with the process.
    _lock: Flock<File>,
}

impl DataDir {
    /// Locks the directory for this node, or says why it is not this node's to use.
    pub fn open(dir: &Path, cluster_id: &str, node_id: u64) -> Result<Self, StartError> {
        std::fs::create_dir_all(dir).map_err(StartError::io(dir))?;
        // Looked at before the lock is made: what is not ours stays untouched.
        read_marker(dir, cluster_id, node_id)?;
        let lock = lock(dir)?;
        let marker = match read_marker(dir, cluster_id, node_id)? {
            Some(marker) => marker,
            None => {
                let incarnation = rand::random();
                let identity = Identity { cluster_id: cluster_id.to_owned(), node_id, incarnation };
                Marker { identity, stage: Stage::Creating }
            }
        };
        let data_dir =
            Self { dir: dir.to_owned(), identity: marker.identity, stage: marker.stage, _lock: lock };
        if data_dir.is_new() {
            data_dir.mark(Stage::Creating)?;
            data_dir.clear()?;
        }
        Ok(data_dir)
    }

    /// Whether nothing was ever acknowledged from this directory.
    pub fn is_new(&self) -> bool {
        self.stage == Stage::Creating
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From now on an empty store is a loss. The birth record must be durable.
    pub fn mark_used(&mut self) -> Result<(), StartError> {
        self.mark(Stage::Used)?;
        self.stage = Stage::Used;
        Ok(())
    }

    /// Where the log and the records are.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Where the number of the last write is noted.
    pub fn watermark(&self) -> PathBuf {
        self.dir.join("watermark")
    }

    /// Where the snapshot is.
    pub fn snapshot(&self) -> PathBuf {
        self.dir.join("snapshot")
    }

    /// Removes what a creation that did not finish has left.
    fn clear(&self) -> Result<(), StartError> {
        let gone = |path: PathBuf, result: io::Result<()>| match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StartError::Io { file: path, source: e }),
            _ => Ok(()),
        };
        gone(self.store(), std::fs::remove_dir_all(self.store()))?;
        gone(self.watermark(), std::fs::remove_file(self.watermark()))?;
        gone(self.snapshot(), std::fs::remove_file(self.snapshot()))
    }

    fn mark(&self, stage: Stage) -> Result<(), StartError> {
        let path = self.dir.join(MARKER);
        let marker = Marker { identity: self.identity.clone(), stage };
        let json = serde_json::to_vec_pretty(&marker).map_err(|e| StartError::corrupt(&path, e))?;
        write_durably(&path, &json).map_err(StartError::io(&path))?;
        // The directory may be new itself: its name must survive too.
        if let Some(parent) = self.dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent).and_then(|d| d.sync_all()).map_err(StartError::io(parent))?;
        }
        Ok(())
    }
}

/// Replaces a file so that a power cut leaves the old contents or the new, and returns when the new are durable.
pub fn write_durably(path: &Path, contents: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&tmp, path)?;
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// The marker if there is one, and it is this node's. No marker is fine only in an empty directory.
fn read_marker(dir: &Path, cluster_id: &str, node_id: u64) -> Result<Option<Marker>, StartError> {
    let path = dir.join(MARKER);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return only_ours(dir).map(|()| None),
        Err(e) => return Err(StartError::Io { file: path, source: e }),
    };
    let marker: Marker = serde_json::from_slice(&bytes).map_err(|e| StartError::corrupt(&path, e))?;
    if marker.identity.cluster_id != cluster_id || marker.identity.node_id != node_id {
        let name = |cluster: &str, node| format!("node {node} of cluster {cluster:?}");
        return Err(StartError::Foreign {
            file: path,
            expected: name(cluster_id, node_id),
            got: name(&marker.identity.cluster_id, marker.identity.node_id),
        });
    }
    Ok(Some(marker))
}

/// Without a marker there may be nothing but what the very first start leaves when it is interrupted. `lost+found` is in
/// the root of every ext4 file system.
fn only_ours(dir: &Path) -> Result<(), StartError> {
    for entry in std::fs::read_dir(dir).map_err(StartError::io(dir))? {
        let name = entry.map_err(StartError::io(dir))?.file_name();
        if ![LOCK, "identity.tmp", "lost+found"].iter().any(|ours| name == *ours) {
            return Err(StartError::Unmarked { dir: dir.to_owned(), marker: MARKER });
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<Flock<File>, StartError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StartError::io(&path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => StartError::Locked { dir: dir.to_owned() },
        other => StartError::Io { file: path, source: other.into() },
    })
}
