//! What is left of a run: a directory that tells all of it, and can be judged again by anybody at any time.
//!
//! | file | holds |
//! |---|---|
//! | `run.json` | the scenario, its seed, what was done where and when |
//! | `history.jsonl` | every write of every client: one line when it was sent, one when it was answered |
//! | `told.jsonl` | what askers and watchers were told of who leads |
//! | `REGION/node.audit`, `REGION/agent.audit` | what the processes say they did |
//! | `end.json` | the rows that are there in the end, the log, what old primaries left behind |
//! | `REGION/*.log` | the processes' logs |
//! | `verdict.json`, `timeline.html` | what came of it |
//!
//! What may not enter: a judgement. It is made of this ([`crate::check`]), and of nothing else.

mod files;
mod ids;

use std::path::PathBuf;

use regent_core::replication::Mode;
use regent_core::state::Change;
use regent_world::history::linearizable_assignment::Operation;
use regent_world::history::watch;
use serde::{Deserialize, Serialize};

use crate::history::Write;
use crate::invariants::accounted_rows::Tail;
use crate::timeline::Event;
use crate::wan::LatenessReport;
pub use files::{Unreadable, read, write_end, write_run, write_told};
pub use ids::Ids;

/// `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// Its class.
    pub class: String,
    /// What it is, in a sentence.
    pub what: String,
    /// Where its chance began.
    pub seed: u64,
    /// Revision of the code that ran.
    pub revision: String,
    /// The command that runs it again.
    pub again: String,
    /// When commits were acknowledged.
    pub mode: Mode,
    /// Names of the regions, in the order of their nodes' ids.
    pub regions: Vec<String>,
    /// Round trips by pair, in milliseconds.
    pub round_trips_ms: Vec<f64>,
    /// The primary at the beginning.
    pub start: Start,
    /// When clients began to write.
    pub begun_ns: u64,
    /// When all of them were writing, and the schedule began.
    pub schedule_ns: u64,
    /// When every fault was over.
    pub off_ns: u64,
    /// What was done.
    pub strikes: Vec<Strike>,
    /// How often the primary had to move at least, and might at most.
    pub promotions: [u32; 2],
    /// How long it might take until all was whole.
    pub heals_within_ms: u64,
    /// For how long no client at all might be acknowledged, if there was a bound.
    pub gap_within_ms: Option<u64>,
}

/// Who was primary when a run began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Its region.
    pub primary: usize,
    /// Region of the Raft leader, if there was one.
    pub leader: Option<usize>,
    /// Its epoch.
    pub epoch: u64,
    /// The last row that was there before.
    pub last_id: u64,
}

/// A fault as it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Strike {
    /// Its name.
    pub name: String,
    /// What was done, in words.
    pub words: String,
    /// The regions that it struck.
    pub regions: Vec<usize>,
    /// When it began.
    pub from_ns: u64,
    /// When it was over; the same when it was done at once.
    pub to_ns: u64,
}

/// `end.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct End {
    /// When all was whole again; none if it never was.
    pub whole_ns: Option<u64>,
    /// Why not, or what else went wrong while it was waited for.
    pub trouble: Option<String>,
    /// When writers and askers of every region had been served again.
    pub served_ns: Option<u64>,
    /// When everything was over.
    pub ended_ns: u64,
    /// Rows that were there before the run.
    pub before: Ids,
    /// Rows of earlier runs on the same cluster that were never answered: a packet that a cut held up for a minute can still
    /// bring them.
    #[serde(default)]
    pub unanswered: Ids,
    /// Rows that are there in the end; none if nobody could be asked.
    pub rows: Option<Ids>,
    /// Every change of the group's epoch, as the log recorded it.
    pub log: Vec<Change>,
    /// What old primaries left behind, read from their own files.
    pub tails: Vec<Tail>,
    /// How late the emulated links were.
    pub lateness: Option<LatenessReport>,
    /// The longest that the machine's own disk took to flush a few bytes, in milliseconds.
    #[serde(default)]
    pub longest_flush_ms: f64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it is.
    pub dir: PathBuf,
    /// `run.json`
    pub run: Run,
    /// `end.json`
    pub end: End,
    /// `history.jsonl`
    pub writes: Vec<Write>,
    /// `told.jsonl`: what was asked and answered.
    pub reads: Vec<Operation>,
    /// `told.jsonl`: of each watcher, what it was told in its order.
    pub watched: Vec<Vec<watch::Event>>,
    /// The audit files, in the order of time.
    pub events: Vec<Event>,
}
