//! Writing a run's directory, and reading it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use regent_core::ids::{Epoch, InstanceName};
use regent_world::history::linearizable_assignment::Operation;
use regent_world::history::watch::{self, What};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{End, Record, Run};
use crate::cluster::topology::REGIONS;
use crate::history::{Outcome, Receipt, Write};
use crate::timeline;

const RUN: &str = "run.json";
const END: &str = "end.json";
const HISTORY: &str = "history.jsonl";
const TOLD: &str = "told.jsonl";

/// Why a directory is no record of a run.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A file is missing.
    #[error("cannot read {}: expected a directory that `regent-chaos live --keep` left", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file says something else.
    #[error("{}, line {line}: expected {expected}", path.display())]
    Text {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// Why it does not.
        source: serde_json::Error,
    },
    /// A line is about something that was never there.
    #[error("{}, line {line}: expected {expected}, got {got}", path.display())]
    Strange {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// What does.
        got: String,
    },
}

/// One line of `told.jsonl`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "snake_case")]
enum Told {
    Read { t: u64, begun: u64, epoch: Option<u64>, primary: Option<InstanceName> },
    Begun { t: u64, watcher: usize, from: Option<u64> },
    Present { t: u64, watcher: usize, epoch: u64, primary: Option<InstanceName> },
    Changed { t: u64, watcher: usize, epoch: u64, primary: InstanceName, jumped: Vec<u64> },
    Compacted { t: u64, watcher: usize },
}

/// Writes `run.json`.
pub fn write_run(dir: &Path, run: &Run) -> io::Result<()> {
    write_json(&dir.join(RUN), run)
}

/// Writes `end.json`.
pub fn write_end(dir: &Path, end: &End) -> io::Result<()> {
    write_json(&dir.join(END), end)
}

fn write_json(path: &Path, what: &impl Serialize) -> io::Result<()> {
    fs::write(path, serde_json::to_string_pretty(what)? + "\n")
}

