//! Majorities of an electorate. Only arithmetic.

use crate::ids::NodeId;
use crate::mutant::{self, Mutant};
use std::collections::BTreeSet;

/// The witnesses that govern a group's epochs.
pub type Electorate = BTreeSet<NodeId>;

/// How many are a majority of `members`: any two majorities share one.
pub fn majority(members: usize) -> usize {
    if mutant::on(Mutant::MajorityTooSmall) {
        return (members / 2).max(1);
    }
    members / 2 + 1
}

/// Whether the distinct `voters` that belong to the electorate are a majority of it.
pub fn is_majority<'a>(electorate: &Electorate, voters: impl IntoIterator<Item = &'a NodeId>) -> bool {
    let distinct: BTreeSet<_> = voters.into_iter().filter(|voter| electorate.contains(voter)).collect();
    !electorate.is_empty() && distinct.len() >= majority(electorate.len())
}

/// Whether one electorate becomes the other by one witness added or removed (or none): then every majority of one
/// meets every majority of the other, which is what keeps an epoch's owner unique across the change (finding F8).
pub fn one_step(from: &Electorate, to: &Electorate) -> bool {
    from.symmetric_difference(to).count() <= 1 || mutant::on(Mutant::ElectorateInOneLeap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsets(of: &Electorate) -> Vec<Electorate> {
        let items: Vec<_> = of.iter().copied().collect();
        (0u32..1 << items.len())
            .map(|bits| {
                items.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, id)| *id).collect()
            })
            .collect()
    }

    #[test]
    fn majorities_meet_within_an_electorate_and_across_one_step() {
        for size in 1..=6u64 {
            let from: Electorate = (1..=size).map(NodeId).collect();
            for to_size in [size, size + 1] {
                let to: Electorate = (1..=to_size).map(NodeId).collect();
                assert!(one_step(&from, &to) && one_step(&to, &from));
                for a in subsets(&from).iter().filter(|set| is_majority(&from, *set)) {
                    for b in subsets(&to).iter().filter(|set| is_majority(&to, *set)) {
                        assert!(!a.is_disjoint(b), "{a:?} of {from:?} misses {b:?} of {to:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn strangers_repeats_and_an_empty_electorate_do_not_count() {
        let three: Electorate = [1, 2, 3].map(NodeId).into();
        assert!(!is_majority(&three, &[NodeId(1), NodeId(1), NodeId(9)]));
        assert!(is_majority(&three, &[NodeId(1), NodeId(3)]));
        assert!(!is_majority(&Electorate::new(), &[NodeId(1)]));
        assert!(!one_step(&three, &[1, 2, 4].map(NodeId).into()));
    }
}
