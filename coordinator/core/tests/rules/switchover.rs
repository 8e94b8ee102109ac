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
    (agent, effects)
}

/// Only a Postgres that stopped cleanly has sent everything: whatever else ends it while it hands over is a death, and
/// a stop that had to be hard hands nothing over.
#[test]
fn the_office_is_handed_over_after_a_clean_stop_only() {
    let (mut agent, effects) = with_b_behind(0);
    assert_eq!((starts(&effects), closes(&effects)), (Some(Task::StopCleanly), true));
    assert_eq!(released(&agent.step(agent::Event::Exited, Time::ZERO)), None);
    let effects = agent.step(done(Task::StopCleanly, Ok(())), Time::ZERO);
    assert_eq!(released(&effects), Some(Reason::Switchover));

    let (mut agent, _) = with_b_behind(0);
    agent.step(agent::Event::Exited, Time::ZERO);
    let effects = agent.step(done(Task::StopCleanly, Err("had to be hard")), Time::ZERO);
    assert_eq!(released(&effects), None);
    assert!(called_off(&effects).is_some_and(|why| why.contains("had to be hard")), "{effects:?}");
    assert_eq!(starts(&effects), Some(Task::StartPrimary), "it goes on as what it was");
}

/// A primary that was in office for long, and stops to hand over, is not overdue: it was there all the time.
#[test]
fn an_old_primary_that_stops_to_hand_over_names_whom_it_was_asked_to() {
    let (mut agent, task) = asked();
    let later = Time(1_000_000 * MS);
    agent.step(seen(MIB, Some(MIB)), later);
    let second = starts(&agent.step(done(task, Ok(())), later)).expect("another checkpoint");
    assert_eq!(starts(&agent.step(done(second, Ok(())), later)), Some(Task::StopCleanly));
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
    let promise = ToAgent::Promised {
        group: group(),
        epoch: Epoch(1),
        seq: Seq { incarnation: agent.durable().incarnation, number: 2 },
        ttl: Duration::from_secs(60),
        revision: Revision(1),
    };
    let mut effects = Vec::new();
    for node in [1, 2] {
        effects.extend(agent.step(agent::Event::Heard(NodeId(node), promise.clone()), late));
    }
    assert!(opens(&effects), "{effects:?}");
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
    let effects = agent.step(done(second, Ok(())), Time(1_600 * MS));
    assert_eq!(starts(&effects), Some(Task::StopCleanly));
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
