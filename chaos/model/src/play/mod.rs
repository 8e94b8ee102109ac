//! Plays one action to its end: a process takes an event in, does what its core says in order, and letters that are
//! delivered at once are taken in turn. What may enter: running the core and carrying out its effects. What may not: a
//! rule of the protocol.

mod host;
mod node;

pub use host::{NEVER_HANGS, identity};

use crate::clock::Clock;
use crate::configuration::{Config, Delivery, Letters};
use crate::mail::Letter;
use crate::words::{group, instance, node as id_of, number_of, place_of};
use crate::world::{Parts, World};
use regent_core::command::Command;
use regent_core::ids::NodeId;
use regent_core::message::{ToAgent, ToNode, ToWitness};
use regent_core::view::View;
use regent_core::vote::Certificate;
use regent_core::{agent, witness};
use std::collections::VecDeque;

/// One action under way.
pub struct Play<'a> {
    pub config: &'a Config,
    pub world: World,
    /// What becomes of the letters.
    pub letters: Letters,
    /// The region that is gone: its node and its instance.
    pub lost: Option<usize>,
    /// A leader that plans, and what its node has heard.
    pub leader: Option<(NodeId, View)>,
    /// What happened, for a trace.
    pub told: Option<Vec<String>>,
    at_once: VecDeque<Letter>,
}

impl<'a> Play<'a> {
    /// Begins at a state.
    pub fn new(config: &'a Config, world: World) -> Play<'a> {
        let letters = config.letters;
        Play { config, world, letters, lost: None, leader: None, told: None, at_once: VecDeque::new() }
    }

    /// Ends the action.
    pub fn end(mut self, parts: &Parts) -> (World, Vec<String>) {
        self.world.seal(parts);
        (self.world, self.told.unwrap_or_default())
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(what());
        }
    }

    pub fn node_clock(&self, at: usize) -> Clock {
        self.config.clocks[self.world.clocks][at]
    }

    pub fn host_clock(&self, at: usize) -> Clock {
        self.config.clocks[self.world.clocks][self.config.nodes + at]
    }

    pub fn lost(&self, at: usize) -> bool {
        self.lost == Some(at)
    }

    /// Time passes: all wake, agents first, as their reports are the older news.
    pub fn pass(&mut self, nanos: u64) {
        self.world.now += nanos;
        let now = self.world.now;
        self.world.oath.change().forget(now);
        for at in 0..self.world.hosts.len() {
            self.host_steps(at, agent::Event::Wake);
            self.settle();
        }
        for at in 0..self.world.nodes.len() {
            self.node_steps(at, witness::Event::Wake);
            self.settle();
        }
    }

    /// Sends a letter the way that letters of its kind go.
    fn send(&mut self, letter: Letter) {
        match delivery(&self.letters, &letter) {
            Delivery::AtOnce => self.at_once.push_back(letter),
            Delivery::Free if self.world.mail.holds(&letter) => {}
            Delivery::Free => self.world.mail.change().send(letter, self.config.reports),
            Delivery::Never => {}
        }
    }

    /// Delivers what comes at once, and what comes at once of that.
    pub fn settle(&mut self) {
        while let Some(letter) = self.at_once.pop_front() {
            self.deliver(&letter);
        }
    }

    /// Delivers one letter.
    pub fn deliver(&mut self, letter: &Letter) {
        match letter.clone() {
            Letter::Witness(from, to, message) => {
                if !self.lost(number_of(&from)) {
                    self.note_report(to, &message);
                    match message {
                        ToWitness::Hello { .. } | ToWitness::Tail { .. } => {}
                        ToWitness::Report(report) => {
                            self.node_steps(place_of(to), witness::Event::Report(report))
                        }
                        ToWitness::Release(release) => {
                            self.node_steps(place_of(to), witness::Event::Release(release))
                        }
                        ToWitness::Show(shown) => self.node_steps(place_of(to), witness::Event::Show(shown)),
                    }
                }
            }
            Letter::Agent(from, to, message) => {
                if !self.lost(place_of(from)) {
                    self.host_steps(number_of(&to), agent::Event::Heard(from, message));
                }
            }
            Letter::Node(from, to, message) => {
                if !self.lost(place_of(from)) {
                    self.note_standing(to, &message);
                    self.node_steps(place_of(to), witness::Event::Node(message));
                }
            }
        }
    }

