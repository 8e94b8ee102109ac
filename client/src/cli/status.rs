//! The status as people read it: what is wrong first, then nodes, then each group.

use super::print::Terminal;
use super::switchover::step;
use super::table::{Column, Table, Tone, painted};
use super::words::{ago, brief, bytes, clean, list, span};
use regent_core::command::Terms;
use regent_core::message::Role;
use regent_core::quorum::is_majority;
use regent_core::replication::Mode;
use regent_core::state::Group;
use regent_proto::api::{GroupStatus, InstanceStatus, Status, Switching};

/// Everything that keeps the cluster from being well; empty when it is.
pub fn problems(status: &Status) -> Vec<String> {
    let mut found = Vec::new();
    for group in &status.groups {
        group_problems(group, &mut found);
    }
    if status.leader.is_none() {
        found.push(
            "no Raft leader: primaries go on and can be replaced, but no succession or record changes".into(),
        );
    }
    let silent = status.nodes.iter().filter(|node| node.state == "unreachable");
    found.extend(silent.map(|node| format!("node {} in {} is unreachable", node.id, node.region)));
    found
}

fn group_problems(status: &GroupStatus, found: &mut Vec<String>) {
    let name = &status.group.name;
    found.extend(status.troubles.iter().map(|trouble| format!("{name}: {trouble}")));
    if status.troubles.is_empty() {
        match &status.primary {
            None => found.push(format!("{name}: no primary yet: start the agent of its first instance")),
            Some(primary) if !status.leased => {
                found.push(format!("{name}: {primary} holds no lease: writes wait"));
            }
            Some(_) => {}
        }
    }
    let ailing = status.instances.iter().filter(|instance| !instance.trouble.is_empty());
    let ailing = ailing.map(|instance| format!("{}: {}", instance.name, instance.trouble));
    found.extend(ailing.filter(|ill| !status.troubles.contains(ill)).map(|ill| format!("{name}: {ill}")));
}

/// The whole page.
pub fn page(status: &Status, terminal: Terminal) -> String {
    let mut page = String::new();
    for problem in problems(status) {
        page += &painted(&format!("!! {}", clean(&problem)), Tone::Bad, terminal.colour);
        page.push('\n');
    }
    if !page.is_empty() {
        page.push('\n');
    }
    page += &format!(
        "Cluster {}, as node {} sees it; {}\n\n",
        clean(&status.cluster),
        status.node,
        leader(status)
    );
    page += &nodes(status).render(terminal.width, terminal.colour);
    if !status.drained.is_empty() {
        page += &format!("\nDrained, no primary shall be there: {}\n", list(&status.drained));
    }
    for group in &status.groups {
        page.push('\n');
        page += &section(group, terminal);
    }
    if status.groups.is_empty() {
        page += "\nNo group yet; `regent group create NAME` makes one.\n";
    }
    page
}

fn leader(status: &Status) -> String {
    let Some(id) = status.leader else { return format!("no Raft leader, term {}", status.term) };
    let region = status.nodes.iter().find(|node| node.id == id).map(|node| format!(" in {}", node.region));
    format!("Raft leader: node {id}{}, term {}", region.unwrap_or_default(), status.term)
}

fn nodes(status: &Status) -> Table {
    let mut table = Table::new(&[
        Column::right("NODE", 0),
        Column::left("REGION", 0),
        Column::left("ADDRESS", 1),
        Column::left("STATE", 0),
        Column::left("HEARD", 2),
    ]);
    for node in &status.nodes {
        let state = match node.state.as_str() {
            "unreachable" => Tone::Bad,
            "leader" => Tone::Good,
            _ => Tone::Plain,
        };
        let heard = if node.id == status.node { "answers".to_owned() } else { ago(node.heard) };
        table.row([
            (node.id.to_string(), Tone::Plain),
            (node.region.to_string(), Tone::Plain),
            (node.address.clone(), Tone::Plain),
            (node.state.clone(), state),
            (heard, Tone::Plain),
        ]);
    }
    table
}

