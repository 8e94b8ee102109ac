//! What the witness must never forget, as it stands in the store.
//!
//! A witness that is cut off votes again and again for the one it hears, each time one epoch higher, and must not forget any
//! of it until the log moves. A value of the store is bounded, so such a run is stored as its last vote and its first epoch.
//! Of the votes themselves only the last is ever sent again; of the others the epoch and the name count.

use regent_core::ids::Epoch;
use regent_core::witness::{Durable, Link};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Its chain holds the last link of each run.
    durable: Durable,
    /// The first epoch of each run.
    runs: Vec<Epoch>,
}

/// For the store.
pub fn encode(durable: &Durable) -> Result<Vec<u8>, serde_json::Error> {
    let mut stored = Stored { durable: durable.clone(), runs: Vec::new() };
    for link in std::mem::take(&mut stored.durable.chain) {
        match stored.durable.chain.last_mut().filter(|last| goes_on(last, &link)) {
            Some(last) => *last = link,
            None => {
                stored.runs.push(link.epoch);
                stored.durable.chain.push(link);
            }
        }
    }
    serde_json::to_vec(&stored)
}

fn goes_on(last: &Link, next: &Link) -> bool {
    next.epoch == last.epoch.next()
        && (&next.named, next.since, &next.rest) == (&last.named, last.since, &last.rest)
}

/// From the store.
pub fn decode(bytes: &[u8]) -> Result<Durable, serde_json::Error> {
    let Stored { mut durable, runs } = serde_json::from_slice(bytes)?;
    let last = std::mem::take(&mut durable.chain);
    durable.chain = runs.iter().zip(last).flat_map(|(first, last)| run(*first, last)).collect();
    Ok(durable)
}

fn run(first: Epoch, last: Link) -> impl Iterator<Item = Link> {
    let before = (first.0..last.epoch.0).map(Epoch);
    let link = last.clone();
    before.map(move |epoch| Link { epoch, vote: None, ..link.clone() }).chain([last])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::MAX_VALUE;
    use regent_core::command::{Instance, Terms};
    use regent_core::ids::{GroupName, InstanceName, NodeId, RegionName, Revision};
    use regent_core::quorum::Electorate;
    use regent_core::replication::Configuration;
    use regent_core::state::{Group, MAX_INSTANCES, MAX_WITNESSES};
    use regent_core::tags::Tags;
    use regent_core::vote::{Reason, Vote};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn group() -> Group {
        Group {
            name: GroupName::new("g").unwrap(),
            revision: Revision(1),
            epoch: Epoch(1),
            primary: None,
            since: Epoch(1),
            offered: 0,
            configuration: None,
            mode_since: Revision(0),
            tightened: Revision(0),
            offered_under: Revision(0),
            succession: Vec::new(),
            electorate: [NodeId(1)].into(),
            former_electorate: None,
            desired_electorate: None,
            terms: Terms::default(),
            first: None,
            instances: BTreeMap::new(),
            system_id: None,
            timeline_base: 0,
            history: Vec::new(),
        }
    }

    fn link(epoch: u64, named: &str, rest: &[&str]) -> Link {
        let name = |name: &str| InstanceName::new(name).unwrap();
        let rest: Vec<_> = rest.iter().map(|one| name(one)).collect();
        let vote = Vote {
            group: GroupName::new("g").unwrap(),
            witness: NodeId(1),
            floor: Epoch(epoch),
            named: name(named),
            since: Epoch(2),
            rest: rest.clone(),
            seq: None,
            ttl: Duration::from_millis(250),
            basis: Epoch(1),
            revision: Revision(1),
            electorate: [NodeId(1)].into(),
            configuration: Some(Configuration { members: rest.iter().cloned().collect(), count: 1 }),
            reason: Reason::Silent,
        };
        Link { epoch: Epoch(epoch), named: name(named), since: Epoch(2), rest, vote: Some(vote) }
    }

    fn brief(durable: &Durable) -> Vec<(u64, String, usize)> {
        let brief = |link: &Link| (link.epoch.0, link.named.to_string(), link.rest.len());
        durable.chain.iter().map(brief).collect()
    }

    #[test]
    fn every_link_and_the_last_vote_come_back() {
        let chain = vec![
            link(2, "b", &["c"]),
            link(3, "b", &["c"]),
            link(4, "c", &[]),
            link(7, "c", &[]),
            link(8, "c", &[]),
            link(9, "c", &[]),
        ];
        let durable = Durable { chain, floor: Epoch(9), ..Durable::new(group()) };
        let back = decode(&encode(&durable).unwrap()).unwrap();
        assert_eq!(brief(&back), brief(&durable));
        assert_eq!(back.chain.last(), durable.chain.last());
        assert_eq!((back.floor, &back.group), (durable.floor, &durable.group));
        let none = Durable::new(group());
        assert_eq!(decode(&encode(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn a_month_of_votes_in_vain_fits_into_a_value() {
        let chain = (2..=400_000).map(|epoch| link(epoch, "b", &["c"])).collect();
        let durable = Durable { chain, ..Durable::new(group()) };
        assert!(encode(&durable).unwrap().len() < 4_096);
    }

    /// Each name that a witness gives leaves fewer to name after it, so the chain has no more runs than instances.
    #[test]
    fn the_largest_group_with_the_longest_names_fits_into_a_value() {
        let long = |letter: char, i: usize| format!("{}{i:02}", letter.to_string().repeat(61));
        let names: Vec<String> = (0..MAX_INSTANCES).map(|i| long('i', i)).collect();
        let instance = |name: &String| InstanceName::new(name.clone()).unwrap();
        let at = Instance {
            region: RegionName::new(long('r', 0)).unwrap(),
            address: format!("{}:65535", long('h', 0).repeat(4)),
            tags: Tags {
                no_promote: true,
                priority: u32::MAX,
                no_load_balance: true,
                replicate_from: Some(instance(&names[0])),
            },
        };
        let electorate: Electorate = (1..=MAX_WITNESSES as u64).map(|id| NodeId(u64::MAX - id)).collect();
        let group = Group {
            name: GroupName::new(long('g', 0)).unwrap(),
            primary: Some(instance(&names[0])),
            succession: names.iter().map(instance).collect(),
            electorate: electorate.clone(),
            former_electorate: Some(electorate.clone()),
            desired_electorate: Some(electorate.clone()),
            instances: names.iter().map(|name| (instance(name), at.clone())).collect(),
            ..group()
        };
        let run = |i: usize| {
            let rest: Vec<&str> = names[i + 1..].iter().map(String::as_str).collect();
            let mut link = link(u64::MAX / 2 + 2 * i as u64, &names[i], &rest);
            if let Some(vote) = &mut link.vote {
                vote.electorate = electorate.clone();
            }
            link
        };
        let durable = Durable { chain: (0..MAX_INSTANCES).map(run).collect(), ..Durable::new(group) };
        let size = encode(&durable).unwrap().len();
        assert!(size < MAX_VALUE, "{size} bytes");
    }
}
