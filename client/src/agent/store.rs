//! The agent's durable record: one small file, replaced as a whole.

use super::AgentError;
use nix::fcntl::{Flock, FlockArg};
use regent_core::agent::Durable;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's form. Unknown versions are refused rather than guessed at.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    owner: String,
    durable: Durable,
}

/// Where the record is.
pub(super) struct Store {
    dir: PathBuf,
    owner: String,
    /// Held, for two agents on one record would undo each other's word.
    _lock: Flock<File>,
}

impl Store {
    /// Opens the directory, and makes it if it is missing.
    pub fn open(dir: &Path, owner: &str) -> Result<Store, AgentError> {
        fs::create_dir_all(dir).map_err(|source| failed("make the directory", dir, source))?;
        let path = dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| failed("open", &path, source))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::Error::EWOULDBLOCK => AgentError::InUse { path: dir.to_owned() },
            other => failed("lock", &path, other.into()),
        })?;
        Ok(Store { dir: dir.to_owned(), owner: owner.to_owned(), _lock: lock })
    }

    fn path(&self) -> PathBuf {
        self.dir.join("agent.json")
    }

    /// What was stored last; `None` before the first time.
    pub fn load(&self) -> Result<Option<Durable>, AgentError> {
        let path = self.path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", &path, source)),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| AgentError::Damaged { path: path.clone(), what: error.to_string() })?;
        if record.version != VERSION {
            let what = format!("expected version {VERSION}, got {}", record.version);
            return Err(AgentError::Damaged { path, what });
        }
        if record.owner != self.owner {
            return Err(AgentError::OtherInstance { path, expected: record.owner, got: self.owner.clone() });
        }
        Ok(Some(record.durable))
    }

    /// Replaces the record. When this returns it is on disk.
    pub async fn save(&self, durable: &Durable) -> Result<(), AgentError> {
        let record = Record { version: VERSION, owner: self.owner.clone(), durable: durable.clone() };
        let (dir, path) = (self.dir.clone(), self.path());
        let text =
            serde_json::to_vec(&record).map_err(|error| failed("write", &path, io::Error::other(error)))?;
        let shown = path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&dir, &path, &text)).await;
        written
            .map_err(io::Error::other)
            .and_then(|result| result)
            .map_err(|source| failed("make durable", &shown, source))
    }
}

/// Replaces a file as a whole, durably.
pub(super) fn replace(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> AgentError {
    AgentError::Store { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::ids::Epoch;

    #[tokio::test]
    async fn the_record_comes_back_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "orders/a").unwrap();
        assert_eq!(store.load().unwrap(), None);
        let durable = Durable { incarnation: 7, released: Epoch(3), ..Durable::default() };
        store.save(&durable).await.unwrap();
        assert_eq!(store.load().unwrap(), Some(durable));

        let second = Store::open(dir.path(), "orders/a").err().map(|error| error.to_string());
        assert!(second.is_some_and(|error| error.contains("another agent")));
        drop(store);
        let other = Store::open(dir.path(), "orders/b").unwrap();
        let error = other.load().unwrap_err().to_string();
        assert!(error.contains("orders/a") && error.contains("orders/b"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_record_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "orders/a").unwrap();
        store.save(&Durable::default()).await.unwrap();
        let whole = fs::read(store.path()).unwrap();
        let other_version =
            String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":9");
        for damaged in [&whole[..whole.len() / 2], b"", other_version.as_bytes()] {
            fs::write(store.path(), damaged).unwrap();
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains("agent.json is damaged"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), "orders/a").unwrap();
        fs::remove_dir_all(dir.path().join("state")).unwrap();
        let error = store.save(&Durable::default()).await.unwrap_err().to_string();
        assert!(error.contains("cannot make durable"), "{error}");
    }
}
