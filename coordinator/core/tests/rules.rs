//! Rules that no script can show alone, each against the core's own functions.
//!
//! With the feature `mutants`, `MUTANT=name` plays them with that rule switched off (`regent-mutants`).

use regent_core::agent::{self, Agent, Identity, Observation, Task};
use regent_core::command::{Command, Instance, Node, Terms};
use regent_core::ids::{Epoch, GroupName, InstanceName, NodeId, Position, RegionName, Revision, Seq};
use regent_core::message::{KernelFence, Report, Role, Solicit, Standing, ToAgent, ToNode};
use regent_core::plan::{Action, plan};
use regent_core::quorum::Electorate;
use regent_core::read::{Outcome, decide};
use regent_core::state::{Applied, Group, MAX_INSTANCES, Rejected, State};
use regent_core::succession::{desired, why_not};
use regent_core::tags::Tags;
use regent_core::time::{Time, outlived};
use regent_core::view::View;
use regent_core::vote::{Certificate, NoCertificate, Reason, Vote};
use regent_core::witness::{Effect, Event, Witness};
use std::collections::BTreeMap;

#[path = "rules/confirm.rs"]
mod confirm;
#[path = "rules/drain.rs"]
mod drain;
#[path = "rules/forecast.rs"]
mod forecast;
#[path = "rules/joint.rs"]
mod joint;
#[path = "rules/restart.rs"]
mod restart;
#[path = "rules/solicit.rs"]
mod solicit;
#[path = "rules/switchover.rs"]
mod switchover;
#[path = "rules/tags.rs"]
mod tags;
#[path = "rules/timeline.rs"]
mod timeline;

fn instance(name: &str) -> InstanceName {
    InstanceName::new(name).expect("as it should be")
}

fn group() -> GroupName {
    GroupName::new("g").expect("as it should be")
}

fn ids(ids: &[u64]) -> Electorate {
    ids.iter().copied().map(NodeId).collect()
}

/// Three witnesses of five nodes, instances a, b, c, epoch 1 of a, then b and c.
fn begun() -> State {
    #[cfg(feature = "mutants")]
    switch_off();
    let mut state = State::new("rules");
    let at = |n: u64| Node {
        region: RegionName::new(format!("r{n}")).expect("as it should be"),
        address: format!("n{n}:7000"),
    };
    let mut commands: Vec<Command> =
        (1..=5).map(|n| Command::SetNode { id: NodeId(n), node: at(n) }).collect();
    let electorate = ids(&[1, 2, 3]);
    commands.push(Command::CreateGroup { group: group(), terms: Terms::default(), electorate, first: None });
    for name in ["a", "b", "c"] {
        let at = Instance {
            region: RegionName::new(name).expect("as it should be"),
            address: format!("{name}:5432"),
            tags: Tags::default(),
        };
        commands.push(Command::Register { group: group(), instance: instance(name), at });
    }
    commands.push(Command::Begin { group: group(), primary: instance("a"), at_unix_ms: 0 });
    for command in &commands {
        state.apply(command).expect("as it should be");
    }
    let revision = state.groups[&group()].revision;
    let succession = vec![instance("b"), instance("c")];
    state
        .apply(&Command::SetSuccession { group: group(), epoch: Epoch(1), revision, succession, offer: None })
        .expect("as it should be");
    state
}

/// Every test begins with the state above, so this comes before every rule.
#[cfg(feature = "mutants")]
fn switch_off() {
    use regent_core::mutant::{Mutant, select};
    let name = std::env::var_os("MUTANT").map(|name| name.to_string_lossy().into_owned());
    select(name.map(|name| Mutant::named(&name).expect("the name of a mutant")));
}

#[test]
fn a_group_is_never_larger_than_a_message_can_carry() {
    let mut state = begun();
    let register = |n: usize| Command::Register {
        group: group(),
        instance: instance(&format!("more-{n}")),
        at: Instance {
            region: RegionName::new("a").expect("as it should be"),
            address: "a:5432".to_owned(),
            tags: Tags::default(),
        },
    };
    let refused = (0..MAX_INSTANCES).find_map(|n| state.apply(&register(n)).err());
    assert_eq!(state.groups[&group()].instances.len(), MAX_INSTANCES);
    assert_eq!(refused, Some(Rejected::TooMany { what: "instances".to_owned(), most: MAX_INSTANCES }));
    state.apply(&register(0)).expect("who is there already may move");
}

