//! How long writes stop when the primary's Postgres is half dead, by kind; and that load alone costs no promotion.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::report::Row;
use crate::clock::ms_between;
use crate::cluster::Cluster;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::topology::{REGIONS, RoundTrips};
use crate::demo::{fault::bring_home, setup};
use crate::gray::disk::Disk;
use crate::gray::{Kind, load, strike};
use crate::history::History;
use crate::terminal::Stage;
use crate::workload::{Account, Clients, Workload};

/// Whose Postgres is struck. A disk of its own is put under a standby, which then becomes the primary.
const STRUCK: usize = 1;
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows that must have been acknowledged before a fault.
const WARM: usize = 100;
const POLL: Duration = Duration::from_millis(5);

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

/// Each kind in turn, then load without a fault for so many seconds.
pub async fn measure(
    round_trips: RoundTrips,
    kinds: &[Kind],
    trials: usize,
    seconds: u64,
) -> anyhow::Result<Vec<Figures>> {
    let (cluster, account) = setup::start(round_trips).await?;
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
            disk = Some(Disk::under(&mut self.cluster, STRUCK, kind == Kind::AllFrozen)?);
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
            disk.back(&mut self.cluster, STRUCK)?;
        }
        Ok(figures)
    }

    async fn under_load(&mut self, seconds: u64) -> anyhow::Result<Figures> {
        let before = self.calm_at(STRUCK).await?;
        let stage = Stage::begin(format!("pgbench, {} sessions, for {seconds} s", load::CLIENTS));
        load::prepare(&self.cluster, STRUCK)?;
        let tps = load::saturate(&self.cluster, STRUCK, seconds)?;
        let after = self.whole().await?;
        stage.done(format!("{tps:.0} transactions a second"));
        ensure!(after.primary == before.primary, "{before:?}, then {after:?}");
        let kind = format!("none: pgbench for {seconds} s, {tps:.0} tps");
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
        let regions = (0..REGIONS.len()).filter(|region| *region != STRUCK);
        let clients = regions.map(|region| Clients {
            region: REGIONS[region],
            instances: self.cluster.postgres_seen_from(region),
        });
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
