//! S3: nobody is primary in an epoch without votes of a majority for it, cast before; and each vote was cast when the voter's
//! promise to anybody else was over, or was given up by its holder after its gate had closed.
//!
//! From the audit files: of each promotion the votes that precede it; of each vote the last promise of that witness to
//! another, and the holder's own word that it let go. A line can be missing where a process was killed while it wrote: a
//! vote that a certificate names counts also when its witness was started anew before it wrote anything more.

use std::collections::BTreeSet;

use crate::timeline::{Event, Promised};

/// What breaks the theorem, a sentence each; nothing if it holds. Events are in the order of time; `start` is the epoch that
/// held when they begin, `regions` how many witnesses there are.
pub fn check(events: &[Event], regions: usize, start: u64) -> Vec<String> {
    let votes = events.iter().filter(|event| event.event == "vote");
    let mut found: Vec<String> = votes.filter_map(|vote| broken_promise(vote, events, start)).collect();
    let promotions = events.iter().filter(|event| matches!(event.event.as_str(), "promoted" | "gate_open"));
    let mut seen = BTreeSet::new();
    for event in promotions {
        let (Some(epoch), Some(instance)) = (event.epoch, event.instance.as_deref()) else { continue };
        if epoch > start && seen.insert((epoch, instance)) && !decided(events, event, regions) {
            let (what, voters) = (&event.event, voters(events, event));
            found.push(format!(
                "{instance}: {what} in epoch {epoch} with votes of {voters:?}, of {regions} witnesses"
            ));
        }
    }
    found
}

/// Whether the votes of a majority, or the log's word, came before it.
fn decided(events: &[Event], promotion: &Event, regions: usize) -> bool {
    let recorded = events
        .iter()
        .any(|event| event.event == "recorded" && before(event, promotion) && same(event, promotion));
    recorded || voters(events, promotion).len() * 2 > regions
}

/// Who voted for it, before it.
fn voters(events: &[Event], promotion: &Event) -> BTreeSet<u64> {
    let votes = events.iter().filter(|event| event.event == "vote");
    let votes = votes.filter(|vote| before(vote, promotion) && same(vote, promotion));
    let mut voters: BTreeSet<u64> = votes.filter_map(|vote| vote.witness).collect();
    let shown = events.iter().filter(|event| matches!(event.event.as_str(), "certificate" | "decided"));
    for certificate in shown.filter(|event| before(event, promotion) && same(event, promotion)) {
        let lost = |node: &&u64| last_lines_lost(events, **node, certificate.t_ns);
        voters.extend(certificate.voters.iter().filter(lost));
    }
    voters
}

/// Whether what that node did last before then may not be in its file: the next it wrote is that it was started.
fn last_lines_lost(events: &[Event], node: u64, t_ns: u64) -> bool {
    let name = format!("regentd-{node}");
    let mut later = events.iter().filter(|event| event.proc == name && event.t_ns > t_ns);
    later.next().is_none_or(|next| next.event == "started")
}

fn before(event: &Event, promotion: &Event) -> bool {
    event.t_ns <= promotion.t_ns
}

fn same(event: &Event, promotion: &Event) -> bool {
    event.epoch == promotion.epoch && event.instance == promotion.instance
}

/// A vote that was cast while a promise to another ran.
fn broken_promise(vote: &Event, events: &[Event], start: u64) -> Option<String> {
    let Promised { to, epoch, until_ns } = vote.promised.as_ref()?;
    let cast = vote.cast_ns.unwrap_or(vote.t_ns);
    if cast >= *until_ns || released(events, to, *epoch, cast, start) {
        return None;
    }
    let (voter, named) = (vote.witness.unwrap_or(0), vote.instance.as_deref().unwrap_or("nobody"));
    Some(format!(
        "node {voter} votes for {named} in epoch {} {:.1} ms before its promise to {to} in epoch {epoch} is over",
        vote.epoch.unwrap_or(0),
        (*until_ns - cast) as f64 / 1e6
    ))
}