fn vote(of: &Group, witness: u64, floor: u64, named: &str, since: u64) -> Vote {
    Vote {
        group: group(),
        witness: NodeId(witness),
        floor: Epoch(floor),
        named: instance(named),
        since: Epoch(since),
        rest: vec![instance("c")],
        seq: None,
        ttl: of.terms.ttl,
        basis: of.epoch,
        revision: of.revision,
        electorate: of.electorate.clone(),
        configuration: of.configuration.clone(),
        reason: Reason::Silent,
    }
}

fn record(votes: Vec<Vote>, electorate: Option<&[u64]>) -> Command {
    Command::Record {
        certificate: Certificate::new(votes).expect("as it should be"),
        electorate: electorate.map(ids),
        positions: BTreeMap::new(),
        at_unix_ms: 0,
    }
}

/// S2: epochs strictly increase in the log, and an epoch has one primary.
#[test]
fn the_log_refuses_an_epoch_that_is_not_above_its_own() {
    let mut state = begun();
    let before = state.groups[&group()].clone();
    let for_b = record(vec![vote(&before, 1, 3, "b", 2), vote(&before, 2, 3, "b", 2)], None);
    assert!(matches!(state.apply(&for_b), Ok(Applied::Group(..))));
    for floor in [2, 3] {
        let late = record(vec![vote(&before, 1, floor, "c", 2), vote(&before, 2, floor, "c", 2)], None);
        assert!(matches!(state.apply(&late), Err(Rejected::Stale { .. })), "epoch {floor}");
    }
    assert_eq!(state.groups[&group()].primary, Some(instance("b")));
}

/// S6: who comes back to a watch is told from the history what it missed.
#[test]
fn every_recorded_change_is_in_the_history() {
    let mut state = begun();
    for (epoch, named) in [(2, "b"), (3, "c"), (5, "a")] {
        let now = state.groups[&group()].clone();
        let votes = vec![vote(&now, 1, epoch, named, epoch), vote(&now, 2, epoch, named, epoch)];
        state.apply(&record(votes, None)).expect("as it should be");
    }
    let history = &state.groups[&group()].history;
    let told: Vec<_> = history.iter().map(|change| (change.epoch.0, change.primary.as_str())).collect();
    assert_eq!(told, [(1, "a"), (2, "b"), (3, "c"), (5, "a")]);
}

/// S7: what a minority says may be long past.
#[test]
fn a_read_is_answered_by_a_majority() {
    let known = begun().groups[&group()].clone();
    let standing = |id: u64| {
        let mut witness = Witness::new(NodeId(id), [], Time::ZERO);
        witness.step(Event::Applied(Box::new(known.clone())), Time::ZERO);
        witness.standing(&group(), Time::ZERO).expect("it knows the group")
    };
    assert_eq!(decide(&[standing(1)], None), Outcome::TooFew { answered: 1, needed: 2 });
    let decided = Outcome::Decided(Epoch(1), instance("a"));
    assert_eq!(decide(&[standing(1), standing(2)], None), decided);
}

/// F8: one witness at a time, the same primary, votes cast on the present epoch.
#[test]
fn an_electorate_changes_by_one_witness_and_with_the_same_primary_only() {
    let state = begun();
    let now = state.groups[&group()].clone();
    let votes = |named: &str| vec![vote(&now, 1, 2, named, 1), vote(&now, 2, 2, named, 1)];
    for (named, to) in [("a", &[1, 2, 4][..]), ("a", &[1, 2, 3, 4, 5]), ("a", &[]), ("b", &[1, 2, 3, 4])] {
        let refused = state.clone().apply(&record(votes(named), Some(to)));
        assert!(matches!(refused, Err(Rejected::BadElectorate { .. })), "{named} {to:?}: {refused:?}");
    }
    let mut older = votes("a");
    older[0].basis = Epoch(0);
    assert!(state.clone().apply(&record(older, Some(&[1, 2, 3, 4]))).is_err(), "a vote on an older epoch");
    assert!(state.clone().apply(&record(votes("a"), Some(&[1, 2, 3, 4]))).is_ok());
}

