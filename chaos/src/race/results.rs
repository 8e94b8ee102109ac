//! What has been measured so far, in a file that later runs add to, so that a long race can be run in pieces.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::contestant::Kind;
use super::fault::Fault;
use super::figures::Trial;
use super::installed::Peers;

/// One trial of somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub contestant: Kind,
    /// What was done.
    pub fault: Fault,
    /// How many times round, from 1.
    pub round: usize,
    /// What it showed.
    #[serde(flatten)]
    pub trial: Trial,
}

/// The file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Of every run: when it began, on what.
    pub runs: Vec<Run>,
    /// Whatever came of them.
    pub trials: Vec<Entry>,
    /// Trials without a result.
    pub failed: Vec<Failed>,
}

/// A trial that could not be played to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// Who.
    pub contestant: Kind,
    /// What was done.
    pub fault: Fault,
    /// Why.
    pub why: String,
}

/// When and where, and of which versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// UTC.
    pub date: String,
    /// Processors, kernel.
    pub machine: BTreeMap<String, String>,
    /// What each program says of itself.
    pub versions: Vec<String>,
}

impl Results {
    /// What earlier runs have left; nothing if there was none.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Results> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(Results::default()) };
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no result of a race", path.display()))
    }

    /// After each trial, so that nothing is lost with a run that is ended.
    pub fn write(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Run {
    /// Now and here.
    pub fn now(peers: Option<&Peers>) -> anyhow::Result<Run> {
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let processors = std::thread::available_parallelism()?.to_string();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let machine = [("processors", processors), ("kernel", kernel)];
        let machine = machine.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let own = format!("regent {}, {}", env!("CARGO_PKG_VERSION"), env!("REGENT_REVISION"));
        let mut versions = vec![own];
        versions.extend(peers.map(Peers::versions).transpose()?.unwrap_or_default());
        Ok(Run { date, machine, versions })
    }
}
