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

use crate::ids::InstanceName;
use crate::state::{Group, MAX_INSTANCES, Rejected};
use crate::succession::why_not;
use crate::time::Time;
use crate::view::GroupView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

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
}

impl Mode {
    /// How many standbys confirm each commit.
    pub fn count(self) -> usize {
        match self {
            Mode::Async => 0,
            Mode::Sync { count } => usize::from(count),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Async => f.pad("async"),
            Mode::Sync { count } => f.pad(&format!("sync {count}")),
        }
    }
}

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
    /// As it is shown; `sync` alone is `sync 1`.
    fn from_str(text: &str) -> Result<Mode, Unknown> {
        let unknown =
            || Unknown { expected: "async, or sync with how many confirm: sync 1", got: text.to_owned() };
        match text.split_once(' ').unwrap_or((text, "")) {
            ("async", "") => Ok(Mode::Async),
            ("sync", "") => Ok(Mode::Sync { count: 1 }),
            ("sync", count) => count.parse().map(|count| Mode::Sync { count }).map_err(|_| unknown()),
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

/// The instances of which a primary says that they have every commit it acknowledged, and will have every later one.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Grows with every change of the members, within an epoch; 0 before the first offer.
    pub version: u64,
    /// Who.
    pub members: BTreeSet<InstanceName>,
}

/// Checks the number that a mode asks for, where the number of instances does not matter or is not known yet.
pub fn check_count(mode: Mode) -> Result<(), Rejected> {
    let most = MAX_INSTANCES - 1;
    let range = 1..=most;
    match mode {
        Mode::Sync { count } if !range.contains(&usize::from(count)) => Err(Rejected::BadTerms(format!(
            "sync count must be between 1 and {most}, the standbys that a group can have, got {count}"
        ))),
        _ => Ok(()),
    }
}

/// Whether the group could keep that mode as it stands now: enough standbys that could confirm. Asked before a change of
/// the mode, so that it does not stop the group's commits by surprise; not when only the policy changes.
pub fn check_change(group: &Group, view: &GroupView, mode: Mode, now: Time) -> Result<(), Rejected> {
    let standbys = || group.instances.keys().filter(|name| view.current(group).1 != Some(*name));
    let unfit: Vec<String> = standbys()
        .filter_map(|name| why_not(group, view, name, now).map(|why| format!("{name} {why}")))
        .collect();
    let fit = standbys().count() - unfit.len();
    if fit >= mode.count() || mode == group.terms.mode {
        return Ok(());
    }
    let why = if unfit.is_empty() { "it has no other".to_owned() } else { unfit.join("; ") };
    Err(Rejected::BadTerms(format!(
        "group {} has {fit} standbys that could confirm commits now, and {mode} asks for {}: {why}",
        group.name,
        mode.count()
    )))
}
