//! What each mode costs: pgbench beside the primary, in transactions a second, against plain streaming replication on the
//! same machine over the same links, in the same run.
//!
//! A round measures each of them once, one after the other (A B C A B C ...), so that a machine that grows slower or faster
//! during the run favours none; a ratio is of two figures of one round. While one group is measured, the other idles:
//! nodes and agents run beside the plain servers' figures, too, for what `bench idle` says they cost.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use regent_core::replication::Mode;
use serde::Serialize;

use super::plain::Plain;
use super::report::{Row, quantile};
use crate::cluster::Cluster;
use crate::cluster::admin::{View, wait_for};
use crate::cluster::topology::RoundTrips;
use crate::demo::setup;
use crate::gray::load::{Said, Server};
use crate::terminal::Stage;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Where the primaries are.
const HOME: usize = 0;
/// pgbench's built-in scripts: one with a row that all sessions want, one without.
const SCRIPTS: [&str; 2] = ["tpcb-like", "simple-update"];
/// As many branches as the most sessions, as pgbench advises.
const SCALE: u32 = 16;
/// Run and not measured, after a change of the mode.
const WARM_S: u64 = 1;

/// What to measure.
pub struct Plan {
    /// The modes.
    pub modes: Vec<Mode>,
    /// How many sessions write, in turn.
    pub sessions: Vec<u32>,
    /// How often each.
    pub rounds: usize,
    /// For how long each.
    pub seconds: u64,
}

/// The figures of one mode under one load.
#[derive(Serialize)]
pub struct Figures {
    /// pgbench's script.
    pub script: &'static str,
    /// How many sessions.
    pub sessions: u32,
    /// The mode, or what it is compared with.
    pub mode: String,
    /// Transactions a second, in each round.
    pub tps: Vec<f64>,
    /// How long one took on average, in each round.
    pub latency_ms: Vec<f64>,
    /// Its transactions a second over those of plain replication in the same round.
    pub ratio: Vec<f64>,
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] =
        &["pgbench", "sessions", "mode", "rounds", "tps", "latency ms", "ratio", "lowest", "highest"];

    fn cells(&self) -> Vec<String> {
        let ratio = |share| format!("{:.3}", middle(&self.ratio, share));
        vec![
            self.script.to_owned(),
            self.sessions.to_string(),
            self.mode.clone(),
            self.tps.len().to_string(),
            format!("{:.0}", middle(&self.tps, 0.5)),
            format!("{:.2}", middle(&self.latency_ms, 0.5)),
            ratio(0.5),
            ratio(0.0),
            ratio(1.0),
        ]
    }
}

fn middle(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, share)
}

/// The modes that this build knows, as they would be written.
pub fn known() -> Vec<Mode> {
    ["async", "bounded 100ms", "sync 1", "quorum 1"].iter().filter_map(|text| text.parse().ok()).collect()
}

/// All of it.
pub async fn measure(round_trips: RoundTrips, plan: &Plan) -> anyhow::Result<Vec<Figures>> {
    let (mut cluster, _) = setup::start(round_trips).await?;
    let calm = |view: &View| view.is_whole() && view.primary == Some(HOME);
    let before = wait_for(&mut cluster, "calm at home", PATIENCE, calm, |_| ()).await?;
    let stage = Stage::begin("plain streaming replication beside it");
    let plain = Plain::start(&cluster, HOME)?;
    let gated = Server::of(&cluster, HOME);
    for server in [plain.primary(), &gated] {
        server.prepare(SCALE)?;
    }
    stage.done(format!("pgbench's tables at scale {SCALE} in both"));
    let mut table = Table::new(plan);
    for round in 0..plan.rounds {
        let stage = Stage::begin(format!("round {} of {}", round + 1, plan.rounds));
        table.add(0, plan, plain.primary())?;
        for (index, mode) in plan.modes.iter().enumerate() {
            in_force(&cluster, &gated, *mode).await?;
            table.add(index + 1, plan, &gated)?;
        }
        stage.done("");
    }
    let after = wait_for(&mut cluster, "calm", PATIENCE, View::is_whole, |_| ()).await?;
    ensure!(
        after.epoch == before.epoch,
        "the primary moved, the figures are void: {before:?}, then {after:?}"
    );
    Ok(table.0)
}

/// The mode, in force at the nodes and at the primary.
async fn in_force(cluster: &Cluster, primary: &Server, mode: Mode) -> anyhow::Result<()> {
    setup::set_mode(cluster, mode).await?;
    let start = Instant::now();
    // The log is loosened first, and Postgres after it.
    while mode == Mode::Async && !primary.ask("SHOW synchronous_standby_names")?.is_empty() {
        ensure!(start.elapsed() < PATIENCE, "{mode}: Postgres still waits for standbys");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A line for each load and mode; those of one load stand together, plain replication first.
struct Table(Vec<Figures>);

impl Table {
    fn new(plan: &Plan) -> Table {
        let plain = "plain replication".to_owned();
        let names: Vec<String> =
            std::iter::once(plain).chain(plan.modes.iter().map(Mode::to_string)).collect();
        let lines = loads(plan).flat_map(|(script, sessions)| {
            names.iter().map(move |mode| Figures {
                script,
                sessions,
                mode: mode.clone(),
                tps: Vec::new(),
                latency_ms: Vec::new(),
                ratio: Vec::new(),
            })
        });
        Table(lines.collect())
    }

    /// Measures one mode under every load. `column` is its place after plain replication, which is 0.
    fn add(&mut self, column: usize, plan: &Plan, server: &Server) -> anyhow::Result<()> {
        // So that none has to write what an earlier one has left.
        server.ask("CHECKPOINT")?;
        let sessions = plan.sessions.iter().copied().max().context("there are sessions to measure")?;
        server.load(SCRIPTS[0], sessions, WARM_S)?;
        for (load, (script, sessions)) in loads(plan).enumerate() {
            let Said { tps, latency_ms } = server.load(script, sessions, plan.seconds)?;
            let first = load * (plan.modes.len() + 1);
            let of_plain = self.0[first].tps.last().copied().unwrap_or(tps);
            let line = &mut self.0[first + column];
            line.ratio.push(if column == 0 { 1.0 } else { tps / of_plain });
            line.tps.push(tps);
            line.latency_ms.push(latency_ms);
        }
        Ok(())
    }
}

fn loads(plan: &Plan) -> impl Iterator<Item = (&'static str, u32)> {
    SCRIPTS.into_iter().flat_map(move |script| plan.sessions.iter().map(move |sessions| (script, *sessions)))
}
