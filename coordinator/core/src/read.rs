//! Who is primary, asked of a majority of witnesses: linearizable, and without the Raft leader.
//!
//! Why an answer is never older than one given before (S7). Whatever was answered before, (e, X), was decided, so a
//! majority of the electorate of its basis stands at floor e or above. The witnesses asked now are a majority of the
//! electorate of the highest revision among them; it is the same electorate or one step away from it, so they meet, in a
//! member of both: the highest floor among the members asked is e or above, and only what is decided *at that floor* is
//! answered. The floor of a witness that governs no more says nothing: it may have voted in vain, long ago.
//!
//! - The log's word settles its epoch by itself.
//! - Votes settle an epoch only directly above the log's: further up the log may meanwhile have changed the electorate
//!   twice without these witnesses, and two majorities two steps apart need not meet.
//! - Epoch 1 comes from the log alone, no witness stands behind it: "no primary yet" is answered only when every member
//!   of the electorate says so.

use crate::ids::{Epoch, InstanceName, NodeId};
use crate::message::Standing;
use crate::mutant::{self, Mutant};
use crate::quorum::{Electorate, is_majority, majority};
use crate::vote::Certificate;

/// What the answers of one round come to. All of them must have been asked for after the read began (finding F17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// This is decided, and nothing above it was before the round.
    Decided(Epoch, InstanceName),
    /// The group never had a primary.
    NoPrimary,
    /// Too few witnesses answered.
    TooFew {
        /// How many of the electorate did.
        answered: usize,
        /// How many must.
        needed: usize,
    },
    /// A witness stands at an epoch of which it is not known yet whether it is decided: ask again.
    InTransition(Epoch),
}

/// Judges the answers of one round, `known` being a certificate that whoever judges has heard of.
pub fn decide(answers: &[Standing], known: Option<&Certificate>) -> Outcome {
    let Some(newest) = answers.iter().max_by_key(|answer| answer.revision) else {
        return Outcome::TooFew { answered: 0, needed: 1 };
    };
    let mut basis = (newest.epoch, &newest.electorate);
    if let Some(certified) = known.map(Certificate::basis).filter(|certified| certified.0 > basis.0) {
        basis = certified;
    }
    let (logged, electorate) = basis;
    let members: Vec<&Standing> =
        answers.iter().filter(|answer| electorate.contains(&answer.witness)).collect();
    let enough = is_majority(electorate, members.iter().map(|answer| &answer.witness));
    if !enough && !mutant::on(Mutant::MinorityRead) {
        return Outcome::TooFew { answered: members.len(), needed: majority(electorate.len()) };
    }
    let certified = known.map_or(Epoch(0), Certificate::epoch);
    let floors = members.iter().map(|answer| answer.floor);
    let top = floors.chain(answers.iter().map(|answer| answer.epoch)).max().unwrap_or_default();
    let top = top.max(certified);
    let of_log = answers.iter().find(|answer| answer.epoch == top).and_then(|answer| answer.primary.clone());
    if let Some(primary) = of_log {
        return Outcome::Decided(top, primary);
    }
    if top == logged.next()
        && let Some(primary) = by_votes(&members, electorate, top, known)
    {
        return Outcome::Decided(top, primary);
    }
    let untouched = |answer: &&Standing| answer.epoch == Epoch(0) && answer.named.is_none();
    if members.len() == electorate.len() && top <= Epoch(1) && answers.iter().all(|a| untouched(&a)) {
        return Outcome::NoPrimary;
    }
    Outcome::InTransition(top)
}

