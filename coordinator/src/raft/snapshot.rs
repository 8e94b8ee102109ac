//! The snapshot: one file, replaced as a whole, with a checksum over all of it.
//!
//! It is a file and not a value in the store because sled puts large values into files that it never syncs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::Snapshot;
use regent_core::state::State;
use serde::{Deserialize, Serialize};

use super::error::StartError;
use super::fatal;
use super::identity::write_durably;
use super::record;
use super::types::{LogId, SnapshotMeta, Types};

/// What the library passes around: the state as JSON.
pub type SnapshotData = Bytes;
/// A snapshot as the library wants it.
pub type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotData>;

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    meta: SnapshotMeta,
    state: State,
}

/// A snapshot whose state has been read.
#[derive(Clone)]
pub struct Kept {
    pub meta: SnapshotMeta,
    pub state: Arc<State>,
}

/// The newest snapshot, in memory and on disk. Clones share it.
#[derive(Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    newest: Arc<Mutex<Option<Kept>>>,
}

impl SnapshotFile {
    /// Reads and checks the file, if there is one.
    pub fn load(path: &Path) -> Result<Self, StartError> {
        let newest = match std::fs::read(path) {
            Ok(bytes) => {
                let Contents { meta, state } =
                    record::decode(&bytes).map_err(|e| StartError::corrupt(path, e))?;
                Some(Kept { meta, state: Arc::new(state) })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(StartError::Io { file: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), newest: Arc::new(Mutex::new(newest)) })
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<Kept> {
        self.locked().clone()
    }

    /// How far the newest one reaches.
    pub fn last_log_id(&self) -> Option<LogId> {
        self.locked().as_ref().and_then(|kept| kept.meta.last_log_id)
    }

    /// The newest snapshot as the library wants it.
    pub fn for_library(&self) -> std::io::Result<Option<RaftSnapshot>> {
        let Some(kept) = self.newest() else { return Ok(None) };
        let snapshot = Bytes::from(serde_json::to_vec(kept.state.as_ref())?);
        Ok(Some(Snapshot { meta: kept.meta, snapshot }))
    }

    /// Makes a snapshot durable, unless a newer one is there already: one that is being built may be overtaken by one
    /// that the leader sends. An error ends the process.
    pub async fn keep(&self, kept: Kept) -> std::io::Result<()> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || file.keep_blocking(kept)).await.map_err(std::io::Error::other)?
    }

    fn keep_blocking(&self, kept: Kept) -> std::io::Result<()> {
        // Held while writing: two snapshots must not share the temporary file.
        let mut newest = self.locked();
        if newest.as_ref().is_some_and(|n| n.meta.last_log_id > kept.meta.last_log_id) {
            return Ok(());
        }
        let contents = Contents { meta: kept.meta.clone(), state: kept.state.as_ref().clone() };
        let bytes = record::encode(&contents)?;
        if let Err(e) = write_durably(&self.path, &bytes) {
            fatal::end_for_io(&self.path, e);
        }
        *newest = Some(kept);
        Ok(())
    }

    // A panic while the lock is held leaves the older snapshot, which is as good.
    fn locked(&self) -> MutexGuard<'_, Option<Kept>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
