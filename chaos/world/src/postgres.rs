//! A model of one Postgres: roles, timelines, and how long things take.

use super::clock::MS;
use regent_core::agent::{Observation, Task, Upstream};
use regent_core::ids::{Epoch, Lsn, Position};
use regent_core::message::Role;

/// One timeline: its number, where it began, and the epoch that made it (two instances may make one number).
type Branch = (u32, u64, Epoch);

/// One Postgres.
#[derive(Clone)]
pub struct Postgres {
    /// What it is doing.
    pub role: Role,
    /// It did not run as a standby last.
    pub was_primary: bool,
    /// Whom it was told to receive from.
    pub following: Option<Upstream>,
    /// Whether it receives.
    pub streaming: bool,
    /// Its timelines.
    pub history: Vec<Branch>,
    /// Its end of WAL.
    pub lsn: u64,
    /// Its database.
    pub system_id: Option<u64>,
    /// The epoch under which it last became primary by promotion or initialisation.
    pub stint: Epoch,
    /// The task under way, by number.
    pub task: Option<(Task, u64)>,
    /// What it was before the directory began to be replaced.
    pub role_before: Option<Role>,
    /// Whether the next task fails.
    pub broken: bool,
}

impl Postgres {
    /// An empty directory.
    pub fn new() -> Postgres {
        Postgres {
            role: Role::Preparing,
            was_primary: false,
            following: None,
            streaming: false,
            history: Vec::new(),
            lsn: 0,
            system_id: None,
            stint: Epoch(0),
            task: None,
            role_before: None,
            broken: false,
        }
    }

    /// What its agent sees.
    pub fn observe(&self) -> Observation {
        let at = Lsn(self.lsn);
        let timeline = self.history.last().map_or(0, |branch| branch.0);
        Observation {
            role: self.role,
            was_primary: self.was_primary,
            broken: false,
            streaming: self.streaming,
            following: self.following.clone(),
            position: Position { timeline, received: at, flushed: at, replayed: at },
            system_id: self.system_id,
            gate_armed: true,
            trouble: String::new(),
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

    /// It stops, for whatever reason.
    pub fn stop(&mut self) {
        if self.runs() {
            self.was_primary = self.role == Role::Primary;
            self.role = Role::Stopped;
        }
        self.streaming = false;
    }

    /// Whether it could receive from `upstream`: what it has is a part of what that one has.
    pub fn agrees_with(&self, upstream: &Postgres) -> bool {
        let Some(last) = self.history.last() else { return false };
        let Some(at) = upstream.history.iter().position(|branch| branch == last) else { return false };
        let end = upstream.history.get(at + 1).map_or(upstream.lsn, |next| next.1);
        self.system_id == upstream.system_id && self.lsn <= end
    }

    /// Has all that `upstream` has.
    pub fn catch_up(&mut self, upstream: &Postgres) {
        self.history = upstream.history.clone();
        self.lsn = upstream.lsn;
        self.system_id = upstream.system_id;
    }

    /// A task has run its time. `source` is who is cloned or rewound from, if it can be reached and runs.
    pub fn finish(&mut self, task: &Task, source: Option<Postgres>, office: Epoch) -> Result<(), String> {
        if std::mem::take(&mut self.broken) {
            return Err("broken by the script".to_owned());
        }
        match task {
            Task::Initialise => {
                self.system_id = Some(7_000 + office.0);
                self.history = vec![(1, 0, office)];
                self.stint = office;
                (self.role, self.was_primary) = (Role::Stopped, true);
            }
            Task::Clone(_) | Task::Rewind(_) => {
                let source = source.ok_or("the primary cannot be reached")?;
                self.catch_up(&source);
                (self.role, self.was_primary) = (Role::Stopped, false);
            }
            Task::StartPrimary => self.role = Role::Primary,
            Task::StartStandby(upstream) => {
                self.role = Role::Standby;
                self.following = upstream.clone();
            }
            Task::Promote => {
                if self.role != Role::Standby {
                    return Err("not in recovery".to_owned());
                }
                let timeline = self.history.last().map_or(0, |branch| branch.0) + 1;
                self.history.push((timeline, self.lsn, office));
                self.stint = office;
                (self.role, self.streaming, self.following) = (Role::Primary, false, None);
            }
            Task::Follow(upstream) => {
                self.following = Some(upstream.clone());
                self.streaming = false; // what it receives from now on is from another
            }
            Task::StopImmediately | Task::StopCleanly => self.stop(),
        }
        Ok(())
    }
}

/// How long a task takes.
pub fn duration(task: &Task) -> u64 {
    MS * match task {
        Task::Initialise => 300,
        Task::Clone(_) => 400,
        Task::Rewind(_) => 200,
        Task::StartPrimary | Task::StartStandby(_) => 100,
        Task::Promote => 60,
        Task::Follow(_) => 20,
        Task::StopImmediately => 10,
        Task::StopCleanly => 50,
    }
}
