//! Faults: what they are, how they begin and how they end. A schedule is data, drawn before anything runs, so that a
//! part of it can be played as well.

use crate::clock::MS;
use crate::invariants::HostId;
use crate::links::{End, Weather};
use crate::words::node;
use crate::world::{Happening, NodeIndex, Proc, World};
use regent_core::ids::{Epoch, NodeId};
use regent_core::replication::{Mode, Policy};
use std::fmt;

/// A fault, its beginning and its length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// When it begins, in milliseconds after the world has settled.
    pub at_ms: u64,
    /// How long it lasts, if it is not over at once.
    pub lasts_ms: u64,
    /// What it is.
    pub fault: Fault,
}

/// What can go wrong, or be asked for at a bad time. Regions, nodes, instances and groups by number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// All in a region loses power.
    RegionLost(usize),
    /// The same for the region of whoever is primary of a group when it begins.
    PrimaryRegionLost(usize),
    /// The same for a region without any primary; nothing if there is none.
    BystanderLost(usize),
    /// All in a region stops, and goes on later, while time goes on.
    RegionSuspended(usize),
    /// A region neither hears nor is heard.
    RegionCut(usize),
    /// A region hears, and is not heard.
    RegionMuted(usize),
    /// The Raft leader is deposed, and does not know it if it is cut off.
    LeaderLost,
    /// A node's process is killed.
    NodeKilled(NodeIndex),
    /// It stops, and goes on later.
    NodeFrozen(NodeIndex),
    /// Its disk takes nothing.
    NodeDiskStuck(NodeIndex),
    /// It applies the log that much later, in milliseconds.
    NodeLags(NodeIndex, u64),
    /// An instance's machine loses power.
    InstanceLost(HostId),
    /// An agent is killed; its Postgres goes on.
    AgentKilled(HostId),
    /// An agent stops, and goes on later; its Postgres goes on.
    AgentFrozen(HostId),
    /// An agent's disk takes nothing.
    AgentDiskStuck(HostId),
    /// Postgres dies.
    PostgresDies(HostId),
    /// Postgres dies whenever it was started.
    PostgresCrashLoops(HostId),
    /// Postgres neither works nor dies.
    PostgresHangs(HostId),
    /// Postgres cannot flush.
    PostgresDiskStuck(HostId),
    /// The next task that an agent begins fails.
    TaskFails(HostId),
    /// Two ends do not hear each other.
    Cut(End, End),
    /// The second does not hear the first.
    CutOneWay(End, End),
    /// What the first sends to the second takes so many milliseconds.
    Slow(End, End, u64),
    /// From one region to another the weather is bad.
    Weather(usize, usize, Weather),
    /// A switchover is asked for.
    Switchover(usize, HostId),
    /// Another electorate is asked for, a bit for each node.
    Electorate(usize, u64),
    /// Another mode is asked for.
    Mode(usize, Mode),
    /// A node asks for votes as if it led: for that instance, so many epochs above what it has applied.
    Solicits(NodeIndex, HostId, u64),
    /// A succession decided on so many revisions ago is proposed.
    OldSuccession(HostId, u64),
}

impl Planned {
    /// The fault in words.
    pub(crate) fn tell(&self, world: &World) -> String {
        let Planned { at_ms, lasts_ms, fault } = self;
        let lasts = if *lasts_ms > 0 { format!(" for {lasts_ms} ms") } else { String::new() };
        format!("at {at_ms} ms{lasts}: {}", world.tell_fault(fault))
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |of: u32| f64::from(of) / 10_000.0;
        let Weather { jitter, loss, twice, overtaking } = *self;
        let (loss, twice, overtaking) = (percent(loss), percent(twice), percent(overtaking));
        write!(f, "jitter {} ms, {loss} % lost, {twice} % twice, {overtaking} % overtake", jitter / MS)
    }
}

