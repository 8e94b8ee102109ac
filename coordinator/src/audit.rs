//! What happened, for whoever asks afterwards: a JSON object a line, stamped with the clock that decisions use.
//!
//! Written by a thread of its own: a slow disk delays a line, never a vote.

use crate::clock;
use regent_core::time::Time;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Lines that may wait for the disk; more are dropped, and the drop is said.
const WAITING: usize = 8_192;

/// Takes events. Clones write to the same file; without a file they go nowhere.
#[derive(Clone)]
pub struct Audit {
    stamp: Map<String, Value>,
    lines: Option<SyncSender<String>>,
}

/// Ends when every [`Audit`] is gone and all lines are written.
pub struct Writer(Option<JoinHandle<()>>);

impl Audit {
    /// Opens the file and starts its thread. `node` and `region` stand in every line.
    pub fn open(file: Option<&Path>, node: u64, region: &str) -> io::Result<(Audit, Writer)> {
        let mut stamp = Map::new();
        stamp.insert("proc".into(), json!(format!("regentd-{node}")));
        stamp.insert("node".into(), json!(node));
        stamp.insert("region".into(), json!(region));
        let Some(path) = file else { return Ok((Audit { stamp, lines: None }, Writer(None))) };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, waiting) = sync_channel(WAITING);
        let shown = path.display().to_string();
        let thread = std::thread::Builder::new().name("audit".into());
        let thread = thread.spawn(move || write(file, &shown, &waiting))?;
        Ok((Audit { stamp, lines: Some(lines) }, Writer(Some(thread))))
    }

    /// Notes an event that happens now.
    pub fn note(&self, event: &str, fields: Value) {
        self.note_at(clock::now(), event, fields);
    }

    /// Notes an event that happened at `at`.
    pub fn note_at(&self, at: Time, event: &str, fields: Value) {
        let Some(lines) = &self.lines else { return };
        let mut line = Map::new();
        line.insert("t_ns".into(), json!(at.0));
        line.extend(self.stamp.clone());
        line.insert("event".into(), json!(event));
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        if let Err(TrySendError::Full(_)) = lines.try_send(Value::Object(line).to_string()) {
            tracing::warn!("the audit file is too slow: an event `{event}` was left out");
        }
    }
}

impl Writer {
    /// Waits until everything is written. Every [`Audit`] must have been dropped before.
    pub fn finish(mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::warn!("the audit writer ended badly; its last lines may be missing");
        }
    }
}

fn write(mut file: File, path: &str, waiting: &Receiver<String>) {
    let mut failing = false;
    while let Ok(mut lines) = waiting.recv() {
        lines.push('\n');
        for line in waiting.try_iter().take(256) {
            lines.push_str(&line);
            lines.push('\n');
        }
        match file.write_all(lines.as_bytes()) {
            Ok(()) => failing = false,
            // Said once: nothing rests on the audit, and the disk may be full for long.
            Err(error) if !failing => {
                failing = true;
                tracing::error!("cannot write the audit to {path}: {error}; events are lost until it can be");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line_with_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let (audit, writer) = Audit::open(Some(&path), 2, "us-west").unwrap();
        audit.note_at(Time(5), "vote", json!({"epoch": 3, "instance": "b"}));
        audit.note("leader", json!({"term": 1}));
        drop(audit);
        writer.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let expected = json!({"t_ns": 5, "proc": "regentd-2", "node": 2, "region": "us-west", "event": "vote",
            "epoch": 3, "instance": "b"});
        assert_eq!(lines[0], expected);
        assert!(lines[1]["t_ns"].as_u64().unwrap() > 0);
    }
}
