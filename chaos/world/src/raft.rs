//! A model of the replicated log: one true leader or none, entries that a majority can reach, followers that lag.
//! A leader that was deposed without hearing of it goes on asking for votes: it only cannot write.

use super::clock::MS;
use super::words::{electorate, inst, insts, node};
use super::{Happening, Mail, Proc, Stage};
use regent_core::command::Command;
use regent_core::ids::NodeId;
use regent_core::message::ToNode;
use regent_core::plan::{Action, plan};
use regent_core::state::{Applied, State};
use regent_core::witness;
use std::collections::{BTreeMap, BTreeSet};

/// How often a leader plans.
pub const PLAN_EVERY: u64 = 10 * MS;
/// How long a leader may be out of reach before the others elect another, when elections are on.
const ELECTION: u64 = 1_500 * MS;

/// The log and who leads it.
pub struct Raft {
    /// The true leader.
    pub leader: Option<NodeId>,
    /// Former leaders that have not heard of it.
    pub stale: BTreeSet<NodeId>,
    /// What is committed.
    pub entries: Vec<Command>,
    /// What all of it says.
    pub state: State,
    /// How much longer a node takes to apply.
    pub lag: BTreeMap<NodeId, u64>,
    /// Whether leaders are elected without the script.
    pub elections: bool,
    term: u64,
    in_flight: Vec<Command>,
    lost_since: Option<u64>,
}

impl Raft {
    /// An empty log.
    pub fn new() -> Raft {
        Raft {
            leader: None,
            stale: BTreeSet::new(),
            entries: Vec::new(),
            state: State::new("stage"),
            lag: BTreeMap::new(),
            elections: false,
            term: 0,
            in_flight: Vec::new(),
            lost_since: None,
        }
    }
}

fn same_kind(a: &Command, b: &Command) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a.group() == b.group()
}

impl Stage {
    /// Puts a leader in, or none.
    pub fn lead(&mut self, leader: Option<NodeId>) {
        if self.raft.leader == leader {
            return;
        }
        if let Some(old) = self.raft.leader.take() {
            self.raft.stale.insert(old);
        }
        self.raft.term += 1;
        self.raft.in_flight.clear();
        self.raft.leader = leader;
        if let Some(id) = leader {
            self.raft.stale.remove(&id);
            let now = self.local(id);
            self.nodes.get_mut(&id).expect("a node of the stage").view.begin_to_lead(now);
            let entries = self.raft.entries.len();
            self.give(id, entries, 0);
        }
        let who = leader.map_or("nobody".to_owned(), node);
        self.say(&format!("{who} leads the log"));
    }

    fn reaches(&self, a: NodeId, b: NodeId) -> bool {
        a == b || self.links.joined(&node(a), &node(b))
    }

    /// The round trip to the majority nearest to a node; `None` if it reaches none.
    fn quorum_trip(&self, id: NodeId) -> Option<u64> {
        let alive = |peer: &&NodeId| self.nodes[peer].process.up && !self.nodes[peer].process.frozen;
        let mut trips: Vec<u64> = self
            .nodes
            .keys()
            .filter(alive)
            .filter(|peer| self.reaches(id, **peer))
            .map(|peer| if *peer == id { 0 } else { 2 * self.links.delay(&node(id), &node(*peer)) })
            .collect();
        trips.sort_unstable();
        trips.get(self.nodes.len() / 2).copied().filter(|_| alive(&&id))
    }

    /// What leaders do every few milliseconds, and what the log does by itself.
    pub fn raft_tick(&mut self) {
        self.elect();
        if let Some(leader) = self.raft.leader {
            let nodes = &self.nodes;
            self.raft.stale.retain(|old| nodes[old].process.up);
            let heard: Vec<NodeId> =
                self.raft.stale.iter().copied().filter(|old| self.reaches(leader, *old)).collect();
            heard.iter().for_each(|old| assert!(self.raft.stale.remove(old)));
            self.replicate(leader);
        }
        let planners: Vec<NodeId> = self.raft.leader.iter().chain(&self.raft.stale).copied().collect();
        for id in planners {
            if self.nodes[&id].process.works() {
                self.plan_at(id);
            }
        }
    }

    fn elect(&mut self) {
        if !self.raft.elections {
            return;
        }
        if self.raft.leader.is_some_and(|id| self.quorum_trip(id).is_some()) {
            self.raft.lost_since = None;
            return;
        }
        if self.now < *self.raft.lost_since.get_or_insert(self.now) + ELECTION {
            return;
        }
        let next = self.nodes.keys().copied().find(|id| self.quorum_trip(*id).is_some());
        self.raft.lost_since = None;
        self.lead(next);
    }

