//! `regent-chaos sim`: runs seeds of the world ([`regent_world`]), tells what was broken, and repeats, writes down or
//! shrinks one.

mod hunt;
mod known;
mod report;

use clap::{ArgGroup, value_parser};
use regent_world::{Profile, Run, faults_of, numbers_of, replay, shrink, trace};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

/// Which seeds to run, and what to do with them.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("which").args(["seeds", "seed", "meta"]))]
pub struct Args {
    /// Run these
    #[arg(long, default_value = "0..1000", value_name = "FROM..TO", value_parser = seeds)]
    seeds: Range<u64>,
    /// Run seeds from the first of --seeds on for so many minutes
    #[arg(long, value_name = "M", value_parser = value_parser!(u64).range(1..=1440))]
    minutes: Option<u64>,
    /// How many at a time; all processors when left out
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// From which worlds and faults a seed draws
    #[arg(long, default_value = "swarm", value_parser = profile)]
    profile: Profile,
    /// Run this one
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Write down what happens in it
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Find few faults with which it still fails
    #[arg(long, requires = "seed", conflicts_with_all = ["trace", "only"])]
    shrink: bool,
    /// Only these faults of its schedule, by number
    #[arg(long, requires = "seed", value_name = "N,N", value_delimiter = ',')]
    only: Option<Vec<usize>>,
    /// Run some seeds of every profile twice: what is written down must be the same, byte for byte
    #[arg(long)]
    meta: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|seeds: &Range<u64>| !seeds.is_empty())
        .ok_or_else(|| format!("expected two numbers as in 0..1000, got {text:?}"))
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| {
        let known: Vec<String> =
            Profile::ALL.iter().map(|profile| format!("{}: {}", profile.name, profile.about)).collect();
        format!("there is no profile {name:?}; there are\n  {}", known.join("\n  "))
    })
}

/// Does what was asked for; success only if nothing was broken.
pub fn run(args: &Args) -> ExitCode {
    let sound = match args.seed {
        _ if args.meta => the_same_twice(),
        Some(seed) if args.shrink => shrunk(seed, &args.profile),
        Some(seed) => one(seed, args),
        None => many(args),
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(args: &Args) -> bool {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let known = hunt::hunt(known::seeds(), jobs);
    let minutes = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let last = if minutes.is_some() { u64::MAX } else { args.seeds.end };
    println!("{}: {}; {jobs} at a time", args.profile.name, args.profile.about);
    let asked = (args.seeds.start..last).map(|seed| (args.profile.clone(), seed));
    let tally = hunt::hunt_for(asked, jobs, minutes);
    report::tally("seeds that failed once", &known);
    report::tally("seeds", &tally);
    known.failed + tally.failed == 0
}

fn one(seed: u64, args: &Args) -> bool {
    let all = faults_of(seed, &args.profile);
    let wanted = |number: &usize| args.only.as_ref().is_none_or(|only| only.contains(number));
    let part: Vec<_> = all
        .iter()
        .enumerate()
        .filter(|(number, _)| wanted(number))
        .map(|(_, planned)| planned.clone())
        .collect();
    let run = replay(seed, &args.profile, &part, args.trace);
    run.trace.iter().flatten().for_each(|line| println!("{line}"));
    report::run(&run);
    run.violations.is_empty()
}

fn shrunk(seed: u64, profile: &Profile) -> bool {
    let part = shrink(seed, profile);
    let run = replay(seed, profile, &part, false);
    report::run(&run);
    if run.violations.is_empty() {
        return true;
    }
    let numbers = numbers_of(&faults_of(seed, profile), &part);
    let only: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    println!("{} --only {} --trace", report::again(&run), only.join(","));
    false
}

/// How many seeds of each profile are run twice.
const TWICE: u64 = 5;

fn the_same_twice() -> bool {
    let differs = |a: &Run, b: &Run| a != b;
    let mut sound = true;
    for profile in Profile::ALL {
        let different: Vec<u64> =
            (0..TWICE).filter(|seed| differs(&trace(*seed, &profile), &trace(*seed, &profile))).collect();
        if different.is_empty() {
            println!("{}: {TWICE} seeds twice, the same bytes", profile.name);
        } else {
            println!("{}: seeds {different:?} differ from run to run", profile.name);
            sound = false;
        }
    }
    sound
}
