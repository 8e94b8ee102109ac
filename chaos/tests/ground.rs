//! A whole cluster on a network of its own: three regions a millisecond apart, with clients in them. Needs root, and says so
//! when it is not.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_chaos::cluster::admin::{Admin, View, wait_for};
use regent_chaos::cluster::land::Land;
use regent_chaos::cluster::topology::RoundTrips;
use regent_chaos::cluster::ways::Ways;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::demo::{fault::bring_home, setup};
use regent_chaos::history::{History, Write};
use regent_chaos::invariants::{accounted_rows, one_writable_primary};
use regent_chaos::workload::{Account, Table, Workload};
use regent_core::replication::Mode;

const HOME: usize = 0;
const LONG: Duration = Duration::from_secs(90);
/// Rows that the clients of each region write before a fault: one among idle clients says nothing.
const WARM: usize = 50;

#[test]
fn clients_in_their_regions_follow_the_primary_wherever_it_goes() {
    let round_trips = RoundTrips::even(3, Duration::from_millis(1)).unwrap();
    let land = match Land::start(round_trips, 1) {
        Ok(land) => land,
        Err(why) if why.is_not_allowed() => return eprintln!("skipped: {}: {why}", module_path!()),
        Err(other) => panic!("{:#}", anyhow::Error::from(other)),
    };
    land.run(async || play(&land).await.unwrap_or_else(|error| panic!("{error:#}"))).unwrap();
}

async fn play(land: &Arc<Land>) -> anyhow::Result<()> {
    let (cluster, account) = setup::start_with(Options::on(land)).await?;
    let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
    let mut stage = Stage { cluster, account, history };
    let played = stage.play().await;
    if played.is_err() {
        stage.cluster.keep_files();
    }
    played.with_context(|| format!("its files are in {}", stage.cluster.run_dir().path().display()))
}

struct Stage {
    cluster: Cluster,
    account: Account,
    history: History,
}

impl Stage {
    async fn play(&mut self) -> anyhow::Result<()> {
        bring_home(&mut self.cluster, HOME, LONG).await?;
        setup::set_mode(&self.cluster, Mode::Sync { count: 1 }).await?;
        self.whole().await?;
        self.home_is_cut_off().await
    }

    /// Another writes, and home comes back: it was never killed, and has to see for itself that it leads no more.
    async fn home_is_cut_off(&mut self) -> anyhow::Result<()> {
        let writing = self.start_writing().await?;
        let timeline = self.history.newest_timeline();
        self.cluster.cut(&Ways::Around(HOME))?;
        let first = self.seen("a successor writes", || self.history.first_after(timeline)).await?;
        ensure!(first.instance != HOME, "{first:?}");
        self.cluster.heal(&Ways::Around(HOME))?;
        self.judge(writing, "home writes again").await
    }

    async fn whole(&mut self) -> anyhow::Result<View> {
        wait_for(&mut self.cluster, "whole", LONG, View::is_whole, |_| ()).await
    }

    async fn start_writing(&self) -> anyhow::Result<Workload> {
        let clients = (0..self.cluster.regions()).map(|region| self.cluster.writers(region));
        let writing = Workload::start(clients.collect(), &self.account, &self.history);
        self.all_write("clients write").await?;
        Ok(writing)
    }

    /// Until the clients of each region had some more rows acknowledged.
    async fn all_write(&self, what: &str) -> anyhow::Result<()> {
        for region in self.cluster.names() {
            let here = |write: &&Write| write.receipt().is_some() && write.client == *region;
            let now = || self.history.writes().iter().filter(here).count();
            let before = now();
            self.seen(what, || (now() >= before + WARM).then_some(())).await?;
        }
        Ok(())
    }

    async fn seen<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
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

    /// All is whole, all write, and every row that was acknowledged is there.
    async fn judge(&mut self, writing: Workload, what: &str) -> anyhow::Result<()> {
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
