//! The model check as a level: the first states of every configuration, until a theorem is broken.

use std::num::NonZeroUsize;
use std::time::Duration;

use regent_core::mutant::{Mutant, select};
use regent_model::{Budget, Trace, check, configurations};

use crate::levels::{Broke, Caught, Level};

/// How many states of each configuration are looked at before a mutant counts as not noticed.
const STATES: NonZeroUsize = NonZeroUsize::new(20_000).expect("more than none");
/// Nothing takes this long, on however busy a machine.
const LONG: Duration = Duration::from_secs(600);

/// See above.
pub struct Models;

impl Level for Models {
    fn name(&self) -> &'static str {
        "model"
    }

    fn catch(&self, mutant: Option<Mutant>) -> anyhow::Result<Option<Caught>> {
        select(mutant);
        let mut before = 0;
        let found = configurations().into_iter().find_map(|config| {
            let outcome = check(&config, Budget { states: Some(STATES), depth: None, time: LONG });
            before += outcome.unique_states;
            let Trace { theorem, what, .. } = outcome.violation?;
            Some(Caught {
                by: format!("{before} states"),
                broke: Broke::Modelled(theorem),
                seen: format!("{}: {theorem}: {what}", config.name),
            })
        });
        select(None);
        Ok(found)
    }
}