    /// The leader's node hears what its witness hears.
    fn note_report(&mut self, to: NodeId, message: &ToWitness) {
        let now = self.node_clock(place_of(to)).read(self.world.now);
        if let (Some((leader, view)), ToWitness::Report(report)) = (&mut self.leader, message)
            && *leader == to
        {
            view.report((**report).clone(), now);
        }
    }

    fn note_standing(&mut self, to: NodeId, message: &ToNode) {
        let now = self.node_clock(place_of(to)).read(self.world.now);
        if let (Some((leader, view)), ToNode::Standing(standing)) = (&mut self.leader, message)
            && *leader == to
        {
            view.standing(standing.clone(), now);
        }
    }

    /// Somebody holds a decision: whoever leads can propose to record it.
    fn holds(&mut self, certificate: &Certificate) {
        self.world.oath.change().owned(certificate.epoch(), certificate.named());
        if !self.world.certificates.contains(certificate) {
            let held = self.world.certificates.change();
            held.push(certificate.clone());
            held.sort_by_key(|held| {
                let voters: Vec<(NodeId, u64)> =
                    held.votes().iter().map(|vote| (vote.witness, vote.basis.0)).collect();
                (held.epoch(), voters)
            });
        }
    }

    /// Appends to the log; says whether that changed anything.
    pub fn propose(&mut self, command: &Command) -> bool {
        let mut state = self.world.log.last().expect("a log is never empty").clone();
        let revision = state.groups[&group()].revision;
        if state.apply(command).is_err() || state.groups[&group()].revision == revision {
            return false;
        }
        let group = state.groups[&group()].clone();
        if let Some(primary) = &group.primary {
            self.world.oath.change().logged(group.epoch, primary, &group.succession, &group.electorate);
        }
        self.world.log.change().push(state);
        true
    }

    /// A node applies the next entry of the log.
    pub fn apply(&mut self, at: usize) {
        let next = self.world.nodes[at].applied + 1;
        let word = self.world.log[next].groups[&group()].clone();
        self.world.nodes[at].change().applied = next;
        self.node_steps(at, witness::Event::Applied(Box::new(word)));
        self.settle();
    }

    /// All instances, as letters are addressed.
    fn instances(&self) -> impl Iterator<Item = regent_core::ids::InstanceName> + use<> {
        (0..self.world.hosts.len()).map(instance)
    }

    /// All nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.world.nodes.len()).map(id_of)
    }
}

fn delivery(letters: &Letters, letter: &Letter) -> Delivery {
    match letter {
        Letter::Witness(_, _, ToWitness::Report(report)) if report.claims.is_some() => letters.claims,
        Letter::Witness(_, _, ToWitness::Report(_)) => Delivery::AtOnce,
        Letter::Witness(_, _, ToWitness::Release(_)) => letters.releases,
        Letter::Witness(_, _, ToWitness::Show(_)) => letters.decisions,
        Letter::Witness(_, _, ToWitness::Hello { .. } | ToWitness::Tail { .. }) => Delivery::Never,
        Letter::Agent(_, _, ToAgent::Known(_)) => letters.word,
        Letter::Agent(_, _, ToAgent::Promised { .. }) => letters.answers,
        Letter::Agent(_, _, ToAgent::Vote(_)) => letters.votes,
        Letter::Agent(_, _, ToAgent::Decided(_)) => letters.decisions,
        // A refusal only makes an agent show what it holds.
        Letter::Agent(_, _, ToAgent::Heard { refused, .. }) if refused.is_none() => Delivery::Never,
        Letter::Agent(..) => Delivery::AtOnce,
        Letter::Node(_, _, ToNode::Vote(_)) => letters.ballots,
        Letter::Node(_, _, ToNode::Decided(_)) => letters.decisions,
        Letter::Node(..) => Delivery::AtOnce,
    }
}
