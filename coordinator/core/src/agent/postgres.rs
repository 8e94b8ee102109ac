//! What the agent does with its Postgres: one table from what is decided and what is seen to the next task.

use super::cascade::Cascade;
use super::confirm::Waits;
use super::{Agent, Effect, Note};
use crate::ids::{Epoch, InstanceName, Lsn, Position};
use crate::message::Role;
use crate::mutant::{self, Mutant};
use crate::time::Time;
use crate::vote::Reason;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a standby may try in vain to receive from a new primary before it is taken for diverged and rewound.
const STRAY_PATIENCE: Duration = Duration::from_secs(3);
/// The same when it has received from that primary before: then it cannot have diverged, the primary is most likely
/// away, and a standby that stopped itself could not be its heir.
const LOST_PATIENCE: Duration = Duration::from_secs(60);
/// How long a standby has to receive without a break to be taken for able to. It looks so from when it is connected, before
/// it has learnt, two round trips later, that it went too far on the old timeline.
const SETTLED: Duration = Duration::from_secs(2);
/// How many rewinds in a row may fail before the whole is copied.
const REWINDS: u32 = 3;
/// The first and the longest wait after a task that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What the shell sees of Postgres.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Observation {
    /// When it was looked at: before the question was put.
    pub at: Time,
    /// What it is doing.
    pub role: Role,
    /// The directory is that of a primary: it did not run as a standby last.
    pub was_primary: bool,
    /// Its standby receives WAL at the moment, from whom `following` says: not still from the one before.
    pub streaming: bool,
    /// From whom it was told to receive it, if the shell told it.
    pub following: Option<Upstream>,
    /// `Role::Standby`: it receives from nobody else any more, and `position` is the end of all it has, not only of what
    /// it has replayed since it was started.
    pub turned: bool,
    /// `Role::Stopped`: the directory was half rewound. It must not be started, only be replaced by a clone.
    pub broken: bool,
    /// Where it is.
    pub position: Position,
    /// `Role::Primary`: how far each standby that streams from it has said to have flushed.
    pub standbys: BTreeMap<InstanceName, Lsn>,
    /// `Role::Primary`: how long after a flush here each of them said to have flushed the same, where that was measured lately.
    pub distances: BTreeMap<InstanceName, Duration>,
    /// Which database it holds.
    pub system_id: Option<u64>,
    /// The gate is loaded and reads the lease file.
    pub gate_armed: bool,
    /// Whom it waits for at a commit; none if somebody else has set something else.
    pub waits: Option<Waits>,
    /// Parameters that were changed and wait for a restart.
    pub pending_restart: Vec<String>,
    /// `Role::Refused`: why the directory cannot be used.
    pub trouble: String,
    /// What an operator should know though it stands in nothing's way: of WAL that is kept for an absent standby.
    pub warning: String,
}

impl Default for Observation {
    fn default() -> Self {
        Observation {
            at: Time::ZERO,
            role: Role::Preparing,
            was_primary: false,
            broken: false,
            streaming: false,
            following: None,
            turned: false,
            position: Position::default(),
            standbys: BTreeMap::new(),
            distances: BTreeMap::new(),
            system_id: None,
            gate_armed: false,
            waits: Some(Waits::default()),
            pending_restart: Vec::new(),
            trouble: String::new(),
            warning: String::new(),
        }
    }
}

/// Where a standby gets its WAL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Upstream {
    /// The instance.
    pub instance: InstanceName,
    /// Its registered address, `host:port`.
    pub address: String,
}

/// What follows when a rewind fails for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRewindFailure {
    /// The whole is copied; what was there is moved aside when the copy is whole.
    #[default]
    Clone,
    /// Nothing, until a person has looked.
    Halt,
}

