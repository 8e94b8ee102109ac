//! Which worlds and which faults a run draws from.

use std::fmt;

/// A kind of fault; a seed switches each on or off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Regions lost, suspended, cut, muted.
    Regions,
    /// The leader of the log deposed.
    Leaders,
    /// Nodes killed and frozen.
    Nodes,
    /// Nodes that lag or whose disk is stuck.
    SlowNodes,
    /// Agents killed, frozen, with a stuck disk; machines that lose power.
    Agents,
    /// Postgres dies, loops, hangs, has a stuck disk; tasks that fail.
    Postgres,
    /// Single links cut, both ways or one, or slow.
    Links,
    /// Jitter, loss, duplication, reordering.
    Weather,
    /// Switchovers and restarts.
    Switchovers,
    /// Changes of electorate.
    Electorates,
    /// Solicitations and successions by who does not know what has happened.
    Strays,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 11] = [
        Class::Regions,
        Class::Leaders,
        Class::Nodes,
        Class::SlowNodes,
        Class::Agents,
        Class::Postgres,
        Class::Links,
        Class::Weather,
        Class::Switchovers,
        Class::Electorates,
        Class::Strays,
    ];
}

/// How the faults of a profile are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Of each class that the seed switched on, at random.
    Swarm,
    /// The region of the primary, again and again, each time when all is well enough for the next.
    Failovers,
    /// The same with all the time it wants between, and the leader deposed each time: judged by S8.
    Leaderless,
    /// One at a time, and none that concerns a primary: no promotion may follow.
    Bystanders,
    /// Only what strikes instances of the first group: the others may notice nothing.
    OneGroup,
}

/// The modes that the groups of a profile are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// `async`.
    Async,
    /// `sync`, with as many as the seed says.
    Sync,
    /// `bounded`, by as much as the seed says; where faults are drawn, the mode is changed as well.
    Bounded,
    /// `quorum`, with as many as the seed says; the mode is changed as well.
    Quorum,
}

/// A profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// How many regions, each with a node: from, to.
    pub regions: (usize, usize),
    /// How many groups.
    pub groups: (usize, usize),
    /// How many instances in each.
    pub instances: (usize, usize),
    /// How many faults.
    pub faults: (u64, u64),
    /// How long the faults go on, in milliseconds.
    pub lasts_ms: (u64, u64),
    /// How they are chosen.
    pub plan: Plan,
    /// When their commits are acknowledged.
    pub durability: Durability,
    /// Whether instances have tags: priorities, and others to receive through.
    pub tags: bool,
}

/// Everything at once: the default. The others say in what they differ from it, or from the one that they are a kind of.
const SWARM: Profile = Profile {
    name: "swarm",
    about: "every class of fault, each switched on or off by the seed",
    regions: (3, 7),
    groups: (1, 4),
    instances: (2, 5),
    faults: (5, 50),
    lasts_ms: (5_000, 40_000),
    plan: Plan::Swarm,
    durability: Durability::Async,
    tags: false,
};

const SMALL: Profile = Profile {
    name: "small",
    about: "the same in the smallest world, with faults closer together",
    regions: (3, 3),
    groups: (1, 1),
    instances: (3, 3),
    faults: (5, 40),
    lasts_ms: (3_000, 15_000),
    ..SWARM
};

const FAILOVER: Profile = Profile {
    name: "failover",
    about: "the region of the primary is lost, again and again",
    faults: (25, 25),
    lasts_ms: (60_000, 60_000),
    plan: Plan::Failovers,
    ..SMALL
};

const LEADERLESS: Profile = Profile {
    name: "leaderless",
    about: "regions and leaders are lost: no lease may lapse for it, no failover be late",
    regions: (3, 5),
    groups: (1, 2),
    instances: (3, 3),
    faults: (4, 8),
    lasts_ms: (30_000, 60_000),
    plan: Plan::Leaderless,
    ..SWARM
};

const CALM: Profile = Profile {
    name: "calm",
    about: "nothing happens to a primary: no promotion may follow",
    groups: (1, 3),
    instances: (2, 4),
    faults: (0, 4),
    lasts_ms: (20_000, 60_000),
    plan: Plan::Bystanders,
    ..SWARM
};

const ISOLATION: Profile = Profile {
    name: "isolation",
    about: "one group is struck: the others may notice nothing",
    regions: (3, 5),
    groups: (2, 4),
    instances: (2, 4),
    faults: (5, 30),
    lasts_ms: (10_000, 30_000),
    plan: Plan::OneGroup,
    ..SWARM
};

const SYNC: Profile = Profile {
    name: "sync",
    about: "the small world in sync: nothing acknowledged may be lost, whatever befalls it",
    regions: (3, 5),
    instances: (3, 4),
    durability: Durability::Sync,
    ..SMALL
};

const SYNC_FAILOVER: Profile = Profile {
    name: "sync-failover",
    about: "in sync, the region of the primary is lost, again and again",
    durability: Durability::Sync,
    ..FAILOVER
};

const BOUNDED: Profile = Profile {
    name: "bounded",
    about: "the small world in bounded, at times in another mode: what is lost may not be older than the bound",
    durability: Durability::Bounded,
    ..SYNC
};

const BOUNDED_FAILOVER: Profile = Profile {
    name: "bounded-failover",
    about: "in bounded, the region of the primary is lost, again and again",
    durability: Durability::Bounded,
    ..FAILOVER
};

const QUORUM: Profile = Profile {
    name: "quorum",
    about: "three or five instances in quorum: nothing acknowledged may be lost, whatever befalls them",
    instances: (3, 5),
    durability: Durability::Quorum,
    ..SYNC
};

const QUORUM_FAILOVER: Profile = Profile {
    name: "quorum-failover",
    about: "in quorum, the region of the primary is lost, again and again",
    durability: Durability::Quorum,
    ..FAILOVER
};

const CASCADES: Profile = Profile {
    name: "cascades",
    about: "the small world with priorities, and standbys that receive through others",
    instances: (3, 5),
    tags: true,
    ..SMALL
};

const SYNC_CASCADES: Profile = Profile {
    name: "sync-cascades",
    about: "the same in sync: whom the primary does not see confirm takes nothing over",
    durability: Durability::Sync,
    ..CASCADES
};

impl Profile {
    /// All of them; the first is the default.
    pub const ALL: [Profile; 14] = [
        SWARM,
        SMALL,
        FAILOVER,
        LEADERLESS,
        CALM,
        ISOLATION,
        SYNC,
        SYNC_FAILOVER,
        BOUNDED,
        BOUNDED_FAILOVER,
        QUORUM,
        QUORUM_FAILOVER,
        CASCADES,
        SYNC_CASCADES,
    ];

    /// The one of that name.
    pub fn named(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name == name)
    }
}

impl Default for Profile {
    fn default() -> Profile {
        SWARM
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}
