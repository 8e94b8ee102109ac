//! One run: a world is built from a seed and settles, faults befall it, they end, and it has to be well again.

use crate::chance::Chance;
use crate::clock::MS;
use crate::faults::Planned;
use crate::invariants::{Violation, bounded_queues, isolation, leader_costs_nothing, no_needless_promotion};
use crate::profile::{Plan, Profile};
use crate::schedule::{self, Schedule};
use crate::topology::{self, Topology};
use crate::world::{Happening, World};
use regent_core::command::Command;
use regent_core::ids::{GroupName, InstanceName};
use regent_core::replication::Mode;
use regent_core::tags::Tags;
use std::time::Duration;

/// How long a new world may take until all stream.
const SETTLES: u64 = 30_000 * MS;
/// How much happens between two looks at what was found.
const SLICE: u64 = 250 * MS;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which world it was.
    pub seed: u64,
    /// The profile it was drawn from.
    pub profile: &'static str,
    /// What was broken; nothing after the first slice of time with a violation.
    pub violations: Vec<Violation>,
    /// How long the world ran, by its own time.
    pub simulated: Duration,
    /// How often another instance became primary.
    pub failovers: u64,
    /// How much happened.
    pub events: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Of these, how many were left behind with an old primary.
    pub lost: u64,
    /// How often an heir brought back what an earlier change of primary had lost.
    pub returns: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// Whether recovery was demanded of every group: not where too little was left to recover.
    pub demanded: bool,
    /// The faults.
    pub schedule: Vec<Planned>,
    /// The same in words.
    pub faults: Vec<String>,
    /// What happened, line by line, if that was asked for.
    pub trace: Option<Vec<String>>,
}

/// Runs a seed.
pub fn run(seed: u64, profile: &Profile) -> Run {
    play(seed, profile, None, false)
}

/// The same, written down.
pub fn trace(seed: u64, profile: &Profile) -> Run {
    play(seed, profile, None, true)
}

/// Runs a seed's world with only these faults.
pub fn replay(seed: u64, profile: &Profile, faults: &[Planned], traced: bool) -> Run {
    play(seed, profile, Some(faults), traced)
}

/// The faults of a seed, without running it.
pub fn faults_of(seed: u64, profile: &Profile) -> Vec<Planned> {
    let topology = topology::draw(&mut stream(seed, 1), profile);
    schedule::draw(&mut stream(seed, 2), profile, &topology).faults
}

/// Independent numbers for each purpose: leaving a fault out changes no other, nor the world.
fn stream(seed: u64, purpose: u64) -> Chance {
    Chance::new(Chance::new(seed.wrapping_mul(4).wrapping_add(purpose)).next())
}

fn play(seed: u64, profile: &Profile, only: Option<&[Planned]>, traced: bool) -> Run {
    let topology = topology::draw(&mut stream(seed, 1), profile);
    let Schedule { faults, lasts_ms } = schedule::draw(&mut stream(seed, 2), profile, &topology);
    let faults = only.map_or(faults, <[Planned]>::to_vec);
    let mut world = World::new(topology.settings.clone(), stream(seed, 3));
    world.tells = traced;
    build(&mut world, &topology);
    let told = faults.iter().map(|planned| planned.tell(&world)).collect();
    let mut demanded = false;
    if settles(&mut world) {
        befall(&mut world, faults.clone(), lasts_ms);
        judge_safety_phase(&mut world, profile);
        if world.is_sound() {
            demanded = world.recovers(seed, profile);
        }
    }
    Run {
        seed,
        profile: profile.name,
        simulated: Duration::from_nanos(world.now),
        failovers: world.tally.changes.iter().sum(),
        events: world.tally.events,
        acknowledged: world.tally.acknowledged.iter().sum(),
        lost: world.tally.lost,
        returns: world.invariants.groups.iter().map(|judged| judged.loss.returns).sum(),
        reads: world.invariants.groups.iter().map(|judged| judged.reads.answered).sum(),
        demanded,
        violations: world.invariants.found.violations,
        schedule: faults,
        faults: told,
        trace: traced.then_some(world.lines),
    }
}

fn build(world: &mut World, topology: &Topology) {
    world.links.set_distances(topology.distances.clone());
    for clock in &topology.nodes {
        world.add_node(*clock);
    }
    world.lead(Some(0));
    // The log takes one in after the other: seven need longer than a second.
    let told = |world: &World| world.raft.state.nodes.len() == topology.nodes.len();
    let end = world.now + SETTLES;
    while !told(world) && world.now < end {
        world.run(SLICE);
    }
    for (number, plan) in topology.groups.iter().enumerate() {
        let group = GroupName::new(format!("g{}", number + 1)).expect("a letter and a number");
        let (terms, electorate) = (plan.terms.clone(), plan.electorate.clone());
        world.propose(0, Command::CreateGroup { group: group.clone(), terms, electorate, first: None });
        let index = world.add_group_name(group);
        let mut hosts = Vec::new();
        let name = |place: usize| {
            let letter = crate::build::region_name(plan.instances[place].0);
            InstanceName::new(format!("{letter}{}{}", number + 1, place + 1)).expect("letters and numbers")
        };
        for (place, (region, clock)) in plan.instances.iter().enumerate() {
            let (priority, through) = plan.tags.get(place).copied().unwrap_or_default();
            let tags = Tags { priority, replicate_from: through.map(name), ..Tags::default() };
            hosts.push(world.add_host(index, name(place), tags, *region, *clock));
        }
        for (place, pause) in &plan.clients {
            world.add_client(index, *place, hosts[0], *pause);
        }
        world.at(world.now, Happening::ReadBegins(index));
    }
    world.raft.elections = true;
}

