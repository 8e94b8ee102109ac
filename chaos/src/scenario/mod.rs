//! Scenarios as data: what is done to a cluster, where and when, and what must hold. They are files in
//! `chaos/scenarios`, one a class, and part of the program.
//!
//! What may not enter: anything that runs. A scenario knows no process, no address and no clock; its places are roles.

pub mod fault;
mod parse;
pub mod place;
pub mod random;
mod wrong;

use std::fmt::{self, Display};
use std::time::Duration;

use regent_core::replication::Mode;
use serde::Deserialize;

use fault::Fault;
use place::Place;
pub use wrong::{NoScenarios, Wrong};

use crate::cluster::topology::RoundTrips;
use crate::wan::terms::Change;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Class {
    Calm,
    Process,
    Clock,
    Network,
    Disk,
    Postgres,
    Coordinator,
    Resources,
    Interface,
    Sharp,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// What it is, in a sentence.
    pub what: String,
    /// Whether it is among those that every change is tested with.
    pub ci: bool,
    /// Where.
    pub setting: Setting,
    /// Who is there beside the writers of every region.
    pub clients: Vec<Client>,
    /// For how long clients write, from the first fault's beginning on, when no fault takes longer.
    pub lasts: Duration,
    /// Whether each fault happens when it is planned, and not a little later by chance.
    pub exact: bool,
    /// Whether chance drew it: what its faults would befall may not be there then.
    pub by_chance: bool,
    /// What is done, in the order of time.
    pub schedule: Vec<Planned>,
    /// How often the primary may move, and must.
    pub promotions: Promotions,
    /// How long it may take until all is whole when every fault is over.
    pub heals_within: Duration,
    /// For how long no client at all may be acknowledged, where there is a bound.
    pub gap_within: Option<Duration>,
}

/// Clients beside the writers of every region, who are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// One at home that knows no other server, and goes on writing to it whatever happens.
    Stubborn,
    /// A session at home and one elsewhere, open before anything happens, that commit every 50 ms for as long as they live.
    OpenSessions,
    /// One at home that asked for much and never reads.
    NeverReads,
}

impl Client {
    /// All of them.
    pub const ALL: [Client; 3] = [Client::Stubborn, Client::OpenSessions, Client::NeverReads];
}

/// What a cluster is like: scenarios with the same one can share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// How many regions.
    pub regions: usize,
    /// How many of them have a Postgres: the first so many.
    pub instances: usize,
    /// Round trips by pair, in milliseconds; the same for all when there is one.
    pub round_trips_ms: Vec<u64>,
    /// How long a promise lasts, if not as long as usual: longer than the longest round trip, or there is no primary.
    pub ttl: Option<Duration>,
    /// When commits are acknowledged.
    pub mode: Mode,
    /// What every link is like beside its delay, all the time.
    pub links: Change,
    /// Whether what processes are told of clocks and flushes can be false.
    pub shim: bool,
    /// Whether each region has a disk of its own, with all on it that must not be forgotten.
    pub disks: bool,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            regions: 3,
            instances: 3,
            round_trips_ms: vec![60, 80, 140],
            ttl: None,
            mode: Mode::Async,
            links: Change::default(),
            shim: false,
            disks: false,
        }
    }
}

impl Setting {
    /// How far apart its regions are.
    pub fn round_trips(&self) -> anyhow::Result<RoundTrips> {
        let pairs: Vec<Duration> = self.round_trips_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        match pairs[..] {
            [one] => RoundTrips::even(self.regions, one),
            _ => RoundTrips::of(self.regions, &pairs),
        }
    }
}

/// One fault of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When.
    pub begins: Begins,
    /// What.
    pub fault: Fault,
    /// Where.
    pub place: Place,
    /// Until when.
    pub ends: Ends,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begins {
    /// So long after the moment from which on all clients write.
    At(Duration),
    /// So long after another instance than before has acknowledged a write.
    AfterPromotion(Duration),
}

impl Begins {
    /// After what it waits for.
    pub fn after(self) -> Duration {
        match self {
            Begins::At(time) | Begins::AfterPromotion(time) => time,
        }
    }

