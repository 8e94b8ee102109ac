//! Whether a state is a wedge: from it on nothing goes wrong any more, a leader plans, and within a bound somebody must be
//! primary and the log say so.

use crate::configuration::{Config, Letters};
use crate::play::Play;
use crate::words::{group, instance, node as id_of, number_of};
use crate::world::World;
use regent_core::ids::{InstanceName, NodeId};
use regent_core::plan::{Action, plan};
use regent_core::quorum::is_majority;
use regent_core::view::View;
use regent_core::witness::Event;

/// A step of the continuation: how often agents report.
const STEP: u64 = 50_000_000;
/// How many steps the mending may take: 20 s, a hundred times a promise.
const STEPS: usize = 400;

/// Continues a state fairly, whole and with each region lost in turn; says from what nothing came, if from anything.
pub fn wedged(config: &Config, world: &World) -> Option<String> {
    if !recovers(config, world, None) {
        return Some("everything is connected, and nothing is decided any more".to_owned());
    }
    (0..3).find(|lost| can_go_on_without(config, world, *lost) && !recovers(config, world, Some(*lost))).map(
        |lost| {
            let region = instance(lost);
            format!("without region {region} a majority and an eligible instance are connected, and nothing is decided")
        },
    )
}

/// Whether a majority of the witnesses that are left may name an instance that is left: if not, whoever may be primary is
/// gone and so are all it protected, and a person has to choose.
fn can_go_on_without(config: &Config, world: &World, lost: usize) -> bool {
    let play = Play::new(config, world.clone());
    let left = (0..3).filter(|at| *at != lost).map(instance);
    let may_name = |name: &InstanceName| {
        let standings = (0..config.nodes).filter(|at| *at != lost).filter_map(|at| {
            let now = play.node_clock(at).read(world.now);
            world.nodes[at].witness.standing(&group(), now)
        });
        let voters: Vec<NodeId> = standings
            .filter(|standing| standing.may_name.contains(name))
            .map(|standing| standing.witness)
            .collect();
        is_majority(&world.group().electorate, &voters)
    };
    left.into_iter().any(|name| may_name(&name))
}

fn recovers(config: &Config, world: &World, lost: Option<usize>) -> bool {
    let mut play = Play::new(config, world.clone());
    play.letters = Letters::ALL_AT_ONCE;
    play.lost = lost;
    let leader = usize::from(lost == Some(0));
    play.leader = Some((id_of(leader), View::default()));
    for at in 0..play.world.hosts.len() {
        for node in 0..play.world.nodes.len() {
            play.link(at, node);
        }
    }
    play.settle();
    (0..STEPS).any(|_| {
        step(&mut play, leader);
        well(&play)
    })
}

fn step(play: &mut Play<'_>, leader: usize) {
    play.pass(STEP);
    for at in 0..play.world.nodes.len() {
        while !play.lost(at) && play.world.nodes[at].applied + 1 < play.world.log.len() {
            play.apply(at);
        }
    }
    let now = play.node_clock(leader).read(play.world.now);
    let node = &play.world.nodes[leader];
    let state = play.world.log[node.applied].clone();
    let standing = node.witness.standing(&group(), now);
    // What it knew before it led, its view was told at the time.
    let decided = node.witness.decided(&group()).cloned();
    let Some((_, view)) = &mut play.leader else { return };
    standing.into_iter().for_each(|standing| view.standing(standing, now));
    decided.into_iter().for_each(|decided| view.decided(decided, now));
    view.look(&state, now);
    for action in plan(&state, view, now, 0) {
        carry_out(play, leader, action);
    }
}

fn carry_out(play: &mut Play<'_>, leader: usize, action: Action) {
    match action {
        Action::Propose(command) => {
            play.propose(&command);
        }
        Action::Solicit(solicit) => {
            let now = play.node_clock(leader).read(play.world.now);
            if let Some((_, view)) = &mut play.leader {
                view.solicited(&solicit.group, now);
            }
            for at in 0..play.world.nodes.len() {
                play.node_steps(at, Event::Node(regent_core::message::ToNode::Solicit(solicit.clone())));
                play.settle();
            }
        }
        Action::Ask(_, who, message) => play.ask(&who, id_of(leader), message),
    }
}

/// Whether the log's primary holds its lease, Postgres writes, and nobody else's does.
fn well(play: &Play<'_>) -> bool {
    let group = play.world.group();
    let primary = group.primary.as_ref().map(number_of);
    primary.is_some_and(|at| !play.lost(at) && play.open_in(at) == Some(group.epoch))
}
