//! The primary's clock stands still for two seconds while its Postgres runs on: what a hypervisor does that stops a guest
//! and hides it. The agent's timers do not fire, so it is silent and another takes over; and by its own clock the old
//! primary's lease does not end.
//!
//! A mode that rests on no clock must lose nothing by it, and its old primary must acknowledge nothing once its successor
//! has. One that rests on the lease alone breaks its promise here (`docs/modes.md`): that it is *seen* to shows that these
//! figures can say no.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use regent_core::replication::Mode;
use serde::Serialize;

use super::report::Row;
use crate::clock::{ms_between, now_ns};
use crate::cluster::Cluster;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::topology::{REGIONS, RoundTrips};
use crate::demo::{fault::bring_home, setup};
use crate::history::{History, Write};
use crate::invariants::{accounted_rows, one_writable_primary};
use crate::terminal::Stage;
use crate::workload::{Account, Clients, Table, Workload};

/// Where the primary is whose clock stands still.
const HOME: usize = 0;
/// For how long.
const STOPPED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows of each region's clients before the clock stops, and of all after it goes again.
const WARM: usize = 50;
const POLL: Duration = Duration::from_millis(20);

/// What else befalls the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Alone,
    CutFromNodes,
}

impl Variant {
    const ALL: [Variant; 2] = [Variant::Alone, Variant::CutFromNodes];

    fn words(self) -> &'static str {
        match self {
            Variant::Alone => "clock stopped for 2 s",
            Variant::CutFromNodes => "the same, agent and node cut from the others",
        }
    }
}

/// The figures of one variant, over all its trials.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// What was done.
    pub what: String,
    /// The mode, as it is written.
    pub mode: String,
    /// Whether that mode needs no clock: its commits wait for those that may take over.
    pub waits_for_standbys: bool,
    /// How often.
    pub trials: usize,
    /// In how many of them another took over.
    pub promoted: usize,
    /// Rows acknowledged, before, during and after.
    pub acknowledged: usize,
    /// Of those, rows that are not there in the end.
    pub lost: usize,
    /// Rows that the old primary acknowledged after its successor's first acknowledgement.
    pub after_successor: usize,
    /// Of those, rows that were also sent after it: what S1 forbids.
    pub s1_broken: usize,
    /// For how long the old primary went on acknowledging with its clock stopped, at most.
    pub old_acknowledged_ms: f64,
    /// From the stop until the successor acknowledged, at most.
    pub written_ms: f64,
}

impl Figures {
    /// Whether all was kept that a mode promises which needs no clock.
    pub fn good(&self) -> bool {
        !self.waits_for_standbys || self.holds()
    }

    /// Whether nothing was lost, and the old primary was silent once it had a successor.
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.after_successor == 0 && self.s1_broken == 0
    }
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] = &[
        "primary's region",
        "mode",
        "trials",
        "promoted",
        "acknowledged",
        "lost",
        "old after new",
        "sent after new",
        "old until ms",
        "new from ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.what.clone(),
            self.mode.clone(),
            self.trials.to_string(),
            self.promoted.to_string(),
            self.acknowledged.to_string(),
            self.lost.to_string(),
            self.after_successor.to_string(),
            self.s1_broken.to_string(),
            format!("{:.0}", self.old_acknowledged_ms),
            format!("{:.0}", self.written_ms),
        ]
    }
}

/// Each variant, so many times.
pub async fn measure(round_trips: RoundTrips, mode: Mode, trials: usize) -> anyhow::Result<Vec<Figures>> {
    let (cluster, account) = setup::start_under_shim(round_trips).await?;
    setup::set_mode(&cluster, mode).await?;
    let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
    let mut bench = Bench { cluster, account, history, judged: 0, lost: BTreeSet::new() };
    let mut all = Vec::new();
    for variant in Variant::ALL {
        let mut figures = Figures {
            what: variant.words().to_owned(),
            mode: mode.to_string(),
            waits_for_standbys: mode.count() > 0,
            trials,
            ..Figures::default()
        };
        for _ in 0..trials {
            let stage = Stage::begin(variant.words());
            if let Err(error) = bench.trial(variant, &mut figures).await {
                bench.cluster.keep_files();
                return Err(error)
                    .with_context(|| format!("logs are in {}", bench.cluster.run_dir().path().display()));
            }
            stage.done(format!("{} acknowledged, {} lost so far", figures.acknowledged, figures.lost));
        }
        all.push(figures);
    }
    Ok(all)
}

struct Bench {
    cluster: Cluster,
    account: Account,
    history: History,
    /// How many writes earlier trials have judged, and which rows were lost in them.
    judged: usize,
    lost: BTreeSet<u64>,
}

