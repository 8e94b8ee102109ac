//! What the agent remembers of an adoption: one small file in `state_dir`, there for as long as the instance is adopted.

use super::super::{AgentError, store};
use crate::postgres::{Own, Survey};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file's form. Unknown versions are refused rather than guessed at.
const VERSION: u32 = 1;

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The configuration that it keeps.
    pub own: Own,
    /// Whether it was a primary whose agent had never run.
    pub was_primary: bool,
    /// What was taken out of the file that `ALTER SYSTEM` writes.
    pub taken: Vec<(String, String)>,
}

impl Record {
    /// Of what is there now.
    pub fn of(survey: &Survey, first_time: bool) -> Record {
        Record {
            version: VERSION,
            own: survey.own.clone(),
            was_primary: first_time && !survey.standby,
            taken: survey.moved(),
        }
    }

    /// What was stored; `None` for an instance that was not adopted.
    pub fn load(state_dir: &Path) -> Result<Option<Record>, AgentError> {
        let path = file(state_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AgentError::Store { action: "read", path, source }),
        };
        let damaged = |what: String| AgentError::DamagedAdoption { path: path.clone(), what };
        let record: Record = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!("expected version {VERSION}, got {}", record.version)));
        }
        Ok(Some(record))
    }

    /// Stores it. When this returns it is on disk.
    pub fn save(&self, state_dir: &Path) -> Result<(), AgentError> {
        let path = file(state_dir);
        let failed = |source| AgentError::Store { action: "make durable", path: path.clone(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        store::replace(state_dir, &path, &text).map_err(failed)
    }

    /// Forgets it.
    pub fn remove(state_dir: &Path) -> Result<(), AgentError> {
        let path = file(state_dir);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(AgentError::Store { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("adopted.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), None);
        let taken = vec![("primary_conninfo".to_owned(), "host=a".to_owned())];
        let record = Record { version: VERSION, own: Own::default(), was_primary: true, taken };
        record.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), Some(record));
        fs::write(file(dir.path()), "{").unwrap();
        assert!(Record::load(dir.path()).unwrap_err().to_string().contains("adopted.json is damaged"));
        Record::remove(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), None);
    }
}
