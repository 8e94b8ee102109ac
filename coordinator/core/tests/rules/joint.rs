//! `quorum`: what a primary holds to while one configuration follows another, and what an heir has to know and to have.

use super::confirm::{Office, names, set_mode};
use super::*;
use regent_core::agent::{Upstream, Waits};
use regent_core::ids::Lsn;
use regent_core::replication::{Configuration, Mode, Offer, Policy};
use std::time::Duration;

fn any(count: u64, places: u64) -> u64 {
    count << 56 | places
}

/// The log's primary is a, in `quorum 1`; the log has no configuration yet.
fn in_quorum() -> Office {
    let mut office = Office::new();
    office.learn(|known| known.terms.mode = Mode::Quorum { count: 1 });
    office
}

fn of(members: &[&str], count: u8) -> Configuration {
    Configuration { members: names(members).into_iter().collect(), count }
}

#[test]
fn a_configuration_is_offered_when_it_holds_for_what_came_before() {
    let mut office = in_quorum();
    let now = office.known.revision;
    office.look(&[("b", 99), ("c", 1)], [now; 2]);
    assert_eq!(office.offer(), Offer::default(), "neither has what was flushed here");
    office.look(&[("b", 100), ("c", 1)], [now; 2]);
    let offer = office.offer();
    assert_eq!((offer.version, offer.configuration()), (1, of(&["b", "c"], 1)), "one of two has it");
    let places = [instance("b"), instance("c")].map(Some).into();
    assert_eq!(office.waits(), Waits { places, any: Some(1) });
    assert_eq!(office.confirm, [any(1, 3), 0]);
}

#[test]
fn the_old_configuration_is_held_to_until_a_majority_carries_the_new_one() {
    let mut office = in_quorum();
    let before = office.known.revision;
    office.look(&[("b", 100), ("c", 100)], [before; 2]);
    office.take_offer();
    let carried = office.known.revision;
    for _ in 0..10 {
        office.look(&[("c", 100)], [carried; 2]);
    }
    assert_eq!(office.offer().configuration(), of(&["c"], 1), "b is gone");
    assert_eq!(office.confirm, [any(1, 3), any(1, 2)]);
    office.take_offer();
    let now = office.known.revision;
    office.look(&[("c", 100)], [now, carried]);
    assert_eq!(office.confirm, [any(1, 3), any(1, 2)], "one witness of three may still go by both");
    office.look(&[("c", 100)], [now; 2]);
    assert_eq!(office.confirm, [any(1, 2), 0]);
}

#[test]
fn a_change_between_the_modes_lets_go_of_nothing_on_its_way() {
    let mut office = in_quorum();
    let before = office.known.revision;
    office.look(&[("b", 100), ("c", 100)], [before; 2]);
    office.take_offer();
    let carried = office.known.revision;
    office.look(&[("b", 100), ("c", 100)], [carried; 2]);
    office.learn(|known| known.terms.mode = Mode::Sync { count: 1 });
    let changed = office.known.revision;
    office.look(&[("b", 100), ("c", 100)], [changed; 2]);
    assert_eq!(office.confirm, [any(1, 3), 1], "b confirms all, and is beside any of the two");
    office.take_offer();
    let now = office.known.revision;
    office.look(&[("b", 100), ("c", 100)], [now; 2]);
    assert_eq!(office.confirm, [1, 0]);
    assert_eq!(office.known.configuration, Some(of(&["b"], 1)));
}

/// Else an old report's offer, of before the group was in async, could pass for a new one.
#[test]
fn a_version_never_starts_again() {
    for mode in [Mode::Sync { count: 1 }, Mode::Quorum { count: 1 }] {
        let mut office = in_quorum();
        office.learn(|known| known.terms.mode = mode);
        let begun = office.known.revision;
        office.look(&[("b", 100), ("c", 100)], [begun; 2]);
        office.take_offer();
        let first = office.offer().version;
        let turn = |known: &mut Group, to: Mode| {
            (known.terms.mode, known.configuration) = (to, None);
            known.mode_since = known.revision.next();
        };
        office.learn(|known| turn(known, Mode::Async));
        let loose = office.known.revision;
        office.look(&[("b", 100), ("c", 100)], [loose; 2]);
        assert_eq!(office.agent.durable().confirmers, None);
        office.learn(|known| turn(known, mode));
        let again = office.known.revision;
        office.look(&[("b", 100), ("c", 100)], [again; 2]);
        assert!(office.offer().version > first, "{mode}: {} after {first}", office.offer().version);
    }
}

