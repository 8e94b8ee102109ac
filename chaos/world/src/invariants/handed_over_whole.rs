//! A planned change leaves nothing behind: when a primary hands over, who follows has all that it has on its disk.

use super::{Found, HostId, Theorem};
use crate::postgres::Postgres;

/// An office is handed over by the first to the second.
pub fn handed_over(from: (HostId, &Postgres), to: (HostId, &Postgres), found: &mut Found) {
    let ((who, here), (next, there)) = (from, to);
    let whole = there.history.starts_with(&here.history) && there.flushed >= here.flushed;
    let lacks = here.flushed.saturating_sub(there.flushed);
    found.demand(Theorem::HandedOverWhole, whole, |names| {
        format!("{} hands over to {}, which lacks {lacks} of what it has", names[who], names[next])
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Branch;
    use regent_core::ids::Epoch;

    #[test]
    fn a_successor_that_lacks_something_or_went_another_way_is_found() {
        let branch = |timeline| Branch { timeline, start: 0, epoch: Epoch(1) };
        let at = |flushed, timeline| Postgres { flushed, history: vec![branch(timeline)], ..Postgres::new() };
        for (there, wrong) in [(at(100, 1), 0), (at(99, 1), 1), (at(100, 2), 1)] {
            let mut found = Found { names: vec!["A".to_owned(), "B".to_owned()], ..Found::default() };
            handed_over((0, &at(100, 1)), (1, &there), &mut found);
            assert_eq!(found.violations.len(), wrong, "{there:?}");
        }
    }
}
