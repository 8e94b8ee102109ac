//! `sync` and `bounded`: who enters the succession, whom a primary waits for, and when it lets go.

use super::*;
use regent_core::agent::{NOBODY, Probe, Waits};
use regent_core::ids::Lsn;
use regent_core::replication::{Mode, Offer, Policy};
use std::time::Duration;

pub fn names(all: &[&str]) -> Vec<InstanceName> {
    all.iter().map(|name| instance(name)).collect()
}

pub fn set_mode(state: &mut State, mode: Mode) -> Result<Applied, Rejected> {
    state.apply(&Command::SetMode { group: group(), mode, policy: Policy::Block })
}

fn set(state: &mut State, succession: &[&str], offer: Option<(u64, &[&str])>) -> Result<Applied, Rejected> {
    let Group { epoch, revision, .. } = state.groups[&group()];
    let offer = offer.map(|(version, members)| Offer {
        version,
        members: names(members).into_iter().collect(),
        tightened: state.groups[&group()].tightened,
        count: None,
    });
    state.apply(&Command::SetSuccession {
        group: group(),
        epoch,
        revision,
        succession: names(succession),
        offer,
    })
}

/// Finding F3: a succession from an old offer arrives when the primary no longer waits for who is in it.
#[test]
fn in_sync_nobody_enters_the_succession_but_by_the_last_offer() {
    let mut state = begun();
    set_mode(&mut state, Mode::Sync { count: 1 }).expect("two standbys are enough");
    assert!(matches!(set(&mut state, &["c"], None), Err(Rejected::NotOffered { expected: 0, got: 0, .. })));
    set(&mut state, &["c"], Some((2, &["c"]))).expect("as offered");
    assert!(matches!(
        set(&mut state, &["b"], Some((1, &["b"]))),
        Err(Rejected::NotOffered { expected: 2, .. })
    ));
    assert!(set(&mut state, &["b"], Some((2, &["c"]))).is_err(), "not a member");
    set(&mut state, &["c"], Some((3, &["c"]))).expect("a later offer of the same");
    assert_eq!(state.groups[&group()].offered, 3, "is remembered, or the one before would still be taken");
    assert!(set(&mut state, &["c"], Some((2, &["c"]))).is_err());
}

#[test]
fn a_mode_that_cannot_be_kept_is_refused_with_the_range() {
    let mut state = begun();
    let before = state.clone();
    for (count, range) in [(3, "between 1 and 2, got 3"), (0, "between 1 and 15"), (200, "got 200")] {
        let why = set_mode(&mut state, Mode::Sync { count }).expect_err("out of range").to_string();
        assert!(why.contains(range), "{why}");
    }
    let ms = Duration::from_millis;
    for (rpo, count, range) in [
        (ms(9), 1, "rpo must be between 10ms and 60s, got 9ms"),
        (ms(60_001), 1, "rpo must be between 10ms and 60s, got 60001ms"),
        (ms(100), 3, "so a bounded count must be between 1 and 2, got 3"),
        (ms(100), 0, "bounded count must be between 1 and 15"),
    ] {
        let why = set_mode(&mut state, Mode::Bounded { rpo, count }).expect_err("out of range").to_string();
        assert!(why.contains(range), "{why}");
    }
    assert_eq!(state, before);
}

#[test]
fn a_mode_is_read_as_it_is_written() {
    for (text, shown) in [
        ("async", "async"),
        ("sync", "sync 1"),
        ("sync 2", "sync 2"),
        ("bounded", "bounded 100ms"),
        ("bounded 100ms 1", "bounded 100ms"),
        ("bounded 2000ms 2", "bounded 2s 2"),
        ("bounded 10500000ns", "bounded 10500000ns"),
    ] {
        let mode: Mode = text.parse().expect(text);
        assert_eq!(mode.to_string(), shown);
        assert_eq!(shown.parse::<Mode>().expect(shown), mode);
    }
    for strange in
        ["bounded 100", "bounded 1 1", "bounded 100ms x", "bounded 100ms 1 1", "bounded -1ms", "async 1"]
    {
        let why = strange.parse::<Mode>().expect_err(strange).to_string();
        assert!(why.contains("bounded 100ms") && why.contains(strange), "{why}");
    }
}