fn by_votes(
    members: &[&Standing],
    electorate: &Electorate,
    top: Epoch,
    known: Option<&Certificate>,
) -> Option<InstanceName> {
    if let Some(certificate) = known.filter(|certificate| certificate.epoch() == top) {
        return Some(certificate.named().clone());
    }
    let named = |answer: &&&Standing| answer.floor == top && answer.named.is_some();
    members.iter().filter(named).filter_map(|answer| answer.named.clone()).find(|name| {
        let same = |answer: &&&Standing| answer.floor == top && answer.named.as_ref() == Some(name);
        let voters: Vec<NodeId> = members.iter().filter(same).map(|answer| answer.witness).collect();
        is_majority(electorate, &voters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupName, Revision};
    use crate::vote::{Reason, Vote};
    use std::time::Duration;

    fn name(text: &str) -> InstanceName {
        InstanceName::new(text).unwrap()
    }

    /// A witness that has applied `epoch` of `primary`.
    fn at(witness: u64, epoch: u64, primary: &str) -> Standing {
        Standing {
            group: GroupName::new("g").unwrap(),
            witness: NodeId(witness),
            floor: Epoch(epoch.max(1)),
            named: None,
            epoch: Epoch(epoch),
            primary: (epoch > 0).then(|| name(primary)),
            revision: Revision(epoch * 10 + 1),
            electorate: [1, 2, 3].map(NodeId).into(),
            promised: None,
            may_name: Vec::new(),
            hears: Vec::new(),
        }
    }

    fn voted(witness: u64, epoch: u64, floor: u64, named: &str) -> Standing {
        Standing { floor: Epoch(floor), named: Some(name(named)), ..at(witness, epoch, "a") }
    }

    fn certificate(floor: u64, named: &str, basis: u64) -> Certificate {
        let vote = |witness| Vote {
            group: GroupName::new("g").unwrap(),
            witness: NodeId(witness),
            floor: Epoch(floor),
            named: name(named),
            since: Epoch(floor),
            rest: Vec::new(),
            seq: None,
            ttl: Duration::from_millis(250),
            basis: Epoch(basis),
            revision: Revision(basis * 10 + 1),
            electorate: [1, 2, 3].map(NodeId).into(),
            configuration: None,
            reason: Reason::Silent,
        };
        Certificate::new(vec![vote(2), vote(3)]).unwrap()
    }

    fn decided(epoch: u64, primary: &str) -> Outcome {
        Outcome::Decided(Epoch(epoch), name(primary))
    }

    #[test]
    fn in_calm_a_majority_says_what_the_log_says() {
        assert_eq!(decide(&[at(1, 4, "a"), at(3, 4, "a")], None), decided(4, "a"));
        // One is behind; the other has the log's word for the highest floor.
        assert_eq!(decide(&[at(1, 3, "a"), at(3, 4, "b")], None), decided(4, "b"));
    }

    #[test]
    fn fewer_than_a_majority_settle_nothing() {
        assert_eq!(decide(&[], None), Outcome::TooFew { answered: 0, needed: 1 });
        assert_eq!(decide(&[at(1, 4, "a")], None), Outcome::TooFew { answered: 1, needed: 2 });
        // Strangers tell what they applied but do not count.
        assert_eq!(decide(&[at(1, 4, "a"), at(9, 4, "a")], None), Outcome::TooFew { answered: 1, needed: 2 });
    }

    #[test]
    fn votes_of_a_majority_are_a_decision_before_the_log_has_it() {
        assert_eq!(decide(&[voted(2, 1, 2, "b"), voted(3, 1, 2, "b")], None), decided(2, "b"));
    }

    #[test]
    fn one_vote_alone_leaves_it_open_and_the_old_answer_is_not_given() {
        let answers = [at(1, 1, "a"), voted(2, 1, 2, "b")];
        assert_eq!(decide(&answers, None), Outcome::InTransition(Epoch(2)));
        let split = [voted(1, 1, 2, "c"), voted(2, 1, 2, "b"), at(3, 1, "a")];
        assert_eq!(decide(&split, None), Outcome::InTransition(Epoch(2)));
        // Unless the certificate is known here.
        assert_eq!(decide(&answers, Some(&certificate(2, "b", 1))), decided(2, "b"));
    }

    #[test]
    fn an_older_certificate_does_not_settle_a_higher_floor() {
        let answers = [voted(2, 1, 3, "c"), voted(3, 1, 2, "b")];
        assert_eq!(decide(&answers, Some(&certificate(2, "b", 1))), Outcome::InTransition(Epoch(3)));
    }

    #[test]
    fn votes_two_epochs_above_the_log_wait_for_it() {
        let answers = [voted(2, 1, 3, "b"), voted(3, 1, 3, "b")];
        assert_eq!(decide(&answers, None), Outcome::InTransition(Epoch(3)));
        assert_eq!(decide(&answers, Some(&certificate(3, "b", 1))), Outcome::InTransition(Epoch(3)));
        let one_recorded = Standing { epoch: Epoch(3), ..at(3, 3, "b") };
        assert_eq!(decide(&[voted(2, 1, 3, "b"), one_recorded], None), decided(3, "b"));
    }

    #[test]
    fn the_electorate_is_that_of_the_newest_answer() {
        let grown: Electorate = [1, 2, 3, 4].map(NodeId).into();
        let newest = Standing { electorate: grown, ..at(2, 5, "a") };
        let two = [at(1, 4, "a"), newest.clone()];
        assert_eq!(decide(&two, None), Outcome::TooFew { answered: 2, needed: 3 });
        let three = [at(1, 4, "a"), newest, at(3, 4, "a")];
        assert_eq!(decide(&three, None), decided(5, "a"));
    }

    #[test]
    fn a_vote_in_vain_of_who_governs_no_more_holds_nobody_up() {
        let two: Electorate = [1, 2].map(NodeId).into();
        let left = |answer| Standing { electorate: two.clone(), ..answer };
        let answers = [left(at(1, 4, "a")), left(at(2, 4, "a")), left(voted(3, 4, 5, "b"))];
        assert_eq!(decide(&answers, None), decided(4, "a"));
        // Of who governs, it does: it may be one of a majority.
        let answers = [left(at(1, 4, "a")), left(voted(2, 4, 5, "b"))];
        assert_eq!(decide(&answers, None), Outcome::InTransition(Epoch(5)));
    }

    #[test]
    fn no_primary_yet_is_said_only_when_all_say_so() {
        let fresh = [at(1, 0, ""), at(2, 0, ""), at(3, 0, "")];
        assert_eq!(decide(&fresh, None), Outcome::NoPrimary);
        assert_eq!(decide(&fresh[..2], None), Outcome::InTransition(Epoch(1)));
        assert_eq!(decide(&[at(1, 0, ""), at(2, 0, ""), at(3, 1, "a")], None), decided(1, "a"));
    }
}
