//! `regent-chaos demo` and `regent-chaos bench failover`: three regions, a fault, and what it cost.

pub mod fault;
pub mod figures;
mod report;
pub mod setup;
mod trial;

use std::path::PathBuf;

use anyhow::Context;

use crate::cluster::topology::RoundTrips;
use fault::Fault;
use regent_core::replication::Mode;
use trial::Trials;

/// What to run.
pub struct Plan {
    /// Distances between the regions.
    pub round_trips: RoundTrips,
    /// When commits are acknowledged.
    pub mode: Mode,
    /// The faults, in turn.
    pub faults: Vec<Fault>,
    /// How often each.
    pub trials: usize,
    /// Where to write the figures as JSON.
    pub json: Option<PathBuf>,
    /// Leave the regions up afterwards, until Ctrl-C.
    pub stay: bool,
}

/// Runs it. Says whether every trial was good.
pub async fn run(plan: Plan) -> anyhow::Result<bool> {
    report::title(&plan);
    let (cluster, account) = setup::start(plan.round_trips).await?;
    setup::set_mode(&cluster, plan.mode).await?;
    let mut trials = Trials::new(cluster, account, &plan)?;
    let outcome = run_trials(&plan, &mut trials).await;
    if !matches!(outcome, Ok(true)) {
        // Somebody will want to read why.
        trials.cluster.keep_files();
        println!("logs are kept in {}", trials.cluster.run_dir().path().display());
    }
    if plan.stay && outcome.is_ok() {
        report::how_to_try(&trials.cluster, trials.account());
        std::future::pending::<()>().await;
    }
    outcome
}

async fn run_trials(plan: &Plan, trials: &mut Trials) -> anyhow::Result<bool> {
    let mut measured = Vec::new();
    for fault in &plan.faults {
        for _ in 0..plan.trials {
            let trial = trials.run(*fault).await?;
            report::trial(&trial);
            measured.push(trial);
        }
    }
    if measured.len() > 1 {
        report::table(&measured);
        report::rows_of_all(&measured);
    }
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report::figures(plan, &measured))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(measured.iter().all(figures::Trial::good))
}
