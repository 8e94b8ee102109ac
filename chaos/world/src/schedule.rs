//! What will go wrong in a seed's world, and when: drawn as a whole before anything runs.

use crate::chance::Chance;
use crate::clock::MS;
use crate::faults::{Fault, Planned};
use crate::links::{End, Weather};
use crate::profile::{Class, Durability, Plan, Profile};
use crate::topology::{Topology, rpo};
use regent_core::replication::Mode;

/// The schedule of a seed.
pub struct Schedule {
    /// The faults, by their beginning.
    pub faults: Vec<Planned>,
    /// How long the world runs before all faults are over, in milliseconds.
    pub lasts_ms: u64,
}

/// Draws it.
pub fn draw(chance: &mut Chance, profile: &Profile, topology: &Topology) -> Schedule {
    let lasts_ms = chance.between(profile.lasts_ms.0, profile.lasts_ms.1);
    let many = chance.between(profile.faults.0, profile.faults.1);
    let mut sketch = Sketch { chance, topology };
    let mut faults = match profile.plan {
        Plan::Swarm => sketch.swarm(many, lasts_ms),
        Plan::Failovers => return failovers(many),
        Plan::Leaderless => return sketch.leaderless(many),
        Plan::Bystanders => return sketch.bystanders(many),
        Plan::OneGroup => sketch.one_group(many, lasts_ms),
    };
    let changes = matches!(profile.durability, Durability::Bounded | Durability::Quorum);
    if profile.plan == Plan::Swarm && changes {
        faults.extend(sketch.modes(lasts_ms, profile.durability));
    }
    faults.sort_by_key(|planned| planned.at_ms);
    Schedule { faults, lasts_ms }
}

/// As soon as the region that was lost last can be missed again: so often that the run is mostly failovers. So soon that
/// an heir may not have followed the primary before it: those are counted (see `loss_is_accounted`).
fn failovers(many: u64) -> Schedule {
    let every = 1_500;
    let fault = |number: u64| Planned {
        at_ms: 100 + number * every,
        lasts_ms: 350,
        fault: Fault::PrimaryRegionLost(0),
    };
    Schedule { faults: (0..many).map(fault).collect(), lasts_ms: 100 + many * every }
}

struct Sketch<'a> {
    chance: &'a mut Chance,
    topology: &'a Topology,
}