    /// Whether it should have begun by now; `promoted` says when another instance acknowledged.
    pub fn is_due(self, now: Duration, promoted: Option<Duration>) -> bool {
        match self {
            Begins::At(time) => time <= now,
            Begins::AfterPromotion(time) => promoted.is_some_and(|promoted| promoted + time <= now),
        }
    }
}

/// When a fault is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It is done at once.
    AtOnce,
    /// After so long.
    After(Duration),
    /// So long after another instance has acknowledged a write.
    AfterPromotion(Duration),
}

/// How often the primary moves without having been told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotions {
    /// At least.
    pub least: u32,
    /// At most.
    pub most: u32,
}

impl Promotions {
    /// Whether that many are as many as there should be.
    pub fn allow(&self, number: u32) -> bool {
        (self.least..=self.most).contains(&number)
    }
}

impl Display for Promotions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(f, "{least}"),
            (0, most) => write!(f, "at most {most}"),
            (least, most) => write!(f, "{least} to {most}"),
        }
    }
}

impl Class {
    /// All of them, with their files.
    pub const ALL: [(Class, &str, &str); 10] = [
        (Class::Calm, "calm", include_str!("../../scenarios/calm.toml")),
        (Class::Process, "process", include_str!("../../scenarios/process.toml")),
        (Class::Clock, "clock", include_str!("../../scenarios/clock.toml")),
        (Class::Network, "network", include_str!("../../scenarios/network.toml")),
        (Class::Disk, "disk", include_str!("../../scenarios/disk.toml")),
        (Class::Postgres, "postgres", include_str!("../../scenarios/postgres.toml")),
        (Class::Coordinator, "coordinator", include_str!("../../scenarios/coordinator.toml")),
        (Class::Resources, "resources", include_str!("../../scenarios/resources.toml")),
        (Class::Interface, "interface", include_str!("../../scenarios/interface.toml")),
        (Class::Sharp, "sharp", include_str!("../../scenarios/sharp.toml")),
    ];
}

impl Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let found = Class::ALL.iter().find(|(class, ..)| class == self);
        f.pad(found.map_or("", |(_, name, _)| name))
    }
}

impl Scenario {
    /// Whether one of its faults needs that.
    pub fn needs(&self, what: fault::Needs) -> bool {
        self.schedule.iter().any(|planned| planned.fault.row().needs == what)
    }

    /// When the last fault begins or, as far as it is known, ends; no earlier than [`Scenario::lasts`].
    pub fn planned_for(&self) -> Duration {
        let end = |planned: &Planned| match planned.ends {
            Ends::After(time) | Ends::AfterPromotion(time) => planned.begins.after() + time,
            Ends::AtOnce => planned.begins.after(),
        };
        self.schedule.iter().map(end).max().unwrap_or_default().max(self.lasts)
    }
}

/// All that are part of this program, class by class.
pub fn all() -> Result<Vec<Scenario>, NoScenarios> {
    let mut found = Vec::new();
    for (class, _, text) in Class::ALL {
        found.extend(parse::file(class, text)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::fault::Needs;
    use super::*;

    #[test]
    fn every_file_is_well_formed_and_every_name_is_there_once() {
        let all = all().unwrap_or_else(|wrong| panic!("{wrong}"));
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
    }

    /// Else its faults could not be made there.
    #[test]
    fn a_cluster_has_what_the_faults_of_its_scenario_need() {
        for one in all().unwrap_or_else(|wrong| panic!("{wrong}")) {
            let has = (one.setting.disks, one.setting.shim);
            assert_eq!(has, (one.needs(Needs::Disk), one.needs(Needs::Shim)), "{}", one.name);
        }
    }

    /// What nobody breaks moves no primary.
    #[test]
    fn calm_scenarios_allow_no_promotion() {
        let all = all().unwrap_or_else(|wrong| panic!("{wrong}"));
        for calm in all.iter().filter(|scenario| scenario.class == Class::Calm) {
            assert_eq!(calm.promotions.most, 0, "{}", calm.name);
        }
    }
}
