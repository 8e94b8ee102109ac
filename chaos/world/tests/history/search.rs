//! The checker for reads against an exhaustive search for an order, on many small random histories: they must agree.

use super::text::name;
use regent_core::ids::{Epoch, InstanceName};
use regent_world::history::Log;
use regent_world::history::linearizable_assignment::{Operation, check};

/// Xorshift: the same seed, the same histories.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn span(&mut self) -> (u64, u64) {
        let begun = self.below(12);
        (begun, begun + self.below(6))
    }
}

/// Each epoch has one owner here: epochs with two are the table's.
fn owner(epoch: u64) -> (Epoch, InstanceName) {
    (Epoch(epoch), name(["a", "b", "c"][usize::try_from(epoch % 3).expect("small")]))
}

fn history(chance: &mut Chance) -> Vec<Operation> {
    let decides = 1 + chance.below(3);
    let mut operations: Vec<Operation> = (1..=decides)
        .map(|at| {
            let ((begun, end), (epoch, primary)) = (chance.span(), owner(at));
            Operation::Decide { begun, epoch, primary, known: (chance.below(4) > 0).then_some(end) }
        })
        .collect();
    for _ in 0..1 + chance.below(4) {
        let ((begun, at), epoch) = (chance.span(), chance.below(decides + 1));
        operations.push(Operation::Read { begun, at, answer: (epoch > 0).then(|| owner(epoch)) });
    }
    operations
}

fn times(operation: &Operation) -> (u64, u64) {
    match operation {
        Operation::Decide { begun, known, .. } => (*begun, known.unwrap_or(u64::MAX)),
        Operation::Read { begun, at, .. } => (*begun, *at),
        Operation::Told { at, .. } => (*at, *at),
    }
}

/// Whether what is left can be put into an order that keeps to real time and to the register, which stands at `now`.
/// An ambiguous decision may as well never take effect.
fn some_order(left: &[&Operation], now: Epoch) -> bool {
    let settled = |operation: &&Operation| times(operation).1 != u64::MAX;
    if !left.iter().any(settled) {
        return true;
    }
    let first_end = left.iter().map(|operation| times(operation).1).min().unwrap_or(u64::MAX);
    (0..left.len()).any(|at| {
        if times(left[at]).0 > first_end {
            return false; // another was over before it began
        }
        let next = match left[at] {
            Operation::Decide { epoch, .. } => now.max(*epoch),
            Operation::Read { answer, .. } => answer.as_ref().map_or(Epoch(0), |(epoch, _)| *epoch),
            Operation::Told { .. } => now,
        };
        let reads = matches!(left[at], Operation::Read { .. });
        let mut rest = left.to_vec();
        rest.remove(at);
        (!reads || next == now) && some_order(&rest, next)
    })
}

#[test]
fn the_checker_and_the_search_agree() {
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..100_000 {
        let operations = history(&mut chance);
        let possible = some_order(&operations.iter().collect::<Vec<_>>(), Epoch(0));
        let found = check(&operations, &Log::new());
        assert_eq!(possible, found.is_empty(), "{operations:#?}\n{found:#?}");
        if possible { good += 1 } else { bad += 1 }
    }
    assert!(good > 5_000 && bad > 5_000, "both kinds are tried: {good} good, {bad} bad");
}
