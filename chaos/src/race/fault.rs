//! What is done to everybody alike, always in the region where the primary is.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where the primary is when a trial begins.
pub const HOME: usize = 0;
/// Where the coordinator's leader is, if it is not to be at home.
pub const ELSEWHERE: usize = 1;

/// A fault, from calm to calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The region is cut off and all its processes killed; the coordinator's leader is among them.
    Region,
    /// The same with the coordinator's leader in another region.
    RegionAlone,
    /// All its processes stop where they are, and go on after a minute.
    Frozen,
    /// The agent beside Postgres is killed; Postgres runs on.
    Agent,
    /// Nothing passes between the region and the others; everything in it runs on, a session that writes too.
    Cut,
    /// Postgres stops where it is, postmaster and backends; everything else runs on.
    Hung,
    /// The primary is moved on purpose.
    Switchover,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Fault; 7] = [
        Fault::Region,
        Fault::RegionAlone,
        Fault::Frozen,
        Fault::Agent,
        Fault::Cut,
        Fault::Hung,
        Fault::Switchover,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Fault::Region => "region killed, the coordinator's leader in it",
            Fault::RegionAlone => "region killed, the coordinator's leader elsewhere",
            Fault::Frozen => "region frozen for 60 s, then resumed",
            Fault::Agent => "agent killed",
            Fault::Cut => "region cut off, an open session in it writing",
            Fault::Hung => "Postgres hung",
            Fault::Switchover => "planned switchover",
        }
    }

    /// Where the coordinator's leader has to be, if it can be moved.
    pub fn leader(self) -> usize {
        if self == Fault::RegionAlone { ELSEWHERE } else { HOME }
    }

    /// Whether all that runs in the region is killed.
    pub fn kills_region(self) -> bool {
        matches!(self, Fault::Region | Fault::RegionAlone)
    }

    /// Whether writes may well go on where they are.
    pub fn may_change_nothing(self) -> bool {
        self == Fault::Agent
    }
}
