//! S2: one epoch has one primary; epochs strictly increase in the log; no agent acts on an epoch below the highest that it
//! has acted on; a witness names one instance for one epoch; along the chain of primaries timelines rise.
//!
//! Looked at: the log that all nodes have in the end, what each node and agent wrote down, and the timelines of what clients
//! were acknowledged.

use std::collections::BTreeMap;

use regent_core::state::Change;

use crate::history::Write;
use crate::timeline::Event;

/// Events that take an instance for the primary of an epoch. Those of agents are about themselves.
const OWNED: [&str; 6] = ["recorded", "decided", "certificate", "acted", "promoted", "gate_open"];

/// What breaks the theorem, a sentence each; nothing if it holds. Events are in the order of time.
pub fn check(log: &[Change], events: &[Event], writes: &[Write]) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(log.windows(2).filter(|pair| pair[0].epoch >= pair[1].epoch).map(|pair| {
        let [before, after] = pair else { return String::new() };
        format!("the log goes from epoch {} to {}", before.epoch, after.epoch)
    }));
    owners(log, events, &mut found);
    names(events, &mut found);
    steps(events, &mut found);
    openings(events, &mut found);
    timelines(writes, &mut found);
    found
}

/// One epoch has one primary, whoever says so.
fn owners(log: &[Change], events: &[Event], found: &mut Vec<String>) {
    let mut owners: BTreeMap<u64, (&str, &str)> = BTreeMap::new();
    let logged = log.iter().map(|change| (change.epoch.0, change.primary.as_str(), "the log"));
    let said = events.iter().filter(|event| OWNED.contains(&event.event.as_str()));
    let said = said.filter_map(|event| Some((event.epoch?, event.instance.as_deref()?, event.proc.as_str())));
    for (epoch, primary, by) in logged.chain(said) {
        let (owner, first) = *owners.entry(epoch).or_insert((primary, by));
        if owner != primary {
            found.push(format!("epoch {epoch} is of {owner} says {first}, of {primary} says {by}"));
        }
    }
}

/// A witness names one for one epoch.
fn names(events: &[Event], found: &mut Vec<String>) {
    let mut named: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    for vote in events.iter().filter(|event| event.event == "vote") {
        let (Some(witness), Some(epoch), Some(name)) = (vote.witness, vote.epoch, vote.instance.as_deref())
        else {
            continue;
        };
        let first = *named.entry((witness, epoch)).or_insert(name);
        if first != name {
            found.push(format!("node {witness} votes for {first} and for {name} in epoch {epoch}"));
        }
    }
}

/// An agent never goes back.
fn steps(events: &[Event], found: &mut Vec<String>) {
    let mut acted: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.event == "acted") {
        let Some(epoch) = event.epoch else { continue };
        let last = acted.entry(&event.proc).or_insert(epoch);
        if epoch < *last {
            found.push(format!("{} acts on epoch {epoch} after {last}", event.proc));
        }
        *last = epoch.max(*last);
    }
}

/// Who opens its gate in an epoch does so before anybody opens in a later one.
fn openings(events: &[Event], found: &mut Vec<String>) {
    let mut last: Option<(u64, &str)> = None;
    for event in events.iter().filter(|event| event.event == "gate_open") {
        let (Some(epoch), Some(instance)) = (event.epoch, event.instance.as_deref()) else { continue };
        if let Some((later, other)) = last.filter(|(last, other)| *last > epoch && *other != instance) {
            found.push(format!("{instance} opens its gate in epoch {epoch} after {other} in {later}"));
        }
        last = last.max(Some((epoch, instance)));
    }
}

/// In the order in which they acknowledge first, timelines rise.
fn timelines(writes: &[Write], found: &mut Vec<String>) {
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    for receipt in writes.iter().filter_map(Write::receipt) {
        let at = first.entry(receipt.timeline).or_insert(u64::MAX);
        *at = receipt.at_ns.min(*at);
    }
    let ordered: Vec<(u32, u64)> = first.into_iter().collect();
    for pair in ordered.windows(2).filter(|pair| pair[0].1 > pair[1].1) {
        found.push(format!("timeline {} acknowledged before timeline {}", pair[1].0, pair[0].0));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{change, event, vote, write};
    use super::*;

    fn good() -> (Vec<Change>, Vec<Event>, Vec<Write>) {
        let log = vec![change(1, "a"), change(2, "b")];
        let events = vec![
            event(1, "agent-a", "gate_open", 1, "a"),
            vote(5, 1, 2, "b"),
            vote(6, 2, 2, "b"),
            event(7, "agent-b", "acted", 2, "b"),
            event(8, "agent-b", "gate_open", 2, "b"),
            event(9, "regentd-1", "recorded", 2, "b"),
        ];
        (log, events, vec![write(1, 0, 1, 0, 1), write(2, 1, 2, 8, 9)])
    }

    #[test]
    fn a_promotion_by_the_rules_holds() {
        let (log, events, writes) = good();
        assert_eq!(check(&log, &events, &writes), [""; 0]);
    }

    #[test]
    fn each_way_to_break_it_is_found() {
        let broken = |damage: fn(&mut Vec<Change>, &mut Vec<Event>, &mut Vec<Write>)| {
            let (mut log, mut events, mut writes) = good();
            damage(&mut log, &mut events, &mut writes);
            check(&log, &events, &writes).join("; ")
        };
        assert_eq!(broken(|log, _, _| log.swap(0, 1)), "the log goes from epoch 2 to 1");
        let said = broken(|_, events, _| events.push(event(10, "agent-c", "acted", 2, "c")));
        assert_eq!(said, "epoch 2 is of b says the log, of c says agent-c");
        let said = broken(|_, events, _| events.push(vote(10, 1, 2, "c")));
        assert_eq!(said, "node 1 votes for b and for c in epoch 2");
        let said = broken(|_, events, _| {
            events.push(event(10, "agent-b", "acted", 3, "b"));
            events.push(event(11, "agent-b", "acted", 2, "b"));
        });
        assert_eq!(said, "agent-b acts on epoch 2 after 3");
        let said = broken(|_, events, _| events.push(event(10, "agent-a", "gate_open", 1, "a")));
        assert_eq!(said, "a opens its gate in epoch 1 after b in 2");
        let said = broken(|_, _, writes| writes.push(write(3, 2, 3, 0, 0)));
        assert_eq!(said, "timeline 3 acknowledged before timeline 2");
    }
}
