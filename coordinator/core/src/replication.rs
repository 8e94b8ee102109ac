//! When a commit counts, and who must have it first.
//!
//! # Why no acknowledged commit is lost in `sync`
//!
//! A witness names only the primary that it follows or somebody in that one's succession, in every mode (`witness/basis`).
//! So it is enough that whoever *some* majority of witnesses may still name has every acknowledged commit. The primary's
//! agent keeps that set, the *confirmers* (`agent/confirm`), and its gate acknowledges a commit only when all of them have
//! flushed it. The rules:
//!
//! 1. *Tightening: Postgres first, the log after.* An instance enters the succession only from an [`Offer`] of the
//!    primary. The primary offers an instance when its gate has waited for that one, and the instance has flushed what the
//!    primary had flushed at some moment since: so it has whatever was acknowledged before, and gets whatever is after.
//! 2. *Loosening: the log first, Postgres after.* To let go of an instance, the primary makes a new offer without it, with
//!    a higher version. The log takes an offer only if its version is not below the last (finding F3), so once the log has
//!    the new one, nobody gets back into the succession by the old. When promises of a majority, under this epoch, come
//!    from witnesses that have applied it, the gate no longer waits: of any majority that decides later, one witness
//!    promised so, and names nobody else.
//! 3. *A new primary waits for all that may follow it*: everybody who stands in the rest of any of the votes that made it
//!    primary. Any later majority shares a voter with those; and that voter names the new primary, or one in its rest.
//!    Made primary by the log's word alone, it knows of no votes and waits for every instance of the group.
//! 4. *Who knows less than its voters* does not know the mode, and behaves as in `sync`.
//!
//! By induction over the decisions: who is named after a primary that acknowledged commits was among that one's
//! confirmers, also if others were named in vain between them. No clock appears in this: if a clock breaks its bound, the
//! old primary may go on believing in its lease, but it cannot acknowledge anything without the very instance that took
//! over, and that one receives from nobody once it is promoted.
//!
//! While nobody may be named but the primary itself, the policy says what happens: `block` lets commits wait for a
//! standby, `degrade` acknowledges them alone. That loses nothing by a promotion, for there can be none.
//!
//! # Why what is lost in `bounded` is younger than the bound
//!
//! All of the above holds, with the same confirmers, offers and rules; only what the gate asks of a commit is less. It
//! acknowledges one when all confirmers have flushed every commit that it *acknowledged more than `rpo` ago* ([`Bound`]),
//! instead of when they have flushed this one. So:
//!
//! 5. *At each acknowledgement, whoever a majority may name has everything that was acknowledged more than `rpo` before.* Who
//!    has been a confirmer since before the older commit was acknowledged has it by what the gate asked; who became one
//!    later was offered only when it had all that was acknowledged until then (rule 1). The moment of an acknowledgement is
//!    the gate's: its clock is read, its conditions are looked at and the commit is noted in one critical section, so that
//!    no acknowledgement is missing from the record that a later one is judged by, however long a process sleeps.
//! 6. *What is not in that record counts as old.* When Postgres has started, the epoch is another or the bound has changed,
//!    all that is flushed at that moment has to be at the confirmers first. So what an earlier primary acknowledged and this
//!    one has does not become the loss of the next; and a restart does not forget what it had still to wait for.
//!
//! Hence, when another takes over, all that it lacks was acknowledged within `rpo` before the last acknowledgement. This
//! rests on CLOCK_BOOTTIME of one machine only: a guest that is stopped and not told loses what it acknowledged within `rpo`
//! of its own time.
//!
//! # Why a change of the mode keeps the stronger promise until it is let go of
//!
//! `sync` is the bound of nothing at all; how much a mode lets be missing is its [slack](Mode::slack).
//! - *Less slack* (`bounded` to `sync`, or a smaller `rpo`): the gate asks for it at once, and the confirmers stay who they
//!   are. But what was acknowledged before may still be on its way to them. So the log remembers at which revision it was
//!   tightened, and an offer says which tightening its members have confirmed under: each had, after the gate went by it,
//!   all that was flushed. Only then is the mode *in force* ([`Group::in_force`](crate::state::Group::in_force)), and only
//!   that is what people are told.
//! - *More slack* (`sync` to `bounded`, or a larger `rpo`): it is the log's word before the gate hears of it. What was
//!   acknowledged before stays at all confirmers, and a new one has it before it is offered.
//! - *`async`*: the confirmers are let go of as in `sync`, when a majority carries that; until then the gate asks what it
//!   asked.
//!
//! # Why none is lost in `quorum`
//!
//! There a commit is at any k of n standbys, so whoever is named may lack it, and asks first. A [`Configuration`] is those
//! n and the k. Of any n - k + 1 of them one has the commit: so an heir that has at least what each of n - k + 1 of them
//! has (`agent/gather`), itself among them, has every commit that satisfied the configuration. `sync` is the case k = n,
//! in which whoever is named has only to ask itself. What has to be seen to:
//!
//! 1. *The heir asks the right ones.* The log keeps the configuration of the offer it took last, whole: those count too
//!    who may not take over at the moment. Every vote tells the one its voter had applied, and the heir goes by that of
//!    the highest revision, or by the log's if it knows a later one. The primary lets go of a configuration only when
//!    promises of a majority under its epoch carry a later one. One of those witnesses is among the voters, and has not
//!    gone back. So what the heir goes by is a configuration that the primary still held to, or one it had offered since.
//! 2. *The primary holds to all of them*: to the one that a majority carries and to the one offered since; another is
//!    offered only when that is carried, so there are two at most, and its gate asks for both (`agent/joint`).
//! 3. *A configuration holds for what was acknowledged before it.* It is offered when the gate has gone by it, and what
//!    the primary had flushed at some moment since is, by that configuration, confirmed: k of its members have it. What was
//!    acknowledged before that moment is not beyond that point; what is after satisfies the configuration itself.
//! 4. *A new primary's first commits* are at everybody who stands in the rest of any vote for it, as in `sync` (rule 3),
//!    until its own offer is carried. The log keeps the configuration of before until then. So who is named after it has
//!    all that it acknowledged, and what was acknowledged before it, that one gathers anew: also when nobody was ever
//!    promoted in between, or somebody who acknowledged nothing.
//! 5. *Who is asked answers detached.* It has heard of a decision not below the heir's epoch, for good; its Postgres was
//!    told to receive from the primary of that decision, receives from nobody else, and its position was looked at after
//!    that. What it confirmed to the old primary is in that position, and it confirms nothing more to it. Again no clock
//!    appears: an old primary that believes in its lease may find k confirmations only among fewer than k standbys.
//! 6. *Positions are ordered by timeline, then by place.* No two promotions make the same timeline, and a later epoch's
//!    has the higher number. Every promoted instance has gathered what was acknowledged before its epoch: who is on its
//!    timeline has that, and on one timeline who is further has more.
//! 7. *Who has answered or confirmed does not lose what it has.* Until a witness has heard the new primary say that it is
//!    promoted, nobody is rewound to it or copied from it: it may still lack what they have. A former primary starts as a
//!    standby of it meanwhile, and says how far it is. And who is copied is the primary, not a standby that is nearer.

