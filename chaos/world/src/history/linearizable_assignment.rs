//! S7: a linearizable read of an assignment never returns an older epoch than one already returned to anybody.
//!
//! A group's assignment is a register that only rises: a decision of a higher epoch replaces one of a lower epoch, and
//! one of a lower epoch that comes late changes nothing. Such a register needs no search. An operation that shows epoch e
//! (a decision of it, an answer with it) is over at some instant; from the first such instant on the register stands at e
//! or above. So a history is linearizable exactly when for each answered read of e there is an instant that is
//! - not before the read began, nor before anybody began to decide e,
//! - not after the read was answered,
//! - not after the first instant by which a higher epoch was shown to anybody.
//!
//! Sorting makes that O(n log n), exact, without false alarms.
//!
//! A decision whose end nobody saw is ambiguous. The log settles it: what it holds was decided. What it does not hold was
//! overtaken, or never decided: it took effect if somebody was shown it, and else it is as if it had not been.

use super::{Log, Violation};
use regent_core::ids::{Epoch, InstanceName};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Something that was done to a group's assignment, or learnt of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Witnesses voted for an epoch.
    Decide {
        /// When the first of them did.
        begun: u64,
        /// The epoch.
        epoch: Epoch,
        /// Whom they named.
        primary: InstanceName,
        /// When somebody first knew it decided; `None` when nobody was seen to.
        known: Option<u64>,
    },
    /// Somebody asked with linearizable consistency. One who got no answer has learnt nothing and need not be told.
    Read {
        /// When it was asked.
        begun: u64,
        /// When it was answered.
        at: u64,
        /// The answer; `None`: there never was a primary.
        answer: Option<(Epoch, InstanceName)>,
    },
    /// Somebody was told without having asked for the latest, by a watch or a local read: it may be old, but it was decided.
    Told {
        /// When.
        at: u64,
        /// The epoch.
        epoch: Epoch,
        /// Its primary.
        primary: InstanceName,
    },
}

/// Checks the operations of one group, in any order, against what its log holds in the end.
pub fn check(operations: &[Operation], log: &Log) -> Vec<Violation> {
    let mut shows: Vec<Show> = operations.iter().filter_map(Show::of).collect();
    shows.sort_by_key(|show| show.at);
    let mut found = Vec::new();
    let owners = owners(&shows, log, &mut found);
    let begun = begun(operations, &owners, log);
    found.extend(shows.iter().filter_map(|show| show.appeared(&begun)));
    let risen = risen(&shows);
    found.extend(operations.iter().filter_map(|operation| stale(operation, &begun, &risen)));
    found.sort_by_key(|violation| violation.at);
    found
}

/// Somebody knew, at that instant, that the epoch was decided.
struct Show<'a> {
    at: u64,
    epoch: Epoch,
    primary: &'a InstanceName,
}

impl Show<'_> {
    fn of(operation: &Operation) -> Option<Show<'_>> {
        match operation {
            Operation::Decide { epoch, primary, known, .. } => {
                known.map(|at| Show { at, epoch: *epoch, primary })
            }
            Operation::Read { at, answer, .. } => {
                answer.as_ref().map(|(epoch, primary)| Show { at: *at, epoch: *epoch, primary })
            }
            Operation::Told { at, epoch, primary } => Some(Show { at: *at, epoch: *epoch, primary }),
        }
    }

    fn appeared(&self, begun: &BTreeMap<Epoch, u64>) -> Option<Violation> {
        let (at, epoch) = (self.at, self.epoch);
        let sentence = match begun.get(&epoch) {
            None => format!("epoch {epoch} of {} was shown, and nobody voted for it", self.primary),
            Some(begun) if at < *begun => {
                format!("epoch {epoch} of {} was shown before anybody voted for it, at {begun}", self.primary)
            }
            Some(_) => return None,
        };
        Some(Violation { at, sentence })
    }
}

/// The one primary of each epoch, the log's word before any other.
fn owners<'a>(
    shows: &[Show<'a>],
    log: &'a Log,
    found: &mut Vec<Violation>,
) -> BTreeMap<Epoch, &'a InstanceName> {
    let mut owners: BTreeMap<Epoch, &InstanceName> = log.iter().map(|(epoch, name)| (*epoch, name)).collect();
    for Show { at, epoch, primary } in shows {
        let owner = *owners.entry(*epoch).or_insert(primary);
        if owner != *primary {
            let sentence = format!("epoch {epoch} has two primaries: {owner} and {primary}");
            found.push(Violation { at: *at, sentence });
        }
    }
    owners
}

/// When the first vote was cast for each epoch and its owner. Votes for another were in vain. What the log holds and
/// nobody was seen to vote for, as the first epoch, was decided out of sight: at any time.
fn begun(
    operations: &[Operation],
    owners: &BTreeMap<Epoch, &InstanceName>,
    log: &Log,
) -> BTreeMap<Epoch, u64> {
    let mut first = BTreeMap::new();
    for operation in operations {
        if let Operation::Decide { begun, epoch, primary, .. } = operation
            && owners.get(epoch) == Some(&primary)
        {
            let known = first.entry(*epoch).or_insert(*begun);
            *known = (*known).min(*begun);
        }
    }
    for epoch in log.keys() {
        first.entry(*epoch).or_insert(0);
    }
    first
}

/// For each epoch that was shown: the first instant by which it or a higher one was, and which.
fn risen(shows: &[Show<'_>]) -> BTreeMap<Epoch, (u64, Epoch)> {
    let mut first: BTreeMap<Epoch, (u64, Epoch)> = BTreeMap::new();
    for Show { at, epoch, .. } in shows {
        first.entry(*epoch).or_insert((*at, *epoch)); // they come in the order of time
    }
    let mut earliest = (u64::MAX, Epoch(0));
    for here in first.values_mut().rev() {
        earliest = earliest.min(*here);
        *here = earliest;
    }
    first
}

/// A read that cannot have happened at one instant: when it began, or what it returned did, a higher epoch was known.
fn stale(
    operation: &Operation,
    begun: &BTreeMap<Epoch, u64>,
    risen: &BTreeMap<Epoch, (u64, Epoch)>,
) -> Option<Violation> {
    let Operation::Read { begun: asked, at, answer } = operation else { return None };
    let epoch = answer.as_ref().map_or(Epoch(0), |(epoch, _)| *epoch);
    let (_, (shown, higher)) = risen.range((Bound::Excluded(epoch), Bound::Unbounded)).next()?;
    let voted = begun.get(&epoch).copied().unwrap_or(0);
    let sentence = if asked > shown {
        format!("a read begun at {asked} returned epoch {epoch}, but {higher} was known at {shown}")
    } else if voted > *shown {
        format!("a read returned epoch {epoch}, voted for at {voted}, but {higher} was known at {shown}")
    } else {
        return None;
    };
    Some(Violation { at: *at, sentence })
}
