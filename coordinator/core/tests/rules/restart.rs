//! A restart of one instance: what it is it stays, and nobody hears of it but those whose commits wait.

use super::*;
use regent_core::agent::Upstream;
use regent_core::ids::Lsn;
use regent_core::message::{HandOver, Progress, Step};
use regent_core::restart::{How, check};
use regent_core::switchover::{Refused, WAIT, Wish};
use std::collections::BTreeSet;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn ask(of: &str, epoch: u64, ticket: u64) -> agent::Event {
    let wish = HandOver { epoch: Epoch(epoch), to: instance(of), ticket, wait: WAIT, restart: true };
    agent::Event::Heard(NodeId(1), ToAgent::HandOver { group: group(), wish })
}

fn starts(effects: &[agent::Effect]) -> Option<Task> {
    effects.iter().find_map(|effect| match effect {
        agent::Effect::Start(task) => Some(task.clone()),
        _ => None,
    })
}

/// The stop of a: only b, its heir, is waited for.
fn stop() -> Task {
    Task::StopFor { without: [instance("c")].into() }
}

fn done(task: Task, result: Result<(), &str>) -> agent::Event {
    agent::Event::Done(task, result.map_err(str::to_owned))
}

fn stopped() -> agent::Event {
    agent::Event::Observed(Observation { role: Role::Stopped, ..primary() })
}

/// A primary from which b, the heir, streams.
fn streamed() -> Observation {
    Observation { standbys: [(instance("b"), Lsn(0))].into(), ..primary() }
}

/// An agent in office whose Postgres has stopped to be restarted.
fn stopping() -> Agent {
    let (mut agent, _) = in_office(streamed());
    let effects = agent.step(ask("a", 1, 7), Time::ZERO);
    let task = starts(&effects).expect("a checkpoint");
    assert!(
        matches!(task, Task::Checkpoint { .. }) && !effects.contains(&agent::Effect::Close),
        "{effects:?}"
    );
    let effects = agent.step(done(task, Ok(())), Time::ZERO);
    assert_eq!(starts(&effects), Some(stop()));
    assert!(effects.contains(&agent::Effect::Close), "commits wait before it stops: {effects:?}");
    assert_eq!(released(&agent.step(agent::Event::Exited, Time::ZERO)), None, "that is no death");
    agent
}

/// The gate is shut while Postgres is away, and opens under the same epoch; the office is never given up.
#[test]
fn a_primary_is_restarted_under_its_lease() {
    let mut agent = stopping();
    let effects = [agent.step(stopped(), Time::ZERO), agent.step(done(stop(), Ok(())), Time::ZERO)].concat();
    assert_eq!((starts(&effects), released(&effects)), (Some(Task::StartPrimary), None), "{effects:?}");
    assert!(!opens(&effects), "{effects:?}");
    let seen = |at: u64| agent::Event::Observed(Observation { at: Time(at * MS), ..primary() });
    let effects = agent.step(seen(100), Time(100 * MS));
    assert!(opens(&effects), "{effects:?}");
    assert!(effects.contains(&agent::Effect::Note(agent::Note::Restarted(Epoch(1)))), "{effects:?}");
    agent.step(done(Task::StartPrimary, Ok(())), Time(100 * MS));
    // The leader, which has not heard of it, asks once more for the same.
    assert_eq!(starts(&agent.step(ask("a", 1, 7), Time(100 * MS))), None);
}

/// A look that began before the stop had ended says nothing of the Postgres that is started.
#[test]
fn a_late_look_at_the_old_postgres_opens_no_gate() {
    let mut agent = stopping();
    agent.step(stopped(), Time(40 * MS));
    agent.step(done(stop(), Ok(())), Time(50 * MS));
    for (at, opened) in [(49, false), (50, true)] {
        let look = Observation { at: Time(at * MS), ..primary() };
        assert_eq!(opens(&agent.step(agent::Event::Observed(look), Time(60 * MS))), opened, "at {at} ms");
    }
}

/// Commits are not held for a stop that would wait for an heir which does not receive: they never notice.
#[test]
fn a_primary_whose_heir_falls_back_is_not_restarted() {
    for (standbys, why) in [
        (Default::default(), "b does not stream from it after 5000 ms"),
        ([(instance("b"), Lsn(1))].into(), "b lacks 16777217 bytes after 5000 ms"),
    ] {
        let (mut agent, _) = in_office(primary());
        let far = Position { received: Lsn(2 + (16 << 20)), ..Position::default() };
        agent.step(agent::Event::Observed(Observation { position: far, standbys, ..primary() }), Time::ZERO);
        let task = starts(&agent.step(ask("a", 1, 7), Time::ZERO)).expect("a checkpoint");
        let mut effects = agent.step(done(task, Ok(())), Time::ZERO);
        for ms in [4_999, 5_000] {
            assert!(!effects.contains(&agent::Effect::Close), "{effects:?}");
            let off = agent::Effect::Note(agent::Note::NotRestarted(why.to_owned()));
            effects = agent.step(agent::Event::Wake, Time(ms * MS));
            assert_eq!(effects.contains(&off), ms == 5_000, "{ms} ms: {effects:?}");
        }
    }
}

