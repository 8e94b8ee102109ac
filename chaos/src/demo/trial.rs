//! One fault, from calm to calm.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Plan;
use super::fault::{Fault, bring_home};
use super::figures::{ClientGap, Trial, longest_silence};
use crate::clock::ms_between;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::topology::{REGIONS, RoundTrips, instance};
use crate::cluster::{Cluster, Loss, evidence};
use crate::history::{History, Outcome, Write};
use crate::invariants::accounted_rows::{self, Tail};
use crate::invariants::{lost_within, one_writable_primary};
use crate::terminal::Stage;
use crate::timeline::{self, Step, Track};
use crate::workload::{Account, Table, Workload};
use regent_core::replication::Mode;

/// Where primary and Raft leader are when a trial begins.
const HOME: usize = 0;
/// Rows that clients of each region must have written before the fault: a trial of idle clients says nothing.
const WARM: usize = 50;
const CALM: Duration = Duration::from_secs(120);
/// A primary that has not written by then will not.
const NEVER: Duration = Duration::from_secs(30);
/// Written on after the first new row, so that what happens beside (the new Raft leader) is seen, too.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How much of that counts for the gap.
const WINDOW_NS: u64 = 1_000_000_000;

/// The cluster, and what earlier trials found out.
pub struct Trials {
    /// The regions.
    pub cluster: Cluster,
    account: Account,
    history: History,
    tails: Vec<Tail>,
    lost: BTreeSet<u64>,
    mode: Mode,
    round_trips: RoundTrips,
    done: usize,
}

impl Trials {
    /// None yet.
    pub fn new(cluster: Cluster, account: Account, plan: &Plan) -> anyhow::Result<Trials> {
        let (mode, round_trips) = (plan.mode, plan.round_trips);
        let history = History::create(&cluster.run_dir().path().join("history.jsonl"))?;
        let (tails, lost) = (Vec::new(), BTreeSet::new());
        Ok(Trials { cluster, account, history, tails, lost, mode, round_trips, done: 0 })
    }