/// Something to do with Postgres. The shell reports its end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// Make a new, empty database.
    Initialise,
    /// Copy the whole of another instance; what was there is moved aside.
    Clone(Upstream),
    /// Keep what this instance alone has of the log, before a rewind to the other removes it.
    Keep {
        /// The other.
        from: Upstream,
        /// Since when that one is primary: the change that leaves behind what is found.
        epoch: Epoch,
    },
    /// Undo what the other instance does not have, and become like it.
    Rewind(Upstream),
    /// Start what was a primary, as a primary.
    StartPrimary,
    /// Start as a standby, of that one if somebody is known.
    StartStandby(Option<Upstream>),
    /// Leave recovery.
    Promote {
        /// The timeline to go on with; none: the one that Postgres chooses.
        timeline: Option<u32>,
    },
    /// Let commits wait for these from now on, and no others.
    Synchronise(Waits),
    /// Receive from another instance.
    Follow(Upstream),
    /// Write what is dirty to disk, while everything goes on.
    Checkpoint {
        /// For so long at most.
        within: Duration,
    },
    /// Stop at once, without a checkpoint.
    StopImmediately,
    /// Stop after everything was sent to the standbys.
    StopCleanly,
    /// The same, for somebody who is to follow: first the streams of these are ended, so that they are not waited for.
    StopFor {
        /// Whose.
        without: BTreeSet<InstanceName>,
    },
}

#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Postgres {
    pub seen: Observation,
    /// Whether it was looked at at all since the agent started.
    pub known: bool,
    task: Option<Task>,
    /// When it was begun.
    begun: Time,
    /// How long the last start took.
    started_in: Option<Duration>,
    failures: u32,
    /// How many rewinds have failed in a row, whatever was done between.
    rewinds: u32,
    retry_at: Time,
    stray_since: Option<Time>,
    streams_since: Option<Time>,
    /// Whom it has received from for long enough to be surely able to, and since which epoch that one had been primary
    /// then: primary again after another, it may have left behind what is here.
    settled: Option<(Upstream, Epoch)>,
    /// A standby that could not follow: to be rewound.
    strayed: bool,
    /// How it fares with receiving through another standby.
    pub cascade: Cascade,
    rewind_failed: bool,
    /// How much of the copy that is made is there, in percent.
    copied: Option<u8>,
    /// Against whom, since which epoch primary, it was looked since Postgres stopped for what only this instance has.
    kept: Option<(Upstream, Epoch)>,
    /// Made like another since it ran last: to be started as a standby, whatever it was before.
    rewound: bool,
    /// Who has everything that is here, by its own word, since Postgres stopped for it.
    handed_to: Option<InstanceName>,
    trouble: String,
}

impl Postgres {
    /// How long the last start took that was seen.
    pub fn started_in(&self) -> Option<Duration> {
        self.started_in
    }

    /// Whether a checkpoint is under way.
    pub fn makes_checkpoint(&self) -> bool {
        matches!(self.task, Some(Task::Checkpoint { .. }))
    }

    /// Whether it is being stopped for a planned change.
    pub fn stops(&self) -> bool {
        matches!(self.task, Some(Task::StopFor { .. }))
    }

    /// That one has said that it has everything that is here.
    pub fn hand_to(&mut self, successor: Option<InstanceName>) {
        self.handed_to = successor;
    }

    /// Whether that one, as the primary, left nothing behind that is here: there is nothing to keep and to rewind. Should it
    /// have lost it meanwhile, this one cannot follow, which is noticed as with any standby.
    fn handed(&self, primary: &Upstream) -> bool {
        self.handed_to.as_ref() == Some(&primary.instance)
    }
}

impl Agent {
    pub(super) fn observed(&mut self, seen: Observation, now: Time, out: &mut Vec<Effect>) {
        if seen.role == Role::Stopped {
            self.exited(now, out); // seen before it was told
        }
        self.postgres.rewound &= seen.role == Role::Stopped;
        self.postgres.kept.take_if(|_| seen.role != Role::Stopped);
        self.postgres.handed_to.take_if(|_| seen.role != Role::Stopped);
        let was = std::mem::replace(&mut self.postgres.seen, seen).role;
        let known = std::mem::replace(&mut self.postgres.known, true);
        if self.postgres.seen.role == Role::Primary && was != Role::Primary {
            self.report_at = now;
            if let Some(epoch) = self.office().filter(|_| known) {
                out.push(Effect::Note(Note::Promoted(epoch)));
            }
        }
        self.watch_streaming(now, out);
        self.watch_standbys(now);
        self.hasten_report(now);
    }