#[cfg(doc)]
use crate::bound::Bound;
use crate::bound::RPO_RANGE;
use crate::ids::{InstanceName, Revision};
use crate::state::{Group, MAX_INSTANCES, Rejected};
use crate::succession::why_not;
use crate::time::Time;
use crate::view::GroupView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a commit of a group is acknowledged (design section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// When it is durable at the primary: what a lost region takes with it is not in the new primary.
    Async,
    /// When every instance that may take over has flushed it, which are `count` of them: nothing is lost.
    Sync {
        /// How many, at least 1.
        count: u8,
    },
    /// When every instance that may take over has flushed all that was acknowledged more than `rpo` ago: what is lost is
    /// younger than that.
    Bounded {
        /// The bound.
        rpo: Duration,
        /// How many may take over, at least 1.
        count: u8,
    },
    /// When any `count` of the standbys have flushed it; whoever takes over gathers first what it lacks: nothing is lost.
    Quorum {
        /// How many, at least 1.
        count: u8,
    },
}

/// The bound of `bounded` without a number.
const DEFAULT_RPO: Duration = Duration::from_millis(100);

impl Mode {
    /// How many standbys confirm each commit.
    pub fn count(self) -> usize {
        match self {
            Mode::Async => 0,
            Mode::Sync { count } | Mode::Quorum { count } | Mode::Bounded { count, .. } => usize::from(count),
        }
    }