/// What is told to people: `sync` after `bounded` is in force when all have confirmed under it.
#[test]
fn a_tighter_mode_is_in_force_by_an_offer_that_was_made_under_it() {
    let mut state = begun();
    let bounded = |ms| Mode::Bounded { rpo: Duration::from_millis(ms), count: 1 };
    let in_force = |state: &State| state.groups[&group()].in_force();
    set_mode(&mut state, bounded(100)).expect("a standby is there");
    assert!(!in_force(&state));
    set(&mut state, &["c"], Some((1, &["c"]))).expect("as offered");
    assert!(in_force(&state));
    let offered_before = state.groups[&group()].tightened;
    for (mode, still) in [(bounded(200), true), (bounded(50), false), (Mode::Sync { count: 1 }, false)] {
        set_mode(&mut state, mode).expect("in range");
        assert_eq!(in_force(&state), still, "{mode}");
    }
    let Group { epoch, revision, offered, .. } = state.groups[&group()];
    let members = names(&["c"]).into_iter().collect();
    let late = Offer { version: offered + 1, members, tightened: offered_before, count: None };
    let late = Command::SetSuccession {
        group: group(),
        epoch,
        revision,
        succession: names(&["c"]),
        offer: Some(late),
    };
    state.apply(&late).expect("who is offered may take over");
    assert!(!in_force(&state), "but it was confirmed under less");
    set(&mut state, &["c"], Some((offered + 2, &["c"]))).expect("a later offer of the same");
    assert!(in_force(&state));
    set_mode(&mut state, bounded(100)).expect("in range");
    assert!(in_force(&state), "more than is asked for");
    set_mode(&mut state, Mode::Async).expect("in range");
    assert!(!in_force(&state));
}

/// The agent of instance a, primary of epoch 1 in `sync 1`, its Postgres, and the witnesses that promise to it.
pub struct Office {
    pub agent: Agent,
    seen: Observation,
    pub known: Group,
    now: Time,
    /// What the gate was told last.
    pub confirm: [u64; 2],
    rpo: Option<Duration>,
}

impl Office {
    pub fn new() -> Office {
        let mut known = begun().groups[&group()].clone();
        known.terms.mode = Mode::Sync { count: 1 };
        known.succession.clear();
        let at = known.instances[&instance("a")].clone();
        let me = Identity { group: group(), instance: instance("a"), at };
        let (agent, _) = Agent::new(me, None, Time::ZERO);
        let mut office =
            Office { agent, seen: primary(), known, now: Time(1), confirm: [u64::MAX; 2], rpo: None };
        for node in [1, 2] {
            office.agent.step(agent::Event::Linked(NodeId(node)), office.now);
        }
        office.learn(|_| ());
        let standby = Observation { role: Role::Standby, ..Observation::default() };
        office.agent.step(agent::Event::Observed(standby), office.now);
        office
    }

    /// The log moves, and the agent hears of it.
    pub fn learn(&mut self, change: impl FnOnce(&mut Group)) {
        change(&mut self.known);
        self.known.revision = self.known.revision.next();
        let known = ToAgent::Known(Box::new(self.known.clone()));
        let effects = self.agent.step(agent::Event::Heard(NodeId(1), known), self.now);
        self.obey(effects, [Revision(0); 2]);
    }

    /// The leader takes what is offered.
    pub fn take_offer(&mut self) {
        let offer = self.offer();
        self.learn(|known| {
            known.succession = offer.members.iter().cloned().collect();
            known.offered = offer.version;
            known.offered_under = offer.tightened;
            known.configuration = Some(offer.configuration());
        });
    }

    /// A while passes: its Postgres obeys, these standbys have flushed so far, and each witness has applied that revision.
    pub fn look(&mut self, flushed: &[(&str, u64)], applied: [Revision; 2]) {
        for _ in 0..4 {
            self.now = self.now + Duration::from_millis(60);
            self.seen.at = self.now;
            self.seen.position.flushed = Lsn(100);
            self.seen.standbys = flushed.iter().map(|(name, lsn)| (instance(name), Lsn(*lsn))).collect();
            let probed = agent::Event::Probed { began: self.now, probe: Probe::Committed };
            for event in [agent::Event::Observed(self.seen.clone()), probed] {
                let effects = self.agent.step(event, self.now);
                self.obey(effects, applied);
            }
        }
    }