/// Lets time pass until all groups have their primary and everybody streams. Says whether that came to be.
fn settles(world: &mut World) -> bool {
    let end = world.now + SETTLES;
    let ready = |world: &World| {
        (0..world.groups.len()).all(|group| {
            let known = world.raft.state.groups.get(&world.groups[group]);
            let whole = known.is_some_and(|known| {
                let standbys = known.instances.len().saturating_sub(1);
                let wanted = match known.terms.mode {
                    Mode::Async | Mode::Quorum { .. } => standbys,
                    Mode::Sync { count } | Mode::Bounded { count, .. } => usize::from(count),
                };
                known.primary.is_some() && known.succession.len() == wanted.min(standbys)
            });
            whole && world.recorded(group) && world.idle(group).is_empty()
        })
    };
    while !ready(world) && world.now < end && world.is_sound() {
        world.run(SLICE);
    }
    for group in 0..world.groups.len() {
        let lack = world.lack(group, 0, 0);
        let name = world.groups[group].as_str().to_owned();
        let found = &mut world.invariants.found;
        crate::invariants::heals::settle(&name, lack, SETTLES / 1_000 / MS, found);
    }
    world.origin = world.now;
    world.tally.changes.iter_mut().for_each(|changes| *changes = 0);
    world.tally.lapses.iter_mut().for_each(|lapses| *lapses = 0);
    world.tally.lapsed.clear();
    world.is_sound()
}

fn befall(world: &mut World, faults: Vec<Planned>, lasts_ms: u64) {
    for (number, planned) in faults.iter().enumerate() {
        world.at(world.now + planned.at_ms * MS, Happening::FaultBegins(number));
    }
    world.schedule = faults;
    let end = world.now + lasts_ms * MS;
    while world.now < end && world.is_sound() {
        world.run(SLICE.min(end - world.now));
        world.judge_queues();
    }
}

fn judge_safety_phase(world: &mut World, profile: &Profile) {
    match profile.plan {
        Plan::Swarm | Plan::Failovers => {}
        Plan::Bystanders => {
            no_needless_promotion::settle(world.tally.changes.iter().sum(), &mut world.invariants.found);
        }
        Plan::OneGroup => {
            for group in 1..world.groups.len() {
                let (promotions, lapses) = (world.tally.changes[group], world.tally.lapses[group]);
                let calm = isolation::Calm { promotions, lapses };
                isolation::settle(world.groups[group].as_str(), calm, &mut world.invariants.found);
            }
        }
        Plan::Leaderless => {
            for who in std::mem::take(&mut world.tally.lapsed) {
                leader_costs_nothing::lapsed(who, &mut world.invariants.found);
            }
            for group in 0..world.groups.len() {
                if let Some((struck, _)) = world.tally.struck[group].take() {
                    // It lasts still.
                    world.tally.outages.push((world.members[group][0], world.now - struck));
                }
            }
            for (who, took) in std::mem::take(&mut world.tally.outages) {
                let bound = world.outage_allowed(who);
                leader_costs_nothing::failed_over(who, took, bound, &mut world.invariants.found);
            }
        }
    }
}

impl World {
    /// Whether nothing was found broken yet.
    pub(crate) fn is_sound(&self) -> bool {
        self.invariants.found.violations.is_empty()
    }

    /// What waits, at all processes that run.
    pub(crate) fn judge_queues(&mut self) {
        let found = &mut self.invariants.found;
        bounded_queues::look_ahead(self.queue.len(), self.nodes.len() + self.hosts.len(), found);
        for peer in &mut self.nodes {
            if !peer.process.has_gone_on() {
                continue;
            }
            let chain = peer.durable.values().map(|kept| kept.chain.len()).max().unwrap_or(0);
            let who = || crate::words::node(peer.id);
            bounded_queues::look(who, peer.process.inbox.len(), chain, found);
        }
        for host in &mut self.hosts {
            if host.process.has_gone_on() {
                let who = || crate::words::inst(&host.me.instance);
                bounded_queues::look(who, host.process.inbox.len(), 0, found);
            }
        }
    }

    /// How long a failover may take when nothing is wrong but the loss of a region: the suspicion on a slow clock, the
    /// last claim on its way to the witnesses, their votes on the way to the heir, the votes' flush and the agent's, the
    /// promotion, two looks at Postgres.
    pub(crate) fn outage_allowed(&self, who: usize) -> u64 {
        let group = &self.raft.state.groups[&self.hosts[who].me.group];
        let suspicion = u64::try_from(group.terms.suspicion.as_nanos()).expect("a short time");
        suspicion + suspicion / 100 + 2 * self.links.longest() + (60 + 50 + 30) * MS
    }
}

/// The number of a fault in a seed's schedule, for a line that repeats a part of it.
pub fn numbers_of(all: &[Planned], part: &[Planned]) -> Vec<usize> {
    let mut left = part.iter().peekable();
    let mut numbers = Vec::new();
    for (number, planned) in all.iter().enumerate() {
        if left.peek() == Some(&planned) {
            left.next();
            numbers.push(number);
        }
    }
    numbers
}
