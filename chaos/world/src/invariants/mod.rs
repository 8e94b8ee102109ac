//! What must hold, one file a theorem. Each is told what happens, as it happens, and says in a sentence what was broken.
//! They know the world's own time and what everybody said or did. In two places the core's own arithmetic is used: which
//! votes make a certificate (`Certificate::new`, checked by the core's rules and by the model), and, where regions stay away
//! for good, whom the witnesses that are left say that they may name: a group in which they may name nobody is let off.

pub mod bounded_queues;
pub mod epochs;
pub mod handed_over_whole;
pub mod heals;
pub mod hung_gives_up;
pub mod isolation;
pub mod leader_costs_nothing;
pub mod linearizable_assignment;
pub mod loss_is_accounted;
pub mod no_needless_promotion;
pub mod one_writable_primary;
pub mod persist_before_send;
pub mod promoted_only_after_votes;
pub mod watch;

use crate::clock::MS;
use crate::history::linearizable_assignment::Operation;
use regent_core::quorum::Electorate;
use std::fmt;

/// An instance, by the order in which it was added.
pub type HostId = usize;

/// What is claimed: design section 2, and what its tests add.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Theorem {
    /// S1.
    OneWritablePrimary,
    /// S2.
    Epochs,
    /// S3.
    PromotedOnlyAfterVotes,
    /// S4 and S5.
    LossIsAccounted,
    /// S6.
    Watch,
    /// S7.
    LinearizableAssignment,
    /// S8.
    LeaderCostsNothing,
    /// A fault in one group changes nothing in another.
    Isolation,
    /// A fault that does not concern the primary causes no promotion.
    NoNeedlessPromotion,
    /// A primary that commits nothing any more gives its office up.
    HungGivesUp,
    /// Who takes over in a switchover has everything: it leaves nothing behind.
    HandedOverWhole,
    /// With the faults over, all is well again within the bound.
    Heals,
    /// Nothing that waits grows without end.
    BoundedQueues,
    /// Nothing is said before it is durable.
    PersistBeforeSend,
    /// What a script expects.
    Script,
}

impl Theorem {
    /// All but the expectations of scripts.
    pub const ALL: [Theorem; 14] = [
        Theorem::OneWritablePrimary,
        Theorem::Epochs,
        Theorem::PromotedOnlyAfterVotes,
        Theorem::LossIsAccounted,
        Theorem::Watch,
        Theorem::LinearizableAssignment,
        Theorem::LeaderCostsNothing,
        Theorem::Isolation,
        Theorem::NoNeedlessPromotion,
        Theorem::HungGivesUp,
        Theorem::HandedOverWhole,
        Theorem::Heals,
        Theorem::BoundedQueues,
        Theorem::PersistBeforeSend,
    ];
}

impl fmt::Display for Theorem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Theorem::OneWritablePrimary => "S1 one writable primary",
            Theorem::Epochs => "S2 epochs",
            Theorem::PromotedOnlyAfterVotes => "S3 promoted only after votes",
            Theorem::LossIsAccounted => "S4/S5 loss is accounted",
            Theorem::Watch => "S6 watch",
            Theorem::LinearizableAssignment => "S7 linearizable assignment",
            Theorem::LeaderCostsNothing => "S8 the leader's loss costs nothing",
            Theorem::Isolation => "isolation of groups",
            Theorem::NoNeedlessPromotion => "no needless promotion",
            Theorem::HungGivesUp => "who hangs gives up",
            Theorem::HandedOverWhole => "handed over whole",
            Theorem::Heals => "heals",
            Theorem::BoundedQueues => "bounded queues",
            Theorem::PersistBeforeSend => "persist before send",
            Theorem::Script => "the script's expectation",
        })
    }
}

/// One thing that must not be, and was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which claim it breaks.
    pub theorem: Theorem,
    /// When, in nanoseconds of the world's time.
    pub at: u64,
    /// What happened.
    pub sentence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { theorem, at, sentence } = self;
        write!(f, "{theorem}, broken at {} ms: {sentence}", at / MS)
    }
}

/// What was found broken, and the names to say it with.
#[derive(Default)]
pub struct Found {
    /// Broken claims, in the order they were found.
    pub violations: Vec<Violation>,
    /// The instances, as transcripts write them.
    pub names: Vec<String>,
    /// The world's time.
    pub now: u64,
}

impl Found {
    /// Notes a broken claim unless it holds.
    pub fn demand(&mut self, theorem: Theorem, holds: bool, sentence: impl FnOnce(&[String]) -> String) {
        if !holds {
            let sentence = sentence(&self.names);
            self.violations.push(Violation { theorem, at: self.now, sentence });
        }
    }
}

/// What one group has shown so far, theorem by theorem.
#[derive(Default)]
pub struct Judged {
    /// S2.
    pub epochs: epochs::Epochs,
    /// S3.
    pub votes: promoted_only_after_votes::Votes,
    /// S1.
    pub writable: one_writable_primary::Writable,
    /// S4, S5.
    pub loss: loss_is_accounted::Loss,
    /// S6.
    pub watch: watch::Watch,
    /// S7.
    pub reads: linearizable_assignment::Reads,
    /// What was decided, told and answered, for the checker of recorded histories.
    pub told: Vec<Operation>,
    /// Who commits nothing though its gate is open.
    pub hung: hung_gives_up::Hung,
    /// The electorates there were.
    pub electorates: Vec<Electorate>,
}

/// All invariants of a world.
#[derive(Default)]
pub struct Invariants {
    /// What was found broken.
    pub found: Found,
    /// Group by group.
    pub groups: Vec<Judged>,
}

impl Invariants {
    /// One group and where to say what it broke.
    pub fn of(&mut self, group: usize) -> (&mut Judged, &mut Found) {
        (&mut self.groups[group], &mut self.found)
    }
}
