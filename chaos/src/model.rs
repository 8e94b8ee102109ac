//! `regent-chaos model`: walks through every order of events in small clusters and prints what it found.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use regent_model::{Budget, Config, Outcome, check, configurations};

/// Which configurations are walked through, and for how long.
#[derive(clap::Args)]
pub struct Args {
    /// Which configurations; all when left out
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// For about how long, all together: each configuration gets at least half of its share
    #[arg(long, default_value = "4", value_name = "M", value_parser = minutes)]
    minutes: Duration,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<f64>().ok().filter(|minutes| (0.1..=1440.0).contains(minutes));
    let minutes = minutes.ok_or_else(|| format!("expected 0.1 to 1440, got {text:?}"))?;
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// Explores the named configurations, or all, within the time given; says whether all were looked at and all theorems
/// held.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let chosen = chosen(&args.names)?;
    let end = Instant::now() + args.minutes;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(chosen.len());
    for config in &chosen {
        println!("{:<18} {}", config.name, config.covers);
    }
    println!(
        "\nstates: made, of these different; of the different ones, continued to see whether they are wedges;"
    );
    println!("forlorn: continuations with a region lost after which nobody is left who may be named\n");
    println!(
        "{:<18} {:>11} {:>11} {:>9} {:>7} {:>6}  bounds    verdict",
        "", "states", "different", "continued", "forlorn", "depth"
    );
    // Each takes a little longer than its share. That must not be at the cost of the last, which would not be looked at.
    let least = share(args.minutes, chosen.len(), threads) / 2;
    let waiting = Mutex::new(chosen.iter().enumerate());
    let worker = || {
        let mut held = true;
        while let Some((at, config)) = waiting.lock().expect("no worker panics with it").next() {
            let left = end.saturating_duration_since(Instant::now());
            let time = share(left, chosen.len() - at, threads).max(least);
            let outcome = check(config, Budget { states: None, depth: None, time });
            println!("{}", line(config, &outcome));
            held &= sound(&outcome);
        }
        held
    };
    Ok(thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().all(|worker| worker.join().is_ok_and(|held| held))
    }))
}

/// The part of the time left that is fair to the first of so many configurations that wait, when each thread takes one
/// after the other. What it does not use is there for those after it.
fn share(left: Duration, waiting: usize, threads: usize) -> Duration {
    left / u32::try_from(waiting.div_ceil(threads)).expect("few configurations").max(1)
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

/// Whether anything was looked at at all: a configuration that got no time says nothing.
fn looked_at(outcome: &Outcome) -> bool {
    outcome.complete || outcome.depth > 0
}

fn sound(outcome: &Outcome) -> bool {
    looked_at(outcome) && outcome.violation.is_none()
}

fn line(config: &Config, outcome: &Outcome) -> String {
    let Outcome { states, unique_states, continued, forlorn, depth, .. } = outcome;
    let bounds = if outcome.complete { "complete" } else { "bounded" };
    let verdict = match &outcome.violation {
        Some(trace) => format!("{} is broken:\n{trace}", trace.theorem),
        None if looked_at(outcome) => "all theorems hold".to_owned(),
        None => "not looked at".to_owned(),
    };
    format!(
        "{:<18} {states:>11} {unique_states:>11} {continued:>9} {forlorn:>7} {depth:>6}  {bounds:<8}  {verdict}",
        config.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_got_no_time_is_not_called_sound() {
        let config = &configurations()[0];
        let outcome = check(config, Budget { states: None, depth: None, time: Duration::ZERO });
        assert!(!sound(&outcome));
        assert!(line(config, &outcome).ends_with("not looked at"), "{}", line(config, &outcome));
    }

    #[test]
    fn minutes_lie_between_a_few_seconds_and_a_day() {
        for text in ["0", "-1", "1441", "NaN", "inf", "many"] {
            assert!(minutes(text).is_err(), "{text}");
        }
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
    }

    /// Thirteen on two threads: each takes one after the other, and the last gets no less than the first.
    #[test]
    fn all_configurations_get_the_same_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(share(7 * minute, 13, 2), minute);
        assert_eq!(share(7 * minute, 12, 2), 7 * minute / 6);
        for (left, waiting) in [(6_u32, 11), (6, 12), (1, 1), (1, 2)] {
            assert_eq!(share(left * minute, waiting, 2), minute, "{waiting} wait");
        }
    }
}
