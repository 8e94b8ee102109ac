//! A fault in one group changes nothing in another: judged in runs whose faults strike the instances of one group only.

use super::{Found, Theorem};

/// What happened to a group that was left alone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Calm {
    /// Changes of its primary.
    pub promotions: u64,
    /// How often its gate closed by itself.
    pub lapses: u64,
}

/// After a run.
pub fn settle(group: &str, calm: Calm, found: &mut Found) {
    found.demand(Theorem::Isolation, calm == Calm::default(), |_| {
        let Calm { promotions, lapses } = calm;
        format!(
            "group {group}, which was left alone, had {promotions} changes of primary and {lapses} lapses"
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_left_alone_shows_nothing() {
        let mut found = Found::default();
        settle("g", Calm::default(), &mut found);
        assert_eq!(found.violations, []);
        settle("g", Calm { lapses: 1, ..Calm::default() }, &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