impl World {
    fn tell_fault(&self, fault: &Fault) -> String {
        let region = |at: usize| crate::build::region_name(at);
        let wit = |at: NodeIndex| node(NodeId(at as u64 + 1));
        let who = |at: HostId| self.name_of(at);
        let end = |at: End| match self.ends[at] {
            Proc::Node(at) => wit(at),
            Proc::Host(at) => who(at),
        };
        let group = |at: usize| &self.groups[at];
        match fault {
            Fault::RegionLost(at) => format!("region {} is lost", region(*at)),
            Fault::PrimaryRegionLost(at) => format!("the region of the primary of {} is lost", group(*at)),
            Fault::BystanderLost(at) => format!("a region without a primary is lost, number {at} of those"),
            Fault::RegionSuspended(at) => format!("region {} is suspended", region(*at)),
            Fault::RegionCut(at) => format!("region {} is cut off", region(*at)),
            Fault::RegionMuted(at) => format!("region {} is not heard", region(*at)),
            Fault::LeaderLost => "the leader of the log is deposed".to_owned(),
            Fault::NodeKilled(at) => format!("{} is killed", wit(*at)),
            Fault::NodeFrozen(at) => format!("{} is frozen", wit(*at)),
            Fault::NodeDiskStuck(at) => format!("the disk of {} is stuck", wit(*at)),
            Fault::NodeLags(at, by) => format!("{} applies the log {by} ms late", wit(*at)),
            Fault::InstanceLost(at) => format!("{} loses power", who(*at)),
            Fault::AgentKilled(at) => format!("the agent of {} is killed", who(*at)),
            Fault::AgentFrozen(at) => format!("the agent of {} is frozen", who(*at)),
            Fault::AgentDiskStuck(at) => format!("the disk of the agent of {} is stuck", who(*at)),
            Fault::PostgresDies(at) => format!("the Postgres of {} dies", who(*at)),
            Fault::PostgresCrashLoops(at) => format!("the Postgres of {} dies at every start", who(*at)),
            Fault::PostgresHangs(at) => format!("the Postgres of {} hangs", who(*at)),
            Fault::PostgresDiskStuck(at) => format!("the disk of the Postgres of {} is stuck", who(*at)),
            Fault::TaskFails(at) => format!("the next task of {} fails", who(*at)),
            Fault::Cut(a, b) => format!("{} and {} are cut from each other", end(*a), end(*b)),
            Fault::CutOneWay(a, b) => format!("{} does not reach {}", end(*a), end(*b)),
            Fault::Slow(a, b, by) => format!("from {} to {} it takes {by} ms", end(*a), end(*b)),
            Fault::Weather(a, b, weather) => {
                format!("from region {} to {}: {weather}", region(*a), region(*b))
            }
            Fault::Switchover(of, to) => {
                format!("a switchover of {} to {} is asked for", group(*of), who(*to))
            }
            Fault::Electorate(of, bits) => {
                let members: Vec<String> = members(*bits).map(node).collect();
                format!("the electorate of {} shall be {}", group(*of), members.join(" "))
            }
            Fault::Mode(of, mode) => format!("the mode of {} shall be {mode}", group(*of)),
            Fault::Solicits(at, named, above) => {
                format!("{} solicits {} for {above} above its epoch", wit(*at), who(*named))
            }
            Fault::OldSuccession(named, back) => {
                format!("a succession of {} is proposed, decided on {back} revisions ago", who(*named))
            }
        }
    }

    pub(crate) fn fault_begins(&mut self, number: usize) {
        if self.mended {
            return; // a schedule may be replayed that goes on for longer than its world
        }
        let Planned { lasts_ms, fault, .. } = self.schedule[number].clone();
        self.say(|world| format!("-- {}", world.tell_fault(&fault)));
        let fault = self.settle_target(fault);
        self.strike_with(&fault);
        self.schedule[number].fault = fault;
        if lasts_ms > 0 {
            self.at(self.now + lasts_ms * MS, Happening::FaultEnds(number));
        }
    }

    pub(crate) fn fault_ends(&mut self, number: usize) {
        if !self.mended {
            let fault = self.schedule[number].fault.clone();
            self.say(|world| format!("-- over: {}", world.tell_fault(&fault)));
            self.undo(&fault);
        }
    }

