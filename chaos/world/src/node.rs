//! A node on the stage: its witness, what the witness made durable, its copy of the log's state, its view.

use super::clock::Clock;
use super::process::Process;
use super::words::{self, inst, node};
use super::{Mail, Proc, Stage};
use regent_core::ids::{GroupName, InstanceName, NodeId};
use regent_core::message::{Refusal, ToAgent, ToNode, ToWitness};
use regent_core::state::State;
use regent_core::view::View;
use regent_core::witness::{Durable, Effect, Event, Witness};
use std::collections::BTreeMap;

/// A node.
pub struct Node {
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
    pub answers: BTreeMap<InstanceName, Option<Refusal>>,
}

impl Stage {
    /// A node takes one message in.
    pub fn node_steps(&mut self, id: NodeId, mail: Mail) -> Vec<Effect> {
        let now = self.local(id);
        if let Mail::Applied(upto) = mail {
            return self.apply(id, upto);
        }
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        let event = match mail {
            Mail::ToWitness(ToWitness::Hello { group, instance, at }) => {
                peer.view.hello(&group, instance, at, now);
                return Vec::new();
            }
            Mail::ToWitness(ToWitness::Report(report)) => {
                peer.view.report(report.clone(), now);
                Event::Report(report)
            }
            Mail::ToWitness(ToWitness::Release(release)) => Event::Release(release),
            Mail::ToWitness(ToWitness::Show(certificate)) => Event::Show(certificate),
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
    pub fn node_acts(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Persist(durable) => self.node_persists(id, *durable),
            Effect::Tell(who, message) => self.tell_agent(id, &who, message),
            Effect::TellAll(message) => {
                for who in self.hosts_of(message.group()) {
                    self.tell_agent(id, &who, message.clone());
                }
            }
            Effect::Nodes(message) => self.tell_nodes(id, &message),
            Effect::Voted(vote) => {
                let until = self.end_of_promise(id, vote.ttl);
                let text =
                    format!("{} votes {} for {}: {}", node(id), vote.floor, inst(&vote.named), vote.reason);
                self.say(&text);
                self.checks.voted(&vote, self.now, until);
            }
            Effect::Decided(certificate) => {
                let now = self.local(id);
                self.nodes.get_mut(&id).expect("a node of the stage").view.decided(certificate.clone(), now);
                self.checks.owned(certificate.group(), certificate.epoch(), certificate.named());
                self.say(&format!(
                    "{} learns that {} is primary of {}",
                    node(id),
                    inst(certificate.named()),
                    certificate.epoch()
                ));
            }
        }
    }

    fn node_persists(&mut self, id: NodeId, durable: Durable) {
        let group = durable.group.name.clone();
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        let before = peer.durable.insert(group, durable.clone());
        let floor = before.as_ref().map_or(durable.floor, |before| before.floor);
        if floor != durable.floor {
            self.say(&format!("{} persists floor {}", node(id), durable.floor));
        }
        self.checks.durable(floor <= durable.floor, &node(id), "a lower floor");
    }

    /// A node speaks to an agent; what it says must be durable.
    pub fn tell_agent(&mut self, id: NodeId, who: &InstanceName, message: ToAgent) {
        let durable = self.nodes[&id].durable.get(message.group());
        let kept = match &message {
            ToAgent::Vote(vote) => durable.is_some_and(|kept| {
                kept.floor >= vote.floor && kept.chain.iter().any(|link| link.vote.as_ref() == Some(vote))
            }),
            ToAgent::Promised { revision, .. } => {
                durable.is_some_and(|kept| kept.group.revision >= *revision)
            }
            ToAgent::Known(group) => durable.is_some_and(|kept| kept.group.revision >= group.revision),
            _ => true,
        };
        self.checks.durable(kept, &node(id), "a vote, a promise or the log's word");
        if let ToAgent::Promised { group, epoch, ttl, .. } = &message {
            let until = self.end_of_promise(id, *ttl);
            self.checks.promised(group, id, who, *epoch, until);
        }
        self.say_answer(id, who, &message);
        self.send(&node(id), who.as_str(), Proc::Host(who.clone()), Mail::ToAgent(id, message));
    }

    /// The end of a promise that is given now. The witness counted from when it took the request in, a flush ago at
    /// most: that much less is what the holder may rest on.
    fn end_of_promise(&self, id: NodeId, ttl: std::time::Duration) -> u64 {
        let peer = &self.nodes[&id];
        peer.clock.when(peer.clock.read(peer.stepped) + ttl)
    }

    fn say_answer(&mut self, id: NodeId, who: &InstanceName, message: &ToAgent) {
        let answer = match message {
            ToAgent::Promised { .. } => None,
            ToAgent::Heard { refused: Some(refusal), .. } => Some(refusal.clone()),
            _ => return,
        };
        let answers = &mut self.nodes.get_mut(&id).expect("a node of the stage").answers;
        let before = answers.insert(who.clone(), answer.clone());
        let kind = |answer: &Option<Refusal>| answer.as_ref().map(std::mem::discriminant);
        match (before, answer) {
            (Some(before), now) if kind(&before) == kind(&now) => {}
            (None, None) => {}
            (_, Some(refusal)) => {
                self.say(&format!("{} refuses {}: {}", node(id), inst(who), words::refusal(&refusal)))
            }
            (Some(_), None) => self.say(&format!("{} promises {} again", node(id), inst(who))),
        }
    }

    /// A node speaks to all others.
    pub fn tell_nodes(&mut self, id: NodeId, message: &ToNode) {
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            let mail = Mail::ToNode(message.clone());
            self.send(&node(id), &node(other), Proc::Node(other), mail);
        }
    }

    /// Kills a node's process.
    pub fn kill_node(&mut self, id: NodeId) {
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        peer.process.kill();
        if self.raft.leader == Some(id) {
            self.lead(None);
        }
        self.raft.stale.remove(&id);
    }

    /// Starts it again, with what it had made durable and nothing else: its log is replayed to it when somebody
    /// leads.
    pub fn start_node(&mut self, id: NodeId) {
        let now = self.local(id);
        let peer = self.nodes.get_mut(&id).expect("a node of the stage");
        if peer.process.up {
            return;
        }
        peer.process.up = true;
        let bytes: Vec<String> =
            peer.durable.values().map(|kept| serde_json::to_string(kept).expect("writes")).collect();
        let kept = bytes.iter().map(|text| serde_json::from_str(text).expect("reads back"));
        peer.witness = Witness::new(id, kept, now);
        peer.state = State::new("stage");
        (peer.applied, peer.sent) = (0, 0);
        let members = std::mem::take(&mut peer.view.members);
        peer.view = View::default();
        peer.view.members = members;
        peer.answers.clear();
        self.relink_node(id);
        self.pump(&Proc::Node(id));
    }
}
