//! A lost tail: the end of a log that a change of primary left behind, which only one instance has. It is kept aside by
//! that instance's agent, and written down in the history beside the change, for people: nothing is decided on it but that
//! nothing is rewound before its tail is kept and known durably (`agent`).

use crate::ids::{Epoch, InstanceName, Lsn};
use serde::{Deserialize, Serialize};

/// How many tails one change of primary remembers: far more than a group has instances.
pub const TAILS_KEPT: usize = 64;

/// See above.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Tail {
    /// Who had it.
    pub instance: InstanceName,
    /// The change of primary that left it behind, as its instance came back to it.
    pub epoch: Epoch,
    /// The timeline it ends on.
    pub timeline: u32,
    /// Where the histories part.
    pub from: Lsn,
    /// The end of its last whole record.
    pub to: Lsn,
    /// How many transactions were committed in it.
    pub commits: u64,
    /// The directory in which its log is kept, on the machine of its instance.
    pub kept: String,
    /// When it was found, by the wall clock of its agent; for people only.
    pub found_unix_ms: u64,
}

impl Tail {
    /// Whether it is the same one: of one instance a timeline is left behind at one place once.
    pub fn is(&self, other: &Tail) -> bool {
        (&self.instance, self.timeline, self.from) == (&other.instance, other.timeline, other.from)
    }

    /// How much log it is.
    pub fn bytes(&self) -> u64 {
        self.to.0.saturating_sub(self.from.0)
    }
}