    /// Whom it strikes, when that depends on who is primary now.
    fn settle_target(&mut self, fault: Fault) -> Fault {
        let primary_in = |world: &World, region: usize| {
            let gates = (0..world.groups.len()).flat_map(|group| world.gates(group));
            gates.into_iter().any(|(who, _)| world.links.region(world.hosts[who].end) == region)
        };
        match fault {
            Fault::PrimaryRegionLost(group) => match self.gates(group).first() {
                Some((who, _)) => Fault::RegionLost(self.links.region(self.hosts[*who].end)),
                None => Fault::PrimaryRegionLost(group),
            },
            Fault::BystanderLost(pick) => {
                let calm: Vec<usize> =
                    (0..self.nodes.len()).filter(|region| !primary_in(self, *region)).collect();
                match calm.get(pick % calm.len().max(1)) {
                    Some(region) => Fault::RegionLost(*region),
                    None => Fault::BystanderLost(pick),
                }
            }
            other => other,
        }
    }

    fn strike_with(&mut self, fault: &Fault) {
        match *fault {
            Fault::RegionLost(at) => {
                self.strike(at);
                self.each_in(at, World::kill);
            }
            Fault::PrimaryRegionLost(_) | Fault::BystanderLost(_) => {}
            Fault::RegionSuspended(at) => self.suspend(at, true),
            Fault::RegionCut(at) => self.cut_region(at),
            Fault::RegionMuted(at) => self.across(at).iter().for_each(|(a, b)| self.links.cut(*a, *b)),
            Fault::LeaderLost => self.lead(None),
            Fault::NodeKilled(at) => self.kill_node(at),
            Fault::NodeFrozen(at) => self.freeze(Proc::Node(at), true),
            Fault::NodeDiskStuck(at) => self.nodes[at].process.disk_stuck = true,
            Fault::NodeLags(at, by) => {
                self.raft.lag.insert(at, by * MS);
            }
            Fault::InstanceLost(at) => self.kill_host(at),
            Fault::AgentKilled(at) => self.kill_agent(at),
            Fault::AgentFrozen(at) => self.freeze(Proc::Host(at), true),
            Fault::AgentDiskStuck(at) => self.hosts[at].process.disk_stuck = true,
            Fault::PostgresDies(at) => self.postgres_dies(at),
            Fault::PostgresCrashLoops(at) => self.hosts[at].postgres.crash_loop = true,
            Fault::PostgresHangs(at) => self.hosts[at].postgres.hung = true,
            Fault::PostgresDiskStuck(at) => self.hosts[at].postgres.disk_stuck = true,
            Fault::TaskFails(at) => self.hosts[at].postgres.broken = true,
            Fault::Cut(a, b) => self.cut(a, b),
            Fault::CutOneWay(a, b) => self.links.cut(a, b),
            Fault::Slow(a, b, by) => self.links.set_delay(a, b, by * MS),
            Fault::Weather(a, b, weather) => self.links.set_weather(a, b, weather),
            Fault::Switchover(of, to) => {
                let to = self.hosts[to].me.instance.clone();
                self.switchover(of, &to);
            }
            Fault::Electorate(of, bits) => self.wish_electorate(of, members(bits)),
            Fault::Mode(of, mode) => self.set_mode(of, mode, Policy::Block),
            Fault::Solicits(at, named, above) => self.solicit_above(at, named, above),
            Fault::OldSuccession(named, back) => {
                let host = &self.hosts[named];
                let known = self.raft.state.groups.get(&host.me.group);
                let epoch = known.map_or(Epoch(0), |known| known.epoch);
                let succession = vec![host.me.instance.clone()];
                self.propose_succession(epoch, back, succession, None);
            }
        }
    }

