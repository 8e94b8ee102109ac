//! Drained regions: who is moved, how many at once, and who stands in a succession meanwhile.

use super::*;
use regent_core::drain::{AT_ONCE, moves, spared};
use std::collections::BTreeSet;

const MS: u64 = 1_000_000;

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("as it should be")
}

fn mark(name: &str, drained: bool) -> Command {
    Command::SetDrained { region: region(name), drained }
}

#[test]
fn the_mark_is_kept_once_and_taken_back_and_unknown_regions_are_refused() {
    let mut state = begun();
    let refused = state.apply(&mark("nowhere", true)).expect_err("unknown").to_string();
    assert_eq!(refused, "no region nowhere: known are a, b, c, r1, r2, r3, r4, r5");
    assert_eq!(state.apply(&mark("a", true)), Ok(Applied::Region(region("a"))));
    assert_eq!(state.apply(&mark("a", true)), Ok(Applied::Unchanged));
    assert_eq!(state.drained, BTreeSet::from([region("a")]));
    assert_eq!(state.apply(&mark("a", false)), Ok(Applied::Region(region("a"))));
    assert_eq!(state.apply(&mark("a", false)), Ok(Applied::Unchanged));
}

#[test]
fn who_is_drained_stands_in_no_succession_unless_nobody_else_is_there() {
    let state = begun();
    let of = &state.groups[&group()];
    let after = |drained: &[&str]| {
        spared(of, of.succession.clone(), &drained.iter().map(|name| region(name)).collect())
    };
    assert_eq!(after(&[]), [instance("b"), instance("c")]);
    assert_eq!(after(&["a", "b"]), [instance("c")]);
    assert_eq!(after(&["b", "c"]), [instance("b"), instance("c")]);
}

/// Three groups whose primary is in the drained region, all well.
#[test]
fn primaries_are_moved_out_a_few_at_a_time() {
    let mut state = begun();
    let pattern = state.groups.remove(&group()).expect("as it should be");
    let now = Time(60_000 * MS);
    let mut view = View::default();
    for name in ["g1", "g2", "g3"] {
        let name = GroupName::new(name).expect("as it should be");
        state.groups.insert(name.clone(), Group { name: name.clone(), ..pattern.clone() });
        for member in ["a", "b", "c"] {
            let primary = member == "a";
            let role = if primary { Role::Primary } else { Role::Standby };
            let claims = primary.then_some(Epoch(1));
            let said = Report { group: name.clone(), role, claims, leased: primary, ..report(member, 1) };
            view.report(said, now);
        }
    }
    assert!(moves(&state, &view, now).is_empty(), "nothing is drained");
    for place in ["a", "b"] {
        state.apply(&mark(place, true)).expect("as it should be");
    }
    let first = moves(&state, &view, now);
    let to: Vec<&InstanceName> = first.iter().map(|(_, wish)| &wish.to).collect();
    assert_eq!(to, vec![&instance("c"); AT_ONCE], "out of the region, and not into another that is drained");
    for (group, wish) in first {
        view.ask_hand_over(&group, wish, now);
    }
    assert!(moves(&state, &view, now).is_empty(), "as many as may are under way");
}
