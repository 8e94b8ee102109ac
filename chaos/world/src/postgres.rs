//! A model of one Postgres: roles, timelines with their ancestry, what is received, flushed and replayed, how long
//! things take, and what can befall it.

use crate::clock::MS;
use crate::invariants::HostId;
use regent_core::agent::{Observation, Task, Upstream, Waits};
use regent_core::bound::Bound;
use regent_core::ids::{Epoch, InstanceName, Lsn, Position};
use regent_core::message::Role;
use regent_core::time::Time;
use std::collections::BTreeMap;

/// One timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its number; two instances may make the same.
    pub timeline: u32,
    /// Where it began.
    pub start: u64,
    /// The epoch that made it.
    pub epoch: Epoch,
}

/// WAL on its way to a standby.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// When it arrives.
    pub at: u64,
    /// The end of what is shipped.
    pub lsn: u64,
}

/// One Postgres.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// What it is doing.
    pub role: Role,
    /// It did not run as a standby last.
    pub was_primary: bool,
    /// Whom it was told to receive from.
    pub following: Option<(Upstream, HostId)>,
    /// Whether it receives.
    pub streaming: bool,
    /// What is on its way to it.
    pub shipped: Option<Shipped>,
    /// Its timelines.
    pub history: Vec<Branch>,
    /// Its end of WAL, received or written.
    pub lsn: u64,
    /// Its end of WAL on disk.
    pub flushed: u64,
    /// Its database.
    pub system_id: Option<u64>,
    /// Grows whenever it stops: a session does not outlive it.
    pub life: u64,
    /// The epoch under which it last became primary by promotion or initialisation.
    pub stint: Epoch,
    /// Whom it waits for at a commit.
    pub waits: Waits,
    /// How far each standby that receives from it has said to have flushed, in this life.
    pub said: BTreeMap<InstanceName, u64>,
    /// What it acknowledged when, as its gate remembers, in this life.
    pub bound: Bound,
    /// The task under way, by number.
    pub task: Option<(Task, u64)>,
    /// What it was before the directory began to be replaced.
    pub role_before: Option<Role>,
    /// Whether the next task fails.
    pub broken: bool,
    /// It neither works nor answers, and does not die.
    pub hung: bool,
    /// Its disk takes nothing.
    pub disk_stuck: bool,
    /// What it is sent does not come.
    pub deaf: bool,
    /// It dies soon after every start.
    pub crash_loop: bool,
    /// How long a commit takes.
    pub commit_takes: u64,
}

impl Postgres {
    /// An empty directory.
    pub fn new() -> Postgres {
        Postgres {
            role: Role::Preparing,
            was_primary: false,
            following: None,
            streaming: false,
            shipped: None,
            history: Vec::new(),
            lsn: 0,
            flushed: 0,
            system_id: None,
            life: 1,
            stint: Epoch(0),
            waits: Waits::default(),
            said: BTreeMap::new(),
            bound: Bound::default(),
            task: None,
            role_before: None,
            broken: false,
            hung: false,
            disk_stuck: false,
            deaf: false,
            crash_loop: false,
            commit_takes: MS,
        }
    }

    /// Its timeline's number.
    pub fn timeline(&self) -> u32 {
        self.history.last().map_or(0, |branch| branch.timeline)
    }

    /// What its agent sees at that moment of its clock.
    pub fn observe(&self, at: Time) -> Observation {
        let (end, flushed) = (Lsn(self.lsn), Lsn(self.flushed));
        Observation {
            at,
            role: self.role,
            was_primary: self.was_primary,
            broken: false,
            streaming: self.streaming,
            following: self.following.as_ref().map(|(upstream, _)| upstream.clone()),
            turned: self.role == Role::Standby,
            position: Position { timeline: self.timeline(), received: end, flushed, replayed: flushed },
            standbys: self.said.iter().map(|(name, said)| (name.clone(), Lsn(*said))).collect(),
            distances: BTreeMap::new(), // whoever confirms already goes on
            system_id: self.system_id,
            gate_armed: true,
            waits: Some(self.waits.clone()),
            pending_restart: Vec::new(),
            trouble: String::new(),
            warning: String::new(),
        }
    }

