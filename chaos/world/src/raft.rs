//! A model of the replicated log: one true leader or none, entries that a majority can reach, followers that lag.
//! A leader that was deposed without hearing of it goes on planning and asking for votes: it only cannot write.

use crate::clock::MS;
use crate::words::{electorate, inst, insts, node};
use crate::world::{Happening, Mail, NodeIndex, Proc, World};
use regent_core::command::Command;
use regent_core::ids::GroupName;
use regent_core::message::{Solicit, ToNode};
use regent_core::plan::{Action, plan};
use regent_core::replication::Mode;
use regent_core::state::{Applied, State};
use regent_core::tail::Tail;
use regent_core::witness;
use std::collections::{BTreeMap, BTreeSet};

/// The log and who leads it.
pub struct Raft {
    /// The true leader.
    pub leader: Option<NodeIndex>,
    /// Former leaders that have not heard of it.
    pub stale: BTreeSet<NodeIndex>,
    /// What is committed.
    pub entries: Vec<Command>,
    /// What all of it says.
    pub state: State,
    /// How much longer a node takes to apply.
    pub lag: BTreeMap<NodeIndex, u64>,
    /// Whether leaders are elected without the script.
    pub elections: bool,
    term: u64,
    in_flight: Vec<Command>,
    /// Since when there is no leader that reaches a majority, and when another is elected.
    lost: Option<u64>,
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
            lost: None,
        }
    }
}

fn same_kind(a: &Command, b: &Command) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a.group() == b.group()
}

impl World {
    /// Puts a leader in, or none.
    pub(crate) fn lead(&mut self, leader: Option<NodeIndex>) {
        if self.raft.leader == leader {
            return;
        }
        if let Some(old) = self.raft.leader.take() {
            self.raft.stale.insert(old);
            self.forget_proposals();
        }
        self.raft.term += 1;
        self.raft.leader = leader;
        if let Some(at) = leader {
            self.raft.stale.remove(&at);
            let now = self.local(at);
            self.nodes[at].view.begin_to_lead(now);
            self.keep_proposals();
            let entries = self.raft.entries.len();
            self.give(at, entries, 0);
        }
        self.say(|world| {
            let who = leader.map_or("nobody".to_owned(), |at| node(world.nodes[at].id));
            format!("{who} leads the log")
        });
    }

    /// What a lost leader proposed is gone, or, where chance decides, some of it had reached a majority.
    fn forget_proposals(&mut self) {
        let (unsynced, chance) = (self.settings.unsynced, &mut self.chance);
        self.raft.in_flight.retain(|_| unsynced && chance.once_in(2));
    }

    fn keep_proposals(&mut self) {
        for command in std::mem::take(&mut self.raft.in_flight) {
            self.append(command);
        }
    }

    fn reaches(&self, a: NodeIndex, b: NodeIndex) -> bool {
        a == b || self.links.joined(self.nodes[a].end, self.nodes[b].end)
    }

    /// The round trip to the majority nearest to a node; `None` if it reaches none.
    pub(crate) fn quorum_trip(&self, at: NodeIndex) -> Option<u64> {
        let alive = |peer: NodeIndex| self.nodes[peer].process.up && !self.nodes[peer].process.frozen;
        let trip = |peer: NodeIndex| match peer == at {
            true => 0,
            false => 2 * self.links.delay(self.nodes[at].end, self.nodes[peer].end),
        };
        let peers = (0..self.nodes.len()).filter(|peer| alive(*peer) && self.reaches(at, *peer));
        let mut trips: Vec<u64> = peers.map(trip).collect();
        trips.sort_unstable();
        trips.get(self.nodes.len() / 2).copied().filter(|_| alive(at))
    }

    /// What leaders do every few milliseconds, and what the log does by itself.
    pub(crate) fn raft_tick(&mut self) {
        self.elect();
        if let Some(leader) = self.raft.leader {
            let nodes = &self.nodes;
            self.raft.stale.retain(|old| nodes[*old].process.up);
            let heard: Vec<NodeIndex> =
                self.raft.stale.iter().copied().filter(|old| self.reaches(leader, *old)).collect();
            heard.iter().for_each(|old| assert!(self.raft.stale.remove(old)));
            self.replicate(leader);
        }
        let planners: Vec<NodeIndex> = self.raft.leader.iter().chain(&self.raft.stale).copied().collect();
        for at in planners {
            if self.nodes[at].process.works() {
                self.plan_at(at);
            }
        }
    }

