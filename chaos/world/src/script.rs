//! Scripts: lines beginning with `>` are commands, with `#` comments; all else is what happened.

use super::clock::{Clock, MS};
use super::host::Host;
use super::node::Node;
use super::postgres::Postgres;
use super::process::Process;
use super::words::{electorate, inst, insts, node, node_id};
use super::{Happening, Proc, Stage};
use regent_core::agent::{Agent, Identity};
use regent_core::command::{self, Command, Instance, Terms};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId, RegionName};
use regent_core::message::{Solicit, ToNode};
use regent_core::state::State;
use regent_core::view::View;
use regent_core::vote::Reason;
use regent_core::witness::Witness;
use std::collections::BTreeMap;

/// Plays a script. Returns the transcript, and what was broken.
pub fn play(text: &str) -> (String, Vec<String>) {
    let mut stage = Stage::new();
    let mut transcript = String::new();
    let mut was_output = false;
    for line in text.lines() {
        let kept = line.starts_with('#') || line.starts_with('>') || (line.is_empty() && !was_output);
        was_output = !kept && !line.is_empty() || (line.is_empty() && was_output);
        if !kept {
            continue;
        }
        transcript.push_str(line);
        transcript.push('\n');
        if let Some(command) = line.strip_prefix('>') {
            let words: Vec<&str> = command.split_whitespace().collect();
            stage.command(&words);
            for line in stage.lines.drain(..) {
                transcript.push_str(&line);
                transcript.push('\n');
            }
        }
        if !stage.checks.broken.is_empty() {
            break;
        }
    }
    (transcript, stage.checks.broken)
}

fn number(text: &str, unit: &str) -> u64 {
    let digits =
        text.strip_suffix(unit).unwrap_or_else(|| panic!("expected a number of {unit}, got {text:?}"));
    digits.parse().unwrap_or_else(|_| panic!("expected a number of {unit}, got {text:?}"))
}

fn span(text: &str) -> u64 {
    number(text, "ms") * MS
}

fn name(text: &str) -> InstanceName {
    InstanceName::new(text.to_lowercase()).expect("an instance's name")
}

fn id(text: &str) -> NodeId {
    node_id(text).unwrap_or_else(|| panic!("expected a node, got {text:?}"))
}

fn proc(text: &str) -> Proc {
    node_id(text).map_or_else(|| Proc::Host(name(text)), Proc::Node)
}

fn end(text: &str) -> String {
    text.to_lowercase()
}

