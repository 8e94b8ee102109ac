//! Kills regions and must find nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use regent_chaos::bench::{self, What, modes};
use regent_chaos::check;
use regent_chaos::cluster::land::Land;
use regent_chaos::cluster::reaper;
use regent_chaos::cluster::topology::RoundTrips;
use regent_chaos::demo::{self, Plan, fault::Fault};
use regent_chaos::gray::Kind;
use regent_chaos::live::{self, list};
use regent_chaos::model;
use regent_chaos::race;
use regent_chaos::sharp;
use regent_chaos::sim;
use regent_chaos::wan::stand_alone as wan;
use regent_core::replication::Mode;
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
    /// The real decisions in a simulated world, with many faults; no Postgres is needed
    Sim(sim::Args),
    /// Walks through every order of events in small clusters, by the core's own functions; no process is started
    Model(model::Args),
    /// The scenarios of `live`: what is done to a cluster, and what must hold
    List(list::Args),
    /// Plays scenarios with real processes on a network of its own, and judges what was recorded; exit 0 only if all hold, 3 if
    /// nothing is broken but some say nothing
    Live(live::Args),
    /// Judges a run that `live` kept, once more
    Check(check::Args),
    /// A network of regions on this machine, for any programs: a network namespace each, with delay, loss and cuts between them
    Wan(wan::Args),
    /// The same writers, faults and links against Patroni, pg_auto_failover and Regent, in rotation; needs root
    Race(race::Args),
    /// Builds that are wrong on purpose, each in a scenario in which it must be found out; exit 1 if one is not
    Sharp(sharp::Args),
    /// A node or an agent with one rule of the core switched off
    #[cfg(feature = "mutants")]
    #[command(hide = true)]
    Blunt(sharp::program::Args),
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
    /// Calls of GetPrimary a second and their p99, LOCAL and LINEARIZABLE, without distances and with them
    Reads {
        #[command(flatten)]
        distances: Distances,
        #[command(flatten)]
        output: Output,
    },
    /// From a decision to the last of many watchers told, without distances
    Watch {
        /// How many watch
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
        watchers: u16,
        /// How many decisions
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        trials: u16,
        #[command(flatten)]
        output: Output,
    },
    /// From a Postgres that is half dead until another acknowledges writes, by kind; and load without a fault
    Gray {
        /// Which; all when left out
        #[arg(long, value_enum)]
        kind: Vec<Kind>,
        /// Seconds of load in the end, and of a slow disk
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
        load: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Transactions a second in each mode, by pgbench, against plain streaming replication beside it
    Modes {
        /// Which; all when left out: async, or how many standbys confirm: 'sync 1'
        #[arg(long)]
        mode: Vec<Mode>,
        /// How many sessions write at once, in turn
        #[arg(long, value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u32).range(1..=64))]
        sessions: Vec<u32>,
        /// How often each is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
        /// For how many seconds
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        #[command(flatten)]
        distances: Distances,
        #[command(flatten)]
        output: Output,
    },
    /// The primary's clock stands still for 2 s while its Postgres runs on: what is lost, and who acknowledged last; exit 1
    /// if a mode that needs no clock lost anything
    Clock(Common),
    /// Processor time and memory of each node and agent while nothing happens
    Idle {
        /// For how long
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        #[command(flatten)]
        distances: Distances,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Args)]
struct Distances {
    /// Round trips in ms: us-east to us-west, us-east to eu-west, us-west to eu-west
    #[arg(long, default_value = "60,80,140", value_name = "A,B,C", value_parser = RoundTrips::parse)]
    rtt: RoundTrips,
}

#[derive(clap::Args)]
struct Output {
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    distances: Distances,
    /// How often
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// When commits are acknowledged: async, sync or quorum, or with how many that confirm: 'sync 2', or bounded: 'bounded 100ms'
    #[arg(long, default_value = "async")]
    mode: Mode,
    #[command(flatten)]
    output: Output,
}

impl Common {
    fn plan(self, faults: Vec<Fault>, stay: bool) -> Plan {
        let (round_trips, json) = (self.distances.rtt, self.output.json);
        Plan { round_trips, mode: self.mode, faults, trials: self.trials.into(), json, stay }
    }
}

