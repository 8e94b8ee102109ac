//! Nothing is said before it is durable: a vote, a promise on the log's word, a claim, a release.

use super::{Found, Theorem};
use regent_core::agent;
use regent_core::ids::{Epoch, GroupName, NodeId};
use regent_core::message::{ToAgent, ToNode, ToWitness};
use regent_core::vote::{Certificate, Vote};
use regent_core::witness;
use std::collections::BTreeMap;

/// A node speaks to an agent.
pub fn node_says(who: NodeId, kept: Option<&witness::Durable>, message: &ToAgent, found: &mut Found) {
    let durable = match message {
        ToAgent::Vote(vote) => cast(kept, vote),
        // A promise is a word about everything below.
        ToAgent::Promised { epoch, revision, .. } => {
            kept.is_some_and(|kept| floor(kept) >= *epoch && kept.group.revision >= *revision)
        }
        ToAgent::Known(group) => kept.is_some_and(|kept| kept.group.revision >= group.revision),
        ToAgent::Decided(certificate) => own_vote_is_cast(who, kept, certificate),
        ToAgent::Heard { .. } | ToAgent::Decline { .. } | ToAgent::HandOver { .. } => true,
        // Another's word, passed on.
        ToAgent::Detached { .. } => true,
        // The log has it, or it is told again.
        ToAgent::TailRecorded { .. } => true,
    };
    found.demand(Theorem::PersistBeforeSend, durable, |_| {
        format!("witness {who} says a vote, a promise or the log's word before it is durable")
    });
}

/// A node speaks to the other nodes.
pub fn node_tells(
    who: NodeId,
    kept: &BTreeMap<GroupName, witness::Durable>,
    message: &ToNode,
    found: &mut Found,
) {
    let durable = match message {
        ToNode::Vote(vote) => cast(kept.get(&vote.group), vote),
        ToNode::Decided(certificate) => own_vote_is_cast(who, kept.get(certificate.group()), certificate),
        ToNode::Standing(standing) => {
            kept.get(&standing.group).is_none_or(|kept| floor(kept) >= standing.floor)
        }
        ToNode::Solicit(_) => true,
    };
    found.demand(Theorem::PersistBeforeSend, durable, |_| {
        format!("witness {who} tells the other nodes of a vote or a floor before it is durable")
    });
}

/// What is below is not granted again: what the witness said, or the log that it answered with.
fn floor(kept: &witness::Durable) -> Epoch {
    kept.floor.max(kept.group.epoch)
}

fn cast(kept: Option<&witness::Durable>, vote: &Vote) -> bool {
    kept.is_some_and(|kept| {
        kept.floor >= vote.floor && kept.chain.iter().any(|link| link.vote.as_ref() == Some(vote))
    })
}

/// What others voted they made durable; its own vote counts for it from then on, and is forgotten only with the log past it.
fn own_vote_is_cast(who: NodeId, kept: Option<&witness::Durable>, certificate: &Certificate) -> bool {
    let own = certificate.votes().iter().find(|vote| vote.witness == who);
    own.is_none_or(|vote| kept.is_some_and(|kept| floor(kept) >= vote.floor))
}

/// An agent speaks to a witness.
pub fn agent_says(who: usize, kept: Option<&agent::Durable>, message: &ToWitness, found: &mut Found) {
    let durable = match message {
        ToWitness::Report(report) => kept.is_some_and(|kept| {
            kept.incarnation >= report.seq.incarnation
                && report.claims.is_none_or(|epoch| kept.acted >= epoch)
                && kept.declined >= report.declined
        }),
        ToWitness::Release(release) => kept.is_some_and(|kept| kept.released >= release.epoch),
        _ => true,
    };
    found.demand(Theorem::PersistBeforeSend, durable, |names| {
        format!("{} says a claim or a release before it is durable", names[who])
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::ids::InstanceName;
    use regent_core::message::Release;
    use regent_core::vote::Reason;

    #[test]
    fn a_release_is_durable_first() {
        let release = ToWitness::Release(Release {
            group: GroupName::new("g").unwrap(),
            instance: InstanceName::new("a").unwrap(),
            epoch: Epoch(2),
            to: None,
            reason: Reason::Silent,
        });
        let mut found = Found { names: vec!["A".to_owned()], ..Found::default() };
        let kept = agent::Durable { released: Epoch(2), ..agent::Durable::default() };
        agent_says(0, Some(&kept), &release, &mut found);
        assert_eq!(found.violations, []);
        agent_says(0, None, &release, &mut found);
        assert_eq!(found.violations.len(), 1);
    }
}