/// F11d: a certificate of the electorate before the present one is still recorded; one of an older one is not.
#[test]
fn the_log_takes_certificates_of_the_present_electorate_and_of_the_one_before() {
    let mut state = begun();
    let first = state.groups[&group()].clone();
    state
        .apply(&record(vec![vote(&first, 1, 2, "a", 1), vote(&first, 2, 2, "a", 1)], Some(&[1, 2, 3, 4])))
        .expect("as it should be");
    let from_before = record(vec![vote(&first, 2, 9, "b", 2), vote(&first, 3, 9, "b", 2)], None);
    assert!(state.clone().apply(&from_before).is_ok());
    let second = state.groups[&group()].clone();
    let voters = [1, 2, 4].map(|id| vote(&second, id, 3, "a", 1)).to_vec();
    state.apply(&record(voters, Some(&[1, 2, 3, 4, 5]))).expect("as it should be");
    assert!(matches!(state.apply(&from_before), Err(Rejected::WrongElectorate { .. })));
}

#[test]
fn a_certificate_needs_a_majority_of_the_highest_basis_and_one_name() {
    let state = begun();
    let now = state.groups[&group()].clone();
    let new = |votes: Vec<Vote>| Certificate::new(votes).unwrap_err();
    assert_eq!(new(vec![]), NoCertificate::Empty);
    assert_eq!(new(vec![vote(&now, 1, 2, "b", 2), vote(&now, 2, 2, "c", 2)]), NoCertificate::Mixed);
    assert_eq!(new(vec![vote(&now, 1, 2, "b", 2), vote(&now, 2, 3, "b", 2)]), NoCertificate::Mixed);
    assert_eq!(new(vec![vote(&now, 1, 2, "b", 2); 2]), NoCertificate::Twice(NodeId(1)));
    let minority = new(vec![vote(&now, 1, 2, "b", 2), vote(&now, 9, 2, "b", 2)]);
    assert!(matches!(minority, NoCertificate::Minority { .. }), "a stranger does not count");
    // Whoever of the two comes first: the newer electorate counts.
    for (newer, older) in [(1, 2), (2, 1)] {
        let mut ahead = vote(&now, newer, 2, "b", 2);
        (ahead.basis, ahead.electorate) = (Epoch(1), ids(&[1, 2, 3, 4, 5]));
        let mut behind = vote(&now, older, 2, "b", 2);
        behind.basis = Epoch(0);
        let refused = new(vec![ahead, behind]);
        assert!(matches!(refused, NoCertificate::Minority { .. }), "two of the five of the newer");
    }
}

/// One spurious vote between two epochs of one primary must not make it unfit to go on: a majority that knows of
/// nobody else excludes that anybody else was decided.
#[test]
fn the_majority_that_knows_of_nobody_else_says_since_when() {
    let state = begun();
    let now = state.groups[&group()].clone();
    let two = |a, b| {
        Certificate::new(vec![vote(&now, 1, 13, "b", a), vote(&now, 2, 13, "b", b)]).expect("as it should be")
    };
    assert_eq!(two(3, 13).since(), Epoch(13));
    assert_eq!(two(3, 2).since(), Epoch(3));
    let all = [(1, 13), (2, 3), (3, 3)].map(|(id, since)| vote(&now, id, 13, "b", since)).to_vec();
    assert_eq!(Certificate::new(all).expect("as it should be").since(), Epoch(3));
}

fn report(name: &str, number: u64) -> Report {
    Report {
        group: group(),
        instance: instance(name),
        seq: Seq { incarnation: 1, number },
        claims: None,
        leased: false,
        ready: true,
        seen: Epoch(1),
        acted: Epoch(0),
        declined: Epoch(0),
        followed: Epoch(1),
        role: Role::Standby,
        streaming: true,
        position: Default::default(),
        system_id: None,
        gate_armed: true,
        offer: None,
        detached: Epoch(0),
        rtt_us: 0,
        trouble: String::new(),
        hand_over: None,
        progress: String::new(),
        started_in: None,
        pending_restart: Vec::new(),
        through: None,
        warning: String::new(),
        kernel_fence: KernelFence::Off,
    }
}

/// A standby that went too far on the old timeline is connected, and looks as if it streamed, for a moment.
#[test]
fn who_is_on_an_older_timeline_than_the_primary_cannot_take_over() {
    let state = begun();
    let group = &state.groups[&group()];
    let now = Time(60_000_000_000);
    let on = |name: &str, timeline: u32| {
        let position = Position { timeline, ..Position::default() };
        Report { position, ..report(name, 1) }
    };
    let why = |ours: u32| {
        let mut view = View::default();
        view.look(&state, Time::ZERO);
        view.report(on("a", 2), now);
        view.report(on("b", ours), now);
        why_not(group, view.group(&group.name), &instance("b"), now)
    };
    assert_eq!(why(2), None);
    assert_eq!(why(1), Some("is still on timeline 1, the primary on 2".to_owned()));
}