    fn watch_streaming(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.watch_cascade(now);
        let seen = &self.postgres.seen;
        let upstream = self.upstream();
        let follows = seen.following.is_some() && seen.following == upstream;
        if seen.role != Role::Standby || seen.streaming || !follows {
            self.postgres.stray_since = None;
        } else {
            self.postgres.stray_since.get_or_insert(now);
        }
        if seen.role != Role::Standby || !seen.streaming || !follows {
            self.postgres.streams_since = None;
        } else if now >= *self.postgres.streams_since.get_or_insert(now) + SETTLED {
            self.postgres.settled = self.settles_on();
            self.postgres.cascade.works();
        }
        let seen = &self.postgres.seen;
        if seen.role == Role::Standby && seen.streaming && follows {
            self.postgres.strayed = false;
            self.postgres.failures = 0;
            self.postgres.rewinds = 0;
            self.postgres.trouble.clear();
            // Through another standby it is not known from here how far that one follows: its own reports say so.
            let epoch = if self.through().is_some() { Epoch(1) } else { self.durable.seen() };
            if self.durable.followed < epoch {
                self.durable.followed = epoch;
                out.push(self.persist());
            }
        }
    }

    pub(super) fn exited(&mut self, now: Time, out: &mut Vec<Effect>) {
        let was = self.postgres.seen.role;
        if !matches!(was, Role::Primary | Role::Standby) {
            return;
        }
        self.postgres.seen.role = Role::Stopped;
        self.postgres.seen.was_primary = was == Role::Primary;
        self.postgres.seen.streaming = false;
        self.postgres.seen.standbys.clear();
        if self.office().is_some() {
            self.office_since = now;
            // A stop that was asked for says itself how it went; any other end, also while handing over, is a death.
            if !self.postgres.stops() {
                self.release(None, Reason::PostgresDied, out);
            }
        }
    }

    pub(super) fn done(&mut self, task: Task, result: Result<(), String>, now: Time, out: &mut Vec<Effect>) {
        if matches!(task, Task::Checkpoint { .. }) && self.postgres.task.as_ref() != Some(&task) {
            return; // Postgres was stopped meanwhile
        }
        self.postgres.task = None;
        let handing_over = self.handing_over().is_some();
        match (&task, result) {
            (Task::Checkpoint { .. }, result) => self.checkpointed(result, now, out),
            (Task::StopFor { .. }, result) if handing_over => self.stopped(result, now, out),
            (_, result) => self.ended(task, result, now, out),
        }
    }

    fn ended(&mut self, task: Task, result: Result<(), String>, now: Time, out: &mut Vec<Effect>) {
        self.postgres.copied = None;
        match result {
            Ok(()) => {
                if matches!(task, Task::StartPrimary | Task::StartStandby(_)) {
                    self.postgres.started_in = Some(now.since(self.postgres.begun));
                }
                self.postgres.trouble.clear();
                match task {
                    Task::Rewind(_) | Task::Clone(_) => {
                        self.postgres.strayed = false;
                        self.postgres.rewind_failed = false;
                        self.postgres.rewinds = 0;
                        self.postgres.rewound = true;
                    }
                    Task::Keep { from, epoch } => self.postgres.kept = Some((from, epoch)),
                    Task::Follow(_) => self.postgres.stray_since = None,
                    _ => {}
                }
            }
            Err(why) => {
                out.push(Effect::Note(Note::Failed(task.clone(), why.clone())));
                self.postgres.trouble = why;
                self.postgres.retry_at = now + backoff(self.postgres.failures);
                // A process that the kernel does not let die says nothing of what can be done once it is gone.
                let counts = u32::from(task != Task::StopImmediately);
                self.postgres.failures = self.postgres.failures.saturating_add(counts);
                // A rewind that fails again and again is followed by a clone: not sooner, for a lost connection is no
                // reason to copy the whole. A standby tries to follow again instead: whom it should be like may be
                // dead, and it the only heir.
                let rewind = matches!(task, Task::Rewind(_));
                self.postgres.rewinds = self.postgres.rewinds.saturating_add(u32::from(rewind));
                self.postgres.rewind_failed = rewind && self.postgres.rewinds >= REWINDS;
                let copied = matches!(task, Task::Keep { .. } | Task::Rewind(_) | Task::Clone(_));
                self.postgres.strayed &= !copied || self.postgres.rewind_failed;
                if matches!(task, Task::Initialise | Task::StartPrimary | Task::Promote { .. }) {
                    self.release(None, Reason::PostgresDied, out);
                }
            }
        }
    }

