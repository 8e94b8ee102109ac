//! The planned change: when commits begin to wait, when the office is given on, when all is called off, and who is refused.

use super::*;
use regent_core::ids::Lsn;
use regent_core::message::{HandOver, Step};
use regent_core::switchover::{Refused, WAIT, Wish, check};
use std::collections::BTreeSet;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const MS: u64 = 1_000_000;

fn wish(ticket: u64) -> ToAgent {
    let wish = HandOver { epoch: Epoch(1), to: instance("b"), ticket, wait: WAIT };
    ToAgent::HandOver { group: group(), wish }
}

/// The primary with its end of WAL, and how far b has flushed, if it streams.
fn seen(end: u64, b: Option<u64>) -> agent::Event {
    let position = Position { received: Lsn(end), flushed: Lsn(end), replayed: Lsn(end), timeline: 1 };
    let standbys = b.map(|at| (instance("b"), Lsn(at))).into_iter().collect();
    agent::Event::Observed(Observation { position, standbys, ..primary() })
}

fn done(task: Task, result: Result<(), &str>) -> agent::Event {
    agent::Event::Done(task, result.map_err(str::to_owned))
}

/// b's own word on how far it has flushed.
fn reached(end: u64) -> agent::Event {
    agent::Event::Reached { instance: instance("b"), flushed: Lsn(end) }
}

/// The stop for b: c is not waited for.
fn stop() -> Task {
    Task::StopFor { without: [instance("c")].into() }
}

/// Postgres after a clean stop, with that much in its log.
fn at_rest(end: u64) -> agent::Event {
    let position = Position { received: Lsn(end), flushed: Lsn(end), replayed: Lsn(end), timeline: 1 };
    agent::Event::Observed(Observation { role: Role::Stopped, position, ..primary() })
}

fn starts(effects: &[agent::Effect]) -> Option<Task> {
    effects.iter().find_map(|effect| match effect {
        agent::Effect::Start(task) => Some(task.clone()),
        _ => None,
    })
}

fn closes(effects: &[agent::Effect]) -> bool {
    effects.contains(&agent::Effect::Close)
}

fn called_off(effects: &[agent::Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        agent::Effect::Note(agent::Note::CalledOff(_, why)) => Some(why.as_str()),
        _ => None,
    })
}

/// An agent in office that was asked, and makes its checkpoint.
fn asked() -> (Agent, Task) {
    let (mut agent, _) = in_office(primary());
    let effects = agent.step(agent::Event::Heard(NodeId(1), wish(7)), Time::ZERO);
    let task = starts(&effects).expect("a checkpoint begins");
    assert_eq!((&task, closes(&effects)), (&Task::Checkpoint { within: WAIT }, false));
    (agent, task)
}

/// The same, with the checkpoint done while b lacks that much.
fn with_b_behind(bytes: u64) -> (Agent, Vec<agent::Effect>) {
    let (mut agent, task) = asked();
    agent.step(seen(100 * MIB, Some(100 * MIB - 1)), Time::ZERO);
    let effects = agent.step(done(task, Ok(())), Time::ZERO);
    assert!(!closes(&effects), "b has not flushed yet what proves that it receives: {effects:?}");
    let effects = agent.step(seen(100 * MIB + bytes, Some(100 * MIB)), Time::ZERO);
    assert!(!closes(&effects), "b has not said itself how far it is: {effects:?}");
    let effects = agent.step(reached(100 * MIB), Time::ZERO);
    (agent, effects)
}

/// The same, with Postgres stopped 100 bytes later, of which b has said to have that many.
fn stopped_with_b_at(bytes: u64) -> (Agent, Vec<agent::Effect>) {
    let (mut agent, effects) = with_b_behind(0);
    assert_eq!((starts(&effects), closes(&effects)), (Some(stop()), true));
    assert_eq!(released(&agent.step(reached(100 * MIB + bytes), Time::ZERO)), None);
    assert_eq!(released(&agent.step(agent::Event::Exited, Time::ZERO)), None);
    agent.step(at_rest(100 * MIB + 100), Time::ZERO);
    let effects = agent.step(done(stop(), Ok(())), Time::ZERO);
    (agent, effects)
}

/// A lease that outlasts a test.
fn promised_for_long(agent: &mut Agent, now: Time) -> Vec<agent::Effect> {
    let promise = ToAgent::Promised {
        group: group(),
        epoch: Epoch(1),
        seq: Seq { incarnation: agent.durable().incarnation, number: 2 },
        ttl: Duration::from_secs(60),
        revision: Revision(1),
    };
    let heard = |node| agent::Event::Heard(NodeId(node), promise.clone());
    [1, 2].into_iter().flat_map(|node| agent.step(heard(node), now)).collect()
}

