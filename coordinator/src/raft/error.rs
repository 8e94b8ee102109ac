//! What can go wrong, with what was expected, what was found, and what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::SettingsError;

/// What to do about a store that has forgotten something. Said wherever a store is refused.
const REPLACE: &str = "Do not empty the directory to start again under the same id: a node that forgot its votes can break \
                       the cluster. Keep the directory for inspection, remove the node from the cluster, and add a new node \
                       under an id that was never used";

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The times do not fit the distances.
    #[error("settings: {0}")]
    Settings(#[from] SettingsError),
    /// The node is not in its own list of members.
    #[error("node {node_id} is not in the configured members {members:?}: add it, or correct node_id")]
    NotAMember {
        /// Who wants to start.
        node_id: u64,
        /// Who is configured.
        members: Vec<u64>,
    },
    /// Another process has the directory open.
    #[error("{}: another process is using this data directory; stop it, or give this node its own directory", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another node or cluster. It is left as it was.
    #[error("{}: expected {expected}, got {got}; nothing was changed. Correct data_dir, cluster or node_id", .file.display())]
    Foreign {
        /// The file that says so.
        file: PathBuf,
        /// Who wants to start.
        expected: String,
        /// Whose directory it is.
        got: String,
    },
    /// The directory has contents and no marker.
    #[error("{}: expected an empty directory or one with the file {marker}, got other files; nothing was changed. \
             Correct data_dir, or bring the file back. {REPLACE}", .dir.display())]
    Unmarked {
        /// The directory.
        dir: PathBuf,
        /// What is missing.
        marker: &'static str,
    },
    /// The store has less in it than it had.
    #[error("{}: the store has lost what it had: {what}. {REPLACE}", .file.display())]
    Lost {
        /// The file.
        file: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A file does not hold what it should.
    #[error("{}: damaged: {what}. {REPLACE}", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}; check the disk, its free space and the permissions, then start again", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An address cannot be used.
    #[error(
        "node {node_id}: expected an address like host:port, got {addr:?}; correct it in the configuration"
    )]
    Address {
        /// Whose address.
        node_id: u64,
        /// What was given.
        addr: String,
    },
    /// The consensus library refused to start.
    #[error("Raft did not start: {0}")]
    Raft(String),
}

impl StartError {
    pub(super) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { file: file.to_owned(), source }
    }

    pub(super) fn corrupt(file: &Path, what: impl ToString) -> Self {
        Self::Corrupt { file: file.to_owned(), what: what.to_string() }
    }

    pub(super) fn lost(file: &Path, what: impl ToString) -> Self {
        Self::Lost { file: file.to_owned(), what: what.to_string() }
    }
}

/// Why a command was not decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed.
    #[error("this node does not lead; ask {}", leader.map_or("again in a moment, nobody is known to lead".to_owned(), |n| format!("node {n}")))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// The command may be applied, now or later, or never.
    #[error(
        "no answer within {waited:?}: the command may or may not take effect; look at the state before trying again"
    )]
    Undecided {
        /// How long was waited.
        waited: Duration,
    },
    /// Nothing was proposed.
    #[error("command of {got} bytes, expected at most {max}; split it")]
    TooLarge {
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing was proposed.
    #[error("the node stops: {0}")]
    Stopped(String),
}

/// Why the members were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Only the leader changes members.
    #[error("this node does not lead; ask {}", leader.map_or("again in a moment, nobody is known to lead".to_owned(), |n| format!("node {n}")))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// The change makes no sense for the members there are.
    #[error("{0}")]
    Refused(String),
    /// The node did not catch up, or the change was not decided in time.
    #[error(
        "node {node_id}: not finished within {waited:?}, and goes on; look at the members, then call again"
    )]
    Unfinished {
        /// Who was added or removed.
        node_id: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// The node stops.
    #[error("the node stops: {0}")]
    Stopped(String),
}

/// Why a record of the witness was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// Larger than a value may be.
    #[error("record {name:?} of {got} bytes, expected at most {max}; split it")]
    TooLarge {
        /// The record.
        name: String,
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// The node stops.
    #[error(transparent)]
    Closed(#[from] super::writer::Closed),
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepDownError {
    /// Nobody could take over.
    #[error("no other voter is in touch and caught up; the cluster elects by itself when this node is gone")]
    NoHeir,
    /// The heir did not take over.
    #[error(
        "node {heir} did not take over within {} ms; the cluster elects by itself when this node is gone",
        waited.as_millis()
    )]
    NotTaken {
        /// Who should have.
        heir: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// The node stops.
    #[error("the node stops: {0}")]
    Stopped(String),
}
