//! Kills regions and must find nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use regent_chaos::cluster::run_dir;
use regent_chaos::cluster::topology::RoundTrips;
use regent_chaos::demo::{self, Plan, fault::Fault};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(version, about = "Kills regions and must find nothing: the demo, and the figures")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Three regions with real Postgres; the one with primary and Raft leader is lost
    Demo {
        /// End after the trials; exit 0 only if all went well
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Measures
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Waits for the end of its standard input, then ends all that works in a run's directory
    #[command(hide = true)]
    Reap { run: PathBuf, leases: PathBuf },
}

#[derive(Subcommand)]
enum Bench {
    /// How long writes stop, for each kind of fault
    Failover {
        /// Which; all when left out
        #[arg(long, value_enum)]
        fault: Vec<Fault>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct Common {
    /// Round trips in ms: us-east to us-west, us-east to eu-west, us-west to eu-west
    #[arg(long, default_value = "60,80,140", value_name = "A,B,C", value_parser = RoundTrips::parse)]
    rtt: RoundTrips,
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    fn plan(self, faults: Vec<Fault>, stay: bool) -> Plan {
        Plan { round_trips: self.rtt, faults, trials: self.trials.into(), json: self.json, stay }
    }
}

fn main() -> ExitCode {
    let plan = match Args::parse().command {
        Command::Reap { run, leases } => return reap(&run, &leases),
        Command::Demo { once, common } => common.plan(vec![Fault::Region], !once),
        Command::Bench { what: Bench::Failover { fault, common } } => {
            let faults = if fault.is_empty() { Fault::ALL.to_vec() } else { fault };
            common.plan(faults, false)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(until_told_to_stop(plan)))
    {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nregent-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Dropping what runs ends every process that it started.
async fn until_told_to_stop(plan: Plan) -> anyhow::Result<bool> {
    let stays = plan.stay;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = demo::run(plan) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(stopped(stays)),
        _ = terminate.recv() => Ok(stopped(stays)),
    }
}

/// A demo that stays up ends well by Ctrl-C; one that was to run to its end was interrupted.
fn stopped(stays: bool) -> bool {
    println!("\nstopping");
    stays
}

fn reap(run: &Path, leases: &Path) -> ExitCode {
    match run_dir::reap(run, leases) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("regent-chaos: cleaning up {}: {error:#}", run.display());
            ExitCode::FAILURE
        }
    }
}
