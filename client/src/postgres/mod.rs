//! The local Postgres: all that knows its programs, its files and its SQL.
//!
//! Nothing here decides anything. Which role to take, when to promote and when to stop is decided by the pure core; this
//! offers it operations, each of which says exactly what happened, and observations cheap enough for every 50 ms.
//!
//! What holds throughout:
//! - A data directory is never deleted and never written by two. New clusters are made beside it and take its place by a
//!   rename; what was there is moved aside and stays (`replaced`).
//! - A process is what it *is* (its program and working directory, held by a pidfd), never a number in a file.
//! - The postmaster is in a session of its own and outlives the agent; a new agent adopts it without touching it.
//! - After `stop` has returned, no process of the old server is left: none can acknowledge anything any more.
//! - Nothing here blocks the thread it is called on; a stuck server is waited for with a limit, a copy while it goes on.
//!
//! What it leaves out on purpose: tablespaces and a separate `pg_wal` volume are not relocated (`pg_basebackup` refuses and
//! nothing is touched); archives are the operator's (`restore_command` in `parameters`).

mod binaries;
mod by_command;
mod clone;
mod conf;
mod config;
mod configure;
mod control;
mod directory;
mod error;
mod files;
mod initialise;
mod lineage;
mod lockfile;
mod log;
mod lsn;
mod observe;
mod own;
mod probe;
mod process;
mod rewind;
mod run;
mod session;
mod settings;
mod slots;
mod survey;
mod synchronous;
mod tail;
mod takeover;
mod timelines;
mod tool;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, watch};

pub use by_command::CloneCommand;
pub use clone::Cloned;
pub use conf::Setting;
pub use config::DEFAULTS;
pub use directory::{Cluster, ControlState, Directory};
pub use error::PostgresError;
pub use lsn::{Lsn, NotAnLsn};
pub use observe::{Observation, Standby, Streaming};
pub use own::Own;
pub use probe::{ProbeLine, Probed};
pub use rewind::Rewind;
pub use run::{Adopted, Exit, Mode, Role, Stopped};
pub use settings::{Gate, RunAs, Secret, Settings, Upstream};
pub use slots::{Owner, Slot, Slots, slot_name};
pub use survey::{Change, Live, Survey};
pub use synchronous::{Synchronous, at_places, places};
pub use tail::KeptTail;
pub use takeover::Back;
pub use upstream::UpstreamFacts;

use binaries::Binaries;
use process::Postmaster;
use session::Session;
use tool::Tool;

/// The first major version whose logical slots can survive a promotion.
const FAILOVER_SLOTS_SINCE: u32 = 17;

/// The Postgres server of one instance.
#[derive(Debug)]
pub struct Server {
    settings: Arc<Settings>,
    binaries: Binaries,
    /// The postmaster that is supervised, if any.
    postmaster: watch::Sender<Option<Arc<Postmaster>>>,
    /// The one local connection, made when needed.
    session: Mutex<Option<Arc<Session>>>,
    /// Held by whoever changes the directory or starts a server on it. Stopping does not need it.
    changing: Mutex<()>,
}

impl Server {
    /// Checks the settings, and finds the programs.
    pub fn new(settings: Settings) -> Result<Self, PostgresError> {
        settings.check()?;
        let binaries = Binaries::find(settings.bin_dir.as_deref())?;
        let failover_slots = binaries.major >= FAILOVER_SLOTS_SINCE && settings.decodes();
        let settings = Settings { failover_slots, ..settings };
        Ok(Server {
            settings: Arc::new(settings),
            binaries,
            postmaster: watch::Sender::new(None),
            session: Mutex::new(None),
            changing: Mutex::new(()),
        })
    }

    /// What this server was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The major version of the programs.
    pub fn version(&self) -> u32 {
        self.binaries.major
    }

    /// What is in the data directory.
    pub async fn directory(&self) -> Result<Directory, PostgresError> {
        if self.half_rewound() {
            let what = "a cluster whose rewind was interrupted or failed: it has to be cloned".into();
            return Ok(Directory::Foreign { what });
        }
        directory::inspect(&self.settings.data_dir, &self.binaries, self.settings.run_as).await
    }

    /// Whether a rewind of the directory was interrupted or failed: it must be cloned, and not be started.
    pub fn half_rewound(&self) -> bool {
        files::rewind_mark(self.data_dir()).exists() && self.data_dir().exists()
    }

    /// The directories that were moved aside, oldest first. They are never removed here.
    pub fn replaced(&self) -> Result<Vec<PathBuf>, PostgresError> {
        files::replaced(&self.settings.data_dir)
    }

    /// The postmaster, if one is supervised and alive.
    fn running(&self) -> Option<Arc<Postmaster>> {
        self.postmaster.borrow().clone().filter(|postmaster| postmaster.is_alive())
    }

    /// Fails where no postmaster of this server is alive.
    pub fn must_run(&self) -> Result<(), PostgresError> {
        self.expect_running().map(drop)
    }

    fn expect_running(&self) -> Result<Arc<Postmaster>, PostgresError> {
        self.running().ok_or_else(|| PostgresError::NotRunning(self.settings.data_dir.clone()))
    }

    async fn expect_cluster(&self) -> Result<Cluster, PostgresError> {
        let what = match self.directory().await? {
            Directory::Cluster(cluster) => return Ok(cluster),
            Directory::Missing => "it does not exist".to_owned(),
            Directory::Empty => "it is empty".to_owned(),
            Directory::Foreign { what } => what,
        };
        Err(PostgresError::NoCluster { path: self.settings.data_dir.clone(), what })
    }

    fn tool(&self, binary: &'static str) -> Tool {
        Tool::new(&self.binaries.path(binary), self.settings.run_as)
    }

    fn data_dir(&self) -> &Path {
        &self.settings.data_dir
    }
}