impl Bench {
    async fn trial(&mut self, variant: Variant, figures: &mut Figures) -> anyhow::Result<()> {
        let before = self.calm().await?;
        let writing = self.start_writing().await?;
        let timeline = self.history.newest_timeline();
        if variant == Variant::CutFromNodes {
            self.cluster.cut_nodes(HOME)?;
        }
        let stopped_ns = self.cluster.shim(HOME)?.stop_clocks()?;
        let ahead = Duration::from_nanos(stopped_ns.saturating_sub(now_ns()));
        tokio::time::sleep(ahead + STOPPED).await;
        self.cluster.shim(HOME)?.start_clocks()?;
        if variant == Variant::CutFromNodes {
            self.cluster.heal_nodes(HOME)?;
        }
        self.written("writes go on", WARM, |write| write.invoked_ns > stopped_ns).await?;
        let after = self.whole().await?;
        writing.stop().await;
        figures.promoted += usize::from(after.epoch > before.epoch);
        self.judge(&after, timeline, stopped_ns, figures).await
    }

    async fn judge(
        &mut self,
        after: &View,
        old: u32,
        stopped_ns: u64,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let all = self.history.writes();
        let mine = &all[self.judged..];
        let primary = after.primary.context("a whole group has a primary")?;
        let rows = Table::rows(self.cluster.postgres(primary), &self.account).await?;
        // Without the tails: whether what is gone is found in the old log is not the question here.
        let accounted = accounted_rows::check(&all, &rows, &[], &self.lost);
        ensure!(
            accounted.from_nowhere.is_empty() && accounted.reappeared.is_empty(),
            "rows from nowhere: {accounted:?}"
        );
        let lost_now: BTreeSet<u64> = accounted.unaccounted.into_iter().collect();
        figures.lost += lost_now.difference(&self.lost).count();
        figures.acknowledged += mine.iter().filter(|write| write.receipt().is_some()).count();
        figures.s1_broken += one_writable_primary::check(mine).late.len();
        let successor_ns = self.history.first_after(old).as_ref().map_or(u64::MAX, at_ns);
        let of_old = mine.iter().filter(|write| write.receipt().is_some_and(|one| one.timeline == old));
        let of_old: Vec<u64> = of_old.map(at_ns).filter(|at_ns| *at_ns > stopped_ns).collect();
        figures.after_successor += of_old.iter().filter(|at_ns| **at_ns > successor_ns).count();
        if successor_ns != u64::MAX {
            let last = of_old.iter().max().map_or(0.0, |last| ms_between(stopped_ns, *last));
            figures.old_acknowledged_ms = figures.old_acknowledged_ms.max(last);
            figures.written_ms = figures.written_ms.max(ms_between(stopped_ns, successor_ns));
        }
        self.lost.extend(lost_now);
        self.judged = all.len();
        Ok(())
    }

    async fn calm(&mut self) -> anyhow::Result<View> {
        self.whole().await?;
        bring_home(&mut self.cluster, HOME, PATIENCE).await?;
        let calm = |view: &View| view.is_whole() && view.primary == Some(HOME) && view.leader == Some(HOME);
        wait_for(&mut self.cluster, "calm at home", PATIENCE, calm, |_| ()).await
    }

    async fn whole(&mut self) -> anyhow::Result<View> {
        wait_for(&mut self.cluster, "calm", PATIENCE, View::is_whole, |_| ()).await
    }

    /// Clients in the other regions, which follow the primary, and one at home that knows no other server than the one
    /// there: its sessions stay open, and go on writing to it whatever happens.
    async fn start_writing(&self) -> anyhow::Result<Workload> {
        let mut all: Vec<Clients> = (0..self.cluster.regions()).map(|region| self.cluster.writers(region)).collect();
        all[HOME].instances = vec![self.cluster.postgres(HOME)];
        let begun_ns = now_ns();
        let writing = Workload::start(all, &self.account, &self.history);
        for region in self.cluster.names() {
            let of_region = |write: &Write| write.client == *region && write.invoked_ns > begun_ns;
            self.written("clients write", WARM, of_region).await?;
        }
        Ok(writing)
    }

    /// Waits until that many rows of a kind are acknowledged.
    async fn written(&self, what: &str, count: usize, kind: impl Fn(&Write) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let writes = self.history.writes();
            if writes.iter().filter(|write| write.receipt().is_some() && kind(write)).count() >= count {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("{what}: not within {PATIENCE:?}")
    }
}

fn at_ns(write: &Write) -> u64 {
    write.receipt().map_or(u64::MAX, |receipt| receipt.at_ns)
}
