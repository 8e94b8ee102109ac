//! Whom an instance without data copies, and how far that is, against the core's own functions.

use regent_core::agent::{Agent, Effect, Event, Identity, Observation, REPORT_INTERVAL, Task};
use regent_core::command::{Command, Instance, Node, Terms};
use regent_core::ids::{GroupName, InstanceName, NodeId, RegionName};
use regent_core::message::{Role, ToAgent, ToWitness};
use regent_core::state::{Group, State};
use regent_core::tags::Tags;
use regent_core::time::Time;
use std::time::Duration;

fn instance(name: &str) -> InstanceName {
    InstanceName::new(name).expect("as it should be")
}

fn place(name: &str, region: &str) -> Instance {
    Instance {
        region: RegionName::new(region).expect("as it should be"),
        address: format!("{name}:5432"),
        tags: Tags::default(),
    }
}

/// Primary a in east; b and the new n in west; c in the succession.
fn group() -> Group {
    let name = GroupName::new("g").expect("as it should be");
    let mut state = State::new("clones");
    let node = Node { region: place("a", "east").region, address: "n:7000".to_owned() };
    let (group, terms, electorate) = (name.clone(), Terms::default(), [NodeId(1)].into());
    let mut commands = vec![
        Command::SetNode { id: NodeId(1), node },
        Command::CreateGroup { group, terms, electorate, first: None },
    ];
    for (who, region) in [("a", "east"), ("b", "west"), ("c", "far"), ("n", "west")] {
        commands.push(Command::Register {
            group: name.clone(),
            instance: instance(who),
            at: place(who, region),
        });
    }
    commands.push(Command::Begin { group: name.clone(), primary: instance("a"), at_unix_ms: 0 });
    commands.push(Command::SetSystem { group: name.clone(), system_id: 7, timeline_base: 0 });
    commands.iter().for_each(|command| drop(state.apply(command).expect("as it should be")));
    state.groups[&name].clone()
}

/// The agent of n, with nothing in its directory, when such are in the succession.
fn new(succession: &[&str]) -> (Agent, Vec<Effect>) {
    let mut known = group();
    known.succession = succession.iter().map(|name| instance(name)).collect();
    let me = Identity { group: known.name.clone(), instance: instance("n"), at: place("n", "west") };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    agent.step(Event::Linked(NodeId(1)), Time::ZERO);
    agent.step(Event::Observed(Observation::default()), Time::ZERO);
    let effects = agent.step(Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
    (agent, effects)
}

fn cloned(effects: &[Effect]) -> Option<(Task, String)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Start(task @ Task::Clone(from)) => Some((task.clone(), from.instance.to_string())),
        _ => None,
    })
}

#[test]
fn a_standby_of_the_same_region_is_copied_before_the_primary() {
    for (succession, expected) in [(&["c", "b"][..], "b"), (&["c"], "a"), (&[], "a"), (&["n"], "a")] {
        let (_, effects) = new(succession);
        assert_eq!(cloned(&effects).map(|(_, from)| from).as_deref(), Some(expected), "{succession:?}");
    }
}

#[test]
fn a_copy_that_failed_is_taken_from_the_other() {
    let (mut agent, mut effects) = new(&["b"]);
    let mut now = Time::ZERO;
    for expected in ["b", "a", "b"] {
        let (task, from) = cloned(&effects).expect("a clone");
        assert_eq!(from, expected);
        agent.step(Event::Done(task, Err("no".to_owned())), now);
        now = now + Duration::from_secs(20);
        effects = agent.step(Event::Wake, now);
    }
}

#[test]
fn how_far_a_copy_is_stands_in_the_reports_while_it_is_made() {
    let (mut agent, effects) = new(&["b"]);
    let (task, _) = cloned(&effects).expect("a clone");
    let mut now = Time::ZERO;
    let mut said = |agent: &mut Agent, event: Event| {
        now = now + REPORT_INTERVAL;
        let progress = |effect: &Effect| match effect {
            Effect::Send(_, ToWitness::Report(report)) => Some(report.progress.clone()),
            _ => None,
        };
        agent.step(event, now).iter().find_map(progress).expect("a report")
    };
    assert_eq!(said(&mut agent, Event::Wake), "cloning b");
    assert_eq!(said(&mut agent, Event::Copied(51)), "cloning b: 51 %");
    // What was done is looked at before it is said to be done.
    let there = Observation { role: Role::Stopped, system_id: Some(7), ..Observation::default() };
    said(&mut agent, Event::Observed(there));
    assert_eq!(said(&mut agent, Event::Done(task, Ok(()))), "");
    assert_eq!(said(&mut agent, Event::Copied(99)), "");
}