fn voted(effects: &[Effect]) -> Option<(Epoch, InstanceName)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Voted(vote) => Some((vote.floor, vote.named.clone())),
        _ => None,
    })
}

fn solicit(epoch: u64, named: &str, revision: Revision) -> Event {
    let (epoch, named) = (Epoch(epoch), instance(named));
    Event::Node(ToNode::Solicit(Solicit {
        group: group(),
        epoch,
        named,
        revision,
        reason: Reason::Reaffirmed,
    }))
}

/// A witness of the group as it is in `state`, of age, that has heard b and c.
fn of_age(state: &State) -> (Witness, Time) {
    let mut witness = Witness::new(NodeId(1), [], Time::ZERO);
    let known = state.groups[&group()].clone();
    let later = Time::ZERO + outlived(known.terms.ttl);
    witness.step(Event::Applied(Box::new(known)), Time::ZERO);
    for name in ["b", "c"] {
        witness.step(Event::Report(Box::new(report(name, 1))), later);
    }
    (witness, later)
}

/// After a promotion a standby may still hold what the new primary's history left behind. Named then, it would bring that
/// back and lose all that was written since; so one that has turned to the primary goes first, wherever it stands.
#[test]
fn an_heir_that_has_turned_to_the_primary_goes_before_one_that_has_not() {
    let mut state = begun();
    let before = state.groups[&group()].clone();
    state
        .apply(&record(vec![vote(&before, 1, 2, "b", 2), vote(&before, 2, 2, "b", 2)], None))
        .expect("a decision");
    let revision = state.groups[&group()].revision;
    let succession = vec![instance("c"), instance("a")];
    let set = Command::SetSuccession { group: group(), epoch: Epoch(2), revision, succession, offer: None };
    state.apply(&set).expect("a succession");
    let suspicion = state.groups[&group()].terms.suspicion;
    // What c has followed, its timeline; the same of a; who is named.
    let cases = [((2, 2), (2, 2), "c"), ((1, 1), (2, 2), "a"), ((2, 1), (2, 2), "a"), ((1, 1), (1, 1), "c")];
    for (c, a, named) in cases {
        let (mut witness, now) = of_age(&state);
        let at = |name: &str, (followed, timeline): (u64, u32)| {
            let position = Position { timeline, ..Position::default() };
            Event::Report(Box::new(Report { followed: Epoch(followed), position, ..report(name, 2) }))
        };
        witness.step(at("b", (1, 2)), now);
        // It runs meanwhile: a time in which it did not would be nobody's silence.
        for part in 1..4 {
            witness.step(Event::Wake, now + suspicion * part / 4);
        }
        witness.step(at("c", c), now + suspicion * 3 / 4);
        witness.step(at("a", a), now + suspicion * 3 / 4);
        let effects = witness.step(Event::Wake, now + suspicion);
        assert_eq!(voted(&effects), Some((Epoch(3), instance(named))), "c {c:?}, a {a:?}");
    }
    // The leader puts them in the same order, for who asks only the log.
    let mut view = View::default();
    let now = Time(60_000_000_000);
    view.look(&state, Time::ZERO);
    for (name, followed, timeline) in [("a", 2, 2), ("b", 1, 2), ("c", 1, 1)] {
        let position = Position { timeline, ..Position::default() };
        view.report(Report { followed: Epoch(followed), position, ..report(name, 1) }, now);
    }
    let order = |state: &State| desired(&state.groups[&group()], view.group(&group()), now);
    assert_eq!(order(&state).expect("nobody has to offer anything").0.first(), Some(&instance("a")));
}

/// Majorities of electorates that are two steps apart need not meet: a lease may rest on the one before the last until
/// the promises under it are over. So after a change of electorate nobody votes for another for that long.
#[test]
fn after_a_change_of_electorate_nobody_else_is_named_before_old_promises_are_over() {
    let mut state = begun();
    let (mut witness, later) = of_age(&state);
    let now = state.groups[&group()].clone();
    let votes = vec![vote(&now, 2, 2, "a", 1), vote(&now, 3, 2, "a", 1)];
    state.apply(&record(votes, Some(&[1, 2, 3, 4]))).expect("as it should be");
    let changed = state.groups[&group()].clone();
    let revision = changed.revision;
    let ttl = changed.terms.ttl;
    witness.step(Event::Applied(Box::new(changed)), later);
    assert_eq!(voted(&witness.step(solicit(3, "c", revision), later)), None);
    let over = later + outlived(ttl);
    assert_eq!(voted(&witness.step(solicit(3, "c", revision), over)), Some((Epoch(3), instance("c"))));
}

