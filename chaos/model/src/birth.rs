//! The states in which histories begin: a group with A as its primary in epoch 1, B and C to follow, made by the core's
//! own commands.

use crate::configuration::{Config, Letters, TTL};
use crate::kept::Kept;
use crate::mail::Mail;
use crate::oath::Oath;
use crate::play::{NEVER_HANGS, Play, identity};
use crate::postgres::Postgres;
use crate::words::{electorate, group, instance, node};
use crate::world::{Host, Node, Parts, World};
use regent_core::agent::Agent;
use regent_core::command::{self, Command, Terms};
use regent_core::ids::{Epoch, RegionName};
use regent_core::state::State;
use regent_core::time::Time;
use regent_core::witness::{Event, Witness};

/// One beginning for each set of clocks.
pub fn beginnings(config: &Config, parts: &Parts) -> Vec<World> {
    (0..config.clocks.len()).map(|clocks| beginning(config, clocks, parts)).collect()
}

/// A holds promises of all witnesses, given just now.
fn beginning(config: &Config, clocks: usize, parts: &Parts) -> World {
    let zero = config.clocks[clocks][0].read(0);
    let state = founded(config);
    let word = state.groups[&group()].clone();
    let world = World {
        now: 0,
        clocks,
        nodes: (0..config.nodes).map(|at| Kept::new(new_node(at, zero))).collect(),
        hosts: (0..3).map(|at| Kept::new(new_host(at, zero))).collect(),
        log: Kept::new(vec![state]),
        certificates: Kept::new(Vec::new()),
        mail: Kept::new(Mail::default()),
        oath: Kept::new(Oath::default()),
        faults: config.faults,
    };
    let mut play = Play::new(config, world);
    // Answers may come a second time, also those to the first reports.
    play.letters = Letters { answers: config.letters.answers, ..Letters::ALL_AT_ONCE };
    play.world.oath.change().logged(word.epoch, &instance(0), &word.succession, &word.electorate);
    for at in 0..config.nodes {
        play.node_steps(at, Event::Applied(Box::new(word.clone())));
    }
    for at in 0..3 {
        play.restart_agent(at);
        let letters: Vec<_> = play.world.mail.letters().cloned().collect();
        letters.iter().for_each(|letter| play.deliver(letter));
        play.settle();
    }
    play.end(parts).0
}

fn new_node(at: usize, now: Time) -> Node {
    Node { witness: Witness::new(node(at), None, now), durable: None, applied: 0 }
}

fn new_host(at: usize, now: Time) -> Host {
    let (mut agent, _) = Agent::new(identity(at), None, now);
    agent.set_probe_timeout(NEVER_HANGS);
    Host { agent, durable: None, postgres: Postgres::new(), gate: None }
}

/// The state of a cluster whose group has A as its primary.
fn founded(config: &Config) -> State {
    let mut state = State::new("model");
    for command in commands(config) {
        state.apply(&command).expect("a command that is in order");
    }
    let (group, succession) = (group(), vec![instance(1), instance(2)]);
    let revision = state.groups[&group].revision;
    let heirs = Command::SetSuccession { group, epoch: Epoch(1), revision, succession, offer: None };
    state.apply(&heirs).expect("a command that is in order");
    state
}

fn commands(config: &Config) -> Vec<Command> {
    let region = RegionName::new("r").expect("a valid name");
    let place = command::Node { region, address: "r:1".to_owned() };
    let terms = Terms { ttl: TTL, suspicion: config.suspicion, ..Terms::default() };
    let mut all: Vec<Command> =
        (0..config.nodes).map(|at| Command::SetNode { id: node(at), node: place.clone() }).collect();
    all.push(Command::CreateGroup { group: group(), terms, electorate: electorate(&[0, 1, 2]), first: None });
    all.extend((0..3).map(|at| Command::Register {
        group: group(),
        instance: instance(at),
        at: identity(at).at,
    }));
    all.push(Command::Begin { group: group(), primary: instance(0), at_unix_ms: 0 });
    all.push(Command::SetSystem { group: group(), system_id: 7, timeline_base: 0 });
    all
}
