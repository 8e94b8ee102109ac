//! What is said beforehand of a loss: in how long, and whether commits then wait for somebody to come back.

use super::*;
use regent_core::forecast::{TooFar, forecast, too_far};
use regent_core::replication::{Mode, Policy};
use std::time::Duration;

const NOW: Time = Time(60_000_000_000);

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("as it should be")
}

/// A node in each region, a to c; a to b 60 ms, a to c 80 ms, b to c 140 ms.
fn hears(witness: u64) -> Standing {
    let hears = match witness {
        1 => vec![(instance("a"), 0), (instance("b"), 60_000), (instance("c"), 80_000)],
        2 => vec![(instance("a"), 60_000), (instance("b"), 300), (instance("c"), 140_000)],
        _ => vec![(instance("a"), 80_000), (instance("b"), 140_000), (instance("c"), 0)],
    };
    Standing {
        group: group(),
        witness: NodeId(witness),
        floor: Epoch(1),
        named: None,
        epoch: Epoch(1),
        primary: Some(instance("a")),
        revision: Revision(1),
        electorate: ids(&[1, 2, 3]),
        promised: None,
        may_name: vec![instance("b"), instance("c")],
        hears,
    }
}

/// In ms, and whether commits then wait; with these standbys heard.
fn foretold(mode: Mode, policy: Policy, heard: &[&str]) -> (u128, bool) {
    let state = begun();
    let mut known = state.groups[&group()].clone();
    (known.terms.mode, known.terms.policy) = (mode, policy);
    let mut view = View::default();
    view.look(&state, NOW);
    for name in heard {
        view.report(report(name, 1), NOW);
    }
    for witness in 1..=3 {
        view.standing(hears(witness), NOW);
    }
    let region_of = |id: NodeId| ["a", "b", "c"].get(id.0 as usize - 1).map(|name| region(name));
    let found = forecast(&known, view.group(&group()), region_of, Some(region("a")), NOW);
    let found = found.expect("b would take over");
    assert_eq!(found.heir, instance("b"));
    (found.outage.as_millis(), found.waits)
}

#[test]
fn who_has_to_be_confirmed_is_said_to_wait_for_that() {
    let all = ["a", "b", "c"];
    let alone = foretold(Mode::Async, Policy::Block, &all);
    // Suspicion, a flush, half the way from c, promotion, reconnecting.
    assert_eq!(alone, (400 + 5 + 70 + 70 + 20, false));
    let sync = Mode::Sync { count: 1 };
    let confirmed = alone.0 + Duration::from_millis(12 * 140).as_millis();
    let table = [
        (sync, Policy::Block, &all[..], (confirmed, false)),
        (sync, Policy::Degrade, &all[..], alone),
        // c is not heard: nobody is left to confirm.
        (sync, Policy::Block, &all[..2], (alone.0, true)),
        (sync, Policy::Degrade, &all[..2], alone),
        (Mode::Async, Policy::Block, &all[..2], alone),
    ];
    for (mode, policy, heard, expected) in table {
        assert_eq!(foretold(mode, policy, heard), expected, "{mode} {policy} {heard:?}");
    }
}

#[test]
fn a_majority_that_answers_after_its_promise_is_over_is_said_to_be_too_far() {
    let state = begun();
    let mut known = state.groups[&group()].clone();
    let mut view = View::default();
    view.look(&state, NOW);
    let mut far = |view: &View, ttl_ms: u64, now: Time| {
        known.terms.ttl = Duration::from_millis(ttl_ms);
        let millis = |far: TooFar| (far.round_trip.as_millis() as u64, far.enough.as_millis() as u64);
        too_far(&known, view.group(&group()), &instance("b"), now).map(millis)
    };
    assert_eq!(far(&view, 50, NOW), None, "nothing is known");
    (1..=3).for_each(|witness| view.standing(hears(witness), NOW));
    // b is beside 2, 60 ms from 1, and 140 from 3, which no majority needs while the two are there.
    for (ttl_ms, expected) in [(250, None), (112, None), (110, Some((60, 162))), (60, Some((60, 162)))] {
        assert_eq!(far(&view, ttl_ms, NOW), expected, "ttl {ttl_ms}");
    }
    let later = NOW + Duration::from_secs(1);
    assert_eq!(far(&view, 110, later), None, "nobody is there");
    [2, 3].into_iter().for_each(|witness| view.standing(hears(witness), later));
    let [without_1, enough] = [150, 243].map(|ttl_ms| far(&view, ttl_ms, later));
    assert_eq!((without_1, enough), (Some((140, 243)), None));
}