    fn obey(&mut self, effects: Vec<agent::Effect>, applied: [Revision; 2]) {
        for effect in effects {
            let next = match effect {
                agent::Effect::Open { confirm, rpo, .. } => {
                    (self.confirm, self.rpo) = (confirm.0, rpo);
                    continue;
                }
                agent::Effect::Start(Task::Synchronise(waits)) => {
                    self.seen.waits = Some(waits.clone());
                    self.agent.step(agent::Event::Observed(self.seen.clone()), self.now);
                    agent::Event::Done(Task::Synchronise(waits), Ok(()))
                }
                agent::Effect::Send(node, regent_core::message::ToWitness::Report(report)) => {
                    let revision = applied[usize::from(node == NodeId(2))];
                    let (epoch, ttl) = (Epoch(1), Terms::default().ttl);
                    let promised =
                        ToAgent::Promised { group: group(), epoch, seq: report.seq, ttl, revision };
                    agent::Event::Heard(node, promised)
                }
                _ => continue,
            };
            let effects = self.agent.step(next, self.now);
            self.obey(effects, applied);
        }
    }

    pub fn offer(&self) -> Offer {
        self.agent.durable().confirmers.clone().expect("it is in sync").offer
    }

    pub fn waits(&self) -> Waits {
        self.seen.waits.clone().expect("what it was told")
    }

    /// b has everything, and is the only one in the succession.
    fn with_b() -> Office {
        let mut office = Office::new();
        let now = office.known.revision;
        office.look(&[("b", 100)], [now; 2]);
        assert_eq!(office.offer().members, names(&["b"]).into_iter().collect());
        office.take_offer();
        let now = office.known.revision;
        office.look(&[("b", 100)], [now; 2]);
        office
    }
}