/// F2: the leader's wish is checked against what this witness said itself; F14: strictly above its floor.
#[test]
fn a_solicited_vote_is_above_the_floor_and_within_the_basis() {
    let state = begun();
    let (mut witness, now) = of_age(&state);
    let revision = state.groups[&group()].revision;
    assert_eq!(voted(&witness.step(solicit(2, "c", revision.next()), now)), None, "it is behind the leader");
    assert_eq!(voted(&witness.step(solicit(1, "c", revision), now)), None, "epoch 1 is decided");
    assert_eq!(voted(&witness.step(solicit(4, "c", revision), now)), Some((Epoch(4), instance("c"))));
    let ttl = state.groups[&group()].terms.ttl;
    for (epoch, named) in [(4, "c"), (3, "c"), (9, "a"), (9, "b")] {
        let later = now + ttl;
        assert_eq!(voted(&witness.step(solicit(epoch, named, revision), later)), None, "{epoch} {named}");
    }
    assert_eq!(voted(&witness.step(solicit(9, "c", revision), now)), Some((Epoch(9), instance("c"))));
}

/// F16: whatever a log replays after a restart, a witness does not go back behind what it answered with.
#[test]
fn a_witness_does_not_go_back_behind_the_log_it_answered_with() {
    let mut state = begun();
    let older = state.groups[&group()].clone();
    let votes = vec![vote(&older, 1, 2, "b", 2), vote(&older, 2, 2, "b", 2)];
    state.apply(&record(votes, None)).expect("recorded");
    let newer = state.groups[&group()].clone();
    let (mut witness, now) = of_age(&state);
    assert!(witness.step(Event::Applied(Box::new(older)), now).is_empty());
    assert_eq!(witness.group(&group()), Some(&newer));
}

/// A primary that is named again after another may have been does not go on with its own timeline: it stops, and
/// comes back as a standby, to be promoted onto a new one.
#[test]
fn a_primary_that_was_interrupted_does_not_go_on() {
    let state = begun();
    let known = state.groups[&group()].clone();
    let me =
        Identity { group: group(), instance: instance("a"), at: known.instances[&instance("a")].clone() };
    let running = primary();
    let named = |since: u64| {
        let (mut agent, _) = Agent::new(me.clone(), None, Time::ZERO);
        agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known.clone()))), Time::ZERO);
        let standby = Observation { role: Role::Standby, ..Observation::default() };
        agent.step(agent::Event::Observed(standby), Time::ZERO);
        agent.step(agent::Event::Observed(running.clone()), Time::ZERO);
        assert_eq!(agent.durable().acted, Epoch(1));
        let votes = vec![vote(&known, 1, 5, "a", since), vote(&known, 2, 5, "a", since)];
        let decided = ToAgent::Decided(Certificate::new(votes).expect("a majority"));
        let effects = agent.step(agent::Event::Heard(NodeId(1), decided), Time::ZERO);
        (agent.durable().acted, effects)
    };
    assert_eq!(named(1).0, Epoch(5), "nobody was in between");
    let (acted, effects) = named(3);
    assert_eq!(acted, Epoch(1));
    assert!(effects.contains(&agent::Effect::Start(Task::StopImmediately)), "{effects:?}");
}

/// The leader asks for a refusal when it wants to go past an epoch that may have been decided: it is kept.
#[test]
fn a_declined_epoch_is_never_acted_on() {
    let known = begun().groups[&group()].clone();
    let me =
        Identity { group: group(), instance: instance("b"), at: known.instances[&instance("b")].clone() };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    let decline = ToAgent::Decline { group: group(), up_to: Epoch(3) };
    for message in [ToAgent::Known(Box::new(known.clone())), decline] {
        agent.step(agent::Event::Heard(NodeId(1), message), Time::ZERO);
    }
    let standby = Observation { role: Role::Standby, ..Observation::default() };
    agent.step(agent::Event::Observed(standby), Time::ZERO);
    let mut decided = |epoch: u64| {
        let votes = vec![vote(&known, 1, epoch, "b", epoch), vote(&known, 2, epoch, "b", epoch)];
        let decided = ToAgent::Decided(Certificate::new(votes).expect("a majority"));
        agent.step(agent::Event::Heard(NodeId(1), decided), Time::ZERO);
        agent.durable().acted
    };
    assert_eq!(decided(3), Epoch(0));
    assert_eq!(decided(4), Epoch(4));
}

