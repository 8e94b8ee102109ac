//! The simulated world as two levels: the first seeds of the profiles in turn, until a theorem is broken, and the others.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use regent_core::mutant::{Mutant, select};
use regent_world::{Profile, Theorem, run};

use crate::levels::{Broke, Caught, Level};

/// Seeds of each profile that are tried before the levels that know the rules are asked.
const FIRST_SEEDS: u64 = 8;

/// Seeds of each profile that are tried before a mutant counts as not noticed.
const SEEDS: u64 = 40;

/// Seeds that are tried with a mutant that is aimed at a theorem.
const AIMED_SEEDS: u64 = 400;

/// See above.
pub struct Worlds {
    name: &'static str,
    seeds: Range<u64>,
}

impl Worlds {
    /// Few worlds, which most mutants that break a theorem do not survive.
    pub fn first() -> Worlds {
        Worlds { name: "world", seeds: 0..FIRST_SEEDS }
    }

    /// The others, in which a rare order of events has to be met.
    pub fn others() -> Worlds {
        Worlds { name: "worlds", seeds: FIRST_SEEDS..SEEDS }
    }
}

impl Level for Worlds {
    fn name(&self) -> &'static str {
        self.name
    }

    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>> {
        // Faults close together in a small world find most: it comes first of each number, what takes longest last.
        let profiles =
            ["small", "sync", "quorum", "bounded", "swarm", "leaderless", "calm", "isolation", "failover"];
        let profiles: Vec<Profile> = profiles.into_iter().filter_map(Profile::named).collect();
        let worlds: Vec<(Profile, u64)> = self
            .seeds
            .clone()
            .flat_map(|seed| profiles.iter().map(move |profile| (profile.clone(), seed)))
            .collect();
        Ok(search(mutant, &worlds, |broke| broke != Broke::Panic))
    }
}

/// For a theorem that other checks nearly always see broken before: a mutant that breaks it first, and in which worlds.
pub const AIMED: [(Theorem, Mutant, &str); 8] = [
    (Theorem::LossIsAccounted, Mutant::TurningIgnored, "small"),
    (Theorem::Watch, Mutant::ChangeForgotten, "leaderless"),
    (Theorem::LeaderCostsNothing, Mutant::HeirAwaitsLog, "leaderless"),
    (Theorem::Isolation, Mutant::OneGroupAtATime, "isolation"),
    (Theorem::OneWritablePrimary, Mutant::ReleasedClaimedAgain, "isolation"),
    (Theorem::Heals, Mutant::PendingForgotten, "small"),
    (Theorem::HandedOverWhole, Mutant::HandsOverUnasked, "small"),
    (Theorem::BoundedQueues, Mutant::NeverBacksOff, "failover"),
];

/// Theorems that no mutant is known to break first, and why. Only the unit tests of these checks show that they can fail.
pub const UNAIMED: [(Theorem, &str); 1] = [(
    Theorem::NoNeedlessPromotion,
    "in a calm only silence names another, and no rule makes a primary silent",
)];

/// Whether that mutant breaks that theorem first in any of these worlds.
pub fn aimed(theorem: Theorem, mutant: Mutant, profile: &str) -> Option<Caught> {
    let worlds: Vec<_> = Profile::named(profile)
        .into_iter()
        .flat_map(|profile| (0..AIMED_SEEDS).map(move |seed| (profile.clone(), seed)))
        .collect();
    let wanted = Broke::Theorem(theorem);
    search(Some(mutant), &worlds, |broke| broke == wanted).filter(|found| found.broke == wanted)
}

/// The first of these worlds in which what is wanted is broken first. A world that could not go on is told of only when
/// there is none.
fn search(
    mutant: Option<Mutant>,
    worlds: &[(Profile, u64)],
    wanted: impl Fn(Broke) -> bool + Sync,
) -> Option<Caught> {
    select(mutant);
    let panicked = AtomicUsize::new(0);
    let found = first(worlds.len(), |number| {
        let (profile, seed) = &worlds[number];
        let (broke, seen) = broken(profile, *seed)?;
        if broke == Broke::Panic {
            panicked.fetch_add(1, Ordering::Relaxed);
        }
        wanted(broke).then(|| (broke, format!("{profile} {seed}: {seen}")))
    });
    select(None);
    let panicked = panicked.into_inner();
    let panics = || Caught {
        by: format!("{panicked} worlds"),
        broke: Broke::Panic,
        seen: "these worlds could not go on".to_owned(),
    };
    found
        .map(|(before, (broke, seen))| Caught { by: format!("{} worlds", before + 1), broke, seen })
        .or_else(|| (panicked > 0).then(panics))
}

/// The lowest number of which there is something to tell, looked for on two threads.
fn first<T: Send + Ord>(end: usize, tell: impl Fn(usize) -> Option<T> + Sync) -> Option<(usize, T)> {
    let (next, lowest) = (AtomicUsize::new(0), AtomicUsize::new(end));
    let look = || {
        let mut found = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= lowest.load(Ordering::Relaxed) {
                return found;
            }
            if let Some(told) = tell(number) {
                lowest.fetch_min(number, Ordering::Relaxed);
                found = Some((number, told));
            }
        }
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(look);
        (look(), other.join().unwrap_or_default())
    });
    one.into_iter().chain(other).min()
}

/// What a world breaks first, in words as well.
fn broken(profile: &Profile, seed: u64) -> Option<(Broke, String)> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, profile))) {
        Ok(run) => run.violations.first().map(|first| (Broke::Theorem(first.theorem), first.to_string())),
        Err(_) => Some((Broke::Panic, "the world could not go on".to_owned())),
    }
}
