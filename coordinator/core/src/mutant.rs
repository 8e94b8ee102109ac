//! Seeded bugs: each variant stands for one rule that a test build can switch off, to prove that the checks notice.
//!
//! The rule itself asks `mutant::on` where it stands. Without the cargo feature `mutants` that is the constant `false`
//! and the code is as if nothing had been asked; no crate that is shipped turns the feature on (`chaos/tests/layers.rs`).
//! With it, and none selected, the rules are as they are.
//!
//! What may not enter: a rule. Nothing here changes a decision; it only names what a decision leaves out.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicUsize, Ordering};

/// One table: the names as the rules use them, and what each switches off.
macro_rules! mutants {
    ($($name:ident: $sentence:literal,)*) => {
        /// A rule that can be switched off.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant {
            $(#[doc = $sentence] $name,)*
        }

        impl Mutant {
            /// All of them, in the order of the enumeration.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// Its name, as it stands in the code.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$name => stringify!($name),)*
                }
            }

            /// What it does wrong, in a sentence.
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Mutant::$name => $sentence,)*
                }
            }
        }
    };
}

mutants! {
    // What a witness must not forget.
    NoRestartWait: "A witness that has just started does not wait for the promises it may have forgotten (F9).",
    NoElectorateWait: "A change of electorate is not waited out: majorities two steps apart need not meet (F8).",
    VoteNotDurable: "A vote is sent without having been made durable.",
    FloorNotDurable: "A witness keeps its votes over a restart, but not its floor.",
    AppliedGoesBack: "A witness that replays its log goes back behind what it has answered with (F16).",

    // What a witness must not promise.
    StaleEpochGranted: "A witness promises an epoch below its floor.",
    PromiseWhileAnotherRuns: "A witness promises one instance while its promise to another runs.",
    VoteWhilePromiseRuns: "A witness votes for one instance while its promise to another runs.",
    VoteIsNoPromise: "A vote does not bind its witness as the promise that the named one takes it for (F10).",
    ResentVoteFreshSeq: "A vote that is sent again answers the latest report instead of the first (F6).",

    // What a witness must not vote.
    FloorNamedTwice: "A witness votes again at the floor it has voted for.",
    BasisIgnored: "A vote may name anybody, also one outside of the succession (F2).",
    ChainIgnored: "A vote follows the log even when its witness has said something later (F1).",
    SolicitAheadOfLog: "A witness answers a leader whose decision rests on a log it has not applied (F2).",

    // What a majority is.
    MajorityTooSmall: "One fewer than a majority counts as one.",
    MinorityDecides: "The votes of any witnesses are a certificate, however few they are.",
    OldElectorateDecides: "A certificate is counted by the electorate of any vote, not of the highest basis (F8).",

    // What the log must refuse.
    SuccessionWithoutCas: "A succession decided on an older revision is written over the present one (F3).",
    ElectorateInOneLeap: "The electorate changes by more than one witness at a time (F8).",
    RecordOfAnyElectorate: "The log takes the certificate of an electorate that was left long ago (F8).",
    ChangeForgotten: "A recorded change does not enter the history: who comes back to a watch misses it.",

    // How a holder counts.
    NoDriftMargin: "A holder counts on the whole of a promise, as if clocks ran alike.",
    OneDriftMargin: "A holder leaves a margin for the drift of one clock, not of two (F7).",
    CountedFromReceipt: "A holder counts a promise from when the answer came, not from when it asked.",
    OldIncarnationCounts: "An agent takes an answer to an earlier run of itself for one to its own (F5).",

    // What an agent must not do.
    ReleaseNotDurable: "An agent gives its epoch up in words without having made it durable (F4).",
    ReleasedClaimedAgain: "An agent claims an epoch again that it has released (F4).",
    GateOpenAtRelease: "An agent releases its epoch and leaves the gate open.",
    DeclinedActedOn: "An agent acts on an epoch that it has declined.",
    ActsBelowSeen: "An agent acts on an epoch below the highest decided one it knows.",
    GateBeforePrimary: "The gate is opened before Postgres is primary.",
    NoGate: "There is no gate: a Postgres acknowledges commits without its agent's lease, once it was primary.",
    PromotesWithoutLease: "A certificate promotes, however old it is (F19).",
    InterruptedGoesOn: "A primary goes on with its own timeline although another was primary in between.",
    HungKeepsOffice: "An office is kept though no write probe of its Postgres succeeds.",
    ShutGateCounts: "A probe that the shut gate kept from committing is held against its Postgres.",
    TwinTimelines: "A promotion leaves it to Postgres to number its timeline: two give one number to two contents.",

    // What a planned change must not do.
    HandsOverUnsent: "A primary hands over although its Postgres did not stop cleanly: what it had not sent is lost.",
    HandsOverUnasked: "A primary hands over after a clean stop, whether or not its successor said that it has everything.",
    StepWithoutEnd: "A step of a switchover that cannot begin is waited for without end.",
    HeldForEver: "A switchover whose successor falls back goes on holding commits.",
    LateLookCounts: "A look at the Postgres that was stopped to be restarted counts for the one that is started.",
    RestartLeavesTail: "A start that takes long gives the office to an heir that has not said that it has everything.",
    RestartKeepsOffice: "A start that takes long is waited for, though an heir has everything and could follow.",
    RestartEmptiesSuccession: "Who cannot stream from a primary that is being restarted is its successor no more.",
    RewoundUnkept: "A rewind begins before what only that instance has of the log is kept.",

    // What a commit in `sync` must wait for.
    SuccessionBeyondOffer: "In sync the log takes a succession that the primary did not offer, or no longer offers (F3).",
    OfferedUnconfirmed: "A primary offers a standby for the succession that has not confirmed what was acknowledged before.",
    LoosenedBeforeCarried: "A gate stops waiting for an instance that a majority of witnesses may still name.",
    HeirWaitsForNobody: "A new primary acknowledges commits without those who may be named after it.",

    // What an heir in `quorum` must have, and a primary must not let go of.
    HeirGathersNobody: "An heir is promoted with what it has, without having asked who may have more.",
    GathersOneTooFew: "An heir asks one fewer than it takes for one of them to have every commit.",
    AttachedAnswers: "A standby says where it was before it ceased to receive from the old primary.",
    OldConfigurationLeft: "A gate lets go of a configuration that a majority of witnesses may still go by.",
    BecomesLikeWhoLacks: "A standby that has commits is made like an heir that has yet to gather them.",

    // What a commit in `bounded` must wait for.
    BoundIgnored: "In bounded the gate acknowledges a commit whatever is missing at those who may take over.",
    EarlierForgotten: "What was acknowledged before an epoch or a start is not waited for in bounded: it may be lost at any age.",
    TightenedAtOnce: "A tighter mode counts as in force before those who may take over have what was acknowledged before.",

    // What who asks, or waits, must not be given.
    TurningIgnored: "Who still has to be rewound to the primary is named before who follows it: an epoch is lost whole.",
    ChainIgnoredByCascade: "A standby that receives from another is taken for turned to the primary, whether that one is or not.",
    NeverPromotedNamed: "An instance that shall never take over stands in the succession.",
    TimelineIgnored: "A standby on an older timeline than the primary's stands in the succession.",
    MinorityRead: "A read is answered by fewer than a majority of the witnesses.",

    // What keeps a group alive, and calm.
    PendingForgotten: "A claim without a lease keeps a solicited vote waiting for ever (F11a).",
    NeverBacksOff: "A witness whose vote nobody claimed hardly waits before it votes again, and again.",
    OneGroupAtATime: "A witness hears no other group while one waits for the log to record its vote.",
    HeirAwaitsLog: "An heir that holds its certificate waits for the leader to record it.",
    SuccessionKept: "A succession that stands is never changed: who comes back is not in it again.",
    SolicitsOnce: "The leader asks once for votes: a witness that has not applied yet what it goes by is not asked again.",
    SolicitsWithoutPause: "The leader asks anew at every look, for as long as nobody answers.",
    SolicitsTheDead: "The leader asks again for votes for one that it hears no more, which keeps witnesses from its heir.",
    Impatient: "A witness has no patience beyond its promise: any lapse costs a promotion.",
}

impl Mutant {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

/// Which is selected: one more than its place in the table, 0 for none.
#[cfg(feature = "mutants")]
static SELECTED: AtomicUsize = AtomicUsize::new(0);

/// Switches one rule off, in the whole process, or puts all in force again.
#[cfg(feature = "mutants")]
pub fn select(mutant: Option<Mutant>) {
    SELECTED.store(mutant.map_or(0, |mutant| mutant as usize + 1), Ordering::SeqCst);
}

/// Whether this rule is switched off.
#[cfg(feature = "mutants")]
pub(crate) fn on(mutant: Mutant) -> bool {
    SELECTED.load(Ordering::Relaxed) == mutant as usize + 1
}

/// Whether this rule is switched off: never, in what is shipped.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn all_rules_are_in_force_until_one_is_selected() {
        assert!(Mutant::ALL.iter().all(|mutant| !on(*mutant)));
    }

    #[test]
    fn names_are_found_again() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(*mutant));
            assert!(mutant.breaks().ends_with('.'), "{} is told in a sentence", mutant.name());
        }
        assert_eq!(Mutant::named("NoSuchRule"), None);
    }
}
