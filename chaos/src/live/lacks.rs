//! What scenarios need of this machine, and do not find.

use super::choice::Run;
use crate::cluster::control_group;
use crate::cluster::disk::Disk;
use crate::scenario::Scenario;
use crate::scenario::fault::Needs;

/// Why there is none of each, where somebody needs it.
pub struct Lacks([(Needs, Option<String>); 2]);

impl Lacks {
    /// Looks for what some of these need.
    pub fn of(runs: &[Run]) -> Lacks {
        let look = |what: Needs, unavailable: fn() -> Option<String>| {
            let wanted = runs.iter().any(|run| run.scenario.needs(what));
            (what, wanted.then(unavailable).flatten())
        };
        Lacks([look(Needs::Disk, Disk::unavailable), look(Needs::Groups, control_group::unavailable)])
    }

    /// Why a scenario cannot be played here, if so.
    pub fn why_not(&self, scenario: &Scenario) -> Option<&str> {
        let lacking = self.0.iter().filter(|(what, _)| scenario.needs(*what));
        lacking.filter_map(|(_, why)| why.as_deref()).next()
    }
}
