//! What the adversary can do in a state, and how it is done.

use crate::configuration::Config;
use crate::mail::Letter;
use crate::play::Play;
use crate::words::{electorate, group, inst, instance, node, witness, witnesses};
use crate::world::World;
use regent_core::agent;
use regent_core::command::Command;
use regent_core::ids::{Epoch, Revision};
use regent_core::message::{HandOver, Role, Solicit, ToAgent, ToNode};
use regent_core::quorum::Electorate;
use regent_core::switchover::WAIT;
use regent_core::vote::{Certificate, Reason};
use regent_core::witness::Event;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One move.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// A tick passes; all processes wake.
    Tick,
    /// A letter is taken.
    Deliver(Arc<Letter>),
    /// One who thinks it leads asks a witness for a vote.
    Solicit(usize, Epoch, usize),
    /// One who thinks it leads asks an agent to decline.
    Decline(usize, Epoch),
    /// One who thinks it leads records a decision, possibly with a new electorate.
    Record(Box<Certificate>, Option<Electorate>),
    /// A node applies the next entry of the log.
    Apply(usize),
    /// A node is killed and comes back.
    RestartNode(usize),
    /// An agent is killed and comes back.
    RestartAgent(usize),
    /// A Postgres dies.
    Death(usize),
    /// A primary is asked to hand over.
    HandOver(usize, usize),
}

impl Action {
    /// All moves from a state, in a fixed order.
    pub fn all(config: &Config, world: &World, moves: &mut Vec<Action>) {
        if world.oath.breach.is_some() {
            return; // what follows from it is no news
        }
        if world.ticks(config) < config.ticks {
            moves.push(Action::Tick);
        }
        moves.extend(world.mail.letters().cloned().map(Action::Deliver));
        for at in 0..world.nodes.len() {
            if world.nodes[at].applied + 1 < world.log.len() {
                moves.push(Action::Apply(at));
            }
            let floor = world.nodes[at].durable.as_ref().map(|durable| durable.floor).unwrap_or_default();
            let wishes = config.solicits.iter().filter(|(epoch, _)| Epoch(*epoch) >= floor);
            moves.extend(wishes.map(|(epoch, whom)| Action::Solicit(at, Epoch(*epoch), *whom)));
            if world.faults.node_restarts > 0 {
                moves.push(Action::RestartNode(at));
            }
        }
        for at in 0..world.hosts.len() {
            Action::at_host(config, world, at, moves);
        }
        if config.records {
            Action::records(config, world, moves);
        }
    }

    fn at_host(config: &Config, world: &World, at: usize, moves: &mut Vec<Action>) {
        let declined = world.hosts[at].agent.durable().declined;
        let wishes = config.declines.iter().map(|epoch| Epoch(*epoch)).filter(|epoch| *epoch > declined);
        moves.extend(wishes.map(|epoch| Action::Decline(at, epoch)));
        if world.faults.agent_restarts > 0 {
            moves.push(Action::RestartAgent(at));
        }
        if world.hosts[at].postgres.observe().role != Role::Primary {
            return;
        }
        if world.faults.deaths > 0 {
            moves.push(Action::Death(at));
        }
        if world.faults.hand_overs > 0 {
            let others = (0..world.hosts.len()).filter(|to| *to != at);
            moves.extend(others.map(|to| Action::HandOver(at, to)));
        }
    }

    fn records(config: &Config, world: &World, moves: &mut Vec<Action>) {
        let group = world.group();
        for certificate in world.certificates.iter().filter(|held| held.epoch() > group.epoch) {
            moves.push(Action::Record(Box::new(certificate.clone()), None));
            if group.primary.as_ref() == Some(certificate.named()) {
                let wishes = config.electorates.iter().map(|wish| electorate(wish));
                let news = wishes.filter(|wish| *wish != group.electorate);
                moves.extend(news.map(|wish| Action::Record(Box::new(certificate.clone()), Some(wish))));
            }
        }
    }

    /// Does it.
    pub fn play(&self, play: &mut Play<'_>) {
        match self {
            Action::Tick => play.pass(play.config.tick),
            Action::Deliver(letter) => play.deliver(letter),
            Action::Solicit(at, epoch, whom) => {
                // The stalest of leaders asks: it has applied nothing that any witness would miss.
                let solicit = Solicit {
                    group: group(),
                    epoch: *epoch,
                    named: instance(*whom),
                    revision: Revision(0),
                    reason: Reason::Reaffirmed,
                };
                play.node_steps(*at, Event::Node(ToNode::Solicit(solicit)));
            }
            Action::Decline(at, up_to) => {
                let message = ToAgent::Decline { group: group(), up_to: *up_to };
                play.host_steps(*at, agent::Event::Heard(node(0), message));
            }
            Action::Record(certificate, electorate) => {
                play.propose(&Command::Record {
                    certificate: (**certificate).clone(),
                    electorate: electorate.clone(),
                    positions: BTreeMap::new(),
                    at_unix_ms: 0,
                });
            }
            Action::Apply(at) => play.apply(*at),
            Action::RestartNode(at) => {
                play.world.faults.node_restarts -= 1;
                play.restart_node(*at);
            }
            Action::RestartAgent(at) => {
                play.world.faults.agent_restarts -= 1;
                play.restart_agent(*at);
            }
            Action::Death(at) => {
                play.world.faults.deaths -= 1;
                play.postgres_dies(*at);
            }
            Action::HandOver(at, to) => {
                play.world.faults.hand_overs -= 1;
                let epoch = play.world.hosts[*at].agent.durable().acted;
                let ticket = u64::from(play.world.faults.hand_overs);
                let wish = HandOver { epoch, to: instance(*to), ticket, wait: WAIT, restart: false };
                let message = ToAgent::HandOver { group: group(), wish };
                play.host_steps(*at, agent::Event::Heard(node(0), message));
            }
        }
        play.settle();
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let w = |at: &usize| witness(node(*at));
        let i = |at: &usize| inst(&instance(*at));
        match self {
            Action::Tick => f.write_str("a tick passes"),
            Action::Deliver(letter) => letter.fmt(f),
            Action::Solicit(at, epoch, whom) => {
                write!(f, "{} is asked to vote for {} in {epoch}", w(at), i(whom))
            }
            Action::Decline(at, up_to) => write!(f, "{} is asked to decline everything up to {up_to}", i(at)),
            Action::Record(certificate, electorate) => {
                let voters = witnesses(certificate.votes().iter().map(|vote| &vote.witness));
                write!(f, "the log records {} in {}", inst(certificate.named()), certificate.epoch())?;
                write!(f, " by the votes of {voters}")?;
                electorate
                    .as_ref()
                    .map_or(Ok(()), |to| write!(f, ", from now on governed by {}", witnesses(to)))
            }
            Action::Apply(at) => write!(f, "{} applies the next entry of the log", w(at)),
            Action::RestartNode(at) => write!(f, "{} restarts", w(at)),
            Action::RestartAgent(at) => write!(f, "{}'s agent restarts", i(at)),
            Action::Death(at) => write!(f, "{}'s Postgres dies", i(at)),
            Action::HandOver(at, to) => write!(f, "{} is asked to hand over to {}", i(at), i(to)),
        }
    }
}
