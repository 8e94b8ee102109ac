//! What a node and an agent have in common: a loop that takes one message at a time, and does what the core says in
//! order, so that nothing after a `Persist` happens before it is durable.

use crate::world::Mail;
use std::collections::VecDeque;

/// How long a flush takes.
pub const FLUSH: u64 = crate::clock::MS;

/// A process and its inbox.
pub struct Process<E> {
    /// Whether it runs.
    pub up: bool,
    /// Whether it is stopped with SIGSTOP: messages wait.
    pub frozen: bool,
    /// Whether it waits for a flush.
    pub flushing: bool,
    /// Whether its disk takes nothing: a flush waits.
    pub disk_stuck: bool,
    /// Whether nothing kept it from its work when its queue was looked at last.
    pub went_on: bool,
    /// Which life of it this is.
    pub life: u64,
    /// What it has to take in.
    pub inbox: VecDeque<Mail>,
    /// What it still has to do about what it took in.
    pub to_do: VecDeque<E>,
    /// When it is woken next.
    pub wake: Option<u64>,
}

impl<E> Process<E> {
    /// One that runs.
    pub fn new() -> Self {
        Process {
            up: true,
            frozen: false,
            flushing: false,
            disk_stuck: false,
            went_on: false,
            life: 1,
            inbox: VecDeque::new(),
            to_do: VecDeque::new(),
            wake: None,
        }
    }

    /// SIGKILL: what was not done or flushed never will be. Returns what was being flushed.
    pub fn kill(&mut self) -> Option<E> {
        let unsynced = if self.flushing { self.to_do.pop_front() } else { None };
        *self = Process { up: false, life: self.life + 1, disk_stuck: self.disk_stuck, ..Process::new() };
        unsynced
    }

    /// Whether nothing keeps it from its work but work.
    pub fn goes_on(&self) -> bool {
        self.up && !self.frozen && !self.disk_stuck
    }

    /// Whether it goes on, and did when this was asked last, so that what waits for it must not grow: what has just been let
    /// go of has a backlog to take in.
    pub fn has_gone_on(&mut self) -> bool {
        let goes_on = self.goes_on();
        std::mem::replace(&mut self.went_on, goes_on) && goes_on
    }

    /// Whether it can take a step now.
    pub fn works(&self) -> bool {
        self.up && !self.frozen && !self.flushing
    }
}
