//! Runs many seeds, several at a time, each world on one thread.

use super::report;
use regent_world::{Profile, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What a hunt came to.
#[derive(Default)]
pub struct Tally {
    /// How many worlds were run.
    pub worlds: u64,
    /// How many of them broke something.
    pub failed: u64,
    /// Their own time, together.
    pub simulated: Duration,
    /// Time spent on them by all threads together.
    pub worked: Duration,
    /// Changes of primary.
    pub failovers: u64,
    /// All that happened.
    pub events: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Of these, left behind.
    pub lost: u64,
    /// How often an heir brought back what an earlier change had lost.
    pub returns: u64,
    /// Linearizable reads answered.
    pub reads: u64,
}

/// Runs all of them.
pub fn hunt(seeds: impl Iterator<Item = (Profile, u64)> + Send, jobs: usize) -> Tally {
    hunt_for(seeds, jobs, None)
}

/// Runs them until there are none left, or the time is over. Tells of each failure at once.
pub fn hunt_for(
    seeds: impl Iterator<Item = (Profile, u64)> + Send,
    jobs: usize,
    limit: Option<Duration>,
) -> Tally {
    let (seeds, tally, begun) = (Mutex::new(seeds), Mutex::new(Tally::default()), Instant::now());
    let next = || {
        let in_time = limit.is_none_or(|limit| begun.elapsed() < limit);
        in_time.then(|| seeds.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next()).flatten()
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((profile, seed)) = next() {
                    let part = one(&profile, seed);
                    tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(&part);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn one(profile: &Profile, seed: u64) -> Tally {
    let begun = Instant::now();
    let Ok(run) = catch_unwind(AssertUnwindSafe(|| run(seed, profile))) else {
        println!("panicked: {}", report::line(seed, profile.name));
        return Tally { worlds: 1, failed: 1, ..Tally::default() };
    };
    report::failure(&run);
    Tally {
        worlds: 1,
        failed: u64::from(!run.violations.is_empty()),
        simulated: run.simulated,
        worked: begun.elapsed(),
        failovers: run.failovers,
        events: run.events,
        acknowledged: run.acknowledged,
        lost: run.lost,
        returns: run.returns,
        reads: run.reads,
    }
}

impl Tally {
    fn add(&mut self, part: &Tally) {
        self.worlds += part.worlds;
        self.failed += part.failed;
        self.simulated += part.simulated;
        self.worked += part.worked;
        self.failovers += part.failovers;
        self.events += part.events;
        self.acknowledged += part.acknowledged;
        self.lost += part.lost;
        self.returns += part.returns;
        self.reads += part.reads;
    }
}