#[test]
fn the_log_keeps_the_last_version_over_a_change_of_the_mode() {
    let mut state = begun();
    set_mode(&mut state, Mode::Quorum { count: 1 }).expect("two standbys are enough");
    let set = |state: &mut State, version: u64, count: u8| {
        let Group { epoch, revision, .. } = state.groups[&group()];
        let members = names(&["b", "c"]).into_iter().collect();
        let tightened = state.groups[&group()].tightened;
        let offer = Some(Offer { version, members, tightened, count: Some(count) });
        let succession = names(&["b", "c"]);
        state.apply(&Command::SetSuccession { group: group(), epoch, revision, succession, offer })
    };
    set(&mut state, 7, 1).expect("offered");
    assert_eq!(state.groups[&group()].configuration, Some(of(&["b", "c"], 1)));
    set_mode(&mut state, Mode::Async).expect("always");
    assert_eq!(state.groups[&group()].configuration, None);
    set_mode(&mut state, Mode::Quorum { count: 2 }).expect("two standbys are enough");
    assert!(matches!(set(&mut state, 6, 1), Err(Rejected::NotOffered { expected: 7, got: 6, .. })));
    set(&mut state, 8, 2).expect("a later one");
    for (count, range) in [(3, "a quorum count must be between 1 and 2, got 3"), (0, "between 1 and 15, the")]
    {
        let before = state.clone();
        let refused = set_mode(&mut state, Mode::Quorum { count }).expect_err("out of range").to_string();
        assert!(refused.contains(range), "{refused}");
        assert_eq!(state, before);
    }
}

/// An agent of one of the standbys, in a group whose log has that configuration; a is the primary, b was voted for.
struct Standby {
    agent: Agent,
    seen: Observation,
    now: Time,
}

impl Standby {
    fn new(who: &str, configuration: Configuration) -> Standby {
        let mut known = begun().groups[&group()].clone();
        known.terms.mode = Mode::Quorum { count: 1 };
        known.terms.policy = Policy::Block;
        known.configuration = Some(configuration);
        known.system_id = Some(7);
        let at = known.instances[&instance(who)].clone();
        let me = Identity { group: group(), instance: instance(who), at };
        let (mut agent, _) = Agent::new(me, None, Time::ZERO);
        let now = Time(1);
        agent.step(agent::Event::Linked(NodeId(1)), now);
        let position = Position { timeline: 1, flushed: Lsn(100), ..Position::default() };
        let address = known.instances[&instance("a")].address.clone();
        let seen = Observation {
            role: Role::Standby,
            gate_armed: true,
            following: Some(Upstream { instance: instance("a"), address }),
            position,
            ..Observation::default()
        };
        agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known.clone()))), now);
        agent.step(agent::Event::Observed(seen.clone()), now);
        let votes = vec![vote(&known, 1, 2, "b", 2), vote(&known, 2, 2, "b", 2)];
        let decided = ToAgent::Decided(Certificate::new(votes).expect("a majority"));
        agent.step(agent::Event::Heard(NodeId(1), decided), now);
        Standby { agent, seen, now }
    }

    fn see(&mut self, change: impl FnOnce(&mut Observation)) -> Vec<agent::Effect> {
        change(&mut self.seen);
        self.now = self.now + Duration::from_millis(60);
        let mut effects = self.agent.step(agent::Event::Observed(self.seen.clone()), self.now);
        // A witness promises at once.
        let reports: Vec<Report> = reports(&effects);
        for report in reports.iter().filter(|report| report.claims.is_some()) {
            for node in [1, 2] {
                let (seq, epoch, ttl) = (report.seq, Epoch(2), Terms::default().ttl);
                let promised = ToAgent::Promised { group: group(), epoch, seq, ttl, revision: Revision(9) };
                effects.extend(self.agent.step(agent::Event::Heard(NodeId(node), promised), self.now));
            }
        }
        effects
    }

    /// What it begins to do, having heard where these are.
    fn hears(&mut self, others: &[(&str, u64, u32, u64)]) -> Option<Task> {
        for (name, epoch, timeline, flushed) in others {
            let position = Position { timeline: *timeline, flushed: Lsn(*flushed), ..Position::default() };
            let (instance, epoch) = (instance(name), Epoch(*epoch));
            let word = ToAgent::Detached { group: group(), instance, epoch, position };
            self.agent.step(agent::Event::Heard(NodeId(1), word), self.now);
        }
        self.see(|_| ()).into_iter().find_map(|effect| match effect {
            agent::Effect::Start(task) => Some(task),
            _ => None,
        })
    }
}