    /// How writers log in.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Makes one fault, waits until all is well again, and checks everything that was ever written.
    pub async fn run(&mut self, fault: Fault) -> anyhow::Result<Trial> {
        self.done += 1;
        let before = self.calm().await?;
        let heir = before.heir.context("a whole group has an heir")?;
        let workload = self.start_writers().await?;
        let stage = Stage::begin(fault.words());
        self.cluster.forget_lateness();
        let old_timeline = self.history.newest_timeline();
        let loss = fault.inject(&mut self.cluster, HOME, heir).await?;
        let old_files = self.old_files(fault)?;
        let first = self.wait_for_writes(fault, old_timeline).await;
        let lateness = self.cluster.lateness();
        let end_ns = crate::clock::now_ns();
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                timeline::print(&self.timeline(loss, None, end_ns));
                return Err(error);
            }
        };
        stage.done(format!("{} processes killed in {}", loss.processes, REGIONS[HOME]));
        self.read_tail(&old_files, old_timeline, first.as_ref())?;
        let (rejoin_ms, after) = self.heal(fault).await?;
        workload.stop().await;
        let lost_before = self.lost.clone();
        let (one_writable_primary, accounted_rows) = self.check(&after).await?;
        let writes = self.history.writes();
        let lost_within = self.lost_within(&writes, &lost_before, old_timeline);
        let window_end = first.as_ref().map_or(loss.at_ns, at_ns) + WINDOW_NS;
        let window = loss.at_ns..window_end.max(loss.at_ns + 2 * WINDOW_NS);
        let gap = |region| longest_silence(&writes, region, window.clone());
        let refused = |write: &&Write| {
            window.contains(&write.invoked_ns) && matches!(write.outcome, Outcome::Failed(_))
        };
        Ok(Trial {
            number: self.done,
            fault,
            region: REGIONS[HOME],
            heir: REGIONS[heir],
            processes_killed: loss.processes,
            gap_ms: gap(None),
            first_write_ms: first.as_ref().map(|write| ms_between(loss.at_ns, at_ns(write))),
            clients: self.survivors()
                .map(|c| ClientGap { region: REGIONS[c], gap_ms: gap(Some(REGIONS[c])) })
                .collect(),
            new_primary: first.as_ref().map(|write| REGIONS[write.instance]),
            epochs: [before.epoch, after.epoch],
            refused: writes.iter().filter(refused).count(),
            rejoin_ms,
            one_writable_primary,
            accounted_rows,
            lost_within,
            lateness,
            timeline: self.timeline(loss, first.as_ref(), end_ns),
        })
    }

    /// Everything streams, and the primary and the Raft leader are at home.
    async fn calm(&mut self) -> anyhow::Result<View> {
        let mut stage = Stage::begin("primary and Raft leader together");
        let whole = |view: &View| view.is_whole();
        wait_for(&mut self.cluster, "calm", CALM, whole, |_| ()).await?;
        bring_home(&mut self.cluster, HOME, CALM).await?;
        let at_home =
            |view: &View| view.is_whole() && view.primary == Some(HOME) && view.leader == Some(HOME);
        let tell = |view: &View| stage.tell(format!("{} of 2 standbys stream", view.streaming));
        let view = wait_for(&mut self.cluster, "calm at home", CALM, at_home, tell).await?;
        stage.done(format!("in {}, epoch {}", REGIONS[HOME], view.epoch));
        Ok(view)
    }

    async fn start_writers(&self) -> anyhow::Result<Workload> {
        let mut stage = Stage::begin("clients write");
        let written_before = self.history.acknowledged();
        let clients = self.survivors().map(|region| self.cluster.writers(region));
        let workload = Workload::start(clients.collect(), &self.account, &self.history);
        let start = Instant::now();
        loop {
            let written = self.history.acknowledged() - written_before;
            if written >= WARM * self.survivors().count() && start.elapsed() > Duration::from_secs(2) {
                let per_second = written as f64 / start.elapsed().as_secs_f64();
                stage.done(format!("from us-west and eu-west, {per_second:.0} rows/s acknowledged"));
                return Ok(workload);
            }
            if start.elapsed() > NEVER {
                let last = self.history.writes().into_iter().rev().find(|write| write.receipt().is_none());
                bail!(
                    "clients wrote {written} rows in {NEVER:?}; last refusal: {:?}",
                    last.map(|w| w.outcome)
                );
            }
            stage.tell(format!("{written} rows"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the first row on a later timeline, if there must be one, and some more.
    async fn wait_for_writes(&self, fault: Fault, old_timeline: u32) -> anyhow::Result<Option<Write>> {
        let (start, before) = (Instant::now(), self.history.acknowledged());
        while fault.moves_primary() && self.history.first_after(old_timeline).is_none() {
            if start.elapsed() > NEVER {
                bail!("{}: no new primary wrote within {NEVER:?} of the loss", fault.words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(AFTERWARDS).await;
        if self.history.acknowledged() == before {
            bail!("{}: nothing was acknowledged afterwards", fault.words());
        }
        Ok(self.history.first_after(old_timeline))
    }

    /// Where the log of the old primary stays as the fault left it. When only Postgres was killed, its agent will
    /// rewind it as soon as there is a new primary: a copy of the newest part must be made before.
    fn old_files(&self, fault: Fault) -> anyhow::Result<PathBuf> {
        let data_dir = self.cluster.data_dir(HOME);
        if fault != Fault::Postgres {
            return Ok(data_dir);
        }
        let copy = self.cluster.run_dir().path().join(format!("evidence-{}", self.done));
        evidence::copy_newest(&data_dir, &copy)?;
        Ok(copy)
    }

    /// Reads what the old primary had and the new one has not.
    fn read_tail(&mut self, old_files: &Path, old: u32, first: Option<&Write>) -> anyhow::Result<()> {
        let Some((first, receipt)) = first.and_then(|first| Some((first, first.receipt()?))) else {
            return Ok(());
        };
        let fork = evidence::fork(&self.cluster.data_dir(first.instance), receipt.timeline, old)?;
        self.tails.push(evidence::tail(self.cluster.postgres_bin(), old_files, old, fork)?);
        Ok(())
    }

    async fn heal(&mut self, fault: Fault) -> anyhow::Result<(f64, View)> {
        let mut stage = Stage::begin(format!("{} comes back", REGIONS[HOME]));
        let start = Instant::now();
        fault.undo(&mut self.cluster, HOME)?;
        let tell = |view: &View| stage.tell(format!("{} of 2 standbys stream", view.streaming));
        let view = wait_for(&mut self.cluster, "streaming again", CALM, View::is_whole, tell).await?;
        let rejoin_ms = start.elapsed().as_secs_f64() * 1e3;
        stage.done(&view.forecast);
        Ok((rejoin_ms, view))
    }

    async fn check(
        &mut self,
        after: &View,
    ) -> anyhow::Result<(one_writable_primary::Report, accounted_rows::Report)> {
        let writes = self.history.writes();
        let primary = after.primary.context("a whole group has a primary")?;
        let rows = Table::rows(self.cluster.postgres(primary), &self.account).await?;
        let accounted = accounted_rows::check(&writes, &rows, &self.tails, &self.lost);
        self.lost.extend(&accounted.lost);
        Ok((one_writable_primary::check(&writes), accounted))
    }

    /// The regions in which clients are: those that no fault touches.
    fn survivors(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.cluster.regions()).filter(|region| *region != HOME)
    }

    /// How old what was lost since then was.
    fn lost_within(&self, writes: &[Write], before: &BTreeSet<u64>, timeline: u32) -> lost_within::Report {
        let travels = |client: &str| {
            let region = REGIONS.iter().position(|region| *region == client).filter(|region| *region != HOME);
            region.map_or(Duration::ZERO, |region| self.round_trips.between(HOME, region) / 2)
        };
        let slack = (self.mode != Mode::Async).then(|| self.mode.slack());
        let lost = self.lost.difference(before).copied().collect();
        lost_within::check(writes, &lost, timeline, travels, slack)
    }

    fn timeline(&self, loss: Loss, first: Option<&Write>, end_ns: u64) -> Vec<Step> {
        let events = timeline::read(&self.cluster.audit_files(), loss.at_ns, end_ns);
        let mut steps = timeline::steps(&events, loss.at_ns);
        if let Some(first) = first {
            let what = format!("first write acknowledged by {}", instance(first.instance));
            let who = format!("{:<8} client", first.client);
            steps.push(Step { ms: ms_between(loss.at_ns, at_ns(first)), who, what, track: Track::Write });
        }
        steps.sort_by(|a, b| a.ms.total_cmp(&b.ms));
        steps
    }
}

fn at_ns(write: &Write) -> u64 {
    write.receipt().map_or(u64::MAX, |receipt| receipt.at_ns)
}