    fn elect(&mut self) {
        if !self.raft.elections {
            return;
        }
        if self.raft.leader.is_some_and(|at| self.quorum_trip(at).is_some()) {
            self.raft.lost = None;
            return;
        }
        let (soonest, latest) = self.settings.election;
        let (now, chance) = (self.now, &mut self.chance);
        let due = *self.raft.lost.get_or_insert_with(|| {
            now + if soonest == latest { soonest } else { chance.between(soonest, latest) }
        });
        if now < due {
            return;
        }
        let able: Vec<NodeIndex> =
            (0..self.nodes.len()).filter(|at| self.quorum_trip(*at).is_some()).collect();
        let pick = if soonest == latest || able.is_empty() { 0 } else { self.chance.index(able.len()) };
        self.raft.lost = None;
        self.lead(able.get(pick).copied());
    }

    fn replicate(&mut self, leader: NodeIndex) {
        let all = self.raft.entries.len();
        for at in 0..self.nodes.len() {
            let peer = &self.nodes[at];
            if !(peer.process.up && peer.sent < all && self.reaches(leader, at)) {
                continue;
            }
            let lag = self.raft.lag.get(&at).copied().unwrap_or(0);
            let delay =
                if at == leader { 0 } else { self.links.delay(self.nodes[leader].end, self.nodes[at].end) };
            self.give(at, all, delay + lag);
        }
    }

    fn give(&mut self, at: NodeIndex, upto: usize, delay: u64) {
        self.nodes[at].sent = upto;
        let snapshot = self.settings.snapshots > 0 && self.chance.happens(self.settings.snapshots);
        let mail = if snapshot { Mail::Snapshot(upto) } else { Mail::Applied(upto) };
        self.at(self.now + delay, Happening::Mail(Proc::Node(at), mail));
    }

    /// A node applies the log up to an index: entry by entry, or, as a snapshot, only what came of it.
    pub(crate) fn apply(&mut self, at: NodeIndex, upto: usize, snapshot: bool) -> Vec<witness::Effect> {
        let now = self.local(at);
        let mut out = Vec::new();
        let mut changed: BTreeSet<GroupName> = BTreeSet::new();
        while self.nodes[at].applied < upto {
            let peer = &mut self.nodes[at];
            let command = &self.raft.entries[peer.applied];
            peer.applied += 1;
            if let Ok(Applied::Group(name, _)) = peer.state.apply(command) {
                if snapshot {
                    changed.insert(name);
                } else {
                    self.step_applied(at, &name, now, &mut out);
                }
            }
        }
        for name in changed {
            self.step_applied(at, &name, now, &mut out);
        }
        out
    }

    fn step_applied(
        &mut self,
        at: NodeIndex,
        name: &GroupName,
        now: regent_core::time::Time,
        out: &mut Vec<witness::Effect>,
    ) {
        let peer = &mut self.nodes[at];
        let group = Box::new(peer.state.groups[name].clone());
        // Watchers are told of what the log's history says, as the coordinator tells them.
        let change = group.history.last().map(|change| (change.epoch, change.primary.clone()));
        out.extend(peer.witness.step(witness::Event::Applied(group), now));
        if let Some((epoch, primary)) = change {
            self.learns(at, name, epoch, &primary);
        }
    }

    fn plan_at(&mut self, at: NodeIndex) {
        let now = self.local(at);
        let peer = &mut self.nodes[at];
        for standing in peer.witness.standings(now) {
            peer.view.standing(standing, now);
        }
        peer.view.look(&peer.state, now);
        for action in plan(&peer.state, &peer.view, now, 0) {
            match action {
                Action::Propose(command) => self.propose(at, command),
                Action::Solicit(solicit) => {
                    self.say(|world| {
                        let who = node(world.nodes[at].id);
                        let named = inst(&solicit.named);
                        format!("{who} solicits {} for {named}: {}", solicit.epoch, solicit.reason)
                    });
                    self.nodes[at].view.solicited(&solicit, now);
                    self.ask_for_votes(at, solicit);
                }
                Action::SolicitAgain(solicit) => {
                    self.nodes[at].view.solicited_again(&solicit.group, now);
                    self.ask_for_votes(at, solicit);
                }
                Action::Move(group, wish) => {
                    self.say(|world| {
                        format!("{} moves {group} to {}", node(world.nodes[at].id), inst(&wish.to))
                    });
                    self.nodes[at].view.ask_hand_over(&group, wish, now);
                }
                Action::Ask(_, instance, message) => {
                    let who = self.host_index(&instance);
                    self.tell_agent(at, who, message);
                }
            }
        }
    }

