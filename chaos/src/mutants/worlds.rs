//! The simulated world as a level: seeds of the profiles in turn, until a theorem is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use regent_core::mutant::{Mutant, select};
use regent_world::{Profile, run};

use super::levels::{Caught, Level};

/// Seeds of each profile that are tried before a mutant counts as not noticed.
const SEEDS: u64 = 120;
/// In which worlds. Faults close together in a small world find most; what only elections, a quiet time or other groups
/// show, the others do; and what `sync` promises, only a group in it.
const PROFILES: [&str; 5] = ["small", "swarm", "leaderless", "calm", "sync"];

/// See above.
pub struct Worlds;

impl Level for Worlds {
    fn name(&self) -> &'static str {
        "world"
    }

    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>> {
        select(mutant);
        let worlds: Vec<_> = worlds().collect();
        let found = first(worlds.len(), |number| {
            let (profile, seed) = &worlds[number];
            Some(format!("{profile} {seed}: {}", broken(profile, *seed)?))
        });
        select(None);
        Ok(found.map(|(before, seen)| Caught { by: format!("{} worlds", before + 1), seen }))
    }
}

/// The lowest number of which there is something to tell, looked for on two threads.
fn first(end: usize, tell: impl Fn(usize) -> Option<String> + Sync) -> Option<(usize, String)> {
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

fn worlds() -> impl Iterator<Item = (Profile, u64)> {
    let profiles = || PROFILES.iter().filter_map(|name| Profile::named(name));
    (0..SEEDS).flat_map(move |seed| profiles().map(move |profile| (profile, seed)))
}

/// What a world breaks. A rule that is switched off may also lead to where the world cannot go on: that is seen as well.
fn broken(profile: &Profile, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, profile))) {
        Ok(run) => run.violations.first().map(ToString::to_string),
        Err(_) => Some("the world could not go on".to_owned()),
    }
}