    /// The same with that number of standbys; `async` has none.
    pub fn with_count(self, count: u8) -> Option<Mode> {
        match self {
            Mode::Async => None,
            Mode::Sync { .. } => Some(Mode::Sync { count }),
            Mode::Quorum { .. } => Some(Mode::Quorum { count }),
            Mode::Bounded { rpo, .. } => Some(Mode::Bounded { rpo, count }),
        }
    }

    /// The bound, where there is one.
    pub fn rpo(self) -> Option<Duration> {
        match self {
            Mode::Bounded { rpo, .. } => Some(rpo),
            Mode::Async | Mode::Sync { .. } | Mode::Quorum { .. } => None,
        }
    }

    /// How old an acknowledged commit may be that whoever takes over lacks.
    pub fn slack(self) -> Duration {
        match self {
            Mode::Async => Duration::MAX,
            Mode::Sync { .. } | Mode::Quorum { .. } => Duration::ZERO,
            Mode::Bounded { rpo, .. } => rpo,
        }
    }

    /// Its name without numbers.
    pub fn kind(self) -> &'static str {
        match self {
            Mode::Async => "async",
            Mode::Sync { .. } => "sync",
            Mode::Quorum { .. } => "quorum",
            Mode::Bounded { .. } => "bounded",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Async => f.pad("async"),
            Mode::Sync { count } | Mode::Quorum { count } => f.pad(&format!("{} {count}", self.kind())),
            Mode::Bounded { rpo, count: 1 } => f.pad(&format!("bounded {}", span(*rpo))),
            Mode::Bounded { rpo, count } => f.pad(&format!("bounded {} {count}", span(*rpo))),
        }
    }
}

/// A bound as it is written: whole seconds as such, else in milliseconds, else as exactly as it is.
fn span(of: Duration) -> String {
    match of.as_nanos() {
        nanos if nanos % 1_000_000_000 == 0 => format!("{}s", nanos / 1_000_000_000),
        nanos if nanos % 1_000_000 == 0 => format!("{}ms", nanos / 1_000_000),
        nanos => format!("{nanos}ns"),
    }
}

/// Reads what [`span`] writes.
pub fn parse_span(text: &str) -> Result<Duration, Unknown> {
    let units = [("ms", Duration::from_millis as fn(u64) -> Duration), ("ns", Duration::from_nanos)];
    let units = units.into_iter().chain([("s", Duration::from_secs as fn(u64) -> Duration)]);
    let read = |(unit, of): (&str, fn(u64) -> Duration)| {
        text.strip_suffix(unit)?.parse().ok().filter(|number| *number <= MOST_UNITS).map(of)
    };
    let unknown = || Unknown { expected: "a span of time: 100ms, 2s", got: text.to_owned() };
    units.into_iter().find_map(read).ok_or_else(unknown)
}

/// More of any unit is no span that anybody means.
const MOST_UNITS: u64 = 1_000_000_000_000;

/// A text that names no mode, or no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected {expected}, got {got:?}")]
pub struct Unknown {
    /// What there is.
    pub expected: &'static str,
    /// What it was.
    pub got: String,
}

impl FromStr for Mode {
    type Err = Unknown;
    /// As it is shown; `sync` alone is `sync 1`, `quorum` alone `quorum 1`, `bounded` alone `bounded 100ms 1`.
    fn from_str(text: &str) -> Result<Mode, Unknown> {
        let expected =
            "async, sync or quorum with how many confirm (sync 1), or bounded with the bound (bounded 100ms)";
        let unknown = || Unknown { expected, got: text.to_owned() };
        let number = |count: &str| count.parse().map_err(|_| unknown());
        let rpo = |span| parse_span(span).map_err(|_| unknown());
        match *text.split(' ').collect::<Vec<_>>() {
            ["async"] => Ok(Mode::Async),
            ["sync"] => Ok(Mode::Sync { count: 1 }),
            ["sync", count] => Ok(Mode::Sync { count: number(count)? }),
            ["quorum"] => Ok(Mode::Quorum { count: 1 }),
            ["quorum", count] => Ok(Mode::Quorum { count: number(count)? }),
            ["bounded"] => Ok(Mode::Bounded { rpo: DEFAULT_RPO, count: 1 }),
            ["bounded", span] => Ok(Mode::Bounded { rpo: rpo(span)?, count: 1 }),
            ["bounded", span, count] => Ok(Mode::Bounded { rpo: rpo(span)?, count: number(count)? }),
            _ => Err(unknown()),
        }
    }
}

