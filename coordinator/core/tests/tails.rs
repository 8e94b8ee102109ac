//! What a change of primary left behind, against the core's own functions: written down once, told until it is, and nothing
//! is rewound before. The whole course of it is the script `what_only_the_old_primary_has_is_kept_before_it_is_rewound`.

use regent_core::agent::{
    Agent, Effect, Event, Identity, Observation, OnRewindFailure, REPORT_INTERVAL, Task,
};
use regent_core::command::{Command, Instance, Node, Terms};
use regent_core::ids::{Epoch, GroupName, InstanceName, Lsn, NodeId, RegionName};
use regent_core::message::{Role, ToAgent, ToWitness};
use regent_core::state::{Applied, Rejected, State};
use regent_core::tags::Tags;
use regent_core::tail::{TAILS_KEPT, Tail};
use regent_core::time::Time;
use std::time::Duration;

fn instance(name: &str) -> InstanceName {
    InstanceName::new(name).expect("as it should be")
}

fn group() -> GroupName {
    GroupName::new("g").expect("as it should be")
}

fn place(name: &str) -> Instance {
    Instance {
        region: RegionName::new(name).expect("as it should be"),
        address: format!("{name}:5432"),
        tags: Tags::default(),
    }
}

fn tail(name: &str, epoch: u64, from: u64) -> Tail {
    Tail {
        instance: instance(name),
        epoch: Epoch(epoch),
        timeline: 1,
        from: Lsn(from),
        to: Lsn(from + 100),
        commits: 3,
        kept: "/lost".to_owned(),
        found_unix_ms: 1,
    }
}

/// One node; instances a and b; epoch 1 is b's.
fn begun() -> State {
    let mut state = State::new("tails");
    let node = Node { region: place("a").region, address: "n:7000".to_owned() };
    let electorate = [NodeId(1)].into();
    let mut commands = vec![
        Command::SetNode { id: NodeId(1), node },
        Command::CreateGroup { group: group(), terms: Terms::default(), electorate, first: None },
    ];
    let register = |name| Command::Register { group: group(), instance: instance(name), at: place(name) };
    commands.extend(["a", "b"].map(register));
    commands.push(Command::Begin { group: group(), primary: instance("b"), at_unix_ms: 0 });
    commands.push(Command::SetSystem { group: group(), system_id: 7, timeline_base: 0 });
    commands.iter().for_each(|command| drop(state.apply(command).expect("as it should be")));
    state
}

fn record(state: &mut State, tail: &Tail) -> Result<Applied, Rejected> {
    state.apply(&Command::RecordTail { group: group(), tail: tail.clone() })
}

#[test]
fn a_tail_is_written_down_once_beside_its_change() {
    let mut state = begun();
    assert!(matches!(record(&mut state, &tail("a", 1, 500)), Ok(Applied::Group(..))));
    // Looked at again after a rewind that failed, it may end elsewhere: it is the same all the same.
    let again = Tail { to: Lsn(900), ..tail("a", 1, 500) };
    assert_eq!(record(&mut state, &again), Ok(Applied::Unchanged));
    assert_eq!(state.groups[&group()].history[0].tails, [tail("a", 1, 500)]);

    assert!(matches!(record(&mut state, &tail("a", 2, 700)), Err(Rejected::Stale { .. })));
    assert!(matches!(record(&mut state, &tail("x", 1, 700)), Err(Rejected::UnknownInstance { .. })));
    for from in 0..2 * TAILS_KEPT as u64 {
        record(&mut state, &tail("a", 1, 1_000 + from)).expect("as it should be");
    }
    assert_eq!(state.groups[&group()].history[0].tails.len(), TAILS_KEPT);
}

/// A log that an older build wrote has changes without tails.
#[test]
fn a_history_without_tails_is_read() {
    let mut old = serde_json::to_value(begun()).expect("writes");
    old["groups"]["g"]["history"][0].as_object_mut().expect("a change").remove("tails");
    assert_eq!(serde_json::from_value::<State>(old).expect("reads"), begun());
}