/// Where somebody has everything and can follow, a start that hangs is waited for as long as that is quicker; where nobody
/// has, or can, as long as any start.
#[test]
fn a_restart_that_hangs_ends_the_office_sooner_where_somebody_has_everything() {
    let end = Lsn(1);
    for (succession, says, patience) in [
        (&["b", "c"][..], Some(("b", end)), 1_500),
        (&["b", "c"], Some(("b", Lsn(end.0 - 1))), 120_000),
        (&["b", "c"], None, 120_000),
        (&[], Some(("b", end)), 120_000),
        // The stop has waited for b. What c has of which log, nobody has seen.
        (&["c", "b"], Some(("b", end)), 1_500),
        (&["c", "b"], Some(("c", end)), 120_000),
        (&["c"], Some(("c", end)), 120_000),
    ] {
        let mut agent = stopping();
        let mut known = begun().groups[&group()].clone();
        known.revision = Revision(known.revision.0 + 1);
        known.succession = succession.iter().map(|name| instance(name)).collect();
        agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
        if let Some((name, flushed)) = says {
            agent.step(agent::Event::Reached { instance: instance(name), flushed }, Time::ZERO);
        }
        let position = Position { received: end, ..Position::default() };
        let seen = Observation { role: Role::Stopped, position, ..primary() };
        agent.step(agent::Event::Observed(seen), Time::ZERO);
        agent.step(done(stop(), Ok(())), Time::ZERO);
        // Who has everything is asked for by name: another may not.
        let to = (patience == 1_500).then(|| instance("b"));
        for (ms, gone) in [(patience - 1, None), (patience, Some((to, Reason::PostgresDied)))] {
            agent.step(agent::Event::Wake, Time(ms * MS));
            assert_eq!(agent.durable().release, gone, "{succession:?}, {says:?}, {ms} ms");
        }
    }
}

#[test]
fn a_stop_that_had_to_be_hard_calls_the_restart_off_and_it_starts_all_the_same() {
    let mut agent = stopping();
    let effects =
        [agent.step(stopped(), Time::ZERO), agent.step(done(stop(), Err("hard")), Time::ZERO)].concat();
    let off = |effect: &agent::Effect| matches!(effect, agent::Effect::Note(agent::Note::NotRestarted(_)));
    assert!(effects.iter().any(off), "{effects:?}");
    assert_eq!((starts(&effects), released(&effects)), (Some(Task::StartPrimary), None));
}

/// Who cannot start is dead: the office goes to the heir, as after any death.
#[test]
fn a_primary_that_does_not_start_gives_its_office_up() {
    let mut agent = stopping();
    agent.step(stopped(), Time::ZERO);
    agent.step(done(stop(), Ok(())), Time::ZERO);
    let effects = agent.step(done(Task::StartPrimary, Err("no memory")), Time::ZERO);
    assert_eq!(released(&effects), Some(Reason::PostgresDied));
}

/// A standby stops and starts, and is through when it receives again.
#[test]
fn a_standby_is_restarted_as_one() {
    let known = begun().groups[&group()].clone();
    let at = known.instances[&instance("b")].clone();
    let me = Identity { group: group(), instance: instance("b"), at };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
    let following = Some(Upstream { instance: instance("a"), address: "a:5432".to_owned() });
    let seen = |role, streaming| {
        let following = following.clone().filter(|_| role == Role::Standby);
        agent::Event::Observed(Observation { role, streaming, following, was_primary: false, ..primary() })
    };
    agent.step(seen(Role::Standby, true), Time::ZERO);
    assert_eq!(starts(&agent.step(ask("a", 1, 6), Time::ZERO)), None, "another was meant");
    let task = starts(&agent.step(ask("b", 1, 7), Time::ZERO));
    assert_eq!(task, Some(Task::StopFor { without: BTreeSet::new() }));
    agent.step(agent::Event::Exited, Time::ZERO);
    agent.step(seen(Role::Stopped, false), Time::ZERO);
    let effects = agent.step(done(task.expect("just seen"), Ok(())), Time::ZERO);
    assert!(matches!(starts(&effects), Some(Task::StartStandby(Some(_)))), "{effects:?}");
    let restarted =
        |effects: &[agent::Effect]| effects.contains(&agent::Effect::Note(agent::Note::Restarted(Epoch(1))));
    assert!(!restarted(&agent.step(seen(Role::Standby, false), Time::ZERO)));
    assert!(restarted(&agent.step(seen(Role::Standby, true), Time::ZERO)));
}

