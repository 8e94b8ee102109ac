//! A node of the world: its witness, what the witness made durable, its copy of the log's state, its view.

use crate::clock::Clock;
use crate::history::linearizable_assignment::Operation;
use crate::invariants::{HostId, epochs, persist_before_send};
use crate::links::End;
use crate::process::Process;
use crate::words::{self, inst, node};
use crate::world::{Mail, NodeIndex, Proc, World};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId};
use regent_core::message::{Refusal, ToAgent, ToNode, ToWitness};
use regent_core::state::State;
use regent_core::view::View;
use regent_core::vote::Vote;
use regent_core::witness::{Durable, Effect, Event, Witness};
use std::collections::BTreeMap;

/// A node.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its place.
    pub end: End,
    /// Its clock.
    pub clock: Clock,
    /// Its loop.
    pub process: Process<Effect>,
    /// Its witness.
    pub witness: Witness,
    /// What its witness made durable.
    pub durable: BTreeMap<GroupName, Durable>,
    /// The log's state, as applied here.
    pub state: State,
    /// How much of the log is applied.
    pub applied: usize,
    /// How much of the log was sent to it.
    pub sent: usize,
    /// What it heard.
    pub view: View,
    /// When it took in what it is busy with.
    pub stepped: u64,
    /// What it answered last to whom: to tell only news.
    pub answers: BTreeMap<HostId, Option<Refusal>>,
}

impl World {
    /// A node takes one message in.
    pub(crate) fn node_steps(&mut self, at: NodeIndex, mail: Mail) -> Vec<Effect> {
        let now = self.local(at);
        match mail {
            Mail::Applied(upto) => return self.apply(at, upto, false),
            Mail::Snapshot(upto) => return self.apply(at, upto, true),
            Mail::Ask(round, reader) => {
                self.read_asked(at, round, reader);
                return Vec::new();
            }
            Mail::Answer(round, standing) => {
                self.read_answered(round, *standing);
                return Vec::new();
            }
            Mail::Attach(who) => {
                self.greets(at, who);
                return Vec::new();
            }
            _ => {}
        }
        let peer = &mut self.nodes[at];
        let event = match mail {
            Mail::ToWitness(ToWitness::Hello { group, instance, at }) => {
                peer.view.hello(&group, instance, at, now);
                return Vec::new();
            }
            Mail::ToWitness(ToWitness::Report(report)) => {
                peer.view.report((*report).clone(), now);
                Event::Report(report)
            }
            Mail::ToWitness(ToWitness::Release(release)) => Event::Release(release),
            Mail::ToWitness(ToWitness::Show(certificate)) => Event::Show(certificate),
            Mail::ToWitness(ToWitness::Tail { group, tail }) => {
                self.tail_told(at, group, tail);
                return Vec::new();
            }
            Mail::ToNode(message) => {
                if let ToNode::Standing(standing) = &message {
                    peer.view.standing(standing.clone(), now);
                }
                Event::Node(message)
            }
            Mail::Wake => Event::Wake,
            other => panic!("a node got {other:?}"),
        };
        peer.witness.step(event, now)
    }

    /// A node does one thing that its witness asked for.
    pub(crate) fn node_acts(&mut self, at: NodeIndex, effect: Effect) {
        match effect {
            Effect::Persist(durable) => self.node_persists(at, *durable),
            Effect::Tell(who, message) => {
                let who = self.host_index(&who);
                self.tell_agent(at, who, message);
            }
            Effect::TellAll(message) => {
                let group = self.group_index(message.group());
                let Some(others) = self.members[group].len().checked_sub(1) else { return };
                for member in 0..others {
                    self.tell_agent(at, self.members[group][member], message.clone());
                }
                self.tell_agent(at, self.members[group][others], message); // the last needs no copy
            }
            Effect::Nodes(message) => self.tell_nodes(at, &message),
            // It counts from when it was durable: see `node_persists`.
            Effect::Voted(vote) => self.say(|world| {
                let who = node(world.nodes[at].id);
                format!("{who} votes {} for {}: {}", vote.floor, inst(&vote.named), vote.reason)
            }),
            Effect::Decided(certificate) => {
                let now = self.local(at);
                self.nodes[at].view.decided(certificate.clone(), now);
                self.learns(at, certificate.group(), certificate.epoch(), certificate.named());
                self.say(|world| {
                    let who = node(world.nodes[at].id);
                    let primary = inst(certificate.named());
                    format!("{who} learns that {primary} is primary of {}", certificate.epoch())
                });
            }
        }
    }