    fn undo(&mut self, fault: &Fault) {
        match *fault {
            Fault::RegionLost(at) => {
                self.forget_brief(at);
                self.each_in(at, World::start);
            }
            Fault::RegionSuspended(at) => self.suspend(at, false),
            Fault::RegionCut(at) | Fault::RegionMuted(at) => self.heal_region(at),
            Fault::NodeKilled(at) => self.start_node(at),
            Fault::NodeFrozen(at) => self.freeze(Proc::Node(at), false),
            Fault::NodeDiskStuck(at) => self.nodes[at].process.disk_stuck = false,
            Fault::NodeLags(at, _) => {
                self.raft.lag.remove(&at);
            }
            Fault::InstanceLost(at) | Fault::AgentKilled(at) => self.start_agent(at),
            Fault::AgentFrozen(at) => self.freeze(Proc::Host(at), false),
            Fault::AgentDiskStuck(at) => self.hosts[at].process.disk_stuck = false,
            Fault::PostgresCrashLoops(at) => self.hosts[at].postgres.crash_loop = false,
            Fault::PostgresHangs(at) => self.hosts[at].postgres.hung = false,
            Fault::PostgresDiskStuck(at) => self.hosts[at].postgres.disk_stuck = false,
            Fault::Cut(a, b) | Fault::CutOneWay(a, b) => self.heal(a, b),
            Fault::Slow(a, b, _) => self.links.usual_delay(a, b),
            Fault::Weather(a, b, _) => self.links.set_weather(a, b, Weather::default()),
            Fault::PrimaryRegionLost(_)
            | Fault::BystanderLost(_)
            | Fault::LeaderLost
            | Fault::PostgresDies(_)
            | Fault::TaskFails(_)
            | Fault::Switchover(..)
            | Fault::Electorate(..)
            | Fault::Mode(..)
            | Fault::Solicits(..)
            | Fault::OldSuccession(..) => {}
        }
    }

    /// Everything in a region stops, Postgres too, or goes on.
    fn suspend(&mut self, region: usize, stops: bool) {
        for end in self.links.ends_in(region) {
            if let Proc::Host(who) = self.ends[end] {
                self.hosts[who].postgres.hung = stops;
            }
            self.freeze(self.ends[end], stops);
        }
    }

    /// From now on the groups whose primary is in that region have none.
    fn strike(&mut self, region: usize) {
        for group in 0..self.groups.len() {
            let there = |who: &usize| self.links.region(self.hosts[*who].end) == region;
            if self.gates(group).iter().any(|(who, _)| there(who)) {
                self.tally.struck[group] = Some((self.now, region));
            }
        }
    }

    /// A region that is back before it had to be replaced: its primary may get its lease again while some have voted for
    /// another, and then neither has a majority until the leader puts it right.
    fn forget_brief(&mut self, region: usize) {
        for group in 0..self.groups.len() {
            let allowed = self.outage_allowed(self.members[group][0]);
            let brief = |(at, of): &mut (u64, usize)| *of == region && self.now < *at + allowed;
            self.tally.struck[group].take_if(brief);
        }
    }

    fn solicit_above(&mut self, at: NodeIndex, named: HostId, above: u64) {
        let host = &self.hosts[named];
        let known = self.nodes[at].state.groups.get(&host.me.group).map(|group| group.epoch);
        let name = host.me.instance.clone();
        if let Some(epoch) = known.filter(|_| self.nodes[at].process.works()) {
            self.solicit(at, Epoch(epoch.0 + above), &name);
        }
    }

    /// All faults are over, for good.
    pub(crate) fn mend(&mut self) {
        self.mended = true;
        for host in &mut self.hosts {
            host.process.disk_stuck = false;
            let postgres = &mut host.postgres;
            (postgres.hung, postgres.disk_stuck) = (false, false);
            (postgres.crash_loop, postgres.broken) = (false, false);
        }
        self.nodes.iter_mut().for_each(|peer| peer.process.disk_stuck = false);
        self.heal_all();
    }
}

fn members(bits: u64) -> impl Iterator<Item = NodeId> {
    (0..64).filter(move |bit| bits >> bit & 1 == 1).map(|bit| NodeId(bit + 1))
}
