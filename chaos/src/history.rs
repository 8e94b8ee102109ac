//! What clients did and saw: one line of JSON an event in a file, and each write's whole story in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use crate::clock::now_ns;

/// What came of a write. `Failed` only when it certainly had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered yet.
    Pending,
    /// Acknowledged: the server said so, without a warning.
    Acknowledged(Receipt),
    /// Refused: certainly no effect.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// What the server returned with an acknowledged row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the acknowledgement came.
    pub at_ns: u64,
    /// Timeline it was written on.
    pub timeline: u32,
    /// Position in the log before the commit record.
    pub lsn: u64,
    /// Transaction id, which finds the commit record.
    pub xid: u64,
}

/// One row, from its invocation on.
#[derive(Clone, Debug)]
pub struct Write {
    /// The row's unique number.
    pub id: u64,
    /// Region of the client.
    pub client: &'static str,
    /// Place of the instance it was sent to.
    pub instance: usize,
    /// When it was sent.
    pub invoked_ns: u64,
    /// What came of it.
    pub outcome: Outcome,
}

impl Write {
    /// The receipt, if it was acknowledged.
    pub fn receipt(&self) -> Option<&Receipt> {
        match &self.outcome {
            Outcome::Acknowledged(receipt) => Some(receipt),
            _ => None,
        }
    }
}

/// Shared by all writers.
#[derive(Clone)]
pub struct History(Arc<Mutex<Inner>>);

struct Inner {
    file: BufWriter<File>,
    /// Rows of earlier histories in the same table have the numbers up to this one.
    after: u64,
    writes: BTreeMap<u64, Write>,
    /// Of each timeline, the row that was acknowledged first.
    first: BTreeMap<u32, u64>,
    acknowledged: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    t: u64,
    proc: &'a str,
    client: &'a str,
    node: &'a str,
    group: &'a str,
    kind: &'a str,
    f: &'a str,
    args: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    res: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tli: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<u64>,
}

impl History {
    /// Begins a history that is also written to `path`.
    pub fn create(path: &Path) -> std::io::Result<History> {
        History::after(0, path)
    }

    /// The same, in a table that has rows with the numbers up to `after`.
    pub fn after(after: u64, path: &Path) -> std::io::Result<History> {
        let file = BufWriter::new(File::create(path)?);
        let (writes, first) = (BTreeMap::new(), BTreeMap::new());
        Ok(History(Arc::new(Mutex::new(Inner { file, after, writes, first, acknowledged: 0 }))))
    }

    /// A write is about to be sent; returns the number of its row.
    pub fn invoke(&self, proc: &str, client: &'static str, instance: usize) -> u64 {
        let mut inner = self.lock();
        let (id, invoked_ns) = (inner.after + inner.writes.len() as u64 + 1, now_ns());
        let write = Write { id, client, instance, invoked_ns, outcome: Outcome::Pending };
        inner.log(proc, &write, invoked_ns);
        inner.writes.insert(id, write);
        id
    }

    /// The outcome is known. `at_ns` is when it was.
    pub fn complete(&self, proc: &str, id: u64, at_ns: u64, outcome: Outcome) {
        let mut inner = self.lock();
        let write = inner.writes.get_mut(&id).expect("only what was invoked is completed");
        write.outcome = outcome;
        let write = write.clone();
        if let Some(receipt) = write.receipt() {
            inner.acknowledged += 1;
            inner.first.entry(receipt.timeline).or_insert(id);
        }
        inner.log(proc, &write, at_ns);
    }

    /// All writes so far, in the order of their invocation.
    pub fn writes(&self) -> Vec<Write> {
        self.lock().writes.values().cloned().collect()
    }

    /// The number of the row that was written last; of the last before, when none was.
    pub fn last_id(&self) -> u64 {
        let inner = self.lock();
        inner.after + inner.writes.len() as u64
    }

    /// Writes to the file what still waits in memory.
    pub fn flush(&self) -> std::io::Result<()> {
        self.lock().file.flush()
    }

    /// Acknowledgements so far.
    pub fn acknowledged(&self) -> usize {
        self.lock().acknowledged
    }

    /// The newest timeline on which anything was acknowledged; 0 if nothing was.
    pub fn newest_timeline(&self) -> u32 {
        self.lock().first.keys().next_back().copied().unwrap_or(0)
    }

    /// The write that was acknowledged first on a later timeline than `timeline`.
    pub fn first_after(&self, timeline: u32) -> Option<Write> {
        let inner = self.lock();
        let (_, id) = inner.first.range(timeline + 1..).next()?;
        inner.writes.get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no writer panics while it holds the history")
    }
}

impl Inner {
    fn log(&mut self, proc: &str, write: &Write, t: u64) {
        let receipt = write.receipt();
        let (kind, res) = match &write.outcome {
            Outcome::Pending => ("invoke", None),
            Outcome::Acknowledged(_) => ("ok", None),
            Outcome::Failed(why) => ("fail", Some(why.as_str())),
            Outcome::Unknown(why) => ("info", Some(why.as_str())),
        };
        let node = crate::cluster::topology::REGIONS[write.instance];
        let (lsn, xid) = (receipt.map(|r| r.lsn), receipt.map(|r| r.xid));
        let tli = receipt.map(|r| r.timeline);
        let group = crate::cluster::topology::GROUP;
        let client = write.client;
        let line =
            Line { t, proc, client, node, group, kind, f: "insert", args: write.id, res, lsn, tli, xid };
        // The file is for people; the verdicts come from memory. A full disk shows in everything else.
        if serde_json::to_writer(&mut self.file, &line).is_ok() {
            let _ = self.file.write_all(b"\n");
        }
    }
}