fn seen(role: Role) -> Observation {
    Observation { role, was_primary: true, system_id: Some(7), ..Observation::default() }
}

/// The agent of a, an old primary that is stopped, and what it does about it.
fn stopped_at_a() -> (Agent, Vec<Effect>) {
    let me = Identity { group: group(), instance: instance("a"), at: place("a") };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    agent.step(Event::Linked(NodeId(1)), Time::ZERO);
    agent.step(Event::Observed(seen(Role::Stopped)), Time::ZERO);
    let known = ToAgent::Known(Box::new(begun().groups[&group()].clone()));
    let effects = agent.step(Event::Heard(NodeId(1), known), Time::ZERO);
    (agent, effects)
}

fn started(effects: &[Effect]) -> Option<Task> {
    effects.iter().find_map(|effect| match effect {
        Effect::Start(task) => Some(task.clone()),
        _ => None,
    })
}

#[test]
fn nothing_is_rewound_before_what_only_it_has_is_durable() {
    let (mut agent, effects) = stopped_at_a();
    let task = started(&effects).expect("a task");
    assert!(matches!(&task, Task::Keep { epoch: Epoch(1), .. }), "{task:?}");
    let effects = agent.step(Event::Kept(tail("a", 1, 500)), Time::ZERO);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Persist(durable) if durable.tails.len() == 1))
    );
    let effects = agent.step(Event::Done(task, Ok(())), Time::ZERO);
    assert!(matches!(started(&effects), Some(Task::Rewind(_))), "{effects:?}");
}

#[test]
fn the_nodes_are_told_until_the_log_has_it() {
    let (mut agent, _) = stopped_at_a();
    agent.step(Event::Kept(tail("a", 1, 500)), Time::ZERO);
    let mut now = Time::ZERO;
    let mut told = |agent: &mut Agent| {
        let mut count = 0;
        for _ in 0..60 {
            now = now + REPORT_INTERVAL;
            let effects = agent.step(Event::Wake, now);
            let is_told = |effect: &&Effect| matches!(effect, Effect::Send(_, ToWitness::Tail { .. }));
            count += effects.iter().filter(is_told).count();
        }
        count
    };
    assert_eq!(told(&mut agent), 3);
    let recorded = ToAgent::TailRecorded { group: group(), timeline: 1, from: Lsn(500) };
    agent.step(Event::Heard(NodeId(1), recorded), Time::ZERO);
    assert_eq!(told(&mut agent), 0);
    assert!(agent.durable().tails.is_empty());
}

/// A person who wants to look first is waited for.
#[test]
fn what_cannot_be_rewound_is_cloned_or_left_as_configured() {
    for (then, expected) in [(OnRewindFailure::Clone, "cloned"), (OnRewindFailure::Halt, "halted")] {
        let (mut agent, effects) = stopped_at_a();
        agent.set_on_rewind_failure(then);
        let (mut now, mut task) = (Time::ZERO, started(&effects).expect("a task"));
        let came = loop {
            let result = if matches!(task, Task::Rewind(_)) { Err("no".to_owned()) } else { Ok(()) };
            // A rewind may run Postgres for a moment: what is to be kept is looked for again after that.
            agent.step(Event::Observed(seen(Role::Preparing)), now);
            agent.step(Event::Observed(seen(Role::Stopped)), now);
            let mut effects = agent.step(Event::Done(task, result), now);
            let longest = now + Duration::from_secs(20);
            while started(&effects).is_none() && now < longest {
                now = now + REPORT_INTERVAL;
                effects = agent.step(Event::Wake, now);
            }
            match started(&effects) {
                Some(Task::Clone(_)) => break "cloned".to_owned(),
                Some(next) => task = next,
                None => break troubles(&effects),
            }
        };
        assert!(came.starts_with(expected), "{then:?}: {came}");
    }
}

fn troubles(effects: &[Effect]) -> String {
    let trouble = |effect: &Effect| match effect {
        Effect::Send(_, ToWitness::Report(report)) => Some(report.trouble.clone()),
        _ => None,
    };
    effects.iter().find_map(trouble).unwrap_or_default()
}
