//! Tags: who never takes over, who comes first, and what a standby is that receives through another.

use super::*;
use regent_core::agent::Upstream;
use regent_core::replication::Mode;
use regent_core::succession::CALM;
use std::time::Duration;

/// The log after these instances were registered anew with such tags.
fn tagged(state: &mut State, who: &str, tags: Tags) {
    let at = Instance { tags, ..state.groups[&group()].instances[&instance(who)].clone() };
    let register = Command::Register { group: group(), instance: instance(who), at };
    assert!(matches!(state.apply(&register), Ok(Applied::Group(..))), "other tags are news");
    assert_eq!(state.apply(&register), Ok(Applied::Unchanged));
}

fn replicates_from(who: &str) -> Tags {
    Tags { replicate_from: Some(instance(who)), ..Tags::default() }
}

/// Everybody reports, every 50 ms for so long; `also` changes what they say.
fn reported(state: &State, lasts: Duration, also: impl Fn(Report) -> Report) -> (View, Time) {
    let (mut view, mut now) = (View::default(), Time(60_000_000_000));
    let end = now + lasts;
    view.look(state, now);
    while now <= end {
        for name in ["a", "b", "c"] {
            view.report(also(report(name, 1)), now);
        }
        now = now + Duration::from_millis(50);
    }
    (view, end)
}

fn order(state: &State, view: &View, now: Time) -> Vec<String> {
    let (names, _) = desired(&state.groups[&group()], view.group(&group()), now).expect("no offer is needed");
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn who_is_never_promoted_is_taken_out_of_the_succession_and_says_why() {
    let mut state = begun();
    tagged(&mut state, "b", Tags { no_promote: true, ..Tags::default() });
    // The primary's own tag counts when it is primary no longer.
    tagged(&mut state, "a", Tags { no_promote: true, ..Tags::default() });
    assert_eq!(state.groups[&group()].succession, [instance("b"), instance("c")], "the leader takes it out");
    let (view, now) = reported(&state, Duration::ZERO, |said| said);
    assert_eq!(order(&state, &view, now), ["c"]);
    let known = &state.groups[&group()];
    let why = |name: &str| why_not(known, view.group(&group()), &instance(name), now);
    assert_eq!(why("b").as_deref(), Some("is tagged no_promote"));
    assert_eq!(why("a").as_deref(), Some("is the primary"));
    assert_eq!(why("c"), None);
}

#[test]
fn who_has_a_higher_priority_moves_ahead_when_it_has_been_fit_for_long_enough() {
    let mut state = begun();
    tagged(&mut state, "c", Tags { priority: 5, ..Tags::default() });
    let cases = [(CALM - Duration::from_millis(50), ["b", "c"]), (CALM, ["c", "b"])];
    for (lasts, expected) in cases {
        let (view, now) = reported(&state, lasts, |said| said);
        assert_eq!(order(&state, &view, now), expected, "fit for {lasts:?}");
    }
    // Once it is ahead, a moment without a stream does not cost it its place.
    let (mut view, now) = reported(&state, CALM, |said| said);
    let revision = state.groups[&group()].revision;
    let succession = vec![instance("c"), instance("b")];
    state
        .apply(&Command::SetSuccession { group: group(), epoch: Epoch(1), revision, succession, offer: None })
        .expect("as it should be");
    view.report(Report { streaming: false, ..report("c", 2) }, now);
    assert_eq!(order(&state, &view, now), ["c", "b"]);
}

/// A standby of one that has not turned to the primary streams, and knows nothing of that primary.
#[test]
fn who_receives_through_another_has_turned_only_when_that_one_has() {
    let mut state = begun();
    let before = state.groups[&group()].clone();
    let votes = vec![vote(&before, 1, 2, "b", 2), vote(&before, 2, 2, "b", 2)];
    state.apply(&record(votes, None)).expect("a decision");
    let through_a = |followed: u64| {
        move |said: Report| match said.instance.as_str() {
            "a" => Report { followed: Epoch(followed), ..said },
            "c" => Report { through: Some(instance("a")), followed: Epoch(1), ..said },
            _ => said,
        }
    };
    let since = Duration::from_secs(10); // longer than a new primary excuses
    let (view, now) = reported(&state, since, through_a(1));
    assert_eq!(order(&state, &view, now), Vec::<String>::new());
    let why = why_not(&state.groups[&group()], view.group(&group()), &instance("c"), now);
    assert!(
        why.as_deref().is_some_and(|why| why.contains("receives from a, which has not followed")),
        "{why:?}"
    );
    let (view, now) = reported(&state, since, through_a(2));
    assert_eq!(order(&state, &view, now), ["c", "a"]);
    // In a circle nobody has.
    let circle = |said: Report| match said.instance.as_str() {
        "a" => Report { through: Some(instance("c")), followed: Epoch(2), ..said },
        "c" => Report { through: Some(instance("a")), followed: Epoch(2), ..said },
        _ => said,
    };
    let (view, now) = reported(&state, since, circle);
    assert_eq!(order(&state, &view, now), Vec::<String>::new());
}

#[test]
fn in_sync_who_receives_through_another_confirms_nothing() {
    let mut state = begun();
    let through = |said: Report| match said.instance.as_str() {
        "c" => Report { through: Some(instance("b")), ..said },
        _ => said,
    };
    let (view, now) = reported(&state, Duration::ZERO, through);
    let why = |state: &State| why_not(&state.groups[&group()], view.group(&group()), &instance("c"), now);
    assert_eq!(why(&state), None, "in async it may take over");
    state
        .apply(&Command::SetMode {
            group: group(),
            mode: Mode::Sync { count: 1 },
            policy: Default::default(),
        })
        .expect("as it should be");
    assert!(why(&state).is_some_and(|why| why.contains("does not see it confirm")));
}

/// The agent of c, which shall receive through b; a is primary.
struct Cascading {
    agent: Agent,
    seen: Observation,
    now: Time,
}

impl Cascading {
    fn new(mode: Mode, succession: &[&str]) -> Cascading {
        let mut state = begun();
        tagged(&mut state, "c", replicates_from("b"));
        let mut known = state.groups[&group()].clone();
        known.terms.mode = mode;
        known.succession = succession.iter().map(|name| instance(name)).collect();
        let at = known.instances[&instance("c")].clone();
        let (mut agent, _) =
            Agent::new(Identity { group: group(), instance: instance("c"), at }, None, Time(1));
        agent.step(agent::Event::Linked(NodeId(1)), Time(1));
        agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time(1));
        let seen = Observation { role: Role::Standby, gate_armed: true, ..Observation::default() };
        Cascading { agent, seen, now: Time(1) }
    }

    /// Looks, every 50 ms for so long; whom it is told to follow meanwhile, in order. It streams from those.
    fn look(&mut self, lasts: Duration, up: &[&str]) -> Vec<String> {
        let end = self.now + lasts;
        let mut told = Vec::new();
        while self.now <= end {
            let from = self.seen.following.as_ref().map(|of: &Upstream| of.instance.to_string());
            self.seen.streaming = from.is_some_and(|from| up.contains(&from.as_str()));
            for effect in self.agent.step(agent::Event::Observed(self.seen.clone()), self.now) {
                if let agent::Effect::Start(task @ Task::Follow(_)) = effect {
                    let Task::Follow(of) = &task else { continue };
                    told.push(of.instance.to_string());
                    self.seen.following = Some(of.clone());
                    // What was done is looked at before it is said to be done.
                    self.seen.streaming = false;
                    self.agent.step(agent::Event::Observed(self.seen.clone()), self.now);
                    self.agent.step(agent::Event::Done(task, Ok(())), self.now);
                }
            }
            self.now = self.now + Duration::from_millis(50);
        }
        told
    }
}