impl Sketch<'_> {
    fn swarm(&mut self, many: u64, lasts_ms: u64) -> Vec<Planned> {
        let mut classes: Vec<Class> = Class::ALL.into_iter().filter(|_| self.chance.once_in(2)).collect();
        if classes.is_empty() {
            classes.push(self.chance.of(&Class::ALL));
        }
        let longest = self.chance.of(&[300, 2_000, 10_000]);
        (0..many)
            .map(|_| {
                let class = self.chance.of(&classes);
                let fault = self.fault(class);
                let lasts = self.lasts(longest);
                self.planned(lasts_ms, lasts, fault)
            })
            .collect()
    }

    /// Mostly short, sometimes long: as many between 20 and 200 ms as between 200 ms and 2 s.
    fn lasts(&mut self, longest: u64) -> u64 {
        let most = self.chance.of(&[200, 700, 2_000, 10_000]).min(longest);
        self.chance.between(20, most)
    }

    /// In half of the worlds the mode is changed, from and to any.
    fn modes(&mut self, lasts_ms: u64, usual: Durability) -> Vec<Planned> {
        let many = if self.chance.once_in(2) { self.chance.between(1, 6) } else { 0 };
        (0..many)
            .map(|_| {
                let others = [1, 2].map(|count| Mode::Quorum { count });
                let others = match usual {
                    Durability::Quorum => others,
                    _ => [Mode::Bounded { rpo: rpo(self.chance), count: 1 }; 2],
                };
                let mode = self.chance.of(&[Mode::Async, Mode::Sync { count: 1 }, others[0], others[1]]);
                let fault = Fault::Mode(self.group(), mode);
                self.planned(lasts_ms, 0, fault)
            })
            .collect()
    }

    fn planned(&mut self, within: u64, lasts_ms: u64, fault: Fault) -> Planned {
        Planned { at_ms: self.chance.below(within), lasts_ms, fault }
    }

    fn region(&mut self) -> usize {
        self.chance.index(self.topology.nodes.len())
    }

    fn group(&mut self) -> usize {
        self.chance.index(self.topology.groups.len())
    }

    /// An instance of a group. They are numbered group by group.
    fn host_of(&mut self, group: usize) -> usize {
        let before: usize = self.topology.groups[..group].iter().map(|group| group.instances.len()).sum();
        before + self.chance.index(self.topology.groups[group].instances.len())
    }

    fn host(&mut self) -> usize {
        let group = self.group();
        self.host_of(group)
    }

    /// The nodes were placed first, then the instances.
    fn end_of_host(&self, host: usize) -> End {
        self.topology.nodes.len() + host
    }

    fn end(&mut self) -> End {
        if self.chance.once_in(2) {
            return self.region();
        }
        let host = self.host();
        self.end_of_host(host)
    }

    fn fault(&mut self, class: Class) -> Fault {
        match class {
            Class::Regions => match self.chance.below(6) {
                0 | 1 => Fault::PrimaryRegionLost(self.group()),
                2 => Fault::RegionLost(self.region()),
                3 => Fault::RegionSuspended(self.region()),
                4 => Fault::RegionCut(self.region()),
                _ => Fault::RegionMuted(self.region()),
            },
            Class::Leaders => Fault::LeaderLost,
            Class::Nodes => match self.chance.below(2) {
                0 => Fault::NodeKilled(self.region()),
                _ => Fault::NodeFrozen(self.region()),
            },
            Class::SlowNodes => match self.chance.below(3) {
                0 => Fault::NodeDiskStuck(self.region()),
                _ => Fault::NodeLags(self.region(), self.chance.between(10, 3_000)),
            },
            Class::Agents => {
                let host = self.host();
                self.of_agent(host)
            }
            Class::Postgres => {
                let host = self.host();
                self.of_postgres(host)
            }
            Class::Links => self.of_links(),
            Class::Weather => Fault::Weather(self.region(), self.region(), self.weather()),
            Class::Switchovers => {
                let group = self.group();
                Fault::Switchover(group, self.host_of(group))
            }
            Class::Electorates => Fault::Electorate(self.group(), self.electorate()),
            Class::Strays => {
                let host = self.host();
                self.of_strays(host)
            }
        }
    }

    fn of_agent(&mut self, host: usize) -> Fault {
        match self.chance.below(4) {
            0 => Fault::InstanceLost(host),
            1 => Fault::AgentKilled(host),
            2 => Fault::AgentFrozen(host),
            _ => Fault::AgentDiskStuck(host),
        }
    }

    fn of_postgres(&mut self, host: usize) -> Fault {
        match self.chance.below(6) {
            0 | 1 => Fault::PostgresDies(host),
            2 => Fault::PostgresCrashLoops(host),
            3 => Fault::PostgresHangs(host),
            4 => Fault::PostgresDiskStuck(host),
            _ => Fault::TaskFails(host),
        }
    }

    fn of_links(&mut self) -> Fault {
        let a = self.end();
        let mut b = self.end();
        while a == b {
            b = self.end();
        }
        match self.chance.below(4) {
            0 => Fault::Slow(a, b, self.chance.between(10, 1_000)),
            1 => Fault::CutOneWay(a, b),
            _ => Fault::Cut(a, b),
        }
    }

    fn of_strays(&mut self, host: usize) -> Fault {
        match self.chance.below(3) {
            0 => Fault::OldSuccession(host, self.chance.below(3)),
            _ => Fault::Solicits(self.region(), host, self.chance.between(1, 4)),
        }
    }

    fn weather(&mut self) -> Weather {
        let percent = 10_000;
        Weather {
            jitter: self.chance.of(&[0, 5, 50, 400]) * MS,
            loss: self.chance.of(&[0, 1, 5, 30]) * percent,
            twice: self.chance.of(&[0, 1, 20]) * percent,
            overtaking: self.chance.of(&[0, 0, 5, 50]) * percent,
        }
    }

    /// One to five nodes.
    fn electorate(&mut self) -> u64 {
        let mut nodes: Vec<usize> = (0..self.topology.nodes.len()).collect();
        self.chance.shuffle(&mut nodes);
        let many = self.chance.between(1, 5);
        nodes.into_iter().take(usize::try_from(many).expect("small")).map(|node| 1 << node).sum()
    }

    /// Deposes the leader, takes the primary's region, and lets all come back.
    fn leaderless(&mut self, many: u64) -> Schedule {
        let (mut faults, mut at_ms) = (Vec::new(), 1_000);
        for _ in 0..many {
            let deposed = Planned { at_ms, lasts_ms: 0, fault: Fault::LeaderLost };
            let group = self.group();
            let lost = Planned {
                at_ms: at_ms + self.chance.below(700),
                lasts_ms: self.chance.between(500, 4_000),
                fault: Fault::PrimaryRegionLost(group),
            };
            faults.extend([deposed, lost]);
            at_ms += 14_000;
        }
        Schedule { faults, lasts_ms: at_ms }
    }

    fn bystanders(&mut self, many: u64) -> Schedule {
        let (mut faults, mut at_ms) = (Vec::new(), 1_000);
        for _ in 0..many {
            let jitter = self.chance.between(1, 20) * MS;
            let fault = match self.chance.below(4) {
                0 => Fault::BystanderLost(self.region()),
                1 => Fault::LeaderLost,
                2 => Fault::NodeKilled(self.region()),
                _ => Fault::Weather(
                    self.region(),
                    self.region(),
                    Weather { jitter, twice: 20_000, ..Weather::default() },
                ),
            };
            faults.push(Planned { at_ms, lasts_ms: self.chance.between(100, 5_000), fault });
            at_ms += 12_000;
        }
        Schedule { faults, lasts_ms: at_ms + 5_000 }
    }

    fn one_group(&mut self, many: u64, lasts_ms: u64) -> Vec<Planned> {
        (0..many)
            .map(|_| {
                let host = self.host_of(0);
                let fault = match self.chance.below(6) {
                    0 | 1 => self.of_agent(host),
                    2 | 3 => self.of_postgres(host),
                    4 => Fault::Cut(self.end_of_host(host), self.region()),
                    _ => Fault::Switchover(0, host),
                };
                let lasts = self.lasts(10_000);
                self.planned(lasts_ms, lasts, fault)
            })
            .collect()
    }
}
