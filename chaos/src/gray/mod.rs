//! Half dead: what can befall a Postgres so that it looks alive and commits nothing, for the live tests and the bench.

pub mod disk;
pub mod load;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::clock::now_ns;
use crate::cluster::disk::Disk;
use crate::cluster::faults::NothingThere;
use crate::cluster::topology::REGIONS;
use crate::cluster::{Cluster, processes};

/// How often a crash loop looks for a postmaster to kill.
const LOOP: Duration = Duration::from_millis(20);

/// What befalls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The postmaster is stopped: who is connected is served, nobody new is.
    Postmaster,
    /// All its children are stopped: those that are connected get no answer.
    Backends,
    /// Both: connections are accepted by the kernel, and nobody ever answers.
    Mute,
    /// It is killed, whenever it was started.
    CrashLoop,
    /// The file system of the data directory takes no write.
    DiskFrozen,
    /// The same, and what the agent must not forget is on it as well.
    AllFrozen,
    /// There is no room left on it.
    DiskFull,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Kind; 7] = [
        Kind::Postmaster,
        Kind::Backends,
        Kind::Mute,
        Kind::CrashLoop,
        Kind::DiskFrozen,
        Kind::AllFrozen,
        Kind::DiskFull,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Postmaster => "postmaster stopped",
            Kind::Backends => "every backend stopped",
            Kind::Mute => "all of it stopped: accepts, never answers",
            Kind::CrashLoop => "crash loop",
            Kind::DiskFrozen => "disk frozen",
            Kind::AllFrozen => "disk frozen, the agent's state on it",
            Kind::DiskFull => "disk full",
        }
    }

    /// Whether it strikes a disk, which then has to be one of its own.
    pub fn strikes_disk(self) -> bool {
        matches!(self, Kind::DiskFrozen | Kind::AllFrozen | Kind::DiskFull)
    }
}

/// A fault that lasts until it is ended or dropped.
pub struct Struck {
    /// When it began.
    pub at_ns: u64,
    data_dir: PathBuf,
    stopped: Vec<i32>,
    crashing: Option<Crashing>,
    disk: Option<Disk>,
}

/// Strikes a region's Postgres, whose disk is `disk` if the fault needs one.
pub fn strike(kind: Kind, cluster: &Cluster, region: usize, disk: Option<Disk>) -> anyhow::Result<Struck> {
    let data_dir = cluster.data_dir(region);
    let nothing = || NothingThere { what: "postmaster".into(), region: REGIONS[region] };
    let postmaster = cluster.postmaster(region)?.ok_or_else(nothing)?;
    let at_ns = now_ns();
    let mut struck = Struck { at_ns, data_dir, stopped: Vec::new(), crashing: None, disk };
    let its_disk = || struck.disk.as_ref().context("it has a disk of its own");
    match kind {
        Kind::Postmaster => struck.stopped = vec![postmaster],
        Kind::Backends => {
            let all = processes::under(&struck.data_dir)?;
            struck.stopped = all.into_iter().filter(|pid| *pid != postmaster).collect();
        }
        Kind::Mute => struck.stopped = processes::under(&struck.data_dir)?.into_iter().collect(),
        Kind::CrashLoop => struck.crashing = Some(Crashing::begin(struck.data_dir.clone())),
        Kind::DiskFrozen | Kind::AllFrozen => its_disk()?.freeze()?,
        Kind::DiskFull => its_disk()?.fill()?,
    }
    struck.signal(Signal::SIGSTOP)?;
    Ok(struck)
}

impl Struck {
    /// Ends it. What was stopped goes on, as far as it lives. Gives the disk back.
    pub fn end(mut self) -> anyhow::Result<Option<Disk>> {
        self.crashing.take();
        self.signal(Signal::SIGCONT)?;
        if let Some(disk) = &self.disk {
            disk.well()?;
        }
        Ok(self.disk.take())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let living = processes::under(&self.data_dir)?;
        for pid in self.stopped.iter().filter(|pid| living.contains(pid)) {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        Ok(())
    }
}

struct Crashing {
    over: Arc<AtomicBool>,
    killer: Option<JoinHandle<()>>,
}

impl Crashing {
    fn begin(data_dir: PathBuf) -> Crashing {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let killer = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                crash(&data_dir);
                std::thread::sleep(LOOP);
            }
        });
        Crashing { over, killer: Some(killer) }
    }
}

impl Drop for Crashing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(killer) = self.killer.take() {
            let _ = killer.join();
        }
    }
}

/// Kills the postmaster, if there is one.
fn crash(data_dir: &Path) {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let living = processes::under(data_dir).unwrap_or_default();
    if let Some(pid) = pid.filter(|pid| living.contains(pid)) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
