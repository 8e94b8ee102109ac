//! A fault that does not concern the primary causes no promotion at all: judged in runs whose faults are such.

use super::{Found, Theorem};

/// After a run in which nothing happened to a primary.
pub fn settle(promotions: u64, found: &mut Found) {
    found.demand(Theorem::NoNeedlessPromotion, promotions == 0, |_| {
        format!("{promotions} changes of primary, though nothing happened to a primary")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_too_many() {
        let mut found = Found::default();
        settle(0, &mut found);
        assert_eq!(found.violations, []);
        settle(1, &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
