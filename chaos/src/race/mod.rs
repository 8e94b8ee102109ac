//! `regent-chaos race`: the same writers, faults and links against others and against Regent, one after the other in rotation.
//!
//! All run the same PostgreSQL with the same settings in the same three regions of one [`Land`]; what is done to a region is done by
//! the same code; and the verdicts rest on what the writers saw, which know none of them. What is not here: any knowledge of how
//! one of them decides.

mod auto_failover;
mod contestant;
mod fault;
mod figures;
mod installed;
mod patroni;
mod regent;
mod results;
mod site;
mod table;
mod trial;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::land::Land;
use crate::cluster::topology::RoundTrips;
use crate::terminal::{bold, dim};
use contestant::Kind;
use fault::Fault;
use installed::{NotInstalled, Peers};
use results::{Entry, Failed, Results, Run};
use trial::Life;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often each fault happens to each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// Who races; all when left out
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Which faults; all when left out
    #[arg(long, value_enum, value_delimiter = ',')]
    fault: Vec<Fault>,
    /// Who has not written by then never will
    #[arg(long, default_value = "120s", value_parser = humantime::parse_duration, value_name = "SPAN")]
    limit: Duration,
    /// Round trips in ms: us-east to us-west, us-east to eu-west, us-west to eu-west
    #[arg(long, default_value = "60,80,140", value_name = "A,B,C", value_parser = RoundTrips::parse)]
    rtt: RoundTrips,
    /// Add the trials to those in this file, and make the tables of all of them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Of the network's chance.
const SEED: u64 = 1;

/// The network, which the race is run in the midst of.
pub fn land(args: &Args) -> anyhow::Result<Arc<Land>> {
    Ok(Land::start(args.rtt, SEED)?)
}

/// Runs it. Says whether Regent, if it was there, kept what it promises in each of its trials.
pub async fn run(args: Args, land: Arc<Land>) -> anyhow::Result<bool> {
    let peers = Peers::find()?;
    let kinds = if args.only.is_empty() { Kind::ALL.to_vec() } else { args.only.clone() };
    let (there, missing): (Vec<_>, Vec<_>) =
        kinds.into_iter().partition(|kind| peers.is_some() || !kind.is_peer());
    let mut race = Race { results: Results::read(args.json.as_deref())?, args, land, peers };
    race.results.runs.push(Run::now(race.peers.as_ref())?);
    for round in 1..=race.args.trials.into() {
        for kind in &there {
            race.run(*kind, round).await?;
        }
    }
    println!("{}", table::all(&race.results.trials));
    let late = race.results.trials.iter().filter(|one| !one.trial.valid).count();
    println!(
        "In {late} of {} trials the emulated links were late by more than 2 ms at p99.9.",
        race.results.trials.len()
    );
    for Failed { contestant, fault, why } in &race.results.failed {
        println!("No result: {}, {}: {why}", contestant.words(), fault.words());
    }
    missing.iter().for_each(|kind| println!("{}: {NotInstalled}", kind.words()));
    Ok(race.regent_keeps_its_word())
}

struct Race {
    args: Args,
    land: Arc<Land>,
    peers: Option<Peers>,
    results: Results,
}

impl Race {
    /// All faults for one of them.
    async fn run(&mut self, kind: Kind, round: usize) -> anyhow::Result<()> {
        let faults = if self.args.fault.is_empty() { Fault::ALL.to_vec() } else { self.args.fault.clone() };
        let mut life = None;
        for fault in faults {
            println!("\n{} {}", bold(kind.words()), dim(format!("round {round}: {}", fault.words())));
            match self.trial(kind, fault, &mut life).await {
                Ok(trial) => {
                    println!("{}", dim(serde_json::to_string(&trial)?));
                    self.results.trials.push(Entry { contestant: kind, fault, round, trial });
                }
                Err(error) => {
                    let files = life.as_mut().map(|life| format!("; files in {}", life.keep_files()));
                    println!("  no result: {error:#}{}", files.unwrap_or_default());
                    self.results.failed.push(Failed { contestant: kind, fault, why: format!("{error:#}") });
                    // Whatever state it is in now, the next one is to begin well.
                    life = None;
                }
            }
            self.results.write(self.args.json.as_deref())?;
        }
        Ok(())
    }

    /// One fault, for one that runs already or is started.
    async fn trial(
        &self,
        kind: Kind,
        fault: Fault,
        life: &mut Option<Life>,
    ) -> anyhow::Result<figures::Trial> {
        if life.as_ref().is_none_or(|life| !life.fits(fault)) {
            // First the old one ends: both have the same addresses.
            *life = None;
            let contestant = kind.start(&self.land, self.peers.as_ref(), fault).await?;
            *life = Some(Life::begin(contestant, &self.land, fault).await?);
        }
        let Some(life_now) = life else { return Err(NotInstalled.into()) };
        let trial = life_now.run(fault, self.args.limit).await?;
        if trial.back_s.is_none() {
            *life = None;
        }
        Ok(trial)
    }

    fn regent_keeps_its_word(&self) -> bool {
        let mut of_regent = self.results.trials.iter().filter(|one| one.contestant == Kind::Regent);
        let failed = self.results.failed.iter().any(|one| one.contestant == Kind::Regent);
        !failed && of_regent.all(|one| one.trial.gap_ms.is_some() && one.trial.by_two + one.trial.shared == 0)
    }
}