#[test]
fn a_standby_that_nothing_comes_from_is_given_up_for_the_primary_and_tried_again() {
    let second = Duration::from_secs(1);
    let mut c = Cascading::new(Mode::Async, &["b", "c"]);
    assert_eq!(c.look(second, &["a", "b"]), ["b"]);
    assert_eq!(c.look(second, &["a"]), [""; 0], "not at once");
    assert_eq!(c.look(2 * second, &["a"]), ["a"]);
    assert_eq!(c.look(8 * second, &["a", "b"]), [""; 0], "not at once again");
    assert_eq!(c.look(second * 3 / 2, &["a"]), ["b"]);
    assert_eq!(c.look(3 * second, &["a"]), ["a"], "in vain");
    assert_eq!(c.look(15 * second, &["a", "b"]), [""; 0], "ever more rarely");
    assert_eq!(c.look(6 * second, &["a", "b"]), ["b"]);
}

#[test]
fn whom_commits_wait_for_stays_with_the_primary() {
    let second = Duration::from_secs(1);
    let sync = Mode::Sync { count: 1 };
    assert_eq!(Cascading::new(sync, &["c"]).look(second, &["a", "b"]), ["a"]);
    assert_eq!(Cascading::new(sync, &["b"]).look(second, &["a", "b"]), ["b"]);
}