    /// A vote is cast when it is durable, whether or not its witness lives to say it.
    fn voted(&mut self, at: NodeIndex, vote: &Vote) {
        let until = self.end_of_promise(at, vote.ttl);
        let named = self.host_index(&vote.named);
        let group = self.group_index(&vote.group);
        let (judged, found) = self.invariants.of(group);
        let primary = vote.named.clone();
        judged.told.push(Operation::Decide { begun: found.now, epoch: vote.floor, primary, known: None });
        judged.epochs.voted(vote.witness, vote.floor, named, found);
        if judged.votes.voted(vote, named, until, &judged.epochs, found) {
            judged.epochs.owned(vote.floor, named, found);
        }
    }

    /// A decision is known at a node: its watchers hear of it.
    pub(crate) fn learns(&mut self, at: NodeIndex, group: &GroupName, epoch: Epoch, primary: &InstanceName) {
        let who = self.host_index(primary);
        let (group, id) = (self.group_index(group), self.nodes[at].id);
        let (judged, found) = self.invariants.of(group);
        judged.epochs.owned(epoch, who, found);
        if judged.watch.learns(id, epoch, who, &mut judged.epochs, found) {
            judged.reads.known(epoch);
            judged.told.push(Operation::Told { at: found.now, epoch, primary: primary.clone() });
        }
    }

    fn node_persists(&mut self, at: NodeIndex, durable: Durable) {
        let peer = &mut self.nodes[at];
        let floor = durable.floor;
        let (id, name) = (peer.id, durable.group.name.clone());
        let before = match peer.durable.get_mut(&durable.group.name) {
            Some(kept) => Some(std::mem::replace(kept, durable)),
            None => {
                peer.durable.insert(durable.group.name.clone(), durable);
                None
            }
        };
        let after = &peer.durable[&name];
        epochs::witness_persists(id, before.as_ref(), after, &mut self.invariants.found);
        let cast = |durable: &Durable| -> Vec<Vote> {
            durable.chain.iter().filter_map(|link| link.vote.clone()).collect()
        };
        let known = before.as_ref().map(cast).unwrap_or_default();
        for vote in cast(after).iter().filter(|vote| !known.contains(vote)) {
            self.voted(at, vote);
        }
        if before.is_some_and(|before| before.floor != floor) {
            self.say(|_| format!("{} persists floor {floor}", node(id)));
        }
    }

    /// A node speaks to an agent; what it says must be durable.
    pub(crate) fn tell_agent(&mut self, at: NodeIndex, who: HostId, message: ToAgent) {
        let peer = &self.nodes[at];
        let kept = peer.durable.get(message.group());
        persist_before_send::node_says(peer.id, kept, &message, &mut self.invariants.found);
        let id = peer.id;
        if let ToAgent::Promised { epoch, ttl, .. } = &message {
            let until = self.end_of_promise(at, *ttl);
            let group = self.hosts[who].group;
            self.invariants.groups[group].votes.promised(id, who, *epoch, until);
        }
        if self.tells {
            self.say_answer(at, who, &message);
        }
        self.send(Proc::Node(at), Proc::Host(who), Mail::ToAgent(id, message));
    }

