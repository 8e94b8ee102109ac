//! `regent drain` and `undrain`: the mark is the nodes' to keep and their leader's to act on; this asks for it, shows each
//! primary that has moved, and says at last what is left.

use super::commands::Outcome;
use super::exit::Exit;
use super::print::{Format, Session};
use super::view::DrainView;
use super::words::{list, span};
use crate::leadership::Client;
use regent_core::ids::{GroupName, InstanceName, RegionName};
use regent_proto::api::{GroupStatus, Status};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked what is left.
const LOOK: Duration = Duration::from_millis(200);

pub async fn drain(
    client: &Client,
    format: Format,
    session: &mut Session<'_>,
    region: &RegionName,
    wait: Duration,
) -> Outcome {
    let drained = client.set_drained(region, true).await?;
    let end = Instant::now() + wait;
    let mut status = client.status(&[]).await?;
    let mut left = primaries_in(&status, region);
    while !left.is_empty() && Instant::now() < end {
        sleep(LOOK).await;
        // A node that does not answer now may the next time; the move does not depend on it.
        let Ok(now) = client.status(&[]).await else { continue };
        status = now;
        let still = primaries_in(&status, region);
        for (group, from) in left.iter().filter(|(group, _)| !still.contains_key(*group)) {
            let to = of(&status, group).and_then(|one| one.primary.clone());
            let to = to.map_or_else(|| "nobody".to_owned(), |to| to.to_string());
            session.remark(&format!("{group}: moved from {from} to {to}"))?;
        }
        left = still;
    }
    let view = DrainView {
        drained: drained.iter().map(ToString::to_string).collect(),
        left: left.keys().map(ToString::to_string).collect(),
    };
    let words =
        if left.is_empty() { format!("{region} is drained: no primary is there\n") } else { String::new() };
    session.answer(format, &view, || words)?;
    if left.is_empty() {
        return Ok(Exit::Ok);
    }
    for (group, primary) in &left {
        session.remark(&format!("regent: {primary} of {group} is still there: {}", why(&status, group)))?;
    }
    session.remark(&format!(
        "regent: {region} is not free after {}; its primaries are moved as soon as that is possible, `regent undrain {region}` \
         ends that",
        span(wait)
    ))?;
    Ok(Exit::Open)
}

pub async fn undrain(
    client: &Client,
    format: Format,
    session: &mut Session<'_>,
    region: &RegionName,
) -> Outcome {
    let drained = client.set_drained(region, false).await?;
    let view = DrainView { drained: drained.iter().map(ToString::to_string).collect(), left: Vec::new() };
    session.answer(format, &view, || format!("{region} may have primaries again; none is moved back\n"))?;
    Ok(Exit::Ok)
}

/// The groups whose primary is in the region.
fn primaries_in(status: &Status, region: &RegionName) -> BTreeMap<GroupName, InstanceName> {
    let there = |one: &GroupStatus| {
        let primary = one.primary.clone()?;
        let at = one.instances.iter().find(|at| at.name == primary)?;
        (at.region == *region).then_some((one.group.name.clone(), primary))
    };
    status.groups.iter().filter_map(there).collect()
}

fn of<'a>(status: &'a Status, group: &GroupName) -> Option<&'a GroupStatus> {
    status.groups.iter().find(|one| one.group.name == *group)
}

/// Why nobody has taken over, as far as a node can tell.
fn why(status: &Status, group: &GroupName) -> String {
    let Some(status) = of(status, group) else { return "nothing is known of it".to_owned() };
    let off = status.switching.as_ref().filter(|one| Some(&one.from) == status.primary.as_ref());
    if let Some(why) = off.map(|one| one.why.clone()).filter(|why| !why.is_empty()) {
        return format!("called off: {why}");
    }
    let reasons = status.instances.iter().filter(|one| !one.why_not.is_empty());
    let reasons: Vec<String> = reasons.map(|one| format!("{} {}", one.name, one.why_not)).collect();
    if reasons.is_empty() { "its turn has not come, or it is moving".to_owned() } else { list(reasons) }
}