/// An epoch can be decided, acted on and given up before anybody who lives to lead has written it down: its votes were for
/// witnesses and the heir alone. Its primary, stopped as it is, may be the only one that a majority may name.
#[test]
fn a_leader_that_never_heard_of_a_decision_counts_on_the_one_that_acted_on_it() {
    let state = begun();
    let known = &state.groups[&group()];
    let late = Time::ZERO + known.terms.suspicion * 4;
    let solicited = |acted: u64| {
        let mut view = View::default();
        view.look(&state, Time::ZERO);
        for (witness, floor, named) in [(1, 4, "a"), (2, 6, "c"), (3, 5, "b")] {
            view.standing(standing(known, witness, floor, named), late);
        }
        let stopped = Report { ready: false, role: Role::Stopped, streaming: false, ..report("b", 1) };
        view.report(Report { acted: Epoch(acted), ..stopped }, late);
        plan(&state, &view, late, 0).into_iter().find_map(|action| match action {
            Action::Solicit(solicit) => Some((solicit.epoch, solicit.named)),
            _ => None,
        })
    };
    assert_eq!(solicited(1), None, "it stopped as a standby, and is not ready");
    assert_eq!(solicited(2), Some((Epoch(7), instance("b"))));
}

/// A witness that voted last for that one, at that floor, and may name it and b.
fn standing(known: &Group, witness: u64, floor: u64, named: &str) -> Standing {
    Standing {
        group: group(),
        witness: NodeId(witness),
        floor: Epoch(floor),
        named: Some(instance(named)),
        epoch: known.epoch,
        primary: known.primary.clone(),
        revision: known.revision,
        electorate: known.electorate.clone(),
        promised: None,
        may_name: vec![instance(named), instance("b")],
        hears: Vec::new(),
    }
}

fn primary() -> Observation {
    Observation { role: Role::Primary, was_primary: true, gate_armed: true, ..Observation::default() }
}

/// The agent of instance a, which is primary of epoch 1 and runs as `seen`.
fn in_office(seen: Observation) -> (Agent, Vec<agent::Effect>) {
    let known = begun().groups[&group()].clone();
    let me =
        Identity { group: group(), instance: instance("a"), at: known.instances[&instance("a")].clone() };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
    let standby = Observation { role: Role::Standby, ..Observation::default() };
    agent.step(agent::Event::Observed(standby), Time::ZERO);
    let mut effects = agent.step(agent::Event::Observed(seen), Time::ZERO);
    for node in [1, 2] {
        let Report { seq, .. } = report("a", 1);
        let seq = Seq { incarnation: agent.durable().incarnation, ..seq };
        let promise = ToAgent::Promised {
            group: group(),
            epoch: Epoch(1),
            seq,
            ttl: Terms::default().ttl,
            revision: Revision(1),
        };
        effects.extend(agent.step(agent::Event::Heard(NodeId(node), promise), Time::ZERO));
    }
    (agent, effects)
}

fn opens(effects: &[agent::Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, agent::Effect::Open { .. }))
}

fn released(effects: &[agent::Effect]) -> Option<Reason> {
    effects.iter().find_map(|effect| match effect {
        agent::Effect::Note(agent::Note::Released(_, reason)) => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_primary_whose_gate_is_not_armed_is_stopped_and_never_opened() {
    let (_, effects) = in_office(primary());
    assert!(opens(&effects), "{effects:?}");
    let (_, effects) = in_office(Observation { gate_armed: false, ..primary() });
    assert!(!opens(&effects), "{effects:?}");
    assert!(effects.contains(&agent::Effect::Start(Task::StopImmediately)), "{effects:?}");
}

/// What a rewind left half done is replaced, and nothing else: not started, not promoted.
#[test]
fn a_half_rewound_directory_is_cloned() {
    let known = begun().groups[&group()].clone();
    let me =
        Identity { group: group(), instance: instance("b"), at: known.instances[&instance("b")].clone() };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    let broken =
        Observation { role: Role::Stopped, was_primary: true, broken: true, ..Observation::default() };
    let mut known = known;
    known.system_id = Some(7);
    agent.step(agent::Event::Observed(broken), Time::ZERO);
    let effects = agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
    let clones = |effect: &agent::Effect| matches!(effect, agent::Effect::Start(Task::Clone(_)));
    assert!(effects.iter().any(clones), "{effects:?}");
}
