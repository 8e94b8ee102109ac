//! What happened between the loss and the first write, as the nodes and agents themselves wrote it down: each
//! appends one line of JSON an event to its audit file, stamped with the clock that all of them share.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::ms_between;
use crate::terminal::{bold, dim};

/// One line of an audit file. Fields that an event has besides these are of no use here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When, in nanoseconds of CLOCK_BOOTTIME.
    pub t_ns: u64,
    /// Which process says so.
    pub proc: String,
    /// Its region.
    pub region: String,
    /// What happened.
    pub event: String,
    /// The epoch it is about.
    pub epoch: Option<u64>,
    /// The instance it is about.
    pub instance: Option<String>,
    /// Raft's term, where it is about the leader.
    pub term: Option<u64>,
    /// What the agent does to its Postgres, where it is about that.
    pub task: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who voted, where it is about one vote.
    pub witness: Option<u64>,
    /// When it was decided on, where that is before it was durable and told.
    pub cast_ns: Option<u64>,
    /// What the voter had promised to another than it votes for, the last time.
    pub promised: Option<Promised>,
    /// Whose votes it rests on.
    pub voters: Vec<u64>,
    /// The timeline of what was kept of an old primary's log.
    pub timeline: Option<u32>,
    /// Where that begins.
    pub from: Option<String>,
    /// In which directory it is.
    pub kept: Option<String>,
}

/// A witness's word to an instance.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Promised {
    /// To whom.
    pub to: String,
    /// In which epoch.
    pub epoch: u64,
    /// Until when, in nanoseconds of CLOCK_BOOTTIME.
    pub until_ns: u64,
}

impl Event {
    fn who(&self) -> String {
        let kind = if self.proc.starts_with("regent-agent") { "agent" } else { "node" };
        format!("{:<8} {kind}", self.region)
    }
}

/// Whether a step lies on the way from the loss to the write, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// The write waits for it.
    Write,
    /// It happens beside: the log catches up with what the witnesses decided.
    Beside,
}

/// One line of the printed timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Milliseconds since the loss.
    pub ms: f64,
    /// Who says so: node, agent or client of a region.
    pub who: String,
    /// What happened.
    pub what: String,
    /// Where it is shown.
    pub track: Track,
}

/// Reads the events between two times from audit files, in order of time. A file that is not there has none.
pub fn read(files: &[PathBuf], from_ns: u64, to_ns: u64) -> Vec<Event> {
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let mut events: Vec<Event> = Vec::new();
    for text in texts {
        // A line that was being written when its process was killed is no event.
        let read = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
        events.extend(read.filter(|event| (from_ns..=to_ns).contains(&event.t_ns)));
    }
    events.sort_by_key(|event| event.t_ns);
    events
}

/// Whether a line of an audit file is an event since then.
pub fn is_since(line: &str, since_ns: u64) -> bool {
    serde_json::from_str::<Event>(line).is_ok_and(|event| event.t_ns >= since_ns)
}

/// The steps to show: what a process does again for the same epoch is not told twice, and of what all nodes do,
/// only the first.
pub fn steps(events: &[Event], loss_ns: u64) -> Vec<Step> {
    let mut told = BTreeSet::new();
    let mut steps = Vec::new();
    for event in events {
        let Some((what, track, by_all)) = words(event) else { continue };
        let by = if by_all { "" } else { event.proc.as_str() };
        if told.insert((by.to_string(), what.clone())) {
            steps.push(Step { ms: ms_between(loss_ns, event.t_ns), who: event.who(), what, track });
        }
    }
    steps
}

/// What to say of an event, where, and whether several processes may say it of the same thing.
fn words(event: &Event) -> Option<(String, Track, bool)> {
    let epoch = event.epoch.unwrap_or(0);
    let instance = event.instance.as_deref().unwrap_or("nobody");
    Some(match event.event.as_str() {
        "vote" => (format!("votes for {instance} in epoch {epoch}"), Track::Write, false),
        "certificate" => (format!("holds the certificate for epoch {epoch}"), Track::Write, false),
        "acted" => (format!("acts on epoch {epoch}"), Track::Write, false),
        "task" => {
            let task = event.task.clone()?;
            // In a switchover the write waits for the stop as well.
            let on_the_way = ["promoting", "stopping"].iter().any(|what| task.starts_with(what));
            let track = if on_the_way { Track::Write } else { Track::Beside };
            (task, track, false)
        }
        "promoted" => ("Postgres is promoted".to_string(), Track::Write, false),
        "gate_open" => ("holds the lease, opens the gate".to_string(), Track::Write, false),
        "gate_closed" => ("closes the gate".to_string(), Track::Write, false),
        "called_off" => ("calls the switchover off".to_string(), Track::Write, false),
        "released" => (format!("releases epoch {epoch}"), Track::Write, false),
        "leader" => (format!("leads Raft in term {}", event.term.unwrap_or(0)), Track::Beside, false),
        "decided" => (format!("tells watchers of epoch {epoch}"), Track::Beside, false),
        "recorded" => (format!("epoch {epoch} is in the log"), Track::Beside, true),
        _ => return None,
    })
}

/// Prints steps, the way to the write on the left and what happens beside it on the right.
pub fn print(steps: &[Step]) {
    println!("{}", dim(format!("{:>9}  {:<58}{}", "ms", "the way to the write", "beside it")));
    for step in steps {
        let text = format!("{:<14} {}", step.who, step.what);
        let ms = bold(format!("{:>9.1}", step.ms));
        match step.track {
            Track::Write => println!("{ms}  {text}"),
            Track::Beside => println!("{ms}  {:<58}{}", "", dim(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_in_order_without_repetitions_and_half_lines() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node.audit");
        let agent = dir.path().join("agent.audit");
        let line = |t: u64, proc: &str, event: &str| {
            format!(
                r#"{{"t_ns":{t},"proc":"{proc}","region":"us-west","event":"{event}","epoch":2,"instance":"b"}}"#
            ) + "\n"
        };
        let of_node =
            [line(1, "regentd-2", "vote"), line(400, "regentd-2", "vote"), line(500, "regentd-2", "vote")];
        let later = [line(900, "regentd-3", "recorded"), line(910, "regentd-2", "recorded")];
        fs::write(&node, of_node.concat() + &later.concat() + r#"{"t_ns":920,"#).unwrap();
        fs::write(
            &agent,
            line(450, "regent-agent-b", "promoted") + &line(460, "regent-agent-b", "a_new_word"),
        )
        .unwrap();
        let events = read(&[node, agent, dir.path().join("missing")], 100, 1000);
        let steps = steps(&events, 100);
        let told: Vec<_> = steps.iter().map(|step| (step.who.as_str(), step.what.as_str())).collect();
        let expected = [
            ("us-west  node", "votes for b in epoch 2"),
            ("us-west  agent", "Postgres is promoted"),
            ("us-west  node", "epoch 2 is in the log"),
        ];
        assert_eq!(told, expected);
        assert_eq!(steps[0].ms, 0.0003);
    }
}
