//! A Postgres that does at once what it is told, and never fails: what an agent does with a bad one is not checked here.

use crate::words::instance;
use regent_core::agent::{Observation, Task, Upstream, Waits};
use regent_core::ids::{Epoch, InstanceName, Lsn, Position};
use regent_core::message::Role;
use regent_core::time::Time;
use std::collections::BTreeMap;

/// The most instances of any configuration.
const MOST: usize = 3;

/// One Postgres.
#[derive(Clone, Hash, Debug)]
pub struct Postgres {
    role: Role,
    was_primary: bool,
    following: Option<Upstream>,
    /// The epoch under which it last became primary by promotion.
    pub stint: Epoch,
}

impl Postgres {
    /// A standby that has everything, and follows nobody yet.
    pub fn new() -> Postgres {
        Postgres { role: Role::Standby, was_primary: false, following: None, stint: Epoch(0) }
    }

    /// What its agent sees.
    pub fn observe(&self) -> Observation {
        Observation {
            at: Time::ZERO,
            role: self.role,
            was_primary: self.was_primary,
            streaming: self.role == Role::Standby && self.following.is_some(),
            following: self.following.clone(),
            turned: self.role == Role::Standby && self.following.is_some(),
            broken: false,
            position: Position::default(),
            standbys: self.standbys(),
            distances: BTreeMap::new(),
            system_id: Some(7),
            gate_armed: true,
            waits: Some(Waits::default()),
            pending_restart: Vec::new(),
            trouble: String::new(),
            warning: String::new(),
        }
    }

    /// All others have everything: whether a switchover may go on is not checked here.
    fn standbys(&self) -> BTreeMap<InstanceName, Lsn> {
        let others = (0..MOST).map(|at| (instance(at), Lsn(0)));
        if self.role == Role::Primary { others.collect() } else { BTreeMap::new() }
    }

    /// It ends, for whatever reason.
    pub fn stop(&mut self) {
        self.was_primary = self.role == Role::Primary;
        self.role = Role::Stopped;
        self.following = None;
    }

    /// Does what it is told, in the office of that epoch.
    pub fn does(&mut self, task: &Task, office: Epoch) {
        match task {
            Task::Promote { .. } => {
                (self.role, self.following, self.stint) = (Role::Primary, None, office);
            }
            Task::Initialise | Task::Clone(_) | Task::Rewind(_) => {
                (self.role, self.was_primary, self.following) = (Role::Stopped, false, None);
            }
            Task::Keep { .. } => {}
            Task::StartPrimary => self.role = Role::Primary,
            Task::StartStandby(upstream) => {
                (self.role, self.following) = (Role::Standby, upstream.clone());
            }
            // All that is checked here is `async`, where nobody is waited for.
            Task::Synchronise(_) => {}
            Task::Follow(upstream) => self.following = Some(upstream.clone()),
            Task::Checkpoint { .. } => {}
            Task::StopImmediately | Task::StopCleanly | Task::StopFor { .. } => self.stop(),
        }
    }
}