    fn ask_for_votes(&mut self, at: NodeIndex, solicit: Solicit) {
        self.tell_nodes(at, &ToNode::Solicit(solicit.clone()));
        let own = Mail::ToNode(ToNode::Solicit(solicit));
        self.at(self.now, Happening::Mail(Proc::Node(at), own));
    }

    /// A leader proposes; one of a kind at a time.
    pub(crate) fn propose(&mut self, at: NodeIndex, command: Command) {
        if self.raft.leader != Some(at) || self.raft.in_flight.iter().any(|other| same_kind(other, &command))
        {
            return;
        }
        let Some(trip) = self.quorum_trip(at) else { return };
        self.raft.in_flight.push(command.clone());
        self.at(self.now + trip + 2 * MS, Happening::Commit(self.raft.term, command));
    }

    /// A proposal comes back, committed if its leader still leads a majority.
    pub(crate) fn commit(&mut self, term: u64, command: Command) {
        if term != self.raft.term {
            return;
        }
        self.raft.in_flight.retain(|other| !same_kind(other, &command));
        if self.raft.leader.is_none_or(|at| self.quorum_trip(at).is_none()) {
            return;
        }
        self.append(command);
        if let Some(leader) = self.raft.leader {
            self.give(leader, self.raft.entries.len(), 0);
        }
    }

    fn append(&mut self, command: Command) {
        let result = self.raft.state.apply(&command);
        match &result {
            Ok(Applied::Unchanged) => {}
            Ok(_) => self.say(|_| format!("log: {}", entry(&command))),
            Err(why) => self.say(|_| format!("log refuses {}: {why}", entry(&command))),
        }
        if result.is_ok() {
            self.judge_logged(&command);
        }
        self.raft.entries.push(command);
    }

    fn judge_logged(&mut self, command: &Command) {
        if let Command::SetMode { group, mode: Mode::Async, .. } = command {
            let group = self.group_index(group);
            return self.invariants.groups[group].loss.mode_loosened();
        }
        let name = match command {
            Command::Begin { group, .. } => group,
            Command::Record { certificate, .. } => certificate.group(),
            _ => return,
        };
        let group = &self.raft.state.groups[name];
        let primary = self.by_name[group.primary.as_ref().expect("a recorded epoch has a primary")];
        let (judged, found) = self.invariants.of(self.group_index(name));
        judged.electorates.push(group.electorate.clone());
        judged.epochs.logged(group.epoch, primary, found);
    }
}

fn entry(command: &Command) -> String {
    match command {
        Command::SetNode { id, .. } => format!("node {}", node(*id)),
        Command::SetDrained { region, drained: true } => format!("region {region} is drained"),
        Command::SetDrained { region, drained: false } => format!("region {region} is no longer drained"),
        Command::CreateGroup { group, electorate: of, .. } => {
            format!("group {group}, governed by {}", electorate(of))
        }
        Command::Register { instance, .. } => format!("instance {}", inst(instance)),
        Command::Begin { primary, .. } => format!("epoch 1 begins, primary {}", inst(primary)),
        Command::SetSystem { system_id, timeline_base: 0, .. } => format!("system {system_id}"),
        Command::SetSystem { system_id, timeline_base, .. } => {
            format!("system {system_id}, timelines from {timeline_base}")
        }
        Command::SetSuccession { succession, offer: None, .. } => format!("succession {}", insts(succession)),
        Command::SetSuccession { succession, offer: Some(offer), .. } => {
            format!("succession {} of offer {}", insts(succession), offer.version)
        }
        Command::SetMode { mode, policy, .. } => format!("mode {mode}, {policy}"),
        Command::SetDesiredElectorate { electorate: to, .. } => {
            format!("the electorate shall be {}", electorate(to))
        }
        Command::RecordTail { tail, .. } => {
            let Tail { instance, epoch, timeline, from, to, .. } = tail;
            format!(
                "{epoch} left behind timeline {timeline} from {} to {} of {}",
                from.0,
                to.0,
                inst(instance)
            )
        }
        Command::Record { certificate, electorate: to, .. } => {
            let change = to.as_ref().map_or(String::new(), |to| format!(", governed by {}", electorate(to)));
            let (epoch, who) = (certificate.epoch(), inst(certificate.named()));
            let rest = insts(&certificate.rest());
            format!("epoch {epoch} recorded, primary {who}, then {rest}{change}")
        }
    }
}
