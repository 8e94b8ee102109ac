//! A node in an action: its witness takes events in, and its effects are carried out.

use super::Play;
use crate::mail::Letter;
use crate::words::{inst, node as id_of, witness as written};
use regent_core::ids::InstanceName;
use regent_core::message::{ToAgent, ToNode};
use regent_core::vote::Vote;
use regent_core::witness::{Effect, Event, Witness};
use std::time::Duration;

impl Play<'_> {
    /// A witness takes an event in.
    pub fn node_steps(&mut self, at: usize, event: Event) {
        if self.lost(at) {
            return;
        }
        let now = self.node_clock(at).read(self.world.now);
        let effects = self.world.nodes[at].change().witness.step(event, now);
        for effect in effects {
            self.node_acts(at, effect);
        }
    }

    fn node_acts(&mut self, at: usize, effect: Effect) {
        let id = id_of(at);
        match effect {
            Effect::Persist(durable) => self.world.nodes[at].change().durable = Some(*durable),
            Effect::Tell(to, message) => self.node_tells(at, to, message),
            Effect::TellAll(message) => {
                for to in self.instances() {
                    self.node_tells(at, to, message.clone());
                }
            }
            Effect::Nodes(message) => {
                if self.leader.is_none() && matches!(message, ToNode::Standing(_)) {
                    return; // nobody plans on it
                }
                self.note_standing(id, &message);
                for other in self.ids().filter(|other| *other != id) {
                    self.send(Letter::Node(id, other, message.clone()));
                }
            }
            Effect::Voted(vote) => self.node_voted(at, &vote),
            Effect::Decided(certificate) => {
                let now = self.node_clock(at).read(self.world.now);
                if let Some((leader, view)) = &mut self.leader
                    && *leader == id
                {
                    view.decided(certificate.clone(), now);
                }
                self.tell(|| {
                    let (owner, epoch) = (inst(certificate.named()), certificate.epoch());
                    format!("{} learns that {owner} is primary of {epoch}", written(id))
                });
                self.holds(&certificate);
            }
        }
    }

    fn node_voted(&mut self, at: usize, vote: &Vote) {
        let until = self.end_of_promise(at, vote.ttl);
        let now = self.world.now;
        self.tell(|| {
            format!(
                "{} votes for {} in {}: {}",
                written(id_of(at)),
                inst(&vote.named),
                vote.floor,
                vote.reason
            )
        });
        self.world.oath.change().voted(vote, now, until);
    }

    fn node_tells(&mut self, at: usize, to: InstanceName, message: ToAgent) {
        let id = id_of(at);
        if !self.is_durable(at, &message) {
            self.world.oath.change().said_too_early(&written(id), "a vote, a promise or the log's word");
        }
        if let ToAgent::Promised { epoch, ttl, .. } = &message {
            let until = self.end_of_promise(at, *ttl);
            self.world.oath.change().promised(id, &to, *epoch, until);
            self.tell(|| format!("{} promises {} under {epoch}", written(id), inst(&to)));
        }
        self.send(Letter::Agent(id, to, message));
    }

    fn is_durable(&self, at: usize, message: &ToAgent) -> bool {
        let kept = self.world.nodes[at].durable.as_ref();
        kept.is_some_and(|kept| match message {
            ToAgent::Vote(vote) => {
                kept.floor >= vote.floor && kept.chain.iter().any(|link| link.vote.as_ref() == Some(vote))
            }
            ToAgent::Promised { revision, .. } => kept.group.revision >= *revision,
            ToAgent::Known(group) => kept.group.revision >= group.revision,
            _ => true,
        })
    }

    fn end_of_promise(&self, at: usize, ttl: Duration) -> u64 {
        let clock = self.node_clock(at);
        clock.when(clock.read(self.world.now) + ttl)
    }

    /// A node is killed and comes back at once; all agents find it again.
    pub fn restart_node(&mut self, at: usize) {
        let now = self.node_clock(at).read(self.world.now);
        let node = self.world.nodes[at].change();
        node.witness = Witness::new(id_of(at), node.durable.clone(), now);
        for host in 0..self.world.hosts.len() {
            self.link(host, at);
        }
        self.settle();
    }
}