/// Writes `told.jsonl`.
pub fn write_told(dir: &Path, reads: &[Operation], watched: &[Vec<watch::Event>]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(dir.join(TOLD))?);
    let of_watchers = watched
        .iter()
        .enumerate()
        .flat_map(|(watcher, events)| events.iter().map(move |event| seen(watcher, event)));
    for line in reads.iter().filter_map(answered).chain(of_watchers) {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn answered(operation: &Operation) -> Option<Told> {
    let Operation::Read { begun, at, answer } = operation else { return None };
    let (epoch, primary) = answer.clone().unzip();
    Some(Told::Read { t: *at, begun: *begun, epoch: epoch.map(|epoch: Epoch| epoch.0), primary })
}

fn seen(watcher: usize, event: &watch::Event) -> Told {
    let t = event.at;
    match event.what.clone() {
        What::Begun { from } => Told::Begun { t, watcher, from: from.map(|epoch| epoch.0) },
        What::Present { epoch, primary } => Told::Present { t, watcher, epoch: epoch.0, primary },
        What::Changed { epoch, primary, jumped } => {
            let jumped = jumped.into_iter().map(|epoch| epoch.0).collect();
            Told::Changed { t, watcher, epoch: epoch.0, primary, jumped }
        }
        What::Compacted => Told::Compacted { t, watcher },
    }
}

/// Reads a run's directory.
pub fn read(dir: &Path) -> Result<Record, Unreadable> {
    let run: Run = read_json(&dir.join(RUN), "what a run is told in")?;
    let end: End = read_json(&dir.join(END), "what a run ended with")?;
    let writes = read_history(&dir.join(HISTORY))?;
    let (reads, watched) = read_told(&dir.join(TOLD))?;
    let files = |region: &String| ["node.audit", "agent.audit"].map(|name| dir.join(region).join(name));
    let files: Vec<PathBuf> = run.regions.iter().flat_map(files).collect();
    let events = timeline::read(&files, run.begun_ns, u64::MAX);
    Ok(Record { dir: dir.to_owned(), run, end, writes, reads, watched, events })
}

fn text(path: &Path) -> Result<String, Unreadable> {
    fs::read_to_string(path).map_err(|source| Unreadable::Missing { path: path.to_owned(), source })
}

fn read_json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T, Unreadable> {
    serde_json::from_str(&text(path)?).map_err(|source| {
        let line = source.line();
        Unreadable::Text { path: path.to_owned(), line, expected, source }
    })
}

fn read_lines<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<Vec<T>, Unreadable> {
    let text = text(path)?;
    let lines = text.lines().enumerate().map(|(number, line)| {
        serde_json::from_str(line).map_err(|source| {
            let line = number + 1;
            Unreadable::Text { path: path.to_owned(), line, expected, source }
        })
    });
    lines.collect()
}

/// Of a watcher, in its order.
type Watched = Vec<Vec<watch::Event>>;

fn read_told(path: &Path) -> Result<(Vec<Operation>, Watched), Unreadable> {
    let (mut reads, mut watched) = (Vec::new(), Watched::new());
    let mut saw = |watcher: usize, at: u64, what: What| {
        watched.resize_with(watched.len().max(watcher + 1), Vec::new);
        watched[watcher].push(watch::Event { at, what });
    };
    for line in read_lines::<Told>(path, "what an asker or a watcher was told")? {
        match line {
            Told::Read { t, begun, epoch, primary } => {
                reads.push(Operation::Read { begun, at: t, answer: epoch.map(Epoch).zip(primary) });
            }
            Told::Begun { t, watcher, from } => saw(watcher, t, What::Begun { from: from.map(Epoch) }),
            Told::Present { t, watcher, epoch, primary } => {
                saw(watcher, t, What::Present { epoch: Epoch(epoch), primary });
            }
            Told::Changed { t, watcher, epoch, primary, jumped } => {
                let jumped = jumped.into_iter().map(Epoch).collect();
                saw(watcher, t, What::Changed { epoch: Epoch(epoch), primary, jumped });
            }
            Told::Compacted { t, watcher } => saw(watcher, t, What::Compacted),
        }
    }
    Ok((reads, watched))
}

/// One line of `history.jsonl`, as [`crate::history`] writes it.
#[derive(Deserialize)]
struct Line {
    t: u64,
    client: String,
    node: String,
    kind: String,
    args: u64,
    res: Option<String>,
    lsn: Option<u64>,
    tli: Option<u32>,
    xid: Option<u64>,
}

impl Line {
    fn outcome(&self) -> Option<Outcome> {
        let why = || self.res.clone().unwrap_or_default();
        match self.kind.as_str() {
            "ok" => {
                let (timeline, lsn, xid) = (self.tli?, self.lsn?, self.xid?);
                Some(Outcome::Acknowledged(Receipt { at_ns: self.t, timeline, lsn, xid }))
            }
            "fail" => Some(Outcome::Failed(why())),
            "info" => Some(Outcome::Unknown(why())),
            _ => None,
        }
    }
}

fn read_history(path: &Path) -> Result<Vec<Write>, Unreadable> {
    let mut writes: BTreeMap<u64, Write> = BTreeMap::new();
    for (line, number) in read_lines::<Line>(path, "a write that is sent or answered")?.iter().zip(1..) {
        let strange = |expected, got: &str| {
            let (path, got) = (path.to_owned(), got.to_owned());
            Unreadable::Strange { path, line: number, expected, got }
        };
        let region = |name: &str| REGIONS.iter().position(|region| *region == name);
        if line.kind == "invoke" {
            let client = region(&line.client).ok_or_else(|| strange("a region", &line.client))?;
            let instance = region(&line.node).ok_or_else(|| strange("a region", &line.node))?;
            let (id, invoked_ns, client) = (line.args, line.t, REGIONS[client]);
            writes.insert(id, Write { id, client, instance, invoked_ns, outcome: Outcome::Pending });
            continue;
        }
        let outcome = line.outcome().ok_or_else(|| strange("invoke, ok, fail or info", &line.kind))?;
        let write = writes.get_mut(&line.args);
        write.ok_or_else(|| strange("an answer to what was sent", &line.args.to_string()))?.outcome = outcome;
    }
    Ok(writes.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    #[test]
    fn writes_are_read_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HISTORY);
        let history = History::after(40, &path).unwrap();
        let ids: Vec<u64> = (0..4).map(|_| history.invoke("writer", REGIONS[1], 2)).collect();
        assert_eq!(ids, [41, 42, 43, 44]);
        let receipt = Receipt { at_ns: 7, timeline: 3, lsn: 99, xid: 5 };
        history.complete("writer", 41, 7, Outcome::Acknowledged(receipt));
        history.complete("writer", 42, 8, Outcome::Failed("25006".into()));
        history.complete("writer", 43, 9, Outcome::Unknown("gone".into()));
        history.flush().unwrap();
        let read = read_history(&path).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", history.writes()));
    }

    #[test]
    fn what_was_told_is_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let name = || InstanceName::new("orders-us-west").unwrap();
        let reads = vec![
            Operation::Read { begun: 1, at: 2, answer: Some((Epoch(3), name())) },
            Operation::Read { begun: 3, at: 4, answer: None },
        ];
        let whats = [
            What::Begun { from: None },
            What::Present { epoch: Epoch(3), primary: Some(name()) },
            What::Changed { epoch: Epoch(5), primary: name(), jumped: vec![Epoch(4)] },
            What::Compacted,
        ];
        let events: Vec<watch::Event> = whats.map(|what| watch::Event { at: 9, what }).into();
        write_told(dir.path(), &reads, &[events.clone(), Vec::new(), events.clone()]).unwrap();
        assert_eq!(read_told(&dir.path().join(TOLD)).unwrap(), (reads, vec![events.clone(), vec![], events]));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HISTORY);
        let line = r#"{"t":1,"client":"us-west","node":"mars","kind":"invoke","args":1}"#;
        fs::write(&path, line).unwrap();
        let said = read_history(&path).unwrap_err().to_string();
        assert!(said.ends_with("line 1: expected a region, got mars"), "{said}");
        fs::write(&path, "{}").unwrap();
        let said = read_history(&path).unwrap_err().to_string();
        assert!(said.ends_with("line 1: expected a write that is sent or answered"), "{said}");
    }
}
