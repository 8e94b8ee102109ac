//! GetPrimary, LOCAL and LINEARIZABLE: calls a second at one node that is bound to one processor, and how long each took.

use std::time::{Duration, Instant};

use anyhow::Context;
use regent_client::{Client, Consistency};
use serde::Serialize;
use tokio::task::JoinSet;

use super::processor::{Processors, bind};
use super::report::{Row, quantile};
use crate::cluster::admin::group;
use crate::cluster::topology::RoundTrips;
use crate::cluster::{Cluster, Process};
use crate::demo::setup;
use crate::terminal::Stage;

/// How many callers ask at once, each over a connection of its own, each waiting for its answer.
const CALLERS: [usize; 2] = [1, 64];
const WARM: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// The node that is asked: a follower, as two of three are.
const ASKED: usize = 1;

/// The figures of one kind of call.
#[derive(Serialize)]
pub struct Figures {
    /// What was asked, and over which distances.
    pub call: String,
    /// Callers at once.
    pub callers: usize,
    /// Answers a second.
    pub per_second: f64,
    /// Half of the calls took less.
    pub median_ms: f64,
    /// One in a hundred took longer.
    pub p99_ms: f64,
    /// Calls that failed.
    pub failed: usize,
}

impl Row for Figures {
    const COLUMNS: &'static [&'static str] =
        &["GetPrimary", "callers", "calls/s", "median ms", "p99 ms", "failed"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.call.clone(),
            self.callers.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.2}", self.median_ms),
            format!("{:.2}", self.p99_ms),
            self.failed.to_string(),
        ]
    }
}

/// Without distances, then over those.
pub async fn measure(distances: RoundTrips) -> anyhow::Result<Vec<Figures>> {
    let mut figures = Vec::new();
    for round_trips in [RoundTrips::NONE, distances] {
        let (cluster, _) = setup::start(round_trips).await?;
        bind(cluster.pid(ASKED, Process::Node).context("its node runs")?, Processors::Measured)?;
        bind(std::process::id(), Processors::Others)?;
        for consistency in [Consistency::Local, Consistency::Linearizable] {
            for callers in CALLERS {
                figures.push(ask(&cluster, consistency, callers).await?);
            }
        }
        bind(std::process::id(), Processors::All)?;
    }
    Ok(figures)
}

async fn ask(cluster: &Cluster, consistency: Consistency, callers: usize) -> anyhow::Result<Figures> {
    let call = words(consistency, cluster.round_trips);
    let stage = Stage::begin(format!("{call}, {callers} at once"));
    let (begin, end) = (Instant::now() + WARM, Instant::now() + WARM + MEASURED);
    let mut asking = JoinSet::new();
    for _ in 0..callers {
        asking.spawn(caller(Client::new([cluster.node(ASKED).to_string()])?, consistency, begin, end));
    }
    let (mut took, mut failed) = (Vec::new(), 0);
    while let Some(done) = asking.join_next().await {
        let (times, failures) = done??;
        took.extend(times);
        failed += failures;
    }
    took.sort_by(f64::total_cmp);
    let per_second = took.len() as f64 / MEASURED.as_secs_f64();
    stage.done(format!("{per_second:.0} a second"));
    Ok(Figures {
        call,
        callers,
        per_second,
        median_ms: quantile(&took, 0.5),
        p99_ms: quantile(&took, 0.99),
        failed,
    })
}

/// Asks again and again; returns how long each answer took that came in the time measured, and how many were none.
async fn caller(
    client: Client,
    consistency: Consistency,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Vec<f64>, usize)> {
    let (group, mut took, mut failed) = (group()?, Vec::new(), 0);
    while Instant::now() < end {
        let start = Instant::now();
        let answer = client.primary(&group, consistency).await;
        if (begin..end).contains(&Instant::now()) {
            match answer {
                Ok(_) => took.push(start.elapsed().as_secs_f64() * 1e3),
                Err(_) => failed += 1,
            }
        }
    }
    Ok((took, failed))
}

fn words(consistency: Consistency, round_trips: RoundTrips) -> String {
    let kind = match consistency {
        Consistency::Local => "LOCAL",
        Consistency::Linearizable => "LINEARIZABLE",
    };
    if round_trips.longest_ms() == 0 {
        format!("{kind}, no distance")
    } else {
        format!("{kind}, {} ms", round_trips.words())
    }
}
