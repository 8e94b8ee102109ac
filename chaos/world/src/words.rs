//! How things are written in a transcript: instances in capitals, witnesses as `wa`.

use regent_core::agent::Task;
use regent_core::ids::{InstanceName, NodeId};
use regent_core::message::Refusal;
use regent_core::quorum::Electorate;

/// An instance.
pub fn inst(name: &InstanceName) -> String {
    name.as_str().to_uppercase()
}

/// Instances.
pub fn insts<'a>(names: impl IntoIterator<Item = &'a InstanceName>) -> String {
    let names: Vec<String> = names.into_iter().map(inst).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }
}

/// A witness, or the node it is in.
pub fn node(id: NodeId) -> String {
    let letter = u8::try_from(id.0).ok().and_then(|n| (b'a' - 1).checked_add(n)).expect("few nodes");
    format!("w{}", char::from(letter))
}

/// The node of that name.
pub fn node_id(name: &str) -> Option<NodeId> {
    let letter = name.strip_prefix('w')?.bytes().next().filter(u8::is_ascii_lowercase)?;
    (name.len() == 2).then(|| NodeId(u64::from(letter - b'a' + 1)))
}

/// Witnesses.
pub fn electorate(ids: &Electorate) -> String {
    ids.iter().map(|id| node(*id)).collect::<Vec<_>>().join(" ")
}

/// A refusal.
pub fn refusal(why: &Refusal) -> String {
    match why {
        Refusal::NamedOther { named } => format!("the floor is for {}", inst(named)),
        Refusal::Promised { holder } => format!("a promise to {} runs", inst(holder)),
        other => other.to_string(),
    }
}

/// A task.
pub fn task(task: &Task) -> String {
    match task {
        Task::Initialise => "initialises".to_owned(),
        Task::Clone(from) => format!("clones {}", inst(&from.instance)),
        Task::Keep { from, .. } => format!("keeps what {} lacks", inst(&from.instance)),
        Task::Rewind(to) => format!("rewinds to {}", inst(&to.instance)),
        Task::StartPrimary => "starts as primary".to_owned(),
        Task::StartStandby(None) => "starts as a standby of nobody".to_owned(),
        Task::StartStandby(Some(of)) => format!("starts as a standby of {}", inst(&of.instance)),
        Task::Promote { timeline: Some(timeline) } => format!("promotes onto timeline {timeline}"),
        Task::Promote { timeline: None } => "promotes".to_owned(),
        Task::Synchronise(waits) => match (waits.places.iter().flatten().collect::<Vec<_>>(), waits.any) {
            (names, _) if names.is_empty() && !waits.places.is_empty() => {
                "waits for somebody to come".to_owned()
            }
            (names, None) => format!("waits for {}", insts(names)),
            (names, Some(any)) => format!("waits for {any} of {}", insts(names)),
        },
        Task::Follow(whom) => format!("follows {}", inst(&whom.instance)),
        Task::Checkpoint { .. } => "makes a checkpoint".to_owned(),
        Task::StopImmediately => "stops at once".to_owned(),
        Task::StopCleanly => "stops cleanly".to_owned(),
        Task::StopFor { without } if without.is_empty() => "stops cleanly".to_owned(),
        Task::StopFor { without } => format!("stops cleanly without {}", insts(without)),
    }
}
