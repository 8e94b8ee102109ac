//! The log as the library wants it: in memory to read, through the writer to keep.
//!
//! The log is short (a snapshot every few dozen entries), so all of it is in memory, and reading never touches the disk.
//! Writing changes the memory first and queues the same change for the disk: an entry is readable when `append` returns, and
//! durable when its callback is called.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use serde::Serialize;

use super::contents::{self, Contents, entry_key};
use super::engine::Op;
use super::record::{self, MAX_VALUE};
use super::types::{Entry, LogId, Types, Vote};
use super::writer::Writer;

#[derive(Debug)]
struct Log {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

/// [`RaftLogStorage`]. Clones share one log.
#[derive(Clone)]
pub struct LogStore {
    log: Arc<Mutex<Log>>,
    writer: Writer,
}

impl LogStore {
    /// The log that `contents` holds, written to through `writer`.
    pub fn new(contents: &mut Contents, writer: Writer) -> Self {
        let log = Log {
            vote: contents.vote,
            committed: contents.committed,
            purged: contents.purged,
            entries: std::mem::take(&mut contents.entries),
        };
        Self { log: Arc::new(Mutex::new(log)), writer }
    }

    // Nothing that holds the lock can panic halfway, so a poisoned lock protects a sound log.
    fn locked(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(key: impl Into<Vec<u8>>, value: &impl Serialize) -> io::Result<Op> {
    let value = record::encode(value)?;
    if value.len() > MAX_VALUE {
        let got = value.len();
        let what = format!("value of {got} bytes, expected at most {MAX_VALUE}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(Op::Put(key.into(), value))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.locked().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.locked().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let log = self.locked();
        let last = log.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: log.purged, last_log_id: last.or(log.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let op = put(contents::VOTE, vote)?;
        self.locked().vote = Some(*vote);
        self.writer.write(vec![op]).await.map_err(io::Error::other)
    }

    // Not waited for: lost, it leaves an older one, which is as true.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let op = put(contents::COMMITTED, &committed)?;
        let mut log = self.locked();
        log.committed = committed;
        self.writer.write_lazily(vec![op]).map_err(io::Error::other)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.locked().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut ops = Vec::new();
        // The lock is held until the change is queued, so that memory and disk see one order.
        let mut log = self.locked();
        for entry in entries {
            ops.push(put(entry_key(entry.log_id.index), &entry)?);
            log.entries.insert(entry.log_id.index, entry);
        }
        self.writer.write_then(ops, move || callback.io_completed(Ok(()))).map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        let ops = {
            let mut log = self.locked();
            log.entries.split_off(&from).into_keys().map(|index| Op::Delete(entry_key(index))).collect()
        };
        self.writer.write(ops).await.map_err(io::Error::other)
    }

    // Not waited for: the snapshot that makes it possible is durable, and lost, it leaves a longer log.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        // In one batch with the deletions: first = last purged + 1, always.
        let mut ops = vec![put(contents::PURGED, &upto)?];
        let mut log = self.locked();
        let kept = log.entries.split_off(&(upto.index + 1));
        let gone = std::mem::replace(&mut log.entries, kept);
        ops.extend(gone.into_keys().map(|index| Op::Delete(entry_key(index))));
        log.purged = Some(upto);
        self.writer.write_lazily(ops).map_err(io::Error::other)
    }
}