impl Stage {
    /// Does what one line says.
    fn command(&mut self, words: &[&str]) {
        match *words {
            ["nodes", ref names @ ..] => names.iter().for_each(|name| self.add_node(id(name))),
            ["group", group, ref names @ ..] => self.add_group(group, names),
            ["clock", who, ppm, offset] => self.set_clock(who, ppm, span(offset)),
            ["settle"] => self.settle(),
            ["run", time] => self.run(span(time)),
            ["quietly", time] => {
                self.quiet = true;
                self.run(span(time));
                self.quiet = false;
            }
            ["leader", "none"] => self.lead(None),
            ["leader", who] => self.lead(Some(id(who))),
            ["elections", "on"] => self.raft.elections = true,
            ["kill", "region", region] => self.each_in(region, Stage::kill),
            ["start", "region", region] => self.each_in(region, Stage::start),
            ["kill", who] => self.kill(&proc(who)),
            ["start", who] => self.start(&proc(who)),
            ["kill", "agent", who] => self.kill_agent(&name(who)),
            ["restart", who] => self.restart(&proc(who)),
            ["postgres", who, "dies"] => self.postgres_dies(&name(who)),
            ["postgres", who, "breaks"] => self.host(who).postgres.broken = true,
            ["freeze", who] => self.freeze(&proc(who), true),
            ["thaw", who] => self.freeze(&proc(who), false),
            ["cut", "region", region] => self.cut_region(region),
            ["heal", "all"] => self.heal_all(),
            ["heal", "region", region] => self.heal_region(region),
            ["cut", a, "->", b] => self.links.cut(&end(a), &end(b)),
            ["cut", a, b] => self.cut(&end(a), &end(b)),
            ["heal", a, b] => self.heal(&end(a), &end(b)),
            ["delay", a, b, time] => self.links.set_delay(&end(a), &end(b), span(time)),
            ["lag", who, time] => {
                self.raft.lag.insert(id(who), span(time));
            }
            ["switchover", "of", group, "to", who] => self.switchover(group, &name(who)),
            ["electorate", "of", group, ref names @ ..] => self.wish_electorate(group, names),
            ["solicit", by, epoch, who] => self.solicit(id(by), epoch, &name(who)),
            ["propose", "succession", epoch, revision, ref names @ ..] => {
                self.propose_succession(epoch, revision, names);
            }
            ["status"] => self.status(),
            ["expect", ref what @ ..] => self.expect(what),
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn host(&mut self, who: &str) -> &mut Host {
        self.hosts.get_mut(&name(who)).unwrap_or_else(|| panic!("no instance {who}"))
    }

    fn add_node(&mut self, id: NodeId) {
        let region = node(id).pop().expect("a letter");
        self.links.place(&node(id), region);
        let clock = self.clocks.get(&node(id)).copied();
        let clock = clock.unwrap_or(Clock { offset: 1_000_000 * MS * id.0, ppm: 0 });
        let new = Node {
            clock,
            process: Process::new(),
            witness: Witness::new(id, [], clock.read(self.now)),
            durable: BTreeMap::new(),
            state: State::new("stage"),
            applied: 0,
            sent: 0,
            view: View::default(),
            stepped: 0,
            answers: BTreeMap::new(),
        };
        self.nodes.insert(id, new);
        let member = |id: &NodeId| {
            let region = RegionName::new(node(*id).pop().expect("a letter")).expect("a region");
            (*id, command::Node { region, address: format!("{}:7000", node(*id)) })
        };
        let members: BTreeMap<NodeId, command::Node> = self.nodes.keys().map(member).collect();
        self.nodes.values_mut().for_each(|peer| peer.view.members = members.clone());
        for who in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.link(&who, id);
        }
    }

    /// Creates a group, governed by the first three nodes, with instances in regions of their own or `X@a`.
    fn add_group(&mut self, group: &str, names: &[&str]) {
        if self.raft.leader.is_none() {
            let quiet = std::mem::replace(&mut self.quiet, true);
            self.lead(Some(NodeId(1)));
            self.run(500 * MS);
            self.quiet = quiet;
        }
        let group = GroupName::new(group).expect("a group's name");
        let placed = names.iter().map(|text| match text.split_once('@') {
            Some((who, region)) => (name(who), region.chars().next().expect("a region")),
            None => (name(text), text.to_lowercase().chars().next().expect("a name")),
        });
        let placed: Vec<(InstanceName, char)> = placed.collect();
        let leader = self.raft.leader.expect("a leader");
        self.propose(
            leader,
            Command::CreateGroup {
                group: group.clone(),
                terms: Terms::default(),
                electorate: self.nodes.keys().copied().take(3).collect(),
                first: placed.first().map(|(who, _)| who.clone()),
            },
        );
        for (who, region) in placed {
            self.add_host(&group, who, region);
        }
    }

    fn add_host(&mut self, group: &GroupName, who: InstanceName, region: char) {
        self.links.place(who.as_str(), region);
        let at = Instance {
            region: RegionName::new(region).expect("a region"),
            address: format!("{}:5432", who.as_str()),
        };
        let me = Identity { group: group.clone(), instance: who.clone(), at };
        let clock = self.clocks.get(who.as_str()).copied();
        let clock = clock.unwrap_or(Clock { offset: 77_000 * MS * (self.hosts.len() as u64 + 1), ppm: 0 });
        let (agent, _) = Agent::new(me.clone(), None, Default::default());
        let mut process = Process::new();
        process.up = false;
        let host = Host {
            me,
            clock,
            process,
            agent,
            durable: None,
            postgres: Postgres::new(),
            gate: None,
            said_open: false,
        };
        self.hosts.insert(who.clone(), host);
        self.start_agent(&who);
    }

    /// The clock of an end that comes later.
    fn set_clock(&mut self, who: &str, ppm: &str, offset: u64) {
        let clock = Clock { offset, ppm: ppm.strip_suffix("ppm").and_then(|n| n.parse().ok()).expect("ppm") };
        let placed = self.links.ends().contains(&end(who));
        assert!(!placed, "the clock of {who} is set before it runs");
        self.clocks.insert(end(who), clock);
    }

    /// Runs until all is in order, without a word, and counts time from there.
    fn settle(&mut self) {
        self.quiet = true;
        self.run(8_000 * MS);
        self.quiet = false;
        self.origin = self.now;
        self.checks.changes = 0;
    }

    fn each_in(&mut self, region: &str, act: fn(&mut Stage, &Proc)) {
        let region = region.chars().next().expect("a region");
        for end in self.links.ends_in(region) {
            act(self, &proc(&end));
        }
    }

    fn kill(&mut self, who: &Proc) {
        match who {
            Proc::Node(id) => self.kill_node(*id),
            Proc::Host(who) => self.kill_host(who),
        }
    }

    fn start(&mut self, who: &Proc) {
        match who {
            Proc::Node(id) => self.start_node(*id),
            Proc::Host(who) => self.start_agent(who),
        }
    }

    /// Kills a process and starts it at once; an instance's Postgres goes on.
    fn restart(&mut self, who: &Proc) {
        match who {
            Proc::Node(id) => self.kill_node(*id),
            Proc::Host(who) => self.kill_agent(who),
        }
        self.start(who);
    }

    fn freeze(&mut self, who: &Proc, frozen: bool) {
        match who {
            Proc::Node(id) => self.nodes.get_mut(id).expect("a node").process.frozen = frozen,
            Proc::Host(who) => self.hosts.get_mut(who).expect("an instance").process.frozen = frozen,
        }
        self.pump(who);
    }

    fn cut(&mut self, a: &str, b: &str) {
        self.links.cut(a, b);
        self.links.cut(b, a);
    }

    fn heal(&mut self, a: &str, b: &str) {
        let was = self.links.heal(a, b);
        if !(self.links.heal(b, a) || was) {
            return;
        }
        match (proc(a), proc(b)) {
            (Proc::Host(who), Proc::Node(id)) | (Proc::Node(id), Proc::Host(who)) => self.link(&who, id),
            _ => {}
        }
    }

    fn across(&self, region: &str) -> Vec<(String, String)> {
        let inside = self.links.ends_in(region.chars().next().expect("a region"));
        let outside: Vec<String> =
            self.links.ends().into_iter().filter(|end| !inside.contains(end)).collect();
        inside.iter().flat_map(|a| outside.iter().map(|b| (a.clone(), b.clone()))).collect()
    }

    fn cut_region(&mut self, region: &str) {
        self.across(region).iter().for_each(|(a, b)| self.cut(a, b));
    }

    fn heal_region(&mut self, region: &str) {
        self.across(region).iter().for_each(|(a, b)| self.heal(a, b));
    }

    /// All faults off: links as usual, everything runs.
    fn heal_all(&mut self) {
        self.links.usual_delays();
        self.raft.lag.clear();
        let ends = self.links.ends();
        for a in &ends {
            for b in ends.iter().filter(|b| a < b) {
                self.heal(a, b);
            }
        }
        for end in &ends {
            self.freeze(&proc(end), false);
            self.start(&proc(end));
        }
    }

    fn switchover(&mut self, group: &str, to: &InstanceName) {
        let Some(id) = self.raft.leader else { return self.say("no leader to ask") };
        let now = self.local(id);
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        let name = GroupName::new(group).expect("a group's name");
        let Some(known) = peer.state.groups.get(&name) else { return };
        let checked = regent_core::switchover::check(known, peer.view.group(&name), Some(to), now);
        match checked {
            Ok(wish) => peer.view.ask_hand_over(&name, wish, now),
            Err(why) => self.say(&format!("refused: {why}")),
        }
    }

    fn wish_electorate(&mut self, group: &str, names: &[&str]) {
        let Some(leader) = self.raft.leader else { return self.say("no leader to ask") };
        let command = Command::SetDesiredElectorate {
            group: GroupName::new(group).expect("a group's name"),
            electorate: names.iter().map(|name| id(name)).collect(),
        };
        self.propose(leader, command);
    }

    /// A node asks all witnesses for a vote, as a leader would that sees things so.
    fn solicit(&mut self, by: NodeId, epoch: &str, named: &InstanceName) {
        let group = self.hosts[named].me.group.clone();
        // A node that has not replayed its log yet has nothing to ask.
        let Some(known) = self.nodes[&by].state.groups.get(&group) else { return };
        let revision = known.revision;
        let epoch = Epoch(number(epoch, ""));
        let solicit = Solicit { group, epoch, named: named.clone(), revision, reason: Reason::Reaffirmed };
        self.tell_nodes(by, &ToNode::Solicit(solicit.clone()));
        self.at(self.now, Happening::Mail(Proc::Node(by), super::Mail::ToNode(ToNode::Solicit(solicit))));
    }

    fn propose_succession(&mut self, epoch: &str, revision: &str, names: &[&str]) {
        let Some(leader) = self.raft.leader else { return self.say("no leader to ask") };
        let succession: Vec<InstanceName> = names.iter().map(|text| name(text)).collect();
        let group = self.hosts[&succession[0]].me.group.clone();
        let now = self.raft.state.groups[&group].revision.0;
        let revision = regent_core::ids::Revision(now.saturating_sub(number(revision, "-back")));
        let epoch = Epoch(number(epoch, ""));
        self.propose(leader, Command::SetSuccession { group, epoch, revision, succession });
    }

    /// Where everybody stands.
    fn status(&mut self) {
        let mut lines = Vec::new();
        for (id, peer) in &self.nodes {
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
                    node(*id),
                    standing.group,
                    standing.floor,
                    standing.epoch,
                    insts(&standing.primary),
                    insts(&standing.may_name),
                ));
            }
        }
        for (who, host) in &self.hosts {
            let postgres = &host.postgres;
            let gate = match host.gate.filter(|(_, end)| host.clock.read(self.now) < *end) {
                Some((epoch, _)) => format!("gate open in {epoch}"),
                None => "gate closed".to_owned(),
            };
            let streams = if postgres.streaming { ", streams" } else { "" };
            let timeline = postgres.history.last().map_or(0, |branch| branch.0);
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

    /// What must be so now: a part of the transcript that `UPDATE_GOLDEN` cannot rewrite.
    fn expect(&mut self, what: &[&str]) {
        let open = |group: &str| self.checks.open(&GroupName::new(group).expect("a name"), self.now);
        let group_of = |who: &str| self.hosts[&name(who)].me.group.as_str().to_owned();
        let (holds, is) = match *what {
            ["primary", who, "in", epoch] => {
                let gates = open(&group_of(who));
                (gates == [(name(who), Epoch(number(epoch, "")))], format!("{gates:?}"))
            }
            ["one", "primary"] => {
                let gates: Vec<_> =
                    self.raft.state.groups.keys().map(|group| (group, open(group.as_str()))).collect();
                (gates.iter().all(|(_, gates)| gates.len() == 1), format!("{gates:?}"))
            }
            ["no", "primary", "of", group] => (open(group).is_empty(), format!("{:?}", open(group))),
            ["changes", many] => {
                (self.checks.changes as u64 == number(many, ""), self.checks.changes.to_string())
            }
            ["log", epoch] => {
                let now = self.raft.state.groups.values().map(|group| group.epoch).max().unwrap_or_default();
                (now == Epoch(number(epoch, "")), now.to_string())
            }
            ["recorded"] => {
                let primaries = self.raft.state.groups.values().map(|group| {
                    let gates = open(group.name.as_str());
                    gates.len() == 1
                        && gates[0].1 == group.epoch
                        && Some(&gates[0].0) == group.primary.as_ref()
                });
                (primaries.into_iter().all(|well| well), "the log says otherwise".to_owned())
            }
            ["all", "stream"] => {
                let idle: Vec<_> = self
                    .hosts
                    .iter()
                    .filter(|(who, host)| {
                        let open = self.checks.open(&host.me.group, self.now);
                        !host.postgres.streaming && !open.iter().any(|(name, _)| name == *who)
                    })
                    .map(|(who, _)| inst(who))
                    .collect();
                (idle.is_empty(), format!("not {idle:?}"))
            }
            ref other => panic!("no such expectation: {other:?}"),
        };
        if !holds {
            self.checks.broken.push(format!("expected {}, got {is}", what.join(" ")));
        }
    }
}