fn section(status: &GroupStatus, terminal: Terminal) -> String {
    let group = &status.group;
    let mut text = painted(&format!("Group {}", group.name), Tone::Head, terminal.colour) + "\n";
    for (label, value, tone) in facts(status) {
        text += &format!("  {label:<10}  {}\n", painted(&clean(&value), tone, terminal.colour));
    }
    text.push('\n');
    let width = terminal.width.map(|width| width.saturating_sub(2));
    for line in instances(status).render(width, terminal.colour).lines() {
        text += &format!("  {line}\n");
    }
    for instance in status.instances.iter().filter(|one| !one.progress.is_empty()) {
        text += &format!("  {}: {}\n", instance.name, clean(&instance.progress));
    }
    for instance in status.instances.iter().filter(|one| !one.pending_restart.is_empty()) {
        let names = list(&instance.pending_restart);
        let names = clean(&names);
        text += &format!("  {}: a restart is needed for: {names}\n", instance.name);
    }
    for (name, at) in group.instances.iter().filter(|(_, at)| !at.tags.is_plain()) {
        text += &format!("  {name} is tagged {}\n", at.tags);
    }
    let primary = status.primary.as_ref();
    let out = status.instances.iter().filter(|one| one.place.is_none() && Some(&one.name) != primary);
    for instance in out.filter(|one| !one.why_not.is_empty()) {
        // It may be the end of a long log, and is told on top.
        let ill = instance.why_not == instance.trouble;
        let why = if ill { "it is not well, see above".into() } else { clean(&instance.why_not) };
        text += &format!("  {} is not in the succession: {why}\n", instance.name);
    }
    text
}

fn facts(status: &GroupStatus) -> Vec<(&'static str, String, Tone)> {
    let group = &status.group;
    let (lease, tone) = lease(status);
    let mut facts = vec![
        ("primary", primary(status), Tone::Plain),
        ("lease", lease, tone),
        ("succession", succession(group), Tone::Plain),
        ("forecast", forecast(status), Tone::Plain),
        ("terms", terms(group), Tone::Plain),
    ];
    if let Some(desired) = &group.desired_electorate {
        let change = format!("changing from nodes {} to {}", list(&group.electorate), list(desired));
        facts.push(("electorate", change, Tone::Plain));
    }
    // The last one stays in the history; one that was called off does not.
    if let Some(switching) = status.switching.as_ref().filter(|one| !one.over || !one.why.is_empty()) {
        let restart = switching.from == switching.to;
        let what = if restart { "of" } else { "to" };
        let how_far = step(&Switching { why: brief(&switching.why), ..switching.clone() });
        let words = format!("{what} {}, since {}: {how_far}", switching.to, span(switching.began));
        facts.push((if restart { "restart" } else { "switchover" }, words, Tone::Plain));
    }
    facts
}

fn primary(status: &GroupStatus) -> String {
    let Some(name) = &status.primary else { return "none yet".to_owned() };
    let at = status.instances.iter().find(|instance| instance.name == *name);
    let place = at.map(|at| format!(" in {} at {}", at.region, at.address)).unwrap_or_default();
    let ahead = if status.epoch > status.group.epoch { ", decided, not in the log yet" } else { "" };
    format!("{name}{place}, epoch {}{ahead}", status.epoch)
}

fn lease(status: &GroupStatus) -> (String, Tone) {
    let electorate = &status.group.electorate;
    let promised = format!("promised by nodes {} of {}", list(&status.promised_by), list(electorate));
    match (status.leased, is_majority(electorate, &status.promised_by)) {
        (true, true) => (format!("held, {promised}"), Tone::Good),
        (true, false) => (format!("held as the primary says, {promised} as heard here"), Tone::Plain),
        (false, _) => (format!("NOT HELD, {promised}"), Tone::Bad),
    }
}

fn succession(group: &Group) -> String {
    if group.succession.is_empty() { "nobody".to_owned() } else { list(&group.succession) }
}

