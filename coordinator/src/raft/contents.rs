//! What a store holds when it is opened, and the proof that it is whole.
//!
//! Keys: `0x00 name` for the few values about the log, `0x01` and the index for an entry, `0x02 name` for the witness's
//! records. All in one tree, so that one batch covers what belongs together.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::engine::Pair;
use super::error::StartError;
use super::identity::Identity;
use super::record;
use super::types::{Entry, LogId, Vote};
use super::watermark;

pub const IDENTITY: &[u8] = b"\x00identity";
pub const VOTE: &[u8] = b"\x00vote";
pub const COMMITTED: &[u8] = b"\x00committed";
pub const PURGED: &[u8] = b"\x00purged";
const ENTRY: u8 = 0x01;
const RECORD: u8 = 0x02;

/// The key of a log entry. Big-endian, so that the order of keys is the order of the log.
pub fn entry_key(index: u64) -> Vec<u8> {
    let mut key = vec![ENTRY];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The key of a record of the witness.
pub fn record_key(name: &str) -> Vec<u8> {
    let mut key = vec![RECORD];
    key.extend_from_slice(name.as_bytes());
    key
}

/// All that a store holds.
#[derive(Debug, Default)]
pub struct Contents {
    pub identity: Option<Identity>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub entries: BTreeMap<u64, Entry>,
    pub records: BTreeMap<String, Vec<u8>>,
    pub watermark: u64,
}

impl Contents {
    /// Reads every value, checking each.
    pub fn read(file: &Path, pairs: Vec<Pair>) -> Result<Self, StartError> {
        let mut contents = Self::default();
        for (key, value) in pairs {
            contents.take(&key, &value).map_err(|what| {
                StartError::corrupt(file, format!("the value of key {}: {what}", key.escape_ascii()))
            })?;
        }
        Ok(contents)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        fn json<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
            record::decode(value).map_err(|e| e.to_string())
        }
        match key {
            IDENTITY => self.identity = Some(json(value)?),
            VOTE => self.vote = Some(json(value)?),
            COMMITTED => self.committed = json(value)?,
            PURGED => self.purged = Some(json(value)?),
            watermark::KEY => self.watermark = json(value)?,
            [ENTRY, index @ ..] => {
                let index = index.try_into().map_err(|_| "expected an index of 8 bytes".to_owned())?;
                self.entries.insert(u64::from_be_bytes(index), json(value)?);
            }
            [RECORD, name @ ..] => {
                let name = std::str::from_utf8(name).map_err(|e| e.to_string())?;
                let payload = record::open(value).map_err(|e| e.to_string())?;
                self.records.insert(name.to_owned(), payload.to_vec());
            }
            _ => return Err("no such key in this release: was this node downgraded?".to_owned()),
        }
        Ok(())
    }

    /// A store that was used before must be this node's, and hold at least what was noted.
    pub fn check_kept(&self, file: &Path, identity: &Identity, noted: u64) -> Result<(), StartError> {
        match &self.identity {
            None => {
                return Err(StartError::lost(file, "expected the record of its creation, got nothing"));
            }
            Some(got) if got != identity => {
                return Err(StartError::Foreign {
                    file: file.to_owned(),
                    expected: format!("{identity:?}"),
                    got: format!("{got:?}"),
                });
            }
            Some(_) => {}
        }
        if self.watermark < noted {
            let got = self.watermark;
            return Err(StartError::lost(
                file,
                format!("expected write {noted} or later, got {got} as the last"),
            ));
        }
        Ok(())
    }

    /// The log must be without holes, start where it was cut, and its terms must never fall.
    pub fn check_log(&self, file: &Path) -> Result<(), StartError> {
        let mut last = self.purged;
        for (&key, entry) in &self.entries {
            let id = entry.log_id;
            let expected = last.map_or(0, |id| id.index + 1);
            if key != expected || id.index != expected {
                let got = id.index;
                return Err(StartError::corrupt(
                    file,
                    format!("expected log entry {expected}, got {got} under key {key}"),
                ));
            }
            if let Some(last) = last.filter(|last| last.leader_id > id.leader_id) {
                let (a, b) = (last.leader_id, id.leader_id);
                return Err(StartError::corrupt(
                    file,
                    format!("log entry {key}: expected a term of at least {a}, got {b}"),
                ));
            }
            last = Some(id);
        }
        Ok(())
    }

    /// What was cut from the log must be in the snapshot, and what was committed in one of the two.
    pub fn check_snapshot(&self, file: &Path, snapshot: Option<&LogId>) -> Result<(), StartError> {
        let show = |id: Option<&LogId>| id.map_or("none".to_owned(), |id| id.to_string());
        if self.purged.as_ref() > snapshot {
            let what = format!(
                "expected a snapshot of {} or later, got {}",
                show(self.purged.as_ref()),
                show(snapshot)
            );
            return Err(StartError::lost(file, what));
        }
        let last = self.entries.last_key_value().map(|(_, entry)| &entry.log_id).max(snapshot);
        if self.committed.as_ref() > last {
            let what = format!(
                "expected log or snapshot to reach {}, got {}",
                show(self.committed.as_ref()),
                show(last)
            );
            return Err(StartError::lost(file, what));
        }
        Ok(())
    }
}
