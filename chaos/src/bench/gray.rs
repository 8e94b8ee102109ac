//! How long writes stop when the primary's Postgres is half dead, by kind; and that one that is merely slow, under load or
//! because each commit takes 300 ms longer, is not given up.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_core::replication::Mode;
use serde::Serialize;

use super::report::Row;
use crate::clock::ms_between;
use crate::cluster::Cluster;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::disk::Disk;
use crate::cluster::topology::RoundTrips;
use crate::demo::{fault::bring_home, setup};
use crate::gray::disk;
use crate::gray::load::{Said, Server};
use crate::gray::{Kind, load, strike};
use crate::history::History;
use crate::terminal::Stage;
use crate::workload::{Account, Workload};

/// Whose Postgres is struck. A disk of its own is put under a standby, which then becomes the primary.
const STRUCK: usize = 1;
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows that must have been acknowledged before a fault.
const WARM: usize = 100;
const POLL: Duration = Duration::from_millis(5);
/// How much longer a flush of the log takes where the disk is slow.
const SLOW: Duration = Duration::from_millis(300);

/// The figures of one kind.
#[derive(Serialize)]
pub struct Figures {
    /// What befell it.
    pub kind: String,
    /// From then until a successor acknowledged a write, in each trial.
    pub writes_ms: Vec<f64>,
    /// How many epochs it cost, in all trials.
    pub epochs: u64,
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] = &["fault", "trials", "median ms", "longest ms", "epochs"];

    fn cells(&self) -> Vec<String> {
        let mut sorted = self.writes_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let figure = |ms: Option<&f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
        vec![
            self.kind.clone(),
            sorted.len().to_string(),
            figure(sorted.get(sorted.len() / 2)),
            figure(sorted.last()),
            self.epochs.to_string(),
        ]
    }
}

/// Each kind in turn, then, for so many seconds each, what is only slow.
pub async fn measure(
    round_trips: RoundTrips,
    mode: Mode,
    kinds: &[Kind],
    trials: usize,
    seconds: u64,
) -> anyhow::Result<Vec<Figures>> {
    let (cluster, account) = setup::start_under_shim(round_trips).await?;
    setup::set_mode(&cluster, mode).await?;
    let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
    let mut bench = Bench { cluster, account, history };
    let mut all = Vec::new();
    for kind in kinds {
        match kind.strikes_disk().then(Disk::unavailable).flatten() {
            Some(why) => println!("{}: left out, {why}", kind.words()),
            None => all.push(bench.of(*kind, trials).await?),
        }
    }
    all.push(bench.under_load(seconds).await?);
    all.push(bench.on_a_slow_disk(seconds).await?);
    Ok(all)
}

struct Bench {
    cluster: Cluster,
    account: Account,
    history: History,
}

impl Bench {
    async fn of(&mut self, kind: Kind, trials: usize) -> anyhow::Result<Figures> {
        let mut disk = None;
        if kind.strikes_disk() {
            self.calm_at(0).await?;
            disk = Some(disk::under(&mut self.cluster, STRUCK, kind == Kind::AllFrozen)?);
        }
        let mut figures = Figures { kind: kind.words().to_owned(), writes_ms: Vec::new(), epochs: 0 };
        for _ in 0..trials {
            let before = self.calm_at(STRUCK).await?;
            let stage = Stage::begin(kind.words());
            let writing = self.start_writing().await?;
            let timeline = self.history.newest_timeline();
            let struck = strike(kind, &self.cluster, STRUCK, disk.take())?;
            let took = self.until_written(timeline, struck.at_ns).await?;
            disk = struck.end()?;
            let after = self.whole().await?;
            writing.stop().await;
            stage.done(format!("written again after {took:.0} ms"));
            figures.writes_ms.push(took);
            figures.epochs += after.epoch - before.epoch;
        }
        if let Some(disk) = disk {
            self.calm_at(0).await?;
            disk::back(disk, &mut self.cluster, STRUCK)?;
        }
        Ok(figures)
    }

    async fn under_load(&mut self, seconds: u64) -> anyhow::Result<Figures> {
        let before = self.calm_at(STRUCK).await?;
        let stage = Stage::begin(format!("pgbench, {} sessions, for {seconds} s", load::CLIENTS));
        load::prepare(&self.cluster, STRUCK)?;
        let said = self.pgbench(load::CLIENTS, seconds).await?;
        stage.done(format!("{:.0} transactions a second", said.tps));
        let kind = format!("none: pgbench at saturation for {seconds} s, {:.0} tps", said.tps);
        self.unmoved(kind, &before).await
    }

    /// Each commit takes 300 ms longer; one session, so that none waits for another's flush.
    async fn on_a_slow_disk(&mut self, seconds: u64) -> anyhow::Result<Figures> {
        let before = self.calm_at(STRUCK).await?;
        let stage = Stage::begin(format!("each flush takes {SLOW:?} longer, for {seconds} s"));
        self.cluster.shim(STRUCK)?.slow_flushes(SLOW)?;
        let said = self.pgbench(1, seconds).await;
        self.cluster.shim(STRUCK)?.slow_flushes(Duration::ZERO)?;
        let said = said.context("on a slow disk pgbench did not get through: was the primary given up?")?;
        stage.done(format!("a commit took {:.0} ms", said.latency_ms));
        ensure!(said.latency_ms > SLOW.as_secs_f64() * 1e3, "the disk was not slow: {said:?}");
        let kind = format!("none: commits of {:.0} ms for {seconds} s", said.latency_ms);
        self.unmoved(kind, &before).await
    }

    /// Beside the runtime: what the harness does meanwhile must go on.
    async fn pgbench(&self, sessions: u32, seconds: u64) -> anyhow::Result<Said> {
        let server = Server::of(&self.cluster, STRUCK);
        tokio::task::spawn_blocking(move || server.load("simple-update", sessions, seconds)).await?
    }

    async fn unmoved(&mut self, kind: String, before: &View) -> anyhow::Result<Figures> {
        let after = self.whole().await?;
        ensure!(after.primary == before.primary, "{before:?}, then {after:?}");
        Ok(Figures { kind, writes_ms: Vec::new(), epochs: after.epoch - before.epoch })
    }

    async fn calm_at(&mut self, region: usize) -> anyhow::Result<View> {
        self.whole().await?;
        bring_home(&mut self.cluster, region, PATIENCE).await?;
        let calm = |view: &View| view.is_whole() && view.primary == Some(region);
        wait_for(&mut self.cluster, "calm", PATIENCE, calm, |_| ()).await
    }

    async fn whole(&mut self) -> anyhow::Result<View> {
        wait_for(&mut self.cluster, "calm", PATIENCE, View::is_whole, |_| ()).await
    }

    /// Clients in the regions that are not struck.
    async fn start_writing(&self) -> anyhow::Result<Workload> {
        let before = self.history.acknowledged();
        let regions = (0..self.cluster.regions()).filter(|region| *region != STRUCK);
        let clients = regions.map(|region| self.cluster.writers(region));
        let writing = Workload::start(clients.collect(), &self.account, &self.history);
        let start = Instant::now();
        while self.history.acknowledged() < before + WARM {
            ensure!(start.elapsed() < PATIENCE, "clients do not write");
            tokio::time::sleep(POLL).await;
        }
        Ok(writing)
    }

    async fn until_written(&self, timeline: u32, since_ns: u64) -> anyhow::Result<f64> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(first) = self.history.first_after(timeline) {
                let receipt = first.receipt().context("the first row was acknowledged")?;
                return Ok(ms_between(since_ns, receipt.at_ns));
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no other wrote within {PATIENCE:?}")
    }
}
