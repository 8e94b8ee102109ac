//! The simulated world as a level: seeds of the profiles in turn, until a theorem is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regent_core::mutant::{Mutant, select};
use regent_world::{Profile, run};

use super::levels::{Caught, Level};

/// Seeds of each profile that are tried before a mutant counts as not noticed.
const SEEDS: u64 = 120;
/// In which worlds. Faults close together in a small world find most; what only elections, a quiet time or other groups
/// show, the others do.
const PROFILES: [&str; 4] = ["small", "swarm", "leaderless", "calm"];

/// See above.
pub struct Worlds;

impl Level for Worlds {
    fn name(&self) -> &'static str {
        "world"
    }

    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>> {
        select(mutant);
        let found = worlds().enumerate().find_map(|(before, (profile, seed))| {
            let seen = broken(&profile, seed)?;
            Some(Caught { by: format!("{} seeds", before + 1), seen: format!("{profile} {seed}: {seen}") })
        });
        select(None);
        Ok(found)
    }
}

fn worlds() -> impl Iterator<Item = (Profile, u64)> {
    let profiles = || PROFILES.iter().filter_map(|name| Profile::named(name));
    (0..SEEDS).flat_map(move |seed| profiles().map(move |profile| (profile, seed)))
}

/// What a world breaks. A rule that is switched off may also lead to where the world cannot go on: that is seen as well.
fn broken(profile: &Profile, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, profile))) {
        Ok(run) => run.violations.first().map(|violation| format!("{}: {violation}", violation.theorem)),
        Err(_) => Some("the world could not go on".to_owned()),
    }
}
