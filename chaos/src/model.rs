//! `regent-chaos model`: walks through every order of events in small clusters and prints what it found.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use regent_model::{Budget, Config, Outcome, check, configurations};

/// Explores the named configurations, or all, within the time given; says whether all theorems held.
pub fn run(names: &[String], minutes: f64) -> anyhow::Result<bool> {
    let chosen = chosen(names)?;
    let end = Instant::now() + Duration::try_from_secs_f64(minutes * 60.0).context("--minutes")?;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(chosen.len());
    for config in &chosen {
        println!("{:<18} {}", config.name, config.covers);
    }
    println!(
        "\n{:<18} {:>11} {:>11} {:>9} {:>6}  bounds    verdict",
        "", "states", "different", "continued", "depth"
    );
    let waiting = Mutex::new(chosen.iter().enumerate());
    let worker = || {
        let mut held = true;
        while let Some((at, config)) = waiting.lock().expect("no worker panics with it").next() {
            let share = threads as f64 / (chosen.len() - at).max(threads) as f64;
            let time = end.saturating_duration_since(Instant::now()).mul_f64(share);
            let outcome = check(config, Budget { states: None, depth: None, time });
            println!("{}", line(config, &outcome));
            held &= outcome.violation.is_none();
        }
        held
    };
    Ok(thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().all(|worker| worker.join().is_ok_and(|held| held))
    }))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Config>> {
    let mut all = configurations();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|config| config.name != **name)) {
        let known: Vec<&str> = all.iter().map(|config| config.name).collect();
        bail!("there is no configuration {unknown}; there are {}", known.join(", "));
    }
    all.retain(|config| names.is_empty() || names.iter().any(|name| name == config.name));
    Ok(all)
}

fn line(config: &Config, outcome: &Outcome) -> String {
    let Outcome { states, unique_states, continued, forlorn, depth, .. } = outcome;
    let bounds = if outcome.complete { "complete" } else { "bounded" };
    let verdict = match &outcome.violation {
        None => "all theorems hold".to_owned(),
        Some(trace) => format!("{} is broken:\n{trace}", trace.theorem),
    };
    format!(
        "{:<18} {states:>11} {unique_states:>11} {continued:>9} {forlorn:>7} {depth:>6}  {bounds:<8}  {verdict}",
        config.name
    )
}
