//! What a script can ask of the world: where everybody stands, and what it expects.

use crate::invariants::{HostId, Theorem};
use crate::words::{electorate, inst, insts, node};
use crate::world::World;
use regent_core::ids::{Epoch, GroupName, InstanceName};
use regent_core::state::Group;

impl World {
    /// Where everybody stands.
    pub(crate) fn status(&mut self) {
        let mut lines = Vec::new();
        for peer in &self.nodes {
            let now = peer.clock.read(self.now);
            for standing in peer.witness.standings(now).filter(|_| peer.process.up) {
                let named =
                    standing.named.as_ref().map_or(String::new(), |who| format!(" for {}", inst(who)));
                let promised = standing
                    .promised
                    .as_ref()
                    .map_or(String::new(), |(who, epoch)| format!(", has promised {} {epoch}", inst(who)));
                lines.push(format!(
                    "        {} {}: floor {}{named}, applied {} of {}, may name {}{promised}",
                    node(peer.id),
                    standing.group,
                    standing.floor,
                    standing.epoch,
                    insts(&standing.primary),
                    insts(&standing.may_name),
                ));
            }
        }
        for (who, host) in self.by_name.iter().map(|(who, index)| (who, &self.hosts[*index])) {
            let postgres = &host.postgres;
            let gate = match host.open(self.now) {
                Some(epoch) => format!("gate open in {epoch}"),
                None => "gate closed".to_owned(),
            };
            let streams = if postgres.streaming { ", streams" } else { "" };
            let timeline = postgres.timeline();
            let agent = if host.process.up { "" } else { ", no agent" };
            let (who, role) = (inst(who), postgres.role);
            lines.push(format!("        {who}: {role} on timeline {timeline}{streams}, {gate}{agent}"));
        }
        for group in self.raft.state.groups.values() {
            lines.push(format!(
                "        log {}: epoch {} of {}, then {}, governed by {}",
                group.name,
                group.epoch,
                insts(&group.primary),
                insts(&group.succession),
                electorate(&group.electorate),
            ));
        }
        self.lines.extend(lines);
    }

    /// The instances of a group whose gates are open, and under which epoch.
    pub(crate) fn gates(&self, group: usize) -> Vec<(HostId, Epoch)> {
        self.invariants.groups[group].writable.open(self.now).collect()
    }

    /// Whether one gate is open and the log says so.
    pub(crate) fn recorded(&self, group: usize) -> bool {
        let Some(known) = self.raft.state.groups.get(&self.groups[group]) else { return false };
        let primary = known.primary.as_ref().map(|name| self.by_name[name]);
        matches!(*self.gates(group), [(who, epoch)] if epoch == known.epoch && Some(who) == primary)
    }

    /// The instances of a group that neither stream nor are primary.
    pub(crate) fn idle(&self, group: usize) -> Vec<HostId> {
        let gates = self.gates(group);
        let works = |who: &HostId| {
            self.hosts[*who].postgres.streaming || gates.iter().any(|(primary, _)| primary == who)
        };
        self.members[group].iter().copied().filter(|who| !works(who)).collect()
    }

    /// What must be so now: a part of the transcript that `UPDATE_GOLDEN` cannot rewrite.
    pub(crate) fn expect(&mut self, what: &[&str]) {
        let (holds, is) = self.is_so(what);
        self.invariants
            .found
            .demand(Theorem::Script, holds, |_| format!("expected {}, got {is}", what.join(" ")));
    }

    fn is_so(&self, what: &[&str]) -> (bool, String) {
        let all = 0..self.groups.len();
        let number =
            |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("expected a number, got {text:?}"));
        match *what {
            ["primary", who, "in", epoch] => {
                let name = InstanceName::new(who.to_lowercase()).expect("an instance's name");
                let who = self.host_index(&name);
                let gates = self.gates(self.hosts[who].group);
                (gates == [(who, Epoch(number(epoch)))], self.open_gates(&gates))
            }
            ["mode", "in", "force", yes_or_no] => {
                let in_force = self.raft.state.groups.values().all(Group::in_force);
                let is = if in_force { "yes" } else { "no" };
                (is == yes_or_no, is.to_owned())
            }
            ["one", "primary"] => {
                let gates: Vec<_> = all.map(|group| self.gates(group)).collect();
                (gates.iter().all(|gates| gates.len() == 1), self.open_gates(&gates.concat()))
            }
            ["no", "primary", "of", group] => {
                let name = GroupName::new(group).expect("a group's name");
                let gates = self.gates(self.group_index(&name));
                (gates.is_empty(), self.open_gates(&gates))
            }
            ["changes", many] => {
                let changes: u64 = self.tally.changes.iter().sum();
                (changes == number(many), changes.to_string())
            }
            ["log", epoch] => {
                let now = self.raft.state.groups.values().map(|group| group.epoch).max().unwrap_or_default();
                (now == Epoch(number(epoch)), now.to_string())
            }
            ["recorded"] => {
                (all.into_iter().all(|group| self.recorded(group)), "the log says otherwise".to_owned())
            }
            ["all", "stream"] => {
                let idle: Vec<String> =
                    all.flat_map(|group| self.idle(group)).map(|who| self.name_of(who)).collect();
                (idle.is_empty(), format!("not {idle:?}"))
            }
            ref other => panic!("no such expectation: {other:?}"),
        }
    }

    fn open_gates(&self, gates: &[(HostId, Epoch)]) -> String {
        if gates.is_empty() {
            return "no open gate".to_owned();
        }
        let gates = gates.iter().map(|(who, epoch)| format!("{} in {epoch}", self.name_of(*who)));
        gates.collect::<Vec<_>>().join(", ")
    }
}
