//! A small world in virtual time around the real core: nodes, agents, model Postgres servers, links, a model log.
//! One thread, one queue, no chance: the same script gives the same transcript, byte for byte.

mod checks;
mod clock;
mod host;
mod links;
mod node;
mod postgres;
mod process;
mod raft;
mod script;
mod words;

pub use script::play;

use checks::Checks;
use clock::{Clock, MS};
use host::Host;
use links::Links;
use node::Node;
use process::FLUSH;
use raft::Raft;
use regent_core::agent::{self, Task};
use regent_core::command::Command;
use regent_core::ids::{GroupName, InstanceName, NodeId};
use regent_core::message::{ToAgent, ToNode, ToWitness};
use regent_core::time::Time;
use regent_core::witness;
use std::collections::{BTreeMap, VecDeque};

/// What reaches a process.
#[derive(Clone, Debug)]
pub enum Mail {
    ToWitness(ToWitness),
    ToAgent(NodeId, ToAgent),
    ToNode(ToNode),
    Applied(usize),
    Linked(NodeId),
    Unlinked(NodeId),
    /// Look at Postgres: what is seen is what is there when it is taken in.
    Observed,
    Exited,
    Done(Task, Result<(), String>),
    Wake,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proc {
    Node(NodeId),
    Host(InstanceName),
}

#[derive(Debug)]
pub enum Happening {
    Mail(Proc, Mail),
    Flushed(Proc, u64),
    Wake(Proc, u64, u64),
    Linked(InstanceName, NodeId),
    TaskEnds(InstanceName, u64),
    Lapse(InstanceName, Time),
    Commit(u64, Command),
    Plan,
    Look,
}

/// The stage.
pub struct Stage {
    now: u64,
    origin: u64,
    quiet: bool,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    tasks: u64,
    nodes: BTreeMap<NodeId, Node>,
    hosts: BTreeMap<InstanceName, Host>,
    links: Links,
    clocks: BTreeMap<String, Clock>,
    raft: Raft,
    checks: Checks,
    lines: Vec<String>,
}

impl Stage {
    fn new() -> Stage {
        let mut stage = Stage {
            now: 0,
            origin: 0,
            quiet: false,
            queue: BTreeMap::new(),
            queued: 0,
            tasks: 0,
            nodes: BTreeMap::new(),
            hosts: BTreeMap::new(),
            links: Links::default(),
            clocks: BTreeMap::new(),
            raft: Raft::new(),
            checks: Checks::default(),
            lines: Vec::new(),
        };
        stage.at(0, Happening::Plan);
        stage.at(0, Happening::Look);
        stage
    }

    fn at(&mut self, when: u64, what: Happening) {
        self.queued += 1;
        self.queue.insert((when.max(self.now), self.queued), what);
    }

    fn say(&mut self, text: &str) {
        if !self.quiet {
            let tenths = (self.now - self.origin) / (MS / 10);
            self.lines.push(format!("{:>7}.{} {text}", tenths / 10, tenths % 10));
        }
    }

    fn local(&self, id: NodeId) -> Time {
        self.nodes[&id].clock.read(self.now)
    }

    fn hosts_of(&self, group: &GroupName) -> Vec<InstanceName> {
        self.hosts.iter().filter(|(_, host)| host.me.group == *group).map(|(name, _)| name.clone()).collect()
    }

    fn send(&mut self, from: &str, to: &str, proc: Proc, mail: Mail) {
        if self.links.open(from, to) {
            self.at(self.now + self.links.delay(from, to), Happening::Mail(proc, mail));
        }
    }

