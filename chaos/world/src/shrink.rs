//! Finds few faults of a failing seed that still make it fail in the same way: delta debugging.

use crate::faults::Planned;
use crate::invariants::Theorem;
use crate::profile::Profile;
use crate::run::{Run, faults_of, replay};

/// How many replays a search may take.
const TRIALS: usize = 400;

/// The fewest faults found with which the seed still breaks the claim that it breaks with all of them; none if it
/// breaks none.
pub fn shrink(seed: u64, profile: &Profile) -> Vec<Planned> {
    let all = faults_of(seed, profile);
    let whole = replay(seed, profile, &all, false);
    let Some(theorem) = broken(&whole) else { return Vec::new() };
    fewest(all, |part| broken(&replay(seed, profile, part, false)) == Some(theorem))
}

fn broken(run: &Run) -> Option<Theorem> {
    run.violations.first().map(|violation| violation.theorem)
}

/// Leaves out ever smaller parts, as long as what is left still fails. Bounded: the last part found is given then.
pub fn fewest<T: Clone>(all: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut left, mut trials) = (all, 0);
    let mut piece = left.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < left.len() && trials < TRIALS {
            let end = (at + piece).min(left.len());
            let part: Vec<T> = left[..at].iter().chain(&left[end..]).cloned().collect();
            trials += 1;
            if fails(&part) {
                left = part;
            } else {
                at = end;
            }
        }
        if piece == 1 || trials >= TRIALS {
            return left;
        }
        piece = piece.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let found = fewest((0..100).collect(), |part: &[u32]| part.contains(&17) && part.contains(&80));
        assert_eq!(found, [17, 80]);
    }

    #[test]
    fn a_search_ends_even_when_everything_fails() {
        assert_eq!(fewest(vec![1, 2, 3], |_| true), Vec::<i32>::new());
    }
}
