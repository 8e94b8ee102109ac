//! Runs many seeds, several at a time, each world on one thread, and tells of each failure at once.

use super::report;
use crate::clock::thread_time;
use regent_world::{Profile, Run, faults_of, numbers_of, run, shrink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many failures of a hunt are shrunk: it takes hundreds of runs each, and what comes after is rarely another fault.
const SHRUNK: usize = 3;

/// What a hunt came to.
#[derive(Default)]
pub struct Tally {
    /// How many worlds were run.
    pub worlds: u64,
    /// How many of them broke something.
    pub failed: u64,
    /// How many of these ended in a panic.
    pub panicked: u64,
    /// Their own time, together.
    pub simulated: Duration,
    /// Processor time spent on them, by all threads together.
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
    /// In how many worlds recovery was demanded of every group.
    pub demanded: u64,
}

/// Runs them until there are none left, or the time is over.
pub fn hunt(
    seeds: impl Iterator<Item = (Profile, u64)> + Send,
    jobs: usize,
    limit: Option<Duration>,
) -> Tally {
    let (seeds, tally, begun) = (Mutex::new(seeds), Mutex::new(Tally::default()), Instant::now());
    let failures = AtomicUsize::new(0);
    let next = || {
        let in_time = limit.is_none_or(|limit| begun.elapsed() < limit);
        in_time.then(|| seeds.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next()).flatten()
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((profile, seed)) = next() {
                    let part = one(&profile, seed, &failures);
                    tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(&part);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn one(profile: &Profile, seed: u64, failures: &AtomicUsize) -> Tally {
    let begun = thread_time();
    let Some(run) = caught(|| run(seed, profile)) else {
        println!("a world cannot go on; {}", report::again(seed, profile, None));
        return Tally { worlds: 1, failed: 1, panicked: 1, ..Tally::default() };
    };
    let worked = thread_time() - begun;
    if let Some(violation) = run.violations.first() {
        let few = failures.fetch_add(1, Ordering::Relaxed) < SHRUNK;
        let only = few.then(|| fewest(seed, profile)).flatten();
        println!("{violation}; {}", report::again(seed, profile, only.as_deref()));
    }
    Tally::of(&run, worked)
}

/// The numbers of few faults with which a seed still fails as it does with all; nothing if a part of them panics.
pub fn fewest(seed: u64, profile: &Profile) -> Option<Vec<usize>> {
    caught(|| numbers_of(&faults_of(seed, profile), &shrink(seed, profile)))
}

/// What comes of it, unless it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl Tally {
    /// What one run came to, which took so much of one thread's time.
    pub fn of(run: &Run, worked: Duration) -> Tally {
        Tally {
            worlds: 1,
            failed: u64::from(!run.violations.is_empty()),
            panicked: 0,
            simulated: run.simulated,
            worked,
            failovers: run.failovers,
            events: run.events,
            acknowledged: run.acknowledged,
            lost: run.lost,
            returns: run.returns,
            reads: run.reads,
            demanded: u64::from(run.demanded),
        }
    }

    fn add(&mut self, part: &Tally) {
        self.worlds += part.worlds;
        self.failed += part.failed;
        self.panicked += part.panicked;
        self.simulated += part.simulated;
        self.worked += part.worked;
        self.failovers += part.failovers;
        self.events += part.events;
        self.acknowledged += part.acknowledged;
        self.lost += part.lost;
        self.returns += part.returns;
        self.reads += part.reads;
        self.demanded += part.demanded;
    }
}