fn forecast(status: &GroupStatus) -> String {
    let Some(primary) = &status.primary else { return "no primary, nothing to lose".to_owned() };
    let Some(forecast) = &status.forecast else { return "not known by the node that answers".to_owned() };
    let Some(heir) = &forecast.heir else {
        return format!("if {primary} died now: NOBODY could take over: see why not beside each instance");
    };
    let group = &status.group;
    let loss = match group.terms.mode.rpo().filter(|_| group.in_force()) {
        Some(rpo) => format!("at most what was acknowledged in the last {}", span(rpo)),
        None => format!("about {}", bytes(forecast.lost_bytes)),
    };
    let then = if forecast.waits {
        "; COMMITS THEN WAIT until another instance is back to confirm them"
    } else {
        ""
    };
    format!("if {primary} died now: {heir} in about {}, losing {loss}{then}", span(forecast.outage))
}

/// The terms in words; a switch of them is seen here first.
pub fn terms(group: &Group) -> String {
    let terms = &group.terms;
    format!(
        "ttl {}, suspicion {}, {}, promotes within {}, governed by nodes {}",
        span(terms.ttl),
        span(terms.suspicion),
        mode(terms),
        bytes(terms.max_promotion_lag),
        list(&group.electorate)
    )
}

fn mode(terms: &Terms) -> String {
    match terms.mode {
        Mode::Async => Mode::Async.to_string(),
        mode => format!("{mode} or {}", terms.policy),
    }
}

fn instances(status: &GroupStatus) -> Table {
    let mut table = Table::new(&[
        Column::left("INSTANCE", 0),
        Column::left("REGION", 5),
        Column::left("ADDRESS", 1),
        Column::left("ROLE", 0),
        Column::right("TL", 4),
        Column::right("LSN", 3),
        Column::right("LAG", 0),
        Column::left("HEARD", 0),
        Column::left("FENCES", 2),
        Column::left("NEXT", 0),
    ]);
    for instance in &status.instances {
        table.row(instance_row(instance, status.primary.as_ref() == Some(&instance.name)));
    }
    table
}

fn instance_row(instance: &InstanceStatus, primary: bool) -> [(String, Tone); 10] {
    let dash = || "-".to_owned();
    let position = instance.position;
    let flushed = position.map_or_else(dash, |at| at.flushed.to_string());
    let next = if primary { dash() } else { instance.place.map_or_else(|| "no".to_owned(), place) };
    let lag = if primary { None } else { instance.lag_bytes };
    let (role, tone) = role(instance);
    [
        (instance.name.to_string(), if instance.trouble.is_empty() { Tone::Plain } else { Tone::Bad }),
        (instance.region.to_string(), Tone::Plain),
        (instance.address.clone(), Tone::Plain),
        (role, tone),
        (position.map_or_else(dash, |at| at.timeline.to_string()), Tone::Plain),
        (flushed, Tone::Plain),
        (lag.map_or_else(dash, bytes), Tone::Plain),
        (ago(instance.heard), Tone::Plain),
        (if instance.fences.is_empty() { dash() } else { instance.fences.join("+") }, Tone::Plain),
        (next, Tone::Plain),
    ]
}

fn role(instance: &InstanceStatus) -> (String, Tone) {
    match instance.role {
        None => ("unknown".to_owned(), Tone::Bad),
        Some(Role::Standby) if !instance.streaming => ("standby, no stream".to_owned(), Tone::Bad),
        Some(role @ (Role::Stopped | Role::Refused)) => (role.to_string(), Tone::Bad),
        Some(Role::Primary) => (Role::Primary.to_string(), Tone::Good),
        Some(Role::Standby) => match &instance.through {
            Some(from) => (format!("standby of {from}"), Tone::Plain),
            None => (Role::Standby.to_string(), Tone::Plain),
        },
        Some(role) => (role.to_string(), Tone::Plain),
    }
}

fn place(place: u32) -> String {
    match place {
        1 => "heir".to_owned(),
        place => format!("#{place}"),
    }
}
