//! The loop of a process, as the shells have it: take one thing in, do what the core says in order, and nothing after a
//! `Persist` before it is durable.

use crate::clock::MS;
use crate::invariants::HostId;
use crate::process::FLUSH;
use crate::world::{Happening, Mail, NodeIndex, Proc, World};
use regent_core::agent;
use regent_core::witness;
use std::collections::VecDeque;

impl World {
    /// Lets a process work on what it has to do and to take in, until it waits for a flush or for nothing.
    pub(crate) fn pump(&mut self, proc: Proc) {
        match proc {
            Proc::Node(node) => self.pump_node(node),
            Proc::Host(who) => self.pump_host(who),
        }
        self.plan_wake(proc);
    }

    fn pump_node(&mut self, node: NodeIndex) {
        loop {
            let peer = &mut self.nodes[node];
            if !peer.process.works() {
                return;
            }
            match peer.process.to_do.pop_front() {
                Some(effect @ witness::Effect::Persist(_)) => {
                    peer.process.to_do.push_front(effect);
                    peer.process.flushing = true;
                    let life = peer.process.life;
                    return self.at(self.now + FLUSH, Happening::Flushed(Proc::Node(node), life));
                }
                Some(effect) => self.node_acts(node, effect),
                None => {
                    let Some(mail) = peer.process.inbox.pop_front() else { return };
                    peer.stepped = self.now;
                    let effects = self.node_steps(node, mail);
                    self.nodes[node].process.to_do = effects.into();
                }
            }
        }
    }

    fn pump_host(&mut self, who: HostId) {
        loop {
            let process = &mut self.hosts[who].process;
            if !process.works() {
                return;
            }
            match process.to_do.pop_front() {
                Some(effect @ agent::Effect::Persist(_)) => {
                    process.to_do.push_front(effect);
                    process.flushing = true;
                    let life = process.life;
                    return self.at(self.now + FLUSH, Happening::Flushed(Proc::Host(who), life));
                }
                Some(effect) => self.host_acts(who, effect),
                None => {
                    let Some(mail) = process.inbox.pop_front() else { return };
                    let effects: VecDeque<_> = self.host_steps(who, mail).into();
                    self.hosts[who].process.to_do = effects;
                }
            }
        }
    }

    pub(crate) fn flushed(&mut self, proc: Proc, life: u64) {
        let (now_life, stuck) = match proc {
            Proc::Node(node) => (self.nodes[node].process.life, self.nodes[node].process.disk_stuck),
            Proc::Host(who) => (self.hosts[who].process.life, self.hosts[who].process.disk_stuck),
        };
        if now_life != life {
            return;
        }
        if stuck {
            return self.at(self.now + 20 * MS, Happening::Flushed(proc, life));
        }
        match proc {
            Proc::Node(node) => {
                let process = &mut self.nodes[node].process;
                process.flushing = false;
                if let Some(effect) = process.to_do.pop_front() {
                    self.node_acts(node, effect);
                }
            }
            Proc::Host(who) => {
                let process = &mut self.hosts[who].process;
                process.flushing = false;
                if let Some(effect) = process.to_do.pop_front() {
                    self.host_acts(who, effect);
                }
            }
        }
        self.pump(proc);
    }

    pub(crate) fn wakes(&mut self, proc: Proc, life: u64, at: u64) {
        let (now_life, wake, inbox) = match proc {
            Proc::Node(node) => {
                let process = &mut self.nodes[node].process;
                (process.life, &mut process.wake, &mut process.inbox)
            }
            Proc::Host(who) => {
                let process = &mut self.hosts[who].process;
                (process.life, &mut process.wake, &mut process.inbox)
            }
        };
        if now_life == life && *wake == Some(at) {
            *wake = None;
            inbox.push_back(Mail::Wake);
            self.pump(proc);
        }
    }

    fn plan_wake(&mut self, proc: Proc) {
        let (clock, due, works, life, wake) = match proc {
            Proc::Node(node) => {
                let peer = &mut self.nodes[node];
                let due = peer.witness.wake_at(peer.clock.read(self.now));
                (peer.clock, due, peer.process.works(), peer.process.life, &mut peer.process.wake)
            }
            Proc::Host(who) => {
                let host = &mut self.hosts[who];
                let due = Some(host.agent.wake_at());
                (host.clock, due, host.process.works(), host.process.life, &mut host.process.wake)
            }
        };
        let Some(at) = due.filter(|_| works).map(|due| clock.when(due).max(self.now)) else { return };
        if *wake != Some(at) {
            *wake = Some(at);
            self.at(at, Happening::Wake(proc, life, at));
        }
    }
}
