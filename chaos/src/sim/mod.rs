//! `regent-chaos sim`: runs seeds of the world ([`regent_world`]), tells what was broken, and repeats, writes down or
//! shrinks one.

mod args;
mod hunt;
mod known;
mod report;

pub use args::Args;

use anyhow::{bail, ensure};
use regent_world::{Planned, Profile, Run, faults_of, replay, trace};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Which seeds are run when nothing says so.
const SEEDS: u64 = 1_000;

/// Does what was asked for; says whether nothing was broken. Fails when it was asked for what is not there.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    match args.seed {
        _ if args.meta => Ok(the_same_twice(args.profile.as_ref())),
        Some(seed) if args.shrink => shrunk(seed, &args.profile()),
        Some(seed) => one(seed, args),
        None => Ok(many(args)),
    }
}

fn many(args: &Args) -> bool {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let known = hunt::hunt(known::seeds(), jobs, None);
    let minutes = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let last = if minutes.is_some() { u64::MAX } else { SEEDS };
    let seeds = args.seeds.clone().unwrap_or(0..last);
    let profile = args.profile();
    println!("{}: {}; {jobs} at a time", profile.name, profile.about);
    let asked = seeds.clone().map(|seed| (profile.clone(), seed));
    let tally = hunt::hunt(asked, jobs, minutes);
    report::tally("seeds that failed once", &known);
    report::tally("seeds", &tally);
    if args.seeds.is_some() && tally.worlds < seeds.end - seeds.start {
        println!("  the time was over before all of {}..{} were run", seeds.start, seeds.end);
    }
    known.failed + tally.failed == 0
}

fn one(seed: u64, args: &Args) -> anyhow::Result<bool> {
    let profile = args.profile();
    let all = faults_of(seed, &profile);
    let numbers = match &args.only {
        None => (0..all.len()).collect(),
        Some(only) => known_numbers(&only.0, all.len())?,
    };
    let part: Vec<Planned> = numbers.iter().map(|number| all[*number].clone()).collect();
    let again = report::command(seed, &profile, args.only.as_ref().map(|only| &only.0[..]));
    let begun = crate::clock::thread_time();
    let Some(run) = hunt::caught(|| replay(seed, &profile, &part, args.trace)) else {
        bail!("the world cannot go on (what panicked is told above); again: {again}");
    };
    let worked = crate::clock::thread_time() - begun;
    run.trace.iter().flatten().for_each(|line| println!("{line}"));
    report::run(&run, &numbers, worked);
    Ok(run.violations.is_empty())
}

/// The numbers, in the order of the schedule, if there are faults of these numbers.
fn known_numbers(only: &[usize], faults: usize) -> anyhow::Result<Vec<usize>> {
    if let Some(unknown) = only.iter().find(|number| **number >= faults) {
        ensure!(faults > 0, "--only {unknown}: this seed has no fault at all");
        bail!("--only {unknown}: this seed has the faults 0 to {}", faults - 1);
    }
    Ok((0..faults).filter(|number| only.contains(number)).collect())
}

fn shrunk(seed: u64, profile: &Profile) -> anyhow::Result<bool> {
    let begun = crate::clock::thread_time();
    let Some(whole) = hunt::caught(|| regent_world::run(seed, profile)) else {
        bail!("the world cannot go on, and is not shrunk; again: {}", report::command(seed, profile, None));
    };
    let worked = crate::clock::thread_time() - begun;
    if whole.violations.is_empty() {
        let numbers: Vec<usize> = (0..whole.schedule.len()).collect();
        report::run(&whole, &numbers, worked);
        println!("nothing is broken: there is nothing to shrink");
        return Ok(true);
    }
    let Some(numbers) = hunt::fewest(seed, profile) else {
        bail!("with some of its faults left out, this world cannot go on (what panicked is told above)");
    };
    let all = faults_of(seed, profile);
    let part: Vec<Planned> = numbers.iter().map(|number| all[*number].clone()).collect();
    let begun = crate::clock::thread_time();
    let run = replay(seed, profile, &part, false);
    report::run(&run, &numbers, crate::clock::thread_time() - begun);
    println!("{} --trace", report::again(seed, profile, Some(&numbers)));
    Ok(false)
}

/// How many seeds of each profile are run twice.
const TWICE: u64 = 5;

fn the_same_twice(only: Option<&Profile>) -> bool {
    let differs = |a: &Run, b: &Run| a != b;
    let mut sound = true;
    for profile in Profile::ALL.iter().filter(|profile| only.is_none_or(|only| only == *profile)) {
        let different: Vec<u64> =
            (0..TWICE).filter(|seed| differs(&trace(*seed, profile), &trace(*seed, profile))).collect();
        if different.is_empty() {
            println!("{}: {TWICE} seeds twice, the same bytes", profile.name);
        } else {
            println!("{}: seeds {different:?} differ from run to run", profile.name);
            sound = false;
        }
    }
    sound
}