/// In place as long as commits can wait for it, or nobody could take over; and one change at a time.
#[test]
fn a_primary_that_would_keep_commits_waiting_for_too_long_is_moved_first() {
    let mut state = begun();
    let now = Time(60_000 * MS);
    let started = |ms: u64, trouble: &str| {
        let mut view = View::default();
        for name in ["a", "b", "c"] {
            let leader = name == "a";
            let mut report = report(name, 1);
            report.role = if leader { Role::Primary } else { Role::Standby };
            report.claims = leader.then_some(Epoch(1));
            report.leased = leader;
            report.position.timeline = 1;
            report.started_in = Some(Duration::from_millis(ms));
            report.trouble = if leader { String::new() } else { trouble.to_owned() };
            report.pending_restart = vec!["shared_buffers".to_owned()];
            view.report(report, now);
        }
        view
    };
    let plan = |state: &State, view: &View, of: &str| {
        let wish = Wish { to: None, wait: WAIT, drained: &BTreeSet::new() };
        check(&state.groups[&group()], view.group(&group()), &instance(of), wish, |_| None, now)
    };
    let how = |view: &View, of: &str| plan(&state, view, of).expect("as it should be").how;
    assert_eq!(how(&started(100, ""), "b"), How::AsStandby);
    assert_eq!(how(&started(630, ""), "a"), How::InPlace);
    assert_eq!(how(&started(631, ""), "a"), How::AfterSwitchover(instance("b")));
    assert_eq!(how(&started(631, "ill"), "a"), How::InPlace, "nobody could take over");
    assert_eq!(plan(&state, &started(1, ""), "a").expect("as it should be").pending, ["shared_buffers"]);

    let mut view = started(100, "");
    let first = plan(&state, &view, "a").expect("as it should be").wish;
    view.ask_hand_over(&group(), first.clone(), now);
    let second = plan(&state, &view, "b").expect_err("one at a time").to_string();
    assert_eq!(second, "a of group g is being restarted; see `regent status`");
    let progress = |step| Progress { ticket: first.ticket, to: first.to.clone(), step, why: String::new() };
    for (step, free) in [(Step::Starting, false), (Step::Restarted, true)] {
        let mut heard = report("a", 2);
        (heard.role, heard.claims, heard.leased) = (Role::Primary, Some(Epoch(1)), true);
        heard.hand_over = Some(progress(step));
        view.report(heard, now);
        assert_eq!(plan(&state, &view, "b").is_ok(), free, "{step}");
    }
    state.groups.get_mut(&group()).expect("as it should be").succession.clear();
    assert!(matches!(plan(&state, &started(1, ""), "x"), Err(Refused::UnknownTarget { .. })));
    assert!(matches!(plan(&state, &View::default(), "b"), Err(Refused::NotRunning { .. })));
    let mut unleased = started(1, "");
    unleased.report(Report { role: Role::Primary, leased: false, ..report("a", 2) }, now);
    let why = plan(&state, &unleased, "a").expect_err("nobody promises").to_string();
    let words = "a cannot be restarted now: it is the primary, and holds no lease; see `regent status`";
    assert_eq!(why, words);
}

/// Nobody streams from a server that does not run. Its primary may yet start it, under its lease; and if not, somebody has
/// to be there who can take over.
#[test]
fn the_successors_of_a_primary_whose_postgres_does_not_run_stay_its_successors() {
    let state = begun();
    let now = Time(60_000 * MS);
    let becomes = |role| {
        let mut view = View::default();
        view.report(Report { role, claims: Some(Epoch(1)), leased: true, ..report("a", 1) }, now);
        for name in ["b", "c"] {
            view.report(Report { streaming: false, ..report(name, 1) }, now);
        }
        super::plan(&state, &view, now, 0).into_iter().find_map(|action| match action {
            Action::Propose(Command::SetSuccession { succession, .. }) => Some(succession),
            _ => None,
        })
    };
    assert_eq!(becomes(Role::Primary), Some(vec![]));
    assert_eq!(becomes(Role::Stopped), None);
}
