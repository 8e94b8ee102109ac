//! Records that must survive, kept in the same store and by the same writer as the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::contents::record_key;
use super::engine::Op;
use super::error::PutError;
use super::record::{self, MAX_VALUE};
use super::writer::Writer;

/// The witness's durable memory: named records. Clones share it.
#[derive(Clone)]
pub struct Durable {
    records: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    writer: Writer,
}

impl Durable {
    pub(super) fn new(records: BTreeMap<String, Vec<u8>>, writer: Writer) -> Self {
        Self { records: Arc::new(Mutex::new(records)), writer }
    }

    /// Stores a record. When this returns `Ok` it is on disk; an I/O error ends the process. Puts that wait at the same
    /// time share one flush. If the caller stops waiting, the record is stored all the same.
    pub async fn put(&self, name: &str, value: Vec<u8>) -> Result<(), PutError> {
        let sealed = record::seal(&value);
        if sealed.len() > MAX_VALUE {
            return Err(PutError::TooLarge { name: name.to_owned(), got: value.len(), max: MAX_VALUE });
        }
        let durable = {
            // Held until the change is queued, so that memory and disk see one order.
            let mut records = self.locked();
            let durable = self.writer.submit(vec![Op::Put(record_key(name), sealed)])?;
            records.insert(name.to_owned(), value);
            durable
        };
        durable.await.map_err(|_| super::writer::Closed)?;
        Ok(())
    }

    /// The record of that name, as last put: also while that put is still on its way to the disk.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.locked().get(name).cloned()
    }

    /// All records whose names begin so, in the order of their names.
    pub fn scan(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let records = self.locked();
        let from = records.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    // Nothing that holds the lock can panic halfway.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