fn reports(effects: &[agent::Effect]) -> Vec<Report> {
    let said = effects.iter().filter_map(|effect| match effect {
        agent::Effect::Send(_, regent_core::message::ToWitness::Report(report)) => Some((**report).clone()),
        _ => None,
    });
    said.collect()
}

#[test]
fn an_heir_is_promoted_when_it_has_what_enough_others_have() {
    let all = || of(&["b", "c", "d"], 1);
    // Nobody answered; too few; one of them attached to an earlier epoch; enough, and none has more.
    for (heard, promoted) in [
        (&[][..], false),
        (&[("c", 2, 1, 100)][..], false),
        (&[("c", 2, 1, 100), ("d", 1, 1, 100)][..], false),
        (&[("c", 2, 1, 100), ("x", 2, 1, 100)][..], false),
        (&[("c", 2, 1, 100), ("d", 2, 1, 90)][..], true),
        (&[("c", 3, 1, 100), ("d", 2, 1, 90)][..], true),
    ] {
        let mut heir = Standby::new("b", all());
        let task = heir.hears(heard);
        assert_eq!(task.is_some(), promoted, "{heard:?}: {task:?}");
        let report = reports(&heir.see(|_| ())).pop().expect("every 50 ms");
        assert_eq!(report.trouble.is_empty(), promoted, "{}", report.trouble);
    }
    let mut alone = Standby::new("b", of(&["b", "c"], 2));
    assert!(alone.hears(&[]).is_some(), "each of two has every commit: nobody has to be asked");
}

#[test]
fn an_heir_that_is_behind_fetches_from_the_furthest() {
    let mut heir = Standby::new("b", of(&["b", "c"], 1));
    let from = Upstream {
        instance: instance("c"),
        address: begun().groups[&group()].instances[&instance("c")].address.clone(),
    };
    assert_eq!(heir.hears(&[("c", 2, 1, 101)]), Some(Task::Follow(from.clone())));
    heir.see(|seen| seen.following = Some(from.clone()));
    let began = |effects: Vec<agent::Effect>| {
        effects.into_iter().any(|effect| matches!(effect, agent::Effect::Start(_)))
    };
    let done = agent::Event::Done(Task::Follow(from), Ok(()));
    assert!(!began(heir.agent.step(done, heir.now)), "it does not have it yet");
    assert!(!began(heir.see(|_| ())), "nor a moment later");
    assert!(began(heir.see(|seen| seen.position.flushed = Lsn(101))));
    // A later timeline is further, whatever the place.
    let mut heir = Standby::new("b", of(&["b", "c"], 1));
    assert!(matches!(heir.hears(&[("c", 2, 2, 50)]), Some(Task::Follow(_))));
}

#[test]
fn a_standby_answers_when_it_receives_from_nobody_else_any_more() {
    let mut other = Standby::new("c", of(&["b", "c"], 1));
    let heir = Upstream {
        instance: instance("b"),
        address: begun().groups[&group()].instances[&instance("b")].address.clone(),
    };
    let old = Upstream { instance: instance("a"), ..heir.clone() };
    let detached = |effects: Vec<agent::Effect>| reports(&effects).pop().map(|report| report.detached);
    for (following, turned, answers) in
        [(None, true, 0), (Some(old), true, 0), (Some(heir.clone()), false, 0), (Some(heir.clone()), true, 2)]
    {
        let said = detached(other.see(|seen| (seen.following, seen.turned) = (following, turned)));
        assert_eq!(said, Some(Epoch(answers)));
    }
    assert_eq!(detached(other.see(|seen| seen.role = Role::Stopped)), Some(Epoch(0)));
}
