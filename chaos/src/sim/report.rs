//! What is said of runs.

use super::hunt::Tally;
use regent_world::{Profile, Run};
use std::time::Duration;

/// Which revision of the code this program was built from.
const REVISION: &str = env!("REGENT_REVISION");

/// The command that runs a seed, with all of its faults or only these.
pub fn command(seed: u64, profile: &Profile, only: Option<&[usize]>) -> String {
    let only = only.map(|numbers| match numbers {
        [] => " --only none".to_owned(),
        _ => format!(" --only {}", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    });
    format!("regent-chaos sim --profile {} --seed {seed}{}", profile.name, only.unwrap_or_default())
}

/// How to repeat a failure: with which code, by which command.
pub fn again(seed: u64, profile: &Profile, only: Option<&[usize]>) -> String {
    format!("again, with revision {REVISION}: {}", command(seed, profile, only))
}

/// One run, whose faults have these numbers in the seed's schedule, and which took so much of one thread's time.
pub fn run(run: &Run, numbers: &[usize], worked: Duration) {
    for (number, fault) in numbers.iter().zip(&run.faults) {
        println!("{number:>3}  {fault}");
    }
    for violation in &run.violations {
        println!("{violation}");
    }
    println!("{} faults, {} violations", run.schedule.len(), run.violations.len());
    tally("seed", &Tally::of(run, worked));
}

/// Many runs, or one.
pub fn tally(what: &str, tally: &Tally) {
    if tally.worlds == 0 {
        return;
    }
    let (simulated, worked) = (tally.simulated.as_secs_f64(), tally.worked.as_secs_f64().max(1e-9));
    let each = |count: u64| count as f64 / worked;
    let panicked = match tally.panicked {
        0 => String::new(),
        some => format!(", {some} of them by a panic"),
    };
    println!(
        "{} {what}: {} failed{panicked}\n  {:.0} simulated s in {:.1} s of one core: {:.0} a second; {} failovers: {:.0} a second; {:.0} events a second",
        tally.worlds,
        tally.failed,
        simulated,
        worked,
        simulated / worked,
        tally.failovers,
        each(tally.failovers),
        each(tally.events),
    );
    println!(
        "  {} writes acknowledged, {} of them left behind with an old primary, {} linearizable reads",
        tally.acknowledged, tally.lost, tally.reads
    );
    println!("  {} times an heir took over that had not followed the primary before it", tally.returns);
    println!(
        "  recovery of every group was demanded in {} of {}; in the others too little was left, or they failed first",
        tally.demanded, tally.worlds
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_repeats_a_failure_is_a_whole_command() {
        let profile = Profile::named("small").unwrap();
        assert_eq!(command(7, &profile, None), "regent-chaos sim --profile small --seed 7");
        assert_eq!(
            command(7, &profile, Some(&[1, 4])),
            "regent-chaos sim --profile small --seed 7 --only 1,4"
        );
        assert_eq!(command(7, &profile, Some(&[])), "regent-chaos sim --profile small --seed 7 --only none");
        assert!(!REVISION.is_empty());
    }
}
