//! The levels of test that are asked, in this order: first a few worlds, which know only what is promised and nothing of how
//! it is kept, then the quick ones, which know each rule; many worlds and the model check, which take longest, last.

use std::fmt;

use regent_core::mutant::Mutant;
use regent_world::Theorem;

use crate::{models, tests_of_core, worlds};

/// One level of test.
pub trait Level {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks for anything wrong while that rule is switched off; with none switched off, there must be nothing.
    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>>;
}

/// That a level noticed.
pub struct Caught {
    /// How soon, or how widely: `seed 7`, `3 of 39 scripts`.
    pub by: String,
    /// What was broken first.
    pub broke: Broke,
    /// What it saw.
    pub seen: String,
}

/// What a level saw broken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Broke {
    /// A theorem, in the simulated world.
    Theorem(Theorem),
    /// A theorem, in the model check.
    Modelled(&'static str),
    /// What a test of a rule expects.
    Rule,
    /// What a script expects.
    Script,
    /// Nothing that is claimed: the world could not go on. No check has failed, so nobody has noticed.
    Panic,
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broke::Theorem(theorem) => theorem.fmt(f),
            Broke::Modelled(theorem) => f.pad(theorem),
            Broke::Rule => f.pad("a rule's test"),
            Broke::Script => f.pad("a script"),
            Broke::Panic => f.pad("only a panic"),
        }
    }
}

/// All levels.
pub fn all() -> Vec<Box<dyn Level>> {
    let [rules, golden] = tests_of_core::all();
    vec![
        Box::new(worlds::Worlds::first()),
        Box::new(rules),
        Box::new(golden),
        Box::new(worlds::Worlds::others()),
        Box::new(models::Models),
    ]
}