    /// Whether this Postgres can be the primary of that decision: as a standby, or as the primary it continues.
    pub(super) fn fit(&self, decided: &super::Decided, now: Time) -> bool {
        let postgres = &self.postgres;
        if !postgres.known || self.foreign() || self.replaced() || now < postgres.retry_at {
            return false;
        }
        match postgres.seen.role {
            // One that stops to be restarted would have to start first.
            Role::Standby => !postgres.stops(),
            Role::Primary if self.hung() => false,
            Role::Stopped if !postgres.seen.was_primary => true,
            Role::Stopped | Role::Primary => {
                self.durable.acted >= decided.since || mutant::on(Mutant::InterruptedGoesOn)
            }
            // The very first primary makes the database; nobody after it may.
            Role::Preparing => self.blank_group() && postgres.task.is_none(),
            Role::Refused => false,
        }
    }

    /// A directory that is being replaced, or has to be, is nothing yet.
    fn replaced(&self) -> bool {
        self.postgres.seen.broken || matches!(self.postgres.task, Some(Task::Clone(_) | Task::Rewind(_)))
    }

    fn blank_group(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.system_id.is_none())
    }

    /// Whether it could take over at once.
    pub(super) fn ready(&self) -> bool {
        let standby = self.postgres.seen.role == Role::Standby && self.durable.followed.0 > 0;
        standby && !self.foreign() && !self.replaced() && !self.postgres.stops()
    }

    /// Whether the directory holds another database than the group's.
    pub(super) fn foreign(&self) -> bool {
        let group = self.group.as_ref().and_then(|group| group.system_id);
        matches!((group, self.postgres.seen.system_id), (Some(group), Some(here)) if group != here)
    }

    pub(super) fn trouble(&self) -> String {
        if self.foreign() {
            let here = self.postgres.seen.system_id.unwrap_or_default();
            let group = self.group.as_ref().and_then(|group| group.system_id).unwrap_or_default();
            return format!(
                "the data directory holds another database: expected system identifier {group}, got {here}; \
                 it is left untouched: point data_dir elsewhere, or move it aside"
            );
        }
        if self.halted() {
            let why = match self.postgres.trouble.as_str() {
                "" => "it was half rewound before",
                why => why,
            };
            return format!(
                "halted, as on_rewind_failure says; start the agent with on_rewind_failure = \"clone\" to have it cloned and \
                 what is there moved aside. It cannot be rewound: {why}"
            );
        }
        let trouble = if self.postgres.seen.trouble.is_empty() {
            &self.postgres.trouble
        } else {
            &self.postgres.seen.trouble
        };
        let gathering = self.gathering_trouble();
        let trouble = if gathering.is_empty() { trouble } else { &gathering };
        self.pulse_trouble(trouble).unwrap_or_else(|| trouble.clone())
    }

    /// The decided primary, when it is another.
    pub(super) fn primary(&self) -> Option<Upstream> {
        let decided = self.durable.decided.as_ref().filter(|decided| decided.primary != self.me.instance)?;
        self.located(&decided.primary)
    }

    /// An instance, and where it is.
    pub(super) fn located(&self, instance: &InstanceName) -> Option<Upstream> {
        let address = self.group.as_ref()?.instances.get(instance)?.address.clone();
        Some(Upstream { instance: instance.clone(), address })
    }

    /// From whom this instance should receive: the standby that it shall receive through, if that works, else the primary.
    pub(super) fn upstream(&self) -> Option<Upstream> {
        self.cascades_from().or_else(|| self.primary())
    }

    /// Whom to copy: the standby that it shall receive through; else one of this region that is in the succession, for it
    /// streams, before a primary that may be an ocean away; after a failure the primary, then that one again.
    pub(super) fn nearest(&self, primary: Upstream) -> Upstream {
        let again = self.postgres.failures.is_multiple_of(2);
        if let Some(wished) = self.wished_upstream().filter(|_| again) {
            return wished;
        }
        let Some(group) = self.group.as_ref().filter(|_| again) else {
            return primary;
        };
        let here = |name: &InstanceName| {
            let at = group.instances.get(name).filter(|at| at.region == self.me.at.region)?;
            Some(Upstream { instance: name.clone(), address: at.address.clone() })
        };
        let others = group.succession.iter().filter(|name| **name != self.me.instance);
        let near = here(&primary.instance).or_else(|| others.into_iter().find_map(here));
        near.unwrap_or(primary)
    }

    pub(super) fn copied(&mut self, percent: u8) {
        if matches!(self.postgres.task, Some(Task::Clone(_))) {
            self.postgres.copied = Some(percent);
        }
    }

    pub(super) fn progress(&self) -> String {
        match (&self.postgres.task, self.postgres.copied) {
            (Some(Task::Clone(from)), Some(percent)) => format!("cloning {}: {percent} %", from.instance),
            (Some(Task::Clone(from)), None) => format!("cloning {}", from.instance),
            _ => String::new(),
        }
    }

    /// Begins the next task, if one is due.
    pub(super) fn drive(&mut self, now: Time, out: &mut Vec<Effect>) {
        // Until it has heard of its group it cannot tell whether the directory holds the group's database.
        let usable = self.group.is_some() && !self.foreign();
        let Some((task, why)) = self.next_task(now).filter(|_| self.postgres.known && usable) else { return };
        // Nothing is begun beside another task; but fencing does not wait for a checkpoint.
        let waits =
            |running: &Task| !matches!((running, &task), (Task::Checkpoint { .. }, Task::StopImmediately));
        if self.postgres.task.as_ref().is_some_and(waits) {
            return;
        }
        // Fencing never waits for a task that failed before.
        if now < self.postgres.retry_at && task != Task::StopImmediately {
            return;
        }
        if task == Task::StopCleanly {
            self.postgres.strayed = true;
        }
        (self.postgres.task, self.postgres.begun) = (Some(task.clone()), now);
        out.push(Effect::Note(Note::Begins(task.clone(), why)));
        out.push(Effect::Start(task));
    }

    /// The table: what is decided, what is seen, what to do, and why.
    fn next_task(&self, now: Time) -> Option<(Task, &'static str)> {
        let seen = &self.postgres.seen;
        if seen.role == Role::Primary && !seen.gate_armed {
            return Some((Task::StopImmediately, "its gate is not armed"));
        }
        if self.hung() {
            return Some((Task::StopImmediately, "commits nothing any more"));
        }
        if let Some(office) = self.office() {
            let leased = self.leased(now) || mutant::on(Mutant::PromotesWithoutLease);
            return match seen.role {
                // Not while commits are held: nothing is acknowledged then, and the stop shall not have to wait.
                Role::Primary if !self.waits_as_it_must() && !self.holds_commits() => {
                    Some((Task::Synchronise(self.must_wait_for()), "whom commits wait for has changed"))
                }
                Role::Primary => self.task_of_hand_over(now),
                Role::Standby if leased => self.task_of_heir(office, now),
                Role::Stopped if seen.broken || self.rests() => None,
                Role::Stopped if leased && seen.was_primary => Some((Task::StartPrimary, "is the primary")),
                Role::Stopped if leased => Some((Task::StartStandby(None), "is to be promoted")),
                Role::Preparing if leased && self.blank_group() => {
                    Some((Task::Initialise, "is the first primary"))
                }
                _ => None,
            };
        }
        let Some(primary) = self.primary() else { return self.named_anew() };
        match seen.role {
            Role::Primary => Some((Task::StopImmediately, "another is primary")),
            // Until the first primary has made its database there is nothing to copy.
            Role::Preparing if self.blank_group() => None,
            Role::Preparing if self.heir_may_lack() => None,
            Role::Preparing => Some((Task::Clone(self.source(primary)), "has no data yet")),
            Role::Stopped if self.halted() => None,
            Role::Stopped if self.heir_may_lack() && seen.broken => None,
            Role::Stopped if self.heir_may_lack() => {
                Some((Task::StartStandby(Some(primary)), "shows the heir what it has"))
            }
            Role::Stopped if self.not_rewindable() => {
                Some((Task::Clone(self.source(primary)), "could not be rewound"))
            }
            Role::Stopped
                if seen.was_primary && !self.postgres.rewound && !self.postgres.handed(&primary) =>
            {
                Some(self.rewind(primary, "was primary before"))
            }
            Role::Stopped if self.postgres.strayed => Some(self.rewind(primary, "could not follow")),
            Role::Stopped => Some((Task::StartStandby(self.upstream()), "is a standby")),
            Role::Standby if seen.following != self.upstream() => self.follow(primary),
            Role::Standby if self.stops_to_restart() => {
                Some((Task::StopFor { without: BTreeSet::new() }, "to be restarted"))
            }
            Role::Standby if self.stray(now) => Some((Task::StopCleanly, "cannot follow: to be rewound")),
            Role::Standby | Role::Refused => None,
        }
    }

    fn follow(&self, primary: Upstream) -> Option<(Task, &'static str)> {
        let upstream = self.upstream()?;
        let why = match &self.postgres.seen.following {
            _ if upstream != primary => "receives through another standby",
            Some(before) if self.wished_upstream().as_ref() == Some(before) => {
                "receives no more through another"
            }
            _ => "follows the new primary",
        };
        Some((Task::Follow(upstream), why))
    }

    fn not_rewindable(&self) -> bool {
        self.postgres.rewind_failed || self.postgres.seen.broken
    }

    /// Whether a person has to look before anything more is done to the directory.
    fn halted(&self) -> bool {
        let wanted = self.on_rewind_failure == OnRewindFailure::Halt;
        wanted && self.postgres.seen.role == Role::Stopped && self.not_rewindable()
    }

    /// Nothing is rewound before what only this instance has is kept, and known durably.
    fn rewind(&self, to: Upstream, why: &'static str) -> (Task, &'static str) {
        match self.of_epoch(Some(to.clone())).filter(|on| self.postgres.kept.as_ref() != Some(on)) {
            Some((from, epoch)) if !mutant::on(Mutant::RewoundUnkept) => (Task::Keep { from, epoch }, why),
            _ => (Task::Rewind(to), why),
        }
    }

    /// Decided to be primary again, though another may have been in between: what this Postgres wrote before may not
    /// be gone on with on its own timeline. It becomes a standby of nobody, fit to be promoted onto a new one.
    fn named_anew(&self) -> Option<(Task, &'static str)> {
        let mine =
            |decided: &&super::Decided| decided.primary == self.me.instance && self.may_act(decided.epoch);
        let decided = self.durable.decided.as_ref().filter(mine)?;
        let interrupted = self.durable.acted < decided.since;
        match self.postgres.seen.role {
            Role::Primary if interrupted => Some((Task::StopImmediately, "is primary anew")),
            Role::Stopped if interrupted && self.postgres.seen.was_primary => {
                Some((Task::StartStandby(None), "is to be promoted anew"))
            }
            _ => None,
        }
    }

    /// The upstream, as the one that it is now.
    fn settles_on(&self) -> Option<(Upstream, Epoch)> {
        self.of_epoch(self.upstream())
    }

    fn of_epoch(&self, from: Option<Upstream>) -> Option<(Upstream, Epoch)> {
        Some((from?, self.durable.decided.as_ref()?.since))
    }

    fn stray(&self, now: Time) -> bool {
        // Twice as patient after every failure: a primary that is merely away must not cost a standby its reads.
        // One that still has to gather what others have cannot be followed by who has more.
        let new = self.postgres.settled != self.settles_on() && !self.heir_may_lack();
        let patience = if new { STRAY_PATIENCE } else { LOST_PATIENCE };
        let patience = patience * (1 << self.postgres.failures.min(6));
        self.postgres.stray_since.is_some_and(|since| now >= since + patience)
    }
}

fn backoff(failures: u32) -> Duration {
    (RETRY.0 * (1 << failures.min(6))).min(RETRY.1)
}
