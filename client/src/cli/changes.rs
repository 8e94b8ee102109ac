//! Changes of primary as people read them: history, events of a watch, lists of groups.

use super::print::Terminal;
use super::table::{Column, Table, Tone};
use super::view::{AssignmentView, EventView};
use super::words::{bytes, clean, list, span, time};
use crate::error::listed;
use crate::leadership::Event;
use regent_core::state::{Change, Group};
use regent_proto::api::Assignment;

/// The history, oldest first.
pub fn history(changes: &[Change], terminal: Terminal) -> String {
    let mut table = Table::new(&[
        Column::left("TIME (UTC)", 0),
        Column::right("EPOCH", 0),
        Column::left("PRIMARY", 0),
        Column::left("REASON", 0),
        Column::left("VOTES OF", 2),
        Column::right("REVISION", 1),
    ]);
    for change in changes {
        let stayed = if change.since < change.epoch { " (stayed)" } else { "" };
        let voters = if change.voters.is_empty() { "-".to_owned() } else { list(&change.voters) };
        let cells = [
            time(change.at_unix_ms),
            change.epoch.to_string(),
            format!("{}{stayed}", change.primary),
            change.reason.to_string(),
            voters,
            change.revision.to_string(),
        ];
        table.row(cells.map(|text| (text, Tone::Plain)));
    }
    table.render(terminal.width, terminal.colour) + &left_behind(changes)
}

/// What the changes left behind, and where it is kept; nothing when they left nothing.
fn left_behind(changes: &[Change]) -> String {
    let mut text = String::new();
    for tail in changes.iter().flat_map(|change| &change.tails) {
        let (instance, epoch, timeline) = (&tail.instance, tail.epoch, tail.timeline);
        let (size, commits) = (bytes(tail.bytes()), tail.commits);
        text += &format!(
            "\n{instance} left behind in epoch {epoch}: timeline {timeline} from {} to {}, {size}, {commits} commits\n\
             kept on its machine in {}\n",
            tail.from,
            tail.to,
            clean(&tail.kept)
        );
    }
    text
}

/// All groups.
pub fn groups(groups: &[Group], terminal: Terminal) -> String {
    if groups.is_empty() {
        return "No group yet; `regent group create NAME` makes one.\n".to_owned();
    }
    let mut table = Table::new(&[
        Column::left("GROUP", 0),
        Column::right("EPOCH", 0),
        Column::left("PRIMARY", 0),
        Column::left("SUCCESSION", 2),
        Column::left("NODES", 0),
        Column::left("MODE", 1),
        Column::right("TTL", 1),
    ]);
    for group in groups {
        let primary = group.primary.as_ref().map_or_else(|| "none yet".to_owned(), ToString::to_string);
        let cells = [
            group.name.to_string(),
            group.epoch.to_string(),
            primary,
            list(&group.succession),
            list(&group.electorate),
            group.terms.mode.to_string(),
            span(group.terms.ttl),
        ];
        table.row(cells.map(|text| (text, Tone::Plain)));
    }
    table.render(terminal.width, terminal.colour)
}

/// An assignment in words.
pub fn assignment(assignment: &Assignment) -> String {
    let Some(primary) = &assignment.primary else {
        return format!("{} has no primary yet", assignment.group);
    };
    let address = clean(&primary.address);
    let (group, epoch) = (&assignment.group, assignment.epoch);
    format!("{group} epoch {epoch}: {} in {} at {address}", primary.instance, primary.region)
}

/// An event of a watch, in one line.
pub fn event(event: &Event, now_unix_ms: u64) -> String {
    let words = match event {
        Event::Present(at) => assignment(at),
        Event::Changed { assignment: at, jumped, reason } => {
            let past =
                if jumped.is_empty() { String::new() } else { format!(", past epochs {}", list(jumped)) };
            format!("{} ({}{past})", assignment(at), clean(reason))
        }
        Event::Compacted => {
            "changes were missed that no node keeps any more; the present state follows".to_owned()
        }
        Event::Lost { tried } => format!("no node can be reached, trying on: {}", clean(&listed(tried))),
    };
    format!("{}  {words}", time(now_unix_ms))
}

/// An event of a watch, for programs.
pub fn event_view(event: &Event) -> EventView {
    match event {
        Event::Present(at) => EventView::Present { assignment: AssignmentView::from(at) },
        Event::Changed { assignment: at, jumped, reason } => EventView::Changed {
            assignment: AssignmentView::from(at),
            jumped: jumped.iter().map(|epoch| epoch.0).collect(),
            reason: reason.clone(),
        },
        Event::Compacted => EventView::Compacted,
        Event::Lost { tried } => EventView::Lost {
            tried: tried.iter().map(|one| (one.endpoint.clone(), one.problem.clone())).collect(),
        },
    }
}