    /// The end of a promise that is given now. The witness counted from when it took the request in, a flush ago at
    /// most: that much less is what the holder may rest on.
    fn end_of_promise(&self, at: NodeIndex, ttl: std::time::Duration) -> u64 {
        let peer = &self.nodes[at];
        peer.clock.when(peer.clock.read(peer.stepped) + ttl)
    }

    fn say_answer(&mut self, at: NodeIndex, who: HostId, message: &ToAgent) {
        let answer = match message {
            ToAgent::Promised { .. } => None,
            ToAgent::Heard { refused: Some(refusal), .. } => Some(refusal.clone()),
            _ => return,
        };
        let before = self.nodes[at].answers.insert(who, answer.clone());
        let kind = |answer: &Option<Refusal>| answer.as_ref().map(std::mem::discriminant);
        let names = |world: &World| (node(world.nodes[at].id), inst(&world.hosts[who].me.instance));
        match (before, answer) {
            (Some(before), now) if kind(&before) == kind(&now) => {}
            (None, None) => {}
            (_, Some(refusal)) => self.say(|world| {
                let (node, inst) = names(world);
                format!("{node} refuses {inst}: {}", words::refusal(&refusal))
            }),
            (Some(_), None) => self.say(|world| {
                let (node, inst) = names(world);
                format!("{node} promises {inst} again")
            }),
        }
    }

    /// The first words on a stream. They are said when all that was decided before is durable, as everything that a node
    /// takes in is.
    fn greets(&mut self, at: NodeIndex, who: HostId) {
        let (witness, group) = (&self.nodes[at].witness, &self.hosts[who].me.group);
        let known = witness.group(group).cloned();
        let decided = witness.decided(group).cloned();
        if let Some(group) = known {
            self.tell_agent(at, who, ToAgent::Known(Box::new(group)));
        }
        if let Some(certificate) = decided {
            self.tell_agent(at, who, ToAgent::Decided(certificate));
        }
    }

    /// A node speaks to all others.
    pub(crate) fn tell_nodes(&mut self, at: NodeIndex, message: &ToNode) {
        let peer = &self.nodes[at];
        persist_before_send::node_tells(peer.id, &peer.durable, message, &mut self.invariants.found);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.send(Proc::Node(at), Proc::Node(other), Mail::ToNode(message.clone()));
        }
    }

    /// Kills a node's process.
    pub(crate) fn kill_node(&mut self, at: NodeIndex) {
        let unsynced = self.nodes[at].process.kill();
        if let Some(Effect::Persist(durable)) = unsynced
            && self.settings.unsynced
            && self.chance.once_in(2)
        {
            self.node_persists(at, *durable); // it had reached the disk, and nobody was told
        }
        if self.raft.leader == Some(at) {
            self.lead(None);
        }
        self.raft.stale.remove(&at);
    }

    /// Starts it again, with what it had made durable and nothing else: its log is replayed to it when somebody
    /// leads.
    pub(crate) fn start_node(&mut self, at: NodeIndex) {
        let now = self.local(at);
        let as_text = self.settings.as_text;
        let peer = &mut self.nodes[at];
        if peer.process.up {
            return;
        }
        peer.process.up = true;
        let kept: Vec<Durable> = if as_text {
            let texts = peer.durable.values().map(|kept| serde_json::to_string(kept).expect("writes"));
            texts.map(|text| serde_json::from_str(&text).expect("reads back")).collect()
        } else {
            peer.durable.values().cloned().collect()
        };
        peer.witness = Witness::new(peer.id, kept, now);
        peer.state = State::new("stage");
        (peer.applied, peer.sent) = (0, 0);
        let members = std::mem::take(&mut peer.view.members);
        peer.view = View::default();
        peer.view.members = members;
        peer.answers.clear();
        self.hosts.iter_mut().for_each(|host| host.receives = None); // it has heard of nobody yet
        self.relink_node(at);
        self.pump(Proc::Node(at));
    }
}
