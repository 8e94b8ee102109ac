//! The levels of test that are asked, in this order: first the world, which knows only what is promised and nothing of how
//! it is kept, then the quick ones, which know each rule; the model check, which takes longest, last.

use regent_core::mutant::Mutant;

use super::{models, tests_of_core, worlds};

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
    /// What it saw.
    pub seen: String,
}

/// All levels, ready to be asked.
pub fn all() -> anyhow::Result<Vec<Box<dyn Level>>> {
    let [rules, golden] = tests_of_core::build()?;
    Ok(vec![Box::new(worlds::Worlds), Box::new(rules), Box::new(golden), Box::new(models::Models)])
}
