//! A state of the world: three instances with their agents, a few nodes with their witnesses, the log, the letters on
//! their way, and what was said. Its parts are shared between states.

use crate::configuration::Config;
use crate::kept::{Kept, Known};
use crate::mail::Mail;
use crate::oath::Oath;
use crate::postgres::Postgres;
use regent_core::agent::Agent;
use regent_core::ids::Epoch;
use regent_core::state::{Group, State};
use regent_core::time::Time;
use regent_core::vote::Certificate;
use regent_core::witness::Witness;
use regent_core::{agent, witness};
use std::hash::{Hash, Hasher};

/// A node: its witness, what that made durable, and how much of the log it has applied.
#[derive(Clone, Hash, Debug)]
pub struct Node {
    /// Its witness.
    pub witness: Witness,
    /// What is on its disk.
    pub durable: Option<witness::Durable>,
    /// Which state of the log it has applied last.
    pub applied: usize,
}

/// An instance: its agent, what that made durable, its Postgres, its gate.
#[derive(Clone, Hash, Debug)]
pub struct Host {
    /// Its agent.
    pub agent: Agent,
    /// What is on its disk.
    pub durable: Option<agent::Durable>,
    /// Its Postgres.
    pub postgres: Postgres,
    /// The lease file, which outlives the agent: the epoch and the end.
    pub gate: Option<(Epoch, Time)>,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Faults {
    /// A node is killed and comes back at once, with what it had made durable.
    pub node_restarts: u8,
    /// The same for an agent; Postgres and the gate go on.
    pub agent_restarts: u8,
    /// A primary's Postgres dies.
    pub deaths: u8,
    /// A primary is asked to hand over.
    pub hand_overs: u8,
}

/// A state of the world.
#[derive(Clone, Debug)]
pub struct World {
    /// Real time since the beginning, in nanoseconds.
    pub now: u64,
    /// Which of the configuration's clocks run in this history.
    pub clocks: usize,
    /// The nodes.
    pub nodes: Vec<Kept<Node>>,
    /// The instances.
    pub hosts: Vec<Kept<Host>>,
    /// The replicated state after each entry of the log.
    pub log: Kept<Vec<State>>,
    /// The decisions that somebody holds: what a leader, or one who thinks it is, can propose to record.
    pub certificates: Kept<Vec<Certificate>>,
    /// What is on its way.
    pub mail: Kept<Mail>,
    /// What was said and done.
    pub oath: Kept<Oath>,
    /// What may still go wrong.
    pub faults: Faults,
}

impl World {
    /// The group as the log has it after its last entry.
    pub fn group(&self) -> &Group {
        let state = self.log.last().expect("a log is never empty");
        state.groups.values().next().expect("one group")
    }

    /// How many ticks have passed.
    pub fn ticks(&self, config: &Config) -> u64 {
        self.now / config.tick
    }

    /// Hashes again what an action has changed.
    pub fn seal(&mut self, parts: &Parts) {
        self.nodes.iter_mut().for_each(|node| node.seal(&parts.nodes));
        self.hosts.iter_mut().for_each(|host| host.seal(&parts.hosts));
        self.log.seal(&parts.logs);
        self.certificates.seal(&parts.certificates);
        self.mail.seal(&parts.mails);
        self.oath.seal(&parts.oaths);
    }
}

/// All parts that states were ever made of.
#[derive(Debug, Default)]
pub struct Parts {
    nodes: Known<Node>,
    hosts: Known<Host>,
    logs: Known<Vec<State>>,
    certificates: Known<Vec<Certificate>>,
    mails: Known<Mail>,
    oaths: Known<Oath>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.now, self.clocks, self.faults).hash(hasher);
        self.nodes.iter().for_each(|node| hasher.write_u64(node.hash()));
        self.hosts.iter().for_each(|host| hasher.write_u64(host.hash()));
        for hash in [self.log.hash(), self.certificates.hash(), self.mail.hash(), self.oath.hash()] {
            hasher.write_u64(hash);
        }
    }
}

impl PartialEq for World {
    fn eq(&self, other: &World) -> bool {
        crate::kept::hash_of(self) == crate::kept::hash_of(other)
    }
}