/// Only a Postgres that stopped cleanly has sent everything: whatever else ends it while it hands over is a death, and
/// a stop that had to be hard hands nothing over.
#[test]
fn the_office_is_handed_over_after_a_clean_stop_only() {
    let (_, effects) = stopped_with_b_at(100);
    assert_eq!(released(&effects), Some(Reason::Switchover));
    assert!(effects.contains(&agent::Effect::Ask(None)), "b is asked no more: {effects:?}");

    let (mut agent, _) = with_b_behind(0);
    agent.step(agent::Event::Exited, Time::ZERO);
    let effects = agent.step(done(stop(), Err("had to be hard")), Time::ZERO);
    assert_eq!(released(&effects), None);
    assert!(called_off(&effects).is_some_and(|why| why.contains("had to be hard")), "{effects:?}");
    assert_eq!(starts(&effects), Some(Task::StartPrimary), "it goes on as what it was");
}

/// A stream that breaks in the last moment makes the stop no less clean: what counts is what the successor says that it
/// has, of its own. If it does not say so in time, this Postgres goes on as what it was.
#[test]
fn a_successor_that_does_not_say_that_it_has_everything_is_handed_nothing() {
    let (mut agent, effects) = stopped_with_b_at(99);
    assert_eq!((released(&effects), starts(&effects)), (None, None), "it waits, at rest: {effects:?}");
    let other = agent::Event::Reached { instance: instance("c"), flushed: Lsn(200 * MIB) };
    assert_eq!(released(&agent.step(other, Time::ZERO)), None, "c has not been asked for");
    let effects = agent.step(reached(100 * MIB + 100), Time(299 * MS));
    assert_eq!(released(&effects), Some(Reason::Switchover), "late, and in time");

    let (mut agent, _) = stopped_with_b_at(99);
    promised_for_long(&mut agent, Time::ZERO);
    let effects = agent.step(agent::Event::Wake, Time(300 * MS));
    let why = "b did not say that it has everything after 300 ms";
    assert_eq!(
        (called_off(&effects), starts(&effects)),
        (Some(why), Some(Task::StartPrimary)),
        "{effects:?}"
    );
    let effects = agent.step(reached(100 * MIB + 100), Time(301 * MS));
    assert_eq!(released(&effects), None, "what was called off stays so");
}

/// Whoever cannot be asked would be handed nothing in the end: no commit waits for that.
#[test]
fn no_commit_waits_for_a_successor_that_cannot_be_asked() {
    let (mut agent, task) = asked();
    agent.step(seen(MIB, Some(MIB)), Time::ZERO);
    assert!(!closes(&agent.step(done(task, Ok(())), Time::ZERO)));
    let effects = agent.step(seen(MIB, Some(MIB)), Time(5_001 * MS));
    assert!(
        called_off(&effects).is_some_and(|why| why.contains("b has not said itself how far it is")),
        "{effects:?}"
    );
    assert!(!closes(&effects), "{effects:?}");
}

/// Somebody has set whom commits wait for, and it cannot be set back: neither the checkpoint nor the stop can begin.
#[test]
fn a_step_that_cannot_begin_is_called_off() {
    let (mut agent, _) = in_office(primary());
    let set = Some(agent::Waits { places: vec![Some(instance("c"))], any: None });
    let other = |at| match seen(MIB, Some(MIB)) {
        agent::Event::Observed(seen) => {
            agent::Event::Observed(Observation { waits: set.clone(), at, ..seen })
        }
        _ => unreachable!("`seen` is an observation"),
    };
    let synchronise = starts(&agent.step(other(Time::ZERO), Time::ZERO)).expect("it is set back");
    assert!(matches!(synchronise, Task::Synchronise(_)), "{synchronise:?}");
    agent.step(agent::Event::Heard(NodeId(1), wish(7)), Time::ZERO);
    let effects = agent.step(done(synchronise, Err("permission denied")), Time::ZERO);
    assert_eq!((starts(&effects), called_off(&effects)), (None, None), "it may succeed yet: {effects:?}");
    let effects = agent.step(other(Time(5_000 * MS)), Time(5_000 * MS));
    assert_eq!(called_off(&effects), Some("no checkpoint was made (permission denied) after 5000 ms"));
    assert!(!closes(&effects), "{effects:?}");

    // The same after the checkpoint: commits wait for no longer than for a successor that falls back.
    let (mut agent, task) = asked();
    agent.step(seen(MIB, Some(MIB)), Time::ZERO);
    agent.step(done(task, Ok(())), Time::ZERO);
    let synchronise = starts(&agent.step(other(Time::ZERO), Time::ZERO));
    assert!(matches!(synchronise, Some(Task::Synchronise(_))), "{synchronise:?}");
    let effects = agent.step(reached(MIB), Time::ZERO);
    assert_eq!((starts(&effects), closes(&effects)), (None, true), "one task at a time: {effects:?}");
    let effects = agent.step(agent::Event::Wake, Time(500 * MS));
    let why = "Postgres could not begin to stop after 500 ms of waiting commits";
    assert_eq!(called_off(&effects), Some(why), "{effects:?}");
}

