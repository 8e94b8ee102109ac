//! S7: a linearizable read of an assignment never returns an older epoch than one already returned to anybody, be it by
//! a read, by a watch, or by a write that was acknowledged under it.

use super::{Found, Theorem};
use regent_core::ids::Epoch;

/// What readers of one group were told.
#[derive(Default)]
pub struct Reads {
    highest: Epoch,
    /// How many reads were answered.
    pub answered: u64,
}

impl Reads {
    /// Somebody outside knows of that epoch now.
    pub fn known(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }

    /// The epoch below which no read that begins now may answer.
    pub fn begins(&self) -> Epoch {
        self.highest
    }

    /// A read that was begun when `least` was known answers.
    pub fn answers(&mut self, least: Epoch, epoch: Epoch, found: &mut Found) {
        found.demand(Theorem::LinearizableAssignment, epoch >= least, |_| {
            format!("a read answers epoch {epoch}, begun after somebody was told of {least}")
        });
        self.answered += 1;
        self.known(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_older_than_what_was_known_when_it_was_asked_for() {
        let (mut reads, mut found) = (Reads::default(), Found::default());
        reads.known(Epoch(1));
        let early = reads.begins();
        reads.known(Epoch(2));
        reads.answers(early, Epoch(1), &mut found);
        assert_eq!(found.violations, []);
        let late = reads.begins();
        reads.answers(late, Epoch(1), &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
