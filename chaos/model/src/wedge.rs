//! Whether a state is a wedge: from it on nothing goes wrong any more, a leader plans, and within a bound somebody must be
//! primary and the log say so.

use crate::configuration::{Config, Letters};
use crate::play::Play;
use crate::words::{group, inst, instance, node as id_of, number_of, witness};
use crate::world::World;
use regent_core::ids::NodeId;
use regent_core::message::{Solicit, Standing, ToNode};
use regent_core::plan::{Action, plan};
use regent_core::quorum::is_majority;
use regent_core::view::View;
use regent_core::witness::Event;

/// A step of the continuation: how often agents report.
const STEP: u64 = 50_000_000;
/// How many steps the mending may take: 20 s, a hundred times a promise.
const STEPS: usize = 400;

/// How much of a continuation is told: what comes after repeats itself.
const TOLD: usize = 60;

/// A wedge: what is connected, and what comes of it.
pub struct Wedge {
    /// What it is.
    pub what: String,
    /// How it goes on, one line a step in which something happens.
    pub lines: Vec<String>,
}

/// How a continuation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Somebody is primary, and the log says so.
    Well,
    /// Nothing is decided, and nothing can be: whoever may have been decided is lost, and so is whom it protected
    /// (finding F11c). A person has to choose.
    Forlorn,
    /// Nothing is decided, though a majority may name an instance that is there.
    Stuck,
}

/// What came of continuing a state, whole and with each region lost in turn.
pub struct Continued {
    /// How many of the continuations need a person.
    pub forlorn: usize,
    /// The first that is stuck.
    pub wedge: Option<Wedge>,
}

/// Continues a state fairly, whole and with each region lost in turn.
pub fn continued(config: &Config, world: &World) -> Continued {
    let mut forlorn = 0;
    for lost in [None, Some(0), Some(1), Some(2)] {
        match go_on(config, world, lost, None) {
            Ending::Well => {}
            Ending::Forlorn if lost.is_some() => forlorn += 1,
            Ending::Forlorn | Ending::Stuck => {
                return Continued { forlorn, wedge: Some(tell(config, world, lost)) };
            }
        }
    }
    Continued { forlorn, wedge: None }
}

fn tell(config: &Config, world: &World, lost: Option<usize>) -> Wedge {
    let what = match lost {
        None => "everything is connected, and nothing is decided any more".to_owned(),
        Some(lost) => {
            let who = inst(&instance(lost));
            let left = "a majority may name an instance that is there, and nothing is decided any more";
            format!("{} and {who} are lost, {left}", witness(id_of(lost)))
        }
    };
    let mut lines = Vec::new();
    go_on(config, world, lost, Some(&mut lines));
    Wedge { what, lines }
}

fn go_on(config: &Config, world: &World, lost: Option<usize>, mut told: Option<&mut Vec<String>>) -> Ending {
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
    for _ in 0..STEPS {
        play.told = told.is_some().then(Vec::new);
        step(&mut play, leader);
        if let (Some(lines), Some(said)) = (&mut told, &play.told)
            && !said.is_empty()
            && lines.len() < TOLD
        {
            lines.push(format!("{:7.2} ms  ... {}", play.world.now as f64 / 1e6, said.join("; ")));
        }
        if well(&play) {
            return Ending::Well;
        }
    }
    if somebody_may_be_named(&play) { Ending::Stuck } else { Ending::Forlorn }
}

/// Whether a majority of the electorate, of those that are left, may name one and the same instance that is left.
fn somebody_may_be_named(play: &Play<'_>) -> bool {
    let nodes = (0..play.world.nodes.len()).filter(|at| !play.lost(*at));
    let standings: Vec<Standing> = nodes
        .filter_map(|at| {
            let now = play.node_clock(at).read(play.world.now);
            play.world.nodes[at].witness.standing(&group(), now)
        })
        .collect();
    let mut left = (0..play.world.hosts.len()).filter(|at| !play.lost(*at)).map(instance);
    left.any(|name| {
        let may = standings.iter().filter(|standing| standing.may_name.contains(&name));
        let voters: Vec<NodeId> = may.map(|standing| standing.witness).collect();
        is_majority(&play.world.group().electorate, &voters)
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
            let changed = play.propose(&command);
            play.tell(|| format!("the leader proposes {command:?}, which changes something: {changed}"));
        }
        Action::Solicit(solicit) => {
            let now = play.node_clock(leader).read(play.world.now);
            if let Some((_, view)) = &mut play.leader {
                view.solicited(&solicit, now);
            }
            ask_for_votes(play, &solicit);
        }
        Action::SolicitAgain(solicit) => {
            let now = play.node_clock(leader).read(play.world.now);
            if let Some((_, view)) = &mut play.leader {
                view.solicited_again(&solicit.group, now);
            }
            ask_for_votes(play, &solicit);
        }
        Action::Move(..) => {} // no region is drained here
        Action::Ask(_, who, message) => play.ask(&who, id_of(leader), message),
    }
}

fn ask_for_votes(play: &mut Play<'_>, solicit: &Solicit) {
    play.tell(|| format!("the leader solicits {} in {}", inst(&solicit.named), solicit.epoch));
    for at in 0..play.world.nodes.len() {
        play.node_steps(at, Event::Node(ToNode::Solicit(solicit.clone())));
        play.settle();
    }
}

/// Whether the log's primary holds its lease, Postgres writes, and nobody else's does.
fn well(play: &Play<'_>) -> bool {
    let group = play.world.group();
    let primary = group.primary.as_ref().map(number_of);
    primary.is_some_and(|at| !play.lost(at) && play.open_in(at) == Some(group.epoch))
}