/// A primary that was in office for long, and stops to hand over, is not overdue: it was there all the time.
#[test]
fn an_old_primary_that_stops_to_hand_over_names_whom_it_was_asked_to() {
    let (mut agent, _) = in_office(primary());
    let later = Time(1_000_000 * MS);
    let task = starts(&agent.step(agent::Event::Heard(NodeId(1), wish(7)), later)).expect("a checkpoint");
    agent.step(seen(MIB, Some(MIB)), later);
    agent.step(reached(MIB), later);
    assert_eq!(starts(&agent.step(done(task, Ok(())), later)), Some(stop()));
    let effects = agent.step(agent::Event::Exited, later);
    assert_eq!(released(&effects), None, "{effects:?}");
}

/// Commits wait for a short time only: who falls back then calls it off, and the gate opens again.
#[test]
fn commits_wait_for_the_successor_only_for_a_moment() {
    let (_, effects) = with_b_behind(20 * MIB);
    assert!(!closes(&effects), "b is not close: {effects:?}");
    let (mut agent, effects) = with_b_behind(10 * MIB);
    assert_eq!((starts(&effects), closes(&effects)), (None, true), "b is close, and has to come near");
    let late = Time(501 * MS);
    let effects = agent.step(seen(110 * MIB, Some(100 * MIB)), late);
    assert!(called_off(&effects).is_some_and(|why| why.contains("lacks 10485760 bytes")), "{effects:?}");
    assert!(opens(&promised_for_long(&mut agent, late)), "{effects:?}");
    // The leader, which has not heard of it, asks once more for the same; a new wish is another matter.
    let again = agent.step(agent::Event::Heard(NodeId(1), wish(7)), late);
    assert_eq!(starts(&again), None);
    let anew = agent.step(agent::Event::Heard(NodeId(1), wish(8)), late);
    assert!(matches!(starts(&anew), Some(Task::Checkpoint { .. })), "{anew:?}");
}

#[test]
fn a_successor_that_does_not_come_close_in_time_holds_nobody_up() {
    let (mut agent, task) = asked();
    agent.step(seen(MIB, None), Time::ZERO);
    agent.step(done(task, Ok(())), Time::ZERO);
    let effects = agent.step(seen(MIB, None), Time(5_001 * MS));
    assert_eq!(called_off(&effects), Some("b does not stream from it after 5000 ms"));
    assert!(!closes(&effects), "{effects:?}");
    let (mut agent, task) = asked();
    let effects = agent.step(done(task, Err("it took too long")), Time::ZERO);
    assert!(called_off(&effects).is_some_and(|why| why.contains("it took too long")), "{effects:?}");
    assert_eq!((released(&effects), closes(&effects)), (None, false));
}

/// A long checkpoint leaves much to write for the stop: it is followed by a short one.
#[test]
fn a_long_checkpoint_is_followed_by_another() {
    let (mut agent, task) = asked();
    agent.step(seen(MIB, Some(MIB)), Time(1_500 * MS));
    let effects = agent.step(done(task, Ok(())), Time(1_500 * MS));
    let second = starts(&effects).expect("another begins");
    assert_eq!(second, Task::Checkpoint { within: WAIT - Duration::from_millis(1_500) });
    agent.step(reached(MIB), Time(1_600 * MS));
    let effects = agent.step(done(second, Ok(())), Time(1_600 * MS));
    assert_eq!(starts(&effects), Some(stop()));
}

/// Who has been overtaken is stopped at once, whatever a checkpoint still has to write.
#[test]
fn fencing_does_not_wait_for_the_checkpoint() {
    let (mut agent, task) = asked();
    let mut state = begun();
    let of = state.groups[&group()].clone();
    state
        .apply(&record(vec![vote(&of, 2, 2, "b", 2), vote(&of, 3, 2, "b", 2)], None))
        .expect("as it should be");
    let overtaken = ToAgent::Known(Box::new(state.groups[&group()].clone()));
    let effects = agent.step(agent::Event::Heard(NodeId(1), overtaken), Time::ZERO);
    assert_eq!((starts(&effects), closes(&effects)), (Some(Task::StopImmediately), true));
    let effects = agent.step(done(task, Err("the server was stopped")), Time::ZERO);
    assert_eq!(starts(&effects), None, "the stop is still under way: {effects:?}");
}