/// Whether an instance had given that epoch up before, with its gate closed. That of the epoch `start` was open when the events begin.
fn released(events: &[Event], instance: &str, epoch: u64, t_ns: u64, start: u64) -> bool {
    let of = |event: &&Event| event.instance.as_deref() == Some(instance) && event.t_ns <= t_ns;
    let own = events.iter().filter(|event| event.proc.starts_with("regent-agent")).filter(of);
    let mut open = (epoch == start).then_some(epoch);
    let mut released = false;
    for event in own.filter(|event| event.epoch.is_some_and(|of| of >= epoch)) {
        match event.event.as_str() {
            "gate_open" => open = event.epoch,
            "gate_closed" => open = None,
            "released" => released = open.is_none(),
            _ => {}
        }
    }
    released
}

#[cfg(test)]
mod tests {
    use super::super::testing::{event, vote};
    use super::*;

    fn promised(mut vote: Event, until_ns: u64) -> Event {
        vote.promised = Some(Promised { to: "a".into(), epoch: 1, until_ns });
        vote
    }

    fn certificate(t_ns: u64, voters: &[u64]) -> Event {
        Event { voters: voters.to_vec(), ..event(t_ns, "regent-agent-b", "certificate", 2, "b") }
    }

    fn promotion() -> Event {
        event(30, "regent-agent-b", "promoted", 2, "b")
    }

    #[test]
    fn votes_of_a_majority_before_it_are_enough_and_so_is_the_log() {
        let by_votes = [vote(10, 1, 2, "b"), vote(20, 3, 2, "b"), promotion()];
        assert_eq!(check(&by_votes, 3, 1), [""; 0]);
        let by_log = [event(10, "regentd-1", "recorded", 2, "b"), promotion()];
        assert_eq!(check(&by_log, 3, 1), [""; 0]);
        assert_eq!(check(&[promotion()], 3, 2), [""; 0], "it held before");
    }

    #[test]
    fn too_few_votes_late_ones_and_votes_for_another_are_found() {
        for votes in [
            vec![vote(10, 1, 2, "b")],
            vec![vote(10, 1, 2, "b"), vote(11, 1, 2, "b")],
            vec![vote(10, 1, 2, "b"), vote(31, 2, 2, "b")],
            vec![vote(10, 1, 2, "b"), vote(11, 2, 2, "c")],
            vec![vote(10, 1, 2, "b"), vote(11, 2, 3, "b")],
        ] {
            let mut events = [votes.clone(), vec![promotion()]].concat();
            events.sort_by_key(|event| event.t_ns);
            assert_eq!(check(&events, 3, 1).len(), 1, "{votes:?}");
        }
        assert_eq!(check(&[vote(10, 1, 2, "b"), vote(20, 3, 2, "b"), promotion()], 5, 1).len(), 1);
    }

    #[test]
    fn a_line_that_a_killed_node_did_not_write_is_missed_only_there() {
        let shown = |after: &str| {
            let after = event(40, "regentd-2", after, 0, "");
            check(&[vote(10, 1, 2, "b"), certificate(25, &[1, 2]), promotion(), after], 3, 1).len()
        };
        assert_eq!(shown("started"), 0);
        assert_eq!(shown("recorded"), 1, "it lived, and would have written it");
    }

    #[test]
    fn a_vote_while_a_promise_to_another_runs_is_found_unless_that_one_let_go() {
        let voted = |at: u64| promised(vote(at, 1, 2, "b"), 100);
        assert_eq!(check(&[voted(100)], 3, 1), [""; 0]);
        assert_eq!(check(&[voted(99)], 3, 1).len(), 1);
        let agent = |t: u64, what: &str| event(t, "regent-agent-a", what, 1, "a");
        let let_go = [agent(1, "gate_open"), agent(50, "gate_closed"), agent(51, "released")];
        assert_eq!(check(&[&let_go[..], &[voted(60)]].concat(), 3, 1), [""; 0]);
        let open = [agent(1, "gate_open"), agent(51, "released")];
        assert_eq!(check(&[&open[..], &[voted(60)]].concat(), 3, 1).len(), 1, "its gate was open");
        assert_eq!(check(&[&open[1..], &[voted(60)]].concat(), 3, 1).len(), 1, "it was open when all began");
        let late = [agent(50, "gate_closed"), agent(61, "released")];
        assert_eq!(check(&[&late[..1], &[voted(60)], &late[1..]].concat(), 3, 1).len(), 1);
    }
}
