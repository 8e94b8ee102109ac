//! Nothing is said before it is durable: a vote, a promise on the log's word, a claim, a release.

use super::{Found, Theorem};
use regent_core::agent;
use regent_core::ids::NodeId;
use regent_core::message::{ToAgent, ToWitness};
use regent_core::witness;

/// A node speaks to an agent.
pub fn node_says(who: NodeId, kept: Option<&witness::Durable>, message: &ToAgent, found: &mut Found) {
    let durable = match message {
        ToAgent::Vote(vote) => kept.is_some_and(|kept| {
            kept.floor >= vote.floor && kept.chain.iter().any(|link| link.vote.as_ref() == Some(vote))
        }),
        ToAgent::Promised { revision, .. } => kept.is_some_and(|kept| kept.group.revision >= *revision),
        ToAgent::Known(group) => kept.is_some_and(|kept| kept.group.revision >= group.revision),
        _ => true,
    };
    found.demand(Theorem::PersistBeforeSend, durable, |_| {
        format!("witness {who} says a vote, a promise or the log's word before it is durable")
    });
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
    use regent_core::ids::{Epoch, GroupName, InstanceName};
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