/// Postgres dies while it prepares: that is a death like any other, and no switchover.
#[test]
fn a_postgres_that_dies_before_it_stops_is_replaced_by_the_heir() {
    let (mut agent, _) = asked();
    let effects = agent.step(agent::Event::Exited, Time::ZERO);
    assert_eq!(released(&effects), Some(Reason::PostgresDied));
}

#[test]
fn who_cannot_be_handed_the_office_is_refused_with_the_reason() {
    let state = begun();
    let of = &state.groups[&group()];
    let now = Time(60_000 * MS);
    let mut view = View::default();
    let claims = |name: &str| {
        let position = Position { timeline: 1, ..Position::default() };
        let role = if name == "a" { Role::Primary } else { Role::Standby };
        let claims = (name == "a").then_some(Epoch(1));
        Report { role, claims, leased: claims.is_some(), position, ..report(name, 1) }
    };
    let ask = |view: &View, to: Option<&str>| {
        let to = to.map(instance);
        check(
            of,
            view.group(&group()),
            Wish { to: to.as_ref(), wait: WAIT, drained: &BTreeSet::new() },
            |_| None,
            now,
        )
    };
    assert!(matches!(ask(&view, None), Err(Refused::NoPrimary(_))));
    for name in ["a", "b", "c"] {
        view.report(claims(name), now);
    }
    for (to, expected) in [(None, "b"), (Some("b"), "b"), (Some("c"), "c")] {
        assert_eq!(ask(&view, to).expect("as it should be").wish.to, instance(expected));
    }
    assert_eq!(ask(&view, Some("a")), Err(Refused::AlreadyPrimary(instance("a"))));
    let unknown = ask(&view, Some("nowhere")).expect_err("unknown").to_string();
    assert_eq!(unknown, "no instance or region nowhere in group g: known are a in a, b in b, c in c");

    let position = Position { timeline: 1, flushed: Lsn(20 * MIB), ..Position::default() };
    view.report(Report { position, ..claims("b") }, now);
    let lagging = ask(&view, Some("b")).expect_err("it would have to replay").to_string();
    assert_eq!(lagging, "b cannot take over now: it has 20971520 bytes to replay yet, allowed are 16777216");
    assert_eq!(ask(&view, None).expect("the next in the succession").wish.to, instance("c"));

    // The second is told of the first, asked for or taken up.
    let first = ask(&view, Some("c")).expect("as it should be").wish;
    view.ask_hand_over(&group(), first.clone(), now);
    let second = ask(&view, Some("b")).expect_err("under way").to_string();
    assert_eq!(second, "a switchover of group g to c is under way already; see `regent status`");
    let progress = |step| regent_core::message::Progress {
        ticket: first.ticket,
        to: first.to.clone(),
        step,
        why: String::new(),
    };
    view.report(Report { hand_over: Some(progress(Step::Stopping)), ..claims("a") }, now);
    assert!(matches!(ask(&view, Some("c")), Err(Refused::UnderWay { .. })));
    view.report(Report { hand_over: Some(progress(Step::CalledOff)), ..claims("a") }, now);
    assert!(ask(&view, Some("c")).is_ok(), "what was called off is in nobody's way");
}

/// Where a region is asked for, the first there in the succession is meant.
#[test]
fn a_region_stands_for_who_is_first_there() {
    let mut state = begun();
    let of = state.groups.get_mut(&group()).expect("as it should be");
    let there = RegionName::new("west").expect("as it should be");
    for name in ["b", "c"] {
        of.instances.get_mut(&instance(name)).expect("as it should be").region = there.clone();
    }
    of.succession = vec![instance("c"), instance("b")];
    let now = Time(60_000 * MS);
    let mut view = View::default();
    let primary = Report { role: Role::Primary, claims: Some(Epoch(1)), leased: true, ..report("a", 1) };
    for report in [primary, report("b", 1), report("c", 1)] {
        view.report(report, now);
    }
    let (west, home) = (instance("west"), instance("a"));
    let ask = |to| {
        check(
            of,
            view.group(&group()),
            Wish { to: Some(to), wait: WAIT, drained: &BTreeSet::new() },
            |_| None,
            now,
        )
    };
    assert_eq!(ask(&west).expect("as it should be").wish.to, instance("c"));
    assert_eq!(ask(&home), Err(Refused::AlreadyPrimary(home.clone())));
}