    /// Lets time pass, until nothing is left that happens before.
    fn run(&mut self, span: u64) {
        let end = self.now + span;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((when, _), what) = entry.remove_entry();
            self.now = when;
            self.happens(what);
        }
        self.now = end;
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Mail(Proc::Host(who), mail) => self.mail_host(&who, mail),
            Happening::Mail(proc @ Proc::Node(id), mail) => {
                let process = &mut self.nodes.get_mut(&id).expect("a node of the stage").process;
                if process.up {
                    process.inbox.push_back(mail);
                    self.pump(&proc);
                }
            }
            Happening::Flushed(proc, life) => self.flushed(&proc, life),
            Happening::Wake(proc, life, at) => self.wakes(&proc, life, at),
            Happening::Linked(who, id) => self.linked(&who, id),
            Happening::TaskEnds(who, run) => self.task_ends(&who, run),
            Happening::Lapse(who, deadline) => self.lapse(&who, deadline),
            Happening::Commit(term, command) => self.commit(term, command),
            Happening::Plan => {
                self.raft_tick();
                self.at(self.now + raft::PLAN_EVERY, Happening::Plan);
            }
            Happening::Look => {
                self.look();
                self.at(self.now + host::LOOK_EVERY, Happening::Look);
            }
        }
    }

    /// Lets a process work on what it has to do and to take in, until it waits for a flush or for nothing.
    fn pump(&mut self, proc: &Proc) {
        match proc {
            Proc::Node(id) => self.pump_node(*id),
            Proc::Host(who) => self.pump_host(who),
        }
        self.plan_wake(proc);
    }

    fn pump_node(&mut self, id: NodeId) {
        loop {
            let now = self.now;
            let peer = self.nodes.get_mut(&id).expect("a node of the stage");
            if !peer.process.works() {
                return;
            }
            match peer.process.to_do.pop_front() {
                Some(effect @ witness::Effect::Persist(_)) => {
                    peer.process.to_do.push_front(effect);
                    peer.process.flushing = true;
                    let life = peer.process.life;
                    return self.at(now + FLUSH, Happening::Flushed(Proc::Node(id), life));
                }
                Some(effect) => self.node_acts(id, effect),
                None => {
                    let Some(mail) = peer.process.inbox.pop_front() else { return };
                    peer.stepped = now;
                    let effects = self.node_steps(id, mail);
                    self.nodes.get_mut(&id).expect("a node of the stage").process.to_do = effects.into();
                }
            }
        }
    }

    fn pump_host(&mut self, who: &InstanceName) {
        loop {
            let now = self.now;
            let process = &mut self.hosts.get_mut(who).expect("an instance of the stage").process;
            if !process.works() {
                return;
            }
            match process.to_do.pop_front() {
                Some(effect @ agent::Effect::Persist(_)) => {
                    process.to_do.push_front(effect);
                    process.flushing = true;
                    let life = process.life;
                    return self.at(now + FLUSH, Happening::Flushed(Proc::Host(who.clone()), life));
                }
                Some(effect) => self.host_acts(who, effect),
                None => {
                    let Some(mail) = process.inbox.pop_front() else { return };
                    let effects: VecDeque<_> = self.host_steps(who, mail).into();
                    self.hosts.get_mut(who).expect("an instance of the stage").process.to_do = effects;
                }
            }
        }
    }

    fn flushed(&mut self, proc: &Proc, life: u64) {
        match proc {
            Proc::Node(id) => {
                let process = &mut self.nodes.get_mut(id).expect("a node of the stage").process;
                if process.life == life
                    && let Some(effect) = process.to_do.pop_front()
                {
                    process.flushing = false;
                    self.node_acts(*id, effect);
                }
            }
            Proc::Host(who) => {
                let process = &mut self.hosts.get_mut(who).expect("an instance of the stage").process;
                if process.life == life
                    && let Some(effect) = process.to_do.pop_front()
                {
                    process.flushing = false;
                    self.host_acts(who, effect);
                }
            }
        }
        self.pump(proc);
    }

    fn wakes(&mut self, proc: &Proc, life: u64, at: u64) {
        let (now_life, wake, inbox) = match proc {
            Proc::Node(id) => {
                let process = &mut self.nodes.get_mut(id).expect("a node of the stage").process;
                (process.life, &mut process.wake, &mut process.inbox)
            }
            Proc::Host(who) => {
                let process = &mut self.hosts.get_mut(who).expect("an instance of the stage").process;
                (process.life, &mut process.wake, &mut process.inbox)
            }
        };
        if now_life == life && *wake == Some(at) {
            *wake = None;
            inbox.push_back(Mail::Wake);
            self.pump(proc);
        }
    }

    fn plan_wake(&mut self, proc: &Proc) {
        let (clock, due, process_up, life, wake): (Clock, Option<Time>, bool, u64, &mut Option<u64>) =
            match proc {
                Proc::Node(id) => {
                    let peer = self.nodes.get_mut(id).expect("a node of the stage");
                    let due = peer.witness.wake_at(peer.clock.read(self.now));
                    (peer.clock, due, peer.process.works(), peer.process.life, &mut peer.process.wake)
                }
                Proc::Host(who) => {
                    let host = self.hosts.get_mut(who).expect("an instance of the stage");
                    let due = Some(host.agent.wake_at());
                    (host.clock, due, host.process.works(), host.process.life, &mut host.process.wake)
                }
            };
        let Some(at) = due.filter(|_| process_up).map(|due| clock.when(due).max(self.now)) else { return };
        if *wake != Some(at) {
            *wake = Some(at);
            self.at(at, Happening::Wake(proc.clone(), life, at));
        }
    }
}
