//! What is said of runs.

use super::hunt::Tally;
use regent_world::Run;

/// The command that repeats a seed.
pub fn line(seed: u64, profile: &str) -> String {
    format!("regent-chaos sim --profile {profile} --seed {seed}")
}

/// The command that repeats a run.
pub fn again(run: &Run) -> String {
    line(run.seed, run.profile)
}

/// One line for a run that broke something: what, and how to repeat it.
pub fn failure(run: &Run) {
    if let Some(violation) = run.violations.first() {
        println!("{violation}; again: {}", again(run));
    }
}

/// One run.
pub fn run(run: &Run) {
    for fault in &run.faults {
        println!("{fault}");
    }
    for violation in &run.violations {
        println!("{violation}");
    }
    println!(
        "{} faults in {:.1} s: {} failovers, {} writes acknowledged ({} left behind with an old primary), {} reads, {} violations",
        run.schedule.len(),
        run.simulated.as_secs_f64(),
        run.failovers,
        run.acknowledged,
        run.lost,
        run.reads,
        run.violations.len()
    );
}

/// Many runs.
pub fn tally(what: &str, tally: &Tally) {
    if tally.worlds == 0 {
        return;
    }
    let (simulated, worked) = (tally.simulated.as_secs_f64(), tally.worked.as_secs_f64().max(1e-9));
    let each = |count: u64| count as f64 / worked;
    println!(
        "{} {what}: {} failed\n  {:.0} simulated s in {:.1} s of one core: {:.0} a second; {} failovers: {:.0} a second; {:.0} events a second",
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
    if tally.returns > 0 {
        println!(
            "  {} times an heir took over that had not followed the primary before it: all of that epoch is left behind",
            tally.returns
        );
    }
}