    fn replicate(&mut self, leader: NodeId) {
        let all = self.raft.entries.len();
        let behind: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, peer)| peer.process.up && peer.sent < all && self.reaches(leader, **id))
            .map(|(id, _)| *id)
            .collect();
        for id in behind {
            let lag = self.raft.lag.get(&id).copied().unwrap_or(0);
            let delay = if id == leader { 0 } else { self.links.delay(&node(leader), &node(id)) };
            self.give(id, all, delay + lag);
        }
    }

    fn give(&mut self, id: NodeId, upto: usize, delay: u64) {
        self.nodes.get_mut(&id).expect("a node of the stage").sent = upto;
        self.at(self.now + delay, Happening::Mail(Proc::Node(id), Mail::Applied(upto)));
    }

    /// A node applies the log up to an index.
    pub fn apply(&mut self, id: NodeId, upto: usize) -> Vec<witness::Effect> {
        let now = self.local(id);
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        let mut out = Vec::new();
        while peer.applied < upto {
            let command = self.raft.entries[peer.applied].clone();
            peer.applied += 1;
            if let Ok(Applied::Group(name, _)) = peer.state.apply(&command) {
                let group = Box::new(peer.state.groups[&name].clone());
                out.extend(peer.witness.step(witness::Event::Applied(group), now));
            }
        }
        out
    }

    fn plan_at(&mut self, id: NodeId) {
        let now = self.local(id);
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        for standing in peer.witness.standings(now).collect::<Vec<_>>() {
            peer.view.standing(standing, now);
        }
        peer.view.look(&peer.state, now);
        for action in plan(&peer.state, &peer.view, now, 0) {
            match action {
                Action::Propose(command) => self.propose(id, command),
                Action::Solicit(solicit) => {
                    self.say(&format!(
                        "{} solicits {} for {}: {}",
                        node(id),
                        solicit.epoch,
                        inst(&solicit.named),
                        solicit.reason
                    ));
                    let peer = self.nodes.get_mut(&id).expect("a node of the stage");
                    peer.view.solicited(&solicit.group, now);
                    self.tell_nodes(id, &ToNode::Solicit(solicit.clone()));
                    let own = Mail::ToNode(ToNode::Solicit(solicit));
                    self.at(self.now, Happening::Mail(Proc::Node(id), own));
                }
                Action::Ask(_, instance, message) => self.tell_agent(id, &instance, message),
            }
        }
    }

    /// A leader proposes; one of a kind at a time.
    pub fn propose(&mut self, id: NodeId, command: Command) {
        if self.raft.leader != Some(id) || self.raft.in_flight.iter().any(|other| same_kind(other, &command))
        {
            return;
        }
        let Some(trip) = self.quorum_trip(id) else { return };
        self.raft.in_flight.push(command.clone());
        self.at(self.now + trip + 2 * MS, Happening::Commit(self.raft.term, command));
    }

    /// A proposal comes back, committed if its leader still leads a majority.
    pub fn commit(&mut self, term: u64, command: Command) {
        if term != self.raft.term {
            return;
        }
        self.raft.in_flight.retain(|other| !same_kind(other, &command));
        if self.raft.leader.is_none_or(|id| self.quorum_trip(id).is_none()) {
            return;
        }
        let result = self.raft.state.apply(&command);
        match &result {
            Ok(Applied::Unchanged) => {}
            Ok(_) => self.say(&format!("log: {}", self.entry(&command))),
            Err(why) => self.say(&format!("log refuses {}: {why}", self.entry(&command))),
        }
        if result.is_ok() {
            self.check_logged(&command);
        }
        self.raft.entries.push(command);
        if let Some(leader) = self.raft.leader {
            self.give(leader, self.raft.entries.len(), 0);
        }
    }

    fn check_logged(&mut self, command: &Command) {
        if let Command::Begin { group, .. } = command {
            let group = self.raft.state.groups[group].clone();
            let primary = group.primary.as_ref().expect("begun");
            self.checks.logged(&group.name, group.epoch, primary, &group.electorate);
        }
        if let Command::Record { certificate, .. } = command {
            let electorate = &self.raft.state.groups[certificate.group()].electorate;
            self.checks.logged(certificate.group(), certificate.epoch(), certificate.named(), electorate);
        }
    }

    fn entry(&self, command: &Command) -> String {
        match command {
            Command::SetNode { id, .. } => format!("node {}", node(*id)),
            Command::CreateGroup { group, electorate: of, .. } => {
                format!("group {group}, governed by {}", electorate(of))
            }
            Command::Register { instance, .. } => format!("instance {}", inst(instance)),
            Command::Begin { primary, .. } => format!("epoch 1 begins, primary {}", inst(primary)),
            Command::SetSystem { system_id, .. } => format!("system {system_id}"),
            Command::SetSuccession { succession, .. } => format!("succession {}", insts(succession)),
            Command::SetDesiredElectorate { electorate: to, .. } => {
                format!("the electorate shall be {}", electorate(to))
            }
            Command::Record { certificate, electorate: to, .. } => {
                let change =
                    to.as_ref().map_or(String::new(), |to| format!(", governed by {}", electorate(to)));
                let (epoch, who) = (certificate.epoch(), inst(certificate.named()));
                let rest = insts(&certificate.rest());
                format!("epoch {epoch} recorded, primary {who}, then {rest}{change}")
            }
        }
    }
}
