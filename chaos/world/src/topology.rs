//! What a seed's world looks like before anything goes wrong.

use crate::chance::Chance;
use crate::clock::{Clock, MS};
use crate::profile::{Durability, Plan, Profile};
use crate::world::Settings;
use regent_core::command::Terms;
use regent_core::ids::NodeId;
use regent_core::quorum::Electorate;
use regent_core::replication::{Mode, Policy};
use std::time::Duration;

/// The rate error that the promise assumes clocks to have at most, in millionths.
const DRIFT: i64 = 5_000;

/// A group to be.
pub struct GroupPlan {
    /// Its terms.
    pub terms: Terms,
    /// Who governs it.
    pub electorate: Electorate,
    /// Its instances: the region and the clock of each.
    pub instances: Vec<(usize, Clock)>,
    /// The tags of each: its priority, and which of the others it receives through.
    pub tags: Vec<(u32, Option<usize>)>,
    /// Its clients: the region, and the pause between two writes.
    pub clients: Vec<(usize, u64)>,
}

/// A world to be.
pub struct Topology {
    /// The nodes' clocks: a node in each region.
    pub nodes: Vec<Clock>,
    /// How long it takes from each region to each, one way.
    pub distances: Vec<Vec<u64>>,
    /// The groups.
    pub groups: Vec<GroupPlan>,
    /// How the world works.
    pub settings: Settings,
}

/// Draws the world of a seed.
pub fn draw(chance: &mut Chance, profile: &Profile) -> Topology {
    let regions = size(chance, profile.regions);
    let farthest = match profile.plan {
        Plan::Failovers => 40,
        Plan::Bystanders => chance.of(&[10, 40, 80, 125]),
        _ => chance.of(&[2, 10, 40, 80]),
    };
    let distances = distances(chance, regions, farthest);
    let groups = (0..size(chance, profile.groups)).map(|_| group(chance, profile, regions, farthest));
    let groups = groups.collect();
    Topology {
        nodes: (0..regions).map(|_| clock(chance)).collect(),
        distances,
        groups,
        settings: settings(chance, profile),
    }
}

fn size(chance: &mut Chance, (least, most): (usize, usize)) -> usize {
    // Half of all are as small as may be: there the least goes wrong by itself, and the most by faults.
    if chance.once_in(2) { least } else { least + chance.index(most - least + 1) }
}

fn distances(chance: &mut Chance, regions: usize, farthest_ms: u64) -> Vec<Vec<u64>> {
    let mut distances = vec![vec![MS / 5; regions]; regions];
    let pairs = (0..regions).flat_map(|a| (0..a).map(move |b| (a, b)));
    for (a, b) in pairs {
        let way = chance.between(MS, farthest_ms * MS);
        let crooked = if chance.once_in(4) { chance.below(way / 2 + 1) } else { 0 };
        (distances[a][b], distances[b][a]) = (way, way - crooked);
    }
    distances
}

fn clock(chance: &mut Chance) -> Clock {
    let ppm = match chance.below(4) {
        0 => -DRIFT,
        1 => DRIFT,
        2 => 0,
        _ => i64::try_from(chance.between(0, 10_000)).expect("small") - DRIFT,
    };
    Clock { offset: chance.below(1_000_000_000 * MS), ppm }
}

/// Terms that the distances allow: a lease outlives two round trips and a report that comes late.
fn terms(chance: &mut Chance, farthest_ms: u64) -> Terms {
    let least = 100 + 4 * farthest_ms;
    let ttl = if least <= 250 { chance.of(&[250, 250, least.max(150), 600]) } else { least };
    let suspicion = ttl + chance.of(&[150, 150, 50, 400]);
    Terms {
        ttl: Duration::from_millis(ttl),
        suspicion: Duration::from_millis(suspicion),
        mode: Mode::Async,
        ..Terms::default()
    }
}

fn group(chance: &mut Chance, profile: &Profile, regions: usize, farthest_ms: u64) -> GroupPlan {
    let mut order: Vec<usize> = (0..regions).collect();
    chance.shuffle(&mut order);
    let judged_by_time = matches!(profile.plan, Plan::Leaderless | Plan::Failovers | Plan::Bystanders);
    let governed_by = match chance.below(4) {
        0 if !judged_by_time => chance.index(regions.min(5)) + 1,
        1 => regions,
        _ => 3,
    };
    let electorate = order.iter().take(governed_by).map(|at| NodeId(*at as u64 + 1)).collect();
    chance.shuffle(&mut order);
    let instances = (0..size(chance, profile.instances)).map(|number| {
        let spread = number < regions && (judged_by_time || !chance.once_in(6));
        let region = if spread { order[number] } else { chance.index(regions) };
        (region, clock(chance))
    });
    let instances: Vec<(usize, Clock)> = instances.collect();
    let clients = (0..2).map(|_| (chance.index(regions), chance.of(&[20, 50, 100]) * MS)).collect();
    let mut terms = terms(chance, farthest_ms);
    let mut clients: Vec<(usize, u64)> = clients;
    if profile.plan == Plan::Failovers {
        terms = Terms::default();
        clients.iter_mut().for_each(|(_, pause)| *pause = 100 * MS);
    }
    if profile.durability != Durability::Async {
        let count = if profile.plan == Plan::Swarm { chance.of(&[1, 1, 2]) } else { 1 };
        terms.mode = match profile.durability {
            Durability::Bounded => Mode::Bounded { rpo: rpo(chance), count },
            Durability::Quorum => Mode::Quorum { count },
            Durability::Async | Durability::Sync => Mode::Sync { count },
        };
        terms.policy = if chance.once_in(4) { Policy::Degrade } else { Policy::Block };
    }
    let tags = if profile.tags { tags(chance, instances.len()) } else { Vec::new() };
    GroupPlan { terms, electorate, instances, tags, clients }
}

/// Half of the instances receive through another, which may be the primary, one that is lost, or part of a circle.
fn tags(chance: &mut Chance, instances: usize) -> Vec<(u32, Option<usize>)> {
    let tag = |at: usize| {
        let priority: u32 = chance.of(&[0, 0, 1, 2]);
        let through = chance.once_in(2).then(|| (at + 1 + chance.index(instances - 1)) % instances);
        (priority, through)
    };
    (0..instances).map(tag).collect()
}

/// A bound: shorter than most ways, as usual, or long.
pub(crate) fn rpo(chance: &mut Chance) -> Duration {
    Duration::from_millis(chance.of(&[10, 100, 100, 400]))
}

fn settings(chance: &mut Chance, profile: &Profile) -> Settings {
    Settings {
        plan_every: if profile.plan == Plan::Failovers { 50 } else { chance.of(&[10, 20, 50]) } * MS,
        election: if profile.plan == Plan::Failovers {
            (800 * MS, 1_200 * MS)
        } else {
            (800 * MS, 2_000 * MS)
        },
        wal_takes_time: true,
        unsynced: profile.plan == Plan::Swarm,
        snapshots: if profile.plan == Plan::Swarm { chance.of(&[0, 100_000, 500_000]) } else { 0 },
        as_text: profile.plan == Plan::Swarm && chance.once_in(4),
    }
}