/// Commits wait for the nearest, and who is farther is behind it when the primary is lost, not ahead.
#[test]
fn the_nearest_confirms_unless_another_has_a_higher_priority() {
    let mut office = Office::with_b();
    let settled_on = |office: &mut Office, distances: &[(&str, u64)]| {
        let in_ms = |(name, ms): &(&str, u64)| (instance(name), Duration::from_millis(*ms));
        office.seen.distances = distances.iter().map(in_ms).collect();
        for _ in 0..4 {
            office.look(&[("b", 100), ("c", 100)], [office.known.revision; 2]);
            office.take_offer();
        }
        office.offer().members.into_iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let table: [(&[(&str, u64)], &str); 6] = [
        (&[], "b"),                     // it does already
        (&[("b", 82), ("c", 80)], "b"), // as near
        (&[("b", 82), ("c", 60)], "c"),
        (&[("b", 82), ("c", 600)], "c"), // load makes nobody farther
        (&[], "c"),                      // nothing is written
        (&[("b", 20), ("c", 60)], "b"),
    ];
    for (distances, expected) in table {
        assert_eq!(settled_on(&mut office, distances), [expected], "{distances:?}");
    }
    office.learn(|known| known.instances.get_mut(&instance("c")).expect("it is there").tags.priority = 1);
    assert_eq!(settled_on(&mut office, &[]), ["c"]);
}

fn waits(places: &[Option<&str>]) -> Waits {
    Waits { places: places.iter().map(|name| name.map(instance)).collect(), any: None }
}

#[test]
fn the_gate_opens_to_nobody_until_a_standby_confirms() {
    let mut office = Office::new();
    let now = office.known.revision;
    office.look(&[], [now; 2]);
    assert_eq!((office.waits(), office.confirm), (waits(&[None]), [NOBODY, 0]));
    office.look(&[("b", 1)], [now; 2]);
    assert_eq!((office.waits(), office.confirm), (waits(&[Some("b")]), [1, 0]));
}

#[test]
fn a_standby_is_offered_only_when_it_has_what_was_acknowledged_before() {
    let mut office = Office::new();
    let now = office.known.revision;
    office.look(&[("b", 99)], [now; 2]);
    assert_eq!(office.offer(), Offer::default());
    office.look(&[("b", 100)], [now; 2]);
    let members = names(&["b"]).into_iter().collect();
    assert_eq!(office.offer(), Offer { version: 1, members, tightened: Revision(0), count: None });
}

/// The gate first; then who may take over says that it has all, also what was acknowledged under less.
#[test]
fn a_tighter_mode_is_offered_when_the_gate_goes_by_it_and_all_have_confirmed() {
    let bounded = |ms| Mode::Bounded { rpo: Duration::from_millis(ms), count: 1 };
    let mut office = Office::with_b();
    let before = office.offer();
    office.learn(|known| known.terms.mode = bounded(100));
    let now = office.known.revision;
    office.look(&[("b", 100)], [now; 2]);
    assert_eq!((office.confirm, office.rpo), ([1, 0], Some(Duration::from_millis(100))));
    assert_eq!(office.offer(), before, "it has all that it had to have, and more");

    office.learn(|known| {
        known.terms.mode = Mode::Sync { count: 1 };
        known.tightened = known.revision.next();
    });
    let now = office.known.revision;
    office.look(&[("b", 99)], [now; 2]);
    assert_eq!((office.confirm, office.rpo), ([1, 0], None));
    assert_eq!(office.offer(), before, "it lacks something that may have been acknowledged");
    office.look(&[("b", 100)], [now; 2]);
    let offer = office.offer();
    assert_eq!((offer.version, &offer.members, offer.tightened), (before.version + 1, &before.members, now));
}

#[test]
fn a_bound_is_let_go_of_with_the_last_confirmer() {
    let mut office = Office::with_b();
    let rpo = Duration::from_millis(100);
    office.learn(|known| known.terms.mode = Mode::Bounded { rpo, count: 1 });
    let before = office.known.revision;
    office.look(&[("b", 100)], [before; 2]);
    office.learn(|known| known.terms.mode = Mode::Async);
    let now = office.known.revision;
    office.look(&[("b", 100)], [now, before]);
    assert_eq!(
        (office.confirm, office.rpo),
        ([1, 0], Some(rpo)),
        "one witness of three may still name b with another"
    );
    office.look(&[("b", 100)], [now; 2]);
    assert_eq!((office.confirm, office.rpo), ([0, 0], None));
}

#[test]
fn a_standby_is_let_go_of_only_when_a_majority_carries_a_log_without_it() {
    let mut office = Office::with_b();
    let before = office.known.revision;
    for _ in 0..10 {
        office.look(&[("c", 100)], [before; 2]);
    }
    let both = waits(&[Some("b"), Some("c")]);
    assert_eq!(office.offer().members, names(&["c"]).into_iter().collect());
    assert_eq!((office.waits(), office.confirm), (both.clone(), [3, 0]));
    office.take_offer();
    let now = office.known.revision;
    office.look(&[("c", 100)], [now, before]);
    assert_eq!(
        (office.waits(), office.confirm),
        (both, [3, 0]),
        "one witness of three may still name b with another"
    );
    office.look(&[("c", 100)], [now; 2]);
    assert_eq!((office.waits(), office.confirm), (waits(&[None, Some("c")]), [2, 0]));
}

#[test]
fn an_heir_waits_for_everybody_who_may_be_named_after_it() {
    let mut known = begun().groups[&group()].clone();
    known.terms.mode = Mode::Sync { count: 1 };
    let at = known.instances[&instance("b")].clone();
    let heir = |known: &Group| {
        let me = Identity { group: group(), instance: instance("b"), at: at.clone() };
        let (mut agent, _) = Agent::new(me, None, Time::ZERO);
        let word = ToAgent::Known(Box::new(known.clone()));
        agent.step(agent::Event::Heard(NodeId(1), word), Time::ZERO);
        let standby = Observation { role: Role::Standby, ..Observation::default() };
        agent.step(agent::Event::Observed(standby), Time::ZERO);
        agent
    };
    let decided = |rests: [&[&str]; 2], of: &Group| {
        let vote = |witness: u64, rest: &[&str]| Vote { rest: names(rest), ..vote(of, witness, 2, "b", 2) };
        let votes = vec![vote(1, rests[0]), vote(2, rests[1])];
        agent::Event::Heard(NodeId(1), ToAgent::Decided(Certificate::new(votes).expect("a majority")))
    };
    let waits =
        |agent: &Agent| agent.durable().confirmers.as_ref().map(|of| of.names.iter().cloned().collect());
    let mut agent = heir(&known);
    agent.step(decided([&["c"], &[]], &known), Time::ZERO);
    assert_eq!(waits(&agent), Some(names(&["c"])), "one of the voters may name c with another that does");

    // In async nobody is waited for, unless the voters may know better.
    known.terms.mode = Mode::Async;
    let mut agent = heir(&known);
    agent.step(decided([&["c"], &["c"]], &known), Time::ZERO);
    assert_eq!(waits(&agent), None);
    let mut agent = heir(&known);
    let later = Group { revision: known.revision.next(), ..known.clone() };
    agent.step(decided([&["c"], &["c"]], &later), Time::ZERO);
    assert_eq!(waits(&agent), Some(names(&["c"])));
    agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(later))), Time::ZERO);
    assert_eq!(waits(&agent), None);
}