/// What runs until it is over or somebody stops it.
enum Work {
    Demo(Plan),
    Bench(bench::Plan),
    Race(race::Args, Arc<Land>),
}

impl Bench {
    fn work(self) -> Work {
        let mut mode = Mode::Async;
        let (what, round_trips, output) = match self {
            Bench::Failover { fault, common } => {
                let faults = if fault.is_empty() { Fault::ALL.to_vec() } else { fault };
                return Work::Demo(common.plan(faults, false));
            }
            Bench::Reads { distances, output } => (What::Reads, distances.rtt, output),
            Bench::Watch { watchers, trials, output } => {
                let what = What::Watch { watchers: watchers.into(), trials: trials.into() };
                (what, RoundTrips::NONE, output)
            }
            Bench::Gray { kind, load, common } => {
                let kinds = if kind.is_empty() { Kind::ALL.to_vec() } else { kind };
                let what = What::Gray { kinds, trials: common.trials.into(), seconds: load };
                mode = common.mode;
                (what, common.distances.rtt, common.output)
            }
            Bench::Modes { mode, sessions, rounds, seconds, distances, output } => {
                let modes = if mode.is_empty() { modes::known() } else { mode };
                let plan = modes::Plan { modes, sessions, rounds: rounds.into(), seconds };
                (What::Modes(plan), distances.rtt, output)
            }
            Bench::Clock(common) => {
                mode = common.mode;
                (What::Clock { trials: common.trials.into() }, common.distances.rtt, common.output)
            }
            Bench::Idle { seconds, distances, output } => (What::Idle { seconds }, distances.rtt, output),
        };
        Work::Bench(bench::Plan { what, mode, round_trips, json: output.json })
    }
}

fn main() -> ExitCode {
    leave_quietly_when_nobody_reads();
    let work = match Args::parse().command {
        Command::Reap { run, leases } => return reap(&run, &leases),
        Command::Sim(args) => return exit(sim::run(&args)),
        Command::Model(args) => return exit(model::run(&args)),
        Command::Wan(args) => return exit(wan::run(&args)),
        Command::Race(args) => return exit(race(args)),
        Command::List(args) => return exit(list::run(&args)),
        Command::Check(args) => return exit(check::run(&args)),
        Command::Live(args) => return live::run(&args).unwrap_or_else(|error| exit(Err(error))),
        Command::Sharp(args) => return sharp::run(&args).unwrap_or_else(|error| exit(Err(error))),
        #[cfg(feature = "mutants")]
        Command::Blunt(args) => return exit(sharp::program::run(&args)),
        Command::Demo { once, common } => Work::Demo(common.plan(vec![Fault::Region], !once)),
        Command::Bench { what } => what.work(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    exit(runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(until_told_to_stop(work))))
}

/// Runs in the midst of the network that all of them are on.
fn race(args: race::Args) -> anyhow::Result<bool> {
    let land = race::land(&args)?;
    land.run(async || until_told_to_stop(Work::Race(args, land.clone())).await)?
}

/// The reader of what is printed has gone, as with `| head`: that unwinds, so that what was started is ended, without a word.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        if !said.is_some_and(|said| said.starts_with("failed printing to stdout")) {
            usual(panic);
        }
    }));
}

fn exit(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nregent-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Dropping what runs ends every process that it started.
async fn until_told_to_stop(work: Work) -> anyhow::Result<bool> {
    let stays = matches!(&work, Work::Demo(plan) if plan.stay);
    let mut terminate = signal(SignalKind::terminate())?;
    let done = async {
        match work {
            Work::Demo(plan) => demo::run(plan).await,
            Work::Bench(plan) => bench::run(plan).await,
            Work::Race(args, land) => race::run(args, land).await,
        }
    };
    tokio::select! {
        outcome = done => outcome,
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
    match reaper::reap(run, leases) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("regent-chaos: cleaning up {}: {error:#}", run.display());
            ExitCode::FAILURE
        }
    }
}