/// What happens while fewer standbys confirm than the mode asks for, and none is left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Commits wait until one confirms.
    #[default]
    Block,
    /// Commits are acknowledged by the primary alone, and nobody may take over from it.
    Degrade,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Policy::Block => "block",
            Policy::Degrade => "degrade",
        })
    }
}

impl FromStr for Policy {
    type Err = Unknown;
    fn from_str(text: &str) -> Result<Policy, Unknown> {
        match text {
            "block" => Ok(Policy::Block),
            "degrade" => Ok(Policy::Degrade),
            _ => Err(Unknown { expected: "block or degrade", got: text.to_owned() }),
        }
    }
}

/// Among whom every commit is that a primary acknowledges: at so many of these.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// These: all of them, also those that may not take over at the moment.
    pub members: BTreeSet<InstanceName>,
    /// So many.
    pub count: u8,
}

impl Configuration {
    /// How many of the members have to be asked, so that one of them has any commit.
    pub fn to_gather(&self) -> usize {
        (self.members.len() + 1).saturating_sub(usize::from(self.count))
    }

    /// Whether a member alone may lack a commit.
    pub fn must_gather(&self) -> bool {
        self.to_gather() > 1
    }
}

/// What a primary says of its standbys: that all of these, or so many of them, have every commit it acknowledged, and will
/// have every later one; in `bounded`, when it is older than the bound.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Grows with every change of what is offered, and never starts again; 0 before the first offer.
    pub version: u64,
    /// Who.
    pub members: BTreeSet<InstanceName>,
    /// Under which tightening of the mode they confirmed: the log's
    /// [`tightened`](crate::state::Group::tightened) that the gate went by.
    #[serde(default)]
    pub tightened: Revision,
    /// How many of them; all without it.
    #[serde(default)]
    pub count: Option<u8>,
}

impl Offer {
    /// What is offered.
    pub fn configuration(&self) -> Configuration {
        let members = self.members.clone();
        let all = u8::try_from(members.len()).unwrap_or(u8::MAX);
        Configuration { members, count: self.count.unwrap_or(all) }
    }
}

/// Checks the numbers that a mode asks for, where the number of instances does not matter or is not known yet.
pub fn check_numbers(mode: Mode) -> Result<(), Rejected> {
    let most = MAX_INSTANCES - 1;
    let range = 1..=most;
    if mode != Mode::Async && !range.contains(&mode.count()) {
        return Err(Rejected::BadTerms(format!(
            "{} count must be between 1 and {most}, the standbys that a group can have, got {}",
            mode.kind(),
            mode.count()
        )));
    }
    match mode.rpo() {
        Some(rpo) if !RPO_RANGE.contains(&rpo) => Err(Rejected::BadTerms(format!(
            "rpo must be between {} and {}, got {}: a commit that waits looks again every 5 ms, and above a minute \
             nothing is bounded that async would not lose",
            span(*RPO_RANGE.start()),
            span(*RPO_RANGE.end()),
            span(rpo)
        ))),
        _ => Ok(()),
    }
}

/// Whether the group could keep that mode as it stands now: enough standbys that could confirm. Asked before a change of
/// the mode, so that it does not stop the group's commits by surprise; not when it asks for as many as before.
pub fn check_change(group: &Group, view: &GroupView, mode: Mode, now: Time) -> Result<(), Rejected> {
    let standbys = || group.instances.keys().filter(|name| view.current(group).1 != Some(*name));
    let unfit: Vec<String> = standbys()
        .filter_map(|name| why_not(group, view, name, now).map(|why| format!("{name} {why}")))
        .collect();
    let fit = standbys().count() - unfit.len();
    if fit >= mode.count() || mode.count() == group.terms.mode.count() {
        return Ok(());
    }
    let why = if unfit.is_empty() { "it has no other".to_owned() } else { unfit.join("; ") };
    Err(Rejected::BadTerms(format!(
        "group {} has {fit} standbys that could confirm commits now, and {mode} asks for {}: {why}",
        group.name,
        mode.count()
    )))
}
