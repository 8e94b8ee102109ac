//! What an operator wants of one instance, said in its agent's own configuration and registered with it.
//!
//! Tags are wishes about who takes over, who is read from and who receives from whom. Safety does not rest on them: a
//! succession only grows by who may be in it anyway, and what confirms a commit is what the primary itself sees.
//!
//! # Cascades
//!
//! A standby with `replicate_from` receives from that instance instead of the primary, while it can. Whom it follows is a
//! function of the log alone ([`upstream_of`]), so that all agree and instances that name each other in a circle all follow
//! the primary. What such a standby knows of a new primary it knows through the one before it: it has turned to a primary
//! only when that one has (`succession::followed`), and in `sync`, where the primary does not see it confirm, it is not in
//! the succession.

use crate::ids::InstanceName;
use crate::state::Group;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What an operator wants of one instance.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// It never takes over, and confirms no commit in `sync`. While it is the primary this changes nothing.
    pub no_promote: bool,
    /// Who has more is before who has less in the succession.
    pub priority: u32,
    /// It is not among the replicas that are offered to readers.
    pub no_load_balance: bool,
    /// From which standby it receives, while that one streams.
    pub replicate_from: Option<InstanceName>,
}

impl Tags {
    /// Whether nothing is wanted.
    pub fn is_plain(&self) -> bool {
        *self == Tags::default()
    }
}

impl fmt::Display for Tags {
    /// As they stand in the configuration, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.no_promote.then(|| "no_promote".to_owned()));
        words.extend((self.priority > 0).then(|| format!("priority {}", self.priority)));
        words.extend(self.no_load_balance.then(|| "no_load_balance".to_owned()));
        words.extend(self.replicate_from.as_ref().map(|from| format!("replicate_from {from}")));
        f.pad(&words.join(", "))
    }
}

/// The tags of an instance of the group; none of one that is not registered.
pub fn tags<'a>(group: &'a Group, name: &InstanceName) -> Option<&'a Tags> {
    group.instances.get(name).map(|at| &at.tags)
}

/// Whether it may never take over.
pub fn never_promoted(group: &Group, name: &InstanceName) -> bool {
    tags(group, name).is_some_and(|tags| tags.no_promote)
}

/// Its place before others; 0 when nothing is said.
pub fn priority(group: &Group, name: &InstanceName) -> u32 {
    tags(group, name).map_or(0, |tags| tags.priority)
}

/// From which standby an instance shall receive instead of from that primary: the one it names, if that is registered, is
/// neither itself nor the primary, and does not receive from it, directly or through others.
pub fn upstream_of<'a>(
    group: &'a Group,
    name: &InstanceName,
    primary: &InstanceName,
) -> Option<&'a InstanceName> {
    let wished = |of: &InstanceName| tags(group, of)?.replicate_from.as_ref().filter(|from| *from != primary);
    let first = wished(name).filter(|from| group.instances.contains_key(*from) && name != primary)?;
    let mut passed = BTreeSet::from([name]);
    let mut at = first;
    loop {
        if at == name {
            return None;
        }
        // A circle further up is broken up there.
        if !passed.insert(at) {
            return Some(first);
        }
        match wished(at) {
            Some(next) => at = next,
            None => return Some(first),
        }
    }
}

/// What of an instance's wish to receive from another cannot be had, in words.
pub fn unheeded(group: &Group, name: &InstanceName) -> Option<String> {
    let from = tags(group, name)?.replicate_from.as_ref()?;
    let primary = group.primary.as_ref()?;
    if primary == name || primary == from || upstream_of(group, name, primary).is_some() {
        return None;
    }
    Some(match group.instances.contains_key(from) {
        false => format!("replicate_from names {from}, which is not an instance of the group"),
        true if from == name => "replicate_from names itself".to_owned(),
        true => format!("replicate_from goes round in a circle by way of {from}: it follows the primary"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Instance, Node, Terms};
    use crate::ids::{GroupName, NodeId, RegionName};
    use crate::state::State;

    fn name(name: &str) -> InstanceName {
        InstanceName::new(name).unwrap()
    }

    /// Instances, each with whom it names; `a` is the primary.
    fn group(wishes: &[(&str, Option<&str>)]) -> Group {
        let region = RegionName::new("r").unwrap();
        let group = GroupName::new("g").unwrap();
        let node = Node { region: region.clone(), address: "n:1".to_owned() };
        let mut state = State::new("tags");
        let mut commands = vec![
            Command::SetNode { id: NodeId(1), node },
            Command::CreateGroup {
                group: group.clone(),
                terms: Terms::default(),
                electorate: [NodeId(1)].into(),
                first: None,
            },
        ];
        for (who, from) in wishes {
            let tags = Tags { replicate_from: from.map(name), ..Tags::default() };
            let at = Instance { region: region.clone(), address: format!("{who}:5432"), tags };
            commands.push(Command::Register { group: group.clone(), instance: name(who), at });
        }
        commands.push(Command::Begin { group: group.clone(), primary: name("a"), at_unix_ms: 0 });
        commands.iter().for_each(|command| drop(state.apply(command).unwrap()));
        state.groups[&group].clone()
    }

    fn follows(wishes: &[(&str, Option<&str>)], who: &str) -> Option<String> {
        upstream_of(&group(wishes), &name(who), &name("a")).map(ToString::to_string)
    }

    #[test]
    fn a_wish_is_heeded_unless_it_leads_back() {
        let chain = [("a", None), ("b", None), ("c", Some("b")), ("d", Some("c"))];
        for (who, expected) in [("a", None), ("b", None), ("c", Some("b")), ("d", Some("c"))] {
            assert_eq!(follows(&chain, who).as_deref(), expected, "{who}");
        }
        // b and c name each other, d hangs on them; e names itself, f a stranger.
        let bent = [
            ("a", None),
            ("b", Some("c")),
            ("c", Some("b")),
            ("d", Some("c")),
            ("e", Some("e")),
            ("f", Some("x")),
        ];
        for (who, expected) in [("b", None), ("c", None), ("d", Some("c")), ("e", None), ("f", None)] {
            assert_eq!(follows(&bent, who).as_deref(), expected, "{who}");
        }
        let said = |who: &str| unheeded(&group(&bent), &name(who)).unwrap_or_default();
        assert!(said("b").contains("circle"), "{}", said("b"));
        assert!(said("e").contains("itself"), "{}", said("e"));
        assert!(said("f").contains("not an instance"), "{}", said("f"));
        assert_eq!(said("d"), "");
    }

    #[test]
    fn the_primary_follows_nobody_and_ends_every_circle() {
        let bent = [("a", Some("b")), ("b", Some("a")), ("c", Some("b"))];
        for (who, expected) in [("a", None), ("b", None), ("c", Some("b"))] {
            assert_eq!(follows(&bent, who).as_deref(), expected, "{who}");
        }
    }

    #[test]
    fn tags_are_written_as_they_stand_in_the_configuration() {
        let all =
            Tags { no_promote: true, priority: 7, no_load_balance: true, replicate_from: Some(name("b")) };
        assert_eq!(all.to_string(), "no_promote, priority 7, no_load_balance, replicate_from b");
        assert_eq!(Tags::default().to_string(), "");
    }

    #[test]
    fn what_was_stored_without_tags_is_read() {
        let at: Instance = serde_json::from_str(r#"{"region":"r","address":"a:1"}"#).unwrap();
        assert!(at.tags.is_plain());
        assert!(!serde_json::to_string(&at).unwrap().contains("tags"), "nor are none written");
    }
}
