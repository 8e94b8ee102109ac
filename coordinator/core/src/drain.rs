//! Regions that are drained: no primary stays there, and nobody there stands in a succession, unless there is nobody
//! else. The leader moves the primaries out, a few at a time, by switchovers like any other; who dies meanwhile is
//! replaced as ever. The mark is in the log: it outlives the leader, and ends only when it is taken back.

use crate::ids::{GroupName, InstanceName, RegionName};
use crate::message::HandOver;
use crate::state::{Group, State};
use crate::switchover::{self, WAIT, Wish, under_way};
use crate::time::Time;
use crate::view::View;
use std::collections::BTreeSet;
use std::time::Duration;

/// How many primaries are moved at the same time: each move is a pause, and a burst of reconnecting clients.
pub const AT_ONCE: usize = 2;
/// How long a group whose move was called off is left alone.
pub const AGAIN: Duration = Duration::from_secs(10);

/// Whether an instance of the group is in a drained region.
pub fn is_drained(group: &Group, name: &InstanceName, drained: &BTreeSet<RegionName>) -> bool {
    group.instances.get(name).is_some_and(|at| drained.contains(&at.region))
}

/// A succession without those that are drained; the whole of it if nobody else is there.
pub fn spared(
    group: &Group,
    succession: Vec<InstanceName>,
    drained: &BTreeSet<RegionName>,
) -> Vec<InstanceName> {
    let kept: Vec<InstanceName> =
        succession.iter().filter(|name| !is_drained(group, name, drained)).cloned().collect();
    if kept.is_empty() { succession } else { kept }
}

/// The primaries to move out of drained regions now, and to whom.
pub fn moves(state: &State, view: &View, now: Time) -> Vec<(GroupName, HandOver)> {
    if state.drained.is_empty() {
        return Vec::new();
    }
    let moving =
        state.groups.values().filter(|group| under_way(group, view.group(&group.name), now).is_some());
    let free = AT_ONCE.saturating_sub(moving.count());
    let wanted = state
        .groups
        .values()
        .filter_map(|group| Some((group.name.clone(), wanted(state, group, view, now)?)));
    wanted.take(free).collect()
}

fn wanted(state: &State, group: &Group, view: &View, now: Time) -> Option<HandOver> {
    let seen = view.group(&group.name);
    let primary = seen.current(group).1?;
    let lately = seen.hand_over(group).is_some_and(|(_, asked)| now < asked + AGAIN);
    if lately || !is_drained(group, primary, &state.drained) {
        return None;
    }
    let outside = switchover::candidates(group).filter(|name| !is_drained(group, name, &state.drained));
    let region_of = |id| state.nodes.get(&id).map(|node| node.region.clone());
    let planned = outside.filter_map(|to| {
        let wish = Wish { to: Some(to), wait: WAIT, drained: &state.drained };
        switchover::check(group, seen, wish, region_of, now).ok()
    });
    planned.map(|plan| plan.wish).next()
}