    /// A directory that could not be replaced is as it was.
    pub fn give_up_replacing(&mut self, failed: bool) {
        if let Some(before) = self.role_before.take().filter(|_| failed) {
            self.role = before;
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        matches!(self.role, Role::Primary | Role::Standby)
    }

    /// It stops, for whatever reason. What was not on disk is gone.
    pub fn stop(&mut self) {
        if self.runs() {
            self.was_primary = self.role == Role::Primary;
            self.role = Role::Stopped;
            self.lsn = self.flushed;
        }
        self.life += 1;
        self.said.clear();
        self.bound = Bound::default();
        self.streaming = false;
        self.shipped = None;
        self.hung = false;
    }

    /// Time for its disk.
    pub fn flush(&mut self) {
        if !self.disk_stuck && !self.hung {
            self.flushed = self.lsn;
        }
    }

    /// Whether it could receive from `upstream`: what it has is a part of what that one has.
    pub fn agrees_with(&self, upstream: &Postgres) -> bool {
        let Some(last) = self.history.last() else { return false };
        let Some(at) = upstream.history.iter().position(|branch| branch == last) else { return false };
        let end = upstream.history.get(at + 1).map_or(upstream.lsn, |next| next.start);
        self.system_id == upstream.system_id && self.lsn <= end
    }

    /// Has all that `upstream` has.
    pub fn catch_up(&mut self, upstream: &Postgres) {
        self.receive(upstream, upstream.lsn);
        self.flushed = self.lsn;
    }

    /// Has what `upstream` has up to `end`, which lies on one of its timelines.
    pub fn receive(&mut self, upstream: &Postgres, end: u64) {
        self.history = upstream.history_to(end);
        self.lsn = end;
        self.system_id = upstream.system_id;
    }

    /// Its timelines, as far as they begin before `end`.
    pub fn history_to(&self, end: u64) -> Vec<Branch> {
        self.history.iter().take_while(|branch| branch.start <= end).copied().collect()
    }

    /// A task has run its time. `source` is who is cloned or rewound from, if it can be reached and runs.
    pub fn finish(
        &mut self,
        task: &Task,
        source: Option<Postgres>,
        upstream: Option<(Upstream, HostId)>,
        office: Epoch,
    ) -> Result<(), String> {
        if std::mem::take(&mut self.broken) {
            return Err("broken by the script".to_owned());
        }
        match task {
            Task::Initialise => {
                self.system_id = Some(7_000 + office.0);
                self.history = vec![Branch { timeline: 1, start: 0, epoch: office }];
                self.stint = office;
                (self.role, self.was_primary) = (Role::Stopped, true);
            }
            Task::Clone(_) | Task::Rewind(_) => {
                let source = source.ok_or("the primary cannot be reached")?;
                self.catch_up(&source);
                (self.role, self.was_primary) = (Role::Stopped, false);
            }
            Task::Keep { .. } => {
                source.ok_or("the primary cannot be reached")?;
            }
            Task::StartPrimary => self.role = Role::Primary,
            Task::StartStandby(_) => {
                self.role = Role::Standby;
                self.following = upstream;
            }
            Task::Promote { timeline } => {
                if self.role != Role::Standby {
                    return Err("not in recovery".to_owned());
                }
                self.flushed = self.lsn;
                let next = timeline.unwrap_or(self.timeline() + 1);
                let branch = Branch { timeline: next, start: self.lsn, epoch: office };
                self.history.push(branch);
                self.stint = office;
                (self.role, self.streaming, self.following) = (Role::Primary, false, None);
                self.shipped = None;
            }
            Task::Synchronise(waits) => self.waits = waits.clone(),
            Task::Follow(_) => {
                self.following = upstream;
                self.streaming = false; // what it receives from now on is from another
                self.shipped = None;
            }
            Task::Checkpoint { .. } => self.lsn += 100, // its own record
            // A process that waits for its disk does not die.
            Task::StopImmediately if self.disk_stuck && self.runs() => {
                return Err("its processes do not die".to_owned());
            }
            Task::StopImmediately | Task::StopCleanly | Task::StopFor { .. } => self.stop(),
        }
        Ok(())
    }
}

/// How long a task takes.
pub fn duration(task: &Task) -> u64 {
    MS * match task {
        Task::Initialise => 300,
        Task::Clone(_) => 400,
        Task::Keep { .. } => 50,
        Task::Rewind(_) => 200,
        Task::StartPrimary | Task::StartStandby(_) => 100,
        Task::Promote { .. } => 60,
        Task::Follow(_) => 20,
        Task::Checkpoint { .. } => 30,
        Task::Synchronise(_) => 10,
        Task::StopImmediately => 10,
        Task::StopCleanly | Task::StopFor { .. } => 50,
    }
}
