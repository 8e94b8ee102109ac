//! On which timeline a promotion goes on.

use super::*;

/// What the agent of instance a does, decided to be primary of `epoch`, leased, and a standby on timeline `here`, when the log
/// says that of the database.
fn promotes(epoch: u64, here: u32, database: Option<(u64, u32)>) -> Option<Task> {
    let mut known = begun().groups[&group()].clone();
    (known.epoch, known.since) = (Epoch(epoch), Epoch(epoch));
    known.system_id = database.map(|(id, _)| id);
    known.timeline_base = database.map_or(0, |(_, base)| base);
    let me =
        Identity { group: group(), instance: instance("a"), at: known.instances[&instance("a")].clone() };
    let (mut agent, _) = Agent::new(me, None, Time::ZERO);
    agent.step(agent::Event::Heard(NodeId(1), ToAgent::Known(Box::new(known))), Time::ZERO);
    let position = Position { timeline: here, ..Position::default() };
    let standby = Observation { role: Role::Standby, position, system_id: Some(7), ..Observation::default() };
    let mut effects = agent.step(agent::Event::Observed(standby), Time::ZERO);
    let seq = Seq { incarnation: agent.durable().incarnation, number: 1 };
    for node in [1, 2] {
        let (ttl, revision) = (Terms::default().ttl, Revision(1));
        let promise = ToAgent::Promised { group: group(), epoch: Epoch(epoch), seq, ttl, revision };
        effects.extend(agent.step(agent::Event::Heard(NodeId(node), promise), Time::ZERO));
    }
    effects.into_iter().find_map(|effect| match effect {
        agent::Effect::Start(task) => Some(task),
        _ => None,
    })
}

#[test]
fn a_promotion_takes_the_number_of_its_epoch() {
    let onto = |timeline| Some(Task::Promote { timeline });
    // Whatever its Postgres has heard of.
    assert_eq!(promotes(2, 1, Some((7, 0))), onto(Some(2)));
    assert_eq!(promotes(5, 1, Some((7, 0))), onto(Some(5)));
    assert_eq!(promotes(3, 11, Some((7, 10))), onto(Some(13)));
    // It was made in this epoch already: another epoch has another number.
    assert_eq!(promotes(5, 5, Some((7, 0))), None);
    // Somebody was promoted by hand; the first primary, before anything is counted; beyond what Postgres can count.
    assert_eq!(promotes(5, 6, Some((7, 0))), onto(None));
    assert_eq!(promotes(1, 4, None), onto(None));
    assert_eq!(promotes(u64::from(u32::MAX), 6, Some((7, 1))), onto(None));
}

#[test]
fn the_base_is_what_the_first_timeline_is_ahead_of_its_epoch() {
    for (epoch, timeline, expected) in [(1, 1, 0), (3, 1, 0), (1, 4, 3), (3, 4, 1)] {
        let mut state = begun();
        state.groups.get_mut(&group()).expect("it has begun").epoch = Epoch(epoch);
        let mut view = View::default();
        let position = Position { timeline, ..Position::default() };
        let claims = Some(Epoch(epoch));
        let primary = Report { role: Role::Primary, leased: true, position, claims, ..report("a", 1) };
        let primary = Report { acted: Epoch(epoch), seen: Epoch(epoch), system_id: Some(7), ..primary };
        view.look(&state, Time::ZERO);
        view.report(primary, Time(1));
        let base = plan(&state, &view, Time(1), 0).into_iter().find_map(|action| match action {
            Action::Propose(Command::SetSystem { timeline_base, .. }) => Some(timeline_base),
            _ => None,
        });
        assert_eq!(base, Some(expected), "timeline {timeline} in epoch {epoch}");
    }
}
