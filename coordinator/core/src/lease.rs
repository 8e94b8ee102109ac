//! Both sides of the lease: a witness's promise, and the holder's deadline that rests on promises of a majority.
//!
//! Why leases never overlap (design section 3, i): a witness has one running promise at most. It starts when the
//! request arrived; the holder counts it from when the request was *sent*, and less the drift of two clocks. So the
//! holder's deadline ends before each promise it rests on.

use crate::ids::{Epoch, InstanceName, NodeId};
use crate::quorum::{Electorate, majority};
use crate::time::{Time, held};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One witness's word, on its own clock, to let nobody else be primary for a while.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// The epoch it was given under.
    pub epoch: Epoch,
    /// The instance it was given to.
    pub holder: InstanceName,
    /// When it is over, on the witness's clock.
    pub until: Time,
}

impl Promise {
    /// Whether it still binds at `now`.
    pub fn runs(&self, now: Time) -> bool {
        now < self.until
    }
}

/// The promises a holder has heard for one epoch: for each witness the instant, on the holder's clock, until which it
/// may count on it.
#[derive(Clone, Hash, Default, Debug)]
pub struct Vouchers {
    until: BTreeMap<NodeId, Time>,
}

impl Vouchers {
    /// A witness promised `ttl` in answer to a message sent at `sent`. Later answers never shorten an earlier one.
    pub fn add(&mut self, witness: NodeId, sent: Time, ttl: Duration) {
        let until = sent + held(ttl);
        let kept = self.until.entry(witness).or_insert(until);
        *kept = until.max(*kept);
    }

    /// Forgets all: another epoch begins.
    pub fn clear(&mut self) {
        self.until.clear();
    }

    /// The holder's deadline: the latest instant up to which a majority of the electorate has promised.
    /// `None` while fewer than a majority ever promised.
    pub fn deadline(&self, electorate: &Electorate) -> Option<Time> {
        let mut ends: Vec<Time> =
            electorate.iter().filter_map(|witness| self.until.get(witness).copied()).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(majority(electorate.len()) - 1).copied()
    }

    /// The witnesses whose promise runs at `now`.
    pub fn running(&self, now: Time) -> impl Iterator<Item = NodeId> + '_ {
        self.until.iter().filter(move |(_, until)| now < **until).map(|(witness, _)| *witness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time(n * 1_000_000)
    }

    #[test]
    fn the_deadline_is_that_of_the_majority_counted_from_sending() {
        let three: Electorate = [1, 2, 3].map(NodeId).into();
        let ttl = Duration::from_millis(250);
        let mut vouchers = Vouchers::default();
        assert_eq!(vouchers.deadline(&three), None);
        vouchers.add(NodeId(1), ms(100), ttl);
        vouchers.add(NodeId(9), ms(900), ttl); // a stranger
        assert_eq!(vouchers.deadline(&three), None);
        vouchers.add(NodeId(2), ms(50), ttl);
        assert_eq!(vouchers.deadline(&three), Some(ms(50) + held(ttl)));
        vouchers.add(NodeId(3), ms(80), ttl);
        assert_eq!(vouchers.deadline(&three), Some(ms(80) + held(ttl)));
        vouchers.add(NodeId(3), ms(20), ttl); // a late answer to an older message
        assert_eq!(vouchers.deadline(&three), Some(ms(80) + held(ttl)));
    }
}
