//! The stage: a cluster on a network of its own, its clients, and what was remembered of every write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_chaos::cluster::admin::{Admin, View, wait_for};
use regent_chaos::cluster::disk::Disk;
use regent_chaos::cluster::land::Land;
use regent_chaos::cluster::topology::RoundTrips;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::demo::{fault::bring_home, setup};
use regent_chaos::history::{History, Write};
use regent_chaos::invariants::{accounted_rows, one_writable_primary};
use regent_chaos::workload::{Account, Table, Workload};
use regent_core::replication::Mode;

pub const HOME: usize = 0;
pub const LONG: Duration = Duration::from_secs(90);
/// Rows that the clients of each region write before a fault: one among idle clients says nothing.
const WARM: usize = 50;

pub struct Stage {
    pub cluster: Cluster,
    pub land: Arc<Land>,
    pub history: History,
    account: Account,
}

/// A network of three regions; none where that, or a disk of its own, is not allowed.
pub fn land() -> Option<Arc<Land>> {
    let skipped = |why: String| {
        eprintln!("skipped: {}: {why}", std::thread::current().name().unwrap_or("a test of the ground"));
        None
    };
    if let Some(why) = Disk::unavailable() {
        return skipped(why);
    }
    match Land::start(RoundTrips::even(3, Duration::from_millis(1)).unwrap(), 1) {
        Ok(land) => Some(land),
        Err(why) if why.is_not_allowed() => skipped(why.to_string()),
        Err(other) => panic!("{:#}", anyhow::Error::from(other)),
    }
}

/// Three regions with disks of their own and the shim.
pub fn options(land: &Arc<Land>) -> Options {
    Options { disks: vec![0, 1, 2], shim: true, ..Options::on(land) }
}

/// Plays from a calm at home, in `sync`.
pub fn play(scenario: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()> + Send) {
    let _alone = super::alone();
    let Some(land) = land() else { return };
    let played = land.run(async || {
        let mut stage = Stage::build(&land).await?;
        let played = scenario(&mut stage).await;
        if played.is_err() {
            stage.cluster.keep_files();
        }
        played.with_context(|| format!("its files are in {}", stage.cluster.run_dir().path().display()))
    });
    played.unwrap().unwrap_or_else(|error| panic!("{error:#}"));
}

impl Stage {
    async fn build(land: &Arc<Land>) -> anyhow::Result<Stage> {
        let (mut cluster, account) = setup::start_with(options(land)).await?;
        let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
        bring_home(&mut cluster, HOME, LONG).await?;
        setup::set_mode(&cluster, Mode::Sync { count: 1 }).await?;
        let mut stage = Stage { cluster, land: land.clone(), account, history };
        stage.whole().await?;
        Ok(stage)
    }

    /// All is whole, and every Postgres answers: what the nodes know of one may be from before it was killed.
    pub async fn whole(&mut self) -> anyhow::Result<View> {
        for region in 0..self.cluster.regions() {
            self.answers(region, "SELECT 1").await?;
        }
        wait_for(&mut self.cluster, "whole", LONG, View::is_whole, |_| ()).await
    }

    pub async fn start_writing(&self) -> anyhow::Result<Workload> {
        let clients = (0..self.cluster.regions()).map(|region| self.cluster.writers(region));
        let writing = Workload::start(clients.collect(), &self.account, &self.history);
        self.all_write("clients write").await?;
        Ok(writing)
    }

    /// Until the clients of each region had some more rows acknowledged.
    pub async fn all_write(&self, what: &str) -> anyhow::Result<()> {
        for region in self.cluster.names() {
            let here = |write: &&Write| write.receipt().is_some() && write.client == *region;
            let now = || self.history.writes().iter().filter(here).count();
            let before = now();
            self.seen(what, || (now() >= before + WARM).then_some(())).await?;
        }
        Ok(())
    }

    pub async fn seen<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        while start.elapsed() < LONG {
            if let Some(found) = look() {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let view = Admin::of(&self.cluster)?.view().await;
        bail!("{what}: not within {LONG:?}; the nodes say {view:?}")
    }

    /// What a region's Postgres answers, once it does.
    pub async fn answers(&self, region: usize, sql: &str) -> anyhow::Result<String> {
        self.seen(sql, || setup::as_superuser(&self.cluster, region, sql).ok()).await
    }

    /// All is whole, all write, and every row that was acknowledged is there.
    pub async fn judge(&mut self, writing: Workload, what: &str) -> anyhow::Result<()> {
        let view = self.whole().await?;
        self.all_write(what).await?;
        writing.stop().await;
        let primary = view.primary.context("a whole group has a primary")?;
        let writes = self.history.writes();
        let rows = Table::rows(self.cluster.postgres(primary), &self.account).await?;
        let writable = one_writable_primary::check(&writes);
        ensure!(writable.holds(), "S1 is broken: {writable:?}");
        let accounted = accounted_rows::check(&writes, &rows, &[], &BTreeSet::new());
        ensure!(accounted.holds() && accounted.lost.is_empty(), "rows are missing: {accounted:?}");
        Ok(())
    }
}
